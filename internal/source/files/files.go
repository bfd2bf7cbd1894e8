// Package files finds event records in files, folders and archives, chooses the
// reader by what a file contains, and says of everything it did not read why.
//
//	stats, problems := files.Scan(ctx, []string{"logs", "more.zip"}, files.Options{}, handle)
//
// Read are EVTX, JSON and XML records and audit logs of Linux (packages evtx,
// ndjson, xmlevent, auditd), plain or
// inside gzip, bzip2, zip and tar, nested to a bound. The extension of a file
// does not matter. Archive members are named "a.zip!b.evtx"; nothing is ever
// extracted to a path that an archive names.
//
// The result does not depend on scheduling: each file is read once, however it is
// reached, and problems come sorted. What an archive may expand to is bounded; see
// Options. Pipes, sockets and devices are never opened.
package files

import (
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"ashiato/internal/event"
	"ashiato/internal/source"
)

// Progress is a snapshot of a running Scan.
type Progress struct {
	Files, FilesTotal int    // files on disk that are finished, and that there are
	Bytes, BytesTotal int64  // their bytes on disk, compressed where they are
	Events            int64  // events handed on
	Current           string // the input that reported last
}

// Options bound a Scan. The zero value of each field means its default.
type Options struct {
	// Jobs is how many files are read at once, and how many goroutines decode
	// a single large file. Default: the number of CPUs.
	Jobs int
	// Progress, if set, is called after every few thousand events and at the end
	// of every file, by one goroutine at a time. Its Files, Bytes and Events
	// never go back.
	Progress func(Progress)
	// MaxDepth is how many compressed or archive layers may lie around a file;
	// x.tar.gz has two. Default 4.
	MaxDepth int
	// MaxRatio and MaxExpanded bound what the content of one file on disk may
	// expand to: MaxExpanded bytes, or MaxRatio times its size if that is
	// more. One member may use up at most a quarter of MaxExpanded, or
	// MaxRatio times its compressed size. Defaults 200 and 1 GiB.
	MaxRatio    int64
	MaxExpanded int64
	// Finished, if set, is called with the name of a file or member when all its
	// events were handed on.
	Finished func(name string)
	// Interest says what is read of the events; nil means all of it.
	Interest source.Interest
}

func (o Options) withDefaults() Options {
	if o.Jobs <= 0 {
		o.Jobs = runtime.GOMAXPROCS(0)
	}
	if o.MaxDepth <= 0 {
		o.MaxDepth = 4
	}
	if o.MaxRatio <= 0 {
		o.MaxRatio = 200
	}
	if o.MaxExpanded <= 0 {
		o.MaxExpanded = 1 << 30
	}
	return o
}

// Scan reads every input under the given paths and hands its events to h, which
// is called from several goroutines at once. It returns when everything is read
// or soon after ctx is done, with what was read until then. Nothing in the input
// makes it fail: what could not be read is in the problems, which are sorted.
func Scan(ctx context.Context, paths []string, opt Options, h source.Handler) (source.Stats, []source.Problem) {
	opt = opt.withDefaults()
	w := walk(ctx, paths)

	p := &progress{report: opt.Progress}
	p.now.FilesTotal = len(w.inputs)
	for _, in := range w.inputs {
		p.now.BytesTotal += in.size
	}

	// The largest first, so that none of them is left for last.
	order := make([]int, len(w.inputs))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(w.inputs[b].size, w.inputs[a].size) })

	results := make([]result, len(w.inputs))
	var next, active atomic.Int64
	var wg sync.WaitGroup
	for range min(opt.Jobs, len(order)) {
		wg.Go(func() {
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= len(order) {
					return
				}
				in := w.inputs[order[i]]
				r := &results[order[i]]
				busy := int(active.Add(1))
				s := scanner{ctx: ctx, opt: opt, jobs: max(opt.Jobs/busy, 1), h: h, in: in, progress: p, result: r}
				s.scan()
				active.Add(-1)
			}
		})
	}
	wg.Wait()

	var stats source.Stats
	problems := w.problems
	skipped := w.skipped
	for i := range results {
		stats.Add(results[i].stats)
		problems = append(problems, results[i].problems...)
		for g, n := range results[i].skipped {
			skipped.merge(g, n)
		}
	}
	problems = append(problems, skipped.problems()...)
	slices.SortFunc(problems, compareProblems)
	return stats, problems
}

func compareProblems(a, b source.Problem) int {
	return cmp.Or(
		cmp.Compare(a.File, b.File),
		cmp.Compare(a.Offset, b.Offset),
		cmp.Compare(a.Line, b.Line),
		cmp.Compare(a.Kind, b.Kind),
		cmp.Compare(a.Detail, b.Detail),
	)
}

// result is what one file on disk gave.
type result struct {
	stats    source.Stats
	problems []source.Problem
	skipped  skippedFiles
}

// skippedGroup is what skipped files of a folder have in common: one Problem tells
// of them all.
type skippedGroup struct {
	folder string // with its separator
	ext    string // in lower case
	what   string // why, if more is known than that they are of another kind
}

// skippedFiles are files of other kinds inside folders and archives. Only their
// number is kept, as an archive may hold millions.
type skippedFiles map[skippedGroup]skippedNames

type skippedNames struct {
	first string
	count int
}

func (s *skippedFiles) add(folder, name, what string) {
	s.merge(skippedGroup{folder, strings.ToLower(path.Ext(name)), what}, skippedNames{name, 1})
}

func (s *skippedFiles) merge(g skippedGroup, n skippedNames) {
	if *s == nil {
		*s = skippedFiles{}
	}
	if have, ok := (*s)[g]; ok {
		n = skippedNames{have.first, have.count + n.count}
	}
	(*s)[g] = n
}

// problems makes one Problem of the files of a folder that have the same extension
// and reason.
func (s skippedFiles) problems() []source.Problem {
	var problems []source.Problem
	for g, n := range s {
		p := source.Problem{File: g.folder + n.first, Kind: source.Skipped, Offset: -1, Count: n.count, Detail: g.what}
		if g.what == "" {
			p.Detail = "not an event log"
		}
		if n.count > 1 {
			p.File = g.folder + "*" + g.ext
			p.Detail = fmt.Sprintf("%d files: %s", n.count, p.Detail)
		}
		problems = append(problems, p)
	}
	return problems
}

// progress counts and reports. Reports are made by count, not by the clock.
type progress struct {
	mu      sync.Mutex
	report  func(Progress)
	now     Progress
	pending int64 // events since the last report
}

const reportEvery = 4096

func (p *progress) events(n int, current string) {
	if p.report == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now.Events += int64(n)
	if p.pending += int64(n); p.pending >= reportEvery {
		p.pending = 0
		p.now.Current = current
		p.report(p.now)
	}
}

func (p *progress) bytes(n int64) {
	if p.report == nil {
		return
	}
	p.mu.Lock()
	p.now.Bytes += n
	p.mu.Unlock()
}

func (p *progress) fileDone(current string) {
	if p.report == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now.Files++
	p.now.Current = current
	p.report(p.now)
}

// counted is a file on disk whose reads move the progress. It counts no more
// than the file's size, however often parts are read.
type counted struct {
	f        *os.File
	progress *progress
	left     atomic.Int64
}

func (c *counted) Read(b []byte) (int, error) {
	n, err := c.f.Read(b)
	c.count(n)
	return n, err
}

func (c *counted) ReadAt(b []byte, off int64) (int, error) {
	n, err := c.f.ReadAt(b, off)
	c.count(n)
	return n, err
}

func (c *counted) count(n int) {
	for {
		left := c.left.Load()
		take := min(int64(n), left)
		if take <= 0 {
			return
		}
		if c.left.CompareAndSwap(left, left-take) {
			c.progress.bytes(take)
			return
		}
	}
}

// scanner reads one file on disk.
type scanner struct {
	ctx      context.Context
	opt      Options
	jobs     int
	h        source.Handler
	in       input
	progress *progress
	result   *result
	bound    int64 // bytes that may be expanded
	left     int64 // of these
	members  memberGroups
	kinds    map[string]bool // folders and extensions of skipped members
}

func (s *scanner) scan() {
	defer s.progress.fileDone(s.in.label)
	defer func() { s.result.problems = append(s.result.problems, s.members.problems()...) }()
	f, err := os.Open(s.in.path)
	if err != nil {
		s.unreadable(s.in.label, err)
		return
	}
	defer f.Close() // only read
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("it became %s", describe(info.Mode()))
	}
	if err != nil {
		s.unreadable(s.in.label, err)
		return
	}
	s.bound = max(s.opt.MaxExpanded, saturate(s.opt.MaxRatio, info.Size()))
	s.left = s.bound
	c := &counted{f: f, progress: s.progress}
	c.left.Store(s.in.size)
	defer func() { s.progress.bytes(c.left.Swap(0)) }()
	s.stream(content{label: s.in.label, r: c, at: c, size: info.Size(), named: s.in.named})
}

// saturate is a*b without overflow.
func saturate(a, b int64) int64 {
	if b > 0 && a > (1<<62)/b {
		return 1 << 62
	}
	return a * b
}

func (s *scanner) problem(p source.Problem) {
	if strings.HasPrefix(p.File, s.in.label+"!") {
		s.members.add(s.in.label, p)
		return
	}
	s.result.problems = append(s.result.problems, p)
}

func (s *scanner) unreadable(label string, err error) {
	s.result.stats.Files++
	s.problem(unreadable(label, err))
}

// unreadable names the reason without the path, which the Problem has.
func unreadable(label string, err error) source.Problem {
	detail := err.Error()
	if pe, ok := err.(*fs.PathError); ok {
		detail = pe.Err.Error()
	}
	return source.Problem{File: label, Kind: source.Unreadable, Offset: -1, Count: 1, Detail: detail}
}

// deliver runs a format's reader.
func (s *scanner) deliver(c content, read source.ReadFunc) {
	stats, problems := read(s.ctx, c.label, c.r, func(batch []*event.Event) {
		s.h(batch)
		s.progress.events(len(batch), c.label)
	})
	if s.opt.Finished != nil {
		s.opt.Finished(c.label)
	}
	s.result.stats.Add(stats)
	for _, p := range problems {
		s.problem(p)
	}
}
