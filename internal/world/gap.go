package world

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"ashiato/internal/event"
)

// Gap is something that was not recorded, or not given to us.
type Gap struct {
	Host    string
	Channel string // the log it is missing from, "" if it concerns them all
	// Reason is a stable word: "log-cleared", "record-hole", "sensor-stopped",
	// "sensor-reconfigured", "sensor-loss", "start-not-recorded".
	Reason string
	// From and To bound the time in which it was missed; To is zero if it is
	// not known to have ended.
	From, To time.Time
	// Count is how many records or nodes were missed, 0 if unknown.
	Count int
	// Evidence is empty only for gaps seen by absence.
	Evidence []event.EvidenceRef
}

// logKey names one log of one host as one file holds it. Record ids follow each
// other only there: another file may be an excerpt.
type logKey struct{ host, channel, file string }

type entry struct {
	id uint64
	t  int64 // nanoseconds since 1970
}

// note remembers that a record with this number was given.
func (w *World) note(e *event.Event) {
	if e.Flags&(event.Carved|event.BadChecksum) != 0 {
		return // damage may have invented its host, number and time
	}
	h := w.hostKey(e.Host)
	s := w.hosts[h]
	if s == nil {
		s = &span{name: w.intern(e.Host), first: e.Time, last: e.Time}
		w.hosts[h] = s
	}
	if e.Host < s.name {
		s.name = w.intern(e.Host)
	}
	if e.Time.Before(s.first) {
		s.first = e.Time
	}
	if e.Time.After(s.last) {
		s.last = e.Time
	}
	if e.Ref.RecordID == 0 {
		return
	}
	k := logKey{h, w.lower(e.Channel), w.intern(e.Ref.File)}
	w.logs[k] = append(w.logs[k], entry{e.Ref.RecordID, e.Logged.UnixNano()})
}

// hole is a run of record numbers that no file holds although one file has the
// record before and the record after it.
type hole struct {
	from, to time.Time
	count    int
}

// holesIn finds the holes of a log that one file holds. It sorts the list.
func holesIn(list []entry) []hole {
	slices.SortFunc(list, func(a, b entry) int { return cmp.Or(cmp.Compare(a.id, b.id), cmp.Compare(a.t, b.t)) })
	var holes []hole
	for i := 0; i < len(list); {
		j := i
		for j < len(list) && list[j].id == list[i].id {
			j++
		}
		if j == len(list) {
			break
		}
		if missing := list[j].id - list[i].id - 1; missing > 0 && list[j].t >= list[i].t {
			holes = append(holes, newHole(list[i].t, list[j].t, missing))
		}
		i = j
	}
	return holes
}

func newHole(from, to int64, missing uint64) hole {
	return hole{time.Unix(0, from).UTC(), time.Unix(0, to).UTC(), int(min(missing, 1<<40))}
}

func (w *World) resolveGaps() {
	type numbered struct {
		entry
		file string
	}
	w.holes = map[logKey][]hole{}
	files := map[logKey]int{}
	for k := range w.logs {
		k.file = ""
		files[k]++
	}
	all := map[logKey][]numbered{}
	for k, list := range w.logs {
		file := k.file
		k.file = ""
		if files[k] == 1 {
			w.holes[k] = holesIn(list)
			continue
		}
		for _, e := range list {
			all[k] = append(all[k], numbered{e, file})
		}
	}
	for k, list := range all {
		slices.SortFunc(list, func(a, b numbered) int {
			return cmp.Or(cmp.Compare(a.id, b.id), strings.Compare(a.file, b.file), cmp.Compare(a.t, b.t))
		})
		holding := map[string]bool{}
		for i := 0; i < len(list); {
			// The files that hold this number, then the next number.
			j := i
			clear(holding)
			for j < len(list) && list[j].id == list[i].id {
				holding[list[j].file] = true
				j++
			}
			if j == len(list) {
				break
			}
			next := list[j].id
			together := false
			for n := j; n < len(list) && list[n].id == next; n++ {
				together = together || holding[list[n].file]
			}
			// Numbers that restart, as in a log that was made anew, go back in time.
			if missing := next - list[i].id - 1; missing > 0 && together && list[j].t >= list[i].t {
				w.holes[k] = append(w.holes[k], newHole(list[i].t, list[j].t, missing))
			}
			i = j
		}
	}
	for k := range w.holes {
		if g, ok := w.holesOf(k, time.Time{}, time.Time{}); ok {
			w.gaps = append(w.gaps, g)
		}
	}
	stopped := map[string]int{} // host → index of the open gap
	for _, r := range w.records {
		g := Gap{Host: r.Host, Channel: r.Channel, From: r.Time, To: r.Time, Evidence: []event.EvidenceRef{r.Ref}}
		switch r.Kind {
		case event.LogCleared:
			g.Reason = "log-cleared"
		case event.SensorLoss:
			g.Reason = "sensor-loss"
		case event.SensorState:
			state := strings.ToLower(r.Get("State"))
			switch {
			case strings.Contains(state, "stop"):
				g.Reason, g.To = "sensor-stopped", time.Time{}
				stopped[HostKey(r.Host)] = len(w.gaps)
			case strings.Contains(state, "start"):
				if i, open := stopped[HostKey(r.Host)]; open {
					w.gaps[i].To = r.Time
					w.gaps[i].Evidence = append(w.gaps[i].Evidence, r.Ref)
					delete(stopped, HostKey(r.Host))
				}
				continue
			case r.ID == 16:
				g.Reason = "sensor-reconfigured"
			default:
				continue
			}
		default:
			continue
		}
		w.gaps = append(w.gaps, g)
	}
	slices.SortFunc(w.gaps, compareGaps)
}

func compareGaps(a, b Gap) int {
	return cmp.Or(strings.Compare(a.Host, b.Host), a.From.Compare(b.From), strings.Compare(a.Reason, b.Reason),
		strings.Compare(a.Channel, b.Channel), a.To.Compare(b.To), cmp.Compare(a.Count, b.Count),
		slices.CompareFunc(a.Evidence, b.Evidence, event.EvidenceRef.Compare))
}

// holesOf merges the holes of one log that touch a span; a zero from means all.
func (w *World) holesOf(k logKey, from, to time.Time) (Gap, bool) {
	host := k.host
	if s := w.hosts[k.host]; s != nil {
		host = s.name
	}
	g := Gap{Host: host, Channel: k.channel, Reason: "record-hole"}
	for _, h := range w.holes[k] {
		if !from.IsZero() && (h.to.Before(from) || h.from.After(to)) {
			continue
		}
		if g.Count == 0 || h.from.Before(g.From) {
			g.From = h.from
		}
		if h.to.After(g.To) {
			g.To = h.to
		}
		g.Count += h.count
	}
	return g, g.Count > 0
}

// Gaps returns everything that is known to be missing: one gap per log for the
// holes in its record numbers, and one per cleared log, lost buffer or stopped
// sensor. Record numbers that are missing prove no loss by themselves: an
// exported selection of records has such holes too.
func (w *World) Gaps() []Gap {
	w.resolve()
	return w.gaps
}

// GapsWithin returns the gaps of a host that touch the span from–to.
func (w *World) GapsWithin(host string, from, to time.Time) []Gap {
	w.resolve()
	var found []Gap
	for k := range w.holes {
		if k.host != HostKey(host) {
			continue
		}
		if g, ok := w.holesOf(k, from, to); ok {
			found = append(found, g)
		}
	}
	for _, g := range w.gaps {
		if g.Reason == "record-hole" || HostKey(g.Host) != HostKey(host) || g.From.After(to) || !g.To.IsZero() && g.To.Before(from) {
			continue
		}
		found = append(found, g)
	}
	slices.SortFunc(found, compareGaps)
	return found
}
