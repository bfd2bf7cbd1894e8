package analysis

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ashiato/internal/event"
	"ashiato/internal/normalize"
	"ashiato/internal/ruleset"
)

// TestStateOfALargeRecord holds that a state can be read again whose detections have
// a record of the largest size that readers take, for which many rules hold by the
// same large value.
func TestStateOfALargeRecord(t *testing.T) {
	const rules, size = 12, 8 << 20
	dir := t.TempDir()
	for n := range rules {
		rule := fmt.Sprintf("title: r%d\nlevel: high\nlogsource: {product: windows, category: process_creation}\ndetection: {s: {CommandLine|contains: 'bad'}, condition: s}\n", n)
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(n, ".yml")), []byte(rule), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	set, err := ruleset.Load(ruleset.Options{Rules: []string{dir}})
	if err != nil || len(set.Problems) > 0 {
		t.Fatal(err, set.Problems)
	}
	e := &event.Event{
		Provider: "Microsoft-Windows-Sysmon", Channel: "Microsoft-Windows-Sysmon/Operational", ID: 1, Host: "h", Time: time.Unix(1_700_000_000, 0).UTC(),
		Data: event.Fields{{Name: "Image", Value: `C:\x.exe`}, {Name: "ProcessId", Value: "7"}, {Name: "CommandLine", Value: "bad " + strings.Repeat("x", size)}},
		Ref:  event.EvidenceRef{Host: "h", Channel: "c", RecordID: 1, File: "f"},
	}
	normalize.Event(e)
	opt := Options{Engine: set.Engine}
	a := New(opt)
	a.Add([]*event.Event{e})
	if u := a.Update(); u.Detections != rules {
		t.Fatalf("%d detections", u.Detections)
	}
	var state bytes.Buffer
	if err := a.Snapshot(&state, nil); err != nil {
		t.Fatal(err)
	}
	b, _, err := Restore(bytes.NewReader(state.Bytes()), opt)
	if err != nil {
		t.Fatal(err)
	}
	if u := b.Update(); u.Detections != rules {
		t.Errorf("%d detections after reading", u.Detections)
	}
}

// TestStateOfManyNames holds the same for records whose hosts, logs and providers
// have names as long and as many as are told apart.
func TestStateOfManyNames(t *testing.T) {
	opt := Options{Engine: engine(t)}
	a := New(opt)
	long := strings.Repeat("x", 4000)
	for n := range 20_000 {
		a.Add([]*event.Event{{
			Provider: fmt.Sprint("p", n), Channel: fmt.Sprint(long, n), ID: 1, Host: fmt.Sprint(n, long), Time: time.Unix(1_700_000_000, 0).UTC(),
			Ref: event.EvidenceRef{RecordID: uint64(n + 1), File: "f"},
		}})
	}
	var state bytes.Buffer
	if err := a.Snapshot(&state, nil); err != nil {
		t.Fatal(err)
	}
	b, _, err := Restore(bytes.NewReader(state.Bytes()), opt)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(b.Update().Seen.Hosts); n != 20_000 {
		t.Errorf("%d hosts", n)
	}
}
