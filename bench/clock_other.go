//go:build !unix

package bench

import "time"

var born = time.Now()

// cpuTime is wall time where a process cannot ask for its own.
func cpuTime() time.Duration { return time.Since(born) }
