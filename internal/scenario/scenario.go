package scenario

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/tools/txtar"
)

// Scenario is a parsed description, ready to be varied with Set and built.
type Scenario struct {
	// Name is the file's name as given to Parse.
	Name string
	// Title is the file's own one-line title.
	Title string
	// Expect is what an analysis of the records should find.
	Expect Expect

	lib        *library
	start      time.Time
	seed       uint64
	logs       []string
	old        bool
	language   string
	stretch    float64
	shuffle    bool
	losePermil int
	vars       []variable
	hosts      []*hostSpec
	volumes    []*volumeSpec
	contents   []*contentSpec
	steps      []*step
	background background
	jitter     float64 // by which share a pause of the steps may differ

	identity string // what made-up contents are made from, beside their names
	comment  string
	parts    []part     // the resolved lines, for writing the scenario down
	varied   []variable // the vary section
	choices  []Chosen
}

// Expect is the expect section: what should come out of an analysis, for tests.
type Expect struct {
	// Incidents is how many incidents have at least the severity AtLeast
	// (Sigma's word); -1 if the scenario does not say.
	Incidents int
	AtLeast   string
	// Root is the kind of the root cause, such as "volume".
	Root string
	// Hosts are the hosts of the incident, by their recorded names.
	Hosts []string
	// Aliases are detection names that must be among the detections' aliases.
	Aliases []string
	// Behaviours are behaviours that must be detected.
	Behaviours []string
	// Steps are the step numbers that must be in the picture.
	Steps []int
	// Hashes are MD5 sums that must match as indicators.
	Hashes []string
}

// variable is a line of the vars section or of an activity's let.
type variable struct {
	place
	name, op, arg string
}

type hostSpec struct {
	place
	id     string
	values []setting
}

type volumeSpec struct {
	place
	id     string
	values []setting
	files  []setting // path → content
}

type contentSpec struct {
	place
	name   string
	values []setting
}

// everywhere reports whether the content is the same file in every scenario that
// has one of its name: a published hash names it, or the scenario says so. Any
// other is the scenario's own, and another one with every seed.
func (c *contentSpec) everywhere() bool {
	return slices.ContainsFunc(c.values, func(v setting) bool {
		return v.key == "md5" || v.key == "sha1" || v.key == "sha256" || v.key == "shared" && v.value == "yes"
	})
}

type background struct {
	place
	count    int
	from, to time.Duration
	hosts    []string
	with     []string // sets of activities beside those of everywhere
	without  []string
}

// step is one abstract step, or a group of steps.
type step struct {
	place
	verb *verbSpec
	// subject is what the verb is about: the handle of the process that a start
	// brings forth, the path that a write writes.
	subject string
	delay   time.Duration
	at      bool // delay counts from the scenario's start
	host    string
	label   Label
	times   int
	every   time.Duration
	lost    []string
	root    string // the kind of the root cause that it shows, if it does
	values  []setting

	steps []*step // of a group
	free  bool    // their order is
}

// Label says what a record stands for: the truth that tests compare with, never
// part of a record.
type Label struct {
	// Step is the number in the design of the incident, 0 for none.
	Step int
	// Attack is false for everything the background and benign steps wrote.
	Attack bool
	// Instance numbers the background's activities from 1: records with one number
	// belong together. It is 0 for the scenario's own steps.
	Instance int
	// Text is the step's heading in the scenario, or the activity's name.
	Text string
	// Verb and Subject are the step's own words; Line is where it stands.
	Verb, Subject string
	Line          int
}

// section is one file of the archive with the line its text begins on.
type section struct {
	name string
	line int
	text string
}

// sections splits a txtar archive as package txtar does and keeps line numbers.
func sections(data []byte) (comment string, list []section) {
	archive := txtar.Parse(data)
	at := 1 + bytes.Count(archive.Comment, []byte("\n")) + 1
	for _, f := range archive.Files {
		list = append(list, section{f.Name, at, string(f.Data)})
		at += bytes.Count(f.Data, []byte("\n")) + 1
	}
	return string(archive.Comment), list
}

// maxSize bounds a scenario file; maxTimes and maxBackground what it may ask for.
const (
	maxSize       = 4 << 20
	maxTimes      = 10_000
	maxBackground = 1_000_000
	maxDelay      = 366 * 24 * time.Hour
)

// Parse reads a scenario as it stands, of each choice the first case. Every case
// is read, so that a mistake in one shows whatever is chosen. Errors name the file
// and line.
func Parse(name string, data []byte) (*Scenario, error) {
	f, err := openFile(name, data)
	if err != nil {
		return nil, err
	}
	for n := f.deepest() - 1; n > 0; n-- {
		if _, err := f.read(nth(n), nil); err != nil {
			return nil, err
		}
	}
	return f.read(first, nil)
}

func (s *Scenario) readSettings(lines []*line) error {
	for _, l := range lines {
		if err := s.set(l.place, l.word, l.rest); err != nil {
			return err
		}
	}
	return nil
}

// set changes one setting.
func (s *Scenario) set(p place, name, value string) error {
	var err error
	switch name {
	case "start":
		if s.start, err = time.Parse(time.RFC3339Nano, value); err != nil {
			return p.errorf("start wants a time such as 2026-03-02T01:10:00Z, not %q", value)
		}
		s.start = s.start.UTC()
	case "seed":
		if s.seed, err = strconv.ParseUint(value, 0, 64); err != nil {
			return p.errorf("seed wants a number, not %q", value)
		}
	case "telemetry":
		var ok bool
		if s.logs, ok = s.lib.telemetry(value); !ok {
			return p.errorf("unknown log in %q: want all, %s", value, strings.Join(s.lib.logNames, ", "))
		}
	case "records":
		switch value {
		case "newest", "old":
			s.old = value == "old"
		default:
			return p.errorf("records wants newest or old, not %q", value)
		}
	case "language":
		if _, ok := s.lib.words[value]; !ok && value != "en" {
			return p.errorf("unknown Windows language %q: want %s", value, s.lib.languages())
		}
		s.language = value
	case "stretch":
		if s.stretch, err = strconv.ParseFloat(value, 64); err != nil || s.stretch <= 0 || s.stretch > 1000 {
			return p.errorf("stretch wants a factor between 0 and 1000, not %q", value)
		}
	case "shuffle":
		if value != "yes" && value != "no" {
			return p.errorf("shuffle wants yes or no, not %q", value)
		}
		s.shuffle = value == "yes"
	case "jitter":
		percent, err := strconv.ParseUint(value, 10, 8)
		if err != nil || percent > 95 {
			return p.errorf("jitter wants a percentage up to 95, not %q", value)
		}
		s.jitter = float64(percent) / 100
	case "identity":
		if value == "" {
			return p.errorf("identity wants a name")
		}
		s.identity = value
	case "lose":
		if s.losePermil, err = strconv.Atoi(value); err != nil || s.losePermil < 0 || s.losePermil > 1000 {
			return p.errorf("lose wants records per thousand, not %q", value)
		}
	case "background":
		if s.background.count, err = strconv.Atoi(value); err != nil || s.background.count < 0 || s.background.count > maxBackground {
			return p.errorf("background wants a number of records up to %d, not %q", maxBackground, value)
		}
	default:
		return p.errorf("unknown setting %q", name)
	}
	return nil
}

// settingNames are the settings.
var settingNames = []string{
	"start", "seed", "identity", "telemetry", "records", "language", "stretch", "jitter", "shuffle", "lose", "background",
}

// Set changes a variable or a setting of the scenario: the name of a vars line,
// or one of start, seed, identity, telemetry, records, language, stretch, jitter,
// shuffle, lose and background. It is how a scenario is varied without editing it.
func (s *Scenario) Set(name, value string) error {
	found := false
	for i := range s.vars { // a later line of the same name gives it another value
		if s.vars[i].name == name {
			s.vars[i].op, s.vars[i].arg = "=", value
			found = true
		}
	}
	if found {
		return nil
	}
	return s.set(place{s.Name, 0}, name, value)
}

func parseVariable(l *line, name, rest string) (variable, error) {
	v := variable{place: l.place, name: name}
	v.op, v.arg, _ = strings.Cut(rest, " ")
	v.arg = strings.TrimLeft(v.arg, " ")
	switch v.op {
	case "=", "in":
	case "digits", "letters", "hexdigits", "from":
	default:
		return v, l.errorf("variable %q: want = VALUE, in A | B | C, digits N, letters N, hexdigits N or from LOW-HIGH", name)
	}
	return v, nil
}

func (s *Scenario) readVars(lines []*line) error {
	for _, l := range lines {
		v, err := parseVariable(l, l.word, l.rest)
		if err != nil {
			return err
		}
		s.vars = append(s.vars, v)
	}
	return nil
}

func settings(lines []*line) []setting {
	var list []setting
	for _, l := range lines {
		list = append(list, setting{l.place, l.word, l.value()})
	}
	return list
}

// known complains about a key that is not in the list.
func known(list []setting, keys ...string) error {
	for _, v := range list {
		if !slices.Contains(keys, v.key) {
			return v.errorf("unknown key %q: want %s", v.key, strings.Join(keys, ", "))
		}
	}
	return nil
}

func (s *Scenario) readHosts(lines []*line) error {
	for _, l := range lines {
		if l.word != "host" || l.rest == "" {
			return l.errorf("want: host ID")
		}
		h := &hostSpec{l.place, l.rest, settings(l.kids)}
		if err := known(h.values, "name", "domain", "dnsdomain", "user", "sid", "boot", "bootid", "machine", "address", "luid", "elevatedluid", "logs", "system"); err != nil {
			return err
		}
		if slices.ContainsFunc(s.hosts, func(o *hostSpec) bool { return o.id == h.id }) {
			return l.errorf("host %q occurs twice", h.id)
		}
		s.hosts = append(s.hosts, h)
	}
	return nil
}

func (s *Scenario) readVolumes(lines []*line) error {
	for _, l := range lines {
		if l.word != "volume" || l.rest == "" {
			return l.errorf("want: volume ID")
		}
		v := &volumeSpec{place: l.place, id: l.rest}
		for _, k := range l.kids {
			if k.word == "holds" {
				path, content, ok := strings.Cut(k.rest, " = ")
				if !ok {
					return k.errorf(`want: holds \PATH = CONTENT`)
				}
				v.files = append(v.files, setting{k.place, strings.TrimSpace(path), strings.TrimSpace(content)})
				continue
			}
			v.values = append(v.values, setting{k.place, k.word, k.value()})
		}
		if err := known(v.values, "vendor", "product", "revision", "serial", "vid", "pid", "capacity", "volumeserial", "label", "bus", "audited"); err != nil {
			return err
		}
		s.volumes = append(s.volumes, v)
	}
	return nil
}

func (s *Scenario) readContents(lines []*line) error {
	for _, l := range lines {
		if l.word != "content" || l.rest == "" {
			return l.errorf("want: content NAME")
		}
		c := &contentSpec{l.place, l.rest, settings(l.kids)}
		if err := known(c.values, "md5", "sha1", "sha256", "imphash", "program", "shared", "signed", "signer", "status", "fileversion", "description", "product", "company", "originalname",
			"target", "arguments", "workdir", "icon"); err != nil {
			return err
		}
		s.contents = append(s.contents, c)
	}
	return nil
}

func (s *Scenario) readSteps(lines []*line) error {
	r := stepReader{lib: s.lib, label: Label{Attack: true}}
	var err error
	s.steps, err = r.read(lines, 0)
	return err
}

// stepReader reads steps with what "on" and "step" say of those that follow.
type stepReader struct {
	lib   *library
	host  string
	label Label
}

// maxNesting bounds how deep groups of steps stand in each other.
const maxNesting = 20

func (r *stepReader) read(lines []*line, depth int) ([]*step, error) {
	var steps []*step
	for _, l := range lines {
		switch l.word {
		case "on":
			r.host = l.rest
		case "step":
			number, text, _ := strings.Cut(l.rest, " ")
			n, err := strconv.Atoi(number)
			if err != nil || n < 0 {
				return nil, l.errorf("step wants its number, not %q", number)
			}
			text, benign := strings.CutPrefix(strings.TrimSpace(text), "benign")
			r.label = Label{Step: n, Attack: !benign, Text: strings.TrimSpace(text)}
		case "any", "group":
			if l.rest != "" {
				return nil, l.errorf("%s stands alone, not before %q", l.word, l.rest)
			}
			if depth == maxNesting {
				return nil, l.errorf("groups of steps are nested more than %d deep", maxNesting)
			}
			// What is said of the steps of a group does not hold after it, since
			// nobody knows what comes after it.
			inside := *r
			kids, err := inside.read(l.kids, depth+1)
			if err != nil {
				return nil, err
			}
			st := &step{place: l.place, steps: kids, free: l.word == "any"}
			if len(kids) > 0 {
				steps = append(steps, st)
			}
		default:
			st, err := r.lib.parseStep(l)
			if err != nil {
				return nil, err
			}
			if st.host == "" {
				st.host = r.host
			}
			st.label = r.label
			steps = append(steps, st)
		}
	}
	return steps, nil
}

func (s *Scenario) readBackground(lines []*line) error {
	b := &s.background
	b.count, b.to = 2000, time.Hour
	for _, l := range lines {
		b.place = l.place
		var err error
		switch l.word {
		case "count":
			err = s.set(l.place, "background", l.rest)
		case "from":
			b.from, err = time.ParseDuration(l.rest)
		case "to":
			b.to, err = time.ParseDuration(l.rest)
		case "hosts":
			b.hosts = strings.Fields(l.rest)
		case "with":
			b.with = append(b.with, strings.Fields(l.rest)...)
			for _, w := range b.with {
				if !slices.ContainsFunc(s.lib.activities, func(a *activity) bool { return a.set == w }) {
					return l.errorf("unknown set of activities %q", w)
				}
			}
		case "without":
			b.without = append(b.without, strings.Fields(l.rest)...)
			for _, w := range b.without {
				if !slices.ContainsFunc(s.lib.activities, func(a *activity) bool { return a.name == w }) {
					return l.errorf("unknown activity %q", w)
				}
			}
		default:
			return l.errorf("unknown word %q: want count, from, to, hosts, with or without", l.word)
		}
		if err != nil {
			return l.errorf("%s: bad value %q", l.word, l.rest)
		}
	}
	switch {
	case b.from < -maxDelay || b.to > maxDelay:
		return b.errorf("the background is more than a year away")
	case b.to <= b.from:
		return b.errorf("the background ends before it begins")
	}
	return nil
}

func (s *Scenario) readExpect(lines []*line) error {
	x := &s.Expect
	for _, l := range lines {
		switch l.word {
		case "incidents":
			number, level, _ := strings.Cut(l.rest, " at-least ")
			n, err := strconv.Atoi(strings.TrimSpace(number))
			if err != nil || n < 0 {
				return l.errorf("want: incidents N at-least SEVERITY")
			}
			x.Incidents, x.AtLeast = n, strings.TrimSpace(level)
		case "root":
			x.Root = l.rest
		case "host":
			x.Hosts = append(x.Hosts, l.rest)
		case "alias":
			x.Aliases = append(x.Aliases, l.rest)
		case "behaviour":
			x.Behaviours = append(x.Behaviours, l.rest)
		case "hash":
			x.Hashes = append(x.Hashes, l.rest)
		case "steps":
			for _, w := range strings.Fields(l.rest) {
				n, err := strconv.Atoi(w)
				if err != nil {
					return l.errorf("steps wants numbers, not %q", w)
				}
				x.Steps = append(x.Steps, n)
			}
		default:
			return l.errorf("unknown word %q: want incidents, root, host, alias, behaviour, hash or steps", l.word)
		}
	}
	return nil
}

// parseStep reads "+DELAY VERB NAME" with its keys.
func (lib *library) parseStep(l *line) (*step, error) {
	st := &step{place: l.place, times: 1}
	if len(l.word) < 2 || l.word[0] != '+' && l.word[0] != '@' {
		return nil, l.errorf("unknown word %q: a step begins with +DELAY, such as +1.5s, or @TIME after the start", l.word)
	}
	d, err := time.ParseDuration(l.word[1:])
	if err != nil {
		return nil, l.errorf("bad delay %q: want such as +1.5s or +20ms", l.word)
	}
	if d < 0 || d > maxDelay {
		return nil, l.errorf("a step cannot go back in time or wait for more than a year (%s)", l.word)
	}
	st.delay, st.at = d, l.word[0] == '@'
	verb, subject, _ := strings.Cut(l.rest, " ")
	if st.verb = lib.verbs[verb]; st.verb == nil {
		return nil, l.errorf("unknown verb %q", verb)
	}
	st.subject = strings.TrimSpace(subject)
	for _, k := range l.kids {
		if len(k.kids) > 0 {
			return nil, k.kids[0].errorf("%q has no keys of its own", k.word)
		}
		switch k.word {
		case "repeat":
			n, err := k.number(32)
			if err != nil {
				return nil, err
			}
			if n < 1 || n > maxTimes {
				return nil, k.errorf("repeat wants 1 to %d", maxTimes)
			}
			st.times = int(n)
		case "every":
			if st.every, err = time.ParseDuration(k.rest); err != nil || st.every < 0 {
				return nil, k.errorf("bad duration %q", k.rest)
			}
		case "on":
			st.host = k.rest
		case "root":
			if st.root = k.rest; !slices.Contains(rootKinds, st.root) {
				return nil, k.errorf("unknown root %q: want %s", st.root, strings.Join(rootKinds, ", "))
			}
		case "lost":
			st.lost = strings.Fields(k.rest)
			for _, log := range st.lost {
				if lib.logs[log] == nil {
					return nil, k.errorf("unknown log %q", log)
				}
			}
		default:
			if !st.verb.knows(k.word) {
				return nil, k.errorf("%s has no key %q", verb, k.word)
			}
			st.values = append(st.values, setting{k.place, k.word, k.value()})
		}
	}
	if st.verb.subject != "" {
		if st.subject == "" {
			return nil, l.errorf("%s needs its %s: +DELAY %s %s", verb, st.verb.subject, verb, strings.ToUpper(st.verb.subject))
		}
	} else if st.subject != "" {
		return nil, l.errorf("%s stands alone, not before %q", verb, st.subject)
	}
	for _, need := range st.verb.need {
		if !slices.ContainsFunc(st.values, func(v setting) bool { return v.key == need }) {
			return nil, l.errorf("%s needs %s", verb, need)
		}
	}
	return st, nil
}
