package kernels

import (
	"math"

	"pgregory.net/rapid"
)

// refSwiGLU is silu(gate)·up.
func refSwiGLU(gate, up []float64) []float64 {
	y := make([]float64, len(gate))
	for i, g := range gate {
		y[i] = g / (1 + math.Exp(-g)) * up[i]
	}
	return y
}

// gates draws gates, some of them far outside where exp has room.
func (s *subject) gates(t *rapid.T, n int) []float64 {
	x := s.numbers(t, n, "gate")
	for i := 0; i < n; i += 7 {
		x[i] = rounded(s.dtype, x[i]*60)
	}
	return x
}

func checkSwiGLUOp(t *rapid.T, s *subject) {
	T, F := rapid.IntRange(1, 40).Draw(t, "T"), s.size(t, 120, "F")
	gate, up := s.gates(t, T*F), s.numbers(t, T*F, "up")
	y, gt, ut := s.place(t, up, T, F), s.place(t, gate, T, F), s.place(t, up, T, F)
	s.do(t, func() { s.dev.SwiGLU(y, gt, ut) })
	s.near(t, "y", s.read(y), refSwiGLU(gate, up), 1)
	s.free(y, gt, ut)
}

func checkSwiGLUBackwardOp(t *rapid.T, s *subject) {
	T, F := rapid.IntRange(1, 40).Draw(t, "T"), s.size(t, 120, "F")
	gate, up, dy := s.gates(t, T*F), s.numbers(t, T*F, "up"), s.numbers(t, T*F, "dy")
	dg, du := s.numbers(t, T*F, "dgate"), s.numbers(t, T*F, "dup")
	gt, ut, dyt, dgt, dut := s.place(t, gate, T, F), s.place(t, up, T, F), s.place(t, dy, T, F), s.place(t, dg, T, F), s.place(t, du, T, F)
	to, tu := s.maybeFresh(t, dgt, dg), s.maybeFresh(t, dut, du)
	s.do(t, func() { s.dev.SwiGLUBackward(to, tu, dyt, gt, ut) })
	loss := func() float64 { return dot64(dy, refSwiGLU(gate, up)) }
	s.nearGradient(t, "dgate", s.read(dgt), dg, gate, 2, loss)
	s.nearGradient(t, "dup", s.read(dut), du, up, 2, loss)
	s.free(gt, ut, dyt, dgt, dut)
}

func checkAddOp(t *rapid.T, s *subject) {
	T, C := rapid.IntRange(1, 40).Draw(t, "T"), s.size(t, 120, "C")
	y, x := s.numbers(t, T*C, "y"), s.numbers(t, T*C, "x")
	yt, xt := s.place(t, y, T, C), s.place(t, x, T, C)
	s.do(t, func() { s.dev.Add(yt, xt) })
	for i := range y {
		y[i] += x[i]
	}
	s.near(t, "y", s.read(yt), y, 1)
	s.free(yt, xt)
}
