// Package corpus finds the real recordings that tests read. They are not part
// of the repository; where they are absent a test says so and skips.
package corpus

import (
	"os"
	"path/filepath"
	"testing"
)

// Env names the environment variable that overrides where the recordings are.
const Env = "ASHIATO_DATA"

// Dir returns the absolute path of a folder or file inside the recordings, given
// with forward slashes. It skips the test if the recordings are not here.
func Dir(t testing.TB, inside string) string {
	t.Helper()
	root := os.Getenv(Env)
	if root == "" {
		module, err := moduleRoot()
		if err != nil {
			t.Skipf("the recordings cannot be found: %v", err)
		}
		root = filepath.Join(module, "..", "shared", "data")
	}
	path, err := filepath.Abs(filepath.Join(root, filepath.FromSlash(inside)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Skipf("no recordings at %s (set %s to where they are)", path, Env)
	}
	return path
}

// moduleRoot walks up from the test's folder to the one that holds go.mod.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", os.ErrNotExist
		}
		dir = parent
	}
}
