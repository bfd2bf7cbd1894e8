package scan

import (
	"strings"
	"sync"

	"ashiato/internal/clock"
	"ashiato/internal/event"
	"ashiato/internal/normalize"
)

// guesser guesses from the beginning of each file by how much its clocks are off,
// so that an input with wrong clocks need not be read twice. It holds events back
// until it knows. What was guessed is compared with what all records say in the end;
// a guess costs or saves time, it never changes a result.
type guesser struct {
	known  clock.Offsets        // from earlier scans
	handle func([]*event.Event) // gets normalised events

	mu      sync.Mutex
	guesses map[string]*guess // by file
	used    []clock.Offsets   // that are not none
}

// guess is what is known of a file while it is read.
type guess struct {
	mu      sync.Mutex
	made    bool
	offsets clock.Offsets
	tally   *clock.Tally
	held    [][]*event.Event
	events  int // in held
}

const (
	// convincing is how many records with two times decide, and maxHeld how many
	// events of a file are held back at most.
	convincing = 32
	maxHeld    = 4096
)

func newGuesser(known clock.Offsets, handle func([]*event.Event)) *guesser {
	return &guesser{known: known, handle: handle, guesses: map[string]*guess{}}
}

func (r *guesser) of(file string) *guess {
	r.mu.Lock()
	defer r.mu.Unlock()
	g := r.guesses[file]
	if g == nil {
		g = &guess{tally: &clock.Tally{}}
		r.guesses[strings.Clone(file)] = g
	}
	return g
}

// add takes a batch of one file in. Several goroutines may read one.
func (r *guesser) add(batch []*event.Event) {
	if len(batch) == 0 {
		return
	}
	g := r.of(batch[0].Ref.File)
	g.mu.Lock()
	if !g.made {
		r.correct(batch, clock.Offsets{})
		g.tally.Add(batch)
		g.held = append(g.held, batch)
		if g.events += len(batch); g.events < maxHeld && g.tally.Measured() < convincing {
			g.mu.Unlock()
			return
		}
		r.decide(g)
		return
	}
	offsets := g.offsets
	g.mu.Unlock()
	r.correct(batch, offsets)
	r.handle(batch)
}

// finished is called when all of a file was read.
func (r *guesser) finished(file string) {
	r.mu.Lock()
	g := r.guesses[file]
	delete(r.guesses, file)
	r.mu.Unlock()
	if g == nil {
		return
	}
	g.mu.Lock()
	if g.made {
		g.mu.Unlock()
		return
	}
	r.decide(g)
}

// decide guesses, and hands on what was held back. It unlocks g.
func (r *guesser) decide(g *guess) {
	g.made, g.offsets = true, g.tally.Offsets()
	held, offsets := g.held, g.offsets
	g.held, g.tally = nil, nil
	g.mu.Unlock()
	if !offsets.None() {
		r.mu.Lock()
		r.used = append(r.used, offsets)
		r.mu.Unlock()
	}
	for _, batch := range held {
		if !offsets.None() || !r.known.None() {
			r.correct(batch, offsets)
		}
		r.handle(batch)
	}
}

// correct normalises events with their times corrected.
func (r *guesser) correct(batch []*event.Event, offsets clock.Offsets) {
	for _, e := range batch {
		e.Offset = r.known.First(offsets, e)
		normalize.Event(e)
	}
}
