package scenario

import (
	"fmt"
	"strconv"
	"strings"
)

// place is where something stands in a scenario or template file.
type place struct {
	file string
	line int
}

func (p place) errorf(format string, args ...any) error {
	return fmt.Errorf("%s:%d: %w", p.file, p.line, fmt.Errorf(format, args...))
}

// line is one line of an indented text with the deeper lines below it.
type line struct {
	place
	word string // the first word
	rest string // what follows it, without outer blanks
	kids []*line

	isBlock bool   // the line ends in <<
	block   string // the text below it
}

// parseLines reads indented text. A line that is deeper than the one before it
// belongs to that one. Empty lines and lines that begin with # are skipped. A
// line that ends in << takes the deeper lines below it as one text, without their
// common indentation and joined by newlines; <<N puts N blanks before each.
func parseLines(file string, first int, text string) ([]*line, error) {
	type level struct {
		indent int
		owner  *line
	}
	root := &line{place: place{file, first}}
	open := []level{{-1, root}}
	raw := strings.Split(text, "\n")
	for i := 0; i < len(raw); i++ {
		at := place{file, first + i}
		body := strings.TrimLeft(strings.TrimSuffix(raw[i], "\r"), " ")
		indent := len(strings.TrimSuffix(raw[i], "\r")) - len(body)
		body = strings.TrimRight(body, " \t")
		if body == "" || strings.HasPrefix(body, "#") {
			continue
		}
		if body[0] == '\t' {
			return nil, at.errorf("a tab indents this line: use blanks")
		}
		for open[len(open)-1].indent >= indent {
			open = open[:len(open)-1]
		}
		owner := open[len(open)-1].owner
		if n := len(owner.kids); n > 0 && indent != open[len(open)-1].indent+owner.kids[0].width(open[len(open)-1].indent, raw, first) {
			return nil, at.errorf("indented by %d blanks, its neighbours are not", indent)
		}
		l := &line{place: at}
		l.word, l.rest, _ = strings.Cut(body, " ")
		l.rest = strings.TrimLeft(l.rest, " ")
		owner.kids = append(owner.kids, l)
		if head, blanks, ok := cutBlock(l.rest); ok {
			l.rest = head
			l.block, i = block(raw, i, indent, blanks)
			l.isBlock = true
			continue
		}
		open = append(open, level{indent, l})
	}
	return root.kids, nil
}

// cutBlock splits what precedes a line's final << from it.
func cutBlock(rest string) (head string, blanks int, ok bool) {
	i := strings.LastIndex(rest, "<<")
	if i < 0 || i > 0 && rest[i-1] != ' ' {
		return "", 0, false
	}
	if n := rest[i+2:]; n != "" {
		var err error
		if blanks, err = strconv.Atoi(n); err != nil || blanks < 0 || blanks > 40 {
			return "", 0, false
		}
	}
	return strings.TrimRight(rest[:i], " "), blanks, true
}

// value is the line's rest, or its block if it has one.
func (l *line) value() string {
	if l.isBlock {
		return l.block
	}
	return l.rest
}

// pair splits the rest into a name and a value, which may be the block.
func (l *line) pair() (name, value string) {
	name, value, _ = strings.Cut(l.rest, " ")
	if l.isBlock {
		return name, l.block
	}
	return name, strings.TrimLeft(value, " ")
}

// width is how much deeper than outer the line is indented.
func (l *line) width(outer int, raw []string, first int) int {
	s := raw[l.line-first]
	return len(s) - len(strings.TrimLeft(s, " ")) - outer
}

// block collects the lines after raw[i] that are deeper than indent and returns
// their text and the index of the last of them.
func block(raw []string, i, indent, margin int) (string, int) {
	var lines []string
	least := -1
	last := i
	for j := i + 1; j < len(raw); j++ {
		s := strings.TrimRight(raw[j], "\r")
		if strings.TrimSpace(s) == "" {
			lines = append(lines, "")
			continue
		}
		in := len(s) - len(strings.TrimLeft(s, " "))
		if in <= indent {
			break
		}
		if least < 0 || in < least {
			least = in
		}
		lines = append(lines, s)
		last = j
	}
	lines = lines[:last-i]
	for k, s := range lines {
		if s != "" {
			lines[k] = strings.Repeat(" ", margin) + s[least:]
		}
	}
	return strings.Join(lines, "\n"), last
}
