package incident_test

import (
	"strings"
	"testing"
	"time"

	"ashiato/internal/detect"
	"ashiato/internal/event"
	"ashiato/internal/i18n"
	"ashiato/internal/provenance"
)

// TestStoryOfUnits holds what is told of hand-offs by way of WMI, COM, BITS, the
// installer and remote shells: one incident each, with a sentence for who asked
// and one for what came of it.
func TestStoryOfUnits(t *testing.T) {
	const (
		explorer = `C:\Windows\explorer.exe`
		svchost  = `C:\Windows\System32\svchost.exe`
		wmiprvse = `C:\Windows\System32\wbem\WmiPrvSE.exe`
		msiexec  = `C:\Windows\System32\msiexec.exe`
		dcom     = `C:\Windows\System32\svchost.exe -k DcomLaunch`
		bad      = `C:\t\bad.exe`
	)
	logon := func(l *log) {
		l.security(4624, "TargetLogonId", "0xabc", "LogonType", "3", "IpAddress", "192.0.2.7", "IpPort", "50123", "TargetUserName", "mallory")
	}
	for _, c := range []struct {
		name string
		log  func(*log)
		want []string // of the sentences in English, in their order
		left string   // what is left behind
	}{
		{
			"a WMI operation from elsewhere", func(l *log) {
				logon(l)
				l.detect(l.start(5, 9, bad, "bad /x", wmiprvse, "LogonId", "0xabc"), detect.High, "")
			},
			[]string{"mallory (192.0.2.7) had WMI run bad /x on PC"},
			"",
		},
		{
			"a WMI event consumer", func(l *log) {
				l.start(2, 1, `C:\t\wmic.exe`, `wmic PATH CommandLineEventConsumer CREATE Name="Bot", CommandLineTemplate="bad /x"`, explorer)
				l.detect(l.sysmon(20, "Operation", "Created", "Name", ` "Bot"`, "Type", "Command Line", "Destination", ` "bad /x"`), detect.High, "")
				l.start(5, 9, bad, "bad /x", wmiprvse, "LogonId", "0x3e7")
			},
			[]string{"wmic.exe registered the WMI event consumer Bot, which runs bad /x", "The WMI event consumer Bot started bad.exe"},
			"consumer",
		},
		{
			"a WMI event consumer that was taken away again", func(l *log) {
				l.detect(l.sysmon(20, "Operation", "Created", "Name", ` "Bot"`, "Type", "Command Line", "Destination", ` "bad /x"`), detect.High, "")
				l.start(5, 9, bad, "bad /x", wmiprvse, "LogonId", "0x3e7")
				l.sysmon(20, "Operation", "Deleted", "Name", ` "Bot"`, "Type", "Command Line", "Destination", ` "bad /x"`)
			},
			[]string{"The WMI event consumer Bot started bad.exe"},
			"",
		},
		{
			"a COM server", func(l *log) {
				logon(l)
				l.start(5, 9, `C:\Windows\System32\mmc.exe`, "mmc.exe -Embedding", svchost, "ParentCommandLine", dcom, "LogonId", "0xabc")
				l.detect(l.start(6, 5, bad, "bad /x", `C:\Windows\System32\mmc.exe`), detect.High, "")
			},
			[]string{"mallory (192.0.2.7) had the COM server mmc.exe started on PC", "mmc.exe started bad.exe"},
			"",
		},
		{
			"a BITS job", func(l *log) {
				l.start(2, 1, `C:\t\a.exe`, "a", explorer)
				l.add("Microsoft-Windows-Bits-Client", "Microsoft-Windows-Bits-Client/Operational", 16403, "jobTitle", "J", "jobId", "{1}",
					"RemoteName", "http://192.0.2.1/x", "LocalName", bad, "processId", "1002")
				l.sysmon(11, "ProcessGuid", guid(9), "ProcessId", "1009", "Image", svchost, "TargetFilename", bad)
				l.detect(l.start(5, 1, bad, "bad /x", explorer), detect.High, "")
			},
			[]string{"a.exe had BITS transfer http://192.0.2.1/x", `The BITS job J wrote C:\t\bad.exe`},
			"",
		},
		{
			"an installer", func(l *log) {
				l.start(2, 1, `C:\t\a.exe`, "a", explorer)
				l.start(3, 2, msiexec, `msiexec /i C:\t\evil.msi`, `C:\t\a.exe`)
				l.add("MsiInstaller", "Application", 1040, "Data", `C:\t\evil.msi`, "Data", "1003")
				l.detect(l.start(5, 9, bad, "bad /x", msiexec, "ParentCommandLine", `C:\Windows\System32\msiexec.exe /V`), detect.High, "")
			},
			[]string{`msiexec.exe had Windows Installer run C:\t\evil.msi`, "The installation of evil.msi started bad.exe"},
			"",
		},
		{
			"a remote shell", func(l *log) {
				l.host = "A"
				l.start(2, 1, `C:\t\winrs.exe`, "winrs -r:B cmd", explorer)
				l.host = "B"
				l.start(5, 9, `C:\Windows\System32\winrshost.exe`, "winrshost -Embedding", svchost)
				l.detect(l.start(6, 5, bad, "bad /x", `C:\Windows\System32\winrshost.exe`), detect.High, "")
			},
			[]string{"winrs.exe opened a remote shell on B", "winrshost.exe started bad.exe"},
			"",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLog()
			c.log(l)
			g, incidents := l.judge()
			sound(t, g, incidents)
			if len(incidents) != 1 {
				t.Fatalf("%d incidents, want 1", len(incidents))
			}
			i := incidents[0]
			at := 0
			for _, s := range i.Story {
				if at < len(c.want) && i.Sentence(s, i18n.English) == c.want[at] {
					at++
				}
			}
			if at < len(c.want) {
				t.Errorf("no step %q in its place in\n%s", c.want[at], dump(i, i18n.English, i18n.Japanese, i18n.Korean))
			}
			var left []string
			for _, p := range i.Persistence {
				if p.Kind != "file" {
					left = append(left, p.Kind)
				}
			}
			if strings.Join(left, " ") != c.left {
				t.Errorf("left behind: %q, want %q", left, c.left)
			}
		})
	}
}

// TestAServiceThatWasChangedAndChangedBack holds that each run of a service is
// told by what it was to run then, and that nothing is left behind when it was
// made to run Windows' own program again.
func TestAServiceThatWasChangedAndChangedBack(t *testing.T) {
	const (
		sc       = `C:\Windows\System32\sc.exe`
		shell    = `powershell.exe -enc AAAA`
		own      = `C:\Windows\System32\fxssvc.exe`
		services = `C:\Windows\System32\services.exe`
	)
	for _, registry := range []bool{true, false} {
		for _, back := range []bool{true, false} {
			l := newLog()
			change := func(seq int, program string) *event.Event {
				e := l.start(seq, 1, sc, "sc config Fax binPath= \""+program+"\"", `C:\Windows\explorer.exe`)
				if registry {
					l.sysmon(13, "TargetObject", `HKLM\System\CurrentControlSet\Services\Fax\ImagePath`, "Details", program, "Image", services)
				}
				return e
			}
			l.detect(change(10, shell), detect.High, "service-persistence")
			l.clock += 10 * time.Second
			l.detect(l.start(11, 2, `C:\Windows\System32\WindowsPowerShell\v1.0\powershell.exe`, shell, services), detect.High, "")
			if back {
				l.clock += 10 * time.Second
				l.detect(change(12, own), detect.Low, "")
				l.clock += 10 * time.Second
				// The same command again, after the service runs something else.
				l.start(13, 2, `C:\Windows\System32\WindowsPowerShell\v1.0\powershell.exe`, shell, services)
			}
			g, incidents := l.judge()
			sound(t, g, incidents)
			if len(incidents) != 1 {
				t.Fatalf("registry %v, back %v: %d incidents", registry, back, len(incidents))
			}
			i := incidents[0]
			story := dump(i, i18n.English)
			want := []string{"sc.exe changed the service Fax, which runs " + shell, "The service Fax ran as powershell.exe"}
			if back {
				want = append(want, "sc.exe changed the service Fax, which runs "+own)
			}
			for _, w := range want {
				if !strings.Contains(story, w) {
					t.Errorf("registry %v, back %v: no step %q in\n%s", registry, back, w, story)
				}
			}
			if left := len(i.Persistence) > 0; left == back {
				t.Errorf("registry %v, back %v: left behind %v", registry, back, i.Persistence)
			}
			runs := 0
			for _, e := range g.Edges() {
				if e.Verb == provenance.RanAs && e.Class <= provenance.ClassB {
					runs++
				}
			}
			if runs != 1 {
				t.Errorf("registry %v, back %v: the service ran %d times", registry, back, runs)
			}
		}
	}
}

// TestTitlesOfServices holds that only a service that starts by itself persists.
func TestTitlesOfServices(t *testing.T) {
	for start, want := range map[string]string{"auto start": "persists as a service", "demand start": "ran a program as a service", "": "persists as a service"} {
		l := newLog()
		data := []string{"ServiceName", "Svc", "ImagePath", `C:\t\a.exe`, "AccountName", "LocalSystem"}
		if start != "" {
			data = append(data, "StartType", start)
		}
		e := l.add("Service Control Manager", "System", 7045, data...)
		l.detect(e, detect.High, "service-persistence")
		l.detect(l.start(5, 2, `C:\t\a.exe`, `C:\t\a.exe`, `C:\Windows\System32\services.exe`), detect.High, "credential-theft")
		_, incidents := l.judge()
		if title := incidents[0].Title(i18n.English); len(incidents) != 1 || !strings.Contains(title, want) {
			t.Errorf("start %q: %q, want %q", start, title, want)
		}
	}
}

// TestRunningWhereEndsAreRecorded holds that a process is said to be running only
// where its log shows the ends of processes.
func TestRunningWhereEndsAreRecorded(t *testing.T) {
	for _, ends := range []bool{true, false} {
		l := newLog()
		l.detect(l.start(10, 1, `C:\Windows\System32\cmd.exe`, "cmd", `C:\Windows\explorer.exe`), detect.High, "")
		l.start(11, 10, `C:\t\a.exe`, "a", `C:\Windows\System32\cmd.exe`)
		// The other log records ends, which says nothing of this one.
		l.security(4689, "ProcessId", "0x5", "ProcessName", `C:\other.exe`)
		if ends {
			l.sysmon(5, "ProcessGuid", guid(10), "ProcessId", "1010", "Image", `C:\Windows\System32\cmd.exe`)
		}
		_, incidents := l.judge()
		if running := len(incidents[0].Impact.Running); running != map[bool]int{true: 1, false: 0}[ends] {
			t.Errorf("ends recorded %v: %d running", ends, running)
		}
	}
}

// TestWhoClearedALog holds by what the clearing of a log joins an intrusion: a
// session from elsewhere, or a process of that session whose command line says
// so. That a person's session is the same makes the two related, no more.
func TestWhoClearedALog(t *testing.T) {
	const (
		cmd      = `C:\Windows\System32\cmd.exe`
		explorer = `C:\Windows\explorer.exe`
	)
	for _, c := range []struct {
		name      string
		log       func(*log)
		incidents int
		related   bool
	}{
		{"a session from elsewhere", func(l *log) {
			l.security(4624, "TargetLogonId", "0xabc", "LogonType", "10", "IpAddress", "192.0.2.7", "TargetUserName", "adm")
			l.detect(l.start(10, 1, cmd, "cmd", explorer, "LogonId", "0xabc"), detect.High, "")
			l.detect(l.security(1102, "SubjectLogonId", "0xabc", "SubjectUserName", "adm"), detect.High, "log-cleared")
		}, 1, false},
		{"a process whose command line names the log", func(l *log) {
			l.detect(l.start(10, 1, cmd, "cmd", explorer, "LogonId", "0xabc"), detect.High, "")
			l.start(11, 10, `C:\Windows\System32\wevtutil.exe`, "wevtutil cl security", cmd, "LogonId", "0xabc")
			l.detect(l.security(1102, "SubjectLogonId", "0xabc", "SubjectUserName", "adm"), detect.High, "log-cleared")
		}, 1, false},
		{"a process whose command line names a log that the System log tells of", func(l *log) {
			l.detect(l.start(10, 1, cmd, "cmd", explorer, "LogonId", "0xabc"), detect.High, "")
			l.start(11, 10, `C:\Windows\System32\wevtutil.exe`, "wevtutil cl Application", cmd, "LogonId", "0xabc")
			l.detect(l.add("Microsoft-Windows-Eventlog", "System", 104, "Channel", "Application", "SubjectUserName", "adm"), detect.High, "log-cleared")
		}, 1, false},
		{"a process that clears the log in which another's clearing is told", func(l *log) {
			l.detect(l.start(10, 1, cmd, "cmd", explorer, "LogonId", "0xabc"), detect.High, "")
			l.start(11, 10, `C:\Windows\System32\wevtutil.exe`, "wevtutil cl System", cmd, "LogonId", "0xabc")
			l.detect(l.add("Microsoft-Windows-Eventlog", "System", 104, "Channel", "Application", "SubjectUserName", "adm"), detect.High, "log-cleared")
		}, 2, false},
		{"by PowerShell", func(l *log) {
			l.detect(l.start(10, 1, cmd, "cmd", explorer, "LogonId", "0xabc"), detect.High, "")
			l.start(11, 10, `C:\Windows\System32\WindowsPowerShell\v1.0\powershell.exe`, `powershell -c "Clear-EventLog -LogName Application,Security"`, cmd, "LogonId", "0xabc")
			l.detect(l.security(1102, "SubjectLogonId", "0xabc", "SubjectUserName", "adm"), detect.High, "log-cleared")
		}, 1, false},
		{"another log, another session, long before", func(l *log) {
			l.detect(l.start(10, 1, cmd, "cmd", explorer, "LogonId", "0xdef"), detect.High, "")
			l.start(11, 10, `C:\Windows\System32\wevtutil.exe`, "wevtutil cl Security", cmd, "LogonId", "0xdef")
			l.clock += time.Hour
			l.start(12, 10, `C:\Windows\System32\wevtutil.exe`, "wevtutil cl Application", cmd, "LogonId", "0xdef")
			l.start(13, 10, `C:\Windows\System32\wevtutil.exe`, "wevtutil qe Security", cmd, "LogonId", "0xdef")
			l.detect(l.security(1102, "SubjectLogonId", "0xabc", "SubjectUserName", "adm"), detect.High, "log-cleared")
		}, 2, false},
		{"a person's session", func(l *log) {
			l.security(4624, "TargetLogonId", "0xabc", "LogonType", "2", "IpAddress", "127.0.0.1", "TargetUserName", "adm")
			l.detect(l.start(10, 1, cmd, "cmd", explorer, "LogonId", "0xabc"), detect.High, "")
			l.detect(l.security(1102, "SubjectLogonId", "0xabc", "SubjectUserName", "adm"), detect.High, "log-cleared")
		}, 2, true},
		{"the system's session", func(l *log) {
			l.detect(l.start(10, 1, cmd, "cmd", explorer, "LogonId", "0x3e7"), detect.High, "")
			l.detect(l.security(1102, "SubjectLogonId", "0x3e7", "SubjectUserName", "SYSTEM"), detect.High, "log-cleared")
		}, 2, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLog()
			c.log(l)
			g, incidents := l.judge()
			sound(t, g, incidents)
			if len(incidents) != c.incidents {
				t.Fatalf("%d incidents, want %d", len(incidents), c.incidents)
			}
			for _, i := range incidents {
				if (len(i.Related) > 0) != c.related {
					t.Errorf("related to %v", i.Related)
				}
			}
		})
	}
}
