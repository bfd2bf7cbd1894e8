package world

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"math/bits"
	"slices"
	"time"

	"ashiato/internal/event"
)

// plan says what of a store is given up, without touching the store: the answers
// are made of the rest.
//
// It is a function of the set of records that were added, although the store has
// let go of some of them before. Whatever thin lets go of, the plan would give up
// had it been kept, and nothing else of the plan would change:
//
//   - Whether a record is context depends on nothing else. The first and the last
//     of a group of repeats, or the last alone, are the same however the others
//     are left out in between.
//   - What a level leaves takes more memory the more records there are. A level
//     that some records make necessary is necessary for all of them. Where what is
//     cited or believed in the end may take less than before, as another copy of a
//     record does, what it may have taken is charged: see scale.
//   - From levelCut on each class of records has its own order of age, which
//     depends on the record alone, and the newest that fit into its share are kept.
//     The share of a class that does not fit falls when any other grows, so the
//     place of the cut only moves towards the newer: what is older than it never
//     needs to come back.
//   - What processes did, only all their records tell. So processes that did
//     nothing, or ended long ago, are given up here, where no more records come,
//     and never by thin: whichever it let go of, a record to come might name.
type plan struct {
	*store
	level    level
	rows     []bool // given up; nil if nothing is
	mentions []bool // given up; nil if nothing is
	// folded counts processes that did nothing by the mention of their parent.
	folded map[uint32]int
	// others are processes that kept records name and that are mentioned no more, by
	// ProcessGuid: their place is that in the list of mentions, were it longer.
	others map[[16]byte]uint32
	cuts   [classes]cut
	shed   Shed
}

func newPlan(s *store) *plan {
	return &plan{store: s, level: s.level, rows: make([]bool, s.rows.n), mentions: make([]bool, s.mentions.n), cuts: s.cuts}
}

// planOf is the plan of a store where no more records come, or none for now. It is
// remembered until more come.
func (w *World) planOf(s *store, share int64) *plan {
	b, adds := s.budget(w.limits, share), s.given+s.repeated
	if last := &s.planned; last.plan != nil && last.budget == b && last.adds == adds {
		return last.plan
	}
	p := &plan{store: s, level: s.level}
	if s.level > levelAll || s.cost()+s.loose > b.answers {
		p = newPlan(s)
		p.giveUp(b)
	}
	p.shed.Holes = s.holes
	if s.forgot || s.seen.cost > b.ledger {
		p.shed.Identities = s.given - p.left()
	}
	s.planned.plan, s.planned.budget, s.planned.adds = p, b, adds
	return p
}

func (p *plan) giveUp(b budget) {
	p.sift()
	takes := p.takes()
	for takes > b.answers && p.level < levelMerged {
		p.level++
		p.sift()
		takes = p.takes()
	}
	p.shed.Processes = p.unmentioned
	if p.level == levelCut || takes > b.whole {
		p.level = levelCut
		p.sift()
		p.shed.Processes += p.cut(b.whole, false)
		for c, was := range p.store.cuts {
			if now := &p.cuts[c]; was.made && now.age == was.age && now.takes+was.next <= now.share {
				p.shed.Unsure++
			}
		}
		takes = p.takes()
	}
	if p.level >= levelMerged && p.differing > 0 {
		p.shed.Unsure++
	}
	if p.level > levelAll {
		p.shed.Context = p.context
	}
	switch gone := max(0, p.wanted-p.context-p.left()); p.level {
	case levelMerged:
		p.shed.Repeats = gone
	case levelCut:
		p.shed.Oldest = gone
	}
	if takes <= b.answers {
		return
	}
	p.foldLeaves(b.answers)
	p.dropEnded(b.answers)
	if p.takes() > b.answers {
		before := p.left()
		p.level = levelCut
		p.sift()
		p.shed.Processes += p.cut(b.answers, true)
		p.shed.Oldest += before - p.left()
	}
}

// left is how many rows are not given up.
func (p *plan) left() int {
	n := p.store.rows.n
	for _, gone := range p.rows {
		if gone {
			n--
		}
	}
	return n
}

// eachRow calls f with the rows that are not given up.
func (p *plan) eachRow(f func(i uint32, row *row, r *Record)) {
	for i := range uint32(p.store.rows.n) {
		if p.rows == nil || !p.rows[i] {
			row := p.store.rows.at(i)
			r := p.record(row)
			f(i, row, &r)
		}
	}
}

// takes is what the rest is charged, at least kept.cost of it alone.
func (p *plan) takes() int64 { return p.weighed().cost }

func (p *plan) weighed() *scale {
	s := newScale(&p.kept)
	for i := range uint32(p.store.rows.n) {
		if p.rows == nil || !p.rows[i] {
			s.row(i, 1)
		}
	}
	for i := range uint32(p.store.mentions.n) {
		if p.mentions == nil || !p.mentions[i] {
			s.mention(i, 1)
		}
	}
	for i := range p.loci.list {
		if p.charges(uint32(i)) {
			s.cost += p.loci.list[i].size() + locusCost
		}
	}
	return s
}

// charges reports whether a locus is charged for: a record that no class has given
// up for its age has a copy there, although another may be what is cited.
func (p *plan) charges(locus uint32) bool {
	for c, m := range p.newest[locus] {
		if p.chargesFor(class(c), m) {
			return true
		}
	}
	return false
}

func (p *plan) chargesFor(c class, m moment) bool {
	if c == classContext {
		return m.is && p.level < levelNoContext
	}
	return m.is && !p.cuts[c].passed(m)
}

// scale weighs some of what is kept: what several have in common counts once.
//
// What more records can replace by something that takes less does not count as what
// it is, so that more never weigh less. Of what passes, and of what a mention says,
// each counts as the longest that may be, alone. Loci do not count here.
type scale struct {
	*kept
	texts   map[textRef]int
	origins map[uint32]int
	cost    int64
}

func newScale(k *kept) *scale {
	return &scale{kept: k, texts: map[textRef]int{}, origins: map[uint32]int{}}
}

// count adds by to a count, and what it is that is counted to the cost, or takes
// that away, where the count begins or ends.
func count[T comparable](s *scale, counts map[T]int, k T, by int, cost func() int64) {
	n := counts[k] + by
	counts[k] = n
	switch {
	case by > 0 && n == by:
		s.cost += cost()
	case n == 0:
		delete(counts, k)
		s.cost -= cost()
	}
}

// row puts a row on the scale, or with -1 takes it off.
func (s *scale) row(i uint32, by int) {
	r := s.rows.at(i)
	s.cost += int64(by) * (rowCost + int64(bits.OnesCount32(r.present))*valueCost)
	kind := s.kept.origins.list[r.origin].Kind
	fields, passes := s.fieldsOf(r), passingFields[kind]
	for present := r.present; present != 0; present &= present - 1 {
		ref := fields[0]
		fields = fields[1:]
		if field := bits.TrailingZeros32(present); passes&(1<<field) != 0 {
			if most := passing[keptNames[kind][field]]; s.kept.passes(ref, most) {
				s.cost += int64(by) * passingCost(most)
				continue
			}
		}
		count(s, s.texts, ref, by, func() int64 { return s.kept.texts.sizeOf(ref) + textCost })
	}
	count(s, s.origins, r.origin, by, func() int64 { return s.kept.origins.list[r.origin].size() + originCost })
}

// mention is row for a mention.
func (s *scale) mention(i uint32, by int) {
	s.cost += int64(by) * (mentionCost + s.mentions.at(i).longest.sum())
}

// sift gives up context, and what repeats, as far as the level says.
func (p *plan) sift() {
	if p.level == levelAll {
		return
	}
	type ends struct{ first, last uint32 }
	groups := map[string]ends{}
	var key []byte
	p.eachRow(func(i uint32, row *row, r *Record) {
		switch {
		case row.standing == detected:
			return
		case row.standing == plain && isContext(r.Kind, r.Get):
			p.rows[i] = true
			return
		case p.level < levelMerged || !repeating[r.Kind]:
			return
		}
		key = p.appendGroup(key[:0], row, r)
		g, ok := groups[string(key)]
		switch {
		case !ok:
			groups[string(key)] = ends{i, i}
			return
		case p.before(i, g.first):
			p.rows[g.first] = g.first != g.last
			g.first = i
		case p.before(g.last, i):
			p.rows[g.last] = g.first != g.last
			g.last = i
		default:
			p.rows[i] = true
		}
		groups[string(key)] = g
	})
	if p.level == levelCut {
		for _, g := range groups {
			p.rows[g.first] = g.first != g.last
		}
	}
}

// before reports whether row i is older than row j.
func (p *plan) before(i, j uint32) bool {
	a, b := p.store.rows.at(i), p.store.rows.at(j)
	if c := cmp.Or(compareMoments(a.sec, a.nsec, b.sec, b.nsec), cmp.Compare(a.record, b.record)); c != 0 {
		return c < 0
	}
	return p.ageOf(a).compare(p.ageOf(b)) < 0
}

// age orders the records of a class, and mentions by ProcessGuid. It is the same
// for all copies of a record.
type age struct {
	sec    int64
	nsec   uint32
	record uint64
	tie    [16]byte
}

func (a age) compare(b age) int {
	return cmp.Or(compareMoments(a.sec, a.nsec, b.sec, b.nsec), cmp.Compare(a.record, b.record), bytes.Compare(a.tie[:], b.tie[:]))
}

func (s *store) ageOf(r *row) age {
	o := &s.origins.list[r.origin]
	return s.age(r.sec, r.nsec, o.Channel, o.Provider, o.ID, &r.citation)
}

// age is the age of a record. Its identity decides between those of one moment
// and number.
func (s *store) age(sec int64, nsec uint32, channel, provider string, id uint32, c *citation) age {
	b := append(s.buffer[:0], s.channel(channel)...)
	b = append(append(b, 0), cutName(provider)...)
	b = binary.LittleEndian.AppendUint32(append(b, 0), id)
	if c.record == 0 {
		b = append(b, c.sum[:]...)
	}
	s.buffer = b
	sum := sha256.Sum256(b)
	return age{sec, nsec, c.record, [16]byte(sum[:16])}
}

// guidAge is the age of a process that other records name: when it started, by
// its ProcessGuid, which is all that is the same in each of them.
func guidAge(guid [16]byte) age {
	return age{sec: int64(binary.BigEndian.Uint16(guid[6:8]))<<16 | int64(binary.BigEndian.Uint16(guid[4:6])), tie: guid}
}

// class is what is cut by age together, so that no kind of record, however many
// there are, costs the others their share.
type class uint8

const (
	classMention  class = iota
	classLife           // starts and ends of processes
	classAct            // what they did
	classLasting        // what outlives them, and what was not recorded
	classCounted        // what correlations count
	classDetected       // what rules found
	classes
)

// weights are the classes' shares. What one does not take the others may.
var weights = [classes]int64{classMention: 2, classLife: 2, classAct: 2, classLasting: 4, classCounted: 4, classDetected: 6}

// classOf is the class of a record.
func classOf(kind event.Kind, get func(string) string, st standing) class {
	switch {
	case st == detected:
		return classDetected
	case st == counted:
		return classCounted
	case lasting(kind, get):
		return classLasting
	case kind == event.ProcessCreate || kind == event.ProcessTerminate:
		return classLife
	}
	return classAct
}

// cut is where a class was cut by age.
type cut struct {
	made  bool
	age   age   // of the newest that was given up
	next  int64 // what that added to the cost of those that were left
	takes int64 // what those left took, and
	share int64 // might have taken
}

// gone reports whether what has that age was given up.
func (c *cut) gone(a age) bool { return c.made && a.compare(c.age) <= 0 }

// passed reports whether everything of a moment and number was given up.
func (c *cut) passed(m moment) bool {
	if !c.made {
		return false
	}
	at := m.compare(c.age.moment())
	return at < 0 || at == 0 && c.age.tie == lastTie
}

func (a age) moment() moment { return moment{a.sec, a.record, a.nsec, true} }

// lastTie is behind all others of a moment.
var lastTie = [16]byte(bytes.Repeat([]byte{0xff}, 16))

// member is what is cut by age: a row or a mention, or the loci that are charged
// for until a moment.
type member struct {
	moment
	i uint32
}

// cut gives up, of each class, the oldest that do not fit into its share. It returns
// the count of mentions that were given up. A class that was cut before needs more
// than it can get, unless this is to be cut again into less.
//
// A locus is charged for as long as records of its newest moment are left. If the
// loci of a moment are too much with any record of it, all of that moment are
// given up, and those of it that are still to come.
func (p *plan) cut(whole int64, again bool) (mentions int) {
	var members, loci [classes][]member
	var scales [classes]*scale
	for c := range classes {
		scales[c] = newScale(&p.kept)
		for i := range uint32(len(p.loci.list)) {
			if m := p.newest[i][c]; p.chargesFor(c, m) {
				loci[c] = append(loci[c], member{m, i})
				scales[c].cost += p.loci.list[i].size() + locusCost
			}
		}
	}
	p.eachRow(func(i uint32, row *row, r *Record) {
		c := classOf(r.Kind, r.Get, row.standing)
		members[c] = append(members[c], member{moment{row.sec, row.record, row.nsec, true}, i})
		scales[c].row(i, 1)
	})
	guids := make([][16]byte, p.store.mentions.n)
	for guid, i := range p.byGUID {
		if guids[i] = guid; !p.mentions[i] {
			members[classMention] = append(members[classMention], member{guidAge(guid).moment(), i})
			scales[classMention].mention(i, 1)
		}
	}
	shares := share(whole, func(c class) (int64, bool) { return scales[c].cost, p.cuts[c].made && !again })
	for c := range classes {
		s, cut := scales[c], &p.cuts[c]
		ageOf := func(m member) age {
			if c == classMention {
				return guidAge(guids[m.i])
			}
			return p.ageOf(p.store.rows.at(m.i))
		}
		if s.cost > shares[c] {
			slices.SortFunc(members[c], func(a, b member) int {
				if d := a.compare(b.moment); d != 0 || a.i == b.i {
					return d
				}
				return ageOf(a).compare(ageOf(b))
			})
			slices.SortFunc(loci[c], func(a, b member) int { return a.compare(b.moment) })
		}
		for left, places := members[c], loci[c]; s.cost > shares[c] && len(left)+len(places) > 0; {
			at := oldest(left, places)
			for ; s.cost > shares[c] && len(left) > 0 && left[0].compare(at) == 0; left = left[1:] {
				had, i := s.cost, left[0].i
				if c == classMention {
					s.mention(i, -1)
					p.mentions[i] = true
					mentions += int(p.store.mentions.at(i).count)
				} else {
					s.row(i, -1)
					p.rows[i] = true
				}
				cut.made, cut.age, cut.next = true, ageOf(left[0]), had-s.cost
			}
			for had := s.cost; had > shares[c] && len(places) > 0 && places[0].compare(at) == 0; places = places[1:] {
				s.cost -= p.loci.list[places[0].i].size() + locusCost
				cut.made, cut.age, cut.next = true, age{at.sec, at.nsec, at.record, lastTie}, had-s.cost
			}
		}
		cut.takes, cut.share = s.cost, shares[c]
	}
	return mentions
}

// oldest returns the moment of the first of two sorted lists.
func oldest(a, b []member) moment {
	if len(b) == 0 || len(a) > 0 && a[0].compare(b[0].moment) < 0 {
		return a[0].moment
	}
	return b[0].moment
}

// share divides what there is among the classes: each that needs less than its
// weight gives it, gets that, and the others what is left, by weight. A class that
// was cut before needs more than it can get.
func share(whole int64, needs func(class) (cost int64, cut bool)) (shares [classes]int64) {
	var open []class
	weight := int64(0)
	for c := range classes {
		open = append(open, c)
		weight += weights[c]
	}
	for {
		sated := slices.IndexFunc(open, func(c class) bool {
			cost, cut := needs(c)
			return !cut && cost*weight <= whole*weights[c]
		})
		if sated < 0 {
			break
		}
		c := open[sated]
		shares[c], _ = needs(c)
		whole -= shares[c]
		weight -= weights[c]
		open = slices.Delete(open, sated, sated+1)
	}
	for _, c := range open {
		shares[c] = whole * weights[c] / weight
	}
	return shares
}

// life is what is known of a process while records are given up.
type life struct {
	guid         [16]byte
	starts, ends []uint32 // rows
	end          int64    // seconds since 1970
	standing     standing
	busy         bool // rows beside those name it
	leaves       bool // it wrote a file, or something that lasts
	children     []uint32
	parent       uint32
	hasParent    bool
}

// processOf is the place of a process in the list of mentions.
func (p *plan) processOf(guid [16]byte) uint32 {
	if i, ok := p.byGUID[guid]; ok {
		return i
	}
	i, ok := p.others[guid]
	if !ok {
		if p.others == nil {
			p.others = map[[16]byte]uint32{}
		}
		i = uint32(p.store.mentions.n + len(p.others))
		p.others[guid] = i
	}
	return i
}

// lives reads the rows of processes that have a ProcessGuid. acts are the rows
// that name a process as the one that acts.
func (p *plan) lives() (lives []life, acts map[uint32][]uint32) {
	lives = make([]life, p.store.mentions.n+len(p.others))
	acts = map[uint32][]uint32{}
	for guid, i := range p.byGUID {
		lives[i].guid = guid
		if !p.mentions[i] {
			lives[i].standing = p.store.mentions.at(i).standing
		}
	}
	for guid, i := range p.others {
		lives[i].guid = guid
	}
	of := func(guid string) (uint32, bool) {
		b, ok := guidBytes(guid)
		if !ok {
			return 0, false
		}
		i := p.processOf(b)
		if int(i) == len(lives) {
			lives = append(lives, life{guid: b})
		}
		return i, true
	}
	p.eachRow(func(i uint32, row *row, r *Record) {
		m, ok := of(r.Get("ProcessGuid"))
		switch {
		case r.Kind == event.ProcessCreate && ok:
			lives[m].starts = append(lives[m].starts, i)
			if parent, ok := of(r.Get("ParentProcessGuid")); ok && parent != m {
				lives[parent].busy = true
				lives[parent].children = append(lives[parent].children, m)
				if !lives[m].hasParent || compareGUIDs(lives[parent].guid, lives[lives[m].parent].guid) < 0 {
					lives[m].parent, lives[m].hasParent = parent, true
				}
			}
		case r.Kind == event.ProcessTerminate && ok:
			lives[m].ends = append(lives[m].ends, i)
			lives[m].end = max(lives[m].end, row.sec)
		default:
			for _, name := range []string{"ProcessGuid", "SourceProcessGuid", "TargetProcessGuid"} {
				n, ok := of(r.Get(name))
				if !ok {
					continue
				}
				lives[n].busy = true
				if name == "TargetProcessGuid" {
					lives[n].leaves = true // something was done to it
					continue
				}
				acts[n] = append(acts[n], i)
				switch r.Kind {
				case event.FileCreate, event.FileRename, event.FileStream, event.RemoteThread, event.ProcessAccess:
					lives[n].leaves = true
				}
				lives[n].leaves = lives[n].leaves || lasting(r.Kind, r.Get)
			}
		}
		if ok {
			lives[m].standing = max(lives[m].standing, row.standing)
		}
	})
	return lives, acts
}

// past is a process, or all of one number, that can be given up.
type past struct {
	oldest  uint32 // row
	rows    []uint32
	guid    [16]byte
	mention int64 // -1 if it has none
	parent  int64 // mention of its parent, -1 if unknown
	starts  int
	// standing is the highest of its records: those that correlations count are
	// given up after the others.
	standing standing
}

// release gives processes up, the oldest first, until the rest takes no more than
// most. It calls gone with each.
func (p *plan) release(all []past, most int64, gone func(past)) {
	for i := range all {
		a := &all[i]
		a.oldest = slices.MinFunc(a.rows, func(i, j uint32) int {
			if i == j {
				return 0
			} else if p.before(i, j) {
				return -1
			}
			return 1
		})
	}
	slices.SortFunc(all, func(a, b past) int {
		switch {
		case a.standing != b.standing:
			return cmp.Compare(a.standing, b.standing)
		case a.oldest == b.oldest:
			return compareGUIDs(a.guid, b.guid)
		case p.before(a.oldest, b.oldest):
			return -1
		}
		return 1
	})
	scale := p.weighed()
	for _, a := range all {
		if scale.cost <= most {
			return
		}
		a.rows = slices.DeleteFunc(a.rows, func(i uint32) bool { return p.rows[i] })
		for _, i := range a.rows {
			p.rows[i] = true
			scale.row(i, -1)
		}
		if a.mention >= 0 && a.mention < int64(len(p.mentions)) && !p.mentions[a.mention] {
			p.mentions[a.mention] = true
			scale.mention(uint32(a.mention), -1)
		}
		gone(a)
	}
}

// foldLeaves gives up processes that ended and did nothing.
func (p *plan) foldLeaves(most int64) {
	lives, _ := p.lives()
	var leaves []past
	for i := range lives {
		l := &lives[i]
		if l.busy || l.standing == detected || len(l.ends) == 0 || len(l.starts) == 0 {
			continue
		}
		leaf := past{rows: append(slices.Clone(l.starts), l.ends...), guid: l.guid, mention: int64(i), parent: -1, starts: 1, standing: l.standing}
		if l.hasParent {
			leaf.parent = int64(l.parent)
		}
		leaves = append(leaves, leaf)
	}
	leaves = append(leaves, p.numberedLeaves()...)
	p.folded = map[uint32]int{}
	p.release(leaves, most, func(l past) {
		p.shed.Leaves += l.starts
		if l.parent >= 0 {
			p.folded[uint32(l.parent)]++
		}
	})
}

// numberedLeaves are processes that did nothing and are known by their number
// alone: all of one number, if they all ended and no other record names it.
func (p *plan) numberedLeaves() (leaves []past) {
	type owner struct {
		starts, ends []uint32
		busy         bool
		standing     standing
	}
	owners := map[uint64]*owner{}
	of := func(pid uint64) *owner {
		o := owners[pid]
		if o == nil {
			o = &owner{}
			owners[pid] = o
		}
		return o
	}
	p.eachRow(func(i uint32, row *row, r *Record) {
		own := r.Kind == event.ProcessCreate || r.Kind == event.ProcessTerminate
		for _, name := range []string{"ProcessId", "ParentProcessId", "SourceProcessId", "TargetProcessId", "ClientProcessId", "CreatedProcessId"} {
			pid := r.Number(name)
			if pid == 0 {
				continue
			}
			o := of(pid)
			switch {
			case !own || name != "ProcessId" || row.standing == detected:
				o.busy = true
				continue
			case r.Get("ProcessGuid") != "":
				continue // foldLeaves knows it better
			case r.Kind == event.ProcessCreate:
				o.starts = append(o.starts, i)
			default:
				o.ends = append(o.ends, i)
			}
			o.standing = max(o.standing, row.standing)
		}
	})
	for _, o := range owners {
		if rows := append(o.starts, o.ends...); len(rows) > 0 && !o.busy && len(o.ends) >= len(o.starts) {
			leaves = append(leaves, past{rows: rows, mention: -1, parent: -1, starts: len(o.starts), standing: o.standing})
		}
	}
	return leaves
}

// keepEnded is how long a process that ended keeps its records.
const keepEnded = 24 * time.Hour

// dropEnded gives up processes that ended long ago and left nothing.
func (p *plan) dropEnded(most int64) {
	if p.span == nil {
		return
	}
	before := p.span.last.Add(-keepEnded).Unix()
	lives, acts := p.lives()
	var ended []past
	for i := range lives {
		l := &lives[i]
		living := slices.ContainsFunc(l.children, func(c uint32) bool { return len(lives[c].ends) == 0 })
		if l.standing == detected || l.leaves || living || len(l.ends) == 0 || l.end >= before {
			continue
		}
		rows := append(append(slices.Clone(l.starts), l.ends...), acts[uint32(i)]...)
		rows = slices.DeleteFunc(rows, func(i uint32) bool { return p.store.rows.at(i).standing == detected })
		if len(rows) > 0 {
			e := past{rows: rows, guid: l.guid, mention: int64(i), parent: -1, standing: l.standing}
			for _, i := range rows {
				e.standing = max(e.standing, p.store.rows.at(i).standing)
			}
			ended = append(ended, e)
		}
	}
	p.release(ended, most, func(e past) { p.shed.Ended += len(e.rows) })
}

// knownBy is a process that is known by its ProcessGuid.
type knownBy struct {
	as [16]byte
	*mention
	*kept
	folded int
}

// known returns the processes that the rest mentions, by ProcessGuid. Of those
// whose mention was given up it is what the kept records say.
func (p *plan) known() []knownBy {
	all := make([]knownBy, 0, len(p.byGUID))
	for guid, i := range p.byGUID {
		if p.mentions == nil || !p.mentions[i] {
			all = append(all, knownBy{guid, p.store.mentions.at(i), &p.kept, p.folded[i]})
		}
	}
	if len(all) < len(p.byGUID) || p.cuts[classMention].made {
		again := newStore(p.key, p.seen.key)
		p.eachRow(func(_ uint32, row *row, r *Record) {
			e := event.Event{Host: r.Host, Time: r.Time, Ref: r.Ref}
			eachNamed(r.Kind, r.Get, func(n named) {
				b, ok := guidBytes(n.guid)
				if i, known := p.byGUID[b]; ok && (!known || p.mentions[i]) {
					again.mention(&e, n, row.standing, false)
				}
			})
		})
		for guid, i := range again.byGUID {
			all = append(all, knownBy{guid, again.mentions.at(i), &again.kept, p.folded[p.processOf(guid)]})
		}
	}
	slices.SortFunc(all, func(a, b knownBy) int { return compareGUIDs(a.as, b.as) })
	return all
}

// eachNamed calls f with the processes that a record of a kind names by GUID.
func eachNamed(kind event.Kind, get func(string) string, f func(named)) {
	switch kind {
	case event.RemoteThread, event.ProcessAccess:
		f(named{cmpFirst(get("SourceProcessGuid"), get("SourceProcessGUID")), get("SourceProcessId"), get("SourceImage"), "", get("SourceUser")})
		f(named{cmpFirst(get("TargetProcessGuid"), get("TargetProcessGUID")), get("TargetProcessId"), get("TargetImage"), "", get("TargetUser")})
	default:
		if g := get("ProcessGuid"); g != "" {
			f(named{g, get("ProcessId"), get("Image"), "", get("User")})
		}
	}
	if kind == event.ProcessCreate {
		f(named{get("ParentProcessGuid"), get("ParentProcessId"), get("ParentImage"), get("ParentCommandLine"), get("ParentUser")})
	}
}
