// Package rulestat measures rules over recordings: how often each fires, how
// many records it looks at, what one look costs, and which rules can see
// anything in the input at all.
//
// Counts are a function of the set of records and the rules. Costs are wall
// time of one goroutine, and differ from run to run.
package rulestat

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"ashiato/internal/event"
	"ashiato/internal/normalize"
	"ashiato/internal/provenance"
	"ashiato/internal/ruleset"
	"ashiato/internal/sigma"
	"ashiato/internal/sigma/correlation"
	"ashiato/internal/source"
	"ashiato/internal/source/files"
	"ashiato/internal/world"
)

// Options say what to measure.
type Options struct {
	// Sample is how many records of each log source a rule is timed on; 0 means
	// no timing.
	Sample int
	// Jobs is how many files or parts are read at once, 0 for one per processor.
	Jobs     int
	Progress func(files.Progress)
}

// Row is what was measured of one rule or correlation.
type Row struct {
	Rule *sigma.Rule
	// Correlation marks correlations. They have neither Records nor Cost.
	Correlation bool
	Hits        int64
	// Records is how many records are of the rule's log source.
	Records int64
	// Cost is the time that an engine with this rule alone takes for a record of
	// the rule's log source, on average over Sampled records; 0 if none was timed.
	Cost    time.Duration
	Sampled int
}

// Total estimates what the rule alone would take for all its records.
func (r *Row) Total() time.Duration { return r.Cost * time.Duration(r.Records) }

// Result is what Measure found.
type Result struct {
	Rows     []Row // in the order of the set: rules, then correlations
	Stats    source.Stats
	Problems []source.Problem
}

// route is all of a record that log sources look at.
type route struct {
	kind              event.Kind
	id                uint32
	provider, channel string
}

// measurement is shared by the readers.
type measurement struct {
	mu     sync.Mutex
	hits   map[*sigma.Rule]int64
	counts map[route]int64
	pools  map[string]*pool // by log source
	state  *correlation.State
	joins  *provenance.Builder // nil unless a correlation asks what events belong to
	// wanted remembers which log sources want records of a route.
	wanted  map[route][]*pool
	sources map[string]*sigma.Rule // a rule of each log source
}

// pool keeps the records of a log source with the least hashes: a sample that
// does not depend on the order of reading.
type pool struct {
	limit  int
	events []*event.Event
}

func (p *pool) add(e *event.Event) {
	p.events = append(p.events, e)
	if len(p.events) >= 2*p.limit+64 {
		p.trim()
	}
}

func (p *pool) trim() {
	slices.SortFunc(p.events, func(a, b *event.Event) int {
		return cmp.Or(slices.Compare(a.Ref.SHA256[:], b.Ref.SHA256[:]), a.Ref.Compare(b.Ref))
	})
	if len(p.events) > p.limit {
		clear(p.events[p.limit:])
		p.events = p.events[:p.limit]
	}
}

// maxRoutes bounds what is remembered of kinds of records; hostile input could
// have a new one in every record.
const maxRoutes = 1 << 16

// Measure reads paths and measures every rule of a set. The error is ctx's.
func Measure(ctx context.Context, set *ruleset.Set, paths []string, opt Options) (*Result, error) {
	engine, _ := sigma.Compile(set.Rules, set.Options) // what it refuses is not in the set
	m := &measurement{
		hits: map[*sigma.Rule]int64{}, counts: map[route]int64{}, pools: map[string]*pool{},
		wanted: map[route][]*pool{}, sources: map[string]*sigma.Rule{},
	}
	key := func(r *sigma.Rule) string {
		return strings.Join([]string{r.LogSource.Category, r.LogSource.Product, r.LogSource.Service}, "\x00")
	}
	for _, r := range engine.Rules() {
		if m.pools[key(r)] == nil {
			m.pools[key(r)], m.sources[key(r)] = &pool{limit: opt.Sample}, r
		}
	}
	correlations := set.Engine.Correlations()
	if correlations != nil {
		m.state = correlations.State(correlation.Limits{})
		if correlations.Pseudo() {
			m.joins = provenance.NewBuilder(world.New(world.Limits{}))
		}
	}
	matchers := sync.Pool{New: func() any { return engine.Matcher() }}
	stats, problems := files.Scan(ctx, paths, files.Options{Jobs: opt.Jobs, Progress: opt.Progress}, func(batch []*event.Event) {
		matcher := matchers.Get().(*sigma.Matcher)
		defer matchers.Put(matcher)
		found := map[*sigma.Rule]int64{}
		var matches []sigma.Match
		var told []correlation.Observation
		for _, e := range batch {
			normalize.Event(e)
			matches = matcher.Match(e, matches[:0])
			for _, x := range matches {
				found[x.Rule]++
			}
			if correlations != nil && len(matches) > 0 {
				told = correlations.Observe(e, matches, nil, told)
			}
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		for r, n := range found {
			m.hits[r] += n
		}
		for _, o := range told {
			m.state.Add(o)
		}
		for _, e := range batch {
			m.note(e, opt.Sample > 0)
			if m.joins != nil {
				m.joins.Add(e)
			}
		}
	})
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	res := &Result{Stats: stats, Problems: problems}
	for _, p := range m.pools {
		p.trim()
	}
	for _, r := range engine.Rules() {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		row := Row{Rule: r, Hits: m.hits[r]}
		for k, n := range m.counts {
			if r.Applies(&event.Event{Kind: k.kind, ID: k.id, Provider: k.provider, Channel: k.channel}) {
				row.Records += n
			}
		}
		if sample := m.pools[key(r)].events; opt.Sample > 0 && len(sample) > 0 {
			row.Sampled = len(sample)
			row.Cost = timed(r, sample, set.Options)
		}
		res.Rows = append(res.Rows, row)
	}
	if m.joins != nil {
		m.state.Resolve(provenance.NewBelonging(m.joins.Build()).Of)
	}
	if m.state != nil {
		for _, ep := range m.state.Close() {
			m.hits[ep.Correlation.Rule]++
		}
	}
	for _, c := range set.Correlations {
		res.Rows = append(res.Rows, Row{Rule: c.Rule, Correlation: true, Hits: m.hits[c.Rule]})
	}
	return res, nil
}

func (m *measurement) note(e *event.Event, sample bool) {
	k := route{e.Kind, e.ID, e.Provider, e.Channel}
	if _, known := m.counts[k]; !known {
		if len(m.counts) >= maxRoutes {
			k = route{} // counted as of no log source in particular
		} else {
			k.provider, k.channel = strings.Clone(k.provider), strings.Clone(k.channel)
			for name, r := range m.sources {
				if r.Applies(e) {
					m.wanted[k] = append(m.wanted[k], m.pools[name])
				}
			}
		}
	}
	m.counts[k]++
	if sample {
		for _, p := range m.wanted[k] {
			p.add(e)
		}
	}
}

// timed returns the average time of an engine with one rule alone for a record.
// Each record is seen once before the clock runs, so that what is remembered of
// its kind is there; the least of three rounds is taken.
func timed(r *sigma.Rule, sample []*event.Event, opt sigma.Options) time.Duration {
	alone, errs := sigma.Compile([]*sigma.Rule{r}, opt)
	if len(errs) > 0 {
		return 0
	}
	m := alone.Matcher()
	var matches []sigma.Match
	round := func() time.Duration {
		start := time.Now()
		for _, e := range sample {
			matches = m.Match(e, matches[:0])
		}
		return time.Since(start)
	}
	round()
	return min(round(), round(), round()) / time.Duration(len(sample))
}

// Sight is what a rule can see of an input.
type Sight struct {
	Rule *sigma.Rule
	sigma.Sight
}

// Visibility reads paths and tells for every rule of a set whether it can see
// anything there. Correlations see what the rules they name see and are left
// out. The error is ctx's, or a rule's that cannot be evaluated.
func Visibility(ctx context.Context, set *ruleset.Set, paths []string, opt Options) ([]Sight, source.Stats, []source.Problem, error) {
	var mu sync.Mutex
	var seen sigma.Telemetry
	stats, problems := files.Scan(ctx, paths, files.Options{Jobs: opt.Jobs, Progress: opt.Progress}, func(batch []*event.Event) {
		for _, e := range batch {
			normalize.Event(e)
		}
		mu.Lock()
		defer mu.Unlock()
		for _, e := range batch {
			seen.Add(e)
		}
	})
	if err := ctx.Err(); err != nil {
		return nil, stats, problems, err
	}
	var out []Sight
	for _, r := range set.Rules {
		x, err := sigma.NewExplainer(r, set.Options, nil)
		if err != nil {
			return nil, stats, problems, err
		}
		out = append(out, Sight{r, x.Sees(&seen)})
	}
	return out, stats, problems, nil
}
