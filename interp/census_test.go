//go:build linux

package interp

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// barePython is the system's interpreter without numeric libraries if there is one: the attacks need none, and its forks are small.
func barePython(t testing.TB) string {
	for _, p := range []string{"/usr/bin/python3", "/usr/local/bin/python3"} {
		if _, err := os.Stat(p); err == nil {
			return p
		}
	}
	if _, err := exec.LookPath("python3"); err != nil {
		t.Skip("no python3 on this host")
	}
	return "python3"
}

// A tally is what must be the same before a pool is made and after it is closed.
type tally struct {
	fds, mounts, groups, canaries int
	processes                     string
}

func census(t testing.TB) tally {
	var c tally
	for _, network := range [][2]string{{"tcp", "127.0.0.1:0"}, {"unix", "@retool-census"}} { // the runtime's own poller, made at first use
		if l, err := net.Listen(network[0], network[1]); err == nil {
			l.Close()
		}
	}
	fds, _ := os.ReadDir("/proc/self/fd")
	c.fds = len(fds)
	b, _ := os.ReadFile("/proc/self/mountinfo")
	c.mounts = strings.Count(string(b), "\n")
	for _, d := range cgroupDirs() {
		m, _ := filepath.Glob(filepath.Join(d, cgroupPrefix+fmt.Sprint(os.Getpid())+"-*"))
		c.groups += len(m)
	}
	m, _ := filepath.Glob(filepath.Join(os.TempDir(), "retool-canary-*"))
	c.canaries = len(m)
	c.processes = strings.Join(descendants(os.Getpid()), " ")
	return c
}

// children lists the processes of the host by their parents.
func children() map[string][]string {
	children := map[string][]string{}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, s := range stats {
		b, err := os.ReadFile(s)
		if err != nil {
			continue
		}
		f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
		if len(f) > 1 {
			children[f[1]] = append(children[f[1]], filepath.Base(filepath.Dir(s)))
		}
	}
	return children
}

// descendants lists the processes below pid.
func descendants(pid int) []string {
	children := children()
	var out []string
	todo := []string{fmt.Sprint(pid)}
	for len(todo) > 0 {
		p := todo[0]
		todo = append(todo[1:], children[p]...)
		out = append(out, children[p]...)
	}
	return out
}

// same fails unless the host is as it was; the kernel is given a moment to finish what Close began.
func (before tally) same(t testing.TB) {
	t.Helper()
	var after tally
	for i := 0; i < 100; i++ {
		after = census(t)
		after.fds, after.canaries = min(after.fds, before.fds), min(after.canaries, before.canaries)
		if after == before {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	after = census(t)
	if after.fds > before.fds || after.mounts != before.mounts || after.groups != before.groups || after.processes != before.processes {
		var open []string
		links, _ := filepath.Glob("/proc/self/fd/*")
		for _, l := range links {
			to, _ := os.Readlink(l)
			open = append(open, filepath.Base(l)+"="+to)
		}
		t.Errorf("left behind: before %+v, after %+v, open %v", before, after, open)
	}
}
