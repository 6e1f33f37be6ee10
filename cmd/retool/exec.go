package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"retool/interp"
)

func execCommand() *cli.Command {
	return &cli.Command{
		Name:      "exec",
		Usage:     "run Python as a rollout would run it, in the sandbox",
		ArgsUsage: "FILE|-",
		Description: "Prints what the model would be shown, and the status on standard error. With --session, cells separated by a line `# %%`\n" +
			"share one process. With --jsonl, every line of FILE is {\"id\": …, \"cells\": [\"…\", …]}; cells of a line share a process, lines run\n" +
			"side by side, and each answer is one line, in their order: {\"id\": …, \"cells\": [{\"status\", \"output\", \"seconds\", …}]}.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "tier", Usage: "go no higher than this tier, and refuse a lower one: `A|B|C1|C2|C`"},
			&cli.DurationFlag{Name: "timeout", Usage: "CPU time and elapsed time of a cell `D`; without it the defaults (5 s, 15 s)"},
			&cli.StringFlag{Name: "python", Usage: "interpreter `PATH`; default: the one `make python` built, else python3"},
			&cli.BoolFlag{Name: "json", Usage: "print the whole result as JSON"},
			&cli.BoolFlag{Name: "session", Usage: "cells separated by `# %%` share variables"},
			&cli.BoolFlag{Name: "jsonl", Usage: "a stream of cells in, a stream of results out"},
			&cli.BoolFlag{Name: "echo", Usage: "print the value of a final expression"},
			&cli.BoolFlag{Name: "checkpoint", Usage: "with --session: a killed cell costs one cell, not the session (implies --allow-fork)"},
			&cli.BoolFlag{Name: "allow-fork", Usage: "let the code start processes (tier A only)"},
			&cli.BoolFlag{Name: "allow-exec", Usage: "let the code execute programs (tier A only)"},
			&cli.BoolFlag{Name: "unsafe", Usage: "no sandbox at all: only for code you trust"},
		},
		Action: execute,
	}
}

// execConfig is the default configuration with the command's flags.
func execConfig(c *cli.Context) (interp.Config, error) {
	cfg := interp.Default()
	cfg.Python = c.String("python")
	if d := c.Duration("timeout"); d < 0 {
		return cfg, fmt.Errorf("exec: --timeout is %v: want more than 0", d)
	} else if d > 0 {
		cfg.Limits.CPU, cfg.Limits.Wall = d, d
	}
	if t := strings.ToUpper(c.String("tier")); t != "" {
		cfg = cfg.AtMost(t)
		switch t {
		case "C":
			cfg.MinTier = "C2"
		case "A", "B", "C1", "C2":
			cfg.MinTier = t
		default:
			return cfg, fmt.Errorf("exec: --tier %q: want A, B, C1, C2 or C", c.String("tier"))
		}
	}
	if c.Bool("echo") {
		cfg.Echo = interp.EchoLastExpression
	}
	cfg.AllowFork, cfg.AllowExec = c.Bool("allow-fork") || c.Bool("checkpoint"), c.Bool("allow-exec")
	if c.Bool("session") || c.Bool("jsonl") {
		cfg.Session = interp.SessionTrajectory
	} else {
		cfg.Warm = 1
		cfg.Zygotes = 1
	}
	if c.Bool("checkpoint") {
		if cfg.Session != interp.SessionTrajectory {
			return cfg, errors.New("exec: --checkpoint needs --session or --jsonl: one cell has nothing to return to")
		}
		cfg.Checkpoint = true
	}
	if c.Bool("unsafe") {
		cfg.Isolation = interp.IsolationUnsafe
	}
	return cfg, nil
}

// cellReport is one cell's result as JSON.
type cellReport struct {
	Status    string  `json:"status"`
	Output    string  `json:"output"`
	Seconds   float64 `json:"seconds"` // elapsed, without the queue
	Exc       string  `json:"exc,omitempty"`
	Session   string  `json:"session,omitempty"`
	CPU       float64 `json:"cpu_seconds"`
	Queue     float64 `json:"queue_seconds"`
	Stdout    int64   `json:"stdout_bytes"`
	Stderr    int64   `json:"stderr_bytes"`
	Peak      int64   `json:"peak_memory"`
	StderrOut string  `json:"stderr,omitempty"`
	Rolled    bool    `json:"rolled_back,omitempty"`
}

func reportCell(r interp.Result, l interp.Limits) cellReport {
	return cellReport{Status: r.String(), Output: r.Text(l), Seconds: r.Wall.Seconds(), Exc: r.Exc, Session: r.Session, CPU: r.CPU.Seconds(),
		Queue: r.Queue.Seconds(), Stdout: r.StdoutBytes, Stderr: r.StderrBytes, Peak: r.PeakMemory,
		StderrOut: interp.Clean(r.Stderr, int(l.OutputPrompt)), Rolled: r.RolledBack}
}

func execute(c *cli.Context) error {
	if c.NArg() != 1 {
		return fmt.Errorf("exec: want one FILE, or - for standard input; got %d arguments", c.NArg())
	}
	if c.Bool("session") && c.Bool("jsonl") {
		return errors.New("exec: --session and --jsonl exclude each other: cells of a --jsonl line share a session already")
	}
	cfg, err := execConfig(c)
	if err != nil {
		return err
	}
	in, name := io.Reader(os.Stdin), "standard input"
	if path := c.Args().First(); path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return fmt.Errorf("exec: %w", err)
		}
		defer f.Close()
		in, name = f, path
	}
	var code []byte
	if !c.Bool("jsonl") {
		if code, err = io.ReadAll(io.LimitReader(in, 16<<20)); err != nil {
			return fmt.Errorf("exec: read: %w", err)
		}
	}
	if !c.Bool("jsonl") { // a library the code does not name would take no part in the run, but seconds to import
		cfg.Preload = slices.DeleteFunc(cfg.Preload, func(m string) bool {
			return slices.Contains([]string{"numpy", "sympy", "mpmath"}, m) && !strings.Contains(string(code), m)
		})
	}
	log := slog.New(slog.NewTextHandler(c.App.ErrWriter, &slog.HandlerOptions{Level: slog.LevelWarn}))
	pool, err := interp.New(c.Context, cfg, log)
	if err != nil {
		return err
	}
	defer pool.Close()
	if c.Bool("jsonl") {
		return replay(c.Context, pool, cfg, in, name, c.App.Writer)
	}
	cells := []string{string(code)}
	if c.Bool("session") {
		cells = splitCells(string(code))
	}
	for i, text := range cells {
		r, err := pool.Run(c.Context, 1, text)
		if err != nil {
			return fmt.Errorf("exec: %w", err)
		}
		rep := reportCell(r, cfg.Limits)
		if c.Bool("json") {
			b, err := json.Marshal(struct {
				cellReport
				Tier   string `json:"tier"`
				Python string `json:"python"`
			}{rep, pool.Info().Tier.String(), pool.Info().Python})
			if err != nil {
				return err
			}
			fmt.Fprintf(c.App.Writer, "%s\n", b)
			continue
		}
		fmt.Fprint(c.App.Writer, rep.Output)
		if rep.Output != "" && !strings.HasSuffix(rep.Output, "\n") {
			fmt.Fprintln(c.App.Writer)
		}
		if rep.StderrOut != "" {
			fmt.Fprint(c.App.ErrWriter, rep.StderrOut)
		}
		head := ""
		if len(cells) > 1 {
			head = fmt.Sprintf("cell %d  ", i+1)
		}
		fmt.Fprintf(c.App.ErrWriter, "%s%s  cpu %v  wall %v  tier %v  python %s\n", head, rep.Status, r.CPU.Round(10*time.Microsecond),
			r.Wall.Round(10*time.Microsecond), pool.Info().Tier, pool.Info().Python)
	}
	return nil
}

// splitCells cuts at lines that are `# %%`, with or without a title behind it.
func splitCells(text string) []string {
	var cells []string
	var cell strings.Builder
	for _, line := range strings.SplitAfter(text, "\n") {
		mark := strings.TrimRight(line, " \r\n")
		if mark == "# %%" || strings.HasPrefix(mark, "# %% ") {
			if strings.TrimSpace(cell.String()) != "" {
				cells = append(cells, cell.String())
			}
			cell.Reset()
			continue
		}
		cell.WriteString(line)
	}
	if strings.TrimSpace(cell.String()) != "" || len(cells) == 0 {
		cells = append(cells, cell.String())
	}
	return cells
}

// A replayLine is one line of a --jsonl stream.
type replayLine struct {
	ID    json.RawMessage `json:"id"`
	Cells []string        `json:"cells"`
}

// parseReplay reads one line; where is its file and number.
func parseReplay(text []byte, where string) (replayLine, error) {
	const want = `want {"id": …, "cells": ["…", …]}`
	var l replayLine
	if err := json.Unmarshal(text, &l); err != nil {
		return l, fmt.Errorf("exec: %s: %s: %w", where, want, err)
	}
	if l.Cells == nil {
		return l, fmt.Errorf("exec: %s: %s, found no cells", where, want)
	}
	if l.ID == nil {
		l.ID = json.RawMessage("null")
	}
	return l, nil
}

// replayAtOnce is how many lines hold a session at a time; the pool bounds how many cells run.
const replayAtOnce = 32

// replay runs lines side by side, each with a session of its own, and writes the answers in the order of the lines. A line that
// cannot be read ends the stream: what was asked before it is answered, then the error names it.
func replay(ctx context.Context, pool *interp.Pool, cfg interp.Config, in io.Reader, name string, out io.Writer) error {
	type answer struct {
		ID    json.RawMessage `json:"id"`
		Cells []cellReport    `json:"cells"`
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	run := func(key int64, l replayLine) ([]byte, error) {
		a := answer{ID: l.ID, Cells: []cellReport{}}
		defer pool.Forget(key)
		for _, text := range l.Cells {
			r, err := pool.Run(ctx, key, text)
			var lost *interp.SandboxError
			switch {
			case errors.As(err, &lost): // ours, not the code's: no text
				a.Cells = append(a.Cells, cellReport{Status: "sandbox_error"})
			case err != nil:
				return nil, err
			default:
				a.Cells = append(a.Cells, reportCell(r, cfg.Limits))
			}
		}
		return json.Marshal(a)
	}
	pending := make(chan chan []byte, 1024) // in the order of the lines
	atOnce := make(chan struct{}, replayAtOnce)
	written := make(chan struct{})
	go func() {
		defer close(written)
		for p := range pending {
			if b, ok := <-p; ok && context.Cause(ctx) == nil {
				if _, err := out.Write(append(b, '\n')); err != nil {
					cancel(fmt.Errorf("exec: write: %w", err))
				}
			}
		}
	}()
	scan := bufio.NewScanner(in)
	scan.Buffer(nil, 64<<20)
	n := int64(0)
	var bad error
feed:
	for scan.Scan() {
		n++
		if len(strings.TrimSpace(scan.Text())) == 0 {
			continue
		}
		l, err := parseReplay(scan.Bytes(), fmt.Sprintf("%s:%d", name, n))
		if err != nil {
			bad = err
			break
		}
		select {
		case atOnce <- struct{}{}:
		case <-ctx.Done():
			break feed
		}
		p := make(chan []byte, 1)
		pending <- p
		go func(key int64) {
			defer func() { <-atOnce }()
			defer close(p)
			b, err := run(key, l)
			if err != nil {
				cancel(err)
				return
			}
			p <- b
		}(n)
	}
	if bad == nil && scan.Err() != nil {
		bad = fmt.Errorf("exec: %s:%d: %w", name, n+1, scan.Err())
	}
	close(pending)
	<-written
	if bad != nil {
		return bad
	}
	return context.Cause(ctx)
}
