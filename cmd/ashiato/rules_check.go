package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"ashiato/internal/ruletest"
	"ashiato/internal/sigma"
)

func newRulesCheck() *cobra.Command {
	var noTests bool
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
					fmt.Fprintf(out, "%s (warning)\n", message(w))
				}
			}
			unreadSources(out, good)
			if noTests {
				fmt.Fprintf(out, "%s good, %s, %s\n", counted(len(good), "rule"), counted(len(set.Problems), "fault"), counted(warnings, "warning"))
			} else {
				missing := ruletest.Missing(set.Engine, set.Tests)
				if len(set.Tests) == 0 {
					missing = nil // a rule set that has no tests at all, such as the public one
				}
				for _, m := range missing {
					fmt.Fprintln(out, printable(m))
				}
				fmt.Fprintf(out, "%s good, %s, %s, %s missing\n", counted(len(good), "rule"), counted(len(set.Problems), "fault"),
					counted(warnings, "warning"), counted(len(missing), "test"))
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

// unreadSources notes the log sources that only records which name themselves
// can be of: their rules load and may never see anything.
func unreadSources(out io.Writer, rules []*sigma.Rule) {
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
				s.words[i] = "linux, or a service of it such as auditd,"
			}
		}
		fmt.Fprintf(out, "%s: %s; only records whose provider or channel begins with %s are seen (note)\n",
			printable(name), counted(s.rules, "rule"), strings.Join(s.words, " and "))
	}
}
