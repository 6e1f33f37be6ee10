//go:build linux

package interp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func run(t testing.TB, p *Pool, key int64, code string) Result {
	t.Helper()
	r, err := p.Run(context.Background(), key, code)
	if err != nil {
		t.Fatalf("%q: %v", code, err)
	}
	return r
}

// Calls share nothing: not variables, not files, not modules.
func TestCallsShareNothing(t *testing.T) {
	p := testPool(t, nil)
	scratch := "os.listdir('/tmp')"
	if p.Info().Tier < TierB { // nothing is writable, and the host's /tmp may not be listed
		scratch = "[]"
	}
	run(t, p, 1, "x=1\nimport builtins,sys\nbuiltins.leak=1; sys.leak=1\nopen('/tmp/leak','w').write('x')")
	for range 20 { // both fork servers, every slot
		r := run(t, p, 1, "import builtins,sys,os\nprint('x' in globals(), hasattr(builtins,'leak'), hasattr(sys,'leak'), "+
			"os.path.exists('/tmp/leak'), "+scratch+")")
		if string(r.Stdout) != "False False False False []\n" {
			t.Fatalf("%v %s%s", r, r.Stdout, r.Traceback)
		}
	}
}

// A trajectory's cells share variables; keys share none; Forget ends them.
func TestTrajectoryKeepsVariables(t *testing.T) {
	before := census(t)
	func() {
		p := testPool(t, func(c *Config) { c.Session = SessionTrajectory; c.Limits.Cells = 5 })
		defer p.Close()
		run(t, p, 1, "x=40\ndef f(): return x+2\nclass P: pass")
		run(t, p, 2, "x=7")
		r := run(t, p, 1, "import pickle\nprint(f(), type(pickle.loads(pickle.dumps(P()))).__name__)")
		if string(r.Stdout) != "42 P\n" || r.Session != Alive {
			t.Errorf("%v %s %s%s", r, r.Session, r.Stdout, r.Traceback)
		}
		if r := run(t, p, 2, "print(x)"); string(r.Stdout) != "7\n" {
			t.Errorf("%s", r.Stdout)
		}
		if r := run(t, p, 1, "1/0"); r.Exc != "ZeroDivisionError" || !strings.Contains(string(r.Traceback), "<cell 3>") || len(r.Stderr) > 0 {
			t.Errorf("%v: traceback %q, stderr %q", r, r.Traceback, r.Stderr)
		}
		p.Forget(1)
		if r := run(t, p, 1, "print('x' in globals())"); string(r.Stdout) != "False\n" {
			t.Errorf("after Forget: %s", r.Stdout)
		}
		for i := 2; i <= 5; i++ {
			r := run(t, p, 1, "y=1")
			if want := map[bool]string{false: Alive, true: Gone}[i == 5]; r.Session != want {
				t.Errorf("cell %d of 5: session %s, want %s", i, r.Session, want)
			}
		}
		if r := run(t, p, 1, "print('y' in globals())"); string(r.Stdout) != "False\n" {
			t.Errorf("after the last cell: %s", r.Stdout)
		}
	}()
	before.same(t)
}

// Threads and timers of an ended cell use no CPU until the next one.
func TestNothingRunsBetweenCells(t *testing.T) {
	p := testPool(t, func(c *Config) { c.Session = SessionTrajectory })
	run(t, p, 1, "import threading\nn=0\ndef spin():\n    global n\n    while True: n+=1\nthreading.Thread(target=spin,daemon=True).start()")
	p.mu.Lock()
	s := p.byKey[1].s
	p.mu.Unlock()
	await(t, 10*time.Second, "a stopped session", func() bool { // SIGSTOP takes as long as the threads take to be interrupted
		a, ok := s.cpu()
		time.Sleep(200 * time.Millisecond)
		b, _ := s.cpu()
		return ok && b-a < 2*time.Millisecond
	})
	if r := run(t, p, 1, "print(n>0)"); string(r.Stdout) != "True\n" {
		t.Errorf("%v %s", r, r.Stdout)
	}
}

// With checkpoints a killed, crashed or timed-out cell costs that cell alone.
func TestCheckpointRollsBackOneCell(t *testing.T) {
	before := census(t)
	func() {
		cfg := Default()
		cfg.Python, cfg.Preload, cfg.Session, cfg.Checkpoint, cfg.AllowFork = barePython(t), nil, SessionTrajectory, true, true
		cfg.Limits.CPU, cfg.Limits.Wall, cfg.Limits.Cells, cfg.Warm = 300*time.Millisecond, 2*time.Second, 100, 4
		p, err := New(context.Background(), cfg, nil)
		if isTier(err) {
			t.Skipf("checkpoints need tier A: %v", err)
		} else if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		run(t, p, 1, "x=1")
		for i, c := range []struct {
			code string
			want Status
		}{
			{"x=99\nimport signal\nsignal.signal(2,signal.SIG_IGN)\nwhile True: pass", TimeoutCPU},
			{"x=99\nimport ctypes; ctypes.string_at(0)", Crashed},
			{"x=99\nimport os; os._exit(7)", Exited},
			{"x=99\nsum(range(10**12))", TimeoutCPU},
		} {
			r := run(t, p, 1, c.code)
			if r.Status != c.want && !(c.want == TimeoutCPU && r.Status == TimeoutWall) || !r.RolledBack || r.Session != Alive {
				t.Errorf("%q: %v, rolled back %v, session %s", c.code, r, r.RolledBack, r.Session)
			}
			if r := run(t, p, 1, "print(x); x+=1"); string(r.Stdout) != fmt.Sprintf("%d\n", i+1) {
				t.Errorf("after %q: %v x=%q, want %d", c.code, r, r.Stdout, i+1)
			}
		}
		for i := range 20 { // a long chain of saved states
			run(t, p, 2, fmt.Sprintf("z=%d", i))
		}
		if r := run(t, p, 2, "print(z)"); string(r.Stdout) != "19\n" {
			t.Errorf("%v %s", r, r.Stdout)
		}
		p.mu.Lock()
		s := p.byKey[2].s
		p.mu.Unlock()
		b, _ := os.ReadFile(filepath.Join(s.group.memory, "cgroup.procs"))
		if n := strings.Count(string(b), "\n"); n > 22 {
			t.Errorf("%d processes after 21 cells, want a parent per cell and the runner", n)
		}
	}()
	before.same(t)
}

func TestEchoPrintsFinalExpression(t *testing.T) {
	p := testPool(t, func(c *Config) { c.Echo = EchoLastExpression })
	for code, want := range map[string]string{"1+1": "2\n", "x=3\nx": "3\n", "x=3": "", "None": "", "print(1)": "1\n", "'a\\nb'": "'a\\nb'\n",
		"[1,\n 2\n]": "[1, 2]\n", "if True:\n    5": "", "x=1;x+1": "2\n", "5 # comment\n\n": "5\n", "": ""} {
		if r := run(t, p, 0, code); string(r.Stdout) != want || r.Status != OK {
			t.Errorf("%q: got %q (%v %s), want %q", code, r.Stdout, r, r.Traceback, want)
		}
	}
}

// Equal code and seed print equal bytes, in every session of every fork server; other seeds print others.
func TestSeedsDecideRandomness(t *testing.T) {
	p := testPool(t, nil)
	code := "import random\nprint(random.random(), random.sample(range(1000),5), hash('a'), {3,1,2,'x','y'})"
	seen := map[string]bool{}
	for seed := range uint32(3) {
		var first string
		for i := range 30 {
			r, err := p.RunSeeded(context.Background(), 0, seed, code)
			if err != nil {
				t.Fatal(err)
			}
			if i == 0 {
				first = string(r.Stdout)
			} else if string(r.Stdout) != first {
				t.Fatalf("seed %d: %q then %q", seed, first, r.Stdout)
			}
		}
		seen[first] = true
	}
	if len(seen) != 3 {
		t.Errorf("3 seeds, %d different outputs", len(seen))
	}
}

// Output of every length arrives complete, byte for byte, at 16 at a time.
func TestOutputIsByteExact(t *testing.T) {
	p := testPool(t, nil)
	n := 200
	if *soakRuns > 0 {
		n = *soakRuns
	}
	jobs := make(chan int)
	var wg sync.WaitGroup
	for range 16 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for size := range jobs {
				r, err := p.Run(context.Background(), 0, fmt.Sprintf("import sys,os\nos.write(2,b'e'*%d)\nsys.stdout.write('o'*%d)", size/3, size))
				if err != nil || len(r.Stdout) != size || len(r.Stderr) != size/3 || r.StdoutBytes != int64(size) {
					t.Errorf("size %d: %v %v, %d and %d bytes", size, r, err, r.StdoutBytes, r.StderrBytes)
				}
			}
		}()
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range n {
		jobs <- 1 + r.IntN(60000)
	}
	close(jobs)
	wg.Wait()
}

// Big outputs are counted in full while the process still runs; nobody waits for its exit first.
func TestLargeOutputIsNoTimeout(t *testing.T) {
	p := testPool(t, nil)
	for _, n := range []int{64 << 10, 192 << 10, 1 << 20, 7 << 20} {
		if r := run(t, p, 0, fmt.Sprintf("print('x'*%d)", n-1)); r.Status != OK || r.StdoutBytes != int64(n) {
			t.Errorf("%d bytes: %v, %d counted", n, r, r.StdoutBytes)
		}
	}
}

// Time in the queue is reported and never charged to the cell.
func TestQueueIsNotCharged(t *testing.T) {
	p := testPool(t, func(c *Config) { c.Concurrency = 1; c.Limits.Wall = 2 * time.Second })
	var wg sync.WaitGroup
	var mu sync.Mutex
	var queued time.Duration
	for range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			r, err := p.Run(context.Background(), 0, "import time; time.sleep(0.35); print(1)")
			if err != nil || r.Status != OK {
				t.Errorf("%v %v after %v in the queue", r, err, r.Queue)
			}
			mu.Lock()
			queued = max(queued, r.Queue)
			mu.Unlock()
		}()
	}
	wg.Wait()
	if queued < 2*time.Second { // longer than the limit
		t.Errorf("longest queue %v, want about 2.5 s", queued)
	}
}

func TestContextAndCloseEndCalls(t *testing.T) {
	before := census(t)
	p := testPool(t, nil)
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	began := time.Now()
	if _, err := p.Run(ctx, 0, "import time; time.sleep(10)"); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 6*time.Second {
		t.Errorf("got %v after %v", err, time.Since(began))
	}
	ended := make(chan error, 8)
	for range 8 {
		go func() {
			_, err := p.Run(context.Background(), 0, "import time; time.sleep(10)")
			ended <- err
		}()
	}
	time.Sleep(100 * time.Millisecond)
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	for range 8 {
		select {
		case err := <-ended:
			if !errors.Is(err, ErrClosed) {
				t.Errorf("want ErrClosed, got %v", err)
			}
		case <-time.After(8 * time.Second):
			t.Fatal("a call outlives Close")
		}
	}
	if _, err := p.Run(context.Background(), 0, "1"); !errors.Is(err, ErrClosed) {
		t.Errorf("want ErrClosed, got %v", err)
	}
	before.same(t)
}

// A killed fork server costs no call in call mode; variables of a trajectory are lost as an error, never as a wrong answer.
func TestForkServerDeath(t *testing.T) {
	p := testPool(t, func(c *Config) { c.Session = SessionTrajectory; c.Zygotes = 1 })
	run(t, p, 1, "x=1")
	p.mu.Lock()
	z := p.zygotes[0]
	p.mu.Unlock()
	z.cmd.Process.Kill()
	<-z.buried
	_, err := p.Run(context.Background(), 1, "print(x)")
	var lost *SandboxError
	if !errors.As(err, &lost) {
		t.Errorf("want a SandboxError for the lost variables, got %v", err)
	}
	began := time.Now()
	if r := run(t, p, 1, "print(2)"); string(r.Stdout) != "2\n" {
		t.Errorf("%v", r)
	}
	t.Logf("recovered in %v", time.Since(began))
	if d := time.Since(began); d > 20*time.Second {
		t.Errorf("recovery took %v", d)
	}
	if s := p.Stats(); s.Restarts != 1 {
		t.Errorf("%d restarts, want 1", s.Restarts)
	}
}

// A session whose fork server cannot say how it ended, being too busy or about to die itself, is a lost call and run again: once such
// a call passed for one that had exited with 0 and printed nothing.
func TestDeathWithoutReportIsLost(t *testing.T) {
	p := testPool(t, func(c *Config) { c.Zygotes = 1 })
	p.mu.Lock()
	z := p.zygotes[0]
	p.mu.Unlock()
	type outcome struct {
		r   Result
		err error
	}
	ended := make(chan outcome)
	go func() {
		r, err := p.Run(context.Background(), 1, "import time; time.sleep(1); print(2)")
		ended <- outcome{r, err}
	}()
	time.Sleep(300 * time.Millisecond)

	// From the supervisor down, one child each, to the fork server, whose children are the sessions.
	below := children()
	servers := []string{fmt.Sprint(z.cmd.Process.Pid)}
	sessions := below[servers[0]]
	for len(sessions) == 1 {
		servers = append(servers, sessions[0])
		sessions = below[sessions[0]]
	}
	send := func(sig unix.Signal, pids []string) {
		for _, pid := range pids {
			n, _ := strconv.Atoi(pid)
			unix.Kill(n, sig)
		}
	}
	send(unix.SIGSTOP, servers)
	send(unix.SIGKILL, sessions)
	time.Sleep(1500 * time.Millisecond)
	z.cmd.Process.Kill()
	if got := <-ended; got.err != nil || got.r.Status != OK || string(got.r.Stdout) != "2\n" {
		t.Errorf("want 2, got %v, %q, %v", got.r, got.r.Stdout, got.err)
	}
	if s := p.Stats(); s.Retried == 0 {
		t.Error("nothing was retried: the call never met the fault")
	}
}

// A worn fork server is replaced while calls go on.
func TestWornForkServerIsReplaced(t *testing.T) {
	before := census(t)
	p := testPool(t, func(c *Config) { c.Zygotes = 1 })
	p.mu.Lock()
	z := p.zygotes[0]
	p.mu.Unlock()
	z.mu.Lock()
	z.spawns = spawnsPerZygote
	z.mu.Unlock()
	for i := range 60 {
		if r := run(t, p, 0, fmt.Sprintf("print(%d)", i)); string(r.Stdout) != fmt.Sprintf("%d\n", i) {
			t.Fatalf("%v", r)
		}
	}
	select {
	case <-z.buried:
	case <-time.After(20 * time.Second):
		t.Error("the worn fork server still lives")
	}
	p.Close()
	before.same(t)
}

// When no session can be made, calls fail soon and typed, and the pool recovers by itself.
func TestBreakerFailsFastAndRecovers(t *testing.T) {
	real, err := findPython(context.Background(), barePython(t))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir() // an environment by hand: its python3 can be taken away
	bin, away := filepath.Join(dir, "bin"), filepath.Join(dir, "away")
	for _, err := range []error{
		os.Mkdir(bin, 0o755), os.Symlink(real.Executable, filepath.Join(bin, "python3")),
		os.WriteFile(filepath.Join(dir, "pyvenv.cfg"), []byte("home = "+filepath.Dir(real.Executable)+"\n"), 0o644),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	p := testPool(t, func(c *Config) { c.Zygotes, c.Warm, c.Python = 1, 2, filepath.Join(bin, "python3") })
	p.mu.Lock()
	z := p.zygotes[0]
	p.mu.Unlock()
	if err := os.Rename(bin, away); err != nil {
		t.Fatal(err)
	}
	z.cmd.Process.Kill()
	<-z.buried
	began := time.Now()
	_, err = p.Run(context.Background(), 0, "print(1)")
	var sb *SandboxError
	if !errors.As(err, &sb) || time.Since(began) > noSession+15*time.Second {
		t.Errorf("got %v after %v", err, time.Since(began))
	}
	if err := os.Rename(away, bin); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(60 * time.Second)
	for {
		r, err := p.Run(context.Background(), 0, "print(1)")
		if err == nil && string(r.Stdout) == "1\n" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("no recovery: %v", err)
		}
	}
}

// A session shows exactly these mounts' worth of files, these descriptors and these names.
func TestSessionSeesOnlyItsJail(t *testing.T) {
	p := testPool(t, nil)
	if p.Info().Tier < TierB {
		t.Skip("no mount namespace in tier " + p.Info().Tier.String())
	}
	r := run(t, p, 0, "import os\n"+
		"print(sorted(os.listdir('/')),sorted(os.listdir('/dev')),os.getpid(),os.getppid(),"+
		"os.getuid(),os.getgid(),os.uname().nodename,os.getcwd())")
	for _, never := range []string{"proc", "sys'", "root", "home", "var", "shm", "boot", "mnt"} {
		if strings.Contains(string(r.Stdout), "'"+never) {
			t.Errorf("%s is visible: %s", never, r.Stdout)
		}
	}
	if want := "['full', 'null', 'random', 'urandom', 'zero'] 1 0 1000 1000 sandbox /tmp\n"; !strings.HasSuffix(string(r.Stdout), want) {
		t.Errorf("got %s%s, want it to end in %s", r.Stdout, r.Traceback, want)
	}
}

// Starts never fail by chance: capabilities and Landlock belong to threads, and the child asserts its own state.
func TestManyStarts(t *testing.T) {
	p := testPool(t, nil)
	n := 12
	if *soakRuns > 0 {
		n = min(300, *soakRuns)
	}
	for i := range n {
		z, err := p.f.start(p.ctx, p.log, false, p.release)
		if err != nil {
			t.Fatalf("start %d: %v", i, err)
		}
		z.stop()
	}
	if s := p.Stats(); s.SpawnFailures != 0 {
		t.Errorf("%d spawn failures", s.SpawnFailures)
	}
}

// Fork servers keep working when the trainer has few free descriptors and its low numbers are taken.
func TestSpawnsUnderDescriptorPressure(t *testing.T) {
	var held []int
	for range 500 {
		fd, err := unix.Dup(0)
		if err != nil {
			break
		}
		unix.CloseOnExec(fd)
		held = append(held, fd)
	}
	defer closeAll(held)
	p := testPool(t, nil)
	n := 100
	if *soakRuns > 0 {
		n = min(1000, *soakRuns)
	}
	for i := range n {
		r := run(t, p, 0, "import os\ndef there(fd):\n    try: os.fstat(fd); return True\n    except OSError: return False\n"+
			"print([fd for fd in range(2000) if there(fd)])")
		if string(r.Stdout) != "[0, 1, 2, 3]\n" {
			t.Fatalf("spawn %d: %v %s%s", i, r, r.Stdout, r.Traceback)
		}
	}
}

// Every kind of interpreter a user may have works inside: the system's, a virtual environment of it, a pyenv build.
func TestEveryKindOfPython(t *testing.T) {
	pythons := map[string]string{}
	if _, err := os.Stat("/usr/bin/python3"); err == nil {
		pythons["system"] = "/usr/bin/python3"
		dir := filepath.Join(t.TempDir(), "venv")
		if out, err := exec.Command("/usr/bin/python3", "-m", "venv", "--without-pip", dir).CombinedOutput(); err == nil {
			os.Chmod(filepath.Dir(filepath.Dir(dir)), 0o755)
			pythons["venv"] = filepath.Join(dir, "bin", "python3")
			site, _ := filepath.Glob(filepath.Join(dir, "lib", "python3*", "site-packages"))
			for _, s := range site { // below /tmp, where a session has its own scratch
				os.WriteFile(filepath.Join(s, "lazy.py"), []byte("answer = 42\n"), 0o644)
			}
		} else {
			t.Logf("no venv module: %s", out)
		}
	}
	if home, err := os.UserHomeDir(); err == nil {
		m, _ := filepath.Glob(filepath.Join(home, ".pyenv", "versions", "3.*", "bin", "python3"))
		m = slices.DeleteFunc(m, func(v string) bool { return strings.Contains(v, "/3.6") || strings.Contains(v, "/3.7") })
		for i, v := range m {
			if i%3 == 0 || i == len(m)-1 || *soakRuns > 0 {
				pythons["pyenv "+filepath.Base(filepath.Dir(filepath.Dir(v)))] = v
			}
		}
	}
	if p := DefaultPython(); filepath.IsAbs(p) {
		pythons["make python"] = p
	}
	if len(pythons) == 0 {
		t.Skip("no interpreter of any kind on this host")
	}
	for kind, path := range pythons {
		cfg := Default()
		cfg.Python, cfg.Warm, cfg.Zygotes, cfg.Preload = path, 1, 1, nil
		p, err := New(context.Background(), cfg, nil)
		if isTier(err) && os.Geteuid() != 0 {
			t.Skip(err)
		} else if err != nil {
			t.Errorf("%s %s: %v", kind, path, err)
			continue
		}
		r := run(t, p, 0, "import sys,json,decimal,zlib\nprint(sys.version_info[:2])\n1/0")
		const first = "Traceback (most recent call last):\n  File \"<cell 1>\", line 3"
		if r.Exc != "ZeroDivisionError" || !strings.HasPrefix(string(r.Traceback), first) {
			t.Errorf("%s: %v %s%s", kind, r, r.Stdout, r.Traceback)
		}
		if kind == "venv" {
			r := run(t, p, 0, "import lazy\nprint(lazy.answer)\ntry: open(lazy.__file__,'a').write('x'); print('wrote')\n"+
				"except OSError as e: pass")
			if string(r.Stdout) != "42\n" || r.Status != OK {
				t.Errorf("a module of the environment: %v %s%s", r, r.Stdout, r.Traceback)
			}
		}
		t.Logf("%-14s %s tier %v", kind, p.Info().Python, p.Info().Tier)
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
}

// The watchdog names the key whose session outlives every limit of its cell, and ends it.
func TestWatchdogNamesWhoHolds(t *testing.T) {
	var mu sync.Mutex
	var said strings.Builder
	cfg := Default()
	cfg.Python, cfg.Preload, cfg.Session, cfg.Warm = barePython(t), nil, SessionTrajectory, 2
	p, err := New(context.Background(), cfg, slog.New(slog.NewTextHandler(lockedWriter{&mu, &said}, nil)))
	if isTier(err) {
		t.Skipf("no pool on this host: %v", err)
	} else if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	run(t, p, 77, "x=1")
	p.mu.Lock()
	s := p.byKey[77].s
	p.holding[s] = holder{77, time.Now().Add(-time.Hour), time.Minute} // as if a cell had never come back
	p.mu.Unlock()
	await(t, 20*time.Second, "the watchdog's line", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return strings.Contains(said.String(), "key=77") && strings.Contains(said.String(), "beyond every limit")
	})
	await(t, 20*time.Second, "the session's end", func() bool { return s.died(0) })
	p.unhold(s)
}

type lockedWriter struct {
	mu *sync.Mutex
	b  *strings.Builder
}

func (w lockedWriter) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.Write(b)
}

// await polls: a busy machine may be late, never wrong.
func await(t testing.TB, d time.Duration, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(d); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("no sign of %s within %v", what, d)
		}
	}
}

// Idle sessions, old ones and those that use CPU time between cells are ended by the janitor; a session that died is kept until
// its key asks again, or the loss of its variables would look like a NameError of the model's.
func TestJanitorEndsIdleSessions(t *testing.T) {
	p := testPool(t, func(c *Config) { c.Session, c.Limits.Idle = SessionTrajectory, 50*time.Millisecond })
	run(t, p, 1, "x=1")
	p.mu.Lock()
	tr := p.byKey[1]
	p.mu.Unlock()
	await(t, 20*time.Second, "the janitor", func() bool {
		if !tr.mu.TryLock() {
			return false
		}
		defer tr.mu.Unlock()
		return tr.s == nil
	})
	if r := run(t, p, 1, "print('x' in globals())"); string(r.Stdout) != "False\n" {
		t.Errorf("%v %s", r, r.Stdout)
	}
}

// What a dead run left is swept when the next begins; what a living process or somebody else owns is not touched.
func TestLeftoversAreSweptAtStart(t *testing.T) {
	c, err := newCgroups(1<<29, 64)
	if err != nil {
		t.Skipf("no cgroups: %v", err)
	}
	c.close()
	for _, d := range cgroupDirs() {
		dead := filepath.Join(d, cgroupPrefix+"999999999-1-1")
		nested := filepath.Join(dead, "7")
		recycled := filepath.Join(d, fmt.Sprintf("%s%d-1-1", cgroupPrefix, os.Getpid())) // our pid, another start
		living := filepath.Join(d, cgroupPrefix+fmt.Sprint(os.Getppid())+"-"+startTime(os.Getppid())+"-1")
		foreign := filepath.Join(d, "retool-other-999999999-1")
		for _, g := range []string{dead, nested, recycled, living, foreign} {
			if err := os.Mkdir(g, 0o755); err != nil {
				t.Skipf("%s: %v", g, err)
			}
			defer os.Remove(g)
		}
		sweepCgroups(d)
		for g, want := range map[string]bool{dead: false, nested: false, recycled: false, living: true, foreign: true} {
			if _, err := os.Stat(g); (err == nil) != want {
				t.Errorf("%s: there: %v, want %v", g, err == nil, want)
			}
		}
	}
}

// Every mount of a session is read-only, without set-user-id programs and devices of its own; only its /tmp can be written, and runs
// nothing.
func TestMountsOfASession(t *testing.T) {
	p := testPool(t, nil)
	if p.Info().Tier < TierB {
		t.Skip("no mount namespace in tier " + p.Info().Tier.String())
	}
	s, err := p.take(context.Background(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer p.discard(s)
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", s.pid))
	if err != nil {
		t.Skipf("only root may look: %v", err)
	}
	writable := 0
	for _, line := range strings.Split(strings.TrimSpace(string(b)), "\n") {
		f := strings.Fields(line)
		at, options := f[4], ","+f[5]+","
		has := func(o string) bool { return strings.Contains(options, ","+o+",") }
		switch {
		case at == "/tmp":
			writable++
			if !has("rw") || !has("noexec") || !has("nosuid") || !has("nodev") || !strings.Contains(line, "size=65536k") ||
				!strings.Contains(line, "nr_inodes=4096") {
				t.Errorf("%s", line)
			}
		case !has("ro") || !has("nosuid") || filepath.Dir(at) != "/dev" && !has("nodev") || filepath.Dir(at) == "/dev" && !has("noexec"):
			t.Errorf("%s", line)
		}
		if strings.Contains(line, " - proc ") || strings.Contains(line, " - sysfs ") || strings.Contains(line, " - cgroup") ||
			strings.Contains(line, "shared:") {
			t.Errorf("%s", line)
		}
	}
	if writable != 1 {
		t.Errorf("%d writable mounts, want /tmp alone", writable)
	}
}

// That memory ended a cell is read from the kernel's counter, whichever process it killed and whatever the signal.
func TestMemoryKillIsKnownByItsCounter(t *testing.T) {
	for _, c := range []struct {
		fork bool
		code string
	}{
		// shared pages: no rlimit counts them
		{false, "import mmap\na=[]\nwhile True:\n    m=mmap.mmap(-1,8<<20); a.append(m)\n    for i in range(0,8<<20,4096): m[i]=1"},
		{true, "import os,mmap\nif os.fork()==0:\n    a=[]\n    while True:\n        m=mmap.mmap(-1,8<<20); a.append(m)\n" +
			"        for i in range(0,8<<20,4096): m[i]=1\nos.wait()\nprint('the parent lives')"},
	} {
		cfg := Default()
		cfg.Python, cfg.Preload, cfg.Warm, cfg.Zygotes, cfg.MinTier, cfg.AllowFork = barePython(t), nil, 2, 1, "A", c.fork
		cfg.Limits.Data, cfg.Limits.Memory, cfg.Limits.CPU, cfg.Limits.Wall = 64<<20, 96<<20, 20*time.Second, 40*time.Second
		p, err := New(context.Background(), cfg, nil)
		if isTier(err) {
			t.Skipf("memory groups need tier A: %v", err)
		} else if err != nil {
			t.Fatal(err)
		}
		if r := run(t, p, 0, c.code); r.Status != Memory || r.Signal != 0 {
			t.Errorf("fork %v: want memory, found %v %s%s", c.fork, r, r.Stdout, r.Traceback)
		}
		for range 3 { // groups are reused: the next session is not blamed
			if r := run(t, p, 0, "print(1)"); r.Status != OK {
				t.Errorf("the next session: %v", r)
			}
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
}
