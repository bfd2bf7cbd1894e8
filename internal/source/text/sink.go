package text

import (
	"errors"
	"fmt"
	"io"

	"ashiato/internal/event"
	"ashiato/internal/source"
)

// batchSize is how many events a Sink hands on at once.
const batchSize = 256

// Sink collects what a reader finds in one input.
type Sink struct {
	name     string
	h        source.Handler
	batch    []*event.Event
	stats    source.Stats
	problems []source.Problem
}

// NewSink returns a Sink for the input called name that hands events to h.
func NewSink(name string, h source.Handler) *Sink {
	return &Sink{name: name, h: h, stats: source.Stats{Files: 1}}
}

// Event takes a decoded record.
func (s *Sink) Event(e *event.Event) {
	s.stats.Records++
	s.stats.Events++
	if s.batch == nil {
		s.batch = make([]*event.Event, 0, batchSize)
	}
	if s.batch = append(s.batch, e); len(s.batch) == batchSize {
		s.flush()
	}
}

func (s *Sink) flush() {
	if len(s.batch) > 0 {
		s.h(s.batch)
		s.batch = nil
	}
}

// Lost takes a record that was found but cannot be decoded. detail is asked only
// for the first of a kind: damaged input can have millions.
func (s *Sink) Lost(kind source.ProblemKind, offset int64, line int, detail func() string) {
	s.stats.Records++
	s.stats.Undecodable++
	for i := range s.problems {
		if p := &s.problems[i]; p.Kind == kind {
			p.Count++
			p.Lost++
			return
		}
	}
	s.Problem(kind, offset, line, 1, detail())
}

// Problem takes a problem. Repeats of one kind are merged and the first place
// is kept.
func (s *Sink) Problem(kind source.ProblemKind, offset int64, line, lost int, detail string) {
	for i := range s.problems {
		if p := &s.problems[i]; p.Kind == kind {
			p.Count++
			p.Lost += lost
			return
		}
	}
	s.problems = append(s.problems, source.Problem{
		File: s.name, Kind: kind, Offset: offset, Line: line, Count: 1, Lost: lost, Detail: detail,
	})
}

// Finish hands on the last batch and returns the balance of the input that w
// read. An input that ended in an error is reported here, as is one without text.
func (s *Sink) Finish(w *Window, blank bool) (source.Stats, []source.Problem) {
	s.flush()
	if err := w.Err(); err != nil {
		kind := source.Unreadable
		if errors.Is(err, io.ErrUnexpectedEOF) {
			kind = source.Truncated
		}
		s.Problem(kind, w.Offset(), w.Line(), 0, fmt.Sprintf("reading stopped: %v", err))
	} else if blank && s.stats.Records == 0 && len(s.problems) == 0 {
		s.Problem(source.Empty, -1, 0, 0, "the input holds no text")
	}
	s.stats.Bytes = w.Read()
	if s.stats.Events > 0 || s.stats.Records == 0 && len(s.problems) == 0 {
		s.stats.FilesRead = 1
	}
	return s.stats, s.problems
}
