// Package text reads the text formats' input: a Window over a stream of UTF-8 or
// UTF-16 bytes that grows to a bound and knows offsets and lines, and a Sink
// that batches events and keeps the numbers of source.Stats in balance.
//
// A reader looks at Bytes, asks for More when a structure does not end there,
// and consumes with Advance. Whatever the stream holds, a Window keeps no more
// than its bound in memory.
//
// UTF-16 needs a byte order mark and is decoded to WTF-8 (see package event), so
// that nothing is replaced; offsets and hashes remain those of the input's own
// bytes.
package text

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"

	"ashiato/internal/event"
)

// ErrFull is returned by More if the Window holds its bound of unread bytes.
var ErrFull = errors.New("the window is full")

type encoding uint8

const (
	undetected encoding = iota
	utf8Bytes
	utf16LE
	utf16BE
)

const (
	leastMax  = 256 << 10 // what a Window may hold at least
	firstRead = 8 << 10   // what the first More asks for at least, as much input is short,
	readSize  = 128 << 10 // and after a few more, each twice as much as the one before, all others
)

// Window is a growing view of the unread part of a stream. It is not safe for
// concurrent use.
type Window struct {
	r      io.Reader
	buf    []byte // buf[lo:] is unread
	lo     int
	max    int
	enc    encoding
	raw    []byte // UTF-16 bytes not yet decoded
	pos    int64  // decoded position of buf[lo]
	offset int64  // its offset in the input
	line   int
	ask    int // what More asks for at least
	read   int64
	err    error // what ended the stream
}

// NewWindow returns a Window over r that holds at most max bytes (at least 256
// KiB) of unread text.
func NewWindow(r io.Reader, bound int) *Window {
	return &Window{r: r, max: max(bound, leastMax), line: 1, ask: firstRead}
}

// Bytes returns the unread text at hand. It is valid until the next call of More.
func (w *Window) Bytes() []byte { return w.buf[w.lo:] }

// Offset returns the offset in the input of the first unread byte.
func (w *Window) Offset() int64 { return w.offset }

// Pos returns the position of the first unread byte in the decoded text. It
// differs from Offset in UTF-16 input and behind a byte order mark.
func (w *Window) Pos() int64 { return w.pos }

// Line returns the 1-based line of the first unread byte.
func (w *Window) Line() int { return w.line }

// Read returns how many bytes of input were read.
func (w *Window) Read() int64 { return w.read }

// Err returns what ended the stream, nil for its regular end or while it goes on.
func (w *Window) Err() error {
	if w.err == io.EOF {
		return nil
	}
	return w.err
}

// Size returns how many bytes of input are behind Bytes()[from:to].
func (w *Window) Size(from, to int) int64 { return w.size(w.buf[w.lo+from : w.lo+to]) }

// LineAt returns the line of Bytes()[n].
func (w *Window) LineAt(n int) int {
	return w.line + bytes.Count(w.buf[w.lo:w.lo+n], newline)
}

var newline = []byte{'\n'}

// Advance consumes n bytes of Bytes.
func (w *Window) Advance(n int) {
	b := w.buf[w.lo : w.lo+n]
	w.pos += int64(n)
	w.offset += w.size(b)
	w.line += bytes.Count(b, newline)
	w.lo += n
}

// size returns how many bytes of input the decoded bytes b came from.
func (w *Window) size(b []byte) int64 {
	if w.enc != utf16LE && w.enc != utf16BE {
		return int64(len(b))
	}
	units := int64(0)
	for _, c := range b {
		switch {
		case c >= 0xF0:
			units += 2 // a pair
		case c&0xC0 != 0x80:
			units++
		}
	}
	return 2 * units
}

// Hash returns the SHA-256 of the input bytes behind Bytes()[from:to].
func (w *Window) Hash(from, to int) [sha256.Size]byte {
	b := w.buf[w.lo+from : w.lo+to]
	switch w.enc {
	case utf16LE:
		return sha256.Sum256(event.AppendUTF16LE(nil, string(b)))
	case utf16BE:
		return sha256.Sum256(swap(event.AppendUTF16LE(nil, string(b))))
	}
	return sha256.Sum256(b)
}

func swap(b []byte) []byte {
	for i := 0; i+1 < len(b); i += 2 {
		b[i], b[i+1] = b[i+1], b[i]
	}
	return b
}

// More reads on until the unread text has about doubled. It returns nil if there
// are new bytes, ErrFull if the bound is reached, and io.EOF at the end of the
// stream, whatever ended it (see Err).
func (w *Window) More() error {
	if w.err != nil {
		return io.EOF
	}
	unread := len(w.buf) - w.lo
	if unread >= w.max {
		return ErrFull
	}
	want := min(max(unread, w.ask), w.max-unread)
	w.ask = min(2*w.ask, readSize)
	w.reserve(want)
	if w.enc == undetected {
		w.detect()
	}
	for len(w.buf)-w.lo < unread+want && w.err == nil {
		if w.enc == utf8Bytes {
			w.fill(&w.buf, unread+want-(len(w.buf)-w.lo))
		} else {
			w.fillUTF16()
		}
	}
	if len(w.buf)-w.lo == unread {
		return io.EOF
	}
	return nil
}

// reserve makes room for n more bytes.
func (w *Window) reserve(n int) {
	if cap(w.buf)-len(w.buf) >= n {
		return
	}
	unread := w.buf[w.lo:]
	if cap(w.buf) < len(unread)+n {
		grown := make([]byte, len(unread), min(max(2*cap(w.buf), len(unread)+n), w.max+readSize))
		copy(grown, unread)
		w.buf = grown
	} else {
		copy(w.buf, unread)
		w.buf = w.buf[:len(unread)]
	}
	w.lo = 0
}

// fill appends up to n bytes of the stream to *b.
func (w *Window) fill(b *[]byte, n int) {
	for empty := 0; empty < 100; empty++ {
		end := len(*b)
		if cap(*b)-end < n {
			grown := make([]byte, end, end+n)
			copy(grown, *b)
			*b = grown
		}
		got, err := w.r.Read((*b)[end : end+n])
		*b = (*b)[:end+got]
		w.read += int64(got)
		if err != nil {
			w.err = err
			return
		}
		if got > 0 {
			return
		}
	}
	w.err = io.ErrNoProgress
}

// detect reads the byte order mark, if any.
func (w *Window) detect() {
	var head []byte
	for len(head) < 3 && w.err == nil {
		w.fill(&head, 3-len(head))
	}
	switch {
	case bytes.HasPrefix(head, []byte{0xEF, 0xBB, 0xBF}):
		w.enc, w.offset = utf8Bytes, 3
		return
	case bytes.HasPrefix(head, []byte{0xFF, 0xFE}):
		w.enc, w.offset = utf16LE, 2
		w.raw = append(w.raw, head[2:]...)
		return
	case bytes.HasPrefix(head, []byte{0xFE, 0xFF}):
		w.enc, w.offset = utf16BE, 2
		w.raw = append(w.raw, head[2:]...)
		return
	}
	w.enc = utf8Bytes
	w.buf = append(w.buf, head...)
}

// fillUTF16 decodes another piece of UTF-16. A high surrogate at the end of the
// piece waits for its partner.
func (w *Window) fillUTF16() {
	const units = 4096
	w.fill(&w.raw, 2*units-len(w.raw))
	n := len(w.raw) &^ 1
	if w.err == nil && n >= 2 {
		high := w.raw[n-1]
		if w.enc == utf16BE {
			high = w.raw[n-2]
		}
		if high&0xFC == 0xD8 {
			n -= 2
		}
	}
	piece := append([]byte(nil), w.raw[:n]...)
	if w.enc == utf16BE {
		swap(piece)
	}
	w.buf = event.AppendUTF16(w.buf, piece)
	w.raw = append(w.raw[:0], w.raw[n:]...)
}

// SkipLine consumes up to and including the next line feed, or to the end.
func (w *Window) SkipLine() {
	for {
		b := w.Bytes()
		if i := bytes.IndexByte(b, '\n'); i >= 0 {
			w.Advance(i + 1)
			return
		}
		w.Advance(len(b))
		if w.More() != nil {
			return
		}
	}
}

// DecodeHead returns the first bytes of an input as UTF-8, for sniffing: without
// a byte order mark, and decoded if they are UTF-16.
func DecodeHead(head []byte) []byte {
	if !bytes.HasPrefix(head, []byte{0xFF, 0xFE}) && !bytes.HasPrefix(head, []byte{0xFE, 0xFF}) {
		return bytes.TrimPrefix(head, []byte{0xEF, 0xBB, 0xBF}) // millions of small files are looked at
	}
	w := NewWindow(bytes.NewReader(head), leastMax)
	_ = w.More() // an empty head has no bytes
	return w.Bytes()
}
