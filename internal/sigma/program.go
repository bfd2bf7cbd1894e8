package sigma

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// This file is the compiled form of rules: distinct tests and items, each
// evaluated at most once per event, and conditions as flat code.

// how is the way a test is evaluated.
type how uint8

const (
	byOther    how = iota
	byExact        // compare the numbers of whole values
	byTail         // compare the numbers of last path components
	byContains     // look for a literal
	byGlob         // match a pattern
	byRegex
)

// compiledTest is a distinct comparison.
type compiledTest struct {
	test
	how   how
	slot  int32 // -1 for keywords
	other int32 // fieldrefTest: the other field's slot
	id    int32 // of byExact and byTail, within the slot
	glob  globMatcher
	// literals are lists of literals of each of which one is in the folded value
	// wherever the test holds; the first list is what the index looks for.
	literals [][]literal
	// shortest is the least length in bytes of a value that a regular expression
	// can match, run a run of characters that it has then.
	shortest int
	run      *charRun
	// sequence is the whole expression if it is texts with anything between.
	sequence []string
}

// literal is a folded text to look for.
type literal struct {
	text []byte
	// marks are the signature bits of its two rarest pieces; without meaning for
	// texts of less than four bytes.
	marks [2]uint16
}

// needles returns what the index can find the test by, nil if nothing.
func (t *compiledTest) needles() []literal {
	if len(t.literals) == 0 {
		return nil
	}
	return t.literals[0]
}

// finish sets the marks of the test's literals.
func (t *compiledTest) finish(common *gramCounts) {
	for _, list := range t.literals {
		for i := range list {
			list[i].mark(common)
		}
	}
}

func (l *literal) mark(common *gramCounts) {
	var best [2]uint32
	var count [2]uint32
	for i := 0; i+4 <= len(l.text); i++ {
		gram := binary.LittleEndian.Uint32(l.text[i:])
		n := common.of(gram)
		switch {
		case i == 0:
			best, count = [2]uint32{gram, gram}, [2]uint32{n, n}
		case n < count[0]:
			best, count = [2]uint32{gram, best[0]}, [2]uint32{n, count[0]}
		case i == 1 || n < count[1]:
			best[1], count[1] = gram, n
		}
	}
	for i, gram := range best {
		l.marks[i] = uint16(hashGram(gram, markShift))
	}
}

// compiledItem is a distinct item, without its neq.
type compiledItem struct {
	slot   int32
	all    bool
	values [][]int32
	// For items without all, the same for a field with one value: the numbers of
	// its byExact and byTail tests, sorted, and the other tests.
	exact, tails, rest []int32
	absent             bool // a test may hold for an absent field
}

// item interns an item.
func (c *compiler) item(r *Rule, it *item, values [][]test) int32 {
	ci := compiledItem{slot: -1, all: it.all}
	if it.field != "" {
		ci.slot = c.slot(r.fieldName(it.field))
	}
	key := binary.AppendVarint(nil, int64(ci.slot))
	if it.all {
		key = append(key, 'a')
	}
	for _, alts := range values {
		ids := make([]int32, 0, len(alts))
		key = append(key, 0xFF)
		for _, t := range alts {
			id := c.test(r, ci.slot, t)
			c.popularity[id]++
			ids = append(ids, id)
			key = binary.AppendUvarint(key, uint64(id))
		}
		ci.values = append(ci.values, ids)
	}
	if id, ok := c.itemIDs[string(key)]; ok {
		return id
	}
	e := c.engine
	for _, alts := range ci.values {
		for _, id := range alts {
			t := &e.tests[id]
			ci.absent = ci.absent || t.kind == nullTest || t.kind == existsTest
			switch t.how {
			case byExact:
				ci.exact = append(ci.exact, t.id)
			case byTail:
				ci.tails = append(ci.tails, t.id)
			default:
				ci.rest = append(ci.rest, id)
			}
		}
	}
	slices.Sort(ci.exact)
	slices.Sort(ci.tails)
	slices.SortStableFunc(ci.rest, func(a, b int32) int { return e.tests[a].effort() - e.tests[b].effort() })
	if ci.slot < 0 || it.all {
		ci.exact, ci.tails, ci.rest = nil, nil, nil
	}
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
	case t.how == byExact, t.how == byTail, t.kind == nullTest, t.kind == existsTest:
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
			text := e.text
			if !t.pattern.cased {
				text = fold(text)
			}
			key = append(key, byte(e.kind))
			key = binary.AppendUvarint(key, uint64(len(text)))
			key = append(key, text...)
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
	c.popularity = append(c.popularity, 0)
	return id
}

func (c *compiler) compileTest(r *Rule, slot int32, t test) compiledTest {
	ct := compiledTest{test: t, slot: slot, other: -1}
	switch t.kind {
	case patternTest, keywordTest:
		ct.how = byGlob
		ct.glob = compileGlob(t.pattern)
		if len(ct.glob.needle) > 0 {
			ct.literals = [][]literal{{{text: []byte(fold(string(ct.glob.needle)))}}}
		}
		if ct.glob.cased {
			break
		}
		switch text := ct.glob.text; {
		case ct.glob.shape == containsGlob:
			ct.how = byContains
		case slot < 0:
		case ct.glob.shape == exactGlob:
			ct.how = byExact
			ct.id = c.engine.slots[slot].exact.add(string(text))
		case ct.glob.shape == suffixGlob && text[0] == '\\' && bytes.LastIndexByte(text, '\\') == 0:
			ct.how = byTail
			ct.id = c.engine.slots[slot].tails.add(string(text[1:]))
		}
	case regexTest, keywordRegexTest:
		ct.how = byRegex
		n := needsOf(t.re.String())
		ct.shortest, ct.run, ct.sequence = n.shortest, n.run, n.sequence
		for _, req := range n.reqs {
			list := make([]literal, len(req))
			for i, text := range req {
				list[i].text = []byte(text)
			}
			ct.literals = append(ct.literals, list)
		}
	case fieldrefTest:
		ct.other = c.slot(r.fieldName(t.ref))
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
	if it.slot >= 0 && !it.all {
		switch c := m.cell(it.slot); {
		case len(c.list) == 0 && !it.absent:
			return false
		case len(c.list) == 1:
			return len(it.exact) > 0 && has(it.exact, m.exact(c, it.slot)) ||
				len(it.tails) > 0 && has(it.tails, m.tail(c, it.slot)) ||
				m.holdsAny(it.rest)
		}
	}
	for _, alts := range it.values {
		if held := m.holdsAny(alts); held != it.all {
			return held
		}
	}
	return it.all
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
	switch t.kind {
	case patternTest, keywordTest:
		x := m.text(i)
		switch {
		case t.how == byContains:
			return x.contains(&t.literals[0][0])
		case !t.glob.cased && t.glob.shape != generalGlob:
			return t.glob.match(x.fold())
		case !x.mayMatch(t):
			return false
		case t.glob.cased:
			return t.glob.match(x.plain())
		}
		return t.glob.match(x.fold())
	case regexTest, keywordRegexTest:
		x := m.text(i)
		return x.mayMatch(t) && x.matchRegex(t)
	case cidrTest:
		a, ok := m.text(i).addr()
		return ok && t.prefix.Contains(a)
	case numberTest:
		n, ok := t.numeric(m.text(i).raw)
		return ok && t.order.holds(compareNumbers(n, t.number))
	case fieldrefTest:
		for _, j := range m.cell(t.other).list {
			if m.refers(t, i, j) {
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
func (m *Matcher) refers(t *compiledTest, i, j int32) bool {
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
	list := m.everyText()
	if t.slot >= 0 {
		list = m.cell(t.slot).list
	}
	for _, i := range list {
		if m.text(i).mayMatch(t) {
			return true
		}
	}
	return false
}

// mayMatch is false only if the test does not hold for the text, because of its
// length or of a literal that is not there.
func (x *text) mayMatch(t *compiledTest) bool {
	if len(x.raw) < t.shortest || t.run != nil && !t.run.in(x.raw) {
		return false
	}
next:
	for _, list := range t.literals {
		for i := range list {
			if x.contains(&list[i]) {
				continue next
			}
		}
		return false
	}
	return true
}

// matchRegex matches the regular expression of a text that may match, by simpler
// means where they do.
func (x *text) matchRegex(t *compiledTest) bool {
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

// contains reports whether the folded text contains the literal.
func (x *text) contains(l *literal) bool {
	folded := x.fold()
	if len(l.text) >= 4 && len(folded) >= minSigned && len(folded) <= maxSigned {
		switch {
		case x.ready&hasGrams != 0:
		case x.looks < 2:
			x.looks++
			return bytes.Contains(folded, l.text)
		default:
			x.ready |= hasGrams
			x.grams.make(folded)
		}
		if !x.grams.has(l.marks[0]) || !x.grams.has(l.marks[1]) {
			return false
		}
	}
	return bytes.Contains(folded, l.text)
}
