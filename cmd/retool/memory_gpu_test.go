package main

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"retool/engine"
	"retool/engine/model"
	"retool/kernels"
	"retool/kernels/driver"
	"retool/trainer"
	"retool/trainer/dist"
)

// What plans announce for models of 0.5B, 1.5B and 7B on GPUs of 80 and 141 GB, with KV pages in what the rest leaves, is within 5 % of
// what the run has of such a GPU at most, kernels' working memory included: its passes of learning and scoring, a prompt and a decode step
// fit. What a plan refuses is out of memory.
func TestPlansOfGPUsAreWhatRunsTake(t *testing.T) {
	for _, c := range []struct {
		shape    string
		settings []string
		fits     map[int64]bool
	}{
		{"q05", nil, map[int64]bool{80e9: true, 141e9: true}},
		{"q15", nil, map[int64]bool{80e9: true, 141e9: true}},
		{"q7", []string{"rl.tokens=8192", "sft.tokens=8192", "engine.max_tokens=8192", "model.recompute=true"},
			map[int64]bool{80e9: false, 141e9: false}},
		{"q7", []string{"rl.tokens=4096", "sft.tokens=4096", "engine.max_tokens=4096", "engine.step_tokens=2048", "model.recompute=true"},
			map[int64]bool{141e9: true}},
		{"q7", []string{"rl.tokens=8192", "sft.tokens=8192", "engine.max_tokens=8192", "model.recompute=true", "model.states=halves"},
			map[int64]bool{80e9: false, 141e9: true}},
		{"q15", []string{"critic.trunk=own", "rl.algorithm=ppo", "model.states=halves", "rl.kl=0.1"}, map[int64]bool{80e9: true}},
		{"q7", []string{"rl.tokens=8192", "sft.tokens=8192", "engine.max_tokens=8192", "model.recompute=true", "model.lora.rank=16"},
			map[int64]bool{80e9: true, 141e9: true}},
	} {
		for memory, fits := range c.fits {
			t.Run(fmt.Sprint(c.shape, c.settings, " ", memory), func(t *testing.T) {
				cfg, err := loadConfig("qwen2.5-7b", append([]string{"device=gpu", "rl.algorithm=grpo", "rl.prompts=64", "rl.group=8",
					"rl.minibatch=128", "engine.kv_memory=0", "dist.shard=optimizer"}, c.settings...))
				require.NoError(t, err)
				shape, err := model.Shape(c.shape)
				require.NoError(t, err)
				p, err := planned(cfg, shape, memory, 1)
				require.NoError(t, err)
				peak, err := takes(cfg, cfg.training(), shape, memory, p.KVMemory)
				if !fits {
					require.ErrorContains(t, p.fits(), "it does not fit")
					require.ErrorContains(t, err, "out of memory")
					return
				}
				require.NoError(t, p.fits())
				require.NoError(t, err)
				t.Logf("announced %s, taken %s, of them %d MiB for %d pages: %.1f trajectories", gibibytes(p.Peak), gibibytes(peak), p.KVMemory,
					p.Pages, p.Whole)
				require.InEpsilon(t, p.Peak, peak, 0.05)
				require.True(t, p.Sized)
				require.Positive(t, p.Lent)
			})
		}
	}
}

// Evaluations, rollouts and chats give pages what the weights leave of a GPU, for as many trajectories as they ask for, and take what is
// announced within 5 %.
func TestPlansOfSamplingAreWhatItTakes(t *testing.T) {
	for _, c := range []struct {
		shape      string
		memory     int64
		concurrent int
		whole      float64 // trajectories in pages, at least
	}{
		{"q05", 80e9, 1920, 200}, {"q15", 80e9, 1920, 100}, {"q7", 80e9, 1920, 50}, {"q7", 141e9, 1920, 100}, {"q32", 80e9, 1920, 1},
		{"q7", 80e9, 1, 1}, {"q7", 141e9, 3, 3},
	} {
		t.Run(fmt.Sprint(c), func(t *testing.T) {
			cfg, err := loadConfig("qwen2.5-7b", []string{"device=gpu", "engine.kv_memory=0"})
			require.NoError(t, err)
			shape, err := model.Shape(c.shape)
			require.NoError(t, err)
			u := use{concurrent: c.concurrent}
			p, err := plannedUse(cfg, u, shape, c.memory, 1)
			require.NoError(t, err)
			require.NoError(t, p.fits())
			peak, err := takes(cfg, u, shape, c.memory, p.KVMemory)
			require.NoError(t, err)
			t.Logf("announced %s, taken %s, %d pages: %.1f trajectories", gibibytes(p.Peak), gibibytes(peak), p.Pages, p.Whole)
			require.InEpsilon(t, p.Peak, peak, 0.05)
			require.GreaterOrEqual(t, p.Whole, c.whole)
			if c.concurrent > 100 {
				require.Greater(t, float64(p.Peak), 0.9*float64(c.memory))
			}
		})
	}
}

// takes is the most memory that a use of a configuration has at a time of a GPU that only counts.
func takes(cfg *Config, u use, shape model.Config, memory int64, kv int) (int64, error) {
	counted := driver.NewCounter(memory)
	dev, err := kernels.NewGPU(counted)
	if err != nil {
		return 0, err
	}
	defer dev.Close()
	made := map[string]*model.Model{}
	for _, m := range cfg.models(shape, u.train, kernels.BF16, &dist.Alone{}) {
		m.share(made[policyModel])
		if made[m.name], err = model.New(dev, m.shape, m.options); err != nil {
			return 0, err
		}
	}
	policy, tok, bounds := made[policyModel], nothing{shape.Vocab}, cfg.Engine
	bounds.KVMemory = kv
	e, err := engine.New(policy, bounds, tok, []int32{0}, nil, nil, u.concurrent)
	if err != nil {
		return 0, err
	}
	turn := func(func(*trainer.PPO) error) error { return nil }
	if u.train {
		ppo := trainer.NewPPO(cfg.Config, trainer.NewRanks(nil, 1), dev, policy, made[criticModel], made[referenceModel], e, nil, tok.Bytes)
		defer ppo.Close()
		turn = func(to func(*trainer.PPO) error) error { return to(ppo) }
	}
	if err := turn((*trainer.PPO).Generates); err != nil {
		return 0, err
	}

	pages := make([]int32, cfg.Engine.MaxTokens/kernels.PageTokens)
	n := min(cfg.Engine.StepTokens, cfg.Engine.MaxTokens)
	prompt := []model.Feed{{IDs: make([]int32, n), Pos: cfg.Engine.MaxTokens - n, Pages: pages, Draw: true}}
	var decode []model.Feed
	for range min(u.concurrent, n) {
		decode = append(decode, model.Feed{IDs: []int32{1}, Pos: cfg.Engine.MaxTokens - 1, Pages: pages, Draw: true})
	}
	for _, batch := range [][]model.Feed{prompt, decode} {
		if _, _, err := policy.Step(batch, kernels.Sampling{Temperature: 1, TopP: 1}); err != nil {
			return 0, err
		}
	}
	if err := turn((*trainer.PPO).Learns); err != nil {
		return 0, err
	}
	for _, m := range made {
		if !u.train {
			break
		}
		in := model.Inputs{Starts: []int32{0}}
		for i := range m.Options.MaxTokens {
			in.IDs, in.Rows = append(in.IDs, 0), append(in.Rows, int32(i))
		}
		for at := 0; at < len(in.IDs); in.Starts = append(in.Starts, int32(at)) {
			at = min(at+m.Options.Positions, len(in.IDs))
		}
		if m.Options.Train {
			err = m.Train(in, func(model.Head) {})
		}
		if err == nil {
			err = m.Score(in, func(model.Head) {})
		}
		if err != nil {
			return 0, err
		}
	}
	return counted.Peak(), nil
}
