package evtx_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ashiato/internal/event"
	"ashiato/internal/source"
	"ashiato/internal/source/evtx"
)

func readInterest(b []byte, jobs int, in source.Interest) result {
	var res result
	rd := evtx.Reader{Jobs: jobs, Interest: in}
	batches := make(chan []*event.Event, 1024)
	res.stats, res.problems = rd.Read(context.Background(), "test.evtx", bytes.NewReader(b), func(batch []*event.Event) { batches <- batch })
	close(batches)
	for batch := range batches {
		res.events = append(res.events, batch...)
	}
	slices.SortFunc(res.events, func(a, b *event.Event) int { return int(a.Ref.Offset - b.Ref.Offset) })
	return res
}

// checkInterest reads a file with the interest and holds what it gives against
// what the whole file gives.
func checkInterest(t *testing.T, b []byte, in source.Interest) result {
	t.Helper()
	whole, less := readInterest(b, 1, nil), readInterest(b, 2, in)
	if s := less.stats; s.Records != s.Events+s.Undecodable || s.Events != int64(len(less.events)) || s.Bytes != whole.stats.Bytes {
		t.Fatalf("the numbers do not balance: %+v, %d events", s, len(less.events))
	}
	at := map[int64]*event.Event{}
	for _, e := range whole.events {
		at[e.Ref.Offset] = e
	}
	unread := int64(0)
	for _, e := range less.events {
		w := at[e.Ref.Offset]
		delete(at, e.Ref.Offset)
		if e.Flags&event.Unread != 0 {
			unread++
			if e.Data != nil || e.Flags&^event.Unread != 0 || e.Ref.SHA256 != [32]byte{} && e.Ref.RecordID != 0 {
				t.Fatalf("an unread event has fields, a hash or was damaged: %+v", e)
			}
		}
		if w == nil { // only where less was spent, or a leftover told apart by less
			if whole.problem(source.TooLarge) == nil && e.Flags&event.Carved == 0 {
				t.Fatalf("the record at %d is an event only if it is not read", e.Ref.Offset)
			}
			continue
		}
		want := *w
		if e.Flags&event.Unread != 0 {
			want.Data, want.Ref.SHA256, want.Flags = nil, e.Ref.SHA256, event.Unread
		}
		if diff := cmp.Diff(&want, e); diff != "" {
			t.Fatalf("the record at %d differs:\n%s", e.Ref.Offset, diff)
		}
	}
	for offset, w := range at {
		if w.Flags&event.Carved == 0 {
			t.Fatalf("the record at %d is missing", offset)
		}
	}
	if less.stats.Unread != unread {
		t.Fatalf("%d unread records, %d are said to be", unread, less.stats.Unread)
	}
	return less
}

func readsNothing(string, string, uint32, []string) bool { return false }

func TestInterest(t *testing.T) {
	events := intrusion(300)
	b := write(t, events)
	n := int64(len(events))

	t.Run("nothing", func(t *testing.T) {
		if res := checkInterest(t, b, readsNothing); res.stats.Unread != n {
			t.Errorf("%d of %d unread", res.stats.Unread, n)
		}
	})
	t.Run("all", func(t *testing.T) {
		res := checkInterest(t, b, func(string, string, uint32, []string) bool { return true })
		if res.stats.Unread != 0 {
			t.Errorf("%d unread", res.stats.Unread)
		}
	})
	t.Run("one kind", func(t *testing.T) {
		first := events[0]
		res := checkInterest(t, b, func(provider, channel string, id uint32, _ []string) bool {
			return provider == first.Provider && channel == first.Channel && id == first.ID
		})
		for _, e := range res.events {
			if same := e.Provider == first.Provider && e.Channel == first.Channel && e.ID == first.ID; same == (e.Flags&event.Unread != 0) {
				t.Fatalf("%s %s %d: flags %b", e.Provider, e.Channel, e.ID, e.Flags)
			}
		}
	})
	t.Run("names", func(t *testing.T) {
		at := map[string][]*event.Event{}
		for _, e := range events {
			at[e.Provider+e.Channel] = append(at[e.Provider+e.Channel], e)
		}
		checkInterest(t, b, func(provider, channel string, id uint32, names []string) bool {
			for _, e := range at[provider+channel] {
				if e.ID == id && !slices.ContainsFunc(e.Data, func(f event.Field) bool { return !slices.Contains(names, f.Name) }) {
					return len(e.Data) > 3
				}
			}
			t.Errorf("no record of %s %s %d has no other fields than %q", provider, channel, id, names)
			return false
		})
	})
	t.Run("damage", func(t *testing.T) {
		damaged := bytes.Clone(b)
		binary.LittleEndian.PutUint32(damaged[headerSize+52:], 1) // the first chunk's checksum
		res := checkInterest(t, damaged, readsNothing)
		read := 0
		for _, e := range res.events {
			if in := e.Ref.Offset < headerSize+chunkSize; in != (e.Flags&event.BadChecksum != 0) || in != (e.Flags&event.Unread == 0) {
				t.Fatalf("the record at %d has the flags %b", e.Ref.Offset, e.Flags)
			} else if in {
				read++
			}
		}
		if read == 0 {
			t.Error("no record is in the damaged chunk")
		}
	})
	t.Run("without a chunk's signature", func(t *testing.T) {
		damaged := bytes.Clone(b)
		damaged[headerSize] = 'x'
		res := checkInterest(t, damaged, readsNothing)
		if res.stats.Carved == 0 || res.stats.Unread == 0 {
			t.Errorf("%+v", res.stats)
		}
	})
}
