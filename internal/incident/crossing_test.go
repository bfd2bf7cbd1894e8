package incident_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"ashiato/internal/detect"
	"ashiato/internal/i18n"
	"ashiato/internal/incident"
	"ashiato/internal/provenance"
)

// overTwoHosts writes an intrusion over two hosts: a stick on A, a program from
// it that connects to B and logs on there, and what B's broker starts in that
// session. The clock of B is off by skew.
func overTwoHosts(l *log, skew time.Duration) {
	l.host = "A"
	l.add("Microsoft-Windows-Partition", "Microsoft-Windows-Partition/Diagnostic", 1006,
		"SerialNumber", "AAA", "BusType", "7", "Capacity", "1000", "ParentId", `USB\VID_1&PID_2\AAA`)
	l.detect(l.start(2, 1, `E:\tool.exe`, `E:\tool.exe`, `C:\Windows\explorer.exe`), detect.High, "usb-script")
	l.sysmon(3, "ProcessGuid", guid(2), "ProcessId", "1002", "Image", `E:\tool.exe`, "Initiated", "true",
		"SourceIp", "192.0.2.7", "SourcePort", "50123", "DestinationIp", "192.0.2.9", "DestinationPort", "135")
	l.host = "B"
	l.clock += skew
	l.security(4624, "TargetLogonId", "0xabc", "LogonType", "3", "TargetUserName", "adm", "IpAddress", "::ffff:192.0.2.7", "IpPort", "50123")
	l.detect(l.start(3, 9, `C:\Windows\System32\cmd.exe`, "cmd /c whoami", `C:\Windows\System32\wsmprovhost.exe`, "LogonId", "0xabc"), detect.High, "lateral-movement")
	l.host = "A"
	l.clock -= skew
}

func TestOneIntrusionOverTwoHostsIsOneIncident(t *testing.T) {
	for _, skew := range []time.Duration{0, 100 * time.Second, -100 * time.Second} {
		l := newLog()
		overTwoHosts(l, skew)
		_, all := l.judge()
		if len(all) != 1 || !slices.Equal(all[0].Hosts, []string{"A", "B"}) {
			t.Fatalf("clocks apart by %v: %d incidents, the first on %v", skew, len(all), all[0].Hosts)
		}
		i := all[0]
		if i.Root.Kind != incident.RootVolume {
			t.Errorf("clocks apart by %v: it began with %s %s", skew, i.Root.Kind, i.Root.Node)
		}
		kinds := map[string]bool{}
		for _, n := range i.Nodes {
			if n.Kind == provenance.Process && strings.HasPrefix(n.Attr("CommandLine"), "cmd") {
				for _, o := range n.Origins {
					kinds[string(o.Kind)+" "+o.Label] = true
				}
			}
		}
		if !kinds["volume E:"] || !kinds["logon adm"] {
			t.Errorf("clocks apart by %v: what ran on B came from %v", skew, kinds)
		}
		told := ""
		for _, s := range i.Story {
			told += i18n.English.T("story."+s.Key, s.Args...) + "\n"
		}
		if !strings.Contains(told, "tool.exe logged on to B as adm") {
			t.Errorf("the story does not tell of the logon:\n%s", told)
		}
		if strings.Contains(told, "over the network") {
			t.Errorf("the story tells of the logon again, by its record on the other host:\n%s", told)
		}
	}
}

func TestAPersonsDayIsNotOneIncident(t *testing.T) {
	l := newLog()
	l.security(4624, "TargetLogonId", "0x500", "LogonType", "2", "TargetUserName", "u", "IpAddress", "127.0.0.1", "IpPort", "0")
	for n, name := range []string{"a", "b"} {
		l.detect(l.start(10+n, 1, `C:\`+name+`.exe`, name, `C:\Windows\explorer.exe`, "LogonId", "0x500"), detect.High, "x-"+name)
	}
	if _, all := l.judge(); len(all) != 2 {
		t.Errorf("%d incidents", len(all))
	}
}

func TestVersionsOfAFileAreNotOneIncident(t *testing.T) {
	l := newLog()
	const path = `C:\Users\Public\update.exe`
	for n := range 2 {
		writer := []string{`C:\one.exe`, `C:\two.exe`}[n]
		l.start(10+n, 1, writer, "w", `C:\Windows\explorer.exe`)
		l.write(10+n, writer, path)
		l.clock += time.Minute
		l.detect(l.start(20+n, 9, path, "run", `C:\Windows\System32\svchost.exe`), detect.High, "x")
		l.clock += time.Hour
	}
	if _, all := l.judge(); len(all) != 2 {
		t.Errorf("%d incidents", len(all))
	}
}
