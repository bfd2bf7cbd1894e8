package provenance

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"ashiato/internal/event"
	"ashiato/internal/world"
)

// wellKnown logon sessions are the system's own; everything is in them.
func wellKnownLogon(luid string) bool {
	n := world.ParseNumber(luid)
	return n == 0 || n == 0x3e7 || n == 0x3e4 || n == 0x3e5
}

// WellKnownLogon reports whether a logon id is of the system's own sessions, in
// which everything is, or of none.
func WellKnownLogon(luid string) bool { return wellKnownLogon(luid) }

// session is a logon session that can hand something on: one that was opened
// from another machine, or by a program with credentials of its own choice.
// What a person does at the keyboard all day is in a session too, but joins
// nothing.
type session struct {
	host string
	luid uint64
	t    time.Time
	// record is what shows it: its 4624, or of an implied one the first record
	// of what was done in it. other is the 4624 of its second half: User Account
	// Control splits an administrator's logon in two.
	record, other *world.Record
	// remote says that it was opened from another machine, credentials that the
	// secondary logon service (runas) opened it.
	remote, credentials bool
	implied             bool
	// desktop says that its user came by remote desktop to a session of which the
	// logon is not recorded, or that was there before: it holds from t on only.
	desktop bool
	// left is the session that its user left, or went on with at the machine
	// itself: what comes after is nobody's from elsewhere.
	left *session
	// user is the account, ip and port where it was opened from, as recorded.
	user, ip, port string
}

// key is the session's identity.
func (s *session) key() string {
	return fmt.Sprintf("%s@%d", sessionKey(s.host, strconv.FormatUint(s.luid, 10)), s.t.UnixNano())
}

// id names its node. When an implied one was opened is not known.
func (s *session) id() NodeID {
	if s.implied {
		return id(Logon, s.host, fmt.Sprintf("%x@unrecorded", s.luid))
	}
	return id(Logon, s.host, fmt.Sprintf("%x@%s", s.luid, s.t.Format(event.TimeFormat)))
}

func (s *session) refs() []event.EvidenceRef {
	if s.other != nil {
		return []event.EvidenceRef{s.record.Ref, s.other.Ref}
	}
	return []event.EvidenceRef{s.record.Ref}
}

// sessionKey is the key of a logon session; a LUID is good on its host until the
// next boot.
func sessionKey(host, luid string) string {
	return world.HostKey(host) + "|" + strconv.FormatUint(world.ParseNumber(luid), 16)
}

// address returns the match form of an IP address, without its zone and the
// prefix of mapped IPv4 addresses; "" for what is none or is this machine.
func address(s string) string {
	a, err := netip.ParseAddr(strings.TrimSpace(s))
	if err != nil {
		return ""
	}
	a = a.Unmap().WithZone("")
	if a.IsLoopback() || a.IsUnspecified() || a.IsMulticast() {
		return ""
	}
	return a.String()
}

// boot is that a host ran under a boot id from a time on.
type boot struct {
	t  time.Time
	id uint64
}

// indexBoots finds the boots of each host from the start keys of its processes.
func (j *joiner) indexBoots() {
	j.boots = map[string][]boot{}
	for _, p := range j.processes {
		id := p.StartKey >> 48
		if id == 0 {
			continue
		}
		k := world.HostKey(p.Host)
		if list := j.boots[k]; len(list) == 0 || list[len(list)-1].id != id {
			j.boots[k] = append(list, boot{p.Start, id})
		}
	}
}

// bootAt returns the boot id of a host at t, 0 if it is not known.
func (g *Graph) bootAt(host string, t time.Time) uint64 {
	list := g.boots[world.HostKey(host)]
	i := sort.Search(len(list), func(i int) bool { return list[i].t.After(t) })
	if i == 0 {
		return 0
	}
	return list[i-1].id
}

// indexLogons finds the logon sessions that can hand something on.
func (j *joiner) indexLogons() {
	j.indexBoots()
	j.logons, j.desktopLogons = map[string][]*session{}, map[string][]*session{}
	linked := map[string]string{} // the two halves of an administrator's logon, by sessionKey
	for _, r := range j.records {
		if r.Kind == event.RemoteDesktop && r.Get("TargetLogonId") != "" {
			j.reconnected(r, linked)
		}
		if r.Kind != event.Logon || wellKnownLogon(r.Get("TargetLogonId")) {
			continue
		}
		if other := r.Get("TargetLinkedLogonId"); !wellKnownLogon(other) {
			linked[sessionKey(r.Host, r.Get("TargetLogonId"))] = sessionKey(r.Host, other)
		}
		remote, credentials := j.remote(r), seclogon(r)
		if !remote && !credentials {
			continue
		}
		k := sessionKey(r.Host, r.Get("TargetLogonId"))
		if list := j.logons[k]; len(list) > 0 && r.Time.Sub(list[len(list)-1].t) <= slack {
			continue // a copy that another channel has
		}
		s := &session{
			host: r.Host, luid: r.Number("TargetLogonId"), t: r.Time, record: r, remote: remote, credentials: credentials,
			user: r.Get("TargetUserName"), ip: r.Get("IpAddress"), port: r.Get("IpPort"),
		}
		if linked := r.Get("TargetLinkedLogonId"); !wellKnownLogon(linked) {
			if list := j.logons[sessionKey(r.Host, linked)]; len(list) > 0 {
				if half := list[len(list)-1]; half.other == nil && r.Time.Sub(half.t) <= linkedWindow && half.record.Number("TargetLinkedLogonId") == s.luid {
					half.other, s = r, half
				}
			}
		}
		j.logons[k] = append(j.logons[k], s)
		if kind := r.Get("LogonType"); s.record == r && kind != "3" && kind != "8" {
			d := desktopKey(r.Host, r.Get("TargetUserName"), r.Get("IpAddress"))
			j.desktopLogons[d] = append(j.desktopLogons[d], s)
		}
	}
	// Sessions that only what was done over a share tells of.
	for _, r := range j.records {
		if r.Kind != event.ShareAccess || wellKnownLogon(r.Get("SubjectLogonId")) || !j.elsewhere(r.Host, r.Get("IpAddress")) {
			continue
		}
		if j.sessionAt(r.Host, r.Get("SubjectLogonId"), r.Time) == nil {
			k := sessionKey(r.Host, r.Get("SubjectLogonId"))
			j.logons[k] = append(j.logons[k], &session{
				host: r.Host, luid: r.Number("SubjectLogonId"), t: r.Time, record: r, remote: true, implied: true,
				user: r.Get("SubjectUserName"), ip: r.Get("IpAddress"), port: r.Get("IpPort"),
			})
			slices.SortStableFunc(j.logons[k], func(a, b *session) int { return a.t.Compare(b.t) })
		}
	}
	j.clipboards()
}

// reconnected takes in that somebody came back to a session, or left it (Security
// 4778, 4779): from another machine, or at this one. What is done in it from then
// on is theirs.
func (j *joiner) reconnected(r *world.Record, linked map[string]string) {
	luid := r.Get("TargetLogonId")
	if wellKnownLogon(luid) {
		return
	}
	k := sessionKey(r.Host, luid)
	s := &session{
		host: r.Host, luid: r.Number("TargetLogonId"), t: r.Time, record: r, desktop: true,
		user: accountName(r.Get("User")), ip: r.Get("IpAddress"), remote: r.ID == 4778 && j.elsewhere(r.Host, r.Get("IpAddress")),
	}
	if list := j.logons[k]; len(list) > 0 {
		last := list[len(list)-1]
		if last.desktop && last.record.ID == r.ID && r.Time.Sub(last.t) <= slack {
			return // a copy that another channel has
		}
		s.left = cmp.Or(last.left, last)
	}
	if s.remote {
		s.left = nil
		d := desktopKey(r.Host, r.Get("User"), r.Get("IpAddress"))
		j.desktopLogons[d] = append(j.desktopLogons[d], s)
	} else if s.left == nil {
		return // nobody from elsewhere was there
	}
	j.logons[k] = append(j.logons[k], s)
	if other := linked[k]; other != "" {
		j.logons[other] = append(j.logons[other], s)
	}
}

const (
	rdpPort = "3389"                            // where the Remote Desktop service listens
	rdpclip = `c:\windows\system32\rdpclip.exe` // what carries a session's clipboard
)

// desktopClient returns where a connection to the Remote Desktop service came
// from; ok is false for other connections.
func desktopClient(r *world.Record) (ip, port string, ok bool) {
	if r.Kind != event.NetworkConnect || !strings.EqualFold(r.Get("Initiated"), "false") {
		return "", "", false
	}
	// Records put either end first.
	switch {
	case r.Get("DestinationPort") == rdpPort:
		return r.Get("SourceIp"), r.Get("SourcePort"), true
	case r.Get("SourcePort") == rdpPort:
		return r.Get("DestinationIp"), r.Get("DestinationPort"), true
	}
	return "", "", false
}

// clipboards finds the remote desktop sessions of which no logon is recorded, by
// the program that every such session starts and no other (rdpclip.exe), and the
// one machine that had connected to the Remote Desktop service in the minute
// before. If there were several it could be any of them.
func (j *joiner) clipboards() {
	type inbound struct {
		r        *world.Record
		ip, port string
	}
	came := map[string][]inbound{} // by host, by time
	for _, r := range j.records {
		if ip, port, ok := desktopClient(r); ok && j.elsewhere(r.Host, ip) {
			came[world.HostKey(r.Host)] = append(came[world.HostKey(r.Host)], inbound{r, ip, port})
		}
	}
	if len(came) == 0 {
		return
	}
	for _, p := range j.processes {
		if p.Implied || p.ImageKey() != rdpclip || wellKnownLogon(p.LogonID) || j.sessionAt(p.Host, p.LogonID, p.Start) != nil {
			continue
		}
		var from *inbound
		one := true
		list := came[world.HostKey(p.Host)]
		for i := sort.Search(len(list), func(i int) bool { return !list[i].r.Time.Before(p.Start.Add(-desktopWindow)) }); i < len(list) && !list[i].r.Time.After(p.Start.Add(slack)); i++ {
			one = one && (from == nil || address(from.ip) == address(list[i].ip))
			from = &list[i]
		}
		if from == nil || !one {
			continue
		}
		k := sessionKey(p.Host, p.LogonID)
		j.logons[k] = append(j.logons[k], &session{
			host: p.Host, luid: world.ParseNumber(p.LogonID), t: from.r.Time, record: from.r, remote: true, implied: true, desktop: true,
			user: accountName(p.User), ip: from.ip, port: from.port,
		})
		slices.SortStableFunc(j.logons[k], func(a, b *session) int { return a.t.Compare(b.t) })
	}
}

// linkedWindow is how far apart the records of the two halves of one logon are.
const linkedWindow = 5 * time.Second

// sessionAt returns the session of that LUID on a host at t, nil if it is none
// that hands something on or is of another boot.
func (g *Graph) sessionAt(host, luid string, t time.Time) *session {
	if wellKnownLogon(luid) {
		return nil
	}
	list := g.logons[sessionKey(host, luid)]
	i := sort.Search(len(list), func(i int) bool { return list[i].t.After(t.Add(2 * slack)) })
	for i > 0 && list[i-1].desktop && list[i-1].t.After(t) {
		i-- // nobody had come, or gone, yet
	}
	var s *session
	switch {
	case i > 0:
		s = list[i-1]
	case len(list) > 0 && list[0].implied && !list[0].desktop:
		s = list[0] // it was opened before what tells of it
	default:
		return nil
	}
	if a, b := g.bootAt(host, s.t), g.bootAt(host, t); s.left != nil || a != 0 && b != 0 && a != b {
		return nil
	}
	return s
}

// sessionOf returns the session on whose behalf r was done, or that it opened.
func (g *Graph) sessionOf(r *world.Record) *session {
	if r.Kind == event.Logon {
		return g.sessionAt(r.Host, r.Get("TargetLogonId"), r.Time)
	}
	return g.sessionAt(r.Host, r.Get("SubjectLogonId"), r.Time)
}

// elsewhere reports whether an address is another machine's than the host's.
func (g *Graph) elsewhere(host, ip string) bool {
	a := address(ip)
	return a != "" && g.hostAt(a) != world.HostKey(host)
}

// remote reports whether a 4624 record is of a logon from another machine that
// is not the system's own: over the network (3), with the password in clear (8),
// by remote desktop (10, 12) or a return to such a session (7). Of what comes
// by WinRM no address is recorded, only that no process of this machine asked.
func (g *Graph) remote(r *world.Record) bool {
	if r.Kind != event.Logon || wellKnownLogon(r.Get("TargetLogonId")) || strings.EqualFold(r.Get("TargetUserName"), "ANONYMOUS LOGON") {
		return false
	}
	elsewhere := g.elsewhere(r.Host, r.Get("IpAddress"))
	switch r.Get("LogonType") {
	case "3", "8":
		if r.Get("IpAddress") != "" {
			return elsewhere
		}
		name := strings.ToLower(strings.TrimSpace(r.Get("LogonProcessName")))
		return r.Number("ProcessId") == 0 && r.Get("Image") == "" && (name == "kerberos" || name == "ntlmssp") &&
			!strings.HasSuffix(r.Get("TargetUserName"), "$")
	case "7", "10", "12":
		return elsewhere
	}
	return false
}

// seclogon reports whether the secondary logon service opened the session of a
// 4624 record: runas, or a program that calls what runas does.
func seclogon(r *world.Record) bool {
	kind := r.Get("LogonType")
	return (kind == "2" || kind == "9") && strings.HasPrefix(strings.ToLower(r.Get("LogonProcessName")), "seclogo")
}

// logon returns the node of the session that r opened, or in which it was done.
func (g *Graph) logon(r *world.Record) *Node {
	if s := g.sessionOf(r); s != nil {
		return g.sessionNode(s)
	}
	return g.sessionNode(&session{
		host: r.Host, luid: cmp.Or(r.Number("TargetLogonId"), r.Number("SubjectLogonId")), t: r.Time, record: r, implied: r.Kind != event.Logon,
		user: cmp.Or(r.Get("TargetUserName"), r.Get("SubjectUserName")), ip: r.Get("IpAddress"), port: r.Get("IpPort"),
	})
}

func (g *Graph) sessionNode(s *session) *Node {
	r := s.record
	return g.add(s.id(), Logon, s.host, s.t, s.refs(), func(n *Node) {
		n.Label = cmp.Or(s.user, "0x"+strconv.FormatUint(s.luid, 16))
		if !s.credentials {
			n.Path = s.ip
		}
		if s.implied {
			n.Implied, n.Reason = true, "logon-not-recorded"
			n.Attrs = append(n.Attrs, event.Field{Name: "TargetLogonId", Value: "0x" + strconv.FormatUint(s.luid, 16)})
		}
		for _, name := range []string{
			"IpAddress", "IpPort", "LogonProcessName", "LogonType", "SubjectUserName", "TargetLogonId", "TargetLinkedLogonId", "TargetUserName",
			"WorkstationName",
		} {
			if v := r.Get(name); v != "" && name != "LogonProcessName" || s.credentials && v != "" {
				n.Attrs = append(n.Attrs, event.Field{Name: name, Value: v})
			}
		}
		if s.desktop {
			for _, f := range []event.Field{{Name: "IpAddress", Value: s.ip}, {Name: "IpPort", Value: s.port}, {Name: "SessionName", Value: r.Get("SessionName")}, {Name: "TargetUserName", Value: s.user}} {
				if f.Value != "" && n.Attr(f.Name) == "" {
					n.Attrs = append(n.Attrs, f)
				}
			}
		}
	})
}

// eachSession calls f with every session once, in a fixed order.
func (j *joiner) eachSession(f func(*session)) {
	for _, k := range sortedKeys(j.logons) {
		for _, s := range j.logons[k] {
			if s.left == nil && sessionKey(s.host, strconv.FormatUint(s.luid, 10)) == k {
				f(s)
			}
		}
	}
}

// maxSkew is how far the clocks of two hosts may be apart.
const maxSkew = 2 * time.Minute

// peer is the key of the two ends of one connection: the client's address and
// port, and the host that it came to.
func peer(ip, port, host string) string { return ip + "|" + port + "|" + world.HostKey(host) }

// shortName is the match form of a host without its domain.
func shortName(host string) string {
	short, _, _ := strings.Cut(world.HostKey(strings.TrimSpace(host)), ".")
	return strings.Trim(short, `\ `)
}

// logonHandoffs are the hand-offs of logon sessions: what asked for a session,
// on the same or on another machine, and what was started in it. Interactive
// sessions hold a person's whole day and join nothing; a remote one leads to the
// processes that brokers started in it, from which the tree goes on.
var logonHandoffs = []handoff{
	{
		row: 16, join: "connection", verb: LoggedOn, class: ClassB, within: maxSkew, skew: maxSkew,
		causes: func(j *joiner, yield func(half)) {
			came := map[string][]string{} // ip|port → hosts with a logon from there
			j.eachSession(func(s *session) {
				k, ok := s.from()
				if !ok {
					return
				}
				if !slices.Contains(came[k], world.HostKey(s.host)) {
					came[k] = append(came[k], world.HostKey(s.host))
				}
				if machineAccount(s.user) {
					came[k+"|$"] = []string{}
				}
			})
			if len(came) == 0 {
				return
			}
			for _, r := range j.records {
				if r.Kind != event.NetworkConnect || !strings.EqualFold(r.Get("Initiated"), "true") {
					continue
				}
				port := r.Get("SourcePort")
				ip := address(r.Get("SourceIp"))
				hosts := came[ip+"|"+port]
				if ip == "" || len(hosts) == 0 {
					continue
				}
				p, _ := j.w.Actor(r)
				if p == nil {
					continue
				}
				to := j.hostAt(address(r.Get("DestinationIp")))
				for _, host := range hosts {
					if host != world.HostKey(r.Host) && (to == "" || to == host) {
						// Windows' own services log on to each other's machines all
						// day; its kernel does so for whoever uses a share.
						if j.hub(p) && (p.ImageKey() != "system" || came[ip+"|"+port+"|$"] != nil) {
							continue
						}
						yield(half{
							key: peer(ip, port, host), t: r.Time, refs: []event.EvidenceRef{r.Ref},
							node: func() *Node { return j.process(p) },
						})
					}
				}
			}
		},
		effects: func(j *joiner, yield func(half)) {
			j.eachSession(func(s *session) {
				if _, ok := s.from(); ok && s.remote {
					yield(half{
						key: peer(address(s.ip), s.port, s.host), t: s.t, refs: s.refs(),
						node: func() *Node { return j.sessionNode(s) },
					})
				}
			})
		},
	},
	{
		row: 16, join: "explicit-credentials", verb: LoggedOn, class: ClassB, within: maxSkew, skew: maxSkew,
		causes: func(j *joiner, yield func(half)) {
			for _, r := range j.records {
				if r.Kind != event.LogonExplicit {
					continue
				}
				server := r.Get("TargetServerName")
				if ip := address(server); ip != "" {
					server = j.hostAt(ip)
				}
				p, _ := j.w.Actor(r)
				name := shortName(server)
				if p == nil || name == "" || name == "localhost" || name == shortName(r.Host) {
					continue
				}
				user := strings.ToLower(r.Get("TargetUserName"))
				// A host whose address is known is not who came from another one.
				from := []string{world.HostKey(r.Host), "-", ""}
				if j.ask(askLocated, world.HostKey(r.Host)) == "true" {
					from = from[:2]
				}
				for _, from := range from {
					yield(half{
						key: name + "|" + user + "|" + from, t: r.Time, refs: []event.EvidenceRef{r.Ref},
						node: func() *Node { return j.process(p) },
					})
				}
			}
		},
		effects: func(j *joiner, yield func(half)) {
			j.eachSession(func(s *session) {
				if !s.remote {
					return
				}
				user := strings.ToLower(s.user)
				// Where the session's address is known to be a host's, only that
				// host's own record will do.
				from := "-"
				if a := address(s.ip); a != "" {
					from = j.hostAt(a)
				}
				yield(half{
					key: shortName(s.host) + "|" + user + "|" + from, t: s.t, refs: s.refs(),
					node: func() *Node { return j.sessionNode(s) },
				})
			})
		},
	},
	{
		row: 16, join: "logon-guid", verb: LoggedOn, class: ClassA, within: maxSkew, skew: maxSkew,
		causes: func(j *joiner, yield func(half)) {
			for _, r := range j.records {
				if r.Kind != event.LogonExplicit || zeroGUID(r.Get("TargetLogonGuid")) {
					continue
				}
				if p, _ := j.w.Actor(r); p != nil && !j.hub(p) {
					yield(half{
						key: guidKey(r.Get("TargetLogonGuid")), t: r.Time, refs: []event.EvidenceRef{r.Ref},
						node: func() *Node { return j.process(p) },
					})
				}
			}
		},
		effects: func(j *joiner, yield func(half)) {
			j.eachSession(func(s *session) {
				if g := s.record.Get("LogonGuid"); !zeroGUID(g) {
					yield(half{key: guidKey(g), t: s.t, refs: s.refs(), node: func() *Node { return j.sessionNode(s) }})
				}
			})
		},
	},
	{
		// Who asked for a session with other credentials: the parent of what was
		// started in it first, which the secondary logon service passes on.
		row: 21, join: "requester", verb: LoggedOn, class: ClassA, within: claimWindow,
		causes: func(j *joiner, yield func(half)) {
			j.entrants(func(s *session, p *world.Process) {
				if q := p.Parent; s.credentials && q != nil && !j.hub(q) && (q.Implied || wellKnownLogon(q.LogonID) ||
					world.ParseNumber(q.LogonID) == s.record.Number("SubjectLogonId")) {
					yield(half{key: s.key(), t: s.t, refs: p.Evidence, node: func() *Node { return j.process(q) }})
				}
			})
		},
		effects: func(j *joiner, yield func(half)) {
			j.eachSession(func(s *session) {
				if s.credentials {
					yield(half{key: s.key(), t: s.t, refs: s.refs(), node: func() *Node { return j.sessionNode(s) }})
				}
			})
		},
	},
	{
		row: 21, join: "credentials-logon-id", verb: LoggedOn, class: ClassA, latest: true,
		causes: sessionCauses(func(s *session) bool { return s.credentials }),
		effects: func(j *joiner, yield func(half)) {
			j.entrants(func(s *session, p *world.Process) {
				if s.credentials {
					yield(half{key: s.key(), t: p.Start, refs: p.Evidence, node: func() *Node { return j.process(p) }})
				}
			})
		},
	},
	{
		row: 17, join: "logon-id", verb: LoggedOn, class: ClassA, latest: true,
		causes: sessionCauses(func(s *session) bool { return s.remote }),
		effects: func(j *joiner, yield func(half)) {
			for _, p := range j.processes {
				// A remote shell of which the start is not recorded has no logon id
				// that could lead further than to it.
				if p.Implied || wellKnownLogon(p.LogonID) || !j.userLaunch(p) && !(p.Parent.Implied && shellHost(p.Parent)) && !forked(p) {
					continue
				}
				if s := j.sessionAt(p.Host, p.LogonID, p.Start); s != nil && s.remote && !s.handedOn(p) {
					yield(half{key: s.key(), t: p.Start, refs: p.Evidence, node: func() *Node { return j.process(p) }})
				}
			}
		},
	},
	{
		// A remote desktop session of which the logon itself is not recorded.
		row: 19, join: "terminal-session", verb: LoggedOn, class: ClassB, latest: true,
		causes: func(j *joiner, yield func(half)) {
			gone := map[string][]time.Time{} // when who was there went (24)
			for _, r := range j.records {
				if r.Kind == event.RemoteDesktop && r.ID == 24 {
					k := terminalKey(r.Host, r.Get("TerminalSessionId"), "")
					gone[k] = append(gone[k], r.Time)
				}
			}
			for _, r := range j.records {
				if r.Kind == event.RemoteDesktop && (r.ID == 21 || r.ID == 25) && r.Get("TerminalSessionId") != "" && j.elsewhere(r.Host, r.Get("IpAddress")) {
					yield(half{
						key: terminalKey(r.Host, r.Get("TerminalSessionId"), r.Get("User")), t: r.Time, until: until(gone[terminalKey(r.Host, r.Get("TerminalSessionId"), "")], r.Time),
						refs: []event.EvidenceRef{r.Ref}, node: func() *Node { return j.desktop(r) },
					})
				}
			}
		},
		effects: func(j *joiner, yield func(half)) {
			for _, p := range j.processes {
				if p.Implied || p.TerminalSession == "" || p.TerminalSession == "0" || !j.userLaunch(p) || j.sessionAt(p.Host, p.LogonID, p.Start) != nil {
					continue
				}
				yield(half{
					key: terminalKey(p.Host, p.TerminalSession, p.User), t: p.Start, refs: p.Evidence,
					node: func() *Node { return j.process(p) },
				})
			}
		},
	},
}

// sessionCauses yields the sessions that are wanted, as causes under their key.
func sessionCauses(wanted func(*session) bool) func(*joiner, func(half)) {
	return func(j *joiner, yield func(half)) {
		j.eachSession(func(s *session) {
			if wanted(s) {
				yield(half{key: s.key(), t: s.t.Add(-slack), refs: s.refs(), node: func() *Node { return j.sessionNode(s) }})
			}
		})
	}
}

// from returns the address and port that the session was opened from.
func (s *session) from() (string, bool) {
	ip := address(s.ip)
	return ip + "|" + s.port, ip != "" && world.ParseNumber(s.port) != 0
}

// entrants calls f with the processes that are the first in their session: their
// parent is in another one or unknown.
func (j *joiner) entrants(f func(*session, *world.Process)) {
	for _, p := range j.processes {
		if p.Implied || wellKnownLogon(p.LogonID) {
			continue
		}
		s := j.sessionAt(p.Host, p.LogonID, p.Start)
		if s == nil {
			continue
		}
		if q := p.Parent; q != nil && j.sessionAt(q.Host, q.LogonID, p.Start) == s {
			continue
		}
		f(s, p)
	}
}

// until returns the first of sorted times after t, zero if there is none.
func until(times []time.Time, t time.Time) time.Time {
	if i := sort.Search(len(times), func(i int) bool { return times[i].After(t) }); i < len(times) {
		return times[i]
	}
	return time.Time{}
}

// terminalKey is the key of a Terminal Services session and its user.
func terminalKey(host, session, user string) string {
	return world.HostKey(host) + "|" + session + "|" + strings.ToLower(accountName(user))
}

// desktopWindow is how far apart the records of one coming by remote desktop may
// be: the connection, the logon, the session.
const desktopWindow = time.Minute

// desktopSession returns the remote desktop logon that a record of Terminal
// Services is about, the nearest of its user and address, nil if its 4624 is not
// recorded.
func (g *Graph) desktopSession(r *world.Record) *session {
	list := g.desktopLogons[desktopKey(r.Host, r.Get("User"), r.Get("IpAddress"))]
	i := sort.Search(len(list), func(i int) bool { return !list[i].t.Before(r.Time) })
	var best *session
	for _, s := range list[max(i-1, 0):min(i+1, len(list))] {
		if gap := s.t.Sub(r.Time).Abs(); gap <= desktopWindow && (best == nil || gap < best.t.Sub(r.Time).Abs()) {
			best = s
		}
	}
	return best
}

func desktopKey(host, user, ip string) string {
	return world.HostKey(host) + "|" + strings.ToLower(accountName(user)) + "|" + address(ip)
}

// accountName is an account without its domain.
func accountName(user string) string { return user[strings.LastIndexByte(user, '\\')+1:] }

// desktop returns the node of that logon, implied if it has no 4624.
func (g *Graph) desktop(r *world.Record) *Node {
	if s := g.desktopSession(r); s != nil {
		return g.sessionNode(s)
	}
	user := accountName(r.Get("User"))
	key := strings.ToLower(user) + "|" + address(r.Get("IpAddress")) + "@" + r.Time.Format(event.TimeFormat)
	return g.add(id(Logon, r.Host, key), Logon, r.Host, r.Time, []event.EvidenceRef{r.Ref}, func(n *Node) {
		n.Label, n.Path = cmp.Or(r.Get("User"), r.Get("IpAddress")), r.Get("IpAddress")
		n.Implied, n.Reason = true, "logon-not-recorded"
		for _, name := range []string{"IpAddress", "TerminalSessionId", "User"} {
			if v := r.Get(name); v != "" {
				n.Attrs = append(n.Attrs, event.Field{Name: name, Value: v})
			}
		}
	})
}

// desktops cites what Terminal Services recorded of a coming by remote desktop
// on the node of its logon, if that joined something.
func (j *joiner) desktops() {
	for _, r := range j.records {
		if r.Kind != event.RemoteDesktop {
			continue
		}
		if s := j.desktopSession(r); s != nil {
			if n := j.nodes[s.id()]; n != nil {
				n.Evidence = cite(n.Evidence, r.Ref, MaxNodeEvidence)
			}
		}
	}
}

func guidKey(guid string) string { return strings.ToLower(strings.Trim(guid, "{} ")) }

func zeroGUID(guid string) bool { return strings.Trim(guidKey(guid), "0-") == "" }
