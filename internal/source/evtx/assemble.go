package evtx

import (
	"encoding/binary"
	"errors"
	"hash/maphash"
	"strconv"
	"strings"
	"time"

	"ashiato/internal/event"
	"ashiato/internal/source"
)

var errNoEvent = errors.New("the binary XML holds no Event with a System element")

// pending is a field whose text is fixed, or is bytes [lo, hi) of the event's
// text.
type pending struct {
	name   string
	fixed  string
	lo, hi int32 // lo is -1 for fixed text
}

// decoder turns the records of one chunk into events.
type decoder struct {
	parser
	text   []byte // what the fields of the current event say, one after another
	short  []byte
	fields []pending
	values []value

	textLeft   int
	fieldsLeft int

	ev        event.Event
	hasSystem bool
	hasTime   bool
	// damage is the first thing in the current record that could not be read
	// although the rest could.
	damage error
	// general turns programs off, for tests that compare the two ways.
	general bool
	recent  [4]repeated

	interest  source.Interest // nil: all is read
	decisions decisions
	selective bool // leave out what nobody reads of the current record
	unread    bool // nobody reads the current record's fields
	blank     []event.Event

	keys   []uint64 // scratch of chunkRun
	events int      // of the chunk before, as a guess for the next
}

// place says how the elements of a list are to be understood.
type place uint8

const (
	inDocument place = iota
	inEvent
	inSystem
	inEventData
	inUserData // elements here wrap the fields
	inFields   // elements here are fields, or groups of fields
	placeCount
)

func (d *decoder) reset(chunk []byte, shared *templates) {
	d.parser.reset(chunk, shared)
	d.textLeft, d.fieldsLeft = maxText, maxFields
}

// decode reads the binary XML in [pos, end) of the chunk. The second result
// tells what part of the record could not be read, if any; the third that it
// gave no event at all. d.unread tells that nobody reads the fields, which are
// left out then.
func (d *decoder) decode(pos, end int) (*event.Event, error, error) {
	if d.interest != nil && !d.general {
		d.clear()
		d.selective = true
		if d.runRecord(pos, end) {
			return d.build(), nil, nil
		}
		if !d.selective { // it has been tried with everything
			return d.decodeGeneral(pos, end)
		}
	}
	return d.decodeWhole(pos, end)
}

// decodeWhole is decode that leaves nothing out.
func (d *decoder) decodeWhole(pos, end int) (*event.Event, error, error) {
	d.clear()
	d.selective = false
	if !d.general && d.runRecord(pos, end) {
		return d.build(), nil, nil
	}
	return d.decodeGeneral(pos, end)
}

// decodeGeneral is decode for any record.
func (d *decoder) decodeGeneral(pos, end int) (*event.Event, error, error) {
	d.clear()
	var f fragment
	var err error
	f, d.values, err = d.fragmentAt(pos, end, d.values)
	if err != nil {
		return nil, nil, err
	}
	if err := d.elements(f, 0, len(f.nodes), inDocument, "", 0); err != nil {
		return nil, nil, err
	}
	if !d.hasSystem {
		return nil, nil, errNoEvent
	}
	e := d.build()
	if d.damage != nil {
		e.Flags |= event.Partial
	}
	return e, d.damage, nil
}

// clear makes ready for a record.
func (d *decoder) clear() {
	d.text, d.fields, d.values = d.text[:0], d.fields[:0], d.values[:0]
	d.ev = event.Event{}
	d.hasSystem, d.hasTime, d.damage, d.unread = false, false, nil, false
}

// build makes the event of what was gathered. It takes two allocations, one for
// the event with its fields and one for their text; no two events share one, so
// that an event kept for long keeps nothing else alive.
func (d *decoder) build() *event.Event {
	if d.unread {
		return d.buildUnread()
	}
	e := event.New(len(d.fields))
	data := e.Data
	*e = d.ev
	if len(d.fields) == 0 {
		return e
	}
	text := string(d.text)
	for i := range data {
		p := &d.fields[i]
		data[i].Name = p.name
		if p.lo >= 0 {
			data[i].Value = text[p.lo:p.hi]
		} else {
			data[i].Value = p.fixed
		}
	}
	e.Data = data
	return e
}

// buildUnread makes the event of a record whose fields nobody reads. Nobody
// keeps such an event for long, so that many share one allocation.
func (d *decoder) buildUnread() *event.Event {
	const together = 32
	if len(d.blank) == 0 {
		d.blank = make([]event.Event, together)
	}
	e := &d.blank[0]
	d.blank = d.blank[1:]
	*e = d.ev
	e.Flags |= event.Unread
	return e
}

// key identifies the content of the event just decoded, whatever place in the
// chunk it was decoded from: its record id, the time it was written and the text
// of its fields, unless nobody reads these.
func (d *decoder) key(e *event.Event, written uint64, unread bool) uint64 {
	if unread {
		d.text, d.fields = d.text[:0], d.fields[:0]
	}
	mark := len(d.text)
	d.text = append(d.text, e.Channel...)
	d.text = binary.LittleEndian.AppendUint64(d.text, e.Ref.RecordID)
	d.text = binary.LittleEndian.AppendUint64(d.text, written)
	d.text = binary.LittleEndian.AppendUint64(d.text, uint64(e.ID)<<32|uint64(len(d.fields)))
	d.text = binary.LittleEndian.AppendUint32(d.text, uint32(mark))
	sum := maphash.Bytes(keySeed, d.text)
	d.text = d.text[:mark]
	return sum
}

var keySeed = maphash.MakeSeed()

// spoiled notes that a part of the record could not be read.
func (d *decoder) spoiled(err error) {
	if d.damage == nil {
		d.damage = err
	}
}

func (d *decoder) step() error {
	if d.stepsLeft--; d.stepsLeft < 0 {
		return errBudget
	}
	return nil
}

// nested returns the fragment inside a value that is binary XML.
func (d *decoder) nested(f fragment, n *node) (fragment, bool, error) {
	if int(n.slot) >= len(f.values) {
		return fragment{}, false, nil
	}
	v := f.values[n.slot]
	if v.typ != typeBinXML || v.size == 0 {
		return fragment{}, false, nil
	}
	sub, values, err := d.fragmentAt(int(v.off), int(v.off+v.size), d.values)
	d.values = values
	return sub, true, err
}

// elements goes through nodes [i, end), which lie in place. prefix is the names
// of the groups around them.
func (d *decoder) elements(f fragment, i, end int, in place, prefix string, depth int) error {
	for i < end {
		if err := d.step(); err != nil {
			return err
		}
		n := &f.nodes[i]
		switch n.kind {
		case nodeElement:
			if err := d.element(f, i, in, prefix, depth); err != nil {
				return err
			}
			i = int(n.end)
		case nodeSubst:
			mark := len(d.values)
			sub, ok, err := d.nested(f, n)
			if ok && err == nil && depth >= maxDepth {
				err = errors.New("binary XML is nested too deeply")
			}
			switch {
			case errors.Is(err, errBudget):
				return err
			case err != nil:
				d.spoiled(err)
			case ok:
				if err := d.elements(sub, 0, len(sub.nodes), in, prefix, depth+1); err != nil {
					return err
				}
			}
			d.values = d.values[:mark]
			i++
		default:
			i++
		}
	}
	return nil
}

func (d *decoder) element(f fragment, i int, in place, prefix string, depth int) error {
	n := &f.nodes[i]
	content, end := int(n.content), int(n.end)
	switch in {
	case inDocument:
		if n.name != nameEvent {
			return nil
		}
		return d.elements(f, content, end, inEvent, "", depth+1)
	case inEvent:
		switch n.name {
		case nameSystem:
			d.hasSystem = true
			return d.elements(f, content, end, inSystem, "", depth+1)
		case nameRenderingInfo:
			// The message in the language of the machine that forwarded the
			// record. All of its content is in the other sections.
			return nil
		case nameEventData:
			if err := d.attributes(f, i, n.text, false); err != nil {
				return err
			}
			return d.elements(f, content, end, inEventData, "", depth+1)
		case nameUserData:
			return d.elements(f, content, end, inUserData, "", depth+1)
		}
		if d.isLeaf(f, n) {
			return d.leaf(f, n, n.text)
		}
		return d.elements(f, content, end, inFields, "", depth+1)
	case inSystem:
		return d.system(f, i)
	case inUserData:
		if err := d.attributes(f, i, n.text, false); err != nil {
			return err
		}
		if d.isLeaf(f, n) {
			if content == end {
				return nil // an empty wrapper is no field
			}
			return d.leaf(f, n, n.text)
		}
		return d.elements(f, content, end, inFields, "", depth+1)
	case inEventData:
		name, err := d.fieldName(f, i)
		if err != nil {
			return err
		}
		return d.field(f, i, name, true, depth)
	default:
		name := n.text
		if prefix != "" {
			if d.textLeft -= len(prefix) + len(name); d.textLeft < 0 {
				return errBudget
			}
			name = prefix + "_" + name
		}
		return d.field(f, i, name, false, depth)
	}
}

// field handles an element that is a field or a group of fields.
func (d *decoder) field(f fragment, i int, name string, named bool, depth int) error {
	n := &f.nodes[i]
	leaf := d.isLeaf(f, n)
	if leaf {
		if err := d.leaf(f, n, name); err != nil {
			return err
		}
	}
	if err := d.attributes(f, i, name, named); err != nil || leaf {
		return err
	}
	return d.elements(f, int(n.content), int(n.end), inFields, name, depth+1)
}

// fieldName is the name of a field in EventData: its Name attribute, else the
// element's name, which is "Data" for the values of classic providers.
func (d *decoder) fieldName(f fragment, i int) (string, error) {
	n := &f.nodes[i]
	if n.hasField {
		if n.field == "" {
			return n.text, nil
		}
		return n.field, nil
	}
	for a := i + 1; a < int(n.content); a = int(f.nodes[a].end) {
		if f.nodes[a].name == nameName {
			b, err := d.textOf(f, a+1, int(f.nodes[a].end))
			if err != nil || len(b) == 0 {
				return n.text, err
			}
			return d.intern(b), nil
		}
	}
	return n.text, nil
}

// isLeaf reports whether an element holds no elements.
func (d *decoder) isLeaf(f fragment, n *node) bool {
	if !n.leaf {
		return false
	}
	for i := int(n.content); i < int(n.end); i++ {
		if c := &f.nodes[i]; c.kind == nodeSubst && int(c.slot) < len(f.values) && f.values[c.slot].typ == typeBinXML {
			return false
		}
	}
	return true
}

// attributes adds an element's attributes as fields name_Attribute, except
// namespaces and, for the named elements of EventData, Name.
func (d *decoder) attributes(f fragment, i int, name string, named bool) error {
	content := int(f.nodes[i].content)
	for a := i + 1; a < content; {
		if err := d.step(); err != nil {
			return err
		}
		n := &f.nodes[a]
		end := int(n.end)
		if n.name != nameNamespace && (!named || n.name != nameName) {
			present := false
			for j := a + 1; j < end && !present; j++ {
				present = f.nodes[j].kind == nodeText || !d.isNull(f, &f.nodes[j])
			}
			if present {
				lo := len(d.text)
				for j := a + 1; j < end; j++ {
					if err := d.append(f, &f.nodes[j]); err != nil {
						return err
					}
				}
				if err := d.add(pending{name: name + "_" + n.text, lo: int32(lo), hi: int32(len(d.text))}); err != nil {
					return err
				}
			}
		}
		a = end
	}
	return nil
}

func (d *decoder) add(p pending) error {
	if d.fieldsLeft--; d.fieldsLeft < 0 {
		return errBudget
	}
	d.fields = append(d.fields, p)
	return nil
}

// isNull reports whether a substitution has nothing to put in.
func (d *decoder) isNull(f fragment, n *node) bool {
	return int(n.slot) >= len(f.values) || f.values[n.slot].typ == typeNull
}

// leaf adds an element without elements as a field. A null in an optional
// substitution leaves the element out; an array repeats it; no content is an
// empty value.
func (d *decoder) leaf(f fragment, n *node, name string) error {
	content, end := int(n.content), int(n.end)
	switch end - content {
	case 0:
		return d.add(pending{name: name, lo: -1})
	case 1:
		c := &f.nodes[content]
		if c.kind == nodeText {
			return d.add(pending{name: name, fixed: c.text, lo: -1})
		}
		if d.isNull(f, c) {
			if int(c.slot) >= len(f.values) {
				d.spoiled(errors.New("a substitution refers to a value that is not there"))
			}
			if c.optional {
				return nil
			}
			return d.add(pending{name: name, lo: -1})
		}
		if v := f.values[c.slot]; v.typ&typeArray != 0 {
			return d.array(v, name)
		}
	}
	nothing := true
	lo := len(d.text)
	for i := content; i < end; i++ {
		if err := d.step(); err != nil {
			return err
		}
		c := &f.nodes[i]
		nothing = nothing && c.kind == nodeSubst && c.optional && d.isNull(f, c)
		if err := d.append(f, c); err != nil {
			return err
		}
	}
	if nothing {
		return nil
	}
	return d.add(pending{name: name, lo: int32(lo), hi: int32(len(d.text))})
}

// array adds each element of an array as a field of the same name.
func (d *decoder) array(v value, name string) error {
	b := d.chunk[v.off : v.off+v.size]
	typ := v.typ &^ typeArray
	for first := true; first || len(b) > 0; first = false {
		var elem []byte
		elem, b = nextElement(typ, b)
		lo := len(d.text)
		if err := d.appendTyped(typ, elem); err != nil {
			return err
		}
		if err := d.add(pending{name: name, lo: int32(lo), hi: int32(len(d.text))}); err != nil {
			return err
		}
	}
	return nil
}

// append adds the text of one content node to the event's text. The elements of
// an array amid other text are separated by commas.
func (d *decoder) append(f fragment, n *node) error {
	if n.kind == nodeText {
		d.text = append(d.text, n.text...)
		if d.textLeft -= len(n.text); d.textLeft < 0 {
			return errBudget
		}
		return nil
	}
	if n.kind != nodeSubst || d.isNull(f, n) {
		return nil
	}
	v := f.values[n.slot]
	b := d.chunk[v.off : v.off+v.size]
	if v.typ&typeArray == 0 {
		return d.appendTyped(v.typ, b)
	}
	for i := 0; len(b) > 0; i++ {
		var elem []byte
		elem, b = nextElement(v.typ&^typeArray, b)
		if i > 0 {
			d.text = append(d.text, ',')
		}
		if err := d.appendTyped(v.typ&^typeArray, elem); err != nil {
			return err
		}
	}
	return nil
}

func (d *decoder) appendTyped(typ byte, b []byte) error {
	if err := d.step(); err != nil {
		return err
	}
	before := len(d.text)
	var ok bool
	if len(b) == 0 {
		return nil
	}
	d.text, ok = appendValue(d.text, typ, b)
	if !ok {
		d.spoiled(errors.New("a value does not fit its type 0x" + strconv.FormatUint(uint64(typ), 16)))
	}
	if d.textLeft -= len(d.text) - before; d.textLeft < 0 {
		return errBudget
	}
	return nil
}

// textOf returns the text of nodes [i, end); it is valid until the next call.
func (d *decoder) textOf(f fragment, i, end int) ([]byte, error) {
	mark := len(d.text)
	for ; i < end; i++ {
		if err := d.append(f, &f.nodes[i]); err != nil {
			return nil, err
		}
	}
	d.short = append(d.short[:0], d.text[mark:]...)
	d.text = d.text[:mark]
	return d.short, nil
}

// system handles one element of System.
func (d *decoder) system(f fragment, i int) error {
	n := &f.nodes[i]
	content, end := int(n.content), int(n.end)
	e := &d.ev
	var err error
	switch n.name {
	case nameProvider:
		e.Provider, err = d.attribute(f, i, nameName)
	case nameEventID:
		e.ID, err = number[uint32](d, f, content, end, "EventID")
	case nameVersion:
		e.Version, err = number[uint8](d, f, content, end, "Version")
	case nameLevel:
		e.Level, err = number[uint8](d, f, content, end, "Level")
	case nameTask:
		e.Task, err = number[uint16](d, f, content, end, "Task")
	case nameOpcode:
		e.Opcode, err = number[uint8](d, f, content, end, "Opcode")
	case nameKeywords:
		e.Keywords, err = number[uint64](d, f, content, end, "Keywords")
	case nameEventRecordID:
		e.Ref.RecordID, err = number[uint64](d, f, content, end, "EventRecordID")
	case nameChannel:
		e.Channel, err = d.string(f, content, end)
	case nameComputer:
		e.Host, err = d.string(f, content, end)
	case nameExecution:
		for a := i + 1; a < content && err == nil; a = int(f.nodes[a].end) {
			switch at := int(f.nodes[a].end); f.nodes[a].name {
			case nameProcessID:
				e.PID, err = number[uint32](d, f, a+1, at, "ProcessID")
			case nameThreadID:
				e.TID, err = number[uint32](d, f, a+1, at, "ThreadID")
			}
		}
	case nameSecurity:
		e.UserSID, err = d.attribute(f, i, nameUserID)
	case nameTimeCreated:
		for a := i + 1; a < content && err == nil; a = int(f.nodes[a].end) {
			if f.nodes[a].name == nameSystemTime {
				err = d.time(f, a+1, int(f.nodes[a].end))
			}
		}
	}
	return err
}

func (d *decoder) attribute(f fragment, i int, id nameID) (string, error) {
	for a := i + 1; a < int(f.nodes[i].content); a = int(f.nodes[a].end) {
		if f.nodes[a].name == id {
			return d.string(f, a+1, int(f.nodes[a].end))
		}
	}
	return "", nil
}

func (d *decoder) string(f fragment, i, end int) (string, error) {
	if end-i == 1 && f.nodes[i].kind == nodeText {
		return f.nodes[i].text, nil
	}
	b, err := d.textOf(f, i, end)
	return d.intern(b), err
}

// time reads System TimeCreated, a FILETIME or, in forwarded records, text.
func (d *decoder) time(f fragment, i, end int) error {
	if end-i == 1 && f.nodes[i].kind == nodeSubst && int(f.nodes[i].slot) < len(f.values) {
		if v := f.values[f.nodes[i].slot]; v.typ == typeFileTime && v.size == 8 {
			d.ev.Logged, d.hasTime = fileTime(u64(d.chunk, int(v.off))), true
			return nil
		}
	}
	b, err := d.textOf(f, i, end)
	if err != nil || len(b) == 0 {
		return err
	}
	t, err := time.Parse(time.RFC3339Nano, strings.TrimSuffix(string(b), "Z")+"Z")
	if err != nil {
		d.spoiled(errors.New("the record's SystemTime is no time"))
		return nil
	}
	d.ev.Logged, d.hasTime = t.UTC(), true
	return nil
}

// number reads a whole number from a typed value or, in forwarded records, from
// text, decimal or with 0x. What is not one spoils the record and reads as 0.
func number[T uint8 | uint16 | uint32 | uint64](d *decoder, f fragment, i, end int, what string) (T, error) {
	if i == end {
		return 0, nil
	}
	if n := &f.nodes[i]; end-i == 1 && n.kind == nodeSubst {
		if d.isNull(f, n) {
			return 0, nil
		}
		switch v := f.values[n.slot]; v.typ {
		case typeUint8, typeUint16, typeUint32, typeUint64, typeHex32, typeHex64, typeSize:
			if x, ok := integer(d.chunk[v.off : v.off+v.size]); ok && uint64(T(x)) == x {
				return T(x), nil
			}
		}
	}
	b, err := d.textOf(f, i, end)
	if err != nil || len(b) == 0 {
		return 0, err
	}
	x, perr := strconv.ParseUint(string(b), 0, 64)
	if perr != nil || uint64(T(x)) != x {
		d.spoiled(errors.New("the record's " + what + " is out of range or no number"))
		return 0, nil
	}
	return T(x), nil
}
