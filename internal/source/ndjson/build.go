package ndjson

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"

	"ashiato/internal/event"
	"ashiato/internal/source/xmlevent"
)

var (
	errNoEvent = errors.New("a JSON object that is no Windows event record")
	// errFraming: an object that belongs to the container, not a record.
	errFraming = errors.New("container object")
)

const (
	// maxInterned bounds the table of repeated strings.
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
	path     []byte // of join
	walked   []byte // of walk
	scratch  []byte
	interned map[string]string

	ev       *event.Event
	joined   int // bytes of joined names
	recordID uint64
	hasID    bool
	message  int // node of the rendered message, or -1
	logged   stamp
}

// build returns the event of the parsed object i.
func (b *builder) build(i int) (*event.Event, error) {
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
	if b.interned == nil || len(b.interned) > maxInterned {
		b.interned = map[string]string{}
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
func (b *builder) shape(i int) error {
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
func (b *builder) elements(i int) int {
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

// wrappers are the names that lists of records have, the first one found
// counting; "hits" is an object around another "hits".
var wrappers = [...]string{"hits", "Events", "events", "Records", "records", "results", "value", "data"}

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
	*b.ev, b.recordID, b.hasID = *e, recordID, true
	b.logged = stamp{t: e.Logged, ok: !e.Logged.IsZero()}
	return nil
}

// scalar returns the node that holds the one value of node i: of an object its
// text, of an array its first element. It returns -1 if there is none.
func (b *builder) scalar(i int) int {
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
func (b *builder) attribute(i int, name string) int {
	if j := b.doc.child(b.doc.child(i, "#attributes"), name); j >= 0 {
		return j
	}
	if j := b.doc.child(i, "@"+name); j >= 0 {
		return j
	}
	return b.doc.child(i, name)
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

// setText stores the text of node i in *dst if there is any and *dst is empty.
func (b *builder) setText(dst *string, i int) {
	if i = b.scalar(i); i >= 0 && *dst == "" {
		*dst = b.intern(b.bytes(i))
	}
}

// number reads node i as an integer that fits in bits: decimal, hexadecimal with
// 0x, or negative for an unsigned 64-bit value that was written as signed.
func (b *builder) number(i, bits int) (uint64, bool) {
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
func (b *builder) system(name string, i int) bool {
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
func (b *builder) strict(name string, i int) {
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
			if !isNamespace(name[1:]) {
				b.field(b.join(prefix, name[1:]), j)
			}
		default:
			b.field(b.join(prefix, name), j)
		}
	}
}

func (b *builder) attributes(prefix string, i int) {
	if b.doc.nodes[i].kind != object {
		return
	}
	for j := i + 1; j < int(b.doc.nodes[i].next); j = int(b.doc.nodes[j].next) {
		if name := b.doc.name(j); !isNamespace(name) {
			b.field(b.join(prefix, name), j)
		}
	}
}

func isNamespace(attribute []byte) bool {
	return string(attribute) == "xmlns" || bytes.HasPrefix(attribute, []byte("xmlns:"))
}

func (b *builder) join(prefix string, name []byte) string {
	if prefix == "" {
		return b.intern(name)
	}
	if b.joined += len(prefix) + len(name); b.joined > maxJoined {
		b.ev.Flags |= event.Partial
		return b.intern(name)
	}
	b.path = append(append(append(b.path[:0], prefix...), '_'), name...)
	return b.intern(b.path)
}

// tree reads {"System":…,"EventData":…}: the XML as JSON.
func (b *builder) tree(i int) {
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

func (b *builder) treeSystem(i int) {
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
func (b *builder) eventData(i int) {
	for j := i + 1; j < int(b.doc.nodes[i].next); j = int(b.doc.nodes[j].next) {
		switch name := b.doc.name(j); string(name) {
		case "Data":
			b.data(j)
		case "#attributes":
			b.attributes("EventData", j)
		case "#text":
			b.field("Data", j)
		default:
			if len(name) == 0 || name[0] != '@' || !isNamespace(name[1:]) {
				b.member(j)
			}
		}
	}
}

// member adds one member of EventData.
func (b *builder) member(j int) {
	name := b.doc.name(j)
	if base, ok := bytes.CutSuffix(name, []byte("_attributes")); ok && len(base) > 0 && b.doc.nodes[j].kind == object {
		b.attributes(b.intern(base), j)
		return
	}
	b.field(b.intern(name), j)
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
			for _, key := range []string{"#text", "text", "Value", "content"} {
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
		name := b.doc.name(j)
		base, isAttributes := bytes.CutSuffix(name, []byte("_attributes"))
		switch {
		case string(name) == "#attributes" || len(name) > 0 && name[0] == '@':
		case b.doc.nodes[j].kind != object:
			b.field(b.intern(name), j)
		case isAttributes:
			b.attributes(b.intern(base), j)
		default:
			wrapper := b.intern(name)
			if a := b.doc.child(j, "#attributes"); a >= 0 {
				b.attributes(wrapper, a)
			}
			b.wrapped(wrapper, j)
		}
	}
}

// wrapped adds the members of a wrapper in UserData except its attributes.
func (b *builder) wrapped(wrapper string, i int) {
	for j := i + 1; j < int(b.doc.nodes[i].next); j = int(b.doc.nodes[j].next) {
		switch name := b.doc.name(j); {
		case string(name) == "#attributes":
		case string(name) == "#text":
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

// beat reads the records of winlogbeat and Elastic Agent: everything under
// "winlog", or in version 6 and before at the top. Names may be nested objects,
// dotted, or both.
func (b *builder) beat(i int, old bool) {
	var timestamp, created stamp
	hostName := -1
	b.walked = b.walk(i, b.walked[:0], func(path []byte, j int) {
		rest, in := path, old
		if !old {
			rest, in = bytes.CutPrefix(path, []byte("winlog."))
		}
		if in {
			if name, ok := bytes.CutPrefix(rest, []byte("event_data.")); ok {
				b.field(b.intern(name), j)
				return
			}
			if name, ok := bytes.CutPrefix(rest, []byte("user_data.")); ok {
				if string(name) != "xml_name" {
					b.field(b.intern(name), j)
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

// walk calls f for every value under object i that is no object, with the names
// on the way to it joined by dots. Both are valid during the call.
// It returns path, perhaps grown.
func (b *builder) walk(i int, path []byte, f func(path []byte, j int)) []byte {
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
func (b *builder) flat(i int) error {
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
			keep = !shipper[string(name)] && (!analytics || !logAnalytics[string(name)])
		}
		if keep && analytics {
			if s := b.scalar(j); s >= 0 && b.doc.nodes[s].from == b.doc.nodes[s].to {
				keep = false // a column of the table that this record does not use
			}
		}
		if keep {
			b.field(b.intern(name), j)
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

// shipper holds the members that the log shipper added to the record.
var shipper = set("@version", "Severity", "SourceModuleName", "SourceModuleType", "host", "port", "tags",
	"Category", "ERROR_EVT_UNRESOLVED", "ProviderGuid", "ProviderId", "ActivityID", "RelatedActivityID",
	"LevelDisplayName", "OpcodeDisplayName", "TaskDisplayName", "KeywordsDisplayNames", "ContainerLog",
	"MatchedQueryIds", "Bookmark", "Qualifiers", "RelatedActivityId", "PSComputerName", "RunspaceId",
	"PSShowComputerName")

// logAnalytics holds the columns that are the table's.
var logAnalytics = set("TenantId", "SourceSystem", "EventOriginId", "MG", "ManagementGroupName", "Type",
	"_ResourceId", "TimeCollected", "SourceComputerId", "Activity", "EventLevelName", "AzureDeploymentID", "Role")

func set(names ...string) map[string]bool {
	m := make(map[string]bool, len(names))
	for _, n := range names {
		m[n] = true
	}
	return m
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
