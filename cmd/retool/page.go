package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"retool/cmd/retool/report"
	"retool/trainer"
	"retool/trainer/trace"
)

// reportPage is the page of a run directory, or of one that holds several.
func reportPage(dir string) ([]byte, error) {
	if err := wantFolder(dir, "a run's directory, or one of such directories"); err != nil {
		return nil, fmt.Errorf("report: %w", err)
	}
	if !isRun(dir) && len(runsIn(dir)) > 0 {
		return comparisonPage(dir)
	}
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
	} else if s.Evaluations, err = storedEvaluations(dir); err != nil {
		return r, s, err
	}
	r.Evaluations = s.Evaluations
	return r, s, nil
}

// readJSON leaves v as it is when there is no such file.
func readJSON(path string, v any) error {
	text, err := readText(path)
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
		add("status", "not finished: step %d, of its %s phase, is the last one logged", last.Step, last.Phase)
	}
	return out, nil
}
