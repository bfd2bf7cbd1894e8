package i18n

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

var placeholder = regexp.MustCompile(`\{\d+\}`)

func TestLanguagesHaveTheSameKeysAndArguments(t *testing.T) {
	for _, l := range Langs() {
		if len(texts[l]) == 0 {
			t.Fatalf("%s has no texts", l)
		}
	}
	for key, en := range texts[English] {
		if strings.HasSuffix(key, ".one") {
			continue // Japanese and Korean do not inflect for number
		}
		want := placeholder.FindAllString(en, -1)
		slices.Sort(want)
		want = slices.Compact(want)
		for _, l := range Langs()[1:] {
			text, ok := texts[l][key]
			if !ok {
				t.Errorf("%s: no text for %q", l, key)
				continue
			}
			got := placeholder.FindAllString(text, -1)
			slices.Sort(got)
			if got = slices.Compact(got); !slices.Equal(got, want) {
				t.Errorf("%s: %q takes %v, English takes %v", l, key, got, want)
			}
			if strings.TrimSpace(text) == "" && strings.TrimSpace(en) != "" {
				t.Errorf("%s: %q is blank", l, key)
			}
		}
	}
	for _, l := range Langs()[1:] {
		for key := range texts[l] {
			if _, ok := texts[English][key]; !ok {
				t.Errorf("%s: key %q is not in English", l, key)
			}
		}
	}
}

func TestFill(t *testing.T) {
	for _, c := range []struct {
		text string
		args []string
		want string
	}{
		{"{0} started {1}", []string{"a", "b"}, "a started b"},
		{"{1}{0}", []string{"a", "{0}"}, "{0}a"},
		{"{2} {x} {", []string{"a"}, "{2} {x} {"},
		{"no argument", nil, "no argument"},
	} {
		if got := fill(c.text, c.args); got != c.want {
			t.Errorf("fill(%q, %q) = %q, want %q", c.text, c.args, got, c.want)
		}
	}
}

func TestNumber(t *testing.T) {
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", -1234567: "-1,234,567"} {
		if got := Number(n); got != want {
			t.Errorf("Number(%d) = %q, want %q", n, got, want)
		}
	}
}

func TestParse(t *testing.T) {
	for name, want := range map[string]Lang{"ja": Japanese, "ja_JP.UTF-8": Japanese, "ko-KR": Korean, "EN_us": English} {
		if got, ok := Parse(name); !ok || got != want {
			t.Errorf("Parse(%q) = %q, %v", name, got, ok)
		}
	}
	if _, ok := Parse("C.UTF-8"); ok {
		t.Error("C is taken for a language")
	}
}
