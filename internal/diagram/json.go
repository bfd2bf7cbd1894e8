package diagram

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"ashiato/internal/event"
)

// jsonBox and jsonArrow are the graph JSON's shapes; see docs/formats/scan-json.md.
type jsonBox struct {
	ID         string   `json:"id"`
	Type       BoxKind  `json:"type"`
	Kind       string   `json:"kind"`
	Label      Text     `json:"label"`
	Path       Text     `json:"path,omitempty"`
	Host       Text     `json:"host,omitempty"`
	X          int      `json:"x"`
	Y          int      `json:"y"`
	W          int      `json:"w"`
	H          int      `json:"h"`
	Column     int      `json:"column"`
	Band       int      `json:"band"`
	Parent     string   `json:"parent,omitempty"`
	Root       bool     `json:"root,omitempty"`
	Context    bool     `json:"context,omitempty"`
	Implied    bool     `json:"implied,omitempty"`
	Reason     Text     `json:"reason,omitempty"`
	Severity   string   `json:"severity,omitempty"`
	Detections []string `json:"detections,omitempty"`
	Count      int      `json:"count"`
	Nodes      []Text   `json:"nodes"`
}

type jsonArrow struct {
	ID       string   `json:"id"`
	From     string   `json:"from"`
	To       string   `json:"to"`
	Verb     string   `json:"verb"`
	Class    string   `json:"class"`
	Step     int      `json:"step"`
	Count    int      `json:"count"`
	Backbone bool     `json:"backbone"`
	Skeleton bool     `json:"skeleton"`
	Signpost bool     `json:"signpost,omitempty"`
	Edges    []int    `json:"edges"`
	Back     []int    `json:"back,omitempty"`
	Points   [][2]int `json:"points"`
}

// jsonPhase is a phase of the story.
type jsonPhase struct {
	Phase string    `json:"phase"`
	Steps []int     `json:"steps"`
	First time.Time `json:"first"`
}

// JSON writes the laid-out graph: the phases of the story, boxes with their
// places and what each stands for, arrows with their courses, and the totals that
// balance. Texts keep every code unit: a lone surrogate is written as a \u escape.
func (d *Diagram) JSON(w io.Writer) error {
	doc := struct {
		Width  int         `json:"width"`
		Height int         `json:"height"`
		Lang   string      `json:"lang"`
		Totals Totals      `json:"totals"`
		Phases []jsonPhase `json:"phases"`
		Boxes  []jsonBox   `json:"boxes"`
		Arrows []jsonArrow `json:"arrows"`
	}{Width: d.Width, Height: d.Height, Lang: string(d.opt.Lang), Totals: d.Totals, Phases: []jsonPhase{}, Boxes: []jsonBox{}, Arrows: []jsonArrow{}}
	for _, p := range d.phases {
		doc.Phases = append(doc.Phases, jsonPhase{p.Key, p.Steps, p.First.UTC()})
	}
	for _, b := range d.Boxes {
		j := jsonBox{
			ID: b.ID, Type: b.Kind, Kind: b.Node.Kind.String(), Label: Text(b.Node.Label), Path: Text(b.Node.Path), Host: Text(b.Node.Host),
			X: b.X, Y: b.Y, W: b.W, H: b.H, Column: b.Column, Band: b.Band, Parent: b.Parent,
			Root: b.Root, Context: b.Context, Implied: b.Kind == Single && b.Node.Implied, Reason: Text(b.Node.Reason), Count: b.Count,
		}
		if len(b.Detections) > 0 {
			j.Severity = b.Severity.String()
		}
		for _, p := range b.Detections {
			if p.Rule != nil {
				j.Detections = append(j.Detections, p.Rule.Name)
			}
		}
		for _, id := range b.Nodes {
			j.Nodes = append(j.Nodes, Text(id))
		}
		doc.Boxes = append(doc.Boxes, j)
	}
	for _, a := range d.Arrows {
		j := jsonArrow{
			ID: a.ID, From: a.From, To: a.To, Verb: a.Verb.String(), Class: a.Class.String(), Step: a.Step, Count: a.Count,
			Backbone: a.Backbone, Skeleton: a.Skeleton, Signpost: a.Signpost, Edges: a.Edges, Back: a.Back,
		}
		if j.Edges == nil {
			j.Edges = []int{}
		}
		for _, p := range a.Points {
			j.Points = append(j.Points, [2]int{p.X, p.Y})
		}
		doc.Arrows = append(doc.Arrows, j)
	}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(doc)
}

// Text is telemetry in JSON: every code unit is kept, a lone surrogate as a \u
// escape, where encoding/json would replace it. A byte that is no UTF-8 at all,
// which no reader hands on, becomes U+FFFD.
type Text string

// MarshalJSON implements json.Marshaler.
func (t Text) MarshalJSON() ([]byte, error) {
	out := make([]byte, 0, len(t)+2)
	out = append(out, '"')
	for i := 0; i < len(t); {
		r, n := event.DecodeRune(string(t[i:]))
		switch {
		case r == '"' || r == '\\':
			out = append(out, '\\', byte(r))
		case r < 0x20, r == 0x7F, r >= 0xD800 && r < 0xE000, r == 0x2028, r == 0x2029, r == '<', r == '>', r == '&':
			out = fmt.Appendf(out, `\u%04x`, r)
		case r == 0xFFFD:
			out = append(out, `\ufffd`...)
		default:
			out = append(out, t[i:i+n]...)
		}
		i += n
	}
	return append(out, '"'), nil
}
