package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"ashiato/internal/i18n"
	"ashiato/internal/ruletest"
	"ashiato/internal/sigma"
)

func newRulesCheck() *cobra.Command {
	var noTests bool
	var flag string
	var p processing
	cmd := &cobra.Command{
		Use:   "check [PATH…]",
		Short: "Check rules: every fault with file, line, column and a hint",
		Long: `Check the rules of folders or files, or the shipped ones. Nothing in a rule is
silently ignored: what is not understood or not supported is named.

Warnings are for what is right and most likely not meant: searches that no
condition uses, conditions that can never hold, and fields that no record of
the log source has, with what becomes of the rule without them. Notes name the
log sources whose records are not known to this program.

Exit status: 0 every rule is good, 1 faults were found, 2 the check could not run.`,
		Example: `  ashiato rules check my-rules/
  ashiato rules check ~/sigma/rules --placeholders our-values.yml
  ashiato rules check one-rule.yml --no-tests`,
		RunE: func(cmd *cobra.Command, args []string) error {
			lang, err := language(flag)
			if err != nil {
				return err
			}
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
				for _, w := range slices.Concat(r.Warnings, r.Lint()) {
					warnings++
					fmt.Fprintln(out, lang.T("rules.warning", message(w)))
				}
			}
			unreadSources(out, lang, good)
			sum := []string{lang.Count("rules.good", len(good)), lang.Count("rules.faults", len(set.Problems)), lang.Count("rules.warnings", warnings)}
			if !noTests {
				missing := ruletest.Missing(set.Engine, set.Tests)
				if len(set.Tests) == 0 {
					missing = nil // a rule set that has no tests at all, such as the public one
				}
				for _, m := range missing {
					fmt.Fprintln(out, printable(m))
				}
				sum = append(sum, lang.Count("rules.missing", len(missing)))
			}
			fmt.Fprintln(out, strings.Join(sum, lang.T("rules.comma")))
			if len(set.Problems) > 0 {
				return errFound
			}
			return nil
		},
	}
	p.add(cmd)
	addLang(cmd, &flag)
	cmd.Flags().BoolVar(&noTests, "no-tests", false, "do not ask for tests beside the rules")
	return cmd
}

// unreadSources notes the log sources that only records which name themselves
// can be of: their rules load and may never see anything.
func unreadSources(out io.Writer, lang i18n.Lang, rules []*sigma.Rule) {
	type source struct {
		rules int
		words []string
	}
	sources := map[string]*source{}
	for _, r := range rules {
		if words := r.Unread(); len(words) > 0 {
			name := r.LogSource.String()
			if sources[name] == nil {
				sources[name] = &source{words: words}
			}
			sources[name].rules++
		}
	}
	for _, name := range slices.Sorted(maps.Keys(sources)) {
		s := sources[name]
		for i, w := range s.words {
			if w == "linux" {
				s.words[i] = lang.T("rules.unread.linux")
			}
		}
		text := lang.T("rules.unread", printable(name), lang.Count("rules.n.rules", s.rules), strings.Join(s.words, lang.T("rules.unread.and")))
		fmt.Fprintln(out, lang.T("rules.note", text))
	}
}
