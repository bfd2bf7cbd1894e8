package sigma_test

import (
	"testing"
	"fmt"
	"sort"
	"time"
	"ashiato/internal/corpus"
	"ashiato/internal/event"
	"ashiato/internal/sigma"
)

func TestZZStats(t *testing.T) {
	root := corpus.Dir(t, "evtx")
	t0 := time.Now()
	rules, _ := loadPublic(t)
	t1 := time.Now()
	engine, _ := sigma.Compile(rules, sigma.Options{})
	t.Logf("parse %v compile %v", t1.Sub(t0), time.Since(t1))
	m := engine.Matcher()
	all := sample(t, root, 1)
	byKind := map[string]int{}
	n, matches, me := 0, 0, 0
	cnt := map[string]int{}
	for _, e := range all {
		byKind[fmt.Sprint(e.Kind, e.ID)]++
		if e.Kind != event.ProcessCreate { continue }
		n++
		got := m.Match(e, nil)
		matches += len(got)
		if len(got) > 0 { me++ }
		c, l := m.ZZ()
		cnt["cands"] += c
		for k, v := range l { cnt[k] += v }
	}
	t.Logf("%d events all, %d pc, %d matches in %d", len(all), n, matches, me)
	var keys []string
	for k := range cnt { keys = append(keys, k) }
	sort.Slice(keys, func(i, j int) bool { return cnt[keys[i]] > cnt[keys[j]] })
	for i, k := range keys { if i < 150 { t.Logf("%8.3f %s", float64(cnt[k])/float64(n), k) } }
	keys = nil
	for k := range byKind { keys = append(keys, k) }
	sort.Slice(keys, func(i, j int) bool { return byKind[keys[i]] > byKind[keys[j]] })
	for i, k := range keys { if i < 30 { t.Logf("%d %s", byKind[k], k) } }
}
