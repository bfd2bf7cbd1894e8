package evaluation

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"ashiato/internal/detect"
	"ashiato/internal/event"
	"ashiato/internal/incident"
	"ashiato/internal/normalize"
	"ashiato/internal/provenance"
	"ashiato/internal/report"
	"ashiato/internal/ruleset"
	"ashiato/internal/scenario"
	"ashiato/internal/world"
)

func pack(t testing.TB) *detect.Engine {
	t.Helper()
	set, err := ruleset.Load(ruleset.Options{Pack: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range set.Problems {
		t.Error(p)
	}
	return set.Engine
}

// scenarioNames are the shipped scenarios: a few that differ most, or with
// ASHIATO_FULL all.
func scenarioNames(t testing.TB) []string {
	t.Helper()
	paths, err := ScenarioFiles(filepath.Join("..", "..", "testdata", "scenarios"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, p := range paths {
		name := strings.TrimSuffix(filepath.Base(p), ".txtar")
		if os.Getenv("ASHIATO_FULL") != "" || slices.Contains([]string{"usb-coinminer", "psexec", "wmi-subscription"}, name) {
			names = append(names, name)
		}
	}
	if len(names) < 3 {
		t.Fatalf("only %v", names)
	}
	return names
}

func built(t testing.TB, name string, set ...string) *scenario.Built {
	t.Helper()
	values := map[string]string{}
	for i := 0; i+1 < len(set); i += 2 {
		values[set[i]] = set[i+1]
	}
	b, err := buildScenario(filepath.Join("..", "..", "testdata", "scenarios", name+".txtar"), values)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// digest is everything that a scan says of incidents.
func digest(t testing.TB, incidents []*incident.Incident) string {
	t.Helper()
	var b bytes.Buffer
	if err := (&report.Document{Incidents: incidents}).JSON(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// shape is what must not change when names do: kinds, verbs, classes, joins,
// steps, rules and numbers.
func shape(incidents []*incident.Incident) string {
	var lines []string
	for _, i := range incidents {
		if i.Severity < detect.Medium {
			continue
		}
		counts := map[string]int{}
		for _, n := range i.Nodes {
			counts[fmt.Sprintf("node %s hub %v implied %v", n.Kind, n.Hub, n.Implied)]++
		}
		for _, e := range i.Edges {
			counts[fmt.Sprintf("edge %s %s %s %v", e.Verb, e.Class, e.Join, e.Skeleton)]++
		}
		for _, d := range i.Detections {
			counts["rule "+d.Rule.Name]++
		}
		for _, p := range i.Persistence {
			counts["left "+p.Kind]++
		}
		var b strings.Builder
		fmt.Fprintln(&b, i.Severity, i.Root.Kind, i.Root.Confidence, len(i.Story), len(i.Hosts), len(i.SmallestCut))
		for _, k := range slices.Sorted(maps.Keys(counts)) {
			fmt.Fprintln(&b, "  ", k, counts[k])
		}
		lines = append(lines, b.String())
	}
	slices.Sort(lines)
	return strings.Join(lines, "")
}

func difference(got, want string) string {
	a, b := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return fmt.Sprintf("line %d: got %q, want %q", i+1, a[i], b[i])
		}
	}
	return fmt.Sprintf("%d lines, want %d", len(a), len(b))
}

// normalised copies a scenario's events and normalises them.
func normalised(b *scenario.Built) []*event.Event {
	events := make([]*event.Event, len(b.Events))
	for i, e := range b.Events {
		copied := *e
		copied.Data = slices.Clone(e.Data)
		normalize.Event(&copied)
		events[i] = &copied
	}
	return events
}

// TestSetsNotSequences holds that order, repetition and the number of processors
// change nothing.
func TestSetsNotSequences(t *testing.T) {
	engine := pack(t)
	for _, name := range scenarioNames(t) {
		events := normalised(built(t, name))
		_, incidents := Analyse(engine, events)
		want := digest(t, incidents)
		if len(incidents) == 0 {
			t.Fatalf("%s: nothing found", name)
		}
		r := rand.New(rand.NewPCG(1, 2))
		for round := range 3 {
			again := slices.Clone(events)
			for range len(events) / 3 { // some of them twice
				again = append(again, events[r.IntN(len(events))])
			}
			r.Shuffle(len(again), func(i, j int) { again[i], again[j] = again[j], again[i] })
			before := runtime.GOMAXPROCS(1 + round)
			_, incidents := Analyse(engine, again)
			runtime.GOMAXPROCS(before)
			if got := digest(t, incidents); got != want {
				t.Fatalf("%s, round %d: %s", name, round, difference(got, want))
			}
		}
	}
}

// TestCrashAndReplay holds that a state that was written at any place of the
// input, read again, and given everything from any earlier place on, tells of the
// same incidents.
func TestCrashAndReplay(t *testing.T) {
	engine := pack(t)
	for _, name := range scenarioNames(t) {
		events := normalised(built(t, name))
		var found []detect.Detection
		for w, i := engine.Worker(), 0; i < len(events); i++ {
			found = w.Detect(events[i], found)
		}
		r := rand.New(rand.NewPCG(3, 4))
		whole := provenance.NewBuilder(world.New(world.Limits{}))
		for _, e := range events {
			whole.Add(e)
		}
		incidents := incident.Build(whole.Build(), slices.Clone(found), incident.Options{})
		if len(incidents) == 0 {
			t.Fatalf("%s: nothing found", name)
		}
		want := digest(t, incidents)
		for round := range 4 {
			at := r.IntN(len(events) + 1)
			from := r.IntN(at + 1)
			state := world.New(world.Limits{})
			for _, e := range events[:at] {
				state.Add(e)
			}
			if round%2 == 1 {
				state.Processes() // it may have been asked
			}
			var file bytes.Buffer
			if err := state.Snapshot(&file); err != nil {
				t.Fatal(err)
			}
			state, err := world.Restore(&file, world.Limits{})
			if err != nil {
				t.Fatal(err)
			}
			b := provenance.NewBuilder(state)
			for _, e := range events[from:] {
				b.Add(e)
			}
			if got := digest(t, incident.Build(b.Build(), slices.Clone(found), incident.Options{})); got != want {
				t.Fatalf("%s, written after %d of %d, then from %d on: %s", name, at, len(events), from, difference(got, want))
			}
		}
	}
}

// rewrite applies a change to every text of every event.
func rewrite(events []*event.Event, change func(string) string) []*event.Event {
	out := make([]*event.Event, len(events))
	for i, e := range events {
		copied := *e
		copied.Data = slices.Clone(e.Data)
		for k := range copied.Data {
			copied.Data[k].Value = change(copied.Data[k].Value)
		}
		copied.Host = change(e.Host)
		copied.Ref.Host = change(e.Ref.Host)
		out[i] = &copied
	}
	return out
}

func raw(b *scenario.Built) []*event.Event { return b.Events }

func normaliseAll(events []*event.Event) []*event.Event {
	for _, e := range events {
		normalize.Event(e)
	}
	slices.SortStableFunc(events, event.Compare)
	return events
}

// TestNamesDoNotMatter holds that consistently renamed hosts, users and
// ProcessGuids, and another time, leave the incidents' shape as it was.
func TestNamesDoNotMatter(t *testing.T) {
	engine := pack(t)
	for _, name := range scenarioNames(t) {
		b := built(t, name)
		_, incidents := Analyse(engine, normaliseAll(rewrite(raw(b), func(s string) string { return s })))
		want := shape(incidents)
		if want == "" {
			t.Fatalf("%s: nothing found", name)
		}
		hosts := hostsOf(b.Events)
		rename := func(s string) string {
			for i, h := range hosts {
				short, _, _ := strings.Cut(h, ".")
				s = strings.ReplaceAll(s, short, "Z"+strconv.Itoa(i)+"-RENAMED")
				s = strings.ReplaceAll(s, strings.ToLower(short), "z"+strconv.Itoa(i)+"-renamed")
			}
			return s
		}
		// The machine part of a ProcessGuid is its first eight digits. All zeros
		// stand for "unknown", which has no other name.
		machine := func(s string) string {
			if len(s) == 38 && strings.Trim(s, "{}-0") != "" && s[0] == '{' && s[9] == '-' {
				return "{" + strings.Map(func(c rune) rune {
					const digits = "0123456789abcdef"
					if i := strings.IndexRune(digits, c); i >= 0 {
						return rune(digits[(i+5)%16])
					}
					return c
				}, strings.ToLower(s[1:9])) + s[9:]
			}
			return s
		}
		for what, events := range map[string][]*event.Event{
			"hosts": rewrite(raw(b), rename),
			"guids": rewrite(raw(b), machine),
		} {
			_, incidents := Analyse(engine, normaliseAll(events))
			if got := shape(incidents); got != want {
				t.Errorf("%s: renamed %s: %s\n%s\n%s", name, what, difference(got, want), got, want)
			}
		}
		later := built(t, name, "start", "2027-09-05T06:07:08Z")
		_, incidents = Analyse(engine, normalised(later))
		if got := shape(incidents); got != want {
			t.Errorf("%s: at another time: %s", name, difference(got, want))
		}
	}
}

// TestStrangersChangeNothing holds that records of an unrelated host, of a benign
// process with a name from the intrusion, and of ten thousand children of a
// broker leave every incident of the intrusion as it was.
func TestStrangersChangeNothing(t *testing.T) {
	engine := pack(t)
	for _, name := range scenarioNames(t) {
		b := built(t, name)
		events := normalised(b)
		_, incidents := Analyse(engine, events)
		want := digestWithoutRarity(t, incidents)
		start := attackStart(b)
		host := events[0].Host
		stranger := func(host string, n int, image, parent string, at time.Time) *event.Event {
			e := &event.Event{
				Provider: "Microsoft-Windows-Sysmon", Channel: "Microsoft-Windows-Sysmon/Operational", ID: 1, Host: host, Time: at, Logged: at,
				Ref: event.EvidenceRef{Host: host, Channel: "Microsoft-Windows-Sysmon/Operational", RecordID: uint64(50_000_000 + n), File: "stranger.evtx"},
				Data: event.Fields{
					{Name: "ProcessGuid", Value: fmt.Sprintf("{aaaa0000-1111-6900-%02x%02x-%02x0000007000}", n&0xff, n>>8&0xff, n>>16)},
					{Name: "ProcessId", Value: strconv.Itoa(100_000 + n*4)},
					{Name: "Image", Value: image},
					{Name: "CommandLine", Value: image + " /quiet"},
					{Name: "ParentProcessGuid", Value: "{aaaa0000-1111-6900-0100-000000007100}"},
					{Name: "ParentProcessId", Value: "99996"},
					{Name: "ParentImage", Value: parent},
				},
			}
			normalize.Event(e)
			return e
		}
		var other, namesake, children []*event.Event
		for n := range 20 {
			other = append(other, stranger("ELSEWHERE", n, `C:\Program Files\A\a.exe`, `C:\Program Files\A\b.exe`, start.Add(time.Duration(n)*time.Second)))
		}
		for n, image := range imagesOf(incidents) {
			namesake = append(namesake, stranger(host, 1000+n, `C:\Program Files\Vendor\`+image, `C:\Program Files\Vendor\launcher.exe`, start.Add(time.Duration(n)*time.Second)))
		}
		for n := range 10_000 {
			children = append(children, stranger(host, 10_000+n, `C:\Program Files\B\b.exe`, `C:\Windows\System32\services.exe`, start.Add(time.Duration(n)*time.Millisecond)))
		}
		for what, more := range map[string][]*event.Event{"an unrelated host": other, "namesakes": namesake, "children of a broker": children} {
			_, incidents := Analyse(engine, append(slices.Clone(events), more...))
			if got := digestWithoutRarity(t, incidents); got != want {
				t.Errorf("%s: %s change the incidents: %s", name, what, difference(got, want))
			}
		}
	}
}

// digestWithoutRarity leaves out what counts hosts on purpose, holes in the
// numbers of records, and the last time a broker was seen.
func digestWithoutRarity(t testing.TB, incidents []*incident.Incident) string {
	t.Helper()
	var kept []*incident.Incident
	for _, i := range incidents {
		if i.Severity < detect.Medium {
			continue
		}
		c := *i
		c.Gaps = nil
		c.Terms = slices.DeleteFunc(slices.Clone(i.Terms), func(x incident.Term) bool { return x.Name == "rarity" })
		c.Score = 0
		for _, x := range c.Terms {
			c.Score += x.Points
		}
		c.Nodes = slices.Clone(i.Nodes)
		for k, n := range c.Nodes {
			if n.Hub {
				copied := *n
				copied.Last, copied.First = time.Time{}, time.Time{}
				c.Nodes[k] = &copied
			}
		}
		kept = append(kept, &c)
	}
	return digest(t, kept)
}

// imagesOf returns the file names of the programs in the incidents.
func imagesOf(incidents []*incident.Incident) []string {
	seen := map[string]bool{}
	for _, i := range incidents {
		for _, n := range i.Nodes {
			if n.Kind == provenance.Process && n.Label != "" && i.Severity >= detect.Medium {
				seen[n.Label] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(seen))
}

// TestFewerDetectionsNeverDrawMore holds that without one rule's detections no
// incident has nodes that were in none before, but for context.
func TestFewerDetectionsNeverDrawMore(t *testing.T) {
	engine := pack(t)
	for _, name := range scenarioNames(t) {
		g, incidents := Analyse(engine, normalised(built(t, name)))
		drawn := map[provenance.NodeID]bool{}
		var all []detect.Detection
		rules := map[string]bool{}
		for _, i := range incidents {
			for _, n := range i.Nodes {
				drawn[n.ID] = true
			}
			for _, d := range i.Detections {
				all = append(all, d.Detection)
				rules[d.Rule.ID] = true
			}
		}
		for _, rule := range slices.Sorted(maps.Keys(rules)) {
			fewer := slices.DeleteFunc(slices.Clone(all), func(d detect.Detection) bool { return d.Rule.ID == rule })
			for _, i := range incident.Build(g, fewer, incident.Options{}) {
				told := map[provenance.NodeID]bool{}
				for k, e := range i.Edges {
					if i.EdgeSteps[k] > 0 {
						told[e.From], told[e.To] = true, true
					}
				}
				for _, n := range i.Nodes {
					if told[n.ID] && !drawn[n.ID] {
						t.Errorf("%s: without %s, %s is drawn", name, rule, n.ID)
					}
				}
			}
		}
	}
}

// without leaves events out.
func without(events []*event.Event, out func(*event.Event) bool) []*event.Event {
	return slices.DeleteFunc(slices.Clone(events), out)
}

// TestLostRecords holds what is said when records are missing: without the start
// of an ancestor the incident stays one and shows an implied node; without 4697
// services are joined by other records; and nothing is sure that was not.
func TestLostRecords(t *testing.T) {
	engine := pack(t)
	b := built(t, "usb-coinminer")
	events := normalised(b)
	_, incidents := Analyse(engine, events)
	whole := worst(incidents)
	// An ancestor in the middle of the way to the root.
	var ancestor *provenance.Node
	for _, id := range whole.Root.Path {
		for _, n := range whole.Nodes {
			if n.ID == id && n.Kind == provenance.Process && !n.Hub && ancestor == nil {
				ancestor = n
			}
		}
	}
	if ancestor == nil {
		t.Fatal("no process on the way to the root")
	}
	guid := ancestor.Attr("ProcessGuid")
	pid, _ := strconv.ParseUint(ancestor.Attr("ProcessId"), 10, 32)
	lost := without(events, func(e *event.Event) bool {
		return e.Kind == event.ProcessCreate &&
			(strings.EqualFold(e.Value("ProcessGuid"), guid) || e.Value("ProcessGuid") == "" && e.Value("ProcessId") == strconv.FormatUint(pid, 10))
	})
	if len(lost) == len(events) {
		t.Fatal("the ancestor has no record")
	}
	_, incidents = Analyse(engine, lost)
	again := worst(incidents)
	if n := atLeastMedium(incidents); n != 1 {
		t.Errorf("without the start of %s there are %d incidents", ancestor.Label, n)
	}
	implied := slices.ContainsFunc(again.Nodes, func(n *provenance.Node) bool { return n.ID == ancestor.ID && n.Implied })
	if !implied {
		t.Errorf("%s is not shown as implied", ancestor.ID)
	}

	lost = without(events, func(e *event.Event) bool { return e.ID == 4697 && e.Channel == "Security" })
	_, incidents = Analyse(engine, lost)
	if n := atLeastMedium(incidents); n != 1 || len(lost) == len(events) {
		t.Errorf("without 4697 there are %d incidents", n)
	}
	old := normalised(built(t, "usb-coinminer", "records", "old"))
	_, incidents = Analyse(engine, old)
	if n := atLeastMedium(incidents); n != 1 {
		t.Errorf("with old record versions there are %d incidents", n)
	}
}

func worst(incidents []*incident.Incident) *incident.Incident {
	return slices.MaxFunc(incidents, func(a, b *incident.Incident) int {
		return cmp.Or(cmp.Compare(a.Severity, b.Severity), cmp.Compare(a.Score, b.Score))
	})
}

func atLeastMedium(incidents []*incident.Incident) int {
	n := 0
	for _, i := range incidents {
		if i.Severity >= detect.Medium {
			n++
		}
	}
	return n
}

// TestTwoAtOnceAreTwo holds that two intrusions on the same hosts at the same
// time are never one incident.
func TestTwoAtOnceAreTwo(t *testing.T) {
	engine := pack(t)
	names := scenarioNames(t)
	for i, a := range names {
		for _, b := range names[i+1:] {
			x, y := built(t, a), built(t, b)
			if x.Root.Kind == "volume" && y.Root.Kind == "volume" {
				continue
			}
			s := Measure(engine, Interleave(x, y, interleaved))
			if s.Joined[Ours].OverMerged > 0 || s.Crossings > 0 {
				t.Errorf("%s and %s: %d incidents of both, %d wrong joins: %v", a, b, s.Joined[Ours].OverMerged, s.Crossings, s.Notes)
			}
		}
	}
}

// TestADeadProcessIdIsReused holds that a process that gets the id of a dead one
// of the intrusion is not taken for it.
func TestADeadProcessIdIsReused(t *testing.T) {
	engine := pack(t)
	b := built(t, "usb-coinminer", "telemetry", "security") // process ids are all it has
	events := normalised(b)
	_, incidents := Analyse(engine, events)
	want := digestWithoutRarity(t, incidents)
	ended := map[string]time.Time{}
	var last time.Time
	for _, e := range events {
		if l, _ := b.Label(e); e.ID == 4689 && l.Attack {
			ended[e.Host+"|"+e.Value("ProcessId")] = e.Time
		}
		if e.Time.After(last) {
			last = e.Time
		}
	}
	if len(ended) == 0 {
		t.Fatal("no process of the intrusion ends")
	}
	more := slices.Clone(events)
	for n, k := range slices.Sorted(maps.Keys(ended)) {
		host, pid, _ := strings.Cut(k, "|")
		at := last.Add(time.Hour + time.Duration(n)*time.Second)
		number, _ := strconv.ParseUint(pid, 10, 32)
		e := &event.Event{
			Provider: "Microsoft-Windows-Security-Auditing", Channel: "Security", ID: 4688, Version: 2, Host: host, Time: at, Logged: at,
			Ref: event.EvidenceRef{Host: host, Channel: "Security", RecordID: uint64(60_000_000 + n), File: "later.evtx"},
			Data: event.Fields{
				{Name: "SubjectLogonId", Value: "0x5f00f"},
				{Name: "NewProcessId", Value: fmt.Sprintf("0x%x", number)},
				{Name: "NewProcessName", Value: `C:\Program Files\C\c.exe`},
				{Name: "ProcessId", Value: "0xfff0"},
				{Name: "CommandLine", Value: "c.exe"},
				{Name: "ParentProcessName", Value: `C:\Program Files\C\launcher.exe`},
			},
		}
		normalize.Event(e)
		more = append(more, e)
	}
	_, incidents = Analyse(engine, more)
	if got := digestWithoutRarity(t, incidents); got != want {
		t.Errorf("reused process ids change the incidents: %s", difference(got, want))
	}
}
