package world

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"

	"ashiato/internal/event"
)

// Process is one process of one host, from its start to its end.
type Process struct {
	// Key is the process's identity, the same from whichever record it is
	// known: "host|boot.sequence" where its ProcessGuid tells both, else
	// "host|guid", else "host|pid@start".
	Key      string
	Host     string // as recorded
	PID      uint32
	GUID     string // as recorded, "" if unknown
	StartKey uint64 // BootId<<48 | sequence number, 0 if unknown

	// Start is when it started; if Implied, the best that is known: the time in
	// its ProcessGuid, else its first mention. End is zero if not recorded.
	Start, End time.Time

	Image            string
	CommandLine      string
	CurrentDirectory string
	User             string
	Integrity        string
	LogonID          string
	TerminalSession  string // number of its Terminal Services session, "" if unknown
	Hashes           string
	OriginalName     string
	// Of the image, as only the sensor records them: its signature and how many
	// seconds before the start it was last written.
	Signed, Signature, SignatureStatus string
	ImageAge                           string

	// Implied marks a process whose start no record shows.
	Implied bool

	// Parent is the process that started it, nil if unknown. ParentByGUID says
	// that an identity key names it, not a process id and a time.
	Parent       *Process
	ParentByGUID bool
	// Creator is who really started it, where a record tells that and it is not
	// Parent: a program may name any other as its child's parent. nil if not.
	Creator *Process
	// ParentImage is what the record of its start says of the parent.
	ParentImage string

	// Children is how many processes name it as their parent. Folded is how many
	// more there were that did nothing and were given up, see Shed.
	Children, Folded int

	First, Last time.Time
	Evidence    []event.EvidenceRef // records of its start, else the first that names it

	key string // match form of Image
}

// ImageKey is the match form of the image path.
func (p *Process) ImageKey() string { return p.key }

// ParseGUID reads a ProcessGuid. start is the second the process started in,
// by the GUID; key is BootId<<48 | sequence number, or 0 where the GUID is of
// the older style that holds a token id instead. ok is false for what is no
// GUID and for the GUID of all zeros that stands for "unknown".
//
// The layout was found by comparing GUIDs with the ClientProcessStartKey of
// Security 4697 and 4702 records: bytes 0–3 machine, 4–7 start time (Unix
// seconds), 8–15 little-endian start key.
func ParseGUID(guid string) (start time.Time, key uint64, ok bool) {
	b, ok := guidBytes(guid)
	if !ok {
		return start, 0, false
	}
	// The text of a GUID has its first three parts in big-endian order.
	sec := uint32(binary.BigEndian.Uint16(b[6:8]))<<16 | uint32(binary.BigEndian.Uint16(b[4:6]))
	start = time.Unix(int64(sec), 0).UTC()
	k := binary.LittleEndian.Uint64(b[8:16])
	boot, seq := k>>48, k&(1<<48-1)
	if boot != 0 && seq != 0 && seq < 1<<32 && !(b[8] == 0 && b[9] == 0 && b[10] == 0 && b[11] == 0x10) {
		key = k
	}
	return start, key, true
}

func guidKey(guid string) string { return strings.ToLower(strings.Trim(guid, "{}")) }

// guidBytes reads a GUID's hexadecimal digits in the order written, without its
// braces and hyphens. It is no GUID if they are not 32, or all zeros.
func guidBytes(guid string) (b [16]byte, ok bool) {
	n := 0
	for i := range len(guid) {
		c := guid[i]
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		case c == '-' || c == '{' && i == 0 || c == '}' && i == len(guid)-1:
			continue
		default:
			return b, false
		}
		if n == 32 {
			return b, false
		}
		b[n/2] = b[n/2]<<4 | c
		n++
	}
	return b, n == 32 && b != [16]byte{}
}

// guidID identifies a process by its ProcessGuid.
type guidID struct {
	host string // match form
	guid [16]byte
}

// withGUID returns the process of that ProcessGuid, nil if none is known.
func (w *World) withGUID(host, guid string) *Process {
	if guid == "" {
		return nil
	}
	b, ok := guidBytes(guid)
	if !ok {
		return nil
	}
	return w.byGUID[guidID{w.hostKey(host), b}]
}

func known(s string) bool { return s != "" && s != "-" && s != "<unknown process>" }

// joinWindow is how far apart Sysmon's and Security's records of one process
// start may be.
const joinWindow = 2 * time.Second

type pidKey struct {
	host string
	pid  uint32
}

func (w *World) resolveProcesses() {
	w.byKey = map[string]*Process{}
	w.byGUID = map[guidID]*Process{}
	w.byStart = map[startID]*Process{}
	w.byPID = map[pidKey][]*Process{}
	w.starts = map[*Record]*Process{}
	for _, s := range w.sortedStores() {
		w.mentioned(w.plans[s])
	}
	// Starts that carry a GUID.
	var byPIDOnly []*Record
	for _, r := range w.records {
		if r.Kind != event.ProcessCreate {
			continue
		}
		p := w.withGUID(r.Host, r.Get("ProcessGuid"))
		if p == nil {
			byPIDOnly = append(byPIDOnly, r)
			continue
		}
		p.start(r)
	}
	for _, p := range w.byKey {
		k := pidKey{w.hostKey(p.Host), p.PID}
		if p.PID != 0 {
			w.byPID[k] = append(w.byPID[k], p)
		}
	}
	for _, list := range w.byPID {
		slices.SortFunc(list, compareStart)
	}
	// Starts that know process ids only: the same process as Sysmon's where
	// there is one close by, else one of their own.
	for _, r := range byPIDOnly {
		pid := uint32(r.Number("ProcessId"))
		k := pidKey{w.hostKey(r.Host), pid}
		image := w.pathKey(r.Get("Image"))
		var best *Process
		list := w.byPID[k]
		near := list[startedBy(list, r.Time.Add(-joinWindow)):]
		for _, p := range near[:min(len(near), maxNear)] {
			gap := p.Start.Sub(r.Time).Abs()
			if gap > joinWindow {
				break
			}
			if p.Image != "" && image != "" && !sameImage(w.pathKey(p.Image), image) {
				continue
			}
			if best == nil || gap < best.Start.Sub(r.Time).Abs() {
				best = p
			}
		}
		if best == nil {
			best = &Process{
				Key:  fmt.Sprintf("%s|%d@%s", w.hostKey(r.Host), pid, r.Time.Format(event.TimeFormat)),
				Host: r.Host, PID: pid, Implied: true, First: r.Time, Last: r.Time,
			}
			if w.byKey[best.Key] != nil {
				best = w.byKey[best.Key]
			} else {
				w.byKey[best.Key] = best
				best.Start = r.Time
				if pid != 0 {
					w.insert(k, best)
				}
			}
		}
		best.start(r)
		w.starts[r] = best
	}
	w.resolveEnds()
	w.resolveParents()
	w.resolveCreators()
	for _, p := range w.byKey {
		w.processes = append(w.processes, p)
	}
	slices.SortFunc(w.processes, func(a, b *Process) int {
		return cmp.Or(a.Start.Compare(b.Start), strings.Compare(a.Key, b.Key))
	})
	for _, p := range w.processes {
		p.key = w.pathKey(p.Image)
		if p.Parent != nil {
			p.Parent.Children++
		}
	}
}

// mentioned makes the processes that a host's records name by ProcessGuid.
func (w *World) mentioned(s *plan) {
	for _, m := range s.known() {
		get := m.texts.get
		p := &Process{
			Host: get(m.host), PID: m.pid, GUID: get(m.guid), Image: get(m.image), CommandLine: get(m.cmd), User: get(m.user),
			Folded: m.folded, Implied: true, First: m.first(), Last: m.last(), Start: m.first(), Evidence: []event.EvidenceRef{m.ref(&m.citation)},
		}
		at, start, _ := ParseGUID(p.GUID)
		// A time in the GUID that is after the first mention, or years before
		// it, is not a time: the GUID is made up.
		if !at.After(p.First) && p.First.Sub(at) < 10*365*24*time.Hour {
			p.Start = at
		}
		p.StartKey = start
		p.Key = s.key + "|" + guidKey(p.GUID)
		if start != 0 {
			p.Key = fmt.Sprintf("%s|%d.%d", s.key, start>>48, start&(1<<48-1))
			if w.byKey[p.Key] != nil {
				// Two GUIDs with one start key: a machine's clone or made-up
				// records. Keep them apart.
				p.Key, p.StartKey = s.key+"|"+guidKey(p.GUID), 0
			}
		}
		w.byKey[p.Key] = p
		w.byGUID[guidID{s.key, m.as}] = p
		if p.StartKey != 0 {
			w.byStart[startID{s.key, p.StartKey}] = p
		}
	}
}

type startID struct {
	host string // match form
	key  uint64
}

func compareStart(a, b *Process) int {
	return cmp.Or(a.Start.Compare(b.Start), strings.Compare(a.Key, b.Key))
}

// start fills in what a record of the process's start says. Records come in
// event order; a later one (Security's beside Sysmon's, say) only fills gaps,
// except that a record with a GUID knows more and is believed first.
func (p *Process) start(r *Record) {
	if p.Implied {
		p.Implied = false
		p.Start = r.Time
		p.Evidence = nil
		p.Image, p.CommandLine, p.User = cmp.Or(r.Get("Image"), p.Image), cmp.Or(r.Get("CommandLine"), p.CommandLine), cmp.Or(r.Get("User"), p.User)
	}
	fill := func(to *string, v string) {
		if *to == "" {
			*to = v
		}
	}
	fill(&p.Image, r.Get("Image"))
	fill(&p.CommandLine, r.Get("CommandLine"))
	fill(&p.CurrentDirectory, r.Get("CurrentDirectory"))
	fill(&p.User, r.Get("User"))
	fill(&p.Integrity, r.Get("IntegrityLevel"))
	fill(&p.LogonID, r.Get("LogonId"))
	fill(&p.TerminalSession, r.Get("TerminalSessionId"))
	fill(&p.Hashes, r.Get("Hashes"))
	fill(&p.OriginalName, r.Get("OriginalFileName"))
	fill(&p.Signed, r.Get("Signed"))
	fill(&p.Signature, r.Get("Signature"))
	fill(&p.SignatureStatus, r.Get("SignatureStatus"))
	fill(&p.ImageAge, r.Get("ImageAgeSeconds"))
	fill(&p.ParentImage, r.Get("ParentImage"))
	if r.Time.Before(p.First) {
		p.First = r.Time
	}
	if r.Time.After(p.Last) {
		p.Last = r.Time
	}
	p.Evidence = append(p.Evidence, r.Ref)
}

// resolveEnds sets End from the records of process ends: by GUID, else the
// process that had the id then.
func (w *World) resolveEnds() {
	for _, r := range w.records {
		if r.Kind != event.ProcessTerminate {
			continue
		}
		p := w.withGUID(r.Host, r.Get("ProcessGuid"))
		if p == nil {
			p = w.at(r.Host, uint32(r.Number("ProcessId")), r.Time)
			if p != nil && p.Image != "" && known(r.Get("Image")) && w.pathKey(p.Image) != w.pathKey(r.Get("Image")) {
				continue
			}
		}
		if p != nil && (p.End.IsZero() || r.Time.Before(p.End)) && !r.Time.Before(p.Start) {
			p.End = r.Time
		}
	}
}

// sameImage reports whether two match forms may be of one program: the kernel's
// records name the device where others name the drive.
func sameImage(a, b string) bool {
	if a == b {
		return true
	}
	x, rest := splitDevice(a)
	y, other := splitDevice(b)
	if x == "" {
		rest, x, b = other, y, a
	}
	_, drive := Letter(b)
	return x != "" && drive && b[2:] == rest
}

// resolveCreators finds who really started a process whose parent was chosen:
// the kernel's own record (Microsoft-Windows-Kernel-Process 1) is written in the
// name of the process that called it.
func (w *World) resolveCreators() {
	for _, r := range w.records {
		if r.Kind != event.ProcessCreate || r.PID == 0 || !strings.EqualFold(r.Provider, kernelProcess) || uint64(r.PID) == r.Number("ParentProcessId") {
			continue
		}
		p, c := w.created(r), w.at(r.Host, r.PID, r.Time)
		if p != nil && c != nil && c != p && c != p.Parent {
			p.Creator = c
		}
	}
}

const kernelProcess = "Microsoft-Windows-Kernel-Process"

func (w *World) resolveParents() {
	for _, r := range w.records {
		if r.Kind != event.ProcessCreate {
			continue
		}
		p := w.created(r)
		if p == nil {
			continue
		}
		if parent := w.withGUID(r.Host, r.Get("ParentProcessGuid")); parent != nil && parent != p {
			p.Parent, p.ParentByGUID = parent, true
			continue
		}
		if p.Parent != nil {
			continue
		}
		pid := uint32(r.Number("ParentProcessId"))
		if pid == 0 {
			continue
		}
		image := r.Get("ParentImage")
		parent := w.at(r.Host, pid, r.Time)
		if parent != nil && image != "" && parent.Image != "" && w.pathKey(parent.Image) != w.pathKey(image) {
			parent = nil // the id was reused in between, unrecorded
		}
		if parent == nil {
			parent = w.imply(r, pid, image)
		}
		if parent != nil && parent.Image == "" {
			parent.Image = image
		}
		if parent != p {
			p.Parent = parent
		}
	}
}

// imply makes the node of a parent that only a child's record tells of. One
// process is implied for all children of one process id and image between two
// known owners of that id.
func (w *World) imply(r *Record, pid uint32, image string) *Process {
	before := "start"
	list := w.byPID[pidKey{w.hostKey(r.Host), pid}]
	for i := startedBy(list, r.Time) - 1; i >= 0; i-- {
		if !list[i].Implied {
			before = list[i].Start.Format(event.TimeFormat)
			break
		}
	}
	key := fmt.Sprintf("%s|%d@after %s|%s", w.hostKey(r.Host), pid, before, w.pathKey(image))
	p := w.byKey[key]
	if p == nil {
		p = &Process{
			Key: key, Host: r.Host, PID: pid, Image: image, CommandLine: r.Get("ParentCommandLine"),
			Implied: true, Start: r.Time, First: r.Time, Last: r.Time, Evidence: []event.EvidenceRef{r.Ref},
		}
		w.byKey[key] = p
		w.insert(pidKey{w.hostKey(r.Host), pid}, p)
	}
	if r.Time.After(p.Last) {
		p.Last = r.Time
	}
	return p
}

// created is the process whose start r records.
func (w *World) created(r *Record) *Process {
	if p := w.withGUID(r.Host, r.Get("ProcessGuid")); p != nil {
		return p
	}
	if p := w.starts[r]; p != nil {
		return p
	}
	// A copy of a kept record, as RecordOf makes it.
	list := w.byPID[pidKey{w.hostKey(r.Host), uint32(r.Number("ProcessId"))}]
	for i := startedBy(list, r.Time.Add(-joinWindow)); i < len(list) && !list[i].Start.After(r.Time.Add(joinWindow)); i++ {
		if slices.Contains(list[i].Evidence, r.Ref) {
			return list[i]
		}
	}
	return nil
}

// maxNear bounds how many owners of one process id within moments are tried.
const maxNear = 64

// startedBy returns how many of a list, by start, started before t.
func startedBy(list []*Process, t time.Time) int {
	return sort.Search(len(list), func(i int) bool { return !list[i].Start.Before(t) })
}

// insert adds a process to the owners of its id, which are by start.
func (w *World) insert(k pidKey, p *Process) {
	i, _ := slices.BinarySearchFunc(w.byPID[k], p, compareStart)
	w.byPID[k] = slices.Insert(w.byPID[k], i, p)
}

// at returns the process that had the id at t: the latest that started by then,
// unless it had ended. Records of one moment may be stamped a little apart, so
// both ends are given a second.
func (w *World) at(host string, pid uint32, t time.Time) *Process {
	if pid == 0 {
		return nil
	}
	list := w.byPID[pidKey{w.hostKey(host), pid}]
	next := sort.Search(len(list), func(i int) bool { return list[i].Start.After(t) })
	if next > 0 {
		if p := list[next-1]; p.End.IsZero() || !t.After(p.End.Add(slack)) {
			return p
		}
		// It had ended: a tombstone.
	}
	if next < len(list) && list[next].Start.Sub(t) <= slack {
		return list[next]
	}
	return nil
}

const slack = time.Second

// At returns the process that had the process id on the host at t, nil if none
// is known. A process id is reused; the answer is the owner at that time.
func (w *World) At(host string, pid uint32, t time.Time) *Process {
	w.resolve()
	return w.at(host, pid, t)
}

// ByGUID returns the process with Sysmon's ProcessGuid, nil if none is known.
func (w *World) ByGUID(host, guid string) *Process {
	w.resolve()
	return w.withGUID(host, guid)
}

// ByStartKey returns the process with the start key (Windows'
// ClientProcessStartKey), nil if none is known.
func (w *World) ByStartKey(host string, key uint64) *Process {
	if key == 0 {
		return nil
	}
	w.resolve()
	return w.byStart[startID{w.hostKey(host), key}]
}

// Processes returns every process, by start.
func (w *World) Processes() []*Process {
	w.resolve()
	return w.processes
}

// Actor returns the process that did what r records, nil if r does not say or
// it is not known. byKey tells whether an identity key names it.
func (w *World) Actor(r *Record) (p *Process, byKey bool) {
	w.resolve()
	for _, name := range []string{"ProcessGuid", "SourceProcessGuid"} {
		if g := r.Get(name); g != "" {
			if p := w.withGUID(r.Host, g); p != nil {
				return p, true
			}
		}
	}
	if r.Kind == event.ProcessCreate {
		return w.created(r), true
	}
	for _, name := range []string{"ProcessId", "SourceProcessId"} {
		pid := uint32(r.Number(name))
		if pid == 0 {
			continue
		}
		p := w.at(r.Host, pid, r.Time)
		if p != nil && p.Image != "" && known(r.Get("Image")) && Base(w.pathKey(p.Image)) != Base(w.pathKey(r.Get("Image"))) {
			return nil, false
		}
		return p, false
	}
	return nil, false
}
