package ioc

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// Bounds on lists.
const (
	MaxFileSize   = 256 << 20 // bytes
	MaxIndicators = 2_000_000 // per list
	MaxLine       = 64 << 10  // bytes of one line
	maxErrors     = 1000      // reported one by one; the rest is counted
)

// Error is a line that could not be read.
type Error struct {
	File string
	Line int // 1-based
	Msg  string
}

// Error returns "file:line: message".
func (e *Error) Error() string { return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Msg) }

// Parse reads a list from r: one indicator per line, or CSV (comma, semicolon
// or tab) in which one column holds the indicator and a column headed
// "description", "comment", "name" or similar its description; without a
// header the first column is the indicator and the next one that is none of
// "md5", "ip" and such is the description. What an indicator is, its shape
// tells. Blank lines and lines that begin with # are skipped. Defanged forms
// ("hxxp", "[.]", "[:]") are accepted.
//
// A line that cannot be read is an *Error; the others are returned.
func Parse(file string, r io.Reader) ([]Indicator, []error) {
	p := parser{file: file, value: -1, about: -1}
	in := bufio.NewReaderSize(io.LimitReader(r, MaxFileSize+1), MaxLine)
	size := 0
	for line := 1; ; line++ {
		text, err := in.ReadSlice('\n')
		size += len(text)
		if errors.Is(err, bufio.ErrBufferFull) {
			p.fail(line, fmt.Sprintf("the line is longer than %d bytes", MaxLine))
			for errors.Is(err, bufio.ErrBufferFull) {
				text, err = in.ReadSlice('\n')
				size += len(text)
			}
			text = nil
		}
		if size > MaxFileSize {
			p.fail(line, fmt.Sprintf("the list is larger than %d bytes; the rest was not read", MaxFileSize))
			break
		}
		if line == 1 {
			text = bytes.TrimPrefix(text, []byte("\xEF\xBB\xBF"))
		}
		if len(p.list) >= MaxIndicators {
			p.fail(line, fmt.Sprintf("the list has more than %d indicators; the rest was not read", MaxIndicators))
			break
		}
		p.line(line, strings.TrimRight(string(text), "\r\n"))
		if err != nil {
			if !errors.Is(err, io.EOF) {
				p.fail(line, err.Error())
			}
			break
		}
	}
	if p.more > 0 {
		p.errs = append(p.errs, fmt.Errorf("%s: %d more lines could not be read", file, p.more))
	}
	return p.list, p.errs
}

type parser struct {
	file         string
	list         []Indicator
	errs         []error
	more         int
	value, about int // columns that a header named, -1 if none did
	begun        bool
}

func (p *parser) fail(line int, msg string) {
	if len(p.errs) >= maxErrors {
		p.more++
		return
	}
	p.errs = append(p.errs, &Error{p.file, line, msg})
}

var (
	valueHeads = []string{"indicator", "indicators", "ioc", "value", "observable", "hash", "md5", "sha1", "sha256", "ip", "domain", "url", "path"}
	aboutHeads = []string{"description", "comment", "comments", "note", "notes", "name", "threat", "malware", "family"}
	typeHeads  = []string{"type", "kind", "category", "source", "date", "first_seen", "last_seen", "confidence", "tags", "reference"}
	typeWords  = []string{
		"md5", "sha1", "sha256", "sha-1", "sha-256", "hash", "filehash", "filehash-md5", "filehash-sha1", "filehash-sha256", "ip", "ipv4",
		"ipv6", "ip-dst", "ip-src", "domain", "hostname", "url", "uri", "path", "filename", "cidr", "network",
	}
)

func (p *parser) line(n int, text string) {
	trimmed := strings.TrimSpace(text)
	if trimmed == "" || trimmed[0] == '#' {
		return
	}
	if !utf8.ValidString(text) || strings.ContainsRune(text, 0) {
		p.fail(n, "the line is not UTF-8 text")
		return
	}
	cells, err := split(text)
	if err != nil {
		p.fail(n, err.Error())
		return
	}
	if !p.begun {
		p.begun = true
		if p.header(cells) {
			return
		}
	}
	at := p.value
	if at < 0 {
		at = slices.IndexFunc(cells, func(c string) bool { return !slices.Contains(typeWords, strings.ToLower(c)) && c != "" })
	}
	if at < 0 || at >= len(cells) || cells[at] == "" {
		p.fail(n, "the line has no indicator")
		return
	}
	kind, value, ok := Recognise(cells[at])
	if !ok {
		p.fail(n, fmt.Sprintf("%q is no md5, sha1, sha256, address, network, domain, URL or path", cells[at]))
		return
	}
	i := Indicator{Kind: kind, Value: value, File: p.file, Line: n}
	switch {
	case p.about >= 0 && p.about < len(cells):
		i.Description = cells[p.about]
	case p.about < 0 && p.value < 0:
		for _, c := range cells[at+1:] {
			if c != "" && !slices.Contains(typeWords, strings.ToLower(c)) {
				i.Description = c
				break
			}
		}
	}
	p.list = append(p.list, i)
}

// header takes the first line as column names if it holds no indicator and at
// least one known name.
func (p *parser) header(cells []string) bool {
	known := false
	value, about := -1, -1
	for i, c := range cells {
		c = strings.ToLower(c)
		if k, _, ok := Recognise(c); ok && k != Path {
			return false
		}
		switch {
		case slices.Contains(valueHeads, c) && value < 0:
			value, known = i, true
		case slices.Contains(aboutHeads, c) && about < 0:
			about, known = i, true
		case slices.Contains(typeHeads, c):
			known = true
		}
	}
	if known {
		p.value, p.about = value, about
	}
	return known
}

// split cuts a line into cells at the first separator that it holds outside
// quotes: comma, semicolon or tab. A line of one cell may hold anything.
func split(text string) ([]string, error) {
	comma := rune(0)
	quoted := false
	for _, r := range text {
		if r == '"' {
			quoted = !quoted
		}
		if !quoted && (r == ',' || r == ';' || r == '\t') {
			comma = r
			break
		}
	}
	if comma == 0 {
		text = strings.TrimSpace(text)
		if len(text) >= 2 && text[0] == '"' && text[len(text)-1] == '"' {
			text = strings.ReplaceAll(text[1:len(text)-1], `""`, `"`)
		}
		return []string{text}, nil
	}
	in := csv.NewReader(strings.NewReader(text))
	in.Comma, in.FieldsPerRecord, in.LazyQuotes, in.TrimLeadingSpace = comma, -1, true, comma != '\t'
	cells, err := in.Read()
	if err != nil {
		return nil, fmt.Errorf("the line is not valid CSV: %w", err)
	}
	for i := range cells {
		cells[i] = strings.TrimSpace(cells[i])
	}
	return cells, nil
}

var (
	domainShape = regexp.MustCompile(`^([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)+([a-z]{2,63}|xn--[a-z0-9-]{2,59})$`)
	refang      = strings.NewReplacer("[.]", ".", "(.)", ".", "{.}", ".", "[dot]", ".", "(dot)", ".", "[:]", ":", "[://]", "://", "[/]", "/", "[@]", "@")
)

// Recognise tells what kind of indicator s is by its shape, and returns its
// normal form.
func Recognise(s string) (Kind, string, bool) {
	s = strings.TrimSpace(s)
	if k := hashKind(s); k != "" {
		return k, strings.ToLower(s), true
	}
	if isPath(s) {
		return Path, s, true
	}
	s = refang.Replace(s)
	if len(s) > 4 && strings.EqualFold(s[:4], "hxxp") {
		s = "http" + s[4:]
	}
	if u, ok := normalURL(s); ok {
		return URL, u, true
	}
	if a, ok := address(s); ok {
		return IP, a.String(), true
	}
	if n, err := netip.ParsePrefix(s); err == nil {
		n = n.Masked()
		if a := n.Addr(); a.Is4In6() && n.Bits() >= 96 {
			n = netip.PrefixFrom(a.Unmap(), n.Bits()-96)
		}
		if n.Bits() == n.Addr().BitLen() {
			return IP, n.Addr().String(), true
		}
		if n.Bits() == 0 {
			return "", "", false // everything
		}
		return Network, n.String(), true
	}
	name := strings.TrimSuffix(strings.TrimPrefix(strings.ToLower(s), "*."), ".")
	if len(name) <= 253 && domainShape.MatchString(name) {
		return Domain, name, true
	}
	return "", "", false
}

// isPath recognises absolute paths: of a drive, of a share, of a Unix system.
func isPath(s string) bool {
	switch {
	case len(s) > 3 && letter(s[0]) && s[1] == ':' && s[2] == '\\':
		return true
	case len(s) > 3 && strings.HasPrefix(s, `\\`):
		return true
	}
	return len(s) > 1 && s[0] == '/' && s[1] != '/'
}
