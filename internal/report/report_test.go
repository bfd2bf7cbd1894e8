package report

import (
	"bytes"
	"crypto/sha256"
	"encoding/csv"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mattn/go-runewidth"

	"ashiato/internal/clock"
	"ashiato/internal/diagram/diagramtest"
	"ashiato/internal/event"
	"ashiato/internal/fold"
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

// golden compares with a file of testdata, or writes it.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs; look at it and run with -update if it is right", path)
	}
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
			{"csv", func(b *bytes.Buffer) error { return d.CSV(b) }},
		} {
			var got bytes.Buffer
			if err := f.write(&got); err != nil {
				t.Fatal(err)
			}
			golden(t, "tiny."+string(lang)+"."+f.ext, got.Bytes())
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

// TestTextAtWidths holds the text at the widths of common terminals, and as it goes
// into a file.
func TestTextAtWidths(t *testing.T) {
	runewidth.DefaultCondition.EastAsianWidth = false
	for _, lang := range i18n.Langs() {
		for _, width := range []int{0, 80, 120} {
			d := document(lang, all()...)
			var b bytes.Buffer
			if err := d.Text(&b, TextOptions{Width: width}); err != nil {
				t.Fatal(err)
			}
			golden(t, fmt.Sprintf("text.%s.%d.txt", lang, width), b.Bytes())
			if strings.Contains(b.String(), fold.Here) {
				t.Error("a mark of folding is left in the text")
			}
			for row := range strings.Lines(b.String()) {
				row = strings.TrimSuffix(row, "\n")
				if words := strings.Fields(row); width > 0 && fold.Width(row) > width && len(words) > 1 && fold.Width(words[0]) < width {
					t.Errorf("%s: %d columns of %d: %q", lang, fold.Width(row), width, row)
				}
			}
		}
	}
}

// TestOverview holds that a list of incidents comes before them if there are many,
// and that its length is bounded.
func TestOverview(t *testing.T) {
	for _, c := range []struct {
		incidents int
		want      string
	}{
		{3, ""},
		{4, "インシデント一覧\n" + strings.Repeat("  高  2026-03-09 09:45:02  Office がスクリプトホストを起動した：PC-7 の powershell.exe\n", 4) + "\n高  "},
		{23, "Office がスクリプトホストを起動した：PC-7 の powershell.exe\n  他 3 件\n\n高  "},
	} {
		var cases []*diagramtest.Case
		for range c.incidents {
			cases = append(cases, diagramtest.Tiny())
		}
		var b bytes.Buffer
		if err := document(i18n.Japanese, cases...).Text(&b, TextOptions{}); err != nil {
			t.Fatal(err)
		}
		if got := b.String(); !strings.Contains(got, c.want) || (c.want == "") == strings.Contains(got, "インシデント一覧") {
			t.Errorf("%d incidents: want %q in\n%s", c.incidents, c.want, got[:600])
		}
	}
}

// TestManyIncidentsAreListed holds that a page of many incidents begins with a list
// of them, and stays of a size that a browser opens: those at the end of the list
// are not shown in full, which it says.
func TestManyIncidentsAreListed(t *testing.T) {
	for _, c := range []struct{ incidents, rows, full, unshown int }{
		{1, 0, 1, 0}, {2, 2, 2, 0}, {MaxIncidents + 1, MaxIncidents + 1, MaxIncidents, 1}, {maxRows + 5, maxRows, MaxIncidents, maxRows + 5 - MaxIncidents},
	} {
		d := document(i18n.English, diagramtest.Tiny())
		first := d.Incidents[0]
		for n := range c.incidents - 1 {
			other := *first
			other.ID = fmt.Sprintf("other%d", n)
			d.Incidents = append(d.Incidents, &other)
		}
		last := d.Incidents[c.incidents-1]
		first.Related = []string{last.ID, "gone"}
		var out bytes.Buffer
		if err := d.HTML(&out); err != nil {
			t.Fatal(err)
		}
		page := out.String()
		rows, _, _ := strings.Cut(page, `<section class="incident"`)
		_, rows, _ = strings.Cut(rows, `<section class="all"`)
		if got := strings.Count(rows, "<tr><td>"); got != c.rows {
			t.Errorf("%d incidents: %d rows, want %d", c.incidents, got, c.rows)
		}
		if got := strings.Count(rows, `href="#i`); got != min(c.rows, c.full) {
			t.Errorf("%d incidents: %d rows lead to one, want %d", c.incidents, got, min(c.rows, c.full))
		}
		if got := strings.Count(page, `<section class="incident"`); got != c.full {
			t.Errorf("%d incidents: %d in full, want %d", c.incidents, got, c.full)
		}
		if says := i18n.English.Count("report.incidents.unshown", c.unshown); strings.Contains(page, says) != (c.unshown > 0) {
			t.Errorf("%d incidents: it says %q: %v", c.incidents, says, c.unshown == 0)
		}
		_, related, _ := strings.Cut(page, i18n.English.T("report.related"))
		related, _, _ = strings.Cut(related, "</ul>")
		link := fmt.Sprintf(`href="#%sincident"`, prefix(c.incidents))
		if strings.Contains(related, link) != (c.incidents <= MaxIncidents) || !strings.Contains(related, "gone") {
			t.Errorf("%d incidents: the related are %s", c.incidents, related)
		}
	}
}

// TestCSV holds what a spreadsheet makes of hostile values: a reader gets the cells
// back, in the order of time, and none of them is a formula.
func TestCSV(t *testing.T) {
	d := document(i18n.English, all()...)
	in := d.Incidents[len(d.Incidents)-1]
	for i, value := range []string{"=cmd|' /c calc'!A1", "+1", "-1", "@SUM(A1)", "a\"b,c\r\nd", "C:\\Windows \\x\u202e", strings.Repeat("x", 40_000)} {
		p := in.Detections[0]
		e := *p.Event
		e.Host, e.Time = value, diagramtest.At(float64(-i))
		p.Event = &e
		in.Detections = append(in.Detections, p)
	}
	var b bytes.Buffer
	if err := d.CSV(&b); err != nil {
		t.Fatal(err)
	}
	text, marked := strings.CutPrefix(b.String(), "\uFEFF")
	if !marked {
		t.Error("no byte order mark")
	}
	rows, err := csv.NewReader(strings.NewReader(text)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, inc := range d.Incidents {
		n += len(inc.Detections)
	}
	if len(rows) != n+1 {
		t.Fatalf("%d rows of %d detections", len(rows)-1, n)
	}
	var hosts []string
	for i, r := range rows[1:] {
		if i > 0 && r[0] < rows[i][0] {
			t.Errorf("%s after %s", r[0], rows[i][0])
		}
		for _, c := range r {
			if c != "" && strings.Contains("=+-@", c[:1]) || strings.ContainsAny(c, "\r\n\u202e") || len(c) > 33_000 {
				t.Errorf("the cell %.60q", c)
			}
		}
		hosts = append(hosts, r[1])
	}
	for _, want := range []string{"'=cmd|' /c calc'!A1", "'+1", "'-1", "'@SUM(A1)", "C:\\Windows␠\\x⟨U+202E⟩"} {
		if !slices.Contains(hosts, want) {
			t.Errorf("no cell %q", want)
		}
	}
}
