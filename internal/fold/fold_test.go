package fold

import (
	"strings"
	"testing"

	"github.com/mattn/go-runewidth"
	"pgregory.net/rapid"
)

func TestText(t *testing.T) {
	runewidth.DefaultCondition.EastAsianWidth = false
	for _, c := range []struct {
		name, in, want string
	}{
		{"what fits stays", "  1  " + Here + "a b", "  1  a b"},
		{
			"further rows begin at the mark",
			"    1  2026-03-09  " + Here + "wscript.exe started cmd.exe in a window\n",
			"    1  2026-03-09  wscript.exe started\n                   cmd.exe in a window\n",
		},
		{
			"without a mark they are set in",
			"  hosts HOST-1 and HOST-2 · score 113 · id b31545cc",
			"  hosts HOST-1 and HOST-2 · score 113 ·\n    id b31545cc",
		},
		{
			"a path is not broken, and begins a row of its own",
			`  - file  ` + Here + `of C:\Users\IEUser\AppData\Local\Temp\setup.exe`,
			"  - file  of\n" + `          C:\Users\IEUser\AppData\Local\Temp\setup.exe`,
		},
		{
			"a first word that is too long is no reason for an empty row",
			`  C:\Users\IEUser\AppData\Local\Temp\a-long-name.exe and more`,
			`  C:\Users\IEUser\AppData\Local\Temp\a-long-name.exe` + "\n    and more",
		},
		{
			"Japanese breaks between characters, and no row begins with a stop",
			"    1  " + Here + "認証情報を保持するプロセスのメモリを読み取った。",
			"    1  認証情報を保持するプロセスのメモ\n       リを読み取った。",
		},
		{
			"no row ends with an opening bracket",
			"あいうえおかきくけこさしすせそたちつて（と）",
			"あいうえおかきくけこさしすせそたちつて\n  （と）",
		},
		{
			"Korean breaks at blanks",
			"    1  " + Here + "자격 증명이 들어 있는 메모리를 읽었습니다",
			"    1  자격 증명이 들어 있는 메모리를\n       읽었습니다",
		},
		{
			"colours take no room",
			"  \x1b[31mhigh\x1b[0m  " + Here + "one two three four five sx sev\x1b[1men\x1b[0m eight",
			"  \x1b[31mhigh\x1b[0m  one two three four five sx sev\x1b[1men\x1b[0m\n        eight",
		},
		{
			"a mark too far to the right is none",
			strings.Repeat("x", 30) + "  " + Here + "one two three",
			strings.Repeat("x", 30) + "  one two\n  three",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := Text(c.in, 40); got != c.want {
				t.Errorf("got\n%s\nwant\n%s", got, c.want)
			}
			if got, want := Text(c.in, 0), strings.ReplaceAll(c.in, Here, ""); got != want {
				t.Errorf("without a width: %q", got)
			}
		})
	}
}

// TestFoldedTextIsTheText holds of any text that folding changes blanks and line
// breaks only.
func TestFoldedTextIsTheText(t *testing.T) {
	letter := rapid.SampledFrom([]rune("aB\\ .(あ漢。「」한글  \n\x1b" + Here))
	bare := func(s string) string { return strings.Join(strings.Fields(strings.ReplaceAll(s, Here, "")), "") }
	rapid.Check(t, func(t *rapid.T) {
		in := rapid.StringOfN(letter, 0, 200, -1).Draw(t, "in")
		if out := Text(in, 40); bare(out) != bare(in) {
			t.Fatalf("%q became %q", in, out)
		}
	})
}

// TestOnlyAWordIsTooWide holds that a row beyond the width is a single word.
func TestOnlyAWordIsTooWide(t *testing.T) {
	word := rapid.StringOfN(rapid.RuneFrom([]rune("ab\\:")), 1, 60, -1)
	rapid.Check(t, func(t *rapid.T) {
		words := rapid.SliceOfN(word, 1, 20).Draw(t, "words")
		for row := range strings.SplitSeq(Text("  "+Here+strings.Join(words, " "), 40), "\n") {
			if Width(row) > 40 && len(strings.Fields(row)) > 1 {
				t.Fatalf("%q is %d wide", row, Width(row))
			}
		}
	})
}
