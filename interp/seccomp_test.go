//go:build linux && amd64

package interp

import (
	"encoding/binary"
	"flag"
	"fmt"
	"os"
	"sort"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

var updateGolden = flag.Bool("seccomp.update", false, "rewrite the golden lists of allowed system calls")

// interpretBPF runs the emitted program as the kernel does.
func interpretBPF(prog []unix.SockFilter, data []byte) uint32 {
	var a uint32
	for pc := 0; ; pc++ {
		f := prog[pc]
		switch f.Code {
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			a = binary.LittleEndian.Uint32(data[f.K:])
		case unix.BPF_ALU | unix.BPF_AND | unix.BPF_K:
			a &= f.K
		case unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K:
			if a == f.K {
				pc += int(f.Jt)
			} else {
				pc += int(f.Jf)
			}
		case unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K:
			if a >= f.K {
				pc += int(f.Jt)
			} else {
				pc += int(f.Jf)
			}
		case unix.BPF_JMP | unix.BPF_JA:
			pc += int(f.K)
		case unix.BPF_RET | unix.BPF_K:
			return f.K
		default:
			panic(fmt.Sprintf("code %#x", f.Code))
		}
	}
}

// decide is the policy itself, against which the emitted program is checked.
func (p policy) decide(arch, nr uint32, args [6]uint64) uint32 {
	if arch != auditArch || nr >= x32Bit {
		return retEPERM
	}
	a, ok := p[nr]
	if !ok {
		return retEPERM
	}
	for _, r := range a.rules {
		if !r.pass(args[r.arg]) {
			return retEPERM
		}
	}
	return a.ret
}

func (r argRule) pass(v uint64) bool {
	if r.wide && v>>32 != 0 {
		return false
	}
	lo := uint32(v)
	if r.mask != 0 {
		lo &= r.mask
	}
	for _, w := range r.values {
		if lo == w {
			return true
		}
	}
	return false
}

func seccompData(arch, nr uint32, args [6]uint64) []byte {
	b := binary.LittleEndian.AppendUint32(nil, nr)
	b = binary.LittleEndian.AppendUint32(b, arch)
	b = binary.LittleEndian.AppendUint64(b, 0)
	for _, a := range args {
		b = binary.LittleEndian.AppendUint64(b, a)
	}
	return b
}

func policies() map[string]policy {
	return map[string]policy{"session": sessionPolicy(false, false, false), "bare": sessionPolicy(true, false, false),
		"fork": sessionPolicy(false, true, false), "exec": sessionPolicy(false, true, true)}
}

// The program decides as its policy says, for every number near a border, every architecture and arguments at every rule's edges.
func TestFilterProgramEqualsPolicy(t *testing.T) {
	for name, p := range policies() {
		prog := p.program()
		if len(prog) > 4096 {
			t.Fatalf("%s: %d instructions, the kernel takes 4096", name, len(prog))
		}
		for nr := uint32(0); nr < 1024; nr++ {
			for _, arch := range []uint32{auditArch, unix.AUDIT_ARCH_I386, unix.AUDIT_ARCH_AARCH64, 0, ^uint32(0)} {
				for _, nr := range []uint32{nr, nr | x32Bit, nr | 1<<31} {
					var args [6]uint64
					if got, want := interpretBPF(prog, seccompData(arch, nr, args)), p.decide(arch, nr, args); got != want {
						t.Fatalf("%s: arch %#x nr %d: program %#x, policy %#x", name, arch, nr, got, want)
					}
				}
			}
		}
		var ruled []uint32
		for nr, a := range p {
			if len(a.rules) > 0 {
				ruled = append(ruled, nr)
			}
		}
		sort.Slice(ruled, func(i, j int) bool { return ruled[i] < ruled[j] })
		rapid.Check(t, func(t *rapid.T) {
			nr := rapid.SampledFrom(ruled).Draw(t, "nr")
			var args [6]uint64
			for i := range args {
				args[i] = rapid.OneOf(rapid.Uint64Range(0, 64), rapid.Uint64(), rapid.Just(uint64(1)<<32), rapid.Just(uint64(0x3d0f00))).Draw(t, "arg")
			}
			for _, r := range p[nr].rules {
				if rapid.Bool().Draw(t, "hit") {
					args[r.arg] = uint64(rapid.SampledFrom(r.values).Draw(t, "value"))
				}
			}
			if got, want := interpretBPF(prog, seccompData(auditArch, nr, args)), p.decide(auditArch, nr, args); got != want {
				t.Fatalf("%s: nr %d args %x: program %#x, policy %#x", name, nr, args, got, want)
			}
		})
	}
}

// The allowed set is written out: what a later edit adds shows here. Regenerate with -seccomp.update and read the difference.
func TestFilterMatchesGoldenList(t *testing.T) {
	for name, p := range policies() {
		var have []string
		for nr, a := range p {
			kind := "allow"
			if a.ret == retENOSYS {
				kind = "enosys"
			} else if len(a.rules) > 0 {
				kind = "rules"
			}
			have = append(have, fmt.Sprintf("%03d %s", nr, kind))
		}
		sort.Strings(have)
		file := "testdata/seccomp_" + name + ".golden"
		if *updateGolden {
			if err := os.WriteFile(file, []byte(strings.Join(have, "\n")+"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if string(want) != strings.Join(have, "\n")+"\n" {
			t.Errorf("%s: the filter differs from %s", name, file)
		}
	}
}

// Calls that must be denied whatever else changes.
func TestFilterNeverAllows(t *testing.T) {
	never := []uint32{unix.SYS_SOCKET, unix.SYS_CONNECT, unix.SYS_BIND, unix.SYS_LISTEN, unix.SYS_ACCEPT, unix.SYS_ACCEPT4, unix.SYS_SENDMSG,
		unix.SYS_RECVMSG, unix.SYS_SENDMMSG, unix.SYS_IO_URING_SETUP, unix.SYS_IO_URING_ENTER, unix.SYS_IO_URING_REGISTER, unix.SYS_PTRACE,
		unix.SYS_MOUNT, unix.SYS_UMOUNT2, unix.SYS_PIVOT_ROOT, unix.SYS_CHROOT, unix.SYS_SETNS, unix.SYS_UNSHARE, unix.SYS_BPF,
		unix.SYS_PERF_EVENT_OPEN, unix.SYS_USERFAULTFD, unix.SYS_KEYCTL, unix.SYS_ADD_KEY, unix.SYS_REQUEST_KEY, unix.SYS_KEXEC_LOAD,
		unix.SYS_INIT_MODULE, unix.SYS_FINIT_MODULE, unix.SYS_MEMFD_CREATE, unix.SYS_EXECVEAT, unix.SYS_OPEN_BY_HANDLE_AT,
		unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV, unix.SYS_PIDFD_OPEN, unix.SYS_PIDFD_GETFD, unix.SYS_SHMGET, unix.SYS_MQ_OPEN,
		unix.SYS_MKNOD, unix.SYS_MKNODAT, unix.SYS_SETUID, unix.SYS_CAPSET, unix.SYS_SECCOMP, unix.SYS_SETRLIMIT, unix.SYS_SYNC,
		unix.SYS_INOTIFY_INIT1, unix.SYS_FANOTIFY_INIT, unix.SYS_REBOOT, unix.SYS_SWAPON, unix.SYS_CLOCK_SETTIME, unix.SYS_SETHOSTNAME,
		unix.SYS_SPLICE, unix.SYS_VMSPLICE, unix.SYS_TEE, unix.SYS_IO_SETUP, unix.SYS_PERSONALITY, unix.SYS_MODIFY_LDT,
		unix.SYS_SCHED_SETAFFINITY}
	for name, p := range policies() {
		for _, nr := range never {
			if got := p.decide(auditArch, nr, [6]uint64{}); got != retEPERM {
				t.Errorf("%s: call %d is not denied: %#x", name, nr, got)
			}
		}
		if name != "exec" && p.decide(auditArch, unix.SYS_EXECVE, [6]uint64{}) != retEPERM {
			t.Errorf("%s: execve is not denied", name)
		}
	}
}
