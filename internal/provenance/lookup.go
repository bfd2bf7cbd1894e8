package provenance

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"ashiato/internal/event"
	"ashiato/internal/world"
)

// Limits bound a graph. Zero fields mean the defaults.
type Limits struct {
	Nodes int // default 2,000,000
	Edges int // default 4,000,000
}

// Cut counts what the limits left out.
type Cut struct {
	Nodes, Edges int
	// Records are of hosts that the world does not tell apart.
	Records int
}

// Graph holds the nodes and edges. It is made by Builder.Build; Mark may add to
// it what a detection points at. It is not safe for concurrent use.
type Graph struct {
	world *world.World
	limit Limits
	cut   Cut

	neighbours *Neighbours
	answers    *Answers

	nodes map[NodeID]*Node
	edges map[edgeKey]*Edge
	out   map[NodeID][]*Edge
	in    map[NodeID][]*Edge

	sorted        bool
	written       map[string][]write         // match forms of files, see indexFiles
	deleted       map[string][]time.Time     // … when those were deleted
	versions      map[string][]time.Time     // … when each version but the first began
	logons        map[string][]*session      // host|LUID → its sessions, by start
	desktopLogons map[string][]*session      // host|user|address → remote desktop logons
	boots         map[string][]boot          // by host
	shares        map[string][]*world.Record // host|name of a share → how it was made
	folders       map[string]bool            // match forms of folders that hold files
	units         map[*world.Process]bool
	clearers      map[string][]clearer   // by host, see clearedBy
	endings       map[string]bool        // host|channel that records ends of processes, see EndRecorded
	serviceClaims map[string][]claim     // by host and service
	claimedRuns   map[string][]run       // of services that only a command line tells of, likewise
	services      map[string][]time.Time // host|name → when it was registered, each time
	programs      map[NodeID][]program   // of services, by time
	jobs          map[event.EvidenceRef]*bitsJob
	watches       map[string]*consumer      // host|name, and host|filter:name of what it is bound to → event consumer
	installs      map[string][]*transaction // by host, by beginning
	// applications are the hosts of PowerShell by applicationKey, see scriptHost.
	applications map[string][]*world.Process
	hubs         map[string]bool       // match forms of images whose fan-out was measured
	sessions     map[string][]sighting // by host; see SessionsAt
	outputs      map[NodeID][]*write   // by process, see DrawOutputs
	shown        map[shownKey]*shown   // see show
	attachments  map[event.EvidenceRef][]*world.Volume
	drawn        map[*world.Volume]bool
	again        bool                  // what is linked was counted when the graph was built
	callers      map[string][]*session // address|port that a session was opened from; see caller
	// arrivals are records of comings by remote desktop, by terminalKey; see departed.
	arrivals map[string][]*world.Record
	// entered are the sessions from other machines, by host and address; see guessed.
	entered map[string][]*session
}

type edgeKey struct {
	from, to NodeID
	verb     Verb
}

// Node returns the node of that id, nil if there is none.
func (g *Graph) Node(id NodeID) *Node { return g.nodes[id] }

// Nodes returns every node, by id.
func (g *Graph) Nodes() []*Node {
	all := make([]*Node, 0, len(g.nodes))
	for _, n := range g.nodes {
		all = append(all, n)
	}
	slices.SortFunc(all, func(a, b *Node) int { return strings.Compare(string(a.ID), string(b.ID)) })
	return all
}

// Edges returns every edge, in the order of CompareEdges.
func (g *Graph) Edges() []*Edge {
	all := make([]*Edge, 0, len(g.edges))
	for _, e := range g.edges {
		all = append(all, e)
	}
	slices.SortFunc(all, CompareEdges)
	return all
}

// Out returns the edges that leave a node, and In those that reach it, both in
// the order of CompareEdges.
func (g *Graph) Out(id NodeID) []*Edge {
	g.sort()
	return g.out[id]
}

// In is described at Out.
func (g *Graph) In(id NodeID) []*Edge {
	g.sort()
	return g.in[id]
}

// CompareEdges orders edges by first time, ends and verb.
func CompareEdges(a, b *Edge) int {
	return cmp.Or(a.First.Compare(b.First), strings.Compare(string(a.From), string(b.From)),
		strings.Compare(string(a.To), string(b.To)), cmp.Compare(a.Verb, b.Verb))
}

func (g *Graph) sort() {
	if g.sorted {
		return
	}
	for _, list := range g.out {
		slices.SortFunc(list, CompareEdges)
	}
	for _, list := range g.in {
		slices.SortFunc(list, CompareEdges)
	}
	g.sorted = true
}

// Hosts returns the hosts that wrote any record, as recorded, sorted.
func (g *Graph) Hosts() []string { return g.world.Hosts() }

// Gaps returns what is known to be missing from the records.
func (g *Graph) Gaps() []world.Gap { return g.world.Gaps() }

// GapsWithin returns the gaps of a host that touch the span from–to.
func (g *Graph) GapsWithin(host string, from, to time.Time) []world.Gap {
	return g.world.GapsWithin(host, from, to)
}

// Repeated returns how many added events were records added before.
func (g *Graph) Repeated() int { return g.world.Repeated() }

// Cut returns what the limits left out.
func (g *Graph) Cut() Cut {
	c := g.cut
	l := g.world.Lost()
	c.Records = l.Records
	return c
}

// Shed returns what of the records was given up to keep hosts within their memory.
func (g *Graph) Shed() world.Shed { return g.world.Shed() }

// add returns the node of that id, made by fill if it is new, seen at t by the
// record at ref.
func (g *Graph) add(id NodeID, kind NodeKind, host string, t time.Time, refs []event.EvidenceRef, fill func(*Node)) *Node {
	n := g.nodes[id]
	if n == nil {
		if len(g.nodes) >= g.limit.Nodes {
			g.cut.Nodes++
			return nil
		}
		n = &Node{ID: id, Kind: kind, Host: host, First: t, Last: t}
		g.nodes[id] = n
		if fill != nil {
			fill(n)
			slices.SortStableFunc(n.Attrs, func(a, b event.Field) int { return strings.Compare(a.Name, b.Name) })
		}
	}
	if t.Before(n.First) {
		n.First = t
	}
	if t.After(n.Last) {
		n.Last = t
	}
	for _, ref := range refs {
		n.Evidence = cite(n.Evidence, ref, MaxNodeEvidence)
	}
	return n
}

// cite adds a record to sorted evidence that holds at most limit: once full, the
// newest takes the place of the last but one it replaced, so that the first ones
// and the last stay.
func cite(list []event.EvidenceRef, ref event.EvidenceRef, limit int) []event.EvidenceRef {
	i, found := slices.BinarySearchFunc(list, ref, event.EvidenceRef.Compare)
	if found || ref.IsZero() {
		return list
	}
	if len(list) < limit {
		return slices.Insert(list, i, ref)
	}
	if i == len(list) {
		list[len(list)-1] = ref
		return list
	}
	if i < len(list)-1 {
		copy(list[i+1:len(list)-1], list[i:len(list)-2])
		list[i] = ref
	}
	return list
}

// setAttr sets an attribute that was found out later, if it has a value.
func (n *Node) setAttr(name, value string) {
	if value == "" {
		return
	}
	i, found := slices.BinarySearchFunc(n.Attrs, name, func(f event.Field, name string) int { return strings.Compare(f.Name, name) })
	if found {
		n.Attrs[i].Value = value
		return
	}
	n.Attrs = slices.Insert(n.Attrs, i, event.Field{Name: name, Value: value})
}

// fact is one cited fact on its way into the graph.
type fact struct {
	from, to *Node
	verb     Verb
	class    Class
	skeleton bool
	join     string
	t        time.Time
	refs     []event.EvidenceRef
	// corroborates says that the fact is already counted: another record of
	// the same happening.
	corroborates bool
}

// span widens the time of an edge by what the clock of its other host said.
func (g *Graph) span(e *Edge, t time.Time) {
	if t.Before(e.First) {
		e.First = t
		g.sorted = false
	}
	if t.After(e.Last) {
		e.Last = t
	}
}

// link merges a fact into the graph. A fact without an end (it was cut), without
// evidence or from a node to itself makes no edge. Edges of a hub carry no
// lineage whatever the fact says.
func (g *Graph) link(f fact) *Edge {
	if f.from == nil || f.to == nil || f.from == f.to || len(f.refs) == 0 {
		return nil
	}
	if f.from.Hub || f.to.Hub {
		f.skeleton = false
	}
	k := edgeKey{f.from.ID, f.to.ID, f.verb}
	e := g.edges[k]
	isNew := e == nil
	if isNew {
		if len(g.edges) >= g.limit.Edges {
			g.cut.Edges++
			return nil
		}
		e = &Edge{
			From: k.from, To: k.to, Verb: f.verb, Class: f.class, Skeleton: f.skeleton,
			First: f.t, Last: f.t, Join: f.join,
		}
		g.edges[k] = e
		g.out[k.from] = append(g.out[k.from], e)
		g.in[k.to] = append(g.in[k.to], e)
		g.sorted = false
		f.corroborates = false
	}
	if f.class < e.Class || f.class == e.Class && f.join < e.Join {
		e.Class, e.Join = f.class, f.join
	}
	e.Skeleton = e.Skeleton || f.skeleton
	if f.t.Before(e.First) {
		e.First = f.t
		g.sorted = false
	}
	if f.t.After(e.Last) {
		e.Last = f.t
	}
	if !f.corroborates && (!g.again || isNew) {
		e.Count++
	}
	for _, ref := range f.refs {
		e.Evidence = cite(e.Evidence, ref, MaxEdgeEvidence)
	}
	return e
}
