package evaluation

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"ashiato/internal/detect"
	"ashiato/internal/event"
	"ashiato/internal/incident"
	"ashiato/internal/normalize"
	"ashiato/internal/provenance"
	"ashiato/internal/world"
)

// TestNumbersAndUsersDoNotMatter holds that other process ids and other names of
// accounts leave the incidents' shape as it was.
func TestNumbersAndUsersDoNotMatter(t *testing.T) {
	engine := pack(t)
	for _, name := range scenarioNames(t) {
		b := built(t, name)
		_, incidents := Analyse(engine, normaliseAll(rewrite(raw(b), func(s string) string { return s })))
		want := shape(incidents)
		if want == "" {
			t.Fatalf("%s: nothing found", name)
		}
		users := map[string]bool{}
		for _, e := range b.Events {
			for _, f := range []string{"TargetUserName", "SubjectUserName", "User"} {
				u := e.Value(f)
				domain, account, ok := strings.Cut(u, `\`)
				if !ok {
					domain, account = "", u
				}
				// Of the system's own accounts and those of machines the names mean
				// something.
				if strings.Contains(domain, " ") || account == "" || strings.ContainsAny(account, "$ -") || strings.EqualFold(account, "SYSTEM") {
					continue
				}
				users[account] = true
			}
		}
		if len(users) == 0 {
			t.Fatalf("%s: no user", name)
		}
		renamed := rewrite(raw(b), func(s string) string {
			for n, u := range slices.Sorted(maps.Keys(users)) {
				other := "zq" + strconv.Itoa(n) + "xw"
				if s == u {
					return other
				}
				s = strings.ReplaceAll(s, `\`+u+`\`, `\`+other+`\`)
				if rest, ok := strings.CutSuffix(s, `\`+u); ok {
					s = rest + `\` + other
				}
			}
			return s
		})
		_, incidents = Analyse(engine, normaliseAll(renamed))
		if got := shape(incidents); got != want {
			t.Errorf("%s: other users %v: %s", name, users, difference(got, want))
		}
		numbered := rewrite(raw(b), func(s string) string { return s })
		for _, e := range numbered {
			moveProcesses(e)
		}
		_, incidents = Analyse(engine, normaliseAll(numbered))
		if got := shape(incidents); got != want {
			t.Errorf("%s: other process ids: %s", name, difference(got, want))
		}
	}
}

// TestBatchesDoNotMatter holds that events that come in batches, with a graph made
// in between, give the graph that they give at once.
func TestBatchesDoNotMatter(t *testing.T) {
	engine := pack(t)
	for _, name := range scenarioNames(t) {
		events := normalised(built(t, name))
		var found []detect.Detection
		for w, i := engine.Worker(), 0; i < len(events); i++ {
			found = w.Detect(events[i], found)
		}
		whole := provenance.NewBuilder(world.New(world.Limits{}))
		for _, e := range events {
			whole.Add(e)
		}
		want := digest(t, incident.Build(whole.Build(), slices.Clone(found), incident.Options{}))
		r := rand.New(rand.NewPCG(5, 6))
		b := provenance.NewBuilder(world.New(world.Limits{}))
		for from := 0; from < len(events); {
			to := min(len(events), from+1+r.IntN(len(events)))
			for _, e := range events[from:to] {
				b.Add(e)
			}
			b.Build() // somebody asked for the picture so far
			from = to
		}
		if got := digest(t, incident.Build(b.Build(), slices.Clone(found), incident.Options{})); got != want {
			t.Errorf("%s: %s", name, difference(got, want))
		}
	}
}

// TestAcrossARestart holds that an intrusion that goes on after its host was
// started again is one incident, with its root before that.
func TestAcrossARestart(t *testing.T) {
	engine := pack(t)
	for _, telemetry := range []string{"", "sysmon"} {
		var set []string
		if telemetry != "" {
			set = []string{"telemetry", telemetry}
		}
		b := built(t, "run-key", set...)
		boots := map[uint64]bool{}
		var again time.Time // the first of the intrusion's processes after it
		for _, e := range b.Events {
			if _, key, ok := world.ParseGUID(e.Value("ProcessGuid")); ok && key != 0 {
				if !boots[key>>48] && len(boots) > 0 && again.IsZero() {
					again = e.Time
				}
				boots[key>>48] = true
			}
		}
		if len(boots) < 2 {
			t.Fatalf("the host was started %d times", len(boots))
		}
		c := FromScenario(b)
		s := Measure(engine, c)
		if s.RootExact.Of != 1 || s.AtLeastMedium != 1 {
			t.Errorf("telemetry %q: %d incidents, %v", telemetry, s.AtLeastMedium, s.Notes)
		}
		_, incidents := Analyse(engine, c.Events)
		i := worst(incidents)
		if !i.First.Before(again) || !i.Last.After(again) {
			t.Errorf("telemetry %q: the incident is from %v to %v, the restart was at %v", telemetry, i.First, i.Last, again)
		}
	}
}

// TestNothingBeforeTheAttack holds that what a host does before an intrusion
// begins makes no incident of medium severity or more.
func TestNothingBeforeTheAttack(t *testing.T) {
	engine := pack(t)
	for _, name := range scenarioNames(t) {
		b := built(t, name)
		start := attackStart(b)
		before := without(normalised(b), func(e *event.Event) bool { return !e.Time.Before(start) })
		if len(before) == 0 {
			t.Fatalf("%s: nothing is before it", name)
		}
		_, incidents := Analyse(engine, before)
		for _, i := range incidents {
			if i.Severity >= detect.Medium {
				t.Errorf("%s: %s", name, i.Title("en"))
			}
		}
	}
}

// TestChildrenOfBrokersAreStrangers holds that what the service manager and the
// DCOM launcher start is not joined by that, however many of it rules speak of.
func TestChildrenOfBrokersAreStrangers(t *testing.T) {
	for parent, many := range map[string]int{
		`C:\Windows\System32\svchost.exe`:  374,
		`C:\Windows\System32\services.exe`: 330,
	} {
		b := provenance.NewBuilder(world.New(world.Limits{}))
		var found []detect.Detection
		for n := range many {
			at := time.Date(2026, 3, 2, 1, 0, n, 0, time.UTC)
			e := &event.Event{
				Provider: "Microsoft-Windows-Sysmon", Channel: "Microsoft-Windows-Sysmon/Operational", ID: 1, Host: "PC", Time: at, Logged: at,
				Ref: event.EvidenceRef{Host: "PC", Channel: "Microsoft-Windows-Sysmon/Operational", RecordID: uint64(n + 1), File: "f"},
				Data: event.Fields{
					{Name: "ProcessGuid", Value: fmt.Sprintf("{3f5c91a7-0000-6900-%02x%02x-000000000800}", (n+10)&0xff, (n+10)>>8)},
					{Name: "ProcessId", Value: strconv.Itoa(4000 + 4*n)},
					{Name: "Image", Value: fmt.Sprintf(`C:\Program Files\P%d\p.exe`, n)},
					{Name: "CommandLine", Value: "p.exe -Embedding"},
					{Name: "ParentProcessGuid", Value: "{3f5c91a7-0000-6900-0100-000000000800}"},
					{Name: "ParentProcessId", Value: "900"},
					{Name: "ParentImage", Value: parent},
					{Name: "ParentCommandLine", Value: parent + " -k DcomLaunch"},
				},
			}
			normalize.Event(e)
			b.Add(e)
			found = append(found, detect.Detection{Event: e, Rule: &detect.Rule{ID: "r" + strconv.Itoa(n%7), Name: "r", Severity: detect.Medium}})
		}
		incidents := incident.Build(b.Build(), found, incident.Options{})
		if len(incidents) != many {
			t.Errorf("%d children of %s make %d incidents", many, parent, len(incidents))
		}
	}
}

// TestDamagedRecords holds that whatever stands in the fields of records, all
// arrows cite records and the order of the records changes nothing.
func TestDamagedRecords(t *testing.T) {
	engine := pack(t)
	odd := []string{
		"-", "", "{00000000-0000-0000-0000-000000000000}", "00000000-0000-0000-0000-000000000000", "{3f5c91a7-0000-6900", "{zzzzzzzz-0000-6900-0200-000000000800}",
		`C:\Users\アリス\デスクトップ\見積書.exe`, `C:\Users\é\x\u200b.exe`, "\x00", "0x", "0xffffffffffffffffff", "-1", `\\?\C:\x`, `"`, `\`, "?", "<unknown process>",
		strings.Repeat(`\`, 300), "::ffff:192.0.2.1", "99999999999999999999",
	}
	for round := range uint64(6) {
		r := rand.New(rand.NewPCG(round, 7))
		names := scenarioNames(t)
		b := built(t, names[int(round)%len(names)])
		events := rewrite(raw(b), func(s string) string { return s })
		for _, e := range events {
			for k := range e.Data {
				if r.IntN(12) == 0 {
					e.Data[k].Value = odd[r.IntN(len(odd))]
				}
			}
		}
		normaliseAll(events)
		g, incidents := Analyse(engine, events)
		for _, e := range g.Edges() {
			if len(e.Evidence) == 0 || g.Node(e.From) == nil || g.Node(e.To) == nil {
				t.Fatalf("round %d: an arrow without records or ends: %+v", round, e)
			}
		}
		want := digest(t, incidents)
		r.Shuffle(len(events), func(i, j int) { events[i], events[j] = events[j], events[i] })
		if _, incidents := Analyse(engine, events); digest(t, incidents) != want {
			t.Fatalf("round %d: another order: %s", round, difference(digest(t, incidents), want))
		}
	}
}
