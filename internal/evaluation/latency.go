package evaluation

import (
	"slices"
	"time"

	"ashiato/internal/analysis"
	"ashiato/internal/event"
)

// Latency is how long it takes from a detection to the incident that it is in,
// while events come in: the processor time of the updates after those batches
// that hold a detection.
type Latency struct {
	// Rows are of different streams.
	Rows []LatencyRow `json:"rows"`
	// Batch is how many events come at once, in the order they were logged.
	Batch int `json:"batch"`
}

// LatencyRow is the updates of some streams.
type LatencyRow struct {
	What    string          `json:"what"`
	Updates []time.Duration `json:"updates_ns"` // sorted
	// Events is how many events the longest of the streams has, Records how many
	// records were held at most, and Hosts the most hosts.
	Events  int `json:"events"`
	Records int `json:"records"`
	Hosts   int `json:"hosts"`
}

// latencyBatch is how many events a shipper sends at once, about.
const latencyBatch = 500

// stream replays events into an analysis and adds the updates to the row.
func (s *Suite) stream(row *LatencyRow, a *analysis.Analysis, events []*event.Event) {
	slices.SortStableFunc(events, func(x, y *event.Event) int {
		if c := x.Logged.Compare(y.Logged); c != 0 {
			return c
		}
		return event.Compare(x, y)
	})
	w := s.Engine.Worker()
	for batch := range slices.Chunk(events, latencyBatch) {
		a.Add(batch)
		if !slices.ContainsFunc(batch, func(e *event.Event) bool { return len(w.Detect(e, nil)) > 0 }) {
			continue
		}
		start := s.CPU()
		u := a.Update()
		row.Updates = append(row.Updates, s.CPU()-start)
		row.Events, row.Records, row.Hosts = max(row.Events, int(u.Seen.Events)), max(row.Records, u.Records), max(row.Hosts, u.Hosts)
	}
}

func (s *Suite) analysis() *analysis.Analysis {
	return analysis.New(analysis.Options{Engine: s.Engine})
}

// latency replays the scenarios and the recordings, each into an analysis of its
// own, and all recordings one after the other into one.
func (s *Suite) latency(scenarios [][]*event.Event, recordings []string, step func(string) error) (*Latency, error) {
	l := &Latency{Batch: latencyBatch}
	add := func(row LatencyRow) {
		if len(row.Updates) > 0 {
			slices.Sort(row.Updates)
			l.Rows = append(l.Rows, row)
		}
	}
	row := LatencyRow{What: "scenarios, each alone"}
	for _, events := range scenarios {
		s.stream(&row, s.analysis(), slices.Clone(events))
	}
	add(row)
	row = LatencyRow{What: "all scenarios, one after the other"}
	all := s.analysis()
	for _, events := range scenarios {
		s.stream(&row, all, slices.Clone(events))
	}
	add(row)
	row = LatencyRow{What: "recordings, each alone"}
	together := LatencyRow{What: "all recordings, one after the other"}
	all = s.analysis()
	for _, path := range recordings {
		if err := step(path); err != nil {
			return nil, err
		}
		events := readRecording(path)
		s.stream(&row, s.analysis(), slices.Clone(events))
		s.stream(&together, all, events)
	}
	add(row)
	add(together)
	return l, nil
}

func (l *Latency) text(p *printer) {
	p.line("## Latency")
	p.line("")
	p.line("From a detection to its incident: processor time of an update after a batch of %d events, in the order of logging, that holds a detection.", l.Batch)
	p.line("")
	p.line("| stream | updates | p50 ms | p90 ms | p99 ms (aim ≤ 250) | longest ms | events of the longest stream | records held at most | hosts |")
	p.line("|---|--:|--:|--:|--:|--:|--:|--:|--:|")
	for _, r := range l.Rows {
		ms := func(percent int) float64 { return float64(Percentile(r.Updates, percent).Microseconds()) / 1000 }
		p.line("| %s | %d | %.1f | %.1f | %.1f | %.1f | %d | %d | %d |", r.What, len(r.Updates), ms(50), ms(90), ms(99), ms(100), r.Events, r.Records, r.Hosts)
	}
}
