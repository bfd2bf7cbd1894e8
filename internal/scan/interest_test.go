package scan

import (
	"context"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ashiato/internal/corpus"
	"ashiato/internal/detect"
	"ashiato/internal/event"
	"ashiato/internal/normalize"
	"ashiato/internal/ruleset"
	"ashiato/internal/scenario"
	"ashiato/internal/source"
	"ashiato/internal/source/files"
)

// agree scans with and without leaving out what nobody reads, and fails the
// test if anything but the number of unread records differs. It returns that.
func agree(t testing.TB, what string, opt Options) (unread, events int64) {
	t.Helper()
	less := run(t, opt)
	opt.everything = true
	whole := run(t, opt)
	if whole.Stats.Source.Unread != 0 {
		t.Errorf("%s: %d records unread although everything was to be read", what, whole.Stats.Source.Unread)
	}
	unread = less.Stats.Source.Unread
	less.Stats.Source.Unread = 0
	if diff := cmp.Diff(whole.Stats, less.Stats); diff != "" {
		t.Errorf("%s: numbers differ:\n%s", what, diff)
	}
	if diff := cmp.Diff(whole.Problems, less.Problems); diff != "" {
		t.Errorf("%s: problems differ:\n%s", what, diff)
	}
	if a, b := digest(t, whole), digest(t, less); a != b {
		t.Errorf("%s: incidents or gaps differ:\n%s", what, cmp.Diff(strings.Split(a, "\n"), strings.Split(b, "\n")))
	}
	return unread, less.Stats.Source.Events
}

// sampleRules loads every nth public rule, from the given one on.
func sampleRules(t testing.TB, first, nth int) *detect.Engine {
	t.Helper()
	var names []string
	for _, folder := range []string{"rules", "rules-emerging-threats", "rules-threat-hunting"} {
		err := filepath.WalkDir(corpus.Dir(t, "sigma/"+folder), func(name string, d fs.DirEntry, err error) error {
			if err == nil && filepath.Ext(name) == ".yml" {
				names = append(names, name)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	var chosen []string
	for i := first; i < len(names); i += nth {
		chosen = append(chosen, names[i])
	}
	set, err := ruleset.Load(ruleset.Options{Rules: chosen})
	if err != nil {
		t.Fatal(err)
	}
	return set.Engine
}

// What nobody reads makes no difference to what is found: on every recording,
// for the shipped rules and for samples of the public ones.
func TestUnreadRecordsMakeNoDifference(t *testing.T) {
	recordings := corpus.Dir(t, "evtx")
	unread, events := agree(t, "shipped rules", Options{Paths: []string{recordings}, Engine: engine(t)})
	t.Logf("shipped rules: %d of %d records unread", unread, events)
	if unread == 0 {
		t.Error("the shipped rules and joins are said to read every record")
	}
	samples := 2
	if os.Getenv("ASHIATO_FULL") != "" {
		samples = 20
	}
	for i := range samples {
		unread, events := agree(t, fmt.Sprint("sample ", i), Options{Paths: []string{recordings}, Engine: sampleRules(t, i*3, 50)})
		t.Logf("sample %d: %d of %d records unread", i, unread, events)
	}
}

// The same on logs that are always here, with rules that read next to nothing.
func TestUnreadRecordsOfAScenario(t *testing.T) {
	_, built := scenarioLogs(t, "usb-coinminer.txtar")
	dir := t.TempDir()
	if _, err := scenario.WriteEVTX(dir, built); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, rule string
		unread     bool
	}{
		{"one event id", "logsource: {product: windows, service: security}\ndetection: {s: {EventID: 4672, SubjectUserName|contains: a}, condition: s}", true},
		{"negated", "logsource: {product: windows, service: system}\ndetection: {s: {State: running}, n: {EventID: [7036, 7040]}, condition: s and not n}", true},
		{"keywords", "logsource: {product: windows}\ndetection: {k: [mimikatz], condition: k}", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "rule.yml")
			text := "title: T\nid: 6f2c3f4e-0000-4000-8000-000000000001\nlevel: high\n" + test.rule + "\n"
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			set, err := ruleset.Load(ruleset.Options{Rules: []string{file}})
			if err != nil || len(set.Problems) > 0 {
				t.Fatal(err, set.Problems)
			}
			unread, events := agree(t, test.name, Options{Paths: []string{dir}, Engine: set.Engine})
			if (unread > 0) != test.unread {
				t.Errorf("%d of %d records unread", unread, events)
			}
		})
	}
	agree(t, "shipped rules", Options{Paths: []string{dir}, Engine: engine(t)})
}

// Whatever an Interest says, a reader gives the same records under the same
// numbers and times, and leaves out the fields of those alone that nobody reads.
func TestReadersHonourAnyInterest(t *testing.T) {
	paths := []string{corpus.Dir(t, "evtx")}
	type place struct {
		file   string
		offset int64
	}
	read := func(in source.Interest) (map[place]*event.Event, source.Stats, []source.Problem) {
		all := map[place]*event.Event{}
		var batches [][]*event.Event
		stats, problems := files.Scan(context.Background(), paths, files.Options{Jobs: 1, Interest: in}, func(batch []*event.Event) {
			batches = append(batches, batch)
		})
		for _, b := range batches {
			for _, e := range b {
				all[place{e.Ref.File, e.Ref.Offset}] = e
			}
		}
		return all, stats, problems
	}
	whole, stats, problems := read(nil)
	seeds := uint64(2)
	if os.Getenv("ASHIATO_FULL") != "" {
		seeds = 4
	}
	for seed := range seeds {
		hash := func(parts ...any) uint64 {
			h := seed + 1
			for _, b := range []byte(fmt.Sprint(parts...)) {
				h = (h ^ uint64(b)) * 1099511628211
			}
			return rand.New(rand.NewPCG(h, seed)).Uint64() % 16
		}
		field := func(name string) bool { return hash(name) < seed }
		in := func(provider, channel string, id uint32, fields []string) bool {
			return hash(provider, channel, id) < 4*seed || slices.ContainsFunc(fields, field)
		}
		less, lessStats, lessProblems := read(in)
		unread := int64(0)
		for p, e := range less {
			w := whole[p]
			if w == nil {
				t.Fatalf("seed %d: %v is a record only with an interest", seed, p)
			}
			if e.Flags&event.Unread == 0 {
				if diff := cmp.Diff(w, e); diff != "" {
					t.Fatalf("seed %d: %v differs:\n%s", seed, p, diff)
				}
				continue
			}
			unread++
			if hash(e.Provider, e.Channel, e.ID) < 4*seed {
				t.Fatalf("seed %d: %v is of a kind that is read", seed, p)
			}
			if i := slices.IndexFunc(w.Data, func(f event.Field) bool { return field(f.Name) }); i >= 0 {
				t.Fatalf("seed %d: %v has the field %s, which is read", seed, p, w.Data[i].Name)
			}
			bare := *w
			bare.Data, bare.Flags = nil, e.Flags
			if bare.Ref.RecordID != 0 {
				bare.Ref.SHA256 = [32]byte{}
			}
			if diff := cmp.Diff(&bare, e); diff != "" {
				t.Fatalf("seed %d: %v differs in more than its fields:\n%s", seed, p, diff)
			}
		}
		if len(less) != len(whole) || lessStats.Unread != unread || unread == 0 {
			t.Errorf("seed %d: %d records, %d with an interest; %d are unread, %d are said to be", seed, len(whole), len(less), unread, lessStats.Unread)
		}
		lessStats.Unread = 0
		if diff := cmp.Diff(stats, lessStats); diff != "" {
			t.Errorf("seed %d: %s", seed, diff)
		}
		if diff := cmp.Diff(problems, lessProblems); diff != "" {
			t.Errorf("seed %d: %s", seed, diff)
		}
	}
}

// No record for which a rule or an indicator says anything is of a kind that
// they are said not to read.
func TestNothingDetectedIsUnread(t *testing.T) {
	paths := []string{corpus.Dir(t, "evtx")}
	for name, eng := range map[string]*detect.Engine{"shipped": engine(t), "public": sampleRules(t, 1, 9)} {
		in := interestIn(eng.Interest())
		w := eng.Worker()
		found := 0
		files.Scan(context.Background(), paths, files.Options{Jobs: 1}, func(batch []*event.Event) {
			for _, e := range batch {
				normalize.Event(e)
				for _, d := range w.Detect(e, nil) {
					found++
					var names []string
					for _, f := range e.Data {
						names = append(names, f.Name)
					}
					if !in(e.Provider, e.Channel, e.ID, names) {
						t.Fatalf("%s: %s holds for %s %s %d, which nobody is said to read", name, d.Rule.Name, e.Provider, e.Channel, e.ID)
					}
				}
			}
		})
		if found == 0 {
			t.Errorf("%s: nothing was detected", name)
		}
	}
}
