package sigma_test

import (
	"bytes"
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/goccy/go-yaml"

	"ashiato/internal/corpus"
	"ashiato/internal/event"
	"ashiato/internal/normalize"
	"ashiato/internal/sigma"
	"ashiato/internal/source"
	"ashiato/internal/source/evtx"
	"ashiato/internal/source/ndjson"
)

// readEvents reads a recording and normalises it.
func readEvents(t testing.TB, read source.ReadFunc, path string) []*event.Event {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var events []*event.Event
	_, problems := read(context.Background(), filepath.ToSlash(path), bytes.NewReader(data), func(batch []*event.Event) {
		mu.Lock()
		defer mu.Unlock()
		events = append(events, batch...)
	})
	for _, p := range problems {
		if p.Kind != source.Dirty && p.Kind != source.BadChecksum {
			t.Logf("%s: %v", path, p)
		}
	}
	for _, e := range events {
		normalize.Event(e)
	}
	return events
}

// regressionInfo is the public set's info.yml.
type regressionInfo struct {
	RuleMetadata []struct {
		ID    string `yaml:"id"`
		Title string `yaml:"title"`
	} `yaml:"rule_metadata"`
	Tests []struct {
		Name       string `yaml:"name"`
		Type       string `yaml:"type"`
		MatchCount *int   `yaml:"match_count"`
		Path       string `yaml:"path"`
	} `yaml:"regression_tests_info"`
}

// miscounted are the cases whose match_count contradicts their own recording:
// each holds three records that the rule plainly describes (user.conf.new twice
// and user.conf~RF….TMP; procdump64.exe, procdump64a.exe and procdump.exe).
var miscounted = map[string]int{
	"0b9ad457-2554-44c1-82c2-d56a99c42377": 3,
	"8fbf3271-1ef6-4e94-8210-03c2317947f6": 3,
}

// TestPublicRegressionData holds that each rule of the public set that comes
// with a recording fires for it, as often as is written beside it, both from
// the EVTX file and from its JSON twin.
func TestPublicRegressionData(t *testing.T) {
	root := corpus.Dir(t, "sigma")
	rules, _ := loadPublic(t)
	engine, _ := sigma.Compile(rules, sigma.Options{})
	m := engine.Matcher()
	byID := map[string]*sigma.Rule{}
	for _, r := range engine.Rules() {
		byID[r.ID] = r
	}
	cases, counted, detected, exact, twins := 0, 0, 0, 0, 0
	err := filepath.WalkDir(filepath.Join(root, "regression_data"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Name() != "info.yml" {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		var info regressionInfo
		if err := yaml.Unmarshal(data, &info); err != nil {
			t.Errorf("%s: %v", path, err)
			return nil
		}
		for _, test := range info.Tests {
			if test.Type != "evtx" {
				continue
			}
			file := filepath.Join(root, filepath.FromSlash(test.Path))
			if _, err := os.Stat(file); err != nil {
				continue // a part of the set is not among the recordings
			}
			for _, meta := range info.RuleMetadata {
				rule := byID[meta.ID]
				if rule == nil {
					t.Logf("%s: its rule %s is not among the recordings", path, meta.ID)
					continue
				}
				count := func(events []*event.Event) (n int) {
					for _, e := range events {
						for _, got := range m.Match(e, nil) {
							if got.Rule == rule {
								n++
							}
						}
					}
					return n
				}
				cases++
				n := count(readEvents(t, (&evtx.Reader{}).Read, file))
				if n > 0 {
					detected++
				} else {
					t.Errorf("%s: rule %q does not fire", file, rule.Title)
				}
				if test.MatchCount != nil {
					counted++
					want := *test.MatchCount
					if m, ok := miscounted[rule.ID]; ok {
						want = m
					}
					if n == want {
						exact++
					} else {
						t.Errorf("%s: rule %q fires %d times, want %d", file, rule.Title, n, want)
					}
				}
				twin := strings.TrimSuffix(file, ".evtx") + ".json"
				if _, err := os.Stat(twin); err == nil {
					if count(readEvents(t, ndjson.Read, twin)) > 0 {
						twins++
					} else {
						t.Errorf("%s: rule %q does not fire", twin, rule.Title)
					}
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Log("cases " + strconv.Itoa(cases) + ", detected " + strconv.Itoa(detected) + ", JSON twins " + strconv.Itoa(twins) +
		"; with a count " + strconv.Itoa(counted) + ", exact " + strconv.Itoa(exact))
	if cases < 50 {
		t.Errorf("only %d cases found", cases)
	}
}
