package sigma

import (
	"slices"
	"unicode"

	"ashiato/internal/event"
)

// Reference evaluates rules one after the other, straight from their text: no
// index, no compiled form, no test that an event is spared but by the log source
// and by "and" and "or". It is the yardstick of the Engine and far too slow for
// anything else.
//
// It remembers what it would otherwise work out again, and nothing else: what an
// item's values mean, the characters of texts, and of one event, which log sources
// it is of and which values its fields have. It is not safe for concurrent use.
type Reference struct {
	rules []*Rule
	opt   Options
	// sources has a rule of each log source, source each rule's place there.
	sources []*Rule
	source  []int
	items   map[*item][][]test
	texts   letterCache // of rules
	ends    []int       // memory of pattern.matches
	of      reading
}

// reading is what was worked out for one event. Without maps it remembers nothing.
type reading struct {
	event  *event.Event
	isOf   []bool // by log source
	fields map[fieldName][]string
	texts  letterCache
}

// NewReference returns the interpreter of rules that Compile accepts with the
// same options.
func NewReference(rules []*Rule, opt Options) *Reference {
	r := &Reference{
		rules: rules, opt: opt, items: map[*item][][]test{}, texts: letterCache{},
		of: reading{fields: map[fieldName][]string{}, texts: letterCache{}},
	}
	seen := map[LogSource]int{}
	for _, rule := range rules {
		l := rule.LogSource
		l.Definition = "" // a text for people
		i, ok := seen[l]
		if !ok {
			i = len(r.sources)
			seen[l] = i
			r.sources = append(r.sources, rule)
		}
		r.source = append(r.source, i)
	}
	return r
}

// Match returns the rules that hold for e, in their order.
func (r *Reference) Match(e *event.Event) []*Rule {
	clear(r.of.fields)
	clear(r.of.texts)
	r.of.event, r.of.isOf = e, r.of.isOf[:0]
	for _, rule := range r.sources {
		r.of.isOf = append(r.of.isOf, rule.fields.Match(e))
	}
	var out []*Rule
	for i, rule := range r.rules {
		if !r.of.isOf[r.source[i]] {
			continue
		}
		for _, c := range rule.conditions {
			if r.holds(rule, c) {
				out = append(out, rule)
				break
			}
		}
	}
	return out
}

func (r *Reference) holds(rule *Rule, x *expr) bool {
	switch x.op {
	case opNot:
		return !r.holds(rule, x.kids[0])
	case opAnd:
		for _, k := range x.kids {
			if !r.holds(rule, k) {
				return false
			}
		}
		return true
	case opOr:
		for _, k := range x.kids {
			if r.holds(rule, k) {
				return true
			}
		}
		return false
	}
	return r.item(rule, x.item)
}

func (r *Reference) item(rule *Rule, it *item) bool {
	vals, ok := r.items[it]
	if !ok {
		var f *fault
		if vals, f = it.resolve(r.opt.placeholders()); f != nil {
			return false // such rules are not compiled
		}
		r.items[it] = vals
	}
	held := 0
	for _, alts := range vals {
		for i := range alts {
			if r.holdsTest(rule, it, &alts[i]) {
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

// test evaluates one test for e, and remembers nothing.
func (r *Reference) test(rule *Rule, it *item, t *test, e *event.Event) bool {
	once := Reference{of: reading{event: e}}
	return once.holdsTest(rule, it, t)
}

// holdsTest evaluates one test for the event at hand.
func (r *Reference) holdsTest(rule *Rule, it *item, t *test) bool {
	of := &r.of
	matches := func(p pattern, v string) bool { return p.matches(of.texts.letters(v), r.texts.letters, &r.ends) }
	if it.field == "" {
		held := false
		everyValue(of.event, func(_, v string) bool {
			if t.kind == keywordRegexTest {
				held = held || t.re.MatchString(v)
			} else {
				held = held || matches(t.pattern, v)
			}
			return true
		})
		return held
	}
	vals := of.values(rule.fieldName(it.field))
	switch t.kind {
	case nullTest:
		return len(vals) == 0
	case existsTest:
		return (len(vals) > 0) == t.want
	}
	for _, v := range vals {
		switch t.kind {
		case patternTest:
			if matches(t.pattern, v) {
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
			for _, other := range of.values(rule.fieldName(t.ref)) {
				p := literalPattern(other).open(t.front, t.back)
				p.cased = t.cased
				if p.matches(of.texts.letters(v), of.texts.letters, &r.ends) {
					return true
				}
			}
		}
	}
	return false
}

// values returns the values of a field.
func (of *reading) values(f fieldName) []string {
	vals, ok := of.fields[f]
	if !ok {
		if vals = lookup(of.event, f); of.fields != nil {
			of.fields[f] = vals
		}
	}
	return vals
}

// letters are the characters of a text, and in folded each one replaced by the
// smallest that differs from it only in case.
type letters struct{ exact, folded []rune }

func (l letters) of(cased bool) []rune {
	if cased {
		return l.exact
	}
	return l.folded
}

func lettersOf(s string) letters {
	l := letters{exact: characters(s)}
	for _, r := range l.exact {
		l.folded = append(l.folded, smallestFold(r))
	}
	return l
}

// smallestFold returns the smallest character of the orbit of simple case folding
// that r is in.
func smallestFold(r rune) rune {
	smallest := r
	if r >= 0 {
		for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
			smallest = min(smallest, f)
		}
	}
	return smallest
}

// letterCache remembers the letters of texts. A nil one remembers nothing.
type letterCache map[string]letters

func (c letterCache) letters(s string) letters {
	l, ok := c[s]
	if !ok {
		if l = lettersOf(s); c != nil {
			c[s] = l
		}
	}
	return l
}

// plainMatch matches a whole value against a pattern.
func plainMatch(p pattern, value string) bool {
	return p.matches(lettersOf(value), lettersOf, new([]int))
}

// matches goes through the elements of the pattern with the set of places in the
// text where those so far can end. literal gives the letters of a literal; ends
// is memory to be used again.
func (p pattern) matches(in letters, literal func(string) letters, ends *[]int) bool {
	text := in.of(p.cased)
	at := append((*ends)[:0], 0) // ascending
	step := func(same func(rune) bool) {
		n := 0
		for _, i := range at {
			if i < len(text) && same(text[i]) {
				at[n] = i + 1
				n++
			}
		}
		at = at[:n]
	}
	for _, e := range p.elems {
		if len(at) == 0 {
			break
		}
		switch e.kind {
		case anyElem:
			first := at[0]
			at = at[:0]
			for i := first; i <= len(text); i++ {
				at = append(at, i)
			}
		case oneElem:
			step(func(rune) bool { return true })
		case dashElem:
			step(isDash)
		default:
			for _, want := range literal(e.text).of(p.cased) {
				step(func(r rune) bool { return r == want })
			}
		}
	}
	*ends = at
	return slices.Contains(at, len(text))
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
