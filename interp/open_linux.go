package interp

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// open decides the tier, from the best the host may offer down, and returns a pool whose self-test passed.
func open(ctx context.Context, cfg Config, py *python, log *slog.Logger) (*Pool, error) {
	top := TierA
	if cfg.forceTier != "" {
		top = tierNamed(cfg.forceTier)
		if strings.EqualFold(cfg.forceTier, "C") && os.Geteuid() == 0 {
			top = TierC1
		}
	}
	if cfg.Isolation == IsolationUnsafe {
		p := newPool(cfg, log, &fences{cfg: cfg, py: py}, nil)
		p.info = Info{Unsafe: true, Cgroup: "none", Python: py.version(), Path: py.Executable, Modules: map[string]string{}}
		log.Warn("interp: isolation is unsafe-subprocess: model code can read, write and send whatever you can")
		return p, nil
	}
	least := tierNamed(cfg.MinTier)
	if cfg.AllowFork || cfg.AllowExec {
		least = TierA
	}
	layers := probeLayers(cfg)
	var tried []string
	var boot *bootError
	for _, tier := range []Tier{TierA, TierB, TierC1, TierC2} {
		if tier > top || tier < least {
			continue
		}
		p, err := openTier(ctx, cfg, py, tier, layers, log)
		if err == nil {
			p.info.Layers = layers
			if tier < TierA {
				log.Warn("interp: lower tier", "tier", tier.String(), "missing", strings.Join(tried, "; "))
			}
			return p, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if unfit := (unfitError{}); errors.As(err, &unfit) {
			return nil, unfit.error
		}
		boot = nil
		errors.As(err, &boot)
		tried = append(tried, fmt.Sprintf("tier %v: %v", tier, err))
	}
	if boot != nil { // with the fewest fences too: they are not what is in its way
		return nil, fmt.Errorf("interp: %w", boot)
	}
	if len(tried) == 0 {
		tried = []string{fmt.Sprintf("the highest tier asked for is %v", top)}
	}
	hint := ""
	for _, l := range layers {
		if !l.OK && l.Remedy != "" {
			hint += "; " + l.Remedy
		}
	}
	need := cfg.MinTier
	if least == TierA && tierNamed(cfg.MinTier) != TierA {
		need = "A because of allow_fork or allow_exec"
	}
	return nil, fmt.Errorf("%w: tier %s is required; %s%s", ErrTier, need, strings.Join(tried, "; "), hint)
}

// layer finds a row of the table.
func layer(layers []Check, name string) Check {
	for _, l := range layers {
		if l.Name == name {
			return l
		}
	}
	return Check{Name: name}
}

// openTier builds a pool at one tier and tests it.
func openTier(ctx context.Context, cfg Config, py *python, tier Tier, layers []Check, log *slog.Logger) (*Pool, error) {
	needs := map[Tier][]string{TierA: {"user namespaces", "landlock", "seccomp", "cgroup"}, TierB: {"user namespaces", "seccomp"},
		TierC1: {"landlock", "seccomp", "user range"}, TierC2: {"landlock", "seccomp"}}
	for _, n := range needs[tier] {
		if l := layer(layers, n); !l.OK {
			return nil, fmt.Errorf("no %s (%s)", n, l.Detail)
		}
	}
	if dir := py.hidden(); tier == TierC1 && dir != "" {
		return nil, fmt.Errorf("python %s lies below %s, which the sessions' users cannot enter", py.Executable, dir)
	}
	p, err := bare(ctx, cfg, py, tier, log)
	if err != nil {
		return nil, err
	}
	boot := p.zygotes[len(p.zygotes)-1].boot // with libraries, if there are such
	p.info = Info{Tier: tier, Landlock: boot.Landlock, Seccomp: len(p.f.filter), Cgroup: p.cg.version(),
		Python: boot.Python, Path: py.Executable,
		Modules: boot.Modules, Missing: missing(cfg, boot), Sessions: cap(p.warm) + cap(p.rich)}
	for _, why := range unpinned(py, boot.Modules) {
		log.Warn("interp: "+why, "remedy", "make python")
	}
	if boot.Landlock == 0 && tier != TierB {
		err = errors.New("the kernel did not apply Landlock")
	}
	if err == nil {
		err = strange(cfg, py, boot)
	}
	if err == nil {
		p.info.SelfTest, err = p.test(ctx)
	}
	if err != nil {
		p.Close()
		return nil, err
	}
	p.stats.reset()
	return p, nil
}

// bare builds a pool that has not been tested.
func bare(ctx context.Context, cfg Config, py *python, tier Tier, log *slog.Logger) (*Pool, error) {
	f := &fences{cfg: cfg, tier: tier, py: py, omit: omitted(cfg), preload: []string{}}
	f.divide()
	if os.Geteuid() == 0 && tier != TierC2 {
		f.uidBase, f.uids = userRange()
	}
	var err error
	if f.show, err = showList(py.show); err != nil {
		return nil, err
	}
	f.filter = sessionPolicy(!f.jail(), cfg.AllowFork, cfg.AllowExec).program()
	var cg *cgroups
	if tier == TierA {
		if cg, err = newCgroups(int64(cfg.Limits.Memory), cfg.Limits.Processes+cfg.Limits.Cells); err != nil {
			return nil, fmt.Errorf("cgroup: %w", err)
		}
	}
	p := newPool(cfg, log, f, cg)
	if err := p.begin(ctx); err != nil {
		p.cancel()
		if cg != nil {
			cg.close()
		}
		return nil, err
	}
	return p, nil
}

// strange refuses a module to preload that nobody but the user asked for, and that cannot be imported.
func strange(cfg Config, py *python, boot bootFrame) error {
	for _, m := range missing(cfg, boot) {
		if !slices.Contains(Default().Preload, m) {
			why := cmp.Or(boot.Missing[m], "it is not installed")
			return unfitError{fmt.Errorf("interp: preload: python %s cannot import %q: %s", py.Executable, m, why)}
		}
	}
	return nil
}

// missing lists the modules to preload that the interpreter does not have.
func missing(cfg Config, boot bootFrame) []string {
	var out []string
	for _, m := range cfg.Preload {
		if _, ok := boot.Modules[m]; !ok {
			out = append(out, m)
		}
	}
	return out
}

// divide sorts the modules to preload: libraries the interpreter has make a second kind of fork server.
func (f *fences) divide() {
	has := map[string]bool{}
	for _, m := range f.py.Has {
		has[m] = true
	}
	var heavy []string
	for _, m := range f.cfg.Preload {
		root, _, _ := strings.Cut(m, ".")
		switch {
		case !isLibrary(m):
			f.preload = append(f.preload, m)
		case has[root]:
			heavy = append(heavy, m)
		}
	}
	if heavy != nil {
		f.rich = append(append([]string{}, f.preload...), heavy...)
	}
}

// Cold starts a pool for one call, at the tier and with the interpreter that info names, without a self-test of its own: what a
// sandbox costs that is made for each call. `retool bench sandbox` compares it.
func Cold(ctx context.Context, cfg Config, info Info) (*Pool, error) {
	cfg.Python = info.Path
	key := coldKey{info.Path, info.Python}
	py, ok := coldPython.Load(key)
	if !ok {
		found, err := findPython(ctx, cfg.Python)
		if err != nil {
			return nil, err
		}
		py, _ = coldPython.LoadOrStore(key, found)
	}
	return bare(ctx, cfg, py.(*python), info.Tier, slog.New(slog.DiscardHandler))
}

type coldKey struct{ path, version string }

var coldPython sync.Map // the probe of an interpreter is not part of a cold start

func omitted(cfg Config) map[string]bool {
	m := map[string]bool{}
	for _, o := range cfg.omit {
		m[o] = true
	}
	return m
}

// probeLayers asks the kernel for each fence by the real call, in a child where the call would change this process.
func probeLayers(cfg Config) []Check {
	omit := omitted(cfg)
	row := func(name string, err error, found, remedy string) Check {
		if omit[name] {
			err = errors.New("left out by a test")
		}
		if err != nil {
			return Check{Name: name, Detail: err.Error(), Remedy: remedy}
		}
		return Check{Name: name, OK: true, Detail: found}
	}
	var rows []Check
	rows = append(rows, row("user namespaces", probeNamespaces(), "user, mount, pid, net, ipc, uts",
		"allow unprivileged user namespaces (sysctl kernel.unprivileged_userns_clone=1, user.max_user_namespaces>0, "+
			"kernel.apparmor_restrict_unprivileged_userns=0; in Docker: --security-opt seccomp=unconfined), or run as root"))
	abi := landlockABI()
	var err error
	if abi == 0 {
		err = errors.New("the kernel offers none")
	}
	rows = append(rows, row("landlock", err, fmt.Sprintf("ABI %d", abi), "use Linux 5.13 or newer with landlock in the lsm= boot list"))
	rows = append(rows, row("seccomp", probeSeccomp(), fmt.Sprintf("%d instructions", len(sessionPolicy(false, false, false).program())),
		"use a kernel with CONFIG_SECCOMP_FILTER"))
	g, err := newCgroups(1<<29, 64)
	found := g.version()
	if err == nil {
		g.close()
	}
	rows = append(rows, row("cgroup", err, found, "run as root, or in a delegated cgroup v2 "+
		"(systemd-run --user --scope -p Delegate=yes retool …)"))
	err = nil
	base, n := userRange()
	if os.Geteuid() != 0 || n == 0 {
		err = errors.New("this process cannot give sessions users of their own")
	}
	rows = append(rows, row("user range", err, fmt.Sprintf("%d to %d", base, base+n-1), "run as root"))
	return rows
}

// probeNamespaces starts a child in the namespaces of a jail, first without a user map: when the clone itself is refused, package
// syscall (Go 1.26) leaks the pipe it would have handed the map through.
func probeNamespaces() error {
	for _, order := range []string{probeClone, probeMount} {
		cmd := &exec.Cmd{Path: "/proc/self/exe", Args: []string{initName, order}, Env: []string{}, Dir: "/"}
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS,
		}
		if order == probeMount {
			cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
			cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
		}
		var out strings.Builder
		cmd.Stderr = &out
		if err := cmd.Start(); err != nil {
			return err
		}
		timer := time.AfterFunc(10*time.Second, func() { cmd.Process.Kill() })
		err := cmd.Wait()
		timer.Stop()
		if err != nil {
			if text := strings.TrimSpace(out.String()); text != "" {
				return fmt.Errorf("%w: %s", err, tail(text, 200))
			}
			return err
		}
	}
	return nil
}

func probeSeccomp() error {
	action := uint32(unix.SECCOMP_RET_ERRNO)
	_, _, e := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_GET_ACTION_AVAIL, 0, uintptr(unsafe.Pointer(&action)))
	if e != 0 {
		return fmt.Errorf("seccomp filters: %w", e)
	}
	return nil
}

// Stats is a snapshot of the pool's counters.
func (p *Pool) Stats() Stats {
	s := p.stats.snapshot()
	s.Warm, s.Running, s.Waiting = len(p.warm)+len(p.rich), len(p.run), int(p.waiting.Load())
	p.mu.Lock()
	s.Sessions = p.sessions
	for _, z := range p.zygotes {
		s.ZygoteRSS += z.rss()
	}
	p.mu.Unlock()
	return s
}
