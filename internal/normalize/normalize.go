// Package normalize gives an event its Kind and its taxonomy fields: which
// provider and event id means what, and which recorded name stands for which of
// Sigma's. The tables are data (tables.go); the field names are Sysmon's, as
// Sigma uses them.
//
// Nothing recorded is changed: Event.Data stays as it is, derived values go to
// Event.Canon. A record whose id is not in the tables keeps the kind Other and
// its recorded fields.
package normalize

import (
	"html"
	"strconv"
	"strings"
	"time"

	"ashiato/internal/event"
)

// Event sets e.Kind, e.Canon and e.Time: the log entry's time with e.Offset, or
// Sysmon's own where it can be believed, which is nearer to what happened. It is
// idempotent.
func Event(e *event.Event) {
	e.Kind, e.Canon = event.Other, nil
	if !e.Logged.IsZero() {
		e.Time = e.Entered()
	}
	spaceless(e)
	l := logOf(e.Provider, e.Channel)
	row, ok := tables[l][e.ID]
	if !ok {
		return
	}
	e.Kind = row.kind
	if row.refine != nil {
		e.Kind = row.refine(e)
	}
	for _, m := range row.fields {
		raw, ok := e.Data.Get(m.raw)
		if !ok {
			continue
		}
		if v, ok := m.convert(raw); ok && (m.canon != m.raw || v != raw) {
			e.Canon = append(e.Canon, event.Field{Name: m.canon, Value: v})
		}
	}
	if row.derive != nil {
		row.derive(e)
	}
	if isSysmon(l) {
		if t, ok := sensorTime(e.Data); ok && credible(e, t) {
			e.Time = t
		}
	}
}

// spaceless makes fields whose names hold blanks, as Defender's do, available
// under the names Sigma uses for them: without the blanks.
func spaceless(e *event.Event) {
	for _, f := range e.Data {
		if strings.IndexByte(f.Name, ' ') < 0 {
			continue
		}
		name := strings.ReplaceAll(f.Name, " ", "")
		if _, taken := e.Data.Get(name); !taken {
			e.Canon = append(e.Canon, event.Field{Name: name, Value: f.Value})
		}
	}
}

const timeField = "UtcTime"

// How far Sysmon's own time and the log entry's may be apart for the former to be
// believed. Whoever forges records may write any UtcTime; the time of the entry is
// the log service's.
const (
	// maxEarly is how much earlier than what it tells of an entry may seem: some
	// shippers cut its time off to whole seconds.
	maxEarly = time.Second
	// maxLate is how long Sysmon's service may take to write a record. What its
	// driver saw while the system started waits for the service: up to six minutes
	// in the recordings. It ends below a quarter of an hour, so that no difference
	// of time zones is ever taken for a delay.
	maxLate = 15*time.Minute - maxEarly
	// maxLateTrace is the same of connections and name look-ups. Sysmon takes
	// their time from a trace session, which delivers within one to three seconds.
	// The session's clock does not follow when the system's clock is set: in the
	// recordings it is up to eleven days off, either way, also on hosts where all
	// else is exact.
	maxLateTrace = 5 * time.Second
)

func isSysmon(l logName) bool { return l == sysmon || l == linuxSysmon }

// SensorTime returns the time that a Sysmon record carries besides that of its
// log entry, and whether there is one.
func SensorTime(e *event.Event) (time.Time, bool) {
	if !isSysmon(logOf(e.Provider, e.Channel)) {
		return time.Time{}, false
	}
	return sensorTime(e.Data)
}

// Traced reports whether Sysmon takes the time of such records from a trace
// session, whose clock is not the system's.
func Traced(k event.Kind) bool { return k == event.NetworkConnect || k == event.DNSQuery }

// credible reports whether t, the sensor's time of a normalised record, is to be
// believed. It always is where the entry has no time.
func credible(e *event.Event, t time.Time) bool {
	if e.Logged.IsZero() {
		return true
	}
	late := e.Entered().Sub(t)
	most := maxLate
	if Traced(e.Kind) {
		most = maxLateTrace
	}
	return -maxEarly <= late && late < most
}

// sensorTime reads UtcTime, which Sysmon takes when the thing happens; the log
// entry's own time is when the service got to write it.
func sensorTime(data event.Fields) (time.Time, bool) {
	v, ok := data.Get(timeField)
	if !ok {
		return time.Time{}, false
	}
	if t, ok := plainTime(v); ok {
		return t, true
	}
	t, err := time.Parse("2006-01-02 15:04:05.999999999", v)
	return t, err == nil
}

// plainTime reads the one notation that Sysmon writes, to the millisecond.
func plainTime(v string) (time.Time, bool) {
	const layout = "0000-00-00 00:00:00.000"
	if len(v) != len(layout) {
		return time.Time{}, false
	}
	var n [7]int
	part := 0
	for i := range len(layout) {
		switch c := v[i]; {
		case layout[i] != '0':
			if c != layout[i] {
				return time.Time{}, false
			}
			part++
		case c < '0' || c > '9':
			return time.Time{}, false
		default:
			n[part] = 10*n[part] + int(c-'0')
		}
	}
	if n[1] < 1 || n[1] > 12 || n[2] < 1 || n[2] > 28 || n[3] > 23 || n[4] > 59 || n[5] > 59 {
		return time.Time{}, false // not a time, or one that needs the calendar
	}
	return time.Date(n[0], time.Month(n[1]), n[2], n[3], n[4], n[5], n[6]*1_000_000, time.UTC), true
}

// conversion turns a recorded value into the taxonomy's notation; false means
// that the record has no such value.
type conversion func(string) (string, bool)

func same(v string) (string, bool) { return v, true }

// decimal writes a process id the way Sysmon does: Security records have
// hexadecimal ones.
func decimal(v string) (string, bool) {
	n, err := strconv.ParseUint(v, 0, 64)
	if err != nil {
		return "", false
	}
	return strconv.FormatUint(n, 10), true
}

// integrity names the level of a mandatory label, a SID S-1-16-<level>
// ([MS-DTYP] 2.4.2.4), as Sysmon does.
func integrity(label string) (string, bool) {
	rid, ok := strings.CutPrefix(label, "S-1-16-")
	if !ok {
		return "", false
	}
	n, err := strconv.ParseUint(rid, 10, 32)
	switch {
	case err != nil:
		return "", false
	case n < 0x1000:
		return "Untrusted", true
	case n < 0x2000:
		return "Low", true
	case n < 0x3000:
		return "Medium", true
	case n < 0x4000:
		return "High", true
	}
	return "System", true
}

// registryPath writes a kernel object path the way Sysmon abbreviates it.
func registryPath(v string) (string, bool) {
	for _, r := range [...]struct{ prefix, short string }{
		{`\REGISTRY\MACHINE`, "HKLM"},
		{`\REGISTRY\USER`, "HKU"},
	} {
		if len(v) >= len(r.prefix) && strings.EqualFold(v[:len(r.prefix)], r.prefix) {
			v = r.short + v[len(r.prefix):]
			break
		}
	}
	const set = `HKLM\SYSTEM\ControlSet`
	if len(v) >= len(set)+3 && strings.EqualFold(v[:len(set)], set) {
		v = v[:len(`HKLM\SYSTEM\`)] + "CurrentControlSet" + v[len(set)+3:]
	}
	return v, true
}

// protocol names the two protocols that Sysmon names (IANA numbers).
func protocol(v string) (string, bool) {
	switch v {
	case "6":
		return "tcp", true
	case "17":
		return "udp", true
	}
	return v, true
}

// outbound reads the direction of a Windows Filtering Platform record.
func outbound(v string) (string, bool) {
	switch v {
	case "%%14593", "Outbound":
		return "true", true
	case "%%14592", "Inbound":
		return "false", true
	}
	return "", false
}

// taskXML undoes the entity escapes that some shippers leave in TaskContent.
func taskXML(v string) (string, bool) {
	if strings.HasPrefix(strings.TrimLeft(v, " \t\r\n"), "&lt;") {
		return html.UnescapeString(v), true
	}
	return v, true
}

// account joins a recorded domain and user name as DOMAIN\user; it gives
// nothing where the record says "-" or has no name.
func account(data event.Fields, domain, user string) (string, bool) {
	u, ok := data.Get(user)
	if !ok || u == "" || u == "-" {
		return "", false
	}
	if d, ok := data.Get(domain); ok && d != "" && d != "-" {
		return d + `\` + u, true
	}
	return u, true
}

func set(e *event.Event, name, value string) {
	e.Canon = append(e.Canon, event.Field{Name: name, Value: value})
}
