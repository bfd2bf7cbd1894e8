package ndjson

import (
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestInteger holds integer against the standard library.
func TestInteger(t *testing.T) {
	digits := rapid.OneOf(
		rapid.StringMatching(`0{0,3}[0-9a-fA-F]{0,22}`), rapid.StringMatching(`[0-9]{0,21}`), rapid.String(),
		rapid.SampledFrom([]string{"18446744073709551615", "18446744073709551616", "18446744073709551609", "ffffffffffffffff", "10000000000000000"}),
		rapid.Custom(func(t *rapid.T) string { return strconv.FormatUint(rapid.Uint64().Draw(t, "n"), 10) }),
	)
	rapid.Check(t, func(t *rapid.T) {
		s, base := digits.Draw(t, "digits"), rapid.SampledFrom([]int{10, 16}).Draw(t, "base")
		want, err := strconv.ParseUint(s, base, 64)
		got, ok := integer([]byte(s), uint64(base))
		if ok != (err == nil) || ok && got != want {
			t.Fatalf("%q is %d %t, want %d, %v", s, got, ok, want, err)
		}
	})
}

// TestDaysBefore holds daysBefore against the standard library, for every month
// of a thousand years and of years far away.
func TestDaysBefore(t *testing.T) {
	check := func(year, month int) {
		want := time.Date(year, time.Month(month), 1, 0, 0, 0, 0, time.UTC).Unix() / 86400
		if got := daysBefore(year, month); got != want {
			t.Fatalf("%d-%d begins on day %d, want %d", year, month, got, want)
		}
	}
	for month := 1; month <= 12; month++ {
		for year := 1600; year < 2600; year++ {
			check(year, month)
		}
		for _, year := range []int{0, 1, 4, 99, 100, 400, 9999, 123456, 999999} {
			check(year, month)
		}
	}
}
