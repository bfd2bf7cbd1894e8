package sigma_test

import (
	"strings"
	"testing"
	"time"

	"ashiato/internal/sigma"
)

func TestParseRegression(t *testing.T) {
	info, err := sigma.ParseRegression("info.yml", []byte(`id: x
description: N/A
rule_metadata:
    - id: 8a2f4b1c-3d5e-4f7a-9b2c-1e4f6d8a9c2b
      title: A rule
regression_tests_info:
    - name: Positive Detection Test
      type: evtx
      provider: Microsoft-Windows-Sysmon
      match_count: 0
      path: a/b.evtx
    - path: c.json
`))
	if err != nil {
		t.Fatal(err)
	}
	if len(info.Rules) != 1 || info.Rules[0].Title != "A rule" || len(info.Tests) != 2 {
		t.Fatalf("%+v", info)
	}
	if a, b := info.Tests[0], info.Tests[1]; a.MatchCount == nil || *a.MatchCount != 0 || a.Path != "a/b.evtx" || b.MatchCount != nil || b.Name != "" {
		t.Errorf("%+v", info.Tests)
	}
	for _, test := range []struct{ text, want string }{
		{"regression_tests_info: [{name: x}]\nrule_metadata: [{id: x}]", "info.yml:1:26: the test has no path"},
		{"regression_tests_info: [{path: x, match_count: -1}]\nrule_metadata: [{id: x}]", `match_count is "-1"`},
		{"regression_tests_info: [{path: x}]", "rule_metadata names no rule"},
		{"regression_tests_info: [{path: x}]\nrule_metadata: [{title: x}]", "the rule has no id"},
		{"regression_tests_info: 1", "must be a list"},
		{"- x", "not a description"},
		{"\tx", "not a description"},
		{strings.Repeat("[", 60_000), "nested more than"},
		{strings.Repeat("- ", 30_000), "nested more than"},
	} {
		if _, err := sigma.ParseRegression("info.yml", []byte(test.text)); err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%.40q: %v, want %q", test.text, err, test.want)
		}
	}
}

func FuzzParseRegression(f *testing.F) {
	f.Add([]byte("rule_metadata: [{id: x}]\nregression_tests_info: [{path: x, match_count: 1}]"))
	f.Add([]byte("a: &a [*a]\n---\n!!binary x"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 4<<10 {
			return
		}
		start := time.Now()
		info, err := sigma.ParseRegression("info.yml", data)
		if spent := time.Since(start); spent > 10*time.Second {
			t.Fatalf("took %v", spent)
		}
		if err != nil {
			if info != nil || strings.Contains(err.Error(), "\n") {
				t.Fatalf("%v with %+v", err, info)
			}
			return
		}
		for _, x := range info.Tests {
			if x.Path == "" || len(info.Rules) == 0 || x.MatchCount != nil && *x.MatchCount < 0 {
				t.Fatalf("accepted %+v", info)
			}
		}
	})
}
