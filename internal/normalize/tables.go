package normalize

import (
	"strings"
	"unicode/utf8"

	"ashiato/internal/event"
)

// logName is a log that the tables know, by whatever channel or shipper it came.
type logName uint8

const (
	unknown logName = iota
	sysmon
	security
	eventlog
	services
	tasks
	defender
	powershell
	classic
	partition
	pnp
	driverFrameworks
	wmi
	bits
	msi
	winrm
	terminalServices
	kernelProcess
	ownSensor
	linuxSysmon
	auditd
)

// providers and channels say which log a record belongs to. The provider
// decides; the channel stands in where a shipper dropped the provider's name.
var (
	providers = map[string]logName{
		"microsoft-windows-sysmon":                                   sysmon,
		"linux-sysmon":                                               linuxSysmon,
		"auditd":                                                     auditd,
		"microsoft-windows-security-auditing":                        security,
		"microsoft-windows-eventlog":                                 eventlog,
		"service control manager":                                    services,
		"microsoft-windows-taskscheduler":                            tasks,
		"microsoft-windows-windows defender":                         defender,
		"microsoft-windows-powershell":                               powershell,
		"powershellcore":                                             powershell,
		"powershell":                                                 classic,
		"microsoft-windows-partition":                                partition,
		"microsoft-windows-kernel-pnp":                               pnp,
		"microsoft-windows-driverframeworks-usermode":                driverFrameworks,
		"microsoft-windows-wmi-activity":                             wmi,
		"microsoft-windows-bits-client":                              bits,
		"msiinstaller":                                               msi,
		"microsoft-windows-winrm":                                    winrm,
		"microsoft-windows-terminalservices-remoteconnectionmanager": terminalServices,
		"microsoft-windows-terminalservices-localsessionmanager":     terminalServices,
		"microsoft-windows-kernel-process":                           kernelProcess,
		"ashiato-sensor":                                             ownSensor,
	}
	channels = map[string]logName{
		"microsoft-windows-sysmon/operational":                    sysmon,
		"linux-sysmon/operational":                                linuxSysmon,
		"security":                                                security,
		"microsoft-windows-taskscheduler/operational":             tasks,
		"microsoft-windows-windows defender/operational":          defender,
		"microsoft-windows-powershell/operational":                powershell,
		"windows powershell":                                      classic,
		"microsoft-windows-partition/diagnostic":                  partition,
		"microsoft-windows-kernel-pnp/configuration":              pnp,
		"microsoft-windows-driverframeworks-usermode/operational": driverFrameworks,
		"microsoft-windows-wmi-activity/operational":              wmi,
		"microsoft-windows-bits-client/operational":               bits,
		"microsoft-windows-winrm/operational":                     winrm,
		"ashiato-sensor/operational":                              ownSensor,
	}
)

func logOf(provider, channel string) logName {
	if l, ok := find(providers, provider); ok {
		return l
	}
	if provider == "" {
		l, _ := find(channels, channel)
		return l
	}
	return unknown
}

// find looks a name up in any letter case, for nearly all names without an
// allocation.
func find(names map[string]logName, name string) (logName, bool) {
	var short [64]byte
	if len(name) > len(short) {
		l, ok := names[strings.ToLower(name)]
		return l, ok
	}
	for i := range len(name) {
		c := name[i]
		if c >= utf8.RuneSelf {
			l, ok := names[strings.ToLower(name)]
			return l, ok
		}
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		short[i] = c
	}
	l, ok := names[string(short[:len(name)])]
	return l, ok
}

// mapping is one taxonomy field made from one recorded field.
type mapping struct {
	canon, raw string
	convert    conversion
}

// row is what one event id of one log means.
type row struct {
	kind   event.Kind
	fields []mapping
	// refine chooses the kind where the id alone does not say it.
	refine func(*event.Event) event.Kind
	// derive adds fields made from more than one recorded field.
	derive func(*event.Event)
}

func of(kind event.Kind, fields ...mapping) row { return row{kind: kind, fields: fields} }

func rename(canon, raw string) mapping { return mapping{canon, raw, same} }

// actor is how Security records name the process that did something.
var actor = []mapping{rename("Image", "ProcessName"), {"ProcessId", "ProcessId", decimal}}

// session is how TerminalServices names a session and where its user is.
var session = []mapping{rename("IpAddress", "Address"), rename("TerminalSessionId", "SessionID")}

// connectingUser is who came by remote desktop.
func connectingUser(e *event.Event) {
	if u, ok := account(e.Data, "Param2", "Param1"); ok {
		set(e, "User", u)
	}
}

// subject is the account on whose behalf it was done.
func subject(e *event.Event) {
	if u, ok := account(e.Data, "SubjectDomainName", "SubjectUserName"); ok {
		set(e, "User", u)
	}
	if id, ok := e.Data.Get("SubjectLogonId"); ok {
		set(e, "LogonId", id)
	}
}

// otherLog is which log was cleared: the record of it is in the System log, whatever
// log it was. A shipper that leaves out the record's data leaves the message.
func otherLog(e *event.Event) {
	subject(e)
	name, ok := e.Data.Get("Channel")
	if !ok {
		if message, has := e.Data.Get("Message"); has {
			name, ok = strings.CutPrefix(message, "The ")
			if ok {
				name, ok = strings.CutSuffix(name, " log file was cleared.")
			}
		}
	}
	if ok && name != "" {
		set(e, "ClearedLog", name)
	}
}

// target is the account that a logon is about.
func target(e *event.Event) {
	if u, ok := account(e.Data, "TargetDomainName", "TargetUserName"); ok {
		set(e, "User", u)
	}
	if id, ok := e.Data.Get("TargetLogonId"); ok {
		set(e, "LogonId", id)
	}
}

// station is how Security names a session that somebody came back to, or left,
// and where they are.
var station = []mapping{rename("TargetLogonId", "LogonID"), rename("IpAddress", "ClientAddress"), rename("WorkstationName", "ClientName")}

func stationUser(e *event.Event) {
	if u, ok := account(e.Data, "AccountDomain", "AccountName"); ok {
		set(e, "User", u)
	}
	if id, ok := e.Data.Get("LogonID"); ok {
		set(e, "LogonId", id)
	}
}

// tables hold the ids that research/telemetry names. Sources: Sysmon's manifest
// (schema 4.90), the Windows event manifests, and real records.
var tables = map[logName]map[uint32]row{
	sysmon: {
		1:   of(event.ProcessCreate),
		2:   of(event.FileTime),
		3:   of(event.NetworkConnect),
		4:   of(event.SensorState),
		5:   of(event.ProcessTerminate),
		6:   of(event.DriverLoad),
		7:   of(event.ImageLoad),
		8:   of(event.RemoteThread),
		9:   of(event.RawRead),
		10:  of(event.ProcessAccess),
		11:  of(event.FileCreate),
		12:  {kind: event.RegistryAdd, refine: registryKind},
		13:  {kind: event.RegistrySet, refine: registryKind},
		14:  of(event.RegistryRename),
		15:  of(event.FileStream, rename("Hashes", "Hash")),
		16:  of(event.SensorState),
		17:  of(event.PipeCreate),
		18:  of(event.PipeConnect),
		19:  of(event.WMIFilter),
		20:  of(event.WMIConsumer),
		21:  of(event.WMIBinding),
		22:  of(event.DNSQuery),
		23:  of(event.FileDelete),
		24:  of(event.Clipboard),
		25:  of(event.ProcessTamper),
		26:  of(event.FileDelete),
		27:  of(event.FileBlocked),
		28:  of(event.FileBlocked),
		29:  of(event.FileExecutable),
		255: of(event.SensorLoss),
	},
	// Sysmon for Linux has Sysmon's ids and fields; its LogonId is the user's number,
	// and the session's number is in TerminalSessionId.
	linuxSysmon: {
		1:   {kind: event.ProcessCreate, derive: auditSession},
		3:   of(event.NetworkConnect),
		4:   of(event.SensorState),
		5:   of(event.ProcessTerminate),
		9:   of(event.RawRead),
		10:  of(event.ProcessAccess),
		11:  of(event.FileCreate),
		16:  of(event.SensorState),
		23:  of(event.FileDelete),
		255: of(event.SensorLoss),
	},
	auditd: auditTable,
	security: {
		1102: {kind: event.LogCleared, derive: subject},
		4624: {kind: event.Logon, derive: target, fields: actor},
		4625: {kind: event.LogonFailed, derive: target, fields: actor},
		4634: {kind: event.Logoff, derive: target},
		4647: {kind: event.Logoff, derive: target},
		4648: {kind: event.LogonExplicit, derive: subject, fields: actor},
		4656: {kind: event.FileAccess, derive: objectAccess, fields: actor},
		4657: {kind: event.RegistrySet, derive: registryValue, fields: append([]mapping{rename("Details", "NewValue")}, actor...)},
		4663: {kind: event.FileAccess, derive: objectAccess, fields: actor},
		4672: {kind: event.LogonPrivilege, derive: subject},
		4688: {kind: event.ProcessCreate, derive: createdProcess, fields: []mapping{
			rename("Image", "NewProcessName"),
			{"ProcessId", "NewProcessId", decimal},
			rename("ParentImage", "ParentProcessName"),
			{"ParentProcessId", "ProcessId", decimal},
			{"IntegrityLevel", "MandatoryLabel", integrity},
		}},
		4689: {kind: event.ProcessTerminate, derive: subject, fields: actor},
		4697: {kind: event.ServiceInstall, derive: subject, fields: []mapping{
			rename("ImagePath", "ServiceFileName"),
			rename("StartType", "ServiceStartType"),
			rename("AccountName", "ServiceAccount"),
		}},
		4698: {kind: event.TaskRegister, derive: subject, fields: []mapping{{"TaskContent", "TaskContent", taskXML}}},
		4699: {kind: event.TaskDelete, derive: subject},
		4700: {kind: event.TaskEnable, derive: subject},
		4701: {kind: event.TaskEnable, derive: subject},
		4702: {kind: event.TaskUpdate, derive: subject, fields: []mapping{{"TaskContent", "TaskContentNew", taskXML}}},
		4778: {kind: event.RemoteDesktop, derive: stationUser, fields: station},
		4779: {kind: event.RemoteDesktop, derive: stationUser, fields: station},
		5140: {kind: event.ShareAccess, derive: subject},
		5142: {kind: event.ShareChange, derive: subject},
		5143: {kind: event.ShareChange, derive: subject},
		5145: {kind: event.ShareAccess, derive: subject},
		5156: of(event.NetworkConnect,
			rename("Image", "Application"),
			mapping{"ProcessId", "ProcessID", decimal}, // as recorded
			mapping{"ProcessId", "ProcessId", decimal}, // as NXLog spells it
			mapping{"Initiated", "Direction", outbound},
			mapping{"Protocol", "Protocol", protocol},
			rename("SourceIp", "SourceAddress"),
			rename("DestinationIp", "DestAddress"),
			rename("DestinationPort", "DestPort")),
		6416: {kind: event.VolumeAttach, derive: subject},
	},
	eventlog: {
		104:  {kind: event.LogCleared, derive: otherLog},
		1102: {kind: event.LogCleared, derive: subject},
	},
	services: {
		7000: of(event.ServiceState, rename("ServiceName", "param1")),
		7009: of(event.ServiceState, rename("ServiceName", "param2")),
		7031: of(event.ServiceState, rename("ServiceName", "param1")),
		7034: of(event.ServiceState, rename("ServiceName", "param1")),
		7036: of(event.ServiceState, rename("ServiceName", "param1"), rename("State", "param2")),
		7040: of(event.ServiceChange, rename("ServiceName", "param4"), rename("StartType", "param3")),
		7045: of(event.ServiceInstall),
	},
	tasks: {
		100: of(event.TaskStart, rename("User", "UserContext"), rename("TaskInstanceId", "InstanceId")),
		101: of(event.TaskEnd, rename("User", "UserContext"), rename("TaskInstanceId", "InstanceId")),
		102: of(event.TaskEnd, rename("User", "UserContext"), rename("TaskInstanceId", "InstanceId")),
		103: of(event.TaskEnd, rename("User", "UserContext"), rename("TaskInstanceId", "InstanceId")),
		106: of(event.TaskRegister, rename("User", "UserContext")),
		107: of(event.TaskStart, rename("TaskInstanceId", "InstanceId")),
		108: of(event.TaskStart, rename("TaskInstanceId", "InstanceId")),
		110: of(event.TaskStart, rename("User", "UserContext"), rename("TaskInstanceId", "InstanceId")),
		129: of(event.TaskStart, rename("ImagePath", "Path"), rename("ProcessId", "ProcessID")),
		140: of(event.TaskUpdate, rename("User", "UserName")),
		141: of(event.TaskDelete, rename("User", "UserName")),
		142: of(event.TaskEnable, rename("User", "UserName")),
		200: of(event.TaskStart, rename("ImagePath", "ActionName")),
		201: of(event.TaskEnd, rename("ImagePath", "ActionName")),
		202: of(event.TaskEnd, rename("ImagePath", "ActionName")),
	},
	defender: {
		1006: of(event.MalwareFound),
		1007: of(event.MalwareActed),
		1015: of(event.MalwareFound),
		1116: of(event.MalwareFound),
		1117: of(event.MalwareActed),
		1118: of(event.MalwareActed),
		1119: of(event.MalwareActed),
		5001: of(event.DefenderOff),
		5007: of(event.DefenderConfig),
		5010: of(event.DefenderOff),
		5012: of(event.DefenderOff),
		5013: of(event.DefenderBlocked),
	},
	powershell: {
		4103: {kind: event.ScriptModule, derive: hostApplication("ContextInfo", "Host Application = ")},
		4104: of(event.ScriptBlock),
	},
	classic: {
		400: {kind: event.ScriptClassic, derive: classicScript},
		600: {kind: event.ScriptClassic, derive: classicScript},
		800: {kind: event.ScriptClassic, derive: classicScript},
	},
	partition: {
		1006: {kind: event.VolumeAttach, refine: partitionKind},
	},
	pnp: {
		400: of(event.VolumeAttach, rename("DeviceId", "DeviceInstanceId")),
		410: of(event.VolumeAttach, rename("DeviceId", "DeviceInstanceId")),
		420: of(event.VolumeDetach, rename("DeviceId", "DeviceInstanceId")),
	},
	// WMI-Activity writes UserData, which NXLog leaves to the rendered message.
	wmi: {
		11:   of(event.WMIOperation),
		23:   of(event.WMIOperation, rename("CommandLine", "Commandline")),
		5857: {kind: event.WMIOperation, derive: message(wmiMessage), fields: wmiFields},
		5858: {kind: event.WMIOperation, derive: message(wmiMessage), fields: wmiFields},
		5859: {kind: event.WMISubscription, derive: message(wmiMessage), fields: wmiFields[:1]}, // its process is the provider's host
		5860: {kind: event.WMISubscription, derive: message(wmiMessage), fields: wmiFields},
		5861: {kind: event.WMISubscription, derive: message(wmiMessage), fields: wmiFields},
	},
	// The job's name and id have other names in each layout: version 0 of id 3
	// knows neither id nor process.
	bits: {
		3: of(event.BITSJob, rename("JobTitle", "jobTitle"), rename("JobTitle", "string"), rename("JobId", "jobId"),
			rename("JobOwner", "jobOwner"), rename("JobOwner", "string2"), rename("User", "jobOwner"), rename("User", "string2"),
			rename("Image", "processPath"), mapping{"ProcessId", "processId", decimal}),
		4: of(event.BITSJob, bitsJob...),
		5: of(event.BITSJob, bitsJob...),
		16403: of(event.BITSJob, append([]mapping{
			rename("LocalName", "LocalName"), rename("Url", "RemoteName"),
			rename("Image", "processPath"),
			{"ProcessId", "processId", decimal},
		}, bitsJob...)...),
		59: of(event.BITSTransfer, bitsTransfer...),
		60: of(event.BITSTransfer, bitsTransfer...),
		61: of(event.BITSTransfer, bitsTransfer...),
	},
	// Windows Installer writes classic records: values without names.
	msi: {
		1033:  {kind: event.InstallerResult, derive: values("Product", "Version")},
		1034:  {kind: event.InstallerResult, derive: values("Product", "Version")},
		1035:  {kind: event.InstallerResult, derive: values("Product", "Version")},
		1036:  {kind: event.InstallerResult, derive: values("Product", "Version")},
		1040:  {kind: event.InstallerRun, derive: values("Package", "ClientProcessId")},
		1042:  {kind: event.InstallerRun, derive: values("Package", "ClientProcessId")},
		11707: {kind: event.InstallerResult, derive: values("Product")},
		11708: {kind: event.InstallerResult, derive: values("Product")},
		11724: {kind: event.InstallerResult, derive: values("Product")},
		11728: {kind: event.InstallerResult, derive: values("Product")},
	},
	winrm: {
		6:   of(event.RemoteShell, rename("Connection", "connection")),
		8:   of(event.RemoteShell),
		91:  of(event.RemoteShell, rename("ResourceUri", "resourceUri"), rename("ShellId", "shellId")),
		169: of(event.RemoteShell, rename("User", "username")),
	},
	terminalServices: {
		21:   of(event.RemoteDesktop, session...),
		22:   of(event.RemoteDesktop, session...),
		23:   of(event.RemoteDesktop, session...),
		24:   of(event.RemoteDesktop, session...),
		25:   of(event.RemoteDesktop, session...),
		1149: {kind: event.RemoteDesktop, derive: connectingUser, fields: []mapping{rename("IpAddress", "Param3")}},
	},
	kernelProcess: {
		1: of(event.ProcessCreate, mapping{"ProcessId", "ProcessID", decimal}, mapping{"ParentProcessId", "ParentProcessID", decimal}, rename("Image", "ImageName")),
		2: of(event.ProcessTerminate, mapping{"ProcessId", "ProcessID", decimal}),
	},
	// The sensor writes the taxonomy's names itself; its ids below 100 are
	// Sysmon's. See docs/formats/sensor-events.md.
	ownSensor: {
		1:   of(event.ProcessCreate),
		2:   of(event.FileTime),
		3:   of(event.NetworkConnect),
		5:   of(event.ProcessTerminate),
		6:   of(event.DriverLoad),
		7:   of(event.ImageLoad),
		11:  of(event.FileCreate),
		12:  {kind: event.RegistryAdd, refine: registryKind},
		13:  {kind: event.RegistrySet, refine: registryKind},
		15:  of(event.FileStream),
		22:  of(event.DNSQuery),
		26:  of(event.FileDelete),
		29:  of(event.FileExecutable),
		100: of(event.VolumeAttach),
		101: of(event.VolumeDetach),
		110: of(event.FileRename),
		111: of(event.FileAttribute),
		112: of(event.Shortcut),
		120: {kind: event.ServiceInstall, refine: changeKind(map[string]event.Kind{"changed": event.ServiceChange})},
		121: {kind: event.TaskRegister, refine: changeKind(map[string]event.Kind{"changed": event.TaskUpdate, "deleted": event.TaskDelete})},
		130: of(event.ResourceUse),
		131: of(event.ResourceUse),
		140: {kind: event.DefenderConfig, derive: exclusionSetting},
		150: of(event.SensorState),
		151: of(event.SensorState),
		152: of(event.SensorLoss),
	},
	driverFrameworks: {
		2003: of(event.VolumeAttach, rename("DeviceId", "InstanceId")),
		2100: of(event.VolumeDetach, rename("DeviceId", "InstanceId")),
		2102: of(event.VolumeDetach, rename("DeviceId", "InstanceId")),
	},
}

var bitsJob = []mapping{
	rename("JobTitle", "jobTitle"), rename("JobId", "jobId"), rename("JobOwner", "jobOwner"),
}

var bitsTransfer = []mapping{rename("JobTitle", "name"), rename("JobId", "Id"), rename("Url", "url")}

// wmiFields give the fields of WMI-Activity's records one spelling each.
var wmiFields = []mapping{
	rename("Namespace", "NamespaceName"), rename("Consumer", "CONSUMER"), rename("Filter", "ESS"),
	{"ClientProcessId", "ClientProcessID", decimal},
	{"ClientProcessId", "processid", decimal},
	{"ClientProcessId", "Processid", decimal},
}

// wmiMessage is what the names in the rendered message of WMI-Activity's records
// are in the taxonomy.
var wmiMessage = map[string]string{
	"Namespace": "Namespace", "NotificationQuery": "Query", "UserName": "User", "User": "User", "OwnerName": "User",
	"ClientProcessID": "ClientProcessId", "ClientProcessId": "ClientProcessId", "ClientMachine": "ClientMachine",
	"HostProcess": "HostProcess", "ProcessID": "HostProcessId", "HostProcessID": "HostProcessId", "ProviderPath": "ProviderPath", "Operation": "Operation",
	"Eventfilter": "Filter", "Consumer": "Consumer", "ResultCode": "ResultCode", "PossibleCause": "PossibleCause",
}

// message reads "Name = value; Name = value" of a record's rendered text where
// the record itself has no fields. The last name's value is the rest, which may
// hold anything.
func message(names map[string]string) func(*event.Event) {
	return func(e *event.Event) {
		text, ok := e.Data.Get("Message")
		if !ok {
			return
		}
		for text != "" {
			name, rest, ok := strings.Cut(text, " = ")
			if !ok {
				return
			}
			// The first name stands at the end of a sentence.
			name = name[strings.LastIndexAny(name, " .;,")+1:]
			canon := names[name]
			value := rest
			if canon == "PossibleCause" {
				text = ""
			} else {
				end := strings.IndexByte(rest, ';')
				if end < 0 {
					end = len(rest)
				}
				// 5860 parts two fields by a comma.
				if comma := strings.Index(rest[:end], ", ClientMachine = "); comma >= 0 {
					end = comma
				}
				value, text = rest[:end], rest[end:]
			}
			if canon == "" {
				continue
			}
			if _, taken := e.Get(canon); !taken {
				set(e, canon, strings.Trim(value, " "))
			}
		}
	}
}

// values names the values that a classic provider writes without names, in their
// order.
func values(names ...string) func(*event.Event) {
	return func(e *event.Event) {
		unnamed(e)
		n := 0
		for _, f := range e.Data {
			if f.Name != "Data" {
				if _, ok := strings.CutPrefix(f.Name, "param"); !ok {
					continue
				}
			}
			if n < len(names) && f.Value != "(NULL)" && f.Value != "" {
				set(e, names[n], f.Value)
			}
			n++
		}
	}
}

func classicScript(e *event.Event) {
	unnamed(e)
	hostApplication("Data", "HostApplication=")(e)
}

// hostApplication finds the command line of the PowerShell that wrote a record,
// which stands on a line of its own in a text of many. Values without names
// share one, so all of that name are read.
func hostApplication(field, mark string) func(*event.Event) {
	return func(e *event.Event) {
		for _, fields := range []event.Fields{e.Data, e.Canon} {
			for _, f := range fields {
				if f.Name != field {
					continue
				}
				if i := strings.Index(f.Value, mark); i >= 0 && (i == 0 || f.Value[i-1] <= ' ') {
					line := f.Value[i+len(mark):]
					if end := strings.IndexAny(line, "\r\n"); end >= 0 {
						line = line[:end]
					}
					set(e, "HostApplication", line)
					return
				}
			}
		}
	}
}

// unnamed gives the values without a name, which the old providers write, the
// name that rules know them by. winlogbeat numbers them instead: param1, param2 …
func unnamed(e *event.Event) {
	if _, ok := e.Data.Get("Data"); ok {
		return
	}
	for _, f := range e.Data {
		if n, ok := strings.CutPrefix(f.Name, "param"); ok && n != "" && strings.Trim(n, "0123456789") == "" {
			set(e, "Data", f.Value)
		}
	}
}

// registryKind reads Sysmon's EventType: ids 12 and 13 each stand for several
// operations.
func registryKind(e *event.Event) event.Kind {
	t, _ := e.Data.Get("EventType")
	switch t {
	case "DeleteKey", "DeleteValue":
		return event.RegistryDelete
	case "CreateKey":
		return event.RegistryAdd
	case "SetValue":
		return event.RegistrySet
	case "RenameKey", "RenameValue":
		return event.RegistryRename
	}
	if e.ID == 13 {
		return event.RegistrySet
	}
	return event.RegistryAdd
}

// changeKind reads what the sensor says was done to a service or task; what the
// map does not name was registered.
func changeKind(kinds map[string]event.Kind) func(*event.Event) event.Kind {
	return func(e *event.Event) event.Kind {
		if k, ok := kinds[strings.ToLower(e.Value("Change"))]; ok {
			return k
		}
		if e.ID == 120 {
			return event.ServiceInstall
		}
		return event.TaskRegister
	}
}

// exclusionSetting writes what the sensor read back from Defender as Defender's
// own record of a change (5007) does.
func exclusionSetting(e *event.Event) {
	list, ok := e.Data.Get("ExclusionType")
	value, has := e.Data.Get("ExclusionValue")
	if !ok || !has {
		return
	}
	name := "NewValue"
	if change, _ := e.Data.Get("Change"); strings.EqualFold(change, "removed") {
		name = "OldValue"
	}
	set(e, name, `HKLM\SOFTWARE\Microsoft\Windows Defender\Exclusions\`+list+`\`+value+" = 0x0")
}

// partitionKind tells arrival from removal: the record is written for both, and
// a removed disk has no capacity.
func partitionKind(e *event.Event) event.Kind {
	if c, ok := e.Data.Get("Capacity"); ok && (c == "0" || c == "0x0") {
		return event.VolumeDetach
	}
	return event.VolumeAttach
}

// createdProcess names the account that a 4688's process runs as: the target
// account where the record names one, else the creator's.
func createdProcess(e *event.Event) {
	if u, ok := account(e.Data, "TargetDomainName", "TargetUserName"); ok {
		set(e, "User", u)
		if id, ok := e.Data.Get("TargetLogonId"); ok && id != "0x0" {
			set(e, "LogonId", id)
		}
		return
	}
	subject(e)
}

// auditSession takes the number of the audit session, which the kernel gives every
// process that a logon led to, for the logon's id. 4294967295 means none.
func auditSession(e *event.Event) {
	if ses, ok := e.Data.Get("TerminalSessionId"); ok && ses != unsetID {
		set(e, "LogonId", ses)
	}
}

// unsetID is -1 as an unsigned number: no audit session, no login user.
const unsetID = "4294967295"

// objectAccess gives a file's path the taxonomy's name.
func objectAccess(e *event.Event) {
	subject(e)
	name, ok := e.Data.Get("ObjectName")
	if !ok {
		return
	}
	switch t, _ := e.Data.Get("ObjectType"); t {
	case "File":
		set(e, "TargetFilename", name)
	case "Key":
		v, _ := registryPath(name)
		set(e, "TargetObject", v)
	}
}

// registryValue joins key and value name as Sysmon writes them.
func registryValue(e *event.Event) {
	subject(e)
	key, ok := e.Data.Get("ObjectName")
	if !ok {
		return
	}
	key, _ = registryPath(key)
	if v, ok := e.Data.Get("ObjectValueName"); ok && v != "" {
		key += `\` + v
	}
	set(e, "TargetObject", key)
}
