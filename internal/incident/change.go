package incident

import (
	"cmp"
	"slices"
	"strings"

	"ashiato/internal/provenance"
)

// Earlier is an incident as an earlier analysis reported it.
type Earlier struct {
	ID         string
	Detections []string // their ids
}

// ChangeKind is what became of an earlier incident.
type ChangeKind string

// What may become of an incident when more records, other rules or an analyst's
// pins come in.
const (
	Kept   ChangeKind = "kept"   // the same id
	Moved  ChangeKind = "moved"  // another id, because an earlier detection was found: a redirect
	Merged ChangeKind = "merged" // one with another earlier incident now: a redirect to it
	Split  ChangeKind = "split"  // its detections are in several now
	Gone   ChangeKind = "gone"   // none of its detections is there any more
)

// Change says where an earlier incident is now.
type Change struct {
	ID   string
	Kind ChangeKind
	// Now are the ids of the incidents that its detections are in, the one with
	// most of them first; none if it is gone.
	Now []string
	// With are the ids of the earlier incidents that are in the same one now,
	// sorted.
	With []string
	// Why is the shortest way of arrows that joins it to the first of With: the
	// reason of the merge, with its records. It is empty where an analyst's pin
	// joined them.
	Why []*provenance.Edge
	// New is how many detections the first incident has that no earlier incident
	// had.
	New int
}

// Changes says of every earlier incident where it is now, in the order of ids.
func Changes(before []Earlier, now []*Incident) []Change {
	in := map[string]*Incident{} // detection id → incident
	for _, i := range now {
		for _, d := range i.Detections {
			in[d.ID] = i
		}
	}
	old := map[string]bool{}
	home := map[string]*Incident{} // earlier id → where most of it is now
	spread := map[string][]string{}
	for _, e := range before {
		count := map[*Incident]int{}
		for _, d := range e.Detections {
			old[d] = true
			if i := in[d]; i != nil {
				count[i]++
			}
		}
		var found []*Incident
		for i := range count {
			found = append(found, i)
		}
		slices.SortFunc(found, func(a, b *Incident) int {
			return cmp.Or(cmp.Compare(count[b], count[a]), strings.Compare(a.ID, b.ID))
		})
		for _, i := range found {
			spread[e.ID] = append(spread[e.ID], i.ID)
		}
		if len(found) > 0 {
			home[e.ID] = found[0]
		}
	}
	changes := make([]Change, 0, len(before))
	for _, e := range before {
		c := Change{ID: e.ID, Now: spread[e.ID]}
		i := home[e.ID]
		if i == nil {
			c.Kind = Gone
			changes = append(changes, c)
			continue
		}
		for _, d := range i.Detections {
			if !old[d.ID] {
				c.New++
			}
		}
		var other *Earlier
		for k := range before {
			if o := &before[k]; o.ID != e.ID && home[o.ID] == i {
				c.With = append(c.With, o.ID)
				if other == nil || o.ID < other.ID {
					other = o
				}
			}
		}
		slices.Sort(c.With)
		switch {
		case len(c.Now) > 1:
			c.Kind = Split
		case other != nil:
			c.Kind = Merged
			c.Why = i.between(e.Detections, other.Detections)
		case i.ID != e.ID:
			c.Kind = Moved
		default:
			c.Kind = Kept
		}
		changes = append(changes, c)
	}
	slices.SortFunc(changes, func(a, b Change) int { return strings.Compare(a.ID, b.ID) })
	return changes
}

// between returns the shortest way along arrows that join, from
// the nodes of some detections to those of others, in order; of equals the one
// with the smaller nodes. It is empty if there is none.
func (i *Incident) between(from, to []string) []*provenance.Edge {
	nodes := func(ids []string) map[provenance.NodeID]bool {
		m := map[provenance.NodeID]bool{}
		for _, d := range i.Detections {
			if slices.Contains(ids, d.ID) {
				m[d.Node] = true
			}
		}
		return m
	}
	goal := nodes(to)
	type step struct {
		node provenance.NodeID
		edge *provenance.Edge
		from *step
	}
	next := map[provenance.NodeID][]*provenance.Edge{}
	for _, e := range i.Edges {
		if carries(e) {
			next[e.From] = append(next[e.From], e)
			next[e.To] = append(next[e.To], e)
		}
	}
	seen := nodes(from)
	var queue []*step
	for n := range seen {
		queue = append(queue, &step{node: n})
	}
	slices.SortFunc(queue, func(a, b *step) int { return strings.Compare(string(a.node), string(b.node)) })
	for len(queue) > 0 {
		s := queue[0]
		queue = queue[1:]
		if goal[s.node] {
			var way []*provenance.Edge
			for ; s.from != nil; s = s.from {
				way = append(way, s.edge)
			}
			slices.Reverse(way)
			return way
		}
		for _, e := range next[s.node] {
			other := e.From
			if other == s.node {
				other = e.To
			}
			if !seen[other] {
				seen[other] = true
				queue = append(queue, &step{other, e, s})
			}
		}
	}
	return nil
}
