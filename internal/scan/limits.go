package scan

import (
	"fmt"
	"strings"

	"ashiato/internal/analysis"
	"ashiato/internal/provenance"
	"ashiato/internal/sigma"
	"ashiato/internal/source"
	"ashiato/internal/world"
)

// leftOut says as problems what limits, and records that do not tell enough, left
// out of the analysis.
func leftOut(u *analysis.Update) (problems []source.Problem) {
	add := func(kind source.ProblemKind, lost int, format string, args ...any) {
		problems = append(problems, source.Problem{Kind: kind, Offset: -1, Count: 1, Lost: lost, Detail: fmt.Sprintf(format, args...)})
	}
	s := u.Correlations
	if n := s.Lost(); n > 0 {
		add(source.TooLarge, int(n), "correlations left out %d events for want of memory: %d beyond a group, %d with whole groups, %d that waited for the joins; "+
			"--correlation-memory and --correlation-groups give more", n, s.Evicted, s.GroupEvents, s.Unheld)
	}
	var parts []string
	var sum int64
	for i, n := range s.Unresolved {
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%s (%d)", sigma.PseudoFields[i], n))
			sum += n
		}
	}
	if sum > 0 {
		add(source.Ungrouped, int(sum), "correlations left out %d events: what they belong to is not recorded, or is shared by everything on the host: %s",
			sum, strings.Join(parts, ", "))
	}
	if cut := u.Cut; cut != (provenance.Cut{}) {
		add(source.TooLarge, cut.Records, "the joins are full: %d records of further hosts, %d objects and %d relations were left out of the picture; scan a shorter span or fewer hosts",
			cut.Records, cut.Nodes, cut.Edges)
	}
	if shed := u.Shed; shed.Records()+shed.Holes+shed.Unsure > 0 {
		add(source.TooLarge, shed.Records(), "a host's part of the joins is full: %sscan a shorter span, or raise --joins-memory", givenUp(shed))
	}
	if u.Lost > 0 {
		add(source.TooLarge, int(u.Lost), "%d detections do not fit: the less severe, and of equals the later ones, are left out; scan a shorter span or with fewer rules", u.Lost)
	}
	return problems
}

// givenUp says what of a host's records was given up, and of what little that is no
// function of the set of records.
func givenUp(shed world.Shed) string {
	var b strings.Builder
	if shed.Records() > 0 {
		fmt.Fprintf(&b, "of %d records of context, %d repeats, %d processes that did nothing, %d records of processes long ended, %d of the oldest records and %d mentions of processes only their number is kept; ",
			shed.Context, shed.Repeats, shed.Leaves, shed.Ended, shed.Oldest, shed.Processes)
	}
	if shed.Identities > 0 {
		fmt.Fprintf(&b, "%d records would not be known again, so what was given twice may be counted twice; ", shed.Identities)
	}
	if shed.Holes > 0 {
		fmt.Fprintf(&b, "%d holes in record numbers were let go of before it was known whether they stay, so fewer may be told of; ", shed.Holes)
	}
	if shed.Unsure > 0 {
		fmt.Fprintf(&b, "copies of records differ in what they say, so which records are kept may depend on the order they were read in (%d signs of it); ", shed.Unsure)
	}
	return b.String()
}
