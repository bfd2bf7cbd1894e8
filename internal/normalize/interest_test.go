package normalize

import (
	"os"
	"regexp"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"ashiato/internal/event"
)

// derived names every field that the functions of this package set by name.
func TestDerivedFieldsAreNamed(t *testing.T) {
	found := 0
	for _, file := range []string{"tables.go", "normalize.go"} {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`\bset\(e, "([^"]+)"`).FindAllStringSubmatch(string(source), -1) {
			found++
			if !slices.Contains(derived, m[1]) {
				t.Errorf("%s sets %s, which derived does not name", file, m[1])
			}
		}
	}
	if found == 0 {
		t.Error("no function sets a field")
	}
}

// What Event makes of a record, Kinds and Adds have said.
func TestKindsAndAdds(t *testing.T) {
	var names []string
	type source struct{ provider, channel string }
	var sources []source
	for p := range providers {
		sources = append(sources, source{p, ""})
	}
	for c := range channels {
		sources = append(sources, source{"", c})
	}
	slices.SortFunc(sources, func(a, b source) int {
		return slices.Compare([]string{a.provider, a.channel}, []string{b.provider, b.channel})
	})
	ids := []uint32{9999}
	for _, rows := range tables {
		for id, r := range rows {
			ids = append(ids, id)
			for _, m := range r.fields {
				names = append(names, m.raw)
			}
		}
	}
	slices.Sort(ids)
	names = append(names, "SubjectUserName", "SubjectLogonId", "TargetUserName", "TargetLogonId", "ObjectName", "ObjectType", "EventType", "Capacity", "param1", "UtcTime")
	slices.Sort(names)
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.SampledFrom(sources).Draw(t, "source")
		e := &event.Event{Provider: s.provider, Channel: s.channel, ID: rapid.SampledFrom(ids).Draw(t, "id")}
		for range rapid.IntRange(0, 8).Draw(t, "fields") {
			e.Data = append(e.Data, event.Field{
				Name:  rapid.SampledFrom(names).Draw(t, "name"),
				Value: rapid.SampledFrom([]string{"0x10", "File", "Key", "x", "DeleteKey", "0", "S-1-16-8192", "2026-03-02 10:00:00"}).Draw(t, "value"),
			})
		}
		logged := e.Time
		Event(e)
		if !slices.Contains(Kinds(e.Provider, e.Channel, e.ID), e.Kind) {
			t.Errorf("a record of the kind %v, which Kinds does not name", e.Kind)
		}
		for _, f := range e.Canon {
			if !Adds(e.Provider, e.Channel, e.ID, f.Name) {
				t.Errorf("the field %s was added, which Adds does not say", f.Name)
			}
		}
		if !e.Time.Equal(logged) && !slices.ContainsFunc(e.Data, func(f event.Field) bool { return ReadsTime(f.Name) }) {
			t.Errorf("the time was taken from a field that ReadsTime does not name")
		}
	})
}
