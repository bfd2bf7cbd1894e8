package detect

import (
	"slices"

	"ashiato/internal/event"
	"ashiato/internal/sigma"
)

// Interest tells which records an Engine can say anything about. It may name
// records about which it never does, and leaves out none. It is safe for
// concurrent use.
type Interest struct {
	sigma  *sigma.Interest // nil without rules
	fields []string        // that indicators look at
}

// Interest returns the engine's Interest.
func (e *Engine) Interest() *Interest {
	x := &Interest{}
	if e.sigma != nil {
		x.sigma = e.sigma.Interest()
	}
	if e.indicators != nil {
		x.fields = e.indicators.Fields()
	}
	return x
}

// Len returns how many Sigma rules the engine has.
func (x *Interest) Len() int {
	if x.sigma == nil {
		return 0
	}
	return x.sigma.Len()
}

// Rules counts the Sigma rules that can hold for a record with the Kind, ID,
// Provider and Channel of any of the samples, whatever fields it has.
func (x *Interest) Rules(samples []event.Event) int {
	if x.sigma == nil {
		return 0
	}
	marked := make([]bool, x.sigma.Len())
	for i := range samples {
		x.sigma.Mark(&samples[i], marked)
	}
	n := 0
	for _, m := range marked {
		if m {
			n++
		}
	}
	return n
}

// Any reports whether a rule can hold, or an indicator can be found, in a record
// with e's Kind, ID, Provider and Channel. may tells whether the record can have a
// field of that name, without its blanks, after normalisation.
func (x *Interest) Any(e *event.Event, may func(name string) bool) bool {
	return slices.ContainsFunc(x.fields, may) || x.sigma != nil && x.sigma.Any(e, may)
}
