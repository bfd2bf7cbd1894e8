package correlation

import (
	"cmp"
	"math/bits"
	"slices"
	"strings"
	"time"

	"ashiato/internal/event"
	"ashiato/internal/sigma"
)

// maxTried bounds the windows of one group that Explain measures event by event,
// and the events of each.
const maxTried = 2_000

// Explanation is what a correlation made of the events.
type Explanation struct {
	// Groups is how many groups there are, Held for how many of them it held.
	Groups, Held int
	// Near are those for which it held and came nearest, in this order.
	Near []Near
	// Episodes are those of the correlation and of what it names.
	Episodes []Episode
}

// Near is how near a correlation came to holding for a group.
type Near struct {
	Group []event.Field
	Holds bool
	// Events is how many events the group has, First and Last when.
	Events      int
	First, Last time.Time
	// Window are the events of the window that holds or came nearest, in order:
	// the first MaxCited of Count. It begins at From.
	Window []Member
	Count  int
	From   time.Time
	// Measure is what the condition compares for that window: events, values,
	// rules, the length of the chain, or a number; of shares the nearest.
	Measure float64
	// Occurs and InOrder say which of the rules occur in the window, and for an
	// ordered type which are part of its longest chain, by their position.
	Occurs, InOrder []bool
	// Cut says that the group has too many events to have tried every window.
	Cut bool

	distance float64
}

// Member is an event of a window, and which rules hold for it.
type Member struct {
	Event *event.Event
	Bases []int
}

// Explain closes the State and tells how near one of its correlations came for
// at most so many groups.
func (st *State) Explain(c *sigma.Correlation, most int) Explanation {
	var out Explanation
	st.inspect = func(i int) {
		if st.set.list[i] != c {
			return
		}
		for _, g := range st.rules[i].groups {
			st.fit(g)
			if len(g.entries) > 0 {
				out.Near = append(out.Near, near(c, g.entries))
			}
		}
	}
	out.Episodes = st.Close()
	st.inspect = nil
	out.Groups = len(out.Near)
	for i := range out.Near {
		if out.Near[i].Holds {
			out.Held++
		}
	}
	slices.SortFunc(out.Near, func(a, b Near) int {
		return cmp.Or(cmp.Compare(a.distance, b.distance), cmp.Compare(b.Count, a.Count), a.From.Compare(b.From),
			slices.CompareFunc(a.Group, b.Group, func(x, y event.Field) int { return strings.Compare(x.Value, y.Value) }))
	})
	out.Near = out.Near[:min(most, len(out.Near))]
	return out
}

// near measures every window of a group and keeps the nearest.
func near(c *sigma.Correlation, es []entry) Near {
	best := Near{Group: es[0].Group, Events: len(es), First: es[0].Time, Last: es[len(es)-1].Time, distance: -1}
	take := func(i, j int, measure float64) {
		mask := uint64(0)
		for k := i; k < j; k++ {
			mask |= es[k].Bases
		}
		d, inOrder := distance(c, measure, es[i:j], mask)
		if best.distance >= 0 && (d > best.distance || d == best.distance && j-i <= best.Count) {
			return
		}
		best.distance, best.Measure, best.From, best.Count = d, measure, es[i].Time, j-i
		best.Holds = d == 0
		best.Occurs = marked(mask, len(c.Bases))
		best.Window = nil
		for k := i; k < min(j, i+MaxCited); k++ {
			m := Member{Event: es[k].Event}
			for b := es[k].Bases; b != 0; b &= b - 1 {
				m.Bases = append(m.Bases, lowest(b))
			}
			best.Window = append(best.Window, m)
		}
		if c.Type == sigma.TemporalOrdered {
			best.InOrder = marked(inOrder, len(c.Bases))
		}
	}
	j := 0
	for i := 0; i < len(es); {
		limit := es[i].Time.Add(c.Timespan)
		for j = max(j, i+1); j < len(es) && !es[j].Time.After(limit); j++ {
		}
		end := j
		if i >= maxTried || end-i > maxTried {
			best.Cut = true
			end = min(end, i+maxTried)
			if i >= maxTried {
				break
			}
		}
		if c.Type == sigma.ValuePercentile && c.Percentile == 0 {
			take(i, end, nearestShare(c, es[i:end]))
		} else {
			take(i, end, measure(c, es[i:end]))
		}
		if !c.Slides() {
			i = j
			continue
		}
		for t := es[i].Time; i < len(es) && es[i].Time.Equal(t); i++ { // one window
		}
	}
	return best
}

func marked(mask uint64, n int) []bool {
	out := make([]bool, n)
	for i := range out {
		out[i] = mask>>i&1 == 1
	}
	return out
}

// chain returns the bases of a longest chain of the allowed ones in a window.
func chain(w []entry, allowed uint64) uint64 {
	var mask uint64
	after := -1
	for _, i := range longest(w, allowed, bits.OnesCount64(allowed)) {
		// An event may match several: the lowest that goes on will do.
		for b := w[i].Bases & allowed; b != 0; b &= b - 1 {
			if lowest(b) > after {
				after = lowest(b)
				mask |= 1 << after
				break
			}
		}
	}
	return mask
}

// lacks returns how many rules an alternative of an extended condition is away
// from holding for a window, and which of those it wants are there, in order if
// the type asks for that.
func lacks(c *sigma.Correlation, t sigma.Term, w []entry, mask uint64) (n int, have uint64) {
	have = mask & t.With
	if c.Type == sigma.TemporalOrdered {
		have = chain(w, t.With)
	}
	return bits.OnesCount64(t.With&^have) + bits.OnesCount64(t.Without&mask), have
}

// distance is 0 if the condition holds for a window, else how far it is away: by
// rules, or by the amount that the measure would have to change. inOrder is what
// the nearest chain has.
func distance(c *sigma.Correlation, x float64, w []entry, mask uint64) (d float64, inOrder uint64) {
	if c.Terms != nil {
		d = -1
		for _, t := range c.Terms {
			if n, have := lacks(c, t, w, mask); d < 0 || float64(n) < d {
				d, inOrder = float64(n), have
			}
		}
		return d, inOrder
	}
	if c.Type == sigma.TemporalOrdered {
		inOrder = chain(w, allBases(c))
	}
	return off(c, x), inOrder
}

// off is how much a measure would have to change.
func off(c *sigma.Correlation, x float64) float64 {
	d := 0.0
	for _, k := range c.Compare {
		switch {
		case k.Holds(x):
		case x == k.Bound:
			d++
		default:
			d += max(x-k.Bound, k.Bound-x)
		}
	}
	return d
}

// nearestShare returns the share of a window's events, in per cent, of the value
// for which the condition holds or comes nearest.
func nearestShare(c *sigma.Correlation, w []entry) float64 {
	counts := map[string]int{}
	for i := range w {
		counts[w[i].Value]++
	}
	best := -1.0
	for i := range w {
		if x := 100 * float64(counts[w[i].Value]) / float64(len(w)); best < 0 || off(c, x) < off(c, best) {
			best = x
		}
	}
	return best
}
