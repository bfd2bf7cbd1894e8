package sigma

import "strconv"

// RegressionInfo is one info.yml of SigmaHQ's regression_data.
type RegressionInfo struct {
	File  string
	Rules []RegressionRule
	Tests []RegressionTest
}

// RegressionRule names a rule that must fire in every test of the file.
type RegressionRule struct{ ID, Title string }

// RegressionTest is one recording.
type RegressionTest struct {
	Line       int
	Name, Type string
	// Path is relative to a folder around the info.yml, or to its own.
	Path string
	// MatchCount is how often each rule must fire; nil for at least once.
	MatchCount *int
}

// ParseRegression reads an info.yml; file is used in messages. Keys that it does
// not know are for others. A file may have no tests.
func ParseRegression(file string, data []byte) (*RegressionInfo, error) {
	docs, f := readYAML(data)
	info := &RegressionInfo{File: file}
	switch {
	case f != nil:
	case len(docs) != 1 || docs[0].kind != mapNode:
		f = faultf(place{1, 1}, "not a description of regression tests").withHint("an info.yml has rule_metadata and regression_tests_info")
	default:
		f = info.read(docs[0])
	}
	if f != nil {
		return nil, &Error{File: file, Line: f.at.line, Column: f.at.column, Msg: f.msg, Hint: f.hint}
	}
	return info, nil
}

func (info *RegressionInfo) read(d *node) *fault {
	f := eachMap(d, "rule_metadata", func(n *node) *fault {
		r := RegressionRule{ID: textOf(n, "id"), Title: textOf(n, "title")}
		if r.ID == "" {
			return faultf(n.at, "the rule has no id")
		}
		info.Rules = append(info.Rules, r)
		return nil
	})
	if f != nil {
		return f
	}
	return eachMap(d, "regression_tests_info", func(n *node) *fault {
		t := RegressionTest{Line: n.at.line, Name: textOf(n, "name"), Type: textOf(n, "type"), Path: textOf(n, "path")}
		if t.Path == "" {
			return faultf(n.at, "the test has no path")
		}
		if c := n.get("match_count"); c != nil && c.kind != nullNode {
			count, err := strconv.Atoi(c.text)
			if err != nil || count < 0 {
				return faultf(c.at, "match_count is %q, not a number of matches", c.text)
			}
			t.MatchCount = &count
		}
		if len(info.Rules) == 0 {
			return faultf(n.at, "there are tests, and rule_metadata names no rule")
		}
		info.Tests = append(info.Tests, t)
		return nil
	})
}

// eachMap calls take for every map of a list, which may be absent.
func eachMap(d *node, key string, take func(*node) *fault) *fault {
	list := d.get(key)
	if list == nil || list.kind == nullNode {
		return nil
	}
	if list.kind != listNode {
		return faultf(list.at, "%s must be a list, not %s", key, list.kind)
	}
	for _, n := range list.list {
		if n.kind != mapNode {
			return faultf(n.at, "%s must hold maps, not %s", key, n.kind)
		}
		if f := take(n); f != nil {
			return f
		}
	}
	return nil
}

func textOf(n *node, key string) string {
	if v := n.get(key); v != nil && v.kind == scalarNode {
		return v.text
	}
	return ""
}
