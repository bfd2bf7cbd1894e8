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

// write is one writing of a file, from one or more records of it.
type write struct {
	t       time.Time
	process *world.Process
	session *session // on whose behalf it came over a share, nil if it did not
	record  *world.Record
	path    string
	hash    string // of what was written, "" if unknown
	refs    []event.EvidenceRef
	program bool // Sysmon says that it is an executable
	fresh   bool // the path was deleted before
	version int  // which version of the file it began or went on with
}

// shareLag is how far the records of one writing over a share may be apart: the
// check of the rights, and the making of the file by the kernel.
const shareLag = 5 * time.Second

// continues reports whether w is another record of the writing before it.
func (w *write) continues(before *write) bool {
	gap := w.t.Sub(before.t)
	if w.fresh || w.hash != "" && before.hash != "" && differ(w.hash, before.hash) {
		return false
	}
	if (w.session != nil) != (before.session != nil) {
		// The kernel writes what comes over a share.
		p := w.process
		if w.session != nil {
			p = before.process
		}
		return gap <= shareLag && (p == nil || p.ImageKey() == "system")
	}
	if w.record.Kind == event.FileRename {
		return false // another file took the name
	}
	return w.process == before.process && w.session == before.session && gap <= 2*time.Second
}

// isDirectory reports whether a record says that it is of a folder.
func isDirectory(r *world.Record) bool { return strings.EqualFold(r.Get("IsDirectory"), "true") }

// differ reports whether two hashes by the same algorithm are of two contents.
func differ(a, b string) bool {
	x, _, _ := strings.Cut(a, ":")
	y, _, _ := strings.Cut(b, ":")
	return x == y && a != b
}

// slack is what records of one happening may be apart, and what a cause may seem
// to come after its effect for that reason.
const slack = time.Second

func fileKey(host, key string) string { return world.HostKey(host) + "|" + key }

// indexFiles finds who wrote which file when, and which folders hold files.
func (j *joiner) indexFiles() {
	for _, r := range j.records {
		w := write{t: r.Time, record: r}
		switch r.Kind {
		case event.FileCreate, event.FileExecutable, event.FileStream, event.FileRename:
			directory := isDirectory(r)
			if directory && r.Kind == event.FileCreate {
				j.Graph.folders[fileKey(r.Host, j.w.PathOn(r.Host, r.Get("TargetFilename")))] = true
			}
			if r.Kind == event.FileRename {
				if directory {
					continue // what lies in it is not told
				}
				j.renames = append(j.renames, r)
				// What lay under the old name is not there any more.
				if k := fileKey(r.Host, j.w.PathOn(r.Host, r.Get("SourceFilename"))); len(j.written[k]) > 0 {
					j.deleted[k] = append(j.deleted[k], r.Time)
				}
			}
			w.path = r.Get("TargetFilename")
			w.process, _ = j.w.Actor(r)
			w.hash = contentHash(r.Get("Hashes"))
			if isZoneMark(w.path) {
				w.path, w.hash = w.path[:len(w.path)-len(zoneSuffix)], "" // whoever marks a file brought it
			}
		case event.ShareAccess:
			var sure bool
			if w.path, sure = j.shareFile(r); !sure {
				continue
			}
			if w.session = j.sessionOf(r); w.session == nil {
				continue
			}
		case event.FileDelete:
			k := fileKey(r.Host, j.w.PathOn(r.Host, r.Get("TargetFilename")))
			if len(j.written[k]) > 0 {
				j.deleted[k] = append(j.deleted[k], r.Time)
			}
			continue
		default:
			continue
		}
		if w.path == "" || strings.Contains(world.Base(w.path), ":") {
			continue
		}
		key := j.w.PathOn(r.Host, w.path)
		if dir := world.Dir(key); dir != "" {
			j.Graph.folders[fileKey(r.Host, dir)] = true
		}
		k := fileKey(r.Host, key)
		list := j.written[k]
		w.program = r.Kind == event.FileExecutable || r.Kind == event.FileRename && strings.EqualFold(r.Get("IsExecutable"), "true")
		w.refs = []event.EvidenceRef{r.Ref}
		n := len(list)
		if n == 0 {
			j.order = append(j.order, k)
		} else {
			last := &list[n-1]
			gone := j.deleted[k]
			w.fresh = len(gone) > 0 && gone[len(gone)-1].After(last.t)
			if w.continues(last) {
				last.refs = append(last.refs, r.Ref)
				last.program = last.program || w.program
				last.hash = cmp.Or(w.hash, last.hash)
				if w.session != nil {
					last.session = w.session
				} else {
					last.process = cmp.Or(last.process, w.process)
				}
				continue
			}
		}
		j.written[k] = append(list, w)
	}
	for _, p := range j.processes {
		if dir := world.Dir(p.ImageKey()); dir != "" {
			j.Graph.folders[fileKey(p.Host, dir)] = true
		}
	}
}

// pathsOf is pathsIn of a process's command line, remembered.
func (j *joiner) pathsOf(p *world.Process) []string {
	paths, ok := j.paths[p]
	if !ok {
		paths = pathsIn(p.CommandLine, p.CurrentDirectory)
		j.paths[p] = paths
	}
	return paths
}

// use is one use of a file; next is the first one after it by another process.
type use struct {
	t    time.Time
	by   *world.Process
	next int
}

// usage are the uses of one file by time. What a process names that it writes
// itself later is no use of anything.
type usage []use

func (u usage) index() {
	slices.SortStableFunc(u, func(a, b use) int { return a.t.Compare(b.t) })
	for i := len(u) - 1; i >= 0; i-- {
		switch {
		case i+1 == len(u):
			u[i].next = len(u)
		case u[i+1].by == u[i].by:
			u[i].next = u[i+1].next
		default:
			u[i].next = i + 1
		}
	}
}

// between reports whether someone else than the writer used the file from began
// on (zero: ever) and before t.
func (u usage) between(began, t time.Time, writer *world.Process) bool {
	i := 0
	if !began.IsZero() {
		i = sort.Search(len(u), func(i int) bool { return !u[i].t.Add(slack).Before(began) })
	}
	if i < len(u) && writer != nil && u[i].by == writer {
		i = u[i].next
	}
	return i < len(u) && u[i].t.Add(slack).Before(t)
}

// indexVersions tells the versions of each file apart. What one path names is
// another file once it was deleted and written again, has another content, or
// was written by someone else after it had been used: what used the first says
// nothing of who made the second.
func (j *joiner) indexVersions() {
	uses := map[string]usage{}
	add := func(k string, t time.Time, by *world.Process) {
		if len(j.written[k]) > 0 {
			uses[k] = append(uses[k], use{t: t, by: by})
		}
	}
	for _, p := range j.processes {
		if !p.Implied && p.Image != "" {
			add(fileKey(p.Host, p.ImageKey()), p.Start, p)
		}
		if p.CommandLine == "" {
			continue
		}
		for _, key := range j.pathsOf(p) {
			if interprets, views := takes(p.ImageKey(), world.Ext(key)); key != p.ImageKey() && (interprets || views) {
				add(fileKey(p.Host, key), p.Start, p)
			}
		}
	}
	for k, loads := range j.loads {
		if len(j.written[k]) > 0 {
			for _, r := range loads {
				p, _ := j.w.Actor(r)
				add(k, r.Time, p)
			}
		}
	}
	for _, r := range j.records {
		if path := r.Get("Path"); r.Kind == event.ScriptBlock && path != "" {
			add(fileKey(r.Host, j.w.PathOn(r.Host, path)), r.Time, j.w.At(r.Host, r.PID, r.Time))
		}
	}
	for _, k := range j.order {
		if j.folders[k] {
			continue // a folder is one, whatever is done to it
		}
		list := j.written[k]
		used := uses[k]
		used.index()
		var starts []time.Time
		var began time.Time // zero: it may have been there before
		hash := ""
		for i := range list {
			w := &list[i]
			fresh := w.fresh || hash != "" && w.hash != "" && differ(hash, w.hash)
			if !fresh && used.between(began, w.t, w.process) {
				fresh = i == 0 || w.process != list[i-1].process || w.session != list[i-1].session || j.hub(w.process)
			}
			if fresh && (i == 0 || w.t.After(list[0].t) && w.t.After(began)) {
				starts = append(starts, w.t)
				began, hash = w.t, ""
			}
			hash = cmp.Or(w.hash, hash)
			w.version = len(starts)
		}
		if len(starts) > 0 {
			j.versions[k] = starts
		}
	}
}

// versionAt returns which version of a file it was at t.
func (g *Graph) versionAt(k string, t time.Time) int {
	starts := g.versions[k]
	return sort.Search(len(starts), func(i int) bool { return starts[i].After(t) })
}

// lastWrite returns the latest writing of a file by t, nil if none is recorded
// or it was deleted since.
func (g *Graph) lastWrite(host, key string, t time.Time) *write {
	k := fileKey(host, key)
	list := g.written[k]
	i := sort.Search(len(list), func(i int) bool { return list[i].t.After(t.Add(slack)) })
	if i == 0 {
		return nil
	}
	w := &list[i-1]
	// What is overwritten is recorded as deleted too, about then.
	gone := g.deleted[k]
	i = sort.Search(len(gone), func(i int) bool { return gone[i].After(w.t.Add(2 * time.Second)) })
	if i < len(gone) && gone[i].Add(slack).Before(t) {
		return nil
	}
	return w
}

// fileID names a version of a file, or the folder that the path turned out to
// be. The first version goes by the path alone.
func (g *Graph) fileID(host, key string, version int) NodeID {
	k := fileKey(host, key)
	switch {
	case g.folders[k]:
		return id(Folder, host, key)
	case version > 0:
		return id(File, host, key+"@"+g.versions[k][version-1].Format(event.TimeFormat))
	}
	return id(File, host, key)
}

// used returns the id of a file as what uses it at t finds it, and made as what
// writes or deletes it then does: the records of a use may be stamped a little
// before those of the writing.
func (g *Graph) used(host, path string, t time.Time) NodeID {
	key := g.world.PathOn(host, path)
	return g.fileID(host, key, g.versionAt(fileKey(host, key), t.Add(slack)))
}

func (g *Graph) made(host, path string, t time.Time) NodeID {
	key := g.world.PathOn(host, path)
	return g.fileID(host, key, g.versionAt(fileKey(host, key), t))
}

// file returns the node of a file as a use of it at t finds it, or of the folder
// that the path turned out to be.
func (g *Graph) file(host, path string, t time.Time, refs []event.EvidenceRef) *Node {
	return g.fileNode(g.used(host, path, t), host, path, t, refs)
}

func (g *Graph) fileNode(id NodeID, host, path string, t time.Time, refs []event.EvidenceRef) *Node {
	key := g.world.PathOn(host, path)
	kind := File
	if g.folders[fileKey(host, key)] {
		kind = Folder
	}
	return g.add(id, kind, host, t, refs, func(n *Node) {
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
	n := g.fileNode(g.writeID(w), r.Host, w.path, w.t, w.refs)
	if n == nil {
		return nil, nil
	}
	if !isZoneMark(r.Get("TargetFilename")) {
		n.setAttr("Hashes", r.Get("Hashes"))
	}
	var over *Edge
	if w.session != nil {
		from := g.sessionNode(w.session)
		over = g.link(fact{
			from: from, to: n, verb: Wrote, class: ClassA, skeleton: skeleton, join: "share-write", t: w.t, refs: w.refs,
			corroborates: from != nil && g.edges[edgeKey{from.ID, n.ID, Wrote}] != nil,
		})
	}
	if w.process == nil {
		return n, over
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
	if over != nil {
		return n, over
	}
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
	for _, s := range j.settings {
		if s.action == loads {
			for _, name := range s.names {
				dlls[fileKey(s.record.Host, name)] = true
			}
		}
	}
	hashes := j.hashes()
	// There are more loads than anything else, of the same files again and again,
	// and few are of what anything else speaks of.
	type load struct{ host, path, hashes string }
	keys := map[load]string{} // "" for what nothing speaks of
	for _, r := range j.records {
		if r.Kind != event.ImageLoad {
			continue
		}
		l := load{r.Host, r.Get("ImageLoaded"), r.Get("Hashes")}
		k, known := keys[l]
		if !known {
			key := j.w.PathOn(l.host, l.path)
			k = fileKey(l.host, key)
			letter, ok := world.Letter(key)
			if len(j.written[k]) == 0 && !dlls[k] && (len(hashes) == 0 || hashes[folderHash(l.host, key, l.hashes)] == nil) {
				k = ""
			}
			if k == "" && ok && letter != 'c' {
				// Whether it is on a volume that comes and goes depends on the time.
				if len(j.w.MountAt(r.Host, letter, r.Time)) > 0 {
					k = fileKey(l.host, key)
					j.loads[k] = append(j.loads[k], r)
				}
				continue
			}
			keys[l] = k
		}
		if k != "" {
			j.loads[k] = append(j.loads[k], r)
		}
	}
}

// content picks the strongest hash of a Hashes field ("SHA1=…,MD5=…"), "" if it
// has none.
func contentHash(hashes string) string {
	best, of := "", ""
	for more := hashes != ""; more; {
		var h string
		h, hashes, more = strings.Cut(hashes, ",")
		name, value, ok := strings.Cut(strings.TrimSpace(h), "=")
		switch {
		case !ok || strings.Trim(value, "0") == "":
		case strings.EqualFold(name, "SHA256"):
			return "sha256:" + strings.ToLower(value)
		case best == "" && strings.EqualFold(name, "SHA1"):
			best, of = value, "sha1:"
		case best == "" && strings.EqualFold(name, "MD5"):
			best, of = value, "md5:"
		}
	}
	return of + strings.ToLower(best)
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
		j.took(n)
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
	w := j.lastWrite(host, oldKey, from.Time) // the version that had the content
	if w == nil {
		return nil
	}
	old, _ := j.wrote(w, true)
	n := j.file(host, path, t, cited)
	j.took(old)
	j.took(n)
	j.link(fact{
		from: old, to: n, verb: Renamed, class: ClassB, skeleton: true, join: "same-content",
		t: t, refs: refs([]event.EvidenceRef{from.Ref}, cited),
	})
	return n
}

// took notes that a file took part.
func (j *joiner) took(n *Node) {
	if n != nil {
		j.part[n.ID] = true
	}
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
		for _, key := range j.pathsOf(p) {
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
		}
	}
	for _, r := range j.renames {
		j.renamed(r)
	}
	j.folderEdges()
	j.zoneMarks()
	for _, k := range j.order {
		for i := range j.written[k] {
			w := &j.written[k][i]
			key := j.w.PathOn(w.record.Host, w.path)
			if (w.program || programExts[world.Ext(key)]) && (w.process != nil && !j.hub(w.process) || w.session != nil) {
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
		n := j.nodes[j.made(r.Host, r.Get("TargetFilename"), r.Time)]
		p, _ := j.w.Actor(r)
		if n == nil || p == nil || n.Kind != File || r.Time.Before(n.First.Add(-slack)) {
			continue // not what was deleted, if it came later only
		}
		j.link(fact{
			from: j.process(p), to: n, verb: Deleted, class: ClassA, join: "own-record",
			t: r.Time, refs: []event.EvidenceRef{r.Ref},
		})
	}
}

// emptyHashes are the hashes of no content, which say nothing.
var emptyHashes = map[string]bool{
	"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855": true,
	"sha1:da39a3ee5e6b4b0d3255bfef95601890afd80709":                           true,
	"md5:d41d8cd98f00b204e9800998ecf8427e":                                    true,
}

// copyWindow is how long after its source a copy is written to be taken for one.
const copyWindow = time.Hour

// content is that a file had a content at a time.
type content struct {
	id    NodeID
	t     time.Time
	refs  []event.EvidenceRef
	node  func() *Node
	write bool
	key   string         // match form of its path
	by    *world.Process // who wrote it, nil if nobody is known
}

// copied reports whether the writer of one file had to do with another of the
// same content: it wrote both, is of one tree with who wrote that, runs or loaded
// it, or was told its path. Else two may have brought the same file.
func (j *joiner) copied(from, to content) bool {
	p := to.by
	if p == nil || j.hub(p) && p != from.by {
		return false
	}
	return p == from.by || p.ImageKey() == from.key || slices.Contains(j.pathsOf(p), from.key) ||
		j.edges[edgeKey{from.id, processID(p), Loaded}] != nil || from.by != nil && !j.hub(from.by) && j.treeRoot(p) == j.treeRoot(from.by)
}

// treeRoot is the first process of p's tree that no broker and nobody unknown
// started, at most maxScan steps up.
func (j *joiner) treeRoot(p *world.Process) *world.Process {
	for range maxScan {
		if p.Parent == nil || j.hub(p.Parent) {
			break
		}
		p = p.Parent
	}
	return p
}

// carried adds the contents of files that were brought on a volume: nobody was
// seen to write them, but what ran or loaded them says what was in them.
func (j *joiner) carried(byHash map[string][]content) {
	for _, n := range j.Nodes() {
		if n.Kind != File || !slices.ContainsFunc(j.in[n.ID], func(e *Edge) bool { return e.Verb == Contains && e.Class <= ClassB && j.nodes[e.From].Kind == Volume }) {
			continue
		}
		hash := contentHash(n.Attr("Hashes"))
		for _, e := range j.out[n.ID] {
			if to := j.nodes[e.To]; hash == "" && e.Verb == Executed && to.Kind == Process {
				hash = contentHash(to.Attr("Hashes"))
			}
		}
		if hash != "" && !emptyHashes[hash] && len(n.Evidence) > 0 {
			h := world.HostKey(n.Host) + "|" + hash
			byHash[h] = append(byHash[h], content{
				id: n.ID, t: n.First, refs: n.Evidence[:1], node: func() *Node { return n }, key: j.w.PathOn(n.Host, n.Path),
			})
		}
	}
}

// copies joins a file that was written to the one of the same content that was
// written, or used from a volume, last before it under another name on the same
// host. Of several, each is joined to the one before it, so that all lead to the
// first.
func (j *joiner) copies() {
	byHash := map[string][]content{}
	for _, k := range j.order {
		if j.folders[k] {
			continue
		}
		for i := range j.written[k] {
			if w := &j.written[k][i]; w.hash != "" && !emptyHashes[w.hash] {
				h := world.HostKey(w.record.Host) + "|" + w.hash
				byHash[h] = append(byHash[h], content{
					id: j.writeID(w), t: w.t, refs: w.refs, node: func() *Node { n, _ := j.wrote(w, true); return n },
					write: true, key: j.w.PathOn(w.record.Host, w.path), by: w.process,
				})
			}
		}
	}
	j.carried(byHash)
	for _, h := range sortedKeys(byHash) {
		list := byHash[h]
		slices.SortStableFunc(list, func(a, b content) int {
			return cmp.Or(a.t.Compare(b.t), a.refs[0].Compare(b.refs[0]), strings.Compare(string(a.id), string(b.id)))
		})
		for i, w := range list {
			if !w.write || j.nodes[w.id] == nil {
				continue // nothing came of it
			}
			for n := i - 1; n >= 0 && n >= i-maxScan; n-- {
				x := list[n]
				if x.id == w.id && x.write {
					break // written again
				}
				if x.id == w.id || !x.t.Before(w.t) {
					continue
				}
				// Two products that bring the same library have nothing in common.
				if w.t.Sub(x.t) <= copyWindow && j.copied(x, w) && j.edges[edgeKey{x.id, w.id, Renamed}] == nil {
					j.link(fact{
						from: x.node(), to: w.node(), verb: Copied, class: ClassB, skeleton: true, join: "content-copied",
						t: w.t, refs: refs(x.refs, w.refs),
					})
				}
				break
			}
		}
	}
}

// writeID names the file that a writing made.
func (g *Graph) writeID(w *write) NodeID {
	return g.fileID(w.record.Host, g.world.PathOn(w.record.Host, w.path), w.version)
}

// folderEdges draws the making of folders that hold files which took part.
func (j *joiner) folderEdges() {
	holds := map[string][]*Node{}
	for _, n := range j.Nodes() {
		if n.Kind != File {
			continue
		}
		if j.part[n.ID] {
			k := fileKey(n.Host, world.Dir(j.w.PathOn(n.Host, n.Path)))
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

func isZoneMark(path string) bool { return strings.HasSuffix(strings.ToLower(path), zoneSuffix) }

// zoneMarks notes on files that they came from elsewhere, as their zone mark
// (the alternate stream Zone.Identifier, MS-FSCC 2.1.4 and the Attachment
// Manager) says.
func (j *joiner) zoneMarks() {
	for _, r := range j.records {
		if r.Kind != event.FileStream {
			continue
		}
		path := r.Get("TargetFilename")
		if !isZoneMark(path) {
			continue
		}
		n := j.nodes[j.made(r.Host, path[:len(path)-len(zoneSuffix)], r.Time)]
		if n == nil {
			continue
		}
		contents := r.Get("Contents")
		zone := zoneValue(contents, "ZoneId")
		for _, name := range []string{"HostUrl", "ReferrerUrl"} {
			n.setAttr(name, zoneValue(contents, name))
		}
		if zone == "" && r.Get("Contents") == "" {
			zone = "3" // older Sysmon versions show no contents; the mark itself means "from elsewhere"
		}
		n.setAttr("ZoneId", zone)
		n.Evidence = cite(n.Evidence, r.Ref, MaxNodeEvidence)
		j.unpacked(n, r)
	}
}

// zoneValue returns a value of a zone mark's contents, "" if it has none. Sysmon
// writes the mark's lines into one, with blanks for the ends of lines; a value
// may hold single blanks itself.
func zoneValue(contents, name string) string {
	for from := 0; ; {
		i := strings.Index(contents[from:], name+"=")
		if i < 0 {
			return ""
		}
		i += from
		from = i + len(name) + 1
		if i > 0 && contents[i-1] > ' ' && contents[i-1] != ']' {
			continue // the end of a longer name, or part of an address
		}
		value := contents[from:]
		if end := strings.IndexAny(value, "\r\n"); end >= 0 {
			value = value[:end]
		}
		if end := strings.Index(value, "  "); end >= 0 {
			value = value[:end]
		}
		for _, next := range []string{" ReferrerUrl=", " HostUrl=", " LastWriterPackageFamilyName=", " AppZoneId="} {
			if end := strings.Index(value, next); end >= 0 {
				value = value[:end]
			}
		}
		return strings.TrimRight(value, " ")
	}
}

// unpacked joins a file to the archive it was taken out of: who unpacks a marked
// archive marks what comes out of it, and names the archive where a browser names
// the page.
func (j *joiner) unpacked(n *Node, r *world.Record) {
	archive := n.Attr("ReferrerUrl")
	key := j.w.PathOn(r.Host, archive)
	if _, drive := world.Letter(key); !drive && !strings.HasPrefix(key, `\\`) {
		return
	}
	w := j.lastWrite(r.Host, key, r.Time)
	if w == nil {
		return
	}
	from, _ := j.wrote(w, true)
	if from == nil || from.ID == n.ID {
		return
	}
	j.took(from)
	j.link(fact{
		from: from, to: n, verb: Contains, class: ClassB, skeleton: true, join: "zone-archive",
		t: r.Time, refs: refs(w.refs, []event.EvidenceRef{r.Ref}),
	})
}

// renamed draws a recorded rename, as the sensor has it: of a program, script or
// shortcut, by its name before or after, or of a file that took part.
func (j *joiner) renamed(r *world.Record) {
	src, target := r.Get("SourceFilename"), r.Get("TargetFilename")
	if src == "" || target == "" {
		return
	}
	before, after := j.w.PathOn(r.Host, src), j.w.PathOn(r.Host, target)
	to := j.made(r.Host, target, r.Time)
	if !programExts[world.Ext(before)] && !programExts[world.Ext(after)] && !strings.EqualFold(r.Get("IsExecutable"), "true") && !j.part[to] {
		return
	}
	cited := []event.EvidenceRef{r.Ref}
	var from *Node
	if w := j.lastWrite(r.Host, before, r.Time.Add(-time.Nanosecond)); w != nil {
		from, _ = j.wrote(w, true)
	} else {
		from = j.fileNode(j.made(r.Host, src, r.Time), r.Host, src, r.Time, cited)
	}
	n := j.fileNode(to, r.Host, target, r.Time, cited)
	j.link(fact{
		from: from, to: n, verb: Renamed, class: ClassA, skeleton: true,
		join: "own-record", t: r.Time, refs: cited,
	})
	if j.part[to] {
		j.took(from)
	}
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
