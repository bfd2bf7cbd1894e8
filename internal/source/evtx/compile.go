package evtx

import (
	"slices"
	"strconv"
)

// A template whose elements are those of an ordinary event is compiled to a
// program: a list of operations, each of which takes one substitution value to
// one place in the event. What a program cannot express (text made of several
// parts, names that are values, groups inside values) is left to the general way
// in assemble.go, which reads every record and decides what a record means.

// opKind says what an operation does.
type opKind uint8

const (
	opField     opKind = iota // a field whose value is a substitution
	opFixed                   // a field of fixed text
	opAttribute               // a field from an attribute that is a substitution
	opFixedAttr               // a field from an attribute of fixed text
	opNested                  // elements inside a value
	opEventID                 // what follows: System
	opVersion
	opLevel
	opTask
	opOpcode
	opKeywords
	opRecordID
	opPID
	opTID
	opTime
	opProvider
	opChannel
	opHost
	opUser
	opFixedProvider
	opFixedChannel
	opFixedHost
	opFixedUser
	opFixedNumber // one of the numbers, as text
)

// op is one operation of a program.
type op struct {
	kind     opKind
	optional bool   // opField: a null leaves the field out
	in       place  // opNested
	slot     uint16 // the substitution value
	name     string // the field's name
	text     string // fixed text
	number   uint64 // opFixedNumber
	target   opKind // opFixedNumber: which number
}

// program is a compiled template. It is not changed after it was made.
type program struct {
	ops    []op
	slots  int  // how many values an instance must have
	steps  int  // nodes that the general way visits whatever the values are
	text   int  // bytes of text that it makes whatever the values are
	system bool // there is a System element
	// fields is where the operations end that System's elements have; -1 if they
	// are not all at the beginning.
	fields int
	names  []string // of the fields that it makes
	nested []nested // the values that may hold elements
}

// nested is a value that may hold elements, and the place that they stand in.
type nested struct {
	slot uint16
	in   place
}

// maxCompiledDepth bounds the nesting of elements in a program, so that nested
// programs stay below maxDepth.
const maxCompiledDepth = 12

// programs are the programs of a template by the place that an instance stands in,
// nil where it has none.
type programs [placeCount]*program

// compileAll compiles a template for the places where logs have it.
func compileAll(nodes []node) programs {
	var p programs
	if len(nodes) > 0 && nodes[0].name == nameEvent {
		p[inDocument] = compile(nodes, inDocument)
	} else {
		p[inEvent] = compile(nodes, inEvent)
		p[inUserData] = compile(nodes, inUserData)
	}
	return p
}

// compile makes a program of the nodes of a template that stands in place, nil
// if that cannot be done. It goes the way of decoder.elements, and counts what
// that counts.
func compile(nodes []node, in place) *program {
	c := compiler{nodes: nodes}
	c.ops = make([]op, 0, len(nodes)/2)
	if !c.elements(0, len(nodes), in, "", 0) {
		return nil
	}
	for c.fields < len(c.ops) && c.ops[c.fields].kind >= opEventID {
		c.fields++
	}
	if slices.ContainsFunc(c.ops[c.fields:], func(o op) bool { return o.kind >= opEventID }) {
		c.fields = -1
	}
	for _, o := range c.ops {
		switch {
		case o.kind == opNested:
			c.nested = append(c.nested, nested{o.slot, o.in})
		case o.kind < opEventID && !slices.Contains(c.names, o.name):
			c.names = append(c.names, o.name)
		}
	}
	return &c.program
}

type compiler struct {
	program
	nodes []node
	seen  [nameNamespace + 1]bool // elements and attributes of System
}

func (c *compiler) emit(o op) bool {
	c.ops = append(c.ops, o)
	return true
}

// emitSlot emits an operation on the value of a substitution.
func (c *compiler) emitSlot(o op, n *node) bool {
	o.slot = n.slot
	c.slots = max(c.slots, int(n.slot)+1)
	return c.emit(o)
}

func (c *compiler) elements(i, end int, in place, prefix string, depth int) bool {
	if depth > maxCompiledDepth {
		return false
	}
	for i < end {
		c.steps++
		n := &c.nodes[i]
		switch n.kind {
		case nodeElement:
			if !c.element(i, in, prefix, depth) {
				return false
			}
			i = int(n.end)
		case nodeSubst:
			c.emitSlot(op{kind: opNested, in: in}, n)
			i++
		default:
			i++
		}
	}
	return true
}

func (c *compiler) element(i int, in place, prefix string, depth int) bool {
	n := &c.nodes[i]
	content, end := int(n.content), int(n.end)
	switch in {
	case inDocument:
		return n.name != nameEvent || c.elements(content, end, inEvent, "", depth+1)
	case inEvent:
		switch n.name {
		case nameSystem:
			c.system = true
			return c.elements(content, end, inSystem, "", depth+1)
		case nameRenderingInfo:
			return true
		case nameEventData:
			return c.attributes(i, n.text, false) && c.elements(content, end, inEventData, "", depth+1)
		case nameUserData:
			return c.elements(content, end, inUserData, "", depth+1)
		}
		if n.leaf {
			return c.leaf(n, n.text)
		}
		return c.elements(content, end, inFields, "", depth+1)
	case inSystem:
		return c.systemElement(i)
	case inUserData:
		switch {
		case !c.attributes(i, n.text, false):
			return false
		case !n.leaf:
			return c.elements(content, end, inFields, "", depth+1)
		}
		return content == end || c.leaf(n, n.text)
	case inEventData:
		name := n.text
		if n.hasField && n.field != "" {
			name = n.field
		}
		if !n.hasField && c.attribute(i, nameName) >= 0 {
			return false // the name is a value
		}
		return c.field(i, name, true, depth)
	default:
		name := n.text
		if prefix != "" {
			c.text += len(prefix) + len(name)
			name = prefix + "_" + name
		}
		return c.field(i, name, false, depth)
	}
}

func (c *compiler) field(i int, name string, named bool, depth int) bool {
	n := &c.nodes[i]
	if n.leaf {
		return c.leaf(n, name) && c.attributes(i, name, named)
	}
	return c.attributes(i, name, named) && c.elements(int(n.content), int(n.end), inFields, name, depth+1)
}

// attribute is the index of an element's first attribute of that name, -1 if it
// has none.
func (c *compiler) attribute(i int, id nameID) int {
	for a := i + 1; a < int(c.nodes[i].content); a = int(c.nodes[a].end) {
		if c.nodes[a].name == id {
			return a
		}
	}
	return -1
}

func (c *compiler) attributes(i int, name string, named bool) bool {
	for a := i + 1; a < int(c.nodes[i].content); a = int(c.nodes[a].end) {
		c.steps++
		n := &c.nodes[a]
		if n.name == nameNamespace || named && n.name == nameName {
			continue
		}
		switch int(n.end) - a {
		case 1: // no text, no field
		case 2:
			if v := &c.nodes[a+1]; v.kind == nodeText {
				c.text += len(v.text)
				c.emit(op{kind: opFixedAttr, name: name + "_" + n.text, text: v.text})
			} else {
				c.emitSlot(op{kind: opAttribute, name: name + "_" + n.text}, v)
			}
		default:
			return false
		}
	}
	return true
}

func (c *compiler) leaf(n *node, name string) bool {
	switch int(n.end - n.content) {
	case 0:
		return c.emit(op{kind: opFixed, name: name})
	case 1:
		v := &c.nodes[n.content]
		if v.kind == nodeText {
			return c.emit(op{kind: opFixed, name: name, text: v.text})
		}
		return c.emitSlot(op{kind: opField, name: name, optional: v.optional}, v)
	}
	return false
}

func (c *compiler) systemElement(i int) bool {
	n := &c.nodes[i]
	if n.name == nameOther {
		return true
	}
	if c.seen[n.name] {
		return false // the last one would count
	}
	c.seen[n.name] = true
	content, end := int(n.content), int(n.end)
	number := func(kind opKind, i, end int) bool {
		switch {
		case i == end:
			return true
		case end-i == 1 && c.nodes[i].kind == nodeSubst:
			return c.emitSlot(op{kind: kind}, &c.nodes[i])
		case end-i == 1 && c.nodes[i].kind == nodeText && kind != opTime && c.nodes[i].text != "":
			x, err := strconv.ParseUint(c.nodes[i].text, 0, 64)
			c.text += len(c.nodes[i].text)
			return err == nil && c.emit(op{kind: opFixedNumber, target: kind, number: x})
		}
		return false
	}
	text := func(kind, fixed opKind, i, end int) bool {
		switch {
		case i == end:
			return true
		case end-i > 1:
			return false
		case c.nodes[i].kind == nodeText:
			return c.emit(op{kind: fixed, text: c.nodes[i].text})
		}
		return c.nodes[i].kind == nodeSubst && c.emitSlot(op{kind: kind}, &c.nodes[i])
	}
	attribute := func(kind, fixed opKind, id nameID) bool {
		a := c.attribute(i, id)
		return a < 0 || text(kind, fixed, a+1, int(c.nodes[a].end))
	}
	switch n.name {
	case nameProvider:
		return attribute(opProvider, opFixedProvider, nameName)
	case nameEventID:
		return number(opEventID, content, end)
	case nameVersion:
		return number(opVersion, content, end)
	case nameLevel:
		return number(opLevel, content, end)
	case nameTask:
		return number(opTask, content, end)
	case nameOpcode:
		return number(opOpcode, content, end)
	case nameKeywords:
		return number(opKeywords, content, end)
	case nameEventRecordID:
		return number(opRecordID, content, end)
	case nameChannel:
		return text(opChannel, opFixedChannel, content, end)
	case nameComputer:
		return text(opHost, opFixedHost, content, end)
	case nameSecurity:
		return attribute(opUser, opFixedUser, nameUserID)
	case nameExecution, nameTimeCreated:
		for a := i + 1; a < content; a = int(c.nodes[a].end) {
			id, kind := c.nodes[a].name, opTime
			switch {
			case n.name == nameTimeCreated && id == nameSystemTime:
			case n.name == nameExecution && id == nameProcessID:
				kind = opPID
			case n.name == nameExecution && id == nameThreadID:
				kind = opTID
			default:
				continue
			}
			if c.seen[id] {
				return false
			}
			c.seen[id] = true
			if !number(kind, a+1, int(c.nodes[a].end)) {
				return false
			}
		}
	}
	return true
}
