package scenario

import (
	"archive/zip"
	"context"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"ashiato/internal/corpus"
	"ashiato/internal/event"
	"ashiato/internal/source/evtx"
	"ashiato/internal/source/ndjson"
)

// unseen are the records of which the recordings hold no sample, or none in a
// version as new as the template's; their layout is the event manifest's.
var unseen = map[string]string{
	"partition/1006": "no recording of a volume's arrival",
	"pnp/400":        "no recording of a device's configuration",
	"tasks/100":      "the recordings were made without it",
	"tasks/200":      "the recordings were made without it",
	"tasks/201":      "the recordings were made without it",
	"bits/16403":     "no recording of a Windows that has it",
	"winrm/6":        "no recording of a client",
}

// lostFields are fields that the recordings at hand lack, although records of
// that id are there; "*" is all of them.
var lostFields = map[string]string{
	"tasks/129":     "ProcessID", // the captures' shipper writes System and EventData names into one object
	"winrm/91":      "*",         // Windows could not render the one sample: it tells of the field shellId
	"security/4699": "*",         // old versions only; the newer fields are 4698's
	// Of these the captures hold the rendered text; the names are the manifest's.
	"wmi/5857": "*", "wmi/5859": "*", "wmi/5860": "*", "wmi/5861": "*",
	"sessions/21": "*", "sessions/22": "*", "sessions/23": "*", "sessions/24": "*", "sessions/25": "*",
}

// TestFieldsAreThoseOfRealRecords compares each template's field names with the
// names that records of the same provider and id have in the recordings, so that
// nothing is tested against a field that Windows does not write.
func TestFieldsAreThoseOfRealRecords(t *testing.T) {
	if testing.Short() {
		t.Skip("reads many recordings")
	}
	type id struct {
		provider string
		id       uint32
	}
	names := map[id]map[string]bool{}
	var mu sync.Mutex
	collect := func(batch []*event.Event) {
		mu.Lock()
		defer mu.Unlock()
		for _, e := range batch {
			k := id{strings.ToLower(e.Provider), e.ID}
			if names[k] == nil {
				names[k] = map[string]bool{}
			}
			for _, f := range e.Data {
				names[k][f.Name] = true
			}
		}
	}
	for _, folder := range []string{"evtx", "sigma/regression_data"} {
		err := filepath.WalkDir(corpus.Dir(t, folder), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.EqualFold(filepath.Ext(path), ".evtx") {
				return err
			}
			f, err := os.Open(path)
			if err != nil {
				return err
			}
			defer f.Close()
			(&evtx.Reader{}).Read(context.Background(), path, f, collect)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	// Newer record versions, and tasks, are only in these captures.
	for _, capture := range []string{
		"lateral_movement/host/schtask_create.zip",
		"credential_access/host/cmd_dumping_ntds_dit_file_ntdsutil.zip",
		"credential_access/host/empire_ninjacopy_dumping_ntds_dit_file.zip",
		"credential_access/host/empire_mimikatz_lsadump_patch.zip",
		"persistence/host/empire_persistence_registry_modification_run_keys_standard_user.zip",
		"credential_access/host/empire_shell_rubeus_asktgt_createnetonly.zip",
		"other/aptsimulator_cobaltstrike.zip",
		"../../compound/LSASS_campaign_01/metasploit_logonpasswords_lsass_memory_dump.zip",
	} {
		z, err := zip.OpenReader(corpus.Dir(t, "otrf/atomic/windows/"+capture))
		if err != nil {
			t.Fatal(err)
		}
		for _, member := range z.File {
			r, err := member.Open()
			if err != nil {
				t.Fatal(err)
			}
			ndjson.Read(context.Background(), member.Name, r, collect)
			r.Close()
		}
		z.Close()
	}
	lib, err := loadLibrary()
	if err != nil {
		t.Fatal(err)
	}
	checked := 0
	for _, name := range slices.Sorted(maps.Keys(lib.records)) {
		r := lib.records[name]
		if r.log.name == sensorLog {
			continue // our own format: docs/formats/sensor-events.md
		}
		if r.log.linux {
			continue // no recordings of Linux are at hand
		}
		real := names[id{strings.ToLower(r.log.provider), r.id}]
		if _, known := unseen[name]; known {
			if real != nil {
				t.Errorf("%s: there are recordings of it after all", name)
			}
			continue
		}
		if real == nil {
			t.Errorf("%s: no recording has such a record", name)
			continue
		}
		checked++
		for _, f := range r.fields {
			if !real[f.name] && lostFields[name] != f.name && lostFields[name] != "*" {
				t.Errorf("%s: no recording has its field %q, but %q", name, f.name, slices.Sorted(maps.Keys(real)))
			}
		}
	}
	t.Logf("%d templates checked, %d without a recording", checked, len(unseen))
}
