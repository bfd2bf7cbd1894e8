package scan

import (
	"archive/tar"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"ashiato/internal/analysis"
	"ashiato/internal/clock"
	"ashiato/internal/event"
)

// TestMembersOfOneName holds that of two members of an archive that have one name,
// as after `tar -u`, both are corrected by what they show together, although the
// second by itself shows too little.
func TestMembersOfOneName(t *testing.T) {
	eng := engine(t)
	file := capture(t, "usb-coinminer.txtar", func(r map[string]any) { later(r, -4*time.Hour) })
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.SplitAfter(bytes.TrimSpace(data), []byte("\n"))
	last, sysmon := len(lines), 0
	for last > 0 && sysmon < 4 { // fewer than decide
		if last--; bytes.Contains(lines[last], []byte("Sysmon")) {
			sysmon++
		}
	}
	for name, parts := range map[string][2][][]byte{
		"the second shows too little": {lines[:last], lines[last:]},
		"the first shows too little":  {lines[last:], lines[:last]},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "logs.tar")
			var out bytes.Buffer
			w := tar.NewWriter(&out)
			for _, part := range parts {
				body := bytes.Join(part, nil)
				if err := w.WriteHeader(&tar.Header{Name: "log.json", Mode: 0o644, Size: int64(len(body))}); err != nil {
					t.Fatal(err)
				}
				if _, err := w.Write(body); err != nil {
					t.Fatal(err)
				}
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, out.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
			opt := Options{Paths: []string{path}, Engine: eng, Evidence: true}
			got := run(t, opt)
			opt.Resume = &State{analysis: analysis.New(opt.analysis()), clocks: &clock.Tally{}}
			want := run(t, opt)
			if d := gocmp.Diff(strings.Split(digest(t, want), "\n"), strings.Split(digest(t, got), "\n")); d != "" {
				t.Error(d)
			}
			if d := gocmp.Diff(want.Clocks, got.Clocks); d != "" {
				t.Error(d)
			}
		})
	}
}

// TestGuesserHoldsFewBytes holds that records are held back by their size too:
// there may be thousands of 16 MiB each.
func TestGuesserHoldsFewBytes(t *testing.T) {
	const size, most = 1 << 20, 64 << 20
	given, handed := 0, 0
	g := newGuesser(clock.Offsets{}, func(batch []*event.Event) { handed += len(batch) })
	for n := range 200 {
		given++
		g.add([]*event.Event{{
			Provider: "x", Channel: "y", ID: 1, Host: "h", Time: time.Unix(int64(n), 0), Ref: event.EvidenceRef{File: "f"},
			Data: event.Fields{{Name: "v", Value: strings.Repeat("x", size)}},
		}})
		if held := (given - handed) * size; held > most {
			t.Fatalf("%d MiB are held back", held>>20)
		}
	}
	if g.finished("f"); handed != given {
		t.Error(fmt.Sprint(handed, " of ", given, " were handed on"))
	}
}
