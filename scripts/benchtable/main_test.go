package main

import (
	"crypto/sha256"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const header = "goos: linux\ngoarch: amd64\ncpu: A\n"

// TestTable holds medians, bars, ratios divided by the machine's speed, and what
// is said of skipped and missing benchmarks.
func TestTable(t *testing.T) {
	base, err := read(strings.NewReader(header + `pkg: ashiato/scripts/benchtable
BenchmarkCalibration-2  10  5 ns/op  100 MB/cpu-s
pkg: ashiato/internal/sigma
BenchmarkMatchProcessCreation-2  10  500 ns/op  200000 events/cpu-s  3 allocs/op
BenchmarkCompile-2  10  500 ns/op  200 cpu-ms/op
`))
	if err != nil {
		t.Fatal(err)
	}
	// The machine is half as fast; matching kept its speed, and compiling took four
	// times as long, which is half the speed.
	now, err := read(strings.NewReader(header + `pkg: ashiato/scripts/benchtable
BenchmarkCalibration-2  10  5 ns/op  50 MB/cpu-s
pkg: ashiato/internal/sigma
BenchmarkMatchProcessCreation-2  10  500 ns/op  190000 events/cpu-s  3 allocs/op
BenchmarkMatchProcessCreation-2  10  500 ns/op  200000 events/cpu-s  3 allocs/op
BenchmarkMatchProcessCreation-2  10  500 ns/op  900000 events/cpu-s  3 allocs/op
BenchmarkCompile-2  10  500 ns/op  800 cpu-ms/op
BenchmarkOther-2  10  1234567 ns/op
--- SKIP: BenchmarkParse
    corpus.go:31: no recordings
pkg: ashiato/internal/provenance
BenchmarkRecordings/a-2  1  5 ns/op  40.5 MB/Mevents
BenchmarkRecordings/b-2  1  5 ns/op  70 MB/Mevents
PASS
`))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ benchmark, unit, want string }{
		{"internal/sigma.MatchProcessCreation", "events/cpu-s", "2.00"},
		{"internal/sigma.MatchProcessCreation", "allocs/op", "1.00"},
		{"internal/sigma.Compile", "cpu-ms/op", "0.50"},
		{"internal/sigma.Other", "ns/op", "-"},
	} {
		if got := ratio(now, base, c.benchmark, c.unit); got != c.want {
			t.Errorf("%s %s: %s, want %s", c.benchmark, c.unit, got, c.want)
		}
	}
	if v, ok := now.median("internal/provenance.Recordings", "MB/Mevents"); !ok || v != 70 {
		t.Errorf("the worst part is %v", v)
	}
	var b strings.Builder
	table(&b, now, base)
	var got []string
	for line := range strings.Lines(b.String()) {
		for _, part := range []string{"sigma.MatchProcessCreation ", "sigma.Compile", "sigma.Parse", "sigma.Other", "provenance.Recordings ", "skipped", "calibration"} {
			if strings.Contains(line, part) {
				got = append(got, strings.Join(strings.Fields(line), " "))
				break
			}
		}
	}
	want := []string{
		"sigma.MatchProcessCreation events/cpu-s ≥ 200,000 200,000 200,000 2.00 rules on process creations, attacks too",
		"sigma.Parse cpu-ms/op ≤ 1,200 - - - start-up: reading all rules: not measured",
		"sigma.Compile cpu-ms/op ≤ 300 800 200 0.50 start-up: compiling them (1.5 s with reading): MISSED",
		"provenance.Recordings MB/Mevents ≤ 64 70 - - live memory of the joins: MISSED",
		"sigma.Other ns/op 1,234,567 - -",
		"skipped: sigma.Parse; its recordings are absent",
		"calibration: 50 MB/cpu-s now, 100 at the baseline; ratios are of speeds divided by it, above 1 is better",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestRun(t *testing.T) {
	dir := t.TempDir()
	results := filepath.Join(dir, "now.txt")
	if err := os.WriteFile(results, []byte(header+"pkg: ashiato/x\nBenchmarkA-2 1 5 ns/op\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := run(&b, filepath.Join(dir, "none.txt"), []string{results}); err != nil || !strings.Contains(b.String(), "make bench-baseline") {
		t.Errorf("%v\n%s", err, b.String())
	}
	if err := os.WriteFile(results, []byte("PASS\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := run(&b, "", []string{results}); err == nil {
		t.Error("a result without benchmarks is accepted")
	}
}

// BenchmarkCalibration is fixed work that other benchmarks are set against: it
// hashes, compares and looks up, as they do, and uses nothing of this project.
func BenchmarkCalibration(b *testing.B) {
	data := []byte(strings.Repeat(`C:\Windows\System32\svchost.exe -k netsvcs -p -s Schedule `, 1<<14))
	words := map[string]int{}
	start, n, sum := processorTime(), 0, 0
	for b.Loop() {
		hash := sha256.Sum256(data)
		sum += int(hash[0])
		for i, w := range strings.Fields(strings.ToLower(string(data))) {
			words[w] += i
		}
		sink = sum + len(words)
		n++
	}
	if used := processorTime() - start; used > 0 {
		b.ReportMetric(float64(n)*float64(len(data))/1e6/used.Seconds(), "MB/cpu-s")
	}
}

var sink int

// processorTime is the processor time that this process has used; 0 where the
// system does not tell.
func processorTime() time.Duration {
	data, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(data[strings.LastIndexByte(string(data), ')')+1:]))
	user, _ := strconv.ParseInt(fields[11], 10, 64)
	system, _ := strconv.ParseInt(fields[12], 10, 64)
	return time.Duration(user+system) * 10 * time.Millisecond
}
