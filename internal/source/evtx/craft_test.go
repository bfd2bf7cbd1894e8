package evtx

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"ashiato/internal/event"
	"ashiato/internal/source"
)

// crafted is a record whose definition and values a test chooses.
type crafted struct {
	define func(c *chunkBuilder) // the template's content, nil for literal XML
	values []outValue
	xml    func(c *chunkBuilder) // instead of a template instance
}

// file makes a one-chunk EVTX file of records.
func file(t testing.TB, records ...crafted) []byte {
	t.Helper()
	var c chunkBuilder
	c.reset()
	le := binary.LittleEndian
	for i, r := range records {
		start := len(c.buf)
		c.buf = append(c.buf, recordMagic...)
		c.buf = le.AppendUint32(c.buf, 0)
		c.buf = le.AppendUint64(c.buf, uint64(i+1))
		c.buf = le.AppendUint64(c.buf, 133_000_000_000_000_000)
		if r.xml != nil {
			r.xml(&c)
		} else {
			c.buf = append(c.buf, tokenFragment, 1, 1, 0)
			c.template(r.define, r.values)
		}
		c.buf = append(c.buf, tokenEOF)
		for (len(c.buf)-start+4)%8 != 0 {
			c.buf = append(c.buf, 0)
		}
		size := len(c.buf) - start + 4
		le.PutUint32(c.buf[start+4:], uint32(size))
		c.buf = le.AppendUint32(c.buf, uint32(size))
		c.count++
		c.lastAt, c.lastID = start, uint64(i+1)
		if len(c.buf) > chunkSize {
			t.Fatalf("record %d does not fit", i)
		}
	}
	c.firstID = 1
	var empty bytes.Buffer
	w := NewWriter(&seekless{&empty})
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return append(empty.Bytes()[:fileHeaderSize:fileHeaderSize], c.finish(uint64(c.count))...)
}

// seekless lets Writer go through; its bytes before Close's header are zeros.
type seekless struct{ *bytes.Buffer }

func (s *seekless) Seek(off int64, whence int) (int64, error) {
	if off == 0 && whence == 0 {
		s.Reset()
	}
	return 0, nil
}

// template writes a template instance with its definition.
func (c *chunkBuilder) template(define func(c *chunkBuilder), values []outValue) {
	le := binary.LittleEndian
	c.buf = append(c.buf, tokenTemplate, 1)
	c.buf = le.AppendUint32(c.buf, 7)
	c.buf = le.AppendUint32(c.buf, uint32(len(c.buf)+4))
	c.buf = le.AppendUint32(c.buf, 0)
	c.buf = append(c.buf, 7, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12)
	mark := len(c.buf)
	c.buf = le.AppendUint32(c.buf, 0)
	c.buf = append(c.buf, tokenFragment, 1, 1, 0)
	define(c)
	c.buf = append(c.buf, tokenEOF)
	le.PutUint32(c.buf[mark:], uint32(len(c.buf)-mark-4))
	c.instanceData(values)
}

func (c *chunkBuilder) instanceData(values []outValue) {
	le := binary.LittleEndian
	c.buf = le.AppendUint32(c.buf, uint32(len(values)))
	for _, v := range values {
		c.buf = le.AppendUint16(c.buf, uint16(len(v.data)))
		c.buf = append(c.buf, v.typ, 0)
	}
	for _, v := range values {
		c.buf = append(c.buf, v.data...)
	}
}

// wrap writes an Event with a System section and the given content after it.
func wrap(content func(c *chunkBuilder)) func(c *chunkBuilder) {
	return func(c *chunkBuilder) {
		c.element("Event", []attribute{{"xmlns", func() { c.value(eventNamespace) }}}, func() {
			c.element("System", nil, func() {
				c.element("Provider", []attribute{{"Name", func() { c.value("P") }}}, nil)
				c.element("EventID", nil, func() { c.value("7") })
				c.element("Computer", nil, func() { c.value("H") })
			})
			content(c)
		})
	}
}

// data writes a Data element whose content is the substitution of slot.
func (c *chunkBuilder) data(name string, token byte, slot int, typ byte) {
	c.element("Data", []attribute{{"Name", func() { c.value(name) }}}, func() { c.substitution(token, slot, typ) })
}

func utf16(s string) []byte { return event.AppendUTF16LE(nil, s) }

// readAll reads a file, and wants the general way to read the same.
func readAll(t testing.TB, b []byte) ([]*event.Event, source.Stats, []source.Problem) {
	t.Helper()
	var mu sync.Mutex
	var events []*event.Event
	stats, problems := (&Reader{}).Read(context.Background(), "test.evtx", bytes.NewReader(b), func(batch []*event.Event) {
		mu.Lock()
		defer mu.Unlock()
		events = append(events, batch...)
	})
	if stats.Records != stats.Events+stats.Undecodable {
		t.Fatalf("stats do not balance: %+v", stats)
	}
	slices.SortFunc(events, event.Compare)
	var general []*event.Event
	generalStats, generalProblems := ReadGeneral(context.Background(), "test.evtx", bytes.NewReader(b), func(batch []*event.Event) {
		general = append(general, batch...)
	})
	slices.SortFunc(general, event.Compare)
	if stats != generalStats || !reflect.DeepEqual(problems, generalProblems) || !reflect.DeepEqual(events, general) {
		t.Errorf("by programs %d events, %+v %v; the general way %d, %+v %v",
			len(events), stats, problems, len(general), generalStats, generalProblems)
	}
	return events, stats, problems
}

func one(t *testing.T, r crafted) *event.Event {
	t.Helper()
	events, _, problems := readAll(t, file(t, r))
	if len(problems) > 0 || len(events) != 1 {
		t.Fatalf("%d events, problems %v", len(events), problems)
	}
	return events[0]
}

func wantFields(t *testing.T, got event.Fields, want ...string) {
	t.Helper()
	var list []string
	for _, f := range got {
		list = append(list, f.Name+"="+f.Value)
	}
	if !slices.Equal(list, want) {
		t.Errorf("fields\n%q, want\n%q", list, want)
	}
}

func TestValueTypes(t *testing.T) {
	le := binary.LittleEndian
	for _, c := range []struct {
		name string
		typ  byte
		data []byte
		want string
	}{
		{"string", typeString, utf16(`C:\Windows \System32`), `C:\Windows \System32`},
		{"string blanks", typeString, utf16(" \t x \r\n "), " \t x \r\n "},
		{"string terminator", typeString, utf16("x\x00\x00"), "x"},
		{"string inner NUL", typeString, utf16("a\x00b"), "a\x00b"},
		{"string lone surrogate", typeString, []byte{0x00, 0xd8, 'x', 0}, "\xed\xa0\x80x"},
		{"string pair", typeString, utf16("😀"), "😀"},
		{"xml", typeEvtXML, utf16("<a/>"), "<a/>"},
		{"ansi", typeAnsi, []byte("caf\xe9 \x80\x81 \x00"), "café €\u0081 "},
		{"int8", typeInt8, []byte{0xff}, "-1"},
		{"uint8", typeUint8, []byte{0xff}, "255"},
		{"int16", typeInt16, []byte{0xfe, 0xff}, "-2"},
		{"uint16", typeUint16, []byte{0xfe, 0xff}, "65534"},
		{"int32", typeInt32, le.AppendUint32(nil, 1<<31), "-2147483648"},
		{"uint32", typeUint32, le.AppendUint32(nil, 1<<31), "2147483648"},
		{"int64", typeInt64, le.AppendUint64(nil, 1<<63), "-9223372036854775808"},
		{"uint64", typeUint64, le.AppendUint64(nil, 1<<63), "9223372036854775808"},
		{"float", typeReal32, le.AppendUint32(nil, 0x3dcccccd), "0.1"},
		{"double", typeReal64, le.AppendUint64(nil, 0xc004000000000000), "-2.5"},
		{"true", typeBool, []byte{1, 0, 0, 0}, "true"},
		{"false", typeBool, []byte{0, 0, 0, 0}, "false"},
		{"binary", typeBinary, []byte{0, 0xab, 0x0c}, "00AB0C"},
		{"guid", typeGUID, []byte{0x72, 0xbb, 0x5a, 0x36, 0x5e, 0x0d, 0xd7, 0x5c, 0, 0, 0, 0x10, 0xe6, 0x24, 0x17, 0}, "{365ABB72-0D5E-5CD7-0000-0010E6241700}"},
		{"size 4", typeSize, []byte{0x10, 0, 0, 0}, "0x10"},
		{"size 8", typeSize, le.AppendUint64(nil, 0x7ffab0000000), "0x7ffab0000000"},
		{"filetime", typeFileTime, le.AppendUint64(nil, 133_481_700_001_234_567), "2023-12-27T17:00:00.1234567Z"},
		{"filetime zero", typeFileTime, make([]byte, 8), "1601-01-01T00:00:00.0000000Z"},
		{"systemtime", typeSystemTime, []byte{0xe8, 7, 2, 0, 4, 0, 29, 0, 23, 0, 59, 0, 58, 0, 7, 0}, "2024-02-29T23:59:58.0070000Z"},
		{"sid", typeSID, []byte{1, 2, 0, 0, 0, 0, 0, 5, 32, 0, 0, 0, 0x20, 2, 0, 0}, "S-1-5-32-544"},
		{"sid large authority", typeSID, []byte{1, 1, 1, 2, 3, 4, 5, 6, 1, 0, 0, 0}, "S-1-0x010203040506-1"},
		{"hex32", typeHex32, []byte{0xff, 0xff, 0x1f, 0}, "0x1fffff"},
		{"hex64", typeHex64, le.AppendUint64(nil, 0x3e7), "0x3e7"},
		{"handle", typeEvtHandle, []byte{1, 2, 0, 0}, "0x201"},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := one(t, crafted{
				define: wrap(func(c *chunkBuilder) {
					c.element("EventData", nil, func() { c.data("v", tokenSubstitution, 0, typeNull) })
				}),
				values: []outValue{{c.typ, c.data}},
			})
			wantFields(t, e.Data, "v="+c.want)
			if e.Flags != 0 {
				t.Errorf("flags %b", e.Flags)
			}
		})
	}
}

// TestValueMisfits gives values of a wrong length: the bytes are kept.
func TestValueMisfits(t *testing.T) {
	for _, c := range []struct {
		typ  byte
		data []byte
		want string
	}{
		{typeUint32, []byte{1, 2, 3}, "010203"},
		{typeUint32, []byte{1, 2}, "513"}, // a narrower number is still one
		{typeGUID, []byte{1, 2, 3}, "010203"},
		{typeSID, []byte{1, 9, 0, 0, 0, 0, 0, 5}, "0109000000000005"},
		{typeFileTime, []byte{1}, "01"},
		{typeReal64, []byte{1}, "01"},
		{typeReal32, []byte{1}, "01"},
		{typeSystemTime, []byte{1}, "01"},
		{0x3f, []byte{1}, "01"},
		{typeString, []byte{'a', 0, 'b'}, "a"},
	} {
		events, _, problems := readAll(t, file(t, crafted{
			define: wrap(func(c *chunkBuilder) {
				c.element("EventData", nil, func() { c.data("v", tokenSubstitution, 0, typeNull) })
			}),
			values: []outValue{{c.typ, c.data}},
		}))
		if len(events) != 1 {
			t.Fatalf("type 0x%x: %d events, %v", c.typ, len(events), problems)
		}
		wantFields(t, events[0].Data, "v="+c.want)
		partial := c.want != "513"
		if got := events[0].Flags == event.Partial; got != partial || len(problems) > 0 != partial {
			t.Errorf("type 0x%x: flags %b, problems %v", c.typ, events[0].Flags, problems)
		}
	}
}

func TestArrays(t *testing.T) {
	e := one(t, crafted{
		define: wrap(func(c *chunkBuilder) {
			c.element("EventData", nil, func() {
				c.element("Data", nil, func() { c.substitution(tokenSubstitution, 0, typeString|typeArray) })
				c.data("n", tokenSubstitution, 1, typeUint16|typeArray)
				c.data("sids", tokenSubstitution, 2, typeSID|typeArray)
				c.data("none", tokenSubstitution, 3, typeString|typeArray)
				c.data("ansi", tokenSubstitution, 4, typeAnsi|typeArray)
				c.data("odd", tokenSubstitution, 5, typeUint32|typeArray)
				c.element("Data", []attribute{{"Name", func() { c.value("mixed") }}}, func() {
					c.value("[")
					c.substitution(tokenSubstitution, 1, typeUint16|typeArray)
					c.value("]")
				})
			})
		}),
		values: []outValue{
			{typeString | typeArray, utf16("a \x00\x00b\x00")},
			{typeUint16 | typeArray, []byte{1, 0, 2, 0}},
			{typeSID | typeArray, []byte{1, 1, 0, 0, 0, 0, 0, 5, 18, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0}},
			{typeString | typeArray, nil},
			{typeAnsi | typeArray, []byte("x\x00y")},
			{typeUint32 | typeArray, []byte{1, 0, 0, 0}},
		},
	})
	wantFields(t, e.Data, "Data=a ", "Data=", "Data=b", "n=1", "n=2", "sids=S-1-5-18", "sids=S-1-1-0", "none=",
		"ansi=x", "ansi=y", "odd=1", "mixed=[1,2]")
}

func TestNulls(t *testing.T) {
	e := one(t, crafted{
		define: wrap(func(c *chunkBuilder) {
			c.element("EventData", nil, func() {
				c.data("optional", tokenOptional, 0, typeString)
				c.data("normal", tokenSubstitution, 0, typeString)
				c.data("empty", tokenOptional, 1, typeString)
				c.element("Data", []attribute{{"Name", func() { c.value("nothing") }}}, func() {})
				c.element("Data", []attribute{{"Name", func() { c.value("both") }}}, func() {
					c.substitution(tokenOptional, 0, typeString)
					c.substitution(tokenOptional, 0, typeString)
				})
				c.element("Data", []attribute{{"Name", func() { c.value("text") }}}, func() {
					c.substitution(tokenOptional, 0, typeString)
					c.value("x")
				})
			})
		}),
		values: []outValue{{typ: typeNull}, {typ: typeString}},
	})
	wantFields(t, e.Data, "normal=", "empty=", "nothing=", "text=x")
}

// TestNames reads what EventData and UserData may be made of.
func TestNames(t *testing.T) {
	text := func(c *chunkBuilder, s string) func() { return func() { c.value(s) } }
	e := one(t, crafted{
		define: wrap(func(c *chunkBuilder) {
			c.element("EventData", []attribute{{"Name", text(c, "Started")}}, func() {
				c.element("Data", []attribute{{"Name", func() { c.substitution(tokenSubstitution, 0, typeString) }}}, text(c, "1"))
				c.element("Data", nil, text(c, "2"))
				c.element("Data", []attribute{{"Name", text(c, "")}}, text(c, "3"))
				c.element("Binary", nil, func() { c.substitution(tokenOptional, 1, typeBinary) })
				c.element("ComplexData", []attribute{{"Name", text(c, "cx")}, {"Kind", text(c, "k")}}, func() {
					c.element("Inner", nil, text(c, "4"))
				})
			})
			c.element("UserData", nil, func() {
				c.element("Wrapper", []attribute{{"xmlns:a", text(c, "urn")}, {"Id", text(c, "5")}}, func() {
					c.element("Param", nil, text(c, "6"))
					c.element("Group", nil, func() {
						c.element("Deep", []attribute{{"At", text(c, "7")}}, text(c, "8"))
						c.element("Deeper", nil, func() { c.element("Most", nil, text(c, "9")) })
					})
					c.element("None", nil, nil)
				})
			})
			c.element("ProcessingErrorData", nil, func() { c.element("ErrorCode", nil, text(c, "15001")) })
			c.element("BinaryEventData", nil, text(c, "AB"))
			c.element("RenderingInfo", []attribute{{"Culture", text(c, "ja-JP")}}, func() { c.element("Message", nil, text(c, "no")) })
		}),
		values: []outValue{{typeString, utf16("Dynamic")}, {typeBinary, []byte{1}}},
	})
	wantFields(t, e.Data, "EventData_Name=Started", "Dynamic=1", "Data=2", "Data=3", "Binary=01", "cx_Kind=k", "cx_Inner=4",
		"Wrapper_Id=5", "Param=6", "Group_Deep=8", "Group_Deep_At=7", "Group_Deeper_Most=9", "None=",
		"ErrorCode=15001", "BinaryEventData=AB")
}

// TestNested reads EventData that is binary XML in a value, as Windows itself
// writes it, two levels deep.
func TestNested(t *testing.T) {
	// The nested instances are made in place, for offsets are the chunk's.
	var inner []byte
	r := crafted{xml: func(c *chunkBuilder) {
		c.buf = append(c.buf, tokenFragment, 1, 1, 0)
		c.template(wrap(func(c *chunkBuilder) {
			c.substitution(tokenOptional, 0, typeBinXML)
			c.substitution(tokenOptional, 1, typeBinXML)
		}), nil)
		c.buf = c.buf[:len(c.buf)-4]
		le := binary.LittleEndian
		c.buf = le.AppendUint32(c.buf, 2)
		sizes := len(c.buf)
		c.buf = append(c.buf, 0, 0, typeBinXML, 0, 0, 0, typeNull, 0)
		start := len(c.buf)
		c.buf = append(c.buf, tokenFragment, 1, 1, 0)
		c.template(func(c *chunkBuilder) {
			c.element("EventData", nil, func() { c.data("x", tokenSubstitution, 0, typeString) })
		}, []outValue{{typeString, utf16("deep ")}})
		c.buf = append(c.buf, tokenEOF)
		le.PutUint16(c.buf[sizes:], uint16(len(c.buf)-start))
		inner = c.buf[start:]
	}}
	e := one(t, r)
	if len(inner) == 0 {
		t.Fatal("nothing nested was made")
	}
	wantFields(t, e.Data, "x=deep ")
	if e.Provider != "P" || e.ID != 7 || e.Host != "H" {
		t.Errorf("System reads as %+v", e)
	}
}

// TestForwarded reads a record as event collectors store it when they have it
// rendered: literal text throughout.
func TestForwarded(t *testing.T) {
	e := one(t, crafted{xml: func(c *chunkBuilder) {
		text := func(s string) func() { return func() { c.value(s) } }
		c.buf = append(c.buf, tokenFragment, 1, 1, 0)
		c.element("Event", []attribute{{"xmlns", text(eventNamespace)}}, func() {
			c.element("System", nil, func() {
				c.element("Provider", []attribute{{"Name", text("Microsoft-Windows-Security-Auditing")}, {"Guid", text("{5}")}}, nil)
				c.element("EventID", []attribute{{"Qualifiers", text("0")}}, text("4688"))
				c.element("Version", nil, text("2"))
				c.element("Level", nil, text("0"))
				c.element("Task", nil, text("13312"))
				c.element("Opcode", nil, text("0"))
				c.element("Keywords", nil, text("0x8020000000000000"))
				c.element("TimeCreated", []attribute{{"SystemTime", text("2024-01-02T03:04:05.123456700Z")}}, nil)
				c.element("EventRecordID", nil, text("991"))
				c.element("Execution", []attribute{{"ProcessID", text("4")}, {"ThreadID", text("8")}}, nil)
				c.element("Channel", nil, text("Security"))
				c.element("Computer", nil, text("FS01"))
				c.element("Security", []attribute{{"UserID", text("S-1-5-18")}}, nil)
			})
			c.element("EventData", nil, func() {
				c.element("Data", []attribute{{"Name", text("NewProcessName")}}, func() {
					c.value(`C:\A `)
					c.buf = append(c.buf, tokenEntityRef)
					c.name("amp")
					c.buf = append(c.buf, tokenCharRef, 'B', 0)
					c.buf = append(c.buf, tokenCDATA, 1, 0, '<', 0)
					c.buf = append(c.buf, tokenEntityRef)
					c.name("unknown")
				})
				c.element("Data", []attribute{{"Name", text("NewProcessId")}}, text("0x1f4"))
			})
			c.element("RenderingInfo", nil, func() { c.element("Level", nil, text("Information")) })
		})
	}})
	wantFields(t, e.Data, `NewProcessName=C:\A &B<&unknown;`, "NewProcessId=0x1f4")
	want := &event.Event{
		Provider: "Microsoft-Windows-Security-Auditing", ID: 4688, Version: 2, Task: 13312, Keywords: 0x8020000000000000,
		Logged: time.Date(2024, 1, 2, 3, 4, 5, 123456700, time.UTC), PID: 4, TID: 8, Channel: "Security", Host: "FS01", UserSID: "S-1-5-18",
	}
	want.Time = want.Logged
	want.Data, want.Ref = e.Data, e.Ref
	if fmt.Sprintf("%+v", want) != fmt.Sprintf("%+v", e) {
		t.Errorf("%+v\nwant\n%+v", e, want)
	}
	if e.Ref.RecordID != 991 {
		t.Errorf("record id %d, want the EventRecordID", e.Ref.RecordID)
	}
}

// TestSystemOddities: a channel given as a number, no time, numbers out of range.
func TestSystemOddities(t *testing.T) {
	events, _, problems := readAll(t, file(t, crafted{
		define: func(c *chunkBuilder) {
			c.element("Event", nil, func() {
				c.element("System", nil, func() {
					c.element("Channel", nil, func() { c.substitution(tokenSubstitution, 0, typeUint8) })
					c.element("Level", nil, func() { c.value("300") })
					c.element("Task", nil, func() { c.substitution(tokenOptional, 1, typeUint16) })
					c.element("TimeCreated", []attribute{{"SystemTime", func() { c.value("soon") }}}, nil)
				})
			})
		},
		values: []outValue{{typeUint8, []byte{4}}, {typ: typeNull}},
	}))
	if len(events) != 1 {
		t.Fatal(problems)
	}
	e := events[0]
	if e.Channel != "4" || e.Level != 0 || e.Flags != event.Partial || !e.Logged.Equal(fileTime(133_000_000_000_000_000)) || e.Ref.RecordID != 1 {
		t.Errorf("%+v", e)
	}
	if len(problems) != 1 || problems[0].Kind != source.Corrupt || !strings.Contains(problems[0].Detail, "Level") {
		t.Errorf("problems %v", problems)
	}
}

// TestExpansion: a record that would expand exponentially is given up; the next
// is read.
func TestExpansion(t *testing.T) {
	many := func(slot int, typ byte, n int) func(c *chunkBuilder) {
		return wrap(func(c *chunkBuilder) {
			c.element("EventData", nil, func() {
				for range n {
					c.element("Data", nil, func() { c.substitution(tokenSubstitution, slot, typ) })
				}
			})
		})
	}
	good := crafted{
		define: wrap(func(c *chunkBuilder) {
			c.element("EventData", nil, func() { c.data("v", tokenSubstitution, 0, typeString) })
		}),
		values: []outValue{{typeString, utf16("after")}},
	}
	bomb := crafted{xml: func(c *chunkBuilder) {
		// Each level holds the next one once and names it 200 times.
		le := binary.LittleEndian
		c.buf = append(c.buf, tokenFragment, 1, 1, 0)
		var sizes []int
		c.template(many(0, typeBinXML, 200), nil)
		def := uint32(chunkHeaderSize + recordHeader + 4 + 10)
		for range 6 {
			c.buf = c.buf[:len(c.buf)-4]
			c.buf = le.AppendUint32(c.buf, 1)
			sizes = append(sizes, len(c.buf))
			c.buf = append(c.buf, 0, 0, typeBinXML, 0)
			c.buf = append(c.buf, tokenTemplate, 1, 7, 0, 0, 0)
			c.buf = le.AppendUint32(c.buf, def)
			c.buf = le.AppendUint32(c.buf, 0)
		}
		for _, s := range sizes {
			le.PutUint16(c.buf[s:], uint16(len(c.buf)-s-4))
		}
	}}
	// The nested definitions are whole events here; inside EventData they
	// count as groups of fields all the same.
	events, stats, problems := readAll(t, file(t, good, good, good))
	if len(events) != 3 || len(problems) > 0 {
		t.Fatalf("%+v %v", stats, problems)
	}
	events, stats, problems = readAll(t, file(t, bomb))
	if len(events) != 0 || stats.Undecodable != 1 || len(problems) != 1 || problems[0].Kind != source.TooLarge {
		t.Errorf("%d events, %+v, %v", len(events), stats, problems)
	}
	long := crafted{define: many(0, typeString, 1000), values: []outValue{{typeString, utf16(strings.Repeat("x", 15000))}}}
	if _, stats, problems = readAll(t, file(t, long)); stats.Events+stats.Undecodable != 1 {
		t.Errorf("%+v, %v", stats, problems)
	}
	longer := crafted{define: many(0, typeString, 500), values: []outValue{{typeString, utf16(strings.Repeat("猫", 15000))}}}
	if _, stats, problems = readAll(t, file(t, longer)); stats.Undecodable != 1 || problems[0].Kind != source.TooLarge {
		t.Errorf("%+v, %v", stats, problems)
	}
}

// TestExpansionOfPrograms: values named thousands of times inside values named
// thousands of times are given up before they are all run.
func TestExpansionOfPrograms(t *testing.T) {
	const named = 2000
	substitutions := func(c *chunkBuilder) {
		for range named {
			c.substitution(tokenOptional, 0, typeBinXML)
		}
	}
	b := file(t, crafted{xml: func(c *chunkBuilder) {
		le := binary.LittleEndian
		c.buf = append(c.buf, tokenFragment, 1, 1, 0)
		var sizes []int
		for _, define := range []func(c *chunkBuilder){
			wrap(substitutions),
			func(c *chunkBuilder) { c.element("UserData", nil, func() { substitutions(c) }) },
			func(c *chunkBuilder) { c.element("W", nil, func() { c.element("F", nil, nil) }) },
		} {
			c.template(define, nil)
			c.buf = le.AppendUint32(c.buf[:len(c.buf)-4], 1)
			sizes = append(sizes, len(c.buf))
			c.buf = append(c.buf, 0, 0, typeBinXML, 0)
		}
		for _, s := range sizes {
			le.PutUint16(c.buf[s:], uint16(len(c.buf)-s-4))
		}
	}})
	if _, stats, problems := readAll(t, b); stats.Undecodable != 1 || len(problems) != 1 || problems[0].Kind != source.TooLarge {
		t.Errorf("%+v, %v", stats, problems)
	}
	var w twins
	w.fast.reset(b[fileHeaderSize:], &w.shared)
	at := chunkHeaderSize + recordHeader
	end := chunkHeaderSize + int(u32(b, fileHeaderSize+chunkHeaderSize+4)) - 4
	w.fast.clear()
	if w.fast.runRecord(at, end) || len(w.fast.fields) > maxSteps {
		t.Errorf("%d fields were made", len(w.fast.fields))
	}
	if p := w.fast.templates[u32(b, fileHeaderSize+at+4+6)]; p == nil || p.programs[inDocument] == nil {
		t.Error("the record has no program, so that nothing was tested")
	}
}

// TestDeep nests elements beyond the bound.
func TestDeep(t *testing.T) {
	var nest func(c *chunkBuilder, n int)
	nest = func(c *chunkBuilder, n int) {
		c.element("e", nil, func() {
			if n > 0 {
				nest(c, n-1)
			}
		})
	}
	for _, c := range []struct {
		depth int
		ok    bool
	}{{20, true}, {500, false}} {
		_, stats, problems := readAll(t, file(t, crafted{define: wrap(func(b *chunkBuilder) { nest(b, c.depth) })}))
		if (stats.Events == 1) != c.ok || (len(problems) == 0) != c.ok {
			t.Errorf("depth %d: %+v, %v", c.depth, stats, problems)
		}
	}
}

// TestDependencyIDs reads elements whose dependency id is present or not,
// whatever the rule for the place says.
func TestDependencyIDs(t *testing.T) {
	define := wrap(func(c *chunkBuilder) {
		start := len(c.buf)
		c.element("EventData", nil, func() { c.data("v", tokenSubstitution, 0, typeString) })
		// Take the id out of the first element again, and correct the offset
		// of the name that stands in it.
		c.buf = slices.Delete(c.buf, start+1, start+3)
		for n, off := range c.names {
			if int(off) > start {
				c.names[n] = off - 2
			}
		}
		le := binary.LittleEndian
		for i := start; i+4 <= len(c.buf); i++ {
			if v := le.Uint32(c.buf[i:]); int(v) == i+6 {
				le.PutUint32(c.buf[i:], v-2)
			}
		}
	})
	e := one(t, crafted{define: define, values: []outValue{{typeString, utf16("x")}}})
	wantFields(t, e.Data, "v=x")
}

// TestSlackBounds: a file beyond the bounds gives all its leftovers, copies too,
// in whatever order its chunks are decoded.
func TestSlackBounds(t *testing.T) {
	record := crafted{
		define: wrap(func(c *chunkBuilder) {
			c.element("EventData", nil, func() { c.data("v", tokenSubstitution, 0, typeString) })
		}),
		values: []outValue{{typeString, utf16("x")}},
	}
	b := file(t, record, record, record)
	// The last record becomes a leftover; the chunk appears three times.
	chunk := b[fileHeaderSize:]
	binary.LittleEndian.PutUint32(chunk[48:], u32(chunk, 44))
	binary.LittleEndian.PutUint32(chunk[120:], flagNoChecksum)
	b = slices.Concat(b, chunk, chunk)
	for _, c := range []struct{ maxLive, maxBytes, carved int }{
		{100, 1 << 20, 1},
		{1, 1 << 20, 3},
		{100, 10, 3},
	} {
		for jobs := 1; jobs < 4; jobs++ {
			var mu sync.Mutex
			n := 0
			r := &run{
				name: "test.evtx", found: map[source.ProblemKind]*source.Problem{},
				handle: func(batch []*event.Event) {
					mu.Lock()
					defer mu.Unlock()
					n += len(batch)
				},
				slack: slack{maxLive: c.maxLive, maxBytes: c.maxBytes},
			}
			stats, problems := r.read(context.Background(), bytes.NewReader(b), jobs)
			if n != 6+c.carved || stats.Carved != int64(c.carved) || stats.Events != int64(n) || stats.Records != int64(n) || len(problems) > 0 {
				t.Errorf("bounds %d, %d: %d events, %+v, %v", c.maxLive, c.maxBytes, n, stats, problems)
			}
		}
	}
}

func TestEntities(t *testing.T) {
	for name, want := range map[string]string{"amp": "&", "lt": "<", "gt": ">", "quot": `"`, "apos": "'", "nbsp": "&nbsp;"} {
		if got := entity(name); got != want {
			t.Errorf("&%s; is %q, want %q", name, got, want)
		}
	}
}

func TestUserDataWithoutFields(t *testing.T) {
	e := one(t, crafted{define: wrap(func(c *chunkBuilder) {
		c.element("UserData", nil, func() {
			c.element("Plain", nil, func() { c.value("text") })
			c.element("Nothing", nil, nil)
		})
	})})
	wantFields(t, e.Data, "Plain=text")
}

// TestContentInStartTag: text where only attributes may stand is refused, in a
// nested element too, where looking for attributes would not come to an end.
func TestContentInStartTag(t *testing.T) {
	for name, content := range map[string]func(c *chunkBuilder){
		"text":         func(c *chunkBuilder) { c.value("x") },
		"substitution": func(c *chunkBuilder) { c.substitution(tokenSubstitution, 0, typeString) },
		"characters":   func(c *chunkBuilder) { c.buf = append(c.buf, tokenCharRef, 'B', 0) },
	} {
		_, stats, problems := readAll(t, file(t, crafted{define: wrap(func(c *chunkBuilder) {
			c.element("EventData", nil, func() {
				c.element("Data", nil, nil)
				c.buf = c.buf[:len(c.buf)-1] // open its start tag again
				content(c)
				c.buf = append(c.buf, tokenCloseEmpty)
			})
		}), values: []outValue{{typeString, utf16("x")}}}))
		if stats.Undecodable != 1 || len(problems) != 1 || !strings.Contains(problems[0].Detail, "inside a start tag") {
			t.Errorf("%s: %+v, %v", name, stats, problems)
		}
	}
}

// TestNoEvent: XML that is no event is a record that cannot be read.
func TestNoEvent(t *testing.T) {
	for _, define := range []func(c *chunkBuilder){
		func(c *chunkBuilder) { c.element("Other", nil, nil) },
		func(c *chunkBuilder) { c.element("Event", nil, func() { c.element("EventData", nil, nil) }) },
		func(c *chunkBuilder) {},
	} {
		events, stats, problems := readAll(t, file(t, crafted{define: define}))
		if len(events) != 0 || stats.Undecodable != 1 || len(problems) != 1 || problems[0].Lost != 1 {
			t.Errorf("%d events, %+v, %v", len(events), stats, problems)
		}
	}
}
