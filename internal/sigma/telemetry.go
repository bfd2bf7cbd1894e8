package sigma

import (
	"slices"
	"strings"

	"ashiato/internal/event"
)

// Bounds on what Telemetry remembers.
const (
	maxRecordKinds = 1 << 16
	maxSeenFields  = 2048 // names, of one kind of record
)

// Telemetry is what kinds of records an input has and which fields they have,
// so that it can be said which rules can see anything in it. It is not safe for
// concurrent use; the zero Telemetry is empty.
type Telemetry struct {
	kinds map[route]*recordKind
	// Uncounted are records of kinds beyond a bound; with any, no rule is said to
	// be blind.
	Uncounted int64
}

type recordKind struct {
	sample   event.Event // its System part; without values of fields
	count    int64
	names    map[string]bool // of fields, without blanks
	overflow bool
}

// Add takes a normalised event.
func (t *Telemetry) Add(e *event.Event) {
	key := route{e.Kind, e.ID, e.Provider, e.Channel}
	k := t.kinds[key]
	if k == nil {
		if len(t.kinds) >= maxRecordKinds || len(e.Provider)+len(e.Channel) > maxNames {
			t.Uncounted++
			return
		}
		if t.kinds == nil {
			t.kinds = map[route]*recordKind{}
		}
		key.provider, key.channel = strings.Clone(key.provider), strings.Clone(key.channel)
		k = &recordKind{sample: event.Event{Kind: e.Kind, ID: e.ID, Provider: key.provider, Channel: key.channel}, names: map[string]bool{}}
		t.kinds[key] = k
	}
	k.count++
	for _, fields := range []event.Fields{e.Canon, e.Data} {
		for i := range fields {
			if n := spaceless(fields[i].Name); !k.names[n] {
				if len(k.names) >= maxSeenFields || len(n) > maxNames {
					k.overflow = true
					continue
				}
				k.names[strings.Clone(n)] = true
			}
		}
	}
}

// Sight is what a rule can see of an input.
type Sight struct {
	// Records is how many records are of the rule's log source.
	Records int64
	// Possible reports whether a record of the log source may hold what the rule
	// asks for. It is false only if that is certain: no condition can hold with
	// the event ids and the fields that the records have.
	Possible bool
	// Missing are the items, as "field" or "field: values", that rule it out in
	// the kind of record that comes nearest; empty if Possible, or without records.
	Missing []string
}

// Sees tells what the explained rule can see.
func (x *Explainer) Sees(t *Telemetry) Sight {
	out := Sight{Possible: t.Uncounted > 0}
	best := maxDistance
	for _, k := range t.kinds {
		if !x.rule.Applies(&k.sample) {
			continue
		}
		out.Records += k.count
		w := sightWalker{x: x, kind: k, done: map[*expr][2]int{}}
		for _, c := range x.rule.conditions {
			cost := w.cost(c)[1]
			if cost == 0 {
				out.Possible, out.Missing = true, nil
			}
			var missing []string
			if cost > 0 && cost <= best {
				w.missing(c, true, &missing)
				slices.Sort(missing)
				missing = slices.Compact(missing)
			}
			// Ties are broken by the text, not by the order of the map.
			if cost < best || cost == best && slices.Compare(missing, out.Missing) < 0 {
				best, out.Missing = cost, missing
			}
		}
	}
	if out.Possible {
		out.Missing = nil
	}
	return out
}

// sightWalker finds how many items at least stand against an outcome: [0] of
// failing, [1] of holding.
type sightWalker struct {
	x    *Explainer
	kind *recordKind
	done map[*expr][2]int
}

func (w *sightWalker) cost(c *expr) [2]int {
	if got, ok := w.done[c]; ok {
		return got
	}
	var out [2]int
	switch c.op {
	case opItem:
		if w.settled(c.item) {
			out[bit(!w.x.holds(c.item, &w.kind.sample))] = 1
		}
	case opNot:
		k := w.cost(c.kids[0])
		out = [2]int{k[1], k[0]}
	default:
		sum, least := [2]int{}, [2]int{maxDistance, maxDistance}
		for _, kid := range c.kids {
			k := w.cost(kid)
			for b := range 2 {
				sum[b] = min(sum[b]+k[b], maxDistance)
				least[b] = min(least[b], k[b])
			}
		}
		out = [2]int{least[0], sum[1]}
		if c.op == opOr {
			out = [2]int{sum[0], least[1]}
		}
	}
	w.done[c] = out
	return out
}

// settled reports whether the item has the same outcome for every record of the
// kind: its field is absent from all, or the same in all.
func (w *sightWalker) settled(it *item) bool {
	if it.field == "" || w.kind.overflow {
		return false
	}
	f := w.x.rule.fieldName(it.field)
	for _, n := range []string{f.name, f.alias} {
		if n == "" {
			continue
		}
		if w.kind.names[spaceless(n)] {
			return false
		}
		if _, system := everySystem.System(n); system && !slices.Contains([]string{"EventID", "Channel", "Provider_Name", "Provider", "SourceName"}, n) {
			return false
		}
	}
	return true
}

func (w *sightWalker) missing(c *expr, want bool, out *[]string) {
	cost := func(c *expr) int { return w.cost(c)[bit(want)] }
	switch {
	case cost(c) == 0:
	case c.op == opItem:
		*out = append(*out, w.missingItem(c.item))
	case c.op == opNot:
		w.missing(c.kids[0], !want, out)
	case (c.op == opAnd) == want:
		for _, k := range c.kids {
			w.missing(k, want, out)
		}
	default:
		w.missing(slices.MinFunc(c.kids, func(a, b *expr) int { return cost(a) - cost(b) }), want, out)
	}
}

func (w *sightWalker) missingItem(it *item) string {
	f := w.x.rule.fieldName(it.field)
	if len(lookup(&w.kind.sample, f)) == 0 {
		return it.field
	}
	var values []string
	for i, n := range it.nodes {
		if i == 4 {
			values = append(values, "…")
			break
		}
		values = append(values, n.text)
	}
	return it.field + ": " + strings.Join(values, ", ")
}
