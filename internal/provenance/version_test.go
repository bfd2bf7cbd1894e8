package provenance

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"ashiato/internal/event"
	"ashiato/internal/world"
)

// lineages lists for each process that executes or loads a file the processes
// that wrote what it used.
func lineages(g *Graph) map[string][]string {
	m := map[string][]string{}
	for _, e := range g.Edges() {
		if e.Verb != Executed && e.Verb != Loaded && e.Verb != Interpreted || g.Node(e.From).Kind != File {
			continue
		}
		user := g.Node(e.To).Attr("CommandLine")
		m[user] = append(m[user], "")
		m[user] = m[user][:len(m[user])-1]
		for _, w := range g.In(e.From) {
			if w.Verb == Wrote {
				m[user] = append(m[user], g.Node(w.From).Label)
			}
		}
		slices.Sort(m[user])
	}
	return m
}

func TestFileVersions(t *testing.T) {
	const path = `C:\x\a.exe`
	write := func(l *log, id uint32, seq int, hashes string) {
		l.by(id, seq, fmt.Sprintf(`C:\w%d.exe`, seq), "TargetFilename", path, "Hashes", hashes)
	}
	run := func(l *log, name string) { l.start(len(l.events)+20, 90, path, name, svchost) }
	remove := func(l *log) { l.by(23, 8, `C:\rm.exe`, "TargetFilename", path) }
	pause := func(l *log) {
		for range 4 {
			l.start(len(l.events)+20, 91, `C:\other.exe`, "other", explorer)
		}
	}
	for _, c := range []struct {
		name     string
		log      func(*log)
		want     string // user: writers; …
		versions int
	}{
		{"written once", func(l *log) { write(l, 11, 2, ""); run(l, "one"); run(l, "two") }, "one: w2.exe; two: w2.exe", 1},
		{"written by two before any use", func(l *log) { write(l, 11, 2, ""); write(l, 11, 3, ""); run(l, "one") }, "one: w2.exe w3.exe", 1},
		{"written by another after its use", func(l *log) {
			write(l, 11, 2, "")
			run(l, "one")
			pause(l)
			write(l, 11, 3, "")
			run(l, "two")
		}, "one: w2.exe; two: w3.exe", 2},
		{"written by the same after its use", func(l *log) {
			write(l, 11, 2, "")
			run(l, "one")
			pause(l)
			write(l, 11, 2, "")
			run(l, "two")
		}, "one: w2.exe; two: w2.exe", 1},
		{"another content", func(l *log) {
			write(l, 29, 2, "SHA256=AA")
			pause(l)
			write(l, 29, 2, "SHA256=BB")
			write(l, 11, 3, "")
			run(l, "two")
		}, "two: w2.exe w3.exe", 1},
		{"the same content", func(l *log) { write(l, 29, 2, "SHA256=AA"); pause(l); write(l, 29, 3, "SHA256=AA"); run(l, "one") }, "one: w2.exe w3.exe", 1},
		{"deleted and written again", func(l *log) {
			write(l, 11, 2, "")
			pause(l)
			remove(l)
			write(l, 11, 2, "")
			run(l, "two")
		}, "two: w2.exe", 1},
		{"deleted after its use, then used again from nowhere", func(l *log) {
			write(l, 11, 2, "")
			run(l, "one")
			pause(l)
			remove(l)
			pause(l)
			run(l, "two")
		}, "one: w2.exe", 1},
		{"there before, then replaced", func(l *log) {
			run(l, "old")
			pause(l)
			write(l, 11, 2, "")
			run(l, "new")
		}, "new: w2.exe", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			var l log
			c.log(&l)
			for range 3 {
				b := NewBuilder(world.New(world.Limits{}))
				for _, e := range l.events {
					b.Add(e)
				}
				g := b.Build()
				var got []string
				m := lineages(g)
				for _, user := range sortedKeys(m) {
					got = append(got, user+": "+strings.Join(m[user], " "))
				}
				files := 0
				for _, n := range g.Nodes() {
					if n.Kind == File && n.Label == "a.exe" {
						files++
					}
				}
				if s := strings.Join(got, "; "); s != c.want {
					t.Errorf("%s, want %s", s, c.want)
				}
				if files < c.versions {
					t.Errorf("%d files", files)
				}
				rand.Shuffle(len(l.events), func(i, j int) { l.events[i], l.events[j] = l.events[j], l.events[i] })
			}
		})
	}
}

func TestTheFirstVersionGoesByThePathAlone(t *testing.T) {
	var l log
	w := l.by(11, 2, `C:\w.exe`, "TargetFilename", `C:\x\a.exe`)
	l.start(3, 9, `C:\x\a.exe`, "one", svchost)
	for range 4 {
		l.start(50, 91, `C:\other.exe`, "other", explorer)
	}
	again := l.by(11, 4, `C:\v.exe`, "TargetFilename", `C:\x\a.exe`)
	l.start(5, 9, `C:\x\a.exe`, "two", svchost)
	mark := l.by(15, 4, `C:\v.exe`, "TargetFilename", `C:\x\a.exe:Zone.Identifier`, "Contents", "[ZoneTransfer] ZoneId=3")
	gone := l.by(23, 6, `C:\rm.exe`, "TargetFilename", `C:\x\a.exe`)
	g := l.graph()
	first, second := id(File, "PC", `c:\x\a.exe`), id(File, "PC", `c:\x\a.exe@`+again.Time.Format(event.TimeFormat))
	for e, want := range map[*event.Event]NodeID{w: first, again: second, mark: second, gone: second} {
		if got := g.Mark(e).Node; got != want {
			t.Errorf("%d marks %s, want %s", e.ID, got, want)
		}
	}
	if z := g.Node(first).Attr("ZoneId"); z != "" {
		t.Errorf("the first has the second's zone mark %s", z)
	}
	if z := g.Node(second).Attr("ZoneId"); z != "3" {
		t.Errorf("the second has zone %q", z)
	}
	for _, e := range g.Edges() {
		if e.Verb == Deleted && e.To != second {
			t.Errorf("%s was deleted", e.To)
		}
	}
}

func TestCopies(t *testing.T) {
	var l log
	write := func(seq int, path, hash string) {
		l.by(29, seq, fmt.Sprintf(`C:\w%d.exe`, seq), "TargetFilename", path, "Hashes", "SHA256="+hash)
	}
	l.start(2, 1, `C:\w2.exe`, "w2", explorer)
	l.start(3, 2, `C:\w3.exe`, "w3", `C:\w2.exe`)
	l.start(4, 1, `C:\w4.exe`, `w4 "C:\b\two.exe"`, explorer)
	l.start(5, 1, `C:\w5.exe`, "w5", explorer)
	write(2, `C:\a\one.dat`, "AA")
	write(3, `C:\b\two.exe`, "AA")   // of one tree
	write(4, `C:\c\three.exe`, "AA") // told its path
	write(4, `C:\c\four.exe`, "AA")  // wrote both
	write(5, `C:\c\same.exe`, "AA")  // a stranger
	write(5, `C:\c\else.exe`, "BB")
	write(5, `C:\c\empty.exe`, "E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855")
	write(5, `C:\d\empty.exe`, "E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855")
	l.on("PC2", func() { write(2, `C:\a\far.exe`, "AA") })
	var got []string
	for _, f := range facts(l.graph()) {
		if strings.Contains(f, "copied") {
			got = append(got, f)
		}
	}
	slices.Sort(got)
	want := []string{
		"one.dat copied two.exe B content-copied",
		"three.exe copied four.exe B content-copied", "two.exe copied three.exe B content-copied",
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestCopiesFromAVolume(t *testing.T) {
	var l log
	l.attach("AAA")
	l.start(2, 1, `E:\d\run.exe`, `E:\d\run.exe`, explorer, "Hashes", "SHA256=AA")
	l.by(7, 2, `E:\d\run.exe`, "ImageLoaded", `E:\d\x.dll`, "Hashes", "SHA256=BB")
	l.by(29, 2, `E:\d\run.exe`, "TargetFilename", `C:\p\run.exe`, "Hashes", "SHA256=AA")
	l.by(29, 2, `E:\d\run.exe`, "TargetFilename", `C:\p\y.dll`, "Hashes", "SHA256=BB")
	l.by(29, 2, `E:\d\run.exe`, "TargetFilename", `C:\p\z.dll`, "Hashes", "SHA256=CC")
	var got []string
	for _, f := range facts(l.graph()) {
		if strings.Contains(f, "copied") {
			got = append(got, f)
		}
	}
	slices.Sort(got)
	want := []string{"run.exe copied run.exe B content-copied", "x.dll copied y.dll B content-copied"}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// usage.between is a search; this is the loop it stands for.
func TestUsageIsTheLoop(t *testing.T) {
	writers := []*world.Process{nil, {Key: "a"}, {Key: "b"}}
	rapid.Check(t, func(t *rapid.T) {
		at := func(label string) time.Time {
			return t0.Add(time.Duration(rapid.IntRange(0, 20).Draw(t, label)) * time.Second)
		}
		var u usage
		for range rapid.IntRange(0, 10).Draw(t, "uses") {
			u = append(u, use{t: at("at"), by: rapid.SampledFrom(writers).Draw(t, "by")})
		}
		began := at("began")
		if rapid.Bool().Draw(t, "ever") {
			began = time.Time{}
		}
		until, writer := at("until"), rapid.SampledFrom(writers).Draw(t, "writer")
		want := false
		for _, x := range u {
			since := began.IsZero() || !x.t.Add(slack).Before(began)
			want = want || since && x.t.Add(slack).Before(until) && (writer == nil || x.by != writer)
		}
		u.index()
		if got := u.between(began, until, writer); got != want {
			t.Fatalf("%v from %v to %v by %v: %v", u, began, until, writer, got)
		}
	})
}
