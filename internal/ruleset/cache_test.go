package ruleset

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"ashiato/internal/corpus"
	"ashiato/internal/event"
	"ashiato/internal/ioc"
	"ashiato/internal/normalize"
	"ashiato/internal/ruletest"
	"ashiato/internal/sigma"
	"ashiato/internal/source/files"
)

// folder writes rules of every kind, some of them faulty, and what goes with
// them.
func folder(t testing.TB) Options {
	t.Helper()
	dir := write(t, map[string]string{
		"a.yml":          "title: A\nid: aaaaaaaa-0000-4000-8000-000000000001\nname: a\nlogsource: {product: windows}\ndetection:\n  s: {F|contains: foo, G|re: 'x+y'}\n  condition: s\ntags: [attack.execution]\n",
		"b.yml":          "title: B\nid: bbbbbbbb-0000-4000-8000-000000000001\nstatus: odd\nlogsource: {product: windows}\ndetection:\n  s: {F|expand: '%names%'}\n  condition: s\n",
		"broken.yml":     "title: Broken\ndetection: [\n",
		"twin.yml":       "title: T\nid: aaaaaaaa-0000-4000-8000-000000000001\nlogsource: {product: windows}\ndetection:\n  s: {F: x}\n  condition: s\n",
		"bad.test":       "nonsense here\n",
		"correlated.yml": "title: C\nid: cccccccc-0000-4000-8000-000000000001\ncorrelation:\n  type: event_count\n  rules: [a]\n  group-by: [F]\n  timespan: 5m\n  condition: {gte: 2}\n",
		"filter.yml":     "title: Filter\nlogsource: {product: windows}\nfilter:\n  rules: [nothing]\n  s: {F: bar}\n  condition: s\n",
		".pipe/p.yml":    "name: p\npriority: 1\ntransformations:\n  - {id: m, type: field_name_mapping, mapping: {G: H}}\n",
		"iocs/i.csv":     "203.0.113.7,bad\nnot an indicator at all,x\n",
	})
	return Options{
		Pack: true, Rules: []string{dir}, Indicators: []string{filepath.Join(dir, "iocs", "i.csv")},
		Pipelines: []string{filepath.Join(dir, ".pipe", "p.yml")}, Placeholders: map[string][]string{"names": {"n1", "n*2"}},
		Cache: filepath.Join(t.TempDir(), "made", "here"),
	}
}

func load(t testing.TB, opt Options, cached bool) *Set {
	t.Helper()
	set, err := Load(opt)
	if err != nil {
		t.Fatal(err)
	}
	if set.cached != cached {
		t.Fatalf("from the cache: %v, want %v", set.cached, cached)
	}
	return set
}

// alike holds that two sets say the same of everything but how they were loaded.
func alike(t *testing.T, got, want *Set) {
	t.Helper()
	if got.Hash != want.Hash || got.Indicators != want.Indicators {
		t.Errorf("hash %s and %d indicators, want %s and %d", got.Hash, got.Indicators, want.Hash, want.Indicators)
	}
	if !reflect.DeepEqual(got.Problems, want.Problems) {
		t.Errorf("problems %v\nwant %v", got.Problems, want.Problems)
	}
	if !reflect.DeepEqual(got.Engine.Rules(), want.Engine.Rules()) {
		t.Error("the rules that detections cite differ")
	}
	if !slices.EqualFunc(got.Rules, want.Rules, sameText) {
		t.Error("the rules differ")
	}
	if !slices.EqualFunc(got.Correlations, want.Correlations, func(a, b *sigma.Correlation) bool {
		return sameText(a.Rule, b.Rule) && a.Type == b.Type && a.Timespan == b.Timespan && slices.Equal(a.GroupBy, b.GroupBy) &&
			slices.EqualFunc(a.Bases, b.Bases, func(a, b sigma.Correlated) bool { return sameText(a.Meta(), b.Meta()) })
	}) {
		t.Error("the correlations differ")
	}
}

// sameText compares all of two rules that is exported.
func sameText(a, b *sigma.Rule) bool {
	x, y := reflect.ValueOf(a).Elem(), reflect.ValueOf(b).Elem()
	for i := range x.NumField() {
		if x.Type().Field(i).IsExported() && !reflect.DeepEqual(x.Field(i).Interface(), y.Field(i).Interface()) {
			return false
		}
	}
	return true
}

// TestCache holds that a set is the same whether its rules were parsed and
// compiled, or read from the cache.
func TestCache(t *testing.T) {
	opt := folder(t)
	plain := opt
	plain.Cache = ""
	want := load(t, plain, false)
	kinds := map[string]bool{}
	for _, p := range want.Problems {
		kinds[fmt.Sprintf("%T", p)] = true
	}
	for _, e := range []error{&sigma.Error{}, &ioc.Error{}, &ruletest.Error{}} {
		if !kinds[fmt.Sprintf("%T", e)] {
			t.Errorf("no problem is a %T: the test proves too little", e)
		}
	}
	alike(t, load(t, opt, false), want)
	for range 2 {
		alike(t, load(t, opt, true), want)
	}
	for name, mode := range map[string]fs.FileMode{opt.Cache: 0o700 | fs.ModeDir, cacheFile(t, opt): 0o600} {
		if st, err := os.Stat(name); err != nil || runtime.GOOS != "windows" && st.Mode() != mode {
			t.Errorf("%s: mode %v, want %v (%v)", name, st.Mode(), mode, err)
		}
	}
}

func cacheFile(t testing.TB, opt Options) string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(opt.Cache, "*"+cacheExt))
	if err != nil || len(names) != 1 {
		t.Fatalf("files %q, want one (%v)", names, err)
	}
	return names[0]
}

// TestCacheDetects holds that the public rules find the same in recordings from
// the cache.
func TestCacheDetects(t *testing.T) {
	root, recordings := corpus.Dir(t, "sigma"), corpus.Dir(t, "evtx")
	opt := Options{Pack: true, Cache: t.TempDir()}
	for _, dir := range []string{"rules", "rules-emerging-threats", "rules-placeholder", "rules-threat-hunting"} {
		opt.Rules = append(opt.Rules, filepath.Join(root, dir))
	}
	plain := opt
	plain.Cache = ""
	a, b := load(t, plain, false), load(t, opt, false)
	c := load(t, opt, true)
	alike(t, b, a)
	alike(t, c, a)
	n := uint16(20)
	if os.Getenv("ASHIATO_FULL") == "1" {
		n = 1
	}
	var mu sync.Mutex
	var events []*event.Event
	files.Scan(t.Context(), []string{recordings}, files.Options{}, func(batch []*event.Event) {
		mu.Lock()
		defer mu.Unlock()
		for _, e := range batch {
			if binary.LittleEndian.Uint16(e.Ref.SHA256[:])%n == 0 {
				normalize.Event(e)
				events = append(events, e)
			}
		}
	})
	x, y, z := a.Engine.Worker(), b.Engine.Worker(), c.Engine.Worker()
	found := 0
	for _, e := range events {
		want := x.Detect(e, nil)
		found += len(want)
		if got := y.Detect(e, nil); !reflect.DeepEqual(got, want) {
			t.Fatalf("%s record %d: as written %v, want %v", e.Ref.File, e.Ref.RecordID, got, want)
		}
		if got := z.Detect(e, nil); !reflect.DeepEqual(got, want) {
			t.Fatalf("%s record %d: from the cache %v, want %v", e.Ref.File, e.Ref.RecordID, got, want)
		}
	}
	t.Logf("%d events, %d detections", len(events), found)
	if found == 0 {
		t.Error("nothing was found, so nothing was compared")
	}
}

// TestCacheKey holds that whatever rules depend on leads to a file of its own.
func TestCacheKey(t *testing.T) {
	opt := folder(t)
	load(t, opt, false)
	dir := opt.Rules[0]
	rewrite := func(name, text string) func() {
		return func() {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, change := range map[string]func(*Options){
		"pack":         func(o *Options) { o.Pack = false },
		"filters":      func(o *Options) { o.Filters = sigma.Suppress },
		"placeholders": func(o *Options) { o.Placeholders = map[string][]string{"names": {"n1"}} },
		"pipelines":    func(o *Options) { o.Pipelines = nil },
		"indicators":   func(o *Options) { o.Indicators = nil },
		"another name": func(o *Options) { o.Rules = []string{filepath.Join(dir, "a.yml")} },
		"a role":       func(o *Options) { o.Rules, o.Pipelines = append(slices.Clone(o.Rules), o.Pipelines...), nil },
	} {
		o := opt
		change(&o)
		t.Log(name)
		load(t, o, false)
		load(t, o, true)
	}
	z := rewrite("z.yml", "title: Z\nlogsource: {product: windows}\ndetection:\n  s: {F: y}\n  condition: s\n")
	for name, change := range map[string]func(){
		"contents": rewrite("a.yml", "title: A2\nid: aaaaaaaa-0000-4000-8000-000000000001\nname: a\nlogsource: {product: windows}\ndetection:\n  s: {F: y}\n  condition: s\n"),
		"new file": rewrite("n.yml", "title: N\nlogsource: {product: windows}\ndetection:\n  s: {F: y}\n  condition: s\n"),
		"rename": func() {
			z()
			if _, err := Load(opt); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(filepath.Join(dir, "z.yml"), filepath.Join(dir, "y.yml")); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Log(name)
		change()
		set := load(t, opt, false)
		plain := opt
		plain.Cache = ""
		alike(t, set, load(t, plain, false))
	}
	// What is an error stays one.
	for name, o := range map[string]Options{
		"an empty folder": {Rules: []string{dir, t.TempDir()}, Cache: opt.Cache},
		"no folder":       {Rules: []string{dir, filepath.Join(dir, "none")}, Cache: opt.Cache},
		"no pipeline":     {Rules: []string{dir}, Pipelines: []string{filepath.Join(dir, "a.yml")}, Cache: opt.Cache},
	} {
		for range 2 {
			if _, err := Load(o); err == nil {
				t.Errorf("%s: loaded", name)
			}
		}
	}
}

// TestCacheDamage holds that whatever is wrong with a file, the rules are
// compiled again, and the file is whole afterwards.
func TestCacheDamage(t *testing.T) {
	opt := folder(t)
	want := load(t, opt, false)
	name := cacheFile(t, opt)
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	sealed := func(data []byte) []byte {
		sum := sha256.Sum256(data)
		return append(data, sum[:]...)
	}
	body := len(whole) - sha256.Size
	change := func(at int) []byte {
		data := bytes.Clone(whole)
		data[at] ^= 0x40
		return data
	}
	for what, data := range map[string][]byte{
		"nothing":            {},
		"cut off":            whole[:len(whole)/2],
		"cut off at the end": whole[:len(whole)-1],
		"too long":           append(bytes.Clone(whole), 0),
		"a changed byte":     change(body / 2),
		"another checksum":   change(len(whole) - 1),
		"another magic":      sealed(change(0)[:body]),
		"another version":    sealed(change(len(cacheMagic))[:body]),
		"another key":        sealed(change(len(cacheMagic) + 5)[:body]),
		"a length":           sealed(change(cacheHeader - 6)[:body]),
		"sealed, cut off":    sealed(bytes.Clone(whole[:body-10])),
		"sealed, too long":   sealed(append(bytes.Clone(whole[:body]), 1, 2, 3)),
		"sealed header":      sealed(bytes.Clone(whole[:cacheHeader])),
	} {
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
		set := load(t, opt, false)
		alike(t, set, want)
		if again, err := os.ReadFile(name); err != nil || !bytes.Equal(again, whole) {
			t.Errorf("%s: the file is not mended (%v)", what, err)
		}
	}
	load(t, opt, true)
}

// TestCacheTrust holds that links and files that others may write are not
// believed, and that a folder that cannot be used is no error.
func TestCacheTrust(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("permissions and links are other there")
	}
	opt := folder(t)
	load(t, opt, false)
	name := cacheFile(t, opt)
	moved := filepath.Join(t.TempDir(), "moved")
	steps := []struct {
		what     string
		do, undo func() error
	}{
		{"a file that others may write", func() error { return os.Chmod(name, 0o666) }, func() error { return nil }}, // it is replaced
		{"a folder that others may write", func() error { return os.Chmod(opt.Cache, 0o777) }, func() error { return os.Chmod(opt.Cache, 0o700) }},
		{"a link to a file", func() error {
			return errors.Join(os.Rename(name, moved), os.Symlink(moved, name))
		}, func() error { return nil }},
		{"a link to a folder", func() error {
			return errors.Join(os.Rename(opt.Cache, moved+"dir"), os.Symlink(moved+"dir", opt.Cache))
		}, func() error { return errors.Join(os.Remove(opt.Cache), os.Rename(moved+"dir", opt.Cache)) }},
		{"a file instead of a folder", func() error {
			return errors.Join(os.Rename(opt.Cache, moved+"dir"), os.WriteFile(opt.Cache, nil, 0o600))
		}, func() error { return errors.Join(os.Remove(opt.Cache), os.Rename(moved+"dir", opt.Cache)) }},
	}
	for _, s := range steps {
		if err := s.do(); err != nil {
			t.Fatal(s.what, err)
		}
		set, err := Load(opt)
		if err != nil || set.cached || len(set.Rules) == 0 {
			t.Errorf("%s: %+v, %v", s.what, set, err)
		}
		if err := s.undo(); err != nil {
			t.Fatal(s.what, err)
		}
		load(t, opt, true)
	}
	if st, err := os.Lstat(name); err != nil || st.Mode() != 0o600 {
		t.Errorf("the file is %v (%v)", st.Mode(), err)
	}
}

// TestCacheIsBounded holds that the oldest files go, that those of others stay,
// and that nothing is left of a write that failed.
func TestCacheIsBounded(t *testing.T) {
	dir := t.TempDir()
	others := filepath.Join(dir, "notes.rules")
	if err := os.WriteFile(others, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	then := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	left := filepath.Join(dir, ".new-12345")
	if err := errors.Join(os.WriteFile(left, nil, 0o600), os.Chtimes(left, then, then)); err != nil {
		t.Fatal(err)
	}
	for i := range maxCacheFiles + 3 {
		k := cacheKey{byte(i)}
		if err := store(dir, k, []byte("x")); err != nil {
			t.Fatal(err)
		}
		at := then.Add(time.Duration(i+1) * time.Hour)
		if err := os.Chtimes(k.file(dir), at, at); err != nil {
			t.Fatal(err)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if len(names) != maxCacheFiles+1 || !slices.Contains(names, "notes.rules") || slices.ContainsFunc(names, func(n string) bool { return strings.HasPrefix(n, ".new-") }) {
		t.Errorf("left are %q", names)
	}
	for i := range 3 {
		if k := (cacheKey{byte(i)}); slices.Contains(names, filepath.Base(k.file(dir))) {
			t.Errorf("the file of key %d is still there", i)
		}
	}
	if err := store(dir, cacheKey{}, make([]byte, maxCacheFile+1)); err == nil {
		t.Error("a file beyond the bound is written")
	}
}

// TestCacheRefusesUnknownProblems holds that a problem which cannot be written
// is not lost: the rules are not written either.
func TestCacheRefusesUnknownProblems(t *testing.T) {
	engine, _ := sigma.Compile(nil, sigma.Options{})
	if _, err := appendCached(cacheKey{}, cached{engine: engine, problems: []error{errors.New("of another kind")}}); err == nil {
		t.Error("written")
	}
	data, err := appendCached(cacheKey{}, cached{engine: engine})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := readCached(cacheKey{}, string(data[:len(data)-sha256.Size])); err != nil {
		t.Error(err)
	}
}

// FuzzReadCached changes a file that is whole and sealed again: it is refused, or
// what comes of it can be used.
func FuzzReadCached(f *testing.F) {
	opt := folder(f)
	opt.Pack = false
	load(f, opt, false)
	whole, err := os.ReadFile(cacheFile(f, opt))
	if err != nil {
		f.Fatal(err)
	}
	whole = whole[:len(whole)-sha256.Size]
	k := cacheKey(whole[len(cacheMagic)+1:])
	f.Add([]byte{}, uint16(0))
	for i := range 400 {
		f.Add([]byte{byte(i * 7 >> 8), byte(i * 7), byte(i * 31)}, uint16(0))
	}
	f.Fuzz(func(t *testing.T, edits []byte, cut uint16) {
		data := bytes.Clone(whole)
		for ; len(edits) >= 3; edits = edits[3:] {
			data[int(binary.BigEndian.Uint16(edits))%len(data)] = edits[2]
		}
		c, err := readCached(k, string(data[:len(data)-int(cut)%len(data)]))
		if err != nil {
			if c.engine != nil {
				t.Fatal("an error, and an engine")
			}
			return
		}
		set := &Set{}
		set.take(c, &inputs{})
		set.Report()
		set.Engine.Worker().Detect(&event.Event{ID: 1, Channel: "Security", Data: event.Fields{{Name: "F", Value: "a foo"}, {Name: "H", Value: "xxy"}}}, nil)
		for _, p := range c.problems {
			_ = p.Error()
		}
	})
}
