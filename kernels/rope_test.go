package kernels

import (
	"math"

	"pgregory.net/rapid"
)

// ropeTable is (positions, D): D/2 cosines, then D/2 sines, of base 10000.
func ropeTable(positions, D int) []float64 {
	table := make([]float64, positions*D)
	for p := range positions {
		for i := range D / 2 {
			a := float64(p) * math.Pow(10000, -2*float64(i)/float64(D))
			table[p*D+i], table[p*D+D/2+i] = rounded(F32, math.Cos(a)), rounded(F32, math.Sin(a))
		}
	}
	return table
}

// refRoPE rotates (T,H,D).
func refRoPE(x []float64, pos []int32, table []float64, H, D int, sign float64) []float64 {
	y := make([]float64, len(x))
	for t, p := range pos {
		for h := range H {
			for i := range D / 2 {
				at := (t*H+h)*D + i
				c, s := table[int(p)*D+i], sign*table[int(p)*D+D/2+i]
				y[at] = x[at]*c - x[at+D/2]*s
				y[at+D/2] = x[at+D/2]*c + x[at]*s
			}
		}
	}
	return y
}

func checkRoPEOp(t *rapid.T, s *subject) {
	T, H, D := rapid.IntRange(1, 40).Draw(t, "T"), rapid.IntRange(1, 4).Draw(t, "H"), 2*s.size(t, 40, "D/2")
	sign := rapid.SampledFrom([]float32{1, -1}).Draw(t, "sign")
	x, table := s.numbers(t, T*H*D, "x"), ropeTable(50, D)
	pos := make([]int32, T)
	rng := newRand(rapid.Uint64().Draw(t, "pos"))
	for i := range pos {
		pos[i] = int32(rng.below(50))
	}
	xt, pt, tt := s.place(t, x, T, H*D), s.ints(pos), s.dev.Alloc(F32, 50, D)
	s.dev.Upload(tt, float32s(table))
	s.do(t, func() { s.dev.RoPE(xt.Split(D), pt, tt, sign) })
	s.near(t, "x", s.read(xt), refRoPE(x, pos, table, H, D, float64(sign)), 1)
	s.free(xt, pt, tt)
}
