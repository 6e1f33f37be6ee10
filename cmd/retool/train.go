package main

import (
	"context"
	"fmt"
	"path/filepath"
	"runtime"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/urfave/cli/v2"

	"retool/engine/atomicfile"
	"retool/interp"
	"retool/kernels"
	"retool/trainer"
	"retool/trainer/trace"
)

func trainCommand() *cli.Command {
	return &cli.Command{
		Name: "train", Usage: "cold start and reinforcement learning, as a recipe or a file says", ArgsUsage: "RECIPE|FILE.yaml",
		Flags: []cli.Flag{setFlag()},
		Action: func(c *cli.Context) error {
			cfg, err := configured(c, "demo")
			if err != nil {
				return err
			}
			return trainOnce(c.Context, cfg)
		},
	}
}

func sftCommand() *cli.Command {
	return &cli.Command{
		Name: "sft", Usage: "the cold start alone", ArgsUsage: "RECIPE|FILE.yaml",
		Flags: []cli.Flag{setFlag()},
		Action: func(c *cli.Context) error {
			cfg, err := configured(c, "demo")
			if err != nil {
				return err
			}
			cfg.RL.Steps = 0
			return trainOnce(c.Context, cfg)
		},
	}
}

// trainOnce claims a run directory, trains in it, and writes its summary and page.
func trainOnce(ctx context.Context, cfg *Config) error {
	dir, err := claimRun(cfg.Run)
	if err != nil {
		return err
	}
	defer dir.Close()
	out := newTerminal()
	defer out.Close()
	state, err := train(ctx, cfg, dir, out)
	if err != nil {
		return err
	}
	if err := writeSummary(dir.path, summary(state, nil)); err != nil {
		return err
	}
	return writeReport(dir.path, out)
}

// train runs a configuration in a directory, or goes on with it there.
func train(ctx context.Context, cfg *Config, dir *runDir, out *terminal) (*trainer.State, error) {
	settled, taken, err := settle(cfg, dir.path)
	if err != nil {
		return nil, err
	}
	var metrics *exporter
	if addr := cfg.Follow.Prometheus; addr != "" { // before any work: the address may be taken
		if metrics, err = openExporter(addr, prometheus.NewRegistry()); err != nil {
			return nil, err
		}
		defer metrics.Close()
	}
	p, err := build(ctx, cfg, use{train: true, concurrent: cfg.concurrency()})
	if err != nil {
		return nil, err
	}
	defer p.Close()
	report, end, err := p.followers(dir.path, out, metrics)
	if err != nil {
		return nil, err
	}
	defer end()
	run, notes, err := p.training(dir.path, report)
	if err != nil {
		return nil, err
	}
	if err := p.describe(dir.path, settled); err != nil {
		return nil, fmt.Errorf("run directory: %w", err)
	}
	p.header(out, dir.path)
	if metrics != nil {
		out.Note("metrics   " + metrics.address())
	}
	for _, note := range append(notes, taken) {
		if note != "" {
			out.Note(note)
		}
	}
	return run.Train(ctx)
}

// describe stores the configuration in the run directory, and what the run runs on: device, kernels, the sandbox's tier, the Python
// inside it.
func (p *program) describe(dir string, config []byte) error {
	if err := atomicfile.WriteBytes(filepath.Join(dir, "config.yaml"), config); err != nil {
		return err
	}
	env := struct {
		Device  string       `json:"device"` // the lines that the terminal shows
		Model   string       `json:"model"`
		Python  string       `json:"python,omitempty"`
		Go      string       `json:"go"`
		System  string       `json:"system"`
		Kernels kernels.Info `json:"kernels"`
		Sandbox *interp.Info `json:"sandbox,omitempty"`
	}{Device: p.deviceLine(), Model: p.modelLine(), Go: runtime.Version(), System: runtime.GOOS + "/" + runtime.GOARCH, Kernels: p.dev.Info()}
	if p.pool != nil {
		info := p.pool.Info()
		env.Python, env.Sandbox = pythonLine(info), &info
	}
	return writeJSON(filepath.Join(dir, "environment.json"), env)
}

// writeJSON writes a value to a file, indented.
func writeJSON(path string, v any) error {
	text, err := trace.MarshalIndent(v)
	if err != nil {
		return err
	}
	return atomicfile.WriteBytes(path, text)
}

// Result is one row of summary.json.
type Result struct {
	Accuracy  float64 `json:"accuracy"`
	CodeRatio float64 `json:"code_ratio"`
	Problems  int     `json:"problems"`
	Samples   int     `json:"samples"`
	Low       float64 `json:"low"` // 95 % interval over the choice of problems
	High      float64 `json:"high"`
	Sampling  float64 `json:"sampling_error"`
	WithCode  float64 `json:"accuracy_with_code"`
	Length    float64 `json:"response_length"`
	Step      int     `json:"step"`
}

// Summary is what a run came to. A demo has the text-only recipe's end beside its own.
type Summary struct {
	Untrained     *Result `json:"untrained,omitempty"`
	ColdStart     *Result `json:"cold_start,omitempty"`
	RL            *Result `json:"rl,omitempty"`
	TextColdStart *Result `json:"text_cold_start,omitempty"`
	TextRL        *Result `json:"text_rl,omitempty"`
	Seconds       float64 `json:"seconds"`
}

// last is the latest evaluation of a name.
func last(s *trainer.State, name string) *Result {
	var r *Result
	for _, e := range s.Evaluations {
		if e.Name == name {
			r = &Result{
				Accuracy: e.Accuracy, CodeRatio: e.Behaviour.CodeRatio, Problems: e.Problems, Samples: e.Samples, Low: e.Low, High: e.High,
				Sampling: e.Sampling, WithCode: e.AccuracyCode, Length: e.Behaviour.ResponseLength, Step: e.Step,
			}
		}
	}
	return r
}

func summary(tool, text *trainer.State) Summary {
	s := Summary{Untrained: last(tool, "untrained"), ColdStart: last(tool, "cold_start"), RL: last(tool, "rl"), Seconds: tool.Seconds}
	if text != nil {
		s.TextColdStart, s.TextRL = last(text, "cold_start"), last(text, "rl")
		s.Seconds += text.Seconds
	}
	return s
}

func writeSummary(dir string, s Summary) error {
	return writeJSON(filepath.Join(dir, "summary.json"), s)
}
