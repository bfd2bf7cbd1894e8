package incident_test

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"ashiato/internal/detect"
	"ashiato/internal/event"
	"ashiato/internal/incident"
	"ashiato/internal/normalize"
	"ashiato/internal/provenance"
	"ashiato/internal/world"
)

var t0 = time.Date(2026, 3, 2, 1, 0, 0, 0, time.UTC)

// log writes records by hand.
type log struct {
	host   string
	events []*event.Event
	clock  time.Duration
	found  []detect.Detection
}

func newLog() *log { return &log{host: "PC"} }

func (l *log) add(provider, channel string, id uint32, data ...string) *event.Event {
	l.clock += time.Second
	e := &event.Event{
		Provider: provider, Channel: channel, ID: id, Host: l.host, Time: t0.Add(l.clock), Logged: t0.Add(l.clock),
		Ref: event.EvidenceRef{Host: l.host, Channel: channel, RecordID: uint64(len(l.events) + 1), File: "hand.evtx"},
	}
	for i := 0; i+1 < len(data); i += 2 {
		e.Data = append(e.Data, event.Field{Name: data[i], Value: data[i+1]})
	}
	normalize.Event(e)
	l.events = append(l.events, e)
	return e
}

func (l *log) sysmon(id uint32, data ...string) *event.Event {
	return l.add("Microsoft-Windows-Sysmon", "Microsoft-Windows-Sysmon/Operational", id, data...)
}

func (l *log) security(id uint32, data ...string) *event.Event {
	return l.add("Microsoft-Windows-Security-Auditing", "Security", id, data...)
}

func guid(seq int) string {
	return fmt.Sprintf("{3f5c91a7-0000-6900-%02x%02x-%02x0000000800}", seq&0xff, seq>>8&0xff, seq>>16)
}

// start writes a Sysmon record of a process start; more are further fields.
func (l *log) start(seq, parent int, image, cmd, parentImage string, more ...string) *event.Event {
	return l.sysmon(1, append([]string{
		"ProcessGuid", guid(seq), "ProcessId", fmt.Sprint(1000 + seq), "Image", image, "CommandLine", cmd,
		"ParentProcessGuid", guid(parent), "ParentProcessId", fmt.Sprint(1000 + parent), "ParentImage", parentImage,
	}, more...)...)
}

func (l *log) write(seq int, image, path string) *event.Event {
	return l.sysmon(11, "ProcessGuid", guid(seq), "ProcessId", fmt.Sprint(1000+seq), "Image", image, "TargetFilename", path)
}

// detect says that a rule of that behaviour held for the event.
func (l *log) detect(e *event.Event, severity detect.Severity, behaviour string) {
	l.found = append(l.found, detect.Detection{Event: e, Rule: &detect.Rule{
		ID: "test-" + behaviour, Name: "Test/" + behaviour, Title: "Test of " + behaviour, Severity: severity, Behaviour: behaviour,
	}})
}

func (l *log) judge() (*provenance.Graph, []*incident.Incident) { return judgeSet(l.events, l.found) }

func judgeSet(events []*event.Event, found []detect.Detection) (*provenance.Graph, []*incident.Incident) {
	b := provenance.NewBuilder(world.New(world.Limits{}))
	for _, e := range events {
		b.Add(e)
	}
	g := b.Build()
	return g, incident.Build(g, found, incident.Options{})
}

// digest writes everything that a reader of incidents could see.
func digest(incidents []*incident.Incident) string {
	var b strings.Builder
	for _, i := range incidents {
		fmt.Fprintln(&b, i.ID, i.Severity, i.Score, i.Terms, i.Hosts, i.First, i.Last, i.Root, i.Alternatives, i.TitleKeys, i.Persistence, i.Gaps, i.Related, i.Cut)
		for _, d := range i.Detections {
			fmt.Fprintln(&b, "detection", d.Rule.ID, d.Node, d.Event.Ref)
		}
		for _, n := range i.Nodes {
			shown := *n
			if n.Hub {
				shown.Last = time.Time{} // a broker outlives what it started
			}
			fmt.Fprintln(&b, "node", shown)
		}
		for _, e := range i.Edges {
			fmt.Fprintln(&b, "edge", *e)
		}
		fmt.Fprintln(&b, i.EdgeSteps)
		for _, s := range i.Story {
			fmt.Fprintln(&b, "step", s)
		}
	}
	return b.String()
}

// graphDigest writes the whole graph.
func graphDigest(g *provenance.Graph) string {
	var b strings.Builder
	for _, n := range g.Nodes() {
		fmt.Fprintln(&b, *n)
	}
	for _, e := range g.Edges() {
		fmt.Fprintln(&b, *e)
	}
	return b.String()
}

func atLeast(incidents []*incident.Incident, s detect.Severity) []*incident.Incident {
	return slices.DeleteFunc(slices.Clone(incidents), func(i *incident.Incident) bool { return i.Severity < s })
}
