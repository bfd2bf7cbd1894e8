package correlation

import (
	"math"
	"math/big"
	"math/bits"
	"slices"
	"sort"

	"ashiato/internal/event"
	"ashiato/internal/sigma"
)

// decided is an episode that a run has found something new about.
type decided struct {
	Episode
	// begins is set where the episode is returned for the first time.
	begins bool
	view   func(string) (string, bool)
}

func lowest(mask uint64) int { return bits.TrailingZeros64(mask) }

// slide judges the windows that each event of the group begins, of which those
// that hold and overlap are one episode.
func (st *State) slide(c *sigma.Correlation, r *ruleState, g *group, now clock) []decided {
	var out []decided
	es := g.entries
	n := sort.Search(len(es), func(i int) bool { return !now.passed(es[i].Time) })
	var completes []int
	if c.Grows() {
		completes = completing(c, es[:n])
	} else {
		completes = exceeding(c, es[:n])
	}
	begin := func(i, at int) {
		last := sort.Search(n, func(j int) bool { return es[j].Time.After(es[at].Time) })
		if c.Type == sigma.TemporalOrdered {
			// Of events of the same time the last step need not come last.
			first := max(i, sort.Search(n, func(j int) bool { return !es[j].Time.Before(es[at].Time) }))
			at = first + sort.Search(last-first-1, func(j int) bool { _, ok := judge(c, es[i:first+j+1]); return ok })
		}
		e := &es[at]
		ep := Episode{
			Correlation: c, Group: e.Group, Event: e.Event, Matched: e.Matched, Cited: cite(c, es[i:last], at-i),
			Count: last - i, First: es[i].Time, Last: e.Time, Open: true,
		}
		out = append(out, decided{ep, true, view(c, e)})
		kept := ep
		kept.Count = 0 // counted as its events are passed
		g.open = &kept
	}
	end := func() {
		ep := *g.open
		ep.Open = false
		g.open = nil
		out = append(out, decided{Episode: ep})
	}
	p := 0
	for ; p < n && now.passed(es[p].Time.Add(c.Timespan)); p++ {
		t := es[p].Time
		if g.open != nil && t.After(g.open.Last) {
			end()
		}
		if completes[p] >= 0 {
			if g.open == nil {
				begin(p, completes[p])
			}
			limit := t.Add(c.Timespan)
			last := sort.Search(n, func(j int) bool { return es[j].Time.After(limit) }) - 1
			if es[last].Time.After(g.open.Last) {
				g.open.Last = es[last].Time
			}
		}
		if g.open != nil && !t.Before(g.open.First) {
			g.open.Count++
		}
	}
	if g.open != nil && now.passed(g.open.Last) && (p == len(es) || es[p].Time.After(g.open.Last)) {
		end()
	}
	if g.open == nil && c.Grows() {
		for i := p; i < n; i++ {
			if completes[i] >= 0 {
				begin(i, completes[i])
				break
			}
		}
	}
	st.pop(r, g, p)
	return out
}

// follow judges windows that follow one another: each begins at the first event
// after the last one's end.
func (st *State) follow(c *sigma.Correlation, r *ruleState, g *group, now clock) []decided {
	var out []decided
	es := g.entries
	p := 0
	for p < len(es) {
		limit := es[p].Time.Add(c.Timespan)
		if !now.passed(limit) {
			break
		}
		last := p + 1 + sort.Search(len(es)-p-1, func(j int) bool { return es[p+1+j].Time.After(limit) })
		w := es[p:last]
		if chosen, ok := judge(c, w); ok {
			if chosen != nil {
				var of []entry
				for _, i := range chosen {
					of = append(of, w[i])
				}
				w = of
			}
			e := &w[len(w)-1]
			out = append(out, decided{Episode{
				Correlation: c, Group: e.Group, Event: e.Event, Matched: e.Matched, Cited: cite(c, w, len(w)-1),
				Count: len(w), First: w[0].Time, Last: e.Time,
			}, true, view(c, e)})
		}
		g.floor, g.floored = limit, true
		p = last
	}
	st.pop(r, g, p)
	if g.floored && now.passed(g.floor) {
		g.floored = false
	}
	return out
}

// completing returns, for the window that each entry begins, the entry with
// which a growing condition first holds, -1 where it does not.
func completing(c *sigma.Correlation, es []entry) []int {
	out := make([]int, len(es))
	for i := range out {
		out[i] = -1
	}
	within := func(i, j int) bool { return !es[j].Time.After(es[i].Time.Add(c.Timespan)) }
	if c.Type == sigma.TemporalOrdered {
		take := func(ends []int) {
			for i, j := range ends {
				if j >= 0 && within(i, j) && (out[i] < 0 || j < out[i]) {
					out[i] = j
				}
			}
		}
		if c.Terms == nil {
			take(chainEnds(es, allBases(c), atLeast(c)))
		}
		for _, t := range c.Terms {
			take(chainEnds(es, t.With, bits.OnesCount64(t.With)))
		}
		return out
	}
	w := newTally(c)
	for i, j := 0, 0; i < len(es); i++ {
		for !w.holds() && j < len(es) && within(i, j) {
			w.add(&es[j], 1)
			j++
		}
		if w.holds() {
			out[i] = j - 1
		}
		w.add(&es[i], -1)
	}
	return out
}

func allBases(c *sigma.Correlation) uint64 { return math.MaxUint64 >> (64 - len(c.Bases)) }

// atLeast is the least whole number for which a growing condition holds.
func atLeast(c *sigma.Correlation) int {
	least := 1.0
	for _, k := range c.Compare {
		b := math.Ceil(k.Bound)
		if k.Op == "gt" {
			b = math.Floor(k.Bound) + 1
		}
		least = max(least, b)
	}
	return int(min(least, 1<<40))
}

// tally counts what a moving window holds.
type tally struct {
	c      *sigma.Correlation
	events int
	values map[string]int
	bases  [64]int
	mask   uint64
}

func newTally(c *sigma.Correlation) *tally { return &tally{c: c, values: map[string]int{}} }

func (w *tally) add(e *entry, n int) {
	w.events += n
	switch w.c.Type {
	case sigma.ValueCount:
		if w.values[e.Value] += n; w.values[e.Value] == 0 {
			delete(w.values, e.Value)
		}
	case sigma.Temporal:
		for m := e.Bases; m != 0; m &= m - 1 {
			b := lowest(m)
			if w.bases[b] += n; w.bases[b] == 0 {
				w.mask &^= 1 << b
			} else {
				w.mask |= 1 << b
			}
		}
	}
}

func (w *tally) holds() bool {
	switch {
	case w.events == 0:
		return false
	case w.c.Type == sigma.ValueCount:
		return w.c.Holds(float64(len(w.values)))
	case w.c.Type == sigma.Temporal:
		return holdsFor(w.c, w.mask)
	}
	return w.c.Holds(float64(w.events))
}

// holdsFor judges a temporal condition on the bases that occur.
func holdsFor(c *sigma.Correlation, mask uint64) bool {
	if c.Terms == nil {
		return c.Holds(float64(bits.OnesCount64(mask)))
	}
	return slices.ContainsFunc(c.Terms, func(t sigma.Term) bool { return t.With&^mask == 0 && t.Without&mask == 0 })
}

// chainEnds returns for each entry the earliest end of a chain of so many of the
// allowed bases, in their order and not backwards in time, that begins at the
// entry or later; -1 if there is none.
func chainEnds(es []entry, allowed uint64, length int) []int {
	out := make([]int, len(es))
	k := bits.Len64(allowed)
	if length > bits.OnesCount64(allowed) {
		for i := range out {
			out[i] = -1
		}
		return out
	}
	// ends[l][q]: the earliest end of a chain of l+1 bases that begins with base q
	// or a later one, so far
	ends := make([][]int, length)
	for l := range ends {
		ends[l] = slices.Repeat([]int{len(es)}, k+1)
	}
	better := func(l, p, end int) {
		for q := p; q >= 0 && end < ends[l][q]; q-- {
			ends[l][q] = end
		}
	}
	for hi := len(es); hi > 0; {
		lo := hi - 1
		for lo > 0 && es[lo-1].Time.Equal(es[hi-1].Time) {
			lo--
		}
		var first [64]int
		var there uint64
		for i := hi - 1; i >= lo; i-- {
			for m := es[i].Bases & allowed; m != 0; m &= m - 1 {
				first[lowest(m)] = i
			}
			there |= es[i].Bases & allowed
		}
		for p := k - 1; p >= 0; p-- {
			if there>>p&1 == 0 {
				continue
			}
			better(0, p, first[p])
			for l := 1; l < length; l++ {
				better(l, p, ends[l-1][p+1])
			}
		}
		for i := lo; i < hi; i++ {
			out[i] = ends[length-1][0]
			if out[i] == len(es) {
				out[i] = -1
			}
		}
		hi = lo
	}
	return out
}

// longest returns a longest chain of the allowed bases in their order and not
// backwards in time, as indices; it stops at a length of enough.
func longest(es []entry, allowed uint64, enough int) []int {
	type link struct{ at, before, length int }
	var links []link
	var best [65]int // by base: the link of the longest chain that ends there, +1
	top := 0
	for lo := 0; lo < len(es); {
		hi := lo + 1
		for hi < len(es) && es[hi].Time.Equal(es[lo].Time) {
			hi++
		}
		var first [64]int
		var there uint64
		for i := hi - 1; i >= lo; i-- {
			for m := es[i].Bases & allowed; m != 0; m &= m - 1 {
				first[lowest(m)] = i
			}
			there |= es[i].Bases & allowed
		}
		for m := there; m != 0; m &= m - 1 {
			p, before := lowest(m), 0
			for q := range p {
				if b := best[q]; b > 0 && (before == 0 || links[b-1].length > links[before-1].length) {
					before = b
				}
			}
			length := 1
			if before > 0 {
				length += links[before-1].length
			}
			if best[p] > 0 && links[best[p]-1].length >= length {
				continue
			}
			links = append(links, link{first[p], before, length})
			best[p] = len(links)
			if top == 0 || length > links[top-1].length {
				top = len(links)
			}
		}
		if top > 0 && links[top-1].length >= enough {
			break
		}
		lo = hi
	}
	var out []int
	for ; top > 0; top = links[top-1].before {
		out = append(out, links[top-1].at)
	}
	slices.Reverse(out)
	return out
}

// total is an exact sum of floating-point numbers.
type total struct{ sum big.Float }

// exact holds every sum of finite numbers without rounding: the exponents reach
// from -1074 to 1023, and the number of addends is bounded by memory.
const exact = 2200

func (s *total) add(x float64) {
	s.sum.SetPrec(exact)
	s.sum.Add(&s.sum, new(big.Float).SetPrec(53).SetFloat64(x))
}

func (s *total) value() float64 {
	x, _ := s.sum.Float64()
	return x
}

// exceeding is completing for value_sum, which more events can make smaller: a
// whole window holds or does not, and its last entry decides.
func exceeding(c *sigma.Correlation, es []entry) []int {
	out := make([]int, len(es))
	var s total
	j := 0
	for i := 0; i < len(es); {
		limit := es[i].Time.Add(c.Timespan)
		for j < len(es) && !es[j].Time.After(limit) {
			s.add(es[j].Number)
			j++
		}
		last := -1
		if c.Holds(s.value()) {
			last = j - 1
		}
		for t := es[i].Time; i < len(es) && es[i].Time.Equal(t); i++ { // the same window
			out[i] = last
			s.add(-es[i].Number)
		}
	}
	return out
}

// judge decides a whole window. chosen are the entries that it holds for, nil
// for all of them.
func judge(c *sigma.Correlation, w []entry) (chosen []int, ok bool) {
	switch {
	case c.Type == sigma.ValuePercentile && c.Percentile == 0:
		counts := map[string]int{}
		for i := range w {
			counts[w[i].Value]++
		}
		for i := range w {
			if c.Holds(100 * float64(counts[w[i].Value]) / float64(len(w))) {
				chosen = append(chosen, i)
			}
		}
		return chosen, len(chosen) > 0
	case c.Terms != nil:
		var mask uint64
		for i := range w {
			mask |= w[i].Bases
		}
		return nil, slices.ContainsFunc(c.Terms, func(t sigma.Term) bool {
			if t.With&^mask != 0 || t.Without&mask != 0 {
				return false
			}
			n := bits.OnesCount64(t.With)
			return c.Type != sigma.TemporalOrdered || len(longest(w, t.With, n)) == n
		})
	}
	return nil, c.Holds(measure(c, w))
}

// measure is what a condition compares, for a whole window.
func measure(c *sigma.Correlation, w []entry) float64 {
	switch c.Type {
	case sigma.ValueCount:
		values := map[string]bool{}
		for i := range w {
			values[w[i].Value] = true
		}
		return float64(len(values))
	case sigma.Temporal:
		var mask uint64
		for i := range w {
			mask |= w[i].Bases
		}
		return float64(bits.OnesCount64(mask))
	case sigma.TemporalOrdered:
		return float64(len(longest(w, allBases(c), len(c.Bases))))
	case sigma.ValueSum, sigma.ValueAvg:
		var s total
		for i := range w {
			s.add(w[i].Number)
		}
		if c.Type == sigma.ValueAvg {
			s.sum.Quo(&s.sum, new(big.Float).SetInt64(int64(len(w))))
		}
		return s.value()
	case sigma.ValueMedian, sigma.ValuePercentile:
		numbers := make([]float64, len(w))
		for i := range w {
			numbers[i] = w[i].Number
		}
		slices.Sort(numbers)
		if c.Type == sigma.ValuePercentile {
			return numbers[(c.Percentile*len(w)+99)/100-1] // nearest rank
		}
		if m := len(w) / 2; len(w)%2 == 0 {
			return numbers[m-1]/2 + numbers[m]/2
		}
		return numbers[len(w)/2]
	}
	return float64(len(w))
}

// cite chooses the events that an episode names: the deciding one, for ordered
// conditions a chain, one of each base, then the earliest.
func cite(c *sigma.Correlation, w []entry, deciding int) []*event.Event {
	var out []*event.Event
	seen := map[*event.Event]bool{}
	put := func(e *event.Event) {
		if len(out) < MaxCited && !seen[e] {
			seen[e] = true
			out = append(out, e)
		}
	}
	chosen := []int{deciding}
	if c.Type == sigma.TemporalOrdered {
		chosen = append(chosen, longest(w, allBases(c), len(c.Bases))...)
	}
	var mask uint64
	for i := range w {
		if w[i].Bases&^mask != 0 {
			mask |= w[i].Bases
			chosen = append(chosen, i)
		}
	}
	for i := range min(len(w), MaxCited) {
		chosen = append(chosen, i)
	}
	for _, i := range chosen {
		put(w[i].Event)
	}
	for _, i := range chosen {
		for _, e := range w[i].Cited {
			put(e)
		}
	}
	slices.SortFunc(out, event.Compare)
	return out
}
