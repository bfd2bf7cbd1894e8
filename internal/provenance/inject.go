package provenance

import (
	"strings"
	"time"

	"ashiato/internal/event"
	"ashiato/internal/world"
)

// maxOpened is how many processes one may open with rights to write before it is
// taken for a tool that looks into everything, such as a crash handler.
const maxOpened = 16

// debuggers open what crashed, or what they are asked to show.
var debuggers = map[string]bool{
	`c:\windows\system32\werfault.exe`: true, `c:\windows\syswow64\werfault.exe`: true, `c:\windows\system32\wermgr.exe`: true,
	`c:\windows\system32\taskmgr.exe`: true,
}

// allRights to a process are what whoever starts it gets, and hardly anyone asks
// for else.
const allRights = 0x1fffff

// newOpen is how far a process's start may be from the record of its being
// opened for that.
const newOpen = 2 * time.Second

// starting reports whether a record of an open process may be of its start, or
// of another one's that was given the same id: Sysmon finds the target by its
// process id, before it knows of the new owner.
func (j *joiner) starting(r *world.Record, to *world.Process) bool {
	if now := j.w.At(r.Host, to.PID, r.Time.Add(newOpen)); now != to {
		return true
	}
	if r.Number("GrantedAccess")&allRights != allRights {
		return false
	}
	return !to.Implied && r.Time.Sub(to.Start) <= newOpen
}

// accesses joins a process to those that it opened with the rights to put code
// there (Sysmon 10), and a process whose image was replaced (Sysmon 25) to the
// one that started it.
func (j *joiner) accesses() {
	each := func(f func(r *world.Record, from, to *world.Process)) {
		for _, r := range j.records {
			if r.Kind != event.ProcessAccess {
				continue
			}
			from := j.w.ByGUID(r.Host, r.Get("SourceProcessGuid"))
			to := j.w.ByGUID(r.Host, r.Get("TargetProcessGuid"))
			// Whoever starts a process has every right to it.
			if from == nil || to == nil || from == to || to.Parent == from || from.Parent == to || debuggers[from.ImageKey()] || j.hub(from) || j.starting(r, to) {
				continue
			}
			f(r, from, to)
		}
	}
	targets := map[*world.Process]map[*world.Process]bool{}
	each(func(_ *world.Record, from, to *world.Process) {
		if targets[from] == nil {
			targets[from] = map[*world.Process]bool{}
		}
		targets[from][to] = true
	})
	each(func(r *world.Record, from, to *world.Process) {
		if len(targets[from]) > maxOpened {
			return
		}
		j.link(fact{
			from: j.process(from), to: j.process(to), verb: Accessed, class: ClassA,
			// A process of which this is the first that is heard may be new as well.
			skeleton: !to.Implied || r.Time.Sub(to.First) > newOpen || r.Number("GrantedAccess")&allRights != allRights,
			join:     "write-access", t: r.Time, refs: []event.EvidenceRef{r.Ref},
		})
	})
	for _, r := range j.records {
		if r.Kind == event.ProcessTamper {
			j.tampered(r)
		}
	}
}

// newborn is how soon after its start a process's image is replaced by whoever
// started it.
const newborn = 10 * time.Second

// hollowed finds processes whose image was replaced as they were started, those
// of a broker that something else started than what starts brokers, service hosts
// that plant programs on sticks, and those whose own image is signed by another
// than Windows' maker: such a one is what its parent made it, not the broker whose program it seems to run.
func (j *joiner) hollowed() {
	for _, p := range j.processes {
		if j.astray(p) {
			j.units[p] = true
		}
	}
	for _, r := range j.records {
		switch r.Kind {
		case event.ProcessTamper:
			if p := j.newborn(r); p != nil && !j.hub(p.Parent) {
				j.units[p] = true
			}
		case event.ImageLoad:
			if p := j.foreign(r); p != nil {
				j.units[p] = true
			}
		case event.FileCreate, event.FileAccess:
			if p := j.planting(r); p != nil {
				j.units[p] = true
			}
		}
	}
}

// planting returns the service host that a record shows to put a shortcut, script
// or program on a removable volume, else nil. No service of Windows does: what it
// hosts acts for itself, even where no record tells what that is.
func (j *joiner) planting(r *world.Record) *world.Process {
	if !planted(r) {
		return nil
	}
	p, _ := j.w.Actor(r)
	if p == nil || world.Base(p.ImageKey()) != "svchost.exe" {
		return nil
	}
	if r.Kind == event.FileAccess {
		return p
	}
	key := j.w.PathOn(r.Host, r.Get("TargetFilename"))
	if l, ok := world.Letter(key); !ok || len(j.w.MountAt(r.Host, l, r.Time)) == 0 {
		return nil
	}
	return p
}

// planted reports whether a record shows that something which can be started was
// written to what may be a removable volume.
func planted(r *world.Record) bool {
	if r.Kind != event.FileCreate && r.Kind != event.FileAccess {
		return false
	}
	key := world.PathKey(r.Get("TargetFilename"))
	if !plantable[world.Ext(key)] {
		return false
	}
	if r.Kind == event.FileAccess {
		return r.Task == removable && r.ID != 4656 && r.Number("AccessMask")&rightWriteData != 0
	}
	l, ok := world.Letter(key)
	return ok && l != 'c'
}

// plantable are the extensions of what a double click starts.
var plantable = map[string]bool{
	".lnk": true, ".exe": true, ".scr": true, ".com": true, ".pif": true, ".bat": true, ".cmd": true, ".ps1": true,
	".vbs": true, ".vbe": true, ".js": true, ".jse": true, ".wsf": true, ".hta": true,
}

// foreign returns the process that a record shows to run, in the place of one of
// Windows' own programs, one that another maker signed; else nil. That a
// signature was not found says nothing: Windows keeps most of its own apart from
// the files, and Sysmon does not always find them.
func (j *joiner) foreign(r *world.Record) *world.Process {
	if !foreignBroker(r) {
		return nil
	}
	if p, _ := j.w.Actor(r); p != nil && p.ImageKey() == world.PathKey(r.Get("ImageLoaded")) {
		return p
	}
	return nil
}

// foreignBroker reports whether a record shows that another maker than Windows'
// signed the file in the place of a broker.
func foreignBroker(r *world.Record) bool {
	maker := strings.ToLower(r.Get("Signature"))
	return strings.EqualFold(r.Get("Signed"), "true") && maker != "" && !strings.HasPrefix(maker, "microsoft ") &&
		begetters[world.PathKey(r.Get("ImageLoaded"))] != nil
}

// newborn returns the process that a record of tampering is about if it had just
// been started by a known one, else nil.
func (g *Graph) newborn(r *world.Record) *world.Process {
	p, _ := g.world.Actor(r)
	if p == nil || p.Parent == nil || p.Implied || r.Time.Sub(p.Start) > newborn {
		return nil
	}
	return p
}

// tampered draws that a process's image was replaced. The record does not say by
// whom; moments after its start only its parent has a handle to it.
func (g *Graph) tampered(r *world.Record) *Edge {
	p := g.newborn(r)
	if p == nil {
		return nil
	}
	cited := []event.EvidenceRef{r.Ref}
	var again bool
	if e := g.edges[edgeKey{processID(p.Parent), processID(p), Injected}]; e != nil {
		again = true
	}
	return g.link(fact{
		from: g.process(p.Parent), to: g.process(p), verb: Injected, class: ClassB, skeleton: true,
		join: "newborn-tampered", t: r.Time, refs: refs(cited, p.Evidence), corroborates: again,
	})
}
