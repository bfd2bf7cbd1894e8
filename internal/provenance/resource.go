package provenance

import (
	"strconv"
	"strings"

	"ashiato/internal/event"
	"ashiato/internal/world"
)

// Attributes of a process that kept the processors or the graphics card busy: per
// cent of all of them on average, the seconds measured, and when that was over.
const (
	CPUPercent = "CPUPercent"
	CPUSeconds = "CPUSeconds"
	GPUPercent = "GPUPercent"
	GPUSeconds = "GPUSeconds"
	CPUUntil   = "CPUUntil"
	GPUUntil   = "GPUUntil"
)

// resources notes on processes how busy they kept the computer. The longest
// measurement speaks for the process; of equals the busiest.
func (j *joiner) resources() {
	best := map[NodeID][2]float64{}
	for _, r := range j.records {
		if r.Kind != event.ResourceUse {
			continue
		}
		p, _ := j.w.Actor(r)
		percent, err := strconv.ParseFloat(strings.TrimSpace(r.Get("Percent")), 64)
		seconds, bad := strconv.ParseFloat(strings.TrimSpace(r.Get("Seconds")), 64)
		if p == nil || err != nil || bad != nil || !(percent > 0 && percent <= 100) || !(seconds > 0 && seconds <= 1e8) {
			continue // no measurement
		}
		n := j.process(p)
		if n == nil {
			continue
		}
		names := [...]string{CPUPercent, CPUSeconds, CPUUntil}
		if gpu(r) {
			names = [...]string{GPUPercent, GPUSeconds, GPUUntil}
		}
		key := NodeID(names[0]) + n.ID
		if have := best[key]; seconds < have[1] || seconds == have[1] && percent <= have[0] {
			continue
		}
		best[key] = [2]float64{percent, seconds}
		n.setAttr(names[0], strconv.FormatFloat(percent, 'f', -1, 64))
		n.setAttr(names[1], strconv.FormatFloat(seconds, 'f', 0, 64))
		n.setAttr(names[2], r.Time.UTC().Format(event.TimeFormat))
		n.Evidence = cite(n.Evidence, r.Ref, MaxNodeEvidence)
		if r.Time.After(n.Last) {
			n.Last = r.Time
		}
	}
}

// gpu tells the two records of use apart by what only the graphics card's has.
func gpu(r *world.Record) bool { return r.ID == 131 }
