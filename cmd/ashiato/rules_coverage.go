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
				p := newProgress(cmd.ErrOrStderr(), quiet, i18n.English)
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
			doc.print(cmd.OutOrStdout())
			return nil
		},
	}
	f.add(cmd)
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

func (c *coverage) print(out io.Writer) {
	if in := c.Input; in != nil {
		fmt.Fprintf(out, "%s; %s can see something in them, %d cannot (blind)\n\n", counted(int(in.Events), "event"), counted(in.Seeing, "rule"), len(in.Blind))
		fmt.Fprintf(out, "%9s  %6s  %6s  log source\n", "records", "rules", "blind")
		for _, s := range in.Sources {
			fmt.Fprintf(out, "%9d  %6d  %6d  %s\n", s.Records, s.Rules, s.Blind, printable(s.LogSource))
		}
		first := true
		for _, b := range in.Blind {
			if b.Records == 0 {
				continue // the table says it
			}
			if first {
				fmt.Fprintln(out, "\nblind although records of their log source are there, for want of")
				first = false
			}
			fmt.Fprintf(out, "  %s  (%s): %s\n", message(errors.New(strings.Join(b.Missing, "; "))), printable(filepath.Base(b.File)), message(errors.New(b.Title)))
		}
		fmt.Fprintln(out)
	}
	fmt.Fprintf(out, "%-10s  %5s  %-13s  tactics its rules name\n", "technique", "rules", "highest level")
	for _, t := range c.Techniques {
		fmt.Fprintf(out, "%-10s  %5d  %-13s  %s\n", t.Technique, len(t.Rules), t.Highest, printable(strings.Join(t.Tactics, ", ")))
	}
	fmt.Fprintf(out, "%s, %s, %d of them without a technique\n", counted(len(c.Techniques), "technique"), counted(c.Rules, "rule"), c.Untagged)
}
