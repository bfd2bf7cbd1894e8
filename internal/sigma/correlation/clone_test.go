package correlation_test

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"ashiato/internal/event"
	"ashiato/internal/sigma/correlation"
)

// TestClosingAClone holds that closing a clone tells at any time what reading just
// that much would, within limits that leave something out too, and that the state
// it was made of goes on as if nothing had been.
func TestClosingAClone(t *testing.T) {
	sets := [][]string{
		{"type: temporal_ordered\nrules: [C1, d]\ngroup-by: [G]\ntimespan: 9s", "type: event_count\nrules: [a, b]\ngroup-by: [G]\ntimespan: 4s\ncondition: {gte: 2}"},
		{"type: event_count\nrules: [a, b]\ngroup-by: [ProcessTree]\ntimespan: 5s\ncondition: {gte: 2}"},
		{types[0], types[3], types[11], strings.Replace(types[1], "[G]", "[Volume]", 1)},
	}
	resolve := func(e *event.Event, _ string) (string, bool) { return e.Get("G") }
	for _, rules := range sets {
		b := load(t, rules...)
		rapid.Check(t, func(t *rapid.T) {
			events := rapid.Permutation(drawEvents(t, 20)).Draw(t, "order")
			limits := correlation.Limits{}
			if rapid.Bool().Draw(t, "little room") {
				limits = correlation.Limits{Group: 1500, Rule: 4000, Groups: 2, Waiting: 2500}
			}
			finish := func(st *correlation.State) (string, correlation.Stats) {
				st.Resolve(resolve)
				said := brief(st.Close())
				return said, st.Stats()
			}
			st := b.set.State(limits)
			for n, e := range events {
				b.observe(st, e)
				if rapid.IntRange(0, 3).Draw(t, "ask") > 0 && n < len(events)-1 {
					continue
				}
				fresh := b.set.State(limits)
				for _, e := range events[:n+1] {
					b.observe(fresh, e)
				}
				want, wantStats := finish(fresh)
				for range 2 { // a clone that was closed has changed nothing
					if got, stats := finish(st.Clone()); got != want || stats != wantStats {
						t.Fatalf("after %d events %s, %+v\nwant %s, %+v\n%v", n+1, got, stats, want, wantStats, rules)
					}
				}
			}
		})
	}
}
