package main

import (
	"bytes"
	"flag"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"retool/trainer"
)

var ranksSoak = flag.Duration("soak.ranks", 0, "how long TestSoakOfRanks kills ranks; 0: not at all")

// Four ranks train while one after another is killed or stopped. The run ends in the bits of one that nobody disturbed, and nothing of all
// its ranks is left: no process, no interpreter, no listener, no file.
func TestSoakOfRanks(t *testing.T) {
	if *ranksSoak == 0 {
		t.Skip("-soak.ranks 5m")
	}
	dir := t.TempDir()
	one, many := filepath.Join(dir, "one"), filepath.Join(dir, "many")
	undisturbed := func(steps int, run string) time.Duration {
		c, out, errs := launched(t, 4, nil, run, "rl.steps="+strconv.Itoa(steps), "checkpoint.every=1")
		begun := time.Now()
		require.NoError(t, c.Run(), "%s%s", out, errs)
		return time.Since(begun)
	}
	few := undisturbed(10, filepath.Join(dir, "10"))
	step := (undisturbed(60, filepath.Join(dir, "60")) - few) / 50
	steps := 10 + int(*ranksSoak/max(step, time.Millisecond)) // as long as the soak is to last, starts not counted
	undisturbed(steps, one)
	set := []string{"rl.steps=" + strconv.Itoa(steps), "checkpoint.every=1"}

	before := listening(t)
	begun := time.Now()
	c, out, errs := launched(t, 4, []string{"--restarts", "100000"}, many, set...)
	require.NoError(t, c.Start())
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	kills, stops := 0, 0
	for done := false; !done; {
		select {
		case err := <-ended:
			require.NoError(t, err, "%s%s", out, errs)
			done = true
		case <-time.After(20*time.Second + rand.N(20*time.Second)):
			// Launch starts again only what got further than where it began.
			for at := trainer.Latest(many); trainer.Latest(many) == at && len(ranksUnder(c.Process.Pid)) > 0; time.Sleep(10 * time.Millisecond) {
			}
			victims := ranksUnder(c.Process.Pid)
			if len(victims) == 0 {
				continue
			}
			sig := syscall.SIGKILL
			if kills%4 == 3 {
				sig = syscall.SIGSTOP
				stops++
			}
			kills++
			_ = syscall.Kill(victims[rand.N(len(victims))], sig)
		}
	}
	t.Logf("%d steps, %d ranks killed or stopped (%d), %v", steps, kills, stops, time.Since(begun).Round(time.Second))
	require.Positive(t, kills)
	require.Equal(t, checksum(t, one), checksum(t, many))
	for _, left := range processesNaming(many) {
		t.Errorf("left running: %s", left)
	}
	require.Subset(t, before, listening(t), "a listener is left")
	found, err := filepath.Glob(filepath.Join(many, ".rank0*"))
	require.NoError(t, err)
	require.Empty(t, found)
	found, err = filepath.Glob(filepath.Join(many, "checkpoints", ".*"))
	require.NoError(t, err)
	require.Empty(t, found)
}

// ranksUnder are the children of a launcher.
func ranksUnder(launcher int) (pids []int) {
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil && parentOf(e.Name()) == launcher {
			pids = append(pids, pid)
		}
	}
	return pids
}

// processesNaming are the processes with a text in their command line or environment: ranks, and what they started.
func processesNaming(text string) (found []string) {
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err != nil || pid == os.Getpid() {
			continue
		}
		line, _ := os.ReadFile("/proc/" + e.Name() + "/cmdline")
		env, _ := os.ReadFile("/proc/" + e.Name() + "/environ")
		if bytes.Contains(line, []byte(text)) || bytes.Contains(env, []byte(text)) {
			found = append(found, e.Name()+" "+strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	return found
}

// listening are the ports on which processes of this test binary listen.
func listening(t *testing.T) (ports []string) {
	sockets := map[string]string{} // inode to address
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		text, err := os.ReadFile(table)
		require.NoError(t, err)
		for _, line := range strings.Split(string(text), "\n") {
			if f := strings.Fields(line); len(f) > 9 && f[3] == "0A" {
				sockets[f[9]] = f[1]
			}
		}
	}
	self, _ := os.Readlink("/proc/self/exe")
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		if exe, _ := os.Readlink("/proc/" + e.Name() + "/exe"); exe != self {
			continue
		}
		fds, _ := os.ReadDir("/proc/" + e.Name() + "/fd")
		for _, fd := range fds {
			target, _ := os.Readlink("/proc/" + e.Name() + "/fd/" + fd.Name())
			if inode, ok := strings.CutPrefix(target, "socket:["); ok {
				if at, ok := sockets[strings.TrimSuffix(inode, "]")]; ok {
					ports = append(ports, at)
				}
			}
		}
	}
	return ports
}
