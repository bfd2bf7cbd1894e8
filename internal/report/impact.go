package report

import (
	"cmp"
	"slices"
	"strings"

	"ashiato/internal/diagram"
	"ashiato/internal/fold"
	"ashiato/internal/i18n"
	"ashiato/internal/incident"
	"ashiato/internal/provenance"
	"ashiato/internal/visible"
)

// What an intrusion did, the smallest cut, and what became of earlier incidents.

// cutView is one step of the smallest cut.
type cutView struct {
	Pieces []diagram.Piece
	Host   string
	// For says what needs it, if it takes away more than itself.
	For []diagram.Piece
}

// cut words the steps of the smallest cut.
func (d *Document) cut(inc *incident.Incident) []cutView {
	nodes := map[provenance.NodeID]*provenance.Node{}
	for _, n := range inc.Nodes {
		nodes[n.ID] = n
	}
	var out []cutView
	for _, a := range inc.SmallestCut {
		n := nodes[a.Node]
		if n == nil {
			continue
		}
		v := cutView{Pieces: filled(d.lang().T("cut."+a.Kind), unitName(n)), Host: n.Host}
		var names []string
		for _, s := range a.Severs {
			if to := nodes[s]; to != nil && s != a.Node {
				names = append(names, unitName(to))
			}
		}
		if len(names) > 0 {
			v.For = filled(d.lang().T("cut.severs"), strings.Join(names, ", "))
		}
		out = append(out, v)
	}
	return out
}

// filled puts telemetry in the place {0} of a text.
func filled(text, value string) []diagram.Piece {
	before, after, _ := strings.Cut(text, "{0}")
	return []diagram.Piece{{Text: before}, {Text: value, Telemetry: true}, {Text: after}}
}

// plain is the text of pieces for a terminal.
func plain(ps []diagram.Piece) string {
	line := ""
	for _, p := range ps {
		if p.Telemetry {
			line += visible.Text(p.Text)
		} else {
			line += p.Text
		}
	}
	return line
}

// unitName is what an administrator calls a thing: a service goes by its name,
// everything else by its path.
func unitName(n *provenance.Node) string {
	if n.Kind == provenance.Service && n.Label != "" {
		return n.Label
	}
	return label(n)
}

// maxNamed is how many processes and accounts are named at the head of an incident.
const maxNamed = 4

// named is a short list, and how many there are beyond it.
type named struct {
	Names []string
	More  int
}

func firstOf(names []string) named {
	return named{names[:min(maxNamed, len(names))], max(0, len(names)-maxNamed)}
}

// running names the processes without a recorded end, with their numbers.
func running(inc *incident.Incident) named {
	runs := make(map[provenance.NodeID]bool, len(inc.Impact.Running))
	for _, id := range inc.Impact.Running {
		runs[id] = true
	}
	var names []string
	for _, n := range inc.Nodes {
		if !runs[n.ID] {
			continue
		}
		name := n.Label
		if pid := n.Attr("ProcessId"); pid != "" {
			name += " (" + pid + ")"
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return firstOf(names)
}

// accounts are those that the story's processes ran as and that logged on, in order
// of time. One that a record names without its domain is not named again.
func accounts(inc *incident.Incident) named {
	told := map[provenance.NodeID]bool{}
	for i, e := range inc.Edges {
		if i < len(inc.EdgeSteps) && inc.EdgeSteps[i] > 0 {
			told[e.From], told[e.To] = true, true
		}
	}
	nodes := slices.Clone(inc.Nodes)
	slices.SortStableFunc(nodes, func(a, b *provenance.Node) int {
		return cmp.Or(a.First.Compare(b.First), strings.Compare(string(a.ID), string(b.ID)))
	})
	var all []string
	known, inDomain := map[string]bool{}, map[string]bool{}
	add := func(user string) {
		k := strings.ToLower(user)
		if user == "" || known[k] {
			return
		}
		known[k] = true
		all = append(all, user)
		if i := strings.LastIndexByte(k, '\\'); i >= 0 {
			inDomain[k[i+1:]] = true
		}
	}
	for _, n := range nodes {
		switch {
		case !told[n.ID] || n.Hub:
		case n.Kind == provenance.Process:
			add(n.Attr("User"))
		case n.Kind == provenance.Logon && n.Attr("TargetUserName") != "":
			add(n.Label)
		}
	}
	return firstOf(slices.DeleteFunc(all, func(name string) bool {
		return !strings.Contains(name, `\`) && inDomain[strings.ToLower(name)]
	}))
}

// exposureView is one account whose credentials may have been stolen on a host,
// in however many sessions.
type exposureView struct {
	incident.Exposure
	By *provenance.Node
}

func exposures(inc *incident.Incident) []exposureView {
	var out []exposureView
	for _, x := range inc.Impact.Exposed {
		if !slices.ContainsFunc(out, func(v exposureView) bool { return v.User == x.User && v.Host == x.Host }) {
			out = append(out, exposureView{x, node(inc, x.Reader)})
		}
	}
	return out
}

func (t *textWriter) impact(inc *incident.Incident) {
	l, m := t.d.Lang, inc.Impact
	if len(m.Reached)+len(m.Exposed)+len(m.Running)+len(m.Dropped)+len(m.Hidden) > 0 {
		t.heading("impact.title")
		if len(m.Reached) > 0 {
			hosts := make([]string, len(m.Reached))
			for i, h := range m.Reached {
				hosts[i] = visible.Text(h)
			}
			t.printf("  - %s "+fold.Here+"%s\n", l.T("text.label", l.T("impact.reached")), strings.Join(hosts, ", "))
		}
		for i, x := range exposures(inc) {
			if i == 0 {
				t.printf("  - %s\n", l.T("text.label", l.T("impact.exposed")))
			}
			t.printf("      "+fold.Here+"%s\n", clip(l.T("impact.exposed.line", visible.Text(x.User), visible.Text(x.Host), t.nodeName(inc, x.Reader))))
		}
		for _, c := range []struct {
			key string
			n   int
		}{{"impact.dropped", len(m.Dropped)}, {"impact.hidden", len(m.Hidden)}} {
			if c.n > 0 {
				t.printf("  - %s\n", l.Count(c.key, c.n))
			}
		}
		if len(m.Running) > 0 {
			t.printf("  - %s "+fold.Here+"%s\n", l.T("text.label", l.Count("impact.running.count", len(m.Running))), t.list(running(inc)))
		}
	}
	if cut := t.d.cut(inc); len(cut) > 0 {
		t.heading("cut.title")
		for i, c := range cut {
			line := clip(plain(c.Pieces))
			if len(inc.Hosts) > 1 {
				line += "  " + t.paint(dim, visible.Text(c.Host))
			}
			if len(c.For) > 0 {
				line += "  " + t.paint(dim, "("+clip(plain(c.For))+")")
			}
			t.printf("  %3d  "+fold.Here+"%s\n", i+1, line)
		}
		if len(m.Running) > 0 {
			t.printf("       "+fold.Here+"%s\n", t.paint(dim, l.T("cut.running")))
		}
	}
}

// list writes names behind each other, and how many there are beyond them.
func (t *textWriter) list(n named) string {
	names := make([]string, 0, len(n.Names)+1)
	for _, name := range n.Names {
		names = append(names, visible.Text(name))
	}
	if n.More > 0 {
		names = append(names, t.d.Lang.T("diagram.more", i18n.Number(n.More)))
	}
	return strings.Join(names, ", ")
}

// change says in words what became of an earlier incident.
func change(l i18n.Lang, c incident.Change) string {
	now := ""
	if len(c.Now) > 0 {
		now = c.Now[0]
	}
	var s string
	switch c.Kind {
	case incident.Merged:
		s = l.T("change.merged", c.ID, now, strings.Join(c.With, ", "))
		if len(c.Why) == 0 {
			s += "; " + l.T("change.pinned")
			break
		}
		joins := make([]string, len(c.Why))
		for i, e := range c.Why {
			joins[i] = e.Join
		}
		s += "; " + l.T("change.joined", strings.Join(joins, ", "))
	case incident.Split:
		s = l.T("change.split", c.ID, strings.Join(c.Now, ", "))
	default:
		s = l.T("change."+string(c.Kind), c.ID, now)
	}
	if c.New > 0 {
		s += "; " + l.Count("change.new", c.New)
	}
	return s
}

func (t *textWriter) changes() {
	if len(t.d.Changes) == 0 {
		return
	}
	t.printf("\n%s\n", t.paint(bold, t.d.Lang.T("change.title")))
	for i, c := range t.d.Changes {
		if i == maxListed {
			t.printf("  %s\n", t.d.Lang.Count("text.more", len(t.d.Changes)-maxListed))
			break
		}
		t.printf("  - %s\n", change(t.d.Lang, c))
	}
}
