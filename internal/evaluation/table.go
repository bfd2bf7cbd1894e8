package evaluation

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// Report is the result of a benchmark in sections, as text (Markdown) or JSON.
type Report struct {
	Sections []Section `json:"sections"`
	Cost     *Cost     `json:"cost,omitempty"` // of joining the recordings
	Latency  *Latency  `json:"latency,omitempty"`
}

// Section is what was measured on one kind of case.
type Section struct {
	Title string `json:"title"`
	About string `json:"about"`
	// Truth says that the cases' truth is known, so that more than the joining
	// can be counted.
	Truth bool   `json:"truth"`
	Score *Score `json:"score"`
}

// Text writes the sections as Markdown. With notes, everything that was wrong is
// listed too.
func (r *Report) Text(w io.Writer, notes bool) error {
	p := &printer{w: w}
	for i, s := range r.Sections {
		if i > 0 {
			p.line("")
		}
		s.text(p, notes)
	}
	if r.Cost != nil {
		p.line("")
		r.Cost.text(p)
	}
	if r.Latency != nil {
		p.line("")
		r.Latency.text(p)
	}
	return p.err
}

type printer struct {
	w   io.Writer
	err error
}

func (p *printer) line(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format+"\n", args...)
	}
}

func (s *Section) text(p *printer, notes bool) {
	x := s.Score
	p.line("## %s", s.Title)
	p.line("")
	p.line("%s %d cases, %d events.", s.About, x.Cases, x.Events)
	p.line("")
	p.line("| method | detections | incidents | reduction | purity | completeness | over-merged |")
	p.line("|---|--:|--:|--:|--:|--:|--:|")
	for _, m := range Methods() {
		j := x.Joined[m]
		completeness := "–"
		if s.Truth {
			completeness = fmt.Sprintf("%.3f", j.Completeness())
		}
		p.line("| %s | %d | %d | %.1f× | %.3f | %s | %d of %d |", m, j.Detections, j.Groups, j.Reduction(), j.Purity(), completeness, j.OverMerged, j.TrueGroups)
	}
	if s.Truth {
		p.line("")
		p.line("| what | measured | aim |")
		p.line("|---|--:|--:|")
		part := func(what string, q Part, aim string) {
			p.line("| %s | %d of %d, %.1f %% | %s |", what, q.Of, q.All, 100*q.Ratio(), aim)
		}
		part("root cause exact", x.RootExact, "≥ 80 %")
		part("root cause within one hop", x.RootNear, "≥ 90 %")
		part("root cause among the first three", x.RootTop3, "≥ 95 %")
		p.line("| hops off, mean | %.2f | |", ratio(float64(x.RootDepth), float64(x.RootExact.All)))
		part("records of the intrusion in its picture", x.Coverage, "≥ 90 %")
		part("nodes that nothing of the intrusion shows", x.Noise, "≤ 20 %")
		p.line("| boxes drawn: median, 90th percentile | %d, %d | ≤ 40 |", Percentile(x.Drawn, 50), Percentile(x.Drawn, 90))
		p.line("| wrong joins | %d | 0 |", x.Crossings)
		part("arrows with records", x.Cited, "100 %")
		p.line("| incidents ≥ medium, of these of the background only | %d, %d | |", x.AtLeastMedium, x.Extra)
		p.line("")
		p.line("| row | hand-off | joined of joinable | | left too few records | files nobody used |")
		p.line("|--:|---|--:|--:|--:|--:|")
		for _, n := range slices.Sorted(maps.Keys(x.Rows)) {
			r := x.Rows[n]
			rate := "–"
			if r.Joined.All > 0 {
				rate = fmt.Sprintf("%.3f", r.Joined.Ratio())
			}
			p.line("| %d | %s | %d of %d | %s | %d | %d |", n, rowNames[n], r.Joined.Of, r.Joined.All, rate, r.Unjoinable, r.Unused)
		}
	} else {
		p.line("")
		p.line("Incidents of medium severity and more: %d.", x.AtLeastMedium)
	}
	if notes && len(x.Notes) > 0 {
		p.line("")
		for _, n := range x.Notes {
			p.line("- %s", strings.ReplaceAll(n, "\n", " "))
		}
	}
}

// rowNames are the hand-offs by their number in docs/joins.md.
var rowNames = map[int]string{
	1: "process creation", 2: "service", 3: "remote service control", 4: "scheduled task", 5: "WMI process creation",
	6: "WMI subscription", 7: "COM server", 8: "opened from a volume", 9: "file written, then run or passed", 10: "DLL side-load",
	11: "same content, another name", 12: "injection", 13: "start at logon", 14: "hijacked COM class and the like", 15: "named pipe",
	16: "remote logon", 17: "logon session", 18: "WinRM", 19: "RDP", 20: "share write", 21: "other credentials", 22: "BITS",
	23: "Windows Installer", 24: "script content", 25: "same hash on another host",
}
