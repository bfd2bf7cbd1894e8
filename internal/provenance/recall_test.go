package provenance

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"ashiato/internal/corpus"
	"ashiato/internal/event"
	"ashiato/internal/normalize"
	"ashiato/internal/source/files"
	"ashiato/internal/world"
)

// TestHandoffsOnRecordings counts, for each row of docs/joins.md with records in
// the public recordings, how many effects could be joined and how many were. The
// numbers of docs/joins.md are this test's; with ASHIATO_SHOW it prints the edges.
func TestHandoffsOnRecordings(t *testing.T) {
	if os.Getenv("ASHIATO_FULL") == "" {
		t.Skip("reads every recording; set ASHIATO_FULL=1")
	}
	show := os.Getenv("ASHIATO_SHOW")
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
	joins := map[string]int{}
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
			said := false
			for _, e := range g.Edges() {
				joins[e.Class.String()+" "+e.Join]++
				if slices.Contains(strings.Split(show, ","), e.Join) {
					if !said {
						t.Logf("## %s", filepath.Base(path))
						said = true
					}
					from, to := g.Node(e.From), g.Node(e.To)
					t.Logf("%s %s %s [%.140s] -%s-> %s [%.140s] skeleton=%v", e.Join, e.Class, from.Label, from.Path+" "+from.Attr("CommandLine"), e.Verb, to.Label, to.Path+" "+to.Attr("CommandLine"), e.Skeleton)
				}
			}
			made := func(n NodeID) bool {
				return slices.ContainsFunc(g.In(n), func(e *Edge) bool {
					return (e.Verb == Registered || e.Verb == Requested || e.Verb == LoggedOn) && e.Class <= ClassB && g.Node(e.From).Kind != File
				})
			}
			byUnit := func(p *world.Process) bool {
				return slices.ContainsFunc(g.In(processID(p)), func(e *Edge) bool { return e.Verb == RanAs && e.Class <= ClassB })
			}
			for _, r := range w.Records() {
				switch r.Kind {
				case event.ServiceInstall:
					n := g.Node(g.serviceID(r.Host, r.Get("ServiceName"), r.Time))
					switch {
					case r.Number("ClientProcessStartKey") != 0:
						note("2 creator by start key", n != nil && made(n.ID))
					case r.ID == 4697 && g.sessionOf(r) != nil:
						note("2 creator by remote logon", n != nil && made(n.ID))
					}
					program, _ := world.SplitCommand(r.Get("ImagePath"))
					ran := n != nil && slices.ContainsFunc(g.Out(n.ID), func(e *Edge) bool { return e.Verb == RanAs && e.Class <= ClassB })
					// A start that looks like the service's, joined or not.
					for _, p := range w.Processes() {
						if !p.Implied && world.HostKey(p.Host) == world.HostKey(r.Host) && startedBy(p, "services.exe") && p.ParentImage != "" &&
							!p.Start.Before(r.Time.Add(-slack)) && world.Base(p.ImageKey()) == world.Base(world.PathKey(program)) && world.Base(p.ImageKey()) != "svchost.exe" {
							note("2 registration with a start of its program", ran)
							if !ran && show != "" {
								t.Logf("%s: service not joined: %q: %q", filepath.Base(path), r.Get("ImagePath"), p.CommandLine)
							}
							break
						}
					}
				case event.TaskRegister, event.TaskUpdate:
					n := g.Node(id(Task, r.Host, strings.ToLower(world.TaskName(r.Get("TaskName")))))
					if w.ByStartKey(r.Host, r.Number("ClientProcessStartKey")) != nil {
						note("4 creator by start key", n != nil && made(n.ID) || n != nil && slices.ContainsFunc(g.In(n.ID), func(e *Edge) bool { return e.Join == "start-key" }))
					}
					if g.sessionOf(r) != nil {
						note("4 creator by remote logon", n != nil && made(n.ID))
					}
					if c := r.Get("TaskContent"); c != "" {
						note("4 task content read", len(world.TaskCommands(c)) > 0 || strings.Contains(c, "ComHandler"))
					}
				case event.TaskStart:
					if r.ID == 129 && r.Number("ProcessId") == 0 {
						n := id(Task, r.Host, strings.ToLower(world.TaskName(r.Get("TaskName"))))
						note("4 start without process id", slices.ContainsFunc(g.Out(n), func(e *Edge) bool {
							return e.Verb == RanAs && e.Class <= ClassB && !r.Time.Before(e.First.Add(-startWindow)) && !r.Time.After(e.Last.Add(startWindow))
						}))
					}
				case event.ScriptBlock, event.ScriptModule, event.ScriptClassic:
					p, class := g.scriptProcess(r)
					known := slices.ContainsFunc(w.Processes(), func(q *world.Process) bool {
						return !q.Implied && world.HostKey(q.Host) == world.HostKey(r.Host) && (r.PID != 0 && q.PID == r.PID ||
							r.PID == 0 && scriptHosts[world.Base(q.ImageKey())] && applicationKey(q.CommandLine) == applicationKey(r.Get("HostApplication")))
					})
					if known || p != nil {
						note(fmt.Sprintf("24 %d %s", r.ID, class), p != nil)
					}
				}
			}
			for _, p := range w.Processes() {
				switch {
				case p.Implied:
				case p.Parent != nil && wmiHosts[p.Parent.ImageKey()]:
					note("5, 6 child of WmiPrvSE", byUnit(p))
					if !byUnit(p) && show != "" {
						t.Logf("%s: not joined: %s %s logon %s", filepath.Base(path), p.CommandLine, p.User, p.LogonID)
					}
				case isComServer(p):
					if s := g.sessionAt(p.Host, p.LogonID, p.Start); s != nil && s.network() {
						note("7 COM server in a caller's session", byUnit(p))
					} else {
						note("7 COM server, nothing tells of a client", byUnit(p))
					}
				case shellHost(p):
					note("18 remote shell", made(processID(p)))
				}
			}
			consumers := map[*consumer]bool{}
			for _, c := range g.watches {
				if consumers[c] {
					continue
				}
				consumers[c] = true
				if show != "" {
					t.Logf("%s: consumer %s (%s): %s", filepath.Base(path), c.label, c.kind, c.command)
				}
				note("6 consumer with its maker", made(id(WMI, c.host, "consumer|"+c.name)))
			}
			jobs := map[*bitsJob]bool{}
			for _, b := range g.jobs {
				if !jobs[b] {
					jobs[b] = true
					note("22 job with its client", made(b.node))
				}
			}
			for _, list := range g.installs {
				for _, tr := range list {
					note("23 transaction with its client", made(id(Installer, tr.host, tr.key)))
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, row := range sortedKeys(rows) {
		t.Logf("%s: %d of %d", row, rows[row].joined, rows[row].joinable)
	}
	for _, j := range sortedKeys(joins) {
		t.Logf("%s: %d edges", j, joins[j])
	}
}
