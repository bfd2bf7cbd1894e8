package scenario

import (
	"embed"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// The templates are data: what a record looks like, what a step leaves behind,
// what runs on every host, what people and programs do all day.
//
//go:embed templates/*.txt
var templates embed.FS

// logSpec is what the records of one log have in common.
type logSpec struct {
	name, provider, channel string
	level                   uint8
	keywords                uint64
	writer, userID          string
	latency                 time.Duration
	linux                   bool // hosts of Linux write it, others do not
}

// fieldSpec is one field of a record template.
type fieldSpec struct {
	place
	name, value string
	newer       bool
}

// recordSpec is the template of one record.
type recordSpec struct {
	place
	name                string
	log                 *logSpec
	id                  uint32
	version, oldVersion uint8
	level, opcode       uint8
	task                uint16
	writer, userID      string
	fields              []fieldSpec
}

// setting is a key with its unexpanded value.
type setting struct {
	place
	key, value string
}

// emission is one record that a step leaves.
type emission struct {
	place
	record *recordSpec
	after  time.Duration
	there  bool   // on the other host of the step
	actor  string // "" for the step's own
	when   string // "" for always
	values []setting
}

// verbSpec is what a step of that name needs and leaves.
type verbSpec struct {
	place
	name     string
	subject  string // the key that the rest of the heading gives, "" for none
	between  bool   // it takes place between two hosts: "to" names the other
	need     []string
	may      []string
	defaults []setting
	emits    []emission
}

func (v *verbSpec) knows(key string) bool {
	return slices.Contains(v.need, key) || slices.Contains(v.may, key) || v.hasDefault(key)
}

func (v *verbSpec) hasDefault(key string) bool {
	return slices.ContainsFunc(v.defaults, func(d setting) bool { return d.key == key })
}

// imageSpec is the version information of a well-known program or module.
type imageSpec struct {
	version, description, product, company, original, signer string
}

// activity is a piece of everyday life: steps that the background repeats.
type activity struct {
	place
	name   string
	set    string // "" for what happens everywhere, else what a background asks for
	peer   bool   // it needs a second host
	linux  bool   // it is of hosts of Linux; others are of Windows
	weight int
	let    []*line
	steps  []*step
	least  int // records it leaves at least, in all logs together
}

// library is the parsed templates.
type library struct {
	logs       map[string]*logSpec
	logNames   []string
	records    map[string]*recordSpec
	verbs      map[string]*verbSpec
	images     map[string]imageSpec
	boot       []*step
	linuxBoot  []*step // of hosts of Linux
	activities []*activity
	varied     []variable                   // what varies in every scenario
	words      map[string]map[string]string // language, English word → that language's
}

var loadLibrary = sync.OnceValues(func() (*library, error) {
	lib := &library{
		logs:    map[string]*logSpec{},
		records: map[string]*recordSpec{},
		verbs:   map[string]*verbSpec{},
		images:  map[string]imageSpec{},
		words:   map[string]map[string]string{},
	}
	for _, part := range []struct {
		file string
		read func(*line) error
	}{
		{"logs.txt", lib.readLog},
		{"records.txt", lib.readRecord},
		{"verbs.txt", lib.readVerb},
		{"images.txt", lib.readImage},
		{"words.txt", lib.readWord},
		{"boot.txt", lib.readBoot},
		{"boot-linux.txt", lib.readLinuxBoot},
		{"benign.txt", lib.readActivity},
		{"benign-linux.txt", lib.readActivity},
		{"managed.txt", lib.readActivity},
		{"vary.txt", lib.readVaried},
	} {
		text, err := templates.ReadFile("templates/" + part.file)
		if err != nil {
			return nil, err
		}
		lines, err := parseLines("templates/"+part.file, 1, string(text))
		if err != nil {
			return nil, err
		}
		for _, l := range lines {
			if err := part.read(l); err != nil {
				return nil, err
			}
		}
	}
	return lib, nil
})

// sensorLog is the log that Windows does not write.
const sensorLog = "sensor"

// windowsLogs are the logs that Windows and Sysmon write: what is kept unless a
// scenario says otherwise, and what "all" means.
func (lib *library) windowsLogs() []string {
	return slices.DeleteFunc(slices.Clone(lib.logNames), func(n string) bool { return n == sensorLog })
}

// linuxLogs are the logs of Linux that stand for Windows logs: who keeps Sysmon's
// keeps Sysmon for Linux's there, and the audit log is what Security is here.
var linuxLogs = map[string]string{"sysmon": "linuxsysmon", "security": "audit"}

// telemetry reads a list of logs, in which "all" stands for Windows' own; ok is
// false if it names one that is not known.
func (lib *library) telemetry(value string) (logs []string, ok bool) {
	for _, name := range strings.Fields(value) {
		switch {
		case name == "all":
			logs = append(logs, lib.windowsLogs()...)
		case slices.Contains(lib.logNames, name):
			logs = append(logs, name)
		default:
			return nil, false
		}
	}
	return logs, true
}

// number reads an unsigned number of at most bits bits, decimal or 0x….
func (l *line) number(bits int) (uint64, error) {
	n, err := strconv.ParseUint(l.rest, 0, bits)
	if err != nil {
		return 0, l.errorf("%s wants a number, not %q", l.word, l.rest)
	}
	return n, nil
}

func (lib *library) readLog(l *line) error {
	if l.word != "log" {
		return l.errorf("unknown word %q: want log", l.word)
	}
	if lib.logs[l.rest] != nil {
		return l.errorf("log %s occurs twice", l.rest)
	}
	s := &logSpec{name: l.rest}
	for _, k := range l.kids {
		var n uint64
		var err error
		switch k.word {
		case "provider":
			s.provider = k.rest
		case "channel":
			s.channel = k.rest
		case "writer":
			s.writer = k.rest
		case "userid":
			s.userID = k.rest
		case "linux":
			s.linux = true
		case "level":
			n, err = k.number(8)
			s.level = uint8(n)
		case "keywords":
			s.keywords, err = k.number(64)
		case "latency":
			s.latency, err = time.ParseDuration(k.rest)
		default:
			err = k.errorf("unknown word %q", k.word)
		}
		if err != nil {
			return err
		}
	}
	lib.logs[s.name] = s
	if !s.linux { // those stand for logs of Windows, see linuxLogs
		lib.logNames = append(lib.logNames, s.name)
	}
	return nil
}

func (lib *library) readRecord(l *line) error {
	if l.word != "record" {
		return l.errorf("unknown word %q: want record", l.word)
	}
	if lib.records[l.rest] != nil {
		return l.errorf("record %s occurs twice", l.rest)
	}
	r := &recordSpec{place: l.place, name: l.rest}
	_, id, _ := strings.Cut(l.rest, "/")
	id, _, _ = strings.Cut(id, "-") // of one id in several forms
	n, err := strconv.ParseUint(id, 10, 32)
	if err != nil {
		return l.errorf("record %q: want LOG/ID", l.rest)
	}
	r.id = uint32(n)
	old := -1
	for _, k := range l.kids {
		var n uint64
		var err error
		switch k.word {
		case "log":
			if r.log = lib.logs[k.rest]; r.log == nil {
				return k.errorf("unknown log %q", k.rest)
			}
			r.writer, r.userID, r.level = r.log.writer, r.log.userID, r.log.level
		case "version":
			n, err = k.number(8)
			r.version = uint8(n)
		case "old-version":
			n, err = k.number(8)
			old = int(n)
		case "level":
			n, err = k.number(8)
			r.level = uint8(n)
		case "opcode":
			n, err = k.number(8)
			r.opcode = uint8(n)
		case "task":
			n, err = k.number(16)
			r.task = uint16(n)
		case "writer":
			r.writer = k.rest
		case "userid":
			r.userID = k.rest
		case "field", "newer":
			name, value := k.pair()
			r.fields = append(r.fields, fieldSpec{
				place: k.place, name: strings.ReplaceAll(name, "|", " "),
				value: value, newer: k.word == "newer",
			})
		default:
			err = k.errorf("unknown word %q", k.word)
		}
		if err != nil {
			return err
		}
	}
	if r.log == nil {
		return l.errorf("record %s names no log", r.name)
	}
	r.oldVersion = r.version
	if old >= 0 {
		r.oldVersion = uint8(old)
	}
	lib.records[r.name] = r
	return nil
}

func (lib *library) readVerb(l *line) error {
	if l.word != "verb" {
		return l.errorf("unknown word %q: want verb", l.word)
	}
	if lib.verbs[l.rest] != nil {
		return l.errorf("verb %s occurs twice", l.rest)
	}
	v := &verbSpec{place: l.place, name: l.rest}
	for _, k := range l.kids {
		switch k.word {
		case "subject":
			v.subject = k.rest
		case "between":
			v.between = true
		case "need":
			v.need = append(v.need, strings.Fields(k.rest)...)
		case "may":
			v.may = append(v.may, strings.Fields(k.rest)...)
		case "default":
			key, value := k.pair()
			v.defaults = append(v.defaults, setting{k.place, key, value})
		case "emit":
			e, err := lib.readEmit(k)
			if err != nil {
				return err
			}
			v.emits = append(v.emits, e)
		default:
			return k.errorf("unknown word %q", k.word)
		}
	}
	lib.verbs[v.name] = v
	return nil
}

func (lib *library) readEmit(l *line) (emission, error) {
	words := strings.Fields(l.rest)
	e := emission{place: l.place}
	if len(words) == 0 || lib.records[words[0]] == nil {
		return e, l.errorf("unknown record %q", l.rest)
	}
	e.record = lib.records[words[0]]
	for i := 1; i < len(words); i++ {
		switch w := words[i]; {
		case strings.HasPrefix(w, "+"):
			d, err := time.ParseDuration(w[1:])
			if err != nil {
				return e, l.errorf("bad delay %q", w)
			}
			e.after = d
		case w == "there" && len(e.actor) == 0:
			e.there = true
		case w == "as" && i+1 < len(words):
			i++
			e.actor = words[i]
		case w == "if" && i+1 < len(words):
			i++
			e.when = words[i]
		default:
			return e, l.errorf("unknown word %q", w)
		}
	}
	for _, k := range l.kids {
		e.values = append(e.values, setting{k.place, k.word, k.value()})
	}
	return e, nil
}

// readImage reads "name | version | description | product | company | original
// | signer". An empty version, product, company or signer is Windows's own.
func (lib *library) readImage(l *line) error {
	cells := strings.Split(l.word+" "+l.rest, "|")
	if len(cells) != 7 {
		return l.errorf("%d cells, want 7", len(cells))
	}
	for i := range cells {
		cells[i] = strings.TrimSpace(cells[i])
	}
	if _, ok := lib.images[strings.ToLower(cells[0])]; ok {
		return l.errorf("image %s occurs twice", cells[0])
	}
	or := func(s, windows string) string {
		if s == "" {
			return windows
		}
		return s
	}
	lib.images[strings.ToLower(cells[0])] = imageSpec{
		version:     or(cells[1], "10.0.19041.3636 (WinBuild.160101.0800)"),
		description: cells[2],
		product:     or(cells[3], "Microsoft® Windows® Operating System"),
		company:     or(cells[4], "Microsoft Corporation"),
		original:    or(cells[5], cells[0]),
		signer:      or(cells[6], "Microsoft Windows"),
	}
	return nil
}

func (lib *library) readWord(l *line) error {
	if l.word != "language" {
		return l.errorf("unknown word %q: want language", l.word)
	}
	words := map[string]string{}
	for _, k := range l.kids {
		en, local, ok := strings.Cut(k.word+" "+k.rest, " = ")
		if !ok {
			return k.errorf("want WORD = WORD")
		}
		words[strings.TrimSpace(en)] = strings.TrimSpace(local)
	}
	lib.words[l.rest] = words
	return nil
}

func (lib *library) readVaried(l *line) error {
	v, err := parseVariable(l, l.word, l.rest)
	lib.varied = append(lib.varied, v)
	return err
}

func (lib *library) readBoot(l *line) error {
	st, err := lib.parseStep(l)
	if err != nil {
		return err
	}
	lib.boot = append(lib.boot, st)
	return nil
}

func (lib *library) readLinuxBoot(l *line) error {
	st, err := lib.parseStep(l)
	if err != nil {
		return err
	}
	lib.linuxBoot = append(lib.linuxBoot, st)
	return nil
}

func (lib *library) readActivity(l *line) error {
	if l.word != "activity" {
		return l.errorf("unknown word %q: want activity", l.word)
	}
	a := &activity{place: l.place, name: l.rest, weight: 1}
	for _, k := range l.kids {
		switch {
		case k.word == "weight":
			n, err := k.number(16)
			if err != nil {
				return err
			}
			a.weight = int(n)
		case k.word == "set":
			a.set = k.rest
		case k.word == "peer":
			a.peer = true
		case k.word == "linux":
			a.linux = true
		case k.word == "let":
			a.let = append(a.let, k)
		default:
			st, err := lib.parseStep(k)
			if err != nil {
				return err
			}
			a.steps = append(a.steps, st)
			for _, e := range st.verb.emits {
				if e.when == "" && e.record.log.name != sensorLog && e.record.log.linux == a.linux {
					a.least += st.times
				}
			}
		}
	}
	if a.least == 0 || a.weight == 0 {
		return l.errorf("activity %q leaves no record", a.name)
	}
	lib.activities = append(lib.activities, a)
	return nil
}

// languages lists the Windows display languages that words exist for.
func (lib *library) languages() string {
	names := []string{"en"}
	for n := range lib.words {
		names = append(names, n)
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// word is the Windows display language's form of an English word in a record.
func (lib *library) word(language, english string) string {
	if w, ok := lib.words[language][english]; ok {
		return w
	}
	return english
}
