package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"ashiato/internal/scenario"
)

func newScenario() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "scenario",
		Short: "Make event logs from a described intrusion, or from a working day without one",
		Long: `A scenario describes an intrusion as telemetry, in a text file: which process did
what, and when. It is always synthetic; nothing is run. The format is described in
docs/formats/scenario.md.`,
		Example: `  ashiato scenario build testdata/scenarios/usb-coinminer.txtar --to evtx --out logs/
  ashiato scenario vary testdata/scenarios/usb-coinminer.txtar --seed 7 --print
  ashiato scenario benign --seed 7 --out logs/`,
	}
	return group(cmd, newScenarioBuild(), newScenarioVary(), newScenarioBenign())
}

const scenarioFormat = "the format is described in docs/formats/scenario.md"

func newScenarioBuild() *cobra.Command {
	var to, out string
	var set []string
	cmd := &cobra.Command{
		Use:   "build FILE --to ndjson|evtx|xml --out DIR",
		Short: "Write a scenario's event logs into a folder",
		Example: `  ashiato scenario build testdata/scenarios/usb-coinminer.txtar --to evtx --out logs/
  ashiato scenario build testdata/scenarios/usb-coinminer.txtar --set telemetry=security --out logs/
  ashiato scan logs/`,
		Args: oneArg("scenario file", "ashiato scenario build story.txtar --to evtx --out logs/"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if out == "" {
				return withHint(errors.New("no folder to write into"), "add --out DIR")
			}
			values, err := settings(set)
			if err != nil {
				return err
			}
			data, err := os.ReadFile(args[0])
			if err != nil {
				return err
			}
			if _, err := scenario.Parse(args[0], data); err != nil { // every case of it
				return withHint(err, scenarioFormat)
			}
			s, err := scenario.ParseWith(args[0], data, values)
			if err != nil {
				return withHint(err, scenarioFormat)
			}
			return writeScenario(cmd.OutOrStdout(), s, to, out)
		},
	}
	scenarioFlags(cmd, &to, &out, &set)
	return cmd
}

func newScenarioVary() *cobra.Command {
	var v variation
	cmd := &cobra.Command{
		Use:   "vary FILE --seed N [--print] [--to ndjson|evtx|xml --out DIR]",
		Short: "Write the event logs of a variant of a scenario, chosen by a number",
		Long: `Names, tools, order, times, logs, language and noise of a scenario vary as its
choose lines and its vary section say. The same file and seed give the same variant.`,
		Example: `  ashiato scenario vary testdata/scenarios/usb-coinminer.txtar --seed 7 --print
  ashiato scenario vary testdata/scenarios/usb-coinminer.txtar --seed 7 --to evtx --out logs/
  ashiato scenario vary testdata/scenarios/usb-coinminer.txtar --seed 7 --set generation=2 --set lose=0 --out logs/
  ashiato scenario vary testdata/scenarios/usb-coinminer.txtar --seed 7 --print=scenario > variant.txtar`,
		Args: oneArg("scenario file", "ashiato scenario vary story.txtar --seed 7 --out logs/"),
		RunE: func(cmd *cobra.Command, args []string) error {
			data, err := os.ReadFile(args[0])
			if err != nil {
				return err
			}
			return v.run(cmd.OutOrStdout(), args[0], data)
		},
	}
	v.flags(cmd)
	return cmd
}

func newScenarioBenign() *cobra.Command {
	var v variation
	cmd := &cobra.Command{
		Use:   "benign --seed N [--print] [--to ndjson|evtx|xml --out DIR]",
		Short: "Write the event logs of a working day without an intrusion",
		Long: `Installers, updaters, administrators, backups, sticks, printers, games and tools that
take ways which intrusions take too. A scan of them should find nothing of medium
severity or more. The same seed gives the same day.`,
		Example: `  ashiato scenario benign --seed 7 --to evtx --out logs/
  ashiato scenario benign --seed 7 --print
  ashiato scenario benign --seed 7 --print=scenario > day.txtar`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			name, data := scenario.WorkingDay()
			return v.run(cmd.OutOrStdout(), name, data)
		},
	}
	v.flags(cmd)
	return cmd
}

// variation is what a variant is made from and what becomes of it.
type variation struct {
	seed           uint64
	print, to, out string
	set            []string
}

func (v *variation) flags(cmd *cobra.Command) {
	cmd.Flags().Uint64Var(&v.seed, "seed", 0, "`number` that decides everything")
	cmd.Flags().StringVar(&v.print, "print", "", "show what was chosen, or with =scenario the variant as a scenario `file`")
	cmd.Flags().Lookup("print").NoOptDefVal = "choices"
	scenarioFlags(cmd, &v.to, &v.out, &v.set)
}

func scenarioFlags(cmd *cobra.Command, to, out *string, set *[]string) {
	cmd.Flags().StringVar(to, "to", "evtx", "`format`: ndjson, evtx or xml")
	cmd.Flags().StringVar(out, "out", "", "`folder` to write into")
	cmd.Flags().StringArrayVar(set, "set", nil, "give a choice, variable or setting a value: `NAME=VALUE` (repeatable)")
}

// settings reads NAME=VALUE texts.
func settings(list []string) (map[string]string, error) {
	values := map[string]string{}
	for _, text := range list {
		name, value, ok := strings.Cut(text, "=")
		if !ok || name == "" {
			return nil, withHint(fmt.Errorf("--set %q names no value", text), "write --set NAME=VALUE, such as --set telemetry=security")
		}
		values[name] = value
	}
	return values, nil
}

func (v *variation) run(w io.Writer, name string, data []byte) error {
	switch v.print {
	case "", "choices", "scenario":
	default:
		return withHint(fmt.Errorf("cannot print %q", v.print), "use --print or --print=scenario")
	}
	if v.print == "" && v.out == "" {
		return withHint(errors.New("nothing to do"), "add --out DIR to write the logs, or --print to see what is chosen")
	}
	values, err := settings(v.set)
	if err != nil {
		return err
	}
	s, err := scenario.Vary(name, data, v.seed, values)
	if err != nil {
		return withHint(err, scenarioFormat)
	}
	switch v.print {
	case "choices":
		table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		for _, c := range s.Chosen() {
			fmt.Fprintf(table, "%s\t%s\t%s\n", c.Kind, c.Name, printable(c.Value))
		}
		if err := table.Flush(); err != nil {
			return err
		}
	case "scenario":
		if _, err := w.Write(s.Text()); err != nil {
			return err
		}
	}
	if v.out == "" {
		return nil
	}
	return writeScenario(w, s, v.to, v.out)
}

// writeScenario builds a scenario, writes its logs and lists the files on w.
func writeScenario(w io.Writer, s *scenario.Scenario, to, out string) error {
	write := map[string]func(string, *scenario.Built) ([]string, error){
		"ndjson": scenario.WriteNDJSON, "xml": scenario.WriteXML, "evtx": scenario.WriteEVTX,
	}[to]
	if write == nil {
		return withHint(fmt.Errorf("unknown format %q", to), "use ndjson, evtx or xml")
	}
	built, err := s.Build()
	if err != nil {
		return err
	}
	files, err := write(out, built)
	if err != nil {
		return err
	}
	for _, f := range files {
		fmt.Fprintln(w, f)
	}
	return nil
}
