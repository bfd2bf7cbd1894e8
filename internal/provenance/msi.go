package provenance

import (
	"slices"
	"sort"
	"strings"
	"time"

	"ashiato/internal/event"
	"ashiato/internal/world"
)

// transaction is a run of Windows Installer: the service (msiexec /V) does what a
// client asked for, and starts what the package holds. Only one is open at a
// time on a machine, which is what joins its children.
type transaction struct {
	host        string
	packagePath string
	client      *world.Process
	from        time.Time
	until       time.Time
	refs        []event.EvidenceRef
	record      *world.Record // its beginning, nil if only the client's command line shows it
	join        string
	product     string
	key         string
}

// maxOpen bounds how many of the transactions that began before are looked at.
const maxOpen = 64

// openLimit is how long a transaction whose end is not recorded is taken to last.
const openLimit = 10 * time.Minute

// transactionEdges draws installer transactions: who asked for them, from which
// package, and what they ran.
func (j *joiner) transactionEdges() {
	all := j.transactions()
	if len(all) == 0 {
		return
	}
	byHost := map[string][]*transaction{}
	j.Graph.installs = byHost
	for _, t := range all {
		k := world.HostKey(t.host)
		byHost[k] = append(byHost[k], t)
		if t.client == nil {
			continue
		}
		class := ClassA
		if t.record == nil {
			class = ClassB
		}
		if n := j.installer(t); n != nil {
			j.link(fact{
				from: j.process(t.client), to: n, verb: Requested, class: class, skeleton: true, join: t.join,
				t: t.from, refs: refs(t.refs, t.client.Evidence),
			})
			if t.record != nil && !installerClient(t.client) {
				j.registeredFile(n, t.packagePath, recorded(t.record), "installer-package")
			}
		}
	}
	for _, p := range j.processes {
		if p.Implied || p.Parent == nil || !installerServer(p.Parent) || installerServer(p) || world.Base(p.ImageKey()) == "msiexec.exe" {
			continue
		}
		open, class := openAt(byHost[world.HostKey(p.Host)], p.Start)
		for _, t := range open {
			j.link(fact{
				from: j.installer(t), to: j.process(p), verb: RanAs, class: class, skeleton: true, join: "installer-child",
				t: p.Start, refs: refs(t.refs, p.Evidence),
			})
		}
	}
	j.installed(byHost)
}

// openAt returns the transactions of a host, sorted by beginning, that were open
// at t, and how sure it is that what the service did then was for one of them.
func openAt(list []*transaction, t time.Time) ([]*transaction, Class) {
	end := sort.Search(len(list), func(i int) bool { return list[i].from.After(t.Add(slack)) })
	var open []*transaction
	for i := end - 1; i >= max(0, end-maxOpen) && len(open) < maxGuesses; i-- {
		if !list[i].until.Before(t) {
			open = append(open, list[i])
		}
	}
	if len(open) > 1 {
		return open, ClassC
	}
	return open, ClassB
}

// installed joins transactions to the files that the installer's service wrote
// in them, if those were used or the graph knows them for another reason, and to
// the services and tasks that it registered. An installation writes thousands of
// files of which nothing comes.
func (j *joiner) installed(byHost map[string][]*transaction) {
	for _, k := range j.order {
		for i := range j.written[k] {
			w := &j.written[k][i]
			if w.process == nil || !installerServer(w.process) || j.nodes[j.writeID(w)] == nil {
				continue
			}
			open, class := openAt(byHost[world.HostKey(w.record.Host)], w.t)
			for _, t := range open {
				file, _ := j.wrote(w, true)
				j.link(fact{
					from: j.installer(t), to: file, verb: Wrote, class: class, skeleton: true, join: "installer-file",
					t: w.t, refs: refs(t.refs, w.refs),
				})
			}
		}
	}
	var units []*Edge
	for _, e := range j.edges {
		if to := j.nodes[e.To]; e.Verb == Registered && e.Class == ClassA && (to.Kind == Service || to.Kind == Task) {
			units = append(units, e)
		}
	}
	slices.SortFunc(units, CompareEdges)
	server := map[NodeID]bool{}
	for _, p := range j.processes {
		if installerServer(p) {
			server[processID(p)] = true
		}
	}
	for _, e := range units {
		if !server[e.From] {
			continue
		}
		open, class := openAt(byHost[world.HostKey(j.nodes[e.To].Host)], e.First)
		for _, t := range open {
			j.link(fact{
				from: j.installer(t), to: j.nodes[e.To], verb: Registered, class: class, skeleton: true, join: "installer-unit",
				t: e.First, refs: refs(t.refs, e.Evidence),
			})
		}
	}
}

func (g *Graph) installer(t *transaction) *Node {
	n := g.add(id(Installer, t.host, t.key), Installer, t.host, t.from, t.refs, func(n *Node) {
		n.Label, n.Path = world.Base(t.packagePath), t.packagePath
		if n.Label == "" {
			n.Label = "Windows Installer"
		}
	})
	if n != nil {
		n.setAttr("Product", t.product)
		n.setAttr("Package", t.packagePath)
	}
	return n
}

// transactions finds the runs of the installer that records show, by host and
// beginning: MsiInstaller's records, and where it has none, the clients' command
// lines.
func (j *joiner) transactions() []*transaction {
	var all []*transaction
	open := map[string]*transaction{}   // host|package|pid
	latest := map[string]*transaction{} // host
	told := map[*world.Process]bool{}
	for _, r := range j.records {
		k := fileKey(r.Host, strings.ToLower(r.Get("Package"))+"|"+r.Get("ClientProcessId"))
		switch {
		case r.Kind == event.InstallerRun && r.ID == 1040:
			t := &transaction{
				host: r.Host, packagePath: r.Get("Package"), from: r.Time, until: r.Time.Add(openLimit), record: r, join: "installer-client",
				refs: []event.EvidenceRef{r.Ref}, key: r.Time.Format(event.TimeFormat) + "|" + strings.ToLower(r.Get("Package")) + "|" + r.Get("ClientProcessId"),
			}
			t.client = j.w.At(r.Host, uint32(r.Number("ClientProcessId")), r.Time)
			if t.client != nil {
				told[t.client] = true
			}
			open[k], latest[world.HostKey(r.Host)] = t, t
			all = append(all, t)
		case r.Kind == event.InstallerRun && r.ID == 1042:
			if t := open[k]; t != nil {
				t.until = r.Time
				t.refs = append(t.refs, r.Ref)
				delete(open, k)
			}
		case r.Kind == event.InstallerResult:
			if t := latest[world.HostKey(r.Host)]; t != nil && !r.Time.After(t.until) && t.product == "" {
				t.product = r.Get("Product")
			}
		}
	}
	for _, p := range j.processes {
		if p.Implied || told[p] || !installerClient(p) || latest[world.HostKey(p.Host)] != nil {
			continue
		}
		packagePath, installs := installerPackage(p.CommandLine)
		if !installs {
			continue
		}
		t := &transaction{
			host: p.Host, packagePath: packagePath, client: p, from: p.Start, until: p.End, join: "installer-command",
			refs: p.Evidence, key: p.Key,
		}
		if t.until.IsZero() {
			t.until = p.Start.Add(openLimit)
		}
		all = append(all, t)
	}
	sort.SliceStable(all, func(a, b int) bool {
		if c := all[a].from.Compare(all[b].from); c != 0 {
			return c < 0
		}
		return all[a].key < all[b].key
	})
	return all
}

func isInstaller(p *world.Process) bool {
	switch p.ImageKey() {
	case `c:\windows\system32\msiexec.exe`, `c:\windows\syswow64\msiexec.exe`:
		return true
	}
	return false
}

// installerServer reports whether p is Windows Installer's service or one of the
// processes that it starts for a package's own code.
func installerServer(p *world.Process) bool {
	if !isInstaller(p) {
		return false
	}
	cmd := " " + strings.ToLower(p.CommandLine) + " "
	return strings.Contains(cmd, " /v ") || strings.Contains(cmd, " -v ") || strings.Contains(cmd, " -embedding ")
}

// installerClient reports whether p is msiexec.exe run by someone who wants
// something of the installer: no broker.
func installerClient(p *world.Process) bool {
	return isInstaller(p) && p.CommandLine != "" && !installerServer(p)
}

// installerPackage reads what an msiexec command line asks to do with which
// package, product or patch; installs is false for what changes nothing.
func installerPackage(cmd string) (name string, installs bool) {
	_, args := world.SplitCommand(cmd)
	ws := words(args)
	for i, w := range ws {
		if len(w) < 2 || w[0] != '/' && w[0] != '-' {
			continue
		}
		flag := strings.ToLower(w[1:])
		for _, f := range []string{"package", "uninstall", "update", "i", "x", "p", "a", "j", "f"} {
			rest, ok := strings.CutPrefix(flag, f)
			if !ok || rest != "" && len(f) > 1 {
				continue
			}
			// /fa, /ju …: letters that say how; or the name may stick to the flag.
			switch {
			case strings.ContainsAny(rest, `:\/{.`):
				return w[1+len(f):], true
			case rest != "" && f != "f" && f != "j":
				continue
			case i+1 < len(ws):
				return ws[i+1], true
			}
		}
	}
	return "", false
}
