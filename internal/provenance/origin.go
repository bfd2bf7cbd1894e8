package provenance

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// OriginKind says what sort of source something came from.
type OriginKind string

// The kinds of origins.
const (
	OriginVolume  OriginKind = "volume"  // a removable volume
	OriginNetwork OriginKind = "network" // a file that its zone mark says came from elsewhere
	OriginLogon   OriginKind = "logon"   // a logon from another machine
)

// Origin is a source that a node came of: along arrows of classes A and B that
// carry lineage, each not before the one it follows.
type Origin struct {
	Kind  OriginKind
	Node  NodeID    // the volume, file or logon
	Label string    // its label
	Time  time.Time // when its influence reached the node
}

// MaxOrigins is how many origins a node keeps: the earliest to reach it. How many
// there are in all is in Node.OriginCount.
const MaxOrigins = 4

// maxOriginSources bounds how many sources of one connected part are followed:
// the first ones by time. Nodes then count too few.
const maxOriginSources = 512

// lineage reports whether an edge carries an origin on.
func lineage(e *Edge) bool { return e.Skeleton && !e.Severed && e.Class <= ClassB }

// originOf returns what kind of source a node is, "" if it is none.
func (g *Graph) originOf(n *Node) OriginKind {
	switch n.Kind {
	case Volume:
		return OriginVolume
	case Logon:
		if n.Path != "" && n.Attr("LogonProcessName") == "" {
			return OriginLogon
		}
	case File:
		if z := n.Attr("ZoneId"); z == "3" || z == "4" {
			return OriginNetwork
		}
	}
	return ""
}

// FollowOrigins sets Origins and OriginCount on the nodes of one set that is
// closed under lineage, such as a connected component, anew. It is to be called
// when all detections are marked, as marks add arrows.
func (g *Graph) FollowOrigins(nodes map[NodeID]bool) {
	var sources []*Node
	for id := range nodes {
		n := g.nodes[id]
		if n == nil {
			continue
		}
		n.Origins, n.OriginCount = nil, 0
		if g.originOf(n) != "" {
			sources = append(sources, n)
		}
	}
	slices.SortFunc(sources, compareNodes)
	for _, s := range sources[:min(len(sources), maxOriginSources)] {
		kind := g.originOf(s)
		for id, t := range g.reach(s) {
			if id == s.ID {
				continue
			}
			n := g.nodes[id]
			n.OriginCount++
			n.Origins = append(n.Origins, Origin{kind, s.ID, s.Label, t})
			if len(n.Origins) > MaxOrigins {
				slices.SortFunc(n.Origins, compareOrigins)
				n.Origins = n.Origins[:MaxOrigins]
			}
		}
	}
	for id := range nodes {
		if n := g.nodes[id]; n != nil {
			slices.SortFunc(n.Origins, compareOrigins)
			n.Origins = slices.Clip(n.Origins)
		}
	}
}

func compareOrigins(a, b Origin) int {
	return cmp.Or(a.Time.Compare(b.Time), strings.Compare(string(a.Node), string(b.Node)))
}

// reach returns what comes of a node and when its influence gets there at the
// earliest.
func (g *Graph) reach(from *Node) map[NodeID]time.Time {
	return g.Follow(map[NodeID]time.Time{from.ID: from.First}, false, lineage)
}

// arrivalSlack is what records of one happening may be apart.
const arrivalSlack = 2 * time.Second

// Arrives returns when an edge hands on what its source has had since t; ok is
// false if all of it was over by then. Between hosts, whose clocks may differ by
// maxSkew, what comes after it may seem to be that much earlier.
func (g *Graph) Arrives(e *Edge, t time.Time) (at time.Time, ok bool) {
	if e.Last.Before(t.Add(-arrivalSlack)) {
		return t, false
	}
	if g.crosses(e) {
		t = t.Add(-maxSkew)
	}
	if e.First.After(t) {
		t = e.First
	}
	return t, true
}

// Left returns by when that was done which reached an edge's target by t; ok is
// false if all of it came later. Between hosts it may seem to be later by
// maxSkew.
func (g *Graph) Left(e *Edge, t time.Time) (at time.Time, ok bool) {
	if e.First.After(t.Add(arrivalSlack)) {
		return t, false
	}
	if g.crosses(e) {
		t = t.Add(maxSkew)
	}
	if e.Last.Before(t) {
		t = e.Last
	}
	return t, true
}

// crosses reports whether an edge goes from one host to another.
func (g *Graph) crosses(e *Edge) bool {
	from, to := g.nodes[e.From], g.nodes[e.To]
	return from != nil && to != nil && from.Host != to.Host && !strings.EqualFold(from.Host, to.Host)
}
