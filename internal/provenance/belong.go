package provenance

import (
	"cmp"
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"

	"ashiato/internal/event"
	"ashiato/internal/world"
)

// Belonging tells what events belong to in a graph: the process tree, the logon
// session and the removable volume. What it answers are identities by which
// incidents may be joined; what is shared by everything on a machine, or could
// only be guessed, has no answer. It adds nothing to the graph. It is not safe
// for concurrent use.
type Belonging struct {
	g       *Graph
	trees   map[NodeID]string
	volumes map[event.EvidenceRef]*world.Volume // records of attachments
	logons  map[string][]time.Time              // host|LUID → when it logged on, each time
}

// NewBelonging returns the Belonging of a graph that holds every event.
func NewBelonging(g *Graph) *Belonging {
	b := &Belonging{
		g: g, trees: map[NodeID]string{}, volumes: map[event.EvidenceRef]*world.Volume{}, logons: map[string][]time.Time{},
	}
	for _, v := range g.world.Volumes() {
		for _, ref := range v.Evidence {
			b.volumes[ref] = v
		}
	}
	for _, r := range g.world.Records() { // by time
		if luid := r.Get("TargetLogonId"); r.Kind == event.Logon && !wellKnownLogon(luid) {
			k := luidKey(r.Host, luid)
			b.logons[k] = append(b.logons[k], r.Time)
		}
	}
	return b
}

// Of is a correlation.Resolver: it knows "ProcessTree", "LogonSession" and
// "Volume". The answers are the same for the same set of events.
func (b *Belonging) Of(e *event.Event, name string) (string, bool) {
	r := b.g.world.RecordOf(e)
	s := ""
	switch name {
	case "ProcessTree":
		s = b.tree(b.actor(r))
	case "LogonSession":
		s = b.session(e, r)
	case "Volume":
		s = b.volume(e, r)
	}
	return s, s != ""
}

// actor returns the process that did what r records, nil if it is not known.
func (b *Belonging) actor(r *world.Record) *world.Process {
	w := b.g.world
	if p, _ := w.Actor(r); p != nil {
		return p
	}
	switch r.Kind {
	case event.ScriptBlock, event.ScriptModule, event.ScriptClassic:
		return b.g.scriptHost(r)
	case event.ServiceInstall, event.TaskRegister, event.TaskUpdate, event.TaskDelete:
		if p := w.ByStartKey(r.Host, r.Number("ClientProcessStartKey")); p != nil {
			return p
		}
		return w.At(r.Host, uint32(r.Number("ClientProcessId")), r.Time)
	}
	return nil
}

// upward are the verbs that lead from a process to what it came of, the most
// telling first: an elevated program comes of the same program before.
var upward = []Verb{Elevated, Started, RanAs, Registered, Requested}

// tree returns the key of the process at the root of p's tree: upward over the
// skeleton of class A and B, through services, tasks and other units to who asked
// for them on the same host, as far as no hub. A hub is in no tree.
func (b *Belonging) tree(p *world.Process) string {
	if p == nil || b.g.hub(p) {
		return ""
	}
	at := processID(p)
	var path []NodeID
	seen := map[NodeID]int{} // index in path
	root := ""
	for at != "" {
		if known, ok := b.trees[at]; ok {
			root = known
			break
		}
		if i, again := seen[at]; again {
			// A circle, which only made-up records have: the least is its root.
			for _, id := range path[i:] {
				if key, ok := strings.CutPrefix(string(id), "process:"); ok && key < root {
					root = key
				}
			}
			break
		}
		seen[at] = len(path)
		path = append(path, at)
		if n := b.g.nodes[at]; n == nil || n.Kind == Process {
			root = strings.TrimPrefix(string(at), "process:")
		}
		at = b.above(at)
	}
	for _, id := range path {
		if n := b.g.nodes[id]; n != nil && n.Kind == Process { // two processes of one unit are two trees
			b.trees[id] = root
		}
	}
	return root
}

// above returns what a process or unit came of, "" at the root.
func (b *Belonging) above(at NodeID) NodeID {
	for _, verb := range upward {
		for _, e := range b.g.In(at) { // in order
			if e.Verb != verb || !e.Skeleton || e.Class > ClassB {
				continue
			}
			from := b.g.nodes[e.From]
			if world.HostKey(from.Host) != world.HostKey(b.g.nodes[at].Host) {
				continue // a tree is of one host
			}
			switch from.Kind {
			case Process, Service, Task, WMI, COM, BITS, Installer:
				return e.From
			}
		}
	}
	return ""
}

func luidKey(host, luid string) string {
	return fmt.Sprintf("%s|0x%x", world.HostKey(host), world.ParseNumber(luid))
}

// session returns the host, boot and LUID of the session that an event is of.
// Where no record tells boots apart, the time of the session's logon does, if it
// is recorded. The sessions of the system's own accounts hold what all services
// do: they are none.
func (b *Belonging) session(e *event.Event, r *world.Record) string {
	p := b.actor(r)
	luid := ""
	for _, name := range []string{"LogonId", "", "TargetLogonId", "SubjectLogonId"} {
		v := ""
		if name != "" {
			v = e.Value(name)
		} else if p != nil {
			v = p.LogonID
		}
		if v != "" && v != "-" {
			luid = v
			break
		}
	}
	if wellKnownLogon(luid) {
		return ""
	}
	k := luidKey(r.Host, luid)
	host, number, _ := strings.Cut(k, "|")
	if p != nil && p.StartKey != 0 {
		return fmt.Sprintf("%s|boot %d|%s", host, p.StartKey>>48, number)
	}
	if list := b.g.boots[host]; len(list) > 0 {
		return fmt.Sprintf("%s|boot %d|%s", host, cmp.Or(b.g.bootAt(r.Host, r.Time), list[0].id), number)
	}
	// A LUID is given away at its logon: what came before is another boot's.
	list := b.logons[k]
	if i := sort.Search(len(list), func(i int) bool { return list[i].After(r.Time.Add(slack)) }); i > 0 {
		return k + "@" + list[i-1].Format(event.TimeFormat)
	}
	return k
}

// volume returns the removable volume that an event is of: the one it tells of,
// or that its path lies on. A program or script is of the volume it was started
// from, and so is what a process does to files of the system drive.
func (b *Belonging) volume(e *event.Event, r *world.Record) string {
	if v := b.volumes[r.Ref]; v != nil {
		return volumeKey(v)
	}
	path := ""
	switch e.Kind {
	case event.FileCreate, event.FileExecutable, event.FileStream, event.FileTime, event.FileRename, event.FileAttribute,
		event.FileDelete, event.FileAccess:
		path = r.Get("TargetFilename")
	case event.ImageLoad, event.DriverLoad:
		path = r.Get("ImageLoaded")
	case event.MalwareFound, event.MalwareActed:
		path = defenderPath(e.Value("Path"))
	}
	if path != "" {
		key := b.g.world.PathOn(r.Host, path)
		if s := b.on(r.Host, key, r.Time); s != "" {
			return s
		}
		if m, sure := b.g.world.DeviceMount(r.Host, path, r.Time); sure && e.Kind == event.FileAccess {
			return volumeKey(m.Volume)
		}
		// Whichever it is: the audit of removable storage names a device, which
		// is one as long as it is attached.
		if rest, ok := strings.CutPrefix(key, deviceFolder); ok && e.Kind == event.FileAccess && r.Task == removable {
			name, _, _ := strings.Cut(rest, `\`)
			return world.HostKey(r.Host) + "|" + deviceFolder + name
		}
		if l, ok := world.Letter(key); !ok || l != 'c' {
			return "" // some drive of which nothing is known
		}
	}
	p := b.actor(r)
	if p == nil {
		return b.on(r.Host, b.g.world.PathOn(r.Host, r.Get("Image")), r.Time)
	}
	if s := b.on(p.Host, b.g.world.PathOn(p.Host, p.Image), p.Start); s != "" {
		return s
	}
	return b.startedFrom(p)
}

// deviceFolder is where the kernel's names of devices begin, as match form.
const deviceFolder = `\device\`

// startedFrom returns the volume of the script, document or folder that a process
// was started with, as the graph joined them.
func (b *Belonging) startedFrom(p *world.Process) string {
	var found []string
	look := func(e *Edge) {
		n := b.g.nodes[e.From]
		if !e.Skeleton || e.Class > ClassB || n.Kind != Volume || n.Implied {
			return
		}
		for _, v := range b.g.world.Volumes() {
			if id(Volume, v.Host, v.Serial) == n.ID {
				found = append(found, volumeKey(v))
			}
		}
	}
	for _, e := range b.g.In(processID(p)) {
		switch e.Verb {
		case Opened:
			look(e)
		case Executed, Interpreted:
		default:
			continue
		}
		if b.g.nodes[e.From].Kind != File || !e.Skeleton || e.Class > ClassB {
			continue
		}
		for _, on := range b.g.In(e.From) {
			if on.Verb == Contains {
				look(on)
			}
		}
	}
	slices.Sort(found)
	if found = slices.Compact(found); len(found) == 1 {
		return found[0]
	}
	return "" // none, or more than one
}

// on returns the volume that a path lies on at t, "" if it is none or only
// guessed.
func (b *Belonging) on(host, key string, t time.Time) string {
	l, ok := world.Letter(key)
	if !ok || l == 'c' {
		return ""
	}
	mounts := b.g.world.MountAt(host, l, t)
	if len(mounts) != 1 || mounts[0].Guessed {
		return ""
	}
	return volumeKey(mounts[0].Volume)
}

// volumeKey is the same for a device on every host, unless Windows made its
// serial number up.
func volumeKey(v *world.Volume) string {
	if v.Synthetic {
		return world.HostKey(v.Host) + "|" + v.Serial
	}
	return v.Serial
}

// Relate draws that two nodes belong together because an explicit rule, such as
// a correlation, rests on what happened at both. With class B the arrow joins
// incidents; with class C it is a guess that is shown. It cites the records of
// the events. Drawing it again adds nothing. It returns nil if a node is missing
// or is a hub, which joins nothing.
func (g *Graph) Relate(from, to NodeID, class Class, join string, t time.Time, events ...*event.Event) *Edge {
	a, b := g.nodes[from], g.nodes[to]
	if a == nil || b == nil || a.Hub || b.Hub {
		return nil
	}
	var cited []event.EvidenceRef
	for _, e := range events {
		cited = append(cited, g.world.RecordOf(e).Ref)
	}
	return g.link(fact{
		from: a, to: b, verb: Related, class: class, skeleton: class <= ClassB, join: join, t: t, refs: cited,
		corroborates: g.edges[edgeKey{from, to, Related}] != nil,
	})
}
