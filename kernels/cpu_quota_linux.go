package kernels

import (
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"retool/kernels/controlgroup"
)

// processorQuota is the processors that the control groups of a process allow it on average, the least of those from its own to the root
// of what it sees, of version 1 and 2; 0 where none does. proc is its folder, /proc/self.
func processorQuota(proc string) float64 {
	groups := controlgroup.Of(proc)
	least := math.Inf(1)
	for _, controller := range []string{controlgroup.Unified, "cpu"} {
		for dir := range groups[controller].Up() {
			if q := quotaOf(dir); q > 0 {
				least = min(least, q)
			}
		}
	}
	if math.IsInf(least, 1) {
		return 0
	}
	return least
}

// quotaOf is the processors that one group allows, 0 where it does not say.
func quotaOf(dir string) float64 {
	number := func(s string) float64 {
		n, err := strconv.ParseFloat(s, 64) // "max" and -1: no limit
		if err != nil {
			return 0
		}
		return n
	}
	read := func(name string) string {
		b, _ := os.ReadFile(filepath.Join(dir, name))
		return strings.TrimSpace(string(b))
	}
	quota, period, _ := strings.Cut(read("cpu.max"), " ")
	if quota == "" {
		quota, period = read("cpu.cfs_quota_us"), read("cpu.cfs_period_us")
	}
	if q, p := number(quota), number(period); q > 0 && p > 0 {
		return q / p
	}
	return 0
}
