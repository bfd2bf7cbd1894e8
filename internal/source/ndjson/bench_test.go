package ndjson_test

import (
	"archive/tar"
	"archive/zip"
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"ashiato/internal/corpus"
	"ashiato/internal/event"
	"ashiato/internal/source/ndjson"
)

// BenchmarkRead reads each shape from memory: events as this program writes them,
// the same as winlogbeat 7 nests them, and of the recordings the flat captures,
// those of winlogbeat 6, and pretty-printed evtx_dump, of which there is little, twenty
// times over.
func BenchmarkRead(b *testing.B) {
	own := sample(2000)
	b.Run("own", func(b *testing.B) { benchmarkRead(b, own) })
	b.Run("winlogbeat 7", func(b *testing.B) { benchmarkRead(b, beats(2000)) })
	b.Run("flat", func(b *testing.B) { flat, _ := captures(b); benchmarkRead(b, flat) })
	b.Run("winlogbeat 6", func(b *testing.B) { _, beats := captures(b); benchmarkRead(b, beats) })
	b.Run("evtx_dump", func(b *testing.B) { benchmarkRead(b, bytes.Repeat(twins(b), 20)) })
}

// benchmarkRead reports what the processor time spent gave, and what the fastest
// of all passes over each batch of events gave, which other work on the machine
// disturbs least.
func benchmarkRead(b *testing.B, text []byte) {
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	var best []time.Duration
	n, events, used := 0, 0, processorTime()
	for b.Loop() {
		k, start := 0, time.Now()
		ndjson.Read(context.Background(), "x", bytes.NewReader(text), func(batch []*event.Event) {
			took := time.Since(start)
			if k == len(best) {
				best = append(best, took)
			}
			best[k] = min(best[k], took)
			k++
			events += len(batch)
			start = time.Now()
		})
		n++
	}
	if used = processorTime() - used; used > 0 {
		b.ReportMetric(float64(events)/used, "events/cpu-s")
		b.ReportMetric(float64(n)*float64(len(text))/used/1e6, "MB/cpu-s")
	}
	sum := time.Duration(0)
	for _, d := range best {
		sum += d
	}
	b.ReportMetric(float64(events/n)/sum.Seconds(), "best-events/s")
	b.ReportMetric(float64(len(text))/sum.Seconds()/1e6, "best-MB/s")
	b.ReportMetric(float64(n)*float64(len(text))/float64(events), "bytes/event")
}

// processorTime is the processor time that this process has used, in seconds; 0
// where the system does not tell.
func processorTime() float64 {
	data, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
	user, _ := strconv.ParseFloat(fields[11], 64)
	system, _ := strconv.ParseFloat(fields[12], 64)
	return (user + system) / 100
}

// beats writes sample events as winlogbeat 7 does.
func beats(n int) []byte {
	var b []byte
	for i := range n {
		e := sampleEvent(i)
		b = fmt.Appendf(b, `{"@timestamp":%q,"@metadata":{"beat":"winlogbeat","type":"_doc","version":"7.17.0"},"ecs":{"version":"1.12.0"},"host":{"name":%q},`+
			`"event":{"code":"1","kind":"event","provider":%q,"created":%q},"message":"Process Create:\nUtcTime: x\nImage: %d","log":{"level":"information"},`+
			`"agent":{"name":"a","type":"winlogbeat","version":"7.17.0"},"winlog":{"provider_name":%q,"event_id":"1","version":5,"task":"Process Create (rule: ProcessCreate)",`+
			`"opcode":"Info","channel":%q,"computer_name":%q,"record_id":%d,"process":{"pid":1234,"thread":{"id":%d}},"user":{"identifier":"S-1-5-18","name":"SYSTEM"},"event_data":{`,
			e.Logged.Format(event.TimeFormat), e.Host, e.Provider, e.Logged.Format(event.TimeFormat), i, e.Provider, e.Channel, e.Host, e.Ref.RecordID, e.TID)
		for k, f := range e.Data {
			if k > 0 {
				b = append(b, ',')
			}
			b = fmt.Appendf(b, "%q:%q", f.Name, f.Value)
		}
		b = append(b, "}}}\n"...)
	}
	return b
}

// share is how much of each recording is enough for a sample.
const share = 1 << 20

// captures returns lines of the public captures by their shape.
func captures(t testing.TB) (flat, beat []byte) {
	t.Helper()
	members(t, corpus.Dir(t, "otrf"), func(_ string, r io.Reader) {
		lines := bufio.NewReader(io.LimitReader(r, share/8))
		for {
			line, err := lines.ReadBytes('\n')
			if err != nil {
				return // the last one is not whole
			}
			if bytes.Contains(line, []byte(`"event_data":{`)) {
				beat = append(beat, line...)
			} else if bytes.Contains(line, []byte(`"EventID":`)) {
				flat = append(flat, line...)
			}
		}
	})
	return flat, beat
}

// members calls f for every JSON file in the archives under root.
func members(t testing.TB, root string, f func(name string, r io.Reader)) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		switch filepath.Ext(path) {
		case ".zip":
			z, err := zip.OpenReader(path)
			if err != nil {
				return err
			}
			defer z.Close() // only read
			for _, m := range z.File {
				if strings.HasSuffix(m.Name, ".json") && !strings.Contains(m.Name, "__MACOSX") {
					r, err := m.Open()
					if err != nil {
						return err
					}
					f(path+"!"+m.Name, r)
					r.Close() // only read
				}
			}
		case ".gz":
			file, err := os.Open(path)
			if err != nil {
				return err
			}
			defer file.Close() // only read
			g, err := gzip.NewReader(file)
			if err != nil {
				return err
			}
			for a := tar.NewReader(g); ; {
				h, err := a.Next()
				if err != nil {
					return nil // the end, or of a part that is cut
				}
				if strings.HasSuffix(h.Name, ".json") {
					f(path+"!"+h.Name, a)
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// twins returns the pretty-printed records beside the recordings of the public
// rules' tests.
func twins(t testing.TB) []byte {
	t.Helper()
	var out []byte
	err := filepath.WalkDir(corpus.Dir(t, "sigma/regression_data"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".json") {
			return err
		}
		b, err := os.ReadFile(path)
		out = append(append(out, b...), '\n')
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}
