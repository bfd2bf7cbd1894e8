package provenance

import (
	"slices"
	"strings"

	"ashiato/internal/world"
)

// Brokers start programs on behalf of others, or are shared by everything that
// happens on a machine. What one of their children did says nothing about
// another's, so they carry no lineage. The list is by full path: a program of
// the same name elsewhere is none of them.
var brokers = func() map[string]bool {
	m := map[string]bool{"system": true, "registry": true, `c:\windows\explorer.exe`: true}
	for _, name := range strings.Fields(`
		services.exe svchost.exe wininit.exe winlogon.exe lsass.exe lsaiso.exe smss.exe csrss.exe userinit.exe
		runtimebroker.exe taskhostw.exe taskhostex.exe taskhost.exe taskeng.exe dllhost.exe sihost.exe dwm.exe
		fontdrvhost.exe conhost.exe consent.exe logonui.exe lsm.exe ctfmon.exe msiexec.exe backgroundtaskhost.exe
		applicationframehost.exe searchindexer.exe searchprotocolhost.exe searchfilterhost.exe wsmprovhost.exe
		smartscreen.exe securityhealthservice.exe sppsvc.exe audiodg.exe compattelrunner.exe runonce.exe
		wbem\wmiprvse.exe wbem\unsecapp.exe wbem\scrcons.exe`) {
		m[`c:\windows\system32\`+name] = true
	}
	m[`c:\windows\syswow64\dllhost.exe`] = true
	m[`c:\windows\syswow64\wbem\wmiprvse.exe`] = true
	m[`c:\windows\syswow64\msiexec.exe`] = true
	m[`c:\windows\servicing\trustedinstaller.exe`] = true
	m[`c:\windows\sysmon.exe`] = true
	m[`c:\windows\sysmon64.exe`] = true
	// Linux: what starts services, jobs, sessions and containers. A shell of a
	// session is none of them: what it starts is that session's doing.
	for _, name := range strings.Fields(`
		lib/systemd/systemd lib/systemd/systemd-executor sbin/init sbin/cron sbin/crond sbin/atd sbin/anacron bin/login
		sbin/sshd lib/openssh/sshd-session lib/openssh/sshd-auth libexec/openssh/sshd-session libexec/sshd-session lib/ssh/sshd-session
		bin/containerd bin/containerd-shim bin/containerd-shim-runc-v1 bin/containerd-shim-runc-v2 bin/dockerd bin/runc sbin/runc
		bin/conmon bin/crio bin/dbus-daemon bin/dbus-broker-launch lib/polkit-1/polkitd lib/systemd/systemd-logind lib/systemd/systemd-udevd
		sbin/gdm3 bin/gnome-shell libexec/gnome-session-binary bin/gnome-session bin/plasmashell bin/tmux bin/screen sbin/inetd sbin/xinetd`) {
		m["/usr/"+name] = true
	}
	return m
}()

// begetters are the only programs that start a broker, both by the match forms of
// their paths. What anything else started in a broker's name is what that made
// it: a process to hide in. Brokers that programs of all kinds start, such as
// explorer.exe, conhost.exe and msiexec.exe, are not here.
//
// In the public recordings every one of their 900 starts that names a parent
// names one of these, but for one: svchost.exe, started to be hollowed.
var begetters = func() map[string][]string {
	m := map[string][]string{}
	for _, line := range strings.Split(`
		smss.exe: system smss.exe
		csrss.exe wininit.exe winlogon.exe: smss.exe
		services.exe lsass.exe lsaiso.exe lsm.exe: wininit.exe
		svchost.exe sppsvc.exe searchindexer.exe securityhealthservice.exe: services.exe
		userinit.exe: winlogon.exe
		dwm.exe fontdrvhost.exe logonui.exe: winlogon.exe wininit.exe
		taskhost.exe taskhostex.exe taskhostw.exe taskeng.exe: svchost.exe services.exe
		dllhost.exe: svchost.exe services.exe
		runtimebroker.exe backgroundtaskhost.exe smartscreen.exe wsmprovhost.exe consent.exe audiodg.exe: svchost.exe
		wbem\wmiprvse.exe wbem\unsecapp.exe wbem\scrcons.exe: svchost.exe
		searchprotocolhost.exe searchfilterhost.exe: searchindexer.exe`, "\n") {
		children, parents, _ := strings.Cut(line, ":")
		for _, child := range strings.Fields(children) {
			for _, parent := range strings.Fields(parents) {
				if parent != "system" {
					parent = `c:\windows\system32\` + parent
				}
				m[`c:\windows\system32\`+child] = append(m[`c:\windows\system32\`+child], parent)
			}
		}
	}
	for _, name := range []string{"dllhost.exe", `wbem\wmiprvse.exe`} {
		m[`c:\windows\syswow64\`+name] = m[`c:\windows\system32\`+name]
	}
	return m
}()

// astray reports whether something else started p than what alone starts the
// broker whose program it runs. Where no record names the parent it is believed.
func (g *Graph) astray(p *world.Process) bool {
	parents := begetters[p.ImageKey()]
	if parents == nil || p.Implied {
		return false
	}
	parent := world.PathKey(p.ParentImage)
	if q := p.Parent; q != nil && q.Image != "" {
		parent = q.ImageKey()
		if g.units[q] {
			return true // one in the name of a broker that was itself led astray
		}
	}
	return (strings.Contains(parent, `\`) || parent == "system") && !slices.Contains(parents, parent)
}

// ambient are programs that fetch files for people: what one download does says
// nothing about the next. They are known by name below these folders.
var ambient = func() map[string]bool {
	m := map[string]bool{}
	for _, n := range strings.Fields("chrome.exe msedge.exe firefox.exe iexplore.exe opera.exe brave.exe vivaldi.exe") {
		m[n] = true
	}
	return m
}()

func staticHub(key string) bool {
	if brokers[key] {
		return true
	}
	if strings.HasPrefix(key, `c:\programdata\microsoft\windows defender\`) || strings.HasPrefix(key, `c:\program files\windows defender\`) {
		switch world.Base(key) {
		case "msmpeng.exe", "mpcmdrun.exe", "nissrv.exe", "mpdefendercoreservice.exe":
			return true
		}
	}
	if strings.HasPrefix(key, `c:\windows\systemapps\`) || strings.HasPrefix(key, `c:\windows\winsxs\`) && world.Base(key) == "tiworker.exe" {
		return true
	}
	return Browser(key)
}

// Browser reports whether a program, by the match form of its path, is a browser
// where browsers are installed.
func Browser(key string) bool {
	return ambient[world.Base(key)] &&
		(strings.HasPrefix(key, `c:\program files\`) || strings.HasPrefix(key, `c:\program files (x86)\`) ||
			strings.Contains(key, `\appdata\local\`) && strings.Contains(key, `\application\`))
}

// fanOut is how many children make a program a hub, if one process of it has more
// on each of fanHosts hosts: a broker without being on the list, such as a
// management agent.
const (
	fanOut   = 64
	fanHosts = 3
)

// hub reports whether the process carries no lineage. One that a recorded unit
// ran is that unit's process, whatever its image.
func (g *Graph) hub(p *world.Process) bool {
	if p == nil || g.units[p] {
		return false
	}
	return staticHub(p.ImageKey()) || g.hubs[p.ImageKey()]
}

// interpreters are the programs that run a file given as an argument, with the
// extensions that they take; none listed means any.
var interpreters = map[string][]string{
	"wscript.exe": nil, "cscript.exe": nil, "mshta.exe": nil, "rundll32.exe": nil, "regsvr32.exe": nil,
	"msbuild.exe": nil, "installutil.exe": nil, "regasm.exe": nil, "regsvcs.exe": nil, "odbcconf.exe": nil,
	"cmd.exe":        {".bat", ".cmd"},
	"powershell.exe": {".ps1", ".psm1", ".psd1"}, "pwsh.exe": {".ps1", ".psm1", ".psd1"},
	"powershell_ise.exe": {".ps1", ".psm1"},
	"msiexec.exe":        {".msi", ".msp", ".mst"},
	"hh.exe":             {".chm"}, "control.exe": {".cpl"}, "wmic.exe": {".xsl"}, "cmstp.exe": {".inf"},
	"reg.exe": {".reg"}, "regedit.exe": {".reg"},
	"python.exe": {".py", ".pyc", ".pyw"}, "pythonw.exe": {".py", ".pyc", ".pyw"}, "py.exe": {".py"},
	"perl.exe": {".pl"}, "ruby.exe": {".rb"}, "node.exe": {".js", ".mjs"}, "php.exe": {".php"},
	"java.exe": {".jar"}, "javaw.exe": {".jar"}, "autoit3.exe": {".au3", ".a3x"}, "bash.exe": {".sh"},
}

// posixInterpreters run a file given as an argument, whatever its name.
var posixInterpreters = func() map[string]bool {
	m := map[string]bool{}
	for _, n := range strings.Fields("sh bash dash ash zsh ksh mksh fish busybox python pypy perl ruby node nodejs php lua tclsh java awk gawk mawk env nohup setsid crontab systemctl insmod") {
		m[n] = true
	}
	return m
}()

// viewers open documents, which may carry what comes next.
var viewers = map[string]bool{
	"winword.exe": true, "excel.exe": true, "powerpnt.exe": true, "outlook.exe": true, "onenote.exe": true, "visio.exe": true,
	"mspub.exe": true, "acrord32.exe": true, "acrobat.exe": true, "wordpad.exe": true, "7zfm.exe": true, "7zg.exe": true, "winrar.exe": true,
	"eqnedt32.exe": true,
}

// scriptExts and programExts are what is worth a node of its own when written.
var programExts = map[string]bool{
	".exe": true, ".dll": true, ".sys": true, ".scr": true, ".com": true, ".cpl": true, ".ocx": true, ".msi": true,
	".bat": true, ".cmd": true, ".ps1": true, ".psm1": true, ".vbs": true, ".vbe": true, ".js": true, ".jse": true,
	".wsf": true, ".hta": true, ".lnk": true, ".jar": true, ".inf": true, ".chm": true, ".iso": true, ".img": true, ".vhd": true,
	".dat": true, ".bin": true, ".scf": true, ".url": true, ".py": true, ".aspx": true, ".asp": true, ".jsp": true, ".php": true,
	".sh": true, ".so": true, ".ko": true, ".service": true, ".timer": true, ".elf": true, ".pl": true,
	".docm": true, ".xlsm": true, ".doc": true, ".xls": true, ".xll": true, ".dmp": true, ".zip": true, ".7z": true, ".rar": true,
}

func takes(image, ext string) (interprets, views bool) {
	base := world.Base(image)
	if world.Posix(image) {
		// A script of Linux needs no extension. python3.12 is python, bash5 bash.
		return posixInterpreters[strings.TrimRight(base, "0123456789.")], false
	}
	if viewers[base] {
		return false, true
	}
	exts, ok := interpreters[base]
	if !ok {
		return false, false
	}
	if exts == nil {
		return true, false
	}
	for _, e := range exts {
		if e == ext {
			return true, false
		}
	}
	return false, false
}
