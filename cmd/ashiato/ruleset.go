package main

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

// ruleset is the rules and indicators of one run.
type ruleset struct {
	engine     *detect.Engine
	parsed     []*sigma.Rule // those that compiled
	tests      []*ruletest.File
	rules      int
	indicators int
	// hash is over the names and contents of every file read, so that two
	// results can be compared knowing that the rules were the same.
	hash string
	// problems are the rules and indicators that were left out, each naming its
	// file and line.
	problems []error
}

// packName stands before the names of shipped files.
const packName = "pack"

// maxRuleFile bounds what is read of one file; sigma refuses larger ones.
const maxRuleFile = sigma.MaxFileSize

// loadRules reads the shipped pack, if asked for, and the named folders and
// files. A faulty rule is a problem and stays out; a folder that cannot be read
// is an error.
func loadRules(dirs []string, pack bool, iocFiles []string) (*ruleset, error) {
	set := &ruleset{}
	sum := sha256.New()
	var parsed []*sigma.Rule
	var lists [][]ioc.Indicator
	take := func(name string, data []byte) {
		fmt.Fprintf(sum, "%d %s %d ", len(name), name, len(data))
		sum.Write(data)
		switch path.Ext(name) {
		case ".yml", ".yaml":
			rs, errs := sigma.Parse(name, data)
			parsed = append(parsed, rs...)
			set.problems = append(set.problems, errs...)
		case ".test":
			f, errs := ruletest.Parse(name, data)
			set.problems = append(set.problems, errs...)
			if f != nil {
				set.tests = append(set.tests, f)
			}
		case ".csv":
			list, errs := ioc.Parse(name, bytes.NewReader(data))
			lists = append(lists, list)
			set.problems = append(set.problems, errs...)
		}
	}
	if pack {
		if err := walkRules(rules.FS(), ".", func(name string, data []byte) { take(packName+"/"+name, data) }, ".yml", ".test", ".csv"); err != nil {
			return nil, fmt.Errorf("read the shipped rules: %w", err)
		}
	}
	for _, dir := range dirs {
		info, err := os.Stat(dir)
		if err != nil {
			return nil, withHint(fmt.Errorf("--rules: %w", err), "name a folder with .yml files, or one such file")
		}
		before := len(parsed) + len(set.problems)
		if info.IsDir() {
			err = walkRules(os.DirFS(dir), ".", func(name string, data []byte) { take(filepath.ToSlash(filepath.Join(dir, name)), data) }, ".yml", ".yaml", ".test")
		} else {
			err = walkRules(os.DirFS(filepath.Dir(dir)), filepath.Base(dir), func(_ string, data []byte) { take(filepath.ToSlash(dir), data) }, filepath.Ext(dir))
		}
		if err != nil {
			return nil, fmt.Errorf("--rules: %w", err)
		}
		if len(parsed)+len(set.problems) == before {
			return nil, withHint(fmt.Errorf("--rules: no rules in %s", dir), "rules are files that end in .yml or .yaml")
		}
	}
	for _, name := range iocFiles {
		data, err := os.ReadFile(name)
		if err != nil {
			return nil, withHint(fmt.Errorf("--ioc: %w", err), "name a CSV file, or one with one indicator per line")
		}
		fmt.Fprintf(sum, "%d %s %d ", len(name), name, len(data))
		sum.Write(data)
		list, errs := ioc.Parse(filepath.ToSlash(name), bytes.NewReader(data))
		lists = append(lists, list)
		set.problems = append(set.problems, errs...)
	}
	parsed, twice := withoutTwins(parsed)
	set.problems = append(set.problems, twice...)
	engine, errs := sigma.Compile(parsed, sigma.Options{})
	set.problems = append(set.problems, errs...)
	set.parsed = engine.Rules()
	indicators := ioc.New(lists...)
	set.engine = detect.New(engine, indicators)
	set.rules, set.indicators = len(set.parsed), len(indicators.Indicators())
	set.hash = hex.EncodeToString(sum.Sum(nil))
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

// walkRules calls take for every file below root with one of the extensions, in
// the order of their names. Hidden folders such as .git are left out.
func walkRules(fsys fs.FS, root string, take func(name string, data []byte), exts ...string) error {
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

// reportProblems gives the rules left out a place in the report.
func (s *ruleset) reportProblems() []source.Problem {
	var out []source.Problem
	for _, err := range s.problems {
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
