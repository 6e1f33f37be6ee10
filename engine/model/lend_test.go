package model

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"retool/kernels"
)

// Whatever the shapes and the order of calls, a model that lends has either the memory of its pages or that of learning, each whole, or
// neither, never both; those that work beside it have no activations of their own; and all of it comes back.
func TestPagesAndLearningTakeTurns(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := Config{
			Arch: Qwen2, Layers: rapid.IntRange(1, 4).Draw(t, "layers"), Heads: 2, KVHeads: 1, HeadDim: 16, FFN: 32, MaxPositions: 64, KVChunk: 64,
			Hidden: 16 * rapid.IntRange(1, 4).Draw(t, "hidden"), Vocab: rapid.IntRange(8, 500).Draw(t, "vocabulary"),
			RMSEps: 1e-6, RopeTheta: 1e4, LMHead: true, QKVBias: true,
		}
		opt := Options{MaxTokens: rapid.IntRange(1, 200).Draw(t, "tokens"), Train: true, Lends: true,
			DType:     rapid.SampledFrom([]kernels.DType{kernels.F32, kernels.BF16}).Draw(t, "type"),
			Recompute: rapid.Bool().Draw(t, "recompute"), Sharded: rapid.Bool().Draw(t, "sharded")}
		if rapid.Bool().Draw(t, "adapter") {
			opt.LoRA = LoRA{Rank: 2, Alpha: 2, Targets: []string{"q_proj"}}
		}
		dev := kernels.NewCounter(1 << 40)
		made := func(c Config, opt Options) *Model {
			m, err := New(dev, c, opt)
			require.NoError(t, err)
			return m
		}
		m := made(c, opt)
		gradients := int64(4 * m.G.All.Len())
		_, activations := m.Activations()
		require.Positive(t, activations)
		opt.Beside, opt.Lends, opt.Train, opt.Recompute, opt.LoRA = m, false, false, false, LoRA{}
		alone := dev.Used()
		reference := made(c, opt)
		kept, own := reference.Activations()
		require.Zero(t, kept+own)
		require.Equal(t, int64(reference.W.All.Len()*opt.DType.Size()+8*opt.MaxTokens+4*c.MaxPositions*c.HeadDim), dev.Used()-alone)

		rest := dev.Used() - gradients - activations
		pages, learning, there := 0, true, false
		for range rapid.IntRange(1, 30).Draw(t, "calls") {
			switch rapid.SampledFrom([]string{"open", "close", "assemble", "resume", "suspend", "slices"}).Draw(t, "call") {
			case "open":
				pages = rapid.IntRange(1, 20).Draw(t, "pages")
				require.NoError(t, m.OpenKV(pages))
				there = !learning
			case "close":
				m.CloseKV()
				pages, there = 0, false
			case "assemble":
				require.NoError(t, m.Assemble())
				learning, there = false, pages > 0
			case "resume":
				before := learning
				require.NoError(t, m.Resume())
				learning, there = true, false
				if !before {
					gradients = int64(4 * m.G.All.Len())
				}
			case "suspend":
				m.Suspend()
				learning = false
			case "slices":
				if learning {
					_, all := m.Gradients(rapid.IntRange(1, 4).Draw(t, "slices"))
					gradients = int64(4 * all.Len())
				}
			}
			want := rest
			if learning {
				want += gradients + activations
			}
			if there {
				want += int64(pages) * m.PageBytes()
			}
			require.Equal(t, want, dev.Used())
			require.False(t, learning && there)
		}
		reference.Close()
		m.Close()
		require.Zero(t, dev.Used())
	})
}
