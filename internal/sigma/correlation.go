package sigma

import (
	"fmt"
	"math"
	"math/bits"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Bounds on correlations.
const (
	MaxCorrelated = 64                             // rules that one correlation names
	MaxTerms      = 256                            // alternatives of an extended condition
	MaxTimespan   = 100 * 31_556_952 * time.Second // a hundred years
)

// CorrelationType says what a correlation measures.
type CorrelationType string

// The types of the specification 2.1.0 and, value_median, of pySigma.
const (
	EventCount      CorrelationType = "event_count"
	ValueCount      CorrelationType = "value_count"
	Temporal        CorrelationType = "temporal"
	TemporalOrdered CorrelationType = "temporal_ordered"
	ValueSum        CorrelationType = "value_sum"
	ValueAvg        CorrelationType = "value_avg"
	ValuePercentile CorrelationType = "value_percentile"
	ValueMedian     CorrelationType = "value_median"
)

var correlationTypes = []CorrelationType{
	EventCount, ValueCount, Temporal, TemporalOrdered, ValueSum, ValueAvg, ValuePercentile, ValueMedian,
}

// Comparison is one bound of a correlation's condition.
type Comparison struct {
	Op    string // "gt", "gte", "lt", "lte", "eq" or "neq"
	Bound float64
}

// Holds compares x with the bound.
func (c Comparison) Holds(x float64) bool {
	switch c.Op {
	case "gt":
		return x > c.Bound
	case "gte":
		return x >= c.Bound
	case "lt":
		return x < c.Bound
	case "lte":
		return x <= c.Bound
	case "neq":
		return x != c.Bound
	}
	return x == c.Bound
}

// Term is one alternative of an extended condition: the rules that must occur
// and those that must not, as bits by their position in the correlation.
type Term struct{ With, Without uint64 }

// Correlated is what a correlation names: a rule, or another correlation.
// Exactly one of the two is set.
type Correlated struct {
	Rule        *Rule
	Correlation *Correlation
}

// Meta returns the document's metadata.
func (c Correlated) Meta() *Rule {
	if c.Correlation != nil {
		return c.Correlation.Rule
	}
	return c.Rule
}

// Correlation is one parsed correlation document. What it means is described in
// docs/formats/rules.md.
type Correlation struct {
	// Rule holds the document's metadata; it has no log source and no searches.
	// Its Level is "" until Correlate, which takes the highest of the rules that
	// the correlation names if it has none of its own.
	Rule *Rule

	Type     CorrelationType
	Timespan time.Duration
	// GroupBy are the fields whose values must be equal, by name or alias.
	GroupBy []string
	// Compare must all hold; empty if Terms are given.
	Compare []Comparison
	// Terms are the extended condition in disjunctive form, nil if there is none.
	Terms []Term
	// Fields is what the value types look at; several only for value_count.
	Fields []string
	// Percentile is 1 to 100; 0 means that value_percentile compares shares.
	Percentile int
	// Generate keeps the detections of the rules that the correlation names.
	Generate bool
	// Bases are what the correlation names, in order; nil before Correlate.
	Bases []Correlated

	refs      []*node
	aliases   []aliasPair
	fieldsOf  []map[string]string // by base: alias → field
	condition *node
}

type aliasPair struct {
	alias, rule, field string
	at                 place
}

// Field returns the name under which the base at a position has a field.
func (c *Correlation) Field(base int, name string) string {
	if f, ok := c.fieldsOf[base][name]; ok {
		return f
	}
	return name
}

// PseudoFields are names that group-by accepts beyond the fields of records:
// what an event belongs to in the provenance graph.
var PseudoFields = [...]string{"ProcessTree", "LogonSession", "Volume"}

// Pseudo reports whether a field is a pseudo-field for the base at a position.
func (c *Correlation) Pseudo(base int, name string) bool {
	return slices.Contains(PseudoFields[:], c.Field(base, name))
}

func (c *Correlation) pseudo() (string, bool) {
	for i := range c.Bases {
		for _, g := range c.GroupBy {
			if c.Pseudo(i, g) {
				return c.Field(i, g), true
			}
		}
	}
	return "", false
}

// Grows reports whether the condition, once it holds for some events, holds for
// any more of them: then it is decided by the event that makes it hold. The
// others are decided when their window closes.
func (c *Correlation) Grows() bool {
	switch c.Type {
	case EventCount, ValueCount, Temporal, TemporalOrdered:
	default:
		return false
	}
	return c.Slides()
}

// Slides reports whether every event begins a window of its own. Otherwise
// windows follow one another.
func (c *Correlation) Slides() bool {
	switch c.Type {
	case ValueAvg, ValueMedian, ValuePercentile:
		return false
	}
	for _, x := range c.Compare {
		if x.Op != "gt" && x.Op != "gte" {
			return false
		}
	}
	for _, t := range c.Terms {
		if t.Without != 0 {
			return false
		}
	}
	return true
}

// Holds compares a measure with the condition.
func (c *Correlation) Holds(x float64) bool {
	for _, k := range c.Compare {
		if !k.Holds(x) {
			return false
		}
	}
	return true
}

func readCorrelation(r *Rule, d *node) (*Correlation, *fault) {
	n := d.get("correlation")
	if n.kind != mapNode {
		return nil, faultf(n.at, "correlation must be a map, not %s", n.kind)
	}
	for _, key := range []string{"logsource", "detection"} {
		if x := d.get(key); x != nil {
			return nil, faultf(x.at, "a correlation has no %s", key)
		}
	}
	c := &Correlation{Rule: r}
	generate := d.get("generate")
	for _, p := range n.keys {
		var f *fault
		switch v := p.value; p.key {
		case "type":
			c.Type = CorrelationType(v.text)
			if !slices.Contains(correlationTypes, c.Type) {
				f = faultf(v.at, "unknown correlation type %q", v.text).withHint("known are %s", joinTypes())
			}
		case "rules":
			c.refs, f = scalars(v, "rules")
		case "group-by":
			var list []*node
			list, f = scalars(v, "group-by")
			for _, g := range list {
				if slices.Contains(c.GroupBy, g.text) {
					return nil, faultf(g.at, "the field %s is given twice", g.text)
				}
				c.GroupBy = append(c.GroupBy, g.text)
			}
		case "timespan":
			c.Timespan, f = readTimespan(v)
		case "condition":
			c.condition = v
		case "aliases":
			f = c.readAliases(v)
		case "generate":
			if generate != nil && generate.text != v.text {
				return nil, faultf(v.at, "generate is given twice, with two values")
			}
			generate = v
		default:
			return nil, faultf(p.at, "unknown key %q in correlation", p.key).withHint("known are type, rules, group-by, timespan, condition, aliases, generate")
		}
		if f != nil {
			return nil, f
		}
	}
	if generate != nil {
		if generate.kind != scalarNode || generate.text != "true" && generate.text != "false" {
			return nil, faultf(generate.at, "generate takes true or false")
		}
		c.Generate = generate.text == "true"
	}
	temporal := c.Type == Temporal || c.Type == TemporalOrdered
	extended := c.condition != nil && c.condition.kind == scalarNode
	if extended && c.refs == nil {
		c.refs = conditionNames(c.condition)
	}
	switch {
	case len(c.refs) == 0:
		return nil, faultf(n.at, "the correlation names no rules")
	case len(c.refs) > MaxCorrelated:
		return nil, faultf(c.refs[0].at, "the correlation names %d rules, more than the bound of %d", len(c.refs), MaxCorrelated)
	case c.Type == "":
		return nil, faultf(n.at, "the correlation has no type").withHint("use one of %s", joinTypes())
	case c.Timespan == 0:
		return nil, faultf(n.at, "the correlation has no timespan")
	case extended && !temporal:
		return nil, faultf(c.condition.at, "a condition over rule names belongs to temporal and temporal_ordered").withHint("write a map such as gte: 10")
	case c.condition == nil && !temporal:
		return nil, faultf(n.at, "the correlation has no condition")
	}
	for i, ref := range c.refs {
		for _, before := range c.refs[:i] {
			if before.text == ref.text {
				return nil, faultf(ref.at, "the rule %s is named twice", ref.text)
			}
		}
	}
	switch {
	case extended:
		if f := c.readExtended(); f != nil {
			return nil, f
		}
	case c.condition == nil:
		c.Compare = []Comparison{{"gte", float64(len(c.refs))}}
	default:
		if f := c.readCompare(); f != nil {
			return nil, f
		}
	}
	if f := c.checkFields(n); f != nil {
		return nil, f
	}
	for _, a := range c.aliases {
		if !slices.Contains(c.GroupBy, a.alias) && !slices.Contains(c.Fields, a.alias) {
			r.warn(a.at, "neither group-by nor the condition uses the alias "+a.alias, "")
		}
	}
	return c, nil
}

func joinTypes() string {
	var names []string
	for _, t := range correlationTypes {
		names = append(names, string(t))
	}
	return strings.Join(names, ", ")
}

// scalars reads a list of texts that are not empty, or a single one.
func scalars(n *node, what string) ([]*node, *fault) {
	list := n.list
	if n.kind == scalarNode {
		list = []*node{n}
	}
	if len(list) == 0 {
		return nil, faultf(n.at, "%s must be a text or a list of texts, not %s", what, n.kind)
	}
	for _, c := range list {
		if c.kind != scalarNode || c.text == "" {
			return nil, faultf(c.at, "%s must hold texts, not %s", what, c.kind)
		}
	}
	return list, nil
}

var (
	timespan      = regexp.MustCompile(`^([0-9]{1,18})([smhdwMy])$`)
	timespanUnits = map[string]int64{"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800, "M": 2629746, "y": 31556952}
)

// readTimespan reads a number and a unit. A month and a year are the mean ones
// of the Gregorian calendar, as in pySigma.
func readTimespan(n *node) (time.Duration, *fault) {
	m := timespan.FindStringSubmatch(n.text)
	if m == nil {
		return 0, faultf(n.at, "%q is not a timespan", n.text).withHint("write a number and one of s, m, h, d, w, M, y, as in 15m")
	}
	count, err := strconv.ParseInt(m[1], 10, 64)
	unit := timespanUnits[m[2]]
	switch {
	case err != nil || count > int64(MaxTimespan/time.Second)/unit:
		return 0, faultf(n.at, "the timespan %s is longer than a hundred years", n.text)
	case count == 0:
		return 0, faultf(n.at, "the timespan must be longer than zero")
	}
	return time.Duration(count*unit) * time.Second, nil
}

func (c *Correlation) readAliases(n *node) *fault {
	if n.kind != mapNode {
		return faultf(n.at, "aliases must be a map, not %s", n.kind)
	}
	for _, a := range n.keys {
		if a.value.kind != mapNode {
			return faultf(a.value.at, "the alias %s must be a map of rules to fields, not %s", a.key, a.value.kind)
		}
		for _, p := range a.value.keys {
			if p.value.kind != scalarNode || p.value.text == "" {
				return faultf(p.value.at, "the alias %s needs the name of a field for %s", a.key, p.key)
			}
			c.aliases = append(c.aliases, aliasPair{a.key, p.key, p.value.text, p.at})
		}
	}
	return nil
}

func (c *Correlation) readCompare() *fault {
	n := c.condition
	if n.kind != mapNode {
		return faultf(n.at, "condition must be a map or a text, not %s", n.kind)
	}
	for _, p := range n.keys {
		switch p.key {
		case "gt", "gte", "lt", "lte", "eq", "neq":
			x, ok := parseNumber(p.value.text)
			if p.value.kind != scalarNode || !ok || math.IsInf(x.asFloat(), 0) || math.IsNaN(x.asFloat()) {
				return faultf(p.value.at, "%s needs a number, not %q", p.key, p.value.text)
			}
			c.Compare = append(c.Compare, Comparison{p.key, x.asFloat()})
		case "field":
			list, f := scalars(p.value, "field")
			if f != nil {
				return f
			}
			for _, v := range list {
				c.Fields = append(c.Fields, v.text)
			}
		case "percentile":
			x, err := strconv.Atoi(p.value.text)
			if err != nil || x < 1 || x > 100 {
				return faultf(p.value.at, "percentile takes a whole number from 1 to 100, not %q", p.value.text)
			}
			if c.Type != ValuePercentile {
				return faultf(p.at, "percentile belongs to value_percentile")
			}
			c.Percentile = x
		default:
			return faultf(p.at, "unknown key %q in the condition", p.key).withHint("known are gt, gte, lt, lte, eq, neq, field, percentile")
		}
	}
	if len(c.Compare) == 0 {
		return faultf(n.at, "the condition compares with nothing").withHint("add gte, gt, lte, lt, eq or neq")
	}
	return nil
}

func (c *Correlation) checkFields(n *node) *fault {
	at := n.at
	if c.condition != nil {
		at = c.condition.at
	}
	switch c.Type {
	case EventCount, Temporal, TemporalOrdered:
		if len(c.Fields) > 0 {
			return faultf(at, "%s looks at no field", c.Type).withHint("value_count counts the values of a field")
		}
	case ValueCount:
		if len(c.Fields) == 0 {
			return faultf(at, "%s needs a field in its condition", c.Type)
		}
	default:
		if len(c.Fields) != 1 {
			return faultf(at, "%s needs one field in its condition", c.Type)
		}
	}
	top := math.Inf(1)
	if c.Type == Temporal || c.Type == TemporalOrdered {
		top = float64(len(c.refs))
	}
	for _, k := range c.Compare {
		if c.Type == EventCount || c.Type == ValueCount || !math.IsInf(top, 1) {
			if k.Op == "gte" && k.Bound > top || k.Op == "gt" && k.Bound >= top || k.Op == "eq" && (k.Bound > top || k.Bound != math.Trunc(k.Bound)) ||
				k.Op == "lt" && k.Bound <= 1 || k.Op == "lte" && k.Bound < 1 || k.Op == "eq" && k.Bound < 1 {
				return faultf(at, "the condition %s: %v can never hold", k.Op, k.Bound).withHint("a window holds at least one event")
			}
		}
	}
	return nil
}

// conditionNames returns the names in an extended condition, each once.
func conditionNames(n *node) []*node {
	words, f := splitCondition(n)
	if f != nil {
		return nil // said when the condition is read
	}
	var out []*node
	for _, w := range words {
		switch strings.ToLower(w.text) {
		case "and", "or", "not", "(", ")":
			continue
		}
		if !slices.ContainsFunc(out, func(o *node) bool { return o.text == w.text }) {
			out = append(out, &node{kind: scalarNode, at: w.at, text: w.text, plain: 's'})
		}
	}
	return out
}

func (c *Correlation) readExtended() *fault {
	n := c.condition
	p := conditionParser{searches: map[string]*expr{}, used: map[string]bool{}, end: place{n.at.line, n.at.column + len(n.text)}}
	at := map[*expr]int{}
	for i, ref := range c.refs {
		e := &expr{op: opItem}
		p.names = append(p.names, ref.text)
		p.searches[ref.text], at[e] = e, i
	}
	words, f := splitCondition(n)
	if f != nil {
		return f
	}
	p.words = words
	e, f := p.parse()
	if f != nil {
		f.msg = strings.Replace(f.msg, "a search of this rule", "a rule of this correlation", 1)
		return f
	}
	for i, ref := range c.refs {
		if !p.used[ref.text] {
			return faultf(c.refs[i].at, "the condition does not name %s", ref.text).withHint("every rule must be in the condition")
		}
	}
	terms, f := disjunction(e, false, at, n.at)
	if f != nil {
		return f
	}
	if len(terms) == 0 {
		return faultf(n.at, "the condition can never hold")
	}
	for _, t := range terms {
		if t.With == 0 {
			return faultf(n.at, "the condition holds where none of the rules does").withHint("at least one rule must have to occur")
		}
	}
	c.Terms = terms
	return nil
}

// disjunction brings a condition over names into disjunctive form, without
// terms that contradict themselves or that another term includes.
func disjunction(e *expr, negated bool, at map[*expr]int, where place) ([]Term, *fault) {
	switch e.op {
	case opItem:
		if bit := uint64(1) << at[e]; negated {
			return []Term{{Without: bit}}, nil
		} else {
			return []Term{{With: bit}}, nil
		}
	case opNot:
		return disjunction(e.kids[0], !negated, at, where)
	}
	var out []Term
	for i, k := range e.kids {
		terms, f := disjunction(k, negated, at, where)
		if f != nil {
			return nil, f
		}
		if i == 0 || (e.op == opOr) != negated {
			out = append(out, terms...)
		} else {
			var product []Term
			for _, a := range out {
				for _, b := range terms {
					product = append(product, Term{a.With | b.With, a.Without | b.Without})
				}
			}
			out = product
		}
		if len(out) > MaxTerms*MaxTerms {
			return nil, faultf(where, "the condition has too many alternatives")
		}
		if out = reduce(out); len(out) > MaxTerms {
			return nil, faultf(where, "the condition has more than %d alternatives", MaxTerms)
		}
	}
	return out, nil
}

func reduce(terms []Term) []Term {
	slices.SortFunc(terms, func(a, b Term) int {
		size := func(t Term) int { return bits.OnesCount64(t.With) + bits.OnesCount64(t.Without) }
		switch {
		case size(a) != size(b):
			return size(a) - size(b)
		case a.With != b.With:
			return map[bool]int{true: -1, false: 1}[a.With < b.With]
		case a.Without != b.Without:
			return map[bool]int{true: -1, false: 1}[a.Without < b.Without]
		}
		return 0
	})
	var out []Term
	for _, t := range terms {
		implied := slices.ContainsFunc(out, func(o Term) bool { return o.With&^t.With == 0 && o.Without&^t.Without == 0 })
		if t.With&t.Without == 0 && !implied {
			out = append(out, t)
		}
	}
	return out
}

// CorrelateOptions are what correlations need from outside.
type CorrelateOptions struct {
	// PseudoFields says that events can be resolved to the PseudoFields.
	// Otherwise a correlation that groups by one is refused.
	PseudoFields bool
}

// Correlate finds what correlations name, among rules that were compiled and
// among themselves. It returns those that are whole, bases before those that
// name them, and an *Error for every other one: names that nothing has or that
// two rules have, and correlations that name each other in a circle.
func Correlate(all []*Correlation, rules []*Rule, opt CorrelateOptions) ([]*Correlation, []error) {
	k := correlator{byName: map[string][]Correlated{}, state: map[*Correlation]int{}, opt: opt}
	ids := map[string]*Rule{}
	name := func(c Correlated) {
		m := c.Meta()
		if m.ID != "" {
			k.byName[m.ID] = append(k.byName[m.ID], c)
		}
		if m.Name != "" && m.Name != m.ID {
			k.byName[m.Name] = append(k.byName[m.Name], c)
		}
	}
	for _, r := range rules {
		ids[r.Key()] = r
		name(Correlated{Rule: r})
	}
	var own []*Correlation
	for _, c := range all {
		if first, twice := ids[c.Rule.Key()]; twice {
			k.refuse(c, faultf(place{c.Rule.Line, 1}, "the id %s is already used by %s", c.Rule.Key(), first.File).withHint("give each document its own id"))
			continue
		}
		ids[c.Rule.Key()] = c.Rule
		name(Correlated{Correlation: c})
		own = append(own, c)
	}
	for _, c := range own {
		k.visit(c, nil)
	}
	return k.kept, k.errs
}

type correlator struct {
	byName map[string][]Correlated
	state  map[*Correlation]int // 1 open, 2 kept, 3 refused
	kept   []*Correlation
	errs   []error
	opt    CorrelateOptions
}

func (k *correlator) refuse(c *Correlation, f *fault) {
	k.state[c] = 3
	k.errs = append(k.errs, &Error{File: c.Rule.File, Rule: c.Rule.Title, Line: f.at.line, Column: f.at.column, Msg: f.msg, Hint: f.hint})
}

func (k *correlator) visit(c *Correlation, path []*Correlation) {
	if k.state[c] != 0 {
		return
	}
	k.state[c] = 1
	if f := k.link(c, append(path, c)); f != nil {
		k.refuse(c, f)
		return
	}
	if c.Rule.Level == "" {
		for _, b := range c.Bases {
			if slices.Index(levels, b.Meta().Level) > slices.Index(levels, c.Rule.Level) {
				c.Rule.Level = b.Meta().Level
			}
		}
	}
	k.state[c] = 2
	k.kept = append(k.kept, c)
}

func (k *correlator) link(c *Correlation, path []*Correlation) *fault {
	c.Bases, c.fieldsOf = nil, make([]map[string]string, len(c.refs))
	for _, ref := range c.refs {
		b, f := k.find(ref)
		if f != nil {
			return f
		}
		if i := slices.Index(c.Bases, b); i >= 0 {
			return faultf(ref.at, "%s and %s are the same rule", c.refs[i].text, ref.text)
		}
		if x := b.Correlation; x != nil {
			if i := slices.Index(path, x); i >= 0 {
				var names []string
				for _, p := range append(path[i:], x) {
					names = append(names, strconv.Quote(p.Rule.Title))
				}
				return faultf(ref.at, "correlations name each other in a circle: %s", strings.Join(names, " names ")).withHint("let one of them name only rules")
			}
			if len(path) > MaxDepth {
				return faultf(ref.at, "correlations are chained more than %d levels deep", MaxDepth)
			}
			if k.visit(x, path); k.state[x] != 2 {
				return faultf(ref.at, "the correlation %q that it names cannot be used", x.Rule.Title)
			}
		}
		c.Bases = append(c.Bases, b)
	}
	for _, a := range c.aliases {
		b, f := k.find(&node{at: a.at, text: a.rule})
		if f != nil {
			return f
		}
		i := slices.Index(c.Bases, b)
		if i < 0 {
			return faultf(a.at, "the alias %s is given for %s, which is not a rule of this correlation", a.alias, a.rule)
		}
		if c.fieldsOf[i] == nil {
			c.fieldsOf[i] = map[string]string{}
		}
		c.fieldsOf[i][a.alias] = a.field
	}
	if name, ok := c.pseudo(); ok && !k.opt.PseudoFields {
		return faultf(place{c.Rule.Line, 1}, "group-by %s is not supported here", name).withHint("group by a field of the records")
	}
	return nil
}

func (k *correlator) find(ref *node) (Correlated, *fault) {
	found := k.byName[ref.text]
	switch len(found) {
	case 0:
		return Correlated{}, faultf(ref.at, "no loaded rule has the id or name %q", ref.text).withHint("load the file that holds it, too")
	case 1:
		return found[0], nil
	}
	var files []string
	for _, f := range found {
		files = append(files, fmt.Sprintf("%s:%d", f.Meta().File, f.Meta().Line))
	}
	return Correlated{}, faultf(ref.at, "%d rules are called %q: %s", len(found), ref.text, strings.Join(files, ", ")).withHint("refer to it by id")
}

// Number reads a value as value_sum and its kin do: a decimal number or an
// integer in 0x notation.
func Number(value string) (float64, bool) {
	n, ok := parseNumber(value)
	if !ok || math.IsInf(n.asFloat(), 0) || math.IsNaN(n.asFloat()) {
		return 0, false
	}
	return n.asFloat(), true
}
