package provenance

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"ashiato/internal/corpus"
	"ashiato/internal/event"
	"ashiato/internal/normalize"
	"ashiato/internal/source/files"
	"ashiato/internal/world"
)

// TestCrossingsOnRecordings counts, for the rows of docs/joins.md about files,
// registry values, pipes and logons, how many effects in the public recordings
// could be joined and how many were. The numbers of docs/joins.md are this
// test's.
func TestCrossingsOnRecordings(t *testing.T) {
	if os.Getenv("ASHIATO_FULL") == "" {
		t.Skip("reads every recording; set ASHIATO_FULL=1")
	}
	type count struct{ joined, joinable int }
	rows := map[string]*count{}
	note := func(row string, joined bool) {
		if rows[row] == nil {
			rows[row] = &count{}
		}
		rows[row].joinable++
		if joined {
			rows[row].joined++
		}
	}
	versions := 0
	for _, root := range []string{"otrf", "evtx"} {
		err := filepath.WalkDir(corpus.Dir(t, root), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			w := world.New(world.Limits{})
			b := NewBuilder(w)
			var mu sync.Mutex
			files.Scan(context.Background(), []string{path}, files.Options{Jobs: 2}, func(batch []*event.Event) {
				mu.Lock()
				defer mu.Unlock()
				for _, e := range batch {
					normalize.Event(e)
					b.Add(e)
				}
			})
			g := b.Build()
			for _, starts := range g.versions {
				versions += len(starts)
			}
			in := func(n NodeID, verb Verb, most Class) bool {
				return slices.ContainsFunc(g.In(n), func(e *Edge) bool { return e.Verb == verb && e.Class <= most })
			}
			clients := map[string]*world.Process{} // address and port → who connected
			entered := map[*session]bool{}         // sessions in which something was started
			for _, r := range w.Records() {
				if p, _ := w.Actor(r); r.Kind == event.NetworkConnect && r.Get("Initiated") == "true" && p != nil {
					clients[address(r.Get("SourceIp"))+"|"+r.Get("SourcePort")] = p
				}
			}
			for _, p := range w.Processes() {
				if s := g.sessionAt(p.Host, p.LogonID, p.Start); s != nil && !p.Implied {
					entered[s] = true
				}
			}
			for _, k := range sortedKeys(g.logons) {
				for _, s := range g.logons[k] {
					from, ok := s.from()
					if p := clients[from]; ok && s.remote && p != nil && !machineAccount(s.record.Get("TargetUserName")) {
						switch {
						case !g.hub(p):
							note("16 a person's logon by a program of a host at hand", in(s.id(), LoggedOn, ClassB))
						case p.ImageKey() == "system":
							note("16 the same by the kernel (SMB), without lineage", in(s.id(), LoggedOn, ClassB))
						}
					}
					if s.credentials && entered[s] {
						note("21 a session with other credentials: who asked for it", in(s.id(), LoggedOn, ClassA))
					}
				}
			}
			for _, p := range w.Processes() {
				if p.Implied {
					continue
				}
				n := processID(p)
				if s := g.sessionAt(p.Host, p.LogonID, p.Start); s != nil {
					lineage := in(n, LoggedOn, ClassB) || in(n, RanAs, ClassB)
					switch {
					case p.Parent != nil && !g.hub(p.Parent): // the tree leads there
					case s.remote && s.record.Get("LogonType") != "3":
						note("19 a process that the shell or a broker started in a remote desktop session", lineage)
					case s.remote:
						note("17 a process that a broker started in a remote session", lineage)
					}
				}
				if g.lastWrite(p.Host, p.ImageKey(), p.Start) != nil {
					note("9 a program that had been written", in(n, Executed, ClassB))
				}
			}
			for _, r := range w.Records() {
				p, _ := w.Actor(r)
				switch r.Kind {
				case event.ImageLoad:
					key := w.PathOn(r.Host, r.Get("ImageLoaded"))
					if g.lastWrite(r.Host, key, r.Time) != nil && p != nil && p.ImageKey() != key {
						note("10 a module that had been written", in(processID(p), Loaded, ClassB))
					}
				case event.RemoteThread:
					if from, to := w.ByGUID(r.Host, r.Get("SourceProcessGuid")), w.ByGUID(r.Host, r.Get("TargetProcessGuid")); from != nil && to != nil && from != to {
						note("12 a thread in another process", g.edges[edgeKey{processID(from), processID(to), Injected}] != nil)
					}
				case event.PipeConnect:
					server := slices.ContainsFunc(w.Records(), func(c *world.Record) bool {
						q, _ := w.Actor(c)
						return c.Kind == event.PipeCreate && pipeKey(c) == pipeKey(r) && !c.Time.After(r.Time) && q != nil && q != p
					})
					if server && p != nil {
						note("15 a client of a pipe whose server is at hand", slices.ContainsFunc(g.Out(processID(p)), func(e *Edge) bool { return e.Join == "pipe-name" }))
					}
				case event.ShareAccess:
					s := g.sessionOf(r)
					if world.ControlPipe(r.Get("ShareName"), r.Get("RelativeTargetName")) != "" {
						note("3 control over the network: in whose logon", s != nil)
						continue
					}
					if path, sure := g.shareFile(r); path != "" && g.elsewhere(r.Host, r.Get("IpAddress")) {
						note("20 a file written over a share: where it lies", sure)
						note("20 … and in whose logon", s != nil && !s.implied)
					}
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, row := range sortedKeys(rows) {
		t.Logf("%-90s %4d of %4d", row, rows[row].joined, rows[row].joinable)
	}
	t.Logf("%d files are another version of a path", versions)
	for row, least := range map[string]float64{
		"9 a program that had been written": 1, "10 a module that had been written": 1, "12 a thread in another process": 1,
		"15 a client of a pipe whose server is at hand": 0.95, "16 a person's logon by a program of a host at hand": 1,
		"17 a process that a broker started in a remote session": 0.95, "20 a file written over a share: where it lies": 1,
		"21 a session with other credentials: who asked for it": 1,
	} {
		if c := rows[row]; c == nil || float64(c.joined) < least*float64(c.joinable) {
			t.Errorf("%s: %+v, want at least %.2f", row, c, least)
		}
	}
}
