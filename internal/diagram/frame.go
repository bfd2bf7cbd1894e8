package diagram

import (
	"strconv"
	"strings"

	"ashiato/internal/detect"
	"ashiato/internal/i18n"
	"ashiato/internal/provenance"
)

// placed is a piece of the header or footer on its place: a text, with a shape
// in front of it or a step's number.
type placed struct {
	x, y  float64 // baseline
	gs    []glyph
	f     font
	class string
	shape shape
	n     int // the severity or step of the shape
}

type shape uint8

const (
	noShape shape = iota
	shapeSeverity
	shapeStep
	shapeRoot
	shapeImplied
	shapeContext
	shapeGroup
	shapeClassA
	shapeClassB
	shapeClassC
	shapeNet
	shapeReg
	shapeInject
	shapeFile
	shapeMark
	shapeRule    // a thin line across
	shapeChip    // the ground of a phase, n wide
	shapeNumbers // the ground of its steps' numbers, n wide
	shapeNext    // the arrow to the next phase
)

// header places the title and the facts under it, and sets where the bands begin.
func (d *Diagram) header() {
	d.head = nil
	room := float64(d.Width - 2*margin)
	y := 8.0
	lang := d.opt.Lang
	if d.opt.Title != "" {
		for _, l := range lines(glyphs(d.opt.Title, fontTitle), room, 2, fontTitle) {
			y += 25
			d.head = append(d.head, placed{x: margin, y: y - 4, gs: l, f: fontTitle, class: "title"})
		}
		y += 4
	}
	inc := d.inc
	type fact struct {
		gs       []glyph
		severity int
	}
	word := func(s string) []glyph { return plain(s, fontHead) }
	facts := []fact{{gs: word(lang.T("diagram.severity", lang.T("severity."+inc.Severity.String()))), severity: int(inc.Severity)}}
	root := append(word(lang.T("diagram.rootcause")+" "), word(lang.T("diagram.root."+string(inc.Root.Kind)))...)
	if label := d.rootLabel(); label != "" {
		root = append(root, word(" ")...)
		root = append(root, middle(glyphs(label, fontHead), 260, 55, fontHead)...)
	}
	if inc.Root.Confidence != "" {
		root = append(root, word(" ("+lang.T("diagram.confidence."+string(inc.Root.Confidence))+")")...)
	}
	facts = append(facts, fact{gs: root, severity: -1})
	if len(inc.Hosts) > 0 {
		hosts := append(word(lang.Count("diagram.hosts", len(inc.Hosts))+" "), glyphs(strings.Join(inc.Hosts[:min(len(inc.Hosts), 4)], ", "), fontHead)...)
		if len(inc.Hosts) > 4 {
			hosts = append(hosts, word(" "+lang.Count("diagram.more", len(inc.Hosts)-4))...)
		}
		facts = append(facts, fact{gs: middle(hosts, 420, 50, fontHead), severity: -1})
	}
	if !inc.First.IsZero() {
		first, last := inc.First.In(d.zone()), inc.Last.In(d.zone())
		end := last.Format("15:04:05 -07:00")
		if first.Format("20060102") != last.Format("20060102") {
			end = last.Format("2006-01-02 15:04:05 -07:00")
		}
		facts = append(facts, fact{gs: word(first.Format("2006-01-02 15:04:05") + " – " + end), severity: -1})
	}
	x := float64(margin)
	y += 20
	for _, f := range facts {
		w := width(f.gs)
		if f.severity >= 0 {
			w += 24
		}
		if x > margin && x+w > float64(d.Width-margin) {
			x = margin
			y += 20
		}
		p := placed{x: x, y: y, gs: middle(f.gs, room, 50, fontHead), f: fontHead, class: "head"}
		if f.severity >= 0 {
			p.shape, p.n, p.class = shapeSeverity, f.severity, "head note"
		}
		d.head = append(d.head, p)
		x += w + 26
	}
	y = d.strip(y+12) + 10
	d.head = append(d.head, placed{x: margin, y: y, shape: shapeRule})
	d.top = int(y) + 17
}

func (d *Diagram) rootLabel() string {
	for _, n := range d.inc.Nodes {
		if n.ID == d.inc.Root.Node {
			if n.Label != "" {
				return n.Label
			}
			return n.Path
		}
	}
	return ""
}

// footer places what is not drawn, the legend and the story below the picture.
func (d *Diagram) footer(m *model) {
	lang := d.opt.Lang
	room := float64(d.Width - 2*margin)
	y := float64(d.Height)
	d.foot = append(d.foot, placed{x: margin, y: y, shape: shapeRule})
	y += 22

	t := d.Totals
	said := []string{lang.T("diagram.shown", i18n.Number(len(d.Boxes)), i18n.Number(t.Nodes))}
	for _, c := range []struct {
		key string
		n   int
	}{
		{"diagram.shown.grouped", t.Grouped},
		{"diagram.shown.folded", t.Folded},
		{"diagram.shown.cut", t.Cut},
		{"diagram.shown.hidden", t.EdgesHidden},
	} {
		if c.n > 0 {
			said = append(said, lang.Count(c.key, c.n))
		}
	}
	for _, l := range lines(plain(strings.Join(said, lang.T("diagram.comma")), fontLegend), room, 3, fontLegend) {
		d.foot = append(d.foot, placed{x: margin, y: y, gs: l, f: fontLegend, class: "sub"})
		y += 20
	}

	// The legend explains what occurs, and no more.
	type item struct {
		shape shape
		n     int
		key   string
	}
	var items []item
	has := func(ok func(*Box) bool) bool {
		for _, b := range d.Boxes {
			if ok(b) {
				return true
			}
		}
		return false
	}
	drawn := func(ok func(*Arrow) bool) bool {
		for _, a := range d.Arrows {
			if len(a.Edges)+len(a.Back) > 0 && ok(a) {
				return true
			}
		}
		return false
	}
	for s := detect.Critical; ; s-- {
		if has(func(b *Box) bool { return len(b.Detections) > 0 && b.Severity == s }) {
			items = append(items, item{shapeSeverity, int(s), "severity." + s.String()})
		}
		if s == detect.Informational {
			break
		}
	}
	add := func(ok bool, s shape, key string) {
		if ok {
			items = append(items, item{s, 1, key})
		}
	}
	add(has(func(b *Box) bool { return b.Root }), shapeRoot, "diagram.legend.root")
	add(drawn(func(a *Arrow) bool { return a.Step > 0 }), shapeStep, "diagram.legend.step")
	add(drawn(func(a *Arrow) bool { return a.Class == provenance.ClassA }), shapeClassA, "diagram.legend.class.a")
	add(drawn(func(a *Arrow) bool { return a.Class == provenance.ClassB }), shapeClassB, "diagram.legend.class.b")
	add(drawn(func(a *Arrow) bool { return a.Class == provenance.ClassC }), shapeClassC, "diagram.legend.class.c")
	add(drawn(func(a *Arrow) bool { return family(a.Verb) == "v-file" }), shapeFile, "diagram.legend.file")
	add(drawn(func(a *Arrow) bool { return family(a.Verb) == "v-reg" }), shapeReg, "diagram.legend.register")
	add(drawn(func(a *Arrow) bool { return family(a.Verb) == "v-net" }), shapeNet, "diagram.legend.network")
	add(drawn(func(a *Arrow) bool { return family(a.Verb) == "v-inject" }), shapeInject, "diagram.legend.inject")
	add(has(func(b *Box) bool { return b.Kind != Single }), shapeGroup, "diagram.legend.group")
	add(has(func(b *Box) bool { return b.Context }), shapeContext, "diagram.legend.context")
	add(has(func(b *Box) bool { return b.Node.Implied || b.Node.Kind == provenance.Gap }), shapeImplied, "diagram.legend.implied")
	add(d.marked(), shapeMark, "diagram.legend.mark")
	x := float64(margin)
	y += 4
	for _, it := range items {
		gs := plain(lang.T(it.key), fontLegend)
		w := width(gs) + legendRoom(it.shape)
		if x > margin && x+w > float64(d.Width-margin) {
			x = margin
			y += 24
		}
		d.foot = append(d.foot, placed{x: x, y: y, gs: middle(gs, room, 50, fontLegend), f: fontLegend, class: "sub", shape: it.shape, n: it.n})
		x += w + 22
	}
	y += 16

	if d.opt.Story && len(d.inc.Story) > 0 {
		d.foot = append(d.foot, placed{x: margin, y: y, shape: shapeRule})
		y += 26
		cols := 1
		if d.Width >= 1100 && len(d.inc.Story) > 6 {
			cols = 2
		}
		colW := (room - float64(cols-1)*28) / float64(cols)
		per := (len(d.inc.Story) + cols - 1) / cols
		top, low := y, y
		for i, s := range d.inc.Story {
			if i%per == 0 {
				y = top
			}
			x := float64(margin) + float64(i/per)*(colW+28)
			var gs []glyph
			for _, piece := range Sentence(lang, d.inc, s) {
				if piece.Telemetry {
					gs = append(gs, middle(glyphs(piece.Text, fontStory), colW*0.8, 60, fontStory)...)
				} else {
					gs = append(gs, plain(piece.Text, fontStory)...)
				}
			}
			for k, l := range lines(gs, colW-28, 3, fontStory) {
				p := placed{x: x, y: y, gs: l, f: fontStory, class: "story"}
				if k == 0 {
					p.shape, p.n = shapeStep, s.Number
				} else {
					p.x += 26
				}
				d.foot = append(d.foot, p)
				y += 20
			}
			y += 5
			low = max(low, y)
		}
		y = low
	}
	d.Height = int(y) + 8
	_ = m
}

// marked reports whether a mark for a misleading character is drawn.
func (d *Diagram) marked() bool {
	for _, b := range d.Boxes {
		for _, l := range append(append([][]glyph{b.text.name}, b.text.sub...), b.text.note...) {
			for _, g := range l {
				if g.mark != "" {
					return true
				}
			}
		}
	}
	return false
}

func legendRoom(s shape) float64 {
	switch s {
	case noShape, shapeRule, shapeChip, shapeNumbers, shapeNext:
		return 0
	case shapeSeverity, shapeStep, shapeMark:
		return 24
	}
	return 38
}

func (p *pen) placed(t placed) {
	x, y := int(t.x), int(t.y)
	mid := y - 4
	line := func(class string) {
		p.f("<g class=\"%s\"><path class=\"line\" d=\"M%d %dH%d\"/>", class, x, mid, x+24)
		if class == "v-net" {
			p.f("<path class=\"core\" d=\"M%d %dH%d\"/>", x, mid, x+24)
		}
	}
	box := func(class, extra string) {
		p.f("<g class=\"box %s\">%s<rect class=\"frame\" x=\"%d\" y=\"%d\" width=\"22\" height=\"13\" rx=\"3\"/></g>", class, extra, x+3, mid-6)
	}
	switch t.shape {
	case shapeRule:
		p.f("<path class=\"rule\" d=\"M%d %dh%d\"/>\n", margin, y, p.width-2*margin)
	case shapeChip:
		p.f("<rect class=\"phase\" x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" rx=\"5\"/>\n", x, y, t.n, chipHeight)
	case shapeNumbers:
		p.f("<rect class=\"phasenum\" x=\"%d\" y=\"%d\" width=\"%d\" height=\"16\" rx=\"8\"/>", x, y, t.n)
		p.centred(t.x+float64(t.n)/2, t.y+12, t.gs, t.f, t.class)
		return
	case shapeNext:
		p.f("<g class=\"next\"><path class=\"line\" d=\"M%d %dH%d\"/>", x, y, x+9)
		p.head(Point{x + 16, y}, Point{x, y}, provenance.ClassA)
		p.f("</g>\n")
	case shapeSeverity:
		p.f("<g class=\"s%d\">", t.n)
		p.severity(x+9, mid, detect.Severity(t.n))
		p.f("</g>")
	case shapeStep:
		p.step(Point{x + circle, mid}, t.n)
	case shapeRoot:
		box("", "<rect class=\"outer\" x=\""+strconv.Itoa(x)+"\" y=\""+strconv.Itoa(mid-9)+"\" width=\"28\" height=\"19\" rx=\"5\"/>")
	case shapeImplied:
		box("implied", "")
	case shapeContext:
		box("ctx", "")
	case shapeGroup:
		box("", "<rect class=\"stack\" x=\""+strconv.Itoa(x+7)+"\" y=\""+strconv.Itoa(mid-3)+"\" width=\"22\" height=\"13\" rx=\"3\"/>")
	case shapeClassA, shapeClassB, shapeClassC:
		class, c := "v-start", provenance.ClassA
		switch t.shape {
		case shapeClassB:
			c = provenance.ClassB
		case shapeClassC:
			class, c = class+" class-c", provenance.ClassC
		}
		line(class)
		p.head(Point{x + 30, mid}, Point{x, mid}, c)
		p.f("</g>")
	case shapeNet:
		line("v-net")
		p.f("</g>")
	case shapeReg:
		line("v-reg")
		p.f("<path class=\"key\" transform=\"translate(%d %d)\" d=\"%s\"/></g>", x+6, mid-4, iconKey)
	case shapeInject:
		line("v-inject")
		p.f("</g>")
	case shapeFile:
		line("v-file")
		p.f("</g>")
	case shapeMark:
		p.mark(t.x+3, t.y, glyph{mark: "␠", width: 12}, font{13, false}, "sub")
	}
	if len(t.gs) > 0 {
		p.text(t.x+legendRoom(t.shape), t.y, t.gs, t.f, t.class)
	}
}
