package scan

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"ashiato/internal/analysis"
	"ashiato/internal/clock"
	"ashiato/internal/source/files"
)

// TestGuessedClocks holds that what is guessed of clocks from the beginning of a
// file changes nothing but how often it is read: the twin compares all clocks first.
func TestGuessedClocks(t *testing.T) {
	const by, other = -4 * time.Hour, 9 * time.Hour
	eng := engine(t)
	const none = 1 << 30
	for _, c := range []struct {
		name     string
		from, to int // between which of Sysmon's records it is local time
		two      bool
		readings int
	}{
		{"honest", none, none, false, 1},
		{"local", 0, none, false, 1},
		{"local, and another host's behind it", 0, none, true, 2},
		{"local after an honest beginning", 40, none, false, 2},
		{"honest after a local beginning", 0, 300, false, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			n, hosts := 0, map[string]time.Duration{}
			file := capture(t, "usb-coinminer.txtar", func(r map[string]any) {
				host := strings.ToLower(member(r, "Event", "System")["Computer"].(string))
				if _, known := hosts[host]; !known {
					hosts[host] = by
					if c.two && len(hosts) == 2 {
						hosts[host] = other
					}
				}
				if n >= c.from && n < c.to {
					later(r, hosts[host])
				}
				if strings.Contains(fmt.Sprint(member(r, "Event", "System")["Provider"]), "Sysmon") {
					n++
				}
			})
			// The scan that found nothing wrong goes on with this file.
			var before bytes.Buffer
			earlier := run(t, Options{Paths: []string{capture(t, "psexec.txtar", nil)}, Engine: eng})
			if err := earlier.State.Write(&before); err != nil {
				t.Fatal(err)
			}
			again := func() (*State, error) { return Restore(bytes.NewReader(before.Bytes()), Options{Engine: eng}) }
			for _, jobs := range []int{1, 3} {
				readings := 0
				count := func(p files.Progress) {
					if p.Files == p.FilesTotal {
						readings++
					}
				}
				opt := Options{Paths: []string{file}, Engine: eng, Jobs: jobs, Evidence: true, Progress: count}
				got := run(t, opt)
				opt.Progress = nil
				opt.Resume = &State{analysis: analysis.New(opt.analysis()), clocks: &clock.Tally{}}
				want := run(t, opt)
				if readings != c.readings {
					t.Errorf("read %d times, want %d", readings, c.readings)
				}
				if d := gocmp.Diff(strings.Split(digest(t, want), "\n"), strings.Split(digest(t, got), "\n")); d != "" {
					t.Error(d)
				}
				if d := gocmp.Diff(want.Clocks, got.Clocks); d != "" {
					t.Error(d)
				}

				readings = 0
				opt.Progress, opt.Again = count, again
				var err error
				if opt.Resume, err = again(); err != nil {
					t.Fatal(err)
				}
				got = run(t, opt)
				if readings != c.readings {
					t.Errorf("going on, read %d times, want %d", readings, c.readings)
				}
				opt.Progress, opt.Again = nil, nil
				if opt.Resume, err = again(); err != nil {
					t.Fatal(err)
				}
				want = run(t, opt)
				if d := gocmp.Diff(strings.Split(digest(t, want), "\n"), strings.Split(digest(t, got), "\n")); d != "" {
					t.Errorf("going on: %s", d)
				}
				if d := gocmp.Diff(want.Clocks, got.Clocks); d != "" {
					t.Errorf("going on: %s", d)
				}
			}
		})
	}
}
