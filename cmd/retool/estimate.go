package main

import (
	"fmt"
	"io"

	"retool/engine/model"
)

// Rates that an estimate divides by. None was measured by this program.
type rates struct {
	FLOPs   float64 `json:"flops"`   // a second of a GPU
	Network float64 `json:"network"` // bytes a second that a rank sends
	HBM     float64 `json:"hbm"`     // bytes a second of a GPU's memory
}

// h200 assumes 40 % of the 989 TFLOP/s dense bf16 and all of the 4.8 TB/s of NVIDIA's data sheet, and 340 of NVLink's 450 GB/s a direction.
var h200 = rates{FLOPs: 400e12, Network: 340e9, HBM: 4.8e12}

// An estimate is the time of one update and of one step's rollouts on so many ranks: arithmetic, never a measurement.
type estimate struct {
	Compute  float64 `json:"compute_seconds"` // of an update, of every rank
	Reduce   float64 `json:"reduce_bytes"`    // that a rank sends of float32 gradients in an update
	Gather   float64 `json:"gather_bytes"`    // that a rank sends of bf16 weights in an update
	Exchange float64 `json:"exchange_seconds"`
	Exposed  float64 `json:"exposed_share"` // of the update, nothing overlapping
	Decode   float64 `json:"rollout_seconds"`
}

// estimated is an update of `update` trajectories of `length` tokens after rollouts of `rollout` such, of which `pages` at a time fit a
// rank; no tool waits. A product costs 2 FLOPs a weight and token, backward twice that, activations once more where they are recomputed
// (Kaplan et al., arXiv 2001.08361, 2.1); attention is causal. With moments and masters divided, gradients are reduce-scattered and weights
// all-gathered once an update: a rank sends (R-1)/R of all. With passes above 0 weights and gradients are divided too: then for each of so
// many passes, the weights once for the forward and once for the backward.
func estimated(m model.Config, ranks, update, rollout, length int, pages float64, recompute, attention bool, passes int, r rates) estimate {
	params, head := float64(parameters(m)), float64(m.Vocab*m.Hidden)
	products := params
	if !m.Tied {
		products -= head // rows of the embedding are copied
	}
	times := 3.0
	if recompute {
		times = 4
	}
	token := 2 * products
	if attention { // scores and their products with the values, half of them behind the mask
		token += 4 * float64(m.Layers*m.Heads*m.HeadDim) * float64(length) / 2
	}
	n := float64(ranks)
	e := estimate{Compute: times * token * float64(update*length) / n / r.FLOPs}
	e.Reduce, e.Gather = 4*params*(n-1)/n, 2*params*(n-1)/n
	if passes > 0 {
		e.Reduce, e.Gather = float64(passes)*e.Reduce, 2*float64(passes)*e.Gather
	}
	e.Exchange = (e.Reduce + e.Gather) / r.Network
	e.Exposed = e.Exchange / (e.Exchange + e.Compute)
	each := float64((rollout + ranks - 1) / ranks)
	atOnce := max(1, min(pages, each))
	cache := 4 * float64(m.Layers*m.KVHeads*m.HeadDim) * float64(length) / 2 // bytes of a trajectory's keys and values, on average
	e.Decode = each / atOnce * float64(length) * (2*products + atOnce*cache) / r.HBM
	return e
}

// parameters counts a published model's numbers.
func parameters(m model.Config) int {
	q, kv := m.Heads*m.HeadDim, m.KVHeads*m.HeadDim
	layer := m.Hidden*(q+2*kv) + q*m.Hidden + 3*m.Hidden*m.FFN + 2*m.Hidden + q + 2*kv
	embeddings := 2
	if m.Tied {
		embeddings = 1
	}
	return m.Layers*layer + m.Hidden + embeddings*m.Vocab*m.Hidden
}

// estimate fills the plan's: trajectories at full length, the policy alone.
func (p *plan) estimate(cfg *Config, shape model.Config) {
	passes := 0
	if p.Shard == "all" {
		passes = int(p.Counts["minibatch_passes"])
	}
	e := estimated(shape, p.Ranks, cfg.RL.Minibatch, cfg.RL.Prompts*cfg.RL.Group, cfg.Engine.MaxTokens, p.Whole,
		cfg.Model.Recompute, true, passes, h200)
	p.Estimate = &e
}

func (p *plan) printEstimate(out io.Writer) {
	e := p.Estimate
	if e == nil {
		return
	}
	fmt.Fprintf(out, "estimate, computed, never measured: %d × H200, every trajectory at full length, the policy alone, no wait for a tool\n",
		p.Ranks)
	fmt.Fprintf(out, "  assumed   %.0f TFLOP/s (40 %% of bf16's peak), %.0f GB/s between GPUs, %.1f TB/s of memory\n",
		h200.FLOPs/1e12, h200.Network/1e9, h200.HBM/1e12)
	fmt.Fprintf(out, "  rollout   %.1f s a step if memory bounds it: weights and cache read once a token\n", e.Decode)
	fmt.Fprintf(out, "  update    %.1f s of compute a mini-batch\n", e.Compute)
	if p.Ranks > 1 {
		fmt.Fprintf(out, "  exchange  %.1f GB of gradients, %.1f GB of weights sent by a rank: %.2f s, %.1f %% of the update, no overlap\n",
			e.Reduce/1e9, e.Gather/1e9, e.Exchange, 100*e.Exposed)
	}
}

// planTable is what runs on H200s of 141 GB would take, as Markdown: computed, never measured.
func planTable(out io.Writer) error {
	fmt.Fprintln(out, "| recipe, GPUs, `dist.shard` | GiB a GPU while learning, rolling out | trajectories in pages | "+
		"compute of an update, s | exchange, s | share |")
	fmt.Fprintln(out, "|---|---|---|---|---|---|")
	for _, c := range []struct {
		recipe, shard string
		ranks         int
	}{{"qwen2.5-7b", "optimizer", 8}, {"qwen2.5-7b", "all", 8}, {"qwen2.5-32b", "all", 8}, {"qwen2.5-32b", "all", 16}} {
		cfg, err := loadConfig(c.recipe, []string{"dist.shard=" + c.shard, "device=gpu"})
		if err != nil {
			return err
		}
		shape, err := model.Shape(recipeShapes[c.recipe])
		if err != nil {
			return err
		}
		p, err := planned(cfg, shape, 141e9, c.ranks)
		if err == nil {
			err = p.fits()
		}
		if err != nil {
			return err
		}
		p.estimate(cfg, shape)
		learning, rollout := p.counted.held()
		fmt.Fprintf(out, "| %s, %d, %s | %.0f, %.0f | %.0f | %.0f | %.1f | %.1f %% |\n", c.recipe, c.ranks, c.shard, float64(learning)/(1<<30),
			float64(rollout)/(1<<30), p.Whole, p.Estimate.Compute, p.Estimate.Exchange, 100*p.Estimate.Exposed)
	}
	return nil
}
