package evaluation

import (
	"runtime"
	"time"

	"ashiato/internal/detect"
	"ashiato/internal/incident"
	"ashiato/internal/provenance"
	"ashiato/internal/world"
)

// Cost is what the joins take, without reading and without rules.
type Cost struct {
	Events     int `json:"events"`
	Detections int `json:"detections"`
	// Add, Build and Incidents are processor time: of taking events in, of making
	// the graph, and of making incidents from it.
	Add       time.Duration `json:"add_ns"`
	Build     time.Duration `json:"build_ns"`
	Incidents time.Duration `json:"incidents_ns"`
	// World is the memory that is held while events come in, and Graph what the
	// graph and the incidents take beside it, both in bytes after a collection.
	World int64 `json:"world_bytes"`
	Graph int64 `json:"graph_bytes"`
}

// EventsPerSecond is how many events a second of one processor's time takes in,
// joins and judges.
func (c *Cost) EventsPerSecond() float64 {
	return ratio(float64(c.Events), (c.Add + c.Build + c.Incidents).Seconds())
}

// WorldPerMillion is the memory held for a million events, in MiB.
func (c *Cost) WorldPerMillion() float64 {
	return ratio(float64(c.World)/(1<<20)*1e6, float64(c.Events))
}

func (c *Cost) text(p *printer) {
	p.line("## Cost")
	p.line("")
	p.line("Joining all recordings at once, one after the other, without reading and rules: %d events, %d detections.", c.Events, c.Detections)
	p.line("")
	p.line("| what | measured | aim |")
	p.line("|---|--:|--:|")
	p.line("| events per CPU-second | %.0f | ≥ 100,000 |", c.EventsPerSecond())
	p.line("| CPU-seconds: taking in, graph, incidents | %.2f, %.2f, %.2f | |", c.Add.Seconds(), c.Build.Seconds(), c.Incidents.Seconds())
	p.line("| MiB held per million events | %.0f | ≤ 64 |", c.WorldPerMillion())
	p.line("| MiB of graph and incidents beside it, per million events | %.0f | |", ratio(float64(c.Graph)/(1<<20)*1e6, float64(c.Events)))
}

// cost joins all recordings in one graph.
func (s *Suite) cost(paths []string, step func(string) error) (*Cost, error) {
	c := &Cost{}
	before := heap()
	b := provenance.NewBuilder(world.New(world.Limits{}))
	w := s.Engine.Worker()
	var ds []detect.Detection
	for _, path := range paths {
		if err := step(path); err != nil {
			return nil, err
		}
		events := readRecording(path)
		start := s.CPU()
		for _, e := range events {
			b.Add(e)
		}
		c.Add += s.CPU() - start
		c.Events += len(events)
		for _, e := range events {
			ds = w.Detect(e, ds)
		}
	}
	c.Detections = len(ds)
	// The detections hold their events, which are not the joins'.
	held := heap()
	kept := ds
	c.World = held - before - eventBytes(kept)
	start := s.CPU()
	g := b.Build()
	c.Build = s.CPU() - start
	start = s.CPU()
	incidents := incident.Build(g, ds, incident.Options{})
	c.Incidents = s.CPU() - start
	c.Graph = heap() - held
	runtime.KeepAlive(g)
	runtime.KeepAlive(incidents)
	runtime.KeepAlive(kept)
	return c, nil
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// eventBytes estimates what the events of detections hold.
func eventBytes(ds []detect.Detection) int64 {
	seen := map[any]bool{}
	n := int64(len(ds)) * 160
	for _, d := range ds {
		if seen[d.Event] {
			continue
		}
		seen[d.Event] = true
		n += 512
		for _, f := range d.Event.Data {
			n += int64(len(f.Name)+len(f.Value)) + 32
		}
		for _, m := range d.Matched {
			n += int64(len(m.Value)) + 32
		}
	}
	return n
}
