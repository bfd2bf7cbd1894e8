// Package event defines the Event: one record of an endpoint, read from any
// source, with its fields under the names of Sigma's taxonomy (which are
// Sysmon's), and the EvidenceRef by which the raw record is found again.
//
// Everything downstream (rules, joins, incidents, pictures) reads events only.
// The package imports the standard library and nothing of ours.
//
// # Text
//
// Field values keep every code unit of the record. UTF-16 input is held as
// UTF-8 with lone surrogates encoded as three bytes (WTF-8), so nothing is
// replaced and nothing is lost. Values are never trimmed, cleaned or folded:
// the blank in "C:\Windows \System32" is the attack.
//
// # Two name spaces
//
// Data holds the fields as the record has them. Canon holds only those fields
// whose name or notation differs in the taxonomy, for example Image for the
// NewProcessName of a Security 4688 and the decimal ProcessId of the process
// it created (its own ProcessId field is the creator's). Get reads the taxonomy,
// Raw reads the record.
package event

import (
	"cmp"
	"encoding/hex"
	"strconv"
	"strings"
	"time"
)

// Field is one named value of a record. A name may occur more than once, as
// with the value lists of rendered events.
type Field struct {
	Name  string
	Value string
}

// Fields is a record's fields in their recorded order.
type Fields []Field

// Get returns the first value recorded under name, which is compared exactly,
// and whether there is one.
func (f Fields) Get(name string) (string, bool) {
	for i := range f {
		if f[i].Name == name {
			return f[i].Value, true
		}
	}
	return "", false
}

// Flags are properties of how a record was read.
type Flags uint8

const (
	// Carved marks a record found outside its container's own index, for
	// instance in the slack of an EVTX chunk: it was there, its order and
	// completeness are not vouched for.
	Carved Flags = 1 << iota
	// BadChecksum marks a record of a block whose checksum is wrong.
	BadChecksum
	// Partial marks a record of which some fields could not be decoded.
	Partial
	// Unread marks a record whose fields nobody reads, see source.Interest: it
	// has its System part, but neither Data nor, unless it has no record id, a
	// hash. It can be counted and placed in time; it cannot be cited.
	Unread
)

// Event is one record of an endpoint. Events are values of their source: they
// are not changed after normalisation.
type Event struct {
	// Time is when it happened, UTC, as far as the record tells: the time of the
	// log entry with Offset, or for Sysmon the UtcTime of the record where it can
	// be believed; see package normalize.
	Time time.Time
	// Kind is what happened, whichever log said so.
	Kind Kind
	// Host is the recorded computer name, as recorded.
	Host string
	// Provider is the event's provider name, e.g. "Microsoft-Windows-Sysmon".
	Provider string
	// Channel is the log's name, e.g. "Security". Its letter case is the
	// record's; compare it with strings.EqualFold.
	Channel string
	// ID is the provider's event id.
	ID uint32
	// Version, Level, Task, Opcode and Keywords are the System fields of the
	// same names; zero if the source has none.
	Version  uint8
	Level    uint8
	Opcode   uint8
	Task     uint16
	Keywords uint64
	// PID and TID are the process and thread that wrote the record (System
	// Execution), which is seldom the process it is about.
	PID, TID uint32
	// UserSID is the System Security UserID, "" if absent.
	UserSID string
	// Logged is the log entry's own time (System TimeCreated), as recorded: UTC,
	// unless the log's clock lies.
	Logged time.Time
	// Offset is what has to be added to Logged to make it UTC. It is not zero only
	// where a log was found to hold another clock, such as local time marked as
	// UTC; see package clock.
	Offset time.Duration
	// Data is EventData or UserData, as recorded.
	Data Fields
	// Canon is what normalisation adds; see the package comment.
	Canon Fields
	// Ref finds the raw record again.
	Ref EvidenceRef
	// Flags tell how the record was read.
	Flags Flags
}

// Entered returns when the log entry was written, UTC: Logged with Offset.
func (e *Event) Entered() time.Time { return e.Logged.Add(e.Offset) }

// Get returns a field by its taxonomy name: Canon first, then Data, then the
// System fields under Sigma's names (EventID, Channel, Computer,
// Provider_Name, …). The second result is false if the record has no such
// field or only a null.
func (e *Event) Get(name string) (string, bool) {
	if v, ok := e.Canon.Get(name); ok {
		return v, true
	}
	return e.Raw(name)
}

// Value is Get without the second result.
func (e *Event) Value(name string) string {
	v, _ := e.Get(name)
	return v
}

// Raw returns a field by its recorded name, and System fields as Get does.
func (e *Event) Raw(name string) (string, bool) {
	if v, ok := e.Data.Get(name); ok {
		return v, true
	}
	return e.System(name)
}

// System returns a System field under Sigma's name for it. XML attributes are
// joined to their element by an underscore, as in Provider_Name and
// Execution_ProcessID.
func (e *Event) System(name string) (string, bool) {
	switch name {
	case "EventID":
		return strconv.FormatUint(uint64(e.ID), 10), true
	case "Channel":
		return e.Channel, e.Channel != ""
	case "Computer", "Hostname", "ComputerName":
		return e.Host, e.Host != ""
	case "Provider_Name", "Provider", "SourceName":
		return e.Provider, e.Provider != ""
	case "Version":
		return strconv.Itoa(int(e.Version)), true
	case "Level":
		return strconv.Itoa(int(e.Level)), true
	case "Opcode":
		return strconv.Itoa(int(e.Opcode)), true
	case "Task":
		return strconv.Itoa(int(e.Task)), true
	case "Keywords":
		return "0x" + strconv.FormatUint(e.Keywords, 16), true
	case "EventRecordID":
		return strconv.FormatUint(e.Ref.RecordID, 10), true
	case "Execution_ProcessID":
		return strconv.FormatUint(uint64(e.PID), 10), e.PID != 0
	case "Execution_ThreadID":
		return strconv.FormatUint(uint64(e.TID), 10), e.TID != 0
	case "Security_UserID", "UserID":
		return e.UserSID, e.UserSID != ""
	case "TimeCreated_SystemTime", "TimeCreated":
		return e.Logged.UTC().Format(TimeFormat), !e.Logged.IsZero()
	}
	return "", false
}

// TimeFormat is how times are written in fields and machine output: RFC 3339,
// UTC, with the 100 ns resolution of Windows.
const TimeFormat = "2006-01-02T15:04:05.0000000Z"

// EvidenceRef finds one raw record again and proves that it is the same.
type EvidenceRef struct {
	// Host and Channel are the record's own, as recorded.
	Host    string
	Channel string
	// RecordID is the EventRecordID, 0 if the record has none.
	RecordID uint64
	// File is the input file as the user named it; members of an archive
	// follow a "!", as in "logs.zip!Security.evtx". Slashes are "/".
	File string
	// Offset is the record's first byte in File (after decompression).
	Offset int64
	// SHA256 is over the raw bytes: the whole EVTX record with its header and
	// trailing size, the JSON line without its line end, or the XML element.
	SHA256 [32]byte
}

// IsZero reports whether r refers to nothing.
func (r EvidenceRef) IsZero() bool { return r == EvidenceRef{} }

// Compare orders references by host, channel, record id, file, offset and
// hash: the order of last resort wherever a tie must not depend on arrival.
func (r EvidenceRef) Compare(s EvidenceRef) int {
	return cmp.Or(
		strings.Compare(r.Host, s.Host),
		strings.Compare(r.Channel, s.Channel),
		cmp.Compare(r.RecordID, s.RecordID),
		strings.Compare(r.File, s.File),
		cmp.Compare(r.Offset, s.Offset),
		strings.Compare(string(r.SHA256[:]), string(s.SHA256[:])),
	)
}

// Hash is SHA256 in lower-case hexadecimal.
func (r EvidenceRef) Hash() string { return hex.EncodeToString(r.SHA256[:]) }

// Compare orders events by time, then by evidence.
func Compare(a, b *Event) int {
	if c := a.Time.Compare(b.Time); c != 0 {
		return c
	}
	return a.Ref.Compare(b.Ref)
}
