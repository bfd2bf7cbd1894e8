package evaluation

import (
	"maps"
	"strconv"
	"strings"
	"testing"

	"ashiato/internal/event"
	"ashiato/internal/world"
)

// TestMeet holds which host becomes which, and that two never become one unless
// they have one name.
func TestMeet(t *testing.T) {
	for _, c := range []struct {
		name         string
		ours, theirs []string
		want         map[string]string
	}{
		{"by number of records", []string{"A", "B"}, []string{"C", "D"}, map[string]string{"C": "A", "D": "B"}},
		{"fewer of theirs", []string{"A", "B"}, []string{"C"}, map[string]string{"C": "A"}},
		{"more of theirs", []string{"A"}, []string{"C", "D"}, map[string]string{"C": "A"}},
		{"a name of both, not the first", []string{"A"}, []string{"C", "A"}, map[string]string{"A": "A"}},
		{"a name of both, of two", []string{"A", "B"}, []string{"C", "A"}, map[string]string{"A": "A", "C": "B"}},
		{"names crosswise", []string{"A", "B"}, []string{"B", "A"}, map[string]string{"A": "A", "B": "B"}},
		{"in another domain and case", []string{"A.corp.example"}, []string{"C", "a"}, map[string]string{"a": "A.corp.example"}},
		{"nothing", nil, []string{"C"}, map[string]string{}},
	} {
		if got := meet(c.ours, c.theirs); !maps.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

// TestReaddress holds that only whole addresses become others, each once.
func TestReaddress(t *testing.T) {
	become := map[string]string{"192.0.2.5": "192.0.2.17", "192.0.2.17": "192.0.2.5"}
	for text, want := range map[string]string{
		"":                               "",
		"192.0.2.5":                      "192.0.2.17",
		"::ffff:192.0.2.5;192.0.2.17":    "::ffff:192.0.2.17;192.0.2.5",
		"192.0.2.50 192.0.2.5.1 1.0.2.5": "192.0.2.50 192.0.2.5.1 1.0.2.5",
		`\\192.0.2.5\C$ from 192.0.2.5.`: `\\192.0.2.17\C$ from 192.0.2.17.`,
		"https://192.0.2.5:8080/a":       "https://192.0.2.17:8080/a",
		"足跡 192.0.2.5":                   "足跡 192.0.2.17",
	} {
		if got := readdress(text, become); got != want {
			t.Errorf("%q becomes %q, want %q", text, got, want)
		}
	}
}

// TestInterleavedHostsHaveOneAddress holds that of two scenarios on one host the
// second one's records speak of it by the first one's address. Here the address of
// the second one's host is that of another machine in the first one, whose logons
// were not from elsewhere if it were the host's own.
func TestInterleavedHostsHaveOneAddress(t *testing.T) {
	a, b := built(t, "linux-coinminer"), built(t, "winrm")
	c := Interleave(a, b, interleaved)
	host := hostsOf(b.Events)[0]
	theirs, ours := b.Addresses[host], a.Addresses[c.Scenarios[1].hosts[host]]
	if theirs == "" || ours == "" || theirs == ours {
		t.Fatalf("%s has %q and becomes one with %q", host, theirs, ours)
	}
	before, after := 0, 0
	for _, e := range b.Events {
		if l, _ := b.Label(e); l.Attack {
			for _, f := range e.Data {
				if strings.TrimPrefix(f.Value, "::ffff:") == theirs {
					before++
				}
			}
		}
	}
	for _, e := range c.Events {
		if c.labels[e].scenario != 1 {
			continue
		}
		for _, f := range e.Data {
			switch strings.TrimPrefix(f.Value, "::ffff:") {
			case theirs:
				t.Errorf("%v: %s is %s still", e.Ref, f.Name, f.Value)
			case ours:
				after++
			}
		}
	}
	if before == 0 || after != before {
		t.Errorf("%d fields had the address, %d have the other", before, after)
	}
	s := Measure(pack(t), c)
	if r := s.Rows[17]; r == nil || r.Joined.All < 2 || r.Joined.Of != r.Joined.All {
		t.Errorf("row 17: %+v: %q", r, s.Notes)
	}
}

// TestAuditProcessesMoveToo holds that a process of Linux has one id in the audit
// log and in Sysmon's after it was given another.
func TestAuditProcessesMoveToo(t *testing.T) {
	events := built(t, "linux-coinminer").Events
	moved := 0
	for _, e := range rewrite(events, func(s string) string { return s }) {
		if e.Provider != "auditd" {
			continue
		}
		var before []string
		for _, f := range e.Data {
			before = append(before, f.Value)
		}
		moveProcesses(e)
		for i, f := range e.Data {
			n, err := strconv.ParseUint(before[i], 10, 32)
			want := before[i]
			if (f.Name == "pid" || f.Name == "ppid") && err == nil && n > systemPID {
				want = strconv.FormatUint(n+elsewhere, 10)
				moved++
			}
			if f.Value != want {
				t.Fatalf("%v: %s %s became %s, want %s", e.Ref, f.Name, before[i], f.Value, want)
			}
		}
	}
	if moved == 0 {
		t.Fatal("the audit log names no process")
	}
}

// TestScenariosThatShareAHostName holds that two scenarios which name a host alike
// can be put together: every record keeps a reference of its own, so that the truth
// is known of each, the second one's hosts stay as many as they were, and the two
// intrusions come apart with all of their hand-offs.
func TestScenariosThatShareAHostName(t *testing.T) {
	a, b := built(t, "phish-coinminer"), built(t, "remote-task")
	ours, theirs := hostsOf(a.Events), hostsOf(b.Events)
	if len(ours) != 1 || len(theirs) != 2 || theirs[1] != ours[0] {
		t.Fatalf("%v and %v no longer share a name that is not the first of the second", ours, theirs)
	}
	c := Interleave(a, b, interleaved)
	seen := map[event.EvidenceRef]bool{}
	hosts := map[string]bool{}
	for _, e := range c.Events {
		if seen[e.Ref] {
			t.Fatalf("%v is two records", e.Ref)
		}
		seen[e.Ref] = true
		if c.labels[e].scenario == 1 {
			hosts[world.HostKey(e.Host)] = true
		}
	}
	if len(hosts) != len(theirs) {
		t.Errorf("%v became %v", theirs, hosts)
	}
	s := Measure(pack(t), c)
	if s.Joined[Ours].OverMerged != 0 || s.Crossings != 0 {
		t.Errorf("%d incidents of both, %d wrong joins: %q", s.Joined[Ours].OverMerged, s.Crossings, s.Notes)
	}
	if s.RootExact.Of != 2 {
		t.Errorf("%d of 2 roots: %q", s.RootExact.Of, s.Notes)
	}
	for _, n := range []int{4, 16, 20} {
		if r := s.Rows[n]; r == nil || r.Joined.All == 0 || r.Joined.Of != r.Joined.All {
			t.Errorf("row %d: %+v: %q", n, r, s.Notes)
		}
	}
}
