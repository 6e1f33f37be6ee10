package interp

import "golang.org/x/sys/unix"

const (
	auditArch    = unix.AUDIT_ARCH_AARCH64
	sysFchmodat2 = 452
)

func legacy(p policy)     { p.allow(unix.SYS_FSTATAT, unix.SYS_RENAMEAT) }
func legacyFull(p policy) {}
func legacyFork(p policy) {}
func legacyExec(p policy) {}

// legacyChange are those that change a directory.
func legacyChange() []int { return []int{unix.SYS_RENAMEAT} }
