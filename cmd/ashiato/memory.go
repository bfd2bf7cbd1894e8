package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// memoryAim is how much memory the program takes before it is more careful of
// processor time than of memory.
const memoryAim = 256 << 20

// keepMemoryNear lets the program take about memoryAim where Go's collector would
// let it take up to twice what it holds. It is no hard limit: what does not fit is
// held all the same. Who sets GOGC or GOMEMLIMIT has chosen otherwise.
//
// A scan with all public rules holds 120 to 180 MB at its end. Go alone lets that
// grow beyond 400 MB before it collects.
func keepMemoryNear() {
	if os.Getenv("GOGC") == "" && os.Getenv("GOMEMLIMIT") == "" {
		adjustMemoryLimit()
	}
}

// adjustMemoryLimit sets the limit by what is held now, and does so again after
// every collection: with a fixed limit, a program that holds more than it would do
// little else than collect.
func adjustMemoryLimit() {
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	held := int64(0)
	if sample[0].Value.Kind() == metrics.KindUint64 {
		held = int64(sample[0].Value.Uint64())
	}
	debug.SetMemoryLimit(memoryLimit(held))
	type collected struct{ _ *byte } // the next collection finds that nobody has it
	runtime.AddCleanup(new(collected), func(struct{}) { adjustMemoryLimit() }, struct{}{})
}

// memoryLimit is memoryAim while that leaves room, and grows from there so that
// between collections at least held minus 96 MiB can be allocated: less and less
// different from what Go does by itself.
func memoryLimit(held int64) int64 { return max(memoryAim, 2*held-96<<20) }
