// Package ndjson reads Windows event records from JSON: one object per line,
// concatenated or pretty-printed objects, or arrays of them, in the shapes that
// winlogbeat and Elastic Agent, NXLog, evtx_dump and this program write. Each
// object is recognised by its content; docs/formats/ndjson.md describes them.
//
// A broken object costs itself: reading goes on at the next line that can begin
// a record. Memory is bounded by the largest record admitted, 16 MiB. Strings
// keep every byte and every code unit: lone surrogates are read as WTF-8, bytes
// that are not UTF-8 stay as they are, numbers keep their digits.
package ndjson

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"ashiato/internal/event"
	"ashiato/internal/source"
	"ashiato/internal/source/text"
)

// MaxRecord is the largest JSON object read, in bytes of UTF-8. Larger ones are
// reported as source.TooLarge.
const MaxRecord = 16 << 20

// Sniff reports whether an input that begins with head is likely JSON records:
// its first object or array of objects begins there, perhaps behind the
// separator lines of evtx_dump.
func Sniff(head []byte) bool {
	b := text.DecodeHead(head)
	for {
		b = bytes.TrimLeft(b, " \t\r\n\x1e")
		line, rest, ok := bytes.Cut(b, newline)
		if !ok || !isSeparator(line) {
			break
		}
		b = rest
	}
	if len(b) == 0 {
		return false
	}
	if b[0] == '[' {
		b = bytes.TrimLeft(b[1:], " \t\r\n")
		return len(b) == 0 || b[0] == '{' || b[0] == ']'
	}
	if b[0] != '{' {
		return false
	}
	b = bytes.TrimLeft(b[1:], " \t\r\n")
	return len(b) == 0 || b[0] == '"' || b[0] == '}'
}

var newline = []byte{'\n'}

// isSeparator reports whether line is one that evtx_dump writes between records.
func isSeparator(line []byte) bool {
	digits, ok := bytes.CutPrefix(bytes.TrimSpace(line), []byte("Record "))
	if !ok || len(digits) == 0 {
		return false
	}
	for _, c := range digits {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}

// Read is a source.ReadFunc.
func Read(ctx context.Context, name string, r io.Reader, h source.Handler) (source.Stats, []source.Problem) {
	rd := reader{
		w:     text.NewWindow(r, MaxRecord),
		s:     text.NewSink(name, h),
		name:  name,
		blank: true,
	}
	for ctx.Err() == nil && rd.next() {
	}
	return rd.s.Finish(rd.w, rd.blank)
}

// reader finds the objects of one input.
type reader struct {
	w     *text.Window
	s     *text.Sink
	name  string
	b     builder
	blank bool // nothing but white space so far

	indent int // of the current line, in bytes of white space
	// After a broken object: an object is taken only if its line is indented
	// no deeper than limit, since others are inside the broken one. failed is
	// where the broken object's parsing stopped.
	resync bool
	limit  int
	failed int64
	huge   bool // the broken object was larger than MaxRecord
}

// next consumes what comes before an object and the object, or something that
// is none. It reports whether there may be more.
func (r *reader) next() bool {
	b := r.w.Bytes()
	i := 0
	for i < len(b) {
		switch b[i] {
		case '\n':
			r.indent = 0
		case ' ', '\t':
			r.indent++
		case '\r', 0x1E:
		case ',', '[', ']':
			r.blank = false
		default:
			r.w.Advance(i)
			r.blank = false
			switch {
			case b[i] == '{' && (!r.resync || r.indent <= r.limit):
				r.object()
			case b[i] == 0:
				r.zeros()
			default:
				r.junk()
			}
			return true
		}
		i++
	}
	r.w.Advance(i)
	return r.w.More() == nil
}

// skipLine goes to the next line.
func (r *reader) skipLine() {
	r.w.SkipLine()
	r.indent = 0
}

// junk consumes a line, or the rest of one, that holds no object.
func (r *reader) junk() {
	offset, line := r.w.Offset(), r.w.Line()
	if r.resync {
		r.skipLine()
		return
	}
	b := r.w.Bytes()
	for bytes.IndexByte(b, '\n') < 0 && len(b) < 64 && r.w.More() == nil {
		b = r.w.Bytes()
	}
	head, _, _ := bytes.Cut(b, newline)
	if !isSeparator(head) {
		r.s.Lost(source.Corrupt, offset, line, func() string { return "text that is no JSON object" })
	}
	r.skipLine()
}

// zeros consumes zero bytes, as a file has that was not flushed before power was
// lost.
func (r *reader) zeros() {
	offset, line := r.w.Offset(), r.w.Line()
	n := int64(0)
	for {
		b := r.w.Bytes()
		rest := bytes.TrimLeft(b, "\x00")
		r.w.Advance(len(b) - len(rest))
		n += int64(len(b) - len(rest))
		if len(rest) > 0 || r.w.More() != nil {
			break
		}
	}
	r.s.Problem(source.Corrupt, offset, line, 0, fmt.Sprintf("%d zero bytes between the records", n))
}

// object reads the object that begins at the window.
func (r *reader) object() {
	w := r.w
	for {
		n, err := r.b.doc.parse(w.Bytes())
		if err == nil {
			r.resync, r.huge = false, false
			r.records(0, w.Offset())
			w.Advance(n)
			return
		}
		if err == errShort {
			n = len(w.Bytes())
			// Inside an object that was too large, others must end where
			// it was given up.
			if !r.huge || w.Pos()+int64(n) > r.failed {
				switch w.More() {
				case nil:
					continue
				case text.ErrFull:
					err = errLarge
				}
			}
		}
		r.broken(n, err)
		return
	}
}

// records hands on the record in node i, which begins at offset, or those in the
// array that it wraps.
func (r *reader) records(i int, offset int64) {
	w := r.w
	e, err := r.b.build(i)
	if err == errFraming {
		return
	}
	n := &r.b.doc.nodes[i]
	noEvent := err == errNoEvent || err != nil && errors.Is(err, errNoEvent)
	if noEvent {
		if list := r.b.elements(i); list >= 0 {
			nodes, at := r.b.doc.nodes, int(n.from)
			for j := list + 1; j < int(nodes[list].next); j = int(nodes[j].next) {
				offset += w.Size(at, int(nodes[j].from))
				at = int(nodes[j].from)
				if nodes[j].kind == object {
					r.records(j, offset)
				} else {
					r.s.Lost(source.UnknownFormat, offset, w.Line(), noEventDetail)
				}
			}
			return
		}
	}
	switch {
	case err == errNoEvent:
		r.s.Lost(source.UnknownFormat, offset, w.Line(), noEventDetail)
		return
	case noEvent:
		r.s.Lost(source.UnknownFormat, offset, w.Line(), err.Error)
		return
	case err != nil:
		r.s.Lost(source.Corrupt, offset, w.Line(), err.Error)
		return
	}
	e.Ref = event.EvidenceRef{
		Host: e.Host, Channel: e.Channel, RecordID: r.b.recordID,
		File: r.name, Offset: offset, SHA256: w.Hash(int(n.from), int(n.to)),
	}
	r.s.Event(e)
}

// noEventDetail is one value, so that input with millions of objects that are no
// events makes none for each.
var noEventDetail = errNoEvent.Error

var errLarge = fmt.Errorf("a JSON object is larger than %d MiB", MaxRecord>>20)

// broken reports the object at the window, whose parsing stopped at n, and goes
// to where the next record may begin.
//
// That is the next line, because the broken object may have swallowed whole
// records. But if the object found there fails at the same place, both were
// inside the damage, and reading goes on behind it: input is looked at a small
// fixed number of times, whatever it holds.
func (r *reader) broken(n int, err error) {
	w := r.w
	pos := w.Pos() + int64(n)
	again := r.resync && pos <= r.failed
	if !again {
		kind, detail := source.Corrupt, func() string {
			at := n
			if syntax := (*syntaxError)(nil); errors.As(err, &syntax) {
				at = syntax.at
			}
			return fmt.Sprintf("broken JSON (line %d): %v", w.LineAt(at), err)
		}
		switch err {
		case errShort:
			kind, detail = source.Truncated, func() string { return "the input ends inside a JSON object" }
		case errDepth, errNodes, errLarge:
			kind, detail = source.TooLarge, err.Error
		}
		r.s.Lost(kind, w.Offset(), w.Line(), detail)
	}
	if !r.resync {
		r.limit = r.indent
	}
	r.resync, r.failed, r.huge = true, pos, r.huge && again || err == errLarge
	beyond := again || err == errDepth
	if !beyond {
		r.skipLine()
		return
	}
	if i := bytes.LastIndexByte(w.Bytes()[:n], '\n'); i >= 0 && err != errDepth {
		w.Advance(i + 1) // the line that holds the place
		r.indent = 0
		return
	}
	w.Advance(n)
	r.skipLine()
}
