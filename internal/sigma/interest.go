package sigma

import (
	"slices"
	"strings"
	"sync"

	"ashiato/internal/event"
	"ashiato/internal/sigma/logsource"
)

// Interest tells, from what every record of a kind has in common, which rules
// can hold for records of the kind at all. It may name rules that cannot, and
// never leaves out one that can. It is safe for concurrent use.
type Interest struct {
	engine  *Engine
	sources []interestSource

	mu      sync.Mutex // guards what follows
	matcher *Matcher
	may     func(string) bool
	visit   uint32
	visited [2][]uint32 // by wanted outcome and node of a rule: the visit
	can     [2][]bool
}

// interestSource is the rules of one log source.
type interestSource struct {
	match logsource.Matcher
	parts int // that it names, less one
	rules []int32
}

// settledNames are the names of the System part that every record of a kind has
// alike.
var settledNames = []string{"EventID", "Channel", "Provider_Name", "Provider", "SourceName"}

// Interest returns the engine's Interest.
func (e *Engine) Interest() *Interest {
	x := &Interest{engine: e, matcher: e.Matcher()}
	for i := range x.visited {
		x.visited[i], x.can[i] = make([]uint32, e.widest), make([]bool, e.widest)
	}
	places := map[LogSource]int{}
	for i := range e.rules {
		r := e.rules[i].rule
		l := r.LogSource
		l.Definition = ""
		at, ok := places[l]
		if !ok {
			at = len(x.sources)
			places[l] = at
			x.sources = append(x.sources, interestSource{match: r.fields, parts: strings.Count(l.String(), "/")})
		}
		x.sources[at].rules = append(x.sources[at].rules, int32(i))
	}
	// Those that most records are of come first: they settle the question soonest.
	slices.SortStableFunc(x.sources, func(a, b interestSource) int { return a.parts - b.parts })
	return x
}

// Len returns how many rules the engine has.
func (x *Interest) Len() int { return len(x.engine.rules) }

// Any reports whether a rule can hold for a record with e's Kind, ID, Provider
// and Channel. may tells whether the record can have a field of that name, without
// its blanks, after normalisation; whatever fields it has may hold anything.
func (x *Interest) Any(e *event.Event, may func(name string) bool) bool {
	found := false
	all := func(int32) bool { return true }
	x.each(e, may, all, func(int32) bool { found = true; return false })
	return found
}

// Mark sets, by their place in Engine.Rules, those rules that can hold for a
// record with e's Kind, ID, Provider and Channel, whatever fields it has but such
// as have the names of these.
func (x *Interest) Mark(e *event.Event, rules []bool) {
	fields := func(name string) bool { return !slices.Contains(settledNames, name) }
	x.each(e, fields, func(r int32) bool { return !rules[r] }, func(r int32) bool { rules[r] = true; return true })
}

// each calls yield with those of the rules asked about that can hold, until it
// returns false.
func (x *Interest) each(e *event.Event, may func(string) bool, ask, yield func(int32) bool) {
	sample := event.Event{Kind: e.Kind, ID: e.ID, Provider: e.Provider, Channel: e.Channel}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.may = may
	defer func() { x.may = nil }()
	begun := false
	for i := range x.sources {
		if !x.sources[i].match.Match(&sample) {
			continue
		}
		if !begun {
			x.matcher.begin(&sample, &way{})
			begun = true
		}
		for _, r := range x.sources[i].rules {
			if !ask(r) {
				continue
			}
			if x.visit++; x.visit == 0 {
				clear(x.visited[0])
				clear(x.visited[1])
				x.visit = 1
			}
			if rule := &x.engine.rules[r]; x.mayBe(rule.root, rule.first, true) && !yield(r) {
				return
			}
		}
	}
}

// mayBe reports whether a node of the rule whose nodes begin at first can come
// out as wanted.
func (x *Interest) mayBe(at, first int32, want bool) bool {
	w, n := bit(want), &x.engine.nodes[at]
	if x.visited[w][at-first] == x.visit {
		return x.can[w][at-first]
	}
	kids := x.engine.kids[n.kids.from:n.kids.to]
	can := func(k int32) bool { return x.mayBe(k, first, want) }
	var out bool
	switch {
	case n.op == opItem:
		it := &x.engine.items[n.item]
		out = !x.settled(it) || (x.matcher.holdsItem(n.item) != n.neq) == want
	case n.op == opNot:
		out = x.mayBe(kids[0], first, !want)
	case (n.op == opAnd) == want: // all have to
		out = !slices.ContainsFunc(kids, func(k int32) bool { return !can(k) })
	default: // one has to
		out = slices.ContainsFunc(kids, can)
	}
	x.visited[w][at-first], x.can[w][at-first] = x.visit, out
	return out
}

// settled reports whether an item comes out alike for all records of the kind:
// no record has its field, or all have the same value. What it comes out as is
// that of the record without fields.
func (x *Interest) settled(it *compiledItem) bool {
	return it.slot >= 0 && x.settledSlot(it.slot) &&
		!slices.ContainsFunc(it.tests, func(id int32) bool {
			t := &x.engine.tests[id]
			return t.kind == fieldrefTest && !x.settledSlot(t.more.other)
		})
}

func (x *Interest) settledSlot(slot int32) bool {
	s := &x.engine.slots[slot]
	return x.settledName(s.name) && x.settledName(s.alias)
}

func (x *Interest) settledName(name string) bool {
	if name == "" {
		return true
	}
	if x.may(spaceless(name)) {
		return false
	}
	_, system := everySystem.System(name)
	return !system || slices.Contains(settledNames, name)
}
