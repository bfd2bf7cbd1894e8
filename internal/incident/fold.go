package incident

import (
	"slices"
	"strings"
	"time"

	"ashiato/internal/provenance"
	"ashiato/internal/world"
)

// How soon what a process did may follow to be told in one breath with it.
const (
	soon      = 30 * time.Second // its first connection after its start
	fetchTime = time.Minute      // a file it wrote after a connection
)

// fold puts chapters together that tell one thing. Their arrows stay, in the
// step that takes them in.
func (t *teller) fold() {
	t.foldTools()
	t.foldElevations()
	t.foldRenames()
	t.foldConnections()
	t.foldLoads()
	t.foldLogons()
	t.foldShareWrites()
	t.foldOverwriting()
	t.chapters = slices.DeleteFunc(t.chapters, func(c *chapter) bool { return len(c.edges) == 0 && c.key != "detected" })
}

// absorb moves everything of from into c. What from lists goes to c.also.
func (t *teller) absorb(c, from *chapter) {
	c.also = append(c.also, from.things...)
	t.merge(c, from)
}

// merge moves the arrows of from into c, which says already what from tells.
func (t *teller) merge(c, from *chapter) {
	for _, e := range from.edges {
		c.take(e)
		t.of[e] = c
	}
	for n := range from.nodes {
		c.nodes[n] = true
	}
	for _, a := range from.acts {
		c.act(a)
	}
	c.alerts = append(c.alerts, from.alerts...)
	from.edges = nil
}

// foldTools moves the start of a tool that was used on a service or task (sc
// start, schtasks /run) to the step that tells of its registration.
func (t *teller) foldTools() {
	var units []*chapter
	for _, c := range t.chapters {
		if c.key == "unit-registered" {
			units = append(units, c)
		}
	}
	for _, c := range t.chapters {
		if c.key != "started" {
			continue
		}
		var kept []*provenance.Edge
		for _, e := range c.edges {
			var best *chapter
			child := t.b.g.Node(e.To)
			if e.Verb == provenance.Started && tools[strings.ToLower(child.Label)] && len(t.marks[e.To]) == 0 {
				words := strings.Fields(strings.ToLower(strings.ReplaceAll(child.Attr("CommandLine"), `"`, " ")))
				for _, u := range units {
					unit := t.b.g.Node(u.edges[0].To)
					name := strings.ToLower(unit.Label)
					path := strings.TrimPrefix(strings.ToLower(unit.Path), `\`)
					if unit.Host != child.Host || !slices.ContainsFunc(words, func(w string) bool {
						w = strings.TrimPrefix(w, `\`)
						return w == name || w == path
					}) {
						continue
					}
					if best == nil || u.first.Sub(e.First).Abs() < best.first.Sub(e.First).Abs() {
						best = u
					}
				}
			}
			if best == nil || best.last().Sub(e.First).Abs() > storyGap {
				kept = append(kept, e)
				continue
			}
			best.take(e)
			t.of[e] = best
		}
		if len(kept) == len(c.edges) {
			continue
		}
		c.edges, c.things = kept, nil
		c.nodes = map[provenance.NodeID]bool{}
		for i, e := range kept {
			c.nodes[e.From], c.nodes[e.To] = true, true
			if i == 0 || e.First.Before(c.first) {
				c.first = e.First
			}
			if name := t.child(e); e.Verb == provenance.Started && !slices.Contains(c.things, name) {
				c.things = append(c.things, name)
			}
		}
	}
}

// alone returns the one process that a chapter of starts tells of, "" if there
// are several.
func (c *chapter) alone() provenance.NodeID {
	var one provenance.NodeID
	for _, e := range c.edges {
		if e.Verb == provenance.Started || e.Verb == provenance.RanAs {
			if one != "" && one != e.To {
				return ""
			}
			one = e.To
		}
	}
	return one
}

// foldElevations tells of a program's start and of its elevation at once.
func (t *teller) foldElevations() {
	for _, c := range t.chapters {
		if c.key != "elevated" {
			continue
		}
		for _, s := range t.chapters {
			if s.key == "started" && len(s.edges) > 0 && s.alone() == c.actor && c.first.Sub(s.first).Abs() <= soon {
				c.by = s.actor
				t.absorb(c, s)
			}
		}
	}
}

// foldRenames tells of a file that was loaded under another name together with
// its loading.
func (t *teller) foldRenames() {
	for _, r := range t.chapters {
		if r.key != "renamed" || len(r.edges) != 1 || r.edges[0].Join != "same-content" {
			continue
		}
		for _, c := range t.chapters {
			if c.key != "loaded" || len(c.things) != 1 || c.by != "" || !c.nodes[r.edges[0].To] {
				continue
			}
			c.by = r.edges[0].From
			t.absorb(c, r)
			break
		}
	}
}

// foldConnections tells of where a process connected to together with its start,
// if that is the first thing it did, or with what it wrote at once thereafter.
func (t *teller) foldConnections() {
	for _, c := range t.chapters {
		if c.key != "connected" || len(c.edges) == 0 || !slices.ContainsFunc(c.edges, func(e *provenance.Edge) bool { return e.Verb == provenance.Connected }) {
			continue
		}
		var start, next *chapter
		for _, x := range t.chapters {
			if x == c || len(x.edges) == 0 || len(x.also) > 0 {
				continue
			}
			between := c.first.Sub(x.first)
			if x.alone() == c.actor && between >= 0 && between <= soon {
				switch x.key {
				case "started", "unit-ran", "value-ran":
					start = x
				}
			}
			if x.actor != c.actor || x.key != "wrote" {
				continue
			}
			// The step may begin with the start of who wrote.
			if wait := x.written().Sub(c.first); wait >= 0 && wait <= fetchTime && (next == nil || x.first.Before(next.first)) {
				next = x
			}
		}
		switch {
		case start != nil && !c.has("download"):
			t.absorb(start, c)
		case next != nil && !c.has("download", "mining") && !slices.Contains(t.marks[c.actor], "mining"):
			t.absorb(next, c)
		}
	}
}

// written is when a chapter's first file was written.
func (c *chapter) written() time.Time {
	var first time.Time
	for _, e := range c.edges {
		if e.Verb != provenance.Started && (first.IsZero() || e.First.Before(first)) {
			first = e.First
		}
	}
	return first
}

// foldLoads leaves out that a process loaded the file that it was started with.
func (t *teller) foldLoads() {
	for _, l := range t.chapters {
		if l.key != "loaded" || len(l.edges) == 0 || len(l.things) != 1 || l.by != "" || len(l.acts) > 0 {
			continue
		}
		for _, c := range t.chapters {
			if c == l || len(c.edges) == 0 || l.first.Sub(c.first).Abs() > soon || c.has("mining", "credential-theft", "cleanup") {
				continue
			}
			if slices.ContainsFunc(c.edges, func(e *provenance.Edge) bool {
				return (e.Verb == provenance.Interpreted || e.Verb == provenance.Executed) && e.From == l.edges[0].From && e.To == l.actor
			}) {
				t.merge(c, l)
				break
			}
		}
	}
}

// foldLogons tells of a logon from another host once: by whom, if that is known.
// The record on the host that was logged on to may not even say from where.
func (t *teller) foldLogons() {
	for _, as := range t.chapters {
		if as.key != "logged-on-as" || len(as.edges) == 0 {
			continue
		}
		session := t.b.g.Node(as.edges[0].To)
		if world.HostKey(session.Host) == world.HostKey(t.b.g.Node(as.actor).Host) {
			continue
		}
		for _, on := range t.chapters {
			if on.key == "logged-on" && len(on.edges) > 0 && on.edges[0].From == session.ID && on.first.Sub(as.first).Abs() <= storyGap {
				t.merge(as, on)
			}
		}
	}
}

// foldShareWrites leaves out that the system wrote what somebody wrote over the
// network: it did so for them.
func (t *teller) foldShareWrites() {
	for _, own := range t.chapters {
		if own.key != "wrote" || len(own.edges) == 0 || len(own.also) > 0 || !strings.EqualFold(t.b.g.Node(own.actor).Label, "System") {
			continue
		}
		for _, over := range t.chapters {
			if over.key != "wrote-over-network" || len(over.edges) == 0 || own.first.Sub(over.first).Abs() > storyGap {
				continue
			}
			if !slices.ContainsFunc(own.edges, func(e *provenance.Edge) bool { return !over.nodes[e.To] }) {
				t.merge(over, own)
				break
			}
		}
	}
}

// atOnce is how long an overwriting takes, which is recorded as a deletion and a
// writing.
const atOnce = 2 * time.Second

// foldOverwriting leaves out that a file was deleted that the same process then
// wrote: it is there. One that was written and then deleted is gone, which is told.
func (t *teller) foldOverwriting() {
	for _, d := range t.chapters {
		if d.key != "deleted" {
			continue
		}
		var kept []*provenance.Edge
		var things []string
		for _, e := range d.edges {
			if w := t.rewriting(e); w != nil {
				w.take(e)
				t.of[e] = w
				continue
			}
			kept = append(kept, e)
			if name := t.name(e.To); !slices.Contains(things, name) {
				things = append(things, name)
			}
		}
		if len(kept) < len(d.edges) && len(kept) > 0 {
			d.first = kept[0].First
		}
		d.edges, d.things = kept, things
	}
}

// rewriting is the chapter that tells of the writing that a deletion was part of, nil
// if it was none.
func (t *teller) rewriting(deletion *provenance.Edge) *chapter {
	for _, c := range t.chapters {
		if c.key != "wrote" {
			continue
		}
		for _, e := range c.edges {
			if e.Verb == provenance.Wrote && e.From == deletion.From && e.To == deletion.To &&
				!e.Last.Before(deletion.Last) && e.Last.Sub(deletion.First) <= atOnce {
				return c
			}
		}
	}
	return nil
}
