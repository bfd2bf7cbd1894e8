package scenario

import (
	"slices"
	"strings"
	"time"
)

// Truth about a scenario: which record belongs to what (Built.Truth), what let
// the intrusion in (Built.Root), and where one thing handed on to another
// (Built.Handoffs). The builder notes all of it while it makes the records; it
// is for measuring an analysis and never part of a record.

// Root is the true root cause of the scenario's intrusion.
type Root struct {
	// Kind is the word that internal/incident has for it: volume, download,
	// document, remote-logon, exposed-service, interactive or before-recording;
	// "" if the scenario does not say.
	Kind string
	// Subject is the thing itself: the volume, the file, the logon, the process.
	Subject Subject
	// Records are the kept records that show it, sorted. They may be none, where
	// the logs that would show it are not kept.
	Records []RecordKey
}

// rootKinds are the words of Root.Kind.
var rootKinds = []string{
	"volume", "download", "document", "remote-logon", "exposed-service", "interactive", "before-recording",
}

// Subject names a thing by facts that hold in every recording of it. Fields that
// do not belong to its kind are empty.
type Subject struct {
	// Kind is process, file, registry, service, task, wmi-subscription, volume,
	// logon or script.
	Kind string
	// Host is the recorded name of the host, domain included; of a volume, the
	// host it was at.
	Host string
	// GUID, PID, Start and CommandLine are a process's. Start is Sysmon's time
	// of the start, in milliseconds, UTC.
	GUID        string
	PID         uint32
	Start       time.Time
	CommandLine string
	// Path is a file's, a registry value's or a process's image's path.
	Path string
	// Written is when this version of a file was written, or got this name; zero
	// if that was before the recording.
	Written time.Time
	// Name is a service's, a task's (with the leading backslash) or a WMI
	// consumer's name, a script block's id, or a volume's label.
	Name string
	// LUID is a logon's id on its host.
	LUID uint64
	// Serial is a volume's device serial number.
	Serial string
	// Records are the kept records of its coming into being, sorted: a process's
	// start, a file version's writing, a registration, a logon, an arrival.
	Records []RecordKey
}

// Is reports whether two subjects are the same thing.
func (s Subject) Is(o Subject) bool {
	return s.Kind == o.Kind && s.Host == o.Host && s.GUID == o.GUID && s.PID == o.PID && s.Path == o.Path &&
		s.Written.Equal(o.Written) && s.Name == o.Name && s.LUID == o.LUID && s.Serial == o.Serial
}

// Handoff is one true hand-off: From made To happen, and no parent process id
// need say so.
type Handoff struct {
	// Row is the number of the kind of hand-off: 1 creation, 2 service, 3 remote
	// service control, 4 task, 5 WMI process creation, 6 WMI subscription, 7 COM,
	// 8 opened from a volume, 9 file dropped and executed or passed as an
	// argument, 10 side-load, 11 same content under another name, 12 injection,
	// 13 autostart at logon, 14 hijacked COM class and the like, 15 named pipe, 16
	// remote logon, 17 session, 18 WinRM, 19 RDP, 20 share write, 21 other
	// credentials, 22 BITS, 23 Windows Installer, 24 script content.
	Row int
	// Name says which half of a row it is, such as "service-created" and
	// "service-ran".
	Name string
	// From and To are the ends in the direction of causation. Via, if it has a
	// kind, is the thing between them that joins them.
	From, Via, To Subject
	Time          time.Time
	// Label is that of the step which completed it; its Attack says whether it is
	// part of the intrusion.
	Label Label
	// Joinable says whether the kept records hold the keys of an exact join;
	// Class is then A or B: an identity key, or a key of content.
	Joinable bool
	Class    string
	// Missing says why it is not joinable: the records that would have to be
	// there, by log and id, alternatives separated by "or".
	Missing string
	// Records are the kept records that hold the keys, sorted.
	Records []RecordKey
}

// recordID is the place of a record in the order of making, before it has its
// number: an index into builder.records.
type recordID int

// node is a Subject in the making, with the records that bring it into being.
type node struct {
	Subject
	born []recordID
}

// need is a set of records of which one must be kept.
type need struct {
	what string // such as "security/4697", for people
	any  []recordID
}

// way is one exact join: each of its needs must be met.
type way struct {
	class string
	needs []need
}

// handoff is a Handoff in the making.
type handoff struct {
	Handoff
	from, via, to *node
	ways          []way
}

// numbered tells what became of a record: its key, and whether it was kept.
type numbered struct {
	key  RecordKey
	kept bool
}

// keys are the keys of the kept records among ids, sorted, each once.
func keys(ids []recordID, become []numbered) []RecordKey {
	var list []RecordKey
	for _, id := range ids {
		if become[id].kept {
			list = append(list, become[id].key)
		}
	}
	return sortedKeys(list)
}

func sortedKeys(list []RecordKey) []RecordKey {
	slices.SortFunc(list, RecordKey.compare)
	return slices.Compact(list)
}

func (n *node) subject(become []numbered) Subject {
	if n == nil {
		return Subject{}
	}
	s := n.Subject
	s.Records = keys(n.born, become)
	return s
}

// finish decides whether the kept records allow the join.
func (h *handoff) finish(become []numbered) Handoff {
	out := h.Handoff
	out.From, out.Via, out.To = h.from.subject(become), h.via.subject(become), h.to.subject(become)
	var missing []string
	for _, w := range h.ways {
		var have []RecordKey
		var lack []string
		for _, n := range w.needs {
			k := keys(n.any, become)
			if len(k) == 0 {
				lack = append(lack, n.what)
			}
			have = append(have, k...)
		}
		if len(lack) > 0 {
			missing = append(missing, strings.Join(lack, " and "))
			continue
		}
		out.Records = append(out.Records, have...)
		if out.Class == "" || w.class < out.Class {
			out.Class = w.class
		}
		out.Joinable = true
	}
	out.Records = sortedKeys(out.Records)
	switch {
	case out.Joinable:
	case len(missing) == 0:
		out.Missing = "no log holds its keys"
	default:
		slices.Sort(missing)
		out.Missing = strings.Join(slices.Compact(missing), " or ")
	}
	return out
}
