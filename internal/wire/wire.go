// Package wire writes values down and reads them again, by one description of a
// structure for both directions: a function that names each field once.
//
//	func point(c *wire.Coder, p *Point) {
//		wire.Int(c, &p.X, 0, 1000)
//		c.String(&p.Name)
//	}
//
// Reading is safe on any input. Every number is checked against its bounds and
// every length against what is left, so that no more memory is taken than the
// input pays for. The first fault ends the reading: everything after it reads as
// zero, and Err tells. Texts that are read are parts of the input, not copies.
package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
)

// ErrMalformed says that the input is not what a Coder writes.
var ErrMalformed = errors.New("malformed data")

// Coder writes or reads. Its methods read or write through the pointers they are
// given.
type Coder struct {
	out     []byte
	in      string
	at      int
	reading bool
	err     error
}

// NewWriter returns a Coder that appends to dst.
func NewWriter(dst []byte) *Coder { return &Coder{out: dst} }

// NewReader returns a Coder that reads from data.
func NewReader(data string) *Coder { return &Coder{in: data, reading: true} }

// Bytes returns what was written.
func (c *Coder) Bytes() []byte { return c.out }

// Reading reports whether the Coder reads.
func (c *Coder) Reading() bool { return c.reading }

// Err returns the first fault, nil if there is none.
func (c *Coder) Err() error { return c.err }

// Done returns the first fault, and one if input is left over.
func (c *Coder) Done() error {
	if c.reading && c.at != len(c.in) {
		c.Failf("%d bytes are left over", len(c.in)-c.at)
	}
	return c.err
}

// Failf notes a fault in what was read, or in what is to be written.
func (c *Coder) Failf(format string, args ...any) {
	if c.err == nil {
		c.err = fmt.Errorf("%w at byte %d: %s", ErrMalformed, c.at, fmt.Sprintf(format, args...))
		c.at = len(c.in)
	}
}

func (c *Coder) left() int { return len(c.in) - c.at }

// Uint codes a number of at most max.
func (c *Coder) Uint(p *uint64, max uint64) {
	if !c.reading {
		if *p > max {
			c.Failf("%d is more than %d", *p, max)
		}
		c.out = binary.AppendUvarint(c.out, *p)
		return
	}
	*p = 0
	var n uint64
	for shift := uint(0); ; shift += 7 {
		if c.at >= len(c.in) || shift > 63 {
			c.Failf("a number does not end")
			return
		}
		b := c.in[c.at]
		c.at++
		if shift == 63 && b > 1 {
			c.Failf("a number is too large")
			return
		}
		n |= uint64(b&0x7F) << shift
		if b < 0x80 {
			break
		}
	}
	if n > max {
		c.Failf("%d is more than %d", n, max)
		return
	}
	*p = n
}

type integer interface {
	~int | ~int8 | ~int16 | ~int32 | ~int64 | ~uint8 | ~uint16 | ~uint32 | ~uint64 | ~uint
}

// Int codes an integer from min to max. There is none if max is less than min.
func Int[T integer](c *Coder, p *T, min, max T) {
	if max < min {
		c.Failf("a number of nothing")
		return
	}
	if c.reading {
		*p = min
		if c.at < len(c.in) && c.in[c.at] < 0x80 { // most are small
			if n := T(c.in[c.at]); uint64(n) <= uint64(max)-uint64(min) {
				c.at++
				*p = min + n
				return
			}
		}
		var n uint64
		c.Uint(&n, uint64(max)-uint64(min))
		*p = min + T(n)
		return
	}
	if *p < min || *p > max {
		c.Failf("%d is not from %d to %d", *p, min, max)
		return
	}
	n := uint64(*p) - uint64(min)
	c.Uint(&n, uint64(max)-uint64(min))
}

// Bool codes a truth value.
func (c *Coder) Bool(p *bool) {
	n := uint8(0)
	if *p {
		n = 1
	}
	Int(c, &n, 0, 1)
	*p = n == 1
}

// Float codes a number by its bits.
func (c *Coder) Float(p *float64) {
	n := math.Float64bits(*p)
	c.Uint(&n, math.MaxUint64)
	*p = math.Float64frombits(n)
}

// String codes a text.
func (c *Coder) String(p *string) {
	if !c.reading {
		c.out = binary.AppendUvarint(c.out, uint64(len(*p)))
		c.out = append(c.out, *p...)
		return
	}
	var n uint64
	c.Uint(&n, uint64(c.left()))
	if n > uint64(c.left()) {
		c.Failf("a text of %d bytes is cut off", n)
		return
	}
	*p = c.in[c.at : c.at+int(n)]
	c.at += int(n)
}

// Blob codes bytes; what is read is a copy. Nil and empty are told apart.
func (c *Coder) Blob(p *[]byte) {
	given := *p != nil
	c.Bool(&given)
	s := string(*p)
	if given {
		c.String(&s)
	}
	if c.reading {
		*p = nil
		if given && c.err == nil {
			*p = []byte(s)
		}
	}
}

// Strings codes a list of texts.
func (c *Coder) Strings(p *[]string) { List(c, p, 1, (*Coder).String) }

// List codes a list, each element of which takes at least the given number of
// bytes, one or more. Nil and empty are told apart.
func List[T any](c *Coder, p *[]T, bytes int, each func(*Coder, *T)) {
	n := uint64(0)
	if *p != nil {
		n = uint64(len(*p)) + 1
	}
	c.Uint(&n, uint64(c.left()/bytes)+1|c.unbounded())
	if c.reading {
		*p = nil
		if n == 0 || c.err != nil {
			return
		}
		if n == 1 {
			*p = []T{}
			return
		}
	}
	Array(c, p, max(int(n)-1, 0), bytes, each)
}

// Array codes a list of n elements, which is nil if that is zero. Each element
// takes at least the given number of bytes, one or more.
func Array[T any](c *Coder, p *[]T, n, bytes int, each func(*Coder, *T)) {
	if c.reading {
		*p = nil
		if n < 0 || n > c.left()/bytes {
			c.Failf("%d elements are cut off", n)
		}
		if n == 0 || c.err != nil {
			return
		}
		*p = make([]T, n)
	} else if len(*p) != n {
		c.Failf("%d elements instead of %d", len(*p), n)
	}
	for i := range *p {
		each(c, &(*p)[i])
		if c.err != nil {
			return
		}
	}
}

// unbounded is every bit where lengths need no check, for writers.
func (c *Coder) unbounded() uint64 {
	if c.reading {
		return 0
	}
	return math.MaxUint64
}

// Map codes a map in the order of its keys. Nil and empty are told apart.
func Map[V any](c *Coder, p *map[string]V, bytes int, each func(*Coder, *V)) {
	type pair struct {
		key   string
		value V
	}
	var pairs []pair
	if *p != nil {
		pairs = []pair{}
		for _, k := range slices.Sorted(maps.Keys(*p)) {
			pairs = append(pairs, pair{k, (*p)[k]})
		}
	}
	List(c, &pairs, bytes+1, func(c *Coder, x *pair) {
		c.String(&x.key)
		each(c, &x.value)
	})
	if !c.reading {
		return
	}
	*p = nil
	if pairs == nil || c.err != nil {
		return
	}
	*p = make(map[string]V, len(pairs))
	for _, x := range pairs {
		if _, twice := (*p)[x.key]; twice {
			c.Failf("the key %q is there twice", x.key)
			return
		}
		(*p)[x.key] = x.value
	}
}

// Optional codes what a pointer points to, or that it is nil.
func Optional[T any](c *Coder, p **T, what func(*Coder, *T)) {
	given := *p != nil
	c.Bool(&given)
	if c.reading {
		*p = nil
		if given && c.err == nil {
			*p = new(T)
		}
	}
	if *p != nil {
		what(c, *p)
	}
}
