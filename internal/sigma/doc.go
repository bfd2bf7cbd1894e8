// Package sigma reads and evaluates Sigma rules: the single-event language of
// the Sigma specification 2.1.0, whole. What the specification leaves open is
// decided in docs/formats/rules.md.
//
// Use: Parse each file, Compile the rules into an Engine, take one Matcher per
// goroutine from it, and Match events that went through normalisation.
// AppendCompiled and ReadCompiled keep an Engine between runs.
//
// Guarantees. Nothing in a rule is silently ignored: what is not understood or
// not supported is an *Error with file, rule, line and column, and the rule is
// not loaded; the other rules are. Evaluation is a pure function of the rules
// and the event. The Engine finds the few rules that can hold for an event by
// an index and evaluates only those; Reference does the same slowly and
// plainly, and tests hold that both always agree. Nothing here panics on, or
// takes more than linear time in, hostile rules or event values, up to the
// bounds named by the Max constants.
package sigma

import "fmt"

// Bounds on rule files.
const (
	MaxFileSize   = 16 << 20 // bytes of one file
	MaxValues     = 200_000  // YAML nodes of one file, after aliases are followed
	MaxDepth      = 100      // nesting of YAML and of conditions
	MaxExpansions = 10_000   // alternatives that one value may stand for
)

// Error is a fault in a rule file, or a construct that is not supported.
type Error struct {
	File string
	// Rule is the rule's title, else its id, "" if neither is known.
	Rule string
	// Line and Column are 1-based; zero if the fault has no place.
	Line, Column int
	// Msg says what is wrong, Hint what to do about it ("" if obvious).
	Msg, Hint string
}

// Error returns "file:line:column: rule "title": message (hint)".
func (e *Error) Error() string {
	s := e.File
	if e.Line > 0 {
		s += fmt.Sprintf(":%d:%d", e.Line, e.Column)
	}
	if e.Rule != "" {
		s += fmt.Sprintf(": rule %q", e.Rule)
	}
	s += ": " + e.Msg
	if e.Hint != "" {
		s += " (" + e.Hint + ")"
	}
	return s
}
