package ruletest_test

import (
	"bytes"
	"io/fs"
	"os"
	"path"
	"slices"
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
	var rules sigma.Collection
	var lists []*ioc.List
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
			errs = rules.Parse(name, data)
		case ".csv":
			var l *ioc.List
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
	if len(rules.Filters) > 0 {
		t.Error("the pack holds filters, which are for users")
	}
	compiled, errs := sigma.Compile(rules.Rules, sigma.Options{})
	correlations, more := sigma.Correlate(rules.Correlations, compiled.Rules(), sigma.CorrelateOptions{PseudoFields: true})
	for _, err := range slices.Concat(errs, more) {
		t.Error(err)
	}
	metas := rules.Rules
	for _, c := range correlations {
		metas = append(metas, c.Rule)
	}
	for _, r := range metas {
		for _, w := range r.Warnings {
			t.Error(w)
		}
	}
	engine := detect.NewCorrelating(compiled, correlations, ioc.New(lists...))
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
		if strings.HasPrefix(r.ID, "ioc:") || r.Silent {
			continue
		}
		for _, lang := range []string{"en", "ja", "ko"} {
			if r.Texts[lang].Title == "" {
				t.Errorf("%s: no texts in %s", r.Source, lang)
			}
		}
	}
	t.Logf("%d rules and indicators, %d tests passed", engine.Len(), passed)
	if len(files) == 0 || passed == 0 {
		t.Error("the pack holds no tests")
	}
}
