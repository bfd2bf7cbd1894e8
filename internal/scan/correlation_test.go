package scan

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ashiato/internal/corpus"
	"ashiato/internal/provenance"
	"ashiato/internal/ruleset"
	"ashiato/internal/sigma/correlation"
	"ashiato/internal/source"
)

const guessing = `title: A logon failed
name: failed
status: test
logsource: {product: windows, service: security}
detection: {s: {EventID: 4625}, condition: s}
---
title: A logon succeeded
name: succeeded
status: test
logsource: {product: windows, service: security}
detection: {s: {EventID: 4624}, condition: s}
---
title: Many logons failed
name: many
level: medium
correlation: {type: event_count, rules: [failed], group-by: [TargetUserName], timespan: 5m, condition: {gte: 5}}
---
title: A password was guessed
level: critical
correlation: {type: temporal_ordered, rules: [many, succeeded], group-by: [TargetUserName], timespan: 10m}
`

// TestCorrelations holds that a scan finds what several records say together,
// cites all of them, keeps silent about what only correlations hear, and that
// the order of records and their number of copies change nothing.
func TestCorrelations(t *testing.T) {
	dir := t.TempDir()
	rules := filepath.Join(dir, "rules")
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write("rules/guess.yml", guessing)
	set, err := ruleset.Load(ruleset.Options{Rules: []string{rules}})
	if err != nil || len(set.Problems) > 0 {
		t.Fatal(err, set.Problems)
	}
	begin := time.Date(2026, 1, 31, 10, 0, 0, 0, time.UTC)
	record := func(n, id, second int, user string) string {
		return fmt.Sprintf(`{"Event":{"System":{"Provider":{"#attributes":{"Name":"Microsoft-Windows-Security-Auditing"}},"EventID":%d,"Channel":"Security","Computer":"PC-1","EventRecordID":%d,"TimeCreated":{"#attributes":{"SystemTime":%q}}},"EventData":{"TargetUserName":%q,"TargetLogonId":"0x9","IpAddress":"10.0.0.9"}}}`,
			id, n, begin.Add(time.Duration(second)*time.Second).Format(time.RFC3339), user)
	}
	var lines []string
	for i := range 5 {
		lines = append(lines, record(i+1, 4625, i*60, "bob"), record(i+50, 4625, i*100, "eve"))
	}
	lines = append(lines, record(100, 4624, 500, "BOB"), record(101, 4624, 510, "eve"))

	digest := func(r *Result) string {
		var b strings.Builder
		for _, inc := range r.Incidents {
			for _, d := range inc.Detections {
				fmt.Fprintf(&b, "%s %v %d+%d of %d %s;", d.Rule.Title, d.Rule.Severity, d.Event.Ref.RecordID, len(d.Others), d.Count, d.Matched[0].Value)
			}
		}
		return b.String()
	}
	const want = "A password was guessed critical 100+5 of 2 BOB;"
	r := rand.New(rand.NewPCG(1, 2))
	for round := range 6 {
		order := append([]string{}, lines...)
		r.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
		cut := round * 2
		folder := fmt.Sprint("logs", round)
		write(folder+"/a.json", strings.Join(order[cut:], "\n")+"\n")
		write(folder+"/b.json", strings.Join(order[:max(cut, 3)], "\n")+"\n") // some of them twice
		res := run(t, Options{Paths: []string{filepath.Join(dir, folder)}, Engine: set.Engine, Evidence: true})
		if got := digest(res); got != want {
			t.Fatalf("got %s\nwant %s", got, want)
		}
		d := res.Incidents[0].Detections[0]
		for _, e := range d.Records() {
			if res.Evidence(e.Ref) == nil {
				t.Errorf("record %d is cited and not kept as evidence", e.Ref.RecordID)
			}
		}
	}
}

const belonging = `title: A script host started
name: host
status: test
logsource: {product: windows, category: process_creation}
detection: {s: {Image|endswith: '\wscript.exe'}, condition: s}
---
title: A program of an imitated folder started elevated
name: mock
status: test
logsource: {product: windows, category: process_creation}
detection: {s: {Image|contains: '\Windows \', IntegrityLevel: High}, condition: s}
---
title: Something was put on another drive
name: put
status: test
logsource: {product: windows, category: file_event}
detection: {s: {TargetFilename|re: '^[D-Z]:'}, condition: s}
---
title: A program started
name: program
status: test
logsource: {product: windows, category: process_creation}
detection: {s: {Image|contains: ':'}, condition: s}
---
title: A script led to elevation
id: 00000000-0000-4000-8000-000000000001
level: critical
correlation: {type: temporal_ordered, rules: [host, mock], group-by: [ProcessTree], timespan: 10m}
---
title: Files were put on one stick
id: 00000000-0000-4000-8000-000000000002
level: medium
correlation: {type: event_count, rules: [put], group-by: [Volume], timespan: 1h, condition: {gte: 2}}
---
title: Programs of one session
id: 00000000-0000-4000-8000-000000000003
level: medium
correlation: {type: event_count, rules: [program], group-by: [LogonSession], timespan: 7d, condition: {gte: 3}}
`

// TestPseudoFields scans the seed's intrusion, and a computer that sees two
// sticks under one letter, for what happens in one process tree, on one stick
// and in one session. Records are shuffled, split and doubled.
func TestPseudoFields(t *testing.T) {
	logs, _ := scenarioLogs(t, "usb-coinminer.txtar")
	dir := t.TempDir()
	rules := filepath.Join(dir, "rules.yml")
	if err := os.WriteFile(rules, []byte(belonging), 0o644); err != nil {
		t.Fatal(err)
	}
	set, err := ruleset.Load(ruleset.Options{Rules: []string{rules}})
	if err != nil || len(set.Problems) > 0 {
		t.Fatal(err, set.Problems)
	}
	begin := time.Date(2026, 3, 2, 1, 0, 0, 0, time.UTC)
	var sticks []string
	record := func(provider, channel string, id int, data string) {
		n := len(sticks)
		sticks = append(sticks, fmt.Sprintf(`{"Event":{"System":{"Provider":{"#attributes":{"Name":%q}},"EventID":%d,"Channel":%q,"Computer":"STICKS","EventRecordID":%d,"TimeCreated":{"#attributes":{"SystemTime":%q}}},"EventData":{%s}}}`,
			provider, id, channel, n+1, begin.Add(time.Duration(n)*time.Minute).Format(time.RFC3339), data))
	}
	attach := func(serial string) {
		record("Microsoft-Windows-Partition", "Microsoft-Windows-Partition/Diagnostic", 1006,
			fmt.Sprintf(`"SerialNumber":%q,"BusType":"7","Capacity":"1000","ParentId":%q`, serial, `USB\VID_1&PID_2\`+serial))
	}
	put := func(name string) {
		record("Microsoft-Windows-Sysmon", "Microsoft-Windows-Sysmon/Operational", 11,
			fmt.Sprintf(`"ProcessGuid":"{6f1b1d5c-0001-6900-0100-000000000800}","ProcessId":"44","Image":"C:\\tool.exe","TargetFilename":%q`, name))
	}
	attach("AAA")
	put(`E:\1.txt`)
	put(`E:\2.txt`)
	record("Microsoft-Windows-DriverFrameworks-UserMode", "Microsoft-Windows-DriverFrameworks-UserMode/Operational", 2100,
		`"InstanceId":"SWD\\WPDBUSENUM\\_??_USBSTOR#DISK&VEN_X&PROD_Y&REV_1#AAA&0#{53f56307-b6bf-11d0-94f2-00a0c91efb8b}"`)
	attach("BBB")
	put(`E:\3.txt`)
	put(`G:\4.txt`)

	digest := func(r *Result) string {
		var lines []string
		for _, inc := range r.Incidents {
			for _, d := range inc.Detections {
				var ids []string
				for _, e := range d.Records() {
					if r.Evidence(e.Ref) == nil {
						t.Errorf("record %d is cited and not kept as evidence", e.Ref.RecordID)
					}
					ids = append(ids, fmt.Sprint(e.Host, " ", e.Ref.RecordID))
				}
				lines = append(lines, fmt.Sprintf("%s: %s, %d events, at %s, %v", d.Rule.Title, d.Belongs[0].Value, d.Count, d.Node, ids))
			}
		}
		slices.Sort(lines)
		for _, p := range r.Problems {
			lines = append(lines, p.Detail)
		}
		return strings.Join(lines, "\n")
	}
	res := run(t, Options{Paths: []string{logs}, Engine: set.Engine, Evidence: true})
	for _, inc := range res.Incidents {
		for _, d := range inc.Detections {
			if d.Rule.Title != "A script led to elevation" {
				continue
			}
			// The script host, what it led to and the way between them.
			for _, e := range d.Records() {
				if !slices.ContainsFunc(inc.Nodes, func(n *provenance.Node) bool { return n.Path == e.Value("Image") && !n.Implied }) {
					t.Errorf("%s is not in the incident", e.Value("Image"))
				}
			}
		}
	}
	got := digest(res)
	for _, want := range []string{
		"A script led to elevation: desktop-7q2|41.447, 4 events",
		"Files were put on one stick: 6C8FE0A41D77, 6 events",
		"Programs of one session: desktop-7q2|boot 41|0x3d29e, 28 events",
		"Programs of one session: laptop-k4m|boot 118|0x3e494, 210 events",
		"LogonSession (356), Volume (36)",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in\n%s", want, got)
		}
	}

	var lines []string
	names, err := filepath.Glob(filepath.Join(logs, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, strings.Split(strings.TrimSpace(string(data)), "\n")...)
	}
	lines = append(lines, sticks...)
	var want string
	r := rand.New(rand.NewPCG(3, 4))
	for round := range 4 {
		order := slices.Clone(lines)
		if round > 0 {
			r.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
		}
		folder := filepath.Join(dir, fmt.Sprint("logs", round))
		if err := os.Mkdir(folder, 0o755); err != nil {
			t.Fatal(err)
		}
		for part := range 1 + 2*round {
			from, to := part*len(order)/(1+2*round), (part+1)*len(order)/(1+2*round)
			text := strings.Join(order[from:to], "\n") + "\n"
			if part > 0 {
				text += strings.Join(order[:50*round], "\n") + "\n" // some of them twice
			}
			if err := os.WriteFile(filepath.Join(folder, fmt.Sprint(part, ".ndjson")), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got := digest(run(t, Options{Paths: []string{folder}, Engine: set.Engine, Evidence: true}))
		if round == 0 {
			want = got
			if !strings.Contains(got, "Files were put on one stick: AAA, 2 events") || strings.Contains(got, "BBB") {
				t.Errorf("two sticks are mixed, or one is not seen:\n%s", got)
			}
		}
		if got != want {
			t.Fatalf("round %d:\n%s\nwant\n%s", round, got, want)
		}
	}
}

// TestCorrelationBudget holds that a scan says what its bounds on correlations
// left out.
func TestCorrelationBudget(t *testing.T) {
	logs, _ := scenarioLogs(t, "usb-coinminer.txtar")
	rules := filepath.Join(t.TempDir(), "rules.yml")
	if err := os.WriteFile(rules, []byte(belonging), 0o644); err != nil {
		t.Fatal(err)
	}
	set, err := ruleset.Load(ruleset.Options{Rules: []string{rules}})
	if err != nil {
		t.Fatal(err)
	}
	for _, limits := range []correlation.Limits{{Group: 8 << 10}, {Rule: 8 << 10}, {Groups: 1}, {Waiting: 64 << 10}} {
		r := run(t, Options{Paths: []string{logs}, Engine: set.Engine, Correlations: limits})
		i := slices.IndexFunc(r.Problems, func(p source.Problem) bool { return p.Kind == source.TooLarge })
		if i < 0 || r.Problems[i].Lost == 0 || !strings.Contains(r.Problems[i].Detail, "--correlation-memory") {
			t.Errorf("%+v: %v", limits, r.Problems)
		}
	}
}

// TestElevationTwin holds that the shipped correlation of the two starts of an
// elevated program fires once: on the seed's intrusion, and on the public
// recording of the technique.
func TestElevationTwin(t *testing.T) {
	const name = "PrivilegeEscalation/Ashiato.AutoElevation.M2008"
	check := func(t *testing.T, path, program string) {
		var found []string
		for _, inc := range run(t, Options{Paths: []string{path}, Engine: engine(t)}).Incidents {
			for _, d := range inc.Detections {
				if d.Rule.Name == name {
					var levels []string
					for _, e := range d.Records() {
						levels = append(levels, e.Value("IntegrityLevel"))
					}
					found = append(found, fmt.Sprint(filepath.Base(strings.ReplaceAll(d.Event.Value("Image"), `\`, "/")), " ", slices.Compact(levels)))
				}
			}
		}
		if want := []string{program + " [Medium High]"}; !slices.Equal(found, want) {
			t.Errorf("%q, want %q", found, want)
		}
	}
	t.Run("seed", func(t *testing.T) {
		logs, _ := scenarioLogs(t, "usb-coinminer.txtar")
		check(t, logs, "printui.exe")
	})
	t.Run("recording", func(t *testing.T) {
		check(t, corpus.Dir(t, "evtx/attack-samples/Privilege Escalation/sysmon_11_7_1_uacbypass_windirectory_mocking.evtx"), "winSAT.exe")
	})
}
