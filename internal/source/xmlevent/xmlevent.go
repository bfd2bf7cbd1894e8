// Package xmlevent reads Windows event records from XML, as wevtutil, Get-WinEvent
// and Event Viewer write it: Event elements one after another, with or without an
// element around them, in UTF-8 or UTF-16.
//
// A broken event costs itself: reading goes on where the next Event begins.
// Memory is bounded by the largest event admitted, 16 MiB. Document type
// declarations are passed over and their entities never resolved.
//
// The fields are named as the EVTX reader names them: EventData by the Name
// attribute, else by the element; UserData by the elements inside its wrapper,
// with an underscore between the levels below; attributes as Element_Attribute.
// RenderingInfo is left out.
package xmlevent

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"

	"ashiato/internal/event"
	"ashiato/internal/source"
	"ashiato/internal/source/text"
)

// MaxRecord is the largest Event element read, in bytes of UTF-8. Larger ones are
// reported as source.TooLarge.
const MaxRecord = 16 << 20

// Sniff reports whether an input that begins with head is likely event XML: it
// begins with a declaration, a comment or an element named Events or Event.
func Sniff(head []byte) bool {
	b := text.DecodeHead(head)
	for {
		b = bytes.TrimLeft(b, " \t\r\n")
		var end []byte
		switch {
		case bytes.HasPrefix(b, []byte("<?")):
			end = []byte("?>")
		case bytes.HasPrefix(b, []byte("<!--")):
			end = []byte("-->")
		case bytes.HasPrefix(b, []byte("<!DOCTYPE")):
			// A declaration with brackets inside may be cut wrongly, but an
			// Event behind it is still seen.
			return bytes.Contains(b, []byte("<Event"))
		default:
			return eventTag(b) || isTag(b, "Events") || inSyslog(b)
		}
		i := bytes.Index(b, end)
		if i < 0 {
			return false
		}
		b = b[i+len(end):]
	}
}

// inSyslog reports whether b is a syslog file with events of Sysmon for Linux in it:
// one of its lines has an Event behind the name of the program that wrote it.
func inSyslog(b []byte) bool {
	i := bytes.Index(b, []byte(`<Event><System><Provider Name="Linux-Sysmon"`))
	return i > 0 && fromSysmon(b[:i])
}

// fromSysmon reports whether a text ends in what syslog writes before a message of
// Sysmon's: "… sysmon[812]: ".
func fromSysmon(b []byte) bool {
	b, ok := bytes.CutSuffix(b, []byte(": "))
	if !ok {
		return false
	}
	line := b[bytes.LastIndexByte(b, '\n')+1:]
	if i := bytes.LastIndexByte(line, ' '); i >= 0 {
		line = line[i+1:]
	}
	name, _, _ := bytes.Cut(line, []byte{'['})
	return bytes.EqualFold(name, []byte("sysmon"))
}

// isTag reports whether b begins with a start tag of this local name.
func isTag(b []byte, name string) bool {
	if len(b) < 2 || b[0] != '<' {
		return false
	}
	end := nameEnd(b, 1)
	return end < len(b) && string(local(b[1:end])) == name
}

func eventTag(b []byte) bool { return isTag(b, "Event") }

// Read is a source.ReadFunc.
func Read(ctx context.Context, name string, r io.Reader, h source.Handler) (source.Stats, []source.Problem) {
	rd := reader{w: text.NewWindow(r, MaxRecord), s: text.NewSink(name, h), name: name, blank: true}
	if ctx.Err() == nil {
		_ = rd.w.More() // an error is met again
		rd.syslog = inSyslog(rd.w.Bytes())
	}
	for ctx.Err() == nil && rd.next() {
	}
	if ctx.Err() == nil {
		rd.ended()
	}
	return rd.s.Finish(rd.w, rd.blank)
}

// reader finds the events of one input.
type reader struct {
	w     *text.Window
	s     *text.Sink
	name  string
	blank bool

	// broken says that the last event was damaged, and failed where its
	// parsing stopped.
	broken bool
	failed int64
	b      builder

	// open are the names of the elements around the events, outermost first;
	// depth is their number, of which open has the first maxDepth.
	open  []string
	depth int
	// events says that there was a whole event, damage that there was a broken
	// one, whose tags may be left over, and malformed that what is around the
	// events was reported.
	events, damage, malformed bool
	// syslog says that the events are in a syslog file: what is between them is
	// what other programs had to say.
	syslog bool
}

// frame reports that what is around the events is not well-formed.
func (r *reader) frame(kind source.ProblemKind, offset int64, line int, detail string) {
	r.malformed = true
	r.s.Problem(kind, offset, line, 0, detail)
}

// ended reports an element around the events that was not closed. An input
// without events has one problem of this sort.
func (r *reader) ended() {
	if r.depth == 0 || r.broken || r.malformed && !r.events || r.w.Err() != nil {
		return
	}
	r.frame(source.Truncated, r.w.Offset(), r.w.Line(), fmt.Sprintf("the input ends inside <%s>", clip([]byte(r.open[0]))))
}

// next consumes up to and including the next event. It reports whether there
// may be more.
func (r *reader) next() bool {
	w := r.w
	b := w.Bytes()
	i := bytes.IndexByte(b, '<')
	if i < 0 {
		r.outside(b)
		w.Advance(len(b))
		return w.More() == nil
	}
	r.outside(b[:i])
	w.Advance(i)
	b = w.Bytes()
	end := nameEnd(b, 1)
	if end >= len(b) && len(b) <= maxName {
		if w.More() == nil {
			return true
		}
	}
	r.blank = false
	switch {
	case eventTag(b):
		r.event()
	case r.syslog && !r.broken:
		w.Advance(1)
	case !r.broken && bytes.HasPrefix(b, []byte("<!--")):
		r.pass("-->")
	case !r.broken && bytes.HasPrefix(b, []byte("<!DOCTYPE")):
		r.doctype()
	default: // the root's tags, a declaration, or the rest of a broken event
		r.tag()
	}
	return true
}

// tag consumes a tag that is no event's, or as much of it as comes before
// another one, and keeps account of the elements that are open.
func (r *reader) tag() {
	w := r.w
	b := w.Bytes()
	closing := len(b) > 1 && b[1] == '/'
	from := 1
	if closing {
		from = 2
		for nameEnd(b, from) >= len(b) && len(b) <= maxName+from && w.More() == nil {
			b = w.Bytes()
		}
	}
	name := string(local(b[min(from, len(b)):nameEnd(b, from)]))
	offset, line := w.Offset(), w.Line()
	last := byte(0)
	w.Advance(1)
	for {
		b := w.Bytes()
		if i := bytes.IndexAny(b, "<>"); i >= 0 {
			if i > 0 {
				last = b[i-1]
			}
			if b[i] == '>' {
				w.Advance(i + 1)
				r.account(name, closing, last == '/', offset, line)
				return
			}
			w.Advance(i)
			if !r.damage && !r.malformed {
				r.frame(source.Corrupt, offset, line, "a tag that does not end")
			}
			return
		}
		if len(b) > 0 {
			last = b[len(b)-1]
		}
		w.Advance(len(b))
		if w.More() != nil {
			if !r.broken && !r.malformed && w.Err() == nil {
				r.frame(source.Truncated, offset, line, "the input ends inside a tag")
				r.depth = 0
			}
			return
		}
	}
}

// account opens or closes an element around the events. Inside a broken event
// only the end of the outermost one tells.
func (r *reader) account(name string, closing, empty bool, offset int64, line int) {
	switch {
	case closing && r.depth > len(r.open): // deeper than names are kept
		r.depth--
	case closing:
		i := slices.Index(r.open, name)
		if !r.broken {
			for i = len(r.open) - 1; i >= 0 && r.open[i] != name; i-- {
			}
			if i < len(r.open)-1 || i < 0 {
				if !r.damage && !r.malformed {
					r.frame(source.Corrupt, offset, line, fmt.Sprintf("</%s> closes no element", clip([]byte(name))))
				}
			}
		} else if i > 0 {
			return
		}
		if i >= 0 {
			r.open, r.depth = r.open[:i], i
		}
	case r.broken || empty || name == "" || name[0] == '!' || name[0] == '?':
	default:
		if len(r.open) < maxDepth {
			r.open = append(r.open, name)
		}
		r.depth++
	}
}

// outside looks at text between the events.
func (r *reader) outside(b []byte) {
	i := skipSpace(b, 0)
	if i == len(b) {
		return
	}
	r.blank = false
	if r.syslog {
		return
	}
	if !r.broken {
		r.frame(source.Corrupt, r.w.Offset()+r.w.Size(0, i), r.w.LineAt(i), "text between the events")
	}
}

// doctype passes over a document type declaration with its entities.
func (r *reader) doctype() {
	const limit = 64 << 10
	w := r.w
	for len(w.Bytes()) < limit && w.More() == nil {
	}
	b := w.Bytes()
	depth, quote := 0, byte(0)
	for i, c := range b[:min(len(b), limit)] {
		switch {
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'':
			quote = c
		case c == '[':
			depth++
		case c == ']':
			depth--
		case c == '>' && depth <= 0:
			w.Advance(i + 1)
			return
		}
	}
	r.frame(source.Corrupt, w.Offset(), w.Line(), "a document type declaration that does not end")
	w.Advance(1)
}

// pass consumes up to and including end.
func (r *reader) pass(end string) {
	offset, line := r.w.Offset(), r.w.Line()
	for {
		b := r.w.Bytes()
		if i := bytes.Index(b, []byte(end)); i >= 0 {
			r.w.Advance(i + len(end))
			return
		}
		r.w.Advance(max(len(b)-len(end)+1, 0))
		if r.w.More() != nil {
			r.w.Advance(len(r.w.Bytes()))
			if !r.malformed && r.w.Err() == nil {
				r.frame(source.Truncated, offset, line, "the input ends inside a comment")
				r.depth = 0
			}
			return
		}
	}
}

// event reads the Event element at the window.
func (r *reader) event() {
	w := r.w
	for {
		e, n, err := parse(w.Bytes())
		if err == errShort {
			n = len(w.Bytes())
			if !r.broken || w.Pos()+int64(n) > r.failed {
				switch w.More() {
				case nil:
					continue
				case text.ErrFull:
					err = errLarge
				}
			}
		}
		if err != nil {
			r.damaged(n, err)
			return
		}
		ev, recordID, err := r.b.build(&e)
		if err != nil {
			kind := source.Corrupt
			if err == errNoEvent {
				kind = source.UnknownFormat
			}
			r.s.Lost(kind, w.Offset(), w.Line(), err.Error)
		} else {
			ev.Ref = event.EvidenceRef{
				Host: ev.Host, Channel: ev.Channel, RecordID: recordID,
				File: r.name, Offset: w.Offset(), SHA256: w.Hash(0, n),
			}
			r.s.Event(ev)
		}
		r.broken, r.events = false, true
		w.Advance(n)
		return
	}
}

var errLarge = fmt.Errorf("an Event element is larger than %d MiB", MaxRecord>>20)

// damaged reports the event at the window, whose parsing stopped at n, and goes
// behind its start tag: the next Event may be inside it, swallowed. If the one
// found there fails at the same place, both were inside the damage, and reading
// goes on behind it.
func (r *reader) damaged(n int, err error) {
	w := r.w
	pos := w.Pos() + int64(n)
	if r.broken && pos <= r.failed {
		w.Advance(max(n, 1))
		return
	}
	kind, detail := source.Corrupt, func() string { return fmt.Sprintf("a broken Event (line %d): %v", w.LineAt(n), err) }
	switch err {
	case errShort:
		kind, detail = source.Truncated, func() string { return "the input ends inside an Event element" }
	case errDepth, errElements, errLarge:
		kind, detail = source.TooLarge, err.Error
	}
	r.s.Lost(kind, w.Offset(), w.Line(), detail)
	r.broken, r.damage, r.failed = true, true, pos
	switch err {
	case errNewEvent, errDepth:
		w.Advance(n)
	default:
		w.Advance(1)
	}
}

// Parse reads one Event element and returns the event and its record id. Ref is
// left empty.
func Parse(b []byte) (*event.Event, uint64, error) {
	b = bytes.TrimSpace(b)
	if !eventTag(b) {
		return nil, 0, errNoEvent
	}
	e, _, err := parse(b)
	if err != nil {
		return nil, 0, err
	}
	var bl builder
	return bl.build(&e)
}

// ParseData reads one EventData or UserData element.
func ParseData(b []byte) (event.Fields, error) {
	b = bytes.TrimSpace(b)
	if !isTag(b, "EventData") && !isTag(b, "UserData") {
		return nil, errNoEvent
	}
	e, _, err := parse(b)
	if err != nil {
		return nil, err
	}
	var bl builder
	bl.ev = new(event.Event)
	bl.section(&e)
	return bl.ev.Data, nil
}
