package provenance

import (
	"slices"
	"strings"

	"ashiato/internal/event"
	"ashiato/internal/world"
)

// rare is on how many hosts something may be seen to be worth relating them: what
// the records of more of them hold is common, whoever did it there.
const rare = 8

// likeness collects what has something in common, in the order of Nodes.
type likeness struct {
	nodes map[string][]*Node
	refs  map[*Node][]event.EvidenceRef
}

func (l *likeness) add(key string, n *Node, cited []event.EvidenceRef) {
	if key == "" || n == nil || len(cited) == 0 || slices.Contains(l.nodes[key], n) {
		return
	}
	l.nodes[key] = append(l.nodes[key], n)
	if l.refs[n] == nil {
		l.refs[n] = cited[:1]
	}
}

// related draws what two hosts have in common and nothing joins (row 25): a file
// of the same content that was brought to both, a place that programs of both
// connected to, an account that logged on to both from elsewhere. It is a hint,
// never a ground to join on.
func (j *joiner) related() {
	if j.neighbours.recorded < 2 {
		return
	}
	contents := likeness{map[string][]*Node{}, map[*Node][]event.EvidenceRef{}}
	accounts := likeness{map[string][]*Node{}, map[*Node][]event.EvidenceRef{}}
	for _, n := range j.Nodes() {
		switch n.Kind {
		case File:
			// What nobody was seen to write came with the system.
			for _, e := range j.in[n.ID] {
				if from := j.nodes[e.From]; (e.Verb == Wrote || e.Verb == Renamed) && !from.Hub {
					contents.add(contentHash(n.Attr("Hashes")), n, e.Evidence)
					break
				}
			}
		case Logon:
			if user := n.Attr("TargetUserName"); !machineAccount(user) && n.Path != "" && len(j.out[n.ID]) > 0 {
				accounts.add(strings.ToLower(user), n, n.Evidence)
			}
		}
	}
	j.relate(contents, "same-hash")
	j.relate(accounts, "same-account")
	places := likeness{map[string][]*Node{}, map[*Node][]event.EvidenceRef{}}
	for _, r := range j.records {
		if r.Kind != event.NetworkConnect || strings.EqualFold(r.Get("Initiated"), "false") {
			continue
		}
		key := placeKey(r)
		if key == "" || j.hostAt(address(r.Get("DestinationIp"))) != "" {
			continue
		}
		p, _ := j.w.Actor(r)
		if p == nil || j.hub(p) || p.Image == "" || strings.HasPrefix(p.ImageKey(), `c:\program files`) {
			continue
		}
		if n := j.nodes[processID(p)]; n != nil {
			places.add(strings.TrimPrefix(key, "same-destination|"), n, []event.EvidenceRef{r.Ref})
		}
	}
	j.relate(places, "same-destination")
}

// relate chains the first of each host, in the order of time.
func (j *joiner) relate(l likeness, join string) {
	for _, key := range sortedKeys(l.nodes) {
		if j.neighbours.common(join + "|" + key) {
			continue
		}
		first := map[string]*Node{}
		for _, n := range l.nodes[key] {
			k := world.HostKey(n.Host)
			if have := first[k]; have == nil || compareNodes(n, have) < 0 {
				first[k] = n
			}
		}
		if len(first) < 2 || len(first) > rare {
			continue
		}
		var chain []*Node
		for _, n := range first {
			chain = append(chain, n)
		}
		slices.SortFunc(chain, compareNodes)
		for i := 1; i < len(chain); i++ {
			a, b := chain[i-1], chain[i]
			j.link(fact{
				from: a, to: b, verb: Related, class: ClassC, join: join, t: b.First, refs: refs(l.refs[a], l.refs[b]),
			})
		}
	}
}

func compareNodes(a, b *Node) int {
	if c := a.First.Compare(b.First); c != 0 {
		return c
	}
	return strings.Compare(string(a.ID), string(b.ID))
}
