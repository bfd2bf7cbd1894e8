package sigma

import (
	"bytes"
	"slices"
	"strings"

	"ashiato/internal/event"
)

// Match is a rule that holds for an event.
type Match struct {
	Rule *Rule
	// Fields are the fields and values that decided it, in the order of the
	// rule's text, without repeats. Negated parts decide nothing. A keyword's
	// field is the one it was found in.
	Fields []event.Field
}

// Matcher evaluates an Engine's rules. It is not safe for concurrent use.
type Matcher struct {
	engine *Engine
	routes map[route][]*group
	event  *event.Event

	epoch  uint32
	tested []uint32 // by test: epoch<<1 | result
	cands  []uint32 // by rule: epoch in which it became a candidate
	cells  []cell   // by slot
	list   []*compiledRule
	spoken []string // values that keywords search
	words  [][]byte // the same folded
	worded uint32   // epoch of words
}

// cell is a slot's values in the current event.
type cell struct {
	epoch  uint32
	rank   uint8 // which source the values are from; less is better
	system bool  // whether the System part was asked
	folded uint32
	values []string
	text   [][]byte // values folded
}

// route is everything of an event that log sources look at.
type route struct {
	kind              event.Kind
	id                uint32
	provider, channel string
}

// maxRoutes bounds the memory of a Matcher on hostile input; beyond it routes
// are found anew for each event.
const maxRoutes = 4096

// Matcher returns a new Matcher.
func (e *Engine) Matcher() *Matcher {
	return &Matcher{
		engine: e,
		routes: map[route][]*group{},
		tested: make([]uint32, len(e.tests)),
		cands:  make([]uint32, len(e.rules)),
		cells:  make([]cell, len(e.slots)),
	}
}

// Match appends a Match for every rule that holds for ev, in the order of
// Compile, and returns dst. ev must be normalised.
func (m *Matcher) Match(ev *event.Event, dst []Match) []Match {
	groups := m.route(ev)
	if len(groups) == 0 {
		return dst
	}
	m.begin(ev)
	m.list = m.list[:0]
	for _, g := range groups {
		for _, r := range g.always {
			m.candidate(r)
		}
		for i := range g.fields {
			m.scan(g, &g.fields[i])
		}
		if g.keywords != nil {
			for _, t := range g.keywords.direct {
				m.probe(g, t)
			}
			m.find(g, &g.keywords.grams, m.searched())
		}
	}
	start := len(dst)
	for _, r := range m.list {
		if m.holds(r.root) {
			dst = append(dst, Match{Rule: r.rule})
		}
	}
	if len(dst) == start {
		return dst
	}
	// Candidates come in the order of the index; rules in that of Compile.
	held := m.list[:0]
	for _, r := range m.list {
		if m.holds(r.root) {
			held = append(held, r)
		}
	}
	slices.SortFunc(held, func(a, b *compiledRule) int { return a.index - b.index })
	for i, r := range held {
		dst[start+i] = Match{Rule: r.rule, Fields: m.deciding(r)}
	}
	return dst
}

func (m *Matcher) route(ev *event.Event) []*group {
	key := route{ev.Kind, ev.ID, ev.Provider, ev.Channel}
	if g, ok := m.routes[key]; ok {
		return g
	}
	var found []*group
	for _, g := range m.engine.groups {
		if g.source.Match(ev) {
			found = append(found, g)
		}
	}
	if len(m.routes) < maxRoutes {
		key.provider, key.channel = strings.Clone(key.provider), strings.Clone(key.channel)
		m.routes[key] = found
	}
	return found
}

// begin forgets the last event and puts the new one's fields into cells.
func (m *Matcher) begin(ev *event.Event) {
	if m.epoch == 1<<31-1 {
		m.epoch = 0
		clear(m.tested)
		clear(m.cands)
		for i := range m.cells {
			m.cells[i].epoch, m.cells[i].folded = 0, 0
		}
		m.worded = 0
	}
	m.epoch++
	m.event = ev
	m.load(ev.Canon, true)
	m.load(ev.Data, false)
}

// The ranks of a cell's values, in the order of lookup: for the name itself,
// then the same for the alias.
const (
	exactFirst = iota
	exactSecond
	fromSystem
	alikeFirst
	alikeSecond
	ranksOfName
)

func (m *Matcher) load(fields event.Fields, canon bool) {
	e := m.engine
	for i := range fields {
		f := &fields[i]
		for _, s := range e.names[f.Name] {
			m.put(s, f, canon, exactFirst, e.slots[s].name == f.Name)
		}
		spaced := strings.IndexByte(f.Name, ' ') >= 0
		if !spaced && !e.spacedSlot {
			continue
		}
		plain := f.Name
		if spaced {
			plain = spaceless(f.Name)
		}
		for _, s := range e.alike[plain] {
			m.put(s, f, canon, alikeFirst, spaceless(e.slots[s].name) == plain)
		}
	}
}

// put gives a field to a slot, if nothing better is there already.
func (m *Matcher) put(s int32, f *event.Field, canon bool, rank uint8, own bool) {
	if canon == m.engine.slots[s].raw {
		rank++
	}
	if !own {
		rank += ranksOfName
	}
	c := &m.cells[s]
	if c.epoch != m.epoch {
		c.epoch, c.rank, c.values, c.system = m.epoch, rank, c.values[:0], false
	}
	switch {
	case rank > c.rank:
		return
	case rank < c.rank:
		c.rank, c.values = rank, c.values[:0]
	}
	c.values = append(c.values, f.Value)
}

// values returns a slot's values, nil if the field is absent.
func (m *Matcher) values(s int32) []string {
	c := &m.cells[s]
	if c.epoch != m.epoch {
		c.epoch, c.rank, c.values, c.system = m.epoch, 255, c.values[:0], false
	}
	if !c.system {
		c.system = true
		sl := &m.engine.slots[s]
		if sl.system && c.rank > fromSystem {
			if v, ok := m.event.System(sl.name); ok {
				c.rank, c.values = fromSystem, append(c.values[:0], v)
			}
		}
		if sl.systemAlias && c.rank > ranksOfName+fromSystem {
			if v, ok := m.event.System(sl.alias); ok {
				c.rank, c.values = ranksOfName+fromSystem, append(c.values[:0], v)
			}
		}
	}
	return c.values
}

// folded returns a slot's values folded.
func (m *Matcher) folded(s int32) [][]byte {
	values := m.values(s)
	c := &m.cells[s]
	if c.folded != m.epoch {
		c.folded = m.epoch
		c.text = foldInto(c.text, values)
	}
	return c.text
}

// foldInto folds values into dst, whose buffers it uses again.
func foldInto(dst [][]byte, values []string) [][]byte {
	n := len(dst)
	for cap(dst) < len(values) {
		dst = append(dst[:cap(dst)], nil)
	}
	dst = dst[:max(n, len(values))]
	for i, v := range values {
		dst[i] = appendFold(dst[i][:0], v)
	}
	return dst[:len(values)]
}

// scan makes candidates of the rules whose witness on this field holds.
func (m *Matcher) scan(g *group, f *fieldIndex) {
	if len(m.values(f.slot)) == 0 {
		return
	}
	for _, t := range f.direct {
		if m.engine.tests[t].kind == regexTest {
			// The rest of the rule is cheaper to ask than the expression.
			for _, r := range g.byTest[t] {
				m.candidate(r)
			}
			continue
		}
		m.probe(g, t)
	}
	if f.grams.four != nil || f.grams.two != nil {
		m.find(g, &f.grams, m.folded(f.slot))
	}
}

// find makes candidates of the rules whose witness is among the indexed tests
// that hold for one of the folded texts.
func (m *Matcher) find(g *group, x *gramIndex, texts [][]byte) {
	for _, s := range texts {
		if x.four != nil && len(s) >= 4 {
			gram := uint32(s[0])<<8 | uint32(s[1])<<16 | uint32(s[2])<<24
			for _, c := range s[3:] {
				gram = gram>>8 | uint32(c)<<24
				if h := hashGram(gram, x.shift); x.filter[h>>6]>>(h&63)&1 == 0 {
					continue
				}
				for _, t := range x.four[gram] {
					m.probe(g, t)
				}
			}
		}
		if x.two != nil && len(s) >= 2 {
			pair := uint16(s[0]) << 8
			for _, c := range s[1:] {
				pair = pair>>8 | uint16(c)<<8
				if x.pairs[pair>>6]>>(pair&63)&1 == 0 {
					continue
				}
				for _, t := range x.two[pair] {
					m.probe(g, t)
				}
			}
		}
	}
}

// probe makes candidates of the rules whose witness t is, if it holds.
func (m *Matcher) probe(g *group, t int32) {
	if m.holdsTest(t) {
		for _, r := range g.byTest[t] {
			m.candidate(r)
		}
	}
}

func (m *Matcher) candidate(r *compiledRule) {
	if m.cands[r.index] != m.epoch {
		m.cands[r.index] = m.epoch
		m.list = append(m.list, r)
	}
}

func (m *Matcher) holds(n *cnode) bool {
	switch n.op {
	case opNot:
		return !m.holds(n.kids[0])
	case opAnd:
		for _, k := range n.kids {
			if !m.holds(k) {
				return false
			}
		}
		return true
	case opOr:
		for _, k := range n.kids {
			if m.holds(k) {
				return true
			}
		}
		return false
	}
	return m.holdsItem(n) != n.item.neq
}

// holdsItem evaluates an item without its neq.
func (m *Matcher) holdsItem(n *cnode) bool {
	for _, alts := range n.values {
		held := false
		for _, t := range alts {
			if m.holdsTest(t) {
				held = true
				break
			}
		}
		if held != n.item.all {
			return held
		}
	}
	return n.item.all
}

func (m *Matcher) holdsTest(t int32) bool {
	if v := m.tested[t]; v>>1 == m.epoch {
		return v&1 == 1
	}
	held := m.evaluate(&m.engine.tests[t])
	v := m.epoch << 1
	if held {
		v |= 1
	}
	m.tested[t] = v
	return held
}

func (m *Matcher) evaluate(t *compiledTest) bool {
	if t.slot < 0 {
		return m.keyword(t)
	}
	values := m.values(t.slot)
	switch t.kind {
	case nullTest:
		return len(values) == 0
	case existsTest:
		return len(values) > 0 == t.want
	}
	if len(values) == 0 {
		return false
	}
	if t.kind == patternTest && !t.glob.cased {
		for _, s := range m.folded(t.slot) {
			if t.glob.match(s) {
				return true
			}
		}
		return false
	}
	for i, v := range values {
		if t.kind == regexTest && (len(v) < t.shortest || !bytes.Contains(m.folded(t.slot)[i], t.needle)) {
			continue
		}
		if m.value(t, v) {
			return true
		}
	}
	return false
}

// value evaluates a test on one value of its field.
func (m *Matcher) value(t *compiledTest, v string) bool {
	switch t.kind {
	case patternTest, keywordTest:
		if t.glob.cased {
			return t.glob.match([]byte(v))
		}
		return t.glob.match(appendFold(nil, v))
	case regexTest, keywordRegexTest:
		return t.re.MatchString(v)
	case cidrTest:
		a, ok := parseAddress(v)
		return ok && t.prefix.Contains(a)
	case numberTest:
		n, ok := t.numeric(v)
		return ok && t.order.holds(compareNumbers(n, t.number))
	case fieldrefTest:
		return slices.ContainsFunc(m.values(t.other), func(other string) bool { return t.refers(v, other) })
	case existsTest:
		return t.want
	}
	return false
}

// refers compares two fields' values for fieldref.
func (t *compiledTest) refers(v, other string) bool {
	if !t.cased {
		v, other = fold(v), fold(other)
	}
	switch {
	case t.front && t.back:
		return strings.Contains(v, other)
	case t.front:
		return strings.HasSuffix(v, other)
	case t.back:
		return strings.HasPrefix(v, other)
	}
	return v == other
}

// searched returns the values that keywords search, folded.
func (m *Matcher) searched() [][]byte {
	if m.worded != m.epoch {
		m.worded = m.epoch
		m.spoken = m.spoken[:0]
		everyValue(m.event, func(_, v string) bool { m.spoken = append(m.spoken, v); return true })
		m.words = foldInto(m.words, m.spoken)
	}
	return m.words
}

func (m *Matcher) keyword(t *compiledTest) bool {
	held := false
	if t.kind == keywordTest && !t.glob.cased {
		return slices.ContainsFunc(m.searched(), t.glob.match)
	}
	everyValue(m.event, func(_, v string) bool {
		held = m.value(t, v)
		return !held
	})
	return held
}

// deciding collects the fields that decided a rule that holds.
func (m *Matcher) deciding(r *compiledRule) []event.Field {
	type found struct {
		order int
		field event.Field
	}
	var all []found
	seen := map[*cnode]bool{}
	var walk func(n *cnode)
	walk = func(n *cnode) {
		if seen[n] || n.op == opNot || !m.holds(n) {
			return
		}
		seen[n] = true
		for _, k := range n.kids {
			walk(k)
		}
		if n.op != opItem || n.item.neq {
			return
		}
		// With a single value the tests' results are known already.
		single := n.slot >= 0 && len(m.values(n.slot)) == 1
		positive := func(v string) bool {
			for _, alts := range n.values {
				for _, t := range alts {
					if single && m.holdsTest(t) || !single && m.value(&m.engine.tests[t], v) {
						return true
					}
				}
			}
			return false
		}
		if n.slot < 0 {
			everyValue(m.event, func(name, v string) bool {
				if positive(v) {
					all = append(all, found{n.item.order, event.Field{Name: name, Value: v}})
				}
				return true
			})
			return
		}
		for _, v := range m.values(n.slot) {
			if positive(v) {
				all = append(all, found{n.item.order, event.Field{Name: n.item.field, Value: v}})
			}
		}
	}
	walk(r.root)
	slices.SortStableFunc(all, func(a, b found) int { return a.order - b.order })
	var out []event.Field
	for _, f := range all {
		if !slices.Contains(out, f.field) {
			out = append(out, f.field)
		}
	}
	return out
}
