package world

import (
	"hash/maphash"
	"strings"
)

// texts holds every text once, end to end, and knows it by where it is. A text
// takes its bytes, one to three for its length, and four to eight in the table
// by which it is found.
type texts struct {
	seed   maphash.Seed
	chunks []*strings.Builder
	table  []textRef // open addressing; 0 is free
	count  int
	size   int64 // bytes of the texts with their lengths
}

// textRef is a text's chunk and its place there. Zero is the empty text.
type textRef uint32

const (
	chunkBits = 18
	chunkSize = 1 << chunkBits // more than the longest text takes
)

func newTexts() texts { return texts{seed: maphash.MakeSeed()} }

// put returns where s is, and takes it in if it is new. What is longer than
// maxText is cut.
func (t *texts) put(s string) textRef {
	if s == "" {
		return 0
	}
	s = clip(s)
	if (t.count+1)*4 > len(t.table)*3 {
		t.grow()
	}
	mask := uint64(len(t.table) - 1)
	i := maphash.String(t.seed, s) & mask
	for ; t.table[i] != 0; i = (i + 1) & mask {
		if t.get(t.table[i]) == s {
			return t.table[i]
		}
	}
	var length [3]byte // maxText fits
	n := 0
	for l := len(s); ; l >>= 7 {
		length[n] = byte(l & 0x7f)
		if n++; l < 0x80 {
			break
		}
		length[n-1] |= 0x80
	}
	last := len(t.chunks) - 1
	if last < 0 || t.chunks[last].Len()+n+len(s) > chunkSize {
		t.chunks = append(t.chunks, &strings.Builder{})
		if last++; last == 0 {
			t.chunks[0].WriteByte(0) // nothing is at 0
		} else {
			t.chunks[last].Grow(chunkSize)
		}
	}
	c := t.chunks[last]
	ref := textRef(last<<chunkBits | c.Len())
	c.Write(length[:n])
	c.WriteString(s)
	t.table[i] = ref
	t.count++
	t.size += int64(n + len(s))
	return ref
}

// get returns the text at ref, which put gave out. It shares the memory of its
// chunk.
func (t *texts) get(ref textRef) string {
	if ref == 0 {
		return ""
	}
	s := t.chunks[ref>>chunkBits].String()[ref&(chunkSize-1):]
	length := 0
	for n := 0; ; n++ {
		length |= int(s[n]&0x7f) << (7 * n)
		if s[n] < 0x80 {
			return s[n+1 : n+1+length]
		}
	}
}

// sizeOf is the part of size that is the text's at ref.
func (t *texts) sizeOf(ref textRef) int64 {
	n := int64(len(t.get(ref)))
	size := n + 1
	for ; n >= 0x80; n >>= 7 {
		size++
	}
	return size
}

// each calls f with every text, in the order they were put.
func (t *texts) each(f func(ref textRef, s string)) {
	for c, chunk := range t.chunks {
		from := 0
		if c == 0 {
			from = 1
		}
		for from < chunk.Len() {
			ref := textRef(c<<chunkBits | from)
			s := t.get(ref)
			f(ref, s)
			from += len(s) + 1
			for n := len(s); n >= 0x80; n >>= 7 {
				from++
			}
		}
	}
}

func (t *texts) grow() {
	old := t.table
	t.table = make([]textRef, max(64, 2*len(old)))
	mask := uint64(len(t.table) - 1)
	for _, ref := range old {
		if ref == 0 {
			continue
		}
		i := maphash.String(t.seed, t.get(ref)) & mask
		for t.table[i] != 0 {
			i = (i + 1) & mask
		}
		t.table[i] = ref
	}
}

// pool is a list that grows without being copied as a whole.
type pool[T any] struct {
	chunks [][]T
	n      int
}

const poolChunk = 1 << 10

func (p *pool[T]) add(v T) uint32 {
	last := len(p.chunks) - 1
	switch {
	case last < 0:
		p.chunks = append(p.chunks, nil)
		last = 0
	case len(p.chunks[last]) == poolChunk:
		p.chunks = append(p.chunks, make([]T, 0, poolChunk))
		last++
	}
	p.chunks[last] = append(p.chunks[last], v)
	p.n++
	return uint32(p.n - 1)
}

// at returns the entry of that index; it is good until the next add.
func (p *pool[T]) at(i uint32) *T { return &p.chunks[i/poolChunk][i%poolChunk] }

// lists holds short lists of references to texts, each in one piece.
type lists struct {
	chunks [][]textRef
	n      int
}

const listChunk = 1 << 14

// add returns where the list is.
func (l *lists) add(refs []textRef) uint32 {
	last := len(l.chunks) - 1
	switch {
	case last < 0:
		l.chunks = append(l.chunks, nil)
		last = 0
	case len(l.chunks[last])+len(refs) > listChunk:
		l.chunks = append(l.chunks, make([]textRef, 0, listChunk))
		last++
	}
	at := uint32(last*listChunk + len(l.chunks[last]))
	l.chunks[last] = append(l.chunks[last], refs...)
	l.n += len(refs)
	return at
}

// at returns the list of n references that is at i.
func (l *lists) at(i uint32, n int) []textRef {
	if n == 0 {
		return nil
	}
	return l.chunks[i/listChunk][i%listChunk:][:n]
}
