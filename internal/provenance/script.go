package provenance

import (
	"slices"
	"strings"
	"time"

	"ashiato/internal/event"
	"ashiato/internal/world"
)

// said is a text in which a process says what it does: its own command line with
// what that encodes, or a script it ran.
type said struct {
	process *world.Process
	text    string
	lower   string
	t       time.Time
	refs    []event.EvidenceRef
}

// spoken are the words without which no text hands anything on to a broker by
// way of the readers in this package. Most command lines hold none of them.
var spoken = []string{
	"win32_process", "wmic", "eventconsumer", "bits", "comobject", "createobject", "gettypefrom", "activatewithargs", "-sta ",
	"pssession", "invoke-command", "icm ", "winrs", "msiexec",
}

// collected is what the joins of brokers gather once for all of them; it lives as
// long as a graph is built.
type collected struct {
	spoken     []said
	byWMI      []*world.Process
	byCaller   map[string]*session
	consumed   []*consumer
	activated  []*world.Process
	surrogates map[*world.Process][]*world.Process
	bitsFound  []*bitsJob
	given      map[*world.Process][]*world.Record // 4648 records by who gave the credentials
	others     map[*world.Process]bool            // who says that it has other credentials
	// ranHandlers are the hosts of tasks' COM handlers, see handlers.
	ranHandlers []handled
}

// ownUnits finds brokers' processes that are one unit's own, before the tree is
// drawn: they carry lineage though their program is a broker's.
func (j *joiner) ownUnits() {
	scripts := map[string]int{} // consumers by host
	for _, c := range j.consumers() {
		if c.script {
			scripts[world.HostKey(c.host)]++
		}
	}
	for _, p := range j.processes {
		if shellHost(p) || installerClient(p) || p.ImageKey() == scrcons && scripts[world.HostKey(p.Host)] == 1 {
			j.units[p] = true
		}
	}
	j.ranHandlers = j.handlers()
	ran := map[*world.Process]*world.Task{}
	for _, h := range j.ranHandlers {
		if task, known := ran[h.process]; known && task != h.task {
			ran[h.process] = nil // a host of several
		} else {
			ran[h.process] = h.task
		}
	}
	for p, task := range ran {
		if task != nil {
			j.units[p] = true
		}
	}
}

// says returns what processes say, of command lines and scripts that may hand
// something on, by time.
func (j *joiner) says() []said {
	if j.spoken != nil {
		return j.spoken
	}
	j.spoken = []said{}
	add := func(p *world.Process, text string, t time.Time, refs []event.EvidenceRef) {
		lower := strings.ToLower(text)
		if slices.ContainsFunc(spoken, func(w string) bool { return strings.Contains(lower, w) }) {
			j.spoken = append(j.spoken, said{p, text, lower, t, refs})
		}
	}
	for _, p := range j.processes {
		if !p.Implied && p.CommandLine != "" {
			add(p, script(p.CommandLine), p.Start, p.Evidence)
		}
	}
	for _, r := range j.records {
		switch r.Kind {
		case event.ScriptBlock, event.ScriptModule, event.ScriptClassic:
			if p := j.scriptHost(r); p != nil {
				add(p, scriptText(r), r.Time, []event.EvidenceRef{r.Ref})
			}
		}
	}
	return j.spoken
}

// scriptText is what a PowerShell record says was run.
func scriptText(r *world.Record) string {
	return r.Get("ScriptBlockText") + r.Get("Payload") + r.Get("Data")
}

// asks yields what texts ask of a broker, as causes of a hand-off. Of a process
// and its parent that say the same (cmd /c wmic …) only the child asks: the shell
// did no more than start it.
func (j *joiner) asks(read func(s *said) []string, yield func(half)) {
	type asking struct {
		*said
		key string
	}
	var all []asking
	passed := map[*world.Process]map[string]bool{} // by the parent of who says so
	says := j.says()
	for i := range says {
		s := &says[i]
		for _, key := range read(s) {
			all = append(all, asking{s, key})
			if p := s.process.Parent; p != nil {
				if passed[p] == nil {
					passed[p] = map[string]bool{}
				}
				passed[p][key] = true
			}
		}
	}
	for _, a := range all {
		if !passed[a.process][a.key] {
			yield(half{key: a.key, t: a.t, refs: a.refs, node: func() *Node { return j.process(a.process) }})
		}
	}
}

// scriptHost returns the process that wrote a PowerShell record about itself, nil
// if it is not known: the one that had the record's process id. Records of
// "Windows PowerShell", and those whose shipper lost the process id, carry the
// command line instead: then it is the only process of that command line that
// ran at the time, and class B.
func (g *Graph) scriptHost(r *world.Record) *world.Process {
	p, _ := g.scriptProcess(r)
	return p
}

// scriptProcess is scriptHost with how sure it is.
func (g *Graph) scriptProcess(r *world.Record) (*world.Process, Class) {
	if r.PID != 0 {
		return g.world.At(r.Host, r.PID, r.Time), ClassA
	}
	key := applicationKey(r.Get("HostApplication"))
	if key == "" {
		return nil, ClassB
	}
	if g.applications == nil {
		g.applications = map[string][]*world.Process{}
		for _, p := range g.world.Processes() {
			if !p.Implied && p.CommandLine != "" && scriptHosts[world.Base(p.ImageKey())] {
				k := fileKey(p.Host, applicationKey(p.CommandLine))
				g.applications[k] = append(g.applications[k], p)
			}
		}
	}
	var found *world.Process
	for _, p := range g.applications[fileKey(r.Host, key)] {
		if p.Start.After(r.Time.Add(slack)) {
			break
		}
		if !p.End.IsZero() && p.End.Before(r.Time.Add(-slack)) {
			continue
		}
		if found != nil {
			return nil, ClassB
		}
		found = p
	}
	return found, ClassB
}

// scriptHosts are the programs that write PowerShell's records.
var scriptHosts = map[string]bool{
	"powershell.exe": true, "pwsh.exe": true, "powershell_ise.exe": true, "wsmprovhost.exe": true, "sqlps.exe": true,
}

// applicationKey is the match form of a command line as PowerShell's "Host
// Application" repeats it: without quotes, which it leaves out, and without the
// program's folder, which it may add.
func applicationKey(cmd string) string {
	program, args := world.SplitCommand(cmd)
	program = strings.ToLower(world.Base(program))
	if program == "" {
		return ""
	}
	if !strings.HasSuffix(program, ".exe") {
		program += ".exe"
	}
	args = strings.ReplaceAll(strings.ToLower(args), `"`, "")
	return strings.Join(append([]string{program}, strings.Fields(args)...), " ")
}
