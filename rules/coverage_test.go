package rules_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"ashiato/internal/detect"
	"ashiato/internal/ruletest"
	"ashiato/internal/sigma"
)

// The document that this file writes: which record of which log shows which step
// of the USB coin miner, and what the pack makes of it.
const coverageFile = "../docs/guide/usb-coinminer-coverage.md"

// campaignSteps are the steps as published, in their order.
var campaignSteps = []string{
	1:  "The stick is plugged in, the user opens the shortcut in its root",
	2:  "The shortcut runs a script of the stick, which in the second generation starts itself again elevated",
	3:  "The script runs a batch file in a hidden window",
	4:  "The batch file shows the user a folder, so that nothing seems to have happened",
	5:  "Defender is told to skip the stick and the imitation (second generation)",
	6:  "A folder that imitates the Windows folder is made",
	7:  "A program of Windows and the payload are copied there, the payload is renamed",
	8:  "The program runs elevated without a prompt and loads the payload",
	9:  "Defender is told to skip System32 and whole drives",
	10: "Programs are dropped into System32",
	11: "A service is registered that runs a library in a shared service host",
	12: "The service runs",
	13: "A task is registered that starts an updater at logon",
	14: "Traces are removed",
	15: "Fast startup is switched off",
	16: "The service asks its server and downloads",
	17: "A driver that gives access to the processor's registers is loaded",
	18: "The miner runs",
	19: "It stops while the user looks",
	20: "Every stick that is plugged in is infected",
}

// cell is what one log shows of one step.
type cell struct {
	step int
	log  string // the log and the event id
	// gen is the generation of the campaign that the records are of, 0 if both
	// look the same.
	gen   int
	shows string
	// want are the rules that must fire. Without any, why says what keeps this
	// telemetry from deciding, and nothing of medium or more may fire.
	want []string
	why  string
	// records are made by rec, in order of time, a second apart.
	records []string
}

// rec is a record in the syntax of rule tests: provider/id and pairs of field
// and value.
func rec(event string, pairs ...string) string {
	provider, id, _ := strings.Cut(event, "/")
	var b strings.Builder
	fmt.Fprintf(&b, "event %q/%s%s\n", provider, id, channels[provider])
	for i := 0; i+1 < len(pairs); i += 2 {
		fmt.Fprintf(&b, "    %s: %s\n", pairs[i], strconv.Quote(pairs[i+1]))
	}
	return b.String()
}

// channels are those of providers that have no usual one in rule tests.
var channels = map[string]string{
	"Microsoft-Windows-Kernel-General": " channel=System",
	"Microsoft-Windows-CodeIntegrity":  " channel=Microsoft-Windows-CodeIntegrity/Operational",
}

const (
	sysmonLog   = "Microsoft-Windows-Sysmon"
	securityLog = "Microsoft-Windows-Security-Auditing"
	servicesLog = "Service Control Manager"
	tasksLog    = "Microsoft-Windows-TaskScheduler"
	defenderLog = "Microsoft-Windows-Windows Defender"
	scriptLog   = "Microsoft-Windows-PowerShell"
)

// started is a start as Sysmon tells it, at the integrity level Medium unless
// more says otherwise.
func started(image, command, parent string, more ...string) string {
	return rec(sysmonLog+"/1", append([]string{"ProcessId", "4711", "Image", image, "CommandLine", command, "ParentImage", parent}, more...)...)
}

// created is the same in the Security log.
func created(image, command, parent string, more ...string) string {
	return rec(securityLog+"/4688", append([]string{
		"NewProcessId", "0x1267", "NewProcessName", image, "ProcessId", "0x1200", "CommandLine", command, "ParentProcessName", parent,
	}, more...)...)
}

// accessed is an audited access to a file.
func accessed(path, mask, by string) string {
	return rec(securityLog+"/4663", "SubjectUserName", "PC-1$", "ObjectServer", "Security", "ObjectType", "File", "ObjectName", path,
		"AccessMask", mask, "ProcessId", "0x5a8", "ProcessName", by)
}

// valueSet is a registry value as Sysmon tells it, and audited the same in the
// Security log.
func valueSet(by, object, details string) string {
	return rec(sysmonLog+"/13", "EventType", "SetValue", "ProcessId", "4711", "Image", by, "TargetObject", object, "Details", details)
}

func audited(by, key, name, value string) string {
	return rec(securityLog+"/4657", "ObjectName", `\REGISTRY\MACHINE\`+key, "ObjectValueName", name, "OperationType", "%%1904", "NewValue", value,
		"ProcessId", "0x1267", "ProcessName", by)
}

const (
	system32  = `C:\Windows\System32\`
	mockPath  = `C:\Windows \System32\`
	explorer  = `C:\Windows\explorer.exe`
	svchost   = system32 + `svchost.exe`
	cmdExe    = system32 + `cmd.exe`
	wscript   = system32 + `wscript.exe`
	psExe     = system32 + `WindowsPowerShell\v1.0\powershell.exe`
	mockHost  = mockPath + `printui.exe`
	bareHost  = system32 + `svchost.exe -k DcomLaunch`
	winBuild  = `10.0.19041.546 (WinBuild.160101.0800)`
	minerArgs = ` -o relay.example:443 --tls --tls-fingerprint=420c7850e09b7c0bdcf748a7da9eb3647daf8515718f36d9ccfdd6b9ff834b14 --dns-ttl=3600 --max-cpu-usage=50`
	taskXML   = `<Task version="1.2"><Triggers><LogonTrigger><Enabled>true</Enabled></LogonTrigger></Triggers><Principals><Principal id="Author">` +
		`<RunLevel>HighestAvailable</RunLevel></Principal></Principals><Actions Context="Author"><Exec><Command>C:\Windows\System32\console_zero.exe</Command></Exec></Actions></Task>`
)

// cells is the matrix. A telemetry that can see a step has a row in it, with the
// rule that fires or the reason why none can.
var cells = []cell{
	// 1 the stick
	{
		step: 1, log: "Partition 1006", shows: "the disk's maker, serial number and bus, when it comes and goes",
		why:     "every stick writes it; it names the volume that all later findings come from",
		records: []string{rec("Microsoft-Windows-Partition/1006", "DiskNumber", "1", "BusType", "7", "Capacity", "15728640000", "Manufacturer", "Generic", "Model", "Flash Disk", "SerialNumber", "7F1A3C5E90B2")},
	},
	{
		step: 1, log: "Security 6416", shows: "a new external device, with Audit PNP Activity",
		why: "the same of every device, printers and screens too; it tells which stick it was",
		records: []string{rec(securityLog+"/6416", "SubjectUserName", "PC-1$", "DeviceId", `USBSTOR\Disk&Ven_Generic&Prod_Flash_Disk&Rev_8.07\7F1A3C5E90B2&0`,
			"DeviceDescription", "Disk drive", "ClassName", "DiskDrive")},
	},
	{
		step: 1, log: "Kernel-PnP 400, 410, 420", shows: "the device is configured, started, removed",
		why:     "as above",
		records: []string{rec("Microsoft-Windows-Kernel-PnP/400", "DeviceInstanceId", `USBSTOR\Disk&Ven_Generic&Prod_Flash_Disk&Rev_8.07\7F1A3C5E90B2&0`, "ClassGuid", "{4d36e967-e325-11ce-bfc1-08002be10318}")},
	},
	{
		step: 1, log: "DriverFrameworks 2003, 2100, 2102", shows: "the device's driver is loaded and ends; off by default",
		why:     "as above",
		records: []string{rec("Microsoft-Windows-DriverFrameworks-UserMode/2003", "InstanceId", `SWD\WPDBUSENUM\_??_USBSTOR#DISK&VEN_GENERIC`, "LifetimeId", "{0}")},
	},
	{
		step: 1, log: "Sysmon 12, 13", shows: "keys below USBSTOR, MountedDevices and the user's MountPoints2",
		why:     "written for every stick, by Windows itself",
		records: []string{valueSet(explorer, `HKU\S-1-5-21-1-2-3-1001\Software\Microsoft\Windows\CurrentVersion\Explorer\MountPoints2\{0b1c2d3e-0000-0000-0000-000000000000}\Data`, "Binary Data")},
	},
	{
		step: 1, log: "Security 4663", shows: "the shortcut is read, with Audit Removable Storage",
		why:     "a read of a shortcut is what opening a folder does; where it leads is in the file, which no log holds",
		records: []string{accessed(`\Device\HarddiskVolume7\USB Drive.lnk`, "0x1", explorer)},
	},

	// 2 the script
	{
		step: 2, log: "Sysmon 1", gen: 1, shows: "the script host, its script on another drive, the shell as parent",
		want:    []string{"usb-script-host"},
		records: []string{started(wscript, `"C:\WINDOWS\System32\WScript.exe" "E:\rootdir\x817994.vbs" `, explorer, "CurrentDirectory", `E:\rootdir\`, "IntegrityLevel", "Medium")},
	},
	{
		step: 2, log: "Sysmon 1", gen: 2, shows: "the same script again, elevated, under the script host",
		want: []string{"usb-script-host", "usb-script-elevated"},
		records: []string{
			started(wscript, `"C:\WINDOWS\System32\WScript.exe" "E:\sysvolume\u104882.vbs" `, explorer, "CurrentDirectory", `E:\sysvolume\`, "IntegrityLevel", "Medium"),
			started(wscript, `"C:\Windows\System32\wscript.exe" "E:\sysvolume\u104882.vbs" /elevated`, wscript, "CurrentDirectory", `C:\Windows\system32\`, "IntegrityLevel", "High"),
		},
	},
	{
		step: 2, log: "Security 4688", gen: 1, shows: "the same, if command lines are recorded; old records lack the parent's name",
		want:    []string{"usb-script-host"},
		records: []string{rec(securityLog+"/4688", "NewProcessId", "0x2ac", "NewProcessName", wscript, "ProcessId", "0x1638", "CommandLine", `"C:\WINDOWS\System32\WScript.exe" "E:\rootdir\x817994.vbs"`)},
	},
	{
		step: 2, log: "Security 4688", gen: 2, shows: "the elevated start, with its mandatory label",
		want:    []string{"usb-script-elevated"},
		records: []string{created(wscript, `"wscript.exe" "E:\sysvolume\u104882.vbs" /elevated`, wscript, "MandatoryLabel", "S-1-16-12288")},
	},
	{
		step: 2, log: "Security 4663", shows: "the script is read, with Audit Removable Storage",
		why:     "a read; the start of the script host says more",
		records: []string{accessed(`\Device\HarddiskVolume7\rootdir\x817994.vbs`, "0x1", wscript)},
	},
	{
		step: 2, log: "Sysmon 7", shows: "the script engine's library is loaded",
		why:     "every script loads it",
		records: []string{rec(sysmonLog+"/7", "Image", wscript, "ImageLoaded", system32+"vbscript.dll", "Signed", "true")},
	},

	// 3 the batch file
	{
		step: 3, log: "Sysmon 1", gen: 1, shows: "the command processor under the script host, the batch file on another drive",
		want:    []string{"usb-script-child"},
		records: []string{started(cmdExe, `cmd /c "E:\rootdir\x966060.bat"`, wscript, "CurrentDirectory", `E:\rootdir\`)},
	},
	{
		step: 3, log: "Sysmon 1", gen: 2, shows: "the same, elevated",
		want:    []string{"usb-script-child"},
		records: []string{started(cmdExe, `"C:\Windows\System32\cmd.exe" /c "E:\sysvolume\u104882.bat"`, wscript, "CurrentDirectory", `C:\Windows\system32\`, "IntegrityLevel", "High")},
	},
	{
		step: 3, log: "Security 4688", shows: "the same",
		want:    []string{"usb-script-child"},
		records: []string{created(cmdExe, `cmd /c "E:\rootdir\x966060.bat"`, wscript)},
	},
	{
		step: 3, log: "Security 4663", shows: "the batch file is read",
		why:     "a read; what the file says is in no log",
		records: []string{accessed(`\Device\HarddiskVolume7\rootdir\x966060.bat`, "0x1", cmdExe)},
	},

	// 4 the decoy
	{
		step: 4, log: "Sysmon 1", shows: "the shell shows a folder of the stick, started by the batch file",
		why:     "batch files show a folder when they have finished; the start is drawn beside the batch file of step 3",
		records: []string{started(explorer, `explorer  "E:\sysvolume\..\USB Drive"`, cmdExe)},
	},
	{
		step: 4, log: "Security 4688", shows: "the same",
		why:     "as above",
		records: []string{created(explorer, `explorer  "E:\sysvolume\..\USB Drive"`, cmdExe)},
	},
	{
		step: 4, log: "Sysmon 1 (chcp)", shows: "the code page is set to 65001",
		why:     "many batch files do so",
		records: []string{started(system32+"chcp.com", "chcp  65001", cmdExe)},
	},

	// 5 exclusion before the drop
	{
		step: 5, log: "Sysmon 1", gen: 2, shows: "PowerShell's command line with both paths",
		want:    []string{"defender-exclusion-command", "defender-exclusion-command-any"},
		records: []string{started(psExe, `powershell -Command "Add-MpPreference -ExclusionPath 'E:\sysvolume\'; Add-MpPreference -ExclusionPath 'C:\Windows \System32'; Start-Sleep -Seconds 3"`, cmdExe)},
	},
	{
		step: 5, log: "Security 4688", gen: 2, shows: "the same",
		want:    []string{"defender-exclusion-command"},
		records: []string{created(psExe, `powershell -Command "Add-MpPreference -ExclusionPath 'E:\sysvolume\'; Add-MpPreference -ExclusionPath 'C:\Windows \System32'"`, cmdExe)},
	},
	{
		step: 5, log: "PowerShell 4104", gen: 2, shows: "the script's text",
		want:    []string{"defender-exclusion-script", "defender-exclusion-script-any"},
		records: []string{rec(scriptLog+"/4104", "MessageNumber", "1", "MessageTotal", "1", "ScriptBlockText", `Add-MpPreference -ExclusionPath 'E:\sysvolume\'; Add-MpPreference -ExclusionPath 'C:\Windows \System32'`, "ScriptBlockId", "0c")},
	},
	{
		step: 5, log: "PowerShell 4103", gen: 2, shows: "the parameter's full name and its value, whatever the script says",
		want:    []string{"defender-exclusion-script"},
		records: []string{rec(scriptLog+"/4103", "Payload", `CommandInvocation(Add-MpPreference): "Add-MpPreference"`+"\r\n"+`ParameterBinding(Add-MpPreference): name="ExclusionPath"; value="C:\Windows \System32"`)},
	},
	{
		step: 5, log: "PowerShell 800", gen: 2, shows: "the same in the classic log, in fields without names",
		want: []string{"defender-exclusion-script"},
		records: []string{rec("PowerShell/800", "Data", "a", "Data", "\tDetailSequence=1", "Data",
			`CommandInvocation(Add-MpPreference): "Add-MpPreference"`+"\r\n"+`ParameterBinding(Add-MpPreference): name="ExclusionPath"; value="C:\Windows \System32"`)},
	},
	{
		step: 5, log: "Defender 5007", gen: 2, shows: "the setting before and after; no actor",
		want:    []string{"defender-exclusion-setting", "defender-exclusion-setting-any"},
		records: []string{rec(defenderLog+"/5007", "Product Name", "Microsoft Defender Antivirus", "Old Value", "", "New Value", `HKLM\SOFTWARE\Microsoft\Windows Defender\Exclusions\Paths\C:\Windows \System32 = 0x0`)},
	},
	{
		step: 5, log: "Defender 5007 (the stick's folder)", gen: 2, shows: "a folder of a drive, of which the record does not say what drive it is",
		why:     "`D:\\SQLData` looks the same; the graph knows which drive is a stick",
		records: []string{rec(defenderLog+"/5007", "Old Value", "", "New Value", `HKLM\SOFTWARE\Microsoft\Windows Defender\Exclusions\Paths\E:\sysvolume\ = 0x0`)},
	},

	// 6 the imitated folder
	{
		step: 6, log: "Sysmon 11", shows: "the folder itself, if Sysmon records folders, and the first file in it",
		want:    []string{"mock-folder-file"},
		records: []string{rec(sysmonLog+"/11", "Image", cmdExe, "TargetFilename", `C:\Windows \System32`)},
	},
	{
		step: 6, log: "Security 4663", shows: "the same, with an audit entry on the drive",
		want:    []string{"mock-folder-file"},
		records: []string{accessed(`C:\Windows \System32`, "0x4", cmdExe)},
	},
	{
		step: 6, log: "Sysmon 1", shows: "the command, where it is not inside a batch file",
		want:    []string{"mock-folder-command"},
		records: []string{started(cmdExe, `cmd /c mkdir "\\?\C:\Windows \System32"`, wscript)},
	},
	{
		step: 6, log: "Security 4688", shows: "the same",
		want:    []string{"mock-folder-command"},
		records: []string{created(cmdExe, `cmd /c mkdir "\\?\C:\Windows \System32"`, wscript)},
	},
	{
		step: 6, log: "PowerShell 4104", shows: "the same, made by PowerShell",
		want:    []string{"mock-folder-command"},
		records: []string{rec(scriptLog+"/4104", "ScriptBlockText", `New-Item "\\?\C:\Windows \System32" -ItemType Directory`)},
	},

	// 7 the copy
	{
		step: 7, log: "Sysmon 1", shows: "xcopy with both paths",
		want:    []string{"mock-folder-command", "system-program-copy"},
		records: []string{started(system32+"xcopy.exe", `xcopy  "C:\Windows\System32\printui.exe" "C:\Windows \System32" /Y`, cmdExe)},
	},
	{
		step: 7, log: "Security 4688", shows: "the same",
		want:    []string{"mock-folder-command", "system-program-copy"},
		records: []string{created(system32+"xcopy.exe", `xcopy  "C:\Windows\System32\printui.exe" "C:\Windows \System32" /Y`, cmdExe)},
	},
	{
		step: 7, log: "Sysmon 11", gen: 1, shows: "the files, under the names they have before they are renamed",
		want: []string{"mock-folder-file"},
		records: []string{
			rec(sysmonLog+"/11", "Image", system32+"xcopy.exe", "TargetFilename", mockPath+"printui.exe"),
			rec(sysmonLog+"/11", "Image", system32+"xcopy.exe", "TargetFilename", mockPath+"x966060.dat"),
		},
	},
	{
		step: 7, log: "Sysmon 29", gen: 2, shows: "program content, whatever the extension",
		want:    []string{"mock-folder-file", "disguised-program"},
		records: []string{rec(sysmonLog+"/29", "Image", system32+"xcopy.exe", "TargetFilename", mockPath+"u104882.dat", "Hashes", "SHA256=00")},
	},
	{
		step: 7, log: "Security 4663", shows: "the files, audited",
		want:    []string{"mock-folder-file"},
		records: []string{accessed(`\Device\HarddiskVolume3\Windows \System32\printui.exe`, "0x2", system32+"xcopy.exe")},
	},
	{
		step: 7, log: "Sysmon (renaming)", shows: "nothing: Sysmon has no event for a renamed file",
		why: "no record; rules do not ask for the name .dll",
	},

	// 8 elevation and side-loading
	{
		step: 8, log: "Sysmon 1", gen: 1, shows: "the program twice, first Medium, then High, under the same parent",
		want: []string{"mock-folder-process", "mock-folder-elevated", "mock-folder-twin"},
		records: []string{
			rec(sysmonLog+"/1", "ProcessGuid", "{6f1b1d5c-0001-6900-0200-000000000800}", "ProcessId", "4002", "Image", mockHost, "CommandLine", `"`+mockHost+`"`, "IntegrityLevel", "Medium",
				"ParentProcessGuid", "{6f1b1d5c-0001-6900-0100-000000000800}", "ParentProcessId", "4001", "ParentImage", cmdExe),
			rec(sysmonLog+"/1", "ProcessGuid", "{6f1b1d5c-0001-6900-0300-000000000800}", "ProcessId", "4003", "Image", mockHost, "CommandLine", `"`+mockHost+`"`, "IntegrityLevel", "High",
				"ParentProcessGuid", "{6f1b1d5c-0001-6900-0100-000000000800}", "ParentProcessId", "4001", "ParentImage", cmdExe),
		},
	},
	{
		step: 8, log: "Sysmon 1", gen: 2, shows: "the program once, High, because the script is elevated already",
		want:    []string{"mock-folder-elevated"},
		records: []string{started(mockHost, `"`+mockHost+`"`, cmdExe, "IntegrityLevel", "High")},
	},
	{
		step: 8, log: "Security 4688", shows: "the same, by the mandatory label",
		want:    []string{"mock-folder-elevated"},
		records: []string{created(mockHost, `"`+mockHost+`"`, cmdExe, "MandatoryLabel", "S-1-16-12288")},
	},
	{
		step: 8, log: "Security 4688 (old)", shows: "the path alone",
		want:    []string{"mock-folder-process"},
		records: []string{rec(securityLog+"/4688", "NewProcessId", "0x2ac", "NewProcessName", mockHost, "ProcessId", "0x1638")},
	},
	{
		step: 8, log: "Sysmon 7", shows: "the unsigned module",
		want:    []string{"mock-folder-load"},
		records: []string{rec(sysmonLog+"/7", "Image", mockHost, "ImageLoaded", mockPath+"printui.dll", "Signed", "false", "SignatureStatus", "Unavailable")},
	},

	// 9 exclusions
	{
		step: 9, log: "Sysmon 1", shows: "one PowerShell for each path, under the service host",
		want: []string{"defender-exclusion-command"},
		records: []string{
			started(psExe, `powershell  Add-MpPreference -ExclusionPath 'c:\windows\system32'`, svchost),
			started(psExe, `powershell  Add-MpPreference -ExclusionPath 'D:\'`, svchost),
		},
	},
	{
		step: 9, log: "Security 4688", shows: "the same",
		want:    []string{"defender-exclusion-command"},
		records: []string{created(psExe, `powershell Add-MpPreference -ExclusionPath 'E:\'`, svchost)},
	},
	{
		step: 9, log: "PowerShell 4104", shows: "the script's text",
		want:    []string{"defender-exclusion-script"},
		records: []string{rec(scriptLog+"/4104", "ScriptBlockText", `Add-MpPreference -ExclusionPath 'C:\Windows\System32'`)},
	},
	{
		step: 9, log: "PowerShell 4103", shows: "the resolved value",
		want:    []string{"defender-exclusion-script"},
		records: []string{rec(scriptLog+"/4103", "Payload", `ParameterBinding(Add-MpPreference): name="ExclusionPath"; value="C:\Windows\System32"`)},
	},
	{
		step: 9, log: "PowerShell 800", shows: "the same, classic",
		want:    []string{"defender-exclusion-script"},
		records: []string{rec("PowerShell/800", "Data", "", "Data", `ParameterBinding(Add-MpPreference): name="ExclusionPath"; value="D:\"`)},
	},
	{
		step: 9, log: "Defender 5007", shows: "the setting",
		want:    []string{"defender-exclusion-setting"},
		records: []string{rec(defenderLog+"/5007", "Old Value", "", "New Value", `HKLM\SOFTWARE\Microsoft\Windows Defender\Exclusions\Paths\c:\windows\system32 = 0x0`)},
	},
	{
		step: 9, log: "Sysmon 13", shows: "the value's name is the path; written by Defender itself",
		want:    []string{"defender-exclusion-setting", "defender-exclusion-setting-any"},
		records: []string{valueSet(`C:\ProgramData\Microsoft\Windows Defender\Platform\4.18.1\MsMpEng.exe`, `HKLM\SOFTWARE\Microsoft\Windows Defender\Exclusions\Paths\E:\`, "DWORD (0x00000000)")},
	},
	{
		step: 9, log: "Security 4657", shows: "the same, with an audit entry on the key",
		want:    []string{"defender-exclusion-setting"},
		records: []string{audited(`C:\ProgramData\Microsoft\Windows Defender\Platform\4.18.1\MsMpEng.exe`, `SOFTWARE\Microsoft\Windows Defender\Exclusions\Paths`, `C:\Windows\System32`, "0")},
	},
	{
		step: 9, log: "Security 4663 (the key)", shows: "that the key was written to",
		why: "not what was written; 4657 of the same audit says it",
		records: []string{rec(securityLog+"/4663", "ObjectType", "Key", "ObjectName", `\REGISTRY\MACHINE\SOFTWARE\Microsoft\Windows Defender\Exclusions\Paths`, "AccessMask", "0x2", "ProcessId", "0x99",
			"ProcessName", `C:\ProgramData\Microsoft\Windows Defender\Platform\4.18.1\MsMpEng.exe`)},
	},
	{
		step: 9, log: "Defender 5001", shows: "real-time protection is off",
		want:    []string{"defender-off"},
		records: []string{rec(defenderLog+"/5001", "Product Name", "Microsoft Defender Antivirus")},
	},
	{
		step: 9, log: "Defender 5013", shows: "tamper protection refused a change",
		want:    []string{"defender-tampering"},
		records: []string{rec(defenderLog+"/5013", "Product Name", "Microsoft Defender Antivirus", "Changed Type", "Blocked", "Value", `HKLM\SOFTWARE\Microsoft\Windows Defender\Exclusions\Paths\C:\Windows\System32 = 0x0`)},
	},
	{
		step: 9, log: "Defender 1116", shows: "what Defender found, also on the stick",
		want:    []string{"defender-found"},
		records: []string{rec(defenderLog+"/1116", "Threat Name", "Trojan:Win64/CoinMiner", "Severity Name", "Severe", "Path", `file:_E:\rootdir\x966060.dat`, "Process Name", explorer, "Detection User", `PC-1\ana`)},
	},

	// 10 the drop
	{
		step: 10, log: "Sysmon 11", gen: 1, shows: "data files and a program, written by the side-loaded process",
		want: []string{"program-in-system"},
		records: []string{
			rec(sysmonLog+"/11", "Image", mockHost, "TargetFilename", system32+"svculdr64.dat"),
			rec(sysmonLog+"/11", "Image", mockHost, "TargetFilename", system32+"console_zero.exe"),
		},
	},
	{
		step: 10, log: "Sysmon 11", gen: 2, shows: "a program and a library",
		want: []string{"program-in-system"},
		records: []string{
			rec(sysmonLog+"/11", "Image", mockHost, "TargetFilename", system32+"svctrl64.exe"),
			rec(sysmonLog+"/11", "Image", mockHost, "TargetFilename", system32+"u104882.dll"),
		},
	},
	{
		step: 10, log: "Sysmon 29", shows: "program content under a data extension",
		want:    []string{"disguised-program", "program-in-system"},
		records: []string{rec(sysmonLog+"/29", "Image", mockHost, "TargetFilename", system32+"x665422.dat", "Hashes", "SHA256=00")},
	},
	{
		step: 10, log: "Security 4663", shows: "the same, with an audit entry on the folder",
		want:    []string{"program-in-system"},
		records: []string{accessed(system32+"x665422.dat", "0x2", mockHost)},
	},
	{
		step: 10, log: "Sysmon 11, then 1", shows: "a program just written runs",
		want: []string{"system-program-fresh"},
		records: []string{
			rec(sysmonLog+"/11", "Image", mockHost, "TargetFilename", system32+"svctrl64.exe"),
			started(system32+"svctrl64.exe", "svctrl64.exe", mockHost),
		},
	},

	// 11 the service
	{
		step: 11, log: "Sysmon 1", gen: 1, shows: "sc with the host's command",
		want:    []string{"service-command"},
		records: []string{started(system32+"sc.exe", `sc  create x665422 binPath= "C:\Windows\System32\svchost.exe -k DcomLaunch" type= share start= auto`, cmdExe)},
	},
	{
		step: 11, log: "Sysmon 1 (reg)", gen: 1, shows: "reg sets the service's library",
		want:    []string{"service-dll-command"},
		records: []string{started(system32+"reg.exe", `reg  add HKLM\SYSTEM\CurrentControlSet\services\x665422\Parameters /v ServiceDll /t REG_EXPAND_SZ /d C:\Windows\System32\x665422.dat /f`, cmdExe)},
	},
	{
		step: 11, log: "Security 4688", gen: 1, shows: "the same",
		want:    []string{"service-command"},
		records: []string{created(system32+"sc.exe", `sc create x665422 binPath= "C:\Windows\System32\svchost.exe -k DcomLaunch" type= share start= auto`, cmdExe)},
	},
	{
		step: 11, log: "System 7045", shows: "name and command; never the library; nothing if only the registry was written",
		want:    []string{"service-install", "service-hosted"},
		records: []string{rec(servicesLog+"/7045", "ServiceName", "x665422", "ImagePath", bareHost, "ServiceType", "user mode service", "StartType", "auto start", "AccountName", "LocalSystem")},
	},
	{
		step: 11, log: "Security 4697", shows: "the same",
		want:    []string{"service-install", "service-hosted"},
		records: []string{rec(securityLog+"/4697", "ServiceName", "u104882", "ServiceFileName", bareHost, "ServiceType", "0x20", "ServiceStartType", "2", "ServiceAccount", "LocalSystem")},
	},
	{
		step: 11, log: "Sysmon 13 (ImagePath)", shows: "the command in the registry, however the service was made",
		want:    []string{"service-install"},
		records: []string{valueSet(system32+"services.exe", `HKLM\System\CurrentControlSet\Services\u104882\ImagePath`, bareHost)},
	},
	{
		step: 11, log: "Sysmon 13 (ServiceDll)", gen: 1, shows: "the library, here a data file",
		want:    []string{"service-dll"},
		records: []string{valueSet(system32+"reg.exe", `HKLM\System\CurrentControlSet\services\x665422\Parameters\ServiceDll`, `C:\Windows\System32\x665422.dat`)},
	},
	{
		step: 11, log: "Sysmon 13 (ServiceDll)", gen: 2, shows: "the library, here a DLL in System32, written by the side-loaded process",
		want:    []string{"service-dll-other"},
		records: []string{valueSet(mockHost, `HKLM\System\CurrentControlSet\services\u104882\Parameters\ServiceDll`, `C:\Windows\System32\u104882.dll`)},
	},
	{
		step: 11, log: "Security 4657 (ServiceDll)", shows: "the same, with an audit entry",
		want:    []string{"service-dll"},
		records: []string{audited(system32+"reg.exe", `SYSTEM\ControlSet001\Services\x665422\Parameters`, "ServiceDll", `C:\Windows\System32\x665422.dat`)},
	},
	{
		step: 11, log: "Sysmon 13 (Svchost group)", gen: 2, shows: "that the group's list was written; Sysmon says Binary Data of lists",
		want:    []string{"svchost-group"},
		records: []string{valueSet(mockHost, `HKLM\SOFTWARE\Microsoft\Windows NT\CurrentVersion\Svchost\DcomLaunch`, "Binary Data")},
	},
	{
		step: 11, log: "Security 4657 (Svchost group)", gen: 2, shows: "the list's names, with an audit entry",
		want:    []string{"svchost-group"},
		records: []string{audited(mockHost, `SOFTWARE\Microsoft\Windows NT\CurrentVersion\Svchost`, "DcomLaunch", "Power LSM BrokerInfrastructure PlugPlay DcomLaunch u104882")},
	},
	{
		step: 11, log: "PowerShell 4104, 4103, 800", shows: "a service made by PowerShell",
		want: []string{"service-script"},
		records: []string{
			rec(scriptLog+"/4104", "ScriptBlockText", `New-Service -Name x665422 -BinaryPathName "C:\Windows\System32\svchost.exe -k DcomLaunch"`),
			rec(scriptLog+"/4103", "Payload", `ParameterBinding(New-Service): name="BinaryPathName"; value="C:\Windows\System32\svchost.exe -k DcomLaunch"`),
			rec("PowerShell/800", "Data", `ParameterBinding(New-Service): name="BinaryPathName"; value="C:\Windows\System32\svchost.exe -k DcomLaunch"`),
		},
	},
	{
		step: 11, log: "System 7040", shows: "a changed start type",
		why:     "neither program nor library; installers change start types all day",
		records: []string{rec(servicesLog+"/7040", "param1", "x665422", "param2", "demand start", "param3", "auto start", "param4", "x665422")},
	},
	{
		step: 11, log: "Sysmon 12", shows: "the service's key is made",
		why:     "the values that follow say what it is",
		records: []string{rec(sysmonLog+"/12", "EventType", "CreateKey", "Image", system32+"services.exe", "TargetObject", `HKLM\System\CurrentControlSet\Services\x665422`)},
	},

	// 12 the service runs
	{
		step: 12, log: "Sysmon 1", shows: "the host without the flag -p, and its version",
		want:    []string{"service-host-start"},
		records: []string{started(svchost, bareHost, system32+"services.exe", "FileVersion", winBuild)},
	},
	{
		step: 12, log: "Security 4688", shows: "the host without the flag, without a version; that Windows is new is told by Kernel-General 12 or EventLog 6009",
		want: []string{"service-host-build"},
		records: []string{
			rec("Microsoft-Windows-Kernel-General/12", "MajorVersion", "10", "MinorVersion", "0", "BuildVersion", "19045", "QfeVersion", "3803"),
			created(svchost, bareHost, system32+"services.exe"),
		},
	},
	{
		step: 12, log: "Sysmon 7", gen: 1, shows: "the unsigned module with a data extension",
		want:    []string{"service-host-load"},
		records: []string{rec(sysmonLog+"/7", "ProcessId", "4711", "Image", svchost, "ImageLoaded", system32+"x665422.dat", "Signed", "false", "SignatureStatus", "Unavailable")},
	},
	{
		step: 12, log: "Sysmon 1, then 7", gen: 2, shows: "the unsigned module under the name .dll in the host without the flag",
		want: []string{"service-host-foreign"},
		records: []string{
			started(svchost, bareHost, system32+"services.exe", "FileVersion", winBuild),
			rec(sysmonLog+"/7", "ProcessId", "4711", "Image", svchost, "ImageLoaded", system32+"u104882.dll", "Signed", "false", "SignatureStatus", "Unavailable"),
		},
	},
	{
		step: 12, log: "Sysmon 11, then 7", gen: 2, shows: "the module was written a moment ago",
		want: []string{"service-host-fresh"},
		records: []string{
			rec(sysmonLog+"/11", "Image", mockHost, "TargetFilename", system32+"u104882.dll"),
			rec(sysmonLog+"/7", "Image", svchost, "ImageLoaded", system32+"u104882.dll", "Signed", "false", "SignatureStatus", "Unavailable"),
		},
	},
	{
		step: 12, log: "System 7036", shows: "the service runs",
		why:     "the same of every service",
		records: []string{rec(servicesLog+"/7036", "param1", "x665422", "param2", "running")},
	},

	// 13 the task
	{
		step: 13, log: "Sysmon 1", shows: "schtasks with target, trigger and rights",
		want:    []string{"task-command"},
		records: []string{started(system32+"schtasks.exe", `schtasks  /create /tn "console_zero" /tr "C:\Windows\System32\console_zero.exe" /sc ONLOGON /rl HIGHEST /f`, cmdExe)},
	},
	{
		step: 13, log: "Security 4688", shows: "the same",
		want:    []string{"task-command"},
		records: []string{created(system32+"schtasks.exe", `schtasks /create /tn "console_zero" /tr "C:\Windows\System32\console_zero.exe" /sc ONLOGON /rl HIGHEST /f`, cmdExe)},
	},
	{
		step: 13, log: "Security 4698", shows: "the whole task, however it was made",
		want:    []string{"task-registered"},
		records: []string{rec(securityLog+"/4698", "SubjectUserName", "ana", "TaskName", `\console_zero`, "TaskContent", taskXML)},
	},
	{
		step: 13, log: "Security 4702", shows: "the same of a changed task",
		want:    []string{"task-registered"},
		records: []string{rec(securityLog+"/4702", "SubjectUserName", "ana", "TaskName", `\console_zero`, "TaskContentNew", taskXML)},
	},
	{
		step: 13, log: "PowerShell 4104", shows: "a task made by cmdlets or COM",
		want: []string{"task-script"},
		records: []string{rec(scriptLog+"/4104", "ScriptBlockText",
			`Register-ScheduledTask console_zero -Action (New-ScheduledTaskAction -Execute C:\Windows\System32\console_zero.exe) -Trigger (New-ScheduledTaskTrigger -AtLogOn) -RunLevel Highest`)},
	},
	{
		step: 13, log: "TaskScheduler 106, 140", shows: "the task's name and who registered or changed it",
		why: "not what it runs; it joins the registration to its runs",
		records: []string{
			rec(tasksLog+"/106", "TaskName", `\console_zero`, "UserContext", `PC-1\ana`),
			rec(tasksLog+"/140", "TaskName", `\console_zero`, "UserName", "S-1-5-18"),
		},
	},
	{
		step: 13, log: "TaskScheduler 141", shows: "a task is deleted",
		why:     "not what it ran",
		records: []string{rec(tasksLog+"/141", "TaskName", `\console_zero`, "UserName", "S-1-5-18")},
	},
	{
		step: 13, log: "TaskScheduler 129", shows: "the program that the task started",
		want: []string{"system-program-fresh"},
		records: []string{
			rec(sysmonLog+"/11", "Image", mockHost, "TargetFilename", system32+"console_zero.exe"),
			rec(tasksLog+"/129", "TaskName", `\console_zero`, "Path", system32+"console_zero.exe", "ProcessID", "5120", "Priority", "16384"),
		},
	},
	{
		step: 13, log: "TaskScheduler 200", shows: "the action",
		want: []string{"system-program-fresh"},
		records: []string{
			rec(sysmonLog+"/29", "Image", mockHost, "TargetFilename", system32+"console_zero.exe"),
			rec(tasksLog+"/200", "TaskName", `\console_zero`, "ActionName", system32+"console_zero.exe", "TaskInstanceId", "{0}"),
		},
	},
	{
		step: 13, log: "TaskScheduler 129, 200, 201 alone", shows: "a program directly in System32",
		why: "many of Windows' own lie there; neither signature nor age is recorded",
		records: []string{
			rec(tasksLog+"/129", "TaskName", `\console_zero`, "Path", system32+"console_zero.exe", "ProcessID", "5120", "Priority", "16384"),
			rec(tasksLog+"/200", "TaskName", `\console_zero`, "ActionName", system32+"console_zero.exe", "TaskInstanceId", "{0}"),
			rec(tasksLog+"/201", "TaskName", `\console_zero`, "ActionName", system32+"console_zero.exe", "ResultCode", "0"),
		},
	},
	{
		step: 13, log: "Sysmon 11", shows: "the task's file, written by the scheduler",
		why:     "the name alone",
		records: []string{rec(sysmonLog+"/11", "Image", svchost, "TargetFilename", system32+`Tasks\console_zero`)},
	},
	{
		step: 13, log: "Sysmon 12, 13", shows: "the scheduler's cache, written by the scheduler",
		why:     "names and binary data; written behind its back or hidden, it is reported (task-hidden)",
		records: []string{valueSet(svchost, `HKLM\SOFTWARE\Microsoft\Windows NT\CurrentVersion\Schedule\TaskCache\Tasks\{0B1C}\DynamicInfo`, "Binary Data")},
	},

	// 14 cleaning up
	{
		step: 14, log: "Sysmon 1", shows: "a wait, then a deletion",
		want:    []string{"self-delete"},
		records: []string{started(cmdExe, `cmd.exe /c timeout /t 5 /nobreak && del /q "C:\Windows\System32\svctrl64.exe"`, mockHost)},
	},
	{
		step: 14, log: "Security 4688", shows: "the same",
		want:    []string{"self-delete"},
		records: []string{created(cmdExe, `cmd.exe /c timeout /t 14 && del "C:\Windows\System32\a.exe"`, mockHost)},
	},
	{
		step: 14, log: "Sysmon 1 (the folder)", shows: "the imitated folder is removed",
		want:    []string{"mock-folder-removed"},
		records: []string{started(cmdExe, `cmd.exe /c rmdir /s /q "C:\Windows "`, svchost)},
	},
	{
		step: 14, log: "Sysmon 23, 26", shows: "the files that were deleted",
		want: []string{"mock-folder-removed"},
		records: []string{
			rec(sysmonLog+"/23", "Image", cmdExe, "TargetFilename", mockHost, "Hashes", "SHA256=00", "IsExecutable", "true"),
			rec(sysmonLog+"/26", "Image", cmdExe, "TargetFilename", mockPath+"printui.dll", "Hashes", "SHA256=00", "IsExecutable", "true"),
		},
	},
	{
		step: 14, log: "Sysmon 23, 26 (elsewhere)", shows: "a program in System32 is deleted by the command processor",
		why:     "updates and installers do so; the waiting command says more",
		records: []string{rec(sysmonLog+"/23", "Image", cmdExe, "TargetFilename", system32+"svctrl64.exe", "Hashes", "SHA256=00", "IsExecutable", "true")},
	},
	{
		step: 14, log: "Security 4663", shows: "the same, with an audit entry",
		want:    []string{"mock-folder-file"},
		records: []string{accessed(mockHost, "0x10000", cmdExe)},
	},

	// 15 power
	{
		step: 15, log: "Sysmon 13", shows: "HiberbootEnabled becomes 0",
		want:    []string{"fast-startup-off"},
		records: []string{valueSet(svchost, `HKLM\System\CurrentControlSet\Control\Session Manager\Power\HiberbootEnabled`, "DWORD (0x00000000)")},
	},
	{
		step: 15, log: "Security 4657", shows: "the same, with an audit entry",
		want:    []string{"fast-startup-off"},
		records: []string{audited(svchost, `SYSTEM\ControlSet001\Control\Session Manager\Power`, "HiberbootEnabled", "0")},
	},
	{
		step: 15, log: "Sysmon 1", shows: "the same by command",
		want:    []string{"fast-startup-off"},
		records: []string{started(system32+"reg.exe", `reg add "HKLM\SYSTEM\CurrentControlSet\Control\Session Manager\Power" /v HiberbootEnabled /t REG_DWORD /d 0 /f`, cmdExe)},
	},

	// 16 the server
	{
		step: 16, log: "Sysmon 1, then 22", shows: "a name that the host without the flag looks up",
		want: []string{"service-host-foreign"},
		records: []string{
			started(svchost, bareHost, system32+"services.exe", "FileVersion", winBuild),
			rec(sysmonLog+"/22", "ProcessId", "4711", "Image", svchost, "QueryName", "update.example", "QueryStatus", "0", "QueryResults", "203.0.113.9;"),
		},
	},
	{
		step: 16, log: "Sysmon 1, then 3", shows: "a connection of the host without the flag",
		want: []string{"service-host-foreign"},
		records: []string{
			started(svchost, bareHost, system32+"services.exe", "FileVersion", winBuild),
			rec(sysmonLog+"/3", "ProcessId", "4711", "Image", svchost, "Initiated", "true", "Protocol", "tcp", "DestinationIp", "203.0.113.9", "DestinationPort", "443"),
		},
	},
	{
		step: 16, log: "Security 4688, then 5156", shows: "the same, with Audit Filtering Platform Connection",
		want: []string{"service-host-foreign"},
		records: []string{
			created(svchost, bareHost, system32+"services.exe"),
			rec(securityLog+"/5156", "ProcessID", "4711", "Application", `\device\harddiskvolume3\windows\system32\svchost.exe`, "Direction", "%%14593", "SourceAddress", "192.168.10.21", "SourcePort", "50123",
				"DestAddress", "203.0.113.9", "DestPort", "443", "Protocol", "6"),
		},
	},
	{
		step: 16, log: "Sysmon 3, 22 alone", shows: "a connection or a name of a service host",
		why: "service hosts do this all day; known servers are found by indicators (rules/ioc)",
		records: []string{
			rec(sysmonLog+"/3", "ProcessId", "4711", "Image", svchost, "Initiated", "true", "Protocol", "tcp", "DestinationIp", "203.0.113.9", "DestinationPort", "443"),
			rec(sysmonLog+"/22", "ProcessId", "4711", "Image", svchost, "QueryName", "update.example", "QueryStatus", "0", "QueryResults", "203.0.113.9;"),
		},
	},
	{
		step: 16, log: "Sysmon 11, 29", shows: "the service host writes a program into a folder of its own in System32",
		want:    []string{"program-in-system"},
		records: []string{rec(sysmonLog+"/11", "Image", svchost, "TargetFilename", system32+`wsvcz\u882029.exe`)},
	},

	// 17 the driver
	{
		step: 17, log: "Sysmon 6", shows: "the driver, its signer and hashes",
		want: []string{"miner-driver"},
		records: []string{rec(sysmonLog+"/6", "ImageLoaded", system32+`wsvcz\WinRing0x64.sys`,
			"Hashes", "SHA256=11BD2C9F9E2397C9A16E0990E4ED2CF0679498FE0FD418A3DFDAC60B5C160EE5", "Signed", "true", "Signature", "Noriyuki MIYAZAKI")},
	},
	{
		step: 17, log: "System 7045", shows: "the driver is registered",
		want:    []string{"miner-driver"},
		records: []string{rec(servicesLog+"/7045", "ServiceName", "WinRing0_1_2_0", "ImagePath", `\??\C:\Windows\System32\wsvcz\WinRing0x64.sys`, "ServiceType", "kernel mode driver", "StartType", "demand start", "AccountName", "")},
	},
	{
		step: 17, log: "Security 4697", shows: "the same",
		want:    []string{"miner-driver"},
		records: []string{rec(securityLog+"/4697", "ServiceName", "WinRing0_1_2_0", "ServiceFileName", `\??\C:\Windows\System32\wsvcz\WinRing0x64.sys`, "ServiceType", "0x1", "ServiceStartType", "3", "ServiceAccount", "")},
	},
	{
		step: 17, log: "Sysmon 29", shows: "its file is written",
		want:    []string{"miner-driver"},
		records: []string{rec(sysmonLog+"/29", "Image", svchost, "TargetFilename", system32+`wsvcz\WinRing0x64.sys`)},
	},
	{
		step: 17, log: "CodeIntegrity 3023, 3033, 3077", shows: "it was not allowed to load",
		want: []string{"miner-driver"},
		records: []string{
			rec("Microsoft-Windows-CodeIntegrity/3023", "FileNameLength", "58", "FileNameBuffer", `\Device\HarddiskVolume3\Windows\System32\wsvcz\WinRing0x64.sys`),
			rec("Microsoft-Windows-CodeIntegrity/3033", "FileNameLength", "58", "FileNameBuffer", `\Device\HarddiskVolume3\Windows\System32\wsvcz\WinRing0x64.sys`),
			rec("Microsoft-Windows-CodeIntegrity/3077", "File Name", `\Device\HarddiskVolume3\Windows\System32\wsvcz\WinRing0x64.sys`),
		},
	},

	// 18 mining
	{
		step: 18, log: "Sysmon 1", shows: "the arguments",
		want:    []string{"miner-arguments"},
		records: []string{started(`C:\windows\system32\wsvcz\u882029.exe`, `c:\windows\system32\wsvcz\u882029.exe`+minerArgs, svchost)},
	},
	{
		step: 18, log: "Security 4688", shows: "the same",
		want:    []string{"miner-arguments"},
		records: []string{created(`C:\Windows\System32\wsvcz\u882029.exe`, `c:\windows\system32\wsvcz\u882029.exe`+minerArgs, svchost)},
	},
	{
		step: 18, log: "Sysmon 22", shows: "the pool's name",
		want:    []string{"mining-pool-lookup"},
		records: []string{rec(sysmonLog+"/22", "ProcessId", "4711", "Image", system32+`wsvcz\u882029.exe`, "QueryName", "r3.hashpoolab.example", "QueryStatus", "0", "QueryResults", "203.0.113.9;")},
	},
	{
		step: 18, log: "Sysmon 3, Security 5156", shows: "a connection to port 443",
		why:     "the pool looks like any web server",
		records: []string{rec(sysmonLog+"/3", "ProcessId", "4711", "Image", system32+`wsvcz\u882029.exe`, "Initiated", "true", "Protocol", "tcp", "DestinationIp", "203.0.113.9", "DestinationPort", "443")},
	},
	{
		step: 18, log: "Sysmon 25", shows: "a miner in the place of a program of Windows",
		want:    []string{"process-hollowed"},
		records: []string{rec(sysmonLog+"/25", "ProcessId", "4711", "Image", explorer, "Type", "Image is replaced")},
	},

	// 19 hiding from the user
	{
		step: 19, log: "Sysmon 5, 1", shows: "the miner ends when a task manager or game starts, and starts again",
		why: "no record says why a process ended; the starts are those of step 18",
		records: []string{
			started(system32+"Taskmgr.exe", `"C:\Windows\System32\Taskmgr.exe" /4`, explorer),
			rec(sysmonLog+"/5", "ProcessId", "4712", "Image", system32+`wsvcz\u882029.exe`),
		},
	},

	// 20 spreading
	{
		step: 20, log: "Sysmon 11", gen: 1, shows: "script, batch file and data, the shortcut in the root last, by one process",
		want: []string{"usb-script-write", "usb-root-shortcut", "usb-write-sequence"},
		records: []string{
			rec(sysmonLog+"/11", "ProcessId", "4711", "Image", svchost, "TargetFilename", `F:\rootdir\x104882.vbs`),
			rec(sysmonLog+"/11", "ProcessId", "4711", "Image", svchost, "TargetFilename", `F:\rootdir\x104882.bat`),
			rec(sysmonLog+"/11", "ProcessId", "4711", "Image", svchost, "TargetFilename", `F:\rootdir\x104882.dat`),
			rec(sysmonLog+"/11", "ProcessId", "4711", "Image", svchost, "TargetFilename", `F:\USB Drive.lnk`),
		},
	},
	{
		step: 20, log: "Sysmon 29, 11", gen: 2, shows: "program content under a data extension, then the shortcut",
		want: []string{"usb-script-write", "disguised-program", "usb-root-shortcut", "usb-write-sequence"},
		records: []string{
			rec(sysmonLog+"/29", "ProcessId", "4711", "Image", svchost, "TargetFilename", `F:\sysvolume\u104882.dat`, "Hashes", "SHA256=00"),
			rec(sysmonLog+"/11", "ProcessId", "4711", "Image", svchost, "TargetFilename", `F:\USB Drive.lnk`),
		},
	},
	{
		step: 20, log: "Security 4663 (writing)", shows: "the same by device path, with Audit Removable Storage",
		want: []string{"usb-script-write", "usb-root-shortcut", "usb-write-sequence"},
		records: []string{
			accessed(`\Device\HarddiskVolume7\rootdir\x104882.vbs`, "0x2", svchost),
			accessed(`\Device\HarddiskVolume7\USB Drive.lnk`, "0x2", svchost),
		},
	},
	{
		step: 20, log: "Security 4663 (attributes)", shows: "WriteAttributes: times or attributes, by a call and without a command",
		want:    []string{"hidden-access"},
		records: []string{accessed(`\Device\HarddiskVolume7\rootdir`, "0x100", svchost)},
	},
	{
		step: 20, log: "Security 4663 (moving)", shows: "DELETE, which moving is, of the user's files",
		want:    []string{"usb-files-moved"},
		records: []string{moved(12)},
	},
	{
		step: 20, log: "Sysmon 1", shows: "attrib, where a command is used",
		want:    []string{"hidden-command"},
		records: []string{started(system32+"attrib.exe", `attrib  +s +h F:\rootdir`, cmdExe)},
	},
	{
		step: 20, log: "Sysmon (attributes, moving)", shows: "nothing: Sysmon has no event for attributes or for moving",
		why: "no record; Sysmon shows what is written, the audit of removable storage the rest",
	},
}

// moved is a service host that moves n files of a stick.
func moved(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(accessed(fmt.Sprintf(`\Device\HarddiskVolume7\holiday\%d.jpg`, i), "0x10000", svchost))
	}
	return b.String()
}

// fires returns which of the rules that are heard fire on records, by base name.
func fires(t *testing.T, engine *detect.Engine, heard []*sigma.Rule, records string) []*sigma.Rule {
	t.Helper()
	var out []*sigma.Rule
	test, errs := ruletest.Parse("records.test", []byte("test near-miss \"records\"\n"+records+"expect none\n"))
	for _, err := range errs {
		t.Fatalf("%v\n%s", err, records)
	}
	fired := ruletest.Fired(engine, &test.Tests[0])
	for _, r := range heard {
		if slices.ContainsFunc(fired, func(f *detect.Rule) bool { return f.ID == r.ID }) {
			out = append(out, r)
		}
	}
	return out
}

// TestCoverage builds the records of every cell and holds what the pack makes of
// them, and that the document says the same.
func TestCoverage(t *testing.T) {
	list, engine := pack(t)
	byBase := map[string]*sigma.Rule{}
	for _, r := range list {
		byBase[r.Base()] = r
	}
	told := map[string]bool{}
	ruled := map[[2]int]bool{} // step, generation
	last := 0
	for _, c := range cells {
		if c.step < last || c.step >= len(campaignSteps) {
			t.Fatalf("step %d, %s: out of order", c.step, c.log)
		}
		last = c.step
		if key := fmt.Sprint(c.step, c.log, c.gen); told[key] {
			t.Errorf("step %d, %s: told twice", c.step, c.log)
		} else {
			told[key] = true
		}
		t.Run(fmt.Sprintf("%d/%s/%d", c.step, c.log, c.gen), func(t *testing.T) {
			if (len(c.want) == 0) == (c.why == "") || c.shows == "" {
				t.Fatal("a cell needs what it shows, and either rules or the reason why there are none")
			}
			if len(c.records) == 0 {
				if len(c.want) > 0 {
					t.Fatal("rules, and no records")
				}
				return
			}
			var got []string
			for _, r := range fires(t, engine, list, strings.Join(c.records, "")) {
				got = append(got, r.Base())
				if len(c.want) == 0 && r.Level != "informational" && r.Level != "low" {
					t.Errorf("%s (%s) fires, where no rule is said to decide", r.Base(), r.Level)
				}
			}
			for _, w := range c.want {
				if byBase[w] == nil {
					t.Errorf("no rule is called %s", w)
				} else if !slices.Contains(got, w) {
					t.Errorf("%s does not fire; these do: %v", w, got)
				}
			}
		})
		if len(c.want) > 0 {
			for g := 1; g <= 2; g++ {
				if c.gen == 0 || c.gen == g {
					ruled[[2]int{c.step, g}] = true
				}
			}
		}
	}
	for step := 1; step < len(campaignSteps); step++ {
		for g := 1; g <= 2; g++ {
			switch {
			case step == 1 || step == 4 || step == 19: // nothing decides them
			case step == 5 && g == 1: // the second generation's own
			case !ruled[[2]int{step, g}]:
				t.Errorf("step %d of generation %d has no rule", step, g)
			}
		}
	}
	for _, log := range []string{
		"Sysmon 1", "Sysmon 3", "Sysmon 6", "Sysmon 7", "Sysmon 11", "Sysmon 12", "Sysmon 13", "Sysmon 22", "Sysmon 23", "Sysmon 25", "Sysmon 26", "Sysmon 29",
		"Security 4657", "Security 4663", "Security 4688", "Security 4697", "Security 4698", "Security 4702", "Security 5156", "Security 6416",
		"System 7036", "System 7040", "System 7045",
		"TaskScheduler 106", "TaskScheduler 129", "TaskScheduler 140", "TaskScheduler 141", "TaskScheduler 200", "TaskScheduler 201",
		"Defender 1116", "Defender 5001", "Defender 5007", "Defender 5013",
		"PowerShell 800", "PowerShell 4103", "PowerShell 4104", "Partition 1006", "Kernel-PnP 400", "DriverFrameworks 2003", "CodeIntegrity 3023",
	} {
		name, id, _ := strings.Cut(log, " ")
		if !slices.ContainsFunc(cells, func(c cell) bool {
			return strings.Contains(c.log, name+" ") && slices.Contains(strings.FieldsFunc(c.log, func(r rune) bool { return r < '0' || r > '9' }), id)
		}) {
			t.Errorf("no cell is about %s", log)
		}
	}

	want := coverageText(byBase)
	have, err := os.ReadFile(filepath.FromSlash(coverageFile))
	if err == nil && string(have) == want {
		return
	}
	if !*update {
		t.Fatalf("%s does not say what the tests hold: run go test ./rules -update", coverageFile)
	}
	if err := os.WriteFile(filepath.FromSlash(coverageFile), []byte(want), 0o666); err != nil {
		t.Fatal(err)
	}
}

// coverageText is the document.
func coverageText(byBase map[string]*sigma.Rule) string {
	var b strings.Builder
	b.WriteString(`# The USB coin miner: what sees which step

<!-- written by go test ./rules -update -->
The steps are those published of the campaign, its first generation (folder and files named after ` + "`x`" + `) and its second (` + "`u`" + `). Each row is a log
that can show something of the step, and the rules that fire on it; where there is none, the row says why. A test builds the records of every row and holds that
the rules fire, or that nothing of medium or more does. Names, letters and digits of the campaign stand in the records only; no rule looks at them.

`)
	link := func(base string) string {
		r := byBase[base]
		if r == nil {
			return base
		}
		return fmt.Sprintf("[%s](../../rules/%s) %s", base, r.File, r.Level)
	}
	step := 0
	for _, c := range cells {
		if c.step != step {
			if step > 0 {
				b.WriteString("\n")
			}
			step = c.step
			fmt.Fprintf(&b, "## %d. %s\n\n| log | it shows | rules |\n|---|---|---|\n", step, campaignSteps[step])
		}
		log := c.log
		if c.gen > 0 {
			log += ", generation " + strconv.Itoa(c.gen)
		}
		said := "none: " + c.why
		if len(c.want) > 0 {
			var links []string
			for _, w := range c.want {
				links = append(links, link(w))
			}
			said = strings.Join(links, ", ")
		}
		fmt.Fprintf(&b, "| %s | %s | %s |\n", log, c.shows, said)
	}
	b.WriteString("\n")
	b.WriteString(variantsText(link))
	return strings.TrimRight(b.String(), "\n") + "\n"
}
