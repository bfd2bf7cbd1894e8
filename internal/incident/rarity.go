package incident

import (
	"math/bits"
	"slices"

	"ashiato/internal/detect"
	"ashiato/internal/world"
)

// Commonness counts on how many of the hosts each rule held.
type Commonness struct {
	hosts map[string]map[string]bool // rule → hosts
	total int
}

// NewCommonness counts for detections among so many hosts. A detection may be
// there more than once.
func NewCommonness(hosts int, ds []detect.Detection) *Commonness {
	c := &Commonness{hosts: map[string]map[string]bool{}, total: hosts}
	for i := range ds {
		on := c.hosts[ds[i].Rule.ID]
		if on == nil {
			on = map[string]bool{}
			c.hosts[ds[i].Rule.ID] = on
		}
		on[world.HostKey(ds[i].Event.Host)] = true
	}
	return c
}

// Equal reports whether all rules are as common as with another count.
func (c *Commonness) Equal(o *Commonness) bool {
	if o == nil || c.total != o.total || len(c.hosts) != len(o.hosts) {
		return false
	}
	for rule, on := range c.hosts {
		if len(on) != len(o.hosts[rule]) {
			return false
		}
	}
	return true
}

// Rescored returns the incident with the score that it has where rules are that
// common: itself if the score is the same.
func (i *Incident) Rescored(c *Commonness) *Incident {
	again := *i
	again.scoreAmong(c)
	if slices.Equal(again.Terms, i.Terms) {
		return i
	}
	return &again
}

// rarity says how rare a rule's detections are among the hosts: the integer logarithm of (H+2)/(h+1), at most 12. What one of a hundred hosts
// shows counts nearly twice; what all show, or what a single host's log cannot
// tell, counts as it is.
func (c *Commonness) rarity(rule string) (rarity, on int) {
	on = len(c.hosts[rule])
	return min(bits.Len(uint((c.total+2)/(on+1)))-1, 12), on
}
