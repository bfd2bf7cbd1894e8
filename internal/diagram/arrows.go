package diagram

import (
	"cmp"
	"slices"
	"strconv"

	"ashiato/internal/i18n"
	"ashiato/internal/provenance"
)

// label is what stands on an arrow, cut to fit, with the rectangle it fills.
type label struct {
	verb  []glyph
	below []glyph // count and further verbs
	step  int
	// at is the centre of the step's circle (or of the pill); rects are what
	// the label fills.
	at    Point
	rects []rect
	pill  bool // on a cross arrow: one line with its own ground
}

// rect is an area in pixels, edges included.
type rect struct{ x1, y1, x2, y2 int }

func (r rect) grow(n int) rect { return rect{r.x1 - n, r.y1 - n, r.x2 + n, r.y2 + n} }

func (r rect) meets(s rect) bool {
	return r.x1 <= s.x2 && s.x1 <= r.x2 && r.y1 <= s.y2 && s.y1 <= r.y2
}

func (b *Box) rect() rect { return rect{b.X, b.Y, b.X + b.W, b.Y + b.H} }

// link is the neutral part of the way from a box to the band of its effects.
type link struct{ points []Point }

// circle is the radius of a step's circle.
const circle = 9

// connect makes the arrows: every pair of boxes with an edge between them has
// one, backbone arrows in reading order, then the others by importance.
func (d *Diagram) connect(m *model) {
	boxes := map[string]*Box{}
	for _, b := range d.Boxes {
		boxes[b.ID] = b
	}
	type pair struct{ a, b string }
	made := map[pair]*Arrow{}
	var backbone, cross []*Arrow
	for _, b := range d.Boxes {
		if b.Parent != "" {
			a := &Arrow{From: b.Parent, To: b.ID, Backbone: true}
			made[pair{b.Parent, b.ID}] = a
			backbone = append(backbone, a)
		}
	}
	verbs := map[*Arrow][]provenance.Verb{}
	d.Totals.EdgesHidden = m.orphans
	d.Totals.Edges = m.orphans
	members := map[*Arrow][]*modelEdge{}
	for _, e := range m.edges {
		d.Totals.Edges++
		from, to := d.boxOf[e.From], d.boxOf[e.To]
		if from == to {
			d.Totals.EdgesInside++
			continue
		}
		a, back := made[pair{from.ID, to.ID}], false
		if a == nil {
			a = made[pair{to.ID, from.ID}]
			back = a != nil
		}
		if a == nil {
			a = &Arrow{From: from.ID, To: to.ID}
			made[pair{from.ID, to.ID}] = a
			cross = append(cross, a)
		}
		if back {
			a.Back = append(a.Back, e.index)
		} else {
			a.Edges = append(a.Edges, e.index)
		}
		members[a] = append(members[a], e)
	}
	finish := func(a *Arrow) {
		es := members[a]
		// The first fact names the arrow: the backbone's own, which is the most
		// causal at the earliest time.
		slices.SortStableFunc(es, func(x, y *modelEdge) int {
			backX, backY := d.boxOf[x.From].ID != a.From, d.boxOf[y.From].ID != a.From
			return cmp.Or(
				boolOrder(backX, backY),
				cmp.Compare(stage(x), stage(y)),
				x.First.Compare(y.First),
				cmp.Compare(verbRank(x.Verb), verbRank(y.Verb)),
				cmp.Compare(x.index, y.index),
			)
		})
		for i, e := range es {
			if i == 0 {
				a.Verb, a.Class = e.Verb, e.Class
			}
			a.Skeleton = a.Skeleton || e.Skeleton
			a.Count += max(e.Count, 1)
			if e.step > 0 && (a.Step == 0 || e.step < a.Step) {
				a.Step = e.step
			}
			if !slices.Contains(verbs[a], e.Verb) {
				verbs[a] = append(verbs[a], e.Verb)
			}
		}
	}
	// A folded box may hang on a parent that has no edge to its first member;
	// such a backbone arrow has no fact and is drawn as a plain line.
	for _, a := range backbone {
		finish(a)
	}
	for _, a := range cross {
		finish(a)
	}
	slices.SortStableFunc(cross, func(a, b *Arrow) int {
		return cmp.Or(
			boolOrder(!a.Skeleton, !b.Skeleton),
			boolOrder(a.Step == 0, b.Step == 0),
			cmp.Compare(a.Step, b.Step),
			cmp.Compare(firstEdge(a), firstEdge(b)),
		)
	})
	most, context := MaxCross, maxContextCross
	for _, a := range cross {
		plain := !a.Skeleton && a.Step == 0
		// Context of what is folded away says nothing in the picture.
		// So does a folder's holding a file: where it lies is written in its box.
		folded := boxes[a.From].Kind == Folded || boxes[a.To].Kind == Folded || a.Verb == provenance.Contains
		if most == 0 || plain && (context == 0 || folded) {
			d.Totals.EdgesHidden += len(a.Edges) + len(a.Back)
			continue
		}
		most--
		if plain {
			context--
		}
		d.Arrows = append(d.Arrows, a)
	}
	d.Arrows = append(backbone, d.Arrows...)
	for i, a := range d.Arrows {
		a.ID = "a" + strconv.Itoa(i+1)
		d.Totals.EdgesDrawn += len(a.Edges) + len(a.Back)
		d.write(a, verbs[a])
	}

	// The courses of the backbone, and its labels in the gap before each box.
	for _, a := range backbone {
		d.course(a, boxes[a.From], boxes[a.To])
	}
	d.continuations()
	for _, n := range m.nodes {
		b := d.boxOf[n.ID]
		switch b.Kind {
		case Single:
			d.Totals.Drawn++
		case Folded:
			d.Totals.Folded++
		default:
			d.Totals.Grouped++
		}
		d.Totals.Nodes++
	}
	d.Totals.Cut = d.inc.Cut
}

func boolOrder(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

func firstEdge(a *Arrow) int {
	all := append(slices.Clone(a.Edges), a.Back...)
	if len(all) == 0 {
		return 0
	}
	return slices.Min(all)
}

// write makes an arrow's label.
func (d *Diagram) write(a *Arrow, verbs []provenance.Verb) {
	lang := d.opt.Lang
	if len(verbs) == 0 {
		return
	}
	a.label.step = a.Step
	word := lang.T("verb." + verbs[0].String())
	var below string
	if len(verbs) == 1 && a.Count > 1 {
		below = "×" + i18n.Number(a.Count)
	}
	if a.Backbone {
		const room = gap - trunkX - 4
		a.label.verb = middle(plain(word, fontVerb), room, 30, fontVerb)
		if len(verbs) > 1 {
			below = "+ " + lang.T("verb."+verbs[1].String())
			if len(verbs) > 2 || textWidth(below, fontVerb) > room {
				below = lang.Count("diagram.verbs", len(verbs)-1)
			}
		}
		a.label.below = middle(plain(below, fontVerb), room, 50, fontVerb)
		return
	}
	for _, v := range verbs[1:] {
		word += ", " + lang.T("verb."+v.String())
	}
	if below != "" {
		word += " " + below
	}
	a.label.pill = true
	if a.Step > 0 || a.Skeleton {
		a.label.verb = middle(plain(word, fontVerb), 150, 30, fontVerb)
	}
}

// course leads a backbone arrow to its box and places its label.
func (d *Diagram) course(a *Arrow, from, to *Box) {
	trunk := to.X - gap + trunkX
	y := to.Y + portY
	inline := from.Band == to.Band && from.Column < to.Column
	if to.beside {
		// Down the trunk of the row's first column and along above the row.
		above := to.Y - laneY - laneStep*(min(to.lane, maxLane)-1)
		if inline {
			first := from.X + from.W + trunkX
			a.Points = []Point{{from.X + from.W, from.Y + portY}, {first, from.Y + portY}, {first, above}, {trunk, above}, {trunk, y}, {to.X, y}}
		} else {
			a.Points = []Point{{margin + trunkX, above}, {trunk, above}, {trunk, y}, {to.X, y}}
		}
	} else if inline {
		p := Point{from.X + from.W, from.Y + portY}
		a.Points = []Point{p, {trunk, p.Y}, {trunk, y}, {to.X, y}}
		if p.Y == y {
			a.Points = []Point{p, {to.X, y}}
		}
	} else {
		a.Points = []Point{{trunk, y}, {to.X, y}} // from the continuation line
	}
	mid := (trunk + to.X - 6) / 2
	l := &a.label
	l.at = Point{mid, y}
	if len(l.verb) > 0 {
		half := int(width(l.verb)/2) + 1
		l.rects = append(l.rects, rect{mid - half, y - 22, mid + half, y - 8})
	}
	if l.step > 0 {
		l.rects = append(l.rects, rect{mid - circle, y - circle, mid + circle, y + circle})
	}
	if len(l.below) > 0 {
		half := int(width(l.below)/2) + 1
		l.rects = append(l.rects, rect{mid - half, y + 8, mid + half, y + 23})
	}
}

// continuations draws the lines from a box at which the fold goes on to the band
// of its effects: out on its right, under its band, to the left edge and down.
func (d *Diagram) continuations() {
	lane := 0
	for i, b := range d.bands {
		if b.from == nil {
			if box := b.cells[0].box; box.Root {
				d.starts = append(d.starts, Point{box.X, box.Y + portY})
			}
			continue
		}
		from := b.from.box
		x, y := from.X+from.W, from.Y+portY
		trunk := margin + trunkX
		last := b.cells[len(b.cells)-1].box.Y + portY
		points := []Point{{x, y}, {x + 6, y}}
		if b.from.band == i-1 {
			points = append(points, Point{x + 6, b.top - 8}, Point{trunk, b.top - 8})
		} else {
			under := d.bands[b.from.band].bot + 9 + lane%3*5
			left := 4 + lane%3*5
			points = append(points, Point{x + 6, under}, Point{left, under}, Point{left, b.top - 8}, Point{trunk, b.top - 8})
			lane++
		}
		d.links = append(d.links, link{append(points, Point{trunk, last})})
	}
}
