package evtx

import (
	"bytes"
	"sync"
)

// Bounds on the templates that are kept of one file. Beyond them, templates are
// parsed again in every chunk, which takes time and changes nothing else.
const (
	maxTemplateBytes = 4 << 20 // of definitions and of programs, roughly
	maxVariants      = 8       // definitions that carry the same identifier
)

// nameRef is where a definition refers to a name. The bytes around it depend on
// where in its chunk the definition stands, and on which names the chunk had
// already.
type nameRef struct {
	at     int    // offset in the definition of the first byte that is not compared
	before int    // bytes from there to the name's offset: dependency id and size
	inline int    // bytes of the name, where it stands in the definition itself
	after  int    // bytes after it that are not compared: the attributes' size
	name   []byte // its hash, length, characters and NUL
}

// compiled is a template of a file as all its chunks share it. It is not
// changed after it was made.
type compiled struct {
	definition []byte // the binary XML up to its last token
	refs       []nameRef
	programs   programs
	steps      int // what parsing it takes from stepsLeft
	names      int // and from parseLeft, beyond the definition's own bytes
}

// match reports whether the binary XML in b[pos:end] says, token by token and
// name by name, what the compiled definition says, and how many bytes it takes.
func (c *compiled) match(b []byte, pos, end int) (int, bool) {
	start, at := pos, 0
	for i := range c.refs {
		r := &c.refs[i]
		n := r.at - at
		if end-pos < n+r.before+4+r.after || !bytes.Equal(b[pos:pos+n], c.definition[at:r.at]) {
			return 0, false
		}
		pos += n + r.before
		off := int64(u32(b, pos))
		if off > int64(len(b)-4-len(r.name)) || !bytes.HasPrefix(b[off+4:], r.name) {
			return 0, false
		}
		pos += 4
		if off == int64(pos) {
			pos += 4 + len(r.name)
		}
		pos += r.after
		at = r.at + r.before + 4 + r.inline + r.after
	}
	last := c.definition[at:]
	if end-pos < len(last) || !bytes.Equal(b[pos:pos+len(last)], last) {
		return 0, false
	}
	return pos + len(last) - start, true
}

// templates are the compiled templates of one file, shared by the goroutines
// that decode its chunks.
type templates struct {
	mu    sync.RWMutex
	known map[[16]byte][]*compiled
	bytes int
}

// find returns the compiled form of the definition in b[pos:end], nil if there
// is none, and how many bytes of binary XML the definition takes.
func (t *templates) find(guid [16]byte, b []byte, pos, end int) (*compiled, int) {
	t.mu.RLock()
	variants := t.known[guid]
	t.mu.RUnlock()
	for _, c := range variants {
		if n, ok := c.match(b, pos, end); ok {
			return c, n
		}
	}
	return nil, 0
}

// add keeps c if there is room.
func (t *templates) add(guid [16]byte, c *compiled) {
	size := len(c.definition)
	for i := range c.refs {
		size += 64 + len(c.refs[i].name)
	}
	for _, p := range c.programs {
		if p != nil {
			size += 64 * len(p.ops)
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	variants := t.known[guid]
	if len(variants) == maxVariants || t.bytes+size > maxTemplateBytes {
		return
	}
	for _, v := range variants {
		if bytes.Equal(v.definition, c.definition) {
			return // another goroutine was first
		}
	}
	if t.known == nil {
		t.known = map[[16]byte][]*compiled{}
	}
	t.bytes += size
	// Readers hold the old slice; append may write behind its end only.
	t.known[guid] = append(variants, c)
}
