package ndjson_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"ashiato/internal/event"
	"ashiato/internal/source"
	"ashiato/internal/source/ndjson"
	"ashiato/internal/source/sourcetest"
)

func sampleEvent(i int) *event.Event {
	return &event.Event{
		Host: "HOST-1.example.org", Provider: "Microsoft-Windows-Sysmon", Channel: "Microsoft-Windows-Sysmon/Operational",
		ID: 1, Version: 5, Level: 4, Task: 1, Keywords: 1 << 63, PID: 1234, TID: uint32(i), UserSID: "S-1-5-18",
		Logged: time.Date(2024, 5, 6, 7, 8, 9, 1000*i, time.UTC),
		Data: event.Fields{
			{Name: "Image", Value: `C:\Windows \System32\printui.exe`},
			{Name: "CommandLine", Value: fmt.Sprintf(`"C:\a b.exe" /x "{%d}"`, i)},
			{Name: "Empty", Value: ""},
		},
		Ref: event.EvidenceRef{RecordID: uint64(i + 1)},
	}
}

func sample(n int) []byte {
	var b []byte
	for i := range n {
		b = ndjson.Append(b, sampleEvent(i))
	}
	return b
}

// utf16 encodes text as Windows does.
func utf16(text []byte, bigEndian bool) []byte {
	b := event.AppendUTF16LE([]byte{0xFF, 0xFE}, string(text))
	if bigEndian {
		for i := 0; i+1 < len(b); i += 2 {
			b[i], b[i+1] = b[i+1], b[i]
		}
	}
	return b
}

func TestConformance(t *testing.T) {
	t.Run("lines", func(t *testing.T) { sourcetest.Run(t, ndjson.Read, sample(12)) })
	t.Run("array", func(t *testing.T) {
		b := append([]byte{'['}, bytes.ReplaceAll(bytes.TrimSpace(sample(12)), []byte("\n"), []byte(",\n"))...)
		sourcetest.Run(t, ndjson.Read, append(b, ']'))
	})
	t.Run("utf16", func(t *testing.T) { sourcetest.Run(t, ndjson.Read, utf16(sample(10), false)) })
}

// read returns the events of text with references left out, which the
// conformance suite looks at.
func read(t testing.TB, text string) ([]*event.Event, source.Stats, []source.Problem) {
	t.Helper()
	events, stats, problems := sourcetest.Read(context.Background(), ndjson.Read, strings.NewReader(text))
	sourcetest.Check(t, events, stats, problems)
	return events, stats, problems
}

func indent(t *testing.T, text string) string {
	var b bytes.Buffer
	if err := json.Indent(&b, []byte(text), "", "  "); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestFramings(t *testing.T) {
	one := strings.TrimSpace(string(ndjson.Append(nil, sampleEvent(0))))
	two := strings.TrimSpace(string(ndjson.Append(nil, sampleEvent(1))))
	pretty := indent(t, one)
	for name, text := range map[string]string{
		"lines":        one + "\n" + two + "\n",
		"no last end":  one + "\n" + two,
		"crlf":         one + "\r\n" + two + "\r\n",
		"blank lines":  "\n\n" + one + "\n\n\r\n" + two + "\n",
		"concatenated": one + two,
		"array":        "[" + one + "," + two + "]",
		"array lines":  "[\n" + one + ",\n" + two + "\n]\n",
		"leading":      "[" + one + "\n," + two + "\n]\n",
		"pretty":       pretty + "\n" + two,
		"evtx_dump":    "Record 1\n" + pretty + "\nRecord 2\n" + two + "\n",
		"bom":          "\xEF\xBB\xBF" + one + "\n" + two,
		"utf16le":      string(utf16([]byte(one+"\r\n"+two), false)),
		"utf16be":      string(utf16([]byte(one+"\r\n"+two), true)),
		"sequence":     "\x1e" + one + "\n\x1e" + two + "\n",
		"bulk":         `{"index":{"_index":"logs"}}` + "\n" + one + "\n" + `{"create":{}}` + "\n" + two + "\n",
		"search":       `{"took":1,"hits":{"total":2,"hits":[{"_index":"x","_source":` + one + `},{"_source":` + two + `}]}}`,
		"records":      `{"Records":[` + one + "," + two + `]}`,
	} {
		t.Run(name, func(t *testing.T) {
			if name != "sequence" && name != "leading" && !ndjson.Sniff([]byte(text)[:min(len(text), 512)]) {
				t.Error("not recognised")
			}
			events, stats, problems := read(t, text)
			if len(problems) > 0 || stats.FilesRead != 1 {
				t.Errorf("problems %v, stats %+v", problems, stats)
			}
			want := []*event.Event{sampleEvent(0), sampleEvent(1)}
			for _, e := range want {
				e.Time = e.Logged
			}
			if diff := cmp.Diff(want, events, cmpopts.IgnoreFields(event.Event{}, "Ref")); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestSniffRefuses(t *testing.T) {
	for _, head := range []string{"", "hello", "<Events>", "{ not json", "[1, 2]", "ElfFile\x00", "[section]\nkey=1"} {
		if ndjson.Sniff([]byte(head)) {
			t.Errorf("%q is taken for JSON records", head)
		}
	}
}

// TestShapes reads one record of every shape.
func TestShapes(t *testing.T) {
	const fields = `"Image":"C:\\a.exe","ProcessId":"7"`
	at := time.Date(2020, 9, 21, 7, 15, 25, 0, time.UTC)
	base := event.Event{
		Host: "H", Provider: "P", Channel: "C", ID: 1, Version: 5, Level: 4, Task: 12, Keywords: 1 << 63, PID: 11, TID: 22,
		UserSID: "S-1-5-18", Time: at, Logged: at,
		Data: event.Fields{{Name: "Image", Value: `C:\a.exe`}, {Name: "ProcessId", Value: "7"}},
	}
	for _, c := range []struct {
		name, text string
		change     func(e *event.Event)
		record     uint64
	}{
		{
			name: "winlogbeat 7", record: 9, text: `{"@timestamp":"2020-09-21T07:15:25.000Z","agent":{"name":"a"},"host":{"name":"collector"},"log":{"level":"information"},
			"message":"rendered","event":{"code":"1"},"winlog":{"event_data":{` + fields + `},"event_id":"1","channel":"C","computer_name":"H","record_id":"9",
			"provider_name":"P","version":5,"task":"12","keywords":["Audit Success"],"opcode":"Info","level":"information","process":{"pid":11,"thread":{"id":22}},"user":{"identifier":"S-1-5-18"}}}`,
			change: func(e *event.Event) { e.Keywords = 1 << 53 },
		},
		{name: "winlogbeat dotted", record: 9, text: `{"@timestamp":"2020-09-21T07:15:25.000Z","winlog.event_data.Image":"C:\\a.exe","winlog.event_data.ProcessId":7,
			"winlog.event_id":1,"winlog.channel":"C","winlog.computer_name":"H","winlog.record_id":9,"winlog.provider_name":"P","winlog.version":5,"winlog":{"task":12,"process.pid":11},
			"winlog.process.thread.id":22,"winlog.user.identifier":"S-1-5-18","winlog.keywords":"0x8000000000000000","log.level":"information"}`},
		{name: "elasticsearch hit", record: 9, text: `{"_index":"i","_source":{"@timestamp":"2020-09-21T07:15:25.000Z","winlog":{"event_data":{` + fields + `},"event_id":1,"channel":"C","computer_name":"H",
			"record_id":9,"provider_name":"P","version":5,"task":12,"level":"4","process":{"pid":11,"thread":{"id":22}},"user":{"identifier":"S-1-5-18"},"keywords":"0x8000000000000000"}}}`},
		{
			name: "elasticsearch fields", record: 9, text: `{"_index":"i","fields":{"@timestamp":["2020-09-21T07:15:25.000Z"],"winlog.event_data.Image":["C:\\a.exe"],"winlog.event_data.ProcessId":["7"],
			"winlog.event_id":["1"],"winlog.channel":["C"],"winlog.computer_name":["H"],"winlog.record_id":[9],"winlog.provider_name":["P"],"winlog.version":[5],"winlog.task":["12"],
			"winlog.level":["4"],"winlog.process.pid":[11],"winlog.process.thread.id":[22],"winlog.user.identifier":["S-1-5-18"],"winlog.keywords":["Classic"]}}`,
			change: func(e *event.Event) { e.Keywords = 1 << 55 },
		},
		{name: "winlogbeat user data", record: 9, text: `{"@timestamp":"2020-09-21T07:15:25.000Z","winlog":{"user_data":{"xml_name":"X",` + fields + `},"event_id":"1","channel":"C","computer_name":"H","record_id":"9",
			"provider_name":"P","version":5,"task":"12","keywords":"0x8000000000000000","level":"4","process":{"pid":11,"thread":{"id":22}},"user":{"identifier":"S-1-5-18"}}}`},
		{name: "winlogbeat 6", record: 9, text: `{"@timestamp":"2020-09-21T07:15:25.000Z","event_data":{` + fields + `},"event_id":1,"log_name":"C","computer_name":"H","record_number":"9","source_name":"P",
			"version":5,"task":"12","level":"Information","process_id":11,"thread_id":22,"user":{"identifier":"S-1-5-18"},"keywords":"0x8000000000000000","beat":{"name":"W"},"host":{"name":"W"}}`},
		{name: "nxlog", record: 9, text: `{"EventTime":"2020-09-21 03:15:25","EventReceivedTime":"2020-09-21 03:15:27","@timestamp":"2020-09-21T07:15:27.705Z","EventID":1,"Channel":"C","Hostname":"H",
			"SourceName":"P","ProviderGuid":"{x}","Version":5,"Task":12,"OpcodeValue":0,"Opcode":"Info","Keywords":-9223372036854775808,"RecordNumber":9,"ExecutionProcessID":11,"ThreadID":22,"UserID":"S-1-5-18",
			"AccountName":"SYSTEM","Domain":"NT AUTHORITY","AccountType":"User","SeverityValue":2,"Severity":"INFO","EventType":"INFO","host":"wec","port":1,"tags":["x"],"Message":"rendered",` + fields + `}`},
		{
			name: "nxlog event type", record: 0, text: `{"EventTime":"2020-09-21T07:15:25Z","EventID":13,"Channel":"C","Hostname":"H","SourceName":"P","EventType":"SetValue","AccountName":"LocalSystem","Severity":"INFO"}`,
			change: func(e *event.Event) {
				*e = event.Event{
					Host: "H", Provider: "P", Channel: "C", ID: 13, Time: at, Logged: at,
					Data: event.Fields{{Name: "EventType", Value: "SetValue"}, {Name: "AccountName", Value: "LocalSystem"}},
				}
			},
		},
		{
			name: "message only", record: 0, text: `{"TimeCreated":"2020-09-21 07:15:25","EventID":1102,"Channel":"Security","Hostname":"H","SourceName":"P","Message":"The audit log was cleared."}`,
			change: func(e *event.Event) {
				*e = event.Event{
					Host: "H", Provider: "P", Channel: "Security", ID: 1102, Time: at, Logged: at,
					Data: event.Fields{{Name: "Message", Value: "The audit log was cleared."}},
				}
			},
		},
		{
			name: "get-winevent", record: 9, text: `{"Id":1,"Version":5,"Level":4,"Task":12,"Opcode":0,"Keywords":-9223372036854775808,"RecordId":9,"ProviderName":"P","LogName":"C","ProcessId":11,"ThreadId":22,"MachineName":"H",
			"UserId":{"BinaryLength":12,"Value":"S-1-5-18"},"TimeCreated":"\/Date(1600672525000)\/","LevelDisplayName":"Information","Properties":[{"Value":"C:\\a.exe"},{"Value":7}],"Message":"rendered"}`,
			change: func(e *event.Event) {
				e.Data = event.Fields{{Name: "Data", Value: `C:\a.exe`}, {Name: "Data", Value: "7"}}
			},
		},
		{
			name: "log analytics", record: 0, text: `{"TenantId":"t","TimeGenerated":"2020-09-21T07:15:25Z","Computer":"H","EventSourceName":"P","Channel":"C","Task":12,"Level":"4","EventID":1,"Activity":"1 - x","Type":"SecurityEvent","Unused":"",
			"EventData":"<EventData xmlns=\"x\">\r\n<Data Name=\"Image\">C:\\a.exe</Data><Data Name=\"ProcessId\">7</Data></EventData>"}`,
			change: func(e *event.Event) { e.Version, e.Keywords, e.PID, e.TID, e.UserSID = 0, 0, 0, 0, "" },
		},
		{name: "syslog", record: 9, text: `{"SyslogMessage":"<Event><System><Provider Name=\"P\"/><EventID>1</EventID><Version>5</Version><Level>4</Level><Task>12</Task><Keywords>0x8000000000000000</Keywords><TimeCreated SystemTime=\"2020-09-21T07:15:25Z\"/><EventRecordID>9</EventRecordID><Execution ProcessID=\"11\" ThreadID=\"22\"/><Channel>C</Channel><Computer>H</Computer><Security UserId=\"S-1-5-18\"/></System><EventData><Data Name=\"Image\">C:\\a.exe</Data><Data Name=\"ProcessId\">7</Data></EventData></Event>"}`},
		{name: "evtx_dump", record: 9, text: `{"Event":{"#attributes":{"xmlns":"x"},"System":{"Provider":{"#attributes":{"Name":"P","Guid":"g"}},"EventID":1,"Version":5,"Level":4,"Task":12,"Opcode":0,"Keywords":"0x8000000000000000",
			"TimeCreated":{"#attributes":{"SystemTime":"2020-09-21T07:15:25.000000Z"}},"EventRecordID":9,"Correlation":null,"Execution":{"#attributes":{"ProcessID":11,"ThreadID":22}},"Channel":"C","Computer":"H",
			"Security":{"#attributes":{"UserID":"S-1-5-18"}}},"EventData":{` + fields + `,"Absent":null}}}`},
		{name: "separate attributes", record: 9, text: `{"Event_attributes":{"xmlns":"x"},"Event":{"System":{"Provider_attributes":{"Name":"P"},"Provider":null,"EventID_attributes":{"Qualifiers":1},"EventID":1,"Version":5,"Level":4,"Task":12,
			"Keywords":"0x8000000000000000","TimeCreated_attributes":{"SystemTime":"2020-09-21 07:15:25 UTC"},"EventRecordID":9,"Execution_attributes":{"ProcessID":11,"ThreadID":22},"Channel":"C","Computer":"H",
			"Security_attributes":{"UserID":"S-1-5-18"}},"EventData":{` + fields + `}}}`},
		{name: "chainsaw", record: 9, text: `{"kind":"individual","document":{"kind":"evtx","path":"p","data":{"Event":{"System":{"Provider":{"@Name":"P"},"EventID":{"#text":1,"#attributes":{"Qualifiers":0}},"Version":5,"Level":4,"Task":12,
			"Keywords":"0x8000000000000000","TimeCreated":{"@SystemTime":"2020-09-21T07:15:25Z"},"EventRecordID":9,"Execution":{"@ProcessID":11,"@ThreadID":"22"},"Channel":"C","Computer":"H","Security":{"@UserID":"S-1-5-18"}},
			"UserData":{"Wrapper":{"#attributes":{"xmlns":"y"},` + fields + `}}}}}}`},
		{name: "velociraptor", record: 9, text: `{"System":{"Provider":{"Name":"P","Guid":"g"},"EventID":{"Value":1},"Version":5,"Level":4,"Task":12,"Opcode":0,"Keywords":9223372036854775808,"TimeCreated":{"SystemTime":1600672525.0},
			"EventRecordID":9,"Execution":{"ProcessID":11,"ThreadID":22},"Channel":"C","Computer":"H","Security":{"UserID":"S-1-5-18"}},"EventData":{` + fields + `},"Message":"rendered"}`},
		{
			name: "data lists", record: 9, text: `{"Event":{"System":{"Provider":{"Name":"P"},"EventID":"1","Version":"5","Level":"4","Task":"12","Keywords":"0x8000000000000000","TimeCreated":{"SystemTime":"2020-09-21T09:15:25+02:00"},"EventRecordID":"9",
			"Execution":{"ProcessID":"11","ThreadID":"22"},"Channel":"C","Computer":"H","Security":{"UserID":"S-1-5-18"}},"EventData":{"Data":[{"@Name":"Image","#text":"C:\\a.exe"},{"#attributes":{"Name":"ProcessId"},"#text":7},{"Name":"Empty"},"unnamed"]}}}`,
			change: func(e *event.Event) {
				e.Data = append(e.Data, event.Field{Name: "Empty"}, event.Field{Name: "Data", Value: "unnamed"})
			},
		},
		{
			name: "unnamed data", record: 9, text: `{"Event":{"System":{"Provider":{"Name":"P"},"EventID":1,"Version":5,"Level":4,"Task":12,"Keywords":"0x8000000000000000","TimeCreated":{"SystemTime":"2020-09-21T07:15:25Z"},"EventRecordID":9,
			"Execution":{"ProcessID":11,"ThreadID":22},"Channel":"C","Computer":"H","Security":{"UserID":"S-1-5-18"}},"EventData":{"Data":{"#text":["a","b"]},"Binary":"00FF","Big":12345678901234567890.50,"Yes":true}}}`,
			change: func(e *event.Event) {
				e.Data = event.Fields{
					{Name: "Data", Value: "a"},
					{Name: "Data", Value: "b"},
					{Name: "Binary", Value: "00FF"},
					{Name: "Big", Value: "12345678901234567890.50"},
					{Name: "Yes", Value: "true"},
				}
			},
		},
		{
			name: "nested user data", record: 9, text: `{"Event":{"System":{"Provider":{"Name":"P"},"EventID":1,"Version":5,"Level":4,"Task":12,"Keywords":"0x8000000000000000","TimeCreated":{"SystemTime":"2020-09-21T07:15:25Z"},"EventRecordID":9,
			"Execution":{"ProcessID":11,"ThreadID":22},"Channel":"C","Computer":"H","Security":{"UserID":"S-1-5-18"}},"UserData":{"W":{"#attributes":{"xmlns":"y","v":"1"},"A":"x","G":{"#attributes":{"k":"2"},"L":["m","n"]}}}}}`,
			change: func(e *event.Event) {
				e.Data = event.Fields{
					{Name: "W_v", Value: "1"},
					{Name: "A", Value: "x"},
					{Name: "G_k", Value: "2"},
					{Name: "G_L", Value: "m"},
					{Name: "G_L", Value: "n"},
				}
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			want := base
			want.Data = append(event.Fields(nil), base.Data...)
			if c.change != nil {
				c.change(&want)
			}
			events, _, problems := read(t, c.text)
			if len(events) != 1 || len(problems) > 0 {
				t.Fatalf("%d events, problems %v", len(events), problems)
			}
			if events[0].Ref.RecordID != c.record {
				t.Errorf("record id %d, want %d", events[0].Ref.RecordID, c.record)
			}
			if diff := cmp.Diff(&want, events[0], cmpopts.IgnoreFields(event.Event{}, "Ref")); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestZones covers how a wall clock without a zone becomes UTC.
func TestZones(t *testing.T) {
	for _, c := range []struct{ name, times, want string }{
		{"received tells the zone", `"EventTime":"2020-10-09 18:27:49","EventReceivedTime":"2020-10-09 18:30:01","@timestamp":"2020-10-09T22:30:01.952Z"`, "2020-10-09T22:27:49.0000000Z"},
		{"its own time does", `"EventTime":"2020-10-09 18:30:00","@timestamp":"2020-10-09T22:30:01.952Z"`, "2020-10-09T22:30:00.0000000Z"},
		{"the same second", `"EventTime":"2020-10-09 18:30:01","@timestamp":"2020-10-09T22:30:01.952Z"`, "2020-10-09T22:30:01.9520000Z"},
		{"Nepal", `"EventTime":"2020-10-10 04:15:00","@timestamp":"2020-10-09T22:30:01.952Z"`, "2020-10-09T22:30:00.0000000Z"},
		{"no zone fits", `"EventTime":"2020-10-09 18:22:00","@timestamp":"2020-10-09T22:30:01.952Z"`, "2020-10-09T22:30:01.9520000Z"},
		{"nothing else", `"EventTime":"2020-10-09 18:30:01"`, "2020-10-09T18:30:01.0000000Z"},
		{"zone of its own", `"EventTime":"2020-10-09T18:30:01.5-04:00","@timestamp":"2020-10-09T23:00:00Z"`, "2020-10-09T22:30:01.5000000Z"},
		{"only the shipper's", `"@timestamp":"2020-10-09T22:30:01.952Z"`, "2020-10-09T22:30:01.9520000Z"},
	} {
		t.Run(c.name, func(t *testing.T) {
			events, _, _ := read(t, `{"EventID":1,"Channel":"C",`+c.times+`}`)
			if len(events) != 1 || events[0].Logged.Format(event.TimeFormat) != c.want {
				t.Errorf("%v, want %s", events, c.want)
			}
		})
	}
	events, _, _ := read(t, `{"EventID":1,"Channel":"C"}`)
	if len(events) != 1 || events[0].Flags != event.Partial {
		t.Errorf("a record without a time is not marked: %v", events)
	}
}

// TestDamage states what a broken record costs.
func TestDamage(t *testing.T) {
	line := strings.TrimSpace(string(ndjson.Append(nil, sampleEvent(0))))
	half := line[:len(line)/2]
	pretty := indent(t, line)
	deep := `{"EventID":1,"Channel":"C","x":` + strings.Repeat("[", 1000) + strings.Repeat("]", 1000) + "}"
	for _, c := range []struct {
		name, text string
		events     int
		kind       source.ProblemKind
		line, lost int
	}{
		{"line cut", line + "\n" + half + "\n" + line + "\n" + line, 3, source.Corrupt, 2, 1},
		{"cut outside a string", line + "\n{\"a\":1,\n" + line + "\n" + line, 3, source.Corrupt, 2, 1},
		{"cut before a value", line + "\n{\"a\":\n" + line + "\n" + line, 3, source.Corrupt, 2, 1},
		{"cut at the end", line + "\n" + half, 1, source.Truncated, 2, 1},
		{"cut in an array", "[" + line + ",\n" + half + "\n," + line + "]", 2, source.Corrupt, 2, 1},
		{"pretty cut", pretty + "\n" + pretty[:len(pretty)/2] + "\n" + pretty, 2, source.Corrupt, strings.Count(pretty, "\n") + 2, 1},
		{"junk", "hello\n" + line + "\nworld\n", 1, source.Corrupt, 1, 2},
		{"zero bytes", line + "\n" + strings.Repeat("\x00", 5000) + line, 2, source.Corrupt, 2, 0},
		{"deep", line + "\n" + deep + "\n" + line, 2, source.TooLarge, 2, 1},
		{"no event", line + "\n{\"a\":1}\n{}\n" + line, 2, source.UnknownFormat, 2, 2},
		{"no number", `{"EventID":"x","Channel":"C"}`, 0, source.UnknownFormat, 1, 1},
		{"blank", " \r\n\t", 0, source.Empty, 0, 0},
		{"huge line", line + "\n{\"a\":\"" + strings.Repeat("x", ndjson.MaxRecord+1000) + "\"}\n" + line, 2, source.TooLarge, 2, 1},
		{
			"huge wrapper", "{\"a\":[\n" + strings.Repeat(line+",\n", ndjson.MaxRecord/len(line)+10) + "{}]}\n" + line + "\n",
			ndjson.MaxRecord/len(line) + 11, source.TooLarge, 1, 1,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			events, _, problems := read(t, c.text)
			if len(events) != c.events {
				t.Errorf("%d events, want %d", len(events), c.events)
			}
			if len(problems) == 0 {
				t.Fatal("no problem")
			}
			if p := problems[0]; p.Kind != c.kind || p.Line != c.line || p.Lost != c.lost {
				t.Errorf("problem %+v, want %s in line %d with %d lost", p, c.kind, c.line, c.lost)
			}
		})
	}
}

// TestText states which bytes and code units values keep.
func TestText(t *testing.T) {
	for _, c := range []struct{ json, want string }{
		{`"C:\\Windows \\System32\u0000"`, "C:\\Windows \\System32\x00"},
		{`"\ud800"`, "\xED\xA0\x80"},
		{`"\udc00\ud800x"`, "\xED\xB0\x80\xED\xA0\x80x"},
		{`"\ud83d\ude00"`, "😀"},
		{`"\ud83d\u0041"`, "\xED\xA0\xBDA"},
		{"\"\xff\xfe bytes\"", "\xff\xfe bytes"},
		{"\"tab\there\"", "tab\there"},
		{`"\b\f\n\r\t\/\"\\"`, "\b\f\n\r\t/\"\\"},
		{`1e5`, "1e5"},
		{`-0.10`, "-0.10"},
		{`false`, "false"},
	} {
		events, _, problems := read(t, `{"EventID":1,"Channel":"C","X":`+c.json+`}`)
		if len(events) != 1 || len(problems) > 0 {
			t.Fatalf("%s: %d events, %v", c.json, len(events), problems)
		}
		if got, _ := events[0].Data.Get("X"); got != c.want {
			t.Errorf("%s is %q, want %q", c.json, got, c.want)
		}
	}
}

// TestNameAmplificationIsBounded holds that a long name around many short ones does
// not multiply.
func TestNameAmplificationIsBounded(t *testing.T) {
	for shape, around := range map[string][2]string{
		"tree": {`{"System":{"EventID":1,"Channel":"C"},"UserData":{"W":`, `}}`},
		"beat": {`{"winlog":{"event_id":1,"channel":"C","event_data":`, `}}`},
	} {
		long := strings.Repeat("n", 1<<20)
		var b strings.Builder
		b.WriteString(around[0] + `{"` + long + `":{`)
		for i := range 20000 {
			fmt.Fprintf(&b, `"k%d":1,`, i)
		}
		b.WriteString(`"end":1}}` + around[1])
		events, _, _ := read(t, b.String())
		if len(events) != 1 || events[0].Flags&event.Partial == 0 {
			t.Fatalf("%s: %d events", shape, len(events))
		}
		total := 0
		for _, f := range events[0].Data {
			total += len(f.Name)
		}
		if total > 4<<20 {
			t.Errorf("%s: the names of the fields take %d bytes", shape, total)
		}
	}
}

// anyEvent draws events whose fields every reader could have given.
func anyEvent(t *rapid.T) *event.Event {
	text := rapid.Custom(func(t *rapid.T) string {
		if rapid.Bool().Draw(t, "utf16") {
			return string(event.AppendUTF16(nil, rapid.SliceOfN(rapid.Byte(), 0, 24).Draw(t, "units")))
		}
		return rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"", "Data", "Data", "Image", "#text", "@x", "a_attributes", "\xED\xA0\x80\xED\xB0\x80", "\xff", "\"\\/\b\x7f\n"})).Draw(t, "text")
	})
	e := &event.Event{
		Host: text.Draw(t, "host"), Provider: text.Draw(t, "provider"), Channel: text.Draw(t, "channel"),
		ID: rapid.Uint32().Draw(t, "id"), Version: rapid.Uint8().Draw(t, "version"), Level: rapid.Uint8().Draw(t, "level"),
		Opcode: rapid.Uint8().Draw(t, "opcode"), Task: rapid.Uint16().Draw(t, "task"), Keywords: rapid.Uint64().Draw(t, "keywords"),
		PID: rapid.Uint32().Draw(t, "pid"), TID: rapid.Uint32().Draw(t, "tid"), UserSID: text.Draw(t, "sid"),
		Logged: time.Unix(rapid.Int64Range(-11644473600, 253402300799).Draw(t, "s"), rapid.Int64Range(0, 999999999).Draw(t, "ns")).UTC(),
		Flags:  event.Flags(rapid.IntRange(0, 7).Draw(t, "flags")),
		Ref:    event.EvidenceRef{RecordID: rapid.Uint64().Draw(t, "record")},
	}
	for range rapid.IntRange(0, 6).Draw(t, "fields") {
		e.Data = append(e.Data, event.Field{Name: text.Draw(t, "name"), Value: text.Draw(t, "value")})
	}
	e.Time = e.Logged
	return e
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		want := rapid.SliceOfN(rapid.Custom(anyEvent), 1, 3).Draw(rt, "events")
		var b []byte
		for _, e := range want {
			b = ndjson.Append(b, e)
		}
		if n := bytes.Count(b, []byte("\n")); n != len(want) {
			rt.Fatalf("%d lines for %d events", n, len(want))
		}
		got, _, problems := sourcetest.Read(context.Background(), ndjson.Read, bytes.NewReader(b))
		if len(problems) > 0 || len(got) != len(want) {
			rt.Fatalf("%d events, problems %v in\n%s", len(got), problems, b)
		}
		for i, e := range got {
			if e.Ref.RecordID != want[i].Ref.RecordID {
				rt.Fatalf("record id %d, want %d", e.Ref.RecordID, want[i].Ref.RecordID)
			}
			e.Ref, want[i].Ref = event.EvidenceRef{}, event.EvidenceRef{}
			// Compared as bytes: cmp shows invalid text as equal.
			if w, g := fmt.Sprintf("%#v", *want[i]), fmt.Sprintf("%#v", *e); w != g {
				rt.Fatalf("read\n%s, want\n%s, from\n%s", g, w, b)
			}
		}
	})
}

func FuzzRead(f *testing.F) {
	f.Add(sample(2))
	f.Add([]byte(`[{"EventID":1,"Channel":"C"},{"winlog.event_id":"1"}]`))
	f.Add([]byte("Record 1\n{\"Event\":{\"System\":{\"EventID\":{\"#text\":1}},\"UserData\":{\"W\":{\"A\":[1,{\"b\":2}]}}}}\n{\"a\":\n"))
	f.Add(utf16(sample(1), false))
	f.Fuzz(func(t *testing.T, b []byte) {
		ndjson.Sniff(b)
		events, stats, problems := sourcetest.Read(context.Background(), ndjson.Read, bytes.NewReader(b))
		sourcetest.Check(t, events, stats, problems)
		if stats.Bytes != int64(len(b)) {
			t.Errorf("%d of %d bytes were read", stats.Bytes, len(b))
		}
		if len(events) == 0 {
			return
		}
		// What was read can be written and read again.
		var out []byte
		for _, e := range events {
			out = ndjson.Append(out, e)
		}
		again, _, problems := sourcetest.Read(context.Background(), ndjson.Read, bytes.NewReader(out))
		if len(again) != len(events) || len(problems) > 0 {
			t.Fatalf("%d events, %d when written and read again, problems %v", len(events), len(again), problems)
		}
		for i, e := range again {
			if w, g := fmt.Sprintf("%+q", events[i].Data), fmt.Sprintf("%+q", e.Data); w != g {
				t.Fatalf("read again as\n%s, was\n%s", g, w)
			}
		}
	})
}

// BenchmarkUnknown reads objects that are no events.
func BenchmarkUnknown(b *testing.B) {
	for name, line := range map[string]string{"empty": "{}\n", "members": `{"time":"2024-05-06T07:08:09Z","level":"info","msg":"x","data":[1,2]}` + "\n"} {
		b.Run(name, func(b *testing.B) {
			in := []byte(strings.Repeat(line, 100_000))
			b.SetBytes(int64(len(in)))
			b.ReportAllocs()
			for b.Loop() {
				ndjson.Read(context.Background(), "x", bytes.NewReader(in), func([]*event.Event) {})
			}
		})
	}
}

// TestUnknownObjectsCostNoMemory holds that an object that is no event leaves
// nothing behind: not in memory, and not in the event after it.
func TestUnknownObjectsCostNoMemory(t *testing.T) {
	for _, line := range []string{"{}\n", `{"a":1,"data":[{}],"ashiato":{"flags":["partial"]}}` + "\n", `{"a":{"b":[]}}` + "\n"} {
		read := func(n int) float64 {
			in := []byte(strings.Repeat(line, n))
			return testing.AllocsPerRun(1, func() {
				if _, _, problems := sourcetest.Read(t.Context(), ndjson.Read, bytes.NewReader(in)); len(problems) != 1 || problems[0].Count != n {
					t.Fatalf("%q: problems %v", line, problems)
				}
			})
		}
		if few, many := read(100), read(10_100); many-few > 100 {
			t.Errorf("%q: %v allocations for 10,000 objects", line, many-few)
		}
	}
	want, _, _ := sourcetest.Read(t.Context(), ndjson.Read, bytes.NewReader(sample(2)))
	odd := `{"ashiato":{"flags":["carved"]},"Level":"x"}` + "\n" + `{"EventID":"none","Channel":"other","Computer":"other","Level":"Error"}` + "\n"
	got, _, _ := sourcetest.Read(t.Context(), ndjson.Read, strings.NewReader(odd+string(sample(1))+odd+string(sample(2)[len(sample(1)):])))
	if d := cmp.Diff(want, got, cmpopts.IgnoreFields(event.EvidenceRef{}, "Offset")); d != "" {
		t.Error(d)
	}
}

// TestWrapperNames holds which of several lists of records is read.
func TestWrapperNames(t *testing.T) {
	one, two := string(bytes.TrimSpace(sample(1))), string(bytes.TrimSpace(sample(2)[len(sample(1)):]))
	for in, want := range map[string]int{
		`{"value":[` + one + `],"Events":[` + one + "," + two + `]}`: 2,

		`{"data":[` + one + `]}`:                                                  1,
		`{"records":3,"data":[` + one + `]}`:                                      0,
		`{"hits":{"total":1},"results":[` + one + `]}`:                            1,
		`{"results":[` + one + `],"hits":{"hits":[` + one + "," + two + `]}}`:     2,
		`{"events":[` + one + "," + two + `],"events":[` + one + `],"Records":0}`: 2,
	} {
		if events, _, _ := sourcetest.Read(t.Context(), ndjson.Read, strings.NewReader(in)); len(events) != want {
			t.Errorf("%.40s…: %d events, want %d", in, len(events), want)
		}
	}
}
