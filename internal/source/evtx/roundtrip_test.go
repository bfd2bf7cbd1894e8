package evtx_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"ashiato/internal/event"
	"ashiato/internal/source/evtx"
)

// wtf8 generates text of every kind that a record can hold, as package event
// keeps it: lone surrogates, controls, blanks at both ends, NUL inside.
func wtf8() *rapid.Generator[string] {
	units := rapid.SliceOfN(rapid.OneOf(
		rapid.Uint16Range('a', 'z'),
		rapid.SampledFrom([]uint16{' ', '\t', '\n', '\\', '"', '<', '&', 0, 1, 0x7f, 0xa0, 0x200b, 0x202e, 0xfeff, 0xfffe, 0xffff, 0xd800, 0xdbff, 0xdc00, 0xdfff}),
		rapid.Uint16(),
	), 0, 40)
	return rapid.Custom(func(t *rapid.T) string {
		var le []byte
		for _, u := range units.Draw(t, "units") {
			le = append(le, byte(u), byte(u>>8))
		}
		return strings.TrimRight(string(event.AppendUTF16(nil, le)), "\x00")
	})
}

func someEvent() *rapid.Generator[*event.Event] {
	text := wtf8()
	names := rapid.OneOf(
		rapid.SampledFrom([]string{"Image", "CommandLine", "Data", "Name", "Binary", "EventData", "名前", "ProcessGuid", "ProcessId", "LogonId", "UserSid"}),
		text.Filter(func(s string) bool { return s != "" }),
	)
	values := rapid.OneOf(
		text,
		rapid.SampledFrom([]string{
			"", " ", `C:\Windows \System32\printui.exe`, "0x3e7", "0X3E7", "007", "7", "-1", "true", "True", "S-1-5-18", "S-1-5-018",
			"{365ABB72-0D5E-5CD7-0000-0010E6241700}", "{365abb72-0d5e-5cd7-0000-0010e6241700}", "18446744073709551615", "4294967296",
		}),
	)
	return rapid.Custom(func(t *rapid.T) *event.Event {
		e := &event.Event{
			Host:     text.Draw(t, "host"),
			Provider: rapid.OneOf(rapid.SampledFrom([]string{"Microsoft-Windows-Sysmon", "Microsoft-Windows-Security-Auditing"}), text).Draw(t, "provider"),
			Channel:  text.Draw(t, "channel"),
			ID:       rapid.OneOf(rapid.Uint32Max(70000), rapid.Uint32()).Draw(t, "id"),
			Version:  rapid.Uint8().Draw(t, "version"),
			Level:    rapid.Uint8().Draw(t, "level"),
			Opcode:   rapid.Uint8().Draw(t, "opcode"),
			Task:     rapid.Uint16().Draw(t, "task"),
			Keywords: rapid.Uint64().Draw(t, "keywords"),
			PID:      rapid.Uint32().Draw(t, "pid"),
			TID:      rapid.Uint32().Draw(t, "tid"),
			UserSID:  rapid.SampledFrom([]string{"", "S-1-5-18", "S-1-5-21-1-2-3-4294967295", "S-1-0x123456789abc-1"}).Draw(t, "user"),
			Logged:   time.Unix(rapid.Int64Range(-11_644_473_600, 253_402_300_799).Draw(t, "sec"), 100*rapid.Int64Range(0, 9_999_999).Draw(t, "ticks")).UTC(),
		}
		e.Ref.RecordID = rapid.Uint64Range(1, 1<<63).Draw(t, "record")
		for range rapid.IntRange(0, 12).Draw(t, "fields") {
			e.Data = append(e.Data, event.Field{Name: names.Draw(t, "name"), Value: values.Draw(t, "value")})
		}
		// One long value makes several chunks and long records likely.
		if n := rapid.SampledFrom([]int{0, 0, 0, 1000, 10000}).Draw(t, "long"); n > 0 {
			e.Data = append(e.Data, event.Field{Name: "ScriptBlockText", Value: strings.Repeat("猫", n)})
		}
		return e
	})
}

// sameEvents is a difference between what was written and what was read.
func sameEvents(want, got []*event.Event) string {
	return cmp.Diff(want, got, cmpopts.EquateEmpty(), cmpopts.IgnoreFields(event.Event{}, "Time", "Ref"))
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		events := rapid.SliceOfN(someEvent(), 0, 60).Draw(t, "events")
		types := rapid.SampledFrom([]func(*event.Event, string) evtx.Type{nil, evtx.WindowsTypes, anyType}).Draw(t, "types")
		var m memory
		w := evtx.NewWriter(&m)
		w.Types = types
		for _, e := range events {
			if err := w.Write(e); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		res := read(m.b)
		checkResult(t, m.b, res)
		if len(res.problems) > 0 {
			t.Fatalf("problems: %v", res.problems)
		}
		if diff := sameEvents(events, res.events); diff != "" {
			t.Fatalf("written (-), read (+):\n%s", diff)
		}
		for i, e := range res.events {
			if e.Ref.RecordID != events[i].Ref.RecordID {
				t.Fatalf("record id %d became %d", events[i].Ref.RecordID, e.Ref.RecordID)
			}
		}
		if general := readGeneral(m.b); !reflect.DeepEqual(res, general) {
			t.Fatalf("by programs %+v, the general way %+v", res, general)
		}
		if n := walkRecords(m.b); n != len(events) {
			t.Fatalf("%d records in the file, %d written", n, len(events))
		}
	})
}

// anyType asks for a type that has nothing to do with the field, so that most
// values fit it by chance or not at all.
func anyType(_ *event.Event, field string) evtx.Type {
	all := []evtx.Type{
		evtx.String, evtx.Int32, evtx.Uint8, evtx.Uint16, evtx.Uint32, evtx.Uint64, evtx.Bool, evtx.Binary,
		evtx.GUID, evtx.FileTime, evtx.SID, evtx.Hex32, evtx.Hex64, 0xff,
	}
	return all[len(field)%len(all)]
}

// intrusion is a plain log of n records.
func intrusion(n int) []*event.Event {
	events := make([]*event.Event, n)
	for i := range events {
		events[i] = &event.Event{
			Provider: "Microsoft-Windows-Sysmon", Channel: "Microsoft-Windows-Sysmon/Operational", Host: "HOST-1",
			ID: 1, Version: 5, Level: 4, Task: 1, Keywords: 1 << 63, PID: 1234, TID: 5678, UserSID: "S-1-5-18",
			Logged: time.Date(2024, 12, 1, 9, 0, i, 123_456_700, time.UTC),
			Data: event.Fields{
				{Name: "UtcTime", Value: "2024-12-01 09:00:00.123"},
				{Name: "ProcessGuid", Value: fmt.Sprintf("{365ABB72-0D5E-5CD7-0000-%012X}", i)},
				{Name: "ProcessId", Value: fmt.Sprint(1000 + i)},
				{Name: "Image", Value: `C:\Windows \System32\printui.exe`},
				{Name: "CommandLine", Value: `"C:\Windows \System32\printui.exe" <&> ` + strings.Repeat("x", i%50) + " "},
				{Name: "Description", Value: ""},
			},
		}
		events[i].Ref.RecordID = uint64(100 + i)
	}
	return events
}

func TestWriterIsDeterministic(t *testing.T) {
	a, b := write(t, intrusion(200)), write(t, intrusion(200))
	if !bytes.Equal(a, b) {
		t.Error("the same events gave different bytes")
	}
	if (len(a)-4096)%65536 != 0 || len(a) < 4096+2*65536 {
		t.Errorf("%d bytes are no header and several chunks", len(a))
	}
}

func TestWriterEmpty(t *testing.T) {
	b := write(t, nil)
	res := read(b)
	if len(res.events) != 0 || len(res.problems) != 0 || res.stats.FilesRead != 1 {
		t.Errorf("an empty log reads as %+v", res)
	}
}

func TestWriterNumbersRecords(t *testing.T) {
	events := intrusion(3)
	events[0].Ref.RecordID, events[1].Ref.RecordID, events[2].Ref.RecordID = 0, 70, 0
	events[2].Logged, events[2].Time = time.Time{}, time.Date(2025, 1, 1, 0, 0, 0, 99, time.UTC)
	got := clean(t, write(t, events))
	for i, want := range []uint64{1, 70, 71} {
		if got[i].Ref.RecordID != want {
			t.Errorf("record %d has id %d, want %d", i, got[i].Ref.RecordID, want)
		}
	}
	if want := time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC); !got[2].Logged.Equal(want) {
		t.Errorf("time %v, want Time cut to 100 ns", got[2].Logged)
	}
}

func TestWriterRefuses(t *testing.T) {
	change := func(f func(e *event.Event)) *event.Event {
		e := intrusion(1)[0]
		f(e)
		return e
	}
	for _, c := range []struct {
		name, want string
		e          *event.Event
	}{
		{"long value", "does not fit into an EVTX chunk", change(func(e *event.Event) { e.Data[0].Value = strings.Repeat("x", 32500) })},
		{"huge value", "does not fit into an EVTX chunk", change(func(e *event.Event) { e.Data[0].Value = strings.Repeat("x", 1<<20) })},
		{"many fields", "does not fit into an EVTX chunk", change(func(e *event.Event) { e.Data = make(event.Fields, 70000) })},
		{"time", "begins in 1601", change(func(e *event.Event) { e.Logged = time.Date(1600, 1, 1, 0, 0, 0, 0, time.UTC) })},
		{"no time", "begins in 1601", change(func(e *event.Event) { e.Logged = time.Time{} })},
		{"late time", "cannot be written", change(func(e *event.Event) { e.Logged = time.Date(31000, 1, 1, 0, 0, 0, 0, time.UTC) })},
		{"nameless", "no name", change(func(e *event.Event) { e.Data[1].Name = "" })},
		{"NUL", "value of Image ends in NUL", change(func(e *event.Event) { e.Data[3].Value = "x\x00" })},
		{"NUL name", "ends in NUL", change(func(e *event.Event) { e.Data[3].Name = "x\x00" })},
		{"NUL host", "the host ends in NUL", change(func(e *event.Event) { e.Host = "x\x00" })},
		{"user", `"bob" is no SID`, change(func(e *event.Event) { e.UserSID = "bob" })},
	} {
		t.Run(c.name, func(t *testing.T) {
			var m memory
			w := evtx.NewWriter(&m)
			good := intrusion(300)
			for _, e := range good[:250] {
				if err := w.Write(e); err != nil {
					t.Fatal(err)
				}
			}
			err := w.Write(c.e)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("error %v, want one with %q", err, c.want)
			}
			if strings.Contains(c.name, "value") && !errors.Is(err, evtx.ErrTooLarge) {
				t.Errorf("%v is not ErrTooLarge", err)
			}
			for _, e := range good[250:] {
				if err := w.Write(e); err != nil {
					t.Fatalf("the next event: %v", err)
				}
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			if diff := sameEvents(good, clean(t, m.b)); diff != "" {
				t.Errorf("the refused event left a trace:\n%s", diff)
			}
		})
	}
}

// failing is a file on a disk that becomes full.
type failing struct {
	memory
	left int
}

var errFull = errors.New("disk full")

func (f *failing) Write(p []byte) (int, error) {
	if f.left -= len(p); f.left < 0 {
		return 0, errFull
	}
	return f.memory.Write(p)
}

func TestWriterErrorsStick(t *testing.T) {
	for _, left := range []int{0, 5000, 70000, 4096 + 2*65536} {
		f := &failing{left: left}
		w := evtx.NewWriter(f)
		var first error
		for _, e := range intrusion(200) {
			if err := w.Write(e); err != nil {
				if first != nil && !errors.Is(err, first) {
					t.Errorf("%v after %v", err, first)
				}
				first = err
			}
		}
		if err := w.Close(); !errors.Is(err, errFull) {
			t.Errorf("%d bytes of room: Close gave %v", left, err)
		}
	}
	w := evtx.NewWriter(&memory{})
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := w.Write(intrusion(1)[0]); err == nil {
		t.Error("a closed writer took an event")
	}
}

func TestWriterAfterSeek(t *testing.T) {
	var m memory
	w := evtx.NewWriter(&m)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if at, _ := m.Seek(0, io.SeekCurrent); at != int64(len(m.b)) {
		t.Errorf("Close left the file at %d of %d", at, len(m.b))
	}
}

// TestWriterOracles has two other readers read what was written.
func TestWriterOracles(t *testing.T) {
	// Both oracles write XML, which has no way to write most controls, lone
	// surrogates or an unpaired CR; libevtx 20181227 also mangles characters
	// beyond U+FFFF and drops a value that is a lone blank.
	plain := func(s string) string {
		s = strings.Map(func(r rune) rune {
			if r < 0x20 || r == 0x7f || r >= 0xD800 {
				return '_'
			}
			return r
		}, strings.ToValidUTF8(s, "_"))
		if strings.TrimSpace(s) == "" && s != "" {
			return "blank" + s
		}
		return s
	}
	// Neither escapes attribute values.
	attribute := func(s string) string {
		return strings.Map(func(r rune) rune {
			if strings.ContainsRune("<>&\"'", r) {
				return '_'
			}
			return r
		}, plain(s))
	}
	for _, oracle := range []func(*testing.T) oracle{evtxexport, pythonEvtx} {
		t.Run("", func(t *testing.T) {
			o := oracle(t)
			dir := t.TempDir()
			for seed := range 4 {
				events := rapid.SliceOfN(someEvent(), 1, 60).Example(seed)
				events = append(events, intrusion(100)...)
				// evtxexport refuses a record whose provider is empty or whose
				// channel is "&" alone, hence the letters before them. Record ids
				// in no order are all the same to both.
				for i, e := range events {
					e.Ref.RecordID = uint64(100000*seed - 7*i + 70000)
					e.Host, e.Provider, e.Channel = plain(e.Host), "p"+attribute(e.Provider), "c"+plain(e.Channel)
					e.ID %= 1 << 16
					if strings.HasPrefix(e.UserSID, "S-1-0x") {
						e.UserSID = "" // the oracles write large authorities in decimal
					}
					e.Logged = time.Date(2024, 1, 1, 0, 0, i, 100*i, time.UTC)
					for j, f := range e.Data {
						e.Data[j] = event.Field{Name: attribute(f.Name), Value: plain(f.Value)}
					}
				}
				var m memory
				w := evtx.NewWriter(&m)
				if seed%2 == 1 {
					w.Types = evtx.WindowsTypes
				}
				for _, e := range events {
					if err := w.Write(e); err != nil {
						t.Fatal(err)
					}
				}
				if err := w.Close(); err != nil {
					t.Fatal(err)
				}
				file := filepath.Join(dir, fmt.Sprint(seed, ".evtx"))
				if err := os.WriteFile(file, m.b, 0o600); err != nil {
					t.Fatal(err)
				}
				docs, err := o.export(file)
				if err != nil {
					t.Fatal(err)
				}
				ours := clean(t, m.b)
				if len(docs) != len(ours) || len(ours) != len(events) {
					t.Fatalf("%d written, %d read here, %d by %s", len(events), len(ours), len(docs), o.name)
				}
				for i, doc := range docs {
					if diff := o.compare(ours[i], doc); diff != "" {
						t.Errorf("file %d, record %d: %s", seed, i, diff)
					}
				}
			}
		})
	}
}
