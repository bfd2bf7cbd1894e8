package incident_test

import (
	"strings"
	"testing"

	"ashiato/internal/detect"
	"ashiato/internal/i18n"
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
