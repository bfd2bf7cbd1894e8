package rulestat_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ashiato/internal/corpus"
	"ashiato/internal/detect"
	"ashiato/internal/ruleset"
	"ashiato/internal/rulestat"
)

const record = `{"Event":{"System":{"Provider":{"#attributes":{"Name":"Microsoft-Windows-Sysmon"}},"EventID":1,` +
	`"Channel":"Microsoft-Windows-Sysmon/Operational","Computer":"PC","EventRecordID":%d,` +
	`"TimeCreated":{"#attributes":{"SystemTime":"2026-03-03T02:00:%02d.000000Z"}}},"EventData":{"Image":"C:\\%s.exe","User":"u"}}}` + "\n"

const rules = `title: Fires
id: 6f1f1d0e-5e0b-4a94-8f0a-0f2d5c9f0c01
name: fires
logsource: {category: process_creation, product: windows}
detection:
  s:
    Image|endswith: '\a.exe'
  condition: s
---
title: Often
id: 6f1f1d0e-5e0b-4a94-8f0a-0f2d5c9f0c02
correlation:
  type: event_count
  rules: [fires]
  group-by: [User]
  timespan: 1m
  condition: {gte: 3}
level: high
---
title: Elsewhere
id: 6f1f1d0e-5e0b-4a94-8f0a-0f2d5c9f0c03
logsource: {category: dns_query, product: windows}
detection:
  s:
    QueryName: x
  condition: s
`

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func load(t *testing.T, paths ...string) *ruleset.Set {
	t.Helper()
	set, err := ruleset.Load(ruleset.Options{Rules: paths})
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// TestMeasure holds the counts of rules and correlations, in any order of input.
func TestMeasure(t *testing.T) {
	set := load(t, write(t, "rules.yml", rules))
	if len(set.Problems) > 0 {
		t.Fatal(set.Problems)
	}
	var lines []string
	for i := range 10 {
		lines = append(lines, fmt.Sprintf(record, i+1, i, []string{"a", "b"}[i%2]))
	}
	for range 2 {
		slices.Reverse(lines)
		res, err := rulestat.Measure(t.Context(), set, []string{write(t, "e.ndjson", strings.Join(lines, ""))}, rulestat.Options{Sample: 4})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, r := range res.Rows {
			got = append(got, fmt.Sprintf("%s %t hits=%d records=%d sampled=%d", r.Rule.Title, r.Correlation, r.Hits, r.Records, r.Sampled))
			if r.Cost < 0 || r.Sampled == 0 && r.Cost != 0 {
				t.Errorf("%s: cost %v", r.Rule.Title, r.Cost)
			}
		}
		want := []string{
			"Fires false hits=5 records=10 sampled=4",
			"Elsewhere false hits=0 records=0 sampled=0",
			"Often true hits=1 records=0 sampled=0",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	}
}

// TestPublicSet holds on real recordings that no rule that fires was said to be
// blind, and that every hit is of a record that was counted.
func TestPublicSet(t *testing.T) {
	dir := corpus.Dir(t, "evtx/evtx-to-mitre")
	set := load(t, corpus.Dir(t, "sigma/rules"))
	res, err := rulestat.Measure(t.Context(), set, []string{dir}, rulestat.Options{})
	if err != nil {
		t.Fatal(err)
	}
	sights, stats, _, err := rulestat.Visibility(t.Context(), set, []string{dir}, rulestat.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if stats != res.Stats || len(sights) != len(set.Rules) {
		t.Fatalf("%+v and %+v, %d sights of %d rules", stats, res.Stats, len(sights), len(set.Rules))
	}
	fired, blind := 0, 0
	for i, s := range sights {
		r := res.Rows[i]
		if r.Rule != s.Rule || r.Records != s.Records || r.Hits > r.Records {
			t.Errorf("%s: %d hits of %d records, %d seen", r.Rule.Title, r.Hits, r.Records, s.Records)
		}
		if r.Hits > 0 {
			fired++
		}
		if !s.Possible {
			blind++
			if r.Hits > 0 {
				t.Errorf("%s fires %d times and is said to be blind for want of %v", r.Rule.Title, r.Hits, s.Missing)
			}
			if (s.Records > 0) != (len(s.Missing) > 0) {
				t.Errorf("%s: %d records, missing %v", r.Rule.Title, s.Records, s.Missing)
			}
		}
	}
	t.Logf("%d of %d rules fired, %d were blind", fired, len(sights), blind)
	if fired < 50 || blind < 50 {
		t.Errorf("only %d fired and %d were blind", fired, blind)
	}
}

func TestNavigator(t *testing.T) {
	many := []*detect.Rule{{ID: "x", Title: "X", Attack: []string{"T1548", "T1548.002", "nonsense"}, Tactics: []string{"b", "a"}, Severity: detect.High}, {ID: "none"}}
	for i := range 12 {
		many = append(many, &detect.Rule{ID: fmt.Sprintf("r%02d", i), Title: fmt.Sprintf("R %d", i), Attack: []string{"T1003"}, Tactics: []string{"a"}})
	}
	list, untagged := rulestat.Techniques(many)
	if untagged != 1 || len(list) != 3 || list[0].ID != "T1003" || list[1].Highest != detect.High || !slices.Equal(list[1].Tactics, []string{"a", "b"}) {
		t.Fatalf("%d untagged, %+v", untagged, list)
	}
	var out bytes.Buffer
	if err := rulestat.Navigator(&out, "mine", list); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(out.String(), rulestat.NavigatorBegins) {
		t.Errorf("begins %.40q", out.String())
	}
	var layer struct {
		Name, Domain string
		Versions     struct{ Layer string }
		Gradient     struct{ MinValue, MaxValue int }
		Techniques   []struct {
			TechniqueID, Comment string
			Score                int
			Enabled              bool
			ShowSubtechniques    bool
		}
	}
	if err := json.Unmarshal(out.Bytes(), &layer); err != nil {
		t.Fatal(err)
	}
	if layer.Domain != "enterprise-attack" || layer.Versions.Layer != "4.5" || layer.Gradient.MaxValue != 12 || len(layer.Techniques) != 3 {
		t.Fatalf("%+v", layer)
	}
	if a := layer.Techniques[0]; a.Score != 12 || !strings.HasSuffix(a.Comment, "and 2 more") || !a.Enabled || a.ShowSubtechniques {
		t.Errorf("%+v", a)
	}
	if b := layer.Techniques[1]; b.TechniqueID != "T1548" || !b.ShowSubtechniques {
		t.Errorf("%+v", b)
	}
}
