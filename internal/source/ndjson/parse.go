package ndjson

import (
	"encoding/binary"
	"errors"
	"math/bits"
	"slices"

	"ashiato/internal/event"
)

// kind is the type of a JSON value.
type kind uint8

const (
	object kind = iota + 1
	array
	str
	number
	boolean
	null
)

func (k kind) isScalar() bool { return k-str <= boolean-str }

// node is one value of a parsed text. The nodes of a document lie in the order
// of the text, so the members of an object follow it, up to its next.
type node struct {
	kind       kind
	escaped    bool  // a string with escapes
	keyEscaped bool  // its name in the object around it has escapes
	name       int32 // that name in the table, 0 if it is not there
	key, kend  int32 // the name, without quotes
	from, to   int32 // the value; of a string, without quotes
	next       int32 // index of the node after this one's members
}

// document is one parsed JSON value. It refers to the parsed bytes.
type document struct {
	text  []byte
	nodes []node
	names names // of all documents parsed so far
}

var (
	// errShort: the text ends inside the value.
	errShort = errors.New("ends inside a JSON value")
	errDepth = errors.New("JSON is nested deeper than 64 levels")
	errNodes = errors.New("a JSON object holds more than 262144 values")
)

// syntaxError is where and why a text is no JSON.
type syntaxError struct {
	at   int
	what string
}

func (e *syntaxError) Error() string { return e.what }

const (
	maxDepth = 64      // nesting of arrays and objects
	maxNodes = 1 << 18 // values of one document
)

// parse reads the JSON value at the start of text and returns its length. Besides
// JSON it admits control characters inside strings, except line ends: those show
// that a string was cut off. On other errors than errShort the length is where
// parsing stopped.
func (d *document) parse(text []byte) (int, error) {
	d.text = text
	d.names.reset()
	var n int
	var err error
	d.nodes, n, err = d.scan(d.nodes[:0], text)
	return n, err
}

// scan is parse, appending to nodes: one loop without recursion.
func (d *document) scan(nodes []node, text []byte) ([]node, int, error) {
	var (
		around [maxDepth]int32 // the arrays and objects not yet closed
		depth  int
		list   bool // whether the innermost of them is an array
		before int32
		i      int
		err    error
	)
	for {
		// A member begins at i, or at the beginning and in an array, a value.
		self := len(nodes)
		if self == cap(nodes) {
			nodes = slices.Grow(nodes, max(64, self))
		}
		nodes = nodes[:self+1]
		n := &nodes[self]
		*n = node{}
		if depth > 0 && !list {
			if i, err = d.scanName(text, i, before, n); err != nil {
				return nodes[:self], i, err
			}
			before = n.name
		}
		if i >= len(text) {
			return nodes[:self], i, errShort
		}
		if self == maxNodes {
			return nodes[:self], i, errNodes
		}
		n.from, n.next = int32(i), int32(self+1)
		switch c := text[i]; c {
		case '"':
			n.kind = str
			n.from++
			i, n.escaped, err = scanString(text, i+1)
			n.to = int32(i)
			i++
			if err != nil {
				return nodes[:self], i, err
			}
		case '{', '[':
			if depth == maxDepth {
				return nodes[:self], i, errDepth
			}
			n.kind, list = object, c == '['
			if list {
				n.kind = array
			}
			around[depth] = int32(self)
			depth++
			if i = skipSpace(text, i+1); i >= len(text) {
				return nodes, i, errShort
			}
			if text[i] != closing(list) {
				continue
			}
		default:
			n.kind, i, err = scanWord(text, i)
			n.to = int32(i)
			if err != nil {
				return nodes[:self], i, err
			}
		}
		// What ends here, up to the next member or value?
		for {
			if depth == 0 {
				return nodes, i, nil
			}
			if i < len(text) && text[i] <= ' ' {
				i = skipSpace(text, i)
			}
			if i >= len(text) {
				return nodes, i, errShort
			}
			if text[i] == ',' {
				if i++; i < len(text) && text[i] <= ' ' {
					i = skipSpace(text, i)
				}
				break
			}
			if text[i] != closing(list) {
				return nodes, i, &syntaxError{i, "a comma is missing"}
			}
			i++
			depth--
			outer := &nodes[around[depth]]
			outer.to, outer.next = int32(i), int32(len(nodes))
			list = depth > 0 && nodes[around[depth-1]].kind == array
		}
	}
}

// closing returns the character that ends an array or object.
func closing(list bool) byte {
	if list {
		return ']'
	}
	return '}'
}

// scanName reads the member name at text[i:] into n and returns where its value
// begins. before is the name before it.
func (d *document) scanName(text []byte, i int, before int32, n *node) (int, error) {
	if i >= len(text) {
		return i, errShort
	}
	if text[i] != '"' {
		return i, &syntaxError{i, "a member name is missing"}
	}
	i++
	id, end := d.names.guess(before, text, i)
	if id == 0 {
		var err error
		if end, n.keyEscaped, err = scanString(text, i); err != nil {
			return end, err
		}
		if !n.keyEscaped {
			id = d.names.find(before, text[i:end])
		}
	}
	n.name, n.key, n.kend = id, int32(i), int32(end)
	if i = end + 1; i < len(text) && text[i] <= ' ' {
		i = skipSpace(text, i)
	}
	if i >= len(text) {
		return i, errShort
	}
	if text[i] != ':' {
		return i, &syntaxError{i, "a colon is missing"}
	}
	if i++; i < len(text) && text[i] <= ' ' {
		i = skipSpace(text, i)
	}
	return i, nil
}

// scanWord returns the kind and the end of the value at b[i:] that is neither a
// string nor an array nor an object.
func scanWord(b []byte, i int) (kind, int, error) {
	word, k := "true", boolean
	switch c := b[i]; {
	case c == '-' || '0' <= c && c <= '9':
		end, err := scanNumber(b, i)
		return number, end, err
	case c == 't':
	case c == 'f':
		word = "false"
	case c == 'n':
		word, k = "null", null
	default:
		return 0, i, &syntaxError{i, "a value is missing"}
	}
	for j := 1; j < len(word); j++ {
		if i+j >= len(b) {
			return 0, i + j, errShort
		}
		if b[i+j] != word[j] {
			return 0, i + j, &syntaxError{i + j, "an unknown word"}
		}
	}
	return k, i + len(word), nil
}

func skipSpace(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\r' || b[i] == '\t') {
		i++
	}
	return i
}

// scanString returns where the string that begins at b[i:], behind its quote, has
// its closing quote.
func scanString(b []byte, i int) (end int, escaped bool, err error) {
	for {
		i = plainEnd(b, i)
		if i >= len(b) {
			return len(b), escaped, errShort
		}
		c := b[i]
		if c == '"' {
			return i, escaped, nil
		}
		escaped = escaped || c == '\\'
		if i+1 < len(b) && c == '\\' && escapes[b[i+1]] != 0 {
			i += 2
		} else if i, err = scanOther(b, i); err != nil {
			return i, escaped, err
		}
	}
}

// For looking at eight bytes at once.
const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// plainEnd returns where the first quote, backslash or line feed in b[i:] is, or
// len(b). It looks at eight bytes at once.
func plainEnd(b []byte, i int) int {
	for ; i+8 <= len(b); i += 8 {
		w := binary.LittleEndian.Uint64(b[i : i+8])
		// A zero byte of x has its high bit set in (x-ones)&^x; above the
		// lowest there may be false ones, which do not matter.
		quote, slash, line := w^'"'*ones, w^'\\'*ones, w^'\n'*ones
		if m := ((quote-ones)&^quote | (slash-ones)&^slash | (line-ones)&^line) & highs; m != 0 {
			return i + bits.TrailingZeros64(m)>>3
		}
	}
	for ; i < len(b); i++ {
		if c := b[i]; c == '"' || c == '\\' || c == '\n' {
			break
		}
	}
	return i
}

// escapes are the characters that a backslash and a character stand for.
var escapes = [256]byte{'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}

// scanOther returns the end of the escape at b[i:], or that it is none.
func scanOther(b []byte, i int) (int, error) {
	if b[i] == '\n' {
		return i, &syntaxError{i, "a string is not closed on its line"}
	}
	if i+1 >= len(b) {
		return i, errShort
	}
	if i++; b[i] != 'u' {
		return i, &syntaxError{i, "an unknown escape"}
	}
	for k := 1; k <= 4; k++ {
		if i+k >= len(b) {
			return i, errShort
		}
		if _, ok := hexDigit(b[i+k]); !ok {
			return i, &syntaxError{i + k, "a \\u escape is broken"}
		}
	}
	return i + 5, nil
}

func hexDigit(c byte) (uint16, bool) {
	switch {
	case '0' <= c && c <= '9':
		return uint16(c - '0'), true
	case 'a' <= c && c <= 'f':
		return uint16(c-'a') + 10, true
	case 'A' <= c && c <= 'F':
		return uint16(c-'A') + 10, true
	}
	return 0, false
}

// scanNumber returns the end of the number at b[i:]. A number at the end of b is
// short: more digits may follow.
func scanNumber(b []byte, i int) (int, error) {
	if b[i] == '-' {
		i++
	}
	if i < len(b) && b[i] == '0' {
		i++
	} else {
		var err error
		if i, err = scanDigits(b, i); err != nil {
			return i, err
		}
	}
	if i < len(b) && b[i] == '.' {
		var err error
		if i, err = scanDigits(b, i+1); err != nil {
			return i, err
		}
	}
	if i < len(b) && (b[i] == 'e' || b[i] == 'E') {
		i++
		if i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		var err error
		if i, err = scanDigits(b, i); err != nil {
			return i, err
		}
	}
	if i >= len(b) {
		return i, errShort
	}
	return i, nil
}

func scanDigits(b []byte, i int) (int, error) {
	from := i
	for i < len(b) && '0' <= b[i] && b[i] <= '9' {
		i++
	}
	if i >= len(b) {
		return i, errShort
	}
	if i == from {
		return i, &syntaxError{i, "a digit is missing"}
	}
	return i, nil
}

// name returns the member name of node i.
func (d *document) name(i int) *name {
	n := &d.nodes[i]
	if n.name > 0 {
		return &d.names.list[n.name]
	}
	text := d.text[n.key:n.kend]
	if n.keyEscaped {
		text = unescape(nil, text)
	}
	odd := newName(string(text))
	return &odd
}

// appendText appends the text of scalar node i: the characters of a string, the
// source text of a number, true or false.
func (d *document) appendText(dst []byte, i int) []byte {
	n := &d.nodes[i]
	if n.escaped {
		return unescape(dst, d.text[n.from:n.to])
	}
	return append(dst, d.text[n.from:n.to]...)
}

// child returns the first member of object i called name, or -1.
func (d *document) child(i int, name string) int {
	if i < 0 || d.nodes[i].kind != object {
		return -1
	}
	for j := i + 1; j < int(d.nodes[i].next); j = int(d.nodes[j].next) {
		if d.name(j).text == name {
			return j
		}
	}
	return -1
}

// unescape appends the characters of the JSON string body s. An escaped lone
// surrogate becomes three bytes (WTF-8); other bytes are copied as they are.
func unescape(dst, s []byte) []byte {
	// No escape is shorter than what it stands for. Eight bytes are copied at
	// once, of which those before the next backslash count.
	n := len(dst)
	dst = slices.Grow(dst, len(s)+8)[:n+len(s)+8]
	for i := 0; i < len(s); {
		if i+8 <= len(s) {
			w := binary.LittleEndian.Uint64(s[i:])
			binary.LittleEndian.PutUint64(dst[n:], w)
			slash := w ^ '\\'*ones
			m := (slash - ones) &^ slash & highs
			if m == 0 {
				i, n = i+8, n+8
				continue
			}
			k := bits.TrailingZeros64(m) >> 3
			i, n = i+k, n+k
		} else if s[i] != '\\' {
			dst[n] = s[i]
			i, n = i+1, n+1
			continue
		}
		if c := escapes[s[i+1]]; c != 0 {
			dst[n] = c
			i, n = i+2, n+1
			continue
		}
		u := hex4(s[i+2:])
		i += 6
		units := [4]byte{byte(u), byte(u >> 8)}
		size := 2
		if u&0xFC00 == 0xD800 && i+6 <= len(s) && s[i] == '\\' && s[i+1] == 'u' {
			if low := hex4(s[i+2:]); low&0xFC00 == 0xDC00 {
				units[2], units[3], size = byte(low), byte(low>>8), 4
				i += 6
			}
		}
		n = len(event.AppendUTF16(dst[:n], units[:size]))
	}
	return dst[:n]
}

func hex4(s []byte) (u uint16) {
	for _, c := range s[:4] {
		v, _ := hexDigit(c) // scanString has looked
		u = u<<4 | v
	}
	return u
}
