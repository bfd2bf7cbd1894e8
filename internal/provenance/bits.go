package provenance

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"ashiato/internal/event"
	"ashiato/internal/world"
)

// bitsHandoffs are the hand-offs of the Background Intelligent Transfer Service:
// svchost.exe writes the file and starts the program that a job names for its
// end, long after whoever made the job has gone.
var bitsHandoffs = []handoff{
	{ // The record of a job's making names the client, from version 1 on.
		row: 22, join: "bits-client", verb: Requested, class: ClassA, latest: true, within: claimWindow,
		causes: func(j *joiner, yield func(half)) {
			for _, b := range j.bitsJobs() {
				for _, r := range b.records {
					if r.Kind != event.BITSJob {
						continue
					}
					if p := j.w.ByStartKey(r.Host, r.Number("ClientProcessStartKey")); p != nil {
						yield(half{key: string(b.node), t: r.Time, refs: []event.EvidenceRef{r.Ref}, node: func() *Node { return j.process(p) }})
					} else if (r.ID == 3 || r.ID == 16403) && r.Number("ProcessId") != 0 {
						// A client whose start no record shows is named by its path.
						yield(half{key: string(b.node), t: r.Time, refs: []event.EvidenceRef{r.Ref}, node: func() *Node { return j.actor(r) }})
					}
				}
			}
		},
		effects: func(j *joiner, yield func(half)) {
			for _, b := range j.bitsJobs() {
				for _, r := range b.records {
					if r.Kind == event.BITSJob && (r.ID == 3 || r.ID == 16403) {
						yield(half{key: string(b.node), t: r.Time, refs: []event.EvidenceRef{r.Ref}, node: func() *Node { return j.bits(b) }})
					}
				}
			}
		},
	},
	{ // bitsadmin and Start-BitsTransfer name the job or what it fetches.
		row: 22, join: "bits-command", verb: Requested, class: ClassB, within: claimWindow,
		causes: func(j *joiner, yield func(half)) {
			j.asks(func(s *said) []string {
				var keys []string
				if a := bitsAsked(s); a.makes {
					for _, k := range []string{a.title, a.url} {
						if k != "" {
							keys = append(keys, fileKey(s.process.Host, strings.ToLower(k)))
						}
					}
				}
				return keys
			}, yield)
		},
		effects: func(j *joiner, yield func(half)) {
			for _, b := range j.bitsJobs() {
				if !strings.EqualFold(b.title, defaultJob) {
					yield(half{key: fileKey(b.host, strings.ToLower(b.title)), t: b.first, refs: b.cited(), node: func() *Node { return j.bits(b) }})
				}
				for _, r := range b.records {
					if url := r.Get("Url"); url != "" {
						yield(half{key: fileKey(b.host, strings.ToLower(url)), t: r.Time, refs: []event.EvidenceRef{r.Ref}, node: func() *Node { return j.bits(b) }})
					}
				}
			}
		},
	},
	{ // bitsadmin /SetNotifyCmdLine: who says what is to be run.
		row: 22, join: "bits-command", verb: Configured, class: ClassB, latest: true, reverse: true,
		causes: func(j *joiner, yield func(half)) {
			for _, b := range j.bitsJobs() {
				if b.title != "" && !strings.EqualFold(b.title, defaultJob) {
					yield(half{key: fileKey(b.host, strings.ToLower(b.title)), t: b.first, refs: b.cited(), node: func() *Node { return j.bits(b) }})
				}
			}
		},
		effects: func(j *joiner, yield func(half)) {
			j.asks(func(s *said) []string {
				if a := bitsAsked(s); len(a.notify) > 0 && a.title != "" {
					return []string{fileKey(s.process.Host, strings.ToLower(a.title))}
				}
				return nil
			}, yield)
		},
	},
	{ // bitsadmin /SetNotifyCmdLine: what the service runs when the job is done.
		row: 22, join: "bits-notify", verb: RanAs, class: ClassB,
		causes: func(j *joiner, yield func(half)) {
			jobs := map[string][]*bitsJob{} // host|title
			for _, b := range j.bitsJobs() {
				if b.title != "" {
					k := fileKey(b.host, strings.ToLower(b.title))
					jobs[k] = append(jobs[k], b)
				}
			}
			says := j.says()
			for i := range says {
				s := &says[i]
				a := bitsAsked(s)
				for _, b := range jobs[fileKey(s.process.Host, strings.ToLower(a.title))] {
					for _, command := range a.notify {
						b.notify = command
						yield(half{
							key: fileKey(b.host, world.CommandKey(command)), t: s.t, refs: s.refs,
							node: func() *Node { return j.bits(b) },
						})
					}
				}
			}
		},
		effects: func(j *joiner, yield func(half)) {
			for _, p := range j.processes {
				if p.Implied || p.CommandLine == "" || p.Parent == nil || p.Parent.ImageKey() != `c:\windows\system32\svchost.exe` {
					continue
				}
				if cmd := strings.ToLower(p.Parent.CommandLine); cmd == "" || strings.Contains(cmd, "netsvcs") || strings.Contains(cmd, "bits") {
					yield(half{key: fileKey(p.Host, world.CommandKey(p.CommandLine)), t: p.Start, refs: p.Evidence, node: func() *Node { return j.process(p) }})
				}
			}
		},
	},
	{ // The file that a job fetches: its record says so, or who made the job does.
		row: 22, join: "bits-file", verb: Wrote, class: ClassB, latest: true,
		causes: func(j *joiner, yield func(half)) {
			local := map[string]string{} // host|title or url → the file that a command line names for it
			says := j.says()
			for i := range says {
				if a := bitsAsked(&says[i]); a.local != "" {
					for _, k := range []string{a.title, a.url} {
						if k != "" {
							local[fileKey(says[i].process.Host, strings.ToLower(k))] = a.local
						}
					}
				}
			}
			for _, b := range j.bitsJobs() {
				for _, r := range b.records {
					path := r.Get("LocalName")
					for _, k := range []string{r.Get("JobTitle"), r.Get("Url")} {
						if path == "" && k != "" && !strings.EqualFold(k, defaultJob) {
							path = local[fileKey(b.host, strings.ToLower(k))]
						}
					}
					if path != "" {
						yield(half{key: fileKey(b.host, j.w.PathOn(b.host, path)), t: r.Time, refs: []event.EvidenceRef{r.Ref}, node: func() *Node { return j.bits(b) }})
					}
				}
			}
		},
		effects: func(j *joiner, yield func(half)) {
			for _, k := range j.order {
				for i := range j.written[k] {
					w := &j.written[k][i]
					if w.process == nil || w.process.ImageKey() == `c:\windows\system32\svchost.exe` {
						yield(half{key: k, t: w.t, refs: w.refs, node: func() *Node {
							n, _ := j.wrote(w, true)
							return n
						}})
					}
				}
			}
		},
	},
}

// defaultJob is what PowerShell calls every job: no key.
const defaultJob = "BITS Transfer"

// bitsJob is a transfer job, with its records in event order.
type bitsJob struct {
	node    NodeID
	host    string
	id      string // JobId, "" where records of the oldest layout know a title only
	title   string
	owner   string
	url     string
	local   string
	notify  string
	records []*world.Record
	said    []event.EvidenceRef // what a job without records is known from
	first   time.Time
}

func (b *bitsJob) cited() []event.EvidenceRef {
	all := slices.Clone(b.said)
	for _, r := range b.records {
		all = append(all, r.Ref)
	}
	return all
}

// sameJob is how far the records of one job that has no id may be apart.
const sameJob = 10 * time.Minute

// bitsJobs groups BITS-Client's records by job: by its id, or where the record
// has none, by its title.
func (j *joiner) bitsJobs() []*bitsJob {
	if j.bitsFound != nil {
		return j.bitsFound
	}
	j.bitsFound = []*bitsJob{}
	byKey := map[string]*bitsJob{}
	untold := map[string]*bitsJob{} // host|title → a job whose id is not known yet
	for _, r := range j.records {
		if r.Kind != event.BITSJob && r.Kind != event.BITSTransfer {
			continue
		}
		jobID, title := strings.ToLower(r.Get("JobId")), r.Get("JobTitle")
		if jobID == "" && title == "" {
			continue
		}
		named := fileKey(r.Host, strings.ToLower(title))
		var b *bitsJob
		if jobID != "" {
			b = byKey[fileKey(r.Host, jobID)]
			if b == nil {
				// The oldest layout of the record of its making has no id.
				if b = untold[named]; b != nil && title != "" && r.Time.Sub(b.first) <= sameJob {
					delete(untold, named)
					b.id = jobID
				} else {
					b = nil
				}
			}
		} else if b = untold[named]; b != nil && r.Time.Sub(b.first) > sameJob {
			b = nil
		}
		if b == nil {
			b = &bitsJob{host: r.Host, id: jobID, first: r.Time}
			j.bitsFound = append(j.bitsFound, b)
			if jobID == "" {
				untold[named] = b
			}
		}
		if jobID != "" {
			byKey[fileKey(r.Host, jobID)] = b
		}
		b.title, b.owner, b.url, b.local = cmp.Or(b.title, title), cmp.Or(b.owner, r.Get("JobOwner")), cmp.Or(b.url, r.Get("Url")), cmp.Or(b.local, r.Get("LocalName"))
		b.records = append(b.records, r)
	}
	j.saidJobs()
	j.jobs = map[event.EvidenceRef]*bitsJob{}
	for _, b := range j.bitsFound {
		key := b.id
		if key == "" {
			key = strings.ToLower(b.title) + "@" + b.first.Format(event.TimeFormat)
		}
		b.node = id(BITS, b.host, key)
		for _, r := range b.records {
			j.jobs[r.Ref] = b
		}
	}
	return j.bitsFound
}

// saidJobs adds the jobs that only command lines and scripts tell of, where
// BITS-Client's log is not kept.
func (j *joiner) saidJobs() {
	known := map[string]bool{}
	for _, b := range j.bitsFound {
		known[fileKey(b.host, strings.ToLower(b.title))] = true
	}
	byTitle := map[string]*bitsJob{}
	says := slices.Clone(j.says())
	slices.SortStableFunc(says, func(a, b said) int { return a.t.Compare(b.t) })
	for i := range says {
		s := &says[i]
		a := bitsAsked(s)
		k := fileKey(s.process.Host, strings.ToLower(a.title))
		if a.title == "" || known[k] || strings.EqualFold(a.title, defaultJob) {
			continue
		}
		b := byTitle[k]
		if b == nil || s.t.Sub(b.first) > sameJob {
			b = &bitsJob{host: s.process.Host, title: a.title, first: s.t}
			byTitle[k] = b
			j.bitsFound = append(j.bitsFound, b)
		}
		b.url, b.local = cmp.Or(b.url, a.url), cmp.Or(b.local, a.local)
		b.said = append(b.said, s.refs...)
	}
}

func (g *Graph) bits(b *bitsJob) *Node {
	n := g.add(b.node, BITS, b.host, b.first, b.cited(), func(n *Node) {
		n.Label = cmp.Or(world.Base(b.title), b.id)
		n.Path = cmp.Or(b.title, b.id)
	})
	if n != nil {
		n.setAttr("JobId", b.id)
		n.setAttr("JobOwner", b.owner)
		n.setAttr("Url", b.url)
		n.setAttr("LocalName", b.local)
		n.setAttr("NotifyCommand", b.notify)
	}
	return n
}

// bitsAsking is what a text asks of BITS.
type bitsAsking struct {
	title, url, local string
	notify            []string // command lines to run at the end, as they may appear
	makes             bool     // it makes the job, or gives it files
}

// maxSwitches bounds what is read of one command line that calls bitsadmin again
// and again.
const maxSwitches = 16

// bitsAsked reads bitsadmin's switches and Start-BitsTransfer's parameters.
func bitsAsked(s *said) bitsAsking {
	var a bitsAsking
	if !strings.Contains(s.lower, "bits") {
		return a
	}
	switch ws := words(s.text); {
	case strings.Contains(s.lower, "bitsadmin"):
		switches := 0
		for i, w := range ws {
			if len(w) < 2 || w[0] != '/' && w[0] != '-' {
				continue
			}
			rest := ws[i+1:]
			flag := strings.ToLower(w[1:])
			switch flag {
			case "transfer", "create", "addfile", "resume", "setnotifycmdline":
				if switches++; switches > maxSwitches {
					return a
				}
			}
			switch flag {
			case "transfer", "create", "addfile", "resume":
				// The options that may stand before the job's name.
				for len(rest) > 0 && strings.HasPrefix(rest[0], "/") {
					skip := 1
					if strings.EqualFold(rest[0], "/priority") || strings.EqualFold(rest[0], "/aclflags") {
						skip = 2
					}
					rest = rest[min(skip, len(rest)):]
				}
				if len(rest) > 0 {
					a.title, a.makes = rest[0], true
				}
				for _, x := range rest[min(1, len(rest)):] {
					switch {
					case strings.Contains(x, "://") && a.url == "":
						a.url = x
					case a.url != "" && a.local == "" && strings.ContainsAny(x, `\%`):
						a.local = x
					}
				}
			case "setnotifycmdline":
				if len(rest) < 2 {
					continue
				}
				a.title = rest[0]
				a.notify = append(a.notify, rest[1])
				if len(rest) > 2 && !strings.EqualFold(rest[2], "NULL") {
					a.notify = append(a.notify, strings.Join(rest[2:], " "), rest[1]+" "+strings.Join(rest[2:], " "))
				}
			}
		}
	case strings.Contains(s.lower, "start-bitstransfer"):
		a.makes = true
		a.title = option(ws, "-displayname")
		a.url = strings.Trim(option(ws, "-source"), `'"`)
		a.local = strings.Trim(option(ws, "-destination"), `'"`)
		for i, w := range ws {
			if !strings.EqualFold(strings.Trim(w, "'\"({;&"), "start-bitstransfer") {
				continue
			}
			// The first two may go without their names.
			for _, x := range ws[i+1 : min(i+3, len(ws))] {
				x = strings.Trim(x, "'\",;")
				switch {
				case strings.HasPrefix(x, "-"):
				case a.url == "" && strings.Contains(x, "://"):
					a.url = x
				case a.url != "" && a.local == "" && strings.ContainsAny(x, `\`):
					a.local = x
				}
			}
		}
	}
	return a
}
