package normalize

import (
	"strings"

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
)

// providers and channels say which log a record belongs to. The provider
// decides; the channel stands in where a shipper dropped the provider's name.
var (
	providers = map[string]logName{
		"microsoft-windows-sysmon":                    sysmon,
		"microsoft-windows-security-auditing":         security,
		"microsoft-windows-eventlog":                  eventlog,
		"service control manager":                     services,
		"microsoft-windows-taskscheduler":             tasks,
		"microsoft-windows-windows defender":          defender,
		"microsoft-windows-powershell":                powershell,
		"powershellcore":                              powershell,
		"powershell":                                  classic,
		"microsoft-windows-partition":                 partition,
		"microsoft-windows-kernel-pnp":                pnp,
		"microsoft-windows-driverframeworks-usermode": driverFrameworks,
	}
	channels = map[string]logName{
		"microsoft-windows-sysmon/operational":                    sysmon,
		"security":                                                security,
		"microsoft-windows-taskscheduler/operational":             tasks,
		"microsoft-windows-windows defender/operational":          defender,
		"microsoft-windows-powershell/operational":                powershell,
		"windows powershell":                                      classic,
		"microsoft-windows-partition/diagnostic":                  partition,
		"microsoft-windows-kernel-pnp/configuration":              pnp,
		"microsoft-windows-driverframeworks-usermode/operational": driverFrameworks,
	}
)

func logOf(provider, channel string) logName {
	if l, ok := providers[strings.ToLower(provider)]; ok {
		return l
	}
	if provider == "" {
		return channels[strings.ToLower(channel)]
	}
	return unknown
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

// subject is the account on whose behalf it was done.
func subject(e *event.Event) {
	if u, ok := account(e.Data, "SubjectDomainName", "SubjectUserName"); ok {
		set(e, "User", u)
	}
	if id, ok := e.Data.Get("SubjectLogonId"); ok {
		set(e, "LogonId", id)
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
		15:  of(event.FileStream),
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
		5140: {kind: event.ShareAccess, derive: subject},
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
		104:  {kind: event.LogCleared, derive: subject},
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
		100: of(event.TaskStart, rename("User", "UserContext")),
		101: of(event.TaskEnd, rename("User", "UserContext")),
		102: of(event.TaskEnd, rename("User", "UserContext")),
		103: of(event.TaskEnd, rename("User", "UserContext")),
		106: of(event.TaskRegister, rename("User", "UserContext")),
		107: of(event.TaskStart),
		108: of(event.TaskStart),
		110: of(event.TaskStart, rename("User", "UserContext")),
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
		4103: of(event.ScriptModule),
		4104: of(event.ScriptBlock),
	},
	classic: {
		400: {kind: event.ScriptClassic, derive: unnamed},
		600: {kind: event.ScriptClassic, derive: unnamed},
		800: {kind: event.ScriptClassic, derive: unnamed},
	},
	partition: {
		1006: {kind: event.VolumeAttach, refine: partitionKind},
	},
	pnp: {
		400: of(event.VolumeAttach, rename("DeviceId", "DeviceInstanceId")),
		410: of(event.VolumeAttach, rename("DeviceId", "DeviceInstanceId")),
		420: of(event.VolumeDetach, rename("DeviceId", "DeviceInstanceId")),
	},
	driverFrameworks: {
		2003: of(event.VolumeAttach, rename("DeviceId", "InstanceId")),
		2100: of(event.VolumeDetach, rename("DeviceId", "InstanceId")),
		2102: of(event.VolumeDetach, rename("DeviceId", "InstanceId")),
	},
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
