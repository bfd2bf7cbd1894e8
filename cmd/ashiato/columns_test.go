package main

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/mattn/go-runewidth"

	"ashiato/internal/i18n"
)

func TestTable(t *testing.T) {
	runewidth.DefaultCondition.EastAsianWidth = false
	x := table{right: 1}
	x.row("件数", "深刻度", "ルール")
	x.row("1,618", "高", "リモート実行ツールによるサービス登録とその後の実行")
	x.row("3", "情報", "Program of the system folder starts from a place")
	for _, c := range []struct {
		width int
		want  string
	}{
		{0, "  " + ` 件数  深刻度  ルール
  1,618  高      リモート実行ツールによるサービス登録とその後の実行
      3  情報    Program of the system folder starts from a place
`},
		{50, "  " + ` 件数  深刻度  ルール
  1,618  高      リモート実行ツールによるサービス
                 登録とその後の実行
      3  情報    Program of the system folder
                 starts from a place
`},
	} {
		var b strings.Builder
		if err := x.write(&b, "  ", c.width); err != nil {
			t.Fatal(err)
		}
		if b.String() != c.want {
			t.Errorf("at %d columns\n%s\nwant\n%s", c.width, b.String(), c.want)
		}
	}
}

// TestNotesHaveWords holds that whatever note package sigma makes of a value has a
// text.
func TestNotesHaveWords(t *testing.T) {
	source, err := os.ReadFile("../../internal/sigma/explain.go")
	if err != nil {
		t.Fatal(err)
	}
	notes := regexp.MustCompile(`v\.Note = (?:"", 0, )?"([^"]+)"(\s\+)?|v\.Near, v\.Of, v\.Note = "", 0, "([^"]+)"`).FindAllStringSubmatch(string(source), -1)
	if len(notes) < 8 {
		t.Fatalf("%d notes found", len(notes))
	}
	for _, m := range notes {
		if note := m[1] + m[3]; m[2] == "" && !i18n.Korean.Has("explain.note."+note) {
			t.Errorf("no text for %q", note)
		}
	}
}
