package sigma

import (
	"errors"
	"regexp"
	"regexp/syntax"
	"strings"
	"unicode/utf8"
)

// Bounds on regular expressions. Matching takes time in proportion to the size
// of the expression for every byte of a value, and compiling it as much memory.
// The largest of the public rules has a size of about 1,000.
const (
	MaxRegex     = 64 << 10  // bytes of one
	MaxRegexSize = 10_000    // instructions of one
	MaxRegexes   = 2_000_000 // instructions of all in a file
)

// regexCost is added to the size of each expression for what it takes beside its
// instructions.
const regexCost = 32

// compileRegex compiles a regular expression in RE2's syntax, and returns its
// size in instructions.
func compileRegex(source string, at place) (*regexp.Regexp, int, *fault) {
	if len(source) > MaxRegex {
		return nil, 0, faultf(at, "the regular expression has %d bytes, more than the bound of %d", len(source), MaxRegex).
			withHint("write several values")
	}
	parsed, err := syntax.Parse(source, syntax.Perl)
	if err != nil {
		return nil, 0, regexFault(err, source, at)
	}
	size := regexSize(parsed)
	if size > MaxRegexSize {
		return nil, 0, faultf(at, "the regular expression comes to %d instructions, more than the bound of %d", size, MaxRegexSize).
			withHint("counted repeats multiply: x{100} is a hundred x")
	}
	re, err := regexp.Compile(source)
	if err != nil {
		return nil, 0, regexFault(err, source, at)
	}
	return re, size + regexCost, nil
}

// regexSize is about how many instructions an expression compiles to, more than
// MaxRegexSize if it is many more. The parser bounds its depth and its repeats.
func regexSize(re *syntax.Regexp) int {
	size := 1
	switch re.Op {
	case syntax.OpLiteral:
		size = len(re.Rune)
	case syntax.OpCharClass:
		size = 1 + len(re.Rune)/8 // its ranges are data of one instruction
	}
	for _, sub := range re.Sub {
		if size += regexSize(sub); size > 1<<30 {
			return 1 << 30
		}
	}
	if re.Op == syntax.OpRepeat {
		times := max(re.Min, re.Max)
		if re.Max < 0 {
			times = re.Min + 1
		}
		size = min(size*max(times, 1), 1<<30)
	}
	return size
}

// regexFault says what is wrong with an expression without repeating all of it.
func regexFault(err error, source string, at place) *fault {
	se := new(syntax.Error)
	if !errors.As(err, &se) {
		return faultf(at, "the regular expression cannot be used: %s", clip(err.Error()))
	}
	f := faultf(at, "the regular expression cannot be used: %s: %s", se.Code, clip(se.Expr))
	switch se.Code {
	case syntax.ErrInvalidRepeatSize:
		return f.withHint("repeats count to 1000 at most, one inside another together")
	case syntax.ErrLarge, syntax.ErrNestingDepth:
		return f.withHint("write it shorter, or as several values")
	case syntax.ErrMissingParen, syntax.ErrUnexpectedParen, syntax.ErrMissingBracket, syntax.ErrTrailingBackslash, syntax.ErrMissingRepeatArgument:
		return f.withHint(`a \ before a character takes it literally`)
	}
	if strings.Contains(source, "(?") || se.Code == syntax.ErrInvalidEscape || se.Code == syntax.ErrInvalidRepeatOp {
		return f.withHint("look-around, back-references and possessive repeats are not supported: they cannot be matched in linear time")
	}
	return f
}

// clip shortens a text that a message quotes.
func clip(s string) string {
	const most = 100
	if utf8.RuneCountInString(s) <= most {
		return s
	}
	return string([]rune(s)[:most]) + "…"
}
