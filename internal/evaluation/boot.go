package evaluation

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"sort"
	"strconv"
	"strings"
	"time"

	"ashiato/internal/scenario"
	"ashiato/internal/world"
)

// started is that a host ran under a boot id from a time on.
type started struct {
	at time.Time
	id uint64
}

// bootsOf finds the boots of each host from the ProcessGuids of what started
// there, in the order of time.
func bootsOf(b *scenario.Built) map[string][]started {
	boots := map[string][]started{}
	for _, e := range b.Events {
		if e.ID != 1 {
			continue
		}
		at, key, ok := world.ParseGUID(e.Value("ProcessGuid"))
		if !ok || key == 0 {
			continue
		}
		list := boots[e.Host]
		if len(list) == 0 || list[len(list)-1].id != key>>48 {
			boots[e.Host] = append(list, started{at, key >> 48})
		}
	}
	return boots
}

// rebooter gives the processes of a scenario that is put on another one's hosts
// the boot ids of those: a machine runs under one at a time. Their sequence
// numbers are others, as their process ids are.
type rebooter struct {
	ours, theirs map[string][]started // by host, of the hosts' own names
	rename       map[string]string    // theirs → ours
	shift        time.Duration
	guids        map[string]string // theirs, in lower case → ours
	keys         map[uint64]uint64 // likewise of start keys
	addresses    map[string]string // likewise of the hosts' IP addresses
}

// key returns the start key of a process that began at a time, by its own clock.
func (r *rebooter) key(host string, key uint64, at time.Time) uint64 {
	ours, theirs := r.ours[r.rename[host]], r.theirs[host]
	if len(ours) == 0 || len(theirs) == 0 {
		return key
	}
	at = at.Add(r.shift)
	i := sort.Search(len(ours), func(i int) bool { return ours[i].at.After(at) })
	boots := (key>>48 - theirs[0].id) & 0xff
	return ours[max(i-1, 0)].id<<48 | (key&(1<<48-1) + (1+boots)*elsewhere)
}

// guid returns a ProcessGuid of the host's with its other start key and time.
func (r *rebooter) guid(host, guid string) string {
	low := strings.ToLower(guid)
	if have, ok := r.guids[low]; ok {
		return have
	}
	at, key, ok := world.ParseGUID(guid)
	if !ok || key == 0 {
		return guid
	}
	digits, err := hex.DecodeString(strings.ReplaceAll(strings.Trim(low, "{}"), "-", ""))
	if err != nil || len(digits) != 16 {
		return guid
	}
	moved := r.key(host, key, at)
	second := uint32(at.Add(r.shift).Unix())
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], moved)
	r.keys[key] = moved
	r.guids[low] = fmt.Sprintf("{%x-%04x-%04x-%x-%x}", digits[:4], uint16(second), uint16(second>>16), b[:2], b[2:])
	return r.guids[low]
}

// field returns what a field of a record of the host says then.
func (r *rebooter) field(host, name, value string, at time.Time) string {
	switch low := strings.ToLower(name); {
	case strings.HasSuffix(low, "processguid"):
		return r.guid(host, value)
	case strings.HasSuffix(low, "processstartkey"):
		n, err := strconv.ParseUint(value, 10, 64)
		if err != nil || n == 0 {
			return value
		}
		moved, ok := r.keys[n]
		if !ok {
			moved = r.key(host, n, at)
		}
		return strconv.FormatUint(moved, 10)
	}
	return value
}
