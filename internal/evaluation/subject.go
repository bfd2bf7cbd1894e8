package evaluation

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	"ashiato/internal/event"
	"ashiato/internal/provenance"
	"ashiato/internal/scenario"
	"ashiato/internal/world"
)

type subject = scenario.Subject

// index finds the nodes of a graph that a scenario speaks of.
type index struct {
	graph  *provenance.Graph
	byKind map[provenance.NodeKind][]*provenance.Node
	byGUID map[string]provenance.NodeID
	byRef  map[event.EvidenceRef][]*provenance.Node
}

func newIndex(g *provenance.Graph) *index {
	x := &index{
		graph: g, byKind: map[provenance.NodeKind][]*provenance.Node{}, byGUID: map[string]provenance.NodeID{},
		byRef: map[event.EvidenceRef][]*provenance.Node{},
	}
	for _, n := range g.Nodes() {
		x.byKind[n.Kind] = append(x.byKind[n.Kind], n)
		if id := n.Attr("ProcessGuid"); n.Kind == provenance.Process && id != "" {
			x.byGUID[strings.ToLower(id)] = n.ID
		}
		for _, r := range n.Evidence {
			x.byRef[r] = append(x.byRef[r], n)
		}
	}
	return x
}

// kinds are the kinds of node that a subject's kind may be drawn as.
var kinds = map[string][]provenance.NodeKind{
	"process": {provenance.Process}, "file": {provenance.File, provenance.Folder}, "registry": {provenance.RegistryValue},
	"service": {provenance.Service}, "task": {provenance.Task}, "volume": {provenance.Volume}, "logon": {provenance.Logon},
	"wmi-subscription": {provenance.WMI}, "script": {provenance.File},
}

// nodes returns the nodes that stand for a subject, sorted: usually one or none.
func (x *index) nodes(sc *Scenario, s subject) []provenance.NodeID {
	if s.Kind == "process" && s.GUID != "" {
		guid := strings.ToLower(s.GUID)
		if id, ok := x.byGUID[cmp.Or(sc.guids[guid], guid)]; ok {
			return []provenance.NodeID{id}
		}
	}
	// Where the host is known by another name, its records tell.
	host := s.Host
	for _, k := range s.Records {
		if e := sc.records[k]; e != nil {
			host = e.Host
			break
		}
	}
	if to, ok := sc.hosts[s.Host]; ok {
		host = to
	}
	var out []provenance.NodeID
	for _, kind := range kinds[s.Kind] {
		for _, n := range x.byKind[kind] {
			if (kind == provenance.Volume || world.HostKey(n.Host) == world.HostKey(host)) && x.is(sc, n, s) {
				out = append(out, n.ID)
			}
		}
	}
	if s.Kind == "file" || s.Kind == "service" {
		out = x.version(sc, out, s)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func (x *index) is(sc *Scenario, n *provenance.Node, s subject) bool {
	switch n.Kind {
	case provenance.Process:
		pid, _ := strconv.ParseUint(n.Attr("ProcessId"), 10, 32)
		if uint32(pid) != s.PID+sc.pids || s.PID == 0 {
			return false
		}
		since := n.First.Sub(s.Start.Add(sc.shift))
		// One whose start is not recorded is first heard of at any time later.
		return since.Abs() <= 3*time.Second || n.Implied && since > 0 && world.PathKey(n.Path) == world.PathKey(s.Path)
	case provenance.File, provenance.Folder, provenance.RegistryValue:
		return world.PathKey(n.Path) == world.PathKey(s.Path) && s.Path != ""
	case provenance.Service:
		return strings.EqualFold(n.Label, s.Name) && s.Name != ""
	case provenance.Task:
		return strings.EqualFold(world.TaskName(n.Path), world.TaskName(s.Name)) && s.Name != ""
	case provenance.Volume:
		return s.Serial != "" && strings.EqualFold(n.Attr("Serial"), s.Serial)
	case provenance.Logon:
		return s.LUID != 0 && world.ParseNumber(n.Attr("TargetLogonId")) == s.LUID
	case provenance.WMI:
		return s.Name != "" && (strings.EqualFold(n.Label, s.Name) || strings.Contains(strings.ToLower(n.Path), strings.ToLower(s.Name)))
	}
	return false
}

// version picks of several versions of a file, or registrations of a service,
// the one that the records of its coming into being show, else the last one that
// is not later.
func (x *index) version(sc *Scenario, ids []provenance.NodeID, s subject) []provenance.NodeID {
	if len(ids) < 2 {
		return ids
	}
	for _, k := range s.Records {
		e := sc.records[k]
		if e == nil {
			continue
		}
		for _, n := range x.byRef[e.Ref] {
			if slices.Contains(ids, n.ID) {
				return []provenance.NodeID{n.ID}
			}
		}
	}
	if s.Written.IsZero() {
		return ids
	}
	at := s.Written.Add(sc.shift + 2*time.Second)
	var best *provenance.Node
	for _, id := range ids {
		n := x.graph.Node(id)
		if !n.First.After(at) && (best == nil || n.First.After(best.First)) {
			best = n
		}
	}
	if best == nil {
		return ids
	}
	return []provenance.NodeID{best.ID}
}
