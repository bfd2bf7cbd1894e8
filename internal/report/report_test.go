package report

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"ashiato/internal/clock"
	"ashiato/internal/diagram/diagramtest"
	"ashiato/internal/event"
	"ashiato/internal/i18n"
	"ashiato/internal/incident"
	"ashiato/internal/source"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// document puts cases into a document as the command line does.
func document(lang i18n.Lang, cases ...*diagramtest.Case) *Document {
	sum := sha256.Sum256([]byte("rules"))
	d := &Document{
		Tool: "Ashiato", Version: "0.1.0", RuleSet: hex.EncodeToString(sum[:]), Args: []string{"scan", "--report", "report.html", "logs"},
		Lang: lang, Zone: time.FixedZone("JST", 9*60*60),
		Stats: Stats{
			Source:   source.Stats{Files: 7, FilesRead: 6, Bytes: 9_123_456, Records: 4321, Events: 4300, Undecodable: 21, Carved: 3},
			Filtered: 100, Repeated: 200, Analysed: 4000, Hosts: []string{"HOST-1", "SRV-1"},
			First: diagramtest.Start, Last: diagramtest.At(7200), Detections: 20, Placed: 17, BelowMinimum: 3, Rules: 42, Indicators: 5,
		},
		Problems: []source.Problem{
			{File: "logs/damaged.evtx", Kind: source.Truncated, Offset: 65536, Count: 1, Lost: 12, Detail: "chunk 2 ends after 512 of 65536 bytes"},
			{File: "logs/<b>\u202enosj.txt", Kind: source.UnknownFormat, Offset: -1, Line: 3, Count: 2, Detail: "<script>alert(1)</script>"},
		},
		Clocks: []clock.Note{
			{Kind: clock.LocalTime, Host: "host-1", File: "logs/<i>host.json", Offset: -5*time.Hour - 45*time.Minute, Moved: 4000, Records: 950, Of: 1000, Least: 2 * time.Millisecond, Most: 3 * time.Second, Evidence: []event.EvidenceRef{{Host: "HOST-1", Channel: "Security", RecordID: 7, File: "logs/<i>host.json", Offset: 99}}},
			{Kind: clock.LocalTime, Host: "SRV-1", File: "logs/<i>host.json", Offset: -5*time.Hour - 45*time.Minute, Moved: 3},
			{Kind: clock.SensorTime, Host: "HOST-1", File: "logs/<i>host.json", Records: 12, Of: 1012, Least: -210 * time.Second, Most: 272*time.Hour + 46*time.Minute},
			{Kind: clock.Uneven, Host: "OLD\u202e", File: "logs/old.json", Records: 60, Of: 100, Least: -4 * time.Hour, Most: -4 * time.Hour},
		},
		Gaps: []incident.Gap{{Host: "HOST-1", Reason: "record-hole", From: diagramtest.At(500), To: diagramtest.At(560), Count: 37}},
	}
	for _, c := range cases {
		d.Incidents = append(d.Incidents, c.Incident)
	}
	d.Evidence = func(r event.EvidenceRef) *event.Event {
		for _, c := range cases {
			if e := c.Record(r); e != nil {
				return e
			}
		}
		return nil
	}
	return d
}

func all() []*diagramtest.Case {
	return []*diagramtest.Case{diagramtest.Miner(), diagramtest.Hosts(), diagramtest.Tiny()}
}

func TestGolden(t *testing.T) {
	for _, lang := range i18n.Langs() {
		d := document(lang, diagramtest.Tiny())
		for _, f := range []struct {
			ext   string
			write func(*bytes.Buffer) error
		}{
			{"html", func(b *bytes.Buffer) error { return d.HTML(b) }},
			{"json", func(b *bytes.Buffer) error { return d.JSON(b) }},
			{"ndjson", func(b *bytes.Buffer) error { return d.NDJSON(b) }},
		} {
			var got bytes.Buffer
			if err := f.write(&got); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join("testdata", "tiny."+string(lang)+"."+f.ext)
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

// TestGapsHaveWords holds that whatever reason package world gives for a gap has a
// text.
func TestGapsHaveWords(t *testing.T) {
	source, err := os.ReadFile("../world/gap.go")
	if err != nil {
		t.Fatal(err)
	}
	reasons := regexp.MustCompile(`Reason(?:, g\.To)?(?::| =) "([a-z-]+)"`).FindAllSubmatch(source, -1)
	if len(reasons) < 6 {
		t.Fatalf("%d reasons found in gap.go", len(reasons))
	}
	for _, m := range reasons {
		if key := "diagram.reason." + string(m[1]); !i18n.English.Has(key) {
			t.Errorf("no text for %s", key)
		}
	}
}

func TestTextOfGaps(t *testing.T) {
	d := document(i18n.English)
	d.Gaps = []incident.Gap{
		{Host: "HOST-1", Channel: "Application", Reason: "log-cleared", From: diagramtest.At(500)},
		{Host: "HOST-1", Reason: "state-limit", From: diagramtest.At(500), Count: 1234},
	}
	var b bytes.Buffer
	if err := d.Text(&b, TextOptions{}); err != nil {
		t.Fatal(err)
	}
	want := "What was not seen\n" +
		"  - 2026-03-09 09:53:22  HOST-1  Application  the log was cleared\n" +
		"  - 2026-03-09 09:53:22  HOST-1  records were given up for want of memory ×1,234\n"
	if !bytes.Contains(b.Bytes(), []byte(want)) {
		t.Errorf("want\n%sin\n%s", want, b.Bytes())
	}
}
