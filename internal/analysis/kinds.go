package analysis

import (
	"strings"

	"ashiato/internal/detect"
	"ashiato/internal/event"
)

// Bounds on what is remembered of the kinds of records that were analysed.
const (
	maxKinds     = 1 << 14
	maxKindBytes = 4 << 10 // of the names of one kind
)

// kinds are the kinds of records that were analysed.
type kinds struct {
	seen map[kind]bool
	last kind
	many bool // there were more than are remembered
}

// kind is what log sources look at.
type kind struct {
	kind              event.Kind
	id                uint32
	provider, channel string
}

func (k *kinds) add(e *event.Event) {
	now := kind{e.Kind, e.ID, e.Provider, e.Channel}
	if now == k.last {
		return
	}
	if k.seen[now] {
		k.last = now
		return
	}
	if len(k.seen) >= maxKinds || len(e.Provider)+len(e.Channel) > maxKindBytes {
		k.many = true
		return
	}
	if k.seen == nil {
		k.seen = map[kind]bool{}
	}
	now.provider, now.channel = strings.Clone(now.provider), strings.Clone(now.channel)
	k.seen[now], k.last = true, now
}

// applicable counts the rules that can hold for any of the kinds.
func (k *kinds) applicable(rules *detect.Interest) int {
	if k.many {
		return rules.Len()
	}
	samples := make([]event.Event, 0, len(k.seen))
	for s := range k.seen {
		samples = append(samples, event.Event{Kind: s.kind, ID: s.id, Provider: s.provider, Channel: s.channel})
	}
	return rules.Rules(samples)
}
