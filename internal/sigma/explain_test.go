package sigma_test

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"ashiato/internal/corpus"
	"ashiato/internal/event"
	"ashiato/internal/normalize"
	"ashiato/internal/sigma"
	"ashiato/internal/source/evtx"
)

func oneRule(t testing.TB, text string) *sigma.Rule {
	t.Helper()
	rules, errs := sigma.Parse("rule.yml", []byte(text))
	if len(errs) > 0 || len(rules) != 1 {
		t.Fatalf("%d rules, %v\n%s", len(rules), errs, text)
	}
	return rules[0]
}

func processEvent(fields ...string) *event.Event {
	e := &event.Event{Provider: "Microsoft-Windows-Sysmon", Channel: "Microsoft-Windows-Sysmon/Operational", ID: 1}
	for i := 0; i+1 < len(fields); i += 2 {
		e.Data = append(e.Data, event.Field{Name: fields[i], Value: fields[i+1]})
	}
	normalize.Event(e)
	return e
}

func processRule(detection string) string {
	return "title: t\nlogsource: {category: process_creation, product: windows}\ndetection:\n" + detection
}

// TestExplainNames holds that the parts of a condition go by their searches'
// names, and only those.
func TestExplainNames(t *testing.T) {
	text := processRule(`
  sel_a:
    Image|endswith: '\a.exe'
    User: x
  sel_b:
    - CommandLine|contains: one
    - CommandLine|contains: two
  words:
    - needle
  condition: 1 of sel_* and not words
`)
	x, err := sigma.NewExplainer(oneRule(t, text), sigma.Options{}, []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	ex := x.Explain(processEvent("Image", `C:\a.exe`, "User", "y", "CommandLine", "three needle"))
	var show func(s *sigma.Step) string
	show = func(s *sigma.Step) string {
		out := fmt.Sprintf("%s/%s=%t", s.Op, s.Search, s.Holds)
		if len(s.Kids) > 0 {
			var kids []string
			for _, k := range s.Kids {
				kids = append(kids, show(k))
			}
			out += "(" + strings.Join(kids, " ") + ")"
		}
		return out
	}
	got := show(ex.Conditions[0])
	want := "and/=false(or/=false(and/sel_a=false(item/sel_a=true item/sel_a=false) or/sel_b=false(item/sel_b=false item/sel_b=false)) not/=false(item/words=true))"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	// One of the two fields of sel_a (or one of sel_b), and the keyword.
	if ex.Distance != 2 || len(ex.Decisive) != 2 || ex.Holds || !ex.Source {
		t.Errorf("distance %d, decisive %d, holds %t, source %t", ex.Distance, len(ex.Decisive), ex.Holds, ex.Source)
	}
	if w := ex.Conditions[0].Kids[1].Kids[0].Item; w.FoundCount != 1 || w.Found[0].Name != "CommandLine" {
		t.Errorf("the keyword was found in %v", w.Found)
	}
}

// TestExplainNear holds what is said of values that do not hold.
func TestExplainNear(t *testing.T) {
	e := processEvent("Image", `C:\Windows\System32\cmd.exe`, "CommandLine", "cmd /c whoami", "ProcessId", "x1", "SourceIp", "here", "UtcTime", "soon")
	for _, test := range []struct{ item, near, note string }{
		{`Image|endswith: '\System32\cmd.com'`, `\System32\cmd.`, ""},
		{`Image|startswith: '\System32'`, "", "the text is there, but not in that place"},
		{`Image|contains|cased: CMD`, "", "only the letter case differs"},
		{`ProcessId|gt: 5`, "", "the event's value is not a number"},
		{`SourceIp|cidr: 10.0.0.0/8`, "", "the event's value is not an address"},
		{`UtcTime|hour: 5`, "", "the event's value is not a date"},
		{`Image|fieldref: Nothing`, "", "the event has no field Nothing"},
		{`Image: null`, "", "the event has the field"},
		{`Nothing: x`, "", "the event has no such field"},
		{`CommandLine|contains: zz`, "", ""},
	} {
		text := processRule("  s:\n    " + test.item + "\n  condition: s\n")
		x, err := sigma.NewExplainer(oneRule(t, text), sigma.Options{}, []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		ex := x.Explain(e)
		v := ex.Decisive[0].Values[0]
		if ex.Holds || v.Near != test.near || v.Note != test.note {
			t.Errorf("%s: holds %t, near %q, note %q", test.item, ex.Holds, v.Near, v.Note)
		}
	}
}

// TestPublicRulesExplained holds, on the public regression data, that an
// explanation always agrees with Reference, and that no rule that fires is said
// to be blind or never to match.
func TestPublicRulesExplained(t *testing.T) {
	root := corpus.Dir(t, "sigma/regression_data")
	all, _ := loadPublic(t)
	engine, _ := sigma.Compile(all, sigma.Options{})
	rules := engine.Rules()
	never := map[*sigma.Rule]bool{}
	explainers := map[*sigma.Rule]*sigma.Explainer{}
	for _, r := range rules {
		x, err := sigma.NewExplainer(r, sigma.Options{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		explainers[r] = x
		for _, w := range r.Lint() {
			never[r] = never[r] || strings.Contains(w.Msg, "never match")
		}
	}
	m := engine.Matcher()
	fired, checked := 0, 0
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".evtx" {
			return err
		}
		var seen sigma.Telemetry
		events := readEvents(t, (&evtx.Reader{}).Read, path)
		for _, e := range events {
			seen.Add(e)
		}
		for i, e := range events {
			holds := map[*sigma.Rule]bool{}
			for _, got := range m.Match(e, nil) {
				holds[got.Rule] = true
				fired++
				if never[got.Rule] {
					t.Errorf("%s: %q fires and was said never to match", path, got.Rule.Title)
				}
				if s := explainers[got.Rule].Sees(&seen); !s.Possible || s.Records == 0 {
					t.Errorf("%s: %q fires and was said to be blind: %+v", path, got.Rule.Title, s)
				}
			}
			for j, r := range rules {
				if !r.Applies(e) || !holds[r] && (i > 2 || j%23 != 0) {
					continue
				}
				checked++
				ex := explainers[r].Explain(e)
				if ex.Holds != holds[r] || (ex.Distance == 0) != holds[r] || explainers[r].Distance(e) != ex.Distance {
					t.Errorf("%s: %q: explained as %t at distance %d, it is %t", path, r.Title, ex.Holds, ex.Distance, holds[r])
				}
				if ex.Distance > 0 && len(ex.Decisive) > ex.Distance {
					t.Errorf("%s: %q: %d items decide a distance of %d", path, r.Title, len(ex.Decisive), ex.Distance)
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d matches, %d explanations", fired, checked)
	if fired < 90 || checked < 1000 {
		t.Errorf("only %d matches and %d explanations", fired, checked)
	}
}

func TestLint(t *testing.T) {
	for _, test := range []struct {
		name, detection string
		want            string // in a warning; "" for none
	}{
		{"a search and its negation", "  s:\n    Image: a\n  condition: s and not s\n", "never match"},
		{"the same text twice", "  s:\n    Image: a\n  f:\n    Image: a\n  condition: s and not f\n", "never match"},
		{"a filter that takes all", "  s:\n    Image|endswith: '\\a.exe'\n  f:\n    Image|contains: '.EXE'\n  condition: s and not f\n", "never match"},
		{"a filter that takes each value", "  s:\n    Image: [ab, ac]\n  f:\n    Image: [ab*, a?c, ac]\n  condition: s and not f\n", "never match"},
		{"a filter that takes one value", "  s:\n    Image: [ab, ac]\n  f:\n    Image: ab\n  condition: s and not f\n", ""},
		{"a filter in its letters", "  s:\n    Image: ab\n  f:\n    Image|cased: ab\n  condition: s and not f\n", ""},
		{"a filter with more fields", "  s:\n    Image: ab\n  f:\n    Image: ab\n    User: x\n  condition: s and not f\n", ""},
		{"null and a value", "  s:\n    Image: a\n  f:\n    Image: null\n  condition: s and f\n", "never match"},
		{"absent and a value", "  s:\n    Image: a\n  f:\n    Image|exists: false\n  condition: all of them\n", "never match"},
		{"not null and absent", "  s:\n    Image: null\n  f:\n    Image|exists: false\n  condition: not s and f\n", "never match"},
		{"null or a value", "  s:\n    Image: a\n  f:\n    Image: [null, b]\n  condition: s and f\n", ""},
		{"two values", "  s:\n    Image: a\n  f:\n    Image: b\n  condition: s and f\n", ""},
		{"one way is open", "  s:\n    Image: a\n  f:\n    User: b\n  condition: (s and not s) or f\n", ""},
		{"no way is open", "  s:\n    Image: a\n  f:\n    User: b\n  condition: (s and not s) or (f and not f)\n", "never match"},
		{"another condition", "  s:\n    Image: a\n  condition:\n    - s and not s\n    - s\n", ""},
		{"a question mark for a star", "  s:\n    Image: 'a*b'\n  f:\n    Image: 'a?b'\n  condition: s and not f\n", ""},
		{"letter case of a field", "  s:\n    image: a\n  condition: s\n", "did you mean Image?"},
		{"a letter of a field", "  s:\n    CommandLines: a\n  condition: s\n", "did you mean CommandLine?"},
		{"a field of other records", "  s:\n    QueryName: a\n  condition: s\n", "have no field QueryName, so the rule cannot match them"},
		{"a field of other records beside one", "  s:\n    - QueryName: a\n    - Image: a\n  condition: s\n", "have no field QueryName, so this part of the rule never holds"},
		{"a field of other records in a filter", "  s:\n    Image: a\n  f:\n    QueryName: a\n  condition: s and not f\n", "have no field QueryName, so this exclusion never applies"},
		{"a negated filter twice", "  s:\n    Image: a\n  f:\n    QueryName: a\n  condition: s and not (not f)\n", "have no field QueryName, so the rule cannot match them"},
		{"absence of such a field", "  s:\n    QueryName: null\n    Image: a\n  condition: s\n", ""},
		{"fields of both logs", "  s:\n    NewProcessName: a\n    OriginalFileName: b\n    EventID: 1\n  condition: s\n", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			var got []string
			for _, w := range oneRule(t, processRule(test.detection)).Lint() {
				if w.Line == 0 || w.Column == 0 {
					t.Errorf("%v has no place", w)
				}
				got = append(got, w.Error())
			}
			switch {
			case test.want == "" && len(got) > 0:
				t.Errorf("unexpected: %v", got)
			case test.want != "" && (len(got) != 1 || !strings.Contains(got[0], test.want)):
				t.Errorf("got %v, want %q", got, test.want)
			}
		})
	}
}

// TestCertainties holds on random rules and events that a rule which is said
// never to match, or to be blind to a set of records, does not match, and that
// an explanation agrees with Reference.
func TestCertainties(t *testing.T) {
	never, blind := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		field := rapid.SampledFrom([]string{"Image", "User"})
		value := rapid.SampledFrom([]string{"a", "A", "ab", "b", "*a", "a*", "a?", "*", "''", "null", "1"})
		mod := rapid.SampledFrom([]string{"", "", "|contains", "|endswith", "|cased", "|exists", "|neq", "|gt", "|windash"})
		var b strings.Builder
		n := rapid.IntRange(1, 4).Draw(t, "searches")
		for i := range n {
			m, v := mod.Draw(t, "modifier"), value.Draw(t, "value")
			switch m {
			case "|exists":
				v = rapid.SampledFrom([]string{"true", "false"}).Draw(t, "exists")
			case "|gt":
				v = "0"
			default:
				if m != "" && v == "null" {
					v = "a"
				}
			}
			if v != "''" && v != "null" && v != "true" && v != "false" && v != "0" {
				v = "'" + v + "'"
			}
			list := v
			if m != "|exists" && m != "|gt" && v != "null" && rapid.Bool().Draw(t, "list") {
				list = "[" + v + ", 'b']"
				m += rapid.SampledFrom([]string{"", "|all"}).Draw(t, "all")
			}
			fmt.Fprintf(&b, "  s%d:\n    %s%s: %s\n", i, field.Draw(t, "field"), m, list)
		}
		condition := ""
		for i := range rapid.IntRange(1, 5).Draw(t, "terms") {
			if i > 0 {
				condition += rapid.SampledFrom([]string{" and ", " and ", " or "}).Draw(t, "join")
			}
			condition += rapid.SampledFrom([]string{"", "not "}).Draw(t, "not") + fmt.Sprintf("s%d", rapid.IntRange(0, n-1).Draw(t, "term"))
		}
		text := processRule(b.String() + "  condition: " + condition + "\n")
		rules, errs := sigma.Parse("r.yml", []byte(text))
		if len(errs) > 0 {
			t.Skip(errs)
		}
		r := rules[0]
		x, err := sigma.NewExplainer(r, sigma.Options{}, []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		said := false
		for _, w := range r.Lint() {
			said = said || strings.Contains(w.Msg, "never match")
		}
		var events []*event.Event
		var seen sigma.Telemetry
		for range rapid.IntRange(1, 6).Draw(t, "events") {
			var fields []string
			for range rapid.IntRange(0, 3).Draw(t, "fields") {
				fields = append(fields, field.Draw(t, "name"), rapid.SampledFrom([]string{"", "a", "A", "ab", "b", "aab", "1", "-a"}).Draw(t, "data"))
			}
			e := processEvent(fields...)
			events = append(events, e)
			seen.Add(e)
		}
		sight := x.Sees(&seen)
		if said {
			never++
		}
		if !sight.Possible {
			blind++
		}
		ref := sigma.NewReference([]*sigma.Rule{r}, sigma.Options{})
		for _, e := range events {
			holds := len(ref.Match(e)) > 0
			if holds && said {
				t.Fatalf("never matches, and matches %v:\n%s", e.Data, text)
			}
			if holds && !sight.Possible {
				t.Fatalf("blind for want of %v, and matches %v:\n%s", sight.Missing, e.Data, text)
			}
			if ex := x.Explain(e); ex.Holds != holds || x.Distance(e) != ex.Distance {
				t.Fatalf("explained as %t, is %t: %v\n%s", ex.Holds, holds, e.Data, text)
			}
		}
	})
	t.Logf("%d rules never match, %d were blind", never, blind)
	if never == 0 || blind == 0 {
		t.Errorf("%d rules never match, %d were blind: the generator has lost its point", never, blind)
	}
}

// TestTelemetryIgnoresOrder holds that what is missing does not depend on the
// order of records.
func TestTelemetryIgnoresOrder(t *testing.T) {
	text := processRule("  s:\n    Hashes: a\n    User: b\n    CommandLine: c\n  condition: s\n")
	x, err := sigma.NewExplainer(oneRule(t, text), sigma.Options{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	security := &event.Event{Provider: "Microsoft-Windows-Security-Auditing", Channel: "Security", ID: 4688, Data: event.Fields{{Name: "CommandLine", Value: "c"}, {Name: "SubjectUserName", Value: "b"}}}
	normalize.Event(security)
	events := []*event.Event{processEvent("User", "b", "CommandLine", "c"), security}
	for range 20 {
		var a, b sigma.Telemetry
		a.Add(events[0])
		a.Add(events[1])
		b.Add(events[1])
		b.Add(events[0])
		for _, s := range []sigma.Sight{x.Sees(&a), x.Sees(&b)} {
			if s.Possible || s.Records != 2 || len(s.Missing) != 1 || s.Missing[0] != "Hashes" {
				t.Fatalf("%+v", s)
			}
		}
	}
}
