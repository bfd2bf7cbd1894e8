package provenance

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"ashiato/internal/event"
	"ashiato/internal/world"
)

// Outlook is what of one host the graphs of other hosts depend on. It is made of
// the host's own records, so it changes only if those do.
type Outlook struct {
	// Host is the match form of the host's name, and Recorded its name as
	// recorded, "" if only damaged records came of it.
	Host, Recorded string
	// Addresses are the addresses that its own connections show it to have.
	Addresses []string
	// Fans are the images of which one process has very many children.
	Fans []string
	// Offers and Seeks are keys by which a join may cross hosts: it may where one
	// host offers what another seeks. Shares are keys by which equals meet, and
	// Likens those by which they are only like each other: what more than a few
	// hosts have is common and says nothing. Draws are those of Likens for which
	// the host's graph may have something to draw: hosts meet by these. All are
	// sorted.
	Offers, Seeks, Shares, Likens, Draws []string
}

// Outlooks returns the outlook of every host of w, by host.
//
// Each join that can cross hosts has its keys here. They may promise too much,
// never too little: TestNothingCrossesGroups holds it for the joins there are.
func Outlooks(w *world.World) []*Outlook {
	seen := map[string]*outlook{}
	of := func(host string) *outlook {
		if o := seen[host]; o != nil { // as recorded
			return o
		}
		k := world.HostKey(host)
		o := seen[k]
		if o == nil {
			o = &outlook{
				host: k, offers: set{}, seeks: set{}, shares: set{}, likens: set{}, idle: set{}, addresses: set{}, fans: set{},
				accounts: set{}, written: set{}, loaded: map[string][]string{},
			}
			seen[k] = o
		}
		seen[host] = o
		return o
	}
	for _, h := range w.HostKeys() {
		of(h)
	}
	for _, h := range w.Hosts() {
		of(h).recorded = h
	}
	carries := brokerUnits(w)
	for _, r := range w.Records() {
		of(r.Host).record(r)
		if key := placeKey(r); r.Kind == event.NetworkConnect && key != "" && !strings.EqualFold(r.Get("Initiated"), "false") {
			p, _ := w.Actor(r)
			if p == nil || p.Image == "" || strings.HasPrefix(p.ImageKey(), `c:\program files`) || !carries.mayCarry(p, 0, carries.ofSomeService) {
				continue
			}
			switch o := of(r.Host); {
			case carries.mayCarry(p, 0, carries.ofService):
				o.likens[key] = true
			case !o.likens[key]:
				o.idle[key] = true
			}
		}
	}
	for _, p := range w.Processes() {
		o := of(p.Host)
		if p.Children > fanOut && p.ImageKey() != "" {
			o.fans[p.ImageKey()] = true
		}
		if !p.Implied && p.CommandLine != "" {
			o.says(script(p.CommandLine))
			for _, path := range sharePaths(p.CommandLine) {
				name, _, _ := strings.Cut(path[2:], `\`)
				o.machine(name)
			}
		}
		if !p.Implied && p.ImageKey() == rdpclip {
			o.accounts[strings.ToLower(accountName(p.User))] = true
		}
	}
	for _, v := range w.Volumes() {
		if !v.Synthetic {
			of(v.Host).shares["volume|"+v.Serial] = true
		}
	}
	var all []*Outlook
	for _, k := range w.HostKeys() {
		all = append(all, of(k).outlook())
	}
	return all
}

// unitBrokers tells which brokers' processes may turn out to be one unit's own.
type unitBrokers struct {
	tampered map[*world.Process]bool
	services map[string]bool         // hosts of which services are recorded
	programs map[serviceChild]bool   // what those services were to run
	modules  map[*world.Process]bool // who loaded what those services were to load
	handlers map[string]bool         // hosts of which tasks with COM handlers are
}

func brokerUnits(w *world.World) *unitBrokers {
	u := &unitBrokers{map[*world.Process]bool{}, set{}, map[serviceChild]bool{}, map[*world.Process]bool{}, set{}}
	modules := set{}
	for _, s := range w.Services() {
		host := world.HostKey(s.Host)
		u.services[host] = true
		for _, p := range s.Programs {
			if p.DLL {
				modules[fileKey(host, world.PathKey(p.Path))] = true
			} else {
				u.programs[serviceChild{host, world.CommandKey(p.Path)}] = true
			}
		}
	}
	for _, r := range w.Records() {
		load := r.Kind == event.ImageLoad
		tampered := r.Kind == event.ProcessTamper || load && foreignBroker(r) || planted(r)
		loaded := load && len(modules) > 0 && modules[fileKey(r.Host, w.PathOn(r.Host, r.Get("ImageLoaded")))]
		if !tampered && !loaded {
			continue
		}
		if p, _ := w.Actor(r); p != nil {
			u.tampered[p] = u.tampered[p] || tampered
			u.modules[p] = u.modules[p] || loaded
		}
	}
	for _, t := range w.Tasks() {
		if len(t.Handlers) > 0 {
			u.handlers[world.HostKey(t.Host)] = true
		}
	}
	return u
}

// ofSomeService reports whether a process may be of any service, whichever are
// recorded.
func (u *unitBrokers) ofSomeService(p *world.Process) bool {
	return u.services[world.HostKey(p.Host)] && startedBy(p, "services.exe")
}

// ofService reports whether a recorded service may have run a process: see
// joiner.services.
func (u *unitBrokers) ofService(p *world.Process) bool {
	return u.modules[p] ||
		startedBy(p, "services.exe") && u.programs[serviceChild{world.HostKey(p.Host), world.CommandKey(cmp.Or(p.CommandLine, p.Image))}]
}

// mayCarry reports whether a process may carry lineage in some graph: Graph.hub
// then does not hold for it. It says yes rather too often; service says whether
// a service may have run a process.
func (u *unitBrokers) mayCarry(p *world.Process, depth int, service func(*world.Process) bool) bool {
	if !staticHub(p.ImageKey()) || u.tampered[p] || shellHost(p) || isInstaller(p) || p.ImageKey() == scrcons {
		return true
	}
	if depth > 8 || service(p) || u.handlers[world.HostKey(p.Host)] && scheduled(p) {
		return true
	}
	parents := begetters[p.ImageKey()]
	if parents == nil {
		return false
	}
	parent := world.PathKey(p.ParentImage)
	if q := p.Parent; q != nil && q.Image != "" {
		if parent = q.ImageKey(); u.mayCarry(q, depth+1, service) {
			return true
		}
	}
	return (strings.Contains(parent, `\`) || parent == "system") && !slices.Contains(parents, parent)
}

type set map[string]bool

func (s set) sorted() []string { return slices.Sorted(maps.Keys(s)) }

// outlook is an Outlook that is being made.
type outlook struct {
	host, recorded                                 string
	addresses, fans, offers, seeks, shares, likens set
	idle                                           set                 // keys that it is like others by and draws nothing of, unless they are among likens
	accounts                                       set                 // that logged on
	written                                        set                 // names of files that something wrote
	loaded                                         map[string][]string // hashes of modules by name
}

func (o *outlook) outlook() *Outlook {
	delete(o.likens, "")
	short := shortName(o.host)
	o.offers["name|"+short] = true
	for a := range o.addresses {
		o.offers["name|"+a] = true
	}
	for user := range o.accounts {
		o.offers["account|"+short+"|"+user] = true
		for a := range o.addresses {
			o.offers["account|"+a+"|"+user] = true
		}
	}
	// The content of a file that somebody wrote may be known from its loading only.
	for name := range o.written {
		for _, h := range o.loaded[name] {
			o.likens["same-hash|"+h] = true
		}
	}
	draws := o.likens.sorted()
	maps.Copy(o.likens, o.idle)
	return &Outlook{
		Host: o.host, Recorded: o.recorded, Addresses: o.addresses.sorted(), Fans: o.fans.sorted(),
		Offers: o.offers.sorted(), Seeks: o.seeks.sorted(), Shares: o.shares.sorted(), Likens: o.likens.sorted(), Draws: draws,
	}
}

// machine notes that something names another machine, as joiner.machine reads it.
func (o *outlook) machine(name string) {
	name = strings.TrimRight(strings.ToLower(strings.TrimLeft(name, `\`)), ".")
	if a := address(name); a != "" {
		o.seeks["name|"+a] = true
	} else if short := shortName(name); short != "" && short != shortName(o.host) {
		o.seeks["name|"+short] = true
	}
}

// says reads which machines a text speaks of.
func (o *outlook) says(text string) {
	for _, read := range []func(string) []claim{serviceClaims, taskClaims} {
		for _, c := range read(text) {
			if c.host != "" {
				o.machine(c.host)
			}
		}
	}
	s := &said{text: text, lower: strings.ToLower(text)}
	if !slices.ContainsFunc(spoken, func(w string) bool { return strings.Contains(s.lower, w) }) {
		return
	}
	for _, name := range remoteShellHosts(s) {
		o.machine(name)
	}
	if host, _ := wmiCreate(s); host != "" {
		o.machine(host)
	}
	for _, c := range comClasses(s) {
		if c.host != "" {
			o.machine(c.host)
		}
	}
}

func (o *outlook) record(r *world.Record) {
	end := func(ip, port string) string {
		if a := address(ip); a != "" && port != "" {
			return "end|" + a + "|" + port
		}
		return ""
	}
	add := func(to set, key string) {
		if key != "" {
			to[key] = true
		}
	}
	account := func(user string) { o.accounts[strings.ToLower(user)] = true }
	switch r.Kind {
	case event.NetworkConnect:
		// A logon is joined to the connection that it came by, and a detection on
		// either end of one to the logon.
		add(o.seeks, end(r.Get("SourceIp"), r.Get("SourcePort")))
		add(o.seeks, end(r.Get("DestinationIp"), r.Get("DestinationPort")))
		if a := address(r.Get("SourceIp")); a != "" && strings.EqualFold(r.Get("Initiated"), "true") {
			o.addresses[a] = true
		}
		if ip, port, ok := desktopClient(r); ok {
			add(o.offers, end(ip, port)) // it may be a remote desktop session's
		}
	case event.RemoteDesktop:
		if r.ID == 4778 {
			account(accountName(r.Get("User")))
		}
	case event.Logon:
		add(o.offers, end(r.Get("IpAddress"), r.Get("IpPort")))
		account(r.Get("TargetUserName"))
		if g := r.Get("LogonGuid"); !zeroGUID(g) {
			o.offers["guid|"+guidKey(g)] = true
		}
		if user := r.Get("TargetUserName"); !machineAccount(user) && r.Get("IpAddress") != "" {
			o.likens["same-account|"+strings.ToLower(user)] = true
		}
	case event.ShareAccess:
		o.written[fileName(r.Get("RelativeTargetName"))] = true
		add(o.offers, end(r.Get("IpAddress"), r.Get("IpPort")))
		account(r.Get("SubjectUserName"))
	case event.LogonExplicit:
		if g := r.Get("TargetLogonGuid"); !zeroGUID(g) {
			o.seeks["guid|"+guidKey(g)] = true
		}
		server := r.Get("TargetServerName")
		if a := address(server); a != "" {
			server = a
		} else {
			server = shortName(server)
		}
		if server != "" && server != shortName(o.host) {
			o.seeks["account|"+server+"|"+strings.ToLower(r.Get("TargetUserName"))] = true
		}
	case event.RemoteShell:
		if r.ID == 6 {
			o.machine(connectionHost(r.Get("Connection")))
		}
	case event.PipeCreate:
		name, _ := pipeClient(r.Get("PipeName"), r.Get("Image"))
		o.machine(name)
	case event.ScriptBlock, event.ScriptModule, event.ScriptClassic:
		o.says(scriptText(r))
	case event.FileCreate, event.FileExecutable, event.FileStream, event.FileRename:
		o.written[fileName(r.Get("TargetFilename"))] = true
		if h := contentHash(r.Get("Hashes")); h != "" {
			o.likens["same-hash|"+h] = true
		}
	case event.ImageLoad:
		if h := contentHash(r.Get("Hashes")); h != "" {
			name := fileName(r.Get("ImageLoaded"))
			if list := o.loaded[name]; !slices.Contains(list, h) {
				o.loaded[name] = append(list, h)
			}
		}
	}
}

// fileName is the match form of a file's name, without its folder and stream.
func fileName(path string) string {
	name, _, _ := strings.Cut(world.Base(strings.ToLower(strings.Trim(path, `"`))), ":")
	return name
}

// placeKey is the key of the public address that a connection went to, "" if it
// is none.
func placeKey(r *world.Record) string {
	ip, err := netip.ParseAddr(r.Get("DestinationIp"))
	if err != nil || ip.Unmap().IsPrivate() || !ip.IsGlobalUnicast() {
		return ""
	}
	return "same-destination|" + ip.Unmap().String() + "|" + r.Get("DestinationPort")
}

// Neighbours knows the outlooks of all hosts: what a graph of some of them must
// know of the others, and which hosts a graph must hold together. It is not safe
// for concurrent use, but for graphs that only read it.
type Neighbours struct {
	hosts map[string]*Outlook
	keys  map[string]*meeting
	met   map[string]*meeting // of these, those by which hosts meet
	made  bool                // the tables below are of the hosts as they are

	addresses map[string]string // address → match form of the one host that has it, "" if several do
	located   map[string]bool   // hosts that have an address of their own
	named     map[string]string // names of hosts → match form, "" if several have it
	hubs      map[string]bool   // images whose fan-out was measured
	recorded  int
}

// meeting is who has a key.
type meeting struct{ offer, seek, share, liken, draw map[string]bool }

// NewNeighbours returns the Neighbours of hosts.
func NewNeighbours(all ...*Outlook) *Neighbours {
	n := &Neighbours{hosts: map[string]*Outlook{}, keys: map[string]*meeting{}, met: map[string]*meeting{}}
	for _, o := range all {
		n.Put(o)
	}
	return n
}

// Put takes the outlook of a host in, in the place of an earlier one. It returns
// the other hosts for which something that they are like has become common, or
// has ceased to be.
func (n *Neighbours) Put(o *Outlook) (affected []string) {
	before := n.hosts[o.Host]
	if before == nil {
		before = &Outlook{}
	}
	n.hosts[o.Host] = o
	if before.Recorded != o.Recorded || !slices.Equal(before.Addresses, o.Addresses) || !slices.Equal(before.Fans, o.Fans) {
		n.made = false
	}
	n.differ(o.Host, before.Offers, o.Offers, func(m *meeting) *map[string]bool { return &m.offer })
	n.differ(o.Host, before.Seeks, o.Seeks, func(m *meeting) *map[string]bool { return &m.seek })
	n.differ(o.Host, before.Shares, o.Shares, func(m *meeting) *map[string]bool { return &m.share })
	n.differ(o.Host, before.Draws, o.Draws, func(m *meeting) *map[string]bool { return &m.draw })
	for _, k := range n.differ(o.Host, before.Likens, o.Likens, func(m *meeting) *map[string]bool { return &m.liken }) {
		if m := n.keys[k]; m != nil && (len(m.liken) == rare || len(m.liken) == rare+1) {
			for h := range m.liken {
				if h != o.Host {
					affected = append(affected, h)
				}
			}
		}
	}
	slices.Sort(affected)
	return slices.Compact(affected)
}

// differ replaces a host's keys of one kind, which are sorted, and returns those
// that it had not, or has no longer.
func (n *Neighbours) differ(host string, before, after []string, of func(*meeting) *map[string]bool) (changed []string) {
	for len(before) > 0 || len(after) > 0 {
		c := 0
		switch {
		case len(before) == 0:
			c = 1
		case len(after) == 0:
			c = -1
		default:
			c = strings.Compare(before[0], after[0])
		}
		switch {
		case c < 0:
			k := before[0]
			before = before[1:]
			changed = append(changed, k)
			m := n.keys[k]
			delete(*of(m), host)
			n.noteMet(k, m)
			if len(m.offer)+len(m.seek)+len(m.share)+len(m.liken)+len(m.draw) == 0 {
				delete(n.keys, k)
			}
		case c > 0:
			k := after[0]
			after = after[1:]
			changed = append(changed, k)
			m := n.keys[k]
			if m == nil {
				m = &meeting{}
				n.keys[k] = m
			}
			if *of(m) == nil {
				*of(m) = map[string]bool{}
			}
			(*of(m))[host] = true
			n.noteMet(k, m)
		default:
			before, after = before[1:], after[1:]
		}
	}
	return changed
}

// groups returns the sets of hosts that a key holds together.
func (m *meeting) groups() (all [][]map[string]bool) {
	if len(m.offer) > 0 && len(m.seek) > 0 {
		all = append(all, []map[string]bool{m.offer, m.seek})
	}
	if len(m.share) > 1 {
		all = append(all, []map[string]bool{m.share})
	}
	if len(m.draw) > 1 && !m.common() {
		all = append(all, []map[string]bool{m.draw})
	}
	return all
}

func (m *meeting) common() bool { return len(m.liken) > rare }

func (n *Neighbours) noteMet(key string, m *meeting) {
	if m.groups() != nil {
		n.met[key] = m
	} else {
		delete(n.met, key)
	}
}

// common reports whether more than a few hosts are alike in something.
func (n *Neighbours) common(key string) bool {
	m := n.keys[key]
	return m != nil && m.common()
}

// make makes the tables.
func (n *Neighbours) make() {
	if n.made {
		return
	}
	n.made = true
	n.addresses, n.located, n.named, n.hubs, n.recorded = map[string]string{}, map[string]bool{}, map[string]string{}, map[string]bool{}, 0
	fans := map[string]int{}
	for host, o := range n.hosts {
		for _, a := range o.Addresses {
			if have, known := n.addresses[a]; known && have != host {
				n.addresses[a] = "" // an address that two hosts claim is nobody's
			} else {
				n.addresses[a] = host
			}
		}
		for _, f := range o.Fans {
			fans[f]++
		}
		if o.Recorded == "" {
			continue
		}
		n.recorded++
		for _, name := range []string{host, shortName(host)} {
			if have, ok := n.named[name]; ok && have != host {
				n.named[name] = ""
			} else {
				n.named[name] = host
			}
		}
	}
	for _, host := range n.addresses {
		n.located[host] = true
	}
	for image, on := range fans {
		if on >= fanHosts {
			n.hubs[image] = true
		}
	}
}

// Hosts returns the match forms of their names, sorted.
func (n *Neighbours) Hosts() []string { return sortedKeys(n.hosts) }

// Len is how many hosts there are.
func (n *Neighbours) Len() int { return len(n.hosts) }

// Has reports whether a host is among them, by the match form of its name.
func (n *Neighbours) Has(host string) bool { return n.hosts[host] != nil }

// Recorded is how many hosts wrote records that are not damaged.
func (n *Neighbours) Recorded() int {
	n.make()
	return n.recorded
}

// Groups returns the hosts in the smallest groups of which the graphs together
// are the graph of all, each sorted and in the order of their first. linked are
// hosts that are to be in one group for another reason.
func (n *Neighbours) Groups(linked ...[]string) [][]string {
	into := map[string]string{}
	var find func(string) string
	find = func(h string) string {
		if to, ok := into[h]; ok && to != h {
			root := find(to)
			into[h] = root
			return root
		}
		return h
	}
	join := func(a, b string) {
		if a, b = find(a), find(b); a != b {
			into[max(a, b)] = min(a, b)
		}
	}
	together := func(sets ...map[string]bool) {
		first := ""
		for _, s := range sets {
			for h := range s {
				if first == "" {
					first = h
				}
				join(first, h)
			}
		}
	}
	for _, m := range n.met {
		for _, sets := range m.groups() {
			together(sets...)
		}
	}
	for _, hosts := range linked {
		for _, h := range hosts[1:] {
			join(hosts[0], h)
		}
	}
	groups := map[string][]string{}
	for h := range n.hosts {
		groups[find(h)] = append(groups[find(h)], h)
	}
	var all [][]string
	for _, k := range sortedKeys(groups) {
		slices.Sort(groups[k])
		all = append(all, groups[k])
	}
	return all
}

// Answers are what a graph was told of all hosts while it was made, so that it is
// known whether it would be told the same again.
type Answers struct {
	hubs  map[string]bool
	many  bool
	given map[string]string
}

// Same reports whether a graph that was given the answers would be given the same
// now.
func (n *Neighbours) Same(a *Answers) bool {
	n.make()
	if a.many != (n.recorded > 1) || !maps.Equal(a.hubs, n.hubs) {
		return false
	}
	for question, answer := range a.given {
		if n.answer(question) != answer {
			return false
		}
	}
	return true
}

// The first letter of a question says what it is about.
const (
	askAddress = "a"
	askName    = "n"
	askKnown   = "k" // whether any host goes by a name
	askLocated = "l" // whether a host has an address of its own
)

func (n *Neighbours) answer(question string) string {
	switch what := question[1:]; question[:1] {
	case askAddress:
		return n.addresses[what]
	case askName:
		return n.named[what]
	case askKnown:
		_, ok := n.named[what]
		return strconv.FormatBool(ok)
	default:
		return strconv.FormatBool(n.located[what])
	}
}

// ask asks the neighbours and notes the answer.
func (g *Graph) ask(kind, what string) string {
	question := kind + what
	if a, ok := g.answers.given[question]; ok {
		return a
	}
	a := g.neighbours.answer(question)
	g.answers.given[question] = a
	return a
}

// hostAt returns the match form of the one recorded host that has an address, ""
// if none has or several claim it.
func (g *Graph) hostAt(address string) string { return g.ask(askAddress, address) }

// Answers returns what the graph has been told of all hosts.
func (g *Graph) Answers() *Answers { return g.answers }
