// Command benchtable prints benchmarks as a table: what was measured, the bar, the
// median now, the stored baseline and the ratio of the two.
//
//	go run ./scripts/benchtable [-baseline FILE] [RESULTS]
//
// Both inputs are in Go's benchmark format. Machines and moments differ, so each
// result holds BenchmarkCalibration too (this package's test), fixed work of the
// same kind: the speed of the machine then. A ratio is of the speeds after each
// was divided by its calibration; above 1 is better than the baseline.
package main

import (
	"bufio"
	"flag"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// bar is what a benchmark must reach.
type bar struct {
	benchmark, unit string
	value           float64
	what            string
}

// bars are the targets that docs/benchmarks.md is about.
var bars = []bar{
	{"internal/sigma.MatchProcessCreationUnmatched", "events/cpu-s", 200_000, "rules on process creations without a match"},
	{"internal/sigma.MatchProcessCreation", "events/cpu-s", 200_000, "rules on process creations, attacks too"},
	{"internal/sigma.MatchProcessCreationUnmatched", "allocs/op", 0, "allocations of an event without a match"},
	{"internal/sigma.Parse", "cpu-ms/op", 1200, "start-up: reading all rules"},
	{"internal/sigma.Compile", "cpu-ms/op", 300, "start-up: compiling them (1.5 s with reading)"},
	{"internal/sigma.ReadCompiled", "cpu-ms/op", 200, "start-up from compiled rules"},
	{"internal/source/evtx.Read", "records/cpu-s", 300_000, "EVTX, dense files"},
	{"internal/scan.Stages/dense/public/detect", "events/cpu-s", 120_000, "EVTX to detections, all rules, dense files"},
	{"internal/scan.Stages/day/public/detect", "events/cpu-s", 120_000, "EVTX to detections, all rules, a quiet day"},
	{"internal/provenance.Build", "events/s", 100_000, "joins and graph"},
	{"internal/provenance.Recordings", "MB/Mevents", 64, "live memory of the joins"},
}

// units are those that a benchmark without a bar is shown by, the first it has.
var units = []string{"events/cpu-s", "records/cpu-s", "cpu-ms/op", "events/s", "records/s", "observations/s", "ns/op"}

// higher reports whether more of a unit is better.
func higher(unit string) bool {
	return strings.HasSuffix(unit, "/s") || strings.HasSuffix(unit, "/cpu-s")
}

// timed reports whether a unit depends on the machine's speed.
func timed(unit string) bool {
	return higher(unit) || strings.HasSuffix(unit, "ns/op") || strings.HasSuffix(unit, "ms/op")
}

// results are the values of each benchmark, by "package.Name" and unit.
type results struct {
	values  map[string]map[string][]float64
	order   []string
	skipped []string
	machine []string
}

const calibration = "scripts/benchtable.Calibration"

var procs = regexp.MustCompile(`-\d+$`)

// read parses Go's benchmark format. Lines of other kinds are left out.
func read(r io.Reader) (*results, error) {
	out := &results{values: map[string]map[string][]float64{}}
	pkg := ""
	s := bufio.NewScanner(r)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		line := s.Text()
		for _, key := range []string{"goos: ", "goarch: ", "cpu: "} {
			if v, ok := strings.CutPrefix(line, key); ok && !slices.Contains(out.machine, v) {
				out.machine = append(out.machine, v)
			}
		}
		if v, ok := strings.CutPrefix(line, "pkg: "); ok {
			_, pkg, _ = strings.Cut(v, "/")
			continue
		}
		name := func(f string) string {
			return pkg + "." + procs.ReplaceAllString(strings.TrimPrefix(f, "Benchmark"), "")
		}
		f := strings.Fields(line)
		if i := slices.Index(f, "SKIP:"); i >= 0 && i+1 < len(f) && strings.HasPrefix(f[i+1], "Benchmark") {
			if n := name(f[i+1]); !slices.Contains(out.skipped, n) {
				out.skipped = append(out.skipped, n)
			}
		}
		if len(f) < 4 || !strings.HasPrefix(f[0], "Benchmark") || len(f)%2 != 0 {
			continue
		}
		if _, err := strconv.Atoi(f[1]); err != nil {
			continue
		}
		n := name(f[0])
		if out.values[n] == nil {
			out.values[n] = map[string][]float64{}
			out.order = append(out.order, n)
		}
		for i := 2; i+1 < len(f); i += 2 {
			v, err := strconv.ParseFloat(f[i], 64)
			if err != nil {
				return nil, fmt.Errorf("line %q: %w", line, err)
			}
			out.values[n][f[i+1]] = append(out.values[n][f[i+1]], v)
		}
	}
	return out, s.Err()
}

// median returns the median of a benchmark's unit, and of the worst of its
// parts if it only has parts.
func (r *results) median(benchmark, unit string) (float64, bool) {
	if r == nil {
		return 0, false
	}
	if v := slices.Sorted(slices.Values(r.values[benchmark][unit])); len(v) > 0 {
		return (v[len(v)/2] + v[(len(v)-1)/2]) / 2, true
	}
	worst, found := 0.0, false
	for _, n := range r.order {
		if !strings.HasPrefix(n, benchmark+"/") || len(r.values[n][unit]) == 0 {
			continue
		}
		if v, _ := r.median(n, unit); !found || (v < worst) == higher(unit) {
			worst, found = v, true
		}
	}
	return worst, found
}

// ratio compares two medians, above 1 if now is better.
func ratio(now, base *results, benchmark, unit string) string {
	a, okA := now.median(benchmark, unit)
	b, okB := base.median(benchmark, unit)
	if !okA || !okB {
		return "-"
	}
	speed := 1.0 // of the machine now, as a part of what it was
	if timed(unit) {
		ca, okA := now.median(calibration, "MB/cpu-s")
		cb, okB := base.median(calibration, "MB/cpu-s")
		if !okA || !okB || ca == 0 || cb == 0 {
			return "?"
		}
		speed = ca / cb
	}
	if !higher(unit) {
		a, b = b, a
	}
	switch {
	case a == b && a == 0:
		return "1.00"
	case b == 0:
		return "-"
	}
	return fmt.Sprintf("%.2f", a/b/speed)
}

func number(v float64, ok bool) string {
	switch {
	case !ok:
		return "-"
	case v != 0 && v < 100 && v != float64(int64(v)):
		return fmt.Sprintf("%.3g", v)
	}
	digits := strconv.FormatInt(int64(v+0.5), 10)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

func table(w io.Writer, now, base *results) {
	const row = "%-48s  %-14s  %10s  %12s  %12s  %6s  %s\n"
	fmt.Fprintf(w, row, "benchmark", "unit", "bar", "now", "baseline", "ratio", "what")
	shown := map[string]bool{}
	line := func(n, unit, bar, what string) {
		a, okA := now.median(n, unit)
		b, okB := base.median(n, unit)
		fmt.Fprintf(w, row, strings.TrimPrefix(n, "internal/"), unit, bar, number(a, okA), number(b, okB), ratio(now, base, n, unit), what)
	}
	for _, b := range bars {
		shown[b.benchmark+" "+b.unit] = true
		least, met := "≤", false
		v, ok := now.median(b.benchmark, b.unit)
		if met = v <= b.value; higher(b.unit) {
			least, met = "≥", v >= b.value
		}
		what := b.what
		switch {
		case !ok:
			what += ": not measured"
		case !met:
			what += ": MISSED"
		}
		line(b.benchmark, b.unit, least+" "+number(b.value, true), what)
	}
	fmt.Fprintln(w)
	for _, n := range now.order {
		for _, u := range units {
			if len(now.values[n][u]) > 0 {
				if !shown[n+" "+u] && n != calibration {
					line(n, u, "", "")
				}
				break
			}
		}
	}
	fmt.Fprintln(w)
	for _, n := range now.skipped {
		fmt.Fprintf(w, "skipped: %s; its recordings are absent\n", strings.TrimPrefix(n, "internal/"))
	}
	a, okA := now.median(calibration, "MB/cpu-s")
	b, okB := base.median(calibration, "MB/cpu-s")
	fmt.Fprintf(w, "calibration: %s MB/cpu-s now, %s at the baseline; ratios are of speeds divided by it, above 1 is better\n", number(a, okA), number(b, okB))
	fmt.Fprintf(w, "machine: %s\n", strings.Join(now.machine, ", "))
	if base != nil && !slices.Equal(base.machine, now.machine) {
		fmt.Fprintf(w, "the baseline is of another machine: %s; its ratios are rough\n", strings.Join(base.machine, ", "))
	}
}

func run(w io.Writer, baseline string, args []string) error {
	in := io.Reader(os.Stdin)
	if len(args) > 0 {
		f, err := os.Open(args[0])
		if err != nil {
			return err
		}
		defer f.Close() // only read
		in = f
	}
	now, err := read(in)
	if err != nil {
		return err
	}
	if len(now.values) == 0 {
		return fmt.Errorf("the input holds no benchmark")
	}
	var base *results
	if baseline != "" {
		f, err := os.Open(baseline)
		switch {
		case err == nil:
			defer f.Close() // only read
			if base, err = read(f); err != nil {
				return fmt.Errorf("%s: %w", baseline, err)
			}
		case os.IsNotExist(err):
			fmt.Fprintf(w, "no baseline at %s; `make bench-baseline` writes one\n\n", baseline)
		default:
			return err
		}
	}
	table(w, now, base)
	return nil
}

func main() {
	baseline := flag.String("baseline", "", "compare to this `file`")
	flag.Parse()
	out := bufio.NewWriter(os.Stdout)
	err := run(out, *baseline, flag.Args())
	if err == nil {
		err = out.Flush()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "benchtable:", err)
		os.Exit(1)
	}
}
