package ndjson

import (
	"errors"

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

// node is one value of a parsed text. The nodes of a document lie in the order
// of the text, so the members of an object follow it, up to its next.
type node struct {
	kind       kind
	escaped    bool  // a string with escapes
	keyEscaped bool  // its name in the object around it has escapes
	key, kend  int32 // the name, without quotes
	from, to   int32 // the value; of a string, without quotes
	next       int32 // index of the node after this one's members
}

// document is one parsed JSON value. It refers to the parsed bytes.
type document struct {
	text  []byte
	nodes []node
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
	d.text, d.nodes = text, d.nodes[:0]
	return d.value(0, 0, node{})
}

// value parses the value at text[i:], whose name is in n, and returns its end.
func (d *document) value(i, depth int, n node) (int, error) {
	if i >= len(d.text) {
		return i, errShort
	}
	self := len(d.nodes)
	if self == maxNodes {
		return i, errNodes
	}
	n.from = int32(i)
	var end int
	var err error
	switch c := d.text[i]; {
	case c == '{' || c == '[':
		if depth == maxDepth {
			return i, errDepth
		}
		n.kind = object
		if c == '[' {
			n.kind = array
		}
		d.nodes = append(d.nodes, n)
		if c == '{' {
			end, err = d.members(i+1, depth+1)
		} else {
			end, err = d.elements(i+1, depth+1)
		}
		if err != nil {
			return end, err
		}
		d.nodes[self].to = int32(end)
		d.nodes[self].next = int32(len(d.nodes))
		return end, nil
	case c == '"':
		n.kind = str
		n.from++
		end, n.escaped, err = scanString(d.text, i+1)
		n.to = int32(end)
		end++
	case c == '-' || '0' <= c && c <= '9':
		n.kind = number
		end, err = scanNumber(d.text, i)
		n.to = int32(end)
	default:
		n.kind = boolean
		word := "true"
		switch c {
		case 't':
		case 'f':
			word = "false"
		case 'n':
			n.kind, word = null, "null"
		default:
			return i, &syntaxError{i, "a value is missing"}
		}
		for k := 1; k < len(word); k++ {
			if i+k >= len(d.text) {
				return i + k, errShort
			}
			if d.text[i+k] != word[k] {
				return i + k, &syntaxError{i + k, "an unknown word"}
			}
		}
		end = i + len(word)
		n.to = int32(end)
	}
	if err != nil {
		return end, err
	}
	n.next = int32(self + 1)
	d.nodes = append(d.nodes, n)
	return end, nil
}

func (d *document) members(i, depth int) (int, error) {
	for first := true; ; first = false {
		i = skipSpace(d.text, i)
		if i >= len(d.text) {
			return i, errShort
		}
		if first && d.text[i] == '}' {
			return i + 1, nil
		}
		if d.text[i] != '"' {
			return i, &syntaxError{i, "a member name is missing"}
		}
		end, escaped, err := scanString(d.text, i+1)
		if err != nil {
			return end, err
		}
		n := node{key: int32(i + 1), kend: int32(end), keyEscaped: escaped}
		i = skipSpace(d.text, end+1)
		if i >= len(d.text) {
			return i, errShort
		}
		if d.text[i] != ':' {
			return i, &syntaxError{i, "a colon is missing"}
		}
		if i, err = d.value(skipSpace(d.text, i+1), depth, n); err != nil {
			return i, err
		}
		i = skipSpace(d.text, i)
		if i >= len(d.text) {
			return i, errShort
		}
		switch d.text[i] {
		case '}':
			return i + 1, nil
		case ',':
			i++
		default:
			return i, &syntaxError{i, "a comma is missing"}
		}
	}
}

func (d *document) elements(i, depth int) (int, error) {
	for first := true; ; first = false {
		i = skipSpace(d.text, i)
		if i >= len(d.text) {
			return i, errShort
		}
		if first && d.text[i] == ']' {
			return i + 1, nil
		}
		var err error
		if i, err = d.value(i, depth, node{}); err != nil {
			return i, err
		}
		i = skipSpace(d.text, i)
		if i >= len(d.text) {
			return i, errShort
		}
		switch d.text[i] {
		case ']':
			return i + 1, nil
		case ',':
			i++
		default:
			return i, &syntaxError{i, "a comma is missing"}
		}
	}
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
	for ; i < len(b); i++ {
		switch b[i] {
		case '"':
			return i, escaped, nil
		case '\n':
			return i, escaped, &syntaxError{i, "a string is not closed on its line"}
		case '\\':
			escaped = true
			if i+1 >= len(b) {
				return i, escaped, errShort
			}
			i++
			switch b[i] {
			case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
			case 'u':
				for k := 1; k <= 4; k++ {
					if i+k >= len(b) {
						return i, escaped, errShort
					}
					if _, ok := hexDigit(b[i+k]); !ok {
						return i, escaped, &syntaxError{i + k, "a \\u escape is broken"}
					}
				}
				i += 4
			default:
				return i, escaped, &syntaxError{i, "an unknown escape"}
			}
		}
	}
	return len(b), escaped, errShort
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

// name returns the member name of node i as text.
func (d *document) name(i int) []byte {
	n := &d.nodes[i]
	if n.keyEscaped {
		return unescape(nil, d.text[n.key:n.kend])
	}
	return d.text[n.key:n.kend]
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
		if string(d.name(j)) == name {
			return j
		}
	}
	return -1
}

// unescape appends the characters of the JSON string body s. An escaped lone
// surrogate becomes three bytes (WTF-8); other bytes are copied as they are.
func unescape(dst, s []byte) []byte {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c != '\\' {
			dst = append(dst, c)
			continue
		}
		i++
		switch s[i] {
		case 'b':
			dst = append(dst, '\b')
		case 'f':
			dst = append(dst, '\f')
		case 'n':
			dst = append(dst, '\n')
		case 'r':
			dst = append(dst, '\r')
		case 't':
			dst = append(dst, '\t')
		case 'u':
			u := hex4(s[i+1:])
			i += 4
			units := []byte{byte(u), byte(u >> 8), 0, 0}[:2]
			if u&0xFC00 == 0xD800 && i+6 < len(s) && s[i+1] == '\\' && s[i+2] == 'u' {
				if low := hex4(s[i+3:]); low&0xFC00 == 0xDC00 {
					units = append(units, byte(low), byte(low>>8))
					i += 6
				}
			}
			dst = event.AppendUTF16(dst, units)
		default: // a quote, a backslash or a slash
			dst = append(dst, s[i])
		}
	}
	return dst
}

func hex4(s []byte) (u uint16) {
	for _, c := range s[:4] {
		v, _ := hexDigit(c) // scanString has looked
		u = u<<4 | v
	}
	return u
}
