package scenario

import (
	"cmp"
	"container/heap"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"ashiato/internal/event"
)

// Built is a scenario's records.
type Built struct {
	// Name is the scenario's file name, Title its title.
	Name, Title string
	// Events are the records, raw, in event.Compare order.
	Events []*event.Event
	// Truth says for each record, by its host, channel and record id, what it
	// stands for.
	Truth map[RecordKey]Label
	// Lost counts the records that were numbered and then lost on purpose.
	Lost map[RecordKey]Label
	// Expect is the scenario's expect section with its variables filled in.
	Expect Expect
}

// RecordKey names a record of one log of one host.
type RecordKey struct {
	Host, Channel string
	RecordID      uint64
}

// KeyOf returns the key of a record, also after it was written and read again.
func KeyOf(e *event.Event) RecordKey { return RecordKey{e.Host, e.Channel, e.Ref.RecordID} }

// Label returns what a record stands for and whether the scenario wrote it.
func (b *Built) Label(e *event.Event) (Label, bool) {
	l, ok := b.Truth[KeyOf(e)]
	return l, ok
}

// maxTasks bounds what one scenario can make happen.
const maxTasks = 2_000_000

// The streams of the random numbers: drawing from one does not disturb another.
const (
	streamVars = iota + 1
	streamOrder
	streamBackground
	streamRuntime
	streamLoss
)

// Build makes the records. The same scenario gives the same records.
func (s *Scenario) Build() (*Built, error) {
	b := &builder{
		s: s, lib: s.lib, contents: map[string]*contentSpec{},
		rng: rand.New(rand.NewPCG(s.seed, streamRuntime)), volumes: map[string]*volume{},
		hostByID: map[string]*host{},
	}
	for _, c := range s.contents {
		if b.contents[c.name] != nil {
			return nil, c.errorf("content %q occurs twice", c.name)
		}
		b.contents[c.name] = c
	}
	var err error
	if b.vars, err = evaluate(s.vars, rand.New(rand.NewPCG(s.seed, streamVars)), b.builtin); err != nil {
		return nil, err
	}
	for _, prepare := range []func() error{b.makeVolumes, b.makeHosts, b.planSteps, b.planBackground} {
		if err := prepare(); err != nil {
			return nil, err
		}
	}
	for b.queue.Len() > 0 {
		if err := b.run(heap.Pop(&b.queue).(*task)); err != nil {
			return nil, err
		}
	}
	return b.finish()
}

// builder holds the world that the steps act on.
type builder struct {
	s        *Scenario
	lib      *library
	vars     map[string]string
	contents map[string]*contentSpec
	hosts    []*host
	hostByID map[string]*host
	volumes  map[string]*volume
	rng      *rand.Rand
	queue    queue
	order    int
	tasks    int
	records  []record
	disks    int
}

type host struct {
	id       string
	vars     map[string]string // without the prefix "host."
	boot     time.Time
	bootID   uint16
	machine  uint32
	luid     uint64
	elevated uint64
	logs     map[string]bool
	sequence uint64
	procs    map[string]*process // running by handle
	pids     map[uint32]bool     // in use
	mounted  map[string]*volume  // by upper-case letter
	files    map[string]string   // content by lower-case path
}

type volume struct {
	id    string
	vars  map[string]string // without the prefix "volume."
	files map[string]string // content by lower-case path without the letter
}

type process struct {
	host                        *host
	handle, image, cmdline, cwd string
	pid                         uint32
	key                         uint64
	start                       time.Time
	account, integrity, session string
	luid                        uint64
	parent                      *process
	content                     string
	ended                       bool
}

// task is one step waiting for its time.
type task struct {
	at    time.Time
	order int
	step  *step
	n     int
	host  *host
	scope *scope
	label Label
	vars  map[string]string
	aside bool     // part of the background, which keeps its own pace
	ends  *process // for the end of a process that was given its life's length
}

// scope holds the process handles of the attack, or of one background activity.
type scope struct{ procs map[string]*process }

type queue []*task

func (q queue) Len() int { return len(q) }
func (q queue) Less(i, j int) bool {
	return cmp.Or(q[i].at.Compare(q[j].at), cmp.Compare(q[i].order, q[j].order)) < 0
}
func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *queue) Push(x any)   { *q = append(*q, x.(*task)) }
func (q *queue) Pop() any {
	old := *q
	t := old[len(old)-1]
	*q = old[:len(old)-1]
	return t
}

type record struct {
	event *event.Event
	order int
	label Label
	lost  bool
}

// builtin are the variables that every text can use.
func (b *builder) builtin(name string) (string, bool) {
	switch name {
	case "empty":
		return "", true
	case "sp":
		return " ", true
	case "dollar":
		return "$", true
	case "newline":
		return "\n", true
	case "tabs":
		return "\t\t\t\t", true
	case "tabs2":
		return "\t\t", true
	}
	if v, ok := b.vars[name]; ok {
		return v, true
	}
	if id, key, ok := strings.Cut(name, "."); ok && b.hostByID[id] != nil {
		v, ok := b.hostByID[id].vars[key]
		return v, ok
	}
	return "", false
}

// evaluate gives variables their values, each able to use those before it.
func evaluate(list []variable, rng *rand.Rand, base lookup) (map[string]string, error) {
	values := map[string]string{}
	vars := base.over(values)
	for _, v := range list {
		arg, err := expand(v.place, v.arg, vars)
		if err != nil {
			return nil, err
		}
		// Every variable draws, so that setting one leaves the others alone.
		draw := rand.New(rand.NewPCG(rng.Uint64(), rng.Uint64()))
		switch v.op {
		case "=":
			values[v.name] = arg
		case "in":
			choices := strings.Split(arg, "|")
			values[v.name] = strings.TrimSpace(choices[draw.IntN(len(choices))])
		case "digits", "letters", "hexdigits":
			n, err := strconv.Atoi(arg)
			if err != nil || n < 1 || n > 64 {
				return nil, v.errorf("variable %q: %s wants 1 to 64, not %q", v.name, v.op, arg)
			}
			values[v.name] = randomText(draw, v.op, n)
		case "from":
			low, high, _ := strings.Cut(arg, "-")
			lo, err1 := strconv.Atoi(strings.TrimSpace(low))
			hi, err2 := strconv.Atoi(strings.TrimSpace(high))
			if err1 != nil || err2 != nil || lo < 0 || hi < lo {
				return nil, v.errorf("variable %q: want from LOW-HIGH, not %q", v.name, arg)
			}
			values[v.name] = strconv.Itoa(lo + draw.IntN(hi-lo+1))
		}
	}
	return values, nil
}

func randomText(rng *rand.Rand, kind string, n int) string {
	alphabet := map[string]string{
		"digits": "0123456789", "letters": "abcdefghijklmnopqrstuvwxyz", "hexdigits": "0123456789abcdef",
	}[kind]
	b := make([]byte, n)
	for i := range b {
		b[i] = alphabet[rng.IntN(len(alphabet))]
	}
	if kind == "digits" && b[0] == '0' {
		b[0] = '1'
	}
	return string(b)
}

func (b *builder) makeVolumes() error {
	for i, spec := range b.s.volumes {
		if b.volumes[spec.id] != nil {
			return spec.errorf("volume %q occurs twice", spec.id)
		}
		v := &volume{id: spec.id, files: map[string]string{}, vars: map[string]string{
			"vendor": "Generic", "product": "Flash Disk", "revision": "8.07", "vid": "058F", "pid": "6387",
			"serial": "SER" + strconv.Itoa(i), "capacity": "15728640000", "volumeserial": "0000-0000",
			"label": "", "bus": "7", "audited": "yes",
		}}
		for _, k := range spec.values {
			value, err := expand(k.place, k.value, b.builtin)
			if err != nil {
				return err
			}
			v.vars[k.key] = value
		}
		for _, f := range spec.files {
			path, err := expand(f.place, f.key, b.builtin)
			if err != nil {
				return err
			}
			if b.contents[f.value] == nil {
				return f.errorf("unknown content %q", f.value)
			}
			v.files[strings.ToLower(path)] = f.value
		}
		blank := strings.NewReplacer(" ", "_")
		m := v.vars
		m["usbid"] = fmt.Sprintf(`USB\VID_%s&PID_%s\%s`, m["vid"], m["pid"], m["serial"])
		m["diskpart"] = fmt.Sprintf("Disk&Ven_%s&Prod_%s&Rev_%s#%s&0",
			blank.Replace(m["vendor"]), blank.Replace(m["product"]), m["revision"], m["serial"])
		m["diskdevice"] = `USBSTOR\` + strings.Replace(m["diskpart"], "#", `\`, 1)
		m["diskid"] = madeGUID("disk", spec.id, m["serial"])
		m["registryid"] = madeGUID("registry", spec.id, m["serial"])
		m["location"] = "Integrated : Adapter 0 : Port 3"
		vbr, err := bootRecord(m["volumeserial"], m["label"])
		if err != nil {
			return spec.errorf("volumeserial: %w", err)
		}
		m["vbr"] = vbr
		b.volumes[spec.id] = v
	}
	return nil
}

// bootRecord is a FAT32 volume boot record in hexadecimal: the serial number is
// at 0x43 in little-endian order, the label at 0x47.
func bootRecord(serial, label string) (string, error) {
	n, err := strconv.ParseUint(strings.Replace(serial, "-", "", 1), 16, 32)
	if err != nil {
		return "", fmt.Errorf("want such as 7A3C-11E0, not %q", serial)
	}
	var r [512]byte
	copy(r[:], "\xEB\x58\x90MSDOS5.0\x00\x02\x20")
	r[0x15] = 0xF8
	r[0x42] = 0x29
	for i := range 4 {
		r[0x43+i] = byte(n >> (8 * i))
	}
	copy(r[0x47:0x52], fmt.Sprintf("%-11.11s", strings.ToUpper(label)))
	copy(r[0x52:], "FAT32   ")
	r[510], r[511] = 0x55, 0xAA
	return fmt.Sprintf("%X", r[:]), nil
}

func (b *builder) makeHosts() error {
	for i, spec := range b.s.hosts {
		id := madeGUID("host", spec.id)
		m := map[string]string{
			"name": strings.ToUpper(spec.id), "dnsdomain": "", "user": "user",
			"sid":  fmt.Sprintf("S-1-5-21-%d-%d-%d-1001", 1000000007+i*7919, 2093112391-i*104729, 839522115+i*1299709),
			"boot": "-2h", "bootid": strconv.Itoa(23 + 5*i), "machine": id[1:9],
			"address": fmt.Sprintf("192.168.10.%d", 21+i),
			"luid":    fmt.Sprintf("0x%x", 0x3d2c1+i*0x11d3), "elevatedluid": fmt.Sprintf("0x%x", 0x3d29e+i*0x11d3),
		}
		logs := b.s.logs
		for _, k := range spec.values {
			value, err := expand(k.place, k.value, b.builtin)
			if err != nil {
				return err
			}
			if k.key == "logs" {
				if logs = strings.Fields(value); slices.ContainsFunc(logs, func(l string) bool { return b.lib.logs[l] == nil }) {
					return k.errorf("unknown log in %q: want %s", value, strings.Join(b.lib.logNames, ", "))
				}
				continue
			}
			m[k.key] = value
		}
		if m["domain"] == "" {
			m["domain"] = m["name"]
		}
		m["fqdn"] = m["name"]
		if m["dnsdomain"] != "" {
			m["fqdn"] += "." + m["dnsdomain"]
		}
		m["workgroup"] = m["domain"]
		if m["domain"] == m["name"] {
			m["workgroup"] = "WORKGROUP"
		}
		m["account"] = m["name"] + "$"
		m["profile"] = `C:\Users\` + m["user"]
		m["fulluser"] = m["domain"] + `\` + m["user"]
		for _, o := range b.hosts {
			if strings.EqualFold(o.vars["fqdn"], m["fqdn"]) {
				return spec.errorf("host %s has the name of host %s, %s", spec.id, o.id, m["fqdn"])
			}
		}
		h := &host{
			id: spec.id, vars: m, logs: map[string]bool{}, procs: map[string]*process{},
			pids: map[uint32]bool{}, mounted: map[string]*volume{}, files: map[string]string{},
		}
		for _, l := range logs {
			h.logs[l] = true
		}
		for _, n := range []struct {
			key        string
			base, bits int
			into       func(uint64)
		}{
			{"bootid", 0, 16, func(n uint64) { h.bootID = uint16(n) }},
			{"machine", 16, 32, func(n uint64) { h.machine = uint32(n) }},
			{"luid", 0, 64, func(n uint64) { h.luid = n }},
			{"elevatedluid", 0, 64, func(n uint64) { h.elevated = n }},
		} {
			v, err := strconv.ParseUint(m[n.key], n.base, n.bits)
			if err != nil {
				return spec.errorf("%s wants a number of at most %d bits, not %q", n.key, n.bits, m[n.key])
			}
			n.into(v)
		}
		before, err := time.ParseDuration(m["boot"])
		if err != nil {
			return spec.errorf("boot wants a time before the start, such as -70m, not %q", m["boot"])
		}
		h.boot = b.s.start.Add(before)
		b.hosts = append(b.hosts, h)
		b.hostByID[h.id] = h
		at := h.boot
		for _, st := range b.lib.boot {
			at = at.Add(st.delay)
			if err := b.run(&task{at: at, step: st, host: h, scope: &scope{h.procs}, n: 1}); err != nil {
				return err
			}
		}
		h.sequence += 200 + uint64(b.rng.IntN(300))
	}
	return nil
}

// planSteps gives the scenario's own steps their times.
func (b *builder) planSteps() error {
	at := b.s.start
	scopes := map[string]*scope{}
	rng := rand.New(rand.NewPCG(b.s.seed, streamOrder))
	var plan func(steps []*step) error
	plan = func(steps []*step) error {
		for _, st := range steps {
			if st.any != nil {
				group := slices.Clone(st.any)
				if b.s.shuffle {
					rng.Shuffle(len(group), func(i, j int) { group[i], group[j] = group[j], group[i] })
				}
				if err := plan(group); err != nil {
					return err
				}
				continue
			}
			id, err := expand(st.place, st.host, b.builtin)
			if err != nil {
				return err
			}
			if id == "" && len(b.hosts) == 1 {
				id = b.hosts[0].id
			}
			h := b.hostByID[id]
			if h == nil {
				return st.errorf("unknown host %q: name it with a line \"on HOST\" before the step", id)
			}
			if scopes[id] == nil {
				scopes[id] = &scope{map[string]*process{}}
			}
			if st.at {
				at = b.s.start
			}
			at = at.Add(b.stretched(st.delay))
			label := st.label
			label.Verb, label.Line = st.verb.name, st.line
			for n := range st.times {
				if n > 0 {
					at = at.Add(b.stretched(st.every))
				}
				if err := b.push(&task{at: at, step: st, n: n + 1, host: h, scope: scopes[id], label: label}); err != nil {
					return err
				}
			}
		}
		return nil
	}
	return plan(b.s.steps)
}

func (b *builder) stretched(d time.Duration) time.Duration {
	return time.Duration(float64(d) * b.s.stretch)
}

func (b *builder) push(t *task) error {
	if b.tasks++; b.tasks > maxTasks {
		return t.step.errorf("more than %d steps to take", maxTasks)
	}
	b.order++
	t.order = b.order
	heap.Push(&b.queue, t)
	return nil
}

// planBackground strews activities over the time of the background until they
// leave at least the wanted number of records, counted over all logs: the same
// people do the same things whichever logs are kept.
func (b *builder) planBackground() error {
	g := &b.s.background
	if g.count == 0 {
		return nil
	}
	hosts := b.hosts
	if len(g.hosts) > 0 {
		hosts = nil
		for _, id := range g.hosts {
			if b.hostByID[id] == nil {
				return g.errorf("unknown host %q", id)
			}
			hosts = append(hosts, b.hostByID[id])
		}
	}
	var choices []*activity
	total := 0
	for _, a := range b.lib.activities {
		if !slices.Contains(g.without, a.name) {
			choices = append(choices, a)
			total += a.weight
		}
	}
	if total == 0 {
		return g.errorf("the background has no activity left")
	}
	rng := rand.New(rand.NewPCG(b.s.seed, streamBackground))
	for n := 0; n < g.count; {
		draw := rng.IntN(total)
		var a *activity
		for _, a = range choices {
			if draw -= a.weight; draw < 0 {
				break
			}
		}
		h := hosts[rng.IntN(len(hosts))]
		at := b.s.start.Add(g.from + time.Duration(rng.Int64N(int64(g.to-g.from))))
		var let []variable
		for _, l := range a.let {
			name, rest, _ := strings.Cut(l.rest, " ")
			v, err := parseVariable(l, name, strings.TrimLeft(rest, " "))
			if err != nil {
				return err
			}
			let = append(let, v)
		}
		vars, err := evaluate(let, rng, b.hostLookup(h))
		if err != nil {
			return err
		}
		sc := &scope{map[string]*process{}}
		for _, st := range a.steps {
			at = at.Add(st.delay)
			for k := range st.times {
				if k > 0 {
					at = at.Add(st.every)
				}
				if err := b.push(&task{at: at, step: st, n: k + 1, host: h, scope: sc, vars: vars, aside: true, label: Label{Text: a.name, Verb: st.verb.name, Line: st.line}}); err != nil {
					return err
				}
			}
		}
		n += a.least
	}
	return nil
}

func (b *builder) hostLookup(h *host) lookup {
	return func(name string) (string, bool) {
		if key, ok := strings.CutPrefix(name, "host."); ok {
			v, ok := h.vars[key]
			return v, ok
		}
		return b.builtin(name)
	}
}

// run executes one step: it changes the world and leaves the records.
func (b *builder) run(t *task) error {
	st := t.step
	r := &running{b: b, t: t, vars: map[string]string{
		"i": strconv.Itoa(t.n), "utc": sysmonTime(t.at), "localtime": t.at.Format("2006-01-02T15:04:05"),
	}}
	r.look = func(name string) (string, bool) {
		if v, ok := r.vars[name]; ok {
			return v, true
		}
		if v, ok := t.vars[name]; ok {
			return v, true
		}
		for prefix, p := range map[string]*process{"proc.": r.proc, "parent.": r.parent, "target.": r.target} {
			if key, ok := strings.CutPrefix(name, prefix); ok && p != nil {
				return b.processVar(p, key)
			}
		}
		if handle, key, ok := strings.Cut(name, "."); ok && !slices.Contains(reserved, handle) {
			if p := r.find(handle); p != nil {
				return b.processVar(p, key)
			}
		}
		return b.hostLookup(t.host)(name)
	}
	if st.verb.subject != "" {
		v, err := expand(st.place, st.subject, r.look)
		if err != nil {
			return err
		}
		r.vars[st.verb.subject] = v
		t.label.Subject = v
	}
	for _, k := range st.values {
		v, err := expand(k.place, k.value, r.look)
		if err != nil {
			return err
		}
		r.vars[k.key] = v
	}
	if err := r.act(); err != nil {
		return err
	}
	for _, d := range st.verb.defaults {
		if _, given := r.vars[d.key]; given {
			continue
		}
		v, err := expand(d.place, d.value, r.look)
		if err != nil {
			return err
		}
		r.vars[d.key] = v
	}
	for i := range st.verb.emits {
		if err := r.emit(&st.verb.emits[i]); err != nil {
			return err
		}
	}
	return nil
}

// running is a step while it runs.
type running struct {
	b                    *builder
	t                    *task
	vars                 map[string]string
	look                 lookup
	proc, parent, target *process
}

// find returns the process of a handle: the scope's own, else the host's.
func (r *running) find(handle string) *process {
	if p := r.t.scope.procs[handle]; p != nil {
		return p
	}
	return r.t.host.procs[handle]
}

func (r *running) need(handle string) (*process, error) {
	if p := r.find(handle); p != nil {
		return p, nil
	}
	return nil, r.t.step.errorf("no process %q on host %s", handle, r.t.host.id)
}

func (r *running) alive(handle string) (*process, error) {
	p, err := r.need(handle)
	if err == nil && p.ended {
		err = r.t.step.errorf("process %q has ended", handle)
	}
	return p, err
}

// act finds the acting process and does what the verb does to the world.
func (r *running) act() error {
	h, vars := r.t.host, r.vars
	verb := r.t.step.verb.name
	if by := vars["by"]; r.t.ends != nil {
		r.proc, r.parent = r.t.ends, r.t.ends.parent
	} else if by != "" {
		p, err := r.alive(by)
		if err != nil {
			return err
		}
		r.proc, r.parent = p, p.parent
	}
	if name := vars["target"]; name != "" {
		p, err := r.need(name)
		if err != nil {
			return err
		}
		r.target = p
	}
	if path, ok := vars["path"]; ok && verb != "exclude" && verb != "share" {
		if err := r.touch(verb, path); err != nil {
			return err
		}
	}
	switch verb {
	case "running", "start", "runtask":
		return r.start(verb)
	case "end", "endtask":
		r.proc.ended = true
		delete(h.pids, r.proc.pid)
	case "service":
		text := "user mode service"
		if vars["type"] == "0x1" {
			text = "kernel mode driver"
		}
		vars["typetext"] = r.b.lib.word(r.b.s.language, text)
		start := "auto start"
		if vars["start"] == "3" {
			start = "demand start"
		}
		vars["starttext"] = r.b.lib.word(r.b.s.language, start)
	case "servicestate":
		vars["statetext"] = r.b.lib.word(r.b.s.language, vars["state"])
	case "task":
		vars["taskid"] = strings.ToUpper(madeGUID("task", h.id, vars["name"]))
	case "script":
		vars["scriptblock"] = strings.Trim(madeGUID("script", h.id, strconv.Itoa(r.t.order)), "{}")
		vars["runspace"] = strings.Trim(madeGUID("runspace", h.id, r.b.guid(r.proc)), "{}")
	case "connect":
		vars["sourceport"] = strconv.Itoa(49152 + r.b.rng.IntN(16000))
	case "access", "thread":
		vars["thread"] = strconv.Itoa(4 * (300 + r.b.rng.IntN(3000)))
	case "logon", "logoff", "explicitlogon", "share":
		r.logon()
	case "attach", "detach":
		return r.plug(verb == "attach")
	}
	return nil
}

// reserved are the first parts of variable names that no process can take.
var reserved = []string{"host", "proc", "parent", "target", "file", "volume", "subject", "as", "by", "who"}

// start brings a process forth.
func (r *running) start(verb string) error {
	b, h, vars := r.b, r.t.host, r.vars
	p := &process{host: h, handle: vars["process"], image: vars["image"], start: r.t.at.Truncate(time.Millisecond)}
	if slices.Contains(reserved, p.handle) {
		return r.t.step.errorf("a process cannot be called %q: variables are", p.handle)
	}
	parent := vars["parent"]
	if verb == "runtask" && parent == "" {
		parent = "schedule"
	}
	if parent != "" {
		var err error
		if p.parent, err = r.alive(parent); err != nil {
			return err
		}
	}
	or := func(key, inherited, fallback string) string {
		if v, ok := vars[key]; ok {
			return v
		}
		if p.parent != nil && inherited != "" {
			return inherited
		}
		return fallback
	}
	pp := p.parent
	if pp == nil {
		pp = &process{}
	}
	p.cmdline = or("cmdline", "", `"`+p.image+`"`)
	p.cwd = or("cwd", pp.cwd, `C:\Windows\system32\`)
	p.account = or("user", pp.account, "SYSTEM")
	p.integrity = or("integrity", pp.integrity, "System")
	p.session = or("session", pp.session, "0")
	switch {
	case p.account == "SYSTEM":
		p.luid = 0x3e7
	case p.account == "LOCAL SERVICE":
		p.luid = 0x3e5
	case p.account == "NETWORK SERVICE":
		p.luid = 0x3e4
	case p.integrity == "High":
		p.luid = h.elevated
	default:
		p.luid = h.luid
	}
	if _, ok := integrityLabels[p.integrity]; !ok {
		return r.t.step.errorf("unknown integrity %q: want Low, Medium, High or System", p.integrity)
	}
	h.sequence += 1 + uint64(b.rng.IntN(3))
	p.key = startKey(h.bootID, h.sequence)
	if v, ok := vars["pid"]; ok {
		n, err := strconv.ParseUint(v, 10, 32)
		if err != nil {
			return r.t.step.errorf("pid wants a number, not %q", v)
		}
		p.pid = uint32(n)
	} else {
		for p.pid = uint32(4 * (150 + b.rng.IntN(3400))); h.pids[p.pid]; {
			p.pid += 4
		}
	}
	h.pids[p.pid] = true
	if p.content = vars["content"]; p.content == "" {
		p.content = b.contentAt(h, p.image)
	} else if b.contents[p.content] == nil {
		return r.t.step.errorf("unknown content %q", p.content)
	}
	r.t.scope.procs[p.handle] = p
	r.proc, r.parent = p, p.parent
	vars["instance"] = madeGUID("instance", h.id, strconv.FormatUint(p.key, 16))

	// Security 4688: the creator's account, and the new account if it differs.
	creator := p.parent
	if c := vars["creator"]; c != "" {
		var err error
		if creator, err = r.need(c); err != nil {
			return err
		}
	}
	if creator == nil {
		creator = p
	}
	vars["subject.sid"], _ = b.processVar(creator, "sid")
	vars["subject.name"], _ = b.processVar(creator, "account")
	vars["subject.domain"], _ = b.processVar(creator, "domain")
	vars["subject.luid"], _ = b.processVar(creator, "luid")
	vars["as.sid"], vars["as.name"], vars["as.domain"], vars["as.luid"] = "S-1-0-0", "-", "-", "0x0"
	if creator.luid != p.luid {
		vars["as.sid"], _ = b.processVar(p, "sid")
		vars["as.name"], _ = b.processVar(p, "account")
		vars["as.domain"], _ = b.processVar(p, "domain")
		vars["as.luid"], _ = b.processVar(p, "luid")
	}
	if v := vars["lives"]; v != "" {
		d, err := time.ParseDuration(v)
		if err != nil || d < 0 {
			return r.t.step.errorf("lives wants a duration, not %q", v)
		}
		if !r.t.aside {
			d = b.stretched(d)
		}
		end := *r.t.step
		end.verb, end.subject, end.values, end.times = b.lib.verbs["end"], p.handle, nil, 1
		facts := r.t.vars
		if verb == "runtask" {
			end.verb = b.lib.verbs["endtask"]
			facts = maps.Clone(facts)
			if facts == nil {
				facts = map[string]string{}
			}
			facts["instance"], facts["taskname"] = vars["instance"], `\`+vars["name"]
		}
		label := r.t.label
		label.Verb = end.verb.name
		if err := b.push(&task{at: r.t.at.Add(d), step: &end, aside: r.t.aside, n: 1, host: h, scope: r.t.scope, vars: facts, label: label, ends: p}); err != nil {
			return err
		}
	}
	return nil
}

var integrityLabels = map[string]string{
	"Low": "S-1-16-4096", "Medium": "S-1-16-8192", "High": "S-1-16-12288", "System": "S-1-16-16384",
}

// logon names the account and the process that a logon record is about.
func (r *running) logon() {
	h, vars := r.t.host, r.vars
	who := &process{host: h, account: vars["user"], luid: h.luid}
	switch who.account {
	case "SYSTEM":
		who.luid = 0x3e7
	case "LOCAL SERVICE":
		who.luid = 0x3e5
	case "NETWORK SERVICE":
		who.luid = 0x3e4
	}
	for _, k := range []string{"sid", "account", "domain"} {
		vars["who."+k], _ = r.b.processVar(who, k)
	}
	if vars["luid"] == "" {
		vars["luid"] = "0x" + strconv.FormatUint(who.luid, 16)
		if vars["type"] == "3" {
			vars["luid"] = "0x" + strconv.FormatUint(0x400000+r.b.rng.Uint64N(0xffffff), 16)
		}
	}
	by := "winlogon"
	switch vars["type"] {
	case "5":
		by = "services"
	case "3", "10":
		by = ""
	}
	if p := r.find(by); p != nil {
		for _, k := range []string{"sid", "account", "domain", "luid", "pid", "image"} {
			vars["by."+k], _ = r.b.processVar(p, k)
		}
		return
	}
	maps.Copy(vars, map[string]string{
		"by.sid": "S-1-0-0", "by.account": "-", "by.domain": "-", "by.luid": "0x0", "by.pid": "0", "by.image": "-",
	})
}

// plug mounts or removes a volume.
func (r *running) plug(in bool) error {
	b, h, vars := r.b, r.t.host, r.vars
	v := b.volumes[vars["volume"]]
	if v == nil {
		return r.t.step.errorf("unknown volume %q", vars["volume"])
	}
	if !in {
		for l, m := range h.mounted {
			if m == v {
				delete(h.mounted, l)
			}
		}
		r.setVolume(v)
		return nil
	}
	letter := strings.ToUpper(vars["letter"])
	if len(letter) != 1 || letter < "A" || letter > "Z" {
		return r.t.step.errorf("letter wants one letter, not %q", vars["letter"])
	}
	if h.mounted[letter] != nil {
		return r.t.step.errorf("drive %s: is taken by volume %s", letter, h.mounted[letter].id)
	}
	h.mounted[letter] = v
	b.disks++
	v.vars["disk"] = strconv.Itoa(b.disks)
	v.vars["harddisk"] = fmt.Sprintf(`\Device\HarddiskVolume%d`, 5+b.disks)
	vars["letter"] = letter
	r.setVolume(v)
	vars["vbr"], vars["vbrbytes"] = v.vars["vbr"], "512"
	return nil
}

func (r *running) setVolume(v *volume) {
	for k, value := range v.vars {
		r.vars["volume."+k] = value
	}
	r.vars["volume.device"] = v.vars["harddisk"]
	if v.vars["audited"] == "no" {
		r.vars["volume.device"] = ""
	}
}

// touch keeps what a path holds and describes it in file.* and volume.*.
func (r *running) touch(verb, path string) error {
	b, h, vars := r.b, r.t.host, r.vars
	vars["volume.device"] = ""
	if len(path) > 1 && path[1] == ':' {
		if v := h.mounted[strings.ToUpper(path[:1])]; v != nil {
			r.setVolume(v)
		}
	}
	vars["handle"] = "0x" + strconv.FormatUint(4*(40+b.rng.Uint64N(900)), 16)
	name := vars["content"]
	if name != "" && b.contents[name] == nil {
		return r.t.step.errorf("unknown content %q", name)
	}
	if from := vars["copy"]; from != "" {
		name = b.contentAt(h, from)
	}
	if name == "" {
		name = b.contentAt(h, path)
	}
	switch verb {
	case "write", "load", "driver":
		b.setContent(h, path, name)
	case "rename":
		b.setContent(h, path, "")
		b.setContent(h, vars["to"], name)
	case "delete":
		b.setContent(h, path, "")
	case "mkdir":
		return nil
	}
	for k, v := range b.describe(name, path) {
		vars["file."+k] = v
	}
	return nil
}

// filesOf is the table that holds a path, and the path's key in it.
func (b *builder) filesOf(h *host, path string) (map[string]string, string) {
	low := strings.ToLower(path)
	if len(path) > 1 && path[1] == ':' {
		if v := h.mounted[strings.ToUpper(path[:1])]; v != nil {
			return v.files, low[2:]
		}
	}
	return h.files, low
}

// contentAt names what a path holds. A path that nothing wrote holds what every
// Windows has under that name, or something of its own.
func (b *builder) contentAt(h *host, path string) string {
	files, key := b.filesOf(h, path)
	if name := files[key]; name != "" {
		return name
	}
	if _, ok := b.lib.images[strings.ToLower(baseName(path))]; ok {
		return "image:" + strings.ToLower(baseName(path))
	}
	return "file:" + strings.ToLower(path)
}

func (b *builder) setContent(h *host, path, name string) {
	files, key := b.filesOf(h, path)
	if name == "" {
		delete(files, key)
		return
	}
	files[key] = name
}

// describe gives a content's hashes and version information.
func (b *builder) describe(name, path string) map[string]string {
	h := hashesOf(name)
	m := map[string]string{
		"fileversion": "-", "description": "-", "product": "-", "company": "-", "originalname": "-",
		"signed": "false", "signature": "-", "signaturestatus": "Unavailable", "program": "",
	}
	if c := b.contents[name]; c != nil {
		for _, v := range c.values {
			switch v.key {
			case "md5":
				h.md5 = strings.ToUpper(v.value)
			case "sha1":
				h.sha1 = strings.ToUpper(v.value)
			case "sha256":
				h.sha256 = strings.ToUpper(v.value)
			case "imphash":
				h.imphash = strings.ToUpper(v.value)
			case "signer":
				m["signed"], m["signature"], m["signaturestatus"] = "true", v.value, "Valid"
			case "signed":
				m["signed"] = v.value
			case "status":
				m["signaturestatus"] = v.value
			case "program":
				if v.value == "yes" {
					m["program"] = "yes"
				}
			default:
				m[v.key] = v.value
			}
		}
	} else if low, ok := strings.CutPrefix(name, "image:"); ok {
		i := b.lib.images[low]
		maps.Copy(m, map[string]string{
			"fileversion": i.version, "description": i.description, "product": i.product, "company": i.company,
			"originalname": i.original, "signed": "true", "signature": i.signer, "signaturestatus": "Valid", "program": "yes",
		})
	} else {
		low := strings.ToLower(name)
		for _, ext := range []string{".exe", ".dll", ".sys", ".ocx", ".scr"} {
			if strings.HasSuffix(low, ext) {
				m["program"] = "yes"
			}
		}
	}
	m["executable"] = "false"
	if m["program"] != "" {
		m["executable"] = "true"
	}
	m["hashes"], m["md5"], m["sha256"] = h.String(), h.md5, h.sha256
	return m
}

func (b *builder) guid(p *process) string { return processGUID(p.host.machine, p.start, p.key) }

// processVar is a fact about a process under its template name.
func (b *builder) processVar(p *process, key string) (string, bool) {
	h, word := p.host, func(s string) string { return b.lib.word(b.s.language, s) }
	switch key {
	case "guid":
		return b.guid(p), true
	case "pid":
		return strconv.FormatUint(uint64(p.pid), 10), true
	case "startkey":
		return strconv.FormatUint(p.key, 10), true
	case "image":
		return p.image, true
	case "cmdline":
		return p.cmdline, true
	case "cwd":
		return p.cwd, true
	case "session":
		return p.session, true
	case "integrity":
		return p.integrity, true
	case "label":
		return integrityLabels[p.integrity], true
	case "luid":
		return "0x" + strconv.FormatUint(p.luid, 16), true
	case "logonguid":
		return logonGUID(h.machine, h.boot, p.luid), true
	case "elevation":
		switch {
		case p.luid == h.luid && p.account == h.vars["user"]:
			return "%%1938", true
		case p.luid == h.elevated && p.account == h.vars["user"]:
			return "%%1937", true
		}
		return "%%1936", true
	case "user", "account", "domain", "sid":
		sid, domain, name := h.vars["sid"], h.vars["domain"], p.account
		user := domain + `\` + name
		switch p.account {
		case "SYSTEM":
			sid, domain, name = "S-1-5-18", h.vars["workgroup"], h.vars["account"]
			user = word("NT AUTHORITY") + `\` + word("SYSTEM")
		case "LOCAL SERVICE":
			sid, domain, name = "S-1-5-19", word("NT AUTHORITY"), word("LOCAL SERVICE")
			user = domain + `\` + name
		case "NETWORK SERVICE":
			sid, domain, name = "S-1-5-20", h.vars["workgroup"], h.vars["account"]
			user = word("NT AUTHORITY") + `\` + word("NETWORK SERVICE")
		}
		return map[string]string{"user": user, "account": name, "domain": domain, "sid": sid}[key], true
	}
	v, ok := b.describe(p.content, p.image)[key]
	return v, ok
}

// sysmonTime is Sysmon's UtcTime notation.
func sysmonTime(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05.000") }

// emit writes one record if the host keeps that log.
func (r *running) emit(e *emission) error {
	b, h := r.b, r.t.host
	if e.when != "" {
		if v, _ := r.look(e.when); v == "" || v == "no" {
			return nil
		}
	}
	// Drawn for every log, kept or not: a scenario with fewer logs has the same
	// records in those it keeps.
	thread := uint32(4 * (20 + b.rng.IntN(2500)))
	jitter := time.Duration(b.rng.IntN(9000)) * 100 * time.Nanosecond
	if !h.logs[e.record.log.name] {
		return nil
	}
	proc, parent := r.proc, r.parent
	if e.actor != "" {
		p, err := r.need(e.actor)
		if err != nil {
			return err
		}
		r.proc, r.parent = p, p.parent
		defer func() { r.proc, r.parent = proc, parent }()
	}
	at := r.t.at.Add(e.after)
	vars := map[string]string{"utc": sysmonTime(at)}
	look := r.look.over(vars)
	for _, v := range e.values {
		value, err := expand(v.place, v.value, look)
		if err != nil {
			return err
		}
		vars[v.key] = value
	}
	spec := e.record
	ev := &event.Event{
		Host: h.vars["fqdn"], Provider: spec.log.provider, Channel: spec.log.channel, ID: spec.id,
		Version: spec.version, Level: spec.level, Opcode: spec.opcode, Task: spec.task, Keywords: spec.log.keywords,
	}
	if b.s.old {
		ev.Version = spec.oldVersion
	}
	var err error
	if ev.UserSID, err = expand(spec.place, spec.userID, look); err != nil {
		return err
	}
	if spec.writer == "proc" {
		ev.PID = r.proc.pid
	} else {
		w, err := r.need(spec.writer)
		if err != nil {
			return err
		}
		ev.PID = w.pid
	}
	ev.TID = thread
	for _, f := range spec.fields {
		if f.newer && b.s.old {
			continue
		}
		value, err := expand(f.place, f.value, look)
		if err != nil {
			return fmt.Errorf("%w (for %s:%d)", err, r.t.step.file, r.t.step.line)
		}
		ev.Data = append(ev.Data, event.Field{Name: f.name, Value: value})
	}
	ev.Logged = at.Add(spec.log.latency + jitter).Truncate(100 * time.Nanosecond)
	ev.Time = ev.Logged
	if spec.log.name == "sysmon" {
		ev.Time = at.Truncate(time.Millisecond)
	}
	b.order++
	b.records = append(b.records, record{
		event: ev, order: b.order, label: r.t.label,
		lost: slices.Contains(r.t.step.lost, spec.log.name),
	})
	return nil
}

// finish numbers the records in the order they were logged, and takes out the
// lost ones.
func (b *builder) finish() (*Built, error) {
	slices.SortStableFunc(b.records, func(x, y record) int {
		return cmp.Or(x.event.Logged.Compare(y.event.Logged), cmp.Compare(x.order, y.order))
	})
	built := &Built{
		Name: b.s.Name, Title: b.s.Title,
		Truth: make(map[RecordKey]Label, len(b.records)), Lost: map[RecordKey]Label{},
	}
	var err error
	if built.Expect, err = b.expectations(); err != nil {
		return nil, err
	}
	type log struct{ host, channel string }
	next := map[log]uint64{}
	loss := rand.New(rand.NewPCG(b.s.seed, streamLoss))
	for _, r := range b.records {
		e := r.event
		key := log{e.Host, e.Channel}
		if next[key] == 0 {
			d := digest("first record", e.Host, e.Channel)
			next[key] = 1000 + uint64(d[0])<<8 + uint64(d[1])
		}
		e.Ref = event.EvidenceRef{Host: e.Host, Channel: e.Channel, RecordID: next[key]}
		next[key]++
		if gone := loss.IntN(1000) < b.s.losePermil; gone || r.lost {
			built.Lost[KeyOf(e)] = r.label
			continue
		}
		built.Truth[KeyOf(e)] = r.label
		built.Events = append(built.Events, e)
	}
	slices.SortFunc(built.Events, event.Compare)
	return built, nil
}

// expectations fills in the variables of the expect section.
func (b *builder) expectations() (Expect, error) {
	x := b.s.Expect
	for _, list := range []*[]string{&x.Hosts, &x.Aliases, &x.Behaviours, &x.Hashes} {
		filled := make([]string, len(*list))
		for i, v := range *list {
			var err error
			if filled[i], err = expand(place{b.s.Name, 0}, v, b.builtin); err != nil {
				return x, err
			}
		}
		*list = filled
	}
	return x, nil
}
