package sigma

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"ashiato/internal/event"
)

// Options are what rules need from outside.
type Options struct {
	// Placeholders are the values for |expand, by placeholder name. They may
	// hold wildcards. A rule whose placeholder has no value is refused.
	Placeholders map[string][]string
}

// placeholders is never nil, which would make placeholders stand for themselves.
func (o Options) placeholders() map[string][]string {
	if o.Placeholders == nil {
		return map[string][]string{}
	}
	return o.Placeholders
}

// Engine is a set of rules ready to be evaluated. It is immutable; each
// goroutine takes a Matcher of its own from it.
//
// It is flat: its parts refer to each other by numbers, and to long lists by
// spans, so that it can be written down (codec.go) and read without compiling.
type Engine struct {
	rules  []compiledRule
	tests  []compiledTest
	items  []compiledItem
	code   []instruction
	parts  []int32 // entries of the parts of conditions that have several users
	nodes  []condNode
	kids   []int32 // numbers of nodes
	slots  []slot
	groups []*group
	lists  []int32 // numbers of rules
	arena  []byte  // the literals' texts
	widest int     // the most nodes of a rule

	// What follows from slots.
	names      map[string][]int32 // slots by exact name (and alias)
	alike      map[string][]int32 // slots by spaceless name
	spacedSlot bool               // some slot's own name holds a blank
}

// span is a stretch of one of the Engine's long lists.
type span struct{ from, to uint32 }

func (s span) len() int { return int(s.to - s.from) }

// text returns a literal's text.
func (e *Engine) text(s span) []byte { return e.arena[s.from:s.to:s.to] }

// slot is a field as some rules see it.
type slot struct {
	fieldName
	// exact, tails and exts number the folded whole values, last path components
	// and file extensions that rules compare the slot with.
	exact, tails, exts numbering

	// What follows from the name.
	seed        fieldSeed
	system      bool // the System part may have the name
	systemAlias bool
}

// numbers returns the numbering of a way to evaluate tests, byExact to byExt.
func (s *slot) numbers(h how) *numbering {
	switch h {
	case byTail:
		return &s.tails
	case byExt:
		return &s.exts
	}
	return &s.exact
}

type compiledRule struct {
	rule        *Rule
	entry       int32 // in the code
	first, root int32 // its first node, and that of the whole condition
}

// condNode is a part of a rule's condition, to tell which fields decided it. It
// holds if its code does.
type condNode struct {
	op   opKind
	neq  bool
	part int32 // -1 if the node has one user
	kids span
	// for opItem:
	item  int32
	order int32 // in the rule's text
	field string
}

// cnode is a condNode while its rule is compiled.
type cnode struct {
	op     opKind
	part   int32 // -1 if the node has one user
	shared bool
	effort int     // what evaluating it takes; 0: not known yet
	chance float64 // how likely it is to hold, a guess
	kids   []*cnode
	// witness is what was found in the pass of that number.
	witness witness
	pass    int
	placed  bool
	place   int32 // its number among the Engine's nodes, once it is placed
	// for opItem:
	item  int32
	neq   bool
	order int
	field string
}

// compiler holds what is needed only while compiling.
type compiler struct {
	engine  *Engine
	opt     Options
	roots   []*cnode // by rule
	texts   map[string]span
	slotIDs map[fieldName]int32
	testIDs map[string]int32
	itemIDs map[string]int32
	costs   []float64                // by test: its cost as a witness, 0 if not known yet
	pass    int                      // of choosing witnesses, from 1 on
	used    map[int32]map[int32]bool // by slot: the tests that are witnesses, nil if not known yet
	key     []byte
}

func newEngine() *Engine {
	return &Engine{names: map[string][]int32{}, alike: map[string][]int32{}}
}

// newCompiler returns a compiler for about so many rules.
func newCompiler(opt Options, rules int) *compiler {
	e := newEngine()
	e.rules, e.tests, e.items = make([]compiledRule, 0, rules), make([]compiledTest, 0, 8*rules), make([]compiledItem, 0, 3*rules)
	return &compiler{
		engine: e, opt: opt,
		texts: make(map[string]span, 8*rules), testIDs: make(map[string]int32, 8*rules), itemIDs: make(map[string]int32, 3*rules),
		slotIDs: map[fieldName]int32{},
	}
}

// Compile makes an Engine of the rules. A rule that cannot be used with these
// options, and one whose id an earlier rule has, is an *Error and left out.
func Compile(rules []*Rule, opt Options) (*Engine, []error) {
	c := newCompiler(opt, len(rules))
	var errs []error
	seen := map[string]*Rule{}
	for _, r := range rules {
		if first, ok := seen[r.Key()]; ok {
			errs = append(errs, &Error{
				File: r.File, Rule: r.Title, Line: r.Line, Column: 1,
				Msg:  fmt.Sprintf("the rule's id %s is already used by %s", r.Key(), first.File),
				Hint: "give each rule its own id, or load the file once",
			})
			continue
		}
		if len(r.conditions) == 0 {
			errs = append(errs, &Error{File: r.File, Rule: r.Title, Line: r.Line, Column: 1, Msg: "the rule was read without its conditions, which were compiled before"})
			continue
		}
		resolved, f := r.resolve(opt)
		if f != nil {
			errs = append(errs, &Error{File: r.File, Rule: r.Title, Line: f.at.line, Column: f.at.column, Msg: f.msg, Hint: f.hint})
			continue
		}
		seen[r.Key()] = r
		c.add(r, resolved)
	}
	c.index()
	return c.engine, errs
}

// Rules returns the rules that were compiled, in order.
func (e *Engine) Rules() []*Rule {
	out := make([]*Rule, len(e.rules))
	for i, r := range e.rules {
		out[i] = r.rule
	}
	return out
}

// resolve returns the tests of every item, with placeholders filled in.
func (r *Rule) resolve(opt Options) (map[*item][][]test, *fault) {
	out := make(map[*item][][]test, len(r.items))
	for _, it := range r.items {
		out[it] = it.values
		if it.expands() {
			v, f := it.resolve(opt.placeholders())
			if f != nil {
				return nil, f
			}
			out[it] = v
		}
	}
	return out, nil
}

// fieldName is how the rule's log source makes it see a field.
func (r *Rule) fieldName(name string) fieldName {
	return fieldName{name: name, alias: r.fields.Alias(name), raw: !r.fields.Taxonomy()}
}

func (c *compiler) add(r *Rule, resolved map[*item][][]test) {
	var kids []*cnode
	done := map[*expr]*cnode{}
	for _, x := range r.conditions {
		kids = append(kids, c.node(r, x, resolved, done))
	}
	root := kids[0]
	if len(kids) > 1 {
		root = &cnode{op: opOr, part: -1, kids: kids}
	}
	e := c.engine
	e.rules = append(e.rules, compiledRule{rule: r})
	c.roots = append(c.roots, root)
}

// intern returns where the arena has a text.
func (c *compiler) intern(text []byte) span {
	if at, ok := c.texts[string(text)]; ok {
		return at
	}
	from := uint32(len(c.engine.arena))
	c.engine.arena = append(c.engine.arena, text...)
	at := span{from, uint32(len(c.engine.arena))}
	c.texts[string(text)] = at
	return at
}

// flatten writes a rule's nodes down, each after its kids.
func (c *compiler) flatten(r *compiledRule, root *cnode) {
	r.first = int32(len(c.engine.nodes))
	r.root = c.put(root)
	c.engine.widest = max(c.engine.widest, int(r.root-r.first)+1)
}

// put writes a node down, unless it is already, and returns its number.
func (c *compiler) put(n *cnode) int32 {
	if n.placed {
		return n.place
	}
	e := c.engine
	from := len(e.kids)
	e.kids = append(e.kids, make([]int32, len(n.kids))...)
	for i, k := range n.kids {
		e.kids[from+i] = c.put(k)
	}
	n.placed, n.place = true, int32(len(e.nodes))
	e.nodes = append(e.nodes, condNode{
		op: n.op, neq: n.neq, part: n.part, kids: span{uint32(from), uint32(from + len(n.kids))},
		item: n.item, order: int32(n.order), field: n.field,
	})
	return n.place
}

func (c *compiler) node(r *Rule, x *expr, resolved map[*item][][]test, done map[*expr]*cnode) *cnode {
	if n, ok := done[x]; ok {
		n.shared = true
		return n
	}
	n := &cnode{op: x.op, part: -1}
	done[x] = n
	if x.op == opItem {
		n.item, n.neq, n.order, n.field = c.item(r, x.item, resolved[x.item]), x.item.neq, x.item.order, x.item.field
		return n
	}
	for _, k := range x.kids {
		n.kids = append(n.kids, c.node(r, k, resolved, done))
	}
	return n
}

// arrange puts what is likely to decide, and cheap to ask, first.
func (c *compiler) arrange(n *cnode) {
	if n.effort > 0 {
		return // shared, and done
	}
	if n.op == opItem {
		n.effort, n.chance = c.itemEffort(n)
		return
	}
	for _, k := range n.kids {
		c.arrange(k)
		n.effort = min(n.effort+k.effort, maxEffort)
	}
	n.effort++
	if n.op == opNot {
		n.chance = 1 - n.kids[0].chance
		return
	}
	// What is asked of a kid is to be false in an and, true in an or.
	price := func(k *cnode) float64 {
		decides := k.chance
		if n.op == opAnd {
			decides = 1 - decides
		}
		return float64(k.effort) / max(decides, 0.001)
	}
	slices.SortStableFunc(n.kids, func(a, b *cnode) int { return cmp.Compare(price(a), price(b)) })
	n.chance = 1
	for _, k := range n.kids {
		if n.op == opAnd {
			n.chance *= k.chance
		} else {
			n.chance *= 1 - k.chance
		}
	}
	if n.op == opOr {
		n.chance = 1 - n.chance
	}
}

// itemEffort returns what an item takes, and how likely it is to hold.
func (c *compiler) itemEffort(n *cnode) (effort int, chance float64) {
	it := &c.engine.items[n.item]
	effort = 1
	for _, t := range it.tests {
		effort = min(effort+c.engine.tests[t].effort(), maxEffort)
		chance = min(chance+c.chance(t), 1)
	}
	if it.all {
		chance = 1
		from := int32(0)
		for _, to := range it.ends {
			one := 0.0
			for _, t := range it.tests[from:to] {
				one = min(one+c.chance(t), 1)
			}
			chance, from = chance*one, to
		}
	}
	if n.neq {
		chance = 1 - chance
	}
	return effort, chance
}

// chance estimates how likely a test is to hold.
func (c *compiler) chance(t int32) float64 {
	if cost, ok := c.leaf(t); ok {
		return cost / always
	}
	return 0.02 // null, exists: false
}

// everySystem has every System field, to learn which names System knows.
var everySystem = event.Event{
	Channel: "x", Host: "x", Provider: "x", PID: 1, TID: 1, UserSID: "x", Logged: event.Event{}.Logged.AddDate(1, 0, 0),
}

func (c *compiler) slot(f fieldName) int32 {
	if id, ok := c.slotIDs[f]; ok {
		return id
	}
	e := c.engine
	id := int32(len(e.slots))
	c.slotIDs[f] = id
	e.slots = append(e.slots, slot{fieldName: f})
	e.place(id)
	return id
}

// place works out what follows from a slot's name.
func (e *Engine) place(id int32) {
	s := &e.slots[id]
	s.seed = seedOf(s.name)
	_, s.system = everySystem.System(s.name)
	_, s.systemAlias = everySystem.System(s.alias)
	for _, n := range []string{s.name, s.alias} {
		if n == "" {
			continue
		}
		e.names[n] = append(e.names[n], id)
		e.alike[spaceless(n)] = append(e.alike[spaceless(n)], id)
		e.spacedSlot = e.spacedSlot || strings.Contains(n, " ")
	}
}
