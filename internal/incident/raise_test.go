package incident_test

import (
	"slices"
	"testing"

	"ashiato/internal/detect"
	"ashiato/internal/event"
	"ashiato/internal/incident"
	"ashiato/internal/provenance"
	"ashiato/internal/world"
)

// TestWhatAStickBroughtWeighsMore holds that a finding on what came from a
// removable volume counts a step more than the same without the volume, that the
// score says so, and that what is said of the stick's own scripts does not.
func TestWhatAStickBroughtWeighsMore(t *testing.T) {
	built := scenarioEvents(t)
	worker := pack(t).Worker()
	var all []detect.Detection
	for _, e := range built.Events {
		all = worker.Detect(e, all)
	}
	build := func(events []*event.Event, behaviour string, level detect.Severity) *incident.Incident {
		b := provenance.NewBuilder(world.New(world.Limits{}))
		for _, e := range events {
			b.Add(e)
		}
		var some []detect.Detection
		for _, d := range all {
			if d.Rule.Behaviour == behaviour && d.Rule.Severity == level && slices.Contains(events, d.Event) {
				some = append(some, d)
			}
		}
		var worst *incident.Incident
		for _, i := range incident.Build(b.Build(), some, incident.Options{}) {
			if worst == nil || len(i.Detections) > len(worst.Detections) {
				worst = i
			}
		}
		if worst == nil {
			t.Fatalf("no incident of %s at %s", behaviour, level)
		}
		return worst
	}
	origin := func(i *incident.Incident) string {
		for _, x := range i.Terms {
			if x.Name == "origin" && x.Points > 0 {
				return x.Detail
			}
		}
		return ""
	}
	// Without what happened before the program ran, nothing leads to the stick.
	late := slices.DeleteFunc(slices.Clone(built.Events), func(e *event.Event) bool {
		switch e.Kind {
		case event.VolumeAttach, event.VolumeDetach, event.FileAccess, event.RegistrySet:
			return true
		}
		return false
	})
	for _, c := range []struct {
		events    []*event.Event
		behaviour string
		level     detect.Severity
		want      detect.Severity
		raised    bool
	}{
		{built.Events, "defender-exclusion", detect.Informational, detect.Low, true},
		{late, "defender-exclusion", detect.Informational, detect.Informational, false},
		{built.Events, "defender-exclusion", detect.High, detect.High, true},
		{built.Events, "usb-script", detect.Medium, detect.Medium, false},
	} {
		i := build(c.events, c.behaviour, c.level)
		if i.Severity != c.want || (origin(i) != "") != c.raised {
			t.Errorf("%s at %s: severity %s, want %s; raised by %q", c.behaviour, c.level, i.Severity, c.want, origin(i))
		}
	}
}
