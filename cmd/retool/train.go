package main

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"runtime"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/urfave/cli/v2"

	"retool/engine/model"
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
	if err := model.WriteAtomic(filepath.Join(dir, "config.yaml"), func(w io.Writer) error { _, err := w.Write(config); return err }); err != nil {
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
	return model.WriteAtomic(path, func(w io.Writer) error { _, err := w.Write(text); return err })
}
