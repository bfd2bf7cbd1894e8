package wire

import (
	"math"
	"reflect"
	"testing"

	"pgregory.net/rapid"
)

type inner struct {
	N int32
	B bool
}

type sample struct {
	U     uint64
	I     int
	Small uint8
	F     float64
	S     string
	Raw   []byte
	Names []string
	List  []inner
	Map   map[string]string
	One   *inner
}

func codeInner(c *Coder, x *inner) {
	Int(c, &x.N, -2, math.MaxInt32)
	c.Bool(&x.B)
}

func code(c *Coder, x *sample) {
	c.Uint(&x.U, math.MaxUint64)
	Int(c, &x.I, -1000, 1000)
	Int(c, &x.Small, 0, 200)
	c.Float(&x.F)
	c.String(&x.S)
	c.Blob(&x.Raw)
	c.Strings(&x.Names)
	List(c, &x.List, 2, codeInner)
	Map(c, &x.Map, 1, (*Coder).String)
	Optional(c, &x.One, codeInner)
}

// TestRoundTrip holds that what was written is read again, nil and empty told
// apart, and that no beginning of it is.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := sample{
			U: rapid.Uint64().Draw(t, "u"), I: rapid.IntRange(-1000, 1000).Draw(t, "i"), Small: rapid.Uint8Range(0, 200).Draw(t, "small"),
			F: rapid.Float64().Draw(t, "f"), S: rapid.String().Draw(t, "s"),
		}
		if rapid.Bool().Draw(t, "given") {
			in.Raw = rapid.SliceOf(rapid.Byte()).Draw(t, "raw")
			in.Names = rapid.SliceOf(rapid.String()).Draw(t, "names")
			in.List = rapid.SliceOf(rapid.Custom(func(t *rapid.T) inner {
				return inner{rapid.Int32Range(-2, math.MaxInt32).Draw(t, "n"), rapid.Bool().Draw(t, "b")}
			})).Draw(t, "list")
			in.Map = rapid.MapOf(rapid.String(), rapid.String()).Draw(t, "map")
			in.One = &inner{N: 7}
		}
		w := NewWriter(nil)
		code(w, &in)
		if err := w.Done(); err != nil {
			t.Fatal(err)
		}
		data := string(w.Bytes())
		var out sample
		r := NewReader(data)
		code(r, &out)
		if err := r.Done(); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(in, out) {
			t.Fatalf("%+v, read as %+v", in, out)
		}
		cut := rapid.IntRange(0, len(data)-1).Draw(t, "cut")
		r = NewReader(data[:cut])
		code(r, &out)
		if r.Done() == nil {
			t.Fatalf("%d of %d bytes are read as if they were all", cut, len(data))
		}
	})
}

// TestBounds holds that numbers out of bounds are refused in both directions and
// that a length cannot ask for more than the input holds.
func TestBounds(t *testing.T) {
	for name, f := range map[string]func(c *Coder){
		"above":     func(c *Coder) { n := 11; Int(c, &n, 0, 10) },
		"below":     func(c *Coder) { n := -1; Int(c, &n, 0, 10) },
		"uint":      func(c *Coder) { n := uint64(6); c.Uint(&n, 5) },
		"twice":     func(c *Coder) { n := uint64(6); c.Uint(&n, 5); c.Uint(&n, 10) },
		"nothing":   func(c *Coder) { n := 0; Int(c, &n, 0, -1) },
		"array":     func(c *Coder) { l := []inner{{}}; Array(c, &l, 2, 2, codeInner) },
		"unsigned8": func(c *Coder) { n := uint8(9); Int(c, &n, 1, 8) },
	} {
		w := NewWriter(nil)
		if f(w); w.Done() == nil {
			t.Errorf("%s: written", name)
		}
		r := NewReader("")
		if f(r); r.Done() == nil {
			t.Errorf("%s: read", name)
		}
	}
	for name, data := range map[string]string{
		"long list":       "\xFF\xFF\xFF\x7F",
		"endless number":  "\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF",
		"too large":       "\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x02",
		"nothing":         "",
		"list of nothing": "\x05\x01",
	} {
		var list []inner
		r := NewReader(data)
		if List(r, &list, 2, codeInner); r.Done() == nil || len(list) > 2 {
			t.Errorf("%s: read as %d elements", name, len(list))
		}
	}
	var m map[string]string
	r := NewReader("\x03\x01a\x01b\x01a\x01c")
	if Map(r, &m, 1, (*Coder).String); r.Err() == nil {
		t.Error("a key that is there twice is read")
	}
	n := uint8(0)
	r = NewReader("\x7F")
	if Int(r, &n, 0, 100); r.Err() == nil {
		t.Errorf("127 is read as %d of at most 100", n)
	}
}
