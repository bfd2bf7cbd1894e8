package provenance

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"
	"time"

	"ashiato/internal/event"
	"ashiato/internal/world"
)

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// Mark is where a detection points in the graph.
type Mark struct {
	// Node is what it marks: the process for what a process is or does, the
	// file, service, task, exclusion … where that tells more.
	Node NodeID
	// Edges are the arrows that show the event itself, if any.
	Edges []*Edge
}

// Mark finds where a detection on the event points. Its result, and what it adds
// to the graph, depend on the event and on the events the graph was built of
// only; marking twice adds nothing.
func (g *Graph) Mark(e *event.Event) Mark {
	r := g.world.RecordOf(e)
	ref := []event.EvidenceRef{r.Ref}
	actor := g.actor(r)
	var m Mark
	edge := func(x *Edge) {
		if x != nil {
			m.Edges = append(m.Edges, x)
		}
	}
	node := func(n *Node) {
		if n != nil && m.Node == "" {
			m.Node = n.ID
			n.Evidence = cite(n.Evidence, r.Ref, MaxNodeEvidence)
		}
	}
	switch e.Kind {
	case event.ProcessCreate, event.ProcessTerminate:
		node(actor)
		for _, x := range g.in[idOf(actor)] {
			if x.Verb == Started || x.Verb == Elevated {
				edge(x)
			}
		}
	case event.FileCreate, event.FileExecutable, event.FileStream, event.FileTime, event.FileRename, event.FileAttribute, event.FileDelete:
		if r.Get("TargetFilename") == "" {
			break
		}
		edges, n := g.markFile(r, actor)
		node(n)
		for _, x := range edges {
			edge(x)
		}
	case event.Shortcut:
		g.markShortcut(r, &m)
	case event.ResourceUse:
		node(actor)
	case event.FileAccess:
		node(actor)
		for _, x := range g.show(idOf(actor), true, "put on a volume", func(x *Edge) bool {
			return x.Verb == Hid || x.Verb == Wrote && g.nodes[x.To].Kind == Volume
		}, r.Ref) {
			edge(x)
		}
	case event.ImageLoad:
		path := r.Get("ImageLoaded")
		if n := g.nodes[g.used(r.Host, path, r.Time)]; n != nil && n.Kind == File && actor != nil && !actor.Hub {
			// Known already: it was written, or lies on a volume.
			if x := g.edges[edgeKey{n.ID, actor.ID, Loaded}]; x != nil {
				edge(x)
				if x.Skeleton {
					node(n)
				}
			}
		} else if actor != nil && path != "" {
			// A module that was there before is everybody's: it joins nothing.
			n := g.file(r.Host, path, r.Time, ref)
			if n != nil && n.ID != actor.ID {
				edge(g.link(fact{from: n, to: actor, verb: Loaded, class: ClassA, join: "own-record", t: r.Time, refs: ref, corroborates: g.edges[edgeKey{n.ID, actor.ID, Loaded}] != nil}))
			}
		}
		node(actor)
	case event.DriverLoad:
		node(g.file(r.Host, cmp.Or(r.Get("ImageLoaded"), "driver"), r.Time, ref))
	case event.RemoteThread:
		edge(g.edges[edgeKey{idOf(actor), g.target(r), Injected}])
		node(actor)
	case event.ProcessTamper:
		edge(g.tampered(r))
		node(actor)
	case event.ProcessAccess:
		if to := g.world.ByGUID(r.Host, r.Get("TargetProcessGuid")); to != nil && actor != nil {
			n := g.process(to)
			edge(g.link(fact{from: actor, to: n, verb: Accessed, class: ClassA, join: "process-guids", t: r.Time, refs: ref, corroborates: n != nil && g.edges[edgeKey{actor.ID, n.ID, Accessed}] != nil}))
		}
		node(actor)
	case event.RegistrySet, event.RegistryAdd, event.RegistryDelete, event.RegistryRename:
		g.markRegistry(r, actor, &m)
	case event.NetworkConnect:
		edge(g.redraw(g.connect, r))
		// What a broker connects to, or accepts, is whose logon it is.
		if s := g.caller(r); s != nil && (actor == nil || actor.Hub) {
			if n := g.nodes[s.id()]; n != nil {
				node(n)
				for _, x := range g.show(n.ID, false, "logged on", loggedOn, r.Ref) {
					edge(x)
				}
			}
		}
		node(actor)
	case event.DNSQuery:
		edge(g.redraw(g.resolved, r))
		node(actor)
	case event.ServiceInstall, event.ServiceChange, event.ServiceState:
		if name := r.Get("ServiceName"); name != "" {
			n := g.service(r.Host, name, r.Time, ref)
			node(n)
			for _, x := range g.show(idOf(n), false, "made", makes, r.Ref) {
				edge(x)
			}
		}
	case event.TaskRegister, event.TaskUpdate, event.TaskDelete, event.TaskEnable, event.TaskStart, event.TaskEnd:
		if name := r.Get("TaskName"); name != "" {
			n := g.task(r.Host, name, r.Time, ref)
			node(n)
			for _, x := range g.show(idOf(n), false, "made", makes, r.Ref) {
				edge(x)
			}
		}
	case event.DefenderConfig:
		for _, v := range []string{r.Get("NewValue"), r.Get("OldValue")} {
			if x, ok := exclusionKey(v); ok && x.value != "" {
				n := g.exclusion(r.Host, x, r.Time, ref)
				node(n)
				for _, x := range g.show(idOf(n), false, "any", func(*Edge) bool { return true }, r.Ref) {
					edge(x)
				}
				break
			}
		}
	case event.MalwareFound, event.MalwareActed:
		if path := defenderPath(e.Value("Path")); path != "" {
			node(g.file(r.Host, path, r.Time, ref))
		}
	case event.ScriptBlock, event.ScriptModule, event.ScriptClassic:
		if actor == nil {
			actor = g.strange(r, r.PID, "powershell.exe", ref)
		}
		node(actor)
		for _, x := range exclusionsIn(e.Value("ScriptBlockText") + e.Value("Payload")) {
			n := g.exclusion(r.Host, x, r.Time, ref)
			if n == nil || actor == nil {
				continue
			}
			edge(g.link(fact{
				from: actor, to: n, verb: Excluded, class: ClassA, skeleton: true, join: "script-text", t: r.Time, refs: ref,
				corroborates: g.edges[edgeKey{actor.ID, n.ID, Excluded}] != nil,
			}))
		}
	case event.VolumeAttach, event.VolumeDetach:
		for _, v := range g.attached(r) {
			if n := g.volume(v); n != nil && world.HostKey(v.Host) == world.HostKey(r.Host) {
				node(n)
				edge(g.edges[edgeKey{n.ID, id(Host, r.Host, ""), Attached}])
			}
		}
	case event.Logon:
		n := g.logon(r)
		node(n)
		for _, x := range g.show(idOf(n), false, "logged on", loggedOn, r.Ref) {
			edge(x)
		}
	case event.LogonFailed:
		if fromAudit(e) {
			if s := g.guessed(r); s != nil {
				node(g.sessionNode(s))
			}
		}
		node(actor)
	case event.LogonExplicit:
		for _, x := range g.showCiting(idOf(actor), true, "logged on", loggedOn, r.Ref) {
			edge(x)
		}
		node(actor)
	case event.LogonPrivilege, event.Logoff:
		luid := r.Get("TargetLogonId")
		if e.Kind == event.LogonPrivilege {
			luid = r.Get("SubjectLogonId")
		}
		if s := g.sessionAt(r.Host, luid, r.Time); s != nil {
			node(g.sessionNode(s))
		}
	case event.RemoteDesktop:
		switch from, s := g.departed(r), g.reconnection(r); {
		case s != nil:
			node(g.sessionNode(s))
		case r.ID == 4778 || r.ID == 4779: // of somebody at the machine itself
		case from != nil:
			node(g.desktop(from))
		case r.Get("IpAddress") != "":
			node(g.desktop(r))
		}
	case event.ShareAccess:
		g.markShare(e, r, &m)
	case event.PipeCreate, event.PipeConnect:
		for _, out := range []bool{true, false} {
			for _, x := range g.showCiting(idOf(actor), out, "pipe", func(x *Edge) bool { return x.Join == "pipe-name" }, r.Ref) {
				edge(x)
			}
		}
		node(actor)
	case event.WMIFilter, event.WMIConsumer, event.WMIBinding, event.WMISubscription, event.WMIOperation,
		event.BITSJob, event.BITSTransfer, event.InstallerRun, event.InstallerResult, event.RemoteShell:
		n := g.markUnit(r)
		node(n)
		for _, x := range g.show(idOf(n), false, "asked for", func(x *Edge) bool { return x.Verb == Registered || x.Verb == Requested }, r.Ref) {
			edge(x)
		}
	case event.LogCleared, event.SensorLoss, event.SensorState:
		reason := map[event.Kind]string{event.LogCleared: "log-cleared", event.SensorLoss: "sensor-loss", event.SensorState: "sensor-stopped"}[e.Kind]
		channel := e.Channel
		key := reason + "|" + strings.ToLower(channel) + "|" + r.Time.Format(event.TimeFormat)
		gap := g.add(id(Gap, r.Host, key), Gap, r.Host, r.Time, ref, func(n *Node) {
			n.Reason = reason
			if e.Kind != event.LogCleared {
				n.Label, n.Path = channel, channel
			}
		})
		node(gap)
		if e.Kind == event.LogCleared {
			if gap != nil {
				gap.setAttr("LogonId", r.Get("SubjectLogonId"))
				if by := r.Get("User"); gap.Attr("User") == "" || by < gap.Attr("User") {
					gap.setAttr("User", by)
				}
				gap.clears(cmp.Or(r.Get("ClearedLog"), e.Channel))
			}
			edge(g.cleared(r, gap))
			edge(g.clearedBy(r, gap))
		}
	}
	node(actor)
	if m.Node == "" {
		node(g.host(r.Host, r.Time, ref))
	}
	if m.Node == "" {
		// The bound on nodes was reached: the host is always there.
		m.Node = id(Host, r.Host, "")
	}
	return m
}

// maxClearedNames bounds how many logs one moment's clearing names.
const maxClearedNames = 8

// clears adds a log to those that were cleared at this moment. The System log tells
// of each log but Security; what clears them all does so in one go.
func (n *Node) clears(name string) {
	const sep, more = ", ", "…"
	var names []string
	if n.Label != "" {
		names = strings.Split(n.Label, sep)
	}
	cut := len(names) > 0 && names[len(names)-1] == more
	if cut {
		names = names[:len(names)-1]
	}
	if i, found := slices.BinarySearch(names, name); !found {
		names = slices.Insert(names, i, name)
	}
	if len(names) > maxClearedNames {
		names, cut = names[:maxClearedNames], true
	}
	if cut {
		names = append(names, more)
	}
	n.Label = strings.Join(names, sep)
	n.Path = n.Label
}

// cleared joins the clearing of a log to who did it: the process that the record
// names, from Windows 11 on, or the logon session from another machine.
func (g *Graph) cleared(r *world.Record, gap *Node) *Edge {
	f := fact{to: gap, verb: Deleted, class: ClassA, skeleton: true, t: r.Time, refs: []event.EvidenceRef{r.Ref}}
	if p := g.world.ByStartKey(r.Host, r.Number("ClientProcessStartKey")); p != nil {
		f.from, f.join = g.process(p), "start-key"
	} else if p := g.world.At(r.Host, uint32(r.Number("ClientProcessId")), r.Time); p != nil && r.Number("ClientProcessId") != 0 {
		f.from, f.join = g.process(p), "client-pid"
	} else if s := g.sessionOf(r); s != nil {
		f.from, f.join = g.sessionNode(s), "logon-id"
	} else {
		return nil
	}
	f.corroborates = gap != nil && f.from != nil && g.edges[edgeKey{f.from.ID, gap.ID, Deleted}] != nil
	return g.link(f)
}

// clearedBy joins the clearing of a log to the process whose command line says
// that it clears that log, in the session that the record names.
func (g *Graph) clearedBy(r *world.Record, gap *Node) *Edge {
	if gap == nil {
		return nil
	}
	if g.clearers == nil {
		g.clearers = map[string][]clearer{}
		for _, p := range g.world.Processes() {
			if logs := clearedLogs(p.CommandLine); !p.Implied && len(logs) > 0 {
				k := world.HostKey(p.Host)
				g.clearers[k] = append(g.clearers[k], clearer{p, logs})
			}
		}
	}
	name := strings.ToLower(cmp.Or(r.Get("ClearedLog"), r.Channel))
	var last *world.Process // of a shell and its tool that both say so, the tool
	for _, c := range g.clearers[world.HostKey(r.Host)] {
		p := c.process
		luid := r.Number("SubjectLogonId")
		if p.Start.After(r.Time.Add(slack)) || r.Time.Sub(p.Start) > claimWindow || !p.End.IsZero() && p.End.Before(r.Time.Add(-slack)) ||
			luid != 0 && p.LogonID != "" && world.ParseNumber(p.LogonID) != luid ||
			!slices.Contains(c.logs, name) {
			continue
		}
		last = p
	}
	if last == nil {
		return nil
	}
	from := g.process(last)
	return g.link(fact{
		from: from, to: gap, verb: Deleted, class: ClassB, skeleton: true, join: "command-line", t: r.Time,
		refs: refs([]event.EvidenceRef{r.Ref}, last.Evidence), corroborates: from != nil && g.edges[edgeKey{from.ID, gap.ID, Deleted}] != nil,
	})
}

// clearer is a process that by its command line clears logs, in lower case.
type clearer struct {
	process *world.Process
	logs    []string
}

// clearedLogs reads which event logs a command line clears, in lower case:
// wevtutil cl, Clear-EventLog.
func clearedLogs(cmd string) []string {
	lower := strings.ToLower(cmd)
	if !strings.Contains(lower, "wevtutil") && !strings.Contains(lower, "clear-eventlog") {
		return nil
	}
	var logs []string
	ws := strings.FieldsFunc(lower, func(r rune) bool { return strings.ContainsRune(" \t\r\n\"';&|(){},", r) })
	for i, w := range ws {
		switch {
		case (w == "cl" || w == "clear-log") && i > 0 && strings.HasPrefix(world.Base(ws[i-1]), "wevtutil") && i+1 < len(ws):
			logs = append(logs, ws[i+1])
		case w == "clear-eventlog":
			for _, name := range ws[i+1:] {
				if !strings.HasPrefix(name, "-") {
					logs = append(logs, name)
				}
			}
		}
	}
	return logs
}

// caller returns the session that a connection was made for: its 4624 has the
// client's address and port. It returns nil if there is none.
func (g *Graph) caller(r *world.Record) *session {
	if g.callers == nil {
		g.callers = map[string][]*session{}
		seen := map[*session]bool{}
		for _, k := range sortedKeys(g.logons) {
			for _, s := range g.logons[k] {
				if from, ok := s.from(); ok && s.remote && !seen[s] {
					seen[s] = true
					g.callers[from] = append(g.callers[from], s)
				}
			}
		}
		for _, list := range g.callers {
			slices.SortStableFunc(list, func(a, b *session) int { return a.t.Compare(b.t) })
		}
	}
	// Of a connection that came in, records put either end first.
	for _, end := range []string{
		address(r.Get("SourceIp")) + "|" + r.Get("SourcePort"), address(r.Get("DestinationIp")) + "|" + r.Get("DestinationPort"),
	} {
		list := g.callers[end]
		i := sort.Search(len(list), func(i int) bool { return !list[i].t.Before(r.Time.Add(-maxSkew)) })
		if i < len(list) && !list[i].t.After(r.Time.Add(maxSkew)) {
			return list[i]
		}
	}
	return nil
}

// reconnection returns the session that a record of Security 4778 or 4779 shows
// somebody from elsewhere to come back to, or to leave; nil if it shows none.
func (g *Graph) reconnection(r *world.Record) *session {
	for _, s := range g.logons[sessionKey(r.Host, r.Get("TargetLogonId"))] {
		if s.desktop && s.record.Ref == r.Ref {
			return cmp.Or(s.left, s)
		}
	}
	return nil
}

// departed returns the record of the coming by remote desktop whose end, or whose
// being left, r records (TerminalServices 23, 24), nil if r is of neither.
func (g *Graph) departed(r *world.Record) *world.Record {
	if r.ID != 23 && r.ID != 24 {
		return nil
	}
	if g.arrivals == nil {
		g.arrivals = map[string][]*world.Record{}
		for _, x := range g.world.Records() {
			if x.Kind == event.RemoteDesktop && (x.ID == 21 || x.ID == 25) && g.elsewhere(x.Host, x.Get("IpAddress")) {
				k := terminalKey(x.Host, x.Get("TerminalSessionId"), x.Get("User"))
				g.arrivals[k] = append(g.arrivals[k], x)
			}
		}
	}
	var last *world.Record
	for _, x := range g.arrivals[terminalKey(r.Host, r.Get("TerminalSessionId"), r.Get("User"))] {
		if !x.Time.After(r.Time) {
			last = x
		}
	}
	return last
}

func loggedOn(e *Edge) bool { return e.Verb == LoggedOn }

func makes(e *Edge) bool { return e.Verb == Registered || e.Verb == Configured }

// redraw draws a record's arrow; if the graph has it, it was counted before.
func (g *Graph) redraw(draw func(*world.Record) *Edge, r *world.Record) *Edge {
	g.again = true
	defer func() { g.again = false }()
	return draw(r)
}

func idOf(n *Node) NodeID {
	if n == nil {
		return ""
	}
	return n.ID
}

func (g *Graph) target(r *world.Record) NodeID {
	if p := g.world.ByGUID(r.Host, r.Get("TargetProcessGuid")); p != nil {
		return processID(p)
	}
	return ""
}

// actor returns the node of the process that a record is about. A process that
// no record tells more of than its id and perhaps its image is implied.
func (g *Graph) actor(r *world.Record) *Node {
	p, _ := g.world.Actor(r)
	if p == nil {
		switch r.Kind {
		case event.ScriptBlock, event.ScriptModule, event.ScriptClassic:
			p = g.scriptHost(r)
		}
	}
	if p != nil {
		return g.process(p)
	}
	ref := []event.EvidenceRef{r.Ref}
	switch r.Kind {
	case event.Logon, event.LogonFailed, event.ShareAccess, event.RemoteDesktop, event.TaskStart, event.TaskEnd, event.ServiceInstall, event.TaskRegister, event.TaskUpdate:
		return nil // their process id is a system service's
	}
	if image := r.Get("Image"); image != "" {
		return g.strange(r, uint32(r.Number("ProcessId")), image, ref)
	}
	return nil
}

// strange returns the node of a process of which no process record exists.
func (g *Graph) strange(r *world.Record, pid uint32, image string, refs []event.EvidenceRef) *Node {
	if pid == 0 {
		return nil
	}
	key := fmt.Sprintf("%d@unrecorded|%s", pid, world.PathKey(image))
	return g.add(id(Process, r.Host, key), Process, r.Host, r.Time, refs, func(n *Node) {
		n.Label, n.Path = world.Base(image), image
		n.Implied, n.Reason = true, "start-not-recorded"
		n.Hub = staticHub(world.PathKey(image)) || g.hubs[world.PathKey(image)]
		n.Attrs = []event.Field{{Name: "ProcessId", Value: itoa(int(pid))}}
	})
}

// markShortcut marks the shortcut that a record tells of: who opened it is a
// person's shell, which everything comes from.
func (g *Graph) markShortcut(r *world.Record, m *Mark) {
	path := r.Get("TargetFilename")
	if path == "" {
		return
	}
	ref := []event.EvidenceRef{r.Ref}
	n := g.file(r.Host, path, r.Time, ref)
	if n == nil {
		return
	}
	m.Node = n.ID
	leads(n, r)
	places := g.on(r.Host, g.world.PathOn(r.Host, path), r.Time)
	if !strings.EqualFold(r.Get("Operation"), "opened") {
		places = nil // who wrote it is told
	}
	for _, at := range places {
		g.link(fact{
			from: at.node, to: n, verb: Contains, class: at.class, skeleton: true, join: "path-on-volume", t: r.Time, refs: ref,
			corroborates: at.node != nil && g.edges[edgeKey{at.node.ID, n.ID, Contains}] != nil,
		})
	}
	for _, e := range g.in[n.ID] {
		if (e.Verb == Opened || e.Verb == Wrote || e.Verb == Contains) && !g.nodes[e.From].Hub {
			m.Edges = append(m.Edges, e)
		}
	}
	for _, e := range g.out[n.ID] {
		if e.Verb == Opened {
			m.Edges = append(m.Edges, e)
		}
	}
}

// markFile draws what a file record shows, as lineage: a detection says that it
// matters.
func (g *Graph) markFile(r *world.Record, actor *Node) ([]*Edge, *Node) {
	path := r.Get("TargetFilename")
	if name := world.FiledTask(path); name != "" && (actor == nil || actor.Hub) {
		if n, edges := g.keptTask(r, name); n != nil {
			return edges, n
		}
	}
	if r.Kind == event.FileAttribute && hides(r) && actor != nil {
		// Of many files that are hidden on a stick, the stick is told.
		for _, at := range g.on(r.Host, g.world.PathOn(r.Host, path), r.Time) {
			if x := g.edges[edgeKey{actor.ID, idOf(at.node), Hid}]; x != nil {
				return []*Edge{x}, actor
			}
		}
	}
	if strings.HasSuffix(strings.ToLower(path), zoneSuffix) {
		path = path[:len(path)-len(zoneSuffix)]
	}
	n := g.fileNode(g.made(r.Host, path, r.Time), r.Host, path, r.Time, []event.EvidenceRef{r.Ref})
	if n == nil {
		return nil, nil
	}
	if actor == nil {
		return nil, n
	}
	verb := Wrote
	switch {
	case r.Kind == event.FileDelete:
		verb = Deleted
	case r.Kind == event.FileAttribute:
		if verb = Configured; hides(r) {
			verb = Hid
		}
	case n.Kind == Folder:
		verb = Created
	case r.Kind == event.FileRename:
		verb = Renamed
	}
	var edges []*Edge
	e := g.link(fact{
		from: actor, to: n, verb: verb, class: ClassA, skeleton: true, join: "own-record",
		t: r.Time, refs: []event.EvidenceRef{r.Ref}, corroborates: g.edges[edgeKey{actor.ID, n.ID, verb}] != nil,
	})
	if e != nil {
		edges = append(edges, e)
	}
	// One of many that are drawn as their folder.
	if x := g.edges[edgeKey{actor.ID, id(Folder, r.Host, world.Dir(g.world.PathOn(r.Host, path))), verb}]; x != nil {
		edges = append(edges, x)
	}
	for _, at := range g.on(r.Host, g.world.PathOn(r.Host, path), r.Time) {
		if x := g.edges[edgeKey{actor.ID, idOf(at.node), Wrote}]; x != nil {
			edges = append(edges, x)
		}
	}
	return edges, n
}

// keptTask finds the task that a record of the scheduler's own books is about, and
// the arrows of its making. It returns nil if the graph has no such task.
func (g *Graph) keptTask(r *world.Record, name string) (*Node, []*Edge) {
	n := g.nodes[id(Task, r.Host, strings.ToLower(world.TaskName(name)))]
	if n == nil {
		return nil, nil
	}
	n.Evidence = cite(n.Evidence, r.Ref, MaxNodeEvidence)
	return n, g.show(n.ID, false, "made", makes, r.Ref)
}

func (g *Graph) markRegistry(r *world.Record, actor *Node, m *Mark) {
	object := r.Get("TargetObject")
	ref := []event.EvidenceRef{r.Ref}
	show := func(n *Node, verb Verb, skeleton, mark bool) {
		if n == nil {
			return
		}
		n.Evidence = cite(n.Evidence, r.Ref, MaxNodeEvidence)
		if actor != nil {
			if e := g.link(fact{
				from: actor, to: n, verb: verb, class: ClassA, skeleton: skeleton, join: "own-record", t: r.Time, refs: ref,
				corroborates: g.edges[edgeKey{actor.ID, n.ID, verb}] != nil,
			}); e != nil {
				m.Edges = append(m.Edges, e)
			}
		}
		if mark || actor == nil || actor.Hub {
			m.Node = n.ID
		} else {
			m.Node = actor.ID
		}
	}
	if object == "" {
		return
	}
	if x, ok := exclusionKey(object); ok && x.value != "" {
		n := g.exclusion(r.Host, x, r.Time, ref)
		if actor != nil && !actor.Hub {
			show(n, Excluded, true, true)
			return
		}
		m.Node = idOf(n)
		m.Edges = append(m.Edges, g.in[idOf(n)]...)
		return
	}
	if name, value := world.ServiceValue(object); name != "" && g.nodes[g.serviceID(r.Host, name, r.Time)] != nil {
		n := g.nodes[g.serviceID(r.Host, name, r.Time)]
		if value == "imagepath" || value == "servicedll" {
			m.Node = n.ID
			for _, x := range g.in[n.ID] {
				if x.Verb == Registered || x.Verb == Configured {
					m.Edges = append(m.Edges, x)
				}
			}
			return
		}
		show(n, Configured, true, true)
		return
	}
	if name := world.CachedTask(object); name != "" && (actor == nil || actor.Hub) {
		if n, edges := g.keptTask(r, name); n != nil {
			m.Node, m.Edges = n.ID, append(m.Edges, edges...)
			return
		}
	}
	if p := g.typed(r); p != nil {
		n := g.process(p)
		n.Evidence = cite(n.Evidence, r.Ref, MaxNodeEvidence)
		m.Node = n.ID
		for _, x := range g.in[n.ID] {
			if x.Verb == Started {
				m.Edges = append(m.Edges, x)
			}
		}
		return
	}
	n := g.value(r.Host, object, r.Time, ref)
	if n != nil {
		n.setAttr("Details", r.Get("Details"))
	}
	verb := Configured
	if r.Kind == event.RegistryDelete {
		verb = Deleted
	}
	// A value that starts programs is a thing of its own; any other is what its
	// process did.
	starts := runKey(object) || redirectOf(object) != nil
	show(n, verb, starts, starts)
}

// typedWindow is how far what the Run dialog remembers may be from the start of
// what it ran.
const typedWindow = 5 * time.Second

// typed returns the process that the Run dialog started with what r says was
// entered there, nil if r says nothing of the sort or there is no single one. The
// shell writes "command\1", and starts it with the program's path written out.
func (g *Graph) typed(r *world.Record) *world.Process {
	if !strings.Contains(strings.ToLower(r.Get("TargetObject")), `\explorer\runmru\`) {
		return nil
	}
	_, args := world.SplitCommand(strings.TrimSuffix(r.Get("Details"), `\1`))
	args = strings.TrimSpace(args)
	if args == "" {
		return nil
	}
	var found *world.Process
	all := g.world.Processes()
	from := sort.Search(len(all), func(i int) bool { return !all[i].Start.Before(r.Time.Add(-typedWindow)) })
	for _, p := range all[from:] {
		if p.Start.Sub(r.Time) > typedWindow {
			break
		}
		if p.Implied || p.Parent == nil || !strings.EqualFold(p.Host, r.Host) ||
			p.Parent.ImageKey() != `c:\windows\explorer.exe` {
			continue
		}
		if _, told := world.SplitCommand(p.CommandLine); strings.TrimSpace(told) == args {
			if found != nil {
				return nil
			}
			found = p
		}
	}
	return found
}

// markShare marks what a record of an access to a share shows: the file that was
// written, else the logon in which it was done.
func (g *Graph) markShare(e *event.Event, r *world.Record, m *Mark) {
	s := g.sessionOf(r)
	var from *Node
	switch {
	case s != nil:
		from = g.sessionNode(s)
	case !wellKnownLogon(r.Get("SubjectLogonId")) && g.elsewhere(r.Host, r.Get("IpAddress")):
		// An access that joins nothing by itself, but is worth telling of.
		from = g.sessionNode(&session{
			host: r.Host, luid: r.Number("SubjectLogonId"), t: r.Time, record: r, remote: true, implied: true,
			user: r.Get("SubjectUserName"), ip: r.Get("IpAddress"), port: r.Get("IpPort"),
		})
	}
	if from == nil {
		return
	}
	from.Evidence = cite(from.Evidence, r.Ref, MaxNodeEvidence)
	m.Node = from.ID
	path, sure := g.shareFile(r)
	if e.ID != 5145 || !sure {
		return
	}
	ref := []event.EvidenceRef{r.Ref}
	n := g.fileNode(g.made(r.Host, path, r.Time), r.Host, path, r.Time, ref)
	if n == nil {
		return
	}
	if x := g.link(fact{
		from: from, to: n, verb: Wrote, class: ClassA, skeleton: true, join: "share-write", t: r.Time, refs: ref,
		corroborates: g.edges[edgeKey{from.ID, n.ID, Wrote}] != nil,
	}); x != nil {
		m.Edges = append(m.Edges, x)
		m.Node = n.ID
	}
}

// defenderPath reads the first file of a detection's Path,
// "file:_C:\x.exe; webfile:_…".
func defenderPath(s string) string {
	for _, part := range strings.Split(s, ";") {
		part = strings.TrimLeft(part, " ")
		for _, prefix := range []string{"file:_", "containerfile:_", "webfile:_", "process:_"} {
			if rest, ok := strings.CutPrefix(part, prefix); ok && !strings.HasPrefix(rest, "pid:") {
				rest, _, _ = strings.Cut(rest, "|")
				rest, _, _ = strings.Cut(rest, "->")
				return rest
			}
		}
	}
	return ""
}
