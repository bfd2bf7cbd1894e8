package text

import (
	"bytes"
	"crypto/sha256"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"

	"ashiato/internal/event"
)

// drain reads a window to its end, advancing by the drawn steps, and returns the
// text.
func drain(t *rapid.T, w *Window, check func(n int)) string {
	var got []byte
	for {
		for len(w.Bytes()) > 0 {
			n := rapid.IntRange(1, len(w.Bytes())).Draw(t, "n")
			for n < len(w.Bytes()) && w.Bytes()[n]&0xC0 == 0x80 {
				n++ // not inside a character
			}
			check(n)
			got = append(got, w.Bytes()[:n]...)
			w.Advance(n)
		}
		if w.More() != nil {
			return string(got)
		}
	}
}

// TestOffsets holds that whatever the encoding and however the input comes, the
// offsets and hashes are those of the input's bytes.
func TestOffsets(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		text := strings.TrimPrefix(rapid.StringOf(rapid.SampledFrom([]rune("a\né日😀"))).Draw(rt, "text"), "\uFEFF")
		input, start := []byte(text), 0
		switch rapid.IntRange(0, 3).Draw(rt, "encoding") {
		case 1:
			input, start = append([]byte{0xEF, 0xBB, 0xBF}, input...), 3
		case 2:
			input, start = event.AppendUTF16LE([]byte{0xFF, 0xFE}, text), 2
		case 3:
			input, start = swap(event.AppendUTF16LE([]byte{0xFF, 0xFE}, text)), 2
		}
		var r io.Reader = bytes.NewReader(input)
		if rapid.Bool().Draw(rt, "slow") {
			r = iotest.OneByteReader(r)
		}
		w := NewWindow(r, 0)
		if w.More() == io.EOF && text != "" {
			rt.Fatal("no text")
		}
		at, lines := start, 1
		got := drain(rt, w, func(n int) {
			if w.Offset() != int64(at) || w.Line() != lines {
				rt.Fatalf("offset %d line %d, want %d and %d", w.Offset(), w.Line(), at, lines)
			}
			size := int(w.Size(0, n))
			if w.Hash(0, n) != sha256.Sum256(input[at:at+size]) {
				rt.Fatalf("the hash is not that of %q", input[at:at+size])
			}
			at += size
			lines += strings.Count(string(w.Bytes()[:n]), "\n")
		})
		if got != text || at != len(input) || w.Read() != int64(len(input)) || w.Err() != nil {
			rt.Fatalf("%q, want %q; at %d, read %d of %d, %v", got, text, at, w.Read(), len(input), w.Err())
		}
	})
}

func TestLoneSurrogatesAcrossPieces(t *testing.T) {
	// A high surrogate is the last unit of the first piece, without its partner.
	units := append(bytes.Repeat([]byte{'a', 0}, 4095), 0x00, 0xD8, 'b', 0, 0x3D, 0xD8, 0x00, 0xDE, 0x01, 0xDC)
	w := NewWindow(bytes.NewReader(append([]byte{0xFF, 0xFE}, units...)), 0)
	for w.More() == nil {
	}
	if want := event.AppendUTF16(nil, units); !bytes.Equal(w.Bytes(), want) {
		t.Errorf("the text ends in %q, want %q", w.Bytes()[4090:], want[4090:])
	}
}

// endless is a stream without an end.
type endless struct{}

func (endless) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = 'x'
	}
	return len(b), nil
}

func TestBound(t *testing.T) {
	const bound = 1 << 20
	w := NewWindow(endless{}, bound)
	var err error
	for err == nil {
		err = w.More()
	}
	if err != ErrFull || len(w.Bytes()) != bound || cap(w.buf) > 2*bound {
		t.Errorf("%v with %d bytes in a buffer of %d", err, len(w.Bytes()), cap(w.buf))
	}
	w.Advance(10)
	if err := w.More(); err != nil || len(w.Bytes()) != bound {
		t.Errorf("after room was made: %v, %d bytes", err, len(w.Bytes()))
	}
}

type silent struct{}

func (silent) Read([]byte) (int, error) { return 0, nil }

func TestNoProgress(t *testing.T) {
	w := NewWindow(silent{}, 0)
	if err := w.More(); err != io.EOF || w.Err() != io.ErrNoProgress {
		t.Errorf("%v, %v", err, w.Err())
	}
}
