package world

import (
	"encoding/binary"
	"math/bits"
	"strings"

	"ashiato/internal/event"
)

// Shed counts what was given up so that hosts stay within their memory, in the
// order in which it is. Records are counted once however often they were given,
// as long as Identities is 0; else at most as often as they were.
type Shed struct {
	// Context counts records that only show more around a process: connections,
	// name look-ups, loads of Windows' own signed modules.
	Context int
	// Repeats counts records that say what an earlier and a later one of the same
	// process say too. Where records are given up for their age, only the newest of
	// a group is kept and the others count as Oldest.
	Repeats int
	// Leaves counts processes that ended, started none, and of which nothing is
	// kept but their start and end. Their parents count them.
	Leaves int
	// Ended counts records of processes that ended more than a day before the
	// host's last record and left neither a file nor anything that persists.
	Ended int
	// Oldest counts records that were given up for their age alone. Processes
	// counts mentions, one for each record and process, of processes that were: of
	// such a process only what the kept records say is known.
	Oldest, Processes int
	// Identities counts records that would be taken for new ones if they were given
	// once more; they would be counted again, and not be kept.
	Identities int
	// Holes counts holes in record numbers that are no longer known, which records
	// out of order may have filled later. Alone of all it depends on order.
	Holes int
	// Unsure counts what makes the answers of a host depend on order: classes of
	// records of which more was given up than had to be in the end, as copies of
	// records that said less came later, and that there are copies of records
	// that do not say the same, so that what repeats what depends on the copy.
	Unsure int
}

// Records is how many kept records, and mentions of processes, were given up.
func (s Shed) Records() int {
	return s.Context + s.Repeats + s.Leaves + s.Ended + s.Oldest + s.Processes
}

func (s *Shed) add(o Shed) {
	s.Context += o.Context
	s.Repeats += o.Repeats
	s.Leaves += o.Leaves
	s.Ended += o.Ended
	s.Oldest += o.Oldest
	s.Processes += o.Processes
	s.Identities += o.Identities
	s.Holes += o.Holes
	s.Unsure += o.Unsure
}

// Shed returns what was given up of all hosts.
func (w *World) Shed() Shed {
	w.resolve()
	var all Shed
	for _, s := range w.stores {
		all.add(w.plans[s].shed)
	}
	return all
}

// level is how much of a host's records is given up. A store's only rises.
//
// While records come, only that is let go which the answers cannot hold in the
// end, whatever else comes: see plan.
type level uint8

const (
	levelAll       level = iota
	levelNoContext       // no context
	levelMerged          // and of repeats the first and the last
	levelCut             // and of repeats the last, of each class the newest
)

// What things take, with the tables by which they are found. A row's identity in
// the ledger is counted with it.
const (
	rowCost     = 88 + 64
	valueCost   = 4
	textCost    = 8
	originCost  = 320
	locusCost   = originCost + 24*(int64(classes)+1)
	mentionCost = 160 + 40 + 5*(textCost+3)
	logCost     = 400
	runCost     = 40
)

// cost is about how many bytes of memory k takes.
func (k *kept) cost() int64 {
	return int64(k.rows.n)*rowCost + int64(k.values.n)*valueCost + k.texts.size + int64(k.texts.count)*textCost +
		int64(len(k.origins.list))*originCost + int64(len(k.loci.list))*locusCost + k.names + int64(k.mentions.n)*mentionCost
}

// budget is what parts of a host's memory are for.
type budget struct {
	answers int64 // what is answered takes at most this
	whole   int64 // what is chosen from by what processes did, which only all their records tell
	held    int64 // what is left when a store is thinned, and
	most    int64 // what makes it necessary
	ledger  int64
	numbers int64
}

// Between whole and held lies what costs may shrink by while records come where
// copies of a record do not say the same: the one with the smallest reference is
// kept, and it may be shorter than the one before.
func budgetOf(bytes int64) budget {
	part := bytes / 16
	return budget{answers: 8 * part, whole: 9 * part, held: 10 * part, most: 12 * part, ledger: 4 * part, numbers: 2 * part}
}

// budget is the budget of a store where hosts that wrote more than share may
// take no more than that.
func (s *store) budget(l Limits, share int64) budget {
	if s.gross > share {
		return budgetOf(min(l.HostBytes, share))
	}
	return budgetOf(l.HostBytes)
}

// fit keeps a store, which is locked, within its limits while records come.
func (w *World) fit(s *store) {
	b := s.budget(w.limits, w.share.Load())
	if s.cost() > b.most {
		s.thin(b)
	}
	if s.seen.cost > b.ledger && s.seen.cost > 2*s.ledgerLeft {
		s.forgetUnkept()
	}
	if s.numbersCost > b.numbers {
		s.forgetHoles(b.numbers)
	}
}

// thin lets go of what cannot be in the answers.
func (s *store) thin(b budget) {
	s.planned.plan = nil
	for {
		p := newPlan(s)
		p.sift()
		if s.level == levelCut {
			s.unmentioned += p.cut(b.held, false)
			s.cuts = p.cuts
		}
		if s.level == levelCut || p.takes() <= b.held {
			s.compact(p)
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

// passing are fields that differ between records that say the same, and how long
// their values are at most: ports, numbers, GUIDs. A longer one says something.
var passing = map[string]int64{
	"SourcePort": 5, "IpPort": 5, "MessageNumber": 5, "ScriptBlockId": 38, "OperationId": 38, "bytesTransferred": 12,
}

// passes reports whether a value of a passing field is no longer than most.
func (k *kept) passes(ref textRef, most int64) bool { return k.texts.sizeOf(ref) <= most+1 }

// passingCost is what such a value is charged.
func passingCost(most int64) int64 { return textCost + 1 + most }

// passingCosts is what the passing values of a row are charged at most.
func passingCosts(kind event.Kind, present uint32) (cost int64) {
	for present &= passingFields[kind]; present != 0; present &= present - 1 {
		cost += passingCost(passing[keptNames[kind][bits.TrailingZeros32(present)]])
	}
	return cost
}

// passingFields are the places of passing among a kind's kept fields.
var passingFields = func() (m [1 << 8]uint32) {
	for k, names := range keptNames {
		for i, n := range names {
			if passing[n] > 0 {
				m[k] |= 1 << i
			}
		}
	}
	return m
}()

// lasting reports whether a record tells of something that outlives processes, or of
// what was not recorded.
func lasting(kind event.Kind, get func(string) string) bool {
	switch kind {
	case event.ServiceInstall, event.TaskRegister, event.TaskUpdate, event.TaskDelete, event.RegistrySet, event.DriverLoad,
		event.WMIFilter, event.WMIConsumer, event.WMIBinding, event.WMISubscription, event.BITSJob, event.DefenderConfig,
		event.FileExecutable, event.VolumeAttach, event.VolumeDetach, event.ShareChange,
		event.LogCleared, event.SensorState, event.SensorLoss:
		return true
	case event.FileCreate, event.FileRename, event.FileStream:
		return programs[Ext(get("TargetFilename"))]
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

// appendGroup appends what records that repeat each other have in common. Where
// no ProcessGuid tells processes apart, that is the hour too.
func (s *store) appendGroup(b []byte, row *row, r *Record) []byte {
	b = binary.LittleEndian.AppendUint32(b, row.origin)
	b = append(binary.LittleEndian.AppendUint32(b, row.present), byte(row.standing))
	at, named := 0, false
	for i, n := range keptNames[r.Kind] {
		if row.present&(1<<i) == 0 {
			continue
		}
		if most := passing[n]; most == 0 || !s.passes(r.values[at], most) {
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

// compact copies what a plan does not give up, so that the texts of the rest are
// let go.
func (s *store) compact(p *plan) {
	old := s.kept
	charged := make([]bool, len(old.newest))
	for i := range charged {
		charged[i] = p.charges(uint32(i))
	}
	s.kept = newKept()
	s.texts.seed = old.texts.seed
	text := func(ref textRef) textRef { return s.texts.put(old.texts.get(ref)) }
	put := func(i uint32) uint32 {
		n := s.putLocus(old.loci.list[i])
		s.newest[n] = old.newest[i]
		return n
	}
	for i := range charged {
		if charged[i] {
			put(uint32(i))
		}
	}
	moved := make([]uint32, old.rows.n) // the marks by which the ledger knows rows
	for i := range uint32(old.rows.n) {
		if moved[i] = unkept; p.rows[i] {
			continue
		}
		r := *old.rows.at(i)
		kind := old.origins.list[r.origin].Kind
		s.refs = s.refs[:0]
		for _, ref := range old.fieldsOf(&r) {
			s.refs = append(s.refs, text(ref))
		}
		r.at = s.values.add(s.refs)
		s.loose += passingCosts(kind, r.present)
		r.origin = s.putOrigin(old.origins.list[r.origin])
		r.locus = put(r.locus)
		moved[i] = firstKept + s.rows.add(r)
	}
	for guid, i := range old.byGUID {
		if p.mentions[i] {
			continue
		}
		m := *old.mentions.at(i)
		m.locus = put(m.locus)
		m.host, m.guid, m.image, m.cmd, m.user = text(m.host), text(m.guid), text(m.image), text(m.cmd), text(m.user)
		s.loose += m.longest.sum()
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
	l := newLedger(s.seen.key)
	for i := range uint32(s.rows.n) {
		r := s.record(s.rows.at(i))
		e := event.Event{Provider: r.Provider, Time: r.Time, ID: r.ID, Ref: r.Ref}
		var at place
		at, _, s.buffer = l.look(&e, s.key, s.channel(r.Channel), s.buffer)
		l.put(at, firstKept+i)
	}
	s.seen, s.ledgerLeft = l, l.cost
	s.forgot, s.gross = true, maxGross
}

// forgetHoles lets go of where the holes of logs are, or if that is not enough of
// all holes for good: to begin anew would make holes of what was forgotten.
func (s *store) forgetHoles(budget int64) {
	for _, n := range s.logs {
		n.settle()
		if len(n.runs) > 1 {
			s.holes += len(n.runs) - 1
			n.fill()
		}
	}
	s.numbersCost = s.logsCost + int64(len(s.logs))*runCost
	if s.numbersCost > budget/2 {
		s.holes += len(s.logs)
		clear(s.logs)
		s.unnumbered = true
		s.numbersCost, s.logsCost = 0, 0
	}
}
