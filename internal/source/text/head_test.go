package text

import (
	"bytes"
	"testing"
)

// TestDecodeHeadTakesNoMemory holds that to look at a small file costs nothing but
// in UTF-16: archives may hold millions.
func TestDecodeHeadTakesNoMemory(t *testing.T) {
	for _, head := range []string{"", "h", "hello", "\xEF\xBB\xBFhello"} {
		b := []byte(head)
		var got []byte
		if n := testing.AllocsPerRun(10, func() { got = DecodeHead(b) }); n != 0 {
			t.Errorf("%q: %v allocations", head, n)
		}
		if want := bytes.TrimPrefix(b, []byte("\xEF\xBB\xBF")); !bytes.Equal(got, want) {
			t.Errorf("%q: %q", head, got)
		}
	}
	if got := DecodeHead([]byte("\xFF\xFEh\x00i\x00")); string(got) != "hi" {
		t.Errorf("%q", got)
	}
}
