package incident_test

import (
	"fmt"
	"slices"
	"testing"

	"ashiato/internal/detect"
)

// TestRelatedIsBounded holds that of very many incidents in one session, in which
// a log was cleared as often, each names only the earliest of the others: to name
// them all would take the square of their number.
func TestRelatedIsBounded(t *testing.T) {
	const many, most = 200, 64
	l := newLog()
	for n := range many {
		e := l.add("Microsoft-Windows-Eventlog", "Security", 1102, "SubjectUserName", "u", "SubjectLogonId", "0xabc")
		l.detect(e, detect.High, "log-cleared")
		l.detect(l.start(10+n, 1, `C:\x\tool.exe`, fmt.Sprint("tool ", n), `C:\Windows\explorer.exe`, "LogonId", "0xabc"), detect.High, "x")
	}
	_, all := l.judge()
	if len(all) != 2*many {
		t.Fatalf("%d incidents", len(all))
	}
	var clearings []string // of the earliest
	for _, i := range all[:2*most] {
		if i.Detections[0].Rule.Behaviour == "log-cleared" {
			clearings = append(clearings, i.ID)
		}
	}
	slices.Sort(clearings)
	for n, i := range all {
		if len(i.Related) > most {
			t.Fatalf("incident %d is related to %d others", n, len(i.Related))
		}
		if i.Detections[0].Rule.Behaviour == "x" && !slices.Equal(i.Related, clearings) {
			t.Fatalf("incident %d is related to %d others, which are not the first clearings", n, len(i.Related))
		}
	}
}
