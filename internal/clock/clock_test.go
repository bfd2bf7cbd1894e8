package clock

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"ashiato/internal/event"
	"ashiato/internal/normalize"
)

var t0 = time.Date(2026, 3, 2, 7, 0, 0, 0, time.UTC)

// pair is a record of Sysmon whose entry's time is by later than its UtcTime.
func pair(file, host string, id uint32, n int, by time.Duration) *event.Event {
	own := t0.Add(time.Duration(n) * time.Second)
	return &event.Event{
		Provider: "Microsoft-Windows-Sysmon", Channel: "Microsoft-Windows-Sysmon/Operational", ID: id, Host: host, Logged: own.Add(by),
		Data: event.Fields{{Name: "UtcTime", Value: own.Format("2006-01-02 15:04:05.000")}},
		Ref:  event.EvidenceRef{File: file, Host: host, RecordID: uint64(n + 1), Offset: int64(n)},
	}
}

func security(file, host string, n int, at time.Duration) *event.Event {
	return &event.Event{
		Provider: "Microsoft-Windows-Security-Auditing", Channel: "Security", ID: 4688, Host: host, Logged: t0.Add(at),
		Ref: event.EvidenceRef{File: file, Host: host, RecordID: uint64(n + 1), Offset: int64(n)},
	}
}

// count adds copies of the events in a pass with these offsets.
func count(events []*event.Event, o Offsets) *Tally {
	t := &Tally{}
	for _, e := range events {
		e := *e
		e.Offset = o.Of(&e)
		normalize.Event(&e)
		t.Add([]*event.Event{&e})
	}
	return t
}

// judge does what a scan does.
func judge(events []*event.Event) (Offsets, []Note) {
	o := count(events, Offsets{}).Offsets()
	return o, count(events, o).Notes(o)
}

// lies makes n records whose entries are late by what the delays say in turn.
func lies(n int, by ...time.Duration) []*event.Event {
	var events []*event.Event
	for i := range n {
		events = append(events, pair("a.json", "PC", 1, i, by[i%len(by)]))
	}
	return events
}

func TestOffsets(t *testing.T) {
	const ms, s, m, h = time.Millisecond, time.Second, time.Minute, time.Hour
	for _, c := range []struct {
		name   string
		events []*event.Event
		want   time.Duration
		kinds  []Kind
	}{
		{"honest", lies(100, 3*ms, 40*ms, 2*s), 0, nil},
		{"honest, whole seconds", lies(100, -999*ms, -200*ms, 400*ms), 0, nil},
		{"honest, slow to start", lies(100, 10*ms, 347*s), 0, nil},
		{"local time", lies(100, -4*h+3*ms, -4*h+40*ms), 4 * h, []Kind{LocalTime}},
		{"local time, whole seconds", lies(100, -4*h-999*ms, -4*h+300*ms), 4 * h, []Kind{LocalTime}},
		{"east of UTC, by the quarter", lies(100, 5*h+45*m+ms), -5*h - 45*m, []Kind{LocalTime}},
		{"dial of twelve hours", lies(100, -19*h+ms), 19 * h, []Kind{LocalTime}},
		{"farthest", lies(10, -26*h), 26 * h, []Kind{LocalTime}},
		{"too far", lies(10, -26*h-15*m), 0, []Kind{SensorTime, Uneven}},
		{"a day ahead of any zone", lies(10, 40*24*h), 0, []Kind{SensorTime, Uneven}},
		{"not by quarters", lies(100, -4*h+7*m), 0, []Kind{SensorTime, Uneven}},
		{"five", lies(5, -4*h), 4 * h, []Kind{LocalTime}},
		{"four are too few", lies(4, -4*h), 0, []Kind{SensorTime}},
		{"two zones", lies(100, -4*h, -5*h), 0, []Kind{SensorTime, Uneven}},
		{"half is honest", lies(100, -4*h, ms), 0, []Kind{SensorTime, Uneven}},
		{"a few were logged before the clock was set", append(lies(60, ms), lies(2, -9*h)...), 0, []Kind{SensorTime}},
		{"a few of local time as well", append(lies(95, -4*h), lies(5, -13*h)...), 4 * h, []Kind{LocalTime, SensorTime}},
		{"too many of local time as well", append(lies(94, -4*h), lies(6, -13*h)...), 0, []Kind{SensorTime, Uneven}},
		{"local time, half slow to start", lies(100, -4*h+ms, -4*h+300*s), 4 * h, []Kind{LocalTime}},
		{"local time, most slow", lies(100, -4*h+ms, -4*h+300*s, -4*h+200*s), 0, []Kind{SensorTime, Uneven}},
	} {
		o, notes := judge(c.events)
		var kinds []Kind
		for _, n := range notes {
			kinds = append(kinds, n.Kind)
		}
		if got := o.Of(c.events[0]); got != c.want || !slices.Equal(kinds, c.kinds) {
			t.Errorf("%s: offset %v, want %v; notes %v, want %v", c.name, got, c.want, kinds, c.kinds)
		}
	}
}

// Connections and look-ups have another clock: they are no evidence.
func TestTracedRecordsAreNoEvidence(t *testing.T) {
	var events []*event.Event
	for i := range 50 {
		events = append(events, pair("a.json", "PC", []uint32{3, 22}[i%2], i, -4*time.Hour))
	}
	events = append(events, lies(3, time.Millisecond)...)
	if o, notes := judge(events); !o.None() || len(notes) != 1 || notes[0].Kind != SensorTime || notes[0].Records != 50 || notes[0].Of != 53 {
		t.Errorf("%v %+v", o, notes)
	}
}

// An offset is that of one host in one file. A host that cannot show its own has
// the file's only where all others agree.
func TestWhoHasAnOffset(t *testing.T) {
	const h = time.Hour
	of := func(o Offsets, file, host string) time.Duration { return o.Of(security(file, host, 0, 0)) }
	var events []*event.Event
	for i := range 20 {
		events = append(events,
			pair("wec.json", "A", 1, i, -4*h), pair("wec.json", "B", 1, i, 0),
			pair("one.json", "A", 1, i, -5*h), pair("one.json", "a", 1, i+20, -5*h), pair("one.json", "D", 1, i, -5*h),
			pair("A.evtx", "A", 1, i, 0),
			pair("two.json", "A", 1, i, -4*h), pair("two.json", "D", 1, i, -5*h),
		)
	}
	events = append(events, security("one.json", "C", 1, 0), security("wec.json", "C", 1, 0), security("A.evtx", "A", 99, 0))
	o, notes := judge(events)
	for _, c := range []struct {
		file, host string
		want       time.Duration
	}{
		{"wec.json", "A", 4 * h},
		{"wec.json", "B", 0},
		{"wec.json", "C", 0},
		{"one.json", "A", 5 * h},
		{"one.json", "a", 5 * h},
		{"one.json", "C", 5 * h},
		{"two.json", "A", 4 * h},
		{"two.json", "D", 5 * h},
		{"two.json", "C", 0},
		{"A.evtx", "A", 0},
		{"other.json", "A", 0},
	} {
		if got := of(o, c.file, c.host); got != c.want {
			t.Errorf("%s in %s: %v, want %v", c.host, c.file, got, c.want)
		}
	}
	var said []string
	for _, n := range notes {
		said = append(said, fmt.Sprintf("%s %s %s %v %d %d/%d", n.File, n.Host, n.Kind, n.Offset, n.Moved, n.Records, n.Of))
	}
	want := []string{
		"one.json A local-time 5h0m0s 40 40/40", "one.json C local-time 5h0m0s 1 0/0", "one.json D local-time 5h0m0s 20 20/20",
		"two.json A local-time 4h0m0s 20 20/20", "two.json D local-time 5h0m0s 20 20/20",
		"wec.json A local-time 4h0m0s 20 20/20",
	}
	if d := cmp.Diff(want, said); d != "" {
		t.Error(d)
	}
}

// Forged records do not move honest ones, even if they are twice as many, and are
// themselves placed within a quarter of an hour of their entries.
func TestForgedTimes(t *testing.T) {
	for _, forged := range []time.Duration{-4 * time.Hour, 4 * time.Hour, -20 * time.Minute, 365 * 24 * time.Hour} {
		events := append(lies(1000, 5*time.Millisecond), lies(2000, forged)...)
		o, notes := judge(events)
		if !o.None() {
			t.Errorf("%v: twice as many forged as honest records move the honest ones: %v", forged, o)
		}
		if i := slices.IndexFunc(notes, func(n Note) bool { return n.Kind == SensorTime }); i < 0 || notes[i].Records != 2000 {
			t.Errorf("%v: notes %+v", forged, notes)
		}
		for _, e := range events {
			normalize.Event(e)
			if by := e.Logged.Sub(e.Time); by < -time.Second || by >= 15*time.Minute {
				t.Fatalf("%v: placed %v from its entry", forged, by)
			}
		}
	}
}

func TestDamagedRecordsAreNoEvidence(t *testing.T) {
	for _, flag := range []event.Flags{event.Carved, event.BadChecksum} {
		events := lies(50, -4*time.Hour)
		for _, e := range events {
			e.Flags |= flag
		}
		if o, notes := judge(events); !o.None() || len(notes) != 0 {
			t.Errorf("flag %d: %v %v", flag, o, notes)
		}
	}
}

// Input with more hosts than are told apart has no offsets, whichever come first.
func TestTooManyHosts(t *testing.T) {
	var tally Tally
	tally.Add(lies(100, -4*time.Hour))
	for i := range maxLogs + 1 {
		tally.Add([]*event.Event{pair("a.json", fmt.Sprint("host ", i), 1, i, 0)})
	}
	if !tally.Full() || !tally.Offsets().None() {
		t.Errorf("full %v, %v", tally.Full(), tally.Offsets())
	}
}

// The offsets and notes are those of the set of records: neither their order, nor
// how they are cut into batches, nor who adds them at once changes anything.
func TestOrderDoesNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var events []*event.Event
		for _, host := range []string{"A", "a", "B", "C"} {
			by := time.Duration(rapid.IntRange(-2, 2).Draw(t, "quarters "+host)) * step
			for i := range rapid.IntRange(0, 30).Draw(t, "records "+host) {
				late := by + time.Duration(rapid.IntRange(0, 3).Draw(t, "ms"))*time.Millisecond
				if rapid.IntRange(0, 20).Draw(t, "odd") == 0 {
					late += time.Duration(rapid.IntRange(-30, 30).Draw(t, "minutes")) * time.Minute
				}
				events = append(events, pair([]string{"x.json", "y.json"}[i%2], host, []uint32{1, 3, 11}[i%3], i, late))
			}
			events = append(events, security("x.json", host, 1, by))
		}
		wantOffsets, wantNotes := judge(events)
		seed := rapid.Uint64().Draw(t, "seed")
		r := rand.New(rand.NewPCG(seed, 0))
		r.Shuffle(len(events), func(i, j int) { events[i], events[j] = events[j], events[i] })
		pass := func(o Offsets) *Tally {
			tally := &Tally{}
			var wg sync.WaitGroup
			for batch := range slices.Chunk(events, 1+r.IntN(9)) {
				copies := make([]*event.Event, len(batch))
				for i, e := range batch {
					c := *e
					c.Offset = o.Of(&c)
					normalize.Event(&c)
					copies[i] = &c
				}
				wg.Go(func() { tally.Add(copies) })
			}
			wg.Wait()
			return tally
		}
		o := pass(Offsets{}).Offsets()
		notes := pass(o).Notes(o)
		if d := cmp.Diff(wantOffsets, o, cmp.AllowUnexported(Offsets{})); d != "" {
			t.Fatal(d)
		}
		if d := cmp.Diff(wantNotes, notes); d != "" {
			t.Fatal(d)
		}
	})
}

// TestOffsetsTogether holds what Or, First and Equal say of offsets to what each
// event gets.
func TestOffsetsTogether(t *testing.T) {
	files, hosts := []string{"a", "b"}, []string{"x", "y"}
	draw := func(t *rapid.T, name string) Offsets {
		o := Offsets{map[Log]time.Duration{}, map[string]time.Duration{}}
		for _, f := range files {
			if d := rapid.IntRange(0, 2).Draw(t, name+f); d > 0 {
				o.files[f] = time.Duration(d-1) * time.Hour
			}
			for _, h := range hosts {
				if d := rapid.IntRange(0, 2).Draw(t, name+f+h); d > 0 {
					o.logs[Log{f, h}] = time.Duration(d-1) * time.Hour
				}
			}
		}
		return o
	}
	rapid.Check(t, func(t *rapid.T) {
		a, b := draw(t, "a"), draw(t, "b")
		same := true
		for _, f := range files {
			for _, h := range append(hosts, "none") {
				e := &event.Event{Host: h, Ref: event.EvidenceRef{File: f}}
				if x, y := a.Or(b).Of(e), a.First(b, e); x != y {
					t.Fatalf("%s of %s: %v or %v", h, f, x, y)
				}
				same = same && a.Of(e) == b.Of(e)
			}
		}
		if a.Equal(b) != same {
			t.Fatalf("equal: %v, the events' offsets are the same: %v", a.Equal(b), same)
		}
	})
}
