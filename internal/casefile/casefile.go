// Package casefile reads what is known of incidents from before: an analyst's
// pins, and the incidents that an earlier scan reported.
//
// Both are JSON. The shape of pins is docs/formats/pins.md; an earlier report is
// the output of `ashiato scan --format json` (docs/formats/scan.schema.json), of
// which only the ids of incidents and detections are read. What is not understood
// is an error that names the file and the line: a pin that is silently ignored
// would join what an analyst has put apart.
package casefile

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"ashiato/internal/incident"
	"ashiato/internal/provenance"
	"ashiato/internal/report"
)

// PinsFormat names the shape of a pins file and its version.
const PinsFormat = "ashiato-pins/1"

// MaxPinsSize bounds a pins file, in bytes.
const MaxPinsSize = 16 << 20

type pinsFile struct {
	Format string `json:"format"`
	Apart  []struct {
		From   string `json:"from"`
		To     string `json:"to"`
		Reason string `json:"reason"`
	} `json:"apart"`
	Together []struct {
		A      string `json:"a"`
		B      string `json:"b"`
		Reason string `json:"reason"`
	} `json:"together"`
	Closed []struct {
		ID      string `json:"id"`
		Through string `json:"through"`
		Verdict string `json:"verdict"`
	} `json:"closed"`
}

// ReadPins reads a pins file. name is for errors.
func ReadPins(name string, r io.Reader) (incident.Pins, error) {
	data, err := io.ReadAll(io.LimitReader(r, MaxPinsSize+1))
	if err != nil {
		return incident.Pins{}, fmt.Errorf("%s: %w", name, err)
	}
	if len(data) > MaxPinsSize {
		return incident.Pins{}, fmt.Errorf("%s: larger than %d bytes", name, MaxPinsSize)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	var f pinsFile
	if err := d.Decode(&f); err != nil {
		return incident.Pins{}, fmt.Errorf("%s:%d: %w", name, line(data, d.InputOffset(), err), err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return incident.Pins{}, fmt.Errorf("%s:%d: more follows after the object", name, line(data, d.InputOffset(), nil))
	}
	if f.Format != PinsFormat {
		return incident.Pins{}, fmt.Errorf("%s: format is %q, want %q", name, f.Format, PinsFormat)
	}
	var p incident.Pins
	for i, a := range f.Apart {
		if a.From == "" || a.To == "" {
			return p, fmt.Errorf("%s: apart[%d]: from and to must name nodes", name, i)
		}
		p.Apart = append(p.Apart, incident.Apart{From: provenance.NodeID(a.From), To: provenance.NodeID(a.To), Reason: a.Reason})
	}
	for i, t := range f.Together {
		if t.A == "" || t.B == "" || t.A == t.B {
			return p, fmt.Errorf("%s: together[%d]: a and b must name two incidents", name, i)
		}
		p.Together = append(p.Together, incident.Pair{A: t.A, B: t.B, Reason: t.Reason})
	}
	for i, c := range f.Closed {
		through, err := time.Parse(time.RFC3339Nano, c.Through)
		if c.ID == "" || err != nil {
			return p, fmt.Errorf("%s: closed[%d]: id must name an incident and through be a time such as 2026-03-02T10:00:00Z", name, i)
		}
		p.Closed = append(p.Closed, incident.Closed{ID: c.ID, Through: through.UTC(), Verdict: c.Verdict})
	}
	return p, nil
}

// line is the number of the line at which reading stopped.
func line(data []byte, offset int64, err error) int {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		offset = syntax.Offset
	case errors.As(err, &kind):
		offset = kind.Offset
	}
	return 1 + bytes.Count(data[:min(int(offset), len(data))], []byte("\n"))
}

// ReadEarlier reads the incidents of an earlier report. It keeps only ids, and
// reads incident by incident, so the size of the report does not matter. name is
// for errors.
func ReadEarlier(name string, r io.Reader) ([]incident.Earlier, error) {
	in := bufio.NewReaderSize(r, 1<<16)
	d := json.NewDecoder(in)
	fail := func(err error) ([]incident.Earlier, error) {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, fmt.Errorf("%s: at byte %d: %w", name, d.InputOffset(), err)
	}
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return fail(cmpErr(err, "not the JSON of a scan"))
	}
	var all []incident.Earlier
	format := ""
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return fail(err)
		}
		switch key {
		case "format":
			if err := d.Decode(&format); err != nil {
				return fail(err)
			}
			if format != report.Format {
				return fail(fmt.Errorf("format is %q, want %q", format, report.Format))
			}
		case "incidents":
			if t, err := d.Token(); err != nil || t != json.Delim('[') {
				return fail(cmpErr(err, "incidents is not a list"))
			}
			for d.More() {
				var inc struct {
					ID         string `json:"id"`
					Detections []struct {
						ID string `json:"id"`
					} `json:"detections"`
				}
				if err := d.Decode(&inc); err != nil {
					return fail(err)
				}
				e := incident.Earlier{ID: strings.Clone(inc.ID)}
				for _, x := range inc.Detections {
					if x.ID != "" {
						e.Detections = append(e.Detections, strings.Clone(x.ID))
					}
				}
				if e.ID == "" || len(e.Detections) == 0 {
					return fail(errors.New("an incident without ids; was it written by an older version?"))
				}
				all = append(all, e)
			}
			if _, err := d.Token(); err != nil {
				return fail(err)
			}
		default:
			var skip json.RawMessage
			if err := d.Decode(&skip); err != nil {
				return fail(err)
			}
		}
	}
	if _, err := d.Token(); err != nil {
		return fail(err)
	}
	if format == "" {
		return fail(errors.New("not the JSON of a scan"))
	}
	return all, nil
}

func cmpErr(err error, otherwise string) error {
	if err != nil {
		return err
	}
	return errors.New(otherwise)
}
