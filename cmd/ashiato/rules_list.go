package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"ashiato/internal/attack"
	"ashiato/internal/detect"
)

func newRulesList() *cobra.Command {
	var f ruleFlags
	var find string
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the rules: severity, ATT&CK, name, title",
		Long: `List the rules, the most severe first. With --find, those that hold a text in their
name, an alias, their title in any language, their id, behaviour or file's name, and
those of an ATT&CK technique by its current or an earlier id.`,
		Example: `  ashiato rules list
  ashiato rules list --lang ja
  ashiato rules list --find M11093
  ashiato rules list --find T1562.001
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
			list := slices.DeleteFunc(sigmaRules(set), func(r *detect.Rule) bool { return !goesBy(r, find) })
			if len(list) == 0 && find != "" {
				return withHint(fmt.Errorf("no rule holds %q", find), "`ashiato rules list` names them all")
			}
			slices.SortStableFunc(list, func(a, b *detect.Rule) int {
				if a.Severity != b.Severity {
					return int(b.Severity) - int(a.Severity)
				}
				return strings.Compare(a.Name, b.Name)
			})
			var t table
			for _, r := range list {
				name := r.Name
				if name == r.Title { // it has none of its own
					name = strings.TrimSuffix(filepath.Base(r.Source), filepath.Ext(r.Source))
				}
				t.row(lang.T("severity."+r.Severity.String()), strings.Join(r.Attack[:min(1, len(r.Attack))], ""), printable(name), printable(r.TitleIn(string(lang))))
			}
			return t.write(cmd.OutOrStdout(), "", columns(cmd.OutOrStdout()))
		},
	}
	f.add(cmd)
	cmd.Flags().StringVar(&find, "find", "", "only rules that hold this `text` in a name, alias, title, id, behaviour or technique")
	addLang(cmd, &f.lang)
	return cmd
}

// goesBy reports whether a rule holds a text that somebody looks for, whatever its
// case. Nobody looks for "".
func goesBy(r *detect.Rule, text string) bool {
	if text == "" || slices.ContainsFunc(r.Attack, func(id string) bool { return attack.Same(strings.ToUpper(text), id) }) {
		return true
	}
	said := append([]string{r.ID, r.Name, r.Title, r.Behaviour, filepath.Base(r.Source)}, r.Aliases...)
	for _, t := range r.Texts {
		said = append(said, t.Title)
	}
	text = strings.ToLower(text)
	return slices.ContainsFunc(said, func(s string) bool { return strings.Contains(strings.ToLower(s), text) })
}
