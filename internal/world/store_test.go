package world

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"ashiato/internal/event"
)

// The fields that a record has are bits of one number.
func TestKeptFieldsFit(t *testing.T) {
	for k, names := range keptFields {
		if len(names) > 32 {
			t.Errorf("%s keeps %d fields", k, len(names))
		}
	}
}

// TestTextsAreTheirs holds that what is put is what is got, the same text at the
// same place, and that all are listed in order.
func TestTextsAreTheirs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		texts := newTexts()
		at := map[string]textRef{}
		var order []string
		for range rapid.IntRange(1, 200).Draw(t, "texts") {
			s := rapid.OneOf(rapid.StringN(0, 5, 20), rapid.Map(rapid.IntRange(0, 2*maxText), func(n int) string {
				return strings.Repeat(string(rune('a'+n%7)), n)
			})).Draw(t, "text")
			ref := texts.put(s)
			s = clip(s)
			if had, ok := at[s]; ok && had != ref {
				t.Fatalf("%.20q is at %d and at %d", s, had, ref)
			} else if !ok && s != "" {
				order = append(order, s)
			}
			at[s] = ref
		}
		for s, ref := range at {
			if got := texts.get(ref); got != s {
				t.Fatalf("%.20q is %.20q", s, got)
			}
		}
		var listed []string
		texts.each(func(ref textRef, s string) {
			if ref != at[s] {
				t.Fatalf("%.20q is listed at %d, not %d", s, ref, at[s])
			}
			listed = append(listed, s)
		})
		if !slices.Equal(listed, order) {
			t.Fatalf("%d listed, %d put", len(listed), len(order))
		}
	})
}

// TestKeptRecordsSayWhatEventsSay holds that a record that is kept says of every
// field what the event itself says.
func TestKeptRecordsSayWhatEventsSay(t *testing.T) {
	var kinds []event.Kind
	for _, k := range event.Kinds() {
		if _, ok := keptFields[k]; ok {
			kinds = append(kinds, k)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		w := New(Limits{})
		events := map[uint64]*event.Event{}
		for n := range rapid.IntRange(1, 30).Draw(t, "events") {
			e := &event.Event{
				Kind: rapid.SampledFrom(kinds).Draw(t, "kind"), ID: uint32(rapid.IntRange(0, 30).Draw(t, "id")), Task: uint16(n), PID: uint32(n),
				Host: "PC", Channel: rapid.SampledFrom([]string{"a", "B"}).Draw(t, "channel"), Provider: "p",
				Time: time.Unix(rapid.Int64Range(-1<<40, 1<<40).Draw(t, "sec"), int64(rapid.IntRange(0, 999_999_999).Draw(t, "nsec"))).UTC(),
				Ref:  event.EvidenceRef{Host: "PC", Channel: "a", RecordID: uint64(n + 1), File: "f", Offset: int64(n), SHA256: [32]byte{byte(n)}},
			}
			for _, name := range keptFields[e.Kind] {
				if rapid.Bool().Draw(t, "has") {
					e.Data = append(e.Data, event.Field{Name: name, Value: rapid.SampledFrom([]string{"", "-", "x", "exclusion", `C:\a b.exe`, "0x22"}).Draw(t, "value")})
				}
			}
			events[e.Ref.RecordID] = e
			w.Add(e)
		}
		for _, r := range w.Records() {
			e := events[r.Ref.RecordID]
			delete(events, r.Ref.RecordID)
			if !r.Time.Equal(e.Time) || r.Kind != e.Kind || r.ID != e.ID || r.Task != e.Task || r.PID != e.PID || r.Ref != e.Ref ||
				r.Host != e.Host || r.Channel != e.Channel || r.Provider != e.Provider {
				t.Fatalf("%+v is kept as %+v", e, r)
			}
			other := w.RecordOf(e)
			for _, name := range keptFields[e.Kind] {
				want := e.Value(name)
				if alt := strings.TrimSuffix(name, "Guid") + "GUID"; want == "" && strings.HasSuffix(name, "Guid") && slices.Contains(keptFields[e.Kind], alt) {
					want = e.Value(alt)
				}
				if strings.HasSuffix(name, "GUID") {
					continue
				}
				if want == "-" {
					want = ""
				}
				if got := r.Get(name); got != want || other.Get(name) != want {
					t.Fatalf("%s of %s is %q and %q, want %q", name, e.Kind, got, other.Get(name), want)
				}
			}
			if r.Get("No such field") != "" {
				t.Fatal("a field that no record has")
			}
		}
		for _, e := range events {
			if wanted(e) {
				t.Fatalf("%+v is not kept", e)
			}
		}
	})
}

// BenchmarkAdd takes in what a host writes all day.
func BenchmarkAdd(b *testing.B) {
	var l log
	for n := range 20_000 {
		switch n % 5 {
		case 0:
			l.start(time.Duration(n)*time.Millisecond, n, n/10)
		case 1:
			l.by(3, time.Duration(n)*time.Millisecond, n-1, "DestinationIp", fmt.Sprint(n%250), "Initiated", "true")
		default:
			l.by(11, time.Duration(n)*time.Millisecond, n-n%5, "TargetFilename", fmt.Sprintf(`C:\d\%d.txt`, n%700))
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		w := New(Limits{})
		for _, e := range l.events {
			w.Add(e)
		}
	}
	b.ReportMetric(float64(len(l.events)*b.N)/b.Elapsed().Seconds(), "events/s")
}
