package incident

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"ashiato/internal/detect"
	"ashiato/internal/event"
	"ashiato/internal/i18n"
	"ashiato/internal/provenance"
	"ashiato/internal/visible"
	"ashiato/internal/world"
)

// chapter is a step while it is being gathered: arrows that one sentence tells.
type chapter struct {
	key   string
	actor provenance.NodeID // who did it, for taking in its own start
	edges []*provenance.Edge
	first time.Time
	taken time.Time // of the last arrow that was put in
	order int       // of chapters of one moment
	// things are what the sentence lists, in order of first mention.
	things []string
	// also are what folded chapters list, and by who or what stands before it.
	also   []string
	by     provenance.NodeID
	rule   string    // of detections
	latest time.Time // likewise
	count  int
	nodes  map[provenance.NodeID]bool
	acts   []string    // behaviours
	index  *placeIndex // of things; see reached
	alerts []int       // indexes of the detections it tells of, as found
}

// storyGap is how far apart two doings of one kind by one actor may be and still
// be one sentence.
const storyGap = 10 * time.Minute

// storyOrder breaks ties of time in the order of cause.
var storyOrder = map[string]int{
	"volume-attached": 0, "volume-elsewhere": 0, "logged-on": 0, "from-volume": 1, "started": 3, "folder-created": 4,
	"copied": 5, "wrote": 5, "elevated": 6, "renamed": 6, "loaded": 7, "excluded": 8,
}

// helpers are programs that change the attributes of files for who started them.
var helpers = map[string]bool{"attrib.exe": true}

// copiers are programs whose doing is told as their parent's copying.
var copiers = map[string]bool{"xcopy.exe": true, "robocopy.exe": true, "copy.exe": true, "makecab.exe": true, "expand.exe": true}

// tell makes the story: every telling arrow goes to a chapter, chapters are
// numbered in order of time.
func (b *builder) tell(i *Incident) {
	t := &teller{b: b, open: map[string]*chapter{}, of: map[*provenance.Edge]*chapter{}, marks: map[provenance.NodeID][]string{}, volumes: map[provenance.NodeID][]provenance.NodeID{}}
	for _, a := range b.alerts {
		if at, found := slices.BinarySearch(t.marks[a.Node], a.Rule.Behaviour); !found && a.Rule.Behaviour != "" {
			t.marks[a.Node] = slices.Insert(t.marks[a.Node], at, a.Rule.Behaviour)
		}
	}
	var starts []*provenance.Edge
	for _, e := range i.Edges {
		if !b.tells(e) {
			continue
		}
		if e.Verb == provenance.Started && t.kind(e.From) == provenance.Process {
			starts = append(starts, e)
			continue
		}
		t.edge(e)
	}
	// The latest first, so that a shell knows already what its command did.
	for n := len(starts) - 1; n >= 0; n-- {
		t.start(starts[n])
	}
	t.behaviours()
	t.fold()
	t.note()
	t.busy()
	// A detection that no arrow tells of gets a sentence of its own; many of one
	// rule share one.
	told := map[provenance.NodeID]bool{}
	byRule := map[string]*chapter{}
	for _, c := range t.chapters {
		for n := range c.nodes {
			told[n] = true
		}
	}
	for n, a := range b.alerts {
		if told[a.Node] {
			continue
		}
		told[a.Node] = true
		c := byRule[a.Rule.ID]
		if c == nil || a.Event.Time.Sub(c.latest) > storyGap {
			c = &chapter{key: "detected", first: a.Event.Time, order: 9, nodes: map[provenance.NodeID]bool{}, rule: a.Rule.Name}
			c.act(a.Rule.Behaviour)
			byRule[a.Rule.ID] = c
			t.chapters = append(t.chapters, c)
		}
		c.alerts = append(c.alerts, n)
		c.nodes[a.Node], c.latest = true, a.Event.Time
		c.things = append(c.things, t.name(a.Node))
	}
	slices.SortStableFunc(t.chapters, func(x, y *chapter) int {
		return cmp.Or(x.first.Compare(y.first), cmp.Compare(x.order, y.order), strings.Compare(x.key, y.key),
			strings.Compare(strings.Join(x.things, "\x00"), strings.Join(y.things, "\x00")))
	})
	index := map[*provenance.Edge]int{}
	for n, e := range i.Edges {
		index[e] = n
	}
	i.EdgeSteps = make([]int, len(i.Edges))
	if i.Root.Kind == RootBeforeRecord && b.joined && len(t.chapters) > 1 && t.chapters[0].key != "unit-noted" {
		// No arrow tells how it came in; say so before the first that is known.
		s := Step{Number: 1, Time: t.chapters[0].first, Key: "began-before", Args: []string{t.as(i.Root.Node)}}
		if brought, ok := b.g.Brought(b.g.Node(i.Root.Node)); ok && len(i.Alternatives) > 0 && i.Alternatives[0].Node == i.Root.Node {
			s.Key, s.Args = "came-unrecorded", []string{brought.Path}
		}
		i.Story = append(i.Story, s)
	}
	if i.Root.Kind == RootRemoteLogon && b.g.Node(i.Root.Node).Kind == provenance.Process && len(t.chapters) > 0 {
		// Only who started it shows that somebody logged on.
		i.Story = append(i.Story, Step{Number: 1, Time: t.chapters[0].first, Key: "logon-unrecorded", Args: []string{t.name(i.Root.Node)}})
	}
	for _, w := range t.words() {
		s := Step{Number: len(i.Story) + 1, Time: w.first, Behaviours: w.acts, Key: w.key, Args: w.args}
		slices.Sort(w.alerts)
		s.Detections = slices.Compact(w.alerts)
		for _, e := range w.edges {
			s.Edges = append(s.Edges, index[e])
			i.EdgeSteps[index[e]] = s.Number
		}
		slices.Sort(s.Edges)
		i.Story = append(i.Story, s)
	}
}

// worded is a chapter with its sentence.
type worded struct {
	*chapter
	key  string
	args []string
}

// words are the chapters in order with their sentences. What would be said a
// second time, at once or with nothing else between, is said once.
func (t *teller) words() []worded {
	var all []worded
	for _, c := range t.chapters {
		key, args := t.sentence(c)
		said := -1
		for n, w := range all {
			if w.key == key && slices.Equal(w.args, args) && (c.first.Sub(w.first) <= soon || n == len(all)-1 && c.first.Sub(w.last()) <= storyGap) {
				said = n
			}
		}
		if said < 0 {
			all = append(all, worded{c, key, args})
			continue
		}
		t.merge(all[said].chapter, c)
	}
	return all
}

type teller struct {
	b        *builder
	chapters []*chapter
	open     map[string]*chapter
	of       map[*provenance.Edge]*chapter
	marks    map[provenance.NodeID][]string // the behaviours of detections on a node
	volumes  map[provenance.NodeID][]provenance.NodeID
}

// volumesOf are the volumes that the story knows a process wrote to.
func (t *teller) volumesOf(process provenance.NodeID) []provenance.NodeID {
	if known, ok := t.volumes[process]; ok {
		return known
	}
	var found []provenance.NodeID
	for _, e := range t.b.g.Out(process) {
		if t.kind(e.To) == provenance.Volume && t.b.shown[e.To] {
			found = append(found, e.To)
		}
	}
	t.volumes[process] = found
	return found
}

func (t *teller) kind(id provenance.NodeID) provenance.NodeKind { return t.b.g.Node(id).Kind }

// name is how a node is called in a sentence.
func (t *teller) name(id provenance.NodeID) string {
	n := t.b.g.Node(id)
	switch n.Kind {
	case provenance.File, provenance.Folder:
		if rest, ok := strings.CutPrefix(n.Path, `\Device\`); ok {
			return rest // HarddiskVolume7\x.lnk: no drive letter is known
		}
		return n.Path
	case provenance.RegistryValue, provenance.Exclusion:
		return n.Path
	case provenance.Address:
		if h := n.Attr("DestinationHostname"); h != "" {
			return h + " (" + n.Label + ")"
		}
		for _, e := range t.b.g.In(id) {
			if e.Verb == provenance.Resolved {
				return t.b.g.Node(e.From).Label + " (" + n.Label + ")"
			}
		}
	}
	return clip(n.Label)
}

// as names a process with the account that it runs as, if that is known.
func (t *teller) as(process provenance.NodeID) string {
	name := t.name(process)
	if user := t.b.g.Node(process).Attr("User"); user != "" {
		name += " (" + clip(user) + ")"
	}
	return name
}

// child names what an arrow started, with its account if that is another than that
// of who started it: rights were gained, or given up.
func (t *teller) child(e *provenance.Edge) string {
	before, after := t.b.g.Node(e.From).Attr("User"), t.b.g.Node(e.To).Attr("User")
	if before == "" || strings.EqualFold(before, after) {
		return t.name(e.To)
	}
	return t.as(e.To)
}

// clip shortens names that hold a payload, such as a service's that is called a
// piece of a program; the node has the whole.
func clip(name string) string {
	const most = 60
	if len(name) <= most {
		return name
	}
	cut := most
	for cut > 0 && !utf8.RuneStart(name[cut]) {
		cut--
	}
	return name[:cut] + "…"
}

// into puts an arrow into the open chapter of that key, or a new one if the last
// was too long ago.
func (t *teller) into(key, by string, e *provenance.Edge, actor provenance.NodeID, thing string) *chapter {
	k := key + "\x00" + by
	c := t.open[k]
	if c == nil || e.First.Sub(c.taken).Abs() > storyGap {
		order, known := storyOrder[key]
		if !known {
			order = 8
		}
		c = &chapter{key: key, actor: actor, first: e.First, taken: e.First, order: order, nodes: map[provenance.NodeID]bool{}}
		t.open[k] = c
		t.chapters = append(t.chapters, c)
	}
	c.take(e)
	if thing != "" && !slices.Contains(c.things, thing) {
		c.things = append(c.things, thing)
	}
	t.of[e] = c
	return c
}

func (c *chapter) last() time.Time {
	last := c.first
	for _, e := range c.edges {
		if e.First.After(last) {
			last = e.First
		}
	}
	return last
}

func (c *chapter) take(e *provenance.Edge) {
	c.edges = append(c.edges, e)
	c.nodes[e.From], c.nodes[e.To] = true, true
	if e.First.Before(c.first) {
		c.first = e.First
	}
	if e.First.After(c.taken) {
		c.taken = e.First
	}
}

// volumeOf returns the volume that a file in the story lies on, "" if none.
func (t *teller) volumeOf(file provenance.NodeID) provenance.NodeID {
	for _, e := range t.b.g.In(file) {
		if e.Verb == provenance.Contains && t.kind(e.From) == provenance.Volume && t.b.shown[e.From] {
			return e.From
		}
	}
	return ""
}

// runner returns the process that a file was run by, "" if the story tells of none.
func (t *teller) runner(file provenance.NodeID) provenance.NodeID {
	for _, e := range t.b.g.Out(file) {
		if !t.b.tells(e) {
			continue
		}
		switch e.Verb {
		case provenance.Executed, provenance.Interpreted, provenance.Opened, provenance.Loaded:
			if t.b.shown[e.To] {
				return e.To
			}
		}
	}
	return ""
}

// elevation returns the arrow to a process from its start with fewer rights, nil
// if there is none.
func (t *teller) elevation(process provenance.NodeID) *provenance.Edge {
	for _, e := range t.b.g.In(process) {
		if e.Verb == provenance.Elevated && t.b.core[e.From] {
			return e
		}
	}
	return nil
}

// unitOf returns the service or task that ran a process, "" if none did.
func (t *teller) unitOf(process provenance.NodeID) provenance.NodeID {
	for _, e := range t.b.g.In(process) {
		if e.Verb == provenance.RanAs && t.b.shown[e.From] {
			return e.From
		}
	}
	return ""
}

// note tells of services and tasks of which the registration is recorded, but
// not who did it: no arrow leads to them.
func (t *teller) note() {
	if !t.b.joined {
		return
	}
	told := map[provenance.NodeID]bool{}
	for _, c := range t.chapters {
		if c.key == "unit-registered" {
			told[c.edges[0].To] = true
		}
	}
	for _, id := range slices.Sorted(maps.Keys(t.b.core)) {
		n := t.b.g.Node(id)
		if told[id] || n.Attr("ServiceDll") == "" && n.Attr("ImagePath") == "" && n.Attr("TaskAction") == "" {
			continue
		}
		c := &chapter{key: "unit-noted", actor: id, first: n.First, order: 2, nodes: map[provenance.NodeID]bool{id: true}, things: []string{n.Label}}
		for n, a := range t.b.alerts {
			if a.Node == id {
				c.alert(n, a.Rule.Behaviour)
			}
		}
		t.chapters = append(t.chapters, c)
	}
}

// busy tells of processes that kept the processors or the graphics card busy.
func (t *teller) busy() {
	for _, id := range slices.Sorted(maps.Keys(t.b.core)) {
		n := t.b.g.Node(id)
		for _, use := range [...][4]string{
			{"cpu", provenance.CPUPercent, provenance.CPUSeconds, provenance.CPUUntil},
			{"gpu", provenance.GPUPercent, provenance.GPUSeconds, provenance.GPUUntil},
		} {
			at, err := time.Parse(event.TimeFormat, n.Attr(use[3]))
			if err != nil {
				continue
			}
			seconds, _ := strconv.Atoi(n.Attr(use[2]))
			c := &chapter{
				key: "busy-" + use[0], actor: id, first: at, order: 9, nodes: map[provenance.NodeID]bool{id: true},
				things: []string{n.Attr(use[1]), strconv.Itoa(max(1, (seconds+30)/60))},
			}
			for n, a := range t.b.alerts {
				if a.Node == id && a.Event.Time.Equal(at) {
					c.alert(n, a.Rule.Behaviour)
				}
			}
			t.chapters = append(t.chapters, c)
		}
	}
}

// edge finds the chapter of an arrow that is not a plain start.
func (t *teller) edge(e *provenance.Edge) {
	from, to := t.kind(e.From), t.kind(e.To)
	both := string(e.From) + "\x00" + string(e.To)
	switch e.Verb {
	case provenance.Attached:
		if to == provenance.Volume {
			t.into("volume-elsewhere", both, e, "", t.name(e.From))
			return
		}
		for _, x := range t.b.g.In(e.From) {
			if x.Verb == provenance.Attached && t.b.shown[x.From] {
				t.into("volume-elsewhere", string(x.From)+"\x00"+string(x.To), e, "", "")
				return
			}
		}
		t.into("volume-attached", string(e.From), e, "", t.name(e.From))
	case provenance.Contains:
		if from == provenance.Volume {
			if p := t.runner(e.To); p != "" {
				t.into("from-volume", string(p), e, p, "")
				return
			}
		}
		t.into("contains", both, e, "", t.name(e.To))
	case provenance.Opened, provenance.Interpreted, provenance.Executed:
		if low := t.elevation(e.To); low != nil && e.Verb == provenance.Executed {
			t.into("elevated", string(low.From)+"\x00"+string(low.To), e, low.From, "")
			return
		}
		switch {
		case from == provenance.Volume || t.volumeOf(e.From) != "":
			t.into("from-volume", string(e.To), e, e.To, "")
		case t.unitOf(e.To) != "":
			t.into("unit-ran", string(t.unitOf(e.To))+"\x00"+string(e.To), e, e.To, "")
		default:
			t.into("file-ran", string(e.To), e, e.To, t.name(e.From))
		}
	case provenance.Copied:
		t.into("content-copied", both, e, "", t.name(e.To))
	case provenance.Loaded:
		if from == provenance.RegistryValue {
			t.into("value-loaded", both, e, e.To, t.name(e.From))
			return
		}
		if u := t.unitOf(e.To); u != "" && t.kind(u) == provenance.Service {
			t.into("unit-ran", string(u)+"\x00"+string(e.To), e, e.To, "")
			return
		}
		t.into("loaded", string(e.To), e, e.To, t.name(e.From))
	case provenance.Elevated:
		t.into("elevated", both, e, e.From, t.name(e.To))
	case provenance.Created:
		t.into("folder-created", string(e.From), e, e.From, t.name(e.To))
	case provenance.Wrote, provenance.Hid, provenance.Renamed, provenance.Deleted:
		if to == provenance.Gap {
			t.into("log-cleared-by", both, e, e.From, t.name(e.To))
			return
		}
		t.fileEdge(e, from, to)
	case provenance.Excluded:
		t.into("excluded", string(t.origin(e.From)), e, t.origin(e.From), t.name(e.To))
	case provenance.Registered, provenance.Configured:
		switch to {
		case provenance.Service, provenance.Task:
			// Changed to something and back, it is told twice.
			t.into("unit-registered", string(e.To)+"\x00"+t.b.g.ProgramAt(e.To, e.Last), e, "", "")
		case provenance.WMI:
			t.into("consumer-registered", string(e.To), e, e.From, t.name(e.To))
		case provenance.Installer:
			t.into("requested", string(e.To), e, "", t.name(e.To))
		default:
			// Which file a value names is told with who set it.
			actor := e.From
			if from != provenance.Process {
				actor = t.setter(e.To, actor)
			}
			t.into("value-set", string(actor), e, actor, t.name(e.To))
		}
	case provenance.RanAs:
		unit := t.b.g.Node(e.From)
		if (from == provenance.WMI && !provenance.IsConsumer(unit) || from == provenance.COM && unit.Label == t.b.g.Node(e.To).Label) && t.asked(e.From) {
			// What was asked for is no more than this one start.
			t.into("requested", string(e.From), e, e.From, "")
			return
		}
		t.into("unit-ran", both, e, e.To, "")
	case provenance.Requested:
		t.into("requested", string(e.To), e, e.From, t.name(e.To))
	case provenance.Started: // by a registry value, or from the Startup folder
		t.into("value-ran", both, e, e.To, t.name(e.From))
	case provenance.Connected, provenance.Resolved:
		if to == provenance.Process {
			t.into("piped", both, e, e.From, t.name(e.To))
			return
		}
		if from == provenance.Domain {
			t.into("resolves", both, e, "", t.name(e.To))
			return
		}
		c := t.into("connected", string(e.From), e, e.From, "")
		c.reached(t.name(e.To), e.Verb == provenance.Connected)
	case provenance.Injected:
		t.into("injected", both, e, e.From, t.name(e.To))
	case provenance.Accessed:
		t.into("accessed", both, e, e.From, t.name(e.To))
	case provenance.LoggedOn:
		if from == provenance.Process {
			t.into("logged-on-as", both, e, e.From, t.name(e.To))
			return
		}
		t.into("logged-on", string(e.From), e, "", t.name(e.From))
	default:
		t.into("related", both, e, "", t.name(e.To))
	}
}

// setter is the process that the story tells to have set a registry value, other
// if there is none.
func (t *teller) setter(value, other provenance.NodeID) provenance.NodeID {
	for _, e := range t.b.g.In(value) {
		if (e.Verb == provenance.Registered || e.Verb == provenance.Configured) && t.kind(e.From) == provenance.Process && t.b.tells(e) {
			return e.From
		}
	}
	return other
}

// origin is on whose behalf a tool acted: powershell.exe, started only to set an
// exclusion, acts for its parent.
func (t *teller) origin(process provenance.NodeID) provenance.NodeID {
	for _, e := range t.b.g.In(process) {
		if e.Verb == provenance.Started && carries(e) && t.b.core[e.From] && t.kind(e.From) == provenance.Process {
			return e.From
		}
	}
	return process
}

// tools are programs that only do what the process that started them wants.
var tools = map[string]bool{"sc.exe": true, "reg.exe": true, "schtasks.exe": true, "net.exe": true, "net1.exe": true}

// behalf is origin for the tools that register things.
func (t *teller) behalf(process provenance.NodeID) provenance.NodeID { return t.hand(process, tools) }

// hand is origin for some programs, also behind a shell that was started for that
// one command; any other process acts for itself.
func (t *teller) hand(process provenance.NodeID, programs map[string]bool) provenance.NodeID {
	if !programs[strings.ToLower(t.b.g.Node(process).Label)] {
		return process
	}
	by := t.origin(process)
	if strings.EqualFold(t.b.g.Node(by).Label, "cmd.exe") {
		children := 0
		for _, e := range t.b.g.Out(by) {
			if e.Verb == provenance.Started && t.b.core[e.To] {
				children++
			}
		}
		if children == 1 {
			by = t.origin(by)
		}
	}
	return by
}

// actor is how a sentence calls who registered something: a tool, and for whom.
func (t *teller) actor(process provenance.NodeID) string {
	by := t.behalf(process)
	if by == process {
		return t.name(process)
	}
	return t.name(by) + " → " + t.name(process)
}

func (t *teller) fileEdge(e *provenance.Edge, from, to provenance.NodeKind) {
	volume := provenance.NodeID("")
	switch to {
	case provenance.Volume:
		volume = e.To
	case provenance.File, provenance.Folder:
		if from == provenance.Process {
			// Written to a volume that the story knows the actor wrote to.
			for _, v := range t.volumesOf(e.From) {
				if t.on(v, e.To) {
					volume = v
				}
			}
		}
	}
	if volume != "" {
		thing := ""
		if to != provenance.Volume {
			thing = t.name(e.To)
		}
		actor := e.From
		if from == provenance.Process {
			actor = t.hand(actor, helpers)
		}
		c := t.into("to-volume", string(actor)+"\x00"+string(volume), e, actor, thing)
		if e.Verb == provenance.Hid {
			c.count += e.Count
		}
		return
	}
	actor := e.From
	switch {
	case from == provenance.Logon:
		t.into("wrote-over-network", string(actor), e, actor, t.name(e.To))
		return
	case from == provenance.BITS:
		t.into("fetched", string(actor), e, actor, t.name(e.To))
		return
	case from == provenance.Installer:
		t.into("wrote", string(actor), e, actor, t.name(e.To))
		return
	case from != provenance.Process:
		t.into("renamed", string(e.To), e, "", t.name(e.To))
		return
	case e.Verb == provenance.Renamed && t.renamed(e.To):
		t.into("renamed", string(e.To), e, "", t.name(e.To))
		return
	case e.Verb == provenance.Deleted:
		t.into("deleted", string(actor), e, actor, t.name(e.To))
		return
	case e.Verb == provenance.Hid:
		actor = t.hand(actor, helpers)
		t.into("hidden", string(actor), e, actor, t.name(e.To))
		return
	case copiers[strings.ToLower(t.b.g.Node(actor).Label)]:
		actor = t.origin(actor)
		t.into("copied", string(actor), e, actor, t.name(e.To))
		return
	}
	t.into("wrote", string(actor), e, actor, t.name(e.To))
}

// renamed reports whether the story knows what a file was called before.
func (t *teller) renamed(file provenance.NodeID) bool {
	for _, e := range t.b.g.In(file) {
		if e.Verb == provenance.Renamed && t.kind(e.From) != provenance.Process && t.b.shown[e.From] {
			return true
		}
	}
	return false
}

// on reports whether a file's path is on a volume, by its drive letter or its
// device name.
func (t *teller) on(volume, file provenance.NodeID) bool {
	path := strings.ToLower(t.b.g.Node(file).Path)
	for _, name := range []string{"DriveLetter", "DeviceName"} {
		if v := strings.ToLower(t.b.g.Node(volume).Attr(name)); v != "" && strings.HasPrefix(path, v+`\`) {
			return true
		}
	}
	return false
}

// beside are chapters that a process has besides what it was started for.
var beside = map[string]bool{"connected": true, "loaded": true, "accessed": true, "injected": true, "resolves": true, "related": true}

// start finds the chapter of a process start: that of what ran it; that of the
// first thing it did, if it and what it started did nothing but that; else one
// with the other starts by its parent that are of the same behaviours.
func (t *teller) start(e *provenance.Edge) {
	child := e.To
	for _, x := range t.b.g.In(child) {
		c := t.of[x]
		if c == nil {
			continue
		}
		switch c.key {
		case "from-volume", "file-ran", "unit-ran", "value-ran", "logged-on", "elevated", "requested":
			if t.elevation(child) != nil && c.key != "elevated" {
				continue
			}
			c.take(e)
			if c.key == "file-ran" && c.actor == child {
				c.key = "started" // told as a start, of what was written before
				c.things = []string{t.child(e)}
				c.actor = e.From
			}
			t.of[e] = c
			return
		}
	}
	var own *chapter
	one := true
	wrapper := t.wrapper(child)
	for _, x := range t.b.g.Out(child) {
		c := t.of[x]
		switch {
		case c != nil && c.key == "started" && wrapper && c.actor == e.From:
			own = c
		case c == nil, x == e, beside[c.key]:
			continue
		case c.key == "started":
			one = false
		case own == nil:
			own = c
		case own != c && (x.Verb == provenance.Started || x.Verb == provenance.Elevated):
			one = false
		case c.first.Before(own.first):
			own = c
		}
	}
	if own != nil && one {
		own.take(e)
		t.of[e] = own
		return
	}
	by := e.From
	if t.wrapper(by) {
		by = t.origin(by)
	}
	c := t.into("started", string(by)+"\x00"+strings.Join(t.marks[child], ","), e, by, "")
	// Starts come latest first.
	if name := t.child(e); !slices.Contains(c.things, name) {
		c.things = slices.Insert(c.things, 0, name)
	}
}

// interpreted names the file that the one process whose start a chapter tells of
// was given to run, "" if there is none or more than one.
func (t *teller) interpreted(c *chapter) string {
	started, file := 0, ""
	for _, e := range c.edges {
		switch {
		case e.Verb == provenance.Started:
			started++
		case e.Verb == provenance.Interpreted && file == "":
			file = t.name(e.From)
		case e.Verb == provenance.Interpreted && file != t.name(e.From):
			return ""
		}
	}
	if started > 1 || len(c.things) > 1 {
		return ""
	}
	return file
}

// wrapper reports whether a process is a shell that was started for one command
// and has nothing said about it: its parent started the command.
func (t *teller) wrapper(process provenance.NodeID) bool {
	if !strings.EqualFold(t.b.g.Node(process).Label, "cmd.exe") || len(t.marks[process]) > 0 || t.origin(process) == process {
		return false
	}
	children := 0
	for _, e := range t.b.g.Out(process) {
		if carries(e) && t.b.core[e.To] {
			children++
		}
	}
	return children == 1
}

// behaviours gives each chapter the behaviours of the detections it tells of:
// those that cite one of its arrows' records, else the first chapter in which
// the marked node is.
func (t *teller) behaviours() {
	for n, a := range t.b.alerts {
		hit := false
		for _, e := range a.edges {
			if c := t.of[e]; c != nil {
				c.alert(n, a.Rule.Behaviour)
				hit = true
			}
		}
		if hit {
			continue
		}
		var best *chapter
		for _, c := range t.chapters {
			if !c.nodes[a.Node] {
				continue
			}
			near := c.first.Sub(a.Event.Time).Abs()
			if best == nil || near < best.first.Sub(a.Event.Time).Abs() {
				best = c
			}
		}
		if best != nil {
			best.alert(n, a.Rule.Behaviour)
		}
	}
}

// alert says that a chapter tells of a detection, by its index.
func (c *chapter) alert(n int, behaviour string) {
	c.alerts = append(c.alerts, n)
	c.act(behaviour)
}

func (c *chapter) act(behaviour string) {
	if behaviour == "" {
		return
	}
	if i, found := slices.BinarySearch(c.acts, behaviour); !found {
		c.acts = slices.Insert(c.acts, i, behaviour)
	}
}

func (c *chapter) has(behaviours ...string) bool {
	return slices.ContainsFunc(behaviours, func(b string) bool { return slices.Contains(c.acts, b) })
}

// reached adds where a process connected to; a name looked up on the way is
// part of it.
func (c *chapter) reached(name string, connected bool) {
	if c.index == nil || c.index.of != len(c.things) {
		c.index = &placeIndex{exact: map[string]int{}, begins: map[string]int{}}
		for n, have := range c.things {
			c.index.put(n, have)
		}
	}
	same, known := c.index.exact[name]
	if n, ok := c.index.begins[name]; ok && (!known || n < same) {
		same, known = n, true
	}
	if connected {
		shorter := -1
		for _, begin := range beginnings(name) {
			if n, ok := c.index.exact[begin]; ok && (shorter < 0 || n < shorter) {
				shorter = n
			}
		}
		if shorter >= 0 && (!known || shorter < same) {
			delete(c.index.exact, c.things[shorter])
			c.things[shorter] = name
			c.index.put(shorter, name)
			return
		}
	}
	if !known {
		c.things = append(c.things, name)
		c.index.put(len(c.things)-1, name)
	}
}

// placeIndex finds places among many, "address (name)", by what they are and by how
// they begin.
type placeIndex struct {
	of            int // how many places there are
	exact, begins map[string]int
}

func (x *placeIndex) put(n int, place string) {
	note := func(m map[string]int, k string) {
		if have, ok := m[k]; !ok || n < have {
			m[k] = n
		}
	}
	note(x.exact, place)
	for _, begin := range beginnings(place) {
		note(x.begins, begin)
	}
	x.of = max(x.of, n+1)
}

// beginnings are what stands before the first few brackets of a place.
func beginnings(place string) (all []string) {
	const most = 4
	for at := 0; len(all) < most; {
		i := strings.Index(place[at:], " (")
		if i < 0 {
			break
		}
		all = append(all, place[:at+i])
		at += i + 1
	}
	return all
}

// list writes the things of a sentence, the first few by name.
func list(things []string) string {
	const named = 4
	text := strings.Join(things[:min(named, len(things))], ", ")
	if len(things) > named {
		text += ", … +" + strconv.Itoa(len(things)-named)
	}
	return text
}

// sentence chooses a chapter's template and its arguments.
func (t *teller) sentence(c *chapter) (key string, args []string) {
	actor := ""
	if c.actor != "" {
		actor = t.name(c.actor)
	}
	things := list(c.things)
	g := t.b.g
	switch c.key {
	case "volume-attached":
		n := g.Node(c.edges[0].From)
		if s := n.Attr("Serial"); s != "" && n.Reason == "letter-not-recorded" {
			return "volume-attached-no-letter", []string{things, n.Host, s}
		} else if s != "" {
			return "volume-attached", []string{things, n.Host, s}
		}
		return "volume-attached-no-serial", []string{things, n.Host}
	case "volume-elsewhere":
		for _, e := range c.edges {
			if to := g.Node(e.To); to.Kind == provenance.Volume {
				return "volume-elsewhere", []string{t.name(e.From), to.Host, to.Attr("Serial")}
			}
		}
	case "from-volume":
		return t.fromVolume(c)
	case "folder-created":
		if c.has("mock-folder") {
			return "mock-folder-created", []string{actor, things}
		}
	case "copied":
		if c.has("mock-folder") {
			return "copied-mock", []string{actor, things}
		}
	case "wrote":
		if len(c.also) > 0 {
			return "connected-wrote", []string{actor, list(c.also), things}
		}
		if c.has("dropped-program") {
			return "dropped", []string{actor, things}
		}
		if c.has("credential-theft") {
			return "wrote-credentials", []string{actor, things}
		}
	case "elevated":
		n := g.Node(c.edges[0].To)
		for _, e := range c.edges {
			if e.Verb == provenance.Elevated {
				n = g.Node(e.To)
			}
		}
		key := "elevated"
		if c.has("auto-elevation", "mock-folder", "uac-bypass") {
			key = "elevated-silently"
		}
		if c.by != "" {
			return key + "-started", []string{t.name(c.by), n.Path, n.Attr("IntegrityLevel")}
		}
		return key, []string{n.Path, n.Attr("IntegrityLevel")}
	case "loaded":
		key := "loaded"
		if c.has("side-load") {
			key = "side-loaded"
		}
		if c.by != "" {
			return key + "-renamed", []string{actor, things, t.name(c.by)}
		}
		return key, []string{actor, things}
	case "excluded":
		return "excluded", []string{actor, things}
	case "unit-registered":
		return t.registered(c)
	case "consumer-registered":
		n := g.Node(c.edges[0].To)
		return "consumer-registered", []string{actor, clip(n.Label), cmp.Or(n.Attr("CommandLineTemplate"), n.Attr("ConsumerType"), "?")}
	case "requested":
		return t.requested(c)
	case "unit-noted":
		n := g.Node(c.actor)
		if n.Kind == provenance.Task {
			return "task-registered-unknown", []string{n.Path, n.Attr("TaskAction")}
		}
		return "service-registered-unknown", []string{clip(n.Label), cmp.Or(n.Attr("ServiceDll"), n.Attr("ImagePath"))}
	case "unit-ran":
		return t.ran(c)
	case "value-set":
		e := c.edges[0]
		if t.kind(c.actor) == provenance.File {
			return "value-names", []string{things, actor}
		}
		if strings.Contains(strings.ToLower(g.Node(e.To).Path), `\currentversion\run`) {
			return "run-key-set", []string{actor, things, g.Node(e.To).Attr("Details")}
		}
		if t.kind(e.To) == provenance.RegistryValue {
			return "registry-set", []string{actor, things}
		}
	case "value-ran":
		switch c.edges[0].Join {
		case "registry-command", "registry-debugger":
			return "value-started", []string{things, t.name(c.edges[0].To)}
		case "startup-folder":
			return "startup-ran", []string{things, t.name(c.edges[0].To)}
		}
		if len(c.also) > 0 {
			return "run-key-ran-connected", []string{things, t.name(c.edges[0].To), list(c.also)}
		}
		return "run-key-ran", []string{things, t.name(c.edges[0].To)}
	case "connected":
		reached := false
		for _, e := range c.edges {
			reached = reached || e.Verb == provenance.Connected
		}
		switch {
		case !reached:
			return "resolved", []string{actor, things}
		case c.has("mining") || slices.Contains(t.marks[c.actor], "mining"):
			return "mining", []string{actor, things}
		case c.has("download"):
			return "downloaded", []string{actor, things}
		}
	case "to-volume":
		return t.toVolume(c)
	case "started":
		switch {
		case c.has("mining") && len(c.also) > 0:
			return "miner-started-connected", []string{actor, things, list(c.also)}
		case c.has("mining"):
			return "miner-started", []string{actor, things}
		case len(c.also) > 0 && t.interpreted(c) != "":
			return "started-script-connected", []string{actor, things, t.interpreted(c), list(c.also)}
		case len(c.also) > 0:
			return "started-connected", []string{actor, things, list(c.also)}
		case c.has("credential-theft"):
			return "started-credentials", []string{actor, things}
		case c.has("cleanup"):
			return "cleaned-up", []string{actor, things}
		}
		if file := t.interpreted(c); file != "" {
			return "started-script", []string{actor, things, file}
		}
	case "accessed":
		if c.has("credential-theft") {
			return "accessed-credentials", []string{actor, things}
		}
	case "logged-on-as":
		n := g.Node(c.edges[0].To)
		if n.Host == g.Node(c.actor).Host {
			return "credentials", []string{actor, things}
		}
		return "logged-on-as", []string{actor, n.Host, things}
	case "content-copied":
		return "content-copied", []string{t.name(c.edges[0].From), things}
	case "log-cleared-by":
		return "log-cleared-by", []string{actor, things, g.Node(c.edges[0].To).Host}
	case "logged-on":
		n := g.Node(c.edges[0].From)
		if n.Attr("LogonProcessName") != "" {
			return "session-ran", []string{things, t.name(c.edges[0].To)}
		}
		if n.Path == "" {
			return "logged-on-unknown", []string{things, n.Host}
		}
		if n.Attr("SessionName") != "" {
			return "reconnected", []string{things, n.Path, n.Host}
		}
		return "logged-on", []string{things, n.Path, n.Host}
	case "renamed":
		if c.edges[0].Join == "same-content" {
			return "renamed-unseen", []string{t.name(c.edges[0].From), things}
		}
		// Who did it, and what the file was called, are two arrows.
		var by, old string
		for _, e := range c.edges {
			if t.kind(e.From) == provenance.Process {
				by = t.name(e.From)
			} else {
				old = t.name(e.From)
			}
		}
		if by == "" {
			return "renamed", []string{old, things}
		}
		return "renamed-by", []string{by, old, things}
	case "busy-cpu", "busy-gpu":
		key := c.key
		if slices.Contains(t.marks[c.actor], "mining") {
			key = "mines-" + c.key[len("busy-"):]
		}
		return key, append([]string{actor}, c.things...)
	case "resolves":
		return "resolves", []string{t.name(c.edges[0].From), things}
	case "contains":
		return "contains", []string{t.name(c.edges[0].From), things}
	case "related":
		if carries(c.edges[0]) {
			return "correlated", []string{t.name(c.edges[0].From), things}
		}
		return "related", []string{t.name(c.edges[0].From), things}
	case "detected":
		if len(c.nodes) == 1 {
			for id := range c.nodes {
				if n := g.Node(id); n.Kind == provenance.Gap && n.Reason == "log-cleared" {
					if by := n.Attr("User"); by != "" {
						return "log-cleared-by", []string{by, n.Label, n.Host}
					}
					return "log-cleared", []string{n.Label, n.Host}
				}
			}
		}
		return "detected", []string{things, c.rule}
	case "file-ran":
		if len(c.edges) == 1 && c.edges[0].Verb == provenance.Executed {
			from := g.Node(c.edges[0].From)
			if z := from.Attr("ZoneId"); z == "3" || z == "4" {
				if address := Address(from); address != "" {
					return "download-executed-from", []string{things, address}
				}
				return "download-executed", []string{things}
			}
			return "file-executed", []string{things}
		}
		if !slices.ContainsFunc(c.edges, func(e *provenance.Edge) bool {
			return e.Verb == provenance.Executed || e.Verb == provenance.Interpreted
		}) {
			return "file-opened", []string{things, actor}
		}
		return "file-ran", []string{things, actor}
	}
	return c.key, []string{actor, things}
}

// Address is where a file came from by its zone mark: its own address, else that of
// the page it was on; "" if the mark tells neither.
func Address(n *provenance.Node) string {
	for _, name := range []string{"HostUrl", "ReferrerUrl"} {
		if v := n.Attr(name); strings.Contains(v, "://") {
			return v
		}
	}
	return ""
}

// RootAddress is where the file at the root came from by its zone mark, "" if it is
// no file or the mark does not tell.
func (i *Incident) RootAddress() string {
	for _, n := range i.Nodes {
		if n.ID == i.Root.Node && n.Kind == provenance.File {
			return Address(n)
		}
	}
	return ""
}

// fromVolume tells how something on a removable volume came to run.
func (t *teller) fromVolume(c *chapter) (string, []string) {
	var shortcut, file, process string
	verb := provenance.Opened
	process = t.name(c.actor)
	for _, e := range c.edges {
		switch e.Verb {
		case provenance.Opened, provenance.Interpreted, provenance.Executed:
			if t.kind(e.From) == provenance.Volume {
				if file == "" {
					file = t.name(e.From)
				}
				continue
			}
			if world.Ext(t.b.g.Node(e.From).Path) == ".lnk" {
				shortcut = t.name(e.From)
				continue
			}
			file, verb = t.name(e.From), e.Verb
		}
	}
	parent := ""
	for _, e := range c.edges {
		if e.Verb == provenance.Started {
			parent = t.name(e.From)
		}
	}
	for _, e := range c.edges {
		if n := t.b.g.Node(e.From); n.Kind == provenance.Volume && n.Implied && file != "" {
			if parent == "" {
				return "script-from-drive", []string{process, file, n.Label}
			}
			return "script-started-from-drive", []string{parent, process, file, n.Label}
		}
	}
	switch {
	case shortcut != "" && file != "":
		return "shortcut-opened", []string{shortcut, process, file}
	case shortcut != "":
		return "shortcut-started", []string{shortcut, process}
	case verb == provenance.Executed:
		return "program-from-volume", []string{file}
	case verb == provenance.Interpreted && parent != "":
		return "script-started", []string{parent, process, file}
	case verb == provenance.Interpreted:
		return "script-from-volume", []string{process, file}
	}
	return "opened-from-volume", []string{process, file}
}

// registered tells that a service or task was registered, by whom as far as
// known, and what it runs.
func (t *teller) registered(c *chapter) (string, []string) {
	n := t.b.g.Node(c.edges[0].To)
	kind, runs := "service", cmp.Or(t.b.g.ProgramAt(n.ID, c.last()), n.Attr("ServiceDll"), n.Attr("ImagePath"))
	if n.Kind == provenance.Task {
		kind, runs = "task", n.Attr("TaskAction")
	}
	by := ""
	changed := true
	for _, e := range c.edges {
		if e.To != n.ID {
			continue
		}
		if e.Verb == provenance.Registered {
			changed = false
		}
		if k := t.kind(e.From); k == provenance.Process || k == provenance.Logon || k == provenance.Installer {
			if by == "" || e.Verb == provenance.Registered {
				by = t.actor(e.From)
				if n := t.b.g.Node(e.From); k == provenance.Logon && n.Path != "" && n.Path != n.Label {
					by += " (" + n.Path + ")" // from where
				}
			}
		}
	}
	name := clip(n.Label)
	if n.Kind == provenance.Task {
		name = n.Path
	}
	switch {
	case changed && runs == "":
		return kind + "-changed-only", []string{by, name}
	case runs == "" && by == "":
		return kind + "-registered-unknown-only", []string{name}
	case runs == "":
		return kind + "-registered-only", []string{by, name}
	case changed:
		return kind + "-changed", []string{by, name, runs}
	case by == "":
		return kind + "-registered-unknown", []string{name, runs}
	case c.has("mining", "miner-setup"):
		return "miner-" + kind + "-registered", []string{by, name, runs}
	}
	return kind + "-registered", []string{by, name, runs}
}

// asked reports whether the story tells who asked for a unit.
func (t *teller) asked(unit provenance.NodeID) bool {
	for _, e := range t.b.g.In(unit) {
		if e.Verb == provenance.Requested && t.b.tells(e) && t.b.shown[e.From] {
			return true
		}
	}
	return false
}

// requested tells what was asked of a broker, and by whom. A process on this
// machine says more than the logon session that a remote one acted in.
func (t *teller) requested(c *chapter) (string, []string) {
	by, unit := "", c.edges[0].To
	for _, e := range c.edges {
		if e.Verb != provenance.Requested {
			continue
		}
		unit = e.To
		if from := t.b.g.Node(e.From); by == "" || from.Kind == provenance.Process {
			by = t.actor(e.From)
			if from.Kind == provenance.Logon && from.Path != "" && from.Path != from.Label {
				by += " (" + from.Path + ")" // from where
			}
		}
	}
	n := t.b.g.Node(unit)
	name := clip(cmp.Or(n.Path, n.Label))
	switch n.Kind {
	case provenance.COM:
		return "com-requested", []string{by, clip(n.Label), n.Host}
	case provenance.BITS:
		return "bits-requested", []string{by, cmp.Or(n.Attr("Url"), name)}
	case provenance.Installer:
		if by == "" {
			return "installer-began", []string{name}
		}
		return "installer-requested", []string{by, name}
	case provenance.Process:
		return "shell-requested", []string{by, n.Host}
	}
	return "wmi-requested", []string{by, name, n.Host}
}

// unitRan says how what a unit ran is told, by the kind of unit.
var unitRan = map[provenance.NodeKind]string{
	provenance.Task: "task", provenance.WMI: "wmi", provenance.COM: "com", provenance.BITS: "bits", provenance.Installer: "installer",
}

// ran tells what a service, a task or another unit ran.
func (t *teller) ran(c *chapter) (string, []string) {
	unit, process := "", t.as(c.actor)
	kind := "service"
	dll, file := "", ""
	for _, e := range c.edges {
		switch e.Verb {
		case provenance.RanAs:
			n := t.b.g.Node(e.From)
			unit = clip(n.Label)
			if k := unitRan[n.Kind]; k != "" {
				kind = k
			}
			switch {
			case n.Kind == provenance.Task:
				unit = n.Path
			case provenance.IsConsumer(n):
				kind = "consumer"
			}
		case provenance.Loaded:
			dll = t.name(e.From)
		case provenance.Executed, provenance.Interpreted:
			file = t.name(e.From)
		}
	}
	if unit == "" { // told where it was asked for
		switch {
		case dll != "" && dll != file:
			return "loaded", []string{process, dll}
		case file != "":
			return "file-ran", []string{file, process}
		case len(c.also) > 0:
			return "connected", []string{process, list(c.also)}
		}
		return "file-executed", []string{process}
	}
	switch {
	case dll != "" && len(c.also) > 0:
		return "service-loaded-connected", []string{unit, process, dll, list(c.also)}
	case dll != "":
		return "service-loaded", []string{unit, process, dll}
	case len(c.also) > 0:
		return kind + "-ran-connected", []string{unit, process, list(c.also)}
	}
	return kind + "-ran", []string{unit, process}
}

// toVolume tells what a process did to a removable volume.
func (t *teller) toVolume(c *chapter) (string, []string) {
	actor, volume := t.name(c.actor), ""
	for _, e := range c.edges {
		if t.kind(e.To) == provenance.Volume {
			volume = t.name(e.To)
		}
	}
	// The shortcut is the lure and is written last: name it first.
	things := slices.Clone(c.things)
	slices.SortStableFunc(things, func(a, b string) int {
		return cmp.Compare(lure(a), lure(b))
	})
	switch {
	case c.count > 0 && len(things) > 0:
		return "spread", []string{actor, volume, strconv.Itoa(c.count), list(things)}
	case c.count > 0:
		return "hid-on-volume", []string{actor, volume, strconv.Itoa(c.count)}
	case c.has("usb-spread"):
		return "spread-files", []string{actor, volume, list(things)}
	}
	return "wrote-to-volume", []string{actor, volume, list(things)}
}

func lure(path string) int {
	if world.Ext(path) == ".lnk" {
		return 0
	}
	return 1
}

// Sentence is a step of the story in the language. Characters in telemetry that
// mislead the eye are made visible.
func (i *Incident) Sentence(s Step, l i18n.Lang) string {
	args := i.StepArgs(s, l)
	for n, a := range args {
		args[n] = visible.Text(a)
	}
	return l.T(s.TextKey(l), args...)
}

// counted is which argument of a step is a count that the words depend on.
var counted = map[string]int{"spread": 2, "hid-on-volume": 2, "busy-cpu": 2, "mines-cpu": 2, "busy-gpu": 2, "mines-gpu": 2}

// TextKey is the key of a step's words in the language.
func (s Step) TextKey(l i18n.Lang) string {
	key := "story." + s.Key
	if n, ok := counted[s.Key]; ok && n < len(s.Args) && s.Args[n] == "1" && l.Has(key+".one") {
		return key + ".one"
	}
	return key
}

// StepArgs are a step's arguments for a reader of the language: as in Args,
// except that a rule is called by its title there.
func (i *Incident) StepArgs(s Step, l i18n.Lang) []string {
	args := slices.Clone(s.Args)
	if s.Key == "detected" && len(args) == 2 {
		for _, d := range i.Detections {
			if d.Rule.Name == args[1] {
				args[1] = d.Rule.TitleIn(string(l))
				break
			}
		}
	}
	return args
}

// titleOrder are the behaviours that a title tells of, in its order; the first
// of a row that was seen speaks for the row.
var titleOrder = [][]string{
	{"mock-folder", "uac-bypass", "auto-elevation", "elevation", "side-load"},
	{"defender-exclusion", "defense-tampering"},
	{"credential-theft"},
	{"log-cleared"},
	{"download"},
	{"service-and-task", "service-persistence", "task-persistence", "persistence", "service-run"},
	{"lateral-movement"},
	{"usb-spread"},
	{"exfiltration"},
	{"impact"},
	{"mining", "resource-use"}, // mining is a title's subject wherever it was seen
}

// titleSubjects are the behaviours that say what an intrusion is after, most
// telling first.
var titleSubjects = []string{"encryption", "mining", "credential-theft", "known-malware", "usb-script", "usb-spread", "lateral-movement", "defense-tampering", "log-cleared"}

// titleKeys are the root kind, then the behaviours a title tells of. Behaviours
// of informational and low detections do not make titles.
func titleKeys(i *Incident) []string {
	seen := map[string]bool{}
	for _, d := range i.Detections {
		if b := d.Rule.Behaviour; b != "" && (d.Rule.Severity >= detect.Medium || i.Severity < detect.Medium) {
			seen[b] = true
		}
		// Of what destroys, that data is held to ransom says most.
		if d.Rule.Severity >= detect.High && slices.Contains(d.Rule.Attack, "T1486") {
			seen["encryption"] = true
		}
	}
	service := seen["service-persistence"] || seen["service-dll"] || seen["service-run"]
	if service {
		seen["service-persistence"] = true
	}
	// A service that starts on demand only, or that was deleted again, is a way to
	// run something, not to stay.
	if service && onDemand(i) {
		delete(seen, "service-persistence")
		seen["service-run"], service = true, false
	}
	if service && seen["task-persistence"] {
		seen["service-and-task"] = true
	}
	keys := []string{string(i.Root.Kind)}
	for _, s := range titleSubjects {
		if seen[s] {
			keys = append(keys, "subject-"+s)
			break
		}
	}
	for _, row := range titleOrder {
		for _, b := range row {
			if seen[b] {
				if !(len(keys) > 1 && keys[1] == "subject-"+b) {
					keys = append(keys, b)
				}
				break
			}
		}
	}
	return keys
}

// onDemand reports whether every service of an incident starts on demand only, or
// is gone.
func onDemand(i *Incident) bool {
	services := 0
	for _, n := range i.Nodes {
		if n.Kind != provenance.Service {
			continue
		}
		services++
		start := strings.ToLower(n.Attr("StartType"))
		if n.Ended.IsZero() && start != "3" && start != "0x3" && start != "demand start" {
			return false
		}
	}
	return services > 0
}

// Title is the incident's headline in the language: what it is after and how it
// came in, then what it did. An incident of which no rule says what kind of
// thing it is has its most severe detection as its headline.
func (i *Incident) Title(l i18n.Lang) string {
	subject := ""
	var clauses []string
	for _, k := range i.TitleKeys[min(1, len(i.TitleKeys)):] {
		if strings.HasPrefix(k, "subject-") {
			subject = l.T("title." + k)
			continue
		}
		clauses = append(clauses, l.T("title."+k))
	}
	if len(clauses) == 0 && i.oneRule() && !slices.Contains(i.TitleKeys, "subject-log-cleared") || subject == "" && len(clauses) < 2 {
		return i.plainTitle(l)
	}
	if subject == "" {
		subject = l.T("title.subject")
	}
	head := l.T("title.head", subject)
	if len(i.TitleKeys) > 0 && l.Has("title.head-"+i.TitleKeys[0]) {
		head = l.T("title.head-"+i.TitleKeys[0], subject)
	}
	if len(clauses) == 0 {
		return l.T("title.on-host", head, i.where())
	}
	return l.T("title.with", head, strings.Join(clauses, l.T("title.comma")))
}

// oneRule reports whether all detections are of one rule.
func (i *Incident) oneRule() bool {
	return !slices.ContainsFunc(i.Detections, func(d Placed) bool { return d.Rule.ID != i.Detections[0].Rule.ID })
}

// plainTitle names the most severe detection, the first of those, what it is
// about and the host.
func (i *Incident) plainTitle(l i18n.Lang) string {
	if len(i.Detections) == 0 {
		return l.T("title.subject")
	}
	// Of a value that is empty and one that holds a command, the command tells.
	empty := map[provenance.NodeID]bool{}
	for _, n := range i.Nodes {
		data := n.Attr("Details")
		empty[n.ID] = n.Kind == provenance.RegistryValue && (data == "" || strings.EqualFold(data, "(Empty)"))
	}
	top := i.Detections[0]
	for _, d := range i.Detections {
		if d.Rule.Severity > top.Rule.Severity || d.Rule.Severity == top.Rule.Severity && empty[top.Node] && !empty[d.Node] {
			top = d
		}
	}
	label := ""
	for _, n := range i.Nodes {
		if n.ID == top.Node && n.Kind != provenance.Host {
			label = n.Label
		}
	}
	if label == "" {
		return l.T("title.on-host", top.Rule.TitleIn(string(l)), i.where())
	}
	return l.T("title.detection", top.Rule.TitleIn(string(l)), visible.Text(clip(label)), i.where())
}

func (i *Incident) where() string { return visible.Text(strings.Join(i.Hosts, ", ")) }
