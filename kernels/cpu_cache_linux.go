package kernels

import (
	"math/bits"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
)

// cacheOf is the bytes of last-level cache that so many threads can call theirs: of each cache as large a share as they are of the
// processors at it. 0 where the system does not say, and where a core's own second level is the last.
func cacheOf(threads int) int {
	return cacheUnder("/sys/devices/system/cpu/cpu0/cache", threads, runtime.NumCPU())
}

// cacheUnder is cacheOf of a machine with so many processors, one of which sysfs describes in dir.
func cacheUnder(dir string, threads, cpus int) int {
	read := func(index int, name string) string {
		b, _ := os.ReadFile(filepath.Join(dir, "index"+strconv.Itoa(index), name))
		return strings.TrimSpace(string(b))
	}
	size := 0
	for i := 0; read(i, "level") != ""; i++ {
		level, err := strconv.Atoi(read(i, "level"))
		if err != nil || level < 3 || read(i, "type") == "Instruction" {
			continue
		}
		kib, err := strconv.Atoi(strings.TrimSuffix(read(i, "size"), "K"))
		if err != nil {
			continue
		}
		// The mask's digits, in groups of eight, have a bit for each processor at this cache, those that are absent too.
		at := 0
		for _, group := range strings.Split(read(i, "shared_cpu_map"), ",") {
			mask, _ := strconv.ParseUint(group, 16, 64)
			at += bits.OnesCount64(mask)
		}
		at = max(min(at, cpus), 1)
		size = max(size, kib<<10*min(threads, cpus)/at)
	}
	return size
}
