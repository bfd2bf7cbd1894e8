package ruletest_test

import (
	"bytes"
	"io/fs"
	"os"
	"path"
	"strings"
	"testing"

	"ashiato/internal/detect"
	"ashiato/internal/ioc"
	"ashiato/internal/ruletest"
	"ashiato/internal/sigma"
)

// TestShippedRules loads the shipped pack and runs every test beside its rules.
func TestShippedRules(t *testing.T) {
	pack := os.DirFS("../../rules")
	var rules []*sigma.Rule
	var lists [][]ioc.Indicator
	var files []*ruletest.File
	err := fs.WalkDir(pack, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := fs.ReadFile(pack, name)
		if err != nil {
			return err
		}
		var errs []error
		switch path.Ext(name) {
		case ".yml":
			var r []*sigma.Rule
			r, errs = sigma.Parse(name, data)
			rules = append(rules, r...)
			for _, rule := range r {
				for _, w := range rule.Warnings {
					t.Error(w)
				}
			}
		case ".csv":
			var l []ioc.Indicator
			l, errs = ioc.Parse(name, bytes.NewReader(data))
			lists = append(lists, l)
		case ".test":
			var f *ruletest.File
			f, errs = ruletest.Parse(name, data)
			files = append(files, f)
		}
		for _, err := range errs {
			t.Error(err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	compiled, errs := sigma.Compile(rules, sigma.Options{})
	for _, err := range errs {
		t.Error(err)
	}
	engine := detect.New(compiled, ioc.New(lists...))
	passed := 0
	for _, f := range files {
		if len(ruletest.Subjects(engine.Rules(), f.Name)) == 0 {
			t.Errorf("%s: no rule file of this name beside it", f.Name)
		}
		res := ruletest.Run(engine, f)
		passed += res.Passed
		for _, failure := range res.Failures {
			t.Error(failure)
		}
	}
	for _, m := range ruletest.Missing(engine, files) {
		t.Error(m)
	}
	for _, r := range engine.Rules() {
		if strings.HasPrefix(r.ID, "ioc:") {
			continue
		}
		for _, lang := range []string{"en", "ja", "ko"} {
			if r.Texts[lang].Title == "" {
				t.Errorf("%s: no texts in %s", r.Source, lang)
			}
		}
	}
	t.Logf("%d rules and indicators, %d tests passed", len(engine.Rules()), passed)
	if len(files) == 0 || passed == 0 {
		t.Error("the pack holds no tests")
	}
}
