package evtx

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"ashiato/internal/corpus"
	"ashiato/internal/event"
)

// twins are two decoders of the same chunks: one that runs programs where it can
// and shares templates among the chunks of a file, and one that does neither.
type twins struct {
	fast, general decoder
	shared        templates
	programs      int // records that programs read
	others        int
}

// chunk decodes every record in a chunk, wherever one starts, both ways, and
// fails if they differ in anything: the event, the error, what was left of the
// budgets, or the key that tells copies apart.
func (w *twins) chunk(t testing.TB, c []byte, strict bool) {
	t.Helper()
	w.fast.reset(c, &w.shared)
	w.general.reset(c, new(templates))
	w.fast.strictIDs, w.general.strictIDs = strict, strict
	for pos := 0; pos+minRecord <= len(c); {
		at := bytes.Index(c[pos:], []byte(recordMagic))
		if at < 0 {
			return
		}
		pos += at
		if len(c)-pos < minRecord {
			return
		}
		size := int(min(u32(c, pos+4), chunkSize))
		if size < minRecord || size > len(c)-pos {
			pos++
			continue
		}
		w.record(t, pos+recordHeader, pos+size-4)
		pos += size
	}
}

func (w *twins) record(t testing.TB, pos, end int) {
	t.Helper()
	want, wantDamage, wantErr := w.general.decodeGeneral(pos, end)
	var e *event.Event
	var damage, err error
	w.fast.clear()
	if w.fast.runRecord(pos, end) {
		w.programs++
		e = w.fast.build()
	} else {
		w.others++
		e, damage, err = w.fast.decodeGeneral(pos, end)
	}
	if !reflect.DeepEqual(e, want) || fmt.Sprint(damage, err) != fmt.Sprint(wantDamage, wantErr) {
		t.Fatalf("record at %d:\n%+v %v %v\nthe general way:\n%+v %v %v", pos, e, damage, err, want, wantDamage, wantErr)
	}
	f, g := &w.fast, &w.general
	got := [...]int{f.stepsLeft, f.parseLeft, f.textLeft, f.fieldsLeft}
	if left := [...]int{g.stepsLeft, g.parseLeft, g.textLeft, g.fieldsLeft}; got != left {
		t.Fatalf("record at %d: budgets left %d, the general way %d", pos, got, left)
	}
	if e == nil {
		return
	}
	if f.hasTime != g.hasTime || f.key(e, 1, false) != g.key(e, 1, false) {
		t.Fatalf("record at %d: time %t, the general way %t, or the keys differ", pos, f.hasTime, g.hasTime)
	}
}

// chunks calls f for the chunks of a file.
func chunks(b []byte, f func(c []byte)) {
	for at := fileHeaderSize; at < len(b); at += chunkSize {
		f(b[at:min(at+chunkSize, len(b))])
	}
}

// recordings calls f for every recording.
func recordings(t *testing.T, f func(name string, b []byte)) {
	t.Helper()
	for _, inside := range [...]string{"evtx", "sigma/regression_data"} {
		root := corpus.Dir(t, inside)
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.EqualFold(filepath.Ext(path), ".evtx") {
				return err
			}
			b, err := os.ReadFile(path)
			if err == nil {
				f(path, b)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestProgramsOnRecordings decodes every record of the recordings both ways, and
// wants nearly all that are template instances to be read by programs.
func TestProgramsOnRecordings(t *testing.T) {
	files, programs, templates := 0, 0, 0
	recordings(t, func(name string, b []byte) {
		var w twins
		chunks(b, func(c []byte) {
			w.chunk(t, c, false)
			w.chunk(t, c, true)
		})
		bothWays(t, b)
		if w.shared.bytes > maxTemplateBytes {
			t.Errorf("%s: %d bytes of templates are kept", name, w.shared.bytes)
		}
		files++
		programs += w.programs
		templates += len(w.shared.known)
	})
	t.Logf("%d files, %d templates, %d records by programs", files, templates, programs)
	if programs == 0 || templates == 0 {
		t.Error("no program was run")
	}
}

// TestProgramsReadOrdinaryRecords: what Writer writes, which is shaped as Windows
// shapes it, never needs the general way, and each template is parsed once.
func TestProgramsReadOrdinaryRecords(t *testing.T) {
	b := written(t, func(w *Writer) {
		for i := range 600 {
			e := &event.Event{Provider: "P", Channel: "C", Host: "H", ID: 1, UserSID: "S-1-5-18", Logged: fileTime(uint64(i) << 50)}
			for j := range i % 7 {
				e.Data = append(e.Data, event.Field{Name: fmt.Sprint("F", j), Value: strings.Repeat("x", 40*j)})
			}
			if err := w.Write(e); err != nil {
				t.Fatal(err)
			}
		}
	})
	var w twins
	n := 0
	chunks(b, func(c []byte) {
		n++
		w.chunk(t, c, true)
	})
	if w.programs != 600 || w.others != 0 || n < 3 {
		t.Errorf("%d records by programs, %d others, %d chunks", w.programs, w.others, n)
	}
	for _, variants := range w.shared.known {
		if len(variants) != 1 {
			t.Errorf("a template is kept %d times", len(variants))
		}
	}
	if len(w.shared.known) != 7 {
		t.Errorf("%d templates are kept, 7 were written", len(w.shared.known))
	}
}

func written(t testing.TB, f func(w *Writer)) []byte {
	t.Helper()
	name := filepath.Join(t.TempDir(), "written.evtx")
	out, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	w := NewWriter(out)
	f(w)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// bothWays reads a whole file by programs, with one goroutine and with three,
// and the general way; the set of events, the problems and the numbers must be
// the same.
func bothWays(t testing.TB, b []byte) {
	t.Helper()
	var want []*event.Event
	stats, problems := ReadGeneral(context.Background(), "test.evtx", bytes.NewReader(b), func(batch []*event.Event) {
		want = append(want, batch...)
	})
	slices.SortFunc(want, event.Compare)
	for _, jobs := range [...]int{1, 3} {
		got := make(chan []*event.Event, 1)
		got <- nil
		rd := Reader{Jobs: jobs}
		s, p := rd.Read(context.Background(), "test.evtx", bytes.NewReader(b), func(batch []*event.Event) {
			got <- append(<-got, batch...)
		})
		events := <-got
		slices.SortFunc(events, event.Compare)
		if s != stats || !reflect.DeepEqual(p, problems) {
			t.Fatalf("%d jobs: %+v %v; the general way: %+v %v", jobs, s, p, stats, problems)
		}
		if len(events) != len(want) {
			t.Fatalf("%d jobs: %d events, the general way %d", jobs, len(events), len(want))
		}
		for i := range want {
			if !reflect.DeepEqual(events[i], want[i]) {
				t.Fatalf("%d jobs:\n%+v\nthe general way:\n%+v", jobs, events[i], want[i])
			}
		}
	}
}

// variant is a template of the tests' one identifier that differs from the
// others in one thing.
func variant(field string, token byte, slot int, text string) crafted {
	return crafted{
		define: wrap(func(c *chunkBuilder) {
			c.element("EventData", nil, func() {
				c.data(field, token, slot, typeString)
				c.element("Data", []attribute{{"Name", func() { c.value("fixed") }}}, func() { c.value(text) })
				c.element(field, []attribute{{"At", func() { c.substitution(tokenSubstitution, 0, typeString) }}}, nil)
			})
		}),
		values: []outValue{{typeString, utf16("zero")}, {typeString, utf16("one")}, {typ: typeNull}},
	}
}

// TestTemplatesOfOneIdentifier: a file whose templates all carry the same
// identifier, chunk by chunk another one, reads as if nothing were shared; so do
// more of them than are kept.
func TestTemplatesOfOneIdentifier(t *testing.T) {
	variants := []crafted{
		variant("A", tokenSubstitution, 0, "x"), variant("A", tokenSubstitution, 1, "x"), variant("A", tokenOptional, 2, "x"),
		variant("A", tokenSubstitution, 2, "x"), variant("B", tokenSubstitution, 0, "x"), variant("A", tokenSubstitution, 0, "y"),
		variant("A", tokenSubstitution, 0, ""), variant("AB", tokenSubstitution, 0, "x"), variant("A", tokenSubstitution, 9, "x"),
		variant("System", tokenSubstitution, 0, "x"), variant("Name", tokenSubstitution, 1, "z"),
	}
	rapid.Check(t, func(rt *rapid.T) {
		var b []byte
		var want [][]string
		for range rapid.IntRange(1, 25).Draw(rt, "chunks") {
			// A second record of another variant moves the names about.
			one := file(t, variants[rapid.IntRange(0, len(variants)-1).Draw(rt, "first")], variants[rapid.IntRange(0, len(variants)-1).Draw(rt, "second")])
			if b == nil {
				b = one
			} else {
				b = append(b, one[fileHeaderSize:]...)
			}
			alone, _, _ := readAll(t, one)
			for _, e := range alone {
				want = append(want, []string{fmt.Sprint(e.Data)})
			}
		}
		var got [][]string
		rd := Reader{Jobs: 1}
		rd.Read(context.Background(), "test.evtx", bytes.NewReader(b), func(batch []*event.Event) {
			for _, e := range batch {
				got = append(got, []string{fmt.Sprint(e.Data)})
			}
		})
		if !reflect.DeepEqual(got, want) {
			rt.Fatalf("one after another %v, alone %v", got, want)
		}
		var w twins
		chunks(b, func(c []byte) { w.chunk(t, c, false) })
		for _, v := range w.shared.known {
			if len(v) > maxVariants {
				rt.Fatalf("%d variants are kept", len(v))
			}
		}
	})
}

// TestTemplateCacheIsBounded fills the cache; what comes then is read all the
// same.
func TestTemplateCacheIsBounded(t *testing.T) {
	var w twins
	w.shared.bytes = maxTemplateBytes - 10
	b := file(t, variant("A", tokenSubstitution, 0, "x"), variant("B", tokenSubstitution, 0, "x"))
	for range 2 {
		chunks(b, func(c []byte) { w.chunk(t, c, false) })
	}
	if len(w.shared.known) != 0 || w.programs != 4 {
		t.Errorf("%d templates are kept, %d records were read by programs", len(w.shared.known), w.programs)
	}
}

// TestProgramsOnDamage changes bytes of recordings and of a written log, where
// they lie thick, and reads both ways.
func TestProgramsOnDamage(t *testing.T) {
	b := written(t, func(w *Writer) {
		for i := range 300 {
			e := &event.Event{
				Provider: "P", Channel: "C", Host: "H", ID: 1, UserSID: "S-1-5-18", Logged: fileTime(1 << 57),
				Data: event.Fields{{Name: "A", Value: "x"}, {Name: "Data", Value: strings.Repeat("y", i)}},
			}
			if err := w.Write(e); err != nil {
				t.Fatal(err)
			}
		}
	})
	rng := rand.New(rand.NewPCG(1, 2))
	damage := func(b []byte, rounds int) {
		var first, second []byte
		chunks(b, func(c []byte) {
			if first == nil {
				first = c
			} else if second == nil {
				second = c
			}
		})
		for range rounds {
			var w twins
			for _, c := range [...][]byte{first, second} {
				if len(c) < chunkHeaderSize {
					continue
				}
				c = bytes.Clone(c)
				free := max(min(int(u32(c, 48)), len(c)), chunkHeaderSize+1)
				for range 1 + rng.IntN(40) {
					at := chunkHeaderSize + rng.IntN(free-chunkHeaderSize)
					if rng.IntN(2) == 0 { // definitions come first
						at = min(at, chunkHeaderSize+rng.IntN(4096))
					}
					c[at%len(c)] = byte(rng.Uint32() >> (8 * rng.IntN(4)))
				}
				w.chunk(t, c, rng.IntN(2) == 0)
			}
		}
	}
	damage(b, 300)
	if testing.Short() {
		return
	}
	full, n := os.Getenv("ASHIATO_FULL") == "1", 0
	recordings(t, func(_ string, b []byte) {
		if n++; full {
			damage(b, 60)
		} else if n%10 == 0 {
			damage(b, 6)
		}
	})
}

// FuzzPrograms reads any two chunks both ways, the second with the templates of
// the first.
func FuzzPrograms(f *testing.F) {
	b := file(f, variant("A", tokenSubstitution, 0, "x"), variant("B", tokenOptional, 2, "x"))
	c := b[fileHeaderSize:]
	c = c[chunkHeaderSize:u32(c, 48)]
	f.Add(c, c, false)
	f.Add(c, c[:len(c)-40], true)
	f.Fuzz(func(t *testing.T, a, b []byte, strict bool) {
		if len(a) > chunkSize || len(b) > chunkSize {
			return
		}
		var w twins
		for _, part := range [...][]byte{a, b} {
			// Definitions name their places in the chunk.
			chunk := append(make([]byte, chunkHeaderSize), part...)
			w.chunk(t, chunk[:min(len(chunk), chunkSize)], strict)
		}
	})
}

// TestAppendUTF16 holds the fast decoding of text against the plain one.
func TestAppendUTF16(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		units := rapid.SliceOfN(rapid.OneOf(
			rapid.Uint16Range(0, 0x7f), rapid.Uint16Range(0, 0x7f), rapid.Uint16Range(0, 0x7f), rapid.Uint16Range(0, 0x7f),
			rapid.SampledFrom([]uint16{0x80, 0x100, 0x7f00, 0x8000, 0xd800, 0xdc00, 0xffff}), rapid.Uint16(),
		), 0, 70).Draw(t, "units")
		if rapid.Bool().Draw(t, "ascii") {
			for i := range units {
				units[i] &= 0x7f
			}
		}
		var le []byte
		for _, u := range units {
			le = binary.LittleEndian.AppendUint16(le, u)
		}
		le = append(le, make([]byte, rapid.IntRange(0, 1).Draw(t, "odd"))...)
		before := make([]byte, rapid.IntRange(0, 9).Draw(t, "before"), 10)
		if got, want := appendUTF16(bytes.Clone(before), le), event.AppendUTF16(bytes.Clone(before), le); !bytes.Equal(got, want) {
			t.Fatalf("% x: %q, want %q", le, got, want)
		}
	})
}

// TestAllocations holds what reading a log costs: two allocations per record, one
// for the event with its fields and one for their text, and a little per chunk.
func TestAllocations(t *testing.T) {
	const records = 20000
	b := written(t, func(w *Writer) {
		for i := range records {
			e := &event.Event{Provider: "P", Channel: "C", Host: "H", ID: 1, UserSID: "S-1-5-18", Logged: fileTime(1 << 57)}
			for j := range 1 + i%20 {
				e.Data = append(e.Data, event.Field{Name: fmt.Sprint("F", j), Value: "0x3e7"})
			}
			if err := w.Write(e); err != nil {
				t.Fatal(err)
			}
		}
	})
	rd := Reader{Jobs: 1}
	n := testing.AllocsPerRun(3, func() {
		rd.Read(context.Background(), "test.evtx", bytes.NewReader(b), func([]*event.Event) {})
	})
	if perRecord := n / records; perRecord > 2.2 {
		t.Errorf("%.2f allocations per record", perRecord)
	}
}
