// Package detect is the one engine that turns an event into detections: Sigma
// rules and indicators side by side. It knows no source and keeps no clock; a
// detection names the rule, the fields and values that decided it, and the
// record it rests on.
package detect

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"ashiato/internal/event"
)

// Severity is Sigma's level.
type Severity uint8

// Sigma's levels, in order.
const (
	Informational Severity = iota
	Low
	Medium
	High
	Critical
)

var severityNames = [...]string{"informational", "low", "medium", "high", "critical"}

// String returns Sigma's word for the level.
func (s Severity) String() string {
	if int(s) < len(severityNames) {
		return severityNames[s]
	}
	return fmt.Sprintf("severity(%d)", uint8(s))
}

// ParseSeverity reads Sigma's word for a level.
func ParseSeverity(word string) (Severity, error) {
	for i, n := range severityNames {
		if strings.EqualFold(word, n) {
			return Severity(i), nil
		}
	}
	return 0, fmt.Errorf("unknown severity %q: use one of %s", word, strings.Join(severityNames[:], ", "))
}

// Texts are a rule's texts for people, keyed by language ("en", "ja", "ko").
type Texts map[string]RuleText

// RuleText is what a rule says to a person, in one language.
type RuleText struct {
	Title   string // one line: what happened
	Meaning string // what it means
	Why     string // why it matters: what follows if it is what it looks like; may be empty
	Check   string // what to check next
	Benign  string // which benign cause is likely
	Action  string // what to do
}

// Rule is what a detection needs to know of its rule or indicator.
type Rule struct {
	ID          string // Sigma's id, or "ioc:<kind>:<value>"
	Name        string // our stable detection name, "Class/Engine.Subject.Mnnnn"; the title if the rule has none
	Aliases     []string
	Title       string // the rule's own title, English
	Description string
	Severity    Severity
	Attack      []string // technique ids, e.g. "T1548.002", sorted
	Tactics     []string // tactic names as tagged, e.g. "privilege-escalation", sorted
	// Behaviour is the stable word that stories and titles are made from, such
	// as "mock-folder" or "defender-exclusion"; "" if the rule names none.
	Behaviour string
	Texts     Texts
	Source    string // file the rule came from
	// Silent marks a rule that is heard only through the correlations that name
	// it: Detect returns no detections of it.
	Silent bool
}

// Title returns the rule's title in the language, else in English, else its own.
func (r *Rule) TitleIn(lang string) string {
	if t := r.Texts[lang].Title; t != "" {
		return t
	}
	if t := r.Texts["en"].Title; t != "" {
		return t
	}
	return r.Title
}

// Matched is a field whose value decided a detection.
type Matched struct {
	Field string
	Value string
}

// Detection is a rule that held for an event, or a correlation that held for
// several.
type Detection struct {
	Rule *Rule
	// Event is the record that decided it.
	Event   *event.Event
	Matched []Matched // in the order of the rule's text, without repeats
	// Others are further records that a correlation rests on, in the order of
	// event.Compare; at most correlation.MaxCited, nil for a rule.
	Others []*event.Event
	// Count is how many records a correlation counted, with Event; 0 for a rule.
	Count int
	// First and Last bound the records of a correlation; zero for a rule.
	First, Last time.Time
	// Belongs is what all records of a correlation belong to in the graph, by the
	// pseudo-fields that it groups by (sigma.PseudoFields); nil if by none.
	Belongs []Matched
}

// Records returns every record that the detection cites, in the order of
// event.Compare.
func (d *Detection) Records() []*event.Event {
	all := append([]*event.Event{d.Event}, d.Others...)
	slices.SortFunc(all, event.Compare)
	return all
}

// Refs returns the references of Records, in their order.
func (d *Detection) Refs() []event.EvidenceRef {
	var refs []event.EvidenceRef
	for _, e := range d.Records() {
		refs = append(refs, e.Ref)
	}
	return refs
}

// Compare orders detections by event, then by rule id, then, for correlations
// that one event decided for several groups, by what matched.
func Compare(a, b Detection) int {
	if c := event.Compare(a.Event, b.Event); c != 0 {
		return c
	}
	if c := strings.Compare(a.Rule.ID, b.Rule.ID); c != 0 || a.Count == 0 && b.Count == 0 {
		return c
	}
	return slices.CompareFunc(a.Matched, b.Matched, func(x, y Matched) int {
		return cmp.Or(strings.Compare(x.Field, y.Field), strings.Compare(x.Value, y.Value))
	})
}
