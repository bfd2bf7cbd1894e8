package provenance

import (
	"slices"
	"strings"
	"time"

	"ashiato/internal/event"
	"ashiato/internal/world"
)

// launchWindow is how long after a shortcut was opened what it leads to may
// start.
const launchWindow = time.Minute

// shortcutTargets joins a shortcut that someone opened to what was started by it:
// the sensor reads where it leads. The start is a child of who opened it, and its
// program, or what it was given, is the shortcut's target. What a shortcut that
// was always there leads to is everybody's day; drawn is one that lies on a
// removable volume, was written in the recording, or came from elsewhere.
func (j *joiner) shortcutTargets() {
	var opened []*world.Record
	for _, r := range j.records {
		if r.Kind != event.Shortcut {
			continue
		}
		if strings.EqualFold(r.Get("Operation"), "opened") {
			opened = append(opened, r)
		}
	}
	if len(opened) == 0 {
		return
	}
	byParent := map[*world.Process][]*world.Process{}
	for _, p := range j.processes {
		if p.Parent != nil && !p.Implied {
			byParent[p.Parent] = append(byParent[p.Parent], p)
		}
	}
	for _, r := range opened {
		opener, _ := j.w.Actor(r)
		path := r.Get("TargetFilename")
		key := j.w.PathOn(r.Host, path)
		if opener == nil || path == "" {
			continue
		}
		children := byParent[opener]
		var started []*world.Process
		for _, p := range children[startedBefore(children, r.Time.Add(-slack)):] {
			if p.Start.Sub(r.Time) > launchWindow {
				break
			}
			if j.follows(r, key, p) {
				started = append(started, p)
				break // opened again, it is read again
			}
		}
		if len(started) == 0 {
			continue
		}
		cited := []event.EvidenceRef{r.Ref}
		use := func(n *Node) {
			if n == nil {
				return
			}
			leads(n, r)
			for _, p := range started {
				j.link(fact{
					from: n, to: j.process(p), verb: Opened, class: ClassB, skeleton: true,
					join: "shortcut-target", t: p.Start, refs: refs(cited, p.Evidence),
				})
			}
			j.link(fact{
				from: j.process(opener), to: n, verb: Opened, class: ClassA, join: "own-record", t: r.Time, refs: cited,
			})
		}
		if j.contains(r.Host, path, r.Time, cited, use) {
			continue
		}
		if j.lastWrite(r.Host, key, r.Time) != nil {
			use(j.use(r.Host, path, "", nil, r.Time, cited))
		}
	}
}

// shortcutNotes notes on shortcuts that were written where they lead.
func (j *joiner) shortcutNotes() {
	for _, r := range j.records {
		if r.Kind == event.Shortcut && strings.EqualFold(r.Get("Operation"), "written") {
			if n := j.nodes[j.made(r.Host, r.Get("TargetFilename"), r.Time)]; n != nil {
				leads(n, r)
			}
		}
	}
}

// startedBefore returns how many of a list, by start, started before t.
func startedBefore(list []*world.Process, t time.Time) int {
	i, _ := slices.BinarySearchFunc(list, t, func(p *world.Process, t time.Time) int { return p.Start.Compare(t) })
	return i
}

// leads notes on a shortcut where it leads.
func leads(n *Node, r *world.Record) {
	for _, name := range []string{"LinkTarget", "LinkArguments", "LinkWorkingDirectory"} {
		n.setAttr(name, r.Get(name))
	}
}

// follows reports whether a process is what a shortcut leads to: its target is
// the program, with the arguments it gives, or what the program was given. On a
// stick the letter that the shortcut remembers may be another computer's.
func (j *joiner) follows(r *world.Record, shortcut string, p *world.Process) bool {
	target := j.w.PathOn(r.Host, r.Get("LinkTarget"))
	if len(target) < 3 {
		return false
	}
	targets := []string{target}
	if l, ok := world.Letter(shortcut); ok && l != 'c' {
		if x, ok := world.Letter(target); ok && x != 'c' && x != l {
			targets = append(targets, string(l)+target[1:])
		}
	}
	for _, t := range targets {
		if p.ImageKey() == t {
			args := strings.ToLower(strings.TrimSpace(r.Get("LinkArguments")))
			return strings.HasSuffix(strings.ToLower(strings.TrimSpace(p.CommandLine)), args)
		}
		if slices.Contains(j.pathsOf(p), t) {
			return true
		}
	}
	return false
}
