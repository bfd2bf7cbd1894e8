package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"ashiato/internal/detect"
	"ashiato/internal/ruleset"
)

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
			found, err := findRules(set, args[0])
			if err != nil {
				return err
			}
			for i, r := range found {
				if i > 0 {
					fmt.Fprintln(cmd.OutOrStdout())
				}
				if err := showRule(cmd, r, string(lang)); err != nil {
					return err
				}
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
	for _, p := range []string{text.Meaning, text.Why, text.Check, text.Benign, text.Action} {
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
