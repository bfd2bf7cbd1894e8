package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ashiato/internal/i18n"
	"ashiato/internal/rulestat"
)

// statOrders are the orders of `rules stats`, the highest first.
var statOrders = map[string]func(a, b *rulestat.Row) int{
	"hits":    func(a, b *rulestat.Row) int { return cmp.Compare(b.Hits, a.Hits) },
	"records": func(a, b *rulestat.Row) int { return cmp.Compare(b.Records, a.Records) },
	"cost":    func(a, b *rulestat.Row) int { return cmp.Compare(b.Cost, a.Cost) },
	"total":   func(a, b *rulestat.Row) int { return cmp.Compare(b.Total(), a.Total()) },
}

func newRulesStats() *cobra.Command {
	var f ruleFlags
	var format, order string
	var top, sample int
	var quiet bool
	cmd := &cobra.Command{
		Use:   "stats [--rules DIR] PATH…",
		Short: "Measure rules over recordings: hits and cost of each",
		Long: `Read event logs and tell of each rule how often it fires and what it costs:

  hits     records for which the rule holds; of correlations, what they found
  records  records of the rule's log source, which the rule is about
  cost     time for one such record of an engine that holds this rule alone,
           the least average of three rounds over a sample of the records
  total    cost × records: what the rule would take on its own

In a scan all rules share one index, so their common cost is far below the sum
of the totals; cost tells which rules are dear, not how long a scan takes. Costs
differ from run to run, hits and records do not.`,
		Example: `  ashiato rules stats logs/
  ashiato rules stats --rules ~/sigma/rules --sort total --top 50 logs/
  ashiato rules stats --rules my-rules/ --format json logs/ > stats.json`,
		Args: somePaths("nothing to measure", "ashiato rules stats logs/"),
		RunE: func(cmd *cobra.Command, args []string) error {
			lang, err := language(f.lang)
			if err != nil {
				return err
			}
			compare, ok := statOrders[order]
			if !ok {
				return withHint(fmt.Errorf("--sort %q: unknown", order), "use hits, records, cost or total")
			}
			if format != "text" && format != "json" {
				return withHint(fmt.Errorf("--format %q: unknown", format), "use text or json")
			}
			if top < 0 || sample < 0 {
				return withHint(errors.New("--top and --sample take no negative numbers"), "0 lists all rules, or times none")
			}
			if err := readable(args); err != nil {
				return err
			}
			set, err := f.load()
			if err != nil {
				return err
			}
			leftOut(cmd, set)
			p := newProgress(cmd.ErrOrStderr(), quiet, lang)
			res, err := rulestat.Measure(cmd.Context(), set, args, rulestat.Options{Sample: sample, Progress: p.update})
			p.done()
			if err != nil {
				return err
			}
			inputProblems(cmd, res.Problems)
			rows := slices.Clone(res.Rows)
			slices.SortStableFunc(rows, func(a, b rulestat.Row) int {
				return cmp.Or(compare(&a, &b), statOrders["hits"](&a, &b), strings.Compare(a.Rule.Title, b.Rule.Title), strings.Compare(a.Rule.Key(), b.Rule.Key()))
			})
			fired := 0
			for i := range rows {
				if rows[i].Hits > 0 {
					fired++
				}
			}
			shown := rows
			if top > 0 && len(shown) > top {
				shown = shown[:top]
			}
			if format == "json" {
				return statsJSON(cmd, res, shown)
			}
			out := cmd.OutOrStdout()
			fmt.Fprintln(out, lang.T("rules.stats.fired",
				lang.Count("rules.n.events", int(res.Stats.Events)), lang.Count("rules.n.rules", len(rows)), i18n.Number(fired)))
			if len(shown) < len(rows) {
				fmt.Fprintln(out, lang.T("rules.stats.first", i18n.Number(len(shown)), lang.T("rules.stats."+order)))
			}
			fmt.Fprintln(out)
			t := table{right: 4}
			t.row(lang.T("rules.stats.hits"), lang.T("rules.stats.records"), lang.T("rules.stats.cost"), lang.T("rules.stats.total"), lang.T("rules.level"), lang.T("rules.rule"))
			titles := titlesIn(set, lang)
			for i := range shown {
				r := &shown[i]
				t.row(i18n.Number(int(r.Hits)), number(r.Records, !r.Correlation), duration(r.Cost, r.Sampled > 0), duration(r.Total(), r.Sampled > 0),
					levelIn(lang, r.Rule.Level), titles.of(r.Rule.Key(), r.Rule.Title))
			}
			return t.write(out, "", columns(out))
		},
	}
	f.add(cmd)
	addLang(cmd, &f.lang)
	cmd.Flags().StringVar(&order, "sort", "hits", "the `order`: hits, records, cost or total, the highest first")
	cmd.Flags().IntVar(&top, "top", 20, "list this `many` rules; 0 lists all")
	cmd.Flags().IntVar(&sample, "sample", 500, "time each rule on this `many` records of its log source; 0 times none")
	cmd.Flags().StringVar(&format, "format", "text", "print this `format`: text or json")
	cmd.Flags().BoolVar(&quiet, "quiet", false, "show no progress")
	return cmd
}

func number(n int64, known bool) string {
	if !known {
		return "-"
	}
	return i18n.Number(int(n))
}

// duration has three digits, which is more than a measurement is worth.
func duration(d time.Duration, known bool) string {
	if !known {
		return "-"
	}
	unit := time.Duration(1)
	for d >= 1000*unit {
		unit *= 10
	}
	return d.Round(unit).String()
}

func statsJSON(cmd *cobra.Command, res *rulestat.Result, rows []rulestat.Row) error {
	type row struct {
		ID          string `json:"id"`
		Title       string `json:"title"`
		File        string `json:"file"`
		Level       string `json:"level"`
		Correlation bool   `json:"correlation,omitempty"`
		Hits        int64  `json:"hits"`
		Records     int64  `json:"records"`
		Sampled     int    `json:"sampled"`
		Cost        int64  `json:"cost_nanoseconds"`
	}
	doc := struct {
		Events int64 `json:"events"`
		Rules  []row `json:"rules"`
	}{Events: res.Stats.Events, Rules: []row{}}
	for i := range rows {
		r := &rows[i]
		doc.Rules = append(doc.Rules, row{r.Rule.Key(), r.Rule.Title, r.Rule.File, r.Rule.Level, r.Correlation, r.Hits, r.Records, r.Sampled, r.Cost.Nanoseconds()})
	}
	return printJSON(cmd, doc)
}

func printJSON(cmd *cobra.Command, doc any) error {
	enc := json.NewEncoder(cmd.OutOrStdout())
	enc.SetIndent("", "  ")
	return enc.Encode(doc)
}
