package incident

import (
	"cmp"
	"slices"
	"time"

	"ashiato/internal/provenance"
)

// Pins are what an analyst decided about incidents. They hold whatever comes in
// later.
type Pins struct {
	// Apart are arrows that join nothing although the records say so: somebody
	// knows better.
	Apart []Apart
	// Together are pairs of incidents that are one although nothing recorded
	// joins them.
	Together []Pair
	// Closed are incidents that somebody has dealt with.
	Closed []Closed
}

// Apart names arrows by their ends. Reason is the analyst's.
type Apart struct {
	From, To provenance.NodeID
	Reason   string
}

// Pair names two incidents by the id of any of their detections. Reason is the
// analyst's.
type Pair struct {
	A, B   string
	Reason string
}

// Closed is an incident that was dealt with, with what had been seen of it: what
// came later is a new incident, related to it.
type Closed struct {
	ID      string    // of the incident, or of any of its detections
	Through time.Time // the time of the last event that was considered
	Verdict string    // the analyst's, such as "true-positive"
}

// sever takes from the arrows between pinned ends that they join.
func (p *Pins) sever(g *provenance.Graph) {
	for _, a := range p.Apart {
		for _, e := range g.Out(a.From) {
			if e.To == a.To {
				e.Skeleton, e.Severed = false, true
			}
		}
	}
}

// apply puts pinned groups together and takes what came after a closed incident
// out of it. The order of groups stays that of their first detection.
func (p *Pins) apply(groups []group) []group {
	if len(p.Together)+len(p.Closed) == 0 {
		return groups
	}
	of := map[string]int{} // detection id → group
	for i := range groups {
		for _, a := range groups[i].alerts {
			of[a.ID] = i
		}
	}
	into := make([]int, len(groups))
	for i := range into {
		into[i] = i
	}
	find := func(i int) int {
		for into[i] != i {
			i = into[i]
		}
		return i
	}
	for _, t := range p.Together {
		a, okA := of[t.A]
		b, okB := of[t.B]
		if !okA || !okB {
			continue
		}
		if a, b = find(a), find(b); a != b {
			into[max(a, b)] = min(a, b)
		}
	}
	for i := range groups {
		if to := find(i); to != i {
			x, y := &groups[to], groups[i]
			x.alerts = append(x.alerts, y.alerts...)
			for n := range y.nodes {
				x.nodes[n] = true
			}
			x.joined = x.joined || y.joined
			x.pinned = true
		}
	}
	var kept []group
	for i, x := range groups {
		if into[i] != i {
			continue
		}
		slices.SortStableFunc(x.alerts, compareAlerts)
		kept = append(kept, x)
	}
	kept = p.reopen(kept)
	slices.SortStableFunc(kept, func(a, b group) int { return compareAlerts(a.alerts[0], b.alerts[0]) })
	return kept
}

// reopen splits what came later from closed incidents. Of several closures of
// one incident the last one holds.
func (p *Pins) reopen(groups []group) []group {
	through := map[int]Closed{}
	for i := range groups {
		for _, c := range p.Closed {
			if !slices.ContainsFunc(groups[i].alerts, func(a alert) bool { return a.ID == c.ID }) {
				continue
			}
			if have, ok := through[i]; !ok || c.Through.After(have.Through) {
				through[i] = c
			}
		}
	}
	for i, n := 0, len(groups); i < n; i++ {
		c, ok := through[i]
		if !ok {
			continue
		}
		groups[i].verdict = cmp.Or(c.Verdict, "closed")
		at := slices.IndexFunc(groups[i].alerts, func(a alert) bool { return a.Event.Time.After(c.Through) })
		if at <= 0 {
			continue // nothing came later, or nothing was seen when it was closed
		}
		later := group{alerts: groups[i].alerts[at:], nodes: groups[i].nodes, joined: groups[i].joined, after: groups[i].alerts[0].ID}
		groups[i].alerts = groups[i].alerts[:at:at]
		groups = append(groups, later)
	}
	return groups
}
