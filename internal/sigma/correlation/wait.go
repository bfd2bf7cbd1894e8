package correlation

import (
	"slices"

	"ashiato/internal/event"
)

// waiting are events whose pseudo-fields are not known yet.
type waiting struct {
	list   []waiter
	ids    map[identity]int // index in list
	sorted bool
	kept   int64    // bytes of list
	fence  position // events at or after it are left out, if fenced
	fenced bool
}

// waiter is one of them, with the rules that hold for it.
type waiter struct {
	ID     identity
	Event  *event.Event
	Copies int64
	holds  []match
}

func (w *waiter) place() position { return position{w.Event.Time, w.ID} }

func (w *waiter) size() int64 {
	n := sizeOf(w.Event, nil)
	for _, m := range w.holds {
		n += 64
		for _, f := range m.fields {
			n += int64(32 + len(f.Name) + len(f.Value))
		}
	}
	return n
}

// wait keeps an event for Resolve. Of copies the smaller reference is kept.
func (st *State) wait(o Observation) {
	q := &st.waiting
	w := waiter{ID: o.entry.ID, Event: o.entry.Event, holds: o.waits}
	if i, ok := q.ids[w.ID]; ok {
		st.stats.Repeated++
		w.Copies = q.list[i].Copies + 1
		if event.Compare(w.Event, q.list[i].Event) >= 0 {
			q.list[i].Copies = w.Copies
			return
		}
		q.kept += w.size() - q.list[i].size()
		q.list[i] = w
		return
	}
	if q.fenced && w.place().compare(q.fence) >= 0 {
		st.stats.Unheld++
		return
	}
	q.ids[w.ID] = len(q.list)
	q.list = append(q.list, w)
	q.sorted = false
	if q.kept += w.size(); q.kept > 2*st.limits.Waiting {
		st.fitWaiting()
	}
}

// fitWaiting puts the waiting events in order and leaves out the latest beyond
// the limit.
func (st *State) fitWaiting() {
	q := &st.waiting
	if !q.sorted {
		slices.SortFunc(q.list, func(a, b waiter) int { return a.place().compare(b.place()) })
		for i := range q.list {
			q.ids[q.list[i].ID] = i
		}
		q.sorted = true
	}
	if q.kept <= st.limits.Waiting {
		return
	}
	var sum int64
	for i := range q.list {
		if sum += q.list[i].size(); sum <= st.limits.Waiting {
			continue
		}
		q.fence, q.fenced = q.list[i].place(), true
		for j := i; j < len(q.list); j++ {
			q.kept -= q.list[j].size()
			delete(q.ids, q.list[j].ID)
			st.stats.Unheld += 1 + q.list[j].Copies
			st.stats.Repeated -= q.list[j].Copies
		}
		clear(q.list[i:])
		q.list = q.list[:i]
		return
	}
}

// Resolve gives the events that wait to their groups. Correlations that name
// others ask the same Resolver what their episodes belong to, until the next
// Resolve. It belongs before Advance: what waits past the watermark is late.
func (st *State) Resolve(r Resolver) {
	if r == nil {
		r = unknown
	}
	st.resolve = r
	st.fitWaiting()
	q := st.waiting
	st.waiting = waiting{ids: map[identity]int{}}
	var told []Observation
	for i := range q.list {
		told = st.set.resolve(q.list[i].Event, q.list[i].holds, r, told[:0])
		for _, o := range told {
			st.Add(o)
		}
		q.list[i] = waiter{}
	}
}
