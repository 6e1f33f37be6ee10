package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"retool/engine"
	"retool/engine/tokenizer"
	"retool/interp"
	"retool/trainer/arith"
)

func execCommand() *cli.Command {
	return &cli.Command{
		Name:      "exec",
		Usage:     "run Python as a rollout would run it, in the sandbox",
		ArgsUsage: "FILE|-",
		Description: "Prints what a rollout would show the model, by the same function and to the character: cleaned, forged tags broken,\n" +
			"cut to protocol.cap. The status, and what the code wrote to standard error, go to standard error. With --session, cells\n" +
			"separated by a line `# %%` share one process; threads that a cell starts are awaited at its end, exit functions run at the\n" +
			"end of the last.\n\n" +
			"With --jsonl, every line of FILE is {\"id\": …, \"cells\": [\"…\", …]}; cells of a line share a process, lines run side by\n" +
			"side, and each answer is one line, in their order: {\"id\": …, \"cells\": [{\"status\", \"output\", \"seconds\", …}]}, output\n" +
			"being what is shown.\n\n" +
			"With --turn, FILE is an assistant's turn as sampled: its code is cut out and run, and the reply is printed as it would be\n" +
			"appended to the trajectory. With --turn --jsonl, every line is {\"id\": …, \"turn\": \"…\"}, each answer {\"id\", \"code\",\n" +
			"\"status\", \"reply\"}; code is null and status no_call, no_code or empty_code if nothing was run. A turn that closes no\n" +
			"request has no reply.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "tier", Usage: "go no higher than this tier, and refuse a lower one: `A|B|C1|C2|C`"},
			timeFlag("timeout", 0, "CPU time and elapsed time of a cell `D`; without it the defaults (5 s, 15 s)"),
			&cli.StringFlag{Name: "python", Usage: "interpreter `PATH`; default: the one `make python` built, else python3"},
			&cli.BoolFlag{Name: "json", Usage: "print the whole result as JSON"},
			&cli.BoolFlag{Name: "session", Usage: "cells separated by `# %%` share variables"},
			&cli.BoolFlag{Name: "jsonl", Usage: "a stream of cells, or with --turn of turns, in; a stream of results out"},
			&cli.BoolFlag{Name: "turn", Usage: "the input is an assistant's turn, the output the reply to it"},
			&cli.StringSliceFlag{Name: "set", Usage: "`KEY=VALUE`: protocol.error, protocol.cap; with --turn protocol.feedback, protocol.no_fence"},
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
	if d := c.Duration("timeout"); d > 0 {
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
	switch {
	case c.Bool("session"), c.Bool("jsonl") && !c.Bool("turn"):
		cfg.Session = interp.SessionTrajectory
	case !c.Bool("jsonl"):
		cfg.Warm, cfg.Zygotes = 1, 1
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

// protocolConfig is the default protocol with the command's --set flags.
func protocolConfig(c *cli.Context) (engine.ProtocolConfig, error) {
	cfg := engine.DefaultProtocol()
	for _, set := range c.StringSlice("set") {
		key, value, _ := strings.Cut(set, "=")
		var err error
		switch key {
		case "protocol.error":
			cfg.Error = value
		case "protocol.cap":
			if cfg.Cap, err = strconv.Atoi(value); err != nil {
				return cfg, fmt.Errorf("exec: --set %s: want a whole number of characters", set)
			}
		case "protocol.feedback", "protocol.no_fence":
			if !c.Bool("turn") {
				return cfg, fmt.Errorf("exec: --set %s would do nothing without --turn", set)
			}
			if key == "protocol.feedback" {
				cfg.Feedback = value
			} else {
				cfg.NoFence = value
			}
		default:
			return cfg, fmt.Errorf("exec: --set %s: want protocol.error, protocol.cap, protocol.feedback or protocol.no_fence", set)
		}
	}
	return cfg, cfg.Validate()
}

// An executor runs cells and turns in the sandbox and reports them as a rollout would show them.
type executor struct {
	pool   *interp.Pool
	limits interp.Limits
	proto  engine.Protocol
}

// cellReport is one cell's result as JSON.
type cellReport struct {
	Status    string  `json:"status"`
	Output    string  `json:"output"`  // what a rollout would show
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

func (x executor) report(r interp.Result) cellReport {
	return cellReport{Status: r.String(), Output: x.proto.Observation(shown(r, x.limits)), Seconds: r.Wall.Seconds(), Exc: r.Exc,
		Session: r.Session, CPU: r.CPU.Seconds(), Queue: r.Queue.Seconds(), Stdout: r.StdoutBytes, Stderr: r.StderrBytes, Peak: r.PeakMemory,
		StderrOut: engine.Clean(string(r.Stderr)), Rolled: r.RolledBack}
}

// run is a session's cell, its last one or one that others follow.
func (x executor) run(ctx context.Context, key int64, code string, last bool) (interp.Result, error) {
	if last {
		return x.pool.RunLast(ctx, key, code)
	}
	return x.pool.Run(ctx, key, code)
}

// turnReport is what came of one turn, as JSON.
type turnReport struct {
	ID     json.RawMessage `json:"id"`
	Code   *string         `json:"code"` // what the interpreter was given; null: nothing
	Status string          `json:"status"`
	Reply  string          `json:"reply"` // as a rollout would append it to the turn
}

// turn answers an assistant's turn as a rollout does: what follows the tag that closes its request is taken for what the closing token
// carried beyond it.
func (x executor) turn(ctx context.Context, key int64, id json.RawMessage, turn string) (turnReport, error) {
	t := turnReport{ID: id, Status: "no_call"}
	q, closed := x.proto.Call([]byte(turn), len(turn), false)
	if !closed {
		return t, nil
	}
	result := engine.Result{Status: q.Invalid}
	if t.Status = q.Invalid; q.Invalid == "" {
		t.Code = &q.Code
		r, err := x.run(ctx, key, q.Code, true)
		var lost *interp.SandboxError
		switch {
		case errors.As(err, &lost): // the trajectory would end here
			t.Status = "sandbox_error"
			return t, nil
		case err != nil:
			return t, err
		}
		t.Status, result = r.String(), shown(r, x.limits)
	}
	t.Reply, _ = x.proto.Fragment(q, result)
	return t, nil
}

func execute(c *cli.Context) error {
	switch {
	case c.Bool("session") && c.Bool("jsonl"):
		return errors.New("exec: --session and --jsonl exclude each other: cells of a --jsonl line share a session already")
	case c.Bool("session") && c.Bool("turn"):
		return errors.New("exec: --session and --turn exclude each other: the code of a turn has a process of its own")
	}
	cfg, err := execConfig(c)
	if err != nil {
		return err
	}
	protocol, err := protocolConfig(c)
	if err != nil {
		return err
	}
	tok, err := tokenizer.Words(arith.Vocabulary()) // whose special tokens an output must not spell
	if err != nil {
		return err
	}
	proto, err := engine.NewProtocol(protocol, tok, nil)
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
	in = textReader(in)
	var text []byte
	if !c.Bool("jsonl") {
		if text, err = io.ReadAll(io.LimitReader(in, 16<<20)); err != nil {
			return fmt.Errorf("exec: read: %w", err)
		}
		// A library the code does not name would take no part in the run, but seconds to import.
		cfg.Preload = slices.DeleteFunc(cfg.Preload, func(m string) bool {
			return slices.Contains([]string{"numpy", "sympy", "mpmath"}, m) && !strings.Contains(string(text), m)
		})
	}
	log := slog.New(slog.NewTextHandler(c.App.ErrWriter, &slog.HandlerOptions{Level: slog.LevelWarn}))
	pool, err := interp.New(c.Context, cfg, log)
	if err != nil {
		return err
	}
	defer pool.Close()
	x := executor{pool, cfg.Limits, proto}
	switch {
	case c.Bool("jsonl") && c.Bool("turn"):
		return stream(c.Context, in, name, c.App.Writer, x.turnLine)
	case c.Bool("jsonl"):
		return stream(c.Context, in, name, c.App.Writer, x.cellLine)
	case c.Bool("turn"):
		return x.printTurn(c, string(text))
	}
	cells := []string{string(text)}
	if c.Bool("session") {
		cells = splitCells(string(text))
	}
	for i, text := range cells {
		if err := x.printCell(c, text, i, len(cells)); err != nil {
			return err
		}
	}
	return nil
}

// printCell runs cell i of n and prints its result.
func (x executor) printCell(c *cli.Context, text string, i, n int) error {
	r, err := x.run(c.Context, 1, text, i == n-1)
	if err != nil {
		return fmt.Errorf("exec: %w", err)
	}
	rep, info := x.report(r), x.pool.Info()
	if c.Bool("json") {
		b, err := json.Marshal(struct {
			cellReport
			Tier   string `json:"tier"`
			Python string `json:"python"`
		}{rep, info.Tier.String(), info.Python})
		if err != nil {
			return err
		}
		fmt.Fprintf(c.App.Writer, "%s\n", b)
		return nil
	}
	if rep.Output != "" {
		fmt.Fprintln(c.App.Writer, rep.Output)
	}
	if rep.StderrOut != "" {
		fmt.Fprint(c.App.ErrWriter, rep.StderrOut)
	}
	head := ""
	if n > 1 {
		head = fmt.Sprintf("cell %d  ", i+1)
	}
	fmt.Fprintf(c.App.ErrWriter, "%s%s  cpu %v  wall %v  tier %v  python %s\n", head, rep.Status, r.CPU.Round(10*time.Microsecond),
		r.Wall.Round(10*time.Microsecond), info.Tier, info.Python)
	return nil
}

// printTurn prints the reply to a turn.
func (x executor) printTurn(c *cli.Context, text string) error {
	t, err := x.turn(c.Context, 1, json.RawMessage("null"), text)
	if err != nil {
		return fmt.Errorf("exec: %w", err)
	}
	if c.Bool("json") {
		b, err := json.Marshal(t)
		if err != nil {
			return err
		}
		fmt.Fprintf(c.App.Writer, "%s\n", b)
		return nil
	}
	fmt.Fprint(c.App.Writer, t.Reply)
	fmt.Fprintln(c.App.ErrWriter, t.Status)
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
