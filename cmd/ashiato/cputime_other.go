//go:build !unix

package main

import "time"

// cpuTime is nil: the processor time used is not known here.
var cpuTime func() time.Duration
