package files_test

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ashiato/internal/event"
	"ashiato/internal/source"
	"ashiato/internal/source/evtx"
	"ashiato/internal/source/files"
	"ashiato/internal/source/ndjson"
	"ashiato/internal/source/xmlevent"
)

func record(i int) *event.Event {
	return &event.Event{
		Host: "H", Provider: "P", Channel: "C", ID: 1, Logged: time.Unix(int64(i), 0),
		Data: event.Fields{{Name: "A", Value: strings.Repeat("x", i%50)}}, Ref: event.EvidenceRef{RecordID: uint64(i)},
	}
}

func jsonLog(n int) []byte {
	var b []byte
	for i := range n {
		b = ndjson.Append(b, record(i))
	}
	return b
}

func xmlLog(t *testing.T, n int) []byte {
	var b []byte
	for i := range n {
		var err error
		if b, err = xmlevent.Append(b, record(i)); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

// evtxLog returns the events of jsonLog as an EVTX file.
func evtxLog(t *testing.T, n int) []byte {
	path := filepath.Join(t.TempDir(), "log.evtx")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() // closed before it is read
	w := evtx.NewWriter(f)
	for i := range n {
		if err := w.Write(record(i + 1)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestEVTX holds that logs of Windows are found whatever lies around them, and
// where their headers are lost.
func TestEVTX(t *testing.T) {
	log := evtxLog(t, 1000)
	headless := slices.Clone(log)
	clear(headless[:4096])
	late := append(make([]byte, 64<<10), log[4096:]...)
	dir := place(t,
		file{"a.evtx", log},
		file{"b.txt", log},
		file{"c.zip", zipped(t, file{"x.evtx", log})},
		file{"d.tar.gz", gz(tarred(t, file{"x.evtx", log}))},
		file{"headless.evtx", headless},
		file{"late.evtx", late},
	)
	events, problems, _ := scan(t, dir, files.Options{}, dir)
	want := map[string]int{"a.evtx": 1000, "b.txt": 1000, "c.zip!x.evtx": 1000, "d.tar.gz!x.evtx": 1000, "headless.evtx": 1000, "late.evtx": events["late.evtx"]}
	if diff := cmp.Diff(want, events); diff != "" || events["late.evtx"] == 0 {
		t.Errorf("%v %s", events, diff)
	}
	for _, p := range problems {
		// What a lost header is called is the EVTX reader's to say.
		if !strings.HasPrefix(p, "headless.evtx ") && !strings.HasPrefix(p, "late.evtx ") {
			t.Error(p)
		}
	}
}

func gz(parts ...[]byte) []byte {
	var b bytes.Buffer
	for _, p := range parts {
		w := gzip.NewWriter(&b)
		w.Write(p) // to memory
		w.Close()  // to memory
	}
	return b.Bytes()
}

type file struct {
	name string
	data []byte
}

func zipped(t *testing.T, members ...file) []byte {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, m := range members {
		f, err := w.Create(m.name)
		if err != nil {
			t.Fatal(err)
		}
		f.Write(m.data) // to memory
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func tarred(t *testing.T, members ...file) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, m := range members {
		h := &tar.Header{Name: m.name, Typeflag: tar.TypeReg, Size: int64(len(m.data)), Mode: 0o600}
		if m.data == nil {
			h.Typeflag = tar.TypeDir
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		w.Write(m.data) // to memory
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// place writes files into a new folder and returns it.
func place(t *testing.T, list ...file) string {
	t.Helper()
	dir := t.TempDir()
	for _, f := range list {
		path := filepath.Join(dir, filepath.FromSlash(f.name))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, f.data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// scan returns how many events each input gave, and the problems as
// "file kind count", both with dir left out.
func scan(t *testing.T, dir string, opt files.Options, paths ...string) (map[string]int, []string, source.Stats) {
	t.Helper()
	var mu sync.Mutex
	events := map[string]int{}
	stats, problems := files.Scan(t.Context(), paths, opt, func(batch []*event.Event) {
		mu.Lock()
		defer mu.Unlock()
		for _, e := range batch {
			events[strings.TrimPrefix(e.Ref.File, filepath.ToSlash(dir)+"/")]++
		}
	})
	total := 0
	for _, n := range events {
		total += n
	}
	if stats.Events != int64(total) || stats.Records != stats.Events+stats.Undecodable || stats.FilesRead > stats.Files {
		t.Errorf("the stats do not balance with %d events: %+v", total, stats)
	}
	var list []string
	for _, p := range problems {
		if p.Detail == "" || p.Count < 1 {
			t.Errorf("an incomplete problem: %+v", p)
		}
		list = append(list, fmt.Sprintf("%s %s %d", strings.TrimPrefix(strings.TrimPrefix(p.File, filepath.ToSlash(dir)), "/"), p.Kind, p.Count))
	}
	return events, list, stats
}

func TestEveryContainer(t *testing.T) {
	text := jsonLog(20)
	inner := zipped(t, file{"deep/in.json", text})
	dir := place(t,
		file{"a.json", text},
		file{"wrong.exe", text},
		file{"no-extension", xmlLog(t, 5)},
		file{"sub/b.xml", xmlLog(t, 7)},
		file{"c.json.gz", gz(text, text)},
		file{"d.zip", zipped(t, file{"x/", nil}, file{"x/one.json", text}, file{"two.xml", xmlLog(t, 3)}, file{`win\three.json`, text})},
		file{"e.tar", tarred(t, file{"x", nil}, file{"x/one.json", text}, file{"readme.txt", []byte("hello")})},
		file{"f.tgz", gz(tarred(t, file{"one.json", text}))},
		file{"g.zip", zipped(t, file{"inner.zip", inner}, file{"in.gz", gz(text)})},
		file{"h.json", text[len(text)/3:]},
	)
	events, problems, stats := scan(t, dir, files.Options{}, dir)
	want := map[string]int{
		"a.json": 20, "wrong.exe": 20, "no-extension": 5, "sub/b.xml": 7, "c.json.gz": 40,
		"d.zip!x/one.json": 20, "d.zip!two.xml": 3, "d.zip!win/three.json": 20, "e.tar!x/one.json": 20,
		"f.tgz!one.json": 20, "g.zip!inner.zip!deep/in.json": 20, "g.zip!in.gz": 20, "h.json": events["h.json"],
	}
	if diff := cmp.Diff(want, events); diff != "" {
		t.Error(diff)
	}
	if n := events["h.json"]; n < 10 || n > 14 {
		t.Errorf("%d events of a log that begins inside a record", n)
	}
	if diff := cmp.Diff([]string{"e.tar!readme.txt skipped 1", "h.json corrupt 1"}, problems); diff != "" {
		t.Error(diff)
	}
	if stats.Files != 13 || stats.FilesRead != 13 {
		t.Errorf("stats %+v", stats)
	}
}

// TestNotLogs states how what is no log is named.
func TestNotLogs(t *testing.T) {
	dir := place(t,
		file{"good.json", jsonLog(3)},
		file{"a.md", []byte("# a")}, file{"b.md", []byte("# b")}, file{"c.txt", []byte("c")}, file{"sub/d.MD", []byte("d")},
		file{"empty.evtx", nil},
		file{"zeros.evtx", make([]byte, 3<<20)},
		file{"x.7z", []byte("7z\xBC\xAF\x27\x1C rest")},
		file{"old.evt", []byte("\x30\x00\x00\x00LfLe\x01\x00\x00\x00")},
		file{"cut.json.gz", gz(jsonLog(2000))[:2000]},
		file{"sum.json.gz", func() []byte { b := gz(jsonLog(5)); b[len(b)-6] ^= 1; return b }()},
		file{"broken.zip", append([]byte("PK\x03\x04"), make([]byte, 100)...)},
		file{"cut.tar", tarred(t, file{"a.json", jsonLog(2000)})[:4000]},
		file{"json-of-others.json", []byte(`{"name":"x","version":"1"}` + "\n")},
	)
	events, problems, _ := scan(t, dir, files.Options{}, dir)
	if events["good.json"] != 3 || events["sum.json.gz"] != 5 || events["cut.json.gz"] == 0 || events["cut.tar!a.json"] == 0 {
		t.Errorf("events %v", events)
	}
	want := []string{
		"*.md skipped 2", "broken.zip corrupt 1", "c.txt skipped 1", "cut.json.gz truncated 1", "cut.json.gz truncated 1",
		"cut.tar truncated 1", "cut.tar!a.json truncated 1", "cut.tar!a.json truncated 1", "empty.evtx empty 1",
		"json-of-others.json unknown-format 1", "old.evt unknown-format 1", "sub/d.MD skipped 1", "sum.json.gz bad-checksum 1",
		"x.7z unknown-format 1", "zeros.evtx empty 1",
	}
	if diff := cmp.Diff(want, problems); diff != "" {
		t.Error(diff)
	}

	t.Run("named", func(t *testing.T) {
		_, problems, _ := scan(t, dir, files.Options{}, filepath.Join(dir, "a.md"), filepath.Join(dir, "none"))
		if diff := cmp.Diff([]string{"a.md unknown-format 1", "none unreadable 1"}, problems); diff != "" {
			t.Error(diff)
		}
	})
}

func TestBombs(t *testing.T) {
	bomb := make([]byte, 8<<20)
	text := jsonLog(50)
	nested := text
	for range 8 {
		nested = gz(nested)
	}
	padded := append(slices.Clone(text), bytes.Repeat([]byte(" "), 8<<20)...)
	dir := place(t,
		file{"a.zip", zipped(t, file{"bomb", bomb}, file{"good.json", text})},
		file{"b.gz", gz(bomb)},
		file{"c.gz", nested},
		file{"d.gz", gz(padded)},
		file{"good.json", text},
	)
	opt := files.Options{MaxExpanded: 4 << 20, MaxRatio: 100}
	events, problems, _ := scan(t, dir, opt, dir)
	if diff := cmp.Diff(map[string]int{"a.zip!good.json": 50, "d.gz": 50, "good.json": 50}, events); diff != "" {
		t.Error(diff)
	}
	want := []string{
		"a.zip!bomb empty 1", "a.zip!bomb too-large 1", "b.gz empty 1", "b.gz too-large 1", "c.gz too-large 1", "d.gz too-large 1",
	}
	if diff := cmp.Diff(want, problems); diff != "" {
		t.Error(diff)
	}
}

// TestBudgetUsedUp holds that the members that an archive's bound keeps from being
// read are one problem, and nothing else.
func TestBudgetUsedUp(t *testing.T) {
	log := append(jsonLog(5), bytes.Repeat([]byte(" "), 1<<20)...)
	var members, packed []file
	for i := range 40 {
		members = append(members, file{fmt.Sprintf("d%d/m%02d.json", i%3, i), log})
		packed = append(packed, file{fmt.Sprintf("m%02d.json.gz", i), gz(log)})
	}
	dir := place(t, file{"a.zip", zipped(t, members...)}, file{"b.tar", tarred(t, packed...)}, file{"c.zip", zipped(t, file{"in.tar", tarred(t, packed...)}, file{"last.json", log})})
	var mu sync.Mutex
	n := 0
	stats, problems := files.Scan(t.Context(), []string{dir}, files.Options{MaxExpanded: 8 << 20, MaxRatio: 1}, func(b []*event.Event) {
		mu.Lock()
		defer mu.Unlock()
		n += len(b)
	})
	var got []string
	for _, p := range problems {
		got = append(got, fmt.Sprintf("%s %s %d %s", strings.TrimPrefix(p.File, filepath.ToSlash(dir)+"/"), p.Kind, p.Count, p.Detail))
	}
	for i, want := range []string{
		"a.zip!d1/m07.json too-large 1 it expands to more than the", "a.zip!d2/m08.json too-large 32 32 members not read: the limit of 8388608 expanded bytes is reached",
		"b.tar!m07.json.gz too-large 1 it expands to more than the", "b.tar!m08.json.gz too-large 32 32 members not read: the limit of 8388608 expanded bytes is reached",
		"c.zip!in.tar too-large 1 it expands to more than the", "c.zip!in.tar!m07.json.gz too-large 1 it expands to more than the",
		"c.zip!last.json too-large 1 1 member not read: the limit of 8388608 expanded bytes is reached",
	} {
		if i >= len(got) || !strings.HasPrefix(got[i], want) {
			t.Errorf("problems:\n%s\nwant %s", strings.Join(got, "\n"), want)
		}
	}
	if len(got) != 7 || n != 3*8*5 || stats.Files != 40+40+8+1 {
		t.Errorf("%d problems, %d events, %d files", len(got), n, stats.Files)
	}
}

// TestManyBadMembers holds that bad members of one kind in a folder of an archive
// are named while they are few, and are one problem if they are many.
func TestManyBadMembers(t *testing.T) {
	var many, few, spread []file
	for i := range 3000 {
		many = append(many, file{fmt.Sprintf("x/%05d.json", i), []byte("{\"a\":]\n")}, file{fmt.Sprintf("y/%05d.evtx", i), []byte{}})
		spread = append(spread, file{fmt.Sprintf("%05d/a.json", i), []byte("{\"a\":]\n")}, file{fmt.Sprintf("%05d/a.x%05d", i, i), []byte("x")})
	}
	for i := range 10 {
		few = append(few, file{fmt.Sprintf("z/%d.json", i), []byte("\n{\"a\":]\n")})
	}
	dir := place(t, file{"a.zip", zipped(t, slices.Concat(many, few)...)}, file{"b.tar", tarred(t, many...)}, file{"c.zip", zipped(t, spread...)})
	_, problems := files.Scan(t.Context(), []string{dir}, files.Options{}, func([]*event.Event) {})
	counts, lost, spreadCount := map[string]int{}, map[string]int{}, 0
	for _, p := range problems {
		name := strings.TrimPrefix(p.File, filepath.ToSlash(dir)+"/")
		if strings.HasPrefix(name, "c.zip!") {
			spreadCount += p.Count
			continue
		}
		counts[name] += p.Count
		lost[name] += p.Lost
		if many := strings.Contains(p.Detail, "3000 members, this the first: "); many == strings.Contains(name, "!z/") {
			t.Errorf("%+v", p)
		}
	}
	want := map[string]int{"a.zip!x/00000.json": 3000, "a.zip!y/00000.evtx": 3000, "b.tar!x/00000.json": 3000, "b.tar!y/00000.evtx": 3000}
	for i := range 10 {
		want[fmt.Sprintf("a.zip!z/%d.json", i)] = 1
	}
	if diff := cmp.Diff(want, counts); diff != "" {
		t.Error(diff)
	}
	if lost["a.zip!x/00000.json"] != 3000 {
		t.Errorf("lost %v", lost)
	}
	if spreadCount != 6000 || len(problems) > 2100 {
		t.Errorf("%d problems, standing for %d", len(problems), spreadCount)
	}
}

func TestEncryptedMember(t *testing.T) {
	b := zipped(t, file{"secret.evtx", []byte("x")}, file{"good.json", jsonLog(2)})
	// The flag word of the first directory entry.
	at := bytes.Index(b, []byte("PK\x01\x02"))
	b[at+8] |= 1
	dir := place(t, file{"a.zip", b})
	events, problems, _ := scan(t, dir, files.Options{}, dir)
	if events["a.zip!good.json"] != 2 || len(problems) != 1 || problems[0] != "a.zip!secret.evtx unreadable 1" {
		t.Errorf("events %v, problems %v", events, problems)
	}
}

func TestLinks(t *testing.T) {
	dir := place(t, file{"real/a.json", jsonLog(4)}, file{"real/sub/b.json", jsonLog(2)})
	link := func(target, name string) {
		t.Helper()
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Skipf("no symbolic links here: %v", err)
		}
	}
	link("real", "again")
	link("a.json", "real/c.json")
	link("..", "real/sub/up")
	link("self", "self")
	link("two", "one")
	link("one", "two")
	link("nowhere", "dangling")
	if err := os.Link(filepath.Join(dir, "real/a.json"), filepath.Join(dir, "hard.json")); err != nil {
		t.Skipf("no hard links here: %v", err)
	}
	events, problems, stats := scan(t, dir, files.Options{}, dir, dir, filepath.Join(dir, "real/a.json"))
	if diff := cmp.Diff(map[string]int{"again/a.json": 4, "again/sub/b.json": 2}, events); diff != "" {
		t.Error(diff)
	}
	if stats.Files != 2 {
		t.Errorf("stats %+v", stats)
	}
	want := map[string]bool{
		"again/sub/up link-loop 1": true, "self link-loop 1": true, "one link-loop 1": true, "two link-loop 1": true, "dangling unreadable 1": true,
	}
	got := map[string]bool{}
	for _, p := range problems {
		got[p] = true
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestUnreadable(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root reads everything")
	}
	dir := place(t, file{"secret.json", jsonLog(1)}, file{"closed/a.json", jsonLog(1)}, file{"good.json", jsonLog(1)})
	for _, name := range []string{"secret.json", "closed"} {
		path := filepath.Join(dir, name)
		if err := os.Chmod(path, 0); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.Chmod(path, 0o700) }) // so that it can be removed
	}
	events, problems, _ := scan(t, dir, files.Options{}, dir)
	if diff := cmp.Diff([]string{"closed unreadable 1", "secret.json unreadable 1"}, problems); diff != "" || events["good.json"] != 1 {
		t.Errorf("%v %s", events, diff)
	}
}

// TestDevices would hang, or never end, if a device were opened.
func TestDevices(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no device files")
	}
	_, problems, _ := scan(t, "", files.Options{}, "/dev/zero", "/dev/tty")
	if len(problems) == 0 || problems[len(problems)-1] != "dev/zero unreadable 1" {
		t.Errorf("problems %v", problems)
	}
	dir := t.TempDir()
	if err := os.Symlink("/dev/zero", filepath.Join(dir, "zero.evtx")); err != nil {
		t.Skip(err)
	}
	_, problems, _ = scan(t, dir, files.Options{}, dir)
	if diff := cmp.Diff([]string{"zero.evtx skipped 1"}, problems); diff != "" {
		t.Error(diff)
	}
}

// TestScheduling holds that the result does not depend on the number of jobs.
func TestScheduling(t *testing.T) {
	var list []file
	for i := range 40 {
		list = append(list, file{fmt.Sprintf("%d/log%d.json", i%4, i), jsonLog(i)}, file{fmt.Sprintf("%d/note%d.txt", i%4, i), []byte("x")})
	}
	list = append(list, file{"z.zip", zipped(t, file{"a.json", jsonLog(30)}, file{"b.bin", []byte("b")})})
	dir := place(t, list...)
	var first string
	for _, jobs := range []int{1, 2, 7} {
		events, problems, stats := scan(t, dir, files.Options{Jobs: jobs}, dir)
		all := fmt.Sprint(slices.Sorted(maps.Keys(events)), events, problems, stats)
		if first == "" {
			first = all
		}
		if all != first {
			t.Errorf("with %d jobs\n%s, with one\n%s", jobs, all, first)
		}
	}
}

func TestProgress(t *testing.T) {
	dir := place(t, file{"a.json", jsonLog(10000)}, file{"b.zip", zipped(t, file{"b.json", jsonLog(5000)})}, file{"c.txt", []byte("x")})
	var seen []files.Progress
	scan(t, dir, files.Options{Jobs: 3, Progress: func(p files.Progress) { seen = append(seen, p) }}, dir)
	if len(seen) < 5 || len(seen) > 20 {
		t.Errorf("%d reports", len(seen))
	}
	for i := 1; i < len(seen); i++ {
		a, b := seen[i-1], seen[i]
		if b.Files < a.Files || b.Bytes < a.Bytes || b.Events < a.Events || b.FilesTotal != 3 || b.Current == "" || b.Bytes > b.BytesTotal {
			t.Errorf("from %+v to %+v", a, b)
		}
	}
	if last := seen[len(seen)-1]; last.Files != 3 || last.Events != 15000 || last.Bytes != last.BytesTotal {
		t.Errorf("at the end %+v", last)
	}
}

func TestCancelled(t *testing.T) {
	dir := place(t, file{"a.json", jsonLog(20000)}, file{"b.json", jsonLog(20000)})
	ctx, cancel := context.WithCancel(t.Context())
	n := 0
	stats, _ := files.Scan(ctx, []string{dir}, files.Options{Jobs: 1}, func(batch []*event.Event) {
		n += len(batch)
		cancel()
	})
	if n == 0 || n > 20000 || stats.Events != int64(n) {
		t.Errorf("%d events, stats %+v", n, stats)
	}
}

func TestHundredMegabytesOfZeros(t *testing.T) {
	path := filepath.Join(t.TempDir(), "zeros.evtx")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(100 << 20); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	_, problems, stats := scan(t, filepath.Dir(path), files.Options{}, path)
	if len(problems) != 1 || problems[0] != "zeros.evtx empty 1" || stats.Bytes != 100<<20 {
		t.Errorf("problems %v, stats %+v", problems, stats)
	}
}

func FuzzContent(f *testing.F) {
	f.Add(jsonLog(3))
	f.Add(gz(jsonLog(3)))
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	m, _ := w.Create("a.json")
	m.Write(jsonLog(2)) // to memory
	w.Close()           // to memory
	f.Add(b.Bytes())
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, content []byte) {
		file, err := os.CreateTemp(dir, "")
		if err != nil {
			t.Fatal(err)
		}
		defer os.Remove(file.Name()) // a temporary file
		if _, err := io.Copy(file, bytes.NewReader(content)); err != nil {
			t.Fatal(err)
		}
		if err := file.Close(); err != nil {
			t.Fatal(err)
		}
		// Whatever it holds, it gives events or the reason why not.
		events, problems, stats := scan(t, dir, files.Options{MaxExpanded: 1 << 20}, file.Name())
		if len(events) == 0 && len(problems) == 0 && stats.FilesRead == 0 && !bytes.HasPrefix(content, []byte("PK")) && !bytes.Contains(content, []byte("ustar")) {
			t.Errorf("neither events nor problems: %+v", stats)
		}
	})
}
