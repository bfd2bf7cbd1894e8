package sigma

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// This file is the compiled form of rules: distinct tests and items, each
// evaluated at most once per event, and conditions as flat code.

// how is the way a test is evaluated.
type how uint8

const (
	byOther    how = iota
	byExact        // compare the numbers of whole values
	byTail         // compare the numbers of last path components
	byExt          // compare the numbers of extensions
	byContains     // look for a literal
	byShape        // compare with a literal
	byGlob         // match a pattern
	byRegex
)

// compiledTest is a distinct comparison. It is small, for there are many.
type compiledTest struct {
	kind  testKind
	how   how
	shape globShape // of byExact to byShape
	want  bool      // existsTest
	slot  int32     // -1 for keywords
	id    int32     // of byExact, byTail and byExt, within the slot
	// lit is the literal of byExact to byShape, folded, and for byGlob one that is
	// in every folded value for which the test holds; empty if there is none.
	lit  literal
	more *detail // nil for byExact to byShape, null and exists
}

// detail is what only some tests have.
type detail struct {
	glob globMatcher // byGlob
	re   *expression // byRegex
	// literals are lists of literals of each of which one is in the folded value
	// wherever the expression matches; the first list is what the index looks for.
	literals [][]literal
	// shortest is the least length in bytes of a value that the expression can
	// match, run a run of characters that it has then.
	shortest int
	run      *charRun
	// sequence is the whole expression if it is texts with anything between.
	sequence []string

	prefix netip.Prefix // cidrTest
	order  order        // numberTest
	number number
	part   datePart
	other  int32 // fieldrefTest: the other field's slot
	front  bool
	back   bool
	cased  bool
}

// numeric reads what a numberTest compares in a value.
func (t *detail) numeric(value string) (number, bool) {
	if t.part != noPart {
		return t.part.of(value)
	}
	return parseNumber(value)
}

// expression is a regular expression that is compiled when it is first needed.
type expression struct {
	source string
	once   sync.Once
	re     *regexp.Regexp // nil if the source is none
}

func (x *expression) compile() { x.re, _ = regexp.Compile(x.source) }

// MatchString is Regexp.MatchString.
func (x *expression) MatchString(s string) bool {
	x.once.Do(x.compile)
	return x.re != nil && x.re.MatchString(s)
}

// literal is a folded text to look for.
type literal struct {
	text span
	// marks are the signature bits of its two rarest pieces; without meaning for
	// texts of less than four bytes.
	marks [2]uint16
}

// needles returns what the index can find the test by, nil if nothing.
func (t *compiledTest) needles() []literal {
	switch {
	case t.how == byRegex && len(t.more.literals) > 0:
		return t.more.literals[0]
	case t.how != byRegex && t.lit.text.len() > 0:
		return []literal{t.lit}
	}
	return nil
}

// literal makes a literal of a folded text.
func (c *compiler) literal(text []byte, seed fieldSeed) literal {
	l := literal{text: c.intern(text)}
	var best, level [2]uint32
	for i := 0; i+4 <= len(text); i++ {
		gram := binary.LittleEndian.Uint32(text[i:])
		n := uint32(seed.level(gram))
		switch {
		case i == 0:
			best, level = [2]uint32{gram, gram}, [2]uint32{n, n}
		case n < level[0]:
			best, level = [2]uint32{gram, best[0]}, [2]uint32{n, level[0]}
		case i == 1 || n < level[1]:
			best[1], level[1] = gram, n
		}
	}
	for i, gram := range best {
		l.marks[i] = uint16(hashGram(gram, markShift))
	}
	return l
}

// compiledItem is a distinct item, without its neq.
type compiledItem struct {
	slot   int32
	all    bool
	absent bool // a test may hold for an absent field
	// tests are the tests of all values, value after value; ends are, for items
	// with all, where those of each value end.
	tests, ends []int32
	// For items without all, the same for a field with one value: the numbers of
	// byExact, byTail and byExt tests, sorted, the literals that a signature may
	// rule out, and the other tests.
	exact, tails, exts []int32
	marked             []markedTest
	rest               []int32
}

// markedTest is a byContains test with the marks of its literal beside it.
type markedTest struct {
	test  int32
	marks [2]uint16
}

// item interns an item.
func (c *compiler) item(r *Rule, it *item, values [][]test) int32 {
	ci := compiledItem{slot: -1, all: it.all}
	if it.field != "" {
		ci.slot = c.slot(r.fieldName(it.field))
	}
	ci.tests = make([]int32, 0, len(values))
	for _, alts := range values {
		for _, t := range alts {
			ci.tests = append(ci.tests, c.test(r, ci.slot, t))
		}
		if it.all {
			ci.ends = append(ci.ends, int32(len(ci.tests)))
		}
	}
	key := binary.AppendVarint(c.key[:0], int64(ci.slot))
	if it.all {
		key = append(key, 'a')
	}
	from := int32(0)
	for _, to := range ci.ends {
		key = binary.AppendUvarint(key, uint64(to-from))
		from = to
	}
	for _, id := range ci.tests {
		key = binary.AppendUvarint(key, uint64(id))
	}
	c.key = key
	if id, ok := c.itemIDs[string(key)]; ok {
		return id
	}
	e := c.engine
	for _, id := range ci.tests {
		t := &e.tests[id]
		ci.absent = ci.absent || t.kind == nullTest || t.kind == existsTest
		switch {
		case ci.slot < 0 || it.all:
		case t.how == byExact:
			ci.exact = append(ci.exact, t.id)
		case t.how == byTail:
			ci.tails = append(ci.tails, t.id)
		case t.how == byExt:
			ci.exts = append(ci.exts, t.id)
		case t.how == byContains && t.lit.text.len() >= 4:
			ci.marked = append(ci.marked, markedTest{id, t.lit.marks})
		default:
			ci.rest = append(ci.rest, id)
		}
	}
	slices.Sort(ci.exact)
	slices.Sort(ci.tails)
	slices.Sort(ci.exts)
	slices.SortStableFunc(ci.rest, func(a, b int32) int { return e.tests[a].effort() - e.tests[b].effort() })
	id := int32(len(e.items))
	e.items = append(e.items, ci)
	c.itemIDs[string(key)] = id
	return id
}

const maxEffort = 1 << 30

// effort ranks what evaluating a test takes; rules ask the cheap first.
func (t *compiledTest) effort() int {
	switch {
	case t.kind == regexTest:
		return 2000
	case t.slot < 0:
		return 5000
	case t.how == byExact, t.how == byTail, t.how == byExt, t.kind == nullTest, t.kind == existsTest:
		return 1
	case t.how == byContains:
		return 6
	}
	return 4
}

// test interns a comparison: equal ones share a number.
func (c *compiler) test(r *Rule, slot int32, t test) int32 {
	key := append(c.key[:0], byte(t.kind))
	key = binary.AppendVarint(key, int64(slot))
	switch t.kind {
	case patternTest, keywordTest:
		key = strconv.AppendBool(key, t.pattern.cased)
		for _, e := range t.pattern.elems {
			from := len(key)
			if t.pattern.cased {
				key = append(key, e.text...)
			} else {
				key = appendFold(key, e.text)
			}
			// With its length behind each text the key can be read backwards.
			key = binary.LittleEndian.AppendUint32(key, uint32(len(key)-from))
			key = append(key, byte(e.kind))
		}
	case regexTest, keywordRegexTest:
		key = append(key, t.re.String()...)
	case existsTest:
		key = strconv.AppendBool(key, t.want)
	case cidrTest:
		key = t.prefix.AppendTo(key)
	case numberTest:
		key = fmt.Append(key, t.part, t.order, t.number)
	case fieldrefTest:
		key = fmt.Append(key, c.slot(r.fieldName(t.ref)), t.front, t.back, t.cased)
	}
	c.key = key
	if id, ok := c.testIDs[string(key)]; ok {
		return id
	}
	id := int32(len(c.engine.tests))
	c.testIDs[string(key)] = id
	c.engine.tests = append(c.engine.tests, c.compileTest(r, slot, t))
	return id
}

func (c *compiler) compileTest(r *Rule, slot int32, t test) compiledTest {
	ct := compiledTest{kind: t.kind, slot: slot, want: t.want}
	seed := anyField
	if slot >= 0 {
		seed = c.engine.slots[slot].seed
	}
	switch t.kind {
	case patternTest, keywordTest:
		glob := compileGlob(t.pattern)
		needle := glob.needle
		if glob.cased {
			needle = []byte(fold(string(needle)))
		}
		ct.lit = c.literal(needle, seed)
		if glob.cased || glob.shape == generalGlob {
			ct.how, ct.more = byGlob, &detail{glob: glob}
			break
		}
		ct.how, ct.shape = byShape, glob.shape
		switch text := glob.text; {
		case glob.shape == containsGlob:
			ct.how = byContains
		case slot < 0:
		case glob.shape == exactGlob:
			ct.how = byExact
			ct.id = c.engine.slots[slot].exact.add(string(text))
		case glob.shape == suffixGlob && bytes.LastIndexByte(text, '\\') == 0:
			ct.how = byTail
			ct.id = c.engine.slots[slot].tails.add(string(text[1:]))
		case glob.shape == suffixGlob && bytes.LastIndexByte(text, '.') == 0:
			ct.how = byExt
			ct.id = c.engine.slots[slot].exts.add(string(text[1:]))
		}
	case regexTest, keywordRegexTest:
		n := needsOf(t.re.String())
		ct.how = byRegex
		ct.more = &detail{re: &expression{source: t.re.String()}, shortest: n.shortest, run: n.run, sequence: n.sequence}
		for _, req := range n.reqs {
			list := make([]literal, len(req))
			for i, text := range req {
				list[i] = c.literal([]byte(text), seed)
			}
			ct.more.literals = append(ct.more.literals, list)
		}
	case cidrTest:
		ct.more = &detail{prefix: t.prefix}
	case numberTest:
		ct.more = &detail{order: t.order, number: t.number, part: t.part}
	case fieldrefTest:
		ct.more = &detail{other: c.slot(r.fieldName(t.ref)), front: t.front, back: t.back, cased: t.cased}
	}
	return ct
}

// instruction evaluates one item, or one part of a condition, and says where to
// go on. The code of a rule ends at isTrue or isFalse.
type instruction struct {
	what    int32 // an item, or the complement of a part
	yes, no int32
}

const (
	isTrue  = -1
	isFalse = -2
)

// generate writes the code of a node that goes on at yes or no, and returns
// where it begins.
func (c *compiler) generate(n *cnode, yes, no int32) int32 {
	if !n.shared || n.op == opItem {
		return c.generateBody(n, yes, no)
	}
	if n.part < 0 {
		entry := c.generateBody(n, isTrue, isFalse)
		n.part = int32(len(c.engine.parts))
		c.engine.parts = append(c.engine.parts, entry)
	}
	return c.emit(^n.part, yes, no)
}

func (c *compiler) generateBody(n *cnode, yes, no int32) int32 {
	switch n.op {
	case opNot:
		return c.generate(n.kids[0], no, yes)
	case opAnd:
		next := yes
		for _, k := range slices.Backward(n.kids) {
			next = c.generate(k, next, no)
		}
		return next
	case opOr:
		next := no
		for _, k := range slices.Backward(n.kids) {
			next = c.generate(k, yes, next)
		}
		return next
	}
	if n.neq {
		yes, no = no, yes
	}
	return c.emit(n.item, yes, no)
}

func (c *compiler) emit(what, yes, no int32) int32 {
	c.engine.code = append(c.engine.code, instruction{what, yes, no})
	return int32(len(c.engine.code) - 1)
}

// run evaluates code.
func (m *Matcher) run(at int32) bool {
	code := m.engine.code
	for at >= 0 {
		in := &code[at]
		held := false
		if in.what >= 0 {
			held = m.holdsItem(in.what)
		} else {
			held = m.holdsPart(^in.what)
		}
		if held {
			at = in.yes
		} else {
			at = in.no
		}
	}
	return at == isTrue
}

func (m *Matcher) holdsPart(p int32) bool {
	if v := m.parts[p]; v>>1 == m.epoch {
		return v&1 == 1
	}
	held := m.run(m.engine.parts[p])
	m.parts[p] = m.verdict(held)
	return held
}

// verdict is a result as it is remembered for the current event.
func (m *Matcher) verdict(held bool) uint32 {
	v := m.epoch << 1
	if held {
		v |= 1
	}
	return v
}

// holdsItem evaluates an item without its neq.
func (m *Matcher) holdsItem(id int32) bool {
	if v := m.judged[id]; v>>1 == m.epoch {
		return v&1 == 1
	}
	held := m.evaluateItem(&m.engine.items[id])
	m.judged[id] = m.verdict(held)
	return held
}

func (m *Matcher) evaluateItem(it *compiledItem) bool {
	if it.all {
		from := int32(0)
		for _, to := range it.ends {
			if !m.holdsAny(it.tests[from:to]) {
				return false
			}
			from = to
		}
		return true
	}
	if it.slot >= 0 {
		switch c := m.cell(it.slot); {
		case len(c.list) == 0 && !it.absent:
			return false
		case len(c.list) == 1:
			return len(it.exact) > 0 && has(it.exact, m.exact(c, it.slot)) ||
				len(it.tails) > 0 && has(it.tails, m.tail(c, it.slot)) ||
				len(it.exts) > 0 && has(it.exts, m.ext(c, it.slot)) ||
				len(it.marked) > 0 && m.holdsMarked(it.marked, c.list[0]) ||
				m.holdsAny(it.rest)
		}
	}
	return m.holdsAny(it.tests)
}

// holdsMarked is holdsAny of tests on one text, of which its signature rules out
// most at once.
func (m *Matcher) holdsMarked(tests []markedTest, i int32) bool {
	x := m.text(i)
	signed := len(tests) > 2 && x.sign()
	for k := range tests {
		t := &tests[k]
		if signed && (!x.grams.has(t.marks[0]) || !x.grams.has(t.marks[1])) {
			continue
		}
		if m.holdsTest(t.test) {
			return true
		}
		x = &m.texts[i] // which may have moved
	}
	return false
}

func (m *Matcher) holdsAny(tests []int32) bool {
	for _, t := range tests {
		if m.holdsTest(t) {
			return true
		}
	}
	return false
}

// has looks up a number in a sorted list.
func has(list []int32, n int32) bool {
	if len(list) > 16 {
		_, ok := slices.BinarySearch(list, n)
		return ok
	}
	return slices.Contains(list, n)
}

func (m *Matcher) holdsTest(id int32) bool {
	if v := m.tested[id]; v>>1 == m.epoch {
		return v&1 == 1
	}
	held := m.evaluate(&m.engine.tests[id])
	m.tested[id] = m.verdict(held)
	return held
}

func (m *Matcher) evaluate(t *compiledTest) bool {
	if t.slot < 0 {
		for _, i := range m.everyText() {
			if m.value(t, i) {
				return true
			}
		}
		return false
	}
	c := m.cell(t.slot)
	switch t.kind {
	case nullTest:
		return len(c.list) == 0
	case existsTest:
		return len(c.list) > 0 == t.want
	}
	if len(c.list) == 1 {
		switch t.how {
		case byExact:
			return m.exact(c, t.slot) == t.id
		case byTail:
			return m.tail(c, t.slot) == t.id
		case byExt:
			return m.ext(c, t.slot) == t.id
		}
	}
	for _, i := range c.list {
		if m.value(t, i) {
			return true
		}
	}
	return false
}

// value evaluates a test on one text.
func (m *Matcher) value(t *compiledTest, i int32) bool {
	switch t.how {
	case byContains:
		return m.contains(m.text(i), &t.lit)
	case byExact, byTail, byExt, byShape:
		return t.shape.match(m.fold(i), m.engine.text(t.lit.text))
	case byGlob:
		switch x := m.text(i); {
		case t.lit.text.len() > 0 && !m.contains(x, &t.lit):
			return false
		case t.more.glob.cased:
			return t.more.glob.match(x.plain())
		default:
			return t.more.glob.match(x.fold())
		}
	case byRegex:
		x := m.text(i)
		return m.mayMatch(x, t.more) && x.matchRegex(t.more)
	}
	switch t.kind {
	case cidrTest:
		a, ok := m.text(i).addr()
		return ok && t.more.prefix.Contains(a)
	case numberTest:
		n, ok := t.more.numeric(m.text(i).raw)
		return ok && t.more.order.holds(compareNumbers(n, t.more.number))
	case fieldrefTest:
		for _, j := range m.cell(t.more.other).list {
			if m.refers(t.more, i, j) {
				return true
			}
		}
		return false
	case existsTest:
		return t.want
	}
	return false
}

// refers compares two texts for fieldref.
func (m *Matcher) refers(t *detail, i, j int32) bool {
	var v, other []byte
	if t.cased {
		v, other = m.text(i).plain(), m.text(j).plain()
	} else {
		v, other = m.fold(i), m.fold(j)
	}
	switch {
	case t.front && t.back:
		return bytes.Contains(v, other)
	case t.front:
		return bytes.HasSuffix(v, other)
	case t.back:
		return bytes.HasPrefix(v, other)
	}
	return bytes.Equal(v, other)
}

// mayHold is false only if the test does not hold; unlike holdsTest it never
// runs a regular expression.
func (m *Matcher) mayHold(id int32) bool {
	t := &m.engine.tests[id]
	if t.how != byRegex {
		return m.holdsTest(id)
	}
	var list []int32
	if t.slot >= 0 {
		list = m.cell(t.slot).list
	} else {
		list = m.everyText()
	}
	for _, i := range list {
		if m.mayMatch(m.text(i), t.more) {
			return true
		}
	}
	return false
}

// mayMatch is false only if the expression does not match the text, because of
// its length or of a literal that is not there.
func (m *Matcher) mayMatch(x *text, t *detail) bool {
	if len(x.raw) < t.shortest || t.run != nil && !t.run.in(x.raw) {
		return false
	}
next:
	for _, list := range t.literals {
		for i := range list {
			if m.contains(x, &list[i]) {
				continue next
			}
		}
		return false
	}
	return true
}

// matchRegex matches the regular expression of a text that may match, by simpler
// means where they do.
func (x *text) matchRegex(t *detail) bool {
	switch {
	case t.run != nil && t.run.whole && x.ascii():
		return true
	case t.sequence != nil && strings.IndexByte(x.raw, '\n') < 0:
		rest := x.raw
		for _, part := range t.sequence {
			i := strings.Index(rest, part)
			if i < 0 {
				return false
			}
			rest = rest[i+len(part):]
		}
		return true
	}
	return t.re.MatchString(x.raw)
}

// contains reports whether a folded text contains a literal.
func (m *Matcher) contains(x *text, l *literal) bool {
	folded, needle := x.fold(), m.engine.text(l.text)
	if len(needle) >= 4 {
		if x.looks < 2 {
			x.looks++
		} else if x.sign() && (!x.grams.has(l.marks[0]) || !x.grams.has(l.marks[1])) {
			return false
		}
	}
	return bytes.Contains(folded, needle)
}
