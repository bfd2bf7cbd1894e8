package provenance

import (
	"container/heap"
	"time"
)

// Follow returns the nodes that come of the starts along those edges that along
// holds for, or backward those that led to them, in order of time: a cause is not
// after its effect. The time of each is the earliest at which it is reached,
// backward the latest.
//
// What is reached is gone on from by time, so that no node is gone on from twice
// within one host, in whatever order its edges are. However often the way crosses
// hosts, clocks are apart by maxSkew once.
func (g *Graph) Follow(starts map[NodeID]time.Time, backward bool, along func(*Edge) bool) map[NodeID]time.Time {
	better := func(a, b time.Time) bool { return a.Before(b) != backward && !a.Equal(b) }
	at := make(map[NodeID]time.Time, len(starts))
	f := &following{backward: backward}
	var bound time.Time
	for n, t := range starts {
		at[n] = t
		f.reached = append(f.reached, reached{n, t})
		if bound.IsZero() || better(t, bound) {
			bound = t
		}
	}
	if backward {
		bound = bound.Add(maxSkew)
	} else {
		bound = bound.Add(-maxSkew)
	}
	heap.Init(f)
	for f.Len() > 0 {
		n := heap.Pop(f).(reached)
		if !n.at.Equal(at[n.node]) {
			continue // it was reached better
		}
		edges := g.Out(n.node)
		if backward {
			edges = g.In(n.node)
		}
		for _, e := range edges {
			if !along(e) {
				continue
			}
			next := e.To
			t, ok := g.Arrives(e, n.at)
			if backward {
				next = e.From
				t, ok = g.Left(e, n.at)
			}
			if !ok {
				continue
			}
			if better(t, bound) {
				t = bound
			}
			if have, seen := at[next]; !seen || better(t, have) {
				at[next] = t
				heap.Push(f, reached{next, t})
			}
		}
	}
	return at
}

type reached struct {
	node NodeID
	at   time.Time
}

// following is a heap of what is to be gone on from, the best on top.
type following struct {
	reached  []reached
	backward bool
}

func (f *following) Len() int { return len(f.reached) }
func (f *following) Less(i, j int) bool {
	a, b := f.reached[i], f.reached[j]
	if c := a.at.Compare(b.at); c != 0 {
		return c < 0 != f.backward
	}
	return a.node < b.node
}
func (f *following) Swap(i, j int) { f.reached[i], f.reached[j] = f.reached[j], f.reached[i] }
func (f *following) Push(x any)    { f.reached = append(f.reached, x.(reached)) }
func (f *following) Pop() any {
	last := len(f.reached) - 1
	x := f.reached[last]
	f.reached = f.reached[:last]
	return x
}
