package sigma

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"ashiato/internal/event"
)

// everything is rules that use all there is.
const everything = `
title: Every key
id: 5e0f2b0a-6b3c-4d7e-9d7e-0123456789ab
name: every_key
status: odd
description: d
author: a
date: 2026-01-02
modified: 2026-01-03
license: l
references: [r]
falsepositives: [f]
tags: [attack.execution, attack.t1059.001]
level: high
unknownkey: 1
logsource: {product: windows, category: process_creation, definition: all}
detection:
  image: {Image|endswith: ['\cmd.exe', '.scr', 'x.y']}
  whole: {OriginalFileName: [cmd.exe, '']}
  line:
    CommandLine|contains|all: [' alpha beta', 'gamma']
  other:
    CommandLine|contains: ['delta force', 'epsilon', 'zeta eta', ', #', 'äöü', 'ß¶']
    CommandLine|windash|contains: ' -theta'
  cased: {CommandLine|cased|contains: 'Iota'}
  glob: {CommandLine: 'ka?pa*lam?da*'}
  start: {CurrentDirectory|startswith: 'C:\Mu'}
  not_this: {User|neq: nu}
  filter: {ParentImage: null}
  there: {Product|exists: true}
  both: {LogonId: '0x3e7', Object Name: x}
  condition: (image or whole or glob) and (line or other or cased or start) and not filter or there and not_this and both or both and not filter
ashiato:
  name: Execution/Test.Example
  aliases: [old]
  behaviour: some-behaviour
  texts:
    en: {title: t, meaning: m, why: w, check: c, benign: b, action: a}
    ja: {title: t, meaning: m, check: c, benign: b, action: a}
    ko: {title: t, meaning: m, check: c, benign: b, action: a}
---
title: Files
logsource: {product: windows, category: file_access}
detection:
  a: {FileName|endswith: ['\login data', '.kdbx']}
  condition: a
---
title: Letters
logsource: {product: windows, category: file_event}
detection:
  a: {TargetFilename|contains: ['söme', 'thing', ' éa', 'zü']}
  condition: a
---
title: Comparisons
id: 11111111-6b3c-4d7e-9d7e-0123456789ab
logsource: {product: windows, service: security}
detection:
  a: {IpAddress|cidr: 10.0.0.0/8}
  b: {A|gt: -5, B|lte: 1.5, UtcTime|hour|gte: 7}
  c: {F|fieldref: G}
  d: {F|fieldref|cased: G}
  e: {F|fieldref|startswith: G}
  f: {F|fieldref|endswith: G}
  g: {Hash|re: '[a-f0-9]{64}'}
  h: {Hash|re: 'abc.*defg'}
  i: {Hash|re: '(foo|bar)baz\d'}
  j: {Hash|re: '[0-9]{9}'}
  condition: 1 of them and EventIDs
  EventIDs: {EventID: 4688}
---
title: Anything
id: 22222222-6b3c-4d7e-9d7e-0123456789ab
logsource: {product: windows, service: security}
detection:
  k: [keyword one, 'k?y', '#+']
  re:
    '|re': 'k[ab]+z'
  none: {Gone: null}
  condition: k or re
---
title: Not there
id: 33333333-6b3c-4d7e-9d7e-0123456789ab
logsource: {product: windows, service: security}
detection:
  none: {Gone: null}
  condition: none
---
title: Counted
id: 44444444-6b3c-4d7e-9d7e-0123456789ab
correlation:
  type: value_percentile
  rules: [every_key, Two]
  group-by: [User, who]
  timespan: 5m
  condition: {field: Amount, percentile: 90, gte: 2}
  aliases: {who: {every_key: ParentUser, Two: TargetUser}}
generate: true
level: critical
---
title: Two
name: Two
id: 55555555-6b3c-4d7e-9d7e-0123456789ab
correlation:
  type: temporal
  rules: [11111111-6b3c-4d7e-9d7e-0123456789ab, 22222222-6b3c-4d7e-9d7e-0123456789ab]
  group-by: [User]
  timespan: 1h
  condition: 11111111-6b3c-4d7e-9d7e-0123456789ab and not 22222222-6b3c-4d7e-9d7e-0123456789ab
`

func compileEverything(t testing.TB) *compiled {
	t.Helper()
	var parsed Collection
	if errs := parsed.Parse("everything.yml", []byte(everything)); len(errs) > 0 {
		t.Fatal(errs)
	}
	// A rule of many literals has all kinds of index.
	var many strings.Builder
	many.WriteString("title: Many\nlogsource: {product: windows, category: registry_set}\ndetection:\n  a:\n    TargetObject|contains:\n")
	for i := range 40 {
		many.WriteString("      - 'software\\number" + strings.Repeat(string(rune('a'+i%26)), 4+i) + "'\n")
	}
	many.WriteString("  condition: a\n")
	if errs := parsed.Parse("many.yml", []byte(many.String())); len(errs) > 0 {
		t.Fatal(errs)
	}
	engine, errs := Compile(parsed.Rules, Options{})
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	correlations, errs := Correlate(parsed.Correlations, engine.Rules(), CorrelateOptions{})
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	return &compiled{Engine: engine, correlations: correlations}
}

// worked are the fields that are not written: they follow from others, or are not
// needed again.
var worked = []string{
	"Rule.conditions", "Rule.items", "Rule.regexes",
	"Correlation.refs", "Correlation.aliases", "Correlation.condition",
	"expression.once", "expression.re",
	"slot.systemAlias", // no log source has such an alias
}

// TestEveryFieldIsWritten holds that a compiled engine is the same when it was
// written and read, in every field but those of worked, and that each of them is
// in use here: a field that is added must be written, or be named there.
func TestEveryFieldIsWritten(t *testing.T) {
	c := compileEverything(t)
	seen := map[string]bool{}
	var forget func(v reflect.Value)
	done := map[any]bool{}
	forget = func(v reflect.Value) {
		switch v.Kind() {
		case reflect.Pointer:
			if !v.IsNil() && !done[v.UnsafePointer()] {
				done[v.UnsafePointer()] = true
				forget(v.Elem())
			}
		case reflect.Slice, reflect.Array:
			for i := range v.Len() {
				forget(v.Index(i))
			}
		case reflect.Map:
			for _, k := range v.MapKeys() {
				forget(v.MapIndex(k))
			}
		case reflect.Struct:
			typ := v.Type()
			if typ.PkgPath() != reflect.TypeFor[Engine]().PkgPath() {
				return
			}
			for i := range typ.NumField() {
				name := typ.Name() + "." + typ.Field(i).Name
				seen[name] = seen[name] || !v.Field(i).IsZero()
				if !slices.Contains(worked, name) {
					forget(v.Field(i))
				}
			}
		}
	}
	forget(reflect.ValueOf(c.Engine))
	forget(reflect.ValueOf(c.correlations))
	for name, used := range seen {
		if !used && !slices.Contains(worked, name) {
			t.Errorf("%s is zero everywhere: let the rules of this test use it, and codec.go write it", name)
		}
	}
	if len(seen) < 100 {
		t.Errorf("only %d fields were looked at", len(seen))
	}
	data, err := AppendCompiled([]byte("before"), c.Engine, c.correlations)
	if err != nil {
		t.Fatal(err)
	}
	data, ok := bytes.CutPrefix(data, []byte("before"))
	if !ok {
		t.Fatal("what was there before is gone")
	}
	engine, correlations, err := ReadCompiled(string(data))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range c.Engine.rules {
		r.rule.conditions, r.rule.items = nil, nil
	}
	for _, x := range c.correlations {
		x.refs, x.aliases, x.condition = nil, nil, nil
	}
	if !reflect.DeepEqual(engine.Rules(), c.Engine.Rules()) {
		t.Error("the rules differ")
	}
	if !reflect.DeepEqual(engine, c.Engine) {
		a, b := reflect.ValueOf(engine).Elem(), reflect.ValueOf(c.Engine).Elem()
		for i := range a.NumField() {
			if !reflect.DeepEqual(clone(a.Field(i)), clone(b.Field(i))) {
				t.Errorf("the engines differ in %s", a.Type().Field(i).Name)
			}
		}
	}
	if !reflect.DeepEqual(correlations, c.correlations) {
		t.Error("the correlations differ")
	}
	again, err := AppendCompiled(nil, engine, correlations)
	if err != nil || !bytes.Equal(again, data) {
		t.Errorf("what was read is written otherwise (%v)", err)
	}
	if _, errs := Compile(engine.Rules(), Options{}); len(errs) != len(engine.Rules()) {
		t.Errorf("%d of %d rules without conditions are refused", len(errs), len(engine.Rules()))
	}
}

// clone makes an unexported field's value comparable by itself.
func clone(v reflect.Value) any {
	return reflect.NewAt(v.Type(), v.Addr().UnsafePointer()).Elem().Interface()
}

// TestReadCompiledAgrees holds that an engine that was read finds what the
// compiled one does, also when several goroutines are the first to need its
// regular expressions.
func TestReadCompiledAgrees(t *testing.T) {
	c := compileEverything(t)
	data, err := AppendCompiled(nil, c.Engine, c.correlations)
	if err != nil {
		t.Fatal(err)
	}
	engine, _, err := ReadCompiled(string(data))
	if err != nil {
		t.Fatal(err)
	}
	var want [][]Match
	found := 0
	m := c.Matcher()
	for _, e := range everyEvent {
		want = append(want, m.Match(e, nil))
		found += len(want[len(want)-1])
	}
	if found < 3 {
		t.Errorf("%d matches prove little", found)
	}
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			m := engine.Matcher()
			for i, e := range everyEvent {
				got := m.Match(e, nil)
				if !slices.EqualFunc(got, want[i], func(a, b Match) bool {
					return a.Rule.Title == b.Rule.Title && slices.Equal(a.Fields, b.Fields)
				}) {
					t.Errorf("event %d: %v, want %v", i, got, want[i])
				}
			}
		})
	}
	all.Wait()
}

// everyEvent is events for the rules of everything.
var everyEvent = []*event.Event{
	{Kind: event.ProcessCreate, ID: 1, Channel: "Microsoft-Windows-Sysmon/Operational", Provider: "Microsoft-Windows-Sysmon", Data: event.Fields{
		{Name: "Image", Value: `C:\Windows\System32\CMD.exe`},
		{Name: "CommandLine", Value: `cmd /c alpha beta gamma -theta Iota, #1 äöü delta force`},
		{Name: "CommandLine", Value: `kappa lambda`},
		{Name: "OriginalFileName", Value: "Cmd.Exe"},
		{Name: "Product", Value: "x"},
		{Name: "CurrentDirectory", Value: `C:\Music`},
		{Name: "User", Value: "A"},
	}},
	{ID: 4688, Channel: "Security", Provider: "Microsoft-Windows-Security-Auditing", Data: event.Fields{
		{Name: "IpAddress", Value: "10.1.2.3"},
		{Name: "A", Value: "7"},
		{Name: "B", Value: "1"},
		{Name: "UtcTime", Value: "2026-01-02 08:00:00"},
		{Name: "F", Value: "abc"},
		{Name: "G", Value: "ABC"},
		{Name: "Hash", Value: strings.Repeat("0123456789abcdef", 4)},
		{Name: "H", Value: "a keyword one and kababz"},
		{Name: "Hash", Value: "foobaz1"},
	}},
	{ID: 4688, Channel: "Security", Provider: "Microsoft-Windows-Security-Auditing", Data: event.Fields{{Name: "Hash", Value: "xx foobaz1"}}},
	{ID: 1, Channel: "Security", Provider: "Microsoft-Windows-Security-Auditing", Data: event.Fields{{Name: "H", Value: "a kababz"}}},
	{Kind: event.RegistrySet, ID: 13, Channel: "Microsoft-Windows-Sysmon/Operational", Data: event.Fields{
		{Name: "TargetObject", Value: `HKLM\Software\NumberCCCCCC and more than that`},
	}},
}

// FuzzReadCompiled changes what was written. What comes of it is refused, or an
// engine that can be used: whatever it finds, it ends and does not panic.
func FuzzReadCompiled(f *testing.F) {
	c := compileEverything(f)
	data, err := AppendCompiled(nil, c.Engine, c.correlations)
	if err != nil {
		f.Fatal(err)
	}
	if len(data) > 1<<16 {
		f.Fatalf("%d bytes are more than edits reach", len(data))
	}
	f.Add([]byte{}, uint16(0))
	f.Add([]byte{0, 3, 1, 4, 0, 0xFF}, uint16(0))
	f.Add([]byte{}, uint16(5000))
	random := rand.New(rand.NewPCG(1, 2))
	for range 2000 { // which every run of the tests tries
		edits := make([]byte, 3*(1+random.IntN(3)))
		for i := range edits {
			edits[i] = byte(random.Uint32())
		}
		f.Add(edits, uint16(0))
	}
	// Each three bytes of edits are a place and what is put there; cut is how much
	// of the end is missing.
	f.Fuzz(func(t *testing.T, edits []byte, cut uint16) {
		data := bytes.Clone(data)
		for ; len(edits) >= 3; edits = edits[3:] {
			data[int(binary.BigEndian.Uint16(edits))%len(data)] = edits[2]
		}
		data = data[:len(data)-int(cut)%len(data)]
		engine, correlations, err := ReadCompiled(string(data))
		if err != nil {
			if engine != nil || correlations != nil {
				t.Fatal("an error, and an engine")
			}
			return
		}
		m := engine.Matcher()
		interest := engine.Interest()
		for _, e := range everyEvent {
			for range 2 { // the second time from what was remembered
				for _, match := range m.Match(e, nil) {
					if !slices.Contains(engine.Rules(), match.Rule) {
						t.Fatal("a match of a rule that is not there")
					}
					match.Rule.Field(e, "Image")
				}
			}
			interest.Any(e, func(string) bool { return false })
		}
		for _, x := range correlations {
			for i := range x.Bases {
				x.Field(i, "User")
			}
			x.Holds(math.Pi)
		}
		if _, err := AppendCompiled(nil, engine, correlations); err != nil {
			t.Fatal(err)
		}
	})
}
