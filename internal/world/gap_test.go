package world

import (
	"fmt"
	"testing"
	"time"

	"ashiato/internal/event"
)

func gapEvents(kinds ...event.Event) []Gap {
	w := New(Limits{})
	for n, e := range kinds {
		e.Host, e.Provider, e.Time = "pc", "p", t0.Add(time.Duration(n)*time.Minute)
		e.Ref = event.EvidenceRef{Host: "pc", Channel: e.Channel, RecordID: uint64(n + 1), File: "f"}
		w.Add(&e)
	}
	return w.Gaps()
}

// TestStoppedSensors holds that a sensor is not taken for running because another
// one started, nor for stopped because it stopped twice before it started.
func TestStoppedSensors(t *testing.T) {
	state := func(channel, state string) event.Event {
		return event.Event{Kind: event.SensorState, ID: 4, Channel: channel, Data: event.Fields{{Name: "State", Value: state}}}
	}
	for _, c := range []struct {
		name   string
		events []event.Event
		want   string
	}{
		{"started again", []event.Event{state("a", "Stopped"), state("A", "Started")}, "0m0s–1m0s "},
		{"another one started", []event.Event{state("a", "Stopped"), state("b", "Started")}, "0m0s– "},
		{"twice", []event.Event{state("a", "Stopped"), state("a", "Stopped"), state("a", "Started")}, "0m0s–2m0s "},
		{"both", []event.Event{state("a", "Stopped"), state("b", "Stopped"), state("b", "Started")}, "0m0s– 1m0s–2m0s "},
	} {
		got := ""
		minutes := func(x time.Time) string {
			if x.IsZero() {
				return ""
			}
			return fmt.Sprintf("%dm0s", int(x.Sub(t0).Minutes()))
		}
		for _, g := range gapEvents(c.events...) {
			if g.Reason == "sensor-stopped" {
				got += minutes(g.From) + "–" + minutes(g.To) + " "
			}
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

// TestVeryManyGaps holds that of very many gaps those of one reason and log are told
// as one, so that many incidents with many gaps each do not take the square, and
// that few are told one by one.
func TestVeryManyGaps(t *testing.T) {
	for name, channel := range map[string]func(int) string{
		"one log": func(int) string { return "c" }, "a log for each": func(n int) string { return fmt.Sprint("c", n) },
	} {
		t.Run(name, func(t *testing.T) {
			const many = 5000
			w := New(Limits{})
			at := func(n int) time.Time { return t0.Add(time.Duration(n) * time.Second) }
			for n := range many {
				c := channel(n)
				w.Add(&event.Event{
					Kind: event.LogCleared, ID: 1102, Host: "pc", Provider: "p", Channel: c, Time: at(n),
					Ref: event.EvidenceRef{Host: "pc", Channel: c, RecordID: uint64(n + 1), File: "f"},
				})
			}
			if all := w.GapsWithin("PC", at(100), at(199)); len(all) != 100 || !all[0].From.Equal(at(100)) || !all[99].To.Equal(at(199)) {
				t.Errorf("%d gaps of 100", len(all))
			}
			all := w.GapsWithin("pc", at(0), at(many))
			if len(all) > 257 {
				t.Fatalf("%d gaps", len(all))
			}
			first, last := all[0].From, all[0].To
			for _, g := range all {
				if g.To.After(last) {
					last = g.To
				}
				if len(g.Evidence) == 0 || len(g.Evidence) > 8 {
					t.Errorf("%d records are cited", len(g.Evidence))
				}
			}
			if !first.Equal(at(0)) || !last.Equal(at(many-1)) {
				t.Errorf("from %v to %v", first, last)
			}
		})
	}
}
