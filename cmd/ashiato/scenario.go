package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"ashiato/internal/scenario"
)

func newScenario() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "scenario",
		Short: "Make event logs from a described intrusion",
		Long: `A scenario describes an intrusion as telemetry, in a text file: which process did
what, and when. It is always synthetic; nothing is run. The format is described in
docs/formats/scenario.md.`,
		Example: "  ashiato scenario build testdata/scenarios/usb-coinminer.txtar --to evtx --out logs/",
	}
	return group(cmd, newScenarioBuild())
}

func newScenarioBuild() *cobra.Command {
	var to, out string
	cmd := &cobra.Command{
		Use:   "build FILE --to ndjson|evtx|xml --out DIR",
		Short: "Write a scenario's event logs into a folder",
		Example: `  ashiato scenario build testdata/scenarios/usb-coinminer.txtar --to evtx --out logs/
  ashiato scan logs/`,
		Args: oneArg("scenario file", "ashiato scenario build story.txtar --to evtx --out logs/"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if out == "" {
				return withHint(errors.New("no folder to write into"), "add --out DIR")
			}
			data, err := os.ReadFile(args[0])
			if err != nil {
				return err
			}
			s, err := scenario.Parse(args[0], data)
			if err != nil {
				return withHint(err, "the format is described in docs/formats/scenario.md")
			}
			built, err := s.Build()
			if err != nil {
				return err
			}
			var files []string
			switch to {
			case "ndjson":
				files, err = scenario.WriteNDJSON(out, built)
			case "xml":
				files, err = scenario.WriteXML(out, built)
			case "evtx":
				files, err = scenario.WriteEVTX(out, built)
			default:
				return withHint(fmt.Errorf("unknown format %q", to), "use ndjson, evtx or xml")
			}
			if err != nil {
				return err
			}
			for _, f := range files {
				fmt.Fprintln(cmd.OutOrStdout(), f)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&to, "to", "evtx", "`format`: ndjson, evtx or xml")
	cmd.Flags().StringVar(&out, "out", "", "`folder` to write into")
	return cmd
}
