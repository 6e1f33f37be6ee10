package model

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"retool/kernels"
	"retool/kernels/emu"
)

// eager is a device on which nothing is replayed, so that no step is padded.
type eager struct{ kernels.Device }

func (d eager) Info() kernels.Info {
	in := d.Device.Info()
	in.Replays = false
	return in
}

// Decode steps that are padded and replayed draw the ids, with the bits of their log-probabilities, of those that are neither: while
// batches shrink and grow, sequences cross pages, heads are computed in several pieces, training runs in between, steps that keep sets
// and steps that do not take turns, and caches are opened again. A packed Score gives the same bits.
func TestReplayedStepsAreEagerSteps(t *testing.T) {
	wgmma, err := kernels.NewGPU(emu.New(emu.Options{Capability: 90, NoCheck: true, Queued: true, Multiprocessors: 132}))
	require.NoError(t, err)
	defer wgmma.Close()
	require.NoError(t, wgmma.Hopper())
	portable := emulated(t)
	small := Config{Arch: Qwen3, Layers: 2, Hidden: 32, Heads: 4, KVHeads: 2, HeadDim: 16, FFN: 48, Vocab: 61, QKNorm: true, LMHead: true}
	wide := Config{Arch: Qwen2, Layers: 1, Hidden: 64, Heads: 2, KVHeads: 1, HeadDim: 64, FFN: 48, Vocab: 61, QKVBias: true, LMHead: true}
	for _, c := range []struct {
		name   string
		gpu    kernels.Device
		config Config
		dtype  kernels.DType
	}{
		{"bf16", portable, small, kernels.BF16},
		{"f32", portable, small, kernels.F32},
		{"Hopper", wgmma, wide, kernels.BF16},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.config.MaxPositions, c.config.RMSEps, c.config.RopeTheta, c.config.KVChunk = 128, 1e-6, 10000, 64
			drawn := func(dev kernels.Device) (ids []int32, logps []float32) {
				m, err := New(dev, c.config, Options{MaxTokens: 100, HeadRows: 2, Train: true, DType: c.dtype})
				require.NoError(t, err)
				defer m.Close()
				randomize(m, 3)
				for range 2 {
					a, b := decodeSome(t, m)
					ids, logps = append(ids, a...), append(logps, b...)
				}
				return ids, logps
			}
			wantIDs, wantLogps := drawn(eager{c.gpu})
			ids, logps := drawn(c.gpu)
			require.Equal(t, wantIDs, ids)
			require.True(t, slices.Equal(wantLogps, logps), "log-probabilities differ")
			require.NotEqual(t, slices.Max(ids), slices.Min(ids))
		})
	}
}

// decodeSome opens a cache and decodes batches of several sizes from prompts around a page's end.
func decodeSome(t *testing.T, m *Model) (ids []int32, logps []float32) {
	const most = 3
	require.NoError(t, m.OpenKV(3*most))
	feeds := make([]Feed, most)
	for i := range feeds {
		feeds[i] = Feed{Pages: []int32{int32(i), int32(2*most - 1 - i), int32(2*most + i)}, Key: int64(i) << 33, Draw: true}
		for j := range 4 + 29*i {
			feeds[i].IDs = append(feeds[i].IDs, int32((7*i+3*j)%61))
		}
	}
	texts := make([]fed, most)
	for i := range texts {
		texts[i] = fed{ids: slices.Clone(feeds[i].IDs), drawn: map[int]float32{}, sets: map[int][]int32{}}
	}
	steps, kept := 0, 0
	step := func(from, to int) {
		s := kernels.Sampling{Seed: 5, Temperature: 1, TopP: 0.9}
		sets := make([][]int32, to-from)
		var next []int32
		var logp []float32
		var err error
		if steps++; steps%3 > 0 {
			next, logp, sets, err = m.StepKept(feeds[from:to], s)
		} else {
			next, logp, err = m.Step(feeds[from:to], s)
		}
		require.NoError(t, err)
		for i := from; i < to; i++ {
			ids, logps = append(ids, next[i-from]), append(logps, logp[i-from])
			texts[i].took(next[i-from], logp[i-from], sets[i-from])
			kept += len(sets[i-from])
			feeds[i].Pos += len(feeds[i].IDs)
			feeds[i].IDs = []int32{next[i-from]}
		}
	}
	step(0, 1)
	step(0, 1)
	step(0, 1)
	step(1, 3) // longer prompts, longer tables of integers: what was recorded ends
	for i, n := range []int{3, 1, 3, 2, 3} {
		step(0, n)
		if i == 2 { // what lies between rollouts writes the same activations
			in := Inputs{IDs: make([]int32, 90), Starts: []int32{0, 40, 90}, Rows: []int32{3, 70}}
			require.NoError(t, m.Train(in, func(h Head) { m.dev.Zero(h.Logits) }))
		}
	}
	require.Greater(t, kept, len(ids), "sets are of more than one id")
	for _, text := range texts {
		want, err := scoreLogProbs(m, text.ids, 1, text.sets)
		require.NoError(t, err)
		for at, got := range text.drawn {
			require.Equal(t, want[at-1], got, "token %d of %d", at, len(text.ids))
		}
	}
	return ids, logps
}

func TestStepsArePaddedToFewShapes(t *testing.T) {
	rows, pages := map[int]bool{}, map[int]bool{}
	for n := 1; n <= 512; n++ {
		to := padRows(n, 500)
		require.GreaterOrEqual(t, to, n)
		require.LessOrEqual(t, to, max(2*n-1, 1), "padded by more than itself")
		require.LessOrEqual(t, to, max(n, 500))
		if n <= 500 {
			rows[to] = true
		}
		require.GreaterOrEqual(t, padPages(n), n)
		pages[padPages(n)] = true
	}
	require.LessOrEqual(t, len(rows)*len(pages), 150, fmt.Sprint(rows, pages))
}
