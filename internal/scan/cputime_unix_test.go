//go:build unix

package scan

import (
	"syscall"
	"time"
)

// cpuTime is what the process has used so far, in user and system mode. On a
// machine with other work to do it says more than the time on the wall.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
