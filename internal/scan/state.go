package scan

import (
	"ashiato/internal/analysis"
	"ashiato/internal/clock"
	"ashiato/internal/source"
)

// State is what a scan knows at its end, for another one to go on from.
type State struct {
	analysis *analysis.Analysis
	source   source.Stats
	filtered int64
	clocks   *clock.Tally
	offsets  clock.Offsets
}
