package report

import (
	"cmp"
	"slices"
	"strings"

	"ashiato/internal/detect"
	"ashiato/internal/incident"
	"ashiato/internal/provenance"
	"ashiato/internal/visible"
)

// What to do first: the smallest set of actions that ends an intrusion. It is
// made from what was left behind and the volumes the intrusion came from or went
// to; an incident that left nothing gets what its most severe rules advise.

// actionView is one thing to do.
type actionView struct {
	Kind string // stable word: the text is report.do.<Kind>
	Host string
	// Items are what it is to be done to, as recorded; More is how many there
	// are beyond them.
	Items []itemView
	More  int
	// Marked says that a name holds a character that is easily missed, so that
	// something else could be deleted by mistake.
	Marked bool
	Text   string // what a rule advises, in the reader's language; Kind is "" then
}

type itemView struct {
	Name   string
	Serial string // of a volume
}

// maxItems is how many things an action names, and maxExamples how many of those
// that are to be left as they are.
const (
	maxItems    = 12
	maxExamples = 3
)

// actionOrder is the order of the actions: first what goes on doing harm, then what
// spreads it, what starts it again, what hides it, then the rest.
var actionOrder = []string{"isolate", "volume", "service", "service-change", "task", "consumer", "run-key", "exclusion", "file", "folder", "encrypted", "unhide"}

// actions are what to do first, by host.
func (d *Document) actions(inc *incident.Incident, left []leftView) []actionView {
	type key struct{ kind, host string }
	found := map[key]*actionView{}
	var all []*actionView
	add := func(kind, host string, item itemView) {
		k := key{kind, host}
		a := found[k]
		if a == nil {
			a = &actionView{Kind: kind, Host: host}
			found[k] = a
			all = append(all, a)
		}
		switch {
		case slices.Contains(a.Items, item):
		case len(a.Items) == maxItems, kind == "encrypted" && len(a.Items) == maxExamples:
			a.More++
		default:
			a.Items = append(a.Items, item)
		}
		a.Marked = a.Marked || kind != "volume" && marked(item.Name)
	}

	// A stick that goes from host to host is one, by its serial number.
	told := map[provenance.NodeID]bool{}
	hid := map[provenance.NodeID]bool{}
	for i, e := range inc.Edges {
		if i < len(inc.EdgeSteps) && inc.EdgeSteps[i] > 0 {
			told[e.From], told[e.To] = true, true
			hid[e.To] = hid[e.To] || e.Verb == provenance.Hid
		}
	}
	type drive struct{ host, letter string }
	drives := map[drive]bool{}
	serials := map[string]bool{}
	for _, n := range sortedNodes(inc) {
		if n.Kind != provenance.Volume || !told[n.ID] {
			continue
		}
		if len(n.Label) == 2 && n.Label[1] == ':' {
			drives[drive{n.Host, strings.ToLower(n.Label)}] = true
		}
		serial := n.Attr("Serial")
		if serial != "" && serials[serial] {
			continue
		}
		serials[serial] = true
		add("volume", n.Host, itemView{n.Label, serial})
	}
	encrypted, isolated := encryptedFiles(inc), map[string]bool{}
	for _, l := range left {
		n := l.Node
		if (l.Kind == "file" || l.Kind == "folder") && len(n.Path) > 2 && drives[drive{n.Host, strings.ToLower(n.Path[:2])}] {
			continue // goes with its volume
		}
		if encrypted[n.ID] {
			if !isolated[n.Host] {
				isolated[n.Host] = true
				all = append(all, &actionView{Kind: "isolate", Host: n.Host})
			}
			add("encrypted", n.Host, itemView{Name: label(n)})
			continue
		}
		name := label(n)
		if (l.Kind == "service" || l.Kind == "service-change") && n.Label != "" {
			name = n.Label
		}
		add(l.Kind, n.Host, itemView{Name: name})
	}
	// A person's files that were hidden look lost and are not.
	unhide := map[string]bool{}
	for _, n := range sortedNodes(inc) {
		if hid[n.ID] && !unhide[n.Host] {
			unhide[n.Host] = true
			all = append(all, &actionView{Kind: "unhide", Host: n.Host})
		}
	}
	out := make([]actionView, 0, len(all))
	for _, a := range all {
		out = append(out, *a)
	}
	rank := func(a actionView) int {
		if i := slices.Index(actionOrder, a.Kind); i >= 0 {
			return i
		}
		return len(actionOrder)
	}
	slices.SortStableFunc(out, func(a, b actionView) int {
		// What goes on doing harm is stopped on all hosts before anything is cleaned.
		return cmp.Or(min(rank(a), 1)-min(rank(b), 1), strings.Compare(a.Host, b.Host), cmp.Compare(rank(a), rank(b)))
	})
	if len(out) > 0 {
		return out
	}
	return d.advice(inc)
}

// encryptedFiles are the files that were encrypted for ransom, and the notes that
// say so: who deletes them loses what may yet be restored. A single name that looks
// so is not enough.
func encryptedFiles(inc *incident.Incident) map[provenance.NodeID]bool {
	files := map[provenance.NodeID]bool{}
	sure := false
	for _, d := range inc.Detections {
		if d.Rule != nil && slices.Contains(d.Rule.Attack, "T1486") {
			files[d.Node] = true
			sure = sure || d.Rule.Severity >= detect.Medium
		}
	}
	if !sure {
		return nil
	}
	return files
}

// advice is what the most severe rules say should be done.
func (d *Document) advice(inc *incident.Incident) []actionView {
	const most = 3
	ds := slices.Clone(inc.Detections)
	slices.SortStableFunc(ds, func(a, b incident.Placed) int {
		if a.Rule == nil || b.Rule == nil {
			return 0
		}
		return cmp.Compare(b.Rule.Severity, a.Rule.Severity)
	})
	var out []actionView
	for _, p := range ds {
		if p.Rule == nil {
			continue
		}
		text := p.Rule.Texts[string(d.lang())].Action
		if text == "" {
			text = p.Rule.Texts["en"].Action
		}
		if text != "" && len(out) < most && !slices.ContainsFunc(out, func(a actionView) bool { return a.Text == text }) {
			out = append(out, actionView{Text: text})
		}
	}
	return out
}

func marked(s string) bool {
	for _, r := range visible.Runs(s) {
		if r.Mark != "" {
			return true
		}
	}
	return false
}

// leftCounts says how many of each kind were left behind.
func (d *Document) leftCounts(left []leftView) []string {
	counts := map[string]int{}
	var kinds []string
	for _, l := range left {
		if counts[l.Kind] == 0 {
			kinds = append(kinds, l.Kind)
		}
		counts[l.Kind]++
	}
	var out []string
	for _, k := range kinds {
		key := "diagram.group." + k
		switch k {
		case "run-key":
			key = "diagram.group.registry"
		case "consumer":
			key = "diagram.group.wmi"
		}
		out = append(out, d.lang().Count(key, counts[k]))
	}
	return out
}
