package ruletest

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"ashiato/internal/detect"
	"ashiato/internal/normalize"
	"ashiato/internal/provenance"
	"ashiato/internal/sigma/correlation"
	"ashiato/internal/world"
)

// Result is the outcome of one file.
type Result struct {
	Passed, Failed int
	Failures       []Failure
}

// Failure is a test that did not hold.
type Failure struct {
	File string
	Test string
	Line int
	Msg  string
}

// String returns "file:line: test "name": message".
func (f Failure) String() string {
	return fmt.Sprintf("%s:%d: test %q: %s", f.File, f.Line, f.Test, f.Msg)
}

// Run runs the tests of f on an engine.
func Run(engine *detect.Engine, f *File) Result {
	var res Result
	w := engine.Worker()
	rules := engine.Rules()
	for i := range f.Tests {
		t := &f.Tests[i]
		if msgs := run(engine, w, rules, f.Name, t); len(msgs) > 0 {
			res.Failed++
			for _, m := range msgs {
				res.Failures = append(res.Failures, Failure{f.Name, t.Name, t.Line, m})
			}
			continue
		}
		res.Passed++
	}
	return res
}

func run(engine *detect.Engine, w *detect.Worker, rules []*detect.Rule, file string, t *Test) []string {
	var msgs []string
	expected := map[*detect.Rule]bool{}
	for _, x := range t.Expect {
		known := false
		var silent *detect.Rule
		for _, r := range rules {
			if called(r, x.Name) {
				known = true
				if r.Silent {
					silent = r
				} else {
					expected[r], silent = true, nil
				}
			}
		}
		if silent != nil && !slices.ContainsFunc(rules, func(r *detect.Rule) bool { return expected[r] && called(r, x.Name) }) {
			msgs = append(msgs, fmt.Sprintf("line %d expects %q, which is heard only through a correlation that names it", x.Line, x.Name))
		}
		if !known {
			msgs = append(msgs, fmt.Sprintf("line %d expects %q, which no loaded rule is called", x.Line, x.Name))
		}
	}
	considered := Subjects(rules, file)
	if len(considered) == 0 {
		considered = rules
	}
	fired := fire(engine, w, t)
	for _, r := range rules {
		d, did := fired[r]
		switch {
		case expected[r] && !did:
			msgs = append(msgs, fmt.Sprintf("expected %s (%s) to fire, and it did not; %s", label(r), r.Title, summary(fired)))
		case did && !expected[r] && slices.Contains(considered, r):
			msgs = append(msgs, fmt.Sprintf("%s (%s) fired and was not expected; it matched %s", label(r), r.Title, matched(d)))
		}
	}
	return msgs
}

// Fired returns the rules that fire on a test's events, whatever the test
// expects, in the engine's order.
func Fired(engine *detect.Engine, t *Test) []*detect.Rule {
	fired := fire(engine, engine.Worker(), t)
	return slices.DeleteFunc(slices.Clone(engine.Rules()), func(r *detect.Rule) bool {
		_, did := fired[r]
		return !did
	})
}

// fire runs a test's events through an engine and returns the first detection
// of each rule.
func fire(engine *detect.Engine, w *detect.Worker, t *Test) map[*detect.Rule]detect.Detection {
	fired := map[*detect.Rule]detect.Detection{}
	var state *correlation.State
	var joins *provenance.Builder
	if set := engine.Correlations(); set != nil {
		state = set.State(correlation.Limits{})
		if set.Pseudo() {
			joins = provenance.NewBuilder(world.New(world.Limits{}))
		}
	}
	var found []detect.Detection
	var told []correlation.Observation
	for _, raw := range t.Events {
		e := *raw // normalisation writes into the event; the test keeps its own
		e.Data = slices.Clone(raw.Data)
		normalize.Event(&e)
		found, told = w.Observe(&e, nil, found, told)
		if joins != nil {
			joins.Add(&e)
		}
	}
	if state != nil {
		for _, o := range told {
			state.Add(o)
		}
		if joins != nil {
			state.Resolve(provenance.NewBelonging(joins.Build()).Of)
		}
		found = engine.Correlated(state.Close(), found)
	}
	for _, d := range found {
		if _, ok := fired[d.Rule]; !ok {
			fired[d.Rule] = d
		}
	}
	return fired
}

// called reports whether a rule goes by the name that a test uses.
func called(r *detect.Rule, name string) bool {
	return r.ID == name || r.Name == name || base(r.Source) == name
}

func label(r *detect.Rule) string {
	if strings.HasPrefix(r.ID, "ioc:") {
		return r.ID
	}
	return base(r.Source)
}

// base is a file name without folder and extension.
func base(file string) string {
	b := path.Base(strings.ReplaceAll(file, `\`, "/"))
	return strings.TrimSuffix(b, path.Ext(b))
}

// stem is a file's path without its extension.
func stem(file string) string {
	file = strings.ReplaceAll(file, `\`, "/")
	return strings.TrimSuffix(file, path.Ext(file))
}

// Subjects returns the rules that a test file is about: those of the rule file
// with the same path but for the extension.
func Subjects(rules []*detect.Rule, testFile string) []*detect.Rule {
	var out []*detect.Rule
	for _, r := range rules {
		if stem(r.Source) == stem(testFile) && !strings.HasPrefix(r.ID, "ioc:") {
			out = append(out, r)
		}
	}
	return out
}

func summary(fired map[*detect.Rule]detect.Detection) string {
	if len(fired) == 0 {
		return "no rule fired"
	}
	var names []string
	for r := range fired {
		names = append(names, label(r))
	}
	slices.Sort(names)
	return "fired: " + strings.Join(names, ", ")
}

func matched(d detect.Detection) string {
	var parts []string
	for _, m := range d.Matched {
		parts = append(parts, fmt.Sprintf("%s=%q", m.Field, m.Value))
	}
	if len(parts) == 0 {
		return fmt.Sprintf("the absence of fields in %s/%d", d.Event.Provider, d.Event.ID)
	}
	return strings.Join(parts, ", ")
}

// Missing names, for each rule file of the engine, the sorts of test it has
// none of, as "file: no near-miss test". Indicators need no tests.
func Missing(engine *detect.Engine, files []*File) []string {
	have := map[string]map[Sort]bool{}
	for _, f := range files {
		s := stem(f.Name)
		if have[s] == nil {
			have[s] = map[Sort]bool{}
		}
		for _, t := range f.Tests {
			have[s][t.Sort] = true
		}
	}
	var out []string
	seen := map[string]bool{}
	for _, r := range engine.Rules() {
		if strings.HasPrefix(r.ID, "ioc:") || seen[r.Source] {
			continue
		}
		seen[r.Source] = true
		for _, sort := range Sorts() {
			if !have[stem(r.Source)][sort] {
				out = append(out, fmt.Sprintf("%s: no %s test", r.Source, sort))
			}
		}
	}
	slices.Sort(out)
	return out
}
