// Package ruletest reads and runs rule tests: raw records in, rules expected.
// The language is described in docs/formats/rule-tests.md.
//
// Parse reads a .test file, Run runs it on an engine, Missing says which sorts
// of test the rules of an engine still lack, Fired what a test's events set off.
// All four are pure functions of their arguments.
package ruletest

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"ashiato/internal/event"
)

// Bounds on test files.
const (
	maxFileSize = 4 << 20
	maxEvents   = 10_000
)

// Sort is what a test is for.
type Sort string

// The sorts. Each rule file needs at least one test of each.
const (
	Positive Sort = "positive"  // the behaviour: the rule fires
	NearMiss Sort = "near-miss" // almost the behaviour: it does not
	Benign   Sort = "benign"    // what honest software does: it does not
)

// Sorts returns the sorts in the order of their declaration.
func Sorts() []Sort { return []Sort{Positive, NearMiss, Benign} }

// File is a parsed test file.
type File struct {
	Name  string
	Tests []Test
}

// Test is one test.
type Test struct {
	Sort Sort
	Name string
	Line int
	// Events are raw records: not normalised.
	Events []*event.Event
	// Expect names the rules that must fire; empty for "expect none".
	Expect []Expectation
}

// Expectation is one expect line.
type Expectation struct {
	Name string
	Line int
}

// Error is a line of a test file that is not right.
type Error struct {
	File string
	Line int
	Msg  string
}

// Error returns "file:line: message".
func (e *Error) Error() string { return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Msg) }

// begin is the time of a test's first event unless it says another; each
// further one is a second later.
var begin = time.Date(2026, 1, 31, 10, 0, 0, 0, time.UTC)

// channels are the usual logs of providers.
var channels = map[string]string{
	"Microsoft-Windows-Sysmon":                                   "Microsoft-Windows-Sysmon/Operational",
	"Ashiato-Sensor":                                             "Ashiato-Sensor/Operational",
	"Microsoft-Windows-Security-Auditing":                        "Security",
	"Linux-Sysmon":                                               "Linux-Sysmon/Operational",
	"auditd":                                                     "auditd",
	"Microsoft-Windows-Eventlog":                                 "Security",
	"Service Control Manager":                                    "System",
	"Microsoft-Windows-TaskScheduler":                            "Microsoft-Windows-TaskScheduler/Operational",
	"Microsoft-Windows-Windows Defender":                         "Microsoft-Windows-Windows Defender/Operational",
	"Microsoft-Windows-PowerShell":                               "Microsoft-Windows-PowerShell/Operational",
	"PowerShellCore":                                             "PowerShellCore/Operational",
	"PowerShell":                                                 "Windows PowerShell",
	"Microsoft-Windows-Partition":                                "Microsoft-Windows-Partition/Diagnostic",
	"Microsoft-Windows-Kernel-PnP":                               "Microsoft-Windows-Kernel-PnP/Configuration",
	"Microsoft-Windows-DriverFrameworks-UserMode":                "Microsoft-Windows-DriverFrameworks-UserMode/Operational",
	"Microsoft-Windows-WMI-Activity":                             "Microsoft-Windows-WMI-Activity/Operational",
	"Microsoft-Windows-Bits-Client":                              "Microsoft-Windows-Bits-Client/Operational",
	"Microsoft-Windows-DNS-Client":                               "Microsoft-Windows-DNS-Client/Operational",
	"Microsoft-Windows-CodeIntegrity":                            "Microsoft-Windows-CodeIntegrity/Operational",
	"Microsoft-Windows-NTLM":                                     "Microsoft-Windows-NTLM/Operational",
	"Microsoft-Windows-TerminalServices-LocalSessionManager":     "Microsoft-Windows-TerminalServices-LocalSessionManager/Operational",
	"Microsoft-Windows-TerminalServices-RemoteConnectionManager": "Microsoft-Windows-TerminalServices-RemoteConnectionManager/Operational",
	"Microsoft-Windows-Windows Firewall With Advanced Security":  "Microsoft-Windows-Windows Firewall With Advanced Security/Firewall",
	"MsiInstaller":                                               "Application",
}

// Parse reads a test file. Every line that is not right is an *Error; the tests
// that have one are left out.
func Parse(name string, data []byte) (*File, []error) {
	p := parser{file: &File{Name: name}}
	switch {
	case len(data) > maxFileSize:
		p.fail(1, "the file is larger than %d bytes", maxFileSize)
		return p.file, p.errs
	case !utf8.Valid(data):
		p.fail(1, "the file is not UTF-8 text")
		return p.file, p.errs
	}
	text := strings.TrimPrefix(string(data), "\uFEFF")
	n := 0
	for line := range strings.SplitSeq(text, "\n") {
		n++
		p.line(n, strings.TrimSuffix(line, "\r"))
	}
	p.end()
	if len(p.file.Tests) == 0 && len(p.errs) == 0 {
		p.fail(1, "the file holds no test")
	}
	return p.file, p.errs
}

type parser struct {
	file   *File
	errs   []error
	test   *Test
	faults int // of p.errs, before the test
	none   bool
	events int
	names  map[string]int
}

func (p *parser) fail(line int, format string, args ...any) {
	p.errs = append(p.errs, &Error{p.file.Name, line, fmt.Sprintf(format, args...)})
}

func (p *parser) line(n int, line string) {
	word := strings.TrimSpace(line)
	if word == "" || word[0] == '#' {
		return
	}
	if line[0] == ' ' || line[0] == '\t' {
		p.field(n, word)
		return
	}
	verb, rest, _ := strings.Cut(word, " ")
	rest = strings.TrimSpace(rest)
	if verb != "test" && p.test == nil {
		p.fail(n, "%s stands before the first test", strconv.Quote(verb))
		return
	}
	switch verb {
	case "test":
		p.end()
		p.begin(n, rest)
	case "event":
		p.event(n, rest)
	case "expect":
		p.expect(n, rest)
	default:
		p.fail(n, "unknown word %q: a line begins with test, event or expect, or is an indented field", verb)
	}
}

func (p *parser) begin(n int, rest string) {
	p.faults, p.none = len(p.errs), false
	p.test = &Test{Line: n}
	sort, quoted, _ := strings.Cut(rest, " ")
	p.test.Sort = Sort(sort)
	if !slices.Contains(Sorts(), p.test.Sort) {
		p.fail(n, "unknown sort of test %q: use positive, near-miss or benign", sort)
	}
	name, err := strconv.Unquote(strings.TrimSpace(quoted))
	if err != nil || name == "" {
		p.fail(n, "the test needs a name in quotes, not %s", strings.TrimSpace(quoted))
	}
	if p.names == nil {
		p.names = map[string]int{}
	}
	if first := p.names[name]; first > 0 && err == nil {
		p.fail(n, "line %d has a test of the same name", first)
	}
	p.names[name] = n
	p.test.Name = name
}

// end checks the test that is open and keeps it if it is right.
func (p *parser) end() {
	t := p.test
	if t == nil {
		return
	}
	p.test = nil
	switch {
	case len(t.Events) == 0:
		p.fail(t.Line, "the test %q has no event", t.Name)
	case len(t.Expect) == 0 && !p.none:
		p.fail(t.Line, "the test %q expects nothing: write expect none if no rule is to fire", t.Name)
	case len(t.Expect) > 0 && p.none:
		p.fail(t.Line, "the test %q expects both none and rules", t.Name)
	case t.Sort == Positive && p.none:
		p.fail(t.Line, "the positive test %q must expect a rule", t.Name)
	case (t.Sort == NearMiss || t.Sort == Benign) && !p.none:
		p.fail(t.Line, "the %s test %q must expect none", t.Sort, t.Name)
	}
	if len(p.errs) == p.faults {
		p.file.Tests = append(p.file.Tests, *t)
	}
}

func (p *parser) expect(n int, rest string) {
	name, after, err := token(rest)
	if err != nil || name == "" || after != "" {
		p.fail(n, "expect takes one rule, or none")
		return
	}
	if name == "none" {
		p.none = true
		return
	}
	p.test.Expect = append(p.test.Expect, Expectation{name, n})
}

// token takes a word or a Go string literal from the start of s.
func token(s string) (word, rest string, err error) {
	if s != "" && (s[0] == '"' || s[0] == '`') {
		prefix, err := strconv.QuotedPrefix(s)
		if err != nil {
			return "", "", err
		}
		word, err = strconv.Unquote(prefix)
		return word, s[len(prefix):], err
	}
	end := strings.IndexAny(s, " \t")
	if end < 0 {
		end = len(s)
	}
	return s[:end], s[end:], nil
}

func (p *parser) event(n int, rest string) {
	if p.events++; p.events > maxEvents {
		p.fail(n, "the file has more than %d events", maxEvents)
		return
	}
	e := &event.Event{Host: "TEST", Logged: begin.Add(time.Duration(len(p.test.Events)) * time.Second)}
	p.test.Events = append(p.test.Events, e)
	var id string
	if rest != "" && (rest[0] == '"' || rest[0] == '`') {
		provider, after, err := token(rest)
		if err != nil || !strings.HasPrefix(after, "/") {
			p.fail(n, "event needs a provider and an id, as in \"Service Control Manager\"/7045")
			return
		}
		e.Provider = provider
		id, rest, _ = token(after[1:])
	} else {
		var word string
		word, rest, _ = token(rest)
		slash := strings.LastIndexByte(word, '/')
		if slash <= 0 {
			p.fail(n, "event needs a provider and an id, as in Microsoft-Windows-Sysmon/1; a provider with blanks is put in quotes")
			return
		}
		e.Provider, id = word[:slash], word[slash+1:]
	}
	if e.Provider == "" {
		p.fail(n, "the provider has no name")
		return
	}
	number, err := strconv.ParseUint(id, 10, 32)
	if err != nil {
		p.fail(n, "%q is no event id", id)
		return
	}
	e.ID = uint32(number)
	e.Channel = channels[e.Provider]
	for {
		rest = strings.TrimLeft(rest, " \t")
		if rest == "" || rest[0] == '#' {
			break
		}
		key, after, ok := strings.Cut(rest, "=")
		if !ok {
			p.fail(n, "%q is not KEY=VALUE", rest)
			return
		}
		var value string
		if value, rest, err = token(after); err != nil {
			p.fail(n, "the value of %s is not a whole quoted text", key)
			return
		}
		if err := set(e, key, value); err != nil {
			p.fail(n, "%v", err)
			return
		}
	}
	if e.Channel == "" {
		p.fail(n, "the provider %q has no usual channel here: add channel=…", e.Provider)
	}
	e.Time = e.Logged
	e.Ref = event.EvidenceRef{Host: e.Host, Channel: e.Channel, RecordID: uint64(len(p.test.Events)), File: p.file.Name, Offset: int64(n)}
}

func set(e *event.Event, key, value string) error {
	number := func(bits int) (uint64, error) {
		n, err := strconv.ParseUint(value, 0, bits)
		if err != nil {
			return 0, fmt.Errorf("%s needs a number of at most %d bits, not %q", key, bits, value)
		}
		return n, nil
	}
	var n uint64
	var err error
	switch key {
	case "channel":
		e.Channel = value
	case "computer":
		e.Host = value
	case "sid":
		e.UserSID = value
	case "at":
		d, err := offset(value)
		if err != nil {
			return err
		}
		e.Logged = begin.Add(d)
	case "time":
		if e.Logged, err = time.Parse(time.RFC3339Nano, value); err != nil {
			return fmt.Errorf("time needs the form 2026-01-31T10:00:00Z, not %q", value)
		}
	case "level":
		n, err = number(8)
		e.Level = uint8(n)
	case "opcode":
		n, err = number(8)
		e.Opcode = uint8(n)
	case "version":
		n, err = number(8)
		e.Version = uint8(n)
	case "task":
		n, err = number(16)
		e.Task = uint16(n)
	case "keywords":
		n, err = number(64)
		e.Keywords = n
	default:
		return fmt.Errorf("unknown key %q: known are at, channel, computer, time, sid, level, opcode, task, keywords, version", key)
	}
	return err
}

// offset reads the value of at: a time after the test's begin, such as +10s,
// +1m30s or +2d.
func offset(value string) (time.Duration, error) {
	bad := fmt.Errorf("at needs the form +10s, +1m30s or +2d, not %q", value)
	number, ok := strings.CutPrefix(value, "+")
	if !ok {
		return 0, bad
	}
	if days, ok := strings.CutSuffix(number, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		if err != nil {
			return 0, bad
		}
		return time.Duration(n) * 24 * time.Hour, nil
	}
	d, err := time.ParseDuration(number)
	if err != nil || d < 0 {
		return 0, bad
	}
	return d, nil
}

func (p *parser) field(n int, line string) {
	if p.test == nil || len(p.test.Events) == 0 {
		p.fail(n, "a field must follow an event")
		return
	}
	name, value, ok := strings.Cut(line, ":")
	name = strings.TrimSpace(name)
	if !ok || name == "" {
		p.fail(n, "a field has the form NAME: VALUE")
		return
	}
	value = strings.TrimSpace(value)
	if value != "" && (value[0] == '"' || value[0] == '`') {
		text, err := strconv.Unquote(value)
		if err != nil {
			p.fail(n, "the value of %s begins with a quote and is not a Go string: put the whole value in backquotes", name)
			return
		}
		value = text
	}
	e := p.test.Events[len(p.test.Events)-1]
	e.Data = append(e.Data, event.Field{Name: name, Value: value})
}
