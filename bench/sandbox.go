package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"retool/interp"
)

// SandboxOptions says what Sandbox measures.
type SandboxOptions struct {
	Config      interp.Config
	Concurrency []int         // calls in flight; nil: 1, 8, 64
	Each        time.Duration // per cell of the table; 0: 2 s
	Snippets    []Snippet     // nil: W1, and W2 if the interpreter has sympy
	Log         *slog.Logger
}

// A Snippet is a workload and the output that proves it ran.
type Snippet struct{ Name, Code, Want string }

// W1 is the cheapest call, W2 one that needs a computer algebra system.
var (
	W1 = Snippet{"W1 print", "print(482*937)", "451634\n"}
	W2 = Snippet{"W2 sympy", "import sympy\nx=sympy.symbols('x')\nprint(sympy.solve(x**2-3*x+2))", "[1, 2]\n"}
)

// SandboxRow is one workload in one mode at one concurrency. Latencies are of whole calls, queue included.
type SandboxRow struct {
	Workload    string  `json:"workload"`
	Mode        string  `json:"mode"`
	Concurrency int     `json:"concurrency"`
	PerSecond   float64 `json:"per_second"`
	P50ms       float64 `json:"p50_ms"`
	P99ms       float64 `json:"p99_ms"`
}

// SandboxReport is what Sandbox measured, and where.
type SandboxReport struct {
	Tier      interp.Tier    `json:"tier"`
	Python    string         `json:"python"`
	Libraries string         `json:"libraries"`
	Missing   []string       `json:"missing,omitempty"` // libraries without which a workload was left out
	Rows      []SandboxRow   `json:"rows"`
	Ratios    []SandboxRatio `json:"ratios"`
}

// SandboxRatio says how many times as many calls a second the warm pool makes as the two ways to start a process per call.
type SandboxRatio struct {
	Workload    string  `json:"workload"`
	Concurrency int     `json:"concurrency"`
	Naive       float64 `json:"warm_to_naive"`
	Cold        float64 `json:"warm_to_cold"`
}

// ratios needs the four rows of a workload and a concurrency beside each other.
func ratios(rows []SandboxRow) (out []SandboxRatio) {
	for i := 0; i+3 < len(rows); i += 4 {
		r := rows[i : i+4]
		out = append(out, SandboxRatio{r[0].Workload, r[0].Concurrency, r[2].PerSecond / r[0].PerSecond, r[2].PerSecond / r[1].PerSecond})
	}
	return out
}

// The modes of Sandbox, slowest first. Naive is a plain subprocess without any fence: what most training code does. Cold is the
// whole sandbox started for one call. Warm is the pool as a run uses it. Stateful is a cell in a session that has run before.
const (
	Naive    = "naive subprocess"
	Cold     = "isolated, cold"
	Warm     = "isolated, warm pool"
	Stateful = "stateful session"
)

// Sandbox measures executions per second in the four modes side by side: at each concurrency the modes follow one another
// closely, so that a machine that is busy is busy for all of them. Every output is checked.
func Sandbox(ctx context.Context, o SandboxOptions) (SandboxReport, error) {
	if o.Concurrency == nil {
		o.Concurrency = []int{1, 8, 64}
	}
	if o.Each == 0 {
		o.Each = 2 * time.Second
	}
	cfg := o.Config
	cfg.Limits.Wall = 60 * time.Second // a queue on a busy machine is no timeout
	cfg.Limits.CPU = 30 * time.Second
	cfg.Session = interp.SessionCall
	pool, err := interp.New(ctx, cfg, o.Log)
	if err != nil {
		return SandboxReport{}, err
	}
	defer pool.Close()
	stateful := cfg
	stateful.Session = interp.SessionTrajectory
	stateful.Limits.Cells, stateful.Limits.Session = 1<<30, time.Hour
	sessions, err := interp.New(ctx, stateful, o.Log)
	if err != nil {
		return SandboxReport{}, err
	}
	defer sessions.Close()
	info := pool.Info()
	report := SandboxReport{Tier: info.Tier, Python: info.Python, Libraries: libraries(info)}
	if o.Snippets == nil {
		o.Snippets = []Snippet{W1}
		if _, ok := info.Modules["sympy"]; ok {
			o.Snippets = append(o.Snippets, W2)
		} else {
			report.Missing = append(report.Missing, "sympy")
		}
	}
	cold := func(ctx context.Context) (*interp.Pool, error) { // no self-test, second server, spare session or library the call does not import
		c := cfg
		c.Zygotes, c.Warm, c.Concurrency, c.Preload = 1, 1, 1, nil
		return interp.Cold(ctx, c, info)
	}

	var rows []SandboxRow
	for _, w := range o.Snippets {
		check := func(r interp.Result, err error) error {
			if err == nil && (r.Status != interp.OK || string(r.Stdout) != w.Want) {
				err = fmt.Errorf("bench: sandbox: %s: want output %q, got %v with %q", w.Name, w.Want, r, r.Stdout)
			}
			return err
		}
		for _, n := range o.Concurrency {
			for _, m := range []struct {
				name string
				call func(worker int) error
			}{
				{Naive, func(int) error {
					out, err := naive(ctx, info.Path, w.Code)
					if err == nil && string(out) != w.Want {
						err = fmt.Errorf("bench: sandbox: %s: naive subprocess printed %q", w.Name, out)
					}
					return err
				}},
				{Cold, func(int) error {
					p, err := cold(ctx)
					if err != nil {
						return err
					}
					err = check(p.Run(ctx, 0, w.Code))
					return errors.Join(err, p.Close())
				}},
				{Warm, func(int) error { return check(pool.Run(ctx, 0, w.Code)) }},
				{Stateful, func(worker int) error { return check(sessions.Run(ctx, int64(worker), w.Code)) }},
			} {
				row, err := measureCalls(ctx, n, o.Each, m.name == Stateful, m.call)
				if err != nil {
					return SandboxReport{}, err
				}
				row.Workload, row.Mode = w.Name, m.name
				rows = append(rows, row)
			}
		}
	}
	report.Rows, report.Ratios = rows, ratios(rows)
	return report, nil
}

// libraries lists the preloaded modules that have versions of their own.
func libraries(info interp.Info) string {
	var out []string
	for _, m := range []string{"numpy", "scipy", "sympy", "mpmath"} {
		if v := info.Modules[m]; v != "" {
			out = append(out, m+" "+v)
		}
	}
	if out == nil {
		return "no libraries"
	}
	return strings.Join(out, ", ")
}

// naive is the baseline: a Python per call, with a clean environment and nothing else.
func naive(ctx context.Context, python, code string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, python, "-c", code)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=/", "PYTHONDONTWRITEBYTECODE=1"}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("bench: sandbox: naive subprocess: %w: %.200s", err, stderr.String())
	}
	return out, err
}

// measureCalls keeps n calls in flight for d and at least two calls each. With prime, every worker makes one call before the
// clock starts.
func measureCalls(ctx context.Context, n int, d time.Duration, prime bool, call func(worker int) error) (SandboxRow, error) {
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		all   []time.Duration
		fail  error
		done  atomic.Bool
		ready = make(chan struct{})
		armed sync.WaitGroup
	)
	stop := func(err error) {
		mu.Lock()
		fail = errors.Join(fail, err)
		mu.Unlock()
		done.Store(true)
	}
	armed.Add(n)
	for w := range n {
		wg.Add(1)
		go func() {
			defer wg.Done()
			var err error
			if prime {
				err = call(w)
			}
			armed.Done()
			<-ready
			if err != nil {
				stop(err)
				return
			}
			var own []time.Duration
			for !done.Load() && ctx.Err() == nil {
				t := time.Now()
				if err := call(w); err != nil {
					stop(err)
					return
				}
				own = append(own, time.Since(t))
			}
			mu.Lock()
			all = append(all, own...)
			mu.Unlock()
		}()
	}
	armed.Wait()
	began := time.Now()
	close(ready)
	timer := time.AfterFunc(d, func() { done.Store(true) })
	defer timer.Stop()
	wg.Wait()
	took := time.Since(began)
	if fail != nil {
		return SandboxRow{}, fail
	}
	if ctx.Err() != nil {
		return SandboxRow{}, ctx.Err()
	}
	slices.Sort(all)
	ms := func(q float64) float64 { return float64(all[min(len(all)-1, int(q*float64(len(all))))]) / 1e6 }
	return SandboxRow{Concurrency: n, PerSecond: float64(len(all)) / took.Seconds(), P50ms: ms(0.5), P99ms: ms(0.99)}, nil
}
