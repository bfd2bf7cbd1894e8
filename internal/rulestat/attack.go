package rulestat

import (
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"ashiato/internal/detect"
)

// Technique is what rules cover of one ATT&CK technique or sub-technique.
type Technique struct {
	ID string // "T1548.002"
	// Tactics are those that the rules name beside the technique, sorted. Sigma's
	// tags do not say which tactic belongs to which technique.
	Tactics []string
	Rules   []*detect.Rule // by id
	Highest detect.Severity
}

var techniqueID = regexp.MustCompile(`^T[0-9]{4}(\.[0-9]{3})?$`)

// Techniques groups rules by the techniques that they are tagged with, in the
// order of their ids. Rules without a technique are counted.
func Techniques(rules []*detect.Rule) (list []Technique, untagged int) {
	byID := map[string]*Technique{}
	for _, r := range rules {
		tagged := false
		for _, id := range r.Attack {
			if !techniqueID.MatchString(id) {
				continue
			}
			tagged = true
			t := byID[id]
			if t == nil {
				t = &Technique{ID: id}
				byID[id] = t
			}
			t.Rules = append(t.Rules, r)
			t.Tactics = append(t.Tactics, r.Tactics...)
			t.Highest = max(t.Highest, r.Severity)
		}
		if !tagged {
			untagged++
		}
	}
	for _, t := range byID {
		slices.Sort(t.Tactics)
		t.Tactics = slices.Compact(t.Tactics)
		slices.SortStableFunc(t.Rules, func(a, b *detect.Rule) int { return strings.Compare(a.ID, b.ID) })
		list = append(list, *t)
	}
	slices.SortFunc(list, func(a, b Technique) int { return strings.Compare(a.ID, b.ID) })
	return list, untagged
}

// navigatorColours go from one rule to the most.
var navigatorColours = []string{"#dbeafe", "#3b82f6", "#1e3a8a"}

// NavigatorBegins is how every layer begins that Navigator writes.
const NavigatorBegins = "{\n  \"name\": \"Ashiato: "

// maxComment bounds the rules that a layer's comment names.
const maxComment = 10

// Navigator writes techniques as a layer of the ATT&CK Navigator, layer format
// 4.5. A technique's score is the number of its rules.
func Navigator(w io.Writer, name string, techniques []Technique) error {
	type metadata struct {
		Name  string `json:"name"`
		Value string `json:"value"`
	}
	type technique struct {
		ID       string     `json:"techniqueID"`
		Score    int        `json:"score"`
		Comment  string     `json:"comment"`
		Enabled  bool       `json:"enabled"`
		Metadata []metadata `json:"metadata"`
		Show     bool       `json:"showSubtechniques"`
	}
	type gradient struct {
		Colors []string `json:"colors"`
		Min    int      `json:"minValue"`
		Max    int      `json:"maxValue"`
	}
	layer := struct {
		Name     string `json:"name"`
		Versions struct {
			Layer string `json:"layer"`
		} `json:"versions"`
		Domain      string      `json:"domain"`
		Description string      `json:"description"`
		Sorting     int         `json:"sorting"`
		Techniques  []technique `json:"techniques"`
		Gradient    gradient    `json:"gradient"`
	}{
		Name: "Ashiato: " + name, Domain: "enterprise-attack",
		Description: "The score of a technique is the number of rules that are tagged with it.",
		Sorting:     3, // by score, the highest first
		Techniques:  []technique{},
		Gradient:    gradient{Colors: navigatorColours, Min: 1, Max: 1},
	}
	layer.Versions.Layer = "4.5"
	parents := map[string]bool{}
	for _, t := range techniques {
		if parent, _, sub := strings.Cut(t.ID, "."); sub {
			parents[parent] = true
		}
	}
	put := func(t Technique) {
		var titles []string
		for _, r := range t.Rules[:min(len(t.Rules), maxComment)] {
			titles = append(titles, r.Title)
		}
		if more := len(t.Rules) - maxComment; more > 0 {
			titles = append(titles, fmt.Sprintf("and %d more", more))
		}
		layer.Techniques = append(layer.Techniques, technique{
			ID: t.ID, Score: len(t.Rules), Comment: strings.Join(titles, "\n"), Enabled: true, Show: parents[t.ID],
			Metadata: []metadata{{"highest level", t.Highest.String()}},
		})
		layer.Gradient.Max = max(layer.Gradient.Max, len(t.Rules))
	}
	for _, t := range techniques {
		put(t)
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(layer)
}
