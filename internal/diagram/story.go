package diagram

import (
	"strconv"
	"strings"

	"ashiato/internal/i18n"
	"ashiato/internal/incident"
	"ashiato/internal/provenance"
)

// Piece is a part of a sentence: words of ours, or telemetry as recorded.
type Piece struct {
	Text      string
	Telemetry bool
}

// Private-use characters hold an argument's place in a template.
const (
	argOpen  = "\uE000"
	argClose = "\uE001"
)

// Sentence is a step of the story in the language, in pieces so that telemetry
// can be set apart from words. A step whose template is not known tells its
// first edge.
func Sentence(lang i18n.Lang, inc *incident.Incident, s incident.Step) []Piece {
	if key := s.TextKey(lang); s.Key != "" && lang.Has(key) {
		return template(lang, key, inc.StepArgs(s, lang))
	}
	for _, i := range s.Edges {
		if i < 0 || i >= len(inc.Edges) {
			continue
		}
		e := inc.Edges[i]
		return template(lang, "diagram.fact", []string{name(inc, e.From), lang.T("verb." + e.Verb.String()), name(inc, e.To)})
	}
	if len(s.Args) > 0 {
		return []Piece{{s.Key + ": ", false}, {strings.Join(s.Args, ", "), true}}
	}
	return []Piece{{s.Key, false}}
}

func name(inc *incident.Incident, id provenance.NodeID) string {
	for _, n := range inc.Nodes {
		if n.ID == id {
			return pathOrLabel(n)
		}
	}
	return string(id)
}

// template fills a text, keeping its arguments apart.
func template(lang i18n.Lang, key string, args []string) []Piece {
	places := make([]string, len(args))
	for i := range args {
		places[i] = argOpen + strconv.Itoa(i) + argClose
	}
	var out []Piece
	t := lang.T(key, places...)
	for {
		before, rest, found := strings.Cut(t, argOpen)
		if before != "" {
			out = append(out, Piece{before, false})
		}
		if !found {
			return out
		}
		number, after, _ := strings.Cut(rest, argClose)
		if i, err := strconv.Atoi(number); err == nil && i >= 0 && i < len(args) {
			out = append(out, Piece{args[i], true})
		}
		t = after
	}
}
