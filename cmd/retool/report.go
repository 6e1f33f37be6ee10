package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
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
		Flags: []cli.Flag{&cli.StringFlag{Name: "out", Usage: "`FILE` to write (default: RUNDIR/report.html)"}},
		Action: func(c *cli.Context) error {
			if c.NArg() != 1 {
				return fmt.Errorf("report: want one run directory, got %d arguments", c.NArg())
			}
			path, err := reportFile(c.Args().First(), c.String("out"))
			if err == nil {
				_, err = fmt.Fprintln(c.App.Writer, path)
			}
			return err
		},
	}
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
	r, err := reported(dir)
	if err != nil {
		return "", err
	}
	if path == "" {
		path = filepath.Join(dir, "report.html")
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".report-*.html")
	if err != nil {
		return "", fmt.Errorf("report: %w", err)
	}
	defer os.Remove(f.Name()) // fails once it is renamed
	err = errors.Join(f.Chmod(0o644), report.Write(f, r), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	return path, err
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
	if err := readJSON(filepath.Join(dir, "summary.json"), &sum); err != nil {
		return r, err
	}
	r.Results = sum.rows()
	var e environment
	if err := readJSON(filepath.Join(dir, environmentFile), &e); err != nil {
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
		if err := readJSON(filepath.Join(latest, "state.json"), s); err != nil {
			return r, s, err
		}
	}
	for _, e := range s.Evaluations {
		r.Evaluations = append(r.Evaluations, report.Evaluation{
			Name: e.Name, Step: e.Step, Problems: e.Problems, Samples: e.Samples, Accuracy: report.Number(e.Accuracy), Low: report.Number(e.Low),
			High: report.Number(e.High), Rules: e.Rules, Behaviour: e.Behaviour,
		})
	}
	return r, s, nil
}

// readJSON leaves v as it is when there is no such file.
func readJSON(path string, v any) error {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = json.Unmarshal(text, v)
	}
	if err != nil {
		return fmt.Errorf("report: %s: %w", path, err)
	}
	return nil
}

// rows are the summary's results as the page shows them.
func (s Summary) rows() []report.Result {
	var rows []report.Result
	for _, x := range []struct {
		name string
		text bool
		r    *Result
	}{
		{"untrained", false, s.Untrained}, {"after cold start", false, s.ColdStart}, {"after RL", false, s.RL},
		{"text only, after cold start", true, s.TextColdStart}, {"text only, after RL", true, s.TextRL},
	} {
		if r := x.r; r != nil {
			rows = append(rows, report.Result{
				Name: x.name, Text: x.text, Accuracy: report.Number(r.Accuracy), Low: report.Number(r.Low), High: report.Number(r.High),
				Sampling: report.Number(r.Sampling), CodeRatio: report.Number(r.CodeRatio), WithCode: report.Number(r.WithCode), Length: report.Number(r.Length),
				Problems: r.Problems, Samples: r.Samples, Step: r.Step,
			})
		}
	}
	return rows
}

// environment is what a run ran on and no setting says. A run writes it when it begins and whenever it goes on.
type environment struct {
	Device string `json:"device"`
	Model  string `json:"model"`
	Python string `json:"python"` // "" without a tool
}

const environmentFile = "environment.json"

// writeEnvironment leaves it for the report.
func writeEnvironment(dir string, e environment) error {
	text, err := json.MarshalIndent(e, "", "  ")
	if err == nil {
		err = model.WriteAtomic(filepath.Join(dir, environmentFile), func(w io.Writer) error { _, err := w.Write(append(text, '\n')); return err })
	}
	if err != nil {
		return fmt.Errorf("run directory: %w", err)
	}
	return nil
}

// facts are the header's lines. Settings that today's program no longer reads leave their lines out: the page shows their text.
func facts(dir string, s *trainer.State, sum Summary, e environment) ([]report.Fact, error) {
	var out []report.Fact
	add := func(name, format string, a ...any) {
		if text := strings.TrimSpace(fmt.Sprintf(format, a...)); text != "" {
			out = append(out, report.Fact{Name: name, Value: text})
		}
	}
	var last trace.Metrics
	err := trace.Read(filepath.Join(dir, "metrics.jsonl"), func(m trace.Metrics) error { last = m; return nil })
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
