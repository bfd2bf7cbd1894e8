package incident_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ashiato/internal/detect"
	"ashiato/internal/event"
	"ashiato/internal/i18n"
	"ashiato/internal/incident"
	"ashiato/internal/normalize"
	"ashiato/internal/provenance"
	"ashiato/internal/ruleset"
	"ashiato/internal/scenario"
	"ashiato/internal/world"
)

// pack compiles the shipped rules.
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

func find(engine *detect.Engine, events []*event.Event) []detect.Detection {
	worker := engine.Worker()
	var found []detect.Detection
	for _, e := range events {
		found = worker.Detect(e, found)
	}
	return found
}

func judge(engine *detect.Engine, events []*event.Event) (*provenance.Graph, []*incident.Incident) {
	return judgeSet(events, find(engine, events))
}

func scenarioEvents(t testing.TB, set ...string) *scenario.Built {
	t.Helper()
	path := filepath.Join("..", "..", "testdata", "scenarios", "usb-coinminer.txtar")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	s, err := scenario.Parse(path, data)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(set); i += 2 {
		if err := s.Set(set[i], set[i+1]); err != nil {
			t.Fatal(err)
		}
	}
	built, err := s.Build()
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range built.Events {
		normalize.Event(e)
	}
	return built
}

// dump writes an incident the way a person reads it.
func dump(i *incident.Incident, langs ...i18n.Lang) string {
	var b strings.Builder
	for _, l := range langs {
		fmt.Fprintf(&b, "%s\n", i.Title(l))
	}
	fmt.Fprintf(&b, "%s score %d, hosts %v, root %s %s (%s), alternatives %d, %d nodes, %d edges, %d detections, cut %d\n",
		i.Severity, i.Score, i.Hosts, i.Root.Kind, i.Root.Node, i.Root.Confidence, len(i.Alternatives), len(i.Nodes), len(i.Edges), len(i.Detections), i.Cut)
	for _, s := range i.Story {
		for _, l := range langs {
			fmt.Fprintf(&b, "%3d %s %s  %v\n", s.Number, s.Time.Format("15:04:05.000"), i.Sentence(s, l), s.Behaviours)
		}
	}
	return b.String()
}

// TestSeedScenario holds the whole story: one incident, from the stick to the
// next host, in order.
func TestSeedScenario(t *testing.T) {
	built := scenarioEvents(t)
	g, incidents := judge(pack(t), built.Events)
	sound(t, g, incidents)
	serious := atLeast(incidents, detect.Medium)
	if len(serious) != 1 {
		t.Fatalf("%d incidents at or above medium, want 1", len(serious))
	}
	i := serious[0]
	t.Log("\n" + dump(i, i18n.English, i18n.Japanese, i18n.Korean))
	if i.Root.Kind != incident.RootVolume || i.Root.Confidence != incident.Probable || len(i.Alternatives) != 2 {
		t.Errorf("root %+v, alternatives %v", i.Root, i.Alternatives)
	}
	if !slices.Equal(i.Hosts, built.Expect.Hosts) {
		t.Errorf("hosts %v, want %v", i.Hosts, built.Expect.Hosts)
	}
	for l, want := range map[i18n.Lang]string{
		i18n.English:  "Coin miner spread by USB: elevated through a mock Windows folder, hid from Defender, persists as service and task, spread to another stick",
		i18n.Japanese: "USB 経由のコインマイナー:偽の Windows フォルダーで権限昇格、Defender を回避、サービスとタスクで持続、別の USB へ伝播",
	} {
		if got := i.Title(l); got != want {
			t.Errorf("title %q, want %q", got, want)
		}
	}
	want := []string{
		"volume-attached", "shortcut-opened", "script-started", "mock-folder-created", "copied-mock", "elevated-silently-started", "side-loaded-renamed", "excluded",
		"dropped", "service-registered", "service-loaded", "task-registered", "task-ran-connected", "connected-wrote", "miner-started-connected",
		"volume-attached", "spread", "volume-elsewhere",
	}
	var keys []string
	for _, s := range i.Story {
		keys = append(keys, s.Key)
	}
	at := 0
	for _, k := range keys {
		if at < len(want) && k == want[at] {
			at++
		}
	}
	if at < len(want) {
		t.Errorf("the story lacks %q in its place; it goes %v", want[at], keys)
	}
	if len(i.Story) > 20 || len(i.Nodes) > 60 {
		t.Errorf("%d steps, %d nodes: too many to read", len(i.Story), len(i.Nodes))
	}
	kinds := map[string]int{}
	for _, p := range i.Persistence {
		kinds[p.Kind]++
	}
	if kinds["service"] != 1 || kinds["task"] != 1 || kinds["exclusion"] != 2 || kinds["folder"] < 1 {
		t.Errorf("left behind: %v", kinds)
	}
	aliases := map[string]bool{}
	for _, d := range i.Detections {
		for _, a := range d.Rule.Aliases {
			aliases[a] = true
		}
	}
	for _, a := range built.Expect.Aliases {
		if !aliases[a] {
			t.Errorf("no detection is called %s", a)
		}
	}
	// What the scenario calls benign is no step.
	for n, e := range i.Edges {
		if i.EdgeSteps[n] == 0 {
			continue
		}
		for _, ref := range e.Evidence {
			if label, ok := built.Truth[scenario.RecordKey{Host: ref.Host, Channel: ref.Channel, RecordID: ref.RecordID}]; ok && !label.Attack {
				t.Errorf("step %d (%s -%s-> %s) cites background: %s", i.EdgeSteps[n], e.From, e.Verb, e.To, label.Text)
			}
		}
	}
}

// TestSeedScenarioVaried holds that nothing of the scenario's names, of the kind
// of records or of their completeness decides whether it is one incident.
func TestSeedScenarioVaried(t *testing.T) {
	engine := pack(t)
	for _, c := range []struct {
		set  []string
		root incident.RootKind
	}{
		{[]string{"stick", "G", "next", "K", "digits", "104882", "number", "99", "folder", "sysvolume", "prefix", "u", "task", "upd", "lure", "Disk"}, incident.RootVolume},
		{[]string{"telemetry", "sysmon"}, incident.RootVolume},
		{[]string{"telemetry", "security"}, incident.RootVolume},
		{[]string{"telemetry", "sysmon security system"}, incident.RootVolume},
		{[]string{"telemetry", "sensor"}, incident.RootVolume},
		{[]string{"telemetry", "all sensor"}, incident.RootVolume},
		{[]string{"telemetry", "sensor", "stick", "G", "next", "K", "digits", "104882", "folder", "sysvolume", "lure", "Disk", "shuffle", "yes"}, incident.RootVolume},
		{[]string{"records", "old"}, incident.RootVolume},
		{[]string{"lose", "5"}, incident.RootVolume},
		{[]string{"lose", "20"}, incident.RootVolume},
		{[]string{"seed", "12345"}, incident.RootVolume},
	} {
		t.Run(strings.Join(c.set, "_"), func(t *testing.T) {
			g, incidents := judge(engine, scenarioEvents(t, c.set...).Events)
			sound(t, g, incidents)
			serious := atLeast(incidents, detect.Medium)
			if len(serious) != 1 {
				for _, i := range serious {
					t.Log("\n" + dump(i, i18n.English))
				}
				t.Fatalf("%d incidents at or above medium, want 1", len(serious))
			}
			if serious[0].Root.Kind != c.root {
				t.Errorf("the root is %s, want %s", serious[0].Root.Kind, c.root)
			}
		})
	}
}

// TestOrderAndRepetitionDoNotMatter judges the scenario's records shuffled and
// doubled.
func TestOrderAndRepetitionDoNotMatter(t *testing.T) {
	built := scenarioEvents(t, "background", "300")
	found := find(pack(t), built.Events)
	g, incidents := judgeSet(built.Events, found)
	want, wantGraph := digest(incidents), graphDigest(g)
	for seed := range uint64(6) {
		r := rand.New(rand.NewPCG(seed, 1))
		events, ds := slices.Clone(built.Events), slices.Clone(found)
		for range r.IntN(200) {
			n := r.IntN(len(built.Events))
			events = append(events, built.Events[n])
		}
		for range r.IntN(50) {
			ds = append(ds, found[r.IntN(len(found))])
		}
		r.Shuffle(len(events), func(a, b int) { events[a], events[b] = events[b], events[a] })
		r.Shuffle(len(ds), func(a, b int) { ds[a], ds[b] = ds[b], ds[a] })
		g, incidents := judgeSet(events, ds)
		if got := digest(incidents); got != want {
			t.Fatalf("shuffle %d gives other incidents:\n%s", seed, firstDifference(got, want))
		}
		if got := graphDigest(g); got != wantGraph {
			t.Fatalf("shuffle %d gives another graph:\n%s", seed, firstDifference(got, wantGraph))
		}
	}
}

func firstDifference(got, want string) string {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for n := range min(len(g), len(w)) {
		if g[n] != w[n] {
			return "got  " + g[n] + "\nwant " + w[n]
		}
	}
	return fmt.Sprintf("%d lines, want %d", len(g), len(w))
}

// attack writes a small intrusion of its own: explorer starts a script that
// drops and runs a program.
func attack(l *log, seq int, dir string) {
	script := l.start(seq, 1, `C:\Windows\System32\wscript.exe`, `wscript.exe "`+dir+`\a.vbs"`, `C:\Windows\explorer.exe`, "IntegrityLevel", "Medium")
	l.detect(script, detect.Medium, "script-execution")
	l.write(seq, `C:\Windows\System32\wscript.exe`, dir+`\b.exe`)
	// The program is run by another broker: only the file joins the two.
	run := l.start(seq+1, 2, dir+`\b.exe`, dir+`\b.exe`, `C:\Windows\System32\svchost.exe`)
	l.detect(run, detect.High, "dropped-program")
}

func TestTwoIntrusionsUnderOneShellAreTwo(t *testing.T) {
	l := newLog()
	attack(l, 10, `C:\Users\a`)
	attack(l, 20, `C:\Users\b`)
	g, incidents := l.judge()
	sound(t, g, incidents)
	if len(incidents) != 2 {
		t.Fatalf("%d incidents, want 2", len(incidents))
	}
	for _, i := range incidents {
		if len(i.Detections) != 2 || i.Severity != detect.High || i.Root.Kind != incident.RootBeforeRecord || i.Alternatives[0].Kind != incident.RootInteractive {
			t.Errorf("%s", dump(i, i18n.English))
		}
	}
}

func TestManyChildrenOfAHubChangeNothing(t *testing.T) {
	l := newLog()
	attack(l, 10, `C:\Users\a`)
	_, incidents := l.judge()
	want := digest(incidents)
	records := len(l.events)
	for n := range 10_000 {
		l.start(1000+n, 1, `C:\Program Files\Office\winword.exe`, "winword.exe", `C:\Windows\explorer.exe`)
	}
	_, incidents = l.judge()
	if got := digest(incidents); got != want {
		t.Errorf("%d records more change the incident:\n%s", len(l.events)-records, firstDifference(got, want))
	}
}

func TestAProcessWithoutItsStartIsImpliedAndJoins(t *testing.T) {
	l := newLog()
	// Process 5 has no record of its own; two of its children are detected.
	for n := range 2 {
		e := l.start(10+n, 5, `C:\Windows\System32\cmd.exe`, "cmd.exe", `C:\Users\a\x.exe`)
		l.detect(e, detect.Medium, "script-execution")
	}
	g, incidents := l.judge()
	sound(t, g, incidents)
	if len(incidents) != 1 {
		t.Fatalf("%d incidents, want 1", len(incidents))
	}
	i := incidents[0]
	root := g.Node(i.Root.Node)
	if i.Root.Kind != incident.RootBeforeRecord || !root.Implied || root.Reason != "start-not-recorded" || root.Label != "x.exe" {
		t.Errorf("root %+v, node %+v", i.Root, root)
	}
	if len(i.Gaps) != 1 || i.Gaps[0].Reason != "start-not-recorded" || i.Gaps[0].Count != 1 {
		t.Errorf("gaps %+v", i.Gaps)
	}
}

func TestAnUnconnectedDetectionStandsAlone(t *testing.T) {
	l := newLog()
	l.detect(l.start(10, 1, `C:\a\tool.exe`, "tool.exe", `C:\Windows\explorer.exe`), detect.Low, "")
	l.detect(l.security(1102, "SubjectUserName", "x"), detect.High, "log-cleared")
	g, incidents := l.judge()
	sound(t, g, incidents)
	if len(incidents) != 2 {
		t.Fatalf("%d incidents, want 2", len(incidents))
	}
	if got := incidents[0].Title(i18n.English); got != "Test of : tool.exe on PC" {
		t.Errorf("title %q", got)
	}
	if got := incidents[1].Title(i18n.Japanese); got != "PC でのイベントログの消去" {
		t.Errorf("title %q", got)
	}
}

// TestARepeatOnAHubIsOneIncident holds that a rule that fires on a broker again
// and again does not flood the list, and that two rules there do not join.
func TestARepeatOnAHubIsOneIncident(t *testing.T) {
	l := newLog()
	for range 50 {
		e := l.sysmon(3, "ProcessGuid", guid(3), "ProcessId", "1003", "Image", `C:\Windows\System32\svchost.exe`, "DestinationIp", "203.0.113.9", "DestinationPort", "443", "Initiated", "true")
		l.detect(e, detect.Low, "download")
	}
	l.detect(l.events[0], detect.Low, "mining")
	g, incidents := l.judge()
	sound(t, g, incidents)
	if len(incidents) != 2 || len(incidents[0].Detections)+len(incidents[1].Detections) != 51 {
		t.Fatalf("%d incidents", len(incidents))
	}
}

func TestSizeIsBoundedAndCounted(t *testing.T) {
	l := newLog()
	l.detect(l.start(10, 1, `C:\Windows\System32\cmd.exe`, "cmd.exe", `C:\Windows\explorer.exe`), detect.High, "script-execution")
	for n := range 500 {
		l.start(100+n, 10, fmt.Sprintf(`C:\a\%d.exe`, n), "x", `C:\Windows\System32\cmd.exe`)
	}
	b := provenance.NewBuilder(world.New(world.Limits{}))
	for _, e := range l.events {
		b.Add(e)
	}
	incidents := incident.Build(b.Build(), l.found, incident.Options{MaxNodes: 100, MaxContext: 10})
	if len(incidents) != 1 {
		t.Fatalf("%d incidents", len(incidents))
	}
	if i := incidents[0]; len(i.Nodes) > 111 || i.Cut < 400 {
		t.Errorf("%d nodes, %d cut", len(i.Nodes), i.Cut)
	}
}

// registered writes the service manager's record of a new service.
func (l *log) registered(name string) *event.Event {
	return l.add("Service Control Manager", "System", 7045, "ServiceName", name, "ImagePath", `C:\x.exe /`+name)
}

func TestABurstIsOneIncident(t *testing.T) {
	l := newLog()
	for n := range 40 {
		l.detect(l.registered(fmt.Sprintf("svc%02d", n)), detect.High, "lateral-movement")
	}
	l.clock += time.Hour
	l.detect(l.registered("later"), detect.High, "lateral-movement")
	g, incidents := l.judge()
	sound(t, g, incidents)
	if len(incidents) != 2 {
		t.Fatalf("%d incidents, want the burst and the one that came later", len(incidents))
	}
	burst, later := incidents[0], incidents[1]
	if len(burst.Detections) != 40 || len(burst.Nodes) != 24 || burst.Cut != 16 || len(burst.Story) != 1 {
		t.Errorf("%d detections, %d nodes, %d cut, %d steps", len(burst.Detections), len(burst.Nodes), burst.Cut, len(burst.Story))
	}
	if got := burst.Sentence(burst.Story[0], i18n.English); got != "svc00, svc01, svc02, svc03, … +36: Test of lateral-movement" {
		t.Errorf("the burst reads %q", got)
	}
	if burst.Score >= 10*later.Score {
		t.Errorf("one happening forty times scores %d, once %d", burst.Score, later.Score)
	}
	if got := later.Sentence(later.Story[0], i18n.English); got != `The service later, which runs C:\x.exe /later, was registered; who did it was not recorded` {
		t.Errorf("it reads %q", got)
	}
}

func TestFewAlikeAreNoBurst(t *testing.T) {
	l := newLog()
	for n := range 4 {
		l.detect(l.registered(fmt.Sprintf("svc%d", n)), detect.High, "lateral-movement")
	}
	for n := range 5 {
		l.detect(l.start(10+10*n, 1, fmt.Sprintf(`C:\%d.exe`, n), "x", `C:\Windows\explorer.exe`), detect.High, "x")
	}
	g, incidents := l.judge()
	sound(t, g, incidents)
	if len(incidents) != 9 {
		t.Errorf("%d incidents, want 9", len(incidents))
	}
}

func TestStepsThatTellOneThing(t *testing.T) {
	const (
		cmd = `C:\Windows\System32\cmd.exe`
		sys = `C:\Windows\System32\`
	)
	for _, c := range []struct {
		name string
		log  func(*log)
		want []string
	}{
		{"a start and what it connected to", func(l *log) {
			l.detect(l.start(10, 1, cmd, "cmd", `C:\Windows\explorer.exe`), detect.High, "")
			l.start(11, 10, `C:\a.exe`, "a", cmd)
			l.sysmon(3, "ProcessGuid", guid(11), "ProcessId", "1011", "Image", `C:\a.exe`, "DestinationIp", "203.0.113.4", "DestinationPort", "443")
		}, []string{"explorer.exe started cmd.exe", "cmd.exe started a.exe, which connected to 203.0.113.4:443"}},
		{"long after the start", func(l *log) {
			l.detect(l.start(10, 1, cmd, "cmd", `C:\Windows\explorer.exe`), detect.High, "")
			l.clock += time.Hour
			l.sysmon(3, "ProcessGuid", guid(10), "ProcessId", "1010", "Image", cmd, "DestinationIp", "203.0.113.4", "DestinationPort", "443")
		}, []string{"explorer.exe started cmd.exe", "cmd.exe connected to 203.0.113.4:443"}},
		{"a download", func(l *log) {
			l.detect(l.start(10, 1, cmd, "cmd", `C:\Windows\explorer.exe`), detect.High, "")
			l.clock += time.Hour
			l.sysmon(3, "ProcessGuid", guid(10), "ProcessId", "1010", "Image", cmd, "DestinationIp", "203.0.113.4", "DestinationPort", "443")
			l.write(10, cmd, `C:\b.exe`)
			l.start(12, 10, `C:\b.exe`, "b", cmd)
		}, []string{"explorer.exe started cmd.exe", `cmd.exe connected to 203.0.113.4:443 and then wrote C:\b.exe`, "cmd.exe started b.exe"}},
		{"tools of a registration", func(l *log) {
			l.detect(l.start(9, 1, `C:\a.exe`, "a", `C:\Windows\explorer.exe`), detect.High, "")
			l.detect(l.start(10, 9, sys+"sc.exe", `sc create Svc binPath= C:\x.exe`, `C:\a.exe`), detect.High, "service-persistence")
			l.start(11, 9, sys+"sc.exe", "sc start Svc", `C:\a.exe`)
			l.start(12, 9, sys+"sc.exe", "sc start Other", `C:\a.exe`)
		}, []string{`How C:\a.exe came to this computer was not recorded`, "explorer.exe started a.exe", `a.exe → sc.exe registered the service Svc, which runs C:\x.exe`, "a.exe started sc.exe"}},
		{"a rename that no record shows", func(l *log) {
			l.start(9, 1, cmd, "cmd", `C:\Windows\explorer.exe`)
			l.sysmon(29, "ProcessGuid", guid(9), "ProcessId", "1009", "Image", cmd, "TargetFilename", `C:\d\a.dat`, "Hashes", "SHA256=CD")
			l.start(10, 9, `C:\d\p.exe`, "p", cmd)
			l.detect(l.sysmon(7, "ProcessGuid", guid(10), "ProcessId", "1010", "Image", `C:\d\p.exe`, "ImageLoaded", `C:\d\p.dll`, "Hashes", "SHA256=CD", "Signed", "false"), detect.High, "side-load")
		}, []string{
			`cmd.exe wrote C:\d\a.dat`, "cmd.exe started p.exe",
			`p.exe loaded the planted C:\d\p.dll (DLL side-loading), which has the same content as C:\d\a.dat; the renaming itself was not recorded`,
		}},
		{"it began before", func(l *log) {
			l.start(10, 9, cmd, "cmd", `C:\old.exe`)
			l.detect(l.start(11, 10, `C:\a.exe`, "a", cmd), detect.High, "")
			l.write(11, `C:\a.exe`, `C:\b.exe`)
			l.start(12, 11, `C:\b.exe`, "b", `C:\a.exe`)
		}, []string{"It began before recording did; the first thing seen is old.exe", "old.exe started a.exe", `a.exe wrote C:\b.exe`, "a.exe started b.exe"}},
		{"a download that a person ran", func(l *log) {
			const chrome = `C:\Program Files\Google\Chrome\Application\chrome.exe`
			l.sysmon(15, "ProcessGuid", guid(5), "ProcessId", "1005", "Image", chrome, "TargetFilename", `C:\d\a.exe:Zone.Identifier`, "Contents", "[ZoneTransfer]  ZoneId=3")
			l.start(10, 1, `C:\d\a.exe`, "a.exe", `C:\Windows\explorer.exe`)
			l.detect(l.start(11, 10, `C:\b.exe`, "b", `C:\d\a.exe`), detect.High, "")
		}, []string{`The file C:\d\a.exe, which came from the internet, was run`, "a.exe started b.exe"}},
		{"what was written after a connection, by a program just started", func(l *log) {
			l.detect(l.start(10, 1, cmd, "cmd", `C:\Windows\explorer.exe`), detect.High, "")
			l.start(11, 10, `C:\curl.exe`, "curl", cmd)
			l.sysmon(3, "ProcessGuid", guid(11), "ProcessId", "1011", "Image", `C:\curl.exe`, "DestinationIp", "203.0.113.4", "DestinationPort", "443")
			l.write(11, `C:\curl.exe`, `C:\b.exe`)
			l.start(12, 10, `C:\b.exe`, "b", cmd)
		}, []string{"explorer.exe started cmd.exe", `curl.exe connected to 203.0.113.4:443 and then wrote C:\b.exe`, "cmd.exe started b.exe"}},
		{"percent signs that Sysmon doubled", func(l *log) {
			l.detect(l.start(10, 1, `C:\a.exe`, "a", `C:\Windows\explorer.exe`), detect.High, "")
			l.detect(l.sysmon(13, "ProcessGuid", guid(10), "ProcessId", "1010", "Image", `C:\a.exe`, "EventType", "SetValue",
				"TargetObject", `HKLM\System\CurrentControlSet\Services\Svc\ImagePath`, "Details", `%%SystemRoot%%\x.exe`), detect.High, "service-persistence")
		}, []string{`a.exe registered the service Svc, which runs %SystemRoot%\x.exe`}},
		{"a file that was overwritten, and one that was deleted", func(l *log) {
			l.detect(l.start(10, 1, cmd, "cmd", `C:\Windows\explorer.exe`), detect.High, "")
			gone := func(path string) {
				l.sysmon(23, "ProcessGuid", guid(10), "ProcessId", "1010", "Image", cmd, "TargetFilename", path)
			}
			gone(`C:\d\a.exe`)
			l.write(10, cmd, `C:\d\a.exe`)
			l.start(11, 10, `C:\d\a.exe`, "a", cmd)
			l.write(10, cmd, `C:\d\b.exe`)
			l.start(12, 10, `C:\d\b.exe`, "b", cmd)
			gone(`C:\d\b.exe`)
		}, []string{"explorer.exe started cmd.exe", `cmd.exe wrote C:\d\a.exe, C:\d\b.exe`, "cmd.exe started a.exe", "cmd.exe started b.exe", `cmd.exe deleted C:\d\b.exe`}},
		{"rights that were gained", func(l *log) {
			l.detect(l.start(10, 1, cmd, "cmd", `C:\Windows\explorer.exe`, "User", `PC\mori`), detect.High, "")
			l.start(11, 10, `C:\a.exe`, "a", cmd, "User", `pc\MORI`)
			l.detect(l.start(12, 11, `C:\b.exe`, "b", `C:\a.exe`, "User", `NT AUTHORITY\SYSTEM`), detect.High, "")
		}, []string{"explorer.exe started cmd.exe", "cmd.exe started a.exe", `a.exe started b.exe (NT AUTHORITY\SYSTEM)`}},
		{"a program that loads what it was given and connects", func(l *log) {
			l.detect(l.start(10, 1, cmd, "cmd", `C:\Windows\explorer.exe`), detect.High, "")
			l.write(10, cmd, `C:\d\a.dll`)
			l.start(11, 10, sys+"rundll32.exe", `rundll32.exe C:\d\a.dll,Run`, cmd)
			l.sysmon(7, "ProcessGuid", guid(11), "ProcessId", "1011", "Image", sys+"rundll32.exe", "ImageLoaded", `C:\d\a.dll`, "Signed", "false")
			l.sysmon(3, "ProcessGuid", guid(11), "ProcessId", "1011", "Image", sys+"rundll32.exe", "DestinationIp", "203.0.113.4", "DestinationPort", "443")
		}, []string{"explorer.exe started cmd.exe", `cmd.exe wrote C:\d\a.dll`, `cmd.exe started rundll32.exe, which ran C:\d\a.dll and connected to 203.0.113.4:443`}},
		{"a value, who set it and which file it names", func(l *log) {
			l.start(10, 1, cmd, "cmd", `C:\Windows\explorer.exe`)
			l.write(10, cmd, `C:\d\a.exe`)
			l.detect(l.sysmon(13, "ProcessGuid", guid(10), "ProcessId", "1010", "Image", cmd, "EventType", "SetValue",
				"TargetObject", `HKU\S-1-5-21-1-1-1-1001\Software\Microsoft\Windows\CurrentVersion\Run\V`, "Details", `C:\d\a.exe`), detect.High, "persistence")
		}, []string{
			`cmd.exe wrote C:\d\a.exe`,
			`cmd.exe set HKU\S-1-5-21-1-1-1-1001\Software\Microsoft\Windows\CurrentVersion\Run\V to C:\d\a.exe, which starts at every logon`,
		}},
		{"a script that is loaded by what it was given to", func(l *log) {
			l.detect(l.start(10, 1, cmd, "cmd", `C:\Windows\explorer.exe`), detect.High, "")
			l.write(10, cmd, `C:\d\a.dll`)
			l.start(11, 10, sys+"rundll32.exe", `rundll32.exe C:\d\a.dll,Run`, cmd)
			l.sysmon(7, "ProcessGuid", guid(11), "ProcessId", "1011", "Image", sys+"rundll32.exe", "ImageLoaded", `C:\d\a.dll`, "Signed", "false")
		}, []string{"explorer.exe started cmd.exe", `cmd.exe wrote C:\d\a.dll`, `cmd.exe started rundll32.exe, which ran C:\d\a.dll`}},
		{"the same program again and again", func(l *log) {
			l.detect(l.start(10, 1, cmd, "cmd", `C:\Windows\explorer.exe`), detect.High, "")
			for n := range 3 {
				l.detect(l.start(20+n, 10, sys+"net.exe", "net view", cmd), detect.Low, fmt.Sprint("discovery", n))
			}
		}, []string{"explorer.exe started cmd.exe", "cmd.exe started net.exe"}},
		{"the same program, long after, with something between", func(l *log) {
			l.detect(l.start(10, 1, cmd, "cmd", `C:\Windows\explorer.exe`), detect.High, "")
			l.detect(l.start(20, 10, sys+"net.exe", "net view", cmd), detect.Low, "discovery1")
			l.clock += time.Minute
			l.write(10, cmd, `C:\d\a.exe`)
			l.start(11, 10, `C:\d\a.exe`, "a", cmd)
			l.clock += time.Minute
			l.detect(l.start(21, 10, sys+"net.exe", "net view", cmd), detect.Low, "discovery2")
		}, []string{"explorer.exe started cmd.exe", "cmd.exe started net.exe", `cmd.exe wrote C:\d\a.exe`, "cmd.exe started a.exe", "cmd.exe started net.exe"}},
		{"a cleared log", func(l *log) {
			l.detect(l.security(1102, "SubjectUserName", "x"), detect.High, "log-cleared")
		}, []string{"x cleared the event log Security on PC"}},
		{"another log, which the System log tells of", func(l *log) {
			l.detect(l.add("Microsoft-Windows-Eventlog", "System", 104, "Channel", "Application", "SubjectUserName", "x"), detect.High, "log-cleared")
		}, []string{"x cleared the event log Application on PC"}},
		{"many logs at one moment", func(l *log) {
			at := l.clock
			for _, name := range []string{"k", "b", "a", "j", "c", "i", "d", "h", "e", "g", "b", "f"} {
				l.clock = at
				l.detect(l.add("Microsoft-Windows-Eventlog", "System", 104, "Channel", name, "SubjectUserName", "x"), detect.High, "log-cleared")
			}
		}, []string{"x cleared the event log a, b, c, d, e, f, g, h, … on PC"}},
		{"a cleared log and nobody named", func(l *log) {
			l.detect(l.add("Microsoft-Windows-Eventlog", "System", 104, "Channel", "Application"), detect.High, "log-cleared")
		}, []string{"The event log Application was cleared on PC"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLog()
			c.log(l)
			g, incidents := l.judge()
			sound(t, g, incidents)
			if len(incidents) != 1 {
				t.Fatalf("%d incidents", len(incidents))
			}
			i := incidents[0]
			var got []string
			for _, s := range i.Story {
				got = append(got, i.Sentence(s, i18n.English))
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("the story goes\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(c.want, "\n"))
			}
		})
	}
}

// TestStepsHaveTheirDetections holds that every detection of the seed is at a step,
// and at one that tells of it.
func TestStepsHaveTheirDetections(t *testing.T) {
	_, incidents := judge(pack(t), scenarioEvents(t).Events)
	i := atLeast(incidents, detect.Medium)[0]
	at := map[int][]string{}
	for _, s := range i.Story {
		if !slices.IsSorted(s.Detections) {
			t.Errorf("step %d: %v", s.Number, s.Detections)
		}
		for _, n := range s.Detections {
			at[n] = append(at[n], s.Key)
		}
	}
	for n, d := range i.Detections {
		if len(at[n]) == 0 {
			t.Errorf("%s on %s is at no step", d.Rule.Name, d.Node)
		}
		if want, ok := map[string]string{"defender-exclusion": "excluded", "auto-elevation": "elevated-silently-started", "service-dll": "service-registered"}[d.Rule.Behaviour]; ok && !slices.Contains(at[n], want) {
			t.Errorf("%s is at %v, want %s", d.Rule.Name, at[n], want)
		}
	}
}

// TestTitleOfRansomware holds that what holds data to ransom is called so.
func TestTitleOfRansomware(t *testing.T) {
	for _, c := range []struct {
		severity detect.Severity
		want     string
	}{
		{detect.High, "Ransomware: moved to other computers, destroyed data or its copies"},
		{detect.Medium, "Lateral movement: destroyed data or its copies"},
	} {
		l := newLog()
		const cmd = `C:\Windows\System32\cmd.exe`
		l.detect(l.start(10, 1, cmd, "cmd", `C:\Windows\explorer.exe`), detect.High, "lateral-movement")
		l.detect(l.write(10, cmd, `D:\a.docx.locked`), c.severity, "impact")
		l.found[1].Rule.Attack = []string{"T1486"}
		_, incidents := l.judge()
		if got := incidents[0].Title(i18n.English); len(incidents) != 1 || got != c.want {
			t.Errorf("%s: %d incidents, %q, want %q", c.severity, len(incidents), got, c.want)
		}
	}
}

// TestCountsAgreeWithTheirWords holds that one thing is not told in the plural.
func TestCountsAgreeWithTheirWords(t *testing.T) {
	var i incident.Incident
	for _, c := range []struct {
		key  string
		args []string
		want string
	}{
		{"hid-on-volume", []string{"a.exe", "F:", "1"}, "a.exe moved or hid a file on F: (1 access)"},
		{"hid-on-volume", []string{"a.exe", "F:", "2"}, "a.exe moved or hid files on F: (2 accesses)"},
		{"spread", []string{"a.exe", "F:", "1", "b"}, "Another stick was infected: on F:, a.exe moved or hid a file (1 access) and wrote b"},
		{"mines-cpu", []string{"a.exe", "90", "1"}, "a.exe mines on this computer's CPU: 90 % on average over a minute"},
		{"mines-cpu", []string{"a.exe", "1", "10"}, "a.exe mines on this computer's CPU: 1 % on average over 10 minutes"},
		{"started", []string{"a.exe", "1"}, "a.exe started 1"},
	} {
		if got := i.Sentence(incident.Step{Key: c.key, Args: c.args}, i18n.English); got != c.want {
			t.Errorf("%s of %q: %q, want %q", c.key, c.args, got, c.want)
		}
	}
}

// TestSeedScenarioBySecurityAlone holds that a stick of which no record has the
// drive letter is still the one that was infected, and that this is said.
func TestSeedScenarioBySecurityAlone(t *testing.T) {
	g, incidents := judge(pack(t), scenarioEvents(t, "telemetry", "security").Events)
	sound(t, g, incidents)
	serious := atLeast(incidents, detect.Medium)
	if len(serious) != 1 {
		t.Fatalf("%d incidents, want 1", len(serious))
	}
	story := dump(serious[0], i18n.English)
	for _, want := range []string{
		`The user opened the shortcut E:\USB Drive.lnk, and wscript.exe ran the script E:\rootdir\x817994.vbs`,
		"USB volume Kioxia TransMemory (serial 6C8FE0A41D77; its drive letter was not recorded) was attached",
		`Another stick was infected: on Kioxia TransMemory, svchost.exe moved or hid files (82 accesses) and wrote HarddiskVolume7\USB Drive.lnk`,
		"The volume Kioxia TransMemory (serial 6C8FE0A41D77) was then attached to LAPTOP-K4M",
	} {
		if !strings.Contains(story, want) {
			t.Errorf("no %q in\n%s", want, story)
		}
	}
}
