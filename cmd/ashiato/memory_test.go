package main

import "testing"

// The limit leaves room to work in, whatever is held, and gives way to Go's own
// rule as that grows.
func TestMemoryLimit(t *testing.T) {
	const mb = 1 << 20
	for held := int64(0); held < 1<<40; held = held*5/4 + mb {
		limit := memoryLimit(held)
		if room := limit - held; room < 80*mb || held > 4096*mb && room < held*9/10 {
			t.Fatalf("with %d MB held the limit is %d MB", held/mb, limit/mb)
		}
		if limit > max(memoryAim, 2*held) {
			t.Fatalf("with %d MB held the limit of %d MB is more than Go's own", held/mb, limit/mb)
		}
	}
}
