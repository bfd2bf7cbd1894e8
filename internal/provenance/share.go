package provenance

import (
	"slices"
	"sort"
	"strings"
	"time"

	"ashiato/internal/event"
	"ashiato/internal/world"
)

// shareFile returns the local path of the file that a 5145 record shows to be
// written over a share. sure is false if where the share lies is not known; the
// path is then what comes after it.
func (g *Graph) shareFile(r *world.Record) (path string, sure bool) {
	target := strings.TrimLeft(r.Get("RelativeTargetName"), `\`)
	if target == "" || !world.ShareWrites(r.Number("AccessMask")) || strings.HasSuffix(strings.ToLower(r.Get("ShareName")), `\ipc$`) {
		return "", false
	}
	folder := strings.TrimPrefix(r.Get("ShareLocalPath"), `\??\`)
	if folder == "" {
		folder = g.shareFolder(r.Host, r.Get("ShareName"), r.Time)
	}
	if folder == "" {
		return target, false
	}
	if !strings.HasSuffix(folder, `\`) {
		folder += `\`
	}
	return folder + target, true
}

func shareName(name string) string {
	return strings.ToLower(name[strings.LastIndexByte(name, '\\')+1:])
}

// shareFolder finds the folder of a share: Windows' own administrative shares
// are always the same, others are as they were made (5142, 5143).
func (g *Graph) shareFolder(host, share string, t time.Time) string {
	name := shareName(share)
	switch {
	case name == "admin$":
		return `C:\Windows`
	case len(name) == 2 && name[1] == '$' && name[0] >= 'a' && name[0] <= 'z':
		return strings.ToUpper(name[:1]) + `:\`
	}
	made := g.shares[world.HostKey(host)+"|"+name]
	if len(made) == 0 {
		return ""
	}
	i := sort.Search(len(made), func(i int) bool { return made[i].Time.After(t.Add(slack)) })
	return strings.TrimPrefix(made[max(i-1, 0)].Get("ShareLocalPath"), `\??\`)
}

// indexShares collects how shares were made, by host and name.
func (j *joiner) indexShares() {
	j.shares = map[string][]*world.Record{}
	for _, r := range j.records {
		if r.Kind == event.ShareChange && r.Get("ShareLocalPath") != "" {
			k := world.HostKey(r.Host) + "|" + shareName(r.Get("ShareName"))
			j.shares[k] = append(j.shares[k], r)
		}
	}
}

// suffixes calls f with every tail of a path that begins after a separator, the
// longest first, at most maxDepth of them.
func suffixes(key string, f func(string)) {
	const maxDepth = 16
	rest := key
	for range maxDepth {
		i := strings.IndexByte(rest, '\\')
		if i < 0 {
			return
		}
		rest = rest[i+1:]
		if rest != "" {
			f(rest)
		}
	}
}

// sharePaths are the match forms of the paths on other machines that a command
// line names.
func sharePaths(cmd string) []string {
	if !strings.Contains(cmd, `\\`) {
		return nil
	}
	var paths []string
	for _, path := range pathsIn(cmd, "") {
		if strings.HasPrefix(path, `\\`) && !slices.Contains(paths, path) {
			paths = append(paths, path)
		}
	}
	return paths
}

// shareHandoffs are what is handed over by SMB: files over a share, and requests
// to the service manager over its pipe. (That a write over a share whose folder
// is known makes a file is no join but said by the record, see indexFiles.)
var shareHandoffs = []handoff{
	{
		// Where the share lies is not known: the file that the kernel wrote then
		// and whose path ends like that may be it.
		row: 20, join: "share-name", verb: Wrote, class: ClassC, within: shareLag, skew: shareLag,
		causes: func(j *joiner, yield func(half)) {
			for _, r := range j.records {
				if r.Kind != event.ShareAccess {
					continue
				}
				target, sure := j.shareFile(r)
				if s := j.sessionOf(r); s != nil && !sure && target != "" {
					yield(half{
						key: fileKey(r.Host, world.PathKey(target)), t: r.Time, refs: []event.EvidenceRef{r.Ref},
						node: func() *Node { return j.sessionNode(s) },
					})
				}
			}
		},
		effects: func(j *joiner, yield func(half)) {
			for _, k := range j.order {
				for i := range j.written[k] {
					w := &j.written[k][i]
					if w.session != nil || w.process == nil || w.process.ImageKey() != "system" {
						continue
					}
					suffixes(j.w.PathOn(w.record.Host, w.path), func(tail string) {
						yield(half{
							key: fileKey(w.record.Host, tail), t: w.t, refs: w.refs,
							node: func() *Node { n, _ := j.wrote(w, true); return n },
						})
					})
				}
			}
		},
	},
	{
		// A command line names the file as it lies on the other machine, and the
		// kernel there wrote it, as it does for shares. Only where no record of the
		// share says on whose behalf.
		row: 20, join: "share-path", verb: Wrote, class: ClassB, within: maxSkew, skew: maxSkew,
		causes: func(j *joiner, yield func(half)) {
			named := map[*world.Process]map[string]bool{} // what children name is theirs
			paths := map[*world.Process][]string{}
			for _, p := range j.processes {
				if p.Implied {
					continue
				}
				for _, path := range sharePaths(p.CommandLine) {
					paths[p] = append(paths[p], path)
					if named[p.Parent] == nil {
						named[p.Parent] = map[string]bool{}
					}
					named[p.Parent][path] = true
				}
			}
			for _, p := range j.processes {
				for _, path := range paths[p] {
					if named[p][path] {
						continue
					}
					name, rest, _ := strings.Cut(path[2:], `\`)
					share, rest, ok := strings.Cut(rest, `\`)
					host := j.machine(name, p.Host)
					if !ok || rest == "" || host == "" || host == world.HostKey(p.Host) {
						continue
					}
					folder := j.shareFolder(host, share, p.Start)
					if folder == "" {
						continue
					}
					yield(half{
						key: fileKey(host, world.PathKey(strings.TrimSuffix(folder, `\`)+`\`+rest)), t: p.Start, refs: p.Evidence,
						node: func() *Node { return j.process(p) },
					})
				}
			}
		},
		effects: func(j *joiner, yield func(half)) {
			for _, k := range j.order {
				for i := range j.written[k] {
					w := &j.written[k][i]
					if w.session != nil || w.process == nil || w.process.ImageKey() != "system" {
						continue
					}
					yield(half{
						key: fileKey(w.record.Host, j.w.PathOn(w.record.Host, w.path)), t: w.t, refs: w.refs,
						node: func() *Node { n, _ := j.wrote(w, true); return n },
					})
				}
			}
		},
	},
	{
		// A service of which no record says who registered it, while someone
		// elsewhere held the service manager's pipe open.
		row: 3, join: "control-pipe", verb: Registered, class: ClassC, within: claimWindow,
		causes: func(j *joiner, yield func(half)) {
			for _, r := range j.records {
				if r.Kind != event.ShareAccess {
					continue
				}
				pipe := world.ControlPipe(r.Get("ShareName"), r.Get("RelativeTargetName"))
				if s := j.sessionOf(r); s != nil && pipe != "" {
					yield(half{
						key: world.HostKey(r.Host) + "|" + pipe, t: r.Time, refs: []event.EvidenceRef{r.Ref},
						node: func() *Node { return j.sessionNode(s) },
					})
				}
			}
		},
		effects: func(j *joiner, yield func(half)) {
			for _, s := range j.w.Services() {
				first := s.Installs[0]
				n := j.nodes[j.serviceID(s.Host, s.Name, first.Time)]
				if n == nil || j.registered(n) {
					continue
				}
				yield(half{
					key: world.HostKey(s.Host) + "|svcctl", t: first.Time, refs: []event.EvidenceRef{first.Ref},
					node: func() *Node { return n },
				})
			}
			for _, t := range j.w.Tasks() {
				if len(t.Registers) == 0 {
					continue
				}
				n := j.nodes[id(Task, t.Host, t.Key())]
				if n == nil || j.registered(n) {
					continue
				}
				first := t.Registers[0]
				yield(half{
					key: world.HostKey(t.Host) + "|atsvc", t: first.Time, refs: []event.EvidenceRef{first.Ref},
					node: func() *Node { return n },
				})
			}
		},
	},
}

// registered reports whether it is known who registered or changed a unit.
func (j *joiner) registered(n *Node) bool {
	for _, e := range j.in[n.ID] {
		if from := j.nodes[e.From]; (e.Verb == Registered || e.Verb == Configured) && e.Class <= ClassB && from.Kind != File && !from.Hub {
			return true
		}
	}
	return false
}
