// Package ruleset reads rules, their tests and indicators from the shipped pack,
// from folders and from files, and makes one engine of them.
//
// Nothing is left out silently: a rule, test or indicator that cannot be
// honoured is a problem that names its file and line, and the others are used.
package ruleset

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"ashiato/internal/detect"
	"ashiato/internal/ioc"
	"ashiato/internal/ruletest"
	"ashiato/internal/sigma"
	"ashiato/internal/source"
	"ashiato/rules"
)

// Options say what to read.
type Options struct {
	// Pack includes the shipped rules and indicators.
	Pack bool
	// Rules are folders, read recursively, and files.
	Rules []string
	// Indicators are files.
	Indicators []string
	// Placeholders are values for the expand modifier, by name without %, as
	// ReadPlaceholders reads them.
	Placeholders map[string][]string
	// Pipelines are files of pySigma's processing pipelines, applied to every
	// rule in the order of their priority, then of this list. One that cannot be
	// honoured whole is an error of Load.
	Pipelines []string
	// Filters says how filter documents join the rules they are for.
	Filters sigma.Polarity
	// Cache is a folder that keeps compiled rules, so that the same rules need
	// neither parsing nor compiling the next time; "" is none. A folder that cannot
	// be used costs time and nothing else. With it, Set.Rules and Set.Correlations
	// can be matched and cited but not compiled again or explained, and there are
	// no Set.Tests.
	Cache string
}

// Set is the rules and indicators of one run.
type Set struct {
	Engine *detect.Engine
	// Rules are those that the engine honours, in the order of their files.
	Rules []*sigma.Rule
	// Options are those that the rules were compiled with.
	Options sigma.Options
	// Correlations are those that are whole, bases before those that name them.
	Correlations []*sigma.Correlation
	// Tests are the test files found beside them.
	Tests []*ruletest.File
	// Indicators is how many indicators the engine looks for.
	Indicators int
	// Hash is over the names and contents of every file read, so that two
	// results can be compared knowing that the rules were the same.
	Hash string
	// Problems are the rules, tests and indicators that were left out, each
	// naming its file and line.
	Problems []error

	cached bool // the rules were compiled by an earlier run
}

// ErrNoRules says that a folder or file given for rules holds none.
var ErrNoRules = errors.New("no rules found (rules are files that end in .yml or .yaml)")

// ErrPipeline says that a processing pipeline cannot be read or honoured.
var ErrPipeline = errors.New("processing pipeline")

// PackName stands before the names of shipped files.
const PackName = "pack"

// maxRuleFile bounds what is read of one file; sigma refuses larger ones.
const maxRuleFile = sigma.MaxFileSize

// input is a file that was read.
type input struct {
	name string
	data []byte
	// list and problems are of indicators, which are never kept compiled.
	list     *ioc.List
	problems []error
}

func newInput(name string, data []byte) input {
	in := input{name: name, data: data}
	if path.Ext(name) == ".csv" {
		in.parseIndicators()
	}
	return in
}

func (in *input) parseIndicators() {
	in.list, in.problems = ioc.Parse(filepath.ToSlash(in.name), bytes.NewReader(in.data))
}

// inputs are the files of one run, in the order in which they count.
type inputs struct {
	pack       []input
	rules      [][]input // by Options.Rules
	indicators []input
	pipelines  []input
}

// Load reads what opt names. A faulty rule is a problem and stays out; a folder or
// file that cannot be read is an error.
func Load(opt Options) (*Set, error) {
	in, err := read(opt)
	if err != nil {
		return nil, err
	}
	set := &Set{Hash: in.hash(opt), Options: sigma.Options{Placeholders: opt.Placeholders}}
	k, keyErr := cacheKey{}, errCache
	if opt.Cache != "" {
		var counts []int
		for _, files := range in.rules {
			counts = append(counts, len(files))
		}
		if k, keyErr = key(opt, counts, set.Hash); keyErr == nil {
			if c, err := loadCached(opt.Cache, k); err == nil {
				set.cached = true
				set.take(c, in)
				return set, nil
			}
		}
	}
	c, tests, err := compile(opt, in)
	if err != nil {
		return nil, err
	}
	if opt.Cache == "" {
		set.Tests = tests
	} else if keyErr == nil {
		if data, err := appendCached(k, c); err == nil {
			// What was written is used, as in the next run; the parsed rules can go.
			if again, err := readCached(k, string(data[:len(data)-sha256.Size])); err == nil {
				c = again
			}
			// Without the folder the next run takes as long as this one.
			_ = store(opt.Cache, k, data)
		}
	}
	set.take(c, in)
	return set, nil
}

// take makes the set's engine of compiled rules and of the indicators among what
// was read.
func (s *Set) take(c cached, in *inputs) {
	var lists []*ioc.List
	for _, files := range slices.Concat([][]input{in.pack}, in.rules, [][]input{in.indicators}) {
		for _, f := range files {
			if f.list != nil {
				lists = append(lists, f.list)
			}
		}
	}
	indicators := ioc.New(lists...)
	s.Rules, s.Correlations, s.Problems = c.engine.Rules(), c.correlations, c.problems
	s.Engine = detect.NewCorrelating(c.engine, c.correlations, indicators)
	s.Indicators = indicators.Len()
}

// read reads the files that opt names.
func read(opt Options) (*inputs, error) {
	in := &inputs{}
	if opt.Pack {
		err := walk(rules.FS(), ".", func(name string, data []byte) {
			in.pack = append(in.pack, newInput(PackName+"/"+name, data))
		}, ".yml", ".test", ".csv")
		if err != nil {
			return nil, fmt.Errorf("read the shipped rules: %w", err)
		}
	}
	for _, dir := range opt.Rules {
		info, err := os.Stat(dir)
		if err != nil {
			return nil, fmt.Errorf("rules: %w", err)
		}
		var files []input
		add := func(name string, data []byte) {
			if !isTestInfo(name, data) {
				files = append(files, newInput(name, data))
			}
		}
		if info.IsDir() {
			err = walk(os.DirFS(dir), ".", func(name string, data []byte) { add(filepath.ToSlash(filepath.Join(dir, name)), data) }, ".yml", ".yaml", ".test")
		} else {
			err = walk(os.DirFS(filepath.Dir(dir)), filepath.Base(dir), func(_ string, data []byte) { add(filepath.ToSlash(dir), data) }, filepath.Ext(dir))
		}
		if err != nil {
			return nil, fmt.Errorf("rules: %w", err)
		}
		in.rules = append(in.rules, files)
	}
	for _, name := range opt.Indicators {
		data, err := os.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("indicators: %w", err)
		}
		f := input{name: name, data: data}
		f.parseIndicators()
		in.indicators = append(in.indicators, f)
	}
	for _, name := range opt.Pipelines {
		data, err := os.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrPipeline, err)
		}
		in.pipelines = append(in.pipelines, input{name: name, data: data})
	}
	return in, nil
}

// hash returns Set.Hash.
func (in *inputs) hash(opt Options) string {
	sum := sha256.New()
	for _, files := range slices.Concat([][]input{in.pack}, in.rules, [][]input{in.indicators, in.pipelines}) {
		for _, f := range files {
			fmt.Fprintf(sum, "%d %s %d ", len(f.name), f.name, len(f.data))
			sum.Write(f.data)
		}
	}
	fmt.Fprintf(sum, "filters %d ", opt.Filters)
	hashPlaceholders(sum, opt.Placeholders)
	return hex.EncodeToString(sum.Sum(nil))
}

// compile parses and compiles what was read.
func compile(opt Options, in *inputs) (cached, []*ruletest.File, error) {
	var out cached
	var tests []*ruletest.File
	var parsed sigma.Collection
	documents := func() int {
		return len(parsed.Rules) + len(parsed.Correlations) + len(parsed.Filters) + len(out.problems)
	}
	take := func(files []input) {
		for _, f := range files {
			switch path.Ext(f.name) {
			case ".yml", ".yaml":
				out.problems = append(out.problems, parsed.Parse(f.name, f.data)...)
			case ".test":
				file, errs := ruletest.Parse(f.name, f.data)
				out.problems = append(out.problems, errs...)
				if file != nil {
					tests = append(tests, file)
				}
			default:
				out.problems = append(out.problems, f.problems...)
			}
		}
	}
	take(in.pack)
	for i, files := range in.rules {
		before := documents()
		if take(files); documents() == before {
			return cached{}, nil, fmt.Errorf("%s: %w", opt.Rules[i], ErrNoRules)
		}
	}
	for _, f := range in.indicators {
		out.problems = append(out.problems, f.problems...)
	}
	var pipelines []*sigma.Pipeline
	for _, f := range in.pipelines {
		p, errs := sigma.ParsePipeline(filepath.ToSlash(f.name), f.data)
		if p == nil { // without it every rule would mean something else
			return cached{}, nil, fmt.Errorf("%w: %w", ErrPipeline, errors.Join(errs...))
		}
		pipelines = append(pipelines, p)
	}
	var errs []error
	parsed.Rules, errs = withoutTwins(parsed.Rules)
	out.problems = append(out.problems, errs...)
	parsed.Correlations = slices.DeleteFunc(parsed.Correlations, sameFile(parsed.Correlations, func(c *sigma.Correlation) *sigma.Rule { return c.Rule }))
	parsed.Filters = slices.DeleteFunc(parsed.Filters, sameFile(parsed.Filters, func(f *sigma.Filter) *sigma.Rule { return f.Rule }))
	out.problems = append(out.problems, parsed.Transform(pipelines, opt.Filters)...)
	out.engine, errs = sigma.Compile(parsed.Rules, sigma.Options{Placeholders: opt.Placeholders})
	out.problems = append(out.problems, errs...)
	out.correlations, errs = sigma.Correlate(parsed.Correlations, out.engine.Rules(), sigma.CorrelateOptions{PseudoFields: true})
	out.problems = append(out.problems, errs...)
	return out, tests, nil
}

// isTestInfo reports whether a file describes tests of rules, as a checkout of
// the public rules has them beside the rules.
func isTestInfo(name string, data []byte) bool {
	return path.Base(name) == "info.yml" && bytes.Contains(data, []byte("\nregression_tests_info:"))
}

// withoutTwins keeps the first of rules with the same id and names the others.
// A rule that is the same in every respect, as when a folder is given twice, is
// left out without a word.
func withoutTwins(all []*sigma.Rule) ([]*sigma.Rule, []error) {
	var problems []error
	first := map[string]*sigma.Rule{}
	kept := slices.DeleteFunc(all, func(r *sigma.Rule) bool {
		f, twin := first[r.Key()]
		if !twin {
			first[r.Key()] = r
			return false
		}
		if f.File != r.File || f.Line != r.Line {
			problems = append(problems, &sigma.Error{
				File: r.File, Rule: r.Title, Line: r.Line, Column: 1,
				Msg: fmt.Sprintf("has the same id as %s, which is used instead", f.File), Hint: "give each rule an id of its own",
			})
		}
		return true
	})
	return kept, problems
}

// sameFile returns a test for documents that were read before, as when a folder
// is given twice.
func sameFile[D any](all []D, meta func(D) *sigma.Rule) func(D) bool {
	type place struct {
		file string
		line int
	}
	seen := make(map[place]bool, len(all))
	return func(d D) bool {
		p := place{meta(d).File, meta(d).Line}
		twice := seen[p]
		seen[p] = true
		return twice
	}
}

// walk calls take for every file below root with one of the extensions, in
// the order of their names. Hidden folders such as .git are left out.
func walk(fsys fs.FS, root string, take func(name string, data []byte), exts ...string) error {
	var tooLarge []byte // refused by its size, by name
	return fs.WalkDir(fsys, root, func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && strings.HasPrefix(d.Name(), ".") && name != ".":
			return fs.SkipDir
		case d.IsDir() || !slices.Contains(exts, strings.ToLower(path.Ext(name))):
			return nil
		}
		if info, err := d.Info(); err == nil && info.Size() > maxRuleFile {
			if tooLarge == nil {
				tooLarge = make([]byte, maxRuleFile+1)
			}
			take(name, tooLarge)
			return nil
		}
		data, err := fs.ReadFile(fsys, name)
		if err != nil {
			return err
		}
		take(name, data)
		return nil
	})
}

// Report gives what was left out a place among the problems of a scan.
func (s *Set) Report() []source.Problem {
	var out []source.Problem
	for _, err := range s.Problems {
		p := source.Problem{Kind: source.Refused, Offset: -1, Count: 1, Detail: err.Error()}
		var se *sigma.Error
		var ie *ioc.Error
		var te *ruletest.Error
		switch {
		case errors.As(err, &se):
			p.File, p.Line, p.Detail = se.File, se.Line, se.Msg
		case errors.As(err, &ie):
			p.File, p.Line, p.Detail = ie.File, ie.Line, ie.Msg
		case errors.As(err, &te):
			p.File, p.Line, p.Detail = te.File, te.Line, te.Msg
		}
		out = append(out, p)
	}
	return out
}

// ReadTests reads the .test files of a folder, or one such file.
func ReadTests(dir string) ([]*ruletest.File, error) {
	info, err := os.Stat(dir)
	if err != nil {
		return nil, err
	}
	root, base := dir, "."
	if !info.IsDir() {
		root, base = filepath.Dir(dir), filepath.Base(dir)
	}
	var files []*ruletest.File
	var faults []error
	err = walk(os.DirFS(root), base, func(name string, data []byte) {
		f, errs := ruletest.Parse(filepath.ToSlash(filepath.Join(root, name)), data)
		faults = append(faults, errs...)
		if f != nil {
			files = append(files, f)
		}
	}, ".test")
	return files, errors.Join(append(faults, err)...)
}

// Text returns a rule file's text again, from the pack or from disk, by the name
// that rules and detections give as their source.
func Text(name string) ([]byte, error) {
	if inside, ok := strings.CutPrefix(name, PackName+"/"); ok {
		if data, err := fs.ReadFile(rules.FS(), inside); err == nil {
			return data, nil
		}
	}
	return os.ReadFile(filepath.FromSlash(name))
}
