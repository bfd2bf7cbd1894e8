package evtx_test

import (
	"bytes"
	"context"
	"os"
	"testing"

	"ashiato/internal/corpus"
	"ashiato/internal/event"
	"ashiato/internal/source/evtx"
)

// BenchmarkRead reads the recordings that are larger than 1 MiB, on one
// goroutine for decoding.
func BenchmarkRead(b *testing.B) {
	files, size := denseFiles(b)
	benchmark(b, evtx.Reader{Jobs: 1}, files, size)
}

// denseFiles returns the recordings larger than 1 MiB.
func denseFiles(b *testing.B) (files [][]byte, size int64) {
	for _, name := range evtxFiles(b, corpus.Dir(b, "evtx")) {
		data, err := os.ReadFile(name)
		if err != nil {
			b.Fatal(err)
		}
		if len(data) > 1<<20 {
			files = append(files, data)
			size += int64(len(data))
		}
	}
	return files, size
}

// BenchmarkReadUnread is BenchmarkRead where nobody reads any field: what it
// takes to count, number and time the records.
func BenchmarkReadUnread(b *testing.B) {
	files, size := denseFiles(b)
	benchmark(b, evtx.Reader{Jobs: 1, Interest: unread}, files, size)
}

// BenchmarkReadUnreadWritten is the same of BenchmarkReadWritten.
func BenchmarkReadUnreadWritten(b *testing.B) {
	data := write(b, intrusion(20000))
	benchmark(b, evtx.Reader{Jobs: 1, Interest: unread}, [][]byte{data}, int64(len(data)))
}

func unread(string, string, uint32, []string) bool { return false }

// BenchmarkReadWritten reads a file of full chunks that Writer wrote.
func BenchmarkReadWritten(b *testing.B) {
	data := write(b, intrusion(20000))
	benchmark(b, evtx.Reader{Jobs: 1}, [][]byte{data}, int64(len(data)))
}

func benchmark(b *testing.B, rd evtx.Reader, files [][]byte, size int64) {
	b.SetBytes(size)
	b.ReportAllocs()
	var records int64
	start := cpuTime()
	for b.Loop() {
		for _, data := range files {
			stats, _ := rd.Read(context.Background(), "bench.evtx", bytes.NewReader(data), func([]*event.Event) {})
			records += stats.Events
		}
	}
	cpu := cpuTime() - start
	b.ReportMetric(float64(records)/b.Elapsed().Seconds(), "records/s")
	if cpu > 0 {
		b.ReportMetric(float64(records)/cpu.Seconds(), "records/cpu-s")
	}
	b.ReportMetric(float64(records)/float64(b.N), "records/op")
}

func BenchmarkWrite(b *testing.B) {
	events := intrusion(20000)
	b.ReportAllocs()
	for b.Loop() {
		write(b, events)
	}
	b.ReportMetric(float64(len(events)*b.N)/b.Elapsed().Seconds(), "records/s")
}
