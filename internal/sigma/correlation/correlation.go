// Package correlation evaluates Sigma correlations: what several events say
// together. docs/formats/rules.md describes the language and what this package
// decides where the specification is silent.
//
// Use: New with the correlations that sigma.Correlate found whole, Set.Observe
// for each event that base rules hold for, State.Add what it returns. A State
// that reads everything before it judges takes one Close; one that follows a
// stream takes an Advance whenever time has moved on, and a Close at the end.
//
// What an event belongs to (sigma.PseudoFields) may be known only when all
// events are. Observe without a Resolver returns observations that wait, and
// State.Resolve decides them.
//
// Guarantees. Time is the events' own; no clock is read. The result is a
// function of the set of observations: their order, and the same record twice,
// change nothing, as long as nothing arrives later than the watermark given to
// Advance. What does is counted as late. Memory is bounded by Limits; what they
// leave out is counted and is, too, a function of the set of observations.
package correlation

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"strconv"
	"strings"
	"time"

	"ashiato/internal/event"
	"ashiato/internal/sigma"
	"ashiato/internal/world"
)

// MaxCited bounds the events that an Episode names.
const MaxCited = 64

// Resolver says what an event belongs to, under the name of a pseudo-field
// (sigma.PseudoFields). It returns false if that is not known.
type Resolver func(e *event.Event, name string) (string, bool)

// Set is correlations ready to be evaluated. It is immutable.
type Set struct {
	list   []*sigma.Correlation
	byRule map[*sigma.Rule][]use
	byBase [][]use // by correlation: those that name it
	delay  []time.Duration
	pseudo []bool        // by correlation: it groups events by pseudo-fields
	shared [][]belonging // by correlation: what all its events belong to
}

// belonging is a name in group-by that is the same pseudo-field for every rule
// of a correlation, down its chain.
type belonging struct{ name, pseudo string }

// use is a place in which a correlation names something.
type use struct{ correlation, base int }

// New returns the set of correlations, which must be in the order of
// sigma.Correlate: bases before those that name them.
func New(list []*sigma.Correlation) *Set {
	s := &Set{
		list: list, byRule: map[*sigma.Rule][]use{}, byBase: make([][]use, len(list)), delay: make([]time.Duration, len(list)),
		pseudo: make([]bool, len(list)), shared: make([][]belonging, len(list)),
	}
	number := map[*sigma.Correlation]int{}
	for i, c := range list {
		number[c] = i
		for j, b := range c.Bases {
			if b.Rule != nil {
				s.byRule[b.Rule] = append(s.byRule[b.Rule], use{i, j})
				continue
			}
			n := number[b.Correlation]
			s.byBase[n] = append(s.byBase[n], use{i, j})
			s.delay[i] = max(s.delay[i], addTimes(s.delay[n], b.Correlation.Timespan))
		}
		for _, name := range c.GroupBy {
			same := c.Field(0, name)
			for j, b := range c.Bases {
				s.pseudo[i] = s.pseudo[i] || c.Pseudo(j, name)
				if f := c.Field(j, name); f != same || !slices.Contains(sigma.PseudoFields[:], f) {
					same = ""
				} else if b.Correlation != nil && !slices.ContainsFunc(s.shared[number[b.Correlation]], func(x belonging) bool { return x.pseudo == f }) {
					same = "" // what the other correlation rests on may belong elsewhere
				}
			}
			if same != "" {
				s.shared[i] = append(s.shared[i], belonging{name, same})
			}
		}
	}
	return s
}

// Pseudo reports whether a correlation of the set groups by a pseudo-field, so
// that a Resolver is of use.
func (s *Set) Pseudo() bool { return slices.Contains(s.pseudo, true) }

// addTimes adds without overflow.
func addTimes(a, b time.Duration) time.Duration {
	if c := a + b; c >= a {
		return c
	}
	return 1<<63 - 1
}

// Correlations returns the correlations of the set, in order.
func (s *Set) Correlations() []*sigma.Correlation { return slices.Clone(s.list) }

// Silent returns the rules and correlations that are heard only through
// correlations: some correlation that names them does not generate.
func (s *Set) Silent() map[*sigma.Rule]bool {
	silent := map[*sigma.Rule]bool{}
	for _, c := range s.list {
		for _, b := range c.Bases {
			if !c.Generate {
				silent[b.Meta()] = true
			}
		}
	}
	return silent
}

// Observation is an event as one group of one correlation sees it, or an event
// that waits to be resolved.
type Observation struct {
	correlation int
	key         string // group-by values in the form in which they are compared
	ungrouped   bool
	unresolved  int // of an ungrouped one: 1 + the pseudo-field it lacks
	group       []event.Field
	entry       entry
	waits       []match // the rules that hold for it, if it waits
}

// match is sigma.Match.
type match struct {
	rule   *sigma.Rule
	fields []event.Field
}

// entry is an event in its group.
type entry struct {
	Time    time.Time
	ID      identity
	Bases   uint64 // which of the correlation's bases hold
	Value   string // value_count and shares: what is compared
	Number  float64
	Valued  bool
	Event   *event.Event
	Matched []event.Field // what decided the first of the bases
	// Cited is what a chained correlation rests on, nil for a plain event.
	Cited []*event.Event
	// Group are the group-by values as this event has them.
	Group []event.Field
	// Copies is how often the record came again.
	Copies int64
}

// identity is equal for the same record read twice. Number is the record's own,
// so that events of the same time keep the order of their log.
type identity struct {
	Record uint64
	Sum    [16]byte
}

func (e *entry) compare(o *entry) int { return e.place().compare(o.place()) }

type position struct {
	time time.Time
	id   identity
}

func (e *entry) place() position { return position{e.Time, e.ID} }

func (p position) compare(o position) int {
	if c := p.time.Compare(o.time); c != 0 {
		return c
	}
	if p.id.Record != o.id.Record {
		if p.id.Record < o.id.Record {
			return -1
		}
		return 1
	}
	return strings.Compare(string(p.id.Sum[:]), string(o.id.Sum[:]))
}

// Observe appends an Observation for every correlation that names a rule among
// the matches of an event, and returns dst. If resolve is nil, those that group
// by pseudo-fields get one between them, which waits for State.Resolve. It is
// safe for concurrent use.
func (s *Set) Observe(e *event.Event, matches []sigma.Match, resolve Resolver, dst []Observation) []Observation {
	start := len(dst)
	var waits []match
	for _, m := range matches {
		for _, u := range s.byRule[m.Rule] {
			if s.pseudo[u.correlation] && resolve == nil {
				if len(waits) == 0 || waits[len(waits)-1].rule != m.Rule {
					waits = append(waits, match{m.Rule, m.Fields})
				}
				continue
			}
			dst = s.observe(dst, start, u, s.plain(e, m.Rule, m.Fields, u, resolve))
		}
	}
	if len(waits) > 0 {
		dst = append(dst, Observation{entry: entry{Time: e.Time, Event: e, ID: identify(e)}, waits: waits})
	}
	return dst
}

// resolve is Observe for an event that waited.
func (s *Set) resolve(e *event.Event, waits []match, resolve Resolver, dst []Observation) []Observation {
	start := len(dst)
	for _, m := range waits {
		for _, u := range s.byRule[m.rule] {
			if s.pseudo[u.correlation] {
				dst = s.observe(dst, start, u, s.plain(e, m.rule, m.fields, u, resolve))
			}
		}
	}
	return dst
}

// plain is how a correlation sees an event that a rule holds for.
func (s *Set) plain(e *event.Event, r *sigma.Rule, matched []event.Field, u use, resolve Resolver) source {
	c := s.list[u.correlation]
	return source{event: e, matched: matched, field: func(name string) (string, bool) {
		if name = c.Field(u.base, name); slices.Contains(sigma.PseudoFields[:], name) {
			return resolve(e, name)
		}
		return r.Field(e, name)
	}}
}

func identify(e *event.Event) identity { return identity{e.Ref.RecordID, world.Content(e)} }

type source struct {
	event   *event.Event
	matched []event.Field
	cited   []*event.Event
	field   func(string) (string, bool)
}

// observe adds one base's observation, joining it to that of another base in
// the same group among dst[start:].
func (s *Set) observe(dst []Observation, start int, u use, from source) []Observation {
	c := s.list[u.correlation]
	o := Observation{correlation: u.correlation}
	o.entry = entry{Time: from.event.Time, Bases: 1 << u.base, Event: from.event, Matched: from.matched, Cited: from.cited}
	var key []byte
	for _, name := range c.GroupBy {
		v, ok := from.field(name)
		if !ok {
			o.ungrouped = true
			o.unresolved = 1 + slices.Index(sigma.PseudoFields[:], c.Field(u.base, name))
			return append(dst, o)
		}
		o.group = append(o.group, event.Field{Name: name, Value: v})
		key = appendPart(key, sigma.Fold(v))
	}
	o.key = string(key)
	if len(c.Fields) > 0 {
		var value []byte
		o.entry.Valued = true
		for _, name := range c.Fields {
			v, ok := from.field(name)
			if !ok {
				o.entry.Valued = false
				break
			}
			value = appendPart(value, sigma.Fold(v))
			if measuresNumbers(c) {
				o.entry.Number, o.entry.Valued = sigma.Number(v)
			}
		}
		o.entry.Value = string(value)
		if measuresNumbers(c) {
			o.entry.Value = ""
		}
	}
	for i := start; i < len(dst); i++ {
		if d := &dst[i]; d.correlation == o.correlation && d.key == o.key && !d.ungrouped && d.entry.Event == o.entry.Event {
			d.entry.join(&o.entry)
			return dst
		}
	}
	o.entry.ID = identify(from.event)
	return append(dst, o)
}

// join adds what another base, or another copy of the record, says. What the
// first base says of the event stands.
func (e *entry) join(o *entry) {
	first := e.Bases&-e.Bases <= o.Bases&-o.Bases
	switch {
	case e.Bases&-e.Bases == o.Bases&-o.Bases:
		if event.Compare(o.Event, e.Event) < 0 {
			e.Event = o.Event
		}
		first = true
	case !first:
		e.Matched, e.Cited, e.Group = o.Matched, o.Cited, o.Group
	}
	if o.Valued && (!e.Valued || !first) {
		e.Value, e.Number, e.Valued = o.Value, o.Number, true
	}
	e.Bases |= o.Bases
}

func measuresNumbers(c *sigma.Correlation) bool {
	switch c.Type {
	case sigma.ValueSum, sigma.ValueAvg, sigma.ValueMedian:
		return true
	case sigma.ValuePercentile:
		return c.Percentile > 0
	}
	return false
}

func appendPart(b []byte, s string) []byte {
	b = strconv.AppendInt(b, int64(len(s)), 10)
	return append(append(b, ':'), s...)
}

// hash places a group in an order that its author cannot choose cheaply.
func hash(key string) uint64 {
	sum := sha256.Sum256([]byte(key))
	return binary.BigEndian.Uint64(sum[:8])
}

// size estimates what an entry holds in memory, in bytes.
func (e *entry) size() int64 { return sizeOf(e.Event, e.Matched) + int64(len(e.Value)) }

func sizeOf(e *event.Event, matched []event.Field) int64 {
	n := 400 + len(e.Host) + len(e.Provider) + len(e.Channel) + len(e.Ref.File)
	for _, list := range [][]event.Field{e.Data, e.Canon, matched} {
		for _, f := range list {
			n += 32 + len(f.Name) + len(f.Value)
		}
	}
	return int64(n)
}

// Episode is a stretch of time in which a correlation holds for a group:
// windows that hold and overlap are one episode.
type Episode struct {
	Correlation *sigma.Correlation
	// Group is the group-by fields with the values of its deciding event, in the
	// order of the rule.
	Group []event.Field
	// Belongs are the pseudo-fields among them, under their own names: what all
	// of the episode's events belong to. One that is another field for some rule
	// is left out.
	Belongs []event.Field
	// Event decided the episode: with it the condition first held.
	Event *event.Event
	// Matched is what decided the base rule that Event is of.
	Matched []event.Field
	// Cited are the events that the condition first rested on, in the order of
	// event.Compare and at most MaxCited: Event, each base's, then the earliest.
	Cited []*event.Event
	// Count is how many events the episode's windows hold.
	Count int
	// First and Last bound the events of the episode.
	First, Last time.Time
	// Open says that the episode may go on: Count and Last are what is known so
	// far. The same episode follows once more when it has closed.
	Open bool
}
