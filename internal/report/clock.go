package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"ashiato/internal/clock"
	"ashiato/internal/event"
	"ashiato/internal/fold"
	"ashiato/internal/i18n"
	"ashiato/internal/incident"
	"ashiato/internal/visible"
)

// offsetText writes an offset as hours and minutes with its sign.
func offsetText(d time.Duration) string {
	sign, d := "+", d.Round(time.Minute)
	if d < 0 {
		sign, d = "-", -d
	}
	return fmt.Sprintf("%s%d:%02d", sign, d/time.Hour, d%time.Hour/time.Minute)
}

// differenceText writes a difference as hours, minutes and seconds with its sign.
func differenceText(d time.Duration) string {
	sign, d := "+", d.Round(time.Second)
	if d < 0 {
		sign, d = "-", -d
	}
	return fmt.Sprintf("%s%d:%02d:%02d", sign, d/time.Hour, d%time.Hour/time.Minute, d%time.Minute/time.Second)
}

// clockText says what a note says.
func clockText(l i18n.Lang, n clock.Note) string {
	key := "clock." + string(n.Kind)
	if n.Kind == clock.LocalTime && n.Records == 0 {
		key = "clock.inferred"
	}
	between := differenceText(n.Least)
	if most := differenceText(n.Most); most != between {
		between += " … " + most
	}
	return l.T(key, offsetText(n.Offset), i18n.Number(n.Records), i18n.Number(n.Of), i18n.Number(n.Moved), between)
}

// corrections says for the hosts of an incident by how much the times of their
// records are corrected, in any file; "" if they are not.
func (d *Document) corrections(inc *incident.Incident) string {
	var out []string
	for _, h := range inc.Hosts {
		var by []string
		for _, n := range d.Clocks {
			if n.Kind == clock.LocalTime && strings.EqualFold(n.Host, h) && !slices.Contains(by, offsetText(n.Offset)) {
				by = append(by, offsetText(n.Offset))
			}
		}
		if len(by) > 0 {
			slices.Sort(by)
			out = append(out, visible.Text(h)+" "+strings.Join(by, " "))
		}
	}
	if len(out) == 0 {
		return ""
	}
	return d.lang().T("clock.corrected", strings.Join(out, d.lang().T("diagram.comma")))
}

// otherwise returns the time that a record's log entry has, as recorded, where
// that is not the time shown.
func otherwise(e *event.Event) string {
	if e.Logged.IsZero() || e.Offset == 0 && e.Entered().Sub(e.Time).Abs() < time.Minute {
		return ""
	}
	return e.Logged.UTC().Format("2006-01-02 15:04:05.0000000")
}

var clockRank = map[clock.Kind]int{clock.LocalTime: 1, clock.Uneven: 1, clock.SensorTime: 2}

func (t *textWriter) clocks() {
	if len(t.d.Clocks) == 0 {
		return
	}
	l := t.d.Lang
	t.printf("\n%s\n", t.paint(bold, l.T("clock.title")))
	// Corrected times first: a scan of many hosts may have more than are listed.
	notes := slices.SortedStableFunc(slices.Values(t.d.Clocks), func(a, b clock.Note) int {
		return cmp.Compare(clockRank[a.Kind], clockRank[b.Kind])
	})
	for i, n := range notes {
		if i == maxListed {
			t.printf("  %s\n", l.Count("text.more", len(t.d.Clocks)-maxListed))
			break
		}
		t.printf("  - %s  "+fold.Here+"%s  %s\n", visible.Text(n.Host), clockText(l, n), t.paint(dim, clip(visible.Text(n.File))))
	}
}

func clocks(in []clock.Note) []jsonClock {
	out := []jsonClock{}
	for _, n := range in {
		out = append(out, jsonClock{
			Kind: string(n.Kind), Host: text(n.Host), File: text(n.File), Offset: int64(n.Offset / time.Second), Corrected: n.Moved,
			Records: n.Records, Of: n.Of, Least: n.Least.Milliseconds(), Most: n.Most.Milliseconds(), Evidence: refs(n.Evidence),
		})
	}
	return out
}
