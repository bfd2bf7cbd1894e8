package main

import (
	"io"
	"strings"

	"github.com/spf13/cobra"

	"ashiato/internal/fold"
)

// table prints rows below a heading, in columns as wide as their widest cell on a
// terminal, where a letter of Japanese takes two places.
type table struct {
	rows  [][]string
	right int // that many columns stand to the right, as numbers do
}

func (t *table) row(cells ...string) { t.rows = append(t.rows, cells) }

// write prints the table, each row after indent, the last column folded to width.
func (t *table) write(w io.Writer, indent string, width int) error {
	var widths []int
	for _, r := range t.rows {
		for i, c := range r {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], fold.Width(c))
		}
	}
	var b strings.Builder
	for _, r := range t.rows {
		b.WriteString(indent)
		for i, c := range r {
			blanks := strings.Repeat(" ", widths[i]-fold.Width(c))
			switch {
			case i < t.right:
				b.WriteString(blanks + c)
			case i == len(r)-1:
				b.WriteString(fold.Here + c)
			default:
				b.WriteString(c + blanks)
			}
			if i < len(r)-1 {
				b.WriteString("  ")
			}
		}
		b.WriteByte('\n')
	}
	_, err := io.WriteString(w, fold.Text(b.String(), width))
	return err
}

// addLang gives a command the flag --lang.
func addLang(cmd *cobra.Command, lang *string) {
	cmd.Flags().StringVar(lang, "lang", "", "`language`: en, ja or ko (default: from the locale)")
}
