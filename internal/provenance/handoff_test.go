package provenance

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"ashiato/internal/event"
	"ashiato/internal/world"
)

// handoffCase is a log and the arrows that it must and must not give, as facts
// writes them.
type handoffCase struct {
	name      string
	log       func(*log)
	want, not []string
}

// runHandoffs builds the graph of each case's records as they come, from the last to the
// first and shuffled: the arrows must be the same, and as wanted.
func runHandoffs(t *testing.T, cases []handoffCase) {
	t.Helper()
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var l log
			c.log(&l)
			orders := [][]*event.Event{l.events}
			back := slices.Clone(l.events)
			slices.Reverse(back)
			shuffled := slices.Clone(l.events)
			rand.New(rand.NewPCG(1, 2)).Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
			orders = append(orders, back, shuffled)
			first := ""
			for n, events := range orders {
				b := NewBuilder(world.New(world.Limits{}))
				for _, e := range events {
					b.Add(e)
				}
				g := b.Build()
				all := "\n" + strings.Join(facts(g), "\n") + "\n"
				if n == 0 {
					first = all
					for _, w := range c.want {
						if !strings.Contains(all, "\n"+w+"\n") {
							t.Errorf("no %q in %s", w, all)
						}
					}
					for _, w := range c.not {
						if strings.Contains(all, "\n"+w+"\n") {
							t.Errorf("%q in %s", w, all)
						}
					}
				} else if all != first {
					t.Errorf("another order gives%sinstead of%s", all, first)
				}
			}
		})
	}
}

const (
	powershell = `C:\Windows\System32\WindowsPowerShell\v1.0\powershell.exe`
	wmiprvse   = `C:\Windows\System32\wbem\WmiPrvSE.exe`
)

// on writes what f writes as another host's.
func (l *log) on(host string, f func()) {
	before := l.host
	l.host = host
	f()
	l.host = before
}

// connect writes a Sysmon 3 of a process.
func (l *log) connect(seq int, image, from, port, to, toPort string) *event.Event {
	return l.by(3, seq, image, "Initiated", "true", "SourceIp", from, "SourcePort", port, "DestinationIp", to, "DestinationPort", toPort)
}

// logon writes a 4624.
func (l *log) logon(kind, luid, user, ip, port string, more ...string) *event.Event {
	return l.security(4624, append([]string{
		"TargetLogonId", luid, "LogonType", kind, "TargetUserName", user, "IpAddress", ip, "IpPort", port,
		"LogonGuid", "{00000000-0000-0000-0000-000000000000}", "TargetLinkedLogonId", "0x0", "ProcessId", "0x0", "ProcessName", "-",
	}, more...)...)
}

// write writes a 5145 of a write over a share.
func (l *log) shareWrite(luid, ip, share, local, target string) *event.Event {
	return l.security(5145, "SubjectLogonId", luid, "SubjectUserName", "u", "IpAddress", ip, "IpPort", "5000",
		"ShareName", `\\*\`+share, "ShareLocalPath", local, "RelativeTargetName", target, "AccessMask", "0x17019f")
}

func TestLogons(t *testing.T) {
	remote := func(l *log) {
		l.on("A", func() {
			l.start(2, 1, `C:\tool.exe`, "tool", explorer)
			l.connect(2, `C:\tool.exe`, "192.0.2.7", "50123", "192.0.2.9", "135")
		})
		l.on("B", func() {
			l.logon("3", "0xabc", "u", "192.0.2.7", "50123")
			l.start(3, 9, cmdExe, "cmd", svchost, "LogonId", "0xabc")
		})
	}
	runHandoffs(t, []handoffCase{
		{
			"one connection, two hosts", remote,
			[]string{"tool.exe logged-on u B connection", "u logged-on cmd.exe A logon-id"},
			nil,
		},
		{
			"mapped addresses and clocks apart", func(l *log) {
				l.on("B", func() {
					l.logon("3", "0xabc", "u", "::ffff:192.0.2.7", "50123")
				})
				l.on("A", func() {
					l.start(2, 1, `C:\tool.exe`, "tool", explorer)
					l.connect(2, `C:\tool.exe`, "192.0.2.7", "50123", "192.0.2.9", "135").Time = t0.Add(100 * time.Second)
				})
			},
			[]string{"tool.exe logged-on u B connection"},
			nil,
		},
		{
			"too far apart", func(l *log) {
				l.on("B", func() { l.logon("3", "0xabc", "u", "192.0.2.7", "50123") })
				l.on("A", func() {
					l.start(2, 1, `C:\tool.exe`, "tool", explorer)
					l.connect(2, `C:\tool.exe`, "192.0.2.7", "50123", "192.0.2.9", "135").Time = t0.Add(200 * time.Second)
				})
			},
			nil,
			[]string{"tool.exe logged-on u B connection"},
		},
		{
			"another port, another server", func(l *log) {
				l.on("A", func() {
					l.start(2, 1, `C:\tool.exe`, "tool", explorer)
					l.connect(2, `C:\tool.exe`, "192.0.2.7", "50124", "192.0.2.9", "135")
					l.connect(2, `C:\tool.exe`, "192.0.2.7", "50123", "192.0.2.33", "135")
				})
				// C is known to have the address that the second connection went to.
				l.on("C", func() { l.connect(5, svchost, "192.0.2.33", "1", "192.0.2.1", "2") })
				l.on("B", func() { l.logon("3", "0xabc", "u", "192.0.2.7", "50123") })
			},
			nil,
			[]string{"tool.exe logged-on u B connection"},
		},
		{
			"two programs with that port are two guesses", func(l *log) {
				l.on("A", func() {
					l.start(2, 1, `C:\tool.exe`, "tool", explorer)
					l.start(4, 1, `C:\other.exe`, "other", explorer)
					l.connect(2, `C:\tool.exe`, "192.0.2.7", "50123", "192.0.2.9", "135")
					l.connect(4, `C:\other.exe`, "192.0.2.7", "50123", "192.0.2.9", "135")
				})
				l.on("B", func() { l.logon("3", "0xabc", "u", "192.0.2.7", "50123") })
			},
			[]string{"tool.exe logged-on u C connection", "other.exe logged-on u C connection"},
			nil,
		},
		{
			"the kernel's SMB is no lineage, credentials given by name are", func(l *log) {
				l.on("A", func() {
					l.start(2, 1, `C:\tool.exe`, "tool", explorer)
					l.by(3, 4, "System", "Initiated", "true", "SourceIp", "192.0.2.7", "SourcePort", "50123", "DestinationIp", "192.0.2.9", "DestinationPort", "445")
					l.security(4648, "SubjectLogonId", "0x777", "ProcessId", "0x3ea", "ProcessName", `C:\tool.exe`, "TargetUserName", "U", "TargetServerName", "b.example.org",
						"TargetLogonGuid", "{00000000-0000-0000-0000-000000000000}")
				})
				l.on("B.example.org", func() { l.logon("3", "0xabc", "u", "192.0.2.7", "50123") })
			},
			[]string{"[System logged-on u B connection]", "tool.exe logged-on u B explicit-credentials"},
			nil,
		},
		{
			"credentials for another server, or from another machine than the logon came from", func(l *log) {
				l.on("A", func() {
					l.start(2, 1, `C:\tool.exe`, "tool", explorer)
					l.security(4648, "ProcessId", "0x3ea", "ProcessName", `C:\tool.exe`, "TargetUserName", "u", "TargetServerName", "C")
				})
				l.on("D", func() {
					l.start(2, 1, `C:\d.exe`, "d", explorer)
					l.security(4648, "ProcessId", "0x3ea", "ProcessName", `C:\d.exe`, "TargetUserName", "u", "TargetServerName", "B")
				})
				l.on("A", func() { l.connect(2, `C:\tool.exe`, "192.0.2.7", "1", "192.0.2.8", "2") })
				l.on("B", func() { l.logon("3", "0xabc", "u", "192.0.2.7", "50123") })
			},
			nil,
			[]string{"tool.exe logged-on u B explicit-credentials", "d.exe logged-on u B explicit-credentials"},
		},
		{
			"WinRM: no address is recorded", func(l *log) {
				l.on("A", func() {
					l.start(2, 1, `C:\tool.exe`, "tool", explorer)
					l.security(4648, "ProcessId", "0x3ea", "ProcessName", `C:\tool.exe`, "TargetUserName", "u", "TargetServerName", "B")
				})
				l.on("B", func() {
					l.logon("3", "0xabc", "u", "-", "-", "LogonProcessName", "Kerberos")
					l.logon("3", "0xdef", "v", "-", "-", "LogonProcessName", "Advapi  ") // a program of its own
					l.start(3, 9, powershell, "powershell", svchost, "LogonId", "0xabc")
					l.start(4, 9, cmdExe, "cmd", svchost, "LogonId", "0xdef")
				})
			},
			[]string{"tool.exe logged-on u B explicit-credentials", "u logged-on powershell.exe A logon-id"},
			[]string{"v logged-on cmd.exe A logon-id"},
		},
		{
			"one Kerberos ticket", func(l *log) {
				const ticket = "{11111111-2222-3333-4444-555555555555}"
				l.on("A", func() {
					l.start(2, 1, `C:\tool.exe`, "tool", explorer)
					l.security(4648, "ProcessId", "0x3ea", "ProcessName", `C:\tool.exe`, "TargetUserName", "x", "TargetServerName", "Z", "TargetLogonGuid", ticket)
				})
				l.on("B", func() { l.logon("3", "0xabc", "u", "192.0.2.7", "50123", "LogonGuid", strings.ToUpper(ticket)) })
			},
			// The field's first value is the one that is read.
			nil,
			[]string{"tool.exe logged-on u A logon-guid "},
		},
		{
			"the same LUID after a restart is another session", func(l *log) {
				l.logon("3", "0xabc", "u", "192.0.2.7", "50123")
				l.start(2, 9, cmdExe, "before", svchost, "LogonId", "0xabc")
				l.sysmon(1, "ProcessGuid", "{3f5c91a7-0000-6900-0200-000000000900}", "ProcessId", "3002", "Image", `C:\after.exe`, "CommandLine", "after",
					"ParentProcessGuid", guid(9), "ParentProcessId", "1009", "ParentImage", svchost, "LogonId", "0xabc")
			},
			[]string{"u logged-on cmd.exe A logon-id"},
			[]string{"u logged-on after.exe A logon-id"},
		},
		{
			"addresses of the machine itself, and the system's sessions", func(l *log) {
				l.connect(5, `C:\x.exe`, "fe80::1%4", "1", "192.0.2.1", "2")
				for n, ip := range []string{"::1", "127.0.0.1", "fe80::1", "-"} {
					luid := fmt.Sprintf("0x%d00", n+1)
					l.logon("3", luid, "u", ip, "50123")
					l.start(10+n, 9, cmdExe, "cmd", svchost, "LogonId", luid)
				}
				l.logon("3", "0x3e7", "s", "192.0.2.7", "1")
				l.start(20, 9, cmdExe, "cmd", svchost, "LogonId", "0x3e7")
				l.logon("2", "0x900", "p", "192.0.2.7", "0")
				l.start(21, 9, cmdExe, "cmd", svchost, "LogonId", "0x900")
			},
			nil,
			[]string{"u logged-on cmd.exe A logon-id", "s logged-on cmd.exe A logon-id", "p logged-on cmd.exe A logon-id"},
		},
		{
			"remote desktop, both halves of the logon", func(l *log) {
				l.logon("10", "0xa1", "adm", "198.51.100.4", "0", "TargetLinkedLogonId", "0xa2")
				l.logon("10", "0xa2", "adm", "198.51.100.4", "0", "TargetLinkedLogonId", "0xa1")
				l.start(2, 1, cmdExe, "cmd", explorer, "LogonId", "0xa2")
				l.start(3, 1, powershell, "powershell", explorer, "LogonId", "0xa1")
			},
			[]string{"adm logged-on cmd.exe A logon-id", "adm logged-on powershell.exe A logon-id"},
			nil,
		},
		{
			"remote desktop of which only Terminal Services tells", func(l *log) {
				const lsm = "Microsoft-Windows-TerminalServices-LocalSessionManager"
				l.add(lsm, lsm+"/Operational", 21, "User", `CORP\adm`, "SessionID", "3", "Address", "198.51.100.4")
				l.start(2, 1, cmdExe, "cmd", explorer, "LogonId", "0xa2", "TerminalSessionId", "3", "User", `CORP\adm`)
				l.start(3, 1, powershell, "powershell", explorer, "LogonId", "0xa2", "TerminalSessionId", "3", "User", `CORP\other`)
				l.add(lsm, lsm+"/Operational", 24, "User", `CORP\adm`, "SessionID", "3", "Address", "198.51.100.4")
				l.start(4, 1, `C:\late.exe`, "late", explorer, "LogonId", "0xa2", "TerminalSessionId", "3", "User", `CORP\adm`)
				l.add(lsm, lsm+"/Operational", 21, "User", `CORP\here`, "SessionID", "1", "Address", "LOCAL")
				l.start(5, 1, `C:\here.exe`, "here", explorer, "TerminalSessionId", "1", "User", `CORP\here`)
			},
			[]string{`CORP\adm logged-on cmd.exe B terminal-session`},
			[]string{
				`CORP\adm logged-on powershell.exe B terminal-session`, `CORP\adm logged-on late.exe B terminal-session`,
				`CORP\here logged-on here.exe B terminal-session`,
			},
		},
		{
			"somebody came back to a session that was there before", func(l *log) {
				l.start(2, 1, `C:\before.exe`, "before", explorer, "LogonId", "0xa2")
				l.security(4778, "AccountName", "adm", "AccountDomain", "CORP", "LogonID", "0xa2", "SessionName", "RDP-Tcp#0", "ClientName", "elsewhere", "ClientAddress", "198.51.100.4")
				l.start(3, 1, cmdExe, "cmd", explorer, "LogonId", "0xa2")
				l.security(4779, "AccountName", "adm", "AccountDomain", "CORP", "LogonID", "0xa2", "SessionName", "RDP-Tcp#0", "ClientName", "elsewhere", "ClientAddress", "198.51.100.4")
				l.start(4, 1, `C:\left.exe`, "left", explorer, "LogonId", "0xa2")
				l.security(4778, "AccountName", "adm", "AccountDomain", "CORP", "LogonID", "0xa2", "SessionName", "Console", "ClientName", "PC", "ClientAddress", "LOCAL")
				l.start(5, 1, `C:\here.exe`, "here", explorer, "LogonId", "0xa2")
			},
			[]string{"adm logged-on cmd.exe A logon-id"},
			[]string{"adm logged-on before.exe A logon-id", "adm logged-on left.exe A logon-id", "adm logged-on here.exe A logon-id"},
		},
		{
			"both halves of the logon that somebody came back to", func(l *log) {
				for _, half := range [][2]string{{"0xa1", "0xa2"}, {"0xa2", "0xa1"}} {
					l.security(4624, "TargetLogonId", half[0], "LogonType", "2", "TargetUserName", "adm", "IpAddress", "127.0.0.1", "TargetLinkedLogonId", half[1])
				}
				l.security(4778, "AccountName", "adm", "AccountDomain", "CORP", "LogonID", "0xa2", "SessionName", "RDP-Tcp#0", "ClientAddress", "198.51.100.4")
				l.start(3, 1, cmdExe, "cmd", explorer, "LogonId", "0xa1")
			},
			[]string{"adm logged-on cmd.exe A logon-id"},
			nil,
		},
		{
			"a remote desktop session of which only its clipboard and the connection tell", func(l *log) {
				l.on("A", func() {
					l.start(2, 1, `C:\Windows\System32\mstsc.exe`, "mstsc /v:B", explorer)
					l.connect(2, `C:\Windows\System32\mstsc.exe`, "192.0.2.7", "50123", "192.0.2.8", "3389")
				})
				l.on("B", func() {
					l.start(8, 1, `C:\before.exe`, "before", explorer, "LogonId", "0x7b")
					l.by(3, 9, svchost, "Initiated", "false", "SourceIp", "192.0.2.7", "SourcePort", "50123", "DestinationIp", "192.0.2.8", "DestinationPort", "3389")
					l.start(3, 9, `C:\Windows\System32\rdpclip.exe`, "rdpclip", svchost, "LogonId", "0x7b", "User", `CORP\adm`)
					l.start(4, 1, cmdExe, "cmd", explorer, "LogonId", "0x7b")
				})
			},
			[]string{"mstsc.exe logged-on adm B connection", "adm logged-on cmd.exe A logon-id"},
			[]string{"adm logged-on before.exe A logon-id"},
		},
		{
			"two machines had connected: it could be either", func(l *log) {
				for _, ip := range []string{"192.0.2.7", "192.0.2.9"} {
					l.by(3, 9, svchost, "Initiated", "false", "SourceIp", ip, "SourcePort", "50123", "DestinationIp", "192.0.2.8", "DestinationPort", "3389")
				}
				l.start(3, 9, `C:\Windows\System32\rdpclip.exe`, "rdpclip", svchost, "LogonId", "0x7b", "User", `CORP\adm`)
				l.start(4, 1, cmdExe, "cmd", explorer, "LogonId", "0x7b")
			},
			nil,
			[]string{"adm logged-on cmd.exe A logon-id"},
		},
		{
			"credentials of another's choice", func(l *log) {
				l.start(2, 1, `C:\Windows\System32\runas.exe`, "runas /user:x cmd", explorer, "LogonId", "0x500")
				l.logon("2", "0x700", "x", "::1", "0", "LogonProcessName", "seclogo", "SubjectLogonId", "0x500")
				l.start(3, 2, cmdExe, "cmd", `C:\Windows\System32\runas.exe`, "LogonId", "0x700")
				l.start(4, 3, `C:\child.exe`, "child", cmdExe, "LogonId", "0x700")
			},
			[]string{"runas.exe logged-on x A requester", "x logged-on cmd.exe A credentials-logon-id"},
			[]string{"x logged-on child.exe A credentials-logon-id", "x logged-on cmd.exe A logon-id"},
		},
	})
}

func TestShares(t *testing.T) {
	runHandoffs(t, []handoffCase{
		{
			"copied over the administrative share, then run", func(l *log) {
				l.logon("3", "0xabc", "u", "192.0.2.7", "50123")
				l.shareWrite("0xabc", "192.0.2.7", "C$", `\??\C:\`, `ProgramData\A.exe`)
				l.by(11, 4, "System", "TargetFilename", `C:\ProgramData\a.exe`)
				l.start(3, 9, `C:\ProgramData\a.exe`, "a", svchost)
			},
			[]string{"u wrote A.exe A share-write", "[System wrote A.exe A own-record]", "A.exe executed a.exe B file-written-then-executed"},
			nil,
		},
		{
			"where the share lies: by its name, or as it was made", func(l *log) {
				l.logon("3", "0xabc", "u", "192.0.2.7", "50123")
				l.shareWrite("0xabc", "192.0.2.7", "ADMIN$", "", `b.exe`)
				l.start(3, 9, `C:\Windows\b.exe`, "b", svchost)
				l.security(5142, "ShareName", `\\*\data`, "ShareLocalPath", `D:\d`)
				l.shareWrite("0xabc", "192.0.2.7", "data", "", `c.exe`)
				l.start(4, 9, `D:\d\c.exe`, "c", svchost)
			},
			[]string{"b.exe executed b.exe B file-written-then-executed", "c.exe executed c.exe B file-written-then-executed", "u wrote c.exe A share-write"},
			nil,
		},
		{
			"a share of which nothing is known: a guess", func(l *log) {
				l.logon("3", "0xabc", "u", "192.0.2.7", "50123")
				l.shareWrite("0xabc", "192.0.2.7", "data", "", `x\c.exe`)
				l.by(11, 4, "System", "TargetFilename", `E:\d\x\c.exe`)
				l.by(11, 4, "System", "TargetFilename", `E:\d\y\c.exe`)
			},
			[]string{"u wrote c.exe C share-name"},
			[]string{"u wrote c.exe A share-write"},
		},
		{
			"a logon that is not recorded, and one of this machine", func(l *log) {
				l.shareWrite("0xabc", "192.0.2.7", "C$", `\??\C:\`, `a.exe`)
				l.start(3, 9, `C:\a.exe`, "a", svchost)
				l.start(4, 9, cmdExe, "cmd", svchost, "LogonId", "0xabc")
				l.shareWrite("0xdef", "::1", "C$", `\??\C:\`, `b.exe`)
				l.start(5, 9, `C:\b.exe`, "b", svchost)
			},
			[]string{"u wrote a.exe A share-write", "u logged-on cmd.exe A logon-id"},
			[]string{"u wrote b.exe A share-write"},
		},
		{
			"reading is no writing", func(l *log) {
				l.logon("3", "0xabc", "u", "192.0.2.7", "50123")
				l.security(5145, "SubjectLogonId", "0xabc", "IpAddress", "192.0.2.7", "ShareName", `\\*\C$`, "ShareLocalPath", `\??\C:\`, "RelativeTargetName", `a.exe`, "AccessMask", "0x120089")
				l.start(3, 9, `C:\a.exe`, "a", svchost)
			},
			nil,
			[]string{"u wrote a.exe A share-write"},
		},
		{
			"the service manager's pipe: a guess only where nothing says who it was", func(l *log) {
				l.logon("3", "0xabc", "u", "192.0.2.7", "50123")
				l.security(5145, "SubjectLogonId", "0xabc", "IpAddress", "192.0.2.7", "ShareName", `\\*\IPC$`, "RelativeTargetName", `svcctl`, "AccessMask", "0x12019f")
				l.add("Service Control Manager", "System", 7045, "ServiceName", "N", "ImagePath", `C:\n.exe`)
				l.security(4697, "ServiceName", "M", "ServiceFileName", `C:\m.exe`, "SubjectLogonId", "0xabc")
			},
			[]string{"u registered N C control-pipe", "u registered M A logon-id"},
			[]string{"u registered M C control-pipe"},
		},
		{
			"two who held the pipe open are two guesses, one long before is none", func(l *log) {
				for n, luid := range []string{"0xabc", "0xdef", "0x999"} {
					user := string(rune('u' + n))
					e := l.logon("3", luid, user, "192.0.2.7", fmt.Sprint(50123+n))
					x := l.security(5145, "SubjectLogonId", luid, "IpAddress", "192.0.2.7", "ShareName", `\\*\IPC$`, "RelativeTargetName", `svcctl`, "AccessMask", "0x12019f")
					if n == 2 {
						e.Time, x.Time = t0.Add(-time.Hour), t0.Add(-time.Hour)
					}
				}
				l.add("Service Control Manager", "System", 7045, "ServiceName", "N", "ImagePath", `C:\n.exe`)
			},
			[]string{"u registered N C control-pipe", "v registered N C control-pipe"},
			[]string{"w registered N C control-pipe"},
		},
	})
}

// TestOtherMachinesByTheirCommandLines holds the hand-offs between machines that
// only a command line on the one and the effect on the other tell of.
func TestOtherMachinesByTheirCommandLines(t *testing.T) {
	written := func(l *log, path string) {
		l.on("B", func() {
			l.sysmon(11, "ProcessGuid", guid(99), "ProcessId", "4", "Image", "System", "TargetFilename", path)
		})
	}
	service := func(l *log, name, image string) {
		l.on("B", func() {
			l.sysmon(13, "TargetObject", `HKLM\System\CurrentControlSet\Services\`+name+`\ImagePath`, "Details", image, "Image", services)
		})
	}
	runHandoffs(t, []handoffCase{
		{
			"a copy to a share, a service, a task", func(l *log) {
				l.on("A", func() {
					l.start(2, 1, cmdExe, `cmd.exe /c copy C:\t\a.exe \\B\ADMIN$\Temp\a.exe`, explorer)
					l.start(3, 1, `C:\Windows\System32\sc.exe`, `sc \\B create Svc binPath= "C:\Windows\Temp\a.exe -d"`, explorer)
					l.start(4, 1, `C:\Windows\System32\schtasks.exe`, `schtasks /create /s B /tn T /tr C:\Windows\Temp\a.exe`, explorer)
				})
				written(l, `C:\Windows\Temp\a.exe`)
				service(l, "Svc", `C:\Windows\Temp\a.exe -d`)
				l.on("B", func() {
					l.by(11, 98, svchost, "TargetFilename", `C:\Windows\System32\Tasks\T`)
					l.start(5, 97, `C:\Windows\Temp\a.exe`, `C:\Windows\Temp\a.exe -d`, services)
				})
			},
			[]string{"cmd.exe wrote a.exe B share-path", "sc.exe registered Svc B command-line", "schtasks.exe registered T B command-line", "Svc ran a.exe B service-image"},
			nil,
		},
		{
			"another machine, another path, long after, by a program there", func(l *log) {
				l.on("C", func() { l.start(9, 8, cmdExe, "cmd", explorer) })
				l.on("A", func() {
					l.start(2, 1, cmdExe, `cmd.exe /c copy C:\t\a.exe \\C\ADMIN$\Temp\a.exe`, explorer)
					l.start(3, 1, cmdExe, `cmd.exe /c copy C:\t\a.exe \\B\ADMIN$\a.exe`, explorer)
					l.start(4, 1, cmdExe, `cmd.exe /c copy C:\t\a.exe \\B\ADMIN$\Temp\b.exe`, explorer)
					l.start(5, 1, `C:\Windows\System32\sc.exe`, `sc \\C create Svc binPath= C:\a.exe`, explorer)
				})
				written(l, `C:\Windows\Temp\a.exe`)
				service(l, "Svc", `C:\a.exe`)
				l.on("B", func() {
					l.start(6, 1, cmdExe, "cmd", explorer)
					l.by(11, 6, cmdExe, "TargetFilename", `C:\Windows\Temp\b.exe`)
				})
			},
			nil,
			[]string{"cmd.exe wrote a.exe B share-path", "cmd.exe wrote b.exe B share-path", "sc.exe registered Svc B command-line"},
		},
		{
			"the record of the share knows better", func(l *log) {
				l.on("A", func() {
					l.start(3, 1, `C:\Windows\System32\sc.exe`, `sc \\B create Svc binPath= C:\a.exe`, explorer)
				})
				l.on("B", func() {
					l.logon("3", "0xabc", "u", "192.0.2.7", "50123")
					l.security(4697, "ServiceName", "Svc", "ServiceFileName", `C:\a.exe`, "SubjectLogonId", "0xabc", "ClientProcessId", "0", "ClientProcessStartKey", "0")
				})
			},
			[]string{"u registered Svc A logon-id"},
			[]string{"sc.exe registered Svc B command-line"},
		},
	})
}

func TestPipes(t *testing.T) {
	pipe := func(l *log, id uint32, seq int, image, name string) { l.by(id, seq, image, "PipeName", name) }
	runHandoffs(t, []handoffCase{
		{
			"client and server", func(l *log) {
				pipe(l, 17, 2, `C:\server.exe`, `\secret`)
				pipe(l, 18, 3, `C:\client.exe`, `\SECRET`)
			},
			[]string{"client.exe connected server.exe A pipe-name"},
			nil,
		},
		{
			"Windows' own pipes, and pipes without a name", func(l *log) {
				for _, name := range []string{`\lsass`, `<Anonymous Pipe>`, `\mojo.1.2.3`, ``} {
					pipe(l, 17, 2, `C:\server.exe`, name)
					pipe(l, 18, 3, `C:\client.exe`, name)
				}
			},
			nil,
			[]string{"client.exe connected server.exe A pipe-name"},
		},
		{
			"two servers are two guesses", func(l *log) {
				pipe(l, 17, 2, `C:\server.exe`, `\p`)
				pipe(l, 17, 4, `C:\other.exe`, `\p`)
				pipe(l, 18, 3, `C:\client.exe`, `\p`)
			},
			[]string{"client.exe connected server.exe C pipe-name", "client.exe connected other.exe C pipe-name"},
			nil,
		},
		{
			"a pipe that is made later, and one that everybody uses", func(l *log) {
				pipe(l, 18, 3, `C:\client.exe`, `\p`)
				l.start(90, 91, `C:\between.exe`, "x", explorer)
				l.start(92, 91, `C:\between.exe`, "x", explorer)
				pipe(l, 17, 2, `C:\server.exe`, `\p`)
				pipe(l, 17, 5, `C:\service.exe`, `\q`)
				for n := range maxClients + 1 {
					pipe(l, 18, 10+n, `C:\user.exe`, `\q`)
				}
			},
			nil,
			[]string{"client.exe connected server.exe A pipe-name", "user.exe connected service.exe A pipe-name"},
		},
	})
}

// TestPipesNamedForTheirClient holds the hand-off that the pipes of PsExec's service
// tell of: which process, on which machine, it serves.
func TestPipesNamedForTheirClient(t *testing.T) {
	const tool, command = `C:\t\px.exe`, `px.exe \\B cmd`
	serve := func(l *log, name string) {
		l.on("B", func() {
			l.start(7, 6, `C:\Windows\svc-x.exe`, `C:\Windows\svc-x.exe`, services)
			l.by(17, 7, `C:\Windows\svc-x.exe`, "PipeName", name)
		})
	}
	end := func(l *log, seq int) {
		l.on("A", func() { l.by(5, seq, tool) })
	}
	const joined, guessed = "px.exe connected svc-x.exe B pipe-client", "px.exe connected svc-x.exe C pipe-client"
	runHandoffs(t, []handoffCase{
		{
			"a renamed service, on another machine with a hyphen in its name", func(l *log) {
				l.on("WS-7.corp", func() { l.start(2, 1, tool, command, cmdExe) })
				serve(l, `\SVC-X-WS-7-1002-stdout`)
			},
			[]string{joined},
			nil,
		},
		{
			"on its own machine", func(l *log) {
				l.on("B", func() { l.start(2, 1, tool, command, cmdExe) })
				serve(l, `\svc-x-B-1002-stdin`)
			},
			[]string{joined},
			nil,
		},
		{
			"the client's clock is a minute fast", func(l *log) {
				l.on("A", func() { e := l.start(2, 1, tool, command, cmdExe); e.Time = e.Time.Add(time.Minute) })
				serve(l, `\svc-x-A-1002-stdin`)
			},
			[]string{joined},
			nil,
		},
		{
			"two processes had the id at about that time", func(l *log) {
				l.on("A", func() { l.start(2, 1, tool, command, cmdExe) })
				end(l, 2)
				l.on("A", func() {
					e := l.start(3, 1, tool, command, cmdExe)
					e.Data[1].Value = "1002"
				})
				serve(l, `\svc-x-A-1002-stdin`)
			},
			[]string{guessed},
			[]string{joined},
		},
		{
			"a process that names no machine, one of another id, one that ended long before", func(l *log) {
				l.on("A", func() {
					l.start(2, 1, tool, "px.exe cmd", cmdExe)
					l.start(3, 1, tool, command, cmdExe)
					l.start(4, 1, tool, command, cmdExe)
				})
				end(l, 4)
				l.wait(180)
				serve(l, `\svc-x-A-1002-stdin`)
				serve(l, `\svc-x-A-1004-stdin`)
			},
			nil,
			[]string{joined, guessed},
		},
		{
			"a pipe that is named otherwise, or after another program, or for a machine that nobody knows", func(l *log) {
				l.on("A", func() { l.start(2, 1, tool, command, cmdExe) })
				for _, name := range []string{`\svc-x-A-1002`, `\svc-x-A-1002-stdin-2`, `\other-A-1002-stdin`, `\svc-x-C-1002-stdin`, `\svc-x--1002-stdin`, `\svc-x-A-99999999999-stdin`} {
					serve(l, name)
				}
			},
			nil,
			[]string{joined, guessed},
		},
	})
}

func TestAccesses(t *testing.T) {
	access := func(l *log, from, to int, rights string) *event.Event {
		return l.sysmon(10, "SourceProcessGUID", guid(from), "SourceProcessId", fmt.Sprint(1000+from), "SourceImage", `C:\a.exe`,
			"TargetProcessGUID", guid(to), "TargetProcessId", fmt.Sprint(1000+to), "TargetImage", `C:\b.exe`, "GrantedAccess", rights)
	}
	processes := func(l *log) {
		l.start(2, 1, `C:\a.exe`, "a", explorer)
		l.start(3, 1, `C:\b.exe`, "b", explorer)
	}
	runHandoffs(t, []handoffCase{
		{
			"rights to write and run", func(l *log) { processes(l); access(l, 2, 3, "0x1438") },
			[]string{"a.exe accessed b.exe A write-access"},
			nil,
		},
		{
			"rights to read only", func(l *log) { processes(l); access(l, 2, 3, "0x1410") },
			nil,
			[]string{"a.exe accessed b.exe A write-access"},
		},
		{
			"the rights of a start are not another's", func(l *log) { processes(l); access(l, 2, 3, "0x1fffff") },
			nil,
			[]string{"a.exe accessed b.exe A write-access", "[a.exe accessed b.exe A write-access]"},
		},
		{
			"a child of its own", func(l *log) {
				l.start(2, 1, `C:\a.exe`, "a", explorer)
				l.start(3, 2, `C:\b.exe`, "b", `C:\a.exe`)
				access(l, 2, 3, "0x1438")
			},
			nil,
			[]string{"a.exe accessed b.exe A write-access"},
		},
		{
			"lsass is a hub", func(l *log) {
				l.start(2, 1, `C:\a.exe`, "a", explorer)
				l.sysmon(10, "SourceProcessGUID", guid(2), "SourceImage", `C:\a.exe`, "TargetProcessGUID", guid(4), "TargetProcessId", "700",
					"TargetImage", `C:\Windows\System32\lsass.exe`, "GrantedAccess", "0x143a")
			},
			[]string{"[a.exe accessed lsass.exe A write-access]"},
			nil,
		},
		{
			"one that opens everything", func(l *log) {
				l.start(2, 1, `C:\a.exe`, "a", explorer)
				for n := range maxOpened + 1 {
					l.start(10+n, 1, `C:\b.exe`, "b", explorer)
				}
				for n := range maxOpened + 1 {
					access(l, 2, 10+n, "0x1438")
				}
			},
			nil,
			[]string{"a.exe accessed b.exe A write-access"},
		},
		{
			"a newborn's image was replaced", func(l *log) {
				l.start(2, 1, `C:\a.exe`, "a", explorer)
				l.start(3, 2, svchost, "svchost", `C:\a.exe`)
				l.by(25, 3, svchost, "Type", "Image is replaced")
			},
			[]string{"a.exe injected svchost.exe B newborn-tampered"},
			nil,
		},
	})
}

func TestPersistence(t *testing.T) {
	set := func(l *log, seq int, object, data string) {
		l.by(13, seq, `C:\drop.exe`, "EventType", "SetValue", "TargetObject", object, "Details", data)
	}
	const class = `HKU\S-1-5-21-1_Classes\CLSID\{AAAAAAAA-0000-0000-0000-000000000000}\InprocServer32\`
	runHandoffs(t, []handoffCase{
		{
			"a COM class is redirected", func(l *log) {
				l.start(2, 1, `C:\drop.exe`, "drop", explorer)
				set(l, 2, class+`(Default)`, `%%ProgramData%%\x.dll`)
				set(l, 2, class+`ThreadingModel`, `Both`)
				l.start(3, 9, `C:\user.exe`, "user", explorer)
				l.by(7, 3, `C:\user.exe`, "ImageLoaded", `C:\ProgramData\X.dll`)
			},
			[]string{"drop.exe configured (Default) A own-record", "(Default) loaded user.exe B registry-module"},
			[]string{"drop.exe configured ThreadingModel A own-record"},
		},
		{
			"another module, or one loaded before, or after the value was changed", func(l *log) {
				l.start(2, 1, `C:\drop.exe`, "drop", explorer)
				l.by(7, 3, `C:\early.exe`, "ImageLoaded", `C:\x.dll`)
				for range 5 {
					l.start(90, 91, `C:\between.exe`, "x", explorer)
				}
				set(l, 2, class+`(Default)`, `C:\x.dll`)
				l.by(7, 4, `C:\wrong.exe`, "ImageLoaded", `C:\y.dll`)
				set(l, 2, class+`(Default)`, `C:\z.dll`)
				l.by(7, 5, `C:\late.exe`, "ImageLoaded", `C:\x.dll`)
			},
			nil,
			[]string{
				"(Default) loaded early.exe B registry-module", "(Default) loaded wrong.exe B registry-module", "(Default) loaded late.exe B registry-module",
			},
		},
		{
			"a debugger in a program's place", func(l *log) {
				l.start(2, 1, `C:\drop.exe`, "drop", explorer)
				set(l, 2, `HKLM\SOFTWARE\Microsoft\Windows NT\CurrentVersion\Image File Execution Options\sethc.exe\Debugger`, `C:\evil.exe /x`)
				l.start(3, 9, `C:\evil.exe`, `C:\evil.exe /x sethc.exe 211`, `C:\Windows\System32\winlogon.exe`)
				l.start(4, 9, `C:\evil.exe`, `C:\evil.exe /y sethc.exe`, explorer)
			},
			[]string{"Debugger started evil.exe B registry-debugger"},
			nil,
		},
		{
			"a shell's command is redirected, with what it was given", func(l *log) {
				l.start(2, 1, `C:\drop.exe`, "drop", explorer)
				set(l, 2, `HKU\S-1-5-21-1_Classes\ms-settings\shell\open\command\(Default)`, `C:\u.exe`)
				l.start(3, 9, `C:\u.exe`, `"C:\u.exe" x`, `C:\Windows\System32\fodhelper.exe`)
			},
			[]string{"(Default) started u.exe B registry-command"},
			nil,
		},
		{
			"Windows' own programs are started all day", func(l *log) {
				l.start(2, 1, `C:\drop.exe`, "drop", explorer)
				set(l, 2, `HKU\S-1-5-21-1_Classes\mscfile\shell\open\command\(Default)`, cmdExe)
				l.start(3, 9, cmdExe, cmdExe, explorer)
			},
			nil,
			[]string{"(Default) started cmd.exe B registry-command"},
		},
		{
			"by one that elevates without asking", func(l *log) {
				l.start(2, 1, `C:\drop.exe`, "drop", explorer)
				set(l, 2, `HKU\S-1-5-21-1_Classes\mscfile\shell\open\command\(Default)`, cmdExe)
				l.start(3, 9, cmdExe, cmdExe, `C:\Windows\System32\CompMgmtLauncher.exe`)
			},
			[]string{"(Default) started cmd.exe B registry-command"},
			nil,
		},
		{
			"the shell of logons, from a file that was written; only winlogon's children count", func(l *log) {
				l.start(2, 1, `C:\drop.exe`, "drop", explorer)
				l.by(11, 2, `C:\drop.exe`, "TargetFilename", `C:\s.exe`)
				set(l, 2, `HKLM\SOFTWARE\Microsoft\Windows NT\CurrentVersion\Winlogon\Shell`, `explorer.exe, C:\s.exe`)
				l.start(3, 9, `C:\s.exe`, `C:\s.exe`, `C:\Windows\System32\userinit.exe`)
				l.start(4, 9, `C:\s.exe`, `C:\s.exe`, cmdExe)
			},
			[]string{"s.exe registered Shell B registry-data", "Shell started s.exe B registry-command"},
			nil,
		},
		{
			"a print monitor by its name", func(l *log) {
				l.start(2, 1, `C:\drop.exe`, "drop", explorer)
				set(l, 2, `HKLM\System\CurrentControlSet\Control\Print\Monitors\M\Driver`, `m.dll`)
				l.start(3, 9, `C:\Windows\System32\spoolsv.exe`, "spoolsv", services)
				l.by(7, 3, `C:\Windows\System32\spoolsv.exe`, "ImageLoaded", `C:\Windows\System32\m.dll`)
				l.by(7, 4, `C:\Windows\System32\notepad.exe`, "ImageLoaded", `C:\Windows\System32\m.dll`)
			},
			[]string{"Driver loaded spoolsv.exe B registry-module"},
			[]string{"Driver loaded notepad.exe B registry-module"},
		},
		{
			"a logon script, after a restart", func(l *log) {
				l.start(2, 1, `C:\drop.exe`, "drop", explorer)
				set(l, 2, `HKU\S-1-5-21-1\Environment\UserInitMprLogonScript`, `C:\l.bat`)
				l.sysmon(1, "ProcessGuid", "{3f5c91a7-0000-6900-0200-000000000900}", "ProcessId", "3002", "Image", cmdExe, "CommandLine", `C:\l.bat`,
					"ParentProcessGuid", guid(9), "ParentProcessId", "1009", "ParentImage", `C:\Windows\System32\userinit.exe`)
			},
			[]string{"UserInitMprLogonScript started cmd.exe B registry-command"},
			nil,
		},
		{
			"the Startup folder", func(l *log) {
				const folder = `C:\Users\u\AppData\Roaming\Microsoft\Windows\Start Menu\Programs\Startup\`
				l.start(2, 1, `C:\drop.exe`, "drop", explorer)
				l.by(11, 2, `C:\drop.exe`, "TargetFilename", folder+`a.unk`)
				l.start(3, 9, `C:\viewer.exe`, `C:\viewer.exe "`+folder+`a.unk"`, explorer)
				l.start(4, 9, `C:\viewer.exe`, `C:\viewer.exe "`+folder+`a.unk"`, cmdExe)
				l.start(5, 9, `C:\viewer.exe`, `C:\viewer.exe "`+folder+`b.unk"`, explorer)
			},
			[]string{"drop.exe wrote a.unk A own-record", "a.unk started viewer.exe B startup-folder"},
			nil,
		},
	})
}

func TestRelated(t *testing.T) {
	runHandoffs(t, []handoffCase{
		{
			"the same content, place and account on two hosts are hints", func(l *log) {
				for n, host := range []string{"A", "B"} {
					l.on(host, func() {
						l.start(2, 1, `C:\d.exe`, "d", explorer)
						l.by(29, 2, `C:\d.exe`, "TargetFilename", fmt.Sprintf(`C:\%d.exe`, n), "Hashes", "SHA256=AB")
						l.connect(2, `C:\d.exe`, "192.0.2.7", "1", "203.0.113.9", "443")
						l.logon("3", "0xabc", "adm", "198.51.100.1", fmt.Sprint(100+n))
						l.start(3, 9, cmdExe, "cmd", svchost, "LogonId", "0xabc")
					})
				}
			},
			[]string{"[0.exe related 1.exe C same-hash]", "[d.exe related d.exe C same-destination]", "[adm related adm C same-account]"},
			nil,
		},
		{
			"what is on every system, or private, is none", func(l *log) {
				for _, host := range []string{"A", "B"} {
					l.on(host, func() {
						l.start(2, 1, cmdExe, "cmd", explorer, "Hashes", "SHA256=AB")
						l.connect(2, cmdExe, "192.0.2.7", "1", "10.0.0.1", "443")
					})
				}
			},
			nil,
			[]string{"[cmd.exe related cmd.exe C same-hash]", "[cmd.exe related cmd.exe C same-destination]"},
		},
	})
}

func TestChosenParents(t *testing.T) {
	kernel := func(l *log, seq, parent, real int) {
		e := l.add("Microsoft-Windows-Kernel-Process", "Microsoft-Windows-Kernel-Process/Analytic", 1, "ProcessID", fmt.Sprint(1000+seq),
			"ParentProcessID", fmt.Sprint(1000+parent), "ImageName", `\Device\HarddiskVolume3\x\c.exe`)
		e.PID = uint32(1000 + real)
	}
	runHandoffs(t, []handoffCase{
		{
			"a parent chosen by the creator", func(l *log) {
				l.start(2, 1, `C:\a.exe`, "a", explorer)
				l.start(3, 1, `C:\b.exe`, "b", explorer)
				l.start(4, 3, `C:\x\c.exe`, "c", `C:\b.exe`)
				kernel(l, 4, 3, 2)
			},
			[]string{"a.exe started c.exe A creator-pid", "[b.exe started c.exe A parent-guid]"},
			nil,
		},
		{
			"the parent itself, and a broker on its behalf", func(l *log) {
				l.start(2, 1, svchost, "svchost -k netsvcs", services)
				l.start(3, 1, `C:\b.exe`, "b", explorer)
				l.start(4, 3, `C:\x\c.exe`, "c", `C:\b.exe`)
				kernel(l, 4, 3, 3)
				l.start(5, 3, `C:\x\c.exe`, "c", `C:\b.exe`)
				kernel(l, 5, 3, 2)
			},
			[]string{"b.exe started c.exe A parent-guid"},
			[]string{"svchost.exe started c.exe A creator-pid"},
		},
	})
}

func TestRecentDocuments(t *testing.T) {
	var l log
	l.attach("AAA")
	l.start(2, 1, `C:\Windows\System32\wscript.exe`, `wscript "E:\d\a.vbs"`, explorer)
	lnk := l.by(11, 1, explorer, "TargetFilename", `C:\Users\u\AppData\Roaming\Microsoft\Windows\Recent\a.lnk`)
	other := l.by(11, 1, explorer, "TargetFilename", `C:\Users\u\AppData\Roaming\Microsoft\Windows\Recent\b.lnk`)
	found := false
	for _, e := range l.graph().Edges() {
		if e.Verb != Interpreted {
			continue
		}
		found = true
		if !slices.Contains(e.Evidence, lnk.Ref) || slices.Contains(e.Evidence, other.Ref) || e.Count != 1 || e.Class != ClassB {
			t.Errorf("%+v", e)
		}
	}
	if !found {
		t.Error("no script")
	}
}

func TestMarksOfHandoffs(t *testing.T) {
	var l log
	l.start(2, 1, `C:\tool.exe`, "tool", explorer)
	explicit := l.security(4648, "ProcessId", "0x3ea", "ProcessName", `C:\tool.exe`, "TargetUserName", "u", "TargetServerName", "B")
	server := l.by(17, 2, `C:\tool.exe`, "PipeName", `\p`)
	client := l.by(18, 3, `C:\client.exe`, "PipeName", `\p`)
	l.host = "B"
	open := l.logon("3", "0xabc", "u", "192.0.2.7", "50123")
	share := l.security(5140, "SubjectLogonId", "0xabc", "SubjectUserName", "u", "IpAddress", "192.0.2.7", "ShareName", `\\*\C$`)
	write := l.shareWrite("0xabc", "192.0.2.7", "C$", `\??\C:\`, `a.exe`)
	read := l.security(5145, "SubjectLogonId", "0xdef", "SubjectUserName", "v", "IpAddress", "192.0.2.7", "ShareName", `\\*\C$`, "RelativeTargetName", "x", "AccessMask", "0x80")
	again := l.security(5145, "SubjectLogonId", "0xdef", "SubjectUserName", "v", "IpAddress", "192.0.2.7", "ShareName", `\\*\C$`, "RelativeTargetName", "y", "AccessMask", "0x80")
	local := l.security(5140, "SubjectLogonId", "0x123", "IpAddress", "::1", "ShareName", `\\*\C$`)
	value := l.by(13, 7, `C:\set.exe`, "EventType", "SetValue", "TargetObject", `HKLM\SOFTWARE\Microsoft\Windows NT\CurrentVersion\Image File Execution Options\x.exe\Debugger`, "Details", `C:\d.exe`)
	for _, c := range []struct {
		e     *event.Event
		kind  NodeKind
		label string
		edges int
	}{
		{explicit, Process, "tool.exe", 1},
		{server, Process, "tool.exe", 1},
		{client, Process, "client.exe", 1},
		{open, Logon, "u", 1},
		{share, Logon, "u", 0},
		{write, File, "a.exe", 1},
		{read, Logon, "v", 0},
		{again, Logon, "v", 0},
		{local, Host, "B", 0},
		{value, RegistryValue, "Debugger", 1},
	} {
		g := l.graph()
		m := g.Mark(c.e)
		n := g.Node(m.Node)
		if n == nil || n.Kind != c.kind || n.Label != c.label || len(m.Edges) != c.edges {
			t.Errorf("%d marks %+v with %d edges, want %s %s with %d", c.e.ID, n, len(m.Edges), c.kind, c.label, c.edges)
		}
		once := strings.Join(facts(g), "\n")
		if g.Mark(c.e).Node != m.Node || strings.Join(facts(g), "\n") != once {
			t.Errorf("%d: marking twice differs", c.e.ID)
		}
	}
	g := l.graph()
	if g.Mark(read).Node != g.Mark(again).Node {
		t.Error("two accesses in one session are two logons")
	}
}
