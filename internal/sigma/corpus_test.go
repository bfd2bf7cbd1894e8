package sigma_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"testing"

	"ashiato/internal/corpus"
	"ashiato/internal/sigma"
)

// publicRules reads every rule file of the public set, once.
var publicRules = sync.OnceValues(func() ([]*sigma.Rule, []error) {
	var rules []*sigma.Rule
	var errs []error
	for _, dir := range ruleDirs {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".yml") {
				return err
			}
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			r, e := sigma.Parse(filepath.ToSlash(path), data)
			rules, errs = append(rules, r...), append(errs, e...)
			return nil
		})
		if err != nil {
			errs = append(errs, err)
		}
	}
	return rules, errs
})

var ruleDirs []string

func loadPublic(t testing.TB) ([]*sigma.Rule, []error) {
	t.Helper()
	root := corpus.Dir(t, "sigma")
	if ruleDirs == nil {
		for _, d := range []string{"rules", "rules-emerging-threats", "rules-placeholder", "rules-threat-hunting", "unsupported"} {
			ruleDirs = append(ruleDirs, filepath.Join(root, d))
		}
	}
	return publicRules()
}

func isUnsupportedFolder(file string) bool { return strings.Contains(file, "/unsupported/") }

// TestPublicRulesLoad holds that every rule of the public set loads, or is
// refused for one of the reasons that this version documents.
func TestPublicRulesLoad(t *testing.T) {
	rules, errs := loadPublic(t)
	engine, more := sigma.Compile(rules, sigma.Options{})
	errs = append(errs, more...)
	reasons := map[string][]string{}
	for _, err := range errs {
		var e *sigma.Error
		if !errors.As(err, &e) {
			t.Fatal(err)
		}
		if e.Line == 0 || e.Column == 0 || e.File == "" {
			t.Errorf("%v: no place", e)
		}
		reason := ""
		for prefix, name := range map[string]string{
			"the placeholder %":                  "placeholder without a value",
			"the condition holds an aggregation": "aggregation",
			"timeframe belongs":                  "timeframe",
			"the rule has no title":              "part of a collection",
			"unexpected character '%'":           "prose instead of a condition",
			"rule collections":                   "collection",
			"correlation rules":                  "correlation",
		} {
			if strings.HasPrefix(e.Msg, prefix) {
				reason = name
			}
		}
		if reason == "" || reason != "placeholder without a value" && !isUnsupportedFolder(e.File) {
			t.Errorf("unexpected refusal: %v", e)
		}
		reasons[reason] = append(reasons[reason], e.File)
	}
	var table []string
	for r, files := range reasons {
		table = append(table, fmt.Sprintf("%4d %s", len(files), r))
	}
	sort.Strings(table)
	t.Logf("%d rules parsed, %d compiled, %d refused:\n%s", len(rules), len(engine.Rules()), len(errs), strings.Join(table, "\n"))
	if len(rules) < 3200 {
		t.Errorf("only %d rules parsed", len(rules))
	}
	if n := len(reasons["placeholder without a value"]); n != 16 {
		t.Errorf("%d rules refused for placeholders, want 16", n)
	}
}
