package interp

import (
	"errors"
	"fmt"
	"time"
)

// A Status is how a cell ended. Every one of them is the model's own outcome; a fault of ours is an error instead.
type Status string

// The statuses of a Result.
const (
	OK                Status = "ok"
	Exception         Status = "exception"          // a Python exception; its type is in Exc
	TimeoutCPU        Status = "timeout_cpu"        // alive if SIGINT sufficed, gone after SIGKILL
	TimeoutWall       Status = "timeout_wall"       //
	Memory            Status = "memory"             // the kernel's memory limit, whatever the signal was
	OutputFlood       Status = "output_flood"       // more than limits.output_kill written
	Crashed           Status = "crashed"            // the process died by Signal
	Exited            Status = "exited"             // SystemExit other than 0 (alive), or the process exited without a result (gone)
	ProtocolViolation Status = "protocol_violation" // an unexpected frame on the control socket
)

// Whether variables survive for the next cell of the same key.
const (
	Alive = "alive"
	Gone  = "gone"
)

// A Result is what one cell did. Times come from the kernel and from our clock, never from the session.
type Result struct {
	Status  Status
	Session string // Alive or Gone. Stateless calls: whether the process was still usable when the result was read

	Stdout, Stderr           []byte // head and tail, at most limits.output each; raw bytes
	StdoutBytes, StderrBytes int64  // written in all; the traceback is not counted in Stderr
	Exc                      string // type name of the exception
	Traceback                []byte // without frames of the harness, not part of Stderr; of Exited: what sys.exit was given to say
	Code                     int    // of Exited
	Signal                   int    // of Crashed

	CPU, Wall, Queue time.Duration // Queue: waiting for a slot and a session, never charged to the limits
	PeakMemory       int64         // bytes; 0 where the kernel offers no counter
	RolledBack       bool          // with checkpoint: the session lives on as it was before this cell
}

// String is the status as it is written: exited(3), crashed(SIGSEGV), else the bare word.
func (r Result) String() string {
	switch r.Status {
	case Exited:
		return fmt.Sprintf("exited(%d)", r.Code)
	case Crashed:
		return fmt.Sprintf("crashed(%s)", signalName(r.Signal))
	}
	return string(r.Status)
}

// Notice is the one fixed line the model is shown for a status that is not Python's own output; "" for OK and Exception.
func (r Result) Notice(l Limits) string {
	switch r.Status {
	case TimeoutCPU:
		return fmt.Sprintf("Timeout: the code used more than %v of CPU time", l.CPU)
	case TimeoutWall:
		return fmt.Sprintf("Timeout: the code ran longer than %v", l.Wall)
	case Memory:
		return fmt.Sprintf("Killed: the code used more than %v of memory", l.Memory)
	case OutputFlood:
		return fmt.Sprintf("Killed: the code wrote more than %v", l.OutputKill)
	case Crashed:
		return fmt.Sprintf("Crashed: the interpreter died by %s", signalName(r.Signal))
	case Exited:
		return fmt.Sprintf("Exited with code %d", r.Code)
	case ProtocolViolation:
		return "Killed: the code wrote to a descriptor that is not its own"
	}
	return ""
}

// Errors a caller branches on. Anything else from Run is ctx.Err() or a *SandboxError.
var (
	ErrClosed = errors.New("interp: the pool is closed")
	ErrTier   = errors.New("interp: this host cannot isolate model code")
)

// A SandboxError is a fault of ours, after two retries: the trajectory is lost, not the run. It is never shown to the model.
type SandboxError struct {
	Stage string // what was attempted
	Err   error
}

func (e *SandboxError) Error() string {
	return fmt.Sprintf("interp: sandbox error: %s: %v", e.Stage, e.Err)
}
func (e *SandboxError) Unwrap() error { return e.Err }

// errLost is a fork server's death: every session of it is gone at once, so a call may meet several before it meets a live one.
var errLost = errors.New("the fork server died")

func fault(stage string, err error) *SandboxError { return &SandboxError{stage, err} }
