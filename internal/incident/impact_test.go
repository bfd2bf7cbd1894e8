package incident_test

import (
	"testing"

	"ashiato/internal/detect"
	"ashiato/internal/incident"
)

// TestWhoWroteTheDumpExposes holds that a dump found as a file exposes accounts
// by the process that wrote it, once for each session, also where that process
// is seen to open the memory only after it made the file.
func TestWhoWroteTheDumpExposes(t *testing.T) {
	l := newLog()
	theft := &detect.Rule{
		ID: "dump", Name: "dump", Title: "dump", Severity: detect.High, Behaviour: "credential-theft", Attack: []string{"T1003.001"},
	}
	const manager = `C:\Windows\System32\Taskmgr.exe`
	l.start(1, 9, manager, "taskmgr", `C:\Windows\explorer.exe`, "LogonId", "0x2001", "User", `CORP\mori`)
	file := l.sysmon(11, "ProcessGuid", guid(1), "ProcessId", "1001", "Image", manager, "TargetFilename", `C:\t\lsass.DMP`)
	open := l.sysmon(10, "SourceProcessGUID", guid(1), "SourceProcessId", "1001", "SourceImage", manager,
		"TargetProcessGUID", guid(8), "TargetProcessId", "1008", "TargetImage", `C:\Windows\System32\lsass.exe`, "GrantedAccess", "0x1fffff")
	l.found = append(l.found, detect.Detection{Event: file, Rule: theft}, detect.Detection{Event: open, Rule: theft})
	_, incidents := l.judge()
	if len(incidents) != 1 || len(incidents[0].Detections) != 2 {
		t.Fatalf("%d incidents", len(incidents))
	}
	var reader *incident.Placed
	for k, d := range incidents[0].Detections {
		if d.Event == open {
			reader = &incidents[0].Detections[k]
		}
	}
	x := incidents[0].Impact.Exposed
	if len(x) != 1 || reader == nil || x[0].Reader != reader.Node || x[0].User != `CORP\mori` {
		t.Errorf("exposed %+v", x)
	}
}
