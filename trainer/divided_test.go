package trainer

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"retool/engine/model"
	k "retool/kernels"
	"retool/kernels/emu"
)

func divide(c *Config) { c.Dist.Shard = "all" }

// With weights and gradients divided too, 1, 2 and 4 ranks end in the same bits; so does a run that each of them made a part of. Where
// a slice has one pass and no norm is clipped they are those of dist.shard optimizer, and with other slices they are others.
func TestDividedModelsGiveTheSameBits(t *testing.T) {
	for _, name := range []string{"sft", "ppo, shared critic", "ppo, own critic", "grpo", "gspo"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			way := ways[name]
			var want map[string]string
			for _, ranks := range []int{1, 2, 4} {
				dir := t.TempDir()
				s, heard, err := together(t, dir, ranks, 0, way, divide)
				require.NoError(t, err)
				require.Empty(t, heard.notes)
				got := outcome(t, dir, s)
				if want == nil {
					want = got
				}
				same(t, want, got, fmt.Sprintf("%d ranks", ranks))
			}

			other := t.TempDir()
			s, _, err := together(t, other, 2, 0, way, divide, func(c *Config) { c.Dist.Slices = 2 })
			require.NoError(t, err)
			require.False(t, want["/model.safetensors"] == outcome(t, other, s)["/model.safetensors"], "with other slices")

			parts := t.TempDir()
			for i, ranks := range []int{4, 2, 1, 4} {
				stop := 2
				if i == 3 {
					stop = 0
				}
				s, _, err = together(t, parts, ranks, stop, way, divide, func(c *Config) { c.Checkpoint.Every = 1 })
				if stop > 0 && (s == nil || err != nil) {
					require.ErrorIs(t, err, context.Canceled)
				}
			}
			require.NoError(t, err)
			same(t, want, outcome(t, parts, s), "4, 2, 1 and 4 ranks")
		})
	}
}

// One pass a slice and no clipping: the sums are those of the whole gradients. A checkpoint of one mode is the other's too, and a run that
// goes on with it says so.
func TestDividedSumsAreThoseOfWholeGradients(t *testing.T) {
	once := func(c *Config) { c.RL.Tokens, c.SFT.Tokens, c.SFT.Clip, c.RL.Clip = 256, 256, 0, 0 }
	same2 := func(shard string) map[string]string {
		dir := t.TempDir()
		s, _, err := together(t, dir, 2, 0, ways["ppo, own critic"], once, func(c *Config) { c.Dist.Shard = shard })
		require.NoError(t, err)
		got := outcome(t, dir, s)
		delete(got, "metrics") // norms are added by units
		return got
	}
	same(t, same2("optimizer"), same2("all"), "divided")

	dir := t.TempDir()
	way := func(c *Config) { ways["sft"](c); once(c); c.Checkpoint.Every = 1 }
	_, _, err := together(t, dir, 2, 3, way)
	require.ErrorIs(t, err, context.Canceled)
	_, heard, err := together(t, dir, 2, 0, way, divide)
	require.NoError(t, err)
	require.Contains(t, fmt.Sprint(heard.notes), "ran with dist.shard optimizer and goes on with all: from here on its bits differ")
}

// On a GPU weights are bf16; their float32 numbers may be the host's.
func TestDividedModelsOfGPUs(t *testing.T) {
	device := func() k.Device {
		g, err := k.NewGPU(emu.New(emu.Options{Capability: 80, Queued: true}))
		require.NoError(t, err)
		return g
	}
	half := func(c *model.Config) {
		c.Layers, c.Hidden, c.Heads, c.KVHeads, c.HeadDim, c.FFN = 2, 64, 1, 1, 64, 256
	}
	var want map[string]string
	for _, c := range []struct {
		ranks   int
		offload string
	}{{1, "none"}, {2, "none"}, {2, "optimizer"}} {
		dir := t.TempDir()
		s, _, err := togetherOn(t, device, model.Options{DType: k.BF16}, half, dir, c.ranks, 0, ways["ppo, own critic"], func(cfg *Config) {
			cfg.Dist.Slices, cfg.SFT.Steps, cfg.RL.Steps, cfg.RL.Prompts, cfg.RL.Minibatch, cfg.Eval.Problems = 2, 1, 1, 4, 4, 0
			cfg.Critic.Warmup, cfg.Dist.Offload, cfg.Dist.Shard = 0, c.offload, "all"
			cfg.SFT.Batch, cfg.SFT.Tokens, cfg.RL.Tokens = 4, 64, 64
		})
		require.NoError(t, err)
		got := outcome(t, dir, s)
		if want == nil {
			want = got
		}
		same(t, want, got, fmt.Sprintf("%d ranks, offload %s", c.ranks, c.offload))
	}
}
