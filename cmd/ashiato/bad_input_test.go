package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"
)

// hostileRule is a rule with a search of the given lines.
func hostileRule(search string) string {
	return "title: Bad\nid: 6f1f1d0e-5e0b-4a94-8f0a-0f2d5c9f0b01\nlogsource: {category: process_creation, product: windows}\n" +
		"detection:\n  s:\n    " + search + "\n  condition: s\n"
}

const goodRule = `title: Good
id: 6f1f1d0e-5e0b-4a94-8f0a-0f2d5c9f0b02
logsource: {category: process_creation, product: windows}
detection:
  s:
    Image|endswith: '\good.exe'
  condition: s
level: high
`

// many joins n texts made from a format with one number.
func many(n int, format string) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, format, i)
	}
	return b.String()
}

func utf16Text(s string, big, mark bool) string {
	var b strings.Builder
	if mark {
		s = "\uFEFF" + s
	}
	for _, u := range utf16.Encode([]rune(s)) {
		if big {
			u = u<<8 | u>>8
		}
		b.WriteByte(byte(u))
		b.WriteByte(byte(u >> 8))
	}
	return b.String()
}

// TestBadRules holds for every sort of bad rule file that its fault is named with
// file, line and column and says what to do, that the good rule beside it is
// used, and that what is allocated on the way is bounded. Files that are only
// large load.
func TestBadRules(t *testing.T) {
	const mb = 1 << 20
	cycle := `title: A
name: a
correlation: {type: event_count, rules: [b], group-by: [User], timespan: 1m, condition: {gte: 2}}
---
title: B
name: b
correlation: {type: event_count, rules: [a], group-by: [User], timespan: 1m, condition: {gte: 2}}
`
	laughs := "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
	for c := byte('b'); c < 'm'; c++ {
		laughs += fmt.Sprintf("%c: &%c [%s]\n", c, c, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*%c, ", c-1), 10), ", "))
	}
	for _, c := range []struct {
		name, text string
		want       string // how the fault begins, after the file's name; "" if the file loads
		hint       string
		budget     int // megabytes allocated, in all
	}{
		{"10 MB in one value", hostileRule("CommandLine|contains: '" + strings.Repeat("x", 10*mb) + "'"), "", "", 1000},
		{"10 MB of comments", strings.Repeat("# "+strings.Repeat("c", 98)+"\n", 100_000) + hostileRule("Image: a"), "", "", 500},
		{"more than 16 MB", strings.Repeat("#", 17*mb) + "\n" + hostileRule("Image: a"), ":1:1: the file has 16777217 bytes", "(split it)", 100},
		{"100,000 values", hostileRule("CommandLine|contains:" + many(100_000, "\n      - v%d")), "", "", 1200},
		{"210,000 values", hostileRule("CommandLine|contains:" + many(210_000, "\n      - v%d")), ":199993:9: the file holds more than 200000 values", "(split it, or look for aliases", 1500},
		{"a million values", hostileRule("CommandLine|contains: [" + strings.Repeat("v,", mb) + "v]"), ":6:999995: the file has more than 500000 lines, items and keys", "(split it)", 100},
		{"a text of a million lines", "a: |\n" + strings.Repeat(" x\n", mb) + hostileRule("Image: a"), ":500001:1: the file has more than 500000 lines, items and keys", "(split it)", 100},
		{"a map of 100,000 keys", many(100_000, "k%d: v\n"), ":3001:6: the map has more than 3000 keys", "(write a list, or several searches)", 300},
		{"3,001 searches", hostileRule("Image: a" + many(3001, "\n  s%d:\n    Image: b")), ":6005:8: the map has more than 3000 keys", "several searches", 300},
		{"a regex of 10 MB", hostileRule("CommandLine|re: '" + strings.Repeat("(a|b)", 2*mb) + "'"), `:6:21: rule "Bad": the regular expression has 10485760 bytes, more than the bound of 65536`, "(write several values)", 1000},
		{"a regex of counted repeats", hostileRule("CommandLine|re: '(a{1000}){1000}'"), `:6:21: rule "Bad": the regular expression cannot be used: invalid repeat count: {1000}`, "(repeats count to 1000 at most", 50},
		{"a regex of many repeats", hostileRule("CommandLine|re: '" + many(100, "%d.{900}|") + "'"), `:6:21: rule "Bad": the regular expression comes to`, "more than the bound of 10000", 100},
		{"20,000 large regexes", hostileRule("CommandLine|re:" + many(20_000, "\n      - '%d.{900}'")), `rule "Bad": the regular expressions of the file come to more than 2000000 instructions`, "(use contains,", 1500},
		{"a regex that looks back", hostileRule("CommandLine|re: '(?<!a)b'"), `:6:21: rule "Bad": the regular expression cannot be used`, "cannot be matched in linear time", 50},
		{"a regex that back-tracks elsewhere", hostileRule("CommandLine|re: '(a+)+$'"), "", "", 50},
		{"correlations in a circle", cycle, `:7:42: rule "B": correlations name each other in a circle: "A" names "B" names "A"`, "(let one of them name only rules)", 50},
		{"duplicate ids", hostileRule("Image: a") + "---\n" + hostileRule("Image: b"), `:9:1: rule "Bad": has the same id as bad/bad.yml`, "(give each rule an id of its own)", 50},
		{"duplicate keys", hostileRule("Image: a\n    Image: b"), `:7:5: not valid YAML: mapping key "Image" already defined`, "(write the values of both as one list", 50},
		{"an anchor bomb", laughs + hostileRule("Image: *l"), ":1:26: the file holds more than 200000 values", "aliases that multiply", 200},
		{"an alias of itself", hostileRule("Image: &a [x, *a]"), ":6:19: the alias *a refers to itself", "(write the values out)", 50},
		{"UTF-16 LE with a mark", utf16Text(hostileRule("Image: a"), false, true), ":1:1: the file is UTF-16LE", "(save it as UTF-8)", 50},
		{"UTF-16 BE with a mark", utf16Text(hostileRule("Image: a"), true, true), ":1:1: the file is UTF-16BE", "(save it as UTF-8)", 50},
		{"UTF-16 LE without a mark", utf16Text(hostileRule("Image: a"), false, false), ":1:1: the file is UTF-16LE", "(save it as UTF-8)", 50},
		{"UTF-16 BE without a mark", utf16Text(hostileRule("Image: a"), true, false), ":1:1: the file is UTF-16BE", "(save it as UTF-8)", 50},
		{"Latin-1", hostileRule("Image: caf\xe9"), ":6:15: the file is not valid UTF-8 here (byte 0xE9)", "(save it as UTF-8; it may be Latin-1", 50},
		{"UTF-8 with a mark", "\uFEFF" + hostileRule("Image: a"), "", "", 50},
		{"NUL", hostileRule("Image: a\x00b"), ":6:13: the file has a NUL character here", "(it is damaged, or no text", 50},
		{"no text at all", string(bytes.Repeat([]byte{0, 1, 2, 0xFF, 'a'}, 1000)), ":1:1: the file has a NUL character here", "(it is damaged", 50},
		{"nothing", "", ":1:1: the file holds no rule", "(a rule has at least", 50},
		{"brackets 100,000 deep", hostileRule("Image: " + strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000)), ":6:112: the YAML is nested more than 100 levels deep", "(no rule needs that", 200},
		{"lists 50,000 deep", hostileRule("Image: a") + "x:\n  " + strings.Repeat("- ", 50_000) + "y\n", ":9:203: the YAML is nested more than 100 levels deep", "(no rule needs that", 200},
		{"maps 2,000 deep", "x:\n" + func() string {
			var b strings.Builder
			for i := range 2000 {
				b.WriteString(strings.Repeat(" ", i+1) + "a:\n")
			}
			return b.String()
		}() + hostileRule("Image: a"), ":102:103: the YAML is nested more than 100 levels deep", "(no rule needs that", 300},
		{"a condition 50,000 deep", strings.Replace(hostileRule("Image: a"), "condition: s", "condition: "+strings.Repeat("(", 50_000)+"s", 1), `:7:14: rule "Bad": the condition is longer than 16384 bytes`, "(give searches names", 50},
		{"a condition 5,000 deep", strings.Replace(hostileRule("Image: a"), "condition: s", "condition: "+strings.Repeat("(", 5000)+"s"+strings.Repeat(")", 5000), 1), `rule "Bad": `, "100 levels deep", 50},
		{"a placeholder without a value", hostileRule("Image|expand: '%x%'"), `:6:19: rule "Bad": the placeholder %x% has no value`, "(give values for it with --placeholders", 50},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			writeFile(t, "bad/bad.yml", c.text)
			writeFile(t, "bad/good.yml", goodRule)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			code, stdout, _ := runHere(t, "rules", "check", "--no-tests", "bad")
			runtime.ReadMemStats(&after)
			if mb := int((after.TotalAlloc - before.TotalAlloc) >> 20); mb > c.budget {
				t.Errorf("%d MB were allocated, more than %d", mb, c.budget)
			}
			for line := range strings.Lines(stdout) {
				if len(line) > maxMessage+200 {
					t.Errorf("a line has %d bytes", len(line))
				}
			}
			if c.want == "" {
				if code != exitNothing || !strings.Contains(stdout, "2 rules good, 0 faults") {
					t.Errorf("status %d\n%.400s", code, stdout)
				}
				return
			}
			first, _, _ := strings.Cut(stdout, "\n")
			if code != exitFound || !strings.HasPrefix(first, "bad/bad.yml:") || !strings.Contains(first, c.want) || !strings.Contains(first, c.hint) || strings.Contains(stdout, "\n0 rules good") {
				t.Errorf("status %d, want bad/bad.yml%s … %s\n%.400s", code, c.want, c.hint, stdout)
			}
		})
	}
}

func writeFile(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// runHere runs a command line in this process.
func runHere(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), args, &out, &errs)
	return code, out.String(), errs.String()
}

// oddRules ask for every sort of value.
const oddRules = `title: Contains
id: 6f1f1d0e-5e0b-4a94-8f0a-0f2d5c9f0b11
logsource: {category: process_creation, product: windows}
detection:
  s:
    CommandLine|contains: needle
  condition: s
level: high
---
title: Regex
id: 6f1f1d0e-5e0b-4a94-8f0a-0f2d5c9f0b12
logsource: {category: process_creation, product: windows}
detection:
  s:
    CommandLine|re: 'n[e]+dle$'
  condition: s
level: high
---
title: Keyword
id: 6f1f1d0e-5e0b-4a94-8f0a-0f2d5c9f0b13
logsource: {product: windows}
detection:
  s:
    - needle
  condition: s
level: high
---
title: Number
id: 6f1f1d0e-5e0b-4a94-8f0a-0f2d5c9f0b14
logsource: {category: process_creation, product: windows}
detection:
  s:
    TerminalSessionId|gte: 7
  condition: s
level: high
---
title: Absent
id: 6f1f1d0e-5e0b-4a94-8f0a-0f2d5c9f0b15
logsource: {category: process_creation, product: windows}
detection:
  s:
    CommandLine: null
  condition: s
level: high
---
title: Not
id: 6f1f1d0e-5e0b-4a94-8f0a-0f2d5c9f0b16
logsource: {category: process_creation, product: windows}
detection:
  s:
    Image|endswith: '\odd.exe'
  f:
    CommandLine|contains: '*'
  condition: s and not f
level: high
`

// TestBadEvents holds what rules find in records whose fields are absent, huge,
// of the wrong type, or lists where one value is expected, through a scan; a
// good record beside them is found, and no record is lost.
func TestBadEvents(t *testing.T) {
	huge := strings.Repeat("x", 1<<20)
	for _, c := range []struct {
		name, data string // the members of EventData
		want       string // the rules that fire, sorted
	}{
		{"absent fields", `"Image": "C:\\odd.exe"`, "Absent Not"},
		{"no fields", ``, "Absent"},
		{"1 MB, found at the end", `"Image": "C:\\odd.exe", "CommandLine": "` + huge + `needle"`, "Contains Keyword Regex"},
		{"1 MB, found at the beginning", `"Image": "C:\\odd.exe", "CommandLine": "needle` + huge + `"`, "Contains Keyword"},
		{"1 MB, not found", `"Image": "C:\\odd.exe", "CommandLine": "` + strings.Repeat("needl", 1<<18) + `"`, ""},
		{"a number for text", `"Image": "C:\\odd.exe", "CommandLine": 12`, ""},
		{"text for a number", `"Image": "C:\\odd.exe", "CommandLine": "a", "TerminalSessionId": "many"`, ""},
		{"a number as text", `"Image": "C:\\odd.exe", "CommandLine": "a", "TerminalSessionId": "7"`, "Number"},
		{"a number beyond all", `"Image": "C:\\odd.exe", "CommandLine": "a", "TerminalSessionId": 99999999999999999999999999`, "Number"},
		{"a truth value", `"Image": "C:\\odd.exe", "CommandLine": true`, ""},
		{"null", `"Image": "C:\\odd.exe", "CommandLine": null`, "Absent Not"},
		{"a list of texts", `"Image": "C:\\odd.exe", "CommandLine": ["a", "needle"]`, "Contains Keyword Regex"},
		{"a list of 10,000", `"Image": "C:\\odd.exe", "CommandLine": ["a"` + strings.Repeat(`,"b"`, 10_000) + `]`, ""},
		{"an object", `"Image": "C:\\odd.exe", "CommandLine": {"a": "b"}`, "Absent Not"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			writeFile(t, "rules/odd.yml", oddRules)
			writeFile(t, "rules/good.yml", goodRule)
			record := func(id int, data string) string {
				return fmt.Sprintf(`{"Event":{"System":{"Provider":{"#attributes":{"Name":"Microsoft-Windows-Sysmon"}},"EventID":1,`+
					`"Channel":"Microsoft-Windows-Sysmon/Operational","Computer":"PC%d","EventRecordID":%d,`+
					`"TimeCreated":{"#attributes":{"SystemTime":"2026-03-03T02:00:00.000000Z"}}},"EventData":{%s}}}`+"\n", id, id, data)
			}
			writeFile(t, "logs/a.ndjson", record(1, c.data)+record(2, `"Image": "C:\\good.exe", "CommandLine": "good", "ProcessId": "4"`))
			code, stdout, stderr := runHere(t, "scan", "--quiet", "--no-pack", "--rules", "rules", "--min-severity", "informational", "--format", "json", "logs")
			if code != exitFound {
				t.Fatalf("status %d: %s", code, stderr)
			}
			statsCode, stats, stderr := runHere(t, "rules", "stats", "--rules", "rules", "--format", "json", "--sample", "0", "--quiet", "logs")
			if statsCode != exitNothing {
				t.Fatalf("status %d: %s", statsCode, stderr)
			}
			var measured struct {
				Events int64
				Rules  []struct {
					Title string
					Hits  int64
				}
			}
			if err := json.Unmarshal([]byte(stats), &measured); err != nil {
				t.Fatal(err)
			}
			var fired []string
			good := false
			for _, r := range measured.Rules {
				inScan := strings.Contains(stdout, `"`+r.Title+`"`)
				if inScan != (r.Hits > 0) {
					t.Errorf("%s: %d hits, and in the scan's findings: %t", r.Title, r.Hits, inScan)
				}
				if r.Title == "Good" {
					good = r.Hits == 1
				} else if r.Hits > 0 {
					fired = append(fired, r.Title)
				}
			}
			if !good || measured.Events != 2 {
				t.Errorf("%d events, and the good record is found: %t", measured.Events, good)
			}
			slices.Sort(fired)
			if got := strings.Join(fired, " "); got != c.want {
				t.Errorf("fired: %q, want %q", got, c.want)
			}
		})
	}
}
