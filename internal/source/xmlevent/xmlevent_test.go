package xmlevent_test

import (
	"bytes"
	"context"
	"encoding/xml"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"ashiato/internal/event"
	"ashiato/internal/source"
	"ashiato/internal/source/sourcetest"
	"ashiato/internal/source/xmlevent"
)

func sampleEvent(i int) *event.Event {
	return &event.Event{
		Host: "HOST-1.example.org", Provider: "Microsoft-Windows-Sysmon", Channel: "Microsoft-Windows-Sysmon/Operational",
		ID: 1, Version: 5, Level: 4, Task: 1, Keywords: 1 << 63, PID: 1234, TID: uint32(i), UserSID: "S-1-5-18",
		Logged: time.Date(2024, 5, 6, 7, 8, 9, 1000*i, time.UTC),
		Data: event.Fields{
			{Name: "Image", Value: `C:\Windows \System32\printui.exe`},
			{Name: "CommandLine", Value: fmt.Sprintf("\"C:\\a b.exe\" <&> 日本語\r\n\t%d ", i)},
			{Name: "Data", Value: "unnamed"},
			{Name: "Empty", Value: ""},
		},
		Ref: event.EvidenceRef{RecordID: uint64(i + 1)},
	}
}

func element(t testing.TB, i int) string {
	t.Helper()
	b, err := xmlevent.Append(nil, sampleEvent(i))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func sample(t testing.TB, n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(element(t, i))
	}
	return b.String()
}

func utf16(text string) string { return string(event.AppendUTF16LE([]byte{0xFF, 0xFE}, text)) }

func TestConformance(t *testing.T) {
	t.Run("bare", func(t *testing.T) { sourcetest.Run(t, xmlevent.Read, []byte(sample(t, 12))) })
	t.Run("root", func(t *testing.T) {
		sourcetest.Run(t, xmlevent.Read, []byte("<?xml version=\"1.0\"?>\r\n<Events>\r\n"+sample(t, 12)+"</Events>"))
	})
	t.Run("utf16", func(t *testing.T) { sourcetest.Run(t, xmlevent.Read, []byte(utf16(sample(t, 10)))) })
}

func read(t testing.TB, text string) ([]*event.Event, source.Stats, []source.Problem) {
	t.Helper()
	events, stats, problems := sourcetest.Read(context.Background(), xmlevent.Read, strings.NewReader(text))
	sourcetest.Check(t, events, stats, problems)
	return events, stats, problems
}

func TestFramings(t *testing.T) {
	one, two := element(t, 0), element(t, 1)
	prefixed := strings.NewReplacer("</", "</e:", "<", "<e:", "xmlns=", "xmlns:e=").Replace(one)
	for name, text := range map[string]string{
		"bare":          one + two,
		"one line":      strings.TrimSpace(one) + strings.TrimSpace(two),
		"root":          "<Events>" + one + two + "</Events>",
		"declaration":   "<?xml version=\"1.0\" encoding=\"utf-8\" standalone=\"yes\"?>\n<Events xmlns=\"x\">\n" + one + two + "</Events>\n",
		"utf16":         utf16("<?xml version=\"1.0\" encoding=\"utf-16\"?>\r\n<Events>" + one + two + "</Events>"),
		"bom":           "\xEF\xBB\xBF<Events>" + one + two + "</Events>",
		"prefixed":      "<e:Events>" + prefixed + two + "</e:Events>",
		"comments":      "<!-- <Event> --><Events><!-- a > b -->" + one + "<!---->" + two + "</Events>",
		"doctype":       "<!DOCTYPE Events [<!ENTITY a \"<Event>]>\"><!ENTITY b '&a;&a;'>]><Events>" + one + two + "</Events>",
		"own rendering": "<Events>" + strings.Replace(one, "</Event>", "<RenderingInfo Culture='en-US'><Message>a &lt; b</Message><Level>Information</Level></RenderingInfo></Event>", 1) + two + "</Events>",
		"other schema":  "<log><entry id='1'>" + one + "</entry><entry>" + two + "</entry></log>",
	} {
		t.Run(name, func(t *testing.T) {
			if name != "other schema" && !xmlevent.Sniff([]byte(text)) {
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
			if name == "prefixed" { // the text has the prefix in its values too
				want[0].Data, events[0].Data = nil, nil
			}
			if diff := cmp.Diff(want, events, cmpopts.IgnoreFields(event.Event{}, "Ref")); diff != "" {
				t.Error(diff)
			}
		})
	}
	if _, _, problems := read(t, "<Events>\n</Events>"); len(problems) > 0 {
		t.Errorf("no events are no problem: %v", problems)
	}
}

func TestSniffRefuses(t *testing.T) {
	for _, head := range []string{"", "text", "<html>", "<?xml version='1.0'?><Task>", "{}", "<EventsList>", "<!-- "} {
		if xmlevent.Sniff([]byte(head)) {
			t.Errorf("%q is taken for event XML", head)
		}
	}
}

// TestFields states how the elements become fields.
func TestFields(t *testing.T) {
	const system = `<System><Provider Name='P'/><EventID Qualifiers='1'> 7 </EventID><TimeCreated SystemTime='2020-09-21T07:15:25.1234567Z'/></System>`
	for _, c := range []struct {
		xml  string
		want event.Fields
	}{
		{
			`<EventData><Data Name='A'>x</Data><Data Name="B"/><Data>u</Data><Data>v</Data><Binary>00FF</Binary></EventData>`,
			event.Fields{{Name: "A", Value: "x"}, {Name: "B"}, {Name: "Data", Value: "u"}, {Name: "Data", Value: "v"}, {Name: "Binary", Value: "00FF"}},
		},
		{
			`<EventData Name='N'><Data Name='A' Type='t'>x</Data></EventData>`,
			event.Fields{{Name: "EventData_Name", Value: "N"}, {Name: "A", Value: "x"}, {Name: "A_Type", Value: "t"}},
		},
		{
			`<UserData><W xmlns='u' v='1'><A>x</A><G k='2'><L>m</L><L>n</L></G></W></UserData>`,
			event.Fields{{Name: "W_v", Value: "1"}, {Name: "A", Value: "x"}, {Name: "G_k", Value: "2"}, {Name: "G_L", Value: "m"}, {Name: "G_L", Value: "n"}},
		},
		{
			`<EventData><Data Name='A'>a<![CDATA[<b>&amp;]]>c &lt;&gt;&amp;&quot;&apos;&#65;&#x1F600;</Data></EventData>`,
			event.Fields{{Name: "A", Value: "a<b>&amp;c <>&\"'A😀"}},
		},
		{
			`<EventData><Data Name='A'>&unknown; & &#xZZ; &#xD800; &#1114112;</Data></EventData>`,
			event.Fields{{Name: "A", Value: "&unknown; & &#xZZ; \xED\xA0\x80 &#1114112;"}},
		},
		{"<EventData><Data Name='A'> C:\\Windows \\x \r\n</Data></EventData>", event.Fields{{Name: "A", Value: " C:\\Windows \\x \r\n"}}},
		{`<UserData><E><Event>inner</Event></E></UserData>`, event.Fields{{Name: "Event", Value: "inner"}}},
		{`<ProcessingErrorData><ErrorCode>15003</ErrorCode></ProcessingErrorData>`, event.Fields{{Name: "ErrorCode", Value: "15003"}}},
	} {
		events, _, problems := read(t, "<Event>"+system+c.xml+"</Event>")
		if len(events) != 1 || len(problems) > 0 {
			t.Errorf("%s: %d events, %v", c.xml, len(events), problems)
			continue
		}
		if e := events[0]; e.ID != 7 || e.Provider != "P" || e.Logged.Format(event.TimeFormat) != "2020-09-21T07:15:25.1234567Z" {
			t.Errorf("System is read as %+v", e)
		}
		if diff := cmp.Diff(c.want, events[0].Data); diff != "" {
			t.Errorf("%s: %s", c.xml, diff)
		}
	}
}

func TestDamage(t *testing.T) {
	one := element(t, 0)
	half := one[:len(one)/2]
	entities := "<!DOCTYPE lolz [<!ENTITY a \"lol\"><!ENTITY b \"" + strings.Repeat("&a;", 1000) + "\">]>"
	for _, c := range []struct {
		name, text string
		events     int
		kind       source.ProblemKind
		line, lost int
	}{
		{"cut", one + half + "\n" + one + one, 3, source.Corrupt, 2, 1},
		{"cut in a tag", one + "<Event><System><Provider Name=\n" + one + one, 3, source.Corrupt, 2, 1},
		{"cut in a quote", one + "<Event><System><Provider Name=\"x\n" + one + one, 3, source.Corrupt, 2, 1},
		{"cut at the end", one + half, 1, source.Truncated, 2, 1},
		{"wrong end", one + "<Event><System></Event>\n" + one, 2, source.Corrupt, 2, 1},
		{"open comment", one + "<Event><!-- \n" + one + one, 3, source.Truncated, 2, 1},
		{"deep", one + "<Event>" + strings.Repeat("<a>", 1000) + "\n" + one, 2, source.TooLarge, 2, 1},
		{"wide", one + "<Event>" + strings.Repeat("<a/>", 200000) + "</Event>\n" + one, 2, source.TooLarge, 2, 1},
		{"huge", one + "<Event><System/>" + strings.Repeat("x", xmlevent.MaxRecord+10) + "</Event>\n" + one, 2, source.TooLarge, 2, 1},
		{"no event id", one + "<Event><System/></Event>\n" + one, 2, source.UnknownFormat, 2, 1},
		{"text", one + "hello\n" + one, 2, source.Corrupt, 2, 0},
		{"entities", entities + "<Event><System><EventID>1</EventID></System><EventData><Data>&b;</Data></EventData></Event>\n<Event/>", 1, source.UnknownFormat, 2, 1},
		{"open doctype", "<!DOCTYPE x [\n" + one, 1, source.Corrupt, 1, 0},
		{"blank", " \n", 0, source.Empty, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			events, _, problems := read(t, c.text)
			if len(events) != c.events {
				t.Errorf("%d events, want %d: %v", len(events), c.events, problems)
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

// TestFrame holds that what is around the events is looked at: input that ends
// inside it or is not well-formed is one problem, and a whole frame is none.
func TestFrame(t *testing.T) {
	one := strings.TrimSpace(element(t, 0))
	half := one[:len(one)/2]
	for _, c := range []struct {
		name, text string
		events     int
		kind       source.ProblemKind // "" for no problem
		line       int
		detail     string
	}{
		{"a million open tags", "<Events>\n" + strings.Repeat("<a>", 1_000_000), 0, source.Truncated, 2, "the input ends inside <Events>"},
		{"open root", "<Events>\n", 0, source.Truncated, 2, "the input ends inside <Events>"},
		{"open root, events", "<Events>\n" + one + "\n" + one, 2, source.Truncated, 3, "the input ends inside <Events>"},
		{"open root, text", "<Events>\nabc", 0, source.Corrupt, 2, "text between the events"},
		{"open tag", "<Events>\n<a b='", 0, source.Truncated, 2, "the input ends inside a tag"},
		{"open end tag", "<Events>" + one + "\n</Even", 1, source.Truncated, 2, "the input ends inside a tag"},
		{"open comment", "<Events>\n<!-- </Events>", 0, source.Truncated, 2, "the input ends inside a comment"},
		{"wrong end tag", "<Events>\n<a></b>", 0, source.Corrupt, 2, "</b> closes no element"},
		{"overlap", "<Events><a>\n</Events></a>", 0, source.Corrupt, 2, "</Events> closes no element"},
		{"beginning lost", "</Event>\n" + one + "</Events>", 1, source.Corrupt, 1, "</Event> closes no element"},
		{"tag in a tag", "<Events \n<a></a></Events>", 0, source.Corrupt, 1, "a tag that does not end"},
		{"after a broken event", "<Events>" + half + "\n" + one + "</Events>", 1, source.Corrupt, 1, "a broken Event (line 2): an attribute without a value"},
		{"broken event last", "<Events>" + one + "\n<Event><System></Event></Events>", 1, source.Corrupt, 2, "a broken Event (line 2): </Event> closes <System>"},
		{"cut event", "<Events>" + one + "\n" + half, 1, source.Truncated, 2, "the input ends inside an Event element"},
		{"deep and whole", "<Events>" + strings.Repeat("<a>", 1000) + one + strings.Repeat("</a>", 1000) + "</Events>", 1, "", 0, ""},
		{"empty elements", "<Events><a/><b c='/'></b><a />" + one + "</Events>", 1, "", 0, ""},
		{"declarations", "<?xml version='1.0'?><Events><?x y?>" + one + "<!-- <a> --></Events >", 1, "", 0, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, enc := range []func(string) string{func(s string) string { return s }, utf16} {
				events, _, problems := read(t, enc(c.text))
				if len(events) != c.events {
					t.Errorf("%d events, want %d", len(events), c.events)
				}
				if c.kind == "" && len(problems) > 0 || c.kind != "" && len(problems) != 1 {
					t.Fatalf("problems %v", problems)
				}
				if c.kind == "" {
					continue
				}
				if p := problems[0]; p.Kind != c.kind || p.Line != c.line || p.Detail != c.detail || p.Count != 1 {
					t.Errorf("problem %+v", p)
				}
			}
		})
	}
}

func TestNameAmplificationIsBounded(t *testing.T) {
	text := "<Event><System><EventID>1</EventID></System><UserData><W><" + strings.Repeat("n", 1000) + ">" +
		strings.Repeat("<k/>", 20000) + "</" + strings.Repeat("n", 1000) + "></W></UserData></Event>"
	events, _, _ := read(t, text)
	if len(events) != 1 || events[0].Flags&event.Partial == 0 {
		t.Fatalf("%d events", len(events))
	}
	total := 0
	for _, f := range events[0].Data {
		total += len(f.Name)
	}
	if total > 4<<20 {
		t.Errorf("the names of the fields take %d bytes", total)
	}
}

func TestAppendRefuses(t *testing.T) {
	for _, value := range []string{"\x00", "a\x1b", "\xED\xA0\x80", "\xff", "\uFFFE"} {
		e := sampleEvent(0)
		e.Data[1].Value = value
		b, err := xmlevent.Append([]byte("kept"), e)
		if err == nil || !strings.Contains(err.Error(), "CommandLine") || string(b) != "kept" {
			t.Errorf("%q: %q, %v", value, b, err)
		}
	}
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		text := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"", "Data", "Image", "]]>", "&amp;", "<Event>", "a\r\nb\t", " x "}))
		want := &event.Event{
			Host: text.Draw(rt, "host"), Provider: text.Draw(rt, "provider"), Channel: text.Draw(rt, "channel"),
			ID: rapid.Uint32().Draw(rt, "id"), Version: rapid.Uint8().Draw(rt, "version"), Level: rapid.Uint8().Draw(rt, "level"),
			Opcode: rapid.Uint8().Draw(rt, "opcode"), Task: rapid.Uint16().Draw(rt, "task"), Keywords: rapid.Uint64().Draw(rt, "keywords"),
			PID: rapid.Uint32().Draw(rt, "pid"), TID: rapid.Uint32().Draw(rt, "tid"), UserSID: text.Draw(rt, "sid"),
			Logged: time.Unix(rapid.Int64Range(-11644473600, 253402300799).Draw(rt, "s"), rapid.Int64Range(0, 999999999).Draw(rt, "ns")).UTC(),
			Ref:    event.EvidenceRef{RecordID: rapid.Uint64().Draw(rt, "record")},
		}
		for range rapid.IntRange(0, 6).Draw(rt, "fields") {
			want.Data = append(want.Data, event.Field{Name: text.Draw(rt, "name"), Value: text.Draw(rt, "value")})
		}
		b, err := xmlevent.Append(nil, want)
		if err != nil {
			return // what XML cannot hold; TestAppendRefuses
		}
		var any struct{}
		if err := xml.Unmarshal(b, &any); err != nil {
			rt.Fatalf("encoding/xml refuses %s: %v", b, err)
		}
		got, record, err := xmlevent.Parse(b)
		if err != nil || record != want.Ref.RecordID {
			rt.Fatalf("record %d, %v in %s", record, err, b)
		}
		want.Time, want.Ref = want.Logged, event.EvidenceRef{}
		if w, g := fmt.Sprintf("%#v", *want), fmt.Sprintf("%#v", *got); w != g {
			rt.Fatalf("read\n%s, want\n%s, from\n%s", g, w, b)
		}
	})
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(sample(f, 2)))
	f.Add([]byte("<Events><Event><System><EventID>1</EventID></System><UserData><a b='c'><d>&#10;<![CDATA[x]]></d></a></UserData></Event><Event>"))
	f.Add([]byte(utf16(sample(f, 1))))
	f.Fuzz(func(t *testing.T, b []byte) {
		xmlevent.Sniff(b)
		events, stats, problems := sourcetest.Read(context.Background(), xmlevent.Read, bytes.NewReader(b))
		sourcetest.Check(t, events, stats, problems)
		if stats.Bytes != int64(len(b)) {
			t.Errorf("%d of %d bytes were read", stats.Bytes, len(b))
		}
		for _, e := range events {
			out, err := xmlevent.Append(nil, e)
			if err != nil {
				continue
			}
			again, _, err := xmlevent.Parse(out)
			if err != nil {
				t.Fatalf("%s: %v", out, err)
			}
			if w, g := fmt.Sprintf("%+q", e.Data), fmt.Sprintf("%+q", again.Data); w != g {
				t.Fatalf("read again as\n%s, was\n%s", g, w)
			}
		}
	})
}

func BenchmarkRead(b *testing.B) {
	text := []byte(sample(b, 2000))
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		xmlevent.Read(context.Background(), "x", bytes.NewReader(text), func([]*event.Event) {})
	}
}

// TestSyslog holds that the events of Sysmon for Linux are read out of a syslog file,
// in which other programs have lines of their own.
func TestSyslog(t *testing.T) {
	const event = `<Event><System><Provider Name="Linux-Sysmon" Guid="{ff032593-a8d3-4f13-b0d6-01fc615a0f97}"/><EventID>%d</EventID><Channel>Linux-Sysmon/Operational</Channel><Computer>web-1</Computer></System><EventData><Data Name="Image">/usr/bin/id</Data></EventData></Event>`
	log := "Mar  3 01:00:00 web-1 systemd[1]: Started <something> & more\n" +
		"Mar  3 01:00:01 web-1 sysmon: " + fmt.Sprintf(event, 1) + "\n" +
		"Mar  3 01:00:02 web-1 app[9]: <b>no event</b> < 3\n" +
		"Mar  3 01:00:02 web-1 sysmon[812]: " + fmt.Sprintf(event, 5) + "\n" +
		"Mar  3 01:00:03 web-1 CRON[77]: (root) CMD (true)\n"
	if !xmlevent.Sniff([]byte(log)) {
		t.Error("the log is not recognised")
	}
	events, stats, problems := sourcetest.Read(t.Context(), xmlevent.Read, strings.NewReader(log))
	sourcetest.Check(t, events, stats, problems)
	if len(events) != 2 || events[1].ID != 5 || events[0].Provider != "Linux-Sysmon" || len(problems) > 0 {
		t.Errorf("%d events, problems %v", len(events), problems)
	}
	if xmlevent.Sniff([]byte("Mar  3 01:00:00 web-1 systemd[1]: <Event><System>")) {
		t.Error("any syslog is taken for one with events")
	}
}
