package provenance

import (
	"slices"
	"strings"
	"time"

	"ashiato/internal/event"
	"ashiato/internal/world"
)

// action is what a registry value makes Windows do with its data.
type action uint8

const (
	loads    action = iota // load the modules it names
	starts                 // start the command lines it names
	debugged               // start the program in its place, with the program's own command line behind it
)

// redirect is a kind of registry value that makes programs start or load what
// its data names, at a logon or in the place of something else.
type redirect struct {
	// part and end must be in the value's path, and at its end, in lower case.
	part, end string
	action    action
	// by are the base names of the programs that act on it, none for any: those
	// that load the module, or that start the command.
	by []string
	// others says that any program acts on it. As Windows' own programs are
	// started all day for other reasons, only starts of others then count.
	others bool
}

// elevators are programs that run with all rights without asking and that start
// what the shell's commands in the registry say.
var elevators = []string{
	"fodhelper.exe", "computerdefaults.exe", "eventvwr.exe", "mmc.exe", "compmgmtlauncher.exe", "sdclt.exe", "control.exe", "slui.exe",
	"wsreset.exe", "changepk.exe",
}

// redirects are the values of row 14 and the logon scripts of row 13, with
// their names in ATT&CK. Run keys have a join of their own.
var redirects = []redirect{
	{part: `\inprocserver32`, action: loads},                                                                                                     // T1546.015
	{part: `\localserver32`, action: starts, by: []string{"svchost.exe", "explorer.exe"}},                                                        // T1546.015
	{part: `\image file execution options\`, end: `\debugger`, action: debugged},                                                                 // T1546.012
	{part: `\silentprocessexit\`, end: `\monitorprocess`, action: starts, by: []string{"werfault.exe", "werfaultsecure.exe"}},                    // T1546.012
	{part: `\currentversion\windows\`, end: `\appinit_dlls`, action: loads},                                                                      // T1546.010
	{part: `\session manager\appcertdlls\`, action: loads},                                                                                       // T1546.009
	{part: `\control\print\monitors\`, end: `\driver`, action: loads, by: []string{"spoolsv.exe"}},                                               // T1547.010
	{part: `\print processors\`, end: `\driver`, action: loads, by: []string{"spoolsv.exe"}},                                                     // T1547.012
	{part: `\microsoft\netsh\`, action: loads, by: []string{"netsh.exe"}},                                                                        // T1546.007
	{part: `\control panel\desktop\`, end: `\scrnsave.exe`, action: starts, by: []string{"winlogon.exe", "explorer.exe"}},                        // T1546.002
	{part: `\winlogon\`, end: `\shell`, action: starts, by: []string{"userinit.exe", "winlogon.exe"}},                                            // T1547.004
	{part: `\winlogon\`, end: `\userinit`, action: starts, by: []string{"winlogon.exe"}},                                                         // T1547.004
	{part: `\winlogon\notify\`, end: `\dllname`, action: loads, by: []string{"winlogon.exe"}},                                                    // T1547.004
	{part: `\environment\`, end: `\userinitmprlogonscript`, action: starts, by: []string{"userinit.exe", "explorer.exe"}},                        // T1037.001
	{part: `\shell\open\command`, action: starts, by: elevators, others: true},                                                                   // T1546.001, T1548.002
	{part: `\shell\runas\command`, action: starts, by: elevators, others: true},                                                                  // T1548.002
	{part: `\active setup\installed components\`, end: `\stubpath`, action: starts, by: []string{"explorer.exe", "runonce.exe", "ie4uinit.exe"}}, // T1547.014
	{part: `\command processor\`, end: `\autorun`, action: starts, by: []string{"cmd.exe"}},                                                      // T1546
	{part: `\control\lsa\`, end: ` packages`, action: loads, by: []string{"lsass.exe"}},                                                          // T1547.002, T1547.005
	{part: `\timeproviders\`, end: `\dllname`, action: loads, by: []string{"svchost.exe"}},                                                       // T1547.003
	{part: `\networkprovider\`, end: `\providerpath`, action: loads},                                                                             // T1556.008
}

// redirectOf finds the kind of a value, nil if it redirects nothing.
func redirectOf(object string) *redirect {
	key := strings.ToLower(object)
	for i := range redirects {
		if r := &redirects[i]; strings.Contains(key, r.part) && strings.HasSuffix(key, r.end) {
			return r
		}
	}
	return nil
}

// names returns the match forms of what a value's data names: paths of modules,
// or command lines.
func (r *redirect) names(data string) []string {
	var all []string
	add := func(s string) {
		if s != "" && !slices.Contains(all, s) && len(all) < 16 {
			all = append(all, s)
		}
	}
	if r.action == loads {
		for _, part := range strings.FieldsFunc(data, func(c rune) bool { return c == ',' || c == ';' || c == 0 }) {
			part = strings.Trim(part, ` "`)
			key := world.PathKey(part)
			// A name without a folder is looked for in the system's.
			if !strings.Contains(key, `\`) {
				if world.Ext(key) == "" && r.end == ` packages` {
					key += ".dll"
				}
				if world.Ext(key) != ".dll" {
					continue // "Both" and the like
				}
				key = `c:\windows\system32\` + key
			}
			if _, ok := world.Letter(key); ok {
				add(key)
			}
		}
		return all
	}
	parts := []string{data}
	if r.part == `\winlogon\` {
		parts = strings.Split(data, ",")
	}
	for _, part := range parts {
		part = strings.Trim(part, " ")
		if program, _ := world.SplitCommand(part); len(program) < 3 {
			continue
		}
		add(world.CommandKey(part))
	}
	return all
}

// acts reports whether a program is among those that act on the value.
func (r *redirect) acts(image string) bool {
	return len(r.by) == 0 || image != "" && slices.Contains(r.by, world.Base(image))
}

// setting is that a redirecting value was set.
type setting struct {
	*redirect
	record *world.Record
	names  []string
	until  time.Time // when it was set to something else, zero if it was not
}

// indexSettings finds the redirecting values that were set.
func (j *joiner) indexSettings() {
	last := map[string]*setting{}
	for _, r := range j.records {
		if r.Kind != event.RegistrySet {
			continue
		}
		object := r.Get("TargetObject")
		d := redirectOf(object)
		if d == nil {
			continue
		}
		s := &setting{redirect: d, record: r, names: d.names(r.Get("Details"))}
		k := world.HostKey(r.Host) + "|" + strings.ToLower(object)
		if before := last[k]; before != nil && !slices.Equal(before.names, s.names) {
			before.until = r.Time
		}
		last[k] = s
		if len(s.names) > 0 {
			j.settings = append(j.settings, s)
		}
	}
}

// set returns the node of a redirecting value, with who set it and the file that
// it names.
func (j *joiner) set(s *setting) *Node {
	r := s.record
	cited := []event.EvidenceRef{r.Ref}
	n := j.value(r.Host, r.Get("TargetObject"), r.Time, cited)
	if n == nil {
		return nil
	}
	n.setAttr("Details", r.Get("Details"))
	if p, _ := j.w.Actor(r); p != nil && !j.hub(p) {
		j.link(fact{
			from: j.process(p), to: n, verb: Configured, class: ClassA, skeleton: true, join: "own-record", t: r.Time, refs: cited,
			corroborates: j.has(p, n, Configured, cited),
		})
	}
	for _, path := range s.files() {
		j.registeredFile(n, path, recorded(r), "registry-data")
	}
	return n
}

// files are the paths of what the value names.
func (s *setting) files() []string {
	if s.action == loads {
		return s.names
	}
	var paths []string
	for _, c := range s.names {
		program, _ := world.SplitCommand(c)
		paths = append(paths, program)
	}
	return paths
}

// persistence draws redirecting values whose data names a file that was written:
// whoever wrote it and whoever set the value work together. Other values are
// drawn when they had an effect.
func (j *joiner) persistence() {
	for _, s := range j.settings {
		for _, path := range s.files() {
			key := world.PathKey(path)
			if w := j.lastWrite(s.record.Host, key, s.record.Time); w != nil && (w.process != nil && !j.hub(w.process) || w.session != nil) {
				j.set(s)
				break
			}
		}
	}
}

// causes yields the settings of an action under the names in their data.
func settingCauses(want action) func(*joiner, func(half)) {
	return func(j *joiner, yield func(half)) {
		for _, s := range j.settings {
			if s.action != want {
				continue
			}
			for _, name := range s.names {
				yield(half{
					key: s.key(name), t: s.record.Time, until: s.until, refs: []event.EvidenceRef{s.record.Ref},
					node: func() *Node { return j.set(s) },
				})
			}
		}
	}
}

// key is the key under which a value meets what it did: values that only some
// programs act on have keys of their own.
func (s *setting) key(name string) string { return redirectKey(s.redirect, s.record.Host, name) }

func redirectKey(r *redirect, host, name string) string {
	return r.part + r.end + "|" + fileKey(host, name)
}

const startup = `\start menu\programs\startup\`

// persistHandoffs join what makes programs start by itself to what was started:
// the value or file stays while the machine is off.
var persistHandoffs = []handoff{
	{
		row: 14, join: "registry-module", verb: Loaded, class: ClassB, latest: true,
		causes: settingCauses(loads),
		effects: func(j *joiner, yield func(half)) {
			named := map[string][]*redirect{}
			for _, s := range j.settings {
				for _, name := range s.names {
					if k := fileKey(s.record.Host, name); s.action == loads && !slices.Contains(named[k], s.redirect) {
						named[k] = append(named[k], s.redirect)
					}
				}
			}
			for _, k := range sortedKeys(named) {
				by := map[*world.Process]bool{}
				for _, r := range j.loads[k] {
					if p, _ := j.w.Actor(r); p != nil {
						by[p] = true
					}
				}
				if len(by) > maxRuns {
					continue // everything loads it
				}
				for _, r := range j.loads[k] {
					p, _ := j.w.Actor(r)
					if p == nil {
						continue
					}
					for _, d := range named[k] {
						if d.acts(p.ImageKey()) {
							yield(half{
								key: d.part + d.end + "|" + k, t: r.Time, refs: []event.EvidenceRef{r.Ref},
								node: func() *Node { return j.process(p) },
							})
						}
					}
				}
			}
		},
	},
	{
		row: 14, join: "registry-command", verb: Started, class: ClassB, latest: true,
		causes: settingCauses(starts),
		effects: func(j *joiner, yield func(half)) {
			j.commands(starts, func(d *redirect, p *world.Process) {
				keys := []string{world.CommandKey(p.CommandLine)}
				// Many are given more than the value says: "%1", /s.
				program, _ := world.SplitCommand(p.CommandLine)
				if k := world.CommandKey(program); k != keys[0] {
					keys = append(keys, k)
				}
				for _, k := range keys {
					yield(half{
						key: redirectKey(d, p.Host, k), t: p.Start, refs: p.Evidence,
						node: func() *Node { return j.process(p) },
					})
				}
			})
		},
	},
	{
		row: 14, join: "registry-debugger", verb: Started, class: ClassB, latest: true,
		causes: func(j *joiner, yield func(half)) {
			for _, s := range j.settings {
				if s.action != debugged {
					continue
				}
				// …\Image File Execution Options\<program>\Debugger
				program := strings.ToLower(world.Base(world.Dir(s.record.Get("TargetObject"))))
				for _, name := range s.names {
					yield(half{
						key: fileKey(s.record.Host, name+"|"+program), t: s.record.Time, until: s.until,
						refs: []event.EvidenceRef{s.record.Ref}, node: func() *Node { return j.set(s) },
					})
				}
			}
		},
		effects: func(j *joiner, yield func(half)) {
			if len(j.settings) == 0 {
				return
			}
			for _, p := range j.processes {
				if p.Implied || p.CommandLine == "" {
					continue
				}
				// The debugger's command line, then the program it stands for.
				program, args := world.SplitCommand(p.CommandLine)
				before := world.CommandKey(program)
				for i, word := range words(args) {
					if i == 8 {
						break
					}
					word = strings.ToLower(word)
					yield(half{
						key: fileKey(p.Host, before+"|"+world.Base(word)), t: p.Start, refs: p.Evidence,
						node: func() *Node { return j.process(p) },
					})
					before += " " + word
				}
			}
		},
	},
	{
		// What lies in a Startup folder is started by the shell at logon.
		row: 13, join: "startup-folder", verb: Started, class: ClassB, latest: true,
		causes: func(j *joiner, yield func(half)) {
			for _, k := range j.order {
				if !strings.Contains(k, startup) {
					continue
				}
				for i := range j.written[k] {
					w := &j.written[k][i]
					h := half{key: k, t: w.t, refs: w.refs, node: func() *Node { n, _ := j.wrote(w, true); return n }}
					h.until = until(j.deleted[k], w.t.Add(2*time.Second))
					yield(h)
				}
			}
		},
		effects: func(j *joiner, yield func(half)) {
			for _, p := range j.processes {
				if p.Implied || !startedBy(p, "explorer.exe", "userinit.exe") {
					continue
				}
				keys := append([]string{p.ImageKey()}, j.pathsOf(p)...)
				for i, key := range keys {
					if strings.Contains(key, startup) && !slices.Contains(keys[:i], key) {
						yield(half{key: fileKey(p.Host, key), t: p.Start, refs: p.Evidence, node: func() *Node { return j.process(p) }})
					}
				}
			}
		},
	},
}

// commands calls f with every process and the kinds of values that could have
// started it.
func (j *joiner) commands(want action, f func(*redirect, *world.Process)) {
	var kinds []*redirect
	for _, s := range j.settings {
		if s.action == want && !slices.Contains(kinds, s.redirect) {
			kinds = append(kinds, s.redirect)
		}
	}
	if len(kinds) == 0 {
		return
	}
	for _, p := range j.processes {
		if p.Implied || p.CommandLine == "" {
			continue
		}
		parent := world.PathKey(p.ParentImage)
		if p.Parent != nil && p.Parent.Image != "" {
			parent = p.Parent.ImageKey()
		}
		for _, d := range kinds {
			if d.acts(parent) || d.others && !strings.HasPrefix(p.ImageKey(), `c:\windows\`) {
				f(d, p)
			}
		}
	}
}
