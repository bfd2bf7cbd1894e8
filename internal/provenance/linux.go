package provenance

import (
	"slices"
	"strings"
	"time"

	"ashiato/internal/event"
	"ashiato/internal/world"
)

// Units of Linux: files that cron and systemd read, and what these started because
// of them. Neither leaves a record that names both, so that a start is joined to a
// file by what both have in common with who wrote it: the program that the same tree
// of processes put down, or an address that it used.

// cronFile reports whether cron reads the file; sure is whether the file is itself
// what is run.
func cronFile(key string) (ok, sure bool) {
	for _, dir := range [...]string{"/etc/cron.hourly/", "/etc/cron.daily/", "/etc/cron.weekly/", "/etc/cron.monthly/"} {
		if strings.HasPrefix(key, dir) {
			return true, true
		}
	}
	return key == "/etc/crontab" || key == "/etc/anacrontab" || strings.HasPrefix(key, "/etc/cron.d/") || strings.HasPrefix(key, "/var/spool/cron/"), false
}

// unitFile returns the name of the unit that systemd reads from the file, "" if it
// is none.
func unitFile(key string) string {
	dir, base := world.Dir(key), world.Base(key)
	switch world.Ext(base) {
	case ".service", ".timer", ".path", ".socket":
	default:
		return ""
	}
	for _, d := range [...]string{"/etc/systemd/", "/usr/lib/systemd/", "/run/systemd/", "/usr/local/lib/systemd/"} {
		if rest, ok := strings.CutPrefix(dir, d); ok && (rest == "system" || rest == "user") {
			return base
		}
	}
	if strings.HasSuffix(dir, "/.config/systemd/user") {
		return base
	}
	return ""
}

// posixUnit is a file that cron or systemd reads, as somebody wrote it.
type posixUnit struct {
	node   *Node
	w      *write
	tree   *world.Process
	broker []string // who starts what it says
}

// maxUnits bounds the files of one host that starts are compared with: the first.
const maxUnits = 64

// posixUnits draws what processes that are no broker wrote for cron and systemd, and
// what these started for it.
func (j *joiner) posixUnits() {
	byHost := map[string][]posixUnit{}
	for _, k := range j.order {
		for i := range j.written[k] {
			w := &j.written[k][i]
			host := w.record.Host
			key := j.w.PathOn(host, w.path)
			if !world.Posix(key) || w.process == nil || j.hub(w.process) {
				continue
			}
			u := posixUnit{w: w, tree: j.treeRoot(w.process)}
			name := unitFile(key)
			cron, sure := cronFile(key)
			switch {
			case name != "":
				u.broker = []string{"systemd", "systemd-executor", "init"}
				u.node = j.service(host, name, w.t, w.refs)
			case cron:
				u.broker = []string{"cron", "crond", "anacron", "run-parts"}
				u.node = j.add(id(Task, host, key), Task, host, w.t, w.refs, func(n *Node) { n.Label, n.Path = world.Base(w.path), w.path })
			default:
				continue
			}
			if u.node == nil {
				continue
			}
			file, _ := j.wrote(w, true)
			j.took(file)
			j.link(fact{
				from: file, to: u.node, verb: Registered, class: ClassA, skeleton: true, join: "unit-file", t: w.t, refs: w.refs,
			})
			j.link(fact{
				from: j.process(w.process), to: u.node, verb: Registered, class: ClassA, skeleton: true, join: "unit-file", t: w.t, refs: w.refs,
			})
			if sure || u.node.Kind == Task {
				u.node.setAttr("TaskAction", w.path)
			}
			if h := world.HostKey(host); len(byHost[h]) < maxUnits {
				byHost[h] = append(byHost[h], u)
			}
		}
	}
	if len(byHost) == 0 {
		return
	}
	used := map[*world.Process]map[string]bool{} // the addresses that a tree's command lines name
	for _, p := range j.processes {
		if !world.Posix(p.Image) || p.Implied || p.Parent == nil {
			continue
		}
		by := world.Base(p.Parent.ImageKey())
		if by == "" && p.Parent.PID == 1 {
			by = "init" // whatever it is: the first process
		} else if !j.hub(p.Parent) && by != "run-parts" {
			continue
		}
		units := byHost[world.HostKey(p.Host)]
		for i := len(units) - 1; i >= 0; i-- { // the last that fits
			u := &units[i]
			if !slices.Contains(u.broker, by) || p.Start.Before(u.w.t.Add(-slack)) || j.treeRoot(p) == u.tree && p != u.tree {
				continue
			}
			if used[u.tree] == nil {
				used[u.tree] = j.addressesOf(u.tree)
			}
			if !j.runsFor(p, u, used[u.tree]) {
				continue
			}
			if u.node.Kind == Service {
				u.node.setAttr("ImagePath", p.CommandLine)
			}
			j.link(fact{
				from: u.node, to: j.process(p), verb: RanAs, class: ClassB, skeleton: true, join: "unit-run", t: p.Start,
				refs: refs(u.w.refs, p.Evidence),
			})
			break
		}
	}
}

// runsFor reports whether a process that cron or systemd started is what a unit
// says: it is the file itself, its program or script was put down by who wrote the
// unit, or its command line names an address that those processes named.
func (j *joiner) runsFor(p *world.Process, u *posixUnit, addresses map[string]bool) bool {
	paths := append([]string{p.ImageKey()}, j.pathsOf(p)...)
	for _, path := range paths {
		if path == j.w.PathOn(p.Host, u.w.path) {
			return true
		}
		if w := j.lastWrite(p.Host, path, p.Start); w != nil && w.process != nil && !j.hub(w.process) && j.treeRoot(w.process) == u.tree {
			return true
		}
	}
	return slices.ContainsFunc(addressesIn(p.CommandLine), func(a string) bool { return addresses[a] })
}

// addressesOf are the addresses in the command lines of a tree's processes.
func (j *joiner) addressesOf(tree *world.Process) map[string]bool {
	found := map[string]bool{}
	for _, p := range j.processes {
		if strings.Contains(p.CommandLine, "://") && strings.EqualFold(p.Host, tree.Host) && j.treeRoot(p) == tree {
			for _, a := range addressesIn(p.CommandLine) {
				found[a] = true
			}
		}
	}
	return found
}

// addressesIn are the addresses in a command line, without what ends them in a shell.
func addressesIn(cmd string) []string {
	var found []string
	for rest := cmd; len(found) < maxCandidates; {
		i := strings.Index(rest, "://")
		if i < 0 {
			break
		}
		start := i
		for start > 0 && rest[start-1] >= 'a' && rest[start-1] <= 'z' {
			start--
		}
		end := strings.IndexAny(rest[i:], " \t\r\n\"'`|;&<>()")
		if end < 0 {
			end = len(rest) - i
		}
		if end > len("://")+3 {
			found = append(found, rest[start:i+end])
		}
		rest = rest[i+end:]
	}
	return found
}

// guessWindow is how long before a logon the tries that failed belong to it.
const guessWindow = time.Hour

// guessed returns the session that somebody opened after the try that r records had
// failed, from the same address on the same host; nil if there is none.
func (g *Graph) guessed(r *world.Record) *session {
	from := address(r.Get("IpAddress"))
	if from == "" {
		return nil
	}
	if g.entered == nil {
		g.entered = map[string][]*session{}
		for _, k := range sortedKeys(g.logons) {
			for _, s := range g.logons[k] {
				if a := address(s.record.Get("IpAddress")); s.remote && a != "" {
					key := world.HostKey(s.host) + "|" + a
					g.entered[key] = append(g.entered[key], s)
				}
			}
		}
	}
	var first *session
	for _, s := range g.entered[world.HostKey(r.Host)+"|"+from] {
		if !s.t.Before(r.Time) && s.t.Sub(r.Time) <= guessWindow && (first == nil || s.t.Before(first.t)) {
			first = s
		}
	}
	return first
}

// forked reports whether a program of Linux was started by a process of which only
// the number is known. The daemon that opens a session forks without a program of
// its own, which leaves no record.
func forked(p *world.Process) bool {
	return world.Posix(p.Image) && p.Parent.Implied && p.Parent.Image == ""
}

// auditProvider is the provider of the Linux audit log.
const auditProvider = "auditd"

// fromAudit reports whether a record is one of the Linux audit log.
func fromAudit(e *event.Event) bool { return strings.EqualFold(e.Provider, auditProvider) }
