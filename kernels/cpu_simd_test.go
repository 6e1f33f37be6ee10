package kernels

import (
	"math"
	"slices"
	"testing"
	"unsafe"

	"pgregory.net/rapid"
)

// ulps is the distance of got from want in units of got's last place.
func ulps(got float32, want float64) float64 {
	next := math.Nextafter32(got, float32(math.Inf(1)))
	return math.Abs(float64(got)-want) / float64(next-got)
}

func TestExpAndLnAreAccurate(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x := rapid.Float32Range(-87, 88).Draw(t, "x")
		if u := ulps(exp32(x), math.Exp(float64(x))); u > 2 {
			t.Fatalf("exp(%v) is off by %.1f ulp", x, u)
		}
		y := rapid.Float32Range(1e-37, 1e38).Draw(t, "y")
		if u := ulps(ln32(y), math.Log(float64(y))); u > 1 && math.Abs(float64(y)-1) > 1e-6 {
			t.Fatalf("ln(%v) is off by %.1f ulp", y, u)
		}
	})
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	if exp32(-inf) != 0 || exp32(-1000) != 0 || exp32(nan) == exp32(nan) || exp32(0) != 1 {
		t.Error("exp at its ends")
	}
	if ln32(inf) != inf || ln32(nan) == ln32(nan) || ln32(1) != 0 {
		t.Error("ln at its ends")
	}
}

// Every loop of every variant computes what the plain one does, at every length, and touches nothing beyond it.
func TestVariantsComputeTheSameLoops(t *testing.T) {
	for _, v := range variants() {
		t.Run(v.name, func(t *testing.T) {
			memory := [4][]float32{guarded(t, 1<<10), guarded(t, 1<<10), guarded(t, 1<<10), guarded(t, 1<<10)}
			rapid.Check(t, func(t *rapid.T) {
				n, atEnd := rapid.IntRange(0, 100).Draw(t, "n"), rapid.Bool().Draw(t, "before the guards")
				rng := newRand(rapid.Uint64().Draw(t, "numbers"))
				fresh := func() []float32 {
					x := make([]float32, n)
					for i := range x {
						x[i] = float32(rng.normal())
					}
					return x
				}
				in := [4][]float32{fresh(), fresh(), fresh(), fresh()}
				for i := range n {
					in[3][i] *= in[3][i] // AdamW's v
				}
				var outs [2][]float64
				for k, s := range []*simd{v, goSIMD} {
					x := [4][]float32{}
					for i, m := range memory {
						if x[i] = m[:n:n]; atEnd {
							x[i] = m[len(m)-n:]
						}
						copy(x[i], in[i])
					}
					a, b, c, d := x[0], x[1], x[2], x[3]
					note := func(y ...float32) {
						for _, z := range y {
							outs[k] = append(outs[k], float64(z))
						}
					}
					// Each loop has the same numbers as in the other variant: what one rounds otherwise, the next would magnify.
					each := func(loop func()) {
						for i := range x {
							copy(x[i], in[i])
						}
						loop()
						for i := range x {
							note(x[i]...)
						}
					}
					note(s.sumExp(a, 0.7, 0.3), s.sumPL(a, 1, 5), s.dot(a, b), s.dot3(a, b, c), float32(s.sumSquares(a)))
					if n > 0 {
						note(s.max(a))
					}
					each(func() { s.norm(a, b, c, 1.5) })
					each(func() { s.normBack(b, a, c, d, 0.5, 0.25) })
					each(func() { s.normBackW(c, a, b, 0.75) })
					each(func() { s.add(a, c) })
					each(func() { s.scale(b, 0.5) })
					each(func() { s.rope(a, b, c, d, -1) })
					each(func() { s.swiglu(c, a, b) })
					each(func() { s.swigluBack(a, b, c, c, c, false) })
					each(func() { s.swigluBack(a, b, c, c, c, true) })
					each(func() { s.expTo(c, b, 0.1, 0.2) })
					each(func() { s.logGrad(b, 0.9, 3, 0.5, 0.25, 0.125) })
					each(func() { s.adam(a, b, c, d, &adamConst{0.5, 0.9, 0.1, 0.95, 0.05, 0.01, 2, 1e-8, 0.99}) })
				}
				for i := range outs[0] {
					if math.Abs(outs[0][i]-outs[1][i]) > 2e-4*max(1, math.Abs(outs[1][i])) {
						t.Fatalf("number %d of %d, n %d is %v, in plain Go %v", i, len(outs[0]), n, outs[0][i], outs[1][i])
					}
				}
			})
		})
	}
}

// Variants that multiply and add in one rounding have one another's bits in every loop over logits, at every length and at the ends of exp.
func TestFusedVariantsHaveOneAnothersBits(t *testing.T) {
	var fused []*simd
	for _, v := range variants() {
		if v.fused {
			fused = append(fused, v)
		}
	}
	if len(fused) < 2 {
		t.Skip("this processor has no two of them")
	}
	xm, ym := guarded(t, 1<<10), guarded(t, 1<<10)
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 200).Draw(t, "n")
		x, y := edge(t, xm, n, "x"), edge(t, ym, n, "y")
		spread := rapid.SampledFrom([]float32{1, 30, 400}).Draw(t, "spread")
		for i := range x {
			x[i] *= spread
		}
		if n > 0 && rapid.Bool().Draw(t, "one is none") {
			x[rapid.IntRange(0, n-1).Draw(t, "which")] = float32(math.NaN())
		}
		was := append([]float32(nil), x...)
		run := func(v *simd) (bits []uint32) {
			copy(x, was)
			out := []float32{v.sumExp(x, 0.7, 0.3)}
			v.expTo(y, x, 0.7, 0.3)
			v.logGrad(x, 0.9, 3, 0.5, 0.25, 0.125)
			for _, z := range append(append(out, x...), y...) {
				bits = append(bits, math.Float32bits(z))
			}
			return bits
		}
		want := run(fused[0])
		for _, v := range fused[1:] {
			if got := run(v); !slices.Equal(got, want) {
				t.Fatalf("%s has not the bits of %s over %d numbers", v.name, fused[0].name, n)
			}
		}
	})
}

// Random bits, unlike sums, are the same in every variant.
func TestNoiseIsTheSameEverywhere(t *testing.T) {
	for _, v := range variants() {
		for _, n := range []int{32, 64, 96, 128} {
			got, want := make([]float32, n), make([]float32, n)
			k := &philoxKey{1, 2, 3, 4, 5}
			v.noise(got, 256, k)
			for j := range want {
				w0, w1, w2, w3 := philox(uint32(256+j)/4, 3, 4, 5, 1, 2)
				want[j] = uniform([4]uint32{w0, w1, w2, w3}[j%4])
			}
			same(t, v.name, got, want)
		}
	}
}

// A number that is none is not lost on its way to the loss.
func TestNaNReachesTheLogProb(t *testing.T) {
	onCPUs(t, func(t *testing.T, d storing) {
		x, lse := d.Alloc(F32, 1, 50), d.Alloc(F32, 1)
		nan := make([]float32, 50)
		nan[20] = float32(math.NaN())
		d.Upload(x, nan)
		h := Heads{Q: 1, KV: 1, Dim: 50}
		q, o := d.Alloc(d.dtype, 1, 50), d.Alloc(d.dtype, 1, 50)
		d.Upload(q, nan)
		run(t, d, func() {
			d.LogSumExp(lse, x, 1)
			d.Attention(o, Tensor{}, q, q, q, integers(d, 0, 1), h)
		})
		if y := content(lse)[0]; y == y {
			t.Errorf("lse is %v", y)
		}
		if y := content(o)[20]; y == y {
			t.Errorf("o is %v", y)
		}
	})
}

// Copies into panels and strips, and transposing ones, move every number to its place, read nothing beside their rows, and write
// nothing beside their result.
func TestPackingLoopsMoveEveryNumber(t *testing.T) {
	for _, v := range variants() {
		t.Run(v.name, func(t *testing.T) {
			sm, dm := guarded(t, 1<<12), guarded(t, 1<<12)
			rapid.Check(t, func(t *rapid.T) {
				for _, c := range []struct {
					width int
					copy  func(dst, src *float32, ld, rows int)
				}{{tileCols, v.panel}, {stripCols, v.strip}} {
					rows, gap := rapid.IntRange(1, 60).Draw(t, "rows"), rapid.IntRange(0, 20).Draw(t, "gap")
					ld := c.width + gap
					src, dst := edge(t, sm, (rows-1)*ld+c.width, "src"), edge(t, dm, rows*c.width, "dst")
					v.fetch(&src[0], 4*c.width, 4*ld, rows)
					c.copy(&dst[0], &src[0], 4*ld, rows)
					for i, x := range dst {
						if x != src[i/c.width*ld+i%c.width] {
							t.Fatalf("%d columns, row %d, column %d", c.width, i/c.width, i%c.width)
						}
					}
				}
				loops := []struct {
					rows, cols int
					transpose  func(dst, src *float32, ld, blocks int)
				}{{8, 8, v.transpose}, {16, 4, v.turn}}
				for _, c := range loops {
					if c.transpose == nil {
						continue
					}
					blocks, gap := rapid.IntRange(1, 6).Draw(t, "blocks"), rapid.IntRange(0, 9).Draw(t, "gap")
					cols := c.cols * blocks
					ld := cols + gap
					src, dst := edge(t, sm, (c.rows-1)*ld+cols, "src"), edge(t, dm, (cols-1)*tileCols+c.rows, "dst")
					was := append([]float32(nil), dst...)
					c.transpose(&dst[0], &src[0], 4*ld, blocks)
					for i, x := range dst {
						want := was[i]
						if k, j := i/tileCols, i%tileCols; j < c.rows {
							want = src[j*ld+k]
						}
						if x != want {
							t.Fatalf("%d rows transposed: row %d, column %d is %v, want %v", c.rows, i/tileCols, i%tileCols, x, want)
						}
					}
				}
			})
		})
	}
}

// Rows together are the rows alone, bit for bit, whether each sees one more number than the row before or all as many.
func TestAttendLoopsTakeRows(t *testing.T) {
	for _, v := range variants() {
		t.Run(v.name, func(t *testing.T) {
			sm, dm := guarded(t, 1<<10), guarded(t, 1<<10)
			rapid.Check(t, func(t *rapid.T) {
				rows := rapid.IntRange(1, 9).Draw(t, "rows")
				seen, grow := rapid.IntRange(1, PageTokens).Draw(t, "seen"), rapid.IntRange(0, 1).Draw(t, "grow")
				ld := rapid.IntRange(1, 3).Draw(t, "ld")
				s, dp := edge(t, sm, rows*PageTokens, "scores"), edge(t, dm, rows*PageTokens, "dp")
				was, grad := append([]float32(nil), s...), append([]float32(nil), dp...)
				m, top, sum := make([]float32, rows), make([]float32, rows), make([]float32, rows)
				for r := range m {
					m[r] = rapid.SampledFrom([]float32{float32(math.Inf(-1)), 0.5, 3}).Draw(t, "m")
				}
				same := func(what string, got, want []float32) {
					for i := range want {
						if math.Float32bits(got[i]) != math.Float32bits(want[i]) {
							t.Fatalf("%s: number %d of %d rows is %v, %v alone", what, i, rows, got[i], want[i])
						}
					}
				}
				one, oneGrad := append([]float32(nil), was...), append([]float32(nil), grad...)
				v.attendEach(s, rows, seen, grow, 0.75, m, top, sum)
				for r := range rows {
					a, b := v.attend(&one[r*PageTokens], min(seen+r*grow, PageTokens), 0.75, m[r])
					same("largest and sum", []float32{top[r], sum[r]}, []float32{a, b})
				}
				same("attend", s, one)
				copy(s, was)
				copy(one, was)
				lse, delta := make([]float32, rows*ld), make([]float32, rows*ld)
				for i := range lse {
					lse[i], delta[i] = float32(i)/8, float32(i%3)
				}
				v.attendBackEach(s, dp, rows, seen, 0.75, lse, delta, ld)
				for r := range rows {
					v.attendBack(&one[r*PageTokens], &oneGrad[r*PageTokens], min(seen+r, PageTokens), 0.75, lse[r*ld], delta[r*ld])
				}
				same("p", s, one)
				same("ds", dp, oneGrad)
			})
		})
	}
}

// Several heads' tile at once has the bits of its heads one by one, in pages, where a panel of keys may stand beside the others, and in
// rows of a matrix, and touches nothing beside its scores and outputs.
func TestHeadLoopsAreHeadsAlone(t *testing.T) {
	for _, v := range variants() {
		if v.headScores == nil {
			continue
		}
		t.Run(v.name, func(t *testing.T) {
			alone := *v
			alone.headScores, alone.headValues = nil, nil
			km, vm, tm := guarded(t, 1<<16), guarded(t, 1<<16), guarded(t, 1<<14)
			sm, om, qm := guarded(t, 1<<10), guarded(t, 1<<10), guarded(t, 1<<10)
			w := &worker{tail: floats(tileRows * tileCols)}
			rapid.Check(t, func(t *rapid.T) {
				D, heads := rapid.SampledFrom([]int{32, 64, 128}).Draw(t, "dim"), 2*rapid.IntRange(1, 2).Draw(t, "pairs")
				n := rapid.IntRange(1, 64).Draw(t, "n")
				size := keyBlock * D
				view := tileView{keysNext: size, valsNext: size, ld: D}
				vals := edge(t, vm, heads*size, "values")
				if rapid.Bool().Draw(t, "rows") {
					view.valsNext, view.ld = D, heads*D
				}
				view.keys, view.vals = &edge(t, km, heads*size, "keys")[0], &vals[0]
				if rapid.Bool().Draw(t, "turned") {
					view.panel, view.turned = (n-1)/tileCols, &edge(t, tm, heads*tileCols*D, "turned")[0]
				}
				q, s, o := edge(t, qm, heads*D, "q"), edge(t, sm, heads*keyBlock, "scores"), edge(t, om, heads*D, "o")
				m, factor := make([]float32, heads), make([]float32, heads)
				for h := range m {
					m[h] = rapid.SampledFrom([]float32{float32(math.Inf(-1)), 0.5, 9}).Draw(t, "m")
					factor[h] = rapid.SampledFrom([]float32{1, 0.25}).Draw(t, "factor")
				}
				later := rapid.Bool().Draw(t, "later tile")
				was := append([]float32(nil), o...)
				run := func(v *simd) (bits []uint32) {
					copy(o, was)
					top, sum := make([]float32, heads), make([]float32, heads)
					a := headTile{
						q: unsafe.Pointer(&q[0]), o: unsafe.Pointer(&o[0]), s: unsafe.Pointer(&s[0]), vals: unsafe.Pointer(view.vals),
						valsNext: 4 * view.valsNext, ld: 4 * view.ld, heads: heads, dim: D, n: n, m: &m[0], top: &top[0], sum: &sum[0], scale: 0.2,
					}
					if later {
						a.factor = &factor[0]
					}
					view.headScores(v, w, &a)
					view.headValues(v, w, &a)
					out := append(append(append([]float32(nil), top...), sum...), o...)
					for h := range heads {
						out = append(out, s[h*keyBlock:][:n]...)
					}
					for _, x := range out {
						bits = append(bits, math.Float32bits(x))
					}
					return bits
				}
				if got, want := run(v), run(&alone); !slices.Equal(got, want) {
					t.Fatalf("%d heads of %d, %d keys: not the bits of heads alone", heads, D, n)
				}
			})
		})
	}
}

// A row of scores becomes probabilities in place, the 64 numbers of its tile and no other, close to what float64 says.
func TestAttendLoopsAreTheSoftmax(t *testing.T) {
	for _, v := range variants() {
		t.Run(v.name, func(t *testing.T) {
			sm, dm := guarded(t, 1<<10), guarded(t, 1<<10)
			rapid.Check(t, func(t *rapid.T) {
				n := rapid.IntRange(1, PageTokens).Draw(t, "n")
				s, dp := edge(t, sm, PageTokens, "scores"), edge(t, dm, PageTokens, "dp")
				was, grad := append([]float32(nil), s...), append([]float32(nil), dp...)
				start := float32(math.Inf(-1))
				if rapid.Bool().Draw(t, "later tile") {
					start = 0.5
				}
				top, sum := v.attend(&s[0], n, 0.75, start)
				want, total := start, 0.0
				for _, x := range was[:n] {
					want = max(want, x*0.75)
				}
				if top != want {
					t.Fatalf("the largest is %v, want %v", top, want)
				}
				for i, x := range s {
					p := 0.0
					if i < n {
						p = math.Exp(float64(was[i]*0.75) - float64(want))
					}
					if total += p; math.Abs(float64(x)-p) > 4e-7 {
						t.Fatalf("p[%d] is %v, want %v", i, x, p)
					}
				}
				if math.Abs(float64(sum)-total) > 1e-6*total {
					t.Fatalf("the sum is %v, want %v", sum, total)
				}
				copy(s, was)
				v.attendBack(&s[0], &dp[0], n, 0.75, 2, 0.25)
				for i := range s {
					p, ds := 0.0, 0.0
					if i < n {
						p = math.Exp(float64(was[i])*0.75 - 2)
						ds = p * (float64(grad[i]) - 0.25) * 0.75
					}
					if math.Abs(float64(s[i])-p) > 1e-6*max(1, p) || math.Abs(float64(dp[i])-ds) > 4e-6*max(1, p) {
						t.Fatalf("p[%d] is %v, want %v; ds %v, want %v", i, s[i], p, dp[i], ds)
					}
				}
			})
		})
	}
}
