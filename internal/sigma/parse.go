package sigma

import (
	"regexp"
	"slices"
	"sort"
	"strings"

	"ashiato/internal/sigma/logsource"
)

// levels are Sigma's, in order.
var levels = []string{"informational", "low", "medium", "high", "critical"}

var statuses = []string{"stable", "test", "experimental", "deprecated", "unsupported"}

// knownKeys are the top-level keys that the specification or this project
// gives a meaning to.
var knownKeys = []string{
	"title", "id", "name", "related", "taxonomy", "status", "description", "license", "author", "references", "date",
	"modified", "logsource", "detection", "fields", "falsepositives", "level", "tags", "scope", "ashiato",
	"correlation", "filter", "generate",
}

// Parse reads a rule file, which may hold several YAML documents. It returns
// the rules that are right and an *Error for every other document. The file's
// name is used in messages and kept in the rules; nothing is read from disk.
// Correlations and filters mean nothing without the rules they name, which may
// be in other files: here they are errors, a Collection reads them.
func Parse(file string, data []byte) ([]*Rule, []error) {
	var c Collection
	errs := c.Parse(file, data)
	alone := func(r *Rule, what string) {
		errs = append(errs, &Error{
			File: file, Rule: r.Title, Line: r.Line, Column: 1,
			Msg: "this is a " + what + ", not a rule", Hint: "load it together with the rules that it names",
		})
	}
	for _, x := range c.Correlations {
		alone(x.Rule, "correlation")
	}
	for _, x := range c.Filters {
		alone(x.Rule, "filter")
	}
	return c.Rules, errs
}

// Collection is everything that rule files hold. The zero Collection is empty.
//
// Use: Parse every file, Transform with the pipelines, Compile the Rules, and
// Correlate the Correlations with what was compiled.
type Collection struct {
	Rules        []*Rule
	Correlations []*Correlation
	Filters      []*Filter
}

// Parse adds what a file holds, as the function Parse reads it, and returns an
// *Error for every document that is not right.
func (c *Collection) Parse(file string, data []byte) []error {
	docs, f := readYAML(data)
	var errs []error
	report := func(title string, f *fault) {
		errs = append(errs, &Error{File: file, Rule: title, Line: f.at.line, Column: f.at.column, Msg: f.msg, Hint: f.hint})
	}
	regexes := MaxRegexes
	for _, d := range docs {
		f := c.add(file, d, &regexes)
		if f != nil {
			title := ""
			if d.kind == mapNode {
				for _, key := range []string{"id", "title"} {
					if n := d.get(key); n != nil && n.text != "" {
						title = n.text
					}
				}
			}
			report(title, f)
		}
	}
	if f != nil {
		report("", f)
	}
	if len(docs) == 0 && f == nil {
		report("", faultf(place{1, 1}, "the file holds no rule").withHint("a rule has at least title, logsource and detection"))
	}
	return errs
}

// add reads one document: a rule, a correlation or a filter.
func (c *Collection) add(file string, d *node, regexes *int) *fault {
	if d.kind != mapNode {
		return faultf(d.at, "a rule must be a map, not %s", d.kind)
	}
	var kinds []pair
	for _, p := range d.keys {
		switch p.key {
		case "detection", "correlation", "filter":
			kinds = append(kinds, p)
		case "action":
			return faultf(p.at, "rule collections (action: %s) were dropped by Sigma 2", p.value.text).withHint("write each rule whole")
		}
	}
	if len(kinds) > 1 {
		return faultf(kinds[1].at, "the document holds both %s and %s", kinds[0].key, kinds[1].key).withHint("write two documents, separated by ---")
	}
	for _, p := range d.keys {
		if f := misspelt(p); f != nil {
			return f
		}
	}
	r := &Rule{File: file, Line: d.at.line, Level: "medium", regexes: regexes}
	defer func() { r.regexes = nil }()
	kind := "detection"
	if len(kinds) == 1 {
		kind = kinds[0].key
	}
	steps := []func(*Rule, *node) *fault{readMeta, readTags, readLogSource, readExtension, readDetection}
	switch kind {
	case "correlation":
		steps = []func(*Rule, *node) *fault{readMeta, readTags, readExtension}
		if d.get("level") == nil {
			r.Level = ""
		}
	case "filter":
		steps = []func(*Rule, *node) *fault{readMeta, readTags, readLogSource}
	}
	for _, step := range steps {
		if f := step(r, d); f != nil {
			return f
		}
	}
	switch kind {
	case "correlation":
		x, f := readCorrelation(r, d)
		if f != nil {
			return f
		}
		c.Correlations = append(c.Correlations, x)
	case "filter":
		x, f := readFilter(r, kinds[0].value)
		if f != nil {
			return f
		}
		c.Filters = append(c.Filters, x)
	default:
		c.Rules = append(c.Rules, r)
	}
	return nil
}

// misspelt refuses a key that differs from a known one only in letter case or
// by a missing or added s: it would otherwise count as a free one and be
// ignored.
func misspelt(p pair) *fault {
	for _, k := range knownKeys {
		if p.key != k && (strings.EqualFold(p.key, k) || strings.EqualFold(p.key+"s", k) || strings.EqualFold(p.key, k+"s")) {
			return faultf(p.at, "unknown key %q", p.key).withHint("did you mean %q?", k)
		}
	}
	return nil
}

var uuid = regexp.MustCompile(`^[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}$`)

func readMeta(r *Rule, d *node) *fault {
	single := map[string]*string{
		"title": &r.Title, "id": &r.ID, "name": &r.Name, "status": &r.Status, "description": &r.Description, "author": &r.Author,
		"date": &r.Date, "modified": &r.Modified, "license": &r.License,
	}
	for _, p := range d.keys { // in the order of the file, so that the first fault is told
		to := single[p.key]
		if to == nil || p.value.kind == nullNode {
			continue
		}
		if p.value.kind != scalarNode {
			return faultf(p.value.at, "%s must be a single value, not %s", p.key, p.value.kind)
		}
		*to = p.value.text
	}
	if strings.TrimSpace(r.Title) == "" {
		return faultf(d.at, "the rule has no title").withHint("write title: and what it finds")
	}
	if r.ID != "" && !uuid.MatchString(r.ID) {
		r.warn(d.get("id").at, "the id is not a UUID", "")
	}
	if r.Status != "" && !slices.Contains(statuses, r.Status) {
		r.warn(d.get("status").at, "unknown status "+r.Status, "known are "+strings.Join(statuses, ", "))
	}
	lists := map[string]*[]string{"references": &r.References, "falsepositives": &r.FalsePositives, "tags": &r.Tags}
	for _, p := range d.keys {
		to := lists[p.key]
		if to == nil {
			continue
		}
		list, f := texts(d, p.key)
		if f != nil {
			return f
		}
		*to = list
	}
	if n := d.get("level"); n != nil && n.kind != nullNode {
		if n.kind != scalarNode || !slices.Contains(levels, n.text) {
			return faultf(n.at, "unknown level %q", n.text).withHint("use one of %s", strings.Join(levels, ", "))
		}
		r.Level = n.text
	}
	return nil
}

func (r *Rule) warn(at place, msg, hint string) {
	r.Warnings = append(r.Warnings, &Error{File: r.File, Rule: r.Title, Line: at.line, Column: at.column, Msg: msg, Hint: hint})
}

// texts reads a list of texts, or a single one.
func texts(d *node, key string) ([]string, *fault) {
	n := d.get(key)
	if n == nil || n.kind == nullNode {
		return nil, nil
	}
	list := n.list
	switch n.kind {
	case scalarNode:
		list = []*node{n}
	case mapNode:
		return nil, faultf(n.at, "%s must be a list, not %s", key, n.kind)
	}
	var out []string
	for _, c := range list {
		if c.kind == nullNode {
			continue
		}
		if c.kind != scalarNode {
			return nil, faultf(c.at, "%s must hold texts, not %s", key, c.kind)
		}
		out = append(out, c.text)
	}
	return out, nil
}

var technique = regexp.MustCompile(`^t[0-9]{4}(\.[0-9]{3})?$`)

// attackObject matches tags of ATT&CK groups, software, data sources,
// mitigations and campaigns, which are neither technique nor tactic.
var attackObject = regexp.MustCompile(`^(g|s|ds|m|c)[0-9]{4}$`)

func readTags(r *Rule, _ *node) *fault {
	for _, tag := range r.Tags {
		name, ok := strings.CutPrefix(strings.ToLower(tag), "attack.")
		switch {
		case !ok, attackObject.MatchString(name), name == "":
		case technique.MatchString(name):
			r.Attack = append(r.Attack, strings.ToUpper(name))
		default:
			r.Tactics = append(r.Tactics, strings.ReplaceAll(name, "_", "-"))
		}
	}
	sort.Strings(r.Attack)
	sort.Strings(r.Tactics)
	r.Attack, r.Tactics = slices.Compact(r.Attack), slices.Compact(r.Tactics)
	return nil
}

func readLogSource(r *Rule, d *node) *fault {
	n := d.get("logsource")
	if n == nil {
		return faultf(d.at, "the rule has no logsource").withHint("say which records it is about, as in logsource: {category: process_creation, product: windows}")
	}
	if n.kind != mapNode {
		return faultf(n.at, "logsource must be a map, not %s", n.kind)
	}
	for _, p := range n.keys {
		to := map[string]*string{
			"category": &r.LogSource.Category, "product": &r.LogSource.Product,
			"service": &r.LogSource.Service, "definition": &r.LogSource.Definition,
		}[p.key]
		if to == nil {
			return faultf(p.at, "unknown key %q in logsource", p.key).withHint("known are category, product, service, definition")
		}
		if p.value.kind != scalarNode {
			return faultf(p.value.at, "%s must be a single value, not %s", p.key, p.value.kind)
		}
		*to = p.value.text
	}
	m, err := logsource.New(r.LogSource.Category, r.LogSource.Product, r.LogSource.Service)
	if err != nil {
		return faultf(n.at, "%v", err)
	}
	r.fields = m
	return nil
}

var (
	detectionName = regexp.MustCompile(`^[A-Za-z]+/[A-Za-z0-9]+(\.[A-Za-z0-9]+)+$`)
	behaviourName = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)
)

// readExtension reads the ashiato map, strictly.
func readExtension(r *Rule, d *node) *fault {
	n := d.get("ashiato")
	if n == nil {
		return nil
	}
	if n.kind != mapNode {
		return faultf(n.at, "ashiato must be a map, not %s", n.kind)
	}
	x := &r.Extension
	for _, p := range n.keys {
		switch p.key {
		case "name":
			if !detectionName.MatchString(p.value.text) {
				return faultf(p.value.at, "%q is not a detection name", p.value.text).withHint("write Class/Engine.Subject.Mnnnn")
			}
			x.Name = p.value.text
		case "aliases":
			list, f := texts(n, "aliases")
			if f != nil {
				return f
			}
			x.Aliases = list
		case "behaviour":
			if !behaviourName.MatchString(p.value.text) {
				return faultf(p.value.at, "%q is not a behaviour", p.value.text).withHint("use lower-case letters, digits and hyphens")
			}
			x.Behaviour = p.value.text
		case "texts":
			if f := readTexts(x, p.value); f != nil {
				return f
			}
		default:
			return faultf(p.at, "unknown key %q in ashiato", p.key).withHint("known are name, aliases, behaviour, texts")
		}
	}
	return nil
}

func readTexts(x *Extension, n *node) *fault {
	if n.kind != mapNode {
		return faultf(n.at, "texts must be a map of languages, not %s", n.kind)
	}
	x.Texts = map[string]Text{}
	for _, lang := range n.keys {
		if !slices.Contains([]string{"en", "ja", "ko"}, lang.key) {
			return faultf(lang.at, "unknown language %q in texts", lang.key).withHint("known are en, ja, ko")
		}
		if lang.value.kind != mapNode {
			return faultf(lang.value.at, "the texts of %s must be a map, not %s", lang.key, lang.value.kind)
		}
		var t Text
		parts := map[string]*string{"title": &t.Title, "meaning": &t.Meaning, "why": &t.Why, "check": &t.Check, "benign": &t.Benign, "action": &t.Action}
		for _, p := range lang.value.keys {
			to := parts[p.key]
			if to == nil {
				return faultf(p.at, "unknown key %q in the texts of %s", p.key, lang.key).withHint("known are title, meaning, why, check, benign, action")
			}
			if p.value.kind != scalarNode || strings.TrimSpace(p.value.text) == "" {
				return faultf(p.value.at, "%s must be a text", p.key)
			}
			*to = strings.TrimSpace(p.value.text)
		}
		for _, key := range []string{"title", "meaning", "check", "benign", "action"} {
			if *parts[key] == "" {
				return faultf(lang.at, "the texts of %s have no %s", lang.key, key)
			}
		}
		x.Texts[lang.key] = t
	}
	return nil
}

func readDetection(r *Rule, d *node) *fault {
	n := d.get("detection")
	if n == nil {
		return faultf(d.at, "the rule has no detection")
	}
	if n.kind != mapNode {
		return faultf(n.at, "detection must be a map, not %s", n.kind)
	}
	return r.readSearches(n, "detection", nil)
}

// readSearches reads the searches and the condition of a detection or a filter.
// Keys that are in skip are not searches.
func (r *Rule) readSearches(n *node, what string, skip []string) *fault {
	p := conditionParser{searches: map[string]*expr{}, used: map[string]bool{}}
	var condition *node
	for _, s := range n.keys {
		if slices.Contains(skip, s.key) {
			continue
		}
		switch s.key {
		case "condition":
			condition = s.value
			continue
		case "timeframe":
			return faultf(s.at, "timeframe belongs to the aggregations that Sigma 2 has dropped").withHint("write a correlation rule")
		}
		if s.key == "" || strings.ContainsFunc(s.key, func(c rune) bool { return c > 0x7F || !nameByte(byte(c)) }) {
			return faultf(s.at, "the search name %q may hold only letters, digits, _, - and .", s.key)
		}
		e, f := r.search(s.key, s.value)
		if f != nil {
			return f
		}
		p.names = append(p.names, s.key)
		p.searches[s.key] = e
	}
	if condition == nil || condition.kind == nullNode {
		return faultf(n.at, "the %s has no condition", what)
	}
	list := condition.list
	if condition.kind == scalarNode {
		list = []*node{condition}
	}
	if len(list) == 0 {
		return faultf(condition.at, "condition must be a text or a list of texts, not %s", condition.kind)
	}
	for _, c := range list {
		if c.kind != scalarNode {
			return faultf(c.at, "a condition must be a text, not %s", c.kind)
		}
		words, f := splitCondition(c)
		if f != nil {
			return f
		}
		p.words, p.end = words, place{c.at.line, c.at.column + len(c.text)}
		e, f := p.parse()
		if f != nil {
			return f
		}
		r.conditions = append(r.conditions, e)
	}
	for _, name := range p.unused() {
		r.warn(n.at, "no condition uses the search "+name, "")
	}
	return nil
}

// search reads a search identifier's content.
func (r *Rule) search(name string, n *node) (*expr, *fault) {
	switch n.kind {
	case mapNode:
		return r.searchMap(name, n)
	case scalarNode:
		return r.keywords(n, nil, []*node{n})
	case listNode:
		if len(n.list) == 0 {
			return nil, faultf(n.at, "the search %s is empty", name)
		}
		var kids []*expr
		var words []*node
		for _, c := range n.list {
			switch c.kind {
			case mapNode:
				e, f := r.searchMap(name, c)
				if f != nil {
					return nil, f
				}
				kids = append(kids, e)
			case scalarNode:
				words = append(words, c)
			default:
				return nil, faultf(c.at, "the search %s must hold maps or keywords, not %s", name, c.kind)
			}
		}
		if len(words) > 0 {
			e, f := r.keywords(n, nil, words)
			if f != nil {
				return nil, f
			}
			kids = append(kids, e)
		}
		return join(opOr, kids), nil
	}
	return nil, faultf(n.at, "the search %s is empty", name)
}

func (r *Rule) searchMap(name string, n *node) (*expr, *fault) {
	if len(n.keys) == 0 {
		return nil, faultf(n.at, "the search %s is empty", name)
	}
	var kids []*expr
	for _, p := range n.keys {
		parts := strings.Split(p.key, "|")
		values := []*node{p.value}
		if p.value.kind == listNode {
			values = p.value.list
		}
		var e *expr
		var f *fault
		if parts[0] == "" {
			e, f = r.keywords(&node{at: p.at, kind: p.value.kind}, parts[1:], values)
		} else {
			e, f = r.item(p.at, parts[0], parts[1:], p.value.kind == listNode, values)
		}
		if f != nil {
			return nil, f
		}
		kids = append(kids, e)
	}
	return join(opAnd, kids), nil
}

func (r *Rule) keywords(n *node, modifiers []string, values []*node) (*expr, *fault) {
	return r.item(n.at, "", modifiers, n.kind == listNode, values)
}

func (r *Rule) item(at place, field string, modifiers []string, isList bool, values []*node) (*expr, *fault) {
	what := "the field " + field
	if field == "" {
		what = "the keyword list"
	}
	c, f := readChain(modifiers, at)
	if f != nil {
		return nil, f
	}
	if len(values) == 0 {
		return nil, faultf(at, "%s has no values", what)
	}
	if c.all && len(values) < 2 {
		if !isList {
			return nil, faultf(at, "all needs a list of values").withHint("leave all out")
		}
		r.warn(at, "all on a list of one value has no effect", "leave all out")
	}
	it := &item{at: at, order: len(r.items), field: field, all: c.all, neq: c.neq, chain: c, nodes: values}
	for _, v := range values {
		if v.kind != scalarNode && v.kind != nullNode {
			return nil, faultf(v.at, "%s must hold single values, not %s", what, v.kind)
		}
		if v.kind == nullNode && isList && len(values) > 1 && c.all {
			return nil, faultf(v.at, "null in a list of %s that must all hold can never hold", what)
		}
	}
	left := r.regexes
	if left == nil {
		left = new(int)
		*left = MaxRegexes
	}
	if it.values, f = it.resolveWithin(nil, left); f != nil {
		return nil, f
	}
	r.items = append(r.items, it)
	return &expr{op: opItem, item: it}, nil
}
