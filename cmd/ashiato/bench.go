package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"ashiato/internal/evaluation"
)

func newBench() *cobra.Command {
	return group(&cobra.Command{
		Use:   "bench",
		Short: "Measure how well and how fast the analysis works",
		Example: `  ashiato bench correlation
  ashiato bench correlation --seeds 6 --recordings evtx/ --notes`,
	}, newBenchCorrelation())
}

// benchFlags are the flags of `ashiato bench correlation` as typed.
type benchFlags struct {
	scenarios  string
	recordings []string
	seeds      int
	format     string
	notes      bool
	quiet      bool
	rules      []string
	noPack     bool
}

func newBenchCorrelation() *cobra.Command {
	var f benchFlags
	cmd := &cobra.Command{
		Use:   "correlation [flags]",
		Short: "Measure how well detections are joined into incidents",
		Long: `Correlation measures purity and completeness of incidents, the accuracy of the
root cause, coverage, noise and the hand-offs that are joined, on scenarios whose
truth is known and on recordings, and compares with simpler ways to join: the
process tree, a window of time, everything that touches.

It needs the scenarios of the source tree. docs/benchmarks/correlation.md explains
the figures.

Exit status: 0 measured, 2 could not run.`,
		Example: `  ashiato bench correlation
  ashiato bench correlation --seeds 6 --recordings evtx/ --notes
  ashiato bench correlation --format json > correlation.json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runBenchCorrelation(cmd, f) },
	}
	fl := cmd.Flags()
	fl.SortFlags = false
	fl.StringVar(&f.scenarios, "scenarios", "testdata/scenarios", "measure on the scenarios of this `folder`")
	fl.StringArrayVar(&f.recordings, "recordings", nil, "and on the recordings of this `folder`, each file one attack (repeatable)")
	fl.IntVar(&f.seeds, "seeds", 3, "measure this `many` variations of each scenario too")
	fl.StringArrayVar(&f.rules, "rules", nil, "add the Sigma rules of this `folder` or file (repeatable)")
	fl.BoolVar(&f.noPack, "no-pack", false, "leave out the shipped rules and indicators")
	fl.StringVar(&f.format, "format", "text", "print this `format`: text (Markdown) or json")
	fl.BoolVar(&f.notes, "notes", false, "list what was wrong, case by case")
	fl.BoolVar(&f.quiet, "quiet", false, "show no progress")
	return cmd
}

func runBenchCorrelation(cmd *cobra.Command, f benchFlags) error {
	if f.format != "text" && f.format != "json" {
		return withHint(fmt.Errorf("unknown format %q", f.format), "use text or json")
	}
	if f.seeds < 0 {
		return fmt.Errorf("--seeds %d: must not be negative", f.seeds)
	}
	paths, err := evaluation.ScenarioFiles(f.scenarios)
	if errors.Is(err, os.ErrNotExist) {
		return withHint(err, "the scenarios are in testdata/scenarios of the source tree; name the folder with --scenarios")
	}
	if err != nil {
		return err
	}
	if len(paths) == 0 && len(f.recordings) == 0 {
		return withHint(fmt.Errorf("%s holds no scenarios (files that end in .txtar)", f.scenarios), "the scenarios are in testdata/scenarios of the source tree; name the folder with --scenarios")
	}
	set, err := loadRules(f.rules, !f.noPack, nil, processing{})
	if err != nil {
		return err
	}
	suite := &evaluation.Suite{Engine: set.Engine, Scenarios: paths, Seeds: f.seeds, Recordings: f.recordings, CPU: cpuTime}
	if !f.quiet && isTerminal(cmd.ErrOrStderr()) {
		suite.Progress = func(done, all int, what string) {
			fmt.Fprintf(cmd.ErrOrStderr(), "\r\x1b[K%d of %d  %s", done+1, all, what)
		}
		defer fmt.Fprint(cmd.ErrOrStderr(), "\r\x1b[K")
	}
	report, err := suite.Run(cmd.Context())
	if err != nil {
		return err
	}
	out := bufio.NewWriter(untilDone{cmd.Context(), cmd.OutOrStdout()})
	if f.format == "json" {
		enc := json.NewEncoder(out)
		enc.SetIndent("", " ")
		err = enc.Encode(report)
	} else {
		err = report.Text(out, f.notes)
	}
	if err == nil {
		err = out.Flush()
	}
	if err != nil {
		return fmt.Errorf("write to standard output: %w", err)
	}
	return nil
}
