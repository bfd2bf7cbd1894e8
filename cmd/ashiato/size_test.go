package main

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestParseSize(t *testing.T) {
	for _, test := range []struct {
		text string
		want int64
		err  string
	}{
		{"65536", 65536, ""},
		{"64K", 65536, ""},
		{"64 kib", 65536, ""},
		{"1MB", 1_000_000, ""},
		{"512M", 512 << 20, ""},
		{"2GiB", 2 << 30, ""},
		{"1T", 1 << 40, ""},
		{"2T", 0, "out of range"},
		{"1K", 0, "out of range"},
		{"9223372036854775807T", 0, "out of range"},
		{"92233720368547758070", 0, "not a size"},
		{"-5M", 0, "not a size"},
		{"1.5G", 0, "not a size"},
		{"M", 0, "not a size"},
		{"", 0, "not a size"},
		{"5X", 0, "not a size"},
		{"5M5", 0, "not a size"},
	} {
		got, err := parseSize("--flag", test.text, 64<<10, 1<<40)
		if test.err == "" && (err != nil || got != test.want) || test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)) {
			t.Errorf("%q: %d, %v", test.text, got, err)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Int64Range(0, 1<<62).Draw(t, "n")
		if got, err := parseSize("--flag", formatSize(n), 0, 1<<62); err != nil || got != n {
			t.Fatalf("%d became %s, %d, %v", n, formatSize(n), got, err)
		}
	})
}
