package evtx

// What nobody reads is not decoded. Whether anybody does is asked once for every
// kind of record of a file: by provider, channel, event id and the names of its
// fields, which are those of the programs that would make them. Only records that
// a program reads, with at most one program for what is nested in it, can be left
// unread: the general way reads everything.

// recordKind is what a decision is made by.
type recordKind struct {
	program, nested   *program
	provider, channel string
	id                uint32
}

// decisions are the answers to what is read, for one file.
type decisions struct {
	read  map[recordKind]bool
	last  recordKind // that was asked for
	was   bool       // its answer
	names []string   // scratch
}

// forget drops what was decided about the records of a file.
func (d *decoder) forget() { d.decisions = decisions{names: d.decisions.names[:0]} }

// maxDecided bounds the decisions that a decoder remembers of one file.
const maxDecided = 4096

// maxNestedValues bounds how many values a program may have that may hold
// elements, for a record to be left unread.
const maxNestedValues = 4

// interesting runs the program of a record, and of its fields none if nobody
// reads them; d.unread tells that.
func (d *decoder) interesting(p *program, values []value, s *spent) bool {
	if !p.system || p.fields < 0 || len(d.fields) > 0 || len(p.nested) > maxNestedValues {
		d.selective = false
		return d.ops(p.ops, values, s)
	}
	if !d.ops(p.ops[:p.fields], values, s) {
		return false
	}
	k := recordKind{program: p, provider: d.ev.Provider, channel: d.ev.Channel, id: d.ev.ID}
	known := true
	for _, n := range p.nested {
		if v := values[n.slot]; v.typ == typeBinXML && v.size > 0 {
			known = known && k.nested == nil
			if k.nested = d.peek(v, n.in); k.nested == nil || len(k.nested.nested) > 0 {
				known = false
			}
		}
	}
	if known && !d.isRead(k) {
		for i := range p.ops[p.fields:] {
			o := &p.ops[p.fields+i]
			if (o.kind == opField || o.kind == opAttribute) && values[o.slot].typ == typeBinXML {
				return false // the general way looks into it
			}
		}
		d.unread = true
		return true
	}
	d.selective = false
	return d.ops(p.ops[p.fields:], values, s)
}

// peek returns the program that is to read what a value holds, nil if it is not
// a template that has one.
func (d *decoder) peek(v value, in place) *program {
	pos, end := int(v.off), int(v.off+v.size)
	for end-pos >= 4 && d.chunk[pos] == tokenFragment {
		pos += 4
	}
	if end-pos < 10 || d.chunk[pos] != tokenTemplate {
		return nil
	}
	t := d.templateAt(u32(d.chunk, pos+6))
	if t.err != nil || d.strictIDs && t.id != u32(d.chunk, pos+2) {
		return nil
	}
	return t.programs[in]
}

// isRead reports whether anybody reads the fields of records of that kind.
func (d *decoder) isRead(k recordKind) bool {
	c := &d.decisions
	if k == c.last {
		return c.was
	}
	read, known := c.read[k]
	if !known {
		c.names = append(c.names[:0], k.program.names...)
		if k.nested != nil {
			c.names = append(c.names, k.nested.names...)
		}
		read = d.interest(k.provider, k.channel, k.id, c.names)
		if c.read == nil {
			c.read = map[recordKind]bool{}
		}
		if len(c.read) < maxDecided {
			c.read[k] = read
		}
	}
	c.last, c.was = k, read
	return read
}
