package interp

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// initName is argv[0] of the re-executed child.
const initName = "retool-sandbox-init"

// A shown path of the jail: a bind of a directory or file, or a symbolic link copied as such.
type shown struct {
	Path string `json:"path"`
	Link string `json:"link,omitempty"` // target, if it is a link
	Dir  bool   `json:"dir,omitempty"`
	fd   int    // detached mount
}

// initOrder is what the supervisor tells the re-executed child, in its argv: nothing in it is secret.
type initOrder struct {
	Jail   bool     `json:"jail"`  // namespaces: build a root and pivot into it; false: tier C
	Trees  int      `json:"trees"` // detached mounts passed from fd firstTree on; 0: open them here
	Show   []shown  `json:"show"`
	Python string   `json:"python"`
	Env    []string `json:"env"`
}

// Descriptors of the child: 3 control socket, 4 replaced by a handle on /proc, then the trees.
const (
	controlFD = 3
	procFD    = 4
	firstTree = 5
)

// The session's environment, all of it. -E would ignore PYTHONHASHSEED, so Python runs with -s -S -B and this list instead.
var sandboxEnv = []string{"PATH=/usr/bin:/bin", "HOME=/tmp", "LANG=C.UTF-8", "OPENBLAS_NUM_THREADS=1", "OMP_NUM_THREADS=1",
	"MKL_NUM_THREADS=1", "PYTHONDONTWRITEBYTECODE=1", "PYTHONHASHSEED=0"}

const loader = `import os;exec(compile(os.read(3,1<<18),"<harness>","exec"))`

// Init must be the first statement of main and of every TestMain whose program makes a Pool: when the supervisor has started
// the executable again as the root of a sandbox, Init builds the jail and becomes Python. Otherwise it returns at once.
func Init() {
	if len(os.Args) == 2 && os.Args[0] == initName {
		// Capabilities and namespaces of a mount belong to a thread: the one that builds the jail must be the one that
		// executes Python. Without this lock some starts fail at random.
		runtime.LockOSThread()
		err := becomeZygote(os.Args[1])
		fmt.Fprintln(os.Stderr, err)
		os.Exit(70)
	}
}

// Orders of a child that only tries something and exits: to exist in new namespaces, and to mount there.
const (
	probeClone = "probe clone"
	probeMount = "probe mount"
)

func becomeZygote(order string) error {
	if order == probeClone {
		os.Exit(0)
	}
	if order == probeMount {
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			return fmt.Errorf("private mounts: %w", err)
		}
		if err := unix.Mount("tmpfs", "/tmp", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "size=64k"); err != nil {
			return fmt.Errorf("tmpfs: %w", err)
		}
		os.Exit(0)
	}
	var o initOrder
	if err := json.Unmarshal([]byte(order), &o); err != nil {
		return fmt.Errorf("init: order: %w", err)
	}
	proc, err := unix.Open("/proc", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("init: open /proc: %w", err)
	}
	// The kernel should end sessions, which inherit this, before the trainer.
	os.WriteFile("/proc/self/oom_score_adj", []byte("1000"), 0)
	if o.Jail {
		if err := buildJail(o); err != nil {
			return fmt.Errorf("init: %w", err)
		}
	}
	if err := unix.Dup3(proc, procFD, 0); err != nil {
		return fmt.Errorf("init: dup /proc: %w", err)
	}
	// Everything else is close-on-exec or a tree that has been attached.
	if err := unix.CloseRange(firstTree, ^uint(0)>>1, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return fmt.Errorf("init: close_range: %w", err)
	}
	unix.Umask(0o022)
	err = unix.Exec(o.Python, []string{o.Python, "-s", "-S", "-B", "-c", loader}, o.Env)
	return fmt.Errorf("init: execute %s: %w: is it readable by every user?", o.Python, err)
}

// openTrees detaches a read-only copy of every shown directory and file. It runs where the paths can be reached: in the
// supervisor if that is root (the child's user could not enter a private home), else in the child.
func openTrees(show []shown) (err error) {
	for i := range show {
		s := &show[i]
		if s.Link != "" {
			continue
		}
		if s.fd, err = openTree(s.Path); err != nil {
			for j := 0; j < i; j++ {
				if show[j].Link == "" {
					unix.Close(show[j].fd)
				}
			}
			return err
		}
	}
	return nil
}

func openTree(path string) (int, error) {
	fd, err := unix.OpenTree(unix.AT_FDCWD, path, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
	if err != nil {
		return -1, fmt.Errorf("open_tree %s: %w", path, err)
	}
	// A device on a read-only mount can still be written to; its times, mode and owner cannot be changed.
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_RDONLY, Propagation: unix.MS_PRIVATE}
	if filepath.Dir(path) != "/dev" {
		attr.Attr_set |= unix.MOUNT_ATTR_NODEV
	} else {
		attr.Attr_set |= unix.MOUNT_ATTR_NOEXEC
	}
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &attr); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("mount_setattr %s: %w", path, err)
	}
	return fd, nil
}

var deviceNodes = []string{"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"}

// showList describes the jail of p: its paths, then the five device nodes.
func showList(paths []string) ([]shown, error) {
	var list []shown
	for _, p := range append(append([]string{}, paths...), deviceNodes...) {
		fi, err := os.Lstat(p)
		if err != nil {
			return nil, fmt.Errorf("interp: jail: %w", err)
		}
		s := shown{Path: p, Dir: fi.IsDir()}
		if fi.Mode()&os.ModeSymlink != 0 {
			if s.Link, err = os.Readlink(p); err != nil {
				return nil, fmt.Errorf("interp: jail: %w", err)
			}
		}
		list = append(list, s)
	}
	return list, nil
}

// buildJail makes a small tmpfs the root of the file system, with the shown paths attached read-only.
func buildJail(o initOrder) error {
	if o.Trees == 0 {
		if err := openTrees(o.Show); err != nil {
			return err
		}
	} else {
		fd := firstTree
		for i := range o.Show {
			if o.Show[i].Link == "" {
				o.Show[i].fd = fd
				fd++
			}
		}
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("private mounts: %w", err)
	}
	const root = "/tmp" // exists everywhere; what it hides has been opened above
	if err := unix.Mount("tmpfs", root, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "size=1m,nr_inodes=2048,mode=0755"); err != nil {
		return fmt.Errorf("root tmpfs: %w", err)
	}
	for _, s := range o.Show {
		at := root + s.Path
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			return err
		}
		if s.Link != "" {
			if err := os.Symlink(s.Link, at); err != nil {
				return err
			}
			continue
		}
		var err error
		if s.Dir {
			err = os.MkdirAll(at, 0o755)
		} else {
			err = os.WriteFile(at, nil, 0o644)
		}
		if err != nil {
			return err
		}
		if err := unix.MoveMount(s.fd, "", unix.AT_FDCWD, at, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
			return fmt.Errorf("move_mount %s: %w", s.Path, err)
		}
		unix.Close(s.fd)
	}
	if err := os.MkdirAll(root+"/tmp", 0o755); err != nil {
		return err
	}
	if err := unix.Chdir(root); err != nil {
		return err
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("pivot_root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("detach the old root: %w", err)
	}
	if err := unix.Chdir("/"); err != nil {
		return err
	}
	if err := unix.Mount("", "/", "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV, ""); err != nil {
		return fmt.Errorf("read-only root: %w", err)
	}
	if err := unix.Sethostname([]byte("sandbox")); err != nil {
		return fmt.Errorf("sethostname: %w", err)
	}
	return nil
}

// landlockABI is the version the kernel offers, 0 if none. It asks for the version; it does not restrict anybody.
func landlockABI() int {
	v, _, e := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if e != 0 {
		return 0
	}
	return int(v)
}

// processCPU is the CPU time a process and all its threads have used, from the kernel's per-process clock.
func processCPU(pid int) (ns int64, ok bool) {
	var ts unix.Timespec
	id := int32(^pid<<3 | 2) // CPUCLOCK_SCHED of the whole process
	_, _, e := unix.Syscall(unix.SYS_CLOCK_GETTIME, uintptr(id), uintptr(unsafe.Pointer(&ts)), 0)
	if e != 0 {
		return 0, false
	}
	return ts.Nano(), true
}
