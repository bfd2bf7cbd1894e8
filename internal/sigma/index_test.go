package sigma

import (
	"bytes"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"pgregory.net/rapid"

	"ashiato/internal/event"
)

// pieces that regular expressions are made of: with and without literals, with
// case folding, with runs.
var regexPieces = []string{
	"a", "cmd", "K", "k", "ſ", `\.`, "[ab]", "[Rr]", "[^x]", ".", ".*", ".+?", `\s`, `\d{1,3}`, "(foo|bar)", "(foo|)", "(?i:Ж)", "é?", "x{8,}", "[0-9a-f]{10}",
	"^", "$", `\b`, "(a|b|c)+", "(?i)", "é", "-", "(?s:.)", "[é-ü]", `\x{FFFD}`,
}

// TestNeedsAreNecessary holds that what is derived from a regular expression is
// there wherever it matches, so that no match is lost for lack of it.
func TestNeedsAreNecessary(t *testing.T) {
	alphabet := []string{"a", "b", "K", "\u212A", "k", "ſ", "s", "cmd", "CMD", ".", "foo", "BAR", "Ж", "ж", "é", "x", "xxxxxxxx", "0", "12", "deadbeef00", " ", "\n", "-", "\xED\xA0\x80", "\xFF", "\uFFFD"}
	rapid.Check(t, func(t *rapid.T) {
		source := strings.Join(rapid.SliceOfN(rapid.SampledFrom(regexPieces), 1, 6).Draw(t, "regex"), "")
		re, err := regexp.Compile(source)
		if err != nil {
			t.Skip(err)
		}
		n := needsOf(source)
		c := newCompiler(Options{}, 0)
		ct := c.compileTest(&Rule{}, -1, test{kind: regexTest, re: re})
		m := c.engine.Matcher()
		for range 4 {
			x := text{raw: strings.Join(rapid.SliceOfN(rapid.SampledFrom(alphabet), 0, 30).Draw(t, "text"), "")}
			want := re.MatchString(x.raw)
			if got := m.mayMatch(&x, ct.more) && x.matchRegex(ct.more); got != want {
				t.Fatalf("%q in %q: %v, want %v (%+v)", source, x.raw, got, want, n)
			}
		}
	})
}

func TestNeeds(t *testing.T) {
	for _, test := range []struct {
		source   string
		want     []requirement
		run      int
		sequence []string
	}{
		{`(foo|BAR)x`, []requirement{{"barx", "foox"}}, 0, nil},
		{`\\[a-z]+\.[ "']`, []requirement{{`. `, `."`, `.'`}, {`\`}}, 0, nil},
		{`\s[a-f0-9]{64}`, nil, 64, nil},
		{`.{1000,}`, nil, 1000, nil},
		{`a.*b.*c`, []requirement{{"a"}, {"b"}, {"c"}}, 0, []string{"a", "b", "c"}},
		{`(?i)a.*b`, []requirement{{"a"}, {"b"}}, 0, nil},
		{`x?`, nil, 0, nil},
	} {
		n := needsOf(test.source)
		run := 0
		if n.run != nil {
			run = n.run.least
		}
		if fmt.Sprint(n.reqs) != fmt.Sprint(test.want) || run != test.run || !slices.Equal(n.sequence, test.sequence) {
			t.Errorf("%s: %+v, run %d", test.source, n, run)
		}
	}
}

// TestFold holds that folding by eight bytes, and the shortcut for scripts
// without case, do what the orbits of simple case folding say.
func TestFold(t *testing.T) {
	plain := func(s string) []byte {
		var out []byte
		for i := 0; i < len(s); {
			r, n := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && n == 1 {
				out = append(out, s[i])
			} else {
				least := r
				for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
					least = min(least, f)
				}
				if 'A' <= least && least <= 'Z' {
					least += 'a' - 'A'
				}
				out = utf8.AppendRune(out, least)
			}
			i += n
		}
		return out
	}
	for r := rune(0); r <= unicode.MaxRune; r++ {
		if !utf8.ValidRune(r) {
			continue
		}
		if s := string(r); !bytes.Equal(appendFold(nil, s), plain(s)) || len(plain(s)) > len(s) {
			t.Errorf("%U folds to %q, want %q", r, appendFold(nil, s), plain(s))
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		s := string(rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "bytes")) + rapid.String().Draw(t, "text")
		if got := appendFold(nil, s); !bytes.Equal(got, plain(s)) {
			t.Fatalf("%q folds to %q, want %q", s, got, plain(s))
		}
	})
}

// TestGramIndexFindsEveryLiteral holds that the index finds every literal that
// is in a text, whatever the stride, wherever it lies.
func TestGramIndexFindsEveryLiteral(t *testing.T) {
	chars := rapid.SampledFrom([]rune("abcABC\\.K\u212Aé 0"))
	rapid.Check(t, func(t *rapid.T) {
		least := rapid.SampledFrom([]int{2, 3, 4, 5, 7, 11, 19, 40}).Draw(t, "least")
		c := newCompiler(Options{}, 0)
		e := c.engine
		var entries []gramEntry
		for i := range rapid.IntRange(1, 8).Draw(t, "literals") {
			needle := fold(string(rapid.SliceOfN(chars, least, least+20).Draw(t, "literal")))
			lit := c.literal([]byte(needle), anyField)
			e.tests = append(e.tests, compiledTest{how: byContains, lit: lit})
			e.rules = append(e.rules, compiledRule{})
			entries = append(entries, gramEntry{needle: lit.text, test: int32(i), rules: e.list([]int32{int32(i)})})
		}
		x := e.newGramIndex(anyField, entries)
		m := e.Matcher()
		for range 3 {
			s := string(rapid.SliceOfN(chars, 0, 40).Draw(t, "before"))
			s += string(e.text(entries[rapid.IntRange(0, len(entries)-1).Draw(t, "which")].needle))
			if rapid.Bool().Draw(t, "upper") {
				s = strings.ToUpper(s)
			}
			s += string(rapid.SliceOfN(chars, 0, 40).Draw(t, "after"))
			m.epoch++
			m.event, m.list = &event.Event{Data: event.Fields{{Name: "F", Value: s}}}, m.list[:0]
			m.reserve(1)
			m.find(x, 0)
			for i := range entries {
				want := strings.Contains(fold(s), string(e.text(entries[i].needle)))
				if got := slices.Contains(m.list, int32(i)); got != want {
					t.Fatalf("%q in %q: found %v, is there %v", e.text(entries[i].needle), s, got, want)
				}
			}
		}
	})
}

// TestSignature holds that a signature never denies a literal that is there.
func TestSignature(t *testing.T) {
	chars := rapid.SampledFrom([]rune("abcdef-/ éЖ"))
	rapid.Check(t, func(t *rapid.T) {
		s := string(rapid.SliceOfN(chars, 10, 100).Draw(t, "text"))
		s = strings.Repeat(s, rapid.SampledFrom([]int{1, 3, 40, 400}).Draw(t, "times"))
		folded := fold(s)
		from := rapid.IntRange(0, len(folded)).Draw(t, "from")
		c := newCompiler(Options{}, 0)
		l := c.literal([]byte(folded[from:min(len(folded), from+rapid.IntRange(0, 12).Draw(t, "length"))]), anyField)
		m := c.engine.Matcher()
		x := text{raw: s}
		for range 4 {
			if !m.contains(&x, &l) {
				t.Fatalf("%q is denied", c.engine.text(l.text))
			}
		}
	})
}

// TestMatcherSurvivesItsCounter holds that results do not change when the number
// of the event starts again.
func TestMatcherSurvivesItsCounter(t *testing.T) {
	rules, errs := Parse("r.yml", []byte("title: A\nlogsource: {product: windows}\ndetection:\n  s:\n    F|contains: [foo, barbar]\n  k: [keyword]\n  condition: s or k\n"))
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	e, errs := Compile(rules, Options{})
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	m := e.Matcher()
	events := []*event.Event{
		{Data: event.Fields{{Name: "F", Value: "a foo"}}},
		{Data: event.Fields{{Name: "F", Value: "nothing"}}},
		{Data: event.Fields{{Name: "G", Value: "the keyword"}}},
		{Data: event.Fields{{Name: "G", Value: "foo"}}},
	}
	want := []int{1, 0, 1, 0}
	check := func() {
		t.Helper()
		for i, ev := range events {
			if got := len(m.Match(ev, nil)); got != want[i] {
				t.Errorf("epoch %d, event %d: %d matches, want %d", m.epoch, i, got, want[i])
			}
		}
	}
	check()
	m.epoch = math.MaxInt32 - 2
	check()
	check()
	m.visit = math.MaxUint32
	check()
}

// TestMatcherIsBounded holds that what a Matcher remembers stays within its
// bounds when every event is of a kind and layout of its own, and that it goes
// on being right.
func TestMatcherIsBounded(t *testing.T) {
	rules, _ := Parse("r.yml", []byte("title: A\nlogsource: {product: windows}\ndetection:\n  s:\n    F: x\n    EventID|gt: 0\n  condition: s\n"))
	e, _ := Compile(rules, Options{})
	m := e.Matcher()
	for i := range 3 * maxRoutes {
		ev := &event.Event{ID: uint32(i + 1), Provider: fmt.Sprint("p", i), Keywords: uint64(i)}
		for k := range i % 50 {
			ev.Data = append(ev.Data, event.Field{Name: fmt.Sprint("f", i, k), Value: "v"})
		}
		ev.Data = append(ev.Data, event.Field{Name: "F", Value: "X"})
		if got := len(m.Match(ev, nil)); got != 1 {
			t.Fatalf("event %d: %d matches", i, got)
		}
		ev = &event.Event{ID: 1, Data: ev.Data}
		if got := len(m.Match(ev, nil)); got != 1 {
			t.Fatalf("layout %d: %d matches", i, got)
		}
	}
	if len(m.ways) > maxRoutes || m.remembered > maxLayouts || len(m.numbers) > maxNumbers || len(m.merged) > maxMerged {
		t.Errorf("%d routes, %d layouts, %d numbers, %d indexes", len(m.ways), m.remembered, len(m.numbers), len(m.merged))
	}
	long := &event.Event{Data: event.Fields{{Name: "F", Value: strings.Repeat("x", 1<<20)}}}
	m.Match(long, nil)
	m.Match(&event.Event{Data: event.Fields{{Name: "F", Value: "x"}}}, nil)
	for i := range m.texts {
		if n := cap(m.texts[i].folded); n > maxKept {
			t.Errorf("a buffer of %d bytes is kept", n)
		}
	}
}

// TestNeedsOfHugeExpressions holds that analysing an expression takes time in
// proportion to it; it would not end otherwise.
func TestNeedsOfHugeExpressions(t *testing.T) {
	for _, source := range []string{
		strings.Repeat(".a", 100_000), strings.Repeat("(a)", 50_000), strings.Repeat("a?b", 50_000), strings.Repeat("a|", 100_000) + "b",
		strings.Repeat("(", 900) + "a.b" + strings.Repeat(")", 900),
	} {
		n := needsOf(source)
		if len(n.reqs) > maxRequirements {
			t.Errorf("%d requirements", len(n.reqs))
		}
	}
}
