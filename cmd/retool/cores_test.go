package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"retool/trainer/dist"
)

// hostTree writes what sysfs says of a host: nodes of so many cores with two threads each, numbered as Linux does, first threads first,
// and a GPU in each node's slots.
func hostTree(t *testing.T, nodes, coresPerNode, gpus int) string {
	sys := t.TempDir()
	put := func(path, text string) {
		path = filepath.Join(sys, path)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text+"\n"), 0o644))
	}
	cores := nodes * coresPerNode
	put("devices/system/cpu/online", fmt.Sprintf("0-%d", 2*cores-1))
	lists := make([]string, nodes)
	for n := range nodes {
		a := n * coresPerNode
		lists[n] = fmt.Sprintf("%d-%d,%d-%d", a, a+coresPerNode-1, cores+a, cores+a+coresPerNode-1)
		put(fmt.Sprintf("devices/system/node/node%d/cpulist", n), lists[n])
	}
	for c := range cores {
		for _, thread := range []int{c, c + cores} {
			put(fmt.Sprintf("devices/system/cpu/cpu%d/topology/thread_siblings_list", thread), fmt.Sprintf("%d,%d", c, c+cores))
		}
	}
	for g := range gpus {
		put("bus/pci/devices/"+address(g)+".0/local_cpulist", lists[g*nodes/gpus])
	}
	return sys
}

func address(gpu int) string { return fmt.Sprintf("0000:%02x:00", 0x1b+0x20*gpu) }

// hostOf is a host's ranks, which may all use the same cores.
func hostOf(n int, affinity string, gpus bool) (out []dist.Member) {
	for r := range n {
		m := dist.Member{Rank: r, LocalRank: r, Host: "a", Affinity: affinity}
		if gpus {
			m.PCI = address(r)
		}
		out = append(out, m)
	}
	return out
}

func TestRanksBindToTheNodeOfTheirGPU(t *testing.T) {
	sys := hostTree(t, 2, 48, 8)
	all := hostOf(8, "0-191", true)
	require.Equal(t, "0-47,96-143", listCores(coresOf(sys, all, 1)))
	require.Equal(t, "48-95,144-191", listCores(coresOf(sys, all, 7)))
	require.Equal(t, 24, shareOf(sys, all, 1, 192), "four ranks of a node share its 96")
	require.Equal(t, 4, shareOf(sys, all, 1, 32), "a cgroup lets the host's ranks have 32")

	few := hostOf(8, "0-15,48-63", true) // a container's
	require.Equal(t, "0-15", listCores(coresOf(sys, few, 0)))
	require.Equal(t, "48-63", listCores(coresOf(sys, few, 7)))
	require.Equal(t, 4, shareOf(sys, few, 0, 32))
	away := hostOf(2, "48-63", true) // none of the node of GPU 0
	require.Equal(t, "48-63", listCores(coresOf(sys, away, 0)))

	one := hostOf(1, "0-191", true)
	require.Equal(t, "0-47,96-143", listCores(coresOf(sys, one, 0)), "alone on its host, of a run on several")
	require.Equal(t, "0-191", listCores(coresOf(t.TempDir(), all, 3)), "a machine that says nothing")
}

func TestRanksThatWereBoundStayBound(t *testing.T) {
	sys := hostTree(t, 2, 8, 2)
	all := hostOf(2, "", true)
	all[0].Affinity, all[1].Affinity = "8-11", "0-3" // of the other's node, as the launcher had it
	require.Equal(t, "8-11", listCores(coresOf(sys, all, 0)))
	require.Equal(t, 4, shareOf(sys, all, 0, 4))
	all[0].PCI, all[1].PCI = "", ""
	require.Equal(t, "0-3", listCores(coresOf(sys, all, 1)))
}

// Ranks of CPUs take all cores that they may use, each once, as evenly as it goes; threads of a core stay together where that is even, and
// a node's cores where ranks fit into nodes.
func TestCoresAreDivided(t *testing.T) {
	sys := hostTree(t, 2, 8, 0)
	rapid.Check(t, func(t *rapid.T) {
		allowed := slices.Sorted(slices.Values(rapid.SliceOfNDistinct(rapid.IntRange(0, 31), 1, 32, rapid.ID[int]).Draw(t, "cores")))
		n := rapid.IntRange(1, 12).Draw(t, "ranks")
		members := append(hostOf(n, listCores(allowed), false), dist.Member{Host: "b", Affinity: "0-31"})
		require.Equal(t, allowed, parseCores(listCores(allowed)))
		var taken []int
		for r := range n {
			own := coresOf(sys, members, r)
			if n > len(allowed) {
				require.Equal(t, allowed, own)
				require.Equal(t, 1, shareOf(sys, members, r, len(allowed)))
				continue
			}
			require.Contains(t, []int{len(allowed) / n, (len(allowed) + n - 1) / n}, len(own))
			require.Equal(t, min(len(own), len(allowed)/n), shareOf(sys, members, r, len(allowed)))
			taken = append(taken, own...)
		}
		if n <= len(allowed) {
			slices.Sort(taken)
			require.Equal(t, allowed, taken)
		}
	})
	all := hostOf(4, "0-31", false)
	require.Equal(t, "4-7,20-23", listCores(coresOf(sys, all, 1)))
	require.Equal(t, "8-11,24-27", listCores(coresOf(sys, all, 2)))
	for _, bad := range []string{"", "x", "3-1", "1,,2", "-1", "0-99999999"} {
		require.Empty(t, parseCores(bad), bad)
	}
}

// Every thread of a process is bound, and what it starts.
func TestThreadsAreBound(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("threads are bound on Linux")
	}
	if os.Getenv("RETOOL_TEST_BIND") == "" {
		c := exec.Command(os.Args[0], "-test.run", "^TestThreadsAreBound$")
		c.Env = append(os.Environ(), "RETOOL_TEST_BIND=1")
		out, err := c.CombinedOutput()
		require.NoError(t, err, "%s", out)
		return
	}
	stop := make(chan struct{})
	defer close(stop)
	var there sync.WaitGroup
	for range 8 { // threads that exist already
		there.Add(1)
		go func() {
			runtime.LockOSThread()
			there.Done()
			<-stop
		}()
	}
	there.Wait()
	had := parseCores(affinity())
	core := had[len(had)-1]
	require.NoError(t, bindCores([]int{core}))
	threads, err := filepath.Glob("/proc/self/task/*/status")
	require.NoError(t, err)
	require.Greater(t, len(threads), 4)
	for _, path := range threads {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Contains(t, string(text), fmt.Sprintf("Cpus_allowed_list:\t%d\n", core), path)
	}
	child, err := exec.Command("grep", "Cpus_allowed_list", "/proc/self/status").Output()
	require.NoError(t, err)
	require.Equal(t, fmt.Sprintf("Cpus_allowed_list:\t%d", core), strings.TrimSpace(string(child)))
	require.Error(t, bindCores([]int{1000}))
}
