package ioc

import (
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"hash/maphash"
	"iter"
	"net/netip"
	"slices"
	"strings"
	"sync"
)

// List is what Parse read of one list, in a compact form.
type List struct {
	file  string
	text  [][]byte // pieces of textPiece bytes: values and descriptions, each behind its length
	items [][]item // pieces of itemPiece items
	n     int
}

// item is one indicator of a list.
type item struct {
	line  uint32
	value uint32 // where in text
	about uint32 // where in text, 0 if it has no description
	kind  uint8  // index in kinds
	level uint8  // index in Levels plus one, 0 if it has none
}

// The pieces that a List grows by, so that it is never copied. The largest text
// is an indicator, bounded by MaxLine.
const (
	textPiece = 1 << 20
	itemPiece = 1 << 16
)

var kinds = Kinds()

// Len returns the number of indicators, equal ones included.
func (l *List) Len() int { return l.n }

// All returns the indicators in the order of the list.
func (l *List) All() iter.Seq[Indicator] {
	return func(yield func(Indicator) bool) {
		for i := range l.n {
			if !yield(l.at(i)) {
				return
			}
		}
	}
}

func (l *List) item(i int) *item { return &l.items[i/itemPiece][i%itemPiece] }

func (l *List) at(i int) Indicator {
	it := l.item(i)
	out := Indicator{Kind: kinds[it.kind], File: l.file, Line: int(it.line)}
	if value := l.read(it.value); isHash(out.Kind) {
		out.Value = hex.EncodeToString(value)
	} else {
		out.Value = string(value)
	}
	if it.level != 0 {
		out.Level = Levels()[it.level-1]
	}
	if it.about != 0 {
		out.Description = string(l.read(it.about))
	}
	return out
}

// add appends an indicator whose value is in normal form. about is where put
// stored its description, 0 if it has none.
func (l *List) add(kind Kind, value string, line int) *item {
	if isHash(kind) {
		value = unhex(value)
	}
	if l.n%itemPiece == 0 {
		l.items = append(l.items, nil)
		if l.n > 0 {
			l.items[len(l.items)-1] = make([]item, 0, itemPiece)
		}
	}
	last := &l.items[len(l.items)-1]
	*last = append(*last, item{line: uint32(line), value: l.put(value), kind: uint8(slices.Index(kinds, kind))})
	l.n++
	return &(*last)[len(*last)-1]
}

// put stores s and returns where.
func (l *List) put(s string) uint32 {
	n := len(l.text) - 1
	if n < 0 || len(l.text[n])+binary.MaxVarintLen32+len(s) > textPiece {
		l.text = append(l.text, nil)
		if n++; n > 0 {
			l.text[n] = make([]byte, 0, textPiece)
		}
	}
	at := uint32(n*textPiece + len(l.text[n]))
	l.text[n] = append(binary.AppendUvarint(l.text[n], uint64(len(s))), s...)
	return at
}

func (l *List) read(at uint32) []byte {
	b := l.text[at/textPiece][at%textPiece:]
	n, k := binary.Uvarint(b)
	return b[k : k+int(n)]
}

func isHash(k Kind) bool { return k.Group() == "hash" }

// unhex returns the bytes of a hash, which hashKind has recognised.
func unhex(s string) string {
	var b [32]byte
	n, _ := hex.Decode(b[:], []byte(s))
	return string(b[:n])
}

// Set is a collection of indicators.
type Set struct {
	lists    []*List
	first    []int              // the number of the first indicator of each list
	slots    []slot             // a hash table with linear probing; its length is a power of two
	seed     maphash.Seed       // so that no list can be made that is slow to look up
	n        int                // distinct indicators
	counts   [12]int            // of them, by index in kinds
	patterns map[Kind][]pattern // those with wildcards
	lengths  []netip.Prefix     // one per prefix length and family of the networks, longest first
	found    sync.Map           // indicators that were asked for: number to *Indicator
}

// slot is an indicator in the table: its number plus one, and part of its hash.
type slot struct{ number, hash uint32 }

// New makes a Set. Of indicators that are equal the first counts.
func New(lists ...*List) *Set {
	s := &Set{lists: lists, seed: maphash.MakeSeed(), patterns: map[Kind][]pattern{}}
	total := 0
	for _, l := range lists {
		s.first = append(s.first, total)
		total += l.n
	}
	size := 8
	for size*3/4 < total {
		size *= 2
	}
	s.slots = make([]slot, size)
	for n, l := range lists {
		for i := range l.n {
			s.add(s.first[n]+i, l, l.item(i))
		}
	}
	slices.SortFunc(s.lengths, func(a, b netip.Prefix) int { return b.Bits() - a.Bits() })
	return s
}

func (s *Set) add(number int, l *List, it *item) {
	kind := kinds[it.kind]
	at, hash := s.probe(it.kind, matchForm(kind, string(l.read(it.value))))
	if s.slots[at].number != 0 {
		return
	}
	s.slots[at] = slot{uint32(number) + 1, hash}
	s.n++
	s.counts[it.kind]++
	if value := string(l.read(it.value)); hasWildcards(kind, value) {
		s.patterns[kind] = append(s.patterns[kind], pattern{number, matchForm(kind, value)})
	}
	if kind == Network {
		p := netip.MustParsePrefix(string(l.read(it.value))) // Parse wrote it
		same := func(o netip.Prefix) bool { return o.Bits() == p.Bits() && o.Addr().Is4() == p.Addr().Is4() }
		if !slices.ContainsFunc(s.lengths, same) {
			s.lengths = append(s.lengths, p)
		}
	}
}

// matchForm is what equal values of a kind have in common.
func matchForm(k Kind, value string) string {
	switch k {
	case Path, FileName, Service, Signer:
		return strings.ToLower(value)
	case Task:
		return strings.ToLower(strings.TrimPrefix(value, `\`))
	}
	return value
}

// probe returns the slot of the indicator with this kind and match form, or the
// free one where it belongs.
func (s *Set) probe(kind uint8, key string) (at int, hash uint32) {
	sum := maphash.String(s.seed, key) + uint64(kind)*0x9E3779B97F4A7C15
	hash = uint32(sum >> 32)
	for at = int(sum) & (len(s.slots) - 1); ; at = (at + 1) & (len(s.slots) - 1) {
		sl := s.slots[at]
		if sl.number == 0 {
			return at, hash
		}
		if sl.hash != hash {
			continue
		}
		l, i := s.place(int(sl.number) - 1)
		if it := l.item(i); it.kind == kind && matchForm(kinds[kind], string(l.read(it.value))) == key {
			return at, hash
		}
	}
}

// place returns where the indicator of this number is.
func (s *Set) place(number int) (*List, int) {
	n, exact := slices.BinarySearch(s.first, number)
	if !exact {
		n--
	}
	for s.lists[n].n == 0 { // it begins where the next one does
		n++
	}
	return s.lists[n], number - s.first[n]
}

// indicator returns the indicator of this number, always the same one.
func (s *Set) indicator(number int) *Indicator {
	if v, ok := s.found.Load(number); ok {
		return v.(*Indicator)
	}
	l, i := s.place(number)
	made := l.at(i)
	v, _ := s.found.LoadOrStore(number, &made)
	return v.(*Indicator)
}

func (s *Set) has(k Kind) bool { return s.counts[slices.Index(kinds, k)] > 0 }

// find returns the indicator of this kind that value equals, or nil. A hash is
// given in digits, of either case.
func (s *Set) find(k Kind, value string) *Indicator {
	if !s.has(k) {
		return nil
	}
	if isHash(k) {
		value = unhex(value)
	}
	at, _ := s.probe(uint8(slices.Index(kinds, k)), matchForm(k, value))
	if s.slots[at].number == 0 {
		return nil
	}
	return s.indicator(int(s.slots[at].number) - 1)
}

// Len returns the number of indicators.
func (s *Set) Len() int { return s.n }

// Indicators returns the set's indicators, by kind and value. It makes and keeps
// an Indicator of each, which takes some hundred bytes; see Len.
func (s *Set) Indicators() []*Indicator {
	out := make([]*Indicator, 0, s.n)
	for _, sl := range s.slots {
		if sl.number != 0 {
			out = append(out, s.indicator(int(sl.number)-1))
		}
	}
	slices.SortFunc(out, func(a, b *Indicator) int {
		return cmp.Or(strings.Compare(string(a.Kind), string(b.Kind)), strings.Compare(a.Value, b.Value))
	})
	return out
}
