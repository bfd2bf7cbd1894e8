package world

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"ashiato/internal/event"
)

// TestPartsKnowWhatTheWholeKnows holds that a part answers as a World of only its
// hosts' events, and that asking it changes nothing.
func TestPartsKnowWhatTheWholeKnows(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := mixed(t, 80)
		whole, asked := l.world(), l.world()
		keys := asked.HostKeys()
		chosen := map[string]bool{}
		for _, k := range keys {
			if rapid.Bool().Draw(t, "chosen") {
				chosen[k] = true
			}
		}
		var part []string
		for k := range chosen {
			part = append(part, k)
		}
		only := New(Limits{})
		for _, e := range l.events {
			if chosen[HostKey(e.Host)] {
				only.Add(e)
			}
		}
		if diff := cmp.Diff(describeWorld(only), describeWorld(asked.Part(part...))); diff != "" {
			t.Fatalf("a part of %q:\n%s", part, diff)
		}
		if diff := cmp.Diff(describeWorld(whole), describeWorld(asked)); diff != "" {
			t.Fatalf("the whole after a part of it was asked:\n%s", diff)
		}
	})
}

func TestPartOfUnknownHost(t *testing.T) {
	var l log
	l.start(0, 1, 0)
	w := l.world()
	if got := w.HostKeys(); !slices.Equal(got, []string{"pc"}) {
		t.Errorf("hosts %q", got)
	}
	if p := w.Part("nobody"); len(p.Records()) != 0 || len(p.Processes()) != 0 || p.RecordOf(&event.Event{Host: "nobody"}) == nil {
		t.Error("a part of a host that is not there knows something")
	}
}
