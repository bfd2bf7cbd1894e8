package evaluation

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"ashiato/internal/detect"
	"ashiato/internal/event"
	"ashiato/internal/normalize"
	"ashiato/internal/scenario"
	"ashiato/internal/source/files"
)

// Suite is what to measure on.
type Suite struct {
	Engine *detect.Engine
	// Scenarios are the paths of scenario files.
	Scenarios []string
	// Seeds is how many variations of each scenario are measured beside the
	// scenario as written.
	Seeds int
	// Recordings are folders of recordings, each file of which is one intrusion.
	Recordings []string
	// CPU returns the processor time used so far; nil leaves the cost out.
	CPU func() time.Duration
	// Progress is told what is being measured; it may be nil.
	Progress func(done, all int, what string)
}

// interleaved is how long after the first intrusion the second one begins where
// two are put on one host.
const interleaved = 3 * time.Minute

// telemetries are what variations are recorded with, in turn.
var telemetries = []string{"", "sysmon", "security"}

// Run measures. The error names the scenario that could not be built.
func (s *Suite) Run(ctx context.Context) (*Report, error) {
	r := &Report{}
	var plain []*scenario.Built
	for _, path := range s.Scenarios {
		b, err := buildScenario(path, nil)
		if err != nil {
			return nil, err
		}
		plain = append(plain, b)
	}
	type pair struct{ a, b *scenario.Built }
	var pairs []pair
	for i, a := range plain {
		for _, b := range plain[i+1:] {
			if a.Root.Kind == "volume" && b.Root.Kind == "volume" {
				continue // both sticks would be the same drive letter at the same time
			}
			pairs = append(pairs, pair{a, b})
		}
	}
	var recordings []string
	for _, dir := range s.Recordings {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				recordings = append(recordings, path)
			}
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("recordings: %w", err)
		}
	}
	slices.Sort(recordings)
	all, done := len(plain)*(1+s.Seeds)+len(pairs)+2*len(recordings), 0
	if s.CPU != nil {
		all += 2 * len(recordings)
	}
	step := func(what string) error {
		if s.Progress != nil {
			s.Progress(done, all, what)
		}
		done++
		return ctx.Err()
	}

	if len(plain) > 0 {
		var scores []*Score
		for _, b := range plain {
			if err := step(b.Name); err != nil {
				return nil, err
			}
			scores = append(scores, Measure(s.Engine, FromScenario(b)))
		}
		r.Sections = append(r.Sections, Section{
			Title: "Scenarios", About: "Each shipped scenario with its own background, as written.", Truth: true, Score: Sum(scores),
		})
	}
	if len(plain) > 0 && s.Seeds > 0 {
		var scores []*Score
		for i, path := range s.Scenarios {
			for seed := range s.Seeds {
				if err := step(fmt.Sprintf("%s, variation %d", plain[i].Name, seed+1)); err != nil {
					return nil, err
				}
				set := map[string]string{"seed": strconv.Itoa(1000 + seed)}
				if t := telemetries[seed%len(telemetries)]; t != "" {
					set["telemetry"] = t
				}
				b, err := buildScenario(path, set)
				if err != nil {
					return nil, err
				}
				scores = append(scores, Measure(s.Engine, FromScenario(b)))
			}
		}
		r.Sections = append(r.Sections, Section{
			Title: "Variations", About: "Each scenario with other random choices, recorded by everything, by Sysmon alone and by Security alone in turn.", Truth: true, Score: Sum(scores),
		})
	}
	if len(pairs) > 0 {
		var scores []*Score
		for _, p := range pairs {
			if err := step(p.a.Name + " + " + p.b.Name); err != nil {
				return nil, err
			}
			scores = append(scores, Measure(s.Engine, Interleave(p.a, p.b, interleaved)))
		}
		r.Sections = append(r.Sections, Section{
			Title: "Two at once", About: "Every two scenarios put on the same hosts, the second beginning three minutes after the first; the background is the first one's.", Truth: true, Score: Sum(scores),
		})
	}
	if len(recordings) > 0 {
		if err := s.recordings(r, recordings, step); err != nil {
			return nil, err
		}
		if s.CPU != nil {
			var err error
			if r.Cost, err = s.cost(recordings, step); err != nil {
				return nil, err
			}
		}
	}
	if s.CPU != nil {
		var scenarios [][]*event.Event
		for _, b := range plain {
			scenarios = append(scenarios, FromScenario(b).Events)
		}
		var err error
		if r.Latency, err = s.latency(scenarios, recordings, step); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// together is how many recordings are put on one host, and maxTogether how many
// events of one recording take part in that.
const (
	together    = 5
	maxTogether = 20_000
)

func (s *Suite) recordings(r *Report, paths []string, step func(string) error) error {
	var alone, mixed []*Score
	batch := map[string][]*event.Event{}
	flush := func() {
		if len(batch) > 1 {
			mixed = append(mixed, Measure(s.Engine, FromRecordings("mixed", "MIXED-PC", batch)))
		}
		batch = map[string][]*event.Event{}
	}
	for _, path := range paths {
		name := filepath.Base(path)
		if err := step(name); err != nil {
			return err
		}
		events := readRecording(path)
		if len(events) == 0 {
			continue
		}
		alone = append(alone, Measure(s.Engine, FromRecordings(name, "", map[string][]*event.Event{name: events})))
		if err := step(name); err != nil {
			return err
		}
		if len(events) <= maxTogether {
			batch[name] = events
		}
		if len(batch) == together {
			flush()
		}
	}
	flush()
	if len(alone) > 0 {
		r.Sections = append(r.Sections, Section{
			Title: "Recordings", About: "Public recordings of attacks, each alone. Which of their events belong to the attack is not known, so only the joining is counted.", Score: Sum(alone),
		})
	}
	if len(mixed) > 0 {
		r.Sections = append(r.Sections, Section{
			Title: "Recordings on one host", About: fmt.Sprintf("The same, %d at a time put on one host, each beginning a minute after the one before. What comes from two recordings should not be one incident.", together), Score: Sum(mixed),
		})
	}
	return nil
}

// readRecording returns the normalised events of a file; what cannot be read is
// left out, as in a scan.
func readRecording(path string) []*event.Event {
	var mu sync.Mutex
	var events []*event.Event
	files.Scan(context.Background(), []string{path}, files.Options{}, func(batch []*event.Event) {
		mu.Lock()
		defer mu.Unlock()
		for _, e := range batch {
			normalize.Event(e)
			events = append(events, e)
		}
	})
	slices.SortStableFunc(events, event.Compare)
	return events
}

func buildScenario(path string, set map[string]string) (*scenario.Built, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	sc, err := scenario.Parse(filepath.Base(path), data)
	if err != nil {
		return nil, err
	}
	for name, value := range set {
		if err := sc.Set(name, value); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	b, err := sc.Build()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return b, nil
}

// ScenarioFiles returns the scenario files of a folder, sorted.
func ScenarioFiles(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var paths []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".txtar") {
			paths = append(paths, filepath.Join(dir, e.Name()))
		}
	}
	return paths, nil
}
