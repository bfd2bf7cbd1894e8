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

// No rule that holds for a record is one that Interest says cannot, whether it
// knows the names of the record's fields or not, and also where fields have the
// names of the System part.
func TestInterestLeavesOutNothingThatHolds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var rules []*sigma.Rule
		for i := range rapid.IntRange(1, 6).Draw(t, "rules") {
			parsed, _ := sigma.Parse("random.yml", []byte(ruleYAML(t, fmt.Sprintf("rule %d", i))))
			rules = append(rules, parsed...)
		}
		engine, errs := sigma.Compile(rules, sigma.Options{})
		if len(errs) > 0 {
			t.Fatal(errs)
		}
		m, interest := engine.Matcher(), engine.Interest()
		for range 4 {
			e := &event.Event{
				Kind:    rapid.SampledFrom([]event.Kind{event.ProcessCreate, event.FileAccess, event.Other}).Draw(t, "kind"),
				ID:      rapid.SampledFrom([]uint32{1, 42, 4688}).Draw(t, "id"),
				Channel: rapid.SampledFrom([]string{"Security", "security", "Foo"}).Draw(t, "channel"),
				Data:    someFields.Draw(t, "data"), Canon: someFields.Draw(t, "canon"),
			}
			shadows := rapid.IntRange(0, 3).Draw(t, "shadow") == 0
			if shadows {
				e.Data = append(e.Data, event.Field{
					Name:  rapid.SampledFrom([]string{"EventID", "Event ID", "Channel"}).Draw(t, "name"),
					Value: rapid.SampledFrom([]string{"1", "42", "Foo"}).Draw(t, "value"),
				})
			}
			names := map[string]bool{}
			for _, f := range slices.Concat(e.Canon, e.Data) {
				names[strings.ReplaceAll(f.Name, " ", "")] = true
			}
			held := fast(m, e)
			bare := &event.Event{Kind: e.Kind, ID: e.ID, Provider: e.Provider, Channel: e.Channel}
			if len(held) > 0 && !interest.Any(bare, func(n string) bool { return names[n] }) {
				t.Fatalf("%q hold, and none is said to be able to", held)
			}
			if shadows {
				continue // Mark is not told
			}
			marked := make([]bool, interest.Len())
			interest.Mark(bare, marked)
			for i, r := range engine.Rules() {
				if slices.Contains(held, r.Title) && !marked[i] {
					t.Fatalf("%s holds, and is not marked", r.Title)
				}
			}
		}
	})
}

func TestInterest(t *testing.T) {
	const head = "title: T\nlogsource: {product: windows, service: security}\ndetection: "
	for _, test := range []struct {
		name, detection string
		id              uint32
		fields          []string
		want            bool
	}{
		{"event id", "{s: {EventID: 4624}, condition: s}", 4624, nil, true},
		{"another event id", "{s: {EventID: 4624}, condition: s}", 4625, nil, false},
		{"not that event id", "{s: {F: x}, n: {EventID: 4624}, condition: s and not n}", 4624, []string{"F"}, false},
		{"one of two", "{s: {EventID: 4624}, n: {F: x}, condition: s or n}", 4625, []string{"F"}, true},
		{"absent field", "{s: {EventID: 4624, F: x}, condition: s}", 4624, []string{"G"}, false},
		{"its field", "{s: {EventID: 4624, F: x}, condition: s}", 4624, []string{"G", "F"}, true},
		{"absent and asked to be", "{s: {F: null}, condition: s}", 1, []string{"G"}, true},
		{"absent and not equal", "{s: {F|neq: x}, condition: s}", 1, nil, true},
		{"own field instead of System's", "{s: {EventID: 4624}, condition: s}", 4625, []string{"EventID"}, true},
		{"System's that differ", "{s: {Computer: x}, condition: s}", 1, nil, true},
		{"keywords", "{k: [x], condition: k}", 1, nil, true},
		{"reference to another field", "{s: {EventID|fieldref: F}, condition: s}", 1, []string{"F"}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			rules, errs := sigma.Parse("t.yml", []byte(head+test.detection+"\n"))
			if len(errs) > 0 {
				t.Fatal(errs)
			}
			engine, errs := sigma.Compile(rules, sigma.Options{})
			if len(errs) > 0 {
				t.Fatal(errs)
			}
			e := &event.Event{Channel: "Security", Provider: "P", ID: test.id}
			if got := engine.Interest().Any(e, func(n string) bool { return slices.Contains(test.fields, n) }); got != test.want {
				t.Errorf("Any is %t", got)
			}
			e.Channel = "System"
			if engine.Interest().Any(e, func(string) bool { return true }) {
				t.Error("Any is true of another log")
			}
		})
	}
}
