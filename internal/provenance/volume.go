package provenance

import (
	"cmp"
	"slices"
	"sort"
	"strings"
	"time"

	"ashiato/internal/event"
	"ashiato/internal/world"
)

// place is a volume that a path lies on, and how sure that is.
type place struct {
	node  *Node
	mount *world.Mount // nil for a volume that only its paths tell of
	class Class
}

func (g *Graph) volume(v *world.Volume) *Node {
	key := id(Volume, v.Host, v.Serial)
	shown := v.Evidence // all of it, each time, would be the square
	if g.nodes[key] != nil && g.drawn[v] {
		shown = nil
	}
	n := g.add(key, Volume, v.Host, v.First, shown, func(n *Node) {
		n.Label = cmp.Or(v.Model, v.Serial)
		for _, m := range v.Mounts {
			if m.Letter != 0 && !m.Guessed {
				n.Label = strings.ToUpper(string(m.Letter)) + ":"
				n.Attrs = append(n.Attrs, event.Field{Name: "DriveLetter", Value: n.Label})
				break
			}
		}
		n.Path = n.Label
		if n.Attr("DriveLetter") == "" {
			n.Reason = "letter-not-recorded"
		}
		if v.DeviceID != "" {
			n.Attrs = append(n.Attrs, event.Field{Name: "DeviceId", Value: v.DeviceID})
		}
		n.Attrs = append(n.Attrs, event.Field{Name: "Serial", Value: v.Serial})
		if v.Model != "" {
			n.Attrs = append(n.Attrs, event.Field{Name: "Model", Value: v.Model})
		}
	})
	if n != nil && v.Last.After(n.Last) {
		n.Last = v.Last
	}
	if n != nil {
		if g.drawn == nil {
			g.drawn = map[*world.Volume]bool{}
		}
		g.drawn[v] = true
		n.setAttr("VolumeName", v.Label)
	}
	return n
}

// unseen returns the node of a volume whose attachment no record shows.
func (g *Graph) unseen(host, name string, t time.Time, refs []event.EvidenceRef) *Node {
	return g.add(id(Volume, host, name), Volume, host, t, refs, func(n *Node) {
		n.Label, n.Path = name, name
		if _, ok := world.Letter(name); ok {
			n.Label = strings.ToUpper(name)
			n.Attrs = []event.Field{{Name: "DriveLetter", Value: n.Label}}
		} else {
			n.Label = name[strings.LastIndexByte(name, '\\')+1:]
			n.Attrs = []event.Field{{Name: "DeviceName", Value: name}}
		}
		n.Implied, n.Reason = true, "attach-not-recorded"
	})
}

// on returns the removable volumes that a path may lie on at t: one that is sure
// (class A where the sensor says which device has the letter, else B), or several
// guesses (class C).
func (g *Graph) on(host, key string, t time.Time) []place {
	l, ok := world.Letter(key)
	if !ok || l == 'c' {
		return nil
	}
	var places []place
	for _, m := range g.world.MountAt(host, l, t) {
		class := ClassB
		switch {
		case m.Guessed:
			class = ClassC
		case m.Stated:
			class = ClassA
		}
		places = append(places, place{g.volume(m.Volume), m, class})
	}
	return places
}

// access returns the removable volumes that a record of an object access is of.
// Its path may have a device name of which no letter is known: then the volume
// is the one whose attachment it must be (class B), or an unseen one, to which
// the one that it might be is related.
func (g *Graph) access(r *world.Record, key string) []place {
	if places := g.on(r.Host, key, r.Time); len(places) > 0 {
		return places
	}
	if r.Kind != event.FileAccess || r.Task != removable {
		return nil
	}
	name := key
	if rest, ok := strings.CutPrefix(key, `\device\`); ok {
		if i := strings.IndexByte(rest, '\\'); i >= 0 {
			name = key[:len(`\device\`)+i]
		}
	} else if l, ok := world.Letter(key); ok {
		name = string(l) + ":"
	}
	m, sure := g.world.DeviceMount(r.Host, r.Get("TargetFilename"), r.Time)
	if sure {
		n := g.volume(m.Volume)
		if n != nil {
			n.setAttr("DeviceName", name)
		}
		return []place{{n, m, ClassB}}
	}
	cited := []event.EvidenceRef{r.Ref}
	n := g.unseen(r.Host, name, r.Time, cited)
	if m != nil {
		g.link(fact{
			from: g.volume(m.Volume), to: n, verb: Related, class: ClassC,
			join: "only-volume-attached", t: r.Time, refs: refs(m.Volume.Evidence, cited),
		})
	}
	return []place{{n, m, ClassB}}
}

// volumes draws removable volumes: that they were attached, what was started
// from them, what was written to them, and where else they turned up.
func (j *joiner) volumes() {
	for _, v := range j.w.Volumes() {
		n := j.volume(v)
		j.link(fact{
			from: n, to: j.host(v.Host, v.First, v.Evidence[:min(1, len(v.Evidence))]), verb: Attached, class: ClassA,
			join: "own-record", t: v.First, refs: v.Evidence,
		})
	}
	j.sameSerial()
	shortcuts := j.shortcuts()
	for _, p := range j.processes {
		// A child's record may tell an implied process's command line.
		if !p.Implied || p.CommandLine != "" {
			j.fromVolume(p, shortcuts)
		}
	}
	for _, k := range j.order {
		for i := range j.written[k] {
			j.toVolume(&j.written[k][i])
		}
	}
	// The sensor's first: the audit only says the same again.
	for _, r := range j.records {
		if r.Kind == event.FileAttribute || r.Kind == event.FileRename {
			j.hid(r)
		}
	}
	for _, r := range j.records {
		switch r.Kind {
		case event.FileAccess:
			j.hid(r)
			j.put(r)
		case event.ImageLoad:
			key := j.w.PathOn(r.Host, r.Get("ImageLoaded"))
			if p, _ := j.w.Actor(r); p != nil && !j.hub(p) && p.ImageKey() != key {
				j.contains(r.Host, r.Get("ImageLoaded"), r.Time, []event.EvidenceRef{r.Ref}, func(n *Node) { j.loaded(r, p, n) })
			}
		}
	}
	j.carriedFiles()
}

// sameSerial joins a volume to itself on the next host it is attached to. A
// serial number that Windows made up names a port, not the device: it joins
// nothing.
func (j *joiner) sameSerial() {
	type session struct {
		volume *world.Volume
		from   time.Time
	}
	bySerial := map[string][]session{}
	for _, v := range j.w.Volumes() {
		if v.Synthetic {
			continue
		}
		for _, m := range v.Mounts {
			if !m.Guessed {
				bySerial[v.Serial] = append(bySerial[v.Serial], session{v, m.From})
			}
		}
	}
	for _, serial := range sortedKeys(bySerial) {
		list := bySerial[serial]
		slices.SortFunc(list, func(a, b session) int {
			return cmp.Or(a.from.Compare(b.from), strings.Compare(a.volume.Host, b.volume.Host))
		})
		for i := 1; i < len(list); i++ {
			a, b := list[i-1].volume, list[i].volume
			if a == b {
				continue
			}
			j.link(fact{
				from: j.volume(a), to: j.volume(b), verb: Attached, class: ClassA, skeleton: true,
				join: "volume-serial", t: list[i].from, refs: refs(a.Evidence, b.Evidence),
			})
		}
	}
}

// carriedFiles joins a file that was used from a volume to the writing of it on
// the host that the volume was at before: same serial number, same path, and not
// known to be of another content.
func (j *joiner) carriedFiles() {
	type view struct {
		volume *world.Volume
		mount  *world.Mount
	}
	bySerial := map[string][]view{}
	for _, v := range j.w.Volumes() {
		if v.Synthetic {
			continue
		}
		for i := range v.Mounts {
			if m := v.Mounts[i]; m.Letter != 0 && !m.Guessed {
				bySerial[v.Serial] = append(bySerial[v.Serial], view{v, m})
			}
		}
	}
	for _, n := range j.Nodes() {
		if n.Kind != File {
			continue
		}
		key := j.w.PathOn(n.Host, n.Path)
		l, ok := world.Letter(key)
		if !ok || l == 'c' || j.lastWrite(n.Host, key, n.First) != nil {
			continue
		}
		for _, in := range slices.Clone(j.in[n.ID]) {
			from := j.nodes[in.From]
			if in.Verb != Contains || in.Class > ClassB || from.Kind != Volume {
				continue
			}
			var last *write
			for _, v := range bySerial[from.Attr("Serial")] {
				if world.HostKey(v.volume.Host) == world.HostKey(n.Host) {
					continue
				}
				w := j.lastWrite(v.volume.Host, string(v.mount.Letter)+key[1:], n.First)
				if w == nil || w.t.Before(v.mount.From.Add(-slack)) || !v.mount.To.IsZero() && w.t.After(v.mount.To.Add(slack)) || last != nil && !w.t.After(last.t) {
					continue
				}
				last = w
			}
			if last == nil {
				continue
			}
			hash := contentHash(n.Attr("Hashes"))
			for _, e := range j.out[n.ID] {
				if to := j.nodes[e.To]; hash == "" && e.Verb == Executed && to.Kind == Process {
					hash = contentHash(to.Attr("Hashes"))
				}
			}
			if hash != "" && last.hash != "" && differ(hash, last.hash) {
				continue // written again since, somewhere else
			}
			old, _ := j.wrote(last, true)
			j.link(fact{
				from: old, to: n, verb: Copied, class: ClassB, skeleton: true, join: "carried-file",
				t: in.First, refs: refs(last.refs, in.Evidence),
			})
		}
	}
}

// contains draws that a file on a volume took part, and calls use with its node.
func (j *joiner) contains(host, path string, t time.Time, cited []event.EvidenceRef, use func(*Node)) bool {
	places := j.on(host, j.w.PathOn(host, path), t)
	if len(places) == 0 {
		return false
	}
	n := j.file(host, path, t, cited)
	for _, at := range places {
		j.link(fact{
			from: at.node, to: n, verb: Contains, class: at.class, skeleton: true,
			join: "path-on-volume", t: t, refs: cited,
		})
	}
	j.took(n)
	use(n)
	return true
}

// fromVolume joins a process to the volume that its program, its script or, if a
// person started it, its document or working folder lies on.
func (j *joiner) fromVolume(p *world.Process, shortcuts []*world.Record) {
	node := j.process(p)
	launch := j.userLaunch(p)
	found := false
	if j.contains(p.Host, p.Image, p.Start, p.Evidence, func(n *Node) {
		j.link(fact{
			from: n, to: node, verb: Executed, class: ClassB, skeleton: true,
			join: "image-path", t: p.Start, refs: p.Evidence,
		})
	}) {
		found = true
	}
	seen := map[string]bool{p.ImageKey(): true}
	for _, key := range j.pathsOf(p) {
		if seen[key] {
			continue
		}
		seen[key] = true
		interprets, views := takes(p.ImageKey(), world.Ext(key))
		if world.Ext(key) == "" || strings.ContainsAny(world.Ext(key), " \t") || !interprets && !views && !launch {
			continue
		}
		verb := Opened
		if interprets {
			verb = Interpreted
		}
		path := asWritten(p, key)
		hit := j.contains(p.Host, path, p.Start, p.Evidence, func(n *Node) {
			j.link(fact{
				from: n, to: node, verb: verb, class: ClassB, skeleton: true,
				join: "argument-path", t: p.Start, refs: p.Evidence,
			})
		})
		if hit {
			found = true
			break
		}
		// A script on another drive whose attachment no record shows: worth
		// drawing, no ground to join on.
		if l, ok := world.Letter(key); ok && l != 'c' && launch && interprets {
			n := j.file(p.Host, path, p.Start, p.Evidence)
			j.link(fact{
				from: n, to: node, verb: verb, class: ClassB, skeleton: true,
				join: "argument-path", t: p.Start, refs: p.Evidence,
			})
			j.link(fact{
				from: j.unseen(p.Host, string(l)+":", p.Start, p.Evidence), to: n, verb: Contains, class: ClassC, skeleton: true,
				join: "path-on-drive", t: p.Start, refs: p.Evidence,
			})
			break
		}
	}
	if !launch {
		return
	}
	places := j.on(p.Host, j.w.PathOn(p.Host, p.CurrentDirectory), p.Start)
	if !found {
		for _, at := range places {
			j.link(fact{
				from: at.node, to: node, verb: Opened, class: at.class, skeleton: true,
				join: "current-directory", t: p.Start, refs: p.Evidence,
			})
		}
	}
	if !found && len(places) == 0 {
		return
	}
	j.recent(p, node)
	// The shortcut in the volume's root that was read moments before.
	var names []string
	var nearest *world.Record
	for _, r := range shortcuts {
		d := p.Start.Sub(r.Time)
		if world.HostKey(r.Host) != world.HostKey(p.Host) || d < -slack || d > time.Minute {
			continue
		}
		if reader, _ := j.w.Actor(r); reader != nil && p.Parent != nil && reader != p.Parent {
			continue // a scanner's reading starts nothing
		}
		key := j.w.PathOn(r.Host, r.Get("TargetFilename"))
		l, _ := world.Letter(key)
		fits := false
		for _, at := range append(j.on(p.Host, string(l)+`:\`, r.Time), places...) {
			for _, e := range j.edgesBetween(at.node, node) {
				fits = fits || e
			}
		}
		if !fits {
			continue
		}
		if !slices.Contains(names, key) {
			names = append(names, key)
		}
		nearest = r
	}
	if nearest == nil {
		return
	}
	class := ClassB
	if len(names) > 1 {
		class = ClassC
	}
	cited := []event.EvidenceRef{nearest.Ref}
	shell, _ := j.w.Actor(nearest)
	j.contains(p.Host, nearest.Get("TargetFilename"), nearest.Time, cited, func(n *Node) {
		j.link(fact{
			from: n, to: node, verb: Opened, class: class, skeleton: true,
			join: "shortcut-then-start", t: p.Start, refs: refs(cited, p.Evidence),
			corroborates: node != nil && j.edges[edgeKey{n.ID, node.ID, Opened}] != nil,
		})
		if shell != nil {
			// The shell read it for its user: context, a hub carries nothing.
			j.link(fact{
				from: j.process(shell), to: n, verb: Opened, class: ClassA, join: "own-record",
				t: nearest.Time, refs: cited,
			})
		}
	})
}

// recentWindow is how long after something was opened the shell notes it among
// the recent documents.
const recentWindow = time.Minute

// recent cites the shortcut that the shell wrote among the recent documents when
// its user opened what p was started with from a volume.
func (j *joiner) recent(p *world.Process, node *Node) {
	if j.recents == nil {
		j.recents = map[string][]*world.Record{}
		for _, r := range j.records {
			if r.Kind != event.FileCreate {
				continue
			}
			key := j.w.PathOn(r.Host, r.Get("TargetFilename"))
			if !strings.Contains(key, `\microsoft\windows\recent\`) || world.Ext(key) != ".lnk" {
				continue
			}
			if q, _ := j.w.Actor(r); q != nil && world.Base(q.ImageKey()) == "explorer.exe" {
				k := world.HostKey(r.Host) + "|" + strings.TrimSuffix(world.Base(key), ".lnk")
				j.recents[k] = append(j.recents[k], r)
			}
		}
	}
	if len(j.recents) == 0 || node == nil {
		return
	}
	for _, e := range slices.Clone(j.in[node.ID]) {
		from := j.nodes[e.From]
		if e.Verb != Opened && e.Verb != Interpreted && e.Verb != Executed || from.Kind != File {
			continue
		}
		name := strings.ToLower(from.Label)
		// The shortcut has the document's name, with or without its extension.
		for _, k := range []string{name, strings.TrimSuffix(name, world.Ext(name))} {
			list := j.recents[world.HostKey(p.Host)+"|"+k]
			near := sort.Search(len(list), func(i int) bool { return !list[i].Time.Before(p.Start.Add(-2 * time.Second)) })
			for _, r := range list[near:min(near+maxGuesses, len(list))] {
				if r.Time.Sub(p.Start) <= recentWindow {
					j.link(fact{
						from: from, to: node, verb: e.Verb, class: e.Class, skeleton: e.Skeleton, join: e.Join,
						t: e.First, refs: []event.EvidenceRef{r.Ref}, corroborates: true,
					})
				}
			}
		}
	}
}

// edgesBetween reports whether a volume leads to a process, directly or by a file.
func (j *joiner) edgesBetween(volume, process *Node) []bool {
	if volume == nil || process == nil {
		return nil
	}
	for _, e := range j.in[process.ID] {
		if e.From == volume.ID || j.edges[edgeKey{volume.ID, e.From, Contains}] != nil {
			return []bool{true}
		}
	}
	return nil
}

// shortcuts are the records of .lnk files in the root of a drive other than C:
// being read.
func (j *joiner) shortcuts() []*world.Record {
	var found []*world.Record
	for _, r := range j.records {
		if r.Kind != event.FileAccess || r.ID == 4656 || r.Number("AccessMask")&rightReadData == 0 {
			continue
		}
		key := j.w.PathOn(r.Host, r.Get("TargetFilename"))
		if l, ok := world.Letter(key); ok && l != 'c' && world.Ext(key) == ".lnk" && strings.Count(key, `\`) == 1 {
			found = append(found, r)
		}
	}
	return found
}

// asWritten finds the record's own spelling of a path that pathsIn found.
func asWritten(p *world.Process, key string) string {
	for _, text := range []string{p.CommandLine, p.CurrentDirectory + world.Base(key)} {
		lower := strings.ToLower(text)
		if i := strings.Index(strings.ReplaceAll(lower, "/", `\`), key); i >= 0 && len(lower) == len(text) {
			return text[i : i+len(key)]
		}
	}
	return key
}

// toVolume joins a process to the volume it wrote a program, script or shortcut
// to.
func (j *joiner) toVolume(w *write) {
	key := j.w.PathOn(w.record.Host, w.path)
	if w.process == nil || j.hub(w.process) || !w.program && !programExts[world.Ext(key)] {
		return
	}
	places := j.on(w.record.Host, key, w.t)
	for _, at := range places {
		j.wrote(w, at.class <= ClassB)
		j.link(fact{
			from: j.process(w.process), to: at.node, verb: Wrote, class: at.class, skeleton: true,
			join: "path-on-volume", t: w.t, refs: w.refs,
		})
	}
}

// Access rights of Security 4656 and 4663, [MS-DTYP] 2.4.3 and file rights of
// the Windows SDK.
const (
	rightReadData        = 0x1
	rightWriteData       = 0x2
	rightWriteAttributes = 0x100
	rightDelete          = 0x10000
	removable            = 12812 // the task category of "Audit Removable Storage"
)

// hid joins a process to the volume on which it changed attributes of files or
// moved them away, all such accesses in one edge with their count.
func (j *joiner) hid(r *world.Record) *Edge {
	key := j.w.PathOn(r.Host, r.Get("TargetFilename"))
	p, _ := j.w.Actor(r)
	if p == nil {
		return nil
	}
	switch r.Kind {
	case event.FileAccess:
		if mask := r.Number("AccessMask"); mask&(rightWriteAttributes|rightDelete) == 0 || r.ID == 4656 {
			return nil
		}
	case event.FileAttribute:
		if !hides(r) {
			return nil
		}
	case event.FileRename:
		// Moved away: into another folder, and no program of the sensor's finding.
		before := j.w.PathOn(r.Host, r.Get("SourceFilename"))
		if j.hub(p) || world.Dir(before) == world.Dir(key) || programExts[world.Ext(key)] {
			return nil
		}
	}
	var e *Edge
	for _, at := range j.access(r, key) {
		e = j.link(fact{
			from: j.process(p), to: at.node, verb: Hid, class: at.class, skeleton: true,
			join: "path-on-volume", t: r.Time, refs: []event.EvidenceRef{r.Ref},
			corroborates: r.Kind == event.FileAccess && j.sensed(p, at.node),
		})
	}
	return e
}

// hides reports whether a record of changed attributes says that a file was
// hidden.
func hides(r *world.Record) bool {
	for _, word := range strings.Fields(r.Get("AttributesAdded")) {
		if strings.EqualFold(word, "Hidden") || strings.EqualFold(word, "System") {
			return true
		}
	}
	return false
}

// sensed reports whether the sensor tells what a process did to the files of a
// volume: then the audit's records say the same once more.
func (j *joiner) sensed(p *world.Process, volume *Node) bool {
	if j.senses == nil {
		j.senses = map[edgeKey]bool{}
		for _, r := range j.records {
			if r.Kind != event.FileAttribute {
				continue
			}
			q, _ := j.w.Actor(r)
			if q == nil {
				continue
			}
			for _, at := range j.on(r.Host, j.w.PathOn(r.Host, r.Get("TargetFilename")), r.Time) {
				if at.node != nil {
					j.senses[edgeKey{processID(q), at.node.ID, Hid}] = true
				}
			}
		}
	}
	return volume != nil && j.senses[edgeKey{processID(p), volume.ID, Hid}]
}

// put joins a process to the volume to which, as Security says, it wrote a
// program, script or shortcut. Sysmon may have said so already.
func (j *joiner) put(r *world.Record) {
	key := j.w.PathOn(r.Host, r.Get("TargetFilename"))
	if r.Kind != event.FileAccess || r.ID == 4656 || r.Number("AccessMask")&rightWriteData == 0 || !programExts[world.Ext(key)] {
		return
	}
	p, _ := j.w.Actor(r)
	if p == nil || j.hub(p) {
		return
	}
	known := false
	if w := j.lastWrite(r.Host, key, r.Time); w != nil && w.process == p && r.Time.Sub(w.t) <= 2*time.Second {
		known = true
	}
	cited := []event.EvidenceRef{r.Ref}
	for _, at := range j.access(r, key) {
		path := r.Get("TargetFilename")
		n := j.fileNode(j.made(r.Host, path, r.Time), r.Host, path, r.Time, cited)
		j.link(fact{
			from: j.process(p), to: n, verb: Wrote, class: ClassA, skeleton: true,
			join: "own-record", t: r.Time, refs: cited, corroborates: known,
		})
		j.link(fact{
			from: j.process(p), to: at.node, verb: Wrote, class: at.class, skeleton: true,
			join: "path-on-volume", t: r.Time, refs: cited, corroborates: known,
		})
	}
}
