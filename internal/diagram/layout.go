package diagram

import (
	"slices"
	"strconv"

	"ashiato/internal/incident"
	"ashiato/internal/provenance"
)

// Distances between boxes.
const (
	margin    = 20
	gap       = 76 // between columns; an arrow's verb and number stand in it
	trunkX    = 12 // in the gap: where a parent's arrows part
	rowGap    = 22
	bandGap   = 28
	bandLead  = 8   // above a band's first row, for the line that leads there
	minColumn = 240 // least width of a column with its gap
	maxColumn = 330
	laneY     = 9 // of the first line above a row
	laneStep  = 4 // between lines above a row
	maxLane   = 3
)

// cell is a group on its place in the fold.
type cell struct {
	g        *group
	box      *Box
	children []*cell
	feeders  []*cell
	parent   *cell
	wrap     bool // children start a new band
	beside   bool // stands to the right of a sibling, in its row
	lane     int  // which line above its row leads to it, if beside
	branch   bool // has siblings in its row, so that its tree is set off from theirs
	floor    int  // where its column is free again, below it
	col      int
	band     int
	y        int
	plans    []*plan // by the columns it may take; made by planFor
	full     *packing
}

// band is a run of rows across the columns.
type band struct {
	from  *cell // whose children it holds; nil for trees of their own
	cells []*cell
	top   int
	bot   int
}

// New groups and lays out an incident. It does not change it.
func New(inc *incident.Incident, opt Options) *Diagram {
	if opt.Lang == "" {
		opt.Lang = "en"
	}
	if opt.Width == 0 {
		opt.Width = DefaultWidth
	}
	opt.Width = max(opt.Width, MinWidth)
	m := newModel(inc)
	roots := m.fold(m.groups(m.backbone()))

	// The number of columns decides between long rows of narrow boxes and more
	// rows of wide ones; the flattest picture wins, wide boxes by a head start.
	usable := opt.Width - 2*margin
	var best *Diagram
	var bestCost float64
	for cols := max(1, usable/maxColumn); cols <= max(1, usable/minColumn); cols++ {
		d := &Diagram{Width: opt.Width, inc: inc, opt: opt}
		d.layout(m, roots, cols)
		cost := float64(d.Height)*(1+0.03*float64(cols)) + cutNameCost*float64(d.cutNames())
		if best == nil || cost < bestCost {
			best, bestCost = d, cost
		}
	}
	best.connect(m)
	best.route()
	best.footer(m)
	return best
}

// cutNameCost is what a shortened name costs, in pixels of height.
const cutNameCost = 40

// cutNames counts the boxes that cannot show their whole name.
func (d *Diagram) cutNames() int {
	n := 0
	for _, b := range d.Boxes {
		if slices.ContainsFunc(b.text.name, func(g glyph) bool { return g.text == "…" }) {
			n++
		}
	}
	return n
}

func (d *Diagram) layout(m *model, roots []*group, cols int) {
	pitch := (d.Width - 2*margin) / cols
	boxW := pitch - gap
	d.columns, d.pitch = cols, pitch
	several := len(d.inc.Hosts) > 1
	var build func(g *group, host string) *cell
	boxes := map[*group]*Box{}
	build = func(g *group, host string) *cell {
		n := m.nodes[g.nodes[0]]
		b := &Box{
			Kind: g.kind, Node: n.Node, Count: len(g.nodes), Detections: g.dets,
			Severity: severityOf(g.dets), Context: g.context,
			Root: g.kind == Single && g.nodes[0] == m.rootID,
		}
		for _, i := range g.nodes {
			b.Nodes = append(b.Nodes, m.nodes[i].ID)
		}
		slices.Sort(b.Nodes)
		d.describe(m, g, b, boxW, several && n.Host != host)
		boxes[g] = b
		c := &cell{g: g, box: b, plans: make([]*plan, cols+1)}
		for _, k := range g.children {
			cc := build(k, n.Host)
			cc.parent = c
			c.children = append(c.children, cc)
		}
		for _, k := range g.feeders {
			cc := build(k, n.Host)
			c.feeders = append(c.feeders, cc)
		}
		return c
	}
	var cells []*cell
	for _, g := range roots {
		cells = append(cells, build(g, ""))
	}
	// Trees become bands; boxes without any arrow share rows at the end.
	d.header()
	y := d.top
	var loose []*cell
	nBand := 0
	for _, c := range cells {
		if len(c.children)+len(c.feeders) == 0 && len(cells) > 1 && c.g.nodes[0] != m.rootID {
			loose = append(loose, c)
			continue
		}
		queue := []*band{{cells: []*cell{c}}}
		for len(queue) > 0 {
			b := queue[0]
			queue = queue[1:]
			b.top = y
			if b.from != nil {
				y += bandLead
			}
			var more []*band
			b.bot = placeRows(pack(b.cells, cols, cols).rows, 0, cols, nBand, y, &more)
			y = b.bot + bandGap
			queue = append(more, queue...) // depth first: what continues comes next
			d.bands = append(d.bands, *b)
			nBand++
		}
	}
	for i := 0; i < len(loose); i += cols {
		row := loose[i:min(i+cols, len(loose))]
		b := band{cells: row, top: y}
		tallest := 0
		for k, c := range row {
			c.col, c.band, c.y = k, nBand, y
			tallest = max(tallest, c.box.H)
		}
		b.bot = y + tallest
		y = b.bot + rowGap
		d.bands = append(d.bands, b)
		nBand++
	}
	if len(loose) > 0 {
		y += bandGap - rowGap
	}
	d.Height = y

	// Reading order: band by band, parents before children.
	var walk func(c *cell, parent *Box)
	walk = func(c *cell, parent *Box) {
		b := c.box
		b.ID = "n" + strconv.Itoa(len(d.Boxes)+1)
		b.X = margin + c.col*pitch + gap
		b.Y = c.y
		b.Column, b.Band, b.beside, b.lane = c.col, c.band, c.beside, c.lane
		if parent != nil {
			b.Parent = parent.ID
		}
		d.Boxes = append(d.Boxes, b)
		if c.branch {
			d.branches = append(d.branches, c.extent(pitch))
		}
		for _, f := range c.feeders {
			walk(f, nil)
		}
		for _, k := range c.children {
			walk(k, b)
		}
	}
	for _, c := range cells {
		walk(c, nil)
	}
	d.boxOf = map[provenance.NodeID]*Box{}
	for g, b := range boxes {
		for _, i := range g.nodes {
			d.boxOf[m.nodes[i].ID] = b
		}
	}
}

// extent is the ground that c's tree covers in its band, with the gap before it:
// what belongs together stands on one ground, what merely stands side by side
// does not.
func (c *cell) extent(pitch int) rect {
	const edge = 4
	x := margin + c.col*pitch + gap
	r := rect{x - gap + trunkX - edge, c.y - edge, x + c.box.W + edge, c.y + c.box.H + edge}
	include := func(s rect) {
		r = rect{r.x1, min(r.y1, s.y1), max(r.x2, s.x2), max(r.y2, s.y2)}
	}
	for _, f := range c.feeders {
		if f.band == c.band && f.col >= c.col {
			include(f.extent(pitch))
		}
	}
	for _, k := range c.children {
		if k.band == c.band {
			include(k.extent(pitch))
		}
	}
	return r
}
