package report

import (
	"cmp"
	"encoding/csv"
	"io"
	"slices"
	"strconv"
	"strings"

	"ashiato/internal/incident"
	"ashiato/internal/visible"
)

// csvColumns are the columns of CSV, which keep their names and their order.
var csvColumns = []string{
	"time", "host", "severity", "title", "rule", "attack", "incident", "incident_title",
	"channel", "event_id", "record_id", "matched", "file",
}

// CSV writes the detections as one timeline for spreadsheets: a row each, by time.
// It begins with a byte order mark, by which they know UTF-8. Telemetry is shown with
// marks for misleading characters, as in text, and a cell that a spreadsheet would
// take for a formula has an apostrophe before it.
func (d *Document) CSV(w io.Writer) error {
	if _, err := io.WriteString(w, "\uFEFF"); err != nil {
		return err
	}
	type row struct {
		in *incident.Incident
		at incident.Placed
	}
	var rows []row
	for _, inc := range d.Incidents {
		for _, p := range inc.Detections {
			rows = append(rows, row{inc, p})
		}
	}
	slices.SortStableFunc(rows, func(a, b row) int {
		return cmp.Or(a.at.Event.Time.Compare(b.at.Event.Time), strings.Compare(a.at.Event.Host, b.at.Event.Host),
			cmp.Compare(b.at.Rule.Severity, a.at.Rule.Severity), strings.Compare(a.at.Rule.ID, b.at.Rule.ID), a.at.Event.Ref.Compare(b.at.Event.Ref))
	})
	out := csv.NewWriter(w)
	out.UseCRLF = true
	if err := out.Write(csvColumns); err != nil {
		return err
	}
	t := textWriter{d: d}
	for _, r := range rows {
		e, rule := r.at.Event, r.at.Rule
		matched := make([]string, len(r.at.Matched))
		for i, m := range r.at.Matched {
			matched[i] = visible.Text(m.Field) + "=" + visible.Text(m.Value)
		}
		record := ""
		if e.Ref.RecordID != 0 {
			record = strconv.FormatUint(e.Ref.RecordID, 10)
		}
		cells := []string{
			e.Time.In(t.zone()).Format("2006-01-02 15:04:05.000 -07:00"), e.Host, rule.Severity.String(), rule.TitleIn(string(d.lang())), rule.Name,
			strings.Join(rule.Attack, " "), r.in.ID, t.title(r.in), e.Channel, strconv.FormatUint(uint64(e.ID), 10), record, strings.Join(matched, "; "), e.Ref.File,
		}
		for i, c := range cells {
			cells[i] = cell(c)
		}
		if err := out.Write(cells); err != nil {
			return err
		}
	}
	out.Flush()
	return out.Error()
}

// maxCell is how many characters of a cell spreadsheets take.
const maxCell = 32_000

// cell is a value as a spreadsheet shows it.
func cell(s string) string {
	s = visible.Text(s)
	if r := []rune(s); len(r) > maxCell {
		s = string(r[:maxCell]) + "…"
	}
	if s != "" && strings.IndexByte("=+-@", s[0]) >= 0 {
		return "'" + s
	}
	return s
}
