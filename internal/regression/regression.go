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
	"ashiato/internal/ruleset"
	"ashiato/internal/sigma"
	"ashiato/internal/sigma/correlation"
	"ashiato/internal/source"
	"ashiato/internal/source/files"
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
	// Failures says what did not hold, one line each, beginning with the
	// info.yml's name and line.
	Failures []string
}

// Runner runs tests on one set of rules.
type Runner struct {
	set    *ruleset.Set
	engine *sigma.Engine
	rules  map[string]*sigma.Rule // by id, with the correlations' own
}

// NewRunner returns a Runner.
func NewRunner(set *ruleset.Set, opt sigma.Options) *Runner {
	engine, _ := sigma.Compile(set.Rules, opt) // what it refuses is not in the set
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
	fail := func(t sigma.RegressionTest, format string, args ...any) {
		res.Failed++
		res.Failures = append(res.Failures, fmt.Sprintf("%s:%d: test %q: ", info.File, t.Line, t.Name)+fmt.Sprintf(format, args...))
	}
	for _, t := range info.Tests {
		path, ok := recording(info, t)
		if !ok {
			fail(t, "there is no recording %s", t.Path)
			continue
		}
		counts, events, problems, err := r.count(ctx, path)
		if err != nil {
			return res, err
		}
		for _, ref := range info.Rules {
			rule := r.rules[ref.ID]
			n := counts[rule]
			switch {
			case rule == nil:
				fail(t, "no loaded rule has the id %s (%s)", ref.ID, ref.Title)
			case events == 0:
				why := "it holds none"
				if len(problems) > 0 {
					why = problems[0].Error()
				}
				fail(t, "no event could be read from %s: %s", t.Path, why)
			case t.MatchCount != nil && n != *t.MatchCount:
				fail(t, "rule %q fires %s in %s, and match_count is %d", rule.Title, times(n), t.Path, *t.MatchCount)
			case t.MatchCount == nil && n == 0:
				fail(t, "rule %q does not fire in %s", rule.Title, t.Path)
			default:
				res.Passed++
			}
		}
	}
	return res, nil
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

// count tells how often each rule and correlation fires in a recording.
// Rules that only correlations hear count too: the test is of them.
func (r *Runner) count(ctx context.Context, path string) (map[*sigma.Rule]int, int64, []source.Problem, error) {
	counts := map[*sigma.Rule]int{}
	var mu sync.Mutex
	m := r.engine.Matcher()
	correlations := r.set.Engine.Correlations()
	var state *correlation.State
	if correlations != nil {
		state = correlations.State(correlation.Limits{})
	}
	var matches []sigma.Match
	var told []correlation.Observation
	stats, problems := files.Scan(ctx, []string{path}, files.Options{}, func(batch []*event.Event) {
		mu.Lock()
		defer mu.Unlock()
		for _, e := range batch {
			normalize.Event(e)
			matches = m.Match(e, matches[:0])
			for _, x := range matches {
				counts[x.Rule]++
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
	if state != nil {
		for _, ep := range state.Close() {
			counts[ep.Correlation.Rule]++
		}
	}
	slices.SortStableFunc(problems, func(a, b source.Problem) int { return strings.Compare(a.File, b.File) })
	return counts, stats.Events, problems, nil
}
