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

// drawPositions draws rows of a table of 50.
func drawPositions(t *rapid.T, T int) []int32 {
	pos, rng := make([]int32, T), newRand(rapid.Uint64().Draw(t, "pos"))
	for i := range pos {
		pos[i] = int32(rng.below(50))
	}
	return pos
}

// checkRoPEOp draws which parts there are: bias, norms, memory of their own for the turned heads.
func checkRoPEOp(t *rapid.T, s *subject) {
	T, D := rapid.IntRange(1, 40).Draw(t, "T"), 2*s.size(t, 40, "D/2")
	h := Heads{KV: rapid.IntRange(1, 2).Draw(t, "KV"), Dim: D}
	h.Q = h.KV * rapid.IntRange(1, 3).Draw(t, "group")
	biased, normed := rapid.Bool().Draw(t, "biased"), rapid.Bool().Draw(t, "normed")
	apart := rapid.Bool().Draw(t, "apart")
	turned, all := (h.Q+h.KV)*D, (h.Q+2*h.KV)*D
	raw, table := s.numbers(t, T*all, "qkv"), ropeTable(50, D)
	pos := drawPositions(t, T)
	qkv := s.place(t, raw, T, all)
	r := Rotary{Eps: 1e-6, Pos: s.ints(pos), Table: s.dev.Alloc(F32, 50, D)}
	s.dev.Upload(r.Table, float32s(table))

	x := raw
	if biased {
		bias := s.numbers(t, all, "bias")
		r.Bias = s.vector(s.dtype, bias)
		x = make([]float64, len(raw))
		for i := range x {
			x[i] = rounded(F32, raw[i]+bias[i%all])
			if normed {
				x[i] = rounded(s.dtype, x[i])
			}
		}
	}
	qRstd, kRstd := s.dev.Alloc(F32, T, h.Q), s.dev.Alloc(F32, T, h.KV)
	qk, wantR := columns(x, all, 0, turned), [2][]float64{make([]float64, T*h.Q), make([]float64, T*h.KV)}
	if normed {
		wq, wk := s.numbers(t, D, "qNorm"), s.numbers(t, D, "kNorm")
		r.QNorm, r.KNorm = s.vector(s.dtype, wq), s.vector(s.dtype, wk)
		q, qr := refRMSNorm(columns(x, all, 0, h.Q*D), wq, 1e-6)
		k, kr := refRMSNorm(columns(x, all, h.Q*D, turned), wk, 1e-6)
		wantR = [2][]float64{qr, kr}
		for i := range T {
			copy(qk[i*turned:], q[i*h.Q*D:(i+1)*h.Q*D])
			copy(qk[i*turned+h.Q*D:], k[i*h.KV*D:(i+1)*h.KV*D])
		}
	}
	want := refRoPE(qk, pos, table, h.Q+h.KV, D, 1)
	out := qkv.Cols(0, turned)
	if apart {
		out = s.place(t, make([]float64, T*turned), T, turned)
	}
	s.do(t, func() { s.dev.RoPE(out, qRstd, kRstd, qkv, r, h) })

	slack := 1.0
	if normed && s.dtype == BF16 {
		slack = 4 // rounded before and after the norm
	}
	s.near(t, "qk", s.read(out), want, slack)
	s.near(t, "qRstd", s.read(qRstd), wantR[0], slack)
	s.near(t, "kRstd", s.read(kRstd), wantR[1], slack)
	after := s.read(qkv)
	s.near(t, "v", columns(after, all, turned, all), columns(x, all, turned, all), 1)
	if apart {
		s.near(t, "qkv", after, x, 1)
		s.free(out)
	}
	s.free(qkv, r.Pos, r.Table, qRstd, kRstd)
	for _, p := range []Tensor{r.Bias, r.QNorm, r.KNorm} {
		if !p.Absent() {
			s.free(p)
		}
	}
}

// columns is a copy of columns [from, to) of rows of n numbers.
func columns(x []float64, n, from, to int) (y []float64) {
	for i := 0; i < len(x); i += n {
		y = append(y, x[i+from:i+to]...)
	}
	return y
}

func checkRoPEBackwardOp(t *rapid.T, s *subject) {
	T, H, D := rapid.IntRange(1, 40).Draw(t, "T"), rapid.IntRange(1, 4).Draw(t, "H"), 2*s.size(t, 40, "D/2")
	x, table := s.numbers(t, T*H*D, "dx"), ropeTable(50, D)
	pos := drawPositions(t, T)
	xt, pt, tt := s.place(t, x, T, H*D), s.ints(pos), s.dev.Alloc(F32, 50, D)
	s.dev.Upload(tt, float32s(table))
	s.do(t, func() { s.dev.RoPEBackward(xt.Split(D), pt, tt) })
	s.near(t, "dx", s.read(xt), refRoPE(x, pos, table, H, D, -1), 1)
	s.free(xt, pt, tt)
}
