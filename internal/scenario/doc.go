// Package scenario turns a written description of an intrusion into the event
// records that Windows would have written about it. The description is a txtar
// file that a person reads and writes: hosts, volumes and abstract steps ("this
// process started", "that file was written"). What each step looks like in
// Sysmon, Security and the other logs is data of this package
// (templates/*.txt), so one description gives Sysmon-only, Security-only and
// mixed recordings, old and new record versions, with names, letters and order
// changed at will.
//
// # Use
//
//	s, err := scenario.Parse("usb-coinminer.txtar", data)
//	err = s.Set("digits", "104882") // optional: vary it
//	built, err := s.Build()
//	err = scenario.WriteNDJSON("out", built)
//
//	s, err = scenario.Vary("usb-coinminer.txtar", data, 7, nil) // or let a seed decide
//
// A file holds alternatives (choose, when, unless) and what a seed may change of
// its names and settings (the vary section). WorkingDay is a scenario without an
// intrusion, for telling false alarms.
//
// # Truth
//
// Beside the records a build hands on what is true of them, so that an analysis
// can be measured: Built.Truth labels every record, Built.Root is the root cause,
// and Built.Handoffs are the places where one thing made another happen, each
// with whether the records that were kept allow an exact join. The builder notes
// it while it makes the records; nothing of it is in them.
//
// # Guarantees
//
// The result is a function of the file and of what was Set: no clock, no map
// order, no machine. Records are raw, as a reader would hand them on: recorded
// field names, no Kind, no Canon. Record ids run without a hole per host and
// channel, except where the scenario says that records were lost.
// Identifiers are built the way Windows and Sysmon build them, so that a
// ProcessGuid, a ClientProcessStartKey and a process id of the same process
// agree. Nothing a scenario holds runs: it is text about records, and every
// file must say that it is synthetic.
//
// The language is described in docs/formats/scenario.md.
package scenario
