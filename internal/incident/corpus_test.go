package incident_test

import (
	"context"
	"io/fs"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"ashiato/internal/corpus"
	"ashiato/internal/event"
	"ashiato/internal/i18n"
	"ashiato/internal/incident"
	"ashiato/internal/normalize"
	"ashiato/internal/provenance"
	"ashiato/internal/source/files"
)

// read returns the normalised events of a recording.
func read(t testing.TB, path string) []*event.Event {
	t.Helper()
	var mu sync.Mutex
	var events []*event.Event
	files.Scan(context.Background(), []string{path}, files.Options{Jobs: 2}, func(batch []*event.Event) {
		mu.Lock()
		defer mu.Unlock()
		for _, e := range batch {
			normalize.Event(e)
			events = append(events, e)
		}
	})
	return events
}

// sound checks what must hold for every incident.
func sound(t testing.TB, g *provenance.Graph, incidents []*incident.Incident) {
	t.Helper()
	for _, e := range g.Edges() {
		if len(e.Evidence) == 0 || e.Count < 1 || e.Join == "" || e.Last.Before(e.First) {
			t.Errorf("edge %s -%s-> %s: %d records, count %d, join %q, %v to %v", e.From, e.Verb, e.To, len(e.Evidence), e.Count, e.Join, e.First, e.Last)
		}
		if g.Node(e.From) == nil || g.Node(e.To) == nil {
			t.Errorf("edge %s -%s-> %s has an end that is no node", e.From, e.Verb, e.To)
		}
		if e.Skeleton && (g.Node(e.From).Hub || g.Node(e.To).Hub) {
			t.Errorf("edge %s -%s-> %s carries lineage through a hub", e.From, e.Verb, e.To)
		}
	}
	ids := map[string]bool{}
	for _, i := range incidents {
		if ids[i.ID] {
			t.Errorf("two incidents are called %s", i.ID)
		}
		ids[i.ID] = true
		nodes := map[provenance.NodeID]bool{}
		for _, n := range i.Nodes {
			nodes[n.ID] = true
		}
		for _, d := range i.Detections {
			if !nodes[d.Node] && i.Cut == 0 {
				t.Errorf("%s: the node %s of a detection is not drawn", i.ID, d.Node)
			}
		}
		if !nodes[i.Root.Node] && i.Cut == 0 {
			t.Errorf("%s: the root %s is not drawn", i.ID, i.Root.Node)
		}
		for _, e := range i.Edges {
			if !nodes[e.From] || !nodes[e.To] {
				t.Errorf("%s: edge %s -%s-> %s has an end that is not drawn", i.ID, e.From, e.Verb, e.To)
			}
		}
		if len(i.EdgeSteps) != len(i.Edges) {
			t.Errorf("%s: %d steps for %d edges", i.ID, len(i.EdgeSteps), len(i.Edges))
		}
		if len(i.Story) == 0 {
			t.Errorf("%s has no story", i.ID)
		}
		for n, s := range i.Story {
			if s.Number != n+1 || n > 0 && s.Time.Before(i.Story[n-1].Time) {
				t.Errorf("%s: step %d is out of order", i.ID, s.Number)
			}
			for _, l := range i18n.Langs() {
				if text := i.Sentence(s, l); text == "" || strings.HasPrefix(text, "story.") || strings.Contains(text, "{") && !strings.Contains(strings.Join(s.Args, ""), "{") {
					t.Errorf("%s: step %d reads %q in %s", i.ID, s.Number, text, l)
				}
			}
		}
		for _, l := range i18n.Langs() {
			if title := i.Title(l); title == "" || strings.Contains(title, "title.") {
				t.Errorf("%s: its title is %q in %s", i.ID, title, l)
			}
		}
		if i.Last.Before(i.First) || i.First.IsZero() {
			t.Errorf("%s: from %v to %v", i.ID, i.First, i.Last)
		}
		total := 0
		for _, term := range i.Terms {
			total += term.Points
		}
		if total != i.Score {
			t.Errorf("%s: the terms add up to %d, the score is %d", i.ID, total, i.Score)
		}
	}
}

func TestRecordingsMakeSmallSoundIncidents(t *testing.T) {
	engine := pack(t)
	for _, folder := range []string{"evtx/attack-samples", "evtx/hayabusa-samples", "otrf/atomic/windows/lateral_movement"} {
		t.Run(strings.ReplaceAll(folder, "/", "_"), func(t *testing.T) {
			root := corpus.Dir(t, folder)
			recordings, all, nodes, largest, joined := 0, 0, 0, 0, 0
			err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
				if err != nil || d.IsDir() {
					return err
				}
				if testing.Short() && recordings >= 20 {
					return filepath.SkipAll
				}
				recordings++
				g, incidents := judge(engine, read(t, path))
				sound(t, g, incidents)
				for _, i := range incidents {
					all++
					nodes += len(i.Nodes)
					if len(i.Detections) > 1 {
						joined++
					}
					if len(i.Nodes) > largest {
						largest = len(i.Nodes)
						t.Logf("%s: %d nodes, %d edges, %d steps, %d detections: %s", filepath.Base(path), len(i.Nodes), len(i.Edges), len(i.Story), len(i.Detections), i.Title(i18n.English))
					}
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			if all == 0 {
				t.Fatal("no incident in any recording")
			}
			t.Logf("%d recordings, %d incidents (%d of more than one detection), %d nodes each on average, %d at most", recordings, all, joined, nodes/all, largest)
			if largest > 120 {
				t.Errorf("an incident of %d nodes: something that is everybody's joins what it should not", largest)
			}
		})
	}
}

func TestMockFolderRecordingIsOneIncident(t *testing.T) {
	path := corpus.Dir(t, "evtx/attack-samples/Privilege Escalation/sysmon_11_7_1_uacbypass_windirectory_mocking.evtx")
	g, incidents := judge(pack(t), read(t, path))
	sound(t, g, incidents)
	if len(incidents) != 1 {
		t.Fatalf("%d incidents, want 1", len(incidents))
	}
	i := incidents[0]
	root := g.Node(i.Root.Node)
	if root == nil || root.Label != "UACBypass.exe" {
		t.Errorf("the root is %v, want UACBypass.exe", i.Root.Node)
	}
	want := []struct {
		verb     provenance.Verb
		from, to string
	}{
		{provenance.Created, "UACBypass.exe", "System32"},
		{provenance.Wrote, "UACBypass.exe", "winSAT.exe"},
		{provenance.Wrote, "UACBypass.exe", "WINMM.dll"},
		{provenance.Started, "UACBypass.exe", "winSAT.exe"},
		{provenance.Elevated, "winSAT.exe", "winSAT.exe"},
		{provenance.Loaded, "WINMM.dll", "winSAT.exe"},
	}
	for _, w := range want {
		found := false
		for n, e := range i.Edges {
			if e.Verb == w.verb && g.Node(e.From).Label == w.from && g.Node(e.To).Label == w.to && i.EdgeSteps[n] > 0 {
				found = true
			}
		}
		if !found {
			t.Errorf("no step shows that %s %s %s", w.from, w.verb, w.to)
		}
	}
	if !strings.Contains(dump(i, i18n.English), "C:\\Windows␠\\System32") {
		t.Error("the blank of the mock folder cannot be seen in the story")
	}
}
