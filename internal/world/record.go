package world

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"strconv"
	"strings"
	"time"

	"ashiato/internal/event"
)

// Record is what is kept of an event: enough to join on and to cite. Beside its
// own fields it has Provider, Host, Channel, Kind, ID and Task as the event has
// them.
type Record struct {
	Time time.Time
	*origin
	PID uint32 // of the process that wrote the record
	Ref event.EvidenceRef

	present uint32 // which of its kind's kept fields it has
	texts   *texts
	values  []textRef    // of those fields
	loose   event.Fields // instead, in a record that is not kept
}

// Get returns a kept field under its taxonomy name, "" if the record has none.
// "-" counts as none.
func (r *Record) Get(name string) string {
	v, _ := r.loose.Get(name)
	if r.loose == nil {
		v = r.kept(name)
	}
	if v == "-" {
		return ""
	}
	return v
}

func (r *Record) kept(name string) string {
	at := 0
	for i, n := range keptNames[r.Kind] {
		if r.present&(1<<i) == 0 {
			continue
		}
		if n == name {
			return r.texts.get(r.values[at])
		}
		at++
	}
	return ""
}

// keptNames are the names of keptFields as Get knows them, by kind: Get is called
// more often than anything else.
var keptNames = func() (m [1 << 8][]string) {
	for k, names := range keptFields {
		for _, n := range names {
			m[k] = append(m[k], fieldName(n))
		}
	}
	return m
}()

// fieldName is the name under which a recorded field is kept: Sysmon 10 spells
// some of its otherwise.
func fieldName(n string) string {
	if strings.HasSuffix(n, "GUID") {
		return n[:len(n)-len("GUID")] + "Guid"
	}
	return n
}

// Number returns a kept field that holds a number, decimal or 0x-hexadecimal.
func (r *Record) Number(name string) uint64 { return ParseNumber(r.Get(name)) }

// ParseNumber reads a decimal or 0x-hexadecimal number, 0 if it is neither.
func ParseNumber(s string) uint64 {
	n, err := strconv.ParseUint(strings.TrimSpace(s), 0, 64)
	if err != nil {
		n, _ = strconv.ParseUint(strings.TrimSpace(s), 10, 64)
	}
	return n
}

// compareRecords is event.Compare for records.
func compareRecords(a, b *Record) int {
	if c := a.Time.Compare(b.Time); c != 0 {
		return c
	}
	return a.Ref.Compare(b.Ref)
}

var (
	actorFields  = []string{"ProcessGuid", "ProcessId", "Image", "User"}
	fileFields   = append(slices.Clone(actorFields), "TargetFilename", "SourceFilename", "Hashes", "Contents", "FileAttributes", "IsDirectory", "IsExecutable", "AttributesAdded", "AttributesRemoved")
	scriptFields = []string{"ScriptBlockText", "Payload", "Path", "ScriptBlockId", "MessageNumber", "HostApplication", "Data"}
	wmiFields    = []string{
		"Operation", "User", "Name", "Type", "Destination", "Query", "Consumer", "Filter", "Namespace", "PossibleCause",
		"ClientProcessId", "ClientMachine", "OperationId", "IsLocal", "CommandLine",
		"ClientProcessCreationTime", "CreatedProcessId", "CreatedProcessCreationTime",
	}
	bitsFields = []string{
		"JobTitle", "JobId", "JobOwner", "User", "Url", "LocalName", "Image", "ProcessId", "ClientProcessStartKey", "bytesTransferred", "hr",
	}
	installerFields = []string{"Package", "ClientProcessId", "Product", "Version"}
	taskFields      = []string{
		"TaskName", "TaskContent", "ClientProcessStartKey", "ClientProcessId", "SubjectLogonId", "SubjectUserName",
		"Path", "ProcessId", "TaskInstanceId", "ActionName", "RpcCallClientLocality",
	}
	defenderFields = []string{"NewValue", "OldValue", "Path", "ThreatName", "ProcessName"}
	volumeFields   = []string{
		"DeviceId", "DeviceInstanceId", "DeviceDescription", "ClassName", "LocationInformation", "ParentId", "ParentInstanceId",
		"SerialNumber", "Model", "Manufacturer", "BusType", "Capacity", "DiskNumber", "DriveLetter", "VolumeSerialNumber", "VolumeName", "DriverName",
		"DevicePath", "FileSystem", "Removable",
	}
)

// keptFields says which fields of which kinds are kept. Kinds that are not here
// leave only what they say of their process.
var keptFields = map[event.Kind][]string{
	event.ProcessCreate: {
		"ProcessGuid", "ProcessId", "Image", "CommandLine", "CurrentDirectory", "User", "LogonId", "SubjectLogonId", "TerminalSessionId",
		"IntegrityLevel", "Hashes", "OriginalFileName", "ParentProcessGuid", "ParentProcessId", "ParentImage", "ParentCommandLine", "ParentUser",
		"Signed", "Signature", "SignatureStatus", "ImageAgeSeconds",
	},
	event.ProcessTerminate: actorFields,
	event.RemoteThread: {
		"SourceProcessGuid", "SourceProcessId", "SourceImage", "TargetProcessGuid", "TargetProcessId", "TargetImage",
	},
	event.ImageLoad:      append(slices.Clone(actorFields), "ImageLoaded", "Hashes", "Signed", "Signature", "SignatureStatus", "ImageLoadedAgeSeconds"),
	event.DriverLoad:     {"ImageLoaded", "Hashes", "Signed", "Signature"},
	event.FileCreate:     fileFields,
	event.FileExecutable: fileFields,
	event.FileStream:     fileFields,
	event.FileDelete:     fileFields,
	event.FileRename:     fileFields,
	event.FileAttribute:  fileFields,
	event.Shortcut: append(slices.Clone(actorFields),
		"TargetFilename", "Operation", "LinkTarget", "LinkArguments", "LinkWorkingDirectory", "LinkVolumeSerialNumber", "Hashes"),
	event.ResourceUse:    append(slices.Clone(actorFields), "Percent", "Seconds", "Signed", "Signature", "SignatureStatus", "ImageAgeSeconds"),
	event.FileAccess:     append(slices.Clone(actorFields), "TargetFilename", "ObjectName", "ObjectType", "AccessMask", "AccessList"),
	event.RegistrySet:    append(slices.Clone(actorFields), "TargetObject", "Details"),
	event.RegistryDelete: append(slices.Clone(actorFields), "TargetObject"),
	event.NetworkConnect: append(slices.Clone(actorFields), "DestinationIp", "DestinationPort", "DestinationHostname", "SourceIp", "SourcePort", "Initiated", "Protocol"),
	event.DNSQuery:       append(slices.Clone(actorFields), "QueryName", "QueryResults"),
	event.ServiceInstall: {
		"ServiceName", "ImagePath", "ServiceType", "StartType", "AccountName",
		"ClientProcessStartKey", "ClientProcessId", "SubjectLogonId", "SubjectUserName",
	},
	event.TaskRegister:    taskFields,
	event.TaskUpdate:      taskFields,
	event.TaskDelete:      taskFields,
	event.TaskStart:       taskFields,
	event.DefenderConfig:  defenderFields,
	event.MalwareFound:    defenderFields,
	event.ScriptBlock:     scriptFields,
	event.ScriptModule:    scriptFields,
	event.ScriptClassic:   scriptFields,
	event.WMIFilter:       wmiFields,
	event.WMIConsumer:     wmiFields,
	event.WMIBinding:      wmiFields,
	event.WMIOperation:    wmiFields,
	event.WMISubscription: wmiFields,
	event.BITSJob:         bitsFields,
	event.BITSTransfer:    bitsFields,
	event.InstallerRun:    installerFields,
	event.InstallerResult: installerFields,
	event.RemoteShell:     {"Connection", "ResourceUri", "ShellId", "User"},
	event.VolumeAttach:    volumeFields,
	event.VolumeDetach:    volumeFields,
	event.Logon: {
		"TargetLogonId", "LogonType", "IpAddress", "IpPort", "TargetUserName", "TargetUserSid", "WorkstationName",
		"TargetLinkedLogonId", "LogonGuid", "LogonProcessName", "SubjectLogonId", "ProcessId", "Image",
	},
	event.LogonExplicit: {
		"ProcessId", "Image", "SubjectLogonId", "SubjectUserName", "TargetUserName", "TargetServerName", "TargetLogonGuid",
	},
	event.RemoteDesktop: {"User", "IpAddress", "TerminalSessionId", "TargetLogonId", "SessionName", "WorkstationName"},
	event.ShareAccess: {
		"SubjectLogonId", "SubjectUserName", "IpAddress", "IpPort", "ShareName", "ShareLocalPath", "RelativeTargetName", "AccessMask",
	},
	event.ShareChange:   {"ShareName", "ShareLocalPath"},
	event.PipeCreate:    append(slices.Clone(actorFields), "PipeName"),
	event.PipeConnect:   append(slices.Clone(actorFields), "PipeName"),
	event.ProcessTamper: append(slices.Clone(actorFields), "Type"),
	event.ProcessAccess: {
		"SourceProcessGuid", "SourceProcessGUID", "SourceProcessId", "SourceImage",
		"TargetProcessGuid", "TargetProcessGUID", "TargetProcessId", "TargetImage", "GrantedAccess",
	},
	event.LogCleared:  {"SubjectUserName", "SubjectLogonId", "ClientProcessId", "ClientProcessStartKey", "User", "ClearedLog"},
	event.SensorState: {"State"},
	event.SensorLoss:  {},
}

// maxText bounds the length of one kept value; longer script text is kept to
// there for joining, the record itself keeps it whole.
const maxText = 64 << 10

// wanted reports whether a record of a kept kind can take part in a join. The
// kinds that make up most logs are thinned here.
func wanted(e *event.Event) bool {
	switch e.Kind {
	case event.RegistrySet, event.RegistryDelete:
		return wantedKey(e.Value("TargetObject"))
	case event.ShareAccess:
		return wantedShare(e)
	case event.PipeCreate, event.PipeConnect:
		return !SystemPipe(e.Value("PipeName"))
	case event.ProcessAccess:
		return Injects(ParseNumber(e.Value("GrantedAccess")))
	case event.FileAccess:
		if e.Task == removableTask {
			return true
		}
		name := e.Value("TargetFilename")
		if name == "" {
			name = e.Value("ObjectName")
		}
		key := PathKey(name)
		if l, ok := Letter(key); ok {
			return l != 'c'
		}
		return strings.HasPrefix(key, devicePrefix)
	case event.ScriptBlock, event.ScriptModule:
		return e.Value("Path") != "" || wantedScript(e.Value("ScriptBlockText")) || wantedScript(e.Value("Payload"))
	case event.ScriptClassic:
		return e.ID == 800 && wantedScript(e.Value("Data"))
	case event.WMIOperation:
		return e.ID == 11 || e.ID == 23 // the rest starts nothing
	case event.BITSTransfer:
		return e.ID != 61 // of a transfer that failed nothing came
	}
	return true
}

// wantedWords are what a script says that hands something on: it names a service,
// a task, a WMI class, a COM class, a BITS job, another machine or an exclusion.
var wantedWords = []string{
	"exclusion", "new-service", "scheduledtask", "win32_process", "eventconsumer", "bitstransfer", "bitsadmin",
	"comobject", "gettypefromprogid", "gettypefromclsid", "pssession", "invoke-command", "msiexec", "schtasks", "winrs", "wmic",
}

func wantedScript(text string) bool {
	if text == "" {
		return false
	}
	text = strings.ToLower(text)
	return slices.ContainsFunc(wantedWords, func(w string) bool { return strings.Contains(text, w) })
}

// removableTask is the task category of Security 4656 and 4663 records that
// the "Audit Removable Storage" policy wrote.
const removableTask = 12812

// wantedParts are the parts of registry paths that joins are made on.
var wantedParts = []string{
	`\services\`, `\currentversion\run`, `\windows defender\exclusions\`, `\enum\usbstor\`, `\wpdbusenum\`,
	`\mounteddevices`, `\policies\explorer\run`, `\taskcache\tree\`,
	// Values that start or redirect programs; see provenance's persistence.
	`\inprocserver32`, `\localserver32`, `\treatas`, `\image file execution options\`, `\silentprocessexit\`, `\appinit_dlls`,
	`\appcertdlls\`, `\print\monitors\`, `\print\environments\`, `\microsoft\netsh\`, `\desktop\scrnsave.exe`, `\winlogon\`,
	`\environment\`, `\shell\open\command`, `\shell\runas\command`, `\active setup\installed components\`,
	`\command processor\`, `\control\lsa\`, `\control\securityproviders\`, `\natural language\`,
}

// wantedKey says which registry values joins are made on.
func wantedKey(path string) bool {
	for i := range len(path) {
		if path[i] != '\\' {
			continue
		}
		for _, part := range wantedParts {
			if len(path)-i >= len(part) && strings.EqualFold(path[i:i+len(part)], part) {
				return true
			}
		}
	}
	return false
}

func appendContent(b []byte, e *event.Event, host, channel string) []byte {
	for _, s := range [...]string{host, channel, e.Provider} {
		b = append(b, s...)
		b = append(b, 0)
	}
	b = binary.LittleEndian.AppendUint64(b, e.Ref.RecordID)
	b = binary.LittleEndian.AppendUint64(b, uint64(e.Time.UnixNano()))
	b = binary.LittleEndian.AppendUint32(b, e.ID)
	if e.Ref.RecordID == 0 {
		b = append(b, e.Ref.SHA256[:]...)
	}
	return b
}

// Content returns a short identity of what the record says: equal for the same
// record read from two files, and the same whenever it is asked for.
func Content(e *event.Event) [16]byte {
	sum := sha256.Sum256(appendContent(make([]byte, 0, 256), e, HostKey(e.Host), strings.ToLower(e.Channel)))
	return [16]byte(sum[:16])
}
