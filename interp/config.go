package interp

import (
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// Session modes, echo modes and isolation modes of a Config.
const (
	SessionCall       = "call"       // a fresh process for every cell: ReTool's semantics
	SessionTrajectory = "trajectory" // one process per key; variables live until Forget

	EchoNone           = "none"
	EchoLastExpression = "last-expression" // print repr of a final expression, like a REPL

	IsolationAuto   = "auto"              // the best tier the self-test confirms
	IsolationUnsafe = "unsafe-subprocess" // no fence at all; only for a machine with nothing to lose
)

// Bytes is a size, written in configuration as `512MiB`, `8KiB` or a plain count.
type Bytes int64

var byteUnits = []struct {
	suffix string
	size   Bytes
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}}

// MarshalText writes the largest unit that divides b.
func (b Bytes) MarshalText() ([]byte, error) { return []byte(b.String()), nil }

func (b Bytes) String() string {
	for _, u := range byteUnits {
		if b != 0 && b%u.size == 0 {
			return strconv.FormatInt(int64(b/u.size), 10) + u.suffix
		}
	}
	return strconv.FormatInt(int64(b), 10)
}

// UnmarshalText reads `512MiB`, `8KiB`, `1GiB` or a count of bytes.
func (b *Bytes) UnmarshalText(text []byte) error {
	s, unit := strings.TrimSpace(string(text)), Bytes(1)
	for _, u := range byteUnits {
		if strings.HasSuffix(s, u.suffix) {
			s, unit = strings.TrimSpace(strings.TrimSuffix(s, u.suffix)), u.size
			break
		}
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 || n > (1<<62)/int64(unit) {
		return fmt.Errorf("interp: size %q: want a count with KiB, MiB, GiB or no unit, like 512MiB", text)
	}
	*b = Bytes(n) * unit
	return nil
}

// Limits bound one cell, or one session where the name says so.
type Limits struct {
	CPU        time.Duration `yaml:"cpu"`         // CPU time of a cell: the primary limit, independent of machine load
	Wall       time.Duration `yaml:"wall"`        // elapsed time of a cell: the backstop for sleeps
	Grace      time.Duration `yaml:"grace"`       // from SIGINT to SIGKILL
	Memory     Bytes         `yaml:"memory"`      // of a session, its /tmp included (cgroup; polled in tiers B and C)
	Data       Bytes         `yaml:"data"`        // RLIMIT_DATA: below Memory, so that Python raises MemoryError first
	Address    Bytes         `yaml:"address"`     // RLIMIT_AS
	Tmp        Bytes         `yaml:"tmp"`         // size of /tmp
	TmpFiles   int           `yaml:"tmp_files"`   // inodes of /tmp
	Processes  int           `yaml:"processes"`   // threads and processes of a session
	Files      int           `yaml:"files"`       // open descriptors
	Output     Bytes         `yaml:"output"`      // kept per stream, half head, half tail
	OutputKill Bytes         `yaml:"output_kill"` // both streams together: above it the session is killed
	Code       Bytes         `yaml:"code"`        // of one cell's text
	Cells      int           `yaml:"cells"`       // of one session
	Session    time.Duration `yaml:"session"`     // age of a session
	Idle       time.Duration `yaml:"idle"`        // between two cells of a session
}

// Config says which Python runs the cells and how it is fenced. See Default.
type Config struct {
	Python      string   `yaml:"python"`      // interpreter; "": the one `make python` built, else python3
	Preload     []string `yaml:"preload"`     // imported once by the fork server; those the interpreter lacks are skipped
	Session     string   `yaml:"session"`     // call | trajectory
	Checkpoint  bool     `yaml:"checkpoint"`  // roll back one cell after a kill: trajectory, allow_fork, tier A
	Echo        string   `yaml:"echo"`        // none | last-expression
	Isolation   string   `yaml:"isolation"`   // auto | unsafe-subprocess
	MinTier     string   `yaml:"min_tier"`    // A | B | C1 | C2: refuse to start below
	Paranoid    bool     `yaml:"paranoid"`    // a network namespace per session, not per fork server
	Zygotes     int      `yaml:"zygotes"`     // fork servers; 0: one per 2 cores, at least 2
	Concurrency int      `yaml:"concurrency"` // running cells; 0: 1.5 per core
	Warm        int      `yaml:"warm"`        // idle sessions kept ready; 0: 8 per core, at least 16
	Limits      Limits   `yaml:"limits"`
	AllowFork   bool     `yaml:"allow_fork"` // tier A only
	AllowExec   bool     `yaml:"allow_exec"` // tier A only

	forceTier string   // tests, `retool exec --tier`: go no higher than this
	omit      []string // tests: layers left out on purpose
}

// Default returns the settings of a run that says nothing about its interpreter.
func Default() Config {
	return Config{
		Preload: []string{"math", "cmath", "itertools", "functools", "collections", "fractions", "decimal", "re", "string",
			"heapq", "bisect", "statistics", "datetime", "numpy", "sympy", "mpmath"},
		Session: SessionCall, Echo: EchoNone, Isolation: IsolationAuto, MinTier: TierC2.String(),
		Limits: Limits{
			CPU: 5 * time.Second, Wall: 15 * time.Second, Grace: 500 * time.Millisecond,
			Memory: 512 << 20, Data: 384 << 20, Address: 2 << 30, Tmp: 64 << 20, TmpFiles: 4096,
			Processes: 32, Files: 128,
			Output: 64 << 10, OutputKill: 8 << 20,
			Code: 128 << 10, Cells: 32, Session: 300 * time.Second, Idle: 120 * time.Second,
		},
	}
}

// AtMost returns c with its tier capped: what a host that offers less would run. "" leaves c as it is.
func (c Config) AtMost(tier string) Config {
	c.forceTier = tier
	return c
}

// Validate names the first setting that cannot work, what was expected and what was found.
func (c Config) Validate() error {
	oneOf := func(key, v string, want ...string) error {
		for _, w := range want {
			if v == w {
				return nil
			}
		}
		return fmt.Errorf("interp: %s is %q: want %s", key, v, strings.Join(want, ", "))
	}
	l := c.Limits
	positive := func(key string, v int64) error {
		if v <= 0 {
			return fmt.Errorf("interp: limits.%s is %d: want more than 0", key, v)
		}
		return nil
	}
	errs := []error{
		oneOf("session", c.Session, SessionCall, SessionTrajectory),
		oneOf("echo", c.Echo, EchoNone, EchoLastExpression),
		oneOf("isolation", c.Isolation, IsolationAuto, IsolationUnsafe),
		oneOf("min_tier", c.MinTier, "A", "B", "C1", "C2"),
		positive("cpu", int64(l.CPU)), positive("wall", int64(l.Wall)), positive("grace", int64(l.Grace)),
		positive("memory", int64(l.Memory)), positive("data", int64(l.Data)), positive("address", int64(l.Address)),
		positive("tmp", int64(l.Tmp)), positive("tmp_files", int64(l.TmpFiles)), positive("processes", int64(l.Processes)),
		positive("output", int64(l.Output)), positive("output_kill", int64(l.OutputKill)),
		positive("code", int64(l.Code)), positive("cells", int64(l.Cells)),
		positive("session", int64(l.Session)), positive("idle", int64(l.Idle)),
	}
	switch {
	case c.Zygotes < 0, c.Concurrency < 0, c.Warm < 0:
		errs = append(errs, fmt.Errorf("interp: zygotes, concurrency and warm are %d, %d, %d: want 0 (chosen from the cores) or more",
			c.Zygotes, c.Concurrency, c.Warm))
	case l.Files < 16:
		errs = append(errs, fmt.Errorf("interp: limits.files is %d: want at least 16", l.Files))
	case l.Code > 128<<10:
		errs = append(errs, fmt.Errorf("interp: limits.code is %v: want at most 128KiB, one frame of the control socket", l.Code))
	case l.Data > l.Memory:
		errs = append(errs, fmt.Errorf("interp: limits.data is %v, limits.memory %v: want data below memory, so that Python sees MemoryError",
			l.Data, l.Memory))
	case c.Checkpoint && c.Session != SessionTrajectory:
		errs = append(errs, fmt.Errorf("interp: checkpoint needs session: trajectory, found %q", c.Session))
	case c.Checkpoint && !c.AllowFork:
		errs = append(errs, errors.New("interp: checkpoint forks inside the session: set allow_fork: true as well"))
	case c.forceTier != "" && tierNamed(c.forceTier) == TierNone:
		errs = append(errs, fmt.Errorf("interp: tier %q: want A, B, C1, C2 or C", c.forceTier))
	}
	return errors.Join(errs...)
}

func (c Config) zygotes() int {
	if c.Zygotes > 0 {
		return c.Zygotes
	}
	return max(2, runtime.NumCPU()/2)
}

func (c Config) concurrency() int {
	if c.Concurrency > 0 {
		return c.Concurrency
	}
	return max(2, runtime.NumCPU()*3/2)
}

func (c Config) warm() int {
	if c.Warm > 0 {
		return c.Warm
	}
	return max(16, 8*runtime.NumCPU())
}
