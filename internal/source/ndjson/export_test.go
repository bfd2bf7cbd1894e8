package ndjson

// ReadPlain reads as Read does, the plain way.
var ReadPlain = readPlain

// Values returns where the values of a JSON text begin and end, quotes included,
// the outermost first; nil if it is none.
func Values(text []byte) [][2]int {
	var d document
	if _, err := d.parse(text); err != nil {
		return nil
	}
	var out [][2]int
	for _, n := range d.nodes {
		from, to := int(n.from), int(n.to)
		if n.kind == str {
			from, to = from-1, to+1
		}
		out = append(out, [2]int{from, to})
	}
	return out
}
