package ioc_test

import (
	"slices"
	"testing"

	"ashiato/internal/event"
)

// Every field in which an indicator is found is one that Fields names, and Fields
// names none for kinds that the set does not hold.
func TestFieldsAreThoseThatMatchLooksAt(t *testing.T) {
	for indicator, value := range map[string]string{
		"607ac6645be22077443b74cf38b92ce0": "MD5=607ac6645be22077443b74cf38b92ce0",
		"192.0.2.7":                        "192.0.2.7",
		"192.0.2.0/24":                     "192.0.2.9",
		"bad.example":                      "http://bad.example/x",
		"http://bad.example/x":             "http://bad.example/x",
	} {
		s := set(t, indicator+"\n")
		all := set(t, "607ac6645be22077443b74cf38b92ce0\n192.0.2.7\nbad.example\nhttp://other.example/y\n").Fields()
		found := 0
		for _, name := range append(all, "Nothing") {
			e := &event.Event{Data: event.Fields{{Name: name, Value: value}}}
			if hits := s.Match(e, nil); len(hits) > 0 {
				found++
				if !slices.Contains(s.Fields(), name) {
					t.Errorf("%s is found in %s, which Fields does not name", indicator, name)
				}
			}
		}
		if found == 0 || len(s.Fields()) >= len(all) {
			t.Errorf("%s: found in %d fields; Fields names %d, all sets together %d", indicator, found, len(s.Fields()), len(all))
		}
	}
	if f := set(t, "").Fields(); len(f) > 0 {
		t.Errorf("a set without indicators looks at %q", f)
	}
}
