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
type Engine struct {
	rules  []compiledRule
	tests  []compiledTest
	items  []compiledItem
	code   []instruction
	parts  []int32 // entries of the parts of conditions that have several users
	slots  []slot
	groups []*group
	nodes  int // the most nodes of a rule
	common *gramCounts

	names      map[string][]int32 // slots by exact name (and alias)
	alike      map[string][]int32 // slots by spaceless name
	spacedSlot bool               // some slot's own name holds a blank
}

// slot is a field as some rules see it.
type slot struct {
	fieldName
	system      bool // the System part may have the name
	systemAlias bool
	// exact and tails number the folded whole values and last path components
	// that rules compare the slot with.
	exact, tails numbering
}

type compiledRule struct {
	rule  *Rule
	root  *cnode
	entry int32 // in the code
}

// cnode is an expr over compiled items.
type cnode struct {
	op      opKind
	number  int32 // within the rule
	part    int32 // -1 if the node has one user
	shared  bool
	effort  int     // what evaluating it takes; 0: not known yet
	chance  float64 // how likely it is to hold, a guess
	kids    []*cnode
	witness *witness
	// for opItem:
	item  int32
	neq   bool
	order int
	field string
}

// compiler holds what is needed only while compiling.
type compiler struct {
	engine     *Engine
	opt        Options
	slotIDs    map[fieldName]int32
	testIDs    map[string]int32
	itemIDs    map[string]int32
	popularity []int     // by test: how many items use it
	costs      []float64 // by test: its cost as a witness, 0 if not known yet
	key        []byte
}

// Compile makes an Engine of the rules. A rule that cannot be used with these
// options, and one whose id an earlier rule has, is an *Error and left out.
func Compile(rules []*Rule, opt Options) (*Engine, []error) {
	c := compiler{
		engine: &Engine{names: map[string][]int32{}, alike: map[string][]int32{}},
		opt:    opt, slotIDs: map[fieldName]int32{}, testIDs: map[string]int32{}, itemIDs: map[string]int32{},
	}
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
		root = &cnode{op: opOr, part: -1, number: int32(len(done)), kids: kids}
	}
	e := c.engine
	e.nodes = max(e.nodes, len(done)+1)
	e.rules = append(e.rules, compiledRule{rule: r, root: root})
}

func (c *compiler) node(r *Rule, x *expr, resolved map[*item][][]test, done map[*expr]*cnode) *cnode {
	if n, ok := done[x]; ok {
		n.shared = true
		return n
	}
	n := &cnode{op: x.op, part: -1, number: int32(len(done))}
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
	effort, all := 1, 1.0
	for _, alts := range it.values {
		one := 0.0
		for _, t := range alts {
			effort = min(effort+c.engine.tests[t].effort(), maxEffort)
			one = min(one+c.chance(t), 1)
		}
		chance, all = min(chance+one, 1), all*one
	}
	if it.all {
		chance = all
	}
	if n.neq {
		chance = 1 - chance
	}
	return effort, chance
}

// chance estimates how likely a test is to hold.
func (c *compiler) chance(t int32) float64 {
	if w := c.leaf(t); w.ok {
		return w.cost / always
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
	s := slot{fieldName: f}
	_, s.system = everySystem.System(f.name)
	_, s.systemAlias = everySystem.System(f.alias)
	e.slots = append(e.slots, s)
	for _, n := range []string{f.name, f.alias} {
		if n == "" {
			continue
		}
		e.names[n] = append(e.names[n], id)
		e.alike[spaceless(n)] = append(e.alike[spaceless(n)], id)
		e.spacedSlot = e.spacedSlot || strings.Contains(n, " ")
	}
	return id
}
