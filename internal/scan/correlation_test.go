package scan

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ashiato/internal/ruleset"
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
