package evtx_test

import (
	"bytes"
	"encoding/binary"
	"reflect"
	"slices"
	"testing"

	"ashiato/internal/event"
)

// FuzzRead holds for any bytes: the numbers balance, every event's reference
// finds the bytes it was read from, one goroutine reads what several do, programs
// read what the general way reads, and records that are left unread are the same
// but for their fields.
//
// The inputs are thousands of bytes; -fuzzminimizetime=10x keeps the fuzzer from
// spending its time on making them smaller.
func FuzzRead(f *testing.F) {
	b := write(f, intrusion(120))
	f.Add(b[:headerSize+512+3000])
	f.Add(b[headerSize : headerSize+512+2000])
	f.Add(b[headerSize+512 : headerSize+512+2000])
	f.Add(b[headerSize+chunkSize-200 : headerSize+chunkSize+2000])
	small := intrusion(3)
	small[1].Data = event.Fields{{Name: "Data", Value: "\xed\xa0\x80"}, {Name: "Data", Value: ""}}
	small[2].ID, small[2].UserSID = 70000, ""
	b = write(f, small)
	b = b[:headerSize+512+3200]
	binary.LittleEndian.PutUint32(b[headerSize+48:], 600)
	f.Add(b)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 4*chunkSize {
			return
		}
		res := readFrom(bytes.NewReader(b), 3)
		checkResult(t, b, res)
		again := readFrom(bytes.NewReader(b), 1)
		if res.stats != again.stats || !slices.Equal(res.problems, again.problems) {
			t.Fatalf("%+v %v, then %+v %v", res.stats, res.problems, again.stats, again.problems)
		}
		if diff := sameEvents(res.events, again.events); diff != "" {
			t.Fatalf("3 jobs (-), 1 job (+):\n%s", diff)
		}
		if general := readGeneral(b); !reflect.DeepEqual(again, general) {
			t.Fatalf("by programs %+v, the general way %+v", again, general)
		}
		checkInterest(t, b, readsNothing)
		for i, e := range res.events {
			if e.Ref != again.events[i].Ref {
				t.Fatalf("references differ: %+v, %+v", e.Ref, again.events[i].Ref)
			}
		}
	})
}
