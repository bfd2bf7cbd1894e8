package main

import (
	"fmt"
	"strconv"
	"strings"
)

// units are the suffixes of sizes: powers of 1,024, but for KB to TB, which are
// powers of 1,000.
var units = map[string]int64{
	"": 1, "B": 1,
	"K": 1 << 10, "KIB": 1 << 10, "KB": 1e3,
	"M": 1 << 20, "MIB": 1 << 20, "MB": 1e6,
	"G": 1 << 30, "GIB": 1 << 30, "GB": 1e9,
	"T": 1 << 40, "TIB": 1 << 40, "TB": 1e12,
}

// parseSize reads a whole number of bytes with a unit, as in 512M or 2GiB, within
// bounds.
func parseSize(flag, value string, least, most int64) (int64, error) {
	end := strings.LastIndexAny(value, "0123456789") + 1
	unit, known := units[strings.ToUpper(strings.TrimLeft(value[end:], " "))]
	n, err := strconv.ParseInt(value[:end], 10, 64)
	if err != nil || !known || n < 0 {
		return 0, withHint(fmt.Errorf("%s: %q is not a size", flag, value), "write bytes, or a number with K, M or G, as in 256M")
	}
	if n > most/unit || n*unit < least {
		return 0, withHint(fmt.Errorf("%s: %s is out of range", flag, value), fmt.Sprintf("use %s to %s", formatSize(least), formatSize(most)))
	}
	return n * unit, nil
}

// formatSize writes a size as parseSize reads it, in the greatest unit that fits.
func formatSize(n int64) string {
	unit := ""
	for _, u := range []string{"K", "M", "G", "T"} {
		if n == 0 || n%1024 != 0 {
			break
		}
		n, unit = n/1024, u
	}
	return strconv.FormatInt(n, 10) + unit
}
