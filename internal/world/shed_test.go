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

// within returns a World that holds hosts to so many bytes, however few.
func within(bytes int64) *World {
	w := New(Limits{})
	w.limits.HostBytes = bytes
	w.share.Store(bytes)
	return w
}

// delivery is an event as it is given to a World.
type delivery struct {
	*event.Event
	standing
}

// keepingAll returns a World that kept everything it was given, and gives up what
// is beyond so many bytes of a host once, at the end.
func keepingAll(bytes int64, all []delivery) *World {
	w := within(MaxHostBytes)
	for _, d := range all {
		w.add(d.Event, d.standing)
	}
	w.limits.HostBytes = bytes
	w.share.Store(bytes)
	for _, s := range w.stores {
		s.count(w)
	}
	return w
}

// bareAnswers is describeWorld without what depends on how often and in what order
// records were given: without counts, where records given again are counted again.
func bareAnswers(w *World, counts bool) []string {
	for _, s := range w.stores {
		s.repeated, s.holes, s.planned.plan = 0, 0, nil
		if !counts {
			s.given, s.wanted, s.context, s.unmentioned = 0, 0, 0, 0
			for i := range uint32(s.mentions.n) {
				s.mentions.at(i).count = 0
			}
		}
	}
	w.reset()
	return describeWorld(w)
}

// crowd draws the records of a host that does something of everything, and much
// of one thing, which one level is enough for.
func crowd(t *rapid.T, much string, most int) (all []delivery) {
	var l log
	processes := rapid.IntRange(5, most/4).Draw(t, "processes")
	r := rand.New(rand.NewPCG(uint64(rapid.IntRange(0, 1<<30).Draw(t, "crowd")), 1))
	span := rapid.SampledFrom([]time.Duration{time.Hour, 72 * time.Hour}).Draw(t, "span")
	ending, told := r.IntN(4), r.IntN(20)
	for seq := 1; seq <= processes; seq++ {
		at := time.Duration(r.Int64N(int64(span)))
		started := l.start(at, seq, r.IntN(seq))
		if r.IntN(4) == 0 {
			started.Data = append(started.Data, event.Field{Name: "Hashes", Value: strings.Repeat("a", r.IntN(200))})
		}
		if r.IntN(3) < ending {
			l.end(at+time.Duration(r.IntN(1e9)), seq)
		}
	}
	var weights [9]int
	for i := range weights {
		weights[i] = r.IntN(6)
	}
	for range rapid.IntRange(0, most).Draw(t, "acts") {
		at, seq, n := time.Duration(r.Int64N(int64(span))).Truncate(time.Second), 1+r.IntN(processes), r.IntN(40)
		kind := r.IntN(len(weights))
		if r.IntN(6) > weights[kind] {
			continue
		}
		switch kind {
		case 0:
			l.by(3, at, seq, "DestinationIp", fmt.Sprintf("192.0.2.%d", n), "SourcePort", fmt.Sprint(r.IntN(1<<16)), "Initiated", "true")
		case 1:
			l.by(11, at, seq%9, "TargetFilename", fmt.Sprintf(`C:\d\%d.txt`, n))
		case 2:
			l.by(11, at, seq, "TargetFilename", fmt.Sprintf(`C:\d\%d.exe`, n))
		case 3:
			l.by(13, at, seq, "EventType", "SetValue", "TargetObject", fmt.Sprintf(`HKLM\System\CurrentControlSet\Services\s%d\ImagePath`, n), "Details", `C:\s.exe`)
		case 4:
			e := l.by(12, at, seq) // names a process and is not kept
			if image := slices.IndexFunc(e.Data, func(f event.Field) bool { return f.Name == "Image" }); n%3 == 0 {
				e.Data[image].Value = strings.Repeat(`C:\p\..\`, n) + e.Data[image].Value
			}
		case 5:
			l.security(4688, at, "NewProcessId", fmt.Sprintf("0x%x", 1000+seq), "NewProcessName", fmt.Sprintf(`C:\p\%d.exe`, seq), "ProcessId", "0x4")
		case 6:
			l.security(4689, at, "ProcessId", fmt.Sprintf("0x%x", 1000+seq), "ProcessName", fmt.Sprintf(`C:\p\%d.exe`, seq))
		case 7:
			l.by(8, at, seq, "SourceProcessGuid", guid(seq), "TargetProcessGuid", guid(n))
		case 8: // they repeat each other but for what passes
			l.add("Microsoft-Windows-PowerShell", "Microsoft-Windows-PowerShell/Operational", 4104, at,
				"ScriptBlockText", fmt.Sprintf("New-Service %d", n%2), "ScriptBlockId", strings.Repeat("x", r.IntN(100)), "MessageNumber", fmt.Sprint(r.IntN(1000)))
		}
	}
	for n := range 2 * most {
		at, seq := time.Duration(r.Int64N(int64(span))).Truncate(time.Second), 1+n%processes
		switch much {
		case "context":
			l.by(3, at, seq, "DestinationIp", fmt.Sprintf("192.0.2.%d", n), "Initiated", "true")
		case "repeats":
			l.by(11, at, seq%3, "TargetFilename", `C:\d\same.txt`)
		case "leaves":
			l.start(at, 1000+n, seq)
			l.end(at+time.Second, 1000+n)
		case "ended":
			l.start(at/4, 1000+n, seq)
			l.by(17, at/4+time.Second, 1000+n, "PipeName", fmt.Sprintf(`\mine%d`, n))
			l.end(at/4+time.Second, 1000+n)
		}
	}
	// Which numbers a log lacks is not for sure while they come out of order.
	numbers := map[string]uint64{}
	for _, e := range l.events {
		numbers[e.Channel]++
		e.Ref.RecordID = numbers[e.Channel]
		st := plain
		if r.IntN(100) < told {
			st = standing(1 + r.IntN(2))
		}
		all = append(all, delivery{e, st})
	}
	return all
}

// shuffled draws an order of what is given, with some of it given again.
func shuffled(t *rapid.T, all []delivery) []delivery {
	r := rand.New(rand.NewPCG(uint64(rapid.IntRange(0, 1<<30).Draw(t, "shuffle")), 0))
	out := slices.Clone(all)
	if rapid.Bool().Draw(t, "repeated") && len(all) > 0 {
		for range len(all) / 3 {
			out = append(out, all[r.IntN(len(all))])
		}
	}
	if !rapid.Bool().Draw(t, "in order") {
		r.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	}
	return out
}

// given adds events, and now and then asks, or writes the World and reads it
// again.
func given(t *rapid.T, w *World, all []delivery) *World {
	interrupted := rapid.IntRange(0, 3).Draw(t, "interrupted")
	for i, d := range all {
		w.add(d.Event, d.standing)
		if i%97 != 96 {
			continue
		}
		if interrupted&1 != 0 {
			w.Records()
		}
		if interrupted&2 != 0 {
			again, err := Restore(strings.NewReader(string(snapshotOf(t, w))), Limits{})
			if err != nil {
				t.Fatal(err)
			}
			again.limits = w.limits
			again.share.Store(w.limits.HostBytes)
			again.gross.Store(0)
			for _, s := range again.stores {
				s.counted = 0
				s.count(again)
			}
			again.shareOut()
			w = again
		}
	}
	return w
}

// TestSheddingIsAFunctionOfTheSet holds that what is given up at every level, and
// what is known of the rest, depends neither on order nor on repetition nor on when
// the World is asked or written and read, and is what a World that kept everything
// gives up at the end.
func TestSheddingIsAFunctionOfTheSet(t *testing.T) {
	levels, thinned := map[level]int{}, map[level]int{}
	var gone Shed
	for _, much := range []string{"everything", "context", "repeats", "leaves", "ended"} {
		t.Run(much, func(t *testing.T) { rapid.Check(t, func(t *rapid.T) { shedAnyhow(t, much, levels, thinned, &gone) }) })
	}
	for l := levelAll; l <= levelCut; l++ {
		if levels[l] == 0 || thinned[l] == 0 {
			t.Errorf("no world was answered, or none thinned, at level %d: %v, %v", l, levels, thinned)
		}
	}
	for name, n := range map[string]int{"context": gone.Context, "repeats": gone.Repeats, "leaves": gone.Leaves, "ended": gone.Ended, "oldest": gone.Oldest, "processes": gone.Processes} {
		if n == 0 {
			t.Errorf("nothing was given up as %s", name)
		}
	}
	t.Logf("answered at %v, thinned at %v, gave up %+v", levels, thinned, gone)
}

func shedAnyhow(t *rapid.T, much string, levels, thinned map[level]int, gone *Shed) {
	all := crowd(t, much, 100)
	twin := keepingAll(MaxHostBytes, all)
	full := newPlan(twin.stores["pc"]).takes() * 2 // half is for the answers
	bytes := full * rapid.OneOf(rapid.Int64Range(1, 110), rapid.Int64Range(50, 66), rapid.Int64Range(80, 99)).Draw(t, "percent") / 100
	twin = keepingAll(bytes, all)
	order := shuffled(t, all)
	w := given(t, within(bytes), order)
	x, y := twin.Shed(), w.Shed()
	if (x.Identities == 0) != (y.Identities == 0) || x.Records() > y.Records() || x.Identities > y.Identities {
		t.Fatalf("gave up %+v, want %+v", y, x)
	}
	counts := x.Identities == 0 || len(order) == len(all)
	a, b := bareAnswers(twin, counts), bareAnswers(w, counts)
	if twin.plans[twin.stores["pc"]].level < w.stores["pc"].level {
		t.Fatalf("level %d, thinned at %d", twin.plans[twin.stores["pc"]].level, w.stores["pc"].level)
	}
	if diff := cmp.Diff(a, b); diff != "" {
		t.Fatalf("thinned at level %d, answered at %d:\n%s", w.stores["pc"].level, w.plans[w.stores["pc"]].level, diff)
	}
	if most := budgetOf(bytes).answers; w.plans[w.stores["pc"]].takes() > most {
		t.Fatalf("%d bytes of %d", w.plans[w.stores["pc"]].takes(), most)
	}
	levels[w.plans[w.stores["pc"]].level]++
	thinned[w.stores["pc"].level]++
	gone.add(y)
	if y.Unsure > 0 {
		t.Fatalf("%d classes unsure", y.Unsure)
	}
}

// shedTo adds events and gives up everything that a level gives up: of those that
// only the answers have, the last first.
func shedTo(l *log, to level, leaves, ended bool, found ...*event.Event) *World {
	w := New(Limits{})
	for _, e := range l.events {
		if slices.Contains(found, e) {
			w.AddDetected(e)
		} else {
			w.Add(e)
		}
	}
	replan(w, to, leaves, ended)
	return w
}

func replan(w *World, to level, leaves, ended bool) {
	w.reset()
	w.resolved.Store(true)
	s := w.stores["pc"]
	p := newPlan(s)
	for p.level < to {
		p.level++
		p.sift()
	}
	if to >= levelNoContext {
		p.shed.Context = s.context
		p.shed.Repeats = s.wanted - s.context - p.left()
	}
	if leaves {
		p.foldLeaves(0)
	}
	if ended {
		p.dropEnded(0)
	}
	w.plans = map[*store]*plan{s: p}
	w.answer()
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
		level         level
		leaves, ended bool
		want          Shed
		gone          []string // ProcessGuids
	}{
		{levelAll, false, false, Shed{}, nil},
		{levelNoContext, false, false, Shed{Context: 1}, nil},
		{levelMerged, false, false, Shed{Context: 1, Repeats: 3}, nil},
		{levelMerged, true, false, Shed{Context: 1, Repeats: 3, Leaves: 2}, []string{guid(2)}},
		{levelMerged, true, true, Shed{Context: 1, Repeats: 3, Leaves: 2, Ended: 3}, []string{guid(2), guid(5)}},
	} {
		w := shedTo(&l, c.level, c.leaves, c.ended, told, known)
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
		if c.leaves {
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
		replan(w, c.level, c.leaves, c.ended)
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
	if gone := w.Shed(); evil.level != levelCut || gone.Oldest == 0 || gone.Processes == 0 || gone.Identities == 0 || gone.Holes == 0 || gone.Unsure != 0 {
		t.Errorf("level %d, gave up %+v", evil.level, gone)
	}
	// Tables and lists are up to twice as long as what is in them.
	if most := 2*limit + 1<<20; peak > most {
		t.Errorf("%d bytes held, want at most %d", peak, most)
	}
	if s := w.stores["pc"]; w.plans[s].shed != (Shed{}) || s.level != levelAll {
		t.Errorf("the other host gave up %+v", w.plans[s].shed)
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
	t.Logf("%d events: at most %d bytes held of %d; %+v", n, peak, limit, w.plans[evil].shed)
	runtime.KeepAlive(alone)
}

func live() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// Which hosts are told apart, and how much of them is known, depends on the set of
// hosts alone.
func TestHostsAreBounded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var all []delivery
		for h := range 10 {
			for n := range 1 + h%3 {
				host := fmt.Sprint("h", h)
				all = append(all, delivery{&event.Event{Host: host, Time: t0, Channel: "c", Ref: event.EvidenceRef{Host: host, RecordID: uint64(n + 1)}}, plain})
			}
		}
		r := rand.New(rand.NewPCG(uint64(rapid.IntRange(0, 1<<30).Draw(t, "shuffle")), 0))
		r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		limits := Limits{Hosts: 3}
		w := New(limits)
		for i, d := range all {
			w.Add(d.Event)
			if i%7 == 6 {
				again, err := Restore(strings.NewReader(string(snapshotOf(t, w))), limits)
				if err != nil {
					t.Fatal(err)
				}
				w = again
			}
		}
		if got := w.Hosts(); !slices.Equal(got, []string{"h3", "h4", "h8"}) || w.Lost().Records != len(all)-6 {
			t.Fatalf("hosts %v, lost %+v of %d", got, w.Lost(), len(all))
		}
	})
}

// TestAllHostsAreBounded holds that what hosts give up so that all of them fit is a
// function of the set of records, and that those who wrote most give it up.
func TestAllHostsAreBounded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var all []delivery
		hosts := rapid.IntRange(2, 5).Draw(t, "hosts")
		for h := range hosts {
			much := rapid.SampledFrom([]string{"nothing", "context", "leaves"}).Draw(t, "much")
			for _, d := range crowd(t, much, rapid.SampledFrom([]int{20, 20, 120}).Draw(t, "most")) {
				d.Host = fmt.Sprint("pc", h)
				d.Ref.Host = d.Host
				all = append(all, d)
			}
		}
		twin := keepingAll(MaxHostBytes, all)
		gross := int64(0)
		for _, s := range twin.stores {
			gross += s.gross
		}
		bytes := gross * rapid.Int64Range(1, 120).Draw(t, "percent") / 100
		twin.limits.Bytes = bytes
		w := within(MaxHostBytes)
		w.limits.Bytes = bytes
		order := shuffled(t, all)
		w = given(t, w, order)
		if n := w.gross.Load(); n > bytes+bytes/8 {
			t.Fatalf("%d bytes of %d", n, bytes)
		}
		share := w.finalShare()
		for _, s := range w.stores {
			if twin.resolve(); s.gross <= share && twin.plans[twin.stores[s.key]].shed != (Shed{}) {
				t.Fatalf("host %s gave up %+v of %d bytes, its share is %d", s.key, twin.plans[twin.stores[s.key]].shed, s.gross, share)
			}
		}
		counts := twin.Shed().Identities == 0 || len(order) == len(all)
		if diff := cmp.Diff(bareAnswers(twin, counts), bareAnswers(w, counts)); diff != "" {
			t.Fatalf("share %d, then %d:\n%s", share, twin.finalShare(), diff)
		}
	})
}

// TestFloodsCostTheirOwn holds that a flood of one kind of records, of what rules
// found too, costs nothing that rules found or that lasts of the others, nor the
// newest of what else there is.
func TestFloodsCostTheirOwn(t *testing.T) {
	const bytes = 512 << 10
	var quiet log
	for n := 1; n <= 40; n++ {
		at := time.Duration(n) * time.Minute
		quiet.start(at, n, n-1)
		quiet.by(13, at, n, "EventType", "SetValue", "TargetObject", fmt.Sprintf(`HKLM\System\CurrentControlSet\Services\s%d\ImagePath`, n), "Details", `C:\s.exe`)
		quiet.by(17, at, n, "PipeName", fmt.Sprintf(`\quiet%d`, n))
		quiet.by(11, at, n, "TargetFilename", fmt.Sprintf(`C:\d\%d.txt`, n))
		quiet.by(17, at, n, "PipeName", fmt.Sprintf(`\counted%d`, n))
	}
	standings := []standing{plain, plain, plain, detected, counted} // of those five
	for _, c := range []struct {
		name     string
		standing standing
		flood    func(l *log, at time.Duration, n int) *event.Event
	}{
		{"detections", detected, func(l *log, at time.Duration, n int) *event.Event {
			return l.by(17, at, 1000+n, "PipeName", fmt.Sprintf(`\found%d`, n))
		}},
		{"countings", counted, func(l *log, at time.Duration, n int) *event.Event {
			return l.by(17, at, 1000+n, "PipeName", fmt.Sprintf(`\counted%d`, n))
		}},
		{"services", plain, func(l *log, at time.Duration, n int) *event.Event {
			return l.by(13, at, 1000+n, "EventType", "SetValue", "TargetObject", fmt.Sprintf(`HKLM\System\CurrentControlSet\Services\f%d\ImagePath`, n), "Details", `C:\s.exe`)
		}},
		{"processes", plain, func(l *log, at time.Duration, n int) *event.Event { return l.start(at, 1000+n, 1000+n/2) }},
		{"files", plain, func(l *log, at time.Duration, n int) *event.Event {
			return l.by(11, at, 1000+n, "TargetFilename", fmt.Sprintf(`C:\d\%d.log`, n))
		}},
		{"mentions", plain, func(l *log, at time.Duration, n int) *event.Event { return l.by(12, at, 1000+n) }},
	} {
		l := log{slices.Clone(quiet.events)}
		for n := range 12_000 {
			c.flood(&l, time.Hour+time.Duration(n)*time.Millisecond, n)
		}
		w := New(Limits{HostBytes: bytes})
		for i, e := range l.events {
			if i < len(quiet.events) {
				w.add(e, standings[i%5])
			} else {
				w.add(e, c.standing)
			}
		}
		kept := map[uint64]bool{}
		for _, r := range w.Records() {
			kept[r.Ref.RecordID] = true
		}
		for i, e := range quiet.events {
			of := []string{"processes", "services", "files", "detections", "countings"}[i%5] // their class
			if of != c.name && !kept[e.Ref.RecordID] {
				t.Errorf("a flood of %s cost %s %d", c.name, e.Kind, i/5)
			}
		}
		if gone := w.Shed(); gone.Oldest+gone.Processes == 0 {
			t.Errorf("a flood of %s was kept: %+v", c.name, gone)
		}
		for _, e := range quiet.events {
			if e.Kind == event.ProcessCreate && kept[e.Ref.RecordID] && w.ByGUID("pc", e.Value("ProcessGuid")) == nil {
				t.Errorf("a flood of %s: a process whose start is kept is not known", c.name)
			}
		}
	}
}

// TestCopiesOfOtherFiles holds that copies of records that other files hold, in
// any order, give the answers of the set of all copies, and that if they say less,
// it is said that the answers may depend on order.
func TestCopiesOfOtherFiles(t *testing.T) {
	unsure := map[bool]int{}
	rapid.Check(t, func(t *rapid.T) {
		less := rapid.IntRange(0, 3).Draw(t, "less") == 0
		much := rapid.SampledFrom([]string{"everything", "context", "repeats", "leaves", "ended"}).Draw(t, "much")
		in := crowd(t, much, 100)
		files := rapid.IntRange(1, 200).Draw(t, "files")
		name := strings.Repeat("f", rapid.SampledFrom([]int{1, 100, 5000}).Draw(t, "name"))
		r := rand.New(rand.NewPCG(uint64(rapid.IntRange(0, 1<<30).Draw(t, "copies")), 0))
		for _, d := range in {
			if r.IntN(3) > 0 {
				continue
			}
			c := *d.Event
			c.Ref.File = fmt.Sprint(r.IntN(files), name[r.IntN(len(name)):])
			if less && len(c.Data) > 0 {
				c.Data = slices.Delete(slices.Clone(c.Data), len(c.Data)-1, len(c.Data))
			}
			in = append(in, delivery{&c, d.standing})
		}
		twin := keepingAll(MaxHostBytes, in)
		bytes := newPlan(twin.stores["pc"]).takes() * 2 * rapid.Int64Range(1, 110).Draw(t, "percent") / 100
		twin = keepingAll(bytes, in)
		w := given(t, within(bytes), shuffled(t, in))
		if w.Shed().Unsure > 0 {
			unsure[less]++
		}
		if less {
			return
		}
		counts := twin.Shed().Identities == 0
		if diff := cmp.Diff(bareAnswers(twin, counts), bareAnswers(w, counts)); diff != "" {
			t.Fatalf("thinned at level %d, answered at level %d, not %d:\n%s",
				w.stores["pc"].level, w.plans[w.stores["pc"]].level, twin.plans[twin.stores["pc"]].level, diff)
		}
	})
	if unsure[true] == 0 || unsure[false] > 0 {
		t.Errorf("%v unsure, with copies that say less or not", unsure)
	}
	t.Logf("%v unsure", unsure)
}
