package sigma

import (
	_ "embed"
	"encoding/binary"
	"math"
	"strings"
)

// This file knows how common four-byte pieces of text are in the fields of
// events. Which literal of a rule is its witness, by which piece the index finds
// it and what a condition asks first depend on it: only speed does, never a
// result.

// frequencies says how common pieces are: one nibble for each hash of a field
// and a piece, 0 where it was hardly seen, else n for a share of the field's
// values of 2^(n-16) to 2^(n-15). It was measured on the captures of otrf by
//
//	go test ./internal/sigma -run Frequencies -update
//
//go:embed frequency.bin
var frequencies string

const (
	frequencyBits = 17 // of the hash of a field and a piece
	everywhere    = 15 // the level of pieces that half of all values and more have
	// Pieces below this level, and those of fields with fewer values, are not told
	// from those that were never seen: they would only make others look common
	// that have the same hash.
	leastLevel  = 7
	leastValues = 250
)

// fieldSeed is what a field's name adds to the hash of its pieces (FNV-1a).
type fieldSeed uint32

var anyField = seedOf("")

// alikeField returns the field whose measurements stand for a field.
func alikeField(name string) string {
	if strings.HasSuffix(name, "CommandLine") {
		return "CommandLine" // whoever's it is
	}
	return name
}

// seedOf returns the seed of a field; "" stands for any field.
func seedOf(name string) fieldSeed {
	name = alikeField(name)
	h := uint32(2166136261)
	for i := range len(name) {
		h = (h ^ uint32(name[i])) * 16777619
	}
	return fieldSeed(h)
}

func (f fieldSeed) hash(gram uint32) uint32 {
	return hashGram((gram|foldBits)^uint32(f), 32-frequencyBits)
}

// level returns how common a piece is in a field, 0 to 15.
func (f fieldSeed) level(gram uint32) uint8 {
	h := f.hash(gram)
	return frequencies[h>>1] >> (4 * (h & 1)) & 15
}

// rarest returns the level of a folded text's rarest piece. A text of less than
// four bytes has none.
func (f fieldSeed) rarest(text []byte) uint8 {
	least := uint8(everywhere)
	for i := 0; i+4 <= len(text) && least > 0; i++ {
		least = min(least, f.level(binary.LittleEndian.Uint32(text[i:])))
	}
	return least
}

// share estimates in which share of values a folded text is found: as often as
// its rarest piece is.
func (f fieldSeed) share(text []byte) float64 {
	switch n := len(text); {
	case n < 2:
		return 0.6
	case n == 2:
		return 0.3
	case n == 3:
		return 0.1
	}
	return math.Ldexp(1, int(f.rarest(text))-everywhere)
}
