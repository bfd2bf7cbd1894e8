package provenance

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"ashiato/internal/event"
	"ashiato/internal/world"
)

const tool = `C:\Users\a\tool.exe`

// rebooted is guid in the next boot.
func rebooted(seq int) string {
	return fmt.Sprintf("{3f5c91a7-0000-6900-%02x%02x-000000000900}", seq&0xff, seq>>8)
}

func TestBelonging(t *testing.T) {
	const none = ""
	tests := []struct {
		name, field string
		log         func(l *log)
		want        []string // by event, of those that want names
	}{
		{"a tree has its root below the shell", "ProcessTree", func(l *log) {
			l.start(2, 1, cmdExe, "cmd", explorer)
			l.start(3, 2, tool, "tool", cmdExe)
			l.by(11, 3, tool, "TargetFilename", `C:\x.txt`)
			l.start(4, 1, cmdExe, "cmd", explorer)
			l.by(11, 4, cmdExe, "TargetFilename", `C:\y.txt`)
		}, []string{"pc|8.2", "pc|8.2", "pc|8.2", "pc|8.4", "pc|8.4"}},
		{"a hub is in no tree", "ProcessTree", func(l *log) {
			l.start(1, 9, explorer, "explorer", `C:\Windows\System32\userinit.exe`)
			l.by(11, 1, explorer, "TargetFilename", `C:\x.txt`)
		}, []string{none, none}},
		{"an elevated program is of the tree of the same program before", "ProcessTree", func(l *log) {
			l.start(2, 1, tool, "tool", explorer, "IntegrityLevel", "Medium")
			l.start(3, 1, tool, "tool", explorer, "IntegrityLevel", "High")
			l.start(4, 3, cmdExe, "cmd", tool, "IntegrityLevel", "High")
		}, []string{"pc|8.2", "pc|8.2", "pc|8.2"}},
		{"a service is of the tree that registered it", "ProcessTree", func(l *log) {
			l.start(2, 1, tool, "tool", explorer)
			l.security(4697, "ServiceName", "x", "ServiceFileName", `C:\x\svc.exe`, "ClientProcessId", "1002", "ClientProcessStartKey", fmt.Sprint(8<<48+2))
			l.start(5, 4, `C:\x\svc.exe`, `C:\x\svc.exe`, `C:\Windows\System32\services.exe`)
			l.start(6, 4, `C:\y\svc.exe`, `C:\y\svc.exe`, `C:\Windows\System32\services.exe`)
		}, []string{"pc|8.2", "pc|8.2", "pc|8.2", "pc|8.6"}},
		{"processes that claim to be each other's parents", "ProcessTree", func(l *log) {
			l.start(4, 3, tool, "tool", tool)
			l.start(3, 2, tool, "tool", tool)
			l.start(2, 4, tool, "tool", tool)
			l.start(5, 3, tool, "tool", tool)
		}, []string{"pc|8.2", "pc|8.2", "pc|8.2", "pc|8.2"}},
		{"nobody knows who wrote it", "ProcessTree", func(l *log) {
			l.security(4625, "TargetUserName", "bob")
		}, []string{none}},
		{"a session is of host, boot and LUID", "LogonSession", func(l *log) {
			l.start(2, 1, tool, "tool", explorer, "LogonId", "0x5f1")
			l.by(11, 2, tool, "TargetFilename", `C:\x.txt`)
			l.security(4634, "TargetLogonId", "0x5F1", "TargetUserName", "a")
			for range 4 {
				l.security(1100)
			}
			l.sysmon(1, "ProcessGuid", rebooted(2), "ProcessId", "77", "Image", tool, "LogonId", "0x5f1")
			l.security(4634, "TargetLogonId", "0x5f1", "TargetUserName", "a")
		}, []string{"pc|boot 8|0x5f1", "pc|boot 8|0x5f1", "pc|boot 8|0x5f1", none, none, none, none, "pc|boot 9|0x5f1", "pc|boot 9|0x5f1"}},
		{"the system's sessions are none", "LogonSession", func(l *log) {
			l.start(2, 1, tool, "tool", explorer, "LogonId", "0x3e7")
			l.security(4625, "SubjectLogonId", "0x0")
		}, []string{none, none}},
		{"where boots are not known the logon tells", "LogonSession", func(l *log) {
			l.security(4688, "NewProcessId", "0x10", "NewProcessName", tool, "SubjectLogonId", "0x5f1", "ProcessId", "0x4")
			for range 4 {
				l.security(1100)
			}
			l.security(4624, "TargetLogonId", "0x5f1", "LogonType", "2", "TargetUserName", "a")
			l.security(4688, "NewProcessId", "0x20", "NewProcessName", tool, "SubjectLogonId", "0x5f1", "ProcessId", "0x4")
		}, []string{"pc|0x5f1", none, none, none, none, "pc|0x5f1@2026-03-02T01:00:05.0000000Z", "pc|0x5f1@2026-03-02T01:00:05.0000000Z"}},
		{"two sticks, one letter", "Volume", func(l *log) {
			l.attach("AAA")
			l.start(2, 1, `E:\tool.exe`, `E:\tool.exe`, explorer)
			l.by(11, 2, `E:\tool.exe`, "TargetFilename", `C:\x.txt`)
			l.by(11, 9, cmdExe, "TargetFilename", `e:\y.lnk`)
			l.add("Microsoft-Windows-DriverFrameworks-UserMode", "Microsoft-Windows-DriverFrameworks-UserMode/Operational", 2100,
				"InstanceId", `SWD\WPDBUSENUM\_??_USBSTOR#DISK&VEN_X&PROD_Y&REV_1#AAA&0#{53f56307-b6bf-11d0-94f2-00a0c91efb8b}`)
			l.attach("BBB")
			l.by(11, 9, cmdExe, "TargetFilename", `E:\z.lnk`)
			l.by(11, 9, cmdExe, "TargetFilename", `G:\z.lnk`)
			l.by(11, 9, cmdExe, "TargetFilename", `C:\z.lnk`)
		}, []string{"AAA", "AAA", "AAA", "AAA", "AAA", "BBB", "BBB", none, none}},
		{"a script of the stick", "Volume", func(l *log) {
			l.attach("AAA")
			l.start(2, 1, `C:\Windows\System32\wscript.exe`, `wscript.exe "E:\a\start.vbs"`, explorer)
			l.by(11, 2, `C:\Windows\System32\wscript.exe`, "TargetFilename", `C:\x.txt`)
		}, []string{"AAA", "AAA", "AAA"}},
		{"a letter that could be either's", "Volume", func(l *log) {
			l.attach("AAA")
			l.attach("BBB")
			l.by(11, 9, cmdExe, "TargetFilename", `E:\y.lnk`)
		}, []string{"AAA", "BBB", none}},
		{"a made-up serial number names a port of one host", "Volume", func(l *log) {
			l.security(6416, "DeviceId", `USBSTOR\Disk&Ven_X&Prod_Y&Rev_1\7&1234&0`, "ClassName", "DiskDrive")
		}, []string{"pc|7&1234&0"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			l := &log{}
			test.log(l)
			of := func(events []*event.Event) string {
				b := NewBuilder(world.New(world.Limits{}))
				for _, e := range events {
					b.Add(e)
				}
				belongs := NewBelonging(b.Build())
				var got []string
				for _, e := range l.events {
					s, ok := belongs.Of(e, test.field)
					if ok != (s != "") {
						t.Fatalf("%q, %v", s, ok)
					}
					got = append(got, s)
				}
				return strings.Join(got, "; ")
			}
			want := strings.Join(test.want, "; ")
			if got := of(l.events); got != want {
				t.Fatalf("got  %s\nwant %s", got, want)
			}
			rapid.Check(t, func(t *rapid.T) {
				events := append(rapid.Permutation(l.events).Draw(t, "order"), rapid.SliceOfN(rapid.SampledFrom(l.events), 0, 4).Draw(t, "twice")...)
				if got := of(events); got != want {
					t.Fatalf("in another order %s\nwant %s", got, want)
				}
			})
		})
	}
}

// TestBelongingAddsNothing holds that asking changes no graph.
func TestBelongingAddsNothing(t *testing.T) {
	l := &log{}
	l.attach("AAA")
	l.start(2, 1, `E:\tool.exe`, `E:\tool.exe`, explorer, "LogonId", "0x5f1")
	l.by(3, 7, `C:\unknown.exe`, "DestinationIp", "203.0.113.9", "Initiated", "true")
	l.access(2, rightWriteData, `\Device\HarddiskVolume9\x.exe`)
	g := l.graph()
	before := strings.Join(facts(g), "\n") + fmt.Sprint(len(g.Nodes()))
	b := NewBelonging(g)
	for _, e := range l.events {
		for _, name := range []string{"ProcessTree", "LogonSession", "Volume", "Other"} {
			b.Of(e, name)
		}
	}
	if after := strings.Join(facts(g), "\n") + fmt.Sprint(len(g.Nodes())); after != before {
		t.Errorf("%s\nbecame\n%s", before, after)
	}
	if _, ok := b.Of(l.events[0], "Other"); ok {
		t.Error("another name has an answer")
	}
}
