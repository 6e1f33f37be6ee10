package model

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"retool/kernels"
	"retool/kernels/driver"
)

// What decode steps and training passes of published models ask of a driver that does nothing, and what the host spends on them: its time
// is all there is to measure. -bench HostOf, -benchmem for Go's own allocations.

// reportCalls reports what was asked since before, for each of b.N.
func reportCalls(b *testing.B, dev *kernels.GPU, c *driver.Counter, hops int64) {
	for _, x := range []struct {
		n    int
		unit string
	}{
		{c.Calls.Launches, "launches/op"}, {c.Calls.Replays, "replays/op"}, {c.Calls.CopiesIn + c.Calls.CopiesOut, "copies/op"},
		{c.Calls.Waits, "waits/op"}, {c.Calls.Maps, "maps/op"}, {c.Calls.Allocs, "device-allocs/op"}, {int(dev.Hops() - hops), "hops/op"},
	} {
		b.ReportMetric(float64(x.n)/float64(b.N), x.unit)
	}
}

func published(b *testing.B, shape string, opt Options) (*Model, *kernels.GPU, *driver.Counter) {
	dev, c := counting(b)
	config, err := Shape(shape)
	require.NoError(b, err)
	opt.DType = kernels.BF16
	m, err := New(dev, config, opt)
	require.NoError(b, err)
	b.Cleanup(m.Close)
	return m, dev, c
}

func BenchmarkHostOfDecodeStep(b *testing.B) {
	for _, sequences := range []int{1, 32, 256} {
		b.Run(fmt.Sprintf("7B,B%d,1K", sequences), func(b *testing.B) {
			const context = 1024
			m, dev, c := published(b, "q7", Options{MaxTokens: 512, Positions: 2 * context})
			pages := int32(2 * context / kernels.PageTokens)
			require.NoError(b, m.OpenKV(sequences*int(pages)))
			feeds := make([]Feed, sequences)
			for i := range feeds {
				feeds[i] = Feed{IDs: []int32{7}, Pos: context, Key: int64(i), Draw: true}
				for page := range pages {
					feeds[i].Pages = append(feeds[i].Pages, int32(i)*pages+page)
				}
			}
			step := func() {
				_, _, err := m.Step(feeds, kernels.Sampling{Seed: 1, Temperature: 1, TopP: 1})
				require.NoError(b, err)
			}
			step()
			step()
			b.ReportAllocs()
			c.Calls = driver.Calls{}
			hops := dev.Hops()
			b.ResetTimer()
			for range b.N {
				step()
			}
			reportCalls(b, dev, c, hops)
		})
	}
}

func BenchmarkHostOfTrainingPass(b *testing.B) {
	const tokens = 8192
	for _, shape := range []string{"q05", "q7"} {
		for _, fresh := range []bool{false, true} {
			name := map[bool]string{false: "a length seen before", true: "a new length"}[fresh]
			b.Run(fmt.Sprintf("%s,8K,%s", shape, name), func(b *testing.B) {
				m, dev, c := published(b, shape, Options{MaxTokens: tokens, Positions: tokens, Train: true})
				s, dlogp := NewScorer(dev, tokens), dev.Alloc(kernels.F32, tokens)
				length := tokens
				pass := func() {
					in := Inputs{IDs: make([]int32, length), Starts: []int32{0, int32(length)}}
					for i := range length {
						in.Rows = append(in.Rows, int32(i))
					}
					s.Load(in.IDs)
					require.NoError(b, m.Train(in, func(h Head) {
						s.Score(h, 1)
						s.Backward(h, dlogp, kernels.Tensor{}, 1)
					}))
				}
				pass()
				b.ReportAllocs()
				c.Calls = driver.Calls{}
				hops := dev.Hops()
				b.ResetTimer()
				for i := range b.N {
					if fresh {
						length = tokens - 1 - i%512
					}
					pass()
				}
				reportCalls(b, dev, c, hops)
			})
		}
	}
}
