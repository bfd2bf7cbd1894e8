package correlation

import (
	"bufio"
	"container/heap"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"time"

	"ashiato/internal/event"
	"ashiato/internal/sigma"
)

// snapshotVersion is the first byte of a snapshot. It changes with the types
// below.
const snapshotVersion = 2

// maxSnapshotGroup bounds what Restore believes a group to hold.
const maxSnapshotGroup = 10_000_000

type savedState struct {
	Mark    time.Time
	Marked  bool
	Stats   Stats
	Rules   int
	Waiting int
	Fence   savedFence
}

type savedFence struct {
	Time   time.Time
	ID     identity
	Fenced bool
}

type savedWaiter struct {
	Waiter waiter
	Rules  []string // keys of the rules that hold for it
	Fields [][]event.Field
}

type savedRule struct {
	Key    string // of the correlation
	Groups int
	Fence  uint64
	Fenced bool
}

type savedGroup struct {
	Key                    string
	Entries                []entry
	Demand                 int64
	FenceTime              time.Time
	FenceID                identity
	Fenced, Floored, Going bool
	Floor                  time.Time
	Open                   savedEpisode
}

type savedEpisode struct {
	Group, Matched []event.Field
	Event          *event.Event
	Cited          []*event.Event
	Count          int
	First, Last    time.Time
}

// ErrSnapshot says that what was given to Restore is not a snapshot of this
// version, or is damaged.
var ErrSnapshot = errors.New("not a usable correlation snapshot")

// Snapshot writes the state, so that Restore can go on where it stands: reading
// on from there, or from anywhere before, finds what reading on would have found.
// The format is a version byte and a gob stream; it is not meant for other
// programs.
func (st *State) Snapshot(w io.Writer) error {
	out := bufio.NewWriter(w)
	_ = out.WriteByte(snapshotVersion) // Flush tells
	enc := gob.NewEncoder(out)
	st.fitWaiting()
	q := &st.waiting
	for i := range st.rules {
		for _, g := range st.rules[i].groups {
			st.fit(g) // counts what it leaves out
		}
	}
	head := savedState{st.mark, st.marked, st.stats, len(st.rules), len(q.list), savedFence{q.fence.time, q.fence.id, q.fenced}}
	if err := enc.Encode(head); err != nil {
		return fmt.Errorf("write correlation snapshot: %w", err)
	}
	for i := range q.list {
		w := savedWaiter{Waiter: q.list[i]}
		for _, m := range q.list[i].holds {
			w.Rules, w.Fields = append(w.Rules, m.rule.Key()), append(w.Fields, m.fields)
		}
		if err := enc.Encode(w); err != nil {
			return fmt.Errorf("write correlation snapshot: %w", err)
		}
	}
	for i := range st.rules {
		r := &st.rules[i]
		keys := make([]string, 0, len(r.groups))
		for k := range r.groups {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		if err := enc.Encode(savedRule{st.set.list[i].Rule.Key(), len(keys), r.fence, r.fenced}); err != nil {
			return fmt.Errorf("write correlation snapshot: %w", err)
		}
		for _, k := range keys {
			g := r.groups[k]
			s := savedGroup{
				Key: k, Entries: g.entries, Demand: g.demand, FenceTime: g.fence.time, FenceID: g.fence.id, Fenced: g.fenced,
				Floored: g.floored, Floor: g.floor,
			}
			if e := g.open; e != nil {
				s.Going, s.Open = true, savedEpisode{e.Group, e.Matched, e.Event, e.Cited, e.Count, e.First, e.Last}
			}
			if err := enc.Encode(s); err != nil {
				return fmt.Errorf("write correlation snapshot: %w", err)
			}
		}
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("write correlation snapshot: %w", err)
	}
	return nil
}

// Restore reads a snapshot. What it holds of correlations and rules that the set
// no longer has is left out. Resolve must be told its Resolver again. The error
// is ErrSnapshot, with its reason, where the data are not whole.
func (s *Set) Restore(r io.Reader, limits Limits) (*State, error) {
	in := bufio.NewReader(r)
	version, err := in.ReadByte()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSnapshot, err)
	}
	if version != snapshotVersion {
		return nil, fmt.Errorf("%w: version %d, this program writes %d", ErrSnapshot, version, snapshotVersion)
	}
	dec := gob.NewDecoder(in)
	var head savedState
	if err := dec.Decode(&head); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSnapshot, err)
	}
	st := s.State(limits)
	st.mark, st.marked, st.stats = head.Mark, head.Marked, head.Stats
	if err := st.restoreWaiting(dec, head); err != nil {
		return nil, err
	}
	for range head.Rules {
		var rule savedRule
		if err := dec.Decode(&rule); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrSnapshot, err)
		}
		at := slices.IndexFunc(s.list, func(c *sigma.Correlation) bool { return c.Rule.Key() == rule.Key })
		if at >= 0 {
			st.rules[at].fence, st.rules[at].fenced = rule.Fence, rule.Fenced
		}
		for range rule.Groups {
			var saved savedGroup
			if err := dec.Decode(&saved); err != nil {
				return nil, fmt.Errorf("%w: %w", ErrSnapshot, err)
			}
			if at < 0 {
				continue
			}
			g, err := saved.group(s.list[at])
			if err != nil {
				return nil, err
			}
			r := &st.rules[at]
			if r.groups[g.key] != nil {
				return nil, fmt.Errorf("%w: a group is there twice", ErrSnapshot)
			}
			for i := range g.entries {
				t := g.entries[i].Time
				if i == 0 || t.Before(g.early) {
					g.early = t
				}
				if !t.Before(st.watermark(at)) && (!g.news || t.Before(g.fresh)) {
					g.fresh, g.news = t, true
				}
				g.bases |= g.entries[i].Bases
			}
			r.groups[g.key] = g
			r.demand += g.demand
			heap.Push(&r.order, g)
			r.schedule(s.list[at], g)
		}
	}
	return st, nil
}

func (st *State) restoreWaiting(dec *gob.Decoder, head savedState) error {
	rules := map[string]*sigma.Rule{}
	for r := range st.set.byRule {
		rules[r.Key()] = r
	}
	q := &st.waiting
	q.fence, q.fenced = position{head.Fence.Time, head.Fence.ID}, head.Fence.Fenced
	for range head.Waiting {
		var saved savedWaiter
		if err := dec.Decode(&saved); err != nil {
			return fmt.Errorf("%w: %w", ErrSnapshot, err)
		}
		w := saved.Waiter
		if w.Event == nil || len(saved.Fields) != len(saved.Rules) {
			return fmt.Errorf("%w: a waiting event that cannot be", ErrSnapshot)
		}
		if year := w.Event.Time.Year(); year < -100_000 || year > 100_000 {
			return fmt.Errorf("%w: an event of the year %d", ErrSnapshot, year)
		}
		if _, twice := q.ids[w.ID]; twice {
			return fmt.Errorf("%w: an event waits twice", ErrSnapshot)
		}
		for i, key := range saved.Rules {
			if r := rules[key]; r != nil {
				w.holds = append(w.holds, match{r, saved.Fields[i]})
			}
		}
		if len(w.holds) == 0 {
			continue
		}
		q.ids[w.ID] = len(q.list)
		q.list = append(q.list, w)
		q.kept += w.size()
	}
	return nil
}

func (s *savedGroup) group(c *sigma.Correlation) (*group, error) {
	if len(s.Entries) > maxSnapshotGroup {
		return nil, fmt.Errorf("%w: a group of %d events", ErrSnapshot, len(s.Entries))
	}
	g := &group{
		key: s.Key, hash: hash(s.Key), entries: s.Entries, ids: make(map[identity]int, len(s.Entries)), demand: s.Demand,
		fence: position{s.FenceTime, s.FenceID}, fenced: s.Fenced, floored: s.Floored, floor: s.Floor,
	}
	for i := range g.entries {
		e := &g.entries[i]
		if year := e.Time.Year(); year < -100_000 || year > 100_000 { // with a timespan added it must not overflow
			return nil, fmt.Errorf("%w: an event of the year %d", ErrSnapshot, year)
		}
		if e.Event == nil || e.Bases == 0 || e.Bases&^allBases(c) != 0 {
			return nil, fmt.Errorf("%w: an event without a rule of %q", ErrSnapshot, c.Rule.Title)
		}
		if math.IsNaN(e.Number) || math.IsInf(e.Number, 0) || slices.Contains(e.Cited, nil) {
			return nil, fmt.Errorf("%w: an event that cannot be", ErrSnapshot)
		}
		if _, twice := g.ids[e.ID]; twice {
			return nil, fmt.Errorf("%w: an event is there twice", ErrSnapshot)
		}
		g.ids[e.ID] = i
		g.kept += e.size()
	}
	if s.Going {
		if s.Open.Event == nil || slices.Contains(s.Open.Cited, nil) {
			return nil, fmt.Errorf("%w: an episode without its event", ErrSnapshot)
		}
		g.open = &Episode{
			Correlation: c, Group: s.Open.Group, Event: s.Open.Event, Matched: s.Open.Matched, Cited: s.Open.Cited,
			Count: s.Open.Count, First: s.Open.First, Last: s.Open.Last, Open: true,
		}
	}
	return g, nil
}
