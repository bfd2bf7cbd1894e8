package incident

import (
	"math/bits"

	"ashiato/internal/provenance"
	"ashiato/internal/world"
)

// commonness counts on how many of the hosts each rule held.
type commonness struct {
	hosts map[string]map[string]bool // rule → hosts
	total int
}

func measure(g *provenance.Graph, alerts []alert) *commonness {
	c := &commonness{hosts: map[string]map[string]bool{}, total: len(g.Hosts())}
	for _, a := range alerts {
		if c.hosts[a.Rule.ID] == nil {
			c.hosts[a.Rule.ID] = map[string]bool{}
		}
		c.hosts[a.Rule.ID][world.HostKey(a.Event.Host)] = true
	}
	return c
}

// rarity says how rare a rule's detections are among the hosts: the integer logarithm of (H+2)/(h+1), at most 12. What one of a hundred hosts
// shows counts nearly twice; what all show, or what a single host's log cannot
// tell, counts as it is.
func (c *commonness) rarity(rule string) (rarity, on int) {
	on = len(c.hosts[rule])
	return min(bits.Len(uint((c.total+2)/(on+1)))-1, 12), on
}
