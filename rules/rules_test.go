package rules_test

import (
	"context"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"unicode"

	"ashiato/internal/attack"
	"ashiato/internal/corpus"
	"ashiato/internal/detect"
	"ashiato/internal/event"
	"ashiato/internal/normalize"
	"ashiato/internal/ruletest"
	"ashiato/internal/scenario"
	"ashiato/internal/sigma"
	"ashiato/internal/source/files"
	"ashiato/rules"
)

var update = flag.Bool("update", false, "rewrite the table in README.md")

// behaviours are the words that stories and titles are made from. A new word
// needs its sentences there first.
var behaviours = []string{
	"auto-elevation", "cleanup", "collection", "credential-theft", "defender-exclusion", "defense-tampering",
	"discovery", "download", "dropped-program", "elevation", "exfiltration", "hidden-files", "impact", "injection", "known-malware", "lateral-movement",
	"log-cleared", "miner-setup", "mining", "mock-folder", "persistence", "remote-logon", "resource-use",
	"script-execution", "service-dll",
	"service-persistence", "service-run", "side-load", "task-persistence", "tunnel", "uac-bypass",
	"usb-script", "usb-spread",
}

// pack parses and compiles the whole pack. A file holds one rule, or a
// correlation and the rules that are heard only through it, which are not in
// the list.
func pack(t testing.TB) ([]*sigma.Rule, *detect.Engine) {
	t.Helper()
	names, err := fs.Glob(rules.FS(), "*/*.yml")
	if err != nil || len(names) == 0 {
		t.Fatalf("no rules: %v", err)
	}
	var all sigma.Collection
	var parts []*sigma.Rule // that stand beside a correlation
	for _, name := range names {
		data, err := fs.ReadFile(rules.FS(), name)
		if err != nil {
			t.Fatal(err)
		}
		rulesBefore, correlationsBefore := len(all.Rules), len(all.Correlations)
		for _, err := range all.Parse(name, data) {
			t.Error(err)
		}
		switch len(all.Correlations) - correlationsBefore {
		case 0:
			if n := len(all.Rules) - rulesBefore; n != 1 {
				t.Errorf("%s: %d rules, want 1", name, n)
			}
		case 1:
			parts = append(parts, all.Rules[rulesBefore:]...)
		default:
			t.Errorf("%s: more than one correlation", name)
		}
	}
	compiled, errs := sigma.Compile(all.Rules, sigma.Options{})
	correlations, more := sigma.Correlate(all.Correlations, compiled.Rules(), sigma.CorrelateOptions{PseudoFields: true})
	for _, err := range slices.Concat(errs, more) {
		t.Error(err)
	}
	if t.Failed() {
		t.FailNow()
	}
	engine := detect.NewCorrelating(compiled, correlations, nil)
	silent := map[string]bool{}
	for _, r := range engine.Rules() {
		silent[r.ID] = r.Silent
	}
	var list []*sigma.Rule
	for _, r := range all.Rules {
		switch part := slices.Contains(parts, r); {
		case part && !silent[r.ID]:
			t.Errorf("%s: %s stands beside a correlation and is heard for itself", r.File, r.ID)
		case !part && silent[r.ID]:
			t.Errorf("%s: a rule of its own is heard only through correlations", r.File)
		case !part:
			list = append(list, r)
		}
	}
	for _, c := range correlations {
		list = append(list, c.Rule)
	}
	slices.SortFunc(list, func(a, b *sigma.Rule) int { return strings.Compare(a.File, b.File) })
	return list, engine
}

func TestRulesAreComplete(t *testing.T) {
	list, _ := pack(t)
	uuid := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	name := regexp.MustCompile(`^[A-Z][A-Za-z]+/Ashiato\.[A-Z][A-Za-z]+\.(M[0-9]{4})$`)
	seen := map[string]string{} // id, number or title: the file that has it
	once := func(r *sigma.Rule, what, value string) {
		if other, ok := seen[what+value]; ok {
			t.Errorf("%s: %s %s is also that of %s", r.File, what, value, other)
		}
		seen[what+value] = r.File
	}
	for _, r := range list {
		if !uuid.MatchString(r.ID) {
			t.Errorf("%s: id %q is not a version 4 UUID", r.File, r.ID)
		}
		once(r, "id", r.ID)
		once(r, "title", r.Title)
		if m := name.FindStringSubmatch(r.Extension.Name); m == nil {
			t.Errorf("%s: name %q is not of the form Class/Ashiato.Subject.Mnnnn", r.File, r.Extension.Name)
		} else {
			once(r, "number", m[1])
		}
		for what, ok := range map[string]bool{
			"status": r.Status != "", "description": r.Description != "", "author": r.Author != "", "date": r.Date != "",
			"references": len(r.References) > 0, "falsepositives": len(r.FalsePositives) > 0,
			"level": r.Level != "", "a technique": len(r.Attack) > 0, "a tactic": len(r.Tactics) > 0,
		} {
			if !ok {
				t.Errorf("%s: %s is missing", r.File, what)
			}
		}
		for _, w := range r.Warnings {
			t.Errorf("%s: %v", r.File, w)
		}
		if !slices.Contains(behaviours, r.Extension.Behaviour) {
			t.Errorf("%s: behaviour %q is not one of %s", r.File, r.Extension.Behaviour, strings.Join(behaviours, ", "))
		}
		scripts := map[string][]*unicode.RangeTable{
			"en": {unicode.Latin},
			"ja": {unicode.Hiragana, unicode.Katakana, unicode.Han},
			"ko": {unicode.Hangul},
		}
		for lang, script := range scripts {
			x := r.Extension.Texts[lang]
			for field, text := range map[string]string{
				"title": x.Title, "meaning": x.Meaning, "why": x.Why, "check": x.Check, "benign": x.Benign, "action": x.Action,
			} {
				if n := len([]rune(text)); n > 600 {
					t.Errorf("%s: text %s.%s has %d characters; nobody reads as many", r.File, lang, field, n)
				}
				if !strings.ContainsFunc(text, func(c rune) bool { return unicode.In(c, script...) }) {
					t.Errorf("%s: text %s.%s is missing or not in its language: %q", r.File, lang, field, text)
				}
			}
			if strings.ContainsRune(x.Title, '\n') || len([]rune(x.Title)) > 90 {
				t.Errorf("%s: title %s is too long for a line: %q", r.File, lang, x.Title)
			}
		}
	}
	for _, b := range behaviours {
		if !slices.ContainsFunc(list, func(r *sigma.Rule) bool { return r.Extension.Behaviour == b }) {
			t.Errorf("no rule has the behaviour %q", b)
		}
	}
}

// TestTechniquesAreCurrent holds that a rule that carries an id of an earlier release
// of ATT&CK carries the current one too, and that public rules, which follow the
// current release, know it.
func TestTechniquesAreCurrent(t *testing.T) {
	list, _ := pack(t)
	used := map[string]string{}
	for _, r := range list {
		for _, id := range r.Attack {
			now := attack.Current(id)
			if now != id && !slices.ContainsFunc(r.Attack, func(other string) bool { return attack.Current(other) == other && attack.Same(now, other) }) {
				t.Errorf("%s: %s is %s now, which the rule does not carry", r.File, id, now)
			}
			if now == id {
				used[id] = r.File
			}
		}
	}
	public := map[string]bool{}
	tag := regexp.MustCompile(`attack\.(t[0-9]{4}(\.[0-9]{3})?)\b`)
	err := filepath.WalkDir(corpus.Dir(t, "sigma"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".yml") {
			return err
		}
		data, err := os.ReadFile(path)
		for _, m := range tag.FindAllStringSubmatch(string(data), -1) {
			public[strings.ToUpper(m[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for id, file := range used {
		if attack.Current(id) != id || !public[id] && !unusual[id] {
			t.Errorf("%s: no public rule knows %s", file, id)
		}
	}
}

// unusual are current techniques that no public rule is tagged with: T1496.001 is
// Compute Hijacking.
var unusual = map[string]bool{"T1496.001": true}

// TestRulesKeyOnBehaviour holds that no rule depends on what a campaign can
// change at no cost.
func TestRulesKeyOnBehaviour(t *testing.T) {
	names := regexp.MustCompile(`(?i)rootdir|sysvolume|console_zero|svculdr|svctrl64|wsvcz|wlogz|USB Drive|hashpoolpx|umnsrx|umnxrc|xmrsys|[xu][0-9]{6}\b|\[xu\]`)
	list, _ := pack(t)
	for _, r := range list {
		data, err := fs.ReadFile(rules.FS(), r.File)
		if err != nil {
			t.Fatal(err)
		}
		_, text, found := strings.Cut(string(data), "\ndetection:\n")
		if !found {
			_, text, found = strings.Cut(string(data), "\ncorrelation:\n")
		}
		text, _, ok := strings.Cut(text, "\nfalsepositives:\n")
		if !ok || !found {
			t.Errorf("%s: detection is not followed by falsepositives", r.File)
		}
		if m := names.FindString(text); m != "" {
			t.Errorf("%s: the detection depends on %q, a name of one campaign", r.File, m)
		}
	}
}

func TestRuleTests(t *testing.T) {
	_, engine := pack(t)
	names, err := fs.Glob(rules.FS(), "*/*.test")
	if err != nil {
		t.Fatal(err)
	}
	var parsed []*ruletest.File
	for _, name := range names {
		data, err := fs.ReadFile(rules.FS(), name)
		if err != nil {
			t.Fatal(err)
		}
		f, errs := ruletest.Parse(name, data)
		for _, err := range errs {
			t.Error(err)
		}
		if len(ruletest.Subjects(engine.Rules(), name)) == 0 {
			t.Errorf("%s: no rule file of this name", name)
		}
		for _, failure := range ruletest.Run(engine, f).Failures {
			t.Error(failure)
		}
		parsed = append(parsed, f)
	}
	for _, missing := range ruletest.Missing(engine, parsed) {
		t.Error(missing)
	}
}

// found is what the pack says of a set of records.
type found struct {
	mu         sync.Mutex
	rules      map[string]int // by base name
	behaviours map[string]bool
	aliases    map[string]bool
	detections []detect.Detection
}

func run(engine *detect.Engine, f *found, batch []*event.Event) {
	w := engine.Worker()
	for _, e := range batch {
		normalize.Event(e)
		for _, d := range w.Detect(e, nil) {
			f.mu.Lock()
			f.rules[strings.TrimSuffix(path.Base(d.Rule.Source), ".yml")]++
			f.behaviours[d.Rule.Behaviour] = true
			for _, a := range d.Rule.Aliases {
				f.aliases[a] = true
			}
			f.detections = append(f.detections, d)
			f.mu.Unlock()
		}
	}
}

func newFound() *found {
	return &found{rules: map[string]int{}, behaviours: map[string]bool{}, aliases: map[string]bool{}}
}

// TestScenario varies the synthetic intrusion: the pack must see its steps in
// each recording that can show them, and nothing worse than low elsewhere.
func TestScenario(t *testing.T) {
	_, engine := pack(t)
	data, err := os.ReadFile(filepath.FromSlash("../testdata/scenarios/usb-coinminer.txtar"))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		set  []string
		// want are the numbers of the incident's steps that must carry a
		// detection of medium or more.
		want []int
	}{
		{"as published", nil, []int{2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14}},
		{"other names, letters and numbers", []string{
			"digits=104882", "number=340001", "stick=K", "next=Q", "folder=photos of mine", "prefix=q",
			"lure=Holiday", "task=Display Helper", "pool=relay.example", "seed=7",
		}, []int{2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14}},
		{"Sysmon alone", []string{"telemetry=sysmon"}, []int{2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14}},
		{"Security alone", []string{"telemetry=security"}, []int{2, 3, 5, 6, 8, 10, 12, 13, 14}},
		{"the sensor alone", []string{"telemetry=sensor"}, []int{2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14}},
		{"the sensor beside everything", []string{"telemetry=all sensor"}, []int{2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14}},
		{"old record versions", []string{"records=old"}, []int{2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 13, 14}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, err := scenario.Parse("usb-coinminer.txtar", data)
			if err != nil {
				t.Fatal(err)
			}
			for _, pair := range tt.set {
				key, value, _ := strings.Cut(pair, "=")
				if err := s.Set(key, value); err != nil {
					t.Fatal(err)
				}
			}
			built, err := s.Build()
			if err != nil {
				t.Fatal(err)
			}
			f := newFound()
			run(engine, f, built.Events)
			steps := map[int]bool{}
			for _, d := range f.detections {
				label, ok := built.Label(d.Event)
				switch {
				case !ok:
					t.Errorf("%s: a record without a label", d.Rule.Name)
				case d.Rule.Severity >= detect.Medium && !label.Attack:
					t.Errorf("%s (%s) on a benign record: %s; %v", d.Rule.Name, d.Rule.Severity, label.Text, d.Matched)
				// That a person runs a script from a stick is worth a note and no more:
				// pupils do. What the script does is worth the rest.
				case d.Rule.Severity >= detect.Medium || label.Step == 2 && d.Rule.Severity == detect.Low:
					steps[label.Step] = steps[label.Step] || label.Attack
				}
			}
			for _, step := range tt.want {
				if !steps[step] {
					t.Errorf("step %d has no detection", step)
				}
			}
			for _, alias := range built.Expect.Aliases {
				if !f.aliases[alias] {
					t.Errorf("no detection has the alias %s", alias)
				}
			}
		})
	}
}

// TestScenarios holds which steps of the other synthetic intrusions the pack
// sees in which logs, and that it says nothing worse than low of what goes on
// around them.
func TestScenarios(t *testing.T) {
	_, engine := pack(t)
	const noSysmon = "security system tasks powershell wmi winrm sessions rdp bits msi defender"
	for _, tt := range []struct {
		file string
		// The steps that must carry a detection of medium or more in all logs,
		// in Sysmon's alone, and in those of Windows alone.
		all, sysmon, windows []int
	}{
		{"bits-job.txtar", []int{2, 3, 5, 7, 8, 9, 11, 14}, []int{2, 3, 5, 7, 8, 9, 11, 14}, []int{2, 3, 5, 7, 8, 9}},
		{"lsass-pass.txtar", []int{5, 6, 10, 11, 12, 14}, []int{5, 6, 10, 11, 12, 14}, []int{6, 10, 11, 12}},
		{"macro-document.txtar", []int{3, 4, 6, 7, 8, 12}, []int{3, 4, 6, 7, 8, 12}, []int{3, 4, 7, 8, 12}},
		{"msi-implant.txtar", []int{6, 11, 12, 13}, []int{6, 11, 12, 13}, []int{6, 11, 12, 13}},
		{"psexec.txtar", []int{3, 4, 6, 7, 9, 10, 11, 12, 13, 14}, []int{3, 4, 9, 10, 11, 12, 13, 14}, []int{4, 6, 7, 9, 10, 11, 12, 13}},
		{"rdp.txtar", []int{1, 4, 5, 6, 7, 11, 12, 13, 14}, []int{4, 5, 6, 7, 11, 12, 13, 14}, []int{1, 4, 5, 6, 7, 11, 12, 14}},
		{"remote-task.txtar", []int{3, 6, 7, 8, 9, 12, 13}, []int{3, 6, 7, 8, 9, 12, 13}, []int{3, 7, 8, 9, 12, 13}},
		{"run-key.txtar", []int{4, 5, 6, 8, 9, 11, 12}, []int{4, 5, 6, 8, 9, 11, 12}, []int{8, 9, 12}},
		{"usb-folder-lnk.txtar", []int{2, 3, 5, 6, 7, 11, 13, 14}, []int{2, 3, 5, 6, 7, 11, 13, 14}, []int{2, 11, 13}},
		{"web-service.txtar", []int{1, 2, 3, 4, 5, 6, 7, 8, 11, 12}, []int{1, 2, 3, 4, 5, 6, 7, 8, 11, 12}, []int{1, 2, 3, 4, 5, 6, 7, 8, 11, 12}},
		{"winrm.txtar", []int{2, 3, 4, 6, 9, 10, 11, 12}, []int{2, 4, 6, 9, 10, 11, 12}, []int{2, 3, 4, 6, 9, 10, 11, 12}},
		{"wmi-dcom.txtar", []int{3, 4, 7, 8, 9, 12, 13, 14}, []int{3, 4, 7, 8, 9, 12, 13, 14}, []int{4, 8, 9, 12, 13, 14}},
		{"wmi-subscription.txtar", []int{2, 3, 5, 6, 8, 10, 11, 12, 14}, []int{3, 5, 6, 8, 10, 11, 12, 14}, []int{2, 3, 5, 6, 8, 10, 14}},
	} {
		data, err := os.ReadFile(filepath.Join("..", "testdata", "scenarios", tt.file))
		if err != nil {
			t.Fatal(err)
		}
		for _, logs := range []struct {
			telemetry string
			want      []int
		}{{"", tt.all}, {"sysmon", tt.sysmon}, {noSysmon, tt.windows}, {"sensor", nil}} {
			t.Run(tt.file+"/"+logs.telemetry, func(t *testing.T) {
				s, err := scenario.Parse(tt.file, data)
				if err != nil {
					t.Fatal(err)
				}
				if logs.telemetry != "" {
					if err := s.Set("telemetry", logs.telemetry); err != nil {
						t.Fatal(err)
					}
				}
				built, err := s.Build()
				if err != nil {
					t.Fatal(err)
				}
				f := newFound()
				run(engine, f, built.Events)
				steps := map[int]bool{}
				for _, d := range f.detections {
					label, _ := built.Label(d.Event)
					switch {
					case d.Rule.Severity < detect.Medium:
					case !label.Attack:
						t.Errorf("%s (%s) on a benign record: %s; %v", d.Rule.Name, d.Rule.Severity, label.Text, d.Matched)
					default:
						steps[label.Step] = true
					}
				}
				for _, step := range logs.want {
					if !steps[step] {
						t.Errorf("step %d has no detection", step)
					}
				}
			})
		}
	}
}

// TestRecordings holds what the pack says of real recordings.
func TestRecordings(t *testing.T) {
	dir := corpus.Dir(t, "evtx")
	_, engine := pack(t)
	for pattern, want := range map[string][]string{
		"sysmon_11_7_1_uacbypass_windirectory_mocking.evtx": {"mock-folder-elevated", "mock-folder-file", "mock-folder-load", "mock-folder-process"},
		"ID800-4103-4104 Defender exclusion added*.evtx":    {"defender-exclusion-script", "defender-exclusion-script-any"},
		"ID5007-Defender threat exclusion*.evtx":            {"defender-exclusion-setting-any"},
		// Defender's settings, and none of them an exclusion.
		"ID800-4103-4104 Defender critical features*.evtx": {"defender-disable-command"},
		// RDP Wrapper is neither good nor bad: low.
		"sysmon_13_rdp_settings_tampering.evtx": {"service-dll-other"},
		"temp_scheduled_task_4698_4699.evtx":    {"task-interpreter"},
		// A monitoring agent's script.
		"ID4688-4698 Persistent scheduled task*.evtx": nil,
		// Other ways past User Account Control, which are no imitated folder.
		"sysmon_11_1_7_uacbypass_cliconfg.evtx": nil,
		"sysmon_1_7_11_sysprep_uacbypass.evtx":  nil,
		// A file of the system drive.
		"de_hiding_files_via_attrib_cmdlet.evtx":          nil,
		"WinDefender_Events_1117_1116_AtomicRedTeam.evtx": {"defender-found"},
	} {
		t.Run(pattern, func(t *testing.T) {
			var paths []string
			err := filepath.WalkDir(dir, func(p string, _ fs.DirEntry, err error) error {
				if ok, _ := filepath.Match(pattern, filepath.Base(p)); ok {
					paths = append(paths, p)
				}
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			if len(paths) == 0 {
				t.Skipf("%s is not among the recordings", pattern)
			}
			f := newFound()
			files.Scan(context.Background(), paths, files.Options{}, func(batch []*event.Event) { run(engine, f, batch) })
			var got []string
			for base := range f.rules {
				got = append(got, base)
			}
			slices.Sort(got)
			if !slices.Equal(got, want) {
				t.Errorf("rules that fired: %v, want %v", got, want)
			}
		})
	}
}

// TestOtherBypasses holds that real recordings of other ways past User Account
// Control are not called an imitated folder.
func TestOtherBypasses(t *testing.T) {
	dir := corpus.Dir(t, "evtx")
	_, engine := pack(t)
	var paths []string
	err := filepath.WalkDir(dir, func(p string, _ fs.DirEntry, err error) error {
		if strings.HasPrefix(filepath.Base(p), "Sysmon_UACME_") {
			paths = append(paths, p)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(paths) == 0 {
		t.Skip("they are not among the recordings")
	}
	f := newFound()
	files.Scan(context.Background(), paths, files.Options{}, func(batch []*event.Event) { run(engine, f, batch) })
	for base, n := range f.rules {
		if strings.HasPrefix(base, "mock-folder") {
			t.Errorf("%s fired %d times", base, n)
		}
	}
}

const (
	tableBegin = "<!-- table: written by go test ./rules -update -->\n"
	tableEnd   = "<!-- end of table -->\n"
)

func TestReadmeListsTheRules(t *testing.T) {
	list, _ := pack(t)
	data, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(data), tableBegin)
	old, after, ok2 := strings.Cut(rest, tableEnd)
	if !ok || !ok2 {
		t.Fatalf("README.md lacks the lines %q and %q", tableBegin, tableEnd)
	}
	var b strings.Builder
	b.WriteString("| rule | level | behaviour | ATT&CK | detection name | title |\n|---|---|---|---|---|---|\n")
	for _, r := range list {
		fmt.Fprintf(&b, "| [%s](%s) | %s | %s | %s | `%s` | %s |\n",
			r.Base(), r.File, r.Level, r.Extension.Behaviour, strings.Join(r.Attack, " "), r.Extension.Name, r.Extension.Texts["en"].Title)
	}
	if old == b.String() {
		return
	}
	if !*update {
		t.Fatal("the table in README.md does not list the rules as they are: run go test ./rules -update")
	}
	if err := os.WriteFile("README.md", []byte(before+tableBegin+b.String()+tableEnd+after), 0o666); err != nil {
		t.Fatal(err)
	}
}
