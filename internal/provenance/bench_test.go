package provenance

import (
	"fmt"
	"testing"

	"ashiato/internal/event"
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
