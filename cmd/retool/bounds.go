package main

import (
	"fmt"
	"reflect"
	"time"
	"unsafe"

	"github.com/urfave/cli/v2"

	"retool/engine"
	"retool/kernels"
	"retool/trainer"
)

// Largest values of whole numbers that take no memory, such as steps to count up to, of durations, and of trajectories at a time.
const (
	mostCount        = 1_000_000_000
	mostTime         = 365 * 24 * time.Hour
	mostTrajectories = 1 << 28
)

// most is the largest value of every setting that is a whole number: more than anybody has a use for, and so little that products of
// settings can be computed, tried on a device that counts, and held against the memory there is. Durations are at most mostTime; a seed
// is any number.
var most = map[string]int64{
	"threads": maxThreads,

	"model.layers": 1 << 12, "model.hidden": 1 << 20, "model.heads": 1 << 12, "model.kv_heads": 1 << 12, "model.head_dim": 1 << 10,
	"model.ffn": 1 << 22, "model.lora.rank": 1 << 16,

	"data.pool": 1 << 24, "protocol.cap": mostCount,

	"interp.zygotes": 512, "interp.concurrency": 1024, "interp.warm": 2048, // users of their own are there for 4096 sessions
	"interp.limits.tmp_files": 1 << 20, "interp.limits.processes": 1 << 15, "interp.limits.files": 1 << 20, "interp.limits.cells": 1 << 15,
	"interp.limits.memory": 1 << 50, "interp.limits.data": 1 << 50, "interp.limits.address": 1 << 50, "interp.limits.tmp": 1 << 50,
	"interp.limits.output": 1 << 30, "interp.limits.output_kill": 1 << 40, "interp.limits.code": 128 << 10,

	"engine.max_tokens": 1 << 24, "engine.max_prompt": 1 << 24, "engine.turn_tokens": 1 << 24, "engine.turns": mostCount,
	"engine.step_tokens": 1 << 24, "engine.pages": 1 << 24, "engine.kv_memory": 1 << 24,

	"sft.steps": mostCount, "sft.epochs": 1 << 20, "sft.batch": 1 << 24, "sft.tokens": 1 << 24, "sft.warmup": mostCount,

	"rl.steps": mostCount, "rl.prompts": 1 << 24, "rl.group": 1 << 24, "rl.minibatch": 1 << 24, "rl.epochs": 1 << 20, "rl.tokens": 1 << 24,
	"rl.top_k": 1 << 28, "rl.kl_refresh": mostCount, "rl.horizon": mostCount, "rl.resample": mostCount, "rl.revision": mostCount,
	"rl.max_skipped": mostCount, "rl.verify_every": mostCount, "rl.warmup": mostCount,

	"critic.warmup": mostCount, "reward.overlong.budget": 1 << 24, "reward.overlong.cache": 1 << 24,

	"eval.problems": 1 << 24, "eval.samples": 1 << 24, "eval.top_k": 1 << 28, "eval.every": mostCount,

	"checkpoint.every": mostCount, "checkpoint.keep": mostCount, "dist.slices": 4096,
}

// checkBounds refuses settings beyond most, before anything is computed of them; and a cache of so few pages that a trajectory at its
// longest does not fit it, which else shows after the cold start.
func (c *Config) checkBounds() error {
	for _, s := range settings(c) {
		var bound, value int64
		switch {
		case s.value.Type() == reflect.TypeFor[time.Duration]():
			bound, value = int64(mostTime), s.value.Int()
		case s.value.Kind() == reflect.Int || s.value.Kind() == reflect.Int64:
			bound, value = most[s.key], s.value.Int()
		default:
			continue
		}
		if value > bound {
			s.value = reflect.ValueOf(bound).Convert(s.value.Type())
			limit := s.text()
			s.value = reflect.ValueOf(value).Convert(s.value.Type())
			return fmt.Errorf("%s: want at most %s, got %s", s.key, limit, s.text())
		}
	}
	for _, p := range []struct {
		what string
		a, b int
	}{{"rl.prompts × rl.group", c.RL.Prompts, c.RL.Group}, {"eval.problems × eval.samples", c.Eval.Problems, c.Eval.Samples}} {
		if p.a > 0 && p.b > mostTrajectories/p.a {
			return fmt.Errorf("%s: want at most %d trajectories, got %d × %d", p.what, mostTrajectories, p.a, p.b)
		}
	}
	if n := kernels.PagesOf(c.Engine.MaxTokens) + 1; c.Engine.Pages > 0 && c.Engine.Pages < n {
		return fmt.Errorf("engine.pages: want 0 or at least %d, one and those of a trajectory of engine.max_tokens %d, got %d", n,
			c.Engine.MaxTokens, c.Engine.Pages)
	}
	return nil
}

// A hostPart is what a count among the settings takes of the host's memory.
type hostPart struct {
	what  string
	bytes float64
	apart bool // in processes of their own
}

// Bytes that a run holds of each thing it counts: a generated problem and trace, measured on the embedded tasks; a fork server and a
// session of a Python without libraries, measured too; this program; and a token of a trajectory with what is learnt from it.
const (
	problemBytes = 156
	traceBytes   = 2848
	serverBytes  = 15 << 20
	sessionBytes = 2 << 20
	programBytes = 46 << 20 // of this one: its code, as far as a run reads it, and what Go has before it
	tokenBytes   = unsafe.Sizeof(engine.Token{}) + unsafe.Sizeof(trainer.Step{})
)

// held is what one of so many ranks holds in the host's memory beside tensors: generated data, and its share of a step's or an
// evaluation's trajectories, at their longest.
func (c *Config) held(train bool, ranks int) (parts []hostPart) {
	count := func(of string, n int, bytes float64) {
		parts = append(parts, hostPart{what: fmt.Sprintf("%d %s", n, of), bytes: float64(n) * bytes})
	}
	trajectory := float64(c.Engine.MaxTokens) * float64(tokenBytes) / float64(ranks)
	long := fmt.Sprintf(" of up to %d tokens", c.Engine.MaxTokens)
	if c.Data.embedded() { // a file has as many problems as it has, at most
		count("trajectories of eval.problems × eval.samples"+long, c.Eval.Problems*c.Eval.Samples, trajectory)
	} else {
		count("trajectories of a problem by eval.samples"+long, c.Eval.Samples, trajectory)
	}
	if train && c.RL.Steps > 0 {
		count("trajectories of rl.prompts × rl.group"+long, c.RL.Prompts*c.RL.Group, trajectory)
	}
	if c.Data.embedded() {
		count("problems of eval.problems", c.Eval.Problems, problemBytes)
	}
	if c.tools() {
		count("fork servers of interp.zygotes", c.Interp.Zygotes, serverBytes)
		count("sessions of interp.warm + interp.concurrency", c.Interp.Warm+c.Interp.Concurrency, sessionBytes)
		parts[len(parts)-2].apart, parts[len(parts)-1].apart = true, true
	}
	if train && c.Data.embedded() {
		count("problems of data.pool", c.Data.Pool, problemBytes)
		count("traces of sft.steps × sft.batch", c.SFT.Steps*c.SFT.Batch, traceBytes)
	}
	return parts
}

// countFlag is a flag for a whole number within bounds.
func countFlag(name string, value, least, most int, usage string) *cli.IntFlag {
	return &cli.IntFlag{Name: name, Value: value, Usage: usage, Action: func(c *cli.Context, n int) error {
		if n < least || n > most {
			return fmt.Errorf("%s: --%s: want %d to %d, got %d", called(c), name, least, most, n)
		}
		return nil
	}}
}

// timeFlag is a flag for a duration that is above 0.
func timeFlag(name string, value time.Duration, usage string) *cli.DurationFlag {
	return &cli.DurationFlag{Name: name, Value: value, Usage: usage, Action: func(c *cli.Context, d time.Duration) error {
		if d <= 0 || d > mostTime {
			return fmt.Errorf("%s: --%s: want more than 0 and at most %v, got %v", called(c), name, mostTime, d)
		}
		return nil
	}}
}
