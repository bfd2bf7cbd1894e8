package sigma

import (
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
)

// maxLintSteps bounds the search for contradictions in one rule.
const maxLintSteps = 100_000

// Lint returns what is most likely wrong in a rule that is otherwise right:
// conditions that can never hold, and fields that no record of the log source
// has. Nothing is said that is not certain: of fields only in the categories
// whose records are known (recordedFields), and of conditions only where the
// contradiction holds for every record.
func (r *Rule) Lint() []*Error {
	var out []*Error
	warn := func(at place, msg, hint string) {
		out = append(out, &Error{File: r.File, Rule: r.Title, Line: at.line, Column: at.column, Msg: msg, Hint: hint})
	}
	var why *clash
	for _, c := range r.conditions {
		l := linter{budget: maxLintSteps}
		clash := l.impossible([]want{{c, true}}, nil)
		if clash == nil {
			why = nil
			break
		}
		if why == nil {
			why = clash
		}
	}
	if why != nil {
		warn(why.a.at, fmt.Sprintf("the rule can never match: %s contradicts %s in line %d", itemLabel(why.a), itemLabel(why.b), why.b.at.line), why.hint)
	}
	known := r.recordedFields()
	var missing []*item
	for _, it := range r.items {
		if known == nil || it.field == "" || it.asksAbsence() {
			continue
		}
		name := r.fieldName(it.field)
		if known[name.name] || known[name.alias] {
			continue
		}
		if _, ok := everySystem.System(it.field); ok {
			continue
		}
		missing = append(missing, it)
	}
	told := map[string]bool{}
	for _, it := range missing {
		if told[it.field] {
			continue
		}
		told[it.field] = true
		msg := fmt.Sprintf("records of %s as Windows and Sysmon write them have no field %s, so %s", r.LogSource, it.field, r.without(missing, it.field))
		if near := nearestName(it.field, maps.Keys(known)); near != "" {
			warn(it.at, msg, fmt.Sprintf("did you mean %s?", near))
		} else {
			warn(it.at, msg, "it is seen only where something adds it to the records")
		}
	}
	slices.SortStableFunc(out, func(a, b *Error) int {
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Column - b.Column
	})
	return out
}

// Unread returns what the provider or channel of a record must begin with to be
// of the rule's log source, if the source is none of those whose records are
// known, as those of Windows are. It is nil if it is.
func (r *Rule) Unread() []string { return r.fields.Words() }

// without says what becomes of the rule in records without the fields of some
// items, with regard to those of one field.
func (r *Rule) without(missing []*item, field string) string {
	gone := make(map[*item]bool, len(missing))
	for _, it := range missing {
		gone[it] = !it.neq // "neq" of nothing may hold
	}
	// [0] and [1]: whether the part can fail, and can hold.
	done := map[*expr][2]bool{}
	var can func(c *expr) [2]bool
	can = func(c *expr) [2]bool {
		if got, ok := done[c]; ok {
			return got
		}
		out := [2]bool{true, !gone[c.item]}
		switch c.op {
		case opNot:
			k := can(c.kids[0])
			out = [2]bool{k[1], k[0]}
		case opAnd, opOr:
			out = [2]bool{c.op == opOr, c.op == opAnd}
			for _, kid := range c.kids {
				k := can(kid)
				if c.op == opAnd {
					out[0], out[1] = out[0] || k[0], out[1] && k[1]
				} else {
					out[0], out[1] = out[0] && k[0], out[1] || k[1]
				}
			}
		}
		done[c] = out
		return out
	}
	if !slices.ContainsFunc(r.conditions, func(c *expr) bool { return can(c)[1] }) {
		return "the rule cannot match them"
	}
	// Where the field's items stand: excluding, asking, or both.
	type visit struct {
		c    *expr
		odds bool
	}
	seen, asks, excludes := map[visit]bool{}, false, false
	var walk func(v visit)
	walk = func(v visit) {
		if seen[v] {
			return
		}
		seen[v] = true
		if v.c.op == opItem {
			if v.c.item.field == field && gone[v.c.item] {
				asks, excludes = asks || !v.odds, excludes || v.odds
			}
			return
		}
		for _, k := range v.c.kids {
			walk(visit{k, v.odds != (v.c.op == opNot)})
		}
	}
	for _, c := range r.conditions {
		walk(visit{c, false})
	}
	if excludes && !asks {
		return "this exclusion never applies to them"
	}
	return "this part of the rule never holds for them"
}

// asksAbsence reports whether the item is about the field not being there.
func (it *item) asksAbsence() bool {
	for _, alts := range it.values {
		for _, t := range alts {
			if t.kind != nullTest && t.kind != existsTest {
				return false
			}
		}
	}
	return true
}

func itemLabel(it *item) string {
	if it.field == "" {
		return "the keywords"
	}
	words := append([]string{it.field}, it.chain.names...)
	return strings.Join(words, "|")
}

// clash is two items that cannot have the outcomes that a condition needs.
type clash struct {
	a, b *item
	hint string
}

// want is a part of a condition and the outcome that it must have.
type want struct {
	x     *expr
	holds bool
}

// fact is an item and whether one of its values holds ("all": all of them).
type fact struct {
	it    *item
	holds bool
}

type linter struct{ budget int }

// impossible returns a contradiction if no record can give every part the
// outcome it must have, beside the facts that are settled; nil if there is
// none, or none was found in time.
func (l *linter) impossible(todo []want, facts []fact) *clash {
	var either []want // of whose kids one must have the outcome
	facts = slices.Clone(facts)
	for len(todo) > 0 {
		if l.budget--; l.budget < 0 {
			return nil
		}
		w := todo[0]
		todo = todo[1:]
		switch {
		case w.x.op == opNot:
			todo = append(todo, want{w.x.kids[0], !w.holds})
		case w.x.op == opItem:
			f := fact{w.x.item, w.holds != w.x.item.neq}
			for _, g := range facts {
				if l.budget--; l.budget < 0 {
					return nil
				}
				if hint, bad := l.contradict(g, f); bad {
					return &clash{f.it, g.it, hint}
				}
			}
			facts = append(facts, f)
		case (w.x.op == opAnd) == w.holds:
			for _, k := range w.x.kids {
				todo = append(todo, want{k, w.holds})
			}
		default:
			either = append(either, w)
		}
	}
	for _, w := range either {
		var first *clash
		for _, k := range w.x.kids {
			c := l.impossible([]want{{k, w.holds}}, facts)
			if c == nil {
				first = nil
				break
			}
			if first == nil {
				first = c
			}
		}
		if first != nil {
			return first
		}
	}
	return nil
}

func (l *linter) contradict(a, b fact) (hint string, bad bool) {
	if a.it.field != b.it.field {
		return "", false
	}
	if a.holds != b.holds && sameItem(a.it, b.it) {
		return "the one is the negation of the other", true
	}
	if a.it.field == "" {
		return "", false
	}
	pa, pb := a.presence(), b.presence()
	if pa != 0 && pb != 0 && pa != pb {
		return "the one needs the field, the other that it is absent", true
	}
	for _, p := range []struct{ yes, no fact }{{a, b}, {b, a}} {
		if p.yes.holds && !p.no.holds && l.implies(p.yes.it, p.no.it) {
			return "what the one asks for, the other excludes", true
		}
	}
	return "", false
}

func sameItem(a, b *item) bool {
	if a == b {
		return true
	}
	return a.field == b.field && a.all == b.all && a.chain.cased == b.chain.cased && slices.Equal(a.chain.names, b.chain.names) &&
		!a.expands() && slices.EqualFunc(a.nodes, b.nodes, func(x, y *node) bool { return x.kind == y.kind && x.text == y.text && x.plain == y.plain })
}

// presence is 1 if the fact needs the field, -1 if it needs its absence, 0 if
// neither is certain.
func (f fact) presence() int {
	needs, absent := true, true // every value that holds tells it
	for _, alts := range f.it.values {
		for _, t := range alts {
			isAbsence := t.kind == nullTest || t.kind == existsTest && !t.want
			isPresence := t.kind == existsTest && t.want
			switch {
			case f.holds:
				needs, absent = needs && !isAbsence, absent && isAbsence
			case len(f.it.values) > 1 || len(alts) > 1:
				// One of several that does not hold decides only without "all".
				if f.it.all {
					return 0
				}
				if isAbsence {
					return 1
				}
				if isPresence {
					return -1
				}
				needs, absent = false, false
			default:
				needs, absent = isAbsence, isPresence
			}
		}
	}
	switch {
	case needs == absent:
		return 0
	case needs:
		return 1
	}
	return -1
}

// implies reports that whenever a holds, b does: every value of the field that
// one of a's patterns matches, one of b's does too.
func (l *linter) implies(a, b *item) bool {
	if b.all && len(b.values) > 1 || a.expands() || b.expands() {
		return false
	}
	covered := func(alts []test) bool {
		for i := range alts {
			if !slices.ContainsFunc(b.values, func(by []test) bool {
				return slices.ContainsFunc(by, func(t test) bool {
					l.budget--
					return l.budget >= 0 && covers(&t, &alts[i])
				})
			}) {
				return false
			}
		}
		return len(alts) > 0
	}
	if a.all {
		return slices.ContainsFunc(a.values, covered)
	}
	for _, alts := range a.values {
		if !covered(alts) {
			return false
		}
	}
	return true
}

// anyText stands for what a wildcard matched; no rule and no value has it.
const anyText = "\U0010FFFF"

// covers reports that every value that b matches, a matches too. It may miss
// some that do.
func covers(a, b *test) bool {
	if a.kind != patternTest || b.kind != patternTest || a.pattern.cased && !b.pattern.cased {
		return false
	}
	size := 0
	for _, e := range a.pattern.elems {
		if size += len(e.text); e.kind == oneElem || e.kind == placeholderElem || strings.Contains(e.text, anyText) {
			return false
		}
	}
	// A text that stands for all that b matches: its wildcards can only be
	// taken in by wildcards.
	var text strings.Builder
	for _, e := range b.pattern.elems {
		switch e.kind {
		case literalElem:
			text.WriteString(e.text)
		case anyElem, oneElem:
			text.WriteString(anyText)
		default:
			return false
		}
	}
	if text.Len()*(size+1) > 1<<20 {
		return false
	}
	return plainMatch(a.pattern, text.String())
}

var (
	subjectFields = []string{"SubjectUserSid", "SubjectUserName", "SubjectDomainName", "SubjectLogonId", "User", "LogonId"}
	sysmonFields  = []string{"RuleName", "UtcTime", "ProcessGuid", "ProcessId", "Image", "User", "EventType"}
	fileFields    = []string{"TargetFilename", "CreationUtcTime", "PreviousCreationUtcTime", "Hashes", "IsExecutable", "Archived"}
	valueFields   = []string{
		"ObjectName", "ObjectValueName", "HandleId", "OperationType", "OldValueType", "OldValue", "NewValueType", "NewValue", "ProcessName",
	}
	registryFields = []string{"TargetObject", "Details", "NewName"}
)

// recorded are the fields of the records of categories, as Sysmon's manifest
// (schema 4.90) and the manifest of Security name them, with those that
// normalisation derives. Categories whose records come from elsewhere too are
// left out.
var recorded = map[string][]string{
	"process_creation": slices.Concat(sysmonFields, subjectFields, []string{
		"FileVersion", "Description", "Product", "Company", "OriginalFileName", "CommandLine", "CurrentDirectory", "LogonGuid", "LogonId",
		"TerminalSessionId", "IntegrityLevel", "Hashes", "ParentProcessGuid", "ParentProcessId", "ParentImage", "ParentCommandLine", "ParentUser",
		"NewProcessId", "NewProcessName", "TokenElevationType", "TargetUserSid", "TargetUserName", "TargetDomainName", "TargetLogonId",
		"ParentProcessName", "MandatoryLabel",
	}),
	"process_termination": slices.Concat(sysmonFields, subjectFields, []string{"Status", "ProcessName", "ExitStatus"}),
	"process_access": {
		"RuleName", "UtcTime", "SourceProcessGUID", "SourceProcessGuid", "SourceProcessId", "SourceThreadId", "SourceImage", "TargetProcessGUID",
		"TargetProcessGuid", "TargetProcessId", "TargetImage", "GrantedAccess", "CallTrace", "SourceUser", "TargetUser",
	},
	"process_tampering": append([]string{"Type"}, sysmonFields...),
	"create_remote_thread": {
		"RuleName", "UtcTime", "SourceProcessGuid", "SourceProcessId", "SourceImage", "TargetProcessGuid", "TargetProcessId", "TargetImage",
		"NewThreadId", "StartAddress", "StartModule", "StartFunction", "SourceUser", "TargetUser",
	},
	"image_load": slices.Concat(sysmonFields, []string{
		"ImageLoaded", "FileVersion", "Description", "Product", "Company", "OriginalFileName", "Hashes", "Signed", "Signature", "SignatureStatus",
	}),
	"driver_load":              {"RuleName", "UtcTime", "ImageLoaded", "Hashes", "Signed", "Signature", "SignatureStatus"},
	"raw_access_thread":        append([]string{"Device"}, sysmonFields...),
	"file_event":               slices.Concat(sysmonFields, fileFields),
	"file_change":              slices.Concat(sysmonFields, fileFields),
	"file_delete":              slices.Concat(sysmonFields, fileFields),
	"file_executable_detected": slices.Concat(sysmonFields, fileFields),
	"file_block_executable":    slices.Concat(sysmonFields, fileFields),
	"file_block_shredding":     slices.Concat(sysmonFields, fileFields),
	"create_stream_hash":       slices.Concat(sysmonFields, fileFields, []string{"Hash", "Contents"}),
	"registry_event":           slices.Concat(sysmonFields, registryFields, valueFields, subjectFields),
	"registry_add":             slices.Concat(sysmonFields, registryFields),
	"registry_delete":          slices.Concat(sysmonFields, registryFields),
	"registry_set":             slices.Concat(sysmonFields, registryFields, valueFields, subjectFields),
	"registry_rename":          slices.Concat(sysmonFields, registryFields),
	"pipe_created":             append([]string{"PipeName"}, sysmonFields...),
	"wmi_event": slices.Concat(sysmonFields, []string{
		"Operation", "EventNamespace", "Name", "Query", "Type", "Destination", "Consumer", "Filter",
	}),
	"network_connection": slices.Concat(sysmonFields, []string{
		"Protocol", "Initiated", "SourceIsIpv6", "SourceIp", "SourceHostname", "SourcePort", "SourcePortName", "DestinationIsIpv6",
		"DestinationIp", "DestinationHostname", "DestinationPort", "DestinationPortName", "ProcessID", "Application", "Direction",
		"SourceAddress", "DestAddress", "DestPort", "FilterRTID", "LayerName", "LayerRTID", "RemoteUserID", "RemoteMachineID",
		"FilterOrigin", "InterfaceIndex",
	}),
	"dns_query": slices.Concat(sysmonFields, []string{"QueryName", "QueryStatus", "QueryResults"}),
	"ps_script": {"MessageNumber", "MessageTotal", "ScriptBlockText", "ScriptBlockId", "Path"},
	"ps_module": {"ContextInfo", "UserData", "Payload"},
}

// recordedFields returns the names of the fields of the rule's records, nil if
// they are not all known.
func (r *Rule) recordedFields() map[string]bool {
	names := recorded[r.LogSource.Category]
	if r.LogSource.Product != "windows" || r.LogSource.Service != "" || names == nil {
		return nil
	}
	out := make(map[string]bool, len(names))
	for _, n := range names {
		out[n] = true
	}
	return out
}

// nearestName is the known name that differs from a name only in letter case,
// blanks and underscores, or in one letter.
func nearestName(name string, known iter.Seq[string]) string {
	plain := func(s string) string { return strings.NewReplacer(" ", "", "_", "").Replace(strings.ToLower(s)) }
	best := ""
	for k := range known {
		a, b := plain(name), plain(k)
		if (a == b || len(b) > 4 && oneEdit(a, b)) && (best == "" || k < best) {
			best = k
		}
	}
	return best
}

// oneEdit reports whether a letter more, less or another makes a into b.
func oneEdit(a, b string) bool {
	if len(a) > len(b) {
		a, b = b, a
	}
	if len(b)-len(a) > 1 {
		return false
	}
	i := 0
	for i < len(a) && a[i] == b[i] {
		i++
	}
	if len(a) == len(b) {
		return i == len(a) || a[i+1:] == b[i+1:]
	}
	return a[i:] == b[i+1:]
}
