package evaluation

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"ashiato/internal/event"
	"ashiato/internal/normalize"
	"ashiato/internal/scenario"
)

// Case is a set of events with what is known to be true of them.
type Case struct {
	Name string
	// Events are normalised, in the order of event.Compare.
	Events []*event.Event
	// Scenarios are the intrusions in it.
	Scenarios []Scenario
	// labels say of each event which scenario it is from and whether it belongs to
	// the intrusion.
	labels map[*event.Event]label
	// byRef finds an event by its reference.
	byRef map[event.EvidenceRef]*event.Event
}

// Scenario is the truth of one intrusion in a Case.
type Scenario struct {
	Name string
	// Root is the true root cause; its Kind is "" if it is not known.
	Root scenario.Root
	// Handoffs are the true hand-offs, of the background too; nil if not known.
	Handoffs []scenario.Handoff
	// known says that every event's label is the truth. Of recordings it is only
	// known which events came from which.
	known bool
	// records maps the keys of the scenario's own records to the events.
	records map[scenario.RecordKey]*event.Event
	// How the case differs from the scenario: other hosts, another time.
	hosts map[string]string
	shift time.Duration
	pids  uint32            // what was added to process ids
	guids map[string]string // ProcessGuids in lower case → what they became
}

type label struct {
	scenario int // index into Case.Scenarios
	attack   bool
	step     int
}

// FromScenario makes a case of a built scenario. The events are its own; they
// are normalised here.
func FromScenario(b *scenario.Built) *Case {
	c := &Case{Name: strings.TrimSuffix(b.Name, ".txtar")}
	c.include(b, 0, nil, nil)
	c.finish()
	return c
}

// Interleave puts two built scenarios on the same hosts, which meet says, and sets
// the second one's clock so that it begins the given time after the first one's
// attack. The second one's background stays
// away, since a machine has one, its process ids are others, since one machine
// gives each to one process at a time, and its boots and addresses are the host's.
func Interleave(a, b *scenario.Built, after time.Duration) *Case {
	c := &Case{Name: strings.TrimSuffix(a.Name, ".txtar") + " + " + strings.TrimSuffix(b.Name, ".txtar")}
	c.include(a, 0, nil, nil)
	rename := meet(hostsOf(a.Events), hostsOf(b.Events))
	shift := attackStart(a).Add(after).Sub(attackStart(b))
	addresses := map[string]string{}
	for from, to := range rename {
		if ip := a.Addresses[to]; ip != "" && b.Addresses[from] != "" {
			addresses[b.Addresses[from]] = ip
		}
	}
	c.include(b, shift, rename, &rebooter{
		ours: bootsOf(a), theirs: bootsOf(b), rename: rename, shift: shift, guids: map[string]string{}, keys: map[uint64]uint64{}, addresses: addresses,
	})
	c.finish()
	return c
}

// meet returns which of our hosts each of theirs becomes. One that has the name of
// one of ours is that machine, since a network has no two of a name; the first of
// the others becomes the first of ours that is left, and so on. Those beyond stay
// what they are.
func meet(ours, theirs []string) map[string]string {
	rename := map[string]string{}
	taken := map[string]bool{}
	for _, h := range theirs {
		for _, o := range ours {
			if machine(o) == machine(h) {
				rename[h], taken[o] = o, true
				break
			}
		}
	}
	left := slices.DeleteFunc(slices.Clone(ours), func(o string) bool { return taken[o] })
	for _, h := range theirs {
		if _, named := rename[h]; !named && len(left) > 0 {
			rename[h], left = left[0], left[1:]
		}
	}
	return rename
}

// machine is a host's name without its domain, in lower case.
func machine(host string) string {
	name, _, _ := strings.Cut(strings.ToLower(host), ".")
	return name
}

// hostsOf returns the hosts by how many records they have, the most first.
func hostsOf(events []*event.Event) []string {
	count := map[string]int{}
	for _, e := range events {
		count[e.Host]++
	}
	hosts := make([]string, 0, len(count))
	for h := range count {
		hosts = append(hosts, h)
	}
	slices.SortFunc(hosts, func(a, b string) int {
		return cmp.Or(cmp.Compare(count[b], count[a]), strings.Compare(a, b))
	})
	return hosts
}

func attackStart(b *scenario.Built) time.Time {
	for _, e := range b.Events {
		if l, ok := b.Label(e); ok && l.Attack {
			return e.Time
		}
	}
	return b.Events[0].Time
}

// renumber keeps the record ids of several scenarios on one host apart.
const renumber = 10_000_000

// elsewhere keeps the process ids of several scenarios on one host apart.
const elsewhere = 1 << 20

// include adds a scenario; second is how its processes are changed, nil for the
// first one.
func (c *Case) include(b *scenario.Built, shift time.Duration, rename map[string]string, second *rebooter) {
	n := len(c.Scenarios)
	if c.labels == nil {
		c.labels = map[*event.Event]label{}
	}
	s := Scenario{Name: b.Name, Root: b.Root, Handoffs: b.Handoffs, known: true, records: map[scenario.RecordKey]*event.Event{}, hosts: rename, shift: shift}
	for _, original := range b.Events {
		l, _ := b.Label(original)
		if second != nil && !l.Attack {
			continue
		}
		key := scenario.KeyOf(original)
		copied := *original
		e := &copied
		e.Data = slices.Clone(original.Data)
		if shift != 0 {
			move(e, shift)
		}
		if to, ok := rename[e.Host]; ok {
			e.Host, e.Ref.Host = to, to
			e.Ref.RecordID += uint64(n) * renumber
		}
		if second != nil {
			for i := range e.Data {
				f := &e.Data[i]
				f.Value = second.field(original.Host, f.Name, f.Value, original.Time)
			}
			moveProcesses(e)
			renameHosts(e, rename)
			for i := range e.Data {
				e.Data[i].Value = readdress(e.Data[i].Value, second.addresses)
			}
		}
		normalize.Event(e)
		c.Events = append(c.Events, e)
		c.labels[e] = label{n, l.Attack, l.Step}
		s.records[key] = e
	}
	if second != nil {
		s.pids, s.guids = elsewhere, second.guids
	}
	c.Scenarios = append(c.Scenarios, s)
}

// timeLayouts are how records write times in their data.
var timeLayouts = []string{"2006-01-02 15:04:05.000", "2006-01-02T15:04:05.999999999Z07:00"}

// move sets an event's clock, in its data too: Sysmon's own time is there.
func move(e *event.Event, shift time.Duration) {
	e.Time, e.Logged = e.Time.Add(shift), e.Logged.Add(shift)
	for i := range e.Data {
		f := &e.Data[i]
		for _, layout := range timeLayouts {
			if t, err := time.Parse(layout, f.Value); err == nil {
				f.Value = t.Add(shift).Format(layout)
				break
			}
		}
	}
}

// renameHosts gives hosts their other names in an event's texts too.
func renameHosts(e *event.Event, rename map[string]string) {
	for i := range e.Data {
		f := &e.Data[i]
		for _, from := range slices.Sorted(maps.Keys(rename)) {
			old, _, _ := strings.Cut(from, ".")
			name, _, _ := strings.Cut(rename[from], ".")
			f.Value = strings.ReplaceAll(f.Value, old, name)
			f.Value = strings.ReplaceAll(f.Value, strings.ToLower(old), strings.ToLower(name))
		}
	}
}

// readdress gives the IPv4 addresses in a text that became others those.
func readdress(text string, become map[string]string) string {
	var out strings.Builder
	done := 0 // how much of the text is in out
	for at := 0; at < len(text); {
		end := at
		for end < len(text) && (text[end] == '.' || text[end] >= '0' && text[end] <= '9') {
			end++
		}
		if end == at {
			at++
			continue
		}
		ip := strings.TrimRight(text[at:end], ".") // the end of a sentence
		if to, ok := become[ip]; ok {
			out.WriteString(text[done:at])
			out.WriteString(to)
			done = at + len(ip)
		}
		at = end
	}
	if done == 0 {
		return text
	}
	return out.String() + text[done:]
}

// moveProcesses gives every process of an event another id.
func moveProcesses(e *event.Event) {
	if e.PID > systemPID {
		e.PID += elsewhere
	}
	for i := range e.Data {
		f := &e.Data[i]
		// Windows Installer's fields have no names; the second is its client's id.
		client := e.Provider == "MsiInstaller" && (e.ID == 1040 || e.ID == 1042) && i == 1
		// The audit log of Linux calls them pid and ppid.
		// A remote execution tool's pipes have its client's id in their names.
		if f.Name == "PipeName" || f.Name == "RelativeTargetName" {
			f.Value = moveClient(f.Value)
		}
		audit := e.Provider == "auditd" && (f.Name == "pid" || f.Name == "ppid" || f.Name == "opid")
		if !client && !audit && !strings.Contains(strings.ToLower(f.Name), "processid") {
			continue
		}
		if hex, ok := strings.CutPrefix(strings.ToLower(f.Value), "0x"); ok {
			if n, err := strconv.ParseUint(hex, 16, 32); err == nil && n > systemPID {
				f.Value = fmt.Sprintf("0x%x", n+elsewhere)
			}
		} else if n, err := strconv.ParseUint(f.Value, 10, 32); err == nil && n > systemPID {
			f.Value = strconv.FormatUint(n+elsewhere, 10)
		}
	}
}

var clientPipe = regexp.MustCompile(`-([0-9]+)(-std(?:in|out|err))$`)

func moveClient(pipe string) string {
	return clientPipe.ReplaceAllStringFunc(pipe, func(end string) string {
		m := clientPipe.FindStringSubmatch(end)
		n, err := strconv.ParseUint(m[1], 10, 32)
		if err != nil {
			return end
		}
		return "-" + strconv.FormatUint(n+elsewhere, 10) + m[2]
	})
}

// systemPID is the process id of the system itself on every machine.
const systemPID = 4

// FromRecordings makes a case of recordings, each of which is one intrusion, on
// one host and at one time: what they were recorded on is replaced by host, and
// each begins a minute after the one before. The events must be normalised.
func FromRecordings(name, host string, recordings map[string][]*event.Event) *Case {
	c := &Case{Name: name, labels: map[*event.Event]label{}}
	names := make([]string, 0, len(recordings))
	for n := range recordings {
		names = append(names, n)
	}
	slices.Sort(names)
	var begin time.Time
	for i, n := range names {
		events := recordings[n]
		if len(events) == 0 {
			continue
		}
		first := slices.MinFunc(events, event.Compare).Time
		if begin.IsZero() {
			begin = first
		}
		shift := begin.Add(time.Duration(i) * time.Minute).Sub(first)
		at := len(c.Scenarios)
		c.Scenarios = append(c.Scenarios, Scenario{Name: n})
		for _, original := range events {
			copied := *original
			e := &copied
			e.Data = slices.Clone(original.Data)
			move(e, shift)
			if host != "" {
				e.Host, e.Ref.Host = host, host
			}
			e.Ref.RecordID += uint64(at) * renumber
			c.Events = append(c.Events, e)
			c.labels[e] = label{scenario: at, attack: true}
		}
	}
	c.finish()
	return c
}

func (c *Case) finish() {
	slices.SortStableFunc(c.Events, event.Compare)
	c.byRef = make(map[event.EvidenceRef]*event.Event, len(c.Events))
	for _, e := range c.Events {
		c.byRef[e.Ref] = e
	}
}

// attackOf returns the index of the scenario whose intrusion a record belongs
// to, -1 for the background's.
func (c *Case) attackOf(ref event.EvidenceRef) int {
	e := c.byRef[ref]
	if e == nil {
		return -1
	}
	if l := c.labels[e]; l.attack {
		return l.scenario
	}
	return -1
}

// String names the case.
func (c *Case) String() string { return fmt.Sprintf("%s (%d events)", c.Name, len(c.Events)) }
