package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
	_ "time/tzdata" // zone names must work on machines without a zone database

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"ashiato/internal/analysis"
	"ashiato/internal/casefile"
	"ashiato/internal/detect"
	"ashiato/internal/diagram"
	"ashiato/internal/i18n"
	"ashiato/internal/incident"
	"ashiato/internal/ioc"
	"ashiato/internal/report"
	"ashiato/internal/ruleset"
	"ashiato/internal/scan"
	"ashiato/internal/sigma"
	"ashiato/internal/sigma/correlation"
	"ashiato/internal/source"
	"ashiato/internal/world"
)

// scanFlags are the flags of `ashiato scan` as typed.
type scanFlags struct {
	rules  []string
	noPack bool
	iocs   []string
	processing
	report   string
	svg      string
	format   string
	lang     string
	zone     string
	since    string
	until    string
	hosts    []string
	minLevel string
	pins     string
	previous string
	state    string
	quiet    bool
	jobs     int
	memory   string
	joins    string
	groups   int

	ruleCache string
}

func newScan() *cobra.Command {
	var f scanFlags
	cmd := &cobra.Command{
		Use:   "scan [flags] PATH…",
		Short: "Scan event logs and draw each intrusion as one picture",
		Long: `Scan reads event logs, finds what the rules and indicators say, joins it, and
tells each intrusion as one incident: root cause, numbered story, detections,
and the correlation diagram.

PATH is a file or a folder: .evtx, .json, .ndjson, .jsonl, .xml, each also
compressed (.gz) or inside .zip and .tar archives. Files are recognised by
content, not by name. What cannot be read is named, counted, and stops nothing.

Exit status: 0 nothing at or above --min-severity, 1 something found,
2 the scan could not run, or no event could be read.`,
		Example: `  ashiato scan C:\Windows\System32\winevt\Logs
  ashiato scan case42.zip --report case42.html --lang ja
  ashiato scan logs/ --rules ~/sigma/rules --min-severity high --format json
  ashiato scan logs/ --format csv > timeline.csv
  ashiato scan monday/ --state case42.state && ashiato scan tuesday/ --state case42.state --report case42.html
  ashiato scan logs/ --host DESKTOP-7Q2 --since 2026-03-02 --until "2026-03-02 18:00"`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 && f.state == "" {
				return withHint(errors.New("nothing to scan"), "name at least one file or folder, as in `ashiato scan logs/`")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return runScan(cmd, args, f) },
	}
	fl := cmd.Flags()
	fl.SortFlags = false
	fl.StringArrayVar(&f.rules, "rules", nil, "add the Sigma rules of this `folder` or file (recursive, repeatable)")
	fl.BoolVar(&f.noPack, "no-pack", false, "leave out the shipped rules and indicators")
	fl.StringArrayVar(&f.iocs, "ioc", nil, "add indicators from this `file`: CSV or one per line (repeatable)")
	f.processing.add(cmd)
	fl.StringVar(&f.report, "report", "", "write one self-contained HTML report to this `file`")
	fl.StringVar(&f.svg, "svg", "", "write one SVG per incident into this `folder`, and beside it the same picture as JSON")
	fl.StringVar(&f.format, "format", "text", "print this `format`: text, json, ndjson or csv (the detections as a timeline for spreadsheets)")
	fl.StringVar(&f.lang, "lang", "", "`language`: en, ja or ko (default: from the locale)")
	fl.StringVar(&f.zone, "zone", "UTC", "time `zone` for people: UTC, Local or a name such as Asia/Tokyo")
	fl.StringVar(&f.since, "since", "", "leave out events before this `time`")
	fl.StringVar(&f.until, "until", "", "leave out events after this `time`")
	fl.StringArrayVar(&f.hosts, "host", nil, "only events of this host (`name`, repeatable)")
	fl.StringVar(&f.minLevel, "min-severity", "low", "leave out incidents below this `level`: informational, low, medium, high, critical")
	fl.StringVar(&f.pins, "pins", "", "heed the analyst's decisions in this `file` (docs/formats/pins.md)")
	fl.StringVar(&f.previous, "previous", "", "say what became of the incidents in this `file`, the JSON of an earlier scan")
	fl.StringVar(&f.state, "state", "", "go on from what earlier scans left in this `file`, and leave it there again (docs/formats/state.md)")
	fl.BoolVar(&f.quiet, "quiet", false, "show no progress")
	fl.StringVar(&f.memory, "correlation-memory", formatSize(correlation.DefaultRule), "let each correlation hold events of this `size`, as in 256M")
	fl.StringVar(&f.joins, "joins-memory", formatSize(world.DefaultHostBytes), "let the joins hold what takes this `size` of each host, as in 256M")
	fl.IntVar(&f.groups, "correlation-groups", correlation.DefaultGroups, "let each correlation hold this `many` groups")
	fl.StringVar(&f.ruleCache, "rule-cache", "", "keep compiled rules for the next run in this `folder`, or off (default: in the user's cache folder)")
	fl.IntVar(&f.jobs, "jobs", 0, "read this `many` files or parts at once (default: one per processor)")
	return cmd
}

func runScan(cmd *cobra.Command, paths []string, f scanFlags) error {
	lang, err := language(f.lang)
	if err != nil {
		return err
	}
	if !slices.Contains([]string{"text", "json", "ndjson", "csv"}, f.format) {
		return withHint(fmt.Errorf("unknown format %q", f.format), "use text, json, ndjson or csv; --report FILE writes HTML and --svg FOLDER the pictures")
	}
	zone, err := time.LoadLocation(f.zone)
	if err != nil {
		return withHint(fmt.Errorf("unknown time zone %q", f.zone), "use UTC, Local or a name such as Asia/Tokyo")
	}
	minimum, err := detect.ParseSeverity(f.minLevel)
	if err != nil {
		return err
	}
	since, err := parseTime("--since", f.since, zone, false)
	if err != nil {
		return err
	}
	until, err := parseTime("--until", f.until, zone, true)
	if err != nil {
		return err
	}
	if !since.IsZero() && !until.IsZero() && until.Before(since) {
		return withHint(fmt.Errorf("--until %s is before --since %s", f.until, f.since), "no event can lie between them")
	}
	if f.jobs < 0 {
		return fmt.Errorf("--jobs %d: must not be negative", f.jobs)
	}
	limits, err := correlationLimits(f.memory, f.groups)
	if err != nil {
		return err
	}
	joins, err := parseSize("--joins-memory", f.joins, world.MinHostBytes, world.MaxHostBytes)
	if err != nil {
		return err
	}
	if f.state != "" && f.previous != "" {
		return withHint(errors.New("--state and --previous exclude each other"), "the state knows the incidents of the scan before")
	}
	if slices.Contains(f.hosts, "") {
		return withHint(errors.New("--host: the name is empty"), "leave the flag out to scan every host")
	}
	if err := readable(paths); err != nil {
		return err
	}
	keepMemoryNear()
	f.processing.cache = ruleCache(f.ruleCache)
	set, err := loadRules(f.rules, !f.noPack, f.iocs, f.processing)
	if err != nil {
		return err
	}
	sayLeftOut(cmd.ErrOrStderr(), lang, set.Problems, f.rules)
	// Before a scan that may take long: can its result be written?
	var reportFile *outFile
	if f.report != "" {
		if reportFile, err = newOutFile(f.report, "<!DOCTYPE html>"); err != nil {
			return fmt.Errorf("--report: %w", err)
		}
	}
	if f.svg != "" {
		if info, err := os.Stat(f.svg); err == nil && !info.IsDir() {
			return withHint(fmt.Errorf("--svg: %s is no folder", f.svg), "name a folder; it is made if it is not there")
		}
		if err := os.MkdirAll(f.svg, 0o755); err != nil {
			return fmt.Errorf("--svg: %w", err)
		}
		if err := probe(f.svg); err != nil {
			return fmt.Errorf("--svg: %w", err)
		}
	}

	pins, earlier, err := readCase(f.pins, f.previous)
	if err != nil {
		return err
	}
	opt := scan.Options{
		Paths: paths, Engine: set.Engine, RuleSet: set.Hash, Since: since, Until: until, Hosts: f.hosts, MinSeverity: minimum,
		Jobs: f.jobs, Limits: world.Limits{HostBytes: joins}, Correlations: limits, Evidence: f.report != "",
		Pins: pins, Earlier: earlier,
	}
	stateFile, err := openState(f, len(paths) > 0, &opt)
	if err != nil {
		return err
	}
	progress := newProgress(cmd.ErrOrStderr(), f.quiet, lang)
	opt.Progress = progress.update
	result, err := scan.Run(cmd.Context(), opt)
	progress.done()
	if err != nil {
		return err
	}
	switch s := result.Stats; {
	case s.Source.Events == 0:
		fmt.Fprintln(cmd.ErrOrStderr(), lang.T("note.no-event"))
		if slices.ContainsFunc(result.Problems, func(p source.Problem) bool { return p.Kind == source.Unreadable }) {
			fmt.Fprintln(cmd.ErrOrStderr(), lang.T("note.no-access"))
		}
	case s.Analysed == 0:
		fmt.Fprintln(cmd.ErrOrStderr(), lang.T("note.all-left-out"))
		if len(result.OtherHosts) > 0 {
			fmt.Fprintln(cmd.ErrOrStderr(), lang.T("note.other-hosts", printable(strings.Join(result.OtherHosts, ", "))))
		}
	}
	doc := &report.Document{
		Tool: "ashiato", Version: version, RuleSet: set.Hash, Args: append([]string{"scan"}, os.Args[min(2, len(os.Args)):]...),
		Stats: result.Stats, Incidents: result.Incidents, Changes: result.Changes, Problems: append(set.Report(), result.Problems...), Gaps: result.Gaps, Clocks: result.Clocks,
		Evidence: result.Evidence, Lang: lang, Zone: zone, Titles: map[string]string{},
	}
	doc.Stats.Rules, doc.Stats.Correlations, doc.Stats.Indicators = len(set.Rules), len(set.Correlations), set.Indicators
	for _, inc := range result.Incidents {
		doc.Titles[inc.ID] = inc.Title(lang)
	}
	if err := writeOutputs(cmd.Context(), cmd.OutOrStdout(), doc, f, reportFile); err != nil {
		return err
	}
	if stateFile != nil {
		if err := stateFile.write(cmd.Context(), result.State.Write); err != nil {
			return fmt.Errorf("--state: %w", err)
		}
	}
	switch {
	case len(result.Incidents) > 0:
		return errFound
	case result.Stats.Source.Events == 0:
		return errNothingRead // a script must not take that for "nothing happened"
	}
	return nil
}

// openState reads the file of --state into opt, if it is there and not empty, and
// returns what is to be written at the end; nil without the flag. fresh says that
// there is something to read beside it.
func openState(f scanFlags, fresh bool, opt *scan.Options) (*outFile, error) {
	if f.state == "" {
		return nil, nil
	}
	out, err := newOutFile(f.state, analysis.Signature[:7])
	if err == nil && out.direct {
		err = errors.New("it must be a file that can be replaced")
	}
	if err != nil {
		return nil, fmt.Errorf("--state: %w", err)
	}
	out.secret = true
	in, err := os.Open(out.path)
	if errors.Is(err, os.ErrNotExist) || err == nil && empty(in) {
		if in != nil {
			in.Close() // nothing was read
		}
		if !fresh {
			return nil, withHint(fmt.Errorf("--state: %s holds nothing yet", f.state), "name at least one file or folder to scan")
		}
		return out, nil
	}
	if err != nil {
		return nil, fmt.Errorf("--state: %w", err)
	}
	defer in.Close()
	restoring := *opt
	opt.Resume, err = scan.Restore(in, restoring)
	opt.Again = func() (*scan.State, error) {
		in, err := os.Open(out.path)
		if err != nil {
			return nil, fmt.Errorf("--state: %w", err)
		}
		defer in.Close()
		st, err := scan.Restore(in, restoring)
		if err != nil {
			return nil, fmt.Errorf("--state: %s: %w", f.state, err)
		}
		return st, nil
	}
	switch {
	case errors.Is(err, analysis.ErrOtherRules):
		return nil, withHint(fmt.Errorf("--state: %s: %w", f.state, err),
			"what other rules say of records that were read before is not known: scan with the same rules, or scan everything again with another state file")
	case errors.Is(err, analysis.ErrState):
		return nil, withHint(fmt.Errorf("--state: %s: %w", f.state, err), "scan everything again with another state file; the program that wrote this one may still read it")
	case err != nil:
		return nil, fmt.Errorf("--state: %s: %w", f.state, err)
	}
	return out, nil
}

func empty(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Size() == 0
}

// correlationLimits reads the bounds on correlations. What one group may hold,
// and what may wait for the joins, is in the proportion of the defaults.
func correlationLimits(memory string, groups int) (correlation.Limits, error) {
	size, err := parseSize("--correlation-memory", memory, 64<<10, 1<<40)
	if err != nil {
		return correlation.Limits{}, err
	}
	if groups < 1 || groups > 1<<30 {
		return correlation.Limits{}, withHint(fmt.Errorf("--correlation-groups %d is out of range", groups), "use a number from 1 to 1073741824")
	}
	return correlation.Limits{
		Rule: size, Groups: groups,
		Group: size / (correlation.DefaultRule / correlation.DefaultGroup), Waiting: size * (correlation.DefaultWaiting / correlation.DefaultRule),
	}, nil
}

// readCase reads what is known of incidents from before.
func readCase(pinsFile, previous string) (pins incident.Pins, earlier []incident.Earlier, err error) {
	read := func(name string, with func(io.Reader) error) error {
		if name == "" {
			return nil
		}
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		return with(f)
	}
	err = read(pinsFile, func(r io.Reader) (err error) {
		pins, err = casefile.ReadPins(pinsFile, r)
		return err
	})
	if err != nil {
		return pins, nil, withHint(fmt.Errorf("--pins: %w", err), "docs/formats/pins.md shows the shape of the file")
	}
	err = read(previous, func(r io.Reader) (err error) {
		earlier, err = casefile.ReadEarlier(previous, r)
		return err
	})
	if err != nil {
		return pins, nil, withHint(fmt.Errorf("--previous: %w", err), "it takes what `ashiato scan --format json` printed")
	}
	return pins, earlier, nil
}

// processing is what changes rules before they are compiled.
type processing struct {
	pipelines    []string
	placeholders []string
	polarity     string
	cache        string // folder of compiled rules, for those who need no more than those
}

// ruleCache is the folder that --rule-cache means, "" for none.
func ruleCache(flag string) string {
	switch flag {
	case "":
		return ruleset.UserCache()
	case "off":
		return ""
	}
	return flag
}

func (p *processing) add(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&p.pipelines, "pipeline", nil, "apply the pySigma processing pipeline of this `file` to the rules (repeatable)")
	cmd.Flags().StringArrayVar(&p.placeholders, "placeholders", nil, "take values for %placeholders% of rules from this `file`: YAML, or NAME.txt, or a folder of both (repeatable)")
	cmd.Flags().StringVar(&p.polarity, "filter-polarity", "as-written", "join the condition of filter documents in this `way`: as-written or suppress")
}

// loadRules reads rules and indicators and says what to do if that fails.
func loadRules(dirs []string, pack bool, indicators []string, p processing) (*ruleset.Set, error) {
	opt := ruleset.Options{Pack: pack, Rules: dirs, Indicators: indicators, Pipelines: p.pipelines, Cache: p.cache}
	switch p.polarity {
	case "as-written", "":
	case "suppress":
		opt.Filters = sigma.Suppress
	default:
		return nil, withHint(fmt.Errorf("--filter-polarity %q: unknown", p.polarity), "use as-written (and, as pySigma) or suppress (and not)")
	}
	var err error
	if opt.Placeholders, err = ruleset.ReadPlaceholders(p.placeholders); err != nil {
		return nil, withHint(err, "--placeholders takes a YAML map of names to values, or NAME.txt with one value a line (docs/formats/rules.md)")
	}
	set, err := ruleset.Load(opt)
	if errors.Is(err, ruleset.ErrPipeline) {
		return nil, withHint(err, "--pipeline takes pySigma processing pipelines; docs/formats/rules.md lists what they may hold")
	}
	return set, withHint(err, "--rules takes folders with .yml files, --ioc takes CSV files or files with one indicator per line")
}

// maxLeftOut bounds how many indicators are named on standard error.
const maxLeftOut = 5

// sayLeftOut names what of the rules and indicators could not be honoured. Of
// rules there is one line: a whole collection has many that are for other things.
func sayLeftOut(w io.Writer, lang i18n.Lang, problems []error, folders []string) {
	var rules, indicators []error
	for _, p := range problems {
		if _, ok := errors.AsType[*ioc.Error](p); ok {
			indicators = append(indicators, p)
		} else {
			rules = append(rules, p)
		}
	}
	switch len(rules) {
	case 0:
	case 1:
		fmt.Fprintln(w, lang.T("note.left-out", message(rules[0])))
	default:
		for i, f := range folders {
			folders[i] = argument(f)
		}
		fmt.Fprintln(w, lang.T("note.left-out-rules", i18n.Number(len(rules)), "ashiato rules check "+strings.Join(folders, " ")))
	}
	for i, p := range indicators {
		if i == maxLeftOut {
			fmt.Fprintln(w, lang.T("note.left-out-more", i18n.Number(len(indicators)-maxLeftOut)))
			break
		}
		fmt.Fprintln(w, lang.T("note.left-out", message(p)))
	}
}

// writeOutputs writes the report, the pictures and what was asked for on
// standard output, in that order, so that a reader of the text finds the files.
func writeOutputs(ctx context.Context, stdout io.Writer, doc *report.Document, f scanFlags, reportFile *outFile) error {
	if reportFile != nil {
		if err := reportFile.write(ctx, doc.HTML); err != nil {
			return fmt.Errorf("write the report: %w", err)
		}
	}
	if f.svg != "" {
		for _, inc := range doc.Incidents {
			d := diagram.New(inc, diagram.Options{Lang: doc.Lang, Title: doc.Titles[inc.ID], Zone: doc.Zone, Story: true})
			for _, form := range []struct {
				ext, begins string
				write       func(io.Writer) error
			}{
				{".svg", "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<svg", d.SVG},
				{".json", `{"width":`, d.JSON},
			} {
				file, err := newOutFile(filepath.Join(f.svg, inc.ID+form.ext), form.begins)
				if err == nil {
					err = file.write(ctx, form.write)
				}
				if err != nil {
					return fmt.Errorf("write a diagram: %w", err)
				}
			}
		}
	}
	out := bufio.NewWriter(untilDone{ctx, stdout})
	var err error
	switch f.format {
	case "json":
		err = doc.JSON(out)
	case "ndjson":
		err = doc.NDJSON(out)
	case "csv":
		err = doc.CSV(out)
	default:
		err = doc.Text(out, report.TextOptions{Color: colour(stdout), Width: columns(stdout)})
	}
	if err == nil {
		err = out.Flush()
	}
	if err != nil {
		return fmt.Errorf("write to standard output: %w", err)
	}
	return nil
}

// language reads --lang, or if it is not given the locale, or Windows' own language.
func language(flag string) (i18n.Lang, error) {
	if flag != "" {
		if l, ok := i18n.Parse(flag); ok {
			return l, nil
		}
		return "", withHint(fmt.Errorf("unknown language %q", flag), "use en, ja or ko")
	}
	for _, name := range []string{"LC_ALL", "LC_MESSAGES", "LANG"} {
		if v := os.Getenv(name); v != "" {
			l, _ := i18n.Parse(v)
			return l, nil
		}
	}
	l, _ := i18n.Parse(uiLanguage())
	return l, nil
}

// parseTime reads a time as people write it. Without an offset it is in zone. A
// date alone means its first instant, or for --until its last.
func parseTime(flag, value string, zone *time.Location, end bool) (time.Time, error) {
	if value == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02 15:04", "2006-01-02T15:04"} {
		if t, err := time.ParseInLocation(layout, value, zone); err == nil {
			return t.UTC(), nil
		}
	}
	if t, err := time.ParseInLocation("2006-01-02", value, zone); err == nil {
		if end {
			t = t.AddDate(0, 0, 1).Add(-1)
		}
		return t.UTC(), nil
	}
	return time.Time{}, withHint(fmt.Errorf("%s: %q is not a time", flag, value), `write 2026-03-02, "2026-03-02 18:00" or 2026-03-02T18:00:00+09:00`)
}

// colour reports whether w is a terminal that wants colours (https://no-color.org).
func colour(w io.Writer) bool {
	if os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
		return false
	}
	f, ok := w.(interface{ Fd() uintptr })
	return ok && isTerminal(w) && paints(f.Fd())
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(interface{ Fd() uintptr })
	return ok && term.IsTerminal(int(f.Fd()))
}

// columns is how wide the terminal w is, 0 if w is none.
func columns(w io.Writer) int {
	f, ok := w.(interface{ Fd() uintptr })
	if !ok || !isTerminal(w) {
		return 0
	}
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 0
	}
	return width
}
