package diagram

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ashiato/internal/detect"
	"ashiato/internal/diagram/diagramtest"
	"ashiato/internal/i18n"
	"ashiato/internal/incident"
	"ashiato/internal/provenance"
)

// steps makes a story of these behaviours, one step a minute.
func steps(behaviours ...string) *incident.Incident {
	inc := &incident.Incident{Root: incident.Root{Kind: incident.RootVolume}}
	for i, b := range behaviours {
		s := incident.Step{Number: i + 1, Time: diagramtest.At(float64(60 * i))}
		if b != "" {
			s.Behaviours = strings.Fields(b)
		}
		inc.Story = append(inc.Story, s)
	}
	return inc
}

func TestPhases(t *testing.T) {
	for _, c := range []struct {
		name string
		inc  *incident.Incident
		want []string
	}{
		{"the seed's story", steps("", "usb-script", "usb-script", "mock-folder", "dropped-program indicator-hash mock-folder", "",
			"auto-elevation", "side-load", "defender-exclusion", "dropped-program", "service-dll service-persistence", "",
			"task-persistence", "mining", "cleanup mock-folder", "hidden-files usb-spread"), []string{
			"entry 1–3", "privilege-escalation 4–8", "defence-evasion 9, 15", "persistence 11–13", "mining 14", "lateral-movement 16",
		}},
		{"what leads there is the entry", steps("", "", "credential-theft"), []string{"entry 1–2", "credential-access 3"}},
		{"a hole between two phases is of neither", steps("mining", "", "impact"), []string{"mining 1", "impact 3"}},
		{"an unknown word says nothing", steps("mining", "no-such-word"), []string{"mining 1"}},
		{"nothing", steps(), nil},
	} {
		var got []string
		for _, p := range Phases(c.inc) {
			got = append(got, p.Key+" "+p.Numbers())
			first := slices.IndexFunc(c.inc.Story, func(s incident.Step) bool { return s.Number == p.Steps[0] })
			if !p.First.Equal(c.inc.Story[first].Time) {
				t.Errorf("%s: %s begins at %v", c.name, p.Key, p.First)
			}
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
	}
}

// A rule without a behaviour decides by its tactics; the recording's beginning
// is no entry.
func TestPhasesByTactic(t *testing.T) {
	b := diagramtest.NewBuilder("H")
	p := b.Node(provenance.Process, "p", "p.exe", `C:\p.exe`, 0)
	q := b.Node(provenance.Process, "q", "q.exe", `C:\q.exe`, 1)
	r := b.Node(provenance.Process, "r", "r.exe", `C:\r.exe`, 2)
	b.Edge(p, provenance.Started, q, 1, 1)
	b.Edge(q, provenance.Started, r, 2, 2)
	rule := rule("r", detect.High, "Credentials were read")
	rule.Tactics = []string{"credential-access", "stealth"}
	b.Detect(r, rule, 2)
	c := b.Finish(p, incident.RootBeforeRecord)
	got := Phases(c.Incident)
	if len(got) != 1 || got[0].Key != "credential-access" || got[0].Numbers() != "2" {
		t.Errorf("%+v", got)
	}
}

// Every behaviour of the shipped rules has a phase, or is known to have none.
func TestPhaseTableIsWhole(t *testing.T) {
	anyPhase := []string{"dropped-program", "known-malware"}
	found := map[string]bool{}
	word := regexp.MustCompile(`(?m)^\s*behaviour:\s*([a-z-]+)\s*$`)
	err := filepath.WalkDir("../../rules", func(path string, f fs.DirEntry, err error) error {
		if err != nil || f.IsDir() || !strings.HasSuffix(path, ".yml") {
			return err
		}
		data, err := os.ReadFile(path)
		for _, m := range word.FindAllStringSubmatch(string(data), -1) {
			found[m[1]] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(found) < 15 {
		t.Errorf("only %d behaviours found", len(found))
	}
	for b := range found {
		if phaseOfBehaviour[b] == "" && !slices.Contains(anyPhase, b) {
			t.Errorf("behaviour %q has no phase", b)
		}
	}
	keys := map[string]bool{}
	for _, table := range []map[string]string{phaseOfBehaviour, phaseOfTactic, phaseOfStory} {
		for _, k := range table {
			keys[k] = true
		}
	}
	for k := range keys {
		if !slices.Contains(phasesOfBehaviours, k) {
			t.Errorf("phase %q has no place in the order", k)
		}
		for _, lang := range i18n.Langs() {
			if !lang.Has("diagram.phase." + k) {
				t.Errorf("phase %q has no name in %s", k, lang)
			}
		}
	}
}
