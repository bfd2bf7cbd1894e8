package provenance

import (
	"cmp"
	"maps"
	"regexp"
	"strconv"
	"strings"
	"time"

	"ashiato/internal/event"
	"ashiato/internal/world"
)

// wmiHandoffs are the hand-offs of Windows Management Instrumentation. A program
// that WMI starts is a child of WmiPrvSE.exe, whoever asked for it.
var wmiHandoffs = []handoff{
	{ // ETW's own record of Win32_Process.Create names both ends.
		row: 5, join: "wmi-operation", verb: Requested, class: ClassA,
		causes: func(j *joiner, yield func(half)) {
			for _, r := range j.records {
				if r.Kind != event.WMIOperation || r.ID != 23 || strings.EqualFold(r.Get("IsLocal"), "false") {
					continue
				}
				client := j.w.At(r.Host, uint32(r.Number("ClientProcessId")), cmpTime(fileTime(r.Get("ClientProcessCreationTime")), r.Time))
				if p := j.createdByWMI(r); p != nil && client != nil {
					yield(half{key: p.Key, t: r.Time, refs: []event.EvidenceRef{r.Ref}, node: func() *Node { return j.process(client) }})
				}
			}
		},
		effects: func(j *joiner, yield func(half)) {
			for _, r := range j.records {
				if r.Kind == event.WMIOperation && r.ID == 23 {
					if p := j.createdByWMI(r); p != nil {
						yield(half{key: p.Key, t: r.Time, refs: []event.EvidenceRef{r.Ref}, node: func() *Node { return j.wmiOperation(p) }})
					}
				}
			}
		},
	},
	{ // A remote caller has a network logon of its own, which the program runs in.
		row: 5, join: "wmi-logon", verb: Requested, class: ClassA, latest: true,
		causes: sessionCauses((*session).network),
		effects: func(j *joiner, yield func(half)) {
			for _, p := range j.wmiChildren() {
				if s := j.sessionAt(p.Host, p.LogonID, p.Start); s != nil && s.network() {
					yield(half{key: s.key(), t: p.Start, refs: p.Evidence, node: func() *Node { return j.wmiOperation(p) }})
				}
			}
		},
	},
	{ // The same where the logon itself was not recorded.
		row: 5, join: "wmi-session", verb: Requested, class: ClassB, latest: true,
		causes: func(j *joiner, yield func(half)) {
			for _, s := range j.wmiSessions() {
				yield(half{key: s.key(), t: s.t.Add(-slack), refs: s.refs(), node: func() *Node {
					n := j.sessionNode(s)
					if user := s.record.Get("User"); n != nil && user != "" {
						n.Label = user
						n.setAttr("User", user)
					}
					return n
				}})
			}
		},
		effects: func(j *joiner, yield func(half)) {
			sessions := j.wmiSessions()
			for _, p := range j.wmiChildren() {
				if s := sessions[sessionKey(p.Host, p.LogonID)]; s != nil {
					yield(half{key: s.key(), t: p.Start, refs: p.Evidence, node: func() *Node { return j.wmiOperation(p) }})
				}
			}
		},
	},
	{ // wmic process call create, Invoke-WmiMethod …, here or on another machine.
		row: 5, join: "wmi-command", verb: Requested, class: ClassB, within: claimWindow,
		causes: func(j *joiner, yield func(half)) {
			j.asks(func(s *said) []string {
				host, command := wmiCreate(s)
				if host = j.machine(host, s.process.Host); command == "" || host == "" {
					return nil
				}
				return []string{fileKey(host, world.CommandKey(command))}
			}, yield)
		},
		effects: func(j *joiner, yield func(half)) {
			for _, p := range j.wmiChildren() {
				if p.CommandLine != "" {
					yield(half{key: fileKey(p.Host, world.CommandKey(p.CommandLine)), t: p.Start, refs: p.Evidence, node: func() *Node { return j.wmiOperation(p) }})
				}
			}
		},
	},
	{ // Who registered an event consumer: it is named by who makes it or binds it.
		row: 6, join: "wmi-consumer-name", verb: Registered, class: ClassB, within: claimWindow,
		causes: func(j *joiner, yield func(half)) {
			j.asks(func(s *said) []string {
				var keys []string
				for _, name := range consumersIn(s) {
					keys = append(keys, fileKey(s.process.Host, name))
				}
				return keys
			}, yield)
		},
		effects: func(j *joiner, yield func(half)) {
			for _, c := range j.consumers() {
				for _, r := range c.records {
					part := "new|"
					if r.Kind != event.WMIConsumer {
						part = "bind|"
					}
					yield(half{key: fileKey(c.host, part+c.name), t: r.Time, refs: []event.EvidenceRef{r.Ref}, node: func() *Node { return j.consumer(c) }})
				}
			}
		},
	},
	{ // The same by ETW's record of the call, which names the client.
		row: 6, join: "wmi-client", verb: Registered, class: ClassA, within: claimWindow, latest: true,
		causes: func(j *joiner, yield func(half)) {
			for _, r := range j.records {
				if r.Kind != event.WMIOperation || r.ID != 11 {
					continue
				}
				m := consumerPath.FindStringSubmatch(r.Get("Operation"))
				if m == nil || strings.Contains(r.Get("Operation"), "::Delete") {
					continue
				}
				if p := j.w.At(r.Host, uint32(r.Number("ClientProcessId")), r.Time); p != nil {
					yield(half{key: fileKey(r.Host, strings.ToLower(m[1])), t: r.Time, refs: []event.EvidenceRef{r.Ref}, node: func() *Node { return j.process(p) }})
				}
			}
		},
		effects: func(j *joiner, yield func(half)) {
			for _, c := range j.consumers() {
				yield(half{key: fileKey(c.host, c.name), t: c.first, refs: c.cited(), node: func() *Node { return j.consumer(c) }})
			}
		},
	},
	{ // What a command line consumer ran: always as the system's own account.
		row: 6, join: "wmi-consumer-command", verb: RanAs, class: ClassB,
		causes: func(j *joiner, yield func(half)) {
			consumers := j.consumers()
			if len(consumers) == 0 {
				return
			}
			ran := map[string][]string{}
			for _, p := range j.wmiChildren() {
				if h := world.HostKey(p.Host); p.CommandLine != "" {
					ran[h] = append(ran[h], world.CommandKey(p.CommandLine))
				}
			}
			templates := 0
			for _, c := range consumers {
				if c.command == "" {
					continue
				}
				give := func(command string) {
					yield(half{
						key: fileKey(c.host, command), t: c.first, until: c.deleted, refs: c.cited(),
						node: func() *Node { return j.consumer(c) },
					})
				}
				template := world.CommandKey(c.command)
				if !strings.Contains(template, "%") {
					give(template)
					continue
				}
				if templates++; templates > maxTemplates {
					continue
				}
				given := map[string]bool{}
				for _, command := range ran[world.HostKey(c.host)] {
					if !given[command] && fitsTemplate(template, command) {
						given[command] = true
						give(command)
					}
				}
			}
		},
		effects: func(j *joiner, yield func(half)) {
			for _, p := range j.wmiChildren() {
				if p.CommandLine != "" && (p.LogonID == "" || wellKnownLogon(p.LogonID)) {
					yield(half{key: fileKey(p.Host, world.CommandKey(p.CommandLine)), t: p.Start, refs: p.Evidence, node: func() *Node { return j.process(p) }})
				}
			}
		},
	},
	{ // What runs script consumers: one process for all of them.
		row: 6, join: "wmi-consumer-script", verb: RanAs, class: ClassB,
		causes: func(j *joiner, yield func(half)) {
			for _, c := range j.consumers() {
				if c.script {
					yield(half{key: world.HostKey(c.host), t: c.first, refs: c.cited(), node: func() *Node { return j.consumer(c) }})
				}
			}
		},
		effects: func(j *joiner, yield func(half)) {
			for _, p := range j.processes {
				if !p.Implied && p.ImageKey() == scrcons {
					yield(half{key: world.HostKey(p.Host), t: p.Start, refs: p.Evidence, node: func() *Node { return j.process(p) }})
				}
			}
		},
	},
}

const scrcons = `c:\windows\system32\wbem\scrcons.exe`

// wmiChildren are the processes that WMI's provider host started.
func (j *joiner) wmiChildren() []*world.Process {
	if j.byWMI == nil {
		j.byWMI = []*world.Process{}
		for _, p := range j.processes {
			if !p.Implied && p.Parent != nil && wmiHosts[p.Parent.ImageKey()] {
				j.byWMI = append(j.byWMI, p)
			}
		}
	}
	return j.byWMI
}

// wmiSessions are the sessions of which no logon is recorded and in which nothing
// ran but what WMI started: a caller's from elsewhere, since whoever calls from
// this machine has a program in its session. They are by sessionKey.
func (j *joiner) wmiSessions() map[string]*session {
	if j.byCaller != nil {
		return j.byCaller
	}
	j.byCaller = map[string]*session{}
	first := map[event.EvidenceRef]string{}
	for _, p := range j.wmiChildren() {
		k := sessionKey(p.Host, p.LogonID)
		if _, known := j.byCaller[k]; !known && !wellKnownLogon(p.LogonID) && len(p.Evidence) > 0 && j.sessionAt(p.Host, p.LogonID, p.Start) == nil {
			j.byCaller[k] = nil
			first[p.Evidence[0]] = k
		}
	}
	if len(first) == 0 {
		return j.byCaller
	}
	others := map[string]bool{}
	for _, p := range j.processes {
		if k := sessionKey(p.Host, p.LogonID); !p.Implied && p.LogonID != "" && !belowWMI(p) {
			others[k] = true
		}
	}
	for _, r := range j.records {
		switch r.Kind {
		case event.ProcessCreate:
			if k, ok := first[r.Ref]; ok && !others[k] {
				j.byCaller[k] = &session{host: r.Host, luid: cmp.Or(r.Number("LogonId"), r.Number("SubjectLogonId")), t: r.Time, record: r, remote: true, implied: true}
			}
		case event.Logon:
			// It was recorded, and is none from elsewhere.
			others[sessionKey(r.Host, r.Get("TargetLogonId"))] = true
		}
	}
	maps.DeleteFunc(j.byCaller, func(k string, s *session) bool { return s == nil || others[k] })
	return j.byCaller
}

// maxAncestors bounds walks up the tree.
const maxAncestors = 64

// belowWMI reports whether WMI's provider host is among the ancestors of p.
func belowWMI(p *world.Process) bool {
	for range maxAncestors {
		if p = p.Parent; p == nil {
			return false
		}
		if wmiHosts[p.ImageKey()] {
			return true
		}
	}
	return false
}

var wmiHosts = map[string]bool{`c:\windows\system32\wbem\wmiprvse.exe`: true, `c:\windows\syswow64\wbem\wmiprvse.exe`: true}

// wmiOperation is the unit of one call of Win32_Process.Create: each started one
// process.
func (g *Graph) wmiOperation(p *world.Process) *Node {
	n := g.add(id(WMI, p.Host, "create|"+p.Key), WMI, p.Host, p.Start, p.Evidence, func(n *Node) {
		n.Label, n.Path = "Win32_Process.Create", p.CommandLine
	})
	g.ran(n, p, "wmi-child")
	return n
}

// ran draws that a unit ran a process which no other can have run: the broker
// that is its parent does nothing else.
func (g *Graph) ran(unit *Node, p *world.Process, join string) {
	if unit == nil || g.edges[edgeKey{unit.ID, processID(p), RanAs}] != nil {
		return
	}
	class := ClassB
	if p.ParentByGUID {
		class = ClassA
	}
	g.link(fact{
		from: unit, to: g.process(p), verb: RanAs, class: class, skeleton: true, join: join, t: p.Start, refs: p.Evidence,
	})
}

// createdByWMI is the process that a record of Win32_Process.Create says was
// created, nil if it is not known.
func (g *Graph) createdByWMI(r *world.Record) *world.Process {
	at := cmpTime(fileTime(r.Get("CreatedProcessCreationTime")), r.Time)
	if p := g.world.At(r.Host, uint32(r.Number("CreatedProcessId")), at.Add(slack)); p != nil && !p.Start.Before(at.Add(-slack)) {
		return p
	}
	return nil
}

// fileTime reads a time as ETW's decoders write it: RFC 3339, or the number of
// 100 ns since 1601 (FILETIME). It is zero if s is neither.
func fileTime(s string) time.Time {
	if t, err := time.Parse(time.RFC3339Nano, s); err == nil {
		return t.UTC()
	}
	n, err := strconv.ParseInt(s, 0, 64)
	const toUnix = 116444736000000000
	if err != nil || n <= toUnix {
		return time.Time{}
	}
	n -= toUnix
	return time.Unix(n/1e7, n%1e7*100).UTC()
}

func cmpTime(a, b time.Time) time.Time {
	if a.IsZero() {
		return b
	}
	return a
}

var (
	wmicCreate   = regexp.MustCompile(`(?is)\bprocess\s+call\s+"?create"?\s+(?:"([^"]*)"|'([^']*)'|([^,"']+))`)
	wmicNode     = regexp.MustCompile(`(?i)/node:\s*(?:"([^"]*)"|'([^']*)'|([^\s"']+))`)
	wmiArguments = regexp.MustCompile(`(?is)(?:-arg(?:umentlist)?[\s:]+@?\(?\s*|commandline\s*=\s*|\.create\(\s*)(?:'([^']*)'|"([^"]*)")`)
	wmiBound     = regexp.MustCompile(`(?is)name="(?:ArgumentList|Arguments)"; value="([^"\r\n]*)"`)
	computerName = regexp.MustCompile(`(?is)(?:-(?:computername|computer|cn)[\s:]+(?:'([^']*)'|"([^"]*)"|([^\s;|)"']+))|name="ComputerName"; value="([^"]*)")`)
	classPath    = regexp.MustCompile(`(?i)['"]\\\\([^\\'"]+)\\root\\`)
)

// first returns the first group of a match that took part, "" if none did.
func firstGroup(m []string) string {
	if m == nil {
		return ""
	}
	return cmp.Or(m[1:]...)
}

// wmiCreate reads a call of Win32_Process.Create in a text: which program is to
// run on which machine, "" for the one it is said on.
func wmiCreate(s *said) (host, command string) {
	switch {
	case strings.Contains(s.lower, "wmic"):
		command = strings.TrimSpace(firstGroup(wmicCreate.FindStringSubmatch(s.text)))
		host = firstGroup(wmicNode.FindStringSubmatch(s.text))
	case strings.Contains(s.lower, "win32_process") && strings.Contains(s.lower, "create"):
		command = firstGroup(wmiArguments.FindStringSubmatch(s.text))
		if command == "" {
			command = firstGroup(wmiBound.FindStringSubmatch(s.text))
		}
		host = firstGroup(computerName.FindStringSubmatch(s.text))
		if host == "" {
			host = firstGroup(classPath.FindStringSubmatch(s.text))
		}
	}
	return host, command
}

// consumer is an event consumer of WMI's subscriptions: the unit between who
// registered it and what it runs.
type consumer struct {
	host    string
	name    string // match form
	label   string
	kind    string
	user    string
	command string // CommandLineTemplate or ExecutablePath, "" if it runs none
	script  bool
	filter  string
	query   string
	records []*world.Record // that show its registration, in event order
	first   time.Time
	deleted time.Time // zero if it was not, or was made again
}

func (c *consumer) cited() []event.EvidenceRef {
	var all []event.EvidenceRef
	for _, r := range c.records {
		all = append(all, r.Ref)
	}
	return all
}

var (
	consumerPath  = regexp.MustCompile(`(?i)EventConsumer(?:\.Name)?\s*=\s*\\?"((?:[^"\\]|\\[^"])*)\\?"`)
	filterPath    = regexp.MustCompile(`(?i)__EventFilter\.Name\s*=\s*\\?"((?:[^"\\]|\\[^"])*)\\?"`)
	mofCommand    = regexp.MustCompile(`(?is)\bCommandLineTemplate\s*=\s*"((?:[^"\\]|\\.)*)"`)
	mofExecutable = regexp.MustCompile(`(?is)\bExecutablePath\s*=\s*"((?:[^"\\]|\\.)*)"`)
	mofQuery      = regexp.MustCompile(`(?is)\bQuery\s*=\s*"((?:[^"\\]|\\.)*)"`)
)

// unquote reads a string as Sysmon writes those of WMI, and as MOF does: in
// quotes, with a backslash before quotes and backslashes.
func unquote(s string) string {
	s = strings.TrimSpace(s)
	if len(s) >= 2 && s[0] == '"' && s[len(s)-1] == '"' {
		s = s[1 : len(s)-1]
	}
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) && (s[i+1] == '\\' || s[i+1] == '"') {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// consumers finds the event consumers that records show: Sysmon 20 and 21, and
// WMI-Activity 5861.
func (j *joiner) consumers() []*consumer {
	if j.consumed != nil {
		return j.consumed
	}
	j.consumed = []*consumer{}
	byKey := map[string]*consumer{}
	queries := map[string]string{} // host|filter → its query
	of := func(r *world.Record, name string) *consumer {
		if name == "" {
			return nil
		}
		k := fileKey(r.Host, strings.ToLower(name))
		c := byKey[k]
		if strings.EqualFold(r.Get("Operation"), "Deleted") {
			if c != nil && r.Kind == event.WMIConsumer {
				c.deleted = r.Time
			}
			return nil
		}
		if c == nil {
			c = &consumer{host: r.Host, name: strings.ToLower(name), label: name, first: r.Time}
			byKey[k] = c
			j.consumed = append(j.consumed, c)
		}
		c.deleted = time.Time{}
		c.records = append(c.records, r)
		c.user = cmp.Or(c.user, r.Get("User"))
		return c
	}
	for _, r := range j.records {
		switch r.Kind {
		case event.WMIFilter:
			queries[fileKey(r.Host, strings.ToLower(unquote(r.Get("Name"))))] = unquote(r.Get("Query"))
		case event.WMIConsumer:
			if c := of(r, unquote(r.Get("Name"))); c != nil {
				c.kind = r.Get("Type")
				switch strings.ToLower(c.kind) {
				case "script":
					c.script = true
				case "", "command line":
					c.command = unescapeHTML(unquote(r.Get("Destination")))
				}
			}
		case event.WMIBinding:
			m := consumerPath.FindStringSubmatch(r.Get("Consumer"))
			if m == nil {
				continue
			}
			if c := of(r, unquote(m[1])); c != nil {
				c.filter = cmp.Or(unquote(firstGroup(filterPath.FindStringSubmatch(r.Get("Filter")))), c.filter)
			}
		case event.WMISubscription:
			if r.ID != 5861 {
				continue
			}
			m := consumerPath.FindStringSubmatch(r.Get("Consumer"))
			if m == nil {
				continue
			}
			c := of(r, unquote(m[1]))
			mof := r.Get("PossibleCause")
			lower := strings.ToLower(r.Get("Consumer"))
			switch {
			case strings.HasPrefix(lower, "activescripteventconsumer"):
				c.script = true
				c.kind = cmp.Or(c.kind, "Script")
			case strings.HasPrefix(lower, "commandlineeventconsumer"):
				c.kind = cmp.Or(c.kind, "Command Line")
				c.command = cmp.Or(c.command, unquote(firstGroup(mofCommand.FindStringSubmatch(mof))), unquote(firstGroup(mofExecutable.FindStringSubmatch(mof))))
			}
			filter, _, _ := strings.Cut(r.Get("Filter"), " (refer to")
			c.filter = cmp.Or(c.filter, unquote(filter))
			c.query = cmp.Or(c.query, unquote(firstGroup(mofQuery.FindStringSubmatch(mof))))
		}
	}
	j.watches = map[string]*consumer{}
	for _, c := range j.consumed {
		filter := fileKey(c.host, strings.ToLower(c.filter))
		c.query = cmp.Or(c.query, queries[filter])
		j.watches[fileKey(c.host, c.name)] = c
		if c.filter != "" && j.watches[filterKey(c.host, c.filter)] == nil {
			j.watches[filterKey(c.host, c.filter)] = c
		}
	}
	return j.consumed
}

// unescapeHTML undoes the escapes that some shippers leave in text.
func unescapeHTML(s string) string {
	if !strings.Contains(s, "&") {
		return s
	}
	return strings.NewReplacer("&lt;", "<", "&gt;", ">", "&quot;", `"`, "&apos;", "'", "&amp;", "&").Replace(s)
}

func filterKey(host, name string) string { return fileKey(host, "filter:"+strings.ToLower(name)) }

// consumer returns the node of an event consumer; Sysmon does not name its
// namespace, so the name is its identity.
func (g *Graph) consumer(c *consumer) *Node {
	n := g.add(id(WMI, c.host, "consumer|"+c.name), WMI, c.host, c.first, c.cited(), func(n *Node) { n.Label, n.Path = c.label, c.label })
	if n != nil {
		n.setAttr("ConsumerType", c.kind)
		n.setAttr("CommandLineTemplate", c.command)
		n.setAttr("Filter", c.filter)
		n.setAttr("Query", c.query)
		n.setAttr("User", c.user)
		if !c.deleted.IsZero() {
			n.setAttr("Deleted", c.deleted.Format(event.TimeFormat))
		}
	}
	return n
}

// IsConsumer reports whether a node is an event consumer of WMI, which starts
// programs by itself, and not one operation that was asked of it.
func IsConsumer(n *Node) bool {
	return n.Kind == WMI && strings.HasPrefix(string(n.ID), string(id(WMI, n.Host, "consumer|")))
}

// markUnit returns the unit that a record of WMI, BITS, the installer or WinRM is
// about, or the process that its header names; nil if it tells neither.
func (g *Graph) markUnit(r *world.Record) *Node {
	cited := []event.EvidenceRef{r.Ref}
	switch r.Kind {
	case event.WMIFilter:
		name := unquote(r.Get("Name"))
		if c := g.watches[filterKey(r.Host, name)]; c != nil {
			return g.consumer(c)
		}
		return g.add(id(WMI, r.Host, "filter|"+strings.ToLower(name)), WMI, r.Host, r.Time, cited, func(n *Node) {
			n.Label, n.Path = name, name
			n.Attrs = []event.Field{{Name: "Query", Value: unquote(r.Get("Query"))}}
		})
	case event.WMIConsumer, event.WMIBinding, event.WMISubscription:
		name := unquote(r.Get("Name"))
		if r.Kind != event.WMIConsumer {
			name = unquote(firstGroup(consumerPath.FindStringSubmatch(r.Get("Consumer"))))
		}
		if c := g.watches[fileKey(r.Host, strings.ToLower(name))]; c != nil {
			return g.consumer(c)
		}
		if name != "" {
			// Only its end was recorded.
			return g.consumer(&consumer{host: r.Host, name: strings.ToLower(name), label: name, user: r.Get("User"), first: r.Time, records: []*world.Record{r}})
		}
		return g.process(g.world.At(r.Host, uint32(r.Number("ClientProcessId")), r.Time))
	case event.WMIOperation:
		if r.ID == 23 {
			if p := g.createdByWMI(r); p != nil {
				return g.wmiOperation(p)
			}
		}
		return g.process(g.world.At(r.Host, uint32(r.Number("ClientProcessId")), r.Time))
	case event.BITSJob, event.BITSTransfer:
		b := g.jobs[r.Ref]
		if b == nil {
			key := strings.ToLower(r.Get("JobId"))
			if n := g.nodes[id(BITS, r.Host, key)]; n != nil || key == "" {
				return n
			}
			b = &bitsJob{
				node: id(BITS, r.Host, key), host: r.Host, id: key, title: r.Get("JobTitle"), owner: r.Get("JobOwner"), url: r.Get("Url"),
				first: r.Time, records: []*world.Record{r},
			}
		}
		return g.bits(b)
	case event.InstallerRun, event.InstallerResult:
		for _, t := range g.installs[world.HostKey(r.Host)] {
			if !r.Time.Before(t.from) && !r.Time.After(t.until) {
				return g.installer(t)
			}
		}
	case event.RemoteShell:
		if r.ID == 6 || r.ID == 8 {
			return g.process(g.world.At(r.Host, r.PID, r.Time))
		}
	}
	return nil
}

// hasCreator reports whether a process or logon is known to have made a unit.
func (j *joiner) hasCreator(unit NodeID) bool {
	for _, e := range j.in[unit] {
		if (e.Verb == Registered || e.Verb == Requested) && e.Class <= ClassB && j.nodes[e.From].Kind != File {
			return true
		}
	}
	return false
}

var consumerNamed = regexp.MustCompile(`(?i)(\.?)\bname\s*=\s*\\?(?:"([^"\\]*)\\?"|'([^']*)')`)

// consumersIn reads which event consumers a text makes ("new|name") or refers to
// in order to bind them ("bind|name").
func consumersIn(s *said) []string {
	if !strings.Contains(s.lower, "eventconsumer") || len(s.lower) != len(s.text) ||
		strings.Contains(s.lower, " delete") || strings.Contains(s.lower, "remove-") {
		return nil
	}
	var keys []string
	for _, m := range consumerNamed.FindAllStringSubmatch(s.lower, maxCandidates) {
		name := cmp.Or(m[2], m[3])
		switch {
		case name == "":
		case m[1] == ".":
			keys = append(keys, "bind|"+name)
		default:
			keys = append(keys, "new|"+name)
			// One script may do all: then the binding is its too.
			if strings.Contains(s.lower, "filtertoconsumerbinding") {
				keys = append(keys, "bind|"+name)
			}
		}
	}
	return keys
}

// maxTemplates bounds how many templates with parts to fill in are compared with
// every command line.
const maxTemplates = 256

// fitsTemplate reports whether a command line may have come from a template
// whose parts in percent signs WMI filled in. Both are match forms.
func fitsTemplate(template, command string) bool {
	parts := strings.Split(template, "%")
	if len(parts) == 1 || len(parts)%2 == 0 {
		return template == command
	}
	if !strings.HasPrefix(command, parts[0]) {
		return false
	}
	literal := len(parts[0])
	command = command[len(parts[0]):]
	for i := 2; i < len(parts); i += 2 {
		literal += len(parts[i])
		if i == len(parts)-1 {
			// With hardly any text of its own a template fits everything.
			return strings.HasSuffix(command, parts[i]) && literal >= 8
		}
		at := strings.Index(command, parts[i])
		if at < 0 {
			return false
		}
		command = command[at+len(parts[i]):]
	}
	return false
}
