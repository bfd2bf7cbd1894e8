package incident_test

import (
	"strings"
	"testing"

	"ashiato/internal/detect"
	"ashiato/internal/i18n"
)

func TestVariants(t *testing.T) {
	engine := pack(t)
	for _, set := range []string{
		"telemetry sysmon", "telemetry security", "telemetry sysmon security", "records old", "lose 5", "lose 20", "telemetry sysmon+security",
		"stick G next K digits 123456 number 99 folder sysvolume prefix u",
	} {
		f := strings.Fields(set)
		if f[0] == "telemetry" {
			f = []string{"telemetry", strings.Join(f[1:], " ")}
		}
		built := func() (b []string) { return f }()
		t.Run(set, func(t *testing.T) {
			ev := scenarioEvents(t, built...)
			_, incidents := judge(engine, ev.Events)
			n := 0
			for _, i := range incidents {
				if i.Severity >= detect.Medium {
					n++
					t.Log("\n" + dump(i, i18n.English))
				}
			}
			t.Log(len(ev.Events), "events,", n, "incidents at least medium of", len(incidents))
		})
	}
}
