package sigma_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"ashiato/internal/event"
	"ashiato/internal/sigma"
)

// holds evaluates one rule, given by its detection section, for an event, by
// both evaluators, which must agree.
func holds(t *testing.T, detection string, data ...event.Field) bool {
	t.Helper()
	source := "title: T\nlogsource: {category: process_creation, product: windows}\ndetection:\n" + indent(detection)
	rules, errs := sigma.Parse("t.yml", []byte(source))
	if len(errs) > 0 {
		t.Fatalf("%v\n%s", errs, source)
	}
	engine, errs := sigma.Compile(rules, sigma.Options{Placeholders: map[string][]string{"admins": {"root", "adm*"}}})
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	e := &event.Event{Kind: event.ProcessCreate, ID: 1, Channel: "Microsoft-Windows-Sysmon/Operational", Provider: "Microsoft-Windows-Sysmon", Host: "PC-7", Data: data}
	got := len(fast(engine.Matcher(), e)) > 0
	want := len(slow(sigma.NewReference(rules, sigma.Options{Placeholders: map[string][]string{"admins": {"root", "adm*"}}}), e)) > 0
	if got != want {
		t.Errorf("engine %v, reference %v for\n%s\n%q", got, want, detection, data)
	}
	return got
}

func indent(s string) string {
	return "  " + strings.ReplaceAll(strings.TrimRight(s, "\n"), "\n", "\n  ") + "\n"
}

// TestValues holds what one item says of one field F (nil: absent).
func TestValues(t *testing.T) {
	const absent = "\x00absent"
	for _, test := range []struct {
		trap string // the point of the case
		item string
		yes  []string
		no   []string
	}{
		{"whole value", "F: abc", []string{"abc", "ABC"}, []string{"xabc", "abcx", "", absent}},
		{"escape: two backslashes are one", `F: 'a\\b'`, []string{`a\b`}, []string{`a\\b`}},
		{"escape: four backslashes are two", `F: '\\\\server'`, []string{`\\server`}, []string{`\server`}},
		{"escape: two backslashes in front", `F: '\\server'`, []string{`\server`}, []string{`\\server`}},
		{"escape: single backslash is itself", `F: 'a\b'`, []string{`a\b`}, []string{"ab"}},
		{"escape: backslash, wildcard", `F: 'a\\*'`, []string{`a\`, `a\xyz`}, []string{`a*`, "axyz"}},
		{"escape: literal star", `F: 'a\*'`, []string{"a*"}, []string{"ab", `a\*`}},
		{"escape: backslash and literal star", `F: 'a\\\*'`, []string{`a\*`}, []string{`a\x`, "a*"}},
		{"escape: literal question mark", `F: 'a\?'`, []string{"a?"}, []string{"ab"}},
		{"escape: trailing backslash", `F|endswith: 'a\'`, []string{`xa\`}, []string{"xa", `a\x`}},
		{"escape: trailing backslash with contains", `F|contains: '\Temp\'`, []string{`C:\Temp\x`}, []string{`C:\Temp`}},
		{"wildcard: anchored", "F: 'a*c'", []string{"ac", "abc", "a\nc"}, []string{"xac", "acx"}},
		{"wildcard: star over lines", "F: 'a*'", []string{"a\r\nb"}, []string{"ba"}},
		{"wildcard: one character is a rune", "F: 'a?c'", []string{"abc", "aéc", "a世c", "a𐐀c", "a\xED\xA0\x80c"}, []string{"ac", "abbc"}},
		{"wildcard: backtracking", "F: '*ab*abc'", []string{"ababc", "xabyabc"}, []string{"abc", "abab"}},
		{"case: ASCII", `F: '\CMD.exe'`, []string{`\cmd.EXE`}, nil},
		{"case: Cyrillic", "F|contains: 'ЖУК'", []string{"xжукx"}, []string{"xjukx"}},
		{"case: Kelvin sign", "F: 'k'", []string{"K", "\u212A"}, nil},
		{"case: homoglyph is another letter", "F: 'с'", []string{"С"}, []string{"c"}}, // U+0441
		{"case: cased", "F|cased: Abc", []string{"Abc"}, []string{"abc"}},
		{"case: contains cased", "F|contains|cased: Abc", []string{"xAbcx"}, []string{"xabcx"}},
		{"case: re is case-sensitive", "F|re: '^abc'", []string{"abcd"}, []string{"Abcd"}},
		{"null: absent", "F: null", []string{absent}, []string{"", "-", "x"}},
		{"null: tilde and nothing", "F: ~", []string{absent}, []string{""}},
		{"null: in a list", "F:\n  - null\n  - ''", []string{absent, ""}, []string{"-"}},
		{"empty: present and empty", "F: ''", []string{""}, []string{absent, "-", " "}},
		{"absent: wildcard alone", "F: '*'", []string{"", "x"}, []string{absent}},
		{"absent: contains nil", "F|contains: nil", []string{"<nil>"}, []string{absent}},
		{"exists: true", "F|exists: true", []string{"", "x"}, []string{absent}},
		{"exists: false", "F|exists: false", []string{absent}, []string{"", "x"}},
		{"neq: not of the list", "F|neq: [a, b]", []string{"c", "", absent}, []string{"a", "B"}},
		{"neq: contains", "F|contains|neq: a", []string{"b", absent}, []string{"xay"}},
		{"list: or", "F: [a, b]", []string{"a", "b"}, []string{"ab"}},
		{"all: and", "F|contains|all: [a, b]", []string{"ab", "b-a"}, []string{"a", "b"}},
		{"all: with windash the dashes are alternatives", "F|windash|contains|all: [' -a', ' -b']", []string{"x /a -b", "x –b ―a"}, []string{"x /a", "x -b"}},
		{"contains: no doubled wildcard", "F|contains: '*a*'", []string{"xax"}, []string{"x"}},
		{"windash: five dashes", "F|windash|contains: ' -enc '", []string{"p -enc x", "p /enc x", "p –enc x", "p —enc x", "p ―enc x"}, []string{"p enc x", "p \\enc x"}},
		{"windash: order", "F|contains|windash: '-enc'", []string{"x/enc"}, []string{"enc"}},
		{"windash: inner dash stays", "F|windash: 'a-b'", []string{"a-b"}, []string{"a/b"}},
		{"windash: only the last of two dashes", "F|windash: '--x'", []string{"--x", "-/x"}, []string{"/-x", "//x"}},
		{"re: unanchored", "F|re: 'b+'", []string{"abbc"}, []string{"ac"}},
		{"re: flags", "F|re|i: 'AB'", []string{"xabx"}, []string{"a"}},
		{"re: m", "F|re|m: '^b$'", []string{"a\nb\nc"}, []string{"a b c"}},
		{"re: s", "F|re|s: 'a.b'", []string{"a\nb"}, []string{"ab"}},
		{"re: no s", "F|re: 'a.b'", []string{"axb"}, []string{"a\nb"}},
		{"re: backslash is the expression's", `F|re: '\\temp\\'`, []string{`C:\temp\`}, []string{`C:\\temp`}},
		{"re: inline flag", "F|re: '(?i)ab'", []string{"AB"}, nil},
		{"base64", "F|base64|contains: foobar", []string{"x Zm9vYmFy y"}, []string{"zm9vymfy", "foobar"}},
		{"base64offset", "F|base64offset|contains: foobar", []string{"Zm9vYmFy", "eGZvb2Jhcg==", "eHhmb29iYXI="}, []string{"foobar", "Zm9v"}},
		{"base64offset: length in bytes", "F|base64offset|contains: 'жук'", []string{"0LbRg9C6", "eNC20YPQunk=", "eHjQttGD0Lp5"}, nil},
		{"wide", "F|wide|base64offset|contains: 'ping'", []string{"cABpAG4AZwA=", "eABwAGkAbgBnAA=="}, []string{"cGluZw=="}},
		{"utf16le is wide", "F|utf16le|base64: 'ab'", []string{"YQBiAA=="}, nil},
		{"utf16be", "F|utf16be|base64: 'ab'", []string{"AGEAYg=="}, nil},
		{"utf16 has a mark", "F|utf16|base64: 'ab'", []string{"//5hAGIA"}, nil},
		{"cidr: v4", "F|cidr: 10.0.0.0/8", []string{"10.1.2.3", "::ffff:10.0.0.1"}, []string{"11.0.0.1", "x", "", "10.0.0.0/8", absent}},
		{"cidr: v6 in full form", "F|cidr: '::1/128'", []string{"0:0:0:0:0:0:0:1", "::1"}, []string{"::2", "127.0.0.1"}},
		{"cidr: list", "F|cidr: [10.0.0.0/8, 'fe80::/10']", []string{"fe80:0:0:0:0:0:0:1%12", "10.0.0.1"}, []string{"fc00::1"}},
		{"number: as written", "F: 4625", []string{"4625"}, []string{"4625.0", "04625"}},
		{"number: hexadecimal text", "F: '0x1FFFFF'", []string{"0x1fffff"}, []string{"2097151"}},
		{"number: unquoted hexadecimal keeps its text", "F: 0x1410", []string{"0x1410"}, []string{"5136"}},
		{"bool: keeps its text", "F: true", []string{"true", "True"}, []string{"1", absent}},
		{"date: keeps its text", "F: 2026-01-31", []string{"2026-01-31"}, nil},
		{"float: keeps its text", "F: 1.10", []string{"1.10"}, []string{"1.1"}},
		{"lt", "F|lt: 10", []string{"9", "-1", "0x9", "9.5"}, []string{"10", "x", "", absent}},
		{"gte", "F|gte: 10", []string{"10", "0xA", "18446744073709551615"}, []string{"9", "9.99", absent}},
		{"gt: exact beyond 2^53", "F|gt: 9007199254740992", []string{"9007199254740993"}, []string{"9007199254740992"}},
		{"lte", "F|lte: -3", []string{"-3", "-4"}, []string{"-2", "0"}},
		{"gt neq", "F|gt|neq: 5", []string{"5", "x", absent}, []string{"6"}},
		{"hour", "F|hour|gte: 18", []string{"2026-01-31 18:00:00.123", "2026-01-31T23:59:59+09:00"}, []string{"2026-01-31 17:59:59", "x", absent}},
		{"minute", "F|minute: 5", []string{"2026-01-31T10:05:00Z"}, []string{"2026-01-31T10:50:00Z"}},
		{"day", "F|day: 31", []string{"2026-01-31"}, []string{"2026-01-30"}},
		{"week", "F|week: 1", []string{"2025-12-29"}, []string{"2025-12-28"}},
		{"month", "F|month: 1", []string{"2026-01-31 00:00:00"}, []string{"2026-02-01 00:00:00"}},
		{"year", "F|year|lt: 2026", []string{"2025-01-01"}, []string{"2026-01-01"}},
		{"expand", "F|expand: '%admins%'", []string{"root", "admin1"}, []string{"%admins%", "x"}},
		{"expand: within contains", "F|contains|expand: 'u=%admins%;'", []string{"x u=root; y", "u=adm2;"}, []string{"u=;"}},
		{"percent without expand is literal", "F: '%temp%'", []string{"%TEMP%"}, []string{`C:\Temp`}},
		{"blanks count", "F|contains: ' -enc '", []string{"p -enc x"}, []string{"p -enc", "-enc x"}},
		{"blanks at the ends count", "F: 'a '", []string{"a "}, []string{"a"}},
		{"fieldref", "F|fieldref: G", []string{"gvalue", "GVALUE"}, []string{"x", absent}},
		{"fieldref: cased", "F|fieldref|cased: G", []string{"gvalue"}, []string{"GVALUE"}},
		{"fieldref: endswith", "F|fieldref|endswith: G", []string{"xgvalue"}, []string{"gvaluex"}},
		{"fieldref: both absent", "F|fieldref: Missing", nil, []string{absent, ""}},
		{"fieldref: neq", "F|fieldref|neq: G", []string{"x", absent}, []string{"gvalue"}},
	} {
		t.Run(test.trap, func(t *testing.T) {
			check := func(v string, want bool) {
				data := []event.Field{{Name: "G", Value: "gvalue"}}
				if v != absent {
					data = append(data, event.Field{Name: "F", Value: v})
				}
				if got := holds(t, "s:\n"+indent(test.item)+"condition: s", data...); got != want {
					t.Errorf("%s: %v for %q", test.item, got, v)
				}
				if got := holds(t, "s:\n"+indent(test.item)+"condition: not s", data...); got == want {
					t.Errorf("not %s: %v for %q", test.item, got, v)
				}
			}
			for _, v := range test.yes {
				check(v, true)
			}
			for _, v := range test.no {
				check(v, false)
			}
		})
	}
}

func TestGrammar(t *testing.T) {
	ab := "a: {F: a}\nb: {G: b}\n_c: {H: c}\n"
	f := func(names string) (out []event.Field) {
		for _, n := range names {
			out = append(out, event.Field{Name: strings.ToUpper(string(n + 5)), Value: string(n)})
		}
		return out
	}
	for _, test := range []struct {
		name, detection string
		yes, no         []string // which of the values a, b, c the event has
	}{
		{"and before or", ab + "condition: a or b and _c", []string{"a", "bc"}, []string{"b", "c"}},
		{"not before and", ab + "condition: not a and b", []string{"b", "bc"}, []string{"ab", ""}},
		{"parentheses", ab + "condition: (a or b) and _c", []string{"ac"}, []string{"a", "ab"}},
		{"double not", ab + "condition: not not a", []string{"a"}, []string{"b"}},
		{"not of a group", ab + "condition: not (a or b)", []string{"", "c"}, []string{"a", "b"}},
		{"1 of them leaves out _", ab + "condition: 1 of them", []string{"a", "b"}, []string{"c", ""}},
		{"any of them", ab + "condition: any of them", []string{"a"}, []string{"c"}},
		{"all of them leaves out _", ab + "condition: all of them", []string{"ab"}, []string{"a", "ac"}},
		{"1 of * leaves out _", ab + "condition: 1 of *", []string{"a"}, []string{"c"}},
		{"1 of _*", ab + "condition: 1 of _*", []string{"c"}, []string{"ab"}},
		{"pattern with an inner star", "sel_1_x: {F: a}\nsel_2_y: {G: b}\ncondition: 1 of sel_*_x", []string{"a"}, []string{"b"}},
		{"list of conditions is or", ab + "condition:\n  - a and b\n  - _c", []string{"ab", "c"}, []string{"a"}},
		{"list of maps is or of ands", "s:\n  - {F: a, G: b}\n  - {H: c}\ncondition: s", []string{"ab", "c"}, []string{"a", "b"}},
		{"upper-case operators", ab + "condition: a AND NOT b", []string{"a"}, []string{"ab"}},
		{"keywords are or, anywhere", "s: [xx, b]\ncondition: s", []string{"b"}, []string{"a"}},
		{"keywords with all", "s:\n  '|all': [b, pc-7]\ncondition: s", []string{"b", "ab"}, []string{"a", "c"}},
		{"keyword regular expression", "s:\n  '|re': '^[ab]$'\ncondition: s", []string{"a", "b"}, []string{"c"}},
		{"keyword in the computer's name", "s: [pc-7]\ncondition: s", []string{""}, nil},
		{"keyword with wildcards", "s: ['p?-']\ncondition: s", []string{""}, nil},
		{"absent under not", "s: {Z|contains: x}\ncondition: not s", []string{"", "a"}, nil},
		{"anchors and merges", "s: &x {F: a}\nu:\n  <<: *x\n  G: b\ncondition: u and s", []string{"ab"}, []string{"a"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, v := range test.yes {
				if !holds(t, test.detection, f(v)...) {
					t.Errorf("does not hold for %q", v)
				}
			}
			for _, v := range test.no {
				if holds(t, test.detection, f(v)...) {
					t.Errorf("holds for %q", v)
				}
			}
		})
	}
}

func TestRepeatedFieldsMatchIfOneDoes(t *testing.T) {
	data := []event.Field{{Name: "Data", Value: "first"}, {Name: "Data", Value: "HostName=x"}}
	if !holds(t, "s: {Data|contains: hostname=}\ncondition: s", data...) {
		t.Error("the second value is not seen")
	}
	if holds(t, "s: {Data: null}\ncondition: s", data...) {
		t.Error("null holds for a present field")
	}
}

func TestFieldNamesWithBlanks(t *testing.T) {
	for _, name := range []string{"Threat Name", "ThreatName"} {
		for _, recorded := range []string{"Threat Name", "ThreatName"} {
			if !holds(t, fmt.Sprintf("s: {%s: x}\ncondition: s", name), event.Field{Name: recorded, Value: "X"}) {
				t.Errorf("%q does not find %q", name, recorded)
			}
		}
	}
}

// TestFieldLookUp holds which name space wins: the taxonomy's for a category,
// the record's for a service.
func TestFieldLookUp(t *testing.T) {
	rules, errs := sigma.Parse("t.yml", []byte(`title: category
logsource: {category: process_creation, product: windows}
detection: {s: {ProcessId: 16}, condition: s}
---
title: service
logsource: {product: windows, service: security}
detection: {s: {ProcessId: '0x8', Image|endswith: 'x.exe'}, condition: s}
---
title: alias
logsource: {category: file_access, product: windows}
detection: {s: {FileName: x}, condition: s}
`))
	engine, more := sigma.Compile(rules, sigma.Options{})
	if len(errs)+len(more) > 0 {
		t.Fatal(errs, more)
	}
	e := &event.Event{
		Kind: event.ProcessCreate, Provider: "Microsoft-Windows-Security-Auditing", Channel: "security", ID: 4688,
		Data: event.Fields{{Name: "ProcessId", Value: "0x8"}}, Canon: event.Fields{{Name: "ProcessId", Value: "16"}, {Name: "Image", Value: "x.exe"}},
	}
	if got := fast(engine.Matcher(), e); !slices.Equal(got, []string{"category", "service"}) {
		t.Errorf("got %q", got)
	}
	e = &event.Event{Kind: event.FileAccess, Canon: event.Fields{{Name: "TargetFilename", Value: "X"}}}
	if got := fast(engine.Matcher(), e); !slices.Equal(got, []string{"alias"}) {
		t.Errorf("got %q", got)
	}
}

func TestMatchedFields(t *testing.T) {
	rules, errs := sigma.Parse("t.yml", []byte(`title: T
logsource: {category: process_creation, product: windows}
detection:
  a:
    Image|endswith: ['\a.exe', '\b.exe']
    CommandLine|contains|all: [one, two]
  b: {Image|startswith: 'C:'}
  other: {User: nobody}
  words: [wxyz]
  filter: {User: root}
  condition: (a or other) and words and b and not filter
`))
	engine, _ := sigma.Compile(rules, sigma.Options{})
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	e := &event.Event{Kind: event.ProcessCreate, Data: event.Fields{
		{Name: "CommandLine", Value: "TWO one"}, {Name: "Image", Value: `C:\B.EXE`}, {Name: "User", Value: "me"}, {Name: "Note", Value: "vWXYZ"},
	}}
	got := engine.Matcher().Match(e, nil)
	want := []event.Field{{Name: "Image", Value: `C:\B.EXE`}, {Name: "CommandLine", Value: "TWO one"}, {Name: "Note", Value: "vWXYZ"}}
	if len(got) != 1 || !slices.Equal(got[0].Fields, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
