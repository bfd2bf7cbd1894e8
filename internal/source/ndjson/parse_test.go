package ndjson

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"
)

// tree renders a parsed document for comparison.
func (d *document) tree(i int) string {
	n := &d.nodes[i]
	switch n.kind {
	case object, array:
		var parts []string
		for j := i + 1; j < int(n.next); j = int(d.nodes[j].next) {
			part := d.tree(j)
			if n.kind == object {
				part = fmt.Sprintf("%q:%s", d.name(j).text, part)
			}
			parts = append(parts, part)
		}
		return fmt.Sprintf("%d(%s)", n.kind, strings.Join(parts, ","))
	case str:
		return fmt.Sprintf("%q", d.appendText(nil, i))
	}
	return string(d.appendText(nil, i))
}

// slowTree renders the value that encoding/json reads in the same way.
func slowTree(dec *json.Decoder) (string, error) {
	token, err := dec.Token()
	if err != nil {
		return "", err
	}
	switch v := token.(type) {
	case json.Delim:
		var parts []string
		for dec.More() {
			part := ""
			if v == '{' {
				name, err := dec.Token()
				if err != nil {
					return "", err
				}
				part = fmt.Sprintf("%q:", name)
			}
			value, err := slowTree(dec)
			if err != nil {
				return "", err
			}
			parts = append(parts, part+value)
		}
		if _, err := dec.Token(); err != nil {
			return "", err
		}
		k := object
		if v == '[' {
			k = array
		}
		return fmt.Sprintf("%d(%s)", k, strings.Join(parts, ",")), nil
	case string:
		return fmt.Sprintf("%q", v), nil
	case json.Number:
		return v.String(), nil
	case bool:
		return fmt.Sprint(v), nil
	}
	return "null", nil
}

// compare holds the scanner against encoding/json, which differs only where it
// replaces text that is no Unicode, bounds the depth elsewhere, and refuses
// control characters in strings.
func compare(t *testing.T, text []byte) {
	t.Helper()
	var d document
	n, err := d.parse(append(bytes.Clone(text), ' ')) // so that a number ends
	valid := json.Valid(text)
	if err == errDepth || err == errNodes {
		return
	}
	whole := err == nil && len(bytes.Trim(text[min(n, len(text)):], " \t\r\n")) == 0
	if valid && !whole && text[0] != ' ' && text[0] != '\t' && text[0] != '\r' && text[0] != '\n' {
		t.Fatalf("valid JSON is refused at %d: %v\n%q", n, err, text)
	}
	if !valid && whole && bytes.IndexFunc(text, func(r rune) bool { return r < 0x20 }) < 0 {
		t.Fatalf("invalid JSON is admitted: %q", text)
	}
	if !valid || !whole || !utf8.Valid(text) || bytes.Contains(bytes.ToLower(text), []byte(`\ud`)) {
		return
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	want, err := slowTree(dec)
	if err != nil {
		t.Fatal(err)
	}
	if got := d.tree(0); got != want {
		t.Fatalf("%q is read as\n%s, want\n%s", text, got, want)
	}
}

var grammar = []string{
	`{}`, `[]`, `{"a":1}`, `{"a":[1,2,{"b":null}],"c":"d"}`, `"x"`, `-1.5e+10`, `0`, `-0`, `01`, `1.`, `.5`, `1e`, `+1`,
	`{"a":1,}`, `[1,]`, `{"a"}`, `{a:1}`, `{"a":tru}`, `nul`, `true`, `"\u12"`, `"\x"`, `"é😀"`, `{"\u0061\n":"\\\""}`,
	`{"a":{"a":{"a":[[[[]]]]}}}`, `[1 2]`, `{"a" : 1 , "b" : [ ] }`, "\"a\x01b\"", `{"a":1}}`, `{"a":01}`,
}

func TestGrammar(t *testing.T) {
	for _, text := range grammar {
		compare(t, []byte(text))
	}
}

// TestEveryPrefixIsShort holds that a cut text asks for more and is never taken
// for whole or for broken.
func TestEveryPrefixIsShort(t *testing.T) {
	text := []byte(`{"a":[1,-2.5e+3,"x\u00e9\n",true,false,null,{}],"b":{"c":"d"}}`)
	var d document
	for n := range text {
		if _, err := d.parse(text[:n]); err != errShort {
			t.Errorf("%q: %v", text[:n], err)
		}
	}
	if n, err := d.parse(text); err != nil || n != len(text) {
		t.Errorf("the whole: %d, %v", n, err)
	}
}

func FuzzParse(f *testing.F) {
	for _, text := range grammar {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if len(text) > 0 {
			compare(t, text)
		}
	})
}
