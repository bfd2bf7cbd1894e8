package sigma

import (
	"slices"
	"strings"
)

// Polarity says how a filter's condition joins the conditions of rules.
type Polarity uint8

const (
	// AsWritten joins by "and", as pySigma does: a filter that lets events
	// through less often says "not selection".
	AsWritten Polarity = iota
	// Suppress joins by "and not": the condition describes what is filtered out,
	// as the text of the specification has it.
	Suppress
)

// Filter is one parsed filter document.
type Filter struct {
	// Rule holds the filter's metadata, log source and searches.
	Rule *Rule
	// Any says that the filter is for every rule of its log source.
	Any  bool
	refs []*node
}

func readFilter(r *Rule, n *node) (*Filter, *fault) {
	if n.kind != mapNode {
		return nil, faultf(n.at, "filter must be a map, not %s", n.kind)
	}
	x := &Filter{Rule: r}
	refs := n.get("rules")
	switch {
	case refs == nil:
		return nil, faultf(n.at, "the filter names no rules").withHint("list ids or names, or write any")
	case refs.kind == scalarNode && (strings.EqualFold(refs.text, "any") || strings.EqualFold(refs.text, "all")):
		x.Any = true
	case refs.kind == listNode && len(refs.list) == 0:
		x.Any = true
	default:
		list, f := scalars(refs, "rules")
		if f != nil {
			return nil, f
		}
		x.refs = list
	}
	if c := n.get("condition"); c != nil && c.kind != scalarNode {
		return nil, faultf(c.at, "the condition of a filter must be one text, not %s", c.kind)
	}
	return x, r.readSearches(n, "filter", []string{"rules"})
}

// covers reports whether the filter's log source includes the rule's: every
// part that the filter gives is the rule's.
func (l LogSource) covers(r LogSource) bool {
	return (l.Category == "" || l.Category == r.Category) && (l.Product == "" || l.Product == r.Product) &&
		(l.Service == "" || l.Service == r.Service)
}

// applyFilters joins the filters' conditions to the rules they are for, in the
// order of the filters. A filter's searches have names of their own: no pattern
// of a rule's condition reaches them.
func applyFilters(filters []*Filter, rules []*Rule, polarity Polarity) []error {
	var errs []error
	for _, x := range filters {
		used := map[string]bool{}
		for _, r := range rules {
			named := x.Any
			for _, ref := range x.refs {
				if ref.text == r.ID || r.Name != "" && ref.text == r.Name {
					named, used[ref.text] = true, true
				}
			}
			if named && x.Rule.LogSource.covers(r.LogSource) {
				r.restrict(x.Rule, polarity == Suppress)
			}
		}
		for _, ref := range x.refs {
			if !used[ref.text] {
				errs = append(errs, &Error{
					File: x.Rule.File, Rule: x.Rule.Title, Line: ref.at.line, Column: ref.at.column,
					Msg: "no loaded rule has the id or name \"" + ref.text + "\"", Hint: "the filter applies to the other rules that it names",
				})
			}
		}
	}
	return errs
}

// restrict joins the condition of other to every condition of r.
func (r *Rule) restrict(other *Rule, negated bool) {
	order := len(r.items)
	put := map[*item]*item{}
	for _, it := range other.items {
		own := *it
		own.order = order + len(put)
		put[it] = &own
		r.items = append(r.items, &own)
	}
	joined := rewrite(join(opOr, other.conditions), func(it *item) *expr { return &expr{op: opItem, item: put[it]} })
	if negated {
		joined = &expr{op: opNot, kids: []*expr{joined}}
	}
	conditions := slices.Clone(r.conditions)
	for i, c := range conditions {
		conditions[i] = &expr{op: opAnd, kids: []*expr{c, joined}}
	}
	r.conditions = conditions
}

// rewrite copies a condition with its items replaced. Parts that the condition
// shares stay shared; a nil replacement drops the item, and with it what has
// nothing else left.
func rewrite(x *expr, replace func(*item) *expr) *expr {
	done := map[*expr]*expr{}
	var walk func(x *expr) *expr
	walk = func(x *expr) *expr {
		if y, ok := done[x]; ok {
			return y
		}
		var y *expr
		if x.op == opItem {
			y = replace(x.item)
		} else {
			var kids []*expr
			for _, k := range x.kids {
				if k = walk(k); k != nil {
					kids = append(kids, k)
				}
			}
			switch {
			case len(kids) == 0:
			case x.op == opNot:
				y = &expr{op: opNot, kids: kids}
			default:
				y = join(x.op, kids)
			}
		}
		done[x] = y
		return y
	}
	return walk(x)
}
