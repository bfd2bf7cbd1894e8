package provenance

import (
	"regexp"
	"strings"
	"time"

	"ashiato/internal/event"
	"ashiato/internal/world"
)

// comHandoffs are the hand-offs of COM: a server that is started for someone is a
// child of the DCOM launcher, and says of its client nothing at all. Most are
// started by Windows for itself, so only evidence of a client joins.
var comHandoffs = []handoff{
	{ // A client on another machine has a network logon, which the server runs in.
		row: 7, join: "com-logon", verb: Requested, class: ClassA, latest: true,
		causes: sessionCauses((*session).network),
		effects: func(j *joiner, yield func(half)) {
			for _, p := range j.comServers() {
				if s := j.sessionAt(p.Host, p.LogonID, p.Start); s != nil && s.network() {
					yield(half{key: s.key(), t: p.Start, refs: p.Evidence, node: func() *Node { return j.activation(p) }})
				}
			}
		},
	},
	{ // A command line or script names the class.
		row: 7, join: "com-class", verb: Requested, class: ClassB, within: claimWindow,
		causes: func(j *joiner, yield func(half)) {
			j.asks(func(s *said) []string {
				var keys []string
				for _, c := range comClasses(s) {
					host := j.machine(c.host, s.process.Host)
					if server := comServer(c.class); host != "" && server != "" {
						keys = append(keys, fileKey(host, server))
					}
				}
				return keys
			}, yield)
		},
		effects: func(j *joiner, yield func(half)) {
			for _, p := range j.comServers() {
				for _, key := range []string{world.Base(p.ImageKey()), classIn(p.CommandLine)} {
					if key != "" && key != "dllhost.exe" && key != "rundll32.exe" {
						yield(half{key: fileKey(p.Host, key), t: p.Start, refs: p.Evidence, node: func() *Node { return j.activation(p) }})
					}
				}
			}
		},
	},
	{ // Nothing tells: who of the same session had just been started.
		row: 7, join: "com-session", verb: Requested, class: ClassC, within: comWindow,
		causes: func(j *joiner, yield func(half)) {
			parents := map[*world.Process]bool{}
			for _, p := range j.processes {
				parents[p.Parent] = true
			}
			for _, p := range j.processes {
				if !p.Implied && !parents[p] && !wellKnownLogon(p.LogonID) && p.Image != "" && !j.hub(p) && (p.Parent == nil || !j.hub(p.Parent)) {
					yield(half{key: sessionKey(p.Host, p.LogonID), t: p.Start, refs: p.Evidence, node: func() *Node { return j.process(p) }})
				}
			}
		},
		effects: func(j *joiner, yield func(half)) {
			for _, p := range j.comServers() {
				if !surrogate(p) || p.Children == 0 || wellKnownLogon(p.LogonID) || j.hasCreator(activationID(p)) {
					continue
				}
				yield(half{key: sessionKey(p.Host, p.LogonID), t: p.Start, refs: p.Evidence, node: func() *Node { return j.activation(p) }})
			}
		},
	},
}

// comWindow is how long before a COM server's start its unknown client may have
// been started to be worth a guess.
const comWindow = 5 * time.Second

// comServers are the processes that the DCOM launcher started as COM servers.
func (j *joiner) comServers() []*world.Process {
	if j.activated == nil {
		j.activated = []*world.Process{}
		for _, p := range j.processes {
			if isComServer(p) {
				j.activated = append(j.activated, p)
			}
		}
	}
	return j.activated
}

// isComServer reports whether the DCOM launcher started p as a COM server. The
// hosts of remote shells and WMI's providers are such servers too, and have
// hand-offs of their own.
func isComServer(p *world.Process) bool {
	if p.Implied || p.Parent == nil || p.Parent.ImageKey() != `c:\windows\system32\svchost.exe` || shellHost(p) || wmiHosts[p.ImageKey()] {
		return false
	}
	if cmd := strings.ToLower(p.Parent.CommandLine); cmd != "" && !strings.Contains(cmd, "dcomlaunch") {
		return false
	}
	cmd := strings.ToLower(strings.TrimRight(p.CommandLine, " "))
	return strings.HasSuffix(cmd, "-embedding") || strings.HasSuffix(cmd, "/automation") || strings.Contains(cmd, "/processid:{")
}

// network reports whether a session is a caller's from another machine: what runs
// in it was asked for over the network. Who works by remote desktop has servers
// started for programs of that session.
func (s *session) network() bool {
	kind := s.record.Get("LogonType")
	return s.remote && !s.desktop && (kind == "3" || kind == "8" || kind == "")
}

// handedOn reports whether the session leads to p by way of a unit: a WMI
// operation or a COM activation.
func (s *session) handedOn(p *world.Process) bool {
	return s.network() && (p.Parent != nil && wmiHosts[p.Parent.ImageKey()] || isComServer(p))
}

func surrogate(p *world.Process) bool {
	return strings.EqualFold(world.Base(p.Image), "dllhost.exe")
}

var classID = regexp.MustCompile(`(?i)\{[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\}`)

// classIn is the match form of the class or application that a server's command
// line names, "" if it names none.
func classIn(cmd string) string { return strings.ToLower(classID.FindString(cmd)) }

func activationID(p *world.Process) NodeID { return id(COM, p.Host, p.Key) }

// activation is the unit of one COM server's start. A surrogate carries no
// lineage itself: what it starts is the unit's.
func (j *joiner) activation(p *world.Process) *Node {
	n := j.add(activationID(p), COM, p.Host, p.Start, p.Evidence, func(n *Node) {
		n.Label, n.Path = world.Base(p.Image), p.CommandLine
		if class := classID.FindString(p.CommandLine); class != "" {
			n.Label = class
			n.Attrs = []event.Field{{Name: "AppID", Value: class}}
		}
	})
	j.ran(n, p, "com-server")
	if !surrogate(p) {
		return n
	}
	if j.surrogates == nil {
		j.surrogates = map[*world.Process][]*world.Process{}
		for _, c := range j.processes {
			if c.Parent != nil && !c.Implied && surrogate(c.Parent) {
				j.surrogates[c.Parent] = append(j.surrogates[c.Parent], c)
			}
		}
	}
	children := j.surrogates[p]
	for _, c := range children[:min(len(children), maxRuns)] {
		j.ran(n, c, "com-server")
	}
	return n
}

// comClass is a COM class that a text asks for, by name or id.
type comClass struct{ class, host string }

var comCreation = regexp.MustCompile(`(?is)(?:gettypefrom(?:progid|clsid)\(\s*|createobject\(\s*|activatewithargs\(\s*|-com(?:object)?[\s:]+|-sta\s+|name="comobject"; value=)` +
	`(?:"([^"]*)"|'([^']*)'|(\{[^}\s]*\}|[\w.]+))(?:\s*,\s*(?:"([^"]*)"|'([^']*)'))?`)

// comClasses reads which COM classes a text creates, and where.
func comClasses(s *said) []comClass {
	if !strings.Contains(s.lower, "com") && !strings.Contains(s.lower, "createobject") && !strings.Contains(s.lower, "gettypefrom") && !strings.Contains(s.lower, "-sta ") {
		return nil
	}
	var all []comClass
	for _, m := range comCreation.FindAllStringSubmatch(s.text, 16) {
		if class := strings.ToLower(m[1] + m[2] + m[3]); class != "" {
			all = append(all, comClass{class, m[4] + m[5]})
		}
	}
	return all
}

// comPrograms are the programs behind the names of classes that are used to run
// something through another program (ATT&CK T1021.003, T1559.001).
var comPrograms = map[string]string{
	"mmc20.application": "mmc.exe", "excel.application": "excel.exe", "word.application": "winword.exe",
	"powerpoint.application": "powerpnt.exe", "outlook.application": "outlook.exe", "access.application": "msaccess.exe",
	"visio.application": "visio.exe", "visio.invisibleapp": "visio.exe", "internetexplorer.application": "iexplore.exe",
	"htafile":                                "mshta.exe",
	"{49b2791a-b1ae-4c90-9b8e-e860ba07f889}": "mmc.exe", "{00024500-0000-0000-c000-000000000046}": "excel.exe",
	"{000209ff-0000-0000-c000-000000000046}": "winword.exe", "{0002df01-0000-0000-c000-000000000046}": "iexplore.exe",
	"{0006f03a-0000-0000-c000-000000000046}": "outlook.exe", "{3050f4d8-98b5-11cf-bb82-00aa00bdce0b}": "mshta.exe",
}

// comServer is the program, or else the id, by which a class's server is known.
func comServer(class string) string {
	if !strings.HasPrefix(class, "{") && strings.Count(class, "-") == 4 {
		class = "{" + class + "}"
	}
	if program, ok := comPrograms[class]; ok {
		return program
	}
	if strings.HasPrefix(class, "{") {
		return class
	}
	return ""
}
