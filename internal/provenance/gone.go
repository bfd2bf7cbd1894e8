package provenance

import (
	"strings"
	"time"

	"ashiato/internal/event"
	"ashiato/internal/world"
)

// gone notes on files, units and registry values that they were deleted, or got
// another name, unless
// they were made again after that: what is gone need not be cleaned up. An
// overwriting is recorded as a deletion and a writing at the same time.
func (j *joiner) gone() {
	ends := map[NodeID]time.Time{}
	end := func(id NodeID, t time.Time) {
		if have, ok := ends[id]; !ok || t.After(have) {
			ends[id] = t
		}
	}
	var keys []*world.Record // deletions in the registry
	for _, r := range j.records {
		switch r.Kind {
		case event.FileRename:
			if !isDirectory(r) {
				end(j.made(r.Host, r.Get("SourceFilename"), r.Time.Add(-time.Nanosecond)), r.Time)
			}
		case event.FileDelete:
			end(j.made(r.Host, r.Get("TargetFilename"), r.Time), r.Time)
		case event.TaskDelete:
			if name := r.Get("TaskName"); name != "" {
				end(id(Task, r.Host, strings.ToLower(world.TaskName(name))), r.Time)
			}
		case event.RegistryDelete:
			keys = append(keys, r)
		}
	}
	if len(keys) > 0 {
		j.goneKeys(keys, end)
	}
	for id, t := range ends {
		n := j.nodes[id]
		if n == nil || t.Before(n.First) {
			continue
		}
		again := false
		for _, e := range j.in[id] {
			switch e.Verb {
			case Wrote, Renamed, Copied, Created, Registered, Configured:
				again = again || !e.Last.Before(t)
			}
		}
		if !again {
			n.Ended = t
		}
	}
}

// goneKeys finds the values and services whose key, or a key above it, was
// deleted.
func (j *joiner) goneKeys(deletions []*world.Record, end func(NodeID, time.Time)) {
	byHost := map[string][]*world.Record{}
	for _, r := range deletions {
		byHost[world.HostKey(r.Host)] = append(byHost[world.HostKey(r.Host)], r)
	}
	for id, n := range j.nodes {
		var path string
		switch n.Kind {
		case RegistryValue:
			path = strings.ToLower(n.Path)
		case Service:
			path = `\services\` + strings.ToLower(n.Path)
		default:
			continue
		}
		for _, r := range byHost[world.HostKey(n.Host)] {
			key := strings.ToLower(r.Get("TargetObject"))
			var hit bool
			if n.Kind == Service {
				hit = strings.HasSuffix(key, path)
			} else {
				hit = key != "" && (path == key || strings.HasPrefix(path, key+`\`))
			}
			if hit {
				end(id, r.Time)
			}
		}
	}
}

// EndRecorded reports whether the end of a process would be recorded: a log that
// shows the process shows the ends of others of its host. Where it does not, that
// no end is recorded says nothing.
func (g *Graph) EndRecorded(n *Node) bool {
	if g.endings == nil {
		g.endings = map[string]bool{}
		for _, r := range g.world.Records() {
			if r.Kind == event.ProcessTerminate {
				g.endings[fileKey(r.Host, strings.ToLower(r.Ref.Channel))] = true
			}
		}
	}
	for _, r := range n.Evidence {
		if g.endings[fileKey(n.Host, strings.ToLower(r.Channel))] {
			return true
		}
	}
	return false
}
