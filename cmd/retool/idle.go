package main

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"retool/trainer"
)

// idleRule names settings that do nothing in some configurations.
type idleRule struct {
	reason string
	when   func(*Config) bool
	keys   []string // one that ends in a dot is a whole section
	but    []string // of a section: what does something all the same
}

var idleRules = append(algorithmRules(), []idleRule{
	{"only NCCL's transport opens its library", func(c *Config) bool { return !c.overNCCL() }, []string{"dist.nccl"}, nil},
	{"only MPI's transport opens its library", func(c *Config) bool { return !c.overMPI() }, []string{"dist.mpi"}, nil},
	{"device cpu has no memory but the host's", func(c *Config) bool { return c.Device == "cpu" }, []string{"dist.offload"}, nil},
	{"model.lora.rank is 0: all weights are learnt", func(c *Config) bool { return c.Model.LoRA.Rank == 0 },
		[]string{"model.lora."}, []string{"model.lora.rank"}},
	{"an adapter is float32", func(c *Config) bool { return c.Model.LoRA.Rank > 0 }, []string{"model.states"}, nil},
	{"with model.lora.rank the reference is the base", func(c *Config) bool { return c.Model.LoRA.Rank > 0 }, []string{"rl.kl_refresh"}, nil},
	{"device cpu has no launches", func(c *Config) bool { return c.Device == "cpu" }, []string{"name_faults"}, nil},
	{"this rl.algorithm has no critic", func(c *Config) bool { return !c.RL.Values() }, []string{"critic."}, nil},
	{"rl.lambda_length says what λ is", func(c *Config) bool { return c.RL.LambdaLength > 0 }, []string{"rl.lambda"}, nil},
	{"rl.kl is 0: there is no reference", func(c *Config) bool { return c.RL.KL == 0 },
		[]string{"rl.kl_in", "rl.kl_estimator", "rl.kl_refresh"}, nil},
	{"only rl.aggregate constant divides by it", func(c *Config) bool { return c.RL.Averages() != "constant" }, []string{"rl.horizon"}, nil},
	{"reward.overlong.budget is 0: no response is too long", func(c *Config) bool { return c.Reward.Overlong.Budget == 0 },
		[]string{"reward.overlong."}, nil},
	{"critic.trunk shared follows rl.lr", func(c *Config) bool { return c.Critic.Trunk == "shared" }, []string{"critic.lr"}, nil},
	{"critic.trunk own has a loss of its own", func(c *Config) bool { return c.Critic.Trunk == "own" },
		[]string{"critic.coefficient", "critic.warmup_lr"}, nil},
	{"protocol.name none runs no code", func(c *Config) bool { return !c.tools() },
		[]string{"interp.", "protocol."}, []string{"protocol.name", "protocol.template", "protocol.chat"}},
	{"protocol.name hermes has its own form", func(c *Config) bool { return c.Protocol.Name == "hermes" },
		[]string{"protocol.feedback", "protocol.no_fence"}, nil},
	{"only protocol.name hermes reads JSON", func(c *Config) bool { return c.Protocol.Name != "hermes" }, []string{"protocol.calls"}, nil},
	{"data.task files generates nothing", func(c *Config) bool { return c.Data.Task == "files" }, []string{"data.pool", "data.mix."}, nil},
	{"an embedded data.task reads no files", func(c *Config) bool { return c.Data.embedded() },
		[]string{"data."}, []string{"data.task", "data.pool", "data.mix."}},
	{"only reward.use tool-shaped counts calls", func(c *Config) bool { return c.Reward.Use != "tool-shaped" }, []string{"reward.count"}, nil},
	{"sft.steps is given", func(c *Config) bool { return c.SFT.Steps > 0 }, []string{"sft.epochs"}, nil},
}...)

// algorithmRules has a row for each algorithm: the settings of others.
func algorithmRules() (rules []idleRule) {
	for _, a := range trainer.Algorithms() {
		rules = append(rules, idleRule{
			"rl.algorithm " + a.Name + " does not use it", func(c *Config) bool { return c.RL.Algorithm == a.Name }, a.Unused(), nil,
		})
	}
	return rules
}

// covers reports whether the rule names a setting, itself or by its section.
func (r idleRule) covers(key string) bool { return among(key, r.keys) && !among(key, r.but) }

func among(key string, names []string) bool {
	return slices.ContainsFunc(names, func(n string) bool { return key == n || strings.HasSuffix(n, ".") && strings.HasPrefix(key, n) })
}

// idle is the settings that do nothing, with the reason, and differ from their defaults.
func (c *Config) idle() map[string]string {
	standard := DefaultConfig()
	defaults, given := settings(&standard), settings(c)
	reasons := map[string]string{}
	for _, rule := range idleRules {
		if !rule.when(c) {
			continue
		}
		for i, s := range given {
			if rule.covers(s.key) && reasons[s.key] == "" && !reflect.DeepEqual(s.value.Interface(), defaults[i].value.Interface()) {
				reasons[s.key] = rule.reason
			}
		}
	}
	return reasons
}

// settleIdle refuses a setting that would do nothing where it was typed (typed: key to place) with another value than its default.
// One that nobody typed, but a recipe or a default of another kind left there, takes its default: a configuration holds nothing idle.
func (c *Config) settleIdle(typed map[string]string) error {
	standard := DefaultConfig()
	defaults := settings(&standard)
	var refused []string
	for again := true; again; { // a default may make others idle
		again = false
		reasons := c.idle()
		for i, s := range settings(c) {
			reason := reasons[s.key]
			if reason == "" {
				continue
			}
			if where, ok := typed[s.key]; ok {
				refused = append(refused, fmt.Sprintf("%s: %s would do nothing: %s", where, s.key, reason))
				continue
			}
			s.value.Set(defaults[i].value)
			again = true
		}
		if len(refused) > 0 {
			return fmt.Errorf("%s", strings.Join(refused, "; "))
		}
	}
	return nil
}
