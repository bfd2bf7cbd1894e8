package world

import (
	"encoding/binary"
	"slices"

	"github.com/aead/siphash"

	"ashiato/internal/event"
)

// ledger remembers which records were added, and which of them are kept, in about
// nine bytes a record where a log's numbers follow each other.
//
// A record is known by its log, its number, and a keyed 32-bit print of what else
// identifies it. Only where a log has two different records of one number, as
// after it was made anew, or records have no number, the whole identity is kept
// as a keyed hash of 64 bits: of ten million such records, two are taken for one
// with a probability of three in a million, and nobody can choose which.
type ledger struct {
	key   [2]uint64
	logs  map[logName]*pages
	other map[uint64]uint32
	cost  int64 // about how many bytes of memory it takes
}

// What the parts of a ledger take.
const (
	logPagesCost = 256
	pageCost     = 88 // with its place in the map
	sparseCost   = 16
	denseCost    = pageSize*8 - maxSparse*sparseCost
	otherCost    = 28
)

// logName names a log by the match forms of its host and channel.
type logName struct{ host, channel string }

func newLedger(key [2]uint64) *ledger {
	return &ledger{key: key, logs: map[logName]*pages{}, other: map[uint64]uint32{}}
}

// hash is SipHash-2-4 under the ledger's key: nobody can make two records collide.
func (l *ledger) hash(b []byte) uint64 {
	var key [siphash.KeySize]byte
	binary.LittleEndian.PutUint64(key[:8], l.key[0])
	binary.LittleEndian.PutUint64(key[8:], l.key[1])
	return siphash.Sum64(b, &key)
}

// What a ledger says of a record: it was never added, added and takes part in no
// join, added and given up, or kept with the index mark-firstKept.
const (
	unseen uint32 = iota
	unwanted
	unkept
	firstKept
)

// pages holds the records of one log by number.
type pages struct {
	byNumber map[uint64]*page // by number / pageSize
	lastAt   uint64
	last     *page // most records follow the one before
}

const pageSize = 64

// page holds what is known of pageSize numbers: sparse while few are used.
type page struct {
	dense  *[pageSize]slot
	sparse []numbered // by low
}

type slot struct {
	print uint32
	mark  uint32 // unseen: no record yet
}

type numbered struct {
	low uint8
	slot
}

// maxSparse is how many records a page holds before it is made dense, which
// takes less memory then.
const maxSparse = 24

func (p *page) slot(low uint8) *slot {
	if p.dense != nil {
		return &p.dense[low]
	}
	i, found := slices.BinarySearchFunc(p.sparse, low, func(n numbered, low uint8) int { return int(n.low) - int(low) })
	if found {
		return &p.sparse[i].slot
	}
	if len(p.sparse) < maxSparse {
		p.sparse = slices.Insert(p.sparse, i, numbered{low: low})
		return &p.sparse[i].slot
	}
	p.dense = new([pageSize]slot)
	for _, n := range p.sparse {
		p.dense[n.low] = n.slot
	}
	p.sparse = nil
	return &p.dense[low]
}

// each calls f with every record of a page, by number.
func (p *page) each(f func(low uint8, s *slot)) {
	if p.dense != nil {
		for i := range p.dense {
			if s := &p.dense[i]; s.mark != unseen {
				f(uint8(i), s)
			}
		}
	}
	for i := range p.sparse {
		if s := &p.sparse[i]; s.mark != unseen {
			f(s.low, &s.slot)
		}
	}
}

// place is where a record is, or is to be, noted; it is good until the next look.
type place struct {
	slot *slot
	// if slot is nil:
	other uint64
}

// look finds a record. buffer is scratch space.
func (l *ledger) look(e *event.Event, host, channel string, buffer []byte) (place, uint32, []byte) {
	buffer = appendContent(buffer[:0], e, host, channel)
	if e.Ref.RecordID == 0 {
		return l.lookOther(buffer)
	}
	log := l.logs[logName{host, channel}]
	if log == nil {
		log = l.log(logName{host, channel})
	}
	at := e.Ref.RecordID / pageSize
	p := log.last
	if p == nil || log.lastAt != at {
		if p = log.byNumber[at]; p == nil {
			p = l.page(log, at)
		}
		log.last, log.lastAt = p, at
	}
	s := l.slot(p, uint8(e.Ref.RecordID%pageSize))
	print := uint32(l.hash(buffer))
	switch {
	case s.mark == unseen:
		s.print = print
		return place{slot: s}, unseen, buffer
	case s.print == print:
		return place{slot: s}, s.mark, buffer
	}
	return l.lookOther(buffer)
}

// log makes the pages of a log.
func (l *ledger) log(name logName) *pages {
	log := &pages{byNumber: map[uint64]*page{}}
	l.logs[name] = log
	l.cost += logPagesCost + int64(len(name.channel))
	return log
}

// page makes a page of a log.
func (l *ledger) page(log *pages, at uint64) *page {
	p := &page{}
	log.byNumber[at] = p
	l.cost += pageCost
	return p
}

// slot is page.slot, counting what it takes.
func (l *ledger) slot(p *page, low uint8) *slot {
	sparse, dense := len(p.sparse), p.dense != nil
	s := p.slot(low)
	switch {
	case len(p.sparse) > sparse:
		l.cost += sparseCost
	case p.dense != nil && !dense:
		l.cost += denseCost
	}
	return s
}

func (l *ledger) lookOther(buffer []byte) (place, uint32, []byte) {
	k := l.hash(buffer)
	return place{other: k}, l.other[k], buffer
}

// mark notes what became of the record that was looked for last, which was seen.
func (l *ledger) mark(p place, mark uint32) {
	if p.slot != nil {
		p.slot.mark = mark
		return
	}
	l.other[p.other] = mark
}

// put notes what became of the record that was looked for last, which was unseen.
func (l *ledger) put(p place, mark uint32) {
	l.mark(p, mark)
	if p.slot == nil {
		l.cost += otherCost
	}
}

// each calls f with the mark of every record, which it may change to another
// that is not unseen.
func (l *ledger) each(f func(mark *uint32)) {
	for _, log := range l.logs {
		for _, p := range log.byNumber {
			p.each(func(_ uint8, s *slot) { f(&s.mark) })
		}
	}
	for k, mark := range l.other {
		f(&mark)
		l.other[k] = mark
	}
}
