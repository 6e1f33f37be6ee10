package dist

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	k "retool/kernels"
)

// treeSum is what ranks' numbers add up to: neighbours first, then neighbouring sums, an odd one out going up as it is. It overwrites rows.
func treeSum(rows [][]float32) []float32 {
	for len(rows) > 1 {
		next := rows[:0:0]
		for i := 0; i < len(rows); i += 2 {
			if i+1 < len(rows) {
				for j, y := range rows[i+1] {
					rows[i][j] += y
				}
			}
			next = append(next, rows[i])
		}
		rows = next
	}
	return rows[0]
}

// raw is numbers as bytes: the same memory.
func raw(x []float32) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(x))), 4*len(x))
}

// fetch is a tensor's numbers.
func fetch[T any](t k.Tensor) []T { return slices.Clone(numbers[T](download(t, anew))) }

// The tree over slices is the tree over ranks of each one's tree over its slices, whatever power of two a rank holds; and it is SumTree's.
func TestTreesNest(t *testing.T) {
	dev := k.NewCPU(1)
	defer dev.Close()
	rapid.Check(t, func(t *rapid.T) {
		slices, n := rapid.IntRange(1, 19).Draw(t, "slices"), rapid.IntRange(1, 5).Draw(t, "numbers")
		held := 1 << rapid.IntRange(0, 5).Draw(t, "log2 of those a rank holds")
		draw := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		x := make([][]float32, slices)
		for i := range x {
			x[i] = make([]float32, n)
			for j := range x[i] {
				x[i][j] = float32(draw.NormFloat64() * math.Exp2(float64(draw.IntN(40)-20)))
			}
		}
		clone := func(rows [][]float32) (out [][]float32) {
			for _, r := range rows {
				out = append(out, append([]float32(nil), r...))
			}
			return out
		}
		var ranks [][]float32
		for from := 0; from < slices; from += held {
			ranks = append(ranks, treeSum(clone(x[from:min(from+held, slices)])))
		}
		want := treeSum(clone(x))
		require.Equal(t, want, treeSum(ranks))

		sum := dev.Alloc(k.F32, n)
		defer dev.Free(sum)
		a := adder{rank: -1}
		defer a.free()
		var rows [][]byte
		for _, r := range x {
			rows = append(rows, raw(r))
		}
		require.NoError(t, a.add(sum, k.Tensor{}, rows))
		require.Equal(t, want, fetch[float32](sum))
	})
}

// Parts hold every number once, in order, end at tiles, differ by a tile at most, and those of half the ranks are unions of neighbours.
func TestPartsCover(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 40*Tile).Draw(t, "numbers")
		ranks := rapid.IntRange(1, 17).Draw(t, "ranks")
		p := Divide(n, ranks)
		require.Len(t, p, ranks)
		at, least, most := 0, math.MaxInt, 0
		for _, r := range p {
			require.Equal(t, at, r.From)
			require.GreaterOrEqual(t, r.To, r.From)
			require.True(t, r.To == n || r.To%Tile == 0)
			tiles := (r.Len() + Tile - 1) / Tile
			least, most, at = min(least, tiles), max(most, tiles), r.To
		}
		require.Equal(t, n, at)
		require.Equal(t, n, p.Len())
		require.LessOrEqual(t, most-least, 1)
		for i, r := range Divide(n, 2*ranks) {
			require.True(t, p[i/2].From <= r.From && r.To <= p[i/2].To)
		}
	})
}

// eachRank runs f on every rank, and ends when all have.
func eachRank(comms []Comm, f func(c Comm)) {
	var wg sync.WaitGroup
	for _, c := range comms {
		wg.Go(func() {
			defer c.Close()
			f(c)
		})
	}
	wg.Wait()
}

// everyWay is eachRank of n ranks, for each way to join them.
func everyWay(n int, f func(c Comm)) {
	for _, join := range joinings {
		eachRank(join(n), f)
	}
}

func TestRanksGatherWhatEachSaid(t *testing.T) {
	for _, n := range []int{1, 2, 5} {
		everyWay(n, func(c Comm) {
			for i := range 50 {
				mine := make([]byte, 100*i*c.Rank())
				for j := range mine {
					mine[j] = byte(i + c.Rank())
				}
				got, err := c.Gather(fmt.Sprintf("round %d", i), mine)
				if err != nil || len(got) != n {
					t.Errorf("rank %d: %v, %d parts", c.Rank(), err, len(got))
					return
				}
				for r, b := range got {
					if len(b) != 100*i*r || slices.ContainsFunc(b, func(x byte) bool { return x != byte(i+r) }) {
						t.Errorf("rank %d: round %d: %d bytes of rank %d", c.Rank(), i, len(b), r)
					}
				}
			}
		})
	}
}

// What ranks add is the tree sum of what they hold, and what they gather is what each holds, bit for bit, in any type.
func TestTensorsAreReducedAndGathered(t *testing.T) {
	for _, n := range []int{1, 2, 3, 4} {
		for _, length := range []int{5, Tile + 3, 3*chunk + 17} {
			p := Divide(length, n)
			held := make([][]float32, n)
			for r := range held {
				draw := rand.New(rand.NewPCG(uint64(r), uint64(length)))
				held[r] = make([]float32, length)
				for i := range held[r] {
					held[r][i] = float32(draw.NormFloat64())
				}
			}
			want := make([][]float32, n)
			for r := range want {
				want[r] = slices.Clone(held[r])
			}
			sum := treeSum(want)
			everyWay(n, func(c Comm) {
				dev := k.NewCPU(1)
				defer dev.Close()
				own := p[c.Rank()].Len()
				whole, part := dev.Alloc(k.F32, length), dev.Alloc(k.F32, max(1, own))
				part = part.Rows(0, own)
				dev.Upload(whole, held[c.Rank()])
				if err := c.ReduceScatter("gradients", part, whole, p).Wait(); err != nil {
					t.Error(err)
					return
				}
				for _, dtype := range []k.DType{k.F32, k.BF16} {
					to, from := dev.Alloc(dtype, length), dev.Alloc(dtype, max(1, own)).Rows(0, own)
					if own > 0 {
						dev.Copy(from, part)
					}
					if err := c.AllGather("weights", to, from, p).Wait(); err != nil {
						t.Error(err)
						return
					}
					expect := dev.Alloc(k.F32, length)
					dev.Upload(expect, sum)
					rounded := dev.Alloc(dtype, length)
					dev.Copy(rounded, expect)
					if !bytes.Equal(download(rounded, anew), download(to, anew)) {
						t.Errorf("%d ranks, %d numbers, %v: rank %d has other numbers", n, length, dtype, c.Rank())
					}
				}
			})
		}
	}
}
