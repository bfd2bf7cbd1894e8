// Package source is the contract between the places where records come from and
// the rest of the program: readers hand on events, read damaged input as far as
// it goes, and report what they could not read as Problems with numbers, so
// that the picture can say what was not seen.
//
// The readers are subpackages, one per format (evtx, ndjson, xmlevent); package
// files finds their input in folders and archives and chooses the reader by
// content. Every reader passes the conformance suite in sourcetest.
package source

import (
	"context"
	"fmt"
	"io"

	"ashiato/internal/event"
)

// Handler receives the events of an input, in batches of the reader's choice.
// It is called from several goroutines at once and must not rely on any order
// among batches. It owns the events: the reader never touches them again.
type Handler func(batch []*event.Event)

// ReadFunc is what every format's reader provides: it reads r, the input the
// user knows as name, to its end or until ctx is done, gives every record it can
// decode to h, and reports the rest. It holds a bounded amount of memory whatever
// r contains, does not close r, and never panics on its content. The events
// carry System fields, Data and Ref; Kind and Canon are left to normalisation.
type ReadFunc func(ctx context.Context, name string, r io.Reader, h Handler) (Stats, []Problem)

// ProblemKind classifies what could not be read. The words are stable machine
// output; what a person reads is made from them in that person's language.
type ProblemKind string

// The problem kinds.
const (
	Unreadable    ProblemKind = "unreadable"     // cannot be opened or read: permission, I/O error, missing
	Empty         ProblemKind = "empty"          // zero bytes, or nothing but zeros
	UnknownFormat ProblemKind = "unknown-format" // content is none of the formats read here
	Truncated     ProblemKind = "truncated"      // ends inside a structure
	BadChecksum   ProblemKind = "bad-checksum"   // a checksum differs; the records were read nevertheless
	Dirty         ProblemKind = "dirty"          // the log was not closed; read nevertheless
	Corrupt       ProblemKind = "corrupt"        // a structure cannot be decoded; the rest goes on
	TooLarge      ProblemKind = "too-large"      // a bound was reached: archive ratio, depth, record size
	LinkLoop      ProblemKind = "link-loop"      // a symbolic link leads back
	Skipped       ProblemKind = "skipped"        // a file of another kind inside a folder or archive
	Refused       ProblemKind = "refused"        // a rule or indicator that cannot be honoured and was left out
	Ungrouped     ProblemKind = "ungrouped"      // events of which it is not known what they belong to, so that correlations left them out
)

// Problem is something in the input that could not be read, or only in part.
type Problem struct {
	// File is the input as the user named it; archive members follow a "!".
	File string
	// Kind classifies it.
	Kind ProblemKind
	// Offset is the byte offset in the (decompressed) file, -1 if the problem
	// is not at one place. Line is the 1-based line for text input, else 0.
	Offset int64
	Line   int
	// Count is how many occurrences this Problem stands for, at least 1;
	// readers merge the repeats of one file and kind and keep the first place.
	Count int
	// Lost is how many records are known to be lost by it, 0 if unknown.
	Lost int
	// Detail is one English line for the log and the report.
	Detail string
}

// Error makes a Problem usable as an error.
func (p Problem) Error() string {
	at := ""
	switch {
	case p.Line > 0:
		at = fmt.Sprintf(" line %d", p.Line)
	case p.Offset >= 0:
		at = fmt.Sprintf(" offset %d", p.Offset)
	}
	return fmt.Sprintf("%s:%s %s: %s", p.File, at, p.Kind, p.Detail)
}

// Stats balances what was read: every record found is either an event handed
// on or counted as undecodable.
type Stats struct {
	Files       int   // files opened, archive members counted singly
	FilesRead   int   // of those, files that gave at least one record or are validly empty
	Bytes       int64 // bytes read, after decompression
	Records     int64 // records found
	Events      int64 // records handed on as events
	Undecodable int64 // records found but not decodable; Records = Events + Undecodable
	Carved      int64 // of Events, those found outside their container's index
	Unread      int64 // of Events, those whose fields nobody reads and were left undecoded; see Interest
}

// Add adds t to s.
func (s *Stats) Add(t Stats) {
	s.Files += t.Files
	s.FilesRead += t.FilesRead
	s.Bytes += t.Bytes
	s.Records += t.Records
	s.Events += t.Events
	s.Undecodable += t.Undecodable
	s.Carved += t.Carved
	s.Unread += t.Unread
}
