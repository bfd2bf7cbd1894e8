package provenance

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"ashiato/internal/event"
	"ashiato/internal/world"
)

// sensor writes a record of the endpoint sensor; by is the process that did it, 0
// for none.
func (l *log) sensor(id uint32, by int, image string, data ...string) *event.Event {
	var who []string
	if by > 0 {
		who = []string{"ProcessGuid", guid(by), "ProcessId", fmt.Sprint(1000 + by), "Image", image}
	}
	return l.add("Ashiato-Sensor", "Ashiato-Sensor/Operational", id, append(who, data...)...)
}

func (l *log) stick(id uint32, letter, serial string, more ...string) *event.Event {
	return l.sensor(id, 0, "", append([]string{
		"DriveLetter", letter, "DevicePath", `\Device\HarddiskVolume9`, "DeviceId", `USBSTOR\Disk&Ven_A&Prod_B\` + serial + "&0",
		"SerialNumber", serial, "BusType", "USB", "Removable", "true", "VolumeName", "WORK",
	}, more...)...)
}

const (
	wscript = `C:\Windows\System32\wscript.exe`
	worker  = `C:\Users\a\w.exe`
)

func TestSensorJoins(t *testing.T) {
	for _, c := range []struct {
		name      string
		log       func(*log)
		want, not []string
	}{
		{
			"a record states whose letter it is", func(l *log) {
				l.stick(100, "E:", "S1")
				l.sensor(1, 5, `E:\a.exe`, "CommandLine", `E:\a.exe`, "ParentProcessGuid", guid(1), "ParentImage", explorer)
				l.stick(101, "E:", "S1")
				l.stick(100, "E:", "S2")
				l.sensor(1, 6, `E:\b.exe`, "CommandLine", `E:\b.exe`, "ParentProcessGuid", guid(1), "ParentImage", explorer)
			},
			[]string{"E: contains a.exe A path-on-volume", "E: contains b.exe A path-on-volume", "a.exe executed a.exe B image-path"},
			nil,
		},
		{
			"a volume that is built in is none, whatever is attached then", func(l *log) {
				l.attach("SER1")
				l.sensor(100, 0, "", "DriveLetter", "E:", "DeviceId", `SCSI\Disk&Ven_A\4&1`, "SerialNumber", "X", "BusType", "SATA", "Removable", "false")
				l.sensor(1, 5, `E:\a.exe`, "CommandLine", `E:\a.exe`, "ParentProcessGuid", guid(1), "ParentImage", explorer)
			},
			nil,
			[]string{"A B contains a.exe B path-on-volume", "E: contains a.exe B path-on-volume", "E: contains a.exe A path-on-volume"},
		},
		{
			"the audit's device name is the letter's", func(l *log) {
				l.stick(100, "F:", "S1")
				l.start(3, 2, worker, "w", cmdExe)
				l.access(3, 0x100, `\Device\HarddiskVolume9\Photos\a.jpg`)
			},
			[]string{"w.exe hid F: A path-on-volume"},
			nil,
		},
		{
			"a data file gets a module's name and is loaded", func(l *log) {
				l.start(3, 2, cmdExe, "cmd", worker)
				l.sensor(11, 3, cmdExe, "TargetFilename", `C:\x\a.dat`)
				l.sensor(110, 3, cmdExe, "SourceFilename", `C:\x\a.dat`, "TargetFilename", `C:\x\a.dll`, "IsExecutable", "true")
				l.start(4, 3, `C:\x\host.exe`, "host", cmdExe)
				l.sensor(7, 4, `C:\x\host.exe`, "ImageLoaded", `C:\x\a.dll`)
			},
			[]string{
				"cmd.exe wrote a.dat A own-record", "a.dat renamed a.dll A own-record", "cmd.exe renamed a.dll A own-record",
				"a.dll loaded host.exe B file-written-then-loaded",
			},
			[]string{"cmd.exe wrote a.dll A own-record"},
		},
		{
			"a program of unknown making gets another name", func(l *log) {
				l.start(3, 2, cmdExe, "cmd", worker)
				l.sensor(110, 3, cmdExe, "SourceFilename", `C:\x\a.tmp`, "TargetFilename", `C:\x\a.exe`)
				l.start(4, 3, `C:\x\a.exe`, "a", cmdExe)
			},
			[]string{"a.tmp renamed a.exe A own-record", "a.exe executed a.exe B file-written-then-executed"},
			nil,
		},
		{
			"a document is saved by renaming: everybody's day", func(l *log) {
				l.start(3, 2, `C:\Program Files\w.exe`, "w", cmdExe)
				l.sensor(11, 3, `C:\Program Files\w.exe`, "TargetFilename", `C:\u\~1.tmp`)
				l.sensor(110, 3, `C:\Program Files\w.exe`, "SourceFilename", `C:\u\~1.tmp`, "TargetFilename", `C:\u\a.docx`)
			},
			nil,
			[]string{"~1.tmp renamed a.docx A own-record", "w.exe renamed a.docx A own-record"},
		},
		{
			"files are moved and hidden on a stick, one fact of it; shown again is not hidden", func(l *log) {
				l.stick(100, "F:", "S1")
				l.start(3, 2, worker, "w", cmdExe)
				for i := range 3 {
					name := fmt.Sprintf(`\a%d.jpg`, i)
					l.sensor(110, 3, worker, "SourceFilename", `F:\Photos`+name, "TargetFilename", `F:\X`+name)
					l.sensor(111, 3, worker, "TargetFilename", `F:\X`+name, "AttributesAdded", "Hidden System")
				}
				l.start(4, 2, `C:\Users\a\show.exe`, "s", cmdExe)
				l.sensor(111, 4, `C:\Users\a\show.exe`, "TargetFilename", `F:\X\a0.jpg`, "AttributesRemoved", "Hidden System")
				l.sensor(111, 4, `C:\Users\a\show.exe`, "TargetFilename", `F:\X\a0.jpg`, "AttributesAdded", "Archive")
				l.sensor(110, 4, `C:\Users\a\show.exe`, "SourceFilename", `F:\X\a0.tmp`, "TargetFilename", `F:\X\a0.jpg`)
			},
			[]string{"w.exe hid F: A path-on-volume"},
			[]string{"show.exe hid F: A path-on-volume"},
		},
		{
			"a shortcut on a stick leads to the script, though it remembers another letter", func(l *log) {
				l.stick(100, "E:", "S1")
				l.start(2, 1, explorer, "explorer", `C:\Windows\System32\userinit.exe`)
				l.sensor(112, 2, explorer, "TargetFilename", `E:\Photos.lnk`, "Operation", "opened", "LinkTarget", `D:\d\a.vbs`)
				l.sensor(1, 5, wscript, "CommandLine", `wscript.exe "E:\d\a.vbs"`, "ParentProcessGuid", guid(2), "ParentImage", explorer)
				// Another start of that time by the same shell.
				l.sensor(1, 6, `C:\Windows\System32\notepad.exe`, "CommandLine", `notepad.exe`, "ParentProcessGuid", guid(2), "ParentImage", explorer)
			},
			[]string{
				"E: contains Photos.lnk A path-on-volume", "Photos.lnk opened wscript.exe B shortcut-target",
				"[explorer.exe opened Photos.lnk A own-record]", "a.vbs interpreted wscript.exe B argument-path",
			},
			[]string{"Photos.lnk opened notepad.exe B shortcut-target"},
		},
		{
			"a shortcut to a script host, by its arguments", func(l *log) {
				l.stick(100, "E:", "S1")
				l.start(2, 1, explorer, "explorer", `C:\Windows\System32\userinit.exe`)
				l.sensor(112, 2, explorer, "TargetFilename", `E:\Photos.lnk`, "Operation", "opened",
					"LinkTarget", `%windir%\System32\wscript.exe`, "LinkArguments", `//b x.vbs`)
				l.sensor(1, 4, wscript, "CommandLine", `wscript.exe other.vbs`, "ParentProcessGuid", guid(2), "ParentImage", explorer)
				l.sensor(1, 5, wscript, "CommandLine", `"C:\Windows\System32\wscript.exe" //b x.vbs`, "ParentProcessGuid", guid(2), "ParentImage", explorer)
			},
			[]string{"Photos.lnk opened wscript.exe B shortcut-target"},
			nil,
		},
		{
			"a shortcut that was always there is everybody's; one that was written is its writer's", func(l *log) {
				l.start(2, 1, explorer, "explorer", `C:\Windows\System32\userinit.exe`)
				l.sensor(112, 2, explorer, "TargetFilename", `C:\Users\a\Desktop\Old.lnk`, "Operation", "opened", "LinkTarget", `C:\p\old.exe`)
				l.sensor(1, 5, `C:\p\old.exe`, "CommandLine", `C:\p\old.exe`, "ParentProcessGuid", guid(2), "ParentImage", explorer)
				l.start(3, 2, worker, "w", cmdExe)
				l.sensor(11, 3, worker, "TargetFilename", `C:\Users\a\Desktop\New.lnk`)
				l.sensor(112, 2, explorer, "TargetFilename", `C:\Users\a\Desktop\New.lnk`, "Operation", "opened", "LinkTarget", `C:\p\new.exe`)
				l.sensor(1, 6, `C:\p\new.exe`, "CommandLine", `C:\p\new.exe`, "ParentProcessGuid", guid(2), "ParentImage", explorer)
			},
			[]string{"New.lnk opened new.exe B shortcut-target", "w.exe wrote New.lnk A own-record"},
			[]string{"Old.lnk opened old.exe B shortcut-target"},
		},
		{
			"another process reads the shortcut", func(l *log) {
				l.stick(100, "E:", "S1")
				l.start(2, 1, explorer, "explorer", `C:\Windows\System32\userinit.exe`)
				l.sensor(112, 9, `C:\scan.exe`, "TargetFilename", `E:\Photos.lnk`, "Operation", "opened", "LinkTarget", `E:\d\a.vbs`)
				l.sensor(1, 5, wscript, "CommandLine", `wscript.exe "E:\d\a.vbs"`, "ParentProcessGuid", guid(2), "ParentImage", explorer)
			},
			nil,
			[]string{"Photos.lnk opened wscript.exe B shortcut-target"},
		},
		{
			"who registered a service", func(l *log) {
				l.start(3, 2, worker, "w", cmdExe)
				_, key, _ := world.ParseGUID(guid(3))
				l.sensor(120, 0, "", "Change", "registered", "ServiceName", "Svc", "ImagePath", `C:\s.exe`, "ClientProcessStartKey", fmt.Sprint(key))
			},
			[]string{"w.exe registered Svc A start-key"},
			nil,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			var l log
			c.log(&l)
			got := facts(l.graph())
			for _, w := range c.want {
				if !slices.Contains(got, w) {
					t.Errorf("no %q in\n%s", w, strings.Join(got, "\n"))
				}
			}
			for _, n := range c.not {
				if slices.Contains(got, n) {
					t.Errorf("%q in\n%s", n, strings.Join(got, "\n"))
				}
			}
		})
	}
}

// TestSensorCounts holds that what the audit and the sensor both tell counts once.
func TestSensorCounts(t *testing.T) {
	var l log
	l.stick(100, "F:", "S1")
	l.start(3, 2, worker, "w", cmdExe)
	for i := range 3 {
		name := fmt.Sprintf(`\a%d.jpg`, i)
		l.access(3, 0x100, `\Device\HarddiskVolume9`+name)
		l.sensor(111, 3, worker, "TargetFilename", `F:`+name, "AttributesAdded", "Hidden")
	}
	for _, e := range l.graph().Edges() {
		if e.Verb == Hid && e.Count != 3 {
			t.Errorf("%d files were hidden, want 3", e.Count)
		}
	}
}

// TestResourceUse holds what of the measurements is told of a process.
func TestResourceUse(t *testing.T) {
	var l log
	l.start(3, 2, worker, "w", cmdExe)
	use := func(id uint32, percent, seconds string) {
		l.sensor(id, 3, worker, "Percent", percent, "Seconds", seconds)
	}
	use(130, "80", "600")
	use(130, "49.5", "4200")
	use(130, "49", "4200")
	use(131, "97", "600")
	use(130, "999", "99999999")
	use(130, "x", "99999999")
	use(130, "-5", "99999999")
	use(130, "50", "NaN")
	g := l.graph()
	var n *Node
	for _, x := range g.Nodes() {
		if x.Kind == Process && x.Label == "w.exe" {
			n = x
		}
	}
	for name, want := range map[string]string{CPUPercent: "49.5", CPUSeconds: "4200", GPUPercent: "97", GPUSeconds: "600"} {
		if got := n.Attr(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}

// TestSensorMarks holds where detections on the sensor's records point, and that
// marking twice adds nothing.
func TestSensorMarks(t *testing.T) {
	var l log
	l.stick(100, "E:", "S1")
	l.start(2, 1, explorer, "explorer", `C:\Windows\System32\userinit.exe`)
	opened := l.sensor(112, 2, explorer, "TargetFilename", `E:\Photos.lnk`, "Operation", "opened", "LinkTarget", `E:\d\a.vbs`)
	l.sensor(1, 5, wscript, "CommandLine", `wscript.exe "E:\d\a.vbs"`, "ParentProcessGuid", guid(2), "ParentImage", explorer)
	hidden := l.sensor(111, 5, wscript, "TargetFilename", `E:\a.jpg`, "AttributesAdded", "Hidden")
	local := l.sensor(111, 5, wscript, "TargetFilename", `C:\a.jpg`, "AttributesAdded", "Hidden")
	shown := l.sensor(111, 5, wscript, "TargetFilename", `C:\b.jpg`, "AttributesRemoved", "Hidden")
	busy := l.sensor(130, 5, wscript, "Percent", "50", "Seconds", "600")
	unseen := l.sensor(112, 2, explorer, "TargetFilename", `E:\Other.lnk`, "Operation", "opened", "LinkTarget", `E:\d\b.vbs`)
	g := l.graph()
	for _, c := range []struct {
		name  string
		event *event.Event
		node  string
		verbs string
	}{
		{"shortcut", opened, "Photos.lnk", "contains opened"},
		{"hidden on a stick", hidden, "wscript.exe", "hid"},
		{"hidden here", local, "a.jpg", "hid"},
		{"shown here", shown, "b.jpg", "configured"},
		{"busy", busy, "wscript.exe", ""},
		{"shortcut without a start", unseen, "Other.lnk", "contains"},
	} {
		m := g.Mark(c.event)
		var verbs []string
		for _, e := range m.Edges {
			verbs = append(verbs, e.Verb.String())
		}
		slices.Sort(verbs)
		if n := g.Node(m.Node); n.Label != c.node || strings.Join(verbs, " ") != c.verbs {
			t.Errorf("%s: marks %s by %q, want %s by %q", c.name, n.Label, verbs, c.node, c.verbs)
		}
		before := facts(g)
		counts := 0
		for _, e := range g.Edges() {
			counts += e.Count
		}
		g.Mark(c.event)
		after := 0
		for _, e := range g.Edges() {
			after += e.Count
		}
		if !slices.Equal(before, facts(g)) || counts != after {
			t.Errorf("%s: marking twice adds something", c.name)
		}
	}
}
