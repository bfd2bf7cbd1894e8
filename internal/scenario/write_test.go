package scenario

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"ashiato/internal/event"
	"ashiato/internal/normalize"
	"ashiato/internal/source"
	"ashiato/internal/source/auditd"
	"ashiato/internal/source/evtx"
	"ashiato/internal/source/ndjson"
	"ashiato/internal/source/xmlevent"
)

// readBack reads files and returns their records in order, without where they
// were found.
func readBack(t *testing.T, files []string, read source.ReadFunc) []*event.Event {
	t.Helper()
	var mu sync.Mutex
	var events []*event.Event
	for _, path := range files {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		as := read
		if filepath.Base(path) == "audit.log" {
			as = auditd.Read
		}
		_, problems := as(context.Background(), path, f, func(batch []*event.Event) {
			mu.Lock()
			defer mu.Unlock()
			events = append(events, batch...)
		})
		f.Close()
		for _, p := range problems {
			t.Errorf("reading it back: %v", p)
		}
	}
	return events
}

func TestWrittenAndReadBack(t *testing.T) {
	b := seed(t)
	for _, format := range []struct {
		name  string
		write func(string, *Built) ([]string, error)
		read  source.ReadFunc
		files int
	}{
		{"ndjson", WriteNDJSON, ndjson.Read, 2},
		{"xml", WriteXML, xmlevent.Read, 2},
		{"evtx", WriteEVTX, (&evtx.Reader{}).Read, 16},
	} {
		t.Run(format.name, func(t *testing.T) {
			dir := t.TempDir()
			files, err := format.write(dir, b)
			if err != nil {
				t.Fatal(err)
			}
			if len(files) != format.files || !slices.IsSorted(files) {
				t.Errorf("%d files, want %d: %q", len(files), format.files, files)
			}
			for _, f := range files {
				if text, err := os.ReadFile(f); err != nil {
					t.Error(err)
				} else if format.name == "ndjson" && strings.Contains(string(text), "\n\n") {
					t.Errorf("%s has an empty line", f)
				}
			}
			checkReadBack(t, b, readBack(t, files, format.read))
		})
	}
}

// checkReadBack fails unless the events are the build's, and normalisation knows
// them.
func checkReadBack(t *testing.T, b *Built, events []*event.Event) {
	t.Helper()
	if len(events) != len(b.Events) {
		t.Fatalf("%d records read, %d written", len(events), len(b.Events))
	}
	written := map[RecordKey]*event.Event{}
	for _, e := range b.Events {
		written[KeyOf(e)] = e
	}
	for _, e := range events {
		w := written[KeyOf(e)]
		if w == nil {
			t.Fatalf("nothing like %+v was written", KeyOf(e))
		}
		got, want := *e, *w
		got.Ref, want.Ref = event.EvidenceRef{}, event.EvidenceRef{}
		got.Time, want.Time = got.Logged, want.Logged // normalisation takes UtcTime
		same(t, want, got)
		if t.Failed() {
			t.FailNow()
		}
		normalize.Event(e)
		if !e.Time.Equal(w.Time) {
			t.Fatalf("%s %d: normalised to %s, built for %s", e.Provider, e.ID, e.Time, w.Time)
		}
		if e.Kind == event.Other && e.Provider != "Microsoft-Windows-Kernel-General" { // a start and an end of Windows mean nothing to the joins
			t.Errorf("%s %d has no kind", e.Provider, e.ID)
		}
	}
}

// Every record template survives being written and read, and normalisation knows
// it.
func TestEveryRecordReadBack(t *testing.T) {
	b := build(t, parse(t, "every.txtar", []byte(everyVerb)))
	for _, format := range []struct {
		name  string
		write func(string, *Built) ([]string, error)
		read  source.ReadFunc
	}{
		{"ndjson", WriteNDJSON, ndjson.Read},
		{"xml", WriteXML, xmlevent.Read},
		{"evtx", WriteEVTX, (&evtx.Reader{}).Read},
	} {
		t.Run(format.name, func(t *testing.T) {
			files, err := format.write(t.TempDir(), b)
			if err != nil {
				t.Fatal(err)
			}
			checkReadBack(t, b, readBack(t, files, format.read))
		})
	}
}

func TestFileNames(t *testing.T) {
	b := build(t, parse(t, "t.txtar", []byte(strings.Replace(small("-- steps --\n+1s end explorer\n"), "host pc\n", "host pc\n    name ../A:B\n", 1))))
	dir := t.TempDir()
	files, err := WriteEVTX(dir, b)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		filepath.Join(dir, ".._A_B", "Microsoft-Windows-Sysmon%4Operational.evtx"),
		filepath.Join(dir, ".._A_B", "Security.evtx"),
	}
	if !slices.Equal(files, want) {
		t.Errorf("got %q, want %q", files, want)
	}
	for in, want := range map[string]string{"..": "_", "": "_", "a/b": "a_b", "HOST-1": "HOST-1"} {
		if got := fileName(in); got != want {
			t.Errorf("%q becomes %q, want %q", in, got, want)
		}
	}
}

func TestWriteSaysWhereItFailed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := WriteNDJSON(file, seed(t, "background", "0")); err == nil || !strings.Contains(err.Error(), "writing scenario usb-coinminer.txtar") {
		t.Errorf("got %v", err)
	}
}
