package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/mattn/go-runewidth"
	"github.com/spf13/cobra"

	"ashiato/internal/detect"
)

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
