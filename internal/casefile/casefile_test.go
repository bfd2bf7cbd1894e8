package casefile

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"ashiato/internal/detect"
	"ashiato/internal/event"
	"ashiato/internal/incident"
	"ashiato/internal/report"
)

func TestReadPins(t *testing.T) {
	p, err := ReadPins("p.json", strings.NewReader(`{
  "format": "ashiato-pins/1",
  "apart": [{"from": "process:pc|1", "to": "file:pc|c:\\windows \\x", "reason": "ours"}],
  "together": [{"a": "01", "b": "02"}],
  "closed": [{"id": "03", "through": "2026-03-02T10:00:00+09:00", "verdict": "true-positive"}]
}`))
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Apart) != 1 || p.Apart[0].To != `file:pc|c:\windows \x` || p.Apart[0].Reason != "ours" {
		t.Errorf("%+v", p.Apart)
	}
	if len(p.Together) != 1 || p.Together[0] != (incident.Pair{A: "01", B: "02"}) {
		t.Errorf("%+v", p.Together)
	}
	if len(p.Closed) != 1 || !p.Closed[0].Through.Equal(time.Date(2026, 3, 2, 1, 0, 0, 0, time.UTC)) || p.Closed[0].Verdict != "true-positive" {
		t.Errorf("%+v", p.Closed)
	}
}

func TestBadPinsAreErrors(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{``, "p.json:1: EOF"},
		{`{}`, `format is ""`},
		{`{"format": "ashiato-pins/2"}`, `want "ashiato-pins/1"`},
		{"{\"format\": \"ashiato-pins/1\",\n\"appart\": []}", `unknown field "appart"`},
		{"{\"format\": \"ashiato-pins/1\",\n\"apart\": [,]}", "p.json:2: "},
		{"{\"format\": \"ashiato-pins/1\",\n\n\"apart\": [{\"from\": 1}]}", "p.json:3: "},
		{`{"format": "ashiato-pins/1", "apart": [{"from": "a"}]}`, "apart[0]"},
		{`{"format": "ashiato-pins/1", "together": [{"a": "a", "b": "a"}]}`, "together[0]"},
		{`{"format": "ashiato-pins/1", "closed": [{"id": "a", "through": "yesterday"}]}`, "closed[0]"},
		{`{"format": "ashiato-pins/1"} {}`, "more follows"},
		{strings.Repeat(" ", MaxPinsSize+1), "larger than"},
	} {
		_, err := ReadPins("p.json", strings.NewReader(c.text))
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "p.json") {
			t.Errorf("%.60q: %v, want %q", c.text, err, c.want)
		}
	}
}

func incidents() []*incident.Incident {
	rule := &detect.Rule{ID: "r", Name: "r", Title: "r"}
	placed := func(id string) incident.Placed {
		return incident.Placed{Detection: detect.Detection{Rule: rule, Event: &event.Event{}}, ID: id}
	}
	return []*incident.Incident{
		{ID: "a", Detections: []incident.Placed{placed("a"), placed("b")}},
		{ID: "c", Detections: []incident.Placed{placed("c")}},
	}
}

func TestReadEarlier(t *testing.T) {
	var b bytes.Buffer
	doc := report.Document{Tool: "ashiato", Incidents: incidents()}
	if err := doc.JSON(&b); err != nil {
		t.Fatal(err)
	}
	got, err := ReadEarlier("r.json", bytes.NewReader(b.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 2 || got[0].ID != "a" || !slices.Equal(got[0].Detections, []string{"a", "b"}) || got[1].ID != "c" {
		t.Errorf("%+v", got)
	}
	for cut := range b.Len() - 2 {
		if _, err := ReadEarlier("r.json", bytes.NewReader(b.Bytes()[:cut])); err == nil {
			t.Fatalf("no error when it ends after %d of %d bytes", cut, b.Len())
		}
	}
	for _, c := range []struct{ text, want string }{
		{`[]`, "not the JSON of a scan"},
		{`{"a": 1}`, "not the JSON of a scan"},
		{`{"format": "other/1"}`, `want "` + report.Format},
		{`{"format": "` + report.Format + `", "incidents": [{"id": "x"}]}`, "older version"},
		{`{"format": "` + report.Format + `", "incidents": {}}`, "not a list"},
	} {
		if _, err := ReadEarlier("r.json", strings.NewReader(c.text)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.text, err, c.want)
		}
	}
}

// FuzzReadEarlier holds that what is read was there: every id is a string of the
// input.
func FuzzReadEarlier(f *testing.F) {
	var b bytes.Buffer
	if err := (&report.Document{Tool: "ashiato", Incidents: incidents()}).JSON(&b); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Fuzz(func(t *testing.T, data []byte) {
		all, err := ReadEarlier("f", bytes.NewReader(data))
		if err != nil {
			return
		}
		for _, e := range all {
			if e.ID == "" || len(e.Detections) == 0 {
				t.Fatalf("%+v", e)
			}
			quoted, _ := json.Marshal(e.ID)
			if !bytes.Contains(data, quoted) && !bytes.ContainsAny(data, `\`) && !bytes.ContainsAny(quoted, `\`) {
				t.Fatalf("id %s is not in the input", quoted)
			}
		}
	})
}

// FuzzReadPins holds that a file that is read names both ends of every pin.
func FuzzReadPins(f *testing.F) {
	f.Add([]byte(`{"format": "ashiato-pins/1", "apart": [{"from": "a", "to": "b"}], "closed": [{"id": "c", "through": "2026-03-02T10:00:00Z"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := ReadPins("f", bytes.NewReader(data))
		if err != nil {
			return
		}
		for _, a := range p.Apart {
			if a.From == "" || a.To == "" {
				t.Fatal(a)
			}
		}
		for _, c := range p.Closed {
			if c.ID == "" || c.Through.Location() != time.UTC {
				t.Fatal(c)
			}
		}
	})
}
