package interp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

var cores = runtime.NumCPU()

// A Pool runs cells in isolated Python processes. Its methods may be called from many goroutines at once.
type Pool struct {
	cfg  Config
	log  *slog.Logger
	f    *fences
	cg   *cgroups
	info Info

	run  chan struct{} // one token per running cell; waiters are served in order
	warm chan *session // ready sessions of the plain fork servers
	rich chan *session // of those with libraries; nil: there are none

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	work   sync.WaitGroup // keepers, janitor
	calls  sync.WaitGroup // Run

	ids     atomic.Int64
	waiting atomic.Int64 // calls without a running slot
	faults  atomic.Int64 // spawn failures in a row; above breakerAt calls fail at once
	cause   atomic.Value // error of the latest spawn failure

	mu       sync.Mutex
	closed   bool
	uids     []int // free slots of the user range
	byKey    map[int64]*trajectory
	zygotes  []*zygote
	sessions int // not yet given back
	holding  map[*session]holder

	stats counters
}

// A trajectory is a key's session. Its lock serialises the cells of one key.
type trajectory struct {
	mu   sync.Mutex
	s    *session
	gone bool // forgotten
	seed uint32
}

// A holder names who uses a session, for the watchdog.
type holder struct {
	key   int64
	since time.Time
	late  time.Duration // beyond every limit of its cell
}

const (
	spawnsPerZygote = 20000 // then a fresh one: forks share its address layout
	retries         = 2
	lostRetries     = 8 // when a fork server dies, all its warm sessions do
	breakerAt       = 5
	noSession       = 30 * time.Second // waiting for a warm session
	beyondLimits    = 5 * time.Second  // then the watchdog names and kills a session
)

// New finds the interpreter, decides the tier by a self-test in the real sandbox and fills the warm pool. It fails with ErrTier
// below cfg.MinTier, in one sentence that says what is missing and how to get it.
func New(ctx context.Context, cfg Config, log *slog.Logger) (*Pool, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	py, err := findPython(ctx, cfg.Python)
	if err != nil {
		return nil, err
	}
	return open(ctx, cfg, py, log)
}

func newPool(cfg Config, log *slog.Logger, f *fences, cg *cgroups) *Pool {
	p := &Pool{cfg: cfg, log: log, f: f, cg: cg, run: make(chan struct{}, cfg.concurrency()), warm: make(chan *session, cfg.warm()),
		byKey: map[int64]*trajectory{}, holding: map[*session]holder{}}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	if f.rich != nil {
		p.rich = make(chan *session, max(1, cfg.warm()/2))
	}
	for i := f.uids - 1; i > 0; i-- {
		p.uids = append(p.uids, i)
	}
	p.stats.start = time.Now()
	return p
}

// begin starts the fork servers and the goroutines that keep sessions warm.
func (p *Pool) begin() error {
	n := p.cfg.zygotes()
	if p.rich != nil {
		n *= 2 // the second half has the libraries
	}
	first := make([]*zygote, n)
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range first {
		wg.Add(1)
		go func() {
			defer wg.Done()
			first[i], errs[i] = p.f.start(p.log, i >= p.cfg.zygotes(), p.release)
		}()
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		for _, z := range first {
			if z != nil {
				z.stop()
			}
		}
		return err
	}
	p.zygotes = append(p.zygotes, first...)
	for i, z := range first {
		p.work.Add(1)
		go p.keep(i, z)
	}
	p.work.Add(1)
	go p.janitor()
	return nil
}

// keep is the goroutine of fork server i: it fills the warm pool and replaces the server when it dies or is worn out.
func (p *Pool) keep(i int, z *zygote) {
	defer p.work.Done()
	rich, ready := z.rich, p.warm
	if rich {
		ready = p.rich
	}
	backoff := time.Duration(0)
	for p.ctx.Err() == nil {
		if z == nil {
			var err error
			if z, err = p.f.start(p.log, rich, p.release); err != nil {
				z = nil
				p.failed(err)
				backoff = min(2*backoff+50*time.Millisecond, time.Second)
				select {
				case <-p.ctx.Done():
				case <-time.After(backoff):
				}
				continue
			}
			backoff = 0
			p.mu.Lock()
			p.zygotes[i] = z
			p.mu.Unlock()
			p.stats.restarts.Add(1)
		}
		s, err := p.spawn(z)
		if err != nil {
			if p.ctx.Err() != nil {
				return
			}
			p.failed(err)
			select {
			case <-z.dead:
				z = nil
			case <-time.After(min(100*time.Millisecond, time.Duration(p.faults.Load())*5*time.Millisecond)):
			}
			continue
		}
		p.faults.Store(0)
		select {
		case ready <- s:
		case <-z.dead:
			p.discard(s)
			z = nil
			continue
		case <-p.ctx.Done():
			p.discard(s)
			return
		}
		select {
		case <-z.dead:
			z = nil
			continue
		default:
		}
		if z.worn() {
			p.retire(z)
			z = nil
		}
	}
}

// worn says whether the fork server has served its time: too many forks from one address layout, or grown by a fifth.
func (z *zygote) worn() bool {
	z.mu.Lock()
	n := z.spawns
	z.mu.Unlock()
	return n >= spawnsPerZygote || n%500 == 0 && z.rss() > z.rss0+z.rss0/5+8<<20
}

// retire lets the sessions of a fork server finish and then ends it.
func (p *Pool) retire(z *zygote) {
	z.retiring.Store(true)
	p.work.Add(1)
	go func() {
		defer p.work.Done()
		for p.ctx.Err() == nil {
			z.mu.Lock()
			n := len(z.live)
			z.mu.Unlock()
			if n == 0 {
				break
			}
			select {
			case <-p.ctx.Done():
			case <-z.dead:
				return
			case <-time.After(50 * time.Millisecond):
			}
		}
		z.stop()
	}()
}

func (p *Pool) failed(err error) {
	p.faults.Add(1)
	p.stats.spawnFailures.Add(1)
	p.cause.Store(errBox{err})
	p.log.Warn("no session", "error", err)
}

type errBox struct{ err error }

// spawn takes a slot and a group and makes a session.
func (p *Pool) spawn(z *zygote) (*session, error) {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil, ErrClosed
	}
	uid := 0
	if p.f.uids > 1 {
		if len(p.uids) == 0 {
			p.mu.Unlock()
			return nil, errors.New("every slot of the user range is taken")
		}
		uid = p.uids[len(p.uids)-1]
		p.uids = p.uids[:len(p.uids)-1]
	}
	var g *cgroup
	var err error
	if p.cg != nil {
		g, err = p.cg.group(p.cfg.AllowFork)
	}
	p.sessions++
	p.mu.Unlock()
	giveBack := func() {
		p.mu.Lock()
		p.giveBack(uid, g)
		p.mu.Unlock()
	}
	if err != nil {
		giveBack()
		return nil, fmt.Errorf("cgroup: %w", err)
	}
	if p.f.tier == TierC1 {
		uid += p.f.uidBase // no map of its own: the host's number
	}
	s, err := z.spawn(p.ids.Add(1), uid, g, p.cfg.Checkpoint)
	if err != nil {
		if s == nil {
			if p.f.tier == TierC1 {
				uid -= p.f.uidBase
			}
			giveBack()
		}
		return nil, err
	}
	return s, nil
}

// giveBack needs mu.
func (p *Pool) giveBack(uid int, g *cgroup) {
	if p.f.uids > 1 && uid > 0 {
		p.uids = append(p.uids, uid)
	}
	if g != nil {
		p.cg.recycle(g)
	}
	p.sessions--
}

// release runs when the process is gone and nobody uses the session.
func (p *Pool) release(s *session) {
	s.closeFDs()
	if s.pidfd >= 0 {
		unix.Close(s.pidfd)
		s.pidfd = -1
	}
	uid := s.uid
	if p.f.tier == TierC1 {
		uid -= p.f.uidBase
	}
	p.mu.Lock()
	p.giveBack(uid, s.group)
	p.mu.Unlock()
}

// discard ends a session for good. The kernel's work is not waited for.
func (p *Pool) discard(s *session) {
	s.kill()
	s.closeFDs()
	s.drop()
}

// lane is where a call's session comes from. A trajectory may name a library in any later cell, so it starts with all of them.
// Code that hides the name of a library from this look can still import it, slowly.
func (p *Pool) lane(code string) chan *session {
	if p.rich == nil {
		return p.warm
	}
	if p.cfg.Session == SessionTrajectory {
		return p.rich
	}
	for _, l := range p.f.rich {
		if isLibrary(l) && strings.Contains(code, l) {
			return p.rich
		}
	}
	return p.warm
}

// take returns a warm session whose process lives.
func (p *Pool) take(ctx context.Context, code string) (*session, error) {
	ready := p.lane(code)
	deadline := time.NewTimer(noSession)
	defer deadline.Stop()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case s := <-ready:
			select {
			case <-s.z.dead:
				p.discard(s)
				continue
			default:
			}
			if s.died(0) {
				p.discard(s)
				continue
			}
			return s, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-p.ctx.Done():
			return nil, ErrClosed
		case <-tick.C:
			if p.faults.Load() >= breakerAt {
				return nil, fault("spawn", p.lastCause())
			}
		case <-deadline.C:
			return nil, fault("spawn", fmt.Errorf("no session within %v: %w", noSession, p.lastCause()))
		}
	}
}

func (p *Pool) lastCause() error {
	if b, ok := p.cause.Load().(errBox); ok {
		return b.err
	}
	return errors.New("the fork servers are busy")
}

// Run executes code and returns what it did. In call mode (the default) the process is fresh and key is ignored; in trajectory
// mode cells of one key share variables, one at a time. A crash, a timeout, a traceback and a memory kill are Results. The error
// is ErrClosed, ctx.Err(), or a *SandboxError after two retries.
func (p *Pool) Run(ctx context.Context, key int64, code string) (Result, error) {
	return p.RunSeeded(ctx, key, 0, code)
}

// RunLast is Run for a key's last cell: what follows the last line of a program follows it, and its session ends. Non-daemon threads
// are awaited and atexit's functions run, within the cell's limits. In call mode every cell is its session's last.
func (p *Pool) RunLast(ctx context.Context, key int64, code string) (Result, error) {
	defer p.Forget(key)
	return p.call(ctx, key, 0, code, true)
}

// RunSeeded is Run with a seed for random and numpy.random. Equal code and seed print equal bytes.
func (p *Pool) RunSeeded(ctx context.Context, key int64, seed uint32, code string) (Result, error) {
	return p.call(ctx, key, seed, code, false)
}

func (p *Pool) call(ctx context.Context, key int64, seed uint32, code string, last bool) (Result, error) {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return Result{}, ErrClosed
	}
	p.calls.Add(1)
	p.mu.Unlock()
	defer p.calls.Done()
	asked := time.Now()
	if max := int(p.cfg.Limits.Code); len(code) > max {
		text := fmt.Sprintf("ValueError: the code has %d bytes, at most %d are run\n", len(code), max)
		r := Result{Status: Exception, Session: Alive, Exc: "ValueError", Traceback: []byte(text)}
		p.stats.note(r)
		return r, nil
	}
	if p.cfg.Isolation == IsolationUnsafe {
		return p.runUnsafe(ctx, code, asked)
	}
	if p.cfg.Session == SessionTrajectory {
		return p.runTrajectory(ctx, key, seed, code, last, asked)
	}
	var failed error
	lost := 0
	for try := 0; try <= retries; {
		r, err := p.runOnce(ctx, key, cell{code: code, seed: seed, echo: p.cfg.Echo == EchoLastExpression, limits: p.cfg.Limits}, asked)
		if err == nil {
			p.stats.note(r)
			return r, nil
		}
		var sb *SandboxError
		if !errors.As(err, &sb) {
			return Result{}, err
		}
		failed = err
		if p.ctx.Err() != nil {
			return Result{}, ErrClosed
		}
		p.stats.retried.Add(1)
		if lost++; !errors.Is(err, errLost) || lost > lostRetries {
			try++
		} else {
			time.Sleep(10 * time.Millisecond) // until it is known to be dead
		}
	}
	p.stats.errors.Add(1)
	return Result{}, failed
}

func (p *Pool) slot(ctx context.Context) error {
	select {
	case p.run <- struct{}{}:
		return nil
	default:
	}
	p.waiting.Add(1)
	defer p.waiting.Add(-1)
	select {
	case p.run <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-p.ctx.Done():
		return ErrClosed
	}
}

func (p *Pool) runOnce(ctx context.Context, key int64, c cell, asked time.Time) (Result, error) {
	if err := p.slot(ctx); err != nil {
		return Result{}, err
	}
	defer func() { <-p.run }()
	s, err := p.take(ctx, c.code)
	if err != nil {
		return Result{}, err
	}
	p.hold(s, key, c.limits)
	queue := time.Since(asked)
	r, err := s.run(ctx, c)
	p.unhold(s)
	p.discard(s)
	r.Queue = queue
	return r, p.closedInstead(err)
}

// closedInstead reports a session that Close killed as what it is.
func (p *Pool) closedInstead(err error) error {
	if err != nil && p.ctx.Err() != nil {
		return ErrClosed
	}
	return err
}

func (p *Pool) hold(s *session, key int64, l Limits) {
	p.mu.Lock()
	p.holding[s] = holder{key, time.Now(), l.Wall + 3*l.Grace + beyondLimits}
	p.mu.Unlock()
}

func (p *Pool) unhold(s *session) {
	p.mu.Lock()
	delete(p.holding, s)
	p.mu.Unlock()
}

func (p *Pool) runTrajectory(ctx context.Context, key int64, seed uint32, code string, last bool, asked time.Time) (Result, error) {
	p.mu.Lock()
	t := p.byKey[key]
	if t == nil {
		t = &trajectory{}
		p.byKey[key] = t
	}
	p.mu.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := p.slot(ctx); err != nil {
		return Result{}, err
	}
	defer func() { <-p.run }()
	var failed error
	lost := 0
	for try := 0; try <= retries; {
		fresh := t.s == nil
		if fresh {
			s, err := p.take(ctx, code)
			var sb *SandboxError
			if errors.As(err, &sb) {
				failed = err
				p.stats.retried.Add(1)
				try++
				continue
			} else if err != nil {
				return Result{}, err
			}
			t.s = s
		}
		s := t.s
		queue := time.Since(asked)
		c := cell{code: code, seed: seed + t.seed, echo: p.cfg.Echo == EchoLastExpression, save: p.cfg.Checkpoint, keep: !last, limits: p.cfg.Limits}
		p.hold(s, key, c.limits)
		r, err := s.run(ctx, c)
		p.unhold(s)
		r.Queue = queue
		if err == nil && r.Session == Alive && (s.cells >= p.cfg.Limits.Cells || time.Since(s.born) > p.cfg.Limits.Session) {
			r.Session = Gone
		}
		if err != nil || r.Session == Gone || last {
			p.discard(s)
			t.s, t.seed = nil, 0
		} else {
			t.seed++
		}
		if t.gone && t.s != nil { // Forget came while the cell ran
			p.discard(t.s)
			t.s = nil
		}
		if err == nil {
			p.stats.note(r)
			return r, nil
		}
		var sb *SandboxError
		if err = p.closedInstead(err); !errors.As(err, &sb) {
			return Result{}, err
		}
		failed = err
		p.stats.retried.Add(1)
		if lost++; !errors.Is(err, errLost) || lost > lostRetries {
			try++
		} else {
			time.Sleep(10 * time.Millisecond)
		}
		if !fresh { // the variables are lost with the process: a retry would answer another question
			break
		}
	}
	p.stats.errors.Add(1)
	return Result{}, failed
}

// Forget ends key's session, if it has one.
func (p *Pool) Forget(key int64) {
	p.mu.Lock()
	t := p.byKey[key]
	delete(p.byKey, key)
	p.mu.Unlock()
	if t == nil {
		return
	}
	if t.mu.TryLock() {
		t.gone = true
		if t.s != nil {
			p.discard(t.s)
			t.s = nil
		}
		t.mu.Unlock()
		return
	}
	go func() { // a cell is running: its limits bound the wait
		t.mu.Lock()
		defer t.mu.Unlock()
		t.gone = true
		if t.s != nil {
			p.discard(t.s)
			t.s = nil
		}
	}()
}

// janitor ends sessions that are idle too long, too old, or busy while no cell runs, and names what holds a step.
func (p *Pool) janitor() {
	defer p.work.Done()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	l := p.cfg.Limits
	for {
		select {
		case <-p.ctx.Done():
			return
		case <-tick.C:
		}
		p.mu.Lock()
		keys := make(map[int64]*trajectory, len(p.byKey))
		for k, t := range p.byKey {
			keys[k] = t
		}
		for s, h := range p.holding {
			if d := time.Since(h.since); d > h.late {
				p.log.Error("a session holds its caller beyond every limit", "key", h.key, "session", s.id, "pid", s.pid, "for", d.Round(time.Second))
				s.signal(unix.SIGKILL)
			}
		}
		p.mu.Unlock()
		for k, t := range keys {
			if !t.mu.TryLock() {
				continue
			}
			if s := t.s; s != nil {
				cpu, ok := s.cpu()
				why := ""
				switch {
				case time.Since(s.used) > l.Idle:
					why = "idle"
				case time.Since(s.born) > l.Session:
					why = "age"
				case s.died(0): // the next cell has to learn that its variables are gone, and whether that is our fault
				case ok && cpu-s.idleCPU > time.Second:
					why = "busy between cells"
				}
				if why != "" {
					p.log.Debug("session ended", "key", k, "why", why)
					p.discard(s)
					t.s = nil
				}
			}
			t.mu.Unlock()
		}
	}
}

// Info says what fences stand and which Python runs; it is printed and stored with a run.
func (p *Pool) Info() Info { return p.info }

// Close ends every session and fork server and removes every group. Calls in flight return ErrClosed.
func (p *Pool) Close() error {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil
	}
	p.closed = true
	zs := append([]*zygote(nil), p.zygotes...)
	p.mu.Unlock()
	p.cancel()
	for _, z := range zs { // takes every session along; a keeper that just started another one stops it below
		z.stop()
	}
	p.work.Wait()
	p.mu.Lock()
	zs = append([]*zygote(nil), p.zygotes...)
	p.mu.Unlock()
	for _, z := range zs {
		z.stop()
	}
	p.calls.Wait()
	for {
		select {
		case s := <-p.warm:
			p.discard(s)
			continue
		case s := <-p.rich: // never ready if there is none
			p.discard(s)
			continue
		default:
		}
		break
	}
	p.mu.Lock()
	keys := p.byKey
	p.byKey = map[int64]*trajectory{}
	p.mu.Unlock()
	for _, t := range keys {
		t.mu.Lock()
		if t.s != nil {
			p.discard(t.s)
			t.s = nil
		}
		t.mu.Unlock()
	}
	p.mu.Lock()
	left := p.sessions
	p.mu.Unlock()
	if p.cg != nil {
		p.cg.close()
	}
	if left != 0 {
		return fmt.Errorf("interp: close: %d sessions not given back", left)
	}
	return nil
}

// userRange is the block of host users that sessions get when the trainer is root: 165534 and up if the trainer's own user
// namespace has them, else the highest block it has.
func userRange() (base, n int) {
	const want = 4097
	b, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return 0, 0
	}
	for _, line := range strings.Split(string(b), "\n") {
		var in, out, size int64
		if k, _ := fmt.Sscan(line, &in, &out, &size); k != 3 {
			continue
		}
		if in <= 165534 && in+size >= 165534+want {
			return 165534, want
		}
		if in+size > 1000 && size > 64 {
			base, n = int(in+size)-int(min(size-1, want)), int(min(size-1, want))
		}
	}
	return base, n
}

func signalName(n int) string {
	if s := unix.SignalName(syscall.Signal(n)); s != "" {
		return s
	}
	return fmt.Sprintf("signal %d", n)
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}
