package interp

import (
	"encoding/binary"
	"fmt"
	"sort"

	"golang.org/x/sys/unix"
)

// The filter is default-deny: what the lists below do not name gives EPERM, so the model sees a Python exception instead of a
// dead process. The emitted program is a binary search over system call numbers whose leaves return; nothing joins, so every
// jump is forward and short.

// An argRule passes when argument arg, masked, equals one of the values. Wide rules look at all 64 bits (pointers); the others
// at the low 32, as the kernel does for int arguments.
type argRule struct {
	arg    int
	mask   uint32 // 0: no mask
	values []uint32
	wide   bool
}

// An action is what the filter returns for one system call when every rule passes; otherwise EPERM.
type action struct {
	ret   uint32
	rules []argRule
}

var (
	retAllow  = uint32(unix.SECCOMP_RET_ALLOW)
	retEPERM  = uint32(unix.SECCOMP_RET_ERRNO) | uint32(unix.EPERM)
	retENOSYS = uint32(unix.SECCOMP_RET_ERRNO) | uint32(unix.ENOSYS)
)

// A policy maps system call numbers to actions; a missing number is EPERM.
type policy map[uint32]action

func (p policy) allow(numbers ...int) {
	for _, n := range numbers {
		p[uint32(n)] = action{ret: retAllow}
	}
}

func (p policy) allowIf(number int, rules ...argRule) {
	p[uint32(number)] = action{ret: retAllow, rules: rules}
}

// ioctl requests that x/sys does not name; the same on amd64 and arm64.
const fionbio, fioclex, fionclex = 0x5421, 0x5451, 0x5450

const cloneThread = unix.CLONE_VM | unix.CLONE_THREAD | unix.CLONE_SIGHAND

// Bits a thread creation may carry: those of glibc and musl. Nothing that makes a namespace is among them.
const cloneThreadMay = cloneThread | unix.CLONE_FS | unix.CLONE_FILES | unix.CLONE_SYSVSEM | unix.CLONE_SETTLS |
	unix.CLONE_PARENT_SETTID | unix.CLONE_CHILD_CLEARTID | unix.CLONE_CHILD_SETTID | unix.CLONE_DETACHED

// sessionPolicy is the filter of a session. bare is tier C: no pid namespace, the trainer's own user, so signals, ownership,
// modes, times, sessions and scheduling are dropped too.
func sessionPolicy(bare, fork, exec bool) policy {
	p := policy{}
	p.allow( // files
		unix.SYS_READ, unix.SYS_WRITE, unix.SYS_READV, unix.SYS_WRITEV, unix.SYS_PREAD64, unix.SYS_PWRITE64, unix.SYS_PREADV,
		unix.SYS_PWRITEV, unix.SYS_PREADV2, unix.SYS_PWRITEV2, unix.SYS_OPENAT, unix.SYS_CLOSE, unix.SYS_CLOSE_RANGE,
		unix.SYS_FSTAT, unix.SYS_STATX, unix.SYS_LSEEK, unix.SYS_DUP, unix.SYS_DUP3, unix.SYS_FLOCK, unix.SYS_FSYNC,
		unix.SYS_FDATASYNC, unix.SYS_TRUNCATE, unix.SYS_FTRUNCATE, unix.SYS_FALLOCATE, unix.SYS_FADVISE64, unix.SYS_GETDENTS64,
		unix.SYS_GETCWD, unix.SYS_CHDIR, unix.SYS_FCHDIR, unix.SYS_MKDIRAT, unix.SYS_UNLINKAT, unix.SYS_RENAMEAT2,
		unix.SYS_LINKAT, unix.SYS_SYMLINKAT, unix.SYS_READLINKAT, unix.SYS_FACCESSAT, unix.SYS_FACCESSAT2, unix.SYS_STATFS,
		unix.SYS_FSTATFS, unix.SYS_UMASK, unix.SYS_SENDFILE, unix.SYS_GETXATTR, unix.SYS_LGETXATTR, unix.SYS_FGETXATTR,
		unix.SYS_LISTXATTR, unix.SYS_LLISTXATTR, unix.SYS_FLISTXATTR)
	p.allow( // memory
		unix.SYS_MUNMAP, unix.SYS_MPROTECT, unix.SYS_MREMAP, unix.SYS_BRK, unix.SYS_MADVISE, unix.SYS_MSYNC)
	// Huge pages come from a pool of the host that no limit of a session counts.
	p.allowIf(unix.SYS_MMAP, argRule{arg: 3, mask: unix.MAP_HUGETLB, values: []uint32{0}})
	p.allow( // time, polling, pipes
		unix.SYS_CLOCK_GETTIME, unix.SYS_CLOCK_GETRES, unix.SYS_CLOCK_NANOSLEEP, unix.SYS_NANOSLEEP, unix.SYS_GETTIMEOFDAY,
		unix.SYS_TIMES, unix.SYS_GETITIMER, unix.SYS_SETITIMER, unix.SYS_TIMERFD_CREATE, unix.SYS_TIMERFD_SETTIME,
		unix.SYS_TIMERFD_GETTIME, unix.SYS_PSELECT6, unix.SYS_PPOLL, unix.SYS_EPOLL_CREATE1, unix.SYS_EPOLL_CTL,
		unix.SYS_EPOLL_PWAIT, unix.SYS_EPOLL_PWAIT2, unix.SYS_PIPE2, unix.SYS_EVENTFD2)
	p.allow( // threads, signals of its own, identity
		unix.SYS_FUTEX, unix.SYS_SET_ROBUST_LIST, unix.SYS_SET_TID_ADDRESS, unix.SYS_RSEQ, unix.SYS_GETTID, unix.SYS_EXIT,
		unix.SYS_EXIT_GROUP, unix.SYS_SCHED_YIELD, unix.SYS_SCHED_GETAFFINITY, unix.SYS_GETCPU, unix.SYS_RT_SIGACTION,
		unix.SYS_RT_SIGPROCMASK, unix.SYS_RT_SIGPENDING, unix.SYS_RT_SIGRETURN, unix.SYS_RT_SIGSUSPEND,
		unix.SYS_RT_SIGTIMEDWAIT, unix.SYS_SIGALTSTACK, unix.SYS_SIGNALFD4, unix.SYS_RESTART_SYSCALL,
		unix.SYS_GETPID, unix.SYS_GETPPID, unix.SYS_GETUID, unix.SYS_GETEUID, unix.SYS_GETGID, unix.SYS_GETEGID,
		unix.SYS_GETRESUID, unix.SYS_GETRESGID, unix.SYS_GETGROUPS, unix.SYS_GETPGID, unix.SYS_GETSID, unix.SYS_GETRUSAGE,
		unix.SYS_GETRLIMIT, unix.SYS_GETPRIORITY, unix.SYS_UNAME, unix.SYS_SYSINFO, unix.SYS_GETRANDOM, unix.SYS_CAPGET,
		unix.SYS_WAIT4, unix.SYS_WAITID)
	// A connected socket pair for asyncio's self-pipe. sendmsg stays out: it carries descriptors and addresses in memory the
	// filter cannot read, and a datagram socket could reach an abstract address of the host in tier C.
	p.allow(unix.SYS_GETSOCKNAME, unix.SYS_GETPEERNAME, unix.SYS_SHUTDOWN, unix.SYS_RECVFROM)
	p.allowIf(unix.SYS_SOCKETPAIR, argRule{arg: 0, values: []uint32{unix.AF_UNIX}})
	// Of a socket's options those that describe it, none that describes its other end: SO_PEERPIDFD would hand out the trainer.
	p.allowIf(unix.SYS_GETSOCKOPT, argRule{arg: 1, values: []uint32{unix.SOL_SOCKET}}, argRule{arg: 2, values: []uint32{
		unix.SO_TYPE, unix.SO_ERROR, unix.SO_DOMAIN, unix.SO_PROTOCOL, unix.SO_SNDBUF, unix.SO_RCVBUF, unix.SO_ACCEPTCONN, unix.SO_REUSEADDR}})
	p.allowIf(unix.SYS_SENDTO, argRule{arg: 4, values: []uint32{0}, wide: true})
	p.allowIf(unix.SYS_FCNTL, argRule{arg: 1, values: []uint32{unix.F_DUPFD, unix.F_DUPFD_CLOEXEC, unix.F_GETFD, unix.F_SETFD,
		unix.F_GETFL, unix.F_SETFL, unix.F_GETLK, unix.F_SETLK, unix.F_SETLKW, unix.F_GETPIPE_SZ}})
	p.allowIf(unix.SYS_IOCTL, argRule{arg: 1, values: []uint32{unix.TCGETS, unix.TIOCGWINSZ, unix.TIOCINQ, fionbio, fioclex, fionclex}})
	p.allowIf(unix.SYS_PRCTL, argRule{arg: 0, values: []uint32{unix.PR_SET_NAME, unix.PR_GET_NAME, unix.PR_GET_DUMPABLE,
		unix.PR_GET_NO_NEW_PRIVS, unix.PR_GET_SECCOMP, unix.PR_CAPBSET_READ}})
	p.allowIf(unix.SYS_PRLIMIT64, argRule{arg: 0, values: []uint32{0}}, argRule{arg: 2, values: []uint32{0}, wide: true})
	p.allowIf(unix.SYS_CLONE,
		argRule{arg: 0, mask: cloneThread, values: []uint32{cloneThread}},
		argRule{arg: 0, mask: ^uint32(cloneThreadMay), values: []uint32{0}})
	p[unix.SYS_CLONE3] = action{ret: retENOSYS} // its flags are in memory: libc falls back to clone
	p[unix.SYS_OPENAT2] = action{ret: retENOSYS}
	if !bare {
		p.allow(unix.SYS_KILL, unix.SYS_TKILL, unix.SYS_TGKILL, unix.SYS_FCHMOD, unix.SYS_FCHMODAT, sysFchmodat2,
			unix.SYS_FCHOWN, unix.SYS_FCHOWNAT, unix.SYS_UTIMENSAT, unix.SYS_SETSID, unix.SYS_SETPGID,
			unix.SYS_SCHED_GETPARAM, unix.SYS_SCHED_GETSCHEDULER, unix.SYS_SCHED_GET_PRIORITY_MAX, unix.SYS_SCHED_GET_PRIORITY_MIN)
		legacyFull(p)
	}
	if fork && !bare {
		// Any clone without a namespace, a stopped parent's view or a foreign parent.
		p.allowIf(unix.SYS_CLONE, argRule{arg: 0, mask: unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWUTS |
			unix.CLONE_NEWIPC | unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWTIME |
			unix.CLONE_PARENT | unix.CLONE_PTRACE | unix.CLONE_UNTRACED | unix.CLONE_IO, values: []uint32{0}})
		legacyFork(p)
	}
	if exec && !bare {
		p.allow(unix.SYS_EXECVE)
		legacyExec(p)
	}
	legacy(p)
	if bare { // nothing is writable; Landlock below ABI 3 does not govern truncate, nor below ABI 2 every rename
		for _, n := range append(legacyChange(), unix.SYS_TRUNCATE, unix.SYS_MKDIRAT, unix.SYS_UNLINKAT, unix.SYS_RENAMEAT2, unix.SYS_LINKAT,
			unix.SYS_SYMLINKAT) {
			delete(p, uint32(n))
		}
	}
	return p
}

const x32Bit = 0x40000000 // numbers from here on are the x32 ABI on amd64 and nothing on arm64

func load(offset uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
}

func ret(k uint32) unix.SockFilter { return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: k} }

func jump(op uint16, k uint32, yes, no int) unix.SockFilter {
	if yes > 255 || no > 255 {
		panic(fmt.Sprintf("interp: seccomp: jump of %d/%d does not fit 8 bits", yes, no))
	}
	return unix.SockFilter{Code: unix.BPF_JMP | op | unix.BPF_K, Jt: uint8(yes), Jf: uint8(no), K: k}
}

// code emits the action: its rules one after another, each failing to EPERM on the spot.
func (a action) code() []unix.SockFilter {
	var out []unix.SockFilter
	for _, r := range a.rules {
		base := uint32(16 + 8*r.arg) // struct seccomp_data; little-endian halves
		if r.wide {
			out = append(out, load(base+4), jump(unix.BPF_JEQ, 0, 1, 0), ret(retEPERM))
		}
		out = append(out, load(base))
		if r.mask != 0 {
			out = append(out, unix.SockFilter{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: r.mask})
		}
		for i, v := range r.values {
			out = append(out, jump(unix.BPF_JEQ, v, len(r.values)-i, 0)) // past the later values and the ret
		}
		out = append(out, ret(retEPERM))
	}
	return append(out, ret(a.ret))
}

type span struct {
	from uint32
	code []unix.SockFilter
}

// program emits the filter: architecture first, then a binary search over runs of numbers with one action.
func (p policy) program() []unix.SockFilter {
	numbers := make([]uint32, 0, len(p))
	for n := range p {
		numbers = append(numbers, n)
	}
	sort.Slice(numbers, func(i, j int) bool { return numbers[i] < numbers[j] })
	deny := []unix.SockFilter{ret(retEPERM)}
	spans := []span{{0, deny}}
	put := func(from uint32, code []unix.SockFilter) {
		last := &spans[len(spans)-1]
		switch {
		case last.from == from:
			last.code = code
			if k := len(spans) - 2; k >= 0 && len(code) == 1 && len(spans[k].code) == 1 && spans[k].code[0] == code[0] {
				spans = spans[:len(spans)-1]
			}
		case len(last.code) == 1 && len(code) == 1 && last.code[0] == code[0]:
		default:
			spans = append(spans, span{from, code})
		}
	}
	for _, n := range numbers {
		put(n, p[n].code())
		put(n+1, deny)
	}
	out := []unix.SockFilter{load(4), jump(unix.BPF_JEQ, auditArch, 1, 0), ret(retEPERM), load(0)}
	return append(out, search(spans)...)
}

func search(spans []span) []unix.SockFilter {
	if len(spans) == 1 {
		return spans[0].code
	}
	mid := len(spans) / 2
	left, right := search(spans[:mid]), search(spans[mid:])
	var out []unix.SockFilter
	if len(left) <= 255 {
		out = append(out, jump(unix.BPF_JGE, spans[mid].from, len(left), 0))
	} else {
		out = append(out, jump(unix.BPF_JGE, spans[mid].from, 0, 1),
			unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JA, K: uint32(len(left))})
	}
	return append(append(out, left...), right...)
}

// encode is the program as the kernel's struct sock_filter array.
func encode(prog []unix.SockFilter) []byte {
	out := make([]byte, 0, 8*len(prog))
	for _, f := range prog {
		out = binary.LittleEndian.AppendUint16(out, f.Code)
		out = append(out, f.Jt, f.Jf)
		out = binary.LittleEndian.AppendUint32(out, f.K)
	}
	return out
}
