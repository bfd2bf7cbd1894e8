package analysis

import (
	"slices"
	"testing"

	"ashiato/internal/event"
	"ashiato/internal/ruleset"
)

// BenchmarkUpdates replays all scenarios, one after the other, into one analysis,
// with an update after each batch. An operation is the whole replay.
func BenchmarkUpdates(b *testing.B) {
	all := events(b)
	set, err := ruleset.Load(ruleset.Options{Pack: true})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		a := New(Options{Engine: set.Engine})
		updates := 0
		for _, events := range all {
			events := slices.Clone(events)
			slices.SortStableFunc(events, func(x, y *event.Event) int {
				if c := x.Logged.Compare(y.Logged); c != 0 {
					return c
				}
				return event.Compare(x, y)
			})
			for batch := range slices.Chunk(events, 500) {
				a.Add(batch)
				a.Update()
				updates++
			}
		}
		b.ReportMetric(float64(updates), "updates/op")
	}
}
