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
	// Placeholders are values for the expand modifier, by name without %.
	Placeholders map[string][]string
	// Pipelines are files of pySigma's processing pipelines, applied to every
	// rule in the order of their priority, then of this list. One that cannot be
	// honoured whole is an error of Load.
	Pipelines []string
	// Filters says how filter documents join the rules they are for.
	Filters sigma.Polarity
}

// Set is the rules and indicators of one run.
type Set struct {
	Engine *detect.Engine
	// Rules are those that the engine honours, in the order of their files.
	Rules []*sigma.Rule
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
}

// ErrNoRules says that a folder or file given for rules holds none.
var ErrNoRules = errors.New("no rules found (rules are files that end in .yml or .yaml)")

// ErrPipeline says that a processing pipeline cannot be read or honoured.
var ErrPipeline = errors.New("processing pipeline")

// PackName stands before the names of shipped files.
const PackName = "pack"

// maxRuleFile bounds what is read of one file; sigma refuses larger ones.
const maxRuleFile = sigma.MaxFileSize

// Load reads what opt names. A faulty rule is a problem and stays out; a folder or
// file that cannot be read is an error.
func Load(opt Options) (*Set, error) {
	set := &Set{}
	sum := sha256.New()
	var parsed sigma.Collection
	documents := func() int {
		return len(parsed.Rules) + len(parsed.Correlations) + len(parsed.Filters) + len(set.Problems)
	}
	var lists []*ioc.List
	take := func(name string, data []byte) {
		fmt.Fprintf(sum, "%d %s %d ", len(name), name, len(data))
		sum.Write(data)
		switch path.Ext(name) {
		case ".yml", ".yaml":
			set.Problems = append(set.Problems, parsed.Parse(name, data)...)
		case ".test":
			f, errs := ruletest.Parse(name, data)
			set.Problems = append(set.Problems, errs...)
			if f != nil {
				set.Tests = append(set.Tests, f)
			}
		case ".csv":
			list, errs := ioc.Parse(name, bytes.NewReader(data))
			lists = append(lists, list)
			set.Problems = append(set.Problems, errs...)
		}
	}
	if opt.Pack {
		if err := walk(rules.FS(), ".", func(name string, data []byte) { take(PackName+"/"+name, data) }, ".yml", ".test", ".csv"); err != nil {
			return nil, fmt.Errorf("read the shipped rules: %w", err)
		}
	}
	for _, dir := range opt.Rules {
		info, err := os.Stat(dir)
		if err != nil {
			return nil, fmt.Errorf("rules: %w", err)
		}
		before := documents()
		if info.IsDir() {
			err = walk(os.DirFS(dir), ".", func(name string, data []byte) { take(filepath.ToSlash(filepath.Join(dir, name)), data) }, ".yml", ".yaml", ".test")
		} else {
			err = walk(os.DirFS(filepath.Dir(dir)), filepath.Base(dir), func(_ string, data []byte) { take(filepath.ToSlash(dir), data) }, filepath.Ext(dir))
		}
		if err != nil {
			return nil, fmt.Errorf("rules: %w", err)
		}
		if documents() == before {
			return nil, fmt.Errorf("%s: %w", dir, ErrNoRules)
		}
	}
	for _, name := range opt.Indicators {
		data, err := os.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("indicators: %w", err)
		}
		fmt.Fprintf(sum, "%d %s %d ", len(name), name, len(data))
		sum.Write(data)
		list, errs := ioc.Parse(filepath.ToSlash(name), bytes.NewReader(data))
		lists = append(lists, list)
		set.Problems = append(set.Problems, errs...)
	}
	var pipelines []*sigma.Pipeline
	for _, name := range opt.Pipelines {
		data, err := os.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrPipeline, err)
		}
		fmt.Fprintf(sum, "%d %s %d ", len(name), name, len(data))
		sum.Write(data)
		p, errs := sigma.ParsePipeline(filepath.ToSlash(name), data)
		if p == nil { // without it every rule would mean something else
			return nil, fmt.Errorf("%w: %w", ErrPipeline, errors.Join(errs...))
		}
		pipelines = append(pipelines, p)
	}
	fmt.Fprintf(sum, "filters %d ", opt.Filters)
	var twice []error
	parsed.Rules, twice = withoutTwins(parsed.Rules)
	set.Problems = append(set.Problems, twice...)
	parsed.Correlations = slices.DeleteFunc(parsed.Correlations, sameFile(parsed.Correlations, func(c *sigma.Correlation) *sigma.Rule { return c.Rule }))
	parsed.Filters = slices.DeleteFunc(parsed.Filters, sameFile(parsed.Filters, func(f *sigma.Filter) *sigma.Rule { return f.Rule }))
	set.Problems = append(set.Problems, parsed.Transform(pipelines, opt.Filters)...)
	engine, errs := sigma.Compile(parsed.Rules, sigma.Options{Placeholders: opt.Placeholders})
	set.Problems = append(set.Problems, errs...)
	set.Rules = engine.Rules()
	set.Correlations, errs = sigma.Correlate(parsed.Correlations, set.Rules, sigma.CorrelateOptions{})
	set.Problems = append(set.Problems, errs...)
	indicators := ioc.New(lists...)
	set.Engine = detect.NewCorrelating(engine, set.Correlations, indicators)
	set.Indicators = indicators.Len()
	set.Hash = hex.EncodeToString(sum.Sum(nil))
	return set, nil
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
			take(name, make([]byte, maxRuleFile+1)) // refused by its size, by name
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
