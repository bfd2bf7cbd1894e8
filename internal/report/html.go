package report

import (
	"bufio"
	"bytes"
	"cmp"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"ashiato/internal/clock"
	"ashiato/internal/detect"
	"ashiato/internal/diagram"
	"ashiato/internal/event"
	"ashiato/internal/i18n"
	"ashiato/internal/incident"
	"ashiato/internal/provenance"
	"ashiato/internal/source"
	"ashiato/internal/visible"
)

// Bounds on what the HTML shows in full, per incident; what is beyond them is
// given by reference, with its count.
const (
	// MaxIncidents is how many incidents are shown in full, the first; the others are
	// only listed.
	MaxIncidents = 300
	// maxRows is how many incidents are listed, and openRows how many of them without
	// a click.
	maxRows  = 2000
	openRows = 40
	// MaxRecords is how many records are shown with all their fields.
	MaxRecords = 800
	// maxFacts is how many facts of one arrow are written out.
	maxFacts = 40
	// maxHits is how many places a rule held at are shown before the rest is folded.
	maxHits = 12
	// maxObjects is how many nodes are listed with their attributes.
	maxObjects = 400
	// foldAt is how many characters of a value are shown before it is folded.
	foldAt = 600
)

//go:embed report.css
var reportStyle string

//go:embed report.html.tmpl
var reportTemplate string

// style is the whole style sheet; the policy allows it by its hash alone.
var style = reportStyle + diagram.Style

// policy is the report's Content-Security-Policy: nothing but the one style.
func policy() string {
	sum := sha256.Sum256([]byte(style))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
		"'; img-src data:; base-uri 'none'; form-action 'none'"
}

// The template's view of a document.
type (
	page struct {
		*Document
		Policy    string
		Style     template.CSS
		Zone      string
		Incidents []*incidentView
		Rows      []rowView
		MoreRows  int
		Unshown   int // incidents that are only listed
		Balance   []balanceRow
		Worst     string
	}
	balanceRow struct {
		Key string
		N   string
	}
	// rowView is an incident in the list of all.
	rowView struct {
		Severity detect.Severity
		Level    int
		Title    string
		Hosts    []string
		More     int // hosts beyond them
		First    time.Time
		Link     string // "" if it is not shown in full
	}
	relatedView struct {
		ID, Title, Link string
	}
	incidentView struct {
		*incident.Incident
		N           int
		Prefix      string
		Title       string
		Level       int
		Diagram     template.HTML
		RootNode    *provenance.Node
		RootPath    []*provenance.Node
		Alternative []rootView
		Steps       []stepView
		Timeline    []momentView
		Dets        []detectionView
		Rules       []ruleView
		Left        []leftView
		LeftCounts  []string
		Actions     []actionView
		Cut         []cutView
		Exposed     []exposureView
		Relatives   []relatedView
		Running     named
		Accounts    named
		Marked      bool // one of the actions is
		Arrows      []arrowView
		Objects     []objectView
		Others      []factView
		ByReference int
		MoreObjects int
	}
	rootView struct {
		incident.Root
		Label *provenance.Node
	}
	stepView struct {
		Number int
		Time   time.Time
		Pieces []diagram.Piece
		Links  []string // evidence anchors
		// Found are the rules that held there, the most severe first; More is how many
		// there are beyond them.
		Found []*detectionView
		More  int
	}
	momentView struct {
		Time   time.Time
		Step   int
		Pieces []diagram.Piece
		Link   string
		Det    *detectionView
		Host   string
	}
	detectionView struct {
		incident.Placed
		ID    string
		Title string
		Level int
		Text  detect.RuleText
		Node  *provenance.Node
		// Records are what it rests on; more than one for a correlation.
		Records []recordView
	}
	// ruleView is what a rule says once, and where it held.
	ruleView struct {
		Rule  *detect.Rule
		Title string
		Level int
		Text  detect.RuleText
		Hits  []*detectionView
	}
	leftView struct {
		Kind string
		Node *provenance.Node
	}
	arrowView struct {
		ID      string
		Step    int
		Verb    string
		From    string
		To      string
		Facts   []factView
		More    int // facts beyond maxFacts
		Diagram string
	}
	factView struct {
		ID      string
		Edge    *provenance.Edge
		From    *provenance.Node
		To      *provenance.Node
		Step    int
		Records []recordView
	}
	objectView struct {
		ID     string
		Back   string
		Nodes  []*provenance.Node
		More   int
		Folded bool
	}
	// recordView is a record: in full the first time, and a link to that later.
	recordView struct {
		Ref   event.EvidenceRef
		Event *event.Event
		ID    string
		Full  bool
		Seen  bool
	}
)

// HTML writes the document as one self-contained HTML file.
func (d *Document) HTML(w io.Writer) error {
	zone := d.Zone
	if zone == nil {
		zone = time.UTC
	}
	lang := d.lang()
	t, err := template.New("report").Funcs(template.FuncMap{
		"t":        func(key string, args ...string) string { return lang.T("report."+key, args...) },
		"word":     func(key string, args ...string) string { return lang.T(key, args...) },
		"count":    func(key string, n int) string { return lang.Count("report."+key, n) },
		"many":     func(key string, n int) string { return lang.Count(key, n) },
		"change":   func(c incident.Change) string { return change(lang, c) },
		"n":        digits,
		"tele":     tele,
		"value":    func(s string) template.HTML { return value(lang, s) },
		"time":     func(t time.Time) template.HTML { return moment(t, zone) },
		"reason":   func(word string) string { return diagram.Reason(lang, word) },
		"inc":      func(i int) int { return i + 1 },
		"minus":    func(a, b int) int { return a - b },
		"maxhits":  func() int { return maxHits },
		"openrows": func() int { return openRows },
		"pieces":   pieces,
		"label":    label,
		"has":      func(key string) bool { return lang.Has(key) },
		"flag":     func(e *event.Event, f string) bool { return flagged(e, f) },
		"clock":    func(n clock.Note) string { return clockText(lang, n) },
		"moved":    d.corrections,
		"recorded": otherwise,
		"problem":  func(p source.Problem) string { return place(lang, p) },
		"lastTime": func(e *provenance.Edge) bool { return !e.Last.Equal(e.First) },
	}).Parse(reportTemplate)
	if err != nil {
		return fmt.Errorf("report template: %w", err)
	}
	p := &page{Document: d, Unshown: max(0, len(d.Incidents)-MaxIncidents), Policy: policy(), Style: template.CSS(style), Zone: zoneName(zone, d.Stats.First), Balance: d.balance()}
	at := map[string]int{}
	for i, inc := range d.Incidents {
		at[inc.ID] = i
	}
	p.Rows = d.rows()
	p.MoreRows = len(d.Incidents) - len(p.Rows)
	for i, inc := range d.Incidents[:min(MaxIncidents, len(d.Incidents))] {
		v, err := d.incidentView(i+1, inc, zone)
		if err != nil {
			return err
		}
		v.Relatives = d.relatives(inc, at)
		p.Incidents = append(p.Incidents, v)
	}
	buffered := bufio.NewWriter(w)
	if err := t.Execute(buffered, p); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return buffered.Flush()
}

// rows are the incidents as they are listed.
func (d *Document) rows() []rowView {
	const named = 3
	rows := make([]rowView, 0, min(maxRows, len(d.Incidents)))
	for i, inc := range d.Incidents[:min(maxRows, len(d.Incidents))] {
		r := rowView{Severity: inc.Severity, Level: int(inc.Severity), Title: d.title(inc), First: inc.First, Link: d.link(i)}
		r.Hosts = inc.Hosts[:min(named, len(inc.Hosts))]
		r.More = len(inc.Hosts) - len(r.Hosts)
		rows = append(rows, r)
	}
	return rows
}

// link is where the incident at an index is shown, "" if it is not.
func (d *Document) link(i int) string {
	if i >= MaxIncidents {
		return ""
	}
	return prefix(i+1) + "incident"
}

// prefix begins the ids of an incident's parts.
func prefix(n int) string { return "i" + strconv.Itoa(n) + "-" }

// relatives are the incidents that may belong to one, by their titles; at says where
// each id stands.
func (d *Document) relatives(inc *incident.Incident, at map[string]int) []relatedView {
	var out []relatedView
	for _, id := range inc.Related {
		r := relatedView{ID: id}
		if i, shown := at[id]; shown {
			r.Title, r.Link = d.title(d.Incidents[i]), d.link(i)
		}
		out = append(out, r)
	}
	return out
}

func zoneName(zone *time.Location, at time.Time) string {
	if at.IsZero() {
		at = time.Unix(0, 0)
	}
	offset := at.In(zone).Format("-07:00")
	if zone == time.UTC {
		return "UTC"
	}
	if name := zone.String(); name != "" && name != "Local" {
		return name + " (" + offset + ")"
	}
	return offset
}

// balance lists the numbers of the run so that each line follows from those
// above it.
func (d *Document) balance() []balanceRow {
	s := d.Stats
	rows := []balanceRow{
		{"files", i18n.Number(s.Source.Files)},
		{"files.read", i18n.Number(s.Source.FilesRead)},
		{"bytes", i18n.Number(int(s.Source.Bytes))},
		{"records", i18n.Number(int(s.Source.Records))},
		{"undecodable", i18n.Number(int(s.Source.Undecodable))},
		{"repeated", i18n.Number(int(s.Repeated))},
		{"filtered", i18n.Number(int(s.Filtered))},
		{"analysed", i18n.Number(int(s.Analysed))},
		{"carved", i18n.Number(int(s.Source.Carved))},
		{"unread", i18n.Number(int(s.Source.Unread))},
		{"rules", i18n.Number(s.Rules)},
		{"correlations", i18n.Number(s.Correlations)},
		{"applicable", i18n.Number(s.Applicable)},
		{"indicators", i18n.Number(s.Indicators)},
		{"detections", i18n.Number(s.Detections)},
		{"placed", i18n.Number(s.Placed)},
		{"below", i18n.Number(s.BelowMinimum)},
	}
	return rows
}

func digits(v any) string {
	switch n := v.(type) {
	case int:
		return i18n.Number(n)
	case int64:
		return i18n.Number(int(n))
	case uint64:
		return strconv.FormatUint(n, 10)
	case uint32:
		return strconv.FormatUint(uint64(n), 10)
	}
	return fmt.Sprint(v)
}

// moment is a time to the millisecond; its title is the time in UTC.
func moment(t time.Time, zone *time.Location) template.HTML {
	if t.IsZero() {
		return "–"
	}
	return template.HTML(fmt.Sprintf(`<time datetime="%s" title="%s">%s</time>`,
		t.UTC().Format(event.TimeFormat), t.UTC().Format("2006-01-02 15:04:05.0000000 UTC"), t.In(zone).Format("2006-01-02 15:04:05.000")))
}

// tele is telemetry: inert, isolated from the direction of what is around it,
// with marks for misleading characters. A mark is generated content around the
// true character, so copying gives the text as recorded; only what HTML cannot
// hold (NUL, lone surrogates, invalid bytes) is copied as its mark.
func tele(s string) template.HTML {
	if s == "" {
		return ""
	}
	var b strings.Builder
	b.WriteString(`<bdi class="t" dir="ltr">`)
	runs(&b, s)
	b.WriteString(`</bdi>`)
	return template.HTML(b.String())
}

func runs(b *strings.Builder, s string) {
	for _, r := range visible.Runs(s) {
		mark := template.HTMLEscapeString(r.Mark)
		switch {
		case r.Mark == "":
			b.WriteString(template.HTMLEscapeString(r.Text))
		case r.Text == "\n" || r.Text == "\t":
			fmt.Fprintf(b, `<i class="m" data-m="%s"></i>%s`, mark, r.Text)
		case r.Text == "\r":
			fmt.Fprintf(b, `<i class="m" data-m="%s"></i>&#13;`, mark)
		case r.Text == "\x00" || !utf8.ValidString(r.Text):
			fmt.Fprintf(b, `<i class="m lost">%s</i>`, mark)
		case r.Mark == visible.Blank:
			b.WriteString(`<i class="m sp"> </i>`)
		default:
			fmt.Fprintf(b, `<i class="m" data-m="%s"><b>%s</b></i>`, mark, template.HTMLEscapeString(r.Text))
		}
	}
}

// value is tele for what may be long: it is folded, with its size.
func value(lang i18n.Lang, s string) template.HTML {
	n := utf8.RuneCountInString(s)
	if n <= foldAt {
		return tele(s)
	}
	cut := 0
	for range foldAt / 4 {
		_, size := event.DecodeRune(s[cut:])
		cut += size
	}
	return template.HTML(`<details class="long"><summary>` + string(tele(s[:cut])) + `… <span class="dim">` +
		template.HTMLEscapeString(lang.Count("report.characters", n)) + `</span></summary>` + string(tele(s)) + `</details>`)
}

func pieces(ps []diagram.Piece) template.HTML {
	var b strings.Builder
	for _, p := range ps {
		if p.Telemetry {
			b.WriteString(string(tele(p.Text)))
		} else {
			b.WriteString(template.HTMLEscapeString(p.Text))
		}
	}
	return template.HTML(b.String())
}

// label is a node's most telling name.
// maxFound is how many rules are named at a step of the story.
const maxFound = 2

// found names the most severe rules at a step, each once.
func (s *stepView) found(indexes []int, all []detectionView) {
	seen := map[string]bool{}
	var found []*detectionView
	for _, i := range indexes {
		if i < 0 || i >= len(all) || seen[all[i].Rule.ID] || all[i].Rule.Severity < detect.Low {
			continue
		}
		seen[all[i].Rule.ID] = true
		found = append(found, &all[i])
	}
	slices.SortStableFunc(found, func(a, b *detectionView) int { return cmp.Compare(b.Level, a.Level) })
	s.Found = found[:min(maxFound, len(found))]
	s.More = len(found) - len(s.Found)
}

func label(n *provenance.Node) string {
	switch {
	case n == nil:
		return ""
	case n.Path != "":
		return n.Path
	case n.Label != "":
		return n.Label
	}
	return n.Kind.String()
}

func flagged(e *event.Event, f string) bool {
	switch f {
	case "carved":
		return e.Flags&event.Carved != 0
	case "badsum":
		return e.Flags&event.BadChecksum != 0
	}
	return e.Flags&event.Partial != 0
}

func place(lang i18n.Lang, p source.Problem) string {
	switch {
	case p.Line > 0:
		return lang.T("report.problem.line", i18n.Number(p.Line))
	case p.Offset >= 0:
		return lang.T("report.problem.offset", i18n.Number(int(p.Offset)))
	}
	return ""
}

// recorder numbers the records of an incident as they are first shown.
type recorder struct {
	d      *Document
	prefix string
	ids    map[event.EvidenceRef]string
	full   int
	short  int
}

func (r *recorder) view(ref event.EvidenceRef, known *event.Event) recordView {
	if id, ok := r.ids[ref]; ok {
		return recordView{Ref: ref, ID: id, Seen: true}
	}
	id := r.prefix + "r" + strconv.Itoa(len(r.ids)+1)
	r.ids[ref] = id
	v := recordView{Ref: ref, ID: id}
	if r.full >= MaxRecords {
		r.short++
		return v
	}
	r.full++
	v.Full = true
	v.Event = known
	if v.Event == nil && r.d.Evidence != nil {
		v.Event = r.d.Evidence(ref)
	}
	return v
}

func (r *recorder) views(refs []event.EvidenceRef) []recordView {
	var out []recordView
	for _, ref := range refs {
		out = append(out, r.view(ref, nil))
	}
	return out
}

func (d *Document) incidentView(n int, inc *incident.Incident, zone *time.Location) (*incidentView, error) {
	lang := d.lang()
	v := &incidentView{Incident: inc, N: n, Prefix: prefix(n), Title: d.title(inc), Level: int(inc.Severity)}
	dia := diagram.New(inc, diagram.Options{Lang: lang, Zone: zone, Links: true, Prefix: v.Prefix})
	var svg bytes.Buffer
	if err := dia.InlineSVG(&svg); err != nil {
		return nil, fmt.Errorf("diagram of incident %s: %w", inc.ID, err)
	}
	v.Diagram = template.HTML(svg.String())

	nodes := map[provenance.NodeID]*provenance.Node{}
	for _, node := range inc.Nodes {
		nodes[node.ID] = node
	}
	v.RootNode = nodes[inc.Root.Node]
	for _, id := range inc.Root.Path {
		if node := nodes[id]; node != nil {
			v.RootPath = append(v.RootPath, node)
		}
	}
	for _, r := range inc.Alternatives {
		v.Alternative = append(v.Alternative, rootView{r, nodes[r.Node]})
	}
	for _, p := range inc.Persistence {
		if node := nodes[p.Node]; node != nil {
			v.Left = append(v.Left, leftView{p.Kind, node})
		}
	}
	v.LeftCounts = d.leftCounts(v.Left)
	v.Actions = d.actions(inc, v.Left)
	v.Cut, v.Exposed = d.cut(inc), exposures(inc)
	v.Running, v.Accounts = running(inc), accounts(inc)
	v.Marked = slices.ContainsFunc(v.Actions, func(a actionView) bool { return a.Marked })

	// Evidence, in the order of the diagram.
	order := diagram.CanonicalEdges(inc)
	rank := make([]int, len(order))
	for r, i := range order {
		rank[i] = r
	}
	rec := &recorder{d: d, prefix: v.Prefix, ids: map[event.EvidenceRef]string{}}
	anchor := make(map[int]string) // canonical edge → where its evidence is
	fact := func(r int) factView {
		i := order[r]
		e := inc.Edges[i]
		f := factView{ID: v.Prefix + "e" + strconv.Itoa(r), Edge: e, From: nodes[e.From], To: nodes[e.To], Records: rec.views(e.Evidence)}
		if i < len(inc.EdgeSteps) {
			f.Step = inc.EdgeSteps[i]
		}
		anchor[r] = f.ID
		return f
	}
	boxes := map[string]*diagram.Box{}
	for _, b := range dia.Boxes {
		boxes[b.ID] = b
	}
	for _, a := range dia.Arrows {
		all := append(slices.Clone(a.Edges), a.Back...)
		if len(all) == 0 {
			continue
		}
		av := arrowView{
			ID: v.Prefix + a.ID, Step: a.Step, Verb: lang.T("verb." + a.Verb.String()),
			From: dia.Name(boxes[a.From]), To: dia.Name(boxes[a.To]), Diagram: v.Prefix + "arrow-" + a.ID,
		}
		for k, r := range all {
			if k < maxFacts {
				av.Facts = append(av.Facts, fact(r))
			} else {
				anchor[r] = av.ID
				av.More++
				rec.short += len(inc.Edges[order[r]].Evidence)
			}
		}
		v.Arrows = append(v.Arrows, av)
	}
	for r := range order {
		if _, shown := anchor[r]; shown {
			continue
		}
		if len(v.Others) < maxFacts {
			v.Others = append(v.Others, fact(r))
		} else {
			anchor[r] = v.Prefix + "others"
			rec.short += len(inc.Edges[order[r]].Evidence)
		}
	}
	objects := 0
	for _, b := range dia.Boxes {
		o := objectView{ID: v.Prefix + b.ID, Back: v.Prefix + "box-" + b.ID, Folded: b.Kind == diagram.Folded}
		for _, id := range b.Nodes {
			if objects >= maxObjects || len(o.Nodes) >= maxFacts {
				o.More++
				continue
			}
			objects++
			o.Nodes = append(o.Nodes, nodes[id])
		}
		v.MoreObjects += o.More
		v.Objects = append(v.Objects, o)
	}

	for _, s := range inc.Story {
		sv := stepView{Number: s.Number, Time: s.Time, Pieces: diagram.Sentence(lang, inc, s)}
		for _, i := range s.Edges {
			if i < 0 || i >= len(rank) {
				continue
			}
			if a := anchor[rank[i]]; a != "" && !slices.Contains(sv.Links, a) && len(sv.Links) < 6 {
				sv.Links = append(sv.Links, a)
			}
		}
		v.Steps = append(v.Steps, sv)
		m := momentView{Time: s.Time, Step: s.Number, Pieces: sv.Pieces}
		if len(sv.Links) > 0 {
			m.Link = sv.Links[0]
		}
		if len(s.Edges) > 0 && s.Edges[0] >= 0 && s.Edges[0] < len(inc.Edges) {
			if to := nodes[inc.Edges[s.Edges[0]].To]; to != nil {
				m.Host = to.Host
			}
		}
		v.Timeline = append(v.Timeline, m)
	}
	for i, p := range inc.Detections {
		dv := detectionView{Placed: p, ID: v.Prefix + "d" + strconv.Itoa(i+1), Node: nodes[p.Node]}
		if p.Rule != nil {
			dv.Title, dv.Level = p.Rule.TitleIn(string(lang)), int(p.Rule.Severity)
			dv.Text = p.Rule.Texts[string(lang)]
			if dv.Text == (detect.RuleText{}) {
				dv.Text = p.Rule.Texts["en"]
			}
		} else {
			dv.Rule = &detect.Rule{}
		}
		if p.Event != nil {
			for _, e := range p.Records() {
				dv.Records = append(dv.Records, rec.view(e.Ref, e))
			}
		}
		v.Dets = append(v.Dets, dv)
	}
	rules := map[string]int{}
	for i := range v.Dets {
		dv := &v.Dets[i]
		at, known := rules[dv.Rule.ID]
		if !known {
			at = len(v.Rules)
			rules[dv.Rule.ID] = at
			v.Rules = append(v.Rules, ruleView{Rule: dv.Rule, Title: dv.Title, Level: dv.Level, Text: dv.Text})
		}
		v.Rules[at].Hits = append(v.Rules[at].Hits, dv)
		m := momentView{Det: dv}
		if dv.Event != nil {
			m.Time, m.Host = dv.Event.Time, dv.Event.Host
		}
		v.Timeline = append(v.Timeline, m)
	}
	for i := range v.Steps {
		v.Steps[i].found(inc.Story[i].Detections, v.Dets)
	}
	slices.SortStableFunc(v.Timeline, func(a, b momentView) int {
		return cmp.Or(a.Time.Compare(b.Time), cmp.Compare(b.Step, a.Step))
	})
	v.ByReference = rec.short
	return v, nil
}
