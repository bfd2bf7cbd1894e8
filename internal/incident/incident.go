// Package incident joins detections that the provenance graph connects into
// incidents, and finds for each the root cause, the impact, a score whose every
// term is named, and the story in numbered steps.
//
// An incident is the connected component of detections over skeleton edges of
// class A and B (architecture §3.8). Two things are grouped although nothing
// joins them: what one rule says of one broker or of a host as a whole, and a
// burst, the same rule on many services or tasks that stand alone, one soon
// after the other. An incident is a function of the set of events and
// detections, whatever their order.
package incident

import (
	"time"

	"ashiato/internal/detect"
	"ashiato/internal/provenance"
	"ashiato/internal/world"
)

// RootKind says how an intrusion came in.
type RootKind string

// The typed entries of architecture §3.8.
const (
	RootVolume       RootKind = "volume"           // a removable volume
	RootDownload     RootKind = "download"         // a file with a zone mark
	RootDocument     RootKind = "document"         // an Office document or mail attachment
	RootRemoteLogon  RootKind = "remote-logon"     // a logon over the network
	RootService      RootKind = "exposed-service"  // a child of a network-facing service
	RootInteractive  RootKind = "interactive"      // a person started a program
	RootBeforeRecord RootKind = "before-recording" // it began before recording did
)

// Confidence is how sure the root cause is: the weakest class on its path. That
// it began before recording did is always a guess: the way in was not seen.
type Confidence string

// The confidences, from class A, B and C paths.
const (
	Certain  Confidence = "certain"
	Probable Confidence = "probable"
	Guess    Confidence = "guess"
)

// Root is a root cause, or a candidate for it.
type Root struct {
	Kind       RootKind
	Node       provenance.NodeID
	Confidence Confidence
	Cost       int                 // integer path cost; the lowest is the root
	Path       []provenance.NodeID // from the root to the nearest detection
}

// Term is one printed part of a score.
type Term struct {
	Name   string // stable word, e.g. "detection", "tactics"
	Detail string // which rule, how many
	Points int
}

// Placed is a detection with the node it marks.
type Placed struct {
	detect.Detection
	Node provenance.NodeID
	// ID names the detection for good: a hash of what its record says and of the
	// rule.
	ID string
}

// Step is one numbered sentence of the story. Several edges may share a step.
type Step struct {
	Number int
	Time   time.Time
	// Edges are the indexes into Incident.Edges that the sentence tells of.
	Edges []int
	// Key is the stable word of the sentence's template (i18n "story.<Key>");
	// Args are its untranslated arguments, telemetry text as recorded.
	Key  string
	Args []string
	// Behaviours are the behaviours of detections on this step, sorted.
	Behaviours []string
	// Detections are the indexes into Incident.Detections that the sentence tells of,
	// ascending.
	Detections []int
}

// Persistence is something left behind that starts by itself.
type Persistence struct {
	Node provenance.NodeID
	Kind string // "service", "service-change" (one that was there before), "task", "consumer", "run-key", "exclusion", "folder", "file"
}

// Incident is one intrusion.
type Incident struct {
	ID string // that of its earliest detection; see Changes
	// Severity is that of the most severe detection, where one on what came from a
	// removable volume counts a step more, at most high; the term "origin" then names
	// the volume.
	Severity detect.Severity
	Score    int
	Terms    []Term
	Hosts    []string // sorted
	First    time.Time
	Last     time.Time
	Root     Root
	// Alternatives are the next two candidates for the root cause.
	Alternatives []Root
	Detections   []Placed
	// Nodes and Edges are the incident's part of the graph: what leads from the
	// root to the detections, what they caused, and counted context. Nodes are
	// sorted by id, Edges by (First, From, To, Verb).
	Nodes []*provenance.Node
	Edges []*provenance.Edge
	// EdgeSteps has the step number of each edge, 0 for context.
	EdgeSteps []int
	Story     []Step
	// TitleKeys are the stable words the title is composed from, in order: the
	// root kind first, then behaviours.
	TitleKeys   []string
	Persistence []Persistence
	// SmallestCut is the fewest actions after which nothing that was left behind
	// starts again, the most telling first.
	SmallestCut []Action
	Impact      Impact
	Gaps        []Gap
	// Related are ids of incidents linked by class C edges only, by a log that was
	// cleared in the session of a person, and of the closed one that this one goes
	// on from: at most 64, the earliest.
	Related []string
	// Verdict is what an analyst closed it with, "" if open; Pinned says that an
	// analyst put parts of it together.
	Verdict string
	Pinned  bool
	// Cut counts nodes left out by the size bound.
	Cut int

	joined bool   // false for what stands alone at a hub, and a burst
	raised string // the label of the removable volume that lifted the severity
}

// Gap is something that was not seen.
type Gap = world.Gap
