package xmlevent

import (
	"fmt"
	"strconv"
	"unicode/utf8"

	"ashiato/internal/event"
)

// Append appends e to dst as an Event element on lines of its own and returns
// it. Read gives back the System fields, Data in its order and the record id; Kind,
// Canon, Time and Flags are not written.
//
// XML 1.0 §2.2 has no way to write most control characters, lone surrogates,
// U+FFFE, U+FFFF or bytes that are not UTF-8. An event that holds one is refused
// with an error that names the field, and dst is returned unchanged.
func Append(dst []byte, e *event.Event) ([]byte, error) {
	w := writer{b: dst}
	w.raw(`<Event xmlns="http://schemas.microsoft.com/win/2004/08/events/event"><System><Provider Name="`)
	w.text("Provider", e.Provider)
	w.raw(`"/><EventID>`)
	w.number(uint64(e.ID))
	w.raw(`</EventID><Version>`)
	w.number(uint64(e.Version))
	w.raw(`</Version><Level>`)
	w.number(uint64(e.Level))
	w.raw(`</Level><Task>`)
	w.number(uint64(e.Task))
	w.raw(`</Task><Opcode>`)
	w.number(uint64(e.Opcode))
	w.raw(`</Opcode><Keywords>0x`)
	w.b = strconv.AppendUint(w.b, e.Keywords, 16)
	w.raw(`</Keywords>`)
	if !e.Logged.IsZero() {
		layout := event.TimeFormat
		if e.Logged.Nanosecond()%100 != 0 {
			layout = "2006-01-02T15:04:05.000000000Z"
		}
		w.raw(`<TimeCreated SystemTime="`)
		w.b = e.Logged.UTC().AppendFormat(w.b, layout)
		w.raw(`"/>`)
	}
	w.raw(`<EventRecordID>`)
	w.number(e.Ref.RecordID)
	w.raw(`</EventRecordID><Execution ProcessID="`)
	w.number(uint64(e.PID))
	w.raw(`" ThreadID="`)
	w.number(uint64(e.TID))
	w.raw(`"/><Channel>`)
	w.text("Channel", e.Channel)
	w.raw(`</Channel><Computer>`)
	w.text("Computer", e.Host)
	w.raw(`</Computer>`)
	if e.UserSID != "" {
		w.raw(`<Security UserID="`)
		w.text("UserID", e.UserSID)
		w.raw(`"/>`)
	}
	w.raw(`</System><EventData>`)
	for _, f := range e.Data {
		// An empty Name would be read as the element's.
		if f.Name == "" && w.err == nil {
			w.err = fmt.Errorf("event %d: a field without a name cannot be written as XML", e.Ref.RecordID)
		}
		if f.Name == "Data" {
			w.raw(`<Data>`)
		} else {
			w.raw(`<Data Name="`)
			w.text("a field name", f.Name)
			w.raw(`">`)
		}
		w.text(f.Name, f.Value)
		w.raw(`</Data>`)
	}
	w.raw("</EventData></Event>\n")
	if w.err != nil {
		return dst, w.err
	}
	return w.b, nil
}

type writer struct {
	b   []byte
	err error
}

func (w *writer) raw(s string)    { w.b = append(w.b, s...) }
func (w *writer) number(v uint64) { w.b = strconv.AppendUint(w.b, v, 10) }

// text writes the value of a field as character data or attribute value.
func (w *writer) text(field, s string) {
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			r, n := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && n == 1 {
				w.refuse(field, i, "not text: a lone surrogate or a byte that is not UTF-8")
			} else if r == 0xFFFE || r == 0xFFFF {
				w.refuse(field, i, fmt.Sprintf("U+%04X", r))
			}
			w.b = append(w.b, s[i:i+n]...)
			i += n
			continue
		}
		i++
		switch {
		case c == '<':
			w.raw("&lt;")
		case c == '>':
			w.raw("&gt;")
		case c == '&':
			w.raw("&amp;")
		case c == '"':
			w.raw("&quot;")
		case c == '\t' || c == '\n' || c == '\r':
			// As references, so that no parser normalises them.
			w.raw("&#")
			w.number(uint64(c))
			w.raw(";")
		case c < 0x20:
			w.refuse(field, i-1, fmt.Sprintf("U+%04X", c))
		default:
			w.b = append(w.b, c)
		}
	}
}

func (w *writer) refuse(field string, at int, what string) {
	if w.err == nil {
		w.err = fmt.Errorf("%s holds at byte %d what XML cannot (%s); write it as ndjson or evtx", field, at, what)
	}
}
