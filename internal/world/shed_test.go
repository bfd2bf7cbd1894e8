package world

import (
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"ashiato/internal/event"
)

// describeWorld says all that a World knows of processes, records and gaps.
func describeWorld(w *World) []string {
	all := describeRecords(w)
	for _, p := range w.Processes() {
		parent := ""
		if p.Parent != nil {
			parent = p.Parent.Key
		}
		all = append(all, fmt.Sprint(p.Key, p.PID, p.Image, p.CommandLine, p.User, p.Start, p.End, p.Implied, parent, p.ParentByGUID, p.Children, p.Folded, p.First, p.Last, p.Evidence))
	}
	for _, g := range w.Gaps() {
		all = append(all, fmt.Sprint(g))
	}
	return append(all, fmt.Sprintf("%+v %+v %d %v", w.Shed(), w.Lost(), w.Repeated(), w.Hosts()))
}

func (l *log) start(after time.Duration, seq, parent int) *event.Event {
	return l.sysmon(1, after, "ProcessGuid", guid(seq), "ProcessId", fmt.Sprint(1000+seq), "Image", fmt.Sprintf(`C:\p\%d.exe`, seq),
		"CommandLine", fmt.Sprintf(`C:\p\%d.exe --number %d`, seq, seq*7919), "ParentProcessGuid", guid(parent), "ParentProcessId", fmt.Sprint(1000+parent))
}

func (l *log) end(after time.Duration, seq int) *event.Event {
	return l.sysmon(5, after, "ProcessGuid", guid(seq), "ProcessId", fmt.Sprint(1000+seq), "Image", fmt.Sprintf(`C:\p\%d.exe`, seq))
}

func (l *log) by(id uint32, after time.Duration, seq int, data ...string) *event.Event {
	return l.sysmon(id, after, append([]string{"ProcessGuid", guid(seq), "ProcessId", fmt.Sprint(1000 + seq), "Image", fmt.Sprintf(`C:\p\%d.exe`, seq)}, data...)...)
}

// TestSheddingIsAFunctionOfTheSet holds that what context and what repeats are
// given up, and whether, depends neither on order nor on repetition nor on when
// the World is asked.
func TestSheddingIsAFunctionOfTheSet(t *testing.T) {
	levels := map[level]int{}
	rapid.Check(t, func(t *rapid.T) {
		var l log
		processes := rapid.IntRange(20, 300).Draw(t, "processes")
		for seq := range processes {
			l.start(time.Duration(seq)*time.Second, seq+1, seq/10)
		}
		for n := range rapid.SampledFrom([]int{100, 900}).Draw(t, "connections") {
			l.by(3, time.Duration(n)*time.Second, 1+n%processes, "DestinationIp", fmt.Sprintf("192.0.2.%d", n%250), "DestinationPort", fmt.Sprint(n), "Initiated", "true")
		}
		for n := range rapid.SampledFrom([]int{100, 900}).Draw(t, "files") {
			l.by(11, time.Duration(n)*time.Second, 1+n%7, "TargetFilename", fmt.Sprintf(`C:\d\%d.txt`, n%9))
		}
		bytes := rapid.Int64Range(MinHostBytes, 2*MinHostBytes).Draw(t, "bytes")
		in := func(order []int, asked bool) *World {
			w := New(Limits{HostBytes: bytes})
			for i, n := range order {
				w.Add(l.events[n])
				if asked && i%501 == 500 {
					w.Records()
				}
			}
			w.Records()
			return w
		}
		r := rand.New(rand.NewPCG(uint64(rapid.IntRange(0, 1<<30).Draw(t, "shuffle")), 0))
		order := make([]int, len(l.events))
		for i := range order {
			order[i] = i
		}
		one, two := in(order, false), in(append(r.Perm(len(order)), r.Perm(len(order))[:len(order)/3]...), true)
		a, b := one.stores["pc"], two.stores["pc"]
		levels[min(a.level, levelLeaves)]++
		if min(a.level, levelLeaves) != min(b.level, levelLeaves) {
			t.Fatalf("level %d in order, %d shuffled", a.level, b.level)
		}
		for _, s := range []*store{a, b} {
			if s.cost() > one.limits.forKept() {
				t.Fatalf("%d bytes of %d", s.cost(), one.limits.forKept())
			}
		}
		if a.level > levelMerged {
			return
		}
		two.stores["pc"].repeated = 0                                   // the repetitions are ours
		one.stores["pc"].shed.Holes, two.stores["pc"].shed.Holes = 0, 0 // out of order every number is a hole at first
		if diff := cmp.Diff(describeWorld(one), describeWorld(two)); diff != "" {
			t.Fatalf("level %d, shuffled and repeated:\n%s", a.level, diff)
		}
	})
	for _, want := range []level{levelAll, levelNoContext, levelMerged} {
		if levels[want] == 0 {
			t.Errorf("no world reached level %d alone: %v", want, levels)
		}
	}
}

// thinned adds events and thins the host to a level.
func thinned(l *log, to level, detected ...*event.Event) *World {
	w := New(Limits{})
	for _, e := range l.events {
		if slices.Contains(detected, e) {
			w.AddDetected(e)
		} else {
			w.Add(e)
		}
	}
	s := w.stores["pc"]
	s.level = to
	s.sift()
	if to >= levelLeaves {
		s.foldLeaves()
	}
	if to >= levelEnded {
		s.dropEnded()
	}
	return w
}

func TestOrderOfShedding(t *testing.T) {
	var l log
	l.start(0, 1, 0)
	l.by(3, time.Second, 1, "DestinationIp", "192.0.2.1", "Initiated", "true")
	told := l.by(3, time.Second, 1, "DestinationIp", "192.0.2.2", "Initiated", "true")
	for n := range 5 {
		l.by(11, time.Duration(n)*time.Second, 1, "TargetFilename", `C:\d\a.txt`)
	}
	l.start(time.Minute, 2, 1) // does nothing
	l.end(2*time.Minute, 2)
	l.start(time.Minute, 3, 1) // does nothing, but a rule knows it
	known := l.end(2*time.Minute, 3)
	l.start(time.Minute, 4, 1) // leaves a service behind
	l.by(13, time.Minute, 4, "EventType", "SetValue", "TargetObject", `HKLM\System\CurrentControlSet\Services\s\ImagePath`, "Details", `C:\s.exe`)
	l.end(2*time.Minute, 4)
	l.start(time.Minute, 5, 1) // looks at a pipe and ends
	l.by(17, time.Minute, 5, "PipeName", `\mine`)
	l.end(2*time.Minute, 5)
	l.security(4688, time.Minute, "NewProcessId", "0x5000", "NewProcessName", `C:\q.exe`, "ProcessId", "0x4")
	l.security(4689, 2*time.Minute, "ProcessId", "0x5000", "ProcessName", `C:\q.exe`)
	l.start(30*time.Hour, 6, 1)

	for _, c := range []struct {
		level level
		want  Shed
		gone  []string // ProcessGuids
	}{
		{levelAll, Shed{}, nil},
		{levelNoContext, Shed{Context: 1}, nil},
		{levelMerged, Shed{Context: 1, Repeats: 3}, nil},
		{levelLeaves, Shed{Context: 1, Repeats: 3, Leaves: 2}, []string{guid(2)}},
		{levelEnded, Shed{Context: 1, Repeats: 3, Leaves: 2, Ended: 3}, []string{guid(2), guid(5)}},
	} {
		w := thinned(&l, c.level, told, known)
		if got := w.Shed(); got != c.want {
			t.Errorf("level %d gave up %+v, want %+v", c.level, got, c.want)
		}
		for seq := 1; seq <= 6; seq++ {
			g := guid(seq)
			if known := w.ByGUID("PC", g) != nil; known == slices.Contains(c.gone, g) {
				t.Errorf("level %d: process %d known: %v", c.level, seq, known)
			}
		}
		if s := w.Services(); len(s) != 1 {
			t.Errorf("level %d: %d services", c.level, len(s))
		}
		parent, folded := w.ByGUID("PC", guid(1)), 0
		if c.level >= levelLeaves {
			folded = 1 // the other one's parent has no ProcessGuid
		}
		if parent.Folded != folded {
			t.Errorf("level %d: %d children folded", c.level, parent.Folded)
		}
		gaps := w.GapsWithin("pc", t0, t0.Add(time.Hour))
		i := slices.IndexFunc(gaps, func(g Gap) bool { return g.Reason == "state-limit" })
		if c.want.Records() == 0 != (i < 0) || i >= 0 && gaps[i].Count != c.want.Records() {
			t.Errorf("level %d: gaps %v", c.level, gaps)
		}
		// Given again, nothing that was given up comes back.
		before := len(w.Records())
		for _, e := range l.events {
			w.Add(e)
		}
		if after := len(w.Records()); after != before || w.Repeated() != len(l.events) {
			t.Errorf("level %d: %d records, then %d; %d repeated", c.level, before, after, w.Repeated())
		}
	}
}

// TestHostileHostStaysBounded feeds one host everything that could grow without
// end, and holds that it stays within its memory and no other host pays for it.
func TestHostileHostStaysBounded(t *testing.T) {
	n, limit := 60_000, int64(1<<20)
	if os.Getenv("ASHIATO_FULL") != "" {
		n, limit = 1_000_000, 16<<20
	}
	var quiet log
	for seq := range 50 {
		quiet.start(time.Duration(seq)*time.Second, seq+1, seq)
		quiet.by(3, time.Duration(seq)*time.Second, seq+1, "DestinationIp", "192.0.2.1", "Initiated", "true")
	}
	alone := New(Limits{HostBytes: limit})
	w := New(Limits{HostBytes: limit})
	for _, e := range quiet.events {
		alone.Add(e)
	}
	before := live()
	r := rand.New(rand.NewPCG(1, 2))
	peak := int64(0)
	for i := range n {
		e := &event.Event{
			Provider: "Microsoft-Windows-Sysmon", Channel: "Microsoft-Windows-Sysmon/Operational", Host: "EVIL", ID: 1,
			Time: t0.Add(time.Duration(i) * time.Millisecond), Logged: t0,
			Ref: event.EvidenceRef{Host: "EVIL", Channel: "x", RecordID: r.Uint64(), File: "f"},
		}
		g := fmt.Sprintf("{%016x-%016x}", r.Uint64(), r.Uint64())
		switch i % 6 {
		case 0:
			e.Kind = event.ProcessCreate
			e.Data = event.Fields{{Name: "ProcessGuid", Value: g}, {Name: "Image", Value: `C:\` + g}, {Name: "CommandLine", Value: strings.Repeat(g, 3)}, {Name: "ParentProcessGuid", Value: g[:8] + "00" + g[10:]}}
		case 1: // names a process and is not kept
			e.Kind = event.Other
			e.Data = event.Fields{{Name: "ProcessGuid", Value: g}}
		case 2:
			e.Kind, e.Provider, e.Channel = event.TaskRegister, g, g
			e.Data = event.Fields{{Name: "TaskName", Value: g}}
		case 3: // of no kind that is kept
			e.Kind, e.Ref.File, e.Channel = event.Other, g, g
		case 4:
			e.Kind, e.Ref.RecordID = event.Other, 0
			e.Ref.SHA256[0], e.Ref.SHA256[1], e.Ref.SHA256[2] = byte(i), byte(i>>8), byte(i>>16)
		case 5:
			e.Kind = event.FileCreate
			e.Data = event.Fields{{Name: "ProcessGuid", Value: g}, {Name: "TargetFilename", Value: `C:\` + g + ".exe"}}
		}
		if i%7 == 0 {
			w.AddDetected(e)
		} else {
			w.Add(e)
		}
		if k := i * 50 / n; i == k*n/50 && k < len(quiet.events) {
			w.Add(quiet.events[k])
		}
		if i%(n/8) == n/8-1 {
			peak = max(peak, live()-before)
		}
	}
	for _, e := range quiet.events {
		w.Add(e)
	}
	evil := w.stores["evil"]
	if evil.level != levelOldest || evil.shed.Oldest == 0 || evil.shed.Processes == 0 || evil.shed.Identities == 0 || evil.shed.Holes == 0 {
		t.Errorf("level %d, gave up %+v", evil.level, evil.shed)
	}
	// Tables and lists are up to twice as long as what is in them.
	if most := 2*limit + 1<<20; peak > most {
		t.Errorf("%d bytes held, want at most %d", peak, most)
	}
	if s := w.stores["pc"]; s.shed != (Shed{}) || s.level != levelAll {
		t.Errorf("the other host gave up %+v", s.shed)
	}
	of := func(w *World) (all []string) {
		for _, r := range describeRecords(w) {
			if !strings.Contains(r, "EVIL") {
				all = append(all, r)
			}
		}
		return all
	}
	if diff := cmp.Diff(of(alone), of(w)); diff != "" {
		t.Errorf("the other host's records differ:\n%s", diff)
	}
	t.Logf("%d events: at most %d bytes held of %d; %+v", n, peak, limit, evil.shed)
	runtime.KeepAlive(alone)
}

func live() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func TestHostsAreBounded(t *testing.T) {
	w := New(Limits{Hosts: 3})
	for i := range 10 {
		w.Add(&event.Event{Host: fmt.Sprint("h", i), Time: t0, Ref: event.EvidenceRef{RecordID: 1}})
	}
	if len(w.Hosts()) != 3 || w.Lost().Records != 7 {
		t.Errorf("hosts %v, lost %+v", w.Hosts(), w.Lost())
	}
}
