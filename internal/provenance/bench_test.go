package provenance

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"testing"

	"ashiato/internal/corpus"
	"ashiato/internal/event"
	"ashiato/internal/normalize"
	"ashiato/internal/source/files"
	"ashiato/internal/world"
)

// noise is what a host writes all day: processes, files, loads, connections.
func noise(n int) []*event.Event {
	var l log
	for i := 0; len(l.events) < n; i++ {
		image := fmt.Sprintf(`C:\Program Files\App%d\app.exe`, i%50)
		l.start(i%60000, i%100, image, image+fmt.Sprintf(` --n %d C:\data\%d.txt`, i, i%1000), explorer)
		l.security(4688, "NewProcessId", fmt.Sprintf("0x%x", 1000+i%60000), "NewProcessName", image, "ProcessId", "0x64")
		for k := range 4 {
			l.by(11, i%60000, image, "TargetFilename", fmt.Sprintf(`C:\data\%d\%d.dat`, i%500, k))
			l.by(7, i%60000, image, "ImageLoaded", fmt.Sprintf(`C:\Windows\System32\%d.dll`, k), "Hashes", "SHA256=AA", "Signed", "true")
			l.by(3, i%60000, image, "DestinationIp", fmt.Sprintf("203.0.113.%d", i%250), "DestinationPort", "443", "Initiated", "true")
		}
	}
	return l.events
}

func BenchmarkBuild(b *testing.B) {
	events := noise(100_000)
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		builder := NewBuilder(world.New(world.Limits{}))
		for _, e := range events {
			builder.Add(e)
		}
		builder.Build()
	}
	b.ReportMetric(float64(len(events)*b.N)/b.Elapsed().Seconds(), "events/s")
}

// BenchmarkRecordings builds the graph of real recordings, each by itself, and
// reports what a million events leave in memory.
func BenchmarkRecordings(b *testing.B) {
	root := corpus.Dir(b, "otrf/atomic/windows")
	total, live := 0, uint64(0)
	for _, folder := range []string{"persistence", "lateral_movement", "credential_access"} {
		b.Run(folder, func(b *testing.B) {
			var mu sync.Mutex
			var events []*event.Event
			files.Scan(context.Background(), []string{root + "/" + folder}, files.Options{Jobs: 2}, func(batch []*event.Event) {
				mu.Lock()
				defer mu.Unlock()
				for _, e := range batch {
					normalize.Event(e)
					events = append(events, e)
				}
			})
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				builder := NewBuilder(world.New(world.Limits{}))
				for _, e := range events {
					builder.Add(e)
				}
				builder.Build()
			}
			b.StopTimer()
			b.ReportMetric(float64(len(events)*b.N)/b.Elapsed().Seconds(), "events/s")
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			builder := NewBuilder(world.New(world.Limits{}))
			for _, e := range events {
				builder.Add(e)
			}
			g := builder.Build()
			runtime.GC()
			runtime.ReadMemStats(&after)
			// What the events' own memory shares with the graph is not counted.
			b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(len(events)), "MB/Mevents")
			runtime.KeepAlive(g)
			runtime.KeepAlive(events)
			total, live = total+len(events), live+after.HeapAlloc-before.HeapAlloc
		})
	}
	if total > 0 {
		b.Logf("%d events, %.0f MB live per million", total, float64(live)/float64(total))
	}
}
