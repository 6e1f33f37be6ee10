package interp

import (
	"context"
	"errors"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// runUnsafe is isolation: unsafe-subprocess: a plain Python with the limits of time and output, and no fence at all.
func (p *Pool) runUnsafe(ctx context.Context, code string, asked time.Time) (Result, error) {
	if err := p.slot(ctx); err != nil {
		return Result{}, err
	}
	defer func() { <-p.run }()
	l := p.cfg.Limits
	r := Result{Session: Gone, Queue: time.Since(asked)}
	run, cancel := context.WithTimeout(ctx, l.Wall)
	defer cancel()
	cmd := exec.CommandContext(run, p.f.py.Executable, "-I", "-c", strings.TrimPrefix(code, "\ufeff"))
	cmd.Env, cmd.Dir = sandboxEnv, "/"
	endTogether(cmd)
	out := &sink{capture: capture{limit: int(l.Output)}, most: int64(l.OutputKill), full: cmd.Cancel}
	errs := &sink{capture: capture{limit: int(l.Output)}, most: int64(l.OutputKill), full: cmd.Cancel}
	cmd.Stdout, cmd.Stderr = out, errs
	begin := time.Now()
	err := cmd.Run()
	r.Wall = time.Since(begin)
	if cmd.ProcessState != nil {
		r.CPU = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	}
	r.Stdout, r.StdoutBytes, _ = out.split(0)
	r.Stderr, r.StderrBytes, _ = errs.split(0)
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return Result{}, ctx.Err()
	case out.over() || errs.over():
		r.Status = OutputFlood
	case run.Err() != nil:
		r.Status = TimeoutWall
	case err == nil:
		r.Status = OK
	case errors.As(err, &exit):
		ws := exit.Sys().(syscall.WaitStatus)
		if ws.Signaled() {
			r.Status, r.Signal = Crashed, int(ws.Signal())
		} else if ws.ExitStatus() == 1 && r.StderrBytes > 0 {
			r.Status, r.Exc = Exception, "Exception"
			r.Traceback, r.Stderr, r.StderrBytes = r.Stderr, nil, 0
		} else {
			r.Status, r.Code = Exited, ws.ExitStatus()
		}
	default:
		return Result{}, fault("unsafe-subprocess", err)
	}
	p.stats.note(r)
	return r, nil
}
