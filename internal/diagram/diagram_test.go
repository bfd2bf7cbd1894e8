package diagram

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"ashiato/internal/diagram/diagramtest"
	"ashiato/internal/i18n"
)

var update = flag.Bool("update", false, "rewrite the golden files")

var tokyo = time.FixedZone("JST", 9*60*60)

var cases = []struct {
	name string
	make func() *diagramtest.Case
}{
	{"miner", diagramtest.Miner},
	{"tiny", diagramtest.Tiny},
	{"large", diagramtest.Large},
	{"hostile", diagramtest.Hostile},
	{"hosts", diagramtest.Hosts},
}

func options(lang i18n.Lang, c *diagramtest.Case) Options {
	return Options{Lang: lang, Title: c.Incident.Title(lang), Zone: tokyo, Story: true}
}

func TestGolden(t *testing.T) {
	for _, c := range cases {
		for _, lang := range i18n.Langs() {
			made := c.make()
			d := New(made.Incident, options(lang, made))
			for _, f := range []struct {
				ext   string
				write func(*bytes.Buffer) error
			}{
				{"svg", func(b *bytes.Buffer) error { return d.SVG(b) }},
				{"json", func(b *bytes.Buffer) error { return d.JSON(b) }},
			} {
				var got bytes.Buffer
				if err := f.write(&got); err != nil {
					t.Fatal(err)
				}
				path := filepath.Join("testdata", c.name+"."+string(lang)+"."+f.ext)
				if *update {
					if err := os.WriteFile(path, got.Bytes(), 0o644); err != nil {
						t.Fatal(err)
					}
					continue
				}
				want, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(got.Bytes(), want) {
					t.Errorf("%s differs; look at it and run with -update if it is right", path)
				}
			}
		}
	}
}
