package world

import (
	"cmp"
	"math"
	"math/bits"
	"strings"
	"sync"
	"time"

	"ashiato/internal/event"
)

// store is what is kept of one host's records.
type store struct {
	key     string   // match form of the host's name
	spelled []string // its names in World.spellings, under World.mu

	mu       sync.Mutex
	buffer   []byte
	refs     []textRef
	channels map[string]string // match forms of the channels' names
	seen     *ledger
	logs     map[logKey]*numbers
	// unnumbered says that which numbers logs lack is no longer followed.
	unnumbered bool
	span       *span // nil until a record that is not damaged came
	evicted    bool  // the host is no longer told apart

	// Records that were added: again, for the first time, of those the ones that
	// can take part in a join, and of those the ones that are context.
	repeated, given, wanted, context int

	planned struct { // the last plan, and of what it was made
		*plan
		budget budget
		adds   int
	}
	level       level
	cuts        [classes]cut // at levelCut
	unmentioned int          // mentions of processes that were given up, see Shed.Processes
	holes       int
	differing   int   // copies of kept records that say something else
	forgot      bool  // the ledger knows only what is kept
	ledgerLeft  int64 // cost of the ledger when it last was made anew
	gross       int64 // what all that was added would take, were nothing shared or given up
	counted     int64 // of that, what is in World.gross
	logsCost    int64
	numbersCost int64
	kept
}

// kept is the part of a store that is made anew when it is thinned.
type kept struct {
	texts    texts
	rows     pool[row] // in the order they were added
	values   lists
	origins  table[origin]
	names    int64 // bytes of the names in origins and loci
	loci     table[locus]
	newest   []newest // by place in loci
	mentions pool[mention]
	byGUID   map[[16]byte]uint32
	// lastLocus is the one that was put last.
	lastLocus uint32
	// loose is what passing values and the texts of mentions are charged with, and
	// at least what they take.
	loose int64
}

func newStore(key string, ledgerKey [2]uint64) *store {
	return &store{
		key: key, channels: map[string]string{}, seen: newLedger(ledgerKey), logs: map[logKey]*numbers{},
		kept: newKept(),
	}
}

func newKept() kept { return kept{texts: newTexts(), byGUID: map[[16]byte]uint32{}} }

// table numbers the different values of a type.
type table[T comparable] struct {
	list  []T
	index map[T]uint32
}

func (t *table[T]) put(v T, clone func(T) T) (i uint32, isNew bool) {
	if i, ok := t.index[v]; ok {
		return i, false
	}
	v = clone(v)
	if t.index == nil {
		t.index = map[T]uint32{}
	}
	i = uint32(len(t.list))
	t.list = append(t.list, v)
	t.index[v] = i
	return i, true
}

// origin is what many records have in common.
type origin struct {
	Provider string
	Host     string
	Channel  string
	Kind     event.Kind
	ID       uint32
	Task     uint16
}

func (o origin) clone() origin {
	o.Provider, o.Host, o.Channel = strings.Clone(o.Provider), strings.Clone(o.Host), strings.Clone(o.Channel)
	return o
}

// size is what its names take.
func (o *origin) size() int64 { return int64(len(o.Provider) + len(o.Host) + len(o.Channel)) }

// locus is what the references to many records have in common.
type locus struct{ host, channel, file string }

func (p locus) clone() locus {
	return locus{strings.Clone(p.host), strings.Clone(p.channel), strings.Clone(p.file)}
}

// size is what its names take.
func (p *locus) size() int64 { return int64(len(p.host) + len(p.channel) + len(p.file)) }

// citation is an EvidenceRef.
type citation struct {
	record uint64
	offset int64
	sum    [32]byte
	locus  uint32
}

func (k *kept) cite(r *event.EvidenceRef) citation {
	return citation{r.RecordID, r.Offset, r.SHA256, k.locusOf(r)}
}

func (k *kept) locusOf(r *event.EvidenceRef) uint32 {
	return k.putLocus(locus{r.Host, r.Channel, r.File})
}

func (k *kept) putLocus(l locus) uint32 {
	l = locus{cutName(l.host), cutName(l.channel), cutName(l.file)}
	if len(k.loci.list) > 0 && k.loci.list[k.lastLocus] == l {
		return k.lastLocus
	}
	i, isNew := k.loci.put(l, locus.clone)
	k.lastLocus = i
	if isNew {
		k.names += l.size()
		k.newest = append(k.newest, newest{})
	}
	return i
}

// newest says until when a locus is charged for, by class: how old the newest
// record is of which any copy is there. Which copy is cited in the end is not known
// while they come; that one is there is known, and stays true.
type newest [classes + 1]moment

// classContext is the class of context, for loci only: of records it is all or
// nothing.
const classContext = classes

// moment is an age without what decides between records of one moment and number.
type moment struct {
	sec    int64
	record uint64
	nsec   uint32
	is     bool // false: none
}

func (m moment) compare(o moment) int {
	return cmp.Or(compareMoments(m.sec, m.nsec, o.sec, o.nsec), cmp.Compare(m.record, o.record))
}

// seenIn notes that a record of that class and moment has a copy in r's locus,
// unless all of that moment was given up.
func (s *store) seenIn(r *event.EvidenceRef, c class, m moment) {
	if c == classContext && s.level >= levelNoContext || c < classes && s.cuts[c].passed(m) {
		return
	}
	if n := &s.newest[s.locusOf(r)][c]; !n.is || n.compare(m) < 0 {
		*n = m
	}
}

func (k *kept) putOrigin(o origin) uint32 {
	o.Provider, o.Channel = cutName(o.Provider), cutName(o.Channel)
	i, isNew := k.origins.put(o, origin.clone)
	if isNew {
		k.names += o.size()
	}
	return i
}

func (k *kept) ref(c *citation) event.EvidenceRef {
	p := &k.loci.list[c.locus]
	return event.EvidenceRef{Host: p.host, Channel: p.channel, RecordID: c.record, File: p.file, Offset: c.offset, SHA256: c.sum}
}

// standing is what rules say of a record: what more is said of is given up later.
type standing uint8

const (
	plain    standing = iota
	counted           // a correlation counts it
	detected          // a rule holds for it
)

// row is a kept record.
type row struct {
	sec int64 // since 1970
	citation
	nsec     uint32
	origin   uint32
	pid      uint32
	present  uint32 // which of its kind's kept fields it has
	at       uint32 // where their values are
	standing standing
}

func (k *kept) newRow(e *event.Event, names []string, buffer []textRef) (row, []textRef) {
	r := row{
		sec: e.Time.Unix(), nsec: uint32(e.Time.Nanosecond()), citation: k.cite(&e.Ref), pid: e.PID,
		origin: k.putOrigin(origin{e.Provider, e.Host, e.Channel, e.Kind, e.ID, e.Task}),
	}
	buffer = k.setFields(&r, e, names, buffer)
	return r, buffer
}

// setFields takes the fields of names in.
func (k *kept) setFields(r *row, e *event.Event, names []string, buffer []textRef) []textRef {
	buffer = buffer[:0]
	r.present = 0
	for i, name := range names {
		v, ok := e.Get(name)
		if !ok || v == "" {
			continue
		}
		if len(v) > maxText {
			v = v[:maxText]
		}
		r.present |= 1 << i
		buffer = append(buffer, k.texts.put(v))
	}
	r.at = k.values.add(buffer)
	k.loose += passingCosts(e.Kind, r.present)
	return buffer
}

func (k *kept) fieldsOf(r *row) []textRef { return k.values.at(r.at, bits.OnesCount32(r.present)) }

func (k *kept) record(r *row) Record {
	return Record{
		Time: time.Unix(r.sec, int64(r.nsec)).UTC(), origin: &k.origins.list[r.origin], PID: r.pid, Ref: k.ref(&r.citation),
		texts: &k.texts, values: k.fieldsOf(r), present: r.present,
	}
}

// mention is what records say of a process in passing. Of two that say different
// things the earlier one is believed, of two of one moment the smaller value.
type mention struct {
	firstSec, lastSec             int64
	pidAt, imageAt, cmdAt, userAt int64
	citation                      // of the first
	firstNsec, lastNsec           uint32
	host, guid                    textRef // as the first spells them
	pid                           uint32
	image, cmd, user              textRef
	count                         uint32 // of the records
	longest                       longest
	standing                      standing // the highest of what it did
}

// longest is how long each text of a mention was at most, in any record. It is
// charged for that: what is believed in the end may be shorter.
type longest struct{ host, guid, image, cmd, user uint32 }

func (l *longest) sum() int64 {
	return int64(l.host) + int64(l.guid) + int64(l.image) + int64(l.cmd) + int64(l.user)
}

// all returns the lengths in the order of the fields.
func (l *longest) all() [5]*uint32 { return [...]*uint32{&l.host, &l.guid, &l.image, &l.cmd, &l.user} }

// grow makes n as long as a text, if that is known.
func grow(n *uint32, text string) {
	if known(text) {
		*n = max(*n, uint32(min(len(text), maxText)))
	}
}

func (m *mention) first() time.Time { return time.Unix(m.firstSec, int64(m.firstNsec)).UTC() }
func (m *mention) last() time.Time  { return time.Unix(m.lastSec, int64(m.lastNsec)).UTC() }

// nanos is the time in nanoseconds since 1970, held to what they can tell.
func nanos(t time.Time) int64 {
	const most = math.MaxInt64 / 1_000_000_000
	switch s := t.Unix(); {
	case s <= -most:
		return math.MinInt64
	case s >= most:
		return math.MaxInt64
	}
	return t.UnixNano()
}

func compareMoments(aSec int64, aNsec uint32, bSec int64, bNsec uint32) int {
	return cmp.Or(cmp.Compare(aSec, bSec), cmp.Compare(aNsec, bNsec))
}

// named is how a process is named by a record.
type named struct{ guid, pid, image, cmd, user string }

// mention takes in what e says of a process. isNew says that e was not added
// before.
func (s *store) mention(e *event.Event, n named, st standing, isNew bool) {
	if n.guid == "" {
		return
	}
	b, ok := guidBytes(n.guid)
	if !ok || len(n.guid) > maxText {
		return
	}
	sec, nsec := e.Time.Unix(), uint32(e.Time.Nanosecond())
	started := guidAge(b)
	s.seenIn(&e.Ref, classMention, started.moment())
	i, ok := s.byGUID[b]
	if !ok {
		if s.cuts[classMention].gone(started) {
			if isNew {
				s.unmentioned++
			}
			return
		}
		i = s.mentions.add(mention{
			firstSec: sec, firstNsec: nsec, lastSec: sec, lastNsec: nsec, citation: s.cite(&e.Ref),
			host: s.texts.put(e.Host), guid: s.texts.put(n.guid),
		})
		s.byGUID[b] = i
	}
	m := s.mentions.at(i)
	if isNew {
		m.count++
	}
	was := m.longest.sum()
	m.longest.host = max(m.longest.host, uint32(len(e.Host))) // at most maxText
	grow(&m.longest.guid, n.guid)
	grow(&m.longest.image, n.image)
	grow(&m.longest.cmd, n.cmd)
	grow(&m.longest.user, n.user)
	s.loose += m.longest.sum() - was
	c := compareMoments(sec, nsec, m.firstSec, m.firstNsec)
	if c == 0 && ok {
		c = e.Ref.Compare(s.ref(&m.citation))
		if c == 0 {
			c = strings.Compare(n.guid, s.texts.get(m.guid)) // of both processes of one record
		}
	}
	if c < 0 {
		m.firstSec, m.firstNsec, m.citation = sec, nsec, s.cite(&e.Ref)
		m.host, m.guid = s.texts.put(e.Host), s.texts.put(n.guid)
	}
	if compareMoments(sec, nsec, m.lastSec, m.lastNsec) > 0 {
		m.lastSec, m.lastNsec = sec, nsec
	}
	at := nanos(e.Time)
	if pid := uint32(ParseNumber(n.pid)); pid != 0 && (m.pid == 0 || at < m.pidAt || at == m.pidAt && pid < m.pid) {
		m.pid, m.pidAt = pid, at
	}
	s.believe(&m.image, &m.imageAt, n.image, at)
	s.believe(&m.cmd, &m.cmdAt, n.cmd, at)
	s.believe(&m.user, &m.userAt, n.user, at)
	m.standing = max(m.standing, st)
}

func (s *store) believe(ref *textRef, since *int64, v string, at int64) {
	if v = clip(v); !known(v) {
		return
	}
	if *ref == 0 || at < *since || at == *since && v < s.texts.get(*ref) {
		*ref, *since = s.texts.put(v), at
	}
}

// maxName bounds the length of the names of hosts, providers, channels and files.
const maxName = 1 << 20

func cutName(s string) string { return s[:min(len(s), maxName)] }

// clip bounds the length of a kept value.
func clip(v string) string {
	if len(v) > maxText {
		return v[:maxText]
	}
	return v
}

// channel is the match form of a channel's name.
func (s *store) channel(name string) string {
	if k, ok := s.channels[name]; ok {
		return k
	}
	k := strings.ToLower(cutName(name))
	if len(s.channels) < maxSpellings && len(name) <= maxSpelling {
		k = strings.Clone(k)
		s.channels[strings.Clone(name)] = k
	}
	return k
}

// maxSpellings bounds the match forms of channels that are remembered.
const (
	maxSpellings = 1 << 10
	maxSpelling  = 256
)
