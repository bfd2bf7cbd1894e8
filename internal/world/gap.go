package world

import (
	"cmp"
	"iter"
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
	// Sensors that stopped, by host and log, with the index of the open gap: that one
	// of two starts says nothing of the other. One that stops again was not started in
	// between, as far as is known.
	stopped := map[[2]string]int{}
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
			sensor := [2]string{HostKey(r.Host), strings.ToLower(r.Channel)}
			i, open := stopped[sensor]
			switch {
			case strings.Contains(state, "stop") && open:
				continue
			case strings.Contains(state, "stop"):
				g.Reason, g.To = "sensor-stopped", time.Time{}
				stopped[sensor] = len(w.gaps)
			case strings.Contains(state, "start"):
				if open {
					w.gaps[i].To = r.Time
					w.gaps[i].Evidence = append(w.gaps[i].Evidence, r.Ref)
					delete(stopped, sensor)
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
	w.gapsOf = map[string][]Gap{}
	for _, g := range w.gaps {
		if g.Reason != "record-hole" {
			k := HostKey(g.Host)
			w.gapsOf[k] = append(w.gapsOf[k], g)
		}
	}
	for _, list := range w.gapsOf { // whose host may have several spellings
		slices.SortFunc(list, compareByTime)
	}
}

func compareByTime(a, b Gap) int { return cmp.Or(a.From.Compare(b.From), CompareGaps(a, b)) }

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

// Bounds of GapsWithin: how many gaps it tells one by one, and how many records it
// cites of those it tells as one.
const (
	maxWithin      = 256
	maxWithinCited = 8
)

// GapsWithin returns the gaps of a host that touch the span from–to. If those are
// very many, it tells all of one reason and log as one, from the first to the last:
// each of many incidents with all of many gaps would be the square.
func (w *World) GapsWithin(host string, from, to time.Time) []Gap {
	w.resolve()
	var found []Gap
	key := HostKey(host)
	for k := range w.holes {
		if k.host != key {
			continue
		}
		if g, ok := w.holesOf(k, from, to); ok {
			found = append(found, g)
		}
	}
	all := w.gapsOf[key]
	if end, _ := slices.BinarySearchFunc(all, to, func(g Gap, to time.Time) int {
		if g.From.After(to) {
			return 1
		}
		return -1
	}); end < len(all) {
		all = all[:end]
	}
	touching := func(yield func(*Gap) bool) {
		for i := range all {
			if g := &all[i]; (g.To.IsZero() || !g.To.Before(from)) && !yield(g) {
				return
			}
		}
	}
	n := 0
	for range touching {
		n++
	}
	switch {
	case n <= maxWithin:
		for g := range touching {
			found = append(found, *g)
		}
	default:
		found = append(found, together(touching)...)
	}
	slices.SortFunc(found, CompareGaps)
	return found
}

// together makes one gap of all of one reason and log.
func together(gaps iter.Seq[*Gap]) []Gap {
	var all []Gap
	at := map[[2]string]int{}
	for g := range gaps {
		k := [2]string{g.Reason, g.Channel}
		i, known := at[k]
		if !known && len(all) >= maxWithin { // of very many logs
			k[1] = ""
			i, known = at[k]
		}
		if !known {
			at[k] = len(all)
			all = append(all, *g)
			all[at[k]].Channel = k[1]
			continue
		}
		one := &all[i]
		one.Count += g.Count
		if !one.To.IsZero() && (g.To.IsZero() || g.To.After(one.To)) {
			one.To = g.To
		}
		if len(one.Evidence) < maxWithinCited {
			one.Evidence = slices.Concat(one.Evidence, g.Evidence)
		}
	}
	return all
}
