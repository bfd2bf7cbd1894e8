package world

import (
	"crypto/sha256"
	"encoding/binary"
	"hash/maphash"
	"slices"
	"strconv"
	"strings"
	"time"

	"ashiato/internal/event"
)

// Record is what is kept of an event: enough to join on and to cite.
type Record struct {
	Time     time.Time
	Kind     event.Kind
	ID       uint32
	Task     uint16
	PID      uint32 // of the process that wrote the record
	Provider string
	Host     string
	Channel  string
	Fields   event.Fields // the fields kept for the kind, under taxonomy names
	Ref      event.EvidenceRef
}

// Get returns a kept field, "" if the record has none. "-" counts as none.
func (r *Record) Get(name string) string {
	v, _ := r.Fields.Get(name)
	if v == "-" {
		return ""
	}
	return v
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
	fileFields   = append(slices.Clone(actorFields), "TargetFilename", "SourceFilename", "Hashes", "Contents", "FileAttributes")
	scriptFields = []string{"ScriptBlockText", "Payload", "Path", "ScriptBlockId", "MessageNumber"}
	taskFields   = []string{
		"TaskName", "TaskContent", "ClientProcessStartKey", "ClientProcessId", "SubjectLogonId", "SubjectUserName",
		"Path", "ProcessId", "TaskInstanceId", "ActionName", "RpcCallClientLocality",
	}
	defenderFields = []string{"NewValue", "OldValue", "Path", "ThreatName", "ProcessName"}
	volumeFields   = []string{
		"DeviceId", "DeviceInstanceId", "DeviceDescription", "ClassName", "LocationInformation", "ParentId", "ParentInstanceId",
		"SerialNumber", "Model", "Manufacturer", "BusType", "Capacity", "DiskNumber", "DriveLetter", "VolumeSerialNumber", "VolumeName", "DriverName",
	}
)

// keptFields says which fields of which kinds are kept. Kinds that are not here
// leave only what they say of their process.
var keptFields = map[event.Kind][]string{
	event.ProcessCreate: {
		"ProcessGuid", "ProcessId", "Image", "CommandLine", "CurrentDirectory", "User", "LogonId", "SubjectLogonId",
		"IntegrityLevel", "Hashes", "OriginalFileName", "ParentProcessGuid", "ParentProcessId", "ParentImage", "ParentCommandLine", "ParentUser",
	},
	event.ProcessTerminate: actorFields,
	event.RemoteThread: {
		"SourceProcessGuid", "SourceProcessId", "SourceImage", "TargetProcessGuid", "TargetProcessId", "TargetImage",
	},
	event.ImageLoad:      append(slices.Clone(actorFields), "ImageLoaded", "Hashes", "Signed", "Signature", "SignatureStatus"),
	event.DriverLoad:     {"ImageLoaded", "Hashes", "Signed", "Signature"},
	event.FileCreate:     fileFields,
	event.FileExecutable: fileFields,
	event.FileStream:     fileFields,
	event.FileDelete:     fileFields,
	event.FileRename:     fileFields,
	event.FileAttribute:  fileFields,
	event.FileAccess:     append(slices.Clone(actorFields), "TargetFilename", "ObjectName", "ObjectType", "AccessMask", "AccessList"),
	event.RegistrySet:    append(slices.Clone(actorFields), "TargetObject", "Details"),
	event.NetworkConnect: append(slices.Clone(actorFields), "DestinationIp", "DestinationPort", "DestinationHostname", "SourceIp", "SourcePort", "Initiated", "Protocol"),
	event.DNSQuery:       append(slices.Clone(actorFields), "QueryName", "QueryResults"),
	event.ServiceInstall: {
		"ServiceName", "ImagePath", "ServiceType", "StartType", "AccountName",
		"ClientProcessStartKey", "ClientProcessId", "SubjectLogonId", "SubjectUserName",
	},
	event.TaskRegister:   taskFields,
	event.TaskUpdate:     taskFields,
	event.TaskDelete:     taskFields,
	event.TaskStart:      taskFields,
	event.DefenderConfig: defenderFields,
	event.MalwareFound:   defenderFields,
	event.ScriptBlock:    scriptFields,
	event.ScriptModule:   scriptFields,
	event.VolumeAttach:   volumeFields,
	event.VolumeDetach:   volumeFields,
	event.Logon:          {"TargetLogonId", "LogonType", "IpAddress", "IpPort", "TargetUserName", "TargetUserSid", "WorkstationName"},
	event.LogCleared:     {"SubjectUserName", "SubjectLogonId", "ClientProcessId", "ClientProcessStartKey"},
	event.SensorState:    {"State"},
	event.SensorLoss:     {},
}

// maxText bounds the length of one kept value; longer script text is kept to
// there for joining, the record itself keeps it whole.
const maxText = 64 << 10

// wanted reports whether a record of a kept kind can take part in a join. The
// kinds that make up most logs are thinned here.
func wanted(e *event.Event) bool {
	switch e.Kind {
	case event.RegistrySet:
		return wantedKey(e.Value("TargetObject"))
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
		text := strings.ToLower(e.Value("ScriptBlockText") + e.Value("Payload"))
		return e.Value("Path") != "" || strings.Contains(text, "exclusion") ||
			strings.Contains(text, "new-service") || strings.Contains(text, "scheduledtask")
	}
	return true
}

// removableTask is the task category of Security 4656 and 4663 records that
// the "Audit Removable Storage" policy wrote.
const removableTask = 12812

// wantedParts are the parts of registry paths that joins are made on.
var wantedParts = []string{
	`\services\`, `\currentversion\run`, `\windows defender\exclusions\`, `\enum\usbstor\`, `\wpdbusenum\`,
	`\mounteddevices`, `\policies\explorer\run`,
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

type contentKey [2]uint64

// content identifies what a record says, whichever file it was read from, by
// two keyed hashes: it is good within this World only.
func (w *World) content(e *event.Event) contentKey {
	b := w.appendContent(w.buffer[:0], e)
	w.buffer = b
	return contentKey{maphash.Bytes(w.seeds[0], b), maphash.Bytes(w.seeds[1], b)}
}

func (w *World) appendContent(b []byte, e *event.Event) []byte {
	return appendContent(b, e, w.lower(e.Host), w.lower(e.Channel))
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
