package incident_test

import (
	"slices"
	"testing"

	"ashiato/internal/detect"
	"ashiato/internal/i18n"
	"ashiato/internal/incident"
)

func TestRoots(t *testing.T) {
	const (
		explorer = `C:\Windows\explorer.exe`
		chrome   = `C:\Program Files\Google\Chrome\Application\chrome.exe`
		winword  = `C:\Program Files\Microsoft Office\root\Office16\WINWORD.EXE`
		cmd      = `C:\Windows\System32\cmd.exe`
	)
	for _, c := range []struct {
		name       string
		log        func(*log)
		kind       incident.RootKind
		label      string
		confidence incident.Confidence
	}{
		{"download", func(l *log) {
			l.write(5, chrome, `C:\Users\a\Downloads\setup.exe`)
			l.sysmon(15, "ProcessGuid", guid(5), "ProcessId", "1005", "Image", chrome, "TargetFilename", `C:\Users\a\Downloads\setup.exe:Zone.Identifier`, "Contents", "[ZoneTransfer]  ZoneId=3  HostUrl=https://x.example/setup.exe")
			l.detect(l.start(10, 1, `C:\Users\a\Downloads\setup.exe`, "setup.exe", explorer), detect.High, "")
		}, incident.RootDownload, "setup.exe", incident.Probable},
		{"marked as from here", func(l *log) {
			l.sysmon(15, "ProcessGuid", guid(5), "ProcessId", "1005", "Image", chrome, "TargetFilename", `C:\Users\a\setup.exe:Zone.Identifier`, "Contents", "[ZoneTransfer]  ZoneId=0")
			l.detect(l.start(10, 1, `C:\Users\a\setup.exe`, "setup.exe", explorer), detect.High, "")
		}, incident.RootInteractive, "setup.exe", incident.Certain},
		{"document", func(l *log) {
			l.write(5, chrome, `C:\Users\a\Downloads\offer.docm`)
			l.start(10, 1, winword, `"WINWORD.EXE" /n "C:\Users\a\Downloads\offer.docm"`, explorer)
			l.detect(l.start(11, 10, cmd, "cmd /c x", winword), detect.High, "script-execution")
		}, incident.RootDocument, "offer.docm", incident.Probable},
		{"remote logon", func(l *log) {
			l.security(4624, "TargetLogonId", "0xabc", "LogonType", "3", "IpAddress", "192.0.2.7", "IpPort", "5", "TargetUserName", "adm")
			l.detect(l.start(11, 9, cmd, "cmd /c x", `C:\Windows\System32\wbem\WmiPrvSE.exe`, "LogonId", "0xabc"), detect.High, "lateral-movement")
		}, incident.RootRemoteLogon, "adm", incident.Certain},
		{"network service", func(l *log) {
			l.start(10, 9, `C:\Windows\System32\inetsrv\w3wp.exe`, "w3wp", `C:\Windows\System32\svchost.exe`)
			l.detect(l.start(11, 10, cmd, "cmd /c whoami", `C:\Windows\System32\inetsrv\w3wp.exe`), detect.High, "")
		}, incident.RootService, "w3wp.exe", incident.Certain},
		{"a network service that was made to open a pipe", func(l *log) {
			const spooler, worker = `C:\Windows\System32\spoolsv.exe`, `C:\Windows\System32\inetsrv\w3wp.exe`
			l.start(8, 7, spooler, "spoolsv", `C:\Windows\System32\services.exe`)
			l.start(10, 9, worker, "w3wp", `C:\Windows\System32\svchost.exe`)
			l.start(11, 10, `C:\lift.exe`, "lift", worker)
			l.sysmon(17, "ProcessGuid", guid(11), "ProcessId", "1011", "Image", `C:\lift.exe`, "PipeName", `\lift\pipe\spoolss`)
			l.sysmon(18, "ProcessGuid", guid(8), "ProcessId", "1008", "Image", spooler, "PipeName", `\lift\pipe\spoolss`)
			l.detect(l.start(12, 11, cmd, "cmd", `C:\lift.exe`), detect.High, "")
		}, incident.RootService, "w3wp.exe", incident.Certain},
		{"a person", func(l *log) {
			l.start(10, 1, cmd, "cmd", explorer)
			l.detect(l.start(11, 10, `C:\x.exe`, "x", cmd), detect.High, "")
		}, incident.RootInteractive, "cmd.exe", incident.Certain},
		{"a stick of which no attachment is recorded", func(l *log) {
			l.detect(l.start(10, 1, `C:\Windows\System32\wscript.exe`, `wscript "E:\d\a.vbs"`, explorer), detect.High, "usb-script")
		}, incident.RootVolume, "E:", incident.Guess},
		{"what comes after is no cause", func(l *log) {
			l.detect(l.start(11, 10, `C:\x.exe`, "x", `C:\old.exe`), detect.High, "")
			// The file of the running program is overwritten later, by another.
			l.start(20, 1, `C:\late.exe`, "late", explorer)
			l.write(20, `C:\late.exe`, `C:\x.exe`)
		}, incident.RootBeforeRecord, "old.exe", incident.Guess},
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
			if i.Root.Kind != c.kind || g.Node(i.Root.Node).Label != c.label || i.Root.Confidence != c.confidence {
				t.Errorf("root %s %q (%s), want %s %q (%s)\n%s", i.Root.Kind, g.Node(i.Root.Node).Label, i.Root.Confidence, c.kind, c.label, c.confidence, dump(i, i18n.English))
			}
		})
	}
}

// TestWaysThatWereNotRecorded holds what is said where a person started what came
// from outside and no record tells how: that, then the way that its place
// suggests, then that a person started it.
func TestWaysThatWereNotRecorded(t *testing.T) {
	const (
		explorer = `C:\Windows\explorer.exe`
		system32 = `C:\Windows\System32\`
		archive  = `C:\Users\a\AppData\Local\Temp\Temp1_offer.zip\offer.exe`
	)
	only := func(kinds ...incident.RootKind) []incident.RootKind { return kinds }
	for _, c := range []struct {
		name, image, cmd, parent string
		want                     []incident.RootKind
	}{
		{"a download", `C:\Users\a\Downloads\x.exe`, "x.exe", explorer, only(incident.RootBeforeRecord, incident.RootDownload, incident.RootInteractive)},
		{"out of an archive", archive, archive, explorer, only(incident.RootBeforeRecord, incident.RootDownload, incident.RootInteractive)},
		{"a downloaded script", system32 + "wscript.exe", `"wscript.exe" "C:\Users\a\Downloads\x.js"`, explorer, only(incident.RootBeforeRecord, incident.RootDownload, incident.RootInteractive)},
		{"a downloaded package", system32 + "rundll32.exe", `rundll32.exe C:\Users\a\Downloads\x.dll,Go`, explorer, only(incident.RootBeforeRecord, incident.RootDownload, incident.RootInteractive)},
		{"an attachment", `C:\Users\a\AppData\Local\Microsoft\Windows\INetCache\Content.Outlook\AB12\x.exe`, "x.exe", explorer, only(incident.RootBeforeRecord, incident.RootDocument, incident.RootInteractive)},
		{"on the desktop", `C:\Users\a\Desktop\x.exe`, "x.exe", explorer, only(incident.RootBeforeRecord, incident.RootInteractive)},
		{"installed", `C:\Program Files\A\x.exe`, "x.exe", explorer, only(incident.RootInteractive)},
		{"installed by a user", `C:\Users\a\AppData\Local\Programs\A\x.exe`, "x.exe", explorer, only(incident.RootInteractive)},
		{"Windows' own", system32 + "cmd.exe", `cmd.exe /k dir C:\Users\a\Downloads`, explorer, only(incident.RootInteractive)},
		{"no person did it", system32 + "cmd.exe", "cmd.exe", system32 + `wbem\scrcons.exe`, only(incident.RootBeforeRecord)},
		{"by a service", system32 + "cmd.exe", "cmd.exe", system32 + "services.exe", only(incident.RootBeforeRecord)},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLog()
			l.detect(l.start(10, 1, c.image, c.cmd, c.parent), detect.High, "")
			g, incidents := l.judge()
			sound(t, g, incidents)
			got := only(incidents[0].Root.Kind)
			for _, a := range incidents[0].Alternatives {
				got = append(got, a.Kind)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("%v, want %v", got, c.want)
			}
		})
	}
}

// TestAUnitNobodyMadeIsNoSecondWayIn holds that a unit whose maker no record
// names is not how an intrusion came in that was there before.
func TestAUnitNobodyMadeIsNoSecondWayIn(t *testing.T) {
	const cmd, wmi = `C:\Windows\System32\cmd.exe`, `C:\Windows\System32\wbem\WmiPrvSE.exe`
	l := newLog()
	l.detect(l.start(10, 1, cmd, "cmd", `C:\Windows\explorer.exe`), detect.Low, "")
	l.write(10, cmd, `C:\t\a.exe`)
	made := l.sysmon(20, "Operation", "Created", "Name", ` "Bot"`, "Type", "Command Line", "Destination", ` "C:\\t\\a.exe 1"`)
	l.detect(made, detect.High, "persistence")
	l.detect(l.start(11, 2, `C:\t\a.exe`, `C:\t\a.exe 1`, wmi, "User", `NT AUTHORITY\SYSTEM`, "LogonId", "0x3e7"), detect.High, "")
	_, incidents := l.judge()
	if len(incidents) != 1 || incidents[0].Root.Kind != incident.RootInteractive || len(incidents[0].Detections) != 3 {
		t.Fatalf("%s", dump(incidents[0], i18n.English))
	}
}

// TestUnknownBehavioursBreakNothing holds for words that no text knows.
func TestUnknownBehavioursBreakNothing(t *testing.T) {
	l := newLog()
	l.detect(l.start(10, 1, `C:\x {0}.exe`, "x", `C:\Windows\explorer.exe`), detect.High, "no-such-behaviour")
	g, incidents := l.judge()
	sound(t, g, incidents)
	if len(incidents) != 1 || len(incidents[0].Story) != 1 || incidents[0].Story[0].Behaviours[0] != "no-such-behaviour" {
		t.Fatalf("%+v", incidents)
	}
}
