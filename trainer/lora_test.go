package trainer

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"retool/engine/model"
	k "retool/kernels"
	"retool/kernels/emu"
)

// A run that learns an adapter, with a critic of either trunk and the base for a reference, on either device and with weights of either
// type: rollout and training agree to the bit, the base stays as it is, the optimizer has numbers for the adapter alone, and an interrupted
// run ends in the same bytes.
func TestAdaptersAreLearnt(t *testing.T) {
	emulated := func() k.Device {
		g, err := k.NewGPU(emu.New(emu.Options{Capability: 80, NoCheck: true, Queued: true}))
		require.NoError(t, err)
		return g
	}
	cpu := func() k.Device { return k.NewCPU(2) }
	for _, c := range []struct {
		name, trunk string
		device      func() k.Device
		dtype       k.DType
	}{
		{"shared", "shared", cpu, k.F32}, {"own", "own", cpu, k.F32}, {"bf16", "own", cpu, k.BF16},
		{"emulated GPU", "shared", emulated, k.BF16},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			lora := model.LoRA{Rank: 4, Alpha: 8, Targets: []string{"q_proj", "v_proj", "gate_proj", "down_proj"}}
			lab := func() *lab {
				return newLabOn(t, c.device(), model.Options{LoRA: lora, DType: c.dtype}, func(cfg *Config) {
					cfg.RL.Steps, cfg.RL.KL = 6, 0.01
					if cfg.Critic.Trunk = c.trunk; c.trunk == "own" {
						cfg.Critic.LR = 1e-3
					}
					if c.name == "emulated GPU" {
						cfg.SFT.Steps, cfg.RL.Steps, cfg.RL.Prompts, cfg.RL.Minibatch, cfg.Eval.Problems = 2, 4, 16, 8, 0
						cfg.Checkpoint.Every = 2
					}
				}, nil)
			}
			learnsAnAdapter(t, lab)
		})
	}
}

func learnsAnAdapter(t *testing.T, lab func() *lab) {
	l, whole := lab(), t.TempDir()
	base := l.policy.BaseHash()
	run, heard := l.run(whole)
	_, err := run.Train(context.Background())
	require.NoError(t, err)
	require.Equal(t, base, l.policy.BaseHash())
	require.Equal(t, base, l.ref.BaseHash())
	require.Less(t, l.policy.Learned().All.Len(), l.policy.W.All.Len()/2)
	require.Equal(t, l.policy.G.All.Len(), l.policy.Adapter.All.Len())
	require.Nil(t, l.policy.Master)
	moved := false
	for _, m := range heard.steps[l.cfg.SFT.Steps:] {
		require.Zero(t, m.Difference)
		moved = moved || m.Reference != 0
	}
	require.True(t, moved, "the policy leaves its base")

	parts := t.TempDir()
	var state *State
	for tries := 0; state == nil; tries++ {
		require.Less(t, tries, 20)
		run, heard := lab().run(parts)
		ctx, cancel := context.WithCancel(context.Background())
		steps := 0
		heard.stop = func() {
			if steps++; steps == 4 {
				cancel()
			}
		}
		state, err = run.Train(ctx)
		cancel()
		if err != nil {
			require.ErrorIs(t, err, context.Canceled)
		}
	}
	require.Equal(t, files(t, whole), files(t, parts))

	other := lab()
	other.policy.Init(99)
	dir := Latest(whole)
	require.ErrorContains(t, other.policy.ReadAdapter(filepath.Join(dir, "adapter")), "another base")
	require.NoFileExists(t, filepath.Join(dir, "adapter_config.json"), "transformers would load the adapter on top of the merged weights")
	merged, err := model.ReadConfig(dir)
	require.NoError(t, err)
	require.Equal(t, 1, merged.Layers)
}

// Ranks divide the adapter's moments, and the base is on each of them: 1, 2 and 4 end in the same bits, and so does a run that changes
// their number, and has the moments on the host at first.
func TestRanksLearnOneAdapter(t *testing.T) {
	every := []string{"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
	for _, dtype := range []k.DType{k.F32, k.BF16} {
		t.Run(dtype.String(), func(t *testing.T) {
			t.Parallel()
			train := func(dir string, ranks, stop int, offload string) (*State, error) {
				opt := model.Options{DType: dtype, LoRA: model.LoRA{Rank: 64, Alpha: 64, Targets: every}} // four tiles of numbers
				s, heard, err := togetherOn(t, func() k.Device { return k.NewCPU(1) }, opt, wide, dir, ranks, stop, ways["ppo, own critic"],
					func(c *Config) { c.RL.KL, c.Checkpoint.Every, c.Dist.Offload = 0.1, 1, offload })
				for _, m := range heard.steps {
					if m.RL != nil {
						require.Zero(t, m.Difference)
					}
				}
				return s, err
			}
			var want map[string]string
			for _, ranks := range []int{1, 2, 4} {
				dir := t.TempDir()
				s, err := train(dir, ranks, 0, "none")
				require.NoError(t, err)
				got := outcome(t, dir, s)
				if want == nil {
					want = got
				}
				same(t, want, got, fmt.Sprintf("%d ranks", ranks))
			}
			parts := t.TempDir()
			if s, err := train(parts, 4, 2, "optimizer"); s == nil || err != nil {
				require.ErrorIs(t, err, context.Canceled)
			}
			s, err := train(parts, 2, 0, "none")
			require.NoError(t, err)
			same(t, want, outcome(t, parts, s), "4 and 2 ranks")
		})
	}
}
