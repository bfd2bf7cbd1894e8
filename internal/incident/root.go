package incident

import (
	"cmp"
	"container/heap"
	"math/bits"
	"slices"
	"strings"
	"time"

	"ashiato/internal/provenance"
	"ashiato/internal/world"
)

// maxSources bounds how many alert nodes the search for the root starts from:
// the most severe, then the earliest.
const maxSources = 64

// exposed are programs that take requests from the network.
var exposed = map[string]bool{}

// documents are what people open and what may carry code or lead to it.
var documents = map[string]bool{}

// mailers are programs that write the attachments of mails.
var mailers = map[string]bool{}

// webmail are the hosts from which mail services hand out attachments.
var webmail = []string{
	"mail.google.com", "mail-attachment.googleusercontent.com", "attachments.office.net", "outlook.live.com", "outlook.office.com",
	"outlook.office365.com", "mail.yahoo.com", "mail.yahoo.co.jp", "mail.naver.com", "mail.daum.net", "mail.proton.me", "mail.qq.com",
}

func init() {
	for _, n := range strings.Fields(`outlook.exe olk.exe thunderbird.exe hxoutlook.exe hxtsr.exe msimn.exe wlmail.exe becky.exe b2.exe foxmail.exe`) {
		mailers[n] = true
	}
	for _, n := range strings.Fields(`w3wp.exe sqlservr.exe httpd.exe nginx.exe tomcat.exe tomcat7.exe tomcat8.exe tomcat9.exe
		tomcat10.exe php-cgi.exe apache2 httpd nginx lighttpd caddy php-fpm php-cgi mysqld mariadbd postgres redis-server mongod
		mysqld.exe postgres.exe umworkerprocess.exe umservice.exe dns.exe spoolsv.exe ws_tomcatservice.exe`) {
		exposed[n] = true
	}
	for _, n := range strings.Fields(`.doc .docx .docm .dot .dotm .xls .xlsx .xlsm .xlsb .xll .ppt .pptx .pptm .pps .rtf .pdf .one .eml .msg .mht`) {
		documents[n] = true
	}
}

// entry says how the outside world may have come in at a node, and how telling
// that is: 0 for a typed entry, 1 for a person's own start of a program, 2 for
// "it was there before". last is whether nothing leads further back.
//
// via is the arrow by which the search came to the node, nil at its start. A
// service that did no more than open a pipe was made to: it let nobody in.
func (b *builder) entry(n *provenance.Node, via *provenance.Edge, last bool) (kind RootKind, rank int, ok bool) {
	switch n.Kind {
	case provenance.Volume:
		return RootVolume, 0, true
	case provenance.Logon:
		// If what asked for it is known, it goes on there.
		if n.Attr("LogonProcessName") == "" && !slices.ContainsFunc(b.g.In(n.ID), carries) {
			return RootRemoteLogon, 0, true
		}
	case provenance.File:
		if documents[world.Ext(n.Path)] && b.opened(n) {
			return RootDocument, 0, true
		}
		if b.mailed(n) {
			return RootDocument, 0, true
		}
		if z := n.Attr("ZoneId"); z == "3" || z == "4" {
			return RootDownload, 0, true
		}
	case provenance.Process:
		if serves(n) && (via == nil || via.Join != "pipe-name") {
			return RootService, 0, true
		}
		if n.Implied {
			return RootBeforeRecord, 2, last
		}
		for _, e := range b.g.In(n.ID) {
			from := b.g.Node(e.From)
			if e.Verb != provenance.Started || !from.Hub {
				continue
			}
			if base := world.Base(from.Path); world.Posix(from.Path) && (base == "sshd" || base == "sshd-session") {
				return RootRemoteLogon, 1, true // who came is not recorded
			}
			if !desk(from) {
				return RootBeforeRecord, 2, last
			}
			// A person started it. What that person started came from outside
			// before, if it is not installed: of the way in nothing is recorded.
			if _, brought := b.g.Brought(n); brought {
				return RootBeforeRecord, 1, true
			}
			return RootInteractive, 1, true
		}
	}
	return RootBeforeRecord, 2, last
}

// servers are what the command line of a Java program says that serves the network.
var servers = []string{"catalina", "weblogic", "jboss", "wildfly", "jetty", "solr", "activemq", "confluence", "jira", "jenkins", "elasticsearch", "spring"}

// serves reports whether a program takes requests from the network.
func serves(n *provenance.Node) bool {
	base := world.Base(world.PathKey(n.Path))
	if world.Posix(n.Path) {
		base = strings.TrimRight(base, "0123456789.") // php-fpm8.2
		if base == "java" {
			cmd := strings.ToLower(n.Attr("CommandLine"))
			return slices.ContainsFunc(servers, func(s string) bool { return strings.Contains(cmd, s) })
		}
		if base == "apache" {
			return true
		}
	}
	return exposed[base]
}

// desk reports whether a broker starts what a person asks for: the desktop, its
// menus, the screen before logon, a browser. Others start what programs ask for.
func desk(broker *provenance.Node) bool {
	key := world.PathKey(broker.Path)
	switch world.Base(key) {
	case "login", "gnome-shell", "plasmashell", "gnome-session", "gnome-session-binary", "tmux", "screen":
		return world.Posix(key)
	case "explorer.exe", "sihost.exe", "runtimebroker.exe", "applicationframehost.exe", "userinit.exe", "winlogon.exe", "logonui.exe", "runonce.exe":
		return true
	}
	return provenance.Browser(key) || strings.HasPrefix(key, `c:\windows\systemapps\`)
}

// suggested are the ways in that come next at a node where the first is that
// nothing of it was recorded: the way that the place of the file suggests, and
// that a person started it, which is known.
func (b *builder) suggested(n *provenance.Node) []RootKind {
	brought, ok := b.g.Brought(n)
	switch {
	case !ok:
		return nil
	case brought.Way == provenance.WayMail || documents[world.Ext(world.PathKey(brought.Path))]:
		return []RootKind{RootDocument, RootInteractive}
	case brought.Way == provenance.WayDownload:
		return []RootKind{RootDownload, RootInteractive}
	}
	return []RootKind{RootInteractive}
}

// mailed reports whether a file is an attachment of a mail: a mail program put it
// down, or its zone mark names the page of a mail service.
func (b *builder) mailed(n *provenance.Node) bool {
	for _, e := range b.g.In(n.ID) {
		if e.Verb == provenance.Wrote && mailers[world.Base(world.PathKey(b.g.Node(e.From).Path))] {
			return true
		}
	}
	if strings.Contains(world.PathKey(n.Path), `\content.outlook\`) {
		return true
	}
	for _, name := range []string{"HostUrl", "ReferrerUrl"} {
		_, rest, ok := strings.Cut(n.Attr(name), "://")
		host := strings.ToLower(rest)
		if i := strings.IndexAny(host, "/:?#"); i >= 0 {
			host = host[:i]
		}
		if ok && slices.ContainsFunc(webmail, func(w string) bool { return host == w || strings.HasSuffix(host, "."+w) }) {
			return true
		}
	}
	return false
}

func (b *builder) opened(n *provenance.Node) bool {
	for _, e := range b.g.Out(n.ID) {
		if e.Verb == provenance.Opened {
			return true
		}
	}
	return false
}

// label is where the search has come to.
type label struct {
	node    provenance.NodeID
	cost    int
	horizon time.Time // what happened after it cannot be a cause
	via     *provenance.Edge
	from    *label
	worst   provenance.Class
}

type frontier []*label

func (f frontier) Len() int { return len(f) }
func (f frontier) Less(i, j int) bool {
	return cmp.Or(cmp.Compare(f[i].cost, f[j].cost), f[j].horizon.Compare(f[i].horizon),
		strings.Compare(string(f[i].node), string(f[j].node)), cmp.Compare(f[i].worst, f[j].worst)) < 0
}
func (f frontier) Swap(i, j int) { f[i], f[j] = f[j], f[i] }
func (f *frontier) Push(x any)   { *f = append(*f, x.(*label)) }
func (f *frontier) Pop() any {
	old := *f
	x := old[len(old)-1]
	*f = old[:len(old)-1]
	return x
}

var classCost = [...]int{provenance.ClassA: 1, provenance.ClassB: 2, provenance.ClassC: 6}

// candidate is a possible root while alerts are counted for it.
type candidate struct {
	Root
	rank   int
	weight int
	first  time.Time
	// later orders the candidates of one node: what its place suggests comes
	// behind what is known of it.
	later int
	// loose says that records tell how it came to be, but not by whom, and that
	// something else of the intrusion had come in on its host before.
	loose bool
}

type candidateKey struct {
	node provenance.NodeID
	kind RootKind
}

// roots finds how it began: from every alert backward along the skeleton, in
// order of time, by the cheapest way. Of the entries found the one that explains
// most alerts, by severity, comes first; of equals the more telling kind, then
// the earlier. There is always at least one.
func (b *builder) roots() []Root {
	found := map[candidateKey]*candidate{}
	if b.joined {
		for _, start := range b.sources() {
			b.search(start, found)
		}
	}
	if len(found) == 0 {
		// What stands alone at a hub or host.
		id := b.alerts[0].Node
		found[candidateKey{id, RootBeforeRecord}] = &candidate{Root: Root{Kind: RootBeforeRecord, Node: id, Confidence: Guess, Path: []provenance.NodeID{id}}}
	}
	all := make([]*candidate, 0, len(found))
	for _, c := range found {
		all = append(all, c)
	}
	b.loosen(all)
	slices.SortFunc(all, func(x, y *candidate) int {
		return cmp.Or(compareBools(x.loose, y.loose), cmp.Compare(y.weight, x.weight), cmp.Compare(x.rank, y.rank), x.first.Compare(y.first),
			cmp.Compare(x.Cost, y.Cost), strings.Compare(string(x.Node), string(y.Node)), cmp.Compare(x.later, y.later))
	})
	roots := make([]Root, len(all))
	for i, c := range all {
		roots[i] = c.Root
	}
	return roots
}

// loosen finds the candidates that only a missing record makes one: a unit, a
// value or a file, whose coming into being is recorded while nothing tells who
// did it. If the intrusion had come in on that host before, by a way that is
// known, that explains it better than a second way in.
func (b *builder) loosen(all []*candidate) {
	entered := map[string]time.Time{} // by host, the first known way in
	for _, c := range all {
		if c.rank > 1 {
			continue
		}
		host := world.HostKey(b.g.Node(c.Node).Host)
		if t, ok := entered[host]; !ok || c.first.Before(t) {
			entered[host] = c.first
		}
	}
	for _, c := range all {
		n := b.g.Node(c.Node)
		t, ok := entered[world.HostKey(n.Host)]
		c.loose = c.rank > 1 && n.Kind != provenance.Process && ok && t.Before(c.first)
	}
}

// compareBools orders false before true.
func compareBools(x, y bool) int {
	switch {
	case x == y:
		return 0
	case y:
		return -1
	}
	return 1
}

type source struct {
	node   provenance.NodeID
	at     time.Time
	weight int
}

func (b *builder) sources() []source {
	byNode := map[provenance.NodeID]*source{}
	var order []*source
	for _, a := range b.alerts {
		s := byNode[a.Node]
		if s == nil {
			s = &source{node: a.Node, at: b.marked[a.Node]}
			byNode[a.Node] = s
			order = append(order, s)
		}
		s.weight += weight(a.Rule.Severity)
	}
	slices.SortStableFunc(order, func(x, y *source) int { return cmp.Compare(y.weight, x.weight) })
	all := make([]source, 0, maxSources)
	for _, s := range order[:min(len(order), maxSources)] {
		all = append(all, *s)
	}
	return all
}

func (b *builder) search(s source, found map[candidateKey]*candidate) {
	done := map[provenance.NodeID]bool{}
	f := &frontier{{node: s.node, horizon: s.at}}
	for f.Len() > 0 {
		l := heap.Pop(f).(*label)
		if done[l.node] {
			continue
		}
		done[l.node] = true
		n := b.g.Node(l.node)
		last := true
		for _, e := range b.g.In(l.node) {
			horizon, ok := b.g.Left(e, l.horizon)
			if !e.Skeleton || !ok {
				continue
			}
			last = last && done[e.From]
			next := &label{
				node: e.From, horizon: horizon, via: e, from: l, worst: max(l.worst, e.Class),
				cost: l.cost + 1 + classCost[min(int(e.Class), 2)] + min(8, bits.Len(uint(len(b.g.Out(e.From))/16))),
			}
			heap.Push(f, next)
		}
		kind, rank, ok := b.entry(n, l.via, last)
		if !ok {
			continue
		}
		b.note(found, l, n, s.weight, kind, rank, 0)
		if kind == RootBeforeRecord && rank == 1 {
			for i, k := range b.suggested(n) {
				b.note(found, l, n, s.weight, k, rank, i+1)
			}
		}
	}
}

// note counts for a candidate an alert that the search came to it from.
func (b *builder) note(found map[candidateKey]*candidate, l *label, n *provenance.Node, weight int, kind RootKind, rank, later int) {
	k := candidateKey{l.node, kind}
	c := found[k]
	if c == nil {
		c = &candidate{rank: rank, first: n.First, later: later}
		c.Kind, c.Node, c.Cost = kind, l.node, 1<<30
		found[k] = c
	}
	c.weight += weight
	if l.cost >= c.Cost {
		return
	}
	c.Cost = l.cost
	c.Confidence = [...]Confidence{Certain, Probable, Guess}[min(int(l.worst), 2)]
	if kind == RootBeforeRecord || later > 0 && kind != RootInteractive {
		c.Confidence = Guess // the way in was not seen, however sure the rest is
	}
	c.Path = nil
	for x := l; x != nil; x = x.from {
		c.Path = append(c.Path, x.node)
	}
}
