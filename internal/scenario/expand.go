package scenario

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"math/rand/v2"
	"path"
	"strconv"
	"strings"
	"unicode/utf16"
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
	case "mof": // WMI's own notation escapes both
		return strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(v), nil
	case "bytes":
		return strings.ToUpper(hex.EncodeToString([]byte(v))), nil
	case "encoded": // as powershell -EncodedCommand wants it
		var b []byte
		for _, u := range utf16.Encode([]rune(v)) {
			b = append(b, byte(u), byte(u>>8))
		}
		return base64.StdEncoding.EncodeToString(b), nil
	case "iso": // Sysmon's notation of a time to that of other logs
		return strings.Replace(v, " ", "T", 1) + "0000Z", nil
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

// builtin are the variables that every text can use.
func (b *builder) builtin(name string) (string, bool) {
	if v, ok := b.vars[name]; ok {
		return v, true
	}
	if id, key, ok := strings.Cut(name, "."); ok && b.hostByID[id] != nil {
		v, ok := b.hostByID[id].vars[key]
		return v, ok
	}
	return constants(name)
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
