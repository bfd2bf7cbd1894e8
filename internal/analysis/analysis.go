package analysis

import (
	"cmp"
	"slices"
	"strings"
	"sync"
	"time"

	"ashiato/internal/detect"
	"ashiato/internal/event"
	"ashiato/internal/incident"
	"ashiato/internal/provenance"
	"ashiato/internal/sigma/correlation"
	"ashiato/internal/world"
)

// Options say how to analyse. Zero limits mean the defaults.
type Options struct {
	// Engine judges events, singly and together.
	Engine       *detect.Engine
	Limits       world.Limits
	Correlations correlation.Limits
	// Detections is how many bytes of detections of single events are held,
	// default DefaultDetections.
	Detections int64
	// Pins are what an analyst decided about incidents.
	Pins incident.Pins
	// RuleSet identifies the rules and indicators of Engine, for Restore.
	RuleSet string
}

// Analysis is a running analysis. New or Restore makes one.
type Analysis struct {
	opt     Options
	workers sync.Pool
	joins   *provenance.Builder // adds to world
	world   *world.World

	// Whoever adds holds running for reading, whoever updates for writing.
	running sync.RWMutex

	mu    sync.Mutex         // of what Add changes beside world
	state *correlation.State // nil without correlations
	found *found
	dirty map[string]bool // hosts that got events since the last update
	told  bool            // something was said to state since then
	seen  Seen
	hosts map[string]bool // names of hosts, as recorded
	kinds kinds

	// Of the last update.
	neighbours *provenance.Neighbours
	groups     map[string]*group // by its hosts
	gaps       map[string][]world.Gap
	share      int64 // world.Share
	correlated []detect.Detection
	stats      correlation.Stats
	common     *incident.Commonness
	earlier    []incident.Earlier // of the analysis that was restored, until the first update
}

// Seen counts what was added.
type Seen struct {
	// Events is how many events were added; Repeated of them were records that
	// had been added before.
	Events, Repeated int64
	// Hosts are the hosts of those that were not damaged, as recorded, sorted, and
	// First and Last bound their time.
	Hosts       []string
	First, Last time.Time
}

// maxHostNames bounds the names of hosts that Seen lists, and maxHostName how much
// of each: no host has a longer one.
const (
	maxHostNames = 1 << 17
	maxHostName  = 255
)

// New returns an Analysis of nothing yet.
func New(opt Options) *Analysis {
	a := begin(opt, world.New(opt.Limits))
	if set := opt.Engine.Correlations(); set != nil {
		a.state = set.State(opt.Correlations)
	}
	return a
}

func begin(opt Options, w *world.World) *Analysis {
	opt.Detections = cmp.Or(opt.Detections, DefaultDetections)
	a := &Analysis{
		opt: opt, workers: sync.Pool{New: func() any { return opt.Engine.Worker() }},
		found: newFound(opt.Detections), dirty: map[string]bool{}, hosts: map[string]bool{},
		neighbours: provenance.NewNeighbours(), groups: map[string]*group{}, gaps: map[string][]world.Gap{},
	}
	a.use(w)
	return a
}

func (a *Analysis) use(w *world.World) { a.world, a.joins = w, provenance.NewBuilder(w) }

// Add takes normalised events in. What a rule, a correlation or a detection cites
// is kept, the rest is not. It is safe for concurrent use, and waits for an Update
// that is under way.
func (a *Analysis) Add(batch []*event.Event) {
	if len(batch) == 0 {
		return
	}
	a.running.RLock()
	defer a.running.RUnlock()
	w := a.workers.Get().(*detect.Worker)
	defer a.workers.Put(w)
	var ds []detect.Detection
	var told []correlation.Observation
	for _, e := range batch { // hosts have locks of their own
		found, counted := len(ds), len(told)
		if e.Flags&event.Unread == 0 { // else no rule can hold for it
			ds, told = w.Observe(e, nil, ds, told)
		}
		switch {
		case len(ds) > found:
			a.joins.AddDetected(e)
		case len(told) > counted:
			a.joins.AddCounted(e)
		default:
			a.joins.Add(e)
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for i := range ds {
		a.dirty[world.HostKey(ds[i].Event.Host)] = true
		a.touch(a.found.add(ds[i]))
	}
	for _, o := range told {
		a.state.Add(o)
		a.told = true
	}
	a.seen.Events += int64(len(batch))
	last := ""
	for i, e := range batch {
		a.kinds.add(e)
		if i == 0 || e.Host != last {
			last = e.Host
			if a.world.Knows(e.Host) {
				a.dirty[world.HostKey(e.Host)] = true
			}
		}
		if e.Flags&(event.BadChecksum|event.Carved) != 0 {
			continue // what damage may have invented does not widen the picture
		}
		if name := e.Host[:min(len(e.Host), maxHostName)]; name != "" && !a.hosts[name] && len(a.hosts) < maxHostNames {
			a.hosts[strings.Clone(name)] = true
		}
		if a.seen.First.IsZero() || e.Time.Before(a.seen.First) {
			a.seen.First = e.Time
		}
		if e.Time.After(a.seen.Last) {
			a.seen.Last = e.Time
		}
	}
}

func (a *Analysis) touch(hosts []string) {
	for _, h := range hosts {
		a.dirty[h] = true
	}
}

// Update is what is known by now.
type Update struct {
	// Incidents are all incidents, in the order of their first detection.
	Incidents []*incident.Incident
	// Changed are those of them that are new or differ from those of the update
	// before, in the same order. None of the incidents is changed later.
	Changed []*incident.Incident
	// Changes say what became of the incidents of the update before, or of the
	// analysis that was restored, but of those of hosts that nothing happened on:
	// they are what they were.
	Changes []incident.Change
	Seen    Seen
	// Detections is how many detections the incidents hold. Lost is how many more
	// there were, each with its repetitions, beyond Options.Detections.
	Detections int
	Lost       int64
	// Correlations say what correlations saw, Cut and Shed what the limits of the
	// joins left out of the graphs with detections.
	Correlations correlation.Stats
	Cut          provenance.Cut
	Shed         world.Shed
	// Records is how many records the joins hold.
	Records int
	// Hosts is how many hosts there are, Groups how many groups they are in, and
	// Made how many groups' graphs this update made.
	Hosts, Groups, Made int
}

// Gaps returns everything that was known to be missing at the last update.
func (a *Analysis) Gaps() []incident.Gap {
	a.running.RLock()
	defer a.running.RUnlock()
	var all []incident.Gap
	for _, gaps := range a.gaps {
		all = append(all, gaps...)
	}
	slices.SortFunc(all, world.CompareGaps)
	return all
}

// Applicable counts the rules that can hold for a record of the kinds that were
// added.
func (a *Analysis) Applicable() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.kinds.applicable(a.opt.Engine.Interest())
}

// group is hosts that are analysed together, and what came of it.
type group struct {
	hosts      []string // match forms, sorted
	detections []detect.Detection
	incidents  []*incident.Incident
	told       []*incident.Incident // incidents as the last update returned them
	cut        provenance.Cut
	// answers are what its graphs were told of all hosts, and belongs what its
	// events belong to, as far as correlations asked.
	answers []*provenance.Answers
	belongs map[belonging]string

	ready bool // incidents are those of detections

	// While an update is under way.
	part  *world.World
	graph *provenance.Graph // nothing is marked in it yet
	asked *provenance.Belonging
}

type belonging struct {
	content [16]byte
	name    string
}

// Update makes the incidents anew where anything may have changed. Events that are
// added meanwhile wait for it.
func (a *Analysis) Update() *Update {
	a.running.Lock()
	defer a.running.Unlock()
	u := &Update{}
	a.touch(a.found.fit())
	parts := a.look()
	before := a.groups
	r := &round{Analysis: a, parts: parts, update: u}
	r.regroup(before, a.linked(a.correlated))
	if a.state != nil {
		r.correlate()
		r.regroup(before, a.linked(a.correlated))
	}
	r.judge()
	a.report(u, before)
	for _, g := range a.groups {
		g.part, g.graph, g.asked = nil, nil, nil
	}
	clear(a.dirty)
	a.told, a.earlier = false, nil
	return u
}

// maxParts bounds the records of the hosts whose parts of the world are kept while
// hosts are put in groups: a host that turns out to be alone need not be worked out
// again.
const maxParts = 1 << 17

// look takes in what hosts that got events show to others, and returns their parts
// of the world, as far as they are kept.
func (a *Analysis) look() map[string]*world.World {
	parts, kept := map[string]*world.World{}, 0
	if share := a.world.Share(); share != a.share { // of the memory that all hosts have
		a.share = share
		a.touch(a.world.HostKeys())
	}
	if a.world.Lost().Records > 0 { // hosts had to make room for others
		for _, h := range a.neighbours.Hosts() {
			if !a.world.Knows(h) {
				a.dirty[h] = true
			}
		}
	}
	hosts := make([]string, 0, len(a.dirty))
	for h := range a.dirty {
		hosts = append(hosts, h)
	}
	slices.Sort(hosts)
	for _, h := range hosts {
		part := a.world.Part(h)
		all := provenance.Outlooks(part)
		if len(all) == 0 { // a host too many, of which the joins took nothing in
			if a.found.byHost[h] != nil || a.neighbours.Has(h) {
				a.touch(a.neighbours.Put(&provenance.Outlook{Host: h}))
			}
			delete(a.gaps, h)
			continue
		}
		a.touch(a.neighbours.Put(all[0]))
		a.gaps[h] = part.Gaps()
		if kept += part.Kept(); kept <= maxParts {
			parts[h] = part
		}
	}
	return parts
}

// linked returns the hosts that detections, or pins, hold together.
func (a *Analysis) linked(correlated []detect.Detection) (links [][]string) {
	link := func(ds ...*detect.Detection) {
		var hosts []string
		for _, d := range ds {
			for _, e := range d.Records() {
				if h := world.HostKey(e.Host); a.neighbours.Has(h) {
					hosts = append(hosts, h)
				}
			}
		}
		slices.Sort(hosts)
		if hosts = slices.Compact(hosts); len(hosts) > 1 {
			links = append(links, hosts)
		}
	}
	for i := range correlated {
		link(&correlated[i])
	}
	if len(a.opt.Pins.Together) > 0 {
		byID := map[string]*detect.Detection{}
		for _, h := range a.found.all {
			byID[incident.DetectionID(h.Detection)] = &h.Detection
		}
		for i := range correlated {
			byID[incident.DetectionID(correlated[i])] = &correlated[i]
		}
		for _, p := range a.opt.Pins.Together {
			if x, y := byID[p.A], byID[p.B]; x != nil && y != nil {
				link(x, y)
			}
		}
	}
	return links
}

// round is one update under way.
type round struct {
	*Analysis
	parts  map[string]*world.World
	update *Update
	of     map[string]*group // by host
}

// regroup puts the hosts in groups. One that was there, and of which nothing has
// changed, is taken over.
func (r *round) regroup(before map[string]*group, links [][]string) {
	now := map[string]*group{}
	r.of = map[string]*group{}
	for _, hosts := range r.neighbours.Groups(links...) {
		key := strings.Join(hosts, "\x00")
		g := r.groups[key] // of this round, perhaps
		if g == nil || g == before[key] && !r.holds(g) {
			g = &group{hosts: hosts, belongs: map[belonging]string{}}
		}
		now[key] = g
		for _, h := range hosts {
			r.of[h] = g
			if len(hosts) > 1 {
				delete(r.parts, h) // a host that is not alone now will not be
			}
		}
	}
	r.groups = now
}

// holds reports whether what is known of a group of the update before holds still.
func (r *round) holds(g *group) bool {
	for _, h := range g.hosts {
		if r.dirty[h] {
			return false
		}
	}
	for _, x := range g.answers {
		if !r.neighbours.Same(x) {
			return false
		}
	}
	return true
}

// build makes the graph of a group.
func (r *round) build(g *group) *provenance.Graph {
	if g.graph != nil {
		return g.graph
	}
	if g.part == nil && len(g.hosts) == 1 {
		g.part = r.parts[g.hosts[0]]
		delete(r.parts, g.hosts[0])
	}
	if g.part == nil {
		g.part = r.world.Part(g.hosts...)
	}
	g.graph = provenance.NewBuilderAmong(g.part, r.neighbours).Build()
	g.answers = append(g.answers, g.graph.Answers())
	g.asked = provenance.NewBelonging(g.graph)
	r.update.Made++
	return g.graph
}

// correlate finds what correlations say by now.
func (r *round) correlate() {
	pseudo := r.opt.Engine.Correlations().Pseudo()
	if !r.told && !pseudo && r.common != nil {
		return // nothing was said to them
	}
	st := r.state.Clone()
	if pseudo {
		st.Resolve(func(e *event.Event, name string) (string, bool) {
			g := r.of[world.HostKey(e.Host)]
			if g == nil {
				return "", false
			}
			k := belonging{world.Content(e), name}
			s, known := g.belongs[k]
			if !known {
				r.build(g)
				s, _ = g.asked.Of(e, name)
				g.belongs[k] = s
			}
			return s, s != ""
		})
	}
	r.correlated = r.opt.Engine.Correlated(st.Close(), nil)
	r.stats = st.Stats()
}

// judge makes the incidents.
func (r *round) judge() {
	byGroup := map[*group][]detect.Detection{}
	sample := make([]detect.Detection, 0, len(r.found.on)+len(r.correlated))
	for i := range r.correlated {
		d := r.correlated[i]
		sample = append(sample, d)
		if g := r.of[world.HostKey(d.Event.Host)]; g != nil {
			byGroup[g] = append(byGroup[g], d)
		}
	}
	counted := map[ruleOn]bool{}
	for host, ds := range r.found.byHost {
		for _, h := range ds {
			if k := (ruleOn{h.Rule.ID, host}); !counted[k] {
				counted[k] = true
				sample = append(sample, h.Detection)
			}
		}
	}
	common := incident.NewCommonness(r.neighbours.Recorded(), sample)
	rescore := !common.Equal(r.common)
	r.common = common
	for key, g := range r.groups {
		correlated := byGroup[g]
		if g.ready && sameDetections(g.correlated(), correlated) {
			if rescore {
				for i, inc := range g.incidents {
					g.incidents[i] = inc.Rescored(common)
				}
			}
			continue
		}
		if g.ready { // what the update before returned stays as it is
			again := *g
			g = &again
			r.groups[key] = g
		}
		var ds []detect.Detection
		for _, h := range g.hosts {
			ds = r.found.of(h, ds)
		}
		ds = unique(append(ds, correlated...))
		g.detections, g.incidents, g.cut = ds, nil, provenance.Cut{}
		if g.ready = true; len(ds) == 0 {
			continue
		}
		graph := r.build(g)
		g.incidents = incident.Build(graph, ds, incident.Options{Pins: r.opt.Pins, Common: common})
		g.cut = graph.Cut()
		g.part, g.graph, g.asked = nil, nil, nil // it is marked now
	}
}

// correlated returns those of a group's detections that correlations found.
func (g *group) correlated() (ds []detect.Detection) {
	for _, d := range g.detections {
		if d.Count > 0 {
			ds = append(ds, d)
		}
	}
	return ds
}

// sameDetections reports whether two lists have the same detections of the same
// events, each in any order.
func sameDetections(a, b []detect.Detection) bool {
	a, b = unique(slices.Clone(a)), unique(slices.Clone(b))
	return slices.EqualFunc(a, b, func(x, y detect.Detection) bool {
		return x.Rule == y.Rule && x.Event == y.Event && x.Count == y.Count && x.First.Equal(y.First) && x.Last.Equal(y.Last) &&
			slices.Equal(x.Matched, y.Matched) && slices.Equal(x.Others, y.Others) && slices.Equal(x.Belongs, y.Belongs)
	})
}

// unique orders detections and drops those that are there twice.
func unique(ds []detect.Detection) []detect.Detection {
	slices.SortFunc(ds, detect.Compare)
	return slices.CompactFunc(ds, func(a, b detect.Detection) bool { return a.Event == b.Event && detect.Compare(a, b) == 0 })
}
