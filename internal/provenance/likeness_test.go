package provenance

import (
	"fmt"
	"slices"
	"testing"

	"ashiato/internal/world"
)

// TestLikenessOfBrokers holds that hosts are grouped by where their brokers
// connected to if those are some service's own, and else are not; and that the
// arrows are those of the graph of both either way.
func TestLikenessOfBrokers(t *testing.T) {
	const command = svchost + ` -k N`
	cases := []struct {
		name   string
		say    func(l *log)
		groups int
	}{
		{"a service by its DLL, under any command line", func(l *log) {
			l.sysmon(13, "TargetObject", `HKLM\System\CurrentControlSet\Services\Svc\Parameters\ServiceDll`, "Details", `%SystemRoot%\x.dat`, "Image", services)
			l.start(3, 2, svchost, `svchost.exe -k any`, services)
			l.by(7, 3, svchost, "ImageLoaded", `c:\windows\X.dat`)
		}, 1},
		{"a service by its command line", func(l *log) {
			l.add("Service Control Manager", "System", 7045, "ServiceName", "N", "ImagePath", `%SystemRoot%\System32\svchost.exe  -k N`)
			l.start(3, 2, svchost, command, services)
		}, 1},
		{"a process whose image was replaced", func(l *log) {
			l.start(2, 1, `C:\a.exe`, "a", explorer)
			l.start(3, 2, svchost, command, `C:\a.exe`)
			l.by(25, 3, svchost, "Type", "Image is replaced")
		}, 1},
		{"no service that is recorded", func(l *log) {
			l.add("Service Control Manager", "System", 7045, "ServiceName", "Other", "ImagePath", `C:\other.exe`)
			l.sysmon(13, "TargetObject", `HKLM\System\CurrentControlSet\Services\Svc\Parameters\ServiceDll`, "Details", `C:\x.dat`, "Image", services)
			l.start(3, 2, svchost, command, services)
			l.by(7, 3, svchost, "ImageLoaded", `C:\y.dat`)
		}, 2},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var l log
			for _, host := range []string{"A", "B"} {
				l.on(host, func() {
					c.say(&l)
					l.connect(3, svchost, "192.0.2.7", "1", "203.0.113.9", "443")
				})
			}
			w := world.New(world.Limits{})
			for _, e := range l.events {
				w.Add(e)
			}
			all := Outlooks(w)
			n := NewNeighbours(all...)
			groups := n.Groups()
			if len(groups) != c.groups {
				t.Errorf("%d groups, want %d: %q", len(groups), c.groups, groups)
			}
			for _, o := range all { // what is common is counted by what records hold
				if !slices.Contains(o.Likens, "same-destination|203.0.113.9|443") {
					t.Errorf("%s is like others by %q only", o.Host, o.Likens)
				}
			}
			arrows := func(g *Graph) (all []string) {
				for _, e := range g.Edges() {
					all = append(all, fmt.Sprintf("%+v", *e))
				}
				return all
			}
			whole := NewBuilder(w).Build()
			drawn := slices.ContainsFunc(whole.Edges(), func(e *Edge) bool { return e.Join == "same-destination" })
			if drawn != (c.groups == 1) {
				t.Errorf("drawn: %v", drawn)
			}
			var parts []string
			for _, hosts := range groups {
				parts = append(parts, arrows(NewBuilderAmong(w.Part(hosts...), n).Build())...)
			}
			want := arrows(whole)
			slices.Sort(want)
			slices.Sort(parts)
			if !slices.Equal(want, parts) {
				t.Errorf("the groups draw\n%q\nthe whole\n%q", parts, want)
			}
		})
	}
}
