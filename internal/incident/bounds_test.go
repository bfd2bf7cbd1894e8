package incident_test

import (
	"fmt"
	"slices"
	"testing"

	"ashiato/internal/detect"
	"ashiato/internal/event"
	"ashiato/internal/provenance"
)

// TestNamesByPortsAreFew holds that what one process looks up and connects to does
// not make arrows in number of names by ports: they would fill the graph, and what
// joins intrusions would no longer fit.
func TestNamesByPortsAreFew(t *testing.T) {
	const many, ports = 300, 16
	l := newLog()
	who := []string{"ProcessGuid", guid(2), "ProcessId", "1002", "Image", `C:\x.exe`}
	l.detect(l.start(2, 1, `C:\x.exe`, "x", `C:\Windows\explorer.exe`), detect.High, "x")
	for n := range many {
		l.sysmon(3, append(who, "Initiated", "true", "SourceIp", "192.0.2.7", "SourcePort", "50123", "DestinationIp", "198.51.100.1", "DestinationPort", fmt.Sprint(1000+n))...)
		l.sysmon(22, append(who, "QueryName", fmt.Sprintf("n%d.example", n), "QueryResults", "198.51.100.1;")...)
	}
	g, _ := l.judge()
	names, first := 0, 0
	for _, e := range g.Edges() {
		if e.Verb == provenance.Resolved && g.Node(e.From).Kind == provenance.Domain {
			names++
			if e.From == provenance.NodeID("domain:pc|n0.example") {
				first++
			}
		}
	}
	if first != ports || names != many*ports {
		t.Errorf("%d arrows from names to addresses, of the first name %d", names, first)
	}
}

// TestManyMakersOfOneService holds that a detection on a service is shown by the
// arrow that its own record tells of, however many others there are, and not by
// all of them.
func TestManyMakersOfOneService(t *testing.T) {
	const many, most = 200, 65
	l := newLog()
	for n := range many {
		l.start(10+n, 1, `C:\Windows\System32\sc.exe`, `sc create svc binPath= C:\x.exe`, `C:\Windows\System32\cmd.exe`)
		l.detect(l.add("Service Control Manager", "System", 7045, "ServiceName", "svc", "ImagePath", `C:\x.exe`), detect.High, "x")
	}
	g, _ := l.judge()
	cited := map[event.EvidenceRef]bool{}
	for _, e := range g.Edges() {
		for _, ref := range e.Evidence {
			cited[ref] = true
		}
	}
	own := 0
	for n, d := range l.found {
		m := g.Mark(d.Event)
		if len(m.Edges) == 0 || len(m.Edges) > most {
			t.Fatalf("detection %d is shown by %d arrows", n, len(m.Edges))
		}
		shows := slices.ContainsFunc(m.Edges, func(e *provenance.Edge) bool { return slices.Contains(e.Evidence, d.Event.Ref) })
		if shows != cited[d.Event.Ref] {
			t.Fatalf("that one of the %d arrows of detection %d cites its record is %v", len(m.Edges), n, shows)
		}
		if shows {
			own++
		}
	}
	if own < many {
		t.Errorf("only %d detections are cited", own)
	}
}
