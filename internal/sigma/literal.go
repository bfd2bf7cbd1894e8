package sigma

import (
	"regexp/syntax"
	"strings"
	"unicode/utf8"
)

// requiredText returns what every text must have in which the regular
// expression matches: a literal that is in it when both are folded ("" if none
// is known), and a least length in bytes.
func requiredText(source string) (literal string, shortest int) {
	re, err := syntax.Parse(source, syntax.Perl)
	if err != nil {
		return "", 0
	}
	re = re.Simplify()
	return longestLiteral(re), leastLength(re)
}

// leastLength counts characters, each of which is at least a byte.
func leastLength(re *syntax.Regexp) int {
	n := 0
	switch re.Op {
	case syntax.OpLiteral:
		n = len(re.Rune)
	case syntax.OpCharClass, syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		n = 1
	case syntax.OpCapture, syntax.OpPlus:
		n = leastLength(re.Sub[0])
	case syntax.OpConcat:
		for _, sub := range re.Sub {
			n += leastLength(sub)
		}
	case syntax.OpAlternate:
		n = leastLength(re.Sub[0])
		for _, sub := range re.Sub[1:] {
			n = min(n, leastLength(sub))
		}
	}
	return n
}

func longestLiteral(re *syntax.Regexp) string {
	switch re.Op {
	case syntax.OpLiteral:
		return literalText(re)
	case syntax.OpCapture, syntax.OpPlus:
		return longestLiteral(re.Sub[0])
	case syntax.OpRepeat:
		if re.Min > 0 {
			return longestLiteral(re.Sub[0])
		}
	case syntax.OpConcat:
		best := ""
		for _, sub := range re.Sub {
			if s := longestLiteral(sub); len(s) > len(best) {
				best = s
			}
		}
		return best
	}
	return ""
}

func literalText(re *syntax.Regexp) string {
	s := string(re.Rune)
	if strings.ContainsRune(s, utf8.RuneError) {
		return "" // it also matches bytes that are not UTF-8
	}
	return fold(s)
}
