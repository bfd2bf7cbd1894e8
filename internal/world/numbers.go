package world

import (
	"cmp"
	"slices"
	"strings"
)

// numbers remembers which record numbers of one log one file holds, as runs
// without a hole: a log of a million records in a row is one run.
type numbers struct {
	runs    []run   // by from, apart from each other by at least one number
	pending []entry // not yet in runs
}

// run is from–to, every number of which was given, with the times of its ends,
// in nanoseconds since 1970. Of several records with one number the earliest
// counts.
type run struct {
	from, to   uint64
	tFrom, tTo int64
}

type entry struct {
	id uint64
	t  int64 // nanoseconds since 1970
}

// minPending is how many numbers out of order are collected before they are put
// into the runs, which takes time in proportion to the runs.
const minPending = 256

func (n *numbers) add(id uint64, t int64) {
	if last := len(n.runs) - 1; last >= 0 && len(n.pending) == 0 {
		switch r := &n.runs[last]; {
		case id == r.to+1 && id != 0:
			r.to, r.tTo = id, t
			return
		case id == r.to && r.from < r.to:
			r.tTo = min(r.tTo, t)
			return
		case id > r.to:
			n.runs = append(n.runs, run{id, id, t, t})
			return
		}
	} else if last < 0 && len(n.pending) == 0 {
		n.runs = append(n.runs, run{id, id, t, t})
		return
	}
	n.pending = append(n.pending, entry{id, t})
	if len(n.pending) >= max(minPending, len(n.runs)) {
		n.settle()
	}
}

// settle puts what is pending into the runs.
func (n *numbers) settle() {
	if len(n.pending) == 0 {
		return
	}
	for _, e := range n.pending {
		n.runs = append(n.runs, run{e.id, e.id, e.t, e.t})
	}
	n.pending = n.pending[:0]
	slices.SortFunc(n.runs, func(a, b run) int {
		return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(a.to, b.to), cmp.Compare(a.tFrom, b.tFrom))
	})
	kept := n.runs[:1]
	for _, r := range n.runs[1:] {
		last := &kept[len(kept)-1]
		if r.from > last.to && r.from-last.to > 1 {
			kept = append(kept, r)
			continue
		}
		// r begins in last, or right behind it.
		if r.from == last.from {
			last.tFrom = min(last.tFrom, r.tFrom)
		}
		switch {
		case r.to > last.to:
			last.to, last.tTo = r.to, r.tTo
		case r.to == last.to:
			last.tTo = min(last.tTo, r.tTo)
		}
	}
	n.runs = slices.Clip(kept)
}

// fill takes all that is missing between the first and the last number as given.
func (n *numbers) fill() {
	if last := len(n.runs) - 1; last > 0 {
		n.runs = []run{{n.runs[0].from, n.runs[last].to, n.runs[0].tFrom, n.runs[last].tTo}}
	}
}

// size is how many runs and numbers are held.
func (n *numbers) size() int { return len(n.runs) + len(n.pending) }

// holesIn finds the holes of a log that one file holds.
func holesIn(n *numbers) []hole {
	n.settle()
	var holes []hole
	for i := 1; i < len(n.runs); i++ {
		a, b := n.runs[i-1], n.runs[i]
		if b.tFrom >= a.tTo {
			holes = append(holes, newHole(a.tTo, b.tFrom, b.from-a.to-1))
		}
	}
	return holes
}

// holesAcross finds the holes of a log that several files hold parts of: numbers
// that none has although one has the number before and the one after them.
func holesAcross(byFile map[string]*numbers) []hole {
	type part struct {
		run
		file string
		next uint64 // from of the file's next run, 0 if there is none
	}
	var parts []part
	for file, n := range byFile {
		n.settle()
		for i, r := range n.runs {
			p := part{run: r, file: file}
			if i+1 < len(n.runs) {
				p.next = n.runs[i+1].from
			}
			parts = append(parts, p)
		}
	}
	slices.SortFunc(parts, func(a, b part) int {
		return cmp.Or(cmp.Compare(a.from, b.from), strings.Compare(a.file, b.file))
	})
	var holes []hole
	// ends are the parts that reach furthest of those seen so far.
	var ends []part
	for i := 0; i < len(parts); {
		p := parts[i]
		if len(ends) > 0 && p.from > ends[0].to && p.from-ends[0].to > 1 {
			before, after := ends[0], p
			together := false
			for _, e := range ends {
				together = together || e.next == p.from
				if e.file < before.file {
					before = e
				}
			}
			// Numbers that restart, as in a log that was made anew, go back in time.
			if together && after.tFrom >= before.tTo {
				holes = append(holes, newHole(before.tTo, after.tFrom, p.from-before.to-1))
			}
		}
		switch {
		case len(ends) == 0 || p.to > ends[0].to:
			ends = append(ends[:0], p)
		case p.to == ends[0].to:
			ends = append(ends, p)
		}
		i++
	}
	return holes
}
