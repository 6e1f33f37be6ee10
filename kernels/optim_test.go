package kernels

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func checkSumSquaresOp(t *rapid.T, s *subject) {
	n := rapid.IntRange(0, 2).Draw(t, "whole tiles")*SumTile + rapid.IntRange(1, 9000).Draw(t, "n")
	x := s.numbersOf(t, F32, n, "x")
	want := make([]float64, SumTiles(n))
	for i := range want {
		part := x[i*SumTile : min((i+1)*SumTile, n)]
		want[i] = dot64(part, part)
	}
	xt, out := s.vector(F32, x), s.vector(F32, make([]float64, len(want)))
	s.do(t, func() { s.dev.SumSquares(out, xt) })
	s.near(t, "Σ x²", s.read(out), want, 1)

	// A part that begins with a tile has the bits of the whole there.
	from := rapid.IntRange(0, len(want)-1).Draw(t, "part")
	some := s.vector(F32, make([]float64, len(want)-from))
	s.do(t, func() { s.dev.SumSquares(some, xt.Rows(from*SumTile, n)) })
	if !slices.Equal(s.read(some), s.read(out)[from:]) {
		t.Fatalf("tiles from %d on are %v, of all numbers %v", from, s.read(some), s.read(out))
	}
	s.free(xt, out, some)
}

// refAdamW is one update of Loshchilov 2019, algorithm 2, with weights decayed by the learning rate.
func refAdamW(w, g, m, v []float64, a AdamWStep) {
	b1, b2 := float64(a.Beta1), float64(a.Beta2)
	for i := range w {
		d := g[i] * float64(a.Scale)
		m[i] = b1*m[i] + (1-b1)*d
		v[i] = b2*v[i] + (1-b2)*d*d
		mh, vh := m[i]/(1-math.Pow(b1, float64(a.Step))), v[i]/(1-math.Pow(b2, float64(a.Step)))
		w[i] -= float64(a.LR) * (mh/(math.Sqrt(vh)+float64(a.Eps)) + float64(a.WeightDecay)*w[i])
	}
}

func checkAdamWOp(t *rapid.T, s *subject) {
	n := rapid.IntRange(1, 3000).Draw(t, "n")
	a := AdamWStep{LR: 0.01, Beta1: 0.9, Beta2: 0.95, Eps: 1e-8, WeightDecay: rapid.SampledFrom([]float32{0, 0.1}).Draw(t, "decay"),
		Scale: 0.7, Step: rapid.IntRange(1, 1000).Draw(t, "step")}
	w, g, m, v := s.numbersOf(t, F32, n, "w"), s.numbersOf(t, F32, n, "g"), s.numbersOf(t, F32, n, "m"), s.numbersOf(t, F32, n, "v")
	for i := range v {
		v[i] = math.Abs(v[i])
	}
	gt, mt, vt := s.vector(F32, g), s.vector(F32, m), s.vector(F32, v)
	wt, master := s.vector(s.dtype, w), Tensor{}
	if s.dtype == BF16 {
		master = s.vector(F32, w)
	}
	s.do(t, func() { s.dev.AdamW(wt, master, gt, mt, vt, a) })
	refAdamW(w, g, m, v, a)
	s.near(t, "m", s.read(mt), m, 1)
	s.near(t, "v", s.read(vt), v, 1)
	if s.dtype == BF16 {
		s.near(t, "master", s.read(master), w, 1)
		for i := range w {
			w[i] = rounded(BF16, w[i])
		}
	}
	s.near(t, "w", s.read(wt), w, 1)
	s.free(wt, master, gt, mt, vt)
}

func TestRoundingToBF16IsToEven(t *testing.T) {
	for _, c := range [][2]uint32{
		{0x3f808000, 0x3f800000}, {0x3f818000, 0x3f820000}, {0x3f808001, 0x3f810000}, {0x7f7fffff, 0x7f800000}, {0xff800000, 0xff800000},
		{0x80000001, 0x80000000},
	} {
		if got := math.Float32bits(roundBF16(math.Float32frombits(c[0]))); got != c[1] {
			t.Errorf("%08x rounds to %08x, want %08x", c[0], got, c[1])
		}
	}
	if x := roundBF16(math.Float32frombits(0x7f800001)); x == x {
		t.Errorf("a NaN became %v", x)
	}
}
