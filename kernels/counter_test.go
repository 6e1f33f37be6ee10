package kernels

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// A Counter takes for every allocation what the CPU takes, and gives it back.
func TestCounterCountsAsTheCPU(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c, d := NewCounter(1<<40), newCPU(1, goSIMD)
		defer d.Close()
		var kept [][2]Tensor
		for range rapid.IntRange(1, 8).Draw(t, "allocations") {
			shape := rapid.SliceOfN(rapid.IntRange(0, 9), 1, 3).Draw(t, "shape")
			dtype := rapid.SampledFrom([]DType{F32, BF16, I32}).Draw(t, "type")
			kept = append(kept, [2]Tensor{c.Alloc(dtype, shape...), d.Alloc(dtype, shape...)})
		}
		h := Heads{Q: 2, KV: rapid.IntRange(1, 2).Draw(t, "kv"), Dim: 8}
		pages := rapid.IntRange(0, 5).Draw(t, "pages")
		dtype := rapid.SampledFrom([]DType{F32, BF16}).Draw(t, "type of pages")
		a, b := c.AllocKV(dtype, pages, h), d.AllocKV(dtype, pages, h)
		require.Equal(t, d.bytes.Load(), c.Used())
		peak := c.Used()
		for _, k := range kept {
			c.Free(k[0])
			d.Free(k[1])
		}
		require.Equal(t, d.bytes.Load(), c.Used())
		c.FreeKV(a)
		d.FreeKV(b)
		require.Zero(t, c.Used())
		require.Equal(t, peak, c.Peak())
	})
}

// Pack is what a product, and what its gradient, leaves behind.
func TestCounterCountsPackedWeights(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n, m := rapid.IntRange(1, 70).Draw(t, "rows"), rapid.IntRange(1, 70).Draw(t, "columns")
		d, c := newCPU(1, goSIMD), NewCounter(1<<40)
		defer d.Close()
		dtype := rapid.SampledFrom([]DType{F32, BF16}).Draw(t, "type")
		w, x, y := d.Alloc(dtype, n, m), d.Alloc(dtype, 2, m), d.Alloc(dtype, 2, n)
		dx, dw := d.Alloc(dtype, 2, m), d.Alloc(F32, n, m)
		packed := func() (bytes int64) {
			for _, p := range w.mem.packs {
				bytes += int64(4 * len(p.data))
			}
			return bytes
		}
		require.NoError(t, d.Do(func() { d.Linear(y, x, w, Tensor{}) }))
		counted := c.Alloc(dtype, n, m)
		before := c.Used()
		c.Pack(counted, false)
		require.Equal(t, packed(), c.Used()-before)
		require.NoError(t, d.Do(func() { d.LinearBackward(dx, dw, Tensor{}, y, x, w) }))
		c.Pack(counted, true)
		require.Equal(t, packed(), c.Used()-before)
	})
}

func TestCounterRefusesWhatDoesNotFit(t *testing.T) {
	c := NewCounter(100)
	c.Alloc(F32, 25)
	require.NoError(t, c.Do(func() { t.Error("a pass was run") }))
	c.Alloc(F32, 1)
	require.ErrorContains(t, c.Do(nil), "out of memory")
}
