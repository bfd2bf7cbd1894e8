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
	// "sensor-reconfigured", "sensor-loss", "start-not-recorded", and
	// "state-limit" for what was recorded and given up, see Shed.
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

// note remembers that a record with this number was given.
func (s *store) note(e *event.Event) {
	if e.Flags&(event.Carved|event.BadChecksum) != 0 {
		return // damage may have invented its host, number and time
	}
	p := s.span
	if p == nil {
		p = &span{name: strings.Clone(e.Host), first: e.Time, last: e.Time}
		s.span = p
	}
	if e.Host < p.name {
		p.name = strings.Clone(e.Host)
	}
	if e.Time.Before(p.first) {
		p.first = e.Time
	}
	if e.Time.After(p.last) {
		p.last = e.Time
	}
	if e.Ref.RecordID == 0 || s.unnumbered {
		return
	}
	k := logKey{s.key, s.channel(e.Channel), cutName(e.Ref.File)}
	n := s.logs[k]
	if n == nil {
		k.channel, k.file = strings.Clone(k.channel), strings.Clone(k.file)
		n = s.log(k)
	}
	size := n.size()
	n.add(e.Ref.RecordID, e.Entered().UnixNano())
	s.numbersCost += int64(n.size()-size) * runCost
}

// log makes the numbers of a log.
func (s *store) log(k logKey) *numbers {
	n := &numbers{}
	s.logs[k] = n
	cost := logCost + int64(len(k.channel)+len(k.file))
	s.logsCost += cost
	s.numbersCost += cost
	return n
}

// hole is a run of record numbers that no file holds although one file has the
// record before and the record after it.
type hole struct {
	from, to time.Time
	count    int
}

func newHole(from, to int64, missing uint64) hole {
	return hole{time.Unix(0, from).UTC(), time.Unix(0, to).UTC(), int(min(missing, 1<<40))}
}

func (w *World) resolveGaps() {
	w.holes = map[logKey][]hole{}
	logs := map[logKey]map[string]*numbers{}
	for _, s := range w.stores {
		for k, n := range s.logs {
			file := k.file
			k.file = ""
			if logs[k] == nil {
				logs[k] = map[string]*numbers{}
			}
			logs[k][file] = n
		}
	}
	for k, byFile := range logs {
		if len(byFile) > 1 {
			w.holes[k] = holesAcross(byFile)
			continue
		}
		for _, n := range byFile {
			w.holes[k] = holesIn(n)
		}
	}
	for k := range w.holes {
		if g, ok := w.holesOf(k, time.Time{}, time.Time{}); ok {
			w.gaps = append(w.gaps, g)
		}
	}
	for _, s := range w.stores {
		if n := w.plans[s].shed.Records(); n > 0 && s.span != nil {
			w.gaps = append(w.gaps, Gap{Host: s.span.name, Reason: "state-limit", From: s.span.first, To: s.span.last, Count: n})
		}
	}
	stopped := map[string]int{} // host → index of the open gap
	for _, r := range w.records {
		g := Gap{Host: r.Host, Channel: r.Channel, From: r.Time, To: r.Time, Evidence: []event.EvidenceRef{r.Ref}}
		switch r.Kind {
		case event.LogCleared:
			g.Reason = "log-cleared"
			g.Channel = cmp.Or(r.Get("ClearedLog"), g.Channel)
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
	slices.SortFunc(w.gaps, CompareGaps)
}

// CompareGaps orders gaps by host, time and reason, and then by the rest.
func CompareGaps(a, b Gap) int {
	return cmp.Or(strings.Compare(a.Host, b.Host), a.From.Compare(b.From), strings.Compare(a.Reason, b.Reason),
		strings.Compare(a.Channel, b.Channel), a.To.Compare(b.To), cmp.Compare(a.Count, b.Count),
		slices.CompareFunc(a.Evidence, b.Evidence, event.EvidenceRef.Compare))
}

// holesOf merges the holes of one log that touch a span; a zero from means all.
func (w *World) holesOf(k logKey, from, to time.Time) (Gap, bool) {
	host := k.host
	if s := w.stores[k.host]; s != nil && s.span != nil {
		host = s.span.name
	}
	g := Gap{Host: host, Channel: spelled(k.channel), Reason: "record-hole"}
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

// spelled is the match form of a log's name as Windows spells most of them: with a
// capital letter at the beginning of each word. Their case means nothing.
func spelled(channel string) string {
	b := []byte(channel)
	for i := range b {
		if (i == 0 || strings.IndexByte("-/ ", b[i-1]) >= 0) && 'a' <= b[i] && b[i] <= 'z' {
			b[i] -= 'a' - 'A'
		}
	}
	return string(b)
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
	slices.SortFunc(found, CompareGaps)
	return found
}
