package world

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"slices"
	"strings"
	"time"

	"ashiato/internal/event"
)

// Shed counts what was given up so that hosts stay within Limits.HostBytes, in
// the order in which it is.
type Shed struct {
	// Context counts records that only show more around a process: connections,
	// name look-ups, loads of Windows' own signed modules.
	Context int
	// Repeats counts records that say what an earlier and a later one of the same
	// process say too.
	Repeats int
	// Leaves counts processes that ended, started none, and of which nothing is
	// kept but their start and end. Their parents count them.
	Leaves int
	// Ended counts records of processes that ended more than a day before the
	// host's last record and left neither a file nor anything that persists.
	Ended int
	// Oldest counts records, and Processes processes that only other records
	// name, that were given up for their age alone.
	Oldest, Processes int
	// Identities counts records that would not be known again if they were given
	// once more. Holes counts holes in record numbers that are no longer known,
	// which records out of order may have filled later.
	Identities, Holes int
}

// Records is how many kept records, and processes, were given up.
func (s Shed) Records() int {
	return s.Context + s.Repeats + s.Leaves + s.Ended + s.Oldest + s.Processes
}

func (s *Shed) add(o Shed) {
	from := o.counts()
	for i, n := range s.counts() {
		*n += *from[i]
	}
}

func (s *Shed) counts() [8]*int {
	return [8]*int{&s.Context, &s.Repeats, &s.Leaves, &s.Ended, &s.Oldest, &s.Processes, &s.Identities, &s.Holes}
}

// Shed returns what was given up of all hosts.
func (w *World) Shed() Shed {
	w.resolve()
	var all Shed
	for _, s := range w.stores {
		all.add(s.shed)
	}
	return all
}

// level is how much of a host's records is given up. It only rises.
//
// Up to levelMerged what is given up is a function of the set of records: whether
// a record is context depends on nothing else, the first and the last of a group
// are the same however the others are left out in between, and what is left at a
// level takes more memory the more records there are, so that the level reached
// depends on the set alone. From levelLeaves on it may depend on order.
type level uint8

const (
	levelAll level = iota
	levelNoContext
	levelMerged
	levelLeaves
	levelEnded
	levelOldest
)

// What things take, with the tables by which they are found. A row's identity in
// the ledger is counted with it.
const (
	rowCost     = 88 + 64
	valueCost   = 4
	textCost    = 8
	originCost  = 320
	mentionCost = 136 + 40
	logCost     = 400
	runCost     = 40
)

// cost is about how many bytes of memory k takes. It depends on what is kept
// only, not on the order it came in.
func (k *kept) cost() int64 {
	return int64(k.rows.n)*rowCost + int64(k.values.n)*valueCost + k.texts.size + int64(k.texts.count)*textCost +
		int64(len(k.origins.list)+len(k.loci.list))*originCost + k.names + int64(k.mentions.n)*mentionCost
}

// Of a host's memory the ledger takes at most a quarter and the record numbers
// an eighth; the rest is for what is kept.
func (l Limits) forKept() int64    { return l.HostBytes / 8 * 5 }
func (l Limits) forLedger() int64  { return l.HostBytes / 4 }
func (l Limits) forNumbers() int64 { return l.HostBytes / 8 }

// fit keeps a store within its limits. While events are added it may exceed them
// by an eighth, so that the work is done seldom. The store is locked.
func (w *World) fit(s *store, final bool) {
	budget := w.limits.forKept()
	allowed := budget
	if !final {
		allowed = max(budget, min(s.thinned+budget/8, budget/8*9))
	}
	// At the end all repeats are merged if any were.
	repeats := final && s.level >= levelMerged && s.rows.n != s.sifted
	if s.cost() > allowed || repeats {
		rows, mentions := s.rows.n, s.mentions.n
		s.thin(budget)
		s.thinned = s.cost()
		w.keptRecords.Add(int64(s.rows.n - rows))
		w.keptProcesses.Add(int64(s.mentions.n - mentions))
	}
	if s.seen.cost > w.limits.forLedger() && s.seen.cost > 2*s.ledgerLeft {
		s.forgetUnkept()
	}
	if s.numbersCost > w.limits.forNumbers() {
		s.forgetHoles(w.limits.forNumbers())
	}
}

// thin gives up what must be given up, a level at a time.
func (s *store) thin(budget int64) {
	for {
		if s.level < levelLeaves {
			s.sift()
			if s.cost() <= budget {
				return
			}
			s.level++
			continue
		}
		if s.sift(); s.cost() <= budget {
			return
		}
		switch s.level {
		case levelLeaves:
			s.foldLeaves()
		case levelEnded:
			s.foldLeaves()
			s.dropEnded()
		case levelOldest:
			s.foldLeaves()
			s.dropEnded()
			for s.cost() > budget/4*3 && s.rows.n+s.mentions.n > 0 {
				s.dropOldest(1 - float64(budget/4*3)/float64(s.cost()))
			}
			return
		}
		// What is left at these levels may shrink and grow: there must be some
		// room again.
		if s.cost() <= budget/8*7 {
			return
		}
		s.level++
	}
}

// isContext reports whether a record joins nothing by itself.
func isContext(kind event.Kind, get func(string) string) bool {
	switch kind {
	case event.NetworkConnect, event.DNSQuery:
		return true
	case event.ImageLoad:
		return strings.EqualFold(get("Signed"), "true") && strings.EqualFold(get("SignatureStatus"), "valid") &&
			strings.HasPrefix(PathKey(get("ImageLoaded")), windowsDir+`\`)
	}
	return false
}

// repeating are the kinds of which a process writes the same many times.
var repeating = func() map[event.Kind]bool {
	m := map[event.Kind]bool{}
	for _, k := range []event.Kind{
		event.FileCreate, event.FileExecutable, event.FileStream, event.FileDelete, event.FileRename, event.FileAttribute, event.FileAccess,
		event.ImageLoad, event.RegistrySet, event.NetworkConnect, event.DNSQuery, event.PipeCreate, event.PipeConnect,
		event.ProcessAccess, event.RemoteThread, event.ScriptBlock, event.ScriptModule, event.ScriptClassic,
		event.ShareAccess, event.LogonExplicit, event.WMIOperation, event.BITSTransfer, event.ProcessTamper,
	} {
		m[k] = true
	}
	return m
}()

// passing are fields that differ between records that say the same.
var passing = map[string]bool{
	"SourcePort": true, "IpPort": true, "MessageNumber": true, "ScriptBlockId": true, "OperationId": true, "bytesTransferred": true,
}

// lasting reports whether r tells of something that outlives processes, or of
// what was not recorded.
func lasting(r *Record) bool {
	switch r.Kind {
	case event.ServiceInstall, event.TaskRegister, event.TaskUpdate, event.TaskDelete, event.RegistrySet, event.DriverLoad,
		event.WMIFilter, event.WMIConsumer, event.WMIBinding, event.WMISubscription, event.BITSJob, event.DefenderConfig,
		event.FileExecutable, event.VolumeAttach, event.VolumeDetach, event.ShareChange,
		event.LogCleared, event.SensorState, event.SensorLoss:
		return true
	case event.FileCreate, event.FileRename, event.FileStream:
		return programs[Ext(r.Get("TargetFilename"))]
	}
	return false
}

// programs are the extensions of files that run.
var programs = func() map[string]bool {
	m := map[string]bool{}
	for _, e := range strings.Fields(".exe .dll .sys .scr .com .cpl .ocx .msi .ps1 .psm1 .bat .cmd .vbs .vbe .js .jse .wsf .wsh .hta .lnk .jar .py .job") {
		m[e] = true
	}
	return m
}()

// sift leaves out context, and merges repeats, as far as the level says.
func (s *store) sift() {
	if s.level == levelAll {
		s.compact(nil, nil)
		return
	}
	drop := make([]bool, s.rows.n)
	type ends struct{ first, last uint32 }
	groups := map[string]ends{}
	var key []byte
	for i := range uint32(s.rows.n) {
		row := s.rows.at(i)
		if row.detected {
			continue
		}
		r := s.record(row)
		if isContext(r.Kind, r.Get) {
			drop[i] = true
			s.shed.Context++
			continue
		}
		if s.level < levelMerged || !repeating[r.Kind] {
			continue
		}
		key = s.appendGroup(key[:0], row, &r)
		g, ok := groups[string(key)]
		switch {
		case !ok:
			groups[string(key)] = ends{i, i}
			continue
		case s.before(i, g.first):
			if g.first != g.last {
				drop[g.first] = true
				s.shed.Repeats++
			}
			g.first = i
		case s.before(g.last, i):
			if g.first != g.last {
				drop[g.last] = true
				s.shed.Repeats++
			}
			g.last = i
		default:
			drop[i] = true
			s.shed.Repeats++
		}
		groups[string(key)] = g
	}
	s.compact(func(i uint32) bool { return !drop[i] }, nil)
	s.sifted = s.rows.n
}

// appendGroup appends what records that repeat each other have in common. Where
// no ProcessGuid tells processes apart, that is the hour too.
func (s *store) appendGroup(b []byte, row *row, r *Record) []byte {
	b = binary.LittleEndian.AppendUint32(b, row.origin)
	b = binary.LittleEndian.AppendUint32(b, row.present)
	at, named := 0, false
	for i, n := range keptNames[r.Kind] {
		if row.present&(1<<i) == 0 {
			continue
		}
		if !passing[n] {
			b = binary.LittleEndian.AppendUint32(b, uint32(r.values[at]))
		}
		named = named || n == "ProcessGuid" || n == "SourceProcessGuid"
		at++
	}
	if !named {
		b = binary.LittleEndian.AppendUint64(b, uint64(row.sec/3600))
	}
	return b
}

// before orders rows by what all copies of a record have in common.
func (s *store) before(i, j uint32) bool {
	a, b := s.rows.at(i), s.rows.at(j)
	return cmp.Or(compareMoments(a.sec, a.nsec, b.sec, b.nsec), cmp.Compare(a.record, b.record), bytes.Compare(a.sum[:], b.sum[:])) < 0
}

// life is what is known of a process while records are given up.
type life struct {
	starts, ends []uint32 // rows
	end          int64    // seconds since 1970
	detected     bool
	busy         bool // rows beside those name it
	leaves       bool // it wrote a file, or something that lasts
	children     []uint32
	parent       uint32
	hasParent    bool
}

// lives reads the rows of processes that have a ProcessGuid, by their mentions.
// acts are the rows that name a process as the one that acts.
func (s *store) lives() (lives []life, acts map[uint32][]uint32) {
	lives = make([]life, s.mentions.n)
	acts = map[uint32][]uint32{}
	of := func(guid string) (uint32, bool) {
		b, ok := guidBytes(guid)
		if !ok {
			return 0, false
		}
		i, ok := s.byGUID[b]
		return i, ok
	}
	for i := range uint32(s.mentions.n) {
		lives[i].detected = s.mentions.at(i).detected
	}
	for i := range uint32(s.rows.n) {
		row := s.rows.at(i)
		r := s.record(row)
		m, ok := of(r.Get("ProcessGuid"))
		switch {
		case r.Kind == event.ProcessCreate && ok:
			lives[m].starts = append(lives[m].starts, i)
			if p, ok := of(r.Get("ParentProcessGuid")); ok && p != m {
				lives[p].busy = true
				lives[p].children = append(lives[p].children, m)
				lives[m].parent, lives[m].hasParent = p, true
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
				lives[n].leaves = lives[n].leaves || lasting(&r)
			}
		}
		if row.detected && ok {
			lives[m].detected = true
		}
	}
	return lives, acts
}

// foldLeaves gives up processes that ended and did nothing.
func (s *store) foldLeaves() {
	lives, _ := s.lives()
	rows, mentions := map[uint32]bool{}, map[uint32]bool{}
	for i := range lives {
		l := &lives[i]
		if l.busy || l.detected || len(l.ends) == 0 || len(l.starts) == 0 {
			continue
		}
		for _, r := range append(slices.Clone(l.starts), l.ends...) {
			rows[r] = true
		}
		mentions[uint32(i)] = true
		s.shed.Leaves++
		if l.hasParent {
			s.mentions.at(l.parent).folded++
		}
	}
	s.foldNumbered(rows)
	s.compact(func(i uint32) bool { return !rows[i] }, func(i uint32) bool { return !mentions[i] })
}

// foldNumbered is foldLeaves for processes known by their number alone: all of
// one number, if they all ended and no other record names it.
func (s *store) foldNumbered(rows map[uint32]bool) {
	type owner struct {
		starts, ends []uint32
		busy         bool
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
	for i := range uint32(s.rows.n) {
		row := s.rows.at(i)
		r := s.record(row)
		own := r.Kind == event.ProcessCreate || r.Kind == event.ProcessTerminate
		for _, name := range []string{"ProcessId", "ParentProcessId", "SourceProcessId", "TargetProcessId", "ClientProcessId", "CreatedProcessId"} {
			pid := r.Number(name)
			if pid == 0 {
				continue
			}
			switch o := of(pid); {
			case !own || name != "ProcessId" || row.detected:
				o.busy = true
			case r.Get("ProcessGuid") != "":
				// foldLeaves knows it better.
			case r.Kind == event.ProcessCreate:
				o.starts = append(o.starts, i)
			default:
				o.ends = append(o.ends, i)
			}
		}
	}
	for _, o := range owners {
		if o.busy || len(o.ends) < len(o.starts) {
			continue
		}
		for _, r := range append(o.starts, o.ends...) {
			rows[r] = true
		}
		s.shed.Leaves += len(o.starts)
	}
}

// keepEnded is how long a process that ended keeps its records.
const keepEnded = 24 * time.Hour

// dropEnded gives up processes that ended long ago and left nothing.
func (s *store) dropEnded() {
	if s.span == nil {
		return
	}
	before := s.span.last.Add(-keepEnded).Unix()
	lives, acts := s.lives()
	rows, mentions := map[uint32]bool{}, map[uint32]bool{}
	for i := range lives {
		l := &lives[i]
		living := slices.ContainsFunc(l.children, func(c uint32) bool { return len(lives[c].ends) == 0 })
		if l.detected || l.leaves || living || len(l.ends) == 0 || l.end >= before {
			continue
		}
		own := append(slices.Clone(l.starts), l.ends...)
		for _, r := range append(own, acts[uint32(i)]...) {
			if !s.rows.at(r).detected && !rows[r] {
				rows[r] = true
				s.shed.Ended++
			}
		}
		mentions[uint32(i)] = true
	}
	s.compact(func(i uint32) bool { return !rows[i] }, func(i uint32) bool { return !mentions[i] })
}

// dropOldest gives up a part of what is kept by age: first processes that no kept
// record names, then records, those of detections and of what lasts last.
func (s *store) dropOldest(part float64) {
	of := func(n int) int { return min(n, int(float64(n)*part)+1) }
	lives, _ := s.lives()
	var idle []uint32
	for i := range lives {
		if l := &lives[i]; !l.busy && len(l.starts)+len(l.ends) == 0 {
			idle = append(idle, uint32(i))
		}
	}
	if len(idle) > s.mentions.n/8 {
		slices.SortFunc(idle, func(a, b uint32) int {
			x, y := s.mentions.at(a), s.mentions.at(b)
			if x.detected != y.detected {
				if x.detected {
					return 1
				}
				return -1
			}
			return cmp.Or(compareMoments(x.lastSec, x.lastNsec, y.lastSec, y.lastNsec),
				strings.Compare(s.texts.get(x.guid), s.texts.get(y.guid)))
		})
		gone := map[uint32]bool{}
		for _, i := range idle[:min(len(idle), of(s.mentions.n))] {
			gone[i] = true
		}
		s.shed.Processes += len(gone)
		s.compact(nil, func(i uint32) bool { return !gone[i] })
		return
	}
	order := make([]uint32, s.rows.n)
	rank := make([]uint8, s.rows.n)
	for i := range order {
		order[i] = uint32(i)
		row := s.rows.at(uint32(i))
		if r := s.record(row); lasting(&r) {
			rank[i] += 2
		}
		if row.detected {
			rank[i]++
		}
	}
	slices.SortFunc(order, func(a, b uint32) int {
		switch {
		case rank[a] != rank[b]:
			return cmp.Compare(rank[a], rank[b])
		case s.before(a, b):
			return -1
		case s.before(b, a):
			return 1
		}
		return 0
	})
	gone := map[uint32]bool{}
	for _, i := range order[:of(len(order))] {
		gone[i] = true
	}
	s.shed.Oldest += len(gone)
	named := map[[16]byte]bool{}
	for i := range uint32(s.rows.n) {
		if gone[i] {
			continue
		}
		r := s.record(s.rows.at(i))
		for _, n := range []string{"ProcessGuid", "ParentProcessGuid", "SourceProcessGuid", "TargetProcessGuid"} {
			if b, ok := guidBytes(r.Get(n)); ok {
				named[b] = true
			}
		}
	}
	unnamed := make([]bool, s.mentions.n)
	for b, i := range s.byGUID {
		unnamed[i] = !named[b]
	}
	s.compact(func(i uint32) bool { return !gone[i] }, func(i uint32) bool { return !unnamed[i] })
}

// compact copies what is to stay, so that the texts of the rest are let go. A nil
// function keeps everything.
func (s *store) compact(keepRow, keepMention func(uint32) bool) {
	old := s.kept
	s.kept = newKept()
	s.texts.seed = old.texts.seed
	text := func(ref textRef) textRef { return s.texts.put(old.texts.get(ref)) }
	cited := func(c citation) citation {
		c.locus = s.putLocus(old.loci.list[c.locus])
		return c
	}
	moved := make([]uint32, old.rows.n) // the marks by which the ledger knows rows
	for i := range uint32(old.rows.n) {
		moved[i] = unkept
		if keepRow != nil && !keepRow(i) {
			continue
		}
		r := *old.rows.at(i)
		s.refs = s.refs[:0]
		for _, ref := range old.fieldsOf(&r) {
			s.refs = append(s.refs, text(ref))
		}
		r.at = s.values.add(s.refs)
		r.origin = s.putOrigin(old.origins.list[r.origin])
		r.citation = cited(r.citation)
		moved[i] = firstKept + s.rows.add(r)
	}
	for guid, i := range old.byGUID {
		if keepMention != nil && !keepMention(i) {
			continue
		}
		m := *old.mentions.at(i)
		m.citation = cited(m.citation)
		m.host, m.guid, m.image, m.cmd, m.user = text(m.host), text(m.guid), text(m.image), text(m.cmd), text(m.user)
		s.byGUID[guid] = s.mentions.add(m)
	}
	s.seen.each(func(mark *uint32) {
		if *mark >= firstKept {
			*mark = moved[*mark-firstKept]
		}
	})
}

// forgetUnkept makes the ledger anew of what is kept.
func (s *store) forgetUnkept() {
	before := s.seen.count
	l := newLedger(s.seen.key)
	for i := range uint32(s.rows.n) {
		r := s.record(s.rows.at(i))
		e := event.Event{Provider: r.Provider, Time: r.Time, ID: r.ID, Ref: r.Ref}
		var at place
		at, _, s.buffer = l.look(&e, s.key, s.channel(r.Channel), s.buffer)
		l.put(at, firstKept+i)
	}
	s.seen, s.ledgerLeft = l, l.cost
	s.shed.Identities += before - l.count
}

// forgetHoles lets go of where the holes of logs are, then of all logs.
func (s *store) forgetHoles(budget int64) {
	for _, n := range s.logs {
		n.settle()
		if len(n.runs) > 1 {
			s.shed.Holes += len(n.runs) - 1
			n.fill()
		}
	}
	s.numbersCost = s.logsCost + int64(len(s.logs))*runCost
	if s.numbersCost > budget/2 {
		s.shed.Holes += len(s.logs)
		clear(s.logs)
		s.numbersCost, s.logsCost = 0, 0
	}
}
