package incident_test

import (
	"context"
	"os"
	"sort"
	"strings"
	"testing"

	"ashiato/internal/event"
	"ashiato/internal/i18n"
	"ashiato/internal/normalize"
	"ashiato/internal/source/files"
	"sync"
)

func TestExplore(t *testing.T) {
	paths := strings.Split(os.Getenv("EXPLORE"), ",")
	if paths[0] == "" {
		t.Skip("no EXPLORE")
	}
	engine := pack(t)
	for _, p := range paths {
		var mu sync.Mutex
		var events []*event.Event
		_, problems := files.Scan(context.Background(), []string{p}, files.Options{Jobs: 2}, func(b []*event.Event) {
			mu.Lock()
			defer mu.Unlock()
			for _, e := range b {
				normalize.Event(e)
				events = append(events, e)
			}
		})
		g, incidents := judge(engine, events)
		sort.Slice(incidents, func(a, b int) bool { return incidents[a].Score > incidents[b].Score })
		t.Logf("%s: %d events, %d problems, %d nodes, %d edges, %d incidents", p, len(events), len(problems), len(g.Nodes()), len(g.Edges()), len(incidents))
		for n, i := range incidents {
			if n < 5 {
				t.Log("\n" + dump(i, i18n.English))
			} else {
				t.Log(i.Severity, len(i.Detections), len(i.Nodes), i.Title(i18n.English))
			}
		}
	}
}
