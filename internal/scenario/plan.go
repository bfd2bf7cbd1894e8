package scenario

import (
	"cmp"
	"container/heap"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// maxTasks bounds what one scenario can make happen.
const maxTasks = 2_000_000

// task is one step waiting for its time.
type task struct {
	at    time.Time
	order int
	step  *step
	n     int
	host  *host
	scope *scope
	label Label
	vars  map[string]string
	aside bool     // part of the background, which keeps its own pace
	ends  *process // for the end of a process that was given its life's length
}

// scope holds the handles of the attack, or of one background activity.
type scope struct {
	procs  map[handleKey]*process
	logons map[handleKey]*logon
	epochs map[*host]int // the boot of each host in which it began there
}

// handleKey is a handle on a host: each host has its own.
type handleKey struct {
	host   *host
	handle string
}

func newScope() *scope {
	return &scope{procs: map[handleKey]*process{}, logons: map[handleKey]*logon{}, epochs: map[*host]int{}}
}

type queue []*task

func (q queue) Len() int { return len(q) }

func (q queue) Less(i, j int) bool {
	return cmp.Or(q[i].at.Compare(q[j].at), cmp.Compare(q[i].order, q[j].order)) < 0
}

func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }

func (q *queue) Push(x any) { *q = append(*q, x.(*task)) }

func (q *queue) Pop() any {
	old := *q
	t := old[len(old)-1]
	*q = old[:len(old)-1]
	return t
}

// planSteps gives the scenario's own steps their times.
func (b *builder) planSteps() error {
	own := newScope()
	rng := rand.New(rand.NewPCG(b.s.seed, streamOrder))
	var tasks []*task
	at := b.s.start
	var plan func(steps []*step) error
	plan = func(steps []*step) error {
		for _, st := range steps {
			if st.steps != nil {
				group := slices.Clone(st.steps)
				if b.s.shuffle && st.free {
					rng.Shuffle(len(group), func(i, j int) { group[i], group[j] = group[j], group[i] })
				}
				if err := plan(group); err != nil {
					return err
				}
				continue
			}
			id, err := expand(st.place, st.host, b.builtin)
			if err != nil {
				return err
			}
			if id == "" && len(b.hosts) == 1 {
				id = b.hosts[0].id
			}
			h := b.hostByID[id]
			if h == nil {
				return st.errorf("unknown host %q: name it with a line \"on HOST\" before the step", id)
			}
			if st.at {
				at = b.s.start
			}
			at = at.Add(b.stretched(st.delay))
			label := st.label
			label.Verb, label.Line = st.verb.name, st.line
			for n := range st.times {
				if n > 0 {
					at = at.Add(b.stretched(st.every))
				}
				if len(tasks) >= maxTasks {
					return st.errorf("more than %d steps to take", maxTasks)
				}
				tasks = append(tasks, &task{at: at, step: st, n: n + 1, host: h, scope: own, label: label})
			}
		}
		return nil
	}
	if err := plan(b.s.steps); err != nil {
		return err
	}
	b.warp = newWarp(b.s, tasks)
	for _, t := range tasks {
		t.at = b.warp.at(t.at)
		if err := b.push(t); err != nil {
			return err
		}
	}
	return nil
}

// warp moves the times of a scenario's own steps, all in the same way, so that
// what came after something still does.
type warp struct {
	from, to []time.Time
}

// newWarp draws a factor for each pause between two steps.
func newWarp(s *Scenario, tasks []*task) *warp {
	w := &warp{}
	if s.jitter == 0 {
		return w
	}
	for _, t := range tasks {
		w.from = append(w.from, t.at)
	}
	slices.SortFunc(w.from, time.Time.Compare)
	w.from = slices.CompactFunc(w.from, time.Time.Equal)
	rng := rand.New(rand.NewPCG(s.seed, streamJitter))
	last, now := s.start, s.start
	for _, at := range w.from {
		factor := 1 + s.jitter*(2*rng.Float64()-1)
		// Not less than a millisecond, which is what Sysmon can tell apart.
		pause := at.Sub(last)
		now = now.Add(max(min(pause, time.Millisecond), time.Duration(float64(pause)*factor)))
		w.to = append(w.to, now)
		last = at
	}
	return w
}

// at is what becomes of a time.
func (w *warp) at(t time.Time) time.Time {
	i, found := slices.BinarySearchFunc(w.from, t, time.Time.Compare)
	switch {
	case found:
		return w.to[i]
	case i == 0:
		return t
	case i == len(w.from):
		return w.to[i-1].Add(t.Sub(w.from[i-1]))
	}
	share := float64(t.Sub(w.from[i-1])) / float64(w.from[i].Sub(w.from[i-1]))
	return w.to[i-1].Add(time.Duration(share * float64(w.to[i].Sub(w.to[i-1]))))
}

// back is the time that became t.
func (w *warp) back(t time.Time) time.Time {
	return (&warp{from: w.to, to: w.from}).at(t)
}

// hostOf is the host that an activity's step names.
func (b *builder) hostOf(st *step, vars lookup) (*host, error) {
	id, err := expand(st.place, st.host, vars)
	if err != nil {
		return nil, err
	}
	if h := b.hostByID[id]; h != nil {
		return h, nil
	}
	return nil, st.errorf("unknown host %q", id)
}

func (b *builder) stretched(d time.Duration) time.Duration {
	return time.Duration(float64(d) * b.s.stretch)
}

func (b *builder) push(t *task) error {
	if b.tasks++; b.tasks > maxTasks {
		return t.step.errorf("more than %d steps to take", maxTasks)
	}
	b.order++
	t.order = b.order
	heap.Push(&b.queue, t)
	return nil
}

// planBackground strews activities over the time of the background until they
// leave at least the wanted number of records, counted over all logs: the same
// people do the same things whichever logs are kept.
func (b *builder) planBackground() error {
	g := &b.s.background
	if g.count == 0 {
		return nil
	}
	hosts := b.hosts
	if len(g.hosts) > 0 {
		hosts = nil
		for _, id := range g.hosts {
			if b.hostByID[id] == nil {
				return g.errorf("unknown host %q", id)
			}
			hosts = append(hosts, b.hostByID[id])
		}
	}
	var choices []*activity
	total := 0
	for _, a := range b.lib.activities {
		wanted := a.set == "" || slices.Contains(g.with, a.set)
		some := slices.ContainsFunc(hosts, func(h *host) bool { return h.linux == a.linux })
		if wanted && some && !slices.Contains(g.without, a.name) && (!a.peer || len(hosts) > 1) {
			choices = append(choices, a)
			total += a.weight
		}
	}
	if total == 0 {
		return g.errorf("the background has no activity left")
	}
	rng := rand.New(rand.NewPCG(b.s.seed, streamBackground))
	for n := 0; n < g.count; {
		draw := rng.IntN(total)
		var a *activity
		for _, a = range choices {
			if draw -= a.weight; draw < 0 {
				break
			}
		}
		n0 := rng.IntN(len(hosts))
		h := hosts[n0]
		for h.linux != a.linux {
			n0 = (n0 + 1) % len(hosts)
			h = hosts[n0]
		}
		at := b.s.start.Add(g.from + time.Duration(rng.Int64N(int64(g.to-g.from))))
		var let []variable
		for _, l := range a.let {
			name, rest, _ := strings.Cut(l.rest, " ")
			v, err := parseVariable(l, name, strings.TrimLeft(rest, " "))
			if err != nil {
				return err
			}
			let = append(let, v)
		}
		vars, err := evaluate(let, rng, b.hostLookup(h))
		if err != nil {
			return err
		}
		if a.peer {
			vars["peer"] = hosts[(n0+1+rng.IntN(len(hosts)-1))%len(hosts)].id
		}
		sc := newScope()
		b.instance++
		for _, st := range a.steps {
			at = at.Add(st.delay)
			where := h
			if st.host != "" {
				if where, err = b.hostOf(st, lookup(b.hostLookup(h)).over(vars)); err != nil {
					return err
				}
			}
			for k := range st.times {
				if k > 0 {
					at = at.Add(st.every)
				}
				if err := b.push(&task{at: at, step: st, n: k + 1, host: where, scope: sc, vars: vars, aside: true, label: Label{Instance: b.instance, Text: a.name, Verb: st.verb.name, Line: st.line}}); err != nil {
					return err
				}
			}
		}
		n += a.least
	}
	return nil
}
