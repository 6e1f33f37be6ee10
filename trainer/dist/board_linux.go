package dist

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// newMemory is zeros without a name in any file system, of a size that nobody can change, and its descriptor until hide.
func newMemory(n int) (mem []byte, fd int, hide func(), err error) {
	fd, err = unix.MemfdCreate("retool ranks", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, 0, nil, os.NewSyscallError("memfd_create", err)
	}
	hide = func() { _ = unix.Close(fd) }
	if err = unix.Ftruncate(fd, int64(n)); err == nil {
		if _, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, sealed); err == nil {
			mem, err = unix.Mmap(fd, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		}
	}
	if err != nil {
		hide()
		return nil, 0, nil, fmt.Errorf("%d bytes of memory to share: %w", n, err)
	}
	return mem, fd, hide, nil
}

// sealed keeps memory from being cut under those who read it.
const sealed = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_SEAL

// openMemory maps that of another process of this user. Whatever else the descriptor is, is refused: where processes do not see one
// another it may be a stranger's.
func openMemory(pid, fd, n int) ([]byte, error) {
	path := filepath.Join("/proc", strconv.Itoa(pid), "fd", strconv.Itoa(fd))
	f, err := os.OpenFile(path, unix.O_RDWR|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	seals, err := unix.FcntlInt(f.Fd(), unix.F_GET_SEALS, 0)
	if err != nil || seals&sealed != sealed {
		return nil, fmt.Errorf("%s is no memory that ranks share", path)
	}
	if info, err := f.Stat(); err != nil || info.Size() != int64(n) {
		return nil, fmt.Errorf("%s has not the %d bytes that ranks share", path, n)
	}
	return unix.Mmap(int(f.Fd()), 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
}

func unmap(mem []byte) error {
	if mem == nil {
		return nil
	}
	return unix.Munmap(mem)
}

// uptime is the host's, alike in all its processes.
func uptime() time.Duration {
	var at unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &at)
	return time.Duration(at.Nano())
}

// sleepWhile sleeps while a word of shared memory has a value, but no longer than limit.
func sleepWhile(word *atomic.Uint32, value uint32, limit time.Duration) {
	at := unix.NsecToTimespec(int64(limit))
	_, _, _ = unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(word)), futexWait, uintptr(value), uintptr(unsafe.Pointer(&at)), 0, 0)
}

// wake ends the sleep of all who sleep on a word.
func wake(word *atomic.Uint32) {
	_, _, _ = unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(word)), futexWake, 1<<30, 0, 0, 0)
}

// Operations of futex(2), between processes.
const futexWait, futexWake = 0, 1
