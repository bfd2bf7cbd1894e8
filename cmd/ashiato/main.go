// Command ashiato turns event logs into correlation diagrams: one intrusion, one
// incident, one picture in which every arrow opens the raw records behind it.
//
// See `ashiato --help`. It needs no network and no installation.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// version is set by the build (-ldflags "-X main.version=…").
var version = "dev"

// Exit statuses, the same for every command.
const (
	exitNothing = 0 // done; nothing at or above the asked severity, every check passed
	exitFound   = 1 // done; something found, or a check failed
	exitFailed  = 2 // could not run: wrong usage, no such file, nothing written
)

// errFound ends a command with exitFound without an error message: the finding has
// been printed already.
var errFound = errors.New("found")

// errNothingRead ends a command with exitFailed without an error message: that
// nothing could be looked at has been said already.
var errNothingRead = errors.New("nothing was read")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is main with its surroundings passed in.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	out := &stdoutWriter{Writer: stdout}
	root := newRoot(out, stderr)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if out.err != nil && (err == nil || errors.Is(err, errFound)) {
		err = fmt.Errorf("write to standard output: %w", out.err)
	}
	switch {
	case err == nil:
		return exitNothing
	case errors.Is(err, errFound):
		return exitFound
	case errors.Is(err, errNothingRead):
		return exitFailed
	case errors.Is(err, context.Canceled):
		fmt.Fprintln(stderr, "ashiato: interrupted")
		return exitFailed
	}
	fmt.Fprintf(stderr, "ashiato: %s\n", printable(plainly(err)))
	var h hinted
	if errors.As(err, &h) {
		fmt.Fprintf(stderr, "hint: %s\n", h.hint)
	}
	return exitFailed
}

// plainly is an error without the name of the system call that found a file wrong.
func plainly(err error) string {
	var pe *fs.PathError
	if !errors.As(err, &pe) {
		return err.Error()
	}
	return strings.Replace(err.Error(), pe.Op+" "+pe.Path, pe.Path, 1)
}

// hinted is an error with a line on what to do about it.
type hinted struct {
	error
	hint string
}

func (h hinted) Unwrap() error { return h.error }

func withHint(err error, hint string) error {
	if err == nil {
		return nil
	}
	return hinted{err, hint}
}

func newRoot(stdout, stderr io.Writer) *cobra.Command {
	root := &cobra.Command{
		Use:   "ashiato",
		Short: "From event logs to one correlation diagram",
		Long: `Ashiato (足跡, "footprints") reads event logs and draws each intrusion as one
picture: the correlation diagram (相関図), from the way in to what was left behind.
Every arrow opens the raw records behind it, and what was not seen is said.

Exit status: 0 nothing found, 1 something found or a check failed,
2 the command could not run.`,
		Example: `  ashiato scan C:\Windows\System32\winevt\Logs --report report.html
  ashiato scan evidence.zip --rules ~/sigma/rules --lang ja
  ashiato rules list`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Version:       built(),
	}
	root.SetVersionTemplate("ashiato {{.Version}}\n")
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return withHint(err, fmt.Sprintf("see `%s --help`", cmd.CommandPath()))
	})
	// Flags that are simply on or off, without the "[=true|false]" of the default.
	cobra.AddTemplateFunc("flagUsages", func(f *pflag.FlagSet) string {
		return strings.ReplaceAll(f.FlagUsages(), "[=true|false]", "             ")
	})
	root.SetUsageTemplate(strings.NewReplacer(
		"{{if .Runnable}}", "{{if and .Runnable (not .HasAvailableSubCommands)}}", // group
		".LocalFlags.FlagUsages", "flagUsages .LocalFlags", ".InheritedFlags.FlagUsages", "flagUsages .InheritedFlags",
	).Replace(root.UsageTemplate()))
	group(root, newScan(), newRules(), newScenario(), newBench(), newVersion())
	completeWords(root)
	return root
}

// completeWords lets the shell complete the words of flags that take one of a few.
func completeWords(cmd *cobra.Command) {
	for flag, words := range map[string][]string{
		"lang": {"en", "ja", "ko"}, "min-severity": {"informational", "low", "medium", "high", "critical"},
		"filter-polarity": {"as-written", "suppress"}, "to": {"ndjson", "evtx", "xml"}, "sort": {"hits", "records", "cost", "total"},
		"format": {"text", "json", "ndjson", "csv"},
	} {
		if flag == "format" && cmd.Name() != "scan" {
			words = words[:2]
		}
		if cmd.Flags().Lookup(flag) != nil {
			// It fails only for a flag that is not there, or twice.
			_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
		}
	}
	for _, sub := range cmd.Commands() {
		completeWords(sub)
	}
}

// group makes cmd a command that only has subcommands: alone it shows its help,
// and an unknown subcommand is wrong usage.
func group(cmd *cobra.Command, sub ...*cobra.Command) *cobra.Command {
	cmd.Args = cobra.ArbitraryArgs
	cmd.DisableFlagsInUseLine = true
	cmd.SuggestionsMinimumDistance = 2
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return unknownCommand(cmd, args[0])
		}
		return cmd.Help()
	}
	cmd.AddCommand(sub...)
	return cmd
}

// unknownCommand says which command may have been meant.
func unknownCommand(cmd *cobra.Command, name string) error {
	hint := fmt.Sprintf("see `%s --help`", cmd.CommandPath())
	if near := cmd.SuggestionsFor(name); len(near) > 0 {
		hint = fmt.Sprintf("did you mean `%s %s`?", cmd.CommandPath(), near[0])
	} else if _, err := os.Stat(name); err == nil && !cmd.HasParent() {
		hint = fmt.Sprintf("`ashiato scan %s` scans it", argument(name))
	}
	return withHint(fmt.Errorf("unknown command %q", strings.TrimPrefix(cmd.CommandPath()+" "+name, "ashiato ")), hint)
}

// oneArg wants exactly one argument and says what it is for.
func oneArg(what, example string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == 1 {
			return nil
		}
		return withHint(fmt.Errorf("%s takes one %s, not %d", strings.TrimPrefix(cmd.CommandPath(), "ashiato "), what, len(args)), "as in `"+example+"`; a name with blanks needs quotes")
	}
}

func newVersion() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version and what it was built with",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "ashiato %s\n", built())
			return err
		},
	}
}

// built is the version and what it was built with.
func built() string {
	revision := ""
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				revision = " (" + s.Value + ")"
			}
		}
	}
	return fmt.Sprintf("%s%s %s/%s %s", version, revision, runtime.GOOS, runtime.GOARCH, runtime.Version())
}
