package scan

import (
	"cmp"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ashiato/internal/corpus"
	"ashiato/internal/detect"
	"ashiato/internal/incident"
	"ashiato/internal/ruleset"
)

// What an incident was judged to be: part of the attack that was
// recorded, of what else happened there, or not looked at yet.
const (
	ofAttack     = "attack"
	ofBackground = "background"
	unjudged     = "?"
)

// TestIncidentsOutsideTheAttack counts the incidents of high severity and more that
// are not the recorded attack: over all recordings of attacks, with the shipped
// rules and with the public ones. Each is judged in
// testdata/noise/*.tsv; a new one fails until it is.
func TestIncidentsOutsideTheAttack(t *testing.T) {
	root := corpus.Dir(t, "otrf")
	if os.Getenv("ASHIATO_FULL") == "" && !*update {
		t.Skip("takes a minute: set ASHIATO_FULL")
	}
	var public []string
	for _, dir := range []string{"rules", "rules-emerging-threats", "rules-threat-hunting"} {
		public = append(public, filepath.Join(corpus.Dir(t, "sigma"), dir))
	}
	for _, set := range []struct {
		name string
		opt  ruleset.Options
		most float64 // incidents outside the attack in 10,000 events
	}{
		{"shipped", ruleset.Options{Pack: true}, 0.5},
		{"public", ruleset.Options{Rules: public}, 0}, // shown, not held
	} {
		t.Run(set.name, func(t *testing.T) {
			path := filepath.Join("testdata", "noise", set.name+".tsv")
			judged := readJudged(t, path)
			rules, err := ruleset.Load(set.opt)
			if err != nil {
				t.Fatal(err)
			}
			events, found := int64(0), map[string]string{}
			err = filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
				if err != nil || d.IsDir() {
					return err
				}
				name, err := filepath.Rel(root, file)
				if err != nil {
					return err
				}
				r := run(t, Options{Paths: []string{file}, Engine: rules.Engine, MinSeverity: detect.High})
				events += r.Stats.Analysed
				for _, inc := range r.Incidents {
					k := noiseKey(filepath.ToSlash(name), inc)
					found[k] = cmp.Or(judged[k], unjudged)
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			if *update {
				writeJudged(t, path, found)
			}
			count := map[string]int{}
			for _, k := range slices.Sorted(maps.Keys(found)) {
				count[found[k]]++
				if found[k] == unjudged {
					t.Errorf("not judged: %s", k)
				}
			}
			for k := range judged {
				if found[k] == "" && !*update {
					t.Errorf("no longer found: %s", k)
				}
			}
			rate := float64(count[ofBackground]) / float64(events) * 10_000
			t.Logf("%d events; of %d incidents of high severity and more %d are the attack's, %d are not: %.2f in 10,000 events",
				events, len(found), count[ofAttack], count[ofBackground], rate)
			if set.most > 0 && rate > set.most {
				t.Errorf("%.2f incidents outside the attack in 10,000 events, want at most %.2f", rate, set.most)
			}
		})
	}
}

// noiseKey names an incident by its recording, its hosts and what its severe rules
// say, with the node that the first of them marks.
func noiseKey(recording string, inc *incident.Incident) string {
	var rules []string
	for _, d := range inc.Detections {
		if d.Rule.Severity >= detect.High {
			rules = append(rules, cmp.Or(d.Rule.TitleIn("en"), d.Rule.Name))
		}
	}
	slices.Sort(rules)
	at := string(inc.Detections[0].Node)
	return fmt.Sprintf("%s\t%s\t%s\t%s", recording, strings.Join(inc.Hosts, " "), strings.Join(slices.Compact(rules), "; "), at)
}

func readJudged(t *testing.T, path string) map[string]string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil && !(*update && os.IsNotExist(err)) {
		t.Fatal(err)
	}
	judged := map[string]string{}
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSuffix(line, "\n")
		if line == "" || line[0] == '#' {
			continue
		}
		word, key, ok := strings.Cut(line, "\t")
		if !ok || !slices.Contains([]string{ofAttack, ofBackground, unjudged}, word) {
			t.Fatalf("%s: %q", path, line)
		}
		judged[key] = word
	}
	return judged
}

func writeJudged(t *testing.T, path string, found map[string]string) {
	t.Helper()
	var b strings.Builder
	b.WriteString("# Incidents of high severity and more: judgement, recording, hosts, severe rules, where the first detection points.\n")
	for _, k := range slices.Sorted(maps.Keys(found)) {
		fmt.Fprintf(&b, "%s\t%s\n", found[k], k)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}
