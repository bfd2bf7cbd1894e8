package world

import "strings"

// PathKey returns the match form of a path, under which two spellings of one
// file compare equal: lower case, "/" as "\", the prefixes \\?\ and \??\
// removed, %SystemRoot%, %windir%, \SystemRoot\ and a leading system32\ taken
// to be c:\windows, the other well-known variables taken to be where Windows
// puts them on drive C:. A pair of quotes around the whole is removed.
//
// Blanks are never touched: "c:\windows \system32" is another folder than
// "c:\windows\system32". Nor are "." and ".." resolved. The form is for
// comparing only; what is shown and stored is the record's own text.
//
// A path that begins with "/" is one of Linux: its letters are told apart and a
// "\\" is part of a name. Its match form has the folders that systems keep as links
// (/bin, /sbin, /lib, /lib64, /var/run) at the place they lead to, and not the
// " (deleted)" that the kernel adds to the path of a program that is gone.
func PathKey(p string) string {
	if len(p) >= 2 && p[0] == '"' && p[len(p)-1] == '"' {
		p = p[1 : len(p)-1]
	}
	if Posix(p) {
		return posixKey(p)
	}
	return expand(strings.ReplaceAll(strings.ToLower(p), "/", `\`))
}

// Posix reports whether a path is an absolute one of Linux.
func Posix(p string) bool { return strings.HasPrefix(p, "/") }

func posixKey(p string) string {
	p = strings.TrimSuffix(p, " (deleted)")
	for _, dir := range [...]string{"/bin/", "/sbin/", "/lib/", "/lib64/"} {
		if strings.HasPrefix(p, dir) {
			return "/usr" + p
		}
	}
	if strings.HasPrefix(p, "/var/run/") {
		return p[len("/var"):]
	}
	return p
}

// windowsDir is where Windows is taken to be when a record writes a variable
// instead of a path. Installations elsewhere are possible and rare; their
// records then do not match paths that were recorded in full.
const windowsDir = `c:\windows`

var variables = []struct{ name, path string }{
	{`%systemroot%`, windowsDir},
	{`%windir%`, windowsDir},
	{`%systemdrive%`, `c:`},
	{`%programfiles%`, `c:\program files`},
	{`%programfiles(x86)%`, `c:\program files (x86)`},
	{`%programw6432%`, `c:\program files`},
	{`%commonprogramfiles%`, `c:\program files\common files`},
	{`%programdata%`, `c:\programdata`},
	{`%allusersprofile%`, `c:\programdata`},
	{`%public%`, `c:\users\public`},
	{`%comspec%`, windowsDir + `\system32\cmd.exe`},
}

// expand works on a lower-case path.
func expand(p string) string {
	for _, prefix := range []string{`\\?\unc\`, `\??\unc\`} {
		if strings.HasPrefix(p, prefix) {
			return `\\` + p[len(prefix):]
		}
	}
	for _, prefix := range []string{`\\?\`, `\??\`, `\\.\`} {
		if strings.HasPrefix(p, prefix) {
			p = p[len(prefix):]
			break
		}
	}
	if strings.HasPrefix(p, "%") {
		// Sysmon doubles the percent signs of registry data.
		q := strings.ReplaceAll(p, "%%", "%")
		for _, v := range variables {
			if strings.HasPrefix(q, v.name) {
				return v.path + q[len(v.name):]
			}
		}
	}
	switch {
	case strings.HasPrefix(p, `\systemroot\`):
		return windowsDir + p[len(`\systemroot`):]
	case strings.HasPrefix(p, `system32\`), strings.HasPrefix(p, `syswow64\`):
		return windowsDir + `\` + p
	}
	return p
}

// CommandKey returns the match form of a command line: PathKey of the program
// with its quotes removed, then the arguments in lower case with runs of blanks
// outside the program's path taken as one and those at the end dropped. The
// extension .exe is added to a program without one. It is how a service's
// ImagePath or a task's action is compared with the command line of what ran.
func CommandKey(cmd string) string {
	program, args := SplitCommand(cmd)
	if Posix(program) {
		if fields := strings.Fields(args); len(fields) > 0 {
			return PathKey(program) + " " + strings.Join(fields, " ")
		}
		return PathKey(program)
	}
	program = PathKey(program)
	if base := Base(program); base != "" && !strings.Contains(base, ".") {
		program += ".exe"
	}
	fields := strings.Fields(strings.ToLower(args))
	if len(fields) == 0 {
		return program
	}
	return program + " " + strings.Join(fields, " ")
}

// SplitCommand splits a command line into the program and the rest. An unquoted
// program ends after the first ".exe" (or .com, .bat, .cmd, .sys) that a blank
// or the end follows, so that an unquoted path with blanks stays whole; without
// one it ends at the first blank.
func SplitCommand(cmd string) (program, args string) {
	cmd = strings.TrimLeft(cmd, " \t")
	if strings.HasPrefix(cmd, `"`) {
		if end := strings.IndexByte(cmd[1:], '"'); end >= 0 {
			return cmd[1 : 1+end], cmd[end+2:]
		}
		return cmd[1:], ""
	}
	first := strings.IndexAny(cmd, " \t")
	if first < 0 {
		return cmd, ""
	}
	if !strings.ContainsAny(cmd[:first], `\/:`) || Posix(cmd) {
		return cmd[:first], cmd[first:] // a bare name has no blanks
	}
	lower := strings.ToLower(cmd)
	best := -1
	for _, ext := range []string{".exe", ".com", ".bat", ".cmd", ".sys"} {
		for from := 0; ; {
			i := strings.Index(lower[from:], ext)
			if i < 0 {
				break
			}
			end := from + i + len(ext)
			if end == len(lower) || lower[end] == ' ' || lower[end] == '\t' {
				if best < 0 || end < best {
					best = end
				}
				break
			}
			from = end
		}
	}
	// ToLower may change the length of exotic letters. And the extension may
	// be an argument's: then an option, a quote or another path is before it.
	if best < 0 || len(lower) != len(cmd) || strings.ContainsAny(cmd[first:best], `":`) ||
		strings.Contains(cmd[first:best], " /") || strings.Contains(cmd[first:best], " -") {
		best = first
	}
	return cmd[:best], cmd[best:]
}

// Base returns the last component of a path, as recorded. A path that ends in a
// separator has the component before it.
func Base(p string) string {
	if Posix(p) {
		p = strings.TrimRight(p, "/")
		return p[strings.LastIndexByte(p, '/')+1:]
	}
	p = strings.TrimRight(p, `\/`)
	if i := strings.LastIndexAny(p, `\/`); i >= 0 {
		return p[i+1:]
	}
	return p
}

// Dir returns what is before the last component of a path, without the
// separator; "" if there is none.
func Dir(p string) string {
	if Posix(p) {
		p = strings.TrimRight(p, "/")
		return p[:max(0, strings.LastIndexByte(p, '/'))]
	}
	p = strings.TrimRight(p, `\/`)
	if i := strings.LastIndexAny(p, `\/`); i >= 0 {
		return p[:i]
	}
	return ""
}

// Ext returns the extension of a path's last component in lower case with its
// dot, "" if it has none.
func Ext(p string) string {
	b := Base(p)
	if i := strings.LastIndexByte(b, '.'); i > 0 {
		return strings.ToLower(b[i:])
	}
	return ""
}

// Letter returns the drive letter, in lower case, that a match form starts
// with, and whether it has one.
func Letter(key string) (byte, bool) {
	if len(key) >= 2 && key[1] == ':' && key[0] >= 'a' && key[0] <= 'z' && (len(key) == 2 || key[2] == '\\') {
		return key[0], true
	}
	return 0, false
}

// HostKey is the match form of a host name.
func HostKey(host string) string { return strings.ToLower(host) }
