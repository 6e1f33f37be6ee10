package main

import (
	"context"

	"retool/engine"
	"retool/interp"
)

// python joins the sandbox to the engine.
type python struct {
	pool   *interp.Pool
	limits interp.Limits
}

func (p python) Run(ctx context.Context, key int64, code string) (engine.Result, error) {
	r, err := p.pool.Run(ctx, key, code)
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

func (p python) Forget(key int64) { p.pool.Forget(key) }
