package scenario

import (
	"cmp"
	"container/heap"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"ashiato/internal/event"
)

// Built is a scenario's records.
type Built struct {
	// Name is the scenario's file name, Title its title.
	Name, Title string
	// Events are the records, raw, in event.Compare order.
	Events []*event.Event
	// Truth says for each record, by its host, channel and record id, what it
	// stands for.
	Truth map[RecordKey]Label
	// Lost counts the records that were numbered and then lost on purpose.
	Lost map[RecordKey]Label
	// Root is the true root cause of the scenario's own steps.
	Root Root
	// Handoffs are the true hand-offs, of the intrusion and of the background, in
	// order of time.
	Handoffs []Handoff
	// Expect is the scenario's expect section with its variables filled in.
	Expect Expect
	// Addresses are the hosts' own IP addresses by their names in the records.
	Addresses map[string]string
}

// RecordKey names a record of one log of one host.
type RecordKey struct {
	Host, Channel string
	RecordID      uint64
}

func (k RecordKey) compare(o RecordKey) int {
	return cmp.Or(strings.Compare(k.Host, o.Host), strings.Compare(k.Channel, o.Channel), cmp.Compare(k.RecordID, o.RecordID))
}

// KeyOf returns the key of a record, also after it was written and read again.
func KeyOf(e *event.Event) RecordKey { return RecordKey{e.Host, e.Channel, e.Ref.RecordID} }

// Label returns what a record stands for and whether the scenario wrote it.
func (b *Built) Label(e *event.Event) (Label, bool) {
	l, ok := b.Truth[KeyOf(e)]
	return l, ok
}

// The streams of the random numbers: drawing from one does not disturb another.
const (
	streamVars = iota + 1
	streamOrder
	streamBackground
	streamRuntime
	streamLoss
	streamJitter
)

// Build makes the records. The same scenario gives the same records.
func (s *Scenario) Build() (*Built, error) {
	b := &builder{
		s: s, lib: s.lib, contents: map[string]*contentSpec{},
		rng: rand.New(rand.NewPCG(s.seed, streamRuntime)), volumes: map[string]*volume{},
		hostByID: map[string]*host{},
	}
	var err error
	if b.vars, err = evaluate(s.vars, rand.New(rand.NewPCG(s.seed, streamVars)), b.builtin); err != nil {
		return nil, err
	}
	for _, prepare := range []func() error{b.makeContents, b.makeVolumes, b.makeHosts, b.planSteps, b.planBackground} {
		if err := prepare(); err != nil {
			return nil, err
		}
	}
	for b.queue.Len() > 0 {
		if err := b.run(heap.Pop(&b.queue).(*task)); err != nil {
			return nil, err
		}
	}
	return b.finish()
}

// makeContents names the contents; where a shortcut leads may hold variables.
func (b *builder) makeContents() error {
	for _, c := range b.s.contents {
		if b.contents[c.name] != nil {
			return c.errorf("content %q occurs twice", c.name)
		}
		own := *c
		own.values = slices.Clone(c.values)
		for i, v := range own.values {
			switch v.key {
			case "target", "arguments", "workdir", "icon":
				var err error
				if own.values[i].value, err = expand(v.place, v.value, b.builtin); err != nil {
					return err
				}
			}
		}
		b.contents[c.name] = &own
	}
	return nil
}

// builder holds the world that the steps act on.
type builder struct {
	s        *Scenario
	lib      *library
	vars     map[string]string
	contents map[string]*contentSpec
	hosts    []*host
	hostByID map[string]*host
	volumes  map[string]*volume
	rng      *rand.Rand
	queue    queue
	warp     *warp
	order    int
	tasks    int
	records  []record
	disks    int
	instance int       // background activities so far
	now      time.Time // of the step that runs

	handoffs    []*handoff
	asks        []ask
	late        []func() // what is settled when all steps are done
	root        Root
	rootNode    *node
	rootRecords []recordID
}

type record struct {
	event *event.Event
	id    recordID
	order int
	label Label
	lost  bool
}

// finish numbers the records in the order they were logged, and takes out the
// lost ones.
func (b *builder) finish() (*Built, error) {
	slices.SortStableFunc(b.records, func(x, y record) int {
		return cmp.Or(x.event.Logged.Compare(y.event.Logged), cmp.Compare(x.order, y.order))
	})
	built := &Built{
		Name: b.s.Name, Title: b.s.Title,
		Truth: make(map[RecordKey]Label, len(b.records)), Lost: map[RecordKey]Label{}, Addresses: map[string]string{},
	}
	for _, h := range b.hosts {
		built.Addresses[h.vars["fqdn"]] = h.vars["address"]
	}
	var err error
	if built.Expect, err = b.expectations(); err != nil {
		return nil, err
	}
	become := make([]numbered, len(b.records))
	type log struct{ host, channel string }
	next := map[log]uint64{}
	loss := rand.New(rand.NewPCG(b.s.seed, streamLoss))
	for _, r := range b.records {
		e := r.event
		key := log{e.Host, e.Channel}
		if next[key] == 0 {
			d := digest("first record", e.Host, e.Channel)
			next[key] = 1000 + uint64(d[0])<<8 + uint64(d[1])
		}
		e.Ref = event.EvidenceRef{Host: e.Host, Channel: e.Channel, RecordID: next[key]}
		next[key]++
		gone := loss.IntN(1000) < b.s.losePermil
		become[r.id] = numbered{KeyOf(e), !gone && !r.lost}
		if !become[r.id].kept {
			built.Lost[KeyOf(e)] = r.label
			continue
		}
		built.Truth[KeyOf(e)] = r.label
		built.Events = append(built.Events, e)
	}
	slices.SortFunc(built.Events, event.Compare)
	b.settle(built, become)
	return built, nil
}

// expectations fills in the variables of the expect section.
func (b *builder) expectations() (Expect, error) {
	x := b.s.Expect
	for _, list := range []*[]string{&x.Hosts, &x.Aliases, &x.Behaviours, &x.Hashes} {
		filled := make([]string, len(*list))
		for i, v := range *list {
			var err error
			if filled[i], err = expand(place{b.s.Name, 0}, v, b.builtin); err != nil {
				return x, err
			}
		}
		*list = filled
	}
	return x, nil
}

// settle writes the root and the hand-offs, now that it is known which records
// were kept.
func (b *builder) settle(built *Built, become []numbered) {
	built.Root = b.root
	if b.rootNode != nil {
		built.Root.Subject = b.rootNode.subject(become)
		built.Root.Records = keys(b.rootRecords, become)
	}
	for _, f := range b.late {
		f()
	}
	for _, h := range b.handoffs {
		built.Handoffs = append(built.Handoffs, h.finish(become))
	}
	slices.SortStableFunc(built.Handoffs, func(x, y Handoff) int { return x.Time.Compare(y.Time) })
}
