package ruleset

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"

	"ashiato/internal/ioc"
	"ashiato/internal/ruletest"
	"ashiato/internal/sigma"
	"ashiato/internal/wire"
)

// This file keeps compiled rules between runs, as docs/formats/rule-cache.md
// describes. A file's name is made of everything that the rules depend on, so a
// file is right or not there. One that is not what its name and its checksum say
// counts as not there.

// cacheVersion is the version of the file that holds compiled rules; what it holds
// has the version sigma.CompiledVersion.
const cacheVersion = 1

// Bounds on a folder of compiled rules.
const (
	maxCacheFiles = 8
	maxCacheFile  = 128 << 20 // bytes of one file; a larger one is not written
	maxCacheBytes = 256 << 20 // of all files together
)

const (
	cacheMagic  = "ashrule" // before the version byte
	cacheHeader = len(cacheMagic) + 1 + sha256.Size + 8
	cacheExt    = ".rules"
)

var (
	cacheName = regexp.MustCompile(`^[0-9a-f]{64}\` + cacheExt + `$`)
	tempName  = regexp.MustCompile(`^\.new-[0-9]+$`)
)

// UserCache returns the folder of the user's own compiled rules, "" if the system
// names none.
func UserCache() string {
	dir, err := os.UserCacheDir()
	if err != nil || !filepath.IsAbs(dir) {
		return ""
	}
	return filepath.Join(dir, "ashiato")
}

// cacheKey is what compiled rules depend on.
type cacheKey [sha256.Size]byte

// key returns the key of what was read. The sum is over the names and contents of
// all of it; where one folder ends and the next begins is in counts.
func key(opt Options, counts []int, sum string) (cacheKey, error) {
	build, err := program()
	if err != nil {
		return cacheKey{}, err
	}
	return sha256.Sum256(fmt.Appendf(nil, "%d %d %q %t %d %d %d %q", cacheVersion, sigma.CompiledVersion, build,
		opt.Pack, counts, len(opt.Indicators), len(opt.Pipelines), sum)), nil
}

// program tells this program from every other build of it: by how it was built
// and by the first part of the file, which has the linker's build id, its size and
// its date. The whole file would take longer to read than compiled rules.
func program() (string, error) {
	name, err := os.Executable()
	if err != nil {
		return "", err
	}
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return "", err
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, io.LimitReader(f, 64<<10)); err != nil {
		return "", err
	}
	built := ""
	if info, ok := debug.ReadBuildInfo(); ok {
		built = info.String()
	}
	return fmt.Sprintf("%s %s %s %x %d %d %s", runtime.Version(), runtime.GOOS, runtime.GOARCH, sum.Sum(nil), st.Size(), st.ModTime().UnixNano(), built), nil
}

// cached is what a file of compiled rules holds.
type cached struct {
	engine       *sigma.Engine
	correlations []*sigma.Correlation
	problems     []error
}

var errCache = errors.New("not usable as compiled rules")

// appendCached writes c down.
func appendCached(k cacheKey, c cached) ([]byte, error) {
	w := wire.NewWriter(nil)
	codeProblems(w, &c.problems)
	if err := w.Done(); err != nil {
		return nil, err
	}
	data := append([]byte(cacheMagic), cacheVersion)
	data = append(data, k[:]...)
	data = binary.BigEndian.AppendUint64(data, uint64(len(w.Bytes())))
	data = append(data, w.Bytes()...)
	data, err := sigma.AppendCompiled(data, c.engine, c.correlations)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(data)
	return append(data, sum[:]...), nil
}

// readCached reads what appendCached wrote but for the checksum at its end.
func readCached(k cacheKey, data string) (cached, error) {
	var c cached
	if len(data) < cacheHeader || data[:len(cacheMagic)] != cacheMagic || data[len(cacheMagic)] != cacheVersion {
		return c, fmt.Errorf("%w: another form", errCache)
	}
	if rest := data[len(cacheMagic)+1:]; rest[:len(k)] != string(k[:]) {
		return c, fmt.Errorf("%w: of other rules", errCache)
	}
	n := binary.BigEndian.Uint64([]byte(data[cacheHeader-8 : cacheHeader]))
	data = data[cacheHeader:]
	if n > uint64(len(data)) {
		return c, fmt.Errorf("%w: cut off", errCache)
	}
	r := wire.NewReader(data[:n])
	codeProblems(r, &c.problems)
	err := r.Done()
	if err == nil {
		c.engine, c.correlations, err = sigma.ReadCompiled(data[n:])
	}
	if err != nil {
		return cached{}, fmt.Errorf("%w: %w", errCache, err)
	}
	return c, nil
}

// codeProblems codes problems of the kinds that loading makes.
func codeProblems(w *wire.Coder, problems *[]error) {
	wire.List(w, problems, 5, func(w *wire.Coder, p *error) {
		const ofSigma, ofIndicators, ofTests = 0, 1, 2
		kind := ofSigma
		switch (*p).(type) {
		case *ioc.Error:
			kind = ofIndicators
		case *ruletest.Error:
			kind = ofTests
		}
		wire.Int(w, &kind, ofSigma, ofTests)
		switch kind {
		case ofIndicators:
			e := problem[ioc.Error](w, p)
			w.String(&e.File)
			wire.Int(w, &e.Line, 0, math.MaxInt32)
			w.String(&e.Msg)
		case ofTests:
			e := problem[ruletest.Error](w, p)
			w.String(&e.File)
			wire.Int(w, &e.Line, 0, math.MaxInt32)
			w.String(&e.Msg)
		default:
			sigma.CodeError(w, problem[sigma.Error](w, p))
		}
	})
}

// problem returns the fault that p is, or makes it one. A fault of no known kind
// cannot be written.
func problem[E any, P interface {
	*E
	error
}](w *wire.Coder, p *error) *E {
	if w.Reading() {
		e := P(new(E))
		*p = e
		return e
	}
	e, ok := (*p).(P)
	if !ok {
		w.Failf("a problem of another kind: %v", *p)
		return new(E)
	}
	return e
}

func (k cacheKey) file(dir string) string {
	return filepath.Join(dir, fmt.Sprintf("%x%s", k[:], cacheExt))
}

// loadCached reads the compiled rules of a key from a folder.
func loadCached(dir string, k cacheKey) (cached, error) {
	if err := trusted(dir, fs.ModeDir); err != nil {
		return cached{}, err
	}
	name := k.file(dir)
	if err := trusted(name, 0); err != nil {
		return cached{}, err
	}
	f, err := os.Open(name)
	if err != nil {
		return cached{}, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return cached{}, err
	}
	size := st.Size() - sha256.Size
	if size < int64(cacheHeader) || size > maxCacheFile {
		return cached{}, fmt.Errorf("%w: %d bytes", errCache, st.Size())
	}
	var text strings.Builder
	text.Grow(int(size))
	sum := sha256.New()
	if _, err := io.CopyN(io.MultiWriter(&text, sum), f, size); err != nil {
		return cached{}, err
	}
	end, err := io.ReadAll(io.LimitReader(f, sha256.Size+1))
	if err != nil {
		return cached{}, err
	}
	if !bytes.Equal(end, sum.Sum(nil)) {
		return cached{}, fmt.Errorf("%w: damaged", errCache)
	}
	return readCached(k, text.String())
}

// trusted reports why a folder or file is not to be believed: it is a link or of
// another kind, or others than its owner may write to it.
func trusted(name string, kind fs.FileMode) error {
	st, err := os.Lstat(name)
	switch {
	case err != nil:
		return err
	case st.Mode().Type() != kind:
		return fmt.Errorf("%w: %s is of another kind", errCache, name)
	case runtime.GOOS != "windows" && st.Mode().Perm()&0o022 != 0:
		return fmt.Errorf("%w: others may write to %s", errCache, name)
	}
	return nil
}

// store writes compiled rules into a folder, which it makes if need be, and
// removes what is too many there. Readers see the whole file or none.
func store(dir string, k cacheKey, data []byte) error {
	if len(data) > maxCacheFile {
		return fmt.Errorf("%w: %d bytes", errCache, len(data))
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := trusted(dir, fs.ModeDir); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".new-*") // readable to nobody else
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // if it was not renamed
	_, err = f.Write(data)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), k.file(dir)); err != nil {
		return err
	}
	return tidy(dir, filepath.Base(k.file(dir)))
}

// tidy removes the oldest files of a folder until it is within its bounds. It
// leaves the one just written, and files that are not ours.
func tidy(dir, newest string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var files []fs.FileInfo
	for _, e := range entries {
		if st, err := e.Info(); err == nil && st.Mode().IsRegular() && (cacheName.MatchString(e.Name()) || tempName.MatchString(e.Name())) {
			files = append(files, st)
		}
	}
	slices.SortFunc(files, func(a, b fs.FileInfo) int {
		switch {
		case a.Name() == newest:
			return -1
		case b.Name() == newest:
			return 1
		case !a.ModTime().Equal(b.ModTime()):
			return b.ModTime().Compare(a.ModTime())
		}
		return strings.Compare(a.Name(), b.Name())
	})
	size := int64(0)
	for i, st := range files {
		size += st.Size()
		if i >= maxCacheFiles || size > maxCacheBytes {
			err = errors.Join(err, os.Remove(filepath.Join(dir, st.Name())))
		}
	}
	return err
}
