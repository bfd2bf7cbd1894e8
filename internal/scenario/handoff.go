package scenario

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// unit is something registered that later makes a process: a service, a task, a
// WMI subscription, a registry value.
type unit struct {
	*node
	// by is who made it: a process or, from another host, a logon.
	by *node
	// command is what it runs, as registered; command's records are in holds.
	command string
	holds   []recordID
	// dll is a service's ServiceDll; dllSet are the records of its setting.
	dll    string
	dllSet []recordID
	// ran are the hand-offs to the processes it ran, by process.
	ran map[*process]*handoff
}

// version is one writing of a file.
type version struct {
	*node
	host *host
	// writer is who wrote it: a process, or a logon over a share.
	writer *node
	// row is the hand-off by which it came: 9, or 20 over a share, 22 by BITS,
	// 23 by Windows Installer.
	row int
	// arrived are the records that, beside those of the writing, lead to the
	// writer.
	arrived []need
	// hashes are the records that hold its content's hashes under this name.
	hashes []recordID
	// from is the version it was copied or renamed from.
	from *version
	// mount is where its volume was when it was written; nil for a fixed disk.
	mount *mount
	// carried is the version that another host wrote on the volume, of which this
	// one is the view of the host that it was carried to. views are the views.
	carried *version
	views   map[*host]*version
}

// logon is a logon session on a host.
type logon struct {
	*node
	host    *host
	account string
	kind    string // the logon type
	luid    uint64
	session string
	// ip and port are where it came from.
	ip, port string
	// asked are the records and the process that asked for it with other
	// credentials, on this host.
	requester *process
	asked     []recordID
	// client is the process on the other host that logged on, nil if none did.
	client *process
}

// mount is a volume at a drive letter.
type mount struct {
	*node
	volume *volume
	// letter are the records that hold the letter.
	letter []recordID
}

// job is a BITS transfer.
type job struct {
	by    *process
	id    string
	name  string
	local string
	// path are the records that hold the local file's name.
	path []recordID
	// made are the records that name the job and who made it.
	made []recordID
	// notifier told it what to run when done; nil if nobody did.
	notifier *process
}

// install is a run of Windows Installer; there is one at a time.
type install struct {
	client, server *process
	began          []recordID
}

// does reports whether p is the installer's service or a process that it started
// for a package's own code.
func (m *install) does(p *process) bool {
	return m != nil && p != nil && (p == m.server || p.parent == m.server && lowerBase(p.image) == "msiexec.exe")
}

// pipeServer is who made a named pipe.
type pipeServer struct {
	proc *process
	made []recordID
}

// brokers start programs on behalf of others: whose child a process is tells
// nothing about why it was started. The host of a remote shell (wsmprovhost.exe)
// is none: there is one for each shell, and what it starts is its own.
var brokers = words(`system services.exe svchost.exe wininit.exe winlogon.exe lsass.exe smss.exe csrss.exe userinit.exe
	explorer.exe runtimebroker.exe taskhostw.exe dllhost.exe sihost.exe wmiprvse.exe scrcons.exe msiexec.exe
	systemd cron sshd containerd-shim-runc-v2`)

// interpreters are the programs that run, or open with what it carries, a file
// that is their argument: any, or those with the extensions.
var interpreters = map[string][]string{
	"wscript.exe": nil, "cscript.exe": nil, "mshta.exe": nil, "rundll32.exe": nil, "regsvr32.exe": nil,
	"msbuild.exe": nil, "installutil.exe": nil, "winword.exe": nil, "excel.exe": nil, "powerpnt.exe": nil,
	"sh": nil, "bash": nil, "dash": nil, "python3": nil, "perl": nil, "crontab": nil, "nohup": nil,
	"cmd.exe": {".bat", ".cmd"}, "powershell.exe": {".ps1"}, "pwsh.exe": {".ps1"}, "msiexec.exe": {".msi", ".msp"},
}

// interprets reports whether a program runs the file that is its argument.
func interprets(image, file string) bool {
	exts, ok := interpreters[image]
	return ok && (exts == nil || slices.Contains(exts, strings.ToLower(path.Ext(baseName(file)))))
}

// registrars are the programs whose command line names the service or task that
// they have registered.
var registrars = words(`sc.exe schtasks.exe powershell.exe cmd.exe`)

func words(s string) map[string]bool {
	m := map[string]bool{}
	for _, w := range strings.Fields(s) {
		m[w] = true
	}
	return m
}

func lowerBase(path string) string { return strings.ToLower(baseName(path)) }

// left are the records that this step left of the given templates.
func (r *running) leftOf(names ...string) []recordID {
	var ids []recordID
	for _, l := range r.left {
		for _, n := range names {
			if l.name == n || l.name == alike[n] || l.name == linuxAlike[n] {
				ids = append(ids, l.id)
			}
		}
	}
	return ids
}

// linuxAlike are the records of Linux that say what a record of Windows does.
var linuxAlike = map[string]string{
	"sysmon/1": "linuxsysmon/1", "sysmon/3": "linuxsysmon/3", "sysmon/11": "linuxsysmon/11",
	"security/4688": "audit/1300-execve", "security/4624": "audit/1105",
}

// alike are the sensor's records that say what another log's record does.
var alike = map[string]string{
	"sysmon/1": "sensor/1", "sysmon/3": "sensor/3", "sysmon/7": "sensor/7", "sysmon/11": "sensor/11", "sysmon/13": "sensor/13",
	"sysmon/15": "sensor/15", "sysmon/26": "sensor/26", "sysmon/29": "sensor/29",
	"security/4697": "sensor/120", "security/4698": "sensor/121", "partition/1006": "sensor/100",
}

// leftAll are all records that this step left.
func (r *running) leftAll() []recordID {
	var ids []recordID
	for _, l := range r.left {
		ids = append(ids, l.id)
	}
	return ids
}

// born is a need for the records of a thing's coming into being.
func born(what string, n *node) need { return need{what, n.born} }

// started is a need for a record of the process's start.
func started(p *process) need { return need{"the start of " + baseName(p.image), p.node.born} }

// hand notes a hand-off that this step completed.
func (r *running) hand(row int, name string, from, via, to *node, ways ...way) *handoff {
	h := &handoff{from: from, via: via, to: to, ways: ways}
	h.Row, h.Name, h.Time, h.Label = row, name, r.t.at, r.t.label
	r.b.handoffs = append(r.b.handoffs, h)
	return h
}

func exact(needs ...need) way     { return way{"A", needs} }
func byContent(needs ...need) way { return way{"B", needs} }

// note writes down what this step did: what came into being, and which hand-offs
// it completed. It runs after the step's records were made.
func (r *running) note() error {
	verb := r.t.step.verb.name
	switch verb {
	case "running", "start", "runtask":
		if err := r.noteStart(verb); err != nil {
			return err
		}
	case "service":
		r.noteService()
	case "servicechange":
		r.noteServiceChange()
	case "task":
		r.noteTask()
	case "write", "stream", "rename", "delete", "sharewrite":
		if err := r.noteFile(verb); err != nil {
			return err
		}
	case "load":
		r.noteLoad()
	case "set":
		r.noteValue()
	case "thread", "access":
		r.noteInjection(verb)
	case "pipe", "openpipe":
		r.notePipe(verb)
	case "script":
		r.noteScript()
	case "wmiconsumer", "wmibinding":
		r.noteSubscription(verb)
	case "remotelogon", "rdplogon", "runas", "rdpentry", "logon", "sshlogon":
		r.noteLogon()
	case "bits":
		r.noteJob()
	case "msibegin", "msiend":
		if err := r.noteInstall(verb); err != nil {
			return err
		}
	case "attach":
		r.noteMount()
	case "detach":
		maps.DeleteFunc(r.t.host.mounts, func(_ string, m *mount) bool { return m.volume.id == r.vars["volume"] })
	}
	if r.t.step.root != "" {
		return r.noteRoot()
	}
	return nil
}

// noteRoot writes down that this step shows the root cause.
func (r *running) noteRoot() error {
	b, st := r.b, r.t.step
	if b.root.Kind != "" {
		return st.errorf("a scenario has one root, and %s is it already", b.root.Kind)
	}
	b.root.Kind = st.root
	for _, l := range r.left {
		b.rootRecords = append(b.rootRecords, l.id)
	}
	switch {
	case r.made != nil:
		b.rootNode = r.made
	case r.proc != nil:
		b.rootNode = r.proc.node
	default:
		return st.errorf("%s brings nothing forth that could be a root", st.verb.name)
	}
	// A program that serves the network, or that was there before, is known by
	// what it started.
	if (st.root == "exposed-service" || st.root == "before-recording") && r.made != nil && r.parent != nil {
		b.rootNode = r.parent.node
	}
	return nil
}

func (r *running) noteStart(verb string) error {
	b, h, p, vars := r.b, r.t.host, r.proc, r.vars
	p.node.born = r.leftOf("sysmon/1", "security/4688")
	r.made = p.node
	if verb == "running" {
		return nil
	}
	own := started(p)
	// The token of a process that another logon asked for is in newer records
	// of Security only.
	token := own
	if b.s.old {
		token = need{"sysmon/1", r.leftOf("sysmon/1")}
	}
	image := lowerBase(p.image)
	if pp := p.parent; pp != nil && !brokers[lowerBase(pp.image)] {
		ways := []way{exact(need{"sysmon/1", r.leftOf("sysmon/1")})}
		if len(pp.node.born) > 0 {
			ways = append(ways, exact(need{"security/4688", r.leftOf("security/4688")}, started(pp)))
		}
		r.hand(1, "created", pp.node, nil, p.node, ways...)
	}
	if verb == "runtask" {
		r.noteTaskRun(own)
	}
	if name := vars["service"]; name != "" {
		u := h.services[strings.ToLower(name)]
		if u == nil {
			return r.t.step.errorf("no step registered service %q on host %s", name, h.id)
		}
		var ways []way
		low := strings.ToLower(p.cmdline)
		switch {
		case sameCommand(h, u.command, p.cmdline) && !r.ambiguous(u):
			ways = append(ways, byContent(need{"the registration's ImagePath", u.holds}, own))
		case strings.HasSuffix(low, " -s "+strings.ToLower(name)):
			ways = append(ways, byContent(own))
		}
		u.ran[p] = r.hand(2, "service-ran", u.node, nil, p.node, ways...)
	}
	if name := vars["wmi"]; name != "" {
		u := h.consumers[strings.ToLower(name)]
		if u == nil {
			return r.t.step.errorf("no step registered WMI consumer %q on host %s", name, h.id)
		}
		var ways []way
		if sameCommand(h, u.command, p.cmdline) {
			ways = append(ways, byContent(need{"sysmon/20 or wmi/5861", u.holds}, own))
		}
		r.hand(6, "subscription-ran", u.node, nil, p.node, ways...)
	}
	if client := vars["client"]; client != "" {
		c, err := r.need(client)
		if err != nil {
			return err
		}
		row, name := 7, "com-activated"
		if p.parent != nil && lowerBase(p.parent.image) == "wmiprvse.exe" {
			row, name = 5, "wmi-created"
		}
		r.hand(row, name, c.node, nil, p.node)
	}
	// What the host itself logs on for a service or a batch is its own doing. A
	// broker in a session, its shell, starts what the session is for.
	if l := p.logon; l != nil && l.kind != "4" && l.kind != "5" && (p.parent == nil || p.parent.logon != l || brokers[lowerBase(p.parent.image)]) {
		row, name := 17, "session-started"
		switch {
		case l.requester != nil:
			row, name = 21, "other-credentials"
		case image == "wsmprovhost.exe" || p.parent != nil && lowerBase(p.parent.image) == "wsmprovhost.exe":
			row, name = 18, "winrm-session"
		case p.parent != nil && lowerBase(p.parent.image) == "wmiprvse.exe":
			row, name = 5, "wmi-remote-created"
		case strings.Contains(p.cmdline, "mbedding"):
			row, name = 7, "dcom-activated"
		case l.kind == "10":
			row, name = 19, "rdp-session"
		}
		in := exact(born("security/4624", l.node), token)
		if l.requester != nil {
			in.needs = append(in.needs, need{"security/4648", l.asked})
			r.hand(row, name, l.requester.node, l.node, p.node, in)
		} else {
			r.hand(row, name, l.node, nil, p.node, in)
		}
	}
	if p.parent != nil && lowerBase(p.parent.image) == "explorer.exe" {
		r.noteFromVolume(own)
	}
	if name := vars["autostart"]; name != "" {
		if err := r.noteAutostart(name, own); err != nil {
			return err
		}
	}
	if name := vars["job"]; name != "" {
		j := h.jobs[strings.ToLower(name)]
		if j == nil {
			return r.t.step.errorf("no BITS job %q on host %s", name, h.id)
		}
		if n := j.notifier; n != nil {
			r.hand(22, "bits-notified", n.node, nil, p.node, byContent(started(n), own))
		} else {
			r.hand(22, "bits-notified", j.by.node, nil, p.node)
		}
	}
	for _, j := range h.jobs {
		if low := strings.ToLower(p.cmdline); image == "bitsadmin.exe" && strings.Contains(low, "setnotifycmdline") && strings.Contains(low, strings.ToLower(j.name)) {
			j.notifier = p
		}
	}
	if m := h.install; m != nil && image != "msiexec.exe" && m.does(p.parent) {
		r.hand(23, "installer-started", m.client.node, nil, p.node,
			byContent(need{"msi/1040", m.began}, born("the start of the client", m.client.node), own))
	}
	// What it runs, and what it was given to run.
	if v := b.versionAt(h, p.image); v != nil {
		r.noteUse(v, "executed", own, need{"sysmon/1", r.leftOf("sysmon/1")})
	}
	seen := map[*version]bool{}
	for _, path := range pathsIn(p.cmdline) {
		if !interprets(image, path) || strings.EqualFold(path, p.image) {
			continue
		}
		if v := b.versionAt(h, path); v != nil && !seen[v] {
			seen[v] = true
			r.noteUse(v, "argument", own, need{})
		}
	}
	return nil
}

// noteUse writes down that the process runs a file that was written before. The
// hash need is met by records that hold the content's hash at its use; without
// one the file must be known by its path.
func (r *running) noteUse(v *version, how string, own, hash need) {
	if v.carried != nil {
		v.hashes = append(v.hashes, hash.any...)
		r.noteCarried(v, how, own)
		return
	}
	ways := []way{byContent(append([]need{born("the writing of "+baseName(v.Path), v.node), own}, v.arrived...)...)}
	if hash.what != "" {
		for o := v.from; o != nil; o = o.from {
			ways = append(ways, byContent(append([]need{{"a hash of " + baseName(o.Path), o.hashes}, hash}, o.arrived...)...))
		}
		v.hashes = append(v.hashes, hash.any...)
	}
	if v.writer == r.proc.node {
		return // its own file
	}
	name := map[int]string{9: "file", 20: "share-file", 22: "bits-file", 23: "installer-file"}[v.row] + "-" + how
	r.hand(v.row, name, v.writer, v.node, r.proc.node, ways...)
}

// noteCarried writes down that the process uses a file that another host wrote
// on the volume. Both hosts must tell which volume was at the letter.
func (r *running) noteCarried(v *version, how string, own need) {
	m, o := r.t.host.mountOf(v.Path), v.carried
	if m == nil || o.mount == nil {
		return
	}
	r.hand(8, "carried-file-"+how, o.writer, m.node, r.proc.node, byContent(
		born("the writing of "+baseName(o.Path), o.node), need{"the drive letter there", o.mount.letter},
		need{"the drive letter here", m.letter}, own))
}

// mountOf is the removable volume that a path lies on, nil if on none.
func (h *host) mountOf(path string) *mount {
	if len(path) < 2 || path[1] != ':' {
		return nil
	}
	return h.mounts[strings.ToUpper(path[:1])]
}

// noteFromVolume writes down that the shell started a process from a removable
// volume.
func (r *running) noteFromVolume(own need) {
	h, p := r.t.host, r.proc
	for _, letter := range sortedLetters(h) {
		m := h.mounts[letter]
		at := strings.ToLower(letter) + `:\`
		if !strings.Contains(strings.ToLower(p.image+"\n"+p.cmdline+"\n"+p.cwd), at) {
			continue
		}
		ways := []way{byContent(need{"the record of the drive letter", m.letter}, own)}
		if len(h.mounts) == 1 {
			ways = append(ways, byContent(need{"a record of the volume's arrival", m.born}, own))
		}
		r.hand(8, "opened-from-volume", m.node, nil, p.node, ways...)
	}
}

// noteAutostart writes down that a registry value or a file in a Startup folder
// made Windows start the process.
func (r *running) noteAutostart(name string, own need) error {
	h, p := r.t.host, r.proc
	if u := h.values[strings.ToLower(name)]; u != nil {
		var ways []way
		if sameCommand(h, u.command, p.cmdline) || strings.Contains(strings.ToLower(p.cmdline), strings.ToLower(unquote(u.command))) && u.command != "" {
			ways = append(ways, byContent(need{"sysmon/13", u.holds}, own))
		}
		r.hand(13, "autostart-ran", u.by, u.node, p.node, ways...)
		return nil
	}
	v := r.b.versionAt(h, name)
	if v == nil {
		return r.t.step.errorf("no step set or wrote %q on host %s", name, h.id)
	}
	var ways []way
	if strings.Contains(strings.ToLower(p.cmdline), strings.ToLower(name)) {
		ways = append(ways, byContent(born("sysmon/11", v.node), own))
	}
	r.hand(13, "autostart-ran", v.writer, v.node, p.node, ways...)
	return nil
}

// ambiguous reports whether another service of the host runs the same command.
func (r *running) ambiguous(u *unit) bool {
	for _, o := range r.t.host.services {
		if o != u && sameCommand(r.t.host, o.command, u.command) {
			return true
		}
	}
	return false
}

// maker is who registers something: the logon that a step names, else its
// process; with the logon, whether there is one.
func (r *running) maker() (*node, *logon) {
	if l := r.logonOf(r.vars["logon"]); l != nil {
		return l.node, l
	}
	return r.proc.node, nil
}

// registered notes who registered a unit.
func (r *running) registered(row, remoteRow int, name string, u *unit, audit string) {
	by, l := r.maker()
	u.by = by
	newest := need{"security/" + audit, r.leftOf("security/" + audit)}
	if l != nil {
		r.hand(remoteRow, name+"-remotely", by, nil, u.node, exact(newest, born("security/4624", l.node)))
		return
	}
	var ways []way
	if !r.b.s.old {
		ways = append(ways, exact(need{"security/" + audit + " with its client", newest.any}))
	}
	if p := r.proc; registrars[lowerBase(p.image)] && strings.Contains(strings.ToLower(p.cmdline), strings.ToLower(strings.TrimPrefix(u.Name, `\`))) {
		ways = append(ways, byContent(started(p), need{"a record of the registration", u.born}))
	}
	r.hand(row, name, by, nil, u.node, ways...)
}

func (r *running) noteService() {
	h, vars := r.t.host, r.vars
	u := &unit{node: r.node("service"), command: vars["image"], ran: map[*process]*handoff{}}
	u.Name, u.Path = vars["name"], vars["image"]
	u.born = r.leftAll()
	for _, l := range r.left {
		if (l.name == "sysmon/13" || l.name == "sensor/13") && !strings.HasSuffix(l.key, `\ImagePath`) {
			continue
		}
		u.holds = append(u.holds, l.id)
	}
	r.made = u.node
	h.services[strings.ToLower(u.Name)] = u
	r.registered(2, 3, "service-created", u, "4697")
}

// noteServiceChange writes down that a process changed a service that a step
// registered.
func (r *running) noteServiceChange() {
	u := r.t.host.services[strings.ToLower(r.vars["name"])]
	if u == nil {
		return
	}
	by, l := r.maker()
	var ways []way
	if l == nil && registrars[lowerBase(r.proc.image)] && strings.Contains(strings.ToLower(r.proc.cmdline), strings.ToLower(u.Name)) {
		ways = append(ways, byContent(started(r.proc), need{"system/7040", r.leftOf("system/7040")}))
	}
	r.hand(3, "service-changed", by, nil, u.node, ways...)
}

func (r *running) noteTask() {
	h, vars := r.t.host, r.vars
	u := &unit{node: r.node("task"), command: strings.TrimSpace(vars["command"] + " " + vars["arguments"])}
	u.Name, u.Path = vars["taskname"], vars["command"]
	u.born = r.leftAll()
	u.holds = r.leftOf("security/4698")
	r.made = u.node
	h.registered[strings.ToLower(u.Name)] = u
	r.registered(4, 4, "task-created", u, "4698")
}

func (r *running) noteTaskRun(own need) {
	h, p := r.t.host, r.proc
	name := r.vars["taskname"]
	if name == "" {
		name = `\` + r.vars["name"]
	}
	u := h.registered[strings.ToLower(name)]
	ways := []way{exact(need{"tasks/129", r.leftOf("tasks/129")}, own)}
	if u == nil {
		n := r.node("task")
		n.Name = name
		r.hand(4, "task-ran", n, nil, p.node, ways...)
		return
	}
	if same := sameCommand(h, u.command, p.cmdline) || strings.EqualFold(unquote(u.Path), p.image); same && !r.sameTask(u) {
		ways = append(ways, byContent(need{"security/4698", u.holds}, own))
	}
	r.hand(4, "task-ran", u.node, nil, p.node, ways...)
}

// sameTask reports whether another registered task has the same program.
func (r *running) sameTask(u *unit) bool {
	for _, o := range r.t.host.registered {
		if o != u && strings.EqualFold(o.Path, u.Path) {
			return true
		}
	}
	return false
}

func (r *running) noteFile(verb string) error {
	b, h, vars := r.b, r.t.host, r.vars
	path := vars["path"]
	switch verb {
	case "delete":
		b.setVersion(h, path, nil)
		return nil
	case "stream":
		// A stream's record holds the hash of the file, and shows it.
		if i := strings.LastIndexByte(path, ':'); i > 2 {
			path = path[:i]
		}
		if v := b.versionAt(h, path); v != nil {
			v.hashes = append(v.hashes, r.leftOf("sysmon/15")...)
			v.born = append(v.born, r.leftOf("sysmon/15")...)
			r.made = v.node
			if from := vars["archive"]; from != "" {
				a := b.versionAt(h, from)
				if a == nil {
					return r.t.step.errorf("no step wrote the archive %s", from)
				}
				r.hand(9, "unpacked", a.writer, a.node, v.node,
					byContent(born("the writing of "+baseName(from), a.node), need{"sysmon/15", r.leftOf("sysmon/15")}))
			}
		}
		return nil
	}
	v := &version{node: r.node("file"), host: h, row: 9}
	v.Path, v.Written = path, r.t.at
	v.born = r.leftAll()
	v.hashes = r.leftOf("sysmon/29")
	r.made = v.node
	if r.proc != nil {
		v.writer = r.proc.node
	}
	switch m := h.install; {
	case verb == "sharewrite":
		l := r.logonOf(vars["logon"])
		v.writer, v.row = l.node, 20
		v.Path = r.vars["localpath"]
		path = v.Path
		v.arrived = []need{{"security/5145", r.leftOf("security/5145")}, born("security/4624", l.node)}
		r.hand(20, "share-written", l.node, nil, v.node, exact(v.arrived...))
	case vars["job"] != "":
		j := h.jobs[strings.ToLower(vars["job"])]
		if j == nil {
			return r.t.step.errorf("no BITS job %q on host %s", vars["job"], h.id)
		}
		v.writer, v.row = j.by.node, 22
		v.arrived = []need{{"bits/16403", j.path}}
		ways := []way{exact(need{"bits/16403", j.path}, born("sysmon/11", v.node))}
		if strings.Contains(strings.ToLower(j.by.cmdline), strings.ToLower(path)) {
			ways = append(ways, byContent(started(j.by), need{"bits/3", j.made}, born("sysmon/11", v.node)))
		}
		r.hand(22, "bits-written", j.by.node, nil, v.node, ways...)
	case m.does(r.proc):
		v.writer, v.row = m.client.node, 23
		v.arrived = []need{{"msi/1040", m.began}}
		r.hand(23, "installer-written", m.client.node, nil, v.node,
			byContent(need{"msi/1040", m.began}, born("the start of the client", m.client.node), born("sysmon/11", v.node)))
	}
	from, name := vars["copy"], "copied"
	if verb == "rename" {
		from, name = path, "renamed"
		v.Path = vars["to"]
	}
	if from != "" {
		if v.from = b.versionAt(h, from); v.from != nil {
			c := r.hand(11, name, v.from.node, nil, v.node)
			named := r.leftOf("sensor/110")
			b.late = append(b.late, func() {
				c.ways = []way{byContent(need{"a hash of " + baseName(v.from.Path), v.from.hashes}, need{"a hash of " + baseName(v.Path), v.hashes})}
				if len(named) > 0 {
					c.ways = append(c.ways, exact(need{"sensor/110", named}))
				}
			})
		}
	}
	if verb == "rename" {
		b.setVersion(h, path, nil)
		if v.from != nil {
			v.writer, v.row, v.arrived = v.from.writer, v.from.row, v.from.arrived
		}
	}
	v.mount = h.mountOf(v.Path)
	b.setVersion(h, v.Path, v)
	return nil
}

func (r *running) noteLoad() {
	b, h, p := r.b, r.t.host, r.proc
	path := r.vars["path"]
	loaded := need{"sysmon/7", r.leftOf("sysmon/7")}
	for _, u := range h.services {
		if ran := u.ran[p]; ran != nil && strings.EqualFold(u.dll, path) {
			ran.ways = append(ran.ways, byContent(need{"sysmon/13 of ServiceDll", u.dllSet}, loaded))
		}
	}
	if name := r.vars["autostart"]; name != "" {
		if u := h.values[strings.ToLower(name)]; u != nil {
			var ways []way
			if strings.EqualFold(unquote(u.command), path) {
				ways = append(ways, byContent(need{"sysmon/13", u.holds}, loaded))
			}
			r.hand(14, "hijack-loaded", u.by, u.node, p.node, ways...)
		}
	}
	v := b.versionAt(h, path)
	if v == nil {
		return
	}
	switch {
	case v.carried != nil:
		r.noteCarried(v, "loaded", loaded)
	case v.writer != p.node:
		ways := []way{byContent(append([]need{born("the writing of "+baseName(path), v.node), loaded}, v.arrived...)...)}
		for o := v.from; o != nil; o = o.from {
			ways = append(ways, byContent(need{"a hash of " + baseName(o.Path), o.hashes}, loaded))
		}
		r.hand(10, "side-loaded", v.writer, v.node, p.node, ways...)
	}
	v.hashes = append(v.hashes, loaded.any...)
}

func (r *running) noteValue() {
	h := r.t.host
	key := r.vars["key"]
	u := &unit{node: r.node("registry"), by: r.proc.node, command: r.vars["details"], holds: r.leftAll()}
	u.Path = key
	u.born = u.holds
	r.made = u.node
	h.values[strings.ToLower(key)] = u
	low := strings.ToLower(key)
	if _, tail, ok := strings.Cut(low, `\services\`); ok {
		if name, ok := strings.CutSuffix(tail, `\parameters\servicedll`); ok && h.services[name] != nil {
			h.services[name].dll, h.services[name].dllSet = u.command, u.holds
		}
	}
}

// Rights of a process handle that matter: to start a thread, to read and to
// write memory.
const (
	rightCreateThread = 0x2
	rightRead         = 0x10
	rightWrite        = 0x20
)

func (r *running) noteInjection(verb string) {
	if verb == "access" {
		mask, err := strconv.ParseUint(r.vars["mask"], 0, 32)
		lsass := lowerBase(r.target.image) == "lsass.exe" && mask&rightRead != 0
		if err != nil || mask&(rightCreateThread|rightWrite) == 0 && !lsass {
			return
		}
		r.hand(12, "accessed", r.proc.node, nil, r.target.node, exact(need{"sysmon/10", r.leftOf("sysmon/10")}))
		return
	}
	r.hand(12, "injected", r.proc.node, nil, r.target.node, exact(need{"sysmon/8", r.leftOf("sysmon/8")}))
}

func (r *running) notePipe(verb string) {
	h, name := r.t.host, strings.ToLower(r.vars["pipe"])
	if verb == "pipe" {
		h.pipes[name] = append(h.pipes[name], pipeServer{r.proc, r.leftAll()})
		for _, l := range r.t.scope.logons {
			if l.host == h && l.client != nil && strings.HasSuffix(name, fmt.Sprintf("-%s-%d-stdin", strings.ToLower(l.client.host.vars["name"]), l.client.pid)) {
				r.hand(15, "pipe-served", l.client.node, nil, r.proc.node, byContent(need{"sysmon/17", r.leftAll()}, started(l.client)))
			}
		}
		return
	}
	list := h.pipes[name]
	if len(list) == 0 || list[len(list)-1].proc == r.proc {
		return
	}
	s := list[len(list)-1]
	var ways []way
	if len(list) == 1 {
		ways = append(ways, exact(need{"sysmon/17", s.made}, need{"sysmon/18", r.leftOf("sysmon/18")}))
	}
	r.hand(15, "pipe-opened", r.proc.node, nil, s.proc.node, ways...)
}

func (r *running) noteScript() {
	n := r.node("script")
	n.Name = r.vars["scriptblock"]
	n.born = r.leftOf("powershell/4104")
	r.hand(24, "script-ran", r.proc.node, nil, n, exact(need{"powershell/4104", n.born}, started(r.proc)))
}

func (r *running) noteSubscription(verb string) {
	h, vars := r.t.host, r.vars
	if verb == "wmiconsumer" {
		u := &unit{node: r.node("wmi-subscription"), command: vars["destination"], holds: r.leftAll()}
		u.Name = vars["name"]
		u.born = u.holds
		h.consumers[strings.ToLower(u.Name)] = u
		r.made = u.node
		return
	}
	u := h.consumers[strings.ToLower(vars["consumer"])]
	if u == nil {
		return
	}
	u.born = append(u.born, r.leftAll()...)
	u.holds = append(u.holds, r.leftOf("wmi/5861")...)
	by, _ := r.maker()
	r.made = u.node
	r.hand(6, "subscription-created", by, nil, u.node) // no record names the process
}

// noteLogon writes down a logon session, and what asked for it.
func (r *running) noteLogon() {
	l := r.logged
	if l == nil {
		return
	}
	l.born = r.leftOf("security/4624")
	l.asked = r.leftOf("security/4648")
	r.made = l.node
	if r.there == nil {
		return // asked for on this host
	}
	in, asked := born("security/4624", l.node), need{"security/4648 on the source", l.asked}
	l.asked = nil
	var ways []way
	if owner := r.vars["owner"]; r.vars["ip"] != "-" && (owner == "" || owner == r.vars["by"]) {
		ways = append(ways, byContent(in, need{"sysmon/3 or security/5156 on the source", r.sourceSide()}))
	}
	out := r.hand(16, "remote-logon", r.proc.node, nil, l.node, ways...)
	ask := ask{r.proc, r.there, strings.ToLower(l.account), r.t.at}
	if len(asked.any) > 0 {
		r.b.asks = append(r.b.asks, ask)
	}
	r.b.late = append(r.b.late, func() {
		if !slices.ContainsFunc(r.b.asks, ask.rivals) {
			out.ways = append(out.ways, byContent(in, asked))
		}
	})
}

// ask is a process's use of credentials of its own choice on another host.
type ask struct {
	proc    *process
	to      *host
	account string
	at      time.Time
}

// rivals reports whether another process asked for the same within the time in
// which a 4648 and a 4624 are taken to belong together: then neither record says
// whose the logon is.
func (a ask) rivals(o ask) bool {
	return a.proc != o.proc && a.proc.host == o.proc.host && a.to == o.to && a.account == o.account && a.at.Sub(o.at).Abs() <= 2*time.Minute
}

// sourceSide are this step's records of the connection on the host that opened it.
func (r *running) sourceSide() []recordID {
	var ids []recordID
	for _, l := range r.left {
		if !l.remote && (l.name == "sysmon/3" || l.name == "sensor/3" || l.name == "security/5156") {
			ids = append(ids, l.id)
		}
	}
	return ids
}

func (r *running) noteJob() {
	j := &job{by: r.proc, id: r.vars["jobid"], name: r.vars["title"]}
	j.local, j.path, j.made = r.vars["local"], r.leftOf("bits/16403"), r.leftOf("bits/3", "bits/16403")
	r.t.host.jobs[strings.ToLower(j.name)] = j
}

func (r *running) noteInstall(verb string) error {
	h := r.t.host
	if verb == "msiend" {
		h.install = nil
		return nil
	}
	server, err := r.need(r.vars["server"])
	if err != nil {
		return err
	}
	h.install = &install{client: r.proc, server: server, began: r.leftOf("msi/1040")}
	return nil
}

func (r *running) noteMount() {
	h, v := r.t.host, r.b.volumes[r.vars["volume"]]
	m := &mount{node: r.node("volume"), volume: v, letter: r.leftOf("sysmon/13", "sensor/100")}
	m.Serial, m.Name = v.vars["serial"], v.vars["label"]
	m.born = r.leftAll()
	h.mounts[r.vars["letter"]] = m
	r.made = m.node
}

// node is a new node of this step's host and time.
func (r *running) node(kind string) *node {
	return &node{Subject: Subject{Kind: kind, Host: r.t.host.vars["fqdn"]}}
}

// logonOf is the logon of a handle, nil if there is none.
func (r *running) logonOf(handle string) *logon {
	return r.logonAt(r.t.host, handle)
}

func (r *running) logonAt(h *host, handle string) *logon {
	if r.t.scope == nil || handle == "" {
		return nil
	}
	return r.t.scope.logons[handleKey{h, handle}]
}

// sameCommand compares commands as Windows would run them: without quotes, in
// lower case, with the well-known environment variables and without the kernel's
// prefixes. Registered commands and started ones differ in these.
func sameCommand(h *host, registered, started string) bool {
	return registered != "" && commandKey(h, registered) == commandKey(h, started)
}

func commandKey(h *host, s string) string {
	s = strings.ToLower(s)
	for _, v := range [...][2]string{
		{"%systemroot%", `c:\windows`},
		{"%windir%", `c:\windows`},
		{"%comspec%", `c:\windows\system32\cmd.exe`},
		{"%programfiles%", `c:\program files`},
		{"%userprofile%", strings.ToLower(h.vars["profile"])},
		{"%localappdata%", strings.ToLower(h.vars["profile"]) + `\appdata\local`},
		{"%appdata%", strings.ToLower(h.vars["profile"]) + `\appdata\roaming`},
		{`\??\`, ``},
		{`"`, ``},
	} {
		s = strings.ReplaceAll(s, v[0], v[1])
	}
	return strings.Join(strings.FieldsFunc(s, unicode.IsSpace), " ")
}

func unquote(s string) string {
	if len(s) > 1 && s[0] == '"' {
		if end := strings.IndexByte(s[1:], '"'); end >= 0 {
			return s[1 : 1+end]
		}
	}
	return s
}

// pathsIn are the texts of a command line that may be full paths: from each
// drive letter to the next quote or, unquoted, to each blank or comma after it.
func pathsIn(cmdline string) []string {
	var list []string
	for i := 0; i+3 < len(cmdline) && len(list) < 64; i++ {
		c := cmdline[i] | 0x20
		if c < 'a' || c > 'z' || cmdline[i+1] != ':' || cmdline[i+2] != '\\' {
			continue
		}
		rest := cmdline[i:]
		if end := strings.IndexAny(rest, `"'`); end >= 0 {
			rest = rest[:end]
		}
		list = append(list, rest)
		for k, c := range rest {
			if c == ' ' || c == ',' {
				list = append(list, rest[:k])
			}
		}
		i += len(rest) - 1
	}
	return list
}

// versionAt is what was last written at a path, nil if nothing was: of what
// another host wrote on a volume, this host's view.
func (b *builder) versionAt(h *host, path string) *version {
	versions, key := b.versionsOf(h, path)
	v := versions[key]
	if v == nil || v.host == h {
		return v
	}
	if v.views == nil {
		v.views = map[*host]*version{}
	}
	if v.views[h] == nil {
		n := &node{Subject: Subject{Kind: "file", Host: h.vars["fqdn"], Path: path}}
		v.views[h] = &version{node: n, host: h, carried: v, row: 8}
	}
	return v.views[h]
}

func (b *builder) setVersion(h *host, path string, v *version) {
	versions, key := b.versionsOf(h, path)
	if v == nil {
		delete(versions, key)
		return
	}
	versions[key] = v
}

func (b *builder) versionsOf(h *host, path string) (map[string]*version, string) {
	low := strings.ToLower(path)
	if len(path) > 1 && path[1] == ':' {
		if v := h.mounted[strings.ToUpper(path[:1])]; v != nil {
			return v.versions, low[2:]
		}
	}
	return h.versions, low
}

// processNode is the node of a process.
func (b *builder) processNode(p *process) *node {
	return &node{Subject: Subject{
		Kind: "process", Host: p.host.vars["fqdn"], GUID: b.guid(p), PID: p.pid,
		Start: p.start.UTC().Truncate(time.Millisecond), CommandLine: p.cmdline, Path: p.image,
	}}
}
