package diagram

import (
	"strings"
	"unicode"

	"ashiato/internal/event"
	"ashiato/internal/visible"
)

// fonts is the font stack of every text.
const fonts = `"Noto Sans CJK JP","Yu Gothic UI","Meiryo","Malgun Gothic",system-ui,sans-serif`

// font is a size in pixels and a weight.
type font struct {
	size float64
	bold bool
}

// glyph is the smallest piece of a text that is not taken apart.
type glyph struct {
	text  string // as recorded
	mark  string // shown instead, "" for plain text
	width float64
	// exotic marks a letter whose width is not known well; such a text is
	// pressed into its estimated width when drawn.
	exotic bool
}

// runeWidth estimates how wide a character is, in hundredths of the font size.
func runeWidth(r rune, bold bool) (width int, known bool) {
	switch {
	case r < 0x20:
		return 60, true
	case int(r-0x20) < len(regularWidths):
		if bold {
			return int(boldWidths[r-0x20]), true
		}
		return int(regularWidths[r-0x20]), true
	case unicode.Is(unicode.Mn, r):
		return 60, false
	case r == '…' || r == '–' || r == '—' || r == '·' || r == '×' || r == '→' || r == '←':
		return 100, true
	case r >= 0x2E80 && r <= 0x9FFF, r >= 0xAC00 && r <= 0xD7A3, r >= 0xF900 && r <= 0xFAFF, r >= 0xFF00 && r <= 0xFF60:
		return 100, true
	case r >= 0xFF61 && r <= 0xFFDC:
		return 60, true
	case r >= 0x370 && r < 0x530: // Greek and Cyrillic
		return 95, true
	}
	return 130, false
}

// markPad is the room around a mark's text inside its box.
const markPad = 2.0

// glyphs takes a telemetry text apart, with its misleading characters marked.
func glyphs(s string, f font) []glyph {
	var out []glyph
	for _, run := range visible.Runs(s) {
		if run.Mark != "" {
			out = append(out, glyph{text: run.Text, mark: run.Mark, width: markWidth(run.Mark, f)})
			continue
		}
		out = append(out, plain(run.Text, f)...)
	}
	return out
}

// markWidth is the width of a mark's box.
func markWidth(mark string, f font) float64 {
	if mark == visible.Blank {
		return f.size * 1.05
	}
	w := 0.0
	for _, r := range mark {
		n, _ := runeWidth(r, false)
		w += float64(n)
	}
	return w*markScale*f.size/100 + 2*markPad
}

// markScale is the size of a mark's text against the text around it.
const markScale = 0.85

// plain takes our own text, or telemetry without marks, apart.
func plain(s string, f font) []glyph {
	var out []glyph
	for i := 0; i < len(s); {
		r, n := event.DecodeRune(s[i:])
		w, known := runeWidth(r, f.bold)
		g := glyph{text: s[i : i+n], width: float64(w) * f.size / 100, exotic: !known}
		if len(out) > 0 && (unicode.Is(unicode.Mn, r) || unicode.Is(unicode.Me, r)) {
			out[len(out)-1].text += g.text
			out[len(out)-1].exotic = true
		} else {
			out = append(out, g)
		}
		i += n
	}
	return out
}

// glyphWidth is a glyph's width in another font.
func glyphWidth(g glyph, f font) float64 {
	if g.mark != "" {
		return markWidth(g.mark, f)
	}
	return width(plain(g.text, f))
}

func width(gs []glyph) float64 {
	w := 0.0
	for i := range gs {
		w += gs[i].width
	}
	return w
}

// textWidth is the estimated width of our own text.
func textWidth(s string, f font) float64 { return width(plain(s, f)) }

func dots(f font) glyph { return glyph{text: "…", width: f.size} }

// middle shortens a text to the room by cutting from its middle. The tail
// share, of 100, is what the end gets of the room.
func middle(gs []glyph, room float64, tail int, f font) []glyph {
	if width(gs) <= room {
		return gs
	}
	d := dots(f)
	room -= d.width
	back := room * float64(tail) / 100
	end := len(gs)
	used := 0.0
	for end > 0 && used+gs[end-1].width <= back {
		end--
		used += gs[end].width
	}
	start := 0
	for start < end && used+gs[start].width <= room {
		used += gs[start].width
		start++
	}
	out := append([]glyph{}, gs[:start]...)
	out = append(out, d)
	return append(out, gs[end:]...)
}

// lines breaks a text into at most n lines of the room, at blanks and after
// separators where there are some, between any two characters of East Asian
// text. The last line ends in dots if something is left out.
func lines(gs []glyph, room float64, n int, f font) [][]glyph {
	var out [][]glyph
	for len(gs) > 0 && len(out) < n {
		end, used := 0, 0.0
		for end < len(gs) && used+gs[end].width <= room {
			used += gs[end].width
			end++
		}
		if end == len(gs) {
			out = append(out, gs)
			break
		}
		if len(out) == n-1 {
			d := dots(f)
			for end > 0 && used+d.width > room {
				end--
				used -= gs[end].width
			}
			out = append(out, append(append([]glyph{}, gs[:end]...), d))
			break
		}
		cut := end
		for i := end; i > end/2 && i > 0; i-- {
			if breakable(gs, i) {
				cut = i
				break
			}
		}
		if cut == 0 {
			cut = 1 // a single glyph wider than the room
		}
		out = append(out, gs[:cut])
		gs = gs[cut:]
		for len(gs) > 0 && gs[0].mark == "" && gs[0].text == " " {
			gs = gs[1:]
		}
	}
	return out
}

// balanced makes the lines of a text that was broken for the room about equally
// long if the last of them holds little more than a letter or two.
func balanced(gs []glyph, broken [][]glyph, room float64) [][]glyph {
	n := len(broken)
	if n < 2 || width(broken[n-1]) > room/3 || len(lines(gs, room, n+1, fontNote)) > n { // or cut
		return broken
	}
	for less := room - 4; less > room/2; less -= 4 {
		narrower := lines(gs, less, n+1, fontNote)
		if len(narrower) > n {
			break
		}
		broken = narrower
	}
	return broken
}

// noStart are characters that do not begin a line in Japanese and Korean text.
const noStart = "、。，．・：；？！）」』】〕〉》ー々ゃゅょっァィゥェォャュョッん,.;:)]"

// breakable reports whether a line may end before glyph i.
func breakable(gs []glyph, i int) bool {
	if strings.Contains(noStart, gs[i].text) && gs[i].text != "" {
		return false
	}
	before := gs[i-1].text
	switch before {
	case " ", `\`, "/", "-", ",", ";", "|", "&":
		return true
	}
	if gs[i].text == " " {
		return true
	}
	r, _ := event.DecodeRune(before)
	s, _ := event.DecodeRune(gs[i].text)
	return r >= 0x2E80 && s >= 0x80 && r < 0xAC00 || s >= 0x2E80 && s < 0xAC00
}
