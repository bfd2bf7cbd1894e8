package sigma

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"ashiato/internal/sigma/logsource"
)

// Pipeline is a processing pipeline in pySigma's YAML: what to change in rules
// before they are compiled. docs/formats/rules.md lists what it may hold.
type Pipeline struct {
	File, Name string
	// Priority orders pipelines that are used together, lowest first.
	Priority int

	steps []*step
	vars  map[string][]string
}

// step is one transformation with the conditions under which it is made.
type step struct {
	at            place
	id, kind      string
	rule          gate[ruleSubject]
	item          gate[itemSubject]
	field         gate[fieldSubject]
	apply         func(*transformer, *step) *fault // on a rule
	rename        func(string) ([]string, bool)    // field names, in rules and correlations
	nested        []*step
	fieldsOfRules bool
}

// The subjects of conditions.
type (
	ruleSubject struct{ t *transformer }
	itemSubject struct {
		t  *transformer
		it *item
	}
	fieldSubject struct {
		t       *transformer
		name    string
		it      *item // nil outside of detections
		applied []string
	}
)

// gate is conditions joined to one answer.
type gate[S any] struct {
	test func(S) bool // nil: no conditions
}

func (g gate[S]) open(s S) bool { return g.test == nil || g.test(s) }

// transformer is a rule or correlation on its way through pipelines.
type transformer struct {
	rule        *Rule
	correlation *Correlation
	sources     []LogSource // of the rules that the correlation names
	state       map[string]string
	applied     map[string]bool
	touched     map[*item][]string
	vars        map[string][]string
}

// unsupported are transformations of pySigma that have no meaning here, or none
// yet, with what to do instead.
var unsupported = map[string]string{
	"field_name_transform":          "list the names with field_name_mapping",
	"hashes_fields":                 "the field Hashes is searched as it is",
	"query_expression_placeholders": "use value_placeholders",
	"add_field":                     "the field list of rules is not used",
	"remove_field":                  "the field list of rules is not used",
	"set_field":                     "the field list of rules is not used",
	"regex":                         "values are compared without letter case already",
	"convert_type":                  "numbers and text are compared as they are written",
	"strict_field_mapping_failure":  "use detection_item_failure with exclude_fields",
	"set_custom_attribute":          "",
	"case":                          "values are compared without letter case already",
}

// ParsePipeline reads a pipeline. If anything in it cannot be honoured the
// pipeline is nil and every fault an *Error: half a pipeline would change what
// rules mean.
func ParsePipeline(file string, data []byte) (*Pipeline, []error) {
	var errs []error
	report := func(f *fault) {
		errs = append(errs, &Error{File: file, Line: f.at.line, Column: f.at.column, Msg: f.msg, Hint: f.hint})
	}
	docs, f := readYAML(data)
	switch {
	case f != nil:
		report(f)
		return nil, errs
	case len(docs) != 1 || docs[0].kind != mapNode:
		report(faultf(place{1, 1}, "a pipeline file must hold one map"))
		return nil, errs
	}
	p := &Pipeline{File: file, vars: map[string][]string{}}
	for _, k := range docs[0].keys {
		var f *fault
		switch k.key {
		case "name":
			p.Name = k.value.text
		case "priority":
			var err error
			if p.Priority, err = strconv.Atoi(k.value.text); err != nil {
				f = faultf(k.value.at, "priority takes a whole number, not %q", k.value.text)
			}
		case "allowed_backends": // there is one backend, this one
		case "vars":
			f = p.readVars(k.value)
		case "transformations":
			var faults []*fault
			p.steps, faults = readSteps(k.value, 0)
			for _, f := range faults {
				report(f)
			}
		case "finalizers", "postprocessing":
			if k.value.kind != nullNode && len(k.value.list) > 0 {
				at, what := k.at, k.key
				if n := k.value.list[0]; n.kind == mapNode && n.get("type") != nil {
					at, what = n.at, k.key+": "+n.get("type").text
				}
				f = faultf(at, "%s is not supported", what).withHint("it works on the text of queries, and there are none here")
			}
		default:
			f = faultf(k.at, "unknown key %q in a pipeline", k.key).withHint("known are name, priority, vars, transformations, allowed_backends")
		}
		if f != nil {
			report(f)
		}
	}
	if len(errs) > 0 {
		return nil, errs
	}
	return p, nil
}

func (p *Pipeline) readVars(n *node) *fault {
	if n.kind != mapNode {
		return faultf(n.at, "vars must be a map, not %s", n.kind)
	}
	for _, v := range n.keys {
		list, f := scalars(v.value, "the variable "+v.key)
		if f != nil {
			return f
		}
		for _, x := range list {
			p.vars[v.key] = append(p.vars[v.key], x.text)
		}
	}
	return nil
}

func readSteps(n *node, depth int) ([]*step, []*fault) {
	if n.kind != listNode {
		return nil, []*fault{faultf(n.at, "transformations must be a list, not %s", n.kind)}
	}
	if depth > MaxDepth {
		return nil, []*fault{faultf(n.at, "transformations are nested more than %d levels deep", MaxDepth)}
	}
	var steps []*step
	var faults []*fault
	for _, c := range n.list {
		s, fs := readStep(c, depth)
		steps, faults = append(steps, s), append(faults, fs...)
	}
	return steps, faults
}

// params reads the parameters of a transformation or condition, each once.
type params struct {
	n     *node
	what  string
	known []string
	fault *fault
}

func (p *params) get(key string) *node {
	p.known = append(p.known, key)
	return p.n.get(key)
}

func (p *params) text(key, otherwise string, needed bool) string {
	v := p.get(key)
	switch {
	case v == nil && needed:
		p.fail(p.n.at, "%s needs %s", p.what, key)
	case v == nil:
	case v.kind != scalarNode:
		p.fail(v.at, "%s must be a single value, not %s", key, v.kind)
	default:
		return v.text
	}
	return otherwise
}

func (p *params) flag(key string) bool {
	switch s := p.text(key, "false", false); s {
	case "true", "True":
		return true
	case "false", "False":
	default:
		p.fail(p.n.get(key).at, "%s takes true or false, not %q", key, s)
	}
	return false
}

func (p *params) list(key string, needed bool) []string {
	v := p.get(key)
	if v == nil {
		if needed {
			p.fail(p.n.at, "%s needs %s", p.what, key)
		}
		return nil
	}
	nodes, f := scalars(v, key)
	if f != nil && p.fault == nil {
		p.fault = f
	}
	var out []string
	for _, n := range nodes {
		out = append(out, n.text)
	}
	return out
}

// table reads a map of texts to texts or lists of them.
func (p *params) table(key string) map[string][]string {
	v := p.get(key)
	if v == nil || v.kind != mapNode {
		p.fail(p.n.at, "%s needs the map %s", p.what, key)
		return nil
	}
	out := map[string][]string{}
	for _, k := range v.keys {
		nodes, f := scalars(k.value, k.key)
		if f != nil {
			p.fail(f.at, "%s", f.msg)
			return nil
		}
		for _, n := range nodes {
			out[k.key] = append(out[k.key], n.text)
		}
	}
	return out
}

func (p *params) pattern(key string) *regexp.Regexp {
	s := p.text(key, "", true)
	re, err := regexp.Compile(s)
	if err != nil {
		p.fail(p.n.get(key).at, "%s: %v", key, err)
		return regexp.MustCompile("")
	}
	return re
}

func (p *params) fail(at place, format string, args ...any) {
	if p.fault == nil {
		p.fault = faultf(at, format, args...)
	}
}

// rest refuses keys that nothing has asked for.
func (p *params) rest() *fault {
	if p.fault != nil {
		return p.fault
	}
	for _, k := range p.n.keys {
		if !slices.Contains(p.known, k.key) {
			return faultf(k.at, "unknown key %q in %s", k.key, p.what).withHint("known are %s", strings.Join(p.known, ", "))
		}
	}
	return nil
}

func readStep(n *node, depth int) (*step, []*fault) {
	if n.kind != mapNode {
		return nil, []*fault{faultf(n.at, "a transformation must be a map, not %s", n.kind)}
	}
	p := &params{n: n, what: "the transformation"}
	s := &step{at: n.at}
	s.kind = p.text("type", "", true)
	if p.fault != nil {
		return nil, []*fault{p.fault}
	}
	p.what = s.kind
	s.id = p.text("id", "", false)
	at := n.get("type").at
	if hint, ok := unsupported[s.kind]; ok {
		f := faultf(at, "the transformation %s is not supported", s.kind)
		if hint != "" {
			f = f.withHint("%s", hint)
		}
		return nil, []*fault{f}
	}
	make := transformations[s.kind]
	if s.kind == "nest" {
		items := p.get("items")
		if items == nil {
			return nil, []*fault{faultf(at, "nest needs items")}
		}
		steps, faults := readSteps(items, depth+1)
		if len(faults) > 0 {
			return nil, faults
		}
		s.nested = steps
	} else if make == nil {
		return nil, []*fault{faultf(at, "unknown transformation %q", s.kind)}
	} else {
		make(s, p)
	}
	s.rule.test = readGate(p, "rule", ruleCondition)
	s.item.test = readGate(p, "detection_item", itemCondition)
	s.field.test = readGate(p, "field_name", fieldCondition)
	if f := p.rest(); f != nil {
		return nil, []*fault{f}
	}
	return s, nil
}

// readGate reads the conditions of one kind with their joining: a list or a map,
// …_cond_op, …_cond_not, and …_cond_expr over the names of the map.
func readGate[S any](p *params, kind string, read func(*params) func(S) bool) func(S) bool {
	n := p.get(kind + "_conditions")
	op := p.text(kind+"_cond_op", "and", false)
	negated := p.flag(kind + "_cond_not")
	expression := p.get(kind + "_cond_expr")
	if op != "and" && op != "or" {
		p.fail(p.n.at, "%s_cond_op takes and or or, not %q", kind, op)
	}
	if n == nil || len(n.list)+len(n.keys) == 0 {
		if expression != nil {
			p.fail(expression.at, "%s_cond_expr needs %s_conditions", kind, kind)
		}
		return nil
	}
	var names []string
	var tests []func(S) bool
	add := func(name string, c *node) {
		if c.kind != mapNode {
			p.fail(c.at, "a condition must be a map, not %s", c.kind)
			return
		}
		sub := &params{n: c, what: "the condition"}
		sub.what = sub.text("type", "", true)
		test := read(sub)
		if test == nil && sub.fault == nil {
			sub.fail(c.get("type").at, "unknown %s condition %q", strings.ReplaceAll(kind, "_", " "), sub.what)
		}
		if f := sub.rest(); f != nil && p.fault == nil {
			p.fault = f
		}
		names, tests = append(names, name), append(tests, test)
	}
	for i, c := range n.list {
		add(strconv.Itoa(i), c)
	}
	for _, k := range n.keys {
		add(k.key, k.value)
	}
	if p.fault != nil {
		return nil
	}
	joined := func(s S) bool {
		for _, t := range tests {
			if t(s) != (op == "and") {
				return op == "or"
			}
		}
		return op == "and"
	}
	if expression != nil {
		e, at := p.expression(expression, names)
		if p.fault != nil {
			return nil
		}
		var eval func(x *expr, s S) bool
		eval = func(x *expr, s S) bool {
			switch x.op {
			case opItem:
				return tests[at[x]](s)
			case opNot:
				return !eval(x.kids[0], s)
			}
			for _, k := range x.kids {
				if eval(k, s) != (x.op == opAnd) {
					return x.op == opOr
				}
			}
			return x.op == opAnd
		}
		joined = func(s S) bool { return eval(e, s) }
	}
	return func(s S) bool { return joined(s) != negated }
}

// expression reads a condition over names, all of which it must use.
func (p *params) expression(n *node, names []string) (*expr, map[*expr]int) {
	c := conditionParser{names: names, searches: map[string]*expr{}, used: map[string]bool{}, end: n.at}
	at := map[*expr]int{}
	for i, name := range names {
		e := &expr{op: opItem}
		c.searches[name], at[e] = e, i
	}
	var f *fault
	if c.words, f = splitCondition(n); f == nil {
		var e *expr
		if e, f = c.parse(); f == nil {
			if left := c.unused(); len(left) > 0 {
				f = faultf(n.at, "the expression does not name %s", strings.Join(left, ", "))
			} else {
				return e, at
			}
		}
	}
	if p.fault == nil {
		p.fault = f
	}
	return nil, nil
}

// compareState is processing_state and rule_attribute's comparison: by number if
// both are numbers, else as text.
func compareTexts(a, op, b string) bool {
	c := strings.Compare(a, b)
	if x, ok := parseNumber(a); ok {
		if y, ok := parseNumber(b); ok {
			c = compareNumbers(x, y)
		}
	}
	switch op {
	case "ne":
		return c != 0
	case "gte":
		return c >= 0
	case "gt":
		return c > 0
	case "lte":
		return c <= 0
	case "lt":
		return c < 0
	}
	return c == 0
}

func (p *params) op(more ...string) string {
	op := p.text("op", "eq", false)
	if known := append([]string{"eq", "ne", "gte", "gt", "lte", "lt"}, more...); !slices.Contains(known, op) {
		p.fail(p.n.at, "unknown comparison %q", op)
	}
	return op
}

// stateCondition is processing_state.
func (p *params) stateCondition() func(*transformer) bool {
	key, val, op := p.text("key", "", true), p.text("val", "", true), p.op()
	return func(t *transformer) bool {
		have, ok := t.state[key]
		return ok && compareTexts(have, op, val)
	}
}

func ruleCondition(p *params) func(ruleSubject) bool {
	switch p.what {
	case "logsource":
		l := LogSource{Category: p.text("category", "", false), Product: p.text("product", "", false), Service: p.text("service", "", false)}
		return func(s ruleSubject) bool {
			if s.t.correlation == nil {
				return l.covers(s.t.rule.LogSource)
			}
			return slices.ContainsFunc(s.t.sources, l.covers)
		}
	case "contains_field":
		field := p.text("field", "", true)
		return func(s ruleSubject) bool {
			return slices.ContainsFunc(s.t.rule.items, func(it *item) bool { return it.field == field })
		}
	case "contains_detection_item":
		field, value := p.text("field", "", true), p.text("value", "", true)
		return func(s ruleSubject) bool {
			return slices.ContainsFunc(s.t.rule.items, func(it *item) bool {
				return it.field == field && slices.ContainsFunc(it.nodes, func(n *node) bool { return n.kind == scalarNode && n.text == value })
			})
		}
	case "processing_item_applied":
		id := p.text("processing_item_id", "", true)
		return func(s ruleSubject) bool { return s.t.applied[id] }
	case "processing_state":
		test := p.stateCondition()
		return func(s ruleSubject) bool { return test(s.t) }
	case "is_sigma_rule":
		return func(s ruleSubject) bool { return s.t.correlation == nil }
	case "is_sigma_correlation_rule":
		return func(s ruleSubject) bool { return s.t.correlation != nil }
	case "tag":
		tag := p.text("tag", "", true)
		return func(s ruleSubject) bool { return slices.Contains(s.t.rule.Tags, tag) }
	case "rule_attribute":
		name, value, op := p.text("attribute", "", true), p.text("value", "", true), p.op("in", "not_in")
		return p.attribute(name, value, op)
	}
	return nil
}

func (p *params) attribute(name, value, op string) func(ruleSubject) bool {
	lists := map[string]func(*Rule) []string{
		"tags": func(r *Rule) []string { return r.Tags }, "references": func(r *Rule) []string { return r.References },
		"falsepositives": func(r *Rule) []string { return r.FalsePositives },
	}
	if get := lists[name]; get != nil {
		return func(s ruleSubject) bool {
			in := slices.Contains(get(s.t.rule), value)
			return op == "in" && in || op == "not_in" && !in || op == "ne"
		}
	}
	texts := map[string]func(*Rule) string{
		"title": func(r *Rule) string { return r.Title }, "id": func(r *Rule) string { return r.ID }, "name": func(r *Rule) string { return r.Name },
		"description": func(r *Rule) string { return r.Description }, "author": func(r *Rule) string { return r.Author },
		"date": func(r *Rule) string { return r.Date }, "modified": func(r *Rule) string { return r.Modified },
		"license": func(r *Rule) string { return r.License },
		"level":   func(r *Rule) string { return rank(levels, r.Level) }, "status": func(r *Rule) string { return rank(statusOrder, r.Status) },
	}
	get := texts[name]
	switch {
	case get == nil:
		p.fail(p.n.at, "unknown rule attribute %q", name)
	case op == "in" || op == "not_in":
		p.fail(p.n.at, "the rule attribute %s is no list", name)
	case name == "level" || name == "status":
		value = rank(map[string][]string{"level": levels, "status": statusOrder}[name], strings.ToLower(value))
		if value == "" {
			p.fail(p.n.at, "unknown %s", name)
		}
	}
	return func(s ruleSubject) bool {
		have := get(s.t.rule)
		return have != "" && compareTexts(have, op, value)
	}
}

// statusOrder is pySigma's, from the least to the most mature.
var statusOrder = []string{"unsupported", "deprecated", "experimental", "test", "stable"}

func rank(order []string, word string) string {
	if i := slices.Index(order, word); i >= 0 {
		return strconv.Itoa(i)
	}
	return ""
}

// ofValues makes a condition on an item's values: any or all of them.
func (p *params) ofValues(test func(it *item, n *node) bool) func(itemSubject) bool {
	cond := p.text("cond", "any", false)
	if cond != "any" && cond != "all" {
		p.fail(p.n.at, "cond takes any or all, not %q", cond)
	}
	return func(s itemSubject) bool {
		for _, n := range s.it.nodes {
			if test(s.it, n) != (cond == "all") {
				return cond == "any"
			}
		}
		return cond == "all"
	}
}

func itemCondition(p *params) func(itemSubject) bool {
	switch p.what {
	case "match_string":
		re, negate := p.pattern("pattern"), p.flag("negate")
		re = anchored(re)
		return p.ofValues(func(it *item, n *node) bool { return (it.holdsText(n) && re.MatchString(plainText(n.text))) != negate })
	case "match_value":
		value := p.text("value", "", true)
		return p.ofValues(func(_ *item, n *node) bool { return n.kind == scalarNode && n.text == value })
	case "contains_wildcard":
		return p.ofValues(func(it *item, n *node) bool {
			if !it.holdsText(n) {
				return false
			}
			_, plain := parsePattern(n.text).plain()
			return !plain || slices.ContainsFunc(it.chain.names, func(m string) bool { return m == "contains" || m == "startswith" || m == "endswith" })
		})
	case "is_null":
		return p.ofValues(func(_ *item, n *node) bool { return n.kind == nullNode })
	case "processing_item_applied":
		id := p.text("processing_item_id", "", true)
		return func(s itemSubject) bool { return slices.Contains(s.t.touched[s.it], id) }
	case "processing_state":
		test := p.stateCondition()
		return func(s itemSubject) bool { return test(s.t) }
	}
	return nil
}

// anchored makes a pattern match only at the start, as Python's re.match does.
func anchored(re *regexp.Regexp) *regexp.Regexp {
	return regexp.MustCompile(`\A(?:` + re.String() + `)`)
}

func fieldCondition(p *params) func(fieldSubject) bool {
	switch p.what {
	case "include_fields", "exclude_fields":
		exclude := p.what == "exclude_fields"
		fields, mode := p.list("fields", true), p.text("mode", "plain", false)
		var patterns []*regexp.Regexp
		switch mode {
		case "plain":
		case "re":
			for _, f := range fields {
				re, err := regexp.Compile(f)
				if err != nil {
					p.fail(p.n.at, "fields: %v", err)
					return nil
				}
				patterns = append(patterns, anchored(re))
			}
		default:
			p.fail(p.n.at, "mode takes plain or re, not %q", mode)
		}
		return func(s fieldSubject) bool {
			in := s.name != "" && (mode == "plain" && slices.Contains(fields, s.name) ||
				slices.ContainsFunc(patterns, func(re *regexp.Regexp) bool { return re.MatchString(s.name) }))
			return in != exclude
		}
	case "processing_item_applied":
		id := p.text("processing_item_id", "", true)
		return func(s fieldSubject) bool { return slices.Contains(s.applied, id) }
	case "processing_state":
		test := p.stateCondition()
		return func(s fieldSubject) bool { return test(s.t) }
	}
	return nil
}

// holdsText reports whether a value of the item is text that is compared as a
// Sigma string, rather than a regular expression, a network and the like.
func (it *item) holdsText(n *node) bool {
	return n.kind == scalarNode && !slices.ContainsFunc(it.chain.names, func(m string) bool {
		switch m {
		case "contains", "startswith", "endswith", "windash", "expand":
			return false
		}
		return true
	})
}

// plainText is a value without its escapes; wildcards are * and ?.
func plainText(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) && strings.IndexByte(`\*?`, s[i+1]) >= 0 {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// escapedText is the inverse as pySigma has it: * and ? stay wildcards unless a
// backslash stands before them, other backslashes are themselves.
func escapedText(s string) string {
	var b strings.Builder
	for i := range len(s) {
		b.WriteByte(s[i])
		if s[i] == '\\' && (i+1 == len(s) || s[i+1] != '*' && s[i+1] != '?') {
			b.WriteByte('\\')
		}
	}
	return b.String()
}

// replaceIn replaces in a value as it is written without its escapes. A wildcard
// at its end stays one, whatever comes to stand before it.
func replaceIn(text string, re *regexp.Regexp, to string) (string, bool) {
	plain := plainText(text)
	if !re.MatchString(plain) {
		return "", false
	}
	out := re.ReplaceAllString(plain, to)
	if body, ok := strings.CutSuffix(out, "*"); ok && endsOpen(text) {
		return escapedText(body) + "*", true
	}
	return escapedText(out), true
}

// endsOpen reports whether a value ends in a wildcard for any text.
func endsOpen(text string) bool {
	p := parsePattern(text)
	return len(p.elems) > 0 && p.elems[len(p.elems)-1].kind == anyElem
}

// opened is the item with the wildcards of contains, startswith and endswith
// written into its values, in place of the modifiers.
func (it *item) opened() *item {
	own := *it
	own.chain.names, own.nodes = nil, nil
	front, back := false, false
	for _, name := range it.chain.names {
		switch name {
		case "contains":
			front, back = true, true
		case "startswith":
			back = true
		case "endswith":
			front = true
		default:
			own.chain.names = append(own.chain.names, name)
		}
	}
	for _, n := range it.nodes {
		if !it.holdsText(n) || !front && !back {
			own.nodes = append(own.nodes, n)
			continue
		}
		text := n.text
		if p := parsePattern(text); front && (len(p.elems) == 0 || p.elems[0].kind != anyElem) {
			text = "*" + text
		}
		if back && !endsOpen(text) {
			if (len(text)-len(strings.TrimRight(text, `\`)))%2 == 1 {
				text += `\` // or it would take the wildcard's meaning away
			}
			text += "*"
		}
		own.nodes = append(own.nodes, &node{kind: scalarNode, at: n.at, text: text, plain: 's'})
	}
	return &own
}

// transformations read what each type needs and say what it does.
var transformations map[string]func(*step, *params)

func init() {
	transformations = map[string]func(*step, *params){
		"field_name_mapping": func(s *step, p *params) {
			table := p.table("mapping")
			s.rename = func(name string) ([]string, bool) { to, ok := table[name]; return to, ok }
		},
		"field_name_prefix_mapping": func(s *step, p *params) {
			table := p.table("mapping")
			var prefixes []string
			if m := p.n.get("mapping"); m != nil {
				for _, k := range m.keys {
					prefixes = append(prefixes, k.key)
				}
			}
			s.rename = func(name string) (out []string, ok bool) {
				for _, from := range prefixes {
					if rest, ok := strings.CutPrefix(name, from); ok {
						for _, to := range table[from] {
							out = append(out, to+rest)
						}
						return out, true
					}
				}
				return nil, false
			}
		},
		"field_name_prefix": func(s *step, p *params) {
			prefix := p.text("prefix", "", true)
			s.rename = func(name string) ([]string, bool) { return []string{prefix + name}, true }
		},
		"field_name_suffix": func(s *step, p *params) {
			suffix := p.text("suffix", "", true)
			s.rename = func(name string) ([]string, bool) { return []string{name + suffix}, true }
		},
		"drop_detection_item": func(s *step, _ *params) {
			s.apply = func(t *transformer, s *step) *fault {
				return t.items(s, func(*item) (*expr, *fault) { return nil, nil })
			}
		},
		"detection_item_failure": func(s *step, p *params) {
			message := p.text("message", "", true)
			s.apply = func(t *transformer, s *step) *fault {
				return t.items(s, func(it *item) (*expr, *fault) {
					return nil, faultf(it.at, "refused by the pipeline: %s", message)
				})
			}
		},
		"rule_failure": func(s *step, p *params) {
			message := p.text("message", "", true)
			s.apply = func(t *transformer, _ *step) *fault {
				return faultf(place{t.rule.Line, 1}, "refused by the pipeline: %s", message)
			}
			s.fieldsOfRules = true
		},
		"set_state": func(s *step, p *params) {
			key, val := p.text("key", "", true), p.text("val", "", true)
			s.apply = func(t *transformer, _ *step) *fault { t.state[key] = val; return nil }
			s.fieldsOfRules = true
		},
		"change_logsource": func(s *step, p *params) {
			l := LogSource{Category: p.text("category", "", false), Product: p.text("product", "", false), Service: p.text("service", "", false)}
			m, err := logsource.New(l.Category, l.Product, l.Service)
			if err != nil {
				p.fail(p.n.at, "%v", err)
			}
			s.apply = func(t *transformer, _ *step) *fault {
				l.Definition = t.rule.LogSource.Definition
				t.rule.LogSource, t.rule.fields = l, m
				return nil
			}
		},
		"add_condition": addCondition,
		"replace_string": func(s *step, p *params) {
			re, to := p.pattern("regex"), goReplacement(p.text("replacement", "", true))
			if p.flag("skip_special") {
				p.fail(p.n.get("skip_special").at, "skip_special is not supported")
			}
			if p.flag("interpret_special") {
				p.fail(p.n.get("interpret_special").at, "interpret_special is not supported")
			}
			// As in pySigma the wildcards that modifiers add are part of the value:
			// the modifiers are used up by then.
			s.apply = func(t *transformer, s *step) *fault {
				return t.items(s, func(it *item) (*expr, *fault) {
					open := it.opened()
					alternatives, same := make([][]*node, len(it.nodes)), true
					for i, n := range open.nodes {
						alternatives[i] = []*node{n}
						if !it.holdsText(n) {
							continue
						}
						if text, ok := replaceIn(n.text, re, to); ok {
							alternatives[i] = []*node{{kind: scalarNode, at: n.at, text: text, plain: 's'}}
							same = false
						}
					}
					if same {
						return &expr{op: opItem, item: it}, nil
					}
					return open.withValues(alternatives)
				})
			}
		},
		"map_string": func(s *step, p *params) {
			table := p.table("mapping")
			s.values(func(_ *transformer, it *item, n *node) ([]string, bool, *fault) {
				if !it.holdsText(n) {
					return nil, false, nil
				}
				to, ok := table[plainText(n.text)]
				return to, ok, nil
			})
		},
		"set_value": func(s *step, p *params) {
			value := p.text("value", "", true)
			_ = p.text("force_type", "", false) // numbers and text are compared alike
			s.values(func(*transformer, *item, *node) ([]string, bool, *fault) { return []string{value}, true, nil })
		},
		"value_placeholders":    placeholderStep(false),
		"wildcard_placeholders": placeholderStep(true),
	}
}

// goReplacement turns Python's group references into Go's.
func goReplacement(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '$':
			b.WriteString("$$")
		case s[i] != '\\' || i+1 == len(s):
			b.WriteByte(s[i])
		case s[i+1] >= '0' && s[i+1] <= '9':
			j := i + 1
			for j < len(s) && j < i+3 && s[j] >= '0' && s[j] <= '9' {
				j++
			}
			fmt.Fprintf(&b, "${%s}", s[i+1:j])
			i = j - 1
		case strings.HasPrefix(s[i+1:], "g<") && strings.Contains(s[i:], ">"):
			end := i + strings.Index(s[i:], ">")
			fmt.Fprintf(&b, "${%s}", s[i+3:end])
			i = end
		default:
			i++
			b.WriteByte(s[i])
		}
	}
	return b.String()
}

func addCondition(s *step, p *params) {
	n := p.get("conditions")
	negated, template := p.flag("negated"), p.flag("template")
	_ = p.text("name", "", false) // the condition's searches have names of their own
	if n == nil || n.kind != mapNode || len(n.keys) == 0 {
		p.fail(p.n.at, "add_condition needs the map conditions")
		return
	}
	s.apply = func(t *transformer, _ *step) *fault {
		c := n
		if template {
			l := t.rule.LogSource
			c = substituted(n, strings.NewReplacer("${category}", l.Category, "$category", l.Category, "${product}", l.Product,
				"$product", l.Product, "${service}", l.Service, "$service", l.Service, "$$", "$"))
		}
		other := &Rule{File: t.rule.File, Title: t.rule.Title}
		e, f := other.searchMap("conditions", c)
		if f != nil {
			return f
		}
		other.conditions = []*expr{e}
		t.rule.restrict(other, negated)
		t.renumber()
		return nil
	}
}

func substituted(n *node, by *strings.Replacer) *node {
	c := *n
	c.text = by.Replace(n.text)
	c.list, c.keys = nil, nil
	for _, k := range n.list {
		c.list = append(c.list, substituted(k, by))
	}
	for _, k := range n.keys {
		c.keys = append(c.keys, pair{k.key, k.at, substituted(k.value, by)})
	}
	return &c
}

// values makes a step that replaces values of items. change returns what stands
// for a value, any of several, and whether it differs.
func (s *step) values(change func(*transformer, *item, *node) ([]string, bool, *fault)) {
	s.apply = func(t *transformer, s *step) *fault {
		return t.items(s, func(it *item) (*expr, *fault) {
			same := true
			alternatives := make([][]*node, len(it.nodes))
			for i, n := range it.nodes {
				texts, ok, f := change(t, it, n)
				if f != nil {
					return nil, f
				}
				if !ok {
					alternatives[i] = []*node{n}
					continue
				}
				same = false
				for _, text := range texts {
					alternatives[i] = append(alternatives[i], &node{kind: scalarNode, at: n.at, text: text, plain: 's'})
				}
			}
			if same {
				return &expr{op: opItem, item: it}, nil
			}
			return it.withValues(alternatives)
		})
	}
}

// withValues is the item with other values: alternatives for each that it had.
func (it *item) withValues(alternatives [][]*node) (*expr, *fault) {
	var kids []*expr
	for _, alts := range alternatives {
		// Values that still have placeholders part from those that have none.
		var parts [2][]*node
		for _, n := range alts {
			i := 0
			if _, found := parsePattern(n.text).placeholders(); it.expands() && n.kind == scalarNode && found {
				i = 1
			}
			parts[i] = append(parts[i], n)
		}
		var either []*expr
		for i, nodes := range parts {
			if len(nodes) == 0 {
				continue
			}
			own := *it
			own.nodes, own.all, own.neq = nodes, false, false
			if i == 0 {
				own.chain.names = slices.DeleteFunc(slices.Clone(it.chain.names), func(m string) bool { return m == "expand" })
			}
			var f *fault
			if own.values, f = own.resolve(nil); f != nil {
				return nil, f
			}
			either = append(either, &expr{op: opItem, item: &own})
		}
		kids = append(kids, join(opOr, either))
	}
	op := opOr
	if it.all {
		op = opAnd
	}
	joined := join(op, kids)
	if it.neq {
		joined = &expr{op: opNot, kids: []*expr{joined}}
	}
	return joined, nil
}

var placeholderName = regexp.MustCompile(`%([^%\s]+)%`)

func placeholderStep(wildcard bool) func(*step, *params) {
	return func(s *step, p *params) {
		include, exclude := p.list("include", false), p.list("exclude", false)
		if include != nil && exclude != nil {
			p.fail(p.n.at, "%s takes include or exclude, not both", s.kind)
		}
		s.values(func(t *transformer, it *item, n *node) ([]string, bool, *fault) {
			if !it.expands() || n.kind != scalarNode {
				return nil, false, nil
			}
			out := []string{""}
			rest, changed := n.text, false
			for {
				m := placeholderName.FindStringSubmatchIndex(rest)
				if m == nil {
					break
				}
				name := rest[m[2]:m[3]]
				values := []string{rest[m[0]:m[1]]}
				if include == nil && !slices.Contains(exclude, name) || slices.Contains(include, name) {
					changed = true
					if values = t.vars[name]; wildcard {
						values = []string{"*"}
					}
					if len(values) == 0 {
						return nil, false, faultf(n.at, "the pipeline has no variable for the placeholder %q", name)
					}
				}
				if len(out)*len(values) > MaxExpansions {
					return nil, false, faultf(n.at, "the value stands for more than %d alternatives", MaxExpansions)
				}
				var next []string
				for _, o := range out {
					for _, v := range values {
						next = append(next, o+rest[:m[0]]+v)
					}
				}
				out, rest = next, rest[m[1]:]
			}
			for i := range out {
				out[i] += rest
			}
			return out, changed, nil
		})
	}
}

// items replaces the items that the step's conditions choose.
func (t *transformer) items(s *step, change func(*item) (*expr, *fault)) *fault {
	var fault *fault
	done := map[*item]*expr{}
	replace := func(it *item) *expr {
		if e, ok := done[it]; ok {
			return e
		}
		e := &expr{op: opItem, item: it}
		if s.item.open(itemSubject{t, it}) && s.field.open(fieldSubject{t, it.field, it, t.touched[it]}) && fault == nil {
			if e, fault = change(it); e != nil && s.id != "" {
				rewrite(e, func(own *item) *expr {
					t.touched[own] = append(slices.Clone(t.touched[it]), s.id)
					return &expr{op: opItem, item: own}
				})
			}
		}
		done[it] = e
		return e
	}
	var conditions []*expr
	for _, c := range t.rule.conditions {
		if c = rewrite(c, replace); c != nil {
			conditions = append(conditions, c)
		}
	}
	if fault != nil {
		return fault
	}
	if len(conditions) == 0 {
		return faultf(place{t.rule.Line, 1}, "the pipeline leaves nothing of the rule")
	}
	t.rule.conditions = conditions
	t.renumber()
	return nil
}

// renumber collects the items of a rule again and numbers them in order.
func (t *transformer) renumber() {
	r := t.rule
	r.items = nil
	seen := map[*item]bool{}
	for _, c := range r.conditions {
		rewrite(c, func(it *item) *expr {
			if !seen[it] {
				seen[it] = true
				it.order = len(r.items)
				r.items = append(r.items, it)
			}
			return &expr{op: opItem, item: it}
		})
	}
}

// run makes a step, if its conditions hold, on a rule or a correlation.
func (t *transformer) run(s *step) *fault {
	if !s.rule.open(ruleSubject{t}) {
		return nil
	}
	switch {
	case s.nested != nil:
		for _, n := range s.nested {
			if f := t.run(n); f != nil {
				return f
			}
		}
	case s.rename != nil && t.correlation != nil:
		if f := t.renameCorrelation(s); f != nil {
			return f
		}
	case s.rename != nil:
		if f := t.renameItems(s); f != nil {
			return f
		}
	case t.correlation == nil || s.fieldsOfRules:
		if f := s.apply(t, s); f != nil {
			return f
		}
	}
	if s.id != "" {
		t.applied[s.id] = true
	}
	return nil
}

// renameItems gives fields other names; several names for one field are
// alternatives.
func (t *transformer) renameItems(s *step) *fault {
	return t.items(s, func(it *item) (*expr, *fault) {
		base := it
		if slices.Contains(it.chain.names, "fieldref") {
			own := *it
			own.nodes = slices.Clone(it.nodes)
			for i, n := range own.nodes {
				to, ok := s.rename(n.text)
				if !ok || !s.field.open(fieldSubject{t, n.text, it, nil}) {
					continue
				}
				if len(to) != 1 {
					return nil, faultf(n.at, "fieldref %s cannot stand for several fields", n.text)
				}
				own.nodes[i] = &node{kind: scalarNode, at: n.at, text: to[0], plain: 's'}
			}
			var f *fault
			if own.values, f = own.resolve(nil); f != nil {
				return nil, f
			}
			base = &own
		}
		if it.field == "" {
			return &expr{op: opItem, item: it}, nil
		}
		names, ok := s.rename(it.field)
		if !ok {
			return &expr{op: opItem, item: base}, nil
		}
		var kids []*expr
		for _, name := range names {
			own := *base
			own.field = name
			kids = append(kids, &expr{op: opItem, item: &own})
		}
		return join(opOr, kids), nil
	})
}

// renameCorrelation gives the fields that a correlation reads other names.
func (t *transformer) renameCorrelation(s *step) *fault {
	c := t.correlation
	isAlias := func(name string) bool {
		return slices.ContainsFunc(c.aliases, func(a aliasPair) bool { return a.alias == name })
	}
	rename := func(name string) []string {
		if to, ok := s.rename(name); ok && !isAlias(name) && !slices.Contains(PseudoFields[:], name) && s.field.open(fieldSubject{t: t, name: name}) {
			return to
		}
		return []string{name}
	}
	var groupBy []string
	for _, g := range c.GroupBy {
		groupBy = append(groupBy, rename(g)...)
	}
	fields := slices.Clone(c.Fields)
	for i, f := range fields {
		to := rename(f)
		if len(to) != 1 {
			return faultf(place{t.rule.Line, 1}, "the field %s of a correlation cannot stand for several fields", f)
		}
		fields[i] = to[0]
	}
	for i, a := range c.aliases {
		if to, ok := s.rename(a.field); ok && s.field.open(fieldSubject{t: t, name: a.field}) {
			if len(to) != 1 {
				return faultf(a.at, "the field %s of an alias cannot stand for several fields", a.field)
			}
			c.aliases[i].field = to[0]
		}
	}
	c.GroupBy, c.Fields = groupBy, fields
	return nil
}

// Transform applies the filters to the rules they are for, then the pipelines,
// in the order of their priority, to every rule and correlation. A rule that
// cannot go through is left out and an *Error, as is a name in a filter that
// nothing has.
func (c *Collection) Transform(pipelines []*Pipeline, polarity Polarity) []error {
	errs := applyFilters(c.Filters, c.Rules, polarity)
	if len(pipelines) == 0 {
		return errs
	}
	pipelines = slices.Clone(pipelines)
	slices.SortStableFunc(pipelines, func(a, b *Pipeline) int { return cmp.Compare(a.Priority, b.Priority) })
	vars := map[string][]string{}
	for _, p := range pipelines {
		for k, v := range p.vars {
			vars[k] = v
		}
	}
	sources := map[string]LogSource{}
	for _, r := range c.Rules {
		for _, name := range []string{r.Name, r.ID} {
			if name != "" {
				sources[name] = r.LogSource
			}
		}
	}
	through := func(r *Rule, x *Correlation) bool {
		t := &transformer{rule: r, correlation: x, state: map[string]string{}, applied: map[string]bool{}, touched: map[*item][]string{}, vars: vars}
		if x != nil {
			for _, ref := range x.refs {
				if l, ok := sources[ref.text]; ok {
					t.sources = append(t.sources, l)
				}
			}
		}
		for _, p := range pipelines {
			for _, s := range p.steps {
				if f := t.run(s); f != nil {
					errs = append(errs, &Error{File: r.File, Rule: r.Title, Line: f.at.line, Column: f.at.column, Msg: f.msg, Hint: "pipeline " + p.File})
					return false
				}
			}
		}
		return true
	}
	c.Rules = slices.DeleteFunc(c.Rules, func(r *Rule) bool { return !through(r, nil) })
	c.Correlations = slices.DeleteFunc(c.Correlations, func(x *Correlation) bool { return !through(x.Rule, x) })
	return errs
}
