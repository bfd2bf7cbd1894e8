package scenario

import _ "embed"

//go:embed templates/day.txtar
var workingDay []byte

// WorkingDay returns the scenario of a working day without an intrusion, and its
// name: to be varied by a seed.
func WorkingDay() (name string, data []byte) { return "day.txtar", workingDay }
