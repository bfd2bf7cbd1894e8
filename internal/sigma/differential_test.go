package sigma_test

import (
	"encoding/binary"
	"errors"
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
	"time"

	"pgregory.net/rapid"

	"ashiato/internal/corpus"
	"ashiato/internal/event"
	"ashiato/internal/normalize"
	"ashiato/internal/sigma"
	"ashiato/internal/source/evtx"
	"ashiato/internal/source/files"
	"ashiato/rules"
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
	return titles(r.Match(e))
}

// full asks for every record of the recordings instead of a sample.
func full() bool { return os.Getenv("ASHIATO_FULL") == "1" }

// TestEngineAgreesWithReferenceOnRecordings runs every rule, public and shipped,
// over the recordings by both evaluators: over a sample, chosen by the records'
// hashes, or with ASHIATO_FULL=1 over every event of every recording there is.
func TestEngineAgreesWithReferenceOnRecordings(t *testing.T) {
	public, _ := loadPublic(t)
	o := newOracle(t, append(slices.Clone(public), shippedRules(t)...), sigma.Options{Placeholders: placeholders})
	if full() {
		o.run(t, 1, corpus.Dir(t, "."))
	} else {
		o.run(t, 8, corpus.Dir(t, "evtx"), corpus.Dir(t, "sigma/regression_data"), corpus.Dir(t, "otrf/atomic/windows/privilege_escalation"))
	}
	if len(o.rules) < 3200 || o.events.Load() < 1000 || o.matches.Load() == 0 {
		t.Errorf("%d rules, %d events and %d matches prove nothing", len(o.rules), o.events.Load(), o.matches.Load())
	}
}

// placeholders give the rules that need them something that occurs.
var placeholders = map[string][]string{
	"Administrators": {"Administrator", "*adm*"}, "Admins_Workstations": {"*WS*"}, "DC-MACHINE-NAME": {"*DC*$"},
	"DomainControllers": {"*DC*"}, "ServerSystems": {"*SRV*"}, "Workstations": {"WORKSTATION*", "*PC*"},
	"dc_ip_addresses": {"172.18.*", "10.0.0.?"}, "dc_machine_accounts": {"*DC*$"}, "domain_controller_hostnames": {"*DC*"},
	"internal_domains": {"*.local"}, "known_cdcs": {"*DC*"}, "legit_ips": {"192.168.*"}, "userdomain": {"MORDOR"},
}

// shippedRules returns the rules of the shipped pack for single events.
func shippedRules(t testing.TB) []*sigma.Rule {
	var pack sigma.Collection
	err := fs.WalkDir(rules.FS(), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".yml") {
			return err
		}
		data, err := fs.ReadFile(rules.FS(), path)
		if err != nil {
			return err
		}
		return errors.Join(pack.Parse(path, data)...)
	})
	if err != nil || len(pack.Rules) == 0 {
		t.Fatalf("%d rules, %v", len(pack.Rules), err)
	}
	return pack.Rules
}

// oracle compares the evaluators, event by event.
type oracle struct {
	engine *sigma.Engine
	rules  []*sigma.Rule
	opt    sigma.Options

	events, matches, differences atomic.Int64
	held                         sync.Map // rules that held for some event
}

func newOracle(t testing.TB, rules []*sigma.Rule, opt sigma.Options) *oracle {
	engine, errs := sigma.Compile(rules, opt)
	for _, err := range errs {
		t.Errorf("not compiled: %v", err)
	}
	return &oracle{engine: engine, rules: engine.Rules(), opt: opt}
}

// maxDifferences is how many differences are described.
const maxDifferences = 20

// run compares the evaluators on one in n of the events under the paths, with as
// many workers as there are processors.
func (o *oracle) run(t *testing.T, n uint16, paths ...string) {
	start := time.Now()
	batches := make(chan []*event.Event, runtime.GOMAXPROCS(0))
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			m, r := o.engine.Matcher(), sigma.NewReference(o.rules, o.opt)
			for batch := range batches {
				for _, e := range batch {
					normalize.Event(e)
					o.compare(t, m, r, e)
				}
			}
		})
	}
	said := int64(0)
	stats, problems := files.Scan(t.Context(), paths, files.Options{Progress: func(p files.Progress) {
		if done := o.events.Load(); done >= said+25_000 {
			said = done
			t.Logf("%v: %d files, %d events compared, %d matches, %d differences",
				time.Since(start).Round(time.Second), p.Files, done, o.matches.Load(), o.differences.Load())
		}
	}}, func(batch []*event.Event) {
		batches <- slices.DeleteFunc(batch, func(e *event.Event) bool { return binary.LittleEndian.Uint16(e.Ref.SHA256[:])%n != 0 })
	})
	close(batches)
	workers.Wait()

	lost, held := 0, 0
	o.held.Range(func(any, any) bool { held++; return true })
	for _, p := range problems {
		lost += p.Lost
	}
	if done := o.events.Load(); n == 1 && done != stats.Events {
		t.Errorf("%d events compared of %d", done, stats.Events)
	}
	t.Logf("%d rules, %d files, %d events read (%d records without an event), %d compared, %d matches of %d rules, %d differences, %v",
		len(o.rules), stats.FilesRead, stats.Events, lost, o.events.Load(), o.matches.Load(), held, o.differences.Load(), time.Since(start).Round(time.Second))
}

func (o *oracle) compare(t *testing.T, m *sigma.Matcher, r *sigma.Reference, e *event.Event) {
	var got []*sigma.Rule
	for _, match := range m.Match(e, nil) {
		got = append(got, match.Rule)
	}
	want := r.Match(e)
	o.events.Add(1)
	o.matches.Add(int64(len(want)))
	for _, rule := range want {
		o.held.LoadOrStore(rule, true)
	}
	if slices.Equal(got, want) {
		return
	}
	if o.differences.Add(1) <= maxDifferences {
		t.Errorf("%s offset %d record %d: engine %q, reference %q", e.Ref.File, e.Ref.Offset, e.Ref.RecordID, titles(got), titles(want))
	}
}

func titles(rules []*sigma.Rule) []string {
	var out []string
	for _, r := range rules {
		out = append(out, r.Title)
	}
	return out
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
