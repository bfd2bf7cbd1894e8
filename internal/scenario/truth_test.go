package scenario

import (
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"ashiato/internal/event"
)

const shippedDir = "../../testdata/scenarios"

// shipped runs a test on every scenario that the repository holds.
func shipped(t *testing.T, test func(t *testing.T, name string, text []byte)) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(shippedDir, "*.txtar"))
	if err != nil || len(paths) < 13 {
		t.Fatalf("%d scenarios, %v", len(paths), err)
	}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			test(t, filepath.Base(path), text)
		})
	}
}

// with parses a scenario and varies it.
func with(t testing.TB, name string, text []byte, set ...string) *Built {
	t.Helper()
	s, err := Parse(name, text)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(set); i += 2 {
		if err := s.Set(set[i], set[i+1]); err != nil {
			t.Fatal(err)
		}
	}
	b, err := s.Build()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// whole is a shipped scenario's build with all its records, made once.
func whole(t testing.TB, name string, text []byte) *Built {
	t.Helper()
	if b, ok := wholes.Load(name); ok {
		return b.(*Built)
	}
	b := with(t, name, text)
	wholes.Store(name, b)
	return b
}

var wholes sync.Map

// variants are ways to keep fewer records. A normal run takes one for each
// scenario, in turn; with ASHIATO_FULL=1 each scenario has them all.
func variants(name string) [][]string {
	all := [][]string{
		{"telemetry", "sysmon"},
		{"telemetry", "security"},
		{"telemetry", "security system tasks powershell wmi bits msi sessions", "records", "old"},
		{"lose", "300"},
	}
	if os.Getenv("ASHIATO_FULL") != "" {
		return all
	}
	i := len(name) % len(all)
	return all[i : i+1]
}

// silent are the verbs that may leave no record however many logs are kept.
var silent = map[string]bool{"running": true, "rename": true, "read": true, "hide": true, "cpu": true, "gpu": true, "sensorlost": true}

func TestShippedScenarios(t *testing.T) {
	shipped(t, func(t *testing.T, name string, text []byte) {
		b := whole(t, name, text)
		checkNumbers(t, b)
		same(t, b, with(t, name, text))

		steps, lines := map[int]bool{}, map[int]bool{}
		hosts := map[string]bool{}
		attack, benign := 0, 0
		for k, l := range b.Truth {
			if !l.Attack {
				benign++
				if l.Text == "" || l.Verb == "" || l.Instance < 0 {
					t.Errorf("record %v belongs neither to a step nor to an activity: %+v", k, l)
				}
				continue
			}
			if l.Instance != 0 {
				t.Errorf("record %v of the intrusion has the instance of an activity", k)
			}
			attack++
			steps[l.Step], lines[l.Line], hosts[k.Host] = true, true, true
		}
		if benign < 700 || attack < 30 {
			t.Errorf("%d benign records and %d of the intrusion", benign, attack)
		}
		if n := len(b.Expect.Steps); n < 10 || n > 25 {
			t.Errorf("%d steps are expected, want 10 to 25", n)
		}
		for _, n := range b.Expect.Steps {
			if !steps[n] {
				t.Errorf("step %d leaves no record", n)
			}
		}
		if b.Expect.Incidents != 1 || b.Expect.AtLeast != "medium" {
			t.Errorf("expects %d incidents at least %s", b.Expect.Incidents, b.Expect.AtLeast)
		}
		if got := slices.Sorted(maps.Keys(hosts)); !slices.Equal(got, slices.Sorted(slices.Values(b.Expect.Hosts))) {
			t.Errorf("the intrusion is on %q, expected are %q", got, b.Expect.Hosts)
		}
		s := parse(t, name, text)
		for _, st := range s.steps {
			group := []*step{st}
			if st.steps != nil {
				group = st.steps
			}
			for _, st := range group {
				if st.label.Attack && !lines[st.line] && !silent[st.verb.name] {
					t.Errorf("%s:%d: %s leaves no record", name, st.line, st.verb.name)
				}
			}
		}
		if b.Root.Kind == "" || b.Root.Kind != b.Expect.Root {
			t.Errorf("the root is %q, expected is %q", b.Root.Kind, b.Expect.Root)
		}
		if len(b.Root.Records) == 0 || b.Root.Subject.Kind == "" {
			t.Errorf("nothing shows the root %+v", b.Root)
		}
		for _, k := range b.Root.Records {
			if l, ok := b.Truth[k]; !ok || !l.Attack {
				t.Errorf("record %v of the root is not of the intrusion", k)
			}
		}
		t.Logf("%d records of the intrusion in %d steps on %d hosts, %d benign, root %s", attack, len(b.Expect.Steps), len(hosts), benign, b.Root.Kind)
	})
}

// Another seed changes the background and every random name, not the story.
func TestShippedScenariosVary(t *testing.T) {
	shipped(t, func(t *testing.T, name string, text []byte) {
		seeds := []string{"3"}
		if os.Getenv("ASHIATO_FULL") != "" {
			seeds = nil
			for i := range 25 {
				seeds = append(seeds, strconv.Itoa(i))
			}
		}
		own := func(b *Built) (records int, handoffs []string) {
			for _, l := range b.Truth {
				if l.Attack {
					records++
				}
			}
			for _, h := range b.Handoffs {
				if h.Label.Attack {
					handoffs = append(handoffs, fmt.Sprint(h.Row, h.Name, h.Label.Line))
				}
			}
			return records, handoffs
		}
		n, handoffs := own(whole(t, name, text))
		for _, seed := range seeds {
			b := with(t, name, text, "seed", seed)
			checkNumbers(t, b)
			checkHandoffs(t, b)
			if m, got := own(b); m != n || !slices.Equal(got, handoffs) {
				t.Errorf("seed %s: %d records of the intrusion and hand-offs %v, want %d and %v", seed, m, got, n, handoffs)
			}
		}
	})
}

// What a scenario names outside its own network is reserved for documentation.
func TestShippedScenariosNameNobody(t *testing.T) {
	address := regexp.MustCompile(`\b\d{1,3}(\.\d{1,3}){3}\b`)
	version := regexp.MustCompile(`^10\.0\.|^11\.|^5\.1\.`)
	nets := []netip.Prefix{
		netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("198.51.100.0/24"), netip.MustParsePrefix("203.0.113.0/24"),
		netip.MustParsePrefix("192.168.0.0/16"),
	}
	shipped(t, func(t *testing.T, name string, text []byte) {
		for _, a := range address.FindAllString(string(text), -1) {
			ip, err := netip.ParseAddr(a)
			if err != nil || version.MatchString(a) {
				continue
			}
			if !slices.ContainsFunc(nets, func(p netip.Prefix) bool { return p.Contains(ip) }) {
				t.Errorf("%s is not an address for documentation", a)
			}
		}
		for _, e := range find(whole(t, name, text), "Sysmon", 22) {
			q := value(t, e, "QueryName")
			if !regexp.MustCompile(`(^|\.)(example|example\.(com|net|org))$`).MatchString(q) {
				t.Errorf("%s is not a domain for documentation", q)
			}
		}
	})
}

var subjectKinds = []string{"process", "file", "registry", "service", "task", "wmi-subscription", "volume", "logon", "script"}

// fact is the text by which records name a subject, in any of its notations.
func fact(s Subject) []string {
	switch s.Kind {
	case "process":
		return []string{s.GUID, strconv.Itoa(int(s.PID)), fmt.Sprintf("0x%x", s.PID)}
	case "file":
		return []string{baseName(s.Path)}
	case "registry":
		return []string{s.Path}
	case "logon":
		if s.LUID < 1000 { // an audit session of Linux, a whole value
			return []string{fmt.Sprintf("\n%d\n", s.LUID)}
		}
		return []string{fmt.Sprintf("0x%x", s.LUID)}
	case "volume":
		return []string{s.Serial}
	case "task":
		return []string{strings.TrimPrefix(s.Name, `\`)}
	}
	return []string{s.Name}
}

// checkHandoffs fails unless the hand-offs of a build agree with its records.
func checkHandoffs(t *testing.T, b *Built) {
	t.Helper()
	texts := map[RecordKey]string{}
	hosts := map[string]bool{}
	for _, e := range b.Events {
		var all strings.Builder
		for _, f := range e.Data {
			all.WriteString(strings.ToLower(f.Value) + "\n")
		}
		texts[KeyOf(e)] = all.String()
		hosts[e.Host] = true
	}
	checkSound(t, b)
	for _, h := range b.Handoffs {
		for _, s := range []Subject{h.From, h.Via, h.To} {
			if s.Kind == "" {
				continue
			}
			if !slices.Contains(subjectKinds, s.Kind) || !hosts[s.Host] {
				t.Errorf("%s: subject %+v", h.Name, s)
			}
			if s.Kind == "file" && (len(s.Path) < 4 || s.Path[1:3] != `:\` && s.Path[0] != '/') {
				t.Errorf("%s: file %q is no full path", h.Name, s.Path)
			}
			named := !h.Joinable
			for _, k := range slices.Concat(h.Records, s.Records) {
				for _, f := range fact(s) {
					named = named || strings.Contains(texts[k], strings.ToLower(f))
				}
			}
			if !named {
				t.Errorf("%s of line %d (%s): no record of it names %+v", h.Name, h.Label.Line, h.Label.Subject, s)
			}
		}
	}
}

// checkSound fails unless the hand-offs are whole in themselves.
func checkSound(t *testing.T, b *Built) {
	t.Helper()
	for i, h := range b.Handoffs {
		if i > 0 && h.Time.Before(b.Handoffs[i-1].Time) {
			t.Fatal("the hand-offs are not in order of time")
		}
		if h.Row < 1 || h.Row > 24 || h.Name == "" || h.From.Kind == "" || h.To.Kind == "" {
			t.Fatalf("hand-off %+v", h)
		}
		if h.Joinable != (h.Class == "A" || h.Class == "B") || h.Joinable == (h.Missing != "") || h.Joinable != (len(h.Records) > 0) {
			t.Errorf("%s %s of line %d: joinable %v, class %q, missing %q, %d records", h.Label.Text, h.Name, h.Label.Line, h.Joinable, h.Class, h.Missing, len(h.Records))
		}
		for _, k := range slices.Concat(h.Records, h.From.Records, h.Via.Records, h.To.Records, b.Root.Records) {
			if _, ok := b.Truth[k]; !ok {
				t.Errorf("%s: record %v was not kept", h.Name, k)
			}
		}
	}
}

func TestHandoffsAgreeWithTheRecords(t *testing.T) {
	shipped(t, func(t *testing.T, name string, text []byte) {
		checkHandoffs(t, whole(t, name, text))
	})
}

func TestShippedScenariosAreDescribed(t *testing.T) {
	doc, err := os.ReadFile("../../docs/formats/scenario.md")
	if err != nil {
		t.Fatal(err)
	}
	shipped(t, func(t *testing.T, name string, _ []byte) {
		if !strings.Contains(string(doc), "| `"+strings.TrimSuffix(name, ".txtar")+"` |") {
			t.Errorf("%s is not described", name)
		}
	})
}

// Every kind of hand-off is in some shipped scenario, as part of the intrusion
// and joinable. Row 17, a logon's processes, is there in its forms: rows 5, 7, 18,
// 19 and 21.
func TestEveryKindOfHandoffIsShipped(t *testing.T) {
	attack, joinable := map[int]int{}, map[int]int{}
	shipped(t, func(t *testing.T, name string, text []byte) {
		for _, h := range whole(t, name, text).Handoffs {
			if h.Label.Attack {
				attack[h.Row]++
				if h.Joinable {
					joinable[h.Row]++
				}
			}
		}
	})
	for row := 1; row <= 24; row++ {
		if joinable[row] == 0 && row != 17 {
			t.Errorf("row %d: %d hand-offs, none joinable", row, attack[row])
		}
	}
	t.Logf("of the intrusions, by row: %v, joinable %v", attack, joinable)
}

// identity is what stays of a hand-off whatever is kept of the records.
func identity(h Handoff) string {
	h.Joinable, h.Class, h.Missing, h.Records = false, "", "", nil
	h.From.Records, h.To.Records, h.Via.Records = nil, nil, nil
	return fmt.Sprintf("%+v", h)
}

// With fewer records the same hand-offs are true, and no more of them joinable.
func TestFewerRecordsJoinFewer(t *testing.T) {
	shipped(t, func(t *testing.T, name string, text []byte) {
		full := whole(t, name, text)
		for _, set := range variants(name) {
			less := with(t, name, text, set...)
			checkHandoffs(t, less)
			if len(less.Handoffs) != len(full.Handoffs) {
				t.Fatalf("%v: %d hand-offs, want %d", set, len(less.Handoffs), len(full.Handoffs))
			}
			fewer := 0
			for i, h := range less.Handoffs {
				if got, want := identity(h), identity(full.Handoffs[i]); got != want {
					t.Fatalf("%v: hand-off %s, want %s", set, got, want)
				}
				if h.Joinable && !full.Handoffs[i].Joinable {
					t.Errorf("%v: %s is joinable by fewer records only", set, h.Name)
				}
				if h.Joinable != full.Handoffs[i].Joinable {
					fewer++
				}
			}
			// The audit log of Linux says all that Sysmon for Linux does.
			if fewer == 0 && !(strings.HasPrefix(name, "linux-") && slices.Contains(set, "telemetry")) {
				t.Errorf("%v: nothing is less joinable", set)
			}
			if less.Root.Kind != full.Root.Kind || less.Root.Subject.Kind != full.Root.Subject.Kind {
				t.Errorf("%v: root %+v, want %+v", set, less.Root, full.Root)
			}
		}
	})
}

// Who handed on to whom, in small: the text, the logs kept, and the hand-offs but
// row 1, in order.
func TestHandoffs(t *testing.T) {
	for _, test := range []struct {
		name, steps string
		set         []string
		want        []string
	}{
		{
			name: "service", steps: `
+1s start sc
    image C:\Windows\System32\sc.exe
    cmdline sc create Agent binPath= C:\a.exe
    parent explorer
+1s service Agent
    by sc
    image "C:\a.exe"
+1s start agent
    image C:\a.exe
    cmdline C:\a.exe
    parent services
    service Agent
`,
			want: []string{"2 service-created sc.exe → Agent A", "2 service-ran Agent → a.exe B"},
		},
		{
			name: "service, without Security", set: []string{"telemetry", "sysmon"}, steps: `
+1s start sc
    image C:\Windows\System32\sc.exe
    cmdline sc create Agent binPath= C:\a.exe
    parent explorer
+1s service Agent
    by sc
    image %SystemRoot%\a.exe
+1s start agent
    image C:\Windows\a.exe
    cmdline c:\windows\A.exe
    parent services
    service Agent
`,
			want: []string{"2 service-created sc.exe → Agent B", "2 service-ran Agent → a.exe B"},
		},
		{
			name: "service by a program that does not name it, old records", set: []string{"records", "old"}, steps: `
+1s start tool
    image C:\tool.exe
    parent explorer
+1s service Agent
    by tool
    image C:\a.exe
`,
			want: []string{"2 service-created tool.exe → Agent - no log holds its keys"},
		},
		{
			name: "two services of one program", steps: `
+1s service One
    by explorer
    image C:\a.exe
+1s service Two
    by explorer
    image C:\a.exe
+1s start agent
    image C:\a.exe
    cmdline C:\a.exe
    parent services
    service Two
`,
			want: []string{
				"2 service-created explorer.exe → One A", "2 service-created explorer.exe → Two A",
				"2 service-ran Two → a.exe - no log holds its keys",
			},
		},
		{
			name: "service of a host process, by its module", steps: `
+1s service Shared
    by explorer
    image C:\Windows\System32\svchost.exe -k netsvcs
+1s set HKLM\System\CurrentControlSet\Services\Shared\Parameters\ServiceDll
    by explorer
    details C:\s.dll
+1s start svc
    image C:\Windows\System32\svchost.exe
    cmdline C:\Windows\System32\svchost.exe -k netsvcs -p
    parent services
    service Shared
+1s load C:\s.dll
    by svc
`,
			want: []string{"2 service-created explorer.exe → Shared A", "2 service-ran Shared → svchost.exe B"},
		},
		{
			name: "task", steps: `
+1s task T
    by explorer
    command C:\t.exe
+1s runtask T
    process t
    image C:\t.exe
+1s runtask Microsoft\Other
    process o
    image C:\o.exe
`,
			want: []string{`4 task-created explorer.exe → \T A`, `4 task-ran \T → t.exe A`, `4 task-ran \Microsoft\Other → o.exe A`},
		},
		{
			name: "task, its start not logged", set: []string{"telemetry", "security"}, steps: `
+1s task T
    by explorer
    command C:\t.exe
+1s runtask T
    process t
    image C:\t.exe
`,
			want: []string{`4 task-created explorer.exe → \T A`, `4 task-ran \T → t.exe B`},
		},
		{
			name: "file written, run, copied, loaded", steps: `
+1s start a
    image C:\a.exe
    parent services
+1s write C:\Temp\b.exe
    by a
+1s start b
    image C:\Temp\B.EXE
    parent explorer
+1s write C:\Temp\c.dll
    by b
    copy C:\Temp\b.exe
+1s load C:\Temp\c.dll
    by explorer
+1s write C:\Temp\d.vbs
    by b
+1s start w
    image C:\Windows\System32\wscript.exe
    cmdline wscript.exe //B "C:\Temp\d.vbs" x
    parent services
+1s start n
    image C:\Windows\System32\notepad.exe
    cmdline notepad C:\Temp\d.vbs
    parent services
`,
			want: []string{
				"9 file-executed a.exe → b.exe → B.EXE B", "11 copied b.exe → c.dll B", "10 side-loaded B.EXE → c.dll → explorer.exe B",
				"9 file-argument B.EXE → d.vbs → wscript.exe B",
			},
		},
		{
			name: "renamed without a record, known by its hash", steps: `
+1s start a
    image C:\a.exe
    parent services
+1s write C:\Temp\m.dat
    by a
    content module
+1s rename C:\Temp\m.dat
    by a
    to C:\Temp\m.dll
+1s load C:\Temp\m.dll
    by explorer
`,
			want: []string{"11 renamed m.dat → m.dll B", "10 side-loaded a.exe → m.dll → explorer.exe B"},
		},
		{
			name: "autostart and hijack", steps: `
+1s set HKU\S-1-5-21-1\SOFTWARE\Microsoft\Windows\CurrentVersion\Run\X
    by explorer
    details "C:\x.exe" /q
+1s start x
    image C:\x.exe
    cmdline "C:\x.exe" /q
    parent explorer
    autostart HKU\S-1-5-21-1\software\microsoft\windows\currentversion\run\X
+1s set HKCU\CLSID\{1}\InprocServer32\(Default)
    by x
    details C:\h.dll
+1s load C:\h.dll
    by explorer
    autostart HKCU\CLSID\{1}\InprocServer32\(Default)
`,
			want: []string{"13 autostart-ran explorer.exe → X → x.exe B", "14 hijack-loaded x.exe → (Default) → explorer.exe B"},
		},
		{
			name: "over the network", steps: `
+1s start tool
    image C:\tool.exe
    parent explorer
+1s remotelogon admin
    by tool
    to other
    as in
    explicit yes
+1s sharewrite Temp\s.exe
    on other
    logon in
+1s service S
    on other
    logon in
    image C:\Windows\Temp\s.exe
+1s start s
    on other
    image C:\Windows\Temp\s.exe
    cmdline C:\Windows\Temp\s.exe
    parent services
    service S
+1s start w
    on other
    image C:\Windows\System32\wsmprovhost.exe
    cmdline C:\Windows\system32\wsmprovhost.exe -Embedding
    parent dcom
    logon in
`,
			want: []string{
				"16 remote-logon tool.exe → admin B", "20 share-written admin → s.exe A", "3 service-created-remotely admin → S A",
				"2 service-ran S → s.exe B", "20 share-file-executed admin → s.exe → s.exe B", "18 winrm-session admin → wsmprovhost.exe A",
			},
		},
		{
			name: "over the network, the logon's record lost", steps: `
+1s start tool
    image C:\tool.exe
    parent explorer
+1s remotelogon admin
    by tool
    to other
    as in
    owner tool
    lost security
+1s start m
    on other
    image C:\Windows\System32\mmc.exe
    cmdline mmc.exe -Embedding
    parent dcom
    logon in
`,
			want: []string{
				"16 remote-logon tool.exe → admin - security/4624 or security/4624 and security/4648 on the source",
				"7 dcom-activated admin → mmc.exe - security/4624",
			},
		},
		{
			name: "carried on a stick", steps: `
+1s attach stick
    letter F
+1s start a
    image C:\a.exe
    parent services
+1s write F:\b.exe
    by a
    content module
+1s detach stick
+1s attach stick
    on other
    letter D
+1s start b
    on other
    image D:\b.exe
    parent explorer
+1s write C:\b.exe
    on other
    by b
    copy D:\b.exe
`,
			want: []string{
				"8 opened-from-volume  → b.exe B", "8 carried-file-executed a.exe →  → b.exe B", "11 copied b.exe → b.exe B",
			},
		},
		{
			name: "two processes use one account at one time", steps: `
+1s start a
    image C:\a.exe
    parent explorer
+1s start b
    image C:\b.exe
    parent explorer
+1s remotelogon admin
    by a
    to other
    as one
    explicit yes
+9s remotelogon Admin
    by b
    to other
    as two
    explicit yes
+5m remotelogon admin
    by a
    to other
    as three
    explicit yes
+9s remotelogon admin
    by b
    to other
    as four
    tcp 135
    owner b
    explicit yes
+5m remotelogon admin
    by b
    to other
    as five
    tcp 5985
    owner b
    ip -
    port -
`,
			want: []string{
				"16 remote-logon a.exe → admin - no log holds its keys", "16 remote-logon b.exe → Admin - no log holds its keys",
				"16 remote-logon a.exe → admin - no log holds its keys", "16 remote-logon b.exe → admin B",
				"16 remote-logon b.exe → admin - security/4648 on the source",
			},
		},
		{
			name: "injection, pipes, a subscription, a transfer, a package", steps: `
+1s access explorer
    by chrome
    mask 0x1400
+1s access explorer
    by chrome
    mask 0x1fffff
+1s thread explorer
    by chrome
+1s pipe \p
    by chrome
+1s openpipe \P
    by spooler
+1s wmifilter F
    by chrome
    wql SELECT * FROM X
+1s wmiconsumer C
    by chrome
    destination C:\c.exe -x
+1s wmibinding C
    by chrome
    filter F
+1s start c
    image C:\c.exe
    cmdline C:\c.exe -x
    parent wmiprvse
    wmi C
+1s bits Job
    by chrome
    url https://a.example/
    local C:\Temp\j.exe
+5s write C:\Temp\j.exe
    by bits
    job Job
+1s start server
    image C:\Windows\System32\msiexec.exe
    parent services
+1s start client
    image C:\Windows\System32\msiexec.exe
    cmdline msiexec /i C:\p.msi
    parent c
+1s msibegin C:\p.msi
    by client
    server server
+1s write C:\Program Files\P\p.exe
    by server
+1s msiend C:\p.msi
    by client
    product P
+1s write C:\Program Files\P\q.exe
    by server
`,
			want: []string{
				"12 accessed chrome.exe → explorer.exe A", "12 injected chrome.exe → explorer.exe A", "15 pipe-opened spoolsv.exe → chrome.exe A",
				"6 subscription-created chrome.exe → C - no log holds its keys", "6 subscription-ran C → c.exe B",
				"22 bits-written chrome.exe → j.exe A", "23 installer-written msiexec.exe → p.exe B",
			},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			text := small("host other\n    address 192.168.10.99\n-- volumes --\nvolume stick\n    serial 4C530001\n-- contents --\ncontent module\n    program yes\n-- steps --\non pc\nstep 1 it\n" + test.steps)
			b := with(t, "t.txtar", []byte(text), test.set...)
			checkHandoffs(t, b)
			var got []string
			for _, h := range b.Handoffs {
				if h.Row == 1 {
					continue
				}
				s := fmt.Sprintf("%d %s %s → ", h.Row, h.Name, short(h.From))
				if h.Via.Kind != "" {
					s += short(h.Via) + " → "
				}
				s += short(h.To) + " "
				if h.Joinable {
					s += h.Class
				} else {
					s += "- " + h.Missing
				}
				got = append(got, s)
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("got\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(test.want, "\n\t"))
			}
		})
	}
}

func short(s Subject) string {
	if s.Path != "" && s.Name == "" {
		return baseName(s.Path)
	}
	return s.Name
}

func TestRootErrors(t *testing.T) {
	for _, test := range []struct{ steps, want string }{
		{"+1s start x\n    image C:\\x.exe\n    parent explorer\n    root luck\n", "unknown root"},
		{"+1s start x\n    image C:\\x.exe\n    parent explorer\n    root interactive\n+1s start y\n    image C:\\y.exe\n    parent x\n    root download\n", "a scenario has one root"},
		{"+1s setting a\n    before b\n    root download\n", "brings nothing forth"},
		{"+1s start x\n    image C:\\x.exe\n    parent services\n    service None\n", "no step registered service"},
		{"+1s start x\n    image C:\\x.exe\n    parent services\n    logon none\n", `no logon "none"`},
		{"+1s service s\n    image C:\\s.exe\n", "service needs by or logon"},
		{"+1s remotelogon a\n    by explorer\n    to\n    as in\n", "to names nothing"},
		{"+1s msibegin C:\\p.msi\n    by explorer\n    server none\n", `no process "none"`},
		{"+1s remotelogon a\n    by explorer\n    to pc\n    as in\n", "to wants another host"},
		{"+1s write C:\\x\n    by bits\n    job none\n", "no BITS job"},
	} {
		s, err := Parse("t.txtar", []byte(small("-- steps --\non pc\n"+test.steps)))
		if err == nil {
			_, err = s.Build()
		}
		if err == nil || !strings.Contains(err.Error(), test.want) || !strings.HasPrefix(err.Error(), "t.txtar:") {
			t.Errorf("%q: %v", test.want, err)
		}
	}
}

// After a reboot the same programs run as other processes, of another boot, and
// what the background had begun is over.
func TestReboot(t *testing.T) {
	b := with(t, "t.txtar", []byte(small("-- steps --\non pc\nstep 1 it\n+1s start x\n    image C:\\x.exe\n    parent explorer\n    lives 10m\n+5m reboot\n+4m start x\n    image C:\\x.exe\n    parent explorer\n-- background --\ncount 600\nfrom -2m\nto 14m\n")))
	checkNumbers(t, b)
	starts := find(b, "Sysmon", 1, "Image", `C:\x.exe`)
	if len(starts) != 2 || value(t, starts[0], "ParentProcessGuid") == value(t, starts[1], "ParentProcessGuid") || value(t, starts[0], "LogonId") == value(t, starts[1], "LogonId") {
		t.Fatalf("%d starts, or of one boot", len(starts))
	}
	one(t, b, "Sysmon", 1, "Image", `C:\Windows\explorer.exe`, "ProcessGuid", value(t, starts[1], "ParentProcessGuid"))
	in := one(t, b, "Auditing", 4624, "LogonType", "2", "TargetLogonId", value(t, one(t, b, "Sysmon", 1, "Image", `C:\Windows\System32\userinit.exe`), "LogonId"))
	off, on := one(t, b, "Kernel-General", 13).Time, one(t, b, "Kernel-General", 12).Time
	if !off.Before(on) || !on.Before(in.Time) {
		t.Error("off, on and logon are not in order")
	}
	if len(find(b, "Sysmon", 5, "Image", `C:\x.exe`)) != 0 {
		t.Error("a process that the reboot ended has an end on record")
	}
	for _, e := range b.Events {
		l, _ := b.Label(e)
		if l.Instance > 0 && e.Time.After(off.Add(1e9)) && e.Time.Before(on) {
			t.Errorf("the background went on while the computer was off: %s %d", e.Provider, e.ID)
		}
	}
	var after []*event.Event
	for _, e := range b.Events {
		if l, _ := b.Label(e); l.Instance > 0 && e.Time.After(in.Time) {
			after = append(after, e)
		}
	}
	if len(after) < 50 {
		t.Errorf("%d records of the background after the reboot", len(after))
	}
}

// Whatever a step leaves empty, the answer is an error or records, with whatever
// logs are kept.
func TestEmptyValues(t *testing.T) {
	lib, err := loadLibrary()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range slices.Sorted(maps.Keys(lib.verbs)) {
		v := lib.verbs[name]
		for _, full := range []bool{false, true} {
			var b strings.Builder
			b.WriteString("-- steps --\non pc\n+1s " + name)
			if v.subject != "" {
				b.WriteString(" ${empty}")
			}
			b.WriteString("\n")
			for _, k := range v.need {
				value := map[string]string{"by": "explorer", "to": "other", "listener": "system", "server": "system", "as": "x", "letter": "E"}[k]
				if !full {
					value = "${empty}"
				}
				b.WriteString("    " + k + " " + value + "\n")
			}
			for _, logs := range []string{"telemetry system\n", ""} {
				text := strings.Replace(small("host other\n"+b.String()), "-- hosts --", logs+"-- hosts --", 1)
				s, err := Parse("t.txtar", []byte(text))
				if err == nil {
					_, err = s.Build()
				}
				if err != nil && !strings.HasPrefix(err.Error(), "t.txtar:") && !strings.HasPrefix(err.Error(), "templates/") {
					t.Errorf("%s: the error names no place: %v", name, err)
				}
			}
		}
	}
}
