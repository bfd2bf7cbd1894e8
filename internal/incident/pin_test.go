package incident_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"ashiato/internal/detect"
	"ashiato/internal/event"
	"ashiato/internal/incident"
	"ashiato/internal/provenance"
	"ashiato/internal/world"
)

func judgePinned(l *log, pins incident.Pins) (*provenance.Graph, []*incident.Incident) {
	b := provenance.NewBuilder(world.New(world.Limits{}))
	for _, e := range l.events {
		b.Add(e)
	}
	g := b.Build()
	return g, incident.Build(g, l.found, incident.Options{Pins: pins})
}

// chain is a shell that starts two programs; a rule speaks of each of the three.
func chain() *log {
	l := newLog()
	const cmd = `C:\Windows\System32\cmd.exe`
	l.detect(l.start(1, 9, cmd, "cmd", `C:\Windows\explorer.exe`), detect.High, "one")
	l.detect(l.start(2, 1, `C:\a.exe`, "a", cmd), detect.High, "two")
	l.clock += time.Hour
	l.detect(l.start(3, 1, `C:\b.exe`, "b", cmd), detect.High, "three")
	return l
}

func earlier(incidents []*incident.Incident) []incident.Earlier {
	var all []incident.Earlier
	for _, i := range incidents {
		e := incident.Earlier{ID: i.ID}
		for _, d := range i.Detections {
			e.Detections = append(e.Detections, d.ID)
		}
		all = append(all, e)
	}
	return all
}

func TestPinsApartSplitAndTogetherJoins(t *testing.T) {
	l := chain()
	_, whole := judgePinned(l, incident.Pins{})
	if len(whole) != 1 || len(whole[0].Detections) != 3 {
		t.Fatalf("%d incidents", len(whole))
	}
	last := whole[0].Detections[2]
	var apart []incident.Apart
	for _, e := range whole[0].Edges {
		if e.To == last.Node {
			apart = append(apart, incident.Apart{From: e.From, To: e.To, Reason: "ours"})
		}
	}
	_, two := judgePinned(l, incident.Pins{Apart: apart})
	if len(two) != 2 || len(two[0].Detections) != 2 || len(two[1].Detections) != 1 {
		t.Fatalf("pinned apart: %d incidents", len(two))
	}
	if two[0].ID != whole[0].ID || two[1].ID != last.ID {
		t.Errorf("ids %s and %s, want %s and %s", two[0].ID, two[1].ID, whole[0].ID, last.ID)
	}
	severed := 0
	for _, e := range two[0].Edges {
		if e.Severed {
			severed++
		}
	}
	if severed == 0 {
		t.Error("no arrow says that it was pinned apart")
	}
	changes := incident.Changes(earlier(whole), two)
	if len(changes) != 1 || changes[0].Kind != incident.Split || !slices.Equal(changes[0].Now, []string{two[0].ID, two[1].ID}) {
		t.Errorf("%+v", changes)
	}
	// Merging again has the arrow as its reason.
	changes = incident.Changes(earlier(two), whole)
	if len(changes) != 2 || changes[0].Kind != incident.Merged || changes[1].Kind != incident.Merged {
		t.Fatalf("%+v", changes)
	}
	for _, c := range changes {
		if !slices.Equal(c.Now, []string{whole[0].ID}) || len(c.With) != 1 || len(c.Why) == 0 || len(c.Why[0].Evidence) == 0 || c.New != 0 {
			t.Errorf("%+v", c)
		}
	}
	// And an analyst may put together what was pinned apart.
	_, one := judgePinned(l, incident.Pins{Apart: apart, Together: []incident.Pair{{A: last.ID, B: whole[0].Detections[1].ID}}})
	if len(one) != 1 || !one[0].Pinned || one[0].ID != whole[0].ID || len(one[0].Detections) != 3 {
		t.Fatalf("pinned together: %d incidents", len(one))
	}
	for _, c := range incident.Changes(earlier(two), one) {
		if c.Kind != incident.Merged || len(c.Why) != 0 {
			t.Errorf("%+v", c)
		}
	}
}

func TestAClosedIncidentTakesNothingIn(t *testing.T) {
	l := chain()
	_, whole := judgePinned(l, incident.Pins{})
	first := whole[0].Detections[1]
	pins := incident.Pins{Closed: []incident.Closed{{ID: whole[0].ID, Through: first.Event.Time, Verdict: "true-positive"}}}
	_, two := judgePinned(l, pins)
	if len(two) != 2 || two[0].Verdict != "true-positive" || two[1].Verdict != "" {
		t.Fatalf("%d incidents", len(two))
	}
	if two[0].ID != whole[0].ID || len(two[0].Detections) != 2 || len(two[1].Detections) != 1 {
		t.Errorf("closed has %d detections, open %d", len(two[0].Detections), len(two[1].Detections))
	}
	if !slices.Equal(two[0].Related, []string{two[1].ID}) || !slices.Equal(two[1].Related, []string{two[0].ID}) {
		t.Errorf("related: %v and %v", two[0].Related, two[1].Related)
	}
	if two[1].Root.Node != whole[0].Root.Node {
		t.Errorf("what came later has the root %s, the closed one %s", two[1].Root.Node, whole[0].Root.Node)
	}
}

func TestChangesFollowDetections(t *testing.T) {
	l := chain()
	_, whole := judgePinned(l, incident.Pins{})
	before := earlier(whole)
	// An earlier detection turns up: another id, the same incident.
	late := l.found
	l.found = late[1:]
	_, without := judgePinned(l, incident.Pins{})
	c := incident.Changes(earlier(without), whole)
	if len(c) != 1 || c[0].Kind != incident.Moved || c[0].Now[0] != whole[0].ID || c[0].New != 1 {
		t.Errorf("%+v", c)
	}
	c = incident.Changes(before, whole)
	if len(c) != 1 || c[0].Kind != incident.Kept || c[0].New != 0 {
		t.Errorf("%+v", c)
	}
	c = incident.Changes(before, nil)
	if len(c) != 1 || c[0].Kind != incident.Gone || len(c[0].Now) != 0 {
		t.Errorf("%+v", c)
	}
}

// TestImpactNamesExposedAccounts holds that a reading of lsass's memory exposes
// the accounts with a session then, and no others.
func TestImpactNamesExposedAccounts(t *testing.T) {
	l := newLog()
	const shell = `C:\Windows\System32\cmd.exe`
	logon := func(luid, kind, user string) {
		l.security(4624, "TargetLogonId", luid, "LogonType", kind, "TargetUserName", user, "IpAddress", "-")
	}
	logon("0x1001", "10", "admin")
	logon("0x1002", "3", "visitor") // leaves nothing to steal
	logon("0x1003", "5", "PC$")
	l.start(1, 9, shell, "cmd", `C:\Windows\explorer.exe`, "LogonId", "0x2001", "User", `CORP\mori`)
	l.start(2, 9, `C:\Windows\System32\notepad.exe`, "notepad", `C:\Windows\explorer.exe`, "LogonId", "0x2002", "User", `CORP\gone`)
	l.sysmon(5, "ProcessGuid", guid(2), "ProcessId", "1002", "Image", `C:\Windows\System32\notepad.exe`)
	dump := l.start(3, 1, `C:\t.exe`, "t -p lsass", shell, "LogonId", "0x2001", "User", `CORP\mori`)
	l.found = append(l.found, detect.Detection{Event: dump, Rule: &detect.Rule{
		ID: "dump", Name: "dump", Title: "dump", Severity: detect.High, Behaviour: "credential-theft", Attack: []string{"T1003.001"},
	}})
	l.clock += time.Minute
	logon("0x1004", "2", "later")
	_, incidents := l.judge()
	if len(incidents) != 1 {
		t.Fatal(len(incidents))
	}
	var got []string
	for _, x := range incidents[0].Impact.Exposed {
		got = append(got, fmt.Sprintf("%s %x", x.User, x.LogonID))
		if len(x.Evidence) == 0 || x.Reader != incidents[0].Detections[0].Node {
			t.Errorf("%+v", x)
		}
	}
	if want := []string{"admin 1001", `CORP\mori 2001`}; !slices.Equal(got, want) {
		t.Errorf("exposed %q, want %q", got, want)
	}
	if r := incidents[0].Impact.Running; len(r) != 1 || r[0] != incidents[0].Detections[0].Node {
		t.Errorf("running %v", r)
	}
}

// TestImpactOfTheSeed holds that the cut of the seed's intrusion takes away its
// service and its task, and that the other host was reached.
func TestImpactOfTheSeed(t *testing.T) {
	built := scenarioEvents(t)
	g, incidents := judge(pack(t), built.Events)
	i := atLeast(incidents, detect.Medium)[0]
	if !slices.Equal(i.Impact.Reached, []string{"LAPTOP-K4M"}) {
		t.Errorf("reached %v", i.Impact.Reached)
	}
	if len(i.Impact.Dropped) == 0 || len(i.Impact.Hidden) == 0 || len(i.Impact.Running) == 0 {
		t.Errorf("impact %+v", i.Impact)
	}
	severed := map[provenance.NodeID]bool{}
	for _, a := range i.SmallestCut {
		for _, s := range a.Severs {
			severed[s] = true
		}
	}
	for _, p := range i.Persistence {
		switch n := g.Node(p.Node); n.Kind {
		case provenance.Service, provenance.Task, provenance.RegistryValue:
			if !severed[p.Node] {
				t.Errorf("%s is not taken away", p.Node)
			}
		}
	}
	if len(i.SmallestCut) == 0 || len(i.SmallestCut) > len(i.Persistence) {
		t.Errorf("%d actions for %d things", len(i.SmallestCut), len(i.Persistence))
	}
}

// TestRarityOnlyAdds holds that a rule that holds on one of many hosts counts
// more than one that holds on all, and that a single host's score has no rarity.
func TestRarityOnlyAdds(t *testing.T) {
	var events []*event.Event
	var found []detect.Detection
	for h := range 30 {
		l := newLog()
		l.host = fmt.Sprint("PC-", h)
		e := l.start(1, 9, `C:\a.exe`, "a", `C:\Windows\explorer.exe`)
		l.detect(e, detect.Medium, "everywhere")
		if h == 0 {
			l.detect(e, detect.Medium, "once")
		}
		events, found = append(events, l.events...), append(found, l.found...)
	}
	_, incidents := judgeSet(events, found)
	terms := ""
	for _, i := range incidents {
		for _, term := range i.Terms {
			if term.Name == "rarity" {
				terms += fmt.Sprintln(i.Hosts, term.Detail, term.Points)
			}
		}
	}
	if want := "[PC-0] Test/once: 1/30 10\n"; terms != want {
		t.Errorf("got %q, want %q", terms, want)
	}
	_, one := judgeSet(events[:1], found[:2])
	for _, term := range one[0].Terms {
		if strings.Contains(term.Name, "rarity") {
			t.Errorf("%+v", term)
		}
	}
}
