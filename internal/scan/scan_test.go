package scan

import (
	"bytes"
	"context"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"ashiato/internal/clock"
	"ashiato/internal/corpus"
	"ashiato/internal/detect"
	"ashiato/internal/incident"
	"ashiato/internal/provenance"
	"ashiato/internal/report"
	"ashiato/internal/ruleset"
	"ashiato/internal/scenario"
	"ashiato/internal/source"
	"ashiato/internal/world"
)

func engine(t testing.TB) *detect.Engine {
	t.Helper()
	set, err := ruleset.Load(ruleset.Options{Pack: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range set.Problems {
		t.Errorf("shipped rule: %v", p)
	}
	return set.Engine
}

// scenarioLogs builds a shipped scenario's logs as NDJSON.
func scenarioLogs(t testing.TB, name string) (string, *scenario.Built) {
	t.Helper()
	path := filepath.Join("..", "..", "testdata", "scenarios", name)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	s, err := scenario.Parse(name, data)
	if err != nil {
		t.Fatal(err)
	}
	built, err := s.Build()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if _, err := scenario.WriteNDJSON(dir, built); err != nil {
		t.Fatal(err)
	}
	return dir, built
}

func run(t testing.TB, opt Options) *Result {
	t.Helper()
	r, err := Run(context.Background(), opt)
	if err != nil {
		t.Fatal(err)
	}
	s := r.Stats
	if s.Source.Records != s.Source.Events+s.Source.Undecodable {
		t.Errorf("records %d ≠ events %d + undecodable %d", s.Source.Records, s.Source.Events, s.Source.Undecodable)
	}
	if s.Source.Events != s.Filtered+s.Repeated+s.Analysed {
		t.Errorf("events %d ≠ filtered %d + repeated %d + analysed %d", s.Source.Events, s.Filtered, s.Repeated, s.Analysed)
	}
	if s.Detections != s.Placed+s.BelowMinimum {
		t.Errorf("detections %d ≠ placed %d + below %d", s.Detections, s.Placed, s.BelowMinimum)
	}
	return r
}

// digest is the machine output of a result: what must not change.
func digest(t testing.TB, r *Result) string {
	t.Helper()
	var b bytes.Buffer
	doc := report.Document{Incidents: r.Incidents, Gaps: r.Gaps}
	if err := doc.JSON(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// The seed's intrusion: five figures, one picture.
func TestSeedScenarioIsOneIncident(t *testing.T) {
	dir, _ := scenarioLogs(t, "usb-coinminer.txtar")
	r := run(t, Options{Paths: []string{dir}, Engine: engine(t), MinSeverity: detect.Medium, Evidence: true})
	if len(r.Incidents) != 1 {
		t.Fatalf("%d incidents at or above medium, want 1", len(r.Incidents))
	}
	inc := r.Incidents[0]
	if inc.Root.Kind != incident.RootVolume {
		t.Errorf("root is a %s, want the volume", inc.Root.Kind)
	}
	if !slices.Equal(inc.Hosts, []string{"DESKTOP-7Q2", "LAPTOP-K4M"}) {
		t.Errorf("hosts %v", inc.Hosts)
	}
	aliases := map[string]bool{}
	behaviours := map[string]bool{}
	hashes := 0
	for _, d := range inc.Detections {
		for _, a := range d.Rule.Aliases {
			aliases[a] = true
		}
		behaviours[d.Rule.Behaviour] = true
		if strings.HasPrefix(d.Rule.ID, "ioc:md5:") {
			hashes++
		}
	}
	for _, want := range []string{"DefenseEvasion/EDR.WindowDefender.M11093", "Persistence/EDR.Event.M12408", "Suspicious/DETECT.T1053.M2676"} {
		if !aliases[want] {
			t.Errorf("no detection carries the article's name %s", want)
		}
	}
	for _, want := range []string{"usb-script", "mock-folder", "auto-elevation", "side-load", "defender-exclusion", "service-persistence", "task-persistence", "mining", "usb-spread", "hidden-files"} {
		if !behaviours[want] {
			t.Errorf("behaviour %s was not detected in the incident", want)
		}
	}
	if hashes == 0 {
		t.Error("none of the article's hashes was found")
	}
	kept := map[string]bool{}
	for _, p := range inc.Persistence {
		kept[p.Kind] = true
	}
	for _, want := range []string{"service", "task", "exclusion", "folder", "file"} {
		if !kept[want] {
			t.Errorf("no %s among what was left behind", want)
		}
	}
	if n := len(inc.Nodes); n > 80 {
		t.Errorf("%d nodes in the incident", n)
	}
	checkEvidence(t, r)
	schema, err := jsonschema.NewCompiler().Compile(filepath.Join("..", "..", "docs", "formats", "scan.schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := (&report.Document{Tool: "ashiato", Stats: r.Stats, Incidents: r.Incidents, Problems: r.Problems, Gaps: r.Gaps}).JSON(&b); err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(&b)
	if err != nil {
		t.Fatal(err)
	}
	if err := schema.Validate(doc); err != nil {
		t.Errorf("the machine output does not follow its schema: %v", err)
	}
}

// Every detection on a record of the attack lies in the one incident, and none on a
// record of the background does.
func TestSeedScenarioBackgroundStaysOut(t *testing.T) {
	dir, built := scenarioLogs(t, "usb-coinminer.txtar")
	benign := 0
	for _, e := range built.Events {
		if l, ok := built.Label(e); ok && !l.Attack {
			benign++
		}
	}
	if benign < 2000 {
		t.Errorf("%d background events, want at least 2,000", benign)
	}
	r := run(t, Options{Paths: []string{dir}, Engine: engine(t)})
	attacks := 0
	for i, inc := range r.Incidents {
		for _, d := range inc.Detections {
			l, ok := built.Label(d.Event)
			switch {
			case !ok:
				t.Errorf("%s on a record that the scenario did not write: %v", d.Rule.Name, d.Event.Ref)
			case l.Attack && i > 0:
				t.Errorf("%s (step %d) is not in the incident but in %s", d.Rule.Name, l.Step, inc.ID)
			case !l.Attack && i == 0:
				t.Errorf("%s on a background record is in the incident: %s", d.Rule.Name, l.Text)
			case l.Attack:
				attacks++
			}
		}
		if i > 0 && inc.Severity >= detect.Medium {
			t.Errorf("the background made an incident of severity %v: %v", inc.Severity, inc.TitleKeys)
		}
	}
	if attacks < 50 {
		t.Errorf("%d detections on the attack", attacks)
	}
}

// checkEvidence holds the hard gate: every node's and edge's record is at hand.
func checkEvidence(t testing.TB, r *Result) {
	t.Helper()
	for _, inc := range r.Incidents {
		for _, e := range inc.Edges {
			if len(e.Evidence) == 0 {
				t.Errorf("incident %s: edge %s —%v→ %s cites nothing", inc.ID, e.From, e.Verb, e.To)
			}
			for _, ref := range e.Evidence {
				if got := r.Evidence(ref); got == nil || got.Ref != ref {
					t.Errorf("incident %s: edge %s —%v→ %s: record %d of %s is not at hand", inc.ID, e.From, e.Verb, e.To, ref.RecordID, ref.File)
				}
			}
		}
		for _, d := range inc.Detections {
			if r.Evidence(d.Event.Ref) == nil {
				t.Errorf("incident %s: detection %s: its record is not at hand", inc.ID, d.Rule.Name)
			}
		}
	}
}

func TestResultDependsOnTheSetOfRecordsOnly(t *testing.T) {
	dir, _ := scenarioLogs(t, "usb-coinminer.txtar")
	eng := engine(t)
	want := digest(t, run(t, Options{Paths: []string{dir}, Engine: eng, Jobs: 1}))
	for _, jobs := range []int{2, 7} {
		if got := digest(t, run(t, Options{Paths: []string{dir}, Engine: eng, Jobs: jobs})); got != want {
			t.Errorf("%d jobs give another result:\n%s", jobs, cmp.Diff(want, got))
		}
	}
	// The same records again, in files that sort later and in reverse.
	again := filepath.Join(dir, "zz-again")
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasPrefix(path, again) {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		lines := bytes.SplitAfter(data, []byte("\n"))
		slices.Reverse(lines)
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		to := filepath.Join(again, rel)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		return os.WriteFile(to, bytes.Join(lines, nil), 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
	r := run(t, Options{Paths: []string{dir}, Engine: eng})
	if got := digest(t, r); got != want {
		t.Errorf("the same records read twice give another result:\n%s", cmp.Diff(want, got))
	}
	if r.Stats.Repeated == 0 || r.Stats.Repeated != r.Stats.Analysed {
		t.Errorf("%d repeated of %d analysed, want all once", r.Stats.Repeated, r.Stats.Analysed)
	}
}

// The same records as JSON, XML and EVTX are one incident, the same one but for
// where its records lie.
func TestFormatsAgree(t *testing.T) {
	_, built := scenarioLogs(t, "usb-coinminer.txtar")
	eng := engine(t)
	var want string
	for _, f := range []struct {
		name  string
		write func(string, *scenario.Built) ([]string, error)
	}{{"ndjson", scenario.WriteNDJSON}, {"xml", scenario.WriteXML}, {"evtx", scenario.WriteEVTX}} {
		dir := t.TempDir()
		if _, err := f.write(dir, built); err != nil {
			t.Fatal(err)
		}
		r := run(t, Options{Paths: []string{dir}, Engine: eng})
		if len(r.Problems) > 0 {
			t.Errorf("%s: problems %v", f.name, r.Problems)
		}
		got := withoutPlaces(t, r)
		if want == "" {
			want = got
		}
		if got != want {
			t.Errorf("%s gives another incident:\n%s", f.name, cmp.Diff(want, got))
		}
	}
}

// withoutPlaces is digest without the parts of references that depend on the
// format: file, offset and hash.
func withoutPlaces(t testing.TB, r *Result) string {
	t.Helper()
	var doc any
	if err := json.Unmarshal([]byte(digest(t, r)), &doc); err != nil {
		t.Fatal(err)
	}
	var strip func(any)
	strip = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			for _, k := range []string{"file", "offset", "sha256"} {
				delete(v, k)
			}
			for _, x := range v {
				strip(x)
			}
		case []any:
			for _, x := range v {
				strip(x)
			}
		}
	}
	strip(doc)
	out, err := json.MarshalIndent(doc, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func TestFilters(t *testing.T) {
	dir, built := scenarioLogs(t, "usb-coinminer.txtar")
	eng := engine(t)
	since, until := time.Date(2026, 3, 2, 1, 15, 0, 0, time.UTC), time.Date(2026, 3, 2, 1, 30, 0, 0, time.UTC)
	r := run(t, Options{Paths: []string{dir}, Engine: eng, Since: since, Until: until, Hosts: []string{"desktop-7q2"}})
	if r.Stats.First.Before(since) || r.Stats.Last.After(until) {
		t.Errorf("events from %v to %v", r.Stats.First, r.Stats.Last)
	}
	if !slices.Equal(r.Stats.Hosts, []string{"DESKTOP-7Q2"}) {
		t.Errorf("hosts %v", r.Stats.Hosts)
	}
	if got := int(r.Stats.Source.Events); got != len(built.Events) {
		t.Errorf("%d events read, the scenario has %d", got, len(built.Events))
	}
}

func TestChangedFileIsSaid(t *testing.T) {
	dir, _ := scenarioLogs(t, "usb-coinminer.txtar")
	opt := Options{Paths: []string{dir}, Engine: engine(t)}
	r := run(t, opt)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		return os.WriteFile(path, []byte("{}\n"), 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.collectEvidence(context.Background(), opt, clock.Offsets{}); err != nil {
		t.Fatal(err)
	}
	said := slices.ContainsFunc(r.Problems, func(p source.Problem) bool { return strings.Contains(p.Detail, "no longer in the file") && p.Lost > 0 })
	if !said {
		t.Errorf("cited records vanished and no problem says so: %v", r.Problems)
	}
}

// A "!" in a name on disk is not the mark of an archive's member.
func TestNamesMayHoldExclamationMarks(t *testing.T) {
	dir, _ := scenarioLogs(t, "usb-coinminer.txtar")
	odd := filepath.Join(filepath.Dir(dir), "cas!e 1")
	if err := os.Rename(dir, odd); err != nil {
		t.Fatal(err)
	}
	r := run(t, Options{Paths: []string{odd}, Engine: engine(t), MinSeverity: detect.Medium, Evidence: true})
	if len(r.Incidents) != 1 || len(r.Problems) > 0 {
		t.Errorf("%d incidents, problems %v", len(r.Incidents), r.Problems)
	}
	checkEvidence(t, r)
}

func TestWhatDoesNotFitIsSaid(t *testing.T) {
	dir, _ := scenarioLogs(t, "usb-coinminer.txtar")
	r := run(t, Options{Paths: []string{dir}, Engine: engine(t), Limits: world.Limits{Hosts: 1}})
	i := slices.IndexFunc(r.Problems, func(p source.Problem) bool { return p.Kind == source.TooLarge })
	if i < 0 || r.Problems[i].Lost == 0 || !strings.Contains(r.Problems[i].Detail, "the joins are full") {
		t.Errorf("more than 100 records were kept and no problem says what was left out: %v", r.Problems)
	}
}

func TestInterrupted(t *testing.T) {
	dir, _ := scenarioLogs(t, "usb-coinminer.txtar")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Run(ctx, Options{Paths: []string{dir}, Engine: engine(t)}); err != context.Canceled {
		t.Errorf("error %v, want %v", err, context.Canceled)
	}
}

// The best public recording of the technique: UACBypass.exe makes a folder that
// imitates the Windows folder, puts winSAT.exe and WINMM.dll there, and runs it.
func TestMockFolderRecording(t *testing.T) {
	path := corpus.Dir(t, "evtx/attack-samples/Privilege Escalation/sysmon_11_7_1_uacbypass_windirectory_mocking.evtx")
	r := run(t, Options{Paths: []string{path}, Engine: engine(t), Evidence: true})
	if len(r.Incidents) != 1 {
		t.Fatalf("%d incidents, want 1", len(r.Incidents))
	}
	inc := r.Incidents[0]
	checkEvidence(t, r)
	nodes := map[provenance.NodeID]*provenance.Node{}
	for _, n := range inc.Nodes {
		nodes[n.ID] = n
	}
	if root := nodes[inc.Root.Node]; root == nil || root.Path != `C:\Users\IEUser\Downloads\UACBypass.exe` {
		t.Errorf("root %+v", root)
	}
	type fact struct{ from, verb, to string }
	have := map[fact]bool{}
	for _, e := range inc.Edges {
		from, to := nodes[e.From], nodes[e.To]
		name := func(n *provenance.Node) string {
			if l := n.Attr("IntegrityLevel"); l != "" {
				return n.Path + " " + l
			}
			return n.Path
		}
		have[fact{name(from), e.Verb.String(), name(to)}] = true
	}
	const bypass, mock = `C:\Users\IEUser\Downloads\UACBypass.exe Medium`, `C:\Windows \System32`
	for _, want := range []fact{
		{bypass, "created", mock},
		{bypass, "wrote", mock + `\winSAT.exe`},
		{bypass, "wrote", mock + `\WINMM.dll`},
		{bypass, "started", mock + `\winSAT.exe Medium`},
		{mock + `\winSAT.exe Medium`, "elevated", mock + `\winSAT.exe High`},
		{mock + `\WINMM.dll`, "loaded", mock + `\winSAT.exe High`},
	} {
		if !have[want] {
			t.Errorf("the picture lacks %s —%s→ %s; it has %v", want.from, want.verb, want.to, have)
		}
	}
}

// Every recording scans, and every edge of every incident opens its records.
func TestRecordings(t *testing.T) {
	for _, folder := range []string{"evtx", "otrf"} {
		t.Run(folder, func(t *testing.T) {
			path := corpus.Dir(t, folder)
			if folder == "otrf" && os.Getenv("ASHIATO_FULL") == "" {
				t.Skip("2.4 GB of JSON: only with ASHIATO_FULL=1")
			}
			r := run(t, Options{Paths: []string{path}, Engine: engine(t), Evidence: true})
			checkEvidence(t, r)
			if r.Stats.Source.Events < 10_000 || len(r.Incidents) < 30 {
				t.Errorf("%d events, %d incidents", r.Stats.Source.Events, len(r.Incidents))
			}
			var b bytes.Buffer
			if err := (&report.Document{Incidents: r.Incidents, Stats: r.Stats, Problems: r.Problems}).JSON(&b); err != nil {
				t.Fatal(err)
			}
			if !json.Valid(b.Bytes()) {
				t.Error("the machine output is not JSON")
			}
			t.Logf("%d events, %d incidents, %d detections, %d problems", r.Stats.Source.Events, len(r.Incidents), r.Stats.Detections, len(r.Problems))
		})
	}
}

func BenchmarkScan(b *testing.B) {
	dir, built := scenarioLogs(b, "usb-coinminer.txtar")
	eng := engine(b)
	for b.Loop() {
		run(b, Options{Paths: []string{dir}, Engine: eng, Jobs: 1})
	}
	b.ReportMetric(float64(len(built.Events)*b.N)/b.Elapsed().Seconds(), "events/s")
}
