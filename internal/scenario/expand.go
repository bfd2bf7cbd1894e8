package scenario

import (
	"encoding/xml"
	"fmt"
	"path"
	"strconv"
	"strings"
)

// maxText bounds one expanded text.
const maxText = 256 << 10

// lookup finds the value of a variable.
type lookup func(name string) (string, bool)

// over returns a lookup that asks l for what the map does not hold.
func (l lookup) over(vars map[string]string) lookup {
	return func(name string) (string, bool) {
		if v, ok := vars[name]; ok {
			return v, true
		}
		return l(name)
	}
}

// expand replaces ${name} and ${name|filter} in text. An unknown name or filter
// is an error at p, so that a misspelt variable never ends up in a record.
func expand(p place, text string, vars lookup) (string, error) {
	i := strings.Index(text, "${")
	if i < 0 {
		return text, nil
	}
	var b strings.Builder
	for ; i >= 0; i = strings.Index(text, "${") {
		b.WriteString(text[:i])
		end := strings.IndexByte(text[i:], '}')
		if end < 0 {
			return "", p.errorf("${ without } in %q", text)
		}
		name, filters, _ := strings.Cut(text[i+2:i+end], "|")
		v, ok := vars(name)
		if !ok {
			return "", p.errorf("unknown variable %q", name)
		}
		for filters != "" {
			var f string
			f, filters, _ = strings.Cut(filters, "|")
			var err error
			if v, err = filter(f, v); err != nil {
				return "", p.errorf("variable %q: %w", name, err)
			}
		}
		b.WriteString(v)
		if b.Len() > maxText {
			return "", p.errorf("a text grows over %d bytes", maxText)
		}
		text = text[i+end+1:]
	}
	b.WriteString(text)
	return b.String(), nil
}

// filter changes a value's notation.
func filter(name, v string) (string, error) {
	name, arg, _ := strings.Cut(name, " ")
	switch name {
	case "hex": // decimal to 0x…, as Security records write numbers
		n, err := strconv.ParseUint(v, 0, 64)
		if err != nil {
			return "", fmt.Errorf("%q is not a number", v)
		}
		return "0x" + strconv.FormatUint(n, 16), nil
	case "decimal":
		n, err := strconv.ParseUint(v, 0, 64)
		if err != nil {
			return "", fmt.Errorf("%q is not a number", v)
		}
		return strconv.FormatUint(n, 10), nil
	case "pad":
		n, err := strconv.Atoi(arg)
		if err != nil || n > 64 {
			return "", fmt.Errorf("pad wants a width, not %q", arg)
		}
		return strings.Repeat("0", max(0, n-len(v))) + v, nil
	case "lower":
		return strings.ToLower(v), nil
	case "upper":
		return strings.ToUpper(v), nil
	case "base": // the last element of a Windows path
		return baseName(v), nil
	case "dir":
		return strings.TrimSuffix(v, baseName(v)), nil
	case "rooted": // a path without its drive
		if len(v) > 1 && v[1] == ':' {
			return v[2:], nil
		}
		return v, nil
	case "xml":
		var b strings.Builder
		if err := xml.EscapeText(&b, []byte(v)); err != nil {
			return "", err
		}
		return b.String(), nil
	case "crlf":
		return strings.ReplaceAll(v, "\n", "\r\n"), nil
	case "percent": // Sysmon doubles the percent sign in registry values
		return strings.ReplaceAll(v, "%", "%%"), nil
	case "underscore": // device identifiers replace blanks
		return strings.ReplaceAll(v, " ", "_"), nil
	case "or": // a stand-in for an empty value
		if v == "" {
			return arg, nil
		}
		return v, nil
	}
	return "", fmt.Errorf("unknown filter %q", name)
}

// baseName is the last element of a Windows path, with its blanks.
func baseName(p string) string {
	return path.Base(strings.ReplaceAll(strings.TrimSuffix(p, `\`), `\`, "/"))
}
