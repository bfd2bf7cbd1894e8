package sigma

import (
	"regexp/syntax"
	"slices"
	"strings"
	"unicode/utf8"
)

// A requirement is a list of folded literals of which at least one is in the
// folded value wherever the regular expression matches.
type requirement []string

// Bounds on what is derived from one regular expression.
const (
	maxAlternatives = 16 // literals of one requirement
	maxRequirements = 4
	maxGathered     = 64  // requirements to choose from
	maxJoined       = 256 // bytes of literals that are joined further
)

// shortestOf returns the length of the requirement's shortest literal, which
// is what a look-up can rely on.
func (r requirement) shortestOf() int {
	n := len(r[0])
	for _, s := range r[1:] {
		n = min(n, len(s))
	}
	return n
}

// needs is what a text must have for a regular expression to match in it.
type needs struct {
	reqs     []requirement // the most telling first
	shortest int           // least length in bytes
	run      *charRun      // nil if none is known
	// sequence is the whole expression if it is nothing but texts, one after the
	// other, with any characters of one line between.
	sequence []string
}

// needsOf analyses a regular expression.
func needsOf(source string) needs {
	re, err := syntax.Parse(source, syntax.Perl)
	if err != nil {
		return needs{}
	}
	n := needs{run: longestRun(re, true), sequence: sequenceOf(re)}
	re = re.Simplify()
	n.reqs = analyse(re).all()
	slices.SortStableFunc(n.reqs, func(a, b requirement) int {
		if n := b.shortestOf() - a.shortestOf(); n != 0 {
			return n
		}
		return len(a) - len(b)
	})
	// A list of single characters, such as the digits, tells nothing.
	n.reqs = slices.DeleteFunc(n.reqs, func(r requirement) bool { return len(r) > 3 && r.shortestOf() == 1 })
	n.reqs = n.reqs[:min(len(n.reqs), maxRequirements)]
	n.shortest = leastLength(re)
	return n
}

// charRun is a run of characters of one class. Bytes above ASCII are taken to be
// of every class.
type charRun struct {
	class [256]bool
	least int
	// whole tells that the expression asks for nothing else.
	whole bool
}

const minRun = 8 // shorter runs are too common to be worth looking for

// longestRun finds the longest run of characters of one class that every match
// has, nil if it is short.
func longestRun(re *syntax.Regexp, whole bool) *charRun {
	switch re.Op {
	case syntax.OpCapture:
		return longestRun(re.Sub[0], whole)
	case syntax.OpConcat:
		var best *charRun
		for _, sub := range re.Sub {
			if r := longestRun(sub, false); r != nil && (best == nil || r.least > best.least) {
				best = r
			}
		}
		return best
	case syntax.OpRepeat:
		if re.Min < minRun {
			return nil
		}
		r := &charRun{least: re.Min, whole: whole}
		for i := utf8.RuneSelf; i < len(r.class); i++ {
			r.class[i] = true
		}
		switch sub := re.Sub[0]; sub.Op {
		case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
			for i := range r.class {
				r.class[i] = i != '\n' || sub.Op == syntax.OpAnyChar
			}
		case syntax.OpCharClass:
			for i := 0; i+1 < len(sub.Rune); i += 2 {
				for c := sub.Rune[i]; c <= min(sub.Rune[i+1], utf8.RuneSelf-1); c++ {
					r.class[c] = true
				}
			}
		default:
			return nil
		}
		return r
	}
	return nil
}

// in reports whether s may have the run; it has, if s is ASCII.
func (r *charRun) in(s string) bool {
	// A run has a byte at one of every least places: from there it is measured.
	for i := r.least - 1; i < len(s); i += r.least {
		if !r.class[s[i]] {
			continue
		}
		from := i
		for from > 0 && i-from < r.least && r.class[s[from-1]] {
			from--
		}
		to := i + 1
		for to < len(s) && to-from < r.least && r.class[s[to]] {
			to++
		}
		if to-from >= r.least {
			return true
		}
	}
	return false
}

// sequenceOf reads an expression like "a.*b.*c", nil if it is of another form.
func sequenceOf(re *syntax.Regexp) []string {
	if re.Op != syntax.OpConcat {
		return nil
	}
	var out []string
	for i, sub := range re.Sub {
		if i%2 == 1 {
			if sub.Op != syntax.OpStar || sub.Sub[0].Op != syntax.OpAnyCharNotNL && sub.Sub[0].Op != syntax.OpAnyChar {
				return nil
			}
			continue
		}
		text := string(sub.Rune)
		if sub.Op != syntax.OpLiteral || sub.Flags&syntax.FoldCase != 0 || strings.ContainsRune(text, utf8.RuneError) {
			return nil
		}
		out = append(out, text)
	}
	return out
}

func isASCII[T string | []byte](s T) bool {
	i, high := 0, uint64(0)
	for ; i+16 <= len(s); i += 16 {
		high |= load64(s, i) | load64(s, i+8)
	}
	if i+8 <= len(s) {
		high |= load64(s, i)
		i += 8
	}
	if high&highBits != 0 {
		return false
	}
	for ; i < len(s); i++ {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// leastLength counts characters, each of which is at least a byte.
func leastLength(re *syntax.Regexp) int {
	n := 0
	switch re.Op {
	case syntax.OpLiteral:
		n = len(re.Rune)
	case syntax.OpCharClass, syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		n = 1
	case syntax.OpCapture, syntax.OpPlus:
		n = leastLength(re.Sub[0])
	case syntax.OpConcat:
		for _, sub := range re.Sub {
			n += leastLength(sub)
		}
	case syntax.OpAlternate:
		n = leastLength(re.Sub[0])
		for _, sub := range re.Sub[1:] {
			n = min(n, leastLength(sub))
		}
	}
	return n
}

// analysis is what is known of the texts a part of an expression matches: all
// of them, folded, or, where exact is nil, what each must contain.
type analysis struct {
	exact []string
	reqs  []requirement
}

// all returns the requirements, also the one that the exact texts make.
func (a analysis) all() []requirement {
	if len(a.exact) > 0 && !slices.Contains(a.exact, "") {
		return append(slices.Clone(a.reqs), requirement(a.exact))
	}
	return a.reqs
}

// best returns the requirement with the longest literals, nil if there is none.
func (a analysis) best() requirement {
	var best requirement
	for _, r := range a.all() {
		if best == nil || r.shortestOf() > best.shortestOf() {
			best = r
		}
	}
	return best
}

func analyse(re *syntax.Regexp) analysis {
	switch re.Op {
	case syntax.OpEmptyMatch, syntax.OpBeginLine, syntax.OpEndLine, syntax.OpBeginText, syntax.OpEndText,
		syntax.OpWordBoundary, syntax.OpNoWordBoundary:
		return analysis{exact: []string{""}}
	case syntax.OpLiteral:
		s := string(re.Rune)
		if strings.ContainsRune(s, utf8.RuneError) {
			return analysis{} // it also matches bytes that are not UTF-8
		}
		return analysis{exact: []string{fold(s)}}
	case syntax.OpCharClass:
		return analysis{exact: classTexts(re.Rune)}
	case syntax.OpCapture:
		return analyse(re.Sub[0])
	case syntax.OpPlus:
		return analysis{reqs: analyse(re.Sub[0]).all()}
	case syntax.OpQuest:
		if a := analyse(re.Sub[0]); a.exact != nil {
			return analysis{exact: smallUnion(a.exact, []string{""})}
		}
	case syntax.OpConcat:
		return analyseConcat(re.Sub)
	case syntax.OpAlternate:
		return analyseAlternate(re.Sub)
	}
	return analysis{}
}

// classTexts lists a small class of characters, nil if it is large.
func classTexts(ranges []rune) []string {
	var out []string
	for i := 0; i+1 < len(ranges); i += 2 {
		for r := ranges[i]; r <= ranges[i+1]; r++ {
			if r == utf8.RuneError {
				return nil
			}
			if s := fold(string(r)); !slices.Contains(out, s) {
				out = append(out, s)
			}
			if len(out) > maxAlternatives {
				return nil
			}
		}
	}
	return out
}

// smallUnion is nil if the union is too large to be useful.
func smallUnion(a, b []string) []string {
	out := slices.Concat(a, b)
	slices.Sort(out)
	if out = slices.Compact(out); len(out) > maxAlternatives {
		return nil
	}
	return out
}

func analyseConcat(subs []*syntax.Regexp) analysis {
	var out analysis
	exact, whole := []string{""}, true
	flush := func() {
		if !slices.Contains(exact, "") {
			out.add(exact)
		}
		exact, whole = []string{""}, false
	}
	for _, sub := range subs {
		a := analyse(sub)
		if a.exact == nil {
			flush()
			out.add(a.reqs...)
			continue
		}
		if len(exact)*len(a.exact) > maxAlternatives || len(exact[0]) > maxJoined {
			flush()
		}
		var joined []string
		for _, x := range exact {
			for _, y := range a.exact {
				joined = append(joined, x+y)
			}
		}
		exact = joined
	}
	if whole {
		return analysis{exact: exact}
	}
	flush()
	return out
}

// add keeps a bounded number of requirements.
func (a *analysis) add(reqs ...requirement) {
	a.reqs = append(a.reqs, reqs[:min(len(reqs), maxGathered-len(a.reqs))]...)
}

func analyseAlternate(subs []*syntax.Regexp) analysis {
	exact, any := []string{}, requirement{}
	for _, sub := range subs {
		a := analyse(sub)
		if exact != nil && a.exact != nil {
			exact = smallUnion(exact, a.exact)
		} else {
			exact = nil
		}
		if best := a.best(); any != nil && best != nil {
			any = smallUnion(any, best)
		} else {
			any = nil
		}
	}
	if exact != nil {
		return analysis{exact: exact}
	}
	if any != nil {
		return analysis{reqs: []requirement{any}}
	}
	return analysis{}
}
