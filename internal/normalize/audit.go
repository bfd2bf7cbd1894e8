package normalize

import (
	"net/netip"
	"strconv"
	"strings"

	"ashiato/internal/event"
)

// An event of the Linux audit system is several records, one after another in Data;
// each begins with a field "type" (package auditd). What it is about is said by the
// first, and for a system call by which one it was.

// auditTable are the record types that begin an event, by number.
var auditTable = map[uint32]row{
	1100: {refine: auditLogon, derive: auditUser}, // USER_AUTH
	1105: {refine: auditLogon, derive: auditUser}, // USER_START
	1106: {refine: auditLogon, derive: auditUser}, // USER_END
	1112: {refine: auditLogon, derive: auditUser}, // USER_LOGIN
	1123: {kind: event.Other, derive: auditUser},  // USER_CMD
	1130: {kind: event.ServiceState, derive: auditUnit("running")},
	1131: {kind: event.ServiceState, derive: auditUnit("stopped")},
	1200: of(event.SensorState),                     // DAEMON_START
	1201: of(event.SensorState),                     // DAEMON_END
	1300: {refine: auditCall, derive: auditProcess}, // SYSCALL
	1305: {kind: event.Other},                       // CONFIG_CHANGE
}

// auditRecords calls f with each record's type and fields.
func auditRecords(data event.Fields, f func(kind string, fields event.Fields)) {
	for i := 0; i < len(data); {
		end := i + 1
		for end < len(data) && data[end].Name != "type" {
			end++
		}
		if data[i].Name == "type" {
			f(data[i].Value, data[i+1:end])
		}
		i = end
	}
}

// auditRecord returns the fields of the first record of a type, nil if there is none.
func auditRecord(data event.Fields, kind string) (found event.Fields) {
	auditRecords(data, func(k string, fields event.Fields) {
		if k == kind && found == nil {
			found = fields
		}
	})
	return found
}

// calls are the system calls that mean something here, by architecture
// (linux/audit.h) and number.
var calls = map[string]map[string]string{
	"c000003e": {
		"2": "open", "257": "openat", "437": "openat2", "85": "creat", "59": "execve", "322": "execveat", "42": "connect",
		"82": "rename", "264": "renameat", "316": "renameat2", "87": "unlink", "263": "unlinkat", "76": "truncate", "77": "ftruncate",
		"83": "mkdir", "258": "mkdirat", "86": "link", "265": "linkat", "88": "symlink", "266": "symlinkat",
	},
	"c00000b7": {
		"56": "openat", "437": "openat2", "221": "execve", "281": "execveat", "203": "connect",
		"38": "renameat", "276": "renameat2", "35": "unlinkat", "45": "truncate", "46": "ftruncate", "34": "mkdirat", "37": "linkat", "36": "symlinkat",
	},
	"40000003": {
		"5": "open", "295": "openat", "437": "openat2", "8": "creat", "11": "execve", "358": "execveat", "362": "connect", "102": "socketcall",
		"38": "rename", "302": "renameat", "353": "renameat2", "10": "unlink", "301": "unlinkat", "92": "truncate", "93": "ftruncate",
		"39": "mkdir", "296": "mkdirat", "9": "link", "303": "linkat", "83": "symlink", "304": "symlinkat",
	},
}

// callOf names the system call of an event, "" if it is none of those that mean
// something here.
func callOf(call event.Fields) string {
	if name, ok := call.Get("SYSCALL"); ok && name != "" {
		return name // auditd wrote it out
	}
	arch, _ := call.Get("arch")
	number, _ := call.Get("syscall")
	if name := calls[arch][number]; name != "" {
		return name
	}
	if strings.Trim(number, "abcdefghijklmnopqrstuvwxyz0123456789_") == "" && number != "" && number[0] > '9' {
		return number // as ausearch -i prints it
	}
	return ""
}

// auditCall chooses the kind of a system call: what it brought about.
func auditCall(e *event.Event) event.Kind {
	call := auditRecord(e.Data, "SYSCALL")
	if ok, _ := call.Get("success"); ok != "yes" {
		// A connection that is under way has not succeeded yet.
		if exit, _ := call.Get("exit"); exit != "-115" && exit != "EINPROGRESS" {
			return event.Other
		}
	}
	switch name := callOf(call); name {
	case "execve", "execveat":
		return event.ProcessCreate
	case "connect":
		if ip, _ := auditPeer(e.Data); ip != "" {
			return event.NetworkConnect
		}
	case "rename", "renameat", "renameat2":
		return event.FileRename
	case "unlink", "unlinkat":
		return event.FileDelete
	case "creat", "truncate", "ftruncate", "mkdir", "mkdirat", "link", "linkat", "symlink", "symlinkat":
		return event.FileCreate
	case "open", "openat", "openat2":
		if path, _ := auditPath(e.Data, "CREATE"); path != "" || writes(name, call) {
			return event.FileCreate
		}
	}
	return event.Other
}

// writes reports whether a file was opened for writing (O_WRONLY or O_RDWR).
func writes(name string, call event.Fields) bool {
	arg := map[string]string{"open": "a1", "openat": "a2"}[name]
	v, _ := call.Get(arg)
	flags, err := strconv.ParseUint(v, 16, 64)
	return err == nil && flags&3 != 0
}

// auditPath returns the path in the last PATH record of that nametype, taken from
// the current directory if it is relative.
func auditPath(data event.Fields, nametype string) (path string, ok bool) {
	cwd, _ := auditRecord(data, "CWD").Get("cwd")
	parent := ""
	auditRecords(data, func(kind string, fields event.Fields) {
		name, _ := fields.Get("name")
		switch t, _ := fields.Get("nametype"); {
		case kind != "PATH" || name == "" || name == "(null)":
		case t == "PARENT":
			parent = name
		case t == nametype:
			path, ok = name, true
		}
	})
	if !ok || strings.HasPrefix(path, "/") {
		return path, ok
	}
	// A name given to openat and the like is in the folder of its PARENT record,
	// where that is absolute; else in the current directory.
	base := cwd
	if strings.HasPrefix(parent, "/") {
		base, path = parent, path[strings.LastIndexByte(path, '/')+1:]
	}
	if base == "" {
		return path, true
	}
	for strings.HasPrefix(path, "./") {
		path = path[2:]
	}
	return strings.TrimRight(base, "/") + "/" + path, true
}

// auditPeer returns the address and port of a SOCKADDR record.
func auditPeer(data event.Fields) (ip, port string) {
	sock := auditRecord(data, "SOCKADDR")
	if a, ok := sock.Get("laddr"); ok { // auditd wrote it out
		p, _ := sock.Get("lport")
		return a, p
	}
	saddr, _ := sock.Get("saddr")
	raw := make([]byte, 0, 28)
	for i := 0; i+2 <= len(saddr) && len(raw) < 28; i += 2 {
		n, err := strconv.ParseUint(saddr[i:i+2], 16, 8)
		if err != nil {
			return "", ""
		}
		raw = append(raw, byte(n))
	}
	if len(raw) < 8 {
		return "", ""
	}
	port = strconv.Itoa(int(raw[2])<<8 | int(raw[3]))
	switch raw[0] { // the family, in the byte order of nearly all machines
	case 2:
		return netip.AddrFrom4([4]byte(raw[4:8])).String(), port
	case 10:
		if len(raw) >= 24 {
			return netip.AddrFrom16([16]byte(raw[8:24])).Unmap().String(), port
		}
	}
	return "", ""
}

// auditName is a user's name where auditd wrote it out, else the number; "root" for 0.
func auditName(fields event.Fields, number, name string) string {
	if v, ok := fields.Get(name); ok && v != "" && v != "unknown" {
		return v
	}
	v, _ := fields.Get(number)
	if v == "0" {
		return "root"
	}
	return v
}

// auditSubject names the process, the user and the session of a record.
func auditSubject(e *event.Event, fields event.Fields) {
	copyField := func(canon, raw string) {
		if v, ok := fields.Get(raw); ok && v != "" && v != "?" && v != "(null)" {
			set(e, canon, v)
		}
	}
	copyField("ProcessId", "pid")
	copyField("Image", "exe")
	if u := auditName(fields, "uid", "UID"); u != "" {
		set(e, "User", u)
	}
	if ses, ok := fields.Get("ses"); ok && ses != unsetID {
		set(e, "LogonId", ses)
	}
}

// auditProcess gives a system call the taxonomy's fields.
func auditProcess(e *event.Event) {
	call := auditRecord(e.Data, "SYSCALL")
	auditSubject(e, call)
	path := func(nametypes ...string) {
		for _, t := range nametypes {
			if p, ok := auditPath(e.Data, t); ok {
				set(e, "TargetFilename", p)
				return
			}
		}
	}
	switch e.Kind {
	case event.ProcessCreate:
		if v, ok := call.Get("ppid"); ok {
			set(e, "ParentProcessId", v)
		}
		if v, ok := auditRecord(e.Data, "CWD").Get("cwd"); ok {
			set(e, "CurrentDirectory", v)
		}
		if cmd := auditCommand(e.Data); cmd != "" {
			set(e, "CommandLine", cmd)
		}
	case event.FileCreate:
		path("CREATE", "NORMAL")
	case event.FileDelete:
		path("DELETE")
	case event.FileRename:
		path("CREATE", "NORMAL")
		if p, ok := auditPath(e.Data, "DELETE"); ok {
			set(e, "SourceFilename", p)
		}
	case event.NetworkConnect:
		ip, port := auditPeer(e.Data)
		set(e, "DestinationIp", ip)
		set(e, "DestinationPort", port)
		set(e, "Initiated", "true")
	}
}

// maxArguments bounds the arguments that are read of one program.
const maxArguments = 4096

// auditCommand is the command line of a program that was started: its arguments with
// blanks between them, else its title, which the kernel cuts at 128 bytes.
func auditCommand(data event.Fields) string {
	args := map[string]string{}
	auditRecords(data, func(kind string, fields event.Fields) {
		if kind == "EXECVE" {
			for _, f := range fields {
				if len(args) < maxArguments && len(f.Name) > 1 && f.Name[0] == 'a' {
					if _, known := args[f.Name]; !known {
						args[f.Name] = f.Value
					}
				}
			}
		}
	})
	var b strings.Builder
	for i := range len(args) {
		v, ok := args["a"+strconv.Itoa(i)]
		if !ok {
			break
		}
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(v)
	}
	if b.Len() > 0 {
		return b.String()
	}
	title, _ := auditRecord(data, "PROCTITLE").Get("proctitle")
	return strings.ReplaceAll(strings.TrimRight(title, "\x00"), "\x00", " ")
}

// auditLogon chooses the kind of what a login program wrote. Who came in over the
// network is told by the daemon that let them in; what cron and sudo open is no
// logon of anybody's.
func auditLogon(e *event.Event) event.Kind {
	exe, _ := e.Data.Get("exe")
	name := exe[strings.LastIndexByte(exe, '/')+1:]
	res, _ := e.Data.Get("res")
	if name != "sshd" && name != "sshd-session" && name != "sshd-auth" && name != "login" && name != "dropbear" && name != "vsftpd" {
		return event.Other
	}
	ok := res == "success" || res == "1" || res == "yes"
	switch e.ID {
	case 1106:
		return event.Logoff
	case 1105, 1112:
		if ses, _ := e.Data.Get("ses"); ok && ses != unsetID && ses != "" {
			return event.Logon
		}
	}
	if !ok {
		return event.LogonFailed
	}
	return event.Other
}

// auditUser gives what a login program wrote the names of a logon's fields.
func auditUser(e *event.Event) {
	auditSubject(e, e.Data)
	account, ok := e.Data.Get("acct")
	if !ok || account == "?" {
		account = auditName(e.Data, "id", "ID")
	}
	if account != "" {
		set(e, "TargetUserName", account)
	}
	if a, ok := e.Data.Get("addr"); ok && a != "?" {
		set(e, "IpAddress", a)
	}
	if ses, ok := e.Data.Get("ses"); ok && ses != unsetID {
		set(e, "TargetLogonId", ses)
	}
	if e.Kind == event.Logon || e.Kind == event.LogonFailed {
		set(e, "LogonType", "3")
	}
	if cmd, ok := e.Data.Get("cmd"); ok {
		set(e, "CommandLine", cmd)
	}
}

// auditUnit names the unit that systemd started or stopped.
func auditUnit(state string) func(*event.Event) {
	return func(e *event.Event) {
		if unit, ok := e.Data.Get("unit"); ok {
			set(e, "ServiceName", unit)
		}
		set(e, "State", state)
	}
}
