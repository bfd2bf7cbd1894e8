package evtx_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"

	"ashiato/internal/event"
	"ashiato/internal/source"
	"ashiato/internal/source/evtx"
)

const (
	headerSize = 4096
	chunkSize  = 65536
)

// offsets returns where the records of a file written by Writer start.
func offsets(t fataler, b []byte) []int64 {
	res := read(b)
	if len(res.problems) > 0 {
		t.Fatalf("%v", res.problems)
	}
	var at []int64
	for _, e := range res.events {
		at = append(at, e.Ref.Offset)
	}
	return at
}

// fixSums makes a file's checksums right again after a change.
func fixSums(b []byte) {
	binary.LittleEndian.PutUint32(b[124:], crc32.ChecksumIEEE(b[:120]))
	for at := headerSize; at+chunkSize <= len(b); at += chunkSize {
		c := b[at : at+chunkSize]
		free := min(binary.LittleEndian.Uint32(c[48:]), chunkSize)
		binary.LittleEndian.PutUint32(c[52:], crc32.ChecksumIEEE(c[512:max(free, 512)]))
		h := crc32.Update(crc32.ChecksumIEEE(c[:120]), crc32.IEEETable, c[128:512])
		binary.LittleEndian.PutUint32(c[124:], h)
	}
}

// subset fails unless every event of got is one of want, by bytes.
func subset(t fataler, want, got []*event.Event) {
	t.Helper()
	known := map[[32]byte]*event.Event{}
	for _, e := range want {
		known[e.Ref.SHA256] = e
	}
	for _, e := range got {
		w := known[e.Ref.SHA256]
		if w == nil {
			t.Fatalf("an event that was not written: %+v", e)
		}
		c := *e
		c.Flags, c.Ref, c.Time = w.Flags, w.Ref, w.Time
		if !reflect.DeepEqual(w, &c) {
			t.Fatalf("a record of the same bytes reads differently:\n%+v\n%+v", w, e)
		}
	}
}

func TestEmptyInput(t *testing.T) {
	res := read(nil)
	checkResult(t, nil, res)
	if p := res.problem(source.Empty); p == nil || res.stats.FilesRead != 0 || res.stats.Files != 1 {
		t.Errorf("%+v", res)
	}
}

// zeros is an endless file of zeros.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func TestZeros(t *testing.T) {
	const size = 100 << 20
	res := readFrom(io.LimitReader(zeros{}, size), 0)
	if p := res.problem(source.Empty); p == nil || len(res.problems) != 1 || res.stats.Bytes != size || res.stats.Records != 0 {
		t.Errorf("%+v", res)
	}
}

// TestTruncated cuts a file at every interesting place: every record that is
// whole is read as before, and that something is missing is said.
func TestTruncated(t *testing.T) {
	b := write(t, intrusion(250))
	all := clean(t, b)
	cuts := []int{1, 7, 8, 9, 127, 128, 4095, 4096, 4097, 4103, 4104, 4607, 4608, 4609, len(b) - 1}
	for i, e := range all {
		at := int(e.Ref.Offset)
		if i%17 == 0 || i == len(all)-1 {
			cuts = append(cuts, at, at+1, at+4, at+23, at+24, at+30, at+60)
		}
	}
	for at := headerSize; at < len(b); at += chunkSize {
		cuts = append(cuts, at-1, at, at+8, at+100, at+511, at+512, at+513)
	}
	for _, cut := range cuts {
		res := read(b[:cut])
		checkResult(t, b[:cut], res)
		subset(t, all, res.events)
		whole := 0
		for _, e := range all {
			end := e.Ref.Offset + int64(binary.LittleEndian.Uint32(b[e.Ref.Offset+4:]))
			if end <= int64(cut) {
				whole++
			}
		}
		if len(res.events) != whole {
			t.Errorf("cut at %d: %d events, %d whole records", cut, len(res.events), whole)
		}
		if res.problem(source.Truncated) == nil && res.problem(source.Corrupt) == nil {
			t.Errorf("cut at %d: no word of it: %v", cut, res.problems)
		}
	}
}

func TestBadChecksums(t *testing.T) {
	good := write(t, intrusion(250))
	for _, c := range []struct {
		name   string
		at     int
		flag   bool
		offset int64
	}{
		{"file header", 100, false, 0},
		{"file header checksum", 124, false, 0},
		{"chunk header", headerSize + 60, true, headerSize},
		{"string table", headerSize + chunkSize + 300, true, headerSize + chunkSize},
		{"chunk header checksum", headerSize + 124, true, headerSize},
		{"data checksum", headerSize + 52, true, headerSize},
		{"record time", headerSize + 512 + 16, true, headerSize + 512},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := bytes.Clone(good)
			b[c.at] ^= 0x10
			res := read(b)
			checkResult(t, b, res)
			if len(res.events) != 250 || len(res.problems) != 1 {
				t.Fatalf("%d events, problems %v", len(res.events), res.problems)
			}
			if p := res.problem(source.BadChecksum); p == nil || p.Offset != c.offset {
				t.Errorf("problems %v, want a bad checksum at %d", res.problems, c.offset)
			}
			for _, e := range res.events {
				inChunk := c.flag && (e.Ref.Offset-headerSize)/chunkSize == (int64(c.at)-headerSize)/chunkSize
				if e.Flags != 0 != inChunk {
					t.Fatalf("the event at %d has flags %b", e.Ref.Offset, e.Flags)
				}
			}
		})
	}
}

func TestNoChecksums(t *testing.T) {
	b := write(t, intrusion(10))
	b[120] |= 4
	b[headerSize+120] |= 4
	b[124], b[headerSize+124], b[headerSize+52] = 0, 0, 0
	if got := clean(t, b); len(got) != 10 {
		t.Errorf("%d events", len(got))
	}
}

// TestDirty reads a log as it looks while it is being written: the flag is set,
// the header counts too few chunks and the last chunk's end mark is behind.
func TestDirty(t *testing.T) {
	events := intrusion(250)
	b := write(t, events)
	b[120] |= 1
	b[42] = 1
	binary.LittleEndian.PutUint32(b[124:], crc32.ChecksumIEEE(b[:120]))
	at := offsets(t, write(t, events))
	last := at[len(at)-1]
	chunk := b[(last-headerSize)/chunkSize*chunkSize+headerSize:]
	mark := uint32((last - headerSize) % chunkSize)
	binary.LittleEndian.PutUint32(chunk[48:], mark)
	binary.LittleEndian.PutUint32(chunk[52:], crc32.ChecksumIEEE(chunk[512:mark]))
	h := crc32.Update(crc32.ChecksumIEEE(chunk[:120]), crc32.IEEETable, chunk[128:512])
	binary.LittleEndian.PutUint32(chunk[124:], h)

	res := read(b)
	checkResult(t, b, res)
	if p := res.problem(source.Dirty); p == nil || len(res.problems) != 1 {
		t.Errorf("problems %v, want only dirty", res.problems)
	}
	if len(res.events) != 250 || res.stats.Carved != 1 {
		t.Fatalf("%d events, %d carved", len(res.events), res.stats.Carved)
	}
	for i, e := range res.events {
		if carved := e.Flags&event.Carved != 0; carved != (i == 249) {
			t.Errorf("event %d: carved is %t", i, carved)
		}
	}
}

// TestLeftovers puts records beyond a chunk's end mark: what is new is carved,
// what repeats a record of the file, or cannot be understood, is not.
func TestLeftovers(t *testing.T) {
	b := write(t, intrusion(250))
	at := offsets(t, b)
	end := len(at) - 1
	last := at[end]
	base := (last-headerSize)/chunkSize*chunkSize + headerSize
	free := base + int64(binary.LittleEndian.Uint32(b[base+48:]))
	record := func(i int) []byte { return b[at[i] : at[i]+int64(binary.LittleEndian.Uint32(b[at[i]+4:]))] }

	place := func(recs ...[]byte) result {
		c := bytes.Clone(b)
		p := int(free) + 40
		for _, r := range recs {
			p += copy(c[p:], r) + 16
		}
		res := read(c)
		checkResult(t, c, res)
		if len(res.problems) > 0 {
			t.Errorf("problems: %v", res.problems)
		}
		return res
	}
	if res := place(record(end)); len(res.events) != 250 {
		t.Errorf("a copy of a record of the chunk counts: %d events", len(res.events))
	}
	// A record of another chunk that refers to a definition this chunk has not
	// got at that place.
	if res := place(record(3)); len(res.events) != 250 {
		t.Errorf("a copy of another chunk's record counts: %d events", len(res.events))
	}
	changed := bytes.Clone(record(end))
	i := bytes.Index(changed, []byte("p\x00r\x00i\x00n\x00t"))
	changed[i] = 'P'
	res := place(changed, changed, record(end))
	if len(res.events) != 251 || res.stats.Carved != 1 {
		t.Fatalf("%d events, %d carved", len(res.events), res.stats.Carved)
	}
	if e := res.events[250]; e.Flags != event.Carved || !strings.Contains(e.Value("Image"), "Print") || e.Ref.Offset != free+40 {
		t.Errorf("the leftover reads as %+v", e)
	}
	wrong := bytes.Clone(changed)
	wrong[len(wrong)-1] ^= 1
	if res := place(wrong); len(res.events) != 250 {
		t.Errorf("a leftover with a wrong size copy counts: %d events", len(res.events))
	}
}

// TestEmptyLog reads a log without a record, closed and open.
func TestEmptyLog(t *testing.T) {
	b := write(t, nil)
	b[120] = 1
	fixSums(b)
	res := read(b)
	if res.stats.FilesRead != 1 || len(res.problems) != 1 || res.problem(source.Dirty) == nil {
		t.Errorf("%+v", res)
	}
	b[headerSize] = 'x'
	if res := read(b); res.stats.FilesRead != 0 {
		t.Errorf("a log whose only chunk is destroyed counts as read: %+v", res)
	}
}

func TestBrokenStructures(t *testing.T) {
	good := write(t, intrusion(250))
	all := clean(t, good)
	at := offsets(t, good)
	le := binary.LittleEndian
	second := int(at[200])/chunkSize*chunkSize + headerSize // some chunk's start
	for _, c := range []struct {
		name   string
		change func(b []byte) []byte
		lost   int // events that cannot be had any more
		carved int
		kind   source.ProblemKind
	}{
		{"file signature", func(b []byte) []byte { b[0] = 'x'; return b }, 0, 0, source.Corrupt},
		{"file header zeroed", func(b []byte) []byte { clear(b[:headerSize]); return b }, 0, 0, source.Corrupt},
		{"file header missing", func(b []byte) []byte { return b[headerSize:] }, 0, 0, source.Corrupt},
		{"half the file header missing", func(b []byte) []byte { return b[1000:] }, 0, 0, source.Corrupt},
		{"bytes before the chunks", func(b []byte) []byte { return slices.Insert(b, headerSize, make([]byte, 777)...) }, 0, 0, ""},
		{"future version", func(b []byte) []byte { b[38] = 9; fixSums(b); return b }, 0, 0, source.Corrupt},
		{"chunk signature", func(b []byte) []byte { b[second] = 'x'; return b }, 0, 1, source.Corrupt},
		{"chunk header zeroed", func(b []byte) []byte { clear(b[second : second+512]); return b }, 0, 1, source.Corrupt},
		{"end mark too large", func(b []byte) []byte { le.PutUint32(b[second+48:], math.MaxUint32); return b }, 0, 0, source.Corrupt},
		{"end mark too small", func(b []byte) []byte { le.PutUint32(b[second+48:], 3); return b }, 0, 0, source.Corrupt},
		{"record size 0", func(b []byte) []byte { le.PutUint32(b[at[210]+4:], 0); fixSums(b); return b }, 1, 1, source.Corrupt},
		{"record size huge", func(b []byte) []byte { le.PutUint32(b[at[210]+4:], math.MaxUint32); fixSums(b); return b }, 1, 1, source.Corrupt},
		{"record size too small", func(b []byte) []byte { le.PutUint32(b[at[210]+4:], 32); fixSums(b); return b }, 1, 1, source.Corrupt},
		{"record size copy", func(b []byte) []byte { b[at[211]-4] ^= 8; fixSums(b); return b }, 0, 0, source.Corrupt},
		{"record signature", func(b []byte) []byte { b[at[210]] = 'x'; fixSums(b); return b }, 1, 1, source.Corrupt},
		{"record zeroed", func(b []byte) []byte { clear(b[at[210]:at[211]]); fixSums(b); return b }, 1, 1, source.Corrupt},
		{"record content", func(b []byte) []byte { b[at[210]+24] = 0x77; fixSums(b); return b }, 1, 0, source.Corrupt},
		{"unused chunk between", func(b []byte) []byte { return slices.Insert(b, second, make([]byte, chunkSize)...) }, 0, 0, ""},
		{"bytes missing in a chunk", func(b []byte) []byte { return slices.Delete(b, second-1000, second-300) }, 5, 0, source.Corrupt},
		{"unused end cut", func(b []byte) []byte { return b[:len(b)-100] }, 0, 0, source.Truncated},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := c.change(bytes.Clone(good))
			res := read(b)
			checkResult(t, b, res)
			got := res.events
			// What is not in the good file may only be the changed record
			// itself, or carry a flag that says so.
			got = slices.DeleteFunc(slices.Clone(got), func(e *event.Event) bool {
				return e.Ref.RecordID == all[210].Ref.RecordID || e.Flags&event.BadChecksum != 0
			})
			subset(t, all, got)
			if n := len(res.events); n < 250-c.lost || n > 250 {
				t.Errorf("%d events of 250, %d must be lost", n, c.lost)
			}
			carved := res.stats.Carved > 0
			if carved != (c.carved > 0) {
				t.Errorf("%d carved", res.stats.Carved)
			}
			if c.kind != "" && res.problem(c.kind) == nil {
				t.Errorf("problems %v, want %s", res.problems, c.kind)
			}
			if res.problem(source.Truncated) != nil && len(b) >= len(good) {
				t.Errorf("nothing was cut, yet the problems are %v", res.problems)
			}
			if c.kind == "" && len(res.problems) > 0 {
				t.Errorf("problems %v, want none", res.problems)
			}
		})
	}
}

// TestFlippedBits flips any bits: what is read is consistent, and records whose
// chunk is untouched are all there.
func TestFlippedBits(t *testing.T) {
	good := write(t, intrusion(250))
	all := clean(t, good)
	rapid.Check(t, func(t *rapid.T) {
		b := bytes.Clone(good)
		touched := map[int]bool{}
		for range rapid.IntRange(1, 20).Draw(t, "flips") {
			at := rapid.IntRange(0, len(b)-1).Draw(t, "at")
			b[at] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
			touched[(at-headerSize+chunkSize)/chunkSize] = true
		}
		if rapid.Bool().Draw(t, "repair checksums") {
			fixSums(b)
		}
		res := read(b)
		checkResult(t, b, res)
		found := map[[32]byte]bool{}
		for _, e := range res.events {
			found[e.Ref.SHA256] = true
		}
		for _, e := range all {
			if chunk := (int(e.Ref.Offset)-headerSize)/chunkSize + 1; !touched[chunk] && !found[e.Ref.SHA256] {
				t.Fatalf("record %d is lost; its chunk is intact", e.Ref.RecordID)
			}
		}
	})
}

func TestReadErrors(t *testing.T) {
	b := write(t, intrusion(250))
	broken := errors.New("bad sector")
	res := readFrom(io.MultiReader(bytes.NewReader(b[:headerSize+chunkSize+700]), iotest.ErrReader(broken)), 2)
	if p := res.problem(source.Unreadable); p == nil || p.Offset != headerSize+chunkSize+700 || !strings.Contains(p.Detail, "bad sector") {
		t.Errorf("problems %v", res.problems)
	}
	if len(res.events) < 50 {
		t.Errorf("%d events before the bad sector", len(res.events))
	}
	res = readFrom(iotest.ErrReader(broken), 1)
	if res.problem(source.Unreadable) == nil || len(res.problems) != 1 {
		t.Errorf("problems %v", res.problems)
	}
	one := readFrom(iotest.OneByteReader(bytes.NewReader(b)), 1)
	if len(one.problems) > 0 || len(one.events) != 250 {
		t.Errorf("byte by byte: %d events, %v", len(one.events), one.problems)
	}
}

func TestStopsWhenTold(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	var rd evtx.Reader
	stats, problems := rd.Read(ctx, "endless.evtx", io.MultiReader(bytes.NewReader(write(t, intrusion(100))), zeros{}),
		func([]*event.Event) { cancel() })
	if len(problems) == 0 || problems[len(problems)-1].Kind != source.Unreadable || stats.Events == 0 {
		t.Errorf("%+v %v", stats, problems)
	}
}

// TestJobsDoNotShow reads a damaged file with one and with many goroutines.
func TestJobsDoNotShow(t *testing.T) {
	b := write(t, intrusion(600))
	for i := 5000; i < len(b); i += 7001 {
		b[i] ^= 0x40
	}
	one := readFrom(bytes.NewReader(b), 1)
	for jobs := range 8 {
		many := readFrom(bytes.NewReader(b), jobs)
		if one.stats != many.stats || !slices.Equal(one.problems, many.problems) {
			t.Fatalf("%d jobs: %+v %v, one job: %+v %v", jobs, many.stats, many.problems, one.stats, one.problems)
		}
		if diff := sameEvents(one.events, many.events); diff != "" {
			t.Fatalf("%d jobs:\n%s", jobs, diff)
		}
	}
}

func TestSniff(t *testing.T) {
	b := write(t, intrusion(10))
	if !evtx.Sniff(b[:8]) {
		t.Error("the signature is not recognised")
	}
	damaged := bytes.Clone(b)
	clear(damaged[:headerSize])
	if !evtx.Sniff(damaged[:8192]) || !evtx.Sniff(b[headerSize:8192]) {
		t.Error("a file without its header is not recognised")
	}
	clear(damaged[:headerSize+512])
	if !evtx.Sniff(damaged[:8192]) || !evtx.Sniff(damaged[headerSize:8192]) {
		t.Error("a file without its headers is not recognised")
	}
	for _, no := range []string{"", "ElfFile", "MZ", "{\"EventID\":1}", "<Event>", strings.Repeat("\x00", 8192), strings.Repeat("**\x00\x00", 2048)} {
		if evtx.Sniff([]byte(no)) {
			t.Errorf("%.20q is recognised", no)
		}
	}
}
