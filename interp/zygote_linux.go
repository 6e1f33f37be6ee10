package interp

import (
	"bytes"
	"context"
	_ "embed"
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

// bootTime is how long a fork server has to import its modules.
const bootTime = 90 * time.Second

// A bootError is a Python that answered the probe and cannot be a fork server.
type bootError struct {
	python, why string
	tier        Tier
}

func (e *bootError) Error() string {
	return fmt.Sprintf("python %q cannot be a fork server of tier %v: %s", e.python, e.tier, e.why)
}

// A wrongAnswer is what a fork server said in place of what it is.
type wrongAnswer string

func (w wrongAnswer) Error() string { return string(w) }

// An unfitError is one that a lower tier would have too.
type unfitError struct{ error }

func (e unfitError) Unwrap() error { return e.error }

// start starts a fork server, with libraries if rich, and waits until it has imported its modules, or ctx has ended.
func (f *fences) start(ctx context.Context, log *slog.Logger, rich bool, release func(*session)) (*zygote, error) {
	conn, theirs, err := controlPair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	z := &zygote{f: f, rich: rich, conn: conn, log: log, waiting: map[int64]chan spawned{}, live: map[int64]*session{},
		dead: make(chan struct{}), buried: make(chan struct{}), release: release}
	said, err := z.launch(theirs)
	if err != nil {
		conn.Close()
		return nil, err
	}
	if err := z.handshake(ctx); err != nil {
		return nil, z.unborn(ctx, err, said)
	}
	z.rss0 = z.rss()
	go z.listen()
	go func() {
		if text := <-said; text != "" {
			log.Warn("fork server", "said", tail(text, 2000))
		}
	}()
	return z, nil
}

// controlPair is the control socket: our end, which never blocks a thread, and the fork server's.
func controlPair() (ours, theirs *os.File, err error) {
	sp, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("socketpair: %w", err)
	}
	for _, fd := range sp {
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, 1<<20)
	}
	unix.SetNonblock(sp[0], true)
	return os.NewFile(uintptr(sp[0]), "zygote"), os.NewFile(uintptr(sp[1]), "zygote-child"), nil
}

// launch starts the process, confined as the tier says. What it prints comes through said once it has closed its output: a failed
// set-up step, or the fork server's own traceback.
func (z *zygote) launch(theirs *os.File) (said chan string, err error) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	show := append([]shown(nil), z.f.show...)
	attr, trees, err := z.f.confine(show)
	defer func() {
		for _, t := range trees {
			t.Close()
		}
	}()
	if err != nil {
		return nil, err
	}
	arg, err := json.Marshal(initOrder{Jail: z.f.jail(), Show: show, Python: z.f.py.Executable, Env: sandboxEnv, Trees: len(trees)})
	if err != nil {
		return nil, err
	}
	logR, logW, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	z.cmd = &exec.Cmd{Path: "/proc/self/exe", Args: []string{initName, string(arg)}, Env: sandboxEnv, Dir: "/", Stdout: logW, Stderr: logW,
		ExtraFiles: append([]*os.File{theirs, null}, trees...), SysProcAttr: attr}
	err = z.cmd.Start()
	logW.Close()
	if err != nil {
		logR.Close()
		return nil, fmt.Errorf("start: %w", err)
	}
	said = make(chan string, 1)
	go func() {
		b, _ := io.ReadAll(io.LimitReader(logR, 16<<10))
		logR.Close()
		said <- strings.TrimSpace(string(b))
	}()
	go func() {
		z.cmd.Wait()
		z.bury()
	}()
	return said, nil
}

// handshake sends the program and its configuration and takes the answer, which comes after the imports.
func (z *zygote) handshake(ctx context.Context) error {
	preload := z.f.preload
	if z.rich {
		preload = z.f.rich
	}
	order, err := z.f.order(preload)
	if err != nil {
		return fmt.Errorf("order: %w", err)
	}
	z.conn.SetDeadline(time.Now().Add(bootTime))
	undo := context.AfterFunc(ctx, func() { z.conn.SetDeadline(time.Now()) })
	defer func() {
		if undo() {
			z.conn.SetDeadline(time.Time{})
		}
	}()
	for _, b := range [][]byte{[]byte(zygoteSource), order} {
		if err := z.send(b); err != nil {
			return fmt.Errorf("send order: %w", err)
		}
	}
	buf := make([]byte, 64<<10)
	n, fds, err := z.receive(buf)
	closeAll(fds)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(buf[:n], &z.boot); err != nil || z.boot.T != "boot" || z.boot.V != 1 {
		return wrongAnswer(fmt.Sprintf("it answered %.200q", buf[:n]))
	}
	if z.boot.Tasks > 1 { // forking a process with threads can deadlock in the child
		return unfitError{fmt.Errorf("interp: a preloaded module started %d threads: remove it from interp.preload", z.boot.Tasks-1)}
	}
	return nil
}

// unborn ends a fork server whose handshake failed and says why it did: the process has ended, and with what words, or it hangs.
func (z *zygote) unborn(ctx context.Context, err error, said <-chan string) error {
	if errors.As(err, new(unfitError)) {
		z.stop()
		return err
	}
	why := &bootError{python: z.f.py.Executable, tier: z.f.tier, why: err.Error()}
	if ctx.Err() == nil && !errors.As(err, new(wrongAnswer)) && !errors.Is(err, os.ErrDeadlineExceeded) {
		select {
		case <-z.dead:
			why.why = "it ended at once (" + z.cmd.ProcessState.String() + ")"
		case <-time.After(time.Second):
		}
	}
	z.stop()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		why.why = fmt.Sprintf("it hangs: not ready %v after its start", bootTime)
		return unfitError{fmt.Errorf("interp: %w", why)}
	}
	select {
	case text := <-said:
		if text != "" {
			why.why += fmt.Sprintf(": %q", tail(text, 600))
		}
	case <-time.After(time.Second):
	}
	return why
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
	s := &session{id: id, z: z, uid: uid, group: group, ctl: sp[0], out: po[0], err: pe[0], pidfd: -1, born: time.Now(),
		exited: make(chan struct{})}
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
		select {
		case <-z.dead: // soon, if that is why: its end is one failure, however often it is asked until then
			return nil, errLost
		case <-time.After(time.Second):
		}
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
