// Package logsource says which events a Sigma log source means. The tables
// (tables.go) are data: categories by what happened, services by the log's
// channel, products by what the record says of itself.
//
// All given parts of a log source must hold. Every record of a log of Windows
// is of the product windows; a record of another product must say so in its
// provider or channel ("Linux-Sysmon", "auditd"). A category or service of a
// product that keeps no such records loads and never matches.
package logsource

import (
	"fmt"
	"slices"
	"strings"

	"ashiato/internal/event"
)

// Matcher tells whether an event is of a log source. The zero Matcher matches
// every event.
type Matcher struct {
	product  string
	category *category
	service  *service
	// word is a category or service without a table: a record must name it.
	words []string
}

// category is what happened, whichever log said so.
type category struct {
	name string
	// events are the alternatives.
	events []what
	// aliases maps field names that Sigma's rules use for this category to the
	// names that our events have.
	aliases map[string]string
}

// what is one alternative of a category: a kind, narrowed to ids if there are
// any; or, where the kind is Other, a channel or provider with ids.
type what struct {
	kind event.Kind
	log  string
	ids  []uint32
}

// service is a log, by its channels or providers.
type service struct {
	name     string
	channels []string
	// providers narrow a channel that many providers share.
	providers []string
}

// New returns the matcher of a log source. It is an error if a part is not
// known; the error names it.
func New(categoryName, product, serviceName string) (Matcher, error) {
	m := Matcher{product: product}
	if categoryName == "" && product == "" && serviceName == "" {
		return m, fmt.Errorf("the log source is empty")
	}
	if product != "" && !slices.Contains(products, product) {
		return m, fmt.Errorf("unknown product %q%s", product, nearest(product, products))
	}
	if categoryName != "" {
		i := slices.IndexFunc(categories, func(c category) bool { return c.name == categoryName })
		switch {
		case i >= 0:
			m.category = &categories[i]
		case slices.Contains(otherCategories, categoryName):
			m.words = append(m.words, categoryName)
		default:
			return m, fmt.Errorf("unknown category %q%s", categoryName, nearest(categoryName, Categories()))
		}
	}
	if serviceName != "" {
		i := slices.IndexFunc(services, func(s service) bool { return s.name == serviceName })
		switch {
		case i >= 0 && (product == "windows" || product == ""):
			m.service = &services[i]
		case product != "" && product != "windows", slices.Contains(otherServices, serviceName):
			m.words = append(m.words, serviceName)
		default:
			return m, fmt.Errorf("unknown service %q%s", serviceName, nearest(serviceName, Services()))
		}
	}
	return m, nil
}

// Categories returns the known categories, sorted.
func Categories() []string {
	names := slices.Clone(otherCategories)
	for _, c := range categories {
		names = append(names, c.name)
	}
	slices.Sort(names)
	return names
}

// Services returns the known services, sorted.
func Services() []string {
	names := slices.Clone(otherServices)
	for _, s := range services {
		names = append(names, s.name)
	}
	slices.Sort(names)
	return names
}

// Taxonomy reports whether rules of the source read the taxonomy's field names
// first (a category, or nothing but a product) rather than the record's own.
func (m Matcher) Taxonomy() bool { return m.service == nil || m.category != nil }

// Alias returns the event's name for a field of the rule, "" if it is the same.
func (m Matcher) Alias(field string) string {
	if m.category == nil {
		return ""
	}
	return m.category.aliases[field]
}

// Match reports whether e is of the log source. It looks at nothing but Kind,
// ID, Provider and Channel.
func (m Matcher) Match(e *event.Event) bool {
	return m.matchProduct(e) && m.matchCategory(e) && m.matchService(e) && m.matchWords(e)
}

// Words returns what the provider or channel of a record must begin with to be
// of the source, because no table knows its records; nil for sources of Windows.
// "linux" stands for its services too.
func (m Matcher) Words() []string {
	words := slices.Clone(m.words)
	if m.product != "" && m.product != "windows" && !(m.product == "linux" && slices.ContainsFunc(words, func(w string) bool { return slices.Contains(unixServices, w) })) {
		words = append([]string{m.product}, words...)
	}
	return words
}

func (m Matcher) matchProduct(e *event.Event) bool {
	switch m.product {
	case "":
		return true
	case "windows":
		return !slices.ContainsFunc(products, func(p string) bool { return p != "windows" && says(e, p) }) &&
			!slices.ContainsFunc(unixServices, func(s string) bool { return says(e, s) })
	case "linux":
		return says(e, "linux") || slices.ContainsFunc(unixServices, func(s string) bool { return says(e, s) })
	}
	return says(e, m.product)
}

func (m Matcher) matchCategory(e *event.Event) bool {
	if m.category == nil {
		return true
	}
	for _, w := range m.category.events {
		if w.kind != e.Kind && w.kind != event.Other {
			continue
		}
		if w.kind == event.Other && !strings.EqualFold(e.Channel, w.log) && !strings.EqualFold(e.Provider, w.log) {
			continue
		}
		if len(w.ids) == 0 || slices.Contains(w.ids, e.ID) {
			return true
		}
	}
	return false
}

func (m Matcher) matchService(e *event.Event) bool {
	if m.service == nil {
		return true
	}
	if !slices.ContainsFunc(m.service.channels, func(c string) bool { return strings.EqualFold(c, e.Channel) }) {
		return false
	}
	return len(m.service.providers) == 0 ||
		slices.ContainsFunc(m.service.providers, func(p string) bool { return strings.EqualFold(p, e.Provider) })
}

func (m Matcher) matchWords(e *event.Event) bool {
	for _, w := range m.words {
		if !says(e, w) {
			return false
		}
	}
	return true
}

// says reports whether the record's provider or channel is the word, or begins
// with it and goes on with a separator, as in "Linux-Sysmon/Operational".
func says(e *event.Event, word string) bool {
	return begins(e.Provider, word) || begins(e.Channel, word)
}

func begins(s, word string) bool {
	if len(s) < len(word) || !strings.EqualFold(s[:len(word)], word) {
		return false
	}
	return len(s) == len(word) || strings.IndexByte("-/. ", s[len(word)]) >= 0
}

// nearest suggests a known word that is at most two edits away.
func nearest(word string, known []string) string {
	best, at := 3, ""
	for _, k := range known {
		if d := distance(word, k); d < best {
			best, at = d, k
		}
	}
	if at == "" {
		return ""
	}
	return fmt.Sprintf(": did you mean %q?", at)
}

// distance is the Levenshtein distance of two words, bytewise.
func distance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return 64
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j+1]+1, row[j]+1)
		}
	}
	return row[len(b)]
}
