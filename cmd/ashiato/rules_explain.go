package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"ashiato/internal/diagram"
	"ashiato/internal/event"
	"ashiato/internal/fold"
	"ashiato/internal/i18n"
	"ashiato/internal/normalize"
	"ashiato/internal/ruleset"
	"ashiato/internal/sigma"
	"ashiato/internal/source"
	"ashiato/internal/source/files"
	"ashiato/internal/visible"
)

// Bounds on what `rules explain` looks at and prints.
const (
	maxConsidered = 20_000 // events of the log source, without a number
	maxSteps      = 2_000  // lines about one condition
	maxShown      = 300    // characters of one value
	maxListed     = 8      // values of one field that do not hold
	maxOrdinal    = 10_000_000
)

func newRulesExplain() *cobra.Command {
	var f ruleFlags
	var format string
	var nearest int
	cmd := &cobra.Command{
		Use:   "explain [--rules DIR] RULE EVENT-FILE[#N]",
		Short: "Explain why a rule holds for an event, or what is missing",
		Long: `Evaluate a rule for an event and show of each part of its condition whether it
holds, with the event's values, and where one fails how near it came.

RULE is a rule's file, or the id, name, alias or file base name of a loaded rule.
EVENT-FILE#N is the Nth event of a file (or of all files of a folder or archive),
in the order of the files. Without #N all events of the rule's log source are
tried and the nearest ones explained.

A correlation looks at many events: it takes a file without #N, and says for the
groups that came nearest how many events counted, in which window, and what of
its condition is missing.

Exit status: 0 the rule holds (for one of the events), 1 it does not,
2 it could not be tried.`,
		Example: `  ashiato rules explain my-rule.yml logs/Security.evtx#12
  ashiato rules explain mock-folder-file logs/
  ashiato rules explain --rules ~/sigma/rules "Whoami Utility Execution" logs.ndjson --nearest 5`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 2 {
				return nil
			}
			return withHint(fmt.Errorf("%s takes a rule and a file with events, not %d arguments", strings.TrimPrefix(cmd.CommandPath(), "ashiato "), len(args)),
				"as in `ashiato rules explain my-rule.yml logs/Security.evtx#12`; a name with blanks needs quotes")
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			lang, err := language(f.lang)
			if err != nil {
				return err
			}
			if format != "text" && format != "json" {
				return withHint(fmt.Errorf("--format %q: unknown", format), "use text or json")
			}
			if nearest < 1 || nearest > 1000 {
				return withHint(fmt.Errorf("--nearest %d is out of range", nearest), "use a number from 1 to 1000")
			}
			path, ordinal, err := eventPlace(args[1])
			if err != nil {
				return err
			}
			set, rules, err := explainedRules(f, args[0])
			if err != nil {
				return err
			}
			if len(rules) == 0 {
				return explainCorrelations(cmd, set, args[0], path, ordinal, nearest, format)
			}
			held := false
			var docs []explainedDoc
			for _, r := range rules {
				text, err := ruleset.Text(r.File)
				if err != nil {
					return err
				}
				x, err := sigma.NewExplainer(r, set.Options, text)
				if err != nil {
					return err
				}
				var got *considered
				if ordinal > 0 {
					got, err = nthEvent(cmd.Context(), path, ordinal)
				} else {
					got, err = nearestEvents(cmd.Context(), path, r, x, nearest)
				}
				if err != nil {
					return err
				}
				inputProblems(cmd, got.problems)
				doc := explainedDoc{Rule: r.Title, ID: r.ID, File: r.File, Line: r.Line, LogSource: r.LogSource.String(), Considered: got.tried, OfLogSource: got.all, Events: []explainedEvent{}}
				for _, e := range got.events {
					ex := x.Explain(e)
					held = held || ex.Holds
					doc.Events = append(doc.Events, explainedEvent{event: e, explanation: ex})
				}
				docs = append(docs, doc)
			}
			if format == "json" {
				for i := range docs {
					docs[i].fill()
				}
				err = printJSON(cmd, docs)
			} else {
				for i := range docs {
					if i > 0 {
						fmt.Fprintln(cmd.OutOrStdout())
					}
					docs[i].print(cmd.OutOrStdout(), lang, ordinal > 0, set.Options.Placeholders)
				}
			}
			if err == nil && !held {
				err = errFound
			}
			return err
		},
	}
	f.add(cmd)
	addLang(cmd, &f.lang)
	cmd.Flags().IntVar(&nearest, "nearest", 3, "without #N, explain this `many` of the nearest events")
	cmd.Flags().StringVar(&format, "format", "text", "print this `format`: text or json")
	return cmd
}

// explainedRules are the rules of a file, or those of the set that go by a name,
// and the set that they are of. There are none if the name is that of
// correlations, or of a file that holds any.
func explainedRules(f ruleFlags, name string) (*ruleset.Set, []*sigma.Rule, error) {
	if st, err := os.Stat(name); err == nil && st.Mode().IsRegular() {
		set, err := loadRules([]string{name}, false, nil, f.processing)
		if err != nil {
			return nil, nil, err
		}
		if len(set.Correlations) > 0 {
			return set, nil, nil
		}
		if len(set.Problems) > 0 {
			// Correlations may name rules of other files.
			more, err := loadRules(append(slices.Clone(f.rules), name), len(f.rules) == 0, nil, f.processing)
			if err == nil && len(correlationsOf(more, name)) > 0 {
				return more, nil, nil
			}
		}
		if len(set.Rules) == 0 && len(set.Problems) > 0 {
			return nil, nil, set.Problems[0]
		}
		if len(set.Rules) == 0 {
			return nil, nil, withHint(fmt.Errorf("%s holds no rule", name), "filters change rules; explain the rules that they are for")
		}
		return set, set.Rules, nil
	}
	set, err := f.load()
	if err != nil {
		return nil, nil, err
	}
	byKey := map[string]*sigma.Rule{}
	for _, r := range set.Rules {
		byKey[r.Key()] = r
	}
	found, err := findRules(set, name)
	if err != nil {
		for _, p := range set.Problems { // it may be there and not load
			if se := new(sigma.Error); errors.As(p, &se) && (se.Rule == name || strings.EqualFold((&sigma.Rule{File: se.File}).Base(), name)) {
				return nil, nil, p
			}
		}
		return nil, nil, err
	}
	var out []*sigma.Rule
	for _, d := range found {
		if r := byKey[d.ID]; r != nil {
			out = append(out, r)
		}
	}
	return set, out, nil
}

// eventPlace takes FILE#N apart; a file that is called so is meant itself.
func eventPlace(arg string) (path string, ordinal int, err error) {
	if _, err := os.Stat(arg); err == nil {
		return arg, 0, nil
	}
	i := strings.LastIndexByte(arg, '#')
	if i < 0 {
		return "", 0, readable([]string{arg})
	}
	n, err := strconv.Atoi(arg[i+1:])
	if err != nil || n < 1 || n > maxOrdinal {
		return "", 0, withHint(fmt.Errorf("%q is not the number of an event", arg[i+1:]), "the first event of a file is #1")
	}
	return arg[:i], n, readable([]string{arg[:i]})
}

// considered are the events to explain.
type considered struct {
	events   []*event.Event
	all      int64 // events of the log source, -1 if that was not counted
	tried    int64
	problems []source.Problem
}

// eventKey is where an event stands in its input.
type eventKey struct {
	file   string
	offset int64
	record uint64
}

func keyOf(e *event.Event) eventKey { return eventKey{e.Ref.File, e.Ref.Offset, e.Ref.RecordID} }

func compareKeys(a, b eventKey) int {
	return cmp.Or(strings.Compare(a.file, b.file), cmp.Compare(a.offset, b.offset), cmp.Compare(a.record, b.record))
}

// nthEvent reads the input twice: for the order of its events, and for the one.
func nthEvent(ctx context.Context, path string, n int) (*considered, error) {
	var mu sync.Mutex
	var keys []eventKey
	total := 0
	first := func() { // keeps the n first
		slices.SortFunc(keys, compareKeys)
		keys = keys[:min(len(keys), n)]
	}
	_, problems := files.Scan(ctx, []string{path}, files.Options{}, func(batch []*event.Event) {
		mu.Lock()
		defer mu.Unlock()
		for _, e := range batch {
			keys = append(keys, keyOf(e))
		}
		total += len(batch)
		if len(keys) > 2*n+1<<16 {
			first()
		}
	})
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	first()
	if total < n {
		return nil, withHint(fmt.Errorf("%s has %d events, not %d", path, total, n), "leave out # and the number to try all events of the rule's log source")
	}
	want := keys[n-1]
	out := &considered{all: -1, tried: 1, problems: problems}
	files.Scan(ctx, []string{path}, files.Options{}, func(batch []*event.Event) {
		mu.Lock()
		defer mu.Unlock()
		for _, e := range batch {
			if keyOf(e) == want && len(out.events) == 0 {
				normalize.Event(e)
				out.events = append(out.events, e)
			}
		}
	})
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if len(out.events) == 0 {
		return nil, fmt.Errorf("%s changed while it was read", path)
	}
	return out, nil
}

// nearestEvents tries the events of the rule's log source, the first ones in the
// order of the input if there are very many, and returns the nearest.
func nearestEvents(ctx context.Context, path string, r *sigma.Rule, x *sigma.Explainer, n int) (*considered, error) {
	var mu sync.Mutex
	var kept []*event.Event
	out := &considered{}
	order := func(a, b *event.Event) int { return compareKeys(keyOf(a), keyOf(b)) }
	_, problems := files.Scan(ctx, []string{path}, files.Options{}, func(batch []*event.Event) {
		mu.Lock()
		defer mu.Unlock()
		for _, e := range batch {
			normalize.Event(e)
			if !r.Applies(e) {
				continue
			}
			out.all++
			kept = append(kept, e)
		}
		if len(kept) > 2*maxConsidered {
			slices.SortFunc(kept, order)
			clear(kept[maxConsidered:])
			kept = kept[:maxConsidered]
		}
	})
	slices.SortFunc(kept, order)
	kept = kept[:min(len(kept), maxConsidered)]
	out.problems, out.tried = problems, int64(len(kept))
	distance := make(map[*event.Event]int, len(kept))
	for _, e := range kept {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		distance[e] = x.Distance(e)
	}
	slices.SortStableFunc(kept, func(a, b *event.Event) int { return distance[a] - distance[b] })
	out.events = kept[:min(len(kept), n)]
	return out, ctx.Err()
}

// explainedDoc is what is printed of one rule, and its JSON form.
type explainedDoc struct {
	Rule        string           `json:"rule"`
	ID          string           `json:"id,omitempty"`
	File        string           `json:"file"`
	Line        int              `json:"line"`
	LogSource   string           `json:"log_source"`
	OfLogSource int64            `json:"events_of_log_source"` // -1 with a number
	Considered  int64            `json:"events_tried"`
	Events      []explainedEvent `json:"events"`
}

type explainedEvent struct {
	event       *event.Event
	explanation *sigma.Explanation

	File       string          `json:"file"`
	Offset     int64           `json:"offset"`
	RecordID   uint64          `json:"record_id"`
	Time       string          `json:"time"`
	Host       string          `json:"host"`
	Channel    string          `json:"channel"`
	Provider   string          `json:"provider"`
	EventID    uint32          `json:"event_id"`
	Holds      bool            `json:"holds"`
	IsOfSource bool            `json:"of_log_source"`
	Distance   int             `json:"distance"`
	Conditions []explainedStep `json:"conditions"`
	Truncated  bool            `json:"truncated,omitempty"`
}

type explainedStep struct {
	Op     string          `json:"op"`
	Search string          `json:"search,omitempty"`
	Holds  bool            `json:"holds"`
	Of     []explainedStep `json:"of,omitempty"`
	Item   *explainedItem  `json:"item,omitempty"`
}

type explainedItem struct {
	Line    int                `json:"line"`
	Column  int                `json:"column"`
	Key     string             `json:"key"`
	All     bool               `json:"all,omitempty"`
	Negated bool               `json:"negated,omitempty"`
	Found   []foundValue       `json:"event"`
	Values  []explainedCompare `json:"values"`
}

type foundValue struct {
	Field string       `json:"field"`
	Value diagram.Text `json:"value"` // every code unit kept
}

type explainedCompare struct {
	Value string       `json:"value"`
	Holds bool         `json:"holds"`
	Near  diagram.Text `json:"near,omitempty"`
	Note  string       `json:"note,omitempty"`
}

func (d *explainedDoc) fill() {
	for i := range d.Events {
		x := &d.Events[i]
		e := x.event
		x.File, x.Offset, x.RecordID, x.Time = e.Ref.File, e.Ref.Offset, e.Ref.RecordID, e.Time.UTC().Format(event.TimeFormat)
		x.Host, x.Channel, x.Provider, x.EventID = e.Host, e.Channel, e.Provider, e.ID
		x.Holds, x.IsOfSource, x.Distance = x.explanation.Holds, x.explanation.Source, x.explanation.Distance
		left := maxSteps
		x.Conditions = steps(x.explanation.Conditions, &left)
		x.Truncated = left < 0
	}
}

func steps(list []*sigma.Step, left *int) []explainedStep {
	var out []explainedStep
	for _, s := range list {
		if *left--; *left < 0 {
			return out
		}
		step := explainedStep{Op: s.Op, Search: s.Search, Holds: s.Holds, Of: steps(s.Kids, left)}
		if it := s.Item; it != nil {
			item := &explainedItem{Line: it.Line, Column: it.Column, Key: it.Key, All: it.All, Negated: it.Negated, Found: []foundValue{}}
			for _, f := range it.Found {
				item.Found = append(item.Found, foundValue{f.Name, diagram.Text(f.Value)})
			}
			for _, v := range it.Values {
				item.Values = append(item.Values, explainedCompare{v.Text, v.Holds, diagram.Text(v.Near), v.Note})
			}
			step.Item = item
		}
		out = append(out, step)
	}
	return out
}

// shown is a foreign value in quotes, with its misleading characters marked.
func shown(s string) string {
	cut := ""
	if n := utf8.RuneCountInString(s); n > maxShown {
		at := 0
		for i := range s {
			if at == maxShown {
				s = s[:i]
				break
			}
			at++
		}
		cut = fmt.Sprintf("… (%d characters in all)", n)
	}
	return "'" + visible.Text(s) + "'" + cut
}

func (d *explainedDoc) print(out io.Writer, lang i18n.Lang, single bool, placeholders map[string][]string) {
	source := visible.Text(d.LogSource)
	fmt.Fprintln(out, lang.T("explain.rule", visible.Text(d.Rule), visible.Text(d.File)+":"+strconv.Itoa(d.Line), source))
	if !single {
		switch {
		case d.OfLogSource == 0:
			fmt.Fprintln(out, lang.T("explain.none", source))
		case d.Considered < d.OfLogSource:
			fmt.Fprintln(out, lang.T("explain.first", i18n.Number(int(d.Considered)), i18n.Number(int(d.OfLogSource))))
		default:
			fmt.Fprintln(out, lang.T("explain.tried", i18n.Number(int(d.Considered))))
		}
	}
	for _, x := range d.Events {
		e, ex := x.event, x.explanation
		fmt.Fprintf(out, "\n%s\n", lang.T("explain.event", visible.Text(e.Ref.File), strconv.FormatUint(e.Ref.RecordID, 10),
			e.Time.UTC().Format("2006-01-02 15:04:05Z"), visible.Text(e.Host), visible.Text(e.Channel), strconv.FormatUint(uint64(e.ID), 10)))
		switch {
		case ex.Holds:
			fmt.Fprintln(out, lang.T("explain.holds"))
		case !ex.Source && ex.Distance == 0:
			fmt.Fprintln(out, lang.T("explain.source-only", source))
		case !ex.Source:
			fmt.Fprintln(out, lang.T("explain.source", source))
		default:
			fmt.Fprintln(out, lang.T("explain.distance", i18n.Number(ex.Distance)))
		}
		if ex.Distance > 0 {
			for i, it := range ex.Decisive {
				if i == maxListed {
					fmt.Fprintf(out, "  %s\n", lang.Count("text.more", len(ex.Decisive)-i))
					break
				}
				fmt.Fprintf(out, "  %s\n", lang.T("explain.line", strconv.Itoa(it.Line), itemKey(it, lang)))
			}
		}
		fmt.Fprintln(out)
		p := stepPrinter{out: out, lang: lang, left: maxSteps, placeholders: placeholders}
		for _, s := range ex.Conditions {
			p.step(s, 0, "")
		}
		if p.left < 0 {
			fmt.Fprintln(out, lang.T("explain.rest"))
		}
	}
}

func itemKey(it *sigma.ItemStep, lang i18n.Lang) string {
	if it.Field == "" {
		return lang.T("explain.keywords") + visible.Text(it.Key)
	}
	return visible.Text(it.Key)
}

type stepPrinter struct {
	out          io.Writer
	lang         i18n.Lang
	left         int
	placeholders map[string][]string
}

// stands tells what the placeholders of an item stand for.
func (p *stepPrinter) stands(it *sigma.ItemStep, depth int) {
	if !slices.Contains(strings.Split(it.Key, "|"), "expand") {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(p.placeholders)) {
		if !slices.ContainsFunc(it.Values, func(v sigma.ValueStep) bool { return strings.Contains(v.Text, "%"+name+"%") }) {
			continue
		}
		values := p.placeholders[name]
		var texts []string
		for _, v := range values[:min(len(values), maxListed)] {
			texts = append(texts, shown(v))
		}
		if more := len(values) - len(texts); more > 0 {
			texts = append(texts, p.lang.Count("text.more", more))
		}
		p.note(depth, p.lang.T("explain.stands", visible.Text(name), strings.Join(texts, ", ")))
	}
}

func (p *stepPrinter) line(holds bool, depth int, text string) {
	mark := p.lang.T("explain.no")
	if holds {
		mark = p.lang.T("explain.yes")
	}
	p.print(mark, depth, text)
}

func (p *stepPrinter) note(depth int, text string) { p.print("", depth, text) }

// print prints a line of the condition behind the column that says what holds.
func (p *stepPrinter) print(mark string, depth int, text string) {
	if p.left--; p.left < 0 {
		return
	}
	width := max(fold.Width(p.lang.T("explain.yes")), fold.Width(p.lang.T("explain.no")))
	fmt.Fprintf(p.out, "%s  %s%s\n", mark+strings.Repeat(" ", width-fold.Width(mark)), strings.Repeat("  ", min(depth, 20)), text)
}

func (p *stepPrinter) step(s *sigma.Step, depth int, inside string) {
	if p.left < 0 {
		return
	}
	name := ""
	if s.Search != "" && s.Search != inside {
		name = visible.Text(s.Search) + ": "
	}
	if s.Item != nil {
		p.item(s, depth, name)
		return
	}
	p.line(s.Holds, depth, name+p.lang.T("explain."+s.Op))
	if s.Search != "" {
		inside = s.Search
	}
	if s.Op == "not" && len(s.Kids) == 1 && s.Kids[0].Search != "" {
		inside = "" // name what is negated
	}
	for _, k := range s.Kids {
		p.step(k, depth+1, inside)
	}
}

func (p *stepPrinter) item(s *sigma.Step, depth int, name string) {
	it := s.Item
	if len(it.Values) == 1 {
		p.line(it.Holds, depth, name+itemKey(it, p.lang)+" "+shown(it.Values[0].Text))
	} else {
		how := "explain.one-of"
		if it.All {
			how = "explain.all-of"
		}
		p.line(it.Holds, depth, name+p.lang.T(how, itemKey(it, p.lang), i18n.Number(len(it.Values))))
	}
	p.stands(it, depth+1)
	if it.Field != "" && it.FoundCount == 0 {
		p.note(depth+1, p.lang.T("explain.no-field", visible.Text(it.Field)))
	}
	for _, f := range it.Found {
		if it.Field == "" {
			p.note(depth+1, p.lang.T("explain.found", visible.Text(f.Name), shown(f.Value)))
		} else {
			p.note(depth+1, p.lang.T("explain.has", shown(f.Value)))
		}
	}
	if more := it.FoundCount - len(it.Found); more > 0 {
		p.note(depth+1, p.lang.Count("text.more", more))
	}
	if len(it.Values) == 1 {
		if t := p.nearness(&it.Values[0], it); t != "" {
			p.note(depth+1, t)
		}
		return
	}
	// Those that hold, then those that came nearest.
	values := slices.Clone(it.Values)
	slices.SortStableFunc(values, func(a, b sigma.ValueStep) int {
		return cmp.Or(rank(b.Holds)-rank(a.Holds), rank(b.Note != "" && it.FoundCount > 0)-rank(a.Note != "" && it.FoundCount > 0),
			cmp.Compare(utf8.RuneCountInString(b.Near)*max(a.Of, 1), utf8.RuneCountInString(a.Near)*max(b.Of, 1)))
	})
	failed := 0
	for i := range values {
		v := &values[i]
		if !v.Holds {
			if failed++; failed > maxListed {
				continue
			}
		}
		t := p.nearness(v, it)
		if t != "" {
			t = "; " + t
		}
		p.line(v.Holds, depth+1, shown(v.Text)+t)
	}
	if failed > maxListed {
		p.note(depth+1, p.lang.T("explain.more-fail", i18n.Number(failed-maxListed)))
	}
}

func (p *stepPrinter) nearness(v *sigma.ValueStep, it *sigma.ItemStep) string {
	switch {
	case v.Holds, it.FoundCount == 0:
		return ""
	case v.Note != "":
		if name, ok := strings.CutPrefix(v.Note, "the event has no field "); ok {
			return p.lang.T("explain.no-field", visible.Text(name))
		}
		if key := "explain.note." + v.Note; p.lang.Has(key) {
			return p.lang.T(key)
		}
		return visible.Text(v.Note)
	case v.Near != "":
		return p.lang.T("explain.nearest", shown(v.Near), i18n.Number(utf8.RuneCountInString(v.Near)), i18n.Number(v.Of))
	}
	return ""
}

func rank(b bool) int {
	if b {
		return 1
	}
	return 0
}
