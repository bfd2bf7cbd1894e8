// Package auditd reads the log of the Linux audit system, as auditd writes it
// (audit.log), ausearch prints it (raw) and syslog forwards it: lines
//
//	type=SYSCALL msg=audit(1772000000.123:4711): arch=c000003e syscall=59 …
//
// of which all with one time and serial number are one event. Each event has the
// provider and channel "auditd", the number of its first record's type as its id
// and the serial number as its record id. Its fields are those of its records in
// the order of the log; each record's begin with a field "type". So a name may
// occur several times. docs/formats/auditd.md describes it.
//
// Values keep every byte: what the kernel wrote in hexadecimal, because it may hold
// anything, is decoded. A broken line costs itself. Memory is bounded by the
// largest line and event admitted and the few events that may be open at once.
package auditd

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"path"
	"strings"
	"time"

	"ashiato/internal/event"
	"ashiato/internal/source"
	"ashiato/internal/source/text"
)

// Provider is the provider and the channel of every event.
const Provider = "auditd"

// Bounds.
const (
	// MaxLine is the longest line read, in bytes; the kernel's have at most 8970.
	MaxLine = 256 << 10
	// MaxEvent bounds the lines of one event, in bytes, and MaxFields its fields.
	MaxEvent  = 4 << 20
	MaxFields = 8192
	// maxOpen is how many events may be waiting for further lines: those of several
	// processors mix.
	maxOpen = 16
	// maxWait is how much later the lines of others may be before an event without
	// an end is taken to be whole.
	maxWait = 2 * time.Second
)

// Sniff reports whether an input that begins with head is likely an audit log: one
// of its first lines names a record's type and its audit stamp.
func Sniff(head []byte) bool {
	b := text.DecodeHead(head)
	for range 16 {
		line, rest, more := bytes.Cut(b, newline)
		if _, _, ok := stamped(line); ok {
			return true
		}
		if !more || !framing(bytes.TrimSpace(line)) {
			return false
		}
		b = rest
	}
	return false
}

var newline = []byte{'\n'}

// framing reports whether a line is what ausearch writes around events, or empty.
func framing(line []byte) bool {
	return len(line) == 0 || bytes.Equal(line, []byte("----")) || bytes.HasPrefix(line, []byte("time->"))
}

// maxPrefix is how far into a line its record may begin: behind what syslog or an
// audit dispatcher writes first.
const maxPrefix = 256

// stamped finds where the record in a line begins ("node=" or "type=") and where
// its stamp does ("msg=audit(").
func stamped(line []byte) (begin, stamp int, ok bool) {
	stamp = bytes.Index(line[:min(len(line), 2*maxPrefix)], []byte("msg=audit("))
	if stamp < 0 {
		return 0, 0, false
	}
	begin = bytes.LastIndex(line[:stamp], []byte("type="))
	if begin < 0 || begin > maxPrefix || begin > 0 && line[begin-1] != ' ' {
		return 0, 0, false
	}
	if node := bytes.LastIndex(line[:begin], []byte("node=")); node >= 0 && (node == 0 || line[node-1] == ' ') {
		begin = node
	}
	return begin, stamp, true
}

// Read is a source.ReadFunc.
func Read(ctx context.Context, name string, r io.Reader, h source.Handler) (source.Stats, []source.Problem) {
	rd := reader{w: text.NewWindow(r, MaxLine), s: text.NewSink(name, h), name: name, host: hostOf(name), blank: true}
	for ctx.Err() == nil && rd.next() {
	}
	if ctx.Err() == nil {
		rd.ended()
	}
	return rd.s.Finish(rd.w, rd.blank)
}

type reader struct {
	w     *text.Window
	s     *text.Sink
	name  string
	host  string // where a line does not name its node
	blank bool
	open  []*group // in the order in which they began
}

// group is an event whose lines are being gathered.
type group struct {
	node, stamp string
	serial      uint64
	t           time.Time
	fields      event.Fields
	types       int
	offset      int64
	line        int
	size        int
	sum         hash.Hash
	partial     bool
}

// next consumes a line. It reports whether there may be more.
func (r *reader) next() bool {
	w := r.w
	b := w.Bytes()
	end := bytes.IndexByte(b, '\n')
	if end < 0 {
		switch w.More() {
		case nil:
			return true
		case text.ErrFull:
			r.blank = false
			r.s.Lost(source.TooLarge, w.Offset(), w.Line(), func() string { return fmt.Sprintf("a line is longer than %d KiB", MaxLine>>10) })
			w.SkipLine()
			return true
		}
		if rest := w.Bytes(); len(bytes.TrimSpace(rest)) > 0 && w.Err() == nil {
			r.blank = false
			r.s.Lost(source.Truncated, w.Offset(), w.Line(), func() string { return "the input ends inside a line" })
			w.Advance(len(rest))
		}
		return false
	}
	line := bytes.TrimSuffix(b[:end], []byte{'\r'})
	if trimmed := bytes.TrimSpace(line); !framing(trimmed) {
		r.blank = false
		r.record(line, end)
	} else if len(trimmed) > 0 {
		r.blank = false
	}
	w.Advance(end + 1)
	return true
}

// record takes the record in a line, which ends at end of the window's bytes.
func (r *reader) record(line []byte, end int) {
	w := r.w
	bad := func(what string) {
		r.s.Lost(source.Corrupt, w.Offset(), w.Line(), func() string { return what })
	}
	begin, at, ok := stamped(line)
	if !ok {
		bad("a line that is no audit record")
		return
	}
	node := r.host
	if head := line[begin:at]; bytes.HasPrefix(head, []byte("node=")) {
		value, _, _ := bytes.Cut(head[len("node="):], []byte{' '})
		node = string(value)
	}
	kind := line[begin:at]
	kind = kind[bytes.Index(kind, []byte("type="))+len("type="):]
	kind, _, _ = bytes.Cut(kind, []byte{' '})
	stamp, rest, ok := bytes.Cut(line[at+len("msg=audit("):], []byte{')'})
	t, serial, valid := parseStamp(stamp)
	if !ok || !valid || len(kind) == 0 || len(rest) == 0 || rest[0] != ':' && (len(rest) < 2 || rest[1] != ':') {
		bad("an audit record without a type or a whole stamp")
		return
	}
	name := string(kind)
	g := r.group(node, string(stamp))
	if g == nil {
		g = &group{
			node: node, stamp: string(stamp), serial: serial, t: t, offset: w.Offset(), line: w.Line(), sum: sha256.New(),
		}
		r.open = append(r.open, g)
	} else {
		g.sum.Write(newline)
	}
	g.types++
	if g.size += len(line); g.size > MaxEvent || len(g.fields) >= MaxFields {
		if !g.partial {
			r.s.Problem(source.TooLarge, g.offset, g.line, 0, fmt.Sprintf("an event has more than %d MiB or %d fields; the rest of it was left out", MaxEvent>>20, MaxFields))
		}
		g.partial = true
	} else {
		g.fields = append(g.fields, event.Field{Name: "type", Value: name})
		g.fields = appendFields(g.fields, name, rest[1:], 0)
	}
	g.sum.Write(w.Bytes()[:end])
	switch {
	case name == "PROCTITLE", name == "EOE", single(name):
		r.finish(g)
	}
	// What others wrote much later is behind the end of it.
	for i := 0; i < len(r.open); {
		if o := r.open[i]; o != g && (t.Sub(o.t) > maxWait || len(r.open) > maxOpen) {
			r.finish(o)
			continue
		}
		i++
	}
}

func (r *reader) group(node, stamp string) *group {
	for i := len(r.open) - 1; i >= 0; i-- {
		if g := r.open[i]; g.stamp == stamp && g.node == node {
			return g
		}
	}
	return nil
}

// finish hands an event on.
func (r *reader) finish(g *group) {
	for i := range r.open {
		if r.open[i] == g {
			r.open = append(r.open[:i], r.open[i+1:]...)
			break
		}
	}
	e := &event.Event{
		Time: g.t, Logged: g.t, Host: g.node, Provider: Provider, Channel: Provider, Data: joinArguments(g.fields),
	}
	if len(e.Data) > 0 {
		e.ID = TypeNumber(e.Data[0].Value)
	}
	if g.partial {
		e.Flags |= event.Partial
	}
	e.Ref = event.EvidenceRef{Host: e.Host, Channel: e.Channel, RecordID: g.serial, File: r.name, Offset: g.offset}
	g.sum.Sum(e.Ref.SHA256[:0])
	r.s.Event(e)
}

// ended hands on what was open. The kernel's records of an event end with PROCTITLE;
// an input whose last event has none was cut, or is of a kernel before 3.16.
func (r *reader) ended() {
	for len(r.open) > 0 {
		g := r.open[0]
		if len(r.open) == 1 {
			r.open = nil
			r.s.Lost(source.Truncated, g.offset, g.line, func() string { return "the input ends inside an event" })
			return
		}
		r.finish(g)
	}
}

// single reports whether events of that type have one record: those that programs
// write themselves.
func single(name string) bool {
	n := TypeNumber(name)
	return n >= 1100 && n < 1300 || n >= 2100 && n < 3000
}

// parseStamp reads "seconds.milliseconds:serial".
func parseStamp(b []byte) (t time.Time, serial uint64, ok bool) {
	whole, rest, ok := bytes.Cut(b, []byte{'.'})
	if !ok {
		return t, 0, false
	}
	frac, number, ok := bytes.Cut(rest, []byte{':'})
	sec, ok1 := digits(whole, 12)
	milli, ok2 := digits(frac, 3)
	serial, ok3 := digits(number, 20)
	if !ok || !ok1 || !ok2 || !ok3 || len(frac) != 3 {
		return t, 0, false
	}
	return time.Unix(int64(sec), int64(milli)*int64(time.Millisecond)).UTC(), serial, true
}

func digits(b []byte, most int) (n uint64, ok bool) {
	for _, c := range b {
		if c < '0' || c > '9' || n > 1<<59 {
			return 0, false
		}
		n = 10*n + uint64(c-'0')
	}
	return n, len(b) > 0 && len(b) <= most
}

// hostOf names the host of a log that does not name its node, by where the log
// lies: the last folder or archive on its way that is not one that every machine
// has, as in "case/web-1/var/log/audit/audit.log"; else "localhost".
func hostOf(name string) string {
	parts := strings.FieldsFunc(path.Dir(name), func(c rune) bool { return c == '/' || c == '\\' || c == '!' })
	for i := len(parts) - 1; i >= 0; i-- {
		switch p := strings.ToLower(parts[i]); p {
		case "", ".", "..", "audit", "log", "logs", "var", "private", "root", "[root]", "files", "tmp", "evidence", "collection":
		default:
			for trimmed := true; trimmed; {
				trimmed = false
				for _, ext := range []string{".gz", ".bz2", ".tar", ".tgz", ".zip"} {
					if len(p) > len(ext) && strings.HasSuffix(p, ext) {
						p, parts[i], trimmed = p[:len(p)-len(ext)], parts[i][:len(p)-len(ext)], true
					}
				}
			}
			return parts[i]
		}
	}
	return "localhost"
}
