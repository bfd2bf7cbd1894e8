package main

import (
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"ashiato/internal/ruletest"
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
the log source has.

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
				for _, w := range slices.Concat(r.Warnings, r.Lint()) {
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
