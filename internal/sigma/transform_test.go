package sigma_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"ashiato/internal/event"
	"ashiato/internal/sigma"
)

// collection parses sources, which must be right.
func collection(t testing.TB, sources ...string) *sigma.Collection {
	t.Helper()
	var c sigma.Collection
	for i, s := range sources {
		for _, err := range c.Parse(fmt.Sprintf("%d.yml", i), []byte(s)) {
			t.Fatal(err)
		}
	}
	return &c
}

// fired returns the titles of the rules that hold for an event, by both
// evaluations.
func fired(t testing.TB, c *sigma.Collection, e *event.Event) string {
	t.Helper()
	engine, errs := sigma.Compile(c.Rules, sigma.Options{})
	for _, err := range errs {
		t.Fatal(err)
	}
	var got, slow []string
	for _, m := range engine.Matcher().Match(e, nil) {
		got = append(got, m.Rule.Title)
	}
	for _, r := range sigma.NewReference(engine.Rules(), sigma.Options{}).Match(e) {
		slow = append(slow, r.Title)
	}
	if !slices.Equal(got, slow) {
		t.Errorf("engine %v, reference %v", got, slow)
	}
	return strings.Join(got, " ")
}

func process(fields ...string) *event.Event {
	e := &event.Event{Kind: event.ProcessCreate, Provider: "P", Channel: "C", ID: 1}
	for i := 0; i+1 < len(fields); i += 2 {
		e.Data = append(e.Data, event.Field{Name: fields[i], Value: fields[i+1]})
	}
	return e
}

const base = `title: R
id: 11111111-1111-4111-8111-111111111111
name: r
logsource: {category: process_creation, product: windows}
detection:
  selection_a: {F: a}
  selection_b: {F: b}
  condition: 1 of selection_*
`

func TestCorrelationFaults(t *testing.T) {
	const good = "  type: event_count\n  rules: [r]\n  timespan: 5m\n  condition: {gte: 2}\n"
	replace := func(old, with string) string { return "title: C\ncorrelation:\n" + strings.Replace(good, old, with, 1) }
	for _, test := range []struct{ name, source, want string }{
		{"unknown reference", replace("[r]", "[nobody]"), `1.yml:4:11: rule "C": no loaded rule has the id or name "nobody"`},
		{"unknown type", replace("event_count", "event_sum"), `1.yml:3:9: rule "C": unknown correlation type "event_sum"`},
		{"no type", replace("  type: event_count\n", ""), "the correlation has no type"},
		{"no timespan", replace("  timespan: 5m\n", ""), "the correlation has no timespan"},
		{"no condition", replace("  condition: {gte: 2}\n", ""), "the correlation has no condition"},
		{"bad timespan", replace("5m", "5 minutes"), `1.yml:5:13: rule "C": "5 minutes" is not a timespan`},
		{"zero timespan", replace("5m", "0s"), "longer than zero"},
		{"huge timespan", replace("5m", "101y"), "longer than a hundred years"},
		{"huge number", replace("5m", "999999999999999999y"), "longer than a hundred years"},
		{"unknown key", replace("timespan", "time-span"), `5:3: rule "C": unknown key "time-span" in correlation`},
		{"unknown comparison", replace("gte", "ge"), `unknown key "ge" in the condition`},
		{"no number", replace("{gte: 2}", "{gte: two}"), `gte needs a number, not "two"`},
		{"nothing compared", replace("{gte: 2}", "{field: F}"), "the condition compares with nothing"},
		{"never", replace("{gte: 2}", "{lt: 1}"), "can never hold"},
		{"more rules than there are", replace("event_count", "temporal"), "gte: 2 can never hold"},
		{"a field where none is", replace("{gte: 2}", "{gte: 2, field: F}"), "event_count looks at no field"},
		{"no field", replace("event_count", "value_count"), "value_count needs a field"},
		{"two fields", strings.Replace(replace("event_count", "value_sum"), "{gte: 2}", "{gte: 2, field: [F, G]}", 1), "value_sum needs one field"},
		{"percentile", strings.Replace(replace("event_count", "value_percentile"), "{gte: 2}", "{gte: 2, field: F, percentile: 101}", 1), "whole number from 1 to 100"},
		{"percentile elsewhere", replace("{gte: 2}", "{gte: 2, percentile: 5}"), "percentile belongs to value_percentile"},
		{"twice", replace("[r]", "[r, r]"), "the rule r is named twice"},
		{"twice by id and name", replace("[r]", "[r, 11111111-1111-4111-8111-111111111111]"), "are the same rule"},
		{"extended for a count", replace("{gte: 2}", "r"), "belongs to temporal"},
		{"extended without one rule", "title: C\ncorrelation: {type: temporal, rules: [r, s], timespan: 1s, condition: r}\n", "the condition does not name s"},
		{"extended with one rule more", "title: C\ncorrelation: {type: temporal, rules: [r], timespan: 1s, condition: r or s}\n", `names "s", which is not a rule of this correlation`},
		{"extended never", "title: C\ncorrelation: {type: temporal, timespan: 1s, condition: r and not r}\n", "can never hold"},
		{"extended of nothing", "title: C\ncorrelation: {type: temporal, timespan: 1s, condition: not r}\n", "where none of the rules does"},
		{"extended, open parenthesis", "title: C\ncorrelation: {type: temporal, timespan: 1s, condition: (r or r}\n", "a parenthesis is not closed"},
		{"alias of another rule", replace("  type", "  aliases: {x: {s: F}}\n  type"), `no loaded rule has the id or name "s"`},
		{"alias without a map", replace("  type", "  aliases: {x: F}\n  type"), "must be a map of rules to fields"},
		{"generate", replace("  type", "  generate: maybe\n  type"), "generate takes true or false"},
		{"generate twice", "generate: true\n" + replace("  type", "  generate: false\n  type"), "generate is given twice"},
		{"pseudo-field", replace("  type", "  group-by: ProcessTree\n  type"), "group-by ProcessTree is not supported here"},
		{"group-by twice", replace("  type", "  group-by: [F, F]\n  type"), "the field F is given twice"},
		{"a log source", "logsource: {product: windows}\n" + replace("", ""), "a correlation has no logsource"},
		{"two kinds", "detection: {s: {F: a}, condition: s}\n" + replace("", ""), "holds both detection and correlation"},
		{"itself", "title: C\nname: c\ncorrelation: {type: event_count, rules: [c], timespan: 1s, condition: {gte: 2}}\n", `in a circle: "C" names "C"`},
		{"the id of a rule", "id: 11111111-1111-4111-8111-111111111111\n" + replace("", ""), "is already used by 0.yml"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := collection(t, base)
			errs := c.Parse("1.yml", []byte(test.source))
			if len(c.Rules) != 1 {
				t.Errorf("%d rules", len(c.Rules))
			}
			kept, more := sigma.Correlate(c.Correlations, c.Rules, sigma.CorrelateOptions{})
			errs = append(errs, more...)
			if len(errs) != 1 || !strings.Contains(errs[0].Error(), test.want) || len(kept) != 0 {
				t.Errorf("got %v, kept %d\nwant %s", errs, len(kept), test.want)
			}
		})
	}
}

func TestCorrelationCycles(t *testing.T) {
	link := func(name, of string) string {
		return fmt.Sprintf("title: %s\nname: %s\ncorrelation: {type: event_count, rules: [%s], timespan: 1s, condition: {gte: 2}}\n", name, name, of)
	}
	c := collection(t, base, link("a", "b"), link("b", "c"), link("c", "a"), link("d", "c"), link("e", "f"), link("f", "r"))
	kept, errs := sigma.Correlate(c.Correlations, c.Rules, sigma.CorrelateOptions{})
	var names []string
	for _, k := range kept {
		names = append(names, k.Rule.Name)
	}
	if !slices.Equal(names, []string{"f", "e"}) {
		t.Errorf("kept %v", names)
	}
	if len(errs) != 4 || !strings.Contains(errs[0].Error(), `circle: "a" names "b" names "c" names "a"`) {
		t.Errorf("%v", errs)
	}
	var long []string
	for i := range 300 {
		long = append(long, link(fmt.Sprint("n", i), fmt.Sprint("n", i+1)))
	}
	c = collection(t, append(long, base, link("n300", "r"))...)
	if _, errs := sigma.Correlate(c.Correlations, c.Rules, sigma.CorrelateOptions{}); len(errs) == 0 || !strings.Contains(errs[0].Error(), "chained more than 100 levels") {
		t.Errorf("%v", errs)
	}
	c = collection(t, strings.ReplaceAll(base, "11111111-1111-4111-8111-111111111111", "21111111-1111-4111-8111-111111111111"), base, link("x", "r"))
	if _, errs := sigma.Correlate(c.Correlations, c.Rules, sigma.CorrelateOptions{}); len(errs) != 1 || !strings.Contains(errs[0].Error(), `2 rules are called "r": 0.yml:1, 1.yml:1`) {
		t.Errorf("%v", errs)
	}
}

func TestCorrelationLevel(t *testing.T) {
	c := collection(t, base, "title: C\ncorrelation: {type: event_count, rules: [r], timespan: 1s, condition: {gte: 2}}\n",
		"title: D\nlevel: low\ngenerate: true\ncorrelation: {type: event_count, rules: r, timespan: 1M, condition: {gt: 1}}\n")
	c.Rules[0].Level = "critical"
	kept, errs := sigma.Correlate(c.Correlations, c.Rules, sigma.CorrelateOptions{})
	if len(errs) > 0 || kept[0].Rule.Level != "critical" || kept[1].Rule.Level != "low" || kept[0].Generate || !kept[1].Generate || kept[1].Timespan.Seconds() != 2629746 {
		t.Errorf("%+v %v", kept, errs)
	}
}

// TestExtendedConditions holds that a condition's disjunctive form means what
// the condition says.
func TestExtendedConditions(t *testing.T) {
	var rules strings.Builder
	for _, n := range "abcdef" {
		rules.WriteString("---\n" + strings.ReplaceAll(strings.ReplaceAll(base, "11111111-1111-4111-8111-111111111111", "x"+string(n)), "name: r", "name: "+string(n)))
	}
	type tree struct {
		text string
		eval func(uint64) bool
	}
	var draw func(t *rapid.T, depth int) tree
	draw = func(t *rapid.T, depth int) tree {
		kind := rapid.IntRange(0, 3).Draw(t, "kind")
		if depth == 0 || kind == 0 {
			i := rapid.IntRange(0, 5).Draw(t, "rule")
			return tree{string("abcdef"[i]), func(m uint64) bool { return m>>i&1 == 1 }}
		}
		a := draw(t, depth-1)
		if kind == 1 {
			return tree{"not (" + a.text + ")", func(m uint64) bool { return !a.eval(m) }}
		}
		b := draw(t, depth-1)
		if kind == 2 {
			return tree{"(" + a.text + " and " + b.text + ")", func(m uint64) bool { return a.eval(m) && b.eval(m) }}
		}
		return tree{"((" + a.text + ") or " + b.text + ")", func(m uint64) bool { return a.eval(m) || b.eval(m) }}
	}
	// The order of the names is that of their first appearance.
	rapid.Check(t, func(t *rapid.T) {
		x := draw(t, 4)
		var c sigma.Collection
		errs := c.Parse("c.yml", []byte(strings.TrimPrefix(rules.String(), "---\n")+"---\ntitle: C\ncorrelation: {type: temporal, timespan: 1s, condition: \""+x.text+"\"}\n"))
		if len(errs) > 0 {
			never, always := true, x.eval(0)
			for m := range uint64(64) {
				never = never && !x.eval(m)
			}
			if !never && !always {
				t.Fatalf("%s: %v", x.text, errs)
			}
			return
		}
		kept, more := sigma.Correlate(c.Correlations, c.Rules, sigma.CorrelateOptions{})
		if len(more) > 0 {
			t.Fatal(more)
		}
		k := kept[0]
		for m := range uint64(64) {
			var mask uint64
			for i, b := range k.Bases {
				if m>>(b.Rule.Name[0]-'a')&1 == 1 {
					mask |= 1 << i
				}
			}
			got := slices.ContainsFunc(k.Terms, func(t sigma.Term) bool { return t.With&^mask == 0 && t.Without&mask == 0 })
			if got != x.eval(m) {
				t.Fatalf("%s with %06b: terms %v say %v", x.text, m, k.Terms, got)
			}
		}
	})
}

func TestFilters(t *testing.T) {
	const filter = "title: F\nlogsource: {category: process_creation}\nfilter:\n  rules: %s\n  selection_x: {U: admin}\n  condition: %s\n"
	for _, test := range []struct {
		name, rules, condition string
		polarity               sigma.Polarity
		user, want             string
	}{
		{"as written", "[r]", "not selection_x", sigma.AsWritten, "admin", ""},
		{"as written, another", "[r]", "not selection_x", sigma.AsWritten, "bob", "R"},
		{"by id", "[11111111-1111-4111-8111-111111111111]", "not selection_x", sigma.AsWritten, "admin", ""},
		{"any", "any", "not selection_x", sigma.AsWritten, "admin", ""},
		{"a positive condition restricts, as pySigma does", "[r]", "selection_x", sigma.AsWritten, "admin", "R"},
		{"and the others", "[r]", "selection_x", sigma.AsWritten, "bob", ""},
		{"suppress, as the specification's text", "[r]", "selection_x", sigma.Suppress, "admin", ""},
		{"suppress, another", "[r]", "selection_x", sigma.Suppress, "bob", "R"},
		{"a pattern of its own", "[r]", "not 1 of selection_*", sigma.AsWritten, "admin", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := collection(t, base, fmt.Sprintf(filter, test.rules, test.condition))
			if errs := c.Transform(nil, test.polarity); len(errs) > 0 {
				t.Fatal(errs)
			}
			if got := fired(t, c, process("F", "a", "U", test.user)); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
			// The rule's "1 of selection_*" must not reach the filter's selection_x.
			if got := fired(t, c, process("F", "z", "U", "admin")); got != "" {
				t.Errorf("the filter's search makes the rule fire")
			}
		})
	}
	t.Run("another log source", func(t *testing.T) {
		c := collection(t, base, "title: F\nlogsource: {category: image_load}\nfilter: {rules: any, s: {U: admin}, condition: not s}\n")
		if errs := c.Transform(nil, sigma.AsWritten); len(errs) > 0 || fired(t, c, process("F", "a", "U", "admin")) != "R" {
			t.Error(errs)
		}
	})
	t.Run("an unknown rule", func(t *testing.T) {
		c := collection(t, base, fmt.Sprintf(filter, "[r, nobody]", "not selection_x"))
		errs := c.Transform(nil, sigma.AsWritten)
		if len(errs) != 1 || !strings.Contains(errs[0].Error(), `1.yml:4:14: rule "F": no loaded rule has the id or name "nobody"`) || fired(t, c, process("F", "a", "U", "admin")) != "" {
			t.Error(errs)
		}
	})
	for _, bad := range []struct{ source, want string }{
		{"title: F\nlogsource: {product: windows}\nfilter: {s: {F: a}, condition: s}\n", "the filter names no rules"},
		{"title: F\nlogsource: {product: windows}\nfilter: {rules: any, s: {F: a}}\n", "the filter has no condition"},
		{"title: F\nlogsource: {product: windows}\nfilter: {rules: any, s: {F: a}, condition: [s, s]}\n", "must be one text"},
		{"title: F\nlogsource: {product: windows}\nfilter: {rules: {a: b}, s: {F: a}, condition: s}\n", "rules must be a text or a list"},
		{"title: F\nlogsource: {product: windows}\nfilter: {rules: any, s: {F: a}, condition: t}\n", `names "t"`},
	} {
		var c sigma.Collection
		if errs := c.Parse("f.yml", []byte(bad.source)); len(errs) != 1 || !strings.Contains(errs[0].Error(), bad.want) {
			t.Errorf("%v, want %s", errs, bad.want)
		}
	}
}

func pipeline(t testing.TB, source string) *sigma.Pipeline {
	t.Helper()
	p, errs := sigma.ParsePipeline("p.yml", []byte(source))
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	return p
}

func TestPipelines(t *testing.T) {
	rule := func(detection string) string {
		return "title: R\nstatus: test\ntags: [attack.t1059]\nlogsource: {category: process_creation, product: windows}\ndetection:\n  s: " + detection + "\n  condition: s\n"
	}
	steps := func(s string) string { return "name: p\npriority: 10\ntransformations:\n" + s }
	for _, test := range []struct {
		name, rule, pipeline string
		event                []string
		want                 bool
	}{
		{"mapping 1:1", rule("{F: a}"), steps("- {type: field_name_mapping, mapping: {F: G}}"), []string{"G", "a"}, true},
		{"mapping 1:1, the old name", rule("{F: a}"), steps("- {type: field_name_mapping, mapping: {F: G}}"), []string{"F", "a"}, false},
		{"mapping 1:n", rule("{F: a, X: x}"), steps("- {type: field_name_mapping, mapping: {F: [G, H]}}"), []string{"H", "a", "X", "x"}, true},
		{"mapping 1:n, the rest must hold", rule("{F: a, X: x}"), steps("- {type: field_name_mapping, mapping: {F: [G, H]}}"), []string{"H", "a"}, false},
		{"mapping keeps modifiers", rule("{F|contains|all: [a, b]}"), steps("- {type: field_name_mapping, mapping: {F: G}}"), []string{"G", "xbxa"}, true},
		{"mapping of fieldref", rule("{F|fieldref: X}"), steps("- {type: field_name_mapping, mapping: {X: Y}}"), []string{"F", "1", "Y", "1"}, true},
		{"two fields onto one", rule("{F|startswith: a, G|endswith: b}"), steps("- {type: field_name_mapping, mapping: {F: H, G: H}}"), []string{"H", "aab"}, true},
		{"two fields onto one, half", rule("{F|startswith: a, G|endswith: b}"), steps("- {type: field_name_mapping, mapping: {F: H, G: H}}"), []string{"H", "aa"}, false},
		{"prefix mapping", rule("{win.F: a}"), steps("- {type: field_name_prefix_mapping, mapping: {win.: [w_, v_]}}"), []string{"v_F", "a"}, true},
		{"prefix", rule("{F: a}"), steps("- {type: field_name_prefix, prefix: x.}"), []string{"x.F", "a"}, true},
		{"suffix with excluded fields", rule("{F: a, G: b}"), steps("- type: field_name_suffix\n  suffix: _s\n  field_name_conditions: [{type: exclude_fields, fields: [G]}]"), []string{"F_s", "a", "G", "b"}, true},
		{"included by expression", rule("{F: a, G: b}"), steps("- type: field_name_prefix\n  prefix: p\n  field_name_conditions: [{type: include_fields, mode: re, fields: ['[A-F]$']}]"), []string{"pF", "a", "G", "b"}, true},
		{"replace_string", rule(`{F: 'C:\x\a.exe'}`), steps(`- {type: replace_string, regex: '^C:\\(\w+)', replacement: 'D:\\\1\\\1'}`), []string{"F", `D:\x\x\a.exe`}, true},
		{"replace_string keeps wildcards", rule(`{F: '*\a.exe'}`), steps(`- {type: replace_string, regex: '\\a', replacement: '\\b'}`), []string{"F", `C:\b.exe`}, true},
		{"replace_string sees the wildcards of modifiers", rule(`{F|endswith: '\a.exe'}`), steps(`- {type: replace_string, regex: '^\*\\', replacement: 'C:\\x\\'}`), []string{"F", `C:\x\a.exe`}, true},
		{"replace_string may take them away", rule(`{F|endswith: '\a.exe'}`), steps(`- {type: replace_string, regex: '^\*\\', replacement: 'C:\\x\\'}`), []string{"F", `D:\C:\x\a.exe`}, false},
		{"replace_string keeps those it does not touch", rule(`{F|contains: 'ab'}`), steps(`- {type: replace_string, regex: 'a', replacement: 'c'}`), []string{"F", "xcbx"}, true},
		{"replace_string and values it does not touch", rule(`{F|contains: [ab, q]}`), steps(`- {type: replace_string, regex: 'a', replacement: 'c'}`), []string{"F", "xqx"}, true},
		{"replace_string and all", rule(`{F|contains|all: [ab, q]}`), steps(`- {type: replace_string, regex: 'a', replacement: 'c'}`), []string{"F", "xcbx"}, false},
		{"replace_string before a wildcard", rule(`{F|contains: 'C:\'}`), steps(`- {type: replace_string, regex: 'C:', replacement: 'D:'}`), []string{"F", `xD:\y`}, true},
		{"replace_string before a wildcard of its own", rule(`{F: 'C:\\*'}`), steps(`- {type: replace_string, regex: 'C:', replacement: 'D:'}`), []string{"F", `D:\y`}, true},
		{"replace_string with windash", rule(`{F|contains|windash: ' -x'}`), steps(`- {type: replace_string, regex: 'x', replacement: 'y'}`), []string{"F", "a /yb"}, true},
		{"replace_string of an empty contains", rule(`{F|contains: ''}`), steps(`- {type: replace_string, regex: '^\*$', replacement: 'a'}`), []string{"F", "a"}, true},
		{"replace_string leaves regular expressions", rule(`{F|re: 'a+'}`), steps(`- {type: replace_string, regex: a, replacement: b}`), []string{"F", `aa`}, true},
		{"map_string to several", rule(`{F|contains|all: [a, b]}`), steps("- {type: map_string, mapping: {a: [x, y]}}"), []string{"F", "yb"}, true},
		{"map_string to several, all must hold", rule(`{F|contains|all: [a, b]}`), steps("- {type: map_string, mapping: {a: [x, y]}}"), []string{"F", "y"}, false},
		{"map_string under neq", rule(`{F|neq: a}`), steps("- {type: map_string, mapping: {a: [x, y]}}"), []string{"F", "y"}, false},
		{"set_value", rule(`{F: [a, b]}`), steps("- {type: set_value, value: c}"), []string{"F", "c"}, true},
		{"change_logsource", rule("{F: a}"), steps("- {type: change_logsource, category: image_load}"), []string{"F", "a"}, false},
		{"change_logsource of others", rule("{F: a}"), steps("- type: change_logsource\n  category: image_load\n  rule_conditions: [{type: logsource, category: file_event}]"), []string{"F", "a"}, true},
		{"add_condition", rule("{F: a}"), steps("- {type: add_condition, conditions: {E: [x, y]}}"), []string{"F", "a"}, false},
		{"add_condition holds", rule("{F: a}"), steps("- {type: add_condition, conditions: {E: [x, y]}}"), []string{"F", "a", "E", "y"}, true},
		{"add_condition negated", rule("{F: a}"), steps("- {type: add_condition, negated: true, conditions: {E: x}}"), []string{"F", "a", "E", "x"}, false},
		{"add_condition from a template", rule("{F: a}"), steps("- {type: add_condition, template: true, conditions: {E: '$product-${category}'}}"), []string{"F", "a", "E", "windows-process_creation"}, true},
		{"value_placeholders", rule("{F|expand: '%who%'}"), "vars: {who: [bob, 'ev*']}\n" + steps("- {type: value_placeholders}"), []string{"F", "eve"}, true},
		{"value_placeholders in a text", rule("{F|contains|expand: 'x%who%y%who%'}"), "vars: {who: [b, c]}\n" + steps("- {type: value_placeholders, include: [who]}"), []string{"F", "-xbyc-"}, true},
		{"wildcard_placeholders", rule("{F|expand: 'x%who%y'}"), steps("- {type: wildcard_placeholders}"), []string{"F", "xanythingy"}, true},
		{"drop_detection_item", rule("{F: a, G: b}"), steps("- type: drop_detection_item\n  field_name_conditions: [{type: include_fields, fields: [G]}]"), []string{"F", "a"}, true},
		{"drop by value", rule("{F: a, G: 'b*'}"), steps("- type: drop_detection_item\n  detection_item_conditions: [{type: match_string, cond: all, pattern: 'b'}]"), []string{"F", "a"}, true},
		{"wildcards", rule("{F: a, G: 'b*'}"), steps("- type: drop_detection_item\n  detection_item_conditions: [{type: contains_wildcard}]"), []string{"F", "a"}, true},
		{"null", rule("{F: a, G: null}"), steps("- type: drop_detection_item\n  detection_item_conditions: [{type: is_null}]"), []string{"F", "a", "G", "x"}, true},
		{"state", rule("{F: a}"), steps("- {type: set_state, key: k, val: 3}\n- type: field_name_prefix\n  prefix: p\n  rule_conditions: [{type: processing_state, key: k, op: gt, val: 2}]"), []string{"pF", "a"}, true},
		{"applied", rule("{F: a, G: b}"), steps("- {id: one, type: field_name_mapping, mapping: {F: H}}\n- type: field_name_prefix\n  prefix: p\n  rule_conditions: [{type: processing_item_applied, processing_item_id: one}]"), []string{"pH", "a", "pG", "b"}, true},
		{"nested, an expression of conditions", rule("{F: a}"), steps("- type: nest\n  rule_conditions:\n    w: {type: logsource, product: windows}\n    t: {type: tag, tag: attack.t1059}\n    l: {type: rule_attribute, attribute: status, op: gte, value: stable}\n  rule_cond_expr: w and t and not l\n  items:\n  - {type: field_name_prefix, prefix: p}\n  - {type: field_name_suffix, suffix: s}"), []string{"pFs", "a"}, true},
		{"or, not", rule("{F: a}"), steps("- type: field_name_prefix\n  prefix: p\n  rule_cond_op: or\n  rule_cond_not: true\n  rule_conditions: [{type: contains_field, field: X}, {type: contains_detection_item, field: F, value: a}]"), []string{"F", "a"}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := collection(t, test.rule)
			if errs := c.Transform([]*sigma.Pipeline{pipeline(t, test.pipeline)}, sigma.AsWritten); len(errs) > 0 {
				t.Fatal(errs)
			}
			if got := fired(t, c, process(test.event...)) == "R"; got != test.want {
				t.Errorf("fires: %v", got)
			}
		})
	}
	t.Run("priority", func(t *testing.T) {
		c := collection(t, rule("{F: a}"))
		second := pipeline(t, "priority: 20\ntransformations: [{type: field_name_mapping, mapping: {G: H}}]")
		first := pipeline(t, "priority: 10\ntransformations: [{type: field_name_mapping, mapping: {F: G}}]")
		if errs := c.Transform([]*sigma.Pipeline{second, first}, sigma.AsWritten); len(errs) > 0 || fired(t, c, process("H", "a")) != "R" {
			t.Error(errs)
		}
	})
	t.Run("filters go through, too", func(t *testing.T) {
		c := collection(t, base, "title: F\nlogsource: {category: process_creation}\nfilter: {rules: any, s: {U: admin}, condition: not s}\n")
		if errs := c.Transform([]*sigma.Pipeline{pipeline(t, steps("- {type: field_name_mapping, mapping: {U: User}}"))}, sigma.AsWritten); len(errs) > 0 {
			t.Fatal(errs)
		}
		if fired(t, c, process("F", "a", "User", "admin")) != "" || fired(t, c, process("F", "a", "U", "admin")) != "R" {
			t.Error("the filter's field was not mapped")
		}
	})
	t.Run("correlations", func(t *testing.T) {
		c := collection(t, base, "title: C\ncorrelation: {type: value_count, rules: [r], group-by: [A, k], timespan: 1s, condition: {field: V, gte: 2}, aliases: {k: {r: B}}}\n")
		p := pipeline(t, steps("- type: field_name_mapping\n  mapping: {A: [X, Y], B: Z, V: W, k: no}\n  rule_conditions: [{type: logsource, product: windows}]"))
		if errs := c.Transform([]*sigma.Pipeline{p}, sigma.AsWritten); len(errs) > 0 {
			t.Fatal(errs)
		}
		kept, errs := sigma.Correlate(c.Correlations, c.Rules, sigma.CorrelateOptions{})
		if len(errs) > 0 || !slices.Equal(kept[0].GroupBy, []string{"X", "Y", "k"}) || kept[0].Field(0, "k") != "Z" || kept[0].Fields[0] != "W" {
			t.Errorf("%+v %v", kept, errs)
		}
	})
	for _, bad := range []struct{ pipeline, want string }{
		{"{type: rule_failure, message: not here}", "refused by the pipeline: not here"},
		{"{type: detection_item_failure, message: no F, field_name_conditions: [{type: include_fields, fields: [F]}]}", "6:7: rule \"R\": refused by the pipeline: no F"},
		{"{type: drop_detection_item}", "leaves nothing of the rule"},
		{"{type: field_name_mapping, mapping: {F: [A, B]}}", ""},
	} {
		c := collection(t, rule("{F: a}"))
		errs := c.Transform([]*sigma.Pipeline{pipeline(t, steps("- "+bad.pipeline))}, sigma.AsWritten)
		if bad.want == "" {
			continue
		}
		if len(errs) != 1 || !strings.Contains(errs[0].Error(), bad.want) || len(c.Rules) != 0 {
			t.Errorf("%v, want %s", errs, bad.want)
		}
	}
}

func TestPipelineFaults(t *testing.T) {
	for _, test := range []struct{ source, want string }{
		{"transformations:\n- type: hashes_fields\n", "p.yml:2:9: the transformation hashes_fields is not supported"},
		{"transformations:\n- type: regex\n- type: field_name_prefx\n", `p.yml:3:9: unknown transformation "field_name_prefx"`},
		{"finalizers:\n- type: json\n", "p.yml:2:3: finalizers: json is not supported"},
		{"postprocessing:\n- type: embed\n  prefix: x\n", "postprocessing: embed is not supported"},
		{"transformations:\n- {type: field_name_prefix}\n", "field_name_prefix needs prefix"},
		{"transformations:\n- {type: field_name_prefix, prefix: x, suffix: y}\n", `unknown key "suffix" in field_name_prefix`},
		{"transformations:\n- {type: field_name_prefix, prefix: x, rule_conditions: [{type: nothing}]}\n", `unknown rule condition "nothing"`},
		{"transformations:\n- {type: field_name_prefix, prefix: x, rule_conditions: [{type: logsource, kind: y}]}\n", `unknown key "kind" in logsource`},
		{"transformations:\n- {type: replace_string, regex: '(', replacement: x}\n", "regex: error parsing regexp"},
		{"transformations:\n- {type: replace_string, regex: 'a(?=b)', replacement: x}\n", "regex: error parsing regexp"},
		{"transformations:\n- {type: change_logsource, category: nothing}\n", `unknown category "nothing"`},
		{"transformations:\n- {type: nest}\n", "nest needs items"},
		{"transformations:\n- {type: value_placeholders, include: [a], exclude: [b]}\n", "include or exclude, not both"},
		{"transformations:\n- {type: field_name_prefix, prefix: x, rule_cond_expr: a, rule_conditions: {a: {type: is_sigma_rule}, b: {type: is_sigma_rule}}}\n", "does not name b"},
		{"transformations: {}\n", "transformations must be a list"},
		{"priority: high\n", "priority takes a whole number"},
		{"transform: []\n", `unknown key "transform" in a pipeline`},
		{"- a\n", "must hold one map"},
		{"a: [\n", "not valid YAML"},
	} {
		p, errs := sigma.ParsePipeline("p.yml", []byte(test.source))
		if p != nil || len(errs) == 0 || !slices.ContainsFunc(errs, func(err error) bool { return strings.Contains(err.Error(), test.want) }) {
			t.Errorf("%q: %v, want %s", test.source, errs, test.want)
		}
	}
}

// FuzzDocuments feeds bytes as rules, correlations, filters and a pipeline: what
// is read must go all the way to an engine or be refused by name.
func FuzzDocuments(f *testing.F) {
	f.Add([]byte(base+"---\ntitle: C\ncorrelation: {type: temporal, rules: [r], timespan: 1s, condition: r}\n---\n"+
		"title: F\nlogsource: {product: windows}\nfilter: {rules: any, s: {U: admin}, condition: not s}\n"), []byte("transformations: [{type: field_name_mapping, mapping: {F: [A, B]}}]"))
	f.Add([]byte("title: C\ncorrelation: {type: value_sum, rules: [c], timespan: 1y, condition: {field: V, gte: 1}}\nname: c\n"), []byte("vars: {a: b}\ntransformations: [{type: value_placeholders}, {type: nest, items: [{type: drop_detection_item}]}]"))
	f.Add([]byte(base), []byte("transformations: [{type: add_condition, conditions: {A|contains|all: [x, y]}}, {type: replace_string, regex: '(.)', replacement: '\\1\\1'}]"))
	f.Fuzz(func(t *testing.T, rules, pipe []byte) {
		var c sigma.Collection
		c.Parse("f.yml", rules)
		var pipes []*sigma.Pipeline
		p, errs := sigma.ParsePipeline("p.yml", pipe)
		if (p == nil) != (len(errs) > 0) {
			t.Fatal("a pipeline must be right or refused", errs)
		}
		if p != nil {
			pipes = append(pipes, p)
		}
		c.Transform(pipes, sigma.AsWritten)
		engine, _ := sigma.Compile(c.Rules, sigma.Options{})
		kept, errs := sigma.Correlate(c.Correlations, engine.Rules(), sigma.CorrelateOptions{})
		if len(kept)+len(errs) < len(c.Correlations) {
			t.Fatalf("%d correlations, %d kept, %d refused", len(c.Correlations), len(kept), len(errs))
		}
		e := process("F", "a", "A", "x y")
		var got, want []*sigma.Rule
		for _, m := range engine.Matcher().Match(e, nil) {
			got = append(got, m.Rule)
		}
		if want = sigma.NewReference(engine.Rules(), sigma.Options{}).Match(e); !slices.Equal(got, want) {
			t.Fatalf("engine %v, reference %v", got, want)
		}
	})
}
