package evtx

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"strconv"
	"strings"
	"time"

	"ashiato/internal/event"
)

// ErrTooLarge is returned by Writer.Write for a record that does not fit into
// one chunk (64 KiB with its header), which no EVTX file can hold.
var ErrTooLarge = errors.New("the record does not fit into an EVTX chunk")

const eventNamespace = "http://schemas.microsoft.com/win/2004/08/events/event"

// Writer writes events as an EVTX file, version 3.1, closed and with all its
// checksums. The same events give the same bytes.
//
// The System section is typed as Windows types it. Every field of Data becomes a
// Data element of EventData with its name; those named "Data" have no Name
// attribute, as with classic providers. Kind, Canon and Flags are not written.
type Writer struct {
	// Types chooses the binary type of a field; nil means strings. Where a
	// value's text is not exactly what the type would be read as, it is
	// written as a string all the same, so what is read is what was given.
	Types func(e *event.Event, field string) Type

	w       io.WriteSeeker
	err     error // sticks
	started bool
	closed  bool

	chunks  int
	records uint64
	lastID  uint64
	c       chunkBuilder
}

// Type is a binary XML value type, [MS-EVEN6] 2.2.12.
type Type byte

// The types that a Writer writes.
const (
	String   Type = typeString
	Int32    Type = typeInt32
	Uint8    Type = typeUint8
	Uint16   Type = typeUint16
	Uint32   Type = typeUint32
	Uint64   Type = typeUint64
	Bool     Type = typeBool
	Binary   Type = typeBinary
	GUID     Type = typeGUID
	FileTime Type = typeFileTime
	SID      Type = typeSID
	Hex32    Type = typeHex32
	Hex64    Type = typeHex64
)

// WindowsTypes is a Types function for the fields of Sysmon and of Windows
// security auditing, as these providers declare them.
func WindowsTypes(e *event.Event, field string) Type {
	if strings.EqualFold(e.Provider, "Microsoft-Windows-Sysmon") {
		switch {
		case strings.HasSuffix(field, "ProcessGuid"), strings.HasSuffix(field, "ProcessGUID"), field == "LogonGuid":
			return GUID
		case strings.HasSuffix(field, "ProcessId"), strings.HasSuffix(field, "ThreadId"), field == "TerminalSessionId":
			return Uint32
		case strings.HasSuffix(field, "Port"):
			return Uint16
		case field == "LogonId":
			return Hex64
		case field == "GrantedAccess":
			return Hex32
		case field == "Initiated", strings.HasSuffix(field, "IsIpv6"):
			return Bool
		}
		return String
	}
	if strings.EqualFold(e.Provider, "Microsoft-Windows-Security-Auditing") {
		switch {
		case strings.HasSuffix(field, "LogonId"), strings.HasSuffix(field, "ProcessId"), field == "HandleId":
			return Hex64
		case strings.HasSuffix(field, "UserSid"), strings.HasSuffix(field, "TargetSid"), field == "MandatoryLabel":
			return SID
		case field == "AccessMask", field == "Status", field == "SubStatus":
			return Hex32
		case strings.HasSuffix(field, "LogonGuid"):
			return GUID
		case field == "LogonType", field == "KeyLength":
			return Uint32
		case field == "ClientProcessStartKey":
			return Uint64
		}
	}
	return String
}

// NewWriter returns a Writer of a new file to w, which is written from offset 0
// on and is complete after Close.
func NewWriter(w io.WriteSeeker) *Writer { return &Writer{w: w} }

// Write adds e as a record. Its record id is e.Ref.RecordID or, where that is 0,
// the one after the last; its time is e.Logged or, where that is zero, e.Time,
// cut to 100 ns.
//
// What EVTX cannot hold is an error and leaves the file as it was: a record that
// does not fit into a chunk (ErrTooLarge), a time before 1601, a field without a
// name, text that ends in NUL (which readers take for a terminator), a user that
// is no SID. An error of the underlying writer sticks.
func (w *Writer) Write(e *event.Event) error {
	if w.err != nil {
		return w.err
	}
	if w.closed {
		return errors.New("the EVTX writer is closed")
	}
	rec, err := w.prepare(e)
	if err != nil {
		return fmt.Errorf("writing event %d of %s as EVTX: %w", e.ID, e.Provider, err)
	}
	if !w.started {
		w.started = true
		if _, w.err = w.w.Write(make([]byte, fileHeaderSize)); w.err != nil {
			return w.err
		}
		w.c.reset()
	}
	if !w.c.add(rec, w.records+1) {
		if w.c.count > 0 {
			if err := w.flush(); err != nil {
				return err
			}
		}
		if !w.c.add(rec, w.records+1) {
			return fmt.Errorf("writing event %d of %s as EVTX: %w", e.ID, e.Provider, ErrTooLarge)
		}
	}
	w.records++
	w.lastID = rec.id
	return nil
}

// Close writes the last chunk and the file header. A file without a record is
// valid too. It does not close the underlying writer.
func (w *Writer) Close() error {
	if w.err != nil || w.closed {
		return w.err
	}
	w.closed = true
	if w.c.count > 0 || w.chunks == 0 {
		if !w.started {
			if _, w.err = w.w.Write(make([]byte, fileHeaderSize)); w.err != nil {
				return w.err
			}
			w.c.reset()
		}
		if err := w.flush(); err != nil {
			return err
		}
	}
	h := make([]byte, fileHeaderSize)
	copy(h, fileMagic)
	binary.LittleEndian.PutUint64(h[16:], uint64(w.chunks-1))
	binary.LittleEndian.PutUint64(h[24:], w.lastID+1)
	binary.LittleEndian.PutUint32(h[32:], 128)
	binary.LittleEndian.PutUint16(h[36:], 1)
	binary.LittleEndian.PutUint16(h[38:], 3)
	binary.LittleEndian.PutUint16(h[40:], fileHeaderSize)
	binary.LittleEndian.PutUint16(h[42:], uint16(w.chunks))
	binary.LittleEndian.PutUint32(h[124:], crc32.ChecksumIEEE(h[:120]))
	if _, w.err = w.w.Seek(0, io.SeekStart); w.err != nil {
		return w.err
	}
	if _, w.err = w.w.Write(h); w.err != nil {
		return w.err
	}
	_, w.err = w.w.Seek(0, io.SeekEnd)
	return w.err
}

func (w *Writer) flush() error {
	if w.chunks == math.MaxUint16 {
		w.err = errors.New("an EVTX file holds at most 65535 chunks")
		return w.err
	}
	_, w.err = w.w.Write(w.c.finish(w.records))
	w.chunks++
	w.c.reset()
	return w.err
}

// outRecord is a record ready to be placed in a chunk.
type outRecord struct {
	id     uint64
	time   uint64 // FILETIME
	shape  string // what the template depends on
	names  []string
	values []outValue
}

// outValue is one substitution value.
type outValue struct {
	typ  byte
	data []byte
}

// systemValues is how many values the System section takes.
const systemValues = 14

func (w *Writer) prepare(e *event.Event) (*outRecord, error) {
	rec := &outRecord{id: e.Ref.RecordID}
	if rec.id == 0 {
		rec.id = w.lastID + 1
	}
	t := e.Logged
	if t.IsZero() {
		t = e.Time
	}
	var err error
	if rec.time, err = ticks(t); err != nil {
		return nil, err
	}
	str := func(what, s string) outValue {
		if strings.HasSuffix(s, "\x00") && err == nil {
			err = fmt.Errorf("%s ends in NUL, which would be lost", what)
		}
		return outValue{typeString, event.AppendUTF16LE(nil, s)}
	}
	le := binary.LittleEndian
	id := outValue{typeUint16, le.AppendUint16(nil, uint16(e.ID))}
	if e.ID > math.MaxUint16 {
		id = outValue{typeUint32, le.AppendUint32(nil, e.ID)}
	}
	user := outValue{typ: typeNull}
	if e.UserSID != "" {
		b, ok := encodeExact(typeSID, e.UserSID)
		if !ok {
			return nil, fmt.Errorf("the user %q is no SID", e.UserSID)
		}
		user = outValue{typeSID, b}
	}
	rec.values = append(rec.values,
		str("the provider", e.Provider), id,
		outValue{typeUint8, []byte{e.Version}},
		outValue{typeUint8, []byte{e.Level}},
		outValue{typeUint16, le.AppendUint16(nil, e.Task)},
		outValue{typeUint8, []byte{e.Opcode}},
		outValue{typeHex64, le.AppendUint64(nil, e.Keywords)},
		outValue{typeFileTime, le.AppendUint64(nil, rec.time)},
		outValue{typeUint64, le.AppendUint64(nil, rec.id)},
		outValue{typeUint32, le.AppendUint32(nil, e.PID)},
		outValue{typeUint32, le.AppendUint32(nil, e.TID)},
		str("the channel", e.Channel),
		str("the host", e.Host),
		user,
	)
	if len(e.Data) > math.MaxUint16-systemValues {
		return nil, ErrTooLarge
	}
	var shape strings.Builder
	shape.WriteByte(id.typ)
	size := 0
	for _, f := range e.Data {
		if f.Name == "" {
			return nil, errors.New("a field has no name")
		}
		if strings.HasSuffix(f.Name, "\x00") {
			return nil, fmt.Errorf("the field name %q ends in NUL, which would be lost", f.Name)
		}
		if size += len(f.Name)/2 + len(f.Value)/2; size > chunkSize {
			return nil, ErrTooLarge // UTF-16 is at least two thirds of UTF-8's length
		}
		v := str("the value of "+f.Name, f.Value)
		if w.Types != nil {
			if typ := byte(w.Types(e, f.Name)); typ != typeString {
				if b, ok := encodeExact(typ, f.Value); ok {
					v = outValue{typ, b}
				}
			}
		}
		rec.values = append(rec.values, v)
		rec.names = append(rec.names, f.Name)
		shape.WriteByte(v.typ)
		shape.WriteString(strconv.Itoa(len(f.Name)))
		shape.WriteByte(':')
		shape.WriteString(f.Name)
	}
	rec.shape = shape.String()
	return rec, err
}

// ticks is t as a FILETIME.
func ticks(t time.Time) (uint64, error) {
	sec := t.Unix() + epochSeconds
	if sec < 0 || uint64(sec) > math.MaxInt64/ticksPerSecond-1 {
		return 0, fmt.Errorf("the time %s cannot be written: a FILETIME begins in 1601", t.UTC().Format(time.RFC3339))
	}
	return uint64(sec)*ticksPerSecond + uint64(t.Nanosecond()/100), nil
}

// encodeExact encodes text as typ if it is exactly what would be read back.
func encodeExact(typ byte, text string) ([]byte, bool) {
	b, ok := encode(typ, text)
	if !ok {
		return nil, false
	}
	back, ok := appendValue(nil, typ, b)
	return b, ok && string(back) == text
}

// encode encodes text as typ, perhaps less exactly than it should be.
func encode(typ byte, text string) ([]byte, bool) {
	size := elementSize(typ)
	switch typ {
	case typeUint8, typeUint16, typeUint32, typeUint64, typeHex32, typeHex64:
		v, err := strconv.ParseUint(text, 0, 8*size)
		return binary.LittleEndian.AppendUint64(nil, v)[:size], err == nil
	case typeInt32:
		v, err := strconv.ParseInt(text, 10, 32)
		return binary.LittleEndian.AppendUint32(nil, uint32(v)), err == nil
	case typeBool:
		v, err := strconv.ParseBool(text)
		b := make([]byte, 4)
		if v {
			b[0] = 1
		}
		return b, err == nil
	case typeBinary:
		return parseHex(text)
	case typeGUID:
		b, ok := parseHex(strings.NewReplacer("{", "", "}", "", "-", "").Replace(text))
		if !ok || len(b) != 16 {
			return nil, false
		}
		b[0], b[1], b[2], b[3] = b[3], b[2], b[1], b[0]
		b[4], b[5] = b[5], b[4]
		b[6], b[7] = b[7], b[6]
		return b, true
	case typeFileTime:
		t, err := time.Parse(event.TimeFormat, text)
		if err != nil {
			return nil, false
		}
		v, err := ticks(t)
		return binary.LittleEndian.AppendUint64(nil, v), err == nil
	case typeSID:
		return parseSID(text)
	}
	return nil, false
}

func parseHex(s string) ([]byte, bool) {
	if len(s)%2 != 0 {
		return nil, false
	}
	b := make([]byte, len(s)/2)
	for i := range b {
		v, err := strconv.ParseUint(s[2*i:2*i+2], 16, 8)
		if err != nil {
			return nil, false
		}
		b[i] = byte(v)
	}
	return b, true
}

func parseSID(s string) ([]byte, bool) {
	parts := strings.Split(s, "-")
	if len(parts) < 3 || parts[0] != "S" || len(parts)-3 > math.MaxUint8 {
		return nil, false
	}
	rev, err := strconv.ParseUint(parts[1], 10, 8)
	if err != nil {
		return nil, false
	}
	authority, err := strconv.ParseUint(parts[2], 0, 48)
	if err != nil {
		return nil, false
	}
	b := binary.BigEndian.AppendUint64(nil, authority)
	b[0], b[1] = byte(rev), byte(len(parts)-3)
	for _, p := range parts[3:] {
		v, err := strconv.ParseUint(p, 10, 32)
		if err != nil {
			return nil, false
		}
		b = binary.LittleEndian.AppendUint32(b, uint32(v))
	}
	return b, true
}

// chunkBuilder holds the chunk being written.
type chunkBuilder struct {
	buf       []byte // from the chunk's first byte on
	strings   [stringBuckets]uint32
	templates [templateBuckets]uint32
	names     map[string]uint32
	shapes    map[string]shapeAt
	count     int
	firstID   uint64
	lastID    uint64
	lastAt    int
}

type shapeAt struct{ id, off uint32 }

func (c *chunkBuilder) reset() {
	*c = chunkBuilder{
		buf:   append(c.buf[:0], make([]byte, chunkHeaderSize)...),
		names: map[string]uint32{}, shapes: map[string]shapeAt{},
	}
}

// add appends a record and reports whether it fitted; if not, the chunk is as
// before.
func (c *chunkBuilder) add(rec *outRecord, number uint64) bool {
	start := len(c.buf)
	oldStrings, oldTemplates := c.strings, c.templates
	le := binary.LittleEndian
	c.buf = append(c.buf, recordMagic...)
	c.buf = le.AppendUint32(c.buf, 0)
	c.buf = le.AppendUint64(c.buf, rec.id)
	c.buf = le.AppendUint64(c.buf, rec.time)
	c.buf = append(c.buf, tokenFragment, 1, 1, 0)
	c.instance(rec)
	c.buf = append(c.buf, tokenEOF)
	for (len(c.buf)-start+4)%8 != 0 {
		c.buf = append(c.buf, 0)
	}
	size := len(c.buf) - start + 4
	c.buf = le.AppendUint32(c.buf, uint32(size))
	if len(c.buf) > chunkSize {
		c.buf = c.buf[:start]
		c.strings, c.templates = oldStrings, oldTemplates
		for n, off := range c.names {
			if int(off) >= start {
				delete(c.names, n)
			}
		}
		for s, at := range c.shapes {
			if int(at.off) >= start {
				delete(c.shapes, s)
			}
		}
		return false
	}
	le.PutUint32(c.buf[start+4:], uint32(size))
	if c.count == 0 {
		c.firstID = rec.id
	}
	c.count++
	c.lastID = rec.id
	c.lastAt = start
	return true
}

// instance writes a template instance, and the definition where the chunk has
// none of this shape yet.
func (c *chunkBuilder) instance(rec *outRecord) {
	le := binary.LittleEndian
	at, known := c.shapes[rec.shape]
	sum := sha256.Sum256([]byte(rec.shape))
	if !known {
		at = shapeAt{id: le.Uint32(sum[:]), off: uint32(len(c.buf)) + 10}
		c.shapes[rec.shape] = at
	}
	c.buf = append(c.buf, tokenTemplate, 1)
	c.buf = le.AppendUint32(c.buf, at.id)
	c.buf = le.AppendUint32(c.buf, at.off)
	if !known {
		bucket := &c.templates[at.id%templateBuckets]
		c.buf = le.AppendUint32(c.buf, *bucket)
		*bucket = at.off
		c.buf = append(c.buf, sum[:16]...)
		mark := len(c.buf)
		c.buf = le.AppendUint32(c.buf, 0)
		c.definition(rec)
		le.PutUint32(c.buf[mark:], uint32(len(c.buf)-mark-4))
	}
	c.buf = le.AppendUint32(c.buf, uint32(len(rec.values)))
	for _, v := range rec.values {
		c.buf = le.AppendUint16(c.buf, uint16(len(v.data)))
		c.buf = append(c.buf, v.typ, 0)
	}
	for _, v := range rec.values {
		c.buf = append(c.buf, v.data...)
	}
}

// definition writes the template of a record's shape.
func (c *chunkBuilder) definition(rec *outRecord) {
	slot := 0
	subst := func() func() {
		i := slot
		slot++
		return func() { c.substitution(tokenSubstitution, i, rec.values[i].typ) }
	}
	text := func(s string) func() { return func() { c.value(s) } }
	leaf := func(name string) {
		content := subst()
		c.element(name, nil, content)
	}
	c.buf = append(c.buf, tokenFragment, 1, 1, 0)
	c.element("Event", []attribute{{"xmlns", text(eventNamespace)}}, func() {
		c.element("System", nil, func() {
			c.element("Provider", []attribute{{"Name", subst()}}, nil)
			for _, name := range [...]string{"EventID", "Version", "Level", "Task", "Opcode", "Keywords"} {
				leaf(name)
			}
			c.element("TimeCreated", []attribute{{"SystemTime", subst()}}, nil)
			leaf("EventRecordID")
			c.element("Correlation", nil, nil)
			c.element("Execution", []attribute{{"ProcessID", subst()}, {"ThreadID", subst()}}, nil)
			leaf("Channel")
			leaf("Computer")
			user := slot
			slot++
			c.element("Security", []attribute{{"UserID", func() { c.substitution(tokenOptional, user, typeSID) }}}, nil)
		})
		c.element("EventData", nil, func() {
			for _, name := range rec.names {
				var attrs []attribute
				if name != "Data" {
					attrs = []attribute{{"Name", text(name)}}
				}
				content := subst()
				c.element("Data", attrs, content)
			}
		})
	})
	c.buf = append(c.buf, tokenEOF)
}

type attribute struct {
	name  string
	value func()
}

func (c *chunkBuilder) element(name string, attrs []attribute, content func()) {
	le := binary.LittleEndian
	token := byte(tokenOpen)
	if len(attrs) > 0 {
		token |= tokenMore
	}
	c.buf = append(c.buf, token, 0xff, 0xff) // depends on no value
	size := len(c.buf)
	c.buf = le.AppendUint32(c.buf, 0)
	c.name(name)
	if len(attrs) > 0 {
		list := len(c.buf)
		c.buf = le.AppendUint32(c.buf, 0)
		for i, a := range attrs {
			token := byte(tokenAttribute)
			if i < len(attrs)-1 {
				token |= tokenMore
			}
			c.buf = append(c.buf, token)
			c.name(a.name)
			a.value()
		}
		le.PutUint32(c.buf[list:], uint32(len(c.buf)-list-4))
	}
	if content == nil {
		c.buf = append(c.buf, tokenCloseEmpty)
	} else {
		c.buf = append(c.buf, tokenCloseStart)
		content()
		c.buf = append(c.buf, tokenEnd)
	}
	le.PutUint32(c.buf[size:], uint32(len(c.buf)-size-4))
}

// name refers to a name, and writes it where the chunk has not got it yet.
func (c *chunkBuilder) name(name string) {
	le := binary.LittleEndian
	off, known := c.names[name]
	if known {
		c.buf = le.AppendUint32(c.buf, off)
		return
	}
	off = uint32(len(c.buf)) + 4
	c.names[name] = off
	c.buf = le.AppendUint32(c.buf, off)
	chars := event.AppendUTF16LE(nil, name)
	hash := nameHash(chars)
	bucket := &c.strings[hash%stringBuckets]
	c.buf = le.AppendUint32(c.buf, *bucket)
	*bucket = off
	c.buf = le.AppendUint16(c.buf, hash)
	c.buf = le.AppendUint16(c.buf, uint16(len(chars)/2))
	c.buf = append(c.buf, chars...)
	c.buf = append(c.buf, 0, 0)
}

func (c *chunkBuilder) value(s string) {
	chars := event.AppendUTF16LE(nil, s)
	c.buf = append(c.buf, tokenValue, typeString)
	c.buf = binary.LittleEndian.AppendUint16(c.buf, uint16(len(chars)/2))
	c.buf = append(c.buf, chars...)
}

func (c *chunkBuilder) substitution(token byte, slot int, typ byte) {
	c.buf = append(c.buf, token)
	c.buf = binary.LittleEndian.AppendUint16(c.buf, uint16(slot))
	c.buf = append(c.buf, typ)
}

// finish returns the chunk's bytes. last is the number of its last record in the
// file, counted from 1.
func (c *chunkBuilder) finish(last uint64) []byte {
	le := binary.LittleEndian
	free := len(c.buf)
	b := append(c.buf, make([]byte, chunkSize-free)...)
	copy(b, chunkMagic)
	if c.count > 0 {
		le.PutUint64(b[8:], last-uint64(c.count)+1)
		le.PutUint64(b[16:], last)
		le.PutUint64(b[24:], c.firstID)
		le.PutUint64(b[32:], c.lastID)
		le.PutUint32(b[44:], uint32(c.lastAt))
	} else {
		le.PutUint64(b[8:], 1)
		le.PutUint64(b[16:], math.MaxUint64)
		le.PutUint64(b[24:], math.MaxUint64)
		le.PutUint64(b[32:], math.MaxUint64)
	}
	le.PutUint32(b[40:], 128)
	le.PutUint32(b[48:], uint32(free))
	le.PutUint32(b[52:], crc32.ChecksumIEEE(b[chunkHeaderSize:free]))
	for i, off := range c.strings {
		le.PutUint32(b[stringTable+4*i:], off)
	}
	for i, off := range c.templates {
		le.PutUint32(b[templateTable+4*i:], off)
	}
	le.PutUint32(b[124:], crc32.Update(crc32.ChecksumIEEE(b[:120]), crc32.IEEETable, b[128:chunkHeaderSize]))
	c.buf = b
	return b
}
