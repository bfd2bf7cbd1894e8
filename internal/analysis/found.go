package analysis

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"ashiato/internal/detect"
	"ashiato/internal/event"
	"ashiato/internal/world"
)

// DefaultDetections is the bound on the detections that are held, in bytes.
const DefaultDetections = 256 << 20

// identity is what makes two detections the same one, whichever copy of its
// record it was made of. Correlations, of which one event may decide several,
// are not told apart by it; they are found anew at each update.
type identity struct {
	content [16]byte
	rule    string
}

// position orders detections by how much they are worth keeping. It is the same
// for all copies of a record.
type position struct {
	severity detect.Severity
	time     time.Time
	identity identity
}

func (p position) compare(q position) int {
	return cmp.Or(cmp.Compare(q.severity, p.severity), p.time.Compare(q.time),
		slices.Compare(p.identity.content[:], q.identity.content[:]), strings.Compare(p.identity.rule, q.identity.rule))
}

// held is one detection, and how often its record came again.
type held struct {
	detect.Detection
	place  position
	host   string // match form
	size   int64
	copies int64
}

// ruleOn is a rule and a host that it held on.
type ruleOn struct{ rule, host string }

// found is the detections of single events. It is not safe for concurrent use.
type found struct {
	limit  int64
	all    map[identity]*held
	byHost map[string]map[identity]*held
	on     map[ruleOn]int
	size   int64
	fence  position // what is at or after it is left out, if fenced
	fenced bool
	lost   int64
}

func newFound(limit int64) *found {
	return &found{limit: limit, all: map[identity]*held{}, byHost: map[string]map[identity]*held{}, on: map[ruleOn]int{}}
}

// add takes a detection in. Of copies the one with the smallest reference counts.
// It returns the hosts of what was left out to make room.
func (f *found) add(d detect.Detection) []string {
	id := identity{world.Content(d.Event), d.Rule.ID}
	if h := f.all[id]; h != nil {
		h.copies++
		if detect.Compare(d, h.Detection) < 0 {
			f.size -= h.size
			h.Detection, h.size = d, sizeOf(&d)
			f.size += h.size
		}
		return nil
	}
	h := &held{Detection: d, place: position{d.Rule.Severity, d.Event.Time, id}, host: world.HostKey(d.Event.Host), size: sizeOf(&d)}
	if f.fenced && h.place.compare(f.fence) >= 0 {
		f.lost++
		return nil
	}
	f.put(id, h)
	if f.size > f.limit+f.limit/8 {
		return f.fit()
	}
	return nil
}

func (f *found) put(id identity, h *held) {
	f.all[id] = h
	on := f.byHost[h.host]
	if on == nil {
		on = map[identity]*held{}
		f.byHost[h.host] = on
	}
	on[id] = h
	f.on[ruleOn{h.Rule.ID, h.host}]++
	f.size += h.size
}

// fit leaves out what is beyond the limit and returns the hosts that it was of.
func (f *found) fit() (hosts []string) {
	if f.size <= f.limit {
		return nil
	}
	all := make([]*held, 0, len(f.all))
	for _, h := range f.all {
		all = append(all, h)
	}
	slices.SortFunc(all, func(a, b *held) int { return a.place.compare(b.place) })
	var sum int64
	for i, h := range all {
		if sum += h.size; sum <= f.limit {
			continue
		}
		f.fence, f.fenced = h.place, true
		for _, h := range all[i:] {
			id := h.place.identity
			delete(f.all, id)
			delete(f.byHost[h.host], id)
			if len(f.byHost[h.host]) == 0 {
				delete(f.byHost, h.host)
			}
			k := ruleOn{h.Rule.ID, h.host}
			if f.on[k]--; f.on[k] == 0 {
				delete(f.on, k)
			}
			f.size -= h.size
			f.lost += 1 + h.copies
			hosts = append(hosts, h.host)
		}
		break
	}
	slices.Sort(hosts)
	return slices.Compact(hosts)
}

// of appends the detections of a host.
func (f *found) of(host string, dst []detect.Detection) []detect.Detection {
	for _, h := range f.byHost[host] {
		dst = append(dst, h.Detection)
	}
	return dst
}

// sizeOf is about how many bytes a detection takes with its event.
func sizeOf(d *detect.Detection) int64 {
	n := 600 + len(d.Event.Host) + len(d.Event.Provider) + len(d.Event.Channel)
	for _, list := range []event.Fields{d.Event.Data, d.Event.Canon} {
		for i := range list {
			n += 32 + len(list[i].Name) + len(list[i].Value)
		}
	}
	for _, m := range d.Matched {
		n += 32 + len(m.Field) + len(m.Value)
	}
	return int64(n)
}
