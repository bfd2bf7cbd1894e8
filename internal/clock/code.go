package clock

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"time"

	"ashiato/internal/wire"
)

// Code writes the offsets down, or reads them.
func (o *Offsets) Code(c *wire.Coder) {
	type log struct {
		Log
		offset time.Duration
	}
	var logs []log
	for l, offset := range o.logs {
		logs = append(logs, log{l, offset})
	}
	slices.SortFunc(logs, func(x, y log) int {
		return cmp.Or(strings.Compare(x.File, y.File), strings.Compare(x.Host, y.Host))
	})
	const most = math.MaxInt64 / 2
	wire.List(c, &logs, 3, func(c *wire.Coder, l *log) {
		c.String(&l.File)
		c.String(&l.Host)
		wire.Int(c, &l.offset, -most, most)
	})
	files := o.files
	wire.Map(c, &files, 2, func(c *wire.Coder, offset *time.Duration) { wire.Int(c, offset, -most, most) })
	if !c.Reading() {
		return
	}
	*o = Offsets{files: files}
	for _, l := range logs {
		if o.logs == nil {
			o.logs = map[Log]time.Duration{}
		}
		o.logs[l.Log] = l.offset
	}
}
