// Package clock finds logs whose clock lies.
//
// A log entry's time is UTC. Some exports write local time and mark it as UTC,
// even local time on a dial of twelve hours: then all that the file holds of a
// host is off by the same whole quarters of an hour. Sysmon's records show it,
// because they carry a time of their own, UtcTime, that was text before the export.
//
// A Tally counts, per host and file, by how much the two differ. What most records
// of a host and file agree on is its offset, which is added to the time of every
// entry that the file holds of the host (event.Event.Offset). Nothing recorded is
// changed, and the order of a file's entries among themselves stays as it is.
//
// The result is a function of the set of records, not of their order.
package clock

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"ashiato/internal/event"
	"ashiato/internal/normalize"
)

const (
	// step is the grid of the world's time zones.
	step = 15 * time.Minute
	// mostSteps bounds an offset: zones reach from UTC-12 to UTC+14, and a dial of
	// twelve hours adds up to twelve more either way.
	mostSteps = 26 * 4
	// early is how much earlier than UtcTime an entry's time may seem, because it
	// was cut off to whole seconds.
	early = time.Second
	// prompt is how soon most records are written.
	prompt = time.Minute
	// enough is how many records an offset needs, and nearly the part of all of the
	// host's and file's that must agree on it, in hundredths. A few wrong ones are
	// the machine's, whose clock was set while it started.
	enough = 5
	nearly = 95
	// maxLogs bounds the pairs of host and file that are told apart. Input made to
	// exceed it has no offsets at all: which would be left must not depend on order.
	maxLogs = 1 << 16
	// maxCells bounds the differences that are told apart over all logs, likewise.
	maxCells = 1 << 18
)

// Log is what one file holds of one host.
type Log struct {
	File string
	Host string // in lower case
}

func logOf(e *event.Event) Log { return Log{e.Ref.File, strings.ToLower(e.Host)} }

// Kind says what is wrong with a clock. The words are stable machine output.
type Kind string

// The kinds.
const (
	// LocalTime: the entries' time is not UTC but off by a constant; all times
	// shown are corrected by Note.Offset.
	LocalTime Kind = "local-time"
	// Uneven: the entries' time is off from UtcTime by hours, but not by the same,
	// so that nothing is corrected.
	Uneven Kind = "uneven"
	// SensorTime: the UtcTime of some records is not believed; they are placed at
	// the time of their log entry.
	SensorTime Kind = "sensor-time"
)

// Note is one thing to know about the clock of a host's records in a file.
type Note struct {
	Kind Kind
	Host string // as recorded; of several spellings the smallest
	File string
	// Offset is what was added to the time of the host's log entries, for LocalTime.
	Offset time.Duration
	// Moved is how many entries it was added to, for LocalTime.
	Moved int
	// Records is how many records show it, of the Of that carry both times. For
	// LocalTime it is 0 where the host has none, and all other hosts of the file
	// have this offset.
	Records, Of int
	// Least and Most are the differences between the time of the entry, Offset
	// included, and UtcTime, of the records that show it.
	Least, Most time.Duration
	// Evidence are the records with the least and the most difference, or one if
	// they are the same.
	Evidence []event.EvidenceRef
}

// Offsets are what is to be added to the entries' times. The zero value is none.
type Offsets struct {
	logs  map[Log]time.Duration // with the zeros that were measured
	files map[string]time.Duration
}

// None reports whether there is nothing to correct.
func (o Offsets) None() bool { return len(o.files) == 0 && len(o.logs) == 0 }

// Or returns o, and for logs and files that have no offset in o those of later.
func (o Offsets) Or(later Offsets) Offsets {
	if later.None() {
		return o
	}
	return Join(later, o)
}

// First returns the offset that o.Or(later) gives an event.
func (o Offsets) First(later Offsets, e *event.Event) time.Duration {
	if o.None() && later.None() {
		return 0
	}
	l := logOf(e)
	for _, from := range [...]Offsets{o, later} {
		if d, ok := from.logs[l]; ok {
			return d
		}
	}
	if d, ok := o.files[l.File]; ok {
		return d
	}
	return later.files[l.File]
}

// Join returns the offsets of all; where two have a log or a file, the last one's.
func Join(all ...Offsets) Offsets {
	both := Offsets{map[Log]time.Duration{}, map[string]time.Duration{}}
	for _, o := range all {
		maps.Copy(both.logs, o.logs)
		maps.Copy(both.files, o.files)
	}
	return both
}

// Equal reports whether both give every event the same offset.
func (o Offsets) Equal(p Offsets) bool {
	for _, logs := range [...]map[Log]time.Duration{o.logs, p.logs} {
		for l := range logs {
			if o.ofLog(l) != p.ofLog(l) {
				return false
			}
		}
	}
	for _, files := range [...]map[string]time.Duration{o.files, p.files} {
		for f := range files {
			if o.files[f] != p.files[f] {
				return false
			}
		}
	}
	return true
}

func (o Offsets) ofLog(l Log) time.Duration {
	if d, ok := o.logs[l]; ok {
		return d
	}
	return o.files[l.File]
}

// Of returns the offset of an event.
func (o Offsets) Of(e *event.Event) time.Duration {
	if o.None() {
		return 0
	}
	return o.ofLog(logOf(e))
}

// extreme is a record and how far its two times are apart.
type extreme struct {
	by  time.Duration
	ref event.EvidenceRef
}

// spread is a number of records and the two that are farthest apart.
type spread struct {
	n           int
	least, most extreme
}

func (s *spread) add(by time.Duration, ref event.EvidenceRef) {
	x := extreme{by, ref}
	less := s.n == 0 || before(x, s.least, x.by, s.least.by)
	more := s.n == 0 || before(x, s.most, s.most.by, x.by)
	if less || more {
		x.ref = cloned(x.ref)
	}
	if less {
		s.least = x
	}
	if more {
		s.most = x
	}
	s.n++
}

// before orders by two differences, and by reference where they are the same.
func before(x, y extreme, a, b time.Duration) bool {
	return a < b || a == b && x.ref.Compare(y.ref) < 0
}

// merge returns the spread of the records of both.
func merge(a, b spread) spread {
	switch {
	case a.n == 0:
		return b
	case b.n == 0:
		return a
	}
	n := a.n + b.n
	if before(b.least, a.least, b.least.by, a.least.by) {
		a.least = b.least
	}
	if before(b.most, a.most, a.most.by, b.most.by) {
		a.most = b.most
	}
	a.n = n
	return a
}

// votes are the records whose two times are a number of steps apart, and up to
// one step of delay.
type votes struct {
	spread
	prompt int // of them, those with a delay of at most that
}

type counts struct {
	name     string         // the smallest spelling of the host
	steps    map[int]*votes // by steps; all beyond mostSteps are one
	of       int            // records with both times, traced ones left out
	both     int            // the same with them
	unheeded spread         // records whose UtcTime was not believed
	moved    int            // entries with an offset
}

// Tally counts. It may be used by several goroutines at once. The zero value is
// ready.
type Tally struct {
	mu   sync.Mutex
	logs map[Log]*counts
	last Log
	at   *counts

	cells    int
	many     bool
	measured int // records with both times, traced ones left out
}

// Measured returns how many records there were that tell the offset of a host in a
// file.
func (t *Tally) Measured() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.measured
}

// Full reports whether there were more hosts and files, or more differences, than
// are told apart, so that there are no offsets.
func (t *Tally) Full() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.many
}

// Add counts normalised events.
func (t *Tally) Add(batch []*event.Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, e := range batch {
		t.add(e)
	}
}

func (t *Tally) add(e *event.Event) {
	if e.Logged.IsZero() || e.Flags&(event.Carved|event.BadChecksum) != 0 {
		return // damage may have invented either time
	}
	own, ok := normalize.SensorTime(e)
	if !ok && e.Offset == 0 {
		return
	}
	c := t.of(e)
	if c == nil {
		return
	}
	if e.Offset != 0 {
		c.moved++
	}
	if !ok {
		return
	}
	c.both++
	if by := e.Entered().Sub(own); !e.Time.Equal(own) {
		c.unheeded.add(by, e.Ref)
	}
	if normalize.Traced(e.Kind) {
		return
	}
	c.of++
	t.measured++
	by := e.Logged.Sub(own)
	k := steps(by)
	v := c.steps[k]
	if v == nil {
		if t.cells >= maxCells {
			t.many = true
			return
		}
		t.cells++
		v = &votes{}
		c.steps[k] = v
	}
	v.add(by, e.Ref)
	if by-time.Duration(k)*step <= prompt {
		v.prompt++
	}
}

// steps returns how many whole steps are in a difference; mostSteps+1 stands for
// all that are too many.
func steps(by time.Duration) int {
	if by.Abs() > (mostSteps+1)*step {
		return mostSteps + 1
	}
	by += early
	k := int(by / step)
	if by%step < 0 {
		k--
	}
	if k < -mostSteps || k > mostSteps {
		return mostSteps + 1
	}
	return k
}

// of returns the counts of an event's log, nil if there are too many.
func (t *Tally) of(e *event.Event) *counts {
	if t.at != nil && e.Ref.File == t.last.File && e.Host == t.at.name {
		return t.at
	}
	l := logOf(e)
	c := t.logs[l]
	if c == nil {
		if len(t.logs) >= maxLogs {
			t.many = true
			return nil
		}
		if t.logs == nil {
			t.logs = map[Log]*counts{}
		}
		l = Log{strings.Clone(l.File), strings.Clone(l.Host)}
		c = &counts{name: strings.Clone(e.Host), steps: map[int]*votes{}}
		t.logs[l] = c
	}
	if e.Host < c.name {
		c.name = strings.Clone(e.Host)
	}
	t.last, t.at = l, c
	return c
}

// cloned returns a reference that keeps nothing of its event's text alive.
func cloned(r event.EvidenceRef) event.EvidenceRef {
	r.Host, r.Channel, r.File = strings.Clone(r.Host), strings.Clone(r.Channel), strings.Clone(r.File)
	return r
}

// Offsets returns the offset of every host and file. A host without records that
// carry both times has that of its file, if all hosts with such records have the
// same.
func (t *Tally) Offsets() Offsets {
	t.mu.Lock()
	defer t.mu.Unlock()
	var o Offsets
	if t.many {
		return o
	}
	type agreed struct {
		offset time.Duration
		not    bool
	}
	files := map[string]agreed{}
	logs := map[Log]time.Duration{}
	any := false
	for l, c := range t.logs {
		if c.of == 0 {
			continue
		}
		d, _ := c.offset()
		logs[l] = d
		any = any || d != 0
		a, seen := files[l.File]
		files[l.File] = agreed{d, seen && (a.not || a.offset != d)}
	}
	if !any {
		return o
	}
	o.logs, o.files = logs, map[string]time.Duration{}
	for f, a := range files {
		if !a.not && a.offset != 0 {
			o.files[f] = a.offset
		}
	}
	return o
}

// offset returns the offset of a host's records in a file, 0 if there is none,
// and whether its records disagree.
func (c *counts) offset() (time.Duration, bool) {
	k := 0
	for n, v := range c.steps {
		if best := c.steps[k]; best == nil || v.n > best.n || v.n == best.n && abs(n) < abs(k) {
			k = n
		}
	}
	best := c.steps[k]
	apart := c.of // records at another whole step than none
	if honest := c.steps[0]; honest != nil {
		apart -= honest.n
	}
	switch {
	case best == nil, apart < enough, apart*100 <= c.of*(100-nearly):
		return 0, false
	case k == 0, k > mostSteps, best.n*100 < c.of*nearly, best.prompt*2 < best.n, best.prompt < enough:
		return 0, true
	}
	return -time.Duration(k) * step, false
}

func abs(n int) int { return max(n, -n) }

// Notes returns what there is to know about the clocks of events whose Offset had
// been set to o before they were normalised and added, ordered by file and host.
func (t *Tally) Notes(o Offsets) []Note {
	t.mu.Lock()
	defer t.mu.Unlock()
	var notes []Note
	for l, c := range t.logs {
		note := func(kind Kind, offset time.Duration, s spread) {
			n := Note{
				Kind: kind, Host: c.name, File: l.File, Offset: offset,
				Records: s.n, Of: c.of, Least: s.least.by, Most: s.most.by,
			}
			if s.n > 0 {
				n.Evidence = append(n.Evidence, s.least.ref)
				if s.most.ref != s.least.ref {
					n.Evidence = append(n.Evidence, s.most.ref)
				}
			}
			if kind == LocalTime {
				n.Moved = c.moved
			}
			if kind == SensorTime {
				n.Of = c.both
			}
			notes = append(notes, n)
		}
		d := o.ofLog(l)
		_, uneven := c.offset()
		switch {
		case d != 0:
			var s spread
			if v := c.steps[int(-d/step)]; v != nil {
				s = v.spread
			}
			if s.n > 0 {
				s.least.by, s.most.by = s.least.by+d, s.most.by+d
			}
			note(LocalTime, d, s)
		case uneven:
			var s spread
			for k, v := range c.steps {
				if k != 0 {
					s = merge(s, v.spread)
				}
			}
			note(Uneven, 0, s)
		}
		if c.unheeded.n > 0 {
			note(SensorTime, 0, c.unheeded)
		}
	}
	slices.SortFunc(notes, func(a, b Note) int {
		return cmp.Or(strings.Compare(a.File, b.File), strings.Compare(strings.ToLower(a.Host), strings.ToLower(b.Host)), strings.Compare(string(a.Kind), string(b.Kind)))
	})
	return notes
}
