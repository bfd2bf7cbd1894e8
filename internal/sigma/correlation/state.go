package correlation

import (
	"container/heap"
	"slices"
	"strings"
	"time"

	"ashiato/internal/event"
	"ashiato/internal/sigma"
)

// Limits bound the memory of a State. Zero means the default.
type Limits struct {
	// Group is the bytes that one group of one correlation may hold. Beyond it
	// the earliest events are kept.
	Group int64
	// Rule is the bytes that all groups of one correlation may hold together.
	// Beyond it whole groups are left out, chosen by the hash of their values.
	Rule int64
}

// The defaults of Limits.
const (
	DefaultGroup = 4 << 20
	DefaultRule  = 64 << 20
)

// groupCost is what a group takes beside its events, in bytes.
const groupCost = 512

// Stats counts what a State has seen and what it left out.
type Stats struct {
	Observations int64 // given to Add
	Ungrouped    int64 // of these: without a field that the correlation groups by
	Unvalued     int64 // of these: without the field, or number, that it measures
	Late         int64 // of these: before the watermark
	Repeated     int64 // of these: a record, or a base of it, that was there already
	Evicted      int64 // events left out for Limits.Group
	GroupEvents  int64 // events left out with their groups for Limits.Rule
	Groups       int64 // groups left out for Limits.Rule
}

// State is the memory of a Set. It is not safe for concurrent use.
type State struct {
	set    *Set
	limits Limits
	rules  []ruleState
	stats  Stats
	// mark is the watermark; marked says that there is one.
	mark   time.Time
	marked bool
}

// ruleState is the groups of one correlation.
type ruleState struct {
	groups map[string]*group
	demand int64
	order  hashHeap
	fence  uint64 // groups whose hash is at or beyond it are left out, if fenced
	fenced bool
}

// group is the events of one group.
type group struct {
	key     string
	hash    uint64
	entries []entry
	sorted  bool
	ids     map[identity]int // index in entries
	kept    int64            // bytes of entries
	demand  int64            // bytes of everything that was to be kept, up to Limits.Group
	fence   position         // entries at or after it are left out, if fenced
	fenced  bool
	open    *Episode  // the episode that may go on
	floor   time.Time // windows that follow one another: the end of the last
	floored bool
}

// State returns an empty State.
func (s *Set) State(limits Limits) *State {
	if limits.Group <= 0 {
		limits.Group = DefaultGroup
	}
	if limits.Rule <= 0 {
		limits.Rule = DefaultRule
	}
	st := &State{set: s, limits: limits, rules: make([]ruleState, len(s.list))}
	for i := range st.rules {
		st.rules[i].groups = map[string]*group{}
	}
	return st
}

// Stats returns what was seen and left out so far.
func (st *State) Stats() Stats { return st.stats }

// Add takes an observation in.
func (st *State) Add(o Observation) {
	if st.marked && o.entry.Time.Before(st.watermark(o.correlation)) && !o.ungrouped {
		st.stats.Observations++
		st.stats.Late++
		return
	}
	st.take(o)
}

// take is Add for what is not late: an episode of another correlation is not,
// although the mark may have moved past it in this very run.
func (st *State) take(o Observation) {
	st.stats.Observations++
	c := st.set.list[o.correlation]
	switch {
	case o.ungrouped:
		st.stats.Ungrouped++
		return
	case len(c.Fields) > 0 && !o.entry.Valued:
		st.stats.Unvalued++
		return
	}
	r := &st.rules[o.correlation]
	g := r.groups[o.key]
	if g == nil {
		h := hash(o.key)
		if r.fenced && h >= r.fence {
			st.stats.GroupEvents++
			return
		}
		g = &group{key: o.key, hash: h, ids: map[identity]int{}, demand: groupCost}
		r.groups[o.key] = g
		r.demand += groupCost
		heap.Push(&r.order, g)
	}
	o.entry.Group = o.group
	st.insert(r, g, o.entry)
	for r.demand > st.limits.Rule && len(r.order) > 0 {
		last := heap.Pop(&r.order).(*group)
		if r.groups[last.key] != last {
			continue // closed since
		}
		r.fence, r.fenced = last.hash, true
		r.demand -= last.demand
		delete(r.groups, last.key)
		st.stats.Groups++
		st.stats.GroupEvents += int64(len(last.entries))
	}
}

// watermark is the time before which nothing more is expected of a correlation.
func (st *State) watermark(correlation int) time.Time {
	return st.mark.Add(-st.set.delay[correlation])
}

func (st *State) insert(r *ruleState, g *group, e entry) {
	if i, ok := g.ids[e.ID]; ok {
		st.stats.Repeated++
		g.entries[i].join(&e)
		return
	}
	n := e.size()
	grown := min(g.demand+n, st.limits.Group+groupCost)
	r.demand += grown - g.demand
	g.demand = grown
	if g.fenced && e.place().compare(g.fence) >= 0 {
		st.stats.Evicted++
		return
	}
	g.sorted = g.sorted && (len(g.entries) == 0 || g.entries[len(g.entries)-1].compare(&e) < 0)
	if len(g.entries) == 0 {
		g.sorted = true
	}
	g.ids[e.ID] = len(g.entries)
	g.entries = append(g.entries, e)
	if g.kept += n; g.kept > 2*st.limits.Group {
		st.fit(g)
	}
}

// fit puts the entries in order and leaves out the latest beyond the limit.
func (st *State) fit(g *group) {
	if !g.sorted {
		slices.SortFunc(g.entries, func(a, b entry) int { return a.compare(&b) })
		for i := range g.entries {
			g.ids[g.entries[i].ID] = i
		}
		g.sorted = true
	}
	if g.kept <= st.limits.Group {
		return
	}
	var sum int64
	for i := range g.entries {
		if sum += g.entries[i].size(); sum <= st.limits.Group {
			continue
		}
		g.fence, g.fenced = g.entries[i].place(), true
		for j := i; j < len(g.entries); j++ {
			g.kept -= g.entries[j].size()
			delete(g.ids, g.entries[j].ID)
			st.stats.Evicted++
		}
		clear(g.entries[i:])
		g.entries = g.entries[:i]
		return
	}
}

// pop forgets the first n entries, which must be in order.
func (st *State) pop(r *ruleState, g *group, n int) {
	if n == 0 {
		return
	}
	for i := range g.entries[:n] {
		size := g.entries[i].size()
		g.kept -= size
		g.demand -= size
		r.demand -= size
		delete(g.ids, g.entries[i].ID)
	}
	g.entries = append([]entry(nil), g.entries[n:]...)
	for i := range g.entries {
		g.ids[g.entries[i].ID] = i
	}
	if g.fenced { // what was left out is gone, what comes next has room again
		if low := groupCost + g.kept; g.demand > low {
			r.demand -= g.demand - low
			g.demand = low
		}
		g.fenced = false
	}
}

// Advance says that nothing before the watermark is expected any more, and
// returns the episodes that are decided by that: first with Open set, as soon
// as the condition holds, and again when they have closed. A watermark that is
// not after the last one changes nothing. Episodes are ordered by Compare.
func (st *State) Advance(watermark time.Time) []Episode {
	if st.marked && !watermark.After(st.mark) {
		return nil
	}
	st.mark, st.marked = watermark, true
	return st.run(false)
}

// Close decides everything and returns the episodes that were not returned yet
// as closed. The State takes nothing more.
func (st *State) Close() []Episode {
	out := st.run(true)
	st.mark, st.marked = time.Unix(1<<40, 0), true
	return slices.DeleteFunc(out, func(e Episode) bool { return e.Open })
}

func (st *State) run(final bool) []Episode {
	var out []Episode
	for i, c := range st.set.list {
		r := &st.rules[i]
		keys := make([]string, 0, len(r.groups))
		for k := range r.groups {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		now := clock{final: final, mark: st.watermark(i)}
		for _, k := range keys {
			g := r.groups[k]
			st.fit(g)
			var found []decided
			if c.Slides() {
				found = st.slide(c, r, g, now)
			} else {
				found = st.follow(c, r, g, now)
			}
			for _, d := range found {
				out = append(out, d.Episode)
				if d.begins {
					st.chain(i, d)
				}
			}
			if len(g.entries) == 0 && g.open == nil && !g.floored {
				r.demand -= g.demand
				delete(r.groups, k)
			}
		}
		if len(r.order) > 2*len(r.groups)+64 {
			r.order = slices.DeleteFunc(r.order, func(g *group) bool { return r.groups[g.key] != g })
			heap.Init(&r.order)
		}
	}
	slices.SortFunc(out, Compare)
	return out
}

// chain gives an episode to the correlations that name its correlation.
func (st *State) chain(correlation int, d decided) {
	for _, u := range st.set.byBase[correlation] {
		c := st.set.list[u.correlation]
		for _, o := range st.set.observe(nil, 0, u, source{
			event: d.Event, matched: d.Matched, cited: d.Cited,
			field: func(name string) (string, bool) {
				name = c.Field(u.base, name)
				if i := slices.IndexFunc(d.Group, func(f event.Field) bool { return f.Name == name }); i >= 0 {
					return d.Group[i].Value, true
				}
				return d.view(name)
			},
		}) {
			st.take(o)
		}
	}
}

// clock tells what is certain: everything before mark, or everything.
type clock struct {
	final bool
	mark  time.Time
}

func (c clock) passed(t time.Time) bool { return c.final || t.Before(c.mark) }

// Compare orders episodes by their deciding event, then by correlation and
// group, open ones first.
func Compare(a, b Episode) int {
	if c := event.Compare(a.Event, b.Event); c != 0 {
		return c
	}
	if c := strings.Compare(a.Correlation.Rule.Key(), b.Correlation.Rule.Key()); c != 0 {
		return c
	}
	if c := slices.CompareFunc(a.Group, b.Group, func(x, y event.Field) int { return strings.Compare(x.Value, y.Value) }); c != 0 {
		return c
	}
	if a.Open != b.Open {
		if a.Open {
			return -1
		}
		return 1
	}
	return 0
}

// view finds a field of an episode's deciding event as the rule at the bottom
// of the chain sees it.
func view(c *sigma.Correlation, e *entry) func(string) (string, bool) {
	base := c.Bases[lowest(e.Bases)]
	for base.Correlation != nil {
		base = base.Correlation.Bases[0]
	}
	return func(name string) (string, bool) { return base.Rule.Field(e.Event, name) }
}

// hashHeap has the group with the greatest hash on top.
type hashHeap []*group

func (h hashHeap) Len() int           { return len(h) }
func (h hashHeap) Less(i, j int) bool { return h[i].hash > h[j].hash }
func (h hashHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }

// Push is for container/heap.
func (h *hashHeap) Push(x any) { *h = append(*h, x.(*group)) }

// Pop is for container/heap.
func (h *hashHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return last
}
