package sigma

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// place is where something stands in its file, 1-based.
type place struct{ line, column int }

type nodeKind uint8

const (
	nullNode nodeKind = iota
	scalarNode
	listNode
	mapNode
)

func (k nodeKind) String() string {
	return [...]string{"nothing", "a single value", "a list", "a map"}[k]
}

// node is a YAML value with its place. Scalars keep their source text, so that
// 0x10, 1.0, yes and 2026-01-31 stay what the author wrote.
type node struct {
	kind nodeKind
	at   place
	text string // scalarNode
	// plain is the kind of an unquoted scalar: 'i' integer, 'f' float, 'b' bool,
	// 's' for any other and all quoted ones.
	plain byte
	list  []*node
	keys  []pair
}

// pair is one entry of a map, in the order of the file.
type pair struct {
	key   string
	at    place
	value *node
}

// get returns the value under key, nil if there is none.
func (n *node) get(key string) *node {
	for i := range n.keys {
		if n.keys[i].key == key {
			return n.keys[i].value
		}
	}
	return nil
}

// fault is an error with a place and without a file yet.
type fault struct {
	at        place
	msg, hint string
}

func (f *fault) Error() string { return f.msg }

func faultf(at place, format string, args ...any) *fault {
	return &fault{at: at, msg: fmt.Sprintf(format, args...)}
}

func (f *fault) withHint(format string, args ...any) *fault {
	f.hint = fmt.Sprintf(format, args...)
	return f
}

// readYAML splits a file into its documents; empty documents are left out.
func readYAML(data []byte) ([]*node, *fault) {
	data, f := utf8Text(data)
	if f != nil {
		return nil, f
	}
	if f := boundParts(data); f != nil {
		return nil, f
	}
	tokens := lexer.Tokenize(string(data))
	if f := boundNesting(tokens); f != nil {
		return nil, f
	}
	if f := boundKeys(tokens); f != nil {
		return nil, f
	}
	file, err := parser.Parse(tokens, 0)
	if err != nil {
		return nil, yamlFault(err)
	}
	var docs []*node
	b := builder{anchors: map[string]ast.Node{}, open: map[ast.Node]bool{}}
	for _, d := range file.Docs {
		if d.Body == nil {
			continue
		}
		clear(b.anchors)
		n, f := b.build(d.Body, 0)
		if f != nil {
			return docs, f
		}
		if n.kind != nullNode {
			docs = append(docs, n)
		}
	}
	return docs, nil
}

func firstBadByte(data []byte) (place, bool) {
	line, column := 1, 1
	for i := 0; i < len(data); {
		r, n := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && n == 1 || r == 0 {
			return place{line, column}, true
		}
		column++
		if r == '\n' {
			line, column = line+1, 1
		}
		i += n
	}
	return place{}, false
}

// Bounds on what the parser is given, which takes about half a kilobyte for a
// part, and for the keys of a map a time that grows with their square.
const (
	maxParts = 500_000
	maxKeys  = 3_000
)

// boundParts refuses text that the lexer would cut into very many tokens: lines,
// items and keys. It counts a few too many, in texts.
func boundParts(data []byte) *fault {
	parts, line, start := 0, 1, 0
	for i, c := range data {
		switch c {
		case '\n':
			line, start = line+1, i+1
		case ',', '[', ']', '{', '}':
		case ':', '-', '?':
			if i+1 < len(data) && data[i+1] != ' ' && data[i+1] != '\t' && data[i+1] != '\n' && data[i+1] != '\r' {
				continue
			}
		default:
			continue
		}
		if parts++; parts > maxParts {
			return faultf(place{line, utf8.RuneCount(data[min(start, i):i]) + 1}, "the file has more than %d lines, items and keys", maxParts).withHint("split it")
		}
	}
	return nil
}

// boundKeys refuses block maps of very many keys. Keys in one column are of one
// map until a line begins further left.
func boundKeys(tokens token.Tokens) *fault {
	type open struct{ column, keys int }
	var maps []open // their columns rise
	line := 0
	for i, t := range tokens {
		if t.Type == token.DocumentHeaderType || t.Type == token.DocumentEndType {
			maps = maps[:0]
			continue
		}
		if t.Position.Line != line {
			line = t.Position.Line
			for len(maps) > 0 && maps[len(maps)-1].column > t.Position.Column {
				maps = maps[:len(maps)-1]
			}
		}
		if t.Type != token.MappingValueType || i == 0 {
			continue
		}
		column := tokens[i-1].Position.Column
		n := len(maps) - 1
		for n >= 0 && maps[n].column > column {
			n--
		}
		maps = maps[:n+1]
		if n < 0 || maps[n].column < column {
			maps = append(maps, open{column: column})
			n++
		}
		if maps[n].keys++; maps[n].keys > maxKeys {
			return faultf(placeOf(t), "the map has more than %d keys", maxKeys).withHint("write a list, or several searches")
		}
	}
	return nil
}

// boundNesting refuses what would make the recursive parser run deep: flow
// brackets, and block indicators nested on one line. Nesting by indentation is
// bounded by the size of the file.
func boundNesting(tokens token.Tokens) *fault {
	flow, row, line := 0, 0, 0
	for _, t := range tokens {
		if t.Position.Line != line {
			line, row = t.Position.Line, 0
		}
		switch t.Type {
		case token.SequenceStartType, token.MappingStartType:
			flow++
		case token.SequenceEndType, token.MappingEndType:
			flow--
		case token.SequenceEntryType, token.MappingKeyType, token.TagType, token.AnchorType:
			row++
		}
		if flow > MaxDepth || row > MaxDepth || t.Position.Column > 100*MaxDepth && t.Type == token.SequenceEntryType {
			return faultf(placeOf(t), "the YAML is nested more than %d levels deep", MaxDepth).withHint("no rule needs that; look for brackets or blanks that are not closed or wrong")
		}
	}
	return nil
}

func placeOf(t *token.Token) place {
	if t == nil || t.Position == nil {
		return place{1, 1}
	}
	return place{t.Position.Line, t.Position.Column}
}

func yamlFault(err error) *fault {
	var y yaml.Error
	if errors.As(err, &y) {
		return faultf(placeOf(y.GetToken()), "not valid YAML: %s", clip(y.GetMessage())).withHint("%s", yamlHint(y.GetMessage()))
	}
	return faultf(place{1, 1}, "not valid YAML: %s", clip(err.Error()))
}

// yamlHint says what to do about what the parser found.
func yamlHint(message string) string {
	switch {
	case strings.Contains(message, "already defined"):
		return "write the values of both as one list, or the second in a search of its own"
	case strings.Contains(message, "\t"):
		return "indent with blanks, not tabs"
	case strings.Contains(message, "start any token"):
		return "put the value in quotes"
	}
	return "look at the indentation and the quotes of this line and the one before"
}

// builder turns the parser's tree into nodes: aliases followed, merges done,
// size bounded.
type builder struct {
	anchors map[string]ast.Node
	open    map[ast.Node]bool // anchored values being built, to find loops
	count   int
}

func (b *builder) build(a ast.Node, depth int) (*node, *fault) {
	at := place{1, 1}
	if a != nil {
		at = placeOf(a.GetToken())
	}
	b.count++
	if b.count > MaxValues {
		return nil, faultf(at, "the file holds more than %d values", MaxValues).withHint("split it, or look for aliases that multiply")
	}
	if depth > MaxDepth {
		return nil, faultf(at, "the YAML is nested more than %d levels deep", MaxDepth).withHint("no rule needs that; look for brackets or blanks that are not closed or wrong")
	}
	scalar := func(text string, plain byte) (*node, *fault) {
		return &node{kind: scalarNode, at: at, text: text, plain: plain}, nil
	}
	switch a := a.(type) {
	case nil, *ast.NullNode:
		return &node{at: at}, nil
	case *ast.StringNode:
		return scalar(a.Value, 's')
	case *ast.LiteralNode:
		return scalar(a.Value.Value, 's')
	case *ast.IntegerNode:
		return scalar(a.Token.Value, 'i')
	case *ast.FloatNode:
		return scalar(a.Token.Value, 'f')
	case *ast.BoolNode:
		return scalar(a.Token.Value, 'b')
	case *ast.InfinityNode:
		return scalar(a.Token.Value, 's')
	case *ast.NanNode:
		return scalar(a.Token.Value, 's')
	case *ast.TagNode:
		n, f := b.build(a.Value, depth+1)
		switch {
		case f != nil:
			return nil, f
		case a.Start.Value == "!!str" && n.kind == scalarNode:
			n.plain = 's'
		case a.Start.Value == "!!str" && n.kind == nullNode:
			return scalar("", 's')
		default:
			return nil, faultf(at, "the YAML tag %s is not supported", a.Start.Value)
		}
		return n, nil
	case *ast.AnchorNode:
		b.anchors[a.Name.GetToken().Value] = a.Value
		b.open[a.Value] = true
		n, f := b.build(a.Value, depth+1)
		delete(b.open, a.Value)
		return n, f
	case *ast.AliasNode:
		name := a.Value.GetToken().Value
		target, ok := b.anchors[name]
		if !ok {
			return nil, faultf(at, "the alias *%s has no anchor before it", name).withHint("a value that begins with * needs quotes")
		}
		if b.open[target] {
			return nil, faultf(at, "the alias *%s refers to itself", name).withHint("write the values out")
		}
		return b.build(target, depth+1)
	case *ast.SequenceNode:
		n := &node{kind: listNode, at: at}
		for _, v := range a.Values {
			c, f := b.build(v, depth+1)
			if f != nil {
				return nil, f
			}
			n.list = append(n.list, c)
		}
		return n, nil
	case *ast.MappingNode:
		n := &node{kind: mapNode, at: at}
		if len(a.Values) > 0 {
			n.at = placeOf(a.Values[0].Key.GetToken())
		}
		return n, b.fill(n, a.Values, depth)
	case *ast.MappingValueNode:
		n := &node{kind: mapNode, at: placeOf(a.Key.GetToken())}
		return n, b.fill(n, []*ast.MappingValueNode{a}, depth)
	}
	return nil, faultf(at, "this kind of YAML value (%s) is not supported", a.Type())
}

// fill adds a map's entries. Its own keys win over merged ones, wherever the
// merge stands.
func (b *builder) fill(n *node, values []*ast.MappingValueNode, depth int) *fault {
	seen := make(map[string]bool, len(values))
	var merged []*node
	for _, v := range values {
		value, f := b.build(v.Value, depth+1)
		if f != nil {
			return f
		}
		if v.Key.IsMergeKey() {
			switch value.kind {
			case mapNode:
				merged = append(merged, value)
			case listNode:
				merged = append(merged, value.list...)
			default:
				return faultf(value.at, "<< must merge a map, not %s", value.kind)
			}
			continue
		}
		key, f := b.build(v.Key, depth+1)
		if f != nil {
			return f
		}
		if key.kind == nullNode {
			key.text = v.Key.GetToken().Value
		} else if key.kind != scalarNode {
			return faultf(key.at, "a key must be a single value, not %s", key.kind)
		}
		if seen[key.text] {
			return faultf(key.at, "the key %q is given twice", clip(key.text)).withHint("write the values of both as one list, or the second in a search of its own")
		}
		seen[key.text] = true
		n.keys = append(n.keys, pair{key.text, key.at, value})
	}
	for _, m := range merged {
		if m.kind != mapNode {
			return faultf(m.at, "<< must merge a map, not %s", m.kind)
		}
		for _, p := range m.keys {
			if !seen[p.key] {
				seen[p.key] = true
				n.keys = append(n.keys, p)
			}
		}
	}
	return nil
}
