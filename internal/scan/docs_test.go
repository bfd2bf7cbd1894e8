package scan

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"ashiato/internal/detect"
	"ashiato/internal/diagram"
	"ashiato/internal/i18n"
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
