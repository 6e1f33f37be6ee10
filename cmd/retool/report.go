package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	"retool/cmd/retool/report"
	"retool/engine/model"
	"retool/trainer"
	"retool/trainer/trace"
)

func reportCommand() *cli.Command {
	return &cli.Command{
		Name: "report", Usage: "one web page of a run: results, curves, trajectories token by token", ArgsUsage: "RUNDIR",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "out", Usage: "`FILE` to write (default: RUNDIR/report.html)"},
			&cli.StringFlag{Name: "serve", Usage: "serve the page at `HOST:PORT` instead, written anew for every visit: for a run that is still training"},
		},
		Action: func(c *cli.Context) error {
			if c.NArg() != 1 {
				return fmt.Errorf("report: want one run directory, got %d arguments", c.NArg())
			}
			if addr := c.String("serve"); addr != "" {
				if c.IsSet("out") {
					return fmt.Errorf("report: --serve writes no file, so --out %s would do nothing", c.String("out"))
				}
				return serveReport(c.Context, c.Args().First(), addr, c.App.Writer)
			}
			path, err := reportFile(c.Args().First(), c.String("out"))
			if err == nil {
				_, err = fmt.Fprintln(c.App.Writer, path)
			}
			return err
		},
	}
}

// serveReport serves the page of a run directory until the context ends. A run that has logged nothing yet is an answer of 503.
func serveReport(ctx context.Context, dir, addr string, out io.Writer) error {
	if _, err := os.Stat(dir); err != nil {
		return fmt.Errorf("report: no directory %s", dir)
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("report: --serve %s: %w", addr, err)
	}
	var one sync.Mutex // a page takes seconds of a core: one at a time
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		one.Lock()
		defer one.Unlock()
		page, err := reportPage(dir)
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		w.Write(page)
	})
	s := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	stop := context.AfterFunc(ctx, func() { s.Close() })
	defer stop()
	fmt.Fprintf(out, "http://%s/\n", l.Addr())
	if err := s.Serve(l); ctx.Err() == nil {
		return fmt.Errorf("report: --serve %s: %w", addr, err)
	}
	return ctx.Err()
}

// writeReport writes a run's page into its directory and says where.
func writeReport(dir string, out *terminal) error {
	path, err := reportFile(dir, "")
	if err == nil {
		out.Note("report    " + path)
	}
	return err
}

// reportFile writes the page of a run directory, whole or not at all, and returns its path. path "" is report.html in it.
func reportFile(dir, path string) (string, error) {
	page, err := reportPage(dir)
	if err != nil {
		return "", err
	}
	if path == "" {
		path = filepath.Join(dir, "report.html") // a run's own page is written anew
	} else if err := unused(path); err != nil {
		return "", fmt.Errorf("report: --out: %w", err)
	}
	if err := model.WriteAtomic(path, func(w io.Writer) error { _, err := w.Write(page); return err }); err != nil {
		return "", fmt.Errorf("report: %w", err)
	}
	return path, nil
}

func reportPage(dir string) ([]byte, error) {
	r, err := reported(dir)
	if err != nil {
		return nil, err
	}
	var page bytes.Buffer
	err = report.Write(&page, r)
	return page.Bytes(), err
}

// reported gathers what a page says of a run directory besides its logs. Only the logs must be there; the rest is shown if it is.
func reported(dir string) (report.Run, error) {
	r, s, err := reportedRun(dir)
	if err != nil {
		return r, err
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return r, fmt.Errorf("report: %w", err)
	}
	r.Title = filepath.Base(abs)
	sum := summary(s, nil)
	if _, err := os.Stat(filepath.Join(dir, "text", "metrics.jsonl")); err == nil {
		text, t, err := reportedRun(filepath.Join(dir, "text"))
		if err != nil {
			return r, err
		}
		r.Text = &text
		sum = summary(s, t)
	}
	if len(s.Evaluations) == 0 { // without checkpoints
		if err := readJSON(filepath.Join(dir, "summary.json"), &sum); err != nil {
			return r, err
		}
	}
	r.Results = sum.Rows()
	if s.Phase == "rl" {
		for i := range r.Results {
			if r.Results[i].Name == trace.AfterRL {
				r.Results[i].Name = fmt.Sprintf("RL, step %d", r.Results[i].Step)
			}
		}
	}
	var e environment
	if err := readJSON(filepath.Join(dir, "environment.json"), &e); err != nil {
		return r, err
	}
	r.Facts, err = facts(dir, s, sum, e)
	return r, err
}

// reportedRun is one run of a directory: its settings' text, its evaluations, and the newest checkpoint's state, empty without one.
func reportedRun(dir string) (report.Run, *trainer.State, error) {
	r, s := report.Run{Dir: dir}, &trainer.State{}
	text, err := os.ReadFile(filepath.Join(dir, "config.yaml"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return r, s, fmt.Errorf("report: %w", err)
	}
	r.Config = string(text)
	if latest := trainer.Latest(dir); latest != "" {
		state, err := trainer.ReadState(latest)
		if err != nil {
			return r, s, fmt.Errorf("report: %w", err)
		}
		s = &state
	}
	r.Evaluations = s.Evaluations
	return r, s, nil
}

// readJSON leaves v as it is when there is no such file.
func readJSON(path string, v any) error {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = trace.Unmarshal(text, v)
	}
	if err != nil {
		return fmt.Errorf("report: %s: %w", path, err)
	}
	return nil
}

// environment is what a run ran on and no setting says: the part of environment.json that the page shows.
type environment struct {
	Device string `json:"device"`
	Model  string `json:"model"`
	Python string `json:"python"` // "" without a tool
}

// facts are the header's lines. Settings that today's program no longer reads leave their lines out: the page shows their text.
func facts(dir string, s *trainer.State, sum trace.Summary, e environment) ([]report.Fact, error) {
	var out []report.Fact
	add := func(name, format string, a ...any) {
		if text := strings.TrimSpace(fmt.Sprintf(format, a...)); text != "" {
			out = append(out, report.Fact{Name: name, Value: text})
		}
	}
	var last trace.Metrics
	_, err := trace.Read(filepath.Join(dir, "metrics.jsonl"), func(m trace.Metrics) error { last = m; return nil })
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // report.Write says so
		return nil, fmt.Errorf("report: %w", err)
	}
	cfg, err := loadConfig(filepath.Join(dir, "config.yaml"), nil)
	if err != nil {
		cfg = nil
	}
	if e.Device != "" || cfg == nil {
		add("device", "%s", e.Device)
	} else {
		add("device", "%s", cfg.Device)
	}
	add("python", "%s", e.Python)
	add("model", "%s", e.Model)
	if cfg != nil {
		if e.Model == "" {
			add("model", "%s", cfg.Model.Path)
		}
		task := cfg.Data.Task
		if task == "files" {
			task = cfg.Data.Problems
		}
		add("task", "%s, seed %d", task, cfg.Seed)
		if cfg.SFT.Steps > 0 {
			add("cold start", "%d steps of %d traces, learning rate %g", cfg.SFT.Steps, cfg.SFT.Batch, cfg.SFT.LR)
		}
		if cfg.RL.Steps > 0 {
			add("RL", "%s, %d steps, learning rate %g", strings.ToUpper(cfg.RL.Algorithm), cfg.RL.Steps, cfg.RL.LR)
			add("batch", "%s", cfg.RL.Batches())
		}
		add("reward", "%s", cfg.Reward.Use)
	}
	add("protocol", "%s", s.Protocol)
	add("contract", "%s", s.Contract)
	seconds := sum.Seconds
	if seconds == 0 {
		seconds = last.Since
	}
	if seconds > 0 {
		add("duration", "%v", time.Duration(seconds*float64(time.Second)).Round(time.Second))
	}
	switch {
	case s.Phase == "done":
		add("status", "finished after %d steps", last.Step)
	case last.Step > 0:
		add("status", "not finished: step %d of its %s phase is the last one logged", last.Step, last.Phase)
	}
	return out, nil
}
