package world

// HostKeys returns the match forms of the names of all hosts of which anything
// was added, sorted. Hosts leaves out those of which only damaged records came.
func (w *World) HostKeys() []string {
	keys := make([]string, 0, len(w.stores))
	for _, s := range w.sortedStores() {
		keys = append(keys, s.key)
	}
	return keys
}

// Knows reports whether anything of a host was taken in.
func (w *World) Knows(host string) bool { return w.store(host, false) != nil }

// Kept returns how many records are held.
func (w *World) Kept() int {
	n := 0
	for _, s := range w.stores {
		n += s.rows.n
	}
	return n
}

// Share returns what hosts that wrote the most may take, in bytes. As long as it
// stays the same, a host of which nothing was added answers as before.
func (w *World) Share() int64 { return w.finalShare() }

// Part returns a World of some of the hosts, named by their match forms, that
// answers as one to which only their records had been added, but for what the
// other hosts leave of Limits.Bytes. It shares what is kept of them with w: it is
// good until the next Add to w, and nothing may be added to it. Hosts share
// nothing else, so the parts of a World together know what it knows.
func (w *World) Part(hosts ...string) *World {
	p := New(w.limits)
	p.ledgerKey, p.whole = w.ledgerKey, w
	for _, h := range hosts {
		if s := w.stores[h]; s != nil {
			p.stores[h] = s
		}
	}
	return p
}

// Shedding is Shed of what was added so far, without resolving anything.
func (w *World) Shedding() Shed {
	var all Shed
	share := w.finalShare()
	for _, s := range w.stores {
		all.add(w.planOf(s, share).shed)
	}
	return all
}
