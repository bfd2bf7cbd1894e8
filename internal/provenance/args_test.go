package provenance

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestPathsIn(t *testing.T) {
	for _, c := range []struct {
		cmd, dir string
		want     string
		not      string
	}{
		{`"C:\WINDOWS\System32\WScript.exe" "E:\rootdir\x1.vbs" `, `E:\rootdir\`, `e:\rootdir\x1.vbs`, `c:\windows\system32\wscript.exe`},
		{`wscript.exe x1.vbs`, `E:\rootdir`, `e:\rootdir\x1.vbs`, ``},
		{`cmd /c .\a.bat`, `C:\Users\a b\`, `c:\users\a b\a.bat`, ``},
		{`cmd.exe /c E:\my dir\a.bat arg`, ``, `e:\my dir\a.bat`, ``},
		{`rundll32 C:\x\a.dll,Entry`, ``, `c:\x\a.dll`, ``},
		{`rundll32.exe C:\x\a.dll,#1`, ``, `c:\x\a.dll`, ``},
		{`xcopy  "C:\Windows\System32\printui.exe" "C:\Windows \System32" /Y`, ``, `c:\windows \system32`, `c:\windows\system32`},
		{`wscript %windir%\a.vbs`, ``, `c:\windows\a.vbs`, ``},
		{`curl https://example.com/a.exe`, `C:\`, ``, `s://example.com/a.exe`},
		{`sc create x binPath=C:\a\b.exe`, ``, `c:\a\b.exe`, ``},
	} {
		got := pathsIn(c.cmd, c.dir)
		if c.want != "" && !slices.Contains(got, c.want) {
			t.Errorf("pathsIn(%q) = %q lacks %q", c.cmd, got, c.want)
		}
		if c.not != "" && slices.Contains(got, c.not) {
			t.Errorf("pathsIn(%q) = %q has %q", c.cmd, got, c.not)
		}
	}
}

func TestExclusionsIn(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{`powershell -Command "Add-MpPreference -ExclusionPath 'C:\Windows \System32'"`, `path C:\Windows \System32`},
		{`Add-MpPreference -ExclusionPath 'C:\a','C:\b c' -Force`, `path C:\a|path C:\b c`},
		{`Set-MpPreference -ExclusionPa C:\x`, `path C:\x`},
		{`Set-MpPreference -ExclusionPr x.exe -ExclusionExtension .exe`, `process x.exe|extension .exe`},
		{`Set-MpPreference -ExclusionP x.exe`, ``}, // ambiguous: PowerShell refuses it
		{`Remove-MpPreference -ExclusionPath C:\x`, ``},
		{`CommandInvocation(Add-MpPreference): "Add-MpPreference" ParameterBinding(Add-MpPreference): name="ExclusionPath"; value="C:\Windows \System32"`, `path C:\Windows \System32`},
		{`WMIC.exe /Namespace:\\root\Microsoft\Windows\Defender class MSFT_MpPreference call Add ExclusionPath=\ATOMIC\`, `path \ATOMIC\`},
		{`reg add "HKLM\SOFTWARE\Microsoft\Windows Defender\Exclusions\Paths" /v C:\x /t REG_DWORD /d 0`, `path C:\x`},
		{`reg add "HKLM\SOFTWARE\Microsoft\Windows Defender\Exclusions\Paths\" /v C:\x /t REG_DWORD /d 0`, `path C:\x`},
		{`notepad exclusion.txt`, ``},
		{script(`powershell -enc QQBkAGQALQBNAHAAUAByAGUAZgBlAHIAZQBuAGMAZQAgAC0ARQB4AGMAbAB1AHMAaQBvAG4AUABhAHQAaAAgAEMAOgBcAHgA`), `path C:\x`},
	} {
		var got []string
		for _, x := range exclusionsIn(c.text) {
			got = append(got, x.kind+" "+x.value)
		}
		if strings.Join(got, "|") != c.want {
			t.Errorf("exclusionsIn(%q) = %q, want %q", c.text, got, c.want)
		}
	}
}

func TestWords(t *testing.T) {
	for text, want := range map[string][]string{
		`a  "b c" d"e f"g`:        {"a", "b c", "de fg"},
		`"\"C:\a b\x.exe\" -y" z`: {`"C:\a b\x.exe" -y`, "z"},
		`"C:\a b\\" z`:            {`C:\a b\`, "z"},
		`\\host\share "\\h\s t"`:  {`\\host\share`, `\\h\s t`},
		`C:\ \`:                   {`C:\`, `\`},
		`"C:\a b\" z`:             {`C:\a b\`, "z"},
		`""`:                      {""},
		` `:                       nil,
	} {
		if got := words(text); !slices.Equal(got, want) {
			t.Errorf("%s is %q, want %q", text, got, want)
		}
	}
}

func TestClaims(t *testing.T) {
	for _, c := range []struct {
		read          func(string) []claim
		text, name, c string
		host          string
	}{
		{serviceClaims, `sc  create x665422 binPath= "C:\Windows\System32\svchost.exe -k DcomLaunch" type= own`, "x665422", `C:\Windows\System32\svchost.exe -k DcomLaunch`, ""},
		{serviceClaims, `cmd.exe /c sc create N binPath=C:\a.exe`, "N", `C:\a.exe`, ""},
		{serviceClaims, `sc \\host create N binPath= x`, "N", "x", `\\host`},
		{serviceClaims, `New-Service -ComputerName h -Name N -BinaryPathName x`, "N", "x", "h"},
		{serviceClaims, `sc config Fax binPath= "C:\a.exe -c \"write 'x'\" /q" start= auto`, "Fax", `C:\a.exe -c "write 'x'" /q`, ""},
		{serviceClaims, `New-Service -Name "hackervirus" -BinaryPathName '"virus.exe"'`, "hackervirus", `virus.exe`, ""},
		{serviceClaims, `reg  add HKLM\SYSTEM\CurrentControlSet\services\N\Parameters /v ServiceDll /d x`, "N", "", ""},
		{serviceClaims, `scrcons.exe`, "", "", ""},
		{taskClaims, `schtasks /create /tn "console_zero" /sc ONLOGON /tr "C:\Windows\System32\console_zero.exe" /f`, "console_zero", `C:\Windows\System32\console_zero.exe`, ""},
		{taskClaims, `schtasks /run /tn "x"`, "", "", ""},
		{taskClaims, `schtasks /create /s other /tn x /tr y`, "x", "y", "other"},
		{serviceClaims, `powershell.exe -NoProfile -Command "New-Service -Name 'My Svc' -BinaryPathName 'C:\a b.exe -k x'; Start-Service 'My Svc'"`, "My Svc", `C:\a b.exe -k x`, ""},
		{serviceClaims, `CommandInvocation(New-Service): "New-Service" ParameterBinding(New-Service): name="Name"; value="x134897"`, "", "", ""},
		{serviceClaims, `cmd /c "sc create N binPath= C:\a.exe"`, "N", `C:\a.exe`, ""},
		{serviceClaims, `wmic service call create Name="a b",DisplayName="c",PathName="C:\Windows\System32\svchost.exe -k X",StartMode="Automatic"`, "a b", `C:\Windows\System32\svchost.exe -k X`, ""},
		{serviceClaims, `C:\Windows\System32\wbem\WMIC.exe Win32_Service call create name=N, pathname=C:\n.exe`, "N", `C:\n.exe`, ""},
		{serviceClaims, `wmic /node:other service call create Name="N",PathName="C:\n.exe"`, "N", `C:\n.exe`, "other"},
		{serviceClaims, `wmic service where name="N" call startservice`, "", "", ""},
		{serviceClaims, `reg add HKLM\SYSTEM\CurrentControlSet\Services\N /v ImagePath /t REG_EXPAND_SZ /d "C:\n.exe -k" /f`, "N", `C:\n.exe -k`, ""},
		{taskClaims, `powershell -NoProfile -Command "Register-ScheduledTask -TaskName 'Aktualisierung 2' -Action (New-ScheduledTaskAction -Execute 'C:\a.exe')"`, "Aktualisierung 2", "", ""},
		{taskClaims, `cmd /c "schtasks /create /tn x /tr C:\x.exe" & schtasks /run /tn x`, "x", `C:\x.exe`, ""},
		{taskClaims, `schtasks -Create -XML "C:\x y.xml" -TN "更新 確認" -F`, "更新 確認", "", ""},
	} {
		name, command, host := "", "", ""
		if got := c.read(c.text); len(got) == 1 {
			name, command, host = got[0].name, strings.Trim(got[0].command, `'"`), got[0].host
		}
		if name != c.name || command != c.c || host != c.host {
			t.Errorf("%q claims %q on %q to run %q, want %q, %q, %q", c.text, name, host, command, c.name, c.host, c.c)
		}
	}
}

func TestShellWords(t *testing.T) {
	got := shellWords(`New-Service -Name 'it''s' -Path "a ""b"" c";X (Y -Z 'p q')|W`)
	want := []string{"New-Service", "-Name", "it's", "-Path", `a "b" c`, "X", "Y", "-Z", "p q", "W"}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestServiceDllClaims: what a service host is to load, by a command.
func TestServiceDllClaims(t *testing.T) {
	for text, want := range map[string]string{
		`reg  add HKLM\SYSTEM\CurrentControlSet\services\N\Parameters /v ServiceDll /t REG_EXPAND_SZ /d "C:\a b.dll" /f`: `C:\a b.dll`,
		`reg add HKLM\SYSTEM\CurrentControlSet\services\N\Parameters /v Other /d "C:\a.dll"`:                             "",
	} {
		got := serviceClaims(text)
		if len(got) != 1 || got[0].name != "N" || !got[0].change || got[0].dll != want || got[0].command != "" {
			t.Errorf("%q claims %+v, want %q", text, got, want)
		}
	}
}

// FuzzCommandLines feeds the readers of command lines anything: what they find
// must be a part of what they were given.
func FuzzCommandLines(f *testing.F) {
	f.Add(`cmd /c "E:\a b\x.bat" , C:\y`, `C:\`)
	f.Add(`Add-MpPreference -ExclusionPath 'a','b`, ``)
	f.Add(`sc create x binpath=`, `x`)
	f.Add(`powershell -c "New-Service -Name 'a''b' -Path ''" ; wmic service call create Name="x",PathName=`, ``)
	f.Add(`reg add HKLM\SYSTEM\CurrentControlSet\services\N /v ServiceDll /d`, ``)
	f.Add("Exclusion\x00MpPreference ExclusionPath İ", "İ")
	f.Fuzz(func(t *testing.T, cmd, dir string) {
		if len(pathsIn(cmd, dir)) > maxCandidates {
			t.Fatal("too many candidates")
		}
		text := script(cmd)
		for _, x := range exclusionsIn(text) {
			plain := func(s string) string { return strings.ReplaceAll(s, `\`, "") } // which may stand before a quote
			if !strings.Contains(plain(text), plain(x.value)) || x.value == "" {
				t.Fatalf("%q excludes %q", text, x.value)
			}
		}
		for _, read := range []func(string) []claim{serviceClaims, taskClaims} {
			for _, c := range read(cmd) {
				if utf8.ValidString(cmd) && len(c.name) > len(cmd) {
					t.Fatalf("%q claims %q", cmd, c.name)
				}
			}
		}
	})
}
