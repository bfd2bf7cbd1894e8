package sigma

import (
	"fmt"
	"slices"
	"strings"

	"ashiato/internal/event"
	"ashiato/internal/sigma/logsource"
)

// Options are what rules need from outside.
type Options struct {
	// Placeholders are the values for |expand, by placeholder name. They may
	// hold wildcards. A rule whose placeholder has no value is refused.
	Placeholders map[string][]string
}

// placeholders is never nil, which would make placeholders stand for themselves.
func (o Options) placeholders() map[string][]string {
	if o.Placeholders == nil {
		return map[string][]string{}
	}
	return o.Placeholders
}

// Engine is a set of rules ready to be evaluated. It is immutable; each
// goroutine takes a Matcher of its own from it.
type Engine struct {
	rules  []*compiledRule
	tests  []compiledTest
	slots  []slot
	groups []*group

	names      map[string][]int32 // slots by exact name (and alias)
	alike      map[string][]int32 // slots by spaceless name
	spacedSlot bool               // some slot's own name holds a blank
}

// slot is a field as some rules see it.
type slot struct {
	fieldName
	system      bool // the System part may have the name
	systemAlias bool
}

// compiledTest is a distinct comparison, evaluated at most once per event.
type compiledTest struct {
	test
	slot  int32 // -1 for keywords
	other int32 // fieldrefTest: the other field's slot
	glob  globMatcher
	// needle is a text that is in the folded value wherever the test holds, nil
	// if none is known.
	needle []byte
	// shortest is the least length in bytes of a value that a regexTest can
	// hold for.
	shortest int
}

type compiledRule struct {
	rule  *Rule
	index int // in the order of Compile
	root  *cnode
}

// cnode is an expr over test numbers.
type cnode struct {
	op   opKind
	kids []*cnode
	// for opItem:
	item   *item
	slot   int32
	values [][]int32
}

// compiler holds what is needed only while compiling.
type compiler struct {
	engine     *Engine
	opt        Options
	slotIDs    map[fieldName]int32
	testIDs    map[string]int32
	popularity []int // by test: how many items use it
}

// Compile makes an Engine of the rules. A rule that cannot be used with these
// options, and one whose id an earlier rule has, is an *Error and left out.
func Compile(rules []*Rule, opt Options) (*Engine, []error) {
	c := compiler{
		engine: &Engine{names: map[string][]int32{}, alike: map[string][]int32{}},
		opt:    opt, slotIDs: map[fieldName]int32{}, testIDs: map[string]int32{},
	}
	var errs []error
	seen := map[string]*Rule{}
	for _, r := range rules {
		if first, ok := seen[r.Key()]; ok {
			errs = append(errs, &Error{
				File: r.File, Rule: r.Title, Line: r.Line, Column: 1,
				Msg:  fmt.Sprintf("the rule's id %s is already used by %s", r.Key(), first.File),
				Hint: "give each rule its own id, or load the file once",
			})
			continue
		}
		resolved, f := r.resolve(opt)
		if f != nil {
			errs = append(errs, &Error{File: r.File, Rule: r.Title, Line: f.at.line, Column: f.at.column, Msg: f.msg, Hint: f.hint})
			continue
		}
		seen[r.Key()] = r
		c.add(r, resolved)
	}
	c.index()
	return c.engine, errs
}

// Rules returns the rules that were compiled, in order.
func (e *Engine) Rules() []*Rule {
	out := make([]*Rule, len(e.rules))
	for i, r := range e.rules {
		out[i] = r.rule
	}
	return out
}

// resolve returns the tests of every item, with placeholders filled in.
func (r *Rule) resolve(opt Options) (map[*item][][]test, *fault) {
	out := make(map[*item][][]test, len(r.items))
	for _, it := range r.items {
		out[it] = it.values
		if it.expands() {
			v, f := it.resolve(opt.placeholders())
			if f != nil {
				return nil, f
			}
			out[it] = v
		}
	}
	return out, nil
}

// fieldName is how the rule's log source makes it see a field.
func (r *Rule) fieldName(name string) fieldName {
	return fieldName{name: name, alias: r.fields.Alias(name), raw: !r.fields.Taxonomy()}
}

func (c *compiler) add(r *Rule, resolved map[*item][][]test) {
	var kids []*cnode
	done := map[*expr]*cnode{}
	for _, x := range r.conditions {
		kids = append(kids, c.node(r, x, resolved, done))
	}
	root := kids[0]
	if len(kids) > 1 {
		root = &cnode{op: opOr, kids: kids}
	}
	c.engine.rules = append(c.engine.rules, &compiledRule{rule: r, index: len(c.engine.rules), root: root})
}

func (c *compiler) node(r *Rule, x *expr, resolved map[*item][][]test, done map[*expr]*cnode) *cnode {
	if n, ok := done[x]; ok {
		return n
	}
	n := &cnode{op: x.op, item: x.item, slot: -1}
	done[x] = n
	for _, k := range x.kids {
		n.kids = append(n.kids, c.node(r, k, resolved, done))
	}
	if x.op != opItem {
		slices.SortStableFunc(n.kids, func(a, b *cnode) int { return c.effort(a) - c.effort(b) })
		return n
	}
	if x.item.field != "" {
		n.slot = c.slot(r.fieldName(x.item.field))
	}
	for _, alts := range resolved[x.item] {
		var ids []int32
		for _, t := range alts {
			id := c.test(r, n.slot, t)
			c.popularity[id]++
			ids = append(ids, id)
		}
		n.values = append(n.values, ids)
	}
	return n
}

// effort ranks what evaluating a node takes: regular expressions and keywords
// are asked last.
func (c *compiler) effort(n *cnode) int {
	most := 0
	for _, k := range n.kids {
		most = max(most, c.effort(k))
	}
	for _, alts := range n.values {
		for _, t := range alts {
			switch c.engine.tests[t].kind {
			case keywordTest:
				most = max(most, 1)
			case regexTest, keywordRegexTest:
				most = max(most, 2)
			}
		}
	}
	return most
}

// everySystem has every System field, to learn which names System knows.
var everySystem = event.Event{
	Channel: "x", Host: "x", Provider: "x", PID: 1, TID: 1, UserSID: "x", Logged: event.Event{}.Logged.AddDate(1, 0, 0),
}

func (c *compiler) slot(f fieldName) int32 {
	if id, ok := c.slotIDs[f]; ok {
		return id
	}
	e := c.engine
	id := int32(len(e.slots))
	c.slotIDs[f] = id
	s := slot{fieldName: f}
	_, s.system = everySystem.System(f.name)
	_, s.systemAlias = everySystem.System(f.alias)
	e.slots = append(e.slots, s)
	for _, n := range []string{f.name, f.alias} {
		if n == "" {
			continue
		}
		e.names[n] = append(e.names[n], id)
		e.alike[spaceless(n)] = append(e.alike[spaceless(n)], id)
		e.spacedSlot = e.spacedSlot || strings.Contains(n, " ")
	}
	return id
}

// test interns a comparison: equal ones share a number.
func (c *compiler) test(r *Rule, slot int32, t test) int32 {
	ct := compiledTest{test: t, slot: slot, other: -1}
	var key string
	switch t.kind {
	case patternTest, keywordTest:
		ct.glob = compileGlob(t.pattern)
		ct.needle = []byte(fold(string(ct.glob.needle)))
		var b strings.Builder
		for _, e := range t.pattern.elems {
			text := e.text
			if !t.pattern.cased {
				text = fold(text)
			}
			fmt.Fprintf(&b, "%d%q", e.kind, text)
		}
		key = fmt.Sprintf("%v%s", t.pattern.cased, b.String())
	case regexTest, keywordRegexTest:
		literal, shortest := requiredText(t.re.String())
		ct.needle, ct.shortest = []byte(literal), shortest
		key = t.re.String()
	case existsTest:
		key = fmt.Sprint(t.want)
	case cidrTest:
		key = t.prefix.String()
	case numberTest:
		key = fmt.Sprint(t.part, t.order, t.number)
	case fieldrefTest:
		ct.other = c.slot(r.fieldName(t.ref))
		key = fmt.Sprint(ct.other, t.front, t.back, t.cased)
	}
	key = fmt.Sprintf("%d/%d/%s", slot, t.kind, key)
	if id, ok := c.testIDs[key]; ok {
		return id
	}
	id := int32(len(c.engine.tests))
	c.testIDs[key] = id
	c.engine.tests = append(c.engine.tests, ct)
	c.popularity = append(c.popularity, 0)
	return id
}

// group is the rules of one log source, with the index that finds those worth
// evaluating for an event.
type group struct {
	source logsource.Matcher
	// always are the rules without a witness.
	always []*compiledRule
	// fields are the indexes by slot; a test that holds there makes the rules
	// of byTest candidates.
	fields []fieldIndex
	byTest map[int32][]*compiledRule
	// keywords index the witnesses on any value; its slot is -1.
	keywords *fieldIndex
}

// fieldIndex finds the witness tests of one field that can hold for a value.
type fieldIndex struct {
	slot int32
	// direct tests are tried whenever the field is there.
	direct []int32
	// grams finds the tests whose literal may be in the folded value.
	grams gramIndex
}

// witness is a set of tests of which at least one holds whenever a condition
// does. It is what makes leaving a rule out sound.
type witness struct {
	tests []int32
	cost  float64
	ok    bool
}

func (c *compiler) index() {
	groups := map[string]*group{}
	chosen := map[*group]map[int32][]*compiledRule{}
	for _, r := range c.engine.rules {
		l := r.rule.LogSource
		key := l.Category + "\x00" + l.Product + "\x00" + l.Service
		g := groups[key]
		if g == nil {
			g = &group{source: r.rule.fields, byTest: map[int32][]*compiledRule{}}
			groups[key] = g
			c.engine.groups = append(c.engine.groups, g)
			chosen[g] = g.byTest
		}
		w := c.witness(r.root)
		if !w.ok {
			g.always = append(g.always, r)
			continue
		}
		for _, t := range w.tests {
			g.byTest[t] = append(g.byTest[t], r)
		}
	}
	common := map[uint32]int{}
	for i := range c.engine.tests {
		eachGram(c.engine.tests[i].needle, func(gram uint32) { common[gram]++ })
	}
	for _, g := range c.engine.groups {
		g.build(c.engine.tests, common)
	}
}

func (g *group) build(tests []compiledTest, common map[uint32]int) {
	bySlot := map[int32][]int32{}
	for id := range g.byTest {
		bySlot[tests[id].slot] = append(bySlot[tests[id].slot], id)
	}
	slots := make([]int32, 0, len(bySlot))
	for s := range bySlot {
		slots = append(slots, s)
	}
	slices.Sort(slots)
	for _, s := range slots {
		ids := bySlot[s]
		slices.Sort(ids)
		f := fieldIndex{slot: s}
		var literal []int32
		for _, id := range ids {
			if len(tests[id].needle) >= 2 {
				literal = append(literal, id)
			} else {
				f.direct = append(f.direct, id)
			}
		}
		f.grams = newGramIndex(literal, tests, common)
		if s < 0 {
			g.keywords = &f
			continue
		}
		g.fields = append(g.fields, f)
	}
}

func (c *compiler) witness(n *cnode) witness {
	switch n.op {
	case opNot:
		return witness{}
	case opAnd:
		var best witness
		for _, k := range n.kids {
			if w := c.witness(k); w.ok && (!best.ok || w.cost < best.cost) {
				best = w
			}
		}
		return best
	case opOr:
		ws := make([]witness, len(n.kids))
		for i, k := range n.kids {
			ws[i] = c.witness(k)
		}
		return union(ws)
	}
	if n.item.neq {
		return witness{}
	}
	ws := make([]witness, len(n.values))
	for i, alts := range n.values {
		parts := make([]witness, len(alts))
		for j, t := range alts {
			parts[j] = c.leaf(t)
		}
		ws[i] = union(parts)
	}
	if !n.item.all {
		return union(ws)
	}
	var best witness
	for _, w := range ws {
		if w.ok && (!best.ok || w.cost < best.cost) {
			best = w
		}
	}
	return best
}

func union(ws []witness) witness {
	out := witness{ok: true}
	for _, w := range ws {
		if !w.ok {
			return witness{}
		}
		out.cost += w.cost
		out.tests = append(out.tests, w.tests...)
	}
	slices.Sort(out.tests)
	out.tests = slices.Compact(out.tests)
	return out
}

// leaf estimates what it costs to make a test a witness: how often it holds for
// events its rule is not about, and how long it takes. Only the choice among
// sound witnesses depends on it.
func (c *compiler) leaf(id int32) witness {
	t := &c.engine.tests[id]
	w := witness{tests: []int32{id}, ok: true}
	switch t.kind {
	case nullTest:
		return witness{}
	case existsTest:
		if !t.want {
			return witness{}
		}
		w.cost = 500
	case keywordRegexTest:
		w.cost = 400
	case keywordTest:
		w.cost = 50
	case cidrTest, numberTest, fieldrefTest:
		w.cost = 100
	default:
		switch n := len(t.needle); {
		case n >= 8:
			w.cost = 1
		case n >= 4:
			w.cost = 3
		case n >= 2:
			w.cost = 30
		default:
			w.cost = 200
		}
		if t.kind == regexTest {
			w.cost *= 2
		}
		// A test that many rules make is true of common events, and the parts
		// of the System section are the same for most.
		w.cost *= 1 + float64(c.popularity[id])/4
		if s := c.engine.slots[t.slot]; s.system {
			w.cost *= 30
		}
	}
	return w
}

// gramIndex finds literals in a text by one rare four-byte piece of each (by a
// two-byte piece for the short ones). A piece that is not in the text proves
// that the literal is not.
type gramIndex struct {
	filter []uint64 // one bit per hash of a four-byte piece
	shift  uint
	four   map[uint32][]int32
	two    map[uint16][]int32
	pairs  *[1024]uint64 // one bit per two-byte piece
}

func eachGram(s []byte, yield func(uint32)) {
	for i := 0; i+4 <= len(s); i++ {
		yield(uint32(s[i]) | uint32(s[i+1])<<8 | uint32(s[i+2])<<16 | uint32(s[i+3])<<24)
	}
}

func newGramIndex(ids []int32, tests []compiledTest, common map[uint32]int) gramIndex {
	var g gramIndex
	if len(ids) == 0 {
		return g
	}
	for _, id := range ids {
		needle := tests[id].needle
		if len(needle) < 4 {
			if g.two == nil {
				g.two, g.pairs = map[uint16][]int32{}, new([1024]uint64)
			}
			pair := uint16(needle[0]) | uint16(needle[1])<<8
			g.two[pair] = append(g.two[pair], id)
			g.pairs[pair>>6] |= 1 << (pair & 63)
			continue
		}
		if g.four == nil {
			g.four = map[uint32][]int32{}
		}
		var best uint32
		least := -1
		eachGram(needle, func(gram uint32) {
			if n := common[gram]; least < 0 || n < least {
				best, least = gram, n
			}
		})
		g.four[best] = append(g.four[best], id)
	}
	if g.four != nil {
		bits := uint(6)
		for 1<<bits < 32*len(g.four) {
			bits++
		}
		g.shift = 32 - bits
		g.filter = make([]uint64, 1<<(bits-6))
		for gram := range g.four {
			h := hashGram(gram, g.shift)
			g.filter[h>>6] |= 1 << (h & 63)
		}
	}
	return g
}

func hashGram(gram uint32, shift uint) uint32 { return gram * 0x9E3779B1 >> shift }
