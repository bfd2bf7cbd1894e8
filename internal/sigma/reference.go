package sigma

import (
	"unicode"

	"ashiato/internal/event"
)

// Reference evaluates rules one after the other, straight from their text: no
// index, no cache, no compiled form. It is the yardstick of the Engine and far
// too slow for anything else.
type Reference struct {
	rules []*Rule
	opt   Options
}

// NewReference returns the interpreter of rules that Compile accepts with the
// same options.
func NewReference(rules []*Rule, opt Options) *Reference { return &Reference{rules, opt} }

// Match returns the rules that hold for e, in their order.
func (r *Reference) Match(e *event.Event) []*Rule {
	var out []*Rule
	for _, rule := range r.rules {
		if !rule.fields.Match(e) {
			continue
		}
		for _, c := range rule.conditions {
			if r.holds(rule, c, e) {
				out = append(out, rule)
				break
			}
		}
	}
	return out
}

func (r *Reference) holds(rule *Rule, x *expr, e *event.Event) bool {
	switch x.op {
	case opNot:
		return !r.holds(rule, x.kids[0], e)
	case opAnd:
		for _, k := range x.kids {
			if !r.holds(rule, k, e) {
				return false
			}
		}
		return true
	case opOr:
		for _, k := range x.kids {
			if r.holds(rule, k, e) {
				return true
			}
		}
		return false
	}
	return r.item(rule, x.item, e)
}

func (r *Reference) item(rule *Rule, it *item, e *event.Event) bool {
	vals, f := it.resolve(r.opt.placeholders())
	if f != nil {
		return false // such rules are not compiled
	}
	held := 0
	for _, alts := range vals {
		for _, t := range alts {
			if r.test(rule, it, &t, e) {
				held++
				break
			}
		}
	}
	result := held > 0
	if it.all {
		result = held == len(vals)
	}
	return result != it.neq
}

func (r *Reference) test(rule *Rule, it *item, t *test, e *event.Event) bool {
	if it.field == "" {
		held := false
		everyValue(e, func(_, v string) bool {
			if t.kind == keywordRegexTest {
				held = held || t.re.MatchString(v)
			} else {
				held = held || plainMatch(t.pattern, v)
			}
			return true
		})
		return held
	}
	vals := lookup(e, rule.fieldName(it.field))
	switch t.kind {
	case nullTest:
		return len(vals) == 0
	case existsTest:
		return (len(vals) > 0) == t.want
	}
	for _, v := range vals {
		switch t.kind {
		case patternTest:
			if plainMatch(t.pattern, v) {
				return true
			}
		case regexTest:
			if t.re.MatchString(v) {
				return true
			}
		case cidrTest:
			if a, ok := parseAddress(v); ok && t.prefix.Contains(a) {
				return true
			}
		case numberTest:
			if n, ok := t.numeric(v); ok && t.order.holds(compareNumbers(n, t.number)) {
				return true
			}
		case fieldrefTest:
			for _, other := range lookup(e, rule.fieldName(t.ref)) {
				p := literalPattern(other).open(t.front, t.back)
				p.cased = t.cased
				if plainMatch(p, v) {
					return true
				}
			}
		}
	}
	return false
}

// plainMatch matches a whole value against a pattern by dynamic programming
// over characters, one pattern element after the other.
func plainMatch(p pattern, value string) bool {
	text := characters(value)
	at := make([]bool, len(text)+1) // at[i]: the elements so far can end before text[i]
	at[0] = true
	step := func(same func(rune) bool) {
		for i := len(text); i > 0; i-- {
			at[i] = at[i-1] && same(text[i-1])
		}
		at[0] = false
	}
	for _, e := range p.elems {
		switch e.kind {
		case anyElem:
			for i := 1; i <= len(text); i++ {
				at[i] = at[i] || at[i-1]
			}
		case oneElem:
			step(func(rune) bool { return true })
		case dashElem:
			step(isDash)
		default:
			for _, want := range characters(e.text) {
				step(func(r rune) bool { return r == want || !p.cased && sameFold(r, want) })
			}
		}
	}
	return at[len(text)]
}

// characters splits s. A lone surrogate is a character; a byte that is not
// UTF-8 becomes a negative number, which equals only itself.
func characters(s string) []rune {
	var out []rune
	for i := 0; i < len(s); {
		n := runeLen(s[i:])
		r, _ := event.DecodeRune(s[i:])
		if r == unicode.ReplacementChar && n == 1 {
			r = -1 - rune(s[i])
		}
		out = append(out, r)
		i += n
	}
	return out
}

// sameFold walks the orbit of simple case folding.
func sameFold(a, b rune) bool {
	if a < 0 || b < 0 {
		return false
	}
	for f := unicode.SimpleFold(a); f != a; f = unicode.SimpleFold(f) {
		if f == b {
			return true
		}
	}
	return false
}
