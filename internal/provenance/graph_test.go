package provenance

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"ashiato/internal/event"
	"ashiato/internal/normalize"
	"ashiato/internal/world"
)

var t0 = time.Date(2026, 3, 2, 1, 0, 0, 0, time.UTC)

// log writes records by hand, one second apart.
type log struct {
	host   string
	events []*event.Event
}

func (l *log) add(provider, channel string, id uint32, data ...string) *event.Event {
	at := t0.Add(time.Duration(len(l.events)) * time.Second)
	host := l.host
	if host == "" {
		host = "PC"
	}
	e := &event.Event{
		Provider: provider, Channel: channel, ID: id, Host: host, Time: at, Logged: at,
		Ref: event.EvidenceRef{Host: host, Channel: channel, RecordID: uint64(len(l.events) + 1), File: "f"},
	}
	for i := 0; i+1 < len(data); i += 2 {
		e.Data = append(e.Data, event.Field{Name: data[i], Value: data[i+1]})
	}
	normalize.Event(e)
	l.events = append(l.events, e)
	return e
}

func (l *log) sysmon(id uint32, data ...string) *event.Event {
	return l.add("Microsoft-Windows-Sysmon", "Microsoft-Windows-Sysmon/Operational", id, data...)
}

func (l *log) security(id uint32, data ...string) *event.Event {
	return l.add("Microsoft-Windows-Security-Auditing", "Security", id, data...)
}

func guid(seq int) string {
	return fmt.Sprintf("{3f5c91a7-0000-6900-%02x%02x-000000000800}", seq&0xff, seq>>8)
}

func (l *log) start(seq, parent int, image, cmd, parentImage string, more ...string) *event.Event {
	return l.sysmon(1, append([]string{
		"ProcessGuid", guid(seq), "ProcessId", fmt.Sprint(1000 + seq), "Image", image, "CommandLine", cmd,
		"ParentProcessGuid", guid(parent), "ParentProcessId", fmt.Sprint(1000 + parent), "ParentImage", parentImage,
	}, more...)...)
}

func (l *log) by(id uint32, seq int, image string, more ...string) *event.Event {
	return l.sysmon(id, append([]string{"ProcessGuid", guid(seq), "ProcessId", fmt.Sprint(1000 + seq), "Image", image}, more...)...)
}

// access writes a record of "Audit Removable Storage".
func (l *log) access(seq, mask int, object string) {
	e := l.security(4663, "ObjectType", "File", "ObjectName", object, "ProcessId", fmt.Sprintf("0x%x", 1000+seq), "AccessMask", fmt.Sprintf("0x%x", mask))
	e.Task = removable
}

func (l *log) attach(serial string) {
	l.add("Microsoft-Windows-Partition", "Microsoft-Windows-Partition/Diagnostic", 1006,
		"SerialNumber", serial, "BusType", "7", "Capacity", "1000", "ParentId", `USB\VID_1&PID_2\`+serial)
}

func (l *log) graph() *Graph {
	b := NewBuilder(world.New(world.Limits{}))
	for _, e := range l.events {
		b.Add(e)
	}
	return b.Build()
}

// facts writes the edges as "label verb label class join", context in brackets.
func facts(g *Graph) []string {
	var all []string
	for _, e := range g.Edges() {
		f := fmt.Sprintf("%s %s %s %s %s", g.Node(e.From).Label, e.Verb, g.Node(e.To).Label, e.Class, e.Join)
		if !e.Skeleton {
			f = "[" + f + "]"
		}
		all = append(all, f)
		if len(e.Evidence) == 0 {
			panic("no evidence: " + f)
		}
	}
	return all
}

const (
	explorer = `C:\Windows\explorer.exe`
	services = `C:\Windows\System32\services.exe`
	svchost  = `C:\Windows\System32\svchost.exe`
	cmdExe   = `C:\Windows\System32\cmd.exe`
)

func TestJoins(t *testing.T) {
	for _, c := range []struct {
		name string
		log  func(*log)
		want []string
		not  []string
	}{
		{
			"parents and hubs", func(l *log) {
				l.start(2, 1, cmdExe, "cmd", explorer)
				l.start(3, 2, `C:\a.exe`, "a", cmdExe)
			},
			[]string{"[explorer.exe started cmd.exe A parent-guid]", "cmd.exe started a.exe A parent-guid"},
			nil,
		},
		{
			"a program of a broker's name elsewhere is no broker", func(l *log) {
				l.start(3, 2, `C:\a.exe`, "a", `C:\Users\x\svchost.exe`)
			},
			[]string{"svchost.exe started a.exe A parent-guid"},
			nil,
		},
		{
			"written, then executed by another broker's child", func(l *log) {
				l.start(2, 1, cmdExe, "cmd", explorer)
				l.by(11, 2, cmdExe, "TargetFilename", `C:\x\A.exe`)
				l.start(3, 9, `C:\x\a.exe`, "a", svchost)
			},
			[]string{"cmd.exe wrote A.exe A own-record", "A.exe executed a.exe B file-written-then-executed"},
			nil,
		},
		{
			"renamed without a record", func(l *log) {
				l.start(2, 1, cmdExe, "cmd", explorer)
				l.by(29, 2, cmdExe, "TargetFilename", `C:\x\a.dat`, "Hashes", "MD5=AB,SHA256=CD")
				l.start(3, 2, `C:\x\p.exe`, "p", cmdExe)
				l.by(7, 3, `C:\x\p.exe`, "ImageLoaded", `C:\x\p.dll`, "Hashes", "SHA256=CD", "Signed", "false")
			},
			[]string{"a.dat renamed p.dll B same-content", "p.dll loaded p.exe B file-written-then-loaded"},
			nil,
		},
		{
			"the same content in another folder is another file", func(l *log) {
				l.start(2, 1, cmdExe, "cmd", explorer)
				l.by(29, 2, cmdExe, "TargetFilename", `C:\y\a.dat`, "Hashes", "SHA256=CD")
				l.start(3, 2, `C:\x\p.exe`, "p", cmdExe)
				l.by(7, 3, `C:\x\p.exe`, "ImageLoaded", `C:\x\p.dll`, "Hashes", "SHA256=CD")
			},
			nil,
			[]string{"a.dat renamed p.dll B same-content"},
		},
		{
			"only the last writer before the use", func(l *log) {
				l.start(2, 1, `C:\old.exe`, "old", explorer)
				l.by(11, 2, `C:\old.exe`, "TargetFilename", `C:\x\a.exe`)
				l.start(3, 1, `C:\new.exe`, "new", explorer)
				l.by(11, 3, `C:\new.exe`, "TargetFilename", `C:\x\a.exe`)
				l.start(4, 1, `C:\x\a.exe`, "a", explorer)
				l.start(5, 1, `C:\late.exe`, "late", explorer)
				l.by(11, 5, `C:\late.exe`, "TargetFilename", `C:\x\a.exe`)
			},
			[]string{"new.exe wrote a.exe A own-record", "[old.exe wrote a.exe A own-record]", "[late.exe wrote a.exe A own-record]"},
			nil,
		},
		{
			"the mock folder is another folder", func(l *log) {
				l.start(2, 1, cmdExe, "cmd", explorer)
				l.by(11, 2, cmdExe, "TargetFilename", `C:\Windows \System32\printui.exe`)
				l.start(3, 9, `C:\Windows\System32\printui.exe`, "printui", svchost)
			},
			nil,
			[]string{"printui.exe ran as printui.exe B file-written-then-executed"},
		},
		{
			"elevated twin", func(l *log) {
				l.start(2, 1, cmdExe, "cmd", explorer)
				l.start(3, 2, `C:\Windows \System32\p.exe`, "p", cmdExe, "IntegrityLevel", "Medium")
				l.start(4, 2, `C:\Windows \System32\p.exe`, "p", cmdExe, "IntegrityLevel", "High")
			},
			[]string{"p.exe elevated p.exe A elevated-twin", "[cmd.exe started p.exe A parent-guid]"},
			nil,
		},
		{
			"service by start key", func(l *log) {
				l.start(2, 1, `C:\drop.exe`, "drop", explorer)
				l.security(4697, "ServiceName", "N", "ServiceFileName", `%SystemRoot%\n.exe -s`, "ClientProcessStartKey", fmt.Sprint(8<<48|2), "ClientProcessId", "1002")
				l.start(3, 9, `C:\Windows\n.exe`, `C:\Windows\n.exe  -s`, services)
			},
			[]string{"drop.exe registered N A start-key", "N ran n.exe B service-image"},
			nil,
		},
		{
			"service by the tool's command line", func(l *log) {
				l.start(2, 1, cmdExe, "cmd", explorer)
				l.start(3, 2, `C:\Windows\System32\sc.exe`, `sc create N binPath= C:\n.exe`, cmdExe)
				l.add("Service Control Manager", "System", 7045, "ServiceName", "N", "ImagePath", `C:\n.exe`)
			},
			[]string{"sc.exe registered N B command-line"},
			[]string{"cmd.exe registered N B command-line"},
		},
		{
			"of two equal svchosts the one that loads the DLL", func(l *log) {
				l.start(2, 1, `C:\drop.exe`, "drop", explorer)
				l.add("Service Control Manager", "System", 7045, "ServiceName", "N", "ImagePath", svchost+" -k X")
				l.by(13, 2, `C:\drop.exe`, "EventType", "SetValue", "TargetObject", `HKLM\System\CurrentControlSet\Services\N\Parameters\ServiceDll`, "Details", `C:\n.dat`)
				l.start(3, 9, svchost, svchost+" -k X", services)
				l.start(4, 9, svchost, svchost+" -k X", services)
				l.by(7, 4, svchost, "ImageLoaded", `C:\n.dat`)
				l.start(5, 4, `C:\child.exe`, "child", svchost)
				l.start(6, 3, `C:\other.exe`, "other", svchost)
			},
			[]string{"drop.exe registered N A own-record", "N ran svchost.exe B service-dll", "svchost.exe started child.exe A parent-guid", "[svchost.exe started other.exe A parent-guid]"},
			nil,
		},
		{
			"of two equal svchosts neither", func(l *log) {
				l.add("Service Control Manager", "System", 7045, "ServiceName", "N", "ImagePath", svchost+" -k X")
				l.start(3, 9, svchost, svchost+" -k X", services)
				l.start(4, 9, svchost, svchost+" -k X", services)
			},
			nil,
			[]string{"N ran svchost.exe B service-image"},
		},
		{
			"task by client process and by its action", func(l *log) {
				l.start(2, 1, `C:\drop.exe`, "drop", explorer)
				l.security(4698, "TaskName", `\T`, "ClientProcessId", "1002", "TaskContent",
					`<Task><Actions><Exec><Command>C:\u.exe</Command><Arguments>/x</Arguments></Exec></Actions></Task>`)
				l.start(3, 9, `C:\u.exe`, `"C:\u.exe" /x`, svchost, "ParentCommandLine", svchost+" -k netsvcs -p -s Schedule")
			},
			[]string{"drop.exe registered T A client-pid", "T ran u.exe B task-action"},
			nil,
		},
		{
			"an action that two tasks share is a guess", func(l *log) {
				for _, n := range []string{`\T`, `\U`} {
					l.security(4698, "TaskName", n, "TaskContent", `<Task><Actions><Exec><Command>C:\u.exe</Command></Exec></Actions></Task>`)
				}
				l.start(3, 9, `C:\u.exe`, `C:\u.exe`, svchost)
			},
			[]string{"T ran u.exe C task-action", "U ran u.exe C task-action"},
			nil,
		},
		{
			"run key", func(l *log) {
				l.start(2, 1, `C:\drop.exe`, "drop", explorer)
				l.by(13, 2, `C:\drop.exe`, "EventType", "SetValue", "TargetObject", `HKU\S-1\Software\Microsoft\Windows\CurrentVersion\Run\Upd`, "Details", `"C:\r.exe" -q`)
				l.start(3, 1, `C:\r.exe`, `C:\r.exe -q`, explorer)
			},
			[]string{"drop.exe configured Upd A own-record", "Upd started r.exe B run-key"},
			nil,
		},
		{
			"exclusion with Defender's own record", func(l *log) {
				l.start(2, 1, cmdExe, `cmd /c powershell Add-MpPreference -ExclusionPath 'C:\x '`, explorer)
				l.start(3, 2, `C:\Windows\System32\WindowsPowerShell\v1.0\powershell.exe`, `powershell Add-MpPreference -ExclusionPath 'C:\x '`, cmdExe)
				l.add("Microsoft-Windows-Windows Defender", "Microsoft-Windows-Windows Defender/Operational", 5007, "New Value", `HKLM\SOFTWARE\Microsoft\Windows Defender\Exclusions\Paths\C:\x  = 0x0`)
			},
			[]string{`powershell.exe excluded C:\x  A command-line`},
			[]string{`cmd.exe excluded C:\x  A command-line`},
		},
		{
			"stick", func(l *log) {
				l.attach("AAA")
				l.start(2, 1, `C:\Windows\System32\wscript.exe`, `wscript "E:\d\a.vbs"`, explorer, "CurrentDirectory", `E:\d\`)
				l.attach("BBB")
				l.by(11, 2, `C:\Windows\System32\wscript.exe`, "TargetFilename", `F:\b.lnk`)
			},
			[]string{"E: contains a.vbs B path-on-volume", "a.vbs interpreted wscript.exe B argument-path", "wscript.exe wrote F: B path-on-volume", "[E: attached PC A own-record]"},
			nil,
		},
		{
			"a drive of which no attachment is recorded joins nothing", func(l *log) {
				l.start(2, 1, `C:\Windows\System32\wscript.exe`, `wscript "E:\d\a.vbs"`, explorer)
			},
			[]string{"E: contains a.vbs C path-on-drive"},
			nil,
		},
		{
			"the same stick elsewhere", func(l *log) {
				l.attach("AAA")
				l.host = "PC2"
				l.attach("AAA")
			},
			[]string{"AAA attached AAA A volume-serial"},
			nil,
		},
		{
			"a serial number that Windows made up joins nothing", func(l *log) {
				l.attach("7&AAA")
				l.host = "PC2"
				l.attach("7&AAA")
			},
			nil,
			[]string{"7&AAA attached 7&AAA A volume-serial"},
		},
		{
			"remote logon", func(l *log) {
				l.security(4624, "TargetLogonId", "0xabc", "LogonType", "3", "IpAddress", "192.0.2.7", "IpPort", "5", "TargetUserName", "u")
				l.start(2, 9, `C:\Windows\System32\cmd.exe`, "cmd", `C:\Windows\System32\wbem\WmiPrvSE.exe`, "LogonId", "0xABC")
			},
			[]string{"u requested Win32_Process.Create A wmi-logon", "Win32_Process.Create ran cmd.exe A wmi-child"},
			[]string{"u logged-on cmd.exe A logon-id"},
		},
		{
			"injection, and lsass stays a hub", func(l *log) {
				l.start(2, 1, `C:\a.exe`, "a", explorer)
				l.start(3, 1, `C:\b.exe`, "b", explorer)
				l.sysmon(8, "SourceProcessGuid", guid(2), "SourceImage", `C:\a.exe`, "TargetProcessGuid", guid(3), "TargetImage", `C:\b.exe`)
				l.sysmon(8, "SourceProcessGuid", guid(2), "SourceImage", `C:\a.exe`, "TargetProcessGuid", guid(4), "TargetImage", `C:\Windows\System32\lsass.exe`)
			},
			[]string{"a.exe injected b.exe A thread-guids", "[a.exe injected lsass.exe A thread-guids]"},
			nil,
		},
		{
			"names and addresses are context", func(l *log) {
				l.start(2, 1, `C:\a.exe`, "a", explorer)
				l.by(22, 2, `C:\a.exe`, "QueryName", "x.example", "QueryResults", "::ffff:203.0.113.4;")
				l.by(3, 2, `C:\a.exe`, "DestinationIp", "203.0.113.4", "DestinationPort", "443", "Initiated", "true")
			},
			[]string{"[a.exe connected 203.0.113.4:443 A own-record]", "[a.exe resolved x.example A own-record]", "[x.example resolved 203.0.113.4:443 B query-result]"},
			nil,
		},
		{
			"a parent of which only the process id is known may be a broker", func(l *log) {
				for n := range 3 {
					l.security(4688, "NewProcessId", fmt.Sprintf("0x%x", 100+n), "NewProcessName", fmt.Sprintf(`C:\%d.exe`, n), "ProcessId", "0x1e4")
				}
			},
			[]string{"[PID 484 started 0.exe B parent-pid]", "[PID 484 started 1.exe B parent-pid]"},
			[]string{"PID 484 started 0.exe B parent-pid"},
		},
		{
			"a shortcut that the shell read, by device name", func(l *log) {
				l.start(1, 0, explorer, "explorer", `C:\Windows\System32\userinit.exe`)
				l.attach("AAA")
				l.access(1, 1, `\Device\HarddiskVolume6\Disk.lnk`)
				l.start(2, 1, `C:\Windows\System32\wscript.exe`, `wscript "E:\d\a.vbs"`, explorer)
				l.access(2, 1, `\Device\HarddiskVolume6\d\a.vbs`)
			},
			[]string{
				"E: contains Disk.lnk B path-on-volume", "Disk.lnk opened wscript.exe B shortcut-then-start",
				"[explorer.exe opened Disk.lnk A own-record]", "a.vbs interpreted wscript.exe B argument-path",
			},
			nil,
		},
		{
			"a script of which only a child's record tells", func(l *log) {
				l.attach("AAA")
				l.sysmon(1, "ProcessGuid", guid(3), "ProcessId", "1003", "Image", `C:\a.exe`, "CommandLine", "a", "CurrentDirectory", `E:\d\`,
					"ParentProcessId", "1002", "ParentImage", `C:\Windows\System32\wscript.exe`, "ParentCommandLine", `wscript "E:\d\a.vbs"`)
			},
			[]string{"E: contains a.vbs B path-on-volume", "a.vbs interpreted wscript.exe B argument-path", "wscript.exe started a.exe B parent-pid"},
			nil,
		},
		{
			"a scanner's reading of a shortcut starts nothing", func(l *log) {
				l.start(1, 0, explorer, "explorer", `C:\Windows\System32\userinit.exe`)
				l.start(9, 0, `C:\av.exe`, "av", services)
				l.attach("AAA")
				l.access(9, 1, `\Device\HarddiskVolume6\Disk.lnk`)
				l.start(2, 1, `C:\Windows\System32\wscript.exe`, `wscript "E:\d\a.vbs"`, explorer)
				l.access(2, 1, `\Device\HarddiskVolume6\d\a.vbs`)
			},
			[]string{"a.vbs interpreted wscript.exe B argument-path"},
			[]string{"Disk.lnk opened wscript.exe B shortcut-then-start"},
		},
		{
			"Security alone: written to a volume of which no letter is known", func(l *log) {
				l.attach("AAA")
				l.start(3, 1, cmdExe, `cmd /c E:\d\a.bat`, explorer)
				l.access(3, 1, `\Device\HarddiskVolume6\d\a.bat`)
				l.attach("BBB")
				l.access(3, 2, `\Device\HarddiskVolume7\x.lnk`)
				l.access(3, 2, `\Device\HarddiskVolume7\x.txt`)
			},
			[]string{"cmd.exe wrote BBB B path-on-volume", "cmd.exe wrote x.lnk A own-record"},
			[]string{"cmd.exe wrote x.txt A own-record"},
		},
		{
			"Security alone: a volume that may have been there before is related only", func(l *log) {
				l.start(3, 1, `C:\a.exe`, "a", explorer)
				l.attach("AAA")
				l.access(3, 2, `\Device\HarddiskVolume7\x.lnk`)
			},
			[]string{"a.exe wrote harddiskvolume7 B path-on-volume", "[AAA related harddiskvolume7 C only-volume-attached]"},
			[]string{"a.exe wrote AAA B path-on-volume"},
		},
		{
			"a service registered again runs what came after", func(l *log) {
				for n := range 2 {
					l.add("Service Control Manager", "System", 7045, "ServiceName", "PSEXESVC", "ImagePath", `C:\p.exe`)
					l.start(10+n, 9, `C:\p.exe`, `C:\p.exe`, services)
					l.start(20+n, 10+n, fmt.Sprintf(`C:\%d.exe`, n), "x", `C:\p.exe`)
					for range 200 {
						l.start(50, 49, `C:\other.exe`, "other", explorer)
					}
				}
			},
			[]string{"p.exe started 0.exe A parent-guid", "p.exe started 1.exe A parent-guid"},
			nil,
		},
		{
			"a service's program is changed, which no record of its own shows", func(l *log) {
				l.start(3, 1, `C:\Windows\System32\sc.exe`, `sc config Fax binPath= "C:\x.exe"`, cmdExe)
			},
			[]string{"sc.exe configured Fax A command-line"},
			[]string{"sc.exe registered Fax A command-line"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			var l log
			c.log(&l)
			got := facts(l.graph())
			all := "\n" + strings.Join(got, "\n") + "\n"
			for _, w := range c.want {
				if !strings.Contains(all, "\n"+w+"\n") {
					t.Errorf("no %q in %s", w, all)
				}
			}
			for _, n := range c.not {
				if strings.Contains(all, "\n"+n+"\n") {
					t.Errorf("%q in %s", n, all)
				}
			}
		})
	}
}

func TestMarkingTwiceAddsNothing(t *testing.T) {
	var l log
	l.start(2, 1, `C:\a.exe`, "a", explorer)
	for _, e := range []*event.Event{
		l.by(11, 2, `C:\a.exe`, "TargetFilename", `C:\x.txt`),
		l.by(13, 2, `C:\a.exe`, "EventType", "SetValue", "TargetObject", `HKLM\Software\X`, "Details", "1"),
		l.by(3, 2, `C:\a.exe`, "DestinationIp", "203.0.113.4", "DestinationPort", "443"),
		l.by(7, 2, `C:\a.exe`, "ImageLoaded", `C:\Windows\System32\b.dll`),
		l.sysmon(10, "SourceProcessGUID", guid(2), "SourceImage", `C:\a.exe`, "TargetProcessGUID", guid(3), "TargetImage", `C:\Windows\System32\lsass.exe`),
		l.security(1102),
		l.add("Microsoft-Windows-Windows Defender", "Microsoft-Windows-Windows Defender/Operational", 1116, "Path", `file:_C:\x.txt; file:_C:\y`),
		l.add("Unknown", "Application", 1),
	} {
		g := l.graph()
		m := g.Mark(e)
		if g.Node(m.Node) == nil {
			t.Errorf("%s marks %s, which is not in the graph", e.Kind, m.Node)
		}
		once := strings.Join(facts(g), "\n")
		counts := 0
		for _, x := range g.Edges() {
			counts += x.Count
		}
		if again := g.Mark(e).Node; again != m.Node {
			t.Errorf("%s marks %s, then %s", e.Kind, m.Node, again)
		}
		for _, x := range g.Edges() {
			counts -= x.Count
		}
		if twice := strings.Join(facts(g), "\n"); twice != once || counts != 0 {
			t.Errorf("%s: marking twice gives\n%s\nonce\n%s", e.Kind, twice, once)
		}
	}
}

func TestLimitsAreCounted(t *testing.T) {
	var l log
	for n := range 100 {
		l.start(10+n, 2, fmt.Sprintf(`C:\%d.exe`, n), "x", cmdExe)
	}
	b := NewBuilderLimits(world.New(world.Limits{}), Limits{Nodes: 50, Edges: 20})
	for _, e := range l.events {
		b.Add(e)
	}
	g := b.Build()
	if c := g.Cut(); len(g.Nodes()) != 50 || len(g.Edges()) != 20 || c.Nodes == 0 || c.Edges == 0 {
		t.Errorf("%d nodes, %d edges, cut %+v", len(g.Nodes()), len(g.Edges()), c)
	}
	for _, e := range l.events {
		if g.Mark(e).Node == "" {
			t.Error("no mark")
		}
	}
}

func TestServicesOfOneNameAreTwoNodes(t *testing.T) {
	var l log
	for n := range 2 {
		l.add("Service Control Manager", "System", 7045, "ServiceName", "PSEXESVC", "ImagePath", `C:\p.exe`)
		l.start(10+n, 9, `C:\p.exe`, `C:\p.exe`, services)
		for range 150 {
			l.start(50, 49, `C:\other.exe`, "other", explorer)
		}
	}
	again := l.add("Service Control Manager", "System", 7045, "ServiceName", "psexesvc", "ImagePath", `C:\p.exe`)
	g := l.graph()
	runs := map[NodeID]NodeID{}
	for _, e := range g.Edges() {
		if e.Verb == RanAs {
			if have, ok := runs[e.From]; ok {
				t.Errorf("%s ran %s and %s", e.From, have, e.To)
			}
			runs[e.From] = e.To
		}
	}
	if len(runs) != 2 {
		t.Errorf("%d services ran something: %v", len(runs), runs)
	}
	n := g.Node(g.Mark(again).Node)
	if n == nil || n.Kind != Service || runs[n.ID] != "" || n.Label != "psexesvc" {
		t.Errorf("the third is %+v", n)
	}
}
