package diagram

import (
	"cmp"
	"container/heap"
	"slices"
	"strings"
	"time"

	"ashiato/internal/detect"
	"ashiato/internal/incident"
	"ashiato/internal/provenance"
)

// model is the incident in canonical order: nodes by id, edges as
// Incident.Edges is specified to be ordered. All indexes below are into it, so
// nothing depends on the order the incident came in.
type model struct {
	inc     *incident.Incident
	nodes   []*modelNode
	edges   []*modelEdge
	byID    map[provenance.NodeID]int
	rootID  int // index of the root cause, -1 if it is not among the nodes
	orphans int // edges with an end outside the incident, which cannot be drawn
}

type modelNode struct {
	*provenance.Node
	dets        []incident.Placed
	step        int // lowest step of an edge at it, 0 for none
	onRootPath  bool
	persistence bool
	context     bool
	in, out     []int // edges, ascending

	reached  bool
	parent   int // node index in the backbone, -1 for a root
	via      int // edge that the backbone hangs it on
	feeds    int // node index it is drawn in front of, -1 if none
	children []int
	feeders  []int
}

type modelEdge struct {
	*provenance.Edge
	from, to int
	step     int
	index    int // rank among all the incident's edges
}

func newModel(inc *incident.Incident) *model {
	m := &model{inc: inc, byID: make(map[provenance.NodeID]int, len(inc.Nodes)), rootID: -1}
	nodes := slices.Clone(inc.Nodes)
	slices.SortFunc(nodes, func(a, b *provenance.Node) int { return strings.Compare(string(a.ID), string(b.ID)) })
	for _, n := range nodes {
		if _, twice := m.byID[n.ID]; twice {
			continue
		}
		m.byID[n.ID] = len(m.nodes)
		m.nodes = append(m.nodes, &modelNode{Node: n, parent: -1, via: -1, feeds: -1})
	}
	order := CanonicalEdges(inc)
	for rank, i := range order {
		e := inc.Edges[i]
		from, okFrom := m.byID[e.From]
		to, okTo := m.byID[e.To]
		if !okFrom || !okTo {
			m.orphans++
			continue
		}
		me := &modelEdge{Edge: e, from: from, to: to, index: rank}
		if i < len(inc.EdgeSteps) {
			me.step = inc.EdgeSteps[i]
		}
		k := len(m.edges)
		m.edges = append(m.edges, me)
		m.nodes[from].out = append(m.nodes[from].out, k)
		m.nodes[to].in = append(m.nodes[to].in, k)
		for _, n := range []int{from, to} {
			if s := m.nodes[n].step; me.step > 0 && (s == 0 || me.step < s) {
				m.nodes[n].step = me.step
			}
		}
	}
	for _, p := range inc.Detections {
		if i, ok := m.byID[p.Node]; ok {
			m.nodes[i].dets = append(m.nodes[i].dets, p)
		}
	}
	for _, p := range inc.Persistence {
		if i, ok := m.byID[p.Node]; ok {
			m.nodes[i].persistence = true
		}
	}
	for _, id := range inc.Root.Path {
		if i, ok := m.byID[id]; ok {
			m.nodes[i].onRootPath = true
		}
	}
	if i, ok := m.byID[inc.Root.Node]; ok {
		m.rootID = i
		m.nodes[i].onRootPath = true
	}
	for _, n := range m.nodes {
		slices.SortStableFunc(n.dets, comparePlaced)
		n.context = n.step == 0 && len(n.dets) == 0 && !n.onRootPath && !n.persistence && n.Kind != provenance.Gap
	}
	return m
}

// CanonicalEdges returns the indexes of inc.Edges in the order Incident.Edges
// is specified to have, which they have already unless inc was made by hand.
func CanonicalEdges(inc *incident.Incident) []int {
	order := make([]int, len(inc.Edges))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, j int) int {
		a, b := inc.Edges[i], inc.Edges[j]
		return cmp.Or(
			a.First.Compare(b.First),
			cmp.Compare(a.From, b.From),
			cmp.Compare(a.To, b.To),
			cmp.Compare(a.Verb, b.Verb),
			cmp.Compare(a.Class, b.Class),
			cmp.Compare(a.Join, b.Join),
			a.Last.Compare(b.Last),
			cmp.Compare(a.Count, b.Count),
			slices.CompareFunc(a.Evidence, b.Evidence, func(x, y refOf) int { return x.Compare(y) }),
		)
	})
	return order
}

// comparePlaced orders detections most severe first, then by event and rule.
func comparePlaced(a, b incident.Placed) int {
	if a.Rule == nil || b.Rule == nil || a.Event == nil || b.Event == nil {
		return 0
	}
	return cmp.Or(
		cmp.Compare(b.Rule.Severity, a.Rule.Severity),
		a.Event.Time.Compare(b.Event.Time),
		a.Event.Ref.Compare(b.Event.Ref),
		strings.Compare(a.Rule.ID, b.Rule.ID),
	)
}

// verbRank breaks ties among the edges that reach a node at the same time: who
// started a process says more than which file it is the image of.
func verbRank(v provenance.Verb) int {
	switch v {
	case provenance.Elevated, provenance.Started, provenance.RanAs:
		return 0
	case provenance.Executed, provenance.Interpreted:
		return 2
	case provenance.Loaded, provenance.Contains:
		return 3
	case provenance.Related:
		return 4
	}
	return 1
}

// stage orders edges by how well they carry cause: the backbone takes skeleton
// edges first, then guesses, then context.
func stage(e *modelEdge) int {
	switch {
	case e.Skeleton && e.Class != provenance.ClassC:
		return 0
	case e.Verb != provenance.Related && e.Class != provenance.ClassC:
		return 1
	}
	return 2
}

// frontier is a heap of edges that lead out of what is reached.
type frontier struct {
	m     *model
	edges []int
}

func (f *frontier) Len() int { return len(f.edges) }
func (f *frontier) Less(i, j int) bool {
	a, b := f.m.edges[f.edges[i]], f.m.edges[f.edges[j]]
	return cmp.Or(
		cmp.Compare(stage(a), stage(b)),
		a.First.Compare(b.First),
		cmp.Compare(verbRank(a.Verb), verbRank(b.Verb)),
		cmp.Compare(a.index, b.index),
	) < 0
}
func (f *frontier) Swap(i, j int) { f.edges[i], f.edges[j] = f.edges[j], f.edges[i] }
func (f *frontier) Push(x any)    { f.edges = append(f.edges, x.(int)) }
func (f *frontier) Pop() any {
	last := f.edges[len(f.edges)-1]
	f.edges = f.edges[:len(f.edges)-1]
	return last
}

// grow builds the backbone tree from a root over the edges that lead forward,
// the earliest first, and returns how many nodes it reached.
func (m *model) grow(root int) int {
	f := &frontier{m: m}
	reach := func(n int) {
		m.nodes[n].reached = true
		for _, e := range m.nodes[n].out {
			if !m.nodes[m.edges[e].to].reached {
				heap.Push(f, e)
			}
		}
	}
	reach(root)
	count := 1
	for f.Len() > 0 {
		k := heap.Pop(f).(int)
		e := m.edges[k]
		to := m.nodes[e.to]
		if to.reached {
			continue
		}
		to.parent, to.via = e.from, k
		m.nodes[e.from].children = append(m.nodes[e.from].children, e.to)
		reach(e.to)
		count++
	}
	return count
}

// backbone hangs every node on a tree and returns the roots, the root cause
// first. A cause without a cause of its own, and with no other effect, is drawn
// in front of what it caused: a feeder.
func (m *model) backbone() []int {
	var roots []int
	if m.rootID >= 0 {
		m.grow(m.rootID)
		roots = append(roots, m.rootID)
	}
	// Sources first, then by time: a node of which every cause is reached, or
	// that has none, starts a tree; a cycle is opened at its earliest node.
	rest := make([]int, 0, len(m.nodes))
	for i, n := range m.nodes {
		if !n.reached {
			rest = append(rest, i)
		}
	}
	slices.SortFunc(rest, func(a, b int) int {
		return cmp.Or(m.nodes[a].First.Compare(m.nodes[b].First), cmp.Compare(a, b))
	})
	for _, sourcesOnly := range []bool{true, false} {
		for _, i := range rest {
			n := m.nodes[i]
			if n.reached || sourcesOnly && slices.ContainsFunc(n.in, func(e int) bool {
				return m.edges[e].from != i && !m.nodes[m.edges[e].from].reached
			}) {
				continue
			}
			if m.grow(i) == 1 && i != m.rootID {
				if target := m.feederTarget(i); target >= 0 {
					n.feeds = target
					m.nodes[target].feeders = append(m.nodes[target].feeders, i)
					continue
				}
			}
			roots = append(roots, i)
		}
	}
	for _, n := range m.nodes {
		byTime := func(a, b int) int {
			return cmp.Or(m.causedAt(a).Compare(m.causedAt(b)), cmp.Compare(m.nodes[a].step, m.nodes[b].step), cmp.Compare(a, b))
		}
		slices.SortFunc(n.children, byTime)
		slices.SortFunc(n.feeders, byTime)
	}
	return roots
}

// causedAt is when a node was first seen as part of the tree.
func (m *model) causedAt(i int) time.Time {
	if n := m.nodes[i]; n.via >= 0 {
		return m.edges[n.via].First
	}
	return m.nodes[i].First
}

// feederTarget is the first thing in time that node i, a tree of its own,
// caused; -1 if it is itself fed or caused nothing.
func (m *model) feederTarget(i int) int {
	for _, k := range m.nodes[i].out { // ascending, so earliest first
		if to := m.edges[k].to; to != i && m.nodes[to].feeds < 0 {
			return to
		}
	}
	return -1
}

// group is a box in the making: one node, or several that are drawn as one.
type group struct {
	kind     BoxKind
	nodes    []int // the drawn or first one first
	parent   *group
	target   *group // what a feeder stands in front of
	children []*group
	feeders  []*group
	dets     []incident.Placed
	// base are the rules that every member of a group of detected nodes has,
	// the most severe and first one in front. Its title is the group's.
	base    []*detect.Rule
	context bool
}

// groups turns the backbone into boxes: leaves that repeat become one, and so do
// processes alike with their products.
func (m *model) groups(roots []int) []*group {
	var build func(i int) *group
	attach := func(g *group, members []int, add func(*group)) {
		rest := members
		if g != nil {
			rest = m.twins(members, func(actors, products []int) {
				a, p := m.grouped(actors, Group), m.grouped(products, Group)
				p.parent, a.children = a, []*group{p}
				add(a)
			})
		}
		rest = m.repeats(g, rest, func(ms []int, kind BoxKind) { add(m.grouped(ms, kind)) })
		for _, c := range rest {
			add(build(c))
		}
	}
	build = func(i int) *group {
		n := m.nodes[i]
		g := &group{kind: Single, nodes: []int{i}, dets: n.dets, context: n.context}
		attach(g, n.children, func(c *group) { c.parent = g; g.children = append(g.children, c) })
		attach(g, n.feeders, func(c *group) { c.target = g; g.feeders = append(g.feeders, c) })
		m.sortGroups(g.children)
		m.sortGroups(g.feeders)
		return g
	}
	var all []*group
	attach(nil, roots, func(c *group) { all = append(all, c) })
	rank := func(g *group) int {
		switch {
		case g.nodes[0] == m.rootID:
			return 0
		case len(g.children)+len(g.feeders) > 0:
			return 1
		}
		return 2
	}
	slices.SortStableFunc(all, func(a, b *group) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), m.compareGroups(a, b))
	})
	return all
}

func (m *model) grouped(members []int, kind BoxKind) *group {
	g := &group{kind: kind, nodes: members, context: true}
	for k, i := range members {
		n := m.nodes[i]
		g.context = g.context && n.context
		g.dets = append(g.dets, n.dets...)
		rules := rulesOf(n.dets)
		if k == 0 {
			g.base = rules
		}
		g.base = slices.DeleteFunc(g.base, func(r *detect.Rule) bool {
			return !slices.ContainsFunc(rules, func(x *detect.Rule) bool { return x.ID == r.ID })
		})
	}
	slices.SortStableFunc(g.dets, comparePlaced)
	return g
}

// rulesOf are the rules of detections, each once, in their order.
func rulesOf(ds []incident.Placed) []*detect.Rule {
	var out []*detect.Rule
	for _, p := range ds {
		if p.Rule != nil && !slices.ContainsFunc(out, func(r *detect.Rule) bool { return r.ID == p.Rule.ID }) {
			out = append(out, p.Rule)
		}
	}
	return out
}

// ruleSet is the set of rules that a node was detected by, as one text.
func (m *model) ruleSet(i int) string {
	var ids []string
	for _, r := range rulesOf(m.nodes[i].dets) {
		ids = append(ids, r.ID)
	}
	slices.Sort(ids)
	return strings.Join(ids, "\x00")
}

// mustStand reports whether node i needs a box of its own.
func (m *model) mustStand(i int) bool { return i == m.rootID || m.nodes[i].onRootPath }

func (m *model) compareGroups(a, b *group) int { return m.compareNodes(a.nodes[0], b.nodes[0]) }

// compareNodes orders siblings by time.
func (m *model) compareNodes(x, y int) int {
	return cmp.Or(m.causedAt(x).Compare(m.causedAt(y)), cmp.Compare(m.nodes[x].step, m.nodes[y].step), cmp.Compare(x, y))
}

func (m *model) sortGroups(gs []*group) { slices.SortFunc(gs, m.compareGroups) }

// Least sizes of a group.
const (
	minRepeats = 3
	minContext = 2 // of any context
	minAlike   = 4 // of context that is alike, apart from other context
)

// repeats hands groups of alike leaves among members to add, and returns the
// members that stand alone, as do the root cause, what leads from it to the
// first detection, and everything that has effects of its own. Leaves with
// detections are alike only if the detection that their box is titled with is on
// all of them and none of them has a more severe one.
func (m *model) repeats(parent *group, members []int, add func([]int, BoxKind)) []int {
	byKey := map[string][]int{}
	var keys []string
	alone := map[int]bool{}
	for _, i := range members {
		n := m.nodes[i]
		detected := len(n.dets) > 0
		if detected && m.mustStand(i) || i == m.rootID || len(n.children)+len(n.feeders) > 0 || parent == nil && len(n.in)+len(n.out) > 0 {
			alone[i] = true
			continue
		}
		alone[i] = detected // no context
		k := m.key(i)
		if byKey[k] == nil {
			keys = append(keys, k)
		}
		byKey[k] = append(byKey[k], i)
	}
	taken := map[int]bool{}
	group := func(ms []int) {
		if len(ms) < minRepeats || m.nodes[ms[0]].context && len(ms) < minAlike {
			return
		}
		add(ms, Group)
		for _, i := range ms {
			taken[i] = true
		}
	}
	for _, k := range keys {
		if len(m.nodes[byKey[k][0]].dets) > 0 { // the key tells detected ones apart
			m.alike(byKey[k], group)
		} else {
			group(byKey[k])
		}
	}
	var context, rest []int
	for _, i := range members {
		switch {
		case taken[i]:
		case !alone[i] && m.nodes[i].context:
			context = append(context, i)
		default:
			rest = append(rest, i)
		}
	}
	if len(context) >= minContext {
		add(context, Context)
	} else {
		rest = append(rest, context...)
	}
	return rest
}

// alike hands over groups of detected leaves of one key: those with the same
// rules, and those that have the same rules and further ones of no higher
// severity. Every leaf is in one group at the most.
func (m *model) alike(members []int, add func([]int)) {
	bySet := map[string][]int{}
	for _, i := range members {
		bySet[m.ruleSet(i)] = append(bySet[m.ruleSet(i)], i)
	}
	sets := slices.Sorted(mapsKeys(bySet))
	slices.SortStableFunc(sets, func(a, b string) int { // the smallest first
		return cmp.Compare(strings.Count(a, "\x00"), strings.Count(b, "\x00"))
	})
	taken := map[string]bool{}
	for _, base := range sets {
		if taken[base] {
			continue
		}
		want := rulesOf(m.nodes[bySet[base][0]].dets)
		severity := severityOf(m.nodes[bySet[base][0]].dets)
		var joined []string
		var ms []int
		for _, other := range sets {
			has := rulesOf(m.nodes[bySet[other][0]].dets)
			if taken[other] || severityOf(m.nodes[bySet[other][0]].dets) != severity || slices.ContainsFunc(want, func(r *detect.Rule) bool {
				return !slices.ContainsFunc(has, func(x *detect.Rule) bool { return x.ID == r.ID })
			}) {
				continue
			}
			joined = append(joined, other)
			ms = append(ms, bySet[other]...)
		}
		if len(ms) < minRepeats {
			continue
		}
		for _, s := range joined {
			taken[s] = true
		}
		slices.SortFunc(ms, m.compareNodes)
		add(ms)
	}
}

// twins hands over processes among members that are alike and each had one
// product, with those products, and returns the other members. Alike are the
// image, the integrity level, the rules of both and everything they are linked
// with; a process that runs again with other rights is never alike.
func (m *model) twins(members []int, add func(actors, products []int)) []int {
	byKey := map[string][]int{}
	var keys []string
	for _, i := range members {
		n := m.nodes[i]
		if n.Kind != provenance.Process || m.mustStand(i) || len(n.children) != 1 || len(n.feeders) > 0 {
			continue
		}
		p := n.children[0]
		if q := m.nodes[p]; m.mustStand(p) || q.Kind == provenance.Process || len(q.children)+len(q.feeders) > 0 {
			continue
		}
		k := strings.Join([]string{
			m.key(i, p), n.Attr("IntegrityLevel"), strings.ToLower(n.Path), m.ruleSet(i), m.key(p, i), m.ruleSet(p),
		}, "\x01")
		if byKey[k] == nil {
			keys = append(keys, k)
		}
		byKey[k] = append(byKey[k], i)
	}
	taken := map[int]bool{}
	for _, k := range keys {
		if len(byKey[k]) < 2 {
			continue
		}
		var products []int
		for _, i := range byKey[k] {
			taken[i] = true
			products = append(products, m.nodes[i].children[0])
		}
		add(byKey[k], products)
	}
	return slices.DeleteFunc(slices.Clone(members), func(i int) bool { return taken[i] })
}

// key says which leaves of one parent are alike: same verb, kind and folder, and
// the same further neighbours, so that a file which is used later keeps a box
// and an arrow of its own.
func (m *model) key(i int, partners ...int) string {
	n := m.nodes[i]
	var b strings.Builder
	b.WriteString(n.Host)
	b.WriteByte(0)
	b.WriteString(n.Kind.String())
	b.WriteByte(0)
	b.WriteString(strings.ToLower(folderOf(n.Node)))
	if n.context {
		b.WriteString("\x00context")
	}
	if n.persistence {
		b.WriteString("\x00persistence")
	}
	if len(n.dets) > 0 {
		b.WriteString("\x00detected")
	}
	owner := n.parent
	if n.feeds >= 0 {
		owner = n.feeds
	}
	if n.via >= 0 {
		b.WriteByte(0)
		b.WriteString(m.edges[n.via].Verb.String())
	}
	others := map[string]bool{}
	for _, ks := range [][]int{n.in, n.out} {
		for _, k := range ks {
			e := m.edges[k]
			other := e.from + e.to - i
			switch {
			case other == owner && n.via < 0:
				others[e.Verb.String()] = true
			case other != owner && e.Skeleton && !slices.Contains(partners, other):
				others[string(m.nodes[other].ID)] = true
			}
		}
	}
	for _, o := range slices.Sorted(mapsKeys(others)) {
		b.WriteByte(0)
		b.WriteString(o)
	}
	return b.String()
}

func mapsKeys[V any](set map[string]V) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for k := range set {
			if !yield(k) {
				return
			}
		}
	}
}

// folderOf is the part of a path before its last separator, or the whole of it
// for things that are not in folders.
func folderOf(n *provenance.Node) string {
	switch n.Kind {
	case provenance.Process, provenance.File, provenance.Folder, provenance.RegistryValue:
		if i := strings.LastIndexAny(n.Path, `\/`); i >= 0 {
			return n.Path[:i]
		}
	}
	return ""
}

// importance orders groups by what must be seen first.
func (m *model) importance(g *group) [5]int64 {
	n := m.nodes[g.nodes[0]]
	var v [5]int64
	switch {
	case n.onRootPath && g.kind == Single:
		v[0] = 0
	case len(g.dets) > 0:
		v[0] = 1
		if severityOf(g.dets) < detect.High {
			v[0] = 2
		}
		v[1] = -int64(severityOf(g.dets))
	case n.Kind == provenance.Gap:
		v[0] = 3
	case n.step > 0 || n.persistence:
		v[0] = 4
	case !g.context:
		v[0] = 5
	default:
		v[0] = 6
	}
	v[2] = int64(n.step)
	v[3] = m.causedAt(g.nodes[0]).UnixNano()
	v[4] = int64(g.nodes[0])
	return v
}

// fold replaces what is beyond the bound by counted boxes, the least important
// first. It returns the remaining roots.
func (m *model) fold(roots []*group) []*group {
	var all []*group
	var walk func(g *group)
	walk = func(g *group) {
		all = append(all, g)
		for _, c := range g.children {
			walk(c)
		}
		for _, c := range g.feeders {
			walk(c)
		}
	}
	for _, r := range roots {
		walk(r)
	}
	if len(all) <= FirstSight {
		return roots
	}
	byImportance := slices.Clone(all)
	keys := make(map[*group][5]int64, len(all))
	for _, g := range all {
		keys[g] = m.importance(g)
	}
	slices.SortFunc(byImportance, func(a, b *group) int {
		x, y := keys[a], keys[b]
		return slices.Compare(x[:], y[:])
	})
	// choose keeps the most important groups with what leads to them: detected
	// ones up to detected boxes, others up to others boxes; it counts the
	// folded boxes that this leaves.
	choose := func(detected, others int) (map[*group]bool, int) {
		kept := map[*group]bool{}
		for _, g := range byImportance {
			limit := others
			if k := keys[g][0]; k <= 1 {
				limit = detected
			}
			need := 0
			for a := g; a != nil && !kept[a] && len(kept)+need <= limit; a = above(a) {
				need++
			}
			if len(kept)+need > limit {
				continue
			}
			for a := g; a != nil && !kept[a]; a = above(a) {
				kept[a] = true
			}
		}
		folds := map[*group]bool{}
		for _, g := range all {
			if up := above(g); !kept[g] && (up == nil || kept[up]) {
				folds[up] = true
			}
		}
		return kept, len(kept) + len(folds)
	}
	detected, others := MaxBoxes, FirstSight
	kept, total := choose(detected, others)
	for total > FirstSight && others > 0 {
		others--
		kept, total = choose(detected, others)
	}
	for total > MaxBoxes && detected > 0 {
		detected -= 5
		kept, total = choose(detected, 0)
	}
	cut := func(gs []*group) []*group {
		var keep, drop []*group
		for _, g := range gs {
			if kept[g] {
				keep = append(keep, g)
			} else {
				drop = append(drop, g)
			}
		}
		if len(drop) == 1 && len(drop[0].children)+len(drop[0].feeders) == 0 {
			return gs // a box that says "one more" would be no smaller
		}
		if len(drop) > 0 {
			keep = append(keep, m.foldedBox(drop))
		}
		return keep
	}
	var apply func(g *group)
	apply = func(g *group) {
		if !kept[g] {
			return
		}
		// Children and feeders share one folded box, so that the count of boxes
		// holds.
		dropFeeders := []*group{}
		g.feeders = slices.DeleteFunc(g.feeders, func(f *group) bool {
			if !kept[f] {
				dropFeeders = append(dropFeeders, f)
			}
			return !kept[f]
		})
		g.children = cut(append(g.children, dropFeeders...))
		for _, c := range g.children {
			c.parent, c.target = g, nil
			apply(c)
		}
		for _, c := range g.feeders {
			apply(c)
		}
	}
	out := cut(roots)
	for _, r := range out {
		apply(r)
		m.shorten(r, keys)
	}
	return out
}

// shorten replaces runs of boxes that are there only because they lead to
// something by one counted box.
func (m *model) shorten(g *group, keys map[*group][5]int64) {
	next := func(c *group) *group { // the one thing c leads to, if c is such a box
		if k, ok := keys[c]; !ok || k[0] < 4 || c.kind != Single || len(c.feeders) > 0 {
			return nil
		}
		var only *group
		for _, k := range c.children {
			switch {
			case k.kind == Folded:
			case only != nil:
				return nil
			default:
				only = k
			}
		}
		return only
	}
	for i, c := range g.children {
		var run []*group
		end := c
		for n := next(end); n != nil; n = next(end) {
			run = append(run, end)
			end = n
		}
		if len(run) < 2 {
			m.shorten(c, keys)
			continue
		}
		for k, r := range run {
			after := end
			if k+1 < len(run) {
				after = run[k+1]
			}
			r.children = slices.DeleteFunc(r.children, func(x *group) bool { return x == after })
		}
		via := m.foldedBox(run)
		via.parent, via.children = g, []*group{end}
		end.parent = via
		g.children[i] = via
		m.shorten(end, keys)
	}
	for _, f := range g.feeders {
		m.shorten(f, keys)
	}
}

func above(g *group) *group {
	if g.parent != nil {
		return g.parent
	}
	return g.target
}

// foldedBox joins whole subtrees into one counted box.
func (m *model) foldedBox(drop []*group) *group {
	g := &group{kind: Folded, context: true}
	var walk func(d *group)
	walk = func(d *group) {
		g.nodes = append(g.nodes, d.nodes...)
		g.dets = append(g.dets, d.dets...)
		g.context = g.context && d.context
		for _, c := range d.children {
			walk(c)
		}
		for _, c := range d.feeders {
			walk(c)
		}
	}
	for _, d := range drop {
		walk(d)
	}
	slices.SortStableFunc(g.dets, comparePlaced)
	return g
}
