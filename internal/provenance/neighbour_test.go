package provenance_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"ashiato/internal/event"
	"ashiato/internal/normalize"
	"ashiato/internal/provenance"
	"ashiato/internal/scenario"
	"ashiato/internal/world"
)

// built are the normalised events of every shipped scenario.
func built(t *testing.T) [][]*event.Event {
	t.Helper()
	paths, err := filepath.Glob("../../testdata/scenarios/*.txtar")
	if err != nil || len(paths) < 10 {
		t.Fatal(paths, err)
	}
	var all [][]*event.Event
	for _, p := range paths {
		data, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		sc, err := scenario.Parse(filepath.Base(p), data)
		if err != nil {
			t.Fatal(err)
		}
		b, err := sc.Build()
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range b.Events {
			normalize.Event(e)
		}
		all = append(all, b.Events)
	}
	return all
}

// moved gives copies of events' hosts other names, and says so in their texts.
func moved(events []*event.Event, suffix string) []*event.Event {
	var out []*event.Event
	rename := func(fields event.Fields, host string) event.Fields {
		fields = slices.Clone(fields)
		short, _, _ := strings.Cut(host, ".")
		for i := range fields {
			fields[i].Value = strings.ReplaceAll(fields[i].Value, short, short+suffix)
		}
		return fields
	}
	hosts := map[string]bool{}
	for _, e := range events {
		hosts[e.Host] = true
	}
	for _, e := range events {
		c := *e
		for h := range hosts {
			c.Data, c.Canon = rename(c.Data, h), rename(c.Canon, h)
		}
		short, domain, _ := strings.Cut(e.Host, ".")
		c.Host = short + suffix + "." + domain
		c.Ref.Host = c.Host
		out = append(out, &c)
	}
	return out
}

func worldOf(sets ...[]*event.Event) *world.World {
	w := world.New(world.Limits{})
	for _, events := range sets {
		for _, e := range events {
			w.Add(e)
		}
	}
	return w
}

// TestNothingCrossesGroups holds that the graphs of the groups of hosts, each made
// of the records of its own hosts alone, are together the graph of all hosts.
func TestNothingCrossesGroups(t *testing.T) {
	scenarios := built(t)
	several, crossing := 0, 0
	for seed := range uint64(24) { // not by rapid: a hundred take a minute
		r := rand.New(rand.NewPCG(seed, 1))
		var sets [][]*event.Event
		for range 1 + r.IntN(4) {
			s := scenarios[r.IntN(len(scenarios))]
			for n := range []int{1, 1, 1, 2, 9}[r.IntN(5)] {
				copied := s
				if n > 0 {
					copied = moved(s, strings.Repeat("X", n))
				}
				// A quarter of its records may be missing.
				if missing := r.Uint64N(4); missing > 0 {
					copied = slices.DeleteFunc(slices.Clone(copied), func(e *event.Event) bool { return e.Ref.RecordID%4 == missing })
				}
				sets = append(sets, copied)
			}
		}
		w := worldOf(sets...)
		n := provenance.NewNeighbours(provenance.Outlooks(w)...)
		whole := provenance.NewBuilder(w).Build()
		want := describe(whole)
		var got []string
		groups := n.Groups()
		for _, hosts := range groups {
			g := provenance.NewBuilderAmong(w.Part(hosts...), n).Build()
			if !n.Same(g.Answers()) {
				t.Fatal("a graph would be given other answers than it was given")
			}
			got = append(got, describe(g)...)
		}
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("seed %d, %d groups:\n%s", seed, len(groups), diff)
		}
		if len(groups) > 1 {
			several++
		}
		for _, e := range whole.Edges() {
			if whole.Node(e.From).Host != whole.Node(e.To).Host {
				crossing++
			}
		}
	}
	if several == 0 || crossing == 0 {
		t.Errorf("%d with several groups, %d arrows between hosts: nothing was tried", several, crossing)
	}
}

func describe(g *provenance.Graph) []string {
	var all []string
	for _, n := range g.Nodes() {
		all = append(all, fmt.Sprintf("%+v", *n))
	}
	for _, e := range g.Edges() {
		all = append(all, fmt.Sprintf("%+v", *e))
	}
	slices.Sort(all)
	return all
}

// TestNeighboursAreAFunctionOfTheOutlooks holds that outlooks that were replaced
// leave nothing behind.
func TestNeighboursAreAFunctionOfTheOutlooks(t *testing.T) {
	keys := []string{"a", "b", "c"}
	some := rapid.Custom(func(t *rapid.T) []string {
		list := rapid.SliceOfNDistinct(rapid.SampledFrom(keys), 0, 3, rapid.ID[string]).Draw(t, "keys")
		slices.Sort(list)
		return list
	})
	rapid.Check(t, func(t *rapid.T) {
		last := map[string]*provenance.Outlook{}
		n := provenance.NewNeighbours()
		for range rapid.IntRange(1, 30).Draw(t, "puts") {
			h := fmt.Sprintf("h%d", rapid.IntRange(0, 11).Draw(t, "host"))
			o := &provenance.Outlook{
				Host: h, Recorded: rapid.SampledFrom([]string{h, ""}).Draw(t, "recorded"), Addresses: some.Draw(t, "addresses"), Fans: some.Draw(t, "fans"),
				Offers: some.Draw(t, "offers"), Seeks: some.Draw(t, "seeks"), Shares: some.Draw(t, "shares"), Likens: some.Draw(t, "likens"),
			}
			for _, k := range o.Likens {
				if rapid.Bool().Draw(t, "draws") {
					o.Draws = append(o.Draws, k)
				}
			}
			n.Put(o)
			last[h] = o
		}
		var all []*provenance.Outlook
		for _, o := range last {
			all = append(all, o)
		}
		fresh := provenance.NewNeighbours(all...)
		if diff := cmp.Diff(fresh.Groups(), n.Groups()); diff != "" {
			t.Fatal(diff)
		}
		if n.Recorded() != fresh.Recorded() {
			t.Fatal(n.Recorded(), fresh.Recorded())
		}
	})
}
