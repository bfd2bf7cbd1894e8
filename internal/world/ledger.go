package world

import (
	"slices"

	"github.com/dchest/siphash"

	"ashiato/internal/event"
)

// ledger remembers which records were added, and which of them are kept, in about
// nine bytes a record where a log's numbers follow each other.
//
// A record is known by its log, its number, and a keyed 32-bit print of what else
// identifies it. Only where a log has two different records of one number, as
// after it was made anew, or records have no number, the whole identity is kept
// as a keyed hash of 128 bits.
type ledger struct {
	key   [2]uint64
	logs  map[logName]*pages
	other map[[2]uint64]uint32
}

// logName names a log by the match forms of its host and channel.
type logName struct{ host, channel string }

func newLedger(key [2]uint64) *ledger {
	return &ledger{key: key, logs: map[logName]*pages{}, other: map[[2]uint64]uint32{}}
}

// What a ledger says of a record: it was never added, added and not kept, or kept
// with the index mark-kept.
const (
	unseen uint32 = iota
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

// place is where a record is, or is to be, noted; it is good until the next look.
type place struct {
	slot *slot
	// if slot is nil:
	other [2]uint64
}

// look finds a record. buffer is scratch space.
func (l *ledger) look(e *event.Event, host, channel string, buffer []byte) (place, uint32, []byte) {
	buffer = appendContent(buffer[:0], e, host, channel)
	if e.Ref.RecordID == 0 {
		return l.lookOther(buffer)
	}
	name := logName{host, channel}
	log := l.logs[name]
	if log == nil {
		log = &pages{byNumber: map[uint64]*page{}}
		l.logs[name] = log
	}
	at := e.Ref.RecordID / pageSize
	p := log.last
	if p == nil || log.lastAt != at {
		if p = log.byNumber[at]; p == nil {
			p = &page{}
			log.byNumber[at] = p
		}
		log.last, log.lastAt = p, at
	}
	s := p.slot(uint8(e.Ref.RecordID % pageSize))
	print := uint32(siphash.Hash(l.key[0], l.key[1], buffer))
	switch {
	case s.mark == unseen:
		s.print = print
		return place{slot: s}, unseen, buffer
	case s.print == print:
		return place{slot: s}, s.mark, buffer
	}
	return l.lookOther(buffer)
}

func (l *ledger) lookOther(buffer []byte) (place, uint32, []byte) {
	a, b := siphash.Hash128(l.key[0], l.key[1], buffer)
	k := [2]uint64{a, b}
	return place{other: k}, l.other[k], buffer
}

// put notes what became of the record that was looked for last.
func (l *ledger) put(p place, mark uint32) {
	if p.slot != nil {
		p.slot.mark = mark
		return
	}
	l.other[p.other] = mark
}
