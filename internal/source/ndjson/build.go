package ndjson

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"ashiato/internal/event"
	"ashiato/internal/source/xmlevent"
)

var (
	errNoEvent = errors.New("a JSON object that is no Windows event record")
	// errFraming: an object that belongs to the container, not a record.
	errFraming = errors.New("container object")
)

const (
	// maxInterned bounds the tables of repeated values and joined names.
	maxInterned = 4096
	// maxJoined bounds, for one record, the names made by joining others: a
	// long one around many short ones would otherwise multiply.
	maxJoined = 1 << 20
)

// pending is a field whose value is text[lo:hi] of the builder.
type pending struct {
	name   string
	lo, hi int
}

// builder turns parsed objects into events. It is used again for each.
type builder struct {
	doc      document
	text     []byte // the values of the current event's fields, one after another
	fields   []pending
	path     []byte // of join and walk
	scratch  []byte
	interned map[string]string
	recent   [systemNames]string // the last value of each System field that is text

	ev       event.Event // all but the fields gathered above
	joined   int         // bytes of joined names
	recordID uint64
	hasID    bool
	message  int // node of the rendered message, or -1
	logged   stamp
}

// build returns the event of the parsed object i. It takes two allocations, one
// for the event with its fields and one for their text; no two events share one,
// so that an event kept for long keeps nothing else alive.
func (b *builder) build(i int) (*event.Event, error) {
	if int(b.doc.nodes[i].next) == i+1 { // no members
		return nil, errNoEvent
	}
	b.text, b.fields, b.joined = b.text[:0], b.fields[:0], 0
	b.recordID, b.hasID, b.message, b.logged = 0, false, -1, stamp{}
	b.ev = event.Event{}
	if b.interned == nil || len(b.interned) > maxInterned {
		b.interned = map[string]string{}
	}
	if err := b.shape(i); err != nil {
		return nil, err
	}
	if !b.hasID {
		return nil, fmt.Errorf("%w: its event id is no number", errNoEvent)
	}
	if len(b.fields) == 0 && b.message >= 0 && len(b.ev.Data) == 0 {
		b.field("Message", b.message)
	}
	e := event.New(len(b.fields) + len(b.ev.Data))
	data := e.Data
	*e = b.ev
	if len(b.fields) > 0 {
		text := string(b.text)
		for i, p := range b.fields {
			data[i] = event.Field{Name: p.name, Value: text[p.lo:p.hi]}
		}
	}
	copy(data[len(b.fields):], b.ev.Data)
	e.Data = data
	if b.logged.ok {
		e.Logged = b.logged.t
	} else if e.Logged.IsZero() {
		e.Flags |= event.Partial
	}
	e.Time = e.Logged
	return e, nil
}

// shape finds out how object i holds its record and reads it.
func (b *builder) shape(i int) error {
	for range 4 { // containers around the record
		var (
			tree, system, inner = -1, -1, -1
			beat, oldBeat, flat bool
			syslog              = -1
			members             int
			framing             bool
			has                 flatSet
		)
		for j := i + 1; j < int(b.doc.nodes[i].next); j = int(b.doc.nodes[j].next) {
			members++
			isObject := b.doc.nodes[j].kind == object
			name := b.doc.name(j)
			has |= 1 << name.flat
			switch name.shape {
			case shapeEvent:
				if isObject && b.doc.child(j, "System") >= 0 {
					tree = j
				}
			case shapeSystem:
				if isObject {
					system = j
				}
			case shapeInner:
				if isObject && inner < 0 {
					inner = j
				}
			case shapeWinlog:
				beat = beat || isObject
			case shapeDottedWinlog:
				beat = true
			case shapeOldBeat:
				oldBeat = true
			case shapeFlat:
				flat = true
			case shapeSyslog:
				syslog = j
			case shapeOwn:
				b.ownFlags(j)
			case shapeFraming:
				framing = isObject
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
			return b.flat(i, has)
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
func (b *builder) elements(i int) int {
	list, best := -1, len(wrappers)
	for j := i + 1; j < int(b.doc.nodes[i].next); j = int(b.doc.nodes[j].next) {
		rank := slices.Index(wrappers[:best], b.doc.name(j).text) // the first of equal names counts
		if rank < 0 {
			continue
		}
		at := j
		if rank == 0 {
			at = b.doc.child(j, "hits")
		}
		if at >= 0 {
			list, best = at, rank
		}
	}
	if list < 0 || b.doc.nodes[list].kind != array {
		return -1
	}
	return list
}

// wrappers are the names that lists of records have, the first one found
// counting; "hits" is an object around another "hits".
var wrappers = []string{"hits", "Events", "events", "Records", "records", "results", "value", "data"}

// syslog reads a record that is XML in the message, as Sysmon for Linux logs.
func (b *builder) syslog(i int) error {
	b.scratch = b.doc.appendText(b.scratch[:0], i)
	if !xmlevent.Sniff(b.scratch) {
		return errNoEvent
	}
	e, recordID, err := xmlevent.Parse(b.scratch)
	if err != nil {
		return fmt.Errorf("the XML in its message: %w", err)
	}
	b.ev, b.recordID, b.hasID = *e, recordID, true
	b.logged = stamp{t: e.Logged, ok: !e.Logged.IsZero()}
	return nil
}

// scalar returns the node that holds the one value of node i: of an object its
// text, of an array its first element. It returns -1 if there is none.
func (b *builder) scalar(i int) int {
	if i >= 0 && b.doc.nodes[i].kind.isScalar() {
		return i
	}
	return b.scalarIn(i)
}

func (b *builder) scalarIn(i int) int {
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
// or -1: of "#attributes", else with an @ before it, else as it is.
func (b *builder) attribute(i int, name string) int {
	if i < 0 || b.doc.nodes[i].kind != object {
		return -1
	}
	inside, marked, bare := -1, -1, -1
	first := true
	for j := i + 1; j < int(b.doc.nodes[i].next); j = int(b.doc.nodes[j].next) {
		switch text := b.doc.name(j).text; {
		case text == "#attributes" && first:
			first, inside = false, b.doc.child(j, name)
		case text == name && bare < 0:
			bare = j
		case marked < 0 && len(text) == len(name)+1 && text[0] == '@' && text[1:] == name:
			marked = j
		}
	}
	switch {
	case inside >= 0:
		return inside
	case marked >= 0:
		return marked
	}
	return bare
}

// bytes returns the text of scalar node i, valid until the next call.
func (b *builder) bytes(i int) []byte {
	if !b.doc.nodes[i].escaped {
		n := &b.doc.nodes[i]
		return b.doc.text[n.from:n.to]
	}
	b.scratch = b.doc.appendText(b.scratch[:0], i)
	return b.scratch
}

func (b *builder) intern(s []byte) string {
	if v, ok := b.interned[string(s)]; ok {
		return v
	}
	v := string(s)
	if len(v) <= 256 && len(b.interned) <= maxInterned {
		b.interned[v] = v
	}
	return v
}

// setText stores the text of node i in *dst, the System field called name, if
// there is any and *dst is empty.
func (b *builder) setText(name systemName, dst *string, i int) {
	if i = b.scalar(i); i < 0 || *dst != "" {
		return
	}
	s := b.bytes(i)
	if string(s) != b.recent[name] {
		b.recent[name] = b.intern(s)
	}
	*dst = b.recent[name]
}

// number reads node i as an integer that fits in bits: decimal, hexadecimal with
// 0x, or negative for an unsigned 64-bit value that was written as signed.
func (b *builder) number(i, bits int) (uint64, bool) {
	if i = b.scalar(i); i < 0 {
		return 0, false
	}
	s := b.bytes(i)
	v, ok := decimal(s)
	if ok {
		return v, v>>bits == 0
	}
	switch s = bytes.TrimSpace(s); {
	case len(s) > 2 && s[0] == '0' && s[1]|0x20 == 'x':
		v, ok = integer(s[2:], 16)
	case len(s) > 1 && s[0] == '-' && bits == 64:
		v, ok = integer(s[1:], 10)
		v, ok = -v, ok && v <= 1<<63
	default:
		v, ok = integer(s, 10)
	}
	return v, ok && v>>bits == 0
}

// decimal reads up to 19 digits and nothing else, as most numbers are written.
func decimal(s []byte) (v uint64, ok bool) {
	for _, c := range s {
		if c < '0' || c > '9' {
			return 0, false
		}
		v = 10*v + uint64(c-'0')
	}
	return v, 0 < len(s) && len(s) < 20
}

// integer reads digits of a base and nothing else. It is strconv.ParseUint
// without an error to allocate: what is no number is often a word.
func integer(s []byte, base uint64) (v uint64, ok bool) {
	most := uint64(math.MaxUint64)/base + 1 // times base is too much
	for _, c := range s {
		d, ok := hexDigit(c)
		next := v*base + uint64(d)
		if !ok || uint64(d) >= base || v >= most || next < v {
			return 0, false
		}
		v = next
	}
	return v, len(s) > 0
}

// system sets a System field from node i. It reports false, and leaves the field,
// if the node does not hold its type.
func (b *builder) system(name systemName, i int) bool {
	e := &b.ev
	var v uint64
	ok := true
	switch name {
	case eventID:
		if v, ok = b.number(i, 32); ok {
			e.ID, b.hasID = uint32(v), true
		}
	case version:
		if v, ok = b.number(i, 8); ok {
			e.Version = uint8(v)
		}
	case level:
		if v, ok = b.number(i, 8); !ok {
			v, ok = b.word(i, levels)
		}
		if ok {
			e.Level = uint8(v)
		}
	case opcode:
		if v, ok = b.number(i, 8); !ok {
			v, ok = b.word(i, opcodes)
		}
		if ok {
			e.Opcode = uint8(v)
		}
	case task:
		if v, ok = b.number(i, 16); ok {
			e.Task = uint16(v)
		}
	case keywords:
		if v, ok = b.number(i, 64); !ok {
			v, ok = b.keywords(i)
		}
		if ok {
			e.Keywords = v
		}
	case eventRecordID:
		if v, ok = b.number(i, 64); ok {
			b.recordID = v
		}
	case processID:
		if v, ok = b.number(i, 32); ok {
			e.PID = uint32(v)
		}
	case threadID:
		if v, ok = b.number(i, 32); ok {
			e.TID = uint32(v)
		}
	case userID:
		b.setText(name, &e.UserSID, i)
	case channel:
		b.setText(name, &e.Channel, i)
	case computer:
		b.setText(name, &e.Host, i)
	case provider:
		b.setText(name, &e.Provider, i)
	}
	return ok
}

// strict sets a System field whose value can only be that: what cannot be read
// marks the event.
func (b *builder) strict(name systemName, i int) {
	if b.scalar(i) >= 0 && !b.system(name, i) {
		b.ev.Flags |= event.Partial
	}
}

// The names that Windows gives the standard levels, opcodes and keywords in
// English (winmeta.xml); shippers write them instead of the numbers.
var (
	levels = map[string]uint64{
		"Critical": 1, "Error": 2, "Warning": 3, "Information": 4, "Verbose": 5,
		"critical": 1, "error": 2, "warning": 3, "information": 4, "verbose": 5, "info": 4,
	}
	opcodes = map[string]uint64{
		"Info": 0, "Start": 1, "Stop": 2, "DCStart": 3, "DCStop": 4, "Extension": 5,
		"Reply": 6, "Resume": 7, "Suspend": 8, "Send": 9, "Receive": 240,
	}
	keywordBits = map[string]uint64{
		"Response Time": 1 << 48, "WDI Context": 1 << 49, "WDI Diag": 1 << 50, "SQM": 1 << 51,
		"Audit Failure": 1 << 52, "Audit Success": 1 << 53, "Correlation Hint": 1 << 54, "Classic": 1 << 55,
	}
)

func (b *builder) word(i int, table map[string]uint64) (uint64, bool) {
	if i = b.scalar(i); i < 0 {
		return 0, false
	}
	v, ok := table[string(b.bytes(i))]
	return v, ok
}

// keywords reads a list of keyword names. Names of the provider's own keywords
// are left out.
func (b *builder) keywords(i int) (uint64, bool) {
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

func (b *builder) stamp(i int) stamp {
	if i = b.scalar(i); i < 0 {
		return stamp{}
	}
	return parseStamp(bytes.TrimSpace(b.bytes(i)))
}

// field adds node i as a field: a scalar as its text, an array as one field per
// element, an object as one field per member with the names joined by an
// underscore. Null is no field.
func (b *builder) field(name string, i int) {
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
func (b *builder) group(prefix string, i int) {
	for j := i + 1; j < int(b.doc.nodes[i].next); j = int(b.doc.nodes[j].next) {
		name := b.doc.name(j)
		base, isAttributes := strings.CutSuffix(name.text, "_attributes")
		switch {
		case name.plain:
			b.field(b.join(prefix, name.text), j)
		case name.text == "#text":
			if prefix != "" {
				b.field(prefix, j)
			}
		case name.text == "#attributes":
			b.attributes(prefix, j)
		case isAttributes && base != "" && b.doc.nodes[j].kind == object:
			b.attributes(b.join(prefix, base), j)
		case len(name.text) > 1 && name.text[0] == '@':
			if !isNamespace(name.text[1:]) {
				b.field(b.join(prefix, name.text[1:]), j)
			}
		default:
			b.field(b.join(prefix, name.text), j)
		}
	}
}

func (b *builder) attributes(prefix string, i int) {
	if b.doc.nodes[i].kind != object {
		return
	}
	for j := i + 1; j < int(b.doc.nodes[i].next); j = int(b.doc.nodes[j].next) {
		if name := b.doc.name(j).text; !isNamespace(name) {
			b.field(b.join(prefix, name), j)
		}
	}
}

func isNamespace(attribute string) bool {
	return attribute == "xmlns" || strings.HasPrefix(attribute, "xmlns:")
}

// admit counts n bytes of a joined name. Where there are too many, the name
// inside has to stand alone.
func (b *builder) admit(n int) bool {
	if b.joined += n; b.joined > maxJoined {
		b.ev.Flags |= event.Partial
		return false
	}
	return true
}

func (b *builder) join(prefix, name string) string {
	if prefix == "" || !b.admit(len(prefix)+len(name)) {
		return name
	}
	b.path = append(append(append(b.path[:0], prefix...), '_'), name...)
	return b.intern(b.path)
}

// tree reads {"System":…,"EventData":…}: the XML as JSON.
func (b *builder) tree(i int) {
	for j := i + 1; j < int(b.doc.nodes[i].next); j = int(b.doc.nodes[j].next) {
		isObject := b.doc.nodes[j].kind == object
		switch name := b.doc.name(j); name.tree {
		case treeSystem:
			b.treeSystem(j)
		case treeEventData:
			if isObject {
				b.eventData(j)
			} else {
				b.field("Data", j)
			}
		case treeEventDataAttributes:
			b.attributes("EventData", j)
		case treeUserData:
			b.userData(j)
		case treeIgnored:
		case treeMessage:
			b.message = j
		default: // ProcessingErrorData, DebugData, …
			if isObject && name.text != "" && name.text[0] != '@' {
				b.group("", j)
			}
		}
	}
}

func (b *builder) treeSystem(i int) {
	for j := i + 1; j < int(b.doc.nodes[i].next); j = int(b.doc.nodes[j].next) {
		switch name := b.doc.name(j); name.system {
		case noSystem:
		case providerElement:
			b.strict(provider, b.attribute(j, "Name"))
			b.strict(provider, b.attribute(j, "EventSourceName"))
		case timeElement:
			if s := b.stamp(b.attribute(j, "SystemTime")); s.ok {
				b.logged = s
			} else if s := b.stamp(j); s.ok {
				b.logged = s
			}
		case executionElement:
			b.strict(processID, b.attribute(j, "ProcessID"))
			b.strict(threadID, b.attribute(j, "ThreadID"))
		case securityElement:
			b.strict(userID, b.attribute(j, "UserID"))
			b.strict(userID, b.attribute(j, "UserId")) // Sysmon for Linux
		default:
			b.strict(name.system, j)
		}
	}
}

// eventData reads the EventData object, whose Data member may be a list of
// unnamed values or of elements with a Name.
func (b *builder) eventData(i int) {
	for j := i + 1; j < int(b.doc.nodes[i].next); j = int(b.doc.nodes[j].next) {
		name := b.doc.name(j)
		switch {
		case name.plain:
			b.field(name.text, j)
		case name.text == "Data":
			b.data(j)
		case name.text == "#attributes":
			b.attributes("EventData", j)
		case name.text == "#text":
			b.field("Data", j)
		case name.text == "" || name.text[0] != '@' || !isNamespace(name.text[1:]):
			b.member(j)
		}
	}
}

// member adds one member of EventData.
func (b *builder) member(j int) {
	name := b.doc.name(j).text
	if base, ok := strings.CutSuffix(name, "_attributes"); ok && base != "" && b.doc.nodes[j].kind == object {
		b.attributes(base, j)
		return
	}
	b.field(name, j)
}

func (b *builder) data(i int) {
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
			for _, key := range [...]string{"#text", "text", "Value", "content"} {
				if text < 0 {
					text = b.doc.child(i, key)
				}
			}
			field := b.intern(b.bytes(s))
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
func (b *builder) userData(i int) {
	if b.doc.nodes[i].kind != object {
		b.field("UserData", i)
		return
	}
	for j := i + 1; j < int(b.doc.nodes[i].next); j = int(b.doc.nodes[j].next) {
		name := b.doc.name(j).text
		base, isAttributes := strings.CutSuffix(name, "_attributes")
		switch {
		case name == "#attributes" || name != "" && name[0] == '@':
		case b.doc.nodes[j].kind != object:
			b.field(name, j)
		case isAttributes:
			b.attributes(base, j)
		default:
			if a := b.doc.child(j, "#attributes"); a >= 0 {
				b.attributes(name, a)
			}
			b.wrapped(name, j)
		}
	}
}

// wrapped adds the members of a wrapper in UserData except its attributes.
func (b *builder) wrapped(wrapper string, i int) {
	for j := i + 1; j < int(b.doc.nodes[i].next); j = int(b.doc.nodes[j].next) {
		switch name := b.doc.name(j).text; {
		case name == "#attributes":
		case name == "#text":
			b.field(wrapper, j)
		case len(name) > 1 && name[0] == '@':
			if !isNamespace(name[1:]) {
				b.field(b.join(wrapper, name[1:]), j)
			}
		default:
			b.member(j)
		}
	}
}

// beatRecord is what a beat's record says besides its event's fields.
type beatRecord struct {
	old                bool // of version 6 and before: everything is at the top
	timestamp, created stamp
	hostName           int // node, or -1
}

// beat reads the records of winlogbeat and Elastic Agent: everything under
// "winlog", or in version 6 and before at the top. Names may be nested objects,
// dotted, or both.
func (b *builder) beat(i int, old bool) {
	r := beatRecord{old: old, hostName: -1}
	b.path = b.walk(&r, i, b.path[:0])
	b.logged = r.timestamp
	if r.created.ok {
		b.logged = r.created
	}
	if b.ev.Host == "" && r.hostName >= 0 {
		b.setText(computer, &b.ev.Host, r.hostName)
	}
}

// walk reads every value under object i. path is the names on the way to i,
// joined by dots; walk returns it, perhaps grown.
func (b *builder) walk(r *beatRecord, i int, path []byte) []byte {
	rest, in := r.inside(path)
	// Most fields are right inside these two.
	fields, user := in && string(rest) == "event_data", in && string(rest) == "user_data"
	for j := i + 1; j < int(b.doc.nodes[i].next); j = int(b.doc.nodes[j].next) {
		name := b.doc.name(j).text
		isObject := b.doc.nodes[j].kind == object
		if !isObject && (fields || user) {
			if fields || name != "xml_name" {
				b.field(name, j)
			}
			continue
		}
		at := path
		if len(at) > 0 {
			at = append(at, '.')
		}
		at = append(at, name...)
		if !isObject {
			b.beatValue(r, at, name, j)
		} else if r.leads(at) {
			at = b.walk(r, j, at)
		}
		path = at[:len(path)]
	}
	return path
}

// inside returns the path without what is around the event's own part, and
// whether it is there.
func (r *beatRecord) inside(path []byte) ([]byte, bool) {
	if r.old {
		return path, true
	}
	return bytes.CutPrefix(path, []byte("winlog."))
}

// leads reports whether a value inside the object at path may mean something.
func (r *beatRecord) leads(path []byte) bool {
	switch string(path) {
	case "", "winlog", "log", "host":
		return true
	}
	rest, in := r.inside(path)
	if !in {
		return false
	}
	first, _, _ := bytes.Cut(rest, []byte{'.'})
	switch string(first) {
	case "event_data", "user_data", "process", "user":
		return true
	}
	return false
}

// beatValue reads value j at path, of which name is the last part.
func (b *builder) beatValue(r *beatRecord, path []byte, name string, j int) {
	if rest, in := r.inside(path); in {
		if field, ok := bytes.CutPrefix(rest, []byte("event_data.")); ok {
			b.field(b.inner(field, name), j)
			return
		}
		if field, ok := bytes.CutPrefix(rest, []byte("user_data.")); ok {
			if string(field) != "xml_name" {
				b.field(b.inner(field, name), j)
			}
			return
		}
		switch string(rest) {
		case "event_id":
			b.strict(eventID, j)
		case "channel", "log_name":
			b.strict(channel, j)
		case "computer_name":
			b.strict(computer, j)
		case "provider_name", "source_name":
			b.strict(provider, j)
		case "record_id", "record_number":
			b.strict(eventRecordID, j)
		case "process.pid", "process_id":
			b.strict(processID, j)
		case "process.thread.id", "thread_id":
			b.strict(threadID, j)
		case "user.identifier":
			b.strict(userID, j)
		case "version":
			b.strict(version, j)
		case "time_created":
			r.created = b.stamp(j)
		// These are words in the language of the machine; what is unknown is
		// no damage.
		case "task":
			b.system(task, j)
		case "opcode":
			b.system(opcode, j)
		case "level":
			b.system(level, j)
		case "keywords":
			b.system(keywords, j)
		}
	}
	switch string(path) {
	case "@timestamp":
		r.timestamp = b.stamp(j)
	case "message":
		b.message = j
	case "log.level":
		if b.ev.Level == 0 {
			b.system(level, j)
		}
	case "host.name":
		r.hostName = j
	}
}

// inner returns the name of a field whose path ends in name.
func (b *builder) inner(path []byte, name string) string {
	if len(path) > len(name) && !b.admit(len(path)) {
		return name
	}
	return b.intern(path)
}

// flat reads records whose System and EventData names are members of one object,
// as NXLog, PowerShell and Log Analytics write them. has holds what they are.
func (b *builder) flat(i int, has flatSet) error {
	var (
		timestamp, local, wall stamp
		nxUser                 = has.has(flatAccountType)
		analytics              = has.has(flatTenant)
		getWinEvent            = has.has(flatProperties)
		severity               = -1
		audit                  bool
	)
	for j := i + 1; j < int(b.doc.nodes[i].next); j = int(b.doc.nodes[j].next) {
		name := b.doc.name(j)
		keep := false // whether it is a field of the event
		switch name.flat {
		case flatField:
			keep = true
		case flatEventID:
			keep = !b.system(eventID, j)
		case flatID:
			keep = b.hasID || !b.system(eventID, j)
		case flatChannel:
			keep = b.ev.Channel != ""
			b.system(channel, j)
		case flatComputer:
			keep = b.ev.Host != ""
			b.system(computer, j)
		case flatProvider:
			keep = b.ev.Provider != ""
			b.system(provider, j)
		case flatVersion, flatLevel, flatTask:
			keep = !b.system(name.system, j)
		case flatKeywords:
			b.system(keywords, j)
		case flatOpcodeValue:
			keep = !b.system(opcode, j)
		case flatOpcode:
			b.system(opcode, j)
		case flatRecordID:
			keep = !b.system(eventRecordID, j)
		case flatExecution:
			keep = !b.system(processID, j)
		case flatThread:
			keep = !b.system(threadID, j)
		case flatProcessID:
			keep = !getWinEvent || !b.system(processID, j)
		case flatThreadID:
			keep = !getWinEvent || !b.system(threadID, j)
		case flatUserID:
			if s := b.scalar(j); s >= 0 && bytes.HasPrefix(b.bytes(s), []byte("S-1-")) {
				b.system(userID, j)
			} else {
				keep = true
			}
		case flatEventType:
			s := b.scalar(j)
			if s >= 0 {
				keep = !isSeverity(string(b.bytes(s)))
				audit = audit || bytes.HasPrefix(b.bytes(s), []byte("AUDIT_"))
			}
		case flatSeverity:
			severity = j
		case flatTimestamp:
			if s := b.stamp(j); s.ok && !timestamp.ok {
				timestamp = s
			}
		case flatTime:
			if s := b.stamp(j); s.ok && (!local.ok || s.zoned && !local.zoned) {
				local = s
			} else {
				keep = !s.ok
			}
		case flatReceived:
			wall = b.stamp(j)
		case flatMessage:
			b.message = j
		case flatEventData:
			keep = !b.xmlData(j)
		case flatProperties:
			b.properties(j)
		case flatAccount:
			keep = !nxUser
		case flatAnalytics:
			keep = !analytics
		case flatAccountType, flatTenant, flatShipper:
		}
		if keep && analytics {
			if s := b.scalar(j); s >= 0 && b.doc.nodes[s].from == b.doc.nodes[s].to {
				keep = false // a column of the table that this record does not use
			}
		}
		if keep {
			b.field(name.text, j)
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

// isSeverity reports whether an EventType is NXLog's and not the event's own.
func isSeverity(s string) bool {
	switch s {
	case "CRITICAL", "ERROR", "WARNING", "INFO", "VERBOSE", "DEBUG", "AUDIT_SUCCESS", "AUDIT_FAILURE":
		return true
	}
	return false
}

// xmlData reads an EventData that is XML in a string.
func (b *builder) xmlData(i int) bool {
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
func (b *builder) properties(i int) {
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
func (b *builder) ownFlags(i int) {
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

var flagNames = []struct {
	flag event.Flags
	name string
}{
	{event.Carved, "carved"},
	{event.BadChecksum, "bad_checksum"},
	{event.Partial, "partial"},
}
