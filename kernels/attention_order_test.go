package kernels

import (
	"cmp"
	"container/heap"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"retool/kernels/driver"
	"retool/kernels/emu"
)

// keyTile is a tile of a sequence's keys. Level counts from the sequence's last tile, which is 1.
type keyTile struct{ seq, tile, level int }

// keyTiles are the tiles of some sequences, in the order in which the blocks of the backward pass take them.
func keyTiles(lengths []int, size int) (tiles []keyTile) {
	for s, n := range lengths {
		for i := range ceil(n, size) {
			tiles = append(tiles, keyTile{s, i, ceil(n, size) - i})
		}
	}
	slices.SortStableFunc(tiles, func(a, b keyTile) int { return cmp.Compare(b.level, a.level) })
	return tiles
}

// Blocks of dk and dv take the tiles that most rows see first, each tile once, and blocks that are too many take none. The order is that
// of the kernel: it is launched with 1, 2, 3 … blocks, and a tile that the i-th of n takes is added to n−i times.
func TestGPULongestKeysFirst(t *testing.T) {
	for _, c := range []struct {
		name string
		dim  int
		size int
		gpu  *GPU
	}{
		{"portable", 16, PageTokens, emulated(t, emu.Options{Capability: 80, Queued: true, NoCheck: true})},
		{"Hopper", 64, 128, hopper(t, emu.Options{Queued: true, NoCheck: true})},
	} {
		checks := 0
		rapid.Check(t, func(t *rapid.T) {
			if checks++; checks > 6 {
				return
			}
			lengths := rapid.SliceOfN(rapid.IntRange(0, 3), 0, 40).Draw(t, "short")
			for range rapid.IntRange(1, 3).Draw(t, "longer") {
				at := rapid.IntRange(0, len(lengths)).Draw(t, "at")
				lengths = slices.Insert(lengths, at, rapid.IntRange(1, 3*c.size).Draw(t, "length"))
			}
			blocks := blocksOfKeys(t, c.gpu, Heads{Q: 3, KV: 3, Dim: c.dim, Chunk: 64}, lengths)
			starts, _ := startsOf(lengths)
			tiles := keyTiles(lengths, c.size)
			for block, k := range tiles {
				from := int(starts[k.seq]) + k.tile*c.size
				for i := from; i < min(from+c.size, int(starts[k.seq+1])); i++ {
					require.Equal(t, block, blocks[i], "%s: the block of key %d, sequences of %v", c.name, i, lengths)
				}
			}
		})
	}
}

// blocksOfKeys is, for each key of some sequences, the block that takes it in the backward pass.
func blocksOfKeys(t *rapid.T, g *GPU, h Heads, lengths []int) (blocks []int) {
	starts, T := startsOf(lengths)
	width := h.KV * h.Dim
	st, lse, x := g.Alloc(I32, len(starts)), g.Alloc(F32, T, h.Q), g.Alloc(BF16, T, width)
	dk, dv := g.Alloc(F32, T, width), g.Alloc(F32, T, width)
	defer func() {
		for _, f := range []Tensor{st, lse, x, dk, dv} {
			g.Free(f)
		}
	}()
	ones := make([]float32, T*width)
	for i := range ones {
		ones[i] = 1
	}
	g.Upload(st, starts)
	g.Upload(x, ones)
	var l driver.Launch
	require.NoError(t, g.Do(func() {
		g.AttentionBackward(Tensor{}, dk, dv, x, x, lse, x, x, x, st, h)
		l = g.queue[len(g.queue)-1]
	}))
	require.True(t, strings.HasPrefix(l.Func.Name(), "attention_bwd_kv_"), l.Func.Name())
	once := floats32(g, dv)
	n := int(l.Grid[1])
	require.GreaterOrEqual(t, n, len(keyTiles(lengths, PageTokens))/2)
	require.NoError(t, g.Do(func() {
		g.Zero(dv)
		for i := range n {
			part := l
			part.Grid[0], part.Grid[1] = 1, uint32(i+1)
			g.queue, g.queuedOps = append(g.queue, part), append(g.queuedOps, "AttentionBackward")
		}
	}))
	often := floats32(g, dv)
	for i := range T {
		require.NotZero(t, once[i*width], "key %d: no block takes it", i)
		blocks = append(blocks, n-int(math.Round(float64(often[i*width]/once[i*width]))))
	}
	return blocks
}

// ends are the times at which multiprocessors will be idle.
type ends []float64

func (e ends) Len() int           { return len(e) }
func (e ends) Less(i, j int) bool { return e[i] < e[j] }
func (e ends) Swap(i, j int)      { e[i], e[j] = e[j], e[i] }
func (e *ends) Push(x any)        { *e = append(*e, x.(float64)) }
func (e *ends) Pop() any          { panic("nothing leaves") }

// The blocks of dk and dv, given to 132 multiprocessors one each as they become idle, end nearly at once. A block's time is counted in
// tiles of 64 rows by 128 keys, and six more to begin and end; the ideal is that of all work divided evenly, in blocks of whole groups.
func TestGPUBackwardBlocksEndTogether(t *testing.T) {
	const processors, size, more = 132, 128, 6
	for _, c := range []struct {
		name    string
		h       Heads
		lengths []int
		most    float64
	}{
		{"7B, one sequence", Heads{Q: 28, KV: 4, Dim: 128}, []int{8192}, 1.02},
		{"7B, four sequences", Heads{Q: 28, KV: 4, Dim: 128}, []int{2048, 2048, 2048, 2048}, 1.04},
		{"7B, a mixture", Heads{Q: 28, KV: 4, Dim: 128}, []int{6000, 4000, 2500, 1500, 1200, 700, 484}, 1.02},
		{"0.5B, one sequence", Heads{Q: 14, KV: 2, Dim: 64}, []int{8192}, 1.11},
		{"1.5B, one sequence", Heads{Q: 12, KV: 2, Dim: 128}, []int{8192}, 1.09},
	} {
		parts, group := keyParts(c.h), c.h.Q/c.h.KV
		idle, ideal := make(ends, processors), 0.0
		for _, k := range keyTiles(c.lengths, size) {
			rows := ceil(c.lengths[k.seq], PageTokens) - k.tile*size/PageTokens
			ideal += float64(c.h.KV*(group*rows+more)) / processors
			for range c.h.KV * parts {
				idle[0] += float64(group/parts*rows + more)
				heap.Fix(&idle, 0)
			}
		}
		got := slices.Max(idle) / ideal
		t.Logf("%-20s the last block ends at %.3f of the ideal", c.name, got)
		require.LessOrEqual(t, got, c.most, c.name)
	}
}
