package evtx

import (
	"context"
	"io"

	"ashiato/internal/source"
)

// ReadGeneral is Reader.Read without programs: every record is read the general
// way, which says what a record means.
func ReadGeneral(ctx context.Context, name string, in io.Reader, h source.Handler) (source.Stats, []source.Problem) {
	r := newRun(name, h)
	r.general = true
	return r.read(ctx, in, 1)
}
