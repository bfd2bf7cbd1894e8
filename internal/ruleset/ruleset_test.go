package ruleset

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ashiato/internal/event"
	"ashiato/internal/sigma"
	"ashiato/internal/source"
)

const rule = `title: A
id: 0c7a3b1e-2f4d-4a5b-9c6d-7e8f9a0b1c2d
logsource: {category: process_creation, product: windows}
detection:
    sel: {Image|endswith: '\a.exe'}
    condition: sel
level: high
`

func write(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestShippedPackIsWhole(t *testing.T) {
	a, err := Load(Options{Pack: true})
	if err != nil {
		t.Fatal(err)
	}
	if len(a.Problems) > 0 {
		t.Errorf("problems: %v", a.Problems)
	}
	if len(a.Rules) < 50 || len(a.Tests) < len(a.Rules)-5 || a.Indicators < 5 {
		t.Errorf("%d rules, %d test files, %d indicators", len(a.Rules), len(a.Tests), a.Indicators)
	}
	b, err := Load(Options{Pack: true})
	if err != nil {
		t.Fatal(err)
	}
	if a.Hash != b.Hash || len(a.Hash) != 64 {
		t.Errorf("hashes %s and %s of the same rules", a.Hash, b.Hash)
	}
}

func TestFaultyRulesAreNamedAndTheRestIsUsed(t *testing.T) {
	dir := write(t, map[string]string{
		"good.yml":        rule,
		"sub/twin.yml":    strings.Replace(rule, "title: A", "title: B", 1),
		"sub/broken.yml":  "title: C\ndetection: [\n",
		"sub/unknown.yml": strings.NewReplacer("title: A", "title: D", "0c7a", "1c7a", "Image|endswith", "Image|frobnicate").Replace(rule),
		".git/hidden.yml": "not a rule",
		"readme.md":       "not a rule",
	})
	set, err := Load(Options{Rules: []string{dir}})
	if err != nil {
		t.Fatal(err)
	}
	if len(set.Rules) != 1 || set.Rules[0].Title != "A" {
		t.Errorf("rules %v", set.Rules)
	}
	problems := set.Report()
	for _, want := range []struct{ file, detail string }{
		{"sub/twin.yml", "has the same id as"},
		{"sub/broken.yml", ""},
		{"sub/unknown.yml", "frobnicate"},
	} {
		found := false
		for _, p := range problems {
			found = found || p.Kind == source.Refused && strings.HasSuffix(p.File, want.file) && strings.Contains(p.Detail, want.detail) && p.Line > 0
		}
		if !found {
			t.Errorf("no problem names %s with a line and %q: %v", want.file, want.detail, problems)
		}
	}
	if len(problems) != 3 {
		t.Errorf("%d problems, want 3: %v", len(problems), problems)
	}
}

func TestAFolderGivenTwiceIsReadOnceToTheEye(t *testing.T) {
	dir := write(t, map[string]string{"good.yml": rule})
	set, err := Load(Options{Rules: []string{dir, dir}})
	if err != nil {
		t.Fatal(err)
	}
	if len(set.Rules) != 1 || len(set.Problems) != 0 {
		t.Errorf("%d rules, problems %v", len(set.Rules), set.Problems)
	}
}

func TestWhatCannotBeLoadedIsAnError(t *testing.T) {
	if _, err := Load(Options{Rules: []string{filepath.Join(t.TempDir(), "none")}}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing folder: %v", err)
	}
	if _, err := Load(Options{Rules: []string{t.TempDir()}}); !errors.Is(err, ErrNoRules) {
		t.Errorf("an empty folder: %v", err)
	}
	if _, err := Load(Options{Indicators: []string{filepath.Join(t.TempDir(), "none.csv")}}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing indicator file: %v", err)
	}
}

func TestOversizedRuleIsRefusedByName(t *testing.T) {
	dir := write(t, map[string]string{"good.yml": rule})
	big, err := os.Create(filepath.Join(dir, "big.yml"))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(big.Truncate(maxRuleFile+10), big.Close()); err != nil {
		t.Fatal(err)
	}
	set, err := Load(Options{Rules: []string{dir}})
	if err != nil {
		t.Fatal(err)
	}
	if len(set.Rules) != 1 || len(set.Problems) != 1 || !strings.Contains(set.Problems[0].Error(), "big.yml") {
		t.Errorf("%d rules, problems %v", len(set.Rules), set.Problems)
	}
}

func TestIndicatorsReportTheirLines(t *testing.T) {
	dir := write(t, map[string]string{"list.txt": "60f6acfb9efce8dbf5a6d69a418c0eed\nnot an indicator at all!\n203.0.113.9\n"})
	set, err := Load(Options{Indicators: []string{filepath.Join(dir, "list.txt")}})
	if err != nil {
		t.Fatal(err)
	}
	if set.Indicators != 2 {
		t.Errorf("%d indicators, want 2", set.Indicators)
	}
	if ps := set.Report(); len(ps) != 1 || ps[0].Line != 2 {
		t.Errorf("problems %+v", ps)
	}
}

func TestTextFindsARuleAgain(t *testing.T) {
	set, err := Load(Options{Pack: true})
	if err != nil {
		t.Fatal(err)
	}
	text, err := Text(set.Rules[0].File)
	if err != nil || !strings.Contains(string(text), set.Rules[0].Title) {
		t.Errorf("%s: %v %q", set.Rules[0].File, err, text)
	}
}

// TestDocumentsOfEveryKind loads rules, correlations, filters and pipelines from
// several files, in an order in which references come before what they name.
func TestDocumentsOfEveryKind(t *testing.T) {
	rule := func(name, field string) string {
		return "title: " + name + "\nname: " + name + "\nlogsource: {category: process_creation, product: windows}\ndetection: {s: {" + field + ": x}, condition: s}\n"
	}
	correlation := func(name, of string) string {
		return "title: " + name + "\nname: " + name + "\ncorrelation: {type: event_count, rules: [" + of + "], timespan: 1m, group-by: Who, condition: {gte: 2}}\n"
	}
	dir := write(t, map[string]string{
		"rules/a.yml": correlation("second", "first"),
		"rules/b.yml": correlation("first", "r"),
		"rules/c.yml": rule("r", "Old"),
		"rules/d.yml": correlation("broken", "nobody"),
		"rules/e.yml": "title: F\nlogsource: {product: windows}\nfilter: {rules: any, s: {User: admin}, condition: not s}\n",
		"p.yml":       "transformations:\n- {type: field_name_mapping, mapping: {Old: New, Who: User}}\n",
		"bad.yml":     "transformations:\n- {type: regex}\n",
	})
	opt := Options{Rules: []string{filepath.Join(dir, "rules"), filepath.Join(dir, "rules")}, Pipelines: []string{filepath.Join(dir, "p.yml")}}
	set, err := Load(opt)
	if err != nil {
		t.Fatal(err)
	}
	if len(set.Problems) != 1 || !strings.Contains(set.Problems[0].Error(), `d.yml:3:42: rule "broken": no loaded rule has the id or name "nobody"`) {
		t.Errorf("problems %v", set.Problems)
	}
	if len(set.Correlations) != 2 || set.Correlations[0].Rule.Name != "first" || set.Correlations[0].GroupBy[0] != "User" {
		t.Errorf("correlations %+v", set.Correlations)
	}
	silent := map[string]bool{}
	for _, r := range set.Engine.Rules() {
		silent[r.Title] = r.Silent
	}
	if d := cmp.Diff(map[string]bool{"r": true, "first": true, "second": false}, silent); d != "" {
		t.Error(d)
	}
	w := set.Engine.Worker()
	for user, want := range map[string]int{"bob": 1, "admin": 0} {
		e := &event.Event{Kind: event.ProcessCreate, Data: event.Fields{{Name: "New", Value: "x"}, {Name: "User", Value: user}}}
		if _, told := w.Observe(e, nil, nil, nil); len(told) != want {
			t.Errorf("%s: %d observations, want %d", user, len(told), want)
		}
	}
	opt.Filters = sigma.Suppress
	other, err := Load(opt)
	if err != nil || other.Hash == set.Hash {
		t.Errorf("another polarity, the same hash %s (%v)", other.Hash, err)
	}
	opt.Pipelines = []string{filepath.Join(dir, "bad.yml")}
	if _, err := Load(opt); err == nil || !strings.Contains(err.Error(), "bad.yml:2:10: the transformation regex is not supported") {
		t.Error(err)
	}
}
