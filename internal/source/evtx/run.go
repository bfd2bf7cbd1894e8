package evtx

import (
	"bytes"
	"slices"
)

// repeated is a System value of the record before and its text: most records of
// a log come from the same channel, host and user.
type repeated struct {
	typ  byte
	raw  []byte
	text string
}

// spent is what the programs of a record take from the chunk's budgets.
type spent struct {
	steps, text int
	nested      int // programs around the present one
}

// runRecord reads the binary XML in [pos, end) by the program of its template. It
// reports false where there is none, or the values are not what the program
// expects, or there is anything to report; the general way has to read the record
// then. If it reports true, the event gathered and the budgets left are what
// they would be after the general way.
func (d *decoder) runRecord(pos, end int) bool {
	var s spent
	if !d.run(pos, end, inDocument, &s) || !d.hasSystem ||
		s.steps > d.stepsLeft || s.text > d.textLeft || len(d.fields) > d.fieldsLeft {
		return false
	}
	d.stepsLeft -= s.steps
	d.textLeft -= s.text
	d.fieldsLeft -= len(d.fields)
	return true
}

// maxNestedPrograms bounds how deep programs stand inside one another.
const maxNestedPrograms = 4

// run runs the program of the template instance in [pos, end), which stands in
// place. Compare parser.instance.
func (d *decoder) run(pos, end int, in place, s *spent) bool {
	for end-pos >= 4 && d.chunk[pos] == tokenFragment {
		pos += 4
	}
	if end-pos < 10 || d.chunk[pos] != tokenTemplate {
		return false
	}
	id, off := u32(d.chunk, pos+2), u32(d.chunk, pos+6)
	t := d.templateAt(off)
	if t.err != nil || d.strictIDs && t.id != id {
		return false
	}
	p := t.programs[in]
	at := pos + 10
	if int(off) == at {
		at += t.size
	}
	if p == nil || end-at < 4 {
		return false
	}
	count := int(u32(d.chunk, at))
	at += 4
	if count < p.slots || count > (end-at)/4 {
		return false
	}
	data := at + 4*count
	base := len(d.values)
	descriptors := d.chunk[at : at+4*count]
	for len(descriptors) >= 4 {
		size := int(u16(descriptors, 0))
		if size > end-data {
			return false
		}
		d.values = append(d.values, value{typ: descriptors[2], off: int32(data), size: int32(size)})
		data += size
		descriptors = descriptors[4:]
	}
	s.steps += count + p.steps
	s.text += p.text
	if s.steps > d.stepsLeft || s.text > d.textLeft || len(d.fields) > d.fieldsLeft {
		return false // before one value that is named often is run often
	}
	if p.system {
		if d.hasSystem {
			return false
		}
		d.hasSystem = true
	}
	values := d.values[base:len(d.values):len(d.values)]
	if !d.selective {
		return d.ops(p.ops, values, s)
	}
	return d.interesting(p, values, s)
}

// ops goes through the operations of a program.
func (d *decoder) ops(ops []op, values []value, s *spent) bool {
	e := &d.ev
	for i := range ops {
		o := &ops[i]
		switch o.kind {
		case opFixed:
			d.fields = append(d.fields, pending{name: o.name, fixed: o.text, lo: -1})
			continue
		case opFixedAttr:
			lo := len(d.text)
			d.text = append(d.text, o.text...)
			d.addText(o.name, lo)
			continue
		case opFixedProvider:
			e.Provider = o.text
			continue
		case opFixedChannel:
			e.Channel = o.text
			continue
		case opFixedHost:
			e.Host = o.text
			continue
		case opFixedUser:
			e.UserSID = o.text
			continue
		case opFixedNumber:
			if !d.setNumber(o.target, o.number) {
				return false
			}
			continue
		}
		v := values[o.slot]
		b := d.chunk[v.off : v.off+v.size]
		var ok bool
		switch o.kind {
		case opField, opAttribute:
			if v.typ == typeNull {
				if o.kind == opField && !o.optional {
					d.fields = append(d.fields, pending{name: o.name, lo: -1})
				}
				continue
			}
			if v.typ == typeBinXML {
				return false
			}
			if v.typ&typeArray != 0 {
				if o.kind != opField || !d.elementsOf(b, v.typ&^typeArray, o.name, s) {
					return false
				}
				continue
			}
			lo := len(d.text)
			if len(b) > 0 {
				if v.typ == typeString {
					b = trimNUL16(b)
					d.text, ok = appendUTF16(d.text, b), v.size%2 == 0
				} else {
					d.text, ok = appendValue(d.text, v.typ, b)
				}
				if !ok {
					return false
				}
			}
			s.steps++
			if o.kind == opField {
				s.steps++
			}
			if s.text += len(d.text) - lo; s.text > d.textLeft {
				return false
			}
			d.addText(o.name, lo)
		case opNested:
			if v.typ != typeBinXML || len(b) == 0 {
				continue
			}
			if s.nested == maxNestedPrograms {
				return false
			}
			s.nested++
			if !d.run(int(v.off), int(v.off+v.size), o.in, s) {
				return false
			}
			s.nested--
		case opProvider:
			e.Provider, ok = d.repeated(&d.recent[0], v.typ, b, s)
		case opChannel:
			e.Channel, ok = d.repeated(&d.recent[1], v.typ, b, s)
		case opHost:
			e.Host, ok = d.repeated(&d.recent[2], v.typ, b, s)
		case opUser:
			e.UserSID, ok = d.repeated(&d.recent[3], v.typ, b, s)
		case opTime:
			if ok = v.typ == typeNull; !ok {
				if ok = v.typ == typeFileTime && len(b) == 8; ok {
					e.Logged, d.hasTime = fileTime(u64(b, 0)), true
				}
			}
		default:
			var x uint64
			if v.typ != typeNull {
				if x, ok = number64(v.typ, b); !ok {
					return false
				}
			}
			ok = d.setNumber(o.kind, x)
		}
		if !ok && o.kind >= opEventID {
			return false
		}
	}
	return true
}

// elementsOf adds the elements of an array as fields.
func (d *decoder) elementsOf(b []byte, typ byte, name string, s *spent) bool {
	for first := true; first || len(b) > 0; first = false {
		var elem []byte
		elem, b = nextElement(typ, b)
		lo := len(d.text)
		if len(elem) > 0 {
			var ok bool
			if d.text, ok = appendValue(d.text, typ, elem); !ok {
				return false
			}
		}
		s.steps++
		s.text += len(d.text) - lo
		if s.text > d.textLeft || len(d.fields) > d.fieldsLeft {
			return false
		}
		d.addText(name, lo)
	}
	return true
}

// addText adds a field whose value is the event's text from lo on. It writes no
// more of a pending than is read then, for it is called for nearly every field.
func (d *decoder) addText(name string, lo int) {
	n := len(d.fields)
	if n == cap(d.fields) {
		d.fields = slices.Grow(d.fields, 1)
	}
	d.fields = d.fields[:n+1]
	p := &d.fields[n]
	p.name, p.lo, p.hi = name, int32(lo), int32(len(d.text))
}

// setNumber sets a number of System and reports whether it is in range.
func (d *decoder) setNumber(kind opKind, x uint64) bool {
	e := &d.ev
	switch kind {
	case opEventID:
		e.ID = uint32(x)
		return uint64(e.ID) == x
	case opVersion:
		e.Version = uint8(x)
		return uint64(e.Version) == x
	case opLevel:
		e.Level = uint8(x)
		return uint64(e.Level) == x
	case opTask:
		e.Task = uint16(x)
		return uint64(e.Task) == x
	case opOpcode:
		e.Opcode = uint8(x)
		return uint64(e.Opcode) == x
	case opKeywords:
		e.Keywords = x
	case opRecordID:
		e.Ref.RecordID = x
	case opPID:
		e.PID = uint32(x)
		return uint64(e.PID) == x
	case opTID:
		e.TID = uint32(x)
		return uint64(e.TID) == x
	}
	return true
}

// number64 is the value of an unsigned whole number of one of the types that
// System's have.
func number64(typ byte, b []byte) (uint64, bool) {
	switch typ {
	case typeUint8, typeUint16, typeUint32, typeUint64, typeHex32, typeHex64, typeSize:
		return integer(b)
	}
	return 0, false
}

// repeated is the text of a System value, which r held before as a rule.
func (d *decoder) repeated(r *repeated, typ byte, b []byte, s *spent) (string, bool) {
	if typ == typeNull {
		return "", true
	}
	if typ != r.typ || !bytes.Equal(b, r.raw) {
		if typ&typeArray != 0 {
			return "", false
		}
		d.short = d.short[:0]
		if len(b) > 0 {
			var ok bool
			if d.short, ok = appendValue(d.short, typ, b); !ok {
				return "", false
			}
		}
		r.typ, r.raw, r.text = typ, append(r.raw[:0], b...), d.intern(d.short)
	}
	s.steps++
	s.text += len(r.text)
	return r.text, true
}
