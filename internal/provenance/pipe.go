package provenance

import (
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
}}
