package evtx

import (
	"cmp"
	"slices"

	"ashiato/internal/event"
)

// Bounds on what is kept of one file to tell whether its leftovers repeat its
// records. A file beyond them gives its leftovers as they are, all of them, so
// that the result does not depend on the order in which chunks were decoded.
const (
	maxLiveKeys   = 2 << 20  // records, 8 bytes each
	maxSlackBytes = 16 << 20 // bytes of leftover records
)

// leftover is a record found beyond its chunk's end mark.
type leftover struct {
	key  uint64
	size int
	e    *event.Event
}

// slack collects the leftovers of a file until all its records are known: the
// export of a log, and Windows itself when a log is full, leave copies of
// records in the unused part of other chunks.
type slack struct {
	maxLive, maxBytes int // maxLiveKeys and maxSlackBytes but for tests

	live  [][]uint64 // keys of the records, by chunk
	count int        // of these keys
	held  []leftover
	bytes int
	open  bool // a bound was reached: nothing is held any more
}

// hand accounts for a chunk and hands on its events.
func (r *run) hand(c *chunkRun) {
	c.stats.Records += int64(len(c.batch))
	c.stats.Events += int64(len(c.batch))
	for _, e := range c.batch {
		if e.Flags&event.Carved != 0 {
			c.stats.Carved++
		}
		if e.Flags&event.Unread != 0 {
			c.stats.Unread++
		}
	}
	r.mu.Lock()
	r.stats.Add(c.stats)
	s := &r.slack
	var now []leftover
	if !s.open {
		if len(c.keys) > 0 {
			s.live = append(s.live, slices.Clone(c.keys))
			s.count += len(c.keys)
		}
		s.held = append(s.held, c.slack...)
		for _, l := range c.slack {
			s.bytes += l.size
		}
		if s.count > s.maxLive || s.bytes > s.maxBytes {
			s.open = true
			now = s.held
			s.live, s.held = nil, nil
		}
	} else {
		now = c.slack
	}
	r.countCarved(len(now))
	r.mu.Unlock()
	if len(c.batch) > 0 {
		r.handle(c.batch)
	}
	r.give(now)
}

// settle hands on the leftovers that repeat nothing. Of several copies of one
// leftover the first by offset is taken.
func (r *run) settle() {
	s := &r.slack
	if len(s.held) == 0 {
		return
	}
	slices.SortFunc(s.held, func(a, b leftover) int {
		return cmp.Compare(a.e.Ref.Offset, b.e.Ref.Offset)
	})
	repeats := make(map[uint64]bool, len(s.held)) // or may be one, if false
	for _, l := range s.held {
		repeats[l.key] = false
	}
	for _, keys := range s.live {
		for _, k := range keys {
			if _, held := repeats[k]; held {
				repeats[k] = true
			}
		}
	}
	kept := s.held[:0]
	for _, l := range s.held {
		if !repeats[l.key] {
			repeats[l.key] = true
			kept = append(kept, l)
		}
	}
	r.countCarved(len(kept))
	r.give(kept)
	s.held = nil
}

func (r *run) countCarved(n int) {
	r.stats.Records += int64(n)
	r.stats.Events += int64(n)
	r.stats.Carved += int64(n)
}

// give hands on leftovers, in batches of a chunk's usual size.
func (r *run) give(found []leftover) {
	const size = 128
	for part := range slices.Chunk(found, size) {
		batch := make([]*event.Event, len(part))
		for i, l := range part {
			batch[i] = l.e
		}
		r.handle(batch)
	}
}
