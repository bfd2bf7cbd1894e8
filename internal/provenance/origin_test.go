package provenance

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"ashiato/internal/event"
	"ashiato/internal/world"
)

// naiveOrigins is FollowOrigins the slow way: until nothing changes, whatever a
// node came of also reaches what comes of it.
func naiveOrigins(g *Graph) map[NodeID]map[NodeID]time.Time {
	at := map[NodeID]map[NodeID]time.Time{} // node → source → earliest arrival
	for _, n := range g.Nodes() {
		at[n.ID] = map[NodeID]time.Time{}
		if g.originOf(n) != "" {
			at[n.ID][n.ID] = n.First
		}
	}
	for changed := true; changed; {
		changed = false
		for _, e := range g.Edges() {
			if !e.Skeleton || e.Class == ClassC {
				continue
			}
			for source, t := range at[e.From] {
				if t.After(e.Last.Add(arrivalSlack)) {
					continue
				}
				from, to := g.Node(e.From), g.Node(e.To)
				if from.Host != to.Host {
					if t = t.Add(-maxSkew); t.Before(g.Node(source).First.Add(-maxSkew)) {
						t = g.Node(source).First.Add(-maxSkew)
					}
				}
				if e.First.After(t) {
					t = e.First
				}
				if have, ok := at[e.To][source]; !ok || t.Before(have) {
					at[e.To][source] = t
					changed = true
				}
			}
		}
	}
	return at
}

func TestOriginsAreTheNaiveClosure(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := &Graph{
			world: world.New(world.Limits{}), limit: Limits{Nodes: 1000, Edges: 1000},
			nodes: map[NodeID]*Node{}, edges: map[edgeKey]*Edge{}, out: map[NodeID][]*Edge{}, in: map[NodeID][]*Edge{},
		}
		count := rapid.IntRange(1, 14).Draw(t, "nodes")
		for i := range count {
			kind := rapid.SampledFrom([]NodeKind{Process, Process, Process, File, Volume, Logon}).Draw(t, "kind")
			host := rapid.SampledFrom([]string{"A", "B"}).Draw(t, "host")
			zone := rapid.Bool().Draw(t, "zone")
			g.add(id(kind, host, fmt.Sprint(i)), kind, host, t0.Add(time.Duration(rapid.IntRange(0, 600).Draw(t, "first"))*time.Second), nil, func(n *Node) {
				n.Label = fmt.Sprint(i)
				switch {
				case kind == Logon:
					n.Path = "192.0.2.1"
				case kind == File && zone:
					n.Attrs = []event.Field{{Name: "ZoneId", Value: "3"}}
				}
			})
		}
		nodes := g.Nodes()
		for i := range rapid.IntRange(0, 40).Draw(t, "edges") {
			from, to := rapid.SampledFrom(nodes).Draw(t, "from"), rapid.SampledFrom(nodes).Draw(t, "to")
			first := t0.Add(time.Duration(rapid.IntRange(0, 600).Draw(t, "at")) * time.Second)
			e := g.link(fact{
				from: from, to: to, verb: Started, class: Class(rapid.IntRange(0, 2).Draw(t, "class")), skeleton: rapid.Bool().Draw(t, "skeleton"),
				join: "x", t: first, refs: []event.EvidenceRef{{RecordID: uint64(i + 1), File: "f"}},
			})
			if e != nil {
				e.Last = e.First.Add(time.Duration(rapid.IntRange(0, 100).Draw(t, "long")) * time.Second)
			}
		}
		all := map[NodeID]bool{}
		for _, n := range nodes {
			all[n.ID] = true
		}
		g.FollowOrigins(all)
		want := naiveOrigins(g)
		for _, n := range nodes {
			delete(want[n.ID], n.ID)
			if n.OriginCount != len(want[n.ID]) || len(n.Origins) != min(MaxOrigins, n.OriginCount) {
				t.Fatalf("%s has %d origins, %d kept, want %d", n.ID, n.OriginCount, len(n.Origins), len(want[n.ID]))
			}
			if !slices.IsSortedFunc(n.Origins, compareOrigins) {
				t.Fatalf("%s: %v is not sorted", n.ID, n.Origins)
			}
			for _, o := range n.Origins {
				if at, ok := want[n.ID][o.Node]; !ok || !at.Equal(o.Time) {
					t.Fatalf("%s came of %s at %v, want %v (%v)", n.ID, o.Node, o.Time, at, ok)
				}
			}
			// What is left out came later.
			if len(n.Origins) == MaxOrigins {
				earlier := 0
				for source, at := range want[n.ID] {
					if compareOrigins(Origin{Node: source, Time: at}, n.Origins[MaxOrigins-1]) < 0 {
						earlier++
					}
				}
				if earlier != MaxOrigins-1 {
					t.Fatalf("%s keeps other origins than the first", n.ID)
				}
			}
		}
		before := fmt.Sprint(nodes[0].Origins)
		if g.FollowOrigins(all); fmt.Sprint(nodes[0].Origins) != before {
			t.Fatal("following twice differs")
		}
	})
}

func TestOrigins(t *testing.T) {
	var l log
	l.attach("AAA")
	l.start(2, 1, `C:\Windows\System32\wscript.exe`, `wscript "E:\d\a.vbs"`, explorer)
	l.by(11, 2, `C:\Windows\System32\wscript.exe`, "TargetFilename", `C:\x\d.exe`)
	l.start(3, 9, `C:\x\d.exe`, "dropped", svchost)
	l.start(4, 9, `C:\y.exe`, "stranger", svchost)
	g := l.graph()
	all := map[NodeID]bool{}
	for _, n := range g.Nodes() {
		all[n.ID] = true
	}
	g.FollowOrigins(all)
	for _, n := range g.Nodes() {
		if n.Kind != Process {
			continue
		}
		switch n.Attr("CommandLine") {
		case "dropped", `wscript "E:\d\a.vbs"`:
			if len(n.Origins) != 1 || n.Origins[0].Kind != OriginVolume || n.Origins[0].Label != "E:" {
				t.Errorf("%s: %v", n.Label, n.Origins)
			}
		default:
			if len(n.Origins) != 0 {
				t.Errorf("%s: %v", n.Label, n.Origins)
			}
		}
	}
}
