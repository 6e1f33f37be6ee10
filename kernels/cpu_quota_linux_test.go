package kernels

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// Random hierarchies of both versions, seen from the host and from a container whose own group is the root of its mount: the least quota of
// a group and those above it counts, and no other.
func TestProcessorQuotaIsTheLeastAbove(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		root, err := os.MkdirTemp("", "quota")
		require.NoError(t, err)
		defer os.RemoveAll(root)
		second := rapid.Bool().Draw(t, "version 2")
		names := rapid.SliceOfN(rapid.StringMatching("[a-z]{1,4}"), 0, 4).Draw(t, "groups")
		inside := rapid.IntRange(0, len(names)).Draw(t, "groups above the mount")
		mount := filepath.Join(root, "fs")
		want := math.Inf(1)
		period := 100000
		for depth := inside; depth <= len(names); depth++ { // the mount itself, then what it shows of the groups
			dir := filepath.Join(append([]string{mount}, names[inside:depth]...)...)
			require.NoError(t, os.MkdirAll(dir, 0o755))
			quota := rapid.SampledFrom([]int{-1, 10000, 50000, 100000, 150000, 250000, 800000}).Draw(t, "quota")
			if quota > 0 {
				want = min(want, float64(quota)/float64(period))
			}
			writeQuota(t, dir, second, quota, period)
		}
		beside := filepath.Join(mount, "beside-"+strings.Join(names, "-"))
		require.NoError(t, os.MkdirAll(beside, 0o755))
		writeQuota(t, beside, second, 1000, period)

		path := "/" + strings.Join(names, "/")
		groups, kind := "7:memory:/elsewhere\n3:cpu,cpuacct:"+path+"\n0::/elsewhere\n", "cgroup cgroup rw,cpu,cpuacct"
		if second {
			groups, kind = "0::"+path+"\n", "cgroup2 cgroup2 rw"
		}
		require.NoError(t, os.WriteFile(filepath.Join(root, "cgroup"), []byte(groups), 0o644))
		mounts := fmt.Sprintf("22 1 0:20 / / rw - overlay overlay rw\n31 22 0:27 /%s %s rw,nosuid shared:9 - %s\n",
			strings.Join(names[:inside], "/"), mount, kind)
		require.NoError(t, os.WriteFile(filepath.Join(root, "mountinfo"), []byte(mounts), 0o644))
		if math.IsInf(want, 1) {
			want = 0
		}
		require.Equal(t, want, processorQuota(root))
	})
	require.Zero(t, processorQuota(t.TempDir()), "a system that says nothing")
}

func writeQuota(t require.TestingT, dir string, second bool, quota, period int) {
	files := map[string]string{"cpu.cfs_quota_us": fmt.Sprintln(quota), "cpu.cfs_period_us": fmt.Sprintln(period)}
	if second {
		files = map[string]string{"cpu.max": strings.Replace(fmt.Sprintln(quota, period), "-1", "max", 1)}
	}
	for name, text := range files {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
}

func TestThreadsFollowTheQuota(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		procs := rapid.IntRange(1, 64).Draw(t, "GOMAXPROCS")
		quota := rapid.SampledFrom([]float64{0, 0.1, 0.5, 1, 1.01, 1.5, 2, 3, 7.5, 200}).Draw(t, "quota")
		n := threadsOf(procs, "", quota)
		require.Equal(t, procs, threadsOf(procs, "3", quota), "the environment's word stands")
		require.True(t, 1 <= n && n <= procs, n)
		if quota > 0 {
			require.Less(t, float64(n), quota+1, "none that only waits for the next period")
			require.True(t, n == procs || float64(n) >= quota, "none of the quota unused: %d", n)
		} else {
			require.Equal(t, procs, n)
		}
	})
}
