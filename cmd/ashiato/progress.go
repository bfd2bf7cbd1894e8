package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"ashiato/internal/i18n"
	"ashiato/internal/source/files"
)

// progress shows how far a scan is: a bar with files, events per second and the
// time left on a terminal, a plain line every ten seconds elsewhere, and nothing
// for a scan that is over before that.
type progress struct {
	mu      sync.Mutex
	out     io.Writer
	lang    i18n.Lang
	started time.Time
	printed time.Time
	last    files.Progress
	bars    *mpb.Progress
	bar     *mpb.Bar
}

const plainInterval = 10 * time.Second

func newProgress(out io.Writer, quiet bool, lang i18n.Lang) *progress {
	if quiet {
		return &progress{}
	}
	p := &progress{out: out, lang: lang, started: time.Now()}
	p.printed = p.started
	if isTerminal(out) && os.Getenv("TERM") != "dumb" {
		p.bars = mpb.New(mpb.WithOutput(out), mpb.WithWidth(40))
		p.bar = p.bars.New(0, mpb.BarStyle(), mpb.BarRemoveOnComplete(),
			mpb.PrependDecorators(decor.Any(func(decor.Statistics) string { return p.files() })),
			mpb.AppendDecorators(
				decor.Percentage(decor.WC{W: 5}),
				decor.Any(func(decor.Statistics) string { return p.rate() }),
				decor.AverageETA(decor.ET_STYLE_GO),
			))
	}
	return p
}

// update takes a snapshot; it may be called from several goroutines.
func (p *progress) update(s files.Progress) {
	if p.out == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.Bytes < p.last.Bytes {
		return // overtaken by a later snapshot
	}
	p.last = s
	if p.bar != nil {
		p.bar.SetTotal(s.BytesTotal, false)
		p.bar.SetCurrent(s.Bytes)
		return
	}
	now := time.Now()
	if now.Sub(p.printed) < plainInterval {
		return
	}
	p.printed = now
	fmt.Fprintln(p.out, p.lang.T("progress.line",
		i18n.Number(s.Files), i18n.Number(s.FilesTotal), i18n.Number(int(s.Events)), i18n.Number(int(p.perSecond(now))), p.left(now)))
}

func (p *progress) files() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lang.T("progress.files", i18n.Number(p.last.Files), i18n.Number(p.last.FilesTotal))
}

func (p *progress) rate() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lang.T("progress.rate", i18n.Number(int(p.perSecond(time.Now()))))
}

func (p *progress) perSecond(now time.Time) float64 {
	return float64(p.last.Events) / max(now.Sub(p.started).Seconds(), 1e-3)
}

func (p *progress) left(now time.Time) string {
	if p.last.Bytes <= 0 || p.last.BytesTotal < p.last.Bytes {
		return ""
	}
	spent := now.Sub(p.started)
	left := time.Duration(float64(spent) * float64(p.last.BytesTotal-p.last.Bytes) / float64(p.last.Bytes))
	return p.lang.T("progress.left", left.Round(time.Second).String())
}

// done takes the bar away.
func (p *progress) done() {
	if p.bar == nil {
		return
	}
	p.bar.SetTotal(-1, true)
	p.bars.Wait()
}
