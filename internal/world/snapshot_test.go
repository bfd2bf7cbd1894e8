package world

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"ashiato/internal/event"
)

func snapshotOf(t interface {
	Helper()
	Fatal(...any)
}, w *World,
) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := w.Snapshot(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// mixed is a log with something of everything that is kept.
func mixed(t *rapid.T, most int) *log {
	var l log
	for n := range rapid.IntRange(1, most).Draw(t, "n") {
		after := time.Duration(rapid.IntRange(0, 60).Draw(t, "after")) * 500 * time.Millisecond
		seq := rapid.IntRange(1, 9).Draw(t, "process")
		var e *event.Event
		switch rapid.IntRange(0, 9).Draw(t, "kind") {
		case 0:
			e = l.start(after, seq, rapid.IntRange(0, 9).Draw(t, "parent"))
		case 1:
			e = l.end(after, seq)
		case 2:
			e = l.by(3, after, seq, "DestinationIp", fmt.Sprintf("192.0.2.%d", n%7), "Initiated", "true")
		case 3:
			e = l.by(11, after, seq, "TargetFilename", fmt.Sprintf(`E:\%d.exe`, n%3))
		case 4:
			e = l.by(13, after, seq, "EventType", "SetValue", "TargetObject", fmt.Sprintf(`HKLM\System\CurrentControlSet\Services\s%d\ImagePath`, n%2), "Details", `C:\s.exe`)
		case 5:
			e = l.security(4688, after, "NewProcessId", fmt.Sprintf("0x%x", 1000+seq), "NewProcessName", fmt.Sprintf(`C:\p\%d.exe`, seq), "ProcessId", "0x4")
		case 6:
			e = l.security(6416, after, "DeviceId", fmt.Sprintf(`USBSTOR\Disk&Ven_A&Prod_B&Rev_1\S%d&0`, n%2), "DeviceDescription", "Disk drive", "ClassName", "DiskDrive")
		case 7:
			e = l.security(1102, after, "SubjectUserName", "x")
		case 8:
			e = l.by(12, after, seq) // not kept
		case 9:
			e = l.by(8, after, seq, "TargetProcessGuid", guid(n%9))
		}
		switch rapid.IntRange(0, 5).Draw(t, "number") {
		case 0:
			e.Ref.RecordID = 0
			e.Ref.SHA256 = sha256.Sum256([]byte(fmt.Sprint(n)))
		case 1:
			e.Ref.RecordID *= 1000
		case 2:
			e.Ref.RecordID = 7 // a number used more than once
		}
		if rapid.IntRange(0, 4).Draw(t, "host") == 0 {
			e.Host = rapid.SampledFrom([]string{"pc", "PC", "other", "", "p\xffc", "İx"}).Draw(t, "name")
			e.Ref.Host = e.Host
		}
		e.Ref.File = rapid.SampledFrom([]string{"f", "g"}).Draw(t, "file")
	}
	return &l
}

// TestRestoredWorldsGoOn holds that a World that is written at any offset, read
// again, and given everything from any earlier offset on, is the one that was
// never interrupted.
func TestRestoredWorldsGoOn(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := mixed(t, 60)
		if rapid.Bool().Draw(t, "crowded") {
			for n := range 900 {
				l.by(3, time.Duration(n)*time.Second, 1+n%9, "DestinationIp", fmt.Sprint(n), "Initiated", "true")
			}
			for n := range 900 {
				l.by(11, time.Duration(n)*time.Second, 1+n%9, "TargetFilename", fmt.Sprint(`C:\`, n%5))
			}
		}
		standings := []standing{detected, plain, counted, plain, plain}
		limits := Limits{HostBytes: MinHostBytes}
		at := rapid.IntRange(0, len(l.events)).Draw(t, "offset")
		from := rapid.IntRange(0, at).Draw(t, "from")
		one, whole := New(limits), New(limits)
		for i, e := range l.events {
			whole.add(e, standings[i%5])
			if i < at {
				one.add(e, standings[i%5])
			}
		}
		bytes := snapshotOf(t, one)
		again, err := Restore(strings.NewReader(string(bytes)), limits)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(describeWorld(one), describeWorld(again)); diff != "" {
			t.Fatalf("as it was read:\n%s", diff)
		}
		if again, err = Restore(strings.NewReader(string(bytes)), limits); err != nil {
			t.Fatal(err)
		}
		for i := from; i < len(l.events); i++ {
			again.add(l.events[i], standings[i%5])
		}
		if a, b := again.Repeated(), whole.Repeated()+at-from; a != b {
			t.Fatalf("%d repeated, want %d", a, b)
		}
		for _, w := range []*World{again, whole} {
			for _, s := range w.stores {
				s.repeated = 0
			}
		}
		if diff := cmp.Diff(describeWorld(whole), describeWorld(again)); diff != "" {
			t.Fatalf("written after %d of %d, then from %d on:\n%s", at, len(l.events), from, diff)
		}
	})
}

// The same set of records gives the same snapshot, but for the ledger's key.
func TestSnapshotIsAFixpoint(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := mixed(t, 60)
		one := snapshotOf(t, w.world())
		again, err := Restore(bytes.NewReader(one), Limits{})
		if err != nil {
			t.Fatal(err)
		}
		if two := snapshotOf(t, again); !bytes.Equal(one, two) {
			t.Fatalf("%d bytes, then %d other ones", len(one), len(two))
		}
	})
}

// Names and GUIDs as long as they may be are read again; longer hosts are no hosts.
func TestSnapshotOfLongNames(t *testing.T) {
	w := New(Limits{})
	for _, host := range []string{strings.Repeat("H", maxText), strings.Repeat("h", maxText+1)} {
		w.Add(&event.Event{
			Host: host, Channel: strings.Repeat("İ", maxName), Provider: strings.Repeat("p", maxName+1), Time: t0, Kind: event.ProcessCreate,
			Ref: event.EvidenceRef{RecordID: 1, File: strings.Repeat("f", maxName+1), Channel: strings.Repeat("c", maxName+1)},
			Data: event.Fields{
				{Name: "ProcessGuid", Value: strings.Repeat("-", maxText) + guid(1)},
				{Name: "ParentProcessGuid", Value: guid(2)},
				{Name: "Image", Value: strings.Repeat("i", maxText+1)},
			},
		})
	}
	again, err := Restore(bytes.NewReader(snapshotOf(t, w)), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(describeWorld(w), describeWorld(again)) || len(w.Hosts()) != 1 || w.Lost().Records != 1 || w.ByGUID(strings.Repeat("H", maxText), guid(2)) == nil {
		t.Errorf("%d hosts, lost %+v", len(w.Hosts()), w.Lost())
	}
}

func seedWorld() *World {
	var l log
	l.start(0, 1, 0)
	l.by(11, time.Second, 1, "TargetFilename", `C:\a.exe`)
	l.security(4688, time.Second, "NewProcessId", "0x3e9", "NewProcessName", `C:\b.exe`, "ProcessId", "0x4")
	l.end(time.Minute, 1).Ref.RecordID = 0
	l.by(12, time.Minute, 1)
	return l.world()
}

func twoHosts() *World {
	w := New(Limits{})
	for _, host := range []string{"a", "b"} {
		w.Add(&event.Event{Host: host, Time: t0, Ref: event.EvidenceRef{RecordID: 1}})
	}
	return w
}

func TestDamagedSnapshotsAreRefused(t *testing.T) {
	good := snapshotOf(t, seedWorld())
	for n := range good {
		if _, err := Restore(bytes.NewReader(good[:n]), Limits{}); !errors.Is(err, ErrSnapshot) {
			t.Fatalf("the first %d bytes: %v", n, err)
		}
		bad := bytes.Clone(good)
		bad[n] ^= 0x20
		if _, err := Restore(bytes.NewReader(bad), Limits{}); !errors.Is(err, ErrSnapshot) {
			t.Fatalf("byte %d changed: %v", n, err)
		}
	}
	for _, c := range []struct {
		name string
		data []byte
		want string
		l    Limits
	}{
		{"nothing", nil, "ends too early", Limits{}},
		{"something else", bytes.Repeat([]byte("x"), 100), "does not begin as one", Limits{}},
		{"another version", append([]byte("ASHIWLD\x09"), good[8:]...), "version is 9", Limits{}},
		{"other fields", append([]byte(snapshotMagic+"12345678"), good[16:]...), "keeps other fields", Limits{}},
		{"more than that", append(bytes.Clone(good), 0), "more behind its end", Limits{}},
		{"too many hosts", snapshotOf(t, twoHosts()), "more than 1", Limits{Hosts: 1}},
	} {
		_, err := Restore(bytes.NewReader(c.data), c.l)
		if !errors.Is(err, ErrSnapshot) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	failing := errors.New("the disk is gone")
	if _, err := Restore(&failingReader{good[:40], failing}, Limits{}); !errors.Is(err, failing) || errors.Is(err, ErrSnapshot) {
		t.Errorf("a reader that fails: %v", err)
	}
	if err := seedWorld().Snapshot(failingWriter{failing}); !errors.Is(err, failing) {
		t.Errorf("a writer that fails: %v", err)
	}
}

type failingReader struct {
	data []byte
	err  error
}

func (r *failingReader) Read(b []byte) (int, error) {
	if len(r.data) == 0 {
		return 0, r.err
	}
	n := copy(b, r.data)
	r.data = r.data[n:]
	return n, nil
}

type failingWriter struct{ err error }

func (w failingWriter) Write([]byte) (int, error) { return 0, w.err }

// FuzzRestore holds that what is read as a snapshot is a World that answers,
// takes events in, and is written and read again as itself. The checksum is put
// right, so that what is behind it is reached.
func FuzzRestore(f *testing.F) {
	good := snapshotOf(f, seedWorld())
	f.Add(good[:len(good)-sha256.Size])
	f.Add([]byte(snapshotMagic))
	var l log
	for n := range 40 {
		l.start(time.Duration(n)*time.Second, n+1, n)
		l.by(11, time.Second, n, "TargetFilename", `C:\a.exe`)
	}
	more := snapshotOf(f, l.world())
	f.Add(more[:len(more)-sha256.Size])
	limits := Limits{HostBytes: MinHostBytes, Hosts: 100}
	f.Fuzz(func(t *testing.T, body []byte) {
		sum := sha256.Sum256(body)
		w, err := Restore(bytes.NewReader(append(bytes.Clone(body), sum[:]...)), limits)
		if err != nil {
			if !errors.Is(err, ErrSnapshot) {
				t.Fatalf("%v", err)
			}
			return
		}
		one := snapshotOf(t, w)
		again, err := Restore(bytes.NewReader(one), limits)
		if err != nil {
			t.Fatalf("written again: %v", err)
		}
		if two := snapshotOf(t, again); !bytes.Equal(one, two) {
			t.Fatal("written again it is another")
		}
		for _, e := range l.events {
			w.Add(e)
			again.Add(e)
		}
		if a, b := describeWorld(w), describeWorld(again); !slices.Equal(a, b) {
			t.Fatal(cmp.Diff(a, b))
		}
		w.Services()
		w.Tasks()
		w.Volumes()
	})
}
