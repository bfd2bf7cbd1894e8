package scenario

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"ashiato/internal/event"
)

// run executes one step: it changes the world and leaves the records.
func (b *builder) run(t *task) error {
	if t.over() || t.ends != nil && t.ends.ended {
		return nil
	}
	st := t.step
	b.now = t.at
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
		handle, key, dotted := strings.Cut(name, ".")
		if p := r.role(handle); dotted && p != nil {
			return b.processVar(p, key)
		}
		if dotted && !slices.Contains(reserved, handle) {
			if p := r.find(handle); p != nil {
				return b.processVar(p, key)
			}
			if l := r.logonOf(handle); l != nil {
				return l.value(key)
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
	for _, k := range append(slices.Clone(st.verb.need), st.verb.subject) {
		if r.vars[k] == "" && t.ends == nil && slices.Contains(handles, k) {
			return st.errorf("%s: %s names nothing", st.verb.name, k)
		}
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
	return r.note()
}

// orDefault is the step's value for a key, or else its verb's, before the defaults
// are filled in.
func (r *running) orDefault(key string) (string, error) {
	if v, ok := r.vars[key]; ok {
		return v, nil
	}
	for _, d := range r.t.step.verb.defaults {
		if d.key == key {
			return expand(d.place, d.value, r.look)
		}
	}
	return "", nil
}

// role is the process that the step gives a role in its records.
func (r *running) role(name string) *process {
	switch name {
	case "proc":
		return r.proc
	case "parent":
		return r.parent
	case "target":
		return r.target
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

	there  *host        // the other host, of a step between two
	remote bool         // while a record of that host is made
	left   []leftRecord // the records it left so far
	made   *node        // what it brought forth
	logged *logon       // the logon it made, if it made one
}

// leftRecord is a record that a step left.
type leftRecord struct {
	name   string // of its template
	id     recordID
	key    string // the registry key it is about
	remote bool   // on the other host of the step
}

// find returns the process of a handle: the scope's own, else the host's.
func (r *running) find(handle string) *process {
	if r.t.scope != nil {
		if p := r.t.scope.procs[handleKey{r.t.host, handle}]; p != nil {
			return p
		}
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
	b, h, vars := r.b, r.t.host, r.vars
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
	if name := vars["to"]; name != "" && r.t.step.verb.between {
		if r.there = b.hostByID[name]; r.there == nil || r.there == h {
			return r.t.step.errorf("to wants another host, not %q", name)
		}
		for _, key := range []string{"name", "fqdn", "address"} {
			vars["to."+key] = r.there.vars[key]
		}
	}
	if name := vars["logon"]; name != "" {
		at := h
		if r.there != nil {
			at = r.there
		}
		l := r.logonAt(at, name)
		if l == nil {
			return r.t.step.errorf("no logon %q on host %s", name, at.id)
		}
		r.actFor(l)
	}
	if v := r.t.step.verb; r.proc == nil && slices.Contains(v.may, "by") && slices.Contains(v.may, "logon") {
		return r.t.step.errorf("%s needs by or logon", v.name)
	}
	if name := vars["target"]; name != "" {
		p, err := r.need(name)
		if err != nil {
			return err
		}
		r.target = p
	}
	if verb == "sharewrite" {
		local, err := r.orDefault("local")
		if err != nil {
			return err
		}
		vars["localpath"] = strings.TrimPrefix(local, `\??\`) + `\` + vars["path"]
		if err := r.touch("write", vars["localpath"]); err != nil {
			return err
		}
	} else if path, ok := vars["path"]; ok && verb != "exclude" && verb != "share" && verb != "remoteopen" {
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
		delete(h.living, r.proc)
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
		vars["file.id"], vars["file.directory"] = h.fileID(`C:\Windows\System32\Tasks\`+vars["name"]), "false"
		vars["taskid"] = strings.ToUpper(madeGUID("task", h.id, vars["name"]))
	case "script":
		vars["scriptblock"] = strings.Trim(madeGUID("script", h.id, strconv.Itoa(r.t.order)), "{}")
		vars["runspace"] = strings.Trim(madeGUID("runspace", h.id, r.b.guid(r.proc)), "{}")
	case "connect":
		if vars["initiated"] == "false" {
			maps.Copy(vars, map[string]string{"direction": "%%14592", "layer": "%%14610", "layerid": "44"})
		}
		vars["sourceport"] = strconv.Itoa(49152 + r.b.rng.IntN(16000))
	case "access", "thread":
		vars["thread"] = strconv.Itoa(4 * (300 + r.b.rng.IntN(3000)))
	case "remotelogon", "rdplogon":
		vars["sourceport"] = strconv.Itoa(49152 + r.b.rng.IntN(16000))
		r.remoteLogon()
	case "runas":
		return r.runAs()
	case "bits":
		vars["jobid"] = strings.ToUpper(madeGUID("bits job", h.id, vars["title"], strconv.Itoa(r.t.order)))
		vars["transferid"] = strings.ToUpper(madeGUID("bits transfer", h.id, vars["title"], strconv.Itoa(r.t.order)))
	case "msibegin", "msiend":
		vars["productcode"] = strings.ToUpper(madeGUID("product", vars["product"]))
	case "wmifilter":
		h.queries[strings.ToLower(vars["name"])] = vars["wql"]
	case "wmibinding":
		vars["wql"] = h.queries[strings.ToLower(vars["filter"])]
		kind, err := r.orDefault("consumertype")
		if err != nil {
			return err
		}
		vars["property"] = ""
		if u := h.consumers[strings.ToLower(vars["consumer"])]; u != nil {
			name := map[string]string{"CommandLineEventConsumer": "CommandLineTemplate", "ActiveScriptEventConsumer": "ScriptText"}[kind]
			if vars["property"], err = filter("mof", u.command); err != nil {
				return err
			}
			vars["property"] = name + ` = "` + vars["property"] + `"`
		}
	case "winrmshell":
		vars["shell"] = strings.ToUpper(strings.Trim(madeGUID("shell", h.id, strconv.Itoa(r.t.order)), "{}"))
	case "logon", "logoff", "explicitlogon", "share":
		if vars["as"] != "" {
			r.entry(vars["type"])
			break
		}
		r.logon()
	case "rdpentry":
		r.entry("10")
	case "sshlogon":
		by := r.proc
		r.entry("3")
		r.byProcess(by)
		vars["ses"], vars["auid"] = strconv.FormatUint(r.logged.luid, 10), uidOf(vars["user"])
	case "reboot":
		return r.reboot()
	case "attach", "detach":
		return r.plug(verb == "attach")
	}
	return nil
}

// handles are the keys that name a process, a host or a logon.
var handles = []string{"process", "by", "target", "to", "as", "logon", "listener", "server"}

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
	folder, system := `C:\Windows\system32\`, "SYSTEM"
	if h.linux {
		folder, system = "/", "root"
	}
	p.cwd = or("cwd", pp.cwd, folder)
	p.account = or("user", pp.account, system)
	p.integrity = or("integrity", pp.integrity, "System")
	p.session = or("session", pp.session, "0")
	p.luid = h.luidOf(p.account, p.integrity)
	_, other := vars["user"]
	switch p.logon = r.logonOf(vars["logon"]); {
	case p.logon != nil:
		l := p.logon
		p.account, p.luid = or("user", "", l.account), l.luid
		p.integrity, p.session = or("integrity", "", "High"), or("session", "", l.session)
	case pp.logon != nil && !other:
		p.logon, p.luid = pp.logon, pp.luid
	}
	if v, ok := vars["luid"]; ok {
		n, err := strconv.ParseUint(v, 0, 64)
		if err != nil {
			return r.t.step.errorf("luid wants a number, not %q", v)
		}
		p.luid = n
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
	h.living[p] = true
	if p.content = vars["content"]; p.content == "" {
		p.content = b.contentAt(h, p.image)
	} else if b.contents[p.content] == nil {
		return r.t.step.errorf("unknown content %q", p.content)
	}
	if r.t.scope == nil {
		h.procs[p.handle] = p
	} else {
		r.t.scope.procs[handleKey{h, p.handle}] = p
	}
	p.node = b.processNode(p)
	r.proc, r.parent = p, p.parent
	vars["instance"] = madeGUID("instance", h.id, strconv.FormatUint(p.key, 16))

	if err := r.tokens(p); err != nil {
		return err
	}
	return r.limitLife(p, verb)
}

// tokens names the accounts of Security 4688: whose token created the process,
// and, if it is another, whose the process has.
func (r *running) tokens(p *process) error {
	creator := p.parent
	if c := r.vars["creator"]; c != "" {
		var err error
		if creator, err = r.alive(c); err != nil {
			return err
		}
	}
	if creator == nil {
		creator = p
	}
	r.account("subject.", creator)
	if creator.luid != p.luid {
		r.account("as.", p)
		return nil
	}
	maps.Copy(r.vars, map[string]string{"as.sid": "S-1-0-0", "as.name": "-", "as.domain": "-", "as.luid": "0x0"})
	return nil
}

// account sets the variables of an account to those of the process.
func (r *running) account(prefix string, p *process) {
	for name, key := range map[string]string{"sid": "sid", "name": "account", "domain": "domain", "luid": "luid"} {
		r.vars[prefix+name], _ = r.b.processVar(p, key)
	}
}

// limitLife plans the end of a process that was given its life's length.
func (r *running) limitLife(p *process, verb string) error {
	v := r.vars["lives"]
	if v == "" {
		return nil
	}
	d, err := time.ParseDuration(v)
	if err != nil || d < 0 || d > maxDelay {
		return r.t.step.errorf("lives wants a duration, not %q", v)
	}
	end := *r.t // its host, scope, label and variables
	at := r.t.at.Add(d)
	if !end.aside && r.b.warp != nil {
		at = r.b.warp.at(r.b.warp.back(r.t.at).Add(r.b.stretched(d)))
	}
	st := *r.t.step
	st.verb, st.subject, st.values, st.times, st.root = r.b.lib.verbs["end"], p.handle, nil, 1, ""
	if verb == "runtask" {
		st.verb = r.b.lib.verbs["endtask"]
		end.vars = map[string]string{}
		maps.Copy(end.vars, r.t.vars)
		end.vars["instance"], end.vars["taskname"] = r.vars["instance"], `\`+r.vars["name"]
	}
	end.at, end.step, end.n, end.ends = at, &st, 1, p
	end.label.Verb = st.verb.name
	return r.b.push(&end)
}

// logon names the account and the process that a logon record is about.
func (r *running) logon() {
	h, vars := r.t.host, r.vars
	who := &process{host: h, account: vars["user"]}
	who.luid = h.luidOf(who.account, "")
	for _, k := range []string{"sid", "account", "domain"} {
		vars["who."+k], _ = r.b.processVar(who, k)
	}
	if vars["luid"] == "" {
		vars["luid"] = "0x" + strconv.FormatUint(who.luid, 16)
		if vars["type"] == "3" {
			vars["luid"] = "0x" + strconv.FormatUint(0x400000+r.b.rng.Uint64N(0xffffff), 16)
		}
	}
	by, known := callers[vars["type"]]
	if !known {
		by = "winlogon"
	}
	r.byProcess(r.find(by))
}

// callers are the processes that ask for a logon, by its type; none for those
// from elsewhere.
var callers = map[string]string{"2": "winlogon", "7": "winlogon", "11": "winlogon", "5": "services", "3": "", "10": ""}

// actFor makes a logon the one that a step acts for: a caller from another host,
// of whom this host knows the account and the logon but no process.
func (r *running) actFor(l *logon) {
	if r.proc == nil {
		r.proc = &process{host: l.host, account: l.account, luid: l.luid, node: l.node}
		r.parent = r.proc
	}
	who := &process{host: l.host, account: l.account, luid: l.luid}
	for _, k := range []string{"sid", "account", "domain"} {
		r.vars["who."+k], _ = r.b.processVar(who, k)
	}
	r.vars["sessionid"] = l.session
	for _, k := range []string{"luid", "ip", "port"} {
		if _, given := r.vars[k]; !given {
			r.vars[k], _ = l.value(k)
		}
	}
}

// value is a fact about a logon under its template name.
func (l *logon) value(key string) (string, bool) {
	switch key {
	case "luid":
		return "0x" + strconv.FormatUint(l.luid, 16), true
	case "user":
		return l.account, true
	case "session":
		return l.session, true
	case "ip":
		return l.ip, true
	case "port":
		return l.port, true
	case "clientpid":
		if l.client != nil {
			return strconv.FormatUint(uint64(l.client.pid), 10), true
		}
	}
	return "", false
}

// newLogon makes a logon session of the step's user on a host and names it by
// the step's key "as".
func (r *running) newLogon(h *host, kind string) *logon {
	luid := 0x400000 + r.b.rng.Uint64N(0xffffff)
	l := &logon{node: &node{Subject: Subject{Kind: "logon", Host: h.vars["fqdn"], LUID: luid}}, host: h}
	if h.linux {
		h.entered++
		luid = uint64(h.entered)
		l.LUID = luid
	}
	l.account, l.kind, l.luid, l.session = r.vars["user"], kind, luid, "0"
	l.Name = l.account
	r.logged = l
	r.t.scope.logons[handleKey{h, r.vars["as"]}] = l
	who := &process{host: h, account: l.account, luid: luid}
	for _, k := range []string{"sid", "account", "domain"} {
		r.vars["who."+k], _ = r.b.processVar(who, k)
	}
	r.vars["luid"], _ = l.value("luid")
	return l
}

// byProcess names the process that a logon record gives as its caller; nil is
// none, as for a logon over the network.
func (r *running) byProcess(p *process) {
	if p == nil {
		maps.Copy(r.vars, map[string]string{
			"by.sid": "S-1-0-0", "by.account": "-", "by.domain": "-", "by.luid": "0x0", "by.pid": "0", "by.image": "-",
		})
		return
	}
	for _, k := range []string{"sid", "account", "domain", "luid", "pid", "image"} {
		r.vars["by."+k], _ = r.b.processVar(p, k)
	}
}

// remoteLogon logs the step's user on to the other host.
func (r *running) remoteLogon() {
	kind := "3"
	if r.t.step.verb.name == "rdplogon" {
		kind = "10"
	}
	l := r.arrive(r.there, kind)
	l.client = r.proc
	l.ip, l.port = r.t.host.vars["address"], r.vars["sourceport"]
}

// entry logs the step's user on to this host from an address of which the
// scenario knows no host.
func (r *running) entry(kind string) {
	if r.vars["port"] == "" {
		r.vars["port"] = strconv.Itoa(49152 + r.b.rng.IntN(16000))
	}
	l := r.arrive(r.t.host, kind)
	l.ip, l.port = r.vars["ip"], r.vars["port"]
	if caller := callers[kind]; caller != "" {
		r.byProcess(r.find(caller))
	}
}

// arrive makes a logon from elsewhere: over Remote Desktop in a session of its
// own, for which the service asked in the system's name.
func (r *running) arrive(h *host, kind string) *logon {
	l := r.newLogon(h, kind)
	r.byProcess(nil)
	if kind == "10" {
		h.sessions++
		l.session = strconv.Itoa(1 + h.sessions)
		r.vars["sessionid"] = l.session
		r.byProcess(h.procs["winlogon"])
		if p := r.t.scope.procs[handleKey{h, r.vars["listener"]}]; p != nil {
			for _, k := range []string{"pid", "image"} {
				r.vars["by."+k], _ = r.b.processVar(p, k)
			}
		}
	}
	return l
}

// runAs logs the step's user on at this host, for a process that asked for it.
func (r *running) runAs() error {
	listener, err := r.need(r.vars["listener"])
	if err != nil {
		return err
	}
	l := r.newLogon(r.t.host, r.vars["type"])
	l.requester, l.session = r.proc, r.proc.session
	l.ip, l.port = "::1", "0"
	r.byProcess(r.proc)
	for _, k := range []string{"pid", "image"} {
		r.vars["by."+k], _ = r.b.processVar(listener, k)
	}
	return nil
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
				vars["mounted"] = l
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
		name = folder
		b.setContent(h, path, name)
	}
	b.date(h, verb, path, vars["to"], r.t.at)
	for k, v := range b.describe(name, path) {
		vars["file."+k] = v
	}
	vars["file.age"] = b.age(h, path, r.t.at)
	vars["file.id"] = h.fileID(path)
	if serial := vars["volume.volumeserial"]; serial != "" && vars["file.link"] != "" {
		vars["file.linkserial"] = serial
	}
	return nil
}

// date keeps when what lies at a path was written. A file that gets another name
// stays the file it was.
func (b *builder) date(h *host, verb, path, to string, t time.Time) {
	dated, key := b.datesOf(h, path)
	switch verb {
	case "write":
		dated[key] = t
	case "delete":
		delete(dated, key)
	case "rename":
		if at, ok := dated[key]; ok {
			delete(dated, key)
			other, now := b.datesOf(h, to)
			other[now] = at
		}
		h.once[strings.ToLower(to)] = h.firstName(path)
	}
}

// firstName is the name under which a file that may have been renamed began.
func (h *host) firstName(path string) string {
	low := strings.ToLower(path)
	if name, ok := h.once[low]; ok {
		return name
	}
	return low
}

// fileID is the number of a file on its volume, made up of its first name.
func (h *host) fileID(path string) string {
	d := digest("file id", h.id, h.firstName(path))
	return fmt.Sprintf("0x%x", d[:6])
}

// sysmonTime is Sysmon's UtcTime notation.
func sysmonTime(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05.000") }

// emit writes one record if the host keeps that log.
func (r *running) emit(e *emission) error {
	if e.there {
		defer func(h *host) { r.t.host, r.remote = h, false }(r.t.host)
		r.t.host, r.remote = r.there, true
	}
	b, h := r.b, r.t.host
	if e.record.log.linux != h.linux && e.record.log.name != sensorLog {
		return nil
	}
	if e.when != "" {
		if v, _ := r.look(e.when); v == "" || v == "no" {
			return nil
		}
	}
	// Drawn for every log, kept or not: a scenario with fewer logs has the same
	// records in those it keeps.
	// The sensor's take their time from the fact itself and draw nothing.
	var thread uint32
	var jitter time.Duration
	if e.record.log.name != sensorLog {
		thread = uint32(4 * (20 + b.rng.IntN(2500)))
		jitter = time.Duration(b.rng.IntN(9000)) * 100 * time.Nanosecond
	}
	if !h.logs[e.record.log.name] {
		return nil
	}
	proc, parent := r.proc, r.parent
	if e.actor != "" {
		actor, err := expand(e.place, e.actor, r.look)
		if err != nil {
			return err
		}
		p, err := r.need(actor)
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
	switch spec.writer {
	case "proc":
		ev.PID = r.proc.pid
	case "none":
		thread = 0
	default:
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
		if f.name == "arguments" && spec.log.name == "audit" {
			args := strings.Fields(r.proc.cmdline)
			ev.Data = append(ev.Data, event.Field{Name: "argc", Value: strconv.Itoa(len(args))})
			for i, a := range args {
				ev.Data = append(ev.Data, event.Field{Name: "a" + strconv.Itoa(i), Value: a})
			}
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
	if spec.log.name == "sysmon" || spec.log.name == "linuxsysmon" {
		ev.Time = at.Truncate(time.Millisecond)
	}
	if spec.log.name == "audit" {
		ev.Logged = at.Truncate(time.Millisecond)
		ev.Time = ev.Logged
	}
	b.order++
	id := recordID(len(b.records))
	r.left = append(r.left, leftRecord{name: spec.name, id: id, key: vars["key"], remote: r.remote})
	b.records = append(b.records, record{
		event: ev, id: id, order: b.order, label: r.t.label,
		lost: slices.Contains(r.t.step.lost, spec.log.name),
	})
	return nil
}
