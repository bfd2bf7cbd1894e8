package provenance

import (
	"cmp"
	"slices"
	"sort"
	"strings"
	"time"

	"ashiato/internal/event"
	"ashiato/internal/world"
)

// maxRuns bounds how many runs of one service or task are drawn; the rest are
// counted on the node.
const maxRuns = 16

// run is a process that a service or task ran.
type run struct {
	process *world.Process
	class   Class
	join    string
	refs    []event.EvidenceRef
}

// serviceChild is the key of what the service manager started.
type serviceChild struct{ host, command string }

// program is what a service or task was to run from a time on.
type program struct {
	from time.Time
	path string // as recorded
	dll  bool   // it is what svchost.exe is to load
}

// ProgramAt returns what a service was to run at t, as recorded: of several that
// it was changed to and from, the one of that time. It is "" if none is recorded.
func (g *Graph) ProgramAt(service NodeID, t time.Time) string {
	var image, dll string
	for _, p := range g.programs[service] {
		held := !p.from.After(t.Add(2 * slack))
		switch {
		case p.dll && (held || dll == ""):
			dll = p.path
		case !p.dll && (held || image == ""):
			image = p.path
		}
	}
	if host, _ := world.SplitCommand(image); dll != "" && (image == "" || world.Base(world.PathKey(host)) == "svchost.exe") {
		return dll
	}
	return image
}

// single takes back that Sysmon doubles the percent signs of registry data.
func single(path string) string {
	if strings.HasPrefix(path, "%%") {
		return strings.ReplaceAll(path, "%%", "%")
	}
	return path
}

// Restored reports whether a service that was changed was at last made to run a
// program of Windows' own again that runs nothing else.
func (g *Graph) Restored(service NodeID) bool {
	var list []program
	for _, p := range g.programs[service] {
		if !p.dll {
			list = append(list, p)
		}
	}
	if len(list) < 2 {
		return false
	}
	image, _ := world.SplitCommand(list[len(list)-1].path)
	key := world.PathKey(image)
	_, runsFiles := interpreters[world.Base(key)]
	return strings.HasPrefix(key, `c:\windows\system32\`) && !runsFiles && world.Ext(key) == ".exe"
}

// service is a unit with what it ran.
type service struct {
	*world.Service
	runs []run
	more int
}

// services finds what recorded services ran, before the tree is drawn: a
// svchost.exe that is a recorded service's own process is no broker.
func (j *joiner) services() []service {
	type child = serviceChild
	children := map[child][]*world.Process{}
	j.serviceChildren = children
	named := map[string][]*world.Process{} // by the service that their command line names
	for _, p := range j.processes {
		if p.Implied || p.Image == "" || !startedBy(p, "services.exe") {
			continue
		}
		c := child{world.HostKey(p.Host), world.CommandKey(cmp.Or(p.CommandLine, p.Image))}
		children[c] = append(children[c], p)
		if name := hostedService(p); name != "" {
			k := fileKey(p.Host, strings.ToLower(name))
			named[k] = append(named[k], p)
		}
	}
	var all []service
	for _, ws := range j.w.Services() {
		s := service{Service: ws}
		installed := ws.From
		k := fileKey(ws.Host, ws.Key())
		j.Graph.services[k] = append(j.Graph.services[k], installed)
		over := func(t time.Time) bool { return !ws.Until.IsZero() && !t.Before(ws.Until.Add(-slack)) }
		add := func(p *world.Process, class Class, join string, refs ...event.EvidenceRef) {
			if slices.ContainsFunc(s.runs, func(r run) bool { return r.process == p }) {
				return
			}
			if len(s.runs) >= maxRuns {
				s.more++
				return
			}
			s.runs = append(s.runs, run{p, class, join, append(refs, p.Evidence[:min(2, len(p.Evidence))]...)})
			if class <= ClassB {
				j.units[p] = true
			}
		}
		id := j.serviceID(ws.Host, ws.Name, installed)
		// held reports whether it was to run its i-th program at t.
		held := func(i int, t time.Time) bool {
			from := ws.Programs[i].From
			if i == 0 {
				from = installed
			}
			for _, next := range ws.Programs[i+1:] {
				if next.DLL == ws.Programs[i].DLL && !t.Before(next.From) {
					return false
				}
			}
			return !t.Before(from.Add(-slack)) && !over(t)
		}
		for i, v := range ws.Programs {
			j.programs[id] = append(j.programs[id], program{v.From, single(v.Path), v.DLL})
			if v.DLL {
				// It was loaded: sure, whatever the command line says.
				for _, r := range j.loads[fileKey(ws.Host, world.PathKey(v.Path))] {
					if p, _ := j.w.Actor(r); p != nil && held(i, r.Time) && world.Base(p.ImageKey()) == "svchost.exe" {
						add(p, ClassB, "service-dll", v.Record.Ref, r.Ref)
					}
				}
			}
		}
		loaded := len(s.runs) > 0
		for i, v := range ws.Programs {
			if v.DLL || loaded {
				continue
			}
			image, _ := world.SplitCommand(v.Path)
			shared := world.Base(world.PathKey(image)) == "svchost.exe"
			var fits []*world.Process
			for _, p := range children[child{world.HostKey(ws.Host), world.CommandKey(v.Path)}] {
				if held(i, p.Start) {
					fits = append(fits, p)
				}
			}
			switch {
			case !shared:
				for _, p := range fits {
					add(p, ClassB, "service-image", v.Record.Ref)
				}
			case len(fits) == 1:
				add(fits[0], ClassB, "service-image", v.Record.Ref)
			default:
				for _, p := range fits[:min(1, len(fits))] {
					add(p, ClassC, "service-image", v.Record.Ref)
				}
			}
		}
		// It names the service: svchost.exe -k netsvcs -p -s NAME.
		for _, p := range named[k] {
			if !p.Start.Before(installed.Add(-slack)) && !over(p.Start) {
				add(p, ClassB, "service-name", ws.Installs[0].Ref)
			}
		}
		all = append(all, s)
		delete(named, k)
	}
	// What only a command line tells of.
	j.serviceClaims = j.claims(serviceClaims)
	j.claimedRuns = map[string][]run{}
	for _, k := range sortedKeys(j.serviceClaims) {
		for _, c := range j.serviceClaims[k] {
			for _, p := range named[k] {
				if c.remote || c.command == "" && c.dll == "" || p.Start.Before(c.t) || len(j.claimedRuns[k]) >= maxRuns ||
					slices.ContainsFunc(j.claimedRuns[k], func(r run) bool { return r.process == p }) {
					continue
				}
				j.units[p] = true
				j.claimedRuns[k] = append(j.claimedRuns[k], run{p, ClassB, "service-name", refs(c.refs, p.Evidence[:min(2, len(p.Evidence))])})
			}
		}
	}
	return all
}

// hostedService is the service that a svchost.exe's command line names, "" if none.
func hostedService(p *world.Process) string {
	if world.Base(p.ImageKey()) != "svchost.exe" {
		return ""
	}
	return option(words(p.CommandLine), "-s")
}

// startedBy reports whether a broker of that name may have started p: the record
// says so, or does not say who did.
func startedBy(p *world.Process, names ...string) bool {
	image := p.ParentImage
	if p.Parent != nil && p.Parent.Image != "" {
		image = p.Parent.Image
	}
	return image == "" || slices.Contains(names, world.Base(world.PathKey(image)))
}

// serviceID names the registration of a service that held at t. The first one
// of a name goes by the name alone.
func (g *Graph) serviceID(host, name string, t time.Time) NodeID {
	key := strings.ToLower(name)
	versions := g.services[fileKey(host, key)]
	i := sort.Search(len(versions), func(i int) bool { return versions[i].After(t.Add(slack)) })
	if i > 1 {
		key += "@" + versions[i-1].Format(event.TimeFormat)
	}
	return id(Service, host, key)
}

func (g *Graph) service(host, name string, t time.Time, refs []event.EvidenceRef) *Node {
	return g.add(g.serviceID(host, name, t), Service, host, t, refs, func(n *Node) { n.Label, n.Path = name, name })
}

// claim is a process that by its own command line or script registers a service
// or a task of that name.
type claim struct {
	process *world.Process
	name    string
	command string // what is to run, "" if not said
	host    string // the machine that it is on, as named; "" for this one
	dll     string // what a service host is to load, "" if not said
	t       time.Time
	refs    []event.EvidenceRef
	change  bool // changes an existing one
	remote  bool // on another machine
}

// claims reads command lines and scripts. Of a process and its parent that both
// name the unit (cmd /c sc create …) only the child claims it.
func (j *joiner) claims(read func(text string) []claim) map[string][]claim {
	found := map[string][]claim{}
	add := func(p *world.Process, text string, t time.Time, refs []event.EvidenceRef) {
		for _, c := range read(text) {
			c.process, c.t, c.refs = p, t, refs
			on := world.HostKey(p.Host)
			if c.host != "" {
				on = j.machine(c.host, p.Host)
			}
			if on == "" {
				continue // a machine that nothing was recorded of
			}
			c.remote = on != world.HostKey(p.Host)
			k := fileKey(on, strings.ToLower(c.name))
			found[k] = append(found[k], c)
		}
	}
	for _, p := range j.processes {
		if !p.Implied && p.CommandLine != "" {
			add(p, script(p.CommandLine), p.Start, p.Evidence)
		}
	}
	for _, r := range j.records {
		if r.Kind == event.ScriptBlock || r.Kind == event.ScriptModule || r.Kind == event.ScriptClassic {
			if p := j.scriptHost(r); p != nil {
				add(p, scriptText(r), r.Time, []event.EvidenceRef{r.Ref})
			}
		}
	}
	for k, list := range found {
		parents := map[*world.Process]bool{}
		for _, c := range list {
			parents[c.process.Parent] = true
		}
		kept := list[:0]
		for _, c := range list {
			if !parents[c.process] {
				kept = append(kept, c)
			}
		}
		found[k] = kept
	}
	return found
}

// serviceClaims reads sc create, New-Service, wmic service call create and reg add
// …\Services\….
func serviceClaims(text string) []claim {
	lower := strings.ToLower(text)
	if !strings.Contains(lower, "sc") && !strings.Contains(lower, "service") {
		return nil
	}
	// A pipeline's record (4103) says what was bound to which parameter; read as a
	// command line its own words would be the name.
	if strings.Contains(text, "CommandInvocation(") {
		return nil
	}
	for _, ws := range phrases(text) {
		if c, ok := serviceClaim(ws); ok {
			return []claim{c}
		}
	}
	return nil
}

func serviceClaim(ws []string) (claim, bool) {
	for i, w := range ws {
		w = strings.ToLower(w)
		switch base := strings.TrimSuffix(world.Base(world.PathKey(w)), ".exe"); {
		case base == "sc" && i+2 < len(ws):
			at, host := i+1, ""
			if strings.HasPrefix(ws[at], `\\`) {
				host = ws[at] // sc \\host create name
				at++
			}
			if at+1 < len(ws) && (strings.EqualFold(ws[at], "create") || strings.EqualFold(ws[at], "config")) {
				return claim{name: ws[at+1], command: option(ws[at:], "binpath="), host: host, change: strings.EqualFold(ws[at], "config")}, true
			}
		case w == "new-service" && i+1 < len(ws):
			name := option(ws[i:], "-name")
			if name == "" && !strings.HasPrefix(ws[i+1], "-") {
				name = strings.Trim(ws[i+1], `'"`)
			}
			if name != "" {
				return claim{name: name, command: option(ws[i:], "-binarypathname", "-path"), host: option(ws[i:], "-computername")}, true
			}
		case base == "wmic":
			if c, ok := wmicClaim(ws[i+1:]); ok {
				return c, true
			}
		case base == "reg" && i+2 < len(ws) && strings.EqualFold(ws[i+1], "add"):
			key := ws[i+2]
			name, _ := world.ServiceValue(key + `\x`)
			if name == "" {
				break
			}
			c := claim{name: name, change: true}
			switch value := option(ws[i:], "/v"); {
			case strings.EqualFold(value, "ServiceDll"):
				c.dll = option(ws[i:], "/d")
			case strings.EqualFold(value, "ImagePath"):
				c.command = option(ws[i:], "/d")
			}
			return c, true
		}
	}
	return claim{}, false
}

// wmicClaim reads "service call create Name="…",PathName="…"" after wmic.
func wmicClaim(ws []string) (claim, bool) {
	var verbs []string
	var c claim
	for i, w := range ws {
		verbs = append(verbs, strings.ToLower(w))
		if node, ok := strings.CutPrefix(verbs[i], "/node:"); ok {
			c.host = node
		}
		if n := len(verbs); n < 3 || verbs[n-3] != "service" && verbs[n-3] != "win32_service" || verbs[n-2] != "call" || verbs[n-1] != "create" {
			continue
		}
		for _, part := range strings.Split(strings.Join(ws[i+1:], " "), ",") {
			name, value, _ := strings.Cut(part, "=")
			switch value = strings.TrimSpace(value); strings.ToLower(strings.TrimSpace(name)) {
			case "name":
				c.name = value
			case "pathname":
				c.command = value
			}
		}
		return c, c.name != ""
	}
	return claim{}, false
}

// claimWindow is how far a registration's record may be from the start of the
// process whose command line asked for it.
const claimWindow = 60 * time.Second

// serviceEdges draws services: who registered them, from which file, and what
// they ran.
func (j *joiner) serviceEdges(services []service) {
	claims := j.serviceClaims
	for _, s := range services {
		var cited []event.EvidenceRef
		for _, r := range s.Installs {
			cited = append(cited, r.Ref)
		}
		first := s.Installs[0]
		n := j.service(s.Host, s.Name, first.Time, cited)
		if n == nil {
			continue
		}
		n.setAttr("ImagePath", s.ImagePath)
		n.setAttr("ServiceDll", s.DLL)
		n.setAttr("StartType", s.Start)
		for _, r := range s.Installs {
			for _, name := range []string{"ServiceType", "StartType", "AccountName"} {
				n.setAttr(name, r.Get(name))
			}
			j.creator(n, r)
		}
		own := claims[fileKey(s.Host, s.Key())]
		j.claimed(n, own, s.Installs)
		n.Existing = slices.ContainsFunc(own, func(c claim) bool { return c.change }) &&
			!slices.ContainsFunc(own, func(c claim) bool { return !c.change }) &&
			!slices.ContainsFunc(s.Installs, func(r *world.Record) bool { return r.Kind == event.ServiceInstall })
		program, _ := world.SplitCommand(s.ImagePath)
		j.registeredFile(n, program, recorded(first), "service-image")
		j.registeredFile(n, s.DLL, recorded(first), "service-dll")
		for _, r := range s.runs {
			if p := j.process(r.process); p != nil {
				// The unit is why a broker's program carries lineage; link asks
				// the node.
				j.link(fact{
					from: n, to: p, verb: RanAs, class: r.class, skeleton: true,
					join: r.join, t: r.process.Start, refs: r.refs,
				})
			}
		}
		if s.more > 0 {
			n.setAttr("RunsNotDrawn", itoa(s.more))
		}
	}
	// Services that no record of their own shows.
	for _, k := range sortedKeys(claims) {
		list := slices.Clone(claims[k])
		slices.SortStableFunc(list, func(a, b claim) int { return a.t.Compare(b.t) })
		for i, c := range list {
			if c.remote || c.change && c.command == "" && c.dll == "" || j.hasRegistration(c) {
				continue
			}
			verb := Registered
			if c.change {
				verb = Configured
			}
			n := j.service(c.process.Host, c.name, c.t, c.refs)
			if n == nil {
				continue
			}
			if c.command != "" {
				j.programs[n.ID] = append(j.programs[n.ID], program{from: c.t, path: c.command})
				slices.SortStableFunc(j.programs[n.ID], func(a, b program) int { return a.from.Compare(b.from) })
				n.setAttr("ImagePath", j.programs[n.ID][len(j.programs[n.ID])-1].path)
			}
			n.setAttr("ServiceDll", c.dll)
			n.Existing = c.change
			j.link(fact{
				from: j.process(c.process), to: n, verb: verb, class: ClassA, skeleton: true,
				join: "command-line", t: c.t, refs: c.refs,
			})
			if len(c.refs) > 0 {
				at := seenAt{c.process.Host, c.t, c.refs[0]}
				program, _ := world.SplitCommand(c.command)
				j.registeredFile(n, program, at, "service-image")
				j.registeredFile(n, c.dll, at, "service-dll")
			}
			for _, r := range j.claimedRuns[k] {
				if p := j.process(r.process); p != nil && !r.process.Start.Before(c.t) {
					j.link(fact{
						from: n, to: p, verb: RanAs, class: r.class, skeleton: true,
						join: r.join, t: r.process.Start, refs: r.refs,
					})
				}
			}
			// What it ran, until the next command line says another program.
			image, _ := world.SplitCommand(c.command)
			if c.command == "" || world.Base(world.PathKey(image)) == "svchost.exe" {
				continue
			}
			runs := 0
			for _, p := range j.serviceChildren[serviceChild{world.HostKey(c.process.Host), world.CommandKey(c.command)}] {
				over := slices.ContainsFunc(list[i+1:], func(next claim) bool { return next.command != "" && !next.remote && !p.Start.Before(next.t) })
				if over || p.Start.Before(c.t.Add(-slack)) || runs >= maxRuns {
					continue
				}
				runs++
				j.link(fact{
					from: n, to: j.process(p), verb: RanAs, class: ClassB, skeleton: true, join: "service-image",
					t: p.Start, refs: refs(c.refs, p.Evidence),
				})
			}
		}
	}
}

func (j *joiner) hasRegistration(c claim) bool {
	for _, e := range j.out[processID(c.process)] {
		to := j.nodes[e.To]
		if (e.Verb == Registered || e.Verb == Configured) && to.Kind == Service && strings.EqualFold(to.Path, c.name) {
			return true
		}
	}
	return false
}

// creator joins a unit to the process that the record of its registration names:
// by start key, by process id, as the writer of the registry value, or as the
// remote logon on whose behalf it was done.
func (j *joiner) creator(n *Node, r *world.Record) {
	f := fact{to: n, verb: Registered, class: ClassA, skeleton: true, t: r.Time, refs: []event.EvidenceRef{r.Ref}}
	switch r.Kind {
	case event.RegistrySet, event.FileCreate:
		p, _ := j.w.Actor(r)
		if p == nil || j.hub(p) {
			return
		}
		f.from, f.join = j.process(p), "own-record"
	default:
		if p := j.w.ByStartKey(r.Host, r.Number("ClientProcessStartKey")); p != nil {
			f.from, f.join = j.process(p), "start-key"
		} else if p := j.w.At(r.Host, uint32(r.Number("ClientProcessId")), r.Time); p != nil {
			f.from, f.join = j.process(p), "client-pid"
		} else if l := j.session(r); l != nil {
			f.from, f.join = j.logon(l), "logon-id"
		} else {
			return
		}
	}
	j.link(f)
}

// session returns the record that shows the remote logon on whose behalf r was
// done, nil if it was none or is not recorded.
func (j *joiner) session(r *world.Record) *world.Record {
	if s := j.sessionOf(r); s != nil && s.remote {
		return s.record
	}
	return nil
}

// claimed joins a unit to the processes whose command line names it, near one of
// the records of its registration. A process of another machine counts only if
// no record tells on whose behalf it was registered, and its clock may differ.
func (j *joiner) claimed(n *Node, claims []claim, records []*world.Record) {
	known := j.registered(n)
	for _, c := range claims {
		early := slack
		if c.remote {
			if known {
				continue
			}
			early = maxSkew
		}
		near := nearest(records, c.t, early, max(claimWindow, early))
		if near == nil {
			continue
		}
		verb := Registered
		if c.change {
			verb = Configured
		}
		e := j.link(fact{
			from: j.process(c.process), to: n, verb: verb, class: ClassB, skeleton: true,
			join: "command-line", t: c.t, refs: refs(c.refs, []event.EvidenceRef{near.Ref}),
		})
		if e != nil && c.remote {
			j.span(e, near.Time)
		}
	}
}

// nearest returns of records, by time, the one nearest to t that is at most early
// before and late after it, of two as near the later: what was asked for comes
// after. It returns nil if there is none.
func nearest(records []*world.Record, t time.Time, early, late time.Duration) *world.Record {
	i := sort.Search(len(records), func(i int) bool { return !records[i].Time.Before(t) })
	var near *world.Record
	if i < len(records) && records[i].Time.Sub(t) <= late {
		near = records[i]
	}
	if i > 0 {
		before := t.Sub(records[i-1].Time)
		if before <= early && (near == nil || before < near.Time.Sub(t)) {
			near = records[i-1]
		}
	}
	return near
}

// seenAt is where and when a record told of something.
type seenAt struct {
	host string
	t    time.Time
	ref  event.EvidenceRef
}

func recorded(r *world.Record) seenAt { return seenAt{r.Host, r.Time, r.Ref} }

// registeredFile joins a unit to the file that it runs, if that was written.
func (j *joiner) registeredFile(n *Node, path string, r seenAt, join string) {
	if path == "" {
		return
	}
	key := j.w.PathOn(r.host, path)
	w := j.lastWrite(r.host, key, r.t)
	if w == nil {
		// Some register first and write afterwards.
		list := j.written[fileKey(r.host, key)]
		i := sort.Search(len(list), func(i int) bool { return list[i].t.After(r.t) })
		if i == len(list) || list[i].t.Sub(r.t) > 10*time.Minute {
			return
		}
		w = &list[i]
	}
	file, _ := j.wrote(w, true)
	j.took(file)
	j.link(fact{
		from: file, to: n, verb: Registered, class: ClassB, skeleton: true, join: join,
		t: r.t, refs: refs(w.refs, []event.EvidenceRef{r.ref}),
	})
}

// taskClaims reads schtasks /create and Register-ScheduledTask.
func taskClaims(text string) []claim {
	lower := strings.ToLower(text)
	if !strings.Contains(lower, "schtasks") && !strings.Contains(lower, "register-scheduledtask") {
		return nil
	}
	for _, ws := range phrases(text) {
		if c, ok := taskClaim(ws); ok {
			return []claim{c}
		}
	}
	return nil
}

func taskClaim(ws []string) (claim, bool) {
	for i, w := range ws {
		switch w = strings.ToLower(w); {
		case strings.TrimSuffix(world.Base(world.PathKey(w)), ".exe") == "schtasks":
			ws := ws[i+1:]
			has := func(names ...string) bool {
				return slices.ContainsFunc(ws, func(w string) bool { return slices.Contains(names, strings.ToLower(w)) })
			}
			c := claim{name: world.TaskName(option(ws, "/tn", "-tn")), command: option(ws, "/tr", "-tr"), host: option(ws, "/s", "-s")}
			c.change = !has("/create", "-create")
			if c.name != "" && (!c.change || has("/change", "-change")) {
				return c, true
			}
		case w == "register-scheduledtask":
			if name := option(ws[i:], "-taskname"); name != "" {
				return claim{name: world.TaskName(name)}, true
			}
		}
	}
	return claim{}, false
}

func (g *Graph) task(host, name string, t time.Time, refs []event.EvidenceRef) *Node {
	name = world.TaskName(name)
	return g.add(id(Task, host, strings.ToLower(name)), Task, host, t, refs, func(n *Node) { n.Label, n.Path = world.Base(name), `\`+name })
}

// tasks draws scheduled tasks: who registered them, from which file, and what
// they ran.
func (j *joiner) tasks() {
	type action struct{ host, command string }
	children := map[action][]*world.Process{}
	for _, p := range j.processes {
		if p.Implied || p.Image == "" || !startedBy(p, "svchost.exe", "taskeng.exe") {
			continue
		}
		if p.Parent != nil && p.Parent.CommandLine != "" && world.Base(p.Parent.ImageKey()) == "svchost.exe" {
			cmd := strings.ToLower(p.Parent.CommandLine)
			if !strings.Contains(cmd, "schedule") && !strings.Contains(cmd, "netsvcs") {
				continue
			}
		}
		a := action{world.HostKey(p.Host), world.CommandKey(cmp.Or(p.CommandLine, p.Image))}
		children[a] = append(children[a], p)
	}
	claims := j.claims(taskClaims)
	type unit struct {
		node     *Node
		host     string
		t        time.Time
		ref      event.EvidenceRef
		commands []string
	}
	var units []unit
	for _, t := range j.w.Tasks() {
		var cited []event.EvidenceRef
		for _, r := range t.Registers {
			cited = append(cited, r.Ref)
		}
		for _, r := range t.Starts {
			cited = append(cited, r.Ref)
		}
		if len(cited) == 0 {
			continue // a start only, which joins where it finds its process
		}
		first := append(slices.Clone(t.Registers), t.Starts...)[0]
		n := j.task(t.Host, t.Name, first.Time, cited)
		if n == nil {
			continue
		}
		commands := slices.Clone(t.Commands)
		for _, c := range claims[fileKey(t.Host, t.Key())] {
			if c.command != "" {
				commands = append(commands, c.command)
			}
		}
		if len(commands) > 0 {
			n.setAttr("TaskAction", commands[len(commands)-1])
		}
		for _, r := range t.Registers {
			j.creator(n, r)
		}
		j.claimed(n, claims[fileKey(t.Host, t.Key())], t.Registers)
		runs := 0
		for _, r := range t.Starts {
			p := j.w.At(t.Host, uint32(r.Number("ProcessId")), r.Time)
			if p == nil {
				continue
			}
			if runs++; runs > maxRuns {
				continue
			}
			j.link(fact{
				from: n, to: j.process(p), verb: RanAs, class: ClassA, skeleton: true,
				join: "task-pid", t: r.Time, refs: refs([]event.EvidenceRef{r.Ref}, p.Evidence),
			})
		}
		if runs > maxRuns {
			n.setAttr("RunsNotDrawn", itoa(runs-maxRuns))
		}
		if len(t.Registers) > 0 {
			units = append(units, unit{n, t.Host, first.Time, first.Ref, commands})
			for _, c := range commands {
				program, _ := world.SplitCommand(c)
				j.registeredFile(n, program, recorded(first), "task-action")
			}
		}
	}
	for _, k := range sortedKeys(claims) {
		for _, c := range claims[k] {
			taskID := id(Task, c.process.Host, strings.ToLower(c.name))
			if c.remote || c.change || j.edges[edgeKey{processID(c.process), taskID, Registered}] != nil {
				continue
			}
			known := j.nodes[taskID] != nil
			n := j.task(c.process.Host, c.name, c.t, c.refs)
			if n == nil {
				continue
			}
			if c.command != "" {
				n.setAttr("TaskAction", c.command)
			}
			j.link(fact{
				from: j.process(c.process), to: n, verb: Registered, class: ClassA, skeleton: true,
				join: "command-line", t: c.t, refs: c.refs,
			})
			if !known && c.command != "" {
				units = append(units, unit{n, c.process.Host, c.t, c.refs[0], []string{c.command}})
			}
		}
	}
	// An action that two tasks share does not tell which of them ran.
	owners := map[action]map[NodeID]bool{}
	for _, u := range units {
		for _, c := range u.commands {
			a := action{world.HostKey(u.host), world.CommandKey(c)}
			if owners[a] == nil {
				owners[a] = map[NodeID]bool{}
			}
			owners[a][u.node.ID] = true
		}
	}
	for _, u := range units {
		for _, c := range u.commands {
			a := action{world.HostKey(u.host), world.CommandKey(c)}
			class := ClassB
			if len(owners[a]) > 1 {
				class = ClassC
			}
			runs := 0
			for _, p := range children[a] {
				if p.Start.Before(u.t.Add(-slack)) {
					continue
				}
				if runs++; runs > maxRuns {
					continue
				}
				j.link(fact{
					from: u.node, to: j.process(p), verb: RanAs, class: class, skeleton: true, join: "task-action",
					t: p.Start, refs: refs([]event.EvidenceRef{u.ref}, p.Evidence),
					corroborates: j.edges[edgeKey{u.node.ID, processID(p), RanAs}] != nil,
				})
			}
			if runs > maxRuns {
				u.node.setAttr("RunsNotDrawn", itoa(runs-maxRuns))
			}
		}
	}
}

// runKey reports whether a registry value starts programs when someone logs on.
func runKey(object string) bool {
	key := strings.ToLower(object)
	for _, part := range []string{
		`\currentversion\run\`, `\currentversion\runonce\`, `\currentversion\runservices\`, `\currentversion\runonceex\`,
		`\policies\explorer\run\`,
	} {
		if strings.Contains(key, part) {
			return true
		}
	}
	return false
}

func (g *Graph) value(host, object string, t time.Time, refs []event.EvidenceRef) *Node {
	return g.add(id(RegistryValue, host, strings.ToLower(object)), RegistryValue, host, t, refs, func(n *Node) {
		n.Label, n.Path = world.Base(object), object
	})
}

// runKeys draws values that start programs at logon: who set them, from which
// file, and what they started.
func (j *joiner) runKeys() {
	type started struct{ host, command string }
	children := map[started][]*world.Process{}
	for _, p := range j.processes {
		if !p.Implied && p.CommandLine != "" && startedBy(p, "explorer.exe", "userinit.exe", "runonce.exe") {
			k := started{world.HostKey(p.Host), world.CommandKey(p.CommandLine)}
			children[k] = append(children[k], p)
		}
	}
	for _, r := range j.records {
		if r.Kind != event.RegistrySet || !runKey(r.Get("TargetObject")) {
			continue
		}
		p, _ := j.w.Actor(r)
		n := j.value(r.Host, r.Get("TargetObject"), r.Time, []event.EvidenceRef{r.Ref})
		if n == nil {
			continue
		}
		data := r.Get("Details")
		n.setAttr("Details", data)
		if p != nil {
			j.link(fact{
				from: j.process(p), to: n, verb: Configured, class: ClassA, skeleton: true,
				join: "own-record", t: r.Time, refs: []event.EvidenceRef{r.Ref},
			})
		}
		program, _ := world.SplitCommand(data)
		j.registeredFile(n, program, recorded(r), "run-key")
		for i, c := range children[started{world.HostKey(r.Host), world.CommandKey(data)}] {
			if data == "" || c.Start.Before(r.Time) || i >= maxRuns {
				continue
			}
			j.link(fact{
				from: n, to: j.process(c), verb: Started, class: ClassB, skeleton: true, join: "run-key",
				t: c.Start, refs: refs([]event.EvidenceRef{r.Ref}, c.Evidence),
			})
		}
	}
}
