package model

import (
	"testing"

	"github.com/stretchr/testify/require"

	"retool/kernels"
	"retool/kernels/emu"
)

// What one pass of a model of four layers asks of a driver. A launch is some microseconds of the host's time, a wait some ten: a change
// of these figures is a decision, not an accident.
func TestPassesAskTheDriverFor(t *testing.T) {
	e := emu.New(emu.Options{Capability: 80, NoCheck: true, Queued: true})
	dev, err := kernels.NewGPU(e)
	require.NoError(t, err)
	defer dev.Close()
	m, err := New(dev, Config{
		Arch: Qwen2, Layers: 4, Hidden: 64, Heads: 4, KVHeads: 2, HeadDim: 16, FFN: 96, Vocab: 128, QKVBias: true, LMHead: true,
		MaxPositions: 256, RMSEps: 1e-6, RopeTheta: 10000, KVChunk: 64,
	}, Options{MaxTokens: 400, Train: true, DType: kernels.BF16})
	require.NoError(t, err)
	defer m.Close()
	randomize(m, 3)
	require.NoError(t, m.OpenKV(10))
	const sequences, prompt = 5, 70
	var feeds []Feed
	for i := range sequences {
		f := Feed{Pages: []int32{int32(2 * i), int32(2*i + 1)}, Key: int64(i), Draw: true}
		for j := range prompt {
			f.IDs = append(f.IDs, int32((7*i+3*j)%128))
		}
		feeds = append(feeds, f)
	}
	sampling := kernels.Sampling{Seed: 1, Temperature: 1, TopP: 1}
	step := func() emu.Counters {
		e.Reset()
		next, _, err := m.Step(feeds, sampling)
		require.NoError(t, err)
		for i := range feeds {
			feeds[i].Pos += len(feeds[i].IDs)
			feeds[i].IDs = []int32{next[i]}
		}
		return e.Counters()
	}
	type asked struct{ Launches, Replays, CopiesIn, CopiesOut, Waits int }
	of := func(c emu.Counters) asked { return asked{c.Launches, c.Replays, c.CopiesIn, c.CopiesOut, c.Waits} }
	step() // the prompts
	step() // records
	// All launches in a graph: 10 a layer, 9 around them. Only the copies out are waited for.
	require.Equal(t, asked{Launches: 49, Replays: 1, CopiesIn: 1, CopiesOut: 2, Waits: 2}, of(step()), "a decode step")

	in := Inputs{Starts: []int32{0}}
	for i := range sequences {
		for j := range prompt {
			in.IDs = append(in.IDs, int32((5*i+j)%128))
			in.Rows = append(in.Rows, int32(len(in.IDs)-1))
		}
		in.Starts = append(in.Starts, int32(len(in.IDs)))
	}
	n := len(in.Rows)
	s, dlogp := NewScorer(dev, n), dev.Alloc(kernels.F32, n)
	s.Load(make([]int32, n))
	e.Reset()
	require.NoError(t, m.Train(in, func(h Head) {
		s.Score(h, 1)
		s.Backward(h, dlogp, kernels.Tensor{}, 1)
	}))
	require.Equal(t, asked{Launches: 171, CopiesIn: 1, Waits: 1}, of(e.Counters()), "a training pass")
}
