package incident

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"ashiato/internal/provenance"
)

// TestSmallestCutIsSmallest holds that the cut leaves nothing that starts
// something harmful, and that no smaller one does: against trying everything.
func TestSmallestCutIsSmallest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		triggers := rapid.IntRange(0, 6).Draw(t, "triggers")
		files := rapid.IntRange(0, 5).Draw(t, "files")
		var nodes []*provenance.Node
		var edges []*provenance.Edge
		var left []Persistence
		needs := make([][]int, triggers)
		for f := range files {
			id := provenance.NodeID(fmt.Sprint("file:", f))
			nodes = append(nodes, &provenance.Node{ID: id, Kind: provenance.File})
			left = append(left, Persistence{id, "file"})
		}
		for i := range triggers {
			kind := rapid.SampledFrom([]provenance.NodeKind{provenance.Service, provenance.Task, provenance.RegistryValue}).Draw(t, "kind")
			id := provenance.NodeID(fmt.Sprint("unit:", i))
			nodes = append(nodes, &provenance.Node{ID: id, Kind: kind})
			left = append(left, Persistence{id, "unit"})
			for f := range files {
				file := provenance.NodeID(fmt.Sprint("file:", f))
				switch rapid.IntRange(0, 4).Draw(t, "need") {
				case 0:
					needs[i] = append(needs[i], f)
					edges = append(edges, &provenance.Edge{From: file, To: id, Verb: provenance.Registered, Skeleton: true})
				case 1:
					needs[i] = append(needs[i], f)
					p := provenance.NodeID(fmt.Sprint("process:", i))
					edges = append(
						edges, &provenance.Edge{From: id, To: p, Verb: provenance.RanAs, Skeleton: true},
						&provenance.Edge{From: file, To: p, Verb: provenance.Loaded, Skeleton: true},
					)
				case 2: // a guess is no need
					edges = append(edges, &provenance.Edge{From: file, To: id, Verb: provenance.Registered, Skeleton: true, Class: provenance.ClassC})
				}
			}
		}
		actions := smallestCut(nodes, edges, left)
		severed := map[provenance.NodeID]bool{}
		for _, a := range actions {
			for _, s := range a.Severs {
				if a.Kind != "delete-file" && s != a.Node {
					t.Fatalf("%s of %s severs %s", a.Kind, a.Node, s)
				}
				severed[s] = true
			}
		}
		for i := range triggers {
			if !severed[provenance.NodeID(fmt.Sprint("unit:", i))] {
				t.Fatalf("unit %d still starts: %v", i, actions)
			}
		}
		// The slow twin: any set of files, and every unit that it does not serve.
		least := triggers
		for choice := range 1 << files {
			n := 0
			for f := range files {
				n += choice >> f & 1
			}
			for i := range triggers {
				hit := false
				for _, f := range needs[i] {
					hit = hit || choice>>f&1 == 1
				}
				if !hit {
					n++
				}
			}
			least = min(least, n)
		}
		if len(actions) != least {
			t.Fatalf("%d actions, %d would do: %v", len(actions), least, actions)
		}
	})
}

// TestGreedyCoverSaves holds that with many files the choice, if not the best,
// never makes more actions than there are units.
func TestGreedyCoverSaves(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const triggers = 20
		needs := map[provenance.NodeID][]int{}
		var files []provenance.NodeID
		for f := range maxExact + 3 {
			id := provenance.NodeID(fmt.Sprint("file:", f))
			files = append(files, id)
			needs[id] = rapid.SliceOfNDistinct(rapid.IntRange(0, triggers-1), 2, 6, rapid.ID).Draw(t, "needs")
		}
		chosen := cover(files, needs, triggers)
		hit := map[int]bool{}
		for _, f := range chosen {
			for _, i := range needs[f] {
				hit[i] = true
			}
		}
		if len(chosen) == 0 || len(chosen)+triggers-len(hit) >= triggers {
			t.Fatalf("%d files serve %d of %d", len(chosen), len(hit), triggers)
		}
	})
}
