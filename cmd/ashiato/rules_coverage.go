package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"ashiato/internal/fold"
	"ashiato/internal/i18n"
	"ashiato/internal/rulestat"
)

func newRulesCoverage() *cobra.Command {
	var f ruleFlags
	var format, navigator string
	var quiet bool
	cmd := &cobra.Command{
		Use:   "coverage [--rules DIR] [PATH…]",
		Short: "Tell which ATT&CK techniques the rules cover, and which rules see anything",
		Long: `List the ATT&CK techniques that rules are tagged with: the tactics that their
rules name, how many rules, and the highest level among them. --navigator also
writes them as a layer of the ATT&CK Navigator.

With event logs, tell instead which rules can see anything in them. A rule is
blind if the input has no record of its log source, or if no such record has the
fields and event ids that it asks for; both are certain. The table of techniques
and the layer then have only the rules that are not blind.`,
		Example: `  ashiato rules coverage
  ashiato rules coverage --rules ~/sigma/rules --navigator layer.json
  ashiato rules coverage --rules ~/sigma/rules C:\Windows\System32\winevt\Logs`,
		RunE: func(cmd *cobra.Command, args []string) error {
			lang, err := language(f.lang)
			if err != nil {
				return err
			}
			if format != "text" && format != "json" {
				return withHint(fmt.Errorf("--format %q: unknown", format), "use text or json")
			}
			if err := readable(args); err != nil {
				return err
			}
			var layer *outFile
			if navigator != "" {
				var err error
				if layer, err = newOutFile(navigator, rulestat.NavigatorBegins); err != nil {
					return fmt.Errorf("--navigator: %w", err)
				}
			}
			set, err := f.load()
			if err != nil {
				return err
			}
			leftOut(cmd, set)
			rules := sigmaRules(set)
			doc := coverage{}
			name := "shipped rules"
			if len(f.rules) > 0 {
				name = strings.Join(f.rules, ", ")
			}
			if len(args) > 0 {
				p := newProgress(cmd.ErrOrStderr(), quiet, lang)
				sights, stats, problems, err := rulestat.Visibility(cmd.Context(), set, args, rulestat.Options{Progress: p.update})
				p.done()
				if err != nil {
					return err
				}
				inputProblems(cmd, problems)
				seeing := map[string]bool{}
				for _, s := range sights {
					seeing[s.Rule.Key()] = s.Possible
				}
				for _, c := range set.Correlations {
					seeing[c.Rule.Key()] = true // it is as blind as the rules that it names
				}
				doc.input(stats.Events, sights)
				kept := rules[:0]
				for _, r := range rules {
					if seeing[r.ID] {
						kept = append(kept, r)
					}
				}
				rules = kept
				name += " in " + strings.Join(args, ", ")
			}
			techniques, untagged := rulestat.Techniques(rules)
			doc.Rules, doc.Untagged = len(rules), untagged
			for _, t := range techniques {
				row := coveredTechnique{Technique: t.ID, Tactics: slices.Concat([]string{}, t.Tactics), Highest: t.Highest.String()}
				for _, r := range t.Rules {
					row.Rules = append(row.Rules, r.ID)
				}
				doc.Techniques = append(doc.Techniques, row)
			}
			if layer != nil {
				if err := layer.write(cmd.Context(), func(w io.Writer) error { return rulestat.Navigator(w, name, techniques) }); err != nil {
					return fmt.Errorf("--navigator: %w", err)
				}
			}
			if format == "json" {
				return printJSON(cmd, doc)
			}
			return doc.print(cmd.OutOrStdout(), lang, titlesIn(set, lang))
		},
	}
	f.add(cmd)
	addLang(cmd, &f.lang)
	cmd.Flags().StringVar(&navigator, "navigator", "", "write an ATT&CK Navigator layer (version 4.5) to this `file`")
	cmd.Flags().StringVar(&format, "format", "text", "print this `format`: text or json")
	cmd.Flags().BoolVar(&quiet, "quiet", false, "show no progress")
	return cmd
}

// coverage is what `rules coverage` prints, and its JSON form.
type coverage struct {
	Rules      int                `json:"rules"`
	Untagged   int                `json:"rules_without_technique"`
	Techniques []coveredTechnique `json:"techniques"`
	Input      *coveredInput      `json:"input,omitempty"`
}

type coveredTechnique struct {
	Technique string   `json:"technique"`
	Tactics   []string `json:"tactics"`
	Rules     []string `json:"rules"`
	Highest   string   `json:"highest_level"`
}

type coveredInput struct {
	Events  int64           `json:"events"`
	Seeing  int             `json:"rules_that_see"`
	Sources []coveredSource `json:"log_sources"`
	Blind   []blindRule     `json:"blind"`
}

type coveredSource struct {
	LogSource string `json:"log_source"`
	Records   int64  `json:"records"`
	Rules     int    `json:"rules"`
	Blind     int    `json:"blind"`
}

type blindRule struct {
	Rule      string   `json:"rule"`
	Title     string   `json:"title"`
	File      string   `json:"file"`
	LogSource string   `json:"log_source"`
	Records   int64    `json:"records"`
	Missing   []string `json:"missing"` // fields or values; empty if the log source is not there
}

func (c *coverage) input(events int64, sights []rulestat.Sight) {
	in := &coveredInput{Events: events, Sources: []coveredSource{}, Blind: []blindRule{}}
	at := map[string]int{}
	for _, s := range sights {
		name := s.Rule.LogSource.String()
		i, ok := at[name]
		if !ok {
			i = len(in.Sources)
			at[name] = i
			in.Sources = append(in.Sources, coveredSource{LogSource: name, Records: s.Records})
		}
		in.Sources[i].Rules++
		if s.Possible {
			in.Seeing++
			continue
		}
		in.Sources[i].Blind++
		in.Blind = append(in.Blind, blindRule{s.Rule.Key(), s.Rule.Title, s.Rule.File, name, s.Records, slices.Concat([]string{}, s.Missing)})
	}
	slices.SortFunc(in.Sources, func(a, b coveredSource) int {
		return cmp.Or(cmp.Compare(b.Records, a.Records), strings.Compare(a.LogSource, b.LogSource))
	})
	slices.SortFunc(in.Blind, func(a, b blindRule) int {
		return cmp.Or(strings.Compare(a.LogSource, b.LogSource), strings.Compare(a.File, b.File), strings.Compare(a.Rule, b.Rule))
	})
	c.Input = in
}

func (c *coverage) print(out io.Writer, lang i18n.Lang, titles titles) error {
	if in := c.Input; in != nil {
		fmt.Fprintf(out, "%s\n\n", lang.T("rules.coverage.input",
			lang.Count("rules.n.events", int(in.Events)), lang.Count("rules.n.rules", in.Seeing), i18n.Number(len(in.Blind))))
		t := table{right: 3}
		t.row(lang.T("rules.stats.records"), lang.T("rules.coverage.rules"), lang.T("rules.coverage.blind"), lang.T("rules.coverage.source"))
		for _, s := range in.Sources {
			t.row(i18n.Number(int(s.Records)), i18n.Number(s.Rules), i18n.Number(s.Blind), printable(s.LogSource))
		}
		if err := t.write(out, "", columns(out)); err != nil {
			return err
		}
		first := true
		for _, b := range in.Blind {
			if b.Records == 0 {
				continue // the table says it
			}
			if first {
				fmt.Fprintf(out, "\n%s\n", lang.T("rules.coverage.want"))
				first = false
			}
			fmt.Fprint(out, fold.Text(fmt.Sprintf("  %s  (%s): "+fold.Here+"%s\n", message(errors.New(strings.Join(b.Missing, "; "))), printable(filepath.Base(b.File)), titles.of(b.Rule, b.Title)), columns(out)))
		}
		fmt.Fprintln(out)
	}
	t := table{}
	t.row(lang.T("rules.coverage.technique"), lang.T("rules.coverage.rules"), lang.T("rules.coverage.highest"), lang.T("rules.coverage.tactics"))
	for _, x := range c.Techniques {
		t.row(x.Technique, i18n.Number(len(x.Rules)), levelIn(lang, x.Highest), printable(strings.Join(x.Tactics, ", ")))
	}
	if err := t.write(out, "", columns(out)); err != nil {
		return err
	}
	_, err := fmt.Fprintln(out, lang.T("rules.coverage.sum", lang.Count("rules.n.techniques", len(c.Techniques)), lang.Count("rules.n.rules", c.Rules), i18n.Number(c.Untagged)))
	return err
}
