package event

import (
	"bytes"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestUTF16RoundTripKeepsEveryCodeUnit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		units := rapid.SliceOf(rapid.OneOf(
			rapid.Uint16(),
			rapid.Uint16Range(0xD800, 0xDFFF), // surrogates, mostly lone
			rapid.Uint16Range(0x20, 0x7E),
		)).Draw(t, "units")
		var le []byte
		for _, u := range units {
			le = append(le, byte(u), byte(u>>8))
		}
		s := string(AppendUTF16(nil, le))
		if back := AppendUTF16LE(nil, s); !bytes.Equal(back, le) {
			t.Fatalf("% x → %q → % x", le, s, back)
		}
	})
}

func TestAppendUTF16(t *testing.T) {
	for _, c := range []struct {
		in   []byte
		want string
	}{
		{[]byte{'C', 0, ':', 0, ' ', 0}, "C: "},
		{[]byte{0x42, 0x30}, "あ"},
		{[]byte{0x3D, 0xD8, 0x00, 0xDE}, "😀"},
		{[]byte{0x00, 0xD8}, "\xed\xa0\x80"},
		{[]byte{'a', 0, 'b'}, "a"}, // an odd last byte is ignored
	} {
		if got := string(AppendUTF16(nil, c.in)); got != c.want {
			t.Errorf("% x: %q, want %q", c.in, got, c.want)
		}
	}
}

func TestGetReadsTheTaxonomyBeforeTheRecord(t *testing.T) {
	e := &Event{
		ID: 4688, Channel: "Security", Provider: "P", Host: "PC", PID: 4, Keywords: 0x8020000000000000,
		Logged: time.Date(2026, 1, 2, 3, 4, 5, 600, time.UTC),
		Data:   Fields{{"ProcessId", "0x4"}, {"CommandLine", " x "}},
		Canon:  Fields{{"ProcessId", "684"}},
		Ref:    EvidenceRef{RecordID: 9},
	}
	for name, want := range map[string]string{
		"ProcessId": "684", "CommandLine": " x ", "EventID": "4688", "Provider_Name": "P", "Computer": "PC",
		"Execution_ProcessID": "4", "Keywords": "0x8020000000000000", "EventRecordID": "9",
		"TimeCreated_SystemTime": "2026-01-02T03:04:05.0000006Z",
	} {
		if got, ok := e.Get(name); !ok || got != want {
			t.Errorf("Get(%s) = %q, %v; want %q", name, got, ok, want)
		}
	}
	if v, _ := e.Raw("ProcessId"); v != "0x4" {
		t.Errorf("Raw(ProcessId) = %q", v)
	}
	for _, absent := range []string{"Image", "Security_UserID", ""} {
		if v, ok := e.Get(absent); ok {
			t.Errorf("Get(%q) = %q, want nothing", absent, v)
		}
	}
}

func TestKindNamesAreUnique(t *testing.T) {
	seen := map[string]Kind{}
	for _, k := range Kinds() {
		if other, twice := seen[k.String()]; twice || k.String() == "" {
			t.Errorf("kinds %d and %d are both %q", other, k, k)
		}
		seen[k.String()] = k
	}
}

func TestCompareIsATotalOrder(t *testing.T) {
	refs := rapid.Custom(func(t *rapid.T) EvidenceRef {
		return EvidenceRef{
			Host: rapid.SampledFrom([]string{"A", "B"}).Draw(t, "host"), Channel: rapid.SampledFrom([]string{"x", "y"}).Draw(t, "channel"),
			RecordID: rapid.Uint64Range(0, 2).Draw(t, "id"), Offset: rapid.Int64Range(0, 1).Draw(t, "offset"),
			SHA256: [32]byte{rapid.Byte().Draw(t, "hash")},
		}
	})
	rapid.Check(t, func(t *rapid.T) {
		a, b := refs.Draw(t, "a"), refs.Draw(t, "b")
		if a.Compare(b) != -b.Compare(a) || (a.Compare(b) == 0) != (a == b) {
			t.Fatalf("%v and %v do not compare as a total order", a, b)
		}
	})
}
