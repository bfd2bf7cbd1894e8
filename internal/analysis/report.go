package analysis

import (
	"cmp"
	"maps"
	"reflect"
	"slices"
	"strings"

	"ashiato/internal/detect"
	"ashiato/internal/incident"
)

// report puts together what an update tells; before are the groups of the update
// before.
func (a *Analysis) report(u *Update, before map[string]*group) {
	earlier := a.earlier
	old := map[string]*incident.Incident{}
	for key, g := range before {
		if a.groups[key] == g {
			continue
		}
		for _, i := range g.incidents {
			old[i.ID] = i
			earlier = append(earlier, earlierOf(i))
		}
	}
	var anew []*incident.Incident // of groups that were not there
	changed := map[*incident.Incident]bool{}
	for key, g := range a.groups {
		u.Detections += len(g.detections)
		u.Cut.Nodes += g.cut.Nodes
		u.Cut.Edges += g.cut.Edges
		if before[key] == g {
			for i, inc := range g.incidents {
				if g.told[i] != inc { // scored anew
					changed[inc] = true
				}
			}
		} else {
			for i, inc := range g.incidents {
				if have := old[inc.ID]; have != nil && reflect.DeepEqual(have, inc) {
					g.incidents[i] = have
				} else {
					changed[inc] = true
				}
			}
			anew = append(anew, g.incidents...)
		}
		g.told = slices.Clone(g.incidents)
		u.Incidents = append(u.Incidents, g.incidents...)
	}
	byFirst := func(x, y *incident.Incident) int {
		return detect.Compare(x.Detections[0].Detection, y.Detections[0].Detection)
	}
	slices.SortStableFunc(u.Incidents, byFirst)
	for _, i := range u.Incidents {
		if changed[i] {
			u.Changed = append(u.Changed, i)
		}
	}
	u.Changes = incident.Changes(earlier, anew)

	u.Cut.Records = a.world.Lost().Records
	u.Records = a.world.Kept()
	u.Shed = a.world.Shedding()
	u.Correlations = a.stats
	u.Seen = a.seen
	u.Seen.Repeated = int64(a.world.Repeated())
	u.Seen.Hosts = slices.Sorted(maps.Keys(a.hosts))
	u.Lost = a.found.lost
	u.Hosts, u.Groups = a.neighbours.Len(), len(a.groups)
}

func earlierOf(i *incident.Incident) incident.Earlier {
	e := incident.Earlier{ID: i.ID}
	for _, d := range i.Detections {
		e.Detections = append(e.Detections, d.ID)
	}
	return e
}

// earlierIncidents are the incidents of the last update, by id.
func (a *Analysis) earlierIncidents() []incident.Earlier {
	all := slices.Clone(a.earlier)
	for _, g := range a.groups {
		for _, i := range g.incidents {
			all = append(all, earlierOf(i))
		}
	}
	slices.SortFunc(all, func(x, y incident.Earlier) int {
		return cmp.Or(strings.Compare(x.ID, y.ID), slices.Compare(x.Detections, y.Detections))
	})
	return all
}
