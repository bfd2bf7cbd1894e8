// Package scan runs the whole way from files to incidents: read, normalise,
// detect, join, judge. It is what `ashiato scan` does, without its words.
//
// The result is a function of the set of records and the rules. Files are read
// by several workers; what they find is collected and ordered before it is
// judged, so neither their number nor the order of input changes anything.
package scan

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"ashiato/internal/detect"
	"ashiato/internal/event"
	"ashiato/internal/incident"
	"ashiato/internal/normalize"
	"ashiato/internal/provenance"
	"ashiato/internal/report"
	"ashiato/internal/sigma/correlation"
	"ashiato/internal/source"
	"ashiato/internal/source/files"
	"ashiato/internal/world"
)

// Options say what to scan and what to leave out.
type Options struct {
	// Paths are files and folders.
	Paths []string
	// Engine judges events, singly and together.
	Engine *detect.Engine
	// Since and Until bound the events' time, both inclusive; zero means open.
	Since, Until time.Time
	// Hosts keeps only events of these hosts, by full name or by the part before
	// the first dot, in any letter case; empty keeps all.
	Hosts []string
	// MinSeverity leaves out incidents below it; they are counted.
	MinSeverity detect.Severity
	// Jobs is how many files or chunks are read at once, 0 for one per processor.
	Jobs int
	// Evidence also collects the records that incidents cite.
	Evidence bool
	// Limits bound what the joins hold; zero fields mean the defaults.
	Limits world.Limits
	// Correlations bound what correlations hold; zero fields mean the defaults.
	Correlations correlation.Limits
	// Pins are what an analyst decided about incidents, and Earlier the incidents
	// of an earlier scan to compare with.
	Pins    incident.Pins
	Earlier []incident.Earlier
	// Progress is told how far the reading is; it may be nil.
	Progress func(files.Progress)

	everything bool // decode also what nobody reads, for tests that compare
}

// Result is what a scan found.
type Result struct {
	Stats     report.Stats
	Incidents []*incident.Incident // most severe first
	// Changes say what became of Options.Earlier, in any incident however mild.
	Changes  []incident.Change
	Problems []source.Problem
	Gaps     []incident.Gap
	// Evidence returns a cited record, nil if it was not collected.
	Evidence func(event.EvidenceRef) *event.Event
}

// collector takes what the workers find.
type collector struct {
	mu         sync.Mutex
	builder    *provenance.Builder
	detections []detect.Detection
	state      *correlation.State // nil without correlations
	hosts      map[string]bool
	first      time.Time
	last       time.Time
	filtered   int64
	added      int64
	kinds      kinds
}

// Run scans. The error is ctx's if the scan was interrupted; everything else
// that goes wrong with the input is a Problem.
func Run(ctx context.Context, opt Options) (*Result, error) {
	c := &collector{
		builder: provenance.NewBuilder(world.New(opt.Limits)),
		hosts:   map[string]bool{},
	}
	if set := opt.Engine.Correlations(); set != nil {
		c.state = set.State(opt.Correlations)
	}
	keep := filter(opt)
	workers := sync.Pool{New: func() any { return opt.Engine.Worker() }}
	handle := func(batch []*event.Event) {
		w := workers.Get().(*detect.Worker)
		defer workers.Put(w)
		kept := batch[:0:0]
		var found []detect.Detection
		var told []correlation.Observation
		for _, e := range batch {
			normalize.Event(e)
			if !keep(e) {
				continue
			}
			kept = append(kept, e)
			if e.Flags&event.Unread != 0 {
				continue // no rule can hold for it
			}
			found, told = w.Observe(e, nil, found, told)
		}
		c.add(kept, found, told, len(batch)-len(kept))
	}
	reading := files.Options{Jobs: opt.Jobs, Progress: opt.Progress}
	interest := opt.Engine.Interest()
	if !opt.everything {
		reading.Interest = interestIn(interest)
	}
	stats, problems := files.Scan(ctx, opt.Paths, reading, handle)
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	graph := c.builder.Build()
	if c.state != nil {
		var left []source.Problem
		c.detections, left = correlate(opt.Engine, c.state, graph, c.detections)
		problems = append(problems, left...)
	}
	if cut := graph.Cut(); cut != (provenance.Cut{}) {
		problems = append(problems, source.Problem{
			Kind: source.TooLarge, Offset: -1, Count: 1, Lost: cut.Records,
			Detail: fmt.Sprintf("the joins are full: %d records, %d processes, %d objects and %d relations were left out of the picture; scan a shorter span or fewer hosts",
				cut.Records, cut.Processes, cut.Nodes, cut.Edges),
		})
	}
	if shed := graph.Shed(); shed.Records() > 0 {
		problems = append(problems, source.Problem{
			Kind: source.TooLarge, Offset: -1, Count: 1, Lost: shed.Records(),
			Detail: fmt.Sprintf("a host's part of the joins is full: of %d records of context, %d repeats, %d processes that did nothing, %d records of processes long ended, %d of the oldest records and %d processes only their number is kept; scan a shorter span, or raise --joins-memory",
				shed.Context, shed.Repeats, shed.Leaves, shed.Ended, shed.Oldest, shed.Processes),
		})
	}
	detections := unique(c.detections)
	all := incident.Build(graph, detections, incident.Options{Pins: opt.Pins})
	r := &Result{Changes: incident.Changes(opt.Earlier, all), Problems: problems, Gaps: graph.Gaps()}
	for _, inc := range all {
		if inc.Severity >= opt.MinSeverity {
			r.Incidents = append(r.Incidents, inc)
			r.Stats.Placed += len(inc.Detections)
		}
	}
	slices.SortStableFunc(r.Incidents, func(a, b *incident.Incident) int {
		return cmp.Or(cmp.Compare(b.Severity, a.Severity), cmp.Compare(b.Score, a.Score), a.First.Compare(b.First), strings.Compare(a.ID, b.ID))
	})
	r.Stats.Source = stats
	r.Stats.Filtered = c.filtered
	r.Stats.Repeated = int64(graph.Repeated())
	r.Stats.Analysed = c.added - r.Stats.Repeated
	r.Stats.First, r.Stats.Last = c.first, c.last
	r.Stats.Applicable = c.kinds.applicable(interest)
	r.Stats.Detections = len(detections)
	r.Stats.BelowMinimum = len(detections) - r.Stats.Placed
	for h := range c.hosts {
		r.Stats.Hosts = append(r.Stats.Hosts, h)
	}
	slices.Sort(r.Stats.Hosts)
	if opt.Evidence {
		if err := r.collectEvidence(ctx, opt); err != nil {
			return nil, err
		}
	}
	return r, nil
}

func (c *collector) add(kept []*event.Event, found []detect.Detection, told []correlation.Observation, filtered int) {
	detected := make(map[*event.Event]bool, len(found))
	for i := range found {
		detected[found[i].Event] = true
	}
	for _, e := range kept { // hosts have locks of their own
		if detected[e] {
			c.builder.AddDetected(e)
		} else {
			c.builder.Add(e)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.filtered += int64(filtered)
	c.added += int64(len(kept))
	c.detections = append(c.detections, found...)
	for _, o := range told {
		c.state.Add(o)
	}
	for _, e := range kept {
		c.kinds.add(e)
		if e.Flags&(event.BadChecksum|event.Carved) != 0 {
			continue // what damage may have invented does not widen the picture
		}
		if e.Host != "" && !c.hosts[e.Host] {
			c.hosts[e.Host] = true
		}
		if c.first.IsZero() || e.Time.Before(c.first) {
			c.first = e.Time
		}
		if e.Time.After(c.last) {
			c.last = e.Time
		}
	}
}

// filter makes the test for Since, Until and Hosts.
func filter(opt Options) func(*event.Event) bool {
	hosts := map[string]bool{}
	for _, h := range opt.Hosts {
		hosts[strings.ToLower(h)] = true
	}
	return func(e *event.Event) bool {
		if !opt.Since.IsZero() && e.Time.Before(opt.Since) || !opt.Until.IsZero() && e.Time.After(opt.Until) {
			return false
		}
		if len(hosts) == 0 {
			return true
		}
		name := strings.ToLower(e.Host)
		short, _, _ := strings.Cut(name, ".")
		return hosts[name] || hosts[short]
	}
}

// identity is what makes two records the same record, wherever they were read.
type identity struct {
	host, channel, provider string
	record                  uint64
	id                      uint32
	time                    int64
	hash                    [32]byte
	rule                    string
}

// unique orders detections and drops those of records that were read twice,
// keeping the one with the smallest reference.
func unique(ds []detect.Detection) []detect.Detection {
	slices.SortFunc(ds, detect.Compare)
	seen := make(map[identity]bool, len(ds))
	return slices.DeleteFunc(ds, func(d detect.Detection) bool {
		e := d.Event
		k := identity{
			host: strings.ToLower(e.Host), channel: strings.ToLower(e.Channel), provider: strings.ToLower(e.Provider),
			record: e.Ref.RecordID, id: e.ID, time: e.Time.UnixNano(), rule: d.Rule.ID,
		}
		if d.Count > 0 { // one event may decide a correlation for several groups
			k.rule += fmt.Sprintf("%q", d.Matched)
		}
		if k.record == 0 {
			k.hash = e.Ref.SHA256
		}
		twice := seen[k]
		seen[k] = true
		return twice
	})
}

// collectEvidence reads again the files that hold cited records and keeps those
// records, if they still are what they were.
func (r *Result) collectEvidence(ctx context.Context, opt Options) error {
	type place struct {
		file   string
		offset int64
	}
	cited := map[place]event.EvidenceRef{}
	cite := func(refs []event.EvidenceRef) {
		for _, ref := range refs {
			cited[place{ref.File, ref.Offset}] = ref
		}
	}
	for _, inc := range r.Incidents {
		for _, n := range inc.Nodes {
			cite(n.Evidence)
		}
		for _, e := range inc.Edges {
			cite(e.Evidence)
		}
		for _, d := range inc.Detections {
			cite(d.Refs())
		}
		for _, g := range inc.Gaps {
			cite(g.Evidence)
		}
	}
	for _, g := range r.Gaps {
		cite(g.Evidence)
	}
	inputs := map[string]bool{}
	for p := range cited {
		inputs[outermost(p.file)] = true
	}
	paths := make([]string, 0, len(inputs))
	for p := range inputs {
		paths = append(paths, p)
	}
	slices.Sort(paths)

	var mu sync.Mutex
	records := make(map[event.EvidenceRef]*event.Event, len(cited))
	handle := func(batch []*event.Event) {
		for _, e := range batch {
			want, ok := cited[place{e.Ref.File, e.Ref.Offset}]
			if !ok || want.SHA256 != e.Ref.SHA256 {
				continue
			}
			normalize.Event(e)
			mu.Lock()
			records[want] = e
			mu.Unlock()
		}
	}
	if len(paths) > 0 {
		files.Scan(ctx, paths, files.Options{Jobs: opt.Jobs}, handle)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	lost := map[string]source.Problem{}
	for _, ref := range cited {
		if records[ref] != nil {
			continue
		}
		p, ok := lost[ref.File]
		if !ok || ref.Offset < p.Offset {
			p.File, p.Kind, p.Offset = ref.File, source.Corrupt, ref.Offset
		}
		p.Count++
		p.Lost++
		p.Detail = fmt.Sprintf("%d cited records are no longer in the file as they were first read", p.Count)
		lost[ref.File] = p
	}
	for _, p := range lost {
		r.Problems = append(r.Problems, p)
	}
	slices.SortFunc(r.Problems, func(a, b source.Problem) int {
		return cmp.Or(strings.Compare(a.File, b.File), strings.Compare(string(a.Kind), string(b.Kind)), cmp.Compare(a.Offset, b.Offset))
	})
	r.Evidence = func(ref event.EvidenceRef) *event.Event { return records[ref] }
	return nil
}

// outermost returns the file on disk that a reference's file lies in: the longest
// part before a "!" that exists, since names may hold a "!" too.
func outermost(name string) string {
	for outer := name; ; {
		if info, err := os.Stat(filepath.FromSlash(outer)); err == nil && info.Mode().IsRegular() {
			return outer
		}
		i := strings.LastIndexByte(outer, '!')
		if i < 0 {
			return name // gone; reading it again says so
		}
		outer = outer[:i]
	}
}
