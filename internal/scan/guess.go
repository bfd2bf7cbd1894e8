package scan

import (
	"hash/maphash"
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
	// made has, by a hash of its name, the place in used of each file's guess and 1,
	// and differ says that for one name two were made: members of an archive may
	// have one name. Two names of one hash cost a second reading at most.
	made   map[uint64]int
	differ bool
	seed   maphash.Seed
}

// guess is what is known of a file while it is read.
type guess struct {
	mu      sync.Mutex
	made    bool
	offsets clock.Offsets
	tally   *clock.Tally
	held    [][]*event.Event
	events  int // in held
	bytes   int // of their values
}

const (
	// convincing is how many records with two times decide, and maxHeld and
	// maxHeldBytes how many events of a file are held back at most.
	convincing   = 32
	maxHeld      = 4096
	maxHeldBytes = 16 << 20
)

func newGuesser(known clock.Offsets, handle func([]*event.Event)) *guesser {
	return &guesser{known: known, handle: handle, guesses: map[string]*guess{}, made: map[uint64]int{}, seed: maphash.MakeSeed()}
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
		g.events += len(batch)
		for _, e := range batch {
			for i := range e.Data {
				g.bytes += len(e.Data[i].Value)
			}
		}
		if g.events < maxHeld && g.bytes < maxHeldBytes && g.tally.Measured() < convincing {
			g.mu.Unlock()
			return
		}
		r.decide(batch[0].Ref.File, g)
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
	r.decide(file, g)
}

// decide guesses for a file, and hands on what was held back. It unlocks g.
func (r *guesser) decide(file string, g *guess) {
	g.made, g.offsets = true, g.tally.Offsets()
	held, offsets := g.held, g.offsets
	g.held, g.tally = nil, nil
	g.mu.Unlock()
	r.note(file, offsets)
	for _, batch := range held {
		if !offsets.None() || !r.known.None() {
			r.correct(batch, offsets)
		}
		r.handle(batch)
	}
}

// note remembers what was guessed of a file.
func (r *guesser) note(file string, offsets clock.Offsets) {
	r.mu.Lock()
	defer r.mu.Unlock()
	name := maphash.String(r.seed, file)
	if at, again := r.made[name]; again {
		var before clock.Offsets
		if at > 0 {
			before = r.used[at-1]
		}
		r.differ = r.differ || !before.Equal(offsets)
	}
	r.made[name] = 0
	if !offsets.None() {
		r.used = append(r.used, offsets)
		r.made[name] = len(r.used)
	}
}

// correct normalises events with their times corrected.
func (r *guesser) correct(batch []*event.Event, offsets clock.Offsets) {
	for _, e := range batch {
		e.Offset = r.known.First(offsets, e)
		normalize.Event(e)
	}
}
