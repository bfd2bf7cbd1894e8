//go:build !unix

package scan

import "time"

// cpuTime is not known here.
func cpuTime() time.Duration { return 0 }
