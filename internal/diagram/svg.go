package diagram

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"

	"ashiato/internal/detect"
	"ashiato/internal/event"
	"ashiato/internal/i18n"
	"ashiato/internal/provenance"
	"ashiato/internal/visible"
)

// Style is the style sheet of the diagrams. A document that shows several of
// them holds it once and writes them with InlineSVG.
const Style = `.ad{font-family:` + fonts + `;background:#fff}
.ad text{fill:#1b2430;font-size:11.5px;white-space:pre}
.ad .title{font-size:19px;font-weight:700}
.ad .head{font-size:12.5px;fill:#465160}
.ad .phase{fill:#eef1f5;stroke:#a9b3c0;stroke-width:1}
.ad .phasenum{fill:#12202f}
.ad .phasename{font-size:12.5px;font-weight:700}
.ad .name{font-size:13px;font-weight:700}
.ad .sub{fill:#465160}
.ad .note{font-weight:700}
.ad .reason{fill:#5b4a00}
.ad .foot{font-size:11px;fill:#56606e}
.ad .story{font-size:13px}
.ad .verb{fill:#1f2937}
.ad .below{fill:#56606e}
.ad .box>rect{fill:#fff;stroke:#8b97a6;stroke-width:1.2}
.ad .box>.stack{fill:#eef1f5;stroke:#a9b3c0}
.ad .box>.outer{fill:none;stroke:#12202f;stroke-width:2}
.ad .box .icon{fill:none;stroke:#2b3a4b;stroke-width:1.35;stroke-linejoin:round;stroke-linecap:round}
.ad .ctx>rect{fill:#f5f6f8;stroke:#c2c9d2}
.ad .ctx text{fill:#5a6472}
.ad .ctx .icon{stroke:#75808e}
.ad .implied>.frame{stroke-dasharray:2 3;stroke:#6b5a10;stroke-width:1.6}
.ad .s4>.frame{fill:#fdf0f2;stroke:#9f1239}.ad .s4 .bar,.ad .s4 .mark,.ad .s4>.badge{fill:#9f1239;stroke:none}.ad .s4 .note{fill:#8a0f31}
.ad .s3>.frame{fill:#fff4ec;stroke:#b9440b}.ad .s3 .bar,.ad .s3 .mark,.ad .s3>.badge{fill:#b9440b;stroke:none}.ad .s3 .note{fill:#9a3707}
.ad .s2>.frame{fill:#fffae8;stroke:#8f6b00}.ad .s2 .bar,.ad .s2 .mark,.ad .s2>.badge{fill:#856300;stroke:none}.ad .s2 .note{fill:#6d5200}
.ad .s1>.frame{fill:#eff6ff;stroke:#2563a8}.ad .s1 .bar,.ad .s1 .mark,.ad .s1>.badge{fill:#2563a8;stroke:none}.ad .s1 .note{fill:#1d4f88}
.ad .s0>.frame{stroke:#5b6674}.ad .s0 .bar,.ad .s0 .mark,.ad .s0>.badge{fill:#5b6674;stroke:none}
.ad .onbar{fill:#fff;font-size:11px;font-weight:700}
.ad .badgetext{fill:#fff;font-size:11px;font-weight:700}
.ad .wsp{fill:#ffd84d}
.ad .wsg{fill:none;stroke:#8a1f00;stroke-width:1.5;stroke-linecap:round;stroke-linejoin:round}
.ad .wst{fill:#7a1f00;font-weight:700}
.ad .branch{fill:#eff3f7}
.ad .trunk{fill:none;stroke:#8c98a8;stroke-width:1.6;stroke-linejoin:round}
.ad .fold{fill:none;stroke:#8c98a8;stroke-width:2;stroke-linejoin:round}
.ad .line{fill:none;stroke:#2f4258;stroke-width:2}
.ad .head-a{fill:#2f4258;stroke:#2f4258;stroke-width:1.4;stroke-linejoin:round}
.ad .head-b{fill:#fff;stroke:#2f4258;stroke-width:1.4;stroke-linejoin:round}
.ad .v-file .line{stroke:#3d6478;stroke-width:1.3}.ad .v-file .head-a{fill:#3d6478;stroke:#3d6478}.ad .v-file .head-b{stroke:#3d6478}
.ad .v-inject .line{stroke:#8a1c6a;stroke-dasharray:10 4}.ad .v-inject .head-a{fill:#8a1c6a;stroke:#8a1c6a}.ad .v-inject .head-b{stroke:#8a1c6a}
.ad .v-net .line{stroke:#0f5e9c;stroke-width:4.6}.ad .v-net .core{fill:none;stroke:#fff;stroke-width:2}.ad .v-net .head-a{fill:#0f5e9c;stroke:#0f5e9c}.ad .v-net .head-b{stroke:#0f5e9c}
.ad .v-reg .line{stroke:#5b3a9e}.ad .v-reg .head-a{fill:#5b3a9e;stroke:#5b3a9e}.ad .v-reg .head-b{stroke:#5b3a9e}.ad .key{fill:#fff;stroke:#5b3a9e;stroke-width:1.4;stroke-linecap:round}
.ad .class-c .line{stroke-dasharray:2 4}
.ad .dim .line{stroke:#a4aebb;stroke-width:1.3}.ad .dim .head-a{fill:#a4aebb;stroke:#a4aebb}.ad .dim .head-b{stroke:#a4aebb}.ad .dim .verb{fill:#5a6472}
.ad .cross .line{stroke-width:1.4}.ad .cross.v-net .line{stroke-width:4}.ad .cross.v-net .core{stroke-width:1.8}
.ad .halo{fill:none;stroke:#fff;stroke-width:7}
.ad .pill{fill:#fff;stroke:#a9b3c0;stroke-width:1}
.ad .num{fill:#12202f}
.ad .numtext{fill:#fff;font-size:11px;font-weight:700;text-anchor:middle}
.ad .mid{text-anchor:middle}.ad .end{text-anchor:end}
.ad .hit{fill:none;stroke:transparent;stroke-width:14;pointer-events:stroke}
.ad .start{fill:#12202f}
.ad .rule{stroke:#d5dae1;stroke-width:1}
.ad a{cursor:pointer;text-decoration:none}
.ad a:hover .line,.ad a:focus .line,.ad a:target .line{stroke:#d1006c}
.ad a:hover>.frame,.ad a:focus>.frame,.ad a:target>.frame{stroke:#d1006c;stroke-width:2.4}
.ad a:focus{outline:none}
`

// SVG writes the diagram as a file of its own.
func (d *Diagram) SVG(w io.Writer) error { return d.write2(w, true) }

// InlineSVG writes the diagram as an element for an HTML document that holds
// Style.
func (d *Diagram) InlineSVG(w io.Writer) error { return d.write2(w, false) }

func (d *Diagram) write2(w io.Writer, alone bool) error {
	p := &pen{w: bufio.NewWriter(w), width: d.Width}
	title := d.opt.Title
	if title == "" {
		title = d.inc.Title(d.opt.Lang)
	}
	role := "img"
	if d.opt.Links {
		role = "group" // an image has no parts that can be reached
	}
	if alone {
		p.f("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n")
	}
	id := d.opt.Prefix + "diagram"
	p.f(`<svg xmlns="http://www.w3.org/2000/svg" class="ad" id="%s" lang="%s" xml:lang="%s" role="%s" aria-labelledby="%s-title %s-desc" width="%d" height="%d" viewBox="0 0 %d %d">`,
		id, d.opt.Lang, d.opt.Lang, role, id, id, d.Width, d.Height, d.Width, d.Height)
	p.f("\n<title id=\"%s-title\">%s</title>\n<desc id=\"%s-desc\">%s</desc>\n", id, escape(visible.Text(title)), id, escape(visible.Text(d.summary())))
	if alone {
		p.f("<style>%s</style>\n", escape(Style))
	}
	p.f("<rect width=\"%d\" height=\"%d\" fill=\"#fff\"/>\n", d.Width, d.Height)
	for _, t := range d.head {
		p.placed(t)
	}
	boxes := map[string]*Box{}
	for _, b := range d.Boxes {
		boxes[b.ID] = b
	}
	for _, r := range d.branches {
		p.f("<rect class=\"branch\" x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" rx=\"8\"/>\n", r.x1, r.y1, r.x2-r.x1, r.y2-r.y1)
	}
	for _, l := range d.links {
		p.f("<path class=\"fold\" d=\"%s\"/>\n", course(l.points, 8))
	}
	for _, s := range d.starts {
		d.start(p, s)
	}
	for _, backbone := range []bool{false, true} {
		for _, a := range d.Arrows {
			if a.Backbone == backbone {
				d.arrow(p, a, boxes)
			}
		}
	}
	for _, a := range d.Arrows {
		d.pill(p, a, boxes)
	}
	for _, b := range d.Boxes {
		d.box(p, b)
	}
	for _, t := range d.foot {
		p.placed(t)
	}
	p.f("</svg>\n")
	if p.err != nil {
		return p.err
	}
	return p.w.Flush()
}

// summary says in words what the picture shows.
func (d *Diagram) summary() string {
	t := d.Totals
	s := d.opt.Lang.T("diagram.shown", i18n.Number(len(d.Boxes)), i18n.Number(t.Nodes))
	return s
}

// pen writes and keeps the first error.
type pen struct {
	w     *bufio.Writer
	err   error
	width int
}

func (p *pen) f(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format, args...)
	}
}

// escape makes a text safe in XML and HTML, both as content and in quotes. What
// XML cannot hold (control characters, lone surrogates) becomes its mark.
func escape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := event.DecodeRune(s[i:])
		switch {
		case r == '&':
			b.WriteString("&amp;")
		case r == '<':
			b.WriteString("&lt;")
		case r == '>':
			b.WriteString("&gt;")
		case r == '"':
			b.WriteString("&quot;")
		case r == '\'':
			b.WriteString("&#39;")
		case r == '\n' || r == '\t':
			b.WriteByte(s[i])
		case r == 0xFFFD && n == 1:
			fmt.Fprintf(&b, "⟨%02X⟩", s[i])
		case r < 0x20, r >= 0x7F && r < 0xA0, r >= 0xD800 && r < 0xE000, r&0xFFFE == 0xFFFE:
			fmt.Fprintf(&b, "⟨U+%04X⟩", r)
		default:
			b.WriteString(s[i : i+n])
		}
		i += n
	}
	return b.String()
}

// text writes glyphs from x on. Plain text flows; a text with marks, or with
// letters whose width is only guessed, is set piece by piece into its estimated
// width, so that the marks' boxes stand where they should.
func (p *pen) text(x, y float64, gs []glyph, f font, class string) {
	if len(gs) == 0 {
		return
	}
	special := false
	var b strings.Builder
	for _, g := range gs {
		special = special || g.mark != "" || g.exotic
		b.WriteString(g.text)
	}
	if !special {
		p.f("<text x=\"%s\" y=\"%s\" class=\"%s\">%s</text>\n", num(x), num(y), class, escape(b.String()))
		return
	}
	p.f("<g aria-label=\"%s\">", escape(visible.Text(b.String())))
	for i := 0; i < len(gs); {
		if gs[i].mark != "" {
			p.mark(x, y, gs[i], f, class)
			x += gs[i].width
			i++
			continue
		}
		j, w := i, 0.0
		b.Reset()
		for j < len(gs) && gs[j].mark == "" {
			b.WriteString(gs[j].text)
			w += gs[j].width
			j++
		}
		p.f("<text x=\"%s\" y=\"%s\" textLength=\"%s\" lengthAdjust=\"spacingAndGlyphs\" class=\"%s\">%s</text>", num(x), num(y), num(w), class, escape(b.String()))
		x += w
		i = j
	}
	p.f("</g>\n")
}

// mark draws a character that would not be seen: in a yellow box, a blank as the
// open box ␣ and others by their code point.
func (p *pen) mark(x, y float64, g glyph, f font, class string) {
	w := g.width
	h := f.size * 1.12
	top := y - f.size*0.88
	p.f("<rect class=\"wsp\" x=\"%s\" y=\"%s\" width=\"%s\" height=\"%s\" rx=\"2\"/>", num(x+0.5), num(top), num(w-1), num(h))
	if g.mark == visible.Blank {
		l, r, base := x+w*0.17, x+w*0.83, y-f.size*0.02
		p.f("<path class=\"wsg\" d=\"M%s %sV%sH%sV%s\"/>", num(l), num(base-f.size*0.24), num(base), num(r), num(base-f.size*0.24))
		return
	}
	p.f("<text x=\"%s\" y=\"%s\" class=\"%s wst\" textLength=\"%s\" lengthAdjust=\"spacingAndGlyphs\">%s</text>", num(x+markPad), num(y), class, num(w-2*markPad), escape(g.mark))
}

// num writes a coordinate with at most two decimals.
func num(f float64) string {
	return strconv.FormatFloat(math.Round(f*100)/100, 'f', -1, 64)
}

// course is the path data of a line with rounded bends.
func course(ps []Point, radius int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "M%d %d", ps[0].X, ps[0].Y)
	for i := 1; i < len(ps)-1; i++ {
		a, c, e := ps[i-1], ps[i], ps[i+1]
		r := min(radius, dist(a, c)/2, dist(c, e)/2)
		in, out := toward(c, a, r), toward(c, e, r)
		fmt.Fprintf(&b, "L%d %dQ%d %d %d %d", in.X, in.Y, c.X, c.Y, out.X, out.Y)
	}
	last := ps[len(ps)-1]
	fmt.Fprintf(&b, "L%d %d", last.X, last.Y)
	return b.String()
}

func dist(a, b Point) int { return abs(a.X-b.X) + abs(a.Y-b.Y) }

// toward is the point n from a towards b, which is straight across or down.
func toward(a, b Point, n int) Point {
	switch {
	case a.X == b.X && b.Y > a.Y:
		return Point{a.X, a.Y + n}
	case a.X == b.X:
		return Point{a.X, a.Y - n}
	case b.X > a.X:
		return Point{a.X + n, a.Y}
	}
	return Point{a.X - n, a.Y}
}

// family is the style class of a verb.
func family(v provenance.Verb) string {
	switch v {
	case provenance.Created, provenance.Wrote, provenance.Renamed, provenance.Deleted, provenance.Hid,
		provenance.Contains, provenance.Loaded:
		return "v-file"
	case provenance.Injected, provenance.Accessed:
		return "v-inject"
	case provenance.Connected, provenance.Resolved:
		return "v-net"
	case provenance.Registered, provenance.Configured, provenance.Excluded, provenance.Requested:
		return "v-reg"
	}
	return "v-start"
}

// open begins the element of an arrow or box and closeTag ends it.
func (d *Diagram) open(p *pen, kind, id, class, label, data string) (closeTag string) {
	tag, href := "g", ""
	if d.opt.Links {
		tag, href = "a", fmt.Sprintf(` href="#%s%s"`, d.opt.Prefix, id)
	}
	p.f("<%s id=\"%s%s-%s\"%s class=\"%s\" aria-label=\"%s\"%s>", tag, d.opt.Prefix, kind, id, href, class, escape(label), data)
	return "</" + tag + ">\n"
}

func (d *Diagram) arrow(p *pen, a *Arrow, boxes map[string]*Box) {
	lang := d.opt.Lang
	from, to := boxes[a.From], boxes[a.To]
	facts := len(a.Edges) + len(a.Back)
	class := "arrow " + look(a)
	var label string
	if facts > 0 {
		label = lang.T("diagram.fact", boxName(from), lang.T("verb."+a.Verb.String()), boxName(to))
		if a.Step > 0 {
			label = "(" + strconv.Itoa(a.Step) + ") " + label
		}
		label += " — " + lang.T("diagram.class."+a.Class.String())
		if a.Count > 1 {
			label += ", ×" + i18n.Number(a.Count)
		}
	}
	if facts == 0 { // leads to a folded box: a line without a fact of its own
		p.f("<g class=\"arrow dim\"><path class=\"trunk\" d=\"%s\"/></g>\n", course(a.Points, 6))
		return
	}
	end := d.open(p, "arrow", a.ID, class, visible.Text(label), fmt.Sprintf(` data-from="%s" data-to="%s" data-verb="%s" data-class="%s" data-step="%d" data-count="%d"`,
		a.From, a.To, a.Verb, a.Class, a.Step, a.Count))
	p.f("<title>%s</title>", escape(label))
	if a.Signpost {
		path := course(a.Points, 0)
		p.f("<path class=\"hit\" d=\"%s\"/><path class=\"line\" d=\"%s\"/>%s", path, path, end)
		return
	}
	ps := drawnCourse(a, from, to)
	if n := len(ps); a.Backbone && n > 2 { // the shared part is neutral, the rest is this arrow's
		bend := Point{ps[n-2].X + 7, ps[n-2].Y}
		p.f("<path class=\"trunk\" d=\"%s\"/>", course(append(append([]Point{}, ps[:n-1]...), bend), 6))
		ps = []Point{{bend.X - 1, bend.Y}, ps[n-1]}
	}
	tip, before := ps[len(ps)-1], ps[len(ps)-2]
	ps[len(ps)-1] = toward(tip, before, min(7, max(dist(tip, before)-1, 0)))
	path := course(ps, 6)
	// A line that crosses another passes over it; where it leaves a shared line
	// it must not cut that.
	over := append([]Point{}, ps...)
	if n := dist(over[0], over[1]); a.Backbone && n > 8 {
		over[0] = toward(over[0], over[1], 8)
	}
	p.f("<path class=\"halo\" d=\"%s\"/>", course(over, 6))
	p.f("<path class=\"hit\" d=\"%s\"/><path class=\"line\" d=\"%s\"/>", path, path)
	if family(a.Verb) == "v-net" {
		p.f("<path class=\"core\" d=\"%s\"/>", path)
	}
	if a.Backbone {
		p.heads(a, ps, tip, before)
	}
	l := a.label
	if !l.pill {
		p.centred(float64(l.at.X), float64(l.at.Y)-12, l.verb, fontVerb, "verb")
		if family(a.Verb) == "v-reg" {
			p.f("<path class=\"key\" transform=\"translate(%d %d)\" d=\"%s\"/>", l.at.X-circle-15, l.at.Y-4, iconKey)
		}
		if l.step > 0 {
			p.step(l.at, l.step)
		}
		p.centred(float64(l.at.X), float64(l.at.Y)+20, l.below, fontVerb, "below")
	}
	p.f("%s", end)
}

// look are the style classes of an arrow.
func look(a *Arrow) string {
	class := family(a.Verb)
	if a.Class == provenance.ClassC {
		class += " class-c"
	}
	if a.Step == 0 && !a.Skeleton {
		class += " dim"
	}
	if !a.Backbone {
		class += " cross"
	}
	return class
}

// drawnCourse is an arrow's course from the edge of one box to that of the other.
func drawnCourse(a *Arrow, from, to *Box) []Point {
	ps := append([]Point{}, a.Points...)
	if !a.Backbone {
		ps = append([]Point{edgeOf(ps[0], from)}, ps...)
		ps = append(ps, edgeOf(ps[len(ps)-1], to))
	}
	return ps
}

// heads draws an arrow's head, and a second one at its start if facts lead back.
func (p *pen) heads(a *Arrow, ps []Point, tip, before Point) {
	p.head(tip, before, a.Class)
	if len(a.Back) > 0 {
		p.head(toward(ps[0], ps[1], 1), ps[1], a.Class)
	}
}

// pill writes the head and the label of an arrow beside the backbone, above all
// lines, so that no line that passes hides them.
func (d *Diagram) pill(p *pen, a *Arrow, boxes map[string]*Box) {
	l := a.label
	if a.Backbone {
		return
	}
	if !a.Signpost {
		ps := drawnCourse(a, boxes[a.From], boxes[a.To])
		p.f("<g class=\"%s\">", look(a))
		p.heads(a, ps, ps[len(ps)-1], ps[len(ps)-2])
		p.f("</g>\n")
	}
	if len(l.rects) == 0 {
		return
	}
	tag, attrs := "g", ""
	if d.opt.Links {
		// The arrow itself is the link that is named and focused.
		tag, attrs = "a", fmt.Sprintf(` href="#%s%s" tabindex="-1" aria-hidden="true"`, d.opt.Prefix, a.ID)
	}
	r := l.rects[0]
	p.f("<%s class=\"pillgroup\"%s><rect class=\"pill\" x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" rx=\"9\"/>", tag, attrs, r.x1, r.y1, r.x2-r.x1, r.y2-r.y1)
	x := float64(r.x1 + 6)
	if l.step > 0 {
		p.step(Point{r.x1 + circle, l.at.Y}, l.step)
		x += 2*circle - 2
	}
	p.text(x, float64(l.at.Y)+4, l.verb, fontVerb, "verb")
	p.f("</%s>\n", tag)
}

func (p *pen) centred(x, y float64, gs []glyph, f font, class string) {
	for _, g := range gs {
		if g.mark != "" || g.exotic {
			p.text(x-width(gs)/2, y, gs, f, class)
			return
		}
	}
	p.text(x, y, gs, f, class+" mid")
}

func (p *pen) step(at Point, n int) {
	r := circle
	text := strconv.Itoa(n)
	p.f("<circle class=\"num\" cx=\"%d\" cy=\"%d\" r=\"%d\"/>", at.X, at.Y, r)
	if len(text) > 2 {
		p.f("<text class=\"numtext\" x=\"%d\" y=\"%d\" textLength=\"15\" lengthAdjust=\"spacingAndGlyphs\">%s</text>", at.X, at.Y+4, text)
		return
	}
	p.f("<text class=\"numtext\" x=\"%d\" y=\"%d\">%s</text>", at.X, at.Y+4, text)
}

// head draws an arrowhead at tip: filled for what an identity key joins, hollow
// for what was joined by content or guessed.
func (p *pen) head(tip, before Point, c provenance.Class) {
	const long, half = 8, 4.5
	x, y := float64(tip.X), float64(tip.Y)
	dx, dy := float64(tip.X-before.X), float64(tip.Y-before.Y)
	n := math.Hypot(dx, dy)
	if n == 0 {
		dx, n = 1, 1
	}
	dx, dy = dx/n, dy/n
	class := "head-a"
	if c != provenance.ClassA {
		class = "head-b"
	}
	p.f("<path class=\"%s\" d=\"M%s %sL%s %sL%s %sz\"/>", class, num(x-dx), num(y-dy),
		num(x-dx*long-dy*half), num(y-dy*long+dx*half), num(x-dx*long+dy*half), num(y-dy*long-dx*half))
}

// start marks the root cause with an arrow from nowhere.
func (d *Diagram) start(p *pen, at Point) {
	x := at.X - gap + trunkX
	p.f("<g class=\"startmark\"><circle class=\"start\" cx=\"%d\" cy=\"%d\" r=\"5\"/><path class=\"line\" d=\"M%d %dH%d\"/>", x, at.Y, x, at.Y, at.X-12)
	p.head(Point{at.X - 4, at.Y}, Point{x, at.Y}, provenance.ClassA)
	word := middle(plain(d.opt.Lang.T("diagram.start"), fontVerb), gap-trunkX, 30, fontVerb)
	p.centred(float64(x+at.X-6)/2, float64(at.Y-12), word, fontVerb, "verb note")
	p.f("</g>\n")
}

func (d *Diagram) startRect(at Point) rect {
	return rect{at.X - gap + trunkX - 6, at.Y - 24, at.X, at.Y + 8}
}

func boxName(b *Box) string {
	var s strings.Builder
	for _, g := range b.text.name {
		s.WriteString(g.text)
	}
	if b.Kind == Single {
		return pathOrLabel(b.Node)
	}
	return s.String()
}

func (d *Diagram) box(p *pen, b *Box) {
	class := "box k-" + string(b.Kind)
	detected := len(b.Detections) > 0
	switch {
	case detected:
		class += " s" + strconv.Itoa(int(b.Severity))
	case b.Context:
		class += " ctx"
	}
	implied := b.Kind == Single && (b.Node.Implied || b.Node.Kind == provenance.Gap)
	if implied {
		class += " implied"
	}
	label := d.opt.Lang.T("diagram.kind."+b.Node.Kind.String()) + ": " + boxName(b)
	if detected {
		label += " — " + d.opt.Lang.T("severity."+b.Severity.String())
	}
	end := d.open(p, "box", b.ID, class, visible.Text(label), fmt.Sprintf(` data-kind="%s" data-node="%s" data-count="%d" data-detections="%d"`,
		b.Kind, escape(string(b.Node.ID)), b.Count, len(b.Detections)))
	p.f("<title>%s</title>", escape(strings.Join(b.text.tooltip, "\n")))
	if b.Kind != Single {
		p.f("<rect class=\"stack\" x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" rx=\"5\"/>", b.X+4, b.Y+4, b.W, b.H)
	}
	if b.Root {
		p.f("<rect class=\"outer\" x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" rx=\"8\"/>", b.X-4, b.Y-4, b.W+8, b.H+8)
	}
	p.f("<rect class=\"frame\" x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" rx=\"5\"/>", b.X, b.Y, b.W, b.H)
	if detected {
		p.f("<path class=\"bar\" d=\"M%d %dh-1a4 4 0 0 0-4 4v%da4 4 0 0 0 4 4h1z\"/>", b.X+5, b.Y, b.H-8)
		p.severity(b.X+b.W-3, b.Y+3, b.Severity)
	}
	shape := iconStack
	if b.Kind == Single || b.Kind == Group {
		shape = icon(b.Node)
	}
	p.f("<path class=\"icon\" transform=\"translate(%d %d)\" d=\"%s\"/>\n", b.X+boxPadX, b.Y+boxTop+5, shape)
	x := float64(b.X + boxPadX)
	y := float64(b.Y + boxTop + 17)
	p.text(x+iconRoom, y, b.text.name, fontName, "name")
	y += nameHeight - 4
	for _, l := range b.text.sub {
		p.text(x, y, l, fontSub, "sub")
		y += lineHeight
	}
	for _, l := range b.text.note {
		p.text(x, y, l, fontNote, "note")
		y += lineHeight
	}
	for _, l := range b.text.reason {
		p.text(x, y, l, fontSub, "reason")
		y += lineHeight
	}
	base := float64(b.Y + b.H - boxBottom - 3)
	if foot := plain(b.text.foot, fontFoot); b.text.beside {
		p.f("<text x=\"%d\" y=\"%d\" class=\"foot end\">%s</text>\n", b.X+b.W-boxPadX+2, b.Y+boxTop+17, escape(b.text.foot))
	} else {
		p.text(x, base, foot, fontFoot, "foot")
	}
	if b.text.aside != "" {
		p.f("<text x=\"%d\" y=\"%d\" class=\"foot end\">%s</text>\n", b.X+b.W-boxPadX-markerRoom+2, b.Y+boxTop+17, escape(b.text.aside))
	}
	right := float64(b.X+b.W) - 8
	for i := len(b.text.badges) - 1; i >= 0; i-- {
		t := b.text.badges[i]
		w := badgeWidth(t)
		p.f("<rect class=\"badge\" x=\"%s\" y=\"%s\" width=\"%s\" height=\"15\" rx=\"3\"/>", num(right-w), num(base-11.5), num(w))
		p.f("<text class=\"badgetext mid\" x=\"%s\" y=\"%s\">%s</text>", num(right-w/2), num(base), escape(t))
		right -= w + 4
	}
	p.f("%s", end)
}

// severity draws the level's shape with its number: information 0 to critical 4.
func (p *pen) severity(x, y int, s detect.Severity) {
	switch s {
	case detect.Critical:
		p.f("<path class=\"mark\" d=\"M%d %dh8l5 5v8l-5 5h-8l-5-5v-8z\"/>", x-4, y-9)
	case detect.High:
		p.f("<path class=\"mark\" d=\"M%d %dl10 10-10 10-10-10z\"/>", x, y-10)
	case detect.Medium:
		p.f("<rect class=\"mark\" x=\"%d\" y=\"%d\" width=\"16\" height=\"16\" rx=\"2\"/>", x-8, y-8)
	default:
		p.f("<circle class=\"mark\" cx=\"%d\" cy=\"%d\" r=\"8.5\"/>", x, y)
	}
	p.f("<text class=\"onbar mid\" x=\"%d\" y=\"%d\">%d</text>", x, y+4, int(s))
}

// Name is what a box is called in a sentence: the path of a single node, or the
// words of a group.
func (d *Diagram) Name(b *Box) string { return boxName(b) }
