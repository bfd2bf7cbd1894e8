// Package diagram draws an incident as one correlation diagram: what caused what,
// from left to right, in event time, under a strip of the story's phases.
//
// New groups and lays out; SVG and JSON write the result. The backbone is a tree
// in which each node hangs on the first edge in time that caused it; it is folded
// into rows of columns that fit the width, narrow branches side by side, so that a
// long chain stays readable without zooming. Other edges are drawn fainter around
// the boxes, or, where they would run far, as a signpost that names the other end.
// Leaves that repeat become one counted group, with what they were detected by,
// and what is beyond the size bound is folded into counted boxes, least severe
// first: nothing is left out without its count.
//
// The result depends on the incident's set of nodes and edges only, not on their
// order. The SVG holds its own style, no script and no outside reference, and
// every text in it is measured to fit its box.
package diagram

import (
	"time"

	"ashiato/internal/detect"
	"ashiato/internal/i18n"
	"ashiato/internal/incident"
	"ashiato/internal/provenance"
)

// Bounds on what is drawn.
const (
	// DefaultWidth is the width in CSS pixels if Options names none.
	DefaultWidth = 1280
	// MinWidth is the least width a diagram is laid out for.
	MinWidth = 640
	// FirstSight is how many boxes are drawn before the least severe are folded.
	FirstSight = 60
	// MaxBoxes is how many boxes are drawn at the most, when the detections of
	// high severity and what leads to them do not fit into FirstSight.
	MaxBoxes = 120
	// MaxCross is how many arrows beside the backbone are drawn at the most.
	MaxCross = 40
	// maxContextCross is how many of them may be context.
	maxContextCross = 8
)

// Options say how to draw.
type Options struct {
	// Lang is the reader's language, English if empty.
	Lang i18n.Lang
	// Width in CSS pixels, DefaultWidth if 0.
	Width int
	// Title is drawn on top; "" draws none.
	Title string
	// Zone is the time zone of drawn times, UTC if nil.
	Zone *time.Location
	// Story writes the numbered sentences below the picture.
	Story bool
	// Links makes every arrow a link to #<Prefix><Arrow.ID> and every box a link
	// to #<Prefix><Box.ID>. Without it they are plain groups of the same ids.
	Links bool
	// Prefix starts every id and link target, so that several diagrams can be in
	// one document.
	Prefix string
}

// BoxKind says what a box stands for.
type BoxKind string

// The box kinds.
const (
	Single  BoxKind = "node"    // one node
	Group   BoxKind = "group"   // alike: same actor, verb, kind, folder and leading detection
	Context BoxKind = "context" // leaves without a step or detection
	Folded  BoxKind = "folded"  // what the size bound left out below one box
)

// Box is one drawn box.
type Box struct {
	ID   string // "n1", "n2" … in drawing order
	Kind BoxKind
	// Node is the drawn node, or the first of a group.
	Node *provenance.Node
	// Nodes are the ids of all nodes it stands for, sorted; Count is their number.
	Nodes []provenance.NodeID
	Count int
	// Detections are on its nodes, most severe first.
	Detections []incident.Placed
	// Severity is the highest of Detections; meaningless if there are none.
	Severity detect.Severity
	Root     bool // the root cause
	Context  bool // no step of the story and no detection
	// Parent is the box its backbone arrow comes from, "" for a root.
	Parent string
	// X, Y, W and H are its place in pixels; Column and Band its place in the fold.
	X, Y, W, H   int
	Column, Band int

	text   boxText
	beside bool // to the right of a sibling: its arrow comes along above that
	lane   int  // which of the lines above its row that arrow takes
}

// Arrow is one drawn arrow. It bundles every edge between its two boxes.
type Arrow struct {
	ID       string // "a1", "a2" … in drawing order
	From, To string // box ids
	// Edges are indexes into Incident.Edges of the facts it stands for, in the
	// incident's order; Back are those that run from To to From.
	Edges, Back []int
	Verb        provenance.Verb // of its first fact
	Class       provenance.Class
	Step        int // the lowest step of its edges, 0 for context
	Count       int // facts merged: the sum of the edges' counts
	Backbone    bool
	Skeleton    bool
	// Signpost marks an arrow that would run too far: it is drawn at its From box
	// only, with the name of its To box.
	Signpost bool
	// Points is its course, from the From box to the To box.
	Points []Point

	label label
}

// Point is a place in pixels.
type Point struct{ X, Y int }

// Totals balance what is drawn against the incident.
type Totals struct {
	Nodes   int `json:"nodes"`   // = Drawn + Grouped + Folded
	Drawn   int `json:"drawn"`   // as a box of their own
	Grouped int `json:"grouped"` // in a counted group
	Folded  int `json:"folded"`  // in a folded box
	Cut     int `json:"cut"`     // left out of the incident itself by its size bound

	Edges       int `json:"edges"`        // = EdgesDrawn + EdgesInside + EdgesHidden
	EdgesDrawn  int `json:"edges_drawn"`  // behind an arrow
	EdgesInside int `json:"edges_inside"` // both ends in the same box
	EdgesHidden int `json:"edges_hidden"` // between drawn boxes, left out by MaxCross
}

// Diagram is a laid-out incident.
type Diagram struct {
	Width, Height int
	Boxes         []*Box
	Arrows        []*Arrow
	Totals        Totals

	inc     *incident.Incident
	opt     Options
	columns int
	pitch   int
	top     int // where the first band begins
	bands   []band
	boxOf   map[provenance.NodeID]*Box
	phases  []Phase
	head    []placed // the title and what stands under it
	foot    []placed // legend and story
	links   []link   // lines from a box to the band that goes on from it
	starts  []Point  // where an arrow from nowhere marks the root cause
	// branches are the grounds of trees that stand side by side.
	branches []rect
}
