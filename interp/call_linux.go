package interp

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

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
	c := cell{code: code, seed: seed, echo: p.cfg.Echo == EchoLastExpression, limits: p.cfg.Limits}
	return p.retry(func() (Result, bool, error) {
		r, err := p.runOnce(ctx, key, c, asked)
		return r, true, err
	})
}

// retry calls try until it has a result, at most retries times more after a sandbox fault and lostRetries times more after a fork
// server's death, as long as try says that its cell can be run again.
func (p *Pool) retry(try func() (r Result, again bool, err error)) (Result, error) {
	for tries, lost := 0, 0; ; {
		r, again, err := try()
		if err == nil {
			p.stats.note(r)
			return r, nil
		}
		var sb *SandboxError
		if err = p.closedInstead(err); !errors.As(err, &sb) {
			return Result{}, err
		}
		p.stats.retried.Add(1)
		if lost++; !errors.Is(err, errLost) || lost > lostRetries {
			tries++
		}
		if !again || tries > retries {
			p.stats.errors.Add(1)
			return Result{}, err
		}
		if errors.Is(err, errLost) {
			time.Sleep(10 * time.Millisecond) // until it is known to be dead
		}
	}
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
	return r, err
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
	c := cell{code: code, seed: seed, echo: p.cfg.Echo == EchoLastExpression, save: p.cfg.Checkpoint, keep: !last, limits: p.cfg.Limits}
	return p.retry(func() (Result, bool, error) {
		fresh := t.s == nil // else the variables are lost with the process: a retry would answer another question
		if fresh {
			s, err := p.take(ctx, code)
			if err != nil {
				return Result{}, true, err
			}
			t.s = s
		}
		r, err := p.runNext(ctx, key, t, c, asked)
		return r, fresh, err
	})
}

// runNext runs a cell in a trajectory's session, and ends the session when it has had its share. The caller holds t.
func (p *Pool) runNext(ctx context.Context, key int64, t *trajectory, c cell, asked time.Time) (Result, error) {
	s := t.s
	c.seed += t.seed
	queue := time.Since(asked)
	p.hold(s, key, c.limits)
	r, err := s.run(ctx, c)
	p.unhold(s)
	r.Queue = queue
	if err == nil && r.Session == Alive && (s.cells >= c.limits.Cells || time.Since(s.born) > c.limits.Session) {
		r.Session = Gone
	}
	if err != nil || r.Session == Gone || !c.keep {
		p.end(t)
		t.seed = 0
	} else {
		t.seed++
	}
	if t.gone { // Forget came while the cell ran
		p.end(t)
	}
	return r, err
}

// end ends a trajectory's session, if it has one. The caller holds t.
func (p *Pool) end(t *trajectory) {
	if t.s != nil {
		p.discard(t.s)
		t.s = nil
	}
}
