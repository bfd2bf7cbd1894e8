// Package browsertest opens files in Chromium for tests that must see what a
// reader sees. Where Chromium is absent the test is skipped, with the reason.
package browsertest

import (
	"context"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// Env names the environment variable that overrides which browser is used.
const Env = "ASHIATO_CHROMIUM"

// Browser is a running headless Chromium with one page.
type Browser struct {
	t   testing.TB
	ctx context.Context

	mu       sync.Mutex
	requests []string
	errors   []string
	dialogs  int
}

// Start runs Chromium with a page of the width, until the test ends.
func Start(t testing.TB, width int) *Browser {
	t.Helper()
	path := os.Getenv(Env)
	for _, name := range []string{"/usr/bin/chromium", "chromium", "chromium-browser", "google-chrome"} {
		if path == "" {
			path, _ = exec.LookPath(name)
		}
	}
	if path == "" {
		t.Skipf("no Chromium found: install the package chromium, or set %s", Env)
	}
	options := append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]),
		chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-dev-shm-usage", true),
		chromedp.WindowSize(width, 900), chromedp.UserDataDir(t.TempDir()),
		chromedp.WSURLReadTimeout(2*time.Minute),
	)
	alloc, stop := chromedp.NewExecAllocator(context.Background(), options...)
	b := &Browser{t: t}
	ctx, cancel := chromedp.NewContext(alloc, chromedp.WithListener(b.listen))
	ctx, expire := context.WithTimeout(ctx, 5*time.Minute)
	b.ctx = ctx
	t.Cleanup(func() {
		expire()
		cancel()
		stop()
	})
	b.do(chromedp.EmulateViewport(int64(width), 900))
	call(b, network.Enable, network.EnableParams{})
	call(b, log.Enable, cdp.Empty{})
	call(b, runtime.Enable, cdp.Empty{})
	call(b, page.Enable, page.EnableParams{})
	return b
}

// listen keeps what Quiet judges.
func (b *Browser) listen(ev any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := ev.(type) {
	case *network.EventRequestWillBeSent:
		b.requests = append(b.requests, e.Request.URL)
	case *log.EventEntryAdded:
		b.errors = append(b.errors, string(e.Entry.Level)+": "+e.Entry.Text)
	case *runtime.EventExceptionThrown:
		b.errors = append(b.errors, "exception: "+e.ExceptionDetails.Text)
	case *runtime.EventConsoleAPICalled:
		b.errors = append(b.errors, "console: "+string(e.Type))
	case *page.EventJavascriptDialogOpening:
		b.dialogs++
	}
}

func (b *Browser) do(a chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, a); err != nil {
		b.t.Fatal(err)
	}
}

func call[P, R any](b *Browser, c cdp.Command[P, R], params P) {
	b.t.Helper()
	if _, err := chromedp.Call(b.ctx, c, params); err != nil {
		b.t.Fatalf("%s: %v", c.Method, err)
	}
}

// AsPrinted shows pages as they are printed from here on, but for the breaks.
func (b *Browser) AsPrinted() {
	b.t.Helper()
	call(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Media: "print"})
}

// Open loads content as a file of the name from a folder of its own.
func (b *Browser) Open(name string, content []byte) (address string) {
	b.t.Helper()
	path := filepath.Join(b.t.TempDir(), name)
	if err := os.WriteFile(path, content, 0o644); err != nil {
		b.t.Fatal(err)
	}
	address = (&url.URL{Scheme: "file", Path: filepath.ToSlash(path)}).String()
	b.mu.Lock()
	b.requests, b.errors, b.dialogs = nil, nil, 0
	b.mu.Unlock()
	if err := chromedp.Do(b.ctx, chromedp.Navigate(address)); err != nil {
		b.t.Fatalf("opening %s: %v", name, err)
	}
	return address
}

// Eval runs a script on the page and decodes its result.
func Eval[T any](b *Browser, script string) T {
	b.t.Helper()
	v, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](script))
	if err != nil {
		b.t.Fatalf("evaluating %.60q: %v", script, err)
	}
	return v
}

// Quiet holds that the page asked for nothing but itself, showed no dialog and
// logged nothing, which includes violations of its policy.
func (b *Browser) Quiet(address string) {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, r := range b.requests {
		if r, _, _ = strings.Cut(r, "#"); r != address {
			b.t.Errorf("the page requested %s", r)
		}
	}
	if len(b.requests) == 0 {
		b.t.Error("the browser reported no request at all, not even the page")
	}
	for _, e := range b.errors {
		b.t.Errorf("the browser logged %s", e)
	}
	if b.dialogs > 0 {
		b.t.Errorf("%d dialogs opened", b.dialogs)
	}
}
