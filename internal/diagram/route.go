package diagram

import (
	"container/heap"
	"slices"
)

// route leads the arrows beside the backbone around the boxes and labels: the
// cheapest way on a grid of the free lanes, where bends, crossings and running
// along another line cost. An arrow for which there is no way becomes a straight
// line under the boxes.
func (d *Diagram) route() {
	var cross []*Arrow
	boxes := map[string]*Box{}
	for _, b := range d.Boxes {
		boxes[b.ID] = b
	}
	r := &router{right: d.Width - 4, bottom: d.Height + 20}
	for _, b := range d.Boxes {
		r.solid = append(r.solid, b.rect().grow(4))
		r.taken = append(r.taken, b.rect().grow(1))
	}
	for _, a := range d.Arrows {
		for _, l := range a.label.rects {
			r.solid = append(r.solid, l.grow(1))
			r.taken = append(r.taken, l.grow(1))
		}
		if a.Backbone {
			r.use(a.Points)
		} else {
			cross = append(cross, a)
		}
	}
	for _, s := range d.starts {
		r.solid = append(r.solid, d.startRect(s))
		r.taken = append(r.taken, d.startRect(s))
	}
	for _, l := range d.links {
		r.use(l.points)
	}
	if len(cross) == 0 {
		return
	}

	// The lanes: in each gap before the trunk and just before the boxes, under
	// each column, above and below each box.
	for c := 0; c <= d.columns; c++ {
		x := margin + c*d.pitch
		r.xs = append(r.xs, x+3, x+8)
		if c < d.columns {
			w := d.pitch - gap
			r.xs = append(r.xs, x+gap-standOff, x+gap+w/4, x+gap+w/2, x+gap+w*3/4)
		}
	}
	for _, b := range d.Boxes {
		r.ys = append(r.ys, b.Y-rowGap/2, b.Y+b.H+rowGap/2)
	}
	for _, b := range d.bands {
		r.ys = append(r.ys, b.bot+13, b.bot+19, b.bot+25)
	}
	type ends struct{ from, to []Point }
	at := map[*Arrow]ends{}
	for _, a := range cross {
		e := ends{ports(boxes[a.From], false), ports(boxes[a.To], true)}
		at[a] = e
		for _, p := range append(slices.Clone(e.from), e.to...) {
			r.xs = append(r.xs, p.X)
			r.ys = append(r.ys, p.Y)
		}
	}
	r.build()
	// What would run far across the picture is drawn as a signpost, and is then in
	// the way of the others.
	cross = slices.DeleteFunc(cross, func(a *Arrow) bool {
		course := r.way(at[a].from, at[a].to)
		if course != nil && length(course) <= maxCourse {
			return false
		}
		return d.signpost(a, boxes[a.From], boxes[a.To], r)
	})
	r.build()
	taken := map[Point]bool{} // ports that an arrow ends at already
	for _, a := range cross {
		e := at[a]
		free := slices.DeleteFunc(slices.Clone(e.to), func(p Point) bool { return taken[p] })
		a.Points = r.way(e.from, free)
		if a.Points == nil {
			a.Points = r.way(e.from, e.to)
		}
		if a.Points == nil {
			a.Points = []Point{e.from[0], e.to[0]}
			continue
		}
		taken[a.Points[len(a.Points)-1]] = true
		r.add(a.Points)
	}
	for _, a := range cross { // no label on an arrowhead
		tip := edgeOf(a.Points[len(a.Points)-1], boxes[a.To])
		r.taken = append(r.taken, rect{tip.X - 7, tip.Y - 7, tip.X + 7, tip.Y + 7}.grow(3))
	}
	for _, a := range cross {
		d.placePill(a, r)
	}
}

// maxCourse is how long an arrow beside the backbone may be, in pixels, if there
// is room for a signpost in its stead.
const maxCourse = 540

func length(course []Point) int {
	n := 0
	for i := 1; i < len(course); i++ {
		n += dist(course[i-1], course[i])
	}
	return n
}

// signpost draws an arrow as a label below or beside its From box, which names the
// To box. It reports whether there is room for that.
func (d *Diagram) signpost(a *Arrow, from, to *Box, r *router) bool {
	if len(a.label.verb) == 0 && a.label.step == 0 {
		return false
	}
	var words []glyph
	best, bestScore := rect{}, -1
	for _, room := range []float64{190, 150, 110} { // rather a shorter name than no place
		words = append(slices.Clone(a.label.verb), plain(" → ", fontVerb)...)
		name := slices.Clone(to.text.name)
		for i := range name { // it was measured in the box's font
			name[i].width = glyphWidth(name[i], fontVerb)
		}
		words = append(words, middle(name, max(40, room-width(words)), 55, fontVerb)...)
		w := int(width(words)) + 14
		if a.label.step > 0 {
			w += 2 * circle
		}
		consider := func(x, y, score int) {
			area := rect{x, y, x + w, y + 2*circle}
			if area.x1 < 4 || area.x2 > d.Width-4 || area.y2 > d.Height || slices.ContainsFunc(r.taken, area.grow(1).meets) {
				return
			}
			for _, u := range r.used {
				if u.rect().meets(area.grow(2)) {
					score += 25
				}
			}
			if bestScore < 0 || score < bestScore {
				best, bestScore = area, score
			}
		}
		const off = 3 // so that the line between box and label is seen
		for k := range 9 {
			x := from.X + (from.W-w)*k/8
			consider(x, from.Y+from.H+off, abs(k-4))
			consider(x, from.Y-off-2*circle, 20+abs(k-4))
		}
		if bestScore >= 0 {
			break
		}
	}
	if bestScore < 0 {
		return false
	}
	x := min(max((best.x1+best.x2)/2, from.X+8), from.X+from.W-8)
	a.Signpost = true
	a.Points = []Point{{x, from.Y + from.H}, {x, best.y1}}
	if best.y1 < from.Y {
		a.Points = []Point{{x, from.Y}, {x, best.y2}}
	}
	a.label.verb = words
	a.label.at = Point{(best.x1 + best.x2) / 2, (best.y1 + best.y2) / 2}
	a.label.rects = []rect{best}
	r.taken = append(r.taken, best.grow(2))
	r.solid = append(r.solid, best.grow(1))
	return true
}

// standOff is how far from a box a line turns towards it: room for an arrowhead,
// and half the gap between rows.
const standOff = rowGap / 2

// ports are where cross arrows may leave or reach a box. They stand off the
// box, and the drawn line goes on to its edge.
func ports(b *Box, in bool) []Point {
	left, right, top, bottom := b.X-standOff, b.X+b.W+5, b.Y-standOff, b.Y+b.H+standOff
	low := b.Y + b.H - 11
	third := b.W / 4
	if in {
		return []Point{{left, low}, {b.X + third, bottom}, {b.X + 2*third, bottom}, {b.X + 3*third, bottom}, {b.X + 3*third, top}}
	}
	return []Point{{right, low}, {right, low - 12}, {b.X + 3*third, bottom}, {b.X + 2*third, bottom}, {b.X + third, bottom}, {b.X + 3*third, top}}
}

// edgeOf continues a port's point to the box's edge.
func edgeOf(p Point, b *Box) Point {
	switch {
	case p.X < b.X:
		return Point{b.X, p.Y}
	case p.X > b.X+b.W:
		return Point{b.X + b.W, p.Y}
	case p.Y > b.Y+b.H:
		return Point{p.X, b.Y + b.H}
	case p.Y < b.Y:
		return Point{p.X, b.Y}
	}
	return p
}

type segment struct{ a, b Point }

func (s segment) rect() rect {
	return rect{min(s.a.X, s.b.X), min(s.a.Y, s.b.Y), max(s.a.X, s.b.X), max(s.a.Y, s.b.Y)}
}

// router finds ways on the grid of xs and ys.
type router struct {
	xs, ys        []int
	solid         []rect // what no line may touch
	taken         []rect // what no label may cover
	used          []segment
	right, bottom int
	// Costs of the step from grid point (i, j) to the right and down; blocked
	// if negative.
	across, down []int32
}

const (
	bendCost  = 30
	crossCost = 22
	alongCost = 90
	blocked   = -1
)

func (r *router) use(points []Point) {
	for i := 1; i < len(points); i++ {
		r.used = append(r.used, segment{points[i-1], points[i]})
	}
}

func (r *router) at(i, j int) int { return j*len(r.xs) + i }

func (r *router) build() {
	slices.Sort(r.xs)
	r.xs = slices.Compact(r.xs)
	r.xs = slices.DeleteFunc(r.xs, func(x int) bool { return x < 3 || x > r.right })
	slices.Sort(r.ys)
	r.ys = slices.Compact(r.ys)
	r.ys = slices.DeleteFunc(r.ys, func(y int) bool { return y < 0 || y > r.bottom })
	n := len(r.xs) * len(r.ys)
	r.across, r.down = make([]int32, n), make([]int32, n)
	for j, y := range r.ys {
		for i, x := range r.xs {
			if i+1 < len(r.xs) {
				r.across[r.at(i, j)] = int32(r.xs[i+1] - x)
			}
			if j+1 < len(r.ys) {
				r.down[r.at(i, j)] = int32(r.ys[j+1] - y)
			}
		}
	}
	for _, s := range r.solid {
		r.block(s)
	}
	for _, s := range r.used {
		r.charge(s)
	}
}

// span are the indexes i of a sorted list whose step [v[i], v[i+1]] meets [lo, hi].
func span(v []int, lo, hi int) (int, int) {
	from, _ := slices.BinarySearch(v, lo)
	to, found := slices.BinarySearch(v, hi)
	if !found {
		to--
	}
	return max(from-1, 0), min(to, len(v)-1)
}

func (r *router) block(s rect) {
	i1, i2 := span(r.xs, s.x1+1, s.x2-1)
	j1, j2 := span(r.ys, s.y1+1, s.y2-1)
	for j := j1; j <= j2; j++ {
		for i := i1; i <= i2; i++ {
			x, y := r.xs[i], r.ys[j]
			if y > s.y1 && y < s.y2 && i+1 < len(r.xs) && r.xs[i+1] > s.x1 && x < s.x2 {
				r.across[r.at(i, j)] = blocked
			}
			if x > s.x1 && x < s.x2 && j+1 < len(r.ys) && r.ys[j+1] > s.y1 && y < s.y2 {
				r.down[r.at(i, j)] = blocked
			}
		}
	}
}

// charge makes crossing or running along a line cost.
func (r *router) charge(s segment) {
	const near = 4
	b := s.rect()
	horizontal := s.a.Y == s.b.Y
	i1, i2 := span(r.xs, b.x1-near, b.x2+near)
	j1, j2 := span(r.ys, b.y1-near, b.y2+near)
	for j := j1; j <= j2; j++ {
		for i := i1; i <= i2; i++ {
			x, y := r.xs[i], r.ys[j]
			k := r.at(i, j)
			if i+1 < len(r.xs) && r.across[k] != blocked {
				if horizontal && abs(y-b.y1) < near && x < b.x2 && r.xs[i+1] > b.x1 {
					r.across[k] += alongCost
				} else if !horizontal && x < b.x1 && r.xs[i+1] >= b.x1 && y >= b.y1 && y <= b.y2 {
					r.across[k] += crossCost
				}
			}
			if j+1 < len(r.ys) && r.down[k] != blocked {
				if !horizontal && abs(x-b.x1) < near && y < b.y2 && r.ys[j+1] > b.y1 {
					r.down[k] += alongCost
				} else if horizontal && y < b.y1 && r.ys[j+1] >= b.y1 && x >= b.x1 && x <= b.x2 {
					r.down[k] += crossCost
				}
			}
		}
	}
}

func abs(n int) int {
	if n < 0 {
		return -n
	}
	return n
}

func (r *router) add(points []Point) {
	for i := 1; i < len(points); i++ {
		s := segment{points[i-1], points[i]}
		r.used = append(r.used, s)
		r.charge(s)
	}
}

// state is a grid point reached in a direction (0 across, 1 down).
type state struct {
	cost int32
	at   int32
	dir  uint8
}

type queue []state

func (q queue) Len() int { return len(q) }
func (q queue) Less(i, j int) bool {
	if q[i].cost != q[j].cost {
		return q[i].cost < q[j].cost
	}
	if q[i].at != q[j].at {
		return q[i].at < q[j].at
	}
	return q[i].dir < q[j].dir
}
func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *queue) Push(x any)   { *q = append(*q, x.(state)) }
func (q *queue) Pop() any {
	last := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return last
}

// way is the cheapest way from one of the points to another of them, nil if
// there is none. Earlier ports are preferred.
func (r *router) way(from, to []Point) []Point {
	const portCost = 12
	n := len(r.xs) * len(r.ys)
	cost := make([]int32, 2*n)
	prev := make([]int32, 2*n)
	for i := range cost {
		cost[i], prev[i] = -1, -1
	}
	goal := map[int32]int32{}
	index := func(p Point) (int32, bool) {
		i, okX := slices.BinarySearch(r.xs, p.X)
		j, okY := slices.BinarySearch(r.ys, p.Y)
		return int32(r.at(i, j)), okX && okY
	}
	for k, p := range to {
		if at, ok := index(p); ok {
			goal[at] = int32(k * portCost)
		}
	}
	q := &queue{}
	push := func(s state, by int32) {
		k := s.at*2 + int32(s.dir)
		if cost[k] >= 0 && cost[k] <= s.cost {
			return
		}
		cost[k], prev[k] = s.cost, by
		heap.Push(q, s)
	}
	for k, p := range from {
		if at, ok := index(p); ok {
			dir := uint8(1)
			if k < 2 {
				dir = 0 // the first two ports are on the right side
			}
			push(state{int32(k * portCost), at, dir}, -1)
		}
	}
	w := int32(len(r.xs))
	bestEnd, bestCost := int32(-1), int32(-1)
	for q.Len() > 0 {
		s := heap.Pop(q).(state)
		k := s.at*2 + int32(s.dir)
		if s.cost > cost[k] {
			continue
		}
		if bestCost >= 0 && s.cost >= bestCost {
			break
		}
		if extra, ok := goal[s.at]; ok {
			if total := s.cost + extra; bestCost < 0 || total < bestCost {
				bestEnd, bestCost = k, total
			}
		}
		step := func(to int32, c int32, dir uint8) {
			if c == blocked {
				return
			}
			next := s.cost + c
			if dir != s.dir {
				next += bendCost
			}
			push(state{next, to, dir}, k)
		}
		i, j := s.at%w, s.at/w
		if i+1 < w {
			step(s.at+1, r.across[s.at], 0)
		}
		if i > 0 {
			step(s.at-1, r.across[s.at-1], 0)
		}
		if int(j)+1 < len(r.ys) {
			step(s.at+w, r.down[s.at], 1)
		}
		if j > 0 {
			step(s.at-w, r.down[s.at-w], 1)
		}
	}
	if bestEnd < 0 {
		return nil
	}
	var points []Point
	for k := bestEnd; k >= 0; k = prev[k] {
		at := k / 2
		points = append(points, Point{r.xs[at%w], r.ys[at/w]})
	}
	slices.Reverse(points)
	// Only the bends.
	out := points[:1]
	for i := 1; i < len(points); i++ {
		p := points[i]
		if i+1 < len(points) {
			a, b := out[len(out)-1], points[i+1]
			if a.X == p.X && p.X == b.X || a.Y == p.Y && p.Y == b.Y {
				continue
			}
		}
		out = append(out, p)
	}
	return slices.Clone(out)
}

// placePill finds room for a cross arrow's label on its course: where it covers
// no box and no label, and as few other lines as can be.
func (d *Diagram) placePill(a *Arrow, r *router) {
	l := &a.label
	try := func() bool {
		if len(l.verb) == 0 && l.step == 0 {
			return true
		}
		w := 2 * circle
		if len(l.verb) > 0 {
			w = int(width(l.verb)) + 14
			if l.step > 0 {
				w += 2 * circle
			}
		}
		const half = circle
		best, bestScore := Point{}, -1
		for i := 1; i < len(a.Points); i++ {
			s := segment{a.Points[i-1], a.Points[i]}
			b := s.rect()
			vertical := b.x1 == b.x2
			for k := range 25 {
				at := Point{b.x1 + (b.x2-b.x1)*k/24, b.y1 + (b.y2-b.y1)*k/24}
				area := rect{at.X - w/2, at.Y - half, at.X + w/2, at.Y + half}
				if area.x1 < 4 || area.x2 > d.Width-4 || area.y1 < d.top || slices.ContainsFunc(r.taken, area.meets) {
					continue
				}
				score := abs(k - 12)
				if vertical || b.x2-b.x1 < w+16 {
					score += 30
				}
				for _, u := range r.used {
					if u.rect().meets(area) {
						score += 25
					}
				}
				if bestScore < 0 || score < bestScore {
					best, bestScore = at, score
				}
			}
		}
		if bestScore < 0 {
			return false
		}
		l.at = best
		l.rects = []rect{{best.X - w/2, best.Y - half, best.X + w/2, best.Y + half}}
		r.taken = append(r.taken, l.rects[0].grow(2))
		return true
	}
	if try() {
		return
	}
	l.verb = nil // the number alone needs less room; the tooltip has the words
	if !try() {
		l.step = 0
	}
}
