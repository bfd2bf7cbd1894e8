package sigma

import (
	"bytes"
	"unicode/utf8"
)

// globShape is how a compiled pattern is matched.
type globShape uint8

const (
	generalGlob  globShape = iota
	exactGlob              // text
	prefixGlob             // text*
	suffixGlob             // *text
	containsGlob           // *text*
	everyGlob              // *
)

// globMatcher is a pattern ready to match: folded unless cased, cut at its *.
type globMatcher struct {
	shape    globShape
	text     []byte // the literal of the simple shapes
	segments [][]globElem
	front    bool // begins with *
	back     bool // ends with *
	needle   []byte
	cased    bool
}

// globElem is an elem whose text is bytes.
type globElem struct {
	kind elemKind
	text []byte
}

func compileGlob(p pattern) globMatcher {
	g := globMatcher{cased: p.cased}
	elems := make([]globElem, len(p.elems))
	for i, e := range p.elems {
		elems[i].kind = e.kind
		if e.kind == literalElem {
			text := e.text
			if !p.cased {
				text = fold(text)
			}
			elems[i].text = []byte(text)
			if len(text) > len(g.needle) {
				g.needle = elems[i].text
			}
		}
	}
	var segment []globElem
	for _, e := range elems {
		if e.kind != anyElem {
			segment = append(segment, e)
			continue
		}
		if segment != nil {
			g.segments = append(g.segments, segment)
			segment = nil
		}
	}
	if segment != nil {
		g.segments = append(g.segments, segment)
	}
	g.front = len(elems) > 0 && elems[0].kind == anyElem
	g.back = len(elems) > 0 && elems[len(elems)-1].kind == anyElem
	switch {
	case len(elems) == 0:
		g.shape = exactGlob
	case len(g.segments) == 0:
		g.shape = everyGlob
	case len(g.segments) == 1 && len(g.segments[0]) == 1 && g.segments[0][0].kind == literalElem:
		g.text = g.needle
		switch {
		case g.front && g.back:
			g.shape = containsGlob
		case g.front:
			g.shape = suffixGlob
		case g.back:
			g.shape = prefixGlob
		default:
			g.shape = exactGlob
		}
	}
	return g
}

// match reports whether a pattern of a simple shape matches the whole of s.
func (shape globShape) match(s, text []byte) bool {
	switch shape {
	case everyGlob:
		return true
	case exactGlob:
		return bytes.Equal(s, text)
	case prefixGlob:
		return bytes.HasPrefix(s, text)
	case suffixGlob:
		return bytes.HasSuffix(s, text)
	case containsGlob:
		return bytes.Contains(s, text)
	}
	return false
}

// match reports whether the pattern matches the whole of s, which is folded
// unless the pattern is cased.
func (g *globMatcher) match(s []byte) bool {
	if g.shape != generalGlob {
		return g.shape.match(s, g.text)
	}
	if !bytes.Contains(s, g.needle) {
		return false
	}
	segments := g.segments
	if !g.front {
		n, ok := matchSegment(segments[0], s)
		if !ok {
			return false
		}
		if len(segments) == 1 && !g.back {
			return n == len(s)
		}
		s, segments = s[n:], segments[1:]
	}
	for i, seg := range segments {
		last := i == len(segments)-1 && !g.back
		n, ok := findSegment(seg, s, last)
		if !ok {
			return false
		}
		s = s[n:]
	}
	return true
}

// findSegment returns the end of the first place in s where seg matches, or of
// the one that ends at the end of s. A segment stands for a fixed number of
// characters, so the first place is always as good as any later one.
func findSegment(seg []globElem, s []byte, atEnd bool) (int, bool) {
	for i := 0; ; {
		if seg[0].kind == literalElem {
			j := bytes.Index(s[i:], seg[0].text)
			if j < 0 {
				return 0, false
			}
			i += j
		}
		n, ok := matchSegment(seg, s[i:])
		if ok && (!atEnd || i+n == len(s)) {
			return i + n, true
		}
		if i >= len(s) {
			return 0, false
		}
		i += charLen(s[i:])
	}
}

// matchSegment matches seg at the start of s and returns how long it is there.
func matchSegment(seg []globElem, s []byte) (int, bool) {
	n := 0
	for _, e := range seg {
		rest := s[n:]
		switch e.kind {
		case literalElem:
			if !bytes.HasPrefix(rest, e.text) {
				return 0, false
			}
			n += len(e.text)
		case oneElem:
			if len(rest) == 0 {
				return 0, false
			}
			n += charLen(rest)
		case dashElem:
			r, size := utf8.DecodeRune(rest)
			if size == 0 || !isDash(r) {
				return 0, false
			}
			n += size
		}
	}
	return n, true
}

// charLen is runeLen of bytes.
func charLen(s []byte) int {
	if s[0] < utf8.RuneSelf {
		return 1
	}
	return runeLen(string(s[:min(len(s), utf8.UTFMax)]))
}
