package main

import (
	"context"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"ashiato/internal/detect"
	"ashiato/internal/diagram"
	"ashiato/internal/event"
	"ashiato/internal/normalize"
	"ashiato/internal/provenance"
	"ashiato/internal/ruleset"
	"ashiato/internal/sigma"
	"ashiato/internal/sigma/correlation"
	"ashiato/internal/source"
	"ashiato/internal/source/files"
	"ashiato/internal/visible"
	"ashiato/internal/world"
)

// maxMembers is how many events of a window are printed as text.
const maxMembers = 10

// correlationsOf are the correlations of a set that a file holds or that go by a
// name.
func correlationsOf(set *ruleset.Set, name string) []*sigma.Correlation {
	file := filepath.ToSlash(name)
	var out []*sigma.Correlation
	found, _ := findRules(set, name) // none is no fault: it may be a file
	for _, c := range set.Correlations {
		if c.Rule.File == file || slices.ContainsFunc(found, func(r *detect.Rule) bool { return r.ID == c.Rule.Key() }) {
			out = append(out, c)
		}
	}
	return out
}

func explainCorrelations(cmd *cobra.Command, set *ruleset.Set, name, path string, ordinal, nearest int, format string) error {
	if ordinal > 0 {
		return withHint(fmt.Errorf("%q is a correlation, which looks at many events", name), "leave out # and the number")
	}
	docs := []*correlationDoc{}
	held := false
	for _, c := range correlationsOf(set, name) {
		doc, problems, err := explainCorrelation(cmd.Context(), set, c, path, nearest)
		if err != nil {
			return err
		}
		inputProblems(cmd, problems)
		held = held || doc.Held > 0
		docs = append(docs, doc)
	}
	if format == "json" {
		if err := printJSON(cmd, docs); err != nil {
			return err
		}
	} else {
		for i, d := range docs {
			if i > 0 {
				fmt.Fprintln(cmd.OutOrStdout())
			}
			d.print(cmd.OutOrStdout())
		}
	}
	if !held {
		return errFound
	}
	return nil
}

// correlationDoc is what is printed of one correlation, and its JSON form.
type correlationDoc struct {
	Correlation string           `json:"correlation"`
	ID          string           `json:"id,omitempty"`
	File        string           `json:"file"`
	Line        int              `json:"line"`
	Type        string           `json:"type"`
	Seconds     int64            `json:"timespan_seconds"`
	GroupBy     []string         `json:"group_by"`
	Condition   string           `json:"condition"`
	Rules       []correlatedRule `json:"rules"`
	// Left out before the groups, of the whole chain.
	Ungrouped int64       `json:"without_group"`
	Unvalued  int64       `json:"without_value"`
	Lost      int64       `json:"beyond_memory"`
	Groups    int         `json:"groups"`
	Held      int         `json:"groups_that_hold"`
	Near      []nearGroup `json:"nearest"`

	span time.Duration
}

// correlatedRule is a rule that the correlation names. Fired counts the events
// that it holds for, or the episodes of a correlation.
type correlatedRule struct {
	Title       string `json:"title"`
	ID          string `json:"id,omitempty"`
	Correlation bool   `json:"is_correlation,omitempty"`
	Fired       int64  `json:"fired"`
}

type nearGroup struct {
	Group   []foundValue  `json:"group"`
	Holds   bool          `json:"holds"`
	Events  int           `json:"events"`
	First   string        `json:"first"`
	Last    string        `json:"last"`
	From    string        `json:"window_from"`
	Count   int           `json:"window_events"`
	Measure float64       `json:"measure"`
	Rules   []nearRule    `json:"rules"`
	Window  []nearMember  `json:"window"`
	Cut     bool          `json:"incomplete,omitempty"`
	said    []string      // in sentences
	lines   []ruleAndMark // of temporal types
}

type nearRule struct {
	Title   string `json:"title"`
	Occurs  bool   `json:"occurs"`
	InOrder *bool  `json:"in_order,omitempty"`
}

type ruleAndMark struct {
	holds bool
	text  string
}

type nearMember struct {
	File     string   `json:"file"`
	Offset   int64    `json:"offset"`
	RecordID uint64   `json:"record_id"`
	Time     string   `json:"time"`
	Host     string   `json:"host"`
	Channel  string   `json:"channel"`
	EventID  uint32   `json:"event_id"`
	Rules    []string `json:"rules"`
}

// explainCorrelation evaluates a correlation, with all that it names, alone.
func explainCorrelation(ctx context.Context, set *ruleset.Set, c *sigma.Correlation, path string, nearest int) (*correlationDoc, []source.Problem, error) {
	var chain []*sigma.Correlation
	var rules []*sigma.Rule
	var visit func(*sigma.Correlation)
	visit = func(c *sigma.Correlation) {
		for _, b := range c.Bases {
			if b.Rule != nil && !slices.Contains(rules, b.Rule) {
				rules = append(rules, b.Rule)
			} else if b.Correlation != nil && !slices.Contains(chain, b.Correlation) {
				visit(b.Correlation)
			}
		}
		chain = append(chain, c)
	}
	visit(c)
	engine, errs := sigma.Compile(rules, set.Options)
	if len(errs) > 0 {
		return nil, nil, errs[0] // they compiled before
	}
	correlations := correlation.New(chain)
	state := correlations.State(correlation.Limits{})
	var joins *provenance.Builder
	if correlations.Pseudo() {
		joins = provenance.NewBuilder(world.New(world.Limits{}))
	}
	var mu sync.Mutex
	fired := map[*sigma.Rule]int64{}
	matchers := sync.Pool{New: func() any { return engine.Matcher() }}
	_, problems := files.Scan(ctx, []string{path}, files.Options{}, func(batch []*event.Event) {
		matcher := matchers.Get().(*sigma.Matcher)
		defer matchers.Put(matcher)
		var told []correlation.Observation
		found := map[*sigma.Rule]int64{}
		for _, e := range batch {
			normalize.Event(e)
			matches := matcher.Match(e, nil)
			for _, m := range matches {
				found[m.Rule]++
			}
			told = correlations.Observe(e, matches, nil, told)
		}
		mu.Lock()
		defer mu.Unlock()
		for r, n := range found {
			fired[r] += n
		}
		for _, o := range told {
			state.Add(o)
		}
		if joins != nil {
			for _, e := range batch {
				joins.Add(e)
			}
		}
	})
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	if joins != nil {
		state.Resolve(provenance.NewBelonging(joins.Build()).Of)
	}
	x := state.Explain(c, nearest)
	for _, e := range x.Episodes {
		fired[e.Correlation.Rule]++
	}
	stats := state.Stats()
	doc := &correlationDoc{
		Correlation: c.Rule.Title, ID: c.Rule.ID, File: c.Rule.File, Line: c.Rule.Line, Type: string(c.Type),
		Seconds: int64(c.Timespan / time.Second), GroupBy: append([]string{}, c.GroupBy...), Condition: conditionOf(c),
		Ungrouped: stats.Ungrouped, Unvalued: stats.Unvalued, Lost: stats.Lost(),
		Groups: x.Groups, Held: x.Held, Near: []nearGroup{}, span: c.Timespan,
	}
	for _, b := range c.Bases {
		m := b.Meta()
		doc.Rules = append(doc.Rules, correlatedRule{m.Title, m.ID, b.Correlation != nil, fired[m]})
	}
	for i := range x.Near {
		doc.Near = append(doc.Near, newNearGroup(c, &x.Near[i]))
	}
	return doc, problems, nil
}

// comparisons are how a bound is said.
var comparisons = map[string]string{
	"gte": "at least", "gt": "more than", "lte": "at most", "lt": "less than", "eq": "exactly", "neq": "anything but",
}

// what a correlation measures, in the plural.
func measured(c *sigma.Correlation) string {
	fields := visible.Text(strings.Join(c.Fields, " + "))
	switch c.Type {
	case sigma.ValueCount:
		return "different values of " + fields
	case sigma.Temporal:
		return "of the rules"
	case sigma.TemporalOrdered:
		return "of the rules in their order"
	case sigma.ValueSum:
		return "as the sum of " + fields
	case sigma.ValueAvg:
		return "as the average of " + fields
	case sigma.ValueMedian:
		return "as the median of " + fields
	case sigma.ValuePercentile:
		if c.Percentile == 0 {
			return "per cent of the events as the share of a value of " + fields
		}
		return fmt.Sprintf("as percentile %d of %s", c.Percentile, fields)
	}
	return "events"
}

// measureText writes a measure with at most three decimals.
func measureText(x float64) string { return strconv.FormatFloat(math.Round(x*1000)/1000, 'f', -1, 64) }

// conditionOf says a condition in words.
func conditionOf(c *sigma.Correlation) string {
	var parts []string
	for _, k := range c.Compare {
		parts = append(parts, comparisons[k.Op]+" "+measureText(k.Bound))
	}
	if c.Terms == nil {
		return strings.Join(parts, " and ") + " " + measured(c)
	}
	for _, t := range c.Terms {
		var names []string
		for i, b := range c.Bases {
			if title := strconv.Quote(visible.Text(b.Meta().Title)); t.With>>i&1 == 1 {
				names = append(names, title)
			} else if t.Without>>i&1 == 1 {
				names = append(names, "not "+title)
			}
		}
		parts = append(parts, strings.Join(names, " and "))
	}
	s := strings.Join(parts, ", or ")
	if c.Type == sigma.TemporalOrdered {
		s += ", in their order"
	}
	return s
}

// spanText writes a timespan without parts that are zero: 5m, 1h30m, 48h.
func spanText(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

func clock(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05Z") }

func newNearGroup(c *sigma.Correlation, n *correlation.Near) nearGroup {
	g := nearGroup{
		Group: []foundValue{}, Holds: n.Holds, Events: n.Events, First: n.First.UTC().Format(event.TimeFormat), Last: n.Last.UTC().Format(event.TimeFormat),
		From: n.From.UTC().Format(event.TimeFormat), Count: n.Count, Measure: n.Measure, Rules: []nearRule{}, Window: []nearMember{}, Cut: n.Cut,
	}
	for _, f := range n.Group {
		g.Group = append(g.Group, foundValue{f.Name, diagram.Text(f.Value)})
	}
	for _, m := range n.Window {
		e := m.Event
		member := nearMember{e.Ref.File, e.Ref.Offset, e.Ref.RecordID, e.Time.UTC().Format(event.TimeFormat), e.Host, e.Channel, e.ID, nil}
		for _, b := range m.Bases {
			member.Rules = append(member.Rules, c.Bases[b].Meta().Title)
		}
		g.Window = append(g.Window, member)
	}
	temporal := c.Type == sigma.Temporal || c.Type == sigma.TemporalOrdered
	verdict := "the correlation does not hold"
	if n.Holds {
		verdict = "the correlation holds"
	}
	switch {
	case c.Terms != nil:
		g.said = append(g.said, fmt.Sprintf("%s: it wants %s", verdict, conditionOf(c)))
	case n.Holds:
		g.said = append(g.said, fmt.Sprintf("%s: %s %s", verdict, measureText(n.Measure), measured(c)))
	default:
		g.said = append(g.said, fmt.Sprintf("%s: %s %s, and it wants %s", verdict, measureText(n.Measure), measured(c), strings.TrimSuffix(conditionOf(c), " "+measured(c))))
	}
	g.said = append(g.said, fmt.Sprintf("the window of %s from %s has %s of the group's %d (%s to %s)",
		spanText(c.Timespan), clock(n.From), countOf(n.Count, "event"), n.Events, clock(n.First), clock(n.Last)))
	if n.Cut {
		g.said = append(g.said, "the group has too many events to try every window; a nearer one may exist")
	}
	if !temporal {
		return g
	}
	forbidden := uint64(0)
	for _, t := range c.Terms {
		forbidden |= t.Without
	}
	for i, b := range c.Bases {
		r := nearRule{Title: b.Meta().Title, Occurs: n.Occurs[i]}
		title := visible.Text(r.Title)
		line := ruleAndMark{r.Occurs, title}
		if n.InOrder != nil {
			r.InOrder = &n.InOrder[i]
			line.holds = n.InOrder[i]
		}
		switch {
		case !r.Occurs && forbidden>>i&1 == 1:
			line = ruleAndMark{true, title + ": does not occur, as wanted"}
		case !r.Occurs:
			line.text += ": does not occur in the window"
		case forbidden>>i&1 == 1:
			line = ruleAndMark{false, title + ": occurs, and must not"}
		case !line.holds:
			line.text += ": occurs, but not in its place of the order"
		}
		g.Rules = append(g.Rules, r)
		g.lines = append(g.lines, line)
	}
	return g
}

func countOf(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func (d *correlationDoc) print(out io.Writer) {
	by := "all events together"
	if len(d.GroupBy) > 0 {
		by = "by " + visible.Text(strings.Join(d.GroupBy, ", "))
	}
	fmt.Fprintf(out, "correlation  %s (%s:%d), %s within %s, %s\n", visible.Text(d.Correlation), visible.Text(d.File), d.Line, d.Type, spanText(d.span), by)
	fmt.Fprintf(out, "it wants     %s\n", d.Condition)
	for _, r := range d.Rules {
		what := "events"
		if r.Correlation {
			what = "episodes"
		}
		fmt.Fprintf(out, "  %7d %s of %s\n", r.Fired, what, visible.Text(r.Title))
	}
	if d.Ungrouped > 0 {
		fmt.Fprintf(out, "  %7d left out: without a field that they are grouped by, or not known what they belong to\n", d.Ungrouped)
	}
	if d.Unvalued > 0 {
		fmt.Fprintf(out, "  %7d left out: without the value that is measured\n", d.Unvalued)
	}
	if d.Lost > 0 {
		fmt.Fprintf(out, "  %7d left out for want of memory\n", d.Lost)
	}
	switch {
	case d.Groups == 0:
		fmt.Fprintln(out, "there is no group, so the correlation has nothing to look at")
	default:
		fmt.Fprintf(out, "%s; it holds for %d; the nearest follow\n", countOf(d.Groups, "group"), d.Held)
	}
	for _, g := range d.Near {
		var values []string
		for _, f := range g.Group {
			values = append(values, visible.Text(f.Field)+" "+shown(string(f.Value)))
		}
		fmt.Fprintf(out, "\ngroup  %s\n", strings.Join(values, ", "))
		for _, s := range g.said {
			fmt.Fprintln(out, s)
		}
		for _, l := range g.lines {
			mark := "no "
			if l.holds {
				mark = "yes"
			}
			fmt.Fprintf(out, "%s  %s\n", mark, l.text)
		}
		for i, m := range g.Window {
			if i == maxMembers {
				break
			}
			t, err := time.Parse(event.TimeFormat, m.Time)
			if err != nil {
				continue // it was written so above
			}
			fmt.Fprintf(out, "     %s  %s, record %d, %s, %s %d: %s\n", clock(t), visible.Text(m.File), m.RecordID, visible.Text(m.Host),
				visible.Text(m.Channel), m.EventID, visible.Text(strings.Join(m.Rules, ", ")))
		}
		if more := g.Count - min(len(g.Window), maxMembers); more > 0 {
			fmt.Fprintf(out, "     and %d more\n", more)
		}
	}
}
