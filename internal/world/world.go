package world

import (
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"ashiato/internal/event"
)

// Limits bound what a World holds. Zero fields mean the defaults.
type Limits struct {
	Records   int // kept records; default 4,000,000
	Processes int // processes; default 1,000,000
	// Hosts is how many hosts are told apart, default 100,000. Records of further
	// ones are not taken in.
	Hosts int
	// HostBytes is about how much memory one host may take, default DefaultHostBytes
	// and at most MaxHostBytes. What does not fit is given up in the order of Shed.
	// While one host is thinned it takes up to twice as much.
	HostBytes int64
}

// Bounds of Limits.HostBytes. Below MinHostBytes the tables by themselves are
// more than that.
const (
	MinHostBytes     = 256 << 10
	DefaultHostBytes = 64 << 20
	MaxHostBytes     = 2 << 30
)

// Lost counts what the limits left out. Once anything is lost, the answers no
// longer are a function of the set of events alone.
type Lost struct {
	Records   int
	Processes int
}

// World is built by New and Add; see the package comment.
type World struct {
	limits    Limits
	ledgerKey [2]uint64
	spellings sync.Map // name of a host as recorded → its *store
	spelled   atomic.Int64
	mu        sync.Mutex
	stores    map[string]*store // by match form of the host's name

	// What Add counts, over all hosts.
	keptRecords, keptProcesses atomic.Int64
	lostRecords, lostProcesses atomic.Int64

	lowered map[string]string // match forms of host names
	paths   map[string]string // match forms of paths

	resolved     atomic.Bool
	records      []*Record // kept, in event order
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
	stated       map[string][]*Mount // host|device name → the attachments of which the sensor says so
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
	if l.Hosts <= 0 {
		l.Hosts = 100_000
	}
	if l.HostBytes <= 0 {
		l.HostBytes = DefaultHostBytes
	}
	l.HostBytes = min(max(l.HostBytes, MinHostBytes), MaxHostBytes)
	return &World{
		limits: l, ledgerKey: [2]uint64{rand.Uint64(), rand.Uint64()},
		stores: map[string]*store{}, lowered: map[string]string{}, paths: map[string]string{},
	}
}

// Lost returns what did not fit.
func (w *World) Lost() Lost {
	return Lost{Records: int(w.lostRecords.Load()), Processes: int(w.lostProcesses.Load())}
}

// maxHostSpellings bounds the spellings of hosts' names that are remembered.
const maxHostSpellings = 1 << 16

// store returns the store of a host, nil if there is none and it is not to be
// made, or may not.
func (w *World) store(host string, create bool) *store {
	if s, ok := w.spellings.Load(host); ok {
		return s.(*store)
	}
	key := HostKey(host)
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.stores[key]
	if s == nil {
		if !create || len(w.stores) >= w.limits.Hosts {
			return nil
		}
		s = newStore(strings.Clone(key), w.ledgerKey)
		w.stores[s.key] = s
	}
	if w.spelled.Load() < maxHostSpellings && len(host) <= maxSpelling {
		w.spelled.Add(1)
		w.spellings.Store(strings.Clone(host), s)
	}
	return s
}

// sortedStores returns the stores by match form of the host.
func (w *World) sortedStores() []*store {
	all := make([]*store, 0, len(w.stores))
	for _, s := range w.stores {
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b *store) int { return strings.Compare(a.key, b.key) })
	return all
}

// Add takes an event in. The event is not kept.
func (w *World) Add(e *event.Event) { w.add(e, false) }

// AddDetected is Add for an event for which a rule held: its record and its
// processes are given up last.
func (w *World) AddDetected(e *event.Event) { w.add(e, true) }

func (w *World) add(e *event.Event, detected bool) {
	w.reset()
	var s *store
	if len(e.Host) <= maxText {
		s = w.store(e.Host, true)
	}
	if s == nil {
		w.lostRecords.Add(1)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	defer w.fit(s, false)
	s.note(e)
	get := e.Value
	room := func() bool {
		if w.keptProcesses.Add(1) > int64(w.limits.Processes) {
			w.keptProcesses.Add(-1)
			w.lostProcesses.Add(1)
			return false
		}
		return true
	}
	switch e.Kind {
	case event.RemoteThread, event.ProcessAccess:
		s.mention(e, named{cmpFirst(get("SourceProcessGuid"), get("SourceProcessGUID")), get("SourceProcessId"), get("SourceImage"), "", get("SourceUser")}, detected, room)
		s.mention(e, named{cmpFirst(get("TargetProcessGuid"), get("TargetProcessGUID")), get("TargetProcessId"), get("TargetImage"), "", get("TargetUser")}, detected, room)
	default:
		if g := get("ProcessGuid"); g != "" {
			s.mention(e, named{g, get("ProcessId"), get("Image"), "", get("User")}, detected, room)
		}
	}
	if e.Kind == event.ProcessCreate {
		s.mention(e, named{get("ParentProcessGuid"), get("ParentProcessId"), get("ParentImage"), get("ParentCommandLine"), get("ParentUser")}, detected, room)
	}
	names, kept := keptFields[e.Kind]
	kept = kept && wanted(e)
	at, mark := s.look(e)
	if mark != unseen {
		s.repeated++
		if mark >= firstKept && kept {
			s.replace(mark-firstKept, e, names)
			row := s.rows.at(mark - firstKept)
			row.detected = row.detected || detected
		}
		return
	}
	if kept && s.level >= levelNoContext && !detected && isContext(e.Kind, e.Value) {
		s.shed.Context++
		kept = false
	}
	if kept && w.keptRecords.Add(1) > int64(w.limits.Records) {
		w.keptRecords.Add(-1)
		w.lostRecords.Add(1)
		kept = false
	}
	if !kept {
		s.seen.put(at, unkept)
		return
	}
	var r row
	r, s.refs = s.newRow(e, names, s.refs)
	r.detected = detected
	s.seen.put(at, firstKept+s.rows.add(r))
}

// replace takes another copy of a kept record if its reference is smaller.
func (s *store) replace(i uint32, e *event.Event, names []string) {
	r := s.rows.at(i)
	if e.Ref.Compare(s.ref(&r.citation)) >= 0 {
		return
	}
	r.citation = s.cite(&e.Ref)
	// The copies may differ in what their shippers kept.
	s.refs = s.setFields(r, e, names, s.refs)
}

// look finds a record in the ledger.
func (s *store) look(e *event.Event) (at place, mark uint32) {
	at, mark, s.buffer = s.seen.look(e, s.key, s.channel(e.Channel), s.buffer)
	return at, mark
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
	o := origin{e.Provider, e.Host, e.Channel, e.Kind, e.ID, e.Task}.clone()
	r := &Record{Time: e.Time.UTC(), origin: &o, PID: e.PID, Ref: e.Ref, loose: event.Fields{}}
	for _, n := range names {
		if v, ok := e.Get(n); ok && v != "" {
			r.loose = append(r.loose, event.Field{Name: fieldName(n), Value: strings.Clone(cut(v))})
		}
	}
	if s := w.store(e.Host, false); s != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		if _, mark := s.look(e); mark >= firstKept {
			r.Ref = s.ref(&s.rows.at(mark - firstKept).citation)
		}
	}
	return r
}

// maxCached bounds the caches of match forms; what is not in them is made anew.
const maxCached = 1 << 20

// hostKey is HostKey, remembered.
func (w *World) hostKey(host string) string {
	if t, ok := w.lowered[host]; ok {
		return t
	}
	t := HostKey(host)
	if len(w.lowered) < maxHostSpellings {
		t = strings.Clone(t)
		w.lowered[strings.Clone(host)] = t
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
		w.paths[strings.Clone(p)] = k
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
	if !w.resolved.Load() {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.resolved.Swap(false) {
		return
	}
	clear(w.paths)
	w.records = nil
	w.processes, w.byKey, w.byGUID, w.byStart, w.byPID, w.starts = nil, nil, nil, nil, nil, nil
	w.volumes, w.mounts, w.devices, w.deviceMounts, w.stated, w.gaps, w.holes = nil, nil, nil, nil, nil, nil, nil
}

// resolve turns the set of records into the answers.
func (w *World) resolve() {
	if w.resolved.Load() {
		return
	}
	w.resolved.Store(true)
	n := 0
	for _, s := range w.stores {
		w.fit(s, true)
		n += s.rows.n
	}
	all := make([]Record, 0, n)
	for _, s := range w.sortedStores() {
		for i := range uint32(s.rows.n) {
			all = append(all, s.record(s.rows.at(i)))
		}
	}
	w.records = make([]*Record, n)
	for i := range all {
		w.records[i] = &all[i]
	}
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
func (w *World) Repeated() int {
	n := 0
	for _, s := range w.stores {
		n += s.repeated
	}
	return n
}

// Hosts returns the hosts that wrote any record, as recorded, sorted. Of two
// spellings of one name the smaller is taken.
func (w *World) Hosts() []string {
	hosts := make([]string, 0, len(w.stores))
	for _, s := range w.stores {
		if s.span != nil {
			hosts = append(hosts, s.span.name)
		}
	}
	slices.Sort(hosts)
	return hosts
}

// Span returns the times of the first and last event of a host, zero if it has
// none.
func (w *World) Span(host string) (first, last time.Time) {
	if s := w.stores[w.hostKey(host)]; s != nil && s.span != nil {
		return s.span.first, s.span.last
	}
	return first, last
}

type span struct {
	name        string
	first, last time.Time
}
