package analysis

import (
	"bufio"
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"ashiato/internal/detect"
	"ashiato/internal/event"
	"ashiato/internal/incident"
	"ashiato/internal/wire"
	"ashiato/internal/world"
)

// Signature begins a state file; its last byte is the version. The format is in
// docs/formats/state.md.
const Signature = "ASHISTA\x01"

// ErrState is what Restore returns, wrapped, for what is no state of this version
// or is damaged, and ErrOtherRules for one that was made with other rules.
var (
	ErrState      = errors.New("no usable state")
	ErrOtherRules = errors.New("the state was made with other rules or indicators")
)

// Bounds of what Restore reads.
const (
	maxNote   = 16 << 20  // bytes of the caller's part
	maxHead   = 512 << 20 // bytes of the part about what was seen
	maxEvent  = 4 << 30   // bytes of one event with its detections, each of which has its values
	maxFound  = 1 << 28   // events with detections
	maxSecond = 1 << 45   // seconds from 1970 of any time, a million years
)

// Snapshot writes the whole state: what the joins keep, what correlations wait
// for, the detections, and the ids of the incidents of the last Update. note is
// the caller's own, at most 16 MiB. It is not to be called while events are added.
func (a *Analysis) Snapshot(out io.Writer, note []byte) error {
	a.running.Lock()
	defer a.running.Unlock()
	if len(note) > maxNote {
		return fmt.Errorf("write state: a note of %d bytes, more than %d", len(note), maxNote)
	}
	sum := sha256.New()
	w := bufio.NewWriterSize(io.MultiWriter(out, sum), 1<<16)
	_, _ = w.WriteString(Signature) // Flush tells
	part := func(write func(io.Writer) error) error {
		p := &partWriter{w: w}
		if err := write(p); err != nil {
			return fmt.Errorf("write state: %w", err)
		}
		return p.close()
	}
	err := part(func(p io.Writer) error {
		c := wire.NewWriter(nil)
		rules, text := a.opt.RuleSet, string(note)
		c.String(&rules)
		c.String(&text)
		_, err := p.Write(c.Bytes())
		return err
	})
	for _, write := range []func(io.Writer) error{a.writeSeen, a.writeFound, a.writeState, a.world.Snapshot} {
		if err == nil {
			err = part(write)
		}
	}
	if err == nil {
		err = w.Flush()
	}
	if err == nil {
		_, err = out.Write(sum.Sum(nil))
	}
	if err != nil {
		return fmt.Errorf("write state: %w", err)
	}
	return nil
}

// partWriter writes a part of unknown length: pieces with their lengths, and a
// length of zero at the end.
type partWriter struct{ w *bufio.Writer }

// Write is for io.Writer.
func (p *partWriter) Write(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	if _, err := p.w.Write(binary.AppendUvarint(nil, uint64(len(b)))); err != nil {
		return 0, err
	}
	return p.w.Write(b)
}

func (p *partWriter) close() error { return p.w.WriteByte(0) }

// partReader reads a part.
type partReader struct {
	r    *bufio.Reader
	left uint64 // of the piece
	done bool
}

// Read is for io.Reader.
func (p *partReader) Read(b []byte) (int, error) {
	for p.left == 0 {
		if p.done {
			return 0, io.EOF
		}
		n, err := binary.ReadUvarint(p.r)
		if err != nil {
			return 0, cut(err)
		}
		p.left, p.done = n, n == 0
	}
	n, err := p.r.Read(b[:min(uint64(len(b)), p.left)])
	p.left -= uint64(n)
	if err != nil {
		return n, cut(err)
	}
	return n, nil
}

func cut(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

func (a *Analysis) writeSeen(out io.Writer) error {
	s := a.saw()
	c := wire.NewWriter(nil)
	s.code(c)
	if err := c.Err(); err != nil {
		return err
	}
	_, err := out.Write(c.Bytes())
	return err
}

// saw is what an Analysis knows of what it was given, beside the records.
type saw struct {
	events      uint64
	first, last time.Time
	hosts       []string
	many        bool
	kinds       []kind
	earlier     []incident.Earlier
	detections  uint64 // events with detections that follow
	lost        int64
	fenced      bool
	fence       position
}

func (a *Analysis) saw() *saw {
	s := &saw{
		events: uint64(a.seen.Events), first: a.seen.First, last: a.seen.Last, hosts: slices.Sorted(maps.Keys(a.hosts)), many: a.kinds.many,
		earlier: a.earlierIncidents(), lost: a.found.lost, fenced: a.found.fenced, fence: a.found.fence, detections: uint64(len(a.found.events())),
	}
	for k := range a.kinds.seen {
		s.kinds = append(s.kinds, k)
	}
	slices.SortFunc(s.kinds, func(x, y kind) int {
		return cmp.Or(cmp.Compare(x.kind, y.kind), cmp.Compare(x.id, y.id), strings.Compare(x.provider, y.provider), strings.Compare(x.channel, y.channel))
	})
	return s
}

func (s *saw) code(c *wire.Coder) {
	c.Uint(&s.events, math.MaxInt64)
	codeTime(c, &s.first)
	codeTime(c, &s.last)
	c.Strings(&s.hosts)
	c.Bool(&s.many)
	wire.List(c, &s.kinds, 4, func(c *wire.Coder, k *kind) {
		wire.Int(c, &k.kind, 0, event.Kind(len(event.Kinds())-1))
		wire.Int(c, &k.id, 0, math.MaxUint32)
		c.String(&k.provider)
		c.String(&k.channel)
	})
	wire.List(c, &s.earlier, 2, func(c *wire.Coder, e *incident.Earlier) {
		c.String(&e.ID)
		c.Strings(&e.Detections)
	})
	c.Uint(&s.detections, maxFound)
	wire.Int(c, &s.lost, 0, math.MaxInt64)
	c.Bool(&s.fenced)
	if !s.fenced {
		return
	}
	wire.Int(c, &s.fence.severity, 0, detect.Critical)
	codeTime(c, &s.fence.time)
	codeBytes(c, s.fence.identity.content[:])
	c.String(&s.fence.identity.rule)
}

// codeTime codes a time in UTC; the zero time is one like others.
func codeTime(c *wire.Coder, t *time.Time) {
	sec, nsec := t.Unix(), int64(t.Nanosecond())
	wire.Int(c, &sec, -maxSecond, maxSecond)
	wire.Int(c, &nsec, 0, 999_999_999)
	if c.Reading() {
		if *t = time.Unix(sec, nsec).UTC(); t.IsZero() {
			*t = time.Time{}
		}
	}
}

// codeBytes codes bytes of fixed number.
func codeBytes(c *wire.Coder, b []byte) {
	s := string(b)
	c.String(&s)
	if c.Reading() && copy(b, s) != len(s) || len(s) != len(b) {
		c.Failf("%d bytes instead of %d", len(s), len(b))
	}
}

// cited is an event with the detections it decided.
type cited struct {
	event *event.Event
	holds []hold
}

type hold struct {
	rule    string
	matched []detect.Matched
	copies  int64
}

// events are the detections by event, in order. Of copies of a record that two
// rules hold for, each may have another one.
func (f *found) events() []cited {
	at := map[*event.Event]int{}
	all := make([]*held, 0, len(f.all))
	for _, h := range f.all {
		all = append(all, h)
	}
	slices.SortFunc(all, func(a, b *held) int { return detect.Compare(a.Detection, b.Detection) })
	var out []cited
	for _, h := range all {
		i, ok := at[h.Event]
		if !ok {
			i = len(out)
			at[h.Event] = i
			out = append(out, cited{event: h.Event})
		}
		out[i].holds = append(out[i].holds, hold{h.Rule.ID, h.Matched, h.copies})
	}
	return out
}

func (x *cited) code(c *wire.Coder) {
	if c.Reading() {
		x.event = &event.Event{}
	}
	codeEvent(c, x.event)
	wire.List(c, &x.holds, 3, func(c *wire.Coder, h *hold) {
		c.String(&h.rule)
		wire.List(c, &h.matched, 2, func(c *wire.Coder, m *detect.Matched) {
			c.String(&m.Field)
			c.String(&m.Value)
		})
		wire.Int(c, &h.copies, 0, math.MaxInt32)
	})
}

func codeEvent(c *wire.Coder, e *event.Event) {
	codeTime(c, &e.Time)
	codeTime(c, &e.Logged)
	wire.Int(c, &e.Offset, math.MinInt64/2, math.MaxInt64/2)
	wire.Int(c, &e.Kind, 0, event.Kind(len(event.Kinds())-1))
	for _, s := range []*string{&e.Host, &e.Provider, &e.Channel, &e.UserSID, &e.Ref.Host, &e.Ref.Channel, &e.Ref.File} {
		c.String(s)
	}
	wire.Int(c, &e.ID, 0, math.MaxUint32)
	for _, n := range []*uint8{&e.Version, &e.Level, &e.Opcode, (*uint8)(&e.Flags)} {
		wire.Int(c, n, 0, math.MaxUint8)
	}
	wire.Int(c, &e.Task, 0, math.MaxUint16)
	c.Uint(&e.Keywords, math.MaxUint64)
	wire.Int(c, &e.PID, 0, math.MaxUint32)
	wire.Int(c, &e.TID, 0, math.MaxUint32)
	for _, list := range []*event.Fields{&e.Data, &e.Canon} {
		wire.List(c, (*[]event.Field)(list), 2, func(c *wire.Coder, f *event.Field) {
			c.String(&f.Name)
			c.String(&f.Value)
		})
	}
	c.Uint(&e.Ref.RecordID, math.MaxUint64)
	wire.Int(c, &e.Ref.Offset, math.MinInt64/2, math.MaxInt64/2)
	codeBytes(c, e.Ref.SHA256[:])
}

func (a *Analysis) writeFound(out io.Writer) error {
	for _, x := range a.found.events() {
		c := wire.NewWriter(nil)
		if x.code(c); c.Err() != nil {
			return c.Err()
		}
		if _, err := out.Write(binary.AppendUvarint(nil, uint64(len(c.Bytes())))); err != nil {
			return err
		}
		if _, err := out.Write(c.Bytes()); err != nil {
			return err
		}
	}
	return nil
}

func (a *Analysis) writeState(out io.Writer) error {
	if a.state == nil {
		return nil
	}
	return a.state.Snapshot(out)
}

// Restore reads what Snapshot wrote, twice: its checksum first, so that nothing is
// made of what is damaged. The Analysis goes on as the one that was written:
// events that are added again change nothing, and Changes of the first Update tell
// what became of its incidents. It returns the caller's note too. It takes memory
// in proportion to what it reads. What was made with other rules than
// opt.RuleSet's cannot be gone on from: what they would say of records that are no
// longer at hand is not known. The error is then ErrOtherRules; all others but
// those of r wrap ErrState.
func Restore(r io.ReadSeeker, opt Options) (a *Analysis, note []byte, err error) {
	size, err := verify(r)
	if err != nil {
		return nil, nil, err
	}
	in := bufio.NewReaderSize(io.LimitReader(r, size), 1<<16)
	if _, err := in.Discard(len(Signature)); err != nil {
		return nil, nil, fmt.Errorf("read state: %w", err)
	}
	unusable := func(what string, err error) error {
		if errors.Is(err, ErrOtherRules) || errors.Is(err, ErrState) {
			return err
		}
		return fmt.Errorf("%w: %s: %w", ErrState, what, err)
	}
	a = begin(opt, nil)
	var s saw
	for _, p := range []struct {
		what string
		read func(*partReader) error
	}{
		{"its head", func(p *partReader) error {
			var rules, text string
			err := whole(p, maxNote+1<<16, func(c *wire.Coder) {
				c.String(&rules)
				c.String(&text)
			})
			if note = []byte(text); err == nil && rules != opt.RuleSet {
				return fmt.Errorf("%w (%s, not %s)", ErrOtherRules, rules, opt.RuleSet)
			}
			return err
		}},
		{"what was seen", func(p *partReader) error { return whole(p, maxHead, s.code) }},
		{"the detections", func(p *partReader) error { return a.readFound(p, int(s.detections)) }},
		{"the correlations", a.readState},
		{"the joins", func(p *partReader) error {
			w, err := world.Restore(p, opt.Limits)
			if err == nil {
				a.use(w)
			}
			return err
		}},
	} {
		part := &partReader{r: in}
		if err := p.read(part); err != nil {
			return nil, nil, unusable(p.what, err)
		}
		if n, err := io.Copy(io.Discard, part); n > 0 || err != nil {
			return nil, nil, unusable(p.what, cmp.Or(err, fmt.Errorf("%d bytes are left over", n)))
		}
	}
	if _, err := in.ReadByte(); !errors.Is(err, io.EOF) {
		return nil, nil, fmt.Errorf("%w: there is more behind its end", ErrState)
	}
	if err := a.know(&s); err != nil {
		return nil, nil, unusable("what was seen", err)
	}
	return a, note, nil
}

// verify checks the signature and the checksum. It returns the size without the
// checksum and leaves r at its start.
func verify(r io.ReadSeeker) (size int64, err error) {
	end, err := r.Seek(0, io.SeekEnd)
	if err == nil {
		_, err = r.Seek(0, io.SeekStart)
	}
	if err != nil {
		return 0, fmt.Errorf("read state: %w", err)
	}
	head := make([]byte, len(Signature))
	n, err := io.ReadFull(r, head)
	switch {
	case err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF):
		return 0, fmt.Errorf("read state: %w", err)
	case !strings.HasPrefix(Signature[:7], string(head[:min(n, 7)])) || n == 0:
		return 0, fmt.Errorf("%w: it does not begin as one", ErrState)
	case n == len(head) && head[7] != Signature[7]:
		return 0, fmt.Errorf("%w: its version is %d, and this program reads %d", ErrState, head[7], Signature[7])
	}
	size = end - sha256.Size
	if size < int64(len(Signature)) {
		return 0, fmt.Errorf("%w: it ends too early", ErrState)
	}
	sum := sha256.New()
	sum.Write(head)
	if _, err := io.CopyN(hash.Hash(sum), r, size-int64(len(head))); err != nil {
		return 0, fmt.Errorf("read state: %w", err)
	}
	got := make([]byte, sha256.Size)
	if _, err := io.ReadFull(r, got); err != nil {
		return 0, fmt.Errorf("read state: %w", err)
	}
	if !bytes.Equal(got, sum.Sum(nil)) {
		return 0, fmt.Errorf("%w: its checksum is wrong: it is damaged, or was not written to its end", ErrState)
	}
	if _, err := r.Seek(0, io.SeekStart); err != nil {
		return 0, fmt.Errorf("read state: %w", err)
	}
	return size, nil
}

// whole reads a part that is small.
func whole(p *partReader, most int64, read func(*wire.Coder)) error {
	data, err := io.ReadAll(io.LimitReader(p, most+1))
	if err != nil {
		return err
	}
	if int64(len(data)) > most {
		return fmt.Errorf("more than %d bytes", most)
	}
	c := wire.NewReader(string(data))
	read(c)
	return c.Done()
}

func (a *Analysis) readFound(p *partReader, n int) error {
	if n == 0 {
		return nil
	}
	rule := a.opt.Engine.RuleByID()
	in := bufio.NewReader(p)
	var buf bytes.Buffer
	for range n {
		size, err := binary.ReadUvarint(in)
		if err != nil {
			return cut(err)
		}
		if size > maxEvent {
			return fmt.Errorf("an event of %d bytes, more than %d", size, maxEvent)
		}
		buf.Reset()
		if _, err := io.CopyN(&buf, in, int64(size)); err != nil {
			return cut(err)
		}
		c := wire.NewReader(buf.String())
		var x cited
		x.code(c)
		if err := c.Done(); err != nil {
			return err
		}
		content := world.Content(x.event)
		for _, h := range x.holds {
			r := rule(h.rule)
			if r == nil || r.Silent {
				return fmt.Errorf("a detection of %q, which is no rule", h.rule)
			}
			id := identity{content, r.ID}
			if a.found.all[id] != nil {
				return fmt.Errorf("a detection of %q is there twice", r.ID)
			}
			d := detect.Detection{Rule: r, Event: x.event, Matched: h.matched}
			a.found.put(id, &held{
				Detection: d, place: position{r.Severity, x.event.Time, id}, host: world.HostKey(x.event.Host), size: sizeOf(&d), copies: h.copies,
			})
		}
	}
	if _, err := in.ReadByte(); !errors.Is(err, io.EOF) {
		return errors.New("more follows")
	}
	return nil
}

func (a *Analysis) readState(p *partReader) error {
	set := a.opt.Engine.Correlations()
	if set == nil {
		return nil
	}
	st, err := set.Restore(p, a.opt.Correlations)
	if err != nil {
		return err
	}
	a.state = st
	_, err = io.Copy(io.Discard, p) // the decoder reads ahead, as far as it likes
	return err
}

// know takes in what was seen.
func (a *Analysis) know(s *saw) error {
	if len(s.kinds) > maxKinds || len(s.hosts) > maxHostNames {
		return fmt.Errorf("%d kinds of records and %d names of hosts", len(s.kinds), len(s.hosts))
	}
	a.seen.Events, a.seen.First, a.seen.Last = int64(s.events), s.first, s.last
	if n := a.world.Repeated(); int64(n) > a.seen.Events {
		return fmt.Errorf("%d of %d events were repeated", n, a.seen.Events)
	}
	for _, h := range s.hosts {
		a.hosts[strings.Clone(h)] = true
	}
	a.kinds.many = s.many
	a.kinds.seen = map[kind]bool{}
	for _, k := range s.kinds {
		a.kinds.seen[k] = true
	}
	a.earlier = s.earlier
	a.found.lost, a.found.fenced, a.found.fence = s.lost, s.fenced, s.fence
	a.touch(a.world.HostKeys())
	for h := range a.found.byHost {
		a.dirty[h] = true
	}
	return nil
}
