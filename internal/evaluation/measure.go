package evaluation

import (
	"fmt"
	"slices"
	"strings"

	"ashiato/internal/detect"
	"ashiato/internal/diagram"
	"ashiato/internal/event"
	"ashiato/internal/incident"
	"ashiato/internal/provenance"
	"ashiato/internal/scenario"
	"ashiato/internal/sigma/correlation"
	"ashiato/internal/world"
)

// Part is how many of how many.
type Part struct{ Of, All int }

// Ratio is Of/All, 0 if there are none.
func (p Part) Ratio() float64 { return ratio(float64(p.Of), float64(p.All)) }

func (p *Part) note(ok bool) {
	p.All++
	if ok {
		p.Of++
	}
}

func (p *Part) add(o Part) { p.Of, p.All = p.Of+o.Of, p.All+o.All }

// Row counts the hand-offs of one kind.
type Row struct {
	// Joined is how many of the joinable hand-offs the graph joins by class A or
	// B; a hand-off is joinable if the kept records hold the keys of an exact join.
	Joined Part
	// Unjoinable is how many left too few records, and Unused how many made a file
	// that nothing used.
	Unjoinable, Unused int
}

// Score is what was counted of one case or of several.
type Score struct {
	Cases  int
	Events int
	// Joined has how each method joined the detections.
	Joined map[Method]*Joined
	// RootExact, RootNear and RootTop3 count intrusions whose root cause was found
	// exactly, at most one hop off, and among the root and its two alternatives.
	// RootDepth sums the hops by which the others were off, at most maxDepth each.
	RootExact, RootNear, RootTop3 Part
	RootDepth                     int
	// Coverage counts the records of intrusions that the main incident cites, or
	// whose node or arrow is in it.
	Coverage Part
	// Noise counts the nodes of main incidents that no record of the intrusion
	// shows, among all of their nodes.
	Noise Part
	// Drawn are the numbers of boxes in the pictures of the main incidents, sorted.
	Drawn []int
	// Rows are the hand-offs by row.
	Rows map[int]*Row
	// Crossings are arrows of class A or B that carry lineage between two
	// intrusions, or between one and the background, where none is true: wrong
	// joins. They are listed in words, at most maxListed.
	Crossings int
	// Cited counts the arrows that have a record, among all.
	Cited Part
	// AtLeastMedium are incidents of medium severity and more; Extra those of them
	// that hold nothing of an intrusion.
	AtLeastMedium, Extra int
	// Notes say in words what was wrong, for people, at most maxListed.
	Notes []string
}

const (
	maxDepth  = 10
	maxListed = 200
)

func newScore() *Score {
	s := &Score{Joined: map[Method]*Joined{}, Rows: map[int]*Row{}}
	for _, m := range Methods() {
		s.Joined[m] = &Joined{}
	}
	return s
}

func (s *Score) say(format string, args ...any) {
	if len(s.Notes) < maxListed {
		s.Notes = append(s.Notes, fmt.Sprintf(format, args...))
	}
}

// Sum adds scores up.
func Sum(scores []*Score) *Score {
	all := newScore()
	for _, s := range scores {
		all.Cases += s.Cases
		all.Events += s.Events
		for m, j := range s.Joined {
			all.Joined[m].add(*j)
		}
		all.RootExact.add(s.RootExact)
		all.RootNear.add(s.RootNear)
		all.RootTop3.add(s.RootTop3)
		all.RootDepth += s.RootDepth
		all.Coverage.add(s.Coverage)
		all.Noise.add(s.Noise)
		all.Drawn = append(all.Drawn, s.Drawn...)
		for n, r := range s.Rows {
			t := all.row(n)
			t.Joined.add(r.Joined)
			t.Unjoinable += r.Unjoinable
			t.Unused += r.Unused
		}
		all.Crossings += s.Crossings
		all.Cited.add(s.Cited)
		all.AtLeastMedium += s.AtLeastMedium
		all.Extra += s.Extra
		for _, n := range s.Notes {
			all.say("%s", n)
		}
	}
	slices.Sort(all.Drawn)
	return all
}

// Percentile returns the p-th percentile of sorted numbers, 0 of none.
func Percentile[T ~int | ~int64](sorted []T, p int) T {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)*p/100, len(sorted)-1)]
}

func (s *Score) row(n int) *Row {
	if s.Rows[n] == nil {
		s.Rows[n] = &Row{}
	}
	return s.Rows[n]
}

// Analyse runs the analysis as a scan does, on events in memory.
func Analyse(engine *detect.Engine, events []*event.Event) (*provenance.Graph, []*incident.Incident) {
	b := provenance.NewBuilder(world.New(world.Limits{}))
	w := engine.Worker()
	var ds []detect.Detection
	var told []correlation.Observation
	for _, e := range events {
		ds, told = w.Observe(e, nil, ds, told)
		b.Add(e)
	}
	if set := engine.Correlations(); set != nil {
		state := set.State(correlation.Limits{})
		for _, o := range told {
			state.Add(o)
		}
		ds = engine.Correlated(state.Close(), ds)
	}
	g := b.Build()
	return g, incident.Build(g, ds, incident.Options{})
}

// Measure runs the analysis and the baselines on a case and counts.
func Measure(engine *detect.Engine, c *Case) *Score {
	s := newScore()
	s.Cases, s.Events = 1, len(c.Events)
	g, incidents := Analyse(engine, c.Events)
	var ds []found
	for n, i := range incidents {
		for _, d := range i.Detections {
			ds = append(ds, found{d.Event, d.Node, n, d.Rule})
		}
	}
	truth := make([]int, len(ds))
	for i, d := range ds {
		truth[i] = c.attackOf(d.event.Ref)
	}
	for _, m := range Methods() {
		*s.Joined[m] = count(cluster(m, g, ds), truth)
	}
	for n, i := range incidents {
		if i.Severity < detect.Medium {
			continue
		}
		s.AtLeastMedium++
		if !slices.ContainsFunc(i.Detections, func(d incident.Placed) bool { return c.attackOf(d.Event.Ref) >= 0 }) {
			s.Extra++
			s.say("%s: incident %d is of the background only: %s", c.Name, n+1, i.Title("en"))
		}
	}
	for _, e := range g.Edges() {
		s.Cited.note(len(e.Evidence) > 0)
	}
	index := newIndex(g)
	for n := range c.Scenarios {
		sc := &c.Scenarios[n]
		main := mainIncident(c, incidents, n)
		if !sc.known {
			continue
		}
		s.root(c, sc, index, main)
		s.coverage(c, n, g, main)
		s.noise(c, n, main)
		s.handoffs(c, sc, g, index)
	}
	if len(c.Scenarios) > 0 && c.Scenarios[0].known {
		s.crossings(c, g, index)
	}
	slices.Sort(s.Drawn)
	return s
}

// mainIncident is the one with most of an intrusion's detections by weight, nil
// if nothing of it was detected.
func mainIncident(c *Case, incidents []*incident.Incident, of int) *incident.Incident {
	var best *incident.Incident
	most := 0
	for _, i := range incidents {
		n := 0
		for _, d := range i.Detections {
			if c.attackOf(d.Event.Ref) == of {
				n += 1 << (2 * int(d.Rule.Severity))
			}
		}
		if n > most {
			best, most = i, n
		}
	}
	return best
}

func (s *Score) root(c *Case, sc *Scenario, index *index, main *incident.Incident) {
	if sc.Root.Kind == "" {
		return
	}
	if main == nil {
		s.RootExact.note(false)
		s.RootNear.note(false)
		s.RootTop3.note(false)
		s.RootDepth += maxDepth
		s.say("%s: nothing of %s was detected", c.Name, sc.Name)
		return
	}
	want := index.nodes(sc, sc.Root.Subject)
	if len(sc.Root.Records) == 0 {
		// What it led to first stands for what no record shows.
		for _, h := range sc.Handoffs {
			if h.From.Is(sc.Root.Subject) {
				want = append(want, index.nodes(sc, h.To)...)
			}
		}
	}
	exact := func(r incident.Root) bool {
		// What no record shows is rightly said to lie before the recording, unless
		// what it did names it all the same.
		if len(sc.Root.Records) == 0 && r.Kind == incident.RootBeforeRecord {
			return true
		}
		return string(r.Kind) == sc.Root.Kind && slices.Contains(want, r.Node)
	}
	top := exact(main.Root) || slices.ContainsFunc(main.Alternatives, exact)
	depth := 0
	if !exact(main.Root) {
		depth = distance(index.graph, main.Root.Node, want)
		s.say("%s: root of %s is %s %s, truly %s %v (%d hops off, top 3: %v)", c.Name, sc.Name, main.Root.Kind, main.Root.Node, sc.Root.Kind, want, depth, top)
	}
	s.RootExact.note(exact(main.Root))
	s.RootNear.note(exact(main.Root) || depth <= 1)
	s.RootTop3.note(top)
	s.RootDepth += depth
}

// distance is how many arrows lie between a node and the nearest of others,
// whatever their direction, at most maxDepth.
func distance(g *provenance.Graph, from provenance.NodeID, to []provenance.NodeID) int {
	seen := map[provenance.NodeID]bool{from: true}
	at := []provenance.NodeID{from}
	for hops := 0; hops < maxDepth; hops++ {
		var next []provenance.NodeID
		for _, n := range at {
			if slices.Contains(to, n) {
				return hops
			}
			if x := g.Node(n); hops > 0 && x != nil && x.Hub {
				continue
			}
			for _, list := range [][]*provenance.Edge{g.Out(n), g.In(n)} {
				for _, e := range list {
					for _, id := range []provenance.NodeID{e.From, e.To} {
						if !seen[id] {
							seen[id] = true
							next = append(next, id)
						}
					}
				}
			}
		}
		at = next
	}
	return maxDepth
}

// inIncident returns whether an incident cites a record, or has its node or arrow.
func inIncident(g *provenance.Graph, main *incident.Incident) func(*event.Event) bool {
	cited := map[event.EvidenceRef]bool{}
	nodes, edges := map[provenance.NodeID]bool{}, map[*provenance.Edge]bool{}
	if main == nil {
		return func(*event.Event) bool { return false }
	}
	for _, n := range main.Nodes {
		nodes[n.ID] = !n.Hub && n.Kind != provenance.Host
		for _, r := range n.Evidence {
			cited[r] = true
		}
	}
	for _, e := range main.Edges {
		edges[e] = true
		for _, r := range e.Evidence {
			cited[r] = true
		}
	}
	for _, d := range main.Detections {
		for _, r := range d.Refs() {
			cited[r] = true
		}
	}
	return func(e *event.Event) bool {
		if cited[e.Ref] {
			return true
		}
		m := g.Mark(e)
		return nodes[m.Node] || slices.ContainsFunc(m.Edges, func(x *provenance.Edge) bool { return edges[x] })
	}
}

func (s *Score) coverage(c *Case, of int, g *provenance.Graph, main *incident.Incident) {
	shown := inIncident(g, main)
	missed := map[string]int{}
	for _, e := range c.Events {
		if l := c.labels[e]; !l.attack || l.scenario != of {
			continue
		}
		in := shown(e)
		s.Coverage.note(in)
		if !in {
			missed[fmt.Sprintf("step %d, %s %d", c.labels[e].step, e.Channel, e.ID)]++
		}
	}
	keys := make([]string, 0, len(missed))
	for k := range missed {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		s.say("%s: %s: %d records are not in the picture: %s", c.Name, c.Scenarios[of].Name, missed[k], k)
	}
}

func (s *Score) noise(c *Case, of int, main *incident.Incident) {
	if main == nil {
		return
	}
	shown := map[provenance.NodeID]bool{}
	for _, e := range main.Edges {
		for _, r := range e.Evidence {
			if c.attackOf(r) == of {
				shown[e.From], shown[e.To] = true, true
			}
		}
	}
	for _, n := range main.Nodes {
		ok := shown[n.ID] || slices.ContainsFunc(n.Evidence, func(r event.EvidenceRef) bool { return c.attackOf(r) == of })
		s.Noise.note(!ok)
		if !ok {
			s.say("%s: %s: drawn though nothing of the intrusion shows it: %s", c.Name, c.Scenarios[of].Name, n.ID)
		}
	}
	s.Drawn = append(s.Drawn, len(diagram.New(main, diagram.Options{Lang: "en"}).Boxes))
}

func (s *Score) handoffs(c *Case, sc *Scenario, g *provenance.Graph, index *index) {
	used := map[subjectKey]bool{}
	for _, h := range sc.Handoffs {
		used[keyOf(h.From)], used[keyOf(h.Via)] = true, true
	}
	for _, h := range sc.Handoffs {
		if !sc.has(h) {
			continue
		}
		row := s.row(h.Row)
		if h.To.Kind == "file" && !used[keyOf(h.To)] {
			// Nobody ran it or passed it on: a document on a share, say, which no
			// graph of processes needs.
			row.Unused++
			continue
		}
		if !h.Joinable {
			row.Unjoinable++
			continue
		}
		from, to := index.nodes(sc, h.From), index.nodes(sc, h.To)
		ok := leads(g, from, to)
		if h.To.Kind == "script" {
			// Script text is no node of its own: it is joined if it is known which
			// process ran it.
			ok = slices.ContainsFunc(h.To.Records, func(k scenario.RecordKey) bool {
				e := sc.records[k]
				return e != nil && slices.Contains(from, g.Mark(e).Node)
			})
		}
		row.Joined.note(ok)
		if !ok {
			s.say("%s: row %d %s is not joined: %s → %s (class %s; nodes %v → %v)", c.Name, h.Row, h.Name, name(h.From), name(h.To), h.Class, from, to)
		}
	}
}

type subjectKey struct{ kind, host, path string }

func keyOf(x subject) subjectKey {
	return subjectKey{x.Kind, world.HostKey(x.Host), world.PathKey(x.Path)}
}

// has reports whether the records that hold a hand-off's keys are in the case.
func (sc *Scenario) has(h scenario.Handoff) bool {
	return !slices.ContainsFunc(h.Records, func(k scenario.RecordKey) bool { return sc.records[k] == nil })
}

func name(x subject) string {
	return strings.Join(slices.DeleteFunc([]string{x.Kind, x.Path, x.Name, x.CommandLine, x.Serial}, func(s string) bool { return s == "" }), " ")
}

// maxLeads is the most arrows between the two ends of a hand-off: through the
// unit, file or logon that stands between two processes, and the file version or
// script in front of that.
const maxLeads = 3

// leads reports whether arrows of class A or B lead from any of the first nodes
// to any of the others without going through a third process.
func leads(g *provenance.Graph, from, to []provenance.NodeID) bool {
	seen := map[provenance.NodeID]bool{}
	at := from
	for range maxLeads {
		var next []provenance.NodeID
		for _, n := range at {
			for _, e := range g.Out(n) {
				if e.Class > provenance.ClassB || seen[e.To] {
					continue
				}
				if slices.Contains(to, e.To) {
					return true
				}
				seen[e.To] = true
				if x := g.Node(e.To); x.Kind != provenance.Process && x.Kind != provenance.Host {
					next = append(next, e.To)
				}
			}
		}
		at = next
	}
	return false
}

// crossings counts arrows that join what does not belong together.
func (s *Score) crossings(c *Case, g *provenance.Graph, index *index) {
	// owner of a node: the intrusion whose records alone show it, -1 for the
	// background's, -2 if both do or nobody knows.
	owner := func(n *provenance.Node) int {
		own := -3
		for _, r := range n.Evidence {
			switch at := c.attackOf(r); {
			case own == -3:
				own = at
			case own != at:
				return -2
			}
		}
		return max(own, -2)
	}
	truly := map[[2]provenance.NodeID]bool{}
	for n := range c.Scenarios {
		sc := &c.Scenarios[n]
		for _, h := range sc.Handoffs {
			ends := [][]provenance.NodeID{index.nodes(sc, h.From), index.nodes(sc, h.Via), index.nodes(sc, h.To)}
			for i := range ends {
				for j := i + 1; j < len(ends); j++ {
					for _, a := range ends[i] {
						for _, b := range ends[j] {
							truly[[2]provenance.NodeID{a, b}] = true
						}
					}
				}
			}
		}
	}
	for _, e := range g.Edges() {
		if !e.Skeleton || e.Class > provenance.ClassB || truly[[2]provenance.NodeID{e.From, e.To}] {
			continue
		}
		from, to := owner(g.Node(e.From)), owner(g.Node(e.To))
		if from == to || from == -2 || to == -2 {
			continue
		}
		s.Crossings++
		s.say("%s: wrong join %s (%s): %s → %s", c.Name, e.Join, e.Class, e.From, e.To)
	}
}
