package main

import (
	"context"
	"errors"
	"log/slog"
	"os"

	"retool/engine"
	"retool/interp"
)

// sandbox is the interpreter pool of a program. It opens, which takes half a second, while models are loaded and a cold start runs: a
// call waits for it.
type sandbox struct {
	done  chan struct{}
	leave context.CancelFunc
	pool  *interp.Pool // once done
	err   error
}

// openSandbox begins to open a pool. The caller closes the sandbox.
func openSandbox(ctx context.Context, cfg interp.Config) *sandbox {
	ctx, leave := context.WithCancel(ctx)
	s := &sandbox{done: make(chan struct{}), leave: leave}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	go func() {
		defer close(s.done)
		s.pool, s.err = interp.New(ctx, cfg, log)
	}()
	return s
}

// open waits until the pool is open, or cannot be.
func (s *sandbox) open() (*interp.Pool, error) {
	<-s.done
	return s.pool, s.err
}

// caused reports whether an error is that of a pool that could not be opened; that nobody waited for it any longer is none.
func (s *sandbox) caused(err error) bool {
	return s != nil && s.err != nil && !errors.Is(s.err, context.Canceled) && errors.Is(err, s.err)
}

// Close ends the pool, or its opening.
func (s *sandbox) Close() {
	s.leave()
	if pool, _ := s.open(); pool != nil {
		pool.Close()
	}
}

// beside calls then once the program's sandbox is open, at once with nil where it has none, on a goroutine of its own. The context is for
// the work meanwhile: it ends where the sandbox does not open, or then fails. After the work settle waits for both: its error is the
// reason of that end, else the work's.
func (p *program) beside(ctx context.Context, then func(*interp.Pool) error) (_ context.Context, settle func(work error) error) {
	ctx, end := context.WithCancelCause(ctx)
	done := make(chan error, 1)
	go func() {
		var pool *interp.Pool
		var err error
		if p.sandbox != nil {
			pool, err = p.sandbox.open()
		}
		if err == nil {
			err = then(pool)
		}
		if err != nil {
			end(err)
		}
		done <- err
	}()
	return ctx, func(work error) error {
		end(work) // nothing, where the sandbox ended it first
		if work != nil && p.sandbox != nil {
			p.sandbox.leave() // nobody needs it any more
		}
		err := <-done
		if work == nil || err != nil && context.Cause(ctx) == err {
			return err
		}
		return work
	}
}

// python joins the sandbox to the engine.
type python struct {
	*sandbox
	limits interp.Limits
}

func (p python) Run(ctx context.Context, key int64, code string) (engine.Result, error) {
	pool, err := p.open()
	if err != nil {
		return engine.Result{}, err
	}
	r, err := pool.Run(ctx, key, code)
	if err != nil {
		return engine.Result{}, err
	}
	return shown(r, p.limits), nil
}

// shown is a sandbox's result as a protocol sees it: of a failure, what Python wrote about it and the line that describes it.
func shown(r interp.Result, l interp.Limits) engine.Result {
	out := engine.Result{Status: string(r.Status), Stdout: string(r.Stdout), Traceback: r.Notice(l), CPU: r.CPU, Wall: r.Wall, Queue: r.Queue}
	if r.Status == interp.Exception || r.Status == interp.Exited {
		out.Traceback = string(r.Traceback) + out.Traceback
	}
	return out
}

func (p python) Forget(key int64) {
	if pool, _ := p.open(); pool != nil {
		pool.Forget(key)
	}
}
