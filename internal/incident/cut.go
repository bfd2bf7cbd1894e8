package incident

import (
	"cmp"
	"math/bits"
	"slices"
	"strings"

	"ashiato/internal/provenance"
)

// Action is one thing to do against an intrusion.
type Action struct {
	// Kind is the stable word for it: "delete-service", "restore-service" (one that
	// was there before), "delete-task", "delete-value", "delete-consumer",
	// "delete-file".
	Kind string
	Node provenance.NodeID // what it is done to
	// Severs are the persistence objects that start nothing harmful any more once
	// it is done, sorted; the node itself if it is one.
	Severs []provenance.NodeID
}

// starters are the kinds of things that start programs by themselves, with the
// action that takes them away.
var starters = map[provenance.NodeKind]string{
	provenance.Service:       "delete-service",
	provenance.Task:          "delete-task",
	provenance.WMI:           "delete-consumer",
	provenance.RegistryValue: "delete-value",
}

// maxExact bounds the shared files of which every choice is tried; beyond it the
// choice is made file by file, the most telling first.
const maxExact = 12

// smallestCut returns the fewest actions after which nothing that was left
// behind starts again: for each thing that starts by itself either the thing is
// taken away or a file of the intrusion that it needs. Where both are as few,
// the thing itself is taken away and the file stays as evidence. left is what
// was left behind.
//
// It says nothing of programs that still run (see Incident.Running): they are to
// be ended first, or they may put back what was taken away.
func smallestCut(nodes []*provenance.Node, edges []*provenance.Edge, left []Persistence) []Action {
	kind := map[provenance.NodeID]*provenance.Node{}
	for _, n := range nodes {
		kind[n.ID] = n
	}
	var triggers []provenance.NodeID
	files := map[provenance.NodeID]bool{}
	for _, p := range left {
		n := kind[p.Node]
		switch {
		case n == nil:
		case starters[n.Kind] != "":
			triggers = append(triggers, p.Node)
		case n.Kind == provenance.File:
			files[p.Node] = true
		}
	}
	slices.Sort(triggers)
	// What a trigger needs: the files registered with it, and those that what it
	// ran executed, interpreted or loaded.
	needs := map[provenance.NodeID][]int{} // file → triggers by number
	number := map[provenance.NodeID]int{}
	for i, t := range triggers {
		number[t] = i
	}
	ran := map[provenance.NodeID][]int{} // process → triggers that ran it
	for _, e := range edges {
		if i, ok := number[e.From]; ok && carries(e) && (e.Verb == provenance.RanAs || e.Verb == provenance.Started) {
			ran[e.To] = append(ran[e.To], i)
		}
	}
	need := func(file provenance.NodeID, i int) {
		if files[file] && !slices.Contains(needs[file], i) {
			needs[file] = append(needs[file], i)
		}
	}
	for _, e := range edges {
		if !carries(e) {
			continue
		}
		if i, ok := number[e.To]; ok && e.Verb == provenance.Registered {
			need(e.From, i)
		}
		switch e.Verb {
		case provenance.Executed, provenance.Interpreted, provenance.Loaded:
			for _, i := range ran[e.To] {
				need(e.From, i)
			}
		}
	}
	// Only a file that several need can save an action.
	var shared []provenance.NodeID
	for f, list := range needs {
		if len(list) > 1 {
			slices.Sort(list)
			shared = append(shared, f)
		}
	}
	slices.SortFunc(shared, func(a, b provenance.NodeID) int {
		return cmp.Or(cmp.Compare(len(needs[b]), len(needs[a])), strings.Compare(string(a), string(b)))
	})
	chosen := cover(shared, needs, len(triggers))

	severed := make([]bool, len(triggers))
	var actions []Action
	for _, f := range chosen {
		a := Action{Kind: "delete-file", Node: f}
		for _, i := range needs[f] {
			severed[i] = true
			a.Severs = append(a.Severs, triggers[i])
		}
		actions = append(actions, a)
	}
	for i, t := range triggers {
		if !severed[i] {
			does := starters[kind[t].Kind]
			if kind[t].Existing {
				does = "restore-service" // it is somebody else's
			}
			actions = append(actions, Action{Kind: does, Node: t, Severs: []provenance.NodeID{t}})
		}
	}
	slices.SortFunc(actions, func(a, b Action) int {
		return cmp.Or(cmp.Compare(len(b.Severs), len(a.Severs)), strings.Compare(a.Kind, b.Kind), strings.Compare(string(a.Node), string(b.Node)))
	})
	return actions
}

// cover chooses the files whose removal, together with the triggers that none of
// them serves, makes the fewest actions; of equals the one with fewest files,
// then the first in order.
func cover(files []provenance.NodeID, needs map[provenance.NodeID][]int, triggers int) []provenance.NodeID {
	if len(files) > maxExact {
		return coverGreedy(files, needs)
	}
	best, least, fewest := 0, triggers, 0
	for choice := 1; choice < 1<<len(files); choice++ {
		hit := map[int]bool{}
		for i, f := range files {
			if choice&(1<<i) != 0 {
				for _, t := range needs[f] {
					hit[t] = true
				}
			}
		}
		n := bits.OnesCount(uint(choice))
		if total := n + triggers - len(hit); total < least || total == least && n < fewest {
			best, least, fewest = choice, total, n
		}
	}
	var chosen []provenance.NodeID
	for i, f := range files {
		if best&(1<<i) != 0 {
			chosen = append(chosen, f)
		}
	}
	return chosen
}

// coverGreedy takes, as long as one saves an action, the file that the most
// triggers need which are still there.
func coverGreedy(files []provenance.NodeID, needs map[provenance.NodeID][]int) []provenance.NodeID {
	hit := map[int]bool{}
	var chosen []provenance.NodeID
	for {
		best, most := provenance.NodeID(""), 1
		for _, f := range files {
			n := 0
			for _, t := range needs[f] {
				if !hit[t] {
					n++
				}
			}
			if n > most {
				best, most = f, n
			}
		}
		if best == "" {
			return chosen
		}
		chosen = append(chosen, best)
		for _, t := range needs[best] {
			hit[t] = true
		}
	}
}
