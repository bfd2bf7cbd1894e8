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
	"unicode"
	"unicode/utf8"

	"ashiato/internal/event"
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
// tells; names of files, services, tasks and signers need a cell that says so,
// such as "service". A column headed "level" or "severity" gives a severity. Blank lines and lines that begin with # are skipped. Defanged forms
// ("hxxp", "[.]", "[:]") and hashes behind their name ("sha256:…", "MD5=…") are
// accepted. The text is UTF-8 or UTF-16.
//
// A line that cannot be read is an *Error; the others are returned.
func Parse(file string, r io.Reader) (*List, []error) {
	p := parser{file: file, list: &List{file: file}, value: -1, about: -1, level: -1, kind: -1, abouts: map[string]uint32{}}
	bounded := &io.LimitedReader{R: r, N: MaxFileSize + 1}
	var decoded io.Reader
	decoded, p.encoding = decode(bounded)
	in := bufio.NewReaderSize(decoded, MaxLine)
	for line := 1; ; line++ {
		text, err := in.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			p.fail(line, fmt.Sprintf("the line is longer than %d bytes", MaxLine))
			for errors.Is(err, bufio.ErrBufferFull) {
				_, err = in.ReadSlice('\n')
			}
			text = nil
		}
		if err != nil && bounded.N == 0 {
			p.fail(line, fmt.Sprintf("the list is larger than %d bytes; the rest was not read", MaxFileSize))
			break
		}
		if line == 1 {
			text = bytes.TrimPrefix(text, []byte("\xEF\xBB\xBF"))
		}
		if p.list.n >= MaxIndicators && len(bytes.TrimSpace(text)) > 0 {
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

// decode returns r as UTF-8, and what it is. UTF-16 is recognised by its byte
// order mark or by a first character that has a zero byte, as no list in UTF-8
// has. What is not text in it becomes bytes that are not UTF-8.
func decode(r io.Reader) (utf8Text io.Reader, encoding string) {
	var head [2]byte
	n, _ := io.ReadFull(r, head[:]) // an error comes again
	r = io.MultiReader(bytes.NewReader(head[:n]), r)
	switch {
	case n < 2:
		return r, "UTF-8"
	case head == [2]byte{0xFF, 0xFE}, head[0] != 0 && head[1] == 0:
		return &utf16Reader{r: r}, "UTF-16"
	case head == [2]byte{0xFE, 0xFF}, head[0] == 0 && head[1] != 0:
		return &utf16Reader{r: r, bigEndian: true}, "UTF-16"
	}
	return r, "UTF-8"
}

// utf16Reader reads UTF-16 as UTF-8. Lone surrogates become WTF-8 (see package
// event) and an odd byte at the end 0xFF, neither of which is UTF-8.
type utf16Reader struct {
	r         io.Reader
	bigEndian bool
	raw       []byte // not yet decoded
	out       []byte // not yet read
	err       error
}

func (u *utf16Reader) Read(b []byte) (int, error) {
	for len(u.out) == 0 {
		if u.err != nil {
			return 0, u.err
		}
		var buf [16 << 10]byte
		var n int
		n, u.err = u.r.Read(buf[:])
		u.raw = append(u.raw, buf[:n]...)
		u.decode()
	}
	n := copy(b, u.out)
	u.out = u.out[n:]
	return n, nil
}

// decode moves the whole characters of raw to out.
func (u *utf16Reader) decode() {
	n := len(u.raw) &^ 1
	piece := bytes.Clone(u.raw[:n])
	if u.bigEndian {
		for i := 0; i < n; i += 2 {
			piece[i], piece[i+1] = piece[i+1], piece[i]
		}
	}
	if u.err == nil && n >= 2 && piece[n-1]&0xFC == 0xD8 { // its other half may follow
		n -= 2
	}
	u.out = event.AppendUTF16(u.out[:0], piece[:n])
	u.raw = append(u.raw[:0], u.raw[n:]...)
	if u.err != nil && len(u.raw) > 0 {
		u.out, u.raw = append(u.out, 0xFF), nil
	}
}

type parser struct {
	file         string
	encoding     string
	list         *List
	abouts       map[string]uint32 // descriptions that were stored, by text
	errs         []error
	more         int
	value, about int // columns that a header named, -1 if none did
	level, kind  int
	patterns     int // indicators with wildcards
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
	levelHeads = []string{"level", "severity"}
	kindHeads  = []string{"type", "kind", "category"}
	typeHeads  = []string{"source", "date", "first_seen", "last_seen", "confidence", "tags", "reference"}
	typeWords  = []string{
		"md5", "sha1", "sha256", "sha-1", "sha-256", "hash", "filehash", "filehash-md5", "filehash-sha1", "filehash-sha256", "ip", "ipv4",
		"ipv6", "ip-dst", "ip-src", "domain", "hostname", "url", "uri", "path", "cidr", "network",
		"filename", "file-name", "service", "service-name", "task", "scheduled-task", "signer", "certificate",
	}
	// namedKinds are the words for kinds that have no shape.
	namedKinds = map[string]Kind{
		"filename": FileName, "file-name": FileName, "service": Service, "service-name": Service,
		"task": Task, "scheduled-task": Task, "signer": Signer, "certificate": Signer,
	}
)

func (p *parser) line(n int, text string) {
	trimmed := strings.TrimSpace(text)
	if trimmed == "" || trimmed[0] == '#' {
		return
	}
	if !utf8.ValidString(text) || strings.ContainsRune(text, 0) {
		p.fail(n, "the line is not "+p.encoding+" text")
		return
	}
	if p.begun && p.value <= 0 { // a bare hash, as the longest lists have
		if kind := hashKind(trimmed); kind != "" {
			p.list.add(kind, trimmed, n)
			return
		}
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
	kind, value, ok := p.recognise(cells, at)
	if !ok {
		p.fail(n, fmt.Sprintf("%q is no md5, sha1, sha256, address, network, domain, URL, path or file name with a known extension, and no cell of the line says that it is a filename, service, task or signer", cells[at]))
		return
	}
	if hasWildcards(kind, value) {
		if strings.Trim(value, `*?\/.:`) == "" {
			p.fail(n, fmt.Sprintf("%q fits everything", value))
			return
		}
		if p.patterns++; p.patterns > MaxPatterns {
			p.fail(n, fmt.Sprintf("the list has more than %d indicators with wildcards", MaxPatterns))
			return
		}
	}
	level := 0
	if p.level >= 0 && p.level < len(cells) && cells[p.level] != "" {
		if level = 1 + slices.Index(Levels(), strings.ToLower(cells[p.level])); level == 0 {
			p.fail(n, fmt.Sprintf("unknown level %q: use one of %s", cells[p.level], strings.Join(Levels(), ", ")))
			return
		}
	}
	about := ""
	switch {
	case p.about >= 0 && p.about < len(cells):
		about = cells[p.about]
	case p.about < 0 && p.value < 0:
		for _, c := range cells[at+1:] {
			if c != "" && !slices.Contains(typeWords, strings.ToLower(c)) {
				about = c
				break
			}
		}
	}
	it := p.list.add(kind, value, n)
	it.level = uint8(level)
	if about != "" {
		it.about = p.describe(about)
	}
}

// maxName bounds the names of files, services, tasks and signers, in bytes.
const maxName = 1024

// recognise tells what the cell at holds: by the line's own word for its kind, if
// that is one without a shape, else by its shape.
func (p *parser) recognise(cells []string, at int) (Kind, string, bool) {
	kind, ok := Kind(""), false
	switch {
	case p.kind >= 0 && p.kind < len(cells):
		kind, ok = namedKinds[strings.ToLower(cells[p.kind])]
	case p.kind < 0 && p.value < 0:
		for i, c := range cells {
			if k, named := namedKinds[strings.ToLower(c)]; named && i != at {
				kind, ok = k, true
				break
			}
		}
	}
	if !ok {
		return Recognise(cells[at])
	}
	value := cells[at]
	if len(value) > maxName || strings.ContainsFunc(value, unicode.IsControl) || kind == FileName && strings.ContainsAny(value, `\/`) {
		return "", "", false
	}
	return kind, value, true
}

// maxAbouts bounds the table of descriptions that are stored once.
const maxAbouts = 4096

// describe stores a description and returns where. Most lists have few.
func (p *parser) describe(about string) uint32 {
	at, known := p.abouts[about]
	if !known {
		at = p.list.put(about)
		if len(p.abouts) < maxAbouts {
			p.abouts[about] = at
		}
	}
	return at
}

// header takes the first line as column names if it holds no indicator and at
// least one known name.
func (p *parser) header(cells []string) bool {
	known := false
	value, about, level, kind := -1, -1, -1, -1
	for i, c := range cells {
		c = strings.ToLower(c)
		if k, _, ok := Recognise(c); ok && (k != Path || strings.Contains(c, `\`)) {
			return false
		}
		switch {
		case slices.Contains(valueHeads, c) && value < 0:
			value, known = i, true
		case slices.Contains(aboutHeads, c) && about < 0:
			about, known = i, true
		case slices.Contains(levelHeads, c) && level < 0:
			level, known = i, true
		case slices.Contains(kindHeads, c) && kind < 0:
			kind, known = i, true
		case slices.Contains(typeHeads, c):
			known = true
		}
	}
	if known {
		p.value, p.about, p.level, p.kind = value, about, level, kind
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
	if strings.IndexByte(text, '"') < 0 {
		cells := strings.Split(text, string(comma))
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		return cells, nil
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
	if k, h, ok := namedHash(s); ok {
		return k, h, true
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
	if isFileName(s) {
		return FileName, s, true
	}
	name := strings.TrimSuffix(strings.TrimPrefix(strings.ToLower(s), "*."), ".")
	if len(name) <= 253 && domainShape.MatchString(name) {
		return Domain, name, true
	}
	return "", "", false
}

// extensions are endings of files, mostly of programs and scripts, that are no top-level domain:
// "update.exe" has the shape of a domain's name and is none. Those that are both, such
// as com, zip, sh and py, are taken for domains.
var extensions = []string{
	"exe", "dll", "sys", "scr", "cpl", "ocx", "drv", "efi", "msi", "msp", "bat", "cmd", "ps1", "psm1", "psd1", "vbs", "vbe", "js", "jse", "wsf", "wsh",
	"hta", "chm", "lnk", "inf", "reg", "jar", "tmp", "dat", "bin", "log", "txt", "iso", "img", "vhd", "vhdx", "rar", "7z", "dmp", "aspx", "asp", "jsp", "php",
	"doc", "docm", "docx", "xls", "xlsm", "xlsx", "ppt", "pptm", "pptx", "rtf", "pdf", "elf", "service",
}

// isFileName recognises the name of a file by its extension.
func isFileName(s string) bool {
	i := strings.LastIndexByte(s, '.')
	return i > 0 && len(s) <= maxName && slices.Contains(extensions, strings.ToLower(s[i+1:])) &&
		!strings.ContainsAny(s, `\/:"<>|`) && !strings.ContainsFunc(s, unicode.IsControl)
}

// namedHash recognises a hash behind the name of its kind: "sha256:…", "MD5=…".
func namedHash(s string) (Kind, string, bool) {
	i := strings.IndexAny(s, ":=")
	if i < 0 {
		return "", "", false
	}
	name := strings.ToLower(strings.TrimSpace(s[:i]))
	h := strings.TrimSpace(s[i+1:])
	k := hashKind(h)
	if k == "" || strings.Replace(name, "sha-", "sha", 1) != string(k) {
		return "", "", false
	}
	return k, strings.ToLower(h), true
}

// isPath recognises absolute paths: of a drive, of a share, of a Unix system.
func isPath(s string) bool {
	switch {
	case len(s) > 3 && (letter(s[0]) || s[0] == '?' || s[0] == '*') && s[1] == ':' && s[2] == '\\':
		return true
	case len(s) > 3 && strings.HasPrefix(s, `\\`):
		return true
	}
	return len(s) > 1 && s[0] == '/' && s[1] != '/'
}
