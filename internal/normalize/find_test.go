package normalize

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// find is a look-up of the name in lower case, however it is written.
func TestFindIgnoresLetterCase(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.SampledFrom([]string{
			"microsoft-windows-sysmon", "Security", "MICROSOFT-WINDOWS-SECURITY-AUDITING", "Service Control Manager",
			"microsoft-windows-\u212Aernel-pnp", strings.Repeat("x", 65), "", "Microsoft-Windows-DriverFrameworks-UserMode",
		}).Draw(t, "name")
		if rapid.Bool().Draw(t, "changed") {
			name = strings.ToUpper(name) + rapid.SampledFrom([]string{"", "", "é", "K"}).Draw(t, "end")
		}
		want, known := providers[strings.ToLower(name)]
		if got, ok := find(providers, name); got != want || ok != known {
			t.Errorf("%q: %v %t, want %v %t", name, got, ok, want, known)
		}
	})
}
