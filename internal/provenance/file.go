package provenance

import (
	"sort"
	"strings"
	"time"

	"ashiato/internal/event"
	"ashiato/internal/world"
)

// write is one writing of a file, from one or more records of it.
type write struct {
	t       time.Time
	process *world.Process
	record  *world.Record
	path    string
	refs    []event.EvidenceRef
	program bool // Sysmon says that it is an executable
}

// slack is what records of one happening may be apart, and what a cause may seem
// to come after its effect for that reason.
const slack = time.Second

func fileKey(host, key string) string { return world.HostKey(host) + "|" + key }

// indexFiles finds who wrote which file when, and which folders hold files.
func (j *joiner) indexFiles() {
	for _, r := range j.records {
		switch r.Kind {
		case event.FileCreate, event.FileExecutable, event.FileStream, event.FileRename:
		default:
			continue
		}
		path := r.Get("TargetFilename")
		if strings.HasSuffix(strings.ToLower(path), zoneSuffix) {
			path = path[:len(path)-len(zoneSuffix)] // whoever marks a file brought it
		}
		if path == "" || strings.Contains(world.Base(path), ":") {
			continue
		}
		key := j.w.PathOn(r.Host, path)
		if dir := world.Dir(key); dir != "" {
			j.Graph.folders[fileKey(r.Host, dir)] = true
		}
		p, _ := j.w.Actor(r)
		k := fileKey(r.Host, key)
		list := j.written[k]
		program := r.Kind == event.FileExecutable
		if n := len(list); n > 0 && list[n-1].process == p && r.Time.Sub(list[n-1].t) <= 2*time.Second {
			list[n-1].refs = append(list[n-1].refs, r.Ref)
			list[n-1].program = list[n-1].program || program
			continue
		}
		if len(list) == 0 {
			j.order = append(j.order, k)
		}
		j.written[k] = append(list, write{r.Time, p, r, path, []event.EvidenceRef{r.Ref}, program})
	}
	for _, p := range j.processes {
		if dir := world.Dir(p.ImageKey()); dir != "" {
			j.Graph.folders[fileKey(p.Host, dir)] = true
		}
	}
}

// lastWrite returns the latest writing of a file by t, nil if none is recorded.
func (g *Graph) lastWrite(host, key string, t time.Time) *write {
	list := g.written[fileKey(host, key)]
	i := sort.Search(len(list), func(i int) bool { return list[i].t.After(t.Add(slack)) })
	if i == 0 {
		return nil
	}
	return &list[i-1]
}

// file returns the node of a file, which is one for all its versions, or of the
// folder that the path turned out to be.
func (g *Graph) file(host, path string, t time.Time, refs []event.EvidenceRef) *Node {
	key := g.world.PathOn(host, path)
	kind := File
	if g.folders[fileKey(host, key)] {
		kind = Folder
	}
	return g.add(id(kind, host, key), kind, host, t, refs, func(n *Node) {
		n.Label, n.Path = world.Base(path), path
		if l, ok := world.Letter(key); ok && len(key) < len(path) && strings.HasPrefix(path, `\Device\`) && len(strings.ToLower(path)) == len(path) {
			// People know the letter; the record's own name stays beside it.
			n.Path = strings.ToUpper(string(l)) + ":" + path[len(path)-len(key)+2:]
			n.Attrs = []event.Field{{Name: "ObjectName", Value: path}}
		}
	})
}

// wrote draws a writing; it carries lineage if what was written took part.
func (g *Graph) wrote(w *write, skeleton bool) (*Node, *Edge) {
	r := w.record
	n := g.file(r.Host, w.path, w.t, w.refs)
	if n == nil {
		return nil, nil
	}
	if h := r.Get("Hashes"); h != "" {
		n.setAttr("Hashes", h)
	}
	if w.process == nil {
		return n, nil
	}
	verb := Wrote
	switch {
	case n.Kind == Folder:
		verb = Created
	case r.Kind == event.FileRename:
		verb = Renamed
	}
	e := g.link(fact{
		from: g.process(w.process), to: n, verb: verb, class: ClassA, skeleton: skeleton,
		join: "own-record", t: w.t, refs: w.refs, corroborates: g.has(w.process, n, verb, w.refs),
	})
	return n, e
}

// has reports whether an edge already cites one of the records.
func (g *Graph) has(p *world.Process, to *Node, verb Verb, cited []event.EvidenceRef) bool {
	e := g.edges[edgeKey{processID(p), to.ID, verb}]
	if e == nil {
		return false
	}
	for _, have := range e.Evidence {
		for _, r := range cited {
			if have == r {
				return true
			}
		}
	}
	// A full list has forgotten some of its records.
	return len(e.Evidence) == MaxEdgeEvidence
}

// indexLoads finds the module loads that a join could need: of files that were
// written, of service DLLs, and those that are not Windows' own.
func (j *joiner) indexLoads() {
	j.loads = map[string][]*world.Record{}
	dlls := map[string]bool{}
	for _, s := range j.w.Services() {
		if s.DLL != "" {
			dlls[fileKey(s.Host, world.PathKey(s.DLL))] = true
		}
	}
	hashes := j.hashes()
	for _, r := range j.records {
		if r.Kind != event.ImageLoad {
			continue
		}
		key := j.w.PathOn(r.Host, r.Get("ImageLoaded"))
		k := fileKey(r.Host, key)
		if len(j.written[k]) > 0 || dlls[k] || hashes[folderHash(r.Host, key, r.Get("Hashes"))] != nil {
			j.loads[k] = append(j.loads[k], r)
			continue
		}
		if l, ok := world.Letter(key); ok && l != 'c' && len(j.w.MountAt(r.Host, l, r.Time)) > 0 {
			j.loads[k] = append(j.loads[k], r)
		}
	}
}

// content picks the strongest hash of a Hashes field ("SHA1=…,MD5=…"), "" if it
// has none.
func contentHash(hashes string) string {
	best := ""
	for _, h := range strings.Split(hashes, ",") {
		name, value, ok := strings.Cut(strings.TrimSpace(h), "=")
		if !ok || strings.Trim(value, "0") == "" {
			continue
		}
		switch strings.ToUpper(name) {
		case "SHA256":
			return "sha256:" + strings.ToLower(value)
		case "SHA1", "MD5":
			if best == "" {
				best = strings.ToLower(name + ":" + value)
			}
		}
	}
	return best
}

func folderHash(host, key, hashes string) string {
	h := contentHash(hashes)
	if h == "" {
		return ""
	}
	return fileKey(host, world.Dir(key)) + "|" + h
}

// hashes maps folder and content to the writings whose record has a hash: a
// rename leaves no Sysmon record, the content under the new name tells of it.
func (j *joiner) hashes() map[string][]*world.Record {
	m := map[string][]*world.Record{}
	for _, r := range j.records {
		switch r.Kind {
		case event.FileExecutable, event.FileStream, event.FileCreate:
			key := j.w.PathOn(r.Host, r.Get("TargetFilename"))
			if k := folderHash(r.Host, key, r.Get("Hashes")); k != "" && !strings.Contains(world.Base(key), ":") {
				m[k] = append(m[k], r)
			}
		}
	}
	return m
}

// use draws what led to a file's use: its last writing, or the file it was
// renamed from. It returns the file's node, nil if nothing is known of where
// the file came from.
func (j *joiner) use(host, path, hashes string, byHash map[string][]*world.Record, t time.Time, cited []event.EvidenceRef) *Node {
	key := j.w.PathOn(host, path)
	if w := j.lastWrite(host, key, t); w != nil {
		n, _ := j.wrote(w, true)
		j.used[fileKey(host, key)] = true
		return n
	}
	k := folderHash(host, key, hashes)
	if k == "" {
		return nil
	}
	var from *world.Record
	for _, r := range byHash[k] {
		if !r.Time.After(t.Add(slack)) && j.w.PathOn(host, r.Get("TargetFilename")) != key {
			from = r
		}
	}
	if from == nil {
		return nil
	}
	oldKey := j.w.PathOn(host, from.Get("TargetFilename"))
	w := j.lastWrite(host, oldKey, t)
	if w == nil {
		return nil
	}
	old, _ := j.wrote(w, true)
	j.used[fileKey(host, oldKey)], j.used[fileKey(host, key)] = true, true
	n := j.file(host, path, t, cited)
	j.link(fact{
		from: old, to: n, verb: Renamed, class: ClassB, skeleton: true, join: "same-content",
		t: t, refs: refs([]event.EvidenceRef{from.Ref}, cited),
	})
	return n
}

// files joins written files to the processes that execute, interpret, open or
// load them, and draws what else worth a look the processes left.
func (j *joiner) files() {
	byHash := j.hashes()
	for _, p := range j.processes {
		if p.Implied && p.Image == "" {
			continue
		}
		if p.Image != "" && !p.Implied {
			if n := j.use(p.Host, p.Image, p.Hashes, byHash, p.Start, p.Evidence); n != nil {
				j.link(fact{
					from: n, to: j.process(p), verb: Executed, class: ClassB, skeleton: true,
					join: "file-written-then-executed", t: p.Start, refs: refs(n.Evidence, p.Evidence),
				})
			}
		}
		if p.Implied && p.CommandLine == "" {
			continue
		}
		seen := map[string]bool{p.ImageKey(): true}
		for _, key := range pathsIn(p.CommandLine, p.CurrentDirectory) {
			if seen[key] {
				continue
			}
			seen[key] = true
			interprets, views := takes(p.ImageKey(), world.Ext(key))
			if !interprets && !views || j.lastWrite(p.Host, key, p.Start) == nil {
				continue
			}
			n := j.use(p.Host, key, "", nil, p.Start, p.Evidence)
			verb, join := Interpreted, "file-written-then-interpreted"
			if views {
				verb, join = Opened, "file-written-then-opened"
			}
			if n != nil {
				j.link(fact{
					from: n, to: j.process(p), verb: verb, class: ClassB, skeleton: true,
					join: join, t: p.Start, refs: refs(n.Evidence, p.Evidence),
				})
			}
		}
	}
	for _, r := range j.records {
		switch r.Kind {
		case event.ImageLoad:
			if len(j.loads[fileKey(r.Host, j.w.PathOn(r.Host, r.Get("ImageLoaded")))]) == 0 {
				continue
			}
			p, _ := j.w.Actor(r)
			if p == nil || p.ImageKey() == j.w.PathOn(r.Host, r.Get("ImageLoaded")) {
				continue // a program is listed among its own modules
			}
			if n := j.use(r.Host, r.Get("ImageLoaded"), r.Get("Hashes"), byHash, r.Time, []event.EvidenceRef{r.Ref}); n != nil {
				j.loaded(r, p, n)
			}
		case event.ScriptBlock:
			path := r.Get("Path")
			if path == "" || j.lastWrite(r.Host, j.w.PathOn(r.Host, path), r.Time) == nil {
				continue
			}
			if p := j.w.At(r.Host, r.PID, r.Time); p != nil {
				n := j.use(r.Host, path, "", nil, r.Time, nil)
				j.link(fact{
					from: n, to: j.process(p), verb: Interpreted, class: ClassB, skeleton: true,
					join: "script-path", t: r.Time, refs: []event.EvidenceRef{r.Ref},
				})
			}
		case event.FileRename:
			j.renamed(r)
		}
	}
	j.folderEdges()
	j.zoneMarks()
	for _, k := range j.order {
		for i := range j.written[k] {
			w := &j.written[k][i]
			key := j.w.PathOn(w.record.Host, w.path)
			if (w.program || programExts[world.Ext(key)]) && w.process != nil && !j.hub(w.process) {
				j.wrote(w, false)
			}
		}
	}
}

// deletions draws that files were deleted which the graph knows.
func (j *joiner) deletions() {
	for _, r := range j.records {
		if r.Kind != event.FileDelete {
			continue
		}
		n := j.nodes[id(File, r.Host, j.w.PathOn(r.Host, r.Get("TargetFilename")))]
		p, _ := j.w.Actor(r)
		if n == nil || p == nil {
			continue
		}
		j.link(fact{
			from: j.process(p), to: n, verb: Deleted, class: ClassA, join: "own-record",
			t: r.Time, refs: []event.EvidenceRef{r.Ref},
		})
	}
}

// folderEdges draws the making of folders that hold files which took part.
func (j *joiner) folderEdges() {
	holds := map[string][]*Node{}
	for _, n := range j.Nodes() {
		if n.Kind != File {
			continue
		}
		key := j.w.PathOn(n.Host, n.Path)
		if j.used[fileKey(n.Host, key)] {
			k := fileKey(n.Host, world.Dir(key))
			holds[k] = append(holds[k], n)
		}
	}
	for _, k := range j.order {
		if !j.folders[k] || len(holds[k]) == 0 {
			continue
		}
		w := &j.written[k][0]
		folder, _ := j.wrote(w, true)
		if folder == nil || folder.Kind != Folder {
			continue
		}
		for _, n := range holds[k] {
			if !n.Last.Before(w.t) {
				j.link(fact{
					from: folder, to: n, verb: Contains, class: ClassB, join: "path",
					t: w.t, refs: w.refs,
				})
			}
		}
	}
}

const zoneSuffix = ":zone.identifier"

// zoneMarks notes on files that they came from elsewhere, as their zone mark
// (the alternate stream Zone.Identifier, MS-FSCC 2.1.4 and the Attachment
// Manager) says.
func (j *joiner) zoneMarks() {
	for _, r := range j.records {
		if r.Kind != event.FileStream {
			continue
		}
		path := r.Get("TargetFilename")
		if !strings.HasSuffix(strings.ToLower(path), zoneSuffix) {
			continue
		}
		path = path[:len(path)-len(zoneSuffix)]
		n := j.nodes[id(File, r.Host, j.w.PathOn(r.Host, path))]
		if n == nil {
			continue
		}
		zone := ""
		for _, line := range strings.FieldsFunc(r.Get("Contents"), func(c rune) bool { return c == '\r' || c == '\n' || c == ' ' }) {
			name, value, _ := strings.Cut(line, "=")
			switch name {
			case "ZoneId":
				zone = value
			case "HostUrl", "ReferrerUrl":
				n.setAttr(name, value)
			}
		}
		if zone == "" && r.Get("Contents") == "" {
			zone = "3" // older Sysmon versions show no contents; the mark itself means "from elsewhere"
		}
		n.setAttr("ZoneId", zone)
		n.Evidence = cite(n.Evidence, r.Ref, MaxNodeEvidence)
	}
}

// renamed draws a recorded rename; Sysmon has none, the sensor does.
func (j *joiner) renamed(r *world.Record) {
	src := r.Get("SourceFilename")
	if src == "" {
		return
	}
	w := j.lastWrite(r.Host, j.w.PathOn(r.Host, src), r.Time)
	if w == nil {
		return
	}
	from, _ := j.wrote(w, true)
	to := j.file(r.Host, r.Get("TargetFilename"), r.Time, []event.EvidenceRef{r.Ref})
	j.link(fact{
		from: from, to: to, verb: Renamed, class: ClassA, skeleton: true,
		join: "own-record", t: r.Time, refs: []event.EvidenceRef{r.Ref},
	})
}

// loaded draws a module load.
func (g *Graph) loaded(r *world.Record, p *world.Process, n *Node) *Edge {
	if n == nil {
		return nil
	}
	for _, name := range []string{"Hashes", "Signed", "Signature", "SignatureStatus"} {
		n.setAttr(name, r.Get(name))
	}
	return g.link(fact{
		from: n, to: g.process(p), verb: Loaded, class: ClassB, skeleton: true,
		join: "file-written-then-loaded", t: r.Time, refs: refs(n.Evidence[:min(1, len(n.Evidence))], []event.EvidenceRef{r.Ref}),
	})
}
