package scenario

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// chosenOf returns what was decided about a name.
func chosenOf(t testing.TB, s *Scenario, name string) string {
	t.Helper()
	for _, c := range s.Chosen() {
		if c.Name == name {
			return c.Value
		}
	}
	t.Fatalf("nothing was decided about %s: %v", name, s.Chosen())
	return ""
}

func vary(t testing.TB, name string, data []byte, seed uint64, fixed map[string]string) *Scenario {
	t.Helper()
	s, err := Vary(name, data, seed, fixed)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// alternatives is a scenario with choices of every kind in every place.
const alternatives = `Alternatives, synthetic.
-- settings --
start 2026-01-02T03:04:05Z
-- vary --
number digits 6
color in red | green
tool in b | c
telemetry in sysmon | security
-- vars --
number = 123456
color  = blue
hidden = a${u00A0}b
choose tool
    case a
        image = a.exe
    case b
        image = b.exe
    case c
        image = c.exe
-- hosts --
host pc
    when tool c
        dnsdomain corp.example
-- volumes --
volume v
    holds \one.txt = text
    when tool b
        holds \two.txt = text
-- contents --
content text
-- steps --
on pc
+1s attach v
    letter E
choose way
    case direct
        +1s start p
            image C:\${image}
            parent explorer
    case shell unless tool a
        +1s start shell
            image C:\Windows\System32\cmd.exe
            parent explorer
        choose depth
            case one
                +1s start p
                    image C:\${image}
                    parent shell
            case two if tool c
                +1s start between
                    image C:\Windows\System32\conhost.exe
                    parent shell
                +1s start p
                    image C:\${image}
                    parent between
when depth one two
    +1s write C:\deep.txt
        by p
unless depth one two
    +1s write C:\flat.txt
        by p
any
    group
        step 4 the first half
        +1s write C:\first-${color}.txt
            by p
        +1s write C:\first-${number}.txt
            by p
            unless way shell
                content text
    group
        step 5 the second half
        +1s write C:\second.txt
            by p
        +1s stream C:\second.txt:notes
            by p
            contents <<2
                line one
                  line two
+1s write C:\after.txt
    by p
-- background --
count 60
`

func TestChoices(t *testing.T) {
	data := []byte(alternatives)
	plain := build(t, parse(t, "alternatives.txtar", data))
	one(t, plain, "Sysmon", 1, "Image", `C:\a.exe`)
	one(t, plain, "Sysmon", 11, "TargetFilename", `C:\flat.txt`)
	one(t, plain, "Sysmon", 11, "TargetFilename", `C:\first-blue.txt`)

	seen := map[string]bool{}
	for seed := range uint64(60) {
		s := vary(t, "alternatives.txtar", data, seed, map[string]string{"telemetry": "sysmon", "lose": "0"})
		tool, way, color := chosenOf(t, s, "tool"), chosenOf(t, s, "way"), chosenOf(t, s, "color")
		if tool == "a" {
			t.Fatalf("seed %d: the vary section forbids tool a", seed)
		}
		seen[tool], seen[way], seen[color] = true, true, true
		b := build(t, s)
		one(t, b, "Sysmon", 1, "Image", `C:\`+tool+".exe")
		one(t, b, "Sysmon", 11, "TargetFilename", `C:\first-`+color+".txt")
		one(t, b, "Sysmon", 11, "TargetFilename", `C:\first-`+chosenOf(t, s, "number")+".txt")
		if got := len(find(b, "Sysmon", 11, "TargetFilename", `C:\deep.txt`)) == 1; got != (way == "shell") {
			t.Errorf("seed %d: way %s, deep %v", seed, way, got)
		}
		if got := strings.HasSuffix(b.Events[0].Host, ".corp.example"); got != (tool == "c") {
			t.Errorf("seed %d: tool %s on %s", seed, tool, b.Events[0].Host)
		}
		for _, l := range b.Truth {
			if strings.Contains(l.Subject, "after") && l.Step != 0 || strings.Contains(l.Subject, "second") && l.Step != 5 {
				t.Errorf("seed %d: %s belongs to step %d", seed, l.Subject, l.Step)
			}
		}
	}
	for _, want := range []string{"b", "c", "direct", "shell", "red", "green"} {
		if !seen[want] {
			t.Errorf("no seed chose %s", want)
		}
	}
}

// TestFixedChoices holds that what a caller names is not drawn, and that the rest
// is drawn as it was.
func TestFixedChoices(t *testing.T) {
	data := []byte(alternatives)
	for seed := range uint64(20) {
		free := vary(t, "a.txtar", data, seed, map[string]string{"tool": "c"})
		fixed := vary(t, "a.txtar", data, seed, map[string]string{"tool": "c", "color": "black", "way": "shell"})
		if chosenOf(t, fixed, "tool") != "c" || chosenOf(t, fixed, "color") != "black" || chosenOf(t, fixed, "way") != "shell" {
			t.Fatalf("%v", fixed.Chosen())
		}
		for _, name := range []string{"number", "stretch", "background"} {
			if a, b := chosenOf(t, free, name), chosenOf(t, fixed, name); a != b {
				t.Errorf("seed %d: %s was %s, is %s", seed, name, a, b)
			}
		}
	}
	s, err := ParseWith("a.txtar", data, map[string]string{"tool": "c", "way": "shell", "depth": "two", "color": "black"})
	if err != nil {
		t.Fatal(err)
	}
	one(t, build(t, s), "Sysmon", 1, "Image", `C:\Windows\System32\conhost.exe`)
	for name, value := range map[string]string{"tool": "z", "lose": "many", "nothing": "1"} {
		if _, err := Vary("a.txtar", data, 1, map[string]string{name: value}); err == nil {
			t.Errorf("%s=%s is no error", name, value)
		}
	}
}

// TestAFurtherChoiceChangesNoOther holds that each name draws for itself.
func TestAFurtherChoiceChangesNoOther(t *testing.T) {
	more := strings.Replace(alternatives, "-- vars --\n", "-- vars --\nother = 1\nchoose further\n    case one\n    case two\n", 1)
	more = strings.Replace(more, "-- vary --\n", "-- vary --\nother digits 3\n", 1)
	for seed := range uint64(20) {
		a, b := vary(t, "a.txtar", []byte(alternatives), seed, nil), vary(t, "a.txtar", []byte(more), seed, nil)
		for _, c := range a.Chosen() {
			if got := chosenOf(t, b, c.Name); got != c.Value {
				t.Errorf("seed %d: %s was %s, is %s", seed, c.Name, c.Value, got)
			}
		}
	}
}

// TestAVariantAsText holds that a variant written down builds the same records,
// under another name too, and has no alternatives left.
func TestAVariantAsText(t *testing.T) {
	files := map[string][]byte{"alternatives.txtar": []byte(alternatives)}
	dayName, day := WorkingDay()
	files[dayName] = day
	paths, err := filepath.Glob(filepath.Join("..", "..", "testdata", "scenarios", "*.txtar"))
	if err != nil || len(paths) < 10 {
		t.Fatal(paths, err)
	}
	for i, p := range paths {
		if base := filepath.Base(p); base == seedFile || i%5 == 0 || os.Getenv("ASHIATO_FULL") != "" {
			if files[base], err = os.ReadFile(p); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, data := range files {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(4) {
				fixed := map[string]string{"background": "150"}
				s := vary(t, "/some/where/"+name, data, seed, fixed)
				text := s.Text()
				want := build(t, s)
				same(t, unplaced(want), unplaced(build(t, vary(t, name, data, seed, fixed))))
				again, err := Parse("other-name.txtar", text)
				if err != nil {
					t.Fatalf("seed %d: %v\n%s", seed, err, text)
				}
				same(t, unplaced(want), unplaced(build(t, again)))
				if len(again.Chosen()) > 0 {
					t.Errorf("seed %d: choices are left: %v", seed, again.Chosen())
				}
				if !bytes.Equal(again.Text(), text) {
					t.Errorf("seed %d: written again it is another text", seed)
				}
			}
		})
	}
}

// unplaced is a built scenario without what tells its file and lines.
func unplaced(b *Built) *Built {
	c := *b
	c.Name = ""
	c.Truth, c.Lost = map[RecordKey]Label{}, map[RecordKey]Label{}
	for k, l := range b.Truth {
		l.Line = 0
		c.Truth[k] = l
	}
	for k, l := range b.Lost {
		l.Line = 0
		c.Lost[k] = l
	}
	c.Handoffs = slices.Clone(b.Handoffs)
	for i := range c.Handoffs {
		c.Handoffs[i].Label.Line = 0
	}
	return &c
}

func TestErrorsOfVariantsNameTheLine(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"no name", "-- vars --\nchoose\n    case a\n", `t.txtar:7: want: choose NAME`},
		{"no case", "-- vars --\nchoose x\n", `t.txtar:7: choice "x" has no case`},
		{"a step in a choice", "-- steps --\nchoose x\n    +1s reboot\n", `t.txtar:8: below choose, want: case NAME`},
		{"twice", "-- vars --\nchoose x\n    case a\nchoose x\n    case a\n", `t.txtar:9: choice "x" is made twice, also in line 7: use when x CASE`},
		{"case twice", "-- vars --\nchoose x\n    case a\n    case a\n", `t.txtar:9: case "a" of "x" occurs twice`},
		{"unknown choice", "-- vars --\nwhen y a\n    b = 1\n", `t.txtar:7: unknown choice "y"`},
		{"unknown case", "-- vars --\nchoose x\n    case a\nunless x b\n    c = 1\n", `t.txtar:9: choice "x" has no case "b"`},
		{"unknown case of a condition", "-- vars --\nchoose x\n    case a\nchoose y\n    case a if x b\n", `t.txtar:10: choice "x" has no case "b"`},
		{"half a condition", "-- vars --\nchoose x\n    case a\nchoose y\n    case a if x\n", `t.txtar:10: want: case NAME if CHOICE CASE…`},
		{"impossible", "-- vars --\nchoose x\n    case a\nchoose y\n    case a unless x a\n", `t.txtar:9: no case of choice "y" is possible here`},
		{"case alone", "-- vars --\ncase x\n", `t.txtar:7: case stands below choose NAME`},
		{"when without case", "-- vars --\nchoose x\n    case a\nwhen x\n    b = 1\n", `t.txtar:9: want: when CHOICE CASE…`},
		{"a mistake in a case that is not taken", "-- steps --\nchoose x\n    case a\n    case b\n        +1s fly away\n", `t.txtar:10: unknown verb "fly"`},
		{"nothing that varies", "-- vary --\nxx in a | b\n", `t.txtar:7: "xx" is no choice, variable or setting`},
		{"varies twice", "-- vary --\nlose in 0 | 1\nlose in 0 | 1\n", `t.txtar:8: "lose" varies twice`},
		{"vary wants an operator", "-- vary --\nlose 0\n", `t.txtar:7: variable "lose": want = VALUE, in A | B | C, digits N, letters N, hexdigits N or from LOW-HIGH`},
		{"vary an unknown case", "-- vary --\nx in a | b\n-- vars --\nchoose x\n    case a\n", `t.txtar:7: choice "x" has no case "b": want a`},
		{"vary a choice by digits", "-- vary --\nx digits 2\n-- vars --\nchoose x\n    case a\n", `t.txtar:7: want: x in CASE | CASE`},
		{"group with a word", "-- steps --\ngroup x\n", `t.txtar:7: group stands alone, not before "x"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Parse("t.txtar", []byte(small(tt.text)))
			if err == nil || err.Error() != tt.want {
				t.Errorf("got  %v\nwant %s", err, tt.want)
			}
		})
	}
	if _, err := Vary("t.txtar", []byte(small("-- vary --\nlanguage in xx\n")), 1, nil); err == nil || !strings.HasPrefix(err.Error(), "t.txtar:7: ") {
		t.Errorf("a value that a setting does not take: %v", err)
	}
}

// TestManyChoices holds that alternatives cannot make a file grow without bound.
func TestManyChoices(t *testing.T) {
	var b strings.Builder
	b.WriteString("-- vars --\n")
	for i := range maxChoices + 1 {
		fmt.Fprintf(&b, "choose c%d\n    case a\n", i)
	}
	if _, err := Parse("t.txtar", []byte(small(b.String()))); err == nil || !strings.Contains(err.Error(), "more than 1000 choices") {
		t.Error(err)
	}
	deep := "-- steps --\n"
	for i := range maxNesting + 2 {
		deep += strings.Repeat(" ", i) + "any\n"
	}
	if _, err := Parse("t.txtar", []byte(small(deep))); err == nil || !strings.Contains(err.Error(), "nested") {
		t.Error(err)
	}
}

// TestJitterKeepsOrder holds that pauses change, order and what depends on it do
// not, and that no jitter is the scenario as it was.
func TestJitterKeepsOrder(t *testing.T) {
	order := func(b *Built) (ids []string) {
		for _, e := range b.Events {
			if l, _ := b.Label(e); l.Attack && e.Channel == "Security" {
				ids = append(ids, fmt.Sprintf("%d %s %s", e.ID, l.Verb, l.Subject))
			}
		}
		return ids
	}
	plain := seed(t, "background", "0")
	same(t, plain, seed(t, "background", "0", "jitter", "0"))
	for _, jitter := range []string{"20", "95"} {
		b := seed(t, "background", "0", "jitter", jitter)
		got, want := order(b), order(plain)
		slices.Sort(got) // a record of another process may come a hair earlier
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("jitter %s: other records", jitter)
		}
		if b.Events[len(b.Events)-1].Time.Equal(plain.Events[len(plain.Events)-1].Time) {
			t.Errorf("jitter %s changed no time", jitter)
		}
	}
}
