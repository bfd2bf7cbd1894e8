package sigma_test

import (
	"encoding/binary"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"

	"ashiato/internal/corpus"
	"ashiato/internal/event"
	"ashiato/internal/normalize"
	"ashiato/internal/sigma"
	"ashiato/internal/source/evtx"
	"ashiato/internal/source/files"
)

// titles of what both evaluators say.
func fast(m *sigma.Matcher, e *event.Event) []string {
	var out []string
	for _, match := range m.Match(e, nil) {
		out = append(out, match.Rule.Title)
	}
	return out
}

func slow(r *sigma.Reference, e *event.Event) []string {
	var out []string
	for _, rule := range r.Match(e) {
		out = append(out, rule.Title)
	}
	return out
}

// full asks for every record of the recordings instead of a sample.
func full() bool { return os.Getenv("ASHIATO_FULL") == "1" }

// TestEngineAgreesWithReferenceOnRecordings runs every public rule over every
// n-th record of the recordings, over every record with ASHIATO_FULL=1, by both
// evaluators.
func TestEngineAgreesWithReferenceOnRecordings(t *testing.T) {
	root := corpus.Dir(t, "evtx")
	rules, _ := loadPublic(t)
	n := 300
	if full() {
		n = 1
	}
	agree(t, rules, sample(t, root, n))
}

// TestEngineAgreesWithReferenceOnCaptures does the same with captures in JSON,
// whose records have their fields in other layouts.
func TestEngineAgreesWithReferenceOnCaptures(t *testing.T) {
	root := corpus.Dir(t, "otrf/atomic/windows/privilege_escalation")
	n := uint16(20)
	if full() {
		root, n = corpus.Dir(t, "otrf"), 100
	}
	rules, _ := loadPublic(t)
	var mu sync.Mutex
	var events []*event.Event
	files.Scan(t.Context(), []string{root}, files.Options{}, func(batch []*event.Event) {
		mu.Lock()
		defer mu.Unlock()
		for _, e := range batch {
			if binary.LittleEndian.Uint16(e.Ref.SHA256[:])%n == 0 {
				events = append(events, e)
			}
		}
	})
	for _, e := range events {
		normalize.Event(e)
	}
	agree(t, rules, events)
}

// agree compares the evaluators on events, in four parts at once.
func agree(t *testing.T, rules []*sigma.Rule, events []*event.Event) {
	engine, _ := sigma.Compile(rules, sigma.Options{})
	var matches atomic.Int64
	var parts sync.WaitGroup
	workers := runtime.GOMAXPROCS(0)
	for w := range workers {
		parts.Go(func() {
			m, r := engine.Matcher(), sigma.NewReference(engine.Rules(), sigma.Options{})
			for i := w; i < len(events); i += workers {
				e := events[i]
				got, want := fast(m, e), slow(r, e)
				if !slices.Equal(got, want) {
					t.Errorf("%s record %d: engine %q, reference %q", e.Ref.File, e.Ref.RecordID, got, want)
				}
				matches.Add(int64(len(got)))
			}
		})
	}
	parts.Wait()
	t.Logf("%d rules, %d events, %d matches", len(engine.Rules()), len(events), matches.Load())
	if len(events) < 100 || matches.Load() == 0 {
		t.Errorf("%d events and %d matches prove nothing", len(events), matches.Load())
	}
}

// TestNoAllocationWithoutMatch holds that events without a match cost no
// allocation once the Matcher has seen their kind and layout.
func TestNoAllocationWithoutMatch(t *testing.T) {
	root := corpus.Dir(t, "evtx")
	rules, _ := loadPublic(t)
	engine, _ := sigma.Compile(rules, sigma.Options{})
	m := engine.Matcher()
	var events []*event.Event
	for _, e := range sample(t, root, 20) {
		if len(m.Match(e, nil)) == 0 {
			events = append(events, e)
		}
	}
	if len(events) < 500 {
		t.Fatalf("%d events prove nothing", len(events))
	}
	var dst []sigma.Match
	if n := testing.AllocsPerRun(3, func() {
		for _, e := range events {
			dst = m.Match(e, dst[:0])
		}
	}); n != 0 {
		t.Errorf("%g allocations for %d events", n, len(events))
	}
}

// sample reads the EVTX files under root and keeps the first and each n-th
// record of every file.
func sample(t testing.TB, root string, n int) []*event.Event {
	t.Helper()
	var out []*event.Event
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.EqualFold(filepath.Ext(path), ".evtx") {
			return err
		}
		events := readEvents(t, (&evtx.Reader{}).Read, path)
		slices.SortFunc(events, event.Compare)
		for i := 0; i < len(events); i += n {
			out = append(out, events[i])
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// The pieces that random rules and values are made of: small, so that they
// meet, and with everything that escapes, folding and dashes care about.
var pieces = []string{
	"a", "B", "cmd.exe", "CMD", `\`, `\\`, "*", "?", `\*`, `\?`, "-", "/", "–", "—", "―", " ", "é", "É", "Ж", "ж", "K", "\u212A", "k", "ſ", "S",
	"foo", "FOOBAR", "bar", "%", "1", "42", "0x2a", ".", "\n", "enc", "10.0.0.1", "𐐀", "𐐨", "\xED\xA0\x80",
}

func text(pieces []string) *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		return strings.Join(rapid.SliceOfN(rapid.SampledFrom(pieces), 0, 5).Draw(t, "pieces"), "")
	})
}

var (
	ruleText  = text(pieces[:len(pieces)-1]) // YAML cannot hold a lone surrogate
	valueText = text(pieces)
	fields    = []string{"F", "G", "Other Name", "OtherName", "EventID", "Channel"}
)

func quote(s string) string {
	if strings.Contains(s, "\n") {
		return fmt.Sprintf("%q", strings.ReplaceAll(s, `\`, "")) // double quotes have escapes of their own
	}
	return "'" + strings.ReplaceAll(s, "'", "''") + "'"
}

// itemYAML draws one "field|modifiers: values" line that is right.
func itemYAML(t *rapid.T, indent string) string {
	field := rapid.SampledFrom(fields).Draw(t, "field")
	one := func(v string) string { return fmt.Sprintf("%s%s: %s\n", indent, field, v) }
	neq := rapid.SampledFrom([]string{"", "", "|neq"}).Draw(t, "neq")
	field += neq
	switch rapid.IntRange(0, 11).Draw(t, "kind") {
	case 0:
		return one("null")
	case 1:
		field += "|exists"
		return one(rapid.SampledFrom([]string{"true", "false"}).Draw(t, "want"))
	case 2:
		field += "|" + rapid.SampledFrom([]string{"lt", "lte", "gt", "gte"}).Draw(t, "order")
		return one(rapid.SampledFrom([]string{"0", "1", "42", "-3", "41.5"}).Draw(t, "number"))
	case 3:
		field += "|cidr"
		return one(rapid.SampledFrom([]string{"10.0.0.0/8", "'::/0'", "192.168.0.0/16"}).Draw(t, "net"))
	case 4:
		field += rapid.SampledFrom([]string{"|fieldref", "|fieldref|cased", "|fieldref|startswith", "|fieldref|endswith", "|fieldref|contains"}).Draw(t, "ref")
		return one(rapid.SampledFrom(fields).Draw(t, "other"))
	case 5:
		field += rapid.SampledFrom([]string{"|re", "|re|i", "|re|s"}).Draw(t, "re")
		return one(rapid.SampledFrom([]string{"'^a'", "'cmd'", "'CMD.exe'", "'(foo|bar)b?ar'", "'(Foo)+'", "'k{2,3}'", "'ж[é-]'", "'fo+'", "'.'", `'\\$'`, "''"}).Draw(t, "regex"))
	case 6:
		field += rapid.SampledFrom([]string{"|base64|contains", "|base64offset|contains", "|wide|base64offset|contains"}).Draw(t, "encoding")
		return one(rapid.SampledFrom([]string{"'foobar'", "'Жé'", "'encoded'"}).Draw(t, "plain"))
	}
	mods := rapid.SampledFrom([]string{"", "", "|contains", "|startswith", "|endswith", "|contains|windash", "|windash|contains", "|endswith|cased", "|cased", "|contains|cased"}).Draw(t, "mods")
	values := rapid.SliceOfN(ruleText, 1, 4).Draw(t, "values")
	if len(values) > 1 && rapid.Bool().Draw(t, "all") {
		mods += "|all"
	}
	field += mods
	var b strings.Builder
	fmt.Fprintf(&b, "%s%s:\n", indent, field)
	for _, v := range values {
		fmt.Fprintf(&b, "%s  - %s\n", indent, quote(v))
	}
	return b.String()
}

func ruleYAML(t *rapid.T, title string) string {
	var b strings.Builder
	source := rapid.SampledFrom([]string{
		"{category: process_creation, product: windows}", "{product: windows, service: security}", "{product: windows}", "{category: file_access}",
	}).Draw(t, "source")
	fmt.Fprintf(&b, "title: %s\nlogsource: %s\ndetection:\n", title, source)
	n := rapid.IntRange(1, 4).Draw(t, "searches")
	for i := range n {
		fmt.Fprintf(&b, "  s%d:\n", i)
		switch rapid.IntRange(0, 4).Draw(t, "form") {
		case 0:
			for range rapid.IntRange(1, 3).Draw(t, "members") {
				fmt.Fprintf(&b, "    -\n%s", itemYAML(t, "      "))
			}
		case 1:
			for range rapid.IntRange(1, 2).Draw(t, "keywords") {
				fmt.Fprintf(&b, "    - %s\n", quote("x"+ruleText.Draw(t, "keyword")))
			}
		default:
			b.WriteString(itemYAML(t, "    "))
		}
	}
	condition := rapid.SampledFrom([]string{
		"s0", "not s0", "1 of s*", "all of them", "not 1 of s*", "s0 and not s%", "s0 or s%", "(s0 or not s%) and s%", "not (s0 and s%)", "s% and s%",
	}).Draw(t, "condition")
	for strings.Contains(condition, "%") {
		condition = strings.Replace(condition, "%", fmt.Sprint(rapid.IntRange(0, n-1).Draw(t, "which")), 1)
	}
	fmt.Fprintf(&b, "  condition: %s\n", condition)
	return b.String()
}

var someFields = rapid.Custom(func(t *rapid.T) event.Fields {
	var out event.Fields
	for range rapid.IntRange(0, 4).Draw(t, "count") {
		out = append(out, event.Field{
			Name: rapid.SampledFrom([]string{"F", "G", "Other Name", "OtherName", "TargetFilename", "FileName"}).Draw(t, "name"),
			Value: rapid.OneOf(valueText, rapid.SampledFrom([]string{
				"Zm9vYmFy", "eGZvb2Jhcg==", "42", "0x2a", "-3", "10.1.2.3", "::ffff:10.0.0.1", "0:0:0:0:0:0:0:1", "",
			})).Draw(t, "value"),
		})
	}
	return out
})

// TestEngineAgreesWithReference is the soundness of the index, the predicate
// cache and the compiled patterns: for random rules and events both evaluators
// say the same, also when the Matcher has seen other events before.
func TestEngineAgreesWithReference(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var rules []*sigma.Rule
		for i := range rapid.IntRange(1, 6).Draw(t, "rules") {
			source := ruleYAML(t, fmt.Sprintf("rule %d", i))
			parsed, errs := sigma.Parse("random.yml", []byte(source))
			if len(errs) > 0 {
				// null with modifiers and the like: refused is right, too
				t.Logf("%v\n%s", errs, source)
			}
			rules = append(rules, parsed...)
		}
		engine, errs := sigma.Compile(rules, sigma.Options{})
		if len(errs) > 0 {
			t.Fatal(errs)
		}
		m, r := engine.Matcher(), sigma.NewReference(engine.Rules(), sigma.Options{})
		for range 4 {
			e := &event.Event{
				Kind:    rapid.SampledFrom([]event.Kind{event.ProcessCreate, event.FileAccess, event.Other}).Draw(t, "kind"),
				ID:      rapid.SampledFrom([]uint32{1, 42, 4688}).Draw(t, "id"),
				Channel: rapid.SampledFrom([]string{"Security", "security", "Foo"}).Draw(t, "channel"),
				Data:    someFields.Draw(t, "data"), Canon: someFields.Draw(t, "canon"),
			}
			got, want := fast(m, e), slow(r, e)
			if !slices.Equal(got, want) {
				t.Fatalf("engine %q, reference %q", got, want)
			}
		}
	})
}
