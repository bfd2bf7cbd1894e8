package scenario

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

type host struct {
	id       string
	vars     map[string]string // without the prefix "host."
	boot     time.Time
	bootID   uint16
	machine  uint32
	luid     uint64
	elevated uint64
	logs     map[string]bool
	linux    bool // it runs Linux
	entered  int  // audit sessions so far
	sequence uint64
	procs    map[string]*process  // running by handle
	pids     map[uint32]bool      // in use
	mounted  map[string]*volume   // by upper-case letter
	files    map[string]string    // content by lower-case path
	dated    map[string]time.Time // when a step wrote what is there, likewise
	once     map[string]string    // first name of what was renamed, likewise

	// What the steps brought about, for the truth; names in lower case.
	versions   map[string]*version
	services   map[string]*unit
	registered map[string]*unit // tasks
	consumers  map[string]*unit
	queries    map[string]string // of WMI event filters
	values     map[string]*unit  // registry values
	pipes      map[string][]pipeServer
	jobs       map[string]*job
	mounts     map[string]*mount // by letter
	install    *install          // while one runs
	sessions   int               // remote desktop sessions so far
	living     map[*process]bool
	epoch      int       // reboots so far
	back       time.Time // when the last one was over
}

type volume struct {
	id    string
	vars  map[string]string // without the prefix "volume."
	files map[string]string // content by lower-case path without the letter
	dated map[string]time.Time
	// versions are what steps wrote on it, by the same path.
	versions map[string]*version
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
	logon                       *logon // if a step named it
	node                        *node
}

func (b *builder) makeVolumes() error {
	for i, spec := range b.s.volumes {
		if b.volumes[spec.id] != nil {
			return spec.errorf("volume %q occurs twice", spec.id)
		}
		v := &volume{id: spec.id, files: map[string]string{}, dated: map[string]time.Time{}, versions: map[string]*version{}, vars: map[string]string{
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
				var ok bool
				if logs, ok = b.lib.telemetry(value); !ok {
					return k.errorf("unknown log in %q: want all, %s", value, strings.Join(b.lib.logNames, ", "))
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
		if m["system"] == "linux" {
			if m["profile"] = "/home/" + m["user"]; m["user"] == "root" {
				m["profile"] = "/root"
			}
		}
		m["fulluser"] = m["domain"] + `\` + m["user"]
		for _, o := range b.hosts {
			if strings.EqualFold(o.vars["fqdn"], m["fqdn"]) {
				return spec.errorf("host %s has the name of host %s, %s", spec.id, o.id, m["fqdn"])
			}
		}
		h := &host{
			id: spec.id, vars: m, logs: map[string]bool{}, procs: map[string]*process{},
			pids: map[uint32]bool{}, mounted: map[string]*volume{}, files: map[string]string{}, dated: map[string]time.Time{}, once: map[string]string{},
			versions: map[string]*version{}, services: map[string]*unit{}, registered: map[string]*unit{},
			consumers: map[string]*unit{}, queries: map[string]string{}, values: map[string]*unit{}, pipes: map[string][]pipeServer{},
			jobs: map[string]*job{}, mounts: map[string]*mount{}, living: map[*process]bool{},
		}
		switch h.linux = m["system"] == "linux"; {
		case h.linux:
			h.entered = 3 + i
			for _, l := range logs {
				if twin := linuxLogs[l]; twin != "" {
					l = twin
				}
				h.logs[l] = b.lib.logs[l].linux
			}
		case m["system"] != "":
			return spec.errorf("system wants linux or nothing, which is Windows, not %q", m["system"])
		default:
			for _, l := range logs {
				h.logs[l] = !b.lib.logs[l].linux
			}
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
		boot := b.lib.boot
		if h.linux {
			boot = b.lib.linuxBoot
		}
		for _, st := range boot {
			at = at.Add(st.delay)
			if err := b.run(&task{at: at, step: st, host: h, scope: nil, n: 1}); err != nil {
				return err
			}
		}
		h.sequence += 200 + uint64(b.rng.IntN(300))
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

var integrityLabels = map[string]string{
	"Low": "S-1-16-4096", "Medium": "S-1-16-8192", "High": "S-1-16-12288", "System": "S-1-16-16384",
}

// sortedLetters are the letters at which the host has removable volumes.
func sortedLetters(h *host) []string { return slices.Sorted(maps.Keys(h.mounts)) }

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

// datesOf is filesOf for the times of writing.
func (b *builder) datesOf(h *host, path string) (map[string]time.Time, string) {
	low := strings.ToLower(path)
	if len(path) > 1 && path[1] == ':' {
		if v := h.mounted[strings.ToUpper(path[:1])]; v != nil {
			return v.dated, low[2:]
		}
	}
	return h.dated, low
}

// age is how many seconds before t a path was written: what no step wrote has
// been there for months, always as long.
func (b *builder) age(h *host, path string, t time.Time) string {
	dated, key := b.datesOf(h, path)
	if at, ok := dated[key]; ok {
		return strconv.Itoa(max(0, int(t.Sub(at)/time.Second)))
	}
	d := digest("age", h.id, key)
	return strconv.Itoa(86400*(45+int(d[0])) + 60*int(d[1]))
}

// folder is what a path holds that is a folder.
const folder = "folder:"

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
		"target": "-", "arguments": "-", "workdir": "-", "icon": "-", "link": "", "linkserial": "-",
		"directory": "false", "attributes": "Archive",
	}
	if c := b.contents[name]; c != nil {
		if !c.everywhere() {
			h = hashesOf(name, b.s.identity, strconv.FormatUint(b.s.seed, 10))
		}
		for _, v := range c.values {
			switch v.key {
			case "shared":
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
			case "target":
				m["target"], m["link"] = v.value, "yes"
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
	if name == folder {
		m["directory"], m["attributes"] = "true", "Directory"
	}
	m["executable"] = "false"
	if m["program"] != "" {
		m["executable"] = "true"
	}
	m["hashes"], m["md5"], m["sha256"] = h.String(), h.md5, h.sha256
	return m
}

// luidOf is the logon id that an account has on the host: the fixed ones of the
// service accounts, else the console user's, whose elevated half High has.
func (h *host) luidOf(account, integrity string) uint64 {
	switch {
	case h.linux:
		return noSession
	case account == "SYSTEM":
		return 0x3e7
	case account == "LOCAL SERVICE":
		return 0x3e5
	case account == "NETWORK SERVICE":
		return 0x3e4
	case integrity == "High":
		return h.elevated
	}
	return h.luid
}

// noSession is the number of no audit session.
const noSession = 1<<32 - 1

// sidOf is an account's security identifier: the host's users differ in the last
// part only.
func (b *builder) sidOf(h *host, account string) string {
	sid := h.vars["sid"]
	if account == h.vars["user"] {
		return sid
	}
	for _, o := range b.hosts {
		if o.vars["user"] == account && o.vars["domain"] == h.vars["domain"] {
			return o.vars["sid"]
		}
	}
	d := digest("account", account)
	return fmt.Sprintf("%s%d", sid[:strings.LastIndexByte(sid, '-')+1], 1100+int(d[0])<<4+int(d[1])&15)
}

// uidOf is the number of an account of Linux.
func uidOf(account string) string {
	if account == "root" {
		return "0"
	}
	d := digest("uid", account)
	if account == "www-data" {
		return "33"
	}
	return strconv.Itoa(1000 + int(d[0]))
}

func (b *builder) guid(p *process) string { return processGUID(p.host.machine, p.start, p.key) }

// processVar is a fact about a process under its template name.
func (b *builder) processVar(p *process, key string) (string, bool) {
	h, word := p.host, func(s string) string { return b.lib.word(b.s.language, s) }
	switch key {
	case "guid":
		if h.linux {
			d := digest("process", h.id, strconv.FormatUint(p.key, 16))
			return processGUID(h.machine, p.start, uint64(d[0])|uint64(d[1])<<8|uint64(d[2])<<16|uint64(d[3])<<24|0x55<<40), true
		}
		return b.guid(p), true
	case "ses":
		return strconv.FormatUint(p.luid, 10), true
	case "uid", "auid":
		switch {
		case key == "auid" && p.luid == noSession:
			return strconv.FormatUint(noSession, 10), true
		case key == "auid" && p.logon != nil:
			return uidOf(p.logon.account), true
		}
		return uidOf(p.account), true
	case "title": // its arguments as the kernel keeps them
		return strings.Join(strings.Fields(p.cmdline), "\x00"), true
	case "comm":
		c := baseName(p.image)
		return c[:min(len(c), 15)], true
	case "pid":
		return strconv.FormatUint(uint64(p.pid), 10), true
	case "startkey":
		return strconv.FormatUint(p.key, 10), true
	case "image":
		return p.image, true
	case "application": // the image as the filtering platform names it
		if len(p.image) > 2 && p.image[1] == ':' {
			return `\device\harddiskvolume3` + strings.ToLower(p.image[2:]), true
		}
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
		if h.linux {
			return p.account, true
		}
		sid, domain, name := b.sidOf(h, p.account), h.vars["domain"], p.account
		user := domain + `\` + name
		if d, n, ok := strings.Cut(p.account, `\`); ok { // of another domain, such as an application pool's
			user, domain, name = p.account, d, n
		}
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
	if key == "age" {
		return b.age(h, p.image, b.now), true
	}
	v, ok := b.describe(p.content, p.image)[key]
	return v, ok
}
