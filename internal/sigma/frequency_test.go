package sigma_test

import (
	"encoding/binary"
	"flag"
	"math/bits"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"ashiato/internal/corpus"
	"ashiato/internal/event"
	"ashiato/internal/normalize"
	"ashiato/internal/sigma"
	"ashiato/internal/source/files"
)

var update = flag.Bool("update", false, "measure frequency.bin anew")

// TestFrequencies holds that frequency.bin is about what measuring the captures of
// otrf makes. The recordings that the benchmarks use have no part in it. A piece's
// share of a field's values is the mean over the captures, of which those with a
// hundred values of the field count as much as any longer one.
func TestFrequencies(t *testing.T) {
	if !full() && !*update {
		t.Skip("needs ASHIATO_FULL=1: it reads every capture")
	}
	root := corpus.Dir(t, "otrf")
	type field struct {
		values uint64
		hashes map[uint32]uint64 // how many values have a piece of that hash
	}
	var mu sync.Mutex
	captures := map[string]map[string]*field{}
	count := func(c map[string]*field, name, value string) {
		name = sigma.FrequencyField(name)
		f := c[name]
		if f == nil {
			f = &field{hashes: map[uint32]uint64{}}
			c[name] = f
		}
		f.values++
		if len(value) > 8 && strings.Trim(value, "0123456789abcdefhimsx:-{}() ,.=") == "" {
			return // times, hashes and long numbers, each of which is rare
		}
		var seen []uint32
		for i := 0; i+4 <= len(value); i++ {
			seen = append(seen, sigma.FrequencyHash(name, binary.LittleEndian.Uint32([]byte(value[i:i+4]))))
		}
		slices.Sort(seen)
		for _, h := range slices.Compact(seen) {
			f.hashes[h]++
		}
	}
	files.Scan(t.Context(), []string{root}, files.Options{}, func(batch []*event.Event) {
		mu.Lock()
		defer mu.Unlock()
		for _, e := range batch {
			normalize.Event(e)
			c := captures[e.Ref.File]
			if c == nil {
				c = map[string]*field{}
				captures[e.Ref.File] = c
			}
			for i, f := range slices.Concat(e.Data, e.Canon) {
				if len(f.Value) > 4096 {
					continue
				}
				value := sigma.Fold(f.Value)
				count(c, f.Name, value)
				if i < len(e.Data) {
					count(c, "", value) // any field
				}
			}
		}
	})
	// Whole numbers, so that the order of captures and fields does not matter.
	sums := map[string]map[uint32]uint64{} // by field and hash, in 2^-32 of a weight
	weights := map[string]uint64{}
	for _, c := range captures {
		for name, f := range c {
			weight := min(f.values, 100)
			weights[name] += weight
			if sums[name] == nil {
				sums[name] = map[uint32]uint64{}
			}
			for h, n := range f.hashes {
				sums[name][h] += weight * n << 32 / f.values
			}
		}
	}
	levels := make([]byte, 1<<sigma.FrequencyBits)
	for name, hashes := range sums {
		if weights[name] < sigma.LeastValues {
			continue
		}
		for h, sum := range hashes {
			// A share of 2^-1 to 2^0 has 32 bits, or 33 if it is 1.
			level := min(bits.Len64(sum/weights[name])-17, 15)
			if level >= sigma.LeastLevel {
				levels[h] = max(levels[h], byte(level))
			}
		}
	}
	table := make([]byte, len(levels)/2)
	for h, level := range levels {
		table[h/2] |= level << (4 * (h % 2))
	}
	if *update {
		if err := os.WriteFile("frequency.bin", table, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	shipped := sigma.FrequencyTable()
	if len(shipped) != len(table) {
		t.Fatalf("frequency.bin has %d bytes, want %d", len(shipped), len(table))
	}
	// What normalisation learns later changes some of it, which does not matter.
	other := 0
	for i := range table {
		if table[i] != shipped[i] {
			other++
		}
	}
	t.Logf("%d of %d bytes differ", other, len(table))
	if other > len(table)/20 {
		t.Error("frequency.bin is not what measuring makes; -update writes it anew")
	}
}
