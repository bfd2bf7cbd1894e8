package world

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"ashiato/internal/event"
)

// A World is the same whether records that it is said not to read have their
// fields or not.
func TestUnreadFieldsMakeNoDifference(t *testing.T) {
	names := []string{"EventType", "Path", "param1", "SourceProcessGUID", "ParentProcessGuid"}
	for _, kept := range keptFields {
		names = append(names, kept...)
	}
	slices.Sort(names)
	names = slices.Compact(names)
	rapid.Check(t, func(t *rapid.T) {
		whole, bare := New(Limits{}), New(Limits{})
		left := 0
		for i := range rapid.IntRange(1, 20).Draw(t, "records") {
			e := &event.Event{
				Time: time.Unix(int64(1_750_000_000+i), 0).UTC(), Host: "PC", Channel: "Security", Provider: "P",
				Kind: rapid.SampledFrom(event.Kinds()).Draw(t, "kind"),
				ID:   rapid.SampledFrom([]uint32{1, 11, 800, 4688}).Draw(t, "id"),
				Ref:  event.EvidenceRef{Host: "PC", Channel: "Security", RecordID: uint64(rapid.IntRange(1, 30).Draw(t, "record")), File: "f", Offset: int64(i)},
			}
			e.Logged = e.Time
			read := Reads(e.Kind)
			for range rapid.IntRange(0, 4).Draw(t, "fields") {
				f := event.Field{
					Name: rapid.SampledFrom(names).Draw(t, "name"),
					Value: rapid.SampledFrom([]string{
						"{365ABB72-0D5E-5CD7-0000-0010E6241700}", "100", `C:\a.exe`, "exclusion", "started", "-",
					}).Draw(t, "value"),
				}
				e.Data = append(e.Data, f)
				read = read || ReadsField(f.Name)
			}
			whole.Add(e)
			less := *e
			if !read {
				less.Data = nil
				left++
			}
			bare.Add(&less)
		}
		if diff := cmp.Diff(describeRecords(whole), describeRecords(bare)); diff != "" {
			t.Errorf("%d left out: records differ:\n%s", left, diff)
		}
		if a, b := len(whole.Processes()), len(bare.Processes()); a != b {
			t.Errorf("%d left out: %d processes, then %d", left, a, b)
		}
		if diff := cmp.Diff(whole.Gaps(), bare.Gaps()); diff != "" {
			t.Errorf("%d left out: gaps differ:\n%s", left, diff)
		}
		if whole.Repeated() != bare.Repeated() {
			t.Errorf("%d left out: %d repeated, then %d", left, whole.Repeated(), bare.Repeated())
		}
	})
}

// describeRecords says all that is kept of records.
func describeRecords(w *World) []string {
	var all []string
	for _, r := range w.Records() {
		s := fmt.Sprint(r.Time, r.Kind, r.Provider, r.Host, r.Channel, r.ID, r.Task, r.PID, r.Ref)
		for _, n := range keptNames[r.Kind] {
			if v := r.Get(n); v != "" {
				s += fmt.Sprintf(" %s=%q", n, v)
			}
		}
		all = append(all, s)
	}
	return all
}
