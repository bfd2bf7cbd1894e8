package sigma

import "fmt"

func (m *Matcher) ZZ() (int, map[string]int) {
	out := map[string]int{}
	for _, r := range m.list {
		out["rule "+r.rule.Title]++
	}
	for _, g := range m.routes[route{m.event.Kind, m.event.ID, m.event.Provider, m.event.Channel}] {
		out[fmt.Sprintf("group %v", g.source)[:min(60, len(fmt.Sprintf("group %v", g.source)))]]++
		out[fmt.Sprintf("group fields %d always %d", len(g.fields), len(g.always))]++
	}
	for i, v := range m.tested {
		if v>>1 == m.epoch {
			t := m.engine.tests[i]
			out[fmt.Sprintf("test %d shape %d", t.kind, t.glob.shape)]++
		}
	}
	return len(m.list), out
}
