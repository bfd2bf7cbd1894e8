package sigma

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"maps"
	"math/bits"
	"slices"

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
	of     LogSource // without its definition
	source logsource.Matcher
	// always are the rules without a witness.
	always []int32
	fields []fieldIndex
	// keywords index the witnesses on any value; its slot is -1.
	keywords *fieldIndex
}

// fieldIndex finds the witnesses of one field. Its lists of rules are in the
// Engine's lists.
type fieldIndex struct {
	slot int32
	// exact, tails and exts are the rules by the number of a whole value, of a last
	// path component and of an extension.
	exact, tails, exts []span
	// direct tests are tried whenever the field is there.
	direct []directTest
	grams  *gramIndex // nil if there is nothing to look for
	// needles are what grams was made of; kept for keywords.
	needles []gramEntry
}

type directTest struct {
	test  int32
	rules span
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
	c.costs = make([]float64, len(e.tests))
	groups := map[LogSource]*group{}
	groupOf := make([]*group, len(e.rules))
	for i := range e.rules {
		r := &e.rules[i]
		c.arrange(c.roots[i])
		r.entry = c.generate(c.roots[i], isTrue, isFalse)
		c.flatten(r, c.roots[i])
		key := r.rule.LogSource
		key.Definition = ""
		g := groups[key]
		if g == nil {
			g = &group{number: len(e.groups), of: key, source: r.rule.fields}
			groups[key] = g
			e.groups = append(e.groups, g)
		}
		groupOf[i] = g
	}
	// The first choice of witnesses tells which fields have to be looked at for
	// many rules. The second leaves out those that few need.
	c.pass = 1
	used := make([]map[int32]map[int32]bool, len(e.groups)) // by group and slot: the tests
	for i, g := range groupOf {
		if used[g.number] == nil {
			used[g.number] = map[int32]map[int32]bool{}
		}
		for _, t := range c.witness(c.roots[i]).tests {
			s := e.tests[t].slot
			if used[g.number][s] == nil {
				used[g.number][s] = map[int32]bool{}
			}
			used[g.number][s][t] = true
		}
	}
	c.pass = 2
	byTest := make([]map[int32][]int32, len(e.groups))
	for i, g := range groupOf {
		c.used = used[g.number]
		w := c.witness(c.roots[i])
		if !w.ok {
			g.always = append(g.always, int32(i))
			continue
		}
		if byTest[g.number] == nil {
			byTest[g.number] = map[int32][]int32{}
		}
		for _, t := range w.tests {
			byTest[g.number][t] = append(byTest[g.number][t], int32(i))
		}
	}
	for i, g := range e.groups {
		g.build(e, byTest[i])
	}
}

// list writes down numbers of rules.
func (e *Engine) list(rules []int32) span {
	from := uint32(len(e.lists))
	e.lists = append(e.lists, rules...)
	return span{from, uint32(len(e.lists))}
}

func (g *group) build(e *Engine, byTest map[int32][]int32) {
	ids := slices.Collect(maps.Keys(byTest))
	slices.SortFunc(ids, func(a, b int32) int {
		if n := cmp.Compare(e.tests[a].slot, e.tests[b].slot); n != 0 {
			return n
		}
		return cmp.Compare(a, b)
	})
	for len(ids) > 0 {
		s, n := e.tests[ids[0]].slot, 0
		for n < len(ids) && e.tests[ids[n]].slot == s {
			n++
		}
		f := e.newFieldIndex(s, ids[:n], byTest)
		if s < 0 {
			g.keywords = &f
		} else {
			g.fields = append(g.fields, f)
		}
		ids = ids[n:]
	}
}

// newFieldIndex makes the index of the tests of a field that are witnesses of
// rules.
func (e *Engine) newFieldIndex(slot int32, ids []int32, byTest map[int32][]int32) fieldIndex {
	f := fieldIndex{slot: slot}
	put := func(list *[]span, numbers numbering, id int32, rules span) {
		if *list == nil {
			*list = make([]span, len(numbers.ids))
		}
		(*list)[id] = rules
	}
	var grams []gramEntry
	for _, id := range ids {
		t, rules := &e.tests[id], e.list(byTest[id])
		needles := t.needles()
		switch {
		case t.how == byExact:
			put(&f.exact, e.slots[slot].exact, t.id, rules)
		case t.how == byTail:
			put(&f.tails, e.slots[slot].tails, t.id, rules)
		case t.how == byExt:
			put(&f.exts, e.slots[slot].exts, t.id, rules)
		case shortest(needles) >= 2:
			for i := range needles {
				grams = append(grams, gramEntry{needle: needles[i].text, test: id, rules: rules})
			}
		default:
			f.direct = append(f.direct, directTest{id, rules})
		}
	}
	f.grams = e.newGramIndex(e.seedOf(slot), grams)
	if slot < 0 {
		f.needles = grams
	}
	return f
}

// seedOf returns the seed of a slot's field.
func (e *Engine) seedOf(slot int32) fieldSeed {
	if slot < 0 {
		return anyField
	}
	return e.slots[slot].seed
}

// mergeKeywords makes one index of several groups', so that values are searched
// once.
func (e *Engine) mergeKeywords(groups []*group) *fieldIndex {
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
	out.grams = e.newGramIndex(anyField, out.needles)
	return out
}

// shortest returns the length of the shortest of the literals, 0 for none.
func shortest(literals []literal) int {
	if len(literals) == 0 {
		return 0
	}
	n := literals[0].text.len()
	for i := range literals {
		n = min(n, literals[i].text.len())
	}
	return n
}

func (c *compiler) witness(n *cnode) witness {
	if n.pass != c.pass {
		n.witness, n.pass = c.findWitness(n), c.pass
	}
	return n.witness
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
	if !item.all {
		return c.anyOf(item.tests)
	}
	ws := make([]witness, len(item.ends))
	from := int32(0)
	for i, to := range item.ends {
		ws[i], from = c.anyOf(item.tests[from:to]), to
	}
	return cheapest(ws)
}

// opening is what looking at a field of every event costs, as leaf counts.
const opening = 150

// share is a test's share of what looking at its field costs: the more tests do,
// the less.
func (c *compiler) share(slot int32) float64 {
	if c.used == nil {
		return 0
	}
	return opening / float64(max(len(c.used[slot]), 1))
}

// anyOf is the witness of the tests' alternatives.
func (c *compiler) anyOf(tests []int32) witness {
	out := witness{ok: true, tests: slices.Clone(tests)}
	for _, t := range tests {
		cost, ok := c.leaf(t)
		if !ok {
			return witness{}
		}
		out.cost += cost + c.share(c.engine.tests[t].slot)
	}
	out.settle()
	return out
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
	out.settle()
	return out
}

func (w *witness) settle() {
	w.cost = min(w.cost, always)
	slices.Sort(w.tests)
	w.tests = slices.Compact(w.tests)
}

// leaf estimates what a test costs as a witness: in how many of a thousand
// events it makes its rule a candidate, whatever the rule is about. Only the
// choice among sound witnesses depends on it. It is no witness at all if it may
// hold where the field is absent.
func (c *compiler) leaf(id int32) (cost float64, ok bool) {
	if t := &c.engine.tests[id]; t.kind == nullTest || t.kind == existsTest && !t.want {
		return 0, false
	}
	if c.costs[id] == 0 {
		c.costs[id] = min(c.cost(id), always)
	}
	return c.costs[id], true
}

func (c *compiler) cost(id int32) float64 {
	e := c.engine
	t := &e.tests[id]
	switch t.kind {
	case existsTest:
		return 800
	case cidrTest, numberTest, fieldrefTest:
		return 200
	}
	cost, needles := 0.0, t.needles()
	seed := e.seedOf(t.slot)
	for i := range needles {
		cost += always * seed.share(e.text(needles[i].text))
		if n := needles[i].text.len(); n < 4 {
			cost += 30 // pairs are found everywhere
		}
	}
	if len(needles) == 0 {
		cost = 500
	}
	if t.slot < 0 {
		cost *= 20
	} else if s := &e.slots[t.slot]; s.system {
		// The System section of most records of a log is the same, but for the
		// event's number.
		if s.name == "EventID" && t.how == byExact {
			cost = 15
		} else {
			cost = max(cost*30, 300)
		}
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
	stride int
	least  int // length of the shortest literal
	// entries are those of four-byte pieces, in their order, short those of
	// two-byte pieces.
	entries, short []gramEntry
	wide           *gramIndex // the literals that are not ASCII

	// What follows from the entries.
	shift  uint
	filter []uint64 // one bit per hash of a four-byte piece
	table  []gramSlot
	pairs  *pairIndex
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
	needle span  // of the arena
	at     int32 // where in the needle the piece is
	test   int32
	rules  span // of the lists
}

// pairIndex does the same for literals of two or three bytes.
type pairIndex struct {
	entries [][]gramEntry // by piece
	bits    [1024]uint64  // one for each piece there may be
	before  [1024]uint16  // how many pieces come before those of a word of bits
}

// newPairIndex returns the index of entries in the order of their pieces.
func newPairIndex(e *Engine, short []gramEntry) *pairIndex {
	p := &pairIndex{}
	for len(short) > 0 {
		pair, n := e.pair(&short[0]), 1
		for n < len(short) && e.pair(&short[n]) == pair {
			n++
		}
		p.entries, short = append(p.entries, short[:n:n]), short[n:]
		p.bits[pair>>6] |= 1 << (pair & 63)
	}
	n := 0
	for i := range p.bits {
		p.before[i] = uint16(n)
		n += bits.OnesCount64(p.bits[i])
	}
	return p
}

// pair returns the piece by which a short literal is found, gram that of a
// longer one.
func (e *Engine) pair(n *gramEntry) uint16 {
	return binary.LittleEndian.Uint16(e.text(n.needle)) | foldPairBits
}

func (e *Engine) gram(n *gramEntry) uint32 {
	return binary.LittleEndian.Uint32(e.text(n.needle)[n.at:]) | foldBits
}

// of returns the entries of a piece that has some.
func (p *pairIndex) of(pair uint16) []gramEntry {
	below := p.bits[pair>>6] & (1<<(pair&63) - 1)
	return p.entries[int(p.before[pair>>6])+bits.OnesCount64(below)]
}

func hashGram(gram uint32, shift uint) uint32 { return gram * 0x9E3779B1 >> shift }

const (
	maxStride  = 16
	maxPieces  = 1 << 15 // of an index whose stride is more than 1
	filterBits = 17      // of the largest filter: 16 KiB
)

// newGramIndex returns the index of literals of two bytes and more in a field.
func (e *Engine) newGramIndex(seed fieldSeed, needles []gramEntry) *gramIndex {
	if len(needles) == 0 {
		return nil
	}
	x := &gramIndex{stride: 1}
	var ascii, wide []gramEntry
	for _, n := range needles {
		if isASCII(e.text(n.needle)) {
			ascii = append(ascii, n)
		} else {
			wide = append(wide, n)
		}
	}
	if len(ascii) > 0 && len(wide) > 0 {
		x.wide = e.newGramIndex(seed, wide)
		needles = ascii
	}
	least := 0 // of those with four bytes and more
	for _, n := range needles {
		size := n.needle.len()
		if size >= 4 && (least == 0 || size < least) {
			least = size
		}
		if x.least == 0 || size < x.least {
			x.least = size
		}
	}
	for x.stride < maxStride && least >= 2*x.stride+3 && len(needles)*x.stride*2 <= maxPieces {
		x.stride *= 2
	}
	x.entries = make([]gramEntry, 0, len(needles)*x.stride)
	// Of pieces that are equally common the one that fewest literals have is best.
	var taken [1 << 12]uint16
	for _, n := range needles {
		text := e.text(n.needle)
		if len(text) < 4 {
			x.short = append(x.short, n)
			continue
		}
		for lie := range x.stride {
			var best uint32
			least := -1
			for i := lie; i+4 <= len(text); i += x.stride {
				gram := binary.LittleEndian.Uint32(text[i:]) | foldBits
				cost := int(seed.level(gram))<<16 + int(taken[hashGram(gram, 32-12)])
				if least < 0 || cost < least {
					best, least, n.at = gram, cost, int32(i)
				}
			}
			taken[hashGram(best, 32-12)]++
			x.entries = append(x.entries, n)
		}
	}
	slices.SortFunc(x.entries, func(a, b gramEntry) int {
		if g, h := e.gram(&a), e.gram(&b); g != h {
			return cmp.Compare(g, h)
		}
		if a.needle != b.needle {
			return cmp.Compare(a.needle.from, b.needle.from)
		}
		return cmp.Compare(a.test, b.test)
	})
	slices.SortStableFunc(x.short, func(a, b gramEntry) int { return cmp.Compare(e.pair(&a), e.pair(&b)) })
	x.fill(e)
	return x
}

// fill makes what follows from the entries.
func (x *gramIndex) fill(e *Engine) {
	if len(x.short) > 0 {
		x.pairs = newPairIndex(e, x.short)
	}
	if len(x.entries) == 0 {
		return
	}
	size := uint(bits.Len(uint(len(x.entries)*2 - 1)))
	x.table = make([]gramSlot, 1<<size)
	filter := max(10, min(size+5, filterBits))
	x.shift = 32 - filter
	x.filter = make([]uint64, 1<<(filter-6))
	for from := 0; from < len(x.entries); {
		gram, to := e.gram(&x.entries[from]), from+1
		for to < len(x.entries) && e.gram(&x.entries[to]) == gram {
			to++
		}
		x.put(gramSlot{gram, uint32(from), uint32(to)})
		from = to
	}
}

// put adds the entries of a piece to the filter and to the table, which has room.
func (x *gramIndex) put(s gramSlot) {
	h := hashGram(s.gram, x.shift)
	x.filter[h>>6] |= 1 << (h & 63)
	i := tableHash(s.gram) & uint32(len(x.table)-1)
	for x.table[i].to != 0 {
		i = (i + 1) & uint32(len(x.table)-1)
	}
	x.table[i] = s
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

// searchKeywords makes candidates of the rules whose witness on any value holds.
func (m *Matcher) searchKeywords(k *fieldIndex) {
	m.tryEach(k.direct)
	if k.grams == nil {
		return
	}
	least, first := k.grams.shortest(), len(m.event.Canon)
	for i := range m.event.Data {
		if len(m.event.Data[i].Value) >= least {
			m.find(k.grams, int32(first+i))
		}
	}
	texts := systemTexts(m.event)
	for _, f := range texts[wayTexts:] {
		if len(f.Value) >= least {
			m.find(k.grams, m.addText(f.Value))
		}
	}
}

// wayTexts is how many of the systemTexts, the first of them, all events of a way
// have alike: the provider and the channel.
const wayTexts = 2

// searchWay makes candidates of the rules whose witness is in what all events of
// the way have alike. It comes before everything else that makes candidates.
func (m *Matcher) searchWay(w *way) {
	if !w.searched && w.keys.grams != nil {
		texts := systemTexts(m.event)
		for _, f := range texts[:wayTexts] {
			m.find(w.keys.grams, m.addText(f.Value))
		}
		w.named = slices.Clone(m.list)
	}
	w.searched = true
	for _, r := range w.named {
		m.candidate(r)
	}
}

// shortest returns the length of the shortest text that the index finds
// something in. Folding makes no text longer.
func (x *gramIndex) shortest() int {
	if x.wide != nil {
		return min(x.least, x.wide.least)
	}
	return x.least
}

// find makes candidates of the rules whose witness is among the indexed tests
// that hold for a text.
func (m *Matcher) find(x *gramIndex, text int32) {
	t := m.text(text)
	if len(t.raw) < x.shortest() {
		return
	}
	if t.ascii() {
		search(m, x, t.raw, text)
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
	shift, pairs := x.shift&31, x.pairs
	switch last := len(s) - 8; {
	case last < 0:
		for i := 0; i+2 <= len(s); i++ {
			if len(x.filter) > 0 && i+4 <= len(s) {
				m.foundGram(x, load32(s, i), text, i)
			}
			if pairs != nil {
				m.foundPair(pairs, (uint16(s[i])|uint16(s[i+1])<<8)|foldPairBits, text, i)
			}
		}
	case x.stride > 1 || len(x.filter) == 0:
		if filter := x.filter; len(filter) > 0 {
			for i, stride := 0, x.stride; i+4 <= len(s); i += stride {
				if h := hashGram(load32(s, i)|foldBits, shift); filter[h>>6]>>(h&63)&1 != 0 {
					m.foundGram(x, load32(s, i), text, i)
				}
			}
		}
		if pairs != nil {
			for i := 0; i < last; i += 7 {
				m.findPairs(pairs, load64(s, i), text, i)
			}
			m.findPairs(pairs, load64(s, last), text, last)
		}
	default:
		for i := 0; i <= last; i += 4 {
			w := load64(s, i) | foldBits<<32 | foldBits
			if x.mayHave(w, shift) {
				m.foundGrams(x, w, text, i)
			}
			if pairs != nil && (pairs.bit(uint16(w))|pairs.bit(uint16(w>>8))|pairs.bit(uint16(w>>16))|pairs.bit(uint16(w>>24)))&1 != 0 {
				m.findPairs(pairs, w, text, i)
			}
		}
		// The last pieces, though some of them were looked at already.
		w := load64(s, last) | foldBits<<32 | foldBits
		if x.mayHave(w>>8, shift) {
			m.foundGrams(x, w>>8, text, last+1)
		}
		if pairs != nil {
			m.findPairs(pairs, w, text, last)
		}
	}
}

// mayHave reports whether the filter has one of the four pieces that begin in the
// low bytes of w.
func (x *gramIndex) mayHave(w uint64, shift uint) bool {
	h0, h1, h2, h3 := hashGram(uint32(w), shift), hashGram(uint32(w>>8), shift), hashGram(uint32(w>>16), shift), hashGram(uint32(w>>24), shift)
	f := x.filter
	return (f[h0>>6]>>(h0&63)|f[h1>>6]>>(h1&63)|f[h2>>6]>>(h2&63)|f[h3>>6]>>(h3&63))&1 != 0
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

// findPairs looks up the seven pieces of two bytes in w.
func (m *Matcher) findPairs(p *pairIndex, w uint64, text int32, i int) {
	w |= foldBits<<32 | foldBits
	if (p.bit(uint16(w))|p.bit(uint16(w>>8))|p.bit(uint16(w>>16))|p.bit(uint16(w>>24))|
		p.bit(uint16(w>>32))|p.bit(uint16(w>>40))|p.bit(uint16(w>>48)))&1 == 0 {
		return
	}
	for k := range 7 {
		m.foundPair(p, uint16(w>>(8*k)), text, i+k)
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
	s, needle, from := m.fold(text), m.engine.text(e.needle), i-int(e.at)
	if from < 0 || len(s)-from < len(needle) || !bytes.Equal(s[from:from+len(needle)], needle) {
		return
	}
	if v := m.tested[e.test]; v>>1 != m.epoch {
		switch m.engine.tests[e.test].how {
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
	one := len(c.list) == 1
	// Path components come first: for them the text is folded, and then it is
	// known whether it is ASCII.
	for _, t := range c.list {
		if f.tails != nil {
			id := int32(0)
			if one {
				id = m.tail(c, f.slot)
			} else {
				id = m.tailOf(f.slot, t)
			}
			m.numbered(f.tails, id)
		}
		if f.exact != nil {
			id := int32(0)
			if one {
				id = m.exact(c, f.slot)
			} else {
				id = m.exactOf(f.slot, t)
			}
			m.numbered(f.exact, id)
		}
		if f.exts != nil {
			id := int32(0)
			if one {
				id = m.ext(c, f.slot)
			} else {
				id = m.extOf(f.slot, t)
			}
			m.numbered(f.exts, id)
		}
	}
	if f.grams != nil {
		for _, t := range c.list {
			m.find(f.grams, t)
		}
	}
	if len(c.list) > 0 {
		m.tryEach(f.direct)
	}
}

// numbered makes candidates of the rules of a number.
func (m *Matcher) numbered(lists []span, id int32) {
	if id >= 0 {
		m.candidates(lists[id])
	}
}

func (m *Matcher) tryEach(direct []directTest) {
	for i := range direct {
		if m.mayHold(direct[i].test) {
			m.candidates(direct[i].rules)
		}
	}
}

func (m *Matcher) candidates(rules span) {
	for _, r := range m.engine.lists[rules.from:rules.to] {
		m.candidate(r)
	}
}

func (m *Matcher) candidate(r int32) {
	if m.cands[r] != m.epoch {
		m.cands[r] = m.epoch
		m.list = append(m.list, r)
	}
}
