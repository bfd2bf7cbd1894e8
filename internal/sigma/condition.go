package sigma

import (
	"slices"
	"strings"
)

// maxCondition bounds a condition's length in bytes.
const maxCondition = 16 << 10

// word is one word of a condition.
type word struct {
	text string
	at   place
}

// splitCondition cuts a condition into words and parentheses. Places are exact
// for conditions on one line.
func splitCondition(n *node) ([]word, *fault) {
	var words []word
	s := n.text
	if len(s) > maxCondition {
		return nil, faultf(n.at, "the condition is longer than %d bytes", maxCondition).withHint("give searches names that begin alike, and write 1 of name*")
	}
	for i := 0; i < len(s); {
		at := place{n.at.line, n.at.column + i}
		switch c := s[i]; {
		case c == ' ' || c == '\t' || c == '\n' || c == '\r':
			i++
		case c == '(' || c == ')':
			words = append(words, word{s[i : i+1], at})
			i++
		case c == '|':
			return nil, faultf(at, "the condition holds an aggregation (|), which Sigma 2 has dropped").withHint("write a correlation rule")
		case nameByte(c) || c == '*':
			j := i
			for j < len(s) && (nameByte(s[j]) || s[j] == '*') {
				j++
			}
			words = append(words, word{s[i:j], at})
			i = j
		default:
			return nil, faultf(at, "unexpected character %q in the condition", []rune(s[i:])[0])
		}
	}
	return words, nil
}

// nameByte reports what search names are made of. The full stop is not in the
// specification, and in rules in use.
func nameByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-' || c == '.'
}

// conditionParser is recursive descent over not > and > or.
type conditionParser struct {
	words    []word
	end      place
	names    []string // in the order of the file
	searches map[string]*expr
	used     map[string]bool
	depth    int
}

func (p *conditionParser) peek() string {
	if len(p.words) == 0 {
		return ""
	}
	return p.words[0].text
}

func (p *conditionParser) place() place {
	if len(p.words) == 0 {
		return p.end
	}
	return p.words[0].at
}

func (p *conditionParser) next() word {
	w := p.words[0]
	p.words = p.words[1:]
	return w
}

// keyword takes the operator if it is next. A search of the same name in other
// letters, such as "Not", is a search.
func (p *conditionParser) keyword(name string) bool {
	w := p.peek()
	if !strings.EqualFold(w, name) || w != name && p.searches[w] != nil {
		return false
	}
	p.next()
	return true
}

func (p *conditionParser) parse() (*expr, *fault) {
	e, f := p.or()
	if f == nil && len(p.words) > 0 {
		f = faultf(p.place(), "unexpected %q in the condition", p.peek())
		if p.peek() != ")" {
			f = f.withHint("join with and or or")
		}
	}
	return e, f
}

func (p *conditionParser) or() (*expr, *fault) { return p.chain("or", opOr, p.and) }

func (p *conditionParser) and() (*expr, *fault) { return p.chain("and", opAnd, p.not) }

func (p *conditionParser) chain(name string, op opKind, operand func() (*expr, *fault)) (*expr, *fault) {
	first, f := operand()
	if f != nil {
		return nil, f
	}
	kids := []*expr{first}
	for p.keyword(name) {
		e, f := operand()
		if f != nil {
			return nil, f
		}
		kids = append(kids, e)
	}
	return join(op, kids), nil
}

// join makes an and or an or of its parts; a single part stays itself.
func join(op opKind, kids []*expr) *expr {
	if len(kids) == 1 {
		return kids[0]
	}
	return &expr{op: op, kids: kids}
}

func (p *conditionParser) not() (*expr, *fault) {
	p.depth++
	defer func() { p.depth-- }()
	if p.depth > MaxDepth {
		return nil, faultf(p.place(), "the condition is nested more than %d levels deep", MaxDepth)
	}
	if p.keyword("not") {
		e, f := p.not()
		if f != nil {
			return nil, f
		}
		return &expr{op: opNot, kids: []*expr{e}}, nil
	}
	return p.atom()
}

func (p *conditionParser) atom() (*expr, *fault) {
	if len(p.words) == 0 {
		return nil, faultf(p.end, "the condition ends where a search is expected")
	}
	w := p.next()
	switch {
	case w.text == "(":
		e, f := p.or()
		if f != nil {
			return nil, f
		}
		if p.peek() != ")" {
			return nil, faultf(p.place(), "a parenthesis is not closed").withHint("it opens in column %d", w.at.column)
		}
		p.next()
		return e, nil
	case w.text == ")":
		return nil, faultf(w.at, "unexpected %q in the condition", w.text)
	case strings.EqualFold(p.peek(), "of"):
		return p.quantified(w)
	}
	if e, ok := p.searches[w.text]; ok {
		p.used[w.text] = true
		return e, nil
	}
	f := faultf(w.at, "the condition names %q, which is not a search of this rule", w.text)
	if strings.Contains(w.text, "*") {
		return nil, f.withHint("write 1 of %s or all of %s", w.text, w.text)
	}
	return nil, f.withHint("its searches are %s", strings.Join(p.names, ", "))
}

// quantified reads what follows 1, any or all: "of them", "of PATTERN".
func (p *conditionParser) quantified(count word) (*expr, *fault) {
	p.next() // of
	op := opOr
	switch strings.ToLower(count.text) {
	case "1", "any":
	case "all":
		op = opAnd
	default:
		return nil, faultf(count.at, "%q of is not supported", count.text).withHint("Sigma knows 1 of, any of and all of")
	}
	if len(p.words) == 0 || p.peek() == "(" || p.peek() == ")" {
		return nil, faultf(p.place(), "of must be followed by them or a pattern")
	}
	w := p.next()
	pattern := w.text
	if w.text == "them" {
		pattern = "*"
	}
	var kids []*expr
	for _, name := range p.names {
		if name[0] == '_' && pattern[0] != '_' || !glob(pattern, name) {
			continue
		}
		p.used[name] = true
		kids = append(kids, p.searches[name])
	}
	if len(kids) == 0 {
		return nil, faultf(w.at, "no search of this rule is called like %q", w.text).withHint("its searches are %s", strings.Join(p.names, ", "))
	}
	return join(op, kids), nil
}

// glob matches a name against a pattern whose * stands for any text.
func glob(pattern, name string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == name
	}
	if !strings.HasPrefix(name, parts[0]) {
		return false
	}
	name = name[len(parts[0]):]
	last := parts[len(parts)-1]
	for _, part := range parts[1 : len(parts)-1] {
		i := strings.Index(name, part)
		if i < 0 {
			return false
		}
		name = name[i+len(part):]
	}
	return strings.HasSuffix(name, last)
}

// unused returns the searches that no condition refers to.
func (p *conditionParser) unused() []string {
	var out []string
	for _, n := range p.names {
		if !p.used[n] && !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	return out
}
