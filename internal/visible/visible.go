// Package visible makes characters that mislead the eye visible: blanks at the
// end of a path component, doubled and leading blanks, blanks that are not
// U+0020, direction marks, zero-width and control characters, lone surrogates.
//
// It splits a text into runs and says which runs need a mark; how a mark looks
// is up to the surface (text, SVG, HTML), which must still copy the true text.
package visible

import (
	"fmt"
	"strings"
	"unicode"

	"ashiato/internal/event"
)

// Run is a piece of a text. Text is as recorded; Mark is what to show instead
// of it, or "" if it can be shown as it is.
type Run struct {
	Text string
	Mark string
}

// Runs splits s into runs whose Texts, joined, are s.
func Runs(s string) []Run {
	var runs []Run
	plain := 0
	flush := func(end int) {
		if end > plain {
			runs = append(runs, Run{Text: s[plain:end]})
		}
	}
	for i := 0; i < len(s); {
		r, n := event.DecodeRune(s[i:])
		if m := mark(s, i, r, n); m != "" {
			flush(i)
			runs = append(runs, Run{Text: s[i : i+n], Mark: m})
			plain = i + n
		}
		i += n
	}
	flush(len(s))
	return runs
}

// Text returns s with its marks in place of what they stand for. It is for
// reading, not for copying.
func Text(s string) string {
	runs := Runs(s)
	if len(runs) == 1 && runs[0].Mark == "" {
		return s
	}
	var b strings.Builder
	for _, r := range runs {
		if r.Mark != "" {
			b.WriteString(r.Mark)
		} else {
			b.WriteString(r.Text)
		}
	}
	return b.String()
}

// Blank is the mark of a U+0020 that matters.
const Blank = "␠"

func mark(s string, i int, r rune, n int) string {
	switch {
	case r == ' ':
		if blankMatters(s, i) {
			return Blank
		}
		return ""
	case r == '\n':
		return "⏎"
	case r == '\t':
		return "⇥"
	case r == unicode.ReplacementChar && n == 1:
		return fmt.Sprintf("⟨%02X⟩", s[i])
	case r >= 0xD800 && r < 0xE000,
		unicode.IsControl(r),
		unicode.Is(unicode.Cf, r),
		unicode.Is(unicode.Zl, r), unicode.Is(unicode.Zp, r),
		unicode.Is(unicode.Zs, r),
		r == 0x115F, r == 0x1160, r == 0x3164, r == 0xFFA0, r == 0x2800: // fillers that draw nothing
		return fmt.Sprintf("⟨U+%04X⟩", r)
	}
	return ""
}

// blankMatters reports whether the U+0020 at i is one a reader would miss: at
// either end, next to another blank, or beside a path separator.
func blankMatters(s string, i int) bool {
	if i == 0 || i == len(s)-1 {
		return true
	}
	return strings.IndexByte(` \`, s[i-1]) >= 0 || strings.IndexByte(` \`, s[i+1]) >= 0
}
