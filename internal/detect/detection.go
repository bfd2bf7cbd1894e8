// Package detect is the one engine that turns an event into detections: Sigma
// rules and indicators side by side. It knows no source and keeps no clock; a
// detection names the rule, the fields and values that decided it, and the
// record it rests on.
package detect

import (
	"fmt"
	"strings"

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
	Meaning string // what it means and why it matters
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

// Detection is a rule that held for an event.
type Detection struct {
	Rule    *Rule
	Event   *event.Event
	Matched []Matched // in the order of the rule's text, without repeats
}

// Compare orders detections by event, then by rule id.
func Compare(a, b Detection) int {
	if c := event.Compare(a.Event, b.Event); c != 0 {
		return c
	}
	return strings.Compare(a.Rule.ID, b.Rule.ID)
}
