package incident

import (
	"slices"
	"time"

	"ashiato/internal/detect"
	"ashiato/internal/event"
	"ashiato/internal/provenance"
)

// spot is where, and when, a record that a detection rests on happened.
type spot struct {
	node provenance.NodeID
	at   time.Time
	e    *event.Event
}

// maxRelated bounds how many things a correlation is drawn to be related to by a
// guess. It cites the records of all of them.
const maxRelated = 8

// identityJoins are the join words of correlations by the pseudo-fields.
var identityJoins = map[string]string{
	"ProcessTree":  "correlation-processtree",
	"LogonSession": "correlation-logonsession",
	"Volume":       "correlation-volume",
}

// mark finds where a detection points in the graph. A correlation points at what
// each of its records points at, but for hubs. It stands where its deciding
// record does; if that is a hub, where the last of the others does.
func mark(g *provenance.Graph, d detect.Detection) alert {
	m := g.Mark(d.Event)
	a := alert{Placed: Placed{Detection: d, Node: m.Node, ID: identity(d)}, edges: m.Edges}
	if d.Others == nil {
		a.spots = []spot{{m.Node, d.Event.Time, d.Event}}
		return a
	}
	for _, e := range d.Records() {
		m := g.Mark(e)
		if e != d.Event {
			a.edges = append(a.edges, m.Edges...)
		}
		if n := g.Node(m.Node); n != nil && !n.Hub {
			a.spots = append(a.spots, spot{m.Node, e.Time, e})
		}
	}
	switch n := g.Node(a.Node); {
	case len(a.spots) == 0:
		a.spots = []spot{{a.Node, d.Event.Time, d.Event}}
	case n == nil || n.Hub:
		a.Node = a.spots[len(a.spots)-1].node
	}
	return a
}

// correlate joins what correlations say belongs together and the graph does not
// connect. A correlation that groups by an identity of the graph's own (a
// process tree, logon session or volume) is a ground of class B: it joins
// incidents. Any other is a guess of class C, which is drawn and joins nothing:
// equal user names or addresses are shared by what has nothing to do with each
// other. See docs/decisions/0007-correlations-in-incidents.md.
func correlate(g *provenance.Graph, alerts []alert) {
	component := map[provenance.NodeID]int{}
	number := func(n provenance.NodeID) int {
		if i, ok := component[n]; ok {
			return i
		}
		i := len(component)
		for _, m := range reach(g, n) {
			component[m] = i
		}
		return i
	}
	type relation struct {
		alert    int
		from, to spot
		class    provenance.Class
		join     string
	}
	var relations []relation
	for i, a := range alerts {
		if len(a.spots) < 2 {
			continue
		}
		class, join := provenance.ClassC, "correlation"
		if len(a.Belongs) > 0 {
			class, join = provenance.ClassB, identityJoins[a.Belongs[0].Field]
		}
		var home spot
		for _, s := range a.spots {
			if s.node == a.Node {
				home = s
			}
		}
		if home.e == nil {
			continue // its place is not in the graph: the bound on nodes was reached
		}
		drawn := map[int]bool{number(home.node): true}
		for _, s := range a.spots {
			k := number(s.node)
			if drawn[k] || class == provenance.ClassC && len(drawn) > maxRelated {
				continue
			}
			drawn[k] = true
			from, to := s, home
			if home.at.Before(s.at) {
				from, to = home, s
			}
			relations = append(relations, relation{i, from, to, class, join})
		}
	}
	for _, r := range relations {
		if e := g.Relate(r.from.node, r.to.node, r.class, r.join, r.to.at, r.from.e, r.to.e); e != nil {
			alerts[r.alert].edges = append(alerts[r.alert].edges, e)
		}
	}
}

// reach returns the nodes of a node's connected component as the records have
// it, without what correlations add.
func reach(g *provenance.Graph, from provenance.NodeID) []provenance.NodeID {
	seen := map[provenance.NodeID]bool{from: true}
	queue := []provenance.NodeID{from}
	for n := 0; n < len(queue); n++ {
		at := queue[n]
		for _, list := range [][]*provenance.Edge{g.Out(at), g.In(at)} {
			for _, e := range list {
				if !carries(e) || e.Verb == provenance.Related {
					continue
				}
				for _, next := range []provenance.NodeID{e.From, e.To} {
					if !seen[next] {
						seen[next] = true
						queue = append(queue, next)
					}
				}
			}
		}
	}
	return queue
}

// spots returns those of an alert's that are in the incident.
func (b *builder) spots(a alert) []spot {
	return slices.DeleteFunc(slices.Clone(a.spots), func(s spot) bool { return !b.component[s.node] && s.node != a.Node })
}
