package evaluation

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"ashiato/internal/detect"
	"ashiato/internal/event"
	"ashiato/internal/incident"
	"ashiato/internal/provenance"
	"ashiato/internal/scenario"
)

// seeds are the seeds of a property over variants: a sample of them, or with
// ASHIATO_FULL=1 all. ASHIATO_SEEDS=7,12 names some, to look at a failure.
func seeds(sample, all int) []uint64 {
	n := sample
	if os.Getenv("ASHIATO_FULL") != "" {
		n = all
	}
	if only := os.Getenv("ASHIATO_SEEDS"); only != "" {
		var list []uint64
		for _, word := range strings.Split(only, ",") {
			seed, _ := strconv.ParseUint(word, 10, 64)
			list = append(list, seed)
		}
		return list
	}
	list := make([]uint64, n)
	for i := range list {
		list[i] = uint64(i + 1)
	}
	return list
}

// overSeeds checks every seed and reports what is wrong with it and what was chosen.
func overSeeds(t *testing.T, list []uint64, vary func(seed uint64) (*scenario.Scenario, error), check func(*scenario.Scenario, *scenario.Built) []string) {
	t.Helper()
	next := make(chan uint64)
	var wait sync.WaitGroup
	var lock sync.Mutex
	failed := 0
	for range 2 {
		wait.Add(1)
		go func() {
			defer wait.Done()
			for seed := range next {
				s, err := vary(seed)
				if err != nil {
					t.Errorf("seed %d: %v", seed, err)
					continue
				}
				b, err := s.Build()
				if err != nil {
					t.Errorf("seed %d: %v", seed, err)
					continue
				}
				wrong := check(s, b)
				if len(wrong) == 0 {
					continue
				}
				var chosen []string
				for _, c := range s.Chosen() {
					chosen = append(chosen, c.Name+"="+c.Value)
				}
				lock.Lock()
				failed++
				lock.Unlock()
				t.Errorf("seed %d: %s\n    with %s", seed, strings.Join(wrong, "\n    "), strings.Join(chosen, ", "))
			}
		}()
	}
	for _, seed := range list {
		next <- seed
	}
	close(next)
	wait.Wait()
	t.Logf("%d seeds, %d of them wrong", len(list), failed)
}

// TestVariantsOfTheCampaign holds that of whatever variant of the campaign, in
// whatever logs, there is one incident, that its root is the stick where a record
// shows it, that every step that left a record is in it, that little else is, and
// that it says nothing that no record says.
func TestVariantsOfTheCampaign(t *testing.T) {
	engine := pack(t)
	data, err := os.ReadFile(filepath.Join("..", "..", "testdata", "scenarios", "usb-coinminer.txtar"))
	if err != nil {
		t.Fatal(err)
	}
	overSeeds(t, seeds(40, 500), func(seed uint64) (*scenario.Scenario, error) {
		return scenario.Vary("usb-coinminer.txtar", data, seed, nil)
	}, func(s *scenario.Scenario, b *scenario.Built) []string { return checkVariant(engine, s, b) })
}

// maxNoise is the largest share of an incident's nodes that no record of the
// intrusion shows.
const maxNoise = 0.2

func checkVariant(engine *detect.Engine, varied *scenario.Scenario, b *scenario.Built) []string {
	c := FromScenario(b)
	g, incidents := Analyse(engine, c.Events)
	var wrong []string
	say := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	var found []*incident.Incident
	for _, i := range incidents {
		if i.Severity >= detect.Medium {
			found = append(found, i)
		}
	}
	parts := piecesOf(b)
	if len(found) == 0 || len(found) > parts {
		say("%d incidents of at least medium severity; the records hold the intrusion together in %d pieces", len(found), parts)
		for _, i := range found {
			var rules []string
			for _, d := range i.Detections {
				rules = append(rules, d.Rule.Name)
			}
			slices.Sort(rules)
			say("  %s: %d nodes, %v", i.Title("en"), len(i.Nodes), slices.Compact(rules))
		}
	}
	sc := &c.Scenarios[0]
	main := mainIncident(c, incidents, 0)
	if main == nil {
		say("nothing of the intrusion was detected")
		return wrong
	}
	s := newScore()
	s.root(c, sc, newIndex(g), main)
	// Where the records name the stick and its letter, but not that they belong
	// together, the letter is all that can be said.
	lettered := main.Root.Kind == incident.RootVolume && g.Node(main.Root.Node).Label == chosen(varied, "stick")+":"
	// Where they do not hold the way from the stick together, it may be told as begun
	// before the recording, or as begun at the computer with the stick as another
	// candidate.
	torn := parts > 1 && (main.Root.Kind == incident.RootBeforeRecord || s.RootTop3.Of == s.RootTop3.All)
	if s.RootExact.Of != s.RootExact.All && !lettered && !torn {
		say("%s", strings.Join(s.Notes, "; "))
	}
	// In one incident, unless the records do not hold it together.
	if parts == 1 {
		found = []*incident.Incident{main}
	}
	for _, step := range stepsNotIn(c, 0, g, found) {
		say("%s", step)
	}
	for _, i := range found {
		s := newScore()
		s.noise(c, 0, i)
		if s.Noise.Ratio() > maxNoise && s.Noise.Of > 1 {
			say("%s: %d of %d nodes are noise:\n      %s", i.Title("en"), s.Noise.Of, s.Noise.All, strings.Join(s.Notes, "\n      "))
		}
		wrong = append(wrong, claims(c, i)...)
		wrong = append(wrong, unreadable(i)...)
	}
	return wrong
}

// unreadable lists what of a story a reader would stumble over: a sentence twice in
// a row, one with a hole, and one stick told of by two processes of which one only
// did what the other wanted.
func unreadable(i *incident.Incident) []string {
	var wrong []string
	last := ""
	for _, s := range i.Story {
		sentence := i.Sentence(s, "en")
		if sentence == last {
			wrong = append(wrong, fmt.Sprintf("step %d says again: %s", s.Number, sentence))
		}
		last = sentence
		if slices.Contains(s.Args, "") || slices.Contains(s.Args, "?") {
			wrong = append(wrong, fmt.Sprintf("step %d has a hole: %s", s.Number, sentence))
		}
		// Of one whose start was lost nobody knows for whom it acted.
		known := slices.ContainsFunc(s.Edges, func(e int) bool {
			return slices.ContainsFunc(i.Nodes, func(n *provenance.Node) bool { return n.ID == i.Edges[e].From && !n.Implied })
		})
		if strings.HasPrefix(sentence, "attrib.exe ") && known || strings.Contains(sentence, "(1 accesses)") {
			wrong = append(wrong, fmt.Sprintf("step %d tells of a tool by itself: %s", s.Number, sentence))
		}
	}
	return wrong
}

// chosen is what was chosen for a name.
func chosen(s *scenario.Scenario, name string) string {
	for _, c := range s.Chosen() {
		if c.Name == name {
			return c.Value
		}
	}
	return ""
}

// piecesOf counts the pieces into which the intrusion falls when only those of its
// true hand-offs are left that the kept records allow to join: the most incidents
// that an analysis which never guesses may tell of. A piece has a process that
// the intrusion started, or a unit whose registration is recorded.
func piecesOf(b *scenario.Built) int {
	type key struct {
		kind, host, name string
		written          time.Time
		luid             uint64
	}
	keyOf := func(s scenario.Subject) key {
		name := s.Path + s.Name
		switch {
		case s.GUID != "":
			name = s.GUID
		case s.Serial != "":
			return key{kind: s.Kind, name: s.Serial}
		}
		return key{s.Kind, s.Host, strings.ToLower(name), s.Written, s.LUID}
	}
	// What Defender was told to skip, it writes itself: without the start of who told
	// it, nothing joins that to the rest.
	alone := map[int]int{}
	for _, l := range b.Lost {
		if l.Attack && l.Verb == "start" && strings.Contains(l.Text, "Defender") {
			alone[l.Step]++
		}
	}
	parent := map[key]key{}
	var find func(key) key
	find = func(k key) key {
		p, ok := parent[k]
		if !ok || p == k {
			parent[k] = k
			return k
		}
		r := find(p)
		parent[k] = r
		return r
	}
	started := map[key]bool{}
	for _, h := range b.Handoffs {
		if !h.Label.Attack {
			continue
		}
		var ends []key
		for _, s := range []scenario.Subject{h.From, h.Via, h.To} {
			if s.Kind == "" {
				continue
			}
			k := keyOf(s)
			find(k)
			ends = append(ends, k)
			if (s.Kind == "process" || s.Kind == "service" || s.Kind == "task") && len(s.Records) > 0 {
				started[k] = true
			}
		}
		// What the intrusion started is a piece of its own if the record of its start is
		// lost and others tell of it.
		if h.Row == 1 {
			started[keyOf(h.To)] = true
		}
		if h.Joinable {
			for _, k := range ends[1:] {
				parent[find(k)] = find(ends[0])
			}
		}
	}
	pieces := map[key]bool{}
	for k := range started {
		pieces[find(k)] = true
	}
	n := len(pieces)
	for _, lost := range alone {
		n += lost
	}
	return n
}

// stepsNotIn are the intrusion's steps of which records were kept and none is in
// any of the incidents.
func stepsNotIn(c *Case, of int, g *provenance.Graph, found []*incident.Incident) []string {
	var all []func(*event.Event) bool
	for _, i := range found {
		all = append(all, inIncident(g, i))
	}
	in := func(e *event.Event) bool {
		return slices.ContainsFunc(all, func(in func(*event.Event) bool) bool { return in(e) })
	}
	kept, shown := map[int][]string{}, map[int]bool{}
	device := map[string]bool{"Security 6416": true, "Microsoft-Windows-Kernel-PnP/Configuration 400": true}
	for _, e := range c.Events {
		l := c.labels[e]
		if !l.attack || l.scenario != of || l.step == 0 {
			continue
		}
		kept[l.step] = append(kept[l.step], fmt.Sprintf("%s %d", e.Channel, e.ID))
		shown[l.step] = shown[l.step] || in(e)
	}
	var missed []string
	for n, records := range kept {
		// A device that came, without a word of its letter, is not known to be the
		// drive that something was written to.
		unnamed := !slices.ContainsFunc(records, func(r string) bool { return !device[r] })
		if !shown[n] && !(unnamed && len(found) > 1) {
			slices.Sort(records)
			missed = append(missed, fmt.Sprintf("step %d is in no incident: %v", n, slices.Compact(records)))
		}
	}
	slices.Sort(missed)
	return missed
}

// claims are what the incident says that no record does: a citation of none, a
// command line or a path that none holds.
func claims(c *Case, main *incident.Incident) []string {
	var wrong []string
	var texts strings.Builder
	for _, e := range c.Events {
		for _, f := range e.Data {
			texts.WriteString(strings.ToLower(f.Value))
			texts.WriteByte('\n')
		}
	}
	all := texts.String()
	cited := func(what string, refs []event.EvidenceRef) {
		for _, r := range refs {
			if c.byRef[r] == nil {
				wrong = append(wrong, fmt.Sprintf("%s cites a record that was not kept: %v", what, r))
			}
		}
	}
	for _, n := range main.Nodes {
		cited(string(n.ID), n.Evidence)
		// A removable drive's files are recorded below the device, an address and
		// its port in two fields.
		path := strings.TrimPrefix(n.Path, `\`)
		switch n.Kind {
		case provenance.Volume, provenance.RegistryValue, provenance.Logon:
			continue
		case provenance.File, provenance.Folder:
			if len(path) > 2 && path[1] == ':' {
				path = path[2:]
			}
		case provenance.Address:
			path, _, _ = strings.Cut(path, ":")
		}
		for _, text := range []string{n.Attr("CommandLine"), path} {
			if !strings.Contains(all, strings.ToLower(text)) {
				wrong = append(wrong, fmt.Sprintf("%s: no record says %q", n.ID, text))
			}
		}
	}
	for _, e := range main.Edges {
		cited(fmt.Sprintf("%s → %s", e.From, e.To), e.Evidence)
	}
	for _, d := range main.Detections {
		cited(d.Rule.Name, d.Refs())
	}
	return wrong
}

// TestWorkingDays holds that days on which nothing happened have no incident of
// medium severity or more.
func TestWorkingDays(t *testing.T) {
	engine := pack(t)
	name, data := scenario.WorkingDay()
	overSeeds(t, seeds(20, 200), func(seed uint64) (*scenario.Scenario, error) {
		return scenario.Vary(name, data, seed, nil)
	}, func(_ *scenario.Scenario, b *scenario.Built) (wrong []string) {
		_, incidents := Analyse(engine, normalised(b))
		for _, i := range incidents {
			if i.Severity < detect.Medium {
				continue
			}
			wrong = append(wrong, i.Title("en"))
			for _, d := range i.Detections {
				wrong = append(wrong, fmt.Sprintf("    %s %s: %v", d.Rule.Severity, d.Rule.Name, d.Event.Ref))
			}
		}
		return wrong
	})
}
