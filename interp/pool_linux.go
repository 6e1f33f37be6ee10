package interp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"runtime"
	"slices"
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

// begin starts the fork servers, unless ctx ends meanwhile, and the goroutines that keep sessions warm.
func (p *Pool) begin(ctx context.Context) error {
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
			first[i], errs[i] = p.f.start(ctx, p.log, i >= p.cfg.zygotes(), p.release)
		}()
	}
	wg.Wait()
	if i := slices.IndexFunc(errs, func(err error) bool { return err != nil }); i >= 0 { // the first stands for all
		for _, z := range first {
			if z != nil {
				z.stop()
			}
		}
		return errs[i]
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
			if z, err = p.f.start(p.ctx, p.log, rich, p.release); err != nil {
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

// Forget ends key's session, if it has one.
func (p *Pool) Forget(key int64) {
	p.mu.Lock()
	t := p.byKey[key]
	delete(p.byKey, key)
	p.mu.Unlock()
	if t == nil {
		return
	}
	forget := func() {
		defer t.mu.Unlock()
		t.gone = true
		p.end(t)
	}
	if t.mu.TryLock() {
		forget()
		return
	}
	go func() { // a cell is running: its limits bound the wait
		t.mu.Lock()
		forget()
	}()
}

// janitor ends sessions that are idle too long, too old, or busy while no cell runs, and names what holds a step.
func (p *Pool) janitor() {
	defer p.work.Done()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-p.ctx.Done():
			return
		case <-tick.C:
		}
		p.mu.Lock()
		keys := maps.Clone(p.byKey)
		p.endLate()
		p.mu.Unlock()
		for k, t := range keys {
			if !t.mu.TryLock() {
				continue
			}
			if why := p.overdue(t.s); why != "" {
				p.log.Debug("session ended", "key", k, "why", why)
				p.end(t)
			}
			t.mu.Unlock()
		}
	}
}

// endLate kills what holds its caller beyond every limit, by name. It needs mu.
func (p *Pool) endLate() {
	for s, h := range p.holding {
		if d := time.Since(h.since); d > h.late {
			p.log.Error("a session holds its caller beyond every limit", "key", h.key, "session", s.id, "pid", s.pid, "for", d.Round(time.Second))
			s.signal(unix.SIGKILL)
		}
	}
}

// overdue says why a resting session is to end, or nothing. One that died stays: the next cell has to learn that its variables are
// gone, and whether that is our fault.
func (p *Pool) overdue(s *session) string {
	if s == nil {
		return ""
	}
	cpu, ok := s.cpu()
	switch {
	case time.Since(s.used) > p.cfg.Limits.Idle:
		return "idle"
	case time.Since(s.born) > p.cfg.Limits.Session:
		return "age"
	case s.died(0):
		return ""
	case ok && cpu-s.idleCPU > time.Second:
		return "busy between cells"
	}
	return ""
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
		p.end(t)
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
