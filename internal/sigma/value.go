package sigma

import (
	"cmp"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// testKind is what a test compares.
type testKind uint8

const (
	patternTest testKind = iota
	regexTest
	nullTest
	existsTest
	cidrTest
	numberTest
	fieldrefTest
	keywordTest // a pattern on any value
	keywordRegexTest
)

// test is one comparison of one field, the leaf of every rule.
type test struct {
	kind    testKind
	pattern pattern
	re      *regexp.Regexp
	size    int  // of re, see compileRegex
	want    bool // existsTest
	prefix  netip.Prefix
	order   order
	number  number
	part    datePart // numberTest: taken from a date first
	ref     string   // fieldrefTest: the other field
	front   bool     // fieldrefTest: text may stand before
	back    bool     // fieldrefTest: text may stand after
	cased   bool     // fieldrefTest
}

// order is a numeric relation.
type order uint8

const (
	equal order = iota
	less
	lessOrEqual
	greater
	greaterOrEqual
)

func (o order) holds(c int) bool {
	switch o {
	case less:
		return c < 0
	case lessOrEqual:
		return c <= 0
	case greater:
		return c > 0
	case greaterOrEqual:
		return c >= 0
	}
	return c == 0
}

// number is an integer of sign and magnitude, exactly, or a floating-point
// number.
type number struct {
	negative bool
	whole    uint64
	float    float64
	isFloat  bool
}

// parseNumber reads a decimal or 0x-prefixed integer, or a decimal fraction.
func parseNumber(s string) (number, bool) {
	var n number
	digits := s
	if strings.HasPrefix(s, "-") || strings.HasPrefix(s, "+") {
		n.negative, digits = s[0] == '-', s[1:]
	}
	var err error
	if len(digits) > 2 && (digits[:2] == "0x" || digits[:2] == "0X") {
		n.whole, err = strconv.ParseUint(digits[2:], 16, 64)
		return n, err == nil
	}
	if digits == "" || digits[0] != '.' && (digits[0] < '0' || digits[0] > '9') || strings.ContainsAny(digits, "_xX") {
		return number{}, false
	}
	if n.whole, err = strconv.ParseUint(digits, 10, 64); err == nil {
		n.negative = n.negative && n.whole != 0
		return n, true
	}
	f, err := strconv.ParseFloat(s, 64)
	return number{float: f, isFloat: true}, err == nil
}

func (n number) asFloat() float64 {
	switch {
	case n.isFloat:
		return n.float
	case n.negative:
		return -float64(n.whole)
	}
	return float64(n.whole)
}

func compareNumbers(a, b number) int {
	switch {
	case a.isFloat || b.isFloat:
		return cmp.Compare(a.asFloat(), b.asFloat())
	case a.negative != b.negative:
		if a.negative {
			return -1
		}
		return 1
	case a.negative:
		return cmp.Compare(b.whole, a.whole)
	}
	return cmp.Compare(a.whole, b.whole)
}

// datePart is the part of a date that a time modifier takes.
type datePart uint8

const (
	noPart datePart = iota
	minutePart
	hourPart
	dayPart
	weekPart
	monthPart
	yearPart
)

var dateParts = map[string]datePart{
	"minute": minutePart, "hour": hourPart, "day": dayPart, "week": weekPart, "month": monthPart, "year": yearPart,
}

// dateLayouts are the notations of dates in records: RFC 3339, Sysmon's
// UtcTime, dates alone. A zone is read and not applied: the parts are taken as
// they are written.
var dateLayouts = []string{
	"2006-01-02T15:04:05.999999999Z07:00", "2006-01-02T15:04:05.999999999", "2006-01-02 15:04:05.999999999",
	"2006-01-02 15:04:05.999999999Z07:00", "2006-01-02T15:04Z07:00", "2006-01-02T15:04", "2006-01-02 15:04",
	"2006-01-02", "2006/01/02 15:04:05.999999999", "2006/01/02",
}

func (p datePart) of(value string) (number, bool) {
	if len(value) > 64 {
		return number{}, false
	}
	for _, layout := range dateLayouts {
		t, err := time.Parse(layout, value)
		if err != nil {
			continue
		}
		var n int
		switch p {
		case minutePart:
			n = t.Minute()
		case hourPart:
			n = t.Hour()
		case dayPart:
			n = t.Day()
		case weekPart:
			_, n = t.ISOWeek()
		case monthPart:
			n = int(t.Month())
		case yearPart:
			n = t.Year()
		}
		return number{whole: uint64(n)}, true
	}
	return number{}, false
}

// numeric reads what a numberTest compares in a value.
func (t *test) numeric(value string) (number, bool) {
	if t.part != noPart {
		return t.part.of(value)
	}
	return parseNumber(value)
}

// parseAddress reads an address of a record. IPv4 in IPv6 is the IPv4 address,
// a zone is left out.
func parseAddress(s string) (netip.Addr, bool) {
	a, err := netip.ParseAddr(s)
	if err != nil {
		return a, false
	}
	return a.WithZone("").Unmap(), true
}

// parsePrefix reads the value of cidr: a network, or a single address.
func parsePrefix(s string, at place) (netip.Prefix, *fault) {
	if !strings.Contains(s, "/") {
		a, ok := parseAddress(s)
		if !ok {
			return netip.Prefix{}, faultf(at, "%q is not a network", s)
		}
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return p, faultf(at, "%q is not a network", s).withHint("write it like 10.0.0.0/8 or fe80::/10")
	}
	if p.Masked() != p {
		return p, faultf(at, "the network %s has bits behind its prefix", s).withHint("write %s", p.Masked())
	}
	if a := p.Addr(); a.Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(a.Unmap(), p.Bits()-96)
	}
	return p, nil
}
