package evtx_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"io"
	"slices"
	"sync"
	"testing"

	"ashiato/internal/event"
	"ashiato/internal/source"
	"ashiato/internal/source/evtx"
)

// memory is a file in memory.
type memory struct {
	b   []byte
	pos int
}

func (m *memory) Write(p []byte) (int, error) {
	if over := m.pos + len(p) - len(m.b); over > 0 {
		m.b = append(m.b, make([]byte, over)...)
	}
	copy(m.b[m.pos:], p)
	m.pos += len(p)
	return len(p), nil
}

func (m *memory) Seek(off int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		off += int64(m.pos)
	case io.SeekEnd:
		off += int64(len(m.b))
	}
	m.pos = int(off)
	return off, nil
}

type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

// write returns the events as an EVTX file.
func write(t fataler, events []*event.Event) []byte {
	t.Helper()
	var m memory
	w := evtx.NewWriter(&m)
	for i, e := range events {
		if err := w.Write(e); err != nil {
			t.Fatalf("event %d: %v", i, err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatalf("closing: %v", err)
	}
	return m.b
}

// result is what reading gave, the events in the order of the file.
type result struct {
	events   []*event.Event
	stats    source.Stats
	problems []source.Problem
}

func (r result) problem(kind source.ProblemKind) *source.Problem {
	for i := range r.problems {
		if r.problems[i].Kind == kind {
			return &r.problems[i]
		}
	}
	return nil
}

func readFrom(in io.Reader, jobs int) result {
	var res result
	var mu sync.Mutex
	rd := evtx.Reader{Jobs: jobs}
	res.stats, res.problems = rd.Read(context.Background(), "test.evtx", in, func(batch []*event.Event) {
		mu.Lock()
		defer mu.Unlock()
		res.events = append(res.events, batch...)
	})
	slices.SortFunc(res.events, func(a, b *event.Event) int { return int(a.Ref.Offset - b.Ref.Offset) })
	return res
}

// readGeneral reads a file without programs.
func readGeneral(b []byte) result {
	var res result
	res.stats, res.problems = evtx.ReadGeneral(context.Background(), "test.evtx", bytes.NewReader(b), func(batch []*event.Event) {
		res.events = append(res.events, batch...)
	})
	slices.SortFunc(res.events, func(a, b *event.Event) int { return int(a.Ref.Offset - b.Ref.Offset) })
	return res
}

func read(b []byte) result { return readFrom(bytes.NewReader(b), 0) }

// clean reads a file that must give no problems.
func clean(t testing.TB, b []byte) []*event.Event {
	t.Helper()
	res := read(b)
	if len(res.problems) > 0 {
		t.Fatalf("problems: %v", res.problems)
	}
	return res.events
}

// checkRef returns what is wrong with an event's reference into the file b, or
// "": it must find a whole record there, of that id and hash.
func checkRef(b []byte, e *event.Event) string {
	off := e.Ref.Offset
	if off < 0 || off+28 > int64(len(b)) {
		return "the offset is outside the file"
	}
	rec := b[off:]
	if string(rec[:4]) != "**\x00\x00" {
		return "no record at its offset"
	}
	size := binary.LittleEndian.Uint32(rec[4:])
	if size < 28 || int64(size) > int64(len(rec)) {
		return "its size is outside the file"
	}
	if sha256.Sum256(rec[:size]) != e.Ref.SHA256 {
		return "the hash is not of its bytes"
	}
	if e.Ref.Host != e.Host || e.Ref.Channel != e.Channel || e.Ref.File != "test.evtx" {
		return "the reference names another host, channel or file"
	}
	if !e.Time.Equal(e.Logged) {
		return "the times differ"
	}
	return ""
}
