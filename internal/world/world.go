package world

import (
	"cmp"
	"container/heap"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aead/siphash"

	"ashiato/internal/event"
)

// Limits bound what a World holds. Zero fields mean the defaults.
type Limits struct {
	// Hosts is how many hosts are told apart, default 100,000. Of more, those are
	// whose names come first by a hash; records of the others are not taken in.
	Hosts int
	// HostBytes is about how much memory one host may take, default DefaultHostBytes
	// and at most MaxHostBytes. What does not fit is given up in the order of Shed;
	// half of it is what is answered. While one host is thinned it takes up to twice
	// as much.
	HostBytes int64
	// Bytes is about how much memory all hosts may take, default DefaultBytes. If
	// all that was added would take more, were nothing given up and no text
	// shared, the hosts that wrote most get an equal share each, such that all of
	// the others and the shares are this much: HostBytes is that share then.
	Bytes int64
}

// Bounds of Limits.HostBytes. Below MinHostBytes the tables by themselves are
// more than that.
const (
	MinHostBytes     = 256 << 10
	DefaultHostBytes = 64 << 20
	MaxHostBytes     = 2 << 30
)

// DefaultBytes is the default of Limits.Bytes.
const DefaultBytes = 4 << 30

// Lost counts what the limit of hosts left out.
type Lost struct {
	Records int // each time one was added
}

// World is built by New and Add; see the package comment.
type World struct {
	limits    Limits
	ledgerKey [2]uint64
	spellings sync.Map // name of a host as recorded → its *store
	spelled   atomic.Int64
	mu        sync.Mutex
	stores    map[string]*store // by match form of the host's name
	ranked    ranking           // the same
	lost      atomic.Int64      // events

	gross atomic.Int64 // what hosts would take, each at most share
	share atomic.Int64 // what a host may take that would take more

	lowered map[string]string // match forms of host names
	paths   map[string]string // match forms of paths

	whole        *World // that this is a part of, nil if of none
	resolved     atomic.Bool
	plans        map[*store]*plan
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
	gapsOf       map[string][]Gap // by match form of the host's name, by time, without holes
	holes        map[logKey][]hole
	services     []*Service // nil until they are asked for
	tasks        []*Task    // likewise
}

// New returns an empty World.
func New(l Limits) *World {
	if l.Hosts <= 0 {
		l.Hosts = 100_000
	}
	if l.HostBytes <= 0 {
		l.HostBytes = DefaultHostBytes
	}
	l.HostBytes = min(max(l.HostBytes, MinHostBytes), MaxHostBytes)
	if l.Bytes <= 0 {
		l.Bytes = DefaultBytes
	}
	w := &World{
		limits: l, ledgerKey: [2]uint64{rand.Uint64(), rand.Uint64()},
		stores: map[string]*store{}, lowered: map[string]string{}, paths: map[string]string{},
	}
	w.share.Store(l.HostBytes)
	return w
}

// Lost returns what did not fit.
func (w *World) Lost() Lost {
	return Lost{Records: int(w.lost.Load())}
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
		if !create || len(w.stores) >= w.limits.Hosts && !w.makeRoom(key) {
			return nil
		}
		s = newStore(strings.Clone(key), w.ledgerKey)
		w.stores[s.key] = s
		heap.Push(&w.ranked, s)
	}
	if w.spelled.Load() < maxHostSpellings && len(host) <= maxSpelling {
		name := strings.Clone(host)
		if _, known := w.spellings.LoadOrStore(name, s); !known {
			w.spelled.Add(1)
			s.spelled = append(s.spelled, name)
		}
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
func (w *World) Add(e *event.Event) { w.add(e, plain) }

// AddCounted is Add for an event that a correlation counts: its record and its
// processes are given up later than others.
func (w *World) AddCounted(e *event.Event) { w.add(e, counted) }

// AddDetected is Add for an event for which a rule held: its record and its
// processes are given up last.
func (w *World) AddDetected(e *event.Event) { w.add(e, detected) }

func (w *World) add(e *event.Event, st standing) {
	w.reset()
	var s *store
	if len(e.Host) <= maxText {
		s = w.store(e.Host, true)
	}
	if s == nil || !s.add(w, e, st) {
		w.lost.Add(1)
		return
	}
	// Some more than is allowed, so that this is done seldom and never for what
	// is allowed in the end.
	if w.gross.Load() > w.limits.Bytes+w.limits.Bytes/8 {
		w.shareOut()
	}
}

// add is World.Add for the events of one host. It reports whether the host is
// still told apart.
func (s *store) add(w *World, e *event.Event, st standing) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.evicted {
		return false
	}
	defer w.fit(s)
	s.note(e)
	names, kept := keptFields[e.Kind]
	kept = kept && wanted(e)
	room := false
	if kept {
		var c class
		c, room = s.room(e, st)
		s.seenIn(&e.Ref, c, moment{e.Time.Unix(), e.Ref.RecordID, uint32(e.Time.Nanosecond()), true})
	}
	ledger := s.seen.cost
	at, mark := s.look(e)
	eachNamed(e.Kind, e.Value, func(n named) { s.mention(e, n, st, mark == unseen) })
	if mark != unseen {
		s.repeated++
		switch {
		case !kept:
		case mark == unwanted: // a copy that says less came first
			s.seen.mark(at, s.take(e, names, st, room))
		case mark >= firstKept:
			s.replace(mark-firstKept, e, names)
			if row := s.rows.at(mark - firstKept); row.standing < st {
				if row.standing == plain && isContext(e.Kind, e.Value) {
					s.context--
				}
				row.standing = st
			}
		case st > plain && room:
			// It was given up before it was known that a rule held.
			if isContext(e.Kind, e.Value) {
				s.context--
			}
			s.seen.mark(at, firstKept+s.addRow(e, names, st))
		}
		return true
	}
	s.given++
	mark = unwanted
	if kept {
		mark = s.take(e, names, st, room)
	}
	s.seen.put(at, mark)
	s.weigh(w, e, kept, names, s.seen.cost-ledger)
	return true
}

// take takes a record in that can take part in a join, if there is room for it, and
// returns its mark.
func (s *store) take(e *event.Event, names []string, st standing, room bool) uint32 {
	s.wanted++
	if st == plain && isContext(e.Kind, e.Value) {
		s.context++
	}
	if !room {
		return unkept
	}
	return firstKept + s.addRow(e, names, st)
}

// room returns a record's class, and whether it may be in the answers.
func (s *store) room(e *event.Event, st standing) (class, bool) {
	if st == plain && isContext(e.Kind, e.Value) {
		return classContext, s.level < levelNoContext
	}
	c := classOf(e.Kind, func(name string) string { return clip(e.Value(name)) }, st)
	if !s.cuts[c].made {
		return c, true
	}
	at := citation{record: e.Ref.RecordID, sum: e.Ref.SHA256}
	return c, !s.cuts[c].gone(s.age(e.Time.Unix(), uint32(e.Time.Nanosecond()), e.Channel, e.Provider, e.ID, &at))
}

func (s *store) addRow(e *event.Event, names []string, st standing) uint32 {
	var r row
	r, s.refs = s.newRow(e, names, s.refs)
	r.standing = st
	return s.rows.add(r)
}

// replace takes another copy of a kept record if its reference is smaller. The
// copies may differ in what their shippers kept.
func (s *store) replace(i uint32, e *event.Event, names []string) {
	r := s.rows.at(i)
	if o := &s.origins.list[r.origin]; o.Host != e.Host || o.Channel != cutName(e.Channel) || o.Task != e.Task || !s.says(r, e, names) {
		s.differing++
	}
	if e.Ref.Compare(s.ref(&r.citation)) >= 0 {
		return
	}
	st := r.standing
	*r, s.refs = s.newRow(e, names, s.refs)
	r.standing = st
}

// says reports whether a kept record and an event have the same fields of names.
func (s *store) says(r *row, e *event.Event, names []string) bool {
	values := s.fieldsOf(r)
	for i, name := range names {
		v, _ := e.Get(name)
		kept := ""
		if r.present&(1<<i) != 0 {
			kept, values = s.texts.get(values[0]), values[1:]
		}
		if kept != clip(v) {
			return false
		}
	}
	return true
}

// maxGross stands for more than any host may take.
const maxGross = 1 << 50

// weigh adds what a record would take to what all of its host would. What the
// ledger does counts as much more as the rest of a host's memory is larger, so that
// a host whose ledger is full has more than its share.
func (s *store) weigh(w *World, e *event.Event, kept bool, names []string, ledger int64) {
	cost := 4 * ledger
	if kept {
		cost += rowCost
		for _, name := range names {
			if v, ok := e.Get(name); ok {
				cost += valueCost + textCost + int64(min(len(v), maxText))
			}
		}
	} else if e.Value("ProcessGuid") != "" {
		cost += mentionCost / 4
	}
	s.gross = min(s.gross+cost, maxGross)
	s.count(w)
}

// count brings World.gross up to date.
func (s *store) count(w *World) {
	n := min(s.gross, w.share.Load())
	w.gross.Add(n - s.counted)
	s.counted = n
}

// shareOut finds the share of hosts that wrote the most, and holds them to it.
func (w *World) shareOut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.gross.Load() <= w.limits.Bytes+w.limits.Bytes/8 {
		return // another did it
	}
	stores := w.sortedStores()
	all := make([]int64, len(stores))
	for i, s := range stores {
		s.mu.Lock()
		all[i] = s.gross
		s.mu.Unlock()
	}
	w.share.Store(min(w.share.Load(), shareOf(all, w.limits.Bytes+w.limits.Bytes/16, w.limits.HostBytes)))
	for _, s := range stores {
		s.mu.Lock()
		s.count(w)
		w.fit(s)
		s.mu.Unlock()
	}
}

// shareOf returns what those get who want more than it, at most most, so that with
// what the others want it is no more than whole.
func shareOf(want []int64, whole, most int64) int64 {
	slices.Sort(want)
	for i, n := range want {
		if each := whole / int64(len(want)-i); n > each {
			return min(each, most)
		}
		whole -= min(n, most)
	}
	return most
}

// ranking is a heap of stores, the one whose name comes last by a hash on top.
type ranking []*store

func (r ranking) Len() int           { return len(r) }
func (r ranking) Less(i, j int) bool { return ranksBefore(r[j].key, r[i].key) }
func (r ranking) Swap(i, j int)      { r[i], r[j] = r[j], r[i] }
func (r *ranking) Push(s any)        { *r = append(*r, s.(*store)) }

func (r *ranking) Pop() any {
	last := len(*r) - 1
	s := (*r)[last]
	*r = (*r)[:last]
	return s
}

// ranksBefore reports whether host a is kept rather than host b.
func ranksBefore(a, b string) bool {
	var key [siphash.KeySize]byte
	x, y := siphash.Sum64([]byte(a), &key), siphash.Sum64([]byte(b), &key)
	return cmp.Or(cmp.Compare(x, y), strings.Compare(a, b)) < 0
}

// makeRoom makes room for a host if that ranks before another. w.mu is held.
func (w *World) makeRoom(key string) bool {
	if !ranksBefore(key, w.ranked[0].key) {
		return false
	}
	s := heap.Pop(&w.ranked).(*store)
	delete(w.stores, s.key)
	for _, name := range s.spelled {
		w.spellings.Delete(name)
	}
	w.spelled.Add(-int64(len(s.spelled)))
	s.spelled = nil
	s.mu.Lock()
	defer s.mu.Unlock()
	s.evicted = true
	w.lost.Add(int64(s.given + s.repeated))
	w.gross.Add(-s.counted)
	s.counted = 0
	return true
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
			r.loose = append(r.loose, event.Field{Name: fieldName(n), Value: strings.Clone(clip(v))})
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
	w.plans, w.records = nil, nil
	w.processes, w.byKey, w.byGUID, w.byStart, w.byPID, w.starts = nil, nil, nil, nil, nil, nil
	w.volumes, w.mounts, w.devices, w.deviceMounts, w.stated, w.gaps, w.holes = nil, nil, nil, nil, nil, nil, nil
	w.gapsOf = nil
	w.services, w.tasks = nil, nil
}

// resolve turns the set of records into the answers.
func (w *World) resolve() {
	if w.resolved.Load() {
		return
	}
	w.resolved.Store(true)
	share := w.finalShare()
	w.plans = make(map[*store]*plan, len(w.stores))
	for _, s := range w.stores {
		w.plans[s] = w.planOf(s, share)
	}
	w.answer()
}

// finalShare is World.share where no more records come.
func (w *World) finalShare() int64 {
	if w.whole != nil {
		return w.whole.finalShare()
	}
	if w.share.Load() == w.limits.HostBytes && w.gross.Load() <= w.limits.Bytes {
		return w.limits.HostBytes
	}
	gross := make([]int64, 0, len(w.stores))
	for _, s := range w.stores {
		gross = append(gross, s.gross)
	}
	return min(w.share.Load(), shareOf(gross, w.limits.Bytes, w.limits.HostBytes))
}

// answer makes the answers of what the stores' plans leave.
func (w *World) answer() {
	n := 0
	for _, s := range w.stores {
		n += w.plans[s].left()
	}
	all := make([]Record, 0, n)
	for _, s := range w.sortedStores() {
		p := w.plans[s]
		for i := range uint32(s.rows.n) {
			if p.rows == nil || !p.rows[i] {
				all = append(all, s.record(s.rows.at(i)))
			}
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
