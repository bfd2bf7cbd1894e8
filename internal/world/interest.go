package world

import (
	"strings"

	"ashiato/internal/event"
)

// Reads reports whether Add reads the fields of a record of that kind, but for
// those that ReadsField names.
func Reads(k event.Kind) bool {
	_, kept := keptFields[k]
	return kept
}

// ReadsField reports whether Add reads a field of that name in a record of any
// kind: those that name a process.
func ReadsField(name string) bool {
	const suffix = "processguid"
	return len(name) >= len(suffix) && strings.EqualFold(name[len(name)-len(suffix):], suffix)
}
