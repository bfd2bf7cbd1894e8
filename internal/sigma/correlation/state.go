package correlation

import (
	"container/heap"
	"math/bits"
	"slices"
	"sort"
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
	// Rule is the bytes that all groups of one correlation may hold together,
	// and Groups their number. Beyond them whole groups are left out, chosen by
	// the hash of their values.
	Rule   int64
	Groups int
	// Waiting is the bytes of the events that wait for Resolve. Beyond it the
	// earliest are kept.
	Waiting int64
}

// The defaults of Limits.
const (
	DefaultGroup   = 4 << 20
	DefaultRule    = 64 << 20
	DefaultGroups  = 100_000
	DefaultWaiting = 256 << 20
)

// groupCost is what a group takes beside its events, in bytes.
const groupCost = 512

// Stats counts what a State has seen and what it left out. Every observation
// that is none of the others is, or was, in a group.
type Stats struct {
	Observations int64 // given to Add; one that waits counts when it is resolved, by correlation
	Ungrouped    int64 // of these: without a field that the correlation groups by
	Unvalued     int64 // of these: without the field, or number, that it measures
	Late         int64 // of these: before the watermark
	Repeated     int64 // of these: a record, or a base of it, that was there already
	Evicted      int64 // of these: left out for Limits.Group
	GroupEvents  int64 // of these: left out with their groups for Limits.Rule or Limits.Groups
	// Unresolved are the ungrouped ones of which the Resolver did not know what
	// they belong to, by sigma.PseudoFields.
	Unresolved [len(sigma.PseudoFields)]int64
	// Unheld are the events that were to wait and left out for Limits.Waiting.
	Unheld int64
}

// Lost returns how many observations, and events that were to become some, the
// limits left out.
func (s Stats) Lost() int64 { return s.Evicted + s.GroupEvents + s.Unheld }

// State is the memory of a Set. It is not safe for concurrent use.
type State struct {
	set     *Set
	limits  Limits
	rules   []ruleState
	waiting waiting
	resolve Resolver              // what Resolve was given last
	inspect func(correlation int) // called before a correlation's groups are judged, unless nil
	stats   Stats
	// mark is the watermark; marked says that there is one.
	mark   time.Time
	marked bool
}

// ruleState is the groups of one correlation.
type ruleState struct {
	groups map[string]*group
	demand int64
	order  hashHeap
	queue  dueHeap
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
	bases   uint64           // which bases occur
	kept    int64            // bytes of entries
	demand  int64            // bytes of everything that was to be kept, up to Limits.Group
	fence   position         // entries at or after it are left out, if fenced
	fenced  bool
	open    *Episode  // the episode that may go on
	floor   time.Time // windows that follow one another: the end of the last
	floored bool

	early time.Time // the first entry's, if there are any
	fresh time.Time // the first entry's that was not yet passed when the group was last judged
	news  bool      // there is one
	due   time.Time // a watermark after it may decide something
	place int       // in the queue, plus 1; 0 outside
}

// State returns an empty State.
func (s *Set) State(limits Limits) *State {
	if limits.Group <= 0 {
		limits.Group = DefaultGroup
	}
	if limits.Rule <= 0 {
		limits.Rule = DefaultRule
	}
	if limits.Groups <= 0 {
		limits.Groups = DefaultGroups
	}
	if limits.Waiting <= 0 {
		limits.Waiting = DefaultWaiting
	}
	st := &State{set: s, limits: limits, rules: make([]ruleState, len(s.list)), resolve: unknown}
	for i := range st.rules {
		st.rules[i].groups = map[string]*group{}
	}
	st.waiting.ids = map[identity]int{}
	return st
}

// unknown is the Resolver that knows nothing.
func unknown(*event.Event, string) (string, bool) { return "", false }

// Stats returns what was seen and left out so far.
func (st *State) Stats() Stats { return st.stats }

// Add takes an observation in.
func (st *State) Add(o Observation) {
	if o.waits != nil {
		st.wait(o)
		return
	}
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
		if o.unresolved > 0 {
			st.stats.Unresolved[o.unresolved-1]++
		}
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
	r.schedule(c, g)
	for (r.demand > st.limits.Rule || len(r.groups) > st.limits.Groups) && len(r.order) > 0 {
		last := heap.Pop(&r.order).(*group)
		if r.groups[last.key] != last {
			continue // closed since
		}
		r.fence, r.fenced = last.hash, true
		r.demand -= last.demand
		r.drop(last)
		for i := range last.entries {
			st.stats.GroupEvents += 1 + last.entries[i].Copies
			st.stats.Repeated -= last.entries[i].Copies
		}
	}
}

func (r *ruleState) drop(g *group) {
	delete(r.groups, g.key)
	if g.place > 0 {
		heap.Remove(&r.queue, g.place-1)
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
		g.entries[i].Copies++
		g.bases |= e.Bases
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
	if len(g.entries) == 0 || e.Time.Before(g.early) {
		g.early = e.Time
	}
	if !g.news || e.Time.Before(g.fresh) {
		g.fresh, g.news = e.Time, true
	}
	g.sorted = len(g.entries) == 0 || g.sorted && g.entries[len(g.entries)-1].compare(&e) < 0
	g.ids[e.ID] = len(g.entries)
	g.bases |= e.Bases
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
			st.stats.Evicted += 1 + g.entries[j].Copies
			st.stats.Repeated -= g.entries[j].Copies
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
	g.bases = 0
	for i := range g.entries {
		g.ids[g.entries[i].ID] = i
		g.bases |= g.entries[i].Bases
	}
	if g.fenced { // what was left out is gone, what comes next has room again
		if low := groupCost + g.kept; g.demand > low {
			r.demand -= g.demand - low
			g.demand = low
		}
		g.fenced = false
	}
}

// schedule finds the watermark after which the group must be judged again and
// puts the group in its place in the queue:
//
//   - an event leaves the window that it begins. An episode ends no sooner than
//     the window of its last event;
//   - an event is passed that may complete a growing condition. It may if the
//     group holds enough for the condition at all, in whatever window.
//
// Nothing else changes what slide and follow say.
func (r *ruleState) schedule(c *sigma.Correlation, g *group) {
	due, any := time.Time{}, false
	at := func(t time.Time) {
		if !any || t.Before(due) {
			due, any = t, true
		}
	}
	if len(g.entries) > 0 {
		at(g.early.Add(c.Timespan))
	}
	switch {
	case len(g.entries) == 0 && g.open != nil:
		at(g.open.Last)
	case len(g.entries) == 0 && g.floored:
		at(g.floor)
	case g.open == nil && g.news && c.Grows() && g.suffices(c):
		at(g.fresh)
	}
	switch {
	case !any && g.place > 0:
		heap.Remove(&r.queue, g.place-1)
	case !any:
	case g.place == 0:
		g.due = due
		heap.Push(&r.queue, g)
	case !due.Equal(g.due):
		g.due = due
		heap.Fix(&r.queue, g.place-1)
	}
}

// suffices reports whether all events of the group together could make a growing
// condition hold, whatever their times.
func (g *group) suffices(c *sigma.Correlation) bool {
	switch {
	case c.Terms != nil:
		return slices.ContainsFunc(c.Terms, func(t sigma.Term) bool { return t.With&^g.bases == 0 })
	case c.Type == sigma.Temporal || c.Type == sigma.TemporalOrdered:
		return bits.OnesCount64(g.bases) >= atLeast(c)
	}
	return len(g.entries) >= atLeast(c)
}

// judged notes what of the group is certain now.
func (g *group) judged(now clock) {
	g.news = false
	if len(g.entries) == 0 {
		return
	}
	g.early = g.entries[0].Time
	i := sort.Search(len(g.entries), func(i int) bool { return !now.passed(g.entries[i].Time) })
	if i < len(g.entries) {
		g.fresh, g.news = g.entries[i].Time, true
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
	return st.run(false, false)
}

// Close decides everything and returns the episodes that were not returned yet
// as closed. What still waits for Resolve is decided by the last Resolver given,
// and is ungrouped if there was none. The State takes nothing more.
func (st *State) Close() []Episode {
	st.Resolve(st.resolve)
	out := st.run(true, true)
	st.mark, st.marked = time.Unix(1<<40, 0), true
	return slices.DeleteFunc(out, func(e Episode) bool { return e.Open })
}

// run judges the groups that are due, or all of them.
func (st *State) run(final, all bool) []Episode {
	var out []Episode
	for i, c := range st.set.list {
		if st.inspect != nil {
			st.inspect(i)
		}
		r := &st.rules[i]
		now := clock{final: final, mark: st.watermark(i)}
		var judging []*group
		if all {
			for _, g := range r.groups {
				judging = append(judging, g)
			}
		} else {
			for len(r.queue) > 0 && now.passed(r.queue[0].due) {
				judging = append(judging, heap.Pop(&r.queue).(*group))
			}
		}
		slices.SortFunc(judging, func(a, b *group) int { return strings.Compare(a.key, b.key) })
		for _, g := range judging {
			st.fit(g)
			var found []decided
			if c.Slides() {
				found = st.slide(c, r, g, now)
			} else {
				found = st.follow(c, r, g, now)
			}
			for _, d := range found {
				d.Belongs = st.set.belongs(i, d.Group)
				out = append(out, d.Episode)
				if d.begins {
					st.chain(i, d)
				}
			}
			g.judged(now)
			if len(g.entries) == 0 && g.open == nil && !g.floored {
				r.demand -= g.demand
				r.drop(g)
			} else {
				r.schedule(c, g)
			}
		}
		if r.fenced && !final && r.demand <= st.limits.Rule/2 && len(r.groups) <= st.limits.Groups/2 {
			r.fenced = false // groups have closed: there is room for new ones
		}
		if len(r.order) > 2*len(r.groups)+64 {
			r.order = slices.DeleteFunc(r.order, func(g *group) bool { return r.groups[g.key] != g })
			heap.Init(&r.order)
		}
	}
	slices.SortFunc(out, Compare)
	return out
}

// belongs returns what all events of an episode belong to.
func (s *Set) belongs(correlation int, group []event.Field) []event.Field {
	var out []event.Field
	for _, b := range s.shared[correlation] {
		for _, f := range group {
			if f.Name == b.name {
				out = append(out, event.Field{Name: b.pseudo, Value: f.Value})
			}
		}
	}
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
				if slices.Contains(sigma.PseudoFields[:], name) {
					return st.resolve(d.Event, name)
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

// dueHeap has the group that is due first on top.
type dueHeap []*group

func (h dueHeap) Len() int           { return len(h) }
func (h dueHeap) Less(i, j int) bool { return h[i].due.Before(h[j].due) }
func (h dueHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i+1, j+1
}

// Push is for container/heap.
func (h *dueHeap) Push(x any) {
	g := x.(*group)
	*h = append(*h, g)
	g.place = len(*h)
}

// Pop is for container/heap.
func (h *dueHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	old[len(old)-1] = nil
	last.place = 0
	*h = old[:len(old)-1]
	return last
}
