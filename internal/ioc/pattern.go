package ioc

import "strings"

// Bounds on wildcards. Each pattern is tried on each name that an event holds.
const (
	// MaxPatterns is how many indicators of a list may hold wildcards.
	MaxPatterns    = 1000
	maxPatternText = 4096 // bytes of a name that wildcards are tried on
)

// pattern is an indicator with wildcards: * for any text, ? for any one
// character.
type pattern struct {
	number int    // of the indicator in its Set
	text   string // match form
}

// hasWildcards reports whether a value of this kind is a pattern. Neither * nor ?
// can be in a Windows file name.
func hasWildcards(k Kind, value string) bool {
	switch k {
	case Path, FileName, Service, Task:
		return strings.ContainsAny(value, "*?")
	}
	return false
}

// fits reports whether the pattern fits the whole text, in time of at most the
// product of both lengths.
func (p *pattern) fits(text string) bool {
	glob := p.text
	g, t := 0, 0
	star, mark := -1, 0 // the last * and where what it stands for ends
	for t < len(text) {
		switch {
		case g < len(glob) && glob[g] == '*':
			star, mark = g, t
			g++
		case g < len(glob) && glob[g] == '?':
			g++
			t += width(text[t])
		case g < len(glob) && glob[g] == text[t]:
			g++
			t++
		case star >= 0:
			g = star + 1
			mark += width(text[mark])
			t = mark
		default:
			return false
		}
	}
	for g < len(glob) && glob[g] == '*' {
		g++
	}
	return g == len(glob) && t == len(text)
}

// width is how many bytes the character has that begins with c, at least one:
// text may hold anything.
func width(c byte) int {
	switch {
	case c >= 0xF0:
		return 4
	case c >= 0xE0:
		return 3
	case c >= 0xC0:
		return 2
	}
	return 1
}
