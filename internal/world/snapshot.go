package world

import (
	"bufio"
	"bytes"
	"container/heap"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"maps"
	"math/bits"
	"slices"
	"strings"
	"time"

	"ashiato/internal/event"
)

// snapshotMagic begins a snapshot; its last byte is the version. The format is
// in docs/formats/world-snapshot.md.
const snapshotMagic = "ASHIWLD\x03"

// ErrSnapshot is what Restore returns, wrapped, for what is no snapshot, is
// damaged, was made by a version that keeps other fields, or exceeds the limits.
var ErrSnapshot = errors.New("no usable snapshot")

// fingerprint identifies the kinds of events and the fields kept of them, on
// which the meaning of a snapshot depends.
var fingerprint = func() [8]byte {
	h := sha256.New()
	for _, k := range event.Kinds() {
		fmt.Fprintf(h, "%s %q\n", k, keptFields[k])
	}
	return [8]byte(h.Sum(nil))
}()

// Snapshot writes the whole state. A World that Restore makes of it goes on as
// this one: events that are added to both, or were added before and are added
// again, leave them the same. It is not to be called while events are added.
func (w *World) Snapshot(out io.Writer) error {
	sum := sha256.New()
	e := &encoder{w: bufio.NewWriter(io.MultiWriter(out, sum))}
	e.raw([]byte(snapshotMagic))
	e.raw(fingerprint[:])
	e.fixed(w.ledgerKey[0])
	e.fixed(w.ledgerKey[1])
	e.count(w.lost.Load())
	stores := w.sortedStores()
	e.count(int64(len(stores)))
	for _, s := range stores {
		e.store(s)
	}
	if err := e.w.Flush(); err != nil {
		return fmt.Errorf("write snapshot: %w", err)
	}
	if _, err := out.Write(sum.Sum(nil)); err != nil {
		return fmt.Errorf("write snapshot: %w", err)
	}
	return nil
}

// encoder writes the parts of a snapshot. Errors are kept by the writer.
type encoder struct {
	w      *bufio.Writer
	number [binary.MaxVarintLen64]byte
}

func (e *encoder) raw(b []byte)     { _, _ = e.w.Write(b) }
func (e *encoder) fixed(v uint64)   { e.raw(binary.LittleEndian.AppendUint64(e.number[:0], v)) }
func (e *encoder) uint(v uint64)    { e.raw(binary.AppendUvarint(e.number[:0], v)) }
func (e *encoder) int(v int64)      { e.raw(binary.AppendVarint(e.number[:0], v)) }
func (e *encoder) count(v int64)    { e.uint(uint64(v)) }
func (e *encoder) text(s string)    { e.uint(uint64(len(s))); _, _ = e.w.WriteString(s) }
func (e *encoder) time(t time.Time) { e.int(t.Unix()); e.uint(uint64(t.Nanosecond())) }

func (e *encoder) bool(v bool) {
	if v {
		e.uint(1)
		return
	}
	e.uint(0)
}

// counts are the counts of a store that snapshots hold.
func (s *store) counts() []*int {
	return []*int{&s.repeated, &s.given, &s.wanted, &s.context, &s.unmentioned, &s.holes, &s.differing}
}

func (e *encoder) store(s *store) {
	e.text(s.key)
	e.bool(s.span != nil)
	if s.span != nil {
		e.text(s.span.name)
		e.time(s.span.first)
		e.time(s.span.last)
	}
	e.uint(uint64(s.level))
	for _, c := range s.cuts {
		e.bool(c.made)
		e.int(c.age.sec)
		e.uint(uint64(c.age.nsec))
		e.uint(c.age.record)
		e.raw(c.age.tie[:])
		e.count(c.next)
	}
	for _, n := range s.counts() {
		e.count(int64(*n))
	}
	e.bool(s.unnumbered)
	e.bool(s.forgot)
	e.count(s.ledgerLeft)
	e.count(s.gross)
	index := map[textRef]uint64{0: 0}
	e.count(int64(s.texts.count))
	s.texts.each(func(ref textRef, text string) {
		index[ref] = uint64(len(index))
		e.text(text)
	})
	e.count(int64(len(s.origins.list)))
	for _, o := range s.origins.list {
		e.text(o.Provider)
		e.text(o.Host)
		e.text(o.Channel)
		e.uint(uint64(o.Kind))
		e.uint(uint64(o.ID))
		e.uint(uint64(o.Task))
	}
	e.count(int64(len(s.loci.list)))
	for i, l := range s.loci.list {
		e.text(l.host)
		e.text(l.channel)
		e.text(l.file)
		for _, m := range s.newest[i] {
			if e.bool(m.is); m.is {
				e.int(m.sec)
				e.uint(uint64(m.nsec))
				e.uint(m.record)
			}
		}
	}
	e.count(int64(s.rows.n))
	for i := range uint32(s.rows.n) {
		r := s.rows.at(i)
		e.int(r.sec)
		e.uint(uint64(r.nsec))
		e.citation(&r.citation)
		e.uint(uint64(r.origin))
		e.uint(uint64(r.pid))
		e.uint(uint64(r.standing))
		e.uint(uint64(r.present))
		for _, ref := range s.fieldsOf(r) {
			e.uint(index[ref])
		}
	}
	e.count(int64(s.mentions.n))
	for _, guid := range slices.SortedFunc(maps.Keys(s.byGUID), compareGUIDs) {
		m := s.mentions.at(s.byGUID[guid])
		e.raw(guid[:])
		e.int(m.firstSec)
		e.uint(uint64(m.firstNsec))
		e.int(m.lastSec)
		e.uint(uint64(m.lastNsec))
		for _, at := range []int64{m.pidAt, m.imageAt, m.cmdAt, m.userAt} {
			e.int(at)
		}
		e.citation(&m.citation)
		for _, ref := range []textRef{m.host, m.guid, m.image, m.cmd, m.user} {
			e.uint(index[ref])
		}
		for _, n := range m.longest.all() {
			e.uint(uint64(*n))
		}
		e.uint(uint64(m.pid))
		e.uint(uint64(m.count))
		e.uint(uint64(m.standing))
	}
	e.ledger(s.seen)
	e.count(int64(len(s.logs)))
	for _, k := range slices.SortedFunc(maps.Keys(s.logs), func(a, b logKey) int {
		return strings.Compare(a.channel+"\x00"+a.file, b.channel+"\x00"+b.file)
	}) {
		n := s.logs[k]
		size := n.size()
		n.settle()
		s.numbersCost += int64(n.size()-size) * runCost
		e.text(k.channel)
		e.text(k.file)
		e.count(int64(len(n.runs)))
		for _, r := range n.runs {
			e.uint(r.from)
			e.uint(r.to)
			e.int(r.tFrom)
			e.int(r.tTo)
		}
	}
}

func compareGUIDs(a, b [16]byte) int { return bytes.Compare(a[:], b[:]) }

func (e *encoder) citation(c *citation) {
	e.uint(c.record)
	e.int(c.offset)
	e.raw(c.sum[:])
	e.uint(uint64(c.locus))
}

func (e *encoder) ledger(l *ledger) {
	e.count(int64(len(l.logs)))
	for _, name := range slices.SortedFunc(maps.Keys(l.logs), func(a, b logName) int { return strings.Compare(a.channel, b.channel) }) {
		log := l.logs[name]
		e.text(name.channel)
		e.count(int64(len(log.byNumber)))
		for _, at := range slices.Sorted(maps.Keys(log.byNumber)) {
			e.uint(at)
			var noted []numbered
			log.byNumber[at].each(func(low uint8, s *slot) { noted = append(noted, numbered{low, *s}) })
			e.count(int64(len(noted)))
			for _, n := range noted {
				e.uint(uint64(n.low))
				e.uint(uint64(n.print))
				e.uint(uint64(n.mark))
			}
		}
	}
	e.count(int64(len(l.other)))
	for _, k := range slices.Sorted(maps.Keys(l.other)) {
		e.fixed(k)
		e.uint(uint64(l.other[k]))
	}
}

// Restore reads what Snapshot wrote into a new World with limits of its own. It
// takes memory in proportion to what it reads. All errors but those of r wrap
// ErrSnapshot.
func Restore(r io.Reader, l Limits) (*World, error) {
	sum := sha256.New()
	d := &decoder{r: bufio.NewReader(r), sum: sum}
	w := New(l)
	d.world(w)
	want := sum.Sum(nil)
	got := make([]byte, len(want))
	d.raw(got)
	if d.err == nil && !bytes.Equal(got, want) {
		d.fail("its checksum is wrong")
	}
	if d.err == nil {
		if _, err := d.r.ReadByte(); err != io.EOF {
			d.fail("there is more behind its end")
		}
	}
	if d.err != nil {
		return nil, fmt.Errorf("read snapshot at byte %d: %w", d.at, d.err)
	}
	for _, s := range w.stores {
		s.count(w)
		w.fit(s)
	}
	w.shareOut()
	return w, nil
}

// decoder reads the parts of a snapshot. After an error it reads zeros.
type decoder struct {
	r   *bufio.Reader
	sum hash.Hash
	one [1]byte
	at  int64
	err error
}

func (d *decoder) fail(format string, args ...any) {
	if d.err == nil {
		d.err = fmt.Errorf("%w: "+format, append([]any{ErrSnapshot}, args...)...)
	}
}

func (d *decoder) failed(err error) {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		d.fail("it ends too early")
	} else if d.err == nil {
		d.err = err
	}
}

func (d *decoder) raw(b []byte) {
	if d.err != nil {
		clear(b)
		return
	}
	n, err := io.ReadFull(d.r, b)
	d.at += int64(n)
	if err != nil {
		d.failed(err)
		clear(b)
		return
	}
	d.sum.Write(b)
}

// ReadByte is for binary.ReadUvarint.
func (d *decoder) ReadByte() (byte, error) {
	d.raw(d.one[:])
	return d.one[0], d.err
}

func (d *decoder) fixed() uint64 {
	var b [8]byte
	d.raw(b[:])
	return binary.LittleEndian.Uint64(b[:])
}

// uint reads a number that is at most most.
func (d *decoder) uint(what string, most uint64) uint64 {
	v, err := binary.ReadUvarint(d)
	if err != nil {
		d.fail("%s: %v", what, err)
	}
	if d.err == nil && v > most {
		d.fail("%s is %d, more than %d", what, v, most)
	}
	if d.err != nil {
		return 0
	}
	return v
}

func (d *decoder) int(what string) int64 {
	v, err := binary.ReadVarint(d)
	if err != nil {
		d.fail("%s: %v", what, err)
		return 0
	}
	return v
}

func (d *decoder) bool(what string) bool { return d.uint(what, 1) == 1 }

// count reads how many of something follow.
func (d *decoder) count(what string, most int) int { return int(d.uint(what, uint64(most))) }

// maxKey bounds names; match forms may be a little longer than they.
const maxKey = 2 * maxName

func (d *decoder) text(what string, most int) string {
	b := make([]byte, d.count(what, most))
	d.raw(b)
	return string(b)
}

// maxSeconds bounds times, in seconds from 1970: a million years.
const maxSeconds = 1 << 45

func (d *decoder) moment() (sec int64, nsec uint32) {
	sec = d.int("a time")
	if sec < -maxSeconds || sec > maxSeconds {
		d.fail("a time of %d seconds", sec)
		sec = 0
	}
	return sec, uint32(d.uint("nanoseconds", 999_999_999))
}

func (d *decoder) time() time.Time {
	sec, nsec := d.moment()
	return time.Unix(sec, int64(nsec)).UTC()
}

const maxCount = 1 << 40

func (d *decoder) world(w *World) {
	head := make([]byte, len(snapshotMagic))
	d.raw(head)
	switch {
	case d.err != nil:
		return
	case string(head[:7]) != snapshotMagic[:7]:
		d.fail("it does not begin as one")
		return
	case head[7] != snapshotMagic[7]:
		d.fail("its version is %d, not %d", head[7], snapshotMagic[7])
		return
	}
	var print [8]byte
	if d.raw(print[:]); d.err == nil && print != fingerprint {
		d.fail("it was made by a version that keeps other fields")
		return
	}
	w.ledgerKey = [2]uint64{d.fixed(), d.fixed()}
	w.lost.Store(int64(d.count("lost records", maxCount)))
	last := ""
	for i := range d.count("hosts", w.limits.Hosts) {
		key := d.text("a host", maxKey)
		if d.err == nil && (HostKey(key) != key || i > 0 && key <= last) {
			d.fail("host %q is out of order or no match form", key)
		}
		if d.err != nil {
			return
		}
		last = key
		s := newStore(key, w.ledgerKey)
		d.store(s, w)
		w.stores[key] = s
		heap.Push(&w.ranked, s)
		s.count(w)
	}
}

func (d *decoder) store(s *store, w *World) {
	if d.bool("whether a host has a span") {
		s.span = &span{name: d.text("a host", maxKey), first: d.time(), last: d.time()}
		if d.err == nil && HostKey(s.span.name) != s.key {
			d.fail("host %q is called %q", s.key, s.span.name)
		}
	}
	s.level = level(d.uint("level", uint64(levelCut)))
	for i := range s.cuts {
		c := &s.cuts[i]
		c.made = d.bool("whether a class was cut")
		c.age.sec, c.age.nsec = d.moment()
		c.age.record = d.uint("a record's number", 1<<64-1)
		d.raw(c.age.tie[:])
		c.next = int64(d.count("a size", maxCount))
		if d.err == nil && c.made && s.level != levelCut {
			d.fail("a class was cut at level %d", s.level)
		}
	}
	for _, n := range s.counts() {
		*n = d.count("a count of records", maxCount)
	}
	s.unnumbered = d.bool("whether numbers are followed")
	s.forgot = d.bool("whether records were forgotten")
	s.ledgerLeft = int64(d.count("a size", maxCount))
	s.gross = int64(d.count("a size", maxGross))

	refs := []textRef{0}
	for range d.count("texts", maxCount) {
		text := d.text("a text", maxText)
		if d.err == nil && (text == "" || len(s.texts.chunks) >= MaxHostBytes/chunkSize) {
			d.fail("an empty text, or too many")
		}
		if d.err != nil {
			return
		}
		refs = append(refs, s.texts.put(text))
	}
	text := func() textRef { return refs[d.uint("a text's number", uint64(len(refs)-1))] }
	for range d.count("origins", maxCount) {
		o := origin{Provider: d.text("a provider", maxKey), Host: d.text("a host", maxKey), Channel: d.text("a channel", maxKey)}
		o.Kind = event.Kind(d.uint("a kind", uint64(len(event.Kinds())-1)))
		o.ID = uint32(d.uint("an event id", 1<<32-1))
		o.Task = uint16(d.uint("a task", 1<<16-1))
		if _, ok := keptFields[o.Kind]; d.err == nil && (!ok || HostKey(o.Host) != s.key) {
			d.fail("an origin of kind %s and host %q", o.Kind, o.Host)
		}
		if d.err != nil {
			return
		}
		if n := len(s.origins.list); s.putOrigin(o) != uint32(n) {
			d.fail("an origin occurs twice")
		}
	}
	for range d.count("places", maxCount) {
		l := locus{d.text("a host", maxKey), d.text("a channel", maxKey), d.text("a file", maxKey)}
		if d.err != nil {
			return
		}
		if n := len(s.loci.list); s.putLocus(l) != uint32(n) {
			d.fail("a place occurs twice")
		}
		for c := range classes + 1 {
			if m := &s.newest[len(s.newest)-1][c]; d.bool("whether a record is in a place") {
				m.is = true
				m.sec, m.nsec = d.moment()
				m.record = d.uint("a record's number", 1<<64-1)
			}
		}
	}
	citation := func() (c citation) {
		c.record = d.uint("a record's number", 1<<64-1)
		c.offset = d.int("an offset")
		d.raw(c.sum[:])
		c.locus = uint32(d.index("a place", len(s.loci.list)))
		return c
	}
	for range d.count("records", maxCount) {
		var r row
		r.sec, r.nsec = d.moment()
		r.citation = citation()
		r.origin = uint32(d.index("an origin", len(s.origins.list)))
		r.pid = uint32(d.uint("a process id", 1<<32-1))
		r.standing = standing(d.uint("what rules say", uint64(detected)))
		r.present = uint32(d.uint("which fields a record has", 1<<32-1))
		if d.err != nil {
			return
		}
		if names := len(keptNames[s.origins.list[r.origin].Kind]); bits.Len32(r.present) > names {
			d.fail("field %d of %d", bits.Len32(r.present), names)
		}
		s.refs = s.refs[:0]
		for range bits.OnesCount32(r.present) {
			s.refs = append(s.refs, text())
		}
		r.at = s.values.add(s.refs)
		s.loose += passingCosts(s.origins.list[r.origin].Kind, r.present)
		s.rows.add(r)
	}
	for range d.count("processes", maxCount) {
		var guid [16]byte
		var m mention
		d.raw(guid[:])
		m.firstSec, m.firstNsec = d.moment()
		m.lastSec, m.lastNsec = d.moment()
		for _, at := range []*int64{&m.pidAt, &m.imageAt, &m.cmdAt, &m.userAt} {
			*at = d.int("a time")
		}
		m.citation = citation()
		for _, ref := range []*textRef{&m.host, &m.guid, &m.image, &m.cmd, &m.user} {
			*ref = text()
		}
		texts := [...]textRef{m.host, m.guid, m.image, m.cmd, m.user}
		for i, n := range m.longest.all() {
			*n = uint32(d.count("the length of a text", maxText))
			if d.err == nil && int(*n) < len(s.texts.get(texts[i])) {
				d.fail("a text of %d bytes is longer than the longest, %d", len(s.texts.get(texts[i])), *n)
			}
		}
		s.loose += m.longest.sum()
		m.pid = uint32(d.uint("a process id", 1<<32-1))
		m.count = uint32(d.uint("a count of records", 1<<32-1))
		m.standing = standing(d.uint("what rules say", uint64(detected)))
		if d.err != nil {
			return
		}
		b, ok := guidBytes(s.texts.get(m.guid))
		if _, twice := s.byGUID[guid]; !ok || b != guid || twice || HostKey(s.texts.get(m.host)) != s.key {
			d.fail("process %x of host %q", guid, s.texts.get(m.host))
			return
		}
		s.byGUID[guid] = s.mentions.add(m)
	}
	if d.err == nil && (s.wanted > s.given || s.context > s.wanted || s.rows.n > s.wanted) {
		d.fail("%d records kept of %d, %d of them context, of %d", s.rows.n, s.wanted, s.context, s.given)
	}
	d.ledger(s.seen, s)
	d.numbers(s)
}

// index reads the place in a list of n.
func (d *decoder) index(what string, n int) uint64 {
	if n == 0 {
		d.fail("%s although there is none", what)
		return 0
	}
	return d.uint(what, uint64(n-1))
}

func (d *decoder) ledger(l *ledger, s *store) {
	// Each kept record is known once.
	known := make([]bool, s.rows.n)
	mark := func() uint32 {
		m := uint32(d.uint("a mark", uint64(firstKept)+uint64(s.rows.n)))
		switch {
		case d.err != nil:
		case m == unseen || m >= firstKept && (int(m-firstKept) >= len(known) || known[m-firstKept]):
			d.fail("mark %d of %d records", m, len(known))
		case m >= firstKept:
			known[m-firstKept] = true
		}
		return m
	}
	for range d.count("logs", maxCount) {
		name := logName{s.key, d.text("a channel", maxKey)}
		if d.err == nil && l.logs[name] != nil {
			d.fail("log %q occurs twice", name.channel)
		}
		if d.err != nil {
			return
		}
		log := l.log(name)
		for range d.count("pages", maxCount) {
			at := d.uint("a page", (1<<64-1)/pageSize)
			if d.err == nil && log.byNumber[at] != nil {
				d.fail("page %d occurs twice", at)
			}
			if d.err != nil {
				return
			}
			p := l.page(log, at)
			for range d.count("numbers", pageSize) {
				low := uint8(d.uint("a number", pageSize-1))
				print, mark := uint32(d.uint("a print", 1<<32-1)), mark()
				if d.err != nil {
					return
				}
				slot := l.slot(p, low)
				if slot.mark != unseen {
					d.fail("number %d occurs twice", low)
				}
				slot.print = print
				l.put(place{slot: slot}, mark)
			}
		}
	}
	for range d.count("identities", maxCount) {
		k := d.fixed()
		mark := mark()
		if _, twice := l.other[k]; d.err == nil && twice {
			d.fail("an identity occurs twice")
		}
		if d.err != nil {
			return
		}
		l.put(place{other: k}, mark)
	}
}

func (d *decoder) numbers(s *store) {
	for range d.count("logs", maxCount) {
		k := logKey{s.key, d.text("a channel", maxKey), d.text("a file", maxKey)}
		if d.err == nil && s.logs[k] != nil {
			d.fail("log %q of %q occurs twice", k.channel, k.file)
		}
		if d.err != nil {
			return
		}
		n := s.log(k)
		for i := range d.count("runs", maxCount) {
			r := run{d.uint("a number", 1<<64-1), d.uint("a number", 1<<64-1), d.int("a time"), d.int("a time")}
			if d.err == nil && (r.to < r.from || i > 0 && (r.from <= n.runs[i-1].to || r.from-n.runs[i-1].to == 1)) {
				d.fail("run %d–%d is out of order", r.from, r.to)
			}
			if d.err != nil {
				return
			}
			n.runs = append(n.runs, r)
			s.numbersCost += runCost
		}
	}
}
