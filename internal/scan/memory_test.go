package scan

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ashiato/internal/source"
	"ashiato/internal/world"
)

// TestCrowdedHost holds that what a host writes beyond what the joins may hold
// of it is given up and said, that the attack in the midst of it is not, and that
// nothing is given up where there is room.
func TestCrowdedHost(t *testing.T) {
	logs, built := scenarioLogs(t, "usb-coinminer.txtar")
	quiet := run(t, Options{Paths: []string{logs}, Engine: engine(t)})
	found := func(r *Result) (all []string) { // by each incident, all that it holds
		for _, inc := range r.Incidents {
			var held []string
			for _, d := range inc.Detections {
				held = append(held, fmt.Sprint(d.Rule.Name, " ", d.Event.Channel, d.Event.Ref.RecordID))
			}
			slices.Sort(held)
			all = append(all, strings.Join(held, "\n"))
		}
		slices.Sort(all)
		return all
	}
	first := built.Events[0]
	var flood strings.Builder
	for n := range 6000 {
		guid := fmt.Sprintf("{3f5c91a7-0000-6900-%02x%02x-00000000f7ff}", n/2&0xff, n/2>>8)
		at := first.Time.Add(time.Duration(n) * time.Millisecond).Format("2006-01-02T15:04:05.000Z")
		id, data := 1+n%2*4, `"ParentProcessId":"4","CommandLine":"C:\\quiet\\idle.exe"`
		if n%3 == 0 {
			id, data = 3, fmt.Sprintf(`"DestinationIp":"192.0.2.%d","DestinationPort":"443","Initiated":"true"`, n%250)
		}
		fmt.Fprintf(&flood, `{"Event":{"System":{"Provider":{"#attributes":{"Name":"Microsoft-Windows-Sysmon"}},"EventID":%d,"Channel":"Microsoft-Windows-Sysmon/Operational","Computer":%q,"EventRecordID":%d,"TimeCreated":{"#attributes":{"SystemTime":%q}}},"EventData":{"ProcessGuid":%q,"ProcessId":"%d","Image":"C:\\quiet\\idle.exe",%s}}}`+"\n",
			id, first.Host, 5_000_000+n, at, guid, 70000+n/2, data)
	}
	path := filepath.Join(t.TempDir(), "flood.ndjson")
	if err := os.WriteFile(path, []byte(flood.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	var crowded *Result
	for _, bytes := range []int64{512 << 10, 1 << 20} {
		crowded = run(t, Options{Paths: []string{logs, path}, Engine: engine(t), Limits: world.Limits{HostBytes: bytes}})
		if diff := cmp.Diff(found(quiet), found(crowded)); diff != "" {
			t.Errorf("with %d bytes for a host, the incidents differ:\n%s", bytes, diff)
		}
	}
	i := slices.IndexFunc(crowded.Problems, func(p source.Problem) bool {
		return p.Kind == source.TooLarge && strings.Contains(p.Detail, "--joins-memory")
	})
	if i < 0 {
		t.Fatalf("problems: %v", crowded.Problems)
	}
	gaps := 0
	for _, g := range crowded.Gaps {
		if g.Reason == "state-limit" {
			gaps++
			if !strings.EqualFold(g.Host, first.Host) || g.Count != crowded.Problems[i].Lost {
				t.Errorf("gap %+v, but %d records", g, crowded.Problems[i].Lost)
			}
		}
	}
	if gaps != 1 {
		t.Errorf("%d gaps", gaps)
	}
	roomy := run(t, Options{Paths: []string{logs, path}, Engine: engine(t)})
	for _, p := range roomy.Problems {
		if p.Kind == source.TooLarge {
			t.Errorf("with room: %v", p)
		}
	}
}
