package scenario

import (
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
)

// A file's lines may hold alternatives: "choose NAME" with "case CASE" lines below
// it, and "when NAME CASE…" and "unless NAME CASE…". They are resolved before a
// section is read, so they stand wherever a line can stand, and what is read has
// none of them. Package readers of sections know nothing of choices.

// maxChoices bounds the choices of a file, maxLines its lines after resolving.
const (
	maxChoices = 1000
	maxLines   = 200_000
)

// choice is one "choose" of a file.
type choice struct {
	place
	name  string
	cases []*caseSpec
}

// caseSpec is one alternative of a choice.
type caseSpec struct {
	place
	name  string
	needs []condition // all must hold for it to be possible
	lines []*line
}

// condition is that a choice took one of the cases, or none of them.
type condition struct {
	place
	choice string
	cases  []string
	not    bool
}

// decide picks the index of one of the cases that are possible.
type decide func(c *choice, possible []*caseSpec) int

// first takes every choice's first possible case.
func first(*choice, []*caseSpec) int { return 0 }

// nth takes every choice's case n, or its last one.
func nth(n int) decide {
	return func(_ *choice, possible []*caseSpec) int { return min(n, len(possible)-1) }
}

// drawn lets a seed decide. Each choice draws from a stream of its own, so that
// another choice in the file leaves it alone.
func drawn(seed uint64) decide {
	return func(c *choice, possible []*caseSpec) int {
		return streamOf(seed, "choose", c.name).IntN(len(possible))
	}
}

// streamOf is the random numbers of a name under a seed.
func streamOf(seed uint64, words ...string) *rand.Rand {
	h := fnv.New64a()
	for _, w := range words {
		h.Write([]byte(w))
		h.Write([]byte{0})
	}
	return rand.New(rand.NewPCG(seed, h.Sum64()))
}

// resolver replaces the choices of a file's lines by what is chosen.
type resolver struct {
	choices map[string]*choice
	// allowed are the cases that may be taken, weighted by how often they are
	// listed, of the choices that the vary section or a caller restricts.
	allowed map[string][]string
	decide  decide
	chosen  map[string]string // of the choices that were reached
	order   []string          // in which they were reached
	lines   int
}

// findChoices collects the choices among lines and what stands below them.
func findChoices(lines []*line, into map[string]*choice) error {
	for _, l := range lines {
		if l.word != "choose" {
			if err := findChoices(l.kids, into); err != nil {
				return err
			}
			continue
		}
		c, err := parseChoice(l)
		if err != nil {
			return err
		}
		if old := into[c.name]; old != nil {
			return l.errorf("choice %q is made twice, also in line %d: use when %s CASE", c.name, old.line, c.name)
		}
		if len(into) == maxChoices {
			return l.errorf("more than %d choices", maxChoices)
		}
		into[c.name] = c
		for _, k := range c.cases {
			if err := findChoices(k.lines, into); err != nil {
				return err
			}
		}
	}
	return nil
}

// parseChoice reads "choose NAME" and the cases below it.
func parseChoice(l *line) (*choice, error) {
	c := &choice{place: l.place, name: l.rest}
	if c.name == "" || strings.ContainsAny(c.name, " \t") || l.isBlock {
		return nil, l.errorf("want: choose NAME")
	}
	for _, k := range l.kids {
		words := strings.Fields(k.rest)
		if k.word != "case" || len(words) == 0 || k.isBlock {
			return nil, k.errorf("below choose, want: case NAME")
		}
		one := &caseSpec{place: k.place, name: words[0], lines: k.kids}
		for words = words[1:]; len(words) > 0; {
			n := 1
			for n < len(words) && words[n] != "if" && words[n] != "unless" {
				n++
			}
			if words[0] != "if" && words[0] != "unless" || n < 3 {
				return nil, k.errorf("want: case NAME if CHOICE CASE…")
			}
			one.needs = append(one.needs, condition{k.place, words[1], words[2:n], words[0] == "unless"})
			words = words[n:]
		}
		if slices.ContainsFunc(c.cases, func(o *caseSpec) bool { return o.name == one.name }) {
			return nil, k.errorf("case %q of %q occurs twice", one.name, c.name)
		}
		c.cases = append(c.cases, one)
	}
	if len(c.cases) == 0 {
		return nil, l.errorf("choice %q has no case", c.name)
	}
	return c, nil
}

// holds reports whether a condition is met. A choice that was not reached took no
// case.
func (r *resolver) holds(q condition) (bool, error) {
	c := r.choices[q.choice]
	if c == nil {
		return false, q.errorf("unknown choice %q", q.choice)
	}
	for _, name := range q.cases {
		if !slices.ContainsFunc(c.cases, func(k *caseSpec) bool { return k.name == name }) {
			return false, q.errorf("choice %q has no case %q", q.choice, name)
		}
	}
	took, reached := r.chosen[q.choice]
	return (reached && slices.Contains(q.cases, took)) != q.not, nil
}

// resolve returns the lines without choices.
func (r *resolver) resolve(lines []*line) ([]*line, error) {
	var out []*line
	for _, l := range lines {
		more := []*line{l}
		switch l.word {
		case "choose":
			k, err := r.choose(l)
			if err != nil {
				return nil, err
			}
			if more, err = r.resolve(k.lines); err != nil {
				return nil, err
			}
		case "when", "unless":
			words := strings.Fields(l.rest)
			if len(words) < 2 || l.isBlock {
				return nil, l.errorf("want: %s CHOICE CASE…", l.word)
			}
			ok, err := r.holds(condition{l.place, words[0], words[1:], l.word == "unless"})
			if err != nil {
				return nil, err
			}
			more = nil
			if ok {
				if more, err = r.resolve(l.kids); err != nil {
					return nil, err
				}
			}
		case "case":
			return nil, l.errorf("case stands below choose NAME")
		default:
			if len(l.kids) > 0 {
				kids, err := r.resolve(l.kids)
				if err != nil {
					return nil, err
				}
				copied := *l
				copied.kids = kids
				more[0] = &copied
			}
		}
		if r.lines += len(more); r.lines > maxLines {
			return nil, l.errorf("more than %d lines", maxLines)
		}
		out = append(out, more...)
	}
	return out, nil
}

// choose takes a case of a choice.
func (r *resolver) choose(l *line) (*caseSpec, error) {
	c := r.choices[l.rest]
	var possible []*caseSpec
	for _, k := range c.cases {
		ok := true
		for _, q := range k.needs {
			holds, err := r.holds(q)
			if err != nil {
				return nil, err
			}
			ok = ok && holds
		}
		if ok {
			possible = append(possible, k)
		}
	}
	if only, ok := r.allowed[c.name]; ok {
		var listed []*caseSpec
		for _, name := range only {
			if i := slices.IndexFunc(possible, func(k *caseSpec) bool { return k.name == name }); i >= 0 {
				listed = append(listed, possible[i])
			}
		}
		possible = listed
	}
	if len(possible) == 0 {
		return nil, l.errorf("no case of choice %q is possible here", c.name)
	}
	k := possible[r.decide(c, possible)]
	r.chosen[c.name] = k.name
	r.order = append(r.order, c.name)
	return k, nil
}

// render writes lines as text that parses to them again.
func render(b *strings.Builder, lines []*line, depth int) {
	for _, l := range lines {
		margin := strings.Repeat(" ", 4*depth)
		b.WriteString(margin + l.word)
		if l.rest != "" {
			b.WriteString(" " + l.rest)
		}
		if l.isBlock {
			b.WriteString(" <<" + blockMargin(l.block) + "\n")
			for _, text := range strings.Split(l.block, "\n") {
				if text != "" {
					text = margin + "    " + text
				}
				b.WriteString(text + "\n")
			}
			continue
		}
		b.WriteByte('\n')
		render(b, l.kids, depth+1)
	}
}

// blockMargin is the number after << that restores what all lines of a block are
// indented by, which the reader would else take for indentation of the file.
func blockMargin(text string) string {
	least := -1
	for _, s := range strings.Split(text, "\n") {
		if in := len(s) - len(strings.TrimLeft(s, " ")); s != "" && (least < 0 || in < least) {
			least = in
		}
	}
	if least <= 0 {
		return ""
	}
	return strconv.Itoa(least)
}
