package ruleset_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ashiato/internal/corpus"
	"ashiato/internal/ruleset"
	"ashiato/internal/sigma"
)

// expanding are the public rules that need values for placeholders.
var expanding = []string{
	"dns_query_win_wscript_cscript_resolution", "net_connection_win_certsvc_outbound_smb_ldap",
	"net_connection_win_susp_rdp_from_domain_controller", "proc_creation_win_userdomain_variable_enumeration",
	"win_security_adcs_certighost_cdc_chase_request", "win_security_adcs_certighost_cert_issued_via_chase", "win_security_admin_logon",
	"win_security_dc_machine_account_logon_non_dc_ip", "win_security_dc_machine_account_tgs_non_dc_ip",
	"win_security_dc_machine_accoutn_tgt_non_dc_ip", "win_security_exploit_cve_2020_1472",
	"win_security_modification_of_msds_dmsa_link_attribute", "win_security_msds_dmsa_object_creation", "win_security_potential_pass_the_hash",
	"win_security_remote_registry_management_via_reg", "win_security_susp_interactive_logons",
}

// TestPublicRulesLoad holds that every public rule loads, those with placeholders
// if they are given values, and else are refused by name, file and line.
func TestPublicRulesLoad(t *testing.T) {
	opt := ruleset.Options{}
	files := 0
	for _, dir := range []string{"rules", "rules-emerging-threats", "rules-threat-hunting", "rules-placeholder"} {
		opt.Rules = append(opt.Rules, corpus.Dir(t, "sigma/"+dir))
		if err := filepath.WalkDir(opt.Rules[len(opt.Rules)-1], func(name string, _ os.DirEntry, err error) error {
			if strings.HasSuffix(name, ".yml") {
				files++
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	without, err := ruleset.Load(opt)
	if err != nil {
		t.Fatal(err)
	}
	var refused []string
	for _, p := range without.Problems {
		se := new(sigma.Error)
		if !errors.As(p, &se) || se.Line < 2 || se.Column < 2 || se.Rule == "" || !strings.Contains(se.Msg, "has no value") || !strings.Contains(se.Hint, "--placeholders") {
			t.Errorf("refused: %v", p)
			continue
		}
		refused = append(refused, strings.TrimSuffix(filepath.Base(se.File), ".yml"))
	}
	slices.Sort(refused)
	if diff := cmp.Diff(expanding, refused); diff != "" {
		t.Error(diff)
	}
	if len(without.Rules)+len(refused) != files {
		t.Errorf("%d rules and %d refused of %d files", len(without.Rules), len(refused), files)
	}

	if opt.Placeholders, err = ruleset.ReadPlaceholders([]string{"testdata/placeholders"}); err != nil {
		t.Fatal(err)
	}
	with, err := ruleset.Load(opt)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range with.Problems {
		t.Error(p)
	}
	if len(with.Rules) != files {
		t.Errorf("%d rules of %d files", len(with.Rules), files)
	}
	if with.Hash == without.Hash {
		t.Error("the values of placeholders are no part of the hash")
	}
	t.Logf("%d rules; %d refused without values", len(with.Rules), len(refused))
}

func TestReadPlaceholders(t *testing.T) {
	got, err := ruleset.ReadPlaceholders([]string{"testdata/placeholders"})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]string{
		"Workstations":    {"WS-*", "PC-17.corp.example"},
		"dc_ip_addresses": {"10.20.0.5", "10.20.0.6", "::1"},
		"userdomain":      {"CORP"},
	} {
		if diff := cmp.Diff(want, got[name]); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}

	dir := t.TempDir()
	write := func(name, text string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	empty := filepath.Join(dir, "empty")
	if err := os.Mkdir(empty, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		paths []string
		want  string
	}{
		{"not there", []string{filepath.Join(dir, "nowhere.yml")}, "nowhere.yml"},
		{"nothing in a folder", []string{empty}, "holds no .yml and no .txt file"},
		{"given by two files", []string{write("one.yml", "x: a"), write("x.txt", "b\n")}, "x.txt: the placeholder x has values in " + filepath.ToSlash(filepath.Join(dir, "one.yml"))},
		{"a fault in one file", []string{write("good.txt", "b\n"), write("bad.yml", "x: {y: z}")}, "bad.yml:1:"},
		{"too large", []string{write("large.txt", strings.Repeat("x\n", sigma.MaxFileSize/2+1))}, "large.txt:1:1: the file has 16777217 bytes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			values, err := ruleset.ReadPlaceholders(c.paths)
			if values != nil || !errors.Is(err, ruleset.ErrPlaceholders) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, %v; want %q", values, err, c.want)
			}
		})
	}
}
