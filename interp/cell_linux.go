package interp

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// A cell is one piece of code and what bounds it.
type cell struct {
	code   string
	seed   uint32
	echo   bool
	save   bool // fork a checkpoint first
	keep   bool // the session stays for a next cell; else the end of a program follows: threads are awaited, exit functions run
	limits Limits
}

// An execution is a cell that runs: the state between the events of its session. Each event has a method that says whether the
// cell has ended; result and err then hold how.
type execution struct {
	cell
	s   *session
	ctx context.Context
	id  int64

	out, errs capture
	buf       []byte
	reads     int // pieces taken from the pipes

	started   time.Time
	wallEnd   time.Time
	limitHit  Status    // set when SIGINT was sent
	graceEnd  time.Time // of limitHit
	nextLook  time.Time // at CPU time and memory
	hangup    time.Time // zero while the control socket is open; else when its close is held against the code
	cpuBefore time.Duration
	cpuUsed   time.Duration
	peakRSS   int64

	watched int // whose clock is read: the process that runs this cell
	runner  int // pidfd of that process when it is a checkpoint's child, else -1

	result Result
	err    error // ours: the fork server died, or ctx ended
}

// run sends the cell and watches {control, stdout, stderr, pidfd} from this goroutine until it ended or a limit did. Every wait
// has a deadline. The error is ours: the fork server died, or ctx ended; the session is then killed.
func (s *session) run(ctx context.Context, c cell) (Result, error) {
	stream := capture{limit: int(c.limits.Output)}
	e := &execution{cell: c, s: s, ctx: ctx, id: s.id<<16 | int64(s.cells), out: stream, errs: stream, buf: make([]byte, 64<<10),
		watched: s.pid, runner: -1, result: Result{Session: Gone}}
	s.cells++
	s.used = time.Now()
	defer e.close()
	over := e.idle() || e.send()
	for !over {
		over = e.step()
	}
	return e.result, e.err
}

// idle holds what a session did between two cells against it, and wakes it.
func (e *execution) idle() (over bool) {
	s := e.s
	if _, _, err := s.receive(e.buf); err != errAgain {
		if !s.died(0) {
			s.kill()
			return e.end(ProtocolViolation)
		}
		if !s.reported() {
			return e.fail("run", errLost)
		}
		s.describeDeath(&e.result, false, 0)
		return true
	}
	e.cpuBefore = s.idleCPU
	if s.stopped {
		s.signal(unix.SIGCONT)
		s.stopped = false
	} else {
		e.cpuBefore, _ = s.cpu()
	}
	return false
}

// send hands the code over and starts the clocks.
func (e *execution) send() (over bool) {
	s := e.s
	msg := fmt.Appendf(nil, "%d %d %d %d %d\n%s", e.id, e.seed, b2i(e.echo), b2i(e.save), b2i(!e.keep), e.code)
	e.started = time.Now()
	e.wallEnd = e.started.Add(e.limits.Wall)
	e.nextLook = e.started.Add(5 * time.Millisecond)
	err := error(unix.EINTR)
	for err == unix.EINTR {
		err = unix.Sendto(s.ctl, msg, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, nil)
	}
	if err == nil {
		return false
	}
	dead := s.died(100 * time.Millisecond)
	if dead && !s.reported() {
		return e.fail("send", errLost)
	}
	s.kill()
	switch {
	case dead: // a thread or a timer of an earlier cell ended the process
		e.drain()
		s.describeDeath(&e.result, false, 0)
		e.text(0)
		return true
	case s.cells > 1: // it filled or closed its end: its own doing
		return e.end(ProtocolViolation)
	}
	return e.fail("send", err)
}

// step waits for the next event and acts on it.
func (e *execution) step() (over bool) {
	s := e.s
	fds := [4]unix.PollFd{
		{Fd: int32(s.ctl), Events: unix.POLLIN}, {Fd: int32(s.out), Events: unix.POLLIN},
		{Fd: int32(s.err), Events: unix.POLLIN}, {Fd: int32(s.pidfd), Events: unix.POLLIN}}
	if !e.hangup.IsZero() {
		fds[0].Fd = -1
	}
	ts := unix.NsecToTimespec(int64(max(0, time.Until(e.wake()))))
	if _, err := unix.Ppoll(fds[:], &ts, nil); err != nil && err != unix.EINTR {
		s.kill()
		return e.fail("poll", err)
	}
	small := e.output(fds[1].Revents != 0, fds[2].Revents != 0)
	switch {
	case e.flooded():
		return e.abort(OutputFlood)
	case fds[0].Revents != 0:
		return e.frame()
	case fds[3].Revents != 0:
		return e.death()
	case e.deadline():
		return true
	}
	if e.reads > 64 && small { // one byte at a time: do not let it drive this process
		time.Sleep(time.Millisecond)
	}
	return false
}

// wake is when step has to look at the clock, whatever else happens.
func (e *execution) wake() time.Time {
	t := e.wallEnd
	if e.limitHit != "" {
		t = e.graceEnd
	}
	if e.nextLook.Before(t) {
		t = e.nextLook
	}
	if !e.hangup.IsZero() && e.hangup.Before(t) {
		t = e.hangup
	}
	return t
}

// output takes one piece from each pipe that has some, and says whether they were small.
func (e *execution) output(out, errs bool) (small bool) {
	n := 0
	if out {
		n = e.s.read(&e.s.out, &e.out, e.buf)
		e.reads++
	}
	if errs {
		n = max(n, e.s.read(&e.s.err, &e.errs, e.buf))
		e.reads++
	}
	return n < 2048
}

func (e *execution) flooded() bool { return e.out.n+e.errs.n > int64(e.limits.OutputKill) }

// frame acts on what the session says. Whatever is out of turn is a violation.
func (e *execution) frame() (over bool) {
	f, sender, err := e.s.receive(e.buf)
	mine := f.ID == e.id
	switch {
	case err == errAgain:
		return false
	case err == errHangup: // exiting, or the code closed fd 3: the pidfd will tell
		e.hangup = time.Now().Add(500 * time.Millisecond) // on a busy machine an exit takes long
		return false
	case err != nil:
		return e.abort(ProtocolViolation)
	case f.T == "runs" && e.save && mine && e.runner < 0:
		return e.runs(sender)
	case f.T == "rolled" && e.save && mine:
		return e.rolled(unix.WaitStatus(f.St))
	case f.T == "done" && mine:
		return e.done(f)
	}
	return e.abort(ProtocolViolation)
}

// runs notes which process runs the cell on a checkpoint's behalf.
func (e *execution) runs(sender int) (over bool) {
	fd, err := e.s.member(sender)
	switch {
	case err == unix.ESRCH: // it has died already; its parent will say so
		return false
	case err != nil:
		return e.abort(ProtocolViolation)
	}
	e.runner, e.watched = fd, sender
	return false
}

// deadline acts on the clocks, and on the end of ctx.
func (e *execution) deadline() (over bool) {
	now := time.Now()
	if !e.hangup.IsZero() && !now.Before(e.hangup) {
		return e.abort(ProtocolViolation)
	}
	if err := e.ctx.Err(); err != nil {
		e.s.kill()
		e.err = err
		return true
	}
	if e.limitHit == "" && !now.Before(e.wallEnd) {
		e.interrupt(TimeoutWall, now)
	}
	if e.limitHit != "" && !now.Before(e.graceEnd) {
		return !e.endRunner(now) && e.abort(e.limitHit)
	}
	return !now.Before(e.nextLook) && e.look(now)
}

// interrupt raises KeyboardInterrupt in the code and gives it a moment to end by itself.
func (e *execution) interrupt(why Status, now time.Time) {
	e.limitHit, e.graceEnd = why, now.Add(e.limits.Grace)
	if e.runner >= 0 {
		unix.PidfdSendSignal(e.runner, unix.SIGINT, nil, 0)
	} else {
		e.s.signal(unix.SIGINT)
	}
}

// endRunner ends a checkpoint's child alone: its parent is the state to return to. It says whether that parent has answered.
func (e *execution) endRunner(now time.Time) bool {
	if !e.save || e.runner < 0 {
		return false
	}
	unix.PidfdSendSignal(e.runner, unix.SIGKILL, nil, 0)
	e.graceEnd = now.Add(e.limits.Grace)
	fds := []unix.PollFd{{Fd: int32(e.s.ctl), Events: unix.POLLIN}}
	n, _ := unix.Poll(fds, int(time.Until(e.graceEnd).Milliseconds()))
	e.save = n > 0
	return e.save
}

// look reads the CPU clock and, where no group bounds them, memory and threads.
func (e *execution) look(now time.Time) (over bool) {
	if n, ok := e.cpu(); ok {
		e.cpuUsed = n
		if e.limitHit == "" && n >= e.limits.CPU {
			e.interrupt(TimeoutCPU, now)
		}
	}
	step := 100 * time.Millisecond
	if e.s.group == nil {
		e.peakRSS = max(e.peakRSS, e.s.rss())
		if e.peakRSS > int64(e.limits.Memory) {
			return e.abort(Memory)
		}
		// RLIMIT_NPROC does not count for the initial user namespace's root, which a session of tier C2 may be.
		if e.s.threads() > 2*e.limits.Processes {
			e.result.Signal = int(unix.SIGKILL)
			return e.abort(Crashed)
		}
		step = 25 * time.Millisecond // memory is bounded by looking
	}
	// CPU time can grow by at most one second per second and core.
	if left := (e.limits.CPU - e.cpuUsed) / time.Duration(cores); e.limitHit == "" && left > 0 && left < step {
		step = max(left, 2*time.Millisecond)
	}
	e.nextLook = now.Add(step)
	return false
}

// cpu is the CPU time of this cell. With checkpoints and no counting group the runner is a new process.
func (e *execution) cpu() (time.Duration, bool) {
	if s := e.s; e.watched != s.pid && (s.group == nil || s.group.acct == "") {
		n, ok := processCPU(e.watched)
		return time.Duration(n), ok
	}
	n, ok := e.s.cpu()
	return n - e.cpuBefore, ok
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}
