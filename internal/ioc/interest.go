package ioc

import "slices"

// Fields returns the names of all fields that Match looks at for the kinds of
// indicators that s holds, sorted.
func (s *Set) Fields() []string {
	var names []string
	for _, read := range []struct {
		kinds  []Kind
		fields []string
	}{
		{[]Kind{MD5, SHA1, SHA256}, hashFields},
		{[]Kind{IP, Network}, addressFields},
		{[]Kind{Domain}, domainFields},
		{[]Kind{Path, FileName}, pathFields},
		{[]Kind{Service}, serviceFields},
		{[]Kind{Task}, taskFields},
		{[]Kind{Signer}, signerFields},
		{[]Kind{URL, Domain}, textFields},
	} {
		if slices.ContainsFunc(read.kinds, s.has) {
			names = append(names, read.fields...)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}
