package ruletest_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ashiato/internal/detect"
	"ashiato/internal/event"
	"ashiato/internal/ruletest"
	"ashiato/internal/sigma"
)

const good = `# comment
test positive "it fires"
  # comment
event Microsoft-Windows-Sysmon/1 computer="PC 1" time=2026-02-03T04:05:06Z version=5 # comment
    Image: C:\Windows \a.exe
	CommandLine: ` + "`\"C:\\a b\" /x`" + `
    Padded: " a\t"
    Empty:
    Threat Name: x: y
event "Service Control Manager"/7045
expect r
expect "Class/Engine.Subject.M1"

test benign "it does not"
event X/1 channel=Y
expect none
`

func TestParse(t *testing.T) {
	f, errs := ruletest.Parse("d/r.test", []byte(good))
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	if len(f.Tests) != 2 || f.Tests[0].Name != "it fires" || f.Tests[0].Sort != ruletest.Positive || f.Tests[0].Line != 2 {
		t.Fatalf("%+v", f.Tests)
	}
	e := f.Tests[0].Events[0]
	want := event.Fields{
		{Name: "Image", Value: `C:\Windows \a.exe`},
		{Name: "CommandLine", Value: `"C:\a b" /x`},
		{Name: "Padded", Value: " a\t"},
		{Name: "Empty", Value: ""},
		{Name: "Threat Name", Value: "x: y"},
	}
	if d := cmp.Diff(want, e.Data); d != "" {
		t.Error(d)
	}
	if e.Provider != "Microsoft-Windows-Sysmon" || e.ID != 1 || e.Channel != "Microsoft-Windows-Sysmon/Operational" || e.Host != "PC 1" || e.Version != 5 || e.Logged.Year() != 2026 || e.Logged.Hour() != 4 {
		t.Errorf("%+v", e)
	}
	if e := f.Tests[0].Events[1]; e.Provider != "Service Control Manager" || e.Channel != "System" || e.ID != 7045 {
		t.Errorf("%+v", e)
	}
	if x := f.Tests[0].Expect; len(x) != 2 || x[1].Name != "Class/Engine.Subject.M1" || x[1].Line != 12 {
		t.Errorf("%+v", x)
	}
}

func TestParseErrors(t *testing.T) {
	const head = "test positive \"n\"\n"
	const event = "event X/1 channel=Y\n"
	for _, test := range []struct{ in, want string }{
		{"", "r.test:1: the file holds no test"},
		{"event X/1\n", `r.test:1: "event" stands before the first test`},
		{"  Image: x\n", "r.test:1: a field must follow an event"},
		{"test good \"n\"\n" + event + "expect a\n", "r.test:1: unknown sort of test \"good\""},
		{"test positive n\n" + event + "expect a\n", "r.test:1: the test needs a name in quotes"},
		{head + event, "r.test:1: the test \"n\" expects nothing"},
		{head + "expect a\n", "r.test:1: the test \"n\" has no event"},
		{head + event + "expect none\n", "r.test:1: the positive test \"n\" must expect a rule"},
		{"test benign \"n\"\n" + event + "expect a\n", "the benign test \"n\" must expect none"},
		{"test near-miss \"n\"\n" + event + "expect a\nexpect none\n", "expects both none and rules"},
		{head + event + "expect a b\n", "r.test:3: expect takes one rule"},
		{head + "event X\nexpect a\n", "r.test:2: event needs a provider and an id"},
		{head + "event X/one channel=Y\nexpect a\n", `r.test:2: "one" is no event id`},
		{head + "event X/1\nexpect a\n", `r.test:2: the provider "X" has no usual channel`},
		{head + "event X/1 chanel=Y\nexpect a\n", `r.test:2: unknown key "chanel"`},
		{head + "event X/1 channel=Y time=noon\nexpect a\n", "r.test:2: time needs the form"},
		{head + "event X/1 channel=Y level=300\nexpect a\n", "r.test:2: level needs a number of at most 8 bits"},
		{head + event + "  Image\nexpect a\n", "r.test:3: a field has the form NAME: VALUE"},
		{head + event + "  Image: \"C:\\a\" /x\nexpect a\n", "r.test:3: the value of Image begins with a quote"},
		{head + event + "expects a\n", `r.test:3: unknown word "expects"`},
		{head + event + "expect a\n" + head + event + "expect a\n", "r.test:4: line 1 has a test of the same name"},
		{"\xFF", "not UTF-8"},
	} {
		f, errs := ruletest.Parse("r.test", []byte(test.in))
		if len(errs) == 0 || !strings.Contains(errs[0].Error(), test.want) {
			t.Errorf("%q: got %v, want %s", test.in, errs, test.want)
		}
		if len(f.Tests) > 1 {
			t.Errorf("%q: a wrong test is kept", test.in)
		}
	}
}

func engine(t *testing.T) *detect.Engine {
	t.Helper()
	var rules []*sigma.Rule
	for name, value := range map[string]string{"d/r.yml": "one", "d/other.yml": "two"} {
		r, errs := sigma.Parse(name, []byte("title: "+value+"\nlogsource: {category: process_creation, product: windows}\ndetection: {s: {Image|contains: "+value+"}, condition: s}\n"))
		if len(errs) > 0 {
			t.Fatal(errs)
		}
		rules = append(rules, r...)
	}
	e, errs := sigma.Compile(rules, sigma.Options{})
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	return detect.New(e, nil)
}

func TestRun(t *testing.T) {
	e := engine(t)
	event := func(image string) string {
		return "event Microsoft-Windows-Security-Auditing/4688\n  NewProcessName: " + image + "\n"
	}
	for _, test := range []struct{ name, in, want string }{
		{"fires", "test positive \"n\"\n" + event("one") + "expect r\n", ""},
		{"by title", "test positive \"n\"\n" + event("one") + "expect one\n", ""},
		{"silent", "test benign \"n\"\n" + event("x") + "expect none\n", ""},
		{"another rule may fire", "test benign \"n\"\n" + event("two") + "expect none\n", ""},
		{"two rules", "test positive \"n\"\n" + event("one") + event("two") + "expect r\nexpect other\n", ""},
		{"did not fire", "test positive \"n\"\n" + event("x") + "expect r\n", "expected r (one) to fire, and it did not; no rule fired"},
		{"fired", "test near-miss \"n\"\n" + event("one") + "expect none\n", `r (one) fired and was not expected; it matched Image="one"`},
		{"unknown", "test positive \"n\"\n" + event("one") + "expect r\nexpect nobody\n", `line 5 expects "nobody", which no loaded rule is called`},
	} {
		f, errs := ruletest.Parse("d/r.test", []byte(test.in))
		if len(errs) > 0 {
			t.Fatalf("%s: %v", test.name, errs)
		}
		for range 2 { // running does not use the tests up
			res := ruletest.Run(e, f)
			if test.want == "" {
				if res.Passed != 1 || res.Failed != 0 || len(res.Failures) != 0 {
					t.Errorf("%s: %v", test.name, res)
				}
				continue
			}
			if res.Failed != 1 || len(res.Failures) != 1 || !strings.Contains(res.Failures[0].String(), test.want) || !strings.HasPrefix(res.Failures[0].String(), "d/r.test:1: test \"n\": ") {
				t.Errorf("%s: got %v, want %s", test.name, res, test.want)
			}
		}
	}
}

func TestWithoutARuleFileAllRulesCount(t *testing.T) {
	f, _ := ruletest.Parse("elsewhere/x.test", []byte("test benign \"n\"\nevent Microsoft-Windows-Sysmon/1\n  Image: two\nexpect none\n"))
	if res := ruletest.Run(engine(t), f); res.Failed != 1 {
		t.Errorf("%+v", res)
	}
}

func TestMissing(t *testing.T) {
	f, _ := ruletest.Parse("d/r.test", []byte("test positive \"n\"\nevent Microsoft-Windows-Sysmon/1\n  Image: one\nexpect r\n"))
	want := []string{
		"d/other.yml: no benign test", "d/other.yml: no near-miss test", "d/other.yml: no positive test",
		"d/r.yml: no benign test", "d/r.yml: no near-miss test",
	}
	if d := cmp.Diff(want, ruletest.Missing(engine(t), []*ruletest.File{f})); d != "" {
		t.Error(d)
	}
}

// FuzzParse holds that errors have their line and that kept tests are whole.
func FuzzParse(f *testing.F) {
	f.Add(good)
	f.Add("test benign \"n\"\nevent X/1 channel=`Y`\n  A: \"\\u0000\"\nexpect none\n")
	f.Fuzz(func(t *testing.T, text string) {
		file, errs := ruletest.Parse("f", []byte(text))
		lines := strings.Count(text, "\n") + 1
		for _, err := range errs {
			var e *ruletest.Error
			if !errors.As(err, &e) || e.Line < 1 || e.Line > lines || e.Msg == "" {
				t.Fatalf("%#v", err)
			}
		}
		for _, test := range file.Tests {
			if len(test.Events) == 0 || test.Name == "" || (test.Sort == ruletest.Positive) != (len(test.Expect) > 0) {
				t.Fatalf("%+v", test)
			}
			for _, e := range test.Events {
				if e.Provider == "" || e.Channel == "" {
					t.Fatalf("%+v", e)
				}
			}
		}
		if len(file.Tests)+len(errs) == 0 {
			t.Fatal("neither tests nor errors")
		}
	})
}

const correlated = `title: Failed
name: failed
logsource: {category: process_creation, product: windows}
detection: {s: {Image: bad}, condition: s}
---
title: Many
correlation: {type: event_count, rules: [failed], group-by: [User], timespan: 1m, condition: {gte: 3}}
`

// TestCorrelations holds that tests give events their times, and that a rule
// that only a correlation hears neither counts as fired nor can be expected.
func TestCorrelations(t *testing.T) {
	var c sigma.Collection
	errs := c.Parse("dir/many.yml", []byte(correlated))
	compiled, more := sigma.Compile(c.Rules, sigma.Options{})
	list, bad := sigma.Correlate(c.Correlations, compiled.Rules(), sigma.CorrelateOptions{})
	if errs = slices.Concat(errs, more, bad); len(errs) > 0 {
		t.Fatal(errs)
	}
	engine := detect.NewCorrelating(compiled, list, nil)
	event := func(at, user string) string {
		return "event Microsoft-Windows-Sysmon/1 at=" + at + "\n    Image: bad\n    User: " + user + "\n"
	}
	for _, test := range []struct{ name, events, want string }{
		{"in time", `test positive "x"` + "\n" + event("+1m", "a") + event("+0s", "A") + event("+30s", "a") + "expect many\n", ""},
		{"too slow", `test near-miss "x"` + "\n" + event("+0s", "a") + event("+31s", "a") + event("+61s", "a") + "expect none\n", ""},
		{"two users", `test near-miss "x"` + "\n" + event("+0s", "a") + event("+1s", "b") + event("+2s", "a") + "expect none\n", ""},
		{"a day", `test near-miss "x"` + "\n" + event("+1d", "a") + event("+1s", "a") + event("+2s", "a") + "expect none\n", ""},
		{"not found", `test positive "x"` + "\n" + event("+0s", "a") + "expect many\n", "expected many (Many) to fire, and it did not; no rule fired"},
		{"unexpected", `test near-miss "x"` + "\n" + event("+0s", "a") + event("+1s", "a") + event("+2s", "a") + "expect none\n", `many (Many) fired and was not expected; it matched User="a", Image="bad"`},
		{"a silent rule", `test positive "x"` + "\n" + event("+0s", "a") + "expect sigma:Failed\n", "heard only through a correlation"},
	} {
		f, errs := ruletest.Parse("dir/many.test", []byte(test.events))
		if len(errs) > 0 {
			t.Fatal(errs)
		}
		res := ruletest.Run(engine, f)
		switch {
		case test.want == "" && (res.Failed > 0 || res.Passed != 1):
			t.Errorf("%s: %v", test.name, res.Failures)
		case test.want != "" && (res.Failed != 1 || !strings.Contains(res.Failures[0].String(), test.want)):
			t.Errorf("%s: %v, want %s", test.name, res.Failures, test.want)
		}
	}
	for _, at := range []string{"10s", "+", "+-1s", "+x", "+1.5d", "+99999d"} {
		if _, errs := ruletest.Parse("x.test", []byte(`test positive "x"`+"\n"+event(at, "a")+"expect many\n")); len(errs) == 0 || !strings.Contains(errs[0].Error(), "at needs the form") {
			t.Errorf("%s: %v", at, errs)
		}
	}
}
