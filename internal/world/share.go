package world

import (
	"strings"

	"ashiato/internal/event"
)

// Rights of Security 5145 and Sysmon 10, [MS-DTYP] 2.4.3 and the Windows SDK.
const (
	rightWriteData  = 0x2
	rightAppendData = 0x4

	processCreateThread = 0x2
	processVMOperation  = 0x8
	processVMWrite      = 0x20
)

// Injects reports whether the rights that one process got to another allow it
// to put code there: to write memory, and to make it run or make room for it.
func Injects(rights uint64) bool {
	return rights&processVMWrite != 0 && rights&(processCreateThread|processVMOperation) != 0
}

// ShareWrites reports whether a 5145 record's rights allow writing.
func ShareWrites(rights uint64) bool { return rights&(rightWriteData|rightAppendData) != 0 }

// controlPipes are the pipes over which services (MS-SCMR) and tasks (MS-TSCH,
// its older form) of another machine are controlled.
var controlPipes = map[string]bool{"svcctl": true, "atsvc": true}

// ControlPipe returns the match form of the pipe over which a 5145 record shows
// that services or tasks are controlled, "" if it shows none.
func ControlPipe(share, target string) string {
	if !strings.HasSuffix(strings.ToLower(share), `\ipc$`) {
		return ""
	}
	if name := strings.ToLower(strings.TrimLeft(target, `\`)); controlPipes[name] {
		return name
	}
	return ""
}

// wantedShare reports whether a record of an access to a share can take part in
// a join: files are read all day, only writing hands something over.
func wantedShare(e *event.Event) bool {
	if e.ID != 5145 {
		return false
	}
	share, target := e.Value("ShareName"), e.Value("RelativeTargetName")
	if strings.HasSuffix(strings.ToLower(share), `\ipc$`) {
		return ControlPipe(share, target) != ""
	}
	return target != "" && target != `\` && ShareWrites(ParseNumber(e.Value("AccessMask")))
}

// systemPipes are the pipes of Windows' own services, to which everything
// connects all day.
var systemPipes = func() map[string]bool {
	m := map[string]bool{}
	for _, n := range strings.Fields(`lsass lsarpc samr netlogon srvsvc wkssvc svcctl atsvc eventlog epmapper ntsvcs scerpc spoolss
		winreg browser trkwks initshutdown wmsgapi plugplay protected_storage router efsrpc netdfs dnsserver w32time w32time_alt
		termsrv_api_service ctx_winstation_api_service msftewds searchtextharvester gatekeeper tapsrv keysvc dav rpc_service
		dhcp dhcpcsvc dhcpcsvc6 wtime_alt locsrv`) {
		m[n] = true
	}
	return m
}()

// systemPipePrefixes are how Windows' own pipes begin that have a number in
// their name, and those of Chromium's and .NET's own processes among each other.
var systemPipePrefixes = []string{
	`winsock2\catalogchangelistener-`, `local\mojo.`, `mojo.`, `chrome.`, `local\crashpad_`, `crashpad_`, `local\chrome.`,
	`tsvcpipe-`, `pipe_eventroot\`, `gecko.`, `gecko-crash-server-pipe.`, `local\gecko`, `vmware-`, `vboxtrayipc-`, `dotnet-diagnostic-`,
	`clr-debug-pipe-`, `cpfatp_`, `mmcss`, `uv\`,
}

// SystemPipe reports whether a pipe's name says nothing about who talks to whom:
// it has none, or is one of Windows' own.
func SystemPipe(name string) bool {
	key := PipeKey(name)
	if key == "" || strings.HasPrefix(key, "<anonymous") || strings.HasPrefix(key, "&lt;anonymous") || systemPipes[key] {
		return true
	}
	for _, p := range systemPipePrefixes {
		if strings.HasPrefix(key, p) {
			return true
		}
	}
	return false
}

// PipeKey is the match form of a pipe's name.
func PipeKey(name string) string {
	key := strings.ToLower(name)
	for _, prefix := range []string{`\\.\pipe\`, `\??\pipe\`, `\device\namedpipe\`} {
		key = strings.TrimPrefix(key, prefix)
	}
	return strings.TrimLeft(key, `\`)
}
