package evtx

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"ashiato/internal/event"
)

const (
	upperHex = "0123456789ABCDEF"
	// ticksPerSecond is the resolution of a FILETIME, 100 ns.
	ticksPerSecond = 10_000_000
	// epochSeconds is the Unix epoch in seconds since 1601-01-01, where
	// FILETIME counts from.
	epochSeconds = 11_644_473_600
)

// fileTime is the time that a FILETIME stands for.
func fileTime(ticks uint64) time.Time {
	sec := int64(ticks/ticksPerSecond) - epochSeconds
	return time.Unix(sec, int64(ticks%ticksPerSecond)*100).UTC()
}

// appendValue appends the text of one value (not an array) to dst. The second
// result is false if the bytes do not fit the type; their hexadecimal digits are
// appended then, so that nothing is lost.
func appendValue(dst []byte, typ byte, b []byte) ([]byte, bool) {
	switch typ {
	case typeNull:
		return dst, true
	case typeString, typeEvtXML:
		ok := len(b)%2 == 0
		return appendUTF16(dst, trimNUL16(b)), ok
	case typeAnsi:
		return appendANSI(dst, b), true
	case typeBinary:
		return appendHex(dst, b), true
	case typeSID:
		return appendSID(dst, b)
	}
	switch typ {
	case typeInt8, typeInt16, typeInt32, typeInt64:
		if v, ok := integer(b); ok {
			shift := 64 - 8*len(b)
			return strconv.AppendInt(dst, int64(v)<<shift>>shift, 10), true
		}
	case typeUint8, typeUint16, typeUint32, typeUint64:
		if v, ok := integer(b); ok {
			return strconv.AppendUint(dst, v, 10), true
		}
	case typeHex32, typeHex64, typeSize, typeEvtHandle:
		if v, ok := integer(b); ok {
			return strconv.AppendUint(append(dst, "0x"...), v, 16), true
		}
	case typeBool:
		if v, ok := integer(b); ok {
			return strconv.AppendBool(dst, v != 0), true
		}
	case typeReal32:
		if len(b) == 4 {
			v := math.Float32frombits(binary.LittleEndian.Uint32(b))
			return strconv.AppendFloat(dst, float64(v), 'g', -1, 32), true
		}
	case typeReal64:
		if len(b) == 8 {
			v := math.Float64frombits(binary.LittleEndian.Uint64(b))
			return strconv.AppendFloat(dst, v, 'g', -1, 64), true
		}
	case typeGUID:
		if len(b) == 16 {
			return appendGUID(dst, b), true
		}
	case typeFileTime:
		if len(b) == 8 {
			return fileTime(binary.LittleEndian.Uint64(b)).AppendFormat(dst, event.TimeFormat), true
		}
	case typeSystemTime:
		if len(b) == 16 {
			return appendSystemTime(dst, b), true
		}
	}
	return appendHex(dst, b), false
}

// integer reads a little-endian number of 1, 2, 4 or 8 bytes.
func integer(b []byte) (uint64, bool) {
	switch len(b) {
	case 1:
		return uint64(b[0]), true
	case 2:
		return uint64(binary.LittleEndian.Uint16(b)), true
	case 4:
		return uint64(binary.LittleEndian.Uint32(b)), true
	case 8:
		return binary.LittleEndian.Uint64(b), true
	}
	return 0, false
}

// elementSize is the size of one element in an array of typ, 0 if elements are
// not of one size.
func elementSize(typ byte) int {
	switch typ {
	case typeInt8, typeUint8:
		return 1
	case typeInt16, typeUint16:
		return 2
	case typeInt32, typeUint32, typeReal32, typeBool, typeHex32:
		return 4
	case typeInt64, typeUint64, typeReal64, typeFileTime, typeHex64:
		return 8
	case typeGUID, typeSystemTime:
		return 16
	}
	return 0
}

// nextElement splits the first element off an array's bytes. It always takes at
// least one byte of a non-empty array.
func nextElement(typ byte, b []byte) (elem, rest []byte) {
	switch typ {
	case typeString, typeEvtXML:
		for i := 0; i+1 < len(b); i += 2 {
			if b[i] == 0 && b[i+1] == 0 {
				return b[:i], b[i+2:]
			}
		}
	case typeAnsi:
		for i := range b {
			if b[i] == 0 {
				return b[:i], b[i+1:]
			}
		}
	case typeSID:
		if len(b) >= 8 {
			if n := 8 + 4*int(b[1]); n <= len(b) {
				return b[:n], b[n:]
			}
		}
	case typeSize, typeEvtHandle:
		// The width of a pointer is not recorded; logs of 32-bit Windows
		// with arrays of them have not been seen.
		if len(b)%8 != 0 && len(b) >= 4 {
			return b[:4], b[4:]
		}
		if len(b) >= 8 {
			return b[:8], b[8:]
		}
	default:
		if n := elementSize(typ); n > 0 && n <= len(b) {
			return b[:n], b[n:]
		}
	}
	return b, nil
}

// trimNUL16 drops the NUL code units at the end of a string: providers count
// their terminator, and some a whole fixed buffer. NULs inside stay.
func trimNUL16(b []byte) []byte {
	b = b[:len(b)&^1]
	for len(b) >= 2 && b[len(b)-1] == 0 && b[len(b)-2] == 0 {
		b = b[:len(b)-2]
	}
	return b
}

// appendUTF16 is event.AppendUTF16, which does the rest from the first character
// on that is not ASCII. Up to there, eight characters are taken at once.
func appendUTF16(dst, le []byte) []byte {
	const notASCII = 0xff80ff80ff80ff80
	at := len(dst)
	dst = slices.Grow(dst, len(le)/2)
	out := dst[:at+len(le)/2]
	for len(le) >= 16 {
		x, y := binary.LittleEndian.Uint64(le), binary.LittleEndian.Uint64(le[8:])
		if (x|y)&notASCII != 0 {
			break
		}
		x = (x | x>>8) & 0x0000ffff0000ffff
		y = (y | y>>8) & 0x0000ffff0000ffff
		binary.LittleEndian.PutUint64(out[at:], (x|x>>16)&0xffffffff|(y|y>>16)<<32)
		at += 8
		le = le[16:]
	}
	for len(le) >= 2 && le[1] == 0 && le[0] < 0x80 {
		out[at] = le[0]
		at++
		le = le[2:]
	}
	if len(le) < 2 {
		return out[:at]
	}
	return event.AppendUTF16(out[:at], le)
}

// cp1252High holds what code page 1252 has at 0x80 to 0x9F. The five bytes it
// leaves undefined become the control characters of the same number, as Windows
// itself converts them.
var cp1252High = [32]rune{
	0x20AC, 0x81, 0x201A, 0x0192, 0x201E, 0x2026, 0x2020, 0x2021, 0x02C6, 0x2030, 0x0160, 0x2039, 0x0152, 0x8D, 0x017D, 0x8F,
	0x90, 0x2018, 0x2019, 0x201C, 0x201D, 0x2022, 0x2013, 0x2014, 0x02DC, 0x2122, 0x0161, 0x203A, 0x0153, 0x9D, 0x017E, 0x0178,
}

// appendANSI appends a string of the writing machine's code page. The page is
// not recorded; 1252 is assumed.
func appendANSI(dst, b []byte) []byte {
	for len(b) > 0 && b[len(b)-1] == 0 {
		b = b[:len(b)-1]
	}
	for _, c := range b {
		switch {
		case c < 0x80:
			dst = append(dst, c)
		case c < 0xA0:
			dst = utf8.AppendRune(dst, cp1252High[c-0x80])
		default:
			dst = utf8.AppendRune(dst, rune(c))
		}
	}
	return dst
}

func appendHex(dst, b []byte) []byte {
	for _, c := range b {
		dst = append(dst, upperHex[c>>4], upperHex[c&15])
	}
	return dst
}

func appendGUID(dst, b []byte) []byte {
	dst = append(dst, '{')
	for _, i := range [...]int{3, 2, 1, 0, -1, 5, 4, -1, 7, 6, -1, 8, 9, -1, 10, 11, 12, 13, 14, 15} {
		if i < 0 {
			dst = append(dst, '-')
			continue
		}
		dst = append(dst, upperHex[b[i]>>4], upperHex[b[i]&15])
	}
	return append(dst, '}')
}

// appendSID appends a security identifier in its string form, [MS-DTYP] 2.4.2.1.
func appendSID(dst, b []byte) ([]byte, bool) {
	if len(b) < 8 || len(b) != 8+4*int(b[1]) {
		return appendHex(dst, b), false
	}
	dst = append(dst, "S-"...)
	dst = strconv.AppendUint(dst, uint64(b[0]), 10)
	authority := uint64(binary.BigEndian.Uint16(b[2:]))<<32 | uint64(binary.BigEndian.Uint32(b[4:]))
	dst = append(dst, '-')
	if authority>>32 == 0 {
		dst = strconv.AppendUint(dst, authority, 10)
	} else {
		dst = fmt.Appendf(dst, "0x%012x", authority)
	}
	for i := 8; i < len(b); i += 4 {
		dst = append(dst, '-')
		dst = strconv.AppendUint(dst, uint64(binary.LittleEndian.Uint32(b[i:])), 10)
	}
	return dst, true
}

// appendSystemTime appends a SYSTEMTIME as recorded: a month 13 stays one.
func appendSystemTime(dst, b []byte) []byte {
	f := func(i int) uint16 { return binary.LittleEndian.Uint16(b[2*i:]) }
	return fmt.Appendf(dst, "%04d-%02d-%02dT%02d:%02d:%02d.%03d0000Z", f(0), f(1), f(3), f(4), f(5), f(6), f(7))
}
