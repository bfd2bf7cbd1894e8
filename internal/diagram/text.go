package diagram

import (
	"slices"
	"strings"
	"time"

	"ashiato/internal/detect"
	"ashiato/internal/event"
	"ashiato/internal/i18n"
	"ashiato/internal/incident"
	"ashiato/internal/provenance"
)

type refOf = event.EvidenceRef

// The fonts of the diagram.
var (
	fontTitle  = font{19, true}
	fontHead   = font{12.5, false}
	fontName   = font{13, true}
	fontSub    = font{11.5, false}
	fontNote   = font{11.5, true}
	fontFoot   = font{11, false}
	fontBadge  = font{11, true}
	fontVerb   = font{11.5, false}
	fontLegend = font{11.5, false}
	fontStory  = font{13, false}
)

// Distances inside a box.
const (
	boxPadX    = 12
	boxTop     = 8
	nameHeight = 22
	lineHeight = 15
	footHeight = 19
	boxBottom  = 6
	iconRoom   = 22
	markerRoom = 20 // severity shape in the upper right corner
	portY      = 21 // where arrows reach a box, below its upper edge
	minBox     = 47
)

// boxText is what is written in a box, already cut to fit.
type boxText struct {
	name    []glyph
	sub     [][]glyph // path, command line
	note    [][]glyph // what a detection says
	reason  [][]glyph // why a box is implied, what a gap is
	foot    string    // time, integrity level
	beside  bool      // the foot stands beside the name
	badges  []string  // ATT&CK ids
	tooltip []string
}

// describe writes a box's text for the width and sets its height.
func (d *Diagram) describe(m *model, g *group, b *Box, w int, showHost bool) {
	lang := d.opt.Lang
	room := float64(w - 2*boxPadX)
	n := m.nodes[g.nodes[0]]
	t := &b.text
	nameRoom := room - iconRoom
	if len(b.Detections) > 0 {
		nameRoom -= markerRoom
	}
	switch g.kind {
	case Single:
		label := n.Label
		if label == "" {
			label = n.Path
		}
		if label == "" || n.Kind == provenance.Gap || n.Kind == provenance.Exclusion {
			label = lang.T("diagram.kind." + n.Kind.String())
			t.name = middle(plain(label, fontName), nameRoom, 50, fontName)
		} else {
			t.name = middle(glyphs(label, fontName), nameRoom, 55, fontName)
		}
		d.describeNode(n, t, room)
	case Group:
		word := lang.Count("diagram.group."+n.Kind.String(), len(g.nodes))
		t.name = middle(plain(word, fontName), nameRoom, 50, fontName)
		if folder := folderOf(n.Node); folder != "" {
			t.sub = append(t.sub, middle(glyphs(folder, fontSub), room, 65, fontSub))
		}
		t.sub = append(t.sub, d.names(m, g, room, 1)...)
	case Context:
		word := lang.Count("diagram.context", len(g.nodes))
		t.name = middle(plain(word, fontName), nameRoom, 50, fontName)
		t.sub = append(t.sub, d.names(m, g, room, 2)...)
	case Folded:
		word := lang.Count("diagram.folded", len(g.nodes))
		t.name = middle(plain(word, fontName), nameRoom, 50, fontName)
		t.sub = lines(plain(d.kindCounts(m, g), fontSub), room, 2, fontSub)
		if len(g.dets) > 0 {
			t.note = lines(plain(lang.Count("diagram.folded.detections", len(g.dets)), fontNote), room, 2, fontNote)
		}
	}
	if g.kind != Folded && len(b.Detections) > 0 && b.Detections[0].Rule != nil {
		t.note = lines(glyphs(b.Detections[0].Rule.TitleIn(string(lang)), fontNote), room, 2, fontNote)
		t.badges = techniques(b.Detections)
	}
	if showHost && n.Kind != provenance.Host && n.Host != "" {
		t.sub = append(t.sub, middle(append(plain(lang.T("diagram.kind.host")+" ", fontSub), glyphs(n.Host, fontSub)...), room, 40, fontSub))
	}
	var foot []string
	if at := m.causedAt(g.nodes[0]); !at.IsZero() {
		foot = append(foot, d.clock(at))
	}
	if g.kind == Single && n.Kind == provenance.Process {
		if level := n.Attr("IntegrityLevel"); knownIntegrity(level) {
			foot = append(foot, level)
		}
	}
	t.foot = strings.Join(foot, " · ")
	// A box without badges has its time beside the name, if both fit whole.
	if len(t.badges) == 0 && len(t.note) == 0 && t.foot != "" && width(t.name)+textWidth(t.foot, fontFoot)+10 <= room-iconRoom &&
		!slices.ContainsFunc(t.name, func(g glyph) bool { return g.text == "…" }) {
		t.beside = true
	}
	// The foot row shares its room between time and badges; what does not fit
	// is counted.
	footRoom := room - textWidth(t.foot, fontFoot) - 8
	t.badges = fitBadges(t.badges, footRoom)
	h := boxTop + nameHeight + lineHeight*(len(t.sub)+len(t.note)+len(t.reason)) + boxBottom
	if !t.beside && (t.foot != "" || len(t.badges) > 0) {
		h += footHeight
	}
	b.W, b.H = w, max(h, minBox)
	t.tooltip = d.tooltip(m, g, b)
}

// describeNode adds the second line of a single node: where it lies and how it
// was called, whichever a reader cannot guess.
func (d *Diagram) describeNode(n *modelNode, t *boxText, room float64) {
	lang := d.opt.Lang
	path := func(s string) { t.sub = append(t.sub, middle(glyphs(s, fontSub), room, 65, fontSub)) }
	switch n.Kind {
	case provenance.Process:
		folder := folderOf(n.Node)
		odd := folder != "" && !usualFolder(folder)
		if odd {
			path(folder)
		}
		if args := arguments(n.Node); args != "" {
			most := 2
			if odd {
				most = 1
			}
			t.sub = append(t.sub, lines(glyphs(args, fontSub), room, most, fontSub)...)
		}
	case provenance.File:
		if f := folderOf(n.Node); f != "" {
			path(f)
		}
	case provenance.Folder:
		if n.Path != "" && n.Path != n.Label {
			path(n.Path)
		}
	case provenance.RegistryValue:
		if f := folderOf(n.Node); f != "" {
			path(f)
		}
	case provenance.Service:
		for _, name := range []string{"ServiceDll", "ImagePath", "ServiceFileName"} {
			if v := n.Attr(name); v != "" {
				path(v)
				break
			}
		}
	case provenance.Task:
		for _, name := range []string{"Command", "ActionName", "Path"} {
			if v := n.Attr(name); v != "" {
				t.sub = append(t.sub, lines(glyphs(v, fontSub), room, 2, fontSub)...)
				break
			}
		}
		if len(t.sub) == 0 && n.Path != "" && n.Path != n.Label {
			path(n.Path)
		}
	case provenance.Volume:
		if v := n.Attr("Model"); v != "" {
			path(v)
		}
		if v := n.Attr("Serial"); v != "" {
			t.sub = append(t.sub, middle(append(plain(lang.T("diagram.serial")+" ", fontSub), glyphs(v, fontSub)...), room, 50, fontSub))
		}
	case provenance.Logon:
		if v := n.Attr("User"); v != "" {
			path(v)
		}
	case provenance.Gap:
	case provenance.Exclusion:
		t.sub = append(t.sub, lines(glyphs(pathOrLabel(n.Node), fontSub), room, 2, fontSub)...)
	default:
		if n.Path != "" && n.Path != n.Label {
			path(n.Path)
		}
	}
	if strings.EqualFold(n.Attr("Signed"), "false") {
		t.sub = append(t.sub, middle(plain(lang.T("diagram.unsigned"), fontSub), room, 50, fontSub))
	}
	if n.Reason != "" || n.Implied || n.Kind == provenance.Gap {
		t.reason = lines(plain(Reason(lang, n.Reason), fontSub), room, 2, fontSub)
	}
}

// Reason is the text of a stable word for why something was not seen.
func Reason(lang i18n.Lang, word string) string {
	for _, area := range []string{"diagram.reason.", "gap."} {
		if word != "" && lang.Has(area+word) {
			return lang.T(area + word)
		}
	}
	if word == "" {
		return lang.T("diagram.reason.unknown")
	}
	return word
}

// names lists what a group stands for, in as many lines.
func (d *Diagram) names(m *model, g *group, room float64, most int) [][]glyph {
	type named struct {
		label string
		n     int
	}
	var all []named
	at := map[string]int{}
	for _, i := range g.nodes {
		l := m.nodes[i].Label
		if l == "" {
			l = d.opt.Lang.T("diagram.kind." + m.nodes[i].Kind.String())
		}
		if k, ok := at[l]; ok {
			all[k].n++
			continue
		}
		at[l] = len(all)
		all = append(all, named{l, 1})
		if len(all) > 40 {
			break
		}
	}
	var gs []glyph
	for i, a := range all {
		if i > 0 {
			gs = append(gs, plain(", ", fontSub)...)
		}
		gs = append(gs, middle(glyphs(a.label, fontSub), room*0.7, 55, fontSub)...)
		if a.n > 1 {
			gs = append(gs, plain(" ×"+i18n.Number(a.n), fontSub)...)
		}
	}
	return lines(gs, room, most, fontSub)
}

// kindCounts says how many of each kind a folded box stands for.
func (d *Diagram) kindCounts(m *model, g *group) string {
	counts := map[provenance.NodeKind]int{}
	for _, i := range g.nodes {
		counts[m.nodes[i].Kind]++
	}
	var parts []string
	for _, k := range provenance.NodeKinds() {
		if counts[k] > 0 {
			parts = append(parts, d.opt.Lang.Count("diagram.group."+k.String(), counts[k]))
		}
	}
	return strings.Join(parts, ", ")
}

// tooltip is the full text of a box, one fact a line.
func (d *Diagram) tooltip(m *model, g *group, b *Box) []string {
	lang := d.opt.Lang
	n := m.nodes[g.nodes[0]]
	var out []string
	if g.kind != Single {
		out = append(out, lang.Count(map[BoxKind]string{
			Group: "diagram.group." + n.Kind.String(), Context: "diagram.context", Folded: "diagram.folded",
		}[g.kind], len(g.nodes)))
		for k, i := range g.nodes {
			if k == 12 {
				out = append(out, lang.Count("diagram.more", len(g.nodes)-k))
				break
			}
			out = append(out, limit(pathOrLabel(m.nodes[i].Node)))
		}
	} else {
		out = append(out, lang.T("diagram.kind."+n.Kind.String())+": "+limit(pathOrLabel(n.Node)))
		if n.Host != "" && n.Kind != provenance.Host {
			out = append(out, lang.T("diagram.kind.host")+": "+limit(n.Host))
		}
		for _, a := range n.Attrs {
			out = append(out, a.Name+": "+limit(a.Value))
		}
		if n.Reason != "" || n.Implied {
			out = append(out, Reason(lang, n.Reason))
		}
		if !n.First.IsZero() {
			out = append(out, n.First.In(d.zone()).Format("2006-01-02 15:04:05.000 -07:00"))
		}
	}
	for i, p := range b.Detections {
		if i == 6 {
			out = append(out, lang.Count("diagram.more", len(b.Detections)-i))
			break
		}
		if p.Rule != nil {
			out = append(out, lang.T("severity."+p.Rule.Severity.String())+": "+p.Rule.TitleIn(string(lang))+" ("+strings.Join(append([]string{p.Rule.Name}, p.Rule.Attack...), ", ")+")")
		}
	}
	return out
}

// limit bounds a value in a tooltip.
func limit(s string) string {
	const most = 400
	if len(s) <= most {
		return s
	}
	cut := 0
	for cut < most {
		_, n := event.DecodeRune(s[cut:])
		cut += n
	}
	return s[:cut] + "…"
}

func pathOrLabel(n *provenance.Node) string {
	if n.Path != "" {
		return n.Path
	}
	return n.Label
}

// usualFolder are where Windows keeps its own programs: saying so of each of
// them would hide the one that is elsewhere.
func usualFolder(folder string) bool {
	switch strings.ToLower(folder) {
	case `c:\windows`, `c:\windows\system32`, `c:\windows\syswow64`, `c:\windows\system32\windowspowershell\v1.0`:
		return true
	}
	return false
}

// arguments is a process's command line without its first word when that only
// repeats the program's name.
func arguments(n *provenance.Node) string {
	line := n.Attr("CommandLine")
	first, rest := line, ""
	if strings.HasPrefix(line, `"`) {
		if end := strings.IndexByte(line[1:], '"'); end >= 0 {
			first, rest = line[1:end+1], line[end+2:]
		}
	} else if i := strings.IndexByte(line, ' '); i >= 0 {
		first, rest = line[:i], line[i:]
		// An unquoted path may hold blanks: C:\Windows \System32\printui.exe.
		if n.Path != "" && len(line) >= len(n.Path) && strings.EqualFold(line[:len(n.Path)], n.Path) {
			first, rest = line[:len(n.Path)], line[len(n.Path):]
		}
	}
	base := first[strings.LastIndexAny(first, `\/`)+1:]
	if strings.EqualFold(base, n.Label) || strings.EqualFold(base+".exe", n.Label) {
		// The blank between program and arguments says nothing.
		return strings.TrimLeft(rest, " ")
	}
	return line
}

func knownIntegrity(level string) bool {
	switch level {
	case "Low", "Medium", "High", "System", "AppContainer", "Untrusted":
		return true
	}
	return false
}

// techniques are the ATT&CK ids of detections, the most severe's first.
func techniques(ds []incident.Placed) []string {
	var out []string
	for _, p := range ds {
		if p.Rule == nil {
			continue
		}
		for _, id := range p.Rule.Attack {
			if !slices.Contains(out, id) {
				out = append(out, id)
			}
		}
	}
	return out
}

func badgeWidth(text string) float64 { return textWidth(text, fontBadge) + 10 }

// fitBadges keeps the badges that fit the room and counts the rest in one more.
func fitBadges(badges []string, room float64) []string {
	for keep := len(badges); keep > 0; keep-- {
		shown := slices.Clone(badges[:keep])
		if rest := len(badges) - keep; rest > 0 {
			shown = append(shown, "+"+i18n.Number(rest))
		}
		w := 0.0
		for _, s := range shown {
			w += badgeWidth(s) + 4
		}
		if w <= room+4 {
			return shown
		}
	}
	return nil
}

func (d *Diagram) zone() *time.Location {
	if d.opt.Zone != nil {
		return d.opt.Zone
	}
	return time.UTC
}

// clock is a drawn time: without the date if the incident is within a day.
func (d *Diagram) clock(t time.Time) string {
	t = t.In(d.zone())
	first, last := d.inc.First.In(d.zone()), d.inc.Last.In(d.zone())
	if first.YearDay() == last.YearDay() && first.Year() == last.Year() &&
		t.YearDay() == first.YearDay() && t.Year() == first.Year() {
		return t.Format("15:04:05")
	}
	return t.Format("01-02 15:04")
}

func severityOf(ds []incident.Placed) detect.Severity {
	var s detect.Severity
	for _, p := range ds {
		if p.Rule != nil && p.Rule.Severity > s {
			s = p.Rule.Severity
		}
	}
	return s
}
