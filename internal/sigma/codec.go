package sigma

import (
	"cmp"
	"fmt"
	"math"
	"net/netip"
	"slices"

	"ashiato/internal/sigma/logsource"
	"ashiato/internal/wire"
)

// This file writes a compiled Engine and its correlations down and reads them
// again without compiling; docs/formats/rule-cache.md describes the result. There
// is one function for each structure, which names every field once, in the order
// in which they are written. What follows from other fields is not written but
// worked out again: the functions say so.
//
// Reading checks all that evaluation relies on, so that an Engine that was read
// never panics, whatever was read: numbers of rules, tests and so on are of ones
// that are there; conditions and their code do not go in circles.

// CompiledVersion is the version of the form that AppendCompiled writes. It must
// change with the form and with the meaning of what is written.
const CompiledVersion = 2

// AppendCompiled appends an engine, and correlations of its rules in the order of
// Correlate, to dst.
func AppendCompiled(dst []byte, e *Engine, correlations []*Correlation) ([]byte, error) {
	c := compiled{Engine: e, correlations: correlations}
	w := wire.NewWriter(dst)
	c.code(w)
	if err := w.Done(); err != nil {
		return nil, fmt.Errorf("write compiled rules: %w", err)
	}
	return w.Bytes(), nil
}

// ReadCompiled reads what AppendCompiled wrote. The rules are what they were
// when they were compiled but for their conditions, so they can be matched and
// cited; Compile, Reference and Explainer need rules that Parse has read. Texts
// are parts of data.
func ReadCompiled(data string) (*Engine, []*Correlation, error) {
	c := compiled{Engine: newEngine(), sources: map[LogSource]logsource.Matcher{}}
	r := wire.NewReader(data)
	c.code(r)
	if err := r.Done(); err != nil {
		return nil, nil, fmt.Errorf("read compiled rules: %w", err)
	}
	return c.Engine, c.correlations, nil
}

// compiled is an Engine on its way.
type compiled struct {
	*Engine
	correlations []*Correlation
	sources      map[LogSource]logsource.Matcher
	n            counts
}

// counts is how many of everything there is. It comes first, so that what refers
// to others can be checked at once.
type counts struct {
	rules, tests, items, code, parts, nodes, kids, slots, groups, lists, arena, correlations int32
}

func (c *compiled) code(w *wire.Coder) {
	e, n := c.Engine, &c.n
	if !w.Reading() {
		*n = counts{
			int32(len(e.rules)), int32(len(e.tests)), int32(len(e.items)), int32(len(e.code)), int32(len(e.parts)), int32(len(e.nodes)),
			int32(len(e.kids)), int32(len(e.slots)), int32(len(e.groups)), int32(len(e.lists)), int32(len(e.arena)), int32(len(c.correlations)),
		}
	}
	for _, p := range []*int32{
		&n.rules, &n.tests, &n.items, &n.code, &n.parts, &n.nodes, &n.kids, &n.slots, &n.groups, &n.lists, &n.arena, &n.correlations,
	} {
		wire.Int(w, p, 0, math.MaxInt32)
	}
	wire.Int(w, &e.widest, 0, int(n.nodes))
	w.Blob(&e.arena)
	if len(e.arena) != int(n.arena) {
		w.Failf("%d bytes of texts instead of %d", len(e.arena), n.arena)
	}
	wire.Array(w, &e.lists, int(n.lists), 1, c.codeRuleNumber)
	wire.Array(w, &e.slots, int(n.slots), 6, codeSlot)
	wire.Array(w, &e.tests, int(n.tests), 10, c.codeTest)
	wire.Array(w, &e.items, int(n.items), 10, c.codeItem)
	wire.Array(w, &e.code, int(n.code), 3, c.codeInstruction)
	wire.Array(w, &e.parts, int(n.parts), 1, c.codeEntry)
	wire.Array(w, &e.nodes, int(n.nodes), 7, c.codeNode)
	wire.Array(w, &e.kids, int(n.kids), 1, c.codeNodeNumber)
	wire.Array(w, &e.rules, int(n.rules), 28, c.codeCompiledRule)
	wire.Array(w, &e.groups, int(n.groups), 7, c.codeGroup)
	wire.Array(w, &c.correlations, int(n.correlations), 40, c.codeCorrelation)
	if w.Reading() && w.Err() == nil {
		c.check(w)
	}
	// names, alike and spacedSlot follow from the slots: see place.
}

// check looks at what no structure can tell alone, and works out what follows
// from what was read.
func (c *compiled) check(w *wire.Coder) {
	e := c.Engine
	// Code goes on at earlier instructions only, so it ends.
	for i, in := range e.code {
		if in.yes >= int32(i) || in.no >= int32(i) || in.what < 0 && e.parts[^in.what] >= int32(i) {
			w.Failf("the code goes in a circle")
			return
		}
	}
	// The nodes of a rule follow those of the rule before; kids come first.
	next := int32(0)
	for i := range e.rules {
		r := &e.rules[i]
		if r.first != next || r.root < r.first || int(r.root-r.first) >= e.widest {
			w.Failf("the nodes of rule %d are not its own", i)
			return
		}
		next = r.root + 1
		for n := r.first; n <= r.root; n++ {
			for _, k := range e.kids[e.nodes[n].kids.from:e.nodes[n].kids.to] {
				if k < r.first || k >= n {
					w.Failf("the condition of rule %d goes in a circle", i)
					return
				}
			}
		}
	}
	if next != c.n.nodes {
		w.Failf("%d nodes are of no rule", c.n.nodes-next)
		return
	}
	for i := range e.slots {
		e.place(int32(i))
	}
	for i, g := range e.groups {
		g.number = i
		for k := range g.fields {
			c.fill(w, &g.fields[k])
		}
		if g.keywords != nil {
			c.fill(w, g.keywords)
		}
	}
}

// fill makes the tables of an index that was read.
func (c *compiled) fill(w *wire.Coder, f *fieldIndex) {
	for x := f.grams; x != nil; x = x.wide {
		byGram := func(a, b gramEntry) int { return cmp.Compare(c.gram(&a), c.gram(&b)) }
		byPair := func(a, b gramEntry) int { return cmp.Compare(c.pair(&a), c.pair(&b)) }
		if !slices.IsSortedFunc(x.entries, byGram) || !slices.IsSortedFunc(x.short, byPair) {
			w.Failf("an index is not in order")
			return
		}
		x.fill(c.Engine)
	}
}

// The numbers by which structures refer to each other.

func (c *compiled) codeRuleNumber(w *wire.Coder, p *int32) { wire.Int(w, p, 0, c.n.rules-1) }
func (c *compiled) codeTestNumber(w *wire.Coder, p *int32) { wire.Int(w, p, 0, c.n.tests-1) }
func (c *compiled) codeNodeNumber(w *wire.Coder, p *int32) { wire.Int(w, p, 0, c.n.nodes-1) }
func (c *compiled) codeSlotNumber(w *wire.Coder, p *int32) { wire.Int(w, p, -1, c.n.slots-1) }
func (c *compiled) codeEntry(w *wire.Coder, p *int32)      { wire.Int(w, p, isFalse, c.n.code-1) }
func (c *compiled) codeRules(w *wire.Coder, s *span)       { codeSpan(w, s, c.n.lists) }
func (c *compiled) codeLetters(w *wire.Coder, s *span)     { codeSpan(w, s, c.n.arena) }

func codeNumber(w *wire.Coder, p *int32) { wire.Int(w, p, 0, math.MaxInt32) }

// codeSpan codes a stretch of a list of n.
func codeSpan(w *wire.Coder, s *span, n int32) {
	wire.Int(w, &s.from, 0, uint32(n))
	size := s.to - s.from
	wire.Int(w, &size, 0, uint32(n)-s.from)
	s.to = s.from + size
}

func codeSlot(w *wire.Coder, s *slot) {
	w.String(&s.name)
	w.String(&s.alias)
	w.Bool(&s.raw)
	for _, n := range []*numbering{&s.exact, &s.tails, &s.exts} {
		codeNumbering(w, n)
	}
	// seed, system and systemAlias follow from the names: see place.
}

func codeNumbering(w *wire.Coder, n *numbering) {
	texts := n.texts()
	w.Strings(&texts)
	if w.Reading() {
		// empty and firsts follow from the texts.
		for i, t := range texts {
			if n.add(t) != int32(i) {
				w.Failf("a text is numbered twice")
				return
			}
		}
	}
}

func (c *compiled) codeTest(w *wire.Coder, t *compiledTest) {
	wire.Int(w, &t.kind, 0, keywordRegexTest)
	wire.Int(w, &t.how, 0, byRegex)
	wire.Int(w, &t.shape, 0, everyGlob)
	c.codeSlotNumber(w, &t.slot)
	codeNumber(w, &t.id)
	c.codeLiteral(w, &t.lit)
	w.Bool(&t.want)
	wire.Optional(w, &t.more, c.codeDetail)
	if !w.Reading() || w.Err() != nil {
		return
	}
	whole := t.more != nil
	switch {
	case t.how == byGlob:
		whole = whole && (t.more.glob.shape != generalGlob || len(t.more.glob.segments) > 0)
	case t.how == byRegex:
		whole = whole && t.more.re != nil
	case t.how == byExact, t.how == byTail, t.how == byExt:
		whole = t.slot >= 0 && int(t.id) < len(c.slots[t.slot].numbers(t.how).ids)
	case t.how != byOther, t.kind == nullTest, t.kind == existsTest:
		whole = true
	case t.kind == fieldrefTest:
		whole = whole && c.n.slots > 0
	}
	if !whole {
		w.Failf("a test is not whole")
	}
}

func (c *compiled) codeLiteral(w *wire.Coder, l *literal) {
	c.codeLetters(w, &l.text)
	codeMarks(w, &l.marks)
}

func codeMarks(w *wire.Coder, m *[2]uint16) {
	for i := range m {
		wire.Int(w, &m[i], 0, math.MaxUint16)
	}
}

func (c *compiled) codeDetail(w *wire.Coder, d *detail) {
	codeGlob(w, &d.glob)
	wire.Optional(w, &d.re, codeExpression)
	wire.List(w, &d.literals, 1, func(w *wire.Coder, list *[]literal) { wire.List(w, list, 4, c.codeLiteral) })
	wire.Int(w, &d.shortest, 0, math.MaxInt32)
	wire.Optional(w, &d.run, codeCharRun)
	w.Strings(&d.sequence)
	codePrefix(w, &d.prefix)
	wire.Int(w, &d.order, 0, greaterOrEqual)
	w.Bool(&d.number.negative)
	w.Uint(&d.number.whole, math.MaxUint64)
	w.Float(&d.number.float)
	w.Bool(&d.number.isFloat)
	wire.Int(w, &d.part, 0, yearPart)
	wire.Int(w, &d.other, 0, max(c.n.slots, 1)-1)
	w.Bool(&d.front)
	w.Bool(&d.back)
	w.Bool(&d.cased)
}

func codeGlob(w *wire.Coder, g *globMatcher) {
	wire.Int(w, &g.shape, 0, everyGlob)
	w.Blob(&g.text)
	wire.List(w, &g.segments, 1, codeSegment)
	w.Bool(&g.front)
	w.Bool(&g.back)
	w.Blob(&g.needle)
	w.Bool(&g.cased)
}

func codeSegment(w *wire.Coder, s *[]globElem) {
	wire.List(w, s, 2, func(w *wire.Coder, e *globElem) {
		wire.Int(w, &e.kind, 0, placeholderElem)
		w.Blob(&e.text)
	})
	if len(*s) == 0 {
		w.Failf("a piece of a pattern is empty")
	}
}

func codeExpression(w *wire.Coder, x *expression) {
	w.String(&x.source)
	// once and re are for whoever needs it first.
}

func codeCharRun(w *wire.Coder, r *charRun) {
	for i := 0; i < len(r.class); i += 64 {
		var word uint64
		for k := range 64 {
			if r.class[i+k] {
				word |= 1 << k
			}
		}
		w.Uint(&word, math.MaxUint64)
		for k := range 64 {
			r.class[i+k] = word>>k&1 == 1
		}
	}
	wire.Int(w, &r.least, 1, math.MaxInt32)
	w.Bool(&r.whole)
}

func codePrefix(w *wire.Coder, p *netip.Prefix) {
	data, _ := p.MarshalBinary() // which never fails
	w.Blob(&data)
	if w.Reading() && w.Err() == nil {
		if err := p.UnmarshalBinary(data); err != nil {
			w.Failf("%v", err)
		}
	}
}

func (c *compiled) codeItem(w *wire.Coder, it *compiledItem) {
	c.codeSlotNumber(w, &it.slot)
	w.Bool(&it.all)
	w.Bool(&it.absent)
	wire.List(w, &it.tests, 1, c.codeTestNumber)
	wire.List(w, &it.ends, 1, codeNumber)
	for _, list := range []*[]int32{&it.exact, &it.tails, &it.exts} {
		wire.List(w, list, 1, codeNumber)
	}
	wire.List(w, &it.marked, 3, func(w *wire.Coder, m *markedTest) {
		c.codeTestNumber(w, &m.test)
		codeMarks(w, &m.marks)
	})
	wire.List(w, &it.rest, 1, c.codeTestNumber)
	if !slices.IsSorted(it.ends) || len(it.ends) > 0 && int(it.ends[len(it.ends)-1]) > len(it.tests) {
		w.Failf("the values of an item are not its tests")
	}
}

func (c *compiled) codeInstruction(w *wire.Coder, in *instruction) {
	wire.Int(w, &in.what, -c.n.parts, c.n.items-1)
	c.codeEntry(w, &in.yes)
	c.codeEntry(w, &in.no)
}

func (c *compiled) codeNode(w *wire.Coder, n *condNode) {
	wire.Int(w, &n.op, 0, opItem)
	w.Bool(&n.neq)
	wire.Int(w, &n.part, -1, c.n.parts-1)
	codeSpan(w, &n.kids, c.n.kids)
	if n.op == opItem {
		wire.Int(w, &n.item, 0, c.n.items-1)
	}
	codeNumber(w, &n.order)
	w.String(&n.field)
	if n.op == opNot && n.kids.len() != 1 || n.op == opItem && n.kids.len() != 0 {
		w.Failf("a condition has %d parts", n.kids.len())
	}
}

func (c *compiled) codeCompiledRule(w *wire.Coder, r *compiledRule) {
	if w.Reading() {
		r.rule = &Rule{}
	}
	codeRuleText(w, r.rule)
	c.codeEntry(w, &r.entry)
	c.codeNodeNumber(w, &r.first)
	c.codeNodeNumber(w, &r.root)
	if w.Reading() && w.Err() == nil {
		r.rule.fields = c.source(w, r.rule.LogSource)
	}
}

// codeRuleText codes all of a rule but its conditions, its items, and the fields
// that follow from its log source.
func codeRuleText(w *wire.Coder, r *Rule) {
	w.String(&r.File)
	wire.Int(w, &r.Line, 0, math.MaxInt32)
	for _, s := range []*string{&r.ID, &r.Name, &r.Title, &r.Status, &r.Description, &r.Author, &r.Date, &r.Modified, &r.License} {
		w.String(s)
	}
	for _, list := range []*[]string{&r.References, &r.FalsePositives, &r.Tags} {
		w.Strings(list)
	}
	w.String(&r.Level)
	codeLogSource(w, &r.LogSource)
	w.Strings(&r.Attack)
	w.Strings(&r.Tactics)
	w.String(&r.Extension.Name)
	w.Strings(&r.Extension.Aliases)
	w.String(&r.Extension.Behaviour)
	wire.Map(w, &r.Extension.Texts, 6, codeText)
	wire.List(w, &r.Warnings, 1, func(w *wire.Coder, e **Error) { wire.Optional(w, e, CodeError) })
	if !slices.Contains(levels, r.Level) {
		w.Failf("unknown level %q", r.Level)
	}
}

func codeLogSource(w *wire.Coder, l *LogSource) {
	for _, s := range []*string{&l.Category, &l.Product, &l.Service, &l.Definition} {
		w.String(s)
	}
}

func codeText(w *wire.Coder, t *Text) {
	for _, s := range []*string{&t.Title, &t.Meaning, &t.Why, &t.Check, &t.Benign, &t.Action} {
		w.String(s)
	}
}

// CodeError codes a fault that a rule has.
func CodeError(w *wire.Coder, e *Error) {
	w.String(&e.File)
	w.String(&e.Rule)
	wire.Int(w, &e.Line, 0, math.MaxInt32)
	wire.Int(w, &e.Column, 0, math.MaxInt32)
	w.String(&e.Msg)
	w.String(&e.Hint)
}

// source returns the matcher of a log source that was read.
func (c *compiled) source(w *wire.Coder, l LogSource) logsource.Matcher {
	l.Definition = ""
	m, ok := c.sources[l]
	if !ok {
		var err error
		if m, err = logsource.New(l.Category, l.Product, l.Service); err != nil {
			w.Failf("%v", err)
		}
		c.sources[l] = m
	}
	return m
}

func (c *compiled) codeGroup(w *wire.Coder, p **group) {
	if w.Reading() {
		*p = &group{}
	}
	g := *p
	// number is its place.
	codeLogSource(w, &g.of)
	if w.Reading() && w.Err() == nil {
		g.source = c.source(w, g.of)
	}
	wire.List(w, &g.always, 1, c.codeRuleNumber)
	wire.List(w, &g.fields, 7, func(w *wire.Coder, f *fieldIndex) {
		wire.Int(w, &f.slot, 0, c.n.slots-1)
		c.codeFieldIndex(w, f)
	})
	wire.Optional(w, &g.keywords, func(w *wire.Coder, f *fieldIndex) {
		f.slot = -1
		c.codeFieldIndex(w, f)
	})
}

// codeFieldIndex codes all of an index but its slot.
func (c *compiled) codeFieldIndex(w *wire.Coder, f *fieldIndex) {
	for _, x := range []struct {
		rules *[]span
		how   how
	}{{&f.exact, byExact}, {&f.tails, byTail}, {&f.exts, byExt}} {
		wire.List(w, x.rules, 2, c.codeRules)
		if w.Err() == nil && *x.rules != nil && (f.slot < 0 || len(*x.rules) != len(c.slots[f.slot].numbers(x.how).ids)) {
			w.Failf("an index has %d numbers that its field has not", len(*x.rules))
			return
		}
	}
	wire.List(w, &f.direct, 3, func(w *wire.Coder, d *directTest) {
		c.codeTestNumber(w, &d.test)
		c.codeRules(w, &d.rules)
	})
	wire.Optional(w, &f.grams, c.codeGramIndex)
	wire.List(w, &f.needles, 6, c.codeGramEntry)
}

func (c *compiled) codeGramIndex(w *wire.Coder, x *gramIndex) {
	wire.Int(w, &x.stride, 1, maxStride)
	wire.Int(w, &x.least, 0, math.MaxInt32)
	wire.List(w, &x.entries, 6, c.codeGramEntry)
	wire.List(w, &x.short, 6, c.codeGramEntry)
	wire.Optional(w, &x.wide, c.codeGramIndex)
	// shift, filter, table and pairs follow from the entries: see fill.
	if !w.Reading() || w.Err() != nil {
		return
	}
	for i := range x.entries {
		if n := &x.entries[i]; int(n.at)+4 > n.needle.len() {
			w.Failf("a piece is not in its literal")
		}
	}
	for i := range x.short {
		if n := x.short[i].needle.len(); n < 2 {
			w.Failf("a literal of %d bytes is indexed", n)
		}
	}
	if x.wide != nil && x.wide.wide != nil {
		w.Failf("an index has an index in its index")
	}
}

func (c *compiled) codeGramEntry(w *wire.Coder, n *gramEntry) {
	c.codeLetters(w, &n.needle)
	wire.Int(w, &n.at, 0, math.MaxInt32/2)
	c.codeTestNumber(w, &n.test)
	c.codeRules(w, &n.rules)
}

func (c *compiled) codeCorrelation(w *wire.Coder, p **Correlation) {
	if w.Reading() {
		*p = &Correlation{Rule: &Rule{}}
	}
	x := *p
	codeRuleText(w, x.Rule)
	w.String((*string)(&x.Type))
	wire.Int(w, &x.Timespan, 1, MaxTimespan)
	w.Strings(&x.GroupBy)
	wire.List(w, &x.Compare, 2, func(w *wire.Coder, k *Comparison) {
		w.String(&k.Op)
		w.Float(&k.Bound)
	})
	wire.List(w, &x.Terms, 2, func(w *wire.Coder, t *Term) {
		w.Uint(&t.With, math.MaxUint64)
		w.Uint(&t.Without, math.MaxUint64)
	})
	w.Strings(&x.Fields)
	wire.Int(w, &x.Percentile, 0, 100)
	w.Bool(&x.Generate)
	wire.List(w, &x.Bases, 2, func(w *wire.Coder, b *Correlated) { c.codeCorrelated(w, x, b) })
	wire.List(w, &x.fieldsOf, 1, func(w *wire.Coder, m *map[string]string) { wire.Map(w, m, 1, (*wire.Coder).String) })
	// refs, aliases and condition are what Correlate was for.
	if n := len(x.Bases); n == 0 || n > MaxCorrelated || len(x.fieldsOf) != n || !slices.Contains(correlationTypes, x.Type) {
		w.Failf("a correlation is not whole")
	}
}

// codeCorrelated codes what the correlation x names: a rule by its number, or one
// of the correlations before x.
func (c *compiled) codeCorrelated(w *wire.Coder, x *Correlation, b *Correlated) {
	before := int32(slices.Index(c.correlations, x))
	chained := b.Correlation != nil
	w.Bool(&chained)
	var n int32
	if !w.Reading() {
		if chained {
			n = int32(slices.Index(c.correlations, b.Correlation))
		} else {
			n = int32(slices.IndexFunc(c.rules, func(r compiledRule) bool { return r.rule == b.Rule }))
		}
	}
	if chained {
		wire.Int(w, &n, 0, before-1)
	} else {
		wire.Int(w, &n, 0, c.n.rules-1)
	}
	switch {
	case !w.Reading() || w.Err() != nil:
	case chained:
		b.Correlation = c.correlations[n]
	default:
		b.Rule = c.rules[n].rule
	}
}
