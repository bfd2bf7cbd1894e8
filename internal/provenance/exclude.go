package provenance

import (
	"strconv"
	"strings"
	"time"

	"ashiato/internal/event"
	"ashiato/internal/world"
)

// valueWindow is how far Defender's own record of a new exclusion may be from
// the start of the process that asked for it.
const valueWindow = 2 * time.Minute

func (g *Graph) exclusion(host string, x exclusion, t time.Time, refs []event.EvidenceRef) *Node {
	return g.add(id(Exclusion, host, x.kind+"|"+strings.ToLower(x.value)), Exclusion, host, t, refs, func(n *Node) {
		n.Label, n.Path = x.value, x.value
		n.Attrs = []event.Field{{Name: "ExclusionKind", Value: x.kind}}
	})
}

// exclusions draws what Windows Defender was told to skip and by whom. Its own
// records name no actor: they are joined by value and time to the process whose
// command line or script named the value.
func (j *joiner) exclusions() {
	type named struct {
		process *world.Process
		x       exclusion
		t       time.Time
		refs    []event.EvidenceRef
		join    string
	}
	var all []named
	byParent := map[*world.Process]bool{}
	for _, p := range j.processes {
		if p.Implied {
			continue
		}
		found := exclusionsIn(script(p.CommandLine))
		for _, x := range found {
			all = append(all, named{p, x, p.Start, p.Evidence, "command-line"})
		}
		if len(found) > 0 {
			byParent[p.Parent] = true
		}
	}
	for _, r := range j.records {
		if r.Kind != event.ScriptBlock && r.Kind != event.ScriptModule {
			continue
		}
		p := j.scriptHost(r)
		if p == nil {
			continue
		}
		for _, x := range exclusionsIn(r.Get("ScriptBlockText") + r.Get("Payload")) {
			all = append(all, named{p, x, r.Time, []event.EvidenceRef{r.Ref}, "script-text"})
		}
	}
	for _, n := range all {
		if n.join == "command-line" && byParent[n.process] {
			continue // cmd /c powershell …: the child did it
		}
		to := j.exclusion(n.process.Host, n.x, n.t, n.refs)
		if to == nil {
			continue
		}
		j.link(fact{
			from: j.process(n.process), to: to, verb: Excluded, class: ClassA, skeleton: true,
			join: n.join, t: n.t, refs: n.refs,
			corroborates: j.edges[edgeKey{processID(n.process), to.ID, Excluded}] != nil,
		})
	}
	for _, r := range j.records {
		var object string
		switch r.Kind {
		case event.DefenderConfig:
			object = r.Get("NewValue")
		case event.RegistrySet:
			object = r.Get("TargetObject")
		}
		x, ok := exclusionKey(object)
		if !ok || x.value == "" {
			continue
		}
		n := j.exclusion(r.Host, x, r.Time, []event.EvidenceRef{r.Ref})
		if n == nil {
			continue
		}
		if p, _ := j.w.Actor(r); r.Kind == event.RegistrySet && p != nil && !j.hub(p) {
			j.link(fact{
				from: j.process(p), to: n, verb: Excluded, class: ClassA, skeleton: true,
				join: "own-record", t: r.Time, refs: []event.EvidenceRef{r.Ref},
				corroborates: j.edges[edgeKey{processID(p), n.ID, Excluded}] != nil,
			})
			continue
		}
		// Of very many, the first ones are looked at: this adds evidence, no arrows.
		for _, e := range j.in[n.ID][:min(len(j.in[n.ID]), maxScan)] {
			if d := r.Time.Sub(e.First); e.Verb == Excluded && d >= -slack && d <= valueWindow {
				j.link(fact{
					from: j.nodes[e.From], to: n, verb: Excluded, class: ClassB, skeleton: true,
					join: "exclusion-value", t: e.First, refs: []event.EvidenceRef{r.Ref}, corroborates: true,
				})
			}
		}
	}
}

func itoa(n int) string { return strconv.Itoa(n) }
