package provenance

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"

	"ashiato/internal/event"
	"ashiato/internal/world"
)

// wellKnown logon sessions are the system's own; everything is in them.
func wellKnownLogon(luid string) bool {
	n := world.ParseNumber(luid)
	return n == 0 || n == 0x3e7 || n == 0x3e4 || n == 0x3e5
}

// logonHandoffs are the hand-offs of logon sessions. Interactive sessions hold a
// person's whole day and join nothing; a network logon from elsewhere leads to
// the processes that brokers started in its session.
var logonHandoffs = []handoff{
	{
		row: 17, join: "logon-id", verb: LoggedOn, class: ClassA, latest: true,
		causes: func(j *joiner, yield func(half)) {
			for _, r := range j.records {
				if r.Kind == event.Logon && j.remote(r) {
					yield(half{
						key: sessionKey(r.Host, r.Get("TargetLogonId")), t: r.Time, refs: []event.EvidenceRef{r.Ref},
						node: func() *Node { return j.logon(r) },
					})
				}
			}
		},
		effects: func(j *joiner, yield func(half)) {
			for _, p := range j.processes {
				if !p.Implied && !wellKnownLogon(p.LogonID) && j.userLaunch(p) {
					yield(half{
						key: sessionKey(p.Host, p.LogonID), t: p.Start, refs: p.Evidence,
						node: func() *Node { return j.process(p) },
					})
				}
			}
		},
	},
}

// sessionKey is the key of a logon session; a LUID is good on its host until the
// next boot.
func sessionKey(host, luid string) string {
	return world.HostKey(host) + "|" + strconv.FormatUint(world.ParseNumber(luid), 16)
}

// remote reports whether a 4624 record is of a network logon from another
// machine that is not the system's own.
func (g *Graph) remote(r *world.Record) bool {
	ip := r.Get("IpAddress")
	return r.Get("LogonType") == "3" && ip != "" && ip != "::1" && !strings.HasPrefix(ip, "127.") &&
		!wellKnownLogon(r.Get("TargetLogonId")) && !strings.EqualFold(r.Get("TargetUserName"), "ANONYMOUS LOGON")
}

func (g *Graph) logon(r *world.Record) *Node {
	key := fmt.Sprintf("%x@%s", world.ParseNumber(r.Get("TargetLogonId")), r.Time.Format(event.TimeFormat))
	return g.add(id(Logon, r.Host, key), Logon, r.Host, r.Time, []event.EvidenceRef{r.Ref}, func(n *Node) {
		n.Label = cmp.Or(r.Get("TargetUserName"), r.Get("TargetLogonId"))
		n.Path = r.Get("IpAddress")
		for _, name := range []string{"IpAddress", "IpPort", "LogonType", "TargetLogonId", "TargetUserName", "WorkstationName"} {
			if v := r.Get(name); v != "" {
				n.Attrs = append(n.Attrs, event.Field{Name: name, Value: v})
			}
		}
	})
}
