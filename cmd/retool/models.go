package main

import (
	"errors"
	"fmt"

	"retool/engine/model"
	"retool/kernels"
	"retool/trainer"
	"retool/trainer/dist"
)

// Names of a run's models.
const (
	policyModel    = "policy"
	criticModel    = "critic"
	referenceModel = "reference"
)

// modelOf is one model that a configuration asks for.
type modelOf struct {
	name    string
	shape   model.Config
	options model.Options
}

// checkStates refuses halves of what has none.
func (c *Config) checkStates() error {
	switch s := c.Model.States; {
	case s == "float32":
	case s != "halves":
		return fmt.Errorf("model.states: %q is not known (known: float32, halves)", s)
	case c.Device == "cpu" && c.Model.DType != "bfloat16":
		return errors.New("model.states: halves are of weights in bfloat16: want model.dtype bfloat16, or model.states float32")
	case c.Dist.Shard == "all":
		return errors.New("model.states: halves of weights that are divided are not kept: want dist.shard optimizer, or model.states float32")
	case c.Dist.Offload != "none":
		return errors.New("model.states: the host's memory takes them as they are: want dist.offload none, or model.states float32")
	}
	return nil
}

// models are those that a configuration asks for, the policy, of the given shape, first, on one of some ranks. Passes are as large as the
// phases that run need.
func (c *Config) models(shape model.Config, train bool, dtype kernels.DType, ranks dist.Comm) []modelOf {
	rl := train && c.RL.Steps > 0
	values := rl && c.RL.Values()
	shape.ValueHead = shape.ValueHead || values && c.Critic.Trunk == "shared"
	opt := model.Options{
		DType: dtype, MaxTokens: c.Engine.StepTokens, Train: train, Recompute: train && c.Model.Recompute, Positions: c.Engine.MaxTokens,
	}
	opt.Lends = train && c.Device != "cpu" // whose freed memory comes back when garbage is collected
	opt.HostCopy = c.Dist.Offload == "optimizer"
	opt.Sharded = opt.HostCopy || ranks.Size() > 1
	opt.Halves = c.Model.States == "halves"
	if train {
		opt.MaxTokens = max(opt.MaxTokens, c.SFT.Tokens)
	}
	if rl {
		opt.MaxTokens = max(opt.MaxTokens, c.RL.Tokens)
	}
	if l := c.Model.LoRA; train && l.Rank != 0 {
		opt.LoRA = model.LoRA{Rank: l.Rank, Alpha: l.Alpha, Targets: l.Targets, RSLoRA: l.RSLoRA}
	}
	all := []modelOf{{policyModel, shape, opt}}
	if values && c.Critic.Trunk == "own" {
		critic := shape
		critic.LMHead, critic.ValueHead = false, true
		all = append(all, modelOf{criticModel, critic, opt})
	}
	if rl && c.RL.KL > 0 {
		shape.ValueHead = shape.ValueHead && opt.LoRA.Rank == 0 // an adapter's value head is not its base's
		opt.Train, opt.Recompute, opt.LoRA = false, false, model.LoRA{}
		all = append(all, modelOf{referenceModel, shape, opt})
	}
	for i := range all {
		if all[i].options.Train && c.Dist.Shard == "all" {
			all[i].options.Division = &trainer.Divided{Comm: ranks, Name: all[i].name}
		}
	}
	return all
}

// share gives a model the policy's activations, with which it takes turns, and one whose weights stay as they are the policy's too.
func (m *modelOf) share(policy *model.Model) {
	m.options.Beside = policy
	if policy != nil && policy.Adapter != nil {
		m.options.Base = policy
	}
}

// concurrency is the largest number of trajectories that a run, or without train its evaluation, asks for at a time.
func (c *Config) concurrency() int {
	n := max(c.Eval.Problems*c.Eval.Samples, 1)
	if c.RL.Steps > 0 {
		n = max(n, c.RL.Prompts*c.RL.Group)
	}
	return n
}
