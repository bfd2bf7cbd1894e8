package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"ashiato/internal/detect"
	"ashiato/internal/fold"
	"ashiato/internal/i18n"
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
				if err := showRule(cmd, r, lang); err != nil {
					return err
				}
			}
			return nil
		},
	}
	f.add(cmd)
	addLang(cmd, &f.lang)
	return cmd
}

func showRule(cmd *cobra.Command, r *detect.Rule, lang i18n.Lang) error {
	out := cmd.OutOrStdout()
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n%s\n", printable(r.TitleIn(string(lang))), printable(strings.Join(append([]string{r.Name}, r.Aliases...), "  ")))
	fmt.Fprintf(&b, "%s  %s\n", lang.T("severity."+r.Severity.String()), printable(strings.Join(r.Attack, " ")))
	text, ok := r.Texts[string(lang)]
	if !ok {
		text = r.Texts["en"]
	}
	for _, p := range []struct{ key, text string }{
		{"meaning", text.Meaning}, {"why", text.Why}, {"check", text.Check}, {"benign", text.Benign}, {"action", text.Action},
	} {
		if p.text != "" {
			fmt.Fprintf(&b, "\n%s\n  "+fold.Here+"%s\n", lang.T("report."+p.key), printable(p.text))
		}
	}
	if _, err := io.WriteString(out, fold.Text(b.String(), columns(out))); err != nil {
		return err
	}
	data, err := ruleset.Text(r.Source)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "\n--- %s\n%s", printable(r.Source), printable(string(data)))
	return nil
}
