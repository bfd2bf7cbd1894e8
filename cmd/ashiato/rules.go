package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/mattn/go-runewidth"
	"github.com/spf13/cobra"

	"ashiato/internal/detect"
	"ashiato/internal/ruleset"
	"ashiato/internal/ruletest"
)

func newRules() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rules",
		Short: "List, show, check and test rules",
		Long: `Rules are standard Sigma with texts in three languages beside them; the format is
described in docs/formats/rules.md, the tests in docs/formats/rule-tests.md.`,
		Example: `  ashiato rules list --lang ja
  ashiato rules show mock-folder-file
  ashiato rules check my-rules/
  ashiato rules test --rules my-rules/`,
	}
	return group(cmd, newRulesList(), newRulesShow(), newRulesCheck(), newRulesTest())
}

// ruleFlags choose the rules that a subcommand is about: the shipped ones unless
// --rules names others.
type ruleFlags struct {
	rules []string
	lang  string
	processing
}

func (f *ruleFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&f.rules, "rules", nil, "the rules of this `folder` or file instead of the shipped ones (repeatable)")
}

func (f *ruleFlags) load() (*ruleset.Set, error) {
	return loadRules(f.rules, len(f.rules) == 0, nil, f.processing)
}

func newRulesList() *cobra.Command {
	var f ruleFlags
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the rules: severity, ATT&CK, name, title",
		Example: `  ashiato rules list
  ashiato rules list --lang ja
  ashiato rules list --rules ~/sigma/rules/windows`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			lang, err := language(f.lang)
			if err != nil {
				return err
			}
			set, err := f.load()
			if err != nil {
				return err
			}
			list := sigmaRules(set)
			slices.SortStableFunc(list, func(a, b *detect.Rule) int {
				if a.Severity != b.Severity {
					return int(b.Severity) - int(a.Severity)
				}
				return strings.Compare(a.Name, b.Name)
			})
			names := 0
			for _, r := range list {
				names = max(names, len(r.Name))
			}
			for _, r := range list {
				level := lang.T("severity." + r.Severity.String())
				fmt.Fprintf(cmd.OutOrStdout(), "%s  %-10s  %-*s  %s\n", runewidth.FillRight(level, 13), strings.Join(r.Attack[:min(1, len(r.Attack))], ""),
					min(names, 48), printable(r.Name), printable(r.TitleIn(string(lang))))
			}
			return nil
		},
	}
	f.add(cmd)
	cmd.Flags().StringVar(&f.lang, "lang", "", "`language`: en, ja or ko (default: from the locale)")
	return cmd
}

// sigmaRules are the rules of a set without its indicators.
func sigmaRules(set *ruleset.Set) []*detect.Rule {
	return slices.DeleteFunc(set.Engine.Rules(), func(r *detect.Rule) bool { return strings.HasPrefix(r.ID, "ioc:") })
}

func newRulesShow() *cobra.Command {
	var f ruleFlags
	cmd := &cobra.Command{
		Use:   "show RULE",
		Short: "Show a rule: what it means, what to check, and its Sigma text",
		Long:  "Show a rule by its id, its name, one of its aliases or its file's base name.",
		Example: `  ashiato rules show DefenseEvasion/EDR.WindowDefender.M11093
  ashiato rules show mock-folder-file --lang ko`,
		Args: oneArg("rule", "ashiato rules show mock-folder-file"),
		RunE: func(cmd *cobra.Command, args []string) error {
			lang, err := language(f.lang)
			if err != nil {
				return err
			}
			set, err := f.load()
			if err != nil {
				return err
			}
			shown := 0
			for _, r := range sigmaRules(set) {
				base := strings.TrimSuffix(filepath.Base(r.Source), filepath.Ext(r.Source))
				if r.ID != args[0] && !strings.EqualFold(r.Name, args[0]) && base != args[0] && !slices.Contains(r.Aliases, args[0]) {
					continue
				}
				if shown > 0 {
					fmt.Fprintln(cmd.OutOrStdout())
				}
				shown++
				if err := showRule(cmd, r, string(lang)); err != nil {
					return err
				}
			}
			if shown == 0 {
				return withHint(fmt.Errorf("no rule is called %q", args[0]), "`ashiato rules list` names them all")
			}
			return nil
		},
	}
	f.add(cmd)
	cmd.Flags().StringVar(&f.lang, "lang", "", "`language`: en, ja or ko (default: from the locale)")
	return cmd
}

func showRule(cmd *cobra.Command, r *detect.Rule, lang string) error {
	out := cmd.OutOrStdout()
	fmt.Fprintf(out, "%s\n%s\n", printable(r.TitleIn(lang)), printable(strings.Join(append([]string{r.Name}, r.Aliases...), "  ")))
	text, ok := r.Texts[lang]
	if !ok {
		text = r.Texts["en"]
	}
	for _, p := range []string{text.Meaning, text.Check, text.Benign, text.Action} {
		if p != "" {
			fmt.Fprintf(out, "\n%s\n", printable(p))
		}
	}
	data, err := ruleset.Text(r.Source)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "\n--- %s\n%s", printable(r.Source), printable(string(data)))
	return nil
}

func newRulesCheck() *cobra.Command {
	var noTests bool
	var p processing
	cmd := &cobra.Command{
		Use:   "check [PATH…]",
		Short: "Check rules: every fault with file, line, column and a hint",
		Long: `Check the rules of folders or files, or the shipped ones. Nothing in a rule is
silently ignored: what is not understood or not supported is named.

Exit status: 0 every rule is good, 1 faults were found, 2 the check could not run.`,
		Example: `  ashiato rules check my-rules/
  ashiato rules check ~/sigma/rules`,
		RunE: func(cmd *cobra.Command, args []string) error {
			set, err := loadRules(args, len(args) == 0, nil, p)
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			for _, p := range set.Problems {
				fmt.Fprintln(out, message(p))
			}
			warnings := 0
			good := slices.Clone(set.Rules)
			for _, c := range set.Correlations {
				good = append(good, c.Rule)
			}
			for _, r := range good {
				for _, w := range r.Warnings {
					warnings++
					fmt.Fprintf(out, "%s (warning)\n", message(w))
				}
			}
			if noTests {
				fmt.Fprintf(out, "%d rules good, %d faults, %d warnings\n", len(good), len(set.Problems), warnings)
			} else {
				missing := ruletest.Missing(set.Engine, set.Tests)
				if len(set.Tests) == 0 {
					missing = nil // a rule set that has no tests at all, such as the public one
				}
				for _, m := range missing {
					fmt.Fprintln(out, printable(m))
				}
				fmt.Fprintf(out, "%d rules good, %d faults, %d warnings, %d tests missing\n", len(good), len(set.Problems), warnings, len(missing))
			}
			if len(set.Problems) > 0 {
				return errFound
			}
			return nil
		},
	}
	p.add(cmd)
	cmd.Flags().BoolVar(&noTests, "no-tests", false, "do not ask for tests beside the rules")
	return cmd
}

func newRulesTest() *cobra.Command {
	var f ruleFlags
	cmd := &cobra.Command{
		Use:   "test [--rules DIR] [PATH…]",
		Short: "Run the tests beside rules: events in, detections expected",
		Long: `Run .test files, by default those beside the rules. The last line is
"N passed, N failed".

Exit status: 0 all passed, 1 some failed, 2 the tests could not run.`,
		Example: `  ashiato rules test
  ashiato rules test --rules my-rules/
  ashiato rules test --rules my-rules/ more-tests/`,
		RunE: func(cmd *cobra.Command, args []string) error {
			set, err := f.load()
			if err != nil {
				return err
			}
			tests := set.Tests
			if len(args) > 0 {
				tests = nil
				for _, dir := range args {
					more, err := ruleset.ReadTests(dir)
					if err != nil {
						return err
					}
					tests = append(tests, more...)
				}
			}
			if len(tests) == 0 {
				return withHint(errors.New("no tests found"), "tests are .test files beside the rules; see docs/formats/rule-tests.md")
			}
			out := cmd.OutOrStdout()
			passed, failed := 0, 0
			for _, p := range set.Problems {
				fmt.Fprintln(out, message(p))
				failed++
			}
			for _, t := range tests {
				res := ruletest.Run(set.Engine, t)
				for _, x := range res.Failures {
					fmt.Fprintln(out, printable(x.String()))
				}
				passed += res.Passed
				failed += res.Failed
			}
			fmt.Fprintf(out, "%d passed, %d failed\n", passed, failed)
			if failed > 0 {
				return errFound
			}
			return nil
		},
	}
	f.add(cmd)
	f.processing.add(cmd)
	return cmd
}
