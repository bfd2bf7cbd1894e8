package detect_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ashiato/internal/detect"
	"ashiato/internal/event"
	"ashiato/internal/i18n"
	"ashiato/internal/ioc"
	"ashiato/internal/sigma"
	"ashiato/internal/sigma/correlation"
)

func engine(t *testing.T, rules, list string) *detect.Engine {
	t.Helper()
	parsed, errs := sigma.Parse("rules/r.yml", []byte(rules))
	compiled, more := sigma.Compile(parsed, sigma.Options{})
	indicators, bad := ioc.Parse("l.csv", strings.NewReader(list))
	if errs = slices.Concat(errs, more, bad); len(errs) > 0 {
		t.Fatal(errs)
	}
	return detect.New(compiled, ioc.New(indicators))
}

const twoRules = `title: Second by id
id: 22222222-0000-4000-8000-000000000000
logsource: {category: process_creation, product: windows}
detection: {s: {Image|endswith: '\a.exe', CommandLine|contains: go}, condition: s}
---
title: First by id
id: 11111111-0000-4000-8000-000000000000
description: " text "
tags: [attack.t1059, attack.execution]
level: critical
logsource: {product: windows}
detection: {s: {Image|contains: a}, condition: s}
ashiato:
  name: Execution/Ashiato.Test.M1
  aliases: [Execution/Other.Test.M2]
  behaviour: test
  texts: {ja: {title: 題, meaning: 意, check: 確, benign: 良, action: 行}}
`

func TestDetect(t *testing.T) {
	e := engine(t, twoRules, "607ac6645be22077443b74cf38b92ce0,the miner\n")
	ev := &event.Event{Kind: event.ProcessCreate, Data: event.Fields{
		{Name: "CommandLine", Value: "a.exe GO"}, {Name: "Image", Value: `C:\A.exe`}, {Name: "Hashes", Value: "MD5=607AC6645BE22077443B74CF38B92CE0"},
	}}
	first := detect.Detection{Event: &event.Event{}, Rule: &detect.Rule{ID: "kept"}}
	got := e.Worker().Detect(ev, []detect.Detection{first})
	if len(got) != 4 || got[0].Rule.ID != "kept" {
		t.Fatalf("got %+v", got)
	}
	want := []detect.Rule{
		{
			ID: "11111111-0000-4000-8000-000000000000", Name: "Execution/Ashiato.Test.M1", Aliases: []string{"Execution/Other.Test.M2"},
			Title: "First by id", Description: "text", Severity: detect.Critical, Attack: []string{"T1059"}, Tactics: []string{"execution"},
			Behaviour: "test", Source: "rules/r.yml",
			Texts: detect.Texts{"ja": {Title: "題", Meaning: "意", Check: "確", Benign: "良", Action: "行"}},
		},
		{ID: "22222222-0000-4000-8000-000000000000", Name: "Second by id", Title: "Second by id", Severity: detect.Medium, Source: "rules/r.yml"},
	}
	for i, w := range want {
		if d := cmp.Diff(w, *got[i+1].Rule); d != "" {
			t.Error(d)
		}
	}
	if d := cmp.Diff([]detect.Matched{{Field: "Image", Value: `C:\A.exe`}, {Field: "CommandLine", Value: "a.exe GO"}}, got[2].Matched); d != "" {
		t.Error(d)
	}
	r := got[3].Rule
	if r.ID != "ioc:md5:607ac6645be22077443b74cf38b92ce0" || r.Severity != detect.High || r.Source != "l.csv" || r.Description != "the miner" {
		t.Errorf("%+v", r)
	}
	if d := cmp.Diff([]detect.Matched{{Field: "Hashes", Value: "MD5=607AC6645BE22077443B74CF38B92CE0"}}, got[3].Matched); d != "" {
		t.Error(d)
	}
	for i := range got[1:] {
		if got[i+1].Event != ev {
			t.Error("a detection without its event")
		}
	}
}

// TestIndicatorTexts holds that every kind of indicator speaks all languages.
func TestIndicatorTexts(t *testing.T) {
	list := `607ac6645be22077443b74cf38b92ce0
da39a3ee5e6b4b0d3255bfef95601890afd80709
e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
10.0.0.1
10.0.0.0/8
evil.example
http://evil.example/
C:\x.exe
x.exe,filename
x1,service
x2,task
Bad Corp,signer
`
	e := engine(t, twoRules, list)
	kinds := map[string]bool{}
	for _, r := range e.Rules() {
		if !strings.HasPrefix(r.ID, "ioc:") {
			continue
		}
		kinds[strings.Split(r.ID, ":")[1]] = true
		if r.Name == "" || r.Behaviour == "" {
			t.Errorf("%s: %+v", r.ID, r)
		}
		for _, lang := range i18n.Langs() {
			x := r.Texts[string(lang)]
			for _, s := range []string{x.Title, x.Meaning, x.Why, x.Check, x.Benign, x.Action} {
				if s == "" || strings.HasPrefix(s, "ioc.") || strings.Contains(s, "{") {
					t.Errorf("%s in %s: %q", r.ID, lang, s)
				}
			}
		}
	}
	if len(kinds) != len(ioc.Kinds()) {
		t.Errorf("kinds %v", kinds)
	}
}

func TestEitherPartMayBeMissing(t *testing.T) {
	ev := &event.Event{Data: event.Fields{{Name: "Image", Value: "a"}, {Name: "DestinationIp", Value: "10.0.0.1"}}}
	if got := detect.New(nil, nil).Worker().Detect(ev, nil); len(got) != 0 {
		t.Errorf("%v", got)
	}
	list, _ := ioc.Parse("l", strings.NewReader("10.0.0.1"))
	if got := detect.New(nil, ioc.New(list)).Worker().Detect(ev, nil); len(got) != 1 {
		t.Errorf("%v", got)
	}
}

// TestIndicatorRulesAreMadeOnce holds that an indicator has one Rule, whichever
// worker hits it first, and that it is the one that Rules lists.
func TestIndicatorRulesAreMadeOnce(t *testing.T) {
	e := engine(t, twoRules, "10.0.0.1\n10.0.0.2\n10.0.0.1\n")
	if n := e.Len(); n != 4 || len(e.Rules()) != n {
		t.Errorf("%d rules, %d listed", n, len(e.Rules()))
	}
	e = engine(t, twoRules, "10.0.0.1\n10.0.0.2\n")
	const workers = 8
	hits := make(chan *detect.Rule, workers)
	for range workers {
		go func() {
			ev := &event.Event{Data: event.Fields{{Name: "DestinationIp", Value: "10.0.0.1"}}}
			d := e.Worker().Detect(ev, nil)
			hits <- d[len(d)-1].Rule
		}()
	}
	want := e.Rules()[2]
	for range workers {
		if r := <-hits; r != want || r.ID != "ioc:ip:10.0.0.1" {
			t.Errorf("%p %s, want %p", r, r.ID, want)
		}
	}
	if detect.New(nil, nil).Len() != 0 {
		t.Error("an empty engine counts rules")
	}
}

func TestWorkersAreIndependent(t *testing.T) {
	e := engine(t, twoRules, "10.0.0.1")
	done := make(chan int)
	for range 4 {
		go func() {
			w, n := e.Worker(), 0
			for i := range 500 {
				ev := &event.Event{Kind: event.ProcessCreate, Data: event.Fields{{Name: "Image", Value: []string{"a", "b"}[i%2]}}}
				n += len(w.Detect(ev, nil))
			}
			done <- n
		}()
	}
	for range 4 {
		if n := <-done; n != 250 {
			t.Errorf("%d detections", n)
		}
	}
}

// TestCorrelated holds that what only a correlation hears makes no detection of
// its own, and that a correlation's detection cites all it rests on.
func TestCorrelated(t *testing.T) {
	const rules = `title: Base
name: base
logsource: {category: process_creation}
detection: {s: {Image: a}, condition: s}
---
title: Twice
name: twice
level: critical
correlation: {type: event_count, rules: [base], group-by: [User], timespan: 1m, condition: {gte: 2}%s}
`
	for generate, want := range map[string]int{"": 0, ", generate: true": 2} {
		var c sigma.Collection
		errs := c.Parse("r.yml", []byte(strings.Replace(rules, "%s", generate, 1)))
		compiled, more := sigma.Compile(c.Rules, sigma.Options{})
		list, bad := sigma.Correlate(c.Correlations, compiled.Rules(), sigma.CorrelateOptions{})
		if errs = slices.Concat(errs, more, bad); len(errs) > 0 {
			t.Fatal(errs)
		}
		e := detect.NewCorrelating(compiled, list, nil)
		w, st := e.Worker(), e.Correlations().State(correlation.Limits{})
		var alone []detect.Detection
		var events []*event.Event
		for i := range 2 {
			ev := &event.Event{
				Kind: event.ProcessCreate, Time: time.Unix(int64(i), 0), Ref: event.EvidenceRef{RecordID: uint64(i + 1)},
				Data: event.Fields{{Name: "Image", Value: "a"}, {Name: "User", Value: "bob"}},
			}
			events = append(events, ev)
			found, told := w.Observe(ev, nil, nil, nil)
			alone = append(alone, found...)
			if again := w.Detect(ev, nil); len(again) != len(found) {
				t.Errorf("Detect finds %d, Observe %d", len(again), len(found))
			}
			for _, o := range told {
				st.Add(o)
			}
		}
		if len(alone) != want {
			t.Errorf("%q: %d detections of the base rule, want %d", generate, len(alone), want)
		}
		got := e.Correlated(st.Close(), nil)
		if len(got) != 1 {
			t.Fatalf("%d detections of the correlation", len(got))
		}
		d := got[0]
		if d.Rule.Severity != detect.Critical || d.Event != events[1] || d.Count != 2 || !d.First.Equal(events[0].Time) || !d.Last.Equal(events[1].Time) ||
			!slices.Equal(d.Records(), events) || !slices.Equal(d.Refs(), []event.EvidenceRef{events[0].Ref, events[1].Ref}) {
			t.Errorf("%+v", d)
		}
		if diff := cmp.Diff([]detect.Matched{{Field: "User", Value: "bob"}, {Field: "Image", Value: "a"}}, d.Matched); diff != "" {
			t.Error(diff)
		}
	}
}
