package scan

import (
	"bytes"
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"ashiato/internal/corpus"
	"ashiato/internal/detect"
	"ashiato/internal/event"
	"ashiato/internal/normalize"
	"ashiato/internal/provenance"
	"ashiato/internal/ruleset"
	"ashiato/internal/scenario"
	"ashiato/internal/source"
	"ashiato/internal/source/files"
	"ashiato/internal/world"
)

// publicRules loads the public rules alone.
var publicRules = sync.OnceValues(func() (*ruleset.Set, error) {
	return ruleset.Load(ruleset.Options{Rules: publicFolders})
})

var publicFolders []string

func loadPublic(t testing.TB) *detect.Engine {
	t.Helper()
	for _, dir := range []string{"rules", "rules-emerging-threats", "rules-threat-hunting"} {
		publicFolders = append(publicFolders, corpus.Dir(t, "sigma/"+dir))
	}
	set, err := publicRules()
	if err != nil {
		t.Fatal(err)
	}
	return set.Engine
}

// dense lists the recordings larger than 1 MiB.
func dense(t testing.TB) []string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(corpus.Dir(t, "evtx"), func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.EqualFold(filepath.Ext(name), ".evtx") {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Size() > 1<<20 {
			names = append(names, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// benignDay writes the logs of two machines' ordinary day of about n records
// around the seed's intrusion. Activities that resemble attacks are left out:
// they would come thousands of times, which no machine's day has.
func benignDay(b testing.TB, n string) []string {
	b.Helper()
	data, err := os.ReadFile(filepath.Join("..", "..", "testdata", "scenarios", "usb-coinminer.txtar"))
	if err != nil {
		b.Fatal(err)
	}
	from := []byte("count 2600\nfrom  -4m\nto    42m\n")
	if !bytes.Contains(data, from) {
		b.Fatal("the scenario's background is not what this benchmark expects")
	}
	day := "count " + n + "\nfrom -12h\nto 12h\n"
	for _, a := range []string{
		"task-cache-noise", "vendor-exclusion", "admin-copy", "printer-script", "vendor-script", "console-user",
		"powershell-admin", "installer", "mail", "browser-download",
	} {
		day += "without " + a + "\n"
	}
	s, err := scenario.Parse("day", bytes.Replace(data, from, []byte(day), 1))
	if err != nil {
		b.Fatal(err)
	}
	built, err := s.Build()
	if err != nil {
		b.Fatal(err)
	}
	dir := b.TempDir()
	if _, err := scenario.WriteEVTX(dir, built); err != nil {
		b.Fatal(err)
	}
	return []string{dir}
}

// BenchmarkStages measures the way from EVTX files to detections, on one
// processor's worth of work, and what each stage adds:
//
//	read    files to events, with all their fields
//	detect  those fields that are read, normalised and judged: the way that the bar is about
//	join    and given to the joins
//	whole   and the graph and its incidents built
//
// with all public rules and with the shipped ones.
func BenchmarkStages(b *testing.B) {
	for _, input := range []struct {
		name  string
		paths func(testing.TB) []string
	}{
		{"dense", dense},
		{"day", func(b testing.TB) []string { return benignDay(b, "240000") }},
	} {
		b.Run(input.name, func(b *testing.B) {
			public, shipped := loadPublic(b), engine(b)
			paths := input.paths(b)
			runtime.GC()
			b.Run("read", func(b *testing.B) {
				measure(b, func() (s source.Stats, found int) {
					s, _ = files.Scan(context.Background(), paths, files.Options{Jobs: 1}, func([]*event.Event) {})
					return s, 0
				})
			})
			b.Run("public", func(b *testing.B) { stages(b, paths, public) })
			b.Run("shipped", func(b *testing.B) { stages(b, paths, shipped) })
		})
	}
}

func stages(b *testing.B, paths []string, engine *detect.Engine) {
	for _, joined := range []bool{false, true} {
		b.Run(map[bool]string{false: "detect", true: "join"}[joined], func(b *testing.B) {
			measure(b, func() (source.Stats, int) {
				w := engine.Worker()
				builder := provenance.NewBuilder(world.New(world.Limits{}))
				var found []detect.Detection
				var mu sync.Mutex
				s, _ := files.Scan(context.Background(), paths, files.Options{Jobs: 1, Interest: interestIn(engine.Interest())}, func(batch []*event.Event) {
					mu.Lock()
					defer mu.Unlock()
					for _, e := range batch {
						normalize.Event(e)
						if e.Flags&event.Unread == 0 {
							found = w.Detect(e, found)
						}
						if joined {
							builder.Add(e)
						}
					}
				})
				return s, len(found)
			})
		})
	}
	b.Run("whole", func(b *testing.B) {
		measure(b, func() (source.Stats, int) {
			r, err := Run(context.Background(), Options{Paths: paths, Engine: engine, Jobs: 1})
			if err != nil {
				b.Fatal(err)
			}
			return r.Stats.Source, r.Stats.Detections
		})
	})
}

// measure runs one pass per iteration and reports events per second of
// processor time, how many were left unread and what was found.
func measure(b *testing.B, pass func() (source.Stats, int)) {
	b.Helper()
	b.ReportAllocs()
	var events, unread int64
	found := 0
	start := cpuTime()
	for b.Loop() {
		s, n := pass()
		events, unread, found = events+s.Events, unread+s.Unread, found+n
	}
	cpu := cpuTime() - start
	if cpu > 0 {
		b.ReportMetric(float64(events)/cpu.Seconds(), "events/cpu-s")
	}
	b.ReportMetric(float64(events)/float64(b.N), "events/op")
	b.ReportMetric(float64(unread)/float64(b.N), "unread/op")
	b.ReportMetric(float64(found)/float64(b.N), "detections/op")
}
