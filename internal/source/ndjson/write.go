package ndjson

import (
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"ashiato/internal/event"
)

// Append appends e to dst as one line of JSON, in the shape of evtx_dump, and
// returns it. Read gives back the System fields, Data in its order with repeated
// names, the record id and the flags; Kind, Canon and Time come from
// normalisation and are not written. Lone surrogates are escaped (\ud800) and
// bytes that are not UTF-8 are written as they are.
func Append(dst []byte, e *event.Event) []byte {
	dst = append(dst, `{"Event":{"System":{"Provider":{"#attributes":{"Name":`...)
	dst = appendString(dst, e.Provider)
	dst = append(dst, `}},"EventID":`...)
	dst = strconv.AppendUint(dst, uint64(e.ID), 10)
	dst = append(dst, `,"Version":`...)
	dst = strconv.AppendUint(dst, uint64(e.Version), 10)
	dst = append(dst, `,"Level":`...)
	dst = strconv.AppendUint(dst, uint64(e.Level), 10)
	dst = append(dst, `,"Task":`...)
	dst = strconv.AppendUint(dst, uint64(e.Task), 10)
	dst = append(dst, `,"Opcode":`...)
	dst = strconv.AppendUint(dst, uint64(e.Opcode), 10)
	dst = append(dst, `,"Keywords":"0x`...)
	dst = strconv.AppendUint(dst, e.Keywords, 16)
	dst = append(dst, '"')
	if !e.Logged.IsZero() {
		dst = append(dst, `,"TimeCreated":{"#attributes":{"SystemTime":"`...)
		dst = appendTime(dst, e.Logged)
		dst = append(dst, `"}}`...)
	}
	dst = append(dst, `,"EventRecordID":`...)
	dst = strconv.AppendUint(dst, e.Ref.RecordID, 10)
	dst = append(dst, `,"Execution":{"#attributes":{"ProcessID":`...)
	dst = strconv.AppendUint(dst, uint64(e.PID), 10)
	dst = append(dst, `,"ThreadID":`...)
	dst = strconv.AppendUint(dst, uint64(e.TID), 10)
	dst = append(dst, `}},"Channel":`...)
	dst = appendString(dst, e.Channel)
	dst = append(dst, `,"Computer":`...)
	dst = appendString(dst, e.Host)
	if e.UserSID != "" {
		dst = append(dst, `,"Security":{"#attributes":{"UserID":`...)
		dst = appendString(dst, e.UserSID)
		dst = append(dst, `}}`...)
	}
	dst = append(dst, `},"EventData":`...)
	dst = appendData(dst, e.Data)
	dst = append(dst, '}')
	if e.Flags != 0 {
		dst = append(dst, `,"ashiato":{"flags":[`...)
		sep := ""
		for _, f := range flagNames {
			if e.Flags&f.flag != 0 {
				dst = append(append(append(append(dst, sep...), '"'), f.name...), '"')
				sep = ","
			}
		}
		dst = append(dst, `]}`...)
	}
	return append(dst, "}\n"...)
}

// appendTime writes t in 100 ns if that is exact, else in nanoseconds.
func appendTime(dst []byte, t time.Time) []byte {
	if t.Nanosecond()%100 == 0 {
		return t.UTC().AppendFormat(dst, event.TimeFormat)
	}
	return t.UTC().AppendFormat(dst, "2006-01-02T15:04:05.000000000Z")
}

// appendData writes fields as an object. Repeats that follow one another become
// an array. What an object cannot hold, repeats apart and names with a meaning of
// their own, is written as the XML has it: a list of Data elements with names.
func appendData(dst []byte, data event.Fields) []byte {
	if len(data) == 0 {
		return append(dst, "null"...)
	}
	if !fitsObject(data) {
		dst = append(dst, `{"Data":[`...)
		for i, f := range data {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(dst, `{"#attributes":{"Name":`...)
			dst = appendString(dst, f.Name)
			dst = append(dst, `},"#text":`...)
			dst = appendString(dst, f.Value)
			dst = append(dst, '}')
		}
		return append(dst, "]}"...)
	}
	dst = append(dst, '{')
	for i := 0; i < len(data); {
		if i > 0 {
			dst = append(dst, ',')
		}
		end := i + 1
		for end < len(data) && data[end].Name == data[i].Name {
			end++
		}
		dst = appendString(dst, data[i].Name)
		dst = append(dst, ':')
		if end == i+1 {
			dst = appendString(dst, data[i].Value)
		} else {
			for k, f := range data[i:end] {
				dst = append(dst, "[,"[min(k, 1)])
				dst = appendString(dst, f.Value)
			}
			dst = append(dst, ']')
		}
		i = end
	}
	return append(dst, '}')
}

func fitsObject(data event.Fields) bool {
	seen := make(map[string]bool, len(data))
	for i, f := range data {
		if f.Name == "" || f.Name[0] == '#' || f.Name[0] == '@' || strings.HasSuffix(f.Name, "_attributes") {
			return false
		}
		if i > 0 && data[i-1].Name == f.Name {
			continue
		}
		if seen[f.Name] {
			return false
		}
		seen[f.Name] = true
	}
	return true
}

const hexDigits = "0123456789abcdef"

// appendString writes s as a JSON string.
func appendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	highRaw := false // the last thing written is a high surrogate
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			highRaw = false
			i++
			switch {
			case c == '"' || c == '\\':
				dst = append(dst, '\\', c)
			case c == '\n':
				dst = append(dst, `\n`...)
			case c == '\r':
				dst = append(dst, `\r`...)
			case c == '\t':
				dst = append(dst, `\t`...)
			case c < 0x20 || c == 0x7F:
				dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
			default:
				dst = append(dst, c)
			}
			continue
		}
		r, n := event.DecodeRune(s[i:])
		surrogate := n == 3 && 0xD800 <= r && r < 0xE000
		// A low one behind a high one cannot come from UTF-16; escaped, both
		// would be read as one character.
		if surrogate && (r < 0xDC00 || !highRaw) {
			dst = append(dst, '\\', 'u', 'd', hexDigits[r>>8&15], hexDigits[r>>4&15], hexDigits[r&15])
		} else {
			dst = append(dst, s[i:i+n]...)
		}
		highRaw = surrogate && r < 0xDC00
		i += n
	}
	return append(dst, '"')
}
