package scenario

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"ashiato/internal/event"
)

// find returns the records of a provider's last word and id that hold all the
// given values, name and value in turn; a value that begins with ~ need only be
// contained.
func find(b *Built, provider string, id uint32, values ...string) []*event.Event {
	var found []*event.Event
next:
	for _, e := range b.Events {
		if e.ID != id || !strings.HasSuffix(e.Provider, provider) {
			continue
		}
		for i := 0; i < len(values); i += 2 {
			got, ok := e.Data.Get(values[i])
			part, contains := strings.CutPrefix(values[i+1], "~")
			if !ok || contains && !strings.Contains(got, part) || !contains && got != values[i+1] {
				continue next
			}
		}
		found = append(found, e)
	}
	return found
}

// one is find for what must be there exactly once.
func one(t *testing.T, b *Built, provider string, id uint32, values ...string) *event.Event {
	t.Helper()
	found := find(b, provider, id, values...)
	if len(found) != 1 {
		t.Fatalf("%d records %s %d with %q, want 1", len(found), provider, id, values)
	}
	return found[0]
}

func value(t *testing.T, e *event.Event, name string) string {
	t.Helper()
	v, ok := e.Data.Get(name)
	if !ok {
		t.Fatalf("%s %d has no field %q", e.Provider, e.ID, name)
	}
	return v
}

func TestSeedIsWhole(t *testing.T) {
	b := seed(t)
	steps := map[int]int{}
	attack, benign := 0, 0
	hosts := map[string]int{}
	for _, e := range b.Events {
		l, ok := b.Label(e)
		if !ok {
			t.Fatalf("no label for %+v", KeyOf(e))
		}
		if l.Attack {
			attack++
			steps[l.Step]++
		} else {
			benign++
			hosts[e.Host]++
		}
		if e.Kind != event.Other || e.Canon != nil {
			t.Fatalf("record %+v is not raw", KeyOf(e))
		}
	}
	for _, n := range b.Expect.Steps {
		if steps[n] == 0 {
			t.Errorf("step %d leaves no record", n)
		}
	}
	if benign < 2000 {
		t.Errorf("%d benign records, want at least 2000", benign)
	}
	if len(hosts) != 2 || min(hosts["DESKTOP-7Q2"], hosts["LAPTOP-K4M"]) < 500 {
		t.Errorf("benign records per host: %v", hosts)
	}
	if !slices.IsSortedFunc(b.Events, event.Compare) {
		t.Error("the events are not in order")
	}
	first, last := b.Events[0].Time, b.Events[len(b.Events)-1].Time
	if d := last.Sub(first); d < 30*time.Minute || d > time.Hour {
		t.Errorf("the scenario lasts %s", d)
	}
	t.Logf("%d records of the attack in steps %v, %d benign", attack, steps, benign)
}

// same fails unless a and b are equal all through.
func same(t *testing.T, a, b any) {
	t.Helper()
	if !reflect.DeepEqual(a, b) { // go-cmp takes seconds to find thousands of records equal
		t.Error(cmp.Diff(a, b))
	}
}

func TestBuildIsDeterministic(t *testing.T) {
	first := seed(t)
	same(t, first, seed(t))
	s := parse(t, seedFile, readSeed(t))
	same(t, build(t, s), build(t, s))
	if reflect.DeepEqual(first.Events, seed(t, "seed", "5").Events) {
		t.Error("another seed gives the same records")
	}
}

// checkNumbers fails unless the record ids of every log run without a hole in
// the order they were logged, the lost ones counted in.
func checkNumbers(t interface {
	Helper()
	Fatalf(string, ...any)
}, b *Built,
) {
	t.Helper()
	type log struct{ host, channel string }
	ids := map[log][]uint64{}
	logged := map[RecordKey]time.Time{}
	for _, e := range b.Events {
		k := log{e.Host, e.Channel}
		ids[k] = append(ids[k], e.Ref.RecordID)
		logged[KeyOf(e)] = e.Logged
	}
	for k := range b.Lost {
		l := log{k.Host, k.Channel}
		ids[l] = append(ids[l], k.RecordID)
	}
	for k, list := range ids {
		slices.Sort(list)
		var last time.Time
		for i, id := range list {
			if i > 0 && id != list[i-1]+1 {
				t.Fatalf("%v: record %d follows %d", k, id, list[i-1])
			}
			at, kept := logged[RecordKey{k.host, k.channel, id}]
			if kept && !last.IsZero() && at.Before(last) {
				t.Fatalf("%v: record %d was logged before the one before it", k, id)
			}
			if kept {
				last = at
			}
		}
	}
	if len(b.Truth) != len(b.Events) {
		t.Fatalf("%d labels for %d records", len(b.Truth), len(b.Events))
	}
}

func TestRecordNumbers(t *testing.T) {
	b := seed(t)
	checkNumbers(t, b)
	if len(b.Lost) != 0 {
		t.Errorf("%d records lost, want none", len(b.Lost))
	}
	lossy := seed(t, "lose", "50")
	checkNumbers(t, lossy)
	if len(lossy.Lost) == 0 || len(lossy.Lost)+len(lossy.Events) != len(b.Events) {
		t.Errorf("%d lost and %d kept of %d", len(lossy.Lost), len(lossy.Events), len(b.Events))
	}
}

func TestLostStep(t *testing.T) {
	text := small("-- steps --\n+1s start x\n    image C:\\x.exe\n    parent explorer\n    lost sysmon\n+1s end x\n")
	b := build(t, parse(t, "t.txtar", []byte(text)))
	checkNumbers(t, b)
	if len(b.Lost) != 1 || len(find(b, "Sysmon", 1)) != 0 || len(find(b, "Auditing", 4688)) != 1 {
		t.Errorf("lost %v", b.Lost)
	}
}

func TestKnownProcessGUID(t *testing.T) {
	// A recorded pair: ClientProcessStartKey 2251799813686331 is the process
	// {81056205-5686-64dc-3b04-000000000800}.
	if got := startKey(8, 1083); got != 2251799813686331 {
		t.Errorf("start key %d", got)
	}
	got := processGUID(0x81056205, time.Unix(0x64dc5686, 0), 2251799813686331)
	if want := "{81056205-5686-64dc-3b04-000000000800}"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestProcessGUIDArithmetic(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		machine := rapid.Uint32().Draw(t, "machine")
		second := rapid.Uint32().Draw(t, "second")
		boot := rapid.Uint16().Draw(t, "boot")
		sequence := rapid.Uint64Range(0, 1<<48-1).Draw(t, "sequence")
		guid := processGUID(machine, time.Unix(int64(second), rapid.Int64Range(0, 999_999_999).Draw(t, "ns")), startKey(boot, sequence))
		gotMachine, gotSecond, key := splitGUID(t, guid)
		if gotMachine != machine || gotSecond != second || key>>48 != uint64(boot) || key&(1<<48-1) != sequence {
			t.Fatalf("%s: machine %x second %d boot %d sequence %d", guid, gotMachine, gotSecond, key>>48, key&(1<<48-1))
		}
	})
}

// splitGUID reads the parts of a ProcessGuid, independently of how it is made.
func splitGUID(t interface{ Fatalf(string, ...any) }, guid string) (machine, second uint32, key uint64) {
	var low, high uint16
	var a, b string
	if n, err := fmt.Sscanf(strings.NewReplacer("{", "", "}", "", "-", " ").Replace(guid), "%8x %4x %4x %s %s", &machine, &low, &high, &a, &b); n != 5 || err != nil {
		t.Fatalf("%q is no GUID: %v", guid, err)
	}
	raw, err := hex.DecodeString(a + b)
	if err != nil || len(raw) != 8 {
		t.Fatalf("%q is no GUID: %v", guid, err)
	}
	for i := range 8 {
		key |= uint64(raw[i]) << (8 * i)
	}
	return machine, uint32(high)<<16 | uint32(low), key
}

// TestIdentitiesAgree holds that every ProcessGuid names one process with one
// pid, that its second is the start's, and that parents are the same processes.
func TestIdentitiesAgree(t *testing.T) {
	b := seed(t)
	type identity struct{ host, pid, image string }
	seen := map[string]identity{}
	check := func(e *event.Event, guid, pid, image string) {
		g, ok := e.Data.Get(guid)
		if !ok {
			return
		}
		id := identity{e.Host, value(t, e, pid), value(t, e, image)}
		if old, ok := seen[g]; ok && old != id {
			t.Errorf("%s is %v and %v", g, old, id)
		}
		seen[g] = id
	}
	lastKey := map[string]uint64{}
	for _, e := range b.Events {
		if !strings.HasSuffix(e.Provider, "Sysmon") {
			continue
		}
		check(e, "ProcessGuid", "ProcessId", "Image")
		check(e, "ParentProcessGuid", "ParentProcessId", "ParentImage")
		check(e, "SourceProcessGUID", "SourceProcessId", "SourceImage")
		check(e, "TargetProcessGUID", "TargetProcessId", "TargetImage")
		if e.ID != 1 {
			continue
		}
		_, second, key := splitGUID(t, value(t, e, "ProcessGuid"))
		if int64(second) != e.Time.Unix() && int64(second) != e.Time.Add(-5*time.Millisecond).Unix() {
			t.Errorf("record %d: the GUID's second is %d, the start's %d", e.Ref.RecordID, second, e.Time.Unix())
		}
		if key <= lastKey[e.Host] {
			t.Errorf("record %d: sequence %x after %x", e.Ref.RecordID, key, lastKey[e.Host])
		}
		lastKey[e.Host] = key
	}
}

// TestNoProcessReusesALivingPID replays starts and ends.
func TestNoProcessReusesALivingPID(t *testing.T) {
	b := seed(t)
	alive := map[string]string{}
	for _, e := range b.Events {
		if !strings.HasSuffix(e.Provider, "Sysmon") || e.ID != 1 && e.ID != 5 {
			continue
		}
		k := e.Host + " " + value(t, e, "ProcessId")
		if e.ID == 5 {
			delete(alive, k)
			continue
		}
		if old := alive[k]; old != "" {
			t.Errorf("pid %s of %s is still %s", k, value(t, e, "ProcessGuid"), old)
		}
		alive[k] = value(t, e, "ProcessGuid")
	}
}

func TestServiceJoinsItsCreator(t *testing.T) {
	b := seed(t)
	installed := one(t, b, "Auditing", 4697, "ServiceName", "x665422")
	sc := one(t, b, "Sysmon", 1, "CommandLine", `~sc  create x665422`)
	_, _, key := splitGUID(t, value(t, sc, "ProcessGuid"))
	if got := value(t, installed, "ClientProcessStartKey"); got != strconv.FormatUint(key, 10) {
		t.Errorf("ClientProcessStartKey %s, sc.exe is %d", got, key)
	}
	if got, want := value(t, installed, "ClientProcessId"), value(t, sc, "ProcessId"); got != want {
		t.Errorf("ClientProcessId %s, sc.exe is %s", got, want)
	}
	task := one(t, b, "Auditing", 4698, "TaskName", `\console_zero`)
	creator := one(t, b, "Sysmon", 1, "CommandLine", "~schtasks /create")
	if _, _, key := splitGUID(t, value(t, creator, "ProcessGuid")); value(t, task, "ClientProcessStartKey") != strconv.FormatUint(key, 10) {
		t.Errorf("the task's creator is %s, schtasks.exe %d", value(t, task, "ClientProcessStartKey"), key)
	}
	system := one(t, b, "Manager", 7045, "ServiceName", "x665422")
	path := value(t, system, "ImagePath")
	if path != `C:\Windows\System32\svchost.exe -k DcomLaunch` || value(t, installed, "ServiceFileName") != path {
		t.Errorf("image path %q", path)
	}
	started := one(t, b, "Sysmon", 1, "CommandLine", path)
	if got := value(t, started, "ParentImage"); got != `C:\Windows\System32\services.exe` {
		t.Errorf("the service's parent is %s", got)
	}
	dll := one(t, b, "Sysmon", 13, "TargetObject", `~\Services\x665422\Parameters\ServiceDll`)
	one(t, b, "Sysmon", 7, "ImageLoaded", value(t, dll, "Details"), "Signed", "false", "ProcessGuid", value(t, started, "ProcessGuid"))
}

func TestElevationAndSideLoad(t *testing.T) {
	b := seed(t)
	const exe = `C:\Windows \System32\printui.exe`
	starts := find(b, "Sysmon", 1, "Image", exe)
	if len(starts) != 2 {
		t.Fatalf("%d starts of %s, want 2", len(starts), exe)
	}
	low, high := starts[0], starts[1]
	if value(t, low, "IntegrityLevel") != "Medium" || value(t, high, "IntegrityLevel") != "High" {
		t.Error("not Medium, then High")
	}
	if value(t, low, "ParentProcessGuid") != value(t, high, "ParentProcessGuid") {
		t.Error("the two have different parents")
	}
	if value(t, low, "LogonId") == value(t, high, "LogonId") {
		t.Error("the two have the same logon")
	}
	if d := high.Time.Sub(low.Time); d <= 0 || d >= time.Second {
		t.Errorf("%s between the two", d)
	}
	labels := find(b, "Auditing", 4688, "NewProcessName", exe)
	if len(labels) != 2 || value(t, labels[0], "MandatoryLabel") != "S-1-16-8192" || value(t, labels[1], "MandatoryLabel") != "S-1-16-12288" ||
		value(t, labels[0], "TokenElevationType") != "%%1938" || value(t, labels[1], "TokenElevationType") != "%%1937" {
		t.Error("the 4688 records do not show the elevation")
	}
	loaded := one(t, b, "Sysmon", 7, "ImageLoaded", `C:\Windows \System32\printui.dll`)
	if value(t, loaded, "ProcessGuid") != value(t, high, "ProcessGuid") || value(t, loaded, "Signed") != "false" {
		t.Error("the module is not loaded unsigned by the elevated process")
	}
	written := one(t, b, "Sysmon", 29, "TargetFilename", `C:\Windows \System32\x817994.dat`)
	if value(t, written, "Hashes") != value(t, loaded, "Hashes") {
		t.Error("the loaded module is not what was written")
	}
	if !strings.Contains(value(t, loaded, "Hashes"), "MD5=60F6ACFB9EFCE8DBF5A6D69A418C0EED,") {
		t.Errorf("hashes %s", value(t, loaded, "Hashes"))
	}
	if n := len(find(b, "Sysmon", 11, "TargetFilename", `C:\Windows \System32\printui.dll`)); n != 0 {
		t.Errorf("a rename left %d file records", n)
	}
	genuine := find(b, "Sysmon", 7, "ImageLoaded", `C:\Windows\System32\printui.dll`)
	if len(genuine) == 0 || value(t, genuine[0], "Signed") != "true" {
		t.Error("no benign load of the genuine module to compare with")
	}
}

func TestDefenderExclusions(t *testing.T) {
	b := seed(t)
	const key = `HKLM\SOFTWARE\Microsoft\Windows Defender\Exclusions\Paths\`
	for _, path := range []string{`C:\Windows \System32`, `C:\Windows\System32`} {
		one(t, b, "Defender", 5007, "New Value", key+path+" = 0x0", "Old Value", "")
		one(t, b, "Sysmon", 13, "TargetObject", key+path, "Image", `~MsMpEng.exe`, "Details", "DWORD (0x00000000)")
		one(t, b, "PowerShell", 4104, "ScriptBlockText", "Add-MpPreference -ExclusionPath '"+path+"'")
		one(t, b, "PowerShell", 4103, "Payload", `~name="ExclusionPath"; value="`+path+`"`)
		ps := one(t, b, "Sysmon", 1, "CommandLine", `~-ExclusionPath '`+path+`'"`)
		if got := value(t, ps, "ParentImage"); got != `C:\Windows \System32\printui.exe` {
			t.Errorf("the parent is %q", got)
		}
	}
}

func TestSticks(t *testing.T) {
	b := seed(t)
	attach := find(b, "Partition", 1006, "SerialNumber", "6C8FE0A41D77", "BusType", "7", "Capacity", "31457280000")
	if len(attach) != 2 || attach[0].Host != "DESKTOP-7Q2" || attach[1].Host != "LAPTOP-K4M" {
		t.Fatalf("%d arrivals of the infected stick", len(attach))
	}
	for _, e := range attach {
		vbr, err := hex.DecodeString(value(t, e, "Vbr0"))
		if err != nil || len(vbr) != 512 {
			t.Fatalf("boot record of %d bytes, %v", len(vbr), err)
		}
		if !bytes.Equal(vbr[0x43:0x47], []byte{0xFF, 0x90, 0xD2, 0xC4}) {
			t.Errorf("volume serial % X", vbr[0x43:0x47])
		}
	}
	for _, e := range find(b, "Partition", 1006, "Capacity", "0") {
		if value(t, e, "Vbr0Bytes") != "0" || value(t, e, "PartitionCount") != "0" {
			t.Error("a removed stick has a boot record")
		}
	}
	for letter, serial := range map[string]string{`E:\`: "7F1A3C5E90B2", `F:\`: "6C8FE0A41D77"} {
		if n := len(find(b, "Sysmon", 13, "TargetObject", "~"+serial, "Details", letter)); n != 1 {
			t.Errorf("%d records give %s the stick %s", n, letter, serial)
		}
	}
	if n := len(find(b, "Auditing", 6416, "DeviceId", "~7F1A3C5E90B2")); n != 3 {
		t.Errorf("%d device records of the first stick, want 3", n)
	}
	hidden := find(b, "Auditing", 4663, "AccessList", "~%%4424", "ObjectName", "~.jpg")
	moved := find(b, "Auditing", 4663, "AccessList", "~%%1537", "ObjectName", "~.jpg")
	if len(hidden) != 40 || len(moved) != 40 {
		t.Errorf("%d files hidden, %d moved, want 40", len(hidden), len(moved))
	}
	var infection []string
	for _, e := range find(b, "Sysmon", 11, "TargetFilename", `~F:\`) {
		infection = append(infection, value(t, e, "TargetFilename"))
	}
	if n := len(infection); n < 5 || infection[n-1] != `F:\USB Drive.lnk` {
		t.Errorf("written to the stick: %q", infection)
	}
}

// TestBenignIsBenign keeps the background free of what marks the attack, and
// makes sure that it holds what only looks like it.
func TestBenignIsBenign(t *testing.T) {
	b := seed(t)
	looks := map[string]bool{}
	for _, e := range b.Events {
		l, _ := b.Label(e)
		for _, f := range e.Data {
			v := strings.ToLower(f.Value)
			if !l.Attack {
				for _, bad := range []string{`c:\windows \`, "817994", "665422", "console_zero", "pool.example", "update.example,"} {
					if strings.Contains(v, bad) {
						t.Errorf("benign %s record has %q in %s: %q", l.Text, bad, f.Name, f.Value)
					}
				}
				if f.Name == "CommandLine" && strings.HasSuffix(v, "-k dcomlaunch") {
					t.Errorf("benign %s record has DcomLaunch without -p", l.Text)
				}
				for _, like := range []string{"add-mppreference", "xcopy", "printui", "wscript.exe", "dcomlaunch -p", "robocopy", "zone.identifier"} {
					looks[like] = looks[like] || strings.Contains(v, like)
				}
			}
		}
	}
	for like, there := range looks {
		if !there {
			t.Errorf("no benign record looks like %s", like)
		}
	}
}

func TestVariations(t *testing.T) {
	t.Run("names", func(t *testing.T) {
		b := seed(t, "digits", "104882", "number", "220931", "stick", "H", "next", "J", "folder", "sysvolume", "prefix", "u", "lure", "Removable Disk", "task", "svc_upd",
			"first", "PC-0031", "owner", "kim", "second", "PC-0032", "friend", "li")
		for _, e := range b.Events {
			for _, f := range e.Data {
				for _, old := range []string{"817994", "665422", "rootdir", "USB Drive", "console_zero", `E:\`, `F:\`, "DESKTOP-7Q2", "LAPTOP-K4M", "mori", "sato"} {
					if strings.Contains(f.Value, old) {
						t.Fatalf("%s %d still has %q in %s: %q", e.Provider, e.ID, old, f.Name, f.Value)
					}
				}
			}
		}
		if got := strings.Join(b.Expect.Hosts, " "); got != "PC-0031 PC-0032" {
			t.Errorf("expected hosts %s", got)
		}
		one(t, b, "Sysmon", 1, "CommandLine", `~WScript.exe" "H:\sysvolume\u104882.vbs" `)
	})
	t.Run("telemetry", func(t *testing.T) {
		whole := seed(t)
		for _, log := range []string{"sysmon", "security"} {
			part := seed(t, "telemetry", log)
			var want []*event.Event
			for _, e := range whole.Events {
				if strings.Contains(strings.ToLower(e.Channel), log) {
					want = append(want, e)
				}
			}
			same(t, want, part.Events)
		}
	})
	t.Run("old records", func(t *testing.T) {
		whole, old := seed(t), seed(t, "records", "old")
		if len(whole.Events) != len(old.Events) {
			t.Fatalf("%d records, %d old", len(whole.Events), len(old.Events))
		}
		fewer := 0
		for i, e := range old.Events {
			names := map[string]bool{}
			for _, f := range whole.Events[i].Data {
				names[f.Name] = true
			}
			for _, f := range e.Data {
				if v, ok := whole.Events[i].Data.Get(f.Name); !ok || v != f.Value {
					t.Fatalf("%s %d: %s is %q in the old record, %q in the new one", e.Provider, e.ID, f.Name, f.Value, v)
				}
			}
			if len(e.Data) < len(names) {
				fewer++
			}
		}
		if fewer == 0 {
			t.Error("no old record has fewer fields")
		}
		for _, e := range find(old, "Auditing", 4688) {
			if _, ok := e.Data.Get("ParentProcessName"); ok || e.Version != 1 {
				t.Fatal("an old 4688 names its parent")
			}
		}
	})
	t.Run("order", func(t *testing.T) {
		order := func(changes ...string) string {
			var names []string
			for _, e := range find(seed(t, changes...), "Sysmon", 11, "TargetFilename", `~F:\rootdir\x`) {
				names = append(names, value(t, e, "TargetFilename"))
			}
			return strings.Join(names, " ")
		}
		seen := map[string]bool{order(): true}
		for n := range 12 {
			got := order("shuffle", "yes", "seed", strconv.Itoa(n))
			if strings.Count(got, `F:\rootdir`) != 3 {
				t.Errorf("shuffled: %s", got)
			}
			seen[got] = true
		}
		if len(seen) < 3 {
			t.Errorf("%d orders in 13 builds", len(seen))
		}
	})
	t.Run("stretch", func(t *testing.T) {
		at := func(b *Built) time.Time {
			return one(t, b, "Sysmon", 1, "Image", `~wscript.exe`, "CommandLine", `~.vbs" `).Time
		}
		if d, want := at(seed(t, "stretch", "2")).Sub(at(seed(t))), 168*time.Second; d != want {
			t.Errorf("%s later, want %s", d, want)
		}
	})
	t.Run("language", func(t *testing.T) {
		b := seed(t, "language", "de")
		if got := value(t, one(t, b, "Manager", 7045, "ServiceName", "x665422"), "ServiceType"); got != "Benutzermodusdienst" {
			t.Errorf("service type %q", got)
		}
		if len(find(b, "Sysmon", 1, "User", `NT-AUTORITÄT\SYSTEM`)) == 0 || len(find(b, "Sysmon", 1, "User", `NT AUTHORITY\SYSTEM`)) != 0 {
			t.Error("the accounts are not German")
		}
	})
	t.Run("all together", func(t *testing.T) {
		rapid.Check(t, func(r *rapid.T) {
			s := parse(t, seedFile, readSeed(t))
			for name, value := range map[string]string{
				"seed":       strconv.FormatUint(rapid.Uint64().Draw(r, "seed"), 10),
				"digits":     rapid.StringMatching(`[0-9]{6}`).Draw(r, "digits"),
				"number":     rapid.StringMatching(`[0-9]{6}`).Draw(r, "number"),
				"stick":      rapid.StringMatching(`[D-K]`).Draw(r, "stick"),
				"next":       rapid.StringMatching(`[L-Z]`).Draw(r, "next"),
				"shuffle":    rapid.SampledFrom([]string{"yes", "no"}).Draw(r, "shuffle"),
				"records":    rapid.SampledFrom([]string{"old", "newest"}).Draw(r, "records"),
				"language":   rapid.SampledFrom([]string{"en", "de", "ja", "ko"}).Draw(r, "language"),
				"telemetry":  rapid.SampledFrom([]string{"sysmon", "security system", "sysmon security system tasks defender powershell partition pnp"}).Draw(r, "telemetry"),
				"stretch":    strconv.FormatFloat(rapid.Float64Range(0.2, 20).Draw(r, "stretch"), 'f', 3, 64),
				"lose":       strconv.Itoa(rapid.IntRange(0, 200).Draw(r, "lose")),
				"background": strconv.Itoa(rapid.IntRange(0, 300).Draw(r, "background")),
			} {
				if err := s.Set(name, value); err != nil {
					r.Fatalf("%v", err)
				}
			}
			b, err := s.Build()
			if err != nil {
				r.Fatalf("%v", err)
			}
			checkNumbers(r, b)
		})
	})
	t.Run("background", func(t *testing.T) {
		b := seed(t, "background", "0")
		for k, l := range b.Truth {
			if !l.Attack {
				t.Fatalf("benign record %v", k)
			}
		}
	})
}

// everyVerb uses each verb once, so that every record template is filled in.
const everyVerb = `Every verb, synthetic.
-- settings --
start 2026-01-02T03:04:05Z
telemetry all sensor
-- hosts --
host pc
    dnsdomain corp.example
host tux
    system linux
host other
-- volumes --
volume v
-- contents --
content link
    target    C:\Windows\System32\wscript.exe
    arguments //b ${dollar}x.vbs
content blob
    signer Example Signer
    program yes
-- steps --
on pc
+1s attach v
    letter G
    first yes
+1s start x
    image C:\x.exe
    parent explorer
+1s running y
    image C:\y.exe
    parent x
+1s write G:\a.dat
    by x
    content blob
+1s read G:\a.dat
    by x
+1s write G:\a.lnk
    by x
    content link
+1s cpu x
    percent 48
    seconds 600
+1s gpu x
    percent 91
    seconds 600
+1s sensorlost 12
+1s mkdir G:\d
    by x
+1s rename G:\a.dat
    by x
    to G:\d\a.dll
+1s hide G:\d
    by x
+1s timestamp G:\d\a.dll
    by x
    created 2020-01-01 00:00:00.000
+1s stream C:\f:Zone.Identifier
    by x
+1s load G:\d\a.dll
    by x
+1s driver C:\Windows\System32\drivers\d.sys
    content blob
+1s delete G:\d\a.dll
    by x
+1s set HKLM\SOFTWARE\X
    by x
    details %SystemRoot%\x
+1s addkey HKLM\SOFTWARE\Y
    by x
+1s service s
    by x
    image C:\s.exe
    type 0x1
    start 3
+1s servicestate s
    state running
+1s servicechange s
    by x
    display S
    before auto start
    after disabled
+1s task t
    by x
    command C:\t.exe
+1s runtask t
    process z
    image C:\t.exe
    lives 2s
+1s exclude C:\x
+1s setting b
    before a
+1s script Get-Date
    by x
    command Get-Date
    payload p
+1s resolve a.example
    by x
+1s connect 192.0.2.1
    by x
    port 80
+1s access lsass
    by x
+1s thread explorer
    by x
+1s pipe \p
    by x
+1s openpipe \p
    by x
+1s logon user
    type 2
    privileged yes
+1s explicitlogon user
    by x
    server other
+1s share a.exe
    user user
    luid 0x5555
    ip 192.0.2.2
    port 50000
+1s running listener
    image C:\Windows\System32\svchost.exe
    parent services
    on other
+1s running seclogon
    image C:\Windows\System32\svchost.exe
    parent services
+1s remotelogon admin
    by x
    to other
    as in
    explicit yes
    privileged yes
+1s rdplogon admin
    by x
    to other
    as desktop
    listener listener
+1s winrmshell
    by x
    to other
    logon in
    listener listener
+1s sharewrite Temp\a.exe
    on other
    logon in
    first yes
+1s remoteopen svcctl
    on other
    logon in
+1s rdpaway
    on other
    logon desktop
+1s rdpback
    on other
    logon desktop
+1s rdplogoff
    on other
    logon desktop
+1s rdpentry admin
    on other
    as away
    listener listener
    ip 203.0.113.5
+1s untask t
    by x
+1s clearlog
    by x
+1s runas admin
    by x
    as again
    listener seclogon
+1s wmiprovider CIMWin32
    by wmiprvse
+1s wmifailure Start IWbemServices::ExecQuery
    by x
+1s wmiwatch SELECT * FROM Win32_ProcessStartTrace
    by x
+1s wmiquery SELECT * FROM MSFT_SCMEventLogEvent
    provider SCM Event Provider
+1s bits Update
    by x
    url https://a.example/f
    local C:\f.dat
+1s write C:\f.dat
    by bits
    job Update
+1s running installer
    image C:\Windows\System32\msiexec.exe
    parent services
+1s msibegin C:\p.msi
    by x
    server installer
+1s msiend C:\p.msi
    by x
    product P
+1s wmibound SCM Event Log Consumer
    filter SCM Event Log Filter
    wql select * from MSFT_SCMEventLogEvent
+1s wmifilter f
    by x
    wql SELECT * FROM __InstanceModificationEvent
+1s wmiconsumer c
    by x
    destination cmd.exe
+1s wmibinding c
    by x
    filter f
+1s logoff user
    type 2
    luid 0x3d2c1
+1s end x
+1s detach v
+1s reboot
    on other
+1s start s
    on      tux
    image   /usr/sbin/sshd
    cmdline sshd: root [priv]
    parent  sshd
+1s sshfailed root
    on tux
    by s
    ip 203.0.113.9
+1s sshlogon root
    on tux
    by s
    ip 203.0.113.9
    as in
+1s start b
    on      tux
    image   /usr/bin/bash
    cmdline -bash
    parent  s
    logon   in
+1s write /tmp/a b
    on tux
    by b
+1s delete /tmp/a b
    on tux
    by b
+1s connect 203.0.113.9
    on   tux
    by   b
    port 80
+1s end b
    on tux
`

func TestEveryVerbAndRecord(t *testing.T) {
	s := parse(t, "every.txtar", []byte(everyVerb))
	b := build(t, s)
	checkNumbers(t, b)
	verbs, records := maps.Clone(s.lib.verbs), maps.Clone(s.lib.records)
	delete(verbs, "running")
	for _, l := range b.Truth {
		delete(verbs, l.Verb)
	}
	for _, e := range b.Events {
		for name, r := range records {
			if r.log.provider == e.Provider && r.id == e.ID {
				delete(records, name)
			}
		}
	}
	if len(verbs) != 0 {
		t.Errorf("verbs without a record: %v", slices.Sorted(maps.Keys(verbs)))
	}
	if len(records) != 0 {
		t.Errorf("templates that no verb fills in: %v", slices.Sorted(maps.Keys(records)))
	}
	if e := one(t, b, "Sysmon", 6); value(t, e, "Signature") != "Example Signer" || e.Host != "PC.corp.example" {
		t.Errorf("driver %+v", e)
	}
	if got := value(t, one(t, b, "Sysmon", 13, "TargetObject", `HKLM\SOFTWARE\X`), "Details"); got != `%%SystemRoot%%\x` {
		t.Errorf("details %q", got)
	}
	if a, z := one(t, b, "TaskScheduler", 200), one(t, b, "TaskScheduler", 201); value(t, a, "TaskInstanceId") != value(t, z, "TaskInstanceId") {
		t.Error("the task's end is not that of its start")
	}
}

// TestTheFormatIsDescribed keeps docs/formats/scenario.md complete.
func TestTheFormatIsDescribed(t *testing.T) {
	doc, err := os.ReadFile(filepath.Join("..", "..", "docs", "formats", "scenario.md"))
	if err != nil {
		t.Fatal(err)
	}
	lib, err := loadLibrary()
	if err != nil {
		t.Fatal(err)
	}
	words := slices.Sorted(maps.Keys(lib.verbs))
	words = append(words, lib.logNames...)
	words = append(words, "start", "seed", "telemetry", "records", "language", "stretch", "jitter", "identity", "shuffle", "lose", "background")
	for _, verb := range slices.Sorted(maps.Keys(lib.verbs)) {
		if !bytes.Contains(doc, []byte("`"+verb+"`")) {
			t.Errorf("the verb %s is not described", verb)
		}
	}
	for _, w := range words {
		if !bytes.Contains(doc, []byte(w)) {
			t.Errorf("%s is not described", w)
		}
	}
	for _, v := range lib.verbs {
		for _, need := range v.need {
			if !bytes.Contains(doc, []byte(need)) {
				t.Errorf("%s's key %s is not described", v.name, need)
			}
		}
	}
}

// A remote logon's process: another account, its own logon id.
func TestRemoteLogon(t *testing.T) {
	b := build(t, parse(t, "t.txtar", []byte(small(`host server
    address 10.0.0.9
-- steps --
on pc
+1s logon admin
    type 3
    luid 0x5a1b2
    ip   ${server.address}
    port 50123
+1s start remote
    image C:\Windows\PSEXESVC.exe
    parent services
    user admin
    integrity High
    luid 0x5a1b2
`))))
	in := one(t, b, "Auditing", 4624, "LogonType", "3", "IpAddress", "10.0.0.9", "SubjectUserSid", "S-1-0-0")
	started := one(t, b, "Auditing", 4688, "TargetLogonId", value(t, in, "TargetLogonId"), "TargetUserName", "admin")
	sid := value(t, in, "TargetUserSid")
	if value(t, started, "TargetUserSid") != sid || sid == value(t, one(t, b, "Sysmon", 1), "User") || strings.HasSuffix(sid, "-1001") {
		t.Errorf("the account's identifier is %s", sid)
	}
	if got := value(t, one(t, b, "Sysmon", 1), "LogonGuid"); !strings.HasSuffix(got, "-b2a1-050000000000}") {
		t.Errorf("logon GUID %s", got)
	}
}

func stepsIn(steps []*step) int {
	n := 0
	for _, st := range steps {
		n += st.times + stepsIn(st.steps)
	}
	return n
}

// FuzzScenario: whatever the text, an error or records that balance.
func FuzzScenario(f *testing.F) {
	f.Add([]byte(everyVerb))
	f.Add([]byte(small("-- background --\ncount 50\n")))
	f.Add([]byte(small("host other\n-- steps --\non pc\n+1s remotelogon a\n    by explorer\n    to other\n    as in\n+1s reboot\n-- background --\ncount 60\nwith managed\n")))
	f.Add([]byte(small("-- vars --\nx digits 6\ny in a | b\nz from 3-9\n-- steps --\n+1s start p\n    image C:\\${x}${y}${z}.exe\n    repeat 3\n    every 1s\n")))
	f.Add([]byte(alternatives))
	f.Add([]byte(small("-- vary --\nlose in 0 | 5\nx in a | b\n-- vars --\nchoose x\n    case a\n    case b if x a\n-- steps --\nany\n    group\n        step 3 t\n        when x b\n            +1s reboot\n    group\n        unless x b\n            +2s stream C:\\x:y\n                by explorer\n                contents <<4\n                    a\n\n                      b\n")))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := Parse("f.txtar", data)
		if err != nil {
			return
		}
		if again, err := Parse("g.txtar", s.Text()); err != nil {
			t.Fatalf("written down it is an error: %v\n%s", err, s.Text())
		} else if !bytes.Equal(again.Text(), s.Text()) {
			t.Fatalf("written down twice it differs:\n%s\n%s", s.Text(), again.Text())
		}
		s.background.count = min(s.background.count, 100)
		if stepsIn(s.steps) > 2000 {
			return
		}
		if v, err := Vary("f.txtar", data, 1, map[string]string{"background": "50"}); err == nil && stepsIn(v.steps) <= 2000 {
			if b, err := v.Build(); err == nil {
				checkNumbers(t, b)
			}
		}
		b, err := s.Build()
		if err != nil {
			if !strings.Contains(err.Error(), ":") {
				t.Fatalf("the error names no place: %v", err)
			}
			return
		}
		checkNumbers(t, b)
		checkSound(t, b)
		if !slices.IsSortedFunc(b.Events, event.Compare) {
			t.Fatal("not in order")
		}
	})
}
