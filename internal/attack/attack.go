// Package attack knows which techniques of MITRE ATT&CK took the place of which, so
// that rules, reports and searches agree whichever release they were written for.
//
// Release 19 (April 2026) split the tactic Defense Evasion into Stealth (TA0005) and
// Defense Impairment (TA0112) and gave the techniques of the latter new ids. Most
// tools and reports still use the old ones; rules here carry both.
package attack

import "slices"

// Version is the release of ATT&CK whose ids are current.
const Version = "19"

// replaced maps ids of earlier releases to those that took their place.
var replaced = map[string]string{
	"T1070.001": "T1685.005", // Clear Windows Event Logs
	"T1070.002": "T1685.006", // Clear Linux or Mac System Logs
	"T1562":     "T1685",     // Impair Defenses
	"T1562.001": "T1685",     // Disable or Modify Tools
	"T1562.002": "T1685.001", // Disable Windows Event Logging
	"T1562.004": "T1686",     // Disable or Modify System Firewall
	"T1562.010": "T1689",     // Downgrade Attack
	"T1562.012": "T1685.004", // Disable or Modify Linux Audit System
	"T1574.002": "T1574.001", // DLL Side-Loading, one with search order hijacking since release 17
}

// Current returns the id that a technique has in release Version: another one if
// it was replaced, else its own. Ids are in upper case, as in "T1685.005".
func Current(id string) string {
	if now, ok := replaced[id]; ok {
		return now
	}
	return id
}

// Same reports whether an id that somebody asks for names a technique, by a
// current or an earlier id. A technique without a dot also names its parts.
func Same(asked, id string) bool {
	asked, id = Current(asked), Current(id)
	return asked == id || len(id) > len(asked) && id[:len(asked)] == asked && id[len(asked)] == '.'
}

// Sort puts current ids before those that were replaced, each in order.
func Sort(ids []string) {
	slices.SortFunc(ids, func(a, b string) int {
		_, oldA := replaced[a]
		_, oldB := replaced[b]
		switch {
		case oldA && !oldB:
			return 1
		case oldB && !oldA:
			return -1
		case a < b:
			return -1
		case a > b:
			return 1
		}
		return 0
	})
}
