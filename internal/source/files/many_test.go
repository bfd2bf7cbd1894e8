package files

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ashiato/internal/event"
)

// TestManySkippedMembers holds that of members of other kinds only groups are kept,
// however many there are and whatever they are called: their names may be all of
// what an archive expands to.
func TestManySkippedMembers(t *testing.T) {
	const many = 5000
	for name, call := range map[string]func(int) string{
		"one kind":        func(n int) string { return fmt.Sprintf("d/%d.txt", n) },
		"a kind for each": func(n int) string { return fmt.Sprintf("d/x.%d", n) },
		"long names":      func(n int) string { return fmt.Sprintf("%s%d/x", strings.Repeat("x", 5000), n) },
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			w := tar.NewWriter(&out)
			for n := range many {
				if err := w.WriteHeader(&tar.Header{Name: call(n), Mode: 0o644, Size: 5}); err != nil {
					t.Fatal(err)
				}
				if _, err := w.Write([]byte("hello")); err != nil {
					t.Fatal(err)
				}
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(t.TempDir(), "a.tar")
			if err := os.WriteFile(path, out.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
			var r result
			s := scanner{
				ctx: context.Background(), opt: Options{}.withDefaults(), jobs: 1, h: func([]*event.Event) {},
				in: input{path: path, label: "a.tar", size: int64(out.Len())}, progress: &progress{}, result: &r,
			}
			s.scan()
			count, size := 0, 0
			for g, n := range r.skipped {
				count += n.count
				size += len(g.folder) + len(g.ext) + len(n.first)
			}
			if count != many || len(r.skipped) > maxGroups+1 || size > 1<<20 {
				t.Errorf("%d files in %d groups whose names take %d bytes", count, len(r.skipped), size)
			}
		})
	}
}

// TestManyFilesOfOneTime holds that files of one size and time are told apart
// without comparing each with each, where the system numbers them.
func TestManyFilesOfOneTime(t *testing.T) {
	dir := t.TempDir()
	at := time.Unix(1_700_000_000, 0)
	const many = 100
	for n := range many {
		path := filepath.Join(dir, fmt.Sprint(n))
		if err := os.WriteFile(path, []byte("x"), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	if info, err := os.Stat(dir); err != nil || likenessOf(info).inode == 0 {
		t.Skip("files have no numbers here")
	}
	w := walk(context.Background(), []string{dir, dir + "/."})
	if len(w.inputs) != many {
		t.Errorf("%d inputs", len(w.inputs))
	}
	for _, alike := range w.files {
		if len(alike) > 1 {
			t.Errorf("%d files are compared with each other", len(alike))
		}
	}
}
