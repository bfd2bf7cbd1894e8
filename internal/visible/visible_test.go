package visible

import (
	"testing"

	"pgregory.net/rapid"
)

func TestText(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{`C:\Windows \System32\printui.exe`, `C:\Windows␠\System32\printui.exe`},
		{`C:\Windows\System32`, `C:\Windows\System32`},
		{`C:\ Windows\x`, `C:\␠Windows\x`},
		{`C:\Program Files\a b.exe`, `C:\Program Files\a b.exe`},
		{"C:\\Windows\u00a0\\System32", `C:\Windows⟨U+00A0⟩\System32`},
		{"a\u202egnp.exe", `a⟨U+202E⟩gnp.exe`},
		{"x  y", "x␠␠y"},
		{"tail ", "tail␠"},
		{"sc.exe /c x", "sc.exe /c x"},
		{"a\xed\xa0\x80b", "a⟨U+D800⟩b"},
		{"a\xffb", "a⟨FF⟩b"},
		{"zero\u200bwidth", "zero⟨U+200B⟩width"},
		{"日本語 フォルダー", "日本語 フォルダー"},
		{"", ""},
	} {
		if got := Text(c.in); got != c.want {
			t.Errorf("Text(%q) = %q, want %q", c.in, got, c.want)
		}
	}
}

func TestRunsJoinToTheText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.OneOf(rapid.String(), rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) })).Draw(t, "s")
		joined := ""
		for _, r := range Runs(s) {
			joined += r.Text
		}
		if joined != s {
			t.Fatalf("runs of %q join to %q", s, joined)
		}
	})
}
