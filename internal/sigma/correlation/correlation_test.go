package correlation_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/big"
	"math/bits"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"ashiato/internal/event"
	"ashiato/internal/sigma"
	"ashiato/internal/sigma/correlation"
)

// letters are four rules, a to d: each holds where the field R has its letter.
func letters() string {
	var b strings.Builder
	for _, l := range "abcd" {
		fmt.Fprintf(&b, "title: %c\nname: %c\nlevel: low\nlogsource: {category: process_creation}\ndetection: {s: {R|contains: %c}, condition: s}\n---\n", l, l, l)
	}
	return b.String()
}

// bench is rules, correlations and what evaluates them.
type bench struct {
	matcher *sigma.Matcher
	set     *correlation.Set
	list    []*sigma.Correlation
}

func load(t testing.TB, correlations ...string) *bench {
	t.Helper()
	var c sigma.Collection
	source := letters()
	for i, x := range correlations {
		if i > 0 {
			source += "---\n"
		}
		source += fmt.Sprintf("title: C%d\nname: C%d\ncorrelation:\n", i, i)
		for line := range strings.SplitSeq(strings.TrimSpace(x), "\n") {
			source += "    " + line + "\n"
		}
	}
	errs := c.Parse("t.yml", []byte(source))
	engine, more := sigma.Compile(c.Rules, sigma.Options{})
	list, bad := sigma.Correlate(c.Correlations, engine.Rules(), sigma.CorrelateOptions{PseudoFields: true})
	if errs = slices.Concat(errs, more, bad); len(errs) > 0 {
		t.Fatalf("%v in\n%s", errs, source)
	}
	return &bench{engine.Matcher(), correlation.New(list), list}
}

var begin = time.Date(2026, 1, 31, 10, 0, 0, 0, time.UTC)

// ev makes an event so many seconds after begin. The fields are R, G and V, of
// which "-" is absent.
func ev(n int, second int, fields ...string) *event.Event {
	e := &event.Event{
		Kind: event.ProcessCreate, Host: "H", Channel: "C", Provider: "P", ID: 1,
		Time: begin.Add(time.Duration(second) * time.Second), Ref: event.EvidenceRef{RecordID: uint64(n), Offset: int64(n)},
	}
	for i, f := range fields {
		if f != "-" {
			e.Data = append(e.Data, event.Field{Name: []string{"R", "G", "V", "W"}[i], Value: f})
		}
	}
	return e
}

func (b *bench) observe(st *correlation.State, e *event.Event) {
	for _, o := range b.set.Observe(e, b.matcher.Match(e, nil), nil, nil) {
		st.Add(o)
	}
}

func (b *bench) run(events []*event.Event) []correlation.Episode {
	st := b.set.State(correlation.Limits{})
	for _, e := range events {
		b.observe(st, e)
	}
	return st.Close()
}

// brief writes episodes as "C0 G=x 3@0-20 by 3", with seconds and record number.
func brief(list []correlation.Episode) string {
	var out []string
	for _, e := range list {
		s := e.Correlation.Rule.Title
		for _, g := range e.Group {
			s += " " + g.Name + "=" + g.Value
		}
		s += fmt.Sprintf(" %d@%v-%v by %d", e.Count, e.First.Sub(begin).Seconds(), e.Last.Sub(begin).Seconds(), e.Event.Ref.RecordID)
		if e.Open {
			s += " open"
		}
		out = append(out, s)
	}
	return strings.Join(out, "; ")
}

// at makes events from "second:R,G,V,W" words, numbered from 1.
func at(words string) []*event.Event {
	var out []*event.Event
	for i, w := range strings.Fields(words) {
		var second int
		fmt.Sscanf(w, "%d:", &second)
		_, rest, _ := strings.Cut(w, ":")
		out = append(out, ev(i+1, second, strings.Split(rest, ",")...))
	}
	return out
}

func TestTypes(t *testing.T) {
	for _, test := range []struct{ name, rule, events, want string }{
		{"event_count", "type: event_count\nrules: [a]\ngroup-by: [G]\ntimespan: 10s\ncondition: {gte: 3}", "0:a,x 5:a,x 9:a,y 10:a,x", "C0 G=x 3@0-10 by 4"},
		{"one second more than the timespan", "type: event_count\nrules: a\ngroup-by: G\ntimespan: 10s\ncondition: {gte: 3}", "0:a,x 5:a,x 11:a,x", ""},
		{"a window may begin anywhere", "type: event_count\nrules: a\ntimespan: 10s\ncondition: {gt: 2}", "0:a 7:a 12:a 16:a", "C0 3@7-16 by 4"},
		{"overlapping windows are one episode", "type: event_count\nrules: a\ntimespan: 10s\ncondition: {gte: 3}", "0:a 5:a 10:a 15:a 20:a 60:a 61:a 62:a", "C0 5@0-20 by 3; C0 3@60-62 by 8"},
		{"group values ignore letter case", "type: event_count\nrules: a\ngroup-by: [G]\ntimespan: 10s\ncondition: {gte: 2}", "0:a,Bob 1:a,bOB", "C0 G=bOB 2@0-1 by 2"},
		{"an event without the group's field is dropped", "type: event_count\nrules: a\ngroup-by: [G]\ntimespan: 10s\ncondition: {gte: 2}", "0:a,- 1:a,-", ""},
		{"an event that two rules match counts once", "type: event_count\nrules: [a, b]\ntimespan: 10s\ncondition: {gte: 2}", "0:ab", ""},
		{"a range is decided when the window closes", "type: event_count\nrules: a\ntimespan: 10s\ncondition: {gte: 2, lte: 3}", "0:a 1:a 20:a 21:a 22:a 23:a 40:a 41:a", "C0 2@0-1 by 2; C0 2@40-41 by 8"},
		{"lt", "type: event_count\nrules: a\ntimespan: 10s\ncondition: {lt: 2}", "0:a 1:a 20:a", "C0 1@20-20 by 3"},
		{"eq, the window's end included", "type: event_count\nrules: a\ntimespan: 10s\ncondition: {eq: 2}", "0:a 10:a 11:a", "C0 2@0-10 by 2"},
		{"neq", "type: event_count\nrules: a\ntimespan: 10s\ncondition: {neq: 2}", "0:a 10:a 11:a", "C0 1@11-11 by 3"},
		{"value_count", "type: value_count\nrules: a\ngroup-by: G\ntimespan: 10s\ncondition: {field: V, gte: 3}", "0:a,x,1 1:a,x,2 2:a,x,2 3:a,x,- 10:a,x,3", "C0 G=x 4@0-10 by 5"},
		{"value_count of several fields", "type: value_count\nrules: a\ntimespan: 10s\ncondition: {field: [V, W], gte: 3}", "0:a,x,1,1 1:a,x,1,2 2:a,x,1,1 3:a,x,2,- 4:a,x,11,-", ""},
		{"value_count of several fields holds", "type: value_count\nrules: a\ntimespan: 10s\ncondition: {field: [V, W], gte: 3}", "0:a,x,1,1 1:a,x,1,2 2:a,x,2,1", "C0 3@0-2 by 3"},
		{"value_sum slides", "type: value_sum\nrules: a\ntimespan: 10s\ncondition: {field: V, gt: 10}", "0:a,x,1 8:a,x,6 12:a,x,5", "C0 2@8-12 by 3"},
		{"value_sum of hexadecimal, fractions and text", "type: value_sum\nrules: a\ntimespan: 10s\ncondition: {field: V, gte: 16.5}", "0:a,x,0x10 1:a,x,0.5 2:a,x,text", "C0 2@0-1 by 2"},
		{"value_avg", "type: value_avg\nrules: a\ntimespan: 10s\ncondition: {field: V, gte: 4}", "0:a,x,1 1:a,x,7 20:a,x,7 21:a,x,0", "C0 2@0-1 by 2"},
		{"value_median of an even number", "type: value_median\nrules: a\ntimespan: 10s\ncondition: {field: V, eq: 3}", "0:a,x,100 1:a,x,2 2:a,x,4 3:a,x,1", "C0 4@0-3 by 4"},
		{"value_percentile, nearest rank", "type: value_percentile\nrules: a\ntimespan: 10s\ncondition: {field: V, percentile: 50, gte: 3}", "0:a,x,1 1:a,x,3 2:a,x,9 20:a,x,1 21:a,x,3", "C0 3@0-2 by 3"},
		{"value_percentile without a percentile compares shares", "type: value_percentile\nrules: a\ntimespan: 10s\ncondition: {field: V, lte: 25}", "0:a,x,p 1:a,x,q 2:a,x,p 3:a,x,p 20:a,x,p", "C0 1@1-1 by 2"},
		{"temporal", "type: temporal\nrules: [a, b]\ngroup-by: [G]\ntimespan: 10s", "0:b,x 4:a,y 10:a,x", "C0 G=x 2@0-10 by 3"},
		{"temporal counts rules, not events", "type: temporal\nrules: [a, b]\ntimespan: 10s", "0:a 1:a 2:a", ""},
		{"temporal with fewer", "type: temporal\nrules: [a, b, c]\ntimespan: 10s\ncondition: {gte: 2}", "0:a 1:c", "C0 2@0-1 by 2"},
		{"temporal_ordered", "type: temporal_ordered\nrules: [a, b]\ntimespan: 10s", "0:b 4:a 20:a 30:b", "C0 2@20-30 by 4"},
		{"temporal_ordered, the same time", "type: temporal_ordered\nrules: [a, b]\ntimespan: 10s", "0:b 0:a", "C0 2@0-0 by 2"},
		{"temporal_ordered, part of the chain", "type: temporal_ordered\nrules: [a, b, c]\ntimespan: 10s\ncondition: {gte: 2}", "0:c 1:b 2:a 3:c", "C0 4@0-3 by 4"},
		{"temporal_ordered exactly", "type: temporal_ordered\nrules: [a, b, c]\ntimespan: 10s\ncondition: {eq: 2}", "0:a 1:b 20:a 21:b 22:c", "C0 2@0-1 by 2"},
		{"extended", "type: temporal\nrules: [a, b, c]\ntimespan: 10s\ncondition: a and (b or c)", "0:c 9:a 30:b 31:c", "C0 2@0-9 by 2"},
		{"extended without rules", "type: temporal\ntimespan: 10s\ncondition: a or b", "0:b", "C0 1@0-0 by 1"},
		{"extended with not closes its windows", "type: temporal\nrules: [a, b]\ntimespan: 10s\ncondition: a and not b", "0:a 10:b 20:a 31:b", "C0 1@20-20 by 3"},
		{"extended in order", "type: temporal_ordered\nrules: [a, b, c]\ntimespan: 10s\ncondition: a and (b or c)", "0:c 1:a 20:a 21:c", "C0 2@20-21 by 4"},
		{"extended in order with not", "type: temporal_ordered\nrules: [a, b, c]\ntimespan: 10s\ncondition: a and b and not c", "0:a 1:b 20:b 21:a 40:a 41:b 42:c", "C0 2@0-1 by 2"},
		{"no group-by is one group", "type: event_count\nrules: a\ntimespan: 10s\ncondition: {gte: 2}", "0:a,x 1:a,y", "C0 2@0-1 by 2"},
		{"an alias reads another field per rule", "type: temporal\nrules: [a, b]\ngroup-by: [who]\ntimespan: 10s\naliases:\n    who:\n        a: G\n        b: V", "0:a,x,y 1:b,y,x 20:a,z,z 21:b,z,y", "C0 who=x 2@0-1 by 2"},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := load(t, test.rule)
			if got := brief(b.run(at(test.events))); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
			if got := slow(b.list[0], b, at(test.events)); got != test.want {
				t.Errorf("the slow evaluation says %s\nwant %s", got, test.want)
			}
		})
	}
}

func TestChain(t *testing.T) {
	b := load(t,
		"type: temporal_ordered\nrules: [C1, d]\ngroup-by: [G]\ntimespan: 20s",
		"type: event_count\nrules: [a]\ngroup-by: [G, V]\ntimespan: 10s\ncondition: {gte: 3}")
	events := at("0:a,x,1 1:a,x,1 2:a,x,1 15:d,x 40:d,x 50:a,x,1 51:a,x,2 52:a,x,3 53:d,x")
	want := "C1 G=x V=1 3@0-2 by 3; C0 G=x 2@2-15 by 4"
	got := b.run(events)
	if brief(got) != want {
		t.Fatalf("got  %s\nwant %s", brief(got), want)
	}
	if cited := len(got[1].Cited); cited != 4 {
		t.Errorf("the chained correlation cites %d events, want 4", cited)
	}
	silent := b.set.Silent()
	if !silent[got[0].Correlation.Rule] || silent[got[1].Correlation.Rule] {
		t.Error("C1 must be silent, C0 not")
	}
}

func TestEvidence(t *testing.T) {
	b := load(t, "type: temporal_ordered\nrules: [a, b, c]\ngroup-by: [G]\ntimespan: 1h")
	events := at("0:a,x 1:c,x")
	for i := range 500 {
		events = append(events, ev(10+i, 2, "b", "x"))
	}
	events = append(events, ev(1000, 3, "c", "x"))
	got := b.run(events)
	if brief(got) != "C0 G=x 503@0-3 by 1000" {
		t.Fatal(brief(got))
	}
	cited := got[0].Cited
	if len(cited) != correlation.MaxCited || cited[0] != events[0] || cited[len(cited)-1] != events[len(events)-1] || !slices.IsSortedFunc(cited, event.Compare) {
		t.Errorf("%d cited, first %d, last %d", len(cited), cited[0].Ref.RecordID, cited[len(cited)-1].Ref.RecordID)
	}
	if d := cmp.Diff([]event.Field{{Name: "R", Value: "c"}}, got[0].Matched); d != "" {
		t.Error(d)
	}
}

// slow evaluates a correlation by writing down every window, in the plainest way
// known. It knows no chains.
func slow(c *sigma.Correlation, b *bench, events []*event.Event) string {
	type match struct {
		e     *event.Event
		bases uint64
		group []event.Field
		value string
		num   *big.Rat
	}
	groups := map[string][]*match{}
	seen := map[[2]uint64]bool{}
	for _, e := range events {
		if k := [2]uint64{e.Ref.RecordID, uint64(e.Time.UnixNano())}; seen[k] {
			continue
		} else {
			seen[k] = true
		}
		mine := map[string]*match{}
		for i, base := range c.Bases {
			if !slices.ContainsFunc(b.matcher.Match(e, nil), func(m sigma.Match) bool { return m.Rule == base.Rule }) {
				continue
			}
			m := &match{e: e}
			key, ok := "", true
			for _, g := range c.GroupBy {
				v, has := e.Get(c.Field(i, g))
				ok = ok && has
				key += fmt.Sprintf("%q", strings.ToLower(v))
				m.group = append(m.group, event.Field{Name: g, Value: v})
			}
			valued := true
			for _, f := range c.Fields {
				v, has := e.Get(c.Field(i, f))
				valued = valued && has
				m.value += fmt.Sprintf("%q", strings.ToLower(v))
				if c.Type != sigma.ValueCount && (c.Type != sigma.ValuePercentile || c.Percentile > 0) {
					x, number := sigma.Number(v)
					valued = valued && number
					m.num = new(big.Rat).SetFloat64(x)
				}
			}
			if !ok || !valued {
				continue
			}
			if mine[key] == nil {
				mine[key] = m
				groups[key] = append(groups[key], m)
			}
			mine[key].bases |= 1 << i
		}
	}
	subset := func(w []*match, allowed uint64) int { // longest chain, by trying every subset of the bases
		best := 0
		for set := uint64(1); set < 1<<len(c.Bases); set++ {
			if set&^allowed != 0 || bits.OnesCount64(set) <= best {
				continue
			}
			var now time.Time
			ok := true
			for p := range len(c.Bases) {
				if set>>p&1 == 0 {
					continue
				}
				i := slices.IndexFunc(w, func(m *match) bool { return m.bases>>p&1 == 1 && !m.e.Time.Before(now) })
				if ok = i >= 0; !ok {
					break
				}
				now = w[i].e.Time
			}
			if ok {
				best = bits.OnesCount64(set)
			}
		}
		return best
	}
	holds := func(w []*match) ([]*match, bool) {
		var mask uint64
		values, sum := map[string]int{}, new(big.Rat)
		var nums []*big.Rat
		for _, m := range w {
			mask |= m.bases
			values[m.value]++
			if m.num != nil {
				sum.Add(sum, m.num)
				nums = append(nums, m.num)
			}
		}
		slices.SortFunc(nums, (*big.Rat).Cmp)
		float := func(r *big.Rat) float64 { f, _ := r.Float64(); return f }
		if c.Terms != nil {
			return w, slices.ContainsFunc(c.Terms, func(t sigma.Term) bool {
				return t.With&mask == t.With && t.Without&mask == 0 && (c.Type == sigma.Temporal || subset(w, t.With) == bits.OnesCount64(t.With))
			})
		}
		switch c.Type {
		case sigma.EventCount:
			return w, c.Holds(float64(len(w)))
		case sigma.ValueCount:
			return w, c.Holds(float64(len(values)))
		case sigma.Temporal:
			return w, c.Holds(float64(bits.OnesCount64(mask)))
		case sigma.TemporalOrdered:
			return w, c.Holds(float64(subset(w, 1<<len(c.Bases)-1)))
		case sigma.ValueSum:
			return w, c.Holds(float(sum))
		case sigma.ValueAvg:
			return w, c.Holds(float(sum.Quo(sum, new(big.Rat).SetInt64(int64(len(w))))))
		case sigma.ValueMedian:
			two := new(big.Rat).Add(nums[(len(nums)-1)/2], nums[len(nums)/2])
			return w, c.Holds(float(two.Quo(two, big.NewRat(2, 1))))
		}
		if c.Percentile > 0 {
			rank := 1
			for rank*100 < c.Percentile*len(nums) {
				rank++
			}
			return w, c.Holds(float(nums[rank-1]))
		}
		var rare []*match
		for _, m := range w {
			if c.Holds(float64(values[m.value]) * 100 / float64(len(w))) {
				rare = append(rare, m)
			}
		}
		return rare, len(rare) > 0
	}
	type found struct {
		text string
		e    *event.Event
	}
	var out []found
	say := func(w []*match, first, last time.Time, by *match) {
		s := c.Rule.Title
		for _, g := range by.group {
			s += " " + g.Name + "=" + g.Value
		}
		out = append(out, found{fmt.Sprintf("%s %d@%v-%v by %d", s, len(w), first.Sub(begin).Seconds(), last.Sub(begin).Seconds(), by.e.Ref.RecordID), by.e})
	}
	for _, ms := range groups {
		slices.SortFunc(ms, func(a, b *match) int { return event.Compare(a.e, b.e) })
		window := func(i int) (w []*match) {
			for _, m := range ms {
				if !m.e.Time.Before(ms[i].e.Time) && !m.e.Time.After(ms[i].e.Time.Add(c.Timespan)) {
					w = append(w, m)
				}
			}
			return w
		}
		if !c.Slides() {
			for i := 0; i < len(ms); {
				w := window(i)
				if of, ok := holds(w); ok {
					say(of, of[0].e.Time, of[len(of)-1].e.Time, of[len(of)-1])
				}
				i += len(w)
				for i < len(ms) && !ms[i].e.Time.After(w[0].e.Time.Add(c.Timespan)) {
					i++
				}
			}
			continue
		}
		var in []*match // of the episode
		var by *match
		flush := func() {
			if by != nil {
				say(in, in[0].e.Time, in[len(in)-1].e.Time, by)
			}
			in, by = nil, nil
		}
		for i := range ms {
			w := window(i)
			if _, ok := holds(w); !ok {
				continue
			}
			if by != nil && w[0].e.Time.After(in[len(in)-1].e.Time) {
				flush()
			}
			if by == nil {
				by = w[len(w)-1]
				for n := range w { // the least part that holds decides; of a sum, the whole
					if _, ok := holds(w[:n+1]); ok && c.Type != sigma.ValueSum {
						by = w[n]
						break
					}
				}
			}
			for _, m := range w {
				if !slices.Contains(in, m) {
					in = append(in, m)
				}
			}
		}
		flush()
	}
	slices.SortFunc(out, func(a, b found) int {
		if x := event.Compare(a.e, b.e); x != 0 {
			return x
		}
		return strings.Compare(a.text, b.text)
	})
	var texts []string
	for _, f := range out {
		texts = append(texts, f.text)
	}
	return strings.Join(texts, "; ")
}

// types are correlations of every sort, for random events.
var types = []string{
	"type: event_count\nrules: [a, b]\ngroup-by: [G]\ntimespan: 5s\ncondition: {gte: 3}",
	"type: event_count\nrules: [a]\ngroup-by: [G]\ntimespan: 4s\ncondition: {gt: 1, lte: 3}",
	"type: event_count\nrules: [a, b, c]\ntimespan: 3s\ncondition: {neq: 2}",
	"type: value_count\nrules: [a, c]\ngroup-by: [G]\ntimespan: 6s\ncondition: {field: V, gte: 3}",
	"type: value_count\nrules: [a, c]\ntimespan: 6s\ncondition: {field: [V, G], lt: 3}",
	"type: value_sum\nrules: [a, b]\ngroup-by: [G]\ntimespan: 5s\ncondition: {field: V, gte: 7.1}",
	"type: value_sum\nrules: [a, b]\ntimespan: 5s\ncondition: {field: V, lte: 4}",
	"type: value_avg\nrules: [a, b]\ntimespan: 5s\ncondition: {field: V, gt: 2.5}",
	"type: value_median\nrules: [a, b]\ngroup-by: [G]\ntimespan: 5s\ncondition: {field: V, gte: 3}",
	"type: value_percentile\nrules: [a, b]\ntimespan: 9s\ncondition: {field: V, percentile: 75, gte: 4}",
	"type: value_percentile\nrules: [a, b, c]\ntimespan: 9s\ncondition: {field: V, lt: 30}",
	"type: temporal\nrules: [a, b, c]\ngroup-by: [G]\ntimespan: 5s",
	"type: temporal\nrules: [a, b, c, d]\ntimespan: 4s\ncondition: {eq: 2}",
	"type: temporal_ordered\nrules: [a, b, c]\ngroup-by: [G]\ntimespan: 6s",
	"type: temporal_ordered\nrules: [b, a, d, c]\ntimespan: 5s\ncondition: {gte: 3}",
	"type: temporal_ordered\nrules: [a, b, c]\ntimespan: 5s\ncondition: {lt: 2}",
	"type: temporal\nrules: [a, b, c]\ngroup-by: [G]\ntimespan: 5s\ncondition: a and (b or c)",
	"type: temporal\nrules: [a, b, c]\ntimespan: 5s\ncondition: (a or b) and not c",
	"type: temporal_ordered\nrules: [a, b, c, d]\ntimespan: 6s\ncondition: a and (b and d or c)",
	"type: temporal_ordered\nrules: [a, b, c]\ngroup-by: [G]\ntimespan: 6s\ncondition: a and b and not c",
	"type: temporal\nrules: [a, b]\ngroup-by: [who]\ntimespan: 6s\naliases: {who: {a: G, b: V}}",
}

func drawEvents(t *rapid.T, most int) []*event.Event {
	n := rapid.IntRange(0, most).Draw(t, "events")
	span := rapid.SampledFrom([]int{3, 12, 40}).Draw(t, "span")
	var out []*event.Event
	for i := range n {
		out = append(out, ev(i+1, rapid.IntRange(0, span).Draw(t, "second"),
			rapid.SampledFrom([]string{"a", "b", "c", "d", "ab", "bc", "acd", "z"}).Draw(t, "R"),
			rapid.SampledFrom([]string{"x", "y", "X", "-"}).Draw(t, "G"),
			rapid.SampledFrom([]string{"1", "2", "3", "5", "-4", "0.1", "x", "-"}).Draw(t, "V")))
	}
	return out
}

// TestSameAsSlow holds that the evaluation finds what writing down every window
// finds, in any order of arrival and with records read twice.
func TestSameAsSlow(t *testing.T) {
	for _, rule := range types {
		b := load(t, rule)
		t.Run(strings.SplitN(rule, "\n", 2)[0], func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				events := drawEvents(t, 25)
				shuffled := rapid.Permutation(events).Draw(t, "order")
				if len(events) > 0 {
					shuffled = append(shuffled, rapid.SliceOfN(rapid.SampledFrom(events), 0, 4).Draw(t, "twice")...)
				}
				want := slow(b.list[0], b, events)
				if got := brief(b.run(shuffled)); got != want {
					t.Fatalf("got  %s\nwant %s\n%s", got, want, rule)
				}
			})
		})
	}
}

// TestStream holds that following a stream whose events are late by less than
// its watermark finds the same as reading everything first, also when the state
// is stored and read back on the way; and that an episode is said to be open
// before it closes, unless it closes at once.
func TestStream(t *testing.T) {
	chained := []string{
		"type: temporal_ordered\nrules: [C1, d]\ngroup-by: [G]\ntimespan: 9s",
		"type: event_count\nrules: [a, b]\ngroup-by: [G]\ntimespan: 4s\ncondition: {gte: 2}",
	}
	for i := range len(types) + 1 {
		rules := chained
		if i < len(types) {
			rules = types[i : i+1]
		}
		b := load(t, rules...)
		t.Run(strings.SplitN(rules[0], "\n", 2)[0], func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				events := drawEvents(t, 25)
				want := brief(b.run(events))
				lateness := rapid.IntRange(0, 6).Draw(t, "lateness")
				delay := map[*event.Event]int{}
				for _, e := range events {
					delay[e] = int(e.Time.Sub(begin)/time.Second) + rapid.IntRange(0, lateness).Draw(t, "delay")
				}
				slices.SortStableFunc(events, func(x, y *event.Event) int { return delay[x] - delay[y] })
				st, plain := b.set.State(correlation.Limits{}), b.set.State(correlation.Limits{})
				var all []correlation.Episode
				for _, e := range events {
					mark := begin.Add(time.Duration(delay[e]-lateness) * time.Second)
					said := st.Advance(mark)
					if got, want := brief(said), brief(plain.AdvanceAll(mark)); got != want {
						t.Fatalf("judging what is due says %s\njudging everything %s", got, want)
					}
					all = append(all, said...)
					b.observe(st, e)
					b.observe(plain, e)
					if rapid.IntRange(0, 5).Draw(t, "store") == 0 {
						st = store(t, b, st)
					}
				}
				all = append(all, st.Close()...)
				if late := st.Stats().Late; late > 0 {
					t.Fatalf("%d events are late", late)
				}
				open := map[string]bool{}
				var closed []correlation.Episode
				for _, e := range all {
					k := brief([]correlation.Episode{{Correlation: e.Correlation, Group: e.Group, First: e.First, Event: e.Event, Last: begin}})
					if e.Open {
						if open[k] {
							t.Fatalf("%s is opened twice", k)
						}
						open[k] = true
						continue
					}
					closed = append(closed, e)
					delete(open, k)
				}
				slices.SortFunc(closed, correlation.Compare)
				if got := brief(closed); got != want || len(open) > 0 {
					t.Fatalf("got  %s\nwant %s\nleft open %v\n%v", got, want, open, rules)
				}
			})
		})
	}
}

// TestRestoreAndReplay holds that a state that was stored anywhere, read back
// and given again what it had seen since some time before, and the rest, finds
// what one that was never stored finds: episodes, loss and all. Half of the
// correlations wait for what their events belong to.
func TestRestoreAndReplay(t *testing.T) {
	sets := [][]string{
		{"type: temporal_ordered\nrules: [C1, d]\ngroup-by: [G]\ntimespan: 9s", "type: event_count\nrules: [a, b]\ngroup-by: [G]\ntimespan: 4s\ncondition: {gte: 2}"},
		{"type: event_count\nrules: [a, b]\ngroup-by: [ProcessTree]\ntimespan: 5s\ncondition: {gte: 2}"},
	}
	for _, rule := range types {
		sets = append(sets, []string{rule}, []string{strings.Replace(rule, "[G]", "[Volume]", 1)})
	}
	resolve := func(e *event.Event, _ string) (string, bool) { return e.Get("G") }
	for _, rules := range sets {
		b := load(t, rules...)
		t.Run(strings.SplitN(rules[0], "\n", 2)[0], func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				events := drawEvents(t, 25)
				slices.SortStableFunc(events, event.Compare)
				if len(events) == 0 {
					return
				}
				lateness := rapid.IntRange(0, 3).Draw(t, "lateness")
				stored := rapid.IntRange(0, len(events)-1).Draw(t, "stored after")
				again := rapid.IntRange(0, stored).Draw(t, "read again from")
				waits := rapid.Bool().Draw(t, "resolve at the end")
				feed := func(st *correlation.State, e *event.Event, mark bool) (said []correlation.Episode) {
					b.observe(st, e)
					if !waits {
						st.Resolve(resolve)
						if mark {
							said = st.Advance(e.Time.Add(time.Duration(-lateness) * time.Second))
						}
					}
					return said
				}
				finish := func(st *correlation.State, said []correlation.Episode) string {
					st.Resolve(resolve)
					said = append(said, st.Close()...)
					said = slices.DeleteFunc(said, func(e correlation.Episode) bool { return e.Open })
					slices.SortFunc(said, correlation.Compare)
					return brief(said)
				}
				var whole, parted []correlation.Episode
				st := b.set.State(correlation.Limits{})
				for _, e := range events {
					whole = append(whole, feed(st, e, true)...)
				}
				want := finish(st, whole)

				st = b.set.State(correlation.Limits{})
				for _, e := range events[:stored+1] {
					parted = append(parted, feed(st, e, true)...)
				}
				st = store(t, b, st)
				for i, e := range events[again:] {
					parted = append(parted, feed(st, e, again+i > stored)...)
				}
				if got := finish(st, parted); got != want {
					t.Fatalf("got  %s\nwant %s\n%v", got, want, rules)
				}
				if s := st.Stats(); s.Lost() != 0 {
					t.Fatalf("%+v", s)
				}
			})
		})
	}
}

func store(t *rapid.T, b *bench, st *correlation.State) *correlation.State {
	var buf bytes.Buffer
	if err := st.Snapshot(&buf); err != nil {
		t.Fatal(err)
	}
	back, err := b.set.Restore(&buf, correlation.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if back.Stats() != st.Stats() {
		t.Fatalf("%+v became %+v", st.Stats(), back.Stats())
	}
	return back
}

func TestLateEventsAreCounted(t *testing.T) {
	b := load(t, "type: event_count\nrules: a\ntimespan: 10s\ncondition: {gte: 2}")
	st := b.set.State(correlation.Limits{})
	st.Advance(begin.Add(time.Minute))
	for _, e := range at("59:a 60:a 61:a,x") {
		b.observe(st, e)
	}
	if got := brief(st.Advance(begin.Add(62 * time.Second))); got != "C0 2@60-61 by 3 open" {
		t.Error(got)
	}
	if got := brief(st.Advance(begin.Add(80 * time.Second))); got != "C0 2@60-61 by 3" {
		t.Error(got)
	}
	if s := st.Stats(); s.Late != 1 || s.Observations != 3 {
		t.Errorf("%+v", s)
	}
}

// TestLimits holds that what is left out for want of memory is counted, that it
// does not depend on the order of arrival, and that the rest goes on.
func TestLimits(t *testing.T) {
	b := load(t, "type: event_count\nrules: a\ngroup-by: [G]\ntimespan: 10s\ncondition: {gte: 2}")
	limits := correlation.Limits{Group: 4 << 10, Rule: 40 << 10}
	rapid.Check(t, func(t *rapid.T) {
		var events []*event.Event
		for i := range rapid.IntRange(50, 200).Draw(t, "events") {
			group := fmt.Sprint("g", rapid.IntRange(0, 30).Draw(t, "group"))
			value := strings.Repeat("v", rapid.IntRange(0, 900).Draw(t, "size"))
			events = append(events, ev(i+1, rapid.IntRange(0, 500).Draw(t, "second"), "a", group, value))
		}
		run := func(events []*event.Event) (string, correlation.Stats) {
			st := b.set.State(limits)
			for _, e := range events {
				b.observe(st, e)
			}
			return brief(st.Close()), st.Stats()
		}
		want, stats := run(events)
		got, again := run(rapid.Permutation(events).Draw(t, "order"))
		if got != want || stats.Lost() != again.Lost() {
			t.Fatalf("%s %+v\nbecame\n%s %+v", want, stats, got, again)
		}
	})
}

// TestGroupsAreBounded holds that the number of groups is bounded, by the same
// ones whatever the order, that every observation is accounted for, and that
// there is room again once groups have closed.
func TestGroupsAreBounded(t *testing.T) {
	b := load(t, "type: event_count\nrules: a\ngroup-by: [G]\ntimespan: 10s\ncondition: {gte: 2}")
	rapid.Check(t, func(t *rapid.T) {
		var events []*event.Event
		for i := range rapid.IntRange(1, 200).Draw(t, "events") {
			events = append(events, ev(i+1, rapid.IntRange(0, 50).Draw(t, "second"), "a", fmt.Sprint("g", rapid.IntRange(0, 30).Draw(t, "group"))))
		}
		run := func(events []*event.Event) (string, correlation.Stats) {
			st := b.set.State(correlation.Limits{Groups: 7})
			for _, e := range events {
				b.observe(st, e)
			}
			got := st.Close()
			groups := map[string]bool{}
			for _, e := range got {
				groups[e.Group[0].Value] = true
			}
			if len(groups) > 7 {
				t.Fatalf("%d groups", len(groups))
			}
			return brief(got), st.Stats()
		}
		want, stats := run(events)
		again := append(rapid.Permutation(events).Draw(t, "order"), rapid.SliceOfN(rapid.SampledFrom(events), 0, 5).Draw(t, "twice")...)
		got, shuffled := run(again)
		if got != want || stats.Lost() > shuffled.Lost() || shuffled.Lost()+shuffled.Repeated != stats.Lost()+int64(len(again)-len(events)) {
			t.Fatalf("%s %+v\nbecame\n%s %+v", want, stats, got, shuffled)
		}
	})
	st := b.set.State(correlation.Limits{Groups: 7})
	for i := range 100 {
		b.observe(st, ev(i+1, 0, "a", fmt.Sprint("g", i)))
	}
	if lost := st.Stats().Lost(); lost != 93 {
		t.Errorf("%d of 100 groups are left out, want 93", lost)
	}
	st.Advance(begin.Add(time.Minute))
	for i := range 7 {
		b.observe(st, ev(i+200, 70, "a", fmt.Sprint("late", i)))
		b.observe(st, ev(i+300, 71, "a", fmt.Sprint("late", i)))
	}
	if got := st.Close(); len(got) != 7 {
		t.Errorf("%d of 7 groups are there once the others have closed", len(got))
	}
}

func TestManyGroups(t *testing.T) {
	b := load(t, "type: event_count\nrules: a\ngroup-by: [G]\ntimespan: 100y\ncondition: {gte: 2}")
	st := b.set.State(correlation.Limits{Rule: 8 << 20})
	const n = 100_000
	for i := range n {
		b.observe(st, ev(i+1, 0, "a", fmt.Sprint("group", i)))
	}
	s := st.Stats()
	if held := n - s.GroupEvents; held <= 0 || held > 8<<20/600 || s.Observations != n {
		t.Errorf("%d groups of one event each held in 8 MiB, %+v", held, s)
	}
	if got := st.Close(); len(got) != 0 {
		t.Errorf("%d episodes", len(got))
	}
}

func TestPseudoFields(t *testing.T) {
	b := load(t, "type: event_count\nrules: a\ngroup-by: [ProcessTree]\ntimespan: 10s\ncondition: {gte: 2}")
	st := b.set.State(correlation.Limits{})
	for _, e := range at("0:a,x 1:a,y 2:a,x 3:a,-") {
		for _, o := range b.set.Observe(e, b.matcher.Match(e, nil), func(e *event.Event, name string) (string, bool) {
			if name != "ProcessTree" {
				t.Errorf("asked for %s", name)
			}
			return e.Get("G")
		}, nil) {
			st.Add(o)
		}
	}
	if got := brief(st.Close()); got != "C0 ProcessTree=x 2@0-2 by 3" {
		t.Error(got)
	}
	if s := st.Stats(); s.Ungrouped != 1 || s.Unresolved != [3]int64{1, 0, 0} {
		t.Errorf("%+v", s)
	}
}

// TestWaiting holds that events that wait until everything is known come to what
// they come to where it is known at once, in any order and with copies; and that
// what does not fit is counted and does not depend on the order.
func TestWaiting(t *testing.T) {
	b := load(t,
		"type: temporal_ordered\nrules: [C1, d]\ngroup-by: [ProcessTree]\ntimespan: 9s",
		"type: event_count\nrules: [a, b]\ngroup-by: [Volume, V]\ntimespan: 4s\ncondition: {gte: 2}",
		"type: temporal\nrules: [a, b, c]\ngroup-by: [tree]\ntimespan: 4s\naliases: {tree: {a: ProcessTree, b: G, c: ProcessTree}}",
		"type: event_count\nrules: c\ngroup-by: [G]\ntimespan: 4s\ncondition: {gte: 2}")
	if !b.set.Pseudo() {
		t.Error("the set has pseudo-fields")
	}
	resolve := func(e *event.Event, name string) (string, bool) {
		v, ok := e.Get("G")
		return name + v, ok
	}
	rapid.Check(t, func(t *rapid.T) {
		events := drawEvents(t, 30)
		now := b.set.State(correlation.Limits{})
		now.Resolve(resolve) // for chains
		for _, e := range events {
			for _, o := range b.set.Observe(e, b.matcher.Match(e, nil), resolve, nil) {
				now.Add(o)
			}
		}
		want := brief(now.Close())
		later := func(events []*event.Event, limits correlation.Limits) (string, correlation.Stats) {
			st := b.set.State(limits)
			for _, e := range events {
				b.observe(st, e)
			}
			st.Resolve(resolve)
			return brief(st.Close()), st.Stats()
		}
		shuffled := rapid.Permutation(events).Draw(t, "order")
		twice := shuffled
		if len(events) > 0 {
			twice = append(slices.Clone(shuffled), rapid.SliceOfN(rapid.SampledFrom(events), 0, 4).Draw(t, "twice")...)
		}
		if got, s := later(twice, correlation.Limits{}); got != want || s.Lost() != 0 {
			t.Fatalf("got  %s\nwant %s\n%+v", got, want, s)
		}
		limits := correlation.Limits{Waiting: int64(rapid.IntRange(1, 10_000).Draw(t, "limit"))}
		one, a := later(events, limits)
		two, b := later(shuffled, limits)
		if one != two || a != b {
			t.Fatalf("%s %+v\nbecame\n%s %+v", one, a, two, b)
		}
	})
	st := b.set.State(correlation.Limits{})
	for _, e := range at("0:a,x,1") {
		b.observe(st, e)
	}
	st.Close()
	if s := st.Stats(); s.Unresolved != [3]int64{1, 0, 1} {
		t.Errorf("without a resolver: %+v", s)
	}
}

// TestBelongs holds that an episode says what all of its events belong to, and
// not what only some of them do.
func TestBelongs(t *testing.T) {
	b := load(t,
		"type: temporal_ordered\nrules: [C1, d]\ngroup-by: [Volume]\ntimespan: 20s",
		"type: event_count\nrules: [a]\ngroup-by: [G, Volume]\ntimespan: 10s\ncondition: {gte: 2}",
		"type: temporal\nrules: [C3, d]\ngroup-by: [ProcessTree]\ntimespan: 20s",
		"type: event_count\nrules: [a]\ngroup-by: [G]\ntimespan: 10s\ncondition: {gte: 2}",
		"type: temporal\nrules: [a, d]\ngroup-by: [who]\ntimespan: 20s\naliases: {who: {a: LogonSession, d: LogonSession}}",
		"type: temporal\nrules: [a, d]\ngroup-by: [who]\ntimespan: 20s\naliases: {who: {a: LogonSession, d: G}}")
	st := b.set.State(correlation.Limits{})
	for _, e := range at("0:a,x 1:a,x 2:d,x") {
		b.observe(st, e)
	}
	st.Resolve(func(e *event.Event, name string) (string, bool) { return e.Get("G") })
	var got []string
	for _, e := range st.Close() {
		s := e.Correlation.Rule.Title
		for _, f := range e.Belongs {
			s += " " + f.Name + "=" + f.Value
		}
		got = append(got, s)
	}
	slices.Sort(got)
	if d := cmp.Diff([]string{"C0 Volume=x", "C1 Volume=x", "C2", "C3", "C4 LogonSession=x", "C5"}, got); d != "" {
		t.Error(d)
	}
}

// FuzzRestore feeds bytes as a snapshot: what is taken must be evaluated, and
// stored and read back as the same.
func FuzzRestore(f *testing.F) {
	rules := []string{
		"type: temporal_ordered\nrules: [C1, b]\ngroup-by: [G]\ntimespan: 20s",
		"type: event_count\nrules: [a]\ngroup-by: [G]\ntimespan: 10s\ncondition: {gte: 2}",
		"type: value_avg\nrules: [a]\ntimespan: 10s\ncondition: {field: V, gte: 2}",
	}
	b := load(f, rules...)
	st := b.set.State(correlation.Limits{})
	for _, e := range at("0:a,x,1 1:a,x,2 3:b,x 50:a,y,3") {
		b.observe(st, e)
	}
	st.Advance(begin.Add(5 * time.Second))
	var buf bytes.Buffer
	if err := st.Snapshot(&buf); err != nil {
		f.Fatal(err)
	}
	f.Add(buf.Bytes())
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, data []byte) {
		st, err := b.set.Restore(bytes.NewReader(data), correlation.Limits{})
		if err != nil {
			if !errors.Is(err, correlation.ErrSnapshot) {
				t.Fatal(err)
			}
			return
		}
		var again bytes.Buffer
		if err := st.Snapshot(&again); err != nil {
			t.Fatal(err)
		}
		back, err := b.set.Restore(&again, correlation.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		if got, want := brief(back.Close()), brief(st.Close()); got != want {
			t.Fatalf("%s became %s", want, got)
		}
	})
}

// BenchmarkState takes 100,000 observations of 1,000 groups in and decides them.
func BenchmarkState(b *testing.B) {
	for _, rule := range []string{types[0], types[3], types[13]} {
		x := load(b, rule)
		var told []correlation.Observation
		for i := range 100_000 {
			e := ev(i+1, i/20, []string{"a", "b", "c"}[i%3], fmt.Sprint("g", i%1000), fmt.Sprint(i%7))
			told = x.set.Observe(e, x.matcher.Match(e, nil), nil, told)
		}
		b.Run(strings.SplitN(rule, "\n", 2)[0], func(b *testing.B) {
			for b.Loop() {
				st := x.set.State(correlation.Limits{Rule: 1 << 40})
				for _, o := range told {
					st.Add(o)
				}
				st.Close()
			}
			b.ReportMetric(float64(len(told))*float64(b.N)/b.Elapsed().Seconds(), "observations/s")
		})
	}
}

// BenchmarkAdvance follows a stream that touches 20 of 100,000 open groups a
// second: by judging what is due, and by judging every group.
func BenchmarkAdvance(b *testing.B) {
	x := load(b, "type: event_count\nrules: [a]\ngroup-by: [G]\ntimespan: 1d\ncondition: {gte: 100}")
	note := func(n, second int) []correlation.Observation {
		e := ev(n, second, "a", fmt.Sprint("g", n%100_000))
		return x.set.Observe(e, x.matcher.Match(e, nil), nil, nil)
	}
	for _, way := range []struct {
		name    string
		advance func(*correlation.State, time.Time) []correlation.Episode
	}{{"due", (*correlation.State).Advance}, {"all", (*correlation.State).AdvanceAll}} {
		b.Run(way.name, func(b *testing.B) {
			st := x.set.State(correlation.Limits{Rule: 1 << 40, Groups: 1 << 30})
			n, second := 0, 0
			for range 100_000 {
				n++
				for _, o := range note(n, 0) {
					st.Add(o)
				}
			}
			for b.Loop() {
				second++
				for range 20 {
					n++
					for _, o := range note(n, second) {
						st.Add(o)
					}
				}
				way.advance(st, begin.Add(time.Duration(second-5)*time.Second))
			}
		})
	}
}

// TestExplain holds what is said of the nearest window.
func TestExplain(t *testing.T) {
	for _, test := range []struct{ name, rule, events, want string }{
		{"count", "type: event_count\nrules: a\ngroup-by: G\ntimespan: 10s\ncondition: {gte: 3}", "0:a,x 8:a,x 13:a,x 40:a,y", "x no 2 of 3 from 0 measure 2; y no 1 of 1 from 40 measure 1"},
		{"it holds", "type: event_count\nrules: a\ngroup-by: G\ntimespan: 10s\ncondition: {gte: 2}", "0:a,x 8:a,x 9:a,x", "x yes 3 of 3 from 0 measure 3"},
		{"values", "type: value_count\nrules: a\ngroup-by: G\ntimespan: 10s\ncondition: {field: V, gte: 3}", "0:a,x,1 1:a,x,1 9:a,x,2 11:a,x,3", "x yes 3 of 4 from 1 measure 3"},
		{"temporal", "type: temporal\nrules: [a, b, c]\ngroup-by: G\ntimespan: 10s", "0:a,x 5:c,x 30:b,x", "x no 2 of 3 from 0 measure 2 occurs a c"},
		{"in order", "type: temporal_ordered\nrules: [a, b, c]\ngroup-by: G\ntimespan: 10s", "0:b,x 1:a,x 2:c,x", "x no 3 of 3 from 0 measure 2 occurs a b c in order a c"},
		{"extended", "type: temporal_ordered\nrules: [a, b, c]\ngroup-by: G\ntimespan: 10s\ncondition: (a and b) and not c", "0:a,x 1:b,x 2:c,x", "x no 3 of 3 from 0 measure 3 occurs a b c in order a b"},
		{"a range", "type: event_count\nrules: a\ngroup-by: G\ntimespan: 10s\ncondition: {gte: 2, lte: 3}", "0:a,x 20:a,x 21:a,x 22:a,x 23:a,x 24:a,x", "x no 1 of 6 from 0 measure 1"},
		{"a sum", "type: value_sum\nrules: a\ngroup-by: G\ntimespan: 10s\ncondition: {field: V, gt: 10}", "0:a,x,4 8:a,x,6", "x no 2 of 2 from 0 measure 10"},
		{"a share", "type: value_percentile\nrules: a\ngroup-by: G\ntimespan: 10s\ncondition: {field: V, lte: 25}", "0:a,x,p 1:a,x,q 2:a,x,p", "x no 3 of 3 from 0 measure 33"},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := load(t, test.rule)
			st := b.set.State(correlation.Limits{})
			for _, e := range at(test.events) {
				b.observe(st, e)
			}
			var got []string
			for _, n := range st.Explain(b.list[0], 9).Near {
				s := fmt.Sprintf("%s %s %d of %d from %v measure %.0f", n.Group[0].Value, map[bool]string{true: "yes", false: "no"}[n.Holds], n.Count, n.Events, n.From.Sub(begin).Seconds(), n.Measure)
				for i, list := range [][]bool{n.Occurs, n.InOrder} {
					if len(b.list[0].Bases) == 1 || len(list) == 0 {
						continue
					}
					s += []string{" occurs", " in order"}[i]
					for j, yes := range list {
						if yes {
							s += " " + b.list[0].Bases[j].Rule.Title
						}
					}
				}
				got = append(got, s)
			}
			if s := strings.Join(got, "; "); s != test.want {
				t.Errorf("got  %s\nwant %s", s, test.want)
			}
		})
	}
}

// TestExplainAgrees holds that a group is explained to hold if and only if the
// correlation has an episode of it.
func TestExplainAgrees(t *testing.T) {
	for _, rule := range types {
		b := load(t, rule)
		t.Run(strings.SplitN(rule, "\n", 2)[0], func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				st := b.set.State(correlation.Limits{})
				for _, e := range drawEvents(t, 25) {
					b.observe(st, e)
				}
				x := st.Explain(b.list[0], 1000)
				key := func(fields []event.Field) string {
					s := ""
					for _, f := range fields {
						s += strings.ToLower(f.Value) + "|"
					}
					return s
				}
				want, got := map[string]bool{}, map[string]bool{}
				for _, e := range x.Episodes {
					want[key(e.Group)] = true
				}
				for _, n := range x.Near {
					if n.Holds {
						got[key(n.Group)] = true
					}
					if n.Count < 1 || n.Count > n.Events || len(n.Window) != n.Count || n.Cut {
						t.Fatalf("%+v", n)
					}
				}
				if d := cmp.Diff(want, got); d != "" || x.Held != len(want) || x.Groups != len(x.Near) {
					t.Fatal(d)
				}
			})
		})
	}
}
