package interp

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// fences are what every fork server of a pool shares: the tier and what it takes to build it.
type fences struct {
	cfg     Config
	tier    Tier
	py      *python
	show    []shown
	filter  []unix.SockFilter
	preload []string // without libraries
	rich    []string // with those the interpreter has; nil: it has none of those asked for
	uidBase int      // host uid of slot 0; 0: no range
	uids    int
	omit    map[string]bool
}

// A session's own namespaces, beside its pid namespace. Of the fork server's network, ipc and uts namespaces it can use nothing:
// the filter denies socket, every System V and POSIX queue call, and sethostname. paranoid gives it its own of these too, at
// about 0.3 ms a session and the kernel's global locks.
const (
	sessionNamespaces  = unix.CLONE_NEWUSER | unix.CLONE_NEWNS
	paranoidNamespaces = unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWNET
)

func lastCap() int {
	b, err := os.ReadFile("/proc/sys/kernel/cap_last_cap")
	n, e := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil || e != nil {
		return 40
	}
	return n
}

// order is the configuration frame of the fork server.
func (f *fences) order(preload []string) ([]byte, error) {
	l := f.cfg.Limits
	cpu := int64((max(l.CPU, selfTestCPU)+l.Grace)/time.Second) + 2 // a backstop: cells are timed one by one
	if f.cfg.Session == SessionTrajectory {
		cpu = min(cpu*int64(l.Cells), int64(l.Session/time.Second)+1)
	}
	limits := map[string]int64{
		"RLIMIT_DATA": int64(l.Data), "RLIMIT_AS": int64(l.Address), "RLIMIT_FSIZE": int64(l.Tmp), "RLIMIT_NOFILE": int64(l.Files),
		"RLIMIT_CORE": 0, "RLIMIT_MEMLOCK": 0, "RLIMIT_CPU": cpu, "RLIMIT_STACK": 8 << 20, "RLIMIT_SIGPENDING": 128,
		"RLIMIT_MSGQUEUE": 0, "RLIMIT_RTPRIO": 0,
	}
	if f.tier != TierC2 { // counted per user: in C2 that is the trainer's own
		limits["RLIMIT_NPROC"] = int64(l.Processes)
		if f.cfg.Checkpoint {
			limits["RLIMIT_NPROC"] += int64(l.Cells) // one sleeping parent per cell
		}
	} else {
		limits["RLIMIT_NPROC"] = int64(tasksOfUser() + 512)
	}
	unshare := 0
	if f.jail() {
		unshare = sessionNamespaces
		if f.cfg.Paranoid {
			unshare |= paranoidNamespaces
		}
	}
	var ro []string
	for _, s := range f.show {
		if s.Link == "" && !strings.HasPrefix(s.Path, "/dev/") {
			ro = append(ro, s.Path)
		}
	}
	landlockMax := 99
	if f.omit["landlock"] {
		landlockMax = 0
	}
	skip := make([]string, 0, len(f.omit))
	for k := range f.omit {
		fmt.Sscanf(k, "landlock above %d", &landlockMax)
		skip = append(skip, k)
	}
	return json.Marshal(map[string]any{
		"v": 1, "tier": f.tier.String(), "unshare": unshare, "last_cap": lastCap(), "path": f.py.Path, "landlock_max": landlockMax,
		"ro": ro, "allow_fork": f.cfg.AllowFork, "allow_exec": f.cfg.AllowExec, "bpf": base64.StdEncoding.EncodeToString(encode(f.filter)),
		"rlimits": limits, "tmp": int64(l.Tmp), "inodes": l.TmpFiles, "preload": preload, "warm": warmUp, "skip": skip, "shims": shimsSource,
	})
}

// What a first call of each library costs is paid here once instead of in every session.
var warmUp = []string{`
import sys
if "sympy" in sys.modules:
    import sympy as s
    x, y = s.symbols("x y")
    s.solve(x**2 - 3*x + 2); s.simplify((x**2 - 1)/(x - 1)); s.integrate(x*s.sin(x), x); s.diff(s.exp(x)*x); s.factor(x**4 - y**4)
    s.solve([x + y - 3, x - y - 1], [x, y]); s.Rational(1, 3) + s.sqrt(8); s.factorint(360); s.Matrix([[1, 2], [3, 4]]).det(); str(x/y)
if "numpy" in sys.modules:
    import numpy as n
    a = n.eye(8) + n.ones((8, 8)); n.linalg.solve(a, a); str(a @ a); n.random.seed(0)
if "mpmath" in sys.modules:
    import mpmath
    str(mpmath.mpf(1)/3)
`}

func (f *fences) jail() bool { return f.tier >= TierB }

func tasksOfUser() int {
	n := 0
	entries, _ := os.ReadDir("/proc")
	uid := uint32(os.Getuid())
	for _, e := range entries {
		if _, err := strconv.Atoi(e.Name()); err != nil {
			continue
		}
		if fi, err := e.Info(); err == nil {
			if st, ok := fi.Sys().(*syscall.Stat_t); ok && st.Uid == uid {
				if t, err := os.ReadDir("/proc/" + e.Name() + "/task"); err == nil {
					n += len(t)
				}
			}
		}
	}
	return n
}

// confine is how the kernel starts a fork server: in namespaces of its own where the tier has them, with the user range mapped if
// there is one. The trees of show are then opened here, because the mapped users may not reach them.
func (f *fences) confine(show []shown) (attr *syscall.SysProcAttr, trees []*os.File, err error) {
	attr = &syscall.SysProcAttr{Setsid: true}
	if !f.jail() {
		return attr, nil, nil
	}
	attr.Cloneflags = unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS
	if f.uidBase == 0 {
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
		return attr, nil, nil
	}
	if err := openTrees(show); err != nil {
		return nil, nil, err
	}
	for _, s := range show {
		if s.Link == "" {
			trees = append(trees, os.NewFile(uintptr(s.fd), s.Path))
		}
	}
	attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: f.uidBase, Size: f.uids}}
	attr.GidMappings = attr.UidMappings
	attr.GidMappingsEnableSetgroups = true
	attr.Credential = &syscall.Credential{Uid: 0, Gid: 0}
	return attr, trees, nil
}
