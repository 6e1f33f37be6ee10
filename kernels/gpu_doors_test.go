package kernels

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// Uploads and replays wait for the next job of the driver's thread, and take effect where they stand among operations, allocations and
// downloads: any sequence of them leaves the numbers that a CPU has, bit for bit.
func TestGPUDoorsKeepTheirOrder(t *testing.T) {
	g, c := queued(t), newCPU(1, goSIMD)
	defer c.Close()
	checks := 0
	rapid.Check(t, func(t *rapid.T) {
		if checks++; checks > 25 {
			return
		}
		const n, cols = 3, 24
		devices := []Device{g, c}
		var x [2][n]Tensor
		var wide [2]Tensor // its middle columns are x[·][0]
		for d, dev := range devices {
			wide[d] = dev.Alloc(F32, 2, 3*cols)
			x[d] = [n]Tensor{wide[d].Cols(cols, 2*cols), dev.Alloc(F32, 2, cols), dev.Alloc(F32, 2, cols)}
		}
		index := rapid.IntRange(0, n-1)
		kinds := rapid.SampledFrom([]string{"upload", "add", "replay", "copy", "zero", "download", "anew", "end"})
		for step := range rapid.IntRange(1, 25).Draw(t, "steps") {
			kind, i, j := kinds.Draw(t, "kind"), index.Draw(t, "i"), index.Draw(t, "j")
			numbers := normals(uint64(step), 2*cols)
			var got [2][]float32
			for d, dev := range devices {
				to, from := x[d][i], x[d][j]
				do := func(f func()) { require.NoError(t, dev.Do(f)) }
				switch kind {
				case "upload":
					dev.Upload(to, numbers)
				case "add":
					do(func() { dev.Add(to, from) })
				case "replay":
					do(func() {
						dev.Upload(from, numbers)
						dev.Repeat(fmt.Sprint(checks, i, j), func() { dev.Add(to, from) })
						dev.Copy(from, to)
						dev.Repeat(fmt.Sprint(checks, i, j), func() { dev.Add(to, from) })
					})
				case "copy":
					do(func() { dev.Copy(to, from); dev.Upload(to, numbers); dev.Add(to, from) })
				case "zero":
					do(func() { dev.Zero(to); dev.Upload(from, numbers) })
				case "download":
					got[d] = make([]float32, 2*cols)
					dev.Download(got[d], to)
				case "anew":
					if i > 0 {
						dev.Free(to)
						x[d][i] = dev.Alloc(F32, 2, cols)
					}
				case "end":
					do(func() {})
				}
			}
			require.True(t, slices.Equal(got[0], got[1]), "step %d", step)
		}
		for d, dev := range devices {
			for i := range n {
				got := make([]float32, 2*cols)
				dev.Download(got, x[d][i])
				want := make([]float32, 2*cols)
				c.Download(want, x[1][i])
				require.Equal(t, want, got)
			}
			for _, f := range append(x[d][1:], wide[d]) {
				dev.Free(f)
			}
		}
	})
}

// As shows the bits of integers as numbers, also on a CPU, whose memory has a type.
func TestAsKeepsBits(t *testing.T) {
	c := newCPU(1, goSIMD)
	defer c.Close()
	rapid.Check(t, func(t *rapid.T) {
		x := rapid.SliceOfN(rapid.Float32(), 1, 40).Draw(t, "numbers")
		from := rapid.IntRange(0, len(x)).Draw(t, "from")
		ints := c.Alloc(I32, len(x))
		c.Upload(ints.Rows(from, len(x)).As(F32), x[from:])
		bits, again := make([]int32, len(x)-from), make([]float32, len(x)-from)
		c.Download(bits, ints.Rows(from, len(x)))
		c.Download(again, ints.As(F32).Rows(from, len(x)))
		require.Equal(t, x[from:], again)
		for i, b := range bits {
			require.Equal(t, math.Float32bits(x[from+i]), uint32(b))
		}
	})
}
