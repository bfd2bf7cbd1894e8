package evtx_test

import (
	"bytes"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"ashiato/internal/corpus"
	"ashiato/internal/event"
)

// oracle is another program that writes the records of an EVTX file as XML.
type oracle struct {
	name string
	// export returns one XML document per record in the file's order; a record
	// that the program cannot read is nil.
	export func(file string) ([][]byte, error)
	// timeDigits is how many digits of a second's fraction can be relied on.
	timeDigits int
}

// evtxexport is libevtx's tool.
func evtxexport(t *testing.T) oracle {
	path, err := exec.LookPath("evtxexport")
	if err != nil {
		t.Skip("evtxexport (Debian package libevtx-utils) is not installed")
	}
	return oracle{"evtxexport", func(file string) ([][]byte, error) {
		out, err := exec.Command(path, "-f", "xml", file).Output()
		if err != nil {
			return nil, fmt.Errorf("evtxexport %s: %w", file, err)
		}
		var docs [][]byte
		for {
			start := bytes.Index(out, []byte("\n<Event "))
			if start < 0 {
				return docs, nil
			}
			end := bytes.Index(out[start:], []byte("\n</Event>"))
			if end < 0 {
				return docs, errors.New("evtxexport wrote half an event")
			}
			docs = append(docs, out[start:start+end+len("\n</Event>")])
			out = out[start+end:]
		}
	}, 7}
}

// pythonScript writes each record's XML, or "-" where python-evtx fails, after a
// line with its length.
const pythonScript = `
import sys
import Evtx.Evtx as evtx
out = sys.stdout.buffer
with evtx.Evtx(sys.argv[1]) as log:
    for chunk in log.chunks():
        for record in chunk.records():
            try:
                text = record.xml().encode("utf-8", "surrogatepass")
            except Exception:
                text = b"-"
            out.write(b"%d\n" % len(text) + text)
`

func pythonEvtx(t *testing.T) oracle {
	const python = "/usr/bin/python3"
	if exec.Command(python, "-c", "import Evtx.Evtx").Run() != nil {
		t.Skip("python-evtx (Debian package python3-evtx) is not installed")
	}
	return oracle{"python-evtx", func(file string) ([][]byte, error) {
		out, err := exec.Command(python, "-c", pythonScript, file).Output()
		if err != nil {
			return nil, fmt.Errorf("python-evtx %s: %w", file, err)
		}
		var docs [][]byte
		for len(out) > 0 {
			line, rest, _ := bytes.Cut(out, []byte("\n"))
			n, err := strconv.Atoi(string(line))
			if err != nil || n > len(rest) {
				return nil, errors.New("python-evtx: unexpected output")
			}
			doc := rest[:n]
			if n == 1 {
				doc = nil
			}
			docs = append(docs, doc)
			out = rest[n:]
		}
		return docs, nil
	}, 5}
}

// element is an XML element.
type element struct {
	name     string
	attrs    map[string]string
	text     string
	children []*element
}

// parseXML reads a document. Characters that XML does not allow, which records
// hold and the oracles write all the same, are let through as private ones.
func parseXML(b []byte) (*element, error) {
	text := printable(string(b))
	text = strings.ReplaceAll(text, "\r", "&#13;")
	dec := xml.NewDecoder(strings.NewReader(text))
	dec.Strict = false
	root := &element{}
	stack := []*element{root}
	for {
		tok, err := dec.RawToken()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		top := stack[len(stack)-1]
		switch tok := tok.(type) {
		case xml.StartElement:
			el := &element{name: tok.Name.Local, attrs: map[string]string{}}
			for _, a := range tok.Attr {
				if a.Name.Local != "xmlns" && a.Name.Space != "xmlns" {
					el.attrs[a.Name.Local] = a.Value
				}
			}
			top.children = append(top.children, el)
			stack = append(stack, el)
		case xml.EndElement:
			stack = stack[:len(stack)-1]
			if len(stack) == 0 {
				return nil, errors.New("unbalanced XML")
			}
		case xml.CharData:
			top.text += string(tok)
		}
	}
	if len(root.children) != 1 {
		return nil, fmt.Errorf("%d root elements", len(root.children))
	}
	return root.children[0], nil
}

func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 && r != '\n' && r != '\t' && r != '\r' || r == 0xFFFE || r == 0xFFFF {
			return 0xE000 + r&0xFF
		}
		return r
	}, s)
}

func (e *element) child(name string) *element {
	for _, c := range e.children {
		if c.name == name {
			return c
		}
	}
	return &element{}
}

// fields flattens EventData and the like as the reader documents it.
func (e *element) fields() event.Fields {
	var out event.Fields
	var group func(el *element, prefix string)
	field := func(el *element, name string, named bool) {
		if len(el.children) == 0 {
			out = append(out, event.Field{Name: name, Value: el.text})
		}
		for a, v := range el.attrs {
			if !named || a != "Name" {
				out = append(out, event.Field{Name: name + "_" + a, Value: v})
			}
		}
		group(el, name+"_")
	}
	group = func(el *element, prefix string) {
		for _, c := range el.children {
			field(c, prefix+c.name, false)
		}
	}
	for _, section := range e.children {
		switch section.name {
		case "System", "RenderingInfo":
		case "EventData":
			for a, v := range section.attrs {
				out = append(out, event.Field{Name: "EventData_" + a, Value: v})
			}
			for _, c := range section.children {
				name := c.name
				if n := c.attrs["Name"]; n != "" {
					name = n
				}
				field(c, name, true)
			}
		case "UserData":
			for _, wrapper := range section.children {
				for a, v := range wrapper.attrs {
					out = append(out, event.Field{Name: wrapper.name + "_" + a, Value: v})
				}
				if len(wrapper.children) == 0 && wrapper.text != "" {
					out = append(out, event.Field{Name: wrapper.name, Value: wrapper.text})
				}
				group(wrapper, "")
			}
		default:
			if len(section.children) == 0 {
				out = append(out, event.Field{Name: section.name, Value: section.text})
			}
			group(section, "")
		}
	}
	return out
}

// compare returns how e differs from the oracle's document, "" if not at all.
func (o oracle) compare(e *event.Event, xml []byte) string {
	doc, err := parseXML(xml)
	if err != nil {
		return fmt.Sprintf("the XML of %s: %v", o.name, err)
	}
	sys := doc.child("System")
	for _, c := range [][3]string{
		{"Provider", e.Provider, sys.child("Provider").attrs["Name"]},
		{"EventID", strconv.Itoa(int(e.ID)), sys.child("EventID").text},
		{"Version", strconv.Itoa(int(e.Version)), either(sys.child("Version").text, "0")},
		{"Level", strconv.Itoa(int(e.Level)), either(sys.child("Level").text, "0")},
		{"Task", strconv.Itoa(int(e.Task)), either(sys.child("Task").text, "0")},
		{"Opcode", strconv.Itoa(int(e.Opcode)), either(sys.child("Opcode").text, "0")},
		{"Keywords", "0x" + strconv.FormatUint(e.Keywords, 16), sys.child("Keywords").text},
		{"EventRecordID", strconv.FormatUint(e.Ref.RecordID, 10), sys.child("EventRecordID").text},
		{"ProcessID", strconv.Itoa(int(e.PID)), either(sys.child("Execution").attrs["ProcessID"], "0")},
		{"ThreadID", strconv.Itoa(int(e.TID)), either(sys.child("Execution").attrs["ThreadID"], "0")},
		{"Channel", e.Channel, sys.child("Channel").text},
		{"Computer", e.Host, sys.child("Computer").text},
		{"UserID", e.UserSID, sys.child("Security").attrs["UserID"]},
	} {
		if c[1] != c[2] && !(c[1][:min(2, len(c[1]))] == "0x" && sameNumber(c[1], c[2])) {
			return fmt.Sprintf("%s: %q here, %q by %s", c[0], c[1], c[2], o.name)
		}
	}
	if s := sys.child("TimeCreated").attrs["SystemTime"]; !o.sameTime(e.Logged.Format(event.TimeFormat), s) {
		return fmt.Sprintf("SystemTime: %s here, %s by %s", e.Logged.Format(event.TimeFormat), s, o.name)
	}
	var theirs event.Fields
	for _, f := range doc.fields() {
		// python-evtx writes an array as text that looks like elements.
		items := strings.Split(f.Value, "<string>")
		if o.name != "python-evtx" || len(items) < 2 || items[0] != "" {
			theirs = append(theirs, f)
			continue
		}
		for _, item := range items[1:] {
			theirs = append(theirs, event.Field{Name: f.Name, Value: strings.TrimSuffix(item, "</string>\n")})
		}
	}
	i := 0
	for _, f := range theirs {
		for o.name == "python-evtx" && i < len(e.Data) && e.Data[i].Value == "" && (e.Data[i].Name != f.Name || f.Value != "") {
			i++ // it drops the empty strings of an array
		}
		var ours event.Field
		if i < len(e.Data) {
			ours = e.Data[i]
		}
		if ours.Name == f.Name && o.sameValue(ours.Value, f.Value) {
			i++
			continue
		}
		if f.Value == "" {
			continue // a null here, an empty element there
		}
		return fmt.Sprintf("field %d: %q=%q here, %q=%q by %s", i, ours.Name, ours.Value, f.Name, f.Value, o.name)
	}
	if i < len(e.Data) {
		return fmt.Sprintf("field %d: %q=%q here, not by %s", i, e.Data[i].Name, e.Data[i].Value, o.name)
	}
	return ""
}

func (o oracle) sameTime(ours, theirs string) bool {
	a, err := time.Parse(time.RFC3339Nano, ours)
	if err != nil {
		return false
	}
	b, err := time.Parse(time.RFC3339Nano, strings.TrimSuffix(strings.Replace(theirs, " ", "T", 1), "Z")+"Z")
	if err != nil {
		return false
	}
	slack := time.Second
	for range o.timeDigits {
		slack /= 10
	}
	return a.Sub(b).Abs() < slack
}

func (o oracle) sameValue(ours, theirs string) bool {
	ours = printable(ours)
	if o.name == "python-evtx" { // it drops control characters
		ours = strings.Map(func(r rune) rune {
			if r >= 0xE000 && r < 0xE020 {
				return -1
			}
			return r
		}, ours)
	}
	switch {
	case ours == theirs:
		return true
	case strings.HasPrefix(ours, "0x"):
		return sameNumber(ours, theirs)
	case ours == "\n" && theirs == "":
		return true // evtxexport drops a value that is one line break
	case ours == "true" || ours == "false":
		return strings.EqualFold(ours, theirs) // python-evtx capitalises them
	case o.name == "python-evtx" && len(ours) > 0 && len(theirs)%4 == 0:
		// It writes binary values in base 64.
		if b, err := base64.StdEncoding.DecodeString(theirs); err == nil && fmt.Sprintf("%X", b) == ours {
			return true
		}
	case len(ours) == 38 && ours[0] == '{' && ours[37] == '}':
		return strings.EqualFold(ours, theirs)
	}
	return o.sameTime(ours, theirs)
}

// forwarded are the recordings that neither oracle can read a single record of:
// their records came through an event collector that had them rendered, and hold
// the whole event as literal text instead of a template.
var forwarded = []string{
	"evtx-to-mitre/Antivirus/ID1116-1117-Defender threat detected.evtx",
	"evtx-to-mitre/TA0002-Execution/T1059.001-PowerShell/ID800-4103-Interactive PipeShell over named pipe (server and client).evtx",
	"evtx-to-mitre/TA0003-Persistence/T1547-Boot or Logon Autostart Execution/ID4622-New SSP loaded in LSA (only legitim).evtx",
	"evtx-to-mitre/TA0005-Defense Evasion/T1562.004-Impair Defenses-Disable or Modify System Firewall/ID800-4103-Firewall disabled.evtx",
	"evtx-to-mitre/TA0007-Discovery/T1046-Network Service Scanning/ID131-RDP brutforce (no user info).evtx",
	"evtx-to-mitre/TA0007-Discovery/T1135.xxx-Network Share Discovery/ID5140-5145-Bloodhound-SharpHound enumeration via SMB.evtx",
}

// TestCorpusOracles compares every record, or a sample without ASHIATO_FULL=1,
// with what two other readers make of it.
func TestCorpusOracles(t *testing.T) {
	full := os.Getenv("ASHIATO_FULL") == "1"
	for _, c := range []struct {
		oracle func(*testing.T) oracle
		every  int
	}{{evtxexport, 3}, {pythonEvtx, 40}} {
		o := c.oracle
		t.Run(fmt.Sprintf("1 of %d", c.every), func(t *testing.T) {
			o := o(t)
			root := corpus.Dir(t, "evtx")
			files := evtxFiles(t, root)
			records, compared := 0, 0
			for i, file := range files {
				if !full && i%c.every != 0 {
					continue
				}
				rel, _ := filepath.Rel(root, file)
				b, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				var events []*event.Event
				for _, e := range read(b).events {
					if e.Flags&event.Carved == 0 {
						events = append(events, e)
					}
				}
				docs, err := o.export(file)
				records += len(events)
				if slices.Contains(forwarded, filepath.ToSlash(rel)) {
					if slices.ContainsFunc(docs, func(doc []byte) bool { return doc != nil }) {
						t.Errorf("%s: %s can read it now; compare it", rel, o.name)
					}
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				if len(docs) != len(events) {
					t.Errorf("%s: %d events here, %d by %s", rel, len(events), len(docs), o.name)
					continue
				}
				for i, doc := range docs {
					if doc == nil {
						t.Errorf("%s: record %d not read by %s", rel, events[i].Ref.RecordID, o.name)
						continue
					}
					compared++
					if diff := o.compare(events[i], doc); diff != "" {
						t.Errorf("%s: record %d: %s", rel, events[i].Ref.RecordID, diff)
					}
				}
			}
			t.Logf("%s: %d of %d records compared", o.name, compared, records)
		})
	}
}
