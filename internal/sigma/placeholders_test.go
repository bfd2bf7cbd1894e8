package sigma

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParsePlaceholders(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       map[string][]string
		faults     []string
	}{
		{"values and lists", "a: x\n'%b%': [1, 0x10, 'y*', ' z ']\nc-d_é:\n  - CORP\\adm\n", map[string][]string{"a": {"x"}, "b": {"1", "0x10", "y*", " z "}, "c-d_é": {`CORP\adm`}}, nil},
		{"several documents", "a: x\n---\nb: y\n", map[string][]string{"a": {"x"}, "b": {"y"}}, nil},
		{"nothing", "", nil, []string{"f.yml:1:1: the file gives no placeholder a value"}},
		{"a list", "[a]", nil, []string{"f.yml:1:1: placeholders are a map of names to values, not a list (write NAME: [VALUE, …])"}},
		{"twice in a document", "a: x\na: y\n", nil, []string{"f.yml:2:1: "}},
		{"twice in two", "a: x\n---\na: y\n", nil, []string{"f.yml:3:1: the placeholder a is given twice"}},
		{"no name", "'a b': x\n'': y\n'%%': z", nil, []string{`f.yml:1:1: "a b" is no name`, `f.yml:2:1: "" is no name`, `f.yml:3:1: "%%" is no name`}},
		{"empty values", "a: ''\nb: [x, null]\nc: []\nd:\n", nil, []string{
			"f.yml:1:1: the placeholder a has an empty value", "f.yml:2:8: the placeholder b has an empty value",
			"f.yml:3:4: the placeholder c has an empty list", "f.yml:4:1: the placeholder d has an empty value",
		}},
		{"a pipeline", "name: x\nvars:\n  a: [b]\n", nil, []string{"f.yml:2:1: the values of the placeholder vars must be a list, not a map (the vars of a processing pipeline"}},
		{"nested", "a: [[b]]", nil, []string{"f.yml:1:5: a value of the placeholder a must be a single value, not a list"}},
		{"UTF-16", "\xff\xfea\x00", nil, []string{"f.yml:1:1: the file is UTF-16LE (save it as UTF-8)"}},
		{"Latin-1", "a: caf\xe9", nil, []string{"f.yml:1:7: the file is not valid UTF-8 here (byte 0xE9)"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, errs := ParsePlaceholders("f.yml", []byte(c.text))
			sameFaults(t, errs, c.faults)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestParsePlaceholderList(t *testing.T) {
	for _, c := range []struct {
		name, file, text string
		want             []string
		faults           []string
	}{
		{"one a line", "d/Work-stations.txt", "\uFEFFWS-*\r\n\r\n# those of the second floor\r\nPC 17", []string{"WS-*", "PC 17"}, nil},
		{"nothing", "x.txt", "# all gone\n", nil, []string{"x.txt:1:1: the file holds no value"}},
		{"no name", "my list.txt", "x\n", nil, []string{`my list.txt:1:1: "my list" is no name of a placeholder`}},
		{"blanks", "x.txt", "a\n b\nc\t\n   \n", nil, []string{"x.txt:2:1: the value has blanks", "x.txt:3:1: the value has blanks", "x.txt:4:1: the value has blanks"}},
		{"UTF-16 without a mark", "x.txt", "a\x00b\x00\n\x00", nil, []string{"x.txt:1:1: the file is UTF-16LE"}},
		{"NUL", "x.txt", "a\nb\x00c\n", nil, []string{"x.txt:2:2: the file has a NUL character here"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, got, errs := ParsePlaceholderList(c.file, []byte(c.text))
			sameFaults(t, errs, c.faults)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// sameFaults wants as many errors as there are texts, each an *Error that begins
// with its text.
func sameFaults(t *testing.T, errs []error, want []string) {
	t.Helper()
	if len(errs) != len(want) {
		t.Fatalf("%d faults, want %d: %v", len(errs), len(want), errs)
	}
	for i, err := range errs {
		if se := new(Error); !errors.As(err, &se) || !strings.HasPrefix(err.Error(), want[i]) {
			t.Errorf("%v; want %s", err, want[i])
		}
	}
}

// FuzzPlaceholders holds that values are read whole or refused with a place, and
// that what was read can be used by a rule.
func FuzzPlaceholders(f *testing.F) {
	f.Add("a: [x, y*]\nb: '%a%'\n")
	f.Add("a\nb*\n#c\r\n")
	f.Add("a: &a [x]\nb: *a\n")
	f.Fuzz(func(t *testing.T, text string) {
		values, errs := ParsePlaceholders("f.yml", []byte(text))
		name, list, listErrs := ParsePlaceholderList("f.txt", []byte(text))
		if (values == nil) != (len(errs) > 0) || (list == nil) != (len(listErrs) > 0) {
			t.Fatalf("values and faults: %v %v, %v %v", values, errs, list, listErrs)
		}
		for _, err := range slices.Concat(errs, listErrs) {
			if se := new(Error); !errors.As(err, &se) || se.Line < 1 || se.Column < 1 {
				t.Fatalf("a fault without a place: %v", err)
			}
		}
		if values == nil {
			values = map[string][]string{}
		}
		values[name] = list
		for _, name := range slices.Sorted(maps.Keys(values)) {
			if len(values[name]) == 0 || len(values[name]) > MaxExpansions {
				continue
			}
			if slices.Contains(values[name], "") {
				t.Fatalf("%q has an empty value", name)
			}
			rules, errs := Parse("r.yml", fmt.Appendf(nil, "title: T\nlogsource: {category: process_creation, product: windows}\ndetection:\n  s:\n    A|expand: '%%%s%%'\n  condition: s\n", name))
			if len(errs) > 0 {
				t.Fatalf("%q: %v", name, errs)
			}
			if _, errs := Compile(rules, Options{Placeholders: values}); len(errs) > 0 {
				t.Fatalf("%q: %v", name, errs)
			}
		}
	})
}
