package world

import (
	"testing"

	"ashiato/internal/event"
)

func TestPipeNames(t *testing.T) {
	for name, want := range map[string]bool{
		`\lsass`: true, `\PIPE\x`: false, `\\.\pipe\LSARPC`: true, `<Anonymous Pipe>`: true, `&lt;Anonymous Pipe&gt;`: true, ``: true, `\`: true,
		`\Winsock2\CatalogChangeListener-2f0-0`: true, `\mojo.1.2.3`: true, `\LOCAL\crashpad_1_X`: true, `\msagent_fe`: false, `\lsass2`: false,
		`\PSHost.133.1.DefaultAppDomain.powershell`: false,
	} {
		if SystemPipe(name) != want {
			t.Errorf("SystemPipe(%q) = %v", name, !want)
		}
	}
	if k := PipeKey(`\Device\NamedPipe\Evil`); k != "evil" {
		t.Errorf("PipeKey = %q", k)
	}
}

func TestControlPipes(t *testing.T) {
	for _, c := range []struct{ share, target, want string }{
		{`\\*\IPC$`, `svcctl`, "svcctl"},
		{`\\*\ipc$`, `\SVCCTL`, "svcctl"},
		{`\\*\IPC$`, `atsvc`, "atsvc"},
		{`\\*\IPC$`, `srvsvc`, ""},
		{`\\*\C$`, `svcctl`, ""},
	} {
		if got := ControlPipe(c.share, c.target); got != c.want {
			t.Errorf("ControlPipe(%q, %q) = %q", c.share, c.target, got)
		}
	}
}

func TestInjectingRights(t *testing.T) {
	for rights, want := range map[uint64]bool{0x1fffff: true, 0x1438: true, 0x1410: false, 0x20: false, 0x22: true, 0x28: true, 0xa: false, 0x1000: false} {
		if Injects(rights) != want {
			t.Errorf("Injects(%#x) = %v", rights, !want)
		}
	}
}

// What makes up most of the logs of these kinds is not kept.
func TestWhatIsKept(t *testing.T) {
	share := func(id uint32, name, target, mask string) *event.Event {
		return &event.Event{ID: id, Kind: event.ShareAccess, Data: event.Fields{
			{Name: "ShareName", Value: name}, {Name: "RelativeTargetName", Value: target}, {Name: "AccessMask", Value: mask},
		}}
	}
	access := func(rights string) *event.Event {
		return &event.Event{ID: 10, Kind: event.ProcessAccess, Data: event.Fields{{Name: "GrantedAccess", Value: rights}}}
	}
	pipe := func(name string) *event.Event {
		return &event.Event{ID: 17, Kind: event.PipeCreate, Data: event.Fields{{Name: "PipeName", Value: name}}}
	}
	value := func(object string) *event.Event {
		return &event.Event{ID: 13, Kind: event.RegistrySet, Data: event.Fields{{Name: "TargetObject", Value: object}}}
	}
	for _, c := range []struct {
		name string
		e    *event.Event
		want bool
	}{
		{"a file written over a share", share(5145, `\\*\C$`, `x.exe`, "0x17019f"), true},
		{"a file read over a share", share(5145, `\\*\C$`, `x.exe`, "0x120089"), false},
		{"a share's root", share(5145, `\\*\C$`, `\`, "0x2"), false},
		{"a share opened", share(5140, `\\*\C$`, ``, "0x1"), false},
		{"the service manager's pipe", share(5145, `\\*\IPC$`, `svcctl`, "0x12019f"), true},
		{"another service's pipe", share(5145, `\\*\IPC$`, `lsarpc`, "0x12019f"), false},
		{"memory read", access("0x1410"), false},
		{"memory written", access("0x1438"), true},
		{"a pipe", pipe(`\x`), true},
		{"Windows' own pipe", pipe(`\lsass`), false},
		{"a COM class", value(`HKU\S-1_Classes\CLSID\{1}\InprocServer32\(Default)`), true},
		{"any value", value(`HKLM\SOFTWARE\Vendor\X`), false},
	} {
		if got := wanted(c.e); got != c.want {
			t.Errorf("%s: kept %v", c.name, got)
		}
	}
}

func TestSameImage(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{`\device\harddiskvolume3\x\a.exe`, `c:\x\a.exe`, true},
		{`c:\x\a.exe`, `\device\harddiskvolume3\x\a.exe`, true},
		{`c:\y\a.exe`, `\device\harddiskvolume3\x\a.exe`, false},
		{`\device\harddiskvolume2\x\a.exe`, `\device\harddiskvolume3\x\a.exe`, false},
		{`c:\a.exe`, `d:\a.exe`, false},
		{`a`, `a`, true},
	} {
		if sameImage(c.a, c.b) != c.want {
			t.Errorf("sameImage(%q, %q) = %v", c.a, c.b, !c.want)
		}
	}
}
