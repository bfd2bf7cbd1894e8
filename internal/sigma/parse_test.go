package sigma_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ashiato/internal/event"
	"ashiato/internal/sigma"
)

// TestRefusals holds that what is wrong or not supported is refused with its
// place and its reason, one fault a rule.
func TestRefusals(t *testing.T) {
	const head = "title: T\nlogsource: {category: process_creation}\n"
	s := func(item string) string { return head + "detection:\n  s:\n    " + item + "\n  condition: s\n" }
	condition := func(c string) string { return head + "detection:\n  s: {F: a}\n  condition: " + c + "\n" }
	for _, test := range []struct{ name, source, want string }{
		{"correlation", "title: C\ncorrelation:\n  type: event_count\n", `3:3: rule "C": the correlation names no rules`},
		{"filter", "title: C\nfilter:\n  rules: any\n", `1:1: rule "C": the rule has no logsource`},
		{"collection", "action: global\ntitle: C\n", `1:1: rule "C": rule collections (action: global) were dropped`},
		{"no title", "logsource: {product: windows}\n", "the rule has no title"},
		{"no logsource", "title: T\ndetection: {s: {F: a}, condition: s}\n", "the rule has no logsource"},
		{"empty logsource", "title: T\nlogsource: {}\ndetection: {s: {F: a}, condition: s}\n", "the log source is empty"},
		{"unknown category", "title: T\nlogsource: {category: process_creaton}\n", `2:13: rule "T": unknown category "process_creaton": did you mean "process_creation"?`},
		{"unknown service", "title: T\nlogsource: {product: windows, service: sysmn}\n", `unknown service "sysmn": did you mean "sysmon"?`},
		{"unknown product", "title: T\nlogsource: {product: plan9}\n", `unknown product "plan9"`},
		{"logsource key", "title: T\nlogsource: {produkt: windows}\n", `unknown key "produkt" in logsource`},
		{"no detection", head, "the rule has no detection"},
		{"misspelt key", head + "Detection: {}\n", `3:1: rule "T": unknown key "Detection" (did you mean "detection"?)`},
		{"no condition", head + "detection: {s: {F: a}}\n", "the detection has no condition"},
		{"level", head + "level: severe\n", `unknown level "severe"`},
		{"duplicate key", head + "title: U\n", "3:1"},
		{"unknown modifier", s("F|containz: a"), `5:5: rule "T": unknown modifier "containz" (did you mean "contains"?)`},
		{"modifier without a name near it", s("F|frobnicate: a"), `unknown modifier "frobnicate" (known are all, base64,`},
		{"modifier in capitals", s("F|Contains: a"), "modifiers are lower case: contains"},
		{"modifier twice", s("F|contains|contains: a"), "given twice"},
		{"all on one value", s("F|contains|all: a"), "all needs a list"},
		{"empty list", s("F: []"), "has no values"},
		{"nested list", s("F: [[a]]"), "must hold single values, not a list"},
		{"map as value", s("F: {a: b}"), "must hold single values, not a map"},
		{"null with modifier", s("F|contains: null"), "null cannot take a modifier"},
		{"null must all hold", s("F|all: [null, a]"), "can never hold"},
		{"exists", s("F|exists: maybe"), "exists takes true or false"},
		{"regular expression", s("F|re: '(?=a)'"), "the regular expression cannot be used"},
		{"back-reference", s(`F|re: '(a)\1'`), "the regular expression cannot be used"},
		{"flag without re", s("F|i: a"), "it must follow re"},
		{"re after contains", s("F|contains|re: a"), "re cannot follow contains"},
		{"contains after re", s("F|re|contains: a"), "contains cannot be applied to a regular expression"},
		{"cidr", s("F|cidr: 10.0.0.0/33"), "is not a network"},
		{"cidr with host bits", s("F|cidr: 10.0.0.1/8"), "write 10.0.0.0/8"},
		{"number", s("F|gt: many"), `gt needs a number, not "many"`},
		{"two orders", s("F|gt|lt: 1"), "lt cannot be applied to a number"},
		{"base64 of a wildcard", s("F|base64: 'a*'"), "cannot encode a value with wildcards"},
		{"base64 after contains", s("F|contains|base64: a"), "cannot encode a value with wildcards"},
		{"wide alone", s("F|wide: a"), "must be followed by base64"},
		{"expand without placeholder", s("F|expand: a"), "expand needs a %placeholder%"},
		{"expand without value", s("F|expand: '%unknown%'"), "the placeholder %unknown% has no value"},
		{"fieldref of a keyword", s("'|fieldref': a"), "cannot be applied to a keyword"},
		{"empty keyword", head + "detection: {s: ['']," + " condition: s}\n", "a keyword must not be empty"},
		{"empty search", head + "detection: {s: [], condition: s}\n", "the search s is empty"},
		{"search name", head + "detection: {'a b': {F: a}, condition: s}\n", "may hold only letters"},
		{"timeframe", head + "detection: {s: {F: a}, timeframe: 5m, condition: s}\n", "timeframe belongs to the aggregations"},
		{"aggregation", condition("s | count() > 5"), `5:16: rule "T": the condition holds an aggregation`},
		{"unknown search", condition("s and t"), `5:20: rule "T": the condition names "t"`},
		{"star without of", condition("s*"), "write 1 of s* or all of s*"},
		{"2 of", condition("2 of s*"), "Sigma knows 1 of"},
		{"of nothing", condition("1 of t*"), `no search of this rule is called like "t*"`},
		{"unclosed", condition("(s"), "a parenthesis is not closed"},
		{"unopened", condition("s)"), `unexpected ")"`},
		{"no operator", condition("s s"), "join with and or or"},
		{"operand missing", condition("s and"), "ends where a search is expected"},
		{"character", condition("s & s"), "unexpected character '&'"},
		{"deep condition", condition(strings.Repeat("(", 200) + "s" + strings.Repeat(")", 200)), "nested more than 100 levels"},
		{"deep flow", strings.Repeat("[", 100_000), "nested more than 100 levels"},
		{"deep blocks", strings.Repeat("- ", 100_000), "nested more than 100 levels"},
		{"not YAML", "a: [b\n", "not valid YAML"},
		{"UTF-16", "\xFF\xFEt\x00", "save it as UTF-8"},
		{"not UTF-8", "title: \xFF\n", "1:8"},
		{"no map", "just text\n", "a rule must be a map"},
		{"empty", "# nothing\n", "the file holds no rule"},
		{"alias to itself", "title: &a [*a]\n", "refers to itself"},
		{"alias without anchor", "title: *a\n", ""},
		{"ashiato key", head + "ashiato: {nam: A/B.C}\n", `unknown key "nam" in ashiato`},
		{"ashiato name", head + "ashiato: {name: 'a b'}\n", "is not a detection name"},
		{"ashiato language", head + "ashiato: {texts: {fr: {}}}\n", `unknown language "fr"`},
		{"ashiato text missing", head + "ashiato: {texts: {en: {title: a, meaning: b, check: c, benign: d}}}\n", "have no action"},
	} {
		t.Run(test.name, func(t *testing.T) {
			rules, errs := sigma.Parse("dir/t.yml", []byte(test.source))
			engine, more := sigma.Compile(rules, sigma.Options{})
			errs = append(errs, more...)
			if len(errs) != 1 || len(engine.Rules()) != 0 {
				t.Fatalf("%d rules, errors %v", len(engine.Rules()), errs)
			}
			if msg := errs[0].Error(); !strings.Contains(msg, test.want) || !strings.HasPrefix(msg, "dir/t.yml:") {
				t.Errorf("got  %s\nwant %s", msg, test.want)
			}
			var e *sigma.Error
			if !errors.As(errs[0], &e) || e.Line == 0 || e.Column == 0 {
				t.Errorf("no place in %#v", errs[0])
			}
		})
	}
}

func TestOneBadDocumentDoesNotStopTheOthers(t *testing.T) {
	good := "title: %s\nid: %s\nlogsource: {product: windows}\ndetection: {s: {F: a}, condition: s}\n"
	id := "00000000-0000-4000-8000-00000000000"
	source := fmt.Sprintf(good, "A", id+"1") + "---\ntitle: B\n---\n" + fmt.Sprintf(good, "C", id+"2") + "---\n" + fmt.Sprintf(good, "D", id+"1")
	rules, errs := sigma.Parse("t.yml", []byte(source))
	if len(rules) != 3 || len(errs) != 1 || !strings.Contains(errs[0].Error(), `rule "B"`) {
		t.Fatalf("%d rules, %v", len(rules), errs)
	}
	engine, errs := sigma.Compile(rules, sigma.Options{})
	if len(engine.Rules()) != 2 || len(errs) != 1 || !strings.Contains(errs[0].Error(), "already used by t.yml") {
		t.Errorf("%d rules, %v", len(engine.Rules()), errs)
	}
}

func TestMetadata(t *testing.T) {
	rules, errs := sigma.Parse("rules/x/mock-folder.yml", []byte(`title: T
id: 2b6f6c0a-6f0e-4d57-9a39-2a1f6d7c9e11
date: 2026-01-31
tags: [attack.T1548.002, attack.privilege_escalation, attack.t1036, attack.g0016, cve.2020-1472, attack.stealth]
logsource: {category: file_event, product: windows, definition: text}
detection: {s: {F: a}, unused: {F: b}, condition: s}
level: high
custom: {anything: goes}
ashiato:
  name: DefenseEvasion/Ashiato.MockFolder.M1001
  aliases: [DefenseEvasion/EDR.WindowDefender.M11093]
  behaviour: mock-folder
  texts:
    ja: {title: あ, meaning: い, why: え, check: う, benign: え, action: お}
`))
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	r := rules[0]
	if r.Base() != "mock-folder" || r.Date != "2026-01-31" || r.Level != "high" || r.Line != 1 {
		t.Errorf("%+v", r)
	}
	if want := []string{"T1036", "T1548.002"}; !slices.Equal(r.Attack, want) {
		t.Errorf("techniques %q", r.Attack)
	}
	if want := []string{"privilege-escalation", "stealth"}; !slices.Equal(r.Tactics, want) {
		t.Errorf("tactics %q", r.Tactics)
	}
	want := sigma.Extension{
		Name: "DefenseEvasion/Ashiato.MockFolder.M1001", Aliases: []string{"DefenseEvasion/EDR.WindowDefender.M11093"}, Behaviour: "mock-folder",
		Texts: map[string]sigma.Text{"ja": {Title: "あ", Meaning: "い", Why: "え", Check: "う", Benign: "え", Action: "お"}},
	}
	if d := cmp.Diff(want, r.Extension); d != "" {
		t.Error(d)
	}
	if len(r.Warnings) != 1 || !strings.Contains(r.Warnings[0].Msg, "unused") {
		t.Errorf("warnings %v", r.Warnings)
	}
}

// TestBounds holds that large and multiplying files end quickly, in a clear
// error or in a rule.
func TestBounds(t *testing.T) {
	var bomb strings.Builder
	bomb.WriteString("a: &a0 [x, x, x, x, x, x, x, x, x, x]\n")
	for i := range 12 {
		fmt.Fprintf(&bomb, "b%d: &a%d [%s]\n", i, i+1, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d, ", i), 10), ", "))
	}
	if _, errs := sigma.Parse("bomb.yml", []byte(bomb.String())); len(errs) != 1 || !strings.Contains(errs[0].Error(), "more than 200000 values") {
		t.Errorf("bomb: %v", errs)
	}
	if _, errs := sigma.Parse("big.yml", make([]byte, sigma.MaxFileSize+1)); len(errs) != 1 || !strings.Contains(errs[0].Error(), "more than the bound") {
		t.Errorf("big: %v", errs)
	}
	var many strings.Builder
	many.WriteString("title: T\nlogsource: {product: windows}\ndetection:\n  s:\n    F|contains:\n")
	for i := range 100_000 {
		fmt.Fprintf(&many, "      - 'value number %d, which is as long as values are'\n", i)
	}
	many.WriteString("  condition: s\n")
	rules, errs := sigma.Parse("many.yml", []byte(many.String()))
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	engine, _ := sigma.Compile(rules, sigma.Options{})
	e := &event.Event{Data: event.Fields{{Name: "F", Value: "a value number 99999, which is as long as values are, yes"}}}
	if got := engine.Matcher().Match(e, nil); len(got) != 1 {
		t.Errorf("got %v", got)
	}
}

func TestPlaceholdersAreBounded(t *testing.T) {
	rules, errs := sigma.Parse("t.yml", []byte("title: T\nlogsource: {product: windows}\ndetection: {s: {F|expand: '%a%%a%%a%'}, condition: s}\n"))
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	_, errs = sigma.Compile(rules, sigma.Options{Placeholders: map[string][]string{"a": make([]string, 100)}})
	if len(errs) != 1 || !strings.Contains(errs[0].Error(), "more than 10000 values") {
		t.Error(errs)
	}
}

// FuzzParse holds that every input gives rules or errors, that the errors have
// their place, and that the evaluators agree on what was accepted.
func FuzzParse(f *testing.F) {
	f.Add([]byte("title: T\nlogsource: {product: windows}\ndetection:\n  s:\n    F|contains|all: ['a*', \"b\"]\n    G: null\n  condition: not s\n"), "a", "b")
	f.Add([]byte("title: T\nlogsource: {product: windows}\ndetection:\n  s: &x\n    - F|re: 'a'\n    - G|base64offset|contains: abc\n  k: [word]\n  condition: 1 of s* and (k or s)\n---\n- x\n"), "a", "YWJj")
	f.Add([]byte("title: T\nlogsource: {category: antivirus}\ndetection:\n  s:\n    F|windash: ' -a'\n    G|cidr: 10.0.0.0/8\n    H|gte: 5\n  condition: s\n"), " /a", "10.1.1.1")
	f.Fuzz(func(t *testing.T, source []byte, a, b string) {
		rules, errs := sigma.Parse("f.yml", source)
		for _, err := range errs {
			var e *sigma.Error
			if !errors.As(err, &e) || e.File != "f.yml" || e.Line < 1 || e.Column < 1 || e.Msg == "" {
				t.Fatalf("error without place: %#v", err)
			}
		}
		if len(rules)+len(errs) == 0 {
			t.Fatal("neither rules nor errors")
		}
		engine, _ := sigma.Compile(rules, sigma.Options{})
		e := &event.Event{Kind: event.MalwareFound, Channel: "Security", Data: event.Fields{
			{Name: "F", Value: strings.ToValidUTF8(a, "\uFFFD")}, {Name: "G", Value: strings.ToValidUTF8(b, "\uFFFD")},
		}}
		got, want := fast(engine.Matcher(), e), slow(sigma.NewReference(engine.Rules(), sigma.Options{}), e)
		if !slices.Equal(got, want) {
			t.Fatalf("engine %q, reference %q", got, want)
		}
	})
}
