package model

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"retool/kernels"
)

// Whatever steps threads take apart, of any feeds, the tokens, their log-probabilities and the pages that later steps read have the same
// bits, also after the weights have changed.
func TestStepsApartAreWholeSteps(t *testing.T) {
	dev := kernels.NewCPU(3)
	t.Cleanup(func() { dev.Close() })
	for _, opt := range []Options{{MaxTokens: 300}, {MaxTokens: 300, DType: kernels.BF16}, {MaxTokens: 300, Train: true}} {
		m := tiny(t, dev, opt)
		require.NotNil(t, m.step.apart.dev)
		rapid.Check(t, func(t *rapid.T) {
			const pages = 3
			n, steps := rapid.IntRange(1, 14).Draw(t, "sequences"), rapid.IntRange(1, 4).Draw(t, "steps")
			randomize(m, rapid.Uint64Range(1, 5).Draw(t, "weights"))
			tokens := make([][]int32, steps*n)
			draws, apart := make([]bool, steps*n), make([]apartWay, steps)
			for i := range tokens {
				most := rapid.SampledFrom([]int{1, 1, 20}).Draw(t, "most")
				tokens[i] = rapid.SliceOfN(rapid.Int32Range(0, int32(m.Config.Vocab)-1), 1, most).Draw(t, "ids")
				draws[i] = rapid.IntRange(0, 3).Draw(t, "draw") > 0
			}
			for i := range apart {
				apart[i] = rapid.SampledFrom([]apartWay{apartNever, apartAlways}).Draw(t, "way")
			}
			run := func(way func(step int) apartWay) (out []uint32) {
				require.NoError(t, m.OpenKV(pages*n))
				at := make([]int, n)
				for s := range steps {
					batch := make([]Feed, n)
					for i := range batch {
						f := Feed{IDs: tokens[s*n+i], Pos: at[i], Key: int64(i), Draw: draws[s*n+i]}
						for p := range int32(pages) {
							f.Pages = append(f.Pages, int32(i)*pages+p)
						}
						at[i] += len(f.IDs)
						batch[i] = f
					}
					m.step.apart.force = way(s)
					next, logp, err := m.Step(batch, kernels.Sampling{Seed: 7, Temperature: 1, TopP: 1})
					require.NoError(t, err)
					for i := range next {
						out = append(out, uint32(next[i]), math.Float32bits(logp[i]))
					}
				}
				return out
			}
			whole := run(func(int) apartWay { return apartNever })
			require.Equal(t, whole, run(func(int) apartWay { return apartAlways }))
			require.Equal(t, whole, run(func(s int) apartWay { return apart[s] }))
		})
	}
}

// Both ways are tried, the quicker is kept, and the other is tried again: what was slow at first, or while a core was away, may be so no
// longer.
func TestTheQuickerWayOfStepsIsKept(t *testing.T) {
	dev := kernels.NewCPU(2)
	t.Cleanup(func() { dev.Close() })
	m := tiny(t, dev, Options{MaxTokens: 64})
	a, batch := &m.step.apart, make([]Feed, 8)
	ns := map[bool]time.Duration{false: 800, true: 600}
	share := func(steps int) (apart int) {
		for range steps {
			way := a.wants(batch, 8, false)
			if way {
				apart++
			}
			a.took(way, 8, ns[way])
		}
		return apart
	}
	require.Greater(t, share(10*laneProbe), 9*laneProbe)
	ns[true] = 3000
	share(laneProbe) // to find out
	require.Less(t, share(10*laneProbe), laneProbe)
	ns[true] = 600
	share(20 * laneProbe)
	require.Greater(t, share(10*laneProbe), 9*laneProbe)
	require.False(t, a.wants(batch[:3], 3, false), "three sequences, two threads")
	require.False(t, a.wants(batch, 8, true), "sets are kept")
}
