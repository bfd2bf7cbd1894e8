// Package ioc holds sets of indicators of compromise and finds them in events:
// file hashes, addresses, networks, domains, URLs, file paths and names, and names
// of services, tasks and signers.
//
// Parse reads a list, New makes a Set of one or more lists, Set.Match looks an
// event's fields up. A Set is immutable and safe for concurrent use; what it
// finds depends on the event alone. Looking up costs a few hash look-ups per
// field, whatever the size of the set. An indicator takes its own bytes (a hash
// half its digits) and about 40 more; an Indicator is made of it when it is
// found.
package ioc

import (
	"cmp"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"ashiato/internal/event"
)

// Kind is what an indicator identifies. The words are stable machine output.
type Kind string

// The kinds.
const (
	MD5     Kind = "md5"
	SHA1    Kind = "sha1"
	SHA256  Kind = "sha256"
	IP      Kind = "ip"
	Network Kind = "network"
	Domain  Kind = "domain"
	URL     Kind = "url"
	Path    Kind = "path"
	// The names below have no shape of their own: a list says what they are.
	FileName Kind = "filename" // the last part of a path
	Service  Kind = "service"  // a service's short name
	Task     Kind = "task"     // a scheduled task's name, its folders included
	Signer   Kind = "signer"   // whom a signature names
)

// Kinds returns every kind.
func Kinds() []Kind {
	return []Kind{MD5, SHA1, SHA256, IP, Network, Domain, URL, Path, FileName, Service, Task, Signer}
}

// Group joins the kinds that people are told the same about: "hash",
// "address", "domain", "url", "path" for paths and names of files, and "service",
// "task" and "signer".
func (k Kind) Group() Kind {
	switch k {
	case MD5, SHA1, SHA256:
		return "hash"
	case IP, Network:
		return "address"
	case FileName:
		return Path
	}
	return k
}

// Indicator is one entry of a list.
type Indicator struct {
	Kind Kind
	// Value is the indicator in its normal form: hashes, domains, schemes and
	// host names in lower case, addresses in their short form, defanging undone.
	Value string
	// Description is the list's own text, "" if it has none.
	Description string
	// Level is the severity that the list gives it, one of Levels; "" if none.
	Level string
	// File and Line are where it was read; the first place, if it was given
	// more than once.
	File string
	Line int
}

// Levels are the severities that a list may give, the mildest first.
func Levels() []string { return []string{"informational", "low", "medium", "high", "critical"} }

// Hit is an indicator that an event holds, with the fields it was found in, in
// the order of the tables below.
type Hit struct {
	Indicator *Indicator
	Fields    []event.Field
}

// What is looked for where. The names are the taxonomy's and Defender's.
var (
	hashFields = []string{
		"Hashes", "Hash", "MD5", "md5", "SHA1", "sha1", "SHA256", "sha256", "FileHash", "Sha256Hash", "Imphash",
	}
	addressFields = []string{
		"DestinationIp", "SourceIp", "DestAddress", "SourceAddress", "IpAddress", "ClientAddress", "RemoteAddress", "QueryResults",
	}
	domainFields = []string{"QueryName", "DestinationHostname", "SourceHostname"}
	pathFields   = []string{
		"Image", "ParentImage", "TargetFilename", "ImageLoaded", "SourceImage", "TargetImage", "ImagePath", "ServiceFileName", "Path",
	}
	serviceFields = []string{"ServiceName", "TargetObject"}
	taskFields    = []string{"TaskName", "TargetObject", "TargetFilename"}
	signerFields  = []string{"Signature", "Signer"}
	textFields    = []string{
		"CommandLine", "ParentCommandLine", "ScriptBlockText", "Contents", "TaskContent", "Details", "ImagePath", "url", "Url", "RemoteName",
	}
)

// Match appends a Hit for every indicator found in e, ordered by kind and
// value, and returns dst. e must be normalised.
func (s *Set) Match(e *event.Event, dst []Hit) []Hit {
	start := len(dst)
	hit := func(i *Indicator, field, value string) {
		if i == nil {
			return
		}
		f := event.Field{Name: field, Value: value}
		for n := start; n < len(dst); n++ {
			if dst[n].Indicator == i {
				if !slices.Contains(dst[n].Fields, f) {
					dst[n].Fields = append(dst[n].Fields, f)
				}
				return
			}
		}
		dst = append(dst, Hit{i, []event.Field{f}})
	}
	if s.has(MD5) || s.has(SHA1) || s.has(SHA256) {
		each(e, hashFields, func(field, value string) {
			for _, h := range hashesIn(value) {
				hit(s.find(hashKind(h), h), field, value)
			}
		})
	}
	if s.has(IP) || s.has(Network) {
		each(e, addressFields, func(field, value string) {
			for _, part := range strings.FieldsFunc(value, func(r rune) bool { return r == ';' || r == ',' || r == ' ' }) {
				a, ok := address(part)
				if !ok {
					continue
				}
				hit(s.find(IP, a.String()), field, value)
				for _, l := range s.lengths {
					if l.Addr().Is4() == a.Is4() {
						if n, err := a.Prefix(l.Bits()); err == nil {
							hit(s.find(Network, n.String()), field, value)
						}
					}
				}
			}
		})
	}
	if s.has(Domain) {
		each(e, domainFields, func(field, value string) {
			s.domain(value, func(i *Indicator) { hit(i, field, value) })
		})
	}
	if s.has(Path) {
		each(e, pathFields, func(field, value string) { s.named(Path, value, field, value, hit) })
	}
	if s.has(FileName) {
		each(e, pathFields, func(field, value string) {
			s.named(FileName, value[strings.LastIndexAny(value, `\/`)+1:], field, value, hit)
		})
	}
	if s.has(Service) {
		each(e, serviceFields, func(field, value string) {
			name := value
			if field == "TargetObject" {
				_, rest, ok := cutFold(value, `\services\`)
				if name, _, _ = strings.Cut(rest, `\`); !ok {
					return
				}
			}
			s.named(Service, name, field, value, hit)
		})
	}
	if s.has(Task) {
		each(e, taskFields, func(field, value string) {
			name, ok := value, true
			switch field {
			case "TargetObject":
				_, name, ok = cutFold(value, `\schedule\taskcache\tree\`)
			case "TargetFilename":
				_, name, ok = cutFold(value, `\system32\tasks\`)
			}
			if !ok {
				return
			}
			s.named(Task, name, field, value, hit)
			if key, last := strings.LastIndexByte(name, '\\'), field == "TargetObject"; last && key >= 0 {
				s.named(Task, name[:key], field, value, hit) // the name ends in a value's
			}
		})
	}
	if s.has(Signer) {
		each(e, signerFields, func(field, value string) { s.named(Signer, value, field, value, hit) })
	}
	if s.has(URL) || s.has(Domain) {
		each(e, textFields, func(field, value string) {
			for _, u := range urlsIn(value) {
				hit(s.find(URL, u), field, value)
				if parsed, err := url.Parse(u); err == nil {
					s.domain(parsed.Hostname(), func(i *Indicator) { hit(i, field, value) })
				}
			}
		})
	}
	slices.SortFunc(dst[start:], func(a, b Hit) int {
		return cmp.Or(strings.Compare(string(a.Indicator.Kind), string(b.Indicator.Kind)), strings.Compare(a.Indicator.Value, b.Indicator.Value))
	})
	return dst
}

// named finds the indicator that a name equals, and those whose wildcards fit it.
func (s *Set) named(kind Kind, name, field, value string, hit func(*Indicator, string, string)) {
	hit(s.find(kind, name), field, value)
	if len(s.patterns[kind]) == 0 || len(name) > maxPatternText {
		return
	}
	low := matchForm(kind, name)
	for _, p := range s.patterns[kind] {
		if p.fits(low) {
			hit(s.indicator(p.number), field, value)
		}
	}
}

// cutFold is strings.Cut that ignores the case of sep, which is in lower case.
func cutFold(s, sep string) (before, after string, found bool) {
	for i := 0; i+len(sep) <= len(s); i++ {
		if strings.EqualFold(s[i:i+len(sep)], sep) {
			return s[:i], s[i+len(sep):], true
		}
	}
	return s, "", false
}

// each calls do with every value of the named fields, first as the taxonomy has
// them, then as recorded where that differs.
func each(e *event.Event, names []string, do func(field, value string)) {
	for _, name := range names {
		v, ok := e.Get(name)
		if ok && v != "" {
			do(name, v)
		}
		if raw, had := e.Data.Get(name); had && raw != "" && raw != v {
			do(name, raw)
		}
	}
}

// domain finds the indicators for a name and for each domain above it.
func (s *Set) domain(name string, found func(*Indicator)) {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	if len(name) > 255 {
		return
	}
	for {
		if i := s.find(Domain, name); i != nil {
			found(i)
		}
		_, rest, ok := strings.Cut(name, ".")
		if !ok {
			return
		}
		name = rest
	}
}

// maxHashes bounds the hashes taken from one field; Sysmon writes four.
const maxHashes = 16

// hashesIn returns the hashes of Sysmon's "MD5=…,SHA256=…" and of a bare hash.
// An import hash has the form of an MD5 and is none, so it is left out.
func hashesIn(value string) []string {
	var out []string
	for part := range strings.SplitSeq(value, ",") {
		name, h, ok := strings.Cut(part, "=")
		if !ok {
			name, h = "", part
		}
		h = strings.TrimSpace(h)
		if strings.EqualFold(strings.TrimSpace(name), "IMPHASH") || hashKind(h) == "" {
			continue
		}
		if out = append(out, h); len(out) == maxHashes {
			break
		}
	}
	return out
}

// hashKind tells a hash by its shape, "" if s is none.
func hashKind(s string) Kind {
	var kind Kind
	switch len(s) {
	case 32:
		kind = MD5
	case 40:
		kind = SHA1
	case 64:
		kind = SHA256
	default:
		return ""
	}
	for i := range len(s) {
		if c := s[i] | 0x20; (s[i] < '0' || s[i] > '9') && (c < 'a' || c > 'f') {
			return ""
		}
	}
	return kind
}

func address(s string) (netip.Addr, bool) {
	a, err := netip.ParseAddr(s)
	if err != nil {
		return a, false
	}
	return a.WithZone("").Unmap(), true
}

// maxURLs bounds the URLs taken from one field.
const maxURLs = 64

// urlsIn returns the URLs in a text, each in its normal form.
func urlsIn(text string) []string {
	var out []string
	for len(out) < maxURLs {
		i := strings.Index(text, "://")
		if i < 0 {
			break
		}
		start := i
		for start > 0 && letter(text[start-1]) {
			start--
		}
		end := i + 3
		for end < len(text) && strings.IndexByte(" \t\r\n\"'`<>(){}|\\^", text[end]) < 0 {
			end++
		}
		if u, ok := normalURL(strings.TrimRight(text[start:end], ".,;")); ok {
			out = append(out, u)
		}
		text = text[end:]
	}
	return out
}

func letter(c byte) bool { c |= 0x20; return c >= 'a' && c <= 'z' }

// normalURL writes scheme and host in lower case and leaves the rest alone; an
// empty path is "/".
func normalURL(s string) (string, bool) {
	scheme, rest, ok := strings.Cut(s, "://")
	scheme = strings.ToLower(scheme)
	if !ok || !slices.Contains([]string{"http", "https", "ftp", "ftps", "tcp", "udp", "ws", "wss", "stratum+tcp", "stratum+ssl"}, scheme) {
		return "", false
	}
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	host, tail := strings.ToLower(rest[:end]), rest[end:]
	if host == "" {
		return "", false
	}
	if tail == "" || tail[0] != '/' {
		tail = "/" + tail
	}
	return scheme + "://" + host + tail, true
}
