package kernels

import (
	"fmt"
	"math"
	"testing"
	"unsafe"

	"pgregory.net/rapid"
)

// edgePairs is edge for panels of pairs: k numbers of each of cols columns, rounded, and what they are.
func edgePairs(t *rapid.T, m []float32, k, cols int, label string) (words []float32, at func(k, col int) float32) {
	inner := (k + 1) / 2
	words = edge(t, m, inner*cols, label)
	numbers := halves(words, 2*len(words))
	rng := newRand(rapid.Uint64().Draw(t, label+" numbers"))
	for i := range numbers {
		numbers[i] = uint16(math.Float32bits(roundBF16(float32(rng.normal()))) >> 16)
	}
	return words, func(k, col int) float32 {
		i := 2*(col/tileCols*tileCols*inner+k/2*tileCols+col%tileCols) + k%2
		return math.Float32frombits(uint32(numbers[i]) << 16)
	}
}

// Products with weights in pairs of bf16 are the chains that those with the same numbers in float32 are.
func TestPairedKernelsAreChains(t *testing.T) {
	type kernel struct {
		name         string
		rows, panels int
		tiles        int // at most, one below the other
		run          func(*tile)
	}
	for _, v := range variants() {
		var all []kernel
		for n, f := range v.paired {
			if f != nil {
				all = append(all, kernel{fmt.Sprintf("%d×16", n), n, 1, 3, f})
			}
		}
		for n, f := range v.two {
			if f != nil {
				all = append(all, kernel{fmt.Sprintf("%d×32", n), n, 2, 3, f})
			}
		}
		if v.long != nil {
			all = append(all, kernel{"1×64", 1, 4, 1, v.long})
		}
		for n, f := range v.pairedW {
			if f != nil {
				all = append(all, kernel{fmt.Sprintf("wide %d×%d", n, wideCols[n]), n, wideCols[n] / tileCols, 1, f})
			}
		}
		am, bm, cm, wm := guarded(t, 1<<12), guarded(t, 1<<12), guarded(t, 1<<12), guarded(t, 1<<12)
		for _, kernel := range all {
			t.Run(v.name+" "+kernel.name, func(t *testing.T) {
				rapid.Check(t, func(t *rapid.T) {
					K, tiles := rapid.IntRange(0, 40).Draw(t, "k"), rapid.IntRange(1, kernel.tiles).Draw(t, "tiles")
					rows, cols, acc := kernel.rows*tiles, 16*kernel.panels, rapid.IntRange(0, 1).Draw(t, "acc")
					a, c := edge(t, am, rows*K, "a"), edge(t, cm, rows*cols, "c")
					b, number := edgePairs(t, bm, K, cols, "b")
					was := from(c, acc == 1)
					words, lda, steps, aks := a, K, K, 4
					if v.dots {
						aks = 64 // from a panel's outputs to the next one's
						lda, steps = (K+1)/2, (K+1)/2
						words = edge(t, wm, rows*lda, "words of a")
						clear(words)
					}
					for i, x := range a {
						a[i] = roundBF16(x)
						if v.dots {
							halves(words[i/K*lda:], 2*lda)[i%K] = uint16(math.Float32bits(a[i]) >> 16)
						}
					}
					kernel.run(&tile{
						c: unsafe.Pointer(unsafe.SliceData(c)), a: unsafe.Pointer(unsafe.SliceData(words)), b: unsafe.Pointer(unsafe.SliceData(b)),
						ldc: 4 * cols, ars: 4 * lda, aks: aks, bks: 64, bps: 64 * ((K + 1) / 2), k: steps, tiles: tiles, acc: acc,
					})
					for i, got := range c {
						r, j := i/cols, i%cols
						want := v.chain(was[i], K, func(k int) (float32, float32) {
							if k^1 < K { // of a pair the second first
								k ^= 1
							}
							return a[r*K+k], number(k, j)
						})
						if math.Float32bits(got) != math.Float32bits(want) {
							t.Fatalf("row %d, column %d is %v, the chain %v", r, j, got, want)
						}
					}
				})
			})
		}
	}
}

// Whatever bits there are, every variant widens and rounds them as plain Go does, at every length, and touches nothing beside them.
func TestVariantsConvertAlike(t *testing.T) {
	for _, v := range variants() {
		t.Run(v.name, func(t *testing.T) {
			fm, hm := guarded(t, 1<<10), guarded(t, 1<<10)
			rapid.Check(t, func(t *rapid.T) {
				n := rapid.IntRange(0, 100).Draw(t, "n")
				floats, numbers := fm[:n:n], halves(hm, 2*len(hm))[:n:n]
				if rapid.Bool().Draw(t, "before the guards") {
					floats, numbers = fm[len(fm)-n:], halves(hm, 2*len(hm))[2*len(hm)-n:]
				}
				rng := newRand(rapid.Uint64().Draw(t, "bits"))
				for i := range floats {
					floats[i] = math.Float32frombits(uint32(rng.next()))
					if rng.below(4) == 0 { // ties, infinities, NaN
						floats[i] = math.Float32frombits([]uint32{0x3f808000, 0x3f818000, 0x7f800000, 0x7f800001, 0xffffffff, 0x7f7fffff, 1}[rng.below(7)])
					}
				}
				v.narrow(numbers, floats)
				for i, x := range floats {
					if want := uint16(math.Float32bits(roundBF16(x)) >> 16); numbers[i] != want {
						t.Fatalf("%08x rounds to %04x, want %04x", math.Float32bits(x), numbers[i], want)
					}
					numbers[i] = uint16(rng.next())
				}
				v.widen(floats, numbers)
				for i, x := range numbers {
					if got := math.Float32bits(floats[i]); got != uint32(x)<<16 {
						t.Fatalf("%04x widens to %08x", x, got)
					}
				}
			})
		})
	}
}

// A matrix that was arranged is read and written as if it were not: by Linear and Embed, by the doors, Copy and Zero, whole and in part,
// whatever numbers the host gives.
func TestArrangedMatricesAreTheSame(t *testing.T) {
	onCPUs(t, func(t *testing.T, d storing) {
		rapid.Check(t, func(t *rapid.T) {
			N, M, T := rapid.IntRange(1, 70).Draw(t, "N"), rapid.IntRange(1, 40).Draw(t, "M"), rapid.IntRange(1, 60).Draw(t, "T")
			before := 2 * rapid.IntRange(0, 9).Draw(t, "before")
			// Two memories alike: something, the matrix, something.
			var mem, w [2]Tensor
			for i := range mem {
				mem[i] = d.Alloc(d.dtype, before+N*M+5)
				w[i] = mem[i].Rows(before, before+N*M).Reshape(N, M)
			}
			d.Arrange(w[1])
			x, ids := random(d, 7, T, M), make([]int32, T)
			rng := newRand(rapid.Uint64().Draw(t, "rng"))
			for i := range ids {
				ids[i] = int32(rng.below(N))
			}
			// As many numbers of a kind that the host may give, at an odd address too.
			host := func(n int) any {
				skip := rng.below(2)
				f, h := make([]float32, n), make([]uint16, n+skip)
				for i := range f {
					f[i] = float32(rng.normal())
				}
				if rng.below(2) == 0 {
					return f
				}
				goNarrow(h[skip:], f)
				return h[skip:]
			}
			each := func(f func(mem, w Tensor)) {
				inside := rng.below(2) == 0
				for i := range mem {
					if f := func() { f(mem[i], w[i]) }; inside {
						run(t, d, f)
					} else {
						f()
					}
				}
			}
			a := rng.below(N)
			b := a + rng.below(N-a) + 1
			all, part, other := host(before+N*M+5), host((b-a)*M), randomOf(d, []DType{F32, BF16}[rng.below(2)], rng.next(), b-a, M)
			each(func(mem, w Tensor) { d.Upload(mem, all) })
			switch rng.below(4) {
			case 0:
				each(func(mem, w Tensor) { d.Upload(w.Rows(a, b), part) })
			case 1:
				each(func(mem, w Tensor) { d.Copy(w.Rows(a, b), other) })
			case 2:
				each(func(mem, w Tensor) { d.Zero(w.Rows(a, b)) })
			}
			same(t, "memory", content(mem[1]), content(mem[0]))
			same(t, "rows", content(w[1].Rows(a, b)), content(w[0].Rows(a, b)))
			var out [2][]float32
			for i := range mem {
				y, e, c := blank(d, T, N), randomOf(d, other.dtype, 9, T, M), randomOf(d, other.dtype, 9, b-a, M)
				bias := d.Alloc(d.dtype, N)
				d.Upload(bias, slicesOf(N))
				run(t, d, func() {
					d.Linear(y, x, w[i], bias)
					d.Embed(e, w[i], integers(d, ids...))
					d.Copy(c, w[i].Rows(a, b))
				})
				out[i] = append(append(content(y), content(e)...), content(c)...)
			}
			same(t, "y, rows and a copy", out[1], out[0])
		})
	})
}

func slicesOf(n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(i%7) - 3
	}
	return x
}
