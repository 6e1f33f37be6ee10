package main

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"retool/trainer/dist"
)

// sysfs is where Linux describes the machine.
const sysfs = "/sys"

// coresOf is the cores that a rank binds itself to, of those that it may use (Member.Affinity), by what the sysfs at sys says of its host.
//
//   - A rank that may use fewer cores than the host has, and shares them with no other rank, was bound by its launcher, and stays so.
//   - One with a GPU takes the cores of that GPU's NUMA node, together with the node's other ranks.
//   - Others divide what they share, node after node, threads of one core together.
func coresOf(sys string, members []dist.Member, rank int) []int {
	me := members[rank]
	allowed := parseCores(me.Affinity)
	place, mates := 0, 0
	for r, m := range members {
		if m.Host == me.Host && m.Affinity == me.Affinity {
			if r < rank {
				place++
			}
			mates++
		}
	}
	if mates == 1 && !slices.Equal(allowed, coresIn(sys, "devices/system/cpu/online")) {
		return allowed
	}
	if me.PCI != "" {
		near := coresIn(sys, "bus/pci/devices/"+me.PCI+".0/local_cpulist")
		if both := slices.DeleteFunc(slices.Clone(allowed), func(c int) bool { return !slices.Contains(near, c) }); len(both) > 0 {
			return both
		}
		return allowed
	}
	if len(allowed) < mates {
		return allowed
	}
	near := nearness(sys)
	slices.SortStableFunc(allowed, func(a, b int) int { return cmp.Or(slices.Compare(near(a), near(b)), cmp.Compare(a, b)) })
	own := allowed[place*len(allowed)/mates : (place+1)*len(allowed)/mates]
	return slices.Sorted(slices.Values(own))
}

// nearness is what neighbouring processors have in common: their NUMA node, and in it the core that they are threads of.
func nearness(sys string) func(cpu int) []int {
	nodes := map[int]int{}
	paths, _ := filepath.Glob(filepath.Join(sys, "devices/system/node/node[0-9]*"))
	for _, p := range paths {
		node, _ := strconv.Atoi(strings.TrimPrefix(filepath.Base(p), "node"))
		for _, c := range coresIn(p, "cpulist") {
			nodes[c] = node
		}
	}
	first := map[int]int{}
	return func(cpu int) []int {
		if _, known := first[cpu]; !known {
			first[cpu] = cpu
			if threads := coresIn(sys, fmt.Sprintf("devices/system/cpu/cpu%d/topology/thread_siblings_list", cpu)); len(threads) > 0 {
				first[cpu] = threads[0]
			}
		}
		return []int{nodes[cpu], first[cpu]}
	}
}

// coresIn reads a list of cores; none where there is no such file.
func coresIn(root, file string) []int {
	text, _ := os.ReadFile(filepath.Join(root, file))
	return parseCores(string(text))
}

// parseCores reads cores as Linux lists them, 0-3,8, in ascending order; none of what is no list.
func parseCores(list string) []int {
	var out []int
	for part := range strings.SplitSeq(strings.TrimSpace(list), ",") {
		from, to, isRange := strings.Cut(part, "-")
		if !isRange {
			to = from
		}
		a, err1 := strconv.Atoi(from)
		b, err2 := strconv.Atoi(to)
		if err1 != nil || err2 != nil || a < 0 || b < a || b > 1<<16 {
			return nil
		}
		for c := a; c <= b; c++ {
			out = append(out, c)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// listCores is their list.
func listCores(cores []int) string {
	var parts []string
	for i := 0; i < len(cores); {
		j := i + 1
		for j < len(cores) && cores[j] == cores[j-1]+1 {
			j++
		}
		part := strconv.Itoa(cores[i])
		if j > i+1 {
			part += "-" + strconv.Itoa(cores[j-1])
		}
		parts, i = append(parts, part), j
	}
	return strings.Join(parts, ",")
}

// shareOf is how many cores a rank works with: its own, divided among the ranks of its host that have the same ones. quota is how many the
// process was given in all, which a cgroup may hold below the number of its cores.
func shareOf(sys string, members []dist.Member, rank, quota int) int {
	me := members[rank]
	own, same, mates := coresOf(sys, members, rank), 0, 0
	for r, m := range members {
		if m.Host != me.Host || m.Affinity != me.Affinity {
			continue
		}
		mates++
		if slices.Equal(coresOf(sys, members, r), own) {
			same++
		}
	}
	share := quota / mates
	if len(own) > 0 { // Linux says so
		share = min(share, len(own)/same)
	}
	return max(1, share)
}
