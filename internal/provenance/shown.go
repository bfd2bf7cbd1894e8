package provenance

import (
	"slices"

	"ashiato/internal/event"
	"ashiato/internal/world"
)

// maxShown bounds the arrows at one node that a detection is told to be shown by
// although they do not cite its record: the first ones. Else many records at a
// node with many arrows take the square of their number.
const maxShown = 64

// shownKey names the arrows of one kind that leave a node, or reach it.
type shownKey struct {
	node NodeID
	out  bool
	what string
}

// shown are those arrows.
type shown struct {
	of     int     // how many arrows of any kind there were
	first  []*Edge // at most maxShown
	citing map[event.EvidenceRef][]*Edge
}

// show returns the arrows at a node that ok holds for: the first ones, and of the
// others those that cite a record. what names ok.
func (g *Graph) show(node NodeID, out bool, what string, ok func(*Edge) bool, ref event.EvidenceRef) []*Edge {
	s := g.shownAt(node, out, what, ok)
	list := s.first
	for _, e := range s.citing[ref] {
		if !slices.Contains(s.first, e) {
			list = append(list[:len(list):len(list)], e)
		}
	}
	return list
}

// showCiting is show for only those that cite a record.
func (g *Graph) showCiting(node NodeID, out bool, what string, ok func(*Edge) bool, ref event.EvidenceRef) []*Edge {
	return g.shownAt(node, out, what, ok).citing[ref]
}

func (g *Graph) shownAt(node NodeID, out bool, what string, ok func(*Edge) bool) *shown {
	list := g.in[node]
	if out {
		list = g.out[node]
	}
	k := shownKey{node, out, what}
	s := g.shown[k]
	if s != nil && s.of == len(list) {
		return s
	}
	s = &shown{of: len(list), citing: map[event.EvidenceRef][]*Edge{}}
	for _, e := range list {
		if ok(e) {
			s.first = append(s.first, e)
		}
	}
	slices.SortFunc(s.first, CompareEdges)
	for _, e := range s.first {
		for _, ref := range e.Evidence {
			s.citing[ref] = append(s.citing[ref], e)
		}
	}
	s.first = slices.Clone(s.first[:min(len(s.first), maxShown)])
	if g.shown == nil {
		g.shown = map[shownKey]*shown{}
	}
	g.shown[k] = s
	return s
}

// attached returns the volumes whose attachment or removal a record shows.
func (g *Graph) attached(r *world.Record) []*world.Volume {
	if g.attachments == nil {
		g.attachments = map[event.EvidenceRef][]*world.Volume{}
		for _, v := range g.world.Volumes() {
			for _, ref := range v.Evidence {
				g.attachments[ref] = append(g.attachments[ref], v)
			}
		}
	}
	return g.attachments[r.Ref]
}
