package scan

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"ashiato/internal/analysis"
	"ashiato/internal/clock"
	"ashiato/internal/source"
	"ashiato/internal/wire"
)

// State is what a scan knows at its end, for another one to go on from.
type State struct {
	analysis *analysis.Analysis
	source   source.Stats
	filtered int64
	clocks   *clock.Tally
	offsets  clock.Offsets
	// problems are those of reading, in any scan so far.
	problems []source.Problem
	// others are the hosts that the last reading left out, see Result.OtherHosts.
	others []string
}

// maxProblems bounds the problems of earlier scans that a state holds.
const maxProblems = 10_000

// Restore reads the state that State.Write wrote, for a scan with these options;
// see analysis.Restore for the errors.
func Restore(r io.ReadSeeker, opt Options) (*State, error) {
	a, note, err := analysis.Restore(r, opt.analysis())
	if err != nil {
		return nil, err
	}
	st := &State{analysis: a, clocks: &clock.Tally{}}
	c := wire.NewReader(string(note))
	if st.code(c); c.Done() != nil {
		return nil, fmt.Errorf("%w: what was read: %w", analysis.ErrState, c.Err())
	}
	return st, nil
}

// Write writes the state.
func (st *State) Write(w io.Writer) error {
	kept := *st
	if over := len(kept.problems) - maxProblems; over > 0 {
		kept.problems = append(slices.Clone(kept.problems[:maxProblems]), source.Problem{
			Kind: source.TooLarge, Offset: -1, Count: over, Detail: fmt.Sprintf("%d further problems of earlier scans are not kept", over),
		})
	}
	c := wire.NewWriter(nil)
	if kept.code(c); c.Err() != nil {
		return fmt.Errorf("write state: %w", c.Err())
	}
	return st.analysis.Snapshot(w, c.Bytes())
}

func (st *State) code(c *wire.Coder) {
	s := &st.source
	for _, n := range []*int{&s.Files, &s.FilesRead} {
		wire.Int(c, n, 0, math.MaxInt)
	}
	for _, n := range []*int64{&s.Bytes, &s.Records, &s.Events, &s.Undecodable, &s.Carved, &s.Unread, &st.filtered} {
		wire.Int(c, n, 0, math.MaxInt64)
	}
	st.offsets.Code(c)
	wire.List(c, &st.problems, 7, func(c *wire.Coder, p *source.Problem) {
		c.String(&p.File)
		c.String((*string)(&p.Kind))
		wire.Int(c, &p.Offset, math.MinInt64/2, math.MaxInt64/2)
		for _, n := range []*int{&p.Line, &p.Count, &p.Lost} {
			wire.Int(c, n, 0, math.MaxInt)
		}
		c.String(&p.Detail)
	})
}

// note takes in what a reading came to. A problem of a file takes the place of
// the same one of an earlier reading.
func (st *State) note(stats source.Stats, problems []source.Problem, filtered int64) {
	st.source.Add(stats)
	st.filtered += filtered
	if len(st.problems) == 0 {
		st.problems = slices.Clone(problems)
		return
	}
	type of struct {
		file string
		kind source.ProblemKind
	}
	again := map[of]bool{}
	for _, p := range problems {
		again[of{p.File, p.Kind}] = true
	}
	st.problems = slices.DeleteFunc(st.problems, func(p source.Problem) bool { return again[of{p.File, p.Kind}] })
	st.problems = append(st.problems, problems...)
	slices.SortStableFunc(st.problems, func(a, b source.Problem) int {
		return cmp.Or(strings.Compare(a.File, b.File), strings.Compare(string(a.Kind), string(b.Kind)), cmp.Compare(a.Offset, b.Offset))
	})
}
