package interp

import (
	"bytes"
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

// oomKilled says whether the kernel has killed in the session's group for memory since it was last counted.
func (s *session) oomKilled() bool { return s.group != nil && s.group.oomKills() > s.group.oomStart }

// oomCounted is oomKilled, and counts.
func (s *session) oomCounted() bool {
	if !s.oomKilled() {
		return false
	}
	s.group.oomStart = s.group.oomKills()
	return true
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
