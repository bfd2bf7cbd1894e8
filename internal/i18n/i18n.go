// Package i18n holds every word that Ashiato says to people, in English,
// Japanese and Korean. Code keeps stable words (verbs, reasons, kinds) and asks
// for their text at the edge, in the reader's language.
//
// The texts are JSON files in text/, one per area and language
// ("verbs.ja.json"), each a flat object from key to text. {0}, {1} … stand for
// arguments, in any order. A key may have a second form "<key>.one" for the
// count 1, used by Count. A test holds that the three languages have the same
// keys and the same arguments.
package i18n

import (
	"embed"
	"encoding/json"
	"fmt"
	"path"
	"strconv"
	"strings"
)

//go:embed text/*.json
var files embed.FS

// Lang is a language Ashiato speaks.
type Lang string

// The languages.
const (
	English  Lang = "en"
	Japanese Lang = "ja"
	Korean   Lang = "ko"
)

// Langs returns the languages in the order they are offered.
func Langs() []Lang { return []Lang{English, Japanese, Korean} }

// Parse reads a language or locale name such as "ja", "ja_JP.UTF-8" or "ko-KR".
func Parse(name string) (Lang, bool) {
	tag, _, _ := strings.Cut(strings.ToLower(name), ".")
	tag, _, _ = strings.Cut(strings.ReplaceAll(tag, "_", "-"), "-")
	for _, l := range Langs() {
		if tag == string(l) {
			return l, true
		}
	}
	return English, false
}

var texts = load()

// load reads the embedded files. They are part of the program, so a fault in
// them is a fault of the build and stops it at once.
func load() map[Lang]map[string]string {
	all := map[Lang]map[string]string{}
	entries, err := files.ReadDir("text")
	if err != nil {
		panic(err)
	}
	for _, e := range entries {
		_, lang, _ := strings.Cut(strings.TrimSuffix(e.Name(), ".json"), ".")
		data, err := files.ReadFile(path.Join("text", e.Name()))
		if err != nil {
			panic(err)
		}
		part := map[string]string{}
		if err := json.Unmarshal(data, &part); err != nil {
			panic(fmt.Errorf("%s: %w", e.Name(), err))
		}
		if all[Lang(lang)] == nil {
			all[Lang(lang)] = map[string]string{}
		}
		for k, v := range part {
			if _, twice := all[Lang(lang)][k]; twice {
				panic(fmt.Errorf("%s: key %q is in another file too", e.Name(), k))
			}
			all[Lang(lang)][k] = v
		}
	}
	return all
}

// Has reports whether the key has a text in the language.
func (l Lang) Has(key string) bool {
	_, ok := texts[l][key]
	return ok
}

// T returns the text of a key with its arguments filled in: in the language,
// else in English, else the key itself. Arguments are inserted as they are.
func (l Lang) T(key string, args ...string) string {
	t, ok := texts[l][key]
	if !ok {
		if t, ok = texts[English][key]; !ok {
			t = key
		}
	}
	return fill(t, args)
}

// Count is T for a text that counts n, which is its argument {0}; further
// arguments follow. Digits are grouped in threes.
func (l Lang) Count(key string, n int, args ...string) string {
	all := append([]string{Number(n)}, args...)
	if n == 1 {
		if _, ok := texts[l][key+".one"]; ok {
			return l.T(key+".one", all...)
		}
	}
	return l.T(key, all...)
}

// Number writes n with its digits grouped in threes by commas, as all three
// languages do.
func Number(n int) string {
	s := strconv.Itoa(n)
	sign := ""
	if s[0] == '-' {
		sign, s = "-", s[1:]
	}
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return sign + s
}

// fill replaces {N} by args[N]; anything else in braces stays. Arguments are
// not searched again, so telemetry cannot smuggle placeholders in.
func fill(t string, args []string) string {
	if !strings.Contains(t, "{") {
		return t
	}
	var b strings.Builder
	for {
		i := strings.IndexByte(t, '{')
		if i < 0 {
			break
		}
		end := strings.IndexByte(t[i:], '}')
		if end < 0 {
			break
		}
		b.WriteString(t[:i])
		n, err := strconv.Atoi(t[i+1 : i+end])
		if err == nil && n >= 0 && n < len(args) {
			b.WriteString(args[n])
		} else {
			b.WriteString(t[i : i+end+1])
		}
		t = t[i+end+1:]
	}
	b.WriteString(t)
	return b.String()
}
