package kernels

import (
	"sync"

	features "golang.org/x/sys/cpu"
)

var avx2SIMD = &simd{
	name:       "avx2",
	peak:       func(n int) float64 { avx2Peak(n); return 12 * 16 },
	fused:      true,
	rows:       6,
	product:    [tileRows + 1]func(*tile){nil, product1, product2, product3, product4, product5, product6},
	wide:       [4]func(*tile){nil, wide1, wide2, wide3},
	paired:     [tileRows + 1]func(*tile){nil, paired1, paired2, paired3, paired4, paired5, paired6},
	pairedW:    [4]func(*tile){nil, pairedWide1, pairedWide2, pairedWide3},
	widen:      avx2Widen,
	narrow:     avx2Narrow,
	pairs:      avx2Pairs,
	masked:     productMasked,
	headScores: avx2HeadScores,
	headValues: avx2HeadValues,
	attend:     avx2Attend,
	attendBack: avx2AttendBack,
	max:        avx2Max,
	sumExp:     avx2SumExp,
	sumPL:      avx2SumPL,
	expTo:      avx2ExpTo,
	logGrad:    avx2LogGrad,
	swiglu:     avx2SwiGLU,
	swigluBack: func(dgate, dup, dy, gate, up []float32, fresh bool) {
		if dgate == nil || dup == nil {
			goSwiGLUBack(dgate, dup, dy, gate, up, fresh)
			return
		}
		avx2SwiGLUBack(dgate, dup, dy, gate, up, fresh)
	},
	add:        avx2Add,
	scale:      avx2Scale,
	dot:        avx2Dot,
	dot3:       avx2Dot3,
	norm:       avx2Norm,
	normBack:   avx2NormBack,
	normBackW:  avx2NormBackW,
	rope:       avx2Rope,
	adam:       avx2Adam,
	sumSquares: avx2SumSquares,
	transpose:  avx2Transpose,
	panel:      avx2Panel,
	strip:      avx2Strip,
	fetch:      fetch,
	race:       avx2Race,
	noise:      avx2Noise,
}

// avx512SIMD does products, and loops with an exp in each number, in wider registers. Its bits are avx2's, and so is all the rest: nothing
// else waits for arithmetic.
var avx512SIMD = func() *simd {
	v := *avx2SIMD
	v.name, v.rows = "avx512", 12
	v.peak = func(n int) float64 { avx512Peak(n); return 12 * 32 }
	copy(v.product[7:], []func(*tile){product512x7, product512x8, product512x9, product512x10, product512x11, product512x12})
	v.twin = [tileRows + 1]func(*tile){
		nil, product512x1x32, product512x2x32, product512x3x32, product512x4x32, product512x5x32, product512x6x32,
		product512x7x32, product512x8x32, product512x9x32, product512x10x32, product512x11x32, product512x12x32,
	}
	v.quad = [quadRows + 1]func(*tile){
		nil, product512x1x64, product512x2x64, product512x3x64, product512x4x64, product512x5x64, product512x6x64,
	}
	v.quadAhead = [quadRows + 1]func(*tile){
		nil, product512x1x64ahead, product512x2x64ahead, product512x3x64ahead, product512x4x64ahead, product512x5x64ahead,
		product512x6x64ahead,
	}
	v.twinAhead = [tileRows + 1]func(*tile){
		6: product512x6x32ahead, product512x7x32ahead, product512x8x32ahead, product512x9x32ahead, product512x10x32ahead,
		product512x11x32ahead, product512x12x32ahead,
	}
	v.paired = [tileRows + 1]func(*tile){
		nil, paired512x1, paired512x2, paired512x3, paired512x4, paired512x5, paired512x6,
		paired512x7, paired512x8, paired512x9, paired512x10, paired512x11, paired512x12,
	}
	v.sumExp, v.expTo, v.logGrad, v.noise = avx512SumExp, avx512ExpTo, avx512LogGrad, avx512Noise
	v.headScores, v.headValues, v.turn = avx512HeadScores, avx512HeadValues, avx512Turn
	v.attendRows, v.attendBackRows, v.swiglu = avx512Attend, avx512AttendBack, avx512SwiGLU
	v.attend = func(s *float32, n int, scale, m float32) (max, sum float32) {
		avx512Attend(s, 1, n, 0, scale, &m, &max, &sum)
		return max, sum
	}
	v.attendBack = func(s, dp *float32, n int, scale, lse, delta float32) {
		avx512AttendBack(s, dp, 1, n, scale, &lse, &delta, 0)
	}
	v.swigluBack = func(dgate, dup, dy, gate, up []float32, fresh bool) {
		if dgate == nil || dup == nil {
			goSwiGLUBack(dgate, dup, dy, gate, up, fresh)
			return
		}
		avx512SwiGLUBack(dgate, dup, dy, gate, up, fresh)
	}
	v.pairedW = [4]func(*tile){nil, paired512Wide1, paired512Wide2, paired512Wide3}
	return &v
}()

// avx512bf16SIMD multiplies bf16 by bf16 with the processor's own instruction, in the same bits: see cpu_dot_amd64.s.
var avx512bf16SIMD = func() *simd {
	v := *avx512SIMD
	v.name, v.dots = "avx512bf16", true
	v.paired = [tileRows + 1]func(*tile){nil, dot1, dot2, dot3, dot4, dot5, dot6, dot7, dot8, dot9, dot10, dot11, dot12}
	v.two = [tileRows + 1]func(*tile){
		nil, dotTwo1, dotTwo2, dotTwo3, dotTwo4, dotTwo5, dotTwo6, dotTwo7, dotTwo8, dotTwo9, dotTwo10, dotTwo11, dotTwo12,
	}
	v.pairedW, v.long = [4]func(*tile){}, dotLong
	return &v
}()

// variants lists what this processor and its operating system can run, each with more of it than the one before.
func variants() []*simd {
	all := []*simd{goSIMD}
	if features.X86.HasAVX2 && features.X86.HasFMA {
		all = append(all, avx2SIMD)
		// x/sys/cpu reports AVX-512 only where the operating system saves its registers.
		if features.X86.HasAVX512F && features.X86.HasAVX512VL && features.X86.HasAVX512DQ && features.X86.HasAVX512BW {
			all = append(all, avx512SIMD)
			if features.X86.HasAVX512BF16 {
				all = append(all, avx512bf16SIMD)
			}
		}
	}
	return all
}

// bestSIMD is the last of the variants, but for the products of bf16 by the processor's own instruction where that is the slower way.
var bestSIMD = sync.OnceValue(func() *simd {
	all := variants()
	best := all[len(all)-1]
	if best.dots && !dotsPay() {
		best = avx512SIMD
	}
	return best
})

//go:noescape
func product1(t *tile)

//go:noescape
func product2(t *tile)

//go:noescape
func product3(t *tile)

//go:noescape
func product4(t *tile)

//go:noescape
func product5(t *tile)

//go:noescape
func product6(t *tile)

//go:noescape
func product512x7(t *tile)

//go:noescape
func product512x8(t *tile)

//go:noescape
func product512x9(t *tile)

//go:noescape
func product512x10(t *tile)

//go:noescape
func product512x11(t *tile)

//go:noescape
func product512x12(t *tile)

//go:noescape
func product512x1x64(t *tile)

//go:noescape
func product512x2x64(t *tile)

//go:noescape
func product512x3x64(t *tile)

//go:noescape
func product512x4x64(t *tile)

//go:noescape
func product512x5x64(t *tile)

//go:noescape
func product512x6x64(t *tile)

//go:noescape
func product512x1x32(t *tile)

//go:noescape
func product512x2x32(t *tile)

//go:noescape
func product512x3x32(t *tile)

//go:noescape
func product512x4x32(t *tile)

//go:noescape
func product512x5x32(t *tile)

//go:noescape
func product512x6x32(t *tile)

//go:noescape
func product512x7x32(t *tile)

//go:noescape
func product512x8x32(t *tile)

//go:noescape
func product512x9x32(t *tile)

//go:noescape
func product512x10x32(t *tile)

//go:noescape
func product512x11x32(t *tile)

//go:noescape
func product512x12x32(t *tile)

//go:noescape
func product512x1x64ahead(t *tile)

//go:noescape
func product512x2x64ahead(t *tile)

//go:noescape
func product512x3x64ahead(t *tile)

//go:noescape
func product512x4x64ahead(t *tile)

//go:noescape
func product512x5x64ahead(t *tile)

//go:noescape
func product512x6x64ahead(t *tile)

//go:noescape
func product512x6x32ahead(t *tile)

//go:noescape
func product512x7x32ahead(t *tile)

//go:noescape
func product512x8x32ahead(t *tile)

//go:noescape
func product512x9x32ahead(t *tile)

//go:noescape
func product512x10x32ahead(t *tile)

//go:noescape
func product512x11x32ahead(t *tile)

//go:noescape
func product512x12x32ahead(t *tile)

//go:noescape
func wide1(t *tile)

//go:noescape
func wide2(t *tile)

//go:noescape
func wide3(t *tile)

//go:noescape
func avx2Transpose(dst, src *float32, ld, blocks int)

//go:noescape
func avx2Panel(dst, src *float32, ld, rows int)

//go:noescape
func avx2Strip(dst, src *float32, ld, rows int)

//go:noescape
func fetch(src *float32, width, ld, rows int)

//go:noescape
func avx2Race(u, w []float32, best float32) int

//go:noescape
func productMasked(t *tile)

//go:noescape
func avx2Attend(s *float32, n int, scale, m float32) (max, sum float32)

//go:noescape
func avx2AttendBack(s, dp *float32, n int, scale, lse, delta float32)

//go:noescape
func avx512Attend(s *float32, rows, seen, grow int, scale float32, m, top, sum *float32)

//go:noescape
func avx512AttendBack(s, dp *float32, rows, seen int, scale float32, lse, delta *float32, ld int)

//go:noescape
func avx512SumExp(x []float32, scale, sub float32) float32

//go:noescape
func avx512ExpTo(dst, x []float32, scale, sub float32)

//go:noescape
func avx512LogGrad(x []float32, scale, lse, dlogp, dent, h float32)

//go:noescape
func avx512Noise(u []float32, first uint32, c *philoxKey)

//go:noescape
func avx2HeadScores(t *headTile)

//go:noescape
func avx2HeadValues(t *headTile)

//go:noescape
func avx512HeadScores(t *headTile)

//go:noescape
func avx512HeadValues(t *headTile)

//go:noescape
func avx512Turn(dst, src *float32, ld, blocks int)

//go:noescape
func avx512SwiGLU(y, gate, up []float32)

//go:noescape
func avx512SwiGLUBack(dgate, dup, dy, gate, up []float32, fresh bool)

//go:noescape
func avx2Max(x []float32) float32

//go:noescape
func avx2SumExp(x []float32, scale, sub float32) float32

//go:noescape
func avx2SumPL(x []float32, scale, lse float32) float32

//go:noescape
func avx2ExpTo(dst, x []float32, scale, sub float32)

//go:noescape
func avx2LogGrad(x []float32, scale, lse, dlogp, dent, h float32)

//go:noescape
func avx2SwiGLU(y, gate, up []float32)

//go:noescape
func avx2SwiGLUBack(dgate, dup, dy, gate, up []float32, fresh bool)

//go:noescape
func avx2Add(y, x []float32)

//go:noescape
func avx2Scale(y []float32, a float32)

//go:noescape
func avx2Dot(x, y []float32) float32

//go:noescape
func avx2Dot3(x, y, z []float32) float32

//go:noescape
func avx2Norm(y, x, w []float32, r float32)

//go:noescape
func avx2NormBack(dx, dy, x, w []float32, r, k float32)

//go:noescape
func avx2NormBackW(dw, dy, x []float32, r float32)

//go:noescape
func avx2Rope(lo, hi, cos, sin []float32, sign float32)

//go:noescape
func avx2Adam(w, g, m, v []float32, c *adamConst)

//go:noescape
func avx2SumSquares(x []float32) float64

//go:noescape
func avx2Noise(u []float32, first uint32, c *philoxKey)

func avx2Peak(n int)

func avx512Peak(n int)

// relax lets a waiting core rest.
func relax()
