package ndjson

// This is the yardstick of the reader: the same format, read the plain way. It
// parses by recursive descent, byte by byte, compares names as text wherever one
// has a meaning, and copies every value. The tests hold that both always agree.

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"time"

	"ashiato/internal/event"
	"ashiato/internal/source"
	"ashiato/internal/source/text"
	"ashiato/internal/source/xmlevent"
)

// readPlain is Read.
func readPlain(ctx context.Context, name string, r io.Reader, h source.Handler) (source.Stats, []source.Problem) {
	rd := plainReader{
		w:     text.NewWindow(r, MaxRecord),
		s:     text.NewSink(name, h),
		name:  name,
		blank: true,
	}
	for ctx.Err() == nil && rd.next() {
	}
	return rd.s.Finish(rd.w, rd.blank)
}

// plainReader finds the objects of one input.
type plainReader struct {
	w     *text.Window
	s     *text.Sink
	name  string
	b     plainBuilder
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
func (r *plainReader) next() bool {
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
func (r *plainReader) skipLine() {
	r.w.SkipLine()
	r.indent = 0
}

// junk consumes a line, or the rest of one, that holds no object.
func (r *plainReader) junk() {
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
func (r *plainReader) zeros() {
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
func (r *plainReader) object() {
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
func (r *plainReader) records(i int, offset int64) {
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

// broken reports the object at the window, whose parsing stopped at n, and goes
// to where the next record may begin.
//
// That is the next line, because the broken object may have swallowed whole
// records. But if the object found there fails at the same place, both were
// inside the damage, and reading goes on behind it: input is looked at a small
// fixed number of times, whatever it holds.
func (r *plainReader) broken(n int, err error) {
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

// plainNode is one value of a parsed text. The nodes of a document lie in the order
// of the text, so the members of an object follow it, up to its next.
type plainNode struct {
	kind       kind
	escaped    bool  // a string with escapes
	keyEscaped bool  // its name in the object around it has escapes
	key, kend  int32 // the name, without quotes
	from, to   int32 // the value; of a string, without quotes
	next       int32 // index of the node after this one's members
}

// plainDocument is one parsed JSON value. It refers to the parsed bytes.
type plainDocument struct {
	text  []byte
	nodes []plainNode
}

// parse reads the JSON value at the start of text and returns its length. Besides
// JSON it admits control characters inside strings, except line ends: those show
// that a string was cut off. On other errors than errShort the length is where
// parsing stopped.
func (d *plainDocument) parse(text []byte) (int, error) {
	d.text, d.nodes = text, d.nodes[:0]
	return d.value(0, 0, plainNode{})
}

// value parses the value at text[i:], whose name is in n, and returns its end.
func (d *plainDocument) value(i, depth int, n plainNode) (int, error) {
	if i >= len(d.text) {
		return i, errShort
	}
	self := len(d.nodes)
	if self == maxNodes {
		return i, errNodes
	}
	n.from = int32(i)
	var end int
	var err error
	switch c := d.text[i]; {
	case c == '{' || c == '[':
		if depth == maxDepth {
			return i, errDepth
		}
		n.kind = object
		if c == '[' {
			n.kind = array
		}
		d.nodes = append(d.nodes, n)
		if c == '{' {
			end, err = d.members(i+1, depth+1)
		} else {
			end, err = d.elements(i+1, depth+1)
		}
		if err != nil {
			return end, err
		}
		d.nodes[self].to = int32(end)
		d.nodes[self].next = int32(len(d.nodes))
		return end, nil
	case c == '"':
		n.kind = str
		n.from++
		end, n.escaped, err = plainString(d.text, i+1)
		n.to = int32(end)
		end++
	case c == '-' || '0' <= c && c <= '9':
		n.kind = number
		end, err = scanNumber(d.text, i)
		n.to = int32(end)
	default:
		n.kind = boolean
		word := "true"
		switch c {
		case 't':
		case 'f':
			word = "false"
		case 'n':
			n.kind, word = null, "null"
		default:
			return i, &syntaxError{i, "a value is missing"}
		}
		for k := 1; k < len(word); k++ {
			if i+k >= len(d.text) {
				return i + k, errShort
			}
			if d.text[i+k] != word[k] {
				return i + k, &syntaxError{i + k, "an unknown word"}
			}
		}
		end = i + len(word)
		n.to = int32(end)
	}
	if err != nil {
		return end, err
	}
	n.next = int32(self + 1)
	d.nodes = append(d.nodes, n)
	return end, nil
}

func (d *plainDocument) members(i, depth int) (int, error) {
	for first := true; ; first = false {
		i = skipSpace(d.text, i)
		if i >= len(d.text) {
			return i, errShort
		}
		if first && d.text[i] == '}' {
			return i + 1, nil
		}
		if d.text[i] != '"' {
			return i, &syntaxError{i, "a member name is missing"}
		}
		end, escaped, err := plainString(d.text, i+1)
		if err != nil {
			return end, err
		}
		n := plainNode{key: int32(i + 1), kend: int32(end), keyEscaped: escaped}
		i = skipSpace(d.text, end+1)
		if i >= len(d.text) {
			return i, errShort
		}
		if d.text[i] != ':' {
			return i, &syntaxError{i, "a colon is missing"}
		}
		if i, err = d.value(skipSpace(d.text, i+1), depth, n); err != nil {
			return i, err
		}
		i = skipSpace(d.text, i)
		if i >= len(d.text) {
			return i, errShort
		}
		switch d.text[i] {
		case '}':
			return i + 1, nil
		case ',':
			i++
		default:
			return i, &syntaxError{i, "a comma is missing"}
		}
	}
}

func (d *plainDocument) elements(i, depth int) (int, error) {
	for first := true; ; first = false {
		i = skipSpace(d.text, i)
		if i >= len(d.text) {
			return i, errShort
		}
		if first && d.text[i] == ']' {
			return i + 1, nil
		}
		var err error
		if i, err = d.value(i, depth, plainNode{}); err != nil {
			return i, err
		}
		i = skipSpace(d.text, i)
		if i >= len(d.text) {
			return i, errShort
		}
		switch d.text[i] {
		case ']':
			return i + 1, nil
		case ',':
			i++
		default:
			return i, &syntaxError{i, "a comma is missing"}
		}
	}
}

// plainString returns where the string that begins at b[i:], behind its quote, has
// its closing quote.
func plainString(b []byte, i int) (end int, escaped bool, err error) {
	for ; i < len(b); i++ {
		switch b[i] {
		case '"':
			return i, escaped, nil
		case '\n':
			return i, escaped, &syntaxError{i, "a string is not closed on its line"}
		case '\\':
			escaped = true
			if i+1 >= len(b) {
				return i, escaped, errShort
			}
			i++
			switch b[i] {
			case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
			case 'u':
				for k := 1; k <= 4; k++ {
					if i+k >= len(b) {
						return i, escaped, errShort
					}
					if _, ok := hexDigit(b[i+k]); !ok {
						return i, escaped, &syntaxError{i + k, "a \\u escape is broken"}
					}
				}
				i += 4
			default:
				return i, escaped, &syntaxError{i, "an unknown escape"}
			}
		}
	}
	return len(b), escaped, errShort
}

// name returns the member name of node i as text.
func (d *plainDocument) name(i int) []byte {
	n := &d.nodes[i]
	if n.keyEscaped {
		return plainUnescape(nil, d.text[n.key:n.kend])
	}
	return d.text[n.key:n.kend]
}

// appendText appends the text of scalar node i: the characters of a string, the
// source text of a number, true or false.
func (d *plainDocument) appendText(dst []byte, i int) []byte {
	n := &d.nodes[i]
	if n.escaped {
		return plainUnescape(dst, d.text[n.from:n.to])
	}
	return append(dst, d.text[n.from:n.to]...)
}

// child returns the first member of object i called name, or -1.
func (d *plainDocument) child(i int, name string) int {
	if i < 0 || d.nodes[i].kind != object {
		return -1
	}
	for j := i + 1; j < int(d.nodes[i].next); j = int(d.nodes[j].next) {
		if string(d.name(j)) == name {
			return j
		}
	}
	return -1
}

// plainUnescape appends the characters of the JSON string body s. An escaped lone
// surrogate becomes three bytes (WTF-8); other bytes are copied as they are.
func plainUnescape(dst, s []byte) []byte {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c != '\\' {
			dst = append(dst, c)
			continue
		}
		i++
		switch s[i] {
		case 'b':
			dst = append(dst, '\b')
		case 'f':
			dst = append(dst, '\f')
		case 'n':
			dst = append(dst, '\n')
		case 'r':
			dst = append(dst, '\r')
		case 't':
			dst = append(dst, '\t')
		case 'u':
			u := hex4(s[i+1:])
			i += 4
			units := []byte{byte(u), byte(u >> 8), 0, 0}[:2]
			if u&0xFC00 == 0xD800 && i+6 < len(s) && s[i+1] == '\\' && s[i+2] == 'u' {
				if low := hex4(s[i+3:]); low&0xFC00 == 0xDC00 {
					units = append(units, byte(low), byte(low>>8))
					i += 6
				}
			}
			dst = event.AppendUTF16(dst, units)
		default: // a quote, a backslash or a slash
			dst = append(dst, s[i])
		}
	}
	return dst
}

// plainBuilder turns parsed objects into events. It is used again for each.
type plainBuilder struct {
	doc     plainDocument
	text    []byte // the values of the current event's fields, one after another
	fields  []pending
	path    []byte // of join
	walked  []byte // of walk
	scratch []byte

	ev       *event.Event
	joined   int // bytes of joined names
	recordID uint64
	hasID    bool
	message  int // node of the rendered message, or -1
	logged   stamp
}

// build returns the event of the parsed object i.
func (b *plainBuilder) build(i int) (*event.Event, error) {
	if int(b.doc.nodes[i].next) == i+1 { // no members
		return nil, errNoEvent
	}
	b.text, b.fields, b.path, b.joined = b.text[:0], b.fields[:0], b.path[:0], 0
	b.recordID, b.hasID, b.message, b.logged = 0, false, -1, stamp{}
	if b.ev == nil {
		b.ev = new(event.Event)
	} else {
		*b.ev = event.Event{} // of an object that was none
	}
	if err := b.shape(i); err != nil {
		return nil, err
	}
	if !b.hasID {
		return nil, fmt.Errorf("%w: its event id is no number", errNoEvent)
	}
	e := b.ev
	if len(b.fields) == 0 && b.message >= 0 && len(e.Data) == 0 {
		b.field("Message", b.message)
	}
	b.ev = nil // e is handed on
	if len(b.fields) > 0 {
		data := make(event.Fields, len(b.fields), len(b.fields)+len(e.Data))
		text := string(b.text)
		for i, p := range b.fields {
			data[i] = event.Field{Name: p.name, Value: text[p.lo:p.hi]}
		}
		e.Data = append(data, e.Data...)
	}
	if b.logged.ok {
		e.Logged = b.logged.t
	} else if e.Logged.IsZero() {
		e.Flags |= event.Partial
	}
	e.Time = e.Logged
	return e, nil
}

// shape finds out how object i holds its record and reads it.
func (b *plainBuilder) shape(i int) error {
	for range 4 { // containers around the record
		var (
			tree, system, inner = -1, -1, -1
			beat, oldBeat, flat bool
			syslog              = -1
			members             int
			framing             bool
		)
		for j := i + 1; j < int(b.doc.nodes[i].next); j = int(b.doc.nodes[j].next) {
			members++
			isObject := b.doc.nodes[j].kind == object
			name := b.doc.name(j)
			switch string(name) {
			case "Event":
				if isObject && b.doc.child(j, "System") >= 0 {
					tree = j
				}
			case "System":
				if isObject {
					system = j
				}
			case "_source", "fields", "document", "data":
				if isObject && inner < 0 {
					inner = j
				}
			case "winlog":
				beat = beat || isObject
			case "event_data", "log_name":
				oldBeat = true
			case "EventID", "EventId", "Id", "event_id":
				flat = true
			case "SyslogMessage":
				syslog = j
			case "ashiato":
				b.ownFlags(j)
			case "index", "create":
				framing = isObject
			default:
				beat = beat || bytes.HasPrefix(name, []byte("winlog."))
			}
		}
		switch {
		case tree >= 0:
			b.tree(tree)
			return nil
		case system >= 0:
			b.tree(i)
			return nil
		case beat:
			b.beat(i, false)
			return nil
		case oldBeat:
			b.beat(i, true)
			return nil
		case flat:
			return b.flat(i)
		case syslog >= 0:
			return b.syslog(syslog)
		case framing && members == 1:
			return errFraming // an action line of Elasticsearch's bulk format
		case inner < 0:
			return errNoEvent
		}
		i = inner
	}
	return errNoEvent
}

// elements returns the array of records that object i wraps, or -1: a search
// result of Elasticsearch, or a list under one of the names that exports use.
func (b *plainBuilder) elements(i int) int {
	list, best := -1, len(wrappers)
	for j := i + 1; j < int(b.doc.nodes[i].next); j = int(b.doc.nodes[j].next) {
		name := b.doc.name(j)
		for rank, w := range wrappers[:best] { // the first of equal names counts
			if string(name) != w {
				continue
			}
			at := j
			if rank == 0 {
				at = b.doc.child(j, "hits")
			}
			if at >= 0 {
				list, best = at, rank
			}
			break
		}
	}
	if list < 0 || b.doc.nodes[list].kind != array {
		return -1
	}
	return list
}

// syslog reads a record that is XML in the message, as Sysmon for Linux logs.
func (b *plainBuilder) syslog(i int) error {
	b.scratch = b.doc.appendText(b.scratch[:0], i)
	if !xmlevent.Sniff(b.scratch) {
		return errNoEvent
	}
	e, recordID, err := xmlevent.Parse(b.scratch)
	if err != nil {
		return fmt.Errorf("the XML in its message: %w", err)
	}
	*b.ev, b.recordID, b.hasID = *e, recordID, true
	b.logged = stamp{t: e.Logged, ok: !e.Logged.IsZero()}
	return nil
}

// scalar returns the node that holds the one value of node i: of an object its
// text, of an array its first element. It returns -1 if there is none.
func (b *plainBuilder) scalar(i int) int {
	for range 3 {
		if i < 0 {
			return -1
		}
		switch b.doc.nodes[i].kind {
		case object:
			text := b.doc.child(i, "#text")
			if text < 0 {
				text = b.doc.child(i, "Value")
			}
			i = text
		case array:
			if int(b.doc.nodes[i].next) == i+1 {
				return -1
			}
			i++
		case null:
			return -1
		default:
			return i
		}
	}
	return -1
}

// attribute returns the XML attribute name of the element that node i stands for,
// or -1.
func (b *plainBuilder) attribute(i int, name string) int {
	if j := b.doc.child(b.doc.child(i, "#attributes"), name); j >= 0 {
		return j
	}
	if j := b.doc.child(i, "@"+name); j >= 0 {
		return j
	}
	return b.doc.child(i, name)
}

// bytes returns the text of scalar node i, valid until the next call.
func (b *plainBuilder) bytes(i int) []byte {
	if !b.doc.nodes[i].escaped {
		n := &b.doc.nodes[i]
		return b.doc.text[n.from:n.to]
	}
	b.scratch = b.doc.appendText(b.scratch[:0], i)
	return b.scratch
}

// setText stores the text of node i in *dst if there is any and *dst is empty.
func (b *plainBuilder) setText(dst *string, i int) {
	if i = b.scalar(i); i >= 0 && *dst == "" {
		*dst = string(b.bytes(i))
	}
}

// number reads node i as an integer that fits in bits: decimal, hexadecimal with
// 0x, or negative for an unsigned 64-bit value that was written as signed.
func (b *plainBuilder) number(i, bits int) (uint64, bool) {
	if i = b.scalar(i); i < 0 {
		return 0, false
	}
	s := string(bytes.TrimSpace(b.bytes(i)))
	if len(s) > 2 && s[0] == '0' && (s[1] == 'x' || s[1] == 'X') {
		v, err := strconv.ParseUint(s[2:], 16, bits)
		return v, err == nil
	}
	if len(s) > 1 && s[0] == '-' && bits == 64 {
		v, err := strconv.ParseInt(s, 10, 64)
		return uint64(v), err == nil
	}
	v, err := strconv.ParseUint(s, 10, bits)
	return v, err == nil
}

// system sets a System field from node i by its name in the XML. It reports
// false, and leaves the field, if the node does not hold its type.
func (b *plainBuilder) system(name string, i int) bool {
	e := b.ev
	var v uint64
	ok := true
	switch name {
	case "EventID":
		if v, ok = b.number(i, 32); ok {
			e.ID, b.hasID = uint32(v), true
		}
	case "Version":
		if v, ok = b.number(i, 8); ok {
			e.Version = uint8(v)
		}
	case "Level":
		if v, ok = b.number(i, 8); !ok {
			v, ok = b.word(i, levels)
		}
		if ok {
			e.Level = uint8(v)
		}
	case "Opcode":
		if v, ok = b.number(i, 8); !ok {
			v, ok = b.word(i, opcodes)
		}
		if ok {
			e.Opcode = uint8(v)
		}
	case "Task":
		if v, ok = b.number(i, 16); ok {
			e.Task = uint16(v)
		}
	case "Keywords":
		if v, ok = b.number(i, 64); !ok {
			v, ok = b.keywords(i)
		}
		if ok {
			e.Keywords = v
		}
	case "EventRecordID":
		if v, ok = b.number(i, 64); ok {
			b.recordID = v
		}
	case "ProcessID":
		if v, ok = b.number(i, 32); ok {
			e.PID = uint32(v)
		}
	case "ThreadID":
		if v, ok = b.number(i, 32); ok {
			e.TID = uint32(v)
		}
	case "UserID":
		b.setText(&e.UserSID, i)
	case "Channel":
		b.setText(&e.Channel, i)
	case "Computer":
		b.setText(&e.Host, i)
	case "Provider":
		b.setText(&e.Provider, i)
	}
	return ok
}

// strict sets a System field whose value can only be that: what cannot be read
// marks the event.
func (b *plainBuilder) strict(name string, i int) {
	if b.scalar(i) >= 0 && !b.system(name, i) {
		b.ev.Flags |= event.Partial
	}
}

func (b *plainBuilder) word(i int, table map[string]uint64) (uint64, bool) {
	if i = b.scalar(i); i < 0 {
		return 0, false
	}
	v, ok := table[string(b.bytes(i))]
	return v, ok
}

// keywords reads a list of keyword names. Names of the provider's own keywords
// are left out.
func (b *plainBuilder) keywords(i int) (uint64, bool) {
	if b.doc.nodes[i].kind != array {
		return b.word(i, keywordBits)
	}
	bits := uint64(0)
	for j := i + 1; j < int(b.doc.nodes[i].next); j = int(b.doc.nodes[j].next) {
		v, _ := b.word(j, keywordBits)
		bits |= v
	}
	return bits, true
}

func (b *plainBuilder) stamp(i int) stamp {
	if i = b.scalar(i); i < 0 {
		return stamp{}
	}
	return plainStamp(bytes.TrimSpace(b.bytes(i)))
}

// field adds node i as a field: a scalar as its text, an array as one field per
// element, an object as one field per member with the names joined by an
// underscore. Null is no field.
func (b *plainBuilder) field(name string, i int) {
	switch n := &b.doc.nodes[i]; n.kind {
	case null:
	case array:
		for j := i + 1; j < int(n.next); j = int(b.doc.nodes[j].next) {
			b.field(name, j)
		}
	case object:
		b.group(name, i)
	default:
		lo := len(b.text)
		b.text = b.doc.appendText(b.text, i)
		b.fields = append(b.fields, pending{name, lo, len(b.text)})
	}
}

// group adds the members of object i, an element with attributes or elements in
// it, as fields. The names are those that the EVTX reader gives.
func (b *plainBuilder) group(prefix string, i int) {
	for j := i + 1; j < int(b.doc.nodes[i].next); j = int(b.doc.nodes[j].next) {
		name := b.doc.name(j)
		base, isAttributes := bytes.CutSuffix(name, []byte("_attributes"))
		switch {
		case string(name) == "#text":
			if prefix != "" {
				b.field(prefix, j)
			}
		case string(name) == "#attributes":
			b.attributes(prefix, j)
		case isAttributes && len(base) > 0 && b.doc.nodes[j].kind == object:
			b.attributes(b.join(prefix, base), j)
		case len(name) > 1 && name[0] == '@':
			if !isNamespace(string(name[1:])) {
				b.field(b.join(prefix, name[1:]), j)
			}
		default:
			b.field(b.join(prefix, name), j)
		}
	}
}

func (b *plainBuilder) attributes(prefix string, i int) {
	if b.doc.nodes[i].kind != object {
		return
	}
	for j := i + 1; j < int(b.doc.nodes[i].next); j = int(b.doc.nodes[j].next) {
		if name := b.doc.name(j); !isNamespace(string(name)) {
			b.field(b.join(prefix, name), j)
		}
	}
}

func (b *plainBuilder) join(prefix string, name []byte) string {
	if prefix == "" {
		return string(name)
	}
	if b.joined += len(prefix) + len(name); b.joined > maxJoined {
		b.ev.Flags |= event.Partial
		return string(name)
	}
	b.path = append(append(append(b.path[:0], prefix...), '_'), name...)
	return string(b.path)
}

// tree reads {"System":…,"EventData":…}: the XML as JSON.
func (b *plainBuilder) tree(i int) {
	for j := i + 1; j < int(b.doc.nodes[i].next); j = int(b.doc.nodes[j].next) {
		isObject := b.doc.nodes[j].kind == object
		switch name := string(b.doc.name(j)); name {
		case "System":
			b.treeSystem(j)
		case "EventData":
			if isObject {
				b.eventData(j)
			} else {
				b.field("Data", j)
			}
		case "EventData_attributes":
			b.attributes("EventData", j)
		case "UserData":
			b.userData(j)
		case "RenderingInfo", "#attributes", "Event_attributes", "UserData_attributes", "ashiato":
		case "Message":
			b.message = j
		default: // ProcessingErrorData, DebugData, …
			if isObject && name != "" && name[0] != '@' {
				b.group("", j)
			}
		}
	}
}

func (b *plainBuilder) treeSystem(i int) {
	for j := i + 1; j < int(b.doc.nodes[i].next); j = int(b.doc.nodes[j].next) {
		switch name := string(b.doc.name(j)); name {
		case "Provider", "Provider_attributes":
			b.strict("Provider", b.attribute(j, "Name"))
			b.strict("Provider", b.attribute(j, "EventSourceName"))
		case "TimeCreated", "TimeCreated_attributes":
			if s := b.stamp(b.attribute(j, "SystemTime")); s.ok {
				b.logged = s
			} else if s := b.stamp(j); s.ok {
				b.logged = s
			}
		case "Execution", "Execution_attributes":
			b.strict("ProcessID", b.attribute(j, "ProcessID"))
			b.strict("ThreadID", b.attribute(j, "ThreadID"))
		case "Security", "Security_attributes":
			b.strict("UserID", b.attribute(j, "UserID"))
			b.strict("UserID", b.attribute(j, "UserId")) // Sysmon for Linux
		case "EventID", "Version", "Level", "Task", "Opcode", "Keywords", "EventRecordID", "Channel", "Computer":
			b.strict(name, j)
		}
	}
}

// eventData reads the EventData object, whose Data member may be a list of
// unnamed values or of elements with a Name.
func (b *plainBuilder) eventData(i int) {
	for j := i + 1; j < int(b.doc.nodes[i].next); j = int(b.doc.nodes[j].next) {
		switch name := b.doc.name(j); string(name) {
		case "Data":
			b.data(j)
		case "#attributes":
			b.attributes("EventData", j)
		case "#text":
			b.field("Data", j)
		default:
			if len(name) == 0 || name[0] != '@' || !isNamespace(string(name[1:])) {
				b.member(j)
			}
		}
	}
}

// member adds one member of EventData.
func (b *plainBuilder) member(j int) {
	name := b.doc.name(j)
	if base, ok := bytes.CutSuffix(name, []byte("_attributes")); ok && len(base) > 0 && b.doc.nodes[j].kind == object {
		b.attributes(string(base), j)
		return
	}
	b.field(string(name), j)
}

func (b *plainBuilder) data(i int) {
	n := &b.doc.nodes[i]
	switch n.kind {
	case array:
		for j := i + 1; j < int(n.next); j = int(b.doc.nodes[j].next) {
			b.data(j)
		}
	case object:
		name := b.attribute(i, "Name")
		if s := b.scalar(name); s >= 0 {
			text := -1
			for _, key := range []string{"#text", "text", "Value", "content"} {
				if text < 0 {
					text = b.doc.child(i, key)
				}
			}
			field := string(b.bytes(s))
			if text < 0 { // <Data Name="…"/>
				b.fields = append(b.fields, pending{name: field})
				return
			}
			b.field(field, text)
			return
		}
		b.group("Data", i)
	default:
		b.field("Data", i)
	}
}

// userData reads UserData, whose one member wraps the fields.
func (b *plainBuilder) userData(i int) {
	if b.doc.nodes[i].kind != object {
		b.field("UserData", i)
		return
	}
	for j := i + 1; j < int(b.doc.nodes[i].next); j = int(b.doc.nodes[j].next) {
		name := b.doc.name(j)
		base, isAttributes := bytes.CutSuffix(name, []byte("_attributes"))
		switch {
		case string(name) == "#attributes" || len(name) > 0 && name[0] == '@':
		case b.doc.nodes[j].kind != object:
			b.field(string(name), j)
		case isAttributes:
			b.attributes(string(base), j)
		default:
			wrapper := string(name)
			if a := b.doc.child(j, "#attributes"); a >= 0 {
				b.attributes(wrapper, a)
			}
			b.wrapped(wrapper, j)
		}
	}
}

// wrapped adds the members of a wrapper in UserData except its attributes.
func (b *plainBuilder) wrapped(wrapper string, i int) {
	for j := i + 1; j < int(b.doc.nodes[i].next); j = int(b.doc.nodes[j].next) {
		switch name := b.doc.name(j); {
		case string(name) == "#attributes":
		case string(name) == "#text":
			b.field(wrapper, j)
		case len(name) > 1 && name[0] == '@':
			if !isNamespace(string(name[1:])) {
				b.field(b.join(wrapper, name[1:]), j)
			}
		default:
			b.member(j)
		}
	}
}

// beat reads the records of winlogbeat and Elastic Agent: everything under
// "winlog", or in version 6 and before at the top. Names may be nested objects,
// dotted, or both.
func (b *plainBuilder) beat(i int, old bool) {
	var timestamp, created stamp
	hostName := -1
	b.walked = b.walk(i, b.walked[:0], func(path []byte, j int) {
		rest, in := path, old
		if !old {
			rest, in = bytes.CutPrefix(path, []byte("winlog."))
		}
		if in {
			if name, ok := bytes.CutPrefix(rest, []byte("event_data.")); ok {
				b.field(b.inner(name, j), j)
				return
			}
			if name, ok := bytes.CutPrefix(rest, []byte("user_data.")); ok {
				if string(name) != "xml_name" {
					b.field(b.inner(name, j), j)
				}
				return
			}
			switch string(rest) {
			case "event_id":
				b.strict("EventID", j)
			case "channel", "log_name":
				b.strict("Channel", j)
			case "computer_name":
				b.strict("Computer", j)
			case "provider_name", "source_name":
				b.strict("Provider", j)
			case "record_id", "record_number":
				b.strict("EventRecordID", j)
			case "process.pid", "process_id":
				b.strict("ProcessID", j)
			case "process.thread.id", "thread_id":
				b.strict("ThreadID", j)
			case "user.identifier":
				b.strict("UserID", j)
			case "version":
				b.strict("Version", j)
			case "time_created":
				created = b.stamp(j)
			// These are words in the language of the machine; what is
			// unknown is no damage.
			case "task":
				b.system("Task", j)
			case "opcode":
				b.system("Opcode", j)
			case "level":
				b.system("Level", j)
			case "keywords":
				b.system("Keywords", j)
			}
		}
		switch string(path) {
		case "@timestamp":
			timestamp = b.stamp(j)
		case "message":
			b.message = j
		case "log.level":
			if b.ev.Level == 0 {
				b.system("Level", j)
			}
		case "host.name":
			hostName = j
		}
	})
	b.logged = timestamp
	if created.ok {
		b.logged = created
	}
	if b.ev.Host == "" && hostName >= 0 {
		b.setText(&b.ev.Host, hostName)
	}
}

// inner returns path as the name of a field, or where the names joined before
// take up too much, only the last of them, that of node j.
func (b *plainBuilder) inner(path []byte, j int) string {
	last := b.doc.name(j)
	if len(path) > len(last) {
		if b.joined += len(path); b.joined > maxJoined {
			b.ev.Flags |= event.Partial
			return string(last)
		}
	}
	return string(path)
}

// walk calls f for every value under object i that is no object, with the names
// on the way to it joined by dots. Both are valid during the call.
// It returns path, perhaps grown.
func (b *plainBuilder) walk(i int, path []byte, f func(path []byte, j int)) []byte {
	for j := i + 1; j < int(b.doc.nodes[i].next); j = int(b.doc.nodes[j].next) {
		at := path
		if len(at) > 0 {
			at = append(at, '.')
		}
		at = append(at, b.doc.name(j)...)
		if b.doc.nodes[j].kind == object {
			at = b.walk(j, at, f)
		} else {
			f(at, j)
		}
		path = at[:len(path)]
	}
	return path
}

// flat reads records whose System and EventData names are members of one object,
// as NXLog, PowerShell and Log Analytics write them.
func (b *plainBuilder) flat(i int) error {
	var (
		timestamp, local, wall stamp
		nxUser                 = b.doc.child(i, "AccountType") >= 0
		analytics              = b.doc.child(i, "TenantId") >= 0
		getWinEvent            = b.doc.child(i, "Properties") >= 0
		severity               = -1
		audit                  bool
	)
	for j := i + 1; j < int(b.doc.nodes[i].next); j = int(b.doc.nodes[j].next) {
		name := b.doc.name(j)
		keep := false // whether it is a field of the event
		switch string(name) {
		case "EventID", "EventId", "event_id":
			keep = !b.system("EventID", j)
		case "Id":
			keep = b.hasID || !b.system("EventID", j)
		case "Channel", "LogName":
			keep = b.ev.Channel != ""
			b.system("Channel", j)
		case "Hostname", "Computer", "ComputerName", "MachineName":
			keep = b.ev.Host != ""
			b.system("Computer", j)
		case "SourceName", "ProviderName", "Provider_Name", "EventSourceName":
			keep = b.ev.Provider != ""
			b.system("Provider", j)
		case "Version", "Level", "Task", "Keywords":
			keep = !b.system(string(name), j) && string(name) != "Keywords"
		case "OpcodeValue":
			keep = !b.system("Opcode", j)
		case "Opcode":
			b.system("Opcode", j)
		case "RecordNumber", "EventRecordID", "RecordId":
			keep = !b.system("EventRecordID", j)
		case "ExecutionProcessID", "Execution_ProcessID":
			keep = !b.system("ProcessID", j)
		case "ThreadID", "Execution_ThreadID", "ExecutionThreadID":
			keep = !b.system("ThreadID", j)
		case "ProcessId":
			keep = !getWinEvent || !b.system("ProcessID", j)
		case "ThreadId":
			keep = !getWinEvent || !b.system("ThreadID", j)
		case "UserID", "UserId", "Security_UserID":
			if s := b.scalar(j); s >= 0 && bytes.HasPrefix(b.bytes(s), []byte("S-1-")) {
				b.system("UserID", j)
			} else {
				keep = true
			}
		case "EventType":
			s := b.scalar(j)
			if s >= 0 {
				keep = !isSeverity(string(b.bytes(s)))
				audit = audit || bytes.HasPrefix(b.bytes(s), []byte("AUDIT_"))
			}
		case "SeverityValue":
			severity = j
		case "@timestamp", "TimeGenerated":
			if s := b.stamp(j); s.ok && !timestamp.ok {
				timestamp = s
			}
		case "EventTime", "TimeCreated":
			if s := b.stamp(j); s.ok && (!local.ok || s.zoned && !local.zoned) {
				local = s
			} else {
				keep = !s.ok
			}
		case "EventReceivedTime":
			wall = b.stamp(j)
		case "Message":
			b.message = j
		case "EventData":
			keep = !b.xmlData(j)
		case "Properties":
			b.properties(j)
		case "AccountName", "Domain", "AccountType":
			keep = !nxUser
		default:
			keep = !plainShipper[string(name)] && (!analytics || !plainAnalytics[string(name)])
		}
		if keep && analytics {
			if s := b.scalar(j); s >= 0 && b.doc.nodes[s].from == b.doc.nodes[s].to {
				keep = false // a column of the table that this record does not use
			}
		}
		if keep {
			b.field(string(name), j)
		}
	}
	if !b.hasID || b.ev.Channel == "" && b.ev.Provider == "" {
		return errNoEvent
	}
	if v, ok := b.number(severity, 8); ok && b.ev.Level == 0 && !audit && 1 <= v && v <= 5 {
		b.ev.Level = uint8(6 - v) // NXLog counts the other way
	}
	if !wall.ok || wall.zoned {
		wall = local
	}
	switch {
	case !local.ok:
		b.logged = timestamp
	case local.zoned || !timestamp.ok:
		b.logged = local
	default:
		b.logged = stamp{t: resolve(local, wall, timestamp), ok: true}
	}
	return nil
}

// plainShipper holds the members that the log shipper added to the record.
var plainShipper = plainSet("@version", "Severity", "SourceModuleName", "SourceModuleType", "host", "port", "tags",
	"Category", "ERROR_EVT_UNRESOLVED", "ProviderGuid", "ProviderId", "ActivityID", "RelatedActivityID",
	"LevelDisplayName", "OpcodeDisplayName", "TaskDisplayName", "KeywordsDisplayNames", "ContainerLog",
	"MatchedQueryIds", "Bookmark", "Qualifiers", "RelatedActivityId", "PSComputerName", "RunspaceId",
	"PSShowComputerName")

// plainAnalytics holds the columns that are the table's.
var plainAnalytics = plainSet("TenantId", "SourceSystem", "EventOriginId", "MG", "ManagementGroupName", "Type",
	"_ResourceId", "TimeCollected", "SourceComputerId", "Activity", "EventLevelName", "AzureDeploymentID", "Role")

func plainSet(names ...string) map[string]bool {
	m := make(map[string]bool, len(names))
	for _, n := range names {
		m[n] = true
	}
	return m
}

// xmlData reads an EventData that is XML in a string.
func (b *plainBuilder) xmlData(i int) bool {
	if b.doc.nodes[i].kind != str {
		return false
	}
	data, err := xmlevent.ParseData(b.bytes(i))
	if err != nil {
		return false
	}
	b.ev.Data = append(b.ev.Data, data...)
	return true
}

// properties reads the value list of PowerShell's Get-WinEvent, which has no
// names.
func (b *plainBuilder) properties(i int) {
	n := &b.doc.nodes[i]
	if n.kind != array {
		b.field("Properties", i)
		return
	}
	for j := i + 1; j < int(n.next); j = int(b.doc.nodes[j].next) {
		if v := b.doc.child(j, "Value"); v >= 0 {
			b.field("Data", v)
		} else {
			b.field("Data", j)
		}
	}
}

// ownFlags reads what only this program writes.
func (b *plainBuilder) ownFlags(i int) {
	flags := b.doc.child(i, "flags")
	if flags < 0 || b.doc.nodes[flags].kind != array {
		return
	}
	for j := flags + 1; j < int(b.doc.nodes[flags].next); j = int(b.doc.nodes[j].next) {
		for _, f := range flagNames {
			if s := b.scalar(j); s >= 0 && string(b.bytes(s)) == f.name {
				b.ev.Flags |= f.flag
			}
		}
	}
}

// plainStamp reads the notations that log shippers use: RFC 3339 and its looser
// forms ("2006-01-02 15:04:05.999", "… UTC", a comma before the fraction), and
// numbers of seconds or milliseconds since 1970, also as "/Date(ms)/".
func plainStamp(b []byte) stamp {
	if inner, ok := bytes.CutPrefix(b, []byte("/Date(")); ok {
		if inner, ok = bytes.CutSuffix(inner, []byte(")/")); ok {
			ms, err := strconv.ParseInt(string(inner), 10, 64)
			return stamp{t: time.UnixMilli(ms).UTC(), zoned: true, ok: err == nil, exact: true}
		}
		return stamp{}
	}
	year, i := plainDigits(b, 0, 6)
	if i < 4 || i >= len(b) || b[i] != '-' {
		return plainEpoch(b)
	}
	var f [5]int // month, day, hour, minute, second
	seps := "-- ::"
	for k := range f {
		if i >= len(b) || b[i] != seps[k] && (k != 2 || b[i] != 'T' && b[i] != 't') {
			return stamp{}
		}
		v, n := plainDigits(b, i+1, 2)
		if n != 2 {
			return stamp{}
		}
		f[k], i = v, i+1+n
	}
	if f[0] < 1 || f[0] > 12 || f[1] < 1 || f[1] > 31 || f[2] > 24 || f[3] > 59 || f[4] > 60 {
		return stamp{}
	}
	nanos, exact := 0, false
	if i < len(b) && (b[i] == '.' || b[i] == ',') {
		i++
		scale := 100_000_000
		for from := i; i < len(b) && '0' <= b[i] && b[i] <= '9'; i++ {
			nanos += scale * int(b[i]-'0')
			scale /= 10
			exact = i >= from
		}
	}
	s := stamp{t: time.Date(year, time.Month(f[0]), f[1], f[2], f[3], f[4], nanos, time.UTC), ok: true, exact: exact}
	switch zone := bytes.TrimSpace(b[i:]); {
	case len(zone) == 0:
	case string(zone) == "Z" || string(zone) == "z" || string(zone) == "UTC" || string(zone) == "GMT":
		s.zoned = true
	case zone[0] == '+' || zone[0] == '-':
		h, n := plainDigits(zone, 1, 2)
		m, k := 0, 0
		if rest := zone[1+n:]; len(rest) > 0 {
			if rest[0] == ':' {
				rest = rest[1:]
			}
			m, k = plainDigits(rest, 0, 2)
			if k != 2 || len(rest) != 2 {
				return stamp{}
			}
		}
		if n != 2 || h > 14 || m > 59 {
			return stamp{}
		}
		offset := time.Duration(h)*time.Hour + time.Duration(m)*time.Minute
		if zone[0] == '+' {
			offset = -offset
		}
		s.t, s.zoned = s.t.Add(offset), true
	default:
		return stamp{}
	}
	return s
}

// plainDigits reads up to limit digits at b[i:] and returns how many there were.
func plainDigits(b []byte, i, limit int) (v, n int) {
	for n < limit && i+n < len(b) && '0' <= b[i+n] && b[i+n] <= '9' {
		v = 10*v + int(b[i+n]-'0')
		n++
	}
	return v, n
}

// plainEpoch reads a number of seconds, or of milliseconds where seconds would be
// beyond the year 5138, since 1970.
func plainEpoch(b []byte) stamp {
	whole, fraction, _ := bytes.Cut(b, []byte{'.'})
	v, err := strconv.ParseInt(string(whole), 10, 64)
	if err != nil || v < 0 || v > math.MaxInt64/1000 {
		return stamp{}
	}
	if v >= 100_000_000_000 {
		return stamp{t: time.UnixMilli(v).UTC(), zoned: true, ok: true, exact: true}
	}
	nanos := int64(0)
	if len(fraction) > 0 {
		padded := append(append([]byte(nil), fraction...), "000000000"...)[:9]
		if nanos, err = strconv.ParseInt(string(padded), 10, 64); err != nil || nanos < 0 {
			return stamp{}
		}
	}
	return stamp{t: time.Unix(v, nanos).UTC(), zoned: true, ok: true, exact: len(fraction) > 0}
}
