package xmlevent

import (
	"bytes"
	"errors"
	"strconv"
	"strings"
	"time"

	"ashiato/internal/event"
)

var errNoEvent = errors.New("an element that is no Windows event record: no System with an EventID")

const (
	maxInterned = 4096
	// maxJoined bounds, for one record, the names made by joining others: a
	// long one around many short ones would otherwise multiply.
	maxJoined = 1 << 20
)

// builder turns elements into events.
type builder struct {
	ev       *event.Event
	recordID uint64
	hasID    bool
	joined   int // bytes of joined names
	interned map[string]string
}

func (b *builder) intern(s []byte) string {
	if v, ok := b.interned[string(s)]; ok {
		return v
	}
	v := string(s)
	if b.interned == nil {
		b.interned = map[string]string{}
	}
	if len(v) <= 256 && len(b.interned) < maxInterned {
		b.interned[v] = v
	}
	return v
}

func (b *builder) build(root *element) (*event.Event, uint64, error) {
	b.ev, b.recordID, b.hasID, b.joined = new(event.Event), 0, false, 0
	system := root.child("System")
	if system == nil {
		return nil, 0, errNoEvent
	}
	b.system(system)
	if !b.hasID {
		return nil, 0, errNoEvent
	}
	for i := range root.children {
		if c := &root.children[i]; c != system {
			b.section(c)
		}
	}
	if b.ev.Logged.IsZero() {
		b.ev.Flags |= event.Partial
	}
	b.ev.Time = b.ev.Logged
	return b.ev, b.recordID, nil
}

func (b *builder) system(s *element) {
	e := b.ev
	for i := range s.children {
		c := &s.children[i]
		text := bytes.TrimSpace(c.text)
		switch string(c.name) {
		case "Provider":
			if v, ok := c.attr("Name"); ok {
				e.Provider = b.intern(v)
			}
			if v, ok := c.attr("EventSourceName"); ok && e.Provider == "" {
				e.Provider = b.intern(v)
			}
		case "EventID":
			if v, ok := b.number(text, 32); ok {
				e.ID, b.hasID = uint32(v), true
			}
		case "Version":
			v, _ := b.number(text, 8)
			e.Version = uint8(v)
		case "Level":
			v, _ := b.number(text, 8)
			e.Level = uint8(v)
		case "Opcode":
			v, _ := b.number(text, 8)
			e.Opcode = uint8(v)
		case "Task":
			v, _ := b.number(text, 16)
			e.Task = uint16(v)
		case "Keywords":
			e.Keywords, _ = b.number(text, 64)
		case "EventRecordID":
			b.recordID, _ = b.number(text, 64)
		case "TimeCreated":
			v, _ := c.attr("SystemTime")
			if t, ok := parseTime(string(v)); ok {
				e.Logged = t
			}
		case "Execution":
			v, _ := c.attr("ProcessID")
			n, _ := b.number(v, 32)
			e.PID = uint32(n)
			v, _ = c.attr("ThreadID")
			n, _ = b.number(v, 32)
			e.TID = uint32(n)
		case "Channel":
			e.Channel = b.intern(c.text)
		case "Computer":
			e.Host = b.intern(c.text)
		case "Security":
			v, ok := c.attr("UserID")
			if !ok {
				v, _ = c.attr("UserId") // Sysmon for Linux
			}
			e.UserSID = b.intern(v)
		}
	}
}

// number reads a decimal or 0x hexadecimal integer. What is there and is no such
// number marks the event.
func (b *builder) number(s []byte, bits int) (uint64, bool) {
	if len(s) == 0 {
		return 0, false
	}
	var v uint64
	var err error
	if hex, ok := bytes.CutPrefix(s, []byte("0x")); ok {
		v, err = strconv.ParseUint(string(hex), 16, bits)
	} else {
		v, err = strconv.ParseUint(string(s), 10, bits)
	}
	if err != nil {
		b.ev.Flags |= event.Partial
		return 0, false
	}
	return v, true
}

// parseTime reads the dateTime of SystemTime. One without a zone is UTC, which
// is what the log holds.
func parseTime(s string) (time.Time, bool) {
	s = strings.TrimSpace(s)
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC(), true
		}
	}
	return time.Time{}, false
}

// section reads an element beside System.
func (b *builder) section(c *element) {
	switch string(c.name) {
	case "RenderingInfo", "System":
	case "EventData":
		b.attributes(c, "EventData", false)
		for i := range c.children {
			b.eventData(&c.children[i])
		}
		if len(c.children) == 0 && len(bytes.TrimSpace(c.text)) > 0 {
			b.add("Data", c.text)
		}
	case "UserData":
		for i := range c.children {
			b.userData(&c.children[i])
		}
	default: // ProcessingErrorData, DebugData, …
		if len(c.children) == 0 {
			b.add(b.intern(c.name), c.text)
			return
		}
		for i := range c.children {
			b.field(&c.children[i], b.intern(c.children[i].name), false)
		}
	}
}

func (b *builder) eventData(c *element) {
	name := b.intern(c.name)
	v, named := c.attr("Name")
	if len(v) > 0 {
		name = b.intern(v)
	}
	b.field(c, name, named)
}

func (b *builder) userData(c *element) {
	wrapper := b.intern(c.name)
	b.attributes(c, wrapper, false)
	if len(c.children) == 0 {
		if c.hasText {
			b.add(wrapper, c.text)
		}
		return
	}
	for i := range c.children {
		b.field(&c.children[i], b.intern(c.children[i].name), false)
	}
}

// field adds an element that holds a value, or elements that do. named says that
// its Name attribute was its name.
func (b *builder) field(c *element, name string, named bool) {
	if len(c.children) == 0 {
		b.add(name, c.text)
	}
	b.attributes(c, name, named)
	for i := range c.children {
		k := &c.children[i]
		b.field(k, b.join(name, k.name), false)
	}
}

func (b *builder) attributes(c *element, name string, named bool) {
	for _, a := range c.attrs {
		if string(a.name) == "xmlns" || bytes.HasPrefix(a.name, []byte("xmlns:")) || named && string(a.name) == "Name" {
			continue
		}
		b.add(b.join(name, a.name), a.value)
	}
}

func (b *builder) add(name string, value []byte) {
	b.ev.Data = append(b.ev.Data, event.Field{Name: name, Value: string(value)})
}

func (b *builder) join(prefix string, name []byte) string {
	if b.joined += len(prefix) + len(name); b.joined > maxJoined {
		b.ev.Flags |= event.Partial
		return b.intern(name)
	}
	return prefix + "_" + string(name)
}
