package world

import (
	"hash/maphash"
	"slices"
	"strings"
	"time"

	"ashiato/internal/event"
)

// Limits bound what a World holds. Zero fields mean the defaults.
type Limits struct {
	Records   int // kept records; default 4,000,000
	Processes int // processes; default 1,000,000
}

// Lost counts what the limits left out. Once anything is lost, the answers no
// longer are a function of the set of events alone.
type Lost struct {
	Records   int
	Processes int
}

// World is built by New and Add; see the package comment.
type World struct {
	limits   Limits
	lost     Lost
	strings  map[string]string
	lowered  map[string]string // match forms of host and channel names
	paths    map[string]string // match forms of paths
	seeds    [2]maphash.Seed
	buffer   []byte
	seen     map[contentKey]*Record // every record, nil if it is not kept
	repeated int
	records  []*Record
	mentions map[guidID]*mention
	logs     map[logKey][]entry
	hosts    map[string]*span

	resolved     bool
	processes    []*Process
	byKey        map[string]*Process
	byGUID       map[guidID]*Process
	byStart      map[startID]*Process
	byPID        map[pidKey][]*Process
	starts       map[*Record]*Process // of records that name no ProcessGuid
	volumes      []*Volume
	mounts       map[string][]*Mount
	devices      map[string]byte // host|device name → its drive letter
	deviceMounts map[string]deviceMount
	gaps         []Gap
	holes        map[logKey][]hole
}

// New returns an empty World.
func New(l Limits) *World {
	if l.Records <= 0 {
		l.Records = 4_000_000
	}
	if l.Processes <= 0 {
		l.Processes = 1_000_000
	}
	return &World{
		limits: l, strings: map[string]string{}, lowered: map[string]string{}, paths: map[string]string{},
		seeds:    [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()},
		seen:     map[contentKey]*Record{},
		mentions: map[guidID]*mention{}, logs: map[logKey][]entry{}, hosts: map[string]*span{},
	}
}

// Lost returns what did not fit.
func (w *World) Lost() Lost { return w.lost }

// Add takes an event in. The event is not kept.
func (w *World) Add(e *event.Event) {
	w.reset()
	w.note(e)
	get := e.Value
	switch e.Kind {
	case event.RemoteThread, event.ProcessAccess:
		w.mention(e, cmpFirst(get("SourceProcessGuid"), get("SourceProcessGUID")), get("SourceProcessId"), get("SourceImage"), "", get("SourceUser"))
		w.mention(e, cmpFirst(get("TargetProcessGuid"), get("TargetProcessGUID")), get("TargetProcessId"), get("TargetImage"), "", get("TargetUser"))
	default:
		if g := get("ProcessGuid"); g != "" {
			w.mention(e, g, get("ProcessId"), get("Image"), "", get("User"))
		}
	}
	if e.Kind == event.ProcessCreate {
		w.mention(e, get("ParentProcessGuid"), get("ParentProcessId"), get("ParentImage"), get("ParentCommandLine"), get("ParentUser"))
	}
	names, kept := keptFields[e.Kind]
	kept = kept && wanted(e)
	key := w.content(e)
	if r, repeat := w.seen[key]; repeat {
		w.repeated++
		if r != nil && kept && e.Ref.Compare(r.Ref) < 0 {
			r.Ref = w.internRef(e.Ref)
			// The copies may differ in what their shippers kept.
			r.Fields = w.fields(e, names)
		}
		return
	}
	if !kept {
		w.seen[key] = nil
		return
	}
	if len(w.records) >= w.limits.Records {
		w.lost.Records++
		w.seen[key] = nil
		return
	}
	r := w.record(e, names)
	w.seen[key] = r
	w.records = append(w.records, r)
}

// RecordOf makes a Record of any event, with all fields its kind keeps and those
// that say which process it is about.
func (w *World) RecordOf(e *event.Event) *Record {
	names := keptFields[e.Kind]
	if names == nil {
		names = []string{
			"ProcessGuid", "ProcessId", "Image", "User", "TargetObject", "Details", "TargetFilename", "PipeName",
			"SourceProcessGuid", "SourceProcessGUID", "SourceProcessId", "SourceImage",
			"TargetProcessGuid", "TargetProcessGUID", "TargetProcessId", "TargetImage", "GrantedAccess",
			"ServiceName", "TaskName", "ImagePath", "HostApplication", "NewName",
			"TargetLogonId", "LogonType", "IpAddress", "IpPort", "TargetUserName", "SubjectLogonId", "ShareName", "RelativeTargetName",
		}
	}
	r := w.record(e, names)
	if kept := w.seen[w.content(e)]; kept != nil {
		r.Ref = kept.Ref
	}
	return r
}

func (w *World) record(e *event.Event, names []string) *Record {
	return &Record{
		Time: e.Time.UTC(), Kind: e.Kind, ID: e.ID, Task: e.Task, PID: e.PID,
		Provider: w.intern(e.Provider), Host: w.intern(e.Host), Channel: w.intern(e.Channel),
		Fields: w.fields(e, names), Ref: w.internRef(e.Ref),
	}
}

func (w *World) fields(e *event.Event, names []string) event.Fields {
	var fields event.Fields
	for _, n := range names {
		v, ok := e.Get(n)
		if !ok || v == "" {
			continue
		}
		if len(v) > maxText {
			v = v[:maxText]
		}
		name := n
		if strings.HasSuffix(n, "GUID") {
			name = n[:len(n)-4] + "Guid" // Sysmon 10 spells it so
		}
		fields = append(fields, event.Field{Name: name, Value: w.intern(v)})
	}
	return slices.Clip(fields)
}

func (w *World) intern(s string) string {
	if len(s) > 1024 {
		return strings.Clone(s)
	}
	if t, ok := w.strings[s]; ok {
		return t
	}
	t := strings.Clone(s)
	w.strings[t] = t
	return t
}

func (w *World) internRef(r event.EvidenceRef) event.EvidenceRef {
	r.Host, r.Channel, r.File = w.intern(r.Host), w.intern(r.Channel), w.intern(r.File)
	return r
}

// maxCached bounds the caches of match forms; what is not in them is made anew.
const maxCached = 1 << 20

// hostKey is HostKey, remembered.
func (w *World) hostKey(host string) string { return w.lower(host) }

// lower returns the match form of a host's or channel's name.
func (w *World) lower(s string) string {
	if t, ok := w.lowered[s]; ok {
		return t
	}
	t := w.intern(strings.ToLower(s))
	if len(w.lowered) < maxCached {
		w.lowered[w.intern(s)] = t
	}
	return t
}

// pathKey is PathKey, remembered.
func (w *World) pathKey(p string) string {
	if p == "" {
		return ""
	}
	if k, ok := w.paths[p]; ok {
		return k
	}
	k := PathKey(p)
	if len(w.paths) < maxCached && len(p) <= 1024 {
		w.paths[w.intern(p)] = k
	}
	return k
}

func cmpFirst(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

func (w *World) reset() {
	if !w.resolved {
		return
	}
	w.resolved = false
	w.processes, w.byKey, w.byGUID, w.byStart, w.byPID, w.starts = nil, nil, nil, nil, nil, nil
	w.volumes, w.mounts, w.devices, w.deviceMounts, w.gaps, w.holes = nil, nil, nil, nil, nil, nil
}

// resolve turns the set of records into the answers.
func (w *World) resolve() {
	if w.resolved {
		return
	}
	w.resolved = true
	slices.SortFunc(w.records, compareRecords)
	w.resolveProcesses()
	w.resolveVolumes()
	w.resolveGaps()
}

// Records returns the kept records in event order.
func (w *World) Records() []*Record {
	w.resolve()
	return w.records
}

// Repeated returns how many added events were records that had been added
// before, from whatever file.
func (w *World) Repeated() int { return w.repeated }

// Hosts returns the hosts that wrote any record, as recorded, sorted. Of two
// spellings of one name the smaller is taken.
func (w *World) Hosts() []string {
	hosts := make([]string, 0, len(w.hosts))
	for _, s := range w.hosts {
		hosts = append(hosts, s.name)
	}
	slices.Sort(hosts)
	return hosts
}

// Span returns the times of the first and last event of a host, zero if it has
// none.
func (w *World) Span(host string) (first, last time.Time) {
	if s := w.hosts[w.hostKey(host)]; s != nil {
		return s.first, s.last
	}
	return first, last
}

type span struct {
	name        string
	first, last time.Time
}
