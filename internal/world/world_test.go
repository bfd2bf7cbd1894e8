package world

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"ashiato/internal/event"
	"ashiato/internal/normalize"
)

func TestPathKey(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{`C:\Windows\System32\cmd.exe`, `c:\windows\system32\cmd.exe`},
		{`\\?\C:\Windows \System32`, `c:\windows \system32`},
		{`\??\C:\x`, `c:\x`},
		{`"C:\Program Files\a b.exe"`, `c:\program files\a b.exe`},
		{`%SystemRoot%\System32\svchost.exe`, `c:\windows\system32\svchost.exe`},
		{`%%SystemRoot%%\x.dll`, `c:\windows\x.dll`},
		{`\SystemRoot\System32\drivers\a.sys`, `c:\windows\system32\drivers\a.sys`},
		{`system32\drivers\a.sys`, `c:\windows\system32\drivers\a.sys`},
		{`C:/a/b`, `c:\a\b`},
		{`C:\tail `, `c:\tail `},
		{` C:\lead`, ` c:\lead`},
		{`\\?\UNC\server\share\x`, `\\server\share\x`},
		{`%NOSUCH%\x`, `%nosuch%\x`},
		{``, ``},
		{`"`, `"`},
	} {
		if got := PathKey(c.in); got != c.want {
			t.Errorf("PathKey(%q) = %q, want %q", c.in, got, c.want)
		}
	}
}

func TestPathKeyKeepsBlanks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dir := rapid.StringMatching(`[A-Za-z]:\\[A-Za-z ]{0,8}\\[A-Za-z ]{1,8}`).Draw(t, "path")
		blanks := func(s string) (n int) {
			for _, c := range s {
				if c == ' ' {
					n++
				}
			}
			return n
		}
		if got := PathKey(dir); blanks(got) != blanks(dir) {
			t.Fatalf("PathKey(%q) = %q", dir, got)
		}
	})
}

func TestCommandKey(t *testing.T) {
	for _, c := range []struct{ a, b string }{
		{`"C:\Program Files\x y.exe"  /a  B`, `C:\Program Files\x y.exe /A b`},
		{`%COMSPEC% /c echo hi`, `C:\Windows\system32\cmd.exe /c echo hi `},
		{`C:\Windows\System32\svchost.exe -k DcomLaunch`, `c:\windows\system32\svchost -k dcomlaunch`},
		{`\SystemRoot\System32\a.exe`, `C:\Windows\System32\A.EXE`},
	} {
		if CommandKey(c.a) != CommandKey(c.b) {
			t.Errorf("CommandKey(%q) = %q, of %q it is %q", c.a, CommandKey(c.a), c.b, CommandKey(c.b))
		}
	}
	for _, c := range []struct{ cmd, program string }{
		{`cmd /c .\a.bat`, `cmd`},
		{`C:\tools\run /c D:\x.bat`, `C:\tools\run`},
		{`C:\tools\run "D:\x.bat"`, `C:\tools\run`},
		{`C:\My Tools\run.exe D:\x.bat`, `C:\My Tools\run.exe`},
		{`"C:\My Tools\run" x.exe`, `C:\My Tools\run`},
		{`C:\Windows \System32\a.exe`, `C:\Windows \System32\a.exe`},
		{`x`, `x`},
		{``, ``},
		{`"`, ``},
	} {
		if got, _ := SplitCommand(c.cmd); got != c.program {
			t.Errorf("SplitCommand(%q) = %q, want %q", c.cmd, got, c.program)
		}
	}
	if CommandKey(`C:\Windows \System32\a.exe`) == CommandKey(`C:\Windows\System32\a.exe`) {
		t.Error("the blank of a mock folder is lost")
	}
}

func TestParseGUID(t *testing.T) {
	start, key, ok := ParseGUID("{81056205-5686-64dc-3b04-000000000800}")
	if !ok || key != 2251799813686331 || start != time.Unix(0x64dc5686, 0).UTC() {
		t.Errorf("got %v %d %v", start, key, ok)
	}
	if _, key, ok := ParseGUID("{747F3D96-D39D-5D3C-0000-001026F55500}"); !ok || key != 0 {
		t.Errorf("the older style gave key %d, %v", key, ok)
	}
	for _, bad := range []string{"", "-", "{00000000-0000-0000-0000-000000000000}", "{81056205-5686}", "{zz056205-5686-64dc-3b04-000000000800}"} {
		if _, _, ok := ParseGUID(bad); ok {
			t.Errorf("%q is taken for a GUID", bad)
		}
	}
}

var t0 = time.Date(2026, 3, 2, 1, 0, 0, 0, time.UTC)

type log struct {
	events []*event.Event
}

func (l *log) add(provider, channel string, id uint32, after time.Duration, data ...string) *event.Event {
	e := &event.Event{
		Provider: provider, Channel: channel, ID: id, Host: "PC", Time: t0.Add(after), Logged: t0.Add(after),
		Ref: event.EvidenceRef{Host: "PC", Channel: channel, RecordID: uint64(len(l.events) + 1), File: "f"},
	}
	for i := 0; i+1 < len(data); i += 2 {
		e.Data = append(e.Data, event.Field{Name: data[i], Value: data[i+1]})
	}
	normalize.Event(e)
	l.events = append(l.events, e)
	return e
}

func (l *log) sysmon(id uint32, after time.Duration, data ...string) *event.Event {
	return l.add("Microsoft-Windows-Sysmon", "Microsoft-Windows-Sysmon/Operational", id, after, data...)
}

func (l *log) security(id uint32, after time.Duration, data ...string) *event.Event {
	return l.add("Microsoft-Windows-Security-Auditing", "Security", id, after, data...)
}

func (l *log) world() *World {
	w := New(Limits{})
	for _, e := range l.events {
		w.Add(e)
	}
	return w
}

func guid(seq int) string {
	return fmt.Sprintf("{3f5c91a7-0000-6900-%02x%02x-000000000800}", seq&0xff, seq>>8)
}

func TestProcessIDsAreReused(t *testing.T) {
	var l log
	l.sysmon(1, 0, "ProcessGuid", guid(1), "ProcessId", "100", "Image", `C:\a.exe`)
	l.sysmon(5, 10*time.Second, "ProcessGuid", guid(1), "ProcessId", "100", "Image", `C:\a.exe`)
	l.security(4688, 60*time.Second, "NewProcessId", "0x64", "NewProcessName", `C:\b.exe`, "ProcessId", "0x4")
	w := l.world()
	for _, c := range []struct {
		after time.Duration
		want  string
	}{
		{-time.Minute, ""},
		{time.Second, `C:\a.exe`},
		{10500 * time.Millisecond, `C:\a.exe`},
		{30 * time.Second, ""},
		{60 * time.Second, `C:\b.exe`},
		{time.Hour, `C:\b.exe`},
	} {
		got := ""
		if p := w.At("pc", 100, t0.Add(c.after)); p != nil {
			got = p.Image
		}
		if got != c.want {
			t.Errorf("at %v process 100 is %q, want %q", c.after, got, c.want)
		}
	}
	if w.At("PC", 0, t0) != nil {
		t.Error("process 0 is somebody")
	}
}

func TestSysmonAndSecurityAreOneProcess(t *testing.T) {
	var l log
	l.security(4688, 3*time.Millisecond, "NewProcessId", "0x64", "NewProcessName", `C:\a.exe`, "ProcessId", "0x32", "CommandLine", "a.exe x", "MandatoryLabel", "S-1-16-8192")
	l.sysmon(1, 0, "ProcessGuid", guid(1), "ProcessId", "100", "Image", `C:\A.exe`, "ParentProcessGuid", guid(2), "ParentProcessId", "50", "ParentImage", `C:\p.exe`, "ParentCommandLine", "p.exe")
	w := l.world()
	if n := len(w.Processes()); n != 2 {
		t.Fatalf("%d processes, want the process and its parent", n)
	}
	p := w.ByGUID("PC", guid(1))
	if p == nil || len(p.Evidence) != 2 || p.CommandLine != "a.exe x" || p.Integrity != "Medium" || p.Implied {
		t.Fatalf("got %+v", p)
	}
	if p.Parent == nil || !p.Parent.Implied || !p.ParentByGUID || p.Parent.Image != `C:\p.exe` || p.Parent.CommandLine != "p.exe" {
		t.Fatalf("the parent is %+v", p.Parent)
	}
	if got := w.ByStartKey("PC", p.StartKey); got != p || p.StartKey != 8<<48|1 {
		t.Fatalf("start key %x finds %v", p.StartKey, got)
	}
}

func TestSecurityAloneImpliesOneParentOfAll(t *testing.T) {
	var l log
	for i := range 5 {
		l.security(4688, time.Duration(i)*time.Second, "NewProcessId", fmt.Sprintf("0x%x", 200+i), "NewProcessName", `C:\a.exe`, "ProcessId", "0x32", "ParentProcessName", `C:\p.exe`)
	}
	w := l.world()
	parents := map[*Process]bool{}
	for _, p := range w.Processes() {
		if p.Parent != nil {
			parents[p.Parent] = true
		}
	}
	if len(parents) != 1 || len(w.Processes()) != 6 {
		t.Fatalf("%d parents, %d processes", len(parents), len(w.Processes()))
	}
}

func TestLettersOfVolumes(t *testing.T) {
	attach := func(l *log, after time.Duration, serial string) {
		l.add("Microsoft-Windows-Partition", "Microsoft-Windows-Partition/Diagnostic", 1006, after,
			"SerialNumber", serial, "BusType", "7", "Capacity", "1000", "ParentId", `USB\VID_1&PID_2\`+serial)
	}
	run := func(l *log, after time.Duration, image string) {
		l.sysmon(1, after, "ProcessGuid", guid(100+len(l.events)), "ProcessId", "7", "Image", image)
	}
	t.Run("first use", func(t *testing.T) {
		var l log
		run(&l, 0, `D:\tools\x.exe`) // another drive
		attach(&l, time.Minute, "AAA")
		run(&l, 2*time.Minute, `D:\tools\x.exe`)
		run(&l, 3*time.Minute, `E:\x.exe`)
		attach(&l, 4*time.Minute, "BBB")
		run(&l, 5*time.Minute, `F:\x.exe`)
		w := l.world()
		for letter, want := range map[byte]string{'d': "", 'e': "AAA", 'f': "BBB"} {
			got := ""
			for _, m := range w.MountAt("PC", letter, t0.Add(6*time.Minute)) {
				got += m.Volume.Serial
				if m.Guessed {
					t.Errorf("%c: is a guess", letter)
				}
			}
			if got != want {
				t.Errorf("%c: is %q, want %q", letter, got, want)
			}
		}
		if len(w.MountAt("PC", 'e', t0)) != 0 {
			t.Error("E: was there before its volume")
		}
	})
	t.Run("ambiguous", func(t *testing.T) {
		var l log
		attach(&l, 0, "AAA")
		attach(&l, time.Second, "BBB")
		run(&l, time.Minute, `E:\x.exe`)
		mounts := l.world().MountAt("PC", 'e', t0.Add(time.Hour))
		if len(mounts) != 2 || !mounts[0].Guessed || !mounts[1].Guessed {
			t.Fatalf("%d mounts", len(mounts))
		}
	})
	t.Run("named", func(t *testing.T) {
		var l log
		attach(&l, 0, "AAA")
		attach(&l, time.Second, "BBB")
		l.sysmon(13, 2*time.Second, "EventType", "SetValue", "Image", "System", "Details", `E:\`,
			"TargetObject", `HKLM\System\CurrentControlSet\Enum\SWD\WPDBUSENUM\_??_USBSTOR#Disk&Ven_X&Prod_Y&Rev_1#BBB&0#{53f56307-b6bf-11d0-94f2-00a0c91efb8b}\FriendlyName`)
		run(&l, time.Minute, `E:\x.exe`)
		mounts := l.world().MountAt("PC", 'e', t0.Add(time.Hour))
		if len(mounts) != 1 || mounts[0].Volume.Serial != "BBB" || !mounts[0].Certain {
			t.Fatalf("%d mounts", len(mounts))
		}
	})
	given := func(l *log, after time.Duration, letter string) {
		l.sysmon(13, after, "EventType", "SetValue", "Image", "System", "Details", "Binary Data", "TargetObject", `HKLM\System\MountedDevices\\DosDevices\`+letter+`:`)
	}
	friendly := func(l *log, after time.Duration, serial, letter string) {
		l.sysmon(13, after, "EventType", "SetValue", "Image", "System", "Details", letter+`:\`,
			"TargetObject", `HKLM\System\CurrentControlSet\Enum\SWD\WPDBUSENUM\_??_USBSTOR#Disk&Ven_X&Prod_Y&Rev_1#`+serial+`&0#{53f56307-b6bf-11d0-94f2-00a0c91efb8b}\FriendlyName`)
	}
	serials := func(w *World, letter byte, after time.Duration) string {
		got := ""
		for _, m := range w.MountAt("PC", letter, t0.Add(after)) {
			got += m.Volume.Serial
			if m.Guessed {
				got += "?"
			}
		}
		return got
	}
	t.Run("the mount manager's letter is no use of it", func(t *testing.T) {
		for name, c := range map[string]struct {
			log  func(*log)
			want string
		}{
			"before the device": {func(l *log) {
				given(l, 0, "E")
				attach(l, time.Second, "AAA")
			}, "AAA"},
			"after the device": {func(l *log) {
				attach(l, 0, "AAA")
				given(l, time.Second, "E")
			}, "AAA"},
			"of the stick just attached, not of one that waits": {func(l *log) {
				attach(l, 0, "AAA")
				attach(l, time.Minute, "BBB")
				given(l, time.Minute+time.Second, "E")
			}, "BBB"},
			"another drive's before": {func(l *log) {
				run(l, 0, `E:\x.exe`)
				attach(l, time.Minute, "AAA")
				given(l, time.Minute+time.Second, "E")
			}, "AAA"},
			"an image file's": {func(l *log) {
				attach(l, 0, "AAA")
				given(l, time.Minute, "E")
				run(l, 2*time.Minute, `E:\x.exe`)
			}, ""},
			"the name decides": {func(l *log) {
				attach(l, 0, "AAA")
				attach(l, time.Second, "BBB")
				given(l, 2*time.Second, "E")
				run(l, 3*time.Second, `E:\x.exe`)
				friendly(l, 4*time.Second, "BBB", "E")
			}, "BBB"},
		} {
			var l log
			c.log(&l)
			if got := serials(l.world(), 'e', 5*time.Minute); got != c.want {
				t.Errorf("%s: E: is %q, want %q", name, got, c.want)
			}
		}
	})
	t.Run("a record names it before it is used", func(t *testing.T) {
		var l log
		attach(&l, 0, "AAA")
		attach(&l, time.Second, "BBB")
		run(&l, 2*time.Second, `E:\x.exe`)
		friendly(&l, 3*time.Second, "AAA", "E")
		w := l.world()
		if got := serials(w, 'e', 2*time.Second); got != "AAA" {
			t.Errorf("E: is %q", got)
		}
	})
	t.Run("keyboards are no volumes", func(t *testing.T) {
		var l log
		l.security(6416, 0, "DeviceId", `USB\VID_046D&PID_C31C\6&1&0&3`, "ClassName", "Keyboard")
		l.security(6416, 0, "DeviceId", `SWD\PRINTENUM\{32FB2173-1}`, "ClassName", "PrintQueue")
		if n := len(l.world().Volumes()); n != 0 {
			t.Fatalf("%d volumes", n)
		}
	})
}

func TestGaps(t *testing.T) {
	var l log
	for i := range 10 {
		l.sysmon(3, time.Duration(i)*time.Minute, "ProcessGuid", guid(1))
	}
	l.events = append(l.events[:4], l.events[6:]...) // records 5 and 6
	l.security(1102, time.Hour)
	w := l.world()
	reasons := map[string]int{}
	for _, g := range w.Gaps() {
		reasons[g.Reason] += max(g.Count, 1)
	}
	if reasons["record-hole"] != 2 || reasons["log-cleared"] != 1 {
		t.Fatalf("got %v", reasons)
	}
	for _, g := range w.Gaps() {
		if want := map[string]string{"log-cleared": "Security", "record-hole": "Microsoft-Windows-Sysmon/Operational"}[g.Reason]; g.Channel != want {
			t.Errorf("%s of %q, want %q", g.Reason, g.Channel, want)
		}
	}
	if n := len(w.GapsWithin("pc", t0.Add(7*time.Minute), t0.Add(8*time.Minute))); n != 0 {
		t.Errorf("%d gaps outside the hole", n)
	}
	if n := len(w.GapsWithin("pc", t0.Add(4*time.Minute), t0.Add(5*time.Minute))); n != 1 {
		t.Errorf("%d gaps at the hole", n)
	}
}

func TestTwoFilesFillEachOthersHoles(t *testing.T) {
	var l log
	for i := range 10 {
		l.sysmon(3, time.Duration(i)*time.Minute, "ProcessGuid", guid(1))
	}
	w := New(Limits{})
	for i, e := range l.events {
		if i != 5 {
			w.Add(e)
		}
		other := *e
		other.Ref.File = "g"
		if i == 5 || i == 0 || i == 9 {
			w.Add(&other)
		}
	}
	if g := w.Gaps(); len(g) != 0 {
		t.Fatalf("got %v", g)
	}
	if w.Repeated() != 2 {
		t.Fatalf("%d repeated, want 2", w.Repeated())
	}
}

func TestServicesAndTasks(t *testing.T) {
	var l log
	l.add("Service Control Manager", "System", 7045, 0, "ServiceName", "Svc", "ImagePath", `C:\x.exe`, "ServiceType", "user mode service")
	l.sysmon(13, time.Second, "EventType", "SetValue", "Image", `C:\Windows\System32\reg.exe`, "TargetObject", `HKLM\System\CurrentControlSet\Services\svc\Parameters\ServiceDll`, "Details", `C:\x.dat`)
	l.security(4698, 2*time.Second, "TaskName", `\A\B`, "TaskContent", "<?xml version=\"1.0\" encoding=\"UTF-16\"?><Task xmlns=\"http://schemas.microsoft.com/windows/2004/02/mit/task\"><Actions Context=\"Author\"><Exec><Command>C:\\y.exe</Command><Arguments>/z</Arguments></Exec></Actions></Task>")
	l.sysmon(11, 3*time.Second, "ProcessGuid", guid(1), "Image", `C:\Windows\System32\svchost.exe`, "TargetFilename", `C:\Windows\System32\Tasks\A\B`)
	w := l.world()
	s := w.Services()
	if len(s) != 1 || s[0].ImagePath != `C:\x.exe` || s[0].DLL != `C:\x.dat` || len(s[0].Installs) != 2 {
		t.Fatalf("services: %+v", s)
	}
	ts := w.Tasks()
	if len(ts) != 1 || ts[0].Name != `A\B` || len(ts[0].Registers) != 2 || len(ts[0].Commands) != 1 || ts[0].Commands[0] != `C:\y.exe /z` {
		t.Fatalf("tasks: %+v", ts)
	}
}

func TestOrderAndRepetitionDoNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var l log
		for range rapid.IntRange(1, 40).Draw(t, "n") {
			after := time.Duration(rapid.IntRange(0, 30).Draw(t, "after")) * 500 * time.Millisecond
			seq, pid := rapid.IntRange(1, 6).Draw(t, "seq"), rapid.IntRange(1, 4).Draw(t, "pid")
			image := fmt.Sprintf(`C:\%d.exe`, rapid.IntRange(1, 3).Draw(t, "image"))
			parent := rapid.IntRange(0, 6).Draw(t, "parent")
			switch rapid.IntRange(0, 3).Draw(t, "kind") {
			case 0:
				l.sysmon(1, after, "ProcessGuid", guid(seq), "ProcessId", fmt.Sprint(pid), "Image", image, "ParentProcessGuid", guid(parent), "ParentProcessId", fmt.Sprint(parent))
			case 1:
				l.security(4688, after, "NewProcessId", fmt.Sprintf("0x%x", pid), "NewProcessName", image, "ProcessId", fmt.Sprintf("0x%x", parent))
			case 2:
				l.sysmon(5, after, "ProcessGuid", guid(seq), "ProcessId", fmt.Sprint(pid), "Image", image)
			case 3:
				l.security(4689, after, "ProcessId", fmt.Sprintf("0x%x", pid), "ProcessName", image)
			}
		}
		describe := func(w *World) (s string) {
			for _, p := range w.Processes() {
				parent := ""
				if p.Parent != nil {
					parent = p.Parent.Key
				}
				s += fmt.Sprintln(p.Key, p.PID, p.Image, p.Start, p.End, p.Implied, parent, p.ParentByGUID, p.First, p.Last, p.Evidence)
			}
			return s
		}
		want := describe(l.world())
		r := rand.New(rand.NewPCG(uint64(rapid.IntRange(0, 1<<30).Draw(t, "shuffle")), 0))
		w := New(Limits{})
		for _, n := range append(r.Perm(len(l.events)), r.Perm(len(l.events))...) {
			w.Add(l.events[n])
			if r.IntN(8) == 0 {
				w.Processes() // asking in between changes nothing
			}
		}
		if got := describe(w); got != want {
			t.Fatalf("in another order, twice:\n%s\nwant\n%s", got, want)
		}
	})
}

func TestDeviceNames(t *testing.T) {
	access := func(l *log, after time.Duration, pid, device, path string) {
		l.security(4663, after, "ObjectType", "File", "ObjectName", `\Device\HarddiskVolume`+device+path, "ProcessId", pid, "AccessMask", "0x1").Task = removableTask
	}
	attach := func(l *log, after time.Duration, serial string) {
		l.security(6416, after, "DeviceId", `USBSTOR\Disk&Ven_Some&Prod_Flash_Disk&Rev_1\`+serial+`&0`, "DeviceDescription", "Disk drive", "ClassName", "DiskDrive")
	}
	start := func(l *log, after time.Duration, pid, cmd string) {
		l.security(4688, after, "NewProcessId", pid, "NewProcessName", `C:\Windows\System32\wscript.exe`, "ProcessId", "0x4", "CommandLine", cmd)
	}
	var l log
	attach(&l, 0, "AAA")
	access(&l, time.Second, "0x77", "6", `\Disk.lnk`)
	start(&l, 2*time.Second, "0x64", `wscript "E:\d\A.vbs"`)
	access(&l, 3*time.Second, "0x64", "6", `\d\a.vbs`)
	access(&l, 4*time.Second, "0x64", "3", `\d\a.vbs.bak`)
	attach(&l, time.Minute, "BBB")
	access(&l, 2*time.Minute, "0x64", "7", `\x.lnk`)
	w := l.world()
	for path, want := range map[string]string{
		`\Device\HarddiskVolume6\Disk.lnk`: `e:\disk.lnk`,
		`\Device\HarddiskVolume3\d\a.vbs`:  `\device\harddiskvolume3\d\a.vbs`,
		`\Device\HarddiskVolume7\x.lnk`:    `\device\harddiskvolume7\x.lnk`,
	} {
		if got := w.PathOn("pc", path); got != want {
			t.Errorf("PathOn(%q) = %q, want %q", path, got, want)
		}
	}
	m, sure := w.DeviceMount("PC", `\Device\HarddiskVolume7\x.lnk`, t0.Add(2*time.Minute))
	if m == nil || m.Volume.Serial != "BBB" || !sure || m.Volume.Model != "Some Flash Disk" {
		t.Errorf("device 7 is %+v, sure %v", m, sure)
	}
	// A volume of a lower number, or the only one there is, may have been there
	// before recording began.
	var single log
	attach(&single, 0, "AAA")
	access(&single, time.Second, "0x77", "6", `\Disk.lnk`)
	if m, sure := single.world().DeviceMount("PC", `\Device\HarddiskVolume6\`, t0.Add(time.Second)); m == nil || sure {
		t.Errorf("the only device is %+v, sure %v", m, sure)
	}
	if m, _ := single.world().DeviceMount("PC", `\Device\HarddiskVolume9\`, t0.Add(time.Second)); m != nil {
		t.Error("a device that no record has is known")
	}
	// Two that could be meant are none.
	var two log
	attach(&two, 0, "AAA")
	attach(&two, time.Second, "BBB")
	access(&two, 2*time.Second, "0x77", "6", `\Disk.lnk`)
	if m, _ := two.world().DeviceMount("PC", `\Device\HarddiskVolume6\`, t0.Add(2*time.Second)); m != nil {
		t.Errorf("one of two: %+v", m)
	}
}

func TestLetterOf(t *testing.T) {
	for text, want := range map[string]byte{
		`wscript "e:\d\a.vbs"`: 'e', `e:\d\a.vbs`: 'e', `x e:/d/a.vbs /y`: 'e', `x e:\d\a.vbsx f:\d\a.vbs`: 'f',
		`he:\d\a.vbs`: 0, `\d\a.vbs`: 0, `:\d\a.vbs`: 0, ``: 0,
	} {
		if got := letterOf(text, `\d\a.vbs`); got != want {
			t.Errorf("letterOf(%q) = %q, want %q", text, got, want)
		}
	}
}

func TestAServiceRegisteredAgainIsAnother(t *testing.T) {
	install := func(l *log, after time.Duration, image string) {
		l.sysmon(13, after-time.Second, "EventType", "SetValue", "Image", `C:\Windows\System32\services.exe`, "TargetObject", `HKLM\System\CurrentControlSet\Services\psexesvc\ImagePath`, "Details", image)
		l.add("Service Control Manager", "System", 7045, after, "ServiceName", "PSEXESVC", "ImagePath", image)
		l.security(4697, after+time.Second, "ServiceName", "PSEXESVC", "ServiceFileName", image)
	}
	var l log
	install(&l, time.Minute, `C:\a.exe`)
	install(&l, time.Hour, `C:\b.exe`)
	l.sysmon(13, 2*time.Hour, "EventType", "SetValue", "Image", "sc.exe", "TargetObject", `HKLM\System\CurrentControlSet\Services\psexesvc\ImagePath`, "Details", `C:\c.exe`)
	s := l.world().Services()
	if len(s) != 2 || s[0].ImagePath != `C:\a.exe` || s[1].ImagePath != `C:\c.exe` || len(s[0].Installs) != 3 || len(s[1].Installs) != 4 {
		t.Fatalf("%d services: %+v", len(s), s)
	}
	if !s[0].Until.Equal(s[1].From) || !s[1].Until.IsZero() {
		t.Errorf("from %v until %v, then from %v until %v", s[0].From, s[0].Until, s[1].From, s[1].Until)
	}
}

// FuzzGUID holds that what is read as a GUID says the same written otherwise.
func FuzzGUID(f *testing.F) {
	f.Add("{81056205-5686-64dc-3b04-000000000800}")
	f.Add("81056205568664dc3b04000000000800")
	f.Add("{}")
	f.Fuzz(func(t *testing.T, s string) {
		b, ok := guidBytes(s)
		if !ok {
			return
		}
		again, ok := guidBytes(fmt.Sprintf("{%X}", b[:]))
		if !ok || again != b {
			t.Fatalf("%q gives %x, written again %x", s, b, again)
		}
	})
}

// TestHolesOfOneFileAreThoseOfTwo holds that the short way through a log of one
// file finds what the general one does: a second file that holds nothing new of
// the log changes nothing.
func TestHolesOfOneFileAreThoseOfTwo(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var l log
		for range rapid.IntRange(2, 30).Draw(t, "n") {
			e := l.sysmon(3, time.Duration(rapid.IntRange(0, 60).Draw(t, "after"))*time.Second, "ProcessGuid", guid(1))
			e.Ref.RecordID = uint64(rapid.IntRange(1, 20).Draw(t, "id"))
		}
		one := l.world()
		two := l.world()
		again := *l.events[0]
		again.Ref.File = "g"
		two.Add(&again)
		if a, b := fmt.Sprint(one.Gaps()), fmt.Sprint(two.Gaps()); a != b {
			t.Fatalf("one file: %s\ntwo: %s", a, b)
		}
	})
}

// TestAddFromManyPlaces holds that events may be added by several goroutines at
// once, whatever the number of them and of hosts and processors, and that the
// World is the one of a single goroutine.
func TestAddFromManyPlaces(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	var l log
	for n := range 3000 {
		host := fmt.Sprintf("Host%d", n%13)
		var e *event.Event
		if n%3 != 0 {
			e = l.start(time.Duration(n)*time.Second, 1+n%200, n%50)
		} else {
			e = l.by(3, time.Duration(n)*time.Second, 1+n%200, "DestinationIp", fmt.Sprint(n), "Initiated", "true")
		}
		if n%2 == 0 {
			host = strings.ToUpper(host)
		}
		e.Host, e.Ref.Host = host, host
	}
	limits := Limits{HostBytes: MinHostBytes}
	one := New(limits)
	for _, e := range l.events {
		one.Add(e)
	}
	want := describeWorld(one)
	r := rand.New(rand.NewPCG(7, 7))
	for goroutines := 1; goroutines <= 16; goroutines++ {
		runtime.GOMAXPROCS(1 + goroutines%4)
		w := New(limits)
		var wait sync.WaitGroup
		order := r.Perm(len(l.events))
		for g := range goroutines {
			wait.Go(func() {
				for i := g; i < len(order); i += goroutines {
					w.Add(l.events[order[i]])
				}
			})
		}
		wait.Wait()
		for _, s := range w.stores {
			s.holes = 0 // out of order every number is a hole at first
		}
		if diff := cmp.Diff(want, describeWorld(w)); diff != "" {
			t.Fatalf("%d goroutines:\n%s", goroutines, diff)
		}
	}
}

func TestFiledTask(t *testing.T) {
	for path, want := range map[string]string{
		`C:\Windows\System32\Tasks\Vendor\Update`:      `Vendor\Update`,
		`c:\WINDOWS\system32\tasks\A b `:               `A b `,
		`\\?\C:\Windows\System32\Tasks\X`:              `X`,
		`C:\Windows\System32\Tasks\`:                   "",
		`C:\Windows \System32\Tasks\X`:                 "",
		`D:\copy\Windows\System32\Tasks\X`:             "",
		`C:\Windows\System32\Tasks_Migrated\Vendor\Up`: "",
		"": "",
	} {
		if got := FiledTask(path); got != want {
			t.Errorf("%q: got %q, want %q", path, got, want)
		}
	}
}

// TestLinuxPaths holds that a path of Linux keeps the letters and signs that it is
// told apart by.
func TestLinuxPaths(t *testing.T) {
	for _, tt := range []struct{ path, key, base, dir, ext string }{
		{"/tmp/.X/Run", "/tmp/.X/Run", "Run", "/tmp/.X", ""},
		{"/tmp/a\\b.SH", "/tmp/a\\b.SH", "a\\b.SH", "/tmp", ".sh"},
		{"/bin/bash", "/usr/bin/bash", "bash", "/usr/bin", ""},
		{"/usr/bin/bash", "/usr/bin/bash", "bash", "/usr/bin", ""},
		{"/var/run/x.pid", "/run/x.pid", "x.pid", "/run", ".pid"},
		{"/dev/shm/k (deleted)", "/dev/shm/k", "k", "/dev/shm", ""},
		{"/tmp/a b ", "/tmp/a b ", "a b ", "/tmp", ""},
		{"/", "/", "", "", ""},
		{"/init", "/init", "init", "", ""},
	} {
		key := PathKey(tt.path)
		if key != tt.key || Base(key) != tt.base || Dir(key) != tt.dir || Ext(key) != tt.ext {
			t.Errorf("%q is %q, %q in %q, %q", tt.path, key, Base(key), Dir(key), Ext(key))
		}
	}
	if PathKey(`C:/Temp/A`) != `c:\temp\a` {
		t.Error("a path of Windows with slashes is another one now")
	}
	if a, b := CommandKey("/bin/sh  -c  X"), CommandKey("/usr/bin/sh -c X"); a != b || a == CommandKey("/bin/sh -c x") {
		t.Errorf("%q, %q", a, b)
	}
}
