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
	"sync/atomic"
	"time"

	"ashiato/internal/analysis"
	"ashiato/internal/clock"
	"ashiato/internal/detect"
	"ashiato/internal/event"
	"ashiato/internal/incident"
	"ashiato/internal/normalize"
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
	// RuleSet identifies the rules and indicators of Engine, for States.
	RuleSet string
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
	// Resume is the state of an earlier scan to go on from, nil to begin anew. It
	// is used up. Changes then tell what became of that scan's incidents.
	Resume *State
	// Again returns what Resume was once more, for a scan that finds in the end that
	// it took the clocks for others than they are. Without it such a scan reads its
	// input twice from the beginning.
	Again func() (*State, error)
	// Progress is told how far the reading is; it may be nil.
	Progress func(files.Progress)

	everything bool // decode also what nobody reads, for tests that compare
}

// Result is what a scan found.
type Result struct {
	Stats     report.Stats
	Incidents []*incident.Incident // most severe first
	// Changes say what became of Options.Earlier, or of the incidents of
	// Options.Resume, in any incident however mild.
	Changes  []incident.Change
	Problems []source.Problem
	Gaps     []incident.Gap
	// Clocks say whose records' times are corrected, or not what they say.
	Clocks []clock.Note
	// OtherHosts are the first by name of the hosts that Options.Hosts left out, for
	// whoever mistyped one.
	OtherHosts []string
	// State is what another scan can go on from.
	State *State
	// Evidence returns a cited record, nil if it was not collected.
	Evidence func(event.EvidenceRef) *event.Event
}

// Run scans. The error is ctx's if the scan was interrupted, or that of
// Options.Again; everything that goes wrong with the input is a Problem.
func Run(ctx context.Context, opt Options) (*Result, error) {
	st, err := read(ctx, opt)
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	problems := slices.Clone(st.problems)
	if st.clocks.Full() {
		problems = append(problems, source.Problem{
			Kind: source.TooLarge, Offset: -1, Count: 1,
			Detail: "too many hosts and files to compare their clocks: no log's time was corrected; scan fewer at once",
		})
	}
	found := st.analysis.Update()
	problems = append(problems, leftOut(found)...)
	r := &Result{
		Changes: found.Changes, Problems: problems, Gaps: st.analysis.Gaps(),
		Clocks: st.clocks.Notes(st.offsets), State: st, OtherHosts: st.others,
	}
	if opt.Resume == nil {
		r.Changes = incident.Changes(opt.Earlier, found.Incidents)
	}
	for _, inc := range found.Incidents {
		if inc.Severity >= opt.MinSeverity {
			r.Incidents = append(r.Incidents, inc)
			r.Stats.Placed += len(inc.Detections)
		}
	}
	slices.SortStableFunc(r.Incidents, func(a, b *incident.Incident) int {
		return cmp.Or(cmp.Compare(b.Severity, a.Severity), cmp.Compare(b.Score, a.Score), a.First.Compare(b.First), strings.Compare(a.ID, b.ID))
	})
	r.Stats.Source = st.source
	r.Stats.Filtered = st.filtered
	r.Stats.Repeated = found.Seen.Repeated
	r.Stats.Analysed = found.Seen.Events - found.Seen.Repeated
	r.Stats.First, r.Stats.Last = found.Seen.First, found.Seen.Last
	r.Stats.Hosts = found.Seen.Hosts
	r.Stats.Applicable = st.analysis.Applicable()
	r.Stats.Detections = found.Detections
	r.Stats.BelowMinimum = found.Detections - r.Stats.Placed
	if opt.Evidence {
		if err := r.collectEvidence(ctx, opt, st.offsets); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// read adds what the input holds to the state of an earlier scan, or to a new one.
//
// Rules, correlations and joins must see the right times, but whose clock lies is
// known only when all is read. It is guessed from the beginning of each file; if that
// was wrong, which is rare, the scan begins again with what it knows then. A state
// cannot forget: where an earlier one cannot be had again, the clocks are compared
// first.
func read(ctx context.Context, opt Options) (*State, error) {
	st, again := opt.Resume, opt.Again
	if st == nil {
		again = func() (*State, error) {
			return &State{analysis: analysis.New(opt.analysis()), clocks: &clock.Tally{}}, nil
		}
		st, _ = again()
	}
	before := st.offsets
	var measured clock.Tally // of this input alone
	if again == nil {
		each(ctx, opt, clock.Offsets{}, measured.Add)
		offsets := before.Or(measured.Offsets())
		st.read(ctx, opt, &offsets, nil)
		return st, nil
	}
	sure := st.read(ctx, opt, nil, &measured)
	offsets := before.Or(measured.Offsets())
	if sure && offsets.Equal(st.offsets) {
		st.offsets = offsets
		return st, nil
	}
	if ctx.Err() != nil {
		return st, nil // Run returns that
	}
	st, err := again()
	if err != nil {
		return nil, err
	}
	st.read(ctx, opt, &offsets, nil)
	return st, nil
}

// read adds what the input holds, with its entries' times corrected by offsets, or
// by what is guessed if there are none: then measured counts the clocks. sure says
// that all that a file's name stands for was corrected by the same.
func (st *State) read(ctx context.Context, opt Options, offsets *clock.Offsets, measured *clock.Tally) (sure bool) {
	var others hostNames
	keep := filter(opt, others.add)
	var filtered atomic.Int64
	handle := func(batch []*event.Event) {
		st.clocks.Add(batch)
		if measured != nil {
			measured.Add(batch)
		}
		kept := batch[:0:0]
		for _, e := range batch {
			if keep(e) {
				kept = append(kept, e)
			}
		}
		st.analysis.Add(kept)
		filtered.Add(int64(len(batch) - len(kept)))
	}
	var stats source.Stats
	var problems []source.Problem
	sure = true
	if offsets != nil {
		stats, problems = each(ctx, opt, *offsets, handle)
		st.offsets = *offsets
	} else {
		g := newGuesser(st.offsets, handle)
		reading := opt.reading()
		reading.Finished = g.finished
		stats, problems = files.Scan(ctx, opt.Paths, reading, g.add)
		st.offsets = st.offsets.Or(clock.Join(g.used...))
		sure = !g.differ
	}
	st.note(stats, problems, filtered.Load())
	st.others = others.names
	return sure
}

func (opt *Options) reading() files.Options {
	reading := files.Options{Jobs: opt.Jobs, Progress: opt.Progress}
	if !opt.everything {
		reading.Interest = interestIn(opt.Engine.Interest())
	}
	return reading
}

// each hands on the input's events, normalised.
func each(ctx context.Context, opt Options, offsets clock.Offsets, handle func([]*event.Event)) (source.Stats, []source.Problem) {
	return files.Scan(ctx, opt.Paths, opt.reading(), func(batch []*event.Event) {
		for _, e := range batch {
			e.Offset = offsets.Of(e)
			normalize.Event(e)
		}
		handle(batch)
	})
}

func (opt *Options) analysis() analysis.Options {
	return analysis.Options{Engine: opt.Engine, Limits: opt.Limits, Correlations: opt.Correlations, Pins: opt.Pins, RuleSet: opt.RuleSet}
}

// hostNames holds the first few names of hosts in the order of the alphabet.
type hostNames struct {
	mu    sync.Mutex
	names []string
}

const maxOtherHosts = 20

func (h *hostNames) add(name string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	i, found := slices.BinarySearch(h.names, name)
	if found || i == maxOtherHosts {
		return
	}
	h.names = slices.Insert(h.names, i, strings.Clone(name))
	h.names = h.names[:min(len(h.names), maxOtherHosts)]
}

// filter makes the test for Since, Until and Hosts. Hosts that are left out are told
// to other.
func filter(opt Options, other func(string)) func(*event.Event) bool {
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
		if !hosts[name] && !hosts[short] {
			other(e.Host)
			return false
		}
		return true
	}
}

// collectEvidence reads again the files that hold cited records and keeps those
// records, if they still are what they were.
func (r *Result) collectEvidence(ctx context.Context, opt Options, offsets clock.Offsets) error {
	type place struct {
		file   string
		offset int64
		sum    [32]byte // earlier scans may have found another record there
	}
	cited := map[place]event.EvidenceRef{}
	cite := func(refs []event.EvidenceRef) {
		for _, ref := range refs {
			cited[place{ref.File, ref.Offset, ref.SHA256}] = ref
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
	for _, n := range r.Clocks {
		cite(n.Evidence)
	}
	inputs, isThere := map[string]bool{}, map[string]bool{}
	for p := range cited {
		if _, known := isThere[p.file]; known {
			continue
		}
		outer, there := outermost(p.file)
		isThere[p.file] = there
		if there {
			inputs[outer] = true
		}
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
			want, ok := cited[place{e.Ref.File, e.Ref.Offset, e.Ref.SHA256}]
			if !ok {
				continue
			}
			e.Offset = offsets.Of(e)
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
		if there, known := isThere[ref.File]; known && !there {
			p.Kind, p.Detail = source.Unreadable, fmt.Sprintf("the file is not where it was read: %d cited records cannot be shown again", p.Count)
		}
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

// outermost returns the file on disk that a reference's file lies in, if it is
// there: the longest part before a "!" that exists, since names may hold a "!" too.
func outermost(name string) (file string, ok bool) {
	for outer := name; ; {
		if info, err := os.Stat(filepath.FromSlash(outer)); err == nil && info.Mode().IsRegular() {
			return outer, true
		}
		i := strings.LastIndexByte(outer, '!')
		if i < 0 {
			return "", false
		}
		outer = outer[:i]
	}
}
