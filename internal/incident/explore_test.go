package incident_test

import (
	"os"
	"sort"
	"strings"
	"testing"

	"ashiato/internal/detect"
	"ashiato/internal/event"
	"ashiato/internal/i18n"
	"ashiato/internal/incident"
	"ashiato/internal/provenance"
	"ashiato/internal/world"
)

func TestExplore(t *testing.T) {
	paths := strings.Split(os.Getenv("EXPLORE"), ",")
	if paths[0] == "" {
		t.Skip("no EXPLORE")
	}
	rule := &detect.Rule{ID: "all", Name: "All", Title: "All", Severity: detect.Low}
	for _, p := range paths {
		events := read(t, p)
		var ds []detect.Detection
		b := provenance.NewBuilder(world.New(world.Limits{}))
		for _, e := range events {
			b.Add(e)
			if e.Kind == event.ProcessCreate {
				ds = append(ds, detect.Detection{Rule: rule, Event: e})
			}
		}
		g := b.Build()
		incidents := incident.Build(g, ds, incident.Options{})
		sort.Slice(incidents, func(a, b int) bool { return len(incidents[a].Detections) > len(incidents[b].Detections) })
		t.Logf("%s: %d events, %d nodes, %d edges, %d starts, %d incidents", p, len(events), len(g.Nodes()), len(g.Edges()), len(ds), len(incidents))
		for n, i := range incidents {
			if n < 2 {
				t.Log("\n" + dump(i, i18n.English))
			} else if n < 6 {
				t.Log(i.Severity, len(i.Detections), len(i.Nodes), i.Title(i18n.English))
			}
		}
	}
}
