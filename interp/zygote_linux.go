package interp

import (
	"bytes"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

//go:embed zygote.py
var zygoteSource string

//go:embed shims.py
var shimsSource string

// A zygote is one fork server as the supervisor holds it.
type zygote struct {
	f    *fences
	cmd  *exec.Cmd
	conn *os.File // our end of the control socket, non-blocking
	log  *slog.Logger
	boot bootFrame
	rich bool  // has the libraries
	rss0 int64 // after the imports

	mu      sync.Mutex
	waiting map[int64]chan spawned // spawn requests in flight
	live    map[int64]*session     // not yet reaped
	spawns  int

	retiring atomic.Bool
	dead     chan struct{}  // closed when the process is gone
	buried   chan struct{}  // closed when its sessions have been given up as well
	release  func(*session) // gives back what a session held, once nobody uses it
}

type bootFrame struct {
	T        string            `json:"t"`
	V        int               `json:"v"`
	Python   string            `json:"python"`
	Modules  map[string]string `json:"modules"`
	Missing  map[string]string `json:"missing"`
	Landlock int               `json:"landlock"`
	Tasks    int               `json:"tasks"`
	RSS      int64             `json:"rss"`
}

type zygoteFrame struct {
	T     string `json:"t"`
	ID    int64  `json:"id"`
	Pid   int    `json:"pid"`
	Stage string `json:"stage"`
	Errno int    `json:"errno"`
	St    int    `json:"st"`
	RSS   int64  `json:"rss"`
}

type spawned struct {
	pidfd int
	err   error
}

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
		"ro": ro, "allow_fork": f.cfg.AllowFork, "allow_exec": f.cfg.AllowExec, "bpf": base64.StdEncoding.EncodeToString(encode(f.filter)), "rlimits": limits,
		"tmp": int64(l.Tmp), "inodes": l.TmpFiles, "preload": preload, "warm": warmUp, "skip": skip, "shims": shimsSource,
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

// start starts a fork server, with libraries if rich, and waits until it has imported its modules.
func (f *fences) start(log *slog.Logger, rich bool, release func(*session)) (*zygote, error) {
	sp, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("socketpair: %w", err)
	}
	for _, fd := range sp {
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, 1<<20)
	}
	unix.SetNonblock(sp[0], true)
	conn, theirs := os.NewFile(uintptr(sp[0]), "zygote"), os.NewFile(uintptr(sp[1]), "zygote-child")
	defer theirs.Close()
	z := &zygote{f: f, rich: rich, conn: conn, log: log, waiting: map[int64]chan spawned{}, live: map[int64]*session{}, dead: make(chan struct{}), buried: make(chan struct{}), release: release}

	show := append([]shown(nil), f.show...)
	o := initOrder{Jail: f.jail(), Show: show, Python: f.py.Executable, Env: sandboxEnv}
	null, err := os.Open(os.DevNull)
	if err != nil {
		conn.Close()
		return nil, err
	}
	defer null.Close()
	files := []*os.File{theirs, null}
	attr := &syscall.SysProcAttr{Setsid: true}
	if f.jail() {
		attr.Cloneflags = unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS
		if f.uidBase > 0 {
			if err := openTrees(show); err != nil {
				conn.Close()
				return nil, err
			}
			for _, s := range show {
				if s.Link == "" {
					t := os.NewFile(uintptr(s.fd), s.Path)
					defer t.Close()
					files = append(files, t)
					o.Trees++
				}
			}
			attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: f.uidBase, Size: f.uids}}
			attr.GidMappings = attr.UidMappings
			attr.GidMappingsEnableSetgroups = true
			attr.Credential = &syscall.Credential{Uid: 0, Gid: 0}
		} else {
			attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
			attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
		}
	}
	arg, err := json.Marshal(o)
	if err != nil {
		conn.Close()
		return nil, err
	}
	logR, logW, err := os.Pipe()
	if err != nil {
		conn.Close()
		return nil, err
	}
	z.cmd = &exec.Cmd{Path: "/proc/self/exe", Args: []string{initName, string(arg)}, Env: sandboxEnv, Dir: "/", Stdout: logW, Stderr: logW,
		ExtraFiles: files, SysProcAttr: attr}
	err = z.cmd.Start()
	logW.Close()
	if err != nil {
		logR.Close()
		conn.Close()
		return nil, fmt.Errorf("start: %w", err)
	}
	said := make(chan string, 1)
	go func() { // everything the child prints is ours: a failed set-up step, or the fork server's own traceback
		b, _ := io.ReadAll(io.LimitReader(logR, 16<<10))
		logR.Close()
		said <- strings.TrimSpace(string(b))
	}()
	go func() {
		z.cmd.Wait()
		z.bury()
	}()
	abort := func(what string, err error) (*zygote, error) {
		z.stop()
		select {
		case text := <-said:
			if text != "" {
				err = fmt.Errorf("%w: %s", err, tail(text, 600))
			}
		case <-time.After(time.Second):
		}
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	preload := f.preload
	if rich {
		preload = f.rich
	}
	cfg, err := f.order(preload)
	if err != nil {
		return abort("order", err)
	}
	deadline := time.Now().Add(90 * time.Second)
	conn.SetDeadline(deadline)
	for _, b := range [][]byte{[]byte(zygoteSource), cfg} {
		if err := z.send(b); err != nil {
			return abort("send order", err)
		}
	}
	buf := make([]byte, 64<<10)
	n, fds, err := z.receive(buf)
	closeAll(fds)
	if err != nil {
		return abort("boot", err)
	}
	if err := json.Unmarshal(buf[:n], &z.boot); err != nil || z.boot.T != "boot" || z.boot.V != 1 {
		return abort("boot", fmt.Errorf("unexpected frame %.200q", buf[:n]))
	}
	if z.boot.Tasks > 1 { // forking a process with threads can deadlock in the child
		return abort("boot", fmt.Errorf("a preloaded module started %d threads: remove it from interp.preload", z.boot.Tasks-1))
	}
	z.rss0 = z.rss()
	conn.SetDeadline(time.Time{})
	go z.listen()
	go func() {
		if text := <-said; text != "" {
			log.Warn("fork server", "said", tail(text, 2000))
		}
	}()
	return z, nil
}

func closeAll(fds []int) {
	for _, fd := range fds {
		unix.Close(fd)
	}
}

func (z *zygote) rss() int64 {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(z.cmd.Process.Pid) + "/statm")
	if err != nil {
		return 0
	}
	f := bytes.Fields(b)
	if len(f) < 2 {
		return 0
	}
	n, _ := strconv.ParseInt(string(f[1]), 10, 64)
	return n * int64(os.Getpagesize())
}

// send writes one message with descriptors; it never waits longer than a second.
func (z *zygote) send(b []byte, fds ...int) error {
	rc, err := z.conn.SyscallConn()
	if err != nil {
		return err
	}
	var oob []byte
	if len(fds) > 0 {
		oob = unix.UnixRights(fds...)
	}
	var e error
	err = rc.Write(func(fd uintptr) bool {
		e = unix.Sendmsg(int(fd), b, oob, nil, unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT)
		return e != unix.EAGAIN
	})
	if err != nil {
		return err
	}
	return e
}

func (z *zygote) receive(buf []byte) (n int, fds []int, err error) {
	rc, err := z.conn.SyscallConn()
	if err != nil {
		return 0, nil, err
	}
	oob := make([]byte, unix.CmsgSpace(4*4))
	var oobn int
	var e error
	err = rc.Read(func(fd uintptr) bool {
		n, oobn, _, _, e = unix.Recvmsg(int(fd), buf, oob, unix.MSG_CMSG_CLOEXEC|unix.MSG_DONTWAIT)
		return e != unix.EAGAIN && e != unix.EINTR
	})
	if err != nil { // the socket was closed or its deadline passed: e is only the last try
		return 0, nil, err
	}
	if e != nil {
		return 0, nil, e
	}
	if msgs, e := unix.ParseSocketControlMessage(oob[:oobn]); e == nil {
		for i := range msgs {
			if got, e := unix.ParseUnixRights(&msgs[i]); e == nil {
				fds = append(fds, got...)
			}
		}
	}
	if n == 0 {
		closeAll(fds)
		return 0, nil, io.EOF
	}
	return n, fds, nil
}

// listen hands replies to the spawns that wait for them and notes who has been reaped.
func (z *zygote) listen() {
	buf := make([]byte, 8<<10)
	for {
		n, fds, err := z.receive(buf)
		if err != nil {
			z.stop()
			return
		}
		var m zygoteFrame
		if err := json.Unmarshal(buf[:n], &m); err != nil {
			closeAll(fds)
			z.log.Error("fork server sent no frame", "frame", string(buf[:min(n, 200)]))
			z.stop()
			return
		}
		switch m.T {
		case "ok", "err":
			z.mu.Lock()
			ch := z.waiting[m.ID]
			delete(z.waiting, m.ID)
			z.mu.Unlock()
			switch {
			case ch == nil:
				closeAll(fds)
			case m.T == "ok" && len(fds) == 1:
				ch <- spawned{pidfd: fds[0]}
			default:
				closeAll(fds)
				ch <- spawned{pidfd: -1, err: fmt.Errorf("%s: %w", m.Stage, unix.Errno(m.Errno))}
			}
		case "exit":
			closeAll(fds)
			z.reaped(m.ID, m.St, false)
		default:
			closeAll(fds)
		}
	}
}

// reaped marks a session as gone and gives back what it held.
func (z *zygote) reaped(id int64, status int, lost bool) {
	z.mu.Lock()
	s := z.live[id]
	delete(z.live, id)
	z.mu.Unlock()
	if s == nil {
		return
	}
	s.status, s.lost = status, lost
	close(s.exited)
	s.drop()
}

// bury runs once, when the process is gone: its pid namespace has taken every session along, or their parent-death signal has.
func (z *zygote) bury() {
	close(z.dead)
	z.conn.Close()
	z.mu.Lock()
	for id, ch := range z.waiting {
		delete(z.waiting, id)
		ch <- spawned{pidfd: -1, err: errLost}
	}
	ids := make([]int64, 0, len(z.live))
	for id := range z.live {
		ids = append(ids, id)
	}
	z.mu.Unlock()
	for _, id := range ids {
		z.reaped(id, 0, true)
	}
	close(z.buried)
}

// stop ends the fork server: EOF first, SIGKILL as well, so that no wait depends on its goodwill.
func (z *zygote) stop() {
	z.conn.Close()
	z.cmd.Process.Kill()
	select {
	case <-z.buried:
	case <-time.After(5 * time.Second):
		z.log.Error("fork server does not die", "pid", z.cmd.Process.Pid)
	}
}

// spawn makes one session, confined and ready. uid is its slot of the user range, group its cgroup. With an error and no
// session the caller gives both back; otherwise the session's last drop does.
func (z *zygote) spawn(id int64, uid int, group *cgroup, creds bool) (_ *session, err error) {
	var fds []int
	defer func() {
		if err != nil {
			closeAll(fds)
		}
	}()
	sp, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	fds = append(fds, sp[:]...)
	var po, pe [2]int
	for _, p := range []*[2]int{&po, &pe} {
		if err = unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
			return nil, err
		}
		fds = append(fds, p[:]...)
		if err = unix.SetNonblock(p[0], true); err != nil {
			return nil, err
		}
	}
	if err = unix.SetsockoptInt(sp[0], unix.SOL_SOCKET, unix.SO_SNDBUF, 1<<19); err != nil {
		return nil, err
	}
	if creds {
		if err = unix.SetsockoptInt(sp[0], unix.SOL_SOCKET, unix.SO_PASSCRED, 1); err != nil {
			return nil, err
		}
	}
	s := &session{id: id, z: z, uid: uid, group: group, ctl: sp[0], out: po[0], err: pe[0], pidfd: -1, born: time.Now(), exited: make(chan struct{})}
	s.refs.Store(2)
	ch := make(chan spawned, 1)
	z.mu.Lock()
	select {
	case <-z.dead:
		z.mu.Unlock()
		return nil, errLost
	default:
	}
	z.waiting[id] = ch
	z.live[id] = s
	z.spawns++
	z.mu.Unlock()
	forget := func() {
		z.mu.Lock()
		delete(z.waiting, id)
		delete(z.live, id)
		z.mu.Unlock()
	}
	if err = z.send(fmt.Appendf(nil, `{"t":"spawn","id":%d,"uid":%d}`, id, uid), sp[1], po[1], pe[1]); err != nil {
		forget()
		return nil, err
	}
	for _, fd := range []int{sp[1], po[1], pe[1]} {
		unix.Close(fd)
	}
	fds = []int{sp[0], po[0], pe[0]}
	var got spawned
	select {
	case got = <-ch:
	case <-time.After(10 * time.Second):
		forget()
		z.stop() // a fork server that does not answer is no fork server
		return nil, errors.New("no answer to a spawn within 10 s")
	}
	if got.err != nil {
		forget()
		return nil, got.err
	}
	s.pidfd = got.pidfd
	fail := func(e error) (*session, error) { // the fork server will report its exit: the slot is given back then
		s.kill()
		s.ctl, s.out, s.err = -1, -1, -1 // closed below with fds
		s.drop()
		return s, e
	}
	if s.pid, err = pidOf(s.pidfd); err != nil {
		return fail(err)
	}
	if err = s.awaitReady(time.Now().Add(10 * time.Second)); err != nil {
		return fail(err)
	}
	if group != nil {
		if err = group.enter(s.pid); err != nil {
			return fail(fmt.Errorf("cgroup: %w", err))
		}
	}
	s.used = time.Now()
	return s, nil
}

// pidOf reads the host pid behind a pidfd.
func pidOf(pidfd int) (int, error) {
	b, err := os.ReadFile("/proc/self/fdinfo/" + strconv.Itoa(pidfd))
	if err != nil {
		return 0, err
	}
	for _, line := range strings.Split(string(b), "\n") {
		if v, ok := strings.CutPrefix(line, "Pid:"); ok {
			n, err := strconv.Atoi(strings.TrimSpace(v))
			if err == nil && n > 0 {
				return n, nil
			}
		}
	}
	return 0, errors.New("the session is gone already")
}
