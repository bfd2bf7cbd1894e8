package provenance

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	"ashiato/internal/event"
	"ashiato/internal/world"
)

// Builder collects events and builds the graph of them.
type Builder struct {
	world      *world.World
	limit      Limits
	neighbours *Neighbours // nil: w has all hosts there are
}

// NewBuilder returns a Builder that keeps what it needs of the events in w.
func NewBuilder(w *world.World) *Builder { return NewBuilderLimits(w, Limits{}) }

// NewBuilderLimits is NewBuilder with bounds of one's own.
func NewBuilderLimits(w *world.World, l Limits) *Builder {
	l.Nodes, l.Edges = cmp.Or(l.Nodes, 2_000_000), cmp.Or(l.Edges, 4_000_000)
	return &Builder{world: w, limit: l}
}

// NewBuilderAmong returns a Builder of the graph of one of the groups of hosts
// that n.Groups finds, of which w is the part. Together the graphs of all groups
// are the graph of all hosts.
func NewBuilderAmong(w *world.World, n *Neighbours) *Builder {
	b := NewBuilder(w)
	b.neighbours = n
	return b
}

// Add takes a normalised event in. Events may come in any order and repeatedly;
// the event is not kept.
func (b *Builder) Add(e *event.Event) { b.world.Add(e) }

// AddCounted is Add for an event that a correlation counts, which is given up
// later than others.
func (b *Builder) AddCounted(e *event.Event) { b.world.AddCounted(e) }

// AddDetected is Add for an event for which a rule held, which is given up last
// where memory is short.
func (b *Builder) AddDetected(e *event.Event) { b.world.AddDetected(e) }

// Build returns the graph of all events added so far.
func (b *Builder) Build() *Graph {
	w := b.world
	n := b.neighbours
	if n == nil {
		n = NewNeighbours(Outlooks(w)...)
	}
	n.make()
	g := &Graph{
		world: w, limit: b.limit, neighbours: n, hubs: n.hubs,
		answers: &Answers{hubs: n.hubs, many: n.recorded > 1, given: map[string]string{}},
		nodes:   map[NodeID]*Node{}, edges: map[edgeKey]*Edge{}, out: map[NodeID][]*Edge{}, in: map[NodeID][]*Edge{},
		written: map[string][]write{}, folders: map[string]bool{}, units: map[*world.Process]bool{},
		services: map[string][]time.Time{}, programs: map[NodeID][]program{}, deleted: map[string][]time.Time{}, versions: map[string][]time.Time{},
	}
	j := &joiner{Graph: g, w: w, records: w.Records(), processes: w.Processes(), paths: map[*world.Process][]string{}, part: map[NodeID]bool{}}
	j.hollowed()
	j.indexLogons()
	j.indexShares()
	j.indexSettings()
	j.indexFiles()
	j.indexLoads()
	j.indexVersions()
	services := j.services()
	j.ownUnits()
	j.hosts()
	j.tree()
	j.files()
	j.serviceEdges(services)
	j.tasks()
	j.posixUnits()
	j.runKeys()
	j.persistence()
	j.shortcutTargets()
	j.volumes()
	j.shortcutNotes()
	j.deletions()
	j.exclusions()
	j.network()
	j.threads()
	j.accesses()
	for i := range handoffs {
		j.join(&handoffs[i])
	}
	j.desktops()
	j.copies()
	j.related()
	j.transactionEdges()
	j.handledTasks()
	j.resources()
	j.gone()
	return g
}

// joiner holds what the joins share while a graph is built.
type joiner struct {
	*Graph
	collected
	w         *world.World
	records   []*world.Record
	processes []*world.Process
	loads     map[string][]*world.Record // host|match form of a module → its loads
	renames   []*world.Record            // of files
	senses    map[edgeKey]bool           // process and volume whose files the sensor tells of
	order     []string                   // the keys of written, by first writing
	paths     map[*world.Process][]string
	// serviceChildren are what the service manager started.
	serviceChildren map[serviceChild][]*world.Process
	part            map[NodeID]bool            // files that took part
	settings        []*setting                 // registry values that redirect programs
	recents         map[string][]*world.Record // host|name → shortcuts among the recent documents
}

func id(kind NodeKind, host, key string) NodeID {
	return NodeID(kind.String() + ":" + world.HostKey(host) + "|" + key)
}

func processID(p *world.Process) NodeID { return NodeID("process:" + p.Key) }

// process returns the node of a process.
func (g *Graph) process(p *world.Process) *Node {
	if p == nil {
		return nil
	}
	if n := g.nodes[processID(p)]; n != nil {
		return n
	}
	return g.add(processID(p), Process, p.Host, p.Start, p.Evidence, func(n *Node) {
		n.Label, n.Path = world.Base(p.Image), p.Image
		if n.Label == "" {
			n.Label = "PID " + strconv.FormatUint(uint64(p.PID), 10)
		}
		n.Last = p.Last
		if n.Last.Before(n.First) {
			n.Last = n.First
		}
		if n.Ended = p.End; p.End.After(n.Last) {
			n.Last = p.End
		}
		n.Hub = g.hub(p)
		if p.Implied {
			n.Implied, n.Reason = true, "start-not-recorded"
		}
		attr := func(name, value string) {
			if value != "" && value != "-" {
				n.Attrs = append(n.Attrs, event.Field{Name: name, Value: value})
			}
		}
		attr("CommandLine", p.CommandLine)
		attr("CurrentDirectory", p.CurrentDirectory)
		attr("Hashes", p.Hashes)
		attr("IntegrityLevel", p.Integrity)
		attr("LogonId", p.LogonID)
		attr("OriginalFileName", p.OriginalName)
		attr("ProcessGuid", p.GUID)
		if p.PID != 0 {
			attr("ProcessId", strconv.FormatUint(uint64(p.PID), 10))
		}
		attr("Signature", p.Signature)
		attr("SignatureStatus", p.SignatureStatus)
		attr("Signed", p.Signed)
		attr("ImageAgeSeconds", p.ImageAge)
		attr("User", p.User)
		if p.Folded > 0 {
			attr("FoldedChildren", strconv.Itoa(p.Folded))
		}
	})
}

func (g *Graph) host(host string, t time.Time, refs []event.EvidenceRef) *Node {
	return g.add(id(Host, host, ""), Host, host, t, refs, func(n *Node) { n.Label, n.Hub = host, true })
}

// hosts makes a node of every host, from its first to its last event.
func (j *joiner) hosts() {
	for _, h := range j.w.Hosts() {
		first, last := j.w.Span(h)
		j.host(h, first, nil)
		j.host(h, last, nil)
	}
}

// elevationWindow is how long a consent prompt, or its bypass, may take between
// the two starts of a program that elevates itself.
const elevationWindow = 30 * time.Second

func rank(integrity string) int {
	switch strings.ToLower(integrity) {
	case "low", "untrusted", "appcontainer":
		return 1
	case "medium":
		return 2
	case "high":
		return 3
	case "system":
		return 4
	}
	return 0
}

// tree joins processes to their parents, and the two starts of a program that
// was elevated: same image, same parent, higher integrity, moments later. The
// second start is by the AppInfo service, which names the first one's parent as
// its own.
func (j *joiner) tree() {
	type twinKey struct {
		parent *world.Process
		image  string
	}
	last := map[twinKey]*world.Process{}
	for _, p := range j.processes {
		child := j.process(p)
		if p.Parent == nil {
			continue
		}
		parent := j.process(p.Parent)
		twin := false
		if r := rank(p.Integrity); r > 0 && !p.Implied && p.ImageKey() != "" {
			k := twinKey{p.Parent, p.ImageKey()}
			if low := last[k]; low != nil && rank(low.Integrity) < r && rank(low.Integrity) <= 2 && r >= 3 &&
				p.Start.Sub(low.Start) <= elevationWindow {
				class := ClassB
				if p.ParentByGUID {
					class = ClassA
				}
				j.link(fact{
					from: j.process(low), to: child, verb: Elevated, class: class, skeleton: true,
					join: "elevated-twin", t: p.Start, refs: refs(low.Evidence, p.Evidence),
				})
				twin = true
			} else {
				last[k] = p
			}
		}
		// A parent of which only the process id is known may be a broker as well
		// as not: services.exe in records that do not name parents.
		unknown := p.Parent.Implied && p.Parent.Image == ""
		// The parent that a program chose for its child had no part in it. That of
		// a broker's child was chosen to say who asked for it.
		chosen := p.Creator != nil && !j.hub(p.Creator)
		if chosen {
			j.link(fact{
				from: j.process(p.Creator), to: child, verb: Started, class: ClassA, skeleton: true,
				join: "creator-pid", t: p.Start, refs: p.Evidence,
			})
		}
		f := fact{
			from: parent, to: child, verb: Started, class: ClassA, skeleton: !twin && !unknown && !chosen,
			join: "parent-pid", t: p.Start, refs: p.Evidence,
		}
		switch {
		case p.ParentByGUID:
			f.join = "parent-guid"
		case p.Parent.Implied:
			f.class = ClassB // whoever had that process id; nobody recorded a start
		}
		j.link(f)
	}
}

func refs(lists ...[]event.EvidenceRef) []event.EvidenceRef {
	var all []event.EvidenceRef
	for _, l := range lists {
		all = append(all, l[:min(len(l), 2)]...)
	}
	return all
}

// userLaunch reports whether a person or a broker started p: nothing upstream of
// it carries lineage.
func (j *joiner) userLaunch(p *world.Process) bool { return p.Parent == nil || j.hub(p.Parent) }

// maxResolved bounds to how many ports of one address a name is drawn to lead, the
// first ones that were connected to: names by ports are the square of the records,
// and would leave no room for other arrows.
const maxResolved = 16

// network draws connections and name look-ups as context: where a process talked
// to is worth seeing and joins nothing.
func (j *joiner) network() {
	byIP := map[string][]*Node{}
	for _, r := range j.records {
		if r.Kind != event.NetworkConnect {
			continue
		}
		if e := j.connect(r); e != nil {
			n := j.nodes[e.To]
			k := world.HostKey(r.Host) + "|" + r.Get("DestinationIp")
			if list := byIP[k]; len(list) < maxResolved && !slices.Contains(list, n) {
				byIP[k] = append(list, n)
			}
		}
	}
	for _, r := range j.records {
		if r.Kind != event.DNSQuery {
			continue
		}
		e := j.resolved(r)
		if e == nil {
			continue
		}
		for _, part := range strings.Split(r.Get("QueryResults"), ";") {
			ip := strings.TrimPrefix(strings.TrimSpace(part), "::ffff:")
			for _, to := range byIP[world.HostKey(r.Host)+"|"+ip] {
				if ip != "" {
					j.link(fact{
						from: j.nodes[e.To], to: to, verb: Resolved, class: ClassB, join: "query-result",
						t: r.Time, refs: []event.EvidenceRef{r.Ref},
					})
				}
			}
		}
	}
}

// connect draws the connection a record tells of.
func (g *Graph) connect(r *world.Record) *Edge {
	ip := r.Get("DestinationIp")
	if ip == "" || strings.EqualFold(r.Get("Initiated"), "false") {
		return nil
	}
	p, byKey := g.world.Actor(r)
	if p == nil {
		return nil
	}
	at := ip + ":" + r.Get("DestinationPort")
	if strings.Contains(ip, ":") {
		at = "[" + ip + "]:" + r.Get("DestinationPort")
	}
	name := r.Get("DestinationHostname")
	n := g.add(id(Address, r.Host, at), Address, r.Host, r.Time, []event.EvidenceRef{r.Ref}, func(n *Node) {
		n.Label, n.Path = at, at
	})
	if n != nil && n.Attr("DestinationHostname") == "" {
		n.setAttr("DestinationHostname", name)
	}
	class := ClassB
	if byKey {
		class = ClassA
	}
	return g.link(fact{
		from: g.process(p), to: n, verb: Connected, class: class, join: "own-record",
		t: r.Time, refs: []event.EvidenceRef{r.Ref},
	})
}

// resolved draws the name look-up a record tells of.
func (g *Graph) resolved(r *world.Record) *Edge {
	name := r.Get("QueryName")
	p, _ := g.world.Actor(r)
	if p == nil || name == "" {
		return nil
	}
	n := g.add(id(Domain, r.Host, strings.ToLower(name)), Domain, r.Host, r.Time, []event.EvidenceRef{r.Ref}, func(n *Node) {
		n.Label, n.Path = name, name
	})
	return g.link(fact{
		from: g.process(p), to: n, verb: Resolved, class: ClassA, join: "own-record",
		t: r.Time, refs: []event.EvidenceRef{r.Ref},
	})
}

// threads joins a process to the one it started a thread in.
func (j *joiner) threads() {
	for _, r := range j.records {
		if r.Kind == event.RemoteThread {
			j.injected(r)
		}
	}
}

func (g *Graph) injected(r *world.Record) *Edge {
	from := g.world.ByGUID(r.Host, r.Get("SourceProcessGuid"))
	to := g.world.ByGUID(r.Host, r.Get("TargetProcessGuid"))
	if from == nil || to == nil {
		return nil
	}
	return g.link(fact{
		from: g.process(from), to: g.process(to), verb: Injected, class: ClassA, skeleton: true,
		join: "thread-guids", t: r.Time, refs: []event.EvidenceRef{r.Ref},
	})
}
