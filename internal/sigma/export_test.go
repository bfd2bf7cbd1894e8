package sigma

// Candidates is the number of rules that were evaluated for the last event.
func (m *Matcher) Candidates() int { return len(m.list) }
