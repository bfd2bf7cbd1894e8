package scenario

import (
	"strings"
	"testing"
)

// TestContentsAreAScenariosOwn holds that what a scenario calls a content is
// another file in every scenario and with every seed, unless a published hash
// names it or the scenario says that it is shared.
func TestContentsAreAScenariosOwn(t *testing.T) {
	const text = `This test is synthetic.
-- settings --
start 2026-03-04T00:00:00Z
seed  SEED
-- hosts --
host pc
    name PC
    user u
    sid S-1-5-21-1-2-3-1001
    boot -1h
    bootid 5
-- contents --
content own
    program yes
content famous
    md5 60f6acfb9efce8dbf5a6d69a418c0eed
    program yes
content common
    program yes
    shared yes
-- steps --
on pc
step 1 files
@1s write C:\a.exe
    by explorer
    content own
+1s write C:\b.exe
    by explorer
    content famous
+1s write C:\c.exe
    by explorer
    content common
`
	hashes := func(name, seed string) map[string]string {
		s, err := Parse(name, []byte(strings.Replace(text, "SEED", seed, 1)))
		if err != nil {
			t.Fatal(err)
		}
		b, err := s.Build()
		if err != nil {
			t.Fatal(err)
		}
		all := map[string]string{}
		for _, e := range b.Events {
			if e.ID == 29 {
				all[e.Value("TargetFilename")] = e.Value("Hashes")
			}
		}
		if len(all) != 3 {
			t.Fatalf("%d files have hashes, want 3", len(all))
		}
		return all
	}
	one := hashes("one.txtar", "1")
	for what, other := range map[string]map[string]string{"scenario": hashes("two.txtar", "1"), "seed": hashes("one.txtar", "2")} {
		if one[`C:\a.exe`] == other[`C:\a.exe`] {
			t.Errorf("another %s: its own content is the same file", what)
		}
		if one[`C:\b.exe`] != other[`C:\b.exe`] || !strings.Contains(one[`C:\b.exe`], "MD5=60F6ACFB9EFCE8DBF5A6D69A418C0EED") {
			t.Errorf("another %s: a published file is %s and %s", what, one[`C:\b.exe`], other[`C:\b.exe`])
		}
		if one[`C:\c.exe`] != other[`C:\c.exe`] {
			t.Errorf("another %s: a shared content is another file", what)
		}
	}
	if again := hashes("one.txtar", "1"); again[`C:\a.exe`] != one[`C:\a.exe`] {
		t.Error("the same scenario gives another file")
	}
}
