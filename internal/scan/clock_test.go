package scan

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"ashiato/internal/clock"
	"ashiato/internal/corpus"
	"ashiato/internal/event"
	"ashiato/internal/i18n"
	"ashiato/internal/incident"
	"ashiato/internal/normalize"
	"ashiato/internal/source/files"
)

// capture puts a scenario's logs into one file, as an export of several hosts is,
// with every line changed by edit.
func capture(t *testing.T, scenario string, edit func(line map[string]any)) string {
	t.Helper()
	dir, _ := scenarioLogs(t, scenario)
	var all bytes.Buffer
	var paths []string
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			paths = append(paths, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(paths)
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for line := range bytes.Lines(data) {
			var record map[string]any
			dec := json.NewDecoder(bytes.NewReader(line))
			dec.UseNumber()
			if err := dec.Decode(&record); err != nil {
				t.Fatal(err)
			}
			if edit != nil {
				edit(record)
			}
			out, err := json.Marshal(record)
			if err != nil {
				t.Fatal(err)
			}
			all.Write(append(out, '\n'))
		}
	}
	file := filepath.Join(t.TempDir(), "capture.json")
	if err := os.WriteFile(file, all.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

func member(v any, path ...string) map[string]any {
	for _, p := range path {
		v = v.(map[string]any)[p]
	}
	return v.(map[string]any)
}

// later moves the time of a record's entry.
func later(record map[string]any, by time.Duration) {
	at := member(record, "Event", "System", "TimeCreated", "#attributes")
	was, err := time.Parse(event.TimeFormat, at["SystemTime"].(string))
	if err != nil {
		panic(err)
	}
	at["SystemTime"] = was.Add(by).Format(event.TimeFormat)
}

// trace moves the UtcTime of Sysmon's connections and look-ups.
func trace(record map[string]any, by time.Duration) {
	system := member(record, "Event", "System")
	id := fmt.Sprint(system["EventID"])
	if !strings.Contains(fmt.Sprint(system["Provider"]), "Sysmon") || id != "3" && id != "22" {
		return
	}
	const layout = "2006-01-02 15:04:05.000"
	data := member(record, "Event", "EventData")
	was, err := time.Parse(layout, data["UtcTime"].(string))
	if err != nil {
		panic(err)
	}
	data["UtcTime"] = was.Add(by).Format(layout)
}

var places = regexp.MustCompile(`"(sha256|file)": "[^"]*"`)

// A capture in local time tells what the honest one does, word for word and to
// the tick: only the hashes of the records are others.
func TestLocalTimeTellsTheSame(t *testing.T) {
	eng := engine(t)
	for scenario, offsets := range map[string][]time.Duration{
		"usb-coinminer.txtar": {-4 * time.Hour, -19 * time.Hour},
		"psexec.txtar":        {5*time.Hour + 45*time.Minute},
	} {
		honest := run(t, Options{Paths: []string{capture(t, scenario, nil)}, Engine: eng})
		want := places.ReplaceAllString(digest(t, honest), "")
		if len(honest.Incidents) == 0 || len(honest.Clocks) != 0 {
			t.Fatalf("%s: %d incidents, clocks %v", scenario, len(honest.Incidents), honest.Clocks)
		}
		for _, by := range offsets {
			file := capture(t, scenario, func(r map[string]any) { later(r, by) })
			for _, jobs := range []int{1, 3} {
				r := run(t, Options{Paths: []string{file}, Engine: eng, Jobs: jobs, Evidence: true})
				if d := gocmp.Diff(strings.Split(want, "\n"), strings.Split(places.ReplaceAllString(digest(t, r), ""), "\n")); d != "" {
					t.Fatalf("%s, %v off: %s", scenario, by, d)
				}
				if !r.Stats.First.Equal(honest.Stats.First) || !r.Stats.Last.Equal(honest.Stats.Last) {
					t.Errorf("%s, %v off: from %v to %v", scenario, by, r.Stats.First, r.Stats.Last)
				}
				said := map[string]bool{}
				for _, n := range r.Clocks {
					if n.Kind != clock.LocalTime || n.Offset != -by || n.Records == 0 || n.Records != n.Of || n.Moved < n.Records {
						t.Errorf("%s, %v off: %+v", scenario, by, n)
					}
					said[n.Host] = true
					for _, ref := range n.Evidence {
						if e := r.Evidence(ref); e == nil || e.Offset != -by || e.Logged.Equal(e.Entered()) {
							t.Errorf("%s, %v off: evidence %v", scenario, by, e)
						}
					}
				}
				if len(said) != len(r.Stats.Hosts) {
					t.Errorf("%s, %v off: of the hosts %v, the clocks of %v are told", scenario, by, r.Stats.Hosts, said)
				}
			}
			// The bounds are of the true times.
			only := Options{Paths: []string{file}, Engine: eng, Since: honest.Stats.First, Until: honest.Stats.Last}
			if r := run(t, only); r.Stats.Filtered != 0 {
				t.Errorf("%s, %v off: %d events before or after the first and last", scenario, by, r.Stats.Filtered)
			}
		}
	}
}

// A scan that goes on from another one finds the clocks of what it adds.
func TestLocalTimeResumed(t *testing.T) {
	eng := engine(t)
	const by = -4 * time.Hour
	data, err := os.ReadFile(capture(t, "usb-coinminer.txtar", func(r map[string]any) { later(r, by) }))
	if err != nil {
		t.Fatal(err)
	}
	half := len(data)/2 + bytes.IndexByte(data[len(data)/2:], '\n') + 1
	dir := t.TempDir()
	parts := []string{filepath.Join(dir, "a.json"), filepath.Join(dir, "b.json")}
	for i, part := range [][]byte{data[:half], data[half:]} {
		if err := os.WriteFile(parts[i], part, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	whole := run(t, Options{Paths: parts, Engine: eng})
	first := run(t, Options{Paths: parts[:1], Engine: eng})
	then := run(t, Options{Paths: parts[1:], Engine: eng, Resume: first.State})
	if d := gocmp.Diff(strings.Split(digest(t, whole), "\n"), strings.Split(digest(t, then), "\n")); d != "" {
		t.Error(d)
	}
	if d := gocmp.Diff(whole.Clocks, then.Clocks); d != "" || len(whole.Clocks) == 0 {
		t.Errorf("%d clocks: %s", len(whole.Clocks), d)
	}
}

// Where Sysmon's trace session has a clock of its own, connections and look-ups
// stay where they belong, and the story is the same.
func TestTraceClock(t *testing.T) {
	eng := engine(t)
	stories := func(r *Result) (out []string) {
		for _, inc := range r.Incidents {
			for _, s := range inc.Story {
				out = append(out, inc.Sentence(s, i18n.English))
			}
		}
		slices.Sort(out) // a connection may be told a second later than it was
		return out
	}
	const scenario = "usb-coinminer.txtar"
	honest := run(t, Options{Paths: []string{capture(t, scenario, nil)}, Engine: eng})
	for _, by := range []time.Duration{-11 * 24 * time.Hour, 3 * time.Minute} {
		for _, local := range []time.Duration{0, -7 * time.Hour} {
			file := capture(t, scenario, func(r map[string]any) { trace(r, by); later(r, local) })
			r := run(t, Options{Paths: []string{file}, Engine: eng})
			if d := gocmp.Diff(stories(honest), stories(r)); d != "" {
				t.Errorf("%v and %v off: %s", by, local, d)
			}
			for i, inc := range r.Incidents {
				was := honest.Incidents[i]
				if inc.First.Sub(was.First).Abs() > 5*time.Second || inc.Last.Sub(was.Last).Abs() > 5*time.Second {
					t.Errorf("%v and %v off: %v – %v, want %v – %v", by, local, inc.First, inc.Last, was.First, was.Last)
				}
			}
			if !slices.ContainsFunc(r.Clocks, func(n clock.Note) bool {
				return n.Kind == clock.SensorTime && (n.Least+by).Abs() < time.Second && (n.Most+by).Abs() < time.Second
			}) {
				t.Errorf("%v and %v off: not said: %+v", by, local, r.Clocks)
			}
		}
	}
}

// TestToldOnce holds recordings in local time that were told twice, once by each
// log's clock: how many incidents each has, and that no two of them are the same.
func TestToldOnce(t *testing.T) {
	eng := engine(t)
	for _, c := range []struct {
		recording string
		before    int // incidents when the clocks were believed
		now       int
	}{
		{"cmd_dumping_ntds_dit_file_ntdsutil.zip", 3, 2},
		{"empire_ninjacopy_dumping_ntds_dit_file.zip", 3, 2},
		{"metasploit_comsvcs_lsass_memory_dump.zip", 5, 3},
		{"metasploit_logonpasswords_lsass_memory_dump.zip", 3, 2},
		{"metasploit_procdump_lsass_memory_dump.zip", 3, 2},
		{"psh_control_panel_execution.zip", 4, 3},
		{"psh_lsass_memory_dump_comsvcs.zip", 3, 2},
		{"schtask_create.zip", 2, 1},
	} {
		t.Run(c.recording, func(t *testing.T) {
			r := run(t, Options{Paths: []string{otrf(t, c.recording)}, Engine: eng})
			if len(r.Incidents) != c.now || c.now >= c.before {
				t.Errorf("%d incidents, want %d; when the clocks were believed %d", len(r.Incidents), c.now, c.before)
			}
			if !slices.ContainsFunc(r.Clocks, func(n clock.Note) bool { return n.Kind == clock.LocalTime }) {
				t.Errorf("clocks %+v", r.Clocks)
			}
			// Two records of one process start are in one incident.
			where := map[string]*incident.Incident{}
			for _, inc := range r.Incidents {
				for _, d := range inc.Detections {
					if d.Event.Kind != event.ProcessCreate {
						continue
					}
					key := strings.ToLower(d.Event.Host + "|" + d.Event.Value("ProcessId") + "|" + d.Event.Value("CommandLine"))
					if other := where[key]; other != nil && other != inc {
						t.Errorf("%s is in two incidents", key)
					}
					where[key] = inc
				}
			}
		})
	}
}

// otrf returns the path of one of the OTRF captures.
func otrf(t *testing.T, name string) string {
	t.Helper()
	found := ""
	_ = filepath.WalkDir(corpus.Dir(t, "otrf"), func(path string, _ os.DirEntry, err error) error {
		if err == nil && filepath.Base(path) == name {
			found = path
		}
		return nil
	})
	if found == "" {
		t.Skipf("no recording %s", name)
	}
	return found
}

// TestClocksOfRecordings measures the clocks of the recordings; with -v it says
// what it found. The truth about an offset is told by process starts that both the
// Security log and Sysmon recorded: with it they are at the same time.
func TestClocksOfRecordings(t *testing.T) {
	for _, c := range []struct {
		folder string
		logs   int // hosts and files in local time
	}{
		{"otrf", 28},
		{"evtx", 0},
	} {
		t.Run(c.folder, func(t *testing.T) {
			dir := corpus.Dir(t, c.folder)
			type start struct{ file, host, pid, image string }
			type seen struct{ sensor, audit []time.Time }
			read := func(offsets clock.Offsets) (*clock.Tally, map[start]*seen) {
				var mu sync.Mutex
				tally, starts := &clock.Tally{}, map[start]*seen{}
				files.Scan(context.Background(), []string{dir}, files.Options{}, func(batch []*event.Event) {
					for _, e := range batch {
						e.Offset = offsets.Of(e)
						normalize.Event(e)
					}
					tally.Add(batch)
					mu.Lock()
					defer mu.Unlock()
					for _, e := range batch {
						if e.Kind != event.ProcessCreate {
							continue
						}
						k := start{e.Ref.File, strings.ToLower(e.Host), e.Value("ProcessId"), strings.ToLower(e.Value("Image"))}
						if starts[k] == nil {
							starts[k] = &seen{}
						}
						if own, ok := normalize.SensorTime(e); ok {
							starts[k].sensor = append(starts[k].sensor, own)
						} else {
							starts[k].audit = append(starts[k].audit, e.Time)
						}
					}
				})
				return tally, starts
			}
			// apart counts the starts of hosts with an offset that both logs have, and
			// of them those at different times.
			apart := func(starts map[start]*seen, local map[clock.Log]bool) (both, differ int) {
				for k, s := range starts {
					if !local[clock.Log{File: k.file, Host: k.host}] || len(s.sensor) != 1 || len(s.audit) != 1 {
						continue
					}
					both++
					if s.sensor[0].Sub(s.audit[0]).Abs() > time.Second {
						differ++
					}
				}
				return both, differ
			}
			tally, starts := read(clock.Offsets{})
			offsets := tally.Offsets()
			corrected, after := read(offsets)
			local := map[clock.Log]bool{}
			for _, n := range corrected.Notes(offsets) {
				t.Logf("%-11s %-28s offset %7v moved %6d; %6d of %6d records, entry − UtcTime %v … %v; %s",
					n.Kind, n.Host, n.Offset, n.Moved, n.Records, n.Of, n.Least, n.Most, n.File)
				if n.Kind == clock.LocalTime {
					local[clock.Log{File: n.File, Host: strings.ToLower(n.Host)}] = true
				}
				if n.Kind == clock.Uneven {
					t.Errorf("the clock of %s in %s is uneven", n.Host, n.File)
				}
			}
			both, was := apart(starts, local)
			_, is := apart(after, local)
			t.Logf("%d process starts told by both logs of hosts in local time; at different times %d, with the offset %d", both, was, is)
			if len(local) != c.logs || is*100 > both || both > 0 && was*100 < both*99 {
				t.Errorf("%d hosts and files in local time, want %d; of %d process starts, %d at different times, with the offset %d", len(local), c.logs, both, was, is)
			}
		})
	}
}
