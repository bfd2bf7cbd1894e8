package world

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"ashiato/internal/event"
)

// TestMakingRoomIsCheap holds that to let go of a host does not look at the names of
// all others: names can be chosen such that each new host takes another's place.
func TestMakingRoomIsCheap(t *testing.T) {
	const hosts, many = 20_000, 60_000
	var names []string
	for n := range many {
		names = append(names, fmt.Sprint("h", n))
	}
	slices.SortFunc(names, func(a, b string) int {
		if ranksBefore(a, b) {
			return 1 // each ranks before the ones that came
		}
		return -1
	})
	w := New(Limits{Hosts: hosts})
	start := time.Now()
	for n, name := range names {
		w.Add(&event.Event{Host: name, Channel: "c", Time: t0, Ref: event.EvidenceRef{Host: name, RecordID: uint64(n + 1), File: "f"}})
	}
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("%d hosts took %v", many, took)
	}
	spelled := 0
	w.spellings.Range(func(name, of any) bool {
		spelled++
		if s := of.(*store); s.evicted || w.stores[s.key] != s {
			t.Errorf("%v is still known", name)
		}
		return true
	})
	if len(w.stores) != hosts || spelled != hosts || int(w.spelled.Load()) != spelled {
		t.Errorf("%d hosts, %d names, counted as %d", len(w.stores), spelled, w.spelled.Load())
	}
}
