package evaluation

import (
	"cmp"
	"slices"
	"time"

	"ashiato/internal/detect"
	"ashiato/internal/event"
	"ashiato/internal/provenance"
	"ashiato/internal/world"
)

// Method is a way to join detections.
type Method string

// The methods compared: ours, and three that others use.
const (
	Ours    Method = "ashiato"
	Tree    Method = "process tree"      // connected by process creation
	Window  Method = "host + 1 h window" // on one host, none more than an hour after the one before
	Closure Method = "naive closure"     // connected by anything recorded, brokers and guesses too
	Each    Method = "each for itself"   // every detection its own incident
)

// Methods returns all of them, ours first.
func Methods() []Method { return []Method{Ours, Tree, Window, Closure, Each} }

// found is a detection as methods join it.
type found struct {
	event *event.Event
	node  provenance.NodeID
	ours  int // number of the incident
	rule  *detect.Rule
}

// cluster numbers the groups that a method makes.
func cluster(m Method, g *provenance.Graph, ds []found) []int {
	out := make([]int, len(ds))
	switch m {
	case Ours:
		for i, d := range ds {
			out[i] = d.ours
		}
	case Each:
		for i := range ds {
			out[i] = i
		}
	case Window:
		order := make([]int, len(ds))
		for i := range order {
			order[i] = i
		}
		slices.SortStableFunc(order, func(a, b int) int {
			return cmp.Or(cmp.Compare(world.HostKey(ds[a].event.Host), world.HostKey(ds[b].event.Host)), ds[a].event.Time.Compare(ds[b].event.Time))
		})
		number := -1
		for k, i := range order {
			if k == 0 || world.HostKey(ds[i].event.Host) != world.HostKey(ds[order[k-1]].event.Host) ||
				ds[i].event.Time.Sub(ds[order[k-1]].event.Time) > time.Hour {
				number++
			}
			out[i] = number
		}
	case Tree:
		components(g, ds, out, func(e *provenance.Edge) bool {
			return (e.Verb == provenance.Started || e.Verb == provenance.Elevated) && e.Class <= provenance.ClassB &&
				process(g, e.From) && process(g, e.To) && !g.Node(e.From).Hub && !g.Node(e.To).Hub
		})
	case Closure:
		components(g, ds, out, func(e *provenance.Edge) bool {
			return g.Node(e.From).Kind != provenance.Host && g.Node(e.To).Kind != provenance.Host
		})
	}
	return out
}

func process(g *provenance.Graph, id provenance.NodeID) bool {
	n := g.Node(id)
	return n != nil && n.Kind == provenance.Process
}

// components numbers the connected components of the detections' nodes.
func components(g *provenance.Graph, ds []found, out []int, joins func(*provenance.Edge) bool) {
	number := map[provenance.NodeID]int{}
	next := 0
	for i, d := range ds {
		n, seen := number[d.node]
		if !seen {
			n = next
			next++
			number[d.node] = n
			queue := []provenance.NodeID{d.node}
			for len(queue) > 0 {
				at := queue[0]
				queue = queue[1:]
				for _, list := range [][]*provenance.Edge{g.Out(at), g.In(at)} {
					for _, e := range list {
						if !joins(e) {
							continue
						}
						for _, to := range []provenance.NodeID{e.From, e.To} {
							if _, seen := number[to]; !seen {
								number[to] = n
								queue = append(queue, to)
							}
						}
					}
				}
			}
		}
		out[i] = n
	}
}

// Joined counts how a method joined the detections of a case.
type Joined struct {
	Detections int // all of them
	Groups     int // incidents made of them
	// True is how many detections are of an intrusion; Precision and Recall are
	// their sums of B-cubed precision (of what is in its group, which part is of
	// the same intrusion) and recall (which part of the intrusion's detections is
	// in its group); see Bagga and Baldwin, 1998.
	True              int
	Precision, Recall float64
	// TrueGroups are the groups that hold any of an intrusion, OverMerged those
	// that hold two intrusions.
	TrueGroups, OverMerged int
}

// Purity and Completeness are the means of B-cubed precision and recall, 0 if
// there was nothing to join.
func (j *Joined) Purity() float64 { return ratio(j.Precision, float64(j.True)) }

// Completeness is described at Purity.
func (j *Joined) Completeness() float64 { return ratio(j.Recall, float64(j.True)) }

// Reduction is how many detections there are to one group.
func (j *Joined) Reduction() float64 { return ratio(float64(j.Detections), float64(j.Groups)) }

func ratio(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}

func (j *Joined) add(o Joined) {
	j.Detections += o.Detections
	j.Groups += o.Groups
	j.True += o.True
	j.Precision += o.Precision
	j.Recall += o.Recall
	j.TrueGroups += o.TrueGroups
	j.OverMerged += o.OverMerged
}

// count compares groups with the truth: truth[i] is the intrusion of detection
// i, -1 for none.
func count(groups, truth []int) Joined {
	j := Joined{Detections: len(groups)}
	size := map[int]int{}
	share := map[[2]int]int{} // group and intrusion
	whole := map[int]int{}
	for i, g := range groups {
		size[g]++
		if truth[i] >= 0 {
			share[[2]int{g, truth[i]}]++
			whole[truth[i]]++
		}
	}
	j.Groups = len(size)
	for i, g := range groups {
		t := truth[i]
		if t < 0 {
			continue
		}
		both := float64(share[[2]int{g, t}])
		j.True++
		j.Precision += both / float64(size[g])
		j.Recall += both / float64(whole[t])
	}
	held := map[int]int{}
	for k := range share {
		held[k[0]]++
	}
	for _, n := range held {
		j.TrueGroups++
		if n > 1 {
			j.OverMerged++
		}
	}
	return j
}
