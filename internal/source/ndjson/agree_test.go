package ndjson_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"ashiato/internal/corpus"
	"ashiato/internal/event"
	"ashiato/internal/source/ndjson"
	"ashiato/internal/source/sourcetest"
)

// agree holds that the reader and its plain twin say the same of an input: every
// event with every field, its offset and hash, the balance, and the problems with
// their places. It returns the number of events.
func agree(t rapid.TB, input []byte) int {
	t.Helper()
	want, wantStats, wantProblems := sourcetest.Read(context.Background(), ndjson.ReadPlain, bytes.NewReader(input))
	got, stats, problems := sourcetest.Read(context.Background(), ndjson.Read, bytes.NewReader(input))
	if stats != wantStats || !slices.Equal(problems, wantProblems) {
		t.Fatalf("%+v %v, want %+v %v\nof %.2000q", stats, problems, wantStats, wantProblems, input)
	}
	for i, e := range got {
		if !reflect.DeepEqual(e, want[i]) {
			t.Fatalf("event %d is\n%+q, want\n%+q\nof %.2000q", i, *e, *want[i], input)
		}
	}
	return len(got)
}

// TestAgreesOnRecordings compares the reader with its twin on the beginning of
// every JSON recording, with ASHIATO_FULL=1 on all of each.
func TestAgreesOnRecordings(t *testing.T) {
	limit := int64(share)
	if os.Getenv("ASHIATO_FULL") == "1" {
		limit = 1 << 40
	}
	files, events, size := 0, 0, 0
	one := func(name string, r io.Reader) {
		input, err := io.ReadAll(io.LimitReader(r, limit))
		if err != nil && len(input) == 0 {
			t.Logf("%s: %v", name, err)
			return
		}
		files, size = files+1, size+len(input)
		events += agree(t, input)
	}
	members(t, corpus.Dir(t, "otrf"), one)
	err := filepath.WalkDir(corpus.Dir(t, "sigma/regression_data"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".json") {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close() // only read
		one(path, f)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d files, %d MB, %d events", files, size>>20, events)
	if files < 100 || events < 10_000 {
		t.Errorf("%d files with %d events prove nothing", files, events)
	}
}

// seeds are records of every shape, each on a line.
var seeds = []string{
	strings.TrimSpace(string(sample(1))),
	strings.TrimSpace(string(beats(1))),
	`{"@timestamp":"2020-09-21T07:15:25.000Z","winlog.event_data.Image":"C:\\a.exe","winlog.event_id":1,"winlog":{"channel":"C","event_data":{"A":{"B":{"C":1}},"D.E":[1,2]},"user_data":{"xml_name":"X","k":"v"},"process.pid":11},"host":{"name":"h"},"log.level":"error"}`,
	`{"@timestamp":"2020-09-21T07:15:25.000Z","event_data":{"Image":"C:\\a.exe","ProcessId":7},"event_id":1,"log_name":"C","computer_name":"H","record_number":"9","source_name":"P","level":"Information","process_id":11,"thread_id":22,"user":{"identifier":"S-1-5-18"},"keywords":["Audit Success"],"message":"m"}`,
	`{"EventTime":"2020-09-21 03:15:25","EventReceivedTime":"2020-09-21 03:15:27","@timestamp":"2020-09-21T07:15:27.705Z","EventID":1,"Channel":"C","Hostname":"H","SourceName":"P","Version":5,"Task":12,"OpcodeValue":0,"Opcode":"Info","Keywords":-9223372036854775808,"RecordNumber":9,"ExecutionProcessID":11,"ThreadID":22,"UserID":"S-1-5-18","AccountName":"SYSTEM","Domain":"NT AUTHORITY","AccountType":"User","SeverityValue":2,"Severity":"INFO","EventType":"SetValue","host":"wec","Message":"a\r\n\tb: \"C:\\\\x\"","Image":"C:\\a.exe","Empty":"","Null":null}`,
	`{"Id":1,"Version":5,"Level":4,"ProviderName":"P","LogName":"C","ProcessId":11,"ThreadId":22,"MachineName":"H","UserId":{"BinaryLength":12,"Value":"S-1-5-18"},"TimeCreated":"\/Date(1600672525000)\/","RecordId":9,"Properties":[{"Value":"C:\\a.exe"},{"Value":7},{}],"Message":"rendered"}`,
	`{"TenantId":"t","TimeGenerated":"2020-09-21T07:15:25Z","Computer":"H","EventSourceName":"P","Channel":"C","Level":"4","EventID":1,"Activity":"1 - x","Type":"SecurityEvent","Unused":"","EventData":"<EventData xmlns=\"x\"><Data Name=\"Image\">C:\\a.exe</Data></EventData>"}`,
	`{"SyslogMessage":"<Event><System><Provider Name=\"P\"/><EventID>1</EventID><TimeCreated SystemTime=\"2020-09-21T07:15:25Z\"/><EventRecordID>9</EventRecordID><Channel>C</Channel><Computer>H</Computer></System><EventData><Data Name=\"Image\">C:\\a.exe</Data></EventData></Event>"}`,
	`{"Event_attributes":{"xmlns":"x"},"Event":{"System":{"Provider_attributes":{"Name":"P"},"Provider":null,"EventID_attributes":{"Qualifiers":1},"EventID":{"#text":1},"TimeCreated_attributes":{"SystemTime":"2020-09-21 07:15:25 UTC"},"Execution":{"@ProcessID":11,"ThreadID":"22"},"Channel":"C","Computer":"H","Security":{"UserId":"S-1-5-18"}},"EventData":{"Data":[{"@Name":"Image","#text":"C:\\a.exe"},{"#attributes":{"Name":"ProcessId"},"#text":7},{"Name":"Empty"},"unnamed"],"Binary":"00FF"},"ProcessingErrorData":{"ErrorCode":15,"x_attributes":{"y":1}}}}`,
	`{"kind":"individual","document":{"data":{"System":{"EventID":{"Value":1},"Provider":{"@Name":"P"},"TimeCreated":{"SystemTime":1600672525.5},"Channel":"C"},"UserData":{"W":{"#attributes":{"xmlns":"y","v":"1"},"A":"x","#text":"t","@q":"r","G":{"#attributes":{"k":"2"},"L":["m","n"]}},"Flat":3},"Message":"m","ashiato":{"flags":["carved","x"]}}}}`,
	`{"took":1,"hits":{"total":2,"hits":[{"_index":"x","_source":{"EventID":1,"Channel":"C"}},7,{"_source":{}}]}}`,
	`{"index":{"_index":"logs"}}`, `{}`, `Record 1`, `[{"EventID":"1","SourceName":"P"},{"Records":[{"EventID":4624,"Channel":"Security"}]}]`,
}

// odd are values in places where others are expected.
var odd = []string{
	`null`, `true`, `false`, `0`, `-1`, `-0`, `1.5e+300`, `99999999999999999999999999`, `18446744073709551615`, `-9223372036854775809`, `"0xFFFFFFFFFFFFFFFFF"`, `"0X1f"`, `" 7 "`,
	`[]`, `{}`, `[null]`, `["a","b",[1,{"x":2}]]`, `{"#text":["a"]}`, `{"Value":{"Value":1}}`, `{"Name":"N"}`, `{"#attributes":7}`, `{"":{"":1}}`,
	`""`, `"\ud800"`, `"\udc00\ud83d\ude00"`, `"\ud83d\ud83d"`, "\"\xff\xc0\x80\"", "\"\xed\xa0\x80\"", `"\u0000"`, "\"a\x00b\x01\"", "\"\u2028\"", `"\/\b\f\n\r\t\"\\"`, `"S-1-5-18"`, `"AUDIT_X"`, `"Error"`,
	`"2020-13-01 00:00:00"`, `"2020-02-31T24:59:60Z"`, `"123456-01-01 00:00:00.1234567890123+14:59"`, `"0000-01-01T00:00:00-1"`, `"/Date(-1)/"`, `"1600672525.x"`, `"2020-01-01 00:00:00 UTC"`, `"2020-01-01 00:00:00,5"`,
	`"<EventData>"`, `"<EventData><Data Name='a'>b</Data></EventData>"`,
}

// mutate draws an input that is like records, but not quite.
func mutate(t *rapid.T) []byte {
	var lines []string
	for range rapid.IntRange(1, 3).Draw(t, "lines") {
		line := rapid.SampledFrom(seeds).Draw(t, "seed")
		for range rapid.IntRange(0, 4).Draw(t, "changes") {
			line = change(t, line)
		}
		lines = append(lines, line)
	}
	sep := rapid.SampledFrom([]string{"\n", "\r\n", "", ",\n", "\n\n", "\n\x00\x00", "\n  ", " \x1e"}).Draw(t, "separator")
	out := []byte(strings.Join(lines, sep))
	switch rapid.IntRange(0, 9).Draw(t, "whole") {
	case 0:
		out = append([]byte("\xEF\xBB\xBF"), out...)
	case 1:
		out = utf16(out, rapid.Bool().Draw(t, "big endian"))
	case 2:
		out = append(append([]byte{'['}, out...), ']')
	case 3:
		out = out[:rapid.IntRange(0, len(out)).Draw(t, "cut")]
	case 4:
		at := rapid.IntRange(0, len(out)).Draw(t, "at")
		out = slices.Insert(out, at, rapid.SliceOfN(rapid.SampledFrom([]byte("\"\\{}[],:\n\r\t 0-.eu\x00\xff")), 1, 3).Draw(t, "bytes")...)
	}
	return out
}

// change draws one change of a line.
func change(t *rapid.T, line string) string {
	values := ndjson.Values([]byte(line))
	if values == nil {
		return line
	}
	v := rapid.SampledFrom(values).Draw(t, "value")
	before, value, after := line[:v[0]], line[v[0]:v[1]], line[v[1]:]
	switch rapid.IntRange(0, 7).Draw(t, "change") {
	case 0: // another value
		value = rapid.SampledFrom(odd).Draw(t, "odd")
	case 1: // a list where one is expected
		value = "[" + value + "," + rapid.SampledFrom(odd).Draw(t, "odd") + "]"
	case 2: // deeper
		n := rapid.SampledFrom([]int{1, 3, 62, 70}).Draw(t, "levels")
		value = strings.Repeat(`{"n":`, n) + value + strings.Repeat("}", n)
	case 3: // a member twice, or with another's name
		if strings.HasPrefix(value, "{") && len(value) > 2 {
			value = "{" + fmt.Sprintf("%q", rapid.SampledFrom(names).Draw(t, "name")) + ":" + rapid.SampledFrom(odd).Draw(t, "odd") + "," + value[1:]
		}
	case 4: // names written otherwise
		value = strings.Replace(value, `"E`, `"\u0045`, 1)
	case 5: // cut
		value = value[:rapid.IntRange(0, len(value)).Draw(t, "cut")]
	case 6: // over lines
		value = strings.NewReplacer(",\"", " ,\n \"", ":", " :\t").Replace(value)
	case 7:
		value = `"` + strings.Repeat(rapid.SampledFrom([]string{"x", `\\`, "é", `\u00e9`}).Draw(t, "text"), rapid.SampledFrom([]int{1, 7, 8, 9, 300, 70_000}).Draw(t, "size")) + `"`
	}
	return before + value + after
}

// names have a meaning somewhere.
var names = []string{
	"Event", "System", "EventData", "UserData", "Data", "#text", "#attributes", "@Name", "Name", "Name_attributes", "_attributes", "@", "@xmlns", "xmlns:a", "", "EventID", "Id", "Level", "Keywords",
	"Channel", "Hostname", "AccountType", "AccountName", "TenantId", "Properties", "ProcessId", "EventType", "Opcode", "TimeCreated", "EventTime", "@timestamp", "Message", "message", "winlog", "winlog.event_data",
	"winlog.event_data.x", "winlog.event_id", "event_data", "event_data.a.b", "user_data", "xml_name", "log.level", "host", "host.name", "hits", "Records", "_source", "fields", "data", "index", "ashiato", "SyslogMessage", "Provider_attributes", "Unused",
}

// TestAgreesOnMutations compares the reader with its twin on damaged and odd input.
func TestAgreesOnMutations(t *testing.T) {
	for _, s := range seeds {
		agree(t, []byte(s))
	}
	big := strings.Replace(seeds[0], `"Empty":""`, `"Empty":"`+strings.Repeat(`C:\\x `, 1<<18)+`"`, 1)
	agree(t, []byte(big+"\n"+big[:len(big)/2]+"\n"+seeds[1]))
	agree(t, []byte(`{"winlog":{"event_id":1,"channel":"C","event_data":{"`+strings.Repeat("n", 1<<19)+`":{"a":1,"b":{"c":2,"d":3}}}}}`))
	// More names than the table holds, twice over, and one too long for it.
	var many strings.Builder
	for i := range 9000 {
		fmt.Fprintf(&many, `{"EventID":1,"Channel":"C","name %d":"x","%s":1}`+"\n", i, strings.Repeat("l", i%300))
	}
	if n := agree(t, []byte(many.String())); n != 9000 {
		t.Errorf("%d events", n)
	}
	rapid.Check(t, func(t *rapid.T) { agree(t, mutate(t)) })
}

// FuzzAgree holds the same for whatever the fuzzer makes of the seeds.
func FuzzAgree(f *testing.F) {
	for _, s := range seeds {
		f.Add([]byte(s))
		f.Add([]byte(s + "\n" + s))
	}
	f.Fuzz(func(t *testing.T, input []byte) { agree(t, input) })
}

// TestAllocations is the budget: an event with its fields is one allocation, and
// their text another.
func TestAllocations(t *testing.T) {
	const n = 4000
	nxlog := bytes.Repeat([]byte(seeds[4]+"\n"), n)
	for name, input := range map[string][]byte{"own": sample(n), "winlogbeat": beats(n), "flat": nxlog} {
		perEvent := testing.AllocsPerRun(2, func() {
			events := 0
			ndjson.Read(t.Context(), "x", bytes.NewReader(input), func(batch []*event.Event) { events += len(batch) })
			if events != n {
				t.Fatalf("%s: %d events", name, events)
			}
		}) / n
		if perEvent > 2.1 {
			t.Errorf("%s: %.2f allocations for an event", name, perEvent)
		}
	}
}
