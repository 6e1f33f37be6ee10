package interp

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
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
		return fmt.Errorf("want a size such as 512MiB, 8KiB, 1GiB or a number of bytes, got %q", text)
	}
	*b = Bytes(n) * unit
	return nil
}

// Limits bound one cell, or one session where the name says so.
type Limits struct {
	CPU        time.Duration `yaml:"cpu" doc:"CPU time of a call, the primary limit (released evaluation: 5 s)"`
	Wall       time.Duration `yaml:"wall" doc:"elapsed time of a call, the backstop (choice)"`
	Grace      time.Duration `yaml:"grace" doc:"from the interrupt to the kill"`
	Memory     Bytes         `yaml:"memory" doc:"of a session, its /tmp included (choice)"`
	Data       Bytes         `yaml:"data" doc:"heap: below memory, so that Python raises MemoryError first"`
	Address    Bytes         `yaml:"address" doc:"address space"`
	Tmp        Bytes         `yaml:"tmp" doc:"size of /tmp"`
	TmpFiles   int           `yaml:"tmp_files" doc:"files in /tmp"`
	Processes  int           `yaml:"processes" doc:"threads and processes of a session"`
	Files      int           `yaml:"files" doc:"open descriptors"`
	Output     Bytes         `yaml:"output" doc:"kept per stream, head and tail"`
	OutputKill Bytes         `yaml:"output_kill" doc:"a session that writes more is killed"`
	Code       Bytes         `yaml:"code" doc:"length of one call's code"`
	Cells      int           `yaml:"cells" doc:"calls of one session"`
	Session    time.Duration `yaml:"session" doc:"age of a session"`
	Idle       time.Duration `yaml:"idle" doc:"time between two calls of a session"`
}

// Config says which Python runs the cells and how it is fenced. See Default.
type Config struct {
	Python      string   `yaml:"python" doc:"interpreter; empty: the one that make python built, else python3"`
	Preload     []string `yaml:"preload" doc:"imported once by the fork server; of the defaults, those missing are left out"`
	Session     string   `yaml:"session" doc:"call: a fresh process per call (paper); trajectory: variables live on"`
	Checkpoint  bool     `yaml:"checkpoint" doc:"roll back one cell after a kill (session: trajectory, allow_fork, tier A)"`
	Echo        string   `yaml:"echo" doc:"none; last-expression prints a final expression's value"`
	Isolation   string   `yaml:"isolation" doc:"auto: the best tier that passes the self-test; unsafe-subprocess: none"`
	MinTier     string   `yaml:"min_tier" doc:"A, B, C1, C2: refuse to start below this tier" resume:"free"`
	Paranoid    bool     `yaml:"paranoid" doc:"a network namespace per session" resume:"free"`
	Zygotes     int      `yaml:"zygotes" doc:"fork servers; 0: one per 2 cores, at least 2" resume:"free"`
	Concurrency int      `yaml:"concurrency" doc:"cells running at a time; 0: 1.5 a core" resume:"free"`
	Warm        int      `yaml:"warm" doc:"idle sessions kept ready; 0: 8 a core, at least 16" resume:"free"`
	Limits      Limits   `yaml:"limits"`
	AllowFork   bool     `yaml:"allow_fork" doc:"cells may fork; tier A only"`
	AllowExec   bool     `yaml:"allow_exec" doc:"cells may run programs; tier A only"`

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
	for _, f := range []struct {
		key, value string
		want       []string
	}{
		{"session", c.Session, []string{SessionCall, SessionTrajectory}},
		{"echo", c.Echo, []string{EchoNone, EchoLastExpression}},
		{"isolation", c.Isolation, []string{IsolationAuto, IsolationUnsafe}},
		{"min_tier", c.MinTier, []string{"A", "B", "C1", "C2"}},
	} {
		if !slices.Contains(f.want, f.value) {
			return fmt.Errorf("interp.%s: want %s, got %q", f.key, strings.Join(f.want, ", "), f.value)
		}
	}
	if err := c.Limits.validate(); err != nil {
		return err
	}
	switch {
	case c.Zygotes < 0, c.Concurrency < 0, c.Warm < 0:
		return fmt.Errorf("interp.zygotes, concurrency, warm: want 0 (chosen from the cores) or more, got %d, %d, %d",
			c.Zygotes, c.Concurrency, c.Warm)
	case c.Checkpoint && c.Session != SessionTrajectory:
		return fmt.Errorf("interp.checkpoint: want session trajectory with it, got %q", c.Session)
	case c.Checkpoint && !c.AllowFork:
		return errors.New("interp.checkpoint: want allow_fork true as well: it forks inside the session")
	case c.forceTier != "" && tierNamed(c.forceTier) == TierNone:
		return fmt.Errorf("interp: tier: want A, B, C1, C2 or C, got %q", c.forceTier)
	}
	return nil
}

func (l Limits) validate() error {
	for _, f := range []struct {
		key  string
		ok   bool
		show any
	}{
		{"cpu", l.CPU > 0, l.CPU}, {"wall", l.Wall > 0, l.Wall}, {"grace", l.Grace > 0, l.Grace},
		{"memory", l.Memory > 0, l.Memory}, {"data", l.Data > 0, l.Data}, {"address", l.Address > 0, l.Address},
		{"tmp", l.Tmp > 0, l.Tmp}, {"tmp_files", l.TmpFiles > 0, l.TmpFiles}, {"processes", l.Processes > 0, l.Processes},
		{"output", l.Output > 0, l.Output}, {"output_kill", l.OutputKill > 0, l.OutputKill},
		{"code", l.Code > 0, l.Code}, {"cells", l.Cells > 0, l.Cells}, {"session", l.Session > 0, l.Session}, {"idle", l.Idle > 0, l.Idle},
	} {
		if !f.ok {
			return fmt.Errorf("interp.limits.%s: want more than 0, got %v", f.key, f.show)
		}
	}
	switch {
	case l.Files < 16:
		return fmt.Errorf("interp.limits.files: want at least 16, got %d", l.Files)
	case l.Code > 128<<10:
		return fmt.Errorf("interp.limits.code: want at most 128KiB, one frame of the control socket, got %v", l.Code)
	case l.Data > l.Memory:
		return fmt.Errorf("interp.limits.data: want at most limits.memory, %v, so that Python sees MemoryError, got %v", l.Memory, l.Data)
	}
	return nil
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
