package sigma_test

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"ashiato/internal/corpus"
	"ashiato/internal/event"
	"ashiato/internal/sigma"
)

// The benchmarks evaluate every public rule for Windows on recorded events, one
// after the other, on one goroutine.
//
// events/cpu-s is by processor time, where the system tells it. Other work on the
// machine still slows it down, by sharing caches and cores; best-events/s is
// what is left if, of each batch of 64 events, the fastest pass counts.

func isProcessCreation(e *event.Event) bool { return e.Kind == event.ProcessCreate }

func BenchmarkMatchProcessCreation(b *testing.B) {
	benchmarkMatch(b, func(e *event.Event, _ int) bool { return isProcessCreation(e) })
}

// BenchmarkMatchProcessCreationUnmatched leaves out the events that a rule holds
// for, a third of these recordings of attacks and next to none of a day's log.
func BenchmarkMatchProcessCreationUnmatched(b *testing.B) {
	benchmarkMatch(b, func(e *event.Event, matches int) bool { return isProcessCreation(e) && matches == 0 })
}

func BenchmarkMatchMixed(b *testing.B) {
	benchmarkMatch(b, func(*event.Event, int) bool { return true })
}

func BenchmarkMatchScriptBlocks(b *testing.B) {
	benchmarkMatch(b, func(e *event.Event, _ int) bool { return e.Kind == event.ScriptBlock })
}

const batch = 64

func benchmarkMatch(b *testing.B, want func(e *event.Event, matches int) bool) {
	root := corpus.Dir(b, "evtx")
	rules, _ := loadPublic(b)
	engine, _ := sigma.Compile(forWindows(rules), sigma.Options{})
	m := engine.Matcher()
	var dst []sigma.Match
	var events []*event.Event
	candidates, matches, text := 0, 0, 0
	for _, e := range sample(b, root, 1) {
		dst = m.Match(e, dst[:0])
		if !want(e, len(dst)) {
			continue
		}
		events = append(events, e)
		candidates += m.Candidates()
		matches += len(dst)
		for _, f := range e.Data {
			text += len(f.Value)
		}
	}
	b.ReportAllocs()
	runtime.GC() // what loading left behind is not to be collected meanwhile
	n, used := 0, processorTime()
	best := make([]time.Duration, (len(events)+batch-1)/batch)
	start, at := time.Now(), 0
	for b.Loop() {
		dst = m.Match(events[at], dst[:0])
		n++
		if at++; at%batch == 0 || at == len(events) {
			k := (at - 1) / batch
			if took := time.Since(start); best[k] == 0 || took < best[k] {
				best[k] = took
			}
			at %= len(events)
			start = time.Now()
		}
	}
	if n >= len(events) {
		var sum time.Duration
		for _, d := range best {
			sum += d
		}
		b.ReportMetric(float64(len(events))/sum.Seconds(), "best-events/s")
	}
	if used = processorTime() - used; used > 0 {
		b.ReportMetric(float64(n)/used, "events/cpu-s")
	}
	b.ReportMetric(float64(candidates)/float64(len(events)), "candidates/event")
	b.ReportMetric(float64(matches)/float64(len(events)), "matches/event")
	b.ReportMetric(float64(text)/float64(len(events)), "bytes/event")
}

// processorTime is the processor time that this process has used, in seconds; 0
// where the system does not tell.
func processorTime() float64 {
	data, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
	user, _ := strconv.ParseFloat(fields[11], 64)
	system, _ := strconv.ParseFloat(fields[12], 64)
	return (user + system) / 100
}

func forWindows(rules []*sigma.Rule) []*sigma.Rule {
	var out []*sigma.Rule
	for _, r := range rules {
		if r.LogSource.Product == "windows" && !isUnsupportedFolder(r.File) {
			out = append(out, r)
		}
	}
	return out
}

// BenchmarkCompile makes an Engine of every public rule for Windows.
func BenchmarkCompile(b *testing.B) {
	rules, _ := loadPublic(b)
	rules = forWindows(rules)
	b.ReportAllocs()
	used := processorTime()
	n := 0
	for b.Loop() {
		sigma.Compile(rules, sigma.Options{})
		n++
	}
	if used = processorTime() - used; used > 0 {
		b.ReportMetric(1000*used/float64(n), "cpu-ms/op")
	}
}

// BenchmarkParse reads every public rule from memory.
func BenchmarkParse(b *testing.B) {
	rules, _ := loadPublic(b)
	type file struct {
		name string
		data []byte
	}
	var files []file
	for _, r := range rules {
		data, err := os.ReadFile(filepath.FromSlash(r.File))
		if err != nil {
			b.Fatal(err)
		}
		files = append(files, file{r.File, data})
	}
	b.ReportAllocs()
	used := processorTime()
	n := 0
	for b.Loop() {
		for _, f := range files {
			sigma.Parse(f.name, f.data)
		}
		n++
	}
	if used = processorTime() - used; used > 0 {
		b.ReportMetric(1000*used/float64(n), "cpu-ms/op")
	}
}

// BenchmarkReadCompiled makes an Engine of what Compile made of every public rule
// for Windows and was written down.
func BenchmarkReadCompiled(b *testing.B) {
	rules, _ := loadPublic(b)
	engine, _ := sigma.Compile(forWindows(rules), sigma.Options{})
	data, err := sigma.AppendCompiled(nil, engine, nil)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.SetBytes(int64(len(data)))
	runtime.GC()
	used := processorTime()
	n := 0
	for b.Loop() {
		if _, _, err := sigma.ReadCompiled(string(data)); err != nil {
			b.Fatal(err)
		}
		n++
	}
	if used = processorTime() - used; used > 0 {
		b.ReportMetric(1000*used/float64(n), "cpu-ms/op")
	}
	b.ReportMetric(float64(len(data)), "file-bytes")
}
