package incident

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"ashiato/internal/provenance"
	"ashiato/internal/world"
)

// Impact is what an intrusion did to what was there, as far as it was recorded.
// Incident.Persistence lists what it left behind.
type Impact struct {
	// Reached are the hosts it came to from where it began, sorted.
	Reached []string
	// Dropped are the files it wrote that are still there, and Hidden what it
	// hid; both sorted.
	Dropped, Hidden []provenance.NodeID
	// Running are the processes of the story, from the first detection on, whose
	// end no record shows although their log records ends; sorted. They are to be
	// ended before anything else.
	Running []provenance.NodeID
	// Exposed are the accounts whose credentials may have been stolen: those with
	// a session on a host when the memory of its lsass.exe was opened or dumped.
	Exposed []Exposure
}

// Exposure is an account whose credentials may have been stolen.
type Exposure struct {
	provenance.Session
	// Reader is the process that opened the memory or wrote it to a file, and Time
	// when; it is the file if who wrote it is not known.
	Reader provenance.NodeID
	Time   time.Time
}

// credentialTheft is the behaviour of rules that see lsass's memory read.
const credentialTheft = "credential-theft"

// lsass is where Windows keeps the credentials of sessions.
const lsass = `c:\windows\system32\lsass.exe`

func (b *builder) impact(i *Incident) Impact {
	var m Impact
	if root := b.g.Node(i.Root.Node); root != nil {
		for _, h := range i.Hosts {
			if world.HostKey(h) != world.HostKey(root.Host) {
				m.Reached = append(m.Reached, h)
			}
		}
	}
	hid := map[provenance.NodeID]bool{}
	type read struct {
		reader provenance.NodeID
		host   string
	}
	reads := map[read]time.Time{}
	note := func(n provenance.NodeID, host string, t time.Time) {
		k := read{n, world.HostKey(host)}
		if have, ok := reads[k]; !ok || t.Before(have) {
			reads[k] = t
		}
	}
	writer := map[provenance.NodeID]provenance.NodeID{}
	for _, e := range i.Edges {
		if !b.core[e.From] {
			continue
		}
		if from := b.g.Node(e.From); e.Verb == provenance.Wrote && from.Kind == provenance.Process {
			if have, ok := writer[e.To]; !ok || e.From < have {
				writer[e.To] = e.From
			}
		}
		switch to := b.g.Node(e.To); {
		case e.Verb == provenance.Hid:
			hid[e.To] = true
		case (e.Verb == provenance.Accessed || e.Verb == provenance.Injected) && to.Kind == provenance.Process && world.PathKey(to.Path) == lsass:
			note(e.From, to.Host, e.First)
		}
	}
	for _, d := range i.Detections {
		if d.Rule.Behaviour == credentialTheft && slices.ContainsFunc(d.Rule.Attack, func(t string) bool { return t == "T1003.001" || t == "T1003" }) {
			note(cmp.Or(writer[d.Node], d.Node), d.Event.Host, d.Event.Time)
		}
	}
	for id := range hid {
		m.Hidden = append(m.Hidden, id)
	}
	for _, p := range i.Persistence {
		if p.Kind == "file" {
			m.Dropped = append(m.Dropped, p.Node)
		}
	}
	for _, n := range i.Nodes {
		if n.Kind == provenance.Process && b.core[n.ID] && b.after[n.ID] && !n.Hub && n.Ended.IsZero() && !n.Implied && b.g.EndRecorded(n) {
			m.Running = append(m.Running, n.ID)
		}
	}
	for k, t := range reads {
		n := b.g.Node(k.reader)
		if n == nil {
			continue
		}
		for _, s := range b.g.SessionsAt(n.Host, t) {
			m.expose(Exposure{s, k.reader, t})
		}
	}
	slices.Sort(m.Dropped)
	slices.Sort(m.Hidden)
	slices.Sort(m.Running)
	slices.SortFunc(m.Exposed, func(x, y Exposure) int {
		return cmp.Or(strings.Compare(strings.ToLower(x.User), strings.ToLower(y.User)), strings.Compare(x.Host, y.Host), cmp.Compare(x.LogonID, y.LogonID))
	})
	return m
}

// expose adds an exposure; of several readings of one session the first counts,
// of equals that of the smallest node.
func (m *Impact) expose(x Exposure) {
	for i, have := range m.Exposed {
		if world.HostKey(have.Host) == world.HostKey(x.Host) && have.LogonID == x.LogonID {
			if x.Time.Before(have.Time) || x.Time.Equal(have.Time) && x.Reader < have.Reader {
				m.Exposed[i] = x
			}
			return
		}
	}
	m.Exposed = append(m.Exposed, x)
}
