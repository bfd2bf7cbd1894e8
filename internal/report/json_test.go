package report

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"ashiato/internal/diagram/diagramtest"
	"ashiato/internal/i18n"
)

const schemaFile = "../../docs/formats/scan.schema.json"

func compile(t *testing.T, pointer string) *jsonschema.Schema {
	t.Helper()
	data, err := os.ReadFile(filepath.FromSlash(schemaFile))
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	if err := c.AddResource("scan.schema.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("scan.schema.json" + pointer)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func validate(t *testing.T, s *jsonschema.Schema, data []byte) {
	t.Helper()
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Validate(v); err != nil {
		t.Errorf("%#v", err)
	}
}

func TestJSONIsOfItsSchema(t *testing.T) {
	s := compile(t, "")
	for _, d := range []*Document{
		document(i18n.English, append(all(), diagramtest.Hostile())...),
		document(i18n.Japanese, diagramtest.Large()),
		{},
	} {
		var out bytes.Buffer
		if err := d.JSON(&out); err != nil {
			t.Fatal(err)
		}
		validate(t, s, out.Bytes())
	}
}

// TestJSONOneByOne holds that a document that is written incident by incident is
// that which is made whole.
func TestJSONOneByOne(t *testing.T) {
	hostile := diagramtest.Hostile()
	for n, incidents := range [][]*diagramtest.Case{
		nil, {hostile}, {hostile, diagramtest.Tiny()}, append(all(), hostile, diagramtest.Large()),
	} {
		d := document(i18n.English, incidents...)
		d.Args = []string{"scan", "\n \"incidents\": []", "\u2028<&>"}
		var got, want bytes.Buffer
		if err := d.JSON(&got); err != nil {
			t.Fatal(err)
		}
		if err := encode(&want, d.json(d.Incidents)); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want.String(), got.String()); diff != "" {
			t.Errorf("%d: %s", n, diff)
		}
	}
}

func TestSchemaRefusesOtherShapes(t *testing.T) {
	s := compile(t, "")
	var out bytes.Buffer
	if err := document(i18n.English, diagramtest.Tiny()).JSON(&out); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ old, new string }{
		{`"severity": "high"`, `"severity": "severe"`},
		{`"verb": "started"`, `"verb": "launched"`},
		{`"sha256": "`, `"sha256": "x`},
		{`"kind": "document"`, `"kind": "mail"`},
		{`"score": `, `"points": `},
		{`"format": "ashiato-scan/1"`, `"format": "ashiato-scan/2"`},
	} {
		changed := strings.Replace(out.String(), c.old, c.new, 1)
		if changed == out.String() {
			t.Errorf("the output has no %s", c.old)
			continue
		}
		v, err := jsonschema.UnmarshalJSON(strings.NewReader(changed))
		if err != nil {
			t.Fatal(err)
		}
		if s.Validate(v) == nil {
			t.Errorf("%s passes", c.new)
		}
	}
}

func TestNDJSONHoldsTheSameValues(t *testing.T) {
	d := document(i18n.Korean, append(all(), diagramtest.Hostile())...)
	var whole, stream bytes.Buffer
	if err := d.JSON(&whole); err != nil {
		t.Fatal(err)
	}
	if err := d.NDJSON(&stream); err != nil {
		t.Fatal(err)
	}
	var doc map[string]json.RawMessage
	if err := json.Unmarshal(whole.Bytes(), &doc); err != nil {
		t.Fatal(err)
	}
	list := func(name string) (out []json.RawMessage) {
		if err := json.Unmarshal(doc[name], &out); err != nil {
			t.Fatal(err)
		}
		return out
	}
	want := []map[string]json.RawMessage{}
	for _, v := range list("incidents") {
		want = append(want, map[string]json.RawMessage{"incident": v})
	}
	for _, v := range list("gaps") {
		want = append(want, map[string]json.RawMessage{"gap": v})
	}
	for _, v := range list("clocks") {
		want = append(want, map[string]json.RawMessage{"clock": v})
	}
	for _, v := range list("problems") {
		want = append(want, map[string]json.RawMessage{"problem": v})
	}
	want = append(want, map[string]json.RawMessage{"format": doc["format"], "tool": doc["tool"], "stats": doc["stats"]})
	lines := bufio.NewScanner(&stream)
	lines.Buffer(nil, 1<<24)
	n := 0
	for ; lines.Scan(); n++ {
		var got map[string]json.RawMessage
		if err := json.Unmarshal(lines.Bytes(), &got); err != nil {
			t.Fatalf("line %d: %v", n+1, err)
		}
		if n >= len(want) {
			t.Fatalf("line %d is one too many", n+1)
		}
		if len(got) != len(want[n]) {
			t.Errorf("line %d has %d members", n+1, len(got))
		}
		for name, v := range want[n] {
			var compact bytes.Buffer
			if err := json.Compact(&compact, v); err != nil {
				t.Fatal(err)
			}
			if compact.String() != string(got[name]) {
				t.Errorf("line %d: %s differs from the JSON document", n+1, name)
			}
		}
	}
	if n != len(want) {
		t.Errorf("%d lines, want %d", n, len(want))
	}
}

func TestJSONKeepsEveryCodeUnit(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"a\xed\xa0\x80b", `"a\ud800b"`},
		{"\xed\xb2\xa9", `"\udca9"`},
		{"nul\x00", `"nul\u0000"`},
		{`C:\Windows \System32`, `"C:\\Windows \\System32"`},
		{"</script>", `"\u003c/script\u003e"`},
		{"日本\u202e", "\"日本\u202e\""},
		{"bad\xff", `"bad\ufffd"`},
	} {
		got, err := text(c.in).MarshalJSON()
		if err != nil || string(got) != c.want {
			t.Errorf("%q is written as %s, want %s (%v)", c.in, got, c.want, err)
		}
		if !json.Valid(got) {
			t.Errorf("%s is no JSON", got)
		}
	}
}

func TestEvidenceIsCited(t *testing.T) {
	c := diagramtest.Miner()
	var out bytes.Buffer
	if err := document(i18n.English, c).JSON(&out); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Incidents []struct {
			Story []struct {
				Number int
				Edges  []int
			}
			Detections []struct {
				Matched  map[string]string
				Evidence []map[string]any
			}
			Graph struct {
				Edges []struct {
					Step     int
					Evidence []map[string]any
				}
			}
		}
	}
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	inc := got.Incidents[0]
	hashes := map[string]bool{}
	for ref := range c.Records {
		hashes[ref.Hash()] = true
	}
	cited := 0
	for _, e := range inc.Graph.Edges {
		for _, r := range e.Evidence {
			if !hashes[r["sha256"].(string)] {
				t.Errorf("no record has the hash %v", r["sha256"])
			}
			cited++
		}
	}
	if cited != len(c.Incident.Edges) {
		t.Errorf("%d references for %d edges", cited, len(c.Incident.Edges))
	}
	for _, s := range inc.Story {
		for _, e := range s.Edges {
			if inc.Graph.Edges[e].Step != s.Number {
				t.Errorf("edge %d of step %d is of step %d", e, s.Number, inc.Graph.Edges[e].Step)
			}
		}
	}
	for _, d := range inc.Detections {
		if len(d.Matched) == 0 || len(d.Evidence) != 1 {
			t.Errorf("a detection matches %v and cites %v", d.Matched, d.Evidence)
		}
	}
}
