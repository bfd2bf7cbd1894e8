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
	order int
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
		visited: make([]uint32, e.nodes),
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
	for i := range m.layout.plans {
		p := &m.layout.plans[i]
		m.candidates(p.group.always)
		for _, f := range p.fields {
			m.scan(f)
		}
	}
	if k := w.keys; k != nil {
		m.tryEach(k.direct)
		if k.grams != nil {
			for _, t := range m.everyText() {
				m.find(k.grams, t)
			}
		}
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
func (m *Matcher) holdsNode(n *cnode) bool {
	if n.part >= 0 {
		return m.holdsPart(n.part)
	}
	switch n.op {
	case opNot:
		return !m.holdsNode(n.kids[0])
	case opAnd:
		return !slices.ContainsFunc(n.kids, func(k *cnode) bool { return !m.holdsNode(k) })
	case opOr:
		return slices.ContainsFunc(n.kids, m.holdsNode)
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
	m.collect(r.root)
	if len(m.found) == 0 {
		return nil
	}
	slices.SortStableFunc(m.found, func(a, b found) int { return a.order - b.order })
	out := make([]event.Field, 0, len(m.found))
	for i := range m.found {
		if !slices.Contains(out, m.found[i].field) {
			out = append(out, m.found[i].field)
		}
	}
	return out
}

// collect adds the fields that made a node hold.
func (m *Matcher) collect(n *cnode) {
	if m.visited[n.number] == m.visit || n.op == opNot || !m.holdsNode(n) {
		return
	}
	m.visited[n.number] = m.visit
	for _, k := range n.kids {
		m.collect(k)
	}
	if n.op != opItem || n.neq {
		return
	}
	it := &m.engine.items[n.item]
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
		if !it.all && len(list) == 1 || m.positive(it, i) {
			m.found = append(m.found, found{n.order, event.Field{Name: n.field, Value: m.text(i).raw}})
		}
	}
}

// positive reports whether one of an item's tests holds for a text.
func (m *Matcher) positive(it *compiledItem, i int32) bool {
	for _, alts := range it.values {
		for _, t := range alts {
			if m.value(&m.engine.tests[t], i) {
				return true
			}
		}
	}
	return false
}
