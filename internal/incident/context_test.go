package incident_test

import (
	"fmt"
	"slices"
	"testing"

	"ashiato/internal/detect"
	"ashiato/internal/i18n"
	"ashiato/internal/provenance"
)

// TestContextOfTheStory holds what is drawn beside the story: what its processes
// started to look around, three generations down, what they wrote of which
// nothing came, and what they ran from; and that it stays bounded.
func TestContextOfTheStory(t *testing.T) {
	const (
		explorer = `C:\Windows\explorer.exe`
		cmd      = `C:\Windows\System32\cmd.exe`
		bad      = `C:\t\bad.exe`
	)
	l := newLog()
	l.write(1, explorer, bad)
	l.start(2, 1, bad, "bad", explorer)
	l.detect(l.start(3, 2, `C:\t\worse.exe`, "worse", bad), detect.High, "")
	l.start(4, 2, cmd, "cmd /c net user", bad)
	l.start(5, 4, `C:\Windows\System32\net.exe`, "net user", cmd)
	l.start(6, 5, `C:\Windows\System32\net1.exe`, "net1 user", `C:\Windows\System32\net.exe`)
	l.start(7, 6, `C:\t\deep.exe`, "deep", `C:\Windows\System32\net1.exe`)
	l.write(3, `C:\t\worse.exe`, `C:\t\stolen.txt`)
	for i := range 30 {
		l.write(3, `C:\t\worse.exe`, fmt.Sprintf(`C:\data\%d.enc`, i))
	}
	for i := range 40 {
		l.start(20+i, 2, `C:\Windows\System32\whoami.exe`, "whoami", bad)
	}
	_, incidents := l.judge()
	if len(incidents) != 1 {
		t.Fatalf("%d incidents", len(incidents))
	}
	i := incidents[0]
	count := map[string]int{}
	for _, n := range i.Nodes {
		count[n.Kind.String()+" "+n.Label]++
	}
	for _, want := range []string{"process cmd.exe", "process net.exe", "process net1.exe", "file bad.exe", "file stolen.txt", "folder data"} {
		if count[want] != 1 {
			t.Errorf("%s is drawn %d times", want, count[want])
		}
	}
	for _, not := range []string{"process deep.exe", "file 1.enc"} {
		if count[not] != 0 {
			t.Errorf("%s is drawn", not)
		}
	}
	if n := count["process whoami.exe"]; n == 0 || n > 12 || i.Cut == 0 {
		t.Errorf("%d of 40 children are drawn, %d cut", n, i.Cut)
	}
	at := slices.IndexFunc(i.Edges, func(e *provenance.Edge) bool { return e.Verb == provenance.Wrote && e.Count == 30 })
	if at < 0 || i.Edges[at].Skeleton {
		t.Error("no arrow says that 30 files were written")
	}
}

// TestStoryOfWhoDidIt holds the sentences of what an installation left and of who
// cleared a log.
func TestStoryOfWhoDidIt(t *testing.T) {
	const (
		explorer = `C:\Windows\explorer.exe`
		msiexec  = `C:\Windows\System32\msiexec.exe`
		program  = `C:\Program Files\P\p.exe`
	)
	l := newLog()
	l.start(3, 1, msiexec, `msiexec /i C:\t\p.msi`, explorer)
	l.start(9, 8, msiexec, msiexec+" /V", `C:\Windows\System32\services.exe`)
	l.add("MsiInstaller", "Application", 1040, "Data", `C:\t\p.msi`, "Data", "1003")
	l.write(9, msiexec, program)
	l.security(4697, "ServiceName", "Svc", "ServiceFileName", program, "ClientProcessId", "1009")
	l.add("MsiInstaller", "Application", 1042, "Data", `C:\t\p.msi`, "Data", "1003")
	l.detect(l.start(5, 7, program, program, `C:\Windows\System32\services.exe`), detect.High, "")
	l.security(4624, "TargetLogonId", "0xabc", "LogonType", "10", "IpAddress", "192.0.2.7", "IpPort", "5", "TargetUserName", "adm")
	l.start(20, 1, `C:\bad.exe`, "bad", explorer, "LogonId", "0xabc")
	l.detect(l.add("Microsoft-Windows-Eventlog", "Security", 1102, "SubjectLogonId", "0xabc", "SubjectUserName", "adm"), detect.High, "")
	_, incidents := l.judge()
	var told []string
	for _, i := range incidents {
		for _, s := range i.Story {
			told = append(told, i.Sentence(s, i18n.English))
		}
	}
	for _, want := range []string{
		`p.msi wrote C:\Program Files\P\p.exe`, `p.msi registered the service Svc, which runs C:\Program Files\P\p.exe`,
		"adm cleared the event log Security on PC",
	} {
		if !slices.Contains(told, want) {
			t.Errorf("no %q in %q", want, told)
		}
	}
}
