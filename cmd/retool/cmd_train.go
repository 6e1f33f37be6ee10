package main

import (
	"context"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/urfave/cli/v2"

	"retool/trainer"
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
	if err := writeEvaluations(dir.path, state); err != nil {
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
	memory, err := newBudget(cfg)
	if err != nil {
		return nil, err
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
	state, err := run.Train(ctx)
	if err == nil {
		p.footer(out)
		if line := memory.ended(p.dev); line != "" {
			out.Note(line)
		}
	}
	return state, err
}
