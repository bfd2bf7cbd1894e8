package provenance

import (
	"encoding/base64"
	"strings"

	"ashiato/internal/event"
	"ashiato/internal/world"
)

// maxCandidates bounds how many readings of one command line are tried.
const maxCandidates = 64

// pathsIn returns the match forms of what may be paths in a command line, the
// longer readings of one place first: an unquoted path may hold blanks, so each
// blank may be its end. Relative names are taken from the current directory.
// The program itself, the first word, is left out.
func pathsIn(cmd, dir string) []string {
	if world.Posix(dir) || world.Posix(cmd) {
		return posixPathsIn(cmd, dir)
	}
	_, args := world.SplitCommand(cmd)
	if args == "" {
		return nil
	}
	lower := strings.ToLower(args)
	base := world.PathKey(dir)
	if base != "" && !strings.HasSuffix(base, `\`) {
		base += `\`
	}
	var found []string
	add := func(p string) {
		if len(found) >= maxCandidates || len(p) < 3 {
			return
		}
		found = append(found, world.PathKey(p))
	}
	for i := 0; i < len(lower); i++ {
		if !startsPath(lower, i) {
			continue
		}
		end := i
		for end < len(lower) && strings.IndexByte("\"'|<>*?;", lower[end]) < 0 {
			end++
		}
		if i > 0 && (lower[i-1] == '"' || lower[i-1] == '\'') {
			add(lower[i:end])
			i = end
			continue
		}
		for cut := end; cut > i+2; {
			add(lower[i:cut])
			if comma := strings.LastIndexByte(lower[i:cut], ','); comma > 2 && !strings.ContainsAny(lower[i+comma:cut], ` \`) {
				add(lower[i : i+comma]) // rundll32 path,entry
			}
			next := strings.LastIndexAny(lower[i:cut], " \t,")
			if next < 0 {
				break
			}
			cut = i + next
		}
		if blank := strings.IndexAny(lower[i:end], " \t"); blank > 0 {
			i += blank
		} else {
			i = end
		}
	}
	if base != "" {
		for _, word := range words(args) {
			word = strings.ToLower(word)
			word = strings.TrimPrefix(strings.ReplaceAll(word, "/", `\`), `.\`)
			if name, _, ok := strings.Cut(word, ","); ok {
				word = name
			}
			if strings.ContainsAny(word, `:*?|<>`) || strings.HasPrefix(word, `\`) || strings.HasPrefix(word, `-`) || !strings.Contains(word, ".") {
				continue
			}
			add(base + word)
		}
	}
	return found
}

// posixPathsIn is pathsIn of Linux: a word is a path, or the name of a file in the
// current directory, whatever it ends in. Records join the arguments with blanks
// and without quotes, so a path with blanks is not found. The text that a shell is
// given with -c is read like the arguments themselves.
func posixPathsIn(cmd, dir string) []string {
	const between = " \t\r\n\"'`;|&<>()"
	words := strings.FieldsFunc(cmd, func(r rune) bool { return strings.ContainsRune(between, r) })
	var found []string
	for i, word := range words {
		if len(found) >= maxCandidates {
			break
		}
		if _, value, ok := strings.Cut(word, "="); ok {
			word = value // --config=/x, of=/x
		}
		for strings.HasPrefix(word, "./") {
			word = strings.TrimLeft(word[2:], "/")
		}
		switch {
		case len(word) < 2 || i == 0 || strings.HasPrefix(word, "-"):
		case world.Posix(word):
			found = append(found, world.PathKey(word))
		case world.Posix(dir) && !strings.Contains(word, "://"):
			found = append(found, world.PathKey(strings.TrimRight(dir, "/")+"/"+word))
		}
	}
	return found
}

// startsPath reports whether an absolute path may begin at i of a lower-case
// text: a drive letter, a share or a variable.
func startsPath(s string, i int) bool {
	if i > 0 {
		c := s[i-1]
		if c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '\\' || c == '_' || c == '%' {
			return false
		}
	}
	rest := s[i:]
	return len(rest) > 3 && rest[0] >= 'a' && rest[0] <= 'z' && rest[1] == ':' && (rest[2] == '\\' || rest[2] == '/') ||
		strings.HasPrefix(rest, `\\`) && len(rest) > 4 ||
		strings.HasPrefix(rest, "%") && strings.IndexByte(rest[1:], '%') > 2
}

// words splits arguments at blanks, with quotes as Windows programs read them.
func words(s string) []string {
	var all []string
	var b strings.Builder
	quoted, any, inner := false, false, false // inner: between quotes that are letters
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\':
			// Before a quote two of them are one, and one makes it a letter.
			n := 1
			for i+n < len(s) && s[i+n] == '\\' {
				n++
			}
			i += n - 1
			any = true
			if i+1 == len(s) || s[i+1] != '"' {
				b.WriteString(s[i+1-n : i+1])
				break
			}
			if n%2 == 1 && quoted && !inner && (i+2 == len(s) || s[i+2] == ' ' || s[i+2] == '\t') {
				// "C:\dir\" and then more: people mean the folder.
				b.WriteString(s[i+1-n : i+1])
				break
			}
			b.WriteString(s[i+1-n/2 : i+1])
			if n%2 == 1 {
				b.WriteByte('"')
				inner = !inner
				i++
			}
		case c == '"':
			quoted = !quoted
			any = true
		case (c == ' ' || c == '\t') && !quoted:
			if any {
				all = append(all, b.String())
				b.Reset()
				any, inner = false, false
			}
		default:
			b.WriteByte(c)
			any = true
		}
	}
	if any {
		all = append(all, b.String())
	}
	return all
}

// phrases are the words of a command line or script text in the ways in which
// they can be meant: as Windows programs read them, and as PowerShell does, for the
// whole and for each argument that is a script itself.
func phrases(text string) [][]string {
	ws := words(text)
	all := [][]string{ws, shellWords(text)}
	for _, w := range ws {
		if strings.ContainsAny(w, " \t\n") {
			all = append(all, shellWords(w))
		}
	}
	return all
}

// shellWords splits text as PowerShell does: at blanks and at what separates
// commands, with quotes of both kinds. A doubled quote is one of the text.
func shellWords(s string) []string {
	var all []string
	var b strings.Builder
	var quote byte
	any := false
	end := func() {
		if any {
			all = append(all, b.String())
			b.Reset()
			any = false
		}
	}
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case quote != 0 && c == quote:
			if i+1 < len(s) && s[i+1] == quote {
				b.WriteByte(c)
				i++
			} else {
				quote = 0
			}
		case quote != 0:
			b.WriteByte(c)
		case c == '\'' || c == '"':
			quote, any = c, true
		case strings.IndexByte(" \t\r\n;|(){},", c) >= 0:
			end()
		default:
			b.WriteByte(c)
			any = true
		}
	}
	end()
	return all
}

// option returns the value that follows an option such as /tn or -Name in the
// words of a command line, "" if there is none. "name=" takes what follows the
// sign, in the same word or the next, as sc.exe does.
func option(ws []string, names ...string) string {
	for i, w := range ws {
		for _, n := range names {
			if strings.HasSuffix(n, "=") {
				if len(w) >= len(n) && strings.EqualFold(w[:len(n)], n) {
					if len(w) > len(n) {
						return w[len(n):]
					}
					if i+1 < len(ws) {
						return ws[i+1]
					}
				}
				continue
			}
			if strings.EqualFold(w, n) && i+1 < len(ws) {
				return strings.Trim(ws[i+1], "'")
			}
		}
	}
	return ""
}

// script returns a PowerShell command line together with the text of its
// -EncodedCommand, if it has one that decodes.
func script(cmd string) string {
	ws := words(cmd)
	for i, w := range ws {
		if i+1 == len(ws) || len(w) < 2 || (w[0] != '-' && w[0] != '/') {
			continue
		}
		if flag := strings.ToLower(w[1:]); strings.HasPrefix("encodedcommand", flag) || flag == "ec" {
			if raw, err := base64.StdEncoding.DecodeString(ws[i+1]); err == nil && len(raw)%2 == 0 && len(raw) > 0 {
				return cmd + "\n" + string(event.AppendUTF16(nil, raw))
			}
		}
	}
	return cmd
}

// exclusion is something Windows Defender was told to skip.
type exclusion struct {
	kind  string // "path", "process", "extension", "ip"
	value string // as written
}

var exclusionKinds = map[string]string{
	"paths": "path", "processes": "process", "extensions": "extension", "ipaddresses": "ip",
	"path": "path", "process": "process", "extension": "extension", "ipaddress": "ip",
}

var exclusionParameters = []string{"path", "process", "extension", "ipaddress"}

// exclusionsIn reads what a command line or script text excludes: Add- and
// Set-MpPreference (and its WMI class) with -Exclusion… in any accepted
// abbreviation and any list of values, and reg.exe writing the key itself.
func exclusionsIn(text string) []exclusion {
	lower := strings.ToLower(text)
	var found []exclusion
	if len(lower) != len(text) {
		return nil // letters that change length: positions would not agree
	}
	if strings.Contains(lower, "mppreference") && !strings.Contains(lower, "remove-mppreference") {
		for from := 0; ; {
			i := strings.Index(lower[from:], "exclusion")
			if i < 0 {
				break
			}
			i += from
			end := i
			for end < len(lower) && lower[end] >= 'a' && lower[end] <= 'z' {
				end++
			}
			from = end
			kind := ""
			part := lower[i+len("exclusion") : end]
			// PowerShell takes any beginning of a parameter's name that is no
			// other's.
			fits := 0
			for _, name := range exclusionParameters {
				if part != "" && strings.HasPrefix(name, part) {
					kind = exclusionKinds[name]
					fits++
				}
			}
			if fits != 1 {
				continue
			}
			rest := text[end:]
			rest = strings.TrimLeft(rest, " \t:=")
			// 4103 writes name="ExclusionPath"; value="C:\x".
			if after, ok := strings.CutPrefix(rest, `"; value=`); ok {
				rest = after
			}
			for _, v := range listValues(rest) {
				found = append(found, exclusion{kind, v})
			}
		}
	}
	if strings.Contains(lower, `\windows defender\exclusions\`) {
		if e, ok := exclusionKey(keyIn(text)); ok {
			if e.value == "" {
				e.value = option(words(text), "/v", "-Name")
			}
			if e.value != "" {
				found = append(found, e)
			}
		}
	}
	return found
}

// keyIn cuts the registry path out of a command line.
func keyIn(text string) string {
	for _, w := range words(text) {
		if strings.Contains(strings.ToLower(w), `\windows defender\exclusions\`) {
			return strings.Trim(w, "'")
		}
	}
	return ""
}

// exclusionKey reads …\Windows Defender\Exclusions\<kind>[\<value>], as in
// Sysmon 13 and, followed by " = 0x0", in Defender 5007.
func exclusionKey(object string) (exclusion, bool) {
	const mark = `\windows defender\exclusions\`
	lower := strings.ToLower(object)
	i := strings.Index(lower, mark)
	if i < 0 || len(lower) != len(object) {
		return exclusion{}, false
	}
	rest := object[i+len(mark):]
	name, value, _ := strings.Cut(rest, `\`)
	kind := exclusionKinds[strings.ToLower(name)]
	if kind == "" {
		return exclusion{}, false
	}
	if eq := strings.LastIndex(value, " = "); eq >= 0 {
		value = value[:eq]
	}
	return exclusion{kind, value}, true
}

// listValues reads a PowerShell list of values: 'a', "b", c.
func listValues(s string) []string {
	var all []string
	for len(all) < 32 {
		s = strings.TrimLeft(s, " \t@(")
		if s == "" {
			break
		}
		var v string
		if q := s[0]; q == '\'' || q == '"' {
			end := strings.IndexByte(s[1:], q)
			if end < 0 {
				v, s = s[1:], ""
			} else {
				v, s = s[1:1+end], s[end+2:]
			}
		} else {
			end := strings.IndexAny(s, " \t\r\n,;|)\"'")
			if end < 0 {
				v, s = s, ""
			} else {
				v, s = s[:end], s[end:]
			}
		}
		if v != "" && v != "-" {
			all = append(all, v)
		}
		s = strings.TrimLeft(s, " \t")
		if !strings.HasPrefix(s, ",") {
			break
		}
		s = s[1:]
	}
	return all
}
