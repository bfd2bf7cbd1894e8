package logsource_test

import (
	"strings"
	"testing"

	"ashiato/internal/event"
	"ashiato/internal/normalize"
	"ashiato/internal/sigma/logsource"
)

func record(provider, channel string, id uint32, fields ...string) *event.Event {
	e := &event.Event{Provider: provider, Channel: channel, ID: id}
	for i := 0; i+1 < len(fields); i += 2 {
		e.Data = append(e.Data, event.Field{Name: fields[i], Value: fields[i+1]})
	}
	normalize.Event(e)
	return e
}

func sysmon(id uint32, fields ...string) *event.Event {
	return record("Microsoft-Windows-Sysmon", "Microsoft-Windows-Sysmon/Operational", id, fields...)
}

// TestMatch holds which records are of which log source, normalised as they are
// in use.
func TestMatch(t *testing.T) {
	security := func(id uint32) *event.Event { return record("Microsoft-Windows-Security-Auditing", "security", id) }
	powershell := func(id uint32) *event.Event {
		return record("Microsoft-Windows-PowerShell", "Microsoft-Windows-PowerShell/Operational", id)
	}
	classic := func(id uint32) *event.Event { return record("PowerShell", "Windows PowerShell", id) }
	linux := func(id uint32) *event.Event { return record("Linux-Sysmon", "Linux-Sysmon/Operational", id) }
	for _, test := range []struct {
		category, product, service string
		yes, no                    []*event.Event
	}{
		{"process_creation", "windows", "", []*event.Event{sysmon(1), security(4688)}, []*event.Event{sysmon(5), linux(1), security(4689)}},
		{"process_creation", "linux", "", []*event.Event{linux(1)}, []*event.Event{sysmon(1), linux(3)}},
		{"process_creation", "", "", []*event.Event{sysmon(1), linux(1)}, nil},
		{"process_creation", "macos", "", nil, []*event.Event{sysmon(1), linux(1)}},
		{"process_termination", "windows", "", []*event.Event{sysmon(5), security(4689)}, []*event.Event{sysmon(1)}},
		{"file_event", "windows", "", []*event.Event{sysmon(11)}, []*event.Event{sysmon(2), sysmon(15), sysmon(29)}},
		{"file_change", "windows", "", []*event.Event{sysmon(2)}, []*event.Event{sysmon(11)}},
		{"file_delete", "windows", "", []*event.Event{sysmon(23), sysmon(26)}, []*event.Event{sysmon(11)}},
		{"file_block_executable", "windows", "", []*event.Event{sysmon(27)}, []*event.Event{sysmon(28)}},
		{"file_block_shredding", "windows", "", []*event.Event{sysmon(28)}, []*event.Event{sysmon(27)}},
		{"registry_set", "windows", "", []*event.Event{sysmon(13), security(4657)}, []*event.Event{sysmon(12)}},
		{"registry_add", "windows", "", []*event.Event{sysmon(12, "EventType", "CreateKey")}, []*event.Event{sysmon(12, "EventType", "DeleteKey")}},
		{"registry_delete", "windows", "", []*event.Event{sysmon(12, "EventType", "DeleteValue")}, []*event.Event{sysmon(12, "EventType", "CreateKey")}},
		{"registry_event", "windows", "", []*event.Event{sysmon(12), sysmon(13), sysmon(14)}, []*event.Event{sysmon(11)}},
		{"network_connection", "windows", "", []*event.Event{sysmon(3), security(5156)}, []*event.Event{sysmon(22)}},
		{"pipe_created", "windows", "", []*event.Event{sysmon(17), sysmon(18)}, nil},
		{"wmi_event", "windows", "", []*event.Event{sysmon(19), sysmon(20), sysmon(21)}, nil},
		{"sysmon_status", "windows", "", []*event.Event{sysmon(4), sysmon(16)}, []*event.Event{sysmon(255)}},
		{"sysmon_error", "windows", "", []*event.Event{sysmon(255)}, []*event.Event{sysmon(4)}},
		{"ps_script", "windows", "", []*event.Event{powershell(4104)}, []*event.Event{powershell(4103)}},
		{"ps_module", "windows", "", []*event.Event{powershell(4103)}, []*event.Event{powershell(4104)}},
		{"ps_classic_start", "windows", "", []*event.Event{classic(400)}, []*event.Event{classic(600)}},
		{"ps_classic_provider_start", "windows", "", []*event.Event{classic(600)}, []*event.Event{classic(400)}},
		{"ps_classic_script", "windows", "", []*event.Event{classic(800)}, []*event.Event{classic(400)}},
		{"", "windows", "security", []*event.Event{security(1), record("x", "SECURITY", 9)}, []*event.Event{sysmon(1)}},
		{"", "windows", "sysmon", []*event.Event{sysmon(1)}, []*event.Event{security(1)}},
		{"process_creation", "windows", "security", []*event.Event{security(4688)}, []*event.Event{sysmon(1), security(4689)}},
		{"", "windows", "", []*event.Event{sysmon(1), security(1), record("", "anything", 1)}, []*event.Event{linux(1), record("", "auditd", 1), record("", "Linux-Sysmon/Operational", 1)}},
		{"", "linux", "auditd", []*event.Event{record("auditd", "", 0)}, []*event.Event{security(1), linux(1)}},
		{"webserver", "", "", []*event.Event{record("webserver", "", 0)}, []*event.Event{security(1)}},
		{"antivirus", "", "", []*event.Event{record("Microsoft-Windows-Windows Defender", "Microsoft-Windows-Windows Defender/Operational", 1116)}, []*event.Event{sysmon(1)}},
	} {
		m, err := logsource.New(test.category, test.product, test.service)
		if err != nil {
			t.Errorf("%+v: %v", test, err)
			continue
		}
		for _, e := range test.yes {
			if !m.Match(e) {
				t.Errorf("%s/%s/%s does not match %s %s %d", test.product, test.category, test.service, e.Provider, e.Channel, e.ID)
			}
		}
		for _, e := range test.no {
			if m.Match(e) {
				t.Errorf("%s/%s/%s matches %s %s %d", test.product, test.category, test.service, e.Provider, e.Channel, e.ID)
			}
		}
	}
}

func TestUnknownPartsAreNamed(t *testing.T) {
	for _, test := range []struct{ category, product, service, want string }{
		{"", "", "", "empty"},
		{"nope", "windows", "", `unknown category "nope"`},
		{"", "nope", "", `unknown product "nope"`},
		{"", "windows", "nope", `unknown service "nope"`},
		{"", "windows", "securty", `did you mean "security"?`},
		{"", "", "nope", `unknown service "nope"`},
	} {
		if _, err := logsource.New(test.category, test.product, test.service); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v: %v", test, err)
		}
	}
}

// TestNamesAreUnique holds that no table row hides another.
func TestNamesAreUnique(t *testing.T) {
	for _, names := range [][]string{logsource.Categories(), logsource.Services()} {
		for i := 1; i < len(names); i++ {
			if names[i] == names[i-1] {
				t.Errorf("%q is given twice", names[i])
			}
		}
		for _, n := range names {
			if n != strings.ToLower(n) {
				t.Errorf("%q is not lower case", n)
			}
		}
	}
}

// TestSensor holds that the sensor's records are of Sigma's categories where one
// exists, and of ours where none does.
func TestSensor(t *testing.T) {
	sensor := func(id uint32, fields ...string) *event.Event {
		return record("Ashiato-Sensor", "Ashiato-Sensor/Operational", id, fields...)
	}
	for category, e := range map[string]*event.Event{
		"process_creation": sensor(1), "file_change": sensor(2), "network_connection": sensor(3), "process_termination": sensor(5),
		"driver_load": sensor(6), "image_load": sensor(7), "file_event": sensor(11), "registry_add": sensor(12, "EventType", "CreateKey"),
		"registry_delete": sensor(12, "EventType", "DeleteValue"), "registry_set": sensor(13), "create_stream_hash": sensor(15),
		"dns_query": sensor(22), "file_delete": sensor(26), "file_executable_detected": sensor(29),
		"volume_attach": sensor(100), "volume_detach": sensor(101), "file_rename": sensor(110), "file_attribute": sensor(111),
		"shortcut": sensor(112), "resource_use": sensor(130),
	} {
		m, err := logsource.New(category, "windows", "")
		if err != nil {
			t.Fatal(err)
		}
		if !m.Match(e) {
			t.Errorf("%s does not hold the sensor's %d", category, e.ID)
		}
		for _, other := range []*event.Event{sensor(4), sensor(16), sensor(255), sensor(150)} {
			if m.Match(other) {
				t.Errorf("%s holds the sensor's %d", category, other.ID)
			}
		}
	}
	for _, category := range []string{"sysmon_status", "sysmon_error"} {
		m, err := logsource.New(category, "windows", "")
		if err != nil {
			t.Fatal(err)
		}
		if m.Match(sensor(150)) || m.Match(sensor(152)) {
			t.Errorf("%s holds a record of the sensor", category)
		}
	}
}
