package files_test

import (
	"archive/tar"
	"archive/zip"
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ashiato/internal/corpus"
	"ashiato/internal/event"
	"ashiato/internal/source"
	"ashiato/internal/source/files"
)

// counts are what an independent reading finds in an input.
type counts struct {
	objects int // lines that begin an object
	records int // of those, with a name that only event records have
}

// countLines counts by lines, of which every record of the captures has one.
func countLines(r io.Reader) (c counts, ok bool) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		line := lines.Bytes()
		if len(line) == 0 || line[0] != '{' {
			return c, false
		}
		c.objects++
		for _, name := range []string{`"EventID":`, `"event_id":`, `003c/Event\u003e`} {
			if bytes.Contains(line, []byte(name)) {
				c.records++
				break
			}
		}
	}
	return c, lines.Err() == nil && c.objects > 0
}

// independent counts the JSON in an archive by its own reading.
func independent(t *testing.T, path string) map[string]counts {
	t.Helper()
	found := map[string]counts{}
	count := func(name string, r io.Reader) {
		if c, ok := countLines(r); ok {
			found[name] = c
		}
	}
	switch {
	case strings.HasSuffix(path, ".zip"):
		z, err := zip.OpenReader(path)
		if err != nil {
			t.Fatal(err)
		}
		defer z.Close() // only read
		for _, m := range z.File {
			r, err := m.Open()
			if err != nil {
				t.Fatal(err)
			}
			count(filepath.ToSlash(path)+"!"+m.Name, r)
			r.Close() // only read
		}
	case strings.HasSuffix(path, ".tar.gz"):
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close() // only read
		g, err := gzip.NewReader(f)
		if err != nil {
			t.Fatal(err)
		}
		for a := tar.NewReader(g); ; {
			h, err := a.Next()
			if err != nil {
				return found // a cut archive is told by the scan
			}
			count(filepath.ToSlash(path)+"!"+h.Name, a)
		}
	}
	return found
}

// TestOTRF scans the captures of the Security-Datasets project and holds every
// number against the lines.
func TestOTRF(t *testing.T) {
	dir := corpus.Dir(t, "otrf")
	var mu sync.Mutex
	got := map[string]int{}
	bare := 0
	stats, problems := files.Scan(t.Context(), []string{dir}, files.Options{}, func(batch []*event.Event) {
		mu.Lock()
		defer mu.Unlock()
		for _, e := range batch {
			got[e.Ref.File]++
			if e.Logged.IsZero() || e.Host == "" || e.Channel == "" || e.ID == 0 {
				t.Errorf("%s: a record without time, host, log or id: %+v", e.Ref.File, e)
			}
			if len(e.Data) == 0 {
				bare++
			}
		}
	})
	// NXLog drops the unnamed values of classic providers, and could not render
	// the message of some, most of them PowerShell's 800.
	if int64(bare)*100 > 2*stats.Events {
		t.Errorf("%d of %d events have no fields", bare, stats.Events)
	}
	// By folder, since many members of one are one problem.
	lost, expected := map[string]int{}, map[string]int{}
	folder := func(name string) string { return name[:strings.LastIndexAny(name, "/!")+1] }
	kinds := map[source.ProblemKind]int{}
	for _, p := range problems {
		name := p.File[strings.LastIndex(p.File, "/")+1:]
		kinds[p.Kind]++
		switch {
		case p.Kind == source.Skipped:
			// Zeek's tab-separated logs, a CSV of AWS, auditd's text, the
			// resource forks of macOS, and the licence.
		case p.Kind == source.UnknownFormat:
			// JSON of something else: AWS CloudTrail, Zeek, auditd through
			// Log Analytics.
			lost[folder(p.File)] += p.Lost
		case p.Kind == source.Corrupt && strings.Contains(name, "syslog_sysmon"):
			// Syslog cut off the XML of one long record.
			lost[folder(p.File)] += p.Lost
		case p.Kind == source.Truncated && name == "covenant_persistwmi.tar.gz":
			// It was published without its last bytes; all records are there.
		default:
			t.Errorf("%s is a problem without an explanation: %v", name, p)
		}
	}
	checked := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		for name, c := range independent(t, path) {
			checked++
			expected[folder(name)] += c.objects - c.records
			if got[name] != c.records {
				t.Errorf("%s: %d events, the lines are %+v", name, got[name], c)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, n := range expected {
		if lost[name] != n {
			t.Errorf("%s: %d records lost, want %d", name, lost[name], n)
		}
	}
	if checked < 60 {
		t.Errorf("only %d captures were compared", checked)
	}
	t.Logf("%+v, problems %v, %d captures compared, %d bare", stats, kinds, checked, bare)
}

// TestSigmaRegression reads the records that come with Sigma's rules.
func TestSigmaRegression(t *testing.T) {
	dir := corpus.Dir(t, "sigma/regression_data")
	var mu sync.Mutex
	got := map[string]int{}
	_, problems := files.Scan(t.Context(), []string{dir}, files.Options{}, func(batch []*event.Event) {
		mu.Lock()
		defer mu.Unlock()
		for _, e := range batch {
			got[e.Ref.File]++
		}
	})
	for _, p := range problems {
		// info.yml beside every record, and the Cisco log of one rule.
		if p.Kind != source.Skipped {
			t.Errorf("%v", p)
		}
	}
	checked := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".json") {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close() // only read
		objects := 0
		for dec := json.NewDecoder(f); ; objects++ {
			var o struct {
				Event struct{ System, EventData, UserData map[string]any }
			}
			if err := dec.Decode(&o); err != nil {
				if err != io.EOF {
					t.Errorf("%s: %v", path, err)
				}
				break
			}
		}
		if objects != got[filepath.ToSlash(path)] {
			t.Errorf("%s: %d events, encoding/json finds %d", path, got[filepath.ToSlash(path)], objects)
		}
		checked++
		return nil
	})
	if err != nil || checked == 0 {
		t.Errorf("%d files compared, %v", checked, err)
	}
}

// TestSameRecordInTwoFormats reads the records that Sigma keeps as EVTX and as
// JSON and holds that both readers see the same event.
func TestSameRecordInTwoFormats(t *testing.T) {
	dir := corpus.Dir(t, "sigma/regression_data")
	var mu sync.Mutex
	found := map[string][]*event.Event{}
	files.Scan(t.Context(), []string{dir}, files.Options{}, func(batch []*event.Event) {
		mu.Lock()
		defer mu.Unlock()
		for _, e := range batch {
			found[e.Ref.File] = append(found[e.Ref.File], e)
		}
	})
	// The JSON has GUIDs in upper case without braces, times in microseconds, and
	// values without their last blanks.
	plain := func(s string) string { return strings.TrimRight(strings.ToLower(strings.Trim(s, "{}")), " ") }
	compared := 0
	for name, fromJSON := range found {
		fromEVTX := found[strings.TrimSuffix(name, ".json")+".evtx"]
		if !strings.HasSuffix(name, ".json") || len(fromEVTX) != 1 || len(fromJSON) != 1 {
			continue
		}
		compared++
		a, b := *fromEVTX[0], *fromJSON[0]
		for _, e := range []*event.Event{&a, &b} {
			e.Ref.File, e.Ref.Offset, e.Ref.SHA256 = "", 0, [32]byte{}
			e.Time, e.Logged = e.Time.Truncate(time.Microsecond), e.Logged.Truncate(time.Microsecond)
			fields := map[string]bool{}
			for _, f := range e.Data {
				fields[f.Name+"="+plain(f.Value)] = true
			}
			e.Data = nil
			for _, f := range slices.Sorted(maps.Keys(fields)) {
				e.Data = append(e.Data, event.Field{Name: f})
			}
		}
		if diff := cmp.Diff(a, b); diff != "" {
			t.Errorf("%s: EVTX is -, JSON is +:\n%s", name, diff)
		}
	}
	if compared < 50 {
		t.Errorf("only %d records were compared", compared)
	}
	t.Logf("%d records compared", compared)
}

// BenchmarkOTRF measures the whole way from archives to events.
func BenchmarkOTRF(b *testing.B) {
	dir := corpus.Dir(b, "otrf")
	var stats source.Stats
	for b.Loop() {
		stats, _ = files.Scan(context.Background(), []string{dir}, files.Options{}, func([]*event.Event) {})
	}
	b.SetBytes(stats.Bytes)
	b.ReportMetric(float64(stats.Events)*float64(b.N)/b.Elapsed().Seconds(), "events/s")
}
