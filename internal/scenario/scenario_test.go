package scenario

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const seedFile = "usb-coinminer.txtar"

func readSeed(t testing.TB) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "..", "testdata", "scenarios", seedFile))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func parse(t testing.TB, name string, data []byte) *Scenario {
	t.Helper()
	s, err := Parse(name, data)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func build(t testing.TB, s *Scenario) *Built {
	t.Helper()
	b, err := s.Build()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// seed builds the shipped scenario after the given changes, name and value in turn.
func seed(t testing.TB, changes ...string) *Built {
	t.Helper()
	s := parse(t, seedFile, readSeed(t))
	for i := 0; i < len(changes); i += 2 {
		if err := s.Set(changes[i], changes[i+1]); err != nil {
			t.Fatal(err)
		}
	}
	return build(t, s)
}

// small is a scenario's text with the given sections after a valid beginning.
func small(sections string) string {
	return "A test, synthetic.\n" + // line 1
		"-- settings --\n" +
		"start 2026-01-02T03:04:05Z\n" +
		"-- hosts --\n" +
		"host pc\n" + // line 5
		sections // line 6 on
}

func TestErrorsNameTheLine(t *testing.T) {
	for _, test := range []struct{ name, text, want string }{
		{"not labelled", "A test.\n-- settings --\n", `t.txtar:1: the text above the first section must say that the scenario is synthetic`},
		{"no start", "synthetic\n-- hosts --\nhost pc\n", `t.txtar: the settings name no start`},
		{"no host", "synthetic\n-- settings --\nstart 2026-01-02T03:04:05Z\n", `t.txtar: no host`},
		{"unknown section", small("-- stepps --\n"), `t.txtar:6: unknown section "stepps": want settings, vary, vars, hosts, volumes, contents, steps, background, expect`},
		{"section twice", small("-- vars --\n-- vars --\n"), `t.txtar:7: section "vars" occurs twice`},
		{"bad time", "synthetic\n-- settings --\nstart monday\n", `t.txtar:3: start wants a time such as 2026-03-02T01:10:00Z, not "monday"`},
		{"unknown setting", "synthetic\n-- settings --\n\n# a remark\nspeed 9\n", `t.txtar:5: unknown setting "speed"`},
		{"unknown log", "synthetic\n-- settings --\ntelemetry sysmon syslog\n", `t.txtar:3: unknown log in "sysmon syslog": want all, sysmon, security, system, kernel, eventlog, tasks, defender, powershell, partition, pnp, wmi, winrm, sessions, rdp, bits, sensor, msi`},
		{"unknown language", "synthetic\n-- settings --\nlanguage xx\n", `t.txtar:3: unknown Windows language "xx": want de, en, ja, ko`},
		{"tab", small("-- vars --\n\tdigits = 1\n"), `t.txtar:7: a tab indents this line: use blanks`},
		{"uneven", small("-- steps --\n+1s end x\n    lost sysmon\n   on pc\n"), `t.txtar:9: indented by 3 blanks, its neighbours are not`},
		{"unknown verb", small("-- steps --\n+1s strat x\n"), `t.txtar:7: unknown verb "strat"`},
		{"no delay", small("-- steps --\nstart x\n"), `t.txtar:7: unknown word "start": a step begins with +DELAY, such as +1.5s, or @TIME after the start`},
		{"bad delay", small("-- steps --\n+1x start x\n"), `t.txtar:7: bad delay "+1x": want such as +1.5s or +20ms`},
		{"back in time", small("-- steps --\n+-1s start x\n"), `t.txtar:7: a step cannot go back in time or wait for more than a year (+-1s)`},
		{"missing key", small("-- steps --\n+1s start x\n"), `t.txtar:7: start needs image`},
		{"missing subject", small("-- steps --\n+1s write\n    by x\n"), `t.txtar:7: write needs its path: +DELAY write PATH`},
		{"unknown key", small("-- steps --\n+1s end x\n    colour red\n"), `t.txtar:8: end has no key "colour"`},
		{"deep key", small("-- steps --\n+1s end x\n    lost sysmon\n        more\n"), `t.txtar:9: "lost" has no keys of its own`},
		{"lost where", small("-- steps --\n+1s end x\n    lost paper\n"), `t.txtar:8: unknown log "paper"`},
		{"repeat", small("-- steps --\n+1s end x\n    repeat 0\n"), `t.txtar:8: repeat wants 1 to 10000`},
		{"step number", small("-- steps --\nstep one\n"), `t.txtar:7: step wants its number, not "one"`},
		{"host key", small("    colour red\n"), `t.txtar:6: unknown key "colour": want name, domain, dnsdomain, user, sid, boot, bootid, machine, address, luid, elevatedluid, logs, system`},
		{"host twice", small("host pc\n"), `t.txtar:6: host "pc" occurs twice`},
		{"holds", small("-- volumes --\nvolume v\n    holds something\n"), `t.txtar:8: want: holds \PATH = CONTENT`},
		{"variable", small("-- vars --\nx 12\n"), `t.txtar:7: variable "x": want = VALUE, in A | B | C, digits N, letters N, hexdigits N or from LOW-HIGH`},
		{"activity", small("-- background --\nwithout sleep\n"), `t.txtar:7: unknown activity "sleep"`},
		{"background", small("-- background --\nfrom 2h\n"), `t.txtar:7: the background ends before it begins`},
		{"expect", small("-- expect --\nincident 1\n"), `t.txtar:7: unknown word "incident": want incidents, root, host, alias, behaviour, hash or steps`},

		// What can only be seen when the scenario is built.
		{"unknown host", small("-- steps --\non mars\n+1s attach v\n    letter E\n"), `t.txtar:8: unknown host "mars": name it with a line "on HOST" before the step`},
		{"unknown variable", small("-- steps --\n+1s start x\n    image C:\\${nothing}.exe\n"), `t.txtar:8: unknown variable "nothing"`},
		{"unknown filter", small("-- steps --\n+1s start x\n    image ${host.name|shout}\n"), `t.txtar:8: variable "host.name": unknown filter "shout"`},
		{"open brace", small("-- steps --\n+1s start x\n    image ${host.name\n"), `t.txtar:8: ${ without } in "${host.name"`},
		{"unknown process", small("-- steps --\n+1s end ghost\n"), `t.txtar:7: no process "ghost" on host pc`},
		{"dead process", small("-- steps --\n+1s end explorer\n+1s write C:\\x\n    by explorer\n"), `t.txtar:8: process "explorer" has ended`},
		{"dead parent", small("-- steps --\n+1s end explorer\n+1s start x\n    image C:\\x.exe\n    parent explorer\n"), `t.txtar:8: process "explorer" has ended`},
		{"reserved", small("-- steps --\n+1s start host\n    image C:\\x.exe\n"), `t.txtar:7: a process cannot be called "host": variables are`},
		{"integrity", small("-- steps --\n+1s start x\n    image C:\\x.exe\n    integrity Huge\n"), `t.txtar:7: unknown integrity "Huge": want Low, Medium, High or System`},
		{"content", small("-- steps --\n+1s write C:\\x\n    by explorer\n    content gold\n"), `t.txtar:7: unknown content "gold"`},
		{"volume", small("-- steps --\n+1s attach v\n    letter E\n"), `t.txtar:7: unknown volume "v"`},
		{"letter", small("-- volumes --\nvolume v\n-- steps --\n+1s attach v\n    letter 7\n"), `t.txtar:9: letter wants one letter, not "7"`},
		{"letter taken", small("-- volumes --\nvolume v\nvolume w\n-- steps --\n+1s attach v\n    letter E\n+1s attach w\n    letter e\n"), `t.txtar:12: drive E: is taken by volume v`},
		{"serial", small("-- volumes --\nvolume v\n    volumeserial xyz\n"), `t.txtar:7: volumeserial: want such as 7A3C-11E0, not "xyz"`},
		{"boot id", small("    bootid 70000\n"), `t.txtar:5: bootid wants a number of at most 16 bits, not "70000"`},
		{"same name", small("    name A\nhost other\n    name a\n"), `t.txtar:7: host other has the name of host pc, a`},
		{"growing", small("-- vars --\na = 0123456789abcdef\n" + strings.Repeat("a = ${a}${a}\n", 0) + growing()), `t.txtar:22: a text grows over 262144 bytes`},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, err := Parse("t.txtar", []byte(test.text))
			if err == nil {
				_, err = s.Build()
			}
			if err == nil {
				t.Fatalf("no error, want %s", test.want)
			}
			if got := err.Error(); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

// growing is a chain of variables, each of which doubles the one before.
func growing() string {
	var b strings.Builder
	for i := range 30 {
		last := "a"
		if i > 0 {
			last = fmt.Sprintf("a%d", i-1)
		}
		fmt.Fprintf(&b, "a%d = ${%s}${%s}\n", i, last, last)
	}
	return b.String()
}

func TestTextBlocks(t *testing.T) {
	lines, err := parseLines("f", 10, "key <<2\n    one\n      two\n\n    three\nnext a << b\n  below x\n")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := lines[0].value(), "  one\n    two\n\n  three"; got != want {
		t.Errorf("block %q, want %q", got, want)
	}
	if got := lines[1]; got.value() != "a << b" || got.line != 15 || len(got.kids) != 1 || got.kids[0].rest != "x" {
		t.Errorf("line after the block: %+v", got)
	}
}

func TestFilters(t *testing.T) {
	for _, test := range []struct{ filter, in, want string }{
		{"hex", "5824", "0x16c0"},
		{"decimal", "0x16c0", "5824"},
		{"pad 4", "7", "0007"},
		{"pad 2", "12345", "12345"},
		{"lower", `C:\Windows \X`, `c:\windows \x`},
		{"base", `C:\Windows \System32`, "System32"},
		{"base", `C:\a\b `, "b "},
		{"dir", `C:\a\b.exe`, `C:\a\`},
		{"rooted", `F:\USB Drive.lnk`, `\USB Drive.lnk`},
		{"xml", `<a> & "b"`, `&lt;a&gt; &amp; &#34;b&#34;`},
		{"crlf", "a\nb", "a\r\nb"},
		{"percent", "%%SystemRoot%", "%%%%SystemRoot%%"},
		{"or -", "", "-"},
		{"or -", "x", "x"},
	} {
		got, err := filter(test.filter, test.in)
		if err != nil || got != test.want {
			t.Errorf("%s of %q is %q, %v; want %q", test.filter, test.in, got, err, test.want)
		}
	}
}

func TestExpectSection(t *testing.T) {
	x := seed(t).Expect
	if x.Incidents != 1 || x.AtLeast != "medium" || x.Root != "volume" {
		t.Errorf("got %+v", x)
	}
	if len(x.Aliases) != 3 || len(x.Steps) != 15 || len(x.Hosts) != 2 || len(x.Hashes) == 0 {
		t.Errorf("got %+v", x)
	}
}

func TestSetRefusesWhatIsNotThere(t *testing.T) {
	s := parse(t, seedFile, readSeed(t))
	if err := s.Set("digitz", "1"); err == nil || !strings.Contains(err.Error(), `unknown setting "digitz"`) {
		t.Errorf("got %v", err)
	}
}
