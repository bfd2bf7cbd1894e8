package report

import (
	"time"

	"ashiato/internal/clock"
	"ashiato/internal/event"
	"ashiato/internal/i18n"
	"ashiato/internal/incident"
	"ashiato/internal/source"
)

// Stats balances the run from input to incidents.
type Stats struct {
	// Source counts what the readers found.
	Source source.Stats
	// Filtered counts events left out by the time or host filter, Repeated those
	// read twice (the same record in two inputs), Analysed those that went on:
	// Source.Events = Filtered + Repeated + Analysed.
	Filtered, Repeated, Analysed int64
	// Hosts are the hosts of the analysed events, sorted.
	Hosts []string
	// First and Last bound the analysed events; zero if there are none.
	First, Last time.Time
	// Detections counts every detection; Placed those in an incident of the
	// document, and the rest are BelowMinimum.
	Detections, Placed, BelowMinimum int
	// Rules counts the loaded rules, Correlations those that look at what several
	// of them find and are not among them, Indicators the indicators. Applicable
	// counts the rules that can hold for a record of the kinds that were analysed:
	// those of their log source, unless an event id or the like rules it out.
	Rules, Correlations, Applicable, Indicators int
}

// Document is everything a report says.
type Document struct {
	// Tool is the program's name and Version its version.
	Tool, Version string
	// RuleSet is a hash over the rules and indicators used.
	RuleSet string
	// Args are the arguments the run was started with.
	Args []string
	// Stats balances the run.
	Stats Stats
	// Incidents in the order they are shown.
	Incidents []*incident.Incident
	// Titles has the title of each incident by id, in Lang. An incident without
	// one gets its Title.
	Titles map[string]string
	// Changes say what became of the incidents of an earlier report, if there is
	// one to compare with.
	Changes []incident.Change
	// Problems in the input.
	Problems []source.Problem
	// Gaps are what was not seen, over the whole input.
	Gaps []incident.Gap
	// Clocks say whose records' times are corrected, or not what they say.
	Clocks []clock.Note
	// Evidence returns the record that a reference names, nil if it is not at
	// hand. It may be nil.
	Evidence func(event.EvidenceRef) *event.Event
	// Lang is the reader's language.
	Lang i18n.Lang
	// Zone is the time zone times are shown in; nil means UTC. Machine output is
	// always UTC.
	Zone *time.Location
}
