package controlgroup

import (
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// What hosts and containers say of themselves.
func TestGroupsOfHostsAndContainers(t *testing.T) {
	for name, c := range map[string]struct {
		own, mounts string
		want        Groups
	}{
		"systemd, version 2": {
			"0::/user.slice/user-1000.slice/session-3.scope\n",
			`24 31 0:22 / /sys rw,nosuid,nodev,noexec,relatime shared:7 - sysfs sysfs rw
30 24 0:26 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot
`,
			Groups{Unified: {"/sys/fs/cgroup", "/sys/fs/cgroup/user.slice/user-1000.slice/session-3.scope"}},
		},
		"a container with a namespace, version 2": {
			"0::/\n",
			"1523 1518 0:26 / /sys/fs/cgroup ro,nosuid,nodev,noexec,relatime - cgroup2 cgroup rw,nsdelegate,memory_recursiveprot\n",
			Groups{Unified: {"/sys/fs/cgroup", "/sys/fs/cgroup"}},
		},
		"a container without one, version 1": {
			"11:memory:/docker/9f86d081\n4:cpu,cpuacct:/docker/9f86d081\n1:name=systemd:/docker/9f86d081\n0::/system.slice/containerd.service\n",
			`652 651 0:30 /docker/9f86d081 /sys/fs/cgroup/systemd ro,nosuid,nodev,noexec,relatime master:11 - cgroup cgroup rw,xattr,name=systemd
653 651 0:33 /docker/9f86d081 /sys/fs/cgroup/cpu,cpuacct ro,nosuid,nodev,noexec,relatime master:15 - cgroup cgroup rw,cpu,cpuacct
660 651 0:40 /docker/9f86d081 /sys/fs/cgroup/memory ro,nosuid,nodev,noexec,relatime master:22 - cgroup cgroup rw,memory
661 651 0:41 /docker/9f86d081 /sys/fs/cgroup/pids ro,nosuid,nodev,noexec,relatime master:23 - cgroup cgroup rw,pids
`,
			Groups{
				"memory": {"/sys/fs/cgroup/memory", "/sys/fs/cgroup/memory"}, "name=systemd": {"/sys/fs/cgroup/systemd", "/sys/fs/cgroup/systemd"},
				"cpu":     {"/sys/fs/cgroup/cpu,cpuacct", "/sys/fs/cgroup/cpu,cpuacct"},
				"cpuacct": {"/sys/fs/cgroup/cpu,cpuacct", "/sys/fs/cgroup/cpu,cpuacct"},
			},
		},
		"both versions": {
			"8:pids:/\n4:memory:/jobs/17\n2:cpuacct:/\n1:cpu:/\n0::/\n",
			`31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
36 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
`,
			Groups{"memory": {"/sys/fs/cgroup/memory", "/sys/fs/cgroup/memory/jobs/17"}, "cpu": {"/sys/fs/cgroup/cpu", "/sys/fs/cgroup/cpu"},
				Unified: {"/sys/fs/cgroup/unified", "/sys/fs/cgroup/unified"}},
		},
		"moved out of its namespace": {
			"0::/../beside\n", "30 24 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n", Groups{Unified: {"/sys/fs/cgroup", "/sys/fs/cgroup"}},
		},
		"a mount from above the namespace": {
			"0::/\n", "30 24 0:26 /../.. /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n", Groups{Unified: {"/sys/fs/cgroup", "/sys/fs/cgroup"}},
		},
		"moved out of its namespace, a mount from above": {
			"0::/../beside\n", "30 24 0:26 /.. /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
			Groups{Unified: {"/sys/fs/cgroup", "/sys/fs/cgroup/beside"}},
		},
		"a name that begins with two points": {
			"0::/..x/y\n", "30 24 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n", Groups{Unified: {"/sys/fs/cgroup", "/sys/fs/cgroup/..x/y"}},
		},
		"a root that only begins like the group": {
			"0::/jobs/17\n", "30 24 0:26 /jobs/1 /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n", Groups{Unified: {"/sys/fs/cgroup", "/sys/fs/cgroup"}},
		},
		"characters that end a field, and the one that marks them": {
			"0::/system.slice/by\\x2dlabel.slice/my job/\\040\n",
			"30 24 0:26 /system.slice/by\\134x2dlabel.slice /mnt/my\\040groups\\011 rw shared:9 master:2 - cgroup2 cgroup2 rw\n",
			Groups{Unified: {"/mnt/my groups\t", "/mnt/my groups\t/my job/\\040"}},
		},
		"two mounts: that which shows more": {
			"0::/a/b\n",
			`30 24 0:26 /a /one rw - cgroup2 cgroup2 rw
31 24 0:26 / /two rw - cgroup2 cgroup2 rw
32 24 0:26 /a/b /three rw - cgroup2 cgroup2 rw
33 24 0:26 /c /four rw - cgroup2 cgroup2 rw
`,
			Groups{Unified: {"/two", "/two/a/b"}},
		},
		"a mount over another": {
			"0::/a/b\n", "30 24 0:26 / /groups rw - cgroup2 cgroup2 rw\n31 30 0:26 /a /groups rw - cgroup2 cgroup2 rw\n",
			Groups{Unified: {"/groups", "/groups/b"}},
		},
		"nothing mounted": {"4:memory:/x\n0::/x\n", "24 31 0:22 / /sys rw shared:7 - sysfs sysfs rw\n", Groups{}},
		"nothing said":    {"", "30 24 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n", Groups{}},
		"half a line": {
			"0:\n4:memory:/x", "30 24 0:26 /\n31 24 0:27 / /m rw - cgroup\n32 24 0:27 / /m rw - cgroup cgroup memory",
			Groups{"memory": {"/m", "/m/x"}},
		},
	} {
		require.Equal(t, c.want, parse(c.own, c.mounts), name)
	}
	require.Empty(t, Of(t.TempDir()))
}

// Whatever the kernel may say, the way up from a group ends at its mount, and passes what lies between and nothing else.
func TestTheWayUpEndsAtTheMount(t *testing.T) {
	names := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "..", ".", "..c", "d e"}), 0, 5)
	rapid.Check(t, func(t *rapid.T) {
		own := "/" + strings.Join(names.Draw(t, "group"), "/")
		root := "/" + strings.Join(names.Draw(t, "root"), "/")
		g := parse("0::"+own+"\n", "30 24 0:26 "+strings.ReplaceAll(root, " ", `\040`)+" /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n")[Unified]
		require.Equal(t, "/sys/fs/cgroup", g.Top)
		up := slices.Collect(g.Up())
		require.Equal(t, g.Dir, up[0])
		require.Equal(t, g.Top, up[len(up)-1])
		for i, dir := range up[1:] {
			require.Equal(t, path.Dir(up[i]), dir)
		}
		if inside, ok := strings.CutPrefix(own, root+"/"); ok && !strings.Contains(own+root, ".") {
			require.Equal(t, "/sys/fs/cgroup/"+inside, g.Dir)
		}
	})
	require.Empty(t, slices.Collect(Group{}.Up()))
}
