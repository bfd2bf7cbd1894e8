package ndjson

import (
	"bytes"
	"math"
	"strconv"
	"time"
)

// stamp is a time as a record writes it. Without a zone, t is the wall clock
// read as UTC.
type stamp struct {
	t     time.Time
	zoned bool
	ok    bool
	exact bool // written finer than seconds
}

// parseStamp reads the notations that log shippers use: RFC 3339 and its looser
// forms ("2006-01-02 15:04:05.999", "… UTC", a comma before the fraction), and
// numbers of seconds or milliseconds since 1970, also as "/Date(ms)/".
func parseStamp(b []byte) stamp {
	if inner, ok := bytes.CutPrefix(b, []byte("/Date(")); ok {
		if inner, ok = bytes.CutSuffix(inner, []byte(")/")); ok {
			ms, err := strconv.ParseInt(string(inner), 10, 64)
			return stamp{t: time.UnixMilli(ms).UTC(), zoned: true, ok: err == nil, exact: true}
		}
		return stamp{}
	}
	year, i := digits(b, 0, 6)
	if i < 4 || i >= len(b) || b[i] != '-' {
		return epoch(b)
	}
	var f [5]int // month, day, hour, minute, second
	seps := "-- ::"
	for k := range f {
		if i >= len(b) || b[i] != seps[k] && (k != 2 || b[i] != 'T' && b[i] != 't') {
			return stamp{}
		}
		v, n := digits(b, i+1, 2)
		if n != 2 {
			return stamp{}
		}
		f[k], i = v, i+1+n
	}
	if f[0] < 1 || f[0] > 12 || f[1] < 1 || f[1] > 31 || f[2] > 24 || f[3] > 59 || f[4] > 60 {
		return stamp{}
	}
	nanos, exact := 0, false
	if i < len(b) && (b[i] == '.' || b[i] == ',') {
		i++
		scale := 100_000_000
		for from := i; i < len(b) && '0' <= b[i] && b[i] <= '9'; i++ {
			nanos += scale * int(b[i]-'0')
			scale /= 10
			exact = i >= from
		}
	}
	seconds := 86400*daysBefore(year, f[0]) + int64(86400*(f[1]-1)+3600*f[2]+60*f[3]+f[4])
	s := stamp{t: time.Unix(seconds, int64(nanos)).UTC(), ok: true, exact: exact}
	switch zone := bytes.TrimSpace(b[i:]); {
	case len(zone) == 0:
	case string(zone) == "Z" || string(zone) == "z" || string(zone) == "UTC" || string(zone) == "GMT":
		s.zoned = true
	case zone[0] == '+' || zone[0] == '-':
		h, n := digits(zone, 1, 2)
		m, k := 0, 0
		if rest := zone[1+n:]; len(rest) > 0 {
			if rest[0] == ':' {
				rest = rest[1:]
			}
			m, k = digits(rest, 0, 2)
			if k != 2 || len(rest) != 2 {
				return stamp{}
			}
		}
		if n != 2 || h > 14 || m > 59 {
			return stamp{}
		}
		offset := time.Duration(h)*time.Hour + time.Duration(m)*time.Minute
		if zone[0] == '+' {
			offset = -offset
		}
		s.t, s.zoned = s.t.Add(offset), true
	default:
		return stamp{}
	}
	return s
}

// daysBefore returns how many days lie between 1970 and the first of a month of
// the Gregorian calendar.
func daysBefore(year, month int) int64 {
	// Years counted from March end with the leap day. One cycle of 400 years
	// more keeps them positive.
	year += 400
	if month < 3 {
		year--
		month += 12
	}
	leap := year/4 - year/100 + year/400
	return int64(365*year+leap+(153*(month-3)+2)/5) - 719468 - 146097
}

// digits reads up to limit digits at b[i:] and returns how many there were.
func digits(b []byte, i, limit int) (v, n int) {
	for n < limit && i+n < len(b) && '0' <= b[i+n] && b[i+n] <= '9' {
		v = 10*v + int(b[i+n]-'0')
		n++
	}
	return v, n
}

// epoch reads a number of seconds, or of milliseconds where seconds would be
// beyond the year 5138, since 1970.
func epoch(b []byte) stamp {
	whole, fraction, _ := bytes.Cut(b, []byte{'.'})
	v, err := strconv.ParseInt(string(whole), 10, 64)
	if err != nil || v < 0 || v > math.MaxInt64/1000 {
		return stamp{}
	}
	if v >= 100_000_000_000 {
		return stamp{t: time.UnixMilli(v).UTC(), zoned: true, ok: true, exact: true}
	}
	nanos := int64(0)
	if len(fraction) > 0 {
		padded := append(append([]byte(nil), fraction...), "000000000"...)[:9]
		if nanos, err = strconv.ParseInt(string(padded), 10, 64); err != nil || nanos < 0 {
			return stamp{}
		}
	}
	return stamp{t: time.Unix(v, nanos).UTC(), zoned: true, ok: true, exact: len(fraction) > 0}
}

// zoneStep is the grid of the world's time zones.
const zoneStep = 15 * time.Minute

// resolve returns local, a wall clock without a zone, as UTC. reference is a UTC
// time that the same pipeline gave the record, and wall the wall clock it had
// then (local itself if unknown): their difference is the zone. A difference
// that is no zone yields the reference.
func resolve(local, wall, reference stamp) time.Time {
	const delay = 2 * time.Minute // between reading a record and stamping it
	diff := reference.t.Sub(wall.t)
	zone := diff.Round(zoneStep)
	if late := diff - zone; late < -delay || late > delay || zone < -14*time.Hour || zone > 12*time.Hour {
		return reference.t
	}
	t := local.t.Add(zone)
	if !local.exact && !reference.t.Before(t) && reference.t.Before(t.Add(time.Second)) {
		return reference.t // the same second, only finer
	}
	return t
}
