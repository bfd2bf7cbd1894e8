// Package world knows what was on the endpoints when: which process had a
// process id at a time, which volume had a drive letter, which services and
// tasks were registered, and what was not recorded.
//
// Add every event, in any order and as often as it comes; then ask. Answers are
// a function of the set of added events: records are told apart by what they
// say (host, channel, provider, record id, time, event id), duplicates are one
// record with its smallest EvidenceRef, and everything is sorted by event time
// before it is resolved.
//
// Several goroutines may add at once: each host's records have a lock of their
// own, and hosts share nothing. Nothing else may be done at the same time.
//
// # Memory
//
// What is kept of a host is held to Limits.HostBytes; Shed says what is given up
// beyond that, in which order. What is given up is a function of the set of events
// too, as are the answers that are left: docs/decisions/0012 says why that can be,
// and of what little it does not hold.
//
// # Text
//
// Values are kept as recorded. Look-ups compare match forms, see PathKey.
package world
