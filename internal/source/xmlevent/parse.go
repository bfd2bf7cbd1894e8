package xmlevent

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"unicode/utf8"
)

// element is one XML element. Its place among its siblings is the order of the
// text.
type element struct {
	name     []byte // without a prefix
	attrs    []attribute
	text     []byte // its character data; of an element with elements, unused
	hasText  bool
	children []element
}

type attribute struct {
	name  []byte // without a prefix, except xmlns:*
	value []byte
}

// child returns the first element inside e called name, or nil.
func (e *element) child(name string) *element {
	for i := range e.children {
		if string(e.children[i].name) == name {
			return &e.children[i]
		}
	}
	return nil
}

func (e *element) attr(name string) ([]byte, bool) {
	for _, a := range e.attrs {
		if string(a.name) == name {
			return a.value, true
		}
	}
	return nil, false
}

var (
	// errShort: the text ends inside the element.
	errShort = errors.New("ends inside an element")
	// errNewEvent: another event begins before this one has ended.
	errNewEvent = errors.New("another Event begins inside it")
	errDepth    = fmt.Errorf("elements are nested deeper than %d levels", maxDepth)
	errElements = fmt.Errorf("an Event holds more than %d elements", maxElements)
)

type syntaxError struct{ what string }

func (e *syntaxError) Error() string { return e.what }

const (
	maxDepth    = 64      // nesting of elements
	maxElements = 1 << 17 // elements and attributes of one event
)

// parser reads elements. It knows the five predefined entities and character
// references; others are kept as text, so nothing expands.
type parser struct {
	text []byte
	left int // elements and attributes still admitted
}

// parse parses the element at the start of text.
func parse(text []byte) (element, int, error) {
	p := parser{text, maxElements}
	return p.element(0, 0)
}

// element parses the element at text[i:], which begins with "<", and returns its
// end. On an error the position is where parsing stopped.
func (p *parser) element(i, depth int) (element, int, error) {
	var e element
	if depth == maxDepth {
		return e, i, errDepth
	}
	if p.left--; p.left < 0 {
		return e, i, errElements
	}
	i, empty, err := p.startTag(i, &e)
	if err != nil || empty {
		return e, i, err
	}
	for {
		mark := bytes.IndexByte(p.text[i:], '<')
		if mark < 0 {
			return e, len(p.text), errShort
		}
		if mark > 0 {
			e.addText(unescape(p.text[i : i+mark]))
			i += mark
		}
		rest := p.text[i:]
		switch {
		case len(rest) < 2:
			return e, i, errShort
		case rest[1] == '/':
			end := bytes.IndexByte(rest[:min(len(rest), maxName)], '>')
			if end < 0 {
				if len(rest) >= maxName {
					return e, i, &syntaxError{"an end tag is not closed"}
				}
				return e, i, errShort
			}
			if name := bytes.TrimRight(local(rest[2:end]), " \t\r\n"); !bytes.Equal(name, e.name) {
				return e, i, &syntaxError{fmt.Sprintf("</%s> closes <%s>", clip(name), clip(e.name))}
			}
			return e, i + end + 1, nil
		case rest[1] == '!':
			skip, err := p.declaration(i, &e)
			if err != nil {
				return e, i, err
			}
			i = skip
		case rest[1] == '?':
			end := bytes.Index(rest, []byte("?>"))
			if end < 0 {
				return e, i, errShort
			}
			i += end + 2
		default:
			begins, err := p.newEvent(i)
			if err != nil {
				return e, i, err
			}
			if begins {
				return e, i, errNewEvent
			}
			c, end, err := p.element(i, depth+1)
			if err != nil {
				return e, end, err
			}
			e.children = append(e.children, c)
			i = end
		}
	}
}

func (e *element) addText(b []byte) {
	e.hasText = true
	if e.text == nil {
		e.text = b
	} else {
		e.text = append(e.text[:len(e.text):len(e.text)], b...)
	}
}

// newEvent reports whether a record begins at text[i:]: an Event element whose
// first element is System. Elsewhere the name is a field's.
func (p *parser) newEvent(i int) (bool, error) {
	rest := p.text[i:]
	n := nameEnd(rest, 1) - 1
	if n > maxName {
		return false, &syntaxError{"an element name is too long"}
	}
	if 1+n == len(rest) {
		return false, errShort
	}
	if string(local(rest[1:1+n])) != "Event" {
		return false, nil
	}
	end := bytes.IndexByte(rest, '>')
	if end < 0 {
		return false, errShort
	}
	rest = bytes.TrimLeft(rest[end+1:], " \t\r\n")
	if len(rest) < 64 && bytes.IndexByte(rest, '>') < 0 {
		return false, errShort
	}
	if len(rest) == 0 || rest[0] != '<' {
		return false, nil
	}
	return string(local(rest[1:nameEnd(rest, 1)])) == "System", nil
}

// declaration passes a comment or a CDATA section, whose text is e's.
func (p *parser) declaration(i int, e *element) (int, error) {
	rest := p.text[i:]
	for _, d := range []struct{ open, close string }{{"<!--", "-->"}, {"<![CDATA[", "]]>"}} {
		if len(rest) < len(d.open) && string(rest) == d.open[:len(rest)] {
			return i, errShort
		}
		body, ok := bytes.CutPrefix(rest, []byte(d.open))
		if !ok {
			continue
		}
		end := bytes.Index(body, []byte(d.close))
		if end < 0 {
			return i, errShort
		}
		if d.open == "<![CDATA[" {
			e.addText(body[:end])
		}
		return i + len(d.open) + end + len(d.close), nil
	}
	return i, &syntaxError{"a declaration inside an element"}
}

// maxName bounds names and end tags.
const maxName = 1024

// startTag parses the start tag at text[i:] into e.
func (p *parser) startTag(i int, e *element) (end int, empty bool, err error) {
	b := p.text
	from := i + 1
	i = nameEnd(b, from)
	if i-from > maxName {
		return from, false, &syntaxError{"an element name is too long"}
	}
	if i >= len(b) {
		return i, false, errShort
	}
	if e.name = local(b[from:i]); len(e.name) == 0 {
		return i, false, &syntaxError{"an element name is missing"}
	}
	for {
		i = skipSpace(b, i)
		if i >= len(b) {
			return i, false, errShort
		}
		switch b[i] {
		case '>':
			return i + 1, false, nil
		case '/':
			if i+1 >= len(b) {
				return i, false, errShort
			}
			if b[i+1] != '>' {
				return i, false, &syntaxError{"a slash inside a tag"}
			}
			return i + 2, true, nil
		}
		from = i
		i = nameEnd(b, i)
		if i == from {
			return i, false, &syntaxError{"an attribute name is missing"}
		}
		name := b[from:i]
		if !bytes.HasPrefix(name, []byte("xmlns:")) {
			name = local(name)
		}
		i = skipSpace(b, i)
		if i >= len(b) {
			return i, false, errShort
		}
		if b[i] != '=' {
			return i, false, &syntaxError{"an attribute without a value"}
		}
		i = skipSpace(b, i+1)
		if i >= len(b) {
			return i, false, errShort
		}
		quote := b[i]
		if quote != '"' && quote != '\'' {
			return i, false, &syntaxError{"an attribute value without quotes"}
		}
		from = i + 1
		for i++; i < len(b) && b[i] != quote; i++ {
			if b[i] == '<' {
				return i, false, &syntaxError{"a tag begins inside an attribute value"}
			}
		}
		if i == len(b) {
			return i, false, errShort
		}
		value := b[from:i]
		if p.left--; p.left < 0 {
			return i, false, errElements
		}
		e.attrs = append(e.attrs, attribute{name, unescape(value)})
		i++
	}
}

// nameEnd returns where the name at b[i:] ends. It looks no further than a name
// may be long.
func nameEnd(b []byte, i int) int {
	for limit := i + maxName; i < len(b) && i <= limit; {
		switch b[i] {
		case ' ', '\t', '\r', '\n', '/', '>', '=', '<', '"', '\'':
			return i
		}
		i++
	}
	return i
}

func skipSpace(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\t' || b[i] == '\r' || b[i] == '\n') {
		i++
	}
	return i
}

// local returns a name without its namespace prefix.
func local(name []byte) []byte {
	return name[bytes.IndexByte(name, ':')+1:]
}

// clip shortens a name for a message.
func clip(name []byte) []byte { return name[:min(len(name), 40)] }

// unescape resolves references. A character reference to a lone surrogate, which
// XML does not allow but some writers make, becomes WTF-8; an unknown reference
// stays as it is. Line ends are kept too: the records hold CR LF.
func unescape(b []byte) []byte {
	if bytes.IndexByte(b, '&') < 0 {
		return b
	}
	out := make([]byte, 0, len(b))
	for i := 0; i < len(b); {
		if b[i] != '&' {
			out = append(out, b[i])
			i++
			continue
		}
		end := bytes.IndexByte(b[i:min(len(b), i+16)], ';')
		if end < 0 {
			out = append(out, '&')
			i++
			continue
		}
		next, ok := reference(out, b[i+1:i+end])
		if !ok {
			out = append(out, '&')
			i++
			continue
		}
		out = next
		i += end + 1
	}
	return out
}

func reference(dst, name []byte) ([]byte, bool) {
	switch string(name) {
	case "lt":
		return append(dst, '<'), true
	case "gt":
		return append(dst, '>'), true
	case "amp":
		return append(dst, '&'), true
	case "quot":
		return append(dst, '"'), true
	case "apos":
		return append(dst, '\''), true
	}
	if len(name) < 2 || name[0] != '#' {
		return dst, false
	}
	digits, base := string(name[1:]), 10
	if digits[0] == 'x' || digits[0] == 'X' {
		digits, base = digits[1:], 16
	}
	v, err := strconv.ParseUint(digits, base, 32)
	switch {
	case err != nil || v > utf8.MaxRune:
		return dst, false
	case 0xD800 <= v && v < 0xE000:
		return append(dst, 0xE0|byte(v>>12), 0x80|byte(v>>6)&0x3F|0x80, 0x80|byte(v)&0x3F), true
	}
	return utf8.AppendRune(dst, rune(v)), true
}
