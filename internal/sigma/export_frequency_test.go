package sigma

// FrequencyTable is what the engine ships; the other names are what it is made
// with.
func FrequencyTable() string { return frequencies }

const (
	FrequencyBits = frequencyBits
	LeastLevel    = leastLevel
	LeastValues   = leastValues
)

// FrequencyField returns the field that stands for all that are counted as one.
func FrequencyField(name string) string { return alikeField(name) }

func FrequencyHash(field string, gram uint32) uint32 { return seedOf(field).hash(gram) }
