package sigma

import (
	"path"
	"strings"

	"ashiato/internal/event"
	"ashiato/internal/sigma/logsource"
)

// Rule is one parsed rule.
type Rule struct {
	// File is the file's name as given to Parse, Line the rule's first line.
	File string
	Line int

	ID             string // "" if the rule has none
	Name           string // by which correlations and filters may refer to it, "" if it has none
	Title          string
	Status         string
	Description    string
	Author         string
	Date, Modified string
	License        string
	References     []string
	FalsePositives []string
	Tags           []string
	Level          string // "informational" … "critical"; "medium" if the rule has none
	LogSource      LogSource

	// Attack holds the ATT&CK technique ids of the tags ("T1548.002"), Tactics
	// the tactic names ("privilege-escalation"), both sorted.
	Attack, Tactics []string

	// Extension is the rule's ashiato map.
	Extension Extension

	// Warnings are faults that do not change what the rule means.
	Warnings []*Error

	conditions []*expr
	items      []*item // in the order of the file
	fields     logsource.Matcher

	regexes *int // what is left of MaxRegexes while the rule is read
}

// LogSource is a rule's logsource map.
type LogSource struct {
	Category, Product, Service, Definition string
}

// String returns "product/category/service" without the empty parts.
func (l LogSource) String() string {
	var parts []string
	for _, p := range []string{l.Product, l.Category, l.Service} {
		if p != "" {
			parts = append(parts, p)
		}
	}
	return strings.Join(parts, "/")
}

// Extension is the top-level map "ashiato" of docs/formats/rules.md.
type Extension struct {
	Name      string
	Aliases   []string
	Behaviour string
	Texts     map[string]Text // by language
}

// Text is what a rule says to people in one language.
type Text struct {
	Title, Meaning, Why, Check, Benign, Action string // Why may be empty
}

// Base returns the rule's file name without folder and extension.
func (r *Rule) Base() string {
	base := path.Base(strings.ReplaceAll(r.File, `\`, "/"))
	return strings.TrimSuffix(strings.TrimSuffix(base, ".yml"), ".yaml")
}

// Key returns what identifies the rule: its id, else its title.
func (r *Rule) Key() string {
	if r.ID != "" {
		return r.ID
	}
	return "sigma:" + r.Title
}

// Field returns the first value of a field of e as the rule sees it, under the
// rule's own names, and whether e has the field.
func (r *Rule) Field(e *event.Event, name string) (string, bool) {
	if v := lookup(e, r.fieldName(name)); len(v) > 0 {
		return v[0], true
	}
	return "", false
}

// Fold returns the form of a value in which Sigma compares text: letter case
// folded, everything else kept.
func Fold(s string) string { return fold(s) }
