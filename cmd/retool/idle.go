package main

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// idleSettings are those that do nothing in some configurations. A name that ends in a dot is a whole section.
var idleSettings = []struct {
	when   func(*Config) bool
	keys   []string
	but    []string // of a section: what does something all the same
	reason string
}{
	{func(c *Config) bool { return !c.RL.Values() }, []string{"critic."}, nil, "this rl.algorithm has no critic"},
	{func(c *Config) bool { return !c.RL.Values() }, []string{"rl.gamma", "rl.lambda", "rl.whiten"}, nil, "this rl.algorithm has no values"},
	{func(c *Config) bool { return c.Critic.Trunk == "shared" }, []string{"critic.lr"}, nil, "critic.trunk shared follows rl.lr"},
	{func(c *Config) bool { return c.Critic.Trunk == "own" }, []string{"critic.coefficient", "critic.warmup_lr"}, nil, "critic.trunk own has a loss of its own"},
	{func(c *Config) bool { return !c.tools() }, []string{"interp.", "protocol."}, []string{"protocol.name", "protocol.template", "protocol.chat"}, "protocol.name none runs no code"},
	{func(c *Config) bool { return c.Protocol.Name == "hermes" }, []string{"protocol.feedback", "protocol.no_fence"}, nil, "protocol.name hermes has its own form"},
	{func(c *Config) bool { return c.Data.Task == "files" }, []string{"data.pool", "data.mix."}, nil, "data.task files generates nothing"},
	{func(c *Config) bool { return c.Data.Task == "arithmetic" }, []string{"data.problems", "data.traces", "data.test", "data.wrapper", "data.check", "data.long", "data.columns."}, nil, "data.task arithmetic reads no files"},
	{func(c *Config) bool { return c.Reward.Use != "tool-shaped" }, []string{"reward.count"}, nil, "only reward.use tool-shaped counts calls"},
	{func(c *Config) bool { return c.SFT.Steps > 0 }, []string{"sft.epochs"}, nil, "sft.steps is given"},
}

// settleIdle refuses a setting that would do nothing where it was typed (typed: key to place) with another value than its default.
// One that nobody typed, but a recipe or a default of another kind left there, takes its default: a configuration holds nothing idle.
func (c *Config) settleIdle(typed map[string]string) error {
	defaults := map[string]reflect.Value{}
	leaves(reflect.ValueOf(DefaultConfig()), "", func(key string, v reflect.Value) { defaults[key] = v })
	var idle []string
	for _, s := range idleSettings {
		if !s.when(c) {
			continue
		}
		leaves(reflect.ValueOf(c).Elem(), "", func(key string, v reflect.Value) {
			if !among(key, s.keys) || slices.Contains(s.but, key) || reflect.DeepEqual(v.Interface(), defaults[key].Interface()) {
				return
			}
			if where, ok := typed[key]; ok {
				idle = append(idle, fmt.Sprintf("%s: %s would do nothing: %s", where, key, s.reason))
				return
			}
			v.Set(defaults[key])
		})
	}
	if len(idle) > 0 {
		return fmt.Errorf("%s", strings.Join(idle, "; "))
	}
	return nil
}
