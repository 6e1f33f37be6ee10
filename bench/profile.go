package bench

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"retool/trainer/trace"
)

// ProfileOptions says what Profile runs and how often it looks.
type ProfileOptions struct {
	Command []string
	Every   time.Duration // 0: 200 ms
	Run     string        // run directory of the command, whose metrics give tokens a second; "": that of a run=… among its arguments
}

// Sample is one look at a command and at the GPUs. Figures that nothing offers are not numbers.
type Sample struct {
	Seconds   float64 // since the command began
	CPU       float64 // percent of one core, of all processes of the command, since the sample before
	Resident  float64 // MiB, of all processes
	Processes int
	Tokens    float64 // a second, of the training step at work
	Phase     string  // of that step: sft, rl
	GPUs      []GPUSample
}

// A Profile is what a command did to the machine.
type Profile struct {
	Command   []string
	Run       string
	GPUs      []string // names
	NoGPU     error    // why there are none
	NoTokens  string   // why there are no tokens a second
	Samples   []Sample
	Wall, CPU float64 // seconds, of the command and all its children that ended before it
	Exit      int     // the command's exit code; 128 + the signal that ended it
}

// ProfileCommand runs a command, with this process's input and output, and samples it and the GPUs until it ends. The error is that the
// command could not be started.
func ProfileCommand(ctx context.Context, o ProfileOptions) (*Profile, error) {
	c, err := openCounters()
	if err != nil {
		c = nil
	} else {
		defer c.close()
	}
	p, runErr := profileWith(ctx, o, c)
	if p != nil {
		p.NoGPU = err
	}
	return p, runErr
}

// profileWith is ProfileCommand with its counters; nil: none.
func profileWith(ctx context.Context, o ProfileOptions, c counters) (*Profile, error) {
	if len(o.Command) == 0 {
		return nil, errors.New("bench: profile: no command to run")
	}
	if o.Every <= 0 {
		o.Every = 200 * time.Millisecond
	}
	p := &Profile{Command: o.Command, Run: o.Run}
	if p.Run == "" {
		p.Run = runOf(o.Command)
	}
	if c != nil {
		p.GPUs = c.names()
	}
	logs := []*metricsLog{}
	if p.Run != "" {
		// A demo trains twice, the second time in text/.
		logs = append(logs, newMetricsLog(filepath.Join(p.Run, "metrics.jsonl")), newMetricsLog(filepath.Join(p.Run, "text", "metrics.jsonl")))
	}
	cmd := exec.CommandContext(ctx, o.Command[0], o.Command[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 20 * time.Second // a training run writes a checkpoint on its way out
	begin := time.Now()
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("bench: profile: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	tick := time.NewTicker(o.Every)
	defer tick.Stop()
	processes := newTree(cmd.Process.Pid)
	last := 0.0
	for waiting := true; waiting; {
		select {
		case <-ended:
			waiting = false
		case <-tick.C:
			s := Sample{Seconds: time.Since(begin).Seconds(), Tokens: math.NaN()}
			cpu, resident, n := processes.look()
			s.CPU, s.Resident, s.Processes = 100*cpu/(s.Seconds-last), resident/(1<<20), n
			if c != nil {
				s.GPUs = c.read()
			}
			last = s.Seconds
			p.Samples = append(p.Samples, s)
		}
		for _, l := range logs {
			l.read(time.Since(begin).Seconds())
		}
	}
	p.Wall = time.Since(begin).Seconds()
	state := cmd.ProcessState
	p.CPU = (state.UserTime() + state.SystemTime()).Seconds()
	p.Exit = state.ExitCode()
	if ws, ok := state.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		p.Exit = 128 + int(ws.Signal())
	}
	steps := 0
	for _, l := range logs {
		steps += l.mark(p.Samples)
	}
	switch {
	case p.Run == "":
		p.NoTokens = "no tokens/s: the command names no run=DIRECTORY whose metrics could be read"
	case steps == 0:
		p.NoTokens = fmt.Sprintf("no tokens/s: the command wrote no step to %s", filepath.Join(p.Run, "metrics.jsonl"))
	}
	return p, nil
}

// runOf is the run directory that a command of retool names: run=DIR after --set.
func runOf(command []string) string {
	for _, arg := range command[1:] {
		for _, prefix := range []string{"run=", "--set=run=", "-set=run="} {
			if dir, ok := strings.CutPrefix(arg, prefix); ok {
				return dir
			}
		}
	}
	return ""
}

// metricsLog follows a run's metrics.jsonl from where it ended before the command began.
type metricsLog struct {
	path   string
	at     int64
	steps  []trace.Metrics
	offset float64 // seconds from the command's begin to the run's
	rest   []byte  // of a line that is not whole yet
}

func newMetricsLog(path string) *metricsLog {
	l := &metricsLog{path: path, offset: math.Inf(1)}
	if info, err := os.Stat(path); err == nil {
		l.at = info.Size()
	}
	return l
}

// read takes what was written since the last time. A run writes its log in blocks, so a step may be seen long after it was made; but never
// before, and so the smallest difference between seeing a step and its own account of time is the best guess of when the run began.
func (l *metricsLog) read(now float64) {
	f, err := os.Open(l.path)
	if err != nil {
		return
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Size() < l.at {
		l.at, l.rest = info.Size(), nil // a run that goes on cuts its log to its checkpoint
	}
	if _, err := f.Seek(l.at, io.SeekStart); err != nil {
		return
	}
	text, _ := io.ReadAll(f)
	l.at += int64(len(text))
	l.rest = append(l.rest, text...)
	for {
		line, rest, whole := bytes.Cut(l.rest, []byte("\n"))
		if !whole {
			return
		}
		l.rest = rest
		var m trace.Metrics
		if json.Unmarshal(line, &m) == nil && m.Time > 0 {
			l.steps = append(l.steps, m)
			l.offset = min(l.offset, now-m.Since)
		}
	}
}

// mark writes each step's tokens a second and phase into the samples taken during it, and returns the number of steps.
func (l *metricsLog) mark(samples []Sample) int {
	for _, m := range l.steps {
		end := l.offset + m.Since
		from, _ := slices.BinarySearchFunc(samples, end-m.Time, func(s Sample, t float64) int {
			if s.Seconds < t {
				return -1
			}
			return 1
		})
		for i := from; i < len(samples) && samples[i].Seconds <= end; i++ {
			samples[i].Tokens, samples[i].Phase = m.Speed, m.Phase
		}
	}
	return len(l.steps)
}

// A series is one figure of a profile over time.
type series struct {
	name, unit string
	values     []float64 // one per sample; not a number where there is none
}

func (p *Profile) series() []series {
	column := func(name, unit string, of func(s *Sample) float64) series {
		out := series{name: name, unit: unit, values: make([]float64, len(p.Samples))}
		for i := range p.Samples {
			out.values[i] = of(&p.Samples[i])
		}
		return out
	}
	all := []series{
		column("throughput", "tok/s", func(s *Sample) float64 { return s.Tokens }),
		column("processor", "% of a core", func(s *Sample) float64 { return s.CPU }),
		column("resident", "MiB", func(s *Sample) float64 { return s.Resident }),
		column("processes", "", func(s *Sample) float64 { return float64(s.Processes) }),
	}
	for g := range p.GPUs {
		prefix := "gpu"
		if len(p.GPUs) > 1 {
			prefix = fmt.Sprintf("gpu %d", g)
		}
		gpu := func(name, unit string, of func(s *GPUSample) float64) {
			all = append(all, column(prefix+" "+name, unit, func(s *Sample) float64 { return of(&s.GPUs[g]) }))
		}
		gpu("power", "W", func(s *GPUSample) float64 { return s.Power })
		gpu("SM clock", "MHz", func(s *GPUSample) float64 { return s.SMClock })
		gpu("memory clock", "MHz", func(s *GPUSample) float64 { return s.MemoryClock })
		gpu("busy", "%", func(s *GPUSample) float64 { return s.Busy })
		gpu("memory busy", "%", func(s *GPUSample) float64 { return s.MemoryBusy })
		gpu("memory", "MiB", func(s *GPUSample) float64 { return s.Memory })
		gpu("temperature", "°C", func(s *GPUSample) float64 { return s.Temperature })
	}
	return slices.DeleteFunc(all, func(s series) bool {
		return !slices.ContainsFunc(s.values, func(x float64) bool { return !math.IsNaN(x) })
	})
}

// WriteCSV writes a row per sample and a column per figure. A cell is empty where there is no figure.
func (p *Profile) WriteCSV(w io.Writer) error {
	c := csv.NewWriter(w)
	all := p.series()
	head := []string{"seconds", "phase"}
	for _, s := range all {
		head = append(head, strings.TrimSpace(s.name+" "+s.unit))
	}
	for g := range p.GPUs {
		head = append(head, fmt.Sprintf("gpu %d throttled by", g))
	}
	c.Write(head)
	for i, s := range p.Samples {
		row := []string{strconv.FormatFloat(s.Seconds, 'f', 3, 64), s.Phase}
		for _, f := range all {
			cell := ""
			if !math.IsNaN(f.values[i]) {
				cell = strconv.FormatFloat(f.values[i], 'f', -1, 32)
			}
			row = append(row, cell)
		}
		for _, g := range s.GPUs {
			row = append(row, throttleNames(g.Throttle))
		}
		c.Write(row)
	}
	c.Flush()
	return c.Error()
}

// quantiles returns the mean, median, 95th percentile and maximum of the numbers in x.
func quantiles(x []float64) (mean, median, high, top float64) {
	x = slices.DeleteFunc(slices.Clone(x), math.IsNaN)
	if len(x) == 0 {
		n := math.NaN()
		return n, n, n, n
	}
	slices.Sort(x)
	for _, v := range x {
		mean += v / float64(len(x))
	}
	at := func(q float64) float64 { return x[int(math.Round(q*float64(len(x)-1)))] }
	return mean, at(0.5), at(0.95), x[len(x)-1]
}

// Energy is what all GPUs took, in joules: power between samples, by the trapezoidal rule.
func (p *Profile) Energy() (joules float64) {
	for g := range p.GPUs {
		for i := 1; i < len(p.Samples); i++ {
			a, b := &p.Samples[i-1], &p.Samples[i]
			if e := (a.GPUs[g].Power + b.GPUs[g].Power) / 2 * (b.Seconds - a.Seconds); !math.IsNaN(e) {
				joules += e
			}
		}
	}
	return joules
}

// Print writes the summary.
func (p *Profile) Print(w io.Writer) {
	fmt.Fprintf(w, "profile: %.1f s, exit code %d, %.1f s of processor time, %d samples\n", p.Wall, p.Exit, p.CPU, len(p.Samples))
	if p.NoGPU != nil {
		fmt.Fprintln(w, "profile:", p.NoGPU)
	}
	if p.NoTokens != "" {
		fmt.Fprintln(w, "profile:", p.NoTokens)
	}
	if len(p.Samples) == 0 {
		return
	}
	fmt.Fprintf(w, "%-22s  %-11s  %10s  %10s  %10s  %10s\n", "", "", "mean", "median", "95 %", "most")
	for _, s := range p.series() {
		mean, median, high, top := quantiles(s.values)
		fmt.Fprintf(w, "%-22s  %-11s  %10.4g  %10.4g  %10.4g  %10.4g\n", s.name, s.unit, mean, median, high, top)
	}
	for g, name := range p.GPUs {
		var parts []string
		for _, t := range throttles {
			n := 0
			for _, s := range p.Samples {
				if s.GPUs[g].Throttle&t.bit != 0 {
					n++
				}
			}
			if n > 0 {
				parts = append(parts, fmt.Sprintf("%s in %.0f %% of samples", t.name, 100*float64(n)/float64(len(p.Samples))))
			}
		}
		if parts == nil {
			parts = []string{"never"}
		}
		fmt.Fprintf(w, "gpu %d, %s, slowed down by: %s\n", g, name, strings.Join(parts, ", "))
	}
	if len(p.GPUs) > 0 {
		fmt.Fprintf(w, "energy: %.0f J of the GPUs\n", p.Energy())
	}
}
