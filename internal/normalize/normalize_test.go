package normalize

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"ashiato/internal/event"
)

const (
	sysmonProvider   = "Microsoft-Windows-Sysmon"
	securityProvider = "Microsoft-Windows-Security-Auditing"
)

func record(provider string, id uint32, pairs ...string) *event.Event {
	e := &event.Event{Provider: provider, ID: id, Logged: time.Date(2026, 3, 2, 1, 0, 0, 0, time.UTC)}
	for i := 0; i < len(pairs); i += 2 {
		e.Data = append(e.Data, event.Field{Name: pairs[i], Value: pairs[i+1]})
	}
	return e
}

func TestEvent(t *testing.T) {
	for _, c := range []struct {
		name string
		in   *event.Event
		kind event.Kind
		want map[string]string
	}{
		{
			"4688 is a process creation under Sysmon's names",
			record(securityProvider, 4688, "SubjectUserName", "aoi", "SubjectDomainName", "PC", "SubjectLogonId", "0x3e9",
				"NewProcessId", "0x2ac", "NewProcessName", `C:\Windows \System32\printui.exe`, "ProcessId", "0x1638",
				"CommandLine", "", "TargetUserName", "-", "TargetLogonId", "0x0", "ParentProcessName", `C:\Windows\System32\cmd.exe`,
				"MandatoryLabel", "S-1-16-12288"),
			event.ProcessCreate,
			map[string]string{
				"Image": `C:\Windows \System32\printui.exe`, "ProcessId": "684", "ParentProcessId": "5688",
				"ParentImage": `C:\Windows\System32\cmd.exe`, "IntegrityLevel": "High", "User": `PC\aoi`, "LogonId": "0x3e9",
			},
		},
		{
			"4688 of the first version has no parent name",
			record(securityProvider, 4688, "NewProcessId", "0x10", "NewProcessName", "a.exe", "ProcessId", "0x4"),
			event.ProcessCreate,
			map[string]string{"Image": "a.exe", "ProcessId": "16", "ParentProcessId": "4"},
		},
		{
			"5007 keeps the blank inside the path and loses the one in the name",
			record("Microsoft-Windows-Windows Defender", 5007, "Old Value", "", "New Value", `HKLM\SOFTWARE\Microsoft\Windows Defender\Exclusions\Paths\C:\Windows \System32 = 0x0`),
			event.DefenderConfig,
			map[string]string{"OldValue": "", "NewValue": `HKLM\SOFTWARE\Microsoft\Windows Defender\Exclusions\Paths\C:\Windows \System32 = 0x0`},
		},
		{
			"4657 speaks of the registry as Sysmon does",
			record(securityProvider, 4657, "ObjectName", `\REGISTRY\MACHINE\SYSTEM\ControlSet001\Services\x\Parameters`, "ObjectValueName", "ServiceDll",
				"NewValue", `C:\Windows\System32\x.dat`, "ProcessId", "0x14", "ProcessName", `C:\Windows\System32\reg.exe`),
			event.RegistrySet,
			map[string]string{
				"TargetObject": `HKLM\SYSTEM\CurrentControlSet\Services\x\Parameters\ServiceDll`, "Details": `C:\Windows\System32\x.dat`,
				"Image": `C:\Windows\System32\reg.exe`, "ProcessId": "20",
			},
		},
		{
			"5156 says who connected where",
			record(securityProvider, 5156, "ProcessID", "1060", "Application", `\device\harddiskvolume2\windows\system32\svchost.exe`,
				"Direction", "%%14593", "SourceAddress", "10.0.0.1", "SourcePort", "50000", "DestAddress", "203.0.113.9", "DestPort", "443", "Protocol", "6"),
			event.NetworkConnect,
			map[string]string{"Initiated": "true", "DestinationIp": "203.0.113.9", "DestinationPort": "443", "Protocol": "tcp"},
		},
		{
			"1149 says who came by remote desktop",
			record("Microsoft-Windows-TerminalServices-RemoteConnectionManager", 1149, "Param1", "adm", "Param2", "CORP", "Param3", "198.51.100.4"),
			event.RemoteDesktop,
			map[string]string{"User": `CORP\adm`, "IpAddress": "198.51.100.4"},
		},
		{
			"21 of Terminal Services names the session",
			record("Microsoft-Windows-TerminalServices-LocalSessionManager", 21, "User", `CORP\adm`, "SessionID", "3", "Address", "198.51.100.4"),
			event.RemoteDesktop,
			map[string]string{"User": `CORP\adm`, "IpAddress": "198.51.100.4", "TerminalSessionId": "3"},
		},
		{
			"4778 names the session that somebody came back to",
			record(securityProvider, 4778, "AccountName", "adm", "AccountDomain", "CORP", "LogonID", "0x10ac67", "SessionName", "RDP-Tcp#0", "ClientName", "host", "ClientAddress", "198.51.100.4"),
			event.RemoteDesktop,
			map[string]string{"User": `CORP\adm`, "IpAddress": "198.51.100.4", "TargetLogonId": "0x10ac67", "LogonId": "0x10ac67", "SessionName": "RDP-Tcp#0", "AccountName": "adm"},
		},
		{
			"5142 is a share that was made",
			record(securityProvider, 5142, "SubjectUserName", "aoi", "SubjectDomainName", "PC", "SubjectLogonId", "0x3e9", "ShareName", `\\*\x`, "ShareLocalPath", `C:\x`),
			event.ShareChange,
			map[string]string{"ShareLocalPath": `C:\x`, "User": `PC\aoi`},
		},
		{
			"Sysmon 15 has its hashes under the common name too",
			record(sysmonProvider, 15, "TargetFilename", `C:\a.exe`, "Hash", "SHA256=AB"),
			event.FileStream,
			map[string]string{"Hashes": "SHA256=AB", "Hash": "SHA256=AB"},
		},
		{
			"the kernel's own record of a start",
			record("Microsoft-Windows-Kernel-Process", 1, "ProcessID", "700", "ParentProcessID", "4", "ImageName", `\Device\HarddiskVolume3\a.exe`),
			event.ProcessCreate,
			map[string]string{"ProcessId": "700", "ParentProcessId": "4", "Image": `\Device\HarddiskVolume3\a.exe`},
		},
		{
			"4697 and 7045 agree on ImagePath",
			record(securityProvider, 4697, "ServiceName", "x", "ServiceFileName", "svchost.exe -k DcomLaunch", "ServiceStartType", "2"),
			event.ServiceInstall,
			map[string]string{"ImagePath": "svchost.exe -k DcomLaunch", "StartType": "2"},
		},
		{
			"a task's escaped XML is unescaped, once",
			record(securityProvider, 4698, "TaskName", `\t`, "TaskContent", "&lt;Task&gt;&amp;amp;&lt;/Task&gt;"),
			event.TaskRegister,
			map[string]string{"TaskContent": "<Task>&amp;</Task>"},
		},
		{
			"4663 names a file",
			record(securityProvider, 4663, "ObjectType", "File", "ObjectName", `\Device\HarddiskVolume7\photo.jpg`, "ProcessId", "0x10", "ProcessName", "x.exe"),
			event.FileAccess,
			map[string]string{"TargetFilename": `\Device\HarddiskVolume7\photo.jpg`, "ProcessId": "16"},
		},
		{
			"unnamed values have one name, whoever numbered them",
			record("PowerShell", 800, "param1", "Get-Item", "param2", "more"),
			event.ScriptClassic,
			map[string]string{"Data": "Get-Item", "param2": "more"},
		},
		{"a disk with a capacity arrives", record("Microsoft-Windows-Partition", 1006, "Capacity", "31457280"), event.VolumeAttach, nil},
		{"a disk without leaves", record("Microsoft-Windows-Partition", 1006, "Capacity", "0"), event.VolumeDetach, nil},
		{"Defender's 1006 is not Partition's", record("Microsoft-Windows-Windows Defender", 1006, "Threat Name", "x"), event.MalwareFound, map[string]string{"ThreatName": "x"}},
		{"a key is made", record(sysmonProvider, 12, "EventType", "CreateKey"), event.RegistryAdd, nil},
		{"a key is deleted", record(sysmonProvider, 12, "EventType", "DeleteKey"), event.RegistryDelete, nil},
		{"an unknown id passes", record(sysmonProvider, 4711, "X", "y"), event.Other, map[string]string{"X": "y"}},
		{"an unknown provider passes", record("Contoso-App", 1, "Image", "y"), event.Other, map[string]string{"Image": "y"}},
		{
			"WMI-Activity 5860 whose fields are in the message only",
			record("Microsoft-Windows-WMI-Activity", 5860, "Message", `Namespace = ROOT\CIMV2; NotificationQuery = SELECT * FROM X WHERE N = 'a'; UserName = NT AUTHORITY\SYSTEM; ClientProcessID = 3308, ClientMachine = WS5; PossibleCause = Temporary; x = y`),
			event.WMISubscription,
			map[string]string{
				"Namespace": `ROOT\CIMV2`, "Query": "SELECT * FROM X WHERE N = 'a'", "User": `NT AUTHORITY\SYSTEM`, "ClientProcessId": "3308",
				"ClientMachine": "WS5", "PossibleCause": "Temporary; x = y",
			},
		},
		{
			"… and 5861 with its fields",
			record("Microsoft-Windows-WMI-Activity", 5861, "Namespace", "//./root/subscription", "ESS", "F", "CONSUMER", `CommandLineEventConsumer="B"`),
			event.WMISubscription,
			map[string]string{"Consumer": `CommandLineEventConsumer="B"`, "Filter": "F"},
		},
		{
			"BITS-Client 3 of the newest layout names the client",
			record("Microsoft-Windows-Bits-Client", 3, "jobTitle", "J", "jobId", "{1}", "jobOwner", "u", "processPath", `C:\a.exe`, "processId", "3616"),
			event.BITSJob,
			map[string]string{"JobTitle": "J", "JobId": "{1}", "JobOwner": "u", "User": "u", "Image": `C:\a.exe`, "ProcessId": "3616"},
		},
		{
			"… and of the oldest, which names its values by number",
			record("Microsoft-Windows-Bits-Client", 3, "string", "J", "string2", "u", "string3", ""),
			event.BITSJob,
			map[string]string{"JobTitle": "J", "JobOwner": "u", "User": "u"},
		},
		{
			"Windows Installer writes values without names",
			record("MsiInstaller", 1040, "Data", `C:\a.msi`, "Data", "3472", "Data", "(NULL)", "Data", ""),
			event.InstallerRun,
			map[string]string{"Package": `C:\a.msi`, "ClientProcessId": "3472"},
		},
		{
			"the System log tells that another log was cleared",
			record("Microsoft-Windows-Eventlog", 104, "SubjectUserName", "aoi", "SubjectDomainName", "PC", "Channel", "Application", "BackupPath", ""),
			event.LogCleared,
			map[string]string{"User": `PC\aoi`, "ClearedLog": "Application"},
		},
		{
			"… also where a shipper left only the message",
			record("Microsoft-Windows-Eventlog", 104, "Message", "The Microsoft-Windows-PowerShell/Operational log file was cleared."),
			event.LogCleared,
			map[string]string{"ClearedLog": "Microsoft-Windows-PowerShell/Operational"},
		},
		{
			"… and of a message in another form nothing is guessed",
			record("Microsoft-Windows-Eventlog", 104, "Message", "Application ログ ファイルが消去されました。"),
			event.LogCleared,
			map[string]string{},
		},
		{
			"the command line of the PowerShell that wrote a record",
			record("PowerShell", 800, "Data", "x", "Data", "\tHostName=ConsoleHost\r\n\tHostApplication=powershell -c x\r\n\tEngineVersion=5"),
			event.ScriptClassic,
			map[string]string{"HostApplication": "powershell -c x"},
		},
		{
			"… and of 4103",
			record("Microsoft-Windows-PowerShell", 4103, "ContextInfo", "        Host Version = 5\r\n        Host Application = powershell -c x\r\n", "Payload", "y"),
			event.ScriptModule,
			map[string]string{"HostApplication": "powershell -c x"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			raw := slices.Clone(c.in.Data)
			Event(c.in)
			if c.in.Kind != c.kind {
				t.Errorf("kind %v, want %v", c.in.Kind, c.kind)
			}
			for name, want := range c.want {
				if got, ok := c.in.Get(name); !ok || got != want {
					t.Errorf("%s = %q, %v; want %q", name, got, ok, want)
				}
			}
			if diff := cmp.Diff(raw, c.in.Data); diff != "" {
				t.Errorf("the recorded fields changed:\n%s", diff)
			}
		})
	}
}

func TestChannelStandsInForAMissingProvider(t *testing.T) {
	e := record("", 4688, "NewProcessName", "a.exe")
	e.Channel = "security" // as some shippers write it
	if Event(e); e.Kind != event.ProcessCreate || e.Value("Image") != "a.exe" {
		t.Errorf("kind %v, image %q", e.Kind, e.Value("Image"))
	}
	e.Provider = "Contoso-App"
	if Event(e); e.Kind != event.Other {
		t.Errorf("another provider's record in the Security channel is %v", e.Kind)
	}
}

// Sysmon's own time is when it happened, as far as the log entry's time, which the
// sensor does not write, admits it.
func TestSysmonTime(t *testing.T) {
	const create, connect, query, file = 1, 3, 22, 11
	for _, c := range []struct {
		name   string
		id     uint32
		late   time.Duration // the entry's time, after UtcTime
		offset time.Duration
		own    bool // UtcTime is the event's
	}{
		{"written at once", create, 15 * time.Millisecond, 0, true},
		{"cut off to seconds", create, -999 * time.Millisecond, 0, true},
		{"later than its entry", create, -1001 * time.Millisecond, 0, false},
		{"the machine's clock was set", file, -9 * time.Hour, 0, false},
		{"seen before the service ran", create, 347 * time.Second, 0, true},
		{"a quarter of an hour, cut off", create, 15*time.Minute - time.Second, 0, false},
		{"backdated", create, 30 * 24 * time.Hour, 0, false},
		{"connection", connect, 1900 * time.Millisecond, 0, true},
		{"answer", query, 2300 * time.Millisecond, 0, true},
		{"connection, another clock", connect, 53 * time.Second, 0, false},
		{"connection, another clock, ahead", connect, -3 * time.Minute, 0, false},
		{"answer, another clock", query, 11 * 24 * time.Hour, 0, false},
		{"local time", create, -4 * time.Hour, 4 * time.Hour, true},
		{"local time, backdated", create, -4*time.Hour + 20*time.Minute, 4 * time.Hour, false},
		{"local time, connection", connect, -4*time.Hour + time.Second, 4 * time.Hour, true},
		{"local time, connection, another clock", connect, -3 * time.Hour, 4 * time.Hour, false},
	} {
		e := record(sysmonProvider, c.id)
		own := e.Logged.Add(-c.late)
		e.Data = event.Fields{{Name: "UtcTime", Value: own.Format("2006-01-02 15:04:05.000")}}
		e.Offset = c.offset
		want := e.Logged.Add(c.offset)
		if c.own {
			want = own
		}
		for range 2 { // idempotent
			if Event(e); !e.Time.Equal(want) {
				t.Errorf("%s: time %v, want %v (logged %v)", c.name, e.Time, want, e.Logged)
			}
		}
		if at, ok := SensorTime(e); !ok || !at.Equal(own) {
			t.Errorf("%s: sensor's time %v %v", c.name, at, ok)
		}
	}
	e := record(sysmonProvider, create, "UtcTime", "yesterday")
	if Event(e); !e.Time.Equal(e.Logged) {
		t.Errorf("an unreadable UtcTime gives %v, want the log's %v", e.Time, e.Logged)
	}
	e = record(sysmonProvider, create, "UtcTime", "2019-07-27 22:43:41.627")
	e.Logged = time.Time{}
	if Event(e); e.Time.Year() != 2019 {
		t.Errorf("without the entry's time: %v", e.Time)
	}
	e = record("Microsoft-Windows-Security-Auditing", 4688, "UtcTime", "2026-03-02 01:00:00.000")
	e.Offset = time.Hour
	if Event(e); !e.Time.Equal(e.Logged.Add(time.Hour)) {
		t.Errorf("another log's record: %v", e.Time)
	}
	if _, ok := SensorTime(e); ok {
		t.Error("another log's record has a sensor's time")
	}
}

// The fast way to read Sysmon's times reads what time.Parse does, or leaves it.
func TestPlainTime(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		at := time.UnixMilli(rapid.Int64Range(-62135596800000, 253402300799999).Draw(t, "ms")).UTC()
		text := at.Format("2006-01-02 15:04:05.000")
		damaged := rapid.Bool().Draw(t, "damaged")
		if damaged {
			b := []byte(text)
			b[rapid.IntRange(0, len(b)-1).Draw(t, "where")] = rapid.SampledFrom([]byte("0123456789 -:.Tx")).Draw(t, "what")
			text = string(b)
		}
		want, err := time.Parse("2006-01-02 15:04:05.999999999", text)
		got, ok := plainTime(text)
		if ok && (err != nil || !got.Equal(want)) {
			t.Fatalf("%q: %v, want %v %v", text, got, want, err)
		}
		// What is odd is left to time.Parse, which takes an hour with a blank.
		if !ok && err == nil && want.Day() <= 28 && !damaged {
			t.Fatalf("%q is left", text)
		}
		slow, found := sensorTime(event.Fields{{Name: "UtcTime", Value: text}})
		if found != (err == nil) || found && !slow.Equal(want) {
			t.Fatalf("%q: %v %v, want %v %v", text, slow, found, want, err)
		}
	})
}

// Every kind is reached by a row of the tables, and every row's conversions
// name a recorded field and a taxonomy field.
func TestTablesReachEveryKind(t *testing.T) {
	reached := map[event.Kind]bool{
		event.Other: true, event.RegistryAdd: true, event.RegistryDelete: true, event.RegistrySet: true,
		// No Windows log records these; they exist for sensors that do.
		event.FileRename: true, event.FileAttribute: true,
	}
	for l, ids := range tables {
		for id, r := range ids {
			reached[r.kind] = true
			for _, m := range r.fields {
				if m.canon == "" || m.raw == "" || m.convert == nil {
					t.Errorf("log %d id %d: incomplete mapping %+v", l, id, m)
				}
			}
		}
	}
	for _, k := range event.Kinds() {
		if !reached[k] {
			t.Errorf("no record maps to %v", k)
		}
	}
}

func TestEventIsIdempotent(t *testing.T) {
	ids := []uint32{1, 12, 13, 129, 1006, 4624, 4657, 4663, 4688, 4697, 4698, 4702, 5007, 5156, 7045}
	names := []string{"NewProcessName", "ProcessId", "NewProcessId", "New Value", "ObjectName", "ObjectType", "UtcTime", "EventType", "Capacity", "TaskContent", "MandatoryLabel"}
	rapid.Check(t, func(t *rapid.T) {
		e := record(rapid.SampledFrom([]string{sysmonProvider, securityProvider, "Microsoft-Windows-Partition", "Service Control Manager"}).Draw(t, "provider"),
			rapid.SampledFrom(ids).Draw(t, "id"))
		for range rapid.IntRange(0, 6).Draw(t, "fields") {
			e.Data = append(e.Data, event.Field{Name: rapid.SampledFrom(names).Draw(t, "name"), Value: rapid.String().Draw(t, "value")})
		}
		Event(e)
		once := *e
		Event(e)
		if diff := cmp.Diff(once, *e); diff != "" {
			t.Fatalf("a second pass changes the event:\n%s", diff)
		}
	})
}

func TestSensorRecords(t *testing.T) {
	sensor := func(id uint32, fields ...string) *event.Event {
		e := &event.Event{Provider: "Ashiato-Sensor", Channel: "Ashiato-Sensor/Operational", ID: id}
		for i := 0; i < len(fields); i += 2 {
			e.Data = append(e.Data, event.Field{Name: fields[i], Value: fields[i+1]})
		}
		Event(e)
		return e
	}
	for _, test := range []struct {
		e    *event.Event
		kind event.Kind
	}{
		{sensor(100), event.VolumeAttach},
		{sensor(110), event.FileRename},
		{sensor(112), event.Shortcut},
		{sensor(120, "Change", "registered"), event.ServiceInstall},
		{sensor(120, "Change", "changed"), event.ServiceChange},
		{sensor(121), event.TaskRegister},
		{sensor(121, "Change", "changed"), event.TaskUpdate},
		{sensor(121, "Change", "deleted"), event.TaskDelete},
		{sensor(131), event.ResourceUse},
		{sensor(12, "EventType", "DeleteKey"), event.RegistryDelete},
		{sensor(99), event.Other},
	} {
		if test.e.Kind != test.kind {
			t.Errorf("%d with %v is %s, want %s", test.e.ID, test.e.Data, test.e.Kind, test.kind)
		}
	}
	added := sensor(140, "Change", "added", "ExclusionType", "Paths", "ExclusionValue", `C:\Windows \System32`)
	if got, want := added.Value("NewValue"), `HKLM\SOFTWARE\Microsoft\Windows Defender\Exclusions\Paths\C:\Windows \System32 = 0x0`; got != want {
		t.Errorf("the exclusion reads %q, want %q", got, want)
	}
	removed := sensor(140, "Change", "removed", "ExclusionType", "Paths", "ExclusionValue", `C:\x`)
	if v, ok := removed.Get("NewValue"); ok || removed.Value("OldValue") == "" {
		t.Errorf("a removal reads NewValue %q, OldValue %q", v, removed.Value("OldValue"))
	}
}

// auditEvent makes an event of the Linux audit system of pairs of names and values.
func auditEvent(id uint32, fields ...string) *event.Event {
	e := &event.Event{Provider: "auditd", Channel: "auditd", ID: id}
	for i := 0; i+1 < len(fields); i += 2 {
		e.Data = append(e.Data, event.Field{Name: fields[i], Value: fields[i+1]})
	}
	return e
}

// TestAudit holds what events of the audit system are about.
func TestAudit(t *testing.T) {
	call := func(number string, more ...string) *event.Event {
		return auditEvent(1300, append([]string{
			"type", "SYSCALL", "arch", "c000003e", "syscall", number, "success", "yes", "exit", "0", "a0", "ffffff9c", "a1", "55", "a2", "241",
			"ppid", "10", "pid", "11", "auid", "1000", "uid", "0", "ses", "7", "exe", "/usr/bin/x",
		}, more...)...)
	}
	for _, tt := range []struct {
		name string
		e    *event.Event
		kind event.Kind
		want map[string]string
	}{
		{
			"a program", call("59", "type", "EXECVE", "argc", "2", "a0", "x", "a1", "a b", "type", "CWD", "cwd", "/tmp"), event.ProcessCreate,
			map[string]string{"Image": "/usr/bin/x", "CommandLine": "x a b", "ProcessId": "11", "ParentProcessId": "10", "User": "root", "LogonId": "7", "CurrentDirectory": "/tmp"},
		},
		{"its title, without arguments", call("59", "type", "PROCTITLE", "proctitle", "x\x00-a\x00"), event.ProcessCreate, map[string]string{"CommandLine": "x -a"}},
		{"a file, from the current directory", call("257", "type", "CWD", "cwd", "/etc", "type", "PATH", "name", "cron.d/X ", "nametype", "CREATE"), event.FileCreate, map[string]string{"TargetFilename": "/etc/cron.d/X "}},
		{"a file, beside an absolute parent", call("257", "type", "CWD", "cwd", "/", "type", "PATH", "name", "/var/tmp/", "nametype", "PARENT", "type", "PATH", "name", "a", "nametype", "CREATE"), event.FileCreate, map[string]string{"TargetFilename": "/var/tmp/a"}},
		{"written to", call("257", "type", "PATH", "name", "/etc/passwd", "nametype", "NORMAL"), event.FileCreate, map[string]string{"TargetFilename": "/etc/passwd"}},
		{"renamed", call("82", "type", "PATH", "name", "/tmp/a", "nametype", "DELETE", "type", "PATH", "name", "/tmp/b", "nametype", "CREATE"), event.FileRename, map[string]string{"SourceFilename": "/tmp/a", "TargetFilename": "/tmp/b"}},
		{"deleted", call("87", "type", "CWD", "cwd", "/tmp", "type", "PATH", "name", "./a", "nametype", "DELETE"), event.FileDelete, map[string]string{"TargetFilename": "/tmp/a"}},
		{"connected", call("42", "type", "SOCKADDR", "saddr", "02000050CB00710A0000000000000000"), event.NetworkConnect, map[string]string{"DestinationIp": "203.0.113.10", "DestinationPort": "80"}},
		{"connected by IPv6", call("42", "type", "SOCKADDR", "saddr", "0A0001BB0000000020010DB800000000000000000000000100000000"), event.NetworkConnect, map[string]string{"DestinationIp": "2001:db8::1", "DestinationPort": "443"}},
		{"connected to a socket in a file", call("42", "type", "SOCKADDR", "saddr", "01002F72756E2F78"), event.Other, nil},
		{"another architecture", auditEvent(1300, "type", "SYSCALL", "arch", "c00000b7", "syscall", "221", "success", "yes", "exe", "/usr/bin/id"), event.ProcessCreate, map[string]string{"Image": "/usr/bin/id"}},
		{"failed", auditEvent(1300, "type", "SYSCALL", "arch", "c000003e", "syscall", "59", "success", "no", "exit", "-13"), event.Other, nil},
		{"read only", auditEvent(1300, "type", "SYSCALL", "arch", "c000003e", "syscall", "257", "success", "yes", "a2", "80000", "type", "PATH", "name", "/etc/passwd", "nametype", "NORMAL"), event.Other, nil},
		{
			"a session", auditEvent(1105, "type", "USER_START", "pid", "9", "uid", "0", "auid", "1000", "ses", "7", "acct", "mori", "exe", "/usr/sbin/sshd", "addr", "203.0.113.9", "res", "success"), event.Logon,
			map[string]string{"TargetUserName": "mori", "IpAddress": "203.0.113.9", "TargetLogonId": "7", "LogonType": "3"},
		},
		{"cron's session", auditEvent(1105, "type", "USER_START", "ses", "8", "acct", "root", "exe", "/usr/sbin/cron", "addr", "?", "res", "success"), event.Other, nil},
		{"a wrong password", auditEvent(1100, "type", "USER_AUTH", "ses", "4294967295", "acct", "root", "exe", "/usr/sbin/sshd", "addr", "203.0.113.9", "res", "failed"), event.LogonFailed, map[string]string{"TargetUserName": "root"}},
		{"a service", auditEvent(1130, "type", "SERVICE_START", "pid", "1", "unit", "cache", "exe", "/usr/lib/systemd/systemd", "res", "success"), event.ServiceState, map[string]string{"ServiceName": "cache", "State": "running"}},
	} {
		before := fmt.Sprint(tt.e.Data)
		Event(tt.e)
		if tt.e.Kind != tt.kind {
			t.Errorf("%s: %v, want %v", tt.name, tt.e.Kind, tt.kind)
		}
		for name, want := range tt.want {
			if got := tt.e.Value(name); got != want {
				t.Errorf("%s: %s is %q, want %q", tt.name, name, got, want)
			}
		}
		for _, f := range tt.e.Canon {
			if !Adds(tt.e.Provider, tt.e.Channel, tt.e.ID, f.Name) {
				t.Errorf("%s: nobody is told that %s is added", tt.name, f.Name)
			}
		}
		if fmt.Sprint(tt.e.Data) != before {
			t.Errorf("%s: what was recorded is changed", tt.name)
		}
	}
}
