package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"ashiato/internal/detect"
	"ashiato/internal/i18n"
	"ashiato/internal/ruleset"
	"ashiato/internal/source"
)

func newRules() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rules",
		Short: "List, show, check, test, explain and measure rules",
		Long: `Rules are standard Sigma with texts in three languages beside them; the format is
described in docs/formats/rules.md, the tests in docs/formats/rule-tests.md.`,
		Example: `  ashiato rules list --lang ja
  ashiato rules show mock-folder-file
  ashiato rules check my-rules/
  ashiato rules test --rules my-rules/
  ashiato rules explain my-rules/rule.yml logs/Security.evtx
  ashiato rules stats --rules ~/sigma/rules logs/
  ashiato rules coverage --navigator layer.json`,
	}
	return group(cmd, newRulesList(), newRulesShow(), newRulesCheck(), newRulesTest(), newRulesExplain(), newRulesStats(), newRulesCoverage())
}

// ruleFlags choose the rules that a subcommand is about: the shipped ones unless
// --rules names others, with what changes them before they are used.
type ruleFlags struct {
	rules []string
	lang  string
	processing
}

func (f *ruleFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&f.rules, "rules", nil, "the rules of this `folder` or file instead of the shipped ones (repeatable)")
	f.processing.add(cmd)
}

func (f *ruleFlags) load() (*ruleset.Set, error) {
	return loadRules(f.rules, len(f.rules) == 0, nil, f.processing)
}

// sigmaRules are the rules of a set without its indicators.
func sigmaRules(set *ruleset.Set) []*detect.Rule {
	return slices.DeleteFunc(set.Engine.Rules(), func(r *detect.Rule) bool { return strings.HasPrefix(r.ID, "ioc:") })
}

// findRules returns the rules that go by a name: an id, a name, an alias or a
// file's name without folder and extension.
func findRules(set *ruleset.Set, name string) ([]*detect.Rule, error) {
	var found []*detect.Rule
	for _, r := range sigmaRules(set) {
		base := strings.TrimSuffix(filepath.Base(r.Source), filepath.Ext(r.Source))
		if r.ID == name || strings.EqualFold(r.Name, name) || base == name || slices.Contains(r.Aliases, name) {
			found = append(found, r)
		}
	}
	if len(found) == 0 {
		return nil, withHint(fmt.Errorf("no rule is called %q", name), "`ashiato rules list` names them all")
	}
	return found, nil
}

// somePaths wants at least one argument and says what it is for.
func somePaths(missing, example string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) == 0 {
			return withHint(errors.New(missing), "name at least one file or folder, as in `"+example+"`")
		}
		return nil
	}
}

// readable reports the first path that is not there.
func readable(paths []string) error {
	for _, p := range paths {
		_, err := os.Stat(p)
		switch {
		case p == "-" && errors.Is(err, os.ErrNotExist):
			return withHint(err, "for one log on standard input give /dev/stdin, with a file redirected to it")
		case errors.Is(err, os.ErrPermission):
			return withHint(err, "this account may not read it: run as administrator or root, or copy it first")
		case err != nil:
			return withHint(err, "check the path; a name with blanks needs quotes")
		}
	}
	return nil
}

// leftOut names rules that could not be used on standard error.
func leftOut(cmd *cobra.Command, set *ruleset.Set) {
	for i, p := range set.Problems {
		if i == maxLeftOut {
			fmt.Fprintf(cmd.ErrOrStderr(), "left out: %d more; `ashiato rules check` names them all\n", len(set.Problems)-i)
			return
		}
		fmt.Fprintf(cmd.ErrOrStderr(), "left out: %s\n", message(p))
	}
}

// inputProblems names what could not be read of the input on standard error.
// Files of other kinds are not worth a line.
func inputProblems(cmd *cobra.Command, problems []source.Problem) {
	problems = slices.DeleteFunc(slices.Clone(problems), func(p source.Problem) bool {
		return p.Kind == source.Skipped || p.Kind == source.Dirty
	})
	for i, p := range problems {
		if i == maxLeftOut {
			fmt.Fprintf(cmd.ErrOrStderr(), "not read: %d more; a scan's report has them all\n", len(problems)-i)
			return
		}
		fmt.Fprintf(cmd.ErrOrStderr(), "not read: %s\n", message(p))
	}
}

// titles are rules' titles in the reader's language, by the rule's key.
type titles map[string]string

func titlesIn(set *ruleset.Set, lang i18n.Lang) titles {
	t := titles{}
	for _, r := range set.Engine.Rules() {
		t[r.ID] = r.TitleIn(string(lang))
	}
	return t
}

// of is the title of the rule with that key, and title if it is not known.
func (t titles) of(key, title string) string {
	if s := t[key]; s != "" {
		title = s
	}
	return message(errors.New(title))
}

// levelIn is a rule's level as people read it.
func levelIn(lang i18n.Lang, level string) string {
	if key := "severity." + level; lang.Has(key) {
		return lang.T(key)
	}
	return printable(level)
}
