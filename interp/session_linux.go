package interp

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// A session is one isolated Python process as the supervisor holds it. One goroutine at a time uses it; only exited is shared.
type session struct {
	id    int64
	z     *zygote
	uid   int // slot of the user range, 0: none
	pid   int // host pid, for clocks and counters; signals go through pidfd only
	pidfd int
	ctl   int
	out   int // -1 once closed by the other side
	err   int
	group *cgroup

	born    time.Time
	used    time.Time
	idleCPU time.Duration // CPU clock when the last cell ended
	cells   int
	stopped bool
	killed  bool

	refs   atomic.Int32  // its user and its reaper; the last to drop gives its descriptors, user and group back
	exited chan struct{} // closed when the fork server has reaped it, or died itself
	status int           // wait status, valid after exited unless lost
	lost   bool          // the fork server died: no status
}

// maxFrame bounds every frame a session may send.
const maxFrame = 4096

// A frame from a session. All of it is hostile.
type frame struct {
	T     string `json:"t"`
	ID    int64  `json:"id"`
	OK    bool   `json:"ok"`
	Exc   string `json:"exc"`
	Exit  int    `json:"exit"`
	TB    int    `json:"tb"`
	St    int    `json:"st"`
	Stage string `json:"stage"`
	Errno int    `json:"errno"`
}

// parseFrame accepts exactly one JSON object of known keys and sane values.
func parseFrame(b []byte) (frame, error) {
	var f frame
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&f); err != nil {
		return frame{}, err
	}
	if d.More() || len(bytes.TrimSpace(b[d.InputOffset():])) != 0 {
		return frame{}, errors.New("more than one object")
	}
	switch f.T {
	case "ready", "done", "runs", "rolled", "fail":
	default:
		return frame{}, fmt.Errorf("type %q", f.T)
	}
	if f.TB < 0 || f.TB > 1<<20 || f.Exit < -1 || f.Exit > 255 || len(f.Exc) > 100 {
		return frame{}, errors.New("value out of range")
	}
	for _, c := range f.Exc {
		if c != '_' && (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
			return frame{}, errors.New("exception name")
		}
	}
	return f, nil
}

var (
	errAgain  = errors.New("nothing to read")
	errHangup = errors.New("the control socket was closed")
	errForged = errors.New("not a frame")
)

// receive reads one frame without waiting. No room is given for descriptors: the kernel drops any that are sent and says so.
// sender is the host pid the kernel saw, if the socket reports it.
func (s *session) receive(buf []byte) (f frame, sender int, err error) {
	oob := make([]byte, unix.CmsgSpace(unix.SizeofUcred))
	var n, oobn, flags int
	for {
		n, oobn, flags, _, err = unix.Recvmsg(s.ctl, buf, oob, unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC)
		if err != unix.EINTR {
			break
		}
	}
	switch {
	case err == unix.EAGAIN:
		return f, 0, errAgain
	case err != nil:
		return f, 0, errHangup
	}
	foreign := flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0
	if msgs, e := unix.ParseSocketControlMessage(oob[:oobn]); e == nil {
		for i := range msgs {
			if u, e := unix.ParseUnixCredentials(&msgs[i]); e == nil {
				sender = int(u.Pid)
				continue
			}
			foreign = true
			if fds, e := unix.ParseUnixRights(&msgs[i]); e == nil {
				for _, fd := range fds {
					unix.Close(fd)
				}
			}
		}
	}
	switch {
	case n == 0 && oobn == 0:
		return f, 0, errHangup
	case foreign || n == 0 || n > maxFrame:
		return f, sender, errForged
	}
	if f, err = parseFrame(buf[:n]); err != nil {
		return f, sender, errForged
	}
	return f, sender, nil
}

func (s *session) signal(sig unix.Signal) { unix.PidfdSendSignal(s.pidfd, sig, nil, 0) }

// kill ends the process and, in its pid namespace, everything it started. It does not wait.
func (s *session) kill() {
	s.killed = true
	s.signal(unix.SIGKILL)
}

// cpu is the CPU time used so far: of all processes where a group counts it, else of the process.
func (s *session) cpu() (time.Duration, bool) {
	if s.group != nil {
		if n, ok := s.group.cpu(); ok {
			return time.Duration(n), true
		}
	}
	n, ok := processCPU(s.pid)
	return time.Duration(n), ok
}

func (s *session) rss() int64 {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(s.pid) + "/statm")
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

// threads counts the tasks of the process.
func (s *session) threads() int {
	var st unix.Stat_t
	if err := unix.Stat("/proc/"+strconv.Itoa(s.pid)+"/task", &st); err != nil || st.Nlink < 2 {
		return 0
	}
	return int(st.Nlink) - 2
}

// awaitReady reads the first frame of a new session.
func (s *session) awaitReady(deadline time.Time) error {
	buf := make([]byte, maxFrame+1)
	fds := []unix.PollFd{{Fd: int32(s.ctl), Events: unix.POLLIN}}
	for {
		left := time.Until(deadline)
		if left <= 0 {
			return errors.New("no ready frame in time")
		}
		if _, err := unix.Poll(fds, int(left.Milliseconds())+1); err != nil && err != unix.EINTR {
			return err
		}
		f, _, err := s.receive(buf)
		switch {
		case err == errAgain:
			continue
		case err != nil:
			return err
		case f.T == "fail":
			return fmt.Errorf("%s: %w", f.Stage, unix.Errno(f.Errno))
		case f.T != "ready":
			return errForged
		}
		return nil
	}
}

// A cell is one piece of code and what bounds it.
type cell struct {
	code   string
	seed   uint32
	echo   bool
	save   bool // fork a checkpoint first
	keep   bool // the session stays for a next cell; else the end of a program follows: threads are awaited, exit functions run
	limits Limits
}

// run sends the cell and watches {control, stdout, stderr, pidfd} from this goroutine until it ended or a limit did. Every wait
// has a deadline. The error is ours: the fork server died, or ctx ended; the session is then killed.
func (s *session) run(ctx context.Context, c cell) (Result, error) {
	r := Result{Session: Gone}
	l := c.limits
	out, errs := capture{limit: int(l.Output)}, capture{limit: int(l.Output)}
	buf := make([]byte, 64<<10)
	id := s.id<<16 | int64(s.cells)
	s.cells++
	s.used = time.Now()

	if f, _, err := s.receive(buf); err != errAgain { // something spoke between two cells
		_ = f
		if s.died(0) {
			if !s.reported() {
				return r, fault("run", errLost)
			}
			s.describeDeath(&r, false, 0)
			return r, nil
		}
		s.kill()
		r.Status = ProtocolViolation
		return r, nil
	}
	cpu0 := s.idleCPU
	if s.stopped {
		s.signal(unix.SIGCONT)
		s.stopped = false
	} else {
		cpu0, _ = s.cpu()
	}
	watched := s.pid // whose clock is read: the process that runs this cell
	var runner int   // pidfd of that process when it is a checkpoint's child
	runner = -1
	defer func() {
		if runner >= 0 {
			unix.Close(runner)
		}
	}()

	msg := fmt.Appendf(nil, "%d %d %d %d %d\n%s", id, c.seed, b2i(c.echo), b2i(c.save), b2i(!c.keep), c.code)
	started := time.Now()
	for {
		err := unix.Sendto(s.ctl, msg, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			dead := s.died(100 * time.Millisecond)
			if dead && !s.reported() {
				return r, fault("send", errLost)
			}
			s.kill()
			if dead { // a thread or a timer of an earlier cell ended the process
				s.drain(&out, &errs, buf)
				s.describeDeath(&r, false, 0)
				r.Stdout, r.StdoutBytes, _ = out.split(0)
				r.Stderr, r.StderrBytes, _ = errs.split(0)
				return r, nil
			}
			if s.cells > 1 { // it filled or closed its end: its own doing
				r.Status = ProtocolViolation
				return r, nil
			}
			return r, fault("send", err)
		}
		break
	}

	var (
		limitHit  Status // set when SIGINT was sent
		graceEnd  time.Time
		wallEnd   = started.Add(l.Wall)
		nextLook  = started.Add(5 * time.Millisecond)
		lastCPU   time.Duration
		reads     int
		peakRSS   int64
		ctlOpen   = true
		hangup    time.Time
		interrupt = func() {
			if runner >= 0 {
				unix.PidfdSendSignal(runner, unix.SIGINT, nil, 0)
			} else {
				s.signal(unix.SIGINT)
			}
		}
		fin = func(st Status) (Result, error) {
			r.Status = st
			r.Wall = time.Since(started)
			if n, ok := s.cpuSince(cpu0, watched); ok {
				lastCPU = n
			}
			r.CPU = lastCPU
			return r, nil
		}
		text = func(trace int) {
			r.Stdout, r.StdoutBytes, _ = out.split(0)
			r.Stderr, r.StderrBytes, r.Traceback = errs.split(trace)
			r.Stderr, r.Traceback = stripHarness(r.Stderr), stripHarness(r.Traceback)
		}
		finish = func(st Status) (Result, error) {
			fin(st)
			s.kill()
			s.died(300 * time.Millisecond)
			s.drain(&out, &errs, buf)
			text(0)
			s.memory(&r, peakRSS)
			if s.group != nil && st != Memory && st != OutputFlood && s.group.oomKills() > s.group.oomStart {
				r.Status = Memory
			}
			return r, nil
		}
	)

	for {
		now := time.Now()
		wait := wallEnd
		if limitHit != "" {
			wait = graceEnd
		}
		if nextLook.Before(wait) {
			wait = nextLook
		}
		if !hangup.IsZero() && hangup.Before(wait) {
			wait = hangup
		}
		fds := [4]unix.PollFd{
			{Fd: int32(s.ctl), Events: unix.POLLIN}, {Fd: int32(s.out), Events: unix.POLLIN},
			{Fd: int32(s.err), Events: unix.POLLIN}, {Fd: int32(s.pidfd), Events: unix.POLLIN}}
		if !ctlOpen {
			fds[0].Fd = -1
		}
		timeout := max(0, wait.Sub(now))
		ts := unix.NsecToTimespec(int64(timeout))
		if _, err := unix.Ppoll(fds[:], &ts, nil); err != nil && err != unix.EINTR {
			s.kill()
			return r, fault("poll", err)
		}

		small := true
		for i, c := range []*capture{&out, &errs} {
			fd := &s.out
			if i == 1 {
				fd = &s.err
			}
			if fds[1+i].Revents != 0 {
				n := s.read(fd, c, buf)
				reads++
				small = small && n < 2048
			}
		}
		if out.n+errs.n > int64(l.OutputKill) {
			return finish(OutputFlood)
		}
		if fds[0].Revents != 0 {
			f, sender, err := s.receive(buf)
			switch {
			case err == errAgain:
			case err == errHangup: // exiting, or the code closed fd 3: the pidfd will tell
				ctlOpen = false
				hangup = time.Now().Add(50 * time.Millisecond)
			case err != nil:
				return finish(ProtocolViolation)
			case f.T == "runs" && c.save && f.ID == id && runner < 0:
				switch runner, err = s.member(sender); {
				case err == unix.ESRCH: // it has died already; its parent will say so
				case err != nil:
					return finish(ProtocolViolation)
				default:
					watched = sender
				}
			case f.T == "rolled" && c.save && f.ID == id:
				s.drain(&out, &errs, buf)
				text(0)
				s.memory(&r, peakRSS)
				st := limitHit
				if st == "" {
					st = waitOutcome(&r, unix.WaitStatus(f.St))
				}
				if s.group != nil && s.group.oomKills() > s.group.oomStart {
					st, s.group.oomStart = Memory, s.group.oomKills()
				}
				fin(st)
				r.Session, r.RolledBack = Alive, true
				idle, _ := s.cpu()
				s.rest(c.keep, idle)
				return r, nil
			case f.T == "done" && f.ID == id:
				s.drain(&out, &errs, buf)
				text(f.TB)
				st := OK
				switch {
				case limitHit != "":
					st = limitHit
				case f.Exit >= 0:
					st, r.Code = Exited, f.Exit
					r.Stderr, r.StderrBytes = append(r.Stderr, r.Traceback...), r.StderrBytes+int64(len(r.Traceback))
				case !f.OK:
					st, r.Exc = Exception, f.Exc
				}
				if s.group != nil && s.group.oomKills() > s.group.oomStart { // a child of the session was killed
					st, s.group.oomStart = Memory, s.group.oomKills()
				}
				fin(st)
				if out.n+errs.n > int64(l.OutputKill) {
					r.Status = OutputFlood
				}
				if _, _, err := s.receive(buf); err != errAgain && err != errHangup {
					s.kill()
					r.Status = ProtocolViolation
					return r, nil
				}
				s.memory(&r, peakRSS)
				if !s.died(0) {
					r.Session = Alive
					idle := cpu0 + lastCPU
					if watched != s.pid {
						idle, _ = s.cpu()
					}
					s.rest(c.keep, idle)
				}
				return r, nil
			default: // wrong id or type, or a frame out of turn
				return finish(ProtocolViolation)
			}
			continue
		}
		if fds[3].Revents != 0 {
			s.drain(&out, &errs, buf)
			fin("")
			text(0)
			if f, _, err := s.receive(buf); err == nil && (f.T != "done" || f.ID != id) || err == errForged {
				r.Status = ProtocolViolation
				return r, nil
			}
			if !s.reported() {
				return r, fault("run", errLost)
			}
			s.memory(&r, peakRSS)
			s.describeDeath(&r, limitHit != "", l.CPU)
			if limitHit != "" && r.Status != Memory {
				r.Status = limitHit
			}
			return r, nil
		}
		if !hangup.IsZero() && !time.Now().Before(hangup) {
			return finish(ProtocolViolation)
		}
		now = time.Now()
		if ctx.Err() != nil {
			s.kill()
			return r, ctx.Err()
		}
		if limitHit == "" && !now.Before(wallEnd) {
			limitHit, graceEnd = TimeoutWall, now.Add(l.Grace)
			interrupt()
		}
		if limitHit != "" && !now.Before(graceEnd) {
			if c.save && runner >= 0 { // end only the runner: its parent is the state to return to
				unix.PidfdSendSignal(runner, unix.SIGKILL, nil, 0)
				graceEnd = now.Add(l.Grace)
				c.save = c.save && s.awaitRoll(graceEnd)
				if c.save {
					continue
				}
			}
			return finish(limitHit)
		}
		if !now.Before(nextLook) {
			if n, ok := s.cpuSince(cpu0, watched); ok {
				lastCPU = n
				if limitHit == "" && n >= l.CPU {
					limitHit, graceEnd = TimeoutCPU, now.Add(l.Grace)
					interrupt()
				}
			}
			step := 100 * time.Millisecond
			if s.group == nil {
				if m := s.rss(); m > peakRSS {
					peakRSS = m
				}
				if peakRSS > int64(l.Memory) {
					return finish(Memory)
				}
				// RLIMIT_NPROC does not count for the initial user namespace's root, which a session of tier C2 may be.
				if s.threads() > 2*l.Processes {
					r.Signal = int(unix.SIGKILL)
					return finish(Crashed)
				}
				step = 25 * time.Millisecond // memory is bounded by looking
			}
			// CPU time can grow by at most one second per second and core.
			if left := (l.CPU - lastCPU) / time.Duration(cores); limitHit == "" && left > 0 && left < step {
				step = max(left, 2*time.Millisecond)
			}
			nextLook = now.Add(step)
		}
		if reads > 64 && small { // one byte at a time: do not let it drive this process
			time.Sleep(time.Millisecond)
		}
	}
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// cpuSince is the CPU time of this cell. With checkpoints and no counting group the runner is a new process.
func (s *session) cpuSince(cpu0 time.Duration, watched int) (time.Duration, bool) {
	if watched != s.pid {
		if s.group == nil || s.group.acct == "" {
			n, ok := processCPU(watched)
			return time.Duration(n), ok
		}
	}
	n, ok := s.cpu()
	return n - cpu0, ok
}

// member opens a pidfd for a process that the kernel says sent a frame, if it belongs to this session's group. ESRCH: it is gone.
func (s *session) member(pid int) (int, error) {
	if pid <= 0 || s.group == nil {
		return -1, errForged
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return -1, unix.ESRCH
	}
	b, _ := os.ReadFile(s.group.memory + "/cgroup.procs")
	for _, f := range bytes.Fields(b) {
		if string(f) == strconv.Itoa(pid) {
			return fd, nil
		}
	}
	defer unix.Close(fd)
	if n, _ := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0); n > 0 {
		return -1, unix.ESRCH
	}
	return -1, errForged
}

// awaitRoll waits until the saved state has something to say.
func (s *session) awaitRoll(deadline time.Time) bool {
	fds := []unix.PollFd{{Fd: int32(s.ctl), Events: unix.POLLIN}}
	n, _ := unix.Poll(fds, int(time.Until(deadline).Milliseconds()))
	return n > 0
}

// rest leaves the session stopped until its next cell, so that threads and timers of an ended cell use nothing. idle is its clock of
// CPU time; what a thread still used until now counts for the next cell.
func (s *session) rest(keep bool, idle time.Duration) {
	if !keep {
		s.kill()
		return
	}
	s.signal(unix.SIGSTOP)
	s.stopped = true
	s.used = time.Now()
	s.idleCPU = idle
}

// read takes one piece from a pipe and closes our end when the other side is gone.
func (s *session) read(fd *int, c *capture, buf []byte) int {
	if *fd < 0 {
		return 0
	}
	n, err := unix.Read(*fd, buf)
	switch {
	case n > 0:
		c.add(buf[:n])
	case err == unix.EAGAIN || err == unix.EINTR:
	default:
		unix.Close(*fd)
		*fd = -1
	}
	return max(n, 0)
}

// drain reads both pipes until nothing is left. Writes precede the frame that ended the cell, so this is complete; it is bounded
// for sessions whose threads go on writing.
func (s *session) drain(out, errs *capture, buf []byte) {
	for i := 0; i < 64; i++ {
		n := s.read(&s.out, out, buf)
		n += s.read(&s.err, errs, buf)
		if n == 0 {
			return
		}
	}
}

// died says whether the process has exited, waiting for at most d.
func (s *session) died(d time.Duration) bool {
	deadline := time.Now().Add(d)
	fds := []unix.PollFd{{Fd: int32(s.pidfd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(fds, int(max(0, time.Until(deadline)).Milliseconds()))
		if n > 0 {
			break
		}
		if err != unix.EINTR {
			return false
		}
	}
	if d > 0 {
		select {
		case <-s.exited:
		case <-time.After(max(time.Millisecond, time.Until(deadline))):
		}
	}
	return true
}

// reported says whether the fork server has told how a process that died by itself ended, and gives it a second to do so. A death
// without a report is a fork server's own: nothing is known of the cell, least of all that it exited with 0.
func (s *session) reported() bool {
	late := time.NewTimer(time.Second)
	defer late.Stop()
	select {
	case <-s.exited:
	case <-s.z.dead:
	case <-late.C:
	}
	select {
	case <-s.exited:
		return !s.lost
	default:
		return false
	}
}

// memory notes the peak.
func (s *session) memory(r *Result, rss int64) {
	if s.group != nil {
		r.PeakMemory = s.group.peak()
	} else {
		r.PeakMemory = max(rss, s.rss())
	}
}

func waitOutcome(r *Result, ws unix.WaitStatus) Status {
	if ws.Signaled() {
		r.Signal = int(ws.Signal())
		return Crashed
	}
	r.Code = ws.ExitStatus()
	return Exited
}

// describeDeath turns what was reported about a process that ended by itself into a status.
func (s *session) describeDeath(r *Result, limited bool, cpu time.Duration) {
	r.Session = Gone
	if s.group != nil && s.group.oomKills() > s.group.oomStart {
		r.Status = Memory
		return
	}
	r.Status = waitOutcome(r, unix.WaitStatus(s.status))
	if r.Status == Crashed && r.Signal == int(unix.SIGKILL) && !limited && cpu > 0 && r.CPU >= cpu {
		r.Status = TimeoutCPU // RLIMIT_CPU was faster than our clock
	}
	if r.Status == Crashed && r.Signal == int(unix.SIGXCPU) {
		r.Status = TimeoutCPU
	}
}

// drop says that this side needs the session no more.
func (s *session) drop() {
	if s.refs.Add(-1) == 0 {
		s.z.release(s)
	}
}

// closeFDs gives back every descriptor but the pidfd: that is needed until the process is known to be gone.
func (s *session) closeFDs() {
	for _, fd := range []*int{&s.ctl, &s.out, &s.err} {
		if *fd >= 0 {
			unix.Close(*fd)
			*fd = -1
		}
	}
}
