package report

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"ashiato/internal/diagram"
	"ashiato/internal/event"
	"ashiato/internal/i18n"
	"ashiato/internal/incident"
	"ashiato/internal/provenance"
	"ashiato/internal/source"
)

// text is telemetry: every code unit is kept.
type text = diagram.Text

// The shapes of docs/formats/scan.schema.json.
type (
	jsonDocument struct {
		Format    string         `json:"format"`
		Tool      jsonTool       `json:"tool"`
		Stats     jsonStats      `json:"stats"`
		Incidents []jsonIncident `json:"incidents"`
		Changes   []jsonChange   `json:"changes,omitempty"`
		Gaps      []jsonGap      `json:"gaps"`
		Clocks    []jsonClock    `json:"clocks"`
		Problems  []jsonProblem  `json:"problems"`
	}
	jsonChange struct {
		ID   string     `json:"id"`
		Kind string     `json:"kind"`
		Now  []string   `json:"now"`
		With []string   `json:"with"`
		Why  []jsonEdge `json:"why"`
		New  int        `json:"new_detections"`
	}
	jsonTool struct {
		Name    string `json:"name"`
		Version string `json:"version"`
		RuleSet string `json:"rule_set"`
		Args    []text `json:"args"`
		Lang    string `json:"lang"`
	}
	jsonStats struct {
		Files        int      `json:"files"`
		FilesRead    int      `json:"files_read"`
		Bytes        int64    `json:"bytes"`
		Records      int64    `json:"records"`
		Undecodable  int64    `json:"undecodable"`
		Events       int64    `json:"events"`
		Repeated     int64    `json:"repeated"`
		Filtered     int64    `json:"filtered"`
		Analysed     int64    `json:"analysed"`
		Carved       int64    `json:"carved"`
		Unread       int64    `json:"unread"`
		Hosts        []text   `json:"hosts"`
		First        jsonTime `json:"first"`
		Last         jsonTime `json:"last"`
		Rules        int      `json:"rules"`
		Correlations int      `json:"correlations"`
		Applicable   int      `json:"rules_applicable"`
		Indicators   int      `json:"indicators"`
		Detections   int      `json:"detections"`
		Placed       int      `json:"detections_in_incidents"`
		BelowMinimum int      `json:"detections_below_minimum"`
		Incidents    int      `json:"incidents"`
		Problems     int      `json:"problems"`
	}
	jsonIncident struct {
		ID           string            `json:"id"`
		Title        text              `json:"title"`
		Severity     string            `json:"severity"`
		Score        int               `json:"score"`
		Terms        []jsonTerm        `json:"terms"`
		Hosts        []text            `json:"hosts"`
		First        jsonTime          `json:"first"`
		Last         jsonTime          `json:"last"`
		Root         jsonRoot          `json:"root"`
		Alternatives []jsonRoot        `json:"alternatives"`
		Story        []jsonStep        `json:"story"`
		Detections   []jsonDetection   `json:"detections"`
		Persistence  []jsonPersistence `json:"persistence"`
		SmallestCut  []jsonAction      `json:"smallest_cut"`
		Impact       jsonImpact        `json:"impact"`
		Gaps         []jsonGap         `json:"gaps"`
		Related      []string          `json:"related"`
		Verdict      string            `json:"verdict,omitempty"`
		Pinned       bool              `json:"pinned,omitempty"`
		Cut          int               `json:"cut"`
		Graph        jsonGraph         `json:"graph"`
	}
	jsonTerm struct {
		Name   string `json:"name"`
		Detail text   `json:"detail"`
		Points int    `json:"points"`
	}
	jsonRoot struct {
		Kind       string `json:"kind"`
		Node       text   `json:"node"`
		Confidence string `json:"confidence"`
		Cost       int    `json:"cost"`
		Path       []text `json:"path"`
	}
	jsonStep struct {
		Number     int      `json:"number"`
		Time       jsonTime `json:"time"`
		Key        string   `json:"key"`
		Args       []text   `json:"args"`
		Text       text     `json:"text"`
		Edges      []int    `json:"edges"`
		Behaviours []string `json:"behaviours"`
	}
	jsonDetection struct {
		ID       string    `json:"id"`
		Rule     text      `json:"rule"`
		Name     text      `json:"name"`
		Title    text      `json:"title"`
		Aliases  []text    `json:"aliases"`
		Severity string    `json:"severity"`
		Attack   []string  `json:"attack"`
		Tactics  []string  `json:"tactics"`
		Time     jsonTime  `json:"time"`
		Host     text      `json:"host"`
		Node     text      `json:"node"`
		Matched  matched   `json:"matched"`
		Evidence []jsonRef `json:"evidence"`
	}
	jsonPersistence struct {
		Node text   `json:"node"`
		Kind string `json:"kind"`
	}
	jsonAction struct {
		Kind   string `json:"kind"`
		Node   text   `json:"node"`
		Severs []text `json:"severs"`
	}
	jsonImpact struct {
		Reached []text         `json:"reached"`
		Dropped []text         `json:"dropped"`
		Hidden  []text         `json:"hidden"`
		Running []text         `json:"running"`
		Exposed []jsonExposure `json:"exposed"`
	}
	jsonExposure struct {
		Host     text      `json:"host"`
		User     text      `json:"user"`
		LogonID  string    `json:"logon_id"`
		Reader   text      `json:"reader"`
		Time     jsonTime  `json:"time"`
		Evidence []jsonRef `json:"evidence"`
	}
	jsonClock struct {
		Kind      string    `json:"kind"`
		Host      text      `json:"host"`
		File      text      `json:"file"`
		Offset    int64     `json:"offset_seconds"`
		Corrected int       `json:"corrected"`
		Records   int       `json:"records"`
		Of        int       `json:"of"`
		Least     int64     `json:"least_ms"`
		Most      int64     `json:"most_ms"`
		Evidence  []jsonRef `json:"evidence"`
	}
	jsonGap struct {
		Host     text      `json:"host"`
		Channel  text      `json:"channel"`
		Reason   string    `json:"reason"`
		From     jsonTime  `json:"from"`
		To       jsonTime  `json:"to"`
		Count    int       `json:"count"`
		Evidence []jsonRef `json:"evidence"`
	}
	jsonGraph struct {
		Nodes []jsonNode `json:"nodes"`
		Edges []jsonEdge `json:"edges"`
	}
	jsonNode struct {
		ID       text       `json:"id"`
		Kind     string     `json:"kind"`
		Host     text       `json:"host"`
		Label    text       `json:"label"`
		Path     text       `json:"path,omitempty"`
		Attrs    []jsonAttr `json:"attrs,omitempty"`
		First    jsonTime   `json:"first"`
		Last     jsonTime   `json:"last"`
		Ended    *jsonTime  `json:"ended,omitempty"`
		Existing bool       `json:"existing,omitempty"`
		Implied  bool       `json:"implied,omitempty"`
		Reason   text       `json:"reason,omitempty"`
		Hub      bool       `json:"hub,omitempty"`
		// What the node came of, and how many such there are.
		Origins     []jsonOrigin `json:"origins,omitempty"`
		OriginCount int          `json:"origin_count,omitempty"`
		Evidence    []jsonRef    `json:"evidence"`
	}
	jsonOrigin struct {
		Kind  string   `json:"kind"`
		Node  text     `json:"node"`
		Label text     `json:"label"`
		Time  jsonTime `json:"time"`
	}
	jsonAttr struct {
		Name  text `json:"name"`
		Value text `json:"value"`
	}
	jsonEdge struct {
		From     text      `json:"from"`
		To       text      `json:"to"`
		Verb     string    `json:"verb"`
		Class    string    `json:"class"`
		Skeleton bool      `json:"skeleton"`
		Severed  bool      `json:"severed,omitempty"`
		Step     int       `json:"step"`
		Time     jsonTime  `json:"time"`
		Last     jsonTime  `json:"last"`
		Count    int       `json:"count"`
		Join     text      `json:"join"`
		Evidence []jsonRef `json:"evidence"`
	}
	jsonRef struct {
		Host     text   `json:"host"`
		Channel  text   `json:"channel"`
		RecordID uint64 `json:"record_id"`
		File     text   `json:"file"`
		Offset   int64  `json:"offset"`
		SHA256   string `json:"sha256"`
	}
	jsonProblem struct {
		File   text   `json:"file"`
		Kind   string `json:"kind"`
		Offset *int64 `json:"offset,omitempty"`
		Line   int    `json:"line,omitempty"`
		Count  int    `json:"count"`
		Lost   int    `json:"lost"`
		Detail text   `json:"detail"`
	}
)

// Format names the shape of the JSON and its version.
const Format = "ashiato-scan/1"

// jsonTime is RFC 3339 in UTC with seven decimals; null if it is not known.
type jsonTime time.Time

// MarshalJSON implements json.Marshaler.
func (t jsonTime) MarshalJSON() ([]byte, error) {
	if time.Time(t).IsZero() {
		return []byte("null"), nil
	}
	return []byte(`"` + time.Time(t).UTC().Format(event.TimeFormat) + `"`), nil
}

// matched is an object from field to value, in the order of the rule's text. A
// field that matched by several values has an array of them.
type matched []matchedField

type matchedField struct {
	name   string
	values []string
}

// MarshalJSON implements json.Marshaler.
func (m matched) MarshalJSON() ([]byte, error) {
	out := []byte{'{'}
	for i, f := range m {
		if i > 0 {
			out = append(out, ',')
		}
		name, err := text(f.name).MarshalJSON()
		if err != nil {
			return nil, err
		}
		var value []byte
		if len(f.values) == 1 {
			value, err = text(f.values[0]).MarshalJSON()
		} else {
			value, err = json.Marshal(texts(f.values))
		}
		if err != nil {
			return nil, err
		}
		out = append(append(append(out, name...), ':'), value...)
	}
	return append(out, '}'), nil
}

func texts[S ~string](in []S) []text {
	out := make([]text, len(in))
	for i, s := range in {
		out[i] = text(s)
	}
	return out
}

func words(in []string) []string {
	if in == nil {
		return []string{}
	}
	return in
}

func refs(in []event.EvidenceRef) []jsonRef {
	out := make([]jsonRef, len(in))
	for i, r := range in {
		out[i] = jsonRef{text(r.Host), text(r.Channel), r.RecordID, text(r.File), r.Offset, r.Hash()}
	}
	return out
}

// JSON writes the document as one JSON object; see docs/formats/scan-json.md.
func (d *Document) JSON(w io.Writer) error {
	if len(d.Incidents) < 2 {
		return encode(w, d.json(d.Incidents))
	}
	// One incident after the other, so that they need not be in memory in JSON at
	// once: around them is what a document without any has.
	var frame bytes.Buffer
	if err := encode(&frame, d.json(nil)); err != nil {
		return err
	}
	const none = "\n \"incidents\": []" // within a text there are no quotes like these
	head, tail, ok := bytes.Cut(frame.Bytes(), []byte(none))
	if !ok {
		return errors.New("a document without a list of incidents")
	}
	out := bufio.NewWriter(w)
	_, _ = out.Write(head) // the first error stays until Flush
	_, _ = out.WriteString(none[:len(none)-1])
	var compact, indented bytes.Buffer
	enc := json.NewEncoder(&compact)
	enc.SetEscapeHTML(false)
	for i, inc := range d.Incidents {
		compact.Reset()
		indented.Reset()
		if err := enc.Encode(d.jsonIncident(inc)); err != nil {
			return err
		}
		if err := json.Indent(&indented, bytes.TrimSpace(compact.Bytes()), "  ", " "); err != nil {
			return err
		}
		if i > 0 {
			_ = out.WriteByte(',')
		}
		_, _ = out.WriteString("\n  ")
		_, _ = out.Write(indented.Bytes())
	}
	_, _ = out.WriteString("\n ]")
	_, _ = out.Write(tail)
	return out.Flush()
}

// json is the document with some of its incidents.
func (d *Document) json(incidents []*incident.Incident) jsonDocument {
	doc := jsonDocument{Format: Format, Tool: d.jsonTool(), Stats: d.jsonStats(), Incidents: []jsonIncident{}, Changes: changes(d.Changes), Gaps: gaps(d.Gaps), Clocks: clocks(d.Clocks), Problems: problems(d.Problems)}
	for _, inc := range incidents {
		doc.Incidents = append(doc.Incidents, d.jsonIncident(inc))
	}
	return doc
}

func encode(w io.Writer, doc jsonDocument) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", " ")
	return enc.Encode(doc)
}

// NDJSON writes one JSON object a line: each incident as {"incident":…}, then
// each gap, clock and problem, and last the tool and the statistics, so that a
// reader that sees the last line knows that it has everything.
func (d *Document) NDJSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	for _, inc := range d.Incidents {
		if err := enc.Encode(struct {
			Incident jsonIncident `json:"incident"`
		}{d.jsonIncident(inc)}); err != nil {
			return err
		}
	}
	for _, c := range changes(d.Changes) {
		if err := enc.Encode(struct {
			Change jsonChange `json:"change"`
		}{c}); err != nil {
			return err
		}
	}
	for _, g := range gaps(d.Gaps) {
		if err := enc.Encode(struct {
			Gap jsonGap `json:"gap"`
		}{g}); err != nil {
			return err
		}
	}
	for _, c := range clocks(d.Clocks) {
		if err := enc.Encode(struct {
			Clock jsonClock `json:"clock"`
		}{c}); err != nil {
			return err
		}
	}
	for _, p := range problems(d.Problems) {
		if err := enc.Encode(struct {
			Problem jsonProblem `json:"problem"`
		}{p}); err != nil {
			return err
		}
	}
	return enc.Encode(struct {
		Format string    `json:"format"`
		Tool   jsonTool  `json:"tool"`
		Stats  jsonStats `json:"stats"`
	}{Format, d.jsonTool(), d.jsonStats()})
}

func (d *Document) jsonTool() jsonTool {
	return jsonTool{d.Tool, d.Version, d.RuleSet, texts(d.Args), string(d.lang())}
}

func (d *Document) jsonStats() jsonStats {
	s := d.Stats
	return jsonStats{
		Files: s.Source.Files, FilesRead: s.Source.FilesRead, Bytes: s.Source.Bytes,
		Records: s.Source.Records, Undecodable: s.Source.Undecodable, Events: s.Source.Events, Carved: s.Source.Carved, Unread: s.Source.Unread,
		Repeated: s.Repeated, Filtered: s.Filtered, Analysed: s.Analysed,
		Hosts: texts(s.Hosts), First: jsonTime(s.First), Last: jsonTime(s.Last),
		Rules: s.Rules, Correlations: s.Correlations, Applicable: s.Applicable, Indicators: s.Indicators,
		Detections: s.Detections, Placed: s.Placed, BelowMinimum: s.BelowMinimum,
		Incidents: len(d.Incidents), Problems: len(d.Problems),
	}
}

func gaps(in []incident.Gap) []jsonGap {
	out := []jsonGap{}
	for _, g := range in {
		out = append(out, jsonGap{text(g.Host), text(g.Channel), g.Reason, jsonTime(g.From), jsonTime(g.To), g.Count, refs(g.Evidence)})
	}
	return out
}

func problems(in []source.Problem) []jsonProblem {
	out := []jsonProblem{}
	for _, p := range in {
		j := jsonProblem{File: text(p.File), Kind: string(p.Kind), Line: p.Line, Count: p.Count, Lost: p.Lost, Detail: text(p.Detail)}
		if p.Offset >= 0 {
			j.Offset = &p.Offset
		}
		out = append(out, j)
	}
	return out
}

func edgeOf(e *provenance.Edge) jsonEdge {
	return jsonEdge{
		From: text(e.From), To: text(e.To), Verb: e.Verb.String(), Class: e.Class.String(), Skeleton: e.Skeleton, Severed: e.Severed,
		Time: jsonTime(e.First), Last: jsonTime(e.Last), Count: e.Count, Join: text(e.Join), Evidence: refs(e.Evidence),
	}
}

func changes(in []incident.Change) []jsonChange {
	var out []jsonChange
	for _, c := range in {
		j := jsonChange{ID: c.ID, Kind: string(c.Kind), Now: words(c.Now), With: words(c.With), Why: []jsonEdge{}, New: c.New}
		for _, e := range c.Why {
			j.Why = append(j.Why, edgeOf(e))
		}
		out = append(out, j)
	}
	return out
}

func impact(m incident.Impact) jsonImpact {
	j := jsonImpact{
		Reached: texts(m.Reached), Dropped: texts(m.Dropped), Hidden: texts(m.Hidden), Running: texts(m.Running),
		Exposed: []jsonExposure{},
	}
	for _, x := range m.Exposed {
		j.Exposed = append(j.Exposed, jsonExposure{
			text(x.Host), text(x.User), fmt.Sprintf("0x%x", x.LogonID), text(x.Reader), jsonTime(x.Time), refs(x.Evidence),
		})
	}
	return j
}

func root(r incident.Root) jsonRoot {
	return jsonRoot{string(r.Kind), text(r.Node), string(r.Confidence), r.Cost, texts(r.Path)}
}

func (d *Document) jsonIncident(inc *incident.Incident) jsonIncident {
	j := jsonIncident{
		ID: inc.ID, Title: text(d.title(inc)), Severity: inc.Severity.String(), Score: inc.Score, Terms: []jsonTerm{},
		Hosts: texts(inc.Hosts), First: jsonTime(inc.First), Last: jsonTime(inc.Last),
		Root: root(inc.Root), Alternatives: []jsonRoot{}, Story: []jsonStep{}, Detections: []jsonDetection{},
		Persistence: []jsonPersistence{}, SmallestCut: []jsonAction{}, Impact: impact(inc.Impact),
		Gaps: gaps(inc.Gaps), Related: words(inc.Related), Verdict: inc.Verdict, Pinned: inc.Pinned, Cut: inc.Cut,
		Graph: jsonGraph{Nodes: []jsonNode{}, Edges: []jsonEdge{}},
	}
	for _, t := range inc.Terms {
		j.Terms = append(j.Terms, jsonTerm{t.Name, text(t.Detail), t.Points})
	}
	for _, r := range inc.Alternatives {
		j.Alternatives = append(j.Alternatives, root(r))
	}
	// Edges are written in their canonical order, so a step's indexes are
	// carried over to it.
	order := diagram.CanonicalEdges(inc)
	rank := make([]int, len(order))
	for r, i := range order {
		rank[i] = r
	}
	for _, s := range inc.Story {
		step := jsonStep{Number: s.Number, Time: jsonTime(s.Time), Key: s.Key, Args: texts(s.Args), Edges: []int{}, Behaviours: words(s.Behaviours)}
		for _, p := range diagram.Sentence(d.lang(), inc, s) {
			step.Text += text(p.Text)
		}
		for _, i := range s.Edges {
			if i >= 0 && i < len(rank) {
				step.Edges = append(step.Edges, rank[i])
			}
		}
		slices.Sort(step.Edges)
		j.Story = append(j.Story, step)
	}
	for _, p := range inc.Detections {
		j.Detections = append(j.Detections, d.jsonDetection(p))
	}
	for _, p := range inc.Persistence {
		j.Persistence = append(j.Persistence, jsonPersistence{text(p.Node), p.Kind})
	}
	for _, a := range inc.SmallestCut {
		j.SmallestCut = append(j.SmallestCut, jsonAction{a.Kind, text(a.Node), texts(a.Severs)})
	}
	for _, n := range sortedNodes(inc) {
		node := jsonNode{
			ID: text(n.ID), Kind: n.Kind.String(), Host: text(n.Host), Label: text(n.Label), Path: text(n.Path),
			First: jsonTime(n.First), Last: jsonTime(n.Last), Existing: n.Existing, Implied: n.Implied, Reason: text(n.Reason), Hub: n.Hub, Evidence: refs(n.Evidence),
		}
		if !n.Ended.IsZero() {
			ended := jsonTime(n.Ended)
			node.Ended = &ended
		}
		node.OriginCount = n.OriginCount
		for _, o := range n.Origins {
			node.Origins = append(node.Origins, jsonOrigin{string(o.Kind), text(o.Node), text(o.Label), jsonTime(o.Time)})
		}
		for _, a := range n.Attrs {
			node.Attrs = append(node.Attrs, jsonAttr{text(a.Name), text(a.Value)})
		}
		j.Graph.Nodes = append(j.Graph.Nodes, node)
	}
	for _, i := range order {
		edge := edgeOf(inc.Edges[i])
		if i < len(inc.EdgeSteps) {
			edge.Step = inc.EdgeSteps[i]
		}
		j.Graph.Edges = append(j.Graph.Edges, edge)
	}
	return j
}

func sortedNodes(inc *incident.Incident) []*provenance.Node {
	nodes := slices.Clone(inc.Nodes)
	slices.SortStableFunc(nodes, func(a, b *provenance.Node) int {
		switch {
		case a.ID < b.ID:
			return -1
		case a.ID > b.ID:
			return 1
		}
		return 0
	})
	return nodes
}

func (d *Document) jsonDetection(p incident.Placed) jsonDetection {
	j := jsonDetection{ID: p.ID, Node: text(p.Node), Aliases: []text{}, Attack: []string{}, Tactics: []string{}, Matched: matched{}, Evidence: []jsonRef{}}
	if r := p.Rule; r != nil {
		j.Rule, j.Name, j.Title = text(r.ID), text(r.Name), text(r.TitleIn(string(d.lang())))
		j.Aliases, j.Severity = texts(r.Aliases), r.Severity.String()
		j.Attack, j.Tactics = words(r.Attack), words(r.Tactics)
	}
	if e := p.Event; e != nil {
		j.Time, j.Host, j.Evidence = jsonTime(e.Time), text(e.Host), refs(p.Refs())
	}
	for _, m := range p.Matched {
		at := slices.IndexFunc(j.Matched, func(f matchedField) bool { return f.name == m.Field })
		if at < 0 {
			j.Matched = append(j.Matched, matchedField{m.Field, []string{m.Value}})
		} else {
			j.Matched[at].values = append(j.Matched[at].values, m.Value)
		}
	}
	return j
}

func (d *Document) lang() i18n.Lang {
	if d.Lang == "" {
		return i18n.English
	}
	return d.Lang
}

func (d *Document) title(inc *incident.Incident) string {
	if t := d.Titles[inc.ID]; t != "" {
		return t
	}
	return inc.Title(d.lang())
}
