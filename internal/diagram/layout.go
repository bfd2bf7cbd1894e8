package diagram

import (
	"math"
	"slices"
	"strconv"

	"ashiato/internal/incident"
	"ashiato/internal/provenance"
)

// Distances between boxes.
const (
	margin    = 24
	gap       = 84 // between columns; an arrow's verb and number stand in it
	trunkX    = 15 // in the gap: where a parent's arrows part
	rowGap    = 22
	bandGap   = 40
	minColumn = 205 // least width of a column with its gap
	maxColumn = 330
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
	floor    int  // where its column is free again, below it
	col      int
	band     int
	y        int
	best     [][2]float64 // by column: height inline and wrapped
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
		c := &cell{g: g, box: b, best: make([][2]float64, cols)}
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
	for _, c := range cells {
		c.measure(0, cols)
		c.decide(0)
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
				y += 14 // room for the line that leads here
			}
			var more []*band
			b.bot = placeRows(b.cells, 0, cols, nBand, y, &more)
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
		b.Column, b.Band, b.beside = c.col, c.band, c.beside
		if parent != nil {
			b.Parent = parent.ID
		}
		d.Boxes = append(d.Boxes, b)
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

// wrapCost is what starting a new band costs, in pixels of height.
const wrapCost = bandGap + 30

// measure finds the least height of c's tree with c at each column, in line or
// wrapped after c.
func (c *cell) measure(_, cols int) {
	var walk func(c *cell)
	walk = func(c *cell) {
		own := float64(c.box.H)
		feed := 0.0
		for _, f := range c.feeders {
			walk(f)
			feed += float64(f.box.H + rowGap)
		}
		for _, k := range c.children {
			walk(k)
		}
		for col := cols - 1; col >= 0; col-- {
			inline, wrapped := math.Inf(1), math.Inf(1)
			if len(c.children) == 0 {
				inline = own + feed
			} else {
				if col+1 < cols {
					inline = max(stack(c.children, col+1, cols), own+feed)
				}
				wrapped = own + feed + wrapCost + stack(c.children, 0, cols)
			}
			c.best[col] = [2]float64{inline, wrapped}
		}
	}
	walk(c)
}

// leaf reports whether nothing hangs on c.
func (c *cell) leaf() bool { return len(c.children)+len(c.feeders) == 0 }

// rows splits siblings that start at a column into rows: a tree has rows of its
// own, leaves in a run stand side by side as far as there are columns.
func rows(siblings []*cell, col, cols int) [][]*cell {
	var out [][]*cell
	for i := 0; i < len(siblings); {
		n := 1
		for siblings[i].leaf() && n < cols-col && i+n < len(siblings) && siblings[i+n].leaf() {
			n++
		}
		out = append(out, siblings[i:i+n])
		i += n
	}
	return out
}

// stack is the least height of siblings that start at a column.
func stack(siblings []*cell, col, cols int) float64 {
	total := 0.0
	for i, row := range rows(siblings, col, cols) {
		if i > 0 {
			total += rowGap
		}
		tallest := 0.0
		for _, c := range row {
			tallest = max(tallest, min(c.best[col][0], c.best[col][1]))
		}
		total += tallest
	}
	return total
}

// placeRows puts siblings from a column and y on and returns where they end.
func placeRows(siblings []*cell, col, cols, nBand, y int, more *[]*band) int {
	end := y
	for _, row := range rows(siblings, col, cols) {
		for i, c := range row {
			end = max(end, c.place(col+i, cols, nBand, y, more))
			c.beside = i > 0
		}
		y = end + rowGap
	}
	return end
}

func (c *cell) decide(col int) {
	c.wrap = c.best[col][1] < c.best[col][0]
	next := col + 1
	if c.wrap {
		next = 0
	}
	for _, k := range c.children {
		k.decide(next)
	}
}

// place puts c's tree at a column from y on and returns where it ends.
func (c *cell) place(col, cols, nBand, y int, more *[]*band) int {
	c.col, c.band, c.y = col, nBand, y
	end := y + c.box.H
	c.floor = end
	if col == 0 { // nothing stands before the first column, so feeders go below
		for _, f := range c.feeders {
			f.col, f.band, f.y = 0, nBand, c.floor+rowGap
			c.floor = f.y + f.box.H
		}
		end = c.floor
	}
	if c.wrap {
		*more = append(*more, &band{from: c, cells: c.children})
	} else {
		end = max(end, placeRows(c.children, col+1, cols, nBand, y, more))
	}
	if col == 0 {
		return end
	}
	// Feeders stand in the column before, below whatever is there.
	at := y + 30
	if c.parent != nil && c.parent.band == nBand && c.parent.col == col-1 {
		at = max(at, c.parent.floor+rowGap)
	}
	for _, f := range c.feeders {
		f.col, f.band, f.y = col-1, nBand, at
		at += f.box.H + rowGap
		end = max(end, at-rowGap)
	}
	return end
}
