package evtx

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"ashiato/internal/event"
)

// Bounds on one chunk's decoding. A chunk is 64 KiB, its definitions and records
// do not overlap, and every value is used once or twice, so true logs stay far
// below; what exceeds them was made to.
const (
	maxDepth  = 64      // nesting of elements, and of binary XML inside values
	maxParse  = 1 << 20 // bytes of binary XML parsed, names included
	maxSteps  = 1 << 20 // nodes and values visited
	maxText   = 2 << 20 // bytes of text made
	maxFields = 1 << 17 // fields made
)

var errBudget = errors.New("the record expands beyond any real log's size")

// nodeKind tells what a node of a parsed fragment is.
type nodeKind uint8

const (
	nodeElement nodeKind = iota
	nodeAttribute
	nodeText
	nodeSubst
)

// node is one item of a parsed fragment. Fragments are kept in document order;
// an element's attributes come first, then its content, and end is the index
// after its last descendant.
type node struct {
	kind     nodeKind
	name     nameID // element, attribute
	optional bool   // substitution: a null removes what it stands in
	leaf     bool   // element: no element inside, as far as the definition says
	slot     uint16 // substitution
	content  int32  // element: index after its attributes
	end      int32  // element, attribute: index after its content
	text     string // element, attribute: the name; text: the characters
	// field is, for an element with a Name attribute of fixed text, that text.
	field    string
	hasField bool
}

// nameID is a name that the event schema gives a meaning, nameOther any other.
type nameID uint8

const (
	nameOther nameID = iota
	nameEvent
	nameSystem
	nameEventData
	nameUserData
	nameRenderingInfo
	nameData
	nameName
	nameProvider
	nameEventID
	nameVersion
	nameLevel
	nameTask
	nameOpcode
	nameKeywords
	nameTimeCreated
	nameSystemTime
	nameEventRecordID
	nameExecution
	nameProcessID
	nameThreadID
	nameChannel
	nameComputer
	nameSecurity
	nameUserID
	nameNamespace // xmlns and xmlns:prefix
)

var schemaNames = map[string]nameID{
	"Event": nameEvent, "System": nameSystem, "EventData": nameEventData, "UserData": nameUserData,
	"RenderingInfo": nameRenderingInfo, "Data": nameData, "Name": nameName, "Provider": nameProvider,
	"EventID": nameEventID, "Version": nameVersion, "Level": nameLevel, "Task": nameTask, "Opcode": nameOpcode,
	"Keywords": nameKeywords, "TimeCreated": nameTimeCreated, "SystemTime": nameSystemTime,
	"EventRecordID": nameEventRecordID, "Execution": nameExecution, "ProcessID": nameProcessID,
	"ThreadID": nameThreadID, "Channel": nameChannel, "Computer": nameComputer, "Security": nameSecurity,
	"UserID": nameUserID,
}

func classify(name string) nameID {
	if id, ok := schemaNames[name]; ok {
		return id
	}
	if name == "xmlns" || len(name) > 6 && name[:6] == "xmlns:" {
		return nameNamespace
	}
	return nameOther
}

type name struct {
	text string
	id   nameID
	size int // bytes in the chunk, its header and terminator included
	err  error
}

// template is a template definition of the chunk.
type template struct {
	*compiled
	nodes  []node
	parsed bool // nodes are there: not so where another chunk's form was used
	id     uint32
	at     int // offset in the chunk
	size   int // bytes in the chunk, its header included
	err    error
}

// value is one substitution value: bytes [off, off+size) of the chunk.
type value struct {
	typ       byte
	off, size int32
}

// fragment is what one piece of binary XML holds: a template with its values, or
// literal elements without values.
type fragment struct {
	nodes  []node
	values []value
}

// parser reads the binary XML of one chunk. Names are parsed once per chunk,
// where their offsets refer to, templates once per file.
type parser struct {
	chunk     []byte
	spelled   map[string]name // valid names by their bytes in a chunk
	names     map[uint32]name // what is no valid name, by its offset
	templates map[uint32]*template
	arena     []node // what fragments of this chunk are cut from
	scratch   []byte
	interned  map[string]string
	parseLeft int
	stepsLeft int
	// strictIDs demands that a template instance and its definition carry the
	// same identifier, which tells stale references of carved records.
	strictIDs bool

	shared *templates // of the file
	refs   []nameRef  // to names, by the definition being parsed
	fixed  bool       // all of these refs are of the kinds that nameRef describes
	stop   int        // where the definition being parsed ended, 0 if not after its element
}

func (p *parser) reset(chunk []byte, shared *templates) {
	p.chunk, p.shared = chunk, shared
	if p.names == nil {
		p.names, p.templates = map[uint32]name{}, map[uint32]*template{}
		p.spelled = map[string]name{}
	}
	if len(p.spelled) >= maxInterned {
		clear(p.spelled)
	}
	clear(p.names)
	clear(p.templates)
	p.arena = p.arena[:0]
	if p.interned == nil || len(p.interned) > maxInterned {
		p.interned = map[string]string{}
	}
	p.parseLeft, p.stepsLeft = maxParse, maxSteps
}

// maxInterned bounds the table of repeated strings, maxInternedText what enters
// it, in bytes.
const (
	maxInterned     = 4096
	maxInternedText = 256
)

// intern returns b as a string that is shared among events.
func (p *parser) intern(b []byte) string {
	if s, ok := p.interned[string(b)]; ok {
		return s
	}
	s := string(b)
	if len(p.interned) <= maxInterned && len(s) <= maxInternedText {
		p.interned[s] = s
	}
	return s
}

// charge takes n bytes from the parse budget.
func (p *parser) charge(n int) error {
	p.parseLeft -= n
	if p.parseLeft < 0 {
		return errBudget
	}
	return nil
}

// nameAt reads the name at a chunk offset: u32 next, u16 hash, u16 length,
// UTF-16 characters and a NUL. Every use of a name is charged, so that it does
// not matter which templates of the chunk had to be parsed; of what is no name,
// only the first.
func (p *parser) nameAt(off uint32) name {
	if uint64(off)+10 > uint64(len(p.chunk)) {
		return name{err: fmt.Errorf("name offset %d is outside the chunk", off)}
	}
	at := int(off)
	size := 10 + 2*int(u16(p.chunk, at+6))
	if size > len(p.chunk)-at {
		return name{err: fmt.Errorf("the name at chunk offset %d is cut", off)}
	}
	raw := p.chunk[at+4 : at+size]
	if len(raw) <= maxInternedText {
		if n, ok := p.spelled[string(raw)]; ok {
			if err := p.charge(size - 2); err != nil {
				return name{err: err}
			}
			return n
		}
	}
	if n, ok := p.names[off]; ok {
		return n
	}
	if err := p.charge(size - 2); err != nil {
		return name{err: err}
	}
	n := p.readName(raw)
	switch {
	case n.err != nil:
		n.err = fmt.Errorf("no name at chunk offset %d", off)
		if len(p.names) < chunkSize/8 {
			p.names[off] = n
		}
	case len(raw) <= maxInternedText && len(p.spelled) < maxInterned:
		p.spelled[string(raw)] = n
	}
	return n
}

// readName reads a name from its hash on.
func (p *parser) readName(raw []byte) name {
	le := raw[4 : len(raw)-2]
	if nameHash(le) != u16(raw, 0) || u16(raw, len(raw)-2) != 0 {
		return name{err: errNoName}
	}
	p.scratch = event.AppendUTF16(p.scratch[:0], le)
	text := p.intern(p.scratch)
	return name{text: text, id: classify(text), size: len(raw) + 4}
}

var errNoName = errors.New("no name")

// openElement is an element or attribute whose end has not been read yet.
type openElement struct {
	at       int32 // its node
	attr     int32 // its open attribute, -1 if none
	inStart  bool  // its start tag is still open
	children bool  // it holds elements
}

// parse reads elements from chunk offset pos until the end mark, the end of the
// range or, in a definition, the end of its element.
func (p *parser) parse(pos, end int, definition bool) ([]node, error) {
	used := len(p.arena)
	nodes, err := p.appendNodes(pos, end, definition, p.arena[used:])
	if used+len(nodes) <= cap(p.arena) {
		p.arena = p.arena[:used+len(nodes)]
	} else {
		p.arena = nodes // it has grown into an array of its own
	}
	return nodes[:len(nodes):len(nodes)], err
}

// appendNodes does the work of parse. Indexes in nodes count from its start.
func (p *parser) appendNodes(pos, end int, definition bool, nodes []node) ([]node, error) {
	// Elements carry a dependency id only inside definitions, says the
	// specification; forwarded logs are not of one mind, so the name that
	// follows decides.
	var stack []openElement
	if end > len(p.chunk) {
		end = len(p.chunk)
	}
	bad := func(what string) error {
		return fmt.Errorf("%s at chunk offset %d", what, pos)
	}
	need := func(n int) bool { return end-pos >= n }
	closeAttr := func() {
		if top := &stack[len(stack)-1]; top.attr >= 0 {
			nodes[top.attr].end = int32(len(nodes))
			top.attr = -1
		}
	}
	for pos < end {
		if p.stepsLeft--; p.stepsLeft < 0 {
			return nodes, errBudget
		}
		start := pos
		token := p.chunk[pos]
		switch token &^ tokenMore {
		case tokenValue, tokenCDATA, tokenCharRef, tokenEntityRef, tokenSubstitution, tokenOptional:
			if len(stack) > 0 && stack[len(stack)-1].inStart && stack[len(stack)-1].attr < 0 {
				return nodes, bad("content inside a start tag")
			}
		}
		switch token &^ tokenMore {
		case tokenEOF:
			if len(stack) > 0 {
				return nodes, bad("binary XML ends inside an element")
			}
			return nodes, nil

		case tokenOpen:
			if len(stack) > 0 {
				closeAttr()
				top := &stack[len(stack)-1]
				if top.inStart {
					return nodes, bad("element inside a start tag")
				}
				top.children = true
			}
			if len(stack) == maxDepth {
				return nodes, bad("elements are nested too deeply")
			}
			size, n, dependency, err := p.elementName(pos, end, definition)
			if err != nil {
				return nodes, err
			}
			if definition {
				if dependency {
					p.refer(pos+1, 6, n)
				} else {
					p.refer(pos+1, 4, n)
					p.fixed = false
				}
			}
			pos += size
			if token&tokenMore != 0 {
				if definition {
					p.refs[len(p.refs)-1].after = 4
				}
				if !need(4) {
					return nodes, bad("cut attribute list")
				}
				pos += 4
			}
			stack = append(stack, openElement{at: int32(len(nodes)), attr: -1, inStart: true})
			nodes = append(nodes, node{kind: nodeElement, name: n.id, text: n.text})

		case tokenAttribute:
			if len(stack) == 0 || !stack[len(stack)-1].inStart {
				return nodes, bad("attribute outside a start tag")
			}
			closeAttr()
			if !need(5) {
				return nodes, bad("cut attribute")
			}
			off := u32(p.chunk, pos+1)
			n := p.nameAt(off)
			if n.err != nil {
				return nodes, n.err
			}
			if definition {
				p.refer(pos+1, 0, n)
			}
			pos += 5
			if int(off) == pos {
				pos += n.size
			}
			stack[len(stack)-1].attr = int32(len(nodes))
			nodes = append(nodes, node{kind: nodeAttribute, name: n.id, text: n.text})

		case tokenCloseStart:
			if len(stack) == 0 || !stack[len(stack)-1].inStart {
				return nodes, bad("end of a start tag that was not open")
			}
			closeAttr()
			top := &stack[len(stack)-1]
			top.inStart = false
			nodes[top.at].content = int32(len(nodes))
			pos++

		case tokenCloseEmpty, tokenEnd:
			empty := token == tokenCloseEmpty
			if len(stack) == 0 || stack[len(stack)-1].inStart != empty {
				return nodes, bad("end of an element that was not open")
			}
			closeAttr()
			top := stack[len(stack)-1]
			stack = stack[:len(stack)-1]
			el := &nodes[top.at]
			el.end = int32(len(nodes))
			if empty {
				el.content = el.end
			}
			el.leaf = !top.children
			el.field, el.hasField = fixedName(nodes, int(top.at))
			pos++
			if definition && len(stack) == 0 {
				p.stop = pos
				return nodes, nil
			}

		case tokenValue:
			if !need(2) {
				return nodes, bad("cut value")
			}
			typ := p.chunk[pos+1]
			pos += 2
			n := elementSize(typ)
			if typ == typeString || typ == typeAnsi || n == 0 {
				if !need(2) {
					return nodes, bad("cut value")
				}
				n = int(u16(p.chunk, pos))
				if typ == typeString {
					n *= 2
				}
				pos += 2
			}
			if !need(n) {
				return nodes, bad("cut value")
			}
			if err := p.charge(n); err != nil {
				return nodes, err
			}
			var ok bool
			p.scratch, ok = appendValue(p.scratch[:0], typ, p.chunk[pos:pos+n])
			if !ok {
				return nodes, bad(fmt.Sprintf("literal value of unknown type 0x%02x", typ))
			}
			nodes = append(nodes, node{kind: nodeText, text: p.intern(p.scratch)})
			pos += n

		case tokenCDATA, tokenPIData:
			if !need(3) {
				return nodes, bad("cut character data")
			}
			n := 2 * int(u16(p.chunk, pos+1))
			pos += 3
			if !need(n) {
				return nodes, bad("cut character data")
			}
			if err := p.charge(n); err != nil {
				return nodes, err
			}
			if token&^tokenMore == tokenCDATA {
				text := event.AppendUTF16(nil, p.chunk[pos:pos+n])
				nodes = append(nodes, node{kind: nodeText, text: string(text)})
			}
			pos += n

		case tokenCharRef:
			if !need(3) {
				return nodes, bad("cut character reference")
			}
			text := event.AppendUTF16(nil, p.chunk[pos+1:pos+3])
			nodes = append(nodes, node{kind: nodeText, text: string(text)})
			pos += 3

		case tokenEntityRef, tokenPITarget:
			if !need(5) {
				return nodes, bad("cut reference")
			}
			off := u32(p.chunk, pos+1)
			n := p.nameAt(off)
			if n.err != nil {
				return nodes, n.err
			}
			p.fixed = false
			pos += 5
			if int(off) == pos {
				pos += n.size
			}
			if token&^tokenMore == tokenEntityRef {
				nodes = append(nodes, node{kind: nodeText, text: entity(n.text)})
			}

		case tokenSubstitution, tokenOptional:
			if !need(4) {
				return nodes, bad("cut substitution")
			}
			nodes = append(nodes, node{
				kind: nodeSubst, slot: u16(p.chunk, pos+1),
				optional: token&^tokenMore == tokenOptional,
			})
			pos += 4

		case tokenFragment:
			if len(stack) > 0 || !need(4) {
				return nodes, bad("misplaced fragment header")
			}
			pos += 4

		default:
			return nodes, bad(fmt.Sprintf("unknown binary XML token 0x%02x", token))
		}
		if pos > end {
			return nodes, fmt.Errorf("binary XML token at chunk offset %d reaches beyond its end", start)
		}
		if err := p.charge(pos - start); err != nil {
			return nodes, err
		}
	}
	if len(stack) > 0 {
		return nodes, bad("binary XML ends inside an element")
	}
	return nodes, nil
}

// elementName reads an element's start up to its name and returns how many bytes
// that takes, the inline name included, and whether there is a dependency id.
func (p *parser) elementName(pos, end int, dependency bool) (int, name, bool, error) {
	var first error
	for _, dep := range [2]bool{dependency, !dependency} {
		head := 9 // token, size, name offset
		if dep {
			head = 11
		}
		if end-pos < head {
			if first == nil {
				first = fmt.Errorf("cut element at chunk offset %d", pos)
			}
			continue
		}
		off := u32(p.chunk, pos+head-4)
		n := p.nameAt(off)
		if n.err != nil {
			if first == nil {
				first = n.err
			}
			continue
		}
		if int(off) == pos+head {
			head += n.size
		}
		return head, n, dep, nil
	}
	return 0, name{}, false, first
}

// fixedName returns an element's Name attribute if its text is fixed.
func fixedName(nodes []node, at int) (string, bool) {
	for i := at + 1; i < int(nodes[at].content); i = int(nodes[i].end) {
		if nodes[i].name != nameName {
			continue
		}
		switch int(nodes[i].end) - i {
		case 1:
			return "", true
		case 2:
			if nodes[i+1].kind == nodeText {
				return nodes[i+1].text, true
			}
		}
		return "", false
	}
	return "", false
}

// entity is the text of a named XML entity; one that XML does not define stays
// as it was written.
func entity(name string) string {
	switch name {
	case "amp":
		return "&"
	case "lt":
		return "<"
	case "gt":
		return ">"
	case "quot":
		return `"`
	case "apos":
		return "'"
	}
	return "&" + name + ";"
}

// fragmentAt reads the binary XML in [pos, end): a fragment header, then a
// template instance or elements. values is scratch to append to.
func (p *parser) fragmentAt(pos, end int, values []value) (fragment, []value, error) {
	for end-pos >= 4 && p.chunk[pos] == tokenFragment {
		pos += 4
	}
	if pos >= end {
		return fragment{}, values, fmt.Errorf("no binary XML at chunk offset %d", pos)
	}
	if p.chunk[pos] == tokenTemplate {
		return p.instance(pos, end, values)
	}
	nodes, err := p.parse(pos, end, false)
	return fragment{nodes: nodes}, values, err
}

// instance reads a template instance: token, u8, u32 template id, u32 definition
// offset, the definition itself if it is here, u32 count, then per value u16
// size, u8 type, u8 padding, then the values.
func (p *parser) instance(pos, end int, values []value) (fragment, []value, error) {
	cut := func() (fragment, []value, error) {
		return fragment{}, values, fmt.Errorf("cut template instance at chunk offset %d", pos)
	}
	if end-pos < 10 {
		return cut()
	}
	id, off := u32(p.chunk, pos+2), u32(p.chunk, pos+6)
	t := p.templateAt(off)
	if t.err != nil {
		return fragment{}, values, t.err
	}
	if p.strictIDs && t.id != id {
		return fragment{}, values, fmt.Errorf("template %08x at chunk offset %d is not the one referred to (%08x)", t.id, off, id)
	}
	at := pos + 10
	if int(off) == at {
		at += t.size
	}
	if end-at < 4 {
		return cut()
	}
	count := int(u32(p.chunk, at))
	at += 4
	if count < 0 || count > (end-at)/4 {
		return fragment{}, values, fmt.Errorf("template instance at chunk offset %d claims %d values", pos, count)
	}
	if p.stepsLeft -= count; p.stepsLeft < 0 {
		return fragment{}, values, errBudget
	}
	data := at + 4*count
	base := len(values)
	for i := range count {
		d := at + 4*i
		size := int(u16(p.chunk, d))
		if size > end-data {
			return fragment{}, values, fmt.Errorf("value %d at chunk offset %d is cut", i, data)
		}
		values = append(values, value{typ: p.chunk[d+2], off: int32(data), size: int32(size)})
		data += size
	}
	return fragment{nodes: p.nodesOf(t), values: values[base:len(values):len(values)]}, values, nil
}

// refer notes that the definition being parsed refers to a name.
func (p *parser) refer(at, before int, n name) {
	off := int(u32(p.chunk, at+before))
	r := nameRef{at: at, before: before, name: p.chunk[off+4 : off+n.size]}
	if off == at+before+4 {
		r.inline = n.size
	}
	p.refs = append(p.refs, r)
}

// templateAt finds the template definition at a chunk offset: u32 next, 16 bytes
// GUID of which the first four are the id, u32 size, binary XML.
func (p *parser) templateAt(off uint32) *template {
	if t := p.templates[off]; t != nil {
		return t
	}
	t := p.readTemplate(off)
	if len(p.templates) < chunkSize/minRecord {
		p.templates[off] = t
	}
	return t
}

func (p *parser) readTemplate(off uint32) *template {
	if uint64(off)+24 > uint64(len(p.chunk)) {
		return &template{err: fmt.Errorf("template offset %d is outside the chunk", off)}
	}
	at := int(off)
	size := u32(p.chunk, at+20)
	if uint64(size) > uint64(len(p.chunk)-at-24) {
		return &template{err: fmt.Errorf("the template at chunk offset %d is cut", off)}
	}
	t := &template{id: u32(p.chunk, at+4), at: at, size: 24 + int(size)}
	guid := [16]byte(p.chunk[at+4 : at+20])
	// What a template of another chunk took from the budgets is taken here too,
	// so that a chunk's events do not depend on which chunk came first. Where
	// that is more than is left, parsing will find so.
	if c, n := p.shared.find(guid, p.chunk, at+24, at+t.size); c != nil && c.steps <= p.stepsLeft && c.names+n <= p.parseLeft {
		p.stepsLeft -= c.steps
		p.parseLeft -= c.names + n
		t.compiled = c
		return t
	}
	steps, left := p.stepsLeft, p.parseLeft
	p.parseDefinition(t)
	if t.err != nil {
		return t
	}
	t.compiled = &compiled{programs: compileAll(t.nodes), steps: steps - p.stepsLeft}
	if p.stop > 0 && p.fixed {
		start := at + 24
		t.definition = bytes.Clone(p.chunk[start:p.stop])
		t.names = left - p.parseLeft - len(t.definition)
		t.refs = slices.Clone(p.refs)
		size := 0
		for i := range t.refs {
			size += len(t.refs[i].name)
		}
		names := make([]byte, 0, size)
		for i := range t.refs {
			r := &t.refs[i]
			r.at -= start
			names = append(names, r.name...)
			r.name = names[len(names)-len(r.name):]
		}
		p.shared.add(guid, t.compiled)
	}
	return t
}

// parseDefinition parses the binary XML of a definition.
func (p *parser) parseDefinition(t *template) {
	p.refs, p.fixed, p.stop = p.refs[:0], true, 0
	t.nodes, t.err = p.parse(t.at+24, t.at+t.size, true)
	t.parsed = true
}

// nodesOf returns the nodes of a template without error, which the general way
// needs where another chunk's program has been enough so far.
func (p *parser) nodesOf(t *template) []node {
	if !t.parsed {
		steps, left := p.stepsLeft, p.parseLeft // have been taken already
		p.stepsLeft, p.parseLeft = maxSteps, maxParse
		p.parseDefinition(t)
		p.stepsLeft, p.parseLeft = steps, left
	}
	return t.nodes
}
