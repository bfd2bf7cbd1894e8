package scan

import (
	"encoding/binary"
	"slices"
	"strings"
	"sync"

	"ashiato/internal/detect"
	"ashiato/internal/event"
	"ashiato/internal/normalize"
	"ashiato/internal/source"
	"ashiato/internal/world"
)

// Bounds on what is remembered of the kinds of records that an input has. Input
// made to exceed them is read whole.
const (
	maxKinds     = 1 << 14
	maxKindBytes = 4 << 10 // of the names of one kind and its fields
)

// interestIn says what a scan reads of its input: what rules, indicators and
// joins read, and what tells the time of a record. It is nil, for everything, if
// even a record of nothing that is known is read, as with a rule that looks for
// keywords in any log: then asking costs more than it saves.
func interestIn(rules *detect.Interest) source.Interest {
	if isRead(rules, "unknown", "unknown", 0, []string{"unknown"}) {
		return nil
	}
	var mu sync.RWMutex
	known := map[string]bool{}
	return func(provider, channel string, id uint32, fields []string) bool {
		key := make([]byte, 0, 512)
		key = binary.LittleEndian.AppendUint32(key, id)
		for _, s := range [...]string{provider, channel} {
			key = append(append(key, s...), 0)
		}
		for _, s := range fields {
			key = append(append(key, s...), 0)
		}
		mu.RLock()
		read, ok := known[string(key)]
		full := len(known) >= maxKinds
		mu.RUnlock()
		if ok || full || len(key) > maxKindBytes {
			return read || !ok
		}
		read = isRead(rules, provider, channel, id, fields)
		mu.Lock()
		known[string(key)] = read
		mu.Unlock()
		return read
	}
}

func isRead(rules *detect.Interest, provider, channel string, id uint32, fields []string) bool {
	names := make(map[string]bool, len(fields))
	for _, f := range fields {
		if world.ReadsField(f) || normalize.ReadsTime(f) {
			return true
		}
		names[strings.ReplaceAll(f, " ", "")] = true
	}
	may := func(name string) bool { return names[name] || normalize.Adds(provider, channel, id, name) }
	return slices.ContainsFunc(normalize.Kinds(provider, channel, id), func(k event.Kind) bool {
		return world.Reads(k) || rules.Any(&event.Event{Kind: k, Provider: provider, Channel: channel, ID: id}, may)
	})
}
