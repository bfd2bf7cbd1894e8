package files

import (
	"archive/tar"
	"archive/zip"
	"bufio"
	"bytes"
	"compress/bzip2"
	"compress/flate"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"ashiato/internal/source"
	"ashiato/internal/source/auditd"
	"ashiato/internal/source/evtx"
	"ashiato/internal/source/ndjson"
	"ashiato/internal/source/xmlevent"
)

// content is bytes to look into: of a file on disk or of an archive's member.
type content struct {
	label string
	r     io.Reader
	at    io.ReaderAt // random access, or nil
	size  int64       // with at
	named bool
	depth int // layers around it
}

// headSize is how much of a file is looked at to find out what it is. An EVTX
// file's first chunk begins at 4096.
const headSize = 8 << 10

// stream finds out what c is and reads it.
func (s *scanner) stream(c content) {
	if s.ctx.Err() != nil {
		return
	}
	r := bufio.NewReaderSize(c.r, headSize)
	c.r = r
	head, err := r.Peek(headSize)
	if len(head) == 0 {
		if err != io.EOF {
			s.unreadable(c.label, err)
			return
		}
		s.empty(c, "the file has no bytes")
		return
	}
	switch {
	case evtx.Sniff(head):
		s.deliver(c, (&evtx.Reader{Jobs: s.jobs, Interest: s.opt.Interest}).Read)
	case bytes.HasPrefix(head, []byte{0x1F, 0x8B, 8}):
		s.layer(c, func() { s.gzip(c) })
	case bytes.HasPrefix(head, []byte("BZh")) && len(head) > 10 && string(head[4:10]) == "1AY&SY":
		s.layer(c, func() { s.expand(c, bzip2.NewReader(c.r), nil) })
	case bytes.HasPrefix(head, []byte("PK\x03\x04")) || bytes.HasPrefix(head, []byte("PK\x05\x06")):
		s.layer(c, func() { s.zip(c) })
	case len(head) > 262 && string(head[257:262]) == "ustar":
		s.layer(c, func() { s.tar(c) })
	case ndjson.Sniff(head):
		s.deliver(c, ndjson.Read)
	case xmlevent.Sniff(head):
		s.deliver(c, xmlevent.Read)
	case auditd.Sniff(head):
		s.deliver(c, auditd.Read)
	case len(bytes.Trim(head, "\x00")) == 0:
		s.zeros(c)
	case startsInside(c.label, head, "\n{", ".json", ".ndjson", ".jsonl"):
		s.deliver(c, ndjson.Read)
	case startsInside(c.label, head, "<Event", ".xml"):
		s.deliver(c, xmlevent.Read)
	default:
		s.unknown(c, head)
	}
}

// startsInside recognises a log that begins inside a record, as one does that was
// cut: only then does the extension count.
func startsInside(label string, head []byte, record string, extensions ...string) bool {
	name := strings.TrimSuffix(strings.ToLower(label), ".gz")
	for _, ext := range extensions {
		if strings.HasSuffix(name, ext) {
			return bytes.Contains(head, []byte(record))
		}
	}
	return false
}

func (s *scanner) empty(c content, detail string) {
	s.result.stats.Files++
	s.problem(source.Problem{File: c.label, Kind: source.Empty, Offset: -1, Count: 1, Detail: detail})
}

// zeros reads content that begins with zero bytes: all of it may be, or it is a
// log whose beginning was lost.
func (s *scanner) zeros(c content) {
	buf := make([]byte, 256<<10)
	n := int64(0)
	for s.ctx.Err() == nil {
		got, err := c.r.Read(buf)
		rest := bytes.TrimLeft(buf[:got], "\x00")
		n += int64(got - len(rest))
		if len(rest) > 0 {
			if bytes.HasPrefix(rest, []byte("ElfChnk\x00")) && n%4096 == 0 {
				c.r = io.MultiReader(io.LimitReader(zeroReader{}, n), bytes.NewReader(rest), c.r)
				s.deliver(c, (&evtx.Reader{Jobs: s.jobs, Interest: s.opt.Interest}).Read)
				return
			}
			s.unknown(c, rest)
			return
		}
		if err == io.EOF {
			s.result.stats.Bytes += n
			s.empty(c, fmt.Sprintf("all %d bytes are zero", n))
			return
		}
		if err != nil {
			s.unreadable(c.label, err)
			return
		}
	}
}

type zeroReader struct{}

func (zeroReader) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

// maxKind bounds the folder and extension of members that are told of by them.
const maxKind = 4 << 10

// unknown reports content that is not read here.
func (s *scanner) unknown(c content, head []byte) {
	what := foreign(head)
	if c.named || what != "" {
		s.result.stats.Files++
		detail := "the content is neither EVTX nor JSON nor XML event records nor an audit log"
		if what != "" {
			detail = what + " is not opened; extract it first"
		}
		s.problem(source.Problem{File: c.label, Kind: source.UnknownFormat, Offset: -1, Count: 1, Detail: detail})
		return
	}
	folder, name := split(c.label)
	if kind := folder + "*" + path.Ext(name); c.label != s.in.label && !s.kinds[kind] {
		if len(s.kinds) >= maxGroups || len(kind) > maxKind { // one Problem of them all
			folder, name = s.in.label+"!", "*"
		} else {
			if s.kinds == nil {
				s.kinds = map[string]bool{}
			}
			s.kinds[kind] = true
		}
	}
	s.result.skipped.add(folder, name, "")
}

// foreign names containers that may hold logs but are not opened here.
func foreign(head []byte) string {
	for _, f := range []struct{ magic, what string }{
		{"7z\xBC\xAF\x27\x1C", "a 7-Zip archive"},
		{"Rar!\x1A\x07", "a RAR archive"},
		{"\xFD7zXZ\x00", "an xz stream"},
		{"\x28\xB5\x2F\xFD", "a Zstandard stream"},
		{"MSCF\x00\x00\x00\x00", "a cabinet archive"},
		{"\x04\x22\x4D\x18", "an LZ4 stream"},
		{"Obj\x01", "an Avro file"},
		{"PAR1", "a Parquet file"},
		{"LfLe", "an EVT log of Windows XP"},
	} {
		at := head
		if f.what == "an EVT log of Windows XP" && len(head) >= 8 {
			at = head[4:]
		}
		if bytes.HasPrefix(at, []byte(f.magic)) {
			return f.what
		}
	}
	return ""
}

// layer opens a container unless too many lie around it.
func (s *scanner) layer(c content, open func()) {
	if c.depth >= s.opt.MaxDepth {
		s.tooLarge(c.label, -1, fmt.Sprintf("archives are nested deeper than %d", s.opt.MaxDepth))
		return
	}
	open()
}

func (s *scanner) tooLarge(label string, offset int64, detail string) {
	s.problem(source.Problem{File: label, Kind: source.TooLarge, Offset: offset, Count: 1, Detail: detail})
}

var errExpanded = errors.New("expands too much")

// expanded reads expanded bytes within the bounds. An error ends the stream for
// the format's reader, which reads what is there; the error is kept.
type expanded struct {
	s    *scanner
	r    io.Reader
	left int64 // of this stream
	free bool  // it is stored, and counted where it was expanded
	n    int64
	err  error
}

func (e *expanded) Read(b []byte) (int, error) {
	if e.err != nil || len(b) == 0 {
		return 0, io.EOF
	}
	admitted := e.left
	if !e.free {
		admitted = min(admitted, e.s.left)
	}
	if admitted <= 0 {
		// Only if there is more did the bound cut something off.
		var one [1]byte
		n, err := io.ReadFull(e.r, one[:])
		if e.err = err; n > 0 {
			e.err = errExpanded
		}
		return 0, io.EOF
	}
	n, err := e.r.Read(b[:min(int64(len(b)), admitted)])
	e.n += int64(n)
	e.left -= int64(n)
	if !e.free {
		e.s.left -= int64(n)
	}
	if err != nil {
		e.err = err
		err = io.EOF
	}
	return n, err
}

// expand reads what decompression of c gives. next, if set, makes the member out
// of the content, which has c's label else.
func (s *scanner) expand(c content, r io.Reader, member *content) {
	limit := s.left
	inner := content{label: c.label, named: c.named, depth: c.depth + 1}
	if member != nil {
		inner = *member
		limit = 1 << 62
		if inner.size > 0 { // compressed
			limit = max(s.opt.MaxExpanded/4, saturate(s.opt.MaxRatio, inner.size))
		}
	}
	e := &expanded{s: s, r: r, left: limit, free: member != nil && inner.size == 0}
	if !e.free && s.left <= 0 {
		s.result.stats.Files++
		s.members.notRead(s.in.label, inner.label, s.bound)
		return
	}
	inner.size = 0
	inner.r = e
	s.stream(inner)
	s.ended(inner.label, e)
}

// ended reports how a stream ended, other than well.
func (s *scanner) ended(label string, e *expanded) {
	if e.err == nil || e.err == io.EOF {
		return
	}
	p := source.Problem{File: label, Offset: e.n, Count: 1, Kind: source.Corrupt, Detail: e.err.Error()}
	var corrupt flate.CorruptInputError
	switch {
	case errors.Is(e.err, errExpanded):
		p.Kind = source.TooLarge
		p.Detail = fmt.Sprintf("it expands to more than the %d bytes admitted; the rest was not read", e.n)
	case errors.Is(e.err, io.ErrUnexpectedEOF):
		p.Kind, p.Detail = source.Truncated, "the compressed data ends too early"
	case errors.Is(e.err, gzip.ErrChecksum), errors.Is(e.err, zip.ErrChecksum):
		p.Kind, p.Detail = source.BadChecksum, "the checksum of the expanded data is wrong"
	case errors.As(e.err, &corrupt):
		p.Detail = "the compressed data is damaged"
	case isPathError(e.err):
		p.Kind = source.Unreadable
	}
	s.problem(p)
}

func isPathError(err error) bool {
	var pe *fs.PathError
	return errors.As(err, &pe)
}

func (s *scanner) gzip(c content) {
	r, err := gzip.NewReader(c.r)
	if err != nil {
		s.broken(c, "gzip", err)
		return
	}
	s.expand(c, r, nil)
}

// broken reports a container that cannot be opened at all.
func (s *scanner) broken(c content, what string, err error) {
	s.result.stats.Files++
	p := source.Problem{File: c.label, Kind: source.Corrupt, Offset: -1, Count: 1, Detail: fmt.Sprintf("a damaged %s file: %v", what, err)}
	if errors.Is(err, io.ErrUnexpectedEOF) || err == io.EOF {
		p.Kind = source.Truncated
	}
	s.problem(p)
}

func (s *scanner) tar(c content) {
	r := tar.NewReader(c.r)
	for s.ctx.Err() == nil {
		h, err := r.Next()
		if err == io.EOF {
			return
		}
		if err != nil {
			s.broken(c, "tar", err)
			return
		}
		if h.Typeflag != tar.TypeReg {
			continue // folders and links hold nothing
		}
		s.expand(c, r, &content{label: member(c.label, h.Name), depth: c.depth + 1})
	}
}

// member names an archive's member. The name is only ever shown.
func member(archive, name string) string {
	return archive + "!" + strings.ReplaceAll(name, `\`, "/")
}

func (s *scanner) zip(c content) {
	if c.at == nil {
		f, err := s.spool(c)
		if f != nil {
			defer os.Remove(f.Name()) // a temporary file
			defer f.Close()           // only read from here on
		}
		if err != nil {
			s.unreadable(c.label, err)
			return
		}
		info, err := f.Stat()
		if err != nil {
			s.unreadable(c.label, err)
			return
		}
		c.at, c.size = f, info.Size()
	}
	if n := directorySize(c.at, c.size); n > maxDirectory {
		s.tooLarge(c.label, -1, fmt.Sprintf("the directory of the zip file has %d bytes", n))
		return
	}
	r, err := zip.NewReader(c.at, c.size)
	if err != nil && !errors.Is(err, zip.ErrInsecurePath) { // names are not used as paths
		s.broken(c, "zip", err)
		return
	}
	for _, f := range r.File {
		if s.ctx.Err() != nil {
			return
		}
		if f.FileInfo().IsDir() || f.Mode()&fs.ModeSymlink != 0 {
			continue
		}
		s.zipMember(c, f)
	}
}

func (s *scanner) zipMember(c content, f *zip.File) {
	name := member(c.label, f.Name)
	report := func(kind source.ProblemKind, detail string) {
		s.result.stats.Files++
		s.problem(source.Problem{File: name, Kind: kind, Offset: -1, Count: 1, Detail: detail})
	}
	const encrypted = 1
	if f.Flags&encrypted != 0 {
		report(source.Unreadable, "encrypted; extract it with its password first")
		return
	}
	r, err := f.Open()
	switch {
	case errors.Is(err, zip.ErrAlgorithm):
		report(source.UnknownFormat, fmt.Sprintf("zip compression method %d is not supported", f.Method))
		return
	case err != nil:
		report(source.Corrupt, fmt.Sprintf("a damaged zip member: %v", err))
		return
	}
	defer r.Close() // only read
	compressed := int64(min(f.CompressedSize64, 1<<62))
	s.expand(c, r, &content{label: name, depth: c.depth + 1, size: max(compressed, 1)})
}

// spool copies a zip file inside an archive to a temporary file, because its
// directory is at its end.
func (s *scanner) spool(c content) (*os.File, error) {
	f, err := os.CreateTemp("", "ashiato-*.zip")
	if err != nil {
		return nil, err
	}
	_, err = io.Copy(f, c.r) // within the bounds of expanded
	return f, err
}

const maxDirectory = 128 << 20

// directorySize returns what the end of a zip file says about its directory's
// size, 0 if there is no such end.
func directorySize(r io.ReaderAt, size int64) int64 {
	const maxTail = 22 + 1<<16
	tail := make([]byte, min(size, maxTail))
	if n, err := r.ReadAt(tail, size-int64(len(tail))); n < len(tail) && err != nil {
		return 0
	}
	i := bytes.LastIndex(tail, []byte("PK\x05\x06"))
	if i < 0 || i+16 > len(tail) {
		return 0
	}
	u32 := func(b []byte) int64 { return int64(b[0]) | int64(b[1])<<8 | int64(b[2])<<16 | int64(b[3])<<24 }
	n := u32(tail[i+12:])
	if n != 0xFFFFFFFF {
		return n
	}
	// Zip64: its record is before this one.
	i = bytes.LastIndex(tail[:i], []byte("PK\x06\x06"))
	if i < 0 || i+48 > len(tail) {
		return n
	}
	return u32(tail[i+40:]) | (u32(tail[i+44:])&0x3FFFFFFF)<<32
}
