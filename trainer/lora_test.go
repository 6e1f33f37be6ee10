package trainer

import (
	"context"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"retool/engine/model"
	k "retool/kernels"
)

// A run that learns an adapter, with a critic of either trunk and the base for a reference: rollout and training agree to the bit, the
// base stays as it is, the optimizer has numbers for the adapter alone, and an interrupted run ends in the same bytes.
func TestAdaptersAreLearnt(t *testing.T) {
	for _, trunk := range []string{"shared", "own"} {
		t.Run(trunk, func(t *testing.T) {
			lora := model.LoRA{Rank: 4, Alpha: 8, Targets: []string{"q_proj", "v_proj", "gate_proj", "down_proj"}}
			lab := func() *lab {
				return newLabOn(t, k.NewCPU(2), model.Options{LoRA: lora}, func(c *Config) {
					c.RL.Steps, c.RL.KL = 6, 0.01
					if c.Critic.Trunk = trunk; trunk == "own" {
						c.Critic.LR = 1e-3
					}
				}, nil)
			}
			l, whole := lab(), t.TempDir()
			base := l.policy.BaseHash()
			run, heard := l.run(whole)
			_, err := run.Train(context.Background())
			require.NoError(t, err)
			require.Equal(t, base, l.policy.BaseHash())
			require.Equal(t, base, l.ref.BaseHash())
			require.Less(t, l.policy.Learned().All.Len(), l.policy.W.All.Len()/2)
			require.Equal(t, l.policy.G.All.Len(), l.policy.Adapter.All.Len())
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
			require.ErrorContains(t, other.policy.ReadAdapter(dir), "another base")
			merged, err := model.ReadConfig(filepath.Join(whole, "checkpoints", strconv.Itoa(10)))
			require.NoError(t, err)
			require.Equal(t, 1, merged.Layers)
		})
	}
}
