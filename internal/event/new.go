package event

// New returns an event whose Data holds n empty fields, in one allocation up to
// 33 of them: an event kept for long keeps nothing else alive.
func New(n int) *Event {
	// The sizes fill the allocator's classes.
	switch {
	case n == 0:
		return new(Event)
	case n <= 4:
		r := new(struct {
			e Event
			f [4]Field
		})
		r.e.Data = r.f[:n:n]
		return &r.e
	case n <= 9:
		r := new(struct {
			e Event
			f [9]Field
		})
		r.e.Data = r.f[:n:n]
		return &r.e
	case n <= 13:
		r := new(struct {
			e Event
			f [13]Field
		})
		r.e.Data = r.f[:n:n]
		return &r.e
	case n <= 17:
		r := new(struct {
			e Event
			f [17]Field
		})
		r.e.Data = r.f[:n:n]
		return &r.e
	case n <= 21:
		r := new(struct {
			e Event
			f [21]Field
		})
		r.e.Data = r.f[:n:n]
		return &r.e
	case n <= 25:
		r := new(struct {
			e Event
			f [25]Field
		})
		r.e.Data = r.f[:n:n]
		return &r.e
	case n <= 33:
		r := new(struct {
			e Event
			f [33]Field
		})
		r.e.Data = r.f[:n:n]
		return &r.e
	}
	return &Event{Data: make(Fields, n)}
}
