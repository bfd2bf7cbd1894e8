package incident_test

import (
	"slices"
	"testing"

	"ashiato/internal/detect"
	"ashiato/internal/i18n"
	"ashiato/internal/incident"
	"ashiato/internal/provenance"
	"ashiato/internal/scenario"
)

// TestSeedBySensorAlone holds that the sensor's records alone give the whole
// intrusion: each of its steps has records in it, and what Windows' logs do not
// show is told.
func TestSeedBySensorAlone(t *testing.T) {
	built := scenarioEvents(t, "telemetry", "sensor")
	g, incidents := judge(pack(t), built.Events)
	sound(t, g, incidents)
	serious := atLeast(incidents, detect.Medium)
	if len(serious) != 1 {
		t.Fatalf("%d incidents at or above medium, want 1", len(serious))
	}
	i := serious[0]
	t.Log("\n" + dump(i, i18n.English, i18n.Japanese, i18n.Korean))
	if i.Root.Kind != incident.RootVolume || !slices.Equal(i.Hosts, built.Expect.Hosts) {
		t.Errorf("root %+v, hosts %v", i.Root, i.Hosts)
	}
	want := []string{
		"volume-attached", "shortcut-opened", "script-started", "mock-folder-created", "copied-mock", "renamed-by", "elevated-silently-started",
		"side-loaded", "excluded", "dropped", "service-registered", "service-loaded", "task-registered", "task-ran-connected",
		"connected-wrote", "miner-started-connected", "mines-cpu", "volume-attached", "spread", "volume-elsewhere",
	}
	var keys []string
	at := 0
	for _, s := range i.Story {
		keys = append(keys, s.Key)
		if at < len(want) && s.Key == want[at] {
			at++
		}
	}
	if at < len(want) {
		t.Errorf("the story lacks %q in its place; it goes %v", want[at], keys)
	}
	steps := map[int]bool{}
	cite := func(r scenario.RecordKey) {
		if l, ok := built.Truth[r]; ok && l.Attack {
			steps[l.Step] = true
		}
	}
	for _, e := range i.Edges {
		for _, r := range e.Evidence {
			cite(scenario.RecordKey{Host: r.Host, Channel: r.Channel, RecordID: r.RecordID})
		}
	}
	for _, n := range built.Expect.Steps {
		if !steps[n] {
			t.Errorf("no arrow cites a record of step %d", n)
		}
	}
	// By identity, not by inference.
	for _, e := range i.Edges {
		if g.Node(e.From).Kind == provenance.Volume && e.Verb == provenance.Contains && e.Class != provenance.ClassA {
			t.Errorf("%s on %s is of class %s", g.Node(e.To).Label, g.Node(e.From).Label, e.Class)
		}
		if e.Verb == provenance.Renamed && e.Class != provenance.ClassA {
			t.Errorf("the renaming to %s is of class %s", g.Node(e.To).Label, e.Class)
		}
	}
}
