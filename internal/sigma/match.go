package sigma

import (
	"slices"

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
//
// It allocates nothing for an event without a match once it has seen an event
// of the same kind and layout of fields.
type Matcher struct {
	engine     *Engine
	ways       map[route]*way
	recent     [256]*way              // ways by a hash of their route
	merged     map[string]*fieldIndex // indexes of keywords by the groups' numbers
	remembered int                    // how many are remembered
	// numbers and keywords are numbers of the System section, written out.
	numbers, keywords map[uint64]string

	epoch   uint32 // number of the current event
	event   *event.Event
	layout  *layout
	scratch layout
	tested  []uint32 // by test: epoch<<1 | result
	judged  []uint32 // by item, the same
	parts   []uint32 // by part, the same
	cands   []uint32 // by rule: epoch in which it became a candidate
	cells   []cell   // by slot
	texts   []text
	count   int     // texts of the current event
	list    []int32 // candidates
	held    []int32 // those that hold
	// every are the texts that keywords search, searched is their epoch.
	every    []int32
	searched uint32

	visited []uint32 // by node of a rule: the visit
	visit   uint32
	found   []found
}

// found is a field that decided a rule, with the place of its item.
type found struct {
	order int32
	field event.Field
}

// Matcher returns a new Matcher.
func (e *Engine) Matcher() *Matcher {
	return &Matcher{
		engine: e,
		ways:   map[route]*way{}, merged: map[string]*fieldIndex{}, numbers: map[uint64]string{}, keywords: map[uint64]string{},
		tested:  make([]uint32, len(e.tests)),
		judged:  make([]uint32, len(e.items)),
		parts:   make([]uint32, len(e.parts)),
		cands:   make([]uint32, len(e.rules)),
		cells:   make([]cell, len(e.slots)),
		visited: make([]uint32, e.widest),
	}
}

// Match appends a Match for every rule that holds for ev, in the order of
// Compile, and returns dst. ev must be normalised.
func (m *Matcher) Match(ev *event.Event, dst []Match) []Match {
	w := m.way(ev)
	if len(w.groups) == 0 {
		return dst
	}
	m.begin(ev, w)
	m.list, m.held = m.list[:0], m.held[:0]
	if w.keys != nil {
		m.searchWay(w)
	}
	for i := range m.layout.plans {
		p := &m.layout.plans[i]
		for _, r := range p.group.always {
			m.candidate(r)
		}
		for _, f := range p.fields {
			m.scan(f)
		}
	}
	if w.keys != nil {
		m.searchKeywords(w.keys)
	}
	for _, r := range m.list {
		if m.run(m.engine.rules[r].entry) {
			m.held = append(m.held, r)
		}
	}
	// Candidates come in the order of the index; rules in that of Compile.
	slices.Sort(m.held)
	for _, r := range m.held {
		dst = append(dst, Match{Rule: m.engine.rules[r].rule, Fields: m.deciding(&m.engine.rules[r])})
	}
	return dst
}

// everyText returns the texts that keywords search, in the order of everyValue.
func (m *Matcher) everyText() []int32 {
	if m.searched == m.epoch {
		return m.every
	}
	m.searched = m.epoch
	m.every = m.every[:0]
	first := len(m.event.Canon)
	for i := range m.event.Data {
		m.every = append(m.every, int32(first+i))
	}
	for _, f := range systemTexts(m.event) {
		if f.Value != "" {
			m.every = append(m.every, m.addText(f.Value))
		}
	}
	return m.every
}

// holdsNode evaluates a node.
func (m *Matcher) holdsNode(n *condNode) bool {
	if n.part >= 0 {
		return m.holdsPart(n.part)
	}
	e := m.engine
	switch n.op {
	case opNot:
		return !m.holdsNode(&e.nodes[e.kids[n.kids.from]])
	case opAnd, opOr:
		for _, k := range e.kids[n.kids.from:n.kids.to] {
			if held := m.holdsNode(&e.nodes[k]); held == (n.op == opOr) {
				return held
			}
		}
		return n.op == opAnd
	}
	return m.holdsItem(n.item) != n.neq
}

// deciding collects the fields that decided a rule that holds.
func (m *Matcher) deciding(r *compiledRule) []event.Field {
	if m.visit++; m.visit == 0 {
		clear(m.visited)
		m.visit = 1
	}
	m.found = m.found[:0]
	m.collect(r.root, r.first)
	if len(m.found) == 0 {
		return nil
	}
	slices.SortStableFunc(m.found, func(a, b found) int { return int(a.order - b.order) })
	out := make([]event.Field, 0, len(m.found))
	for i := range m.found {
		if !slices.Contains(out, m.found[i].field) {
			out = append(out, m.found[i].field)
		}
	}
	return out
}

// collect adds the fields that made a node hold. The rule's nodes begin at first.
func (m *Matcher) collect(at, first int32) {
	e := m.engine
	n := &e.nodes[at]
	if m.visited[at-first] == m.visit || n.op == opNot || !m.holdsNode(n) {
		return
	}
	m.visited[at-first] = m.visit
	for _, k := range e.kids[n.kids.from:n.kids.to] {
		m.collect(k, first)
	}
	if n.op != opItem || n.neq {
		return
	}
	it := &e.items[n.item]
	if it.slot < 0 {
		texts := m.everyText()
		everyValue(m.event, func(name, v string) bool {
			if m.positive(it, texts[0]) {
				m.found = append(m.found, found{n.order, event.Field{Name: name, Value: v}})
			}
			texts = texts[1:]
			return true
		})
		return
	}
	list := m.cell(it.slot).list
	for _, i := range list {
		if len(list) == 1 && len(it.tests) > 0 || m.positive(it, i) {
			m.found = append(m.found, found{n.order, event.Field{Name: n.field, Value: m.text(i).raw}})
		}
	}
}

// positive reports whether one of an item's tests holds for a text.
func (m *Matcher) positive(it *compiledItem, i int32) bool {
	for _, t := range it.tests {
		if m.value(&m.engine.tests[t], i) {
			return true
		}
	}
	return false
}
