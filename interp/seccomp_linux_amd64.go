package interp

import "golang.org/x/sys/unix"

const (
	auditArch    = unix.AUDIT_ARCH_X86_64
	sysFchmodat2 = 452
)

// System calls amd64 keeps beside their newer forms; older libcs still use them.

func legacy(p policy) {
	p.allow(unix.SYS_OPEN, unix.SYS_CREAT, unix.SYS_STAT, unix.SYS_LSTAT, unix.SYS_NEWFSTATAT, unix.SYS_DUP2, unix.SYS_ACCESS,
		unix.SYS_MKDIR, unix.SYS_RMDIR, unix.SYS_UNLINK, unix.SYS_RENAME, unix.SYS_RENAMEAT, unix.SYS_LINK, unix.SYS_SYMLINK,
		unix.SYS_READLINK, unix.SYS_PIPE, unix.SYS_POLL, unix.SYS_SELECT, unix.SYS_EPOLL_CREATE, unix.SYS_EPOLL_WAIT,
		unix.SYS_EVENTFD, unix.SYS_SIGNALFD, unix.SYS_ALARM, unix.SYS_PAUSE, unix.SYS_TIME, unix.SYS_GETPGRP)
}

func legacyFull(p policy) {
	p.allow(unix.SYS_CHMOD, unix.SYS_CHOWN, unix.SYS_LCHOWN, unix.SYS_UTIME, unix.SYS_UTIMES, unix.SYS_FUTIMESAT)
}

func legacyFork(p policy) { p.allow(unix.SYS_FORK, unix.SYS_VFORK) }

func legacyExec(p policy) { p.allow(unix.SYS_ARCH_PRCTL) } // the loader of a new program sets its thread pointer

// legacyChange are those that change a directory.
func legacyChange() []int {
	return []int{unix.SYS_MKDIR, unix.SYS_RMDIR, unix.SYS_UNLINK, unix.SYS_RENAME, unix.SYS_RENAMEAT, unix.SYS_LINK, unix.SYS_SYMLINK,
		unix.SYS_CREAT}
}
