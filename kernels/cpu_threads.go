package kernels

import (
	"os"
	"runtime"
)

// Threads is how many threads NewCPU(0) takes: GOMAXPROCS, which follows the processors that this process may use and the quota of its
// control groups, but that never below two. Two threads under a quota of one processor run for half of each period and stand still for the
// other: decode was 0.7 and training 0.9 times as fast as with one. What the environment sets as GOMAXPROCS stands.
func Threads() int {
	return threadsOf(runtime.GOMAXPROCS(0), os.Getenv("GOMAXPROCS"), processorQuota("/proc/self"))
}

// threadsOf is Threads where the runtime would take so many, of an environment's setting, or "", and a quota in processors, 0 if there is
// none.
func threadsOf(runtime int, set string, quota float64) int {
	if set != "" || quota <= 0 || float64(runtime) <= quota {
		return runtime
	}
	n := int(quota)
	if float64(n) < quota { // a part of a period is better than none
		n++
	}
	return max(n, 1)
}
