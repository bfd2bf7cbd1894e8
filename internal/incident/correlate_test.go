package incident_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"ashiato/internal/detect"
	"ashiato/internal/event"
	"ashiato/internal/incident"
	"ashiato/internal/provenance"
	"ashiato/internal/sigma"
)

// correlated says that a correlation held for the events, decided by the last.
// belongs are names and values of what all of them belong to.
func (l *log) correlated(severity detect.Severity, behaviour string, events []*event.Event, belongs ...string) {
	last := len(events) - 1
	d := detect.Detection{
		Rule:  &detect.Rule{ID: "test-" + behaviour, Name: "Test/" + behaviour, Title: "Test of " + behaviour, Severity: severity, Behaviour: behaviour},
		Event: events[last], Others: slices.Clone(events[:last]), Count: len(events), First: events[0].Time, Last: events[last].Time,
		Matched: []detect.Matched{{Field: "Computer", Value: l.host}},
	}
	for i := 0; i+1 < len(belongs); i += 2 {
		d.Belongs = append(d.Belongs, detect.Matched{Field: belongs[i], Value: belongs[i+1]})
	}
	l.found = append(l.found, d)
}

// twoTrees writes two programs that a person started, each of which starts
// another, and returns the starts of those.
func twoTrees(l *log) (a, b *event.Event) {
	l.start(10, 1, `C:\Users\a\one.exe`, "one.exe", `C:\Windows\explorer.exe`)
	a = l.start(11, 10, `C:\Windows\System32\cmd.exe`, "cmd.exe /c a", `C:\Users\a\one.exe`)
	l.start(20, 1, `C:\Users\a\two.exe`, "two.exe", `C:\Windows\explorer.exe`)
	b = l.start(21, 20, `C:\Windows\System32\cmd.exe`, "cmd.exe /c b", `C:\Users\a\two.exe`)
	return a, b
}

func has(i *incident.Incident, node string) bool {
	return slices.ContainsFunc(i.Nodes, func(n *provenance.Node) bool { return string(n.ID) == "process:pc|8."+node })
}

func relation(i *incident.Incident) *provenance.Edge {
	for _, e := range i.Edges {
		if e.Verb == provenance.Related {
			return e
		}
	}
	return nil
}

// TestACorrelationMarksAllItsRecords holds that what a correlation rests on is
// in the incident that the graph joins it to, with the way to it.
func TestACorrelationMarksAllItsRecords(t *testing.T) {
	l := newLog()
	l.start(10, 1, `C:\Users\a\one.exe`, "one.exe", `C:\Windows\explorer.exe`)
	l.start(11, 10, `C:\Users\a\middle.exe`, "middle.exe", `C:\Users\a\one.exe`)
	a := l.start(12, 11, `C:\Users\a\left.exe`, "left.exe", `C:\Users\a\middle.exe`)
	b := l.start(13, 10, `C:\Users\a\right.exe`, "right.exe", `C:\Users\a\one.exe`)
	l.correlated(detect.High, "impact", []*event.Event{a, b})
	g, incidents := l.judge()
	sound(t, g, incidents)
	if len(incidents) != 1 {
		t.Fatalf("%d incidents", len(incidents))
	}
	i := incidents[0]
	for _, n := range []string{"10", "11", "12", "13"} {
		if !has(i, n) {
			t.Errorf("process %s is not in the incident", n)
		}
	}
	if e := relation(i); e != nil {
		t.Errorf("what the graph joins is related once more: %+v", e)
	}
	if i.Detections[0].Node != "process:pc|8.13" {
		t.Errorf("it stands at %s", i.Detections[0].Node)
	}
}

// TestAGuessedCorrelationJoinsNothing holds that a correlation by a field of the
// records leaves two incidents two, and names each to the other.
func TestAGuessedCorrelationJoinsNothing(t *testing.T) {
	l := newLog()
	a, b := twoTrees(l)
	l.detect(a, detect.Medium, "script-execution")
	l.correlated(detect.High, "impact", []*event.Event{a, b})
	g, incidents := l.judge()
	sound(t, g, incidents)
	if len(incidents) != 2 {
		t.Fatalf("%d incidents, want 2", len(incidents))
	}
	one, two := incidents[0], incidents[1]
	if !slices.Equal(one.Related, []string{two.ID}) || !slices.Equal(two.Related, []string{one.ID}) {
		t.Errorf("related: %v and %v", one.Related, two.Related)
	}
	e := relation(two)
	if e == nil || e.Class != provenance.ClassC || e.Skeleton || e.Join != "correlation" || len(e.Evidence) != 2 || e.From != "process:pc|8.11" || e.To != "process:pc|8.21" {
		t.Errorf("the relation is %+v", e)
	}
	if !has(two, "11") || has(one, "21") {
		t.Error("the other record's process is drawn beside the correlation, and nothing beside the other incident")
	}
}

// TestACorrelationByIdentityJoins holds that one by process tree, session or
// volume makes one incident, with the reason in it.
func TestACorrelationByIdentityJoins(t *testing.T) {
	for _, name := range sigma.PseudoFields {
		t.Run(name, func(t *testing.T) { byIdentity(t, name) })
	}
}

func byIdentity(t *testing.T, name string) {
	l := newLog()
	a, b := twoTrees(l)
	l.detect(a, detect.Medium, "script-execution")
	l.correlated(detect.High, "impact", []*event.Event{a, b}, name, "AAA")
	g, incidents := l.judge()
	sound(t, g, incidents)
	if len(incidents) != 1 || len(incidents[0].Detections) != 2 || len(incidents[0].Related) != 0 {
		t.Fatalf("%d incidents", len(incidents))
	}
	i := incidents[0]
	e := relation(i)
	if e == nil || e.Class != provenance.ClassB || !e.Skeleton || e.Join != "correlation-"+strings.ToLower(name) || len(e.Evidence) != 2 || e.Count != 1 {
		t.Errorf("the relation is %+v", e)
	}
	if !has(i, "11") || !has(i, "21") {
		t.Error("a process is missing")
	}
	if step := i.EdgeSteps[slices.Index(i.Edges, e)]; step == 0 || i.Story[step-1].Key != "correlated" {
		t.Errorf("the story does not tell of it: %+v", i.Story)
	}
}

// TestACorrelationAtAHubStandsAtItsOtherRecord holds that a correlation which a
// broker's record decides is placed where its records say more.
func TestACorrelationAtAHubStandsAtItsOtherRecord(t *testing.T) {
	l := newLog()
	a, b := twoTrees(l)
	c := l.sysmon(3, "ProcessGuid", guid(3), "ProcessId", "1003", "Image", `C:\Windows\System32\svchost.exe`, "DestinationIp", "203.0.113.9", "DestinationPort", "443", "Initiated", "true")
	l.correlated(detect.High, "impact", []*event.Event{a, c})
	l.correlated(detect.High, "download", []*event.Event{c})
	_ = b
	g, incidents := l.judge()
	sound(t, g, incidents)
	var nodes []string
	for _, i := range incidents {
		for _, d := range i.Detections {
			nodes = append(nodes, fmt.Sprint(d.Rule.Behaviour, " ", d.Node))
		}
	}
	slices.Sort(nodes)
	if want := []string{"download process:pc|8.3", "impact process:pc|8.11"}; !slices.Equal(nodes, want) {
		t.Errorf("%q, want %q", nodes, want)
	}
}

// TestOneEventDecidesForSeveralGroups holds that both detections are kept.
func TestOneEventDecidesForSeveralGroups(t *testing.T) {
	l := newLog()
	a, b := twoTrees(l)
	l.correlated(detect.High, "impact", []*event.Event{a, b})
	l.correlated(detect.High, "impact", []*event.Event{a, b})
	l.found[1].Matched = []detect.Matched{{Field: "Computer", Value: "other"}}
	l.correlated(detect.High, "impact", []*event.Event{a, b}) // the first once more
	_, incidents := l.judge()
	if len(incidents) != 1 || len(incidents[0].Detections) != 2 {
		t.Fatalf("%d incidents, %d detections", len(incidents), len(incidents[0].Detections))
	}
}

// TestACrowdIsNotDrawn holds that the picture of a guess is bounded while all its
// records stay cited.
func TestACrowdIsNotDrawn(t *testing.T) {
	l := newLog()
	var events []*event.Event
	for n := range 40 {
		events = append(events, l.start(100+n, 1, fmt.Sprintf(`C:\Users\a\p%d.exe`, n), "p", `C:\Windows\explorer.exe`))
	}
	l.correlated(detect.High, "impact", events)
	g, incidents := l.judge()
	sound(t, g, incidents)
	related := 0
	for _, e := range incidents[0].Edges {
		if e.Verb == provenance.Related {
			related++
		}
	}
	if len(incidents) != 1 || related != 8 || len(incidents[0].Detections[0].Records()) != 40 {
		t.Errorf("%d incidents, %d relations, %d records", len(incidents), related, len(incidents[0].Detections[0].Records()))
	}
}

// TestCorrelationsInAnyOrder judges the same sets shuffled and with copies.
func TestCorrelationsInAnyOrder(t *testing.T) {
	l := newLog()
	a, b := twoTrees(l)
	l.detect(a, detect.Medium, "script-execution")
	l.correlated(detect.High, "impact", []*event.Event{a, b}, "LogonSession", "pc|boot 8|0x5f1")
	l.correlated(detect.High, "download", []*event.Event{l.events[0], b})
	c := l.start(30, 1, `C:\Users\a\three.exe`, "three.exe", `C:\Windows\explorer.exe`)
	l.correlated(detect.Low, "mining", []*event.Event{a, c})
	l.correlated(detect.Low, "cleanup", []*event.Event{b, c}, "ProcessTree", "x")
	g, incidents := l.judge()
	sound(t, g, incidents)
	if len(incidents) != 1 {
		t.Fatalf("%d incidents", len(incidents))
	}
	want, wantGraph := digest(incidents), graphDigest(g)
	again := incident.Build(g, l.found, incident.Options{})
	if got := digest(again); got != want {
		t.Errorf("building again on the same graph: %s", firstDifference(got, want))
	}
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 7))
		events, found := slices.Clone(l.events), slices.Clone(l.found)
		events = append(events, l.events[r.IntN(len(l.events))])
		found = append(found, l.found[r.IntN(len(l.found))])
		r.Shuffle(len(events), func(x, y int) { events[x], events[y] = events[y], events[x] })
		r.Shuffle(len(found), func(x, y int) { found[x], found[y] = found[y], found[x] })
		g, incidents := judgeSet(events, found)
		if got := digest(incidents); got != want {
			t.Fatalf("shuffle %d: %s", seed, firstDifference(got, want))
		}
		if got := graphDigest(g); got != wantGraph {
			t.Fatalf("shuffle %d gives another graph: %s", seed, firstDifference(got, wantGraph))
		}
	}
}
