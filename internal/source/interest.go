package source

// Interest reports whether anybody reads the fields of a record with that
// provider, channel and event id whose fields have no other names than those
// given, so that a reader need not decode the others. A reader may decode more
// than that. What a reader leaves out it flags event.Unread and counts in
// Stats.Unread; it hands the event on all the same, with its System part, because
// gaps in record numbers and the span of a log are seen by it. Whether the fields
// of such a record are damaged is not looked at.
//
// It may be called by several goroutines at once, must give the same answer
// whenever it is asked the same, and must not keep the slice.
type Interest func(provider, channel string, id uint32, fields []string) bool
