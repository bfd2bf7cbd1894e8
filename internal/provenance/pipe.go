package provenance

import (
	"regexp"
	"strconv"
	"strings"

	"ashiato/internal/event"
	"ashiato/internal/world"
)

// maxClients is how many processes may connect to a pipe before it is taken for
// a service's that everything uses: then it says nothing about any of them.
const maxClients = 4

func pipeKey(r *world.Record) string {
	return world.HostKey(r.Host) + "|" + world.PipeKey(r.Get("PipeName"))
}

// pipeHandoffs join the two ends of a named pipe: the client made the server do
// what it did for it. If several made a pipe of the name, which one the client
// reached is a guess.
var pipeHandoffs = []handoff{{
	row: 15, join: "pipe-name", verb: Connected, class: ClassA, reverse: true,
	causes: func(j *joiner, yield func(half)) {
		clients := map[string]map[*world.Process]bool{}
		for _, r := range j.records {
			if r.Kind != event.PipeConnect {
				continue
			}
			if p, _ := j.w.Actor(r); p != nil {
				k := pipeKey(r)
				if clients[k] == nil {
					clients[k] = map[*world.Process]bool{}
				}
				if len(clients[k]) <= maxClients {
					clients[k][p] = true
				}
			}
		}
		type instance struct {
			name   string
			server *world.Process
		}
		made := map[instance]bool{}
		for _, r := range j.records {
			if r.Kind != event.PipeCreate {
				continue
			}
			if n := len(clients[pipeKey(r)]); n == 0 || n > maxClients {
				continue
			}
			// One process may make many instances of a pipe.
			if p, _ := j.w.Actor(r); p != nil && !made[instance{pipeKey(r), p}] {
				made[instance{pipeKey(r), p}] = true
				until := p.End
				if !until.IsZero() {
					until = until.Add(slack)
				}
				yield(half{
					key: pipeKey(r), t: r.Time, until: until, refs: []event.EvidenceRef{r.Ref},
					node: func() *Node { return j.process(p) },
				})
			}
		}
	},
	effects: func(j *joiner, yield func(half)) {
		for _, r := range j.records {
			if r.Kind != event.PipeConnect {
				continue
			}
			if p, _ := j.w.Actor(r); p != nil {
				yield(half{
					key: pipeKey(r), t: r.Time, refs: []event.EvidenceRef{r.Ref},
					node: func() *Node { return j.process(p) },
				})
			}
		}
	},
}, {
	// A remote execution tool's service names its pipes after the machine and the
	// process that it serves. Its own process may say what it likes, so the other
	// one must have named a machine too, as who runs such a tool does.
	row: 15, join: "pipe-client", verb: Connected, class: ClassB, skew: maxSkew, lasting: true,
	causes: func(j *joiner, yield func(half)) {
		served := map[string]bool{}
		for _, r := range j.records {
			if _, host, pid := j.servedClient(r); host != "" {
				served[clientKey(host, pid)] = true
			}
		}
		if len(served) == 0 {
			return
		}
		for _, p := range j.processes {
			k := clientKey(world.HostKey(p.Host), p.PID)
			if p.Implied || !served[k] || !strings.Contains(p.CommandLine, `\\`) {
				continue
			}
			until := p.End
			if !until.IsZero() {
				until = until.Add(maxSkew)
			}
			yield(half{key: k, t: p.Start, until: until, refs: p.Evidence, node: func() *Node { return j.process(p) }})
		}
	},
	effects: func(j *joiner, yield func(half)) {
		for _, r := range j.records {
			if server, host, pid := j.servedClient(r); host != "" {
				yield(half{key: clientKey(host, pid), t: r.Time, refs: []event.EvidenceRef{r.Ref}, node: func() *Node { return j.process(server) }})
			}
		}
	},
}}

func clientKey(host string, pid uint32) string {
	return host + "|" + strconv.FormatUint(uint64(pid), 10)
}

// servedClient returns of a record of a pipe that was made who made it, and the
// match form of the host and the id of the process that its name says it is for;
// "" if it says none.
func (j *joiner) servedClient(r *world.Record) (server *world.Process, host string, pid uint32) {
	if r.Kind != event.PipeCreate {
		return nil, "", 0
	}
	p, _ := j.w.Actor(r)
	if p == nil {
		return nil, "", 0
	}
	name, pid := pipeClient(r.Get("PipeName"), r.Get("Image"))
	if name == "" {
		return nil, "", 0
	}
	return p, j.machine(name, r.Host), pid
}

var clientPipe = regexp.MustCompile(`^(.+)-([1-9][0-9]{0,9})-std(?:in|out|err)$`)

// pipeClient reads the name of a pipe that PsExec's service and those like it make
// for the input and output of what they run, SERVICE-MACHINE-PID-stdin: SERVICE is
// the name of the service's program, whatever it was renamed to.
func pipeClient(pipe, image string) (machine string, pid uint32) {
	key := world.PipeKey(pipe)
	if !strings.Contains(key, "-std") { // of most
		return "", 0
	}
	m := clientPipe.FindStringSubmatch(key)
	if m == nil {
		return "", 0
	}
	service := strings.ToLower(world.Base(image))
	service = strings.TrimSuffix(service, world.Ext(service))
	machine, ok := strings.CutPrefix(m[1], service+"-")
	id, err := strconv.ParseUint(m[2], 10, 32)
	if !ok || service == "" || err != nil {
		return "", 0
	}
	return machine, uint32(id)
}
