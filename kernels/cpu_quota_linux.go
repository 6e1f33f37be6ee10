package kernels

import (
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// processorQuota is the processors that the control groups of a process allow it on average, the least of those from its own to the root
// of what it sees, of version 1 and 2; 0 where none does. proc is its folder, /proc/self.
func processorQuota(proc string) float64 {
	groups, _ := os.ReadFile(filepath.Join(proc, "cgroup"))
	mounts, _ := os.ReadFile(filepath.Join(proc, "mountinfo"))
	least := math.Inf(1)
	for line := range strings.Lines(string(groups)) {
		group := strings.SplitN(strings.TrimSpace(line), ":", 3) // number, controllers, path
		if len(group) != 3 || group[1] != "" && !slices.Contains(strings.Split(group[1], ","), "cpu") {
			continue
		}
		for mount := range strings.Lines(string(mounts)) {
			if top, dir, ok := groupIn(mount, group[1] == "", group[2]); ok {
				for {
					if q := quotaOf(dir); q > 0 {
						least = min(least, q)
					}
					if dir == top {
						break
					}
					dir = filepath.Dir(dir)
				}
			}
		}
	}
	if math.IsInf(least, 1) {
		return 0
	}
	return least
}

// groupIn is where a line of mountinfo has a hierarchy of groups, of version 2 or of version 1 with processors, and the folder of the group
// in it.
func groupIn(line string, second bool, path string) (top, dir string, ok bool) {
	before, after, _ := strings.Cut(line, " - ")
	at, of := strings.Fields(before), strings.Fields(after)
	if len(at) < 5 || len(of) < 3 {
		return "", "", false
	}
	if second && of[0] != "cgroup2" || !second && (of[0] != "cgroup" || !slices.Contains(strings.Split(of[2], ","), "cpu")) {
		return "", "", false
	}
	top = filepath.Clean(at[4])
	// A container may see its own group as the root of the mount.
	if rel, err := filepath.Rel(at[3], path); err == nil && rel != ".." && !strings.HasPrefix(rel, "../") {
		return top, filepath.Join(top, rel), true
	}
	return top, top, true
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
