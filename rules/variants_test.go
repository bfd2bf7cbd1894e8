package rules_test

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"testing"

	"ashiato/internal/ruletest"
	"ashiato/rules"
)

// variant is one way in which a behaviour can be varied, or a look-alike of it,
// and the rule test that covers it.
type variant struct {
	behaviour, name string
	// rule is the base name of the rule file, test the name of a test beside it:
	// one that expects the rule, of a look-alike one that expects nothing.
	rule, test string
	lookAlike  bool
	// why says what keeps a variant from being seen, or a look-alike from being
	// told apart, where there is no such test.
	why string
}

// may and not make the two kinds.
func may(behaviour, name, rule, test string) variant {
	return variant{behaviour: behaviour, name: name, rule: rule, test: test}
}

func not(behaviour, name, rule, test string) variant {
	return variant{behaviour: behaviour, name: name, rule: rule, test: test, lookAlike: true}
}

// variants lists every way to vary the campaign's behaviours that was thought
// of, and every look-alike.
var variants = []variant{
	may("mock folder", "another drive, SysWOW64, a no-break space", "mock-folder-file", "a no-break space, another drive and SysWOW64"),
	may("mock folder", "a blank in front", "mock-folder-file", "a blank before the name"),
	may("mock folder", "a blank and a dot", "mock-folder-file", "a blank and a dot"),
	may("mock folder", "a dot", "mock-folder-file", "a dot after the name, through a device prefix"),
	may("mock folder", "a tab", "mock-folder-file", "a tab"),
	may("mock folder", "blanks of the 2000 series", "mock-folder-load", "a renamed one, signed, with a foreign blank"),
	may("mock folder", "an ideographic space", "mock-folder-file", "an ideographic space"),
	may("mock folder", "`\\\\?\\`", "mock-folder-command", "a Security record of mkdir through the long prefix"),
	may("mock folder", "`\\\\.\\`", "mock-folder-file", "the device namespace"),
	may("mock folder", "`\\Device\\HarddiskVolumeN`", "mock-folder-file", "an audited access by device path"),
	may("mock folder", "the short name `WINDOW~2`", "mock-folder-file", "the short name"),
	may("mock folder", "`C:\\Program Files \\`", "mock-folder-file", "an imitation of Program Files"),
	may("mock folder", "`C:\\Program Files \\` in a command", "mock-folder-command", "an imitation of Program Files"),
	may("mock folder", "a junction", "mock-folder-command", "a junction to it"),
	may("mock folder", "subst", "mock-folder-command", "a drive letter for it"),
	not("mock folder", "`$WINDOWS.~BT`, `$WinREAgent`, `Windows.old`", "mock-folder-file", "the folders of an upgrade"),
	not("mock folder", "a container's layer", "mock-folder-file", "a container's layer"),

	may("auto-elevated program", "winSAT", "mock-folder-elevated", "the elevated twin, as Sysmon tells it"),
	may("auto-elevated program", "printui", "mock-folder-elevated", "the same in a Security record"),
	may("auto-elevated program", "any other", "mock-folder-process", "an old Security record that says nothing of integrity"),
	may("auto-elevated program", "a renamed copy", "sideload-renamed", "renamed, with a data file as library"),
	not("auto-elevated program", "cleanmgr brings DismHost", "system-program-copy", "the disk clean-up brings its helper"),
	not("auto-elevated program", "Office ClickToRun, Edge's updater", "system-program-copy", "an updater brings its own programs"),
	not("auto-elevated program", "Visual Studio, MSBuild, dotnet", "system-program-copy", "a build brings its tools"),
	not("auto-elevated program", "rundll32 printui.dll,PrintUIEntry", "system-program-copy", "the printer dialogue by its library"),
	not("auto-elevated program", "prnmngr.vbs", "usb-script-host", "the printer script of Windows, started in a folder of a stick"),

	may("side-loading", "a .dll", "mock-folder-load", "an unsigned library beside the program"),
	may("side-loading", "a .dat", "system-dll-sideload", "an auto-elevating program loads a library of another name"),
	may("side-loading", "another library of the same program", "system-dll-sideload", "another library of the same program"),
	may("side-loading", "signed, not trusted", "system-dll-sideload", "signed, but not trusted"),
	may("side-loading", "signed with a stolen certificate", "system-dll-sideload", "signed with somebody's certificate"),
	may("side-loading", "signed, in the mock folder", "mock-folder-load", "a renamed one, signed, with a foreign blank"),
	not("side-loading", "applications with libraries of such names; Dell, Exchange, ClickToRun", "system-dll-sideload", "applications that bring libraries of such names"),

	may("copy", "xcopy", "system-program-copy", "xcopy"),
	may("copy", "copy", "system-program-copy", "copy, in a Security record"),
	may("copy", "robocopy", "system-program-copy", "robocopy names folder and file apart"),
	may("copy", "Copy-Item", "system-program-copy", "PowerShell"),
	may("copy", "expand", "system-program-copy", "expand"),
	may("copy", "esentutl", "system-program-copy", "esentutl"),
	may("copy", "certutil", "system-program-copy", "certutil"),
	may("copy", "a hard or symbolic link", "system-program-copy", "a hard link"),
	may("copy", "a script's own call", "system-program-copy", "a script's own call, seen by the file"),
	not("copy", "xcopy and robocopy of installers, backup scripts", "system-program-copy", "an installer is copied by an administrator"),

	may("Defender exclusion", "Add-MpPreference", "defender-exclusion-command", "lower case and the service host as parent"),
	may("Defender exclusion", "Set-MpPreference, -ExclusionPa, a colon, a drive's root", "defender-exclusion-command", "a drive's root, abbreviated, with a colon"),
	may("Defender exclusion", "-ExclusionPr", "defender-exclusion-command", "the parameters' shortest names"),
	may("Defender exclusion", "-ExclusionE", "defender-exclusion-command", "the extension's shortest name"),
	may("Defender exclusion", "-ExclusionI", "defender-exclusion-script-any", "an address"),
	may("Defender exclusion", "splatting, pwsh", "defender-exclusion-command", "splatted"),
	may("Defender exclusion", "an array", "defender-exclusion-command", "an array whose second path is dangerous"),
	may("Defender exclusion", "with the module's name, iex", "defender-exclusion-command", "with the module's name, by iex"),
	may("Defender exclusion", "-e", "defender-exclusion-encoded", "the campaign's command, encoded"),
	may("Defender exclusion", "-ec", "defender-exclusion-encoded", "the shortest name of the switch"),
	may("Defender exclusion", "-enc", "defender-exclusion-encoded", "an abbreviated parameter at another alignment"),
	may("Defender exclusion", "PowerShell ISE", "defender-exclusion-script", "the editor of PowerShell"),
	may("Defender exclusion", "PowerShell inside another program", "defender-exclusion-script", "PowerShell inside another program"),
	may("Defender exclusion", "the classic log alone", "defender-exclusion-script", "the classic log names the bound parameter"),
	may("Defender exclusion", "Invoke-CimMethod", "defender-exclusion-script", "a CIM method"),
	may("Defender exclusion", "Set-WmiInstance", "defender-exclusion-command", "the old WMI cmdlet"),
	may("Defender exclusion", "wmic", "defender-exclusion-command", "the WMI route"),
	may("Defender exclusion", "reg.exe, the policy key", "defender-exclusion-command", "the registry tool"),
	may("Defender exclusion", "group policy, Intune", "defender-exclusion-setting", "pushed by policy"),
	may("Defender exclusion", "ControlledFolderAccessAllowedApplications", "defender-folder-access", "a program in the temporary folder"),
	may("Defender exclusion", "MpCmdRun", "defender-disable-command", "the definitions"),
	may("Defender exclusion", "DisableRealtimeMonitoring", "defender-disable-command", "monitoring off"),
	may("Defender exclusion", "the whole of System32", "defender-exclusion-setting", "the real folder in lower case"),
	not("Defender exclusion", "Rider, DBeaver, Datto, EC2Launch, UltraSearch, DCHUService, Censornet", "defender-exclusion-command", "programs that exclude their own folder"),
	not("Defender exclusion", "edits of controlled folder access", "defender-folder-access", "an installer adds its program"),
	not("Defender exclusion", "SQL, by SCCM", "defender-exclusion-command", "a database's data folder"),
	not("Defender exclusion", "Exchange, Hyper-V, Veeam", "defender-exclusion-command", "what makers of servers ask for"),
	not("Defender exclusion", "policy for products", "defender-exclusion-setting", "a product's folder, pushed by policy"),

	may("service", "sc.exe, a random name", "service-command", "the campaign's command"),
	may("service", "sc \\\\host", "service-command", "doubled blanks, another computer, a temporary folder"),
	may("service", "New-Service", "service-script", "a service in the shared host"),
	may("service", "wmic service create", "service-command", "WMI's tool, values in their order"),
	may("service", "Win32_Service.Create", "service-script", "a CIM method"),
	may("service", "CreateService", "service-install", "hosted by DcomLaunch without the flag"),
	may("service", "reg add", "service-command", "the registry tool"),
	may("service", "a .reg file", "service-dll", "a file imported by the registry editor"),
	may("service", "the registry by a program", "service-dll", "a library in a user's folder"),
	may("service", "ChangeServiceConfig", "service-install", "the registry, a temporary folder"),
	may("service", "sc config", "service-command", "an existing service is changed"),
	may("service", "the library of a stopped service", "service-dll-other", "the registry tool on a stopped service, audited"),
	may("service", "a group of its own", "service-hosted", "a group of its own"),
	may("service", "the group's list", "svchost-group", "a program adds a name to the group"),
	may("service", "FailureCommand", "service-failure", "an interpreter in the registry"),
	may("service", "the host without -p, version recorded", "service-host-start", "without the flag on a current system"),
	may("service", "the host without -p, version not recorded", "service-host-build", "the kernel says which build it is"),
	may("service", "a library called .dll in System32", "service-host-foreign", "an unsigned library that is called .dll"),
	may("service", "RDP Wrapper, which is grey: low", "service-dll-other", "the remote desktop wrapper"),
	not("service", "poqexec, TiWorker, TrustedInstaller, drvinst, msiexec, sppsvc, svchost", "service-dll-other", "Windows' servicing"),
	not("service", "PrintConfig.dll, by the spooler", "service-dll-other", "the spooler's configuration library"),
	not("service", "NTDS", "service-dll-other", "a domain controller is made"),
	not("service", "Safetica", "service-dll-other", "a protection product's agent"),
	not("service", "RDP Wrapper is no disguised library", "service-dll", "the remote desktop wrapper"),
	not("service", "a service of a user's session", "service-hosted", "a service of a user's session"),
	not("service", "an older Windows without the flag", "service-host-foreign", "an older Windows, where the flag is unknown"),

	may("task", "schtasks, any order, dashes", "task-command", "other order, dashes and doubled blanks, as the system"),
	may("task", "schtasks /create /f", "task-command", "the campaign's command"),
	may("task", "/xml", "task-xml", "from the temporary folder"),
	may("task", "Register-ScheduledTask", "task-script", "at logon with the highest rights, posing as part of Windows"),
	may("task", "New-ScheduledTaskAction and Set-ScheduledTask", "task-script", "a program in the temporary folder"),
	may("task", "COM, from a script", "task-script", "the COM interface"),
	may("task", "COM, from a program", "task-registered", "at logon with the highest privileges, from System32"),
	may("task", "at.exe", "task-command", "the old scheduler"),
	may("task", "TaskCache", "task-hidden", "the cache is written directly"),
	may("task", "SD deleted", "task-hidden", "the descriptor is deleted"),
	may("task", "Index 0", "task-hidden", "the index is set to 0, by the scheduler's own process"),
	may("task", "a file dropped among the tasks", "task-hidden", "a file is dropped among the tasks"),
	may("task", "an existing task taken over", "task-registered", "a changed task that runs a program of a user's folder"),
	may("task", "a name like Windows'", "task-registered", "a name that poses as one of Windows' own"),
	not("task", "OneDrive", "task-registered", "the file synchroniser"),
	not("task", "GoogleUpdate", "task-registered", "a browser's updater"),
	not("task", "Google's updater, Firefox, ClickToRun, LG, SoftLanding, MathWorks, Schneider", "task-registered", "installers and updaters"),
	not("task", "Adobe, HP, TeamViewer, Avira, npcap, Visual Studio, Firefox", "task-command", "installers and updaters"),
	not("task", "Office ClickToRun /XML", "task-xml", "Office's updater"),
	not("task", "UpdateOrchestrator", "task-registered", "the update orchestrator"),
	may("task target", "a program in System32, written a moment ago", "system-program-fresh", "an updater, run by its task"),
	not("task target", "Windows' own programs", "task-command", "a program of Windows"),
	not("task target", "Windows' own programs, updated", "system-program-fresh", "an update of Windows"),

	may("script from a stick", "wscript", "usb-script-host", "explorer runs a script of a stick through its shortcut"),
	may("script from a stick", "cscript, //E:vbscript and .dat", "usb-script-host", "the same in a Security record without the parent's name"),
	may("script from a stick", "mshta, a relative path", "usb-script-host", "a relative script name in a folder of the stick"),
	may("script from a stick", "/elevated by runas", "usb-script-elevated", "the script asked for the rights through the verb runas"),
	may("script from a stick", "cmd", "usb-command-script", "a batch file of another drive is opened"),
	may("script from a stick", "PowerShell", "usb-command-script", "PowerShell"),
	may("script from a stick", "rundll32", "usb-loader", "a shortcut runs a library"),
	may("script from a stick", "cmd /c start", "usb-folder-open", "a program and the folder"),
	may("script from a stick", "forfiles", "usb-script-host", "through a proxy"),
	may("script from a stick", "conhost", "usb-script-host", "through the console host"),
	not("script from a stick", "portable programs, set-up of a disc", "usb-script-host", "a menu of portable programs, and a disc's set-up"),
	not("script from a stick", "logon scripts of mapped drives", "usb-script-host", "a logon script of a mapped drive, started by the logon"),
	not("script from a stick", "an administrator's elevated script", "usb-script-elevated", "an administrator's prompt runs a script of a second disk"),
	{
		behaviour: "script from a stick", name: "a school's or office's own script on a stick", lookAlike: true,
		why: "its start is the same as the intrusion's (usb-script-host, medium); what it does next decides, and the incident stays medium if it does nothing",
	},

	may("hiding", "attrib +h, +s +h", "hidden-command", "attrib hides a folder of a stick"),
	may("hiding", "SetFileAttributes", "hidden-access", "a service host changes attributes on a stick"),
	may("hiding", "FileSystemObject.Attributes", "hidden-access", "a script sets the attribute by an object"),
	may("hiding", "Set-ItemProperty", "hidden-command", "by PowerShell"),
	may("hiding", "in a script block", "hidden-command", "in a script block"),
	may("hiding", "a class identifier", "usb-disguised-folder", "a class identifier"),
	may("hiding", "a folder named no-break space", "usb-disguised-folder", "a name of one no-break space"),
	may("hiding", "nearly the recycle bin", "usb-disguised-folder", "nearly the recycle bin"),
	may("hiding", "all the user's files moved away", "usb-files-moved", "a service host moves ten files away"),
	{
		behaviour: "hiding", name: "created with the attribute set",
		why: "neither Sysmon nor the Security log records the attributes of a new file; the kernel's own events do",
	},
	{
		behaviour: "hiding", name: "a folder that is called nearly System Volume Information",
		why: "any name is possible; hidden-access, usb-script-write and usb-write-sequence do not look at names",
	},
	not("hiding", "desktop.ini", "hidden-command", "a folder's settings file"),
	not("hiding", "System Volume Information, $RECYCLE.BIN", "usb-disguised-folder", "the recycle bin and the restore points"),
	not("hiding", ".Trashes, .Spotlight-V100, ._*, Office's ~$", "usb-disguised-folder", "folders that a Mac leaves, and Office's lock files"),
	not("hiding", "draw.io's copies, msiexec's desktop.ini", "usb-disguised-folder", "a drawing program's copies, a folder's settings"),
	not("hiding", "a graphics driver's *.cui", "hidden-command", "a graphics driver's files"),
	not("hiding", "OneDrive", "hidden-command", "a synchroniser's folder settings"),
	not("hiding", "the volume's index", "hidden-access", "the index of the volume"),

	may("shortcut in the root", "any name", "usb-root-shortcut", "a script, with any name"),
	may("shortcut in the root", "by a service", "usb-root-shortcut", "a service host writes the shortcut"),
	may("shortcut in the root", "by any program, after a script", "usb-write-sequence", "a program of any name and place, a data file"),
	may("shortcut in the root", "in the audit alone", "usb-write-sequence", "the audit of removable storage alone"),
	{
		behaviour: "shortcut in the root", name: "a folder's icon, a script host as target, a stale drive letter",
		why: "they stand in the shortcut, which no log holds",
	},
	not("shortcut in the root", "the user makes one", "usb-root-shortcut-other", "the user makes a shortcut"),
	not("shortcut in the root", "the user copies scripts and makes one", "usb-write-sequence", "the user copies a folder and makes a shortcut to it"),

	may("miner", "renamed, port 443, TLS, a fingerprint, --max-cpu-usage, --dns-ttl", "miner-arguments", "a pool on port 443 without wallet"),
	may("miner", "--url, -a rx/0, -u", "miner-arguments", "the long option and an algorithm"),
	may("miner", "--cpu-priority, --cpu-max-threads-hint", "miner-arguments", "the processor's share and priority"),
	may("miner", "--coin", "miner-arguments", "a coin"),
	may("miner", "-u, -p, -k, -B, --no-color, --http-port", "miner-arguments", "user and password, in the background"),
	may("miner", "a wallet alone", "miner-arguments", "a wallet, the pool elsewhere"),
	may("miner", "--cuda, --opencl", "miner-arguments", "both kinds of graphics cards"),
	may("miner", "lolMiner", "miner-arguments", "lolMiner's shape"),
	may("miner", "T-Rex", "miner-arguments", "T-Rex's shape"),
	may("miner", "gminer", "miner-arguments", "gminer's shape"),
	may("miner", "nbminer", "miner-arguments", "nbminer's shape"),
	may("miner", "in the place of svchost or explorer", "process-hollowed", "a service host"),
	may("miner", "in the place of explorer, with arguments", "miner-arguments", "inside a program of Windows"),
	may("miner", "no arguments, by its start from System32", "system-program-fresh", "a miner in a folder of its own"),
	{behaviour: "miner", name: "it pauses while a task manager runs", why: "no record says why a process ended"},
	not("miner", "no arguments are no miner's", "miner-arguments", "no arguments: the settings are in a file"),
	not("miner", "Folding@home, BOINC, Blender, ffmpeg", "miner-arguments", "folding, rendering and compiling"),
	not("miner", "gcc -o pool.o", "miner-arguments", "a compiler"),
	not("miner", "curl --tls", "miner-arguments", "a download with its own TLS options"),
	not("miner", "containers, proxies", "miner-arguments", "containers and their ports"),
	{
		behaviour: "miner", name: "NiceHash, XMRig and HiveOS, installed by the user", lookAlike: true,
		why: "they are miners (miner-arguments, high); whether they are allowed is for whoever owns the computer",
	},

	may("driver", "renamed, by its hash", "miner-driver", "renamed, known by its hash"),
	may("driver", "renamed, by its signer", "miner-driver", "renamed, known by its signer"),
	may("driver", "another driver of the kind", "register-driver", "in a folder of its own in System32"),
	not("driver", "LibreHardwareMonitor", "miner-driver", "a hardware monitor"),
	not("driver", "OpenRGB, fan control", "miner-driver", "a lighting tool installs it"),
	not("driver", "MSI Afterburner", "miner-driver", "an overclocking tool's own driver"),
	not("driver", "RWEverything, Afterburner, CPU-Z where they belong", "register-driver", "where drivers belong"),
}

// TestVariants holds that each variant has a test which expects the rule meant
// for it, and each look-alike one that expects nothing.
func TestVariants(t *testing.T) {
	names, err := fs.Glob(rules.FS(), "*/*.test")
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]map[string]ruletest.Test{} // by rule, by name
	for _, name := range names {
		data, err := fs.ReadFile(rules.FS(), name)
		if err != nil {
			t.Fatal(err)
		}
		f, errs := ruletest.Parse(name, data)
		for _, err := range errs {
			t.Error(err)
		}
		base := strings.TrimSuffix(path.Base(name), ".test")
		tests[base] = map[string]ruletest.Test{}
		for _, x := range f.Tests {
			tests[base][x.Name] = x
		}
	}
	seen := map[string]bool{}
	for _, v := range variants {
		what := v.behaviour + ": " + v.name
		if seen[what] {
			t.Errorf("%s: told twice", what)
		}
		seen[what] = true
		if v.why != "" {
			if v.test != "" {
				t.Errorf("%s: both a test and a reason for having none", what)
			}
			continue
		}
		x, ok := tests[v.rule][v.test]
		switch expects := slices.ContainsFunc(x.Expect, func(e ruletest.Expectation) bool { return e.Name == v.rule }); {
		case !ok:
			t.Errorf("%s: %s.test has no test %q", what, v.rule, v.test)
		case v.lookAlike && (x.Sort == ruletest.Positive || len(x.Expect) > 0):
			t.Errorf("%s: the test %q of %s expects a rule", what, v.test, v.rule)
		case !v.lookAlike && !expects:
			t.Errorf("%s: the test %q of %s does not expect that rule", what, v.test, v.rule)
		}
	}
}

// variantsText is the part of the document about them.
func variantsText(link func(base string) string) string {
	var b strings.Builder
	b.WriteString(`## Variants and look-alikes

Each row has a test beside the rule: a variant one that expects it, a look-alike one that expects nothing.

| behaviour | variant or look-alike | |
|---|---|---|
`)
	for _, v := range variants {
		said := "no rule: " + v.why
		switch {
		case v.lookAlike && v.why != "":
			said = "reported: " + v.why
		case v.lookAlike:
			name, _, _ := strings.Cut(link(v.rule), " ")
			said = "quiet: " + name
		case v.why == "":
			said = link(v.rule)
		}
		fmt.Fprintf(&b, "| %s | %s | %s |\n", v.behaviour, v.name, said)
	}
	return b.String()
}
