// Package regression runs regression tests in the layout of SigmaHQ's
// regression_data: folders with an info.yml, which names rules, recordings in
// which they must fire, and how often.
//
//	rule_metadata:
//	  - {id: 63b16abe-…, title: …}
//	regression_tests_info:
//	  - {name: Positive Detection Test, type: evtx, path: regression_data/…/63b16abe-….evtx, match_count: 1}
//
// A recording is read by what it contains, whatever its type says. Without
// match_count a rule must fire at least once. What cannot be tested, because a
// rule or a recording is missing, has failed.
package regression

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

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

// InfoName is the name of the files that describe tests.
const InfoName = "info.yml"

// maxInfo bounds an info.yml, in bytes.
const maxInfo = 64 << 10

// Find reads every info.yml below a folder, or the one given, in the order of
// their names. Faults name the file; the others are read.
func Find(path string) ([]*sigma.RegressionInfo, []error) {
	var out []*sigma.RegressionInfo
	var faults []error
	err := filepath.WalkDir(path, func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && strings.HasPrefix(d.Name(), ".") && name != path:
			return fs.SkipDir
		case d.IsDir() || d.Name() != InfoName:
			return nil
		}
		info, err := read(name)
		if err != nil {
			faults = append(faults, err)
			return nil
		}
		out = append(out, info)
		return nil
	})
	if err != nil {
		faults = append(faults, err)
	}
	return out, faults
}

func read(name string) (*sigma.RegressionInfo, error) {
	st, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if st.Size() > maxInfo {
		return nil, fmt.Errorf("%s: the file has %d bytes, more than the bound of %d", filepath.ToSlash(name), st.Size(), maxInfo)
	}
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	return sigma.ParseRegression(filepath.ToSlash(name), data)
}

// recording finds a test's file: relative to the info.yml's folder or one
// around it, or by its base name beside the info.yml.
func recording(i *sigma.RegressionInfo, t sigma.RegressionTest) (string, bool) {
	rel := filepath.FromSlash(strings.ReplaceAll(t.Path, `\`, "/"))
	own, err := filepath.Abs(filepath.Dir(filepath.FromSlash(i.File)))
	if err != nil {
		own = filepath.Dir(filepath.FromSlash(i.File))
	}
	if filepath.IsLocal(rel) {
		for dir := own; ; dir = filepath.Dir(dir) {
			if st, err := os.Stat(filepath.Join(dir, rel)); err == nil && st.Mode().IsRegular() {
				return filepath.Join(dir, rel), true
			}
			if dir == filepath.Dir(dir) {
				break
			}
		}
	}
	beside := filepath.Join(own, filepath.Base(rel))
	st, err := os.Stat(beside)
	return beside, err == nil && st.Mode().IsRegular()
}

// Result is the outcome of some tests: one for each rule and recording.
type Result struct {
	Passed, Failed int
	Failures       []Failure
}

// Failure is a test that did not hold for a rule.
type Failure struct {
	File string // the info.yml
	Line int    // of the test
	Test string // the test's name
	Msg  string
	// Rule and Recording are set where the rule was tried and fires too seldom.
	Rule      *sigma.Rule
	Recording string
	// Fired is what the rule fired for, if that is in question: the first
	// maxListed in the order of event.EvidenceRef. More is how many follow.
	Fired []Fired
	More  int
}

// String returns "file:line: test "name": message".
func (f Failure) String() string {
	return fmt.Sprintf("%s:%d: test %q: %s", f.File, f.Line, f.Test, f.Msg)
}

// Fired is a record that a rule fired for, and what it found in it; of a
// correlation the record that decided it.
type Fired struct {
	Ref    event.EvidenceRef
	Fields []event.Field
}

// maxListed bounds the records that a failure lists.
const maxListed = 10

// tally is how often a rule fired, and the first records of it.
type tally struct {
	count int
	fired []Fired
}

func (t *tally) add(f Fired) {
	t.count++
	if t.fired = append(t.fired, f); len(t.fired) >= 8*maxListed {
		t.trim()
	}
}

func (t *tally) trim() {
	slices.SortFunc(t.fired, func(a, b Fired) int { return a.Ref.Compare(b.Ref) })
	t.fired = slices.Clone(t.fired[:min(len(t.fired), maxListed)])
}

// Runner runs tests on one set of rules.
type Runner struct {
	set    *ruleset.Set
	engine *sigma.Engine
	rules  map[string]*sigma.Rule // by id, with the correlations' own
}

// NewRunner returns a Runner.
func NewRunner(set *ruleset.Set) *Runner {
	engine, _ := sigma.Compile(set.Rules, set.Options) // what it refuses is not in the set
	r := &Runner{set: set, engine: engine, rules: map[string]*sigma.Rule{}}
	for _, x := range engine.Rules() {
		r.rules[x.ID] = x
	}
	for _, c := range set.Correlations {
		r.rules[c.Rule.ID] = c.Rule
	}
	return r
}

// Run runs the tests of one file. The error is ctx's.
func (r *Runner) Run(ctx context.Context, info *sigma.RegressionInfo) (Result, error) {
	var res Result
	fail := func(t sigma.RegressionTest, format string, args ...any) *Failure {
		res.Failed++
		res.Failures = append(res.Failures, Failure{File: info.File, Line: t.Line, Test: t.Name, Msg: fmt.Sprintf(format, args...)})
		return &res.Failures[len(res.Failures)-1]
	}
	for _, t := range info.Tests {
		path, ok := recording(info, t)
		if !ok {
			for _, ref := range info.Rules {
				fail(t, "the recording is absent, so rule %q could not be tried: no folder around the info.yml has %s, and it is not beside it", ref.Title, t.Path)
			}
			continue
		}
		fired, events, problems, err := r.count(ctx, path)
		if err != nil {
			return res, err
		}
		for _, ref := range info.Rules {
			rule := r.rules[ref.ID]
			got := fired[rule]
			if got == nil {
				got = &tally{}
			}
			switch {
			case rule == nil:
				fail(t, "no loaded rule has the id %s (%s)", ref.ID, ref.Title)
			case events == 0:
				why := "it holds none"
				if len(problems) > 0 {
					why = string(problems[0].Kind) + ": " + problems[0].Detail
				}
				fail(t, "no event could be read from %s: %s", t.Path, why)
			case t.MatchCount != nil && got.count != *t.MatchCount, got.count == 0 && t.MatchCount == nil:
				want := "at least once"
				if t.MatchCount != nil {
					want = times(*t.MatchCount) + " (match_count)"
				}
				f := fail(t, "rule %q must fire %s and fires %s, in %s of %s", rule.Title, want, times(got.count), plural(events, "event"), t.Path)
				got.trim()
				f.Fired, f.More = got.fired, got.count-len(got.fired)
				if t.MatchCount == nil || got.count < *t.MatchCount {
					f.Rule, f.Recording = rule, path
				}
			default:
				res.Passed++
			}
		}
	}
	return res, nil
}

func times(n int) string {
	switch n {
	case 0:
		return "never"
	case 1:
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

func plural(n int64, what string) string {
	if n == 1 {
		return "the one " + what
	}
	return fmt.Sprintf("the %d %ss", n, what)
}

// count tells how often each rule and correlation fires in a recording.
// Rules that only correlations hear count too: the test is of them.
func (r *Runner) count(ctx context.Context, path string) (map[*sigma.Rule]*tally, int64, []source.Problem, error) {
	fired := map[*sigma.Rule]*tally{}
	add := func(rule *sigma.Rule, e *event.Event, fields []event.Field) {
		if fired[rule] == nil {
			fired[rule] = &tally{}
		}
		fired[rule].add(Fired{e.Ref, slices.Clone(fields)})
	}
	var mu sync.Mutex
	m := r.engine.Matcher()
	correlations := r.set.Engine.Correlations()
	var state *correlation.State
	if correlations != nil {
		state = correlations.State(correlation.Limits{})
	}
	var joins *provenance.Builder
	if correlations != nil && correlations.Pseudo() {
		joins = provenance.NewBuilder(world.New(world.Limits{}))
	}
	var matches []sigma.Match
	var told []correlation.Observation
	stats, problems := files.Scan(ctx, []string{path}, files.Options{}, func(batch []*event.Event) {
		mu.Lock()
		defer mu.Unlock()
		for _, e := range batch {
			normalize.Event(e)
			if joins != nil {
				joins.Add(e)
			}
			matches = m.Match(e, matches[:0])
			for _, x := range matches {
				add(x.Rule, e, x.Fields)
			}
			if state != nil && len(matches) > 0 {
				told = correlations.Observe(e, matches, nil, told[:0])
				for _, o := range told {
					state.Add(o)
				}
			}
		}
	})
	if err := ctx.Err(); err != nil {
		return nil, 0, nil, err
	}
	if joins != nil {
		state.Resolve(provenance.NewBelonging(joins.Build()).Of)
	}
	if state != nil {
		for _, ep := range state.Close() {
			add(ep.Correlation.Rule, ep.Event, ep.Matched)
		}
	}
	slices.SortStableFunc(problems, func(a, b source.Problem) int { return strings.Compare(a.File, b.File) })
	return fired, stats.Events, problems, nil
}
