package incident_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ashiato/internal/detect"
	"ashiato/internal/event"
	"ashiato/internal/i18n"
	"ashiato/internal/incident"
	"ashiato/internal/normalize"
	"ashiato/internal/provenance"
	"ashiato/internal/scenario"
	"ashiato/internal/sigma"
	"ashiato/internal/world"
)

var packFS = os.DirFS(filepath.Join("..", "..", "rules"))

// pack compiles the shipped rules.
func pack(t testing.TB) *detect.Engine {
	t.Helper()
	var all []*sigma.Rule
	err := fs.WalkDir(packFS, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".yml") {
			return err
		}
		data, err := fs.ReadFile(packFS, path)
		if err != nil {
			return err
		}
		parsed, errs := sigma.Parse(path, data)
		for _, err := range errs {
			t.Error(err)
		}
		all = append(all, parsed...)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	engine, errs := sigma.Compile(all, sigma.Options{})
	for _, err := range errs {
		t.Error(err)
	}
	return detect.New(engine, nil)
}

func judge(engine *detect.Engine, events []*event.Event) (*provenance.Graph, []*incident.Incident) {
	b := provenance.NewBuilder(world.New(world.Limits{}))
	worker := engine.Worker()
	var found []detect.Detection
	for _, e := range events {
		b.Add(e)
		found = worker.Detect(e, found)
	}
	g := b.Build()
	return g, incident.Build(g, found, incident.Options{})
}

func scenarioEvents(t testing.TB, set ...string) *scenario.Built {
	t.Helper()
	path := filepath.Join("..", "..", "testdata", "scenarios", "usb-coinminer.txtar")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	s, err := scenario.Parse(path, data)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(set); i += 2 {
		if err := s.Set(set[i], set[i+1]); err != nil {
			t.Fatal(err)
		}
	}
	built, err := s.Build()
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range built.Events {
		normalize.Event(e)
	}
	return built
}

// dump writes an incident the way a person reads it.
func dump(i *incident.Incident, langs ...i18n.Lang) string {
	var b strings.Builder
	for _, l := range langs {
		fmt.Fprintf(&b, "%s\n", i.Title(l))
	}
	fmt.Fprintf(&b, "%s score %d, hosts %v, root %s %s (%s), alternatives %d, %d nodes, %d edges, %d detections, cut %d\n",
		i.Severity, i.Score, i.Hosts, i.Root.Kind, i.Root.Node, i.Root.Confidence, len(i.Alternatives), len(i.Nodes), len(i.Edges), len(i.Detections), i.Cut)
	for _, s := range i.Story {
		for _, l := range langs {
			fmt.Fprintf(&b, "%3d %s %s  %v\n", s.Number, s.Time.Format("15:04:05.000"), i.Sentence(s, l), s.Behaviours)
		}
	}
	return b.String()
}

func TestSeedScenario(t *testing.T) {
	built := scenarioEvents(t)
	g, incidents := judge(pack(t), built.Events)
	t.Logf("%d events, %d nodes, %d edges, %d incidents", len(built.Events), len(g.Nodes()), len(g.Edges()), len(incidents))
	for _, i := range incidents {
		t.Log("\n" + dump(i, i18n.English, i18n.Japanese))
	}
}
