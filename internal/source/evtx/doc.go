// Package evtx reads and writes Windows event log files (EVTX, versions 3.1 and
// 3.2) without the Windows API.
//
// Reader goes straight from the binary XML of a record and its substitution
// values to an event.Event: no document is built in between. A file is read as
// a stream, 64 KiB chunk by chunk, and chunks are decoded by several goroutines
// at once:
//
//	stats, problems := (&evtx.Reader{}).Read(ctx, "Security.evtx", f, handle)
//
// # What is guaranteed
//
// Memory is bounded by the number of chunks in flight and 4 MiB of templates per
// file, and time by the length of the input, whatever the input holds: nesting,
// substitution and text are budgeted per chunk. Every record found is either an event or counted as
// undecodable (Stats.Records = Stats.Events + Stats.Undecodable), every event
// names the bytes it was read from, and the set of events does not depend on
// how many goroutines decoded them. Damage is reported and the rest goes on:
// wrong checksums, logs that were not closed, cut files, chunks without their
// signature and records beyond the chunk's own end mark.
//
// The format is described by [MS-EVEN6] 2.2.12 to 2.2.17 (binary XML) and, for
// the file around it, by the libevtx project's format notes; docs/formats/evtx.md
// says which choices this package makes.
package evtx
