package diagram

import (
	"slices"
	"strconv"
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
	fontChip   = font{12.5, true}
)

// Distances inside a box.
const (
	boxPadX    = 9
	boxTop     = 6
	nameHeight = 20
	lineHeight = 15
	footHeight = 17
	boxBottom  = 6
	iconRoom   = 19
	markerRoom = 7  // the severity's shape on the upper right corner
	portY      = 19 // where arrows reach a box, below its upper edge
	minBox     = 38
	brokerBox  = 34 // of a broker that is only a name
)

// boxText is what is written in a box, already cut to fit.
type boxText struct {
	name    []glyph
	sub     [][]glyph // path, command line
	note    [][]glyph // what a detection says
	reason  [][]glyph // why a box is implied, what a gap is
	foot    string    // time, integrity level
	beside  bool      // the foot stands beside the name
	aside   string    // stands behind the name in its stead
	badges  []string  // ATT&CK ids
	tooltip []string
}

// describe writes a box's text for the width and sets its height.
func (d *Diagram) describe(m *model, g *group, b *Box, w int, showHost bool) {
	lang := d.opt.Lang
	room := float64(w - 2*boxPadX)
	n := m.nodes[g.nodes[0]]
	t := &b.text
	keep := 1 // lines of sub that a long title leaves
	nameRoom := room - iconRoom + 3
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
			if short := "diagram.kind." + n.Kind.String() + ".short"; textWidth(label, fontName) > nameRoom && lang.Has(short) {
				label = lang.T(short)
			}
			t.name = middle(plain(label, fontName), nameRoom, 50, fontName)
		} else {
			t.name = middle(glyphs(label, fontName), nameRoom, 55, fontName)
		}
		d.describeNode(n, t, room)
	case Group:
		if label, same := m.oneLabel(g); same && n.Kind == provenance.Process {
			times := plain(" ×"+i18n.Number(len(g.nodes)), fontName)
			t.name = append(middle(glyphs(label, fontName), nameRoom-width(times), 55, fontName), times...)
			for k, i := range g.nodes {
				if args := arguments(m.nodes[i].Node); k < 2 && args != "" {
					t.sub = append(t.sub, lines(glyphs(args, fontSub), room, 1, fontSub)...)
				}
			}
			break
		}
		word := lang.Count("diagram.group."+n.Kind.String(), len(g.nodes))
		t.name = middle(plain(word, fontName), nameRoom, 50, fontName)
		if n.Kind == provenance.Exclusion && len(g.nodes) <= 3 { // the values say it all
			for _, i := range g.nodes {
				t.sub = append(t.sub, middle(glyphs(pathOrLabel(m.nodes[i].Node), fontSub), room, 65, fontSub))
			}
			keep = len(t.sub)
			break
		}
		most := 1
		if len(g.nodes) <= 6 {
			most = 2
		}
		t.sub = d.names(m, g, room, most)
		keep = len(t.sub)
		if folder := folderOf(n.Node); folder != "" {
			t.sub = append(t.sub, middle(glyphs(folder, fontSub), room, 65, fontSub))
		}
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
		lead := b.Detections[0].Rule
		if len(g.base) > 0 {
			lead = g.base[0]
		}
		title := glyphs(lead.TitleIn(string(lang)), fontNote)
		t.note = lines(title, room, 2, fontNote)
		if len(t.note) == 2 && width(title) > width(t.note[0])+width(t.note[1]) && n.Kind != provenance.Task {
			// A long title is worth more than the second line of what it is on.
			if args := arguments(n.Node); g.kind == Single && n.Kind == provenance.Process && (folderOf(n.Node) == "" || usualFolder(folderOf(n.Node))) {
				t.sub = lines(glyphs(args, fontSub), room, keep, fontSub)
			}
			t.sub = t.sub[:min(len(t.sub), keep)]
			t.note = lines(title, room, 3, fontNote)
		}
		t.note = balanced(title, t.note, room)
		t.note = append(t.note, d.further(m, g, room)...)
		t.badges = techniques(b.Detections)
	}
	if showHost && n.Kind != provenance.Host && n.Host != "" {
		t.sub = append(t.sub, middle(append(plain(lang.T("diagram.kind.host")+" ", fontSub), glyphs(n.Host, fontSub)...), room, 40, fontSub))
	}
	var foot []string
	broker := g.kind == Single && n.Hub && n.Implied && len(b.Detections) == 0
	if at := m.causedAt(g.nodes[0]); !at.IsZero() && !broker {
		foot = append(foot, d.clock(at))
	}
	if n.Kind == provenance.Process && (g.kind == Single || g.kind == Group) {
		if level := n.Attr("IntegrityLevel"); knownIntegrity(level) && m.oneLevel(g) {
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
	// is counted. A badge is worth more than the integrity level, which then
	// stands behind the name, if it can.
	badges := t.badges
	t.badges = fitBadges(badges, room+4-textWidth(t.foot, fontFoot)-8)
	if len(badges) > 0 && len(t.badges) == 0 && len(foot) > 0 {
		t.foot = foot[0]
		t.badges = fitBadges(badges, room+4-textWidth(t.foot, fontFoot)-8)
		if len(foot) > 1 && width(t.name)+textWidth(foot[1], fontFoot)+8 <= nameRoom {
			t.aside = foot[1]
		}
	}
	h := boxTop + nameHeight + lineHeight*(len(t.sub)+len(t.note)+len(t.reason)) + boxBottom
	if !t.beside && (t.foot != "" || len(t.badges) > 0) {
		h += footHeight
	}
	b.W, b.H = w, max(h, minBox)
	if broker && len(t.sub) == 0 {
		b.H = brokerBox
	}
	t.tooltip = d.tooltip(m, g, b)
}

// oneLabel is the label that all members of a group have, if they do.
func (m *model) oneLabel(g *group) (string, bool) {
	label := m.nodes[g.nodes[0]].Label
	for _, i := range g.nodes {
		if !strings.EqualFold(m.nodes[i].Label, label) {
			return "", false
		}
	}
	return label, label != ""
}

// oneLevel reports whether all members of a group have the same integrity level.
func (m *model) oneLevel(g *group) bool {
	for _, i := range g.nodes {
		if m.nodes[i].Attr("IntegrityLevel") != m.nodes[g.nodes[0]].Attr("IntegrityLevel") {
			return false
		}
	}
	return true
}

// further says what some members of a group were detected by beyond the rules
// that all of them were.
func (d *Diagram) further(m *model, g *group, room float64) [][]glyph {
	if g.kind != Group || len(g.nodes) < 2 {
		return nil
	}
	more, on, last := 0, 0, 0
	for _, i := range g.nodes {
		if n := len(rulesOf(m.nodes[i].dets)) - len(g.base); n > 0 {
			more += n
			on++
			last = i
		}
	}
	if more == 0 {
		return nil
	}
	if on > 1 {
		return lines(plain(d.opt.Lang.Count("diagram.group.further", more), fontNote), room, 1, fontNote)
	}
	words := plain(d.opt.Lang.T("diagram.group.further.on", i18n.Number(more))+" ", fontNote)
	return [][]glyph{append(words, middle(glyphs(m.nodes[last].Label, fontNote), room-width(words), 55, fontNote)...)}
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
		if from := incident.Address(n.Node); from != "" {
			t.sub = append(t.sub, middle(append(plain(lang.T("diagram.from")+" ", fontSub), glyphs(from, fontSub)...), room, 40, fontSub))
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
	for _, use := range [...][3]string{
		{"diagram.cpu", provenance.CPUPercent, provenance.CPUSeconds}, {"diagram.gpu", provenance.GPUPercent, provenance.GPUSeconds},
	} {
		if seconds, err := strconv.Atoi(n.Attr(use[2])); err == nil {
			t.sub = append(t.sub, middle(plain(lang.T(use[0], n.Attr(use[1]), strconv.Itoa(max(1, (seconds+30)/60))), fontSub), room, 60, fontSub))
		}
	}
	if strings.EqualFold(n.Attr("Signed"), "false") {
		t.sub = append(t.sub, middle(plain(lang.T("diagram.unsigned"), fontSub), room, 50, fontSub))
	}
	// That the start of one of Windows' own brokers is older than the recording
	// goes without saying; the frame and the tooltip do.
	if broker := n.Hub && n.Implied && n.Reason != ""; !broker && (n.Reason != "" || n.Implied || n.Kind == provenance.Gap) {
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
	rules := rulesOf(b.Detections)
	for i, r := range rules {
		if i == 6 {
			out = append(out, lang.Count("diagram.more", len(rules)-i))
			break
		}
		times := 0
		for _, p := range b.Detections {
			if p.Rule != nil && p.Rule.ID == r.ID {
				times++
			}
		}
		line := lang.T("severity."+r.Severity.String()) + ": " + r.TitleIn(string(lang)) + " (" + strings.Join(append([]string{r.Name}, r.Attack...), ", ") + ")"
		if times > 1 {
			line += " ×" + i18n.Number(times)
		}
		out = append(out, line)
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
	switch folder {
	case "/bin", "/sbin", "/usr/bin", "/usr/sbin", "/usr/lib/systemd":
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
