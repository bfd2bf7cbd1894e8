package report

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"ashiato/internal/clock"
	"ashiato/internal/diagram/diagramtest"
	"ashiato/internal/event"
	"ashiato/internal/i18n"
)

// Whose clock is wrong is said in every language and form: in a list of its own,
// beside the times of the incident, and at the record whose time is another.
func TestClocks(t *testing.T) {
	for _, lang := range i18n.Langs() {
		c := diagramtest.Miner()
		d := document(lang, c)
		record := d.Evidence
		d.Evidence = func(r event.EvidenceRef) *event.Event {
			e := record(r)
			if e != nil {
				moved := *e
				moved.Logged, moved.Offset = e.Logged.Add(5*time.Hour+45*time.Minute), -5*time.Hour-45*time.Minute
				return &moved
			}
			return nil
		}
		var text, page bytes.Buffer
		if err := d.Text(&text, TextOptions{}); err != nil {
			t.Fatal(err)
		}
		if err := d.HTML(&page); err != nil {
			t.Fatal(err)
		}
		first := lang.T("clock.corrected", c.Incident.Hosts[0]+" -5:45")
		for _, want := range []string{
			first, lang.T("clock.title"), clockText(lang, d.Clocks[0]), clockText(lang, d.Clocks[1]), clockText(lang, d.Clocks[2]), clockText(lang, d.Clocks[3]),
		} {
			if !strings.Contains(text.String(), want) {
				t.Errorf("%s: the text lacks %q:\n%s", lang, want, text.String())
			}
			if html := strings.ReplaceAll(page.String(), "&#43;", "+"); !strings.Contains(strings.ReplaceAll(html, "&#39;", "'"), want) {
				t.Errorf("%s: the page lacks %q", lang, want)
			}
		}
		if got := strings.Index(text.String(), "SRV-1  "+clockText(lang, d.Clocks[1])); got < 0 || got > strings.Index(text.String(), clockText(lang, d.Clocks[2])) {
			t.Errorf("%s: what is corrected does not come first:\n%s", lang, text.String())
		}
		if want := "<dt>" + lang.T("clock.recorded") + "</dt><dd>" + diagramtest.At(0).Add(5*time.Hour+45*time.Minute).UTC().Format("2006-01-02 "); !strings.Contains(page.String(), want) {
			t.Errorf("%s: no record says %q", lang, want)
		}
	}
	plain := document(i18n.English, diagramtest.Miner())
	plain.Clocks = nil
	var text, page bytes.Buffer
	if err := plain.Text(&text, TextOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := plain.HTML(&page); err != nil {
		t.Fatal(err)
	}
	for _, form := range []string{text.String(), page.String()} {
		if strings.Contains(strings.ToLower(form), "clock") {
			t.Error("clocks are spoken of although all are right")
		}
	}
}

func TestClockTexts(t *testing.T) {
	for _, c := range []struct {
		offset time.Duration
		want   string
	}{
		{4 * time.Hour, "+4:00"},
		{-5*time.Hour - 45*time.Minute, "-5:45"},
		{26 * time.Hour, "+26:00"},
	} {
		if got := offsetText(c.offset); got != c.want {
			t.Errorf("%v: %q, want %q", c.offset, got, c.want)
		}
	}
	for _, c := range []struct {
		by   time.Duration
		want string
	}{
		{0, "+0:00:00"},
		{-210_630 * time.Millisecond, "-0:03:31"},
		{272*time.Hour + 46*time.Minute + 43*time.Second, "+272:46:43"},
	} {
		if got := differenceText(c.by); got != c.want {
			t.Errorf("%v: %q, want %q", c.by, got, c.want)
		}
	}
	one := clock.Note{Kind: clock.SensorTime, Records: 1, Of: 3, Least: time.Minute, Most: time.Minute}
	if got := clockText(i18n.English, one); strings.Contains(got, "…") || !strings.Contains(got, "1 of 3") {
		t.Errorf("%q", got)
	}
}
