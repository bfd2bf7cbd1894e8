// Package fold breaks lines for a terminal of a given width. Further rows of a line
// begin below the column that a mark in it names, so that lists and numbered steps
// stay lists. It breaks at blanks and between characters of Chinese and Japanese,
// never within a word or a path: what does not fit whole is left to the terminal,
// which does not put a line break into what is copied.
package fold

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/mattn/go-runewidth"
)

// Here is the mark: a control character, which shown telemetry never has. The column
// behind its first occurrence in a line is where the line's further rows begin.
const Here = "\v"

// least is the width below which lines are left as they are.
const least = 40

// Text folds each line of s to the width and takes the marks out. With a width that
// is no terminal's, such as 0, it only takes the marks out.
func Text(s string, width int) string {
	if width < least {
		return strings.ReplaceAll(s, Here, "")
	}
	var b strings.Builder
	for line := range strings.Lines(s) {
		text, end := strings.CutSuffix(line, "\n")
		row(&b, text, width)
		if end {
			b.WriteByte('\n')
		}
	}
	return b.String()
}

// Width is how many columns s takes; escape sequences for colours take none.
func Width(s string) int {
	n := 0
	for len(s) > 0 {
		if k := escape(s); k > 0 {
			s = s[k:]
			continue
		}
		r, k := utf8.DecodeRuneInString(s)
		n += runewidth.RuneWidth(r)
		s = s[k:]
	}
	return n
}

func row(b *strings.Builder, line string, width int) {
	before, after, marked := strings.Cut(line, Here)
	hang := Width(before)
	if indent := len(line) - len(strings.TrimLeft(line, " ")); !marked || hang > width/2 {
		hang = indent + 2
	}
	line = before + strings.ReplaceAll(after, Here, "")

	from, at := 0, 0     // of the row: where it begins, and its width so far
	space, end := -1, -1 // the last place to break: where the next row would begin, and where this one would end
	var last rune        // the character before
	for i := 0; i < len(line); {
		if k := escape(line[i:]); k > 0 {
			i += k
			continue
		}
		r, k := utf8.DecodeRuneInString(line[i:])
		if i > from && breaks(last, r) {
			space, end = i, i
			if last == ' ' {
				end = from + len(strings.TrimRight(line[from:i], " "))
			}
			if end <= from || strings.TrimLeft(line[from:end], " ") == "" {
				space = -1 // nothing but the indentation
			}
		}
		w := runewidth.RuneWidth(r)
		if at+w > width && space > from && r != ' ' {
			b.WriteString(line[from:end])
			b.WriteByte('\n')
			b.WriteString(strings.Repeat(" ", hang))
			from, at = space, hang+Width(line[space:i])
			space = -1
		}
		at += w
		last = r
		i += k
	}
	b.WriteString(line[from:])
}

// escape is the length of the colour sequence that s begins with, 0 if it begins
// with none.
func escape(s string) int {
	if !strings.HasPrefix(s, "\x1b[") {
		return 0
	}
	return strings.IndexByte(s, 'm') + 1
}

// Characters that no row begins or ends with.
const (
	noBegin = "、。，．・：；？！」』）】〉》〕］｝ー々…‥ぁぃぅぇぉっゃゅょゎァィゥェォッャュョヮ,.:;?!)]}×"
	noEnd   = "「『（【〈《〔［｛([{"
)

// breaks reports whether a row may end between two characters.
func breaks(a, b rune) bool {
	switch {
	case b == ' ':
		return false
	case a == ' ':
		return true
	case strings.ContainsRune(noBegin, b) || strings.ContainsRune(noEnd, a):
		return false
	}
	return ideographic(a) || ideographic(b)
}

// ideographic reports whether a text breaks on both sides of r. Korean is broken at
// its blanks.
func ideographic(r rune) bool {
	return unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana) || 0x3000 <= r && r <= 0x303F || 0xFF00 <= r && r <= 0xFF60
}
