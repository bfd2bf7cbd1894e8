package sigma

import (
	"encoding/base64"
	"slices"
	"strings"

	"ashiato/internal/event"
)

// opKind is the kind of an expr.
type opKind uint8

const (
	opAnd opKind = iota
	opOr
	opNot
	opItem
)

// expr is a rule's condition with the searches put in.
type expr struct {
	op   opKind
	kids []*expr
	item *item
}

// item is one field with its values, or a list of keywords. It holds if one of
// its values does (all of them with "all"); neq turns that round. A value is a
// list of alternatives.
type item struct {
	at     place
	order  int    // in the order of the rule's text
	field  string // "" for keywords
	all    bool
	neq    bool
	values [][]test

	chain chain
	nodes []*node
}

// resolve takes the item's values through its modifiers. Where placeholders is
// nil, every placeholder stands for itself, so that a rule can be checked before
// the values are known.
func (it *item) resolve(placeholders map[string][]string) ([][]test, *fault) {
	left := MaxRegexes
	return it.resolveWithin(placeholders, &left)
}

// resolveWithin is resolve with what is left of the bound on regular expressions.
func (it *item) resolveWithin(placeholders map[string][]string, left *int) ([][]test, *fault) {
	values := make([][]test, 0, len(it.nodes))
	for _, n := range it.nodes {
		alts, f := it.chain.apply(n, it.field == "", placeholders)
		if f != nil {
			return nil, f
		}
		for i := range alts {
			if *left -= alts[i].size; *left < 0 {
				return nil, faultf(n.at, "the regular expressions of the file come to more than %d instructions", MaxRegexes).
					withHint("use contains, startswith and endswith where they do")
			}
		}
		values = append(values, alts)
	}
	return values, nil
}

// expands reports whether the item has placeholders.
func (it *item) expands() bool { return slices.Contains(it.chain.names, "expand") }

// modifiers that this version knows, for hints.
var modifierNames = []string{
	"all", "base64", "base64offset", "cased", "cidr", "contains", "day", "dotall", "endswith", "exists", "expand", "fieldref",
	"gt", "gte", "hour", "i", "ignorecase", "lt", "lte", "m", "minute", "month", "multiline", "neq", "re", "s", "startswith",
	"utf16", "utf16be", "utf16le", "week", "wide", "windash", "year",
}

// shape is what the modifiers have made of a value so far.
type shape uint8

const (
	textShape shape = iota
	bytesShape
	base64Shape
	regexShape
	numberShape
	otherShape // finished: cidr, exists, fieldref
)

// chain is the modifiers of an item, taken apart and checked.
type chain struct {
	names []string
	at    place
	all   bool
	neq   bool
	cased bool
}

// readChain checks the modifiers of a key as far as that needs no value.
func readChain(names []string, at place) (chain, *fault) {
	c := chain{at: at}
	for i, name := range names {
		if !slices.Contains(modifierNames, name) {
			f := faultf(at, "unknown modifier %q", name)
			if lower := strings.ToLower(name); slices.Contains(modifierNames, lower) {
				return c, f.withHint("modifiers are lower case: %s", lower)
			}
			if near := nearestName(name, slices.Values(modifierNames)); near != "" {
				return c, f.withHint("did you mean %q?", near)
			}
			return c, f.withHint("known are %s", strings.Join(modifierNames, ", "))
		}
		if slices.Contains(names[:i], name) {
			return c, faultf(at, "the modifier %s is given twice", name)
		}
		switch name {
		case "all":
			c.all = true
		case "neq":
			c.neq = true
		case "cased":
			c.cased = true
		default:
			c.names = append(c.names, name)
		}
	}
	return c, nil
}

// working is a value on its way through the chain.
type working struct {
	shape   shape
	node    *node
	alts    []pattern // textShape, base64Shape
	bytes   []byte    // bytesShape
	re      string
	reFlags string
	expand  bool
	test    test // numberShape, otherShape
}

// apply takes one value through the chain and returns its alternatives.
func (c *chain) apply(n *node, keyword bool, placeholders map[string][]string) ([]test, *fault) {
	if n.kind == nullNode {
		if keyword {
			return nil, faultf(n.at, "a keyword must not be null")
		}
		if len(c.names) > 0 || c.cased {
			return nil, faultf(n.at, "null cannot take a modifier").withHint("write the field without modifiers, or use exists")
		}
		return []test{{kind: nullTest}}, nil
	}
	w := working{node: n, alts: []pattern{parsePattern(n.text)}}
	for i, name := range c.names {
		if f := w.step(name, c.names[:i], keyword); f != nil {
			return nil, f
		}
	}
	return w.finish(c, keyword, placeholders)
}

func (w *working) refuse(name, what string) *fault {
	return faultf(w.node.at, "the modifier %s cannot be applied to %s", name, what)
}

func (s shape) String() string {
	return [...]string{"text", "UTF-16 bytes", "base64 text", "a regular expression", "a number", "a finished value"}[s]
}

func (w *working) step(name string, before []string, keyword bool) *fault {
	// what a modifier may follow
	switch name {
	case "i", "m", "s", "ignorecase", "multiline", "dotall":
		if w.shape != regexShape {
			return w.refuse(name, w.shape.String()).withHint("it must follow re")
		}
		w.reFlags += string(name[0])
		if name == "dotall" {
			w.reFlags = strings.TrimSuffix(w.reFlags, "d") + "s"
		}
		return nil
	case "contains", "startswith", "endswith":
		front, back := name != "startswith", name != "endswith"
		if w.shape == otherShape && w.test.kind == fieldrefTest {
			w.test.front, w.test.back = w.test.front || front, w.test.back || back
			return nil
		}
		if w.shape != textShape && w.shape != base64Shape {
			return w.refuse(name, w.shape.String())
		}
		for i := range w.alts {
			w.alts[i] = w.alts[i].open(front, back)
		}
		return nil
	case "lt", "lte", "gt", "gte":
		if keyword {
			return w.refuse(name, "a keyword")
		}
		if w.shape == textShape && len(before) == 0 {
			if f := w.toNumber(name); f != nil {
				return f
			}
		} else if w.shape != numberShape || w.test.order != equal {
			return w.refuse(name, w.shape.String())
		}
		w.test.order = map[string]order{"lt": less, "lte": lessOrEqual, "gt": greater, "gte": greaterOrEqual}[name]
		return nil
	}
	if w.shape == bytesShape && (name == "base64" || name == "base64offset") {
		return w.encode(name)
	}
	if w.shape != textShape {
		return w.refuse(name, w.shape.String())
	}
	if dateParts[name] != noPart || name == "cidr" || name == "fieldref" || name == "exists" || name == "re" {
		if len(before) > 0 {
			return faultf(w.node.at, "the modifier %s cannot follow %s", name, before[len(before)-1]).withHint("%s comes first", name)
		}
	}
	switch name {
	case "windash":
		for i := range w.alts {
			w.alts[i] = w.alts[i].windash()
		}
	case "base64", "base64offset", "wide", "utf16le", "utf16be", "utf16":
		return w.encode(name)
	case "expand":
		p, found := w.alts[0].placeholders()
		if !found {
			return faultf(w.node.at, "expand needs a %%placeholder%% in the value").withHint("names are letters, digits, _ and -; after a backslash %% is plain text")
		}
		w.alts[0], w.expand = p, true
	case "re":
		if w.node.plain != 's' {
			return faultf(w.node.at, "a regular expression must be text").withHint("put it in quotes")
		}
		w.shape, w.re = regexShape, w.node.text
	case "exists":
		if keyword {
			return w.refuse(name, "a keyword")
		}
		if w.node.text != "true" && w.node.text != "false" {
			return faultf(w.node.at, "exists takes true or false, not %q", w.node.text)
		}
		w.shape, w.test = otherShape, test{kind: existsTest, want: w.node.text == "true"}
	case "cidr":
		if keyword {
			return w.refuse(name, "a keyword")
		}
		p, f := parsePrefix(w.node.text, w.node.at)
		if f != nil {
			return f
		}
		w.shape, w.test = otherShape, test{kind: cidrTest, prefix: p}
	case "fieldref":
		if keyword {
			return w.refuse(name, "a keyword")
		}
		if w.node.text == "" {
			return faultf(w.node.at, "fieldref needs the name of a field")
		}
		w.shape, w.test = otherShape, test{kind: fieldrefTest, ref: w.node.text}
	default: // a part of a date
		if keyword {
			return w.refuse(name, "a keyword")
		}
		if f := w.toNumber(name); f != nil {
			return f
		}
		w.test.part = dateParts[name]
	}
	return nil
}

func (w *working) toNumber(name string) *fault {
	n, ok := parseNumber(w.node.text)
	if !ok {
		return faultf(w.node.at, "%s needs a number, not %q", name, w.node.text)
	}
	w.shape, w.test = numberShape, test{kind: numberTest, number: n}
	return nil
}

// encode applies wide, utf16*, base64 and base64offset, which take text without
// wildcards, in UTF-8 unless encoded before.
func (w *working) encode(name string) *fault {
	if w.shape == textShape {
		text, ok := w.alts[0].plain()
		if !ok {
			return faultf(w.node.at, "%s cannot encode a value with wildcards or dashes of windash", name).withHint(
				"escape the wildcard with a backslash; contains comes after %s", name)
		}
		if text == "" {
			return faultf(w.node.at, "%s needs a value that is not empty", name)
		}
		w.bytes = []byte(text)
	}
	switch name {
	case "wide", "utf16le":
		w.bytes = event.AppendUTF16LE(nil, string(w.bytes))
	case "utf16":
		w.bytes = event.AppendUTF16LE([]byte{0xFF, 0xFE}, string(w.bytes))
	case "utf16be":
		le := event.AppendUTF16LE(nil, string(w.bytes))
		for i := 0; i+1 < len(le); i += 2 {
			le[i], le[i+1] = le[i+1], le[i]
		}
		w.bytes = le
	case "base64":
		w.shape, w.alts = base64Shape, []pattern{literalPattern(base64.StdEncoding.EncodeToString(w.bytes))}
		return nil
	case "base64offset":
		w.shape, w.alts = base64Shape, nil
		for offset := range 3 {
			// The characters that depend on what stands before and behind are cut.
			enc := base64.StdEncoding.EncodeToString(append(make([]byte, offset), w.bytes...))
			cut := len(enc) - [3]int{0, 3, 2}[(len(w.bytes)+offset)%3]
			if from := [3]int{0, 2, 3}[offset]; from < cut {
				w.alts = append(w.alts, literalPattern(enc[from:cut]))
			}
		}
		if len(w.alts) < 3 {
			return faultf(w.node.at, "the value is too short for base64offset")
		}
		return nil
	}
	w.shape = bytesShape
	return nil
}

func (w *working) finish(c *chain, keyword bool, placeholders map[string][]string) ([]test, *fault) {
	switch w.shape {
	case bytesShape:
		return nil, faultf(w.node.at, "%s must be followed by base64 or base64offset", c.names[len(c.names)-1]).withHint("fields hold text, never UTF-16 bytes")
	case regexShape:
		if c.cased && strings.Contains(w.reFlags, "i") {
			return nil, faultf(w.node.at, "cased and i contradict each other")
		}
		source := w.re
		if w.reFlags != "" {
			source = "(?" + w.reFlags + ")" + source
		}
		re, size, f := compileRegex(source, w.node.at)
		if f != nil {
			return nil, f
		}
		kind := regexTest
		if keyword {
			kind = keywordRegexTest
		}
		return []test{{kind: kind, re: re, size: size}}, nil
	case numberShape:
		if c.cased {
			return nil, w.refuse("cased", "a number")
		}
		return []test{w.test}, nil
	case otherShape:
		if c.cased && w.test.kind != fieldrefTest {
			return nil, w.refuse("cased", w.shape.String())
		}
		w.test.cased = c.cased
		return []test{w.test}, nil
	}
	alts := w.alts
	if w.expand {
		var f *fault
		if alts, f = expand(alts[0], placeholders, w.node.at); f != nil {
			return nil, f
		}
	}
	var tests []test
	for _, p := range alts {
		p.cased = c.cased || w.shape == base64Shape
		t := test{kind: patternTest, pattern: p}
		if keyword {
			if len(p.elems) == 0 || len(p.elems) == 1 && p.elems[0].kind == anyElem {
				return nil, faultf(w.node.at, "a keyword must not be empty")
			}
			t.kind = keywordTest
			if !slices.Contains(c.names, "startswith") && !slices.Contains(c.names, "endswith") {
				t.pattern = p.open(true, true)
			}
		}
		tests = append(tests, t)
	}
	return tests, nil
}

// expand replaces the placeholders of p by every combination of their values.
func expand(p pattern, values map[string][]string, at place) ([]pattern, *fault) {
	done := [][]elem{nil}
	for _, e := range p.elems {
		if e.kind != placeholderElem {
			for i := range done {
				done[i] = appendJoined(done[i], e)
			}
			continue
		}
		given := values[e.text]
		if values == nil {
			given = []string{"%" + e.text + "%"}
		}
		if len(given) == 0 {
			return nil, faultf(at, "the placeholder %%%s%% has no value", e.text).withHint("give values for it with --placeholders, or leave the rule out")
		}
		if len(done)*len(given) > MaxExpansions {
			return nil, faultf(at, "the placeholders stand for more than %d values", MaxExpansions)
		}
		var next [][]elem
		for _, d := range done {
			for _, v := range given {
				next = append(next, appendJoined(slices.Clone(d), parsePattern(v).elems...))
			}
		}
		done = next
	}
	out := make([]pattern, len(done))
	for i, d := range done {
		out[i] = pattern{elems: d}
	}
	return out, nil
}
