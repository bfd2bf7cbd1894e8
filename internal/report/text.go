package report

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mattn/go-runewidth"

	"ashiato/internal/detect"
	"ashiato/internal/fold"
	"ashiato/internal/i18n"
	"ashiato/internal/incident"
	"ashiato/internal/provenance"
	"ashiato/internal/source"
	"ashiato/internal/visible"
)

// TextOptions say how Text looks.
type TextOptions struct {
	// Color adds ANSI colours; for terminals only.
	Color bool
	// Width folds lines to that many columns; 0 leaves them whole, as programs
	// that search them want.
	Width int
}

// Text writes the document for a person at a terminal: what was read, then each
// incident with its story and detections, then what was not seen and what could
// not be read. Telemetry in it is shown with marks for misleading characters and
// never reaches the terminal as a control sequence.
func (d *Document) Text(w io.Writer, opt TextOptions) error {
	t := &textWriter{d: d, w: w, color: opt.Color, width: opt.Width}
	t.summary()
	t.overview()
	for _, inc := range d.Incidents {
		t.incident(inc)
	}
	t.changes()
	t.gaps()
	t.clocks()
	t.problems()
	return t.err
}

// textWriter keeps the first error, so that callers can write line by line.
type textWriter struct {
	d     *Document
	w     io.Writer
	color bool
	width int
	err   error
}

// printf writes whole lines. fold.Here in them says where further rows begin.

func (t *textWriter) printf(format string, args ...any) {
	if t.err == nil {
		_, t.err = io.WriteString(t.w, fold.Text(fmt.Sprintf(format, args...), t.width))
	}
}

// paint wraps s in an ANSI colour.
func (t *textWriter) paint(code, s string) string {
	if !t.color {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

const (
	bold = "1"
	dim  = "2"
)

var severityColor = [...]string{
	detect.Informational: "90", detect.Low: "34", detect.Medium: "33", detect.High: "31", detect.Critical: "1;37;41",
}

func (t *textWriter) heading(key string) { t.printf("\n  %s\n", t.paint(bold, t.d.Lang.T(key))) }

func (t *textWriter) time(at time.Time) string {
	return at.In(t.zone()).Format("2006-01-02 15:04:05")
}

func (t *textWriter) zone() *time.Location {
	if t.d.Zone == nil {
		return time.UTC
	}
	return t.d.Zone
}

// span is two times without what the second repeats of the first.
func (t *textWriter) span(from, to time.Time) string {
	a, b := t.time(from), t.time(to)
	const day = len("2006-01-02 ")
	switch {
	case a == b:
		return a
	case a[:day] == b[:day]:
		return a + " – " + b[day:]
	}
	return a + " – " + b
}

// minOverview is from how many incidents on a list of them comes first.
const minOverview = 4

// overview lists the incidents, a line each, where there are many to read.
func (t *textWriter) overview() {
	if len(t.d.Incidents) < minOverview {
		return
	}
	l := t.d.Lang
	t.printf("\n%s\n", t.paint(bold, l.T("text.overview")))
	shown := t.d.Incidents[:min(len(t.d.Incidents), maxListed)]
	width := 0
	for _, inc := range shown {
		width = max(width, runewidth.StringWidth(l.T("severity."+inc.Severity.String())))
	}
	for _, inc := range shown {
		level := runewidth.FillRight(l.T("severity."+inc.Severity.String()), width)
		t.printf("  %s  %s  "+fold.Here+"%s\n", t.paint(severityColor[inc.Severity], level), t.paint(dim, t.time(inc.First)), clip(t.title(inc)))
	}
	if more := len(t.d.Incidents) - len(shown); more > 0 {
		t.printf("  %s\n", l.Count("text.more", more))
	}
}

func (t *textWriter) summary() {
	s, l := t.d.Stats, t.d.Lang
	parts := []string{
		l.Count("text.files", s.Source.FilesRead),
		l.Count("text.events", int(s.Source.Events)),
		l.Count("text.hosts", len(s.Hosts)),
	}
	if !s.First.IsZero() {
		parts = append(parts, t.span(s.First, s.Last)+" "+s.Last.In(t.zone()).Format("-07:00"))
	}
	t.printf("%s\n", strings.Join(parts, " · "))
	if s.Filtered > 0 || s.Repeated > 0 {
		t.printf("%s\n", l.T("text.balance", number(s.Filtered), number(s.Repeated), number(s.Analysed)))
	}
	judges := []string{l.Count("text.rules", s.Rules)}
	if s.Correlations > 0 {
		judges = append(judges, l.Count("text.correlations", s.Correlations))
	}
	t.printf("%s\n", strings.Join(append(judges,
		l.Count("text.indicators", s.Indicators),
		l.Count("text.detections", s.Detections),
		t.paint(bold, l.Count("text.incidents", len(t.d.Incidents))),
		l.Count("text.gaps", len(t.d.Gaps)),
		l.Count("text.problems", len(t.d.Problems)),
	), " · "))
	if s.BelowMinimum > 0 {
		t.printf("%s\n", l.Count("text.below", s.BelowMinimum))
	}
	var quiet []string
	if s.Rules > 0 {
		quiet = append(quiet, l.T("text.applicable", i18n.Number(s.Applicable), i18n.Number(s.Rules)))
	}
	if s.Source.Unread > 0 {
		quiet = append(quiet, l.Count("text.countedonly", int(s.Source.Unread)))
	}
	if len(quiet) > 0 {
		t.printf("%s\n", t.paint(dim, strings.Join(quiet, " · ")))
	}
}

func number(n int64) string { return i18n.Number(int(n)) }

func (t *textWriter) incident(inc *incident.Incident) {
	l := t.d.Lang
	level := strings.ToUpper(l.T("severity." + inc.Severity.String()))
	if t.color {
		level = t.paint(severityColor[inc.Severity], " "+level+" ")
	}
	t.printf("\n%s  "+fold.Here+"%s\n", level, t.paint(bold, clip(t.title(inc))))
	facts := "text.facts"
	if len(inc.Hosts) == 1 && l.Has(facts+".one") {
		facts += ".one"
	}
	hosts := make([]string, len(inc.Hosts))
	for i, h := range inc.Hosts {
		hosts[i] = visible.Text(h)
	}
	t.printf("  %s\n", l.T(facts, strings.Join(hosts, ", "), t.span(inc.First, inc.Last), i18n.Number(inc.Score), inc.ID))
	t.printf("  %s\n", t.root(inc))
	if from := inc.RootAddress(); from != "" {
		t.printf("    %s\n", l.T("text.root-from", clip(visible.Text(from))))
	}
	if by := t.d.corrections(inc); by != "" {
		t.printf("  %s\n", by)
	}
	if inc.Verdict != "" {
		t.printf("  %s\n", l.T("incident.verdict", visible.Text(inc.Verdict)))
	}
	if inc.Pinned {
		t.printf("  %s\n", l.T("incident.pinned"))
	}

	if len(inc.Story) > 0 {
		t.heading("text.story")
		for _, s := range inc.Story {
			t.printf("  %3d  %s  "+fold.Here+"%s\n", s.Number, t.paint(dim, t.time(s.Time)), clip(inc.Sentence(s, l)))
		}
	}
	t.heading("text.found")
	groups := groupDetections(inc.Detections)
	width := 0
	for _, g := range groups {
		width = max(width, runewidth.StringWidth(l.T("severity."+g.rule.Severity.String())))
	}
	for _, g := range groups {
		names := g.rule.Name
		if len(g.rule.Aliases) > 0 {
			names += " (" + strings.Join(g.rule.Aliases, ", ") + ")"
		}
		names = clip(visible.Text(names))
		if len(g.rule.Attack) > 0 {
			names += "  " + visible.Text(strings.Join(g.rule.Attack, " "))
		}
		level := runewidth.FillRight(l.T("severity."+g.rule.Severity.String()), width)
		t.printf("  %s  "+fold.Here+"%s%s\n", t.paint(severityColor[g.rule.Severity], level), clip(visible.Text(g.rule.TitleIn(string(l)))), times(g.count))
		t.printf("  %*s  "+fold.Here+"%s\n", width, "", t.paint(dim, names))
	}
	if len(inc.Persistence) > 0 {
		t.heading("text.left")
		for _, p := range inc.Persistence {
			on := ""
			if n := node(inc, p.Node); len(inc.Hosts) > 1 && n != nil {
				on = "  " + t.paint(dim, visible.Text(n.Host))
			}
			t.printf("  - %s  "+fold.Here+"%s%s\n", l.T("report.persistence."+p.Kind), t.nodeName(inc, p.Node), on)
		}
	}
	t.impact(inc)
	if inc.Cut > 0 {
		t.printf("\n  %s\n", l.Count("text.cut", inc.Cut))
	}
}

// root is the incident's root cause. What began before recording did has none that
// is known, only something that is seen first.
func (t *textWriter) root(inc *incident.Incident) string {
	l, name := t.d.Lang, t.nodeName(inc, inc.Root.Node)
	if inc.Root.Kind != incident.RootBeforeRecord {
		return l.T("text.root", l.T("diagram.root."+string(inc.Root.Kind)), name, l.T("diagram.confidence."+string(inc.Root.Confidence)))
	}
	if n := node(inc, inc.Root.Node); n != nil && n.Kind == provenance.Gap {
		name = l.T("text.root.gap", name, l.T("diagram.reason."+n.Reason))
	}
	return l.T("text.root.unseen", name)
}

// title is the incident's title in the document's language.
func (t *textWriter) title(inc *incident.Incident) string {
	if s := t.d.Titles[inc.ID]; s != "" {
		return s
	}
	return inc.Title(t.d.Lang)
}

// nodeName is a node's path, or the label of one without. A volume is known by
// its letter; the path says which device it is.
func (t *textWriter) nodeName(inc *incident.Incident, id provenance.NodeID) string {
	n := node(inc, id)
	switch {
	case n == nil:
		return ""
	case n.Path == "":
		return clip(visible.Text(n.Label))
	case n.Kind == provenance.Volume && n.Label != "" && n.Label != n.Path:
		return clip(visible.Text(n.Label) + " " + visible.Text(n.Path))
	}
	return clip(visible.Text(n.Path))
}

func node(inc *incident.Incident, id provenance.NodeID) *provenance.Node {
	for _, n := range inc.Nodes {
		if n.ID == id {
			return n
		}
	}
	return nil
}

// maxShown bounds one value or sentence in characters: a log can hold names of
// megabytes, which would hide everything else. The other outputs have all of it.
const maxShown = 600

// clip shortens s in the middle and says how much is missing there.
func clip(s string) string {
	r := []rune(s)
	if len(r) <= maxShown {
		return s
	}
	return string(r[:maxShown/2]) + " […" + i18n.Number(len(r)-maxShown) + "…] " + string(r[len(r)-maxShown/2:])
}

// ruleCount is how often a rule held in an incident.
type ruleCount struct {
	rule  *detect.Rule
	count int
}

// groupDetections counts detections per rule, in the order of their first.
func groupDetections(ds []incident.Placed) []ruleCount {
	var groups []ruleCount
	at := map[string]int{}
	for _, d := range ds {
		i, ok := at[d.Rule.ID]
		if !ok {
			i = len(groups)
			at[d.Rule.ID] = i
			groups = append(groups, ruleCount{rule: d.Rule})
		}
		groups[i].count++
	}
	return groups
}

func times(n int) string {
	if n < 2 {
		return ""
	}
	return " ×" + i18n.Number(n)
}

// maxListed bounds how many gaps and problems Text lists; the rest is counted.
const maxListed = 20

func (t *textWriter) gaps() {
	if len(t.d.Gaps) == 0 {
		return
	}
	l := t.d.Lang
	t.printf("\n%s\n", t.paint(bold, l.T("text.unseen")))
	for i, g := range t.d.Gaps {
		if i == maxListed {
			t.printf("  %s\n", l.Count("text.more", len(t.d.Gaps)-maxListed))
			break
		}
		place := visible.Text(g.Host)
		if g.Channel != "" {
			place += "  " + clip(visible.Text(g.Channel))
		}
		t.printf("  - %s  "+fold.Here+"%s  %s%s\n", t.time(g.From), place, l.T("diagram.reason."+g.Reason), times(g.Count))
	}
}

// problemRank orders problems for a reader: first what may hide evidence, last
// what was left out because it is no log.
var problemRank = map[source.ProblemKind]int{
	source.Unreadable: 1, source.Corrupt: 2, source.Truncated: 2, source.BadChecksum: 2, source.TooLarge: 2,
	source.UnknownFormat: 3, source.Empty: 3, source.LinkLoop: 4, source.Dirty: 4, source.Ungrouped: 4, source.Refused: 5, source.Skipped: 6,
}

// oneRefused makes one problem of the rules and indicators that were left out, if
// there are several: that is asked of other commands, and JSON has them all.
func oneRefused(problems []source.Problem, l i18n.Lang) []source.Problem {
	isRefused := func(p source.Problem) bool { return p.Kind == source.Refused }
	out := slices.DeleteFunc(slices.Clone(problems), isRefused)
	n := len(problems) - len(out)
	if n == 0 {
		return out
	}
	first := problems[slices.IndexFunc(problems, isRefused)]
	if n > 1 {
		first = source.Problem{File: first.File, Line: first.Line, Kind: source.Refused, Count: n, Detail: l.T("text.refused")}
	}
	return append(out, first)
}

func (t *textWriter) problems() {
	if len(t.d.Problems) == 0 {
		return
	}
	l := t.d.Lang
	t.printf("\n%s\n", t.paint(bold, l.T("text.unread")))
	problems := oneRefused(t.d.Problems, l)
	slices.SortStableFunc(problems, func(a, b source.Problem) int { return cmp.Compare(problemRank[a.Kind], problemRank[b.Kind]) })
	for i, p := range problems {
		if i == maxListed {
			t.printf("  %s\n", l.Count("text.more", len(problems)-maxListed))
			break
		}
		place := clip(visible.Text(p.File))
		if p.Line > 0 {
			place += ":" + strconv.Itoa(p.Line)
		}
		t.printf("  - "+fold.Here+"%s: %s%s  %s\n", place, l.T("report.problem."+string(p.Kind)), times(p.Count), t.paint(dim, clip(visible.Text(p.Detail))))
	}
}
