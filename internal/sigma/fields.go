package sigma

import (
	"strings"

	"ashiato/internal/event"
)

// fieldName is a field as a rule sees it.
type fieldName struct {
	name string
	// alias is the event's own name for it, tried second; "" if there is none.
	alias string
	// raw prefers the record's own fields to the taxonomy's.
	raw bool
}

// lookup returns the values of a field: the plain form of what Matcher.load
// does by tables. The first of these that has any value decides: the preferred
// fields under the exact name, the others, the System fields, and then names
// that differ only in blanks; the alias comes after all of them.
func lookup(e *event.Event, f fieldName) []string {
	if f.name == "" {
		return nil
	}
	for _, name := range []string{f.name, f.alias} {
		if name == "" {
			continue
		}
		first, second := e.Canon, e.Data
		if f.raw {
			first, second = second, first
		}
		if v := values(first, func(n string) bool { return n == name }); v != nil {
			return v
		}
		if v := values(second, func(n string) bool { return n == name }); v != nil {
			return v
		}
		if v, ok := e.System(name); ok {
			return []string{v}
		}
		alike := func(n string) bool { return spaceless(n) == spaceless(name) }
		if v := values(first, alike); v != nil {
			return v
		}
		if v := values(second, alike); v != nil {
			return v
		}
	}
	return nil
}

func values(fields event.Fields, want func(string) bool) []string {
	var out []string
	for _, f := range fields {
		if want(f.Name) {
			out = append(out, f.Value)
		}
	}
	return out
}

func spaceless(name string) string { return strings.ReplaceAll(name, " ", "") }

// everyValue calls yield with the values that keywords search: what the record
// holds, and the names of its System part. Numbers of the System part do not
// count: a keyword is text.
func everyValue(e *event.Event, yield func(name, value string) bool) {
	for _, f := range e.Data {
		if !yield(f.Name, f.Value) {
			return
		}
	}
	for _, f := range systemTexts(e) {
		if f.Value != "" && !yield(f.Name, f.Value) {
			return
		}
	}
}

// systemTexts are the names of the System part, "" where the record has none.
func systemTexts(e *event.Event) [4]event.Field {
	return [...]event.Field{
		{Name: "Provider_Name", Value: e.Provider},
		{Name: "Channel", Value: e.Channel},
		{Name: "Computer", Value: e.Host},
		{Name: "Security_UserID", Value: e.UserSID},
	}
}
