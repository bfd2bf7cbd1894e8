package world

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"ashiato/internal/event"
)

// slowHoles finds holes by looking at every number of every file.
func slowHoles(files map[string][]entry) []hole {
	type numbered struct {
		entry
		file string
	}
	var list []numbered
	for file, entries := range files {
		for _, e := range entries {
			list = append(list, numbered{e, file})
		}
	}
	slices.SortFunc(list, func(a, b numbered) int {
		return cmp.Or(cmp.Compare(a.id, b.id), strings.Compare(a.file, b.file), cmp.Compare(a.t, b.t))
	})
	var holes []hole
	for i := 0; i < len(list); {
		holding := map[string]bool{}
		j := i
		for j < len(list) && list[j].id == list[i].id {
			holding[list[j].file] = true
			j++
		}
		if j == len(list) {
			break
		}
		next := list[j].id
		together := false
		for n := j; n < len(list) && list[n].id == next; n++ {
			together = together || holding[list[n].file]
		}
		if missing := next - list[i].id - 1; missing > 0 && together && list[j].t >= list[i].t {
			holes = append(holes, newHole(list[i].t, list[j].t, missing))
		}
		i = j
	}
	return holes
}

// TestHolesAreWhatIsMissing holds that runs find the holes that every number by
// itself shows, whatever the order of records and however many files hold them.
func TestHolesAreWhatIsMissing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		base := rapid.SampledFrom([]uint64{1, 1000, 1<<64 - 60}).Draw(t, "base")
		files := map[string][]entry{}
		byFile := map[string]*numbers{}
		for f := range rapid.IntRange(1, 3).Draw(t, "files") {
			name := fmt.Sprint("file", f)
			byFile[name] = &numbers{}
			for range rapid.IntRange(1, 40).Draw(t, "records") {
				e := entry{base + uint64(rapid.IntRange(0, 50).Draw(t, "id")), int64(rapid.IntRange(0, 9).Draw(t, "t"))}
				files[name] = append(files[name], e)
				byFile[name].add(e.id, e.t)
			}
			if rapid.Bool().Draw(t, "in order") { // and a whole run besides
				for id := base; id < base+20; id++ {
					files[name] = append(files[name], entry{id, 5})
					byFile[name].add(id, 5)
				}
			}
		}
		want := slowHoles(files)
		got := holesAcross(byFile)
		if len(byFile) == 1 {
			for _, n := range byFile {
				if one := holesIn(n); !slices.Equal(one, want) {
					t.Fatalf("one file: %v, want %v", one, want)
				}
			}
		}
		if !slices.Equal(got, want) {
			t.Fatalf("%v, want %v", got, want)
		}
	})
}

// TestNumbersInOrderAreOneRun holds that a log in order takes next to nothing,
// and that numbers from anywhere do not take quadratic time: they are settled in
// batches that grow with the runs.
func TestNumbersInOrderAreOneRun(t *testing.T) {
	var n numbers
	for id := range uint64(100_000) {
		n.add(id+1, int64(id))
	}
	if len(n.runs) != 1 || len(n.pending) != 0 {
		t.Errorf("%d runs, %d pending", len(n.runs), len(n.pending))
	}
	var far numbers
	for id := range uint64(100_000) {
		far.add(id*0x9e3779b97f4a7c15, 0)
	}
	far.settle()
	if len(far.runs) != 100_000 || len(far.pending) != 0 {
		t.Errorf("%d runs", len(far.runs))
	}
}

// TestLedgerIsASet holds that the ledger says of every record what a set of
// whole identities says.
func TestLedgerIsASet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := newLedger([2]uint64{1, 2})
		set := map[string]uint32{}
		var buffer []byte
		for n := range rapid.IntRange(1, 300).Draw(t, "records") {
			e := &event.Event{
				Provider: rapid.SampledFrom([]string{"p", "q"}).Draw(t, "provider"),
				ID:       uint32(rapid.IntRange(1, 2).Draw(t, "event")),
				Time:     time.Unix(int64(rapid.IntRange(0, 2).Draw(t, "time")), 0),
			}
			e.Ref.RecordID = rapid.SampledFrom([]uint64{0, 1, 5, 63, 64, 65, 1 << 63}).Draw(t, "page") + uint64(rapid.IntRange(0, 70).Draw(t, "id"))
			if e.Ref.RecordID == 0 {
				e.Ref.SHA256[0] = byte(rapid.IntRange(0, 3).Draw(t, "sum"))
			}
			host := rapid.SampledFrom([]string{"a", "b"}).Draw(t, "host")
			whole := string(appendContent(nil, e, host, "c"))
			var p place
			var mark uint32
			p, mark, buffer = l.look(e, host, "c", buffer)
			if mark != set[whole] {
				t.Fatalf("record %d is %d, want %d", e.Ref.RecordID, mark, set[whole])
			}
			if mark == unseen {
				set[whole] = uint32(n) + unkept
				l.put(p, uint32(n)+unkept)
			}
		}
	})
}
