package engine

import (
	"context"
	"time"
)

// Result is what a piece of code did.
type Result struct {
	Status    string        // "ok", "exception", "timeout_cpu", … ; a protocol treats only "ok" as success
	Stdout    string        // what it printed
	Traceback string        // of "exception"; for other failures the one line that describes it
	CPU, Wall time.Duration // spent by the code
	Queue     time.Duration // spent waiting for a worker; never charged to the code
}

// OK reports whether the code ran to its end without an error.
func (r Result) OK() bool { return r.Status == "ok" }

// Timeout reports whether a time limit ended the code.
func (r Result) Timeout() bool { return r.Status == "timeout_cpu" || r.Status == "timeout_wall" }

// An Interpreter runs Python. It is called from many goroutines at once. A crash, a timeout and a traceback are Results. An
// error means that no interpreter could be had: the trajectory is lost, not the run. Calls of one key may share state, if the
// interpreter is so configured; Forget says that no more will come.
type Interpreter interface {
	Run(ctx context.Context, key int64, code string) (Result, error)
	Forget(key int64)
}
