package provenance

import (
	"cmp"
	"slices"
	"sort"
	"time"

	"ashiato/internal/event"
)

// handoffs is the table of joins. A row that draws what another one looks for
// stands before it.
var handoffs = slices.Concat(logonHandoffs, shareHandoffs, pipeHandoffs, persistHandoffs, wmiHandoffs, winrmHandoffs, comHandoffs, bitsHandoffs, taskHandoffs)

// handoff is one way in which a cause hands on to an effect that no parent
// process id tells of: a join, as data. Joins that fit this form are rows of a
// table in the file of their subject (logon.go, wmi.go …), collected in
// handoffs; those that need more than two keys have a method of their own.
//
// It is a hash join over sets. Both sides are collected whole before they meet,
// so it does not matter which record came first.
type handoff struct {
	// row is the number of the hand-off in docs/joins.md, and join its stable
	// word there and on edges.
	row  int
	join string
	verb Verb
	// class is how sure the join is when one cause fits. With several it is
	// ClassC, and all of them are drawn, at most maxGuesses.
	class Class
	// context marks joins that carry no lineage, however sure they are.
	context bool
	// latest says that of several causes with one key the last one before the
	// effect holds: versions of one thing replace each other. Otherwise several
	// are candidates, and the join is a guess.
	latest bool
	// within bounds how long before the effect the cause may lie; 0 means any
	// time. A cause may seem to come after its effect by the slack of records.
	within time.Duration
	// skew is how far the cause may seem to come after its effect where the two
	// hosts' clocks differ; 0 means the slack of records. The edge then spans
	// both times.
	skew time.Duration
	// lasting says that a cause acts at any time while it holds, not when it began.
	lasting bool
	// reverse says that the arrow goes from the effect to the cause: what was
	// there first is what the later one acted on.
	reverse bool
	// causes and effects yield the two sides.
	causes, effects func(j *joiner, yield func(half))
}

// half is one side of a join, waiting for the other under its key.
type half struct {
	key string // with the host if the join is within one; "" joins nothing
	t   time.Time
	// until is when a cause stopped to hold, zero if it did not.
	until time.Time
	// refs are the records that show it, never none.
	refs []event.EvidenceRef
	// node makes or finds the node; it is called only if there is an edge to
	// draw, so what joins nothing leaves no node.
	node func() *Node
}

// maxScan bounds how many causes with one key are looked at for one effect.
const maxScan = 1024

// maxGuesses bounds the candidates that are drawn where several fit.
const maxGuesses = 4

func compareHalves(a, b half) int {
	return cmp.Or(a.t.Compare(b.t), a.refs[0].Compare(b.refs[0]))
}

// join draws the edges of a hand-off.
func (j *joiner) join(h *handoff) {
	causes := map[string][]half{}
	h.causes(j, func(c half) {
		if c.key != "" {
			causes[c.key] = append(causes[c.key], c)
		}
	})
	if len(causes) == 0 {
		return
	}
	for _, list := range causes {
		slices.SortStableFunc(list, compareHalves)
	}
	var effects []half
	h.effects(j, func(e half) {
		if len(causes[e.key]) > 0 {
			effects = append(effects, e)
		}
	})
	slices.SortStableFunc(effects, compareHalves)
	var after map[string][]time.Time // the effects' times by key
	if h.skew > 0 && !h.lasting {
		after = map[string][]time.Time{}
		for _, e := range effects {
			after[e.key] = append(after[e.key], e.t)
		}
	}
	for _, e := range effects {
		fits := causesOf(h, causes[e.key], e.t)
		if after != nil {
			fits = inOrder(fits, e, after[e.key], h.within)
		}
		class := h.class
		if len(fits) > 1 {
			class = ClassC
		}
		for _, c := range fits {
			from, to := c.node(), e.node()
			if h.reverse {
				from, to = to, from
			}
			edge := j.link(fact{
				from: from, to: to, verb: h.verb, class: class, skeleton: !h.context,
				join: h.join, t: e.t, refs: refs(c.refs, e.refs),
			})
			if edge != nil && after != nil {
				j.span(edge, c.t)
			}
		}
	}
}

// inOrder leaves out of the causes of an effect those that came after it, if the
// same cause has an effect that followed it: then the clocks agree, and this
// effect is another one's.
func inOrder(fits []half, e half, effects []time.Time, within time.Duration) []half {
	var kept []half
	for _, c := range fits {
		if c.t.After(e.t.Add(slack)) {
			i := sort.Search(len(effects), func(i int) bool { return !effects[i].Before(c.t.Add(-slack)) })
			if i < len(effects) && effects[i].Sub(c.t) <= within {
				continue
			}
		}
		kept = append(kept, c)
	}
	return kept
}

// causesOf returns the causes, sorted by time, that fit an effect at t: one, or
// the candidates for it, the latest first.
func causesOf(h *handoff, sorted []half, t time.Time) []half {
	end := sort.Search(len(sorted), func(i int) bool { return sorted[i].t.After(t.Add(max(slack, h.skew))) })
	begin := 0
	if h.within > 0 {
		begin = sort.Search(end, func(i int) bool { return !sorted[i].t.Before(t.Add(-h.within)) })
	}
	begin = max(begin, end-maxScan)
	over := func(c half) bool { return !c.until.IsZero() && !c.until.After(t) }
	if h.latest {
		for i := end - 1; i >= begin; i-- {
			if !over(sorted[i]) {
				return sorted[i : i+1]
			}
		}
		return nil
	}
	// Several records of one cause are one cause.
	var fits []half
	seen := map[NodeID]bool{}
	for i := end - 1; i >= begin && len(fits) < maxGuesses; i-- {
		if over(sorted[i]) {
			continue
		}
		n := sorted[i].node()
		if n == nil || seen[n.ID] {
			continue
		}
		seen[n.ID] = true
		fits = append(fits, sorted[i])
	}
	return fits
}
