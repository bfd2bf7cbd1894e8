package sigma

import (
	"fmt"
	"path"
	"strings"
)

// ParsePlaceholders reads values for the expand modifier: a YAML map of names,
// without their %, to a value or a list of values.
//
//	Workstations: [WS-*, PC-17]
//	internal_domains: '*.corp.example'
//
// Values may hold wildcards, as those of rules may. A fault anywhere makes the
// map nil: a rule with half of its values would mean something else.
func ParsePlaceholders(file string, data []byte) (map[string][]string, []error) {
	docs, f := readYAML(data)
	var errs []error
	fail := func(f *fault) {
		errs = append(errs, &Error{File: file, Line: f.at.line, Column: f.at.column, Msg: f.msg, Hint: f.hint})
	}
	if f == nil && len(docs) == 0 {
		f = faultf(place{1, 1}, "the file gives no placeholder a value")
	}
	if f != nil {
		fail(f)
		return nil, errs
	}
	out := map[string][]string{}
	for _, d := range docs {
		if d.kind != mapNode {
			fail(faultf(d.at, "placeholders are a map of names to values, not %s", d.kind).withHint("write NAME: [VALUE, …]"))
			continue
		}
		for _, p := range d.keys {
			name := strings.TrimSuffix(strings.TrimPrefix(p.key, "%"), "%")
			values := []*node{p.value}
			if p.value.kind == listNode {
				values = p.value.list
			}
			switch {
			case !isPlaceholder(name):
				fail(faultf(p.at, "%q is no name of a placeholder", p.key).withHint("names are letters, digits, _ and -, as between the %% of a rule"))
				continue
			case out[name] != nil:
				fail(faultf(p.at, "the placeholder %s is given twice", name))
				continue
			case len(values) == 0:
				fail(faultf(p.value.at, "the placeholder %s has an empty list", name).withHint("leave the name out, and the rules that need it are refused"))
			}
			for _, v := range values {
				at := v.at
				if v == p.value {
					at = p.at // nothing and maps have no good place of their own
				}
				switch {
				case p.value.kind == mapNode:
					fail(faultf(at, "the values of the placeholder %s must be a list, not a map", name).
						withHint("the vars of a processing pipeline are used by its value_placeholders, and given with the pipeline"))
				case v.kind == scalarNode && v.text != "":
					out[name] = append(out[name], v.text)
				case v.kind == scalarNode || v.kind == nullNode:
					fail(faultf(at, "the placeholder %s has an empty value", name).withHint("every text contains it; write the value, or leave the line out"))
				default:
					fail(faultf(at, "a value of the placeholder %s must be a single value, not %s", name, v.kind))
				}
			}
		}
	}
	if len(errs) > 0 {
		return nil, errs
	}
	return out, nil
}

// ParsePlaceholderList reads the values of one placeholder, one a line. Its name
// is the file's, without the extension. Empty lines and those that begin with #
// are left out.
func ParsePlaceholderList(file string, data []byte) (name string, values []string, errs []error) {
	fail := func(line, column int, msg, hint string) {
		errs = append(errs, &Error{File: file, Line: line, Column: column, Msg: msg, Hint: hint})
	}
	base := path.Base(file)
	name = strings.TrimSuffix(base, path.Ext(base))
	if !isPlaceholder(name) {
		fail(1, 1, fmt.Sprintf("%q is no name of a placeholder", name), "call the file after the placeholder, as in Workstations.txt")
	}
	data, f := utf8Text(data)
	if f != nil {
		fail(f.at.line, f.at.column, f.msg, f.hint)
		return name, nil, errs
	}
	for i, line := range strings.Split(string(data), "\n") {
		line = strings.TrimSuffix(line, "\r")
		switch {
		case line == "" || line[0] == '#':
		case strings.TrimSpace(line) != line:
			fail(i+1, 1, "the value has blanks at its ends", "remove them; if they are meant, write the value in a YAML file, in quotes")
		default:
			values = append(values, line)
		}
	}
	if len(values) == 0 && len(errs) == 0 {
		fail(1, 1, "the file holds no value", "write one value a line")
	}
	if len(errs) > 0 {
		return name, nil, errs
	}
	return name, values, nil
}

// isPlaceholder reports whether %name% is a placeholder.
func isPlaceholder(name string) bool {
	at, end := nextPlaceholder("%" + name + "%")
	return at == 0 && end == len(name)+1
}
