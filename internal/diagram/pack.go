package diagram

// How the tree is folded into rows. Siblings stand side by side in one row as far
// as their trees fit into the columns, in order of time: left to right, then
// down. What a tree may take is decided by the least height in all.

// wrapCost is what starting a new band costs, in pixels of height.
const wrapCost = bandGap + bandLead + 20

// size is the height that something takes: in its row, and in bands of its own
// that go on from it further down.
type size struct{ row, bands int }

func (s size) total() int { return s.row + s.bands }

// slot is a tree in a row, with the columns it may take.
type slot struct {
	c     *cell
	width int
}

// packing are siblings in rows.
type packing struct {
	rows [][]slot
	size size
}

// plan is how a tree is best drawn in so many columns.
type plan struct {
	wrap bool // the children start a new band
	rows [][]slot
	size size
}

// planFor is how c's tree is best drawn in width columns of all cols.
func (c *cell) planFor(width, cols int) *plan {
	if p := c.plans[width]; p != nil {
		return p
	}
	own := c.box.H
	for _, f := range c.feeders {
		own += f.box.H + rowGap
	}
	p := &plan{size: size{row: own}}
	if len(c.children) > 0 {
		if c.full == nil {
			c.full = pack(c.children, cols, cols)
		}
		p.wrap, p.rows = true, c.full.rows
		p.size.bands = wrapCost + c.full.size.total()
		if width > 1 {
			inline := pack(c.children, width-1, cols)
			s := size{max(own, inline.size.row), inline.size.bands}
			if s.total() <= p.size.total() {
				*p = plan{rows: inline.rows, size: s}
			}
		}
	}
	c.plans[width] = p
	return p
}

// pack splits siblings, in their order, into rows of width columns with the
// least height in all.
func pack(siblings []*cell, width, cols int) *packing {
	n := len(siblings)
	// best[i] is the least size of the first i siblings; the row that ends it
	// starts at from[i].
	best := make([]size, n+1)
	from := make([]int, n+1)
	row := make([][]slot, n+1)
	for i := 1; i <= n; i++ {
		found := false
		for j := i - 1; j >= max(0, i-width); j-- {
			slots, s := share(siblings[j:i], width, cols)
			s.row += best[j].row
			s.bands += best[j].bands
			if j > 0 {
				s.row += rowGap
			}
			if !found || s.total() < best[i].total() {
				best[i], from[i], row[i], found = s, j, slots, true
			}
		}
	}
	p := &packing{size: best[n]}
	for i := n; i > 0; i = from[i] {
		p.rows = append(p.rows, row[i])
	}
	for i, j := 0, len(p.rows)-1; i < j; i, j = i+1, j-1 {
		p.rows[i], p.rows[j] = p.rows[j], p.rows[i]
	}
	return p
}

// share gives the trees of one row their columns, so that the row is least high.
func share(row []*cell, width, cols int) ([]slot, size) {
	n := len(row)
	// best[k][u] is the least size of the first k trees in u columns, of which
	// the last takes took[k][u].
	best := make([][]size, n+1)
	took := make([][]int, n+1)
	for k := range best {
		best[k], took[k] = make([]size, width+1), make([]int, width+1)
	}
	for k := 1; k <= n; k++ {
		for u := k; u <= width-(n-k); u++ {
			for w := 1; u-w >= k-1; w++ {
				p := row[k-1].planFor(w, cols)
				s := size{max(best[k-1][u-w].row, p.size.row), best[k-1][u-w].bands + p.size.bands}
				if took[k][u] == 0 || s.total() < best[k][u].total() {
					best[k][u], took[k][u] = s, w
				}
			}
		}
	}
	slots := make([]slot, n)
	for k, u := n, width; k > 0; k-- {
		slots[k-1] = slot{row[k-1], took[k][u]}
		u -= took[k][u]
	}
	return slots, best[n][width]
}

// lanes is how many lines run above a row: one to its second and further trees,
// above those inside the trees it passes.
func lanes(row []slot, cols int) int {
	inner := 0
	for i, s := range row {
		if i == len(row)-1 && i > 0 {
			break
		}
		if p := s.c.planFor(s.width, cols); !p.wrap && len(p.rows) > 0 {
			inner = max(inner, lanes(p.rows[0], cols))
		}
	}
	if len(row) > 1 {
		return inner + 1
	}
	return inner
}

// placeRows puts rows from a column and y on and returns where they end.
func placeRows(rows [][]slot, col, cols, nBand, y int, more *[]*band) int {
	end := y
	for _, row := range rows {
		at := col
		lane := lanes(row, cols)
		for i, s := range row {
			s.c.beside, s.c.lane, s.c.branch = i > 0, lane, len(row) > 1
			end = max(end, s.c.place(at, s.width, cols, nBand, y, more))
			at += s.width
		}
		y = end + rowGap
	}
	return end
}

// place puts c's tree at a column from y on and returns where it ends.
func (c *cell) place(col, width, cols, nBand, y int, more *[]*band) int {
	c.col, c.band, c.y = col, nBand, y
	end := y + c.box.H
	c.floor = end
	p := c.planFor(width, cols)
	if c.wrap = p.wrap; c.wrap {
		*more = append(*more, &band{from: c, cells: c.children})
	} else {
		end = max(end, placeRows(p.rows, col+1, cols, nBand, y, more))
	}
	// Feeders stand in the column before, below what is there, or below c if
	// that is higher up. There is no column before the first, and that before a
	// tree beside another is the other's.
	before := c.parent != nil && c.parent.band == nBand && c.parent.col == col-1
	for _, f := range c.feeders {
		if at := y + feederDrop; before && max(at, c.parent.floor+rowGap) <= c.floor+rowGap {
			f.col, f.band, f.y = col-1, nBand, max(at, c.parent.floor+rowGap)
			c.parent.floor = f.y + f.box.H
		} else {
			f.col, f.band, f.y = col, nBand, c.floor+rowGap
			c.floor = f.y + f.box.H
		}
		end = max(end, f.y+f.box.H)
	}
	return end
}

// feederDrop is how far below a box's upper edge a feeder beside it begins, so
// that the arrow which comes to the box stays free.
const feederDrop = 30
