package auditd

import (
	"fmt"
	"strings"

	"ashiato/internal/event"
)

// Append appends an event in the form of the log, a line for each of its records.
// Reading it gives the event's fields again; the lines name the host as the node.
// It is an error if the event's fields do not begin with a record's type.
func Append(dst []byte, e *event.Event) ([]byte, error) {
	if len(e.Data) == 0 || e.Data[0].Name != "type" {
		return dst, fmt.Errorf("event %d of %s has no record type", e.Ref.RecordID, e.Host)
	}
	kind, inner, names := "", false, false
	end := func() {
		if inner {
			dst = append(dst, '\'')
		}
		inner, names = false, false
		dst = append(dst, '\n')
	}
	for i, f := range e.Data {
		if f.Name == "type" {
			if i > 0 {
				end()
			}
			kind = f.Value
			dst = fmt.Appendf(dst, "node=%s type=%s msg=audit(%d.%03d:%d):", e.Host, kind, e.Logged.Unix(), e.Logged.Nanosecond()/1e6, e.Ref.RecordID)
			continue
		}
		upper := f.Name != "" && f.Name[0] >= 'A' && f.Name[0] <= 'Z'
		switch {
		case upper && !names:
			if inner {
				dst = append(dst, '\'')
				inner = false
			}
			names = true
			dst = append(dst, separator)
		case single(kind) && !inner && !upper && !own[f.Name] && !strings.HasPrefix(kind, "DAEMON_"):
			inner = true
			dst = append(dst, " msg='"...)
		default:
			dst = append(dst, ' ')
		}
		dst = append(dst, f.Name...)
		dst = append(dst, '=')
		dst = appendValue(dst, kind, f.Name, f.Value)
	}
	end()
	return dst, nil
}

// own are the fields that the kernel puts before what a program says.
var own = map[string]bool{"pid": true, "uid": true, "auid": true, "ses": true, "subj": true}

// appendValue writes a value as the kernel does: text in quotes, or in hexadecimal
// where a quote, a blank or an unprintable byte is in it.
func appendValue(dst []byte, kind, name, v string) []byte {
	if kind == "PROCTITLE" && name == "proctitle" || encoded(kind, name) && strings.ContainsFunc(v, func(c rune) bool { return c == '"' || c < 0x21 || c > 0x7E }) {
		return fmt.Appendf(dst, "%X", v)
	}
	if encoded(kind, name) && v != "(null)" && v != "?" || name == "exe" || strings.ContainsAny(v, " ") || name != "" && name[0] >= 'A' && name[0] <= 'Z' {
		return fmt.Appendf(dst, `"%s"`, v)
	}
	return append(dst, v...)
}
