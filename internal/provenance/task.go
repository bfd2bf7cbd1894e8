package provenance

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"ashiato/internal/event"
	"ashiato/internal/world"
)

// taskHandoffs are hand-offs of the Task Scheduler beside those of tasks(): what
// its records of a start tell when they name no process.
var taskHandoffs = []handoff{
	{
		row: 4, join: "task-start", verb: RanAs, class: ClassB, within: startWindow, skew: startWindow,
		causes: func(j *joiner, yield func(half)) {
			for _, t := range j.w.Tasks() {
				for _, r := range t.Begins {
					program, _ := world.SplitCommand(cmp.Or(r.Get("Path"), r.Get("ActionName")))
					key := world.PathKey(program)
					if world.Ext(key) != ".exe" {
						continue // the name of a COM handler
					}
					yield(half{key: fileKey(t.Host, key), t: r.Time, refs: []event.EvidenceRef{r.Ref}, node: func() *Node {
						return j.task(t.Host, t.Name, r.Time, []event.EvidenceRef{r.Ref})
					}})
				}
			}
		},
		effects: func(j *joiner, yield func(half)) {
			for _, p := range j.processes {
				if p.Implied || !scheduled(p) || j.ranByUnit(p) {
					continue
				}
				// A task that names its program without a folder has the record
				// do so too.
				for _, key := range []string{p.ImageKey(), world.Base(p.ImageKey())} {
					yield(half{key: fileKey(p.Host, key), t: p.Start, refs: p.Evidence, node: func() *Node { return j.process(p) }})
				}
			}
		},
	},
}

// startWindow is how far the scheduler's record of a start may be from the
// process's own; shippers cut the time to whole seconds.
const startWindow = 2 * time.Second

// scheduled reports whether the Task Scheduler may have started p: its parent is
// the service's process, or a task engine of Windows 7.
func scheduled(p *world.Process) bool {
	if p.Parent == nil {
		return false
	}
	switch p.Parent.ImageKey() {
	case `c:\windows\system32\taskeng.exe`:
		return true
	case `c:\windows\system32\svchost.exe`:
		cmd := strings.ToLower(p.Parent.CommandLine)
		return cmd == "" || strings.Contains(cmd, "schedule") || strings.Contains(cmd, "netsvcs") && !strings.Contains(cmd, " -s ")
	}
	return false
}

// ranByUnit reports whether a unit is known already to have run p.
func (j *joiner) ranByUnit(p *world.Process) bool {
	return slices.ContainsFunc(j.in[processID(p)], func(e *Edge) bool { return e.Verb == RanAs && e.Class <= ClassB })
}

// handled is that a task's COM handler was loaded by a host process of the
// scheduler's.
type handled struct {
	task    *world.Task
	process *world.Process
	refs    []event.EvidenceRef
	t       time.Time
}

// handlers finds the processes that ran tasks whose action is a COM class: those
// that loaded the module which the registry was told to use for the class.
func (j *joiner) handlers() []handled {
	modules := map[string][]*world.Record{} // host|class → its registrations
	for _, r := range j.records {
		if r.Kind == event.RegistrySet {
			if class, ok := serverModule(r.Get("TargetObject")); ok && r.Get("Details") != "" {
				k := fileKey(r.Host, class)
				modules[k] = append(modules[k], r)
			}
		}
	}
	if len(modules) == 0 {
		return nil
	}
	type registration struct {
		task   *world.Task
		record *world.Record
	}
	wanted := map[string][]registration{} // host|module
	for _, t := range j.w.Tasks() {
		for _, class := range slices.Compact(slices.Sorted(slices.Values(t.Handlers))) {
			for _, r := range modules[fileKey(t.Host, class)] {
				k := fileKey(t.Host, world.PathKey(r.Get("Details")))
				wanted[k] = append(wanted[k], registration{t, r})
			}
		}
	}
	if len(wanted) == 0 {
		return nil
	}
	var all []handled
	for _, r := range j.records {
		if r.Kind != event.ImageLoad {
			continue
		}
		list := wanted[fileKey(r.Host, world.PathKey(r.Get("ImageLoaded")))]
		for _, w := range list[:min(len(list), maxGuesses)] {
			p, _ := j.w.Actor(r)
			if p == nil || !scheduled(p) || r.Time.Before(w.record.Time.Add(-slack)) {
				continue
			}
			all = append(all, handled{w.task, p, []event.EvidenceRef{w.record.Ref, r.Ref}, r.Time})
		}
	}
	return all
}

// serverModule reads a registry path …\CLSID\<class>\InprocServer32\(Default),
// which names the module of a COM class. The class is in lower case.
func serverModule(object string) (class string, ok bool) {
	parts := strings.Split(strings.ToLower(object), `\`)
	n := len(parts)
	if n < 4 || parts[n-1] != "(default)" || parts[n-2] != "inprocserver32" || parts[n-4] != "clsid" {
		return "", false
	}
	return parts[n-3], true
}

// handledTasks draws what tasks with a COM handler ran. The class of each is sure
// only where no other task has the same one.
func (j *joiner) handledTasks() {
	for _, h := range j.ranHandlers {
		class := ClassB
		if !j.units[h.process] {
			class = ClassC
		}
		j.link(fact{
			from: j.task(h.task.Host, h.task.Name, h.t, h.refs), to: j.process(h.process), verb: RanAs, class: class, skeleton: true,
			join: "task-handler", t: h.t, refs: h.refs,
		})
	}
}
