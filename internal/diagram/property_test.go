package diagram

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"ashiato/internal/detect"
	"ashiato/internal/diagram/diagramtest"
	"ashiato/internal/i18n"
	"ashiato/internal/incident"
	"ashiato/internal/provenance"
)

// check holds what every diagram must: boxes apart and inside, everything
// counted once, arrows between drawn boxes.
func check(t interface{ Errorf(string, ...any) }, inc *incident.Incident, d *Diagram) {
	boxes := map[string]*Box{}
	counted := map[provenance.NodeID]int{}
	total := 0
	for _, b := range d.Boxes {
		boxes[b.ID] = b
		total += b.Count
		if b.Count != len(b.Nodes) {
			t.Errorf("box %s counts %d and names %d nodes", b.ID, b.Count, len(b.Nodes))
		}
		for _, id := range b.Nodes {
			counted[id]++
		}
		if b.X < 0 || b.Y < 0 || b.X+b.W > d.Width || b.Y+b.H > d.Height {
			t.Errorf("box %s at %v is outside the canvas of %d by %d", b.ID, b.rect(), d.Width, d.Height)
		}
	}
	for _, n := range inc.Nodes {
		if counted[n.ID] != 1 {
			t.Errorf("node %q is in %d boxes", n.ID, counted[n.ID])
		}
	}
	if total != d.Totals.Nodes || total != len(inc.Nodes) || d.Totals.Drawn+d.Totals.Grouped+d.Totals.Folded != total {
		t.Errorf("%d nodes in boxes, %d in the incident, totals %+v", total, len(inc.Nodes), d.Totals)
	}
	byTop := slices.Clone(d.Boxes)
	slices.SortFunc(byTop, func(a, b *Box) int { return a.Y - b.Y })
	for i, a := range byTop {
		for _, b := range byTop[i+1:] {
			if b.Y > a.Y+a.H {
				break
			}
			if a.rect().meets(b.rect()) {
				t.Errorf("boxes %s %v and %s %v overlap", a.ID, a.rect(), b.ID, b.rect())
			}
		}
	}
	// The ground of a tree holds another's whole or not at all.
	within := func(a, b rect) bool { return a.x1 >= b.x1 && a.y1 >= b.y1 && a.x2 <= b.x2 && a.y2 <= b.y2 }
	for i, a := range d.branches {
		for _, b := range d.branches[i+1:] {
			if a.meets(b) && !within(a, b) && !within(b, a) {
				t.Errorf("grounds %v and %v overlap", a, b)
			}
		}
	}
	checkDetections(t, inc, d)
	checkOrder(t, d)
	edges := map[int]int{}
	var labels []rect
	for _, a := range d.Arrows {
		from, to := boxes[a.From], boxes[a.To]
		if from == nil || to == nil {
			t.Errorf("arrow %s goes from %q to %q", a.ID, a.From, a.To)
			continue
		}
		if a.Backbone && (to.Parent != from.ID || from.Band == to.Band && from.X >= to.X) {
			t.Errorf("backbone arrow %s from %v to %v does not lead to the right", a.ID, from.rect(), to.rect())
		}
		for _, e := range append(slices.Clone(a.Edges), a.Back...) {
			edges[e]++
		}
		for i := 1; a.Backbone && i < len(a.Points); i++ {
			s := segment{a.Points[i-1], a.Points[i]}.rect()
			for _, b := range d.Boxes {
				if b != from && b != to && s.meets(b.rect().grow(-1)) {
					t.Errorf("backbone arrow %s at %v crosses box %s at %v", a.ID, s, b.ID, b.rect())
				}
			}
		}
		for _, p := range a.Points {
			if p.X < 0 || p.X > d.Width || p.Y < 0 || p.Y > d.Height {
				t.Errorf("arrow %s leaves the canvas at %v", a.ID, p)
			}
		}
		for _, r := range a.label.rects {
			for _, b := range d.Boxes {
				if r.meets(b.rect()) {
					t.Errorf("the label of arrow %s at %v covers box %s at %v", a.ID, r, b.ID, b.rect())
				}
			}
		}
		for _, r := range a.label.rects {
			for _, other := range labels {
				if r.grow(-1).meets(other.grow(-1)) {
					t.Errorf("the label of arrow %s at %v covers another at %v", a.ID, r, other)
				}
			}
		}
		labels = append(labels, a.label.rects...)
	}
	for e, n := range edges {
		if n != 1 {
			t.Errorf("edge %d is behind %d arrows", e, n)
		}
	}
	if len(edges) != d.Totals.EdgesDrawn || d.Totals.EdgesDrawn+d.Totals.EdgesInside+d.Totals.EdgesHidden != len(inc.Edges) || d.Totals.Edges != len(inc.Edges) {
		t.Errorf("%d edges behind arrows of %d, totals %+v", len(edges), len(inc.Edges), d.Totals)
	}
	if len(d.Boxes) > MaxBoxes {
		t.Errorf("%d boxes are drawn", len(d.Boxes))
	}
}

// checkDetections holds that every detection is on the one box of its node, and
// that the title of a group holds for each of its members.
func checkDetections(t interface{ Errorf(string, ...any) }, inc *incident.Incident, d *Diagram) {
	at := map[provenance.NodeID]*Box{}
	shown := 0
	for _, b := range d.Boxes {
		shown += len(b.Detections)
		for _, id := range b.Nodes {
			at[id] = b
		}
	}
	of := map[provenance.NodeID][]incident.Placed{}
	for _, p := range inc.Detections {
		of[p.Node] = append(of[p.Node], p)
		if b := at[p.Node]; b == nil || !slices.ContainsFunc(b.Detections, func(q incident.Placed) bool {
			return q.Node == p.Node && q.Rule.ID == p.Rule.ID && q.Event == p.Event
		}) {
			t.Errorf("the detection by %s on %q is on no box of it", p.Rule.ID, p.Node)
		}
	}
	if shown != len(inc.Detections) {
		t.Errorf("%d detections on boxes, %d in the incident", shown, len(inc.Detections))
	}
	for _, b := range d.Boxes {
		if b.Kind != Group && b.Kind != Context || len(b.Detections) == 0 {
			continue
		}
		if b.Kind == Context || len(b.text.note) == 0 {
			t.Errorf("group %s swallows a detection", b.ID)
			continue
		}
		var note strings.Builder
		for _, l := range b.text.note {
			for _, g := range l {
				note.WriteString(g.text)
			}
		}
		severities := map[detect.Severity]bool{}
		common := rulesOf(of[b.Nodes[0]])
		for _, id := range b.Nodes {
			severities[severityOf(of[id])] = true
			common = slices.DeleteFunc(common, func(r *detect.Rule) bool {
				return !slices.ContainsFunc(of[id], func(p incident.Placed) bool { return p.Rule.ID == r.ID })
			})
		}
		first := []rune(strings.TrimSpace(note.String()))[0]
		if len(severities) != 1 || !slices.ContainsFunc(common, func(r *detect.Rule) bool {
			return r.Severity == b.Severity && strings.HasPrefix(r.TitleIn(string(d.opt.Lang)), string(first))
		}) {
			t.Errorf("group %s is titled %q, which is not the most severe of each member: %v", b.ID, note.String(), severities)
		}
		all := 0
		for _, id := range b.Nodes {
			all += len(rulesOf(of[id]))
		}
		if further := all - len(common)*len(b.Nodes); further > 0 && !strings.Contains(note.String(), i18n.Number(further)) {
			t.Errorf("group %s does not say that its members have %d more detections: %q", b.ID, further, note.String())
		}
	}
}

// checkOrder holds that the effects of one box are in order of time from left to
// right, then down.
func checkOrder(t interface{ Errorf(string, ...any) }, d *Diagram) {
	last := map[string]*Box{}
	for _, b := range d.Boxes {
		if a := last[b.Parent]; b.Parent != "" && a != nil && (a.Y > b.Y || a.Y == b.Y && a.X >= b.X) {
			t.Errorf("box %s at %v comes after %s at %v", b.ID, b.rect(), a.ID, a.rect())
		}
		last[b.Parent] = b
	}
}

func TestLayoutHolds(t *testing.T) {
	for _, c := range cases {
		for _, lang := range i18n.Langs() {
			for _, width := range []int{0, 640, 900, 1920} {
				t.Run(fmt.Sprint(c.name, lang, width), func(t *testing.T) {
					made := c.make()
					opt := options(lang, made)
					opt.Width = width
					check(t, made.Incident, New(made.Incident, opt))
				})
			}
		}
	}
}

// random draws an incident of any shape: cycles, several edges between two
// nodes, loops, islands, guesses and detections anywhere.
func random(t *rapid.T) *diagramtest.Case {
	b := diagramtest.NewBuilder("H1")
	n := rapid.IntRange(1, 90).Draw(t, "nodes")
	var ids []provenance.NodeID
	for i := range n {
		if rapid.IntRange(0, 20).Draw(t, "other host") == 0 {
			b.Host = "H2"
		}
		kind := rapid.SampledFrom(provenance.NodeKinds()).Draw(t, "kind")
		label := rapid.SampledFrom([]string{"a.exe", "", "long name of a thing that goes on.docx", "資料.xlsx", "x \u202e "}).Draw(t, "label")
		ids = append(ids, b.Node(kind, fmt.Sprint(i), label, `C:\f`+fmt.Sprint(rapid.IntRange(0, 3).Draw(t, "folder"))+`\`+label, float64(rapid.IntRange(0, 30).Draw(t, "at"))))
	}
	type key struct {
		f, t provenance.NodeID
		v    provenance.Verb
		at   int
	}
	seen := map[key]bool{}
	for range rapid.IntRange(0, 2*n).Draw(t, "edges") {
		k := key{rapid.SampledFrom(ids).Draw(t, "from"), rapid.SampledFrom(ids).Draw(t, "to"), rapid.SampledFrom(provenance.Verbs()).Draw(t, "verb"), rapid.IntRange(0, 40).Draw(t, "time")}
		if seen[k] {
			continue
		}
		seen[k] = true
		e := b.Edge(k.f, k.v, k.t, float64(k.at), rapid.IntRange(0, 12).Draw(t, "step"))
		e.Class = provenance.Class(rapid.IntRange(0, 2).Draw(t, "class"))
	}
	for range rapid.IntRange(0, 12).Draw(t, "detections") {
		level := detect.Severity(rapid.IntRange(0, 4).Draw(t, "severity"))
		id := fmt.Sprint(level, rapid.SampledFrom([]string{"a", "b"}).Draw(t, "rule"))
		b.Detect(rapid.SampledFrom(ids).Draw(t, "on"), diagramtest.Rule(id, "R", level, "T1059", "something happened", "何かが起きた", "무언가 발생"), 1)
	}
	return b.Finish(rapid.SampledFrom(ids).Draw(t, "root"), incident.RootVolume)
}

func TestLayoutHoldsForAnyGraph(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := random(t)
		d := New(c.Incident, Options{Lang: rapid.SampledFrom(i18n.Langs()).Draw(t, "lang"), Width: rapid.SampledFrom([]int{640, 1280, 2000}).Draw(t, "width")})
		check(t, c.Incident, d)
		var svg bytes.Buffer
		if err := d.SVG(&svg); err != nil {
			t.Fatal(err)
		}
		wellFormed(t, svg.Bytes())
	})
}

func wellFormed(t interface{ Fatalf(string, ...any) }, svg []byte) {
	dec := xml.NewDecoder(bytes.NewReader(svg))
	for {
		_, err := dec.Token()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatalf("not well-formed: %v", err)
		}
	}
}

func shuffle(c *diagramtest.Case, seed uint64) {
	inc := c.Incident
	r := rand.New(rand.NewPCG(seed, 7))
	r.Shuffle(len(inc.Nodes), func(i, j int) { inc.Nodes[i], inc.Nodes[j] = inc.Nodes[j], inc.Nodes[i] })
	r.Shuffle(len(inc.Detections), func(i, j int) { inc.Detections[i], inc.Detections[j] = inc.Detections[j], inc.Detections[i] })
	at := r.Perm(len(inc.Edges))
	edges, steps := slices.Clone(inc.Edges), slices.Clone(inc.EdgeSteps)
	for i, to := range at {
		inc.Edges[to], inc.EdgeSteps[to] = edges[i], steps[i]
	}
	for s := range inc.Story {
		for k, e := range inc.Story[s].Edges {
			inc.Story[s].Edges[k] = at[e]
		}
	}
}

func TestOrderDoesNotMatter(t *testing.T) {
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			draw := func(made *diagramtest.Case) (svg, graph string) {
				var a, b bytes.Buffer
				d := New(made.Incident, Options{Title: c.name, Story: true})
				if err := errors.Join(d.SVG(&a), d.JSON(&b)); err != nil {
					t.Fatal(err)
				}
				return a.String(), b.String()
			}
			wantSVG, wantJSON := draw(c.make())
			for seed := range uint64(4) {
				made := c.make()
				shuffle(made, seed)
				svg, graph := draw(made)
				if svg != wantSVG {
					t.Errorf("seed %d: the SVG depends on the order of the input", seed)
				}
				if graph != wantJSON {
					t.Errorf("seed %d: the JSON depends on the order of the input", seed)
				}
			}
		})
	}
}

func TestMinerIsTheWholeStory(t *testing.T) {
	c := diagramtest.Miner()
	d := New(c.Incident, options(i18n.English, c))
	if n := len(d.Boxes); n < 25 || n > 40 {
		t.Errorf("%d boxes at first sight, want 25 to 40", n)
	}
	var files, context *Box
	roots := 0
	for _, b := range d.Boxes {
		switch {
		case b.Kind == Group && b.Node.Kind == provenance.File && (files == nil || b.Count > files.Count):
			files = b
		case b.Kind == Context:
			context = b
		}
		if b.Root {
			roots++
			if b.Node.Kind != provenance.Volume || b.Column != 0 || b.Band != 0 {
				t.Errorf("the root is %v in column %d of band %d", b.Node.Label, b.Column, b.Band)
			}
		}
	}
	if roots != 1 {
		t.Errorf("%d roots", roots)
	}
	if files == nil || files.Count != 46 {
		t.Errorf("the user's files are not one group of 46: %+v", files)
	}
	if context == nil || context.Count != 3 {
		t.Errorf("chcp, timeout and conhost are not one group of 3: %+v", context)
	}
	steps := map[int]bool{}
	for _, a := range d.Arrows {
		for _, e := range a.Edges {
			steps[c.Incident.EdgeSteps[e]] = true
		}
	}
	for s := 1; s <= 14; s++ {
		if !steps[s] {
			t.Errorf("no arrow of step %d", s)
		}
	}
	var svg bytes.Buffer
	if err := d.SVG(&svg); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"C:\\Windows \\System32\\printui.exe", "class=\"wsp\"", "T1548.002", "A folder that imitates the", `data-verb="elevated"`} {
		if !strings.Contains(svg.String(), want) {
			t.Errorf("the SVG lacks %q", want)
		}
	}
}

func TestLargeIsFolded(t *testing.T) {
	c := diagramtest.Large()
	d := New(c.Incident, options(i18n.English, c))
	if len(c.Incident.Nodes) < 4500 {
		t.Fatalf("the case has only %d nodes", len(c.Incident.Nodes))
	}
	if len(d.Boxes) > FirstSight {
		t.Errorf("%d boxes", len(d.Boxes))
	}
	// Every critical detection is on a box of its own.
	shown := 0
	for _, b := range d.Boxes {
		if b.Kind == Single && len(b.Detections) > 0 && b.Severity == detect.Critical {
			shown++
		}
	}
	want := 0
	for _, p := range c.Incident.Detections {
		if p.Rule.Severity == detect.Critical {
			want++
		}
	}
	if shown != want {
		t.Errorf("%d of %d critical detections are drawn", shown, want)
	}
}

func TestHostileTextIsInert(t *testing.T) {
	c := diagramtest.Hostile()
	d := New(c.Incident, options(i18n.English, c))
	var svg, graph bytes.Buffer
	if err := errors.Join(d.SVG(&svg), d.JSON(&graph)); err != nil {
		t.Fatal(err)
	}
	wellFormed(t, svg.Bytes())
	for _, bad := range []string{"<script", "<img", "onload=alert(1)\"", "</style><style>", "\u202e", "\x00"} {
		if text := strings.ReplaceAll(svg.String(), "<title>", ""); bad != "\u202e" && strings.Contains(text, bad) {
			t.Errorf("the SVG holds %q", bad)
		}
	}
	if !strings.Contains(graph.String(), `\ud800`) {
		t.Error("the JSON lost the lone surrogate")
	}
	if !json.Valid(graph.Bytes()) {
		t.Error("the JSON is not valid")
	}
}

func TestEmptyIncident(t *testing.T) {
	d := New(&incident.Incident{}, Options{})
	var svg bytes.Buffer
	if err := d.SVG(&svg); err != nil {
		t.Fatal(err)
	}
	wellFormed(t, svg.Bytes())
}

func TestMiddleKeepsTheEnds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.String().Draw(t, "s")
		room := rapid.Float64Range(20, 400).Draw(t, "room")
		gs := middle(glyphs(s, fontName), room, 55, fontName)
		if w := width(gs); w > room+0.001 && len(gs) > 1 {
			t.Errorf("%q takes %.1f of %.1f", s, w, room)
		}
		for _, l := range lines(glyphs(s, fontSub), room, 2, fontSub) {
			if w := width(l); w > room+0.001 && len(l) > 1 {
				t.Errorf("a line of %q takes %.1f of %.1f", s, w, room)
			}
		}
	})
}

// Arrows beside the backbone go around the boxes wherever there is a way.
func TestArrowsGoAroundBoxes(t *testing.T) {
	for _, c := range cases {
		made := c.make()
		d := New(made.Incident, options(i18n.Japanese, made))
		crossed, all := 0, 0
		for _, a := range d.Arrows {
			for i := 1; i < len(a.Points); i++ {
				all++
				s := segment{a.Points[i-1], a.Points[i]}.rect()
				for _, b := range d.Boxes {
					if b.ID != a.From && b.ID != a.To && s.meets(b.rect().grow(-1)) {
						crossed++
						t.Logf("%s: arrow %s crosses box %s", c.name, a.ID, b.ID)
					}
				}
			}
		}
		if all == 0 || crossed > 0 {
			t.Errorf("%s: %d of %d pieces of arrows cross a box", c.name, crossed, all)
		}
	}
}

// The palette's pairs of text and ground have a contrast of at least 4.5 to 1
// (WCAG 2.2, success criterion 1.4.3).
func TestContrast(t *testing.T) {
	for _, p := range [][2]string{
		{"#1b2430", "#ffffff"},
		{"#465160", "#ffffff"},
		{"#56606e", "#ffffff"},
		{"#5a6472", "#f5f6f8"},
		{"#5b4a00", "#ffffff"},
		{"#8a0f31", "#fdf0f2"},
		{"#465160", "#fdf0f2"},
		{"#9a3707", "#fff4ec"},
		{"#56606e", "#fff4ec"},
		{"#6d5200", "#fffae8"},
		{"#1d4f88", "#eff6ff"},
		{"#ffffff", "#9f1239"},
		{"#ffffff", "#b9440b"},
		{"#ffffff", "#856300"},
		{"#ffffff", "#2563a8"},
		{"#ffffff", "#5b6674"},
		{"#ffffff", "#12202f"},
		{"#7a1f00", "#ffd84d"},
	} {
		for _, c := range p {
			if c != "#ffffff" && !strings.Contains(Style, c) {
				t.Errorf("the style has no %s", c)
			}
		}
		a, b := luminance(t, p[0]), luminance(t, p[1])
		if ratio := (max(a, b) + 0.05) / (min(a, b) + 0.05); ratio < 4.5 {
			t.Errorf("%s on %s has a contrast of %.2f", p[0], p[1], ratio)
		}
	}
}

func luminance(t *testing.T, color string) float64 {
	var r, g, b uint8
	if _, err := fmt.Sscanf(color, "#%02x%02x%02x", &r, &g, &b); err != nil {
		t.Fatal(err)
	}
	linear := func(c uint8) float64 {
		v := float64(c) / 255
		if v <= 0.04045 {
			return v / 12.92
		}
		return math.Pow((v+0.055)/1.055, 2.4)
	}
	return 0.2126*linear(r) + 0.7152*linear(g) + 0.0722*linear(b)
}

func BenchmarkLarge(b *testing.B) {
	c := diagramtest.Large()
	for b.Loop() {
		if err := New(c.Incident, Options{}).SVG(io.Discard); err != nil {
			b.Fatal(err)
		}
	}
}
