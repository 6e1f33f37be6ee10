package interp

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"retool/kernels/controlgroup"
)

// Cgroups hold the memory of a session over all its processes and its /tmp. Hosts mix versions per controller, so each
// controller is looked up on its own: v2, v1, or absent. Groups are reused: making and removing one costs more than a session's
// whole set-up, and the kernel frees a removed group's pages long after.

const cgroupPrefix = "retool-sandbox-"

// cgroups makes groups under one directory per controller, named for this process.
type cgroups struct {
	v2     string // unified directory, "" if memory is not there
	memory string // v1 directories, "" where v2 is used or the controller is absent
	pids   string
	acct   string // cpuacct

	limit int64
	tasks int
	n     int
	free  []*cgroup // guarded by Pool.mu
}

// A cgroup is one session's: at most one directory per controller.
type cgroup struct {
	dirs     []string // those the session is moved into
	memory   string
	acct     string
	unified  bool
	oomStart int64 // oom_kill counter when the session began
	cpuStart int64
}

// ownGroupPrefix begins the names of all groups of this process; every pool adds a number.
func ownGroupPrefix() string {
	return cgroupPrefix + strconv.Itoa(os.Getpid()) + "-" + startTime(os.Getpid())
}

// startTime is field 22 of /proc/pid/stat: with the pid it names a process uniquely since boot.
func startTime(pid int) string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	f := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	if len(f) < 20 {
		return ""
	}
	return string(f[19])
}

// cgroupDirs are the folders of this process's groups in which a pool makes its own, by controller of v1, and v2.
func cgroupDirs() map[string]string {
	groups, dirs := controlgroup.Of("/proc/self"), map[string]string{}
	for _, c := range []string{controlgroup.Unified, "memory", "pids", "cpuacct"} {
		if g, ok := groups[c]; ok {
			dirs[c] = g.Dir
		}
	}
	return dirs
}

var poolCount atomic.Int64 // pools of this process so far: the names of their groups must differ

// newCgroups sweeps what dead runs left and prepares this run's parent groups. The error says why there are none.
func newCgroups(limit int64, tasks int) (*cgroups, error) {
	dirs := cgroupDirs()
	c := &cgroups{limit: limit, tasks: tasks}
	name := ownGroupPrefix() + "-" + strconv.FormatInt(poolCount.Add(1), 10)
	for _, d := range dirs {
		sweepCgroups(d)
	}
	var why []error
	make1 := func(controller string) string {
		d := dirs[controller]
		if d == "" {
			why = append(why, fmt.Errorf("no %s controller", controller))
			return ""
		}
		p := filepath.Join(d, name)
		if err := os.Mkdir(p, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
			why = append(why, err)
			return ""
		}
		return p
	}
	if u := dirs[controlgroup.Unified]; u != "" && hasController(filepath.Join(u, "cgroup.controllers"), "memory") {
		if p, err := unifiedParent(u, name); err == nil {
			c.v2 = p
			return c, nil
		} else {
			why = append(why, err)
		}
	}
	if c.memory = make1("memory"); c.memory == "" {
		return nil, errors.Join(why...)
	}
	os.WriteFile(filepath.Join(c.memory, "memory.use_hierarchy"), []byte("1"), 0o644)
	c.pids, c.acct = make1("pids"), make1("cpuacct")
	return c, nil
}

func hasController(file, name string) bool {
	b, _ := os.ReadFile(file)
	for _, f := range strings.Fields(string(b)) {
		if f == name {
			return true
		}
	}
	return false
}

// unifiedParent makes this run's group under the v2 directory u and hands it the controllers. v2 allows processes only in
// leaves, so the trainer itself moves into a leaf beside it when it is not there yet.
func unifiedParent(u, name string) (string, error) {
	p := filepath.Join(u, name)
	if err := os.Mkdir(p, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return "", err
	}
	enable := func() error {
		for _, name := range []string{"+memory", "+pids", "+cpu"} {
			err := os.WriteFile(filepath.Join(u, "cgroup.subtree_control"), []byte(name), 0o644)
			if err != nil && name == "+memory" {
				return err
			}
		}
		return nil
	}
	if !hasController(filepath.Join(u, "cgroup.subtree_control"), "memory") {
		if err := enable(); errors.Is(err, unix.EBUSY) {
			leaf := filepath.Join(u, ownGroupPrefix()+"-trainer")
			if err := os.Mkdir(leaf, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
				os.Remove(p)
				return "", err
			}
			if err := os.WriteFile(filepath.Join(leaf, "cgroup.procs"), []byte("0"), 0o644); err != nil {
				os.Remove(leaf)
				os.Remove(p)
				return "", err
			}
			err = enable()
			if err != nil {
				os.WriteFile(filepath.Join(u, "cgroup.procs"), []byte("0"), 0o644)
				os.Remove(leaf)
			}
		}
		if !hasController(filepath.Join(u, "cgroup.subtree_control"), "memory") {
			os.Remove(p)
			return "", fmt.Errorf("%s: the memory controller cannot be handed down", u)
		}
	}
	for _, name := range []string{"+memory", "+pids", "+cpu"} {
		if err := os.WriteFile(filepath.Join(p, "cgroup.subtree_control"), []byte(name), 0o644); err != nil && name == "+memory" {
			os.Remove(p)
			return "", err
		}
	}
	os.WriteFile(filepath.Join(p, "cpu.weight"), []byte("50"), 0o644)
	return p, nil
}

// version is what Info reports.
func (c *cgroups) version() string {
	switch {
	case c == nil:
		return "none"
	case c.v2 != "":
		return "v2"
	}
	v := "v1: memory"
	if c.pids != "" {
		v += " pids"
	}
	if c.acct != "" {
		v += " cpuacct"
	}
	return v
}

// group returns an empty group with its counters noted. many: processes are allowed, so they are counted and their CPU time
// summed by the kernel; otherwise the memory group is enough, and each further move costs a grace period of the kernel.
func (c *cgroups) group(many bool) (*cgroup, error) {
	var g *cgroup
	if k := len(c.free); k > 0 {
		g, c.free = c.free[k-1], c.free[:k-1]
	} else {
		c.n++
		g = &cgroup{}
		add := func(parent string) (string, error) {
			d := filepath.Join(parent, strconv.Itoa(c.n))
			if err := os.Mkdir(d, 0o755); err != nil {
				return "", err
			}
			g.dirs = append(g.dirs, d)
			return d, nil
		}
		var err error
		if c.v2 != "" {
			g.unified = true
			if g.memory, err = add(c.v2); err != nil {
				return nil, err
			}
			g.acct = g.memory
			if err := os.WriteFile(filepath.Join(g.memory, "memory.max"), []byte(strconv.FormatInt(c.limit, 10)), 0o644); err != nil {
				c.remove(g)
				return nil, err
			}
			os.WriteFile(filepath.Join(g.memory, "memory.swap.max"), []byte("0"), 0o644)
			os.WriteFile(filepath.Join(g.memory, "memory.oom.group"), []byte("0"), 0o644)
			os.WriteFile(filepath.Join(g.memory, "pids.max"), []byte(strconv.Itoa(2*c.tasks)), 0o644)
		} else {
			if g.memory, err = add(c.memory); err != nil {
				return nil, err
			}
			os.WriteFile(filepath.Join(g.memory, "memory.swappiness"), []byte("0"), 0o644)
			if err := os.WriteFile(filepath.Join(g.memory, "memory.limit_in_bytes"), []byte(strconv.FormatInt(c.limit, 10)), 0o644); err != nil {
				c.remove(g)
				return nil, err
			}
			os.WriteFile(filepath.Join(g.memory, "memory.memsw.limit_in_bytes"), []byte(strconv.FormatInt(c.limit, 10)), 0o644)
			if many && c.pids != "" {
				d, err := add(c.pids)
				if err == nil {
					err = os.WriteFile(filepath.Join(d, "pids.max"), []byte(strconv.Itoa(2*c.tasks)), 0o644)
				}
				if err != nil {
					c.remove(g)
					return nil, err
				}
			}
			if many && c.acct != "" {
				if g.acct, err = add(c.acct); err != nil {
					c.remove(g)
					return nil, err
				}
			}
		}
	}
	g.oomStart = g.oomKills()
	if !g.unified {
		os.WriteFile(filepath.Join(g.memory, "memory.max_usage_in_bytes"), []byte("0"), 0o644)
	}
	g.cpuStart, _ = g.rawCPU()
	return g, nil
}

// recycle takes back a group whose processes are gone. One that still holds pages (a large /tmp on its way out) is removed.
func (c *cgroups) recycle(g *cgroup) {
	if used := g.number("memory.usage_in_bytes", "memory.current"); used > 8<<20 || len(c.free) >= 256 || !g.empty() {
		c.remove(g)
		return
	}
	c.free = append(c.free, g)
}

func (g *cgroup) empty() bool {
	for _, d := range g.dirs {
		b, err := os.ReadFile(filepath.Join(d, "cgroup.procs"))
		if err != nil || len(b) > 0 {
			return false
		}
	}
	return true
}

// remove deletes the group; right after a kill the kernel answers EBUSY for a moment.
func (c *cgroups) remove(g *cgroup) {
	for _, d := range g.dirs {
		removeCgroup(d)
	}
}

func removeCgroup(dir string) error {
	var err error
	for i := 0; i < 40; i++ {
		if err = unix.Rmdir(dir); err == nil || err == unix.ENOENT {
			return nil
		}
		if err != unix.EBUSY {
			return err
		}
		time.Sleep(time.Duration(i) * time.Millisecond)
	}
	return err
}

// close removes every group of this run.
func (c *cgroups) close() {
	for _, g := range c.free {
		c.remove(g)
	}
	c.free = nil
	for _, d := range []string{c.v2, c.memory, c.pids, c.acct} {
		if d != "" {
			removeTree(d)
		}
	}
	if c.v2 != "" { // back to where the trainer was, if the kernel lets it
		u := filepath.Dir(c.v2)
		leaf := filepath.Join(u, ownGroupPrefix()+"-trainer")
		others, _ := filepath.Glob(filepath.Join(u, ownGroupPrefix()+"-[0-9]*"))
		if _, err := os.Stat(leaf); err == nil && len(others) == 0 {
			for _, name := range []string{"-memory", "-pids", "-cpu"} {
				os.WriteFile(filepath.Join(u, "cgroup.subtree_control"), []byte(name), 0o644)
			}
			os.WriteFile(filepath.Join(u, "cgroup.procs"), []byte("0"), 0o644)
			removeCgroup(leaf)
		}
	}
}

func removeTree(dir string) {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if e.IsDir() {
			removeCgroup(filepath.Join(dir, e.Name()))
		}
	}
	removeCgroup(dir)
}

// sweepCgroups removes the empty groups that dead runs left under dir: our prefix, a pid, a start time that no process has.
func sweepCgroups(dir string) {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		rest, ours := strings.CutPrefix(e.Name(), cgroupPrefix)
		if !ours || !e.IsDir() {
			continue
		}
		f := strings.SplitN(rest, "-", 3)
		if len(f) < 2 {
			continue
		}
		pid, err := strconv.Atoi(f[0])
		if err != nil || startTime(pid) == f[1] {
			continue
		}
		removeTree(filepath.Join(dir, e.Name()))
	}
}

// enter moves a process in, one write per controller.
func (g *cgroup) enter(pid int) error {
	p := []byte(strconv.Itoa(pid))
	for _, d := range g.dirs {
		if err := os.WriteFile(filepath.Join(d, "cgroup.procs"), p, 0o644); err != nil {
			return err
		}
	}
	return nil
}

func (g *cgroup) number(v1, v2 string) int64 {
	name := v1
	if g.unified {
		name = v2
	}
	b, err := readCounter(g.memory + "/" + name)
	if err != nil {
		return 0
	}
	n, _ := strconv.ParseInt(string(bytes.TrimSpace(b)), 10, 64)
	return n
}

func (g *cgroup) peak() int64 { return g.number("memory.max_usage_in_bytes", "memory.peak") }

// oomKills is the kernel's count of kills in the group: the only proof that memory ended a process.
func (g *cgroup) oomKills() int64 {
	file := "memory.oom_control"
	if g.unified {
		file = "memory.events"
	}
	b, _ := readCounter(g.memory + "/" + file)
	for _, line := range strings.Split(string(b), "\n") {
		if v, ok := strings.CutPrefix(line, "oom_kill "); ok {
			n, _ := strconv.ParseInt(v, 10, 64)
			return n
		}
	}
	return 0
}

// readCounter reads a file of some numbers in three system calls; os.ReadFile makes twice as many, and a cell reads several.
func readCounter(path string) ([]byte, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	var b [4096]byte
	n, err := unix.Read(fd, b[:])
	return b[:max(n, 0)], err
}

// cpu is the time used by every process of the group since the session began.
func (g *cgroup) cpu() (ns int64, ok bool) {
	n, ok := g.rawCPU()
	return n - g.cpuStart, ok
}

func (g *cgroup) rawCPU() (ns int64, ok bool) {
	if g.acct == "" {
		return 0, false
	}
	if !g.unified {
		b, err := readCounter(g.acct + "/cpuacct.usage")
		n, _ := strconv.ParseInt(string(bytes.TrimSpace(b)), 10, 64)
		return n, err == nil
	}
	b, err := readCounter(g.acct + "/cpu.stat")
	if err != nil {
		return 0, false
	}
	for _, line := range strings.Split(string(b), "\n") {
		if v, ok := strings.CutPrefix(line, "usage_usec "); ok {
			n, _ := strconv.ParseInt(v, 10, 64)
			return n * 1000, true
		}
	}
	return 0, false
}
