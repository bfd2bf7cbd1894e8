package provenance

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"ashiato/internal/event"
	"ashiato/internal/world"
)

// left are the edges that DrawOutputs adds for a process, as facts writes them,
// with their counts.
func left(t *testing.T, g *Graph, of NodeID) []string {
	t.Helper()
	before := facts(g)
	g.DrawOutputs(of)
	var all []string
	for _, e := range g.Edges() {
		f := fmt.Sprintf("[%s %s %s %s %s]", g.Node(e.From).Label, e.Verb, g.Node(e.To).Label, e.Class, e.Join)
		if !slices.Contains(before, f) && !slices.Contains(before, strings.Trim(f, "[]")) {
			all = append(all, fmt.Sprintf("%s ×%d", f, e.Count))
		}
	}
	once := facts(g)
	g.DrawOutputs(of)
	if again := facts(g); !slices.Equal(once, again) {
		t.Errorf("drawing again makes\n%s\nof\n%s", strings.Join(again, "\n"), strings.Join(once, "\n"))
	}
	slices.Sort(all)
	return all
}

func processNode(t *testing.T, g *Graph, label string) *Node {
	t.Helper()
	for _, n := range g.Nodes() {
		if n.Kind == Process && n.Label == label {
			return n
		}
	}
	t.Fatalf("no process %s", label)
	return nil
}

func TestDrawOutputs(t *testing.T) {
	var l log
	l.start(2, 1, `C:\t\a.exe`, "a", explorer)
	l.by(11, 2, `C:\t\a.exe`, "TargetFilename", `C:\out\dump.txt`)
	for i := range 12 {
		l.by(11, 2, `C:\t\a.exe`, "TargetFilename", fmt.Sprintf(`D:\files\%d.doc.enc`, i))
	}
	l.start(3, 1, `C:\t\b.exe`, "b", explorer)
	l.by(11, 3, `C:\t\b.exe`, "TargetFilename", `C:\out\other.txt`)
	g := l.graph()
	a := processNode(t, g, "a.exe")
	want := []string{"[a.exe wrote dump.txt A own-record] ×1", "[a.exe wrote files A own-record] ×12"}
	if got := left(t, g, a.ID); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q of %q", got, want, facts(g))
	}
	for _, e := range g.Out(a.ID) {
		if to := g.Node(e.To); to.Label == "files" && (to.Kind != Folder || to.Path != `D:\files` || len(e.Evidence) != MaxEdgeEvidence) {
			t.Errorf("the folder is %s %q with %d records", to.Kind, to.Path, len(e.Evidence))
		}
	}
	// A record of one of the many is the folder's arrow too.
	m := g.Mark(l.events[5])
	if !slices.ContainsFunc(m.Edges, func(e *Edge) bool { return g.Node(e.To).Label == "files" }) {
		t.Error("the mark of a file in the folder does not show the folder's arrow")
	}
	// A broker's files are everybody's.
	if n := processNode(t, g, "explorer.exe"); len(left(t, g, n.ID)) != 0 {
		t.Error("a broker's outputs are drawn")
	}
}

// TestMarkOfSessions holds that what Windows records of a session from elsewhere
// points at it: its rights, its connection, its end, and the log it cleared.
func TestMarkOfSessions(t *testing.T) {
	var l log
	l.start(1, 0, explorer, "explorer", "")
	logon := l.logon("10", "0xabc", "u", "192.0.2.7", "50123")
	rights := l.security(4672, "SubjectLogonId", "0xabc", "SubjectUserName", "u")
	other := l.security(4672, "SubjectLogonId", "0xdef", "SubjectUserName", "v")
	came := l.by(3, 7, svchost, "Initiated", "false", "SourceIp", "192.0.2.7", "SourcePort", "50123", "DestinationIp", "192.0.2.9", "DestinationPort", "3389")
	l.start(3, 1, cmdExe, "cmd", explorer, "LogonId", "0xabc")
	cleared := l.add("Microsoft-Windows-Eventlog", "Security", 1102, "SubjectLogonId", "0xabc", "SubjectUserName", "u")
	ended := l.security(4634, "TargetLogonId", "0xabc", "TargetUserName", "u")
	g := l.graph()
	want := g.Mark(logon).Node
	if g.Node(want).Kind != Logon {
		t.Fatalf("a logon is %s", want)
	}
	for name, e := range map[string]NodeID{"4672": g.Mark(rights).Node, "connection": g.Mark(came).Node, "4634": g.Mark(ended).Node} {
		if e != want {
			t.Errorf("%s points at %s, not %s", name, e, want)
		}
	}
	if n := g.Mark(other).Node; n == want {
		t.Error("another session's rights point at it")
	}
	m := g.Mark(cleared)
	if g.Node(m.Node).Kind != Gap || len(m.Edges) != 1 || m.Edges[0].From != want || !m.Edges[0].Skeleton || m.Edges[0].Class != ClassA {
		t.Errorf("the clearing of the log is %+v", m)
	}
	if again := g.Mark(cleared); len(again.Edges) != 1 || again.Edges[0].Count != 1 {
		t.Errorf("marking again counts again: %+v", again.Edges)
	}
}

func TestBrokersStartedByOthers(t *testing.T) {
	var l log
	l.start(2, 1, `C:\t\a.exe`, "a", explorer)
	l.start(3, 2, `C:\Windows\System32\dllhost.exe`, `C:\Windows\System32\dllhost.exe`, `C:\t\a.exe`)
	l.start(4, 3, cmdExe, "cmd", `C:\Windows\System32\dllhost.exe`)
	l.start(6, 5, `C:\Windows\System32\RuntimeBroker.exe`, `RuntimeBroker.exe -Embedding`, svchost)
	g := l.graph()
	if n := processNode(t, g, "dllhost.exe"); n.Hub {
		t.Error("a dllhost.exe that a program started is a broker")
	}
	if n := processNode(t, g, "RuntimeBroker.exe"); !n.Hub {
		t.Error("a broker that a broker started is none")
	}
	if all := facts(g); !slices.Contains(all, "dllhost.exe started cmd.exe A parent-guid") {
		t.Errorf("no lineage through it: %q", all)
	}
}

// TestBrokersByTheirParents holds that a broker is one only where that started it
// which starts brokers, or nobody knows what did.
func TestBrokersByTheirParents(t *testing.T) {
	const system32 = `C:\Windows\System32\`
	for _, c := range []struct {
		child, parent string
		broker        bool
	}{
		{"svchost.exe", services, true},
		{"svchost.exe", `c:\WINDOWS\system32\SERVICES.EXE`, true},
		{"svchost.exe", "", true},
		{"svchost.exe", "-", true},
		{"svchost.exe", "?", true},
		{"svchost.exe", explorer, false},
		{"svchost.exe", cmdExe, false},
		{"svchost.exe", svchost, false},
		{"svchost.exe", `C:\Users\a\services.exe`, false},
		{"services.exe", system32 + "wininit.exe", true},
		{"services.exe", services, false},
		{"lsass.exe", system32 + "wininit.exe", true},
		{"lsass.exe", svchost, false},
		{"wininit.exe", system32 + "smss.exe", true},
		{"smss.exe", "System", true},
		{"winlogon.exe", system32 + "smss.exe", true},
		{"userinit.exe", explorer, false},
		{"taskhostw.exe", svchost, true},
		{"taskhost.exe", services, true},
		{`wbem\WmiPrvSE.exe`, svchost, true},
		{`wbem\WmiPrvSE.exe`, `C:\t\a.exe`, false},
		{"SearchProtocolHost.exe", system32 + "SearchIndexer.exe", true},
		// Programs of all kinds start these.
		{"conhost.exe", `C:\t\a.exe`, true},
	} {
		var l log
		more := []string{"ProcessGuid", guid(3), "ProcessId", "1003", "Image", system32 + c.child, "CommandLine", c.child, "ParentProcessId", "1002"}
		if c.parent != "" {
			more = append(more, "ParentImage", c.parent)
		}
		l.sysmon(1, more...)
		l.start(4, 3, cmdExe, "cmd", system32+c.child)
		g := l.graph()
		n := g.Node("process:pc|8.3")
		if n.Hub != c.broker {
			t.Errorf("%s started by %q: broker %v, want %v", c.child, c.parent, n.Hub, c.broker)
		}
		carries := slices.Contains(facts(g), n.Label+" started cmd.exe A parent-guid")
		if carries == c.broker {
			t.Errorf("%s started by %q: carries lineage %v", c.child, c.parent, carries)
		}
	}
}

// TestAHollowedBrokerLeadsBack holds that what a user's program started in the
// name of svchost.exe, of which Windows' parent was chosen, or whose image
// another maker signed, is that program's doing.
func TestAHollowedBrokerLeadsBack(t *testing.T) {
	var l log
	l.start(3, 2, svchost, `svchost.exe -k netsvcs`, `C:\t\a.exe`)
	l.start(4, 3, `C:\Windows\System32\dllhost.exe`, "dllhost.exe", svchost)
	l.start(5, 4, cmdExe, "cmd", `C:\Windows\System32\dllhost.exe`)
	all := facts(l.graph())
	for _, want := range []string{"a.exe started svchost.exe A parent-guid", "svchost.exe started dllhost.exe A parent-guid", "dllhost.exe started cmd.exe A parent-guid"} {
		if !slices.Contains(all, want) {
			t.Errorf("no %q in %q", want, all)
		}
	}
	for maker, broker := range map[string]bool{"Microsoft Windows": true, "Microsoft Corporation": true, "Example Ltd": false, "": true} {
		var l log
		l.start(3, 2, svchost, `svchost.exe -k netsvcs`, services)
		l.by(7, 3, svchost, "ImageLoaded", svchost, "Signed", fmt.Sprint(maker != ""), "Signature", maker)
		l.start(4, 3, cmdExe, "cmd", svchost)
		if n := processNode(t, l.graph(), "svchost.exe"); n.Hub != broker {
			t.Errorf("svchost.exe signed by %q: broker %v, want %v", maker, n.Hub, broker)
		}
	}
}

// TestARecordedServiceIsNoBroker holds that the svchost.exe of a service whose
// registration is recorded stays that service's, although services.exe started it.
func TestARecordedServiceIsNoBroker(t *testing.T) {
	var l log
	l.sysmon(13, "TargetObject", `HKLM\System\CurrentControlSet\Services\Svc\Parameters\ServiceDll`, "Details", `C:\t\s.dll`, "Image", services)
	l.start(3, 2, svchost, `svchost.exe -k netsvcs -s Svc`, services)
	l.by(7, 3, svchost, "ImageLoaded", `C:\t\s.dll`)
	l.start(4, 3, cmdExe, "cmd", svchost)
	if all := facts(l.graph()); !slices.Contains(all, "svchost.exe started cmd.exe A parent-guid") {
		t.Errorf("%q", all)
	}
}

// TestMeasuredHubs holds that a program is a hub by its fan-out only if one
// process has more than 64 children on three hosts, whatever the order of its
// records.
func TestMeasuredHubs(t *testing.T) {
	const agent = `C:\Program Files\Agent\agent.exe`
	rapid.Check(t, func(r *rapid.T) {
		hosts := rapid.IntRange(1, 5).Draw(r, "hosts")
		counts := make([]int, hosts)
		wide := 0
		var events []*event.Event
		for h := range hosts {
			counts[h] = rapid.SampledFrom([]int{1, fanOut - 1, fanOut, fanOut + 1, 2 * fanOut}).Draw(r, "children")
			if counts[h] > fanOut {
				wide++
			}
			l := log{host: fmt.Sprintf("PC%d", h)}
			for n := range counts[h] {
				l.start(10+n, 3, cmdExe, "cmd", agent)
			}
			events = append(events, l.events...)
		}
		for range 2 {
			events = rapid.Permutation(events).Draw(r, "order")
			b := NewBuilder(world.New(world.Limits{}))
			for _, e := range events {
				b.Add(e)
			}
			g := b.Build()
			for _, n := range g.Nodes() {
				if n.Label == "agent.exe" && n.Hub != (wide >= fanHosts) {
					r.Fatalf("%d hosts with %v children: a hub %v", hosts, counts, n.Hub)
				}
			}
		}
	})
}

func TestInstalledFilesAndUnits(t *testing.T) {
	server := func(l *log) { l.start(9, 8, msiexec, `C:\Windows\system32\msiexec.exe /V`, services) }
	runHandoffs(t, []handoffCase{
		{
			"a file that the service wrote and that was run", func(l *log) {
				l.start(3, 2, msiexec, `msiexec /i C:\t\p.msi`, cmdExe)
				server(l)
				l.msi(1040, `C:\t\p.msi`, "1003")
				l.by(11, 9, msiexec, "TargetFilename", `C:\Program Files\P\p.exe`)
				l.by(11, 9, msiexec, "TargetFilename", `C:\Program Files\P\unused.exe`)
				l.security(4697, "ServiceName", "Svc", "ServiceFileName", `"C:\Program Files\P\p.exe" -s`, "ClientProcessId", "1009", "ClientProcessStartKey", fmt.Sprint(uint64(8)<<48|9))
				l.msi(1042, `C:\t\p.msi`, "1003")
				l.start(5, 1, `C:\Program Files\P\p.exe`, "p", explorer)
			},
			[]string{"p.msi wrote p.exe B installer-file", "p.msi registered Svc B installer-unit", "p.exe executed p.exe B file-written-then-executed"},
			[]string{"p.msi wrote unused.exe B installer-file"},
		},
		{
			"written after it ended: not its", func(l *log) {
				l.start(3, 2, msiexec, `msiexec /i C:\t\p.msi`, cmdExe)
				server(l)
				l.msi(1040, `C:\t\p.msi`, "1003")
				l.msi(1042, `C:\t\p.msi`, "1003")
				l.wait(3)
				l.by(11, 9, msiexec, "TargetFilename", `C:\P\p.exe`)
				l.start(5, 1, `C:\P\p.exe`, "p", explorer)
			},
			nil,
			[]string{"p.msi wrote p.exe B installer-file"},
		},
		{
			"two open at once: a guess", func(l *log) {
				l.start(3, 2, msiexec, `msiexec /i C:\t\p.msi`, cmdExe)
				l.start(4, 2, msiexec, `msiexec /i C:\t\q.msi`, cmdExe)
				server(l)
				l.msi(1040, `C:\t\p.msi`, "1003")
				l.msi(1040, `C:\t\q.msi`, "1004")
				l.by(11, 9, msiexec, "TargetFilename", `C:\P\p.exe`)
				l.start(5, 1, `C:\P\p.exe`, "p", explorer)
			},
			[]string{"p.msi wrote p.exe C installer-file", "q.msi wrote p.exe C installer-file"},
			nil,
		},
	})
}

func TestCarriedFiles(t *testing.T) {
	carry := func(from, to, hash string) func(*log) {
		return func(l *log) {
			l.attach(from)
			l.add("Microsoft-Windows-Kernel-PnP", "Microsoft-Windows-Kernel-PnP/Configuration", 400)
			l.access(2, rightReadData, `E:\x.txt`)
			l.start(2, 1, `C:\t\a.exe`, "a", explorer)
			l.by(29, 2, `C:\t\a.exe`, "TargetFilename", `E:\d\w.exe`, "Hashes", "MD5=8972c43c579d02b463484e31506a64ff")
			l.host = "PC2"
			l.attach(to)
			l.start(4, 1, `E:\d\w.exe`, "w", explorer, "Hashes", "MD5="+hash)
		}
	}
	const same, other = "8972c43c579d02b463484e31506a64ff", "819aa5e784063af3bf18b7a7fcdc1855"
	runHandoffs(t, []handoffCase{
		{"the same stick", carry("AAA", "AAA", same), []string{"w.exe copied w.exe B carried-file"}, nil},
		{"another stick", carry("AAA", "BBB", same), nil, []string{"w.exe copied w.exe B carried-file"}},
		{"a serial number that Windows made up", carry("7&AAA", "7&AAA", same), nil, []string{"w.exe copied w.exe B carried-file"}},
		{"another content by then", carry("AAA", "AAA", other), nil, []string{"w.exe copied w.exe B carried-file"}},
	})
}

func TestBITSByCommandLines(t *testing.T) {
	runHandoffs(t, []handoffCase{
		{
			"who named the command is joined, however long after", func(l *log) {
				l.start(2, 1, bitsTool, `bitsadmin /create J`, explorer)
				l.bits(3, "string", "J", "string2", `PC\u`)
				l.wait(30)
				l.start(3, 1, bitsTool, `bitsadmin /SetNotifyCmdLine J C:\t\x.exe "C:\t\x.exe /q"`, explorer)
			},
			[]string{"bitsadmin.exe configured J B bits-command"},
			nil,
		},
		{
			"without the log of BITS", func(l *log) {
				l.start(2, 1, bitsTool, `bitsadmin /create J`, explorer)
				l.start(3, 1, bitsTool, `bitsadmin /SetNotifyCmdLine J C:\t\x.exe "C:\t\x.exe /q"`, explorer)
				l.wait(30)
				l.below(5, 9, svchost, bitsHost, `C:\t\x.exe`, `C:\t\x.exe /q`)
			},
			[]string{"bitsadmin.exe requested J B bits-command", "bitsadmin.exe configured J B bits-command", "J ran x.exe B bits-notify"},
			nil,
		},
	})
}

func TestRemoteShellUsers(t *testing.T) {
	const wsman = `C:\Windows\System32\wsmprovhost.exe`
	shell := func(l *log, seq int, user string) {
		l.start(seq, 9, wsman, wsman+" -Embedding", svchost, "User", user)
	}
	client := func(more func(*log), command string) func(*log) {
		return func(l *log) {
			l.on("A.example", func() {
				l.start(2, 1, powershell, command, explorer, "User", `CORP\u`)
				if more != nil {
					more(l)
				}
			})
			l.on("B.example", func() { shell(l, 5, `CORP\v`) })
		}
	}
	const joined = "powershell.exe requested wsmprovhost.exe B winrm-command"
	runHandoffs(t, []handoffCase{
		{"another user's shell: not it", client(nil, "powershell Invoke-Command -ComputerName B -ScriptBlock {x}"), nil, []string{joined}},
		{"with credentials that no record shows", client(nil, "powershell Invoke-Command -ComputerName B -Credential $c -ScriptBlock {x}"), []string{joined}, nil},
		{
			"with credentials that a record shows", client(func(l *log) {
				l.security(4648, "ProcessId", "0x3ea", "ProcessName", powershell, "TargetUserName", "v", "TargetServerName", "b.example")
			}, "powershell Invoke-Command -ComputerName B -ScriptBlock {x}"),
			[]string{joined},
			nil,
		},
	})
}
