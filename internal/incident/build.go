package incident

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/bits"
	"slices"
	"strconv"
	"strings"
	"time"

	"ashiato/internal/detect"
	"ashiato/internal/event"
	"ashiato/internal/provenance"
	"ashiato/internal/world"
)

// Options bound an incident. Zero fields mean the defaults.
type Options struct {
	MaxNodes   int // nodes that carry the story; default 2,000
	MaxContext int // further nodes drawn beside them; default 60
	// Pins are what an analyst decided.
	Pins Pins
	// Common says how common rules are; nil means: among these detections and the
	// hosts of this graph.
	Common *Commonness
}

// Build joins detections into incidents: those whose nodes the graph connects
// over skeleton edges of class A and B are one. The severity of an incident is
// that of its most severe detection, lifted by what came from a removable volume
// (see Incident.Severity). Incidents come in the order of their first
// detection; the same sets of events and detections give the same incidents.
//
// Detections that point into the graph where it has no node yet add it, so g
// must not be used elsewhere at the same time.
func Build(g *provenance.Graph, ds []detect.Detection, opt Options) []*Incident {
	opt.MaxNodes, opt.MaxContext = cmp.Or(opt.MaxNodes, 2000), cmp.Or(opt.MaxContext, 60)
	alerts := place(g, ds)
	opt.Pins.sever(g)
	groups := opt.Pins.apply(components(g, alerts))
	common := opt.Common
	if common == nil {
		common = NewCommonness(len(g.Hosts()), ds)
	}
	for _, group := range groups {
		if group.joined {
			g.FollowOrigins(group.nodes)
		}
	}
	incidents := make([]*Incident, 0, len(groups))
	owner := map[provenance.NodeID]*Incident{}
	for _, group := range groups {
		b := &builder{g: g, opt: opt, alerts: group.alerts, component: group.nodes, joined: group.joined, common: common}
		i := b.build()
		i.Verdict, i.Pinned = group.verdict, group.pinned
		incidents = append(incidents, i)
		if group.joined && group.after == "" {
			for n := range group.nodes {
				owner[n] = i
			}
		}
	}
	relate(g, groups, incidents, owner)
	return incidents
}

// alert is a placed detection with the arrows that show its event.
type alert struct {
	Placed
	edges []*provenance.Edge
	spots []spot // what its records point at: one, or of a correlation several
}

// place marks every detection's node. A record that was read from two files is
// one detection, cited by its smaller reference.
func place(g *provenance.Graph, ds []detect.Detection) []alert {
	type key struct {
		content     [16]byte
		rule, group string
	}
	first := map[key]detect.Detection{}
	for _, d := range ds {
		k := key{content: world.Content(d.Event), rule: d.Rule.ID}
		if d.Count > 0 { // one event may decide a correlation for several groups
			k.group = fmt.Sprintf("%q", d.Matched)
		}
		if have, ok := first[k]; !ok || detect.Compare(d, have) < 0 {
			first[k] = d
		}
	}
	unique := make([]detect.Detection, 0, len(first))
	for _, d := range first {
		unique = append(unique, d)
	}
	slices.SortFunc(unique, detect.Compare)
	alerts := make([]alert, len(unique))
	for i, d := range unique {
		alerts[i] = mark(g, d)
	}
	correlate(g, alerts)
	return alerts
}

type group struct {
	alerts []alert
	nodes  map[provenance.NodeID]bool
	joined bool // false for what stands alone at a hub
	// What pins made of it: put together, closed with a verdict, or what came
	// after the closed incident of that first detection.
	pinned  bool
	verdict string
	after   string
}

func compareAlerts(a, b alert) int { return detect.Compare(a.Detection, b.Detection) }

func carries(e *provenance.Edge) bool { return e.Skeleton && e.Class <= provenance.ClassB }

// components finds the connected components that hold alerts. What is marked at
// a hub, or on the host as a whole, is nothing's neighbour: it is grouped by
// node and rule, so that a noisy rule makes one incident there and not a
// thousand.
func components(g *provenance.Graph, alerts []alert) []group {
	var groups []group
	number := map[provenance.NodeID]int{}
	alone := map[string]int{}
	for _, a := range alerts {
		n := g.Node(a.Node)
		if n == nil || n.Hub {
			k := string(a.Node) + "\x00" + a.Rule.ID
			i, ok := alone[k]
			if !ok {
				i = len(groups)
				alone[k] = i
				groups = append(groups, group{nodes: map[provenance.NodeID]bool{a.Node: true}})
			}
			groups[i].alerts = append(groups[i].alerts, a)
			continue
		}
		i, ok := number[a.Node]
		if !ok {
			i = len(groups)
			groups = append(groups, group{nodes: map[provenance.NodeID]bool{}, joined: true})
			queue := []provenance.NodeID{a.Node}
			number[a.Node] = i
			for len(queue) > 0 {
				at := queue[0]
				queue = queue[1:]
				groups[i].nodes[at] = true
				for _, list := range [][]*provenance.Edge{g.Out(at), g.In(at)} {
					for _, e := range list {
						if !carries(e) {
							continue
						}
						for _, next := range []provenance.NodeID{e.From, e.To} {
							if _, seen := number[next]; !seen {
								number[next] = i
								queue = append(queue, next)
							}
						}
					}
				}
			}
		}
		groups[i].alerts = append(groups[i].alerts, a)
	}
	return bursts(g, groups)
}

// What makes a burst: at least so many, none longer after the one before it.
const (
	burstSize = 5
	burstGap  = 10 * time.Minute
)

// bursts puts together what one rule says again and again of things of one kind
// on one host, each of which stands for itself: two hundred services that are
// registered one after another by nobody knows whom. They are told as one
// although nothing proves that one hand did it.
func bursts(g *provenance.Graph, groups []group) []group {
	type key struct {
		rule, host string
		kind       provenance.NodeKind
	}
	alike := map[key][]int{}
	for i, group := range groups {
		first := group.alerts[0]
		n := g.Node(first.Node)
		if !group.joined || len(group.nodes) > 4 || n == nil || n.Kind != provenance.Service && n.Kind != provenance.Task ||
			slices.ContainsFunc(group.alerts, func(a alert) bool { return a.Node != first.Node || a.Rule.ID != first.Rule.ID }) ||
			slices.ContainsFunc(g.In(n.ID), carries) {
			continue
		}
		k := key{first.Rule.ID, world.HostKey(n.Host), n.Kind}
		alike[k] = append(alike[k], i)
	}
	into := map[int]int{}
	for _, list := range alike {
		for from := 0; from < len(list); {
			to := from + 1
			for to < len(list) && groups[list[to]].alerts[0].Event.Time.Sub(groups[list[to-1]].alerts[0].Event.Time) <= burstGap {
				to++
			}
			if to-from >= burstSize {
				for _, i := range list[from:to] {
					into[i] = list[from]
				}
			}
			from = to
		}
	}
	var kept []group
	at := map[int]int{}
	for i, x := range groups {
		first, part := into[i]
		switch {
		case !part:
			kept = append(kept, x)
		case first == i:
			at[i] = len(kept)
			kept = append(kept, group{alerts: x.alerts, nodes: map[provenance.NodeID]bool{x.alerts[0].Node: true}})
		default:
			b := &kept[at[first]]
			b.alerts = append(b.alerts, x.alerts...)
			b.nodes[x.alerts[0].Node] = true
		}
	}
	return kept
}

// maxRelations bounds how many incidents one names as related, and how many of a
// kind are looked at for it: the earliest. Of thousands that have one thing in
// common none is told by naming them all, and to name them takes the square.
const maxRelations = 64

// relate names for each incident the others that only guesses lead to. incidents
// are in the order of their first detection.
func relate(g *provenance.Graph, groups []group, incidents []*Incident, owner map[provenance.NodeID]*Incident) {
	known := map[[2]*Incident]bool{}
	link := func(a, b *Incident) {
		if a == nil || b == nil || a == b || known[[2]*Incident{a, b}] {
			return
		}
		for _, p := range [][2]*Incident{{a, b}, {b, a}} {
			if len(p[0].Related) < maxRelations && !known[p] {
				known[p] = true
				p[0].Related = append(p[0].Related, p[1].ID)
			}
		}
	}
	number := make(map[*Incident]int, len(incidents))
	byID := make(map[string]*Incident, len(incidents))
	for n, i := range incidents {
		number[i], byID[i.ID] = n, i
	}
	// guessed are the incidents that guesses lead from to a node, the earliest.
	guesses := map[provenance.NodeID][]*Incident{}
	guessed := func(id provenance.NodeID) []*Incident {
		list, done := guesses[id]
		if done {
			return list
		}
		for _, e := range g.In(id) {
			if i := owner[e.From]; e.Class == provenance.ClassC && i != nil {
				list = append(list, i)
			}
		}
		slices.SortFunc(list, func(a, b *Incident) int { return cmp.Compare(number[a], number[b]) })
		list = slices.Compact(list)
		list = slices.Clone(list[:min(len(list), maxRelations+1)])
		guesses[id] = list
		return list
	}
	for gi, group := range groups {
		link(incidents[gi], byID[group.after])
	}
	for gi, group := range groups {
		if !group.joined {
			continue
		}
		var others []*Incident
		for n := range group.nodes {
			for _, e := range g.Out(n) {
				if e.Class == provenance.ClassC {
					// Also two incidents that a guess leads to from one volume, say.
					others = append(append(others, owner[e.To]), guessed(e.To)...)
				}
			}
			for _, e := range g.In(n) {
				if e.Class == provenance.ClassC {
					others = append(others, owner[e.From])
				}
			}
		}
		others = slices.DeleteFunc(others, func(i *Incident) bool { return i == nil })
		slices.SortFunc(others, func(a, b *Incident) int { return cmp.Compare(number[a], number[b]) })
		for _, i := range slices.Compact(others) {
			link(incidents[gi], i)
		}
	}
	// Who clears a log in the session of a person may be that person; the two are
	// shown beside each other.
	clearings := map[string][]*Incident{}
	for _, i := range incidents {
		for _, n := range i.Nodes {
			if n.Kind == provenance.Gap && n.Attr("LogonId") != "" && !provenance.WellKnownLogon(n.Attr("LogonId")) {
				k := sessionOf(n)
				if list := clearings[k]; len(list) == 0 || list[len(list)-1] != i {
					clearings[k] = append(list, i)
				}
			}
		}
	}
	for _, list := range clearings {
		slices.SortStableFunc(list, func(a, b *Incident) int { return a.First.Compare(b.First) })
	}
	for _, i := range incidents {
		if len(clearings) == 0 {
			break
		}
		asked := map[string]bool{}
		for _, n := range i.Nodes {
			if n.Kind != provenance.Process || n.Attr("LogonId") == "" || n.Hub || asked[sessionOf(n)] {
				continue
			}
			asked[sessionOf(n)] = true
			// Its number is another session's after the next start.
			list := clearings[sessionOf(n)]
			from, _ := slices.BinarySearchFunc(list, i.First.Add(-24*time.Hour), func(c *Incident, t time.Time) int { return c.First.Compare(t) })
			for _, c := range list[from:min(len(list), from+maxRelations+1)] {
				if c.First.Sub(i.First) <= 24*time.Hour {
					link(i, c)
				}
			}
		}
	}
	for _, i := range incidents {
		slices.Sort(i.Related)
	}
}

// sessionOf is the key of the logon session that a node is of.
func sessionOf(n *provenance.Node) string {
	return world.HostKey(n.Host) + "|" + strconv.FormatUint(world.ParseNumber(n.Attr("LogonId")), 16)
}

// builder makes one incident.
type builder struct {
	g         *provenance.Graph
	opt       Options
	alerts    []alert
	component map[provenance.NodeID]bool
	joined    bool
	common    *Commonness

	marked map[provenance.NodeID]time.Time // alert nodes and the last time they alerted
	onset  map[provenance.NodeID]time.Time // … and the first
	core   map[provenance.NodeID]bool      // what carries the story
	after  map[provenance.NodeID]bool      // of those, what alerts led to
	shown  map[provenance.NodeID]bool      // core and context
	beside map[provenance.NodeID]bool      // of the context, processes that the story's started
	told   map[*provenance.Edge]bool       // arrows that show an alert
}

func (b *builder) build() *Incident {
	i := &Incident{}
	b.marked, b.onset = map[provenance.NodeID]time.Time{}, map[provenance.NodeID]time.Time{}
	b.told = map[*provenance.Edge]bool{}
	for _, a := range b.alerts {
		i.Detections = append(i.Detections, a.Placed)
		i.Severity = max(i.Severity, a.Rule.Severity)
		for _, s := range b.spots(a) {
			if t, ok := b.marked[s.node]; !ok || s.at.After(t) {
				b.marked[s.node] = s.at
			}
			if t, ok := b.onset[s.node]; !ok || s.at.Before(t) {
				b.onset[s.node] = s.at
			}
		}
		for _, e := range a.edges {
			b.told[e] = true
		}
	}
	b.raise(i)
	i.ID = b.alerts[0].ID
	roots := b.roots()
	i.Root = roots[0]
	if len(roots) > 1 {
		i.Alternatives = roots[1:min(3, len(roots))]
	}
	i.Cut = b.choose(i.Root)
	b.context(i)
	b.collect(i)
	b.tell(i)
	i.joined = b.joined
	i.scoreAmong(b.common)
	b.remains(i)
	i.SmallestCut = smallestCut(i.Nodes, i.Edges, i.Persistence)
	i.Impact = b.impact(i)
	b.gaps(i)
	i.TitleKeys = titleKeys(i)
	return i
}

// DetectionID is the id that a detection has in every incident: Placed.ID.
func DetectionID(d detect.Detection) string { return identity(d) }

// identity is a hash over what a detection's record says and the rule, not over
// the file it was read from nor where the graph places it. Of a correlation that
// one event decided for several groups, the group counts too.
func identity(d detect.Detection) string {
	h := sha256.New()
	content := world.Content(d.Event)
	h.Write(content[:])
	fmt.Fprintf(h, "\x00%s", d.Rule.ID)
	if d.Count > 0 {
		fmt.Fprintf(h, "\x00%q", d.Matched)
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

var severityWeight = [...]int{detect.Informational: 1, detect.Low: 5, detect.Medium: 15, detect.High: 40, detect.Critical: 80}

func weight(s detect.Severity) int {
	if int(s) < len(severityWeight) {
		return severityWeight[s]
	}
	return 0
}

// choose selects the nodes of the story: what the root led to, of that what led
// to alerts or came of them; and alerts the root does not explain, with what
// connects them.
func (b *builder) choose(root Root) (cut int) {
	b.core, b.after = map[provenance.NodeID]bool{}, map[provenance.NodeID]bool{}
	if !b.joined {
		// A burst is drawn by its first ones; the root is the very first.
		for _, a := range b.alerts {
			if len(b.core) < maxBurst {
				b.core[a.Node] = true
			}
		}
		return len(b.component) - len(b.core)
	}
	// A guess may be on the way from the root: go on behind it.
	starts := map[provenance.NodeID]time.Time{}
	for _, id := range append([]provenance.NodeID{root.Node}, root.Path...) {
		starts[id] = b.g.Node(id).First
	}
	forward := b.g.Follow(starts, false, carries)
	back := b.g.Follow(b.marked, true, carries)
	ahead := b.g.Follow(b.onset, false, carries)
	for id := range ahead {
		b.after[id] = true
	}
	for id := range forward {
		_, led := back[id]
		if led || b.after[id] {
			b.core[id] = true
		}
	}
	for id := range b.core {
		if b.trivial(id) {
			delete(b.core, id)
		}
	}
	for _, id := range root.Path {
		b.core[id] = true
	}
	b.core[root.Node] = true
	b.chooseUnits(back)
	for _, a := range b.alerts {
		for _, s := range b.spots(a) {
			switch {
			case b.core[s.node]:
			case len(b.core) > b.opt.MaxNodes:
				b.core[s.node] = true // too many to draw what connects them
			default:
				b.connect(s.node)
			}
		}
	}
	if len(b.core) <= b.opt.MaxNodes {
		return 0
	}
	// Nearest to the alerts first.
	ids := b.byDistance()
	for _, id := range ids[b.opt.MaxNodes:] {
		delete(b.core, id)
		cut++
	}
	return cut
}

// chooseUnits adds the services, tasks and the like that started processes of the
// story, although nothing shows that the root registered them: they start them
// again.
func (b *builder) chooseUnits(back map[provenance.NodeID]time.Time) {
	for id := range back {
		switch b.g.Node(id).Kind {
		case provenance.Service, provenance.Task, provenance.WMI, provenance.RegistryValue:
		default:
			continue
		}
		for _, e := range b.g.Out(id) {
			if to := b.g.Node(e.To); carries(e) && b.core[e.To] && to.Kind == provenance.Process {
				b.core[id] = true
			}
		}
	}
}

// trivial programs do a script's housekeeping; started for nothing else they are
// context.
var trivial = func() map[string]bool {
	m := map[string]bool{}
	for _, n := range strings.Fields("chcp.com timeout.exe choice.exe find.exe findstr.exe more.com sort.exe where.exe ping.exe werfault.exe sleep.exe mode.com") {
		m[`c:\windows\system32\`+n], m[`c:\windows\syswow64\`+n] = true, true
	}
	return m
}()

func (b *builder) trivial(id provenance.NodeID) bool {
	n := b.g.Node(id)
	if n.Kind != provenance.Process || !trivial[world.PathKey(n.Path)] {
		return false
	}
	if _, alert := b.marked[id]; alert {
		return false
	}
	return !slices.ContainsFunc(b.g.Out(id), carries)
}

// connect adds an alert's node and the shortest way from it to the core.
func (b *builder) connect(from provenance.NodeID) {
	came := map[provenance.NodeID]provenance.NodeID{from: from}
	queue := []provenance.NodeID{from}
	for len(queue) > 0 {
		at := queue[0]
		queue = queue[1:]
		if b.core[at] {
			for n := at; ; n = came[n] {
				b.core[n] = true
				if n == from {
					return
				}
			}
		}
		for _, list := range [][]*provenance.Edge{b.g.In(at), b.g.Out(at)} {
			for _, e := range list {
				if !carries(e) {
					continue
				}
				next := e.From
				if next == at {
					next = e.To
				}
				if _, seen := came[next]; !seen {
					came[next] = at
					queue = append(queue, next)
				}
			}
		}
	}
	b.core[from] = true
}

func (b *builder) byDistance() []provenance.NodeID {
	distance := map[provenance.NodeID]int{}
	var queue []provenance.NodeID
	for n := range b.marked {
		queue = append(queue, n)
		distance[n] = 0
	}
	slices.Sort(queue)
	for len(queue) > 0 {
		at := queue[0]
		queue = queue[1:]
		for _, list := range [][]*provenance.Edge{b.g.In(at), b.g.Out(at)} {
			for _, e := range list {
				for _, next := range []provenance.NodeID{e.From, e.To} {
					if _, seen := distance[next]; !seen && carries(e) {
						distance[next] = distance[at] + 1
						queue = append(queue, next)
					}
				}
			}
		}
	}
	ids := make([]provenance.NodeID, 0, len(b.core))
	for id := range b.core {
		ids = append(ids, id)
	}
	far := func(id provenance.NodeID) int {
		if d, ok := distance[id]; ok {
			return d
		}
		return 1 << 30
	}
	slices.SortFunc(ids, func(x, y provenance.NodeID) int {
		return cmp.Or(cmp.Compare(far(x), far(y)), strings.Compare(string(x), string(y)))
	})
	return ids
}

// maxBurst is how many of a burst are drawn.
const maxBurst = 24

// Bounds on the context drawn beside one process.
const (
	maxSiblings  = 12
	maxAddresses = 4
	maxFiles     = 6
	// maxGenerations is how many generations of children that did nothing of note
	// are drawn below a process of the story.
	maxGenerations = 3
)

// context adds what stands beside the story: the broker that started a process,
// children that did nothing of note, and where a process wrote or connected to.
// What does not fit is counted in Cut.
func (b *builder) context(i *Incident) {
	b.shown, b.beside = map[provenance.NodeID]bool{}, map[provenance.NodeID]bool{}
	ids := make([]provenance.NodeID, 0, len(b.core))
	for id := range b.core {
		b.shown[id] = true
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for e := range b.told {
		b.shown[e.From], b.shown[e.To] = true, true
	}
	room := b.opt.MaxContext
	add := func(id provenance.NodeID, count *int, most int) {
		if b.shown[id] {
			return
		}
		if *count >= most || room <= 0 {
			i.Cut++
			return
		}
		*count++
		room--
		b.shown[id] = true
	}
	// What a process of the story started that did nothing of note is drawn, and
	// what that started in turn: looking around, say.
	type step struct {
		id    provenance.NodeID
		depth int
	}
	queue := make([]step, len(ids))
	for i, id := range ids {
		queue[i] = step{id, 0}
	}
	for len(queue) > 0 {
		at := queue[0]
		queue = queue[1:]
		n := b.g.Node(at.id)
		var parents, children, sources, files, values, addresses int
		if at.depth == 0 {
			for _, e := range b.g.In(at.id) {
				switch from := b.g.Node(e.From); {
				case from.Kind == provenance.Process && from.Hub && e.Verb == provenance.Started:
					add(e.From, &parents, 1)
				case from.Kind == provenance.File && carries(e) && n.Kind == provenance.Process:
					// What it ran, loaded or opened, wherever that came from.
					add(e.From, &sources, maxFiles)
				}
			}
		}
		if n.Hub {
			continue
		}
		if b.joined {
			b.g.DrawOutputs(at.id)
		}
		for _, e := range b.g.Out(at.id) {
			switch to := b.g.Node(e.To); {
			case e.Verb == provenance.Attached && to.Kind == provenance.Host:
				add(e.To, &parents, 2)
			case e.Verb == provenance.Started && to.Kind == provenance.Process && !to.Hub:
				if before := b.shown[e.To]; !before && at.depth < maxGenerations {
					if add(e.To, &children, maxSiblings); b.shown[e.To] {
						b.beside[e.To] = true
						queue = append(queue, step{e.To, at.depth + 1})
					}
				}
			case (to.Kind == provenance.File || to.Kind == provenance.Folder) && !e.Skeleton && e.Verb == provenance.Wrote:
				add(e.To, &files, maxFiles)
			case to.Kind == provenance.RegistryValue && e.Verb == provenance.Configured:
				add(e.To, &values, maxFiles)
			case to.Kind == provenance.Address || to.Kind == provenance.Domain:
				add(e.To, &addresses, maxAddresses)
			}
		}
	}
}

// collect gathers the nodes and the arrows among them.
func (b *builder) collect(i *Incident) {
	hosts := map[string]string{}
	for id := range b.shown {
		n := b.g.Node(id)
		i.Nodes = append(i.Nodes, n)
		if b.core[id] && n.Host != "" {
			k := world.HostKey(n.Host)
			if have, ok := hosts[k]; !ok || n.Host < have {
				hosts[k] = n.Host
			}
		}
	}
	slices.SortFunc(i.Nodes, func(x, y *provenance.Node) int { return strings.Compare(string(x.ID), string(y.ID)) })
	for _, h := range hosts {
		i.Hosts = append(i.Hosts, h)
	}
	slices.Sort(i.Hosts)
	for _, n := range i.Nodes {
		for _, e := range b.g.Out(n.ID) {
			if !b.shown[e.To] || !b.core[e.From] && !b.core[e.To] && !b.told[e] && !b.beside[n.ID] {
				continue
			}
			i.Edges = append(i.Edges, e)
		}
	}
	slices.SortFunc(i.Edges, provenance.CompareEdges)
	for _, d := range i.Detections {
		i.extend(d.Event.Time)
	}
	for _, e := range i.Edges {
		if b.tells(e) {
			i.extend(e.First)
			// A long-running context ends whenever; a cause that repeats is part.
			if e.Count > 1 && b.joined {
				i.extend(e.Last)
			}
		}
	}
}

func (i *Incident) extend(t time.Time) {
	if i.First.IsZero() || t.Before(i.First) {
		i.First = t
	}
	if t.After(i.Last) {
		i.Last = t
	}
}

// tells reports whether an arrow is part of the story.
func (b *builder) tells(e *provenance.Edge) bool {
	if b.told[e] {
		return true
	}
	if !b.core[e.From] {
		return false
	}
	to := b.g.Node(e.To)
	switch {
	case e.Verb == provenance.Attached && to.Kind == provenance.Host:
		return true
	case e.Verb == provenance.Deleted:
		return b.core[e.To]
	case e.Verb == provenance.Connected:
		return b.after[e.From] && b.joined
	}
	return e.Skeleton && b.core[e.To]
}

// aboutSticks are the behaviours whose rules weigh that a stick is concerned
// already.
var aboutSticks = []string{"usb-script", "usb-spread", "hidden-files"}

// raise lifts the severity for what came from a removable volume: a detection on
// it counts one step more, at most high. An exclusion of an installer's own folder
// is one thing; the same by what a stick brought is another.
func (b *builder) raise(i *Incident) {
	if !b.joined {
		return
	}
	for _, d := range i.Detections {
		n := b.g.Node(d.Node)
		if n == nil || n.Hub || n.Kind == provenance.Volume || slices.Contains(aboutSticks, d.Rule.Behaviour) {
			continue
		}
		at := slices.IndexFunc(n.Origins, func(o provenance.Origin) bool { return o.Kind == provenance.OriginVolume })
		if at < 0 {
			continue
		}
		if i.raised == "" {
			i.raised = n.Origins[at].Label
		}
		i.Severity = max(i.Severity, min(d.Rule.Severity+1, detect.High))
	}
}

// scoreAmong adds up the printed terms; see the doc comment of Incident.Terms.
func (i *Incident) scoreAmong(common *Commonness) {
	i.Terms, i.Score = nil, 0
	type key struct {
		rule string
		node provenance.NodeID
	}
	count := map[key]int{}
	rules := map[string]*detect.Rule{}
	var order []key
	for _, d := range i.Detections {
		k := key{d.Rule.ID, d.Node}
		if !i.joined {
			k.node = "" // a burst is one happening many times
		}
		if count[k] == 0 {
			order = append(order, k)
		}
		count[k]++
		rules[d.Rule.ID] = d.Rule
	}
	perRule := map[string]int{}
	nodes := map[string]int{}
	var ids []string
	for _, k := range order {
		if nodes[k.rule] == 0 {
			ids = append(ids, k.rule)
		}
		nodes[k.rule]++
		perRule[k.rule] += weight(rules[k.rule].Severity) * bits.Len(uint(count[k]))
	}
	term := func(name, detail string, points int) {
		if points != 0 {
			i.Terms = append(i.Terms, Term{name, detail, points})
			i.Score += points
		}
	}
	slices.Sort(ids)
	for _, id := range ids {
		term("detection", rules[id].Name+" ×"+strconv.Itoa(nodes[id]), perRule[id])
		if r, on := common.rarity(id); r > 0 {
			term("rarity", fmt.Sprintf("%s: %d/%d", rules[id].Name, on, common.total), perRule[id]*r/6)
		}
	}
	tactics, sequence := tacticOrder(i.Detections)
	term("tactics", strconv.Itoa(tactics), 20*tactics)
	if sequence > 1 {
		term("tactic-sequence", strconv.Itoa(sequence), 60*(sequence-1))
	}
	if i.raised != "" {
		term("origin", i.raised, 40)
	}
	if len(i.Hosts) > 1 {
		term("hosts", strconv.Itoa(len(i.Hosts)), 50*(len(i.Hosts)-1))
	}
}

// killChain is ATT&CK's order of the tactics an intrusion goes through; those
// that come at any time have none.
var killChain = []string{
	"initial-access", "execution", "privilege-escalation", "defense-evasion", "stealth", "defense-impairment", "persistence",
	"credential-access", "discovery", "lateral-movement", "collection", "command-and-control", "exfiltration", "impact",
}

// tacticOrder counts the distinct tactics, and the longest run of tactics that
// follow each other both in time and in the kill chain.
func tacticOrder(ds []Placed) (distinct, sequence int) {
	seen := map[string]bool{}
	longest := make([]int, len(killChain))
	for _, d := range ds {
		at := slices.Clone(longest)
		for _, t := range d.Rule.Tactics {
			seen[t] = true
			n := slices.Index(killChain, t)
			if n < 0 {
				continue
			}
			best := 0
			for m := range n {
				best = max(best, longest[m])
			}
			at[n] = max(at[n], best+1)
		}
		longest = at
	}
	for _, n := range longest {
		sequence = max(sequence, n)
	}
	return len(seen), sequence
}

// remains lists what was left behind that starts, or hides, by itself.
func (b *builder) remains(i *Incident) {
	deleted := map[provenance.NodeID]bool{}
	written := map[provenance.NodeID]bool{}
	behaviours := map[provenance.NodeID][]string{}
	for _, d := range i.Detections {
		behaviours[d.Node] = append(behaviours[d.Node], d.Rule.Behaviour)
	}
	for _, e := range i.Edges {
		switch e.Verb {
		case provenance.Deleted:
			deleted[e.To] = true
		case provenance.Wrote, provenance.Renamed:
			if b.core[e.From] {
				written[e.To] = true
			}
		}
	}
	for _, n := range i.Nodes {
		if !b.core[n.ID] || deleted[n.ID] && !b.madeAgain(n.ID) || n.Kind != provenance.Process && !n.Ended.IsZero() {
			continue
		}
		kind := ""
		switch n.Kind {
		case provenance.Service:
			kind = "service"
			if n.Existing {
				kind = "service-change"
			}
			if n.Existing && b.g.Restored(n.ID) {
				kind = "" // it was changed back
			}
		case provenance.Task:
			kind = "task"
		case provenance.WMI:
			if provenance.IsConsumer(n) && n.Attr("Deleted") == "" {
				kind = "consumer"
			}
		case provenance.Exclusion:
			kind = "exclusion"
		case provenance.RegistryValue:
			kind = "run-key"
		case provenance.Folder:
			kind = "folder"
		case provenance.File:
			if written[n.ID] {
				kind = "file"
			}
		}
		if kind != "" {
			i.Persistence = append(i.Persistence, Persistence{n.ID, kind})
		}
	}
	slices.SortFunc(i.Persistence, func(x, y Persistence) int {
		return cmp.Or(slices.Index(persistenceOrder, x.Kind)-slices.Index(persistenceOrder, y.Kind), strings.Compare(string(x.Node), string(y.Node)))
	})
}

// madeAgain reports whether something was made after, or at the same time as, it
// was deleted: an overwriting is recorded as both.
func (b *builder) madeAgain(id provenance.NodeID) bool {
	var gone, made time.Time
	for _, e := range b.g.In(id) {
		switch e.Verb {
		case provenance.Deleted:
			if e.Last.After(gone) {
				gone = e.Last
			}
		case provenance.Wrote, provenance.Renamed, provenance.Copied, provenance.Registered, provenance.Configured:
			if e.Last.After(made) {
				made = e.Last
			}
		}
	}
	return !made.IsZero() && !made.Before(gone)
}

var persistenceOrder = []string{"service", "service-change", "task", "consumer", "run-key", "exclusion", "folder", "file"}

// gaps lists what was not seen on the incident's hosts in its time, and the
// processes of its story whose start no record shows.
func (b *builder) gaps(i *Incident) {
	for _, h := range i.Hosts {
		i.Gaps = append(i.Gaps, b.g.GapsWithin(h, i.First, i.Last)...)
		g := Gap{Host: h, Reason: "start-not-recorded"}
		for _, n := range i.Nodes {
			if !b.core[n.ID] || !n.Implied || world.HostKey(n.Host) != world.HostKey(h) || n.Reason != g.Reason {
				continue
			}
			if g.Count == 0 || n.First.Before(g.From) {
				g.From = n.First
			}
			if n.First.After(g.To) {
				g.To = n.First
			}
			g.Count++
			if len(n.Evidence) > 0 && len(g.Evidence) < provenance.MaxEdgeEvidence {
				g.Evidence = append(g.Evidence, n.Evidence[0])
			}
		}
		if g.Count > 0 {
			slices.SortFunc(g.Evidence, event.EvidenceRef.Compare)
			i.Gaps = append(i.Gaps, g)
		}
	}
}
