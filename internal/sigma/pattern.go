package sigma

import (
	"encoding/binary"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"ashiato/internal/event"
)

// elemKind is what one element of a pattern stands for.
type elemKind uint8

const (
	literalElem     elemKind = iota
	anyElem                  // *: any text, also none
	oneElem                  // ?: one character
	dashElem                 // one of the five dashes of windash
	placeholderElem          // %name%, to be replaced before use
)

// elem is one element of a pattern; text is the literal or the placeholder.
type elem struct {
	kind elemKind
	text string
}

// pattern is a Sigma string: literals and wildcards that must match a whole
// value. Literals are never empty and never stand side by side.
type pattern struct {
	elems []elem
	cased bool
}

// parsePattern reads Sigma's escapes: \*, \? and \\ stand for the character,
// a backslash before anything else, or at the end, for itself.
func parsePattern(s string) pattern {
	var p pattern
	var lit strings.Builder
	flush := func() {
		if lit.Len() > 0 {
			p.elems = append(p.elems, elem{literalElem, lit.String()})
			lit.Reset()
		}
	}
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\' && i+1 < len(s) && strings.IndexByte(`*?\`, s[i+1]) >= 0:
			i++
			lit.WriteByte(s[i])
		case c == '*':
			flush()
			if n := len(p.elems); n == 0 || p.elems[n-1].kind != anyElem {
				p.elems = append(p.elems, elem{kind: anyElem})
			}
		case c == '?':
			flush()
			p.elems = append(p.elems, elem{kind: oneElem})
		default:
			lit.WriteByte(c)
		}
	}
	flush()
	return p
}

// literalPattern matches s itself.
func literalPattern(s string) pattern {
	if s == "" {
		return pattern{}
	}
	return pattern{elems: []elem{{literalElem, s}}}
}

// open returns p with wildcards at the ends asked for; an existing one is not
// doubled.
func (p pattern) open(front, back bool) pattern {
	wild := elem{kind: anyElem}
	n := len(p.elems)
	var out []elem
	if front && (n == 0 || p.elems[0].kind != anyElem) {
		out = append(out, wild)
	}
	out = append(out, p.elems...)
	if back && (len(out) == 0 || out[len(out)-1].kind != anyElem) {
		out = append(out, wild)
	}
	p.elems = out
	return p
}

// plain returns the text of a pattern without wildcards.
func (p pattern) plain() (string, bool) {
	switch {
	case len(p.elems) == 0:
		return "", true
	case len(p.elems) == 1 && p.elems[0].kind == literalElem:
		return p.elems[0].text, true
	}
	return "", false
}

// isDash reports whether r is one of the characters that windash lets stand
// for each other: hyphen, slash, en dash, em dash, horizontal bar.
func isDash(r rune) bool {
	switch r {
	case '-', '/', '–', '—', '―':
		return true
	}
	return false
}

// windash replaces each - and / of the literals that stands before a word
// character and not after one, as the reference implementation's \B[-/]\b does.
func (p pattern) windash() pattern {
	var out []elem
	for _, e := range p.elems {
		if e.kind != literalElem {
			out = append(out, e)
			continue
		}
		start, prev := 0, rune(-1)
		for i, r := range e.text {
			if (r == '-' || r == '/') && !isWord(prev) {
				if next, _ := utf8.DecodeRuneInString(e.text[i+1:]); isWord(next) && i+1 < len(e.text) {
					if i > start {
						out = append(out, elem{literalElem, e.text[start:i]})
					}
					out = append(out, elem{kind: dashElem})
					start = i + 1
				}
			}
			prev = r
		}
		if start < len(e.text) {
			out = append(out, elem{literalElem, e.text[start:]})
		}
	}
	p.elems = out
	return p
}

func isWord(r rune) bool { return r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r) }

// placeholders splits literals at %name% where name is made of word characters
// and hyphens, and neither % follows a backslash. It reports whether there was one.
func (p pattern) placeholders() (pattern, bool) {
	var out []elem
	found := false
	for _, e := range p.elems {
		if e.kind != literalElem {
			out = append(out, e)
			continue
		}
		rest := e.text
		for rest != "" {
			at, end := nextPlaceholder(rest)
			if at < 0 {
				break
			}
			if at > 0 {
				out = append(out, elem{literalElem, rest[:at]})
			}
			out = append(out, elem{placeholderElem, rest[at+1 : end]})
			rest, found = rest[end+1:], true
		}
		if rest != "" {
			out = append(out, elem{literalElem, rest})
		}
	}
	p.elems = out
	return p, found
}

// nextPlaceholder returns the places of both % of the first placeholder, or -1.
func nextPlaceholder(s string) (at, end int) {
	for i := 0; i < len(s); i++ {
		if s[i] != '%' || i > 0 && s[i-1] == '\\' {
			continue
		}
		j := i + 1
		for j < len(s) {
			r, n := utf8.DecodeRuneInString(s[j:])
			if !isWord(r) && r != '-' {
				break
			}
			j += n
		}
		if j > i+1 && j < len(s) && s[j] == '%' {
			return i, j
		}
	}
	return -1, -1
}

// appendJoined appends elems to out, joining literals and wildcards that meet.
func appendJoined(out []elem, elems ...elem) []elem {
	for _, e := range elems {
		if n := len(out); n > 0 && out[n-1].kind == e.kind {
			switch e.kind {
			case literalElem:
				out[n-1].text += e.text
				continue
			case anyElem:
				continue
			}
		}
		out = append(out, e)
	}
	return out
}

// foldRune maps every rune of one orbit of Unicode simple case folding to the
// same rune: the lower-case letter for ASCII, else the least of the orbit.
func foldRune(r rune) rune {
	if r < utf8.RuneSelf {
		if 'A' <= r && r <= 'Z' {
			r += 'a' - 'A'
		}
		return r
	}
	// The scripts of China, Japan and Korea have no case.
	if 0x2E80 <= r && r < 0xA640 || 0xAC00 <= r && r < 0xD800 {
		return r
	}
	least := r
	for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
		if f < least {
			least = f
		}
	}
	if 'A' <= least && least <= 'Z' {
		least += 'a' - 'A'
	}
	return least
}

const (
	everyByte = 0x0101010101010101
	highBits  = 0x80 * everyByte
)

// foldWord folds eight bytes of ASCII at once. To each byte are added numbers
// that carry into its high bit from 'A' on, and from behind 'Z' on.
func foldWord(w uint64) uint64 {
	upper := (w + (0x80-'A')*everyByte) &^ (w + (0x80-'Z'-1)*everyByte) & highBits
	return w | upper>>2
}

// foldASCII overwrites dst with the folded form of s, as long as s is ASCII. It
// reports whether all of it is.
func foldASCII(dst []byte, s string) ([]byte, bool) {
	dst = slices.Grow(dst[:0], len(s)+8)
	n := len(s)
	out, high := dst[:n+8], uint64(0)
	i := 0
	for ; i+8 <= n; i += 8 {
		w := load64(s, i)
		high |= w
		binary.LittleEndian.PutUint64(out[i:], foldWord(w))
	}
	last := uint64(0) // the bytes that are left
	for k := n - 1; k >= i; k-- {
		last = last<<8 | uint64(s[k])
	}
	binary.LittleEndian.PutUint64(out[i:], foldWord(last))
	return out[:n], (high|last)&highBits == 0
}

// appendFold appends the folded form of s to dst. Bytes that are not UTF-8
// (lone surrogates, for one) stay as they are.
func appendFold(dst []byte, s string) []byte {
	dst = slices.Grow(dst, len(s)+8)
	for i := 0; i < len(s); {
		for ; i+8 <= len(s); i += 8 {
			w := load64(s, i)
			if w&highBits != 0 {
				break
			}
			dst = binary.LittleEndian.AppendUint64(dst, foldWord(w))
		}
		for ; i < len(s) && s[i] < utf8.RuneSelf; i++ {
			c := s[i]
			if 'A' <= c && c <= 'Z' {
				c += 'a' - 'A'
			}
			dst = append(dst, c)
		}
		if i == len(s) {
			break
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n == 1 {
			dst = append(dst, s[i])
		} else {
			dst = utf8.AppendRune(dst, foldRune(r))
		}
		i += n
	}
	return dst
}

// fold returns s folded; s itself where that changes nothing.
func fold(s string) string {
	for i := range len(s) {
		if c := s[i]; c >= utf8.RuneSelf || 'A' <= c && c <= 'Z' {
			return string(appendFold(make([]byte, 0, len(s)+8), s))
		}
	}
	return s
}

// runeLen is the size of the first character of s, which is not empty; a lone
// surrogate is one character, and so is a byte that is not UTF-8.
func runeLen(s string) int {
	if s[0] < utf8.RuneSelf {
		return 1
	}
	_, n := event.DecodeRune(s)
	return n
}
