package bench

import (
	"bytes"
	"os"
	"strconv"
)

// tree is a process and its descendants, those of a sandbox too. Processor time of one that ends between two looks is not seen: the
// total of a profile comes from the kernel's own account instead.
type tree struct {
	root  int
	ticks map[int]uint64 // a process's processor time at the last look, in ticks of 10 ms
}

func newTree(root int) *tree { return &tree{root: root, ticks: map[int]uint64{}} }

// look returns processor seconds spent since the last look, resident bytes, and the number of processes.
func (t *tree) look() (cpu float64, resident float64, processes int) {
	type process struct {
		parent   int
		ticks    uint64
		resident float64
	}
	all := map[int]process{}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return 0, 0, 0
	}
	page := float64(os.Getpagesize())
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		text, err := os.ReadFile("/proc/" + e.Name() + "/stat")
		if err != nil {
			continue // it ended
		}
		// The name, in parentheses, may hold anything; what follows it is state, parent, …
		f := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
		if len(f) < 22 {
			continue
		}
		number := func(i int) uint64 { n, _ := strconv.ParseUint(string(f[i]), 10, 64); return n }
		all[pid] = process{parent: int(number(1)), ticks: number(11) + number(12), resident: float64(number(21)) * page}
	}
	now := map[int]uint64{}
	for pid := range all {
		for at, hops := pid, 0; ; hops++ {
			if at == t.root {
				p := all[pid]
				now[pid] = p.ticks
				cpu += float64(p.ticks-min(p.ticks, t.ticks[pid])) / 100
				resident += p.resident
				processes++
				break
			}
			p, ok := all[at]
			if !ok || p.parent == 0 || hops > 100 {
				break
			}
			at = p.parent
		}
	}
	t.ticks = now
	return cpu, resident, processes
}
