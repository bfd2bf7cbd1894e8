package scan

import (
	"bytes"
	"cmp"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ashiato/internal/detect"
	"ashiato/internal/diagram"
	"ashiato/internal/event"
	"ashiato/internal/i18n"
	"ashiato/internal/incident"
	"ashiato/internal/provenance"
)

var update = flag.Bool("update", false, "write the golden files anew")

// The pictures in the README are what the program draws of the shipped scenario.
func TestPicturesInTheDocs(t *testing.T) {
	dir, _ := scenarioLogs(t, "usb-coinminer.txtar")
	r := run(t, Options{Paths: []string{dir}, Engine: engine(t), MinSeverity: detect.Medium})
	if len(r.Incidents) != 1 {
		t.Fatalf("%d incidents", len(r.Incidents))
	}
	inc := r.Incidents[0]
	for _, lang := range i18n.Langs() {
		var b bytes.Buffer
		if err := diagram.New(inc, diagram.Options{Lang: lang, Title: inc.Title(lang), Story: true}).SVG(&b); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join("..", "..", "docs", "images", "usb-coinminer."+string(lang)+".svg")
		if *update {
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(b.Bytes(), want) {
			t.Errorf("%s is not what is drawn today; look at the difference, then run `make golden`", path)
		}
	}
}

// TestGuideThroughTheSeed holds that the steps in the guide, and the records behind
// their arrows, are those of a scan.
func TestGuideThroughTheSeed(t *testing.T) {
	dir, _ := scenarioLogs(t, "usb-coinminer.txtar")
	r := run(t, Options{Paths: []string{dir}, Engine: engine(t), MinSeverity: detect.Medium, Evidence: true})
	if len(r.Incidents) != 1 {
		t.Fatalf("%d incidents", len(r.Incidents))
	}
	inc := r.Incidents[0]
	for _, page := range []struct {
		lang i18n.Lang
		name string
		head string
	}{
		{i18n.English, "usb-coinminer.md", "| step | what the diagram says | records behind its arrows | class |"},
		{i18n.Japanese, "usb-coinminer.ja.md", "| 番号 | 相関図の文 | 矢印の証跡となるレコード | 確度 |"},
	} {
		path := filepath.Join("..", "..", "docs", "guide", page.name)
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		const begin, end = "<!-- steps: written by go test ./internal/scan -update -->\n", "<!-- end of steps -->"
		before, rest, ok := strings.Cut(string(data), begin)
		old, after, closed := strings.Cut(rest, end)
		if !ok || !closed {
			t.Fatalf("%s has no place for the steps", path)
		}
		var b strings.Builder
		fmt.Fprintln(&b, page.head)
		fmt.Fprintln(&b, "|--:|---|---|---|")
		for _, s := range inc.Story {
			records, classes := behind(inc, s, r.Evidence)
			sentence := strings.ReplaceAll(inc.Sentence(s, page.lang), "|", `\|`)
			fmt.Fprintf(&b, "| %d | %s | %s | %s |\n", s.Number, sentence, strings.Join(records, "; "), strings.Join(classes, ", "))
		}
		if *update {
			if err := os.WriteFile(path, []byte(before+begin+b.String()+end+after), 0o644); err != nil {
				t.Fatal(err)
			}
		} else if old != b.String() {
			t.Errorf("%s does not tell the steps as they are told today; run with -update and read it again", path)
		}
	}
}

// behind names the kinds of records that a step's arrows cite, and the classes of
// those arrows.
func behind(inc *incident.Incident, s incident.Step, evidence func(event.EvidenceRef) *event.Event) (records, classes []string) {
	ids := map[string]map[uint32]bool{}
	class := map[provenance.Class]bool{}
	for _, n := range s.Edges {
		e := inc.Edges[n]
		class[e.Class] = true
		for _, ref := range e.Evidence {
			r := evidence(ref)
			if r == nil {
				continue
			}
			log := strings.TrimPrefix(cmp.Or(r.Provider, r.Channel), "Microsoft-Windows-")
			log = strings.NewReplacer("Security-Auditing", "Security", "Windows Defender", "Defender").Replace(log)
			if ids[log] == nil {
				ids[log] = map[uint32]bool{}
			}
			ids[log][r.ID] = true
		}
	}
	for _, log := range slices.Sorted(maps.Keys(ids)) {
		var numbers []string
		for _, id := range slices.Sorted(maps.Keys(ids[log])) {
			numbers = append(numbers, fmt.Sprint(id))
		}
		records = append(records, log+" "+strings.Join(numbers, ", "))
	}
	for _, c := range slices.Sorted(maps.Keys(class)) {
		classes = append(classes, c.String())
	}
	return records, classes
}
