package sigma

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"maps"
	"math/bits"
	"slices"
	"strings"

	"ashiato/internal/sigma/logsource"
)

// This file is the index that finds the rules worth evaluating for an event.
// Every rule has a witness: a set of tests of which one must hold if the rule
// does. The index of a group finds the witnesses that hold without trying each:
// whole values and last path components by hash, all other literals by one rare
// piece of four bytes each. Rules that have no witness are always evaluated.

// group is the rules of one log source.
type group struct {
	number int
	source logsource.Matcher
	// always are the rules without a witness.
	always []int32
	fields []fieldIndex
	// keywords index the witnesses on any value; its slot is -1.
	keywords *fieldIndex
}

// fieldIndex finds the witnesses of one field.
type fieldIndex struct {
	slot int32
	// exact and tails are the rules by the number of a whole value and of a last
	// path component.
	exact, tails [][]int32
	// direct tests are tried whenever the field is there.
	direct []directTest
	grams  *gramIndex // nil if there is nothing to look for
	// needles are what grams was made of; kept for keywords.
	needles []gramEntry
}

type directTest struct {
	test  int32
	rules []int32
}

// witness is a set of tests of which at least one holds whenever a condition
// does. It is what makes leaving a rule out sound.
type witness struct {
	tests []int32
	cost  float64
	ok    bool
}

func (c *compiler) index() {
	e := c.engine
	common := commonGrams(e.tests)
	e.common = common
	for i := range e.tests {
		e.tests[i].finish(common)
	}
	c.costs = make([]float64, len(e.tests))
	for i := range e.rules {
		c.arrange(e.rules[i].root)
		e.rules[i].entry = c.generate(e.rules[i].root, isTrue, isFalse)
	}
	groups := map[string]*group{}
	byTest := map[*group]map[int32][]int32{}
	for i, r := range e.rules {
		l := r.rule.LogSource
		key := l.Category + "\x00" + l.Product + "\x00" + l.Service
		g := groups[key]
		if g == nil {
			g = &group{source: r.rule.fields}
			groups[key] = g
			e.groups = append(e.groups, g)
			byTest[g] = map[int32][]int32{}
		}
		w := c.witness(r.root)
		if !w.ok {
			g.always = append(g.always, int32(i))
			continue
		}
		for _, t := range w.tests {
			byTest[g][t] = append(byTest[g][t], int32(i))
		}
	}
	for i, g := range e.groups {
		g.number = i
		g.build(e, byTest[g], common)
	}
}

func (g *group) build(e *Engine, byTest map[int32][]int32, common *gramCounts) {
	bySlot := map[int32][]int32{}
	for id := range byTest {
		bySlot[e.tests[id].slot] = append(bySlot[e.tests[id].slot], id)
	}
	slots := make([]int32, 0, len(bySlot))
	for s := range bySlot {
		slots = append(slots, s)
	}
	slices.Sort(slots)
	for _, s := range slots {
		ids := bySlot[s]
		slices.Sort(ids)
		f := fieldIndex{slot: s}
		var grams []gramEntry
		for _, id := range ids {
			t, rules := &e.tests[id], byTest[id]
			switch needles := t.needles(); {
			case t.how == byExact && s >= 0:
				if f.exact == nil {
					f.exact = make([][]int32, len(e.slots[s].exact.ids))
				}
				f.exact[t.id] = rules
			case t.how == byTail && s >= 0:
				if f.tails == nil {
					f.tails = make([][]int32, len(e.slots[s].tails.ids))
				}
				f.tails[t.id] = rules
			case shortest(needles) >= 2:
				for i := range needles {
					grams = append(grams, gramEntry{needle: needles[i].text, test: id, rules: rules})
				}
			default:
				f.direct = append(f.direct, directTest{id, rules})
			}
		}
		f.grams = newGramIndex(grams, common)
		if s < 0 {
			f.needles = grams
			g.keywords = &f
			continue
		}
		g.fields = append(g.fields, f)
	}
}

// mergeKeywords makes one index of several groups', so that values are searched
// once.
func mergeKeywords(groups []*group, common *gramCounts) *fieldIndex {
	var found []*fieldIndex
	for _, g := range groups {
		if g.keywords != nil {
			found = append(found, g.keywords)
		}
	}
	switch len(found) {
	case 0:
		return nil
	case 1:
		return found[0]
	}
	out := &fieldIndex{slot: -1}
	for _, f := range found {
		out.direct = append(out.direct, f.direct...)
		out.needles = append(out.needles, f.needles...)
	}
	out.grams = newGramIndex(out.needles, common)
	return out
}

// shortest returns the length of the shortest of the literals, 0 for none.
func shortest(literals []literal) int {
	if len(literals) == 0 {
		return 0
	}
	n := len(literals[0].text)
	for i := range literals {
		n = min(n, len(literals[i].text))
	}
	return n
}

func (c *compiler) witness(n *cnode) witness {
	if n.witness == nil {
		w := c.findWitness(n)
		n.witness = &w
	}
	return *n.witness
}

func (c *compiler) findWitness(n *cnode) witness {
	switch n.op {
	case opNot:
		return witness{}
	case opAnd:
		ws := make([]witness, len(n.kids))
		for i, k := range n.kids {
			ws[i] = c.witness(k)
		}
		return cheapest(ws)
	case opOr:
		ws := make([]witness, len(n.kids))
		for i, k := range n.kids {
			ws[i] = c.witness(k)
		}
		return union(ws)
	}
	if n.neq {
		return witness{}
	}
	item := &c.engine.items[n.item]
	ws := make([]witness, len(item.values))
	for i, alts := range item.values {
		parts := make([]witness, len(alts))
		for j, t := range alts {
			parts[j] = c.leaf(t)
		}
		ws[i] = union(parts)
	}
	if item.all {
		return cheapest(ws)
	}
	return union(ws)
}

// always is the cost of a witness that every event has.
const always = 1000

// cheapest chooses among witnesses each of which would do.
func cheapest(ws []witness) witness {
	var best witness
	for _, w := range ws {
		if w.ok && (!best.ok || w.cost < best.cost) {
			best = w
		}
	}
	return best
}

func union(ws []witness) witness {
	out := witness{ok: true}
	for _, w := range ws {
		if !w.ok {
			return witness{}
		}
		out.cost += w.cost
		out.tests = append(out.tests, w.tests...)
	}
	out.cost = min(out.cost, always)
	slices.Sort(out.tests)
	out.tests = slices.Compact(out.tests)
	return out
}

// commonplace is what ordinary events say: literals in it are bad witnesses.
// Only speed depends on it.
const commonplace = `
c:\windows\system32\svchost.exe -k netsvcs -p -s schedule
c:\windows\system32\cmd.exe /c "c:\windows\system32\cmd.exe" /c /q /d
\??\c:\windows\system32\conhost.exe 0xffffffff -forcev1
c:\windows\system32\windowspowershell\v1.0\powershell.exe -noprofile -noninteractive -executionpolicy bypass -command -file -enc -nop -w hidden
c:\windows\explorer.exe c:\windows\system32\services.exe c:\windows\system32\lsass.exe c:\windows\system32\wbem\wmiprvse.exe
c:\windows\system32\rundll32.exe c:\windows\syswow64\rundll32.exe c:\windows\system32\shell32.dll
c:\windows\system32\taskhostw.exe c:\windows\system32\dllhost.exe /processid:{ab8902b4-09ca-4bb6-b78d-a8f59079a8d5}
c:\windows\system32\net.exe c:\windows\system32\net1.exe c:\windows\system32\reg.exe c:\windows\system32\sc.exe c:\windows\system32\wbem\wmic.exe
c:\windows\system32\msiexec.exe /v c:\windows\system32\regsvr32.exe /s c:\windows\system32\whoami.exe c:\windows\system32\schtasks.exe
c:\program files (x86)\google\chrome\application\chrome.exe --type=renderer c:\program files\microsoft office\root\office16\winword.exe
c:\users\administrator\appdata\local\temp\ c:\users\user\appdata\roaming\microsoft\windows\ c:\users\public\ c:\programdata\microsoft\
c:\users\user\desktop\ c:\users\user\downloads\ c:\windows\temp\ c:\windows\
nt authority\system nt authority\network service workgroup system high medium low
microsoft corporation microsoft windows operating system microsoft® windows® operating system
windows powershell powershell.exe cmd.exe windows command processor net.exe net1.exe rundll32.exe svchost.exe conhost.exe
sha1= md5= sha256= imphash= 00000000000000000000000000000000 0x3e7 0x3e4 0x3e5 s-1-5-18 s-1-16-16384 tokenelevationtypedefault
http:// https:// www. .com .exe .dll .txt .ps1 .bat .tmp .log .dat -c -k /f /d /v /t /add user group service system process start create query
hklm\system\currentcontrolset\services\ hkcu\software\microsoft\windows\currentversion\ hklm\software\ hku\s-1-5-21-
binary data dword (0x00000001) dword (0x00000000) setvalue createkey deletekey
system.management.automation microsoft-windows-sysmon microsoft-windows-security-auditing function param( $env: new-object write-host get-
true false - 0 1 - `

// leaf estimates what a test costs as a witness: in how many of a thousand
// events that the rule is not about it holds. Only the choice among sound
// witnesses depends on it.
func (c *compiler) leaf(id int32) witness {
	if t := &c.engine.tests[id]; t.kind == nullTest || t.kind == existsTest && !t.want {
		return witness{}
	}
	if c.costs[id] == 0 {
		c.costs[id] = min(c.cost(id), always)
	}
	return witness{tests: []int32{id}, cost: c.costs[id], ok: true}
}

func (c *compiler) cost(id int32) float64 {
	t := &c.engine.tests[id]
	switch t.kind {
	case existsTest:
		return 800
	case cidrTest, numberTest, fieldrefTest:
		return 200
	}
	cost := 500.0
	needles := t.needles()
	switch n := shortest(needles); {
	case t.how == byExact && t.slot >= 0, t.how == byTail:
		cost = 1
	case n >= 8:
		cost = 1
	case n >= 6:
		cost = 2
	case n >= 4:
		cost = 6
	case n >= 2:
		cost = 80
	}
	cost *= float64(max(1, len(needles)))
	// A test that many rules make is true of common events.
	cost *= 1 + float64(min(c.popularity[id], 60))/20
	for i := range needles {
		if n := strings.Count(commonplace, string(needles[i].text)); n > 0 {
			cost = max(cost, float64(70+30*n))
		}
	}
	if t.slot < 0 {
		cost *= 20
	} else if s := c.engine.slots[t.slot]; s.system {
		// The System section of most records of a log is the same, but for the
		// event's number.
		if s.name == "EventID" && t.how == byExact {
			cost = 15
		} else {
			cost = max(cost*30, 300)
		}
	} else if s.name == "User" {
		cost = max(cost, 300)
	}
	return cost
}

// gramIndex finds literals in a text by one rare four-byte piece of each (by a
// two-byte piece for the short ones). A piece that is not in the text proves
// that the literal is not. Where all literals are long, only every stride-th
// place of the text is looked at, and each literal is found by as many pieces,
// one for each way it can lie.
//
// Pieces are compared with the bit that tells upper from lower case set in
// every byte, so that ASCII text need not be folded to be searched.
type gramIndex struct {
	stride  int
	shift   uint
	filter  []uint64 // one bit per hash of a four-byte piece
	table   []gramSlot
	entries []gramEntry
	pairs   *pairIndex
	wide    *gramIndex // the literals that are not ASCII
	least   int        // length of the shortest literal
}

const (
	foldBits     = 0x20202020
	foldPairBits = 0x2020
)

// gramSlot is a place of the hash table: the entries of one piece. It is empty
// if it has no entries.
type gramSlot struct {
	gram     uint32
	from, to uint32
}

// gramEntry is a literal that may be where its piece was found.
type gramEntry struct {
	needle []byte
	at     int32 // where in the needle the piece is
	test   int32
	rules  []int32
}

// pairIndex does the same for literals of two or three bytes.
type pairIndex struct {
	bits    [1024]uint64
	before  [1024]uint16 // how many pieces come before those of a word of bits
	entries [][]gramEntry
}

func newPairIndex(byPair map[uint16][]gramEntry) *pairIndex {
	p := new(pairIndex)
	for _, pair := range slices.Sorted(maps.Keys(byPair)) {
		p.bits[pair>>6] |= 1 << (pair & 63)
		p.entries = append(p.entries, byPair[pair])
	}
	n := 0
	for i := range p.bits {
		p.before[i] = uint16(n)
		n += bits.OnesCount64(p.bits[i])
	}
	return p
}

// of returns the entries of a piece that has some.
func (p *pairIndex) of(pair uint16) []gramEntry {
	below := p.bits[pair>>6] & (1<<(pair&63) - 1)
	return p.entries[int(p.before[pair>>6])+bits.OnesCount64(below)]
}

// gramCounts counts four-byte pieces by a hash of 16 bits.
type gramCounts [1 << 16]uint32

func (c *gramCounts) add(s []byte, n uint32) {
	for i := 0; i+4 <= len(s); i++ {
		c[hashGram(binary.LittleEndian.Uint32(s[i:])|foldBits, 16)] += n
	}
}

func (c *gramCounts) of(gram uint32) uint32 { return c[hashGram(gram|foldBits, 16)] }

// commonGrams estimates how common each piece is in events.
func commonGrams(tests []compiledTest) *gramCounts {
	common := new(gramCounts)
	for i := range tests {
		for _, l := range tests[i].needles() {
			common.add(l.text, 1)
		}
	}
	common.add([]byte(commonplace), 200)
	return common
}

func hashGram(gram uint32, shift uint) uint32 { return gram * 0x9E3779B1 >> shift }

// newGramIndex returns the index of literals of two bytes and more.
func newGramIndex(needles []gramEntry, common *gramCounts) *gramIndex {
	if len(needles) == 0 {
		return nil
	}
	x := &gramIndex{stride: 1}
	var ascii, wide []gramEntry
	for _, n := range needles {
		if isASCII(string(n.needle)) {
			ascii = append(ascii, n)
		} else {
			wide = append(wide, n)
		}
	}
	if len(ascii) > 0 && len(wide) > 0 {
		x.wide = newGramIndex(wide, common)
		needles = ascii
	}
	least := 0
	for _, n := range needles {
		if len(n.needle) >= 4 && (least == 0 || len(n.needle) < least) {
			least = len(n.needle)
		}
		if x.least == 0 || len(n.needle) < x.least {
			x.least = len(n.needle)
		}
	}
	for x.stride < 16 && least >= 2*x.stride+3 {
		x.stride *= 2
	}
	type choice struct {
		gram   uint32
		needle int32
		at     int32
	}
	var choices []choice
	byPair := map[uint16][]gramEntry{}
	for k, n := range needles {
		if len(n.needle) < 4 {
			pair := binary.LittleEndian.Uint16(n.needle) | foldPairBits
			byPair[pair] = append(byPair[pair], n)
			continue
		}
		for lie := range x.stride {
			best := -1
			for i := lie; i+4 <= len(n.needle); i += x.stride {
				gram := binary.LittleEndian.Uint32(n.needle[i:])
				if best < 0 || common.of(gram) < common.of(binary.LittleEndian.Uint32(n.needle[best:])) {
					best = i
				}
			}
			gram := binary.LittleEndian.Uint32(n.needle[best:]) | foldBits
			choices = append(choices, choice{gram, int32(k), int32(best)})
		}
	}
	if len(byPair) > 0 {
		x.pairs = newPairIndex(byPair)
	}
	if len(choices) == 0 {
		return x
	}
	slices.SortStableFunc(choices, func(a, b choice) int { return cmp.Compare(a.gram, b.gram) })
	size := uint(bits.Len(uint(len(choices)*2 - 1)))
	x.table = make([]gramSlot, 1<<size)
	filter := max(10, min(size+5, 18))
	x.shift = 32 - filter
	x.filter = make([]uint64, 1<<(filter-6))
	x.entries = make([]gramEntry, 0, len(choices))
	for len(choices) > 0 {
		gram, from := choices[0].gram, len(x.entries)
		for len(choices) > 0 && choices[0].gram == gram {
			entry := needles[choices[0].needle]
			entry.at = choices[0].at
			x.entries = append(x.entries, entry)
			choices = choices[1:]
		}
		h := hashGram(gram, x.shift)
		x.filter[h>>6] |= 1 << (h & 63)
		i := tableHash(gram) & uint32(len(x.table)-1)
		for x.table[i].to != 0 {
			i = (i + 1) & uint32(len(x.table)-1)
		}
		x.table[i] = gramSlot{gram, uint32(from), uint32(len(x.entries))}
	}
	return x
}

func tableHash(gram uint32) uint32 { return gram * 0x85EBCA77 >> 7 }

// of returns the entries of a piece.
func (x *gramIndex) of(gram uint32) []gramEntry {
	mask := uint32(len(x.table) - 1)
	for i := tableHash(gram) & mask; ; i = (i + 1) & mask {
		switch s := &x.table[i]; {
		case s.to == 0:
			return nil
		case s.gram == gram:
			return x.entries[s.from:s.to]
		}
	}
}

// find makes candidates of the rules whose witness is among the indexed tests
// that hold for a text.
func (m *Matcher) find(x *gramIndex, text int32) {
	t := m.text(text)
	if t.ascii() {
		if len(t.raw) >= x.least {
			search(m, x, t.raw, text)
		}
		return
	}
	folded := t.fold()
	search(m, x, folded, text)
	if x.wide != nil {
		search(m, x.wide, folded, text)
	}
}

// search looks at s, which is text number text, folded unless it is ASCII.
func search[T string | []byte](m *Matcher, x *gramIndex, s T, text int32) {
	i := 0
	switch filter, shift, pairs := x.filter, x.shift&31, x.pairs; {
	case x.stride > 1:
		for stride := x.stride; i+4 <= len(s); i += stride {
			if h := hashGram(load32(s, i)|foldBits, shift); filter[h>>6]>>(h&63)&1 != 0 {
				m.foundGram(x, load32(s, i), text, i)
			}
		}
	case len(filter) > 0 && pairs == nil:
		for ; i+8 <= len(s); i += 4 {
			w := load64(s, i) | foldBits<<32 | foldBits
			h0, h1, h2, h3 := hashGram(uint32(w), shift), hashGram(uint32(w>>8), shift), hashGram(uint32(w>>16), shift), hashGram(uint32(w>>24), shift)
			if (filter[h0>>6]>>(h0&63)|filter[h1>>6]>>(h1&63)|filter[h2>>6]>>(h2&63)|filter[h3>>6]>>(h3&63))&1 != 0 {
				m.foundGrams(x, w, text, i)
			}
		}
	case len(filter) > 0:
		for ; i+8 <= len(s); i += 4 {
			w := load64(s, i) | foldBits<<32 | foldBits
			h0, h1, h2, h3 := hashGram(uint32(w), shift), hashGram(uint32(w>>8), shift), hashGram(uint32(w>>16), shift), hashGram(uint32(w>>24), shift)
			if (filter[h0>>6]>>(h0&63)|filter[h1>>6]>>(h1&63)|filter[h2>>6]>>(h2&63)|filter[h3>>6]>>(h3&63))&1 != 0 {
				m.foundGrams(x, w, text, i)
			}
			if (pairs.bit(uint16(w))|pairs.bit(uint16(w>>8))|pairs.bit(uint16(w>>16))|pairs.bit(uint16(w>>24)))&1 != 0 {
				for k := range 4 {
					m.foundPair(pairs, uint16(w>>(8*k)), text, i+k)
				}
			}
		}
	}
	// The end of the text, and texts that are searched for pairs only.
	if x.stride > 1 && x.pairs == nil {
		return
	}
	if x.stride > 1 {
		i = 0
	}
	for ; i+2 <= len(s); i++ {
		if x.stride == 1 && len(x.filter) > 0 && i+4 <= len(s) {
			m.foundGram(x, load32(s, i), text, i)
		}
		if x.pairs != nil {
			m.foundPair(x.pairs, (uint16(s[i])|uint16(s[i+1])<<8)|foldPairBits, text, i)
		}
	}
}

func load32[T string | []byte](s T, i int) uint32 {
	return uint32(s[i]) | uint32(s[i+1])<<8 | uint32(s[i+2])<<16 | uint32(s[i+3])<<24
}

func load64[T string | []byte](s T, i int) uint64 {
	return uint64(s[i]) | uint64(s[i+1])<<8 | uint64(s[i+2])<<16 | uint64(s[i+3])<<24 |
		uint64(s[i+4])<<32 | uint64(s[i+5])<<40 | uint64(s[i+6])<<48 | uint64(s[i+7])<<56
}

func (p *pairIndex) bit(pair uint16) uint64 { return p.bits[pair>>6] >> (pair & 63) }

// foundGrams looks up the four pieces that begin in the low bytes of w.
func (m *Matcher) foundGrams(x *gramIndex, w uint64, text int32, i int) {
	for k := range 4 {
		m.foundGram(x, uint32(w>>(8*k)), text, i+k)
	}
}

// foundGram tries the literals whose piece is at i, if there are any.
func (m *Matcher) foundGram(x *gramIndex, gram uint32, text int32, i int) {
	gram |= foldBits
	if h := hashGram(gram, x.shift&31); x.filter[h>>6]>>(h&63)&1 == 0 {
		return
	}
	for k, entries := 0, x.of(gram); k < len(entries); k++ {
		m.hit(&entries[k], text, i)
	}
}

func (m *Matcher) foundPair(p *pairIndex, pair uint16, text int32, i int) {
	if p.bit(pair)&1 == 0 {
		return
	}
	for k, entries := 0, p.of(pair); k < len(entries); k++ {
		m.hit(&entries[k], text, i)
	}
}

// hit looks whether a literal is where its piece was found.
func (m *Matcher) hit(e *gramEntry, text int32, i int) {
	s, from := m.fold(text), i-int(e.at)
	if from < 0 || len(s)-from < len(e.needle) || !bytes.Equal(s[from:from+len(e.needle)], e.needle) {
		return
	}
	if v := m.tested[e.test]; v>>1 != m.epoch {
		switch t := &m.engine.tests[e.test]; t.how {
		case byContains:
			m.tested[e.test] = m.epoch<<1 | 1
		case byRegex:
			// The rest of the rule is cheaper to ask than the expression.
		default:
			if !m.holdsTest(e.test) {
				return
			}
		}
	} else if v&1 == 0 {
		return
	}
	m.candidates(e.rules)
}

// scan makes candidates of the rules whose witness on this field holds.
func (m *Matcher) scan(f *fieldIndex) {
	c := m.cell(f.slot)
	for _, t := range c.list {
		if f.exact != nil {
			id := int32(-1)
			if len(c.list) == 1 {
				id = m.exact(c, f.slot)
			} else {
				id = m.exactOf(f.slot, t)
			}
			if id >= 0 {
				m.candidates(f.exact[id])
			}
		}
		if f.tails != nil {
			id := int32(-1)
			if len(c.list) == 1 {
				id = m.tail(c, f.slot)
			} else {
				id = m.tailOf(f.slot, t)
			}
			if id >= 0 {
				m.candidates(f.tails[id])
			}
		}
		if f.grams != nil {
			m.find(f.grams, t)
		}
	}
	if len(c.list) > 0 {
		m.tryEach(f.direct)
	}
}

func (m *Matcher) tryEach(direct []directTest) {
	for i := range direct {
		if m.mayHold(direct[i].test) {
			m.candidates(direct[i].rules)
		}
	}
}

func (m *Matcher) candidates(rules []int32) {
	for _, r := range rules {
		if m.cands[r] != m.epoch {
			m.cands[r] = m.epoch
			m.list = append(m.list, r)
		}
	}
}
