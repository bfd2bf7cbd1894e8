package sigma

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"ashiato/internal/event"
)

// This file is a Matcher's view of the event under evaluation: which of the
// event's values each slot has, found once per layout of fields rather than
// once per event, and what is derived from a value, made when first asked for.

// Bounds on what a Matcher remembers between events.
const (
	maxRoutes          = 4096      // kinds of event, by what log sources look at
	maxLayouts         = 1024      // layouts of fields
	maxLayoutsPerRoute = 32        // layouts of one route
	maxLayoutFields    = 512       // fields of a layout that is worth remembering
	maxNames           = 16 << 10  // bytes of names, of such a layout or a route
	maxNumbers         = 4096      // numbers of the System section, written out
	maxMerged          = 256       // sets of groups with an index of keywords
	maxKept            = 256 << 10 // bytes of a buffer that is kept
)

// route is everything of an event that log sources look at.
type route struct {
	kind              event.Kind
	id                uint32
	provider, channel string
}

// way is what a Matcher knows of a route.
type way struct {
	route
	kept   bool // the way is remembered
	groups []*group
	keys   *fieldIndex // the groups' keywords, nil if there are none
	// named are the rules whose keywords are in the provider or the channel, once
	// these were searched.
	named    []int32
	searched bool
	layouts  []*layout // the one used last first
}

// layout is a layout of fields and what follows from it.
type layout struct {
	canon, data []string // the fields' names
	refs        []ref    // by slot
	more        map[int32][]int32
	plans       []plan
}

// ref says where a slot's values are in events of a layout.
type ref struct {
	rank  uint8 // which source the values are from; less is better
	first int32 // the first value's text, -1 if there is none; layout.more has the others
}

// plan is what there is to look at of a group in events of a layout.
type plan struct {
	group  *group
	fields []*fieldIndex
}

// cell is a slot's values in the current event.
type cell struct {
	epoch            uint32
	ready            uint8
	exact, tail, ext int32
	list             []int32 // texts
}

// text is one value of the current event and what is derived from it. Texts are
// numbered: the fields of Canon, those of Data, then those made on demand.
type text struct {
	epoch   uint32
	ready   uint8
	looks   uint8 // how often a literal was looked for
	isAddr  bool
	isASCII bool
	raw     string
	folded  []byte
	bytes   []byte
	address netip.Addr
	grams   *signature // made when first needed; apart, to keep texts close together
}

// What of a cell or of a text is current.
const (
	hasExact = 1 << iota
	hasTail
	hasExt
)

const (
	hasFolded = 1 << iota
	hasBytes
	hasGrams
	hasAddress
	hasWidth
)

// way returns what is known of the event's route.
func (m *Matcher) way(ev *event.Event) *way {
	slot := &m.recent[(uint32(ev.Kind)*31+ev.ID*7+uint32(len(ev.Channel)))%uint32(len(m.recent))]
	if w := *slot; w != nil && w.kind == ev.Kind && w.id == ev.ID && w.channel == ev.Channel && w.provider == ev.Provider {
		return w
	}
	key := route{ev.Kind, ev.ID, ev.Provider, ev.Channel}
	w := m.ways[key]
	if w == nil {
		w = &way{route: key}
		for _, g := range m.engine.groups {
			if g.source.Match(ev) {
				w.groups = append(w.groups, g)
			}
		}
		w.keys = m.keywordsOf(w.groups)
		if len(m.ways) >= maxRoutes || len(ev.Provider)+len(ev.Channel) > maxNames {
			return w
		}
		w.kept = true
		key.provider, key.channel = strings.Clone(key.provider), strings.Clone(key.channel)
		w.route = key
		m.ways[key] = w
	}
	*slot = w
	return w
}

// keywordsOf returns the index of all the groups' keywords.
func (m *Matcher) keywordsOf(groups []*group) *fieldIndex {
	var key []byte
	for _, g := range groups {
		key = binary.AppendUvarint(key, uint64(g.number))
	}
	f, ok := m.merged[string(key)]
	if !ok {
		f = m.engine.mergeKeywords(groups)
		if len(m.merged) < maxMerged {
			m.merged[string(key)] = f
		}
	}
	return f
}

// layoutOf returns the event's layout.
func (m *Matcher) layoutOf(w *way, ev *event.Event) *layout {
	for i, s := range w.layouts {
		if s.fits(ev) {
			if i > 0 {
				copy(w.layouts[1:i+1], w.layouts[:i])
				w.layouts[0] = s
			}
			return s
		}
	}
	s := &m.scratch
	if w.kept && len(w.layouts) < maxLayoutsPerRoute && m.remembered < maxLayouts && isModest(ev) {
		m.remembered++
		s = &layout{}
		for i := range ev.Canon {
			s.canon = append(s.canon, strings.Clone(ev.Canon[i].Name))
		}
		for i := range ev.Data {
			s.data = append(s.data, strings.Clone(ev.Data[i].Name))
		}
		w.layouts = append(w.layouts, s)
	}
	m.layOut(s, ev)
	s.plans = s.plans[:0]
	for _, g := range w.groups {
		p := plan{group: g}
		for i := range g.fields {
			f := &g.fields[i]
			if sl := &m.engine.slots[f.slot]; s.refs[f.slot].first >= 0 || sl.system || sl.systemAlias {
				p.fields = append(p.fields, f)
			}
		}
		s.plans = append(s.plans, p)
	}
	return s
}

// isModest reports whether an event's layout is of ordinary size.
func isModest(ev *event.Event) bool {
	if len(ev.Canon)+len(ev.Data) > maxLayoutFields {
		return false
	}
	names := 0
	for i := range ev.Canon {
		names += len(ev.Canon[i].Name)
	}
	for i := range ev.Data {
		names += len(ev.Data[i].Name)
	}
	return names <= maxNames
}

func (s *layout) fits(ev *event.Event) bool {
	if len(s.canon) != len(ev.Canon) || len(s.data) != len(ev.Data) {
		return false
	}
	for i := range s.data {
		if s.data[i] != ev.Data[i].Name {
			return false
		}
	}
	for i := range s.canon {
		if s.canon[i] != ev.Canon[i].Name {
			return false
		}
	}
	return true
}

// The ranks of a slot's values, in the order of lookup: for the name itself,
// then the same for the alias.
const (
	exactFirst = iota
	exactSecond
	fromSystem
	alikeFirst
	alikeSecond
	ranksOfName
	noRank = 255
)

// layOut finds every slot's values.
func (m *Matcher) layOut(s *layout, ev *event.Event) {
	if s.refs == nil {
		s.refs = make([]ref, len(m.engine.slots))
	}
	for i := range s.refs {
		s.refs[i] = ref{rank: noRank, first: -1}
	}
	clear(s.more)
	m.layOutFields(s, ev.Canon, 0, true)
	m.layOutFields(s, ev.Data, len(ev.Canon), false)
}

func (m *Matcher) layOutFields(s *layout, fields event.Fields, base int, canon bool) {
	e := m.engine
	for i := range fields {
		name, at := fields[i].Name, int32(base+i)
		for _, sl := range e.names[name] {
			s.put(sl, at, e.slots[sl].raw == canon, exactFirst, e.slots[sl].name == name)
		}
		spaced := strings.IndexByte(name, ' ') >= 0
		if !spaced && !e.spacedSlot {
			continue
		}
		plain := name
		if spaced {
			plain = spaceless(name)
		}
		for _, sl := range e.alike[plain] {
			s.put(sl, at, e.slots[sl].raw == canon, alikeFirst, spaceless(e.slots[sl].name) == plain)
		}
	}
}

// put gives a value to a slot, if nothing better is there already. second tells
// that the slot prefers the other of Canon and Data, own that the name is the
// slot's and not its alias.
func (s *layout) put(slot, at int32, second bool, rank uint8, own bool) {
	if second {
		rank++
	}
	if !own {
		rank += ranksOfName
	}
	r := &s.refs[slot]
	switch {
	case rank > r.rank:
	case rank < r.rank:
		*r = ref{rank, at}
		delete(s.more, slot)
	default:
		if s.more == nil {
			s.more = map[int32][]int32{}
		}
		s.more[slot] = append(s.more[slot], at)
	}
}

// begin forgets the last event and takes the new one.
func (m *Matcher) begin(ev *event.Event, w *way) {
	if m.epoch == 1<<31-1 {
		m.epoch = 0
		clear(m.tested)
		clear(m.judged)
		clear(m.parts)
		clear(m.cands)
		for i := range m.cells {
			m.cells[i].epoch = 0
		}
		for i := range m.texts {
			m.texts[i].epoch = 0
		}
		m.searched = 0
	}
	m.epoch++
	m.event, m.layout = ev, m.layoutOf(w, ev)
	m.count = len(ev.Canon) + len(ev.Data)
	m.reserve(m.count)
}

// reserve makes room for n texts.
func (m *Matcher) reserve(n int) {
	if n > len(m.texts) {
		m.texts = slices.Grow(m.texts, n-len(m.texts))
		m.texts = m.texts[:cap(m.texts)]
	}
}

// text returns a text, which stays valid until the next call of addText.
func (m *Matcher) text(i int32) *text {
	t := &m.texts[i]
	if t.epoch == m.epoch {
		return t
	}
	if n := len(m.event.Canon); int(i) < n {
		t.begin(m.epoch, m.event.Canon[i].Value)
	} else {
		t.begin(m.epoch, m.event.Data[int(i)-n].Value)
	}
	return t
}

func (t *text) begin(epoch uint32, raw string) {
	t.epoch, t.ready, t.looks, t.raw = epoch, 0, 0, raw
}

// addText makes a text of a value that is not a field.
func (m *Matcher) addText(raw string) int32 {
	i := m.count
	m.count++
	m.reserve(m.count)
	m.texts[i].begin(m.epoch, raw)
	return int32(i)
}

// cell returns a slot's values.
func (m *Matcher) cell(s int32) *cell {
	c := &m.cells[s]
	if c.epoch != m.epoch {
		m.fill(c, s)
	}
	return c
}

func (m *Matcher) fill(c *cell, s int32) {
	c.epoch, c.ready, c.list = m.epoch, 0, c.list[:0]
	r := &m.layout.refs[s]
	rank := r.rank
	sl := &m.engine.slots[s]
	if sl.system && rank > fromSystem {
		if v, ok := m.system(sl.name); ok {
			c.list = append(c.list, m.addText(v))
			return
		}
	}
	if sl.systemAlias && rank > ranksOfName+fromSystem {
		if v, ok := m.system(sl.alias); ok {
			c.list = append(c.list, m.addText(v))
			return
		}
	}
	if r.first >= 0 {
		c.list = append(c.list, r.first)
		if len(m.layout.more) > 0 {
			c.list = append(c.list, m.layout.more[s]...)
		}
	}
}

// system is Event.System that does not write the same number twice.
func (m *Matcher) system(name string) (string, bool) {
	switch name {
	case "EventID":
		return m.number(uint64(m.event.ID)), true
	case "Level":
		return m.number(uint64(m.event.Level)), true
	case "Task":
		return m.number(uint64(m.event.Task)), true
	case "Opcode":
		return m.number(uint64(m.event.Opcode)), true
	case "Version":
		return m.number(uint64(m.event.Version)), true
	case "Keywords":
		if s, ok := m.keywords[m.event.Keywords]; ok {
			return s, true
		}
		s, ok := m.event.System(name)
		if len(m.keywords) < maxNumbers {
			m.keywords[m.event.Keywords] = s
		}
		return s, ok
	}
	return m.event.System(name)
}

func (m *Matcher) number(n uint64) string {
	s, ok := m.numbers[n]
	if !ok {
		s = strconv.FormatUint(n, 10)
		if len(m.numbers) < maxNumbers {
			m.numbers[n] = s
		}
	}
	return s
}

// fold returns a text's folded form.
func (m *Matcher) fold(i int32) []byte { return m.text(i).fold() }

func (t *text) fold() []byte {
	if t.ready&hasFolded == 0 {
		t.ready |= hasFolded | hasWidth
		if cap(t.folded) > maxKept {
			t.folded = nil
		}
		if t.folded, t.isASCII = foldASCII(t.folded, t.raw); !t.isASCII {
			t.folded = appendFold(t.folded[:0], t.raw)
		}
	}
	return t.folded
}

// ascii reports whether a text is ASCII.
func (t *text) ascii() bool {
	if t.ready&hasWidth == 0 {
		t.ready |= hasWidth
		t.isASCII = isASCII(t.raw)
	}
	return t.isASCII
}

// plain returns a text's own bytes.
func (t *text) plain() []byte {
	if t.ready&hasBytes == 0 {
		t.ready |= hasBytes
		if cap(t.bytes) > maxKept {
			t.bytes = nil
		}
		t.bytes = append(t.bytes[:0], t.raw...)
	}
	return t.bytes
}

// addr returns a text as an address.
func (t *text) addr() (netip.Addr, bool) {
	if t.ready&hasAddress == 0 {
		t.ready |= hasAddress
		t.isAddr = false
		if looksLikeAddress(t.raw) {
			t.address, t.isAddr = parseAddress(t.raw)
		}
	}
	return t.address, t.isAddr
}

// looksLikeAddress rules out what is not an address without making an error.
func looksLikeAddress(s string) bool {
	if len(s) < 2 || strings.IndexByte(s, '.') < 0 && strings.IndexByte(s, ':') < 0 {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case c == '%':
			return true // a zone follows
		case c != '.' && c != ':' && (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'f'):
			return false
		}
	}
	return true
}

// exact returns the number of a single value among those that rules compare the
// slot with, -1 if it is none of them.
func (m *Matcher) exact(c *cell, s int32) int32 {
	if c.ready&hasExact == 0 {
		c.ready |= hasExact
		c.exact = m.exactOf(s, c.list[0])
	}
	return c.exact
}

func (m *Matcher) exactOf(s, text int32) int32 {
	sl := &m.engine.slots[s]
	t := m.text(text)
	if t.ascii() && !sl.exact.may(t.raw) {
		return -1
	}
	return sl.exact.of(t.fold())
}

// tail returns the number of what stands behind a single value's last
// backslash, as exact does.
func (m *Matcher) tail(c *cell, s int32) int32 {
	if c.ready&hasTail == 0 {
		c.ready |= hasTail
		c.tail = m.tailOf(s, c.list[0])
	}
	return c.tail
}

func (m *Matcher) tailOf(s, text int32) int32 {
	folded, tails := m.fold(text), &m.engine.slots[s].tails
	for i := len(folded) - 1; i >= 0; i-- {
		if folded[i] == '\\' {
			return tails.of(folded[i+1:])
		}
	}
	return -1
}

// ext returns the number of what stands behind a single value's last dot, as
// exact does.
func (m *Matcher) ext(c *cell, s int32) int32 {
	if c.ready&hasExt == 0 {
		c.ready |= hasExt
		c.ext = m.extOf(s, c.list[0])
	}
	return c.ext
}

func (m *Matcher) extOf(s, text int32) int32 {
	folded := m.fold(text)
	if i := bytes.LastIndexByte(folded, '.'); i >= 0 {
		return m.engine.slots[s].exts.of(folded[i+1:])
	}
	return -1
}

// numbering gives folded texts consecutive numbers.
type numbering struct {
	ids   map[string]int32
	empty bool // the empty text has a number
	// firsts has, by the length of a text modulo 64, one bit per first byte.
	firsts [64]uint64
}

func (n *numbering) add(text string) int32 {
	id, ok := n.ids[text]
	if !ok {
		if n.ids == nil {
			n.ids = map[string]int32{}
		}
		id = int32(len(n.ids))
		n.ids[text] = id
		if text == "" {
			n.empty = true
		} else {
			n.firsts[len(text)&63] |= 1 << firstBit(text[0])
		}
	}
	return id
}

// texts returns the texts in the order of their numbers.
func (n *numbering) texts() []string {
	out := make([]string, len(n.ids))
	for text, id := range n.ids {
		out[id] = text
	}
	return out
}

// firstBit is the same for both cases of a letter.
func firstBit(c byte) byte { return (c | 0x20) & 63 }

// may is false only if no text of that length and first byte, folded, has a
// number.
func (n *numbering) may(text string) bool {
	if text == "" {
		return n.empty
	}
	return n.firsts[len(text)&63]>>firstBit(text[0])&1 != 0
}

// of returns a folded text's number, -1 if it has none.
func (n *numbering) of(text []byte) int32 {
	if len(text) > 0 && n.firsts[len(text)&63]>>firstBit(text[0])&1 == 0 {
		return -1
	}
	if id, ok := n.ids[string(text)]; ok {
		return id
	}
	return -1
}

// signature has a bit for each hash of four bytes that stand side by side in a
// text. A literal one of whose bits is not there is not in the text. It is large
// enough for most bits to be clear.
type signature struct {
	small [64]uint64
	large []uint64 // 1024 of them, for long texts
	long  bool     // large is in use
}

// Texts outside these lengths are searched without a signature: making it would
// take longer, or every bit would be set.
const (
	minSigned  = 24
	maxSmall   = 1000
	maxSigned  = 16 << 10
	markShift  = 32 - 16 // a mark is a hash of 16 bits
	smallShift = 16 - 12 // of which the small table looks at 12
)

// sign makes a text's signature and reports whether it can have one.
func (t *text) sign() bool {
	folded := t.fold()
	if len(folded) < minSigned || len(folded) > maxSigned {
		return false
	}
	if t.ready&hasGrams == 0 {
		t.ready |= hasGrams
		if t.grams == nil {
			t.grams = &signature{}
		}
		t.grams.make(folded)
	}
	return true
}

func (s *signature) make(text []byte) {
	if s.long = len(text) > maxSmall; s.long {
		if s.large == nil {
			s.large = make([]uint64, 1024)
		}
		clear(s.large)
		table := s.large[:1024]
		for i := 0; i+4 <= len(text); i++ {
			h := hashGram(binary.LittleEndian.Uint32(text[i:]), markShift)
			table[h>>6&1023] |= 1 << (h & 63)
		}
		return
	}
	s.small = [64]uint64{}
	for i := 0; i+4 <= len(text); i++ {
		h := hashGram(binary.LittleEndian.Uint32(text[i:]), markShift) >> smallShift
		s.small[h>>6&63] |= 1 << (h & 63)
	}
}

func (s *signature) has(mark uint16) bool {
	if s.long {
		return s.large[mark>>6]>>(mark&63)&1 != 0
	}
	mark >>= smallShift
	return s.small[mark>>6]>>(mark&63)&1 != 0
}
