package main

import (
	"strings"
	"testing"

	"github.com/mattn/go-runewidth"
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
