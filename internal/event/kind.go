package event

import "fmt"

// Kind says what a record is about, independent of the log that holds it.
type Kind uint8

// The kinds. The comment names the records that map to each; the tables are in
// package normalize. The sensor's records have Sysmon's ids where Sysmon has the
// like, see docs/formats/sensor-events.md.
const (
	Other            Kind = iota // any record without a kind of its own
	ProcessCreate                // Sysmon 1, Security 4688, the sensor's 1
	ProcessTerminate             // Sysmon 5, Security 4689
	ProcessAccess                // Sysmon 10
	ProcessTamper                // Sysmon 25
	RemoteThread                 // Sysmon 8
	ImageLoad                    // Sysmon 7
	DriverLoad                   // Sysmon 6
	RawRead                      // Sysmon 9
	FileCreate                   // Sysmon 11: a file or folder was created or overwritten
	FileTime                     // Sysmon 2: a file's creation time was set
	FileStream                   // Sysmon 15: an alternate stream, such as the zone mark
	FileDelete                   // Sysmon 23, 26
	FileExecutable               // Sysmon 29: a program was written, whatever its extension
	FileBlocked                  // Sysmon 27, 28
	FileRename                   // the sensor's 110: a file or folder got another name or place
	FileAttribute                // the sensor's 111: attributes were changed, with those before and after
	FileAccess                   // Security 4656, 4663: an object was opened or used
	RegistryAdd                  // Sysmon 12 CreateKey
	RegistryDelete               // Sysmon 12 DeleteKey, DeleteValue
	RegistrySet                  // Sysmon 13, Security 4657
	RegistryRename               // Sysmon 14
	PipeCreate                   // Sysmon 17
	PipeConnect                  // Sysmon 18
	WMIFilter                    // Sysmon 19
	WMIConsumer                  // Sysmon 20
	WMIBinding                   // Sysmon 21
	NetworkConnect               // Sysmon 3, Security 5156
	DNSQuery                     // Sysmon 22
	Clipboard                    // Sysmon 24
	ServiceInstall               // System 7045, Security 4697, the sensor's 120
	ServiceChange                // System 7040
	ServiceState                 // System 7036, 7000, 7009 …
	TaskRegister                 // Security 4698, TaskScheduler 106, the sensor's 121
	TaskUpdate                   // Security 4702, TaskScheduler 140
	TaskDelete                   // Security 4699, TaskScheduler 141
	TaskEnable                   // Security 4700, 4701, TaskScheduler 142
	TaskStart                    // TaskScheduler 100, 107, 108, 110, 129, 200
	TaskEnd                      // TaskScheduler 101, 102, 103, 201, 202
	DefenderConfig               // Defender 5007, the sensor's 140
	DefenderOff                  // Defender 5001, 5010, 5012
	DefenderBlocked              // Defender 5013: tamper protection stopped a change
	MalwareFound                 // Defender 1006, 1015, 1116
	MalwareActed                 // Defender 1007, 1117, 1118, 1119
	ScriptBlock                  // PowerShell 4104
	ScriptModule                 // PowerShell 4103
	ScriptClassic                // Windows PowerShell 400, 600, 800
	VolumeAttach                 // Partition 1006 with a capacity, Security 6416, PnP 400, the sensor's 100
	VolumeDetach                 // Partition 1006 without a capacity, PnP 420, the sensor's 101
	Logon                        // Security 4624
	LogonFailed                  // Security 4625
	LogonExplicit                // Security 4648
	LogonPrivilege               // Security 4672
	Logoff                       // Security 4634, 4647
	ShareAccess                  // Security 5140, 5145
	LogCleared                   // Security 1102, System 104
	SensorState                  // Sysmon 4, 16, the sensor's 150, 151
	SensorLoss                   // Sysmon 255, the sensor's 152: lost buffers
	WMIOperation                 // WMI-Activity 5857, 5858, ETW 11, 23: something was asked of WMI
	WMISubscription              // WMI-Activity 5859, 5860, 5861
	BITSJob                      // BITS-Client 3, 4, 5, 16403: a job was made, ended, got a file
	BITSTransfer                 // BITS-Client 59, 60, 61
	InstallerRun                 // MsiInstaller 1040, 1042: a transaction began, ended
	InstallerResult              // MsiInstaller 1033–1038, 11707, 11708, 11724 …: what came of it
	RemoteShell                  // WinRM 6, 8, 91, 169
	RemoteDesktop                // TerminalServices 1149, 21 to 25, Security 4778, 4779: someone came, or went, by RDP
	ShareChange                  // Security 5142, 5143: a network share was added or changed
	Shortcut                     // the sensor's 112: a shortcut was opened or written, and where it leads
	ResourceUse                  // the sensor's 130, 131: a process kept the CPU or the GPU busy
	kindCount
)

var kindNames = [kindCount]string{
	"other", "process_create", "process_terminate", "process_access", "process_tamper",
	"remote_thread", "image_load", "driver_load", "raw_read", "file_create", "file_time",
	"file_stream", "file_delete", "file_executable", "file_blocked", "file_rename",
	"file_attribute", "file_access", "registry_add", "registry_delete", "registry_set",
	"registry_rename", "pipe_create", "pipe_connect", "wmi_filter", "wmi_consumer",
	"wmi_binding", "network_connect", "dns_query", "clipboard", "service_install",
	"service_change", "service_state", "task_register", "task_update", "task_delete",
	"task_enable", "task_start", "task_end", "defender_config", "defender_off",
	"defender_blocked", "malware_found", "malware_acted", "script_block", "script_module",
	"script_classic", "volume_attach", "volume_detach", "logon", "logon_failed",
	"logon_explicit", "logon_privilege", "logoff", "share_access", "log_cleared",
	"sensor_state", "sensor_loss", "wmi_operation", "wmi_subscription", "bits_job", "bits_transfer",
	"installer_run", "installer_result", "remote_shell",
	"remote_desktop", "share_change", "shortcut", "resource_use",
}

// String returns the kind's stable name, as in machine output.
func (k Kind) String() string {
	if k < kindCount {
		return kindNames[k]
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// Kinds returns every kind in order.
func Kinds() []Kind {
	all := make([]Kind, kindCount)
	for i := range all {
		all[i] = Kind(i)
	}
	return all
}
