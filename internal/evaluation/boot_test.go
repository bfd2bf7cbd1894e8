package evaluation

import (
	"slices"
	"strings"
	"testing"

	"ashiato/internal/world"
)

// TestInterleavedHostsHaveOneBootAtATime holds that of two scenarios on one host
// every process has a boot id of the host's own, its own start key, and the time
// of its start in its ProcessGuid, and that the truth still finds it.
func TestInterleavedHostsHaveOneBootAtATime(t *testing.T) {
	a, b := built(t, "psexec"), built(t, "bits-job")
	c := Interleave(a, b, interleaved)
	boots := map[string][]uint64{}
	for host, list := range bootsOf(a) {
		for _, s := range list {
			boots[world.HostKey(host)] = append(boots[world.HostKey(host)], s.id)
		}
	}
	owner := map[string]string{} // start key → ProcessGuid
	second := 0
	for _, e := range c.Events {
		if e.ID != 1 || !strings.Contains(e.Channel, "Sysmon") {
			continue
		}
		at, key, ok := world.ParseGUID(e.Value("ProcessGuid"))
		if !ok {
			t.Fatalf("%v: %q is no ProcessGuid", e.Ref, e.Value("ProcessGuid"))
		}
		if !slices.Contains(boots[world.HostKey(e.Host)], key>>48) {
			t.Errorf("%v runs under boot %d, has %v", e.Host, key>>48, boots[world.HostKey(e.Host)])
		}
		k := world.HostKey(e.Host) + "|" + strings.ToLower(e.Value("ProcessGuid"))
		if have, ok := owner[k]; ok && have != e.Value("ProcessId") {
			t.Errorf("%s is of two processes", k)
		}
		owner[k] = e.Value("ProcessId")
		if gap := e.Time.Sub(at); gap < 0 || gap > 2e9 {
			t.Errorf("%v: the GUID is of %v, the record of %v", e.Ref, at, e.Time)
		}
		if c.labels[e].scenario == 1 {
			second++
		}
	}
	if second == 0 {
		t.Fatal("nothing of the second scenario started")
	}
	g, _ := Analyse(pack(t), c.Events)
	index := newIndex(g)
	sc := &c.Scenarios[1]
	for _, h := range sc.Handoffs {
		if h.Label.Attack && h.To.Kind == "process" && len(h.To.Records) > 0 && len(index.nodes(sc, h.To)) != 1 {
			t.Errorf("%s is %v", name(h.To), index.nodes(sc, h.To))
		}
	}
}
