package sigma

import (
	"bytes"
	"unicode/utf8"
)

// utf8Text returns data without a byte order mark, and refuses what is not UTF-8
// text of bounded size.
func utf8Text(data []byte) ([]byte, *fault) {
	if len(data) > MaxFileSize {
		return nil, faultf(place{1, 1}, "the file has %d bytes, more than the bound of %d", len(data), MaxFileSize).withHint("split it")
	}
	if f := wideText(data); f != nil {
		return nil, f
	}
	data = bytes.TrimPrefix(data, []byte("\uFEFF"))
	if at, bad := firstBadByte(data); bad {
		return nil, badByte(data, at)
	}
	return data, nil
}

// wideText recognises UTF-16, with a byte order mark or without: ASCII text then
// has a NUL in every second byte.
func wideText(data []byte) *fault {
	order := ""
	switch {
	case len(data) < 2:
	case data[0] == 0xFF && data[1] == 0xFE, data[0] != 0 && data[1] == 0 && pairs(data, 1):
		order = "LE"
	case data[0] == 0xFE && data[1] == 0xFF, data[0] == 0 && data[1] != 0 && pairs(data, 0):
		order = "BE"
	}
	if order == "" {
		return nil
	}
	return faultf(place{1, 1}, "the file is UTF-16%s", order).withHint("save it as UTF-8")
}

// pairs reports that the first bytes of data at even (0) or odd (1) places are
// NUL, and none of those between.
func pairs(data []byte, nul int) bool {
	n := min(len(data)&^1, 64)
	for i := 0; i < n; i++ {
		if (data[i] == 0) != (i&1 == nul) {
			return false
		}
	}
	return n >= 4
}

// badByte says what is wrong at a place that is not UTF-8 text.
func badByte(data []byte, at place) *fault {
	lines := bytes.SplitN(data, []byte("\n"), at.line+1)
	rest := lines[at.line-1]
	for range at.column - 1 {
		_, n := utf8.DecodeRune(rest)
		rest = rest[n:]
	}
	if len(rest) > 0 && rest[0] == 0 {
		return faultf(at, "the file has a NUL character here").withHint("it is damaged, or no text; remove the character")
	}
	f := faultf(at, "the file is not valid UTF-8 here")
	if len(rest) > 0 {
		f = faultf(at, "the file is not valid UTF-8 here (byte 0x%02X)", rest[0])
	}
	return f.withHint("save it as UTF-8; it may be Latin-1 or another legacy encoding")
}
