package evtx

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"runtime"
	"slices"
	"strings"
	"sync"

	"ashiato/internal/event"
	"ashiato/internal/source"
)

// Reader reads EVTX files. The zero value is ready to use, and one Reader may
// read several files at once.
type Reader struct {
	// Jobs is how many chunks of one file are decoded at once; 0 means
	// GOMAXPROCS.
	Jobs int
	// Interest says which records' fields are read; nil means all. The others
	// are handed on flagged event.Unread if a program reads them (see compile.go)
	// and nothing about them is damaged; else they are decoded like any other.
	Interest source.Interest
}

var _ source.ReadFunc = (&Reader{}).Read

// Read implements source.ReadFunc. A batch holds the events of one chunk in the
// chunk's order; carved leftovers come last, in batches of their own. Stats.Files is 1; Stats.FilesRead is 1 if the file gave a
// record or is an intact log without any.
//
// Event.Time equals Event.Logged, the record's TimeCreated or, where it has
// none, the time in the record's own header. Event.Ref.RecordID is the record's
// EventRecordID or, where it has none, the number in the record's header: exports
// and forwarded logs number their records anew there, so that only the former
// means the same record in every copy of a log.
func (rd *Reader) Read(ctx context.Context, name string, r io.Reader, h source.Handler) (source.Stats, []source.Problem) {
	jobs := rd.Jobs
	if jobs <= 0 {
		jobs = runtime.GOMAXPROCS(0)
	}
	run := newRun(name, h)
	run.interest = rd.Interest
	return run.read(ctx, r, jobs)
}

func newRun(name string, h source.Handler) *run {
	return &run{
		name: name, handle: h, found: map[source.ProblemKind]*source.Problem{},
		slack: slack{maxLive: maxLiveKeys, maxBytes: maxSlackBytes},
	}
}

// read does the work of Reader.Read.
func (r *run) read(ctx context.Context, in io.Reader, jobs int) (source.Stats, []source.Problem) {
	r.stats.Files = 1
	intact := r.file(ctx, in, jobs)
	problems := make([]source.Problem, 0, len(r.found))
	for _, p := range r.found {
		problems = append(problems, *p)
		intact = intact && p.Kind == source.Dirty
	}
	if r.stats.Records > 0 || intact {
		r.stats.FilesRead = 1
	}
	slices.SortFunc(problems, func(a, b source.Problem) int {
		if a.Offset != b.Offset {
			if a.Offset < b.Offset {
				return -1
			}
			return 1
		}
		return strings.Compare(string(a.Kind), string(b.Kind))
	})
	return r.stats, problems
}

// Sniff reports whether head, the first bytes of a file, looks like EVTX, also
// where its header or that of its first chunk is destroyed. It wants the first
// 8 KiB; less is enough for an intact file.
func Sniff(head []byte) bool {
	if bytes.HasPrefix(head, []byte(fileMagic)) {
		return true
	}
	for _, chunk := range [...]int{0, fileHeaderSize} {
		if chunk > len(head) {
			continue
		}
		if bytes.HasPrefix(head[chunk:], []byte(chunkMagic)) {
			return true
		}
		if at := chunk + chunkHeaderSize; at+recordHeader+4 <= len(head) {
			size := u32(head, at+4)
			if string(head[at:at+4]) == recordMagic && size >= minRecord && size <= chunkSize-chunkHeaderSize &&
				head[at+recordHeader] == tokenFragment {
				return true
			}
		}
	}
	return false
}

// run is the reading of one file.
type run struct {
	name   string
	handle source.Handler

	mu    sync.Mutex // guards what follows
	stats source.Stats
	found map[source.ProblemKind]*source.Problem
	slack slack

	templates templates
	interest  source.Interest
	general   bool // decode without programs, for tests
}

// problem merges one occurrence into what was found. Of several, the first by
// offset is kept, so that the order of decoding does not show.
func (r *run) problem(p source.Problem) {
	p.File = r.name
	r.mu.Lock()
	defer r.mu.Unlock()
	old := r.found[p.Kind]
	if old == nil {
		r.found[p.Kind] = &p
		return
	}
	count, lost := old.Count+p.Count, old.Lost+p.Lost
	if p.Offset < old.Offset || p.Offset == old.Offset && p.Detail < old.Detail {
		*old = p
	}
	old.Count, old.Lost = count, lost
}

func (r *run) note(kind source.ProblemKind, offset int64, detail string) {
	r.problem(source.Problem{Kind: kind, Offset: offset, Count: 1, Detail: detail})
}

// job is one chunk, or a stretch between chunks, to decode.
type job struct {
	off  int64
	data *[chunkSize]byte
	size int
	cut  bool // the file ends inside the chunk
	gap  bool // the next chunk begins inside this one
}

var buffers = sync.Pool{New: func() any { return new([chunkSize]byte) }}

var decoders = sync.Pool{New: func() any { return new(decoder) }}

var zeroes [chunkSize]byte

func isZero(b []byte) bool { return bytes.Equal(b, zeroes[:len(b)]) }

// file reads the whole input and reports whether its header is intact.
func (r *run) file(ctx context.Context, in io.Reader, jobs int) bool {
	buf := buffers.Get().(*[chunkSize]byte)
	n, err := r.fill(in, buf[:fileHeaderSize], 0)
	if n == 0 {
		if err == nil {
			r.note(source.Empty, 0, "the file has no bytes")
		}
		buffers.Put(buf)
		return false
	}
	intact, dirty, chunks := r.header(buf[:n])
	off := int64(fileHeaderSize)
	kept := 0
	if !intact && !isZero(buf[:n]) {
		// The header may be missing rather than damaged: look at these
		// bytes as at any other stretch.
		off, kept = 0, n
	}

	queue := make(chan job)
	var workers sync.WaitGroup
	running := 0
	dispatch := func(j job) {
		if running < jobs {
			select {
			case queue <- j:
				return
			default:
			}
			running++
			workers.Add(1)
			go func() {
				defer workers.Done()
				d := decoders.Get().(*decoder)
				defer decoders.Put(d)
				defer d.forget()
				r.chunk(d, j)
				for j := range queue {
					r.chunk(d, j)
				}
			}()
			return
		}
		queue <- j
	}
	defer func() {
		close(queue)
		workers.Wait()
		r.settle()
	}()

	seen := 0 // places of chunks in the file, used or not
	allZero := isZero(buf[:n])
	more := err == nil && n == fileHeaderSize
	for more || kept > 0 {
		if err := ctx.Err(); err != nil {
			r.note(source.Unreadable, off, "reading was stopped: "+err.Error())
			buffers.Put(buf)
			return intact
		}
		n := kept
		if more {
			var got int
			got, err = r.fill(in, buf[kept:], off+int64(kept))
			n += got
			more = err == nil && n == chunkSize
		}
		kept = 0
		data := buf[:n]
		if n == 0 {
			break
		}
		if isZero(data) {
			if n == chunkSize {
				seen++
			}
			off += int64(n)
			continue
		}
		if allZero {
			r.note(source.Corrupt, 0, "the file header is nothing but zeros")
			allZero = false
		}
		next := buffers.Get().(*[chunkSize]byte)
		size, gap := n, false
		chunk := bytes.HasPrefix(data, []byte(chunkMagic))
		find := findChunk
		if chunk {
			find = findLaterChunk
		}
		if at := find(data); at > 0 {
			size, gap = at, chunk
			kept = copy(next[:], data[at:])
		}
		if chunk || size == chunkSize {
			seen++
		}
		cut := size == n && n < chunkSize
		dispatch(job{off: off, data: buf, size: size, cut: cut, gap: gap})
		buf = next
		off += int64(size)
	}
	buffers.Put(buf)
	switch {
	case allZero:
		r.note(source.Empty, 0, "the file holds nothing but zeros")
	case intact && !dirty && seen < chunks:
		r.note(source.Truncated, r.size(), fmt.Sprintf("the header counts %d chunks, the file has room for %d", chunks, seen))
	}
	return intact
}

func (r *run) size() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.stats.Bytes
}

// fill reads until buf is full. The error is nil at the end of the input.
func (r *run) fill(in io.Reader, buf []byte, off int64) (int, error) {
	n, err := io.ReadFull(in, buf)
	r.mu.Lock()
	r.stats.Bytes += int64(n)
	r.mu.Unlock()
	if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
		return n, nil
	}
	if err != nil {
		r.note(source.Unreadable, off+int64(n), err.Error())
	}
	return n, err
}

// header checks the file header and reports whether it is one, whether the log
// was left open and how many chunks it claims.
func (r *run) header(b []byte) (intact, dirty bool, chunks int) {
	if !bytes.HasPrefix(b, []byte(fileMagic)) {
		if !isZero(b) {
			r.note(source.Corrupt, 0, "no EVTX signature at the start of the file")
		}
		return false, false, 0
	}
	if len(b) < fileHeaderSize {
		r.note(source.Truncated, int64(len(b)), "the file ends inside its header")
		if len(b) < 128 {
			return false, false, 0
		}
	}
	flags := u32(b, 120)
	if flags&flagNoChecksum == 0 && crc32.ChecksumIEEE(b[:120]) != u32(b, 124) {
		r.note(source.BadChecksum, 0, "the file header's checksum differs")
	}
	if dirty = flags&flagDirty != 0; dirty {
		r.note(source.Dirty, 0, "the log was not closed when it was copied; its last records may be missing")
	}
	if major := u16(b, 38); major != 3 {
		r.note(source.Corrupt, 38, fmt.Sprintf("the file header claims version %d.%d; 3.1 and 3.2 are known", major, u16(b, 36)))
	}
	return true, dirty, int(u16(b, 42))
}

// findChunk returns where in b the next plausible chunk header starts, -1 if
// nowhere.
func findChunk(b []byte) int {
	for from := 0; ; {
		at := bytes.Index(b[from:], []byte(chunkMagic))
		if at < 0 {
			return -1
		}
		at += from
		if len(b)-at < 56 {
			return at // too near the end to tell: look again with what follows
		}
		if free := u32(b, at+48); u32(b, at+40) == 128 && free >= chunkHeaderSize && free <= chunkSize {
			return at
		}
		from = at + 1
	}
}

// findLaterChunk returns where in b, which starts with a chunk, the next chunk
// starts because bytes are missing between, -1 if nowhere. A record may hold the
// bytes of a chunk header, so a chunk whose own checksum is right is whole.
func findLaterChunk(b []byte) int {
	if len(b) <= chunkHeaderSize {
		return -1
	}
	at := findChunk(b[chunkHeaderSize:])
	if at < 0 {
		return -1
	}
	if free := int64(u32(b, 48)); free >= chunkHeaderSize && free <= int64(len(b)) &&
		crc32.ChecksumIEEE(b[chunkHeaderSize:free]) == u32(b, 52) {
		return -1
	}
	return chunkHeaderSize + at
}

// chunkRun is the reading of one chunk.
type chunkRun struct {
	*run
	d     *decoder
	base  int64
	data  []byte
	batch []*event.Event
	keys  []uint64 // of batch
	slack []leftover
	stats source.Stats // of what is neither batch nor slack
	flags event.Flags
}

// chunk decodes one chunk and hands on its events.
func (r *run) chunk(d *decoder, j job) {
	c := chunkRun{run: r, d: d, base: j.off, data: j.data[:j.size], keys: d.keys[:0]}
	if d.events > 0 {
		c.batch = make([]*event.Event, 0, d.events)
	}
	d.reset(c.data, &r.templates)
	d.general, d.interest = r.general, r.interest
	if j.size >= chunkHeaderSize && string(c.data[:8]) == chunkMagic {
		c.whole(j)
	} else {
		first := slices.IndexFunc(c.data, func(b byte) bool { return b != 0 })
		if first >= 0 && j.off+int64(first) > 0 {
			r.note(source.Corrupt, j.off+int64(first), "no chunk signature; records were searched for")
		}
		c.carve(0, len(c.data), inDamage)
	}
	d.parser.chunk, d.parser.shared, d.interest = nil, nil, nil
	d.keys, d.events = c.keys, len(c.batch)
	buffers.Put(j.data)
	r.hand(&c)
}

// whole reads a chunk that has its header.
func (c *chunkRun) whole(j job) {
	free := int(u32(c.data, 48))
	checked := u32(c.data, 120)&flagNoChecksum == 0
	header := crc32.Update(crc32.ChecksumIEEE(c.data[:120]), crc32.IEEETable, c.data[128:chunkHeaderSize])
	if checked && header != u32(c.data, 124) {
		c.flags |= event.BadChecksum
		c.note(source.BadChecksum, c.base, "a chunk header's checksum differs; its records were read")
	}
	end := free
	switch {
	case u32(c.data, 48) < chunkHeaderSize || u32(c.data, 48) > chunkSize:
		c.note(source.Corrupt, c.base+48, "a chunk's end mark is outside the chunk; its records were followed as far as they go")
		end = len(c.data)
		checked = false
	case free > len(c.data) && j.gap:
		c.flags |= event.BadChecksum
		c.note(source.Corrupt, c.base+int64(len(c.data)), "a chunk ends before its end mark: bytes are missing")
		end = len(c.data)
		checked = false
	case free > len(c.data):
		c.note(source.Truncated, c.base+int64(len(c.data)), "the file ends inside a chunk")
		end = len(c.data)
		checked = false
	case j.cut:
		c.note(source.Truncated, c.base+int64(len(c.data)), "the file ends inside the unused part of a chunk")
	}
	if checked && crc32.ChecksumIEEE(c.data[chunkHeaderSize:free]) != u32(c.data, 52) {
		c.flags |= event.BadChecksum
		c.note(source.BadChecksum, c.base+chunkHeaderSize, "the checksum of a chunk's records differs; they were read")
	}
	c.walk(chunkHeaderSize, end, free != end)
	c.carve(end, len(c.data), inSlack)
}

// walk follows the records from pos to end. Where the chain breaks it searches
// for the next record, which counts as carved. An open end is not vouched for
// by the chunk header: zeros there end the chain without damage.
func (c *chunkRun) walk(pos, end int, open bool) {
	for pos < end {
		rest := c.data[pos:end]
		if open && len(rest) >= 4 && u32(rest, 0) == 0 {
			break
		}
		size, whole := 0, false
		if len(rest) >= recordHeader && string(rest[:4]) == recordMagic {
			size = int(min(u32(rest, 4), chunkSize))
			whole = size >= minRecord && size <= len(rest)
			if !whole {
				c.stats.Records++
				c.stats.Undecodable++
				kind, what := source.Corrupt, fmt.Sprintf("a record claims a size of %d bytes", u32(rest, 4))
				if open && size > len(rest) {
					kind, what = source.Truncated, "a record is cut"
				}
				c.problem(source.Problem{Kind: kind, Offset: c.base + int64(pos), Count: 1, Lost: 1, Detail: what})
			}
		} else if !open || len(rest) >= recordHeader {
			c.note(source.Corrupt, c.base+int64(pos), "no record where the one before ends")
		}
		if !whole {
			c.carve(pos+1, end, inDamage)
			return
		}
		next := pos + size
		if u32(c.data, next-4) != uint32(size) {
			c.note(source.Corrupt, c.base+int64(pos), "a record's two sizes differ")
			// The size may be what is wrong. It is right if a record follows.
			if next != end && !c.recordAt(next, end) {
				c.record(pos, size, inChain)
				c.carve(pos+1, end, inDamage)
				return
			}
		}
		c.record(pos, size, inChain)
		pos = next
	}
}

// recordAt reports whether a record's header stands at pos.
func (c *chunkRun) recordAt(pos, end int) bool {
	return pos+recordHeader <= end && string(c.data[pos:pos+4]) == recordMagic
}

// region says what a record was found in.
type region uint8

const (
	inChain  region = iota // the chunk's own chain of records leads to it
	inDamage               // where the chain is broken
	inSlack                // beyond the chunk's end mark
)

// carve searches [pos, end) for whole records that the chunk's own chain does
// not lead to.
func (c *chunkRun) carve(pos, end int, in region) {
	for pos < end {
		at := bytes.Index(c.data[pos:end], []byte(recordMagic))
		if at < 0 {
			return
		}
		pos += at
		if end-pos < minRecord {
			return
		}
		size := int(min(u32(c.data, pos+4), chunkSize))
		if size < minRecord || size > end-pos || u32(c.data, pos+size-4) != uint32(size) || !c.record(pos, size, in) {
			pos++
			continue
		}
		pos += size
	}
}

// record decodes one record and reports whether it is one.
//
// What lies beyond the end mark is either newer than the mark, in a log that was
// not closed, or left over from what the chunk held before. Leftovers have often
// lost the definitions they refer to, and are no records then; they may also be
// copies of records that are elsewhere in the file, which run.settle removes.
func (c *chunkRun) record(pos, size int, in region) bool {
	raw := c.data[pos : pos+size]
	c.d.strictIDs = in != inChain
	e, damage, err := c.d.decode(pos+recordHeader, pos+size-4)
	unread := c.d.unread
	if unread && (in != inChain || c.flags != 0) {
		e, damage, err = c.d.decodeWhole(pos+recordHeader, pos+size-4)
	}
	at := c.base + int64(pos)
	if in == inSlack && (err != nil || damage != nil) {
		if errors.Is(err, errBudget) {
			c.note(source.TooLarge, at, err.Error())
		}
		return false
	}
	if err != nil {
		if in == inDamage && raw[recordHeader] != tokenFragment {
			return false
		}
		c.stats.Records++
		c.stats.Undecodable++
		kind := source.Corrupt
		if errors.Is(err, errBudget) {
			kind = source.TooLarge
		}
		c.problem(source.Problem{Kind: kind, Offset: at, Count: 1, Lost: 1, Detail: err.Error()})
		return true
	}
	if damage != nil {
		c.note(source.Corrupt, at, "a part of a record could not be read: "+damage.Error())
	}
	e.Flags |= c.flags
	if in != inChain {
		e.Flags |= event.Carved
	}
	if !c.d.hasTime {
		e.Logged = fileTime(u64(raw, 16))
	}
	e.Time = e.Logged
	e.Ref = event.EvidenceRef{
		Host: e.Host, Channel: e.Channel, RecordID: e.Ref.RecordID,
		File: c.name, Offset: at,
	}
	if e.Ref.RecordID == 0 {
		e.Ref.RecordID = u64(raw, 8)
	}
	if e.Flags&event.Unread == 0 || e.Ref.RecordID == 0 {
		e.Ref.SHA256 = sha256.Sum256(raw)
	}
	k := c.d.key(e, u64(raw, 16), unread)
	if in == inSlack {
		c.slack = append(c.slack, leftover{key: k, size: size, e: e})
		return true
	}
	c.keys = append(c.keys, k)
	c.batch = append(c.batch, e)
	return true
}
