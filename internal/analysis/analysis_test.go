package analysis

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"ashiato/internal/detect"
	"ashiato/internal/event"
	"ashiato/internal/incident"
	"ashiato/internal/normalize"
	"ashiato/internal/provenance"
	"ashiato/internal/ruleset"
	"ashiato/internal/scenario"
	"ashiato/internal/sigma/correlation"
	"ashiato/internal/world"
)

// together are correlations whose detections rest on records of several hosts, or
// on what the graph says their records belong to.
const together = `title: A program started
name: started
status: test
level: informational
logsource: {product: windows, category: process_creation}
detection: {s: {Image|endswith: ['\cmd.exe', '\powershell.exe', '\sc.exe', '\schtasks.exe', '\rundll32.exe']}, condition: s}
---
title: Several programs of one tree
name: tree
level: low
correlation: {type: value_count, rules: [started], group-by: [ProcessTree], timespan: 30m, condition: {field: Image, gte: 2}}
---
title: Several programs of one session
level: low
correlation: {type: event_count, rules: [started], group-by: [LogonSession], timespan: 1h, condition: {gte: 4}}
---
title: One program on two hosts
level: low
correlation: {type: value_count, rules: [started], group-by: [CommandLine], timespan: 30d, condition: {field: Computer, gte: 2}}
---
title: Two trees on one host
level: medium
correlation: {type: event_count, rules: [tree], group-by: [Computer], timespan: 30d, condition: {gte: 2}}
`

var (
	packed = sync.OnceValues(func() (*detect.Engine, error) { return load(true) })
	alone  = sync.OnceValues(func() (*detect.Engine, error) { return load(false) })
)

func load(pack bool) (*detect.Engine, error) {
	dir, err := os.MkdirTemp("", "rules")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	if err := os.WriteFile(filepath.Join(dir, "together.yml"), []byte(together), 0o644); err != nil {
		return nil, err
	}
	set, err := ruleset.Load(ruleset.Options{Pack: pack, Rules: []string{dir}})
	if err != nil || len(set.Problems) > 0 {
		return nil, fmt.Errorf("%w %v", err, set.Problems)
	}
	return set.Engine, nil
}

func engine(t testing.TB) *detect.Engine {
	t.Helper()
	e, err := packed()
	if e == nil {
		t.Fatal(err)
	}
	return e
}

var scenarios = sync.OnceValues(func() ([][]*event.Event, error) {
	paths, err := filepath.Glob("../../testdata/scenarios/*.txtar")
	if err != nil || len(paths) < 10 {
		return nil, fmt.Errorf("%d scenarios: %w", len(paths), err)
	}
	var all [][]*event.Event
	for _, p := range paths {
		data, err := os.ReadFile(p)
		if err != nil {
			return nil, err
		}
		sc, err := scenario.Parse(filepath.Base(p), data)
		if err != nil {
			return nil, err
		}
		b, err := sc.Build()
		if err != nil {
			return nil, err
		}
		for _, e := range b.Events {
			normalize.Event(e)
		}
		all = append(all, b.Events)
	}
	return all, nil
})

func events(t testing.TB) [][]*event.Event {
	t.Helper()
	all, err := scenarios()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// copied are the events as another file has them.
func copied(events []*event.Event, file string) []*event.Event {
	out := make([]*event.Event, len(events))
	for i, e := range events {
		c := *e
		c.Ref.File = file
		out[i] = &c
	}
	return out
}

// twin is the analysis without groups and without memory of earlier updates: one
// graph of all events, every correlation closed, every incident made.
type twin struct {
	opt      Options
	events   []*event.Event
	detected map[*event.Event]bool
	found    []detect.Detection
	told     []correlation.Observation
}

func (w *twin) add(events []*event.Event) {
	if w.detected == nil {
		w.detected = map[*event.Event]bool{}
	}
	worker := w.opt.Engine.Worker()
	for _, e := range events {
		before := len(w.found)
		w.found, w.told = worker.Observe(e, nil, w.found, w.told)
		w.detected[e] = len(w.found) > before
		w.events = append(w.events, e)
	}
}

func (w *twin) incidents() []*incident.Incident {
	b := provenance.NewBuilder(world.New(w.opt.Limits))
	for _, e := range w.events {
		if w.detected[e] {
			b.AddDetected(e)
		} else {
			b.Add(e)
		}
	}
	g := b.Build()
	ds := slices.Clone(w.found)
	if set := w.opt.Engine.Correlations(); set != nil {
		st := set.State(w.opt.Correlations)
		for _, o := range w.told {
			st.Add(o)
		}
		st.Resolve(provenance.NewBelonging(g).Of)
		ds = w.opt.Engine.Correlated(st.Close(), ds)
	}
	return incident.Build(g, ds, incident.Options{Pins: w.opt.Pins})
}

func describe(t interface{ Fatal(...any) }, incidents []*incident.Incident) string {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	for _, i := range incidents {
		short := *i
		short.Detections = slices.Clone(i.Detections)
		for n := range short.Detections {
			d := &short.Detections[n]
			d.Rule = &detect.Rule{ID: d.Rule.ID}
		}
		if err := enc.Encode(short); err != nil {
			t.Fatal(err)
		}
	}
	return b.String()
}

func same(t interface {
	Helper()
	Fatalf(string, ...any)
	Fatal(...any)
}, want, got []*incident.Incident, about string,
) {
	t.Helper()
	if a, b := describe(t, want), describe(t, got); a != b {
		t.Fatalf("%s: %d incidents, want %d\n%s", about, len(got), len(want), cmp.Diff(strings.Split(a, "\n"), strings.Split(b, "\n")))
	}
}

// stream is random events in random batches: some scenarios, shuffled, with some
// records read from two files.
func stream(r *rand.Rand, all [][]*event.Event) (batches [][]*event.Event) {
	var list []*event.Event
	for range 1 + r.IntN(3) {
		s := all[r.IntN(len(all))]
		list = append(list, copied(s, "a")...)
		if r.IntN(2) == 0 {
			list = append(list, copied(s[:r.IntN(len(s))], "b")...)
		}
	}
	switch r.IntN(4) { // else one scenario after the other
	case 0:
		r.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	case 1:
		slices.SortStableFunc(list, event.Compare)
	}
	for len(list) > 0 {
		n := min(len(list), 1+r.IntN(max(500, len(list)*2/3)))
		batches = append(batches, list[:n])
		list = list[n:]
	}
	return batches
}

// shards adds batches from several goroutines, each of which has hosts of its own.
func shards(a *Analysis, batch []*event.Event, n int) {
	parts := make([][]*event.Event, n)
	for _, e := range batch {
		var h uint32
		for _, c := range world.HostKey(e.Host) {
			h = h*31 + uint32(c)
		}
		parts[h%uint32(n)] = append(parts[h%uint32(n)], e)
	}
	var all sync.WaitGroup
	for _, p := range parts {
		all.Go(func() { a.Add(p) })
	}
	all.Wait()
}

// TestEveryUpdateIsTheWhole holds that every update, whatever came before, says
// what one graph of all events added so far says, on any number of shards and of
// processors; and that what is said to be changed is what differs.
func TestEveryUpdateIsTheWhole(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	all := events(t)
	reused, several := 0, 0
	for seed := range uint64(8) { // not by rapid, whose hundred runs take minutes
		r := rand.New(rand.NewPCG(seed, 7))
		runtime.GOMAXPROCS(1 + int(seed)%4)
		opt := Options{Engine: engine(t)}
		a, slow := New(opt), &twin{opt: opt}
		before := map[string]string{}
		for _, batch := range stream(r, all) {
			shards(a, batch, 1+r.IntN(16))
			slow.add(batch)
			u := a.Update()
			about := fmt.Sprintf("seed %d after %d events", seed, len(slow.events))
			same(t, slow.incidents(), u.Incidents, about)
			now := map[string]string{}
			changed := map[*incident.Incident]bool{}
			for _, i := range u.Changed {
				changed[i] = true
			}
			for _, i := range u.Incidents {
				now[i.ID] = describe(t, []*incident.Incident{i})
				if (now[i.ID] != before[i.ID]) != changed[i] {
					t.Fatalf("%s: incident %s is said to be changed: %v", about, i.ID, changed[i])
				}
			}
			before = now
			if u.Groups > 1 {
				several++
			}
			if u.Made < u.Groups {
				reused++
			}
			if s := u.Seen; s.Events != int64(len(slow.events)) || s.Repeated > s.Events {
				t.Fatalf("%s: %+v", about, s)
			}
		}
	}
	if reused == 0 || several == 0 {
		t.Errorf("%d updates left a group as it was, %d had several: nothing was tried", reused, several)
	}
}

// TestChangesTellWhatBecame holds that the changes of each update, one after the
// other, account for every incident there was.
func TestChangesTellWhatBecame(t *testing.T) {
	all := events(t)
	kinds := map[incident.ChangeKind]int{}
	for seed := range uint64(8) {
		r := rand.New(rand.NewPCG(seed, 3))
		a := New(Options{Engine: engine(t)})
		var before []*incident.Incident
		for _, batch := range stream(r, all) {
			a.Add(batch)
			u := a.Update()
			now := map[string]*incident.Incident{}
			for _, i := range u.Incidents {
				now[i.ID] = i
			}
			told := map[string]incident.Change{}
			for _, c := range u.Changes {
				told[c.ID] = c
				kinds[c.Kind]++
			}
			var earlier []incident.Earlier
			for _, i := range before {
				earlier = append(earlier, earlierOf(i))
			}
			for _, want := range incident.Changes(earlier, u.Incidents) {
				got, ok := told[want.ID]
				if !ok { // of hosts on which nothing happened
					if want.Kind != incident.Kept || want.New != 0 {
						t.Fatalf("seed %d: nothing is said of %+v", seed, want)
					}
					continue
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Fatalf("seed %d:\n%s", seed, diff)
				}
			}
			before = u.Incidents
		}
	}
	for _, k := range []incident.ChangeKind{incident.Kept, incident.Moved, incident.Merged} {
		if kinds[k] == 0 {
			t.Errorf("no incident was %s: %v", k, kinds)
		}
	}
}

// TestAddingAgainChangesNothing holds that records that are known are known.
func TestAddingAgainChangesNothing(t *testing.T) {
	a := New(Options{Engine: engine(t)})
	for _, s := range events(t)[:4] {
		a.Add(copied(s, "a"))
	}
	first := a.Update()
	for _, s := range events(t)[:4] {
		a.Add(copied(s, "a"))
	}
	again := a.Update()
	same(t, first.Incidents, again.Incidents, "added again")
	if len(again.Changed) > 0 {
		t.Errorf("%d incidents are said to be changed", len(again.Changed))
	}
	for _, c := range again.Changes {
		if c.Kind != incident.Kept || c.New > 0 {
			t.Errorf("%+v", c)
		}
	}
	if again.Seen.Repeated != again.Seen.Events/2 {
		t.Errorf("%+v", again.Seen)
	}
}

// TestTheBoundOnDetections holds that which detections are left out depends on the
// set of them alone, and that all are accounted for.
func TestTheBoundOnDetections(t *testing.T) {
	rules := []*detect.Rule{{ID: "a", Severity: detect.Low}, {ID: "b", Severity: detect.High}, {ID: "c", Severity: detect.High}}
	rapid.Check(t, func(t *rapid.T) {
		var ds []detect.Detection
		for n := range rapid.IntRange(1, 60).Draw(t, "detections") {
			e := event.New(0)
			e.Host = rapid.SampledFrom([]string{"x", "y", "Y"}).Draw(t, "host")
			e.Ref.RecordID = uint64(n + 1)
			e.Time = e.Time.AddDate(0, 0, rapid.IntRange(0, 9).Draw(t, "day"))
			e.Data = event.Fields{{Name: "x", Value: strings.Repeat("x", rapid.IntRange(0, 3000).Draw(t, "size"))}}
			d := detect.Detection{Rule: rapid.SampledFrom(rules).Draw(t, "rule"), Event: e}
			ds = append(ds, d)
			if rapid.IntRange(0, 3).Draw(t, "twice") == 0 {
				ds = append(ds, d)
			}
		}
		limit := rapid.Int64Range(1, 40_000).Draw(t, "limit")
		in := func(ds []detect.Detection, ask int) string {
			f := newFound(limit)
			for i, d := range ds {
				f.add(d)
				if i%ask == ask-1 {
					f.fit()
				}
			}
			f.fit()
			var kept []string
			var size, copies int64
			on := map[ruleOn]int{}
			for _, h := range f.all {
				kept = append(kept, fmt.Sprint(h.Event.Ref.RecordID, h.Rule.ID, h.copies))
				size += h.size
				copies += 1 + h.copies
				on[ruleOn{h.Rule.ID, h.host}]++
			}
			slices.Sort(kept)
			if size != f.size || size > limit || copies+f.lost != int64(len(ds)) || !cmp.Equal(on, f.on) {
				t.Fatalf("%d bytes, said %d, at most %d; %d kept and %d lost of %d", size, f.size, limit, copies, f.lost, len(ds))
			}
			return fmt.Sprint(kept, f.lost)
		}
		one := in(ds, 1000)
		if two := in(rapid.Permutation(ds).Draw(t, "order"), rapid.IntRange(1, 9).Draw(t, "ask")); one != two {
			t.Fatalf("%s\nin another order %s", one, two)
		}
	})
}
