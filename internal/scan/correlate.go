package scan

import (
	"fmt"
	"strings"

	"ashiato/internal/detect"
	"ashiato/internal/provenance"
	"ashiato/internal/sigma"
	"ashiato/internal/sigma/correlation"
	"ashiato/internal/source"
)

// correlate decides the correlations, once every event has been read and the
// graph tells what events belong to. It returns what they left out as problems.
func correlate(engine *detect.Engine, st *correlation.State, graph *provenance.Graph, found []detect.Detection) ([]detect.Detection, []source.Problem) {
	if engine.Correlations().Pseudo() {
		st.Resolve(provenance.NewBelonging(graph).Of)
	}
	found = engine.Correlated(st.Close(), found)
	var problems []source.Problem
	s := st.Stats()
	if n := s.Lost(); n > 0 {
		problems = append(problems, source.Problem{
			Kind: source.TooLarge, Offset: -1, Count: 1, Lost: int(n),
			Detail: fmt.Sprintf("correlations left out %d events for want of memory: %d beyond a group, %d with whole groups, %d that waited for the joins; "+
				"--correlation-memory and --correlation-groups give more", n, s.Evicted, s.GroupEvents, s.Unheld),
		})
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
		problems = append(problems, source.Problem{
			Kind: source.Ungrouped, Offset: -1, Count: 1, Lost: int(sum),
			Detail: fmt.Sprintf("correlations left out %d events: what they belong to is not recorded, or is shared by everything on the host: %s", sum, strings.Join(parts, ", ")),
		})
	}
	return found, problems
}
