package provenance

import (
	"regexp"
	"slices"
	"strings"

	"ashiato/internal/event"
	"ashiato/internal/world"
)

// winrmHandoffs are the hand-offs of remote shells. What runs in one is a child of
// wsmprovhost.exe (PowerShell) or winrshost.exe (winrs), which the DCOM launcher
// starts, one for each shell, in the client's logon session: to that it is joined
// as any session's programs are.
var winrmHandoffs = []handoff{
	{ // The client's own record names the machine and, in its header, the process.
		row: 18, join: "winrm-client", verb: Requested, class: ClassB, within: claimWindow, skew: maxSkew,
		causes: func(j *joiner, yield func(half)) {
			for _, r := range j.records {
				if r.Kind != event.RemoteShell || r.ID != 6 {
					continue
				}
				host := j.machine(connectionHost(r.Get("Connection")), r.Host)
				p := j.w.At(r.Host, r.PID, r.Time)
				if p == nil || host == "" {
					continue
				}
				for _, user := range j.shellUsers(p, host) {
					yield(half{key: host + "|" + user, t: r.Time, refs: []event.EvidenceRef{r.Ref}, node: func() *Node { return j.process(p) }})
				}
			}
		},
		effects: remoteShells,
	},
	{ // winrs -r:HOST …, Invoke-Command -ComputerName HOST …
		row: 18, join: "winrm-command", verb: Requested, class: ClassB, within: claimWindow, skew: maxSkew,
		causes: func(j *joiner, yield func(half)) {
			j.asks(func(s *said) []string {
				var keys []string
				for _, name := range remoteShellHosts(s) {
					host := j.machine(name, s.process.Host)
					if host == "" {
						continue
					}
					for _, user := range j.shellUsers(s.process, host) {
						keys = append(keys, host+"|"+user)
					}
				}
				return keys
			}, yield)
		},
		effects: remoteShells,
	},
}

// The users of remote shells under which either side is looked for: anyone, where
// the client may have given credentials that no record shows, and unknown, where
// the shell's record does not name its user.
const (
	anyUser     = "*"
	unknownUser = "?"
)

func remoteShells(j *joiner, yield func(half)) {
	for _, p := range j.processes {
		if p.Implied || !shellHost(p) {
			continue
		}
		user := unknownUser
		if s := j.sessionAt(p.Host, p.LogonID, p.Start); s != nil && s.user != "" && !s.implied {
			user = shellUser(s.user)
		} else if p.User != "" && !machineAccount(p.User) {
			user = shellUser(p.User)
		}
		for _, user := range []string{user, anyUser} {
			yield(half{key: world.HostKey(p.Host) + "|" + user, t: p.Start, refs: p.Evidence, node: func() *Node { return j.process(p) }})
		}
	}
}

func shellUser(user string) string {
	name, _, _ := strings.Cut(accountName(user), "@")
	return strings.ToLower(name)
}

// shellUsers returns as whom p may have opened a remote shell on a host: as
// itself, or as the account whose credentials it gave for that host. If it says
// that it has other credentials and no record shows which, as anyone.
func (j *joiner) shellUsers(p *world.Process, host string) []string {
	if j.given == nil {
		j.given, j.others = map[*world.Process][]*world.Record{}, map[*world.Process]bool{}
		says := j.says()
		for i := range says {
			s := &says[i]
			if strings.Contains(s.lower, "-cred") || strings.Contains(s.lower, "winrs") && (strings.Contains(s.lower, "-u") || strings.Contains(s.lower, "/u")) {
				j.others[s.process] = true
			}
		}
		for _, r := range j.records {
			if r.Kind == event.LogonExplicit {
				if q, _ := j.w.Actor(r); q != nil {
					j.given[q] = append(j.given[q], r)
				}
			}
		}
	}
	users, other := []string{unknownUser}, j.others[p]
	add := func(user string) {
		if user = shellUser(user); user != "" && !slices.Contains(users, user) {
			users = append(users, user)
		}
	}
	for _, r := range j.given[p] {
		if j.machine(r.Get("TargetServerName"), p.Host) == host {
			add(r.Get("TargetUserName"))
			other = false
		}
	}
	if p.User == "" || machineAccount(p.User) {
		other = true
	} else {
		add(p.User)
	}
	if other {
		return []string{anyUser}
	}
	return users
}

// shellHost reports whether p hosts a remote shell: of one session, so that what
// it starts is that session's.
func shellHost(p *world.Process) bool {
	switch p.ImageKey() {
	case `c:\windows\system32\wsmprovhost.exe`, `c:\windows\system32\winrshost.exe`, `c:\windows\syswow64\wsmprovhost.exe`:
		return true
	}
	return false
}

// connectionHost reads the machine from a WinRM connection string,
// "host/wsman?PSVersion=5.1" or "http://host:5985/wsman".
func connectionHost(s string) string {
	if i := strings.Index(s, "://"); i >= 0 {
		s = s[i+3:]
	}
	if i := strings.IndexAny(s, "/?"); i >= 0 {
		s = s[:i]
	}
	if i := strings.LastIndexByte(s, ':'); i >= 0 && !strings.Contains(s[:i], ":") {
		s = s[:i]
	}
	return strings.Trim(s, "[]")
}

var winrsRemote = regexp.MustCompile(`(?i)[/-]r(?:emote)?:(?:"([^"]*)"|([^\s"]+))`)

// remoteShellHosts reads which machines a text opens remote shells on.
func remoteShellHosts(s *said) []string {
	switch {
	case strings.Contains(s.lower, "winrs"):
		if m := winrsRemote.FindStringSubmatch(s.text); m != nil {
			return []string{connectionHost(firstGroup(m))}
		}
	case strings.Contains(s.lower, "-pssession"), strings.Contains(s.lower, "invoke-command"), strings.Contains(s.lower, "icm "):
		list := firstGroup(computerName.FindStringSubmatch(s.text))
		names := strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' })
		return names[:min(len(names), 16)]
	}
	return nil
}

// machine returns the match form of the recorded host that a name or address in a
// text stands for, seen from a host. "" and the names for "this one" stand for
// that host itself. A short name that two hosts share stands for none.
func (j *joiner) machine(name, from string) string {
	name = strings.TrimRight(strings.ToLower(strings.TrimLeft(name, `\`)), ".")
	from = world.HostKey(from)
	switch name {
	case "", "localhost", "127.0.0.1", "::1":
		return from
	}
	if a := address(name); a != "" {
		return j.hostAt(a)
	}
	if j.ask(askKnown, name) == "true" {
		return j.ask(askName, name)
	}
	// The domain that is written may differ from the one that is recorded.
	return j.ask(askName, shortName(name))
}
