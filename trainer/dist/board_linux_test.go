package dist

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// mappings counts the boards that this process has mapped, and the descriptors of them that are open.
func mappings(t *testing.T) (mapped, open int) {
	text, err := os.ReadFile("/proc/self/maps")
	require.NoError(t, err)
	links, err := filepath.Glob("/proc/self/fd/*")
	require.NoError(t, err)
	for _, l := range links {
		if to, err := os.Readlink(l); err == nil && strings.Contains(to, "retool ranks") {
			open++
		}
	}
	return strings.Count(string(text), "memfd:retool ranks"), open
}

// Ranks of a host share a board that has no name and no descriptor, and is gone when they are. One that will not have it sends all of them
// to TCP, and is named in a line.
func TestBoardOfAHost(t *testing.T) {
	comms, errs := joinAll(t, 3, nil)
	require.NoError(t, errors.Join(errs...))
	mapped, open := mappings(t)
	require.Equal(t, []int{3, 0}, []int{mapped, open})
	eachRank(comms, func(c Comm) {
		if by := Transport(c); by != "shared memory" {
			t.Errorf("rank %d: tensors by %s", c.Rank(), by)
		}
		if _, err := c.Gather("end", nil); err != nil {
			t.Error(err)
		}
	})
	mapped, _ = mappings(t)
	require.Zero(t, mapped)

	var mu sync.Mutex
	var lines []string
	comms, errs = joinAll(t, 3, func(id *ID, o *Options) {
		o.TCP = id.Rank == 1
		o.Log = func(line string) { mu.Lock(); defer mu.Unlock(); lines = append(lines, line) }
	})
	require.NoError(t, errors.Join(errs...))
	eachRank(comms, func(c Comm) {
		if by := Transport(c); by != "TCP" {
			t.Errorf("rank %d: tensors by %s", c.Rank(), by)
		}
	})
	mapped, open = mappings(t)
	require.Zero(t, mapped+open)
	require.Len(t, lines, 1)
	require.Regexp(t, `^dist: everything goes by TCP, for want of memory that ranks share: rank 1 \(.*\): dist.transport is tcp$`, lines[0])
}

// What is no board of rank 0's is not mapped.
func TestForeignMemoryIsRefused(t *testing.T) {
	pid := os.Getpid()
	var pipe [2]int
	require.NoError(t, unix.Pipe2(pipe[:], unix.O_CLOEXEC))
	defer unix.Close(pipe[0])
	defer unix.Close(pipe[1])
	loose, err := unix.MemfdCreate("loose", unix.MFD_CLOEXEC) // whose size may change
	require.NoError(t, err)
	defer unix.Close(loose)
	require.NoError(t, unix.Ftruncate(loose, int64(boardLen(2))))
	for _, fd := range []int{pipe[0], loose, 1 << 20} {
		_, err := openMemory(pid, fd, boardLen(2))
		require.Error(t, err)
	}
	mem, fd, hide, err := newMemory(boardLen(2))
	require.NoError(t, err)
	_, err = openMemory(pid, fd, boardLen(3))
	require.Error(t, err)
	n := &network{mesh: newMesh(1, 2)}
	copy(mem, bytes.Repeat([]byte{7}, boardSecret))
	for _, secret := range []byte{7, 8} {
		text, err := json.Marshal(whereabouts{PID: pid, FD: fd, Secret: bytes.Repeat([]byte{secret}, boardSecret)})
		require.NoError(t, err)
		got, why := n.accepted(text, "")
		require.Equal(t, secret == 7, why == "", why)
		require.NoError(t, unmap(got))
	}
	hide()
	_, err = openMemory(pid, fd, boardLen(2))
	require.Error(t, err)
	require.NoError(t, unmap(mem))
}
