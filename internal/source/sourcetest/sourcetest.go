// Package sourcetest is the conformance suite of source.ReadFunc: what every
// format's reader owes, whatever the format.
//
//	func TestConformance(t *testing.T) {
//		sourcetest.Run(t, ndjson.Read, sample)
//	}
package sourcetest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/iotest"

	"ashiato/internal/event"
	"ashiato/internal/source"
)

// Name is the input name that the suite reads under.
const Name = "dir/sample!member"

// minRecords is how many records a sample needs for the damage to tell.
const minRecords = 10

// Read runs read over r and returns the events in the order of their evidence.
func Read(ctx context.Context, read source.ReadFunc, r io.Reader) ([]*event.Event, source.Stats, []source.Problem) {
	var mu sync.Mutex
	var events []*event.Event
	stats, problems := read(ctx, Name, r, func(batch []*event.Event) {
		mu.Lock()
		defer mu.Unlock()
		events = append(events, batch...)
	})
	slices.SortFunc(events, func(a, b *event.Event) int {
		if a.Ref.Offset != b.Ref.Offset {
			return int(a.Ref.Offset - b.Ref.Offset)
		}
		return a.Ref.Compare(b.Ref)
	})
	return events, stats, problems
}

// Run checks read with sample, a whole and valid input of at least ten records.
func Run(t *testing.T, read source.ReadFunc, sample []byte) {
	t.Helper()
	whole, stats, problems := Read(t.Context(), read, bytes.NewReader(sample))
	if len(whole) < minRecords || len(problems) > 0 {
		t.Fatalf("the sample gives %d records and the problems %v, want %d records and none", len(whole), problems, minRecords)
	}
	Check(t, whole, stats, problems)
	if stats.Bytes != int64(len(sample)) || stats.Undecodable != 0 || stats.Files != 1 || stats.FilesRead != 1 {
		t.Errorf("stats of the sample of %d bytes: %+v", len(sample), stats)
	}

	t.Run("again", func(t *testing.T) {
		events, again, _ := Read(t.Context(), read, bytes.NewReader(sample))
		equal(t, whole, events)
		if again != stats {
			t.Errorf("stats %+v, then %+v", stats, again)
		}
	})
	t.Run("pieces", func(t *testing.T) {
		events, _, problems := Read(t.Context(), read, iotest.OneByteReader(bytes.NewReader(sample)))
		equal(t, whole, events)
		if len(problems) > 0 {
			t.Errorf("problems when read byte by byte: %v", problems)
		}
		events, _, _ = Read(t.Context(), read, iotest.DataErrReader(bytes.NewReader(sample)))
		equal(t, whole, events)
	})
	t.Run("batches", func(t *testing.T) {
		read(t.Context(), Name, bytes.NewReader(sample), func(batch []*event.Event) {
			if len(batch) == 0 || slices.Contains(batch, nil) {
				t.Error("an empty batch, or one with a nil event")
			}
			clear(batch) // the handler owns it
		})
	})
	t.Run("references", func(t *testing.T) { references(t, whole, sample) })
	t.Run("cancelled", func(t *testing.T) { cancelled(t, read, sample) })
	t.Run("truncated", func(t *testing.T) { truncated(t, read, sample, whole) })
	t.Run("failing", func(t *testing.T) { failing(t, read, sample) })
	t.Run("damaged", func(t *testing.T) { damaged(t, read, sample, whole) })
	t.Run("empty", func(t *testing.T) {
		events, stats, problems := Read(t.Context(), read, bytes.NewReader(nil))
		Check(t, events, stats, problems)
		if len(events) != 0 || len(problems) == 0 {
			t.Errorf("an empty input gives %d events and the problems %v", len(events), problems)
		}
	})
}

// Check asserts what holds of any result of a ReadFunc for the input Name.
func Check(t testing.TB, events []*event.Event, stats source.Stats, problems []source.Problem) {
	t.Helper()
	if stats.Records != stats.Events+stats.Undecodable || stats.Events != int64(len(events)) {
		t.Errorf("the stats do not balance with %d events: %+v", len(events), stats)
	}
	if stats.Files != 1 || stats.FilesRead > stats.Files || stats.Carved > stats.Events {
		t.Errorf("impossible stats: %+v", stats)
	}
	if stats.Undecodable > 0 && len(problems) == 0 {
		t.Errorf("%d records were lost without a problem", stats.Undecodable)
	}
	for _, p := range problems {
		if p.File != Name || p.Kind == "" || p.Count < 1 || p.Detail == "" || p.Offset < -1 {
			t.Errorf("an incomplete problem: %+v", p)
		}
	}
	for _, e := range events {
		if e.Ref.File != Name || e.Ref.Host != e.Host || e.Ref.Channel != e.Channel || e.Ref.SHA256 == [32]byte{} {
			t.Fatalf("an incomplete reference: %+v of %+v", e.Ref, e)
		}
		if e.Kind != event.Other || e.Canon != nil {
			t.Fatalf("the reader has normalised: %+v", e)
		}
	}
}

// equal asserts that two lists of events are the same.
func equal(t *testing.T, want, got []*event.Event) {
	t.Helper()
	if len(want) != len(got) {
		t.Errorf("%d events, want %d", len(got), len(want))
		return
	}
	for i := range want {
		if w, g := fmt.Sprint(*want[i]), fmt.Sprint(*got[i]); w != g {
			t.Errorf("event %d is\n%s, want\n%s", i, g, w)
			return
		}
	}
}

// references asserts that every record can be found again: it begins at its
// offset, and some length of the input from there has its hash.
func references(t *testing.T, events []*event.Event, sample []byte) {
	for i, e := range events {
		end := int64(len(sample))
		if i+1 < len(events) {
			end = events[i+1].Ref.Offset
		}
		if e.Ref.Offset < 0 || e.Ref.Offset >= end {
			t.Fatalf("event %d begins at %d, which is not before %d", i, e.Ref.Offset, end)
		}
		if !found(sample[e.Ref.Offset:end], e.Ref.SHA256) {
			t.Fatalf("event %d: nothing from offset %d has the hash %s", i, e.Ref.Offset, e.Ref.Hash())
		}
	}
}

// found reports whether a prefix of b has the hash. Records end near the next
// one, so that the longest are tried first.
func found(b []byte, sum [32]byte) bool {
	for n := len(b); n > 0; n-- {
		if sha256.Sum256(b[:n]) == sum {
			return true
		}
	}
	return false
}

// endless repeats a sample for ever, and fails the test if that is read for ever.
type endless struct {
	t      *testing.T
	sample []byte
	at     int
	left   int
}

func (r *endless) Read(b []byte) (int, error) {
	if r.left -= len(b); r.left < 0 {
		r.t.Error("reading went on after the context was done")
		return 0, io.EOF
	}
	n := copy(b, r.sample[r.at:])
	r.at = (r.at + n) % len(r.sample)
	return n, nil
}

func cancelled(t *testing.T, read source.ReadFunc, sample []byte) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	events, stats, problems := Read(ctx, read, bytes.NewReader(sample))
	Check(t, events, stats, problems)
	if len(events) > 0 {
		t.Errorf("%d events of a context that was done before", len(events))
	}

	ctx, cancel = context.WithCancel(t.Context())
	defer cancel()
	const admitted = 64 << 20
	read(ctx, Name, &endless{t: t, sample: sample, left: admitted}, func([]*event.Event) { cancel() })
}

// cuts are places to cut or damage a sample: all of a small one, else spread.
func cuts(n int) []int {
	const most = 400
	var at []int
	step := max(n/most, 1)
	for i := 0; i < n; i += step {
		at = append(at, i)
	}
	return at
}

func truncated(t *testing.T, read source.ReadFunc, sample []byte, whole []*event.Event) {
	before := 0
	for _, n := range cuts(len(sample)) {
		events, stats, problems := Read(t.Context(), read, bytes.NewReader(sample[:n]))
		Check(t, events, stats, problems)
		if len(events) < before {
			t.Fatalf("%d events in the first %d bytes, %d in fewer", len(events), n, before)
		}
		before = len(events)
		equal(t, whole[:min(len(events), len(whole))], events)
		if stats.Bytes != int64(n) {
			t.Fatalf("%d of %d bytes were read", stats.Bytes, n)
		}
	}
	if before < len(whole)/2 {
		t.Errorf("only %d of %d events were ever read from truncated input", before, len(whole))
	}
}

func failing(t *testing.T, read source.ReadFunc, sample []byte) {
	broken := errors.New("the disk is gone")
	half := io.MultiReader(bytes.NewReader(sample[:len(sample)/2]), iotest.ErrReader(broken))
	events, stats, problems := Read(t.Context(), read, half)
	Check(t, events, stats, problems)
	if !slices.ContainsFunc(problems, func(p source.Problem) bool { return p.Kind == source.Unreadable }) {
		t.Errorf("a failing input gives the problems %v, none of them unreadable", problems)
	}
}

func damaged(t *testing.T, read source.ReadFunc, sample []byte, whole []*event.Event) {
	rnd := rand.New(rand.NewPCG(1, 2)) // reproducible on purpose
	for _, at := range cuts(len(sample)) {
		bad := slices.Clone(sample)
		bad[at] ^= 1 << rnd.IntN(8)
		events, stats, problems := Read(t.Context(), read, bytes.NewReader(bad))
		Check(t, events, stats, problems)
		// One flipped bit costs at most the records that it touches, not
		// those whose bytes are intact and end before it.
		kept := map[[32]byte]bool{}
		for _, e := range events {
			kept[e.Ref.SHA256] = true
		}
		for i, e := range whole {
			intact := i+1 < len(whole) && whole[i+1].Ref.Offset <= int64(at)
			if intact && !kept[e.Ref.SHA256] {
				t.Fatalf("a bit flipped at %d cost event %d, which ends before", at, i)
			}
		}
	}
}
