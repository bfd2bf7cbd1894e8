package event

import "unicode/utf8"

// AppendUTF16 appends UTF-16LE bytes to dst as UTF-8 and returns it. A lone
// surrogate becomes its three-byte encoding (WTF-8), so distinct inputs stay
// distinct and UTF16 gives them back. An odd last byte is ignored.
func AppendUTF16(dst, le []byte) []byte {
	for i := 0; i+1 < len(le); i += 2 {
		u := rune(le[i]) | rune(le[i+1])<<8
		switch {
		case u < 0x80:
			dst = append(dst, byte(u))
		case u >= 0xD800 && u < 0xDC00 && i+3 < len(le):
			lo := rune(le[i+2]) | rune(le[i+3])<<8
			if lo >= 0xDC00 && lo < 0xE000 {
				dst = utf8.AppendRune(dst, (u-0xD800)<<10|(lo-0xDC00)+0x10000)
				i += 2
				continue
			}
			dst = appendThree(dst, u)
		case u >= 0xD800 && u < 0xE000:
			dst = appendThree(dst, u)
		default:
			dst = utf8.AppendRune(dst, u)
		}
	}
	return dst
}

func appendThree(dst []byte, u rune) []byte {
	return append(dst, 0xE0|byte(u>>12), 0x80|byte(u>>6)&0xBF, 0x80|byte(u)&0xBF)
}

// DecodeRune is utf8.DecodeRuneInString that also reads a WTF-8 lone
// surrogate, returning it (U+D800–U+DFFF) with size 3.
func DecodeRune(s string) (r rune, size int) {
	if len(s) >= 3 && s[0] == 0xED && s[1] >= 0xA0 && s[1] <= 0xBF && s[2]&0xC0 == 0x80 {
		return 0xD000 | rune(s[1]&0x3F)<<6 | rune(s[2]&0x3F), 3
	}
	return utf8.DecodeRuneInString(s)
}

// AppendUTF16LE appends s, as AppendUTF16 wrote it, to dst as UTF-16LE. Bytes
// that are not UTF-8 become U+FFFD.
func AppendUTF16LE(dst []byte, s string) []byte {
	for len(s) > 0 {
		r, n := DecodeRune(s)
		s = s[n:]
		if r >= 0x10000 {
			r -= 0x10000
			hi, lo := 0xD800|r>>10, 0xDC00|r&0x3FF
			dst = append(dst, byte(hi), byte(hi>>8), byte(lo), byte(lo>>8))
			continue
		}
		dst = append(dst, byte(r), byte(r>>8))
	}
	return dst
}
