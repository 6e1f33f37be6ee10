package main

import (
	"context"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/urfave/cli/v2"

	"retool/trainer/dist"
)

// Whatever a setting that is a whole number is given, the answer is at once: a run whose memory can be counted, or one sentence that names
// a setting. Beyond its bound each is refused by that, and one without a bound there is not.
func TestEveryWholeNumberHasItsBounds(t *testing.T) {
	long := reflect.TypeFor[time.Duration]()
	seen := 0
	for _, s := range everySetting() {
		kind := reflect.TypeFor[Config]().FieldByIndex(s.field).Type
		if kind.Kind() != reflect.Int && kind.Kind() != reflect.Int64 {
			continue
		}
		bound, unit := most[s.key], ""
		if kind == long {
			bound, unit = int64(mostTime), "ns"
		}
		require.Positive(t, bound, "%s has no bound in bounds.go", s.key)
		seen++
		for _, value := range []int64{0, -1, 1_000_000_000, 1 << 62, math.MaxInt64, bound, bound + 1} {
			set := fmt.Sprintf("%s=%d%s", s.key, value, unit)
			cfg, err := loadConfig("demo", append(neededBy(s.key), set))
			if err == nil {
				require.LessOrEqual(t, value, bound, set)
				_, err = newBudget(cfg, cfg.training(), dist.ID{Size: 1, LocalSize: 1})
			}
			if err == nil {
				continue
			}
			require.NotContains(t, err.Error(), "\n", set)
			require.Regexp(t, `^(config: ([a-z_.]+: )?|memory: )`, err.Error(), set)
			section, _, _ := strings.Cut(s.key, ".")
			if value > bound {
				require.Regexp(t, `\b`+s.key+`: want (at most|a size such as) `, err.Error(), set)
			} else if !strings.HasPrefix(err.Error(), "memory: ") {
				require.Contains(t, err.Error(), section, set)
			}
		}
	}
	require.Greater(t, seen, 60)
}

// neededBy is what must be set so that a setting of the demo does anything.
func neededBy(key string) []string {
	for prefix, sets := range map[string][]string{
		"model.lora.": {"model.lora.rank=8"}, "reward.overlong.cache": {"reward.overlong.budget=100"}, "sft.epochs": {"sft.steps=0"},
		"rl.horizon": {"rl.aggregate=constant"}, "rl.kl_refresh": {"rl.kl=0.1"},
		"rl.resample": {"rl.algorithm=dapo", "rl.group=8", "rl.prompts=16"},
	} {
		if strings.HasPrefix(key, prefix) {
			return sets
		}
	}
	return nil
}

// Products of counts that each are within their bound are held against the memory there is, and named.
func TestCountsThatMemoryCannotHold(t *testing.T) {
	for want, sets := range map[string][]string{
		"traces of sft.steps × sft.batch":              {"sft.steps=1000000000"},
		"trajectories of rl.prompts × rl.group":        {"rl.prompts=16777216", "rl.minibatch=16777216"},
		"trajectories of eval.problems × eval.samples": {"eval.samples=1000000", "eval.problems=100"},
		"memory: the run takes":                        {"engine.step_tokens=16777216"},
	} {
		cfg, err := loadConfig("demo", sets)
		require.NoError(t, err)
		_, err = newBudget(cfg, cfg.training(), dist.ID{Size: 1, LocalSize: 1})
		require.ErrorContains(t, err, want)
		require.Regexp(t, `^memory: .* has \d+\.\d\d GiB`, err.Error())
	}
	_, err := loadConfig("demo", []string{"rl.prompts=16777216", "rl.group=16777216"})
	require.EqualError(t, err, "config: rl.prompts × rl.group: want at most 268435456 trajectories, got 16777216 × 16777216")
	_, err = loadConfig("demo", []string{"engine.pages=1"})
	require.EqualError(t, err, "config: engine.pages: want 0 or at least 4, one and those of a trajectory of engine.max_tokens 160, got 1")
}

// Every flag that takes a whole number or a duration refuses what is out of its bounds before its command does anything.
func TestEveryFlagHasItsBounds(t *testing.T) {
	seen := 0
	var walk func(path []string, cs []*cli.Command)
	walk = func(path []string, cs []*cli.Command) {
		for _, c := range cs {
			at := append(path, c.Name)
			walk(at, c.Subcommands)
			for _, f := range c.Flags {
				values, unit := []string{"-2", strconv.Itoa(1 << 62)}, ""
				switch f := f.(type) {
				case *cli.IntFlag:
				case *cli.DurationFlag:
					values, unit = []string{"-1", strconv.Itoa(1 << 62)}, "ns"
				default:
					_ = f
					continue
				}
				seen++
				for _, v := range values {
					args := append(append([]string{"retool"}, at...), "--"+f.Names()[0]+"="+v+unit)
					args = append(args, required(strings.Join(at, " "), c)...)
					a := app()
					err := a.RunContext(context.Background(), flagsFirst(args, a.Commands))
					require.ErrorContains(t, err, strings.Join(at, " ")+": --"+f.Names()[0]+": want ", "%v", args)
				}
			}
		}
	}
	walk(nil, commands())
	require.Greater(t, seen, 15)
}

// required is arguments and flags that a command cannot do without, none of which mean anything.
func required(name string, c *cli.Command) (args []string) {
	for _, f := range requiredOf[name] {
		args = append(args, "--"+f, "x")
	}
	least, _ := places(c.ArgsUsage)
	for range least {
		args = append(args, "x")
	}
	return args
}

var requiredOf = map[string][]string{"generate": {"model"}, "score": {"model"}, "rollout": {"from"}, "data rewrite": {"endpoint", "model"}}
