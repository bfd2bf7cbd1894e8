package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"ashiato/internal/event"
	"ashiato/internal/regression"
	"ashiato/internal/ruleset"
	"ashiato/internal/ruletest"
	"ashiato/internal/sigma"
	"ashiato/internal/visible"
)

func newRulesTest() *cobra.Command {
	var f ruleFlags
	cmd := &cobra.Command{
		Use:   "test [--rules DIR] [PATH…]",
		Short: "Run the tests beside rules: events in, detections expected",
		Long: `Run the tests of folders and files, by default those beside the rules:

  *.test     our test language (docs/formats/rule-tests.md)
  info.yml   SigmaHQ's regression_data: rules that must fire in recordings, and
             how often

Only rules of --rules, or the shipped ones, are there to fire. A recording or
rule that is missing is a failure. The last line is "N passed, N failed".

Exit status: 0 all passed, 1 some failed, 2 the tests could not run.`,
		Example: `  ashiato rules test
  ashiato rules test --rules my-rules/
  ashiato rules test --rules my-rules/ more-tests/
  ashiato rules test --rules ~/sigma/rules ~/sigma/regression_data/rules`,
		RunE: func(cmd *cobra.Command, args []string) error {
			set, err := f.load()
			if err != nil {
				return err
			}
			tests := set.Tests
			var recorded []*sigma.RegressionInfo
			var faults []error
			if len(args) > 0 {
				tests = nil
				if err := readable(args); err != nil {
					return err
				}
				for _, path := range args {
					if filepath.Base(path) != regression.InfoName {
						more, err := ruleset.ReadTests(path)
						if err != nil {
							return err
						}
						tests = append(tests, more...)
					}
					infos, errs := regression.Find(path)
					faults = append(faults, errs...)
					recorded = append(recorded, infos...)
				}
			}
			if len(tests) == 0 && len(recorded)+len(faults) == 0 {
				return withHint(errors.New("no tests found"), "tests are .test files beside the rules (docs/formats/rule-tests.md), or info.yml files with recordings")
			}
			out := cmd.OutOrStdout()
			passed, failed := 0, 0
			for _, p := range slices.Concat(set.Problems, faults) {
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
			runner := regression.NewRunner(set)
			for _, info := range recorded {
				res, err := runner.Run(cmd.Context(), info)
				if err != nil {
					return err
				}
				for _, x := range res.Failures {
					printFailure(out, x)
				}
				passed += res.Passed
				failed += res.Failed
				if len(info.Tests) == 0 {
					fmt.Fprintf(cmd.ErrOrStderr(), "note: %s describes no test\n", message(errors.New(info.File)))
				}
			}
			fmt.Fprintf(out, "%d passed, %d failed\n", passed, failed)
			if failed > 0 {
				return errFound
			}
			return nil
		},
	}
	f.add(cmd)
	return cmd
}

// printFailure prints what did not hold, the records that the rule fired for,
// and how to find out why it did not fire for others.
func printFailure(out io.Writer, f regression.Failure) {
	fmt.Fprintln(out, message(errors.New(f.String())))
	for _, x := range f.Fired {
		var fields []string
		for _, field := range x.Fields {
			fields = append(fields, visible.Text(field.Name)+" "+shown(field.Value))
		}
		if len(fields) == 0 {
			fields = []string{"by what it has not"}
		}
		fmt.Fprintf(out, "    it fires for %s: %s\n", place(x.Ref), message(errors.New(strings.Join(fields, ", "))))
	}
	if f.More > 0 {
		fmt.Fprintf(out, "    and for %d more\n", f.More)
	}
	if f.Rule != nil {
		rule := f.Rule.File
		if strings.HasPrefix(rule, ruleset.PackName+"/") {
			rule = f.Rule.Base()
		}
		recording := f.Recording
		if here, err := os.Getwd(); err == nil {
			if rel, err := filepath.Rel(here, recording); err == nil && filepath.IsLocal(rel) {
				recording = rel
			}
		}
		fmt.Fprintf(out, "    to see why not: ashiato rules explain %s %s\n", argument(rule), argument(recording))
	}
}

// place names a record as people look it up.
func place(ref event.EvidenceRef) string {
	if ref.RecordID == 0 {
		return fmt.Sprintf("the record at byte %d", ref.Offset)
	}
	return fmt.Sprintf("record %d", ref.RecordID)
}

// argument is a file name as a shell takes it.
func argument(name string) string {
	if name = message(errors.New(name)); strings.ContainsAny(name, " '\"$&();<>|*?`") {
		return `"` + name + `"`
	}
	return name
}
