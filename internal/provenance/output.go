package provenance

import (
	"slices"
	"strings"

	"ashiato/internal/world"
)

// maxAlone is how many files of one folder that one process wrote are drawn each
// for itself. More are drawn as one arrow to the folder, with their count.
const maxAlone = 3

// DrawOutputs draws what a process wrote although nothing came of it: a memory
// dump, what it collected, files that it encrypted. It is context and joins
// nothing. Drawing the same process again adds nothing.
func (g *Graph) DrawOutputs(of NodeID) {
	n := g.nodes[of]
	if n == nil || n.Kind != Process || n.Hub {
		return
	}
	g.indexOutputs()
	byFolder := map[string][]*write{}
	for _, w := range g.outputs[of] {
		key := g.world.PathOn(w.record.Host, w.path)
		dir := world.Dir(key)
		if dir == "" || g.folders[fileKey(w.record.Host, key)] || g.edges[edgeKey{of, g.writeID(w), Wrote}] != nil {
			continue
		}
		k := fileKey(w.record.Host, dir)
		byFolder[k] = append(byFolder[k], w)
	}
	for _, k := range sortedKeys(byFolder) {
		list := byFolder[k]
		key := edgeKey{of, g.folderOf(list[0]), Wrote}
		if len(list) <= maxAlone && g.edges[key] == nil {
			for _, w := range list {
				g.wrote(w, false)
			}
			continue
		}
		if g.edges[key] != nil {
			continue // drawn before
		}
		slices.SortStableFunc(list, func(a, b *write) int { return a.t.Compare(b.t) })
		for _, w := range list {
			folder := g.add(key.to, Folder, w.record.Host, w.t, w.refs, func(n *Node) {
				n.Path = strings.TrimRight(w.path[:len(w.path)-len(world.Base(w.path))], `\/`)
				n.Label = world.Base(n.Path)
			})
			g.link(fact{from: n, to: folder, verb: Wrote, class: ClassA, join: "own-record", t: w.t, refs: w.refs})
		}
	}
}

// folderOf names the folder that a written file lies in.
func (g *Graph) folderOf(w *write) NodeID {
	return id(Folder, w.record.Host, world.Dir(g.world.PathOn(w.record.Host, w.path)))
}

// indexOutputs finds the writings of each process, by path and time.
func (g *Graph) indexOutputs() {
	if g.outputs != nil {
		return
	}
	g.outputs = map[NodeID][]*write{}
	for _, k := range sortedKeys(g.written) {
		for i := range g.written[k] {
			if w := &g.written[k][i]; w.process != nil && !g.hub(w.process) {
				of := processID(w.process)
				g.outputs[of] = append(g.outputs[of], w)
			}
		}
	}
}
