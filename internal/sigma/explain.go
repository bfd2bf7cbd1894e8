package sigma

import (
	"slices"
	"strings"

	"ashiato/internal/event"
)

// Bounds on explanations.
const (
	maxFound    = 20      // values of the event that an item shows
	maxPiece    = 256     // characters of a literal that is looked for in part
	maxSearched = 4096    // characters of a value in which it is looked for
	maxCells    = 4 << 20 // comparisons for that, per item
	maxDistance = 1 << 30
)

// Applies reports whether e is of the rule's log source.
func (r *Rule) Applies(e *event.Event) bool { return r.fields.Match(e) }

// Explainer tells why one rule holds for an event or does not, by the same
// plain evaluation as Reference. It is safe for concurrent use.
type Explainer struct {
	rule     *Rule
	ref      *Reference
	values   map[*item][][]test
	searches map[*item]string
}

// NewExplainer prepares a rule that Compile accepts with the same options. text
// is the rule's file, which has the names of its searches; without it, and for
// what a filter or a pipeline added, searches are not named.
func NewExplainer(rule *Rule, opt Options, text []byte) (*Explainer, error) {
	x := &Explainer{rule: rule, ref: NewReference(nil, opt), values: map[*item][][]test{}, searches: searchNames(rule, text)}
	for _, it := range rule.items {
		vals, f := it.resolve(opt.placeholders())
		if f != nil {
			return nil, &Error{File: rule.File, Rule: rule.Title, Line: f.at.line, Column: f.at.column, Msg: f.msg, Hint: f.hint}
		}
		x.values[it] = vals
	}
	return x, nil
}

// searchNames finds in a rule's text which search each item is of.
func searchNames(rule *Rule, text []byte) map[*item]string {
	out := map[*item]string{}
	docs, _ := readYAML(text)
	for _, d := range docs {
		detection := (*node)(nil)
		if d.kind == mapNode && d.at.line == rule.Line {
			detection = d.get("detection")
		}
		if detection == nil {
			continue
		}
		// Read again, the rule has the items that its own text gave it.
		plain := &Rule{}
		if f := readDetection(plain, d); f != nil {
			return out
		}
		names := map[place]string{}
		for _, s := range detection.keys {
			if s.key != "condition" {
				placesOf(s.value, s.key, names)
			}
		}
		for i, it := range rule.items {
			if i < len(plain.items) && plain.items[i].at == it.at {
				out[it] = names[it.at]
			}
		}
	}
	return out
}

// placesOf notes the places at which a search's items may stand.
func placesOf(n *node, name string, names map[place]string) {
	if _, taken := names[n.at]; !taken {
		names[n.at] = name
	}
	for _, c := range n.list {
		placesOf(c, name, names)
	}
	for _, p := range n.keys {
		if _, taken := names[p.at]; !taken {
			names[p.at] = name
		}
		placesOf(p.value, name, names)
	}
}

// Explanation tells why a rule holds for an event, or why it does not.
type Explanation struct {
	// Source reports whether the event is of the rule's log source. If not, the
	// rule does not hold, whatever its conditions say.
	Source bool
	// Holds reports whether the rule holds.
	Holds bool
	// Distance is the least number of items whose outcome would have to be
	// another one for a condition to hold; 0 if one does.
	Distance int
	// Conditions are the rule's conditions, of which one must hold. Parts that a
	// condition refers to more than once are shared.
	Conditions []*Step
	// Decisive are the items of the nearest way to the opposite outcome: those
	// that keep the rule from holding, or those that make it hold.
	Decisive []*ItemStep
}

// Step is one part of a condition.
type Step struct {
	// Op is "and", "or", "not" or "item".
	Op string
	// Search is the name of the search that the part is, "" if it is a part of
	// one, or of several.
	Search string
	Holds  bool
	Kids   []*Step
	Item   *ItemStep // with Op "item"

	cost [2]int // items that must change for the part to fail, to hold
}

// ItemStep is one field with its values, or a list of keywords.
type ItemStep struct {
	Line, Column int
	// Key is the field with its modifiers; without a field for keywords.
	Key, Field string
	// All tells that all values must hold rather than one, Negated that the
	// outcome is turned round.
	All, Negated bool
	Holds        bool
	// Found are the event's values of the field, the first ones if there are
	// many; for keywords the values in which one was found. FoundCount is their
	// number.
	Found      []event.Field
	FoundCount int
	// Values are the rule's values.
	Values []ValueStep
}

// ValueStep is one value of an item.
type ValueStep struct {
	Text  string // as the rule has it
	Holds bool
	// Near is the longest piece of the value that the event's values have, "" if
	// that is nothing worth telling; Of is how many characters the whole has.
	Near string
	Of   int
	// Note says in English what else is to be said of a value that does not hold.
	Note string
}

// Distance returns Explanation.Distance alone.
func (x *Explainer) Distance(e *event.Event) int {
	w := walker{x: x, e: e, done: map[*expr]*Step{}}
	best := maxDistance
	for _, c := range x.rule.conditions {
		best = min(best, w.step(c).cost[1])
	}
	return best
}

// Explain evaluates the rule for a normalised event.
func (x *Explainer) Explain(e *event.Event) *Explanation {
	w := walker{x: x, e: e, done: map[*expr]*Step{}, full: true}
	out := &Explanation{Source: x.rule.Applies(e), Distance: maxDistance}
	for _, c := range x.rule.conditions {
		s := w.step(c)
		out.Conditions = append(out.Conditions, s)
		out.Distance = min(out.Distance, s.cost[1])
	}
	out.Holds = out.Source && out.Distance == 0
	seen := map[*Step]bool{}
	for _, s := range out.Conditions {
		switch {
		case out.Distance == 0 && s.Holds:
			decisive(s, false, seen, &out.Decisive)
		case out.Distance > 0 && s.cost[1] == out.Distance && len(out.Decisive) == 0:
			decisive(s, true, seen, &out.Decisive)
		}
	}
	return out
}

// decisive collects the items that must change for s to become want.
func decisive(s *Step, want bool, seen map[*Step]bool, out *[]*ItemStep) {
	if s.Holds == want || seen[s] {
		return
	}
	seen[s] = true
	switch {
	case s.Op == "item":
		*out = append(*out, s.Item)
	case s.Op == "not":
		decisive(s.Kids[0], !want, seen, out)
	case (s.Op == "and") == want:
		for _, k := range s.Kids {
			decisive(k, want, seen, out)
		}
	default:
		decisive(slices.MinFunc(s.Kids, func(a, b *Step) int { return a.cost[bit(want)] - b.cost[bit(want)] }), want, seen, out)
	}
}

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}

type walker struct {
	x    *Explainer
	e    *event.Event
	full bool // with values, for people
	done map[*expr]*Step
}

func (w *walker) step(c *expr) *Step {
	if s, ok := w.done[c]; ok {
		return s
	}
	s := &Step{Op: [...]string{"and", "or", "not", "item"}[c.op]}
	if c.op == opItem {
		s.Search = w.x.searches[c.item]
		if w.full {
			s.Item = w.item(c.item)
			s.Holds = s.Item.Holds
		} else {
			s.Holds = w.x.holds(c.item, w.e)
		}
		s.cost[bit(!s.Holds)] = 1
		w.done[c] = s
		return s
	}
	sum, least := [2]int{}, [2]int{maxDistance, maxDistance}
	for i, k := range c.kids {
		kid := w.step(k)
		s.Kids = append(s.Kids, kid)
		for b := range 2 {
			sum[b] = min(sum[b]+kid.cost[b], maxDistance)
			least[b] = min(least[b], kid.cost[b])
		}
		// A search holds no "not", so what does is never one.
		switch {
		case c.op == opNot:
		case i == 0:
			s.Search = kid.Search
		case s.Search != kid.Search:
			s.Search = ""
		}
	}
	switch c.op {
	case opNot:
		s.cost = [2]int{s.Kids[0].cost[1], s.Kids[0].cost[0]}
	case opAnd:
		s.cost = [2]int{least[0], sum[1]}
	default:
		s.cost = [2]int{sum[0], least[1]}
	}
	s.Holds = s.cost[1] == 0
	w.done[c] = s
	return s
}

// holds is Reference.item on values that are resolved.
func (x *Explainer) holds(it *item, e *event.Event) bool {
	held := 0
	vals := x.values[it]
	for _, alts := range vals {
		if x.valueHolds(it, alts, e) {
			held++
		} else if it.all {
			return it.neq
		}
		if held > 0 && !it.all {
			break
		}
	}
	return (held > 0) != it.neq
}

func (x *Explainer) valueHolds(it *item, alts []test, e *event.Event) bool {
	for i := range alts {
		if x.ref.test(x.rule, it, &alts[i], e) {
			return true
		}
	}
	return false
}

func (w *walker) item(it *item) *ItemStep {
	s := &ItemStep{Line: it.at.line, Column: it.at.column, Field: it.field, All: it.all, Negated: it.neq}
	words := slices.Concat([]string{it.field}, it.chain.names)
	if it.chain.cased {
		words = append(words, "cased")
	}
	if it.all {
		words = append(words, "all")
	}
	if it.neq {
		words = append(words, "neq")
	}
	s.Key = strings.Join(words, "|")
	var texts []string
	if it.field != "" {
		texts = lookup(w.e, w.x.rule.fieldName(it.field))
		s.FoundCount = len(texts)
		for _, t := range texts[:min(len(texts), maxFound)] {
			s.Found = append(s.Found, event.Field{Name: it.field, Value: t})
		}
	}
	held, cells := 0, maxCells
	for i, alts := range w.x.values[it] {
		v := ValueStep{Holds: w.x.valueHolds(it, alts, w.e)}
		if i < len(it.nodes) {
			v.Text = it.nodes[i].text
		}
		if v.Holds {
			held++
		} else if len(alts) > 0 {
			w.near(&v, it, alts, texts, &cells)
		}
		s.Values = append(s.Values, v)
	}
	s.Holds = held > 0
	if it.all {
		s.Holds = held == len(s.Values)
	}
	if it.field == "" && held > 0 {
		w.keywordPlaces(s, it)
	}
	s.Holds = s.Holds != it.neq
	return s
}

// keywordPlaces finds the values that keywords were found in.
func (w *walker) keywordPlaces(s *ItemStep, it *item) {
	everyValue(w.e, func(name, v string) bool {
		one := &event.Event{Data: event.Fields{{Name: name, Value: v}}}
		if slices.ContainsFunc(w.x.values[it], func(alts []test) bool { return w.x.valueHolds(it, alts, one) }) {
			s.FoundCount++
			if len(s.Found) < maxFound {
				s.Found = append(s.Found, event.Field{Name: name, Value: v})
			}
		}
		return true
	})
}

// near says how near the event's values came to a value that does not hold.
func (w *walker) near(v *ValueStep, it *item, alts []test, texts []string, cells *int) {
	if it.field == "" {
		return
	}
	if len(texts) == 0 {
		switch alts[0].kind {
		case nullTest, existsTest:
		default:
			v.Note = "the event has no such field"
		}
		return
	}
	switch t := &alts[0]; t.kind {
	case nullTest:
		v.Note = "the event has the field"
	case existsTest:
		v.Note = "the event has the field"
	case numberTest:
		if !slices.ContainsFunc(texts, func(s string) bool { _, ok := t.numeric(s); return ok }) {
			v.Note = "the event's value is not a number"
			if t.part != noPart {
				v.Note = "the event's value is not a date"
			}
		}
	case cidrTest:
		if !slices.ContainsFunc(texts, func(s string) bool { _, ok := parseAddress(s); return ok }) {
			v.Note = "the event's value is not an address"
		}
	case fieldrefTest:
		others := lookup(w.e, w.x.rule.fieldName(t.ref))
		if len(others) == 0 {
			v.Note = "the event has no field " + t.ref
		}
	case patternTest:
		w.nearPattern(v, alts, texts, cells)
	}
}

func (w *walker) nearPattern(v *ValueStep, alts []test, texts []string, cells *int) {
	whole := false
	for _, t := range alts {
		if t.pattern.cased {
			p := t.pattern
			p.cased = false
			if slices.ContainsFunc(texts, func(s string) bool { return plainMatch(p, s) }) {
				v.Note = "only the letter case differs"
				return
			}
		}
		for _, s := range texts {
			in := foldedCharacters(s)
			all := true
			for _, e := range t.pattern.elems {
				if e.kind != literalElem {
					continue
				}
				piece := foldedCharacters(e.text)
				if len(piece) > maxPiece || len(in) > maxSearched || len(piece)*len(in) > *cells {
					return
				}
				*cells -= len(piece) * len(in)
				at, n := longestCommon(piece, in)
				all = all && n == len(piece)
				if n >= 3 && n > len([]rune(v.Near)) {
					v.Near, v.Of = string(characters(e.text)[at:at+n]), len(piece)
				}
			}
			whole = whole || all && len(t.pattern.elems) > 0
		}
	}
	if whole {
		v.Near, v.Of, v.Note = "", 0, "the text is there, but not in that place"
	}
}

func foldedCharacters(s string) []rune {
	out := characters(s)
	for i, r := range out {
		if r >= 0 {
			out[i] = foldRune(r)
		}
	}
	return out
}

// longestCommon returns where in a the longest run that b has too begins, and
// its length.
func longestCommon(a, b []rune) (at, n int) {
	row := make([]int, len(b)+1)
	for i := range a {
		for j := len(b); j > 0; j-- {
			if a[i] != b[j-1] {
				row[j] = 0
				continue
			}
			row[j] = row[j-1] + 1
			if row[j] > n {
				at, n = i+1-row[j], row[j]
			}
		}
	}
	return at, n
}
