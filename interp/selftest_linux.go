package interp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// The self-test runs real attacks in real sessions before a pool is handed out. What a fence is worth is what it stops, not what
// a version number promises: a layer that fails to stand fails a row, and the tier is not granted.

// canaries are what an escape would touch.
type canaries struct {
	secret string
	file   string // holds secret
	victim string // world-writable
	port   int
	name   string // of an abstract socket
	dir    string
	tcp    net.Listener
	unix   net.Listener
	hits   chan string
}

const (
	canaryPrefix = "retool-canary-"
	canaryAge    = time.Hour // far more than a self-test takes
)

// sweepCanaries removes the folders of ours that self-tests left whose process was killed.
func sweepCanaries() {
	dirs, _ := filepath.Glob(filepath.Join(os.TempDir(), canaryPrefix+"*"))
	for _, dir := range dirs {
		var s unix.Stat_t
		if unix.Lstat(dir, &s) == nil && s.Mode&unix.S_IFMT == unix.S_IFDIR && int(s.Uid) == os.Geteuid() &&
			time.Since(time.Unix(s.Mtim.Unix())) > canaryAge {
			os.RemoveAll(dir)
		}
	}
}

func layCanaries() (*canaries, error) {
	sweepCanaries()
	dir, err := os.MkdirTemp("", canaryPrefix)
	if err != nil {
		return nil, err
	}
	c := &canaries{dir: dir, file: filepath.Join(dir, "secret"), victim: filepath.Join(dir, "victim"), hits: make(chan string, 64)}
	c.secret = fmt.Sprintf("canary-%d-%d", os.Getpid(), time.Now().UnixNano())
	c.name = fmt.Sprintf("retool-abstract-%d-%d", os.Getpid(), time.Now().UnixNano())
	// Readable and writable by everybody: only the fences stand between.
	err = errors.Join(os.Chmod(dir, 0o777), os.WriteFile(c.file, []byte(c.secret), 0o644), os.WriteFile(c.victim, []byte("intact"), 0o666),
		os.Chmod(c.victim, 0o666))
	if err != nil {
		c.remove()
		return nil, err
	}
	if c.tcp, err = net.Listen("tcp", "127.0.0.1:0"); err == nil {
		c.port = c.tcp.Addr().(*net.TCPAddr).Port
		go c.accept("tcp", c.tcp)
	}
	if c.unix, err = net.Listen("unix", "@"+c.name); err == nil {
		go c.accept("abstract", c.unix)
	}
	return c, nil
}

func (c *canaries) accept(kind string, l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		conn.Close()
		select {
		case c.hits <- kind:
		default:
		}
	}
}

// touched names a canary that was reached, or "".
func (c *canaries) touched() string {
	select {
	case k := <-c.hits:
		return "a connection reached the " + k + " canary"
	default:
	}
	if b, err := os.ReadFile(c.victim); err != nil || string(b) != "intact" {
		return "the victim file was changed"
	}
	if entries, _ := os.ReadDir(c.dir); len(entries) != 2 {
		return "a file was written outside the sandbox"
	}
	return ""
}

func (c *canaries) remove() {
	if c.tcp != nil {
		c.tcp.Close()
	}
	if c.unix != nil {
		c.unix.Close()
	}
	os.RemoveAll(c.dir)
}

// fill puts the canaries' names into a row's code.
func (c *canaries) fill(code string) string {
	return strings.NewReplacer("@PORT@", fmt.Sprint(c.port), "@CANARY@", c.name, "@SECRET_FILE@", c.file, "@VICTIM_FILE@", c.victim,
		"@SYS_SOCKET@", fmt.Sprint(unix.SYS_SOCKET)).Replace(code)
}

// leaked says whether the secret is anywhere in a result.
func (c *canaries) leaked(r Result) bool {
	for _, b := range [][]byte{r.Stdout, r.Stderr, r.Traceback, []byte(r.Exc)} {
		if bytes.Contains(b, []byte(c.secret)) {
			return true
		}
	}
	return false
}

// An attack is one row of the self-test: code, and what is wrong with its result, "" if nothing.
type attack struct {
	id, name, code string
	check          func(r Result, jail bool) string
}

func wantExc(names ...string) func(Result, bool) string {
	return func(r Result, _ bool) string {
		for _, n := range names {
			if r.Status == Exception && r.Exc == n {
				return ""
			}
		}
		return fmt.Sprintf("want %s, found %v %s", strings.Join(names, " or "), r, r.Exc)
	}
}

func wantOut(text string) func(Result, bool) string {
	return func(r Result, _ bool) string {
		if r.Status != OK || strings.TrimSpace(string(r.Stdout)) != text {
			return fmt.Sprintf("want %q, found %v with output %.200q", text, r, r.Stdout)
		}
		return ""
	}
}

var selfTest = []attack{
	{"A01", "TCP", "import socket\nsocket.create_connection((\"127.0.0.1\",@PORT@),2)", wantExc("PermissionError")},
	{"A02", "raw socket call", "import ctypes; l=ctypes.CDLL(None,use_errno=True); print(l.syscall(@SYS_SOCKET@,2,1,0), " +
		"ctypes.get_errno())", wantOut("-1 1")},
	{"A04", "vsock", "import socket; socket.socket(40,socket.SOCK_STREAM)", wantExc("PermissionError")},
	{"A05", "netlink", "import socket; socket.socket(socket.AF_NETLINK,socket.SOCK_RAW,0)", wantExc("PermissionError")},
	{"A07", "abstract socket", "import socket; socket.socket(socket.AF_UNIX).connect(\"\\0@CANARY@\")", wantExc("PermissionError")},
	{"A08", "io_uring", "import ctypes; l=ctypes.CDLL(None,use_errno=True); b=ctypes.create_string_buffer(120); print(l.syscall(425,4,b), " +
		"ctypes.get_errno())", wantOut("-1 1")},
	{"A10", "secret file", "print(open(\"@SECRET_FILE@\").read())", wantExc("FileNotFoundError", "PermissionError")},
	{"A12", "environment", "import os; print(sorted(os.environ))",
		wantOut("['HOME', 'LANG', 'MKL_NUM_THREADS', 'OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'PATH', 'PYTHONDONTWRITEBYTECODE', " +
			"'PYTHONHASHSEED']")},
	{"A13", "/proc", "for p in [\"/proc/self/environ\",\"/proc/1/environ\",\"/proc/self/maps\",\"/proc/self/mem\",\"/proc/kcore\"]:\n" +
		"    try: open(p,\"rb\").read(1); print(p,\"READ\")\n    except OSError as e: pass", wantOut("")},
	{"A14", "writes", "for p in (" +
		"\"/x\",\"/usr/x\",\"/etc/x\",\"/dev/x\",\"@VICTIM_FILE@\",\"@VICTIM_FILE@2\",\"/var/tmp/x\",\"/dev/shm/x\",\"/proc/x\"):\n" +
		"    try: open(p,\"w\").write(\"pwn\"); print(p,\"WROTE\")\n    except OSError: pass", wantOut("")},
	{"A16", "devices", "import os,stat\nfor p in (" +
		"\"/dev/mem\",\"/dev/kmsg\",\"/dev/vda\",\"/dev/kvm\",\"/dev/tty\",\"/dev/fuse\",\"/dev/vsock\"):\n" +
		"    try: os.open(p,os.O_RDONLY); print(p,\"OPEN\")\n    except OSError: pass\n" +
		"try: os.mknod(\"/tmp/n\",0o600|stat.S_IFBLK,os.makedev(254,0)); print(\"MKNOD\")\nexcept OSError: pass", wantOut("")},
	{"A27", "memory", "a=[]\nwhile True: a.append(bytearray(8<<20))", func(r Result, _ bool) string {
		if r.Status == Memory || r.Status == Exception && r.Exc == "MemoryError" {
			return ""
		}
		return fmt.Sprintf("want MemoryError, found %v", r)
	}},
	{"A51", "garbage frame", "import os; os.write(3,b\"\\x00\\xff{{{{\")", func(r Result, _ bool) string {
		if r.Status == ProtocolViolation {
			return ""
		}
		return fmt.Sprintf("want protocol_violation, found %v", r)
	}},
	{"A60", "kill", "import os,signal\nme=os.getpid()\nfor p in (os.getppid(),-1,1,2):\n    try:\n" +
		"        if p != me or me != 1: os.kill(p,signal.SIGKILL)\n    except OSError as e: pass\nprint('alive')", wantOut("alive")},
	{"P2", "system calls", `import ctypes
l=ctypes.CDLL(None,use_errno=True)
bad=[]
for name,a in (("unshare",(0x10000000,)),("setns",(0,0)),("mount",(0,0,0,0,0)),("ptrace",(0,0,0,0)),("chroot",(b"/",)),
    ("memfd_create",(b"x",0)),("sethostname",(b"x",1)),("setuid",(0,)),("execv",(b"/bin/sh",0))):
    try: f=getattr(l,name)
    except AttributeError: continue
    ctypes.set_errno(0)
    if f(*a) != -1 or ctypes.get_errno() != 1: bad.append(name)
print(*bad)`, wantOut("")},
}

const linearAlgebra = "import numpy\na=numpy.random.rand(96,96)\nb=numpy.linalg.inv(a@a.T+numpy.eye(96))\nprint(b.shape)"

// selfTestCPU bounds a row of the self-test, whatever the run's own limits are.
const selfTestCPU = 10 * time.Second

// test runs every row at once and returns the table, and an error naming the rows that failed.
func (p *Pool) test(ctx context.Context) ([]Check, error) {
	c, err := layCanaries()
	if err != nil {
		return nil, fmt.Errorf("self-test: %w", err)
	}
	defer c.remove()
	rows := selfTest
	if p.cfg.AllowExec { // execution is wanted: the row's last probe would succeed
		rows = append([]attack(nil), rows...)
		last := &rows[len(rows)-1]
		last.code = strings.Replace(last.code, `,("execv",(b"/bin/sh",0))`, "", 1)
	}
	for _, z := range p.zygotes {
		if _, ok := z.boot.Modules["numpy"]; ok {
			rows = append(rows[:len(rows):len(rows)], attack{"P6", "linear algebra in a fork", linearAlgebra, wantOut("(96, 96)")})
			break
		}
	}
	table := make([]Check, len(rows))
	patient := p.cfg.Limits // what holds does not depend on how little time the run gives a cell, nor on who else uses the machine
	patient.CPU, patient.Wall = max(patient.CPU, selfTestCPU), max(patient.Wall, 2*selfTestCPU)
	var wg sync.WaitGroup
	for i, a := range rows {
		wg.Add(1)
		go func() {
			defer wg.Done()
			r, err := p.runOnce(ctx, int64(-1-i), cell{code: c.fill(a.code), limits: patient}, time.Now())
			why := ""
			switch {
			case err != nil:
				why = err.Error()
			case c.leaked(r):
				why = "the secret is in the output"
			default:
				why = a.check(r, p.f.jail())
			}
			table[i] = Check{Name: a.id + " " + a.name, OK: why == "", Detail: why}
		}()
	}
	wg.Wait()
	r, err := p.runOnce(ctx, -1, cell{code: "print(6*7)", limits: patient}, time.Now())
	last := Check{Name: "next session", OK: err == nil && string(r.Stdout) == "42\n"}
	if why := c.touched(); why != "" {
		last.OK, last.Detail = false, why
	}
	table = append(table, last)
	var failed []string
	for _, row := range table {
		if !row.OK {
			failed = append(failed, row.Name+" ("+row.Detail+")")
		}
	}
	if len(failed) > 0 {
		return table, fmt.Errorf("self-test failed: %s", strings.Join(failed, ", "))
	}
	return table, nil
}
