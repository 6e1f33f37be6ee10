package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/urfave/cli/v2"

	"retool/engine/atomicfile"
	"retool/interp"
	"retool/trainer"
)

func trainCommand() *cli.Command {
	return &cli.Command{
		Name: "train", Usage: "cold start and reinforcement learning, as a recipe or a file says", ArgsUsage: "[RECIPE|FILE.yaml]",
		Flags: []cli.Flag{setFlag()},
		Action: func(c *cli.Context) error {
			read, err := trainConfigs(c)
			if err != nil {
				return err
			}
			return trainOnce(c.Context, read[0])
		},
	}
}

// trainConfigs is what train reads.
func trainConfigs(c *cli.Context) ([]*Config, error) {
	cfg, err := configured(c, "demo")
	return []*Config{cfg}, err
}

func sftCommand() *cli.Command {
	return &cli.Command{
		Name: "sft", Usage: "the cold start alone", ArgsUsage: "[RECIPE|FILE.yaml]",
		Flags: []cli.Flag{setFlag()},
		Action: func(c *cli.Context) error {
			read, err := sftConfigs(c)
			if err != nil {
				return err
			}
			return trainOnce(c.Context, read[0])
		},
	}
}

// sftConfigs is what sft reads: what train does, without reinforcement learning.
func sftConfigs(c *cli.Context) ([]*Config, error) {
	read, err := trainConfigs(c)
	if err == nil {
		read[0].RL.Steps = 0
	}
	return read, err
}

// onRanks meets the other ranks of cfg's run, if a launcher started this process as one of several, and does f there. An error of one rank
// ends the run on all.
func onRanks(ctx context.Context, cfg *Config, trains bool, f func(rs *ranks) error) error {
	id, err := thisRank()
	if err != nil {
		return err
	}
	if id.Size > 1 && !id.Launched() {
		if err := cfg.forHost(ctx, id, trains); err != nil {
			return err
		}
	}
	rs, err := joinRanks(ctx, cfg, id, trains)
	if err != nil {
		return err
	}
	defer rs.Close()
	if err = f(rs); err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, trainer.ErrSaved) { // which all ranks have agreed on
		err = rs.failed(err)
	}
	return rs.why(err)
}

// leads reports whether this rank writes and prints.
func (rs *ranks) leads() bool { return rs.Rank() == 0 }

// trainOnce claims a run directory, trains in it, and writes its summary and page.
func trainOnce(ctx context.Context, cfg *Config) error {
	return onRanks(ctx, cfg, true, func(rs *ranks) error {
		dir, err := rs.claimRun(cfg.Run)
		if err != nil {
			return err
		}
		defer dir.Close()
		out := newTerminal()
		defer out.Close()
		state, err := train(cfg, dir, out, rs)
		if err != nil || !rs.leads() {
			return err
		}
		if err := writeSummary(dir.path, summary(state, nil)); err != nil {
			return err
		}
		if err := writeEvaluations(dir.path, state); err != nil {
			return err
		}
		return writeReport(dir.path, out)
	})
}

// train runs a configuration in a directory, or goes on with it there. Only rank 0 prints.
func train(cfg *Config, dir *runDir, out *terminal, rs *ranks) (*trainer.State, error) {
	settled, taken, err := settle(cfg, dir.path)
	if err != nil {
		return nil, err
	}
	var metrics *exporter
	if addr := cfg.Follow.Prometheus; addr != "" && rs.leads() { // before any work: the address may be taken
		if metrics, err = openExporter(addr, prometheus.NewRegistry()); err != nil {
			return nil, err
		}
		defer metrics.Close()
	}
	u := cfg.training()
	memory, err := newBudget(cfg, u, rs.id)
	if err != nil {
		return nil, err
	}
	u.ranks, u.kvMemory = rs, memory.kvMemory()
	p, err := build(rs.ctx, cfg, u)
	if err != nil {
		return nil, err
	}
	defer p.Close()
	if !rs.leads() {
		run, _, err := p.training(dir.path, followers{})
		if err != nil {
			return nil, err
		}
		ctx, settle := p.beside(rs.ctx, func(*interp.Pool) error { return nil })
		state, err := run.Train(ctx)
		return state, settle(err)
	}
	report, end, err := p.followers(dir.path, out, metrics)
	if err != nil {
		return nil, err
	}
	defer end()
	run, notes, err := p.training(dir.path, report)
	if err != nil {
		dir.abandon()
		return nil, err
	}
	run.Progress = out.doing
	if err := errors.Join(atomicfile.WriteBytes(filepath.Join(dir.path, "config.yaml"), settled), rs.writeRoster(dir.path)); err != nil {
		return nil, fmt.Errorf("run directory: %w", err)
	}
	p.header(out, dir.path)
	if metrics != nil {
		out.Note("metrics   " + metrics.address())
	}
	for _, note := range append(append(rs.lines(), notes...), taken, memory.lends()) {
		if note != "" {
			out.Note(note)
		}
	}
	ctx, sandboxed := p.beside(rs.ctx, func(pool *interp.Pool) error {
		if pool != nil {
			out.Note("python    " + pythonLine(pool.Info()))
			if metrics != nil {
				metrics.sandbox(pool)
			}
		}
		return p.describe(dir.path, pool)
	})
	state, err := run.Train(ctx)
	if err = sandboxed(err); p.sandbox.caused(err) {
		dir.abandon()
	}
	if err == nil {
		alone := *state // it is a part of the run, and would keep all that the run holds
		state = &alone
		p.footer(out)
		if line := memory.ended(p.dev, p.engine); line != "" {
			out.Note(line)
		}
	}
	return state, err
}
