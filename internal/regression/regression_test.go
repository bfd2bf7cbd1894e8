package regression_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ashiato/internal/corpus"
	"ashiato/internal/regression"
	"ashiato/internal/ruleset"
)

// disputed are tests of the public set whose match_count contradicts their own
// recording, with the records that match and the text of the rule that they
// match by. Each was read in the raw records with libevtx's evtxexport.
var disputed = map[string][]string{
	// Contains \AppData\Roaming\AnyDesk\user.conf.
	"file_event_win_anydesk_artefact": {
		`14985 TargetFilename=C:\Users\Administrator\AppData\Roaming\AnyDesk\user.conf.new`,
		`14988 TargetFilename=C:\Users\Administrator\AppData\Roaming\AnyDesk\user.conf~RF2d9c20d.TMP`,
		`14990 TargetFilename=C:\Users\Administrator\AppData\Roaming\AnyDesk\user.conf.new`,
	},
	// Ends with \procdump64.exe, \procdump64a.exe, \procdump.exe; the three
	// :Zone.Identifier between them do not.
	"file_event_win_cred_dump_tools_dropped_files": {
		`26359 TargetFilename=C:\Users\Administrator\Downloads\procdump64.exe`,
		`26366 TargetFilename=C:\Users\Administrator\Downloads\procdump64a.exe`,
		`26373 TargetFilename=C:\Users\Administrator\Downloads\procdump.exe`,
	},
}

// TestPublicData runs the public set's tests as a whole. What fails is known:
// the disputed counts, and a recording that is not there.
func TestPublicData(t *testing.T) {
	root := corpus.Dir(t, "sigma")
	var dirs []string
	for _, d := range []string{"rules", "rules-emerging-threats", "rules-threat-hunting"} {
		dirs = append(dirs, filepath.Join(root, d))
	}
	set, err := ruleset.Load(ruleset.Options{Rules: dirs})
	if err != nil {
		t.Fatal(err)
	}
	infos, errs := regression.Find(filepath.Join(root, "regression_data"))
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	r := regression.NewRunner(set)
	passed, tests := 0, 0
	var failed []string
	for _, info := range infos {
		res, err := r.Run(t.Context(), info)
		if err != nil {
			t.Fatal(err)
		}
		passed += res.Passed
		tests += len(info.Tests) * len(info.Rules)
		if len(res.Failures) != res.Failed {
			t.Errorf("%s: %d failed and %d are named", info.File, res.Failed, len(res.Failures))
		}
		for _, f := range res.Failures {
			name := filepath.Base(filepath.Dir(f.File))
			failed = append(failed, name)
			if want, ok := disputed[name]; ok {
				var got []string
				for _, x := range f.Fired {
					for _, field := range x.Fields {
						got = append(got, fmt.Sprintf("%d %s=%s", x.Ref.RecordID, field.Name, field.Value))
					}
				}
				if diff := cmp.Diff(want, got); diff != "" || !strings.Contains(f.Msg, "must fire once (match_count) and fires 3 times") {
					t.Errorf("%s\n%s", f, diff)
				}
			} else if name != "proc_creation_win_wmic_namespace_defender" || !strings.Contains(f.Msg, "the recording is absent") {
				t.Error(f)
			}
		}
	}
	if passed+len(failed) != tests || tests < 90 {
		t.Errorf("%d passed and %d failed of %d", passed, len(failed), tests)
	}
	slices.Sort(failed)
	want := []string{"file_event_win_anydesk_artefact", "file_event_win_cred_dump_tools_dropped_files", "proc_creation_win_wmic_namespace_defender"}
	if diff := cmp.Diff(want, failed); diff != "" {
		t.Error(diff)
	}
}
