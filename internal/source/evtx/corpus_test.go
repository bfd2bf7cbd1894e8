package evtx_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"ashiato/internal/corpus"
	"ashiato/internal/event"
)

// evtxFiles lists the EVTX files under dir.
func evtxFiles(t testing.TB, dir string) []string {
	t.Helper()
	var files []string
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.EqualFold(filepath.Ext(p), ".evtx") {
			files = append(files, p)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Fatalf("no EVTX files in %s", dir)
	}
	return files
}

// walkRecords counts the records of a file by following the chunks' chains, and
// nothing else: an opinion that owes nothing to the reader.
func walkRecords(b []byte) (n int) {
	for at := 4096; at+512 <= len(b); at += 65536 {
		c := b[at:min(at+65536, len(b))]
		if string(c[:7]) != "ElfChnk" {
			continue
		}
		free := int(binary.LittleEndian.Uint32(c[48:]))
		for p := 512; p+28 <= min(free, len(c)) && string(c[p:p+4]) == "**\x00\x00"; {
			n++
			p += int(binary.LittleEndian.Uint32(c[p+4:]))
		}
	}
	return n
}

// TestCorpusEveryRecord reads every recording and wants every record of it.
func TestCorpusEveryRecord(t *testing.T) {
	total, leftovers := 0, 0
	for _, inside := range []string{"evtx", "sigma/regression_data"} {
		root := corpus.Dir(t, inside)
		for _, file := range evtxFiles(t, root) {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			rel, _ := filepath.Rel(root, file)
			res := read(b)
			for _, p := range res.problems {
				t.Errorf("%s: %v", rel, p)
			}
			chained := 0
			for _, e := range res.events {
				if e.Flags&event.Carved == 0 {
					chained++
				}
				if e.Flags&(event.Partial|event.BadChecksum) != 0 {
					t.Errorf("%s: record %d has flags %b", rel, e.Ref.RecordID, e.Flags)
				}
				if e.Provider == "" || e.Host == "" || e.Logged.Year() < 2010 || e.Logged.Year() > 2026 {
					t.Errorf("%s: record %d: provider %q, host %q, time %s", rel, e.Ref.RecordID, e.Provider, e.Host, e.Logged)
				}
			}
			checkResult(t, b, res)
			if want := walkRecords(b); chained != want {
				t.Errorf("%s: %d events, %d records", rel, chained, want)
			}
			if res.stats.FilesRead != 1 {
				t.Errorf("%s: not counted as read", rel)
			}
			total += chained
			leftovers += len(res.events) - chained
		}
	}
	t.Logf("%d records, %d leftovers", total, leftovers)
}

// checkResult holds what must be true of every reading of b.
func checkResult(t fataler, b []byte, res result) {
	t.Helper()
	s := res.stats
	if s.Records != s.Events+s.Undecodable || s.Events != int64(len(res.events)) || s.Files != 1 || s.Bytes != int64(len(b)) {
		t.Fatalf("stats do not balance: %+v with %d events of %d bytes", s, len(res.events), len(b))
	}
	var carved int64
	for _, e := range res.events {
		if e.Flags&event.Carved != 0 {
			carved++
		}
		if err := checkRef(b, e); err != "" {
			t.Fatalf("record %d: %s", e.Ref.RecordID, err)
		}
	}
	if s.Carved != carved {
		t.Fatalf("%d carved events, %d in the stats", carved, s.Carved)
	}
	kinds := map[string]bool{}
	for _, p := range res.problems {
		if p.Count < 1 || p.Detail == "" || p.File != "test.evtx" || p.Offset < 0 || p.Offset > int64(len(b)) || kinds[string(p.Kind)] {
			t.Fatalf("bad problem %+v", p)
		}
		kinds[string(p.Kind)] = true
	}
	if s.Undecodable > 0 && len(res.problems) == 0 {
		t.Fatalf("%d records lost without a problem", s.Undecodable)
	}
}

// TestCorpusPairs compares the fields with what another reader, evtx_dump, wrote
// of the same records as JSON. It differs on purpose in three things: evtx_dump
// trims blanks at the end of values, drops the braces of GUIDs and writes FILETIME
// with six digits. Hexadecimal values are compared as numbers where it writes
// decimal ones.
func TestCorpusPairs(t *testing.T) {
	root := corpus.Dir(t, "sigma/regression_data")
	pairs, values, trimmed := 0, 0, 0
	for _, file := range evtxFiles(t, root) {
		twin, err := os.ReadFile(strings.TrimSuffix(file, filepath.Ext(file)) + ".json")
		if err != nil {
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
		docs := decodeTwins(t, rel, twin)
		if len(docs) != len(events) {
			t.Errorf("%s: %d events, %d in the twin", rel, len(events), len(docs))
			continue
		}
		pairs++
		for i, doc := range docs {
			n, tr := compareTwin(t, rel, events[i], doc)
			values += n
			trimmed += tr
		}
	}
	if pairs == 0 {
		t.Fatal("no pairs were compared")
	}
	t.Logf("%d pairs, %d values, %d of them trimmed in the twin", pairs, values, trimmed)
}

func decodeTwins(t *testing.T, name string, b []byte) []map[string]any {
	t.Helper()
	var docs []map[string]any
	dec := json.NewDecoder(bytes.NewReader(bytes.TrimPrefix(b, []byte("\xef\xbb\xbf"))))
	dec.UseNumber()
	for {
		var doc map[string]any
		err := dec.Decode(&doc)
		if err == io.EOF {
			return docs
		}
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		docs = append(docs, doc["Event"].(map[string]any))
	}
}

func compareTwin(t *testing.T, name string, e *event.Event, doc map[string]any) (values, trimmed int) {
	t.Helper()
	sys := doc["System"].(map[string]any)
	for _, c := range [][2]string{
		{e.Provider, at(sys, "Provider", "#attributes", "Name")},
		{strconv.Itoa(int(e.ID)), either(at(sys, "EventID"), at(sys, "EventID", "#text"))},
		{strconv.Itoa(int(e.Version)), at(sys, "Version")},
		{strconv.Itoa(int(e.Level)), at(sys, "Level")},
		{strconv.Itoa(int(e.Task)), at(sys, "Task")},
		{strconv.Itoa(int(e.Opcode)), at(sys, "Opcode")},
		{"0x" + strconv.FormatUint(e.Keywords, 16), at(sys, "Keywords")},
		{e.Logged.Truncate(time.Microsecond).Format("2006-01-02T15:04:05.000000Z"), at(sys, "TimeCreated", "#attributes", "SystemTime")},
		{strconv.FormatUint(e.Ref.RecordID, 10), at(sys, "EventRecordID")},
		{strconv.Itoa(int(e.PID)), either(at(sys, "Execution", "#attributes", "ProcessID"), "0")},
		{strconv.Itoa(int(e.TID)), either(at(sys, "Execution", "#attributes", "ThreadID"), "0")},
		{e.Channel, at(sys, "Channel")},
		{e.Host, at(sys, "Computer")},
		{e.UserSID, at(sys, "Security", "#attributes", "UserID")},
	} {
		if c[0] != c[1] && !(strings.HasPrefix(c[0], "0x") && sameNumber(c[0], c[1])) {
			t.Errorf("%s: record %d: System has %q, the twin %q", name, e.Ref.RecordID, c[0], c[1])
		}
	}
	want := map[string][]string{}
	for _, section := range []string{"EventData", "UserData"} {
		m, _ := doc[section].(map[string]any)
		if section == "UserData" {
			for _, wrapped := range m {
				flatten(want, "", wrapped)
			}
			continue
		}
		flatten(want, "", m)
	}
	got := map[string][]string{}
	for _, f := range e.Data {
		got[f.Name] = append(got[f.Name], f.Value)
	}
	for field, list := range want {
		g := got[field]
		if g == nil && slices.Equal(list, []string{""}) {
			continue // a null, which the twin shows as an empty element
		}
		if len(g) != len(list) {
			t.Errorf("%s: record %d: %s is %q, in the twin %q", name, e.Ref.RecordID, field, g, list)
			continue
		}
		for i, w := range list {
			values++
			switch {
			case g[i] == w:
			case strings.TrimRight(g[i], " \t\r\n") == strings.TrimRight(w, " \t\r\n"):
				trimmed++
			case strings.Trim(g[i], "{}") == w, sameNumber(g[i], w), sameTime(g[i], w):
			default:
				t.Errorf("%s: record %d: %s is %q, in the twin %q", name, e.Ref.RecordID, field, g[i], w)
			}
		}
	}
	for field, list := range got {
		if want[field] == nil {
			t.Errorf("%s: record %d: %s is %q, not in the twin", name, e.Ref.RecordID, field, list)
		}
	}
	return values, trimmed
}

func flatten(into map[string][]string, prefix string, v any) {
	switch v := v.(type) {
	case map[string]any:
		for k, x := range v {
			switch k {
			case "#attributes":
				for a, y := range x.(map[string]any) {
					if a != "xmlns" && a != "Name" {
						flatten(into, strings.TrimPrefix(prefix+"_"+a, "_"), y)
					}
				}
			case "#text":
				flatten(into, prefix, x)
			default:
				flatten(into, strings.TrimPrefix(prefix+"_"+k, "_"), x)
			}
		}
	case []any:
		for _, x := range v {
			flatten(into, prefix, x)
		}
	case nil:
		into[prefix] = append(into[prefix], "")
	case bool:
		into[prefix] = append(into[prefix], strconv.FormatBool(v))
	case json.Number:
		into[prefix] = append(into[prefix], v.String())
	case string:
		into[prefix] = append(into[prefix], v)
	}
}

func at(m map[string]any, path ...string) string {
	var v any = m
	for _, p := range path {
		m, ok := v.(map[string]any)
		if !ok {
			return ""
		}
		v = m[p]
	}
	switch v := v.(type) {
	case string:
		return v
	case json.Number:
		return v.String()
	}
	return ""
}

func either(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

func sameNumber(a, b string) bool {
	x, err1 := strconv.ParseUint(a, 0, 64)
	y, err2 := strconv.ParseUint(b, 0, 64)
	return err1 == nil && err2 == nil && x == y
}

func sameTime(a, b string) bool {
	x, err1 := time.Parse(time.RFC3339Nano, a)
	y, err2 := time.Parse(time.RFC3339Nano, b)
	return err1 == nil && err2 == nil && x.Truncate(time.Microsecond).Equal(y)
}

// TestCorpusForwarded holds the records that a collector had rendered, which no
// oracle reads, against records of the same kind that come as templates: the
// fields have the same names in the same order.
func TestCorpusForwarded(t *testing.T) {
	root := corpus.Dir(t, "evtx")
	type kind struct {
		provider    string
		id, version int
	}
	known := map[kind]map[string]bool{}
	records := map[kind][]*event.Event{}
	for _, file := range evtxFiles(t, root) {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		rel, _ := filepath.Rel(root, file)
		for _, e := range read(b).events {
			k := kind{e.Provider, int(e.ID), int(e.Version)}
			if slices.Contains(forwarded, filepath.ToSlash(rel)) {
				records[k] = append(records[k], e)
				continue
			}
			if known[k] == nil {
				known[k] = map[string]bool{}
			}
			known[k][fieldNames(e)] = true
		}
	}
	compared, total := 0, 0
	for k, events := range records {
		total += len(events)
		for _, e := range events {
			if e.ID == 0 || e.Host == "" || len(e.Data) == 0 {
				t.Errorf("record %d of %v was read only in part: %+v", e.Ref.RecordID, k, e)
			}
			if known[k] == nil || k.provider == "Microsoft-Windows-Windows Defender" {
				continue // Defender names its fields differently in every release
			}
			compared++
			if !known[k][fieldNames(e)] {
				t.Errorf("record %d of %v has the fields %s", e.Ref.RecordID, k, fieldNames(e))
			}
		}
	}
	if compared == 0 {
		t.Error("nothing was compared")
	}
	t.Logf("%d records, %d of them compared", total, compared)
}

func fieldNames(e *event.Event) string {
	var names []string
	for _, f := range e.Data {
		names = append(names, f.Name)
	}
	return strings.Join(names, ",")
}
