package provenance

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	"ashiato/internal/event"
	"ashiato/internal/world"
)

// Session is a logon session of an account on a host.
type Session struct {
	Host string
	User string // as recorded, with its domain if the record has it
	// LogonID is the session's LUID, good on its host until the next boot.
	LogonID  uint64
	Evidence []event.EvidenceRef // at most MaxNodeEvidence records that show it
}

// SessionsAt returns the sessions of people and named accounts that records show
// to exist on a host at t: those that a process running then belongs to, and
// interactive logons of the day before. A logon over the network (type 3) leaves
// nothing in memory that could be stolen and does not count, nor do the system's
// own accounts. They come by user and LUID.
func (g *Graph) SessionsAt(host string, t time.Time) []Session {
	g.indexSessions()
	found := map[uint64]*Session{}
	add := func(luid uint64, user string, ref event.EvidenceRef) {
		s := found[luid]
		if s == nil {
			s = &Session{Host: host, LogonID: luid}
			found[luid] = s
		}
		if s.User == "" || len(user) > len(s.User) || len(user) == len(s.User) && user < s.User {
			s.User = user
		}
		s.Evidence = cite(s.Evidence, ref, MaxNodeEvidence)
	}
	for _, x := range g.sessions[world.HostKey(host)] {
		if !x.from.After(t.Add(slack)) && (x.until.IsZero() || !x.until.Before(t)) {
			add(x.luid, x.user, x.ref)
		}
	}
	all := make([]Session, 0, len(found))
	for _, s := range found {
		all = append(all, *s)
	}
	slices.SortFunc(all, func(a, b Session) int {
		return cmp.Or(strings.Compare(strings.ToLower(a.User), strings.ToLower(b.User)), cmp.Compare(a.LogonID, b.LogonID))
	})
	return all
}

// sighting is that a record shows a session.
type sighting struct {
	luid        uint64
	user        string
	from, until time.Time // until is zero if no end is recorded
	ref         event.EvidenceRef
}

// logonDay is how long a logon without any process counts as a session.
const logonDay = 24 * time.Hour

func (g *Graph) indexSessions() {
	if g.sessions != nil {
		return
	}
	g.sessions = map[string][]sighting{}
	for _, p := range g.world.Processes() {
		if p.Implied || wellKnownLogon(p.LogonID) || p.User == "" || machineAccount(p.User) || len(p.Evidence) == 0 {
			continue
		}
		k := world.HostKey(p.Host)
		g.sessions[k] = append(g.sessions[k], sighting{world.ParseNumber(p.LogonID), p.User, p.Start, p.End, p.Evidence[0]})
	}
	for _, r := range g.world.Records() {
		if r.Kind != event.Logon || wellKnownLogon(r.Get("TargetLogonId")) || machineAccount(r.Get("TargetUserName")) {
			continue
		}
		// Of MS documentation of event 4624: 2 interactive, 7 unlock, 9 new
		// credentials, 10 remote interactive, 11 cached interactive, 12 and 13
		// their cached variants, 4 batch, 5 service, 8 network cleartext.
		if kind, err := strconv.Atoi(r.Get("LogonType")); err != nil || kind == 3 || kind == 0 {
			continue
		}
		k := world.HostKey(r.Host)
		g.sessions[k] = append(g.sessions[k], sighting{
			world.ParseNumber(r.Get("TargetLogonId")), r.Get("TargetUserName"), r.Time, r.Time.Add(logonDay), r.Ref,
		})
	}
}

// machineAccount reports whether a name is of the system's own accounts: the
// computer's, and those of services and desktops.
func machineAccount(user string) bool {
	domain, name, ok := strings.Cut(strings.ToLower(user), `\`)
	if !ok {
		domain, name = "", domain
	}
	switch domain {
	case "nt authority", "window manager", "font driver host", "nt service", "iis apppool", "autorite nt", "nt-autorität":
		return true
	}
	return name == "" || strings.HasSuffix(name, "$") || name == "system" || name == "local service" || name == "network service" ||
		name == "anonymous logon" || strings.HasPrefix(name, "dwm-") || strings.HasPrefix(name, "umfd-")
}
