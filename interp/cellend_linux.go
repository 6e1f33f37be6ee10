package interp

import (
	"time"

	"golang.org/x/sys/unix"
)

// The ways an execution ends. Each fills result, or err, and returns true.

// end closes the result without a look at the clocks.
func (e *execution) end(st Status) bool {
	e.result.Status = st
	return true
}

// fail ends the execution for a reason of ours.
func (e *execution) fail(stage string, err error) bool {
	e.err = fault(stage, err)
	return true
}

// abort ends the session and says why. A kill for memory that came first is the reason.
func (e *execution) abort(st Status) bool {
	e.measure()
	e.s.kill()
	e.s.died(300 * time.Millisecond)
	e.drain()
	e.text(0)
	e.memory()
	if st != Memory && st != OutputFlood && e.s.oomKilled() {
		st = Memory
	}
	return e.end(st)
}

// done is the end that the session reports: the cell has run.
func (e *execution) done(f frame) bool {
	e.drain()
	e.text(f.TB)
	r, st := &e.result, OK
	switch {
	case e.limitHit != "":
		st = e.limitHit
	case f.Exit >= 0:
		st, r.Code = Exited, f.Exit
		r.Stderr, r.StderrBytes = append(r.Stderr, r.Traceback...), r.StderrBytes+int64(len(r.Traceback))
	case !f.OK:
		st, r.Exc = Exception, f.Exc
	}
	if e.s.oomCounted() { // a child of the session was killed
		st = Memory
	}
	e.measure()
	if e.flooded() {
		st = OutputFlood
	}
	if _, _, err := e.s.receive(e.buf); err != errAgain && err != errHangup {
		e.s.kill()
		return e.end(ProtocolViolation)
	}
	e.memory()
	if !e.s.died(0) {
		idle := e.cpuBefore + e.cpuUsed
		if e.watched != e.s.pid {
			idle, _ = e.s.cpu()
		}
		e.alive(idle)
	}
	return e.end(st)
}

// rolled is the end of a runner as the saved state reports it: the session is as it was before the cell.
func (e *execution) rolled(ws unix.WaitStatus) bool {
	e.drain()
	e.text(0)
	e.memory()
	st := e.limitHit
	if st == "" {
		st = waitOutcome(&e.result, ws)
	}
	if e.s.oomCounted() {
		st = Memory
	}
	e.measure()
	e.result.RolledBack = true
	idle, _ := e.s.cpu()
	e.alive(idle)
	return e.end(st)
}

// alive leaves the session for its next cell.
func (e *execution) alive(idle time.Duration) {
	e.result.Session = Alive
	e.s.rest(e.keep, idle)
}

// death is the end of the process itself, which may have spoken last.
func (e *execution) death() bool {
	e.drain()
	e.measure()
	e.text(0)
	if f, _, err := e.s.receive(e.buf); err == nil && (f.T != "done" || f.ID != e.id) || err == errForged {
		return e.end(ProtocolViolation)
	}
	if !e.s.reported() {
		return e.fail("run", errLost)
	}
	e.memory()
	e.s.describeDeath(&e.result, e.limitHit != "", e.limits.CPU)
	if e.limitHit != "" && e.result.Status != Memory {
		e.result.Status = e.limitHit
	}
	return true
}

// measure reads the clocks for the last time.
func (e *execution) measure() {
	e.result.Wall = time.Since(e.started)
	if n, ok := e.cpu(); ok {
		e.cpuUsed = n
	}
	e.result.CPU = e.cpuUsed
}

// text puts what was captured into the result; the last trace bytes of stderr are the traceback.
func (e *execution) text(trace int) {
	r := &e.result
	r.Stdout, r.StdoutBytes, _ = e.out.split(0)
	r.Stderr, r.StderrBytes, r.Traceback = e.errs.split(trace)
	r.Stderr, r.Traceback = stripHarness(r.Stderr), stripHarness(r.Traceback)
}

// memory notes the peak.
func (e *execution) memory() {
	if e.s.group != nil {
		e.result.PeakMemory = e.s.group.peak()
	} else {
		e.result.PeakMemory = max(e.peakRSS, e.s.rss())
	}
}

// drain reads both pipes until nothing is left. Writes precede the frame that ended the cell, so this is complete; it is bounded
// for sessions whose threads go on writing.
func (e *execution) drain() {
	for range 64 {
		n := e.s.read(&e.s.out, &e.out, e.buf)
		n += e.s.read(&e.s.err, &e.errs, e.buf)
		if n == 0 {
			return
		}
	}
}

// close gives back the runner's descriptor.
func (e *execution) close() {
	if e.runner >= 0 {
		unix.Close(e.runner)
	}
}

func waitOutcome(r *Result, ws unix.WaitStatus) Status {
	if ws.Signaled() {
		r.Signal = int(ws.Signal())
		return Crashed
	}
	if r.Code = ws.ExitStatus(); r.Code == exitAbort {
		r.Code, r.Signal = 0, int(unix.SIGABRT)
		return Crashed
	}
	return Exited
}

// exitAbort is with what os.abort ends the first process of a namespace, which no SIGABRT of its own reaches (shims.py).
const exitAbort = 128 + int(unix.SIGABRT)

// describeDeath turns what was reported about a process that ended by itself into a status.
func (s *session) describeDeath(r *Result, limited bool, cpu time.Duration) {
	r.Session = Gone
	if s.oomKilled() {
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
