package analysis

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ashiato/internal/detect"
	"ashiato/internal/event"
	"ashiato/internal/incident"
)

func written(t testing.TB, a *Analysis, note string) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := a.Snapshot(&b, []byte(note)); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func read(t testing.TB, data []byte, opt Options) *Analysis {
	t.Helper()
	a, note, err := Restore(bytes.NewReader(data), opt)
	if err != nil {
		t.Fatal(err)
	}
	if string(note) != "note" {
		t.Fatalf("note %q", note)
	}
	return a
}

// TestRestoredAnalysesGoOn holds that an analysis that is written at any time, read
// again, and given everything from any earlier time on, says what one says that
// was never interrupted, and what became of the incidents that were known then.
func TestRestoredAnalysesGoOn(t *testing.T) {
	all := events(t)
	opt := Options{Engine: engine(t), RuleSet: "r"}
	for seed := range uint64(8) {
		r := rand.New(rand.NewPCG(seed, 11))
		batches := stream(r, all)
		at := r.IntN(len(batches))
		from := r.IntN(at + 1)
		one, whole := New(opt), New(opt)
		for i, b := range batches {
			whole.Add(b)
			if i <= at {
				one.Add(b)
			}
		}
		var before []incident.Earlier
		for _, i := range one.Update().Incidents {
			before = append(before, earlierOf(i))
		}
		data := written(t, one, "note")
		again := read(t, data, opt)
		if two := written(t, again, "note"); !bytes.Equal(data, two) {
			t.Fatalf("seed %d: written again, a state of %d bytes has %d other ones", seed, len(data), len(two))
		}
		same(t, one.Update().Incidents, again.Update().Incidents, fmt.Sprintf("seed %d as it was read", seed))
		again = read(t, data, opt)
		for _, b := range batches[from:] {
			again.Add(copiedEvents(b))
		}
		want, got := whole.Update(), again.Update()
		same(t, want.Incidents, got.Incidents, fmt.Sprintf("seed %d, written after %d of %d batches, then from %d on", seed, at+1, len(batches), from))
		if diff := cmp.Diff(incident.Changes(before, want.Incidents), got.Changes); diff != "" {
			t.Fatalf("seed %d:\n%s", seed, diff)
		}
		twice := int64(0)
		for _, b := range batches[from : at+1] {
			twice += int64(len(b))
		}
		if w, g := want.Seen, got.Seen; g.Events != w.Events+twice || g.Repeated != w.Repeated+twice || !slices.Equal(g.Hosts, w.Hosts) ||
			!g.First.Equal(w.First) || !g.Last.Equal(w.Last) || whole.Applicable() != again.Applicable() {
			t.Fatalf("seed %d: %+v, want %+v and %d more", seed, g, w, twice)
		}
		if diff := cmp.Diff(whole.Gaps(), again.Gaps()); diff != "" {
			t.Fatalf("seed %d:\n%s", seed, diff)
		}
	}
}

// copiedEvents are events as they are read again.
func copiedEvents(events []*event.Event) []*event.Event {
	out := make([]*event.Event, len(events))
	for i, e := range events {
		c := *e
		out[i] = &c
	}
	return out
}

// little is an analysis with something in every part of its state.
func little(t testing.TB, opt Options) *Analysis {
	t.Helper()
	a := New(opt)
	for _, s := range events(t)[1:2] {
		a.Add(s[:len(s)/3])
	}
	a.found.lost, a.found.fenced = 3, true
	a.found.fence = position{detect.Low, events(t)[0][0].Time.AddDate(10, 0, 0), identity{rule: "x"}}
	a.Update()
	return a
}

func TestUnusableStatesAreRefused(t *testing.T) {
	opt := Options{Engine: engine(t), RuleSet: "r"}
	good := written(t, little(t, opt), "note")
	summed := func(body []byte) []byte {
		sum := sha256.Sum256(body)
		return append(bytes.Clone(body), sum[:]...)
	}
	body := good[:len(good)-sha256.Size]
	other := opt
	other.RuleSet = "another"
	for _, c := range []struct {
		name string
		data []byte
		opt  Options
		want error
		says string
	}{
		{"nothing", nil, opt, ErrState, "does not begin as one"},
		{"something else", []byte("<html>...................................................."), opt, ErrState, "does not begin as one"},
		{"its beginning", good[:5], opt, ErrState, "ends too early"},
		{"another version", append([]byte("ASHISTA\x09"), good[8:]...), opt, ErrState, "its version is 9, and this program reads 1"},
		{"cut", good[:len(good)/2], opt, ErrState, "checksum"},
		{"a byte changed", append(append(bytes.Clone(good[:99]), good[99]^1), good[100:]...), opt, ErrState, "checksum"},
		{"more behind", summed(append(bytes.Clone(body), 0)), opt, ErrState, "more behind its end"},
		{"a part missing", summed(body[:len(body)/2]), opt, ErrState, ""},
		{"other rules", good, other, ErrOtherRules, "(r, not another)"},
	} {
		_, _, err := Restore(bytes.NewReader(c.data), c.opt)
		if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %v with %q", c.name, err, c.want, c.says)
		}
	}
	failing := errors.New("the disk is full")
	if err := little(t, opt).Snapshot(failingWriter{failing}, nil); !errors.Is(err, failing) {
		t.Errorf("a writer that fails: %v", err)
	}
}

type failingWriter struct{ err error }

func (w failingWriter) Write([]byte) (int, error) { return 0, w.err }

// FuzzRestore holds that what is read as a state is an analysis that can be asked,
// takes events in, and is written and read again as itself. The checksum is put
// right, so that what is behind it is reached.
func FuzzRestore(f *testing.F) {
	few, err := alone()
	if err != nil {
		f.Fatal(err)
	}
	opt := Options{Engine: few, RuleSet: "r"}
	var started []*event.Event
	for n := range 16 {
		e := event.New(0)
		e.Provider, e.Channel, e.Host, e.ID, e.Kind = "Microsoft-Windows-Sysmon", "Microsoft-Windows-Sysmon/Operational", []string{"a", "b"}[n%2], 1, event.ProcessCreate
		e.Time = time.Date(2026, 3, 2, 1, 0, n, 0, time.UTC)
		e.Ref = event.EvidenceRef{Host: e.Host, Channel: e.Channel, RecordID: uint64(n + 1), File: "f"}
		e.Data = event.Fields{
			{Name: "ProcessGuid", Value: fmt.Sprintf("{3f5c91a7-0000-6900-%02x00-000000000800}", n/2+1)},
			{Name: "Image", Value: `C:\x\cmd.exe`},
			{Name: "CommandLine", Value: fmt.Sprint("cmd ", n/2)},
			{Name: "ParentProcessGuid", Value: fmt.Sprintf("{3f5c91a7-0000-6900-%02x00-000000000800}", n/4+1)},
		}
		started = append(started, e)
	}
	a := New(opt)
	a.Add(started[:12])
	a.Update()
	good := written(f, a, "note")
	f.Add(good[:len(good)-sha256.Size])
	empty := written(f, New(opt), "")
	f.Add(empty[:len(empty)-sha256.Size])
	f.Add([]byte(Signature))
	more := started[8:16]
	f.Fuzz(func(t *testing.T, body []byte) {
		sum := sha256.Sum256(body)
		a, note, err := Restore(bytes.NewReader(append(bytes.Clone(body), sum[:]...)), opt)
		if err != nil {
			if !errors.Is(err, ErrState) && !errors.Is(err, ErrOtherRules) {
				t.Fatal(err)
			}
			return
		}
		one := written(t, a, string(note))
		again, _, err := Restore(bytes.NewReader(one), opt)
		if err != nil {
			t.Fatalf("written again: %v", err)
		}
		if two := written(t, again, string(note)); !bytes.Equal(one, two) {
			t.Fatal("written again it is another")
		}
		a.Add(copiedEvents(more))
		again.Add(copiedEvents(more))
		same(t, a.Update().Incidents, again.Update().Incidents, "read twice")
	})
}
