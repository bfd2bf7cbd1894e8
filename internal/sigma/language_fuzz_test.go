package sigma_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"pgregory.net/rapid"

	"ashiato/internal/event"
	"ashiato/internal/sigma"
)

// plainText reports whether s can stand in YAML's single quotes as it is.
func plainText(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' || r == '\uFEFF' })
}

// FuzzCondition holds that a condition is accepted exactly if rewriting it step by
// step ends in a single truth value, and that both evaluators then find this value,
// whichever searches hold.
func FuzzCondition(f *testing.F) {
	for _, s := range []string{"a", "not a", "a and b or ab", "not (a or not b) and ab", "1 of a*", "all of them", "ANY OF _*", "((a))", "a b", "1 of (a)", "not not a or", "2 of them", "all of", "a | count() > 3", "Not a And _d"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, condition string) { checkCondition(t, condition) })
}

// TestConditionsAgree holds the same of random words.
func TestConditionsAgree(t *testing.T) {
	words := rapid.SliceOfN(rapid.SampledFrom([]string{
		"a", "b", "ab", "_d", "a", "b", "not", "and", "or", "and", "or", "(", ")", "(", ")", "1 of them", "all of a*", "any of _*", "NOT", "And", "of", "1 of *b", "2 of a", "them", "a*",
	}), 1, 14)
	accepted := 0
	rapid.Check(t, func(t *rapid.T) {
		if checkCondition(t, strings.Join(words.Draw(t, "words"), " ")) {
			accepted++
		}
	})
	if accepted == 0 {
		t.Error("no condition was accepted")
	}
}

// checkCondition reports whether the condition is accepted.
func checkCondition(t rapid.TB, condition string) bool {
	searches := []string{"a", "b", "ab", "_d"}
	if len(condition) > 200 || !plainText(condition) {
		return false
	}
	rules, errs := sigma.Parse("f.yml", []byte("title: T\nlogsource: {product: windows}\ndetection:\n  a: {F: 1}\n  b: {G: 1}\n  ab: {H: 1}\n  _d: {I: 1}\n  condition: "+quote(condition)+"\n"))
	if len(errs) > 0 && strings.Contains(errs[0].Error(), "nested more than") {
		return false
	}
	engine, more := sigma.Compile(rules, sigma.Options{})
	if len(more) > 0 {
		t.Fatal(more)
	}
	m, r := engine.Matcher(), sigma.NewReference(engine.Rules(), sigma.Options{})
	for mask := range 1 << len(searches) {
		holds := map[string]bool{}
		e := &event.Event{Channel: "Security"}
		for i, name := range searches {
			holds[name] = mask>>i&1 == 1
			e.Data = append(e.Data, event.Field{Name: string("FGHI"[i]), Value: fmt.Sprint(mask >> i & 1)})
		}
		want, ok := rewrite(condition, searches, holds)
		if ok != (len(errs) == 0) {
			t.Fatalf("%q: accepted by rewriting %t, %v", condition, ok, errs)
		}
		if got, ref := len(m.Match(e, nil)) > 0, len(r.Match(e)) > 0; ok && (got != want || ref != want) {
			t.Fatalf("%q with %v: engine %t, reference %t, want %t", condition, holds, got, ref, want)
		}
	}
	return len(errs) == 0
}

var (
	conditionWord = regexp.MustCompile(`^(?:[()]|[A-Za-z0-9_.*-]+)`)
	rewriting     = []struct {
		from *regexp.Regexp
		to   func(a, b string) string
	}{
		// In the order of their strength: each goes on as long as it can.
		{regexp.MustCompile(` not ([TF]) `), func(a, _ string) string { return truth(a == "F") }},
		{regexp.MustCompile(` \( ([TF]) \) `), func(a, _ string) string { return a }},
		{regexp.MustCompile(` ([TF]) and ([TF]) `), func(a, b string) string { return truth(a == "T" && b == "T") }},
	}
	orStep = regexp.MustCompile(` ([TF]) or ([TF]) (?:$|or |\) )`)
)

func truth(b bool) string {
	if b {
		return "T"
	}
	return "F"
}

// rewrite evaluates a condition as one would by hand: first every search becomes
// T or F, then the strongest operator with its operands does, and so on.
func rewrite(condition string, searches []string, holds map[string]bool) (value, ok bool) {
	var words []string
	for s := strings.TrimLeft(condition, " \t"); s != ""; s = strings.TrimLeft(s, " \t") {
		w := conditionWord.FindString(s)
		if w == "" {
			return false, false
		}
		words, s = append(words, w), s[len(w):]
	}
	text := " "
	for i := 0; i < len(words); i++ {
		w := words[i]
		switch lower := strings.ToLower(w); {
		case w != "(" && w != ")" && i+1 < len(words) && strings.EqualFold(words[i+1], "of"):
			if i+2 == len(words) || lower != "1" && lower != "any" && lower != "all" {
				return false, false
			}
			pattern := words[i+2]
			if pattern == "them" {
				pattern = "*"
			}
			re := regexp.MustCompile("^" + strings.ReplaceAll(regexp.QuoteMeta(pattern), `\*`, ".*") + "$")
			var found []bool
			for _, s := range searches {
				if re.MatchString(s) && (s[0] != '_' || pattern[0] == '_') {
					found = append(found, holds[s])
				}
			}
			if len(found) == 0 {
				return false, false
			}
			text += truth(slices.Contains(found, true) && (lower != "all" || !slices.Contains(found, false))) + " "
			i += 2
		case lower == "not" || lower == "and" || lower == "or" || w == "(" || w == ")":
			text += lower + " "
		case slices.Contains(searches, w):
			text += truth(holds[w]) + " "
		default:
			return false, false
		}
	}
	for changed := true; changed; {
		changed = false
		for _, step := range rewriting {
			if at := step.from.FindStringSubmatchIndex(text); at != nil {
				b := ""
				if len(at) > 4 {
					b = text[at[4]:at[5]]
				}
				text = text[:at[0]] + " " + step.to(text[at[2]:at[3]], b) + " " + text[at[1]:]
				changed = true
				break
			}
		}
		if !changed {
			if at := orStep.FindStringSubmatchIndex(text); at != nil && !strings.HasSuffix(text[:at[0]], " and") && !strings.HasSuffix(text[:at[0]], " not") {
				text = text[:at[0]] + " " + truth(text[at[2]:at[3]] == "T" || text[at[4]:at[5]] == "T") + " " + text[at[5]+1:]
				changed = true
			}
		}
	}
	return text == " T ", text == " T " || text == " F "
}

// FuzzValue holds that a value with modifiers is refused with its place or means
// the same to both evaluators, and where something independent can tell, the same
// as to it: a regular expression made of the value's wildcards, the regular
// expression itself, an encoding with the value inside.
func FuzzValue(f *testing.F) {
	for i, s := range []string{`C:\Windows\*\cmd.exe`, `\\server\\share\*`, "K", "ſ?", `a*b\\*`, "é", `^a+\.exe$`, "(?i)x", "encoded", "Жé", " -a /b", "a-b", "10.0.0.0/8", "42", "0x2a", "G", "g", "5", "x", "true"} {
		f.Add(s, uint8(i), strings.ToUpper(s), "ab")
	}
	f.Fuzz(func(t *testing.T, value string, which uint8, text, around string) {
		checkValue(t, value, which, text, around)
	})
}

// TestValuesAgree holds the same of values and texts of the pieces that matter.
func TestValuesAgree(t *testing.T) {
	accepted := 0
	rapid.Check(t, func(t *rapid.T) {
		value, in := ruleText.Draw(t, "value"), valueText
		if rapid.Bool().Draw(t, "near") {
			in = rapid.Just(strings.NewReplacer("*", "x", "?", "y", `\`, `\`).Replace(value))
		}
		if checkValue(t, value, rapid.Uint8().Draw(t, "modifiers"), in.Draw(t, "text"), valueText.Draw(t, "around")) {
			accepted++
		}
	})
	if accepted == 0 {
		t.Error("no value was accepted")
	}
}

var valueModifiers = []string{
	"", "|contains", "|startswith", "|endswith", "|cased", "|contains|cased", "|re", "|re|i", "|base64offset|contains", "|wide|base64offset|contains",
	"|windash", "|contains|windash", "|cidr", "|lt", "|gte", "|fieldref", "|fieldref|contains", "|minute", "|neq", "|exists",
}

// checkValue reports whether the value is accepted.
func checkValue(t rapid.TB, value string, which uint8, text, around string) bool {
	if len(value) > 300 || len(text) > 1000 || !plainText(value) {
		return false
	}
	mod := valueModifiers[int(which)%len(valueModifiers)]
	rules, errs := sigma.Parse("f.yml", []byte("title: T\nlogsource: {product: windows}\ndetection:\n  s:\n    F"+mod+": "+quote(value)+"\n  condition: s\n"))
	for _, err := range errs {
		if e := (*sigma.Error)(nil); !errors.As(err, &e) || e.Line != 5 || e.Column == 0 {
			t.Fatalf("refused without its place: %#v", err)
		}
	}
	engine, more := sigma.Compile(rules, sigma.Options{})
	if len(errs)+len(more) > 0 {
		return false
	}
	m, r := engine.Matcher(), sigma.NewReference(engine.Rules(), sigma.Options{})
	matches := func(text string) bool {
		e := &event.Event{Channel: "Security", Data: event.Fields{{Name: "F", Value: text}, {Name: "G", Value: around}}}
		got, want := len(m.Match(e, nil)) > 0, len(r.Match(e)) > 0
		if got != want {
			t.Fatalf("F%s: %q on %q: engine %t, reference %t", mod, value, text, got, want)
		}
		return got
	}
	got := matches(text)
	if !utf8.ValidString(text) {
		return true
	}
	var want string
	switch mod {
	case "", "|cased":
		want = "^" + wildcards(value) + "$"
	case "|contains", "|contains|cased":
		want = wildcards(value)
	case "|startswith":
		want = "^" + wildcards(value)
	case "|endswith":
		want = wildcards(value) + "$"
	case "|re":
		if got != regexp.MustCompile(value).MatchString(text) {
			t.Fatalf("%q on %q: %t", value, text, got)
		}
		return true
	case "|base64offset|contains":
		holder := around + escaped.ReplaceAllString(value, "$1") + text
		if !matches(base64.StdEncoding.EncodeToString([]byte(holder))) {
			t.Fatalf("%q is not found in the encoding of %q", value, holder)
		}
		return true
	default:
		return true
	}
	flags := "(?is)"
	if strings.HasSuffix(mod, "cased") {
		flags = "(?s)"
	}
	if got != regexp.MustCompile(flags+want).MatchString(text) {
		t.Fatalf("F%s: %q on %q: %t, the regular expression %s says otherwise", mod, value, text, got, want)
	}
	return true
}

var escaped = regexp.MustCompile(`\\([*?\\])`)

// wildcards returns the regular expression of a Sigma string.
func wildcards(value string) string {
	var out strings.Builder
	for i, runes := 0, []rune(value); i < len(runes); i++ {
		switch c := runes[i]; {
		case c == '\\' && i+1 < len(runes) && strings.ContainsRune(`*?\`, runes[i+1]):
			i++
			out.WriteString(regexp.QuoteMeta(string(runes[i])))
		case c == '*':
			out.WriteString(".*")
		case c == '?':
			out.WriteString(".")
		default:
			out.WriteString(regexp.QuoteMeta(string(c)))
		}
	}
	return out.String()
}
