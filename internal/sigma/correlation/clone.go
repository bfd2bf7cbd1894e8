package correlation

import (
	"maps"
	"slices"

	"ashiato/internal/event"
)

// Clone returns a State of its own that has seen what st has. Closing it tells
// what closing st would, while st goes on. The events themselves are shared.
func (st *State) Clone() *State {
	c := &State{set: st.set, limits: st.limits, rules: make([]ruleState, len(st.rules)), resolve: st.resolve, stats: st.stats, mark: st.mark, marked: st.marked}
	for i := range st.rules {
		r, to := &st.rules[i], &c.rules[i]
		to.groups, to.demand, to.fence, to.fenced = make(map[string]*group, len(r.groups)), r.demand, r.fence, r.fenced
		copies := make(map[*group]*group, len(r.groups))
		for k, g := range r.groups {
			copied := *g
			copied.entries, copied.ids = slices.Clone(g.entries), maps.Clone(g.ids)
			if g.open != nil {
				open := *g.open
				copied.open = &open
			}
			to.groups[k] = &copied
			copies[g] = &copied
		}
		// The heaps stay heaps: their entries are in the same places.
		for _, g := range r.order {
			if copies[g] == nil { // closed since; it is known by not being in groups
				copied := *g
				copies[g] = &copied
			}
			to.order = append(to.order, copies[g])
		}
		for _, g := range r.queue {
			to.queue = append(to.queue, copies[g])
		}
	}
	c.waiting = st.waiting
	c.waiting.list, c.waiting.ids = slices.Clone(st.waiting.list), maps.Clone(st.waiting.ids)
	return c
}

// Waiting calls f with the events that wait for Resolve.
func (st *State) Waiting(f func(*event.Event)) {
	for i := range st.waiting.list {
		f(st.waiting.list[i].Event)
	}
}
