package provenance

import (
	"fmt"
	"testing"
	"time"

	"ashiato/internal/event"
	"ashiato/internal/world"
)

func bareGraph() *Graph {
	return &Graph{
		world: world.New(world.Limits{}), limit: Limits{Nodes: 100_000, Edges: 100_000},
		nodes: map[NodeID]*Node{}, edges: map[edgeKey]*Edge{}, out: map[NodeID][]*Edge{}, in: map[NodeID][]*Edge{},
	}
}

// TestFollowingGoesOnOnce holds that a node is gone on from about once, although
// arrows are such that each is reached by a better way after every worse one: some
// 30,000 steps where the order of arrows makes 50 million.
func TestFollowingGoesOnOnce(t *testing.T) {
	const n = 10_000
	g := bareGraph()
	at := func(i int) *Node { return g.add(id(Process, "A", fmt.Sprint(i)), Process, "A", t0, nil, nil) }
	link := func(from, to *Node, first, last int) {
		e := g.link(fact{
			from: from, to: to, verb: Injected, class: ClassA, skeleton: true, join: "x", t: t0.Add(time.Duration(first) * time.Minute),
			refs: []event.EvidenceRef{{RecordID: uint64(len(g.edges) + 1), File: "f"}},
		})
		e.Last = t0.Add(time.Duration(last) * time.Minute)
	}
	for i := 1; i <= n; i++ {
		link(at(i), at(0), n-i, 10*n-i)
		if i < n {
			link(at(i+1), at(i), 0, 20*n)
		}
	}
	steps := 0
	got := g.Follow(map[NodeID]time.Time{at(0).ID: t0.Add(30 * n * time.Minute)}, true, func(*Edge) bool { steps++; return true })
	if steps > 4*n {
		t.Errorf("%d steps", steps)
	}
	for i := 1; i <= n; i++ {
		if want := t0.Add((10*n - 1) * time.Minute); !got[at(i).ID].Equal(want) {
			t.Fatalf("%d at %v, want %v", i, got[at(i).ID], want)
		}
	}
}

// TestClocksAreApartOnce holds that a way to and fro between two hosts goes back in
// time once, and not as often as it crosses: else arrows that last for years are
// gone along for hours.
func TestClocksAreApartOnce(t *testing.T) {
	g := bareGraph()
	a := g.add("process:a", Process, "A", t0, nil, nil)
	b := g.add("process:b", Process, "B", t0, nil, nil)
	for i, n := range [][2]*Node{{a, b}, {b, a}} {
		e := g.link(fact{
			from: n[0], to: n[1], verb: Injected, class: ClassA, skeleton: true, join: "x", t: t0.AddDate(-1, 0, 0),
			refs: []event.EvidenceRef{{RecordID: uint64(i + 1), File: "f"}},
		})
		e.Last = t0.AddDate(1, 0, 0)
	}
	for backward, want := range map[bool]time.Time{false: t0.Add(-maxSkew), true: t0.Add(maxSkew)} {
		steps := 0
		got := g.Follow(map[NodeID]time.Time{a.ID: t0}, backward, func(*Edge) bool { steps++; return true })
		if steps > 4 || !got[a.ID].Equal(want) || !got[b.ID].Equal(want) {
			t.Errorf("backward %v: %d steps, %v", backward, steps, got)
		}
	}
}
